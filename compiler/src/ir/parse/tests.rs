//! What prints parses back to the same model; texts that are none are refused with a place; no text makes the parser panic.

use super::*;
use crate::ir::{Affine, AttrValue, Bytes, PrintOptions, Quantization, print, print_with};
use tflc_templates::expr::{Expr, Storage};

/// A model with every form of the language.
fn every_form() -> Model {
    let ty = |dtype, shape: &[usize]| TensorType::new(dtype, shape);
    let quantized = |dtype, shape: &[usize], quant| TensorType { dtype, shape: shape.to_vec(), quant };
    let mut g = Graph { name: "main \"graph\"".into(), ..Graph::default() };
    let x = g.add_tensor("x", ty(DType::Float32, &[1, 8]));
    g.tensors[0].signature = Some(vec![-1, 8]);
    let dead = g.add_tensor("dead; not a comment", ty(DType::Int4, &[3]));
    g.tensors[dead.index()].data = Some(vec![0x21, 0x83].into());
    let per_tensor = Quantization::Affine(Affine::per_tensor(0.02, -3));
    let per_channel = Quantization::Affine(Affine { scale: vec![0.1, 1e-10], zero_point: vec![0, 0], axis: 0 });
    let w = g.add_const("w", quantized(DType::Int8, &[2, 2], per_channel), vec![1, 2, 3, 255]);
    let odd = Quantization::Affine(Affine { scale: vec![0.5], zero_point: vec![1], axis: 1 });
    let zeros = g.add_const("", quantized(DType::UInt8, &[300, 1], odd), vec![0; 300]);
    let scales = g.add_const("scales", ty(DType::Float16, &[2]), vec![0, 60, 1, 0]);
    let blockwise = |zero_points| Quantization::Blockwise { scales, zero_points, block_size: 32 };
    let b1 = g.add_const("", quantized(DType::Int4, &[64], blockwise(None)), vec![0x77; 32]);
    let b2 = g.add_const("", quantized(DType::Int4, &[64], blockwise(Some(scales))), (0..32).collect::<Vec<u8>>());
    let multi = Quantization::MultiAxis { scale: vec![0.1, 0.2], zero_point: vec![0, 1], axes: vec![0, 1] };
    let m = g.add_const("", quantized(DType::Int8, &[2, 1], multi), vec![0, 9]);
    let c = g.add_const("", quantized(DType::String, &[1], Quantization::Custom(vec![1, 2].into())), vec![1, 0, 0, 0]);
    let wrong = g.add_const("too short", ty(DType::Float32, &[4]), vec![0; 3]);
    let state = g.add_tensor("state", ty(DType::Float32, &[1, 8]));
    g.tensors[state.index()].variable = true;
    let y = g.add_tensor("y", quantized(DType::Int8, &[1, 8], per_tensor.clone()));
    let z = g.add_tensor("z", ty(DType::Float32, &[]));
    let scratch = g.add_tensor("scratch", quantized(DType::Int8, &[0], per_tensor));
    let attrs = [
        ("bool", AttrValue::Bool(true)),
        ("bytes", AttrValue::Bytes(vec![0xab, 0xcd].into())),
        ("empty", AttrValue::Ints(vec![])),
        ("empty_floats", AttrValue::Floats(vec![])),
        ("enum", AttrValue::Enum("SAME".into())),
        ("enum_odd", AttrValue::Enum("true".into())),
        ("enum_quoted", AttrValue::Enum("a b".into())),
        ("expr", AttrValue::Expr(Box::new(Expr::identity(Storage::I8)))),
        ("float", AttrValue::Float(-1.0)),
        ("floats", AttrValue::Floats(vec![f32::NEG_INFINITY, 2.5, f32::NAN])),
        ("graph", AttrValue::Graph(GraphId(1))),
        ("int", AttrValue::Int(i64::MIN)),
        ("ints", AttrValue::Ints(vec![-1, 2])),
        ("large", AttrValue::Float(1e30)),
        ("not a name", AttrValue::Str("text \"quoted\"\n".into())),
    ];
    let mut node = Node::new(OpKind::UnidirectionalSequenceLstm, [x, w, zeros, b1, b2, m, c, wrong], [y, z]);
    node.inputs.insert(1, None);
    node.attrs = attrs.into_iter().fold(Attrs::new(), |a, (n, v)| a.with(n, v));
    node.intermediates = vec![scratch];
    node.location = Location { subgraph: 3, operator: 14 };
    let expr = tflc_templates::expr::parse::parse("(f32, f32) -> i8 { let $a = in0 yield nearest_i32($a * $a + in1) }").unwrap();
    node.tail = Some(Box::new(Tail { result: ty(DType::Float32, &[1, 8]), expr, inputs: vec![state] }));
    g.nodes.push(node);
    g.nodes.push(Node::new(OpKind::AssignVariable, [z], []));
    (g.inputs, g.outputs) = (vec![x], vec![y, z]);
    let signature = Signature { key: "serve".into(), graph: GraphId(0), inputs: vec![("in".into(), x)], outputs: vec![("out".into(), z)] };
    Model {
        description: "every form".into(),
        graphs: vec![g, Graph::default()],
        signatures: vec![signature],
        metadata: vec![("min".into(), Bytes::from(b"1.5".to_vec()))],
    }
}

