//! Every rule has a model that breaks it, and its error says where.

use super::*;
use crate::ir::parse;

fn error(text: &str) -> String {
    let model = parse(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    verify(&model).map_or_else(|e| e.to_string(), |()| "valid".to_string())
}

/// The error of a graph with this head and body.
fn graph(head: &str, body: &str) -> String {
    error(&format!("graph @0 {head} {{ {body} }}"))
}

#[test]
fn a_valid_model_passes() {
    let text = "signature \"s\" @0 (\"x\" = %x) -> (\"y\" = %y)
graph @0 (%x) -> (%y, %c) {
  %x: float32[2,4]
  %c: float32[4] = const splat 1.0
  %state: int32[2,1] = variable
  %scratch: int8[0]
  %p: float32[2,4] = POINTWISE(%x, %c, %state) {expr = (f32, f32, i32) -> f32 { in0 * in1 + f32(in2) }}
  %y: int8[2,4] = CONV_2D(%p, _, %state) {body = @1} tail (float32[2,4], %c) (f32, f32) -> i8 { nearest_i32(in0 + in1) }
    intermediates (%scratch)
}
graph @1 () -> () {}";
    assert_eq!(error(text), "valid");
}

#[test]
fn tensors_are_checked() {
    for (body, message) in [
        ("%0: int8[4] = const hex \"00\"", "graph @0: tensor %0 (\"\"): a constant of 1 bytes where its type has 4"),
        ("%a: int8[4] = variable const splat 0", "graph @0: tensor %0 is a constant and a variable"),
        ("%a: int8[4] signature [4, 1]", "graph @0: tensor %0 (\"a\"): declared dimensions [4, 1] do not fit the shape"),
        ("%0: int8[4] {scale [0.1, 0.2], zero 0, axis 0}", "graph @0: tensor %0 (\"\"): 2 scales do not fit their axis of shape [4]"),
        ("%0: int8[4] {scale [0.1, 0.2], zero [1], axis 0}", "graph @0: tensor %0 (\"\"): 2 scales and 1 zero points"),
        ("%0: int8[4] {scale inf, zero 0}", "graph @0: tensor %0 (\"\"): scale inf"),
        ("%0: int8[4] {scale nan(0x7fc00000), zero 0}", "graph @0: tensor %0 (\"\"): scale NaN"),
        ("%0: uint8[4] {scale 0.1, zero 256}", "graph @0: tensor %0 (\"\"): zero point 256 is outside the range of uint8"),
        ("%0: int4[4] {scales %1, block 0} %1: float16[1]", "graph @0: tensor %0 (\"\"): quantisation blocks of no elements"),
        (
            "%0: int8[2,3] {scale [0.1, 0.2], zero 0, axes [0, 1]}",
            "graph @0: tensor %0 (\"\"): 2 scales do not fit their axis of shape [2, 3]",
        ),
        ("%0: int8[4] {scale 0.0, zero 0}", "valid"),
        ("%0: int32[4] {scale -0.1, zero 0}", "valid"),
        ("%0: string[4] = const hex \"00\"", "valid"),
        ("%0: int4[3] = const [1, 2, 3]", "valid"),
    ] {
        assert_eq!(graph("() -> ()", body), message, "{body}");
    }
}

#[test]
fn values_are_defined_once_and_before_use() {
    for (head, body, message) in [
        ("() -> ()", "%0: int8[1,0] ABS(%0)", "valid"),
        ("(%0, %0) -> ()", "%0: int8[1]", "graph @0: tensor %0 is an input twice"),
        ("(%0) -> ()", "%0: int8[1] = const [1]", "graph @0: input %0 is a constant or a variable"),
        ("() -> (%0)", "%0: int8[1]", "graph @0: tensor %0 is read but has no value there"),
        ("() -> ()", "%0: int8[1] ABS(%0)", "graph @0: node #0 (ABS): tensor %0 is read but has no value there"),
        ("() -> ()", "%0: int8[1] = ABS(%1) %1: int8[1] = ABS(%0)", "graph @0: node #0 (ABS): tensor %1 is read but has no value there"),
        ("(%0) -> ()", "%0: int8[1] = ABS()", "graph @0: node #0 (ABS): result %0 is an input, a constant or a variable"),
    ] {
        assert_eq!(graph(head, body), message, "{body}");
    }
    // The text declares each result once, so this needs another way.
    let mut model = parse("graph @0 () -> () { %0: int8[1] = ABS() %1: int8[1] = NEG() }").unwrap();
    model.graphs[0].nodes[1].outputs = vec![TensorId(0)];
    assert_eq!(verify(&model).unwrap_err().to_string(), "graph @0: node #1 (NEG): tensor %0 is already a result of node #0");
    model.graphs[0].nodes[1].inputs = vec![Some(TensorId(9))];
    assert_eq!(verify(&model).unwrap_err().to_string(), "graph @0: node #1 (NEG): tensor %9 does not exist");
}

#[test]
fn expressions_fit_their_tensors() {
    let pointwise = |ty: &str, inputs: &str, expr: &str| {
        graph("(%a, %b) -> ()", &format!("%a: float32[2,3] %b: int8[3] %c: {ty} = POINTWISE({inputs}) {expr}"))
    };
    let at = "graph @0: node #0 (POINTWISE): ";
    for (ty, inputs, expr, message) in [
        ("float32[2,3]", "%a", "", "the attribute `expr` is missing"),
        ("float32[2,3]", "%a, _", "{expr = (f32) -> f32 { in0 }}", "an operand is absent"),
        ("float32[2,3]", "%a, %b", "{expr = (f32) -> f32 { in0 }}", "an expression of 1 inputs over 2 operands"),
        ("float32[2,3]", "%b", "{expr = (f32) -> f32 { in0 }}", "in0 is f32, its tensor is int8"),
        ("int32[2,3]", "%a", "{expr = (f32) -> f32 { in0 }}", "the expression gives f32, the result is int32"),
        ("float32[3]", "%a", "{expr = (f32) -> f32 { in0 }}", "operand %0 of shape [2, 3] does not broadcast to [3]"),
        ("int8[5]", "%b", "{expr = (i8) -> i8 { in0 }}", "operand %1 of shape [3] does not broadcast to [5]"),
    ] {
        assert_eq!(pointwise(ty, inputs, expr), format!("{at}{message}"));
    }
    let tail = |own: &str, inputs: &str, expr: &str| {
        graph("(%a, %b) -> ()", &format!("%a: float32[2,3] %b: int8[3] %c: float32[2,3] = CONV_2D(%a) tail ({own}{inputs}) {expr}"))
    };
    let at = "graph @0: node #0 (CONV_2D): ";
    for (own, inputs, expr, message) in [
        ("int32[6]", "", "(i32) -> f32 { f32(in0) }", "a tail from shape [6] to [2, 3]"),
        ("int32[2,3]", "", "(f32) -> f32 { in0 }", "in0 is f32, its tensor is int32"),
        ("int32[2,3]", ", %b", "(i32, f32) -> f32 { in1 }", "in1 is f32, its tensor is int8"),
        ("int32[2,3]", "", "() -> f32 { 1.0 }", "an expression of 0 inputs over 1 operands"),
        ("int32[2,3]", "", "(i32) -> i32 { in0 }", "the expression gives i32, the result is float32"),
    ] {
        assert_eq!(tail(own, inputs, expr), format!("{at}{message}"));
    }
}

#[test]
fn graphs_and_signatures_refer_to_what_exists() {
    assert_eq!(error(""), "the model has no graph");
    assert_eq!(graph("() -> ()", "ABS() {then = @1}"), "graph @0: node #0 (ABS): graph @1 does not exist");
    assert_eq!(
        graph("() -> ()", "STABLEHLO_CASE() {branch_subgraph_indices = [-1]}"),
        "graph @0: node #0 (STABLEHLO_CASE): graph @4294967295 does not exist"
    );
    assert_eq!(graph("() -> ()", "ABS() {then = @0}"), "graph @0: graph @0 calls itself through this one");
    let call = |g| format!("IF() {{then = @{g}}}");
    let ring = format!(
        "graph @0 () -> () {{ {} }} graph @1 () -> () {{ {} {} }} graph @2 () -> () {{ {} }} graph @3 () -> () {{}}",
        call(1),
        call(3),
        call(2),
        call(1)
    );
    assert_eq!(error(&ring), "graph @2: graph @1 calls itself through this one");
    let diamond = format!(
        "graph @0 () -> () {{ {} {} }} graph @1 () -> () {{ {} }} graph @2 () -> () {{ {} }} graph @3 () -> () {{}}",
        call(1),
        call(2),
        call(3),
        call(3)
    );
    assert_eq!(error(&diamond), "valid");
    let text = "signature \"s\" @0 (\"x\" = %1) -> () graph @0 (%0) -> () { %0: int8[1] %1: int8[1] }";
    assert_eq!(error(text), "signature \"s\": \"x\" is tensor %1, which the graph does not list");
}

#[test]
fn sizes_that_overflow_are_refused() {
    let mut model = parse("graph @0 (%0) -> () { %0: int8[1] }").unwrap();
    model.graphs[0].tensors[0].ty.shape = vec![usize::MAX, 0, 2];
    assert!(verify(&model).unwrap_err().to_string().ends_with("is too large"));
}
