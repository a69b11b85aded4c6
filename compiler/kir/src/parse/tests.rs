//! The parser takes back what the printer writes, says where a text is wrong, and survives any text.

use super::*;
use crate::print;

const ALL_FORMS: &str = "\
kernel @every_form(%x: ptr, %n: i64, %k: i32, %f: f32) units %0 .. %1 {
  %2 = const.f32x16 0x40000000
  %3 = const.i32x4 (0x0, 0x1, 0xffffffff, 0x3)
  %4 = scratch ptr 64 align 16
  %5 = neg f32x16 %2
  %6 = add i32x4 %3, %3
  %7 = fma f32x16 %2, %5, %2
  %8 = cmp.lt f32x16 %2, %5
  %9 = select f32x16 %8, %2, %5
  %10 = bitcast i8x16 %3
  %11 = dot4.us i32x4 %3, %10, %10
  %12 = splat i32x4 %k
  %13 = extract_lane i32 %3, 2
  %14 = insert_lane i32x4 %3, %13, 1
  %15 = extract_part f32x4 %2, 3
  %16 = concat i32x8 %3, %6
  %17 = shuffle i32x4 %3, %6 (0, 7, 1, 4)
  %18 = unpack_lo i32x4 %3, %6
  %19 = pack_s i16x8 %3, %6
  %20 = table16 i8x16 %10, %10
  %21 = table256 i8x16 %x, %10
  %22 = reduce.add i32 %3
  %23 = load.f32 f32x16 [%x + %n*4 + 64] first(3)
  %24 = load.u8 i32x4 [%x - 8]
  %25 = load.bf16 f32x16 [%4 + %n*2] mask(%8)
  %26 = load_splat.f32 f32x4 [%x + 4]
  %27 = gather.f32 f32x4 [%x + %3*4 - 16]
  store.s8.sat [%x + %n*1], %3
  store.f16.wrap [%x] first(1), %15
  store.f32.wrap [%x - 2147483648] mask(%8), %2
  prefetch.l1 [%x + %n*8 + 2147483647]
  prefetch.nta [%x]
  %28 = ptr_add ptr %x, %n
  %33, %34 = for %29 = %0 .. %1 step 16 carry(%30 = %k, %31 = %2) {
    %32 = add i32 %30, %k
    yield %32, %31
  }
  for %35 = %0 .. %n step 1 {
    prefetch.l2 [%28]
  }
  %36 = cmp.eq i32 %33, %k
  %39 = if %36 {
    %37 = const.i32 0x1
    yield %37
  } else {
    %38 = const.i32 0x2
    yield %38
  }
  if %36 {
    prefetch.l2 [%28]
  }
  %43 = while carry(%40 = %39) {
    %41 = cmp.lt i32 %40, %k
    yield %41, %40
  } do(%42) {
    yield %42
  }
  while carry() {
    yield %36
  } do() {
  }
  return %43
}
";

#[test]
fn print_and_parse_are_inverse_on_every_form() {
    let kernel = parse(ALL_FORMS).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(print(&kernel), ALL_FORMS);
    assert_eq!(parse(&print(&kernel)).unwrap(), kernel);
}

#[test]
fn names_spaces_and_comments_are_free() {
    let text = "kernel@k ( %p:ptr )units %from..%to{;comment ; more\n %loaded=load.s32 i32[%p+4]return %loaded}";
    assert_eq!(print(&parse(text).unwrap()), "kernel @k(%p: ptr) units %0 .. %1 {\n  %2 = load.s32 i32 [%p + 4]\n  return %2\n}\n");
}

#[test]
fn several_kernels_in_one_text() {
    let one = "kernel @a() units %0 .. %1 {\n}\n";
    let names: Vec<String> = parse_all(&format!("{one}{}", one.replace("@a", "@b"))).unwrap().into_iter().map(|k| k.name).collect();
    assert_eq!(names, ["a", "b"]);
    assert!(parse(&format!("{one}{one}")).is_err());
}