/// Equal as texts: NaNs are equal to themselves there.
fn assert_same(a: &Model, b: &Model) {
    assert_eq!(format!("{a:?}"), format!("{b:?}"));
    assert_eq!(print(a), print(b));
}

#[test]
fn every_form_reads_back() {
    let model = every_form();
    let text = print(&model);
    let again = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    assert_same(&again, &model);
    for (a, b) in again.graphs.iter().flat_map(|g| &g.tensors).zip(model.graphs.iter().flat_map(|g| &g.tensors)) {
        assert_eq!(a, b, "constants too");
    }
}

#[test]
fn the_text_is_readable() {
    let text = print(&every_form());
    for line in [
        "model \"every form\"",
        "metadata \"min\" = hex \"312e35\"",
        "signature \"serve\" @0 (\"in\" = %0) -> (\"out\" = %12)",
        "graph @0 \"main \\\"graph\\\"\" (%0) -> (%11, %12) {",
        "  %0: float32[1,8] \"x\" signature [-1, 8]",
        "  %1: int4[3] \"dead; not a comment\" = const hex \"2183\"",
        "  %2: int8[2,2] {scale [0.1, 1e-10], zero 0, axis 0} \"w\" = const [1, 2, 3, -1]",
        "  %3: uint8[300,1] {scale [0.5], zero 1, axis 1} = const splat 0",
        "  %5: int4[64] {scales %4, block 32} = const splat 7",
        "  %10: float32[1,8] \"state\" = variable",
        "    intermediates (%13)",
        "graph @1 () -> () {",
    ] {
        // Constants are whole: tensor 1 has no numbers, for its padding bits are set.
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
}

#[test]
fn short_texts_leave_out_what_is_long_and_say_so() {
    let text = every_form().to_string();
    assert!(text.contains("= const <32 bytes, crc32 91267e8a>"), "{text}");
    assert!(!text.contains("dead"), "{text}");
    assert!(parse(&text).unwrap_err().to_string().contains("this text was printed for reading and leaves it out"));
    assert!(text.len() < 2500, "{text}");
}

#[test]
fn dead_tensors_leave_gaps_that_read_back() {
    let text = print_with(&every_form(), PrintOptions::LIVE);
    assert!(!text.contains("dead"));
    let again = parse(&text).unwrap();
    assert_eq!(print_with(&again, PrintOptions::LIVE), text);
    assert_eq!(again.graphs[0].tensors.len(), every_form().graphs[0].tensors.len());
}

#[test]
fn names_get_numbers_in_order_of_declaration() {
    let model = parse(
        "graph @0 (%x) -> (%y) {
           %x: float32[1,2]
           %1: float32[2] = const [1.0, -0.5]
           %bias: float32[] \"the bias\" = const [3.0]
           %y: float32[1,2] = ADD(%x, %1) {fused_activation_function = RELU}
         }",
    )
    .unwrap();
    assert_eq!(
        print(&model),
        "graph @0 (%0) -> (%3) {
  %0: float32[1,2] \"x\"
  %1: float32[2] = const [1.0, -0.5]
  %3: float32[1,2] \"y\" = ADD(%0, %1) {fused_activation_function = RELU}
  %2: float32[] \"the bias\" = const [3.0]
}
"
    );
}

