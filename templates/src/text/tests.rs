//! What is written reads back; errors name their place.

use super::*;

#[test]
fn strings_and_floats_read_back() {
    for s in ["", "plain", "quote \" back \\ line\n\ttab \u{1}\u{7f} é 漢 ;comment"] {
        assert_eq!(Cursor::new(&quote(s)).unwrap().string("").unwrap(), s);
    }
    for v in [
        0.0,
        -0.0,
        1.0,
        -1.5e-45,
        1e-7,
        3.4e38,
        f32::MIN_POSITIVE,
        0.1,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        f32::from_bits(0xffc0_0123),
    ] {
        assert_eq!(Cursor::new(&float(v)).unwrap().f32("").unwrap().to_bits(), v.to_bits());
    }
}

#[test]
fn errors_name_line_and_column() {
    let mut c = Cursor::new("a ; note\n  é").unwrap();
    assert_eq!(c.advance().unwrap_err().to_string(), "2:3: unexpected character 'é'");
    let mut c = Cursor::new("x \"open").unwrap();
    assert_eq!(c.advance().unwrap_err().to_string(), "1:3: a quote that is never closed");
    assert!(Cursor::new("%").is_err() && Cursor::new("\"\\").is_err() && Cursor::new("\"é\\").is_err());
}

#[test]
fn numbers_keep_their_range() {
    assert_eq!(Cursor::new("-9223372036854775808").unwrap().int::<i64>("").unwrap(), i64::MIN);
    assert_eq!(Cursor::new("0xffffffffffffffff").unwrap().int::<u64>("").unwrap(), u64::MAX);
    assert!(Cursor::new("256").unwrap().int::<u8>("a byte").is_err());
    assert!(Cursor::new("99999999999999999999999999999999999999999").unwrap().int::<u64>("").is_err());
    assert!(Cursor::new("0x-5").unwrap().int::<i64>("").is_err());
    assert!(Cursor::new("1e99").unwrap().f32("").is_err());
}
