//! Expressions print readably, parse back to the node, and texts that are none are refused with a place.

use super::*;
use crate::expr::ExprBuilder;

fn text(e: &Expr) -> String {
    let text = e.to_string();
    assert_eq!(parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}")), *e, "{text}");
    text
}

#[test]
fn a_tree_prints_on_one_line() {
    let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
    let (x, y) = (b.input(0), b.input(1));
    let sum = b.add(x, y);
    let zero = b.f32(0.0);
    let low = b.max(sum, zero);
    let six = b.f32(6.0);
    let r = b.min(low, six);
    assert_eq!(text(&b.finish(r, Storage::F32)), "(f32, f32) -> f32 { min(max(in0 + in1, 0.0), 6.0) }");
}

#[test]
fn shared_nodes_get_a_let() {
    let mut b = ExprBuilder::new([Storage::F32]);
    let x = b.input(0);
    let three = b.f32(3.0);
    let sum = b.add(x, three);
    let r = b.mul(x, sum);
    assert_eq!(text(&b.finish(r, Storage::F32)), "(f32) -> f32 {\n  let $0 = in0\n  yield $0 * ($0 + 3.0)\n}");
}

#[test]
fn operands_out_of_order_and_dead_nodes_keep_their_places() {
    let mut b = ExprBuilder::new([Storage::I8, Storage::I8, Storage::I32]);
    let (x, y, _dead) = (b.input(0), b.input(1), b.input(2));
    let r = b.sub(y, x);
    let e = b.finish(r, Storage::I8);
    assert_eq!(text(&e), "(i8, i8, i32) -> i8 {\n  let $0 = in0\n  let $1 = in1\n  let $2 = in2\n  yield $1 - $0\n}");
    // A result in the middle, used by a node behind it.
    let nodes = vec![Node::Input(0), Node::Unary(Unary::Neg, Id(0)), Node::Unary(Unary::Abs, Id(1))];
    let e = Expr { inputs: vec![Storage::F32], nodes, result: Id(1), output: Storage::F32 };
    assert_eq!(text(&e), "(f32) -> f32 {\n  let $1 = neg(in0)\n  let $2 = abs($1)\n  yield $1\n}");
}

#[test]
fn operators_bind_as_in_arithmetic() {
    for body in [
        "in0 - in1 - in2",
        "in0 - (in1 - in2)",
        "in0 * (in1 + in2)",
        "(in0 + in1) * in2 / in0",
        "in0 / (in1 * in2)",
        "f32(in0 < in1 + in2)",
        "select((in0 < in1) == (in1 > in2), -0.5, in0 - -0.5)",
        "mul_add(in0, nan(0x7fc00001), -inf)",
        "bits_f32(shr(bits_i32(in0), 3)) + f32(nearest_i32(in1) + -2147483648)",
        "f32(i64(in0) + -9223372036854775808i64) + f32(and(true, not(bool(in1))))",
        "f32(f64(in0) * 0x3ff8000000000000f64 - 0x7ff8000000000001f64)",
    ] {
        let full = format!("(f32, f32, f32) -> f32 {{ {body} }}");
        assert_eq!(text(&parse(&full).unwrap_or_else(|e| panic!("{body}: {e}"))), full);
    }
}

#[test]
fn every_operator_reads_back() {
    for op in Unary::ALL {
        let ty = if *op == Unary::Not { "i32" } else { "f32" };
        text(&parse(&format!("({ty}) -> {ty} {{ {}(in0) }}", op.name())).unwrap());
    }
    for op in Binary::ALL {
        let ty = match op {
            Binary::Pow | Binary::Atan2 => "f32",
            _ => "i32",
        };
        text(&parse(&format!("({ty}, {ty}) -> {ty} {{ {}(in0, in1) }}", op.name())).unwrap());
    }
    for op in Compare::ALL {
        text(&parse(&format!("(u8, i16) -> bool {{ in0 {} in1 }}", op.symbol())).unwrap());
    }
    for s in Storage::ALL {
        text(&Expr::identity(*s));
    }
    let table: String = (0..256).map(|i| format!("{:02x}", i ^ 0x5a)).collect();
    text(&parse(&format!("(i8) -> i8 {{ table_i8(hex \"{table}\", in0) + table_u8(hex \"{table}\", in0) }}")).unwrap());
}

