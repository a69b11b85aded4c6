//! Every rule has a kernel that breaks it.

use super::*;
use crate::parse::{ParseErrorKind, parse};
use crate::{Builder, Elem, Mem, Narrow};

/// Parses a body that must break a rule.
fn broken(body: &str) -> VerifyError {
    let text =
        format!("kernel @t(%p: ptr, %n: i64, %i: i32, %f: f32) units %b .. %e {{\n%v = splat f32x4 %f\n%w = splat i32x4 %i\n{body}\n}}\n");
    match parse(&text) {
        Err(e) => match e.kind {
            ParseErrorKind::Invalid(e) => *e,
            _ => panic!("{e}\n{text}"),
        },
        Ok(_) => panic!("verifies:\n{text}"),
    }
}

#[test]
fn each_rule_of_an_operator_is_enforced() {
    let cases = [
        ("%x = add f32x4 %v, %w", "operand 1 is i32x4, not f32x4"),
        ("%x = add f32x4 %v", "has 1 operands, not 2"),
        ("%x = add i32x4 %v, %v", "operand 0 is f32x4, not i32x4"),
        ("%x = add ptr %p, %p", "result 0 is ptr, not integers or floats"),
        ("%x = and f32x4 %v, %v", "not integers or bool"),
        ("%x = div i32x4 %w, %w", "not floats or a scalar integer"),
        ("%x = add_sat_s i32x4 %w, %w", "not i8 or i16 lanes"),
        ("%x = mul_round_hi i64 %n, %n", "not i16 or i32 lanes"),
        ("%x = sqrt i32x4 %w", "not floats"),
        ("%x = leading_zeros f32 %f", "not integers"),
        ("%x = fma i32x4 %w, %w, %w", "not floats"),
        ("%x = cmp.lt_u f32 %f, %f", "not integers or ptr"),
        ("%x = cmp.lt f32 %f, %i", "operand 1 is i32, not f32"),
        ("%c = cmp.eq i32 %i, %i\n%x = cmp.eq bool %c, %c", "not integers, floats or ptr"),
        ("%x = select f32x4 %v, %v, %v", "operand 0 is f32x4, not bool or a mask of as many lanes"),
        ("%x = ext_s i32 %n", "result 0 is i32, not wider integers of as many lanes"),
        ("%x = wrap i64 %i", "not narrower integers"),
        ("%x = int_to_float f32x2 %w", "not floats of as many lanes"),
        ("%x = float_to_float f32 %f", "not the other kind of float"),
        ("%x = bitcast i64 %i", "total width"),
        ("%c = const.boolx32 0\n%x = bitcast i32 %c", "operand 0 is boolx32"),
        ("%x = dot4.us i32x4 %w, %w, %w", "operand 1 is i32x4, not i8x16"),
        ("%x = fma_f16 i32x4 %w, %w, %w", "not i16 lanes"),
        ("%x = pack_f16 i16x8 %w, %w", "operand 0 is i32x4, not f32x4"),
        ("%x = widen_f16_lo f32x4 %w", "operand 0 is i32x4, not i16x8"),
        ("%x = mmla.ss i32x4 %w, %w, %w", "operand 1 is i32x4, not i8x16"),
        ("%a = const.i32x2 0\n%x = mmla.ss i32x2 %a, %a, %a", "not a vector of whole 128-bit blocks"),
        ("%x = dot2 f32x4 %v, %v, %v", "not i32 lanes"),
        ("tile_zero 0", "needs a tile that the configuration in force gives a shape"),
        ("tile_config (17 x 64)", "needs 1 to 8 tiles of 1 to 16 rows"),
        ("tile_config (16 x 62)", "needs 1 to 8 tiles of 1 to 16 rows"),
        ("tile_config (16 x 64)\ntile_load 1 [%p], %n", "needs a tile that the configuration"),
        ("tile_config (16 x 64)\ntile_load 0 [%p], %i", "operand 1 is i32, not i64"),
        ("tile_config (16 x 64, 16 x 64)\ntile_dot.ss 0, 1, 1", "needs three different tiles"),
        ("tile_config (16 x 64, 16 x 32, 16 x 64)\ntile_dot.ss 0, 1, 2", "whose shapes fit together"),
        ("for %j = %b .. %e step 1 {\ntile_config (16 x 64)\n}\ntile_zero 0", "needs a tile that the configuration"),
        ("tile_config (8 x 64)\nfor %j = %b .. %e step 1 {\ntile_zero 0\ntile_config (16 x 64)\n}", "needs a tile that the configuration"),
        ("%x = splat f32 %f", "not a vector"),
        ("%x = splat i32x4 %f", "operand 0 is f32, not i32"),
        ("%x = extract_lane f32 %v, 4", "lane or part 4 of 4"),
        ("%x = extract_lane f32 %f, 0", "operand 0 is f32, not a vector"),
        ("%x = insert_lane f32x4 %v, %i, 0", "operand 1 is i32, not f32"),
        ("%x = extract_part f32x2 %v, 2", "lane or part 2 of 2"),
        ("%x = extract_part f32x3 %v, 0", "not a vector of a part of the lanes"),
        ("%x = concat f32x4 %v, %v", "not all lanes of both operands"),
        ("%x = shuffle f32x4 %v, %v (0, 1, 2, 8)", "lane or part 8 of 8"),
        ("%x = shuffle f32x4 %v, %v (0, 1)", "2 entries for 4 lanes"),
        ("%a = const.f32x2 0\n%x = unpack_lo f32x2 %a, %a", "not a vector of whole 128-bit blocks"),
        ("%x = pack_s i16x8 %v, %v", "not i16 or i32 lanes in whole"),
        ("%x = pack_s i8x8 %w, %w", "twice as many lanes"),
        ("%x = table16 i32x4 %w, %w", "not i8 lanes"),
        ("%x = table256 i8x16 %p, %w", "operand 1 is i32x4, not i8x16"),
        ("%a = const.f32x3 0\n%x = reduce.add f32 %a", "not a power of two of lanes"),
        ("%x = reduce.or f32 %v", "not integers or bool"),
        ("%x = reduce.add i32 %v", "result 0 is i32, not f32"),
        ("%x = load.f32 i32x4 [%p]", "lanes of i32x4 do not go with memory element f32"),
        ("%x = load.f32 f32x4 [%n]", "operand 0 is i64, not ptr"),
        ("%x = load.f32 f32x4 [%p + %i*4]", "operand 1 is i32, not i64"),
        ("%x = load.f32 f32x4 [%p] first(4)", "first(4) of 4 lanes"),
        ("%x = load.f32 f32x4 [%p] first(0)", "first(0) of 4 lanes"),
        ("%x = load.f32 f32 [%p] first(1)", "first(1) of 1 lanes"),
        ("%x = load.f32 f32x4 [%p] mask(%w)", "operand 1 is i32x4, not boolx4"),
        ("%c = const.bool 1\n%x = load.f32 f32 [%p] mask(%c)", "first or mask is not allowed here"),
        ("%x = load_splat.f32 f32 [%p]", "not a vector"),
        ("store.f32.wrap [%p], %w", "lanes of i32x4 do not go with memory element f32"),
        ("%x = gather.f32 f32x4 [%p]", "has 1 operands, not 2"),
        ("%x = gather.f32 f32x4 [%p + %n*4]", "operand 1 is i64, not i32x4"),
        ("%x = ptr_add ptr %p, %i", "operand 1 is i32, not i64"),
        ("%x = scratch ptr 0 align 16", "scratch of 0 bytes"),
        ("%x = scratch ptr 262144 align 16\n%y = scratch ptr 1 align 1", "scratch of 262145 bytes"),
        ("%x = scratch ptr 4 align 3", "alignment 3"),
        ("%x = scratch ptr 4 align 128", "alignment 128"),
        ("%x = const.i8x16 0x100", "constant 0x100 does not fit"),
        ("%x = const.boolx4 (1, 2, 0, 0)", "constant 0x2 does not fit"),
        ("%x = const.i32x4 (1, 2)", "2 entries for 4 lanes"),
        ("%x = const.ptr 0", "not a type other than ptr"),
        ("%x = const.i16 0", "type i16 does not exist"),
        ("%x = const.f32x300 0", "type f32x300 does not exist"),
        ("for %k = %b .. %e step 0 { }", "step 0 is not positive"),
        ("for %k = %i .. %e step 1 { }", "operand 0 is i32, not i64"),
        ("%r = for %k = %b .. %e step 1 carry(%s = %f) { }", "block 0 yields 0 values, not 1"),
        ("%r = for %k = %b .. %e step 1 carry(%s = %f) { yield %i }", "value 0 that block 0 yields is i32, not f32"),
        ("if %i { }", "operand 0 is i32, not bool"),
        ("%c = const.bool 1\n%r = if %c { yield %f }", "block 1 yields 0 values, not 1"),
        ("%c = const.bool 1\n%r = if %c { yield %f } else { yield %i }", "value 0 that block 1 yields is i32, not f32"),
        ("while { yield %i } do() { }", "value 0 that block 0 yields is i32, not bool"),
        ("return %f", "returns nothing or one i32"),
        ("return %i, %i", "returns nothing or one i32"),
    ];
    for (body, message) in cases {
        let e = broken(body);
        assert!(e.to_string().contains(message), "{body}\n{e}\nwithout `{message}`");
    }
}

