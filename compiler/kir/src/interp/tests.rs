//! Interpreter tests: the operator table of `ops.txt`, memory forms, control flow, traps.

use super::*;
use crate::{Elem, Mem, parse};

/// Splits `f32x4 1 2` into the type's text and the bits of all lanes.
fn lanes(text: &str) -> (Type, Vec<u64>) {
    let (ty, values) = text.trim().split_once(' ').expect("a type and lanes");
    let (elem, n) = ty.split_once('x').map_or((ty, 1), |(e, n)| (e, n.parse().unwrap()));
    let elem = Elem::ALL.into_iter().find(|e| e.name() == elem).expect("a kind of lane");
    let bits = |v: &str| match elem {
        Elem::F32 => u64::from(v.parse::<f32>().unwrap().to_bits()),
        Elem::F64 => v.parse::<f64>().unwrap().to_bits(),
        _ => match v.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap(),
            None => v.parse::<i128>().unwrap() as u64 & elem.bit_mask(),
        },
    };
    let list: Vec<u64> = values.split_whitespace().map(bits).collect();
    (Type::vector(elem, n), list.iter().copied().cycle().take(usize::from(n)).collect())
}

fn memory_name(elem: Elem) -> &'static str {
    match elem {
        Elem::I8 => "s8",
        Elem::I16 => "s16",
        Elem::I32 | Elem::Bool => "s32",
        e => e.name(),
    }
}

/// Runs one instruction on constants and reads the result back through memory.
fn evaluate(inst: &str, operands: &[(Type, Vec<u64>)], result: Type) -> Vec<u64> {
    let mut text = "kernel @t(%out: ptr) units %begin .. %end {\n".to_string();
    for (i, (ty, bits)) in operands.iter().enumerate() {
        let list: Vec<String> = bits.iter().map(|b| format!("{b:#x}")).collect();
        let list = if ty.is_vector() { format!("({})", list.join(", ")) } else { list[0].clone() };
        text += &format!("%{i} = const.{ty} {list}\n");
    }
    text += &format!("%r = {inst}\n");
    let mut stored = "%r";
    if result.elem == Elem::Bool {
        text += &format!("%i = ext_u {} %r\n", result.with_elem(Elem::I32));
        stored = "%i";
    }
    text += &format!("store.{}.wrap [%out], {stored}\n}}\n", memory_name(result.elem));
    let kernel = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let size = (result.elem.bits() / 8).max(if result.elem == Elem::Bool { 4 } else { 1 }) as usize;
    let mut memory = Memory::new();
    let out = memory.add(vec![0; size * usize::from(result.lanes)]);
    run(&kernel, &[Arg::Ptr(out)], &mut memory, 0, 1).unwrap();
    let word = |b: &[u8]| b.iter().rev().fold(0, |v, &b| v << 8 | u64::from(b));
    memory.bytes(0).chunks(size).map(word).collect()
}

#[test]
fn operators_give_what_the_table_says() {
    let mut count = 0;
    for line in include_str!("ops.txt").lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let (left, right) = line.split_once("=>").expect("a result");
        let mut parts = left.split('|');
        let inst = parts.next().unwrap().trim();
        let operands: Vec<_> = parts.map(lanes).collect();
        let (ty, expected) = lanes(right);
        let got = evaluate(inst, &operands, ty);
        let same = |(&g, &e): (&u64, &u64)| match ty.elem {
            Elem::F32 if f32::from_bits(e as u32).is_nan() => f32::from_bits(g as u32).is_nan(),
            Elem::F64 if f64::from_bits(e).is_nan() => f64::from_bits(g).is_nan(),
            _ => g == e,
        };
        assert!(got.len() == expected.len() && got.iter().zip(&expected).all(same), "{line}\n got {got:x?}\nwant {expected:x?}");
        count += 1;
    }
    assert!(count > 100);
}