#[test]
fn errors_say_line_column_and_what_is_right() {
    let cases = [
        ("", "1:1: expected `kernel`, found the end of the text"),
        ("kernel k()", "1:8: expected `@` and the kernel's name, found `k`"),
        ("kernel @k(%a: f16) ", "1:15: expected a type, found `f16`"),
        ("kernel @k() units %0 .. %1 {\n  %2 = bad i32 %0\n}", "2:8: there is no operator `bad`"),
        ("kernel @k() units %0 .. %1 {\n  %2 = cmp.less i64 %0, %1\n}", "2:8: there is no operator `cmp.less`"),
        ("kernel @k() units %0 .. %1 {\n  %2 = add i64 %0, %9\n}", "2:20: %9 is not defined here"),
        ("kernel @k() units %0 .. %1 {\n  %1 = add i64 %0, %0\n}", "2:3: %1 is already defined"),
        ("kernel @k() units %0 .. %1 {\n  %2 = prefetch.l1 [%0]\n}", "2:3: 1 names for 0 results"),
        ("kernel @k() units %0 .. %1 {\n  add i64 %0, %0\n}", "2:3: 0 names for 1 results"),
        (
            "kernel @k() units %0 .. %1 {\n  %2 = const.i64 99999999999999999999\n}",
            "2:18: `99999999999999999999` is not a number of 64 bits",
        ),
        ("kernel @k(%p: ptr) units %0 .. %1 {\n  prefetch.l1 [%p + %0*3]\n}", "2:24: 3 is out of range: 1, 2, 4 or 8"),
        (
            "kernel @k(%p: ptr) units %0 .. %1 {\n  prefetch.l1 [%p + 2147483648]\n}",
            "2:21: 2147483648 is out of range: an offset of 32 bits",
        ),
        ("kernel @k() units %0 .. %1 {\n  é\n}", "2:3: unexpected character 'é'"),
        ("kernel @k() units %0 .. %1 {", "1:29: expected an operator, found the end of the text"),
    ];
    for (text, message) in cases {
        assert_eq!(parse(text).unwrap_err().to_string(), message);
    }
}

/// A small generator of pseudo-random numbers (xorshift64*, Vigna 2016).
fn random(state: &mut u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_f491_4f6c_dd1d)
}

#[test]
fn damaged_texts_never_panic() {
    let mut state = 1;
    let words: Vec<&str> = ALL_FORMS.split_inclusive([' ', '\n', ',']).collect();
    for _ in 0..3000 {
        let mut bytes = ALL_FORMS.as_bytes().to_vec();
        for _ in 0..1 + random(&mut state) % 4 {
            let at = random(&mut state) as usize % bytes.len();
            let word = words[random(&mut state) as usize % words.len()].bytes();
            match random(&mut state) % 5 {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = random(&mut state) as u8,
                2 => drop(bytes.splice(at..at, word)),
                3 => bytes[at] = b"0123456789%x()[]{}"[random(&mut state) as usize % 18],
                _ => drop(bytes.splice(at..(at + 5).min(bytes.len()), word)),
            }
        }
        fuzz_parse(&bytes);
    }
}

#[test]
fn extreme_texts_are_errors() {
    assert!(parse(&"(".repeat(100_000)).is_err());
    let open = format!("kernel @k() units %0 .. %1 {{ {}", "if %0 {".repeat(100_000));
    assert!(matches!(parse(&open).unwrap_err().kind, ParseErrorKind::TooDeep));
    assert!(parse("kernel @k() units %0 .. %1 { %2 = const.f32x65535 0x0 }").is_err());
    assert!(parse("kernel @k() units %0 .. %1 { %2 = const.f32x99999 0x0 }").is_err());
    assert!(parse("kernel @k() units %0 .. %1 { %2 = scratch ptr 4294967295 align 64 }").is_err());
}