#[test]
fn errors_say_where() {
    let e = broken("%c = const.bool 1\nif %c {\n%x = add f32x4 %v, %w\n}");
    assert_eq!(e.to_string(), "kernel @t, instruction 4 `%5 = add f32x4 %2, %3`: operand 1 is i32x4, not f32x4");
}

/// A kernel to break: loads, adds in a loop, stores.
fn sound() -> Kernel {
    let mut b = Builder::new("sound");
    let p = b.ptr_param("p");
    let zero = b.float(Type::F32, 0.0);
    let (begin, end) = (b.begin(), b.end());
    let sum = b.for_loop(begin, end, 1, &[zero], |b, i, c| {
        let x = b.load(Type::F32, Mem::F32, crate::Addr::new(p).index(i, 4));
        vec![b.add(c[0], x)]
    });
    b.store(Mem::F32, Narrow::Wrap, p, sum[0]);
    b.finish()
}

#[test]
fn each_structural_rule_is_enforced() {
    verify(&sound()).unwrap();
    let check = |break_it: &dyn Fn(&mut Kernel), expected: VerifyCause| {
        let mut k = sound();
        break_it(&mut k);
        assert_eq!(verify(&k).unwrap_err().cause, expected);
    };
    check(&|k| k.name = "a b".into(), Cause::Name("a b".into()));
    check(&|k| k.params[0].name = "1x".into(), Cause::Name("1x".into()));
    check(&|k| k.params[0].name = String::new(), Cause::Name(String::new()));
    check(&|k| k.types[2] = Type::F64, Cause::ParamType { name: "p".into(), ty: Type::F64 });
    check(&|k| k.types[0] = Type::I32, Cause::UnitsType(Type::I32));
    check(&|k| k.end = k.begin, Cause::DefinedTwice(Value(0)));
    check(&|k| k.body.insts[0].results[0] = Value(999), Cause::UnknownValue(Value(999)));
    check(&|k| k.body.insts[2].args[1] = Value(999), Cause::UnknownValue(Value(999)));
    check(&|k| k.types[3] = Type::vector(Elem::Ptr, 2), Cause::InvalidType(Type::vector(Elem::Ptr, 2)));
    check(&|k| k.body.insts.swap(0, 1), Cause::NotVisible(Value(3)));
    // The body's values are not visible behind the loop.
    check(&|k| k.body.insts[2].args[1] = k.body.insts[1].blocks[0].yields[0], Cause::NotVisible(Value(7)));
    // Nor its own results inside it.
    check(&|k| k.body.insts[1].blocks[0].yields[0] = k.body.insts[1].results[0], Cause::NotVisible(Value(8)));
    check(&|k| k.body.insts[1].results[0] = Value(7), Cause::DefinedTwice(Value(7)));
    check(&|k| k.body.insts[1].blocks.clear(), Cause::BlockCount { expected: 1, got: 0 });
    check(&|k| k.body.insts[0].blocks.push(Block::default()), Cause::BlockCount { expected: 0, got: 1 });
    check(&|k| k.body.insts[1].args.truncate(2), Cause::BlockArgCount { block: 0, expected: 1, got: 2 });
    check(&|k| k.body.insts[1].args.truncate(1), Cause::OperandCount { expected: 2, got: 1 });
    check(&|k| k.body.insts[1].results.clear(), Cause::ResultCount { expected: 1, got: 0 });
    check(&|k| k.body.insts[2].results.push(Value(8)), Cause::ResultCount { expected: 0, got: 1 });
    check(&|k| k.types[4] = Type::I32, Cause::BlockArgType { block: 0, arg: 0, got: Type::I32, expected: Type::I64 });
    check(&|k| k.types[8] = Type::F64, Cause::ResultType { result: 0, got: Type::F64, expected: Expected::Type(Type::F32) });
    check(&|k| k.body.args.push(Value(3)), Cause::BodyArgs);
    check(&|k| k.params.push(k.params[0].clone()), Cause::DuplicateName("p".into()));
    let scale = |k: &mut Kernel| match &mut k.body.insts[1].blocks[0].insts[0].op {
        Op::Load(m) => m.addr.scale = 3,
        op => panic!("{op:?}"),
    };
    check(&scale, Cause::Scale(3));
}

#[test]
fn deep_nesting_is_an_error() {
    let nest = |n: usize| {
        let text = format!("kernel @t(%c: i32) units %b .. %e {{ %x = cmp.eq i32 %c, %c {} {} }}", "if %x {".repeat(n), "}".repeat(n));
        parse(&text)
    };
    nest(MAX_DEPTH).unwrap();
    assert!(matches!(nest(MAX_DEPTH + 1).unwrap_err().kind, ParseErrorKind::TooDeep));
    let mut k = nest(MAX_DEPTH).unwrap();
    let inner = k.body.insts[1].clone();
    k.body.insts[1].blocks[1].insts.push(inner);
    assert_eq!(verify(&k).unwrap_err().cause, Cause::TooDeep);
}