#[test]
fn errors_say_what_was_expected_and_where() {
    for (text, message) in [
        ("nonsense", "1:1: expected `model`, `metadata`, `signature` or `graph`, found `nonsense`"),
        ("graph @1 () -> () {}", "1:7: expected graphs to be numbered in order, from @0, found another number"),
        ("graph @0 (%0) -> () {\n  %1: int8[1]\n}", "1:11: there is no tensor `%0`"),
        ("graph @0 () -> () {\n  %1: int8[1]\n  %1: int8[1]\n}", "3:3: the tensor `%1` occurs twice"),
        ("graph @0 () -> () {\n  %1: int9[1]\n}", "2:7: expected an element type such as `float32`, found `int9`"),
        ("graph @0 () -> () {\n  FROB()\n}", "2:3: there is no operator `FROB`"),
        ("graph @0 () -> () {\n  ADD(%7)\n}", "2:7: there is no tensor `%7`"),
        ("graph @0 () -> () {\n  ADD() {a = 1, a = 2}\n}", "2:17: the attribute `a` occurs twice"),
        ("graph @0 () -> () {\n  ADD() {a = [1, 2.0]}\n}", "2:18: `2.0` is not a 64-bit integer"),
        ("graph @0 () -> () {\n  %0: int8[2] = const [1]\n}", "2:23: 1 elements where there should be 2"),
        ("graph @0 () -> () {\n  %0: int8[2] = const [1, 128]\n}", "2:27: `128` is not an integer of the constant's type"),
        (
            "graph @0 () -> () {\n  %0: int8[2] = const hex \"012\"\n}",
            "2:27: expected an even number of hexadecimal digits in quotes, found `\"012\"`",
        ),
        ("graph @0 () -> () {\n  %0: int8[1] {scale 0.5}\n}", "2:25: expected `,` and the zero point, found `}`"),
        ("graph @0 () -> () {\n  %0: int8[9999999999,9999999999]\n}", "2:11: limit exceeded: dimensions or elements of a tensor"),
        ("graph @0 () -> () {\n  %0: int8[999999999] = const splat 1\n}", "2:31: limit exceeded: bytes of `splat` constants"),
        ("graph @0 () -> () {\n  %4000000000: int8[1]\n}", "1:10: limit exceeded: unused tensor numbers"),
        ("graph @0 () -> () {", "1:20: expected a tensor, an operator or `}`, found the end of the text"),
        ("signature \"s\" @0 () -> ()", "1:15: there is no graph `@0`"),
        ("signature \"s\" @0 (\"x\" = %1) -> () graph @0 () -> () {}", "1:25: there is no tensor `%1`"),
        ("graph @0 () -> () {\n  %0: int8[1], %1: int8[1]\n}", "3:1: expected `=` and the operator that gives these tensors, found `}`"),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), message, "{text}");
    }
}

/// The language reference.
const REFERENCE: &str = include_str!("../../../docs/ir.md");

#[test]
fn examples_of_the_reference_are_valid() {
    let examples: Vec<&str> = REFERENCE.split("```ir\n").skip(1).filter_map(|rest| Some(rest.split_once("```")?.0)).collect();
    assert!(!examples.is_empty());
    for text in examples {
        let model = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        crate::ir::verify(&model).unwrap();
        assert_same(&parse(&print(&model)).unwrap(), &model);
    }
}

#[test]
fn the_reference_names_every_operator_of_expressions() {
    use tflc_templates::expr::{Binary, Unary};
    let named = |name: &str| REFERENCE.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| w == name);
    let infix = [Binary::Add, Binary::Sub, Binary::Mul, Binary::Div];
    let binary = Binary::ALL.iter().filter(|o| !infix.contains(o)).map(|o| o.name());
    let missing: Vec<&str> =
        Unary::ALL.iter().map(|o| o.name()).chain(binary).chain(Storage::ALL.iter().map(|s| s.name())).filter(|n| !named(n)).collect();
    assert!(missing.is_empty(), "compiler/docs/ir.md lacks {missing:?}");
}

#[test]
fn values_read_back() {
    for text in ["float32[2] [1.0, -0.5]", "int4[3] [1, 2, -3]", "uint8[2,3] {scale 0.5, zero 1} splat 7", "bool[] [true]"] {
        let mut cursor = Cursor::new(text).unwrap();
        let (ty, data) = parse_value(&mut cursor).unwrap();
        assert_eq!((crate::ir::print::print_value(&ty, &data).as_str(), cursor.token()), (text, Token::End));
    }
}

#[test]
fn texts_are_told_from_other_files() {
    assert!(is_text(print(&every_form()).as_bytes()));
    assert!(is_text(b"; a note\n\ngraph @0 () -> () {}"));
    assert!(!is_text(b"\x1c\0\0\0TFL3") && !is_text(b"graphical") && !is_text(b""));
}

#[test]
fn damaged_texts_never_panic() {
    let text = print_with(&every_form(), PrintOptions::LIVE);
    // Cut at every place, and every place overwritten by bytes that mean something.
    for at in (0..text.len()).step_by(3) {
        fuzz_parse(&text.as_bytes()[..at]);
    }
    for at in 0..text.len() {
        let byte = b"({[)}]%@$\"=,:-9.; x\xff"[at % 19];
        let mut bytes = text.as_bytes().to_vec();
        bytes[at] = byte;
        fuzz_parse(&bytes);
        // Removed: tokens join.
        bytes.remove(at);
        fuzz_parse(&bytes);
    }
}