#[test]
fn the_table_covers_every_plain_operator() {
    let elsewhere = ["const", "load", "load_splat", "gather", "store", "scratch", "ptr_add", "table256", "for", "if", "while"];
    for name in crate::parse::mnemonics() {
        if elsewhere.contains(&name.as_str()) || name.starts_with("prefetch") || name.starts_with("tile_") {
            continue;
        }
        let line = format!("\n{name} ");
        assert!(include_str!("ops.txt").contains(&line), "no line for {name}");
    }
}

/// Runs `body` with `%a` and `%b` pointing to two buffers; gives the status and the buffers.
fn run_on(body: &str, a: &[u8], b: &[u8]) -> Result<(i32, Vec<u8>, Vec<u8>), Trap> {
    let text = format!("kernel @t(%a: ptr, %b: ptr) units %begin .. %end {{\n{body}\n}}\n");
    let kernel = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let mut memory = Memory::new();
    let args = [Arg::Ptr(memory.add(a.to_vec())), Arg::Ptr(memory.add(b.to_vec()))];
    let status = Program::new(&kernel)?.fuel(10_000).run(&args, &mut memory, 2, 5)?;
    Ok((status, memory.bytes(0).to_vec(), memory.bytes(1).to_vec()))
}

fn copied(body: &str, a: &[u8], size: usize) -> Vec<u8> {
    run_on(body, a, &vec![0xee; size]).unwrap().2
}

#[test]
fn tiles_are_multiplied() {
    // Two rows of A, one column of B whose four bytes are neighbours in k; C begins as 100 and 200.
    let body = |product: &str| {
        format!(
            "tile_config (2 x 4, 2 x 8, 2 x 4)\n%four = const.i64 4\n%eight = const.i64 8\ntile_load 0 [%b], %four\ntile_load 1 [%a], %eight\n\
             tile_load 2 [%a + 16], %four\ntile_dot.{product} 0, 1, 2\ntile_store 0 [%b], %four"
        )
    };
    let dwords = |v: [i32; 2]| [v[0].to_le_bytes(), v[1].to_le_bytes()].concat();
    let a: [u8; 24] = [1, 2, 3, 4, 5, 6, 7, 8, 255, 0, 0, 0, 0, 0, 0, 128, 1, 1, 1, 1, 1, 1, 1, 255];
    let c = dwords([100, 200]);
    // 1 + … + 7 - 8, -1 + 128.
    for (product, want) in [("ss", [120, 327]), ("us", [120, 327]), ("uu", [2168, 33095])] {
        let want = if product == "us" { [want[0], 200 + 255 - 128] } else { want };
        assert_eq!(run_on(&body(product), &a, &c).unwrap().2, dwords(want), "{product}");
    }
    let halves = |v: &[f32]| -> Vec<u8> { v.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes()).collect() };
    let a = halves(&[1.0, 2.0, 3.0, 4.0, 0.5, -1.0, 8.0, 1e-39, 1.0, 10.0, 100.0, 1e20]);
    let c = [1.5f32.to_le_bytes(), (-2.0f32).to_le_bytes()].concat();
    let got = run_on(&body("bf16"), &a, &c).unwrap().2;
    let want = [1.5 + (301.0 + (20.0 + 4.0 * half::bf16::from_f32(1e20).to_f32())), 0.5f32 + 800.0 - 10.0 - 2.0];
    assert_eq!(got, want.iter().flat_map(|v: &f32| v.to_le_bytes()).collect::<Vec<u8>>());
    assert!(matches!(run_on("tile_config (2 x 8)\n%x = const.i64 5\ntile_load 0 [%a], %x", &[0; 12], &[]), Err(Trap::Memory { .. })));
}

