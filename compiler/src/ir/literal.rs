//! Elements of constants as numbers of the text form: bytes to bits, bits to text, and back.
//!
//! An element is the low `DType::bits()` bits of a `u64`. Types without a number form (strings, complex numbers, 8-bit floats) give `None`
//! everywhere and are written as bytes. Nothing is rounded: what prints as a number reads back to the same bits.

use crate::ir::DType;
use tflc_templates::text::{Cursor, ParseErrorKind, Result, float};

/// Whether elements of a type can be written as numbers.
fn has_numbers(dtype: DType) -> bool {
    dtype.int_range().is_some() || dtype.is_float() || matches!(dtype, DType::Int64 | DType::UInt64 | DType::Bool)
}

/// The elements of a constant; `None` where bytes and count do not match, padding bits are set, or elements have no number form.
pub(super) fn elements(dtype: DType, count: usize, data: &[u8]) -> Option<Vec<u64>> {
    if !has_numbers(dtype) || dtype.bytes(count) != Some(data.len()) {
        return None;
    }
    let bits = dtype.bits();
    let elements: Vec<u64> = if bits < 8 {
        let per_byte = 8 / bits;
        (0..count).map(|i| u64::from(data[i / per_byte] >> (bits * (i % per_byte))) & mask(bits)).collect()
    } else {
        data.chunks_exact(bits / 8).map(|c| c.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))).collect()
    };
    let exact = (bits >= 8 || pack(dtype, &elements) == data) && elements.iter().all(|e| text(dtype, *e).is_some());
    exact.then_some(elements)
}

fn mask(bits: usize) -> u64 {
    u64::MAX >> (64 - bits)
}

/// The bytes of a constant.
pub(super) fn pack(dtype: DType, elements: &[u64]) -> Vec<u8> {
    let bits = dtype.bits();
    if bits >= 8 {
        return elements.iter().flat_map(|e| e.to_le_bytes().into_iter().take(bits / 8)).collect();
    }
    elements.chunks(8 / bits).map(|c| c.iter().rev().fold(0, |v, e| v << bits | *e as u8)).collect()
}

/// The bytes of a constant whose `count` elements are all `element`.
pub(super) fn splat(dtype: DType, element: u64, count: usize) -> Vec<u8> {
    let per_byte = (8 / dtype.bits()).max(1);
    let mut data = pack(dtype, &vec![element; per_byte]).repeat(count / per_byte);
    data.extend(pack(dtype, &vec![element; count % per_byte]));
    data
}

/// The text of an element; `None` where it has none.
pub(super) fn text(dtype: DType, element: u64) -> Option<String> {
    Some(match dtype {
        DType::Float32 => float(f32::from_bits(element as u32)),
        DType::Float16 => half_text(half::f16::from_bits(element as u16).to_f32())?,
        DType::BFloat16 => half_text(half::bf16::from_bits(element as u16).to_f32())?,
        DType::Float64 => Some(f64::from_bits(element)).filter(|v| !v.is_nan()).map(|v| format!("{v:?}"))?,
        DType::Bool => match element {
            0 => "false".to_string(),
            1 => "true".to_string(),
            _ => return None,
        },
        DType::UInt64 => element.to_string(),
        DType::Int64 => (element as i64).to_string(),
        _ => {
            let (low, _) = dtype.int_range()?;
            let shift = 64 - dtype.bits();
            if low < 0 { ((element << shift) as i64 >> shift).to_string() } else { element.to_string() }
        }
    })
}

fn half_text(v: f32) -> Option<String> {
    (!v.is_nan()).then(|| float(v))
}

/// Takes an element.
///
/// # Errors
/// Where none of this type stands here.
pub(super) fn parse(cursor: &mut Cursor<'_>, dtype: DType) -> Result<u64> {
    let at = cursor.offset();
    if !has_numbers(dtype) {
        return cursor.expected("`hex` and bytes: this element type has no numbers");
    }
    match dtype {
        DType::Bool if cursor.accept_word("true")? => Ok(1),
        DType::Bool if cursor.accept_word("false")? => Ok(0),
        DType::Bool => cursor.expected("`true` or `false`"),
        DType::Float32 => Ok(u64::from(cursor.f32("a 32-bit float")?.to_bits())),
        DType::Float16 => Ok(u64::from(half::f16::from_f32(cursor.f32("a 16-bit float")?).to_bits())),
        DType::BFloat16 => Ok(u64::from(half::bf16::from_f32(cursor.f32("a 16-bit float")?).to_bits())),
        DType::Float64 => Ok(cursor.f64("a 64-bit float")?.to_bits()),
        DType::UInt64 => cursor.int::<u64>("an unsigned 64-bit integer"),
        DType::Int64 => Ok(cursor.int::<i64>("a 64-bit integer")? as u64),
        _ => {
            let v = cursor.int::<i64>("an integer of the constant's type")?;
            match dtype.int_range() {
                Some((low, high)) if (low..=high).contains(&v) => Ok(v as u64 & mask(dtype.bits())),
                _ => cursor.error_at(at, ParseErrorKind::Number { text: v.to_string(), expected: "an integer of the constant's type" }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(dtype: DType, count: usize, data: &[u8]) -> String {
        let all = elements(dtype, count, data).unwrap();
        assert_eq!(pack(dtype, &all), data);
        let texts: Vec<String> = all.iter().map(|e| text(dtype, *e).unwrap()).collect();
        for (t, e) in texts.iter().zip(&all) {
            assert_eq!(parse(&mut Cursor::new(t).unwrap(), dtype).unwrap(), *e);
        }
        texts.join(" ")
    }

    #[test]
    fn elements_of_every_width_read_back() {
        assert_eq!(round(DType::Int8, 3, &[0, 127, 128]), "0 127 -128");
        assert_eq!(round(DType::UInt16, 1, &[1, 128]), "32769");
        assert_eq!(round(DType::Int64, 1, &[255; 8]), "-1");
        assert_eq!(round(DType::UInt64, 1, &[255; 8]), "18446744073709551615");
        assert_eq!(round(DType::Float32, 2, &[0, 0, 128, 63, 1, 0, 192, 127]), "1.0 nan(0x7fc00001)");
        assert_eq!(round(DType::Float16, 2, &[0, 60, 0, 252]), "1.0 -inf");
        assert_eq!(round(DType::BFloat16, 1, &[0x80, 0x3f]), "1.0");
        assert_eq!(round(DType::Float64, 1, &(-0.0f64).to_le_bytes()), "-0.0");
        assert_eq!(round(DType::Int4, 3, &[0x8f, 0x07]), "-1 -8 7");
        assert_eq!(round(DType::Int2, 3, &[0b00_10_01_11]), "-1 1 -2");
        assert_eq!(round(DType::Bool, 2, &[0, 1]), "false true");
    }

    #[test]
    fn what_has_no_exact_numbers_has_none() {
        assert_eq!(elements(DType::Bool, 1, &[2]), None);
        assert_eq!(elements(DType::Int4, 1, &[0x10]), None, "padding bits");
        assert_eq!(elements(DType::Float16, 1, &[1, 0x7c]), None, "NaN");
        assert_eq!(elements(DType::String, 0, &[]), None);
        assert_eq!(elements(DType::Int32, 2, &[0; 4]), None, "too few bytes");
    }

    #[test]
    fn splats_are_packed() {
        assert_eq!(splat(DType::Int4, 0xf, 3), [0xff, 0x0f]);
        assert_eq!(splat(DType::Int16, 0x1234, 2), [0x34, 0x12, 0x34, 0x12]);
        assert!(splat(DType::Int2, 1, 0).is_empty());
    }
}
