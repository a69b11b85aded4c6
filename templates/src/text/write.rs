//! Writes what a cursor reads: texts in quotes, bytes, floats.

use std::fmt::Write;

/// A text in quotes, as [`Cursor::string`] reads it.
pub fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    out.push('"');
    for c in s.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            // Writing to a string cannot fail.
            c if c.is_control() => drop(write!(out, "\\u{{{:x}}}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Bytes as `hex "…"`, as [`Cursor::hex`] reads them.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = String::with_capacity(bytes.len() * 2 + 6);
    out.push_str("hex \"");
    for b in bytes {
        out.push(char::from(DIGITS[usize::from(b >> 4)]));
        out.push(char::from(DIGITS[usize::from(b & 15)]));
    }
    out.push('"');
    out
}

/// A float as the shortest text that reads back to the same bits; never looks like an integer.
pub fn float(v: f32) -> String {
    if v.is_nan() { format!("nan({:#x})", v.to_bits()) } else { format!("{v:?}") }
}