#[test]
fn loads_extend() {
    let load =
        |mem: &str, ty: &str, store: &str, a: &[u8], n| copied(&format!("%x = load.{mem} {ty} [%a]\nstore.{store}.wrap [%b], %x"), a, n);
    assert_eq!(load("s8", "i32", "s32", &[0x80], 4), [0x80, 255, 255, 255]);
    assert_eq!(load("u8", "i32", "s32", &[0x80], 4), [0x80, 0, 0, 0]);
    assert_eq!(load("s16", "i64", "i64", &[0, 0x80], 8), [0, 0x80, 255, 255, 255, 255, 255, 255]);
    assert_eq!(load("u16", "i32x2", "s32", &[0, 0x80, 1, 0], 8), [0, 0x80, 0, 0, 1, 0, 0, 0]);
    assert_eq!(load("s32", "i64", "i64", &[0, 0, 0, 0x80], 8)[4..], [255; 4]);
    assert_eq!(load("u32", "i64", "i64", &[0, 0, 0, 0x80], 8)[4..], [0; 4]);
    assert_eq!(load("f16", "f32", "f32", &[0x00, 0x3c], 4), 1f32.to_le_bytes());
    assert_eq!(load("bf16", "f32", "f32", &[0x80, 0xbf], 4), (-1f32).to_le_bytes());
    assert_eq!(load("f64", "f64", "f64", &2.5f64.to_le_bytes(), 8), 2.5f64.to_le_bytes());
}

#[test]
fn stores_narrow() {
    let store = |ty: &str, bits: &str, form: &str, n| copied(&format!("%x = const.{ty} {bits}\nstore.{form} [%b], %x"), &[], n);
    assert_eq!(store("i32x2", "(300, 0xffffff00)", "s8.wrap", 2), [44, 0]);
    assert_eq!(store("i32x2", "(300, 0xffffff00)", "s8.sat", 2), [127, 0x80]);
    assert_eq!(store("i32x2", "(300, 0xffffff00)", "u8.sat", 2), [255, 0]);
    assert_eq!(store("i64", "0x100000000", "s32.sat", 4), [255, 255, 255, 127]);
    assert_eq!(store("i64", "0x100000000", "u32.sat", 4), [255; 4]);
    // Equal widths are not narrowed, whatever the sign.
    assert_eq!(store("i8x2", "0xff", "u8.sat", 2), [255, 255]);
    assert_eq!(store("i32", "0xffffffff", "u32.sat", 4), [255; 4]);
    // binary16: to nearest even, overflow to infinity, subnormals.
    let half = |v: f32| u16::from_le_bytes(store("f32", &format!("{:#x}", v.to_bits()), "f16.wrap", 2).try_into().unwrap());
    assert_eq!(half(1.0 + 1.0 / 2048.0), 0x3c00);
    assert_eq!(half(1.0 + 3.0 / 2048.0), 0x3c02);
    assert_eq!(half(65520.0), 0x7c00);
    assert_eq!(half(65519.9), 0x7bff);
    assert_eq!(half(5.9604645e-8), 1);
    assert_eq!(half(2.9802322e-8), 0);
    // bfloat16
    let brain = |bits: u32| u16::from_le_bytes(store("f32", &format!("{bits:#x}"), "bf16.wrap", 2).try_into().unwrap());
    assert_eq!(brain(0x3f80_8000), 0x3f80);
    assert_eq!(brain(0x3f81_8000), 0x3f82);
    assert_eq!(brain(0x7f7f_ffff), 0x7f80);
}

#[test]
fn partial_accesses_touch_only_active_lanes() {
    let b = copied("%x = load.u8 i32x4 [%a] first(3)\nstore.u8.wrap [%b], %x", &[1, 2, 3], 4);
    assert_eq!(b, [1, 2, 3, 0]);
    let b = copied("%x = const.i32x4 7\nstore.u8.wrap [%b] first(3), %x", &[], 3);
    assert_eq!(b, [7, 7, 7]);
    // The inactive lanes lie outside both buffers.
    let b = copied("%m = const.boolx4 (0, 1, 0, 0)\n%x = load.u8 i32x4 [%a - 1] mask(%m)\nstore.u8.wrap [%b], %x", &[9], 4);
    assert_eq!(b, [0, 9, 0, 0]);
    let b = copied("%m = const.boolx4 (0, 0, 1, 0)\n%x = const.i32x4 5\nstore.u8.wrap [%b - 2] mask(%m), %x", &[], 1);
    assert_eq!(b, [5]);
}