#[test]
fn long_chains_break_into_lines() {
    let mut b = ExprBuilder::new([Storage::F32]);
    let x = b.input(0);
    let mut y = x;
    for _ in 0..200 {
        y = b.unary(Unary::Tanh, y);
    }
    let t = text(&b.finish(y, Storage::F32));
    assert!(t.lines().all(|l| l.len() < 150), "{t}");
}

#[test]
fn errors_say_what_was_expected_and_where() {
    for (bad, message) in [
        ("f32", "1:1: expected `(` and the memory types of the inputs, found `f32`"),
        ("(f32) -> f32 { in0 + }", "1:22: expected a value, a number or an operator, found `}`"),
        ("(f32) -> f32 {\n  frob(in0)\n}", "2:3: there is no operator `frob`"),
        ("(f32) -> f32 { min(in0) }", "1:16: 1 operands where there should be 2"),
        ("(f32) -> f32 { $7 }", "1:16: there is no value `$7`"),
        ("(f32) -> f32 { let $a = in0 let $a = in0 yield $a }", "1:33: the name `$a` occurs twice"),
        ("(f32) -> f32 { in0 + 1 }", "1:1: invalid expression: $2: `add` of (f32, i32)"),
        ("(f32) -> i8 { in0 }", "1:1: invalid expression: the result is f32 but is stored as i8"),
        ("(i32) -> i32 { 2147483648 }", "1:16: `2147483648` is not a 32-bit integer"),
        ("(f32) -> f32 { in0 } x", "1:22: expected the end of the text, found `x`"),
        ("(f32) -> f32 { in99999999999 }", "1:16: expected an input such as `in0`, found `in99999999999`"),
    ] {
        assert_eq!(parse(bad).unwrap_err().to_string(), message, "{bad}");
    }
    let deep = format!("(f32) -> f32 {{ {}in0{} }}", "(".repeat(10_000), ")".repeat(10_000));
    assert!(parse(&deep).unwrap_err().to_string().ends_with("limit exceeded: nested calls and parentheses"));
}

#[test]
fn damaged_texts_never_panic() {
    let good = "(f32, i8) -> f32 {\n  let $0 = in0\n  yield $0 * (f32(in1) + nan(0x7fc00001)) - select($0 < -1.5e-3, 2.0, \"é\")\n}";
    for cut in 0..good.len() {
        fuzz_parse(&good.as_bytes()[..cut]);
    }
    for at in 0..good.len() {
        for byte in [b'(', b'}', b'$', b'-', b'9', b'"', 0xff] {
            let mut bytes = good.as_bytes().to_vec();
            bytes[at] = byte;
            fuzz_parse(&bytes);
        }
    }
}

#[test]
fn random_expressions_read_back() {
    let mut state = 1u64;
    let mut below = move |n: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % n
    };
    for size in 1..300 {
        let mut nodes = vec![Node::Input(0)];
        for i in 1..size {
            // Mostly the last node, so that trees grow deep as well as wide.
            let mut operand = || Id(if below(2) == 0 { i - 1 } else { below(i as usize) as u32 });
            let (a, b, c) = (operand(), operand(), operand());
            nodes.push(match below(6) {
                0 => Node::Input(below(3) as u32),
                1 => Node::Const(Const::F32(below(1 << 31) as u32 ^ 0x8000_0000)),
                2 => Node::Unary(Unary::Neg, a),
                3 => Node::MulAdd(a, b, c),
                _ => Node::Binary([Binary::Add, Binary::Sub, Binary::Mul, Binary::Max][below(4)], a, b),
            });
        }
        let result = Id(if below(3) == 0 { below(size as usize) as u32 } else { size - 1 });
        text(&Expr { inputs: vec![Storage::F32; 3], nodes, result, output: Storage::F32 });
    }
}