#[test]
fn addresses_scale_and_offset() {
    let a: Vec<u8> = (0..32).collect();
    assert_eq!(copied("%i = const.i64 3\n%x = load_splat.u8 i32x4 [%a + %i*8 + 2]\nstore.u8.wrap [%b], %x", &a, 4), [26; 4]);
    assert_eq!(copied("%i = const.i64 0xffffffffffffffff\n%x = load.u8 i32 [%a + %i*4 + 6]\nstore.u8.wrap [%b], %x", &a, 1), [2]);
    assert_eq!(copied("%i = const.i64 9\n%p = ptr_add ptr %a, %i\n%x = load.u8 i32 [%p - 4]\nstore.u8.wrap [%b], %x", &a, 1), [5]);
    let gather = "%i = const.i32x4 (0, 2, 0xffffffff, 1)\n%x = gather.u16 i32x4 [%a + %i*4 + 4]\nstore.u8.wrap [%b], %x";
    assert_eq!(copied(gather, &a, 4), [4, 12, 0, 8]);
    let mut table: Vec<u8> = (0..=255).rev().collect();
    table[7] = 1;
    assert_eq!(copied("%i = const.i8x4 (0, 7, 255, 128)\n%x = table256 i8x4 %a, %i\nstore.s8.wrap [%b], %x", &table, 4), [255, 1, 0, 127]);
}

#[test]
fn control_flow() {
    // Swapping carried values is a parallel copy; begin and end are 2 and 5.
    let body = "%x = const.i32 1\n%y = const.i32 2
        %p, %q = for %i = %begin .. %end step 2 carry(%u = %x, %v = %y) { %s = add i32 %u, %v\n yield %v, %s }
        store.s32.wrap [%b], %p\n store.s32.wrap [%b + 4], %q";
    assert_eq!(copied(body, &[], 8), [3, 0, 0, 0, 5, 0, 0, 0]);
    // A loop that never runs gives its initial values.
    let body = "%x = const.i32 9\n%r = for %i = %end .. %begin step 1 carry(%u = %x) { %z = const.i32 0\n yield %z }\n return %r";
    assert_eq!(run_on(body, &[], &[]).unwrap().0, 9);
    let body = "%c = cmp.lt i64 %begin, %end\n%r = if %c { %x = const.i32 1\n yield %x } else { %y = const.i32 2\n yield %y }\n return %r";
    assert_eq!(run_on(body, &[], &[]).unwrap().0, 1);
    let body = "%c = cmp.gt i64 %begin, %end\n%r = if %c { %x = const.i32 1\n yield %x } else { %y = const.i32 2\n yield %y }\n return %r";
    assert_eq!(run_on(body, &[], &[]).unwrap().0, 2);
    // The largest power of two below 100, from 1.
    let body = "%one = const.i32 1\n%l = const.i32 100
        %r = while carry(%x = %one) { %d = add i32 %x, %x\n %c = cmp.lt i32 %d, %l\n yield %c, %d } do(%y) { yield %y }\n return %r";
    assert_eq!(run_on(body, &[], &[]).unwrap().0, 128);
}

#[test]
fn scratch_is_local_and_checked() {
    let body = "%s = scratch ptr 8 align 8\n%x = load.s32 i32 [%a]\nstore.s32.wrap [%s + 4], %x\n%y = load.s32 i32 [%s + 4]\nreturn %y";
    assert_eq!(run_on(body, &[5, 0, 0, 0], &[]).unwrap().0, 5);
    let body = "%s = scratch ptr 8 align 8\n%y = load.s32 i32 [%s + 4]\nreturn %y";
    let Err(Trap::Memory { fault, inst, index, .. }) = run_on(body, &[], &[]) else { panic!("reads what was never written") };
    assert_eq!((fault.kind, index, inst.as_str()), (FaultKind::Uninitialised, 1, "%3 = load.s32 i32 [%2 + 4]"));
}

#[test]
fn bad_accesses_trap() {
    let fault = |body: &str| match run_on(body, &[0; 4], &[0; 4]) {
        Err(Trap::Memory { fault, .. }) => (fault.kind, fault.place),
        other => panic!("{other:?}"),
    };
    assert_eq!(fault("%x = load.s32 i32 [%a + 1]"), (FaultKind::OutOfBounds, Some((0, 1, 4))));
    assert_eq!(fault("%x = load.u8 i32 [%a - 1]"), (FaultKind::OutOfBounds, Some((0, -1, 4))));
    assert_eq!(fault("%x = const.i32x4 0\nstore.s32.wrap [%b] first(2), %x"), (FaultKind::OutOfBounds, Some((1, 0, 4))));
    assert_eq!(fault("%z = const.i64 0\n%p = bitcast ptr %z\n%x = load.u8 i32 [%p]"), (FaultKind::NoBuffer, None));
    let mut memory = Memory::new();
    let shared = memory.add_shared(&[0; 4]);
    let kernel = parse("kernel @w(%a: ptr) units %0 .. %1 { %x = const.i32 1\n store.s32.wrap [%a], %x }").unwrap();
    let trap = run(&kernel, &[Arg::Ptr(shared)], &mut memory, 0, 1).unwrap_err();
    assert!(matches!(trap, Trap::Memory { fault: Fault { kind: FaultKind::ReadOnly, .. }, .. }), "{trap}");
}

#[test]
fn undefined_arithmetic_and_endless_loops_trap() {
    let zero = "%x = const.i32 1\n%y = const.i32 0\n%z = div i32 %x, %y\nreturn %z";
    assert!(matches!(run_on(zero, &[], &[]), Err(Trap::Undefined { index: 2, .. })));
    let small = "%x = const.i64 0x8000000000000000\n%y = const.i64 0xffffffffffffffff\n%z = rem i64 %x, %y\n%w = wrap i32 %z\nreturn %w";
    assert!(matches!(run_on(small, &[], &[]), Err(Trap::Undefined { index: 2, .. })));
    let endless = "%t = const.bool 1\nwhile { yield %t } do() { }";
    assert!(matches!(run_on(endless, &[], &[]), Err(Trap::OutOfFuel { .. })));
    let overflow = "%e = const.i64 0x7fffffffffffffff\nfor %i = %begin .. %e step 0x7ffffffffffffff0 { }";
    assert!(matches!(run_on(overflow, &[], &[]), Err(Trap::Undefined { index: 1, .. })));
}

#[test]
fn arguments_are_checked() {
    let kernel = parse("kernel @k(%a: i32, %b: f32, %c: i64) units %0 .. %1 { %x = float_to_int_even i32 %b\n %y = add i32 %a, %x\n %z = wrap i32 %c\n %s = add i32 %y, %z\n return %s }").unwrap();
    let mut memory = Memory::new();
    assert_eq!(run(&kernel, &[Arg::I32(-1), Arg::F32(5.0), Arg::I64(100)], &mut memory, 0, 0), Ok(104));
    assert!(matches!(run(&kernel, &[Arg::I32(1)], &mut memory, 0, 0), Err(Trap::ArgCount { expected: 3, got: 1, .. })));
    assert!(matches!(run(&kernel, &[Arg::I32(1), Arg::I32(1), Arg::I64(0)], &mut memory, 0, 0), Err(Trap::ArgType { .. })));
}

#[test]
fn every_memory_element_has_a_test_here() {
    let source = include_str!("tests.rs");
    for m in Mem::ALL {
        assert!(source.contains(&format!("\"{}", m.name())), "no test of {}", m.name());
    }
}
