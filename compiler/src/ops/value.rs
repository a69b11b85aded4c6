//! Tensor values of the evaluator: a type and dense bytes, cheap to clone.
//!
//! Bytes are row-major and little-endian; elements below a byte stay packed. Strings are in TFLite's packed form: a count, one offset
//! more than there are strings, then the characters, all offsets 32-bit and from the start.

use crate::ir::{Bytes, DType, TensorType};
use bytemuck::Pod;
use std::borrow::Cow;
use std::sync::Arc;

/// A dense value of a tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct Value {
    /// Type; the shape is the real one.
    pub ty: TensorType,
    /// As many bytes as the type asks for.
    pub data: Bytes,
}

/// A vector of elements that owns the bytes of a value, aligned for its elements.
struct Elements<T>(Vec<T>);

impl<T: Pod> AsRef<[u8]> for Elements<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

impl Value {
    /// A value of these elements.
    ///
    /// # Panics
    /// Where the elements are not as many bytes as the type asks for.
    pub fn new<T: Pod + Send + Sync>(ty: TensorType, elements: Vec<T>) -> Value {
        let data = bytes_of(elements);
        assert!(ty.dtype.bits() == 0 || data.len() == ty.bytes(), "{} bytes for {ty:?}", data.len());
        Value { ty, data }
    }

    /// A value of these bytes; `None` where they are not as many as the type asks for.
    pub fn from_bytes(ty: TensorType, data: Bytes) -> Option<Value> {
        (ty.dtype.bits() == 0 || data.len() == ty.bytes()).then_some(Value { ty, data })
    }

    /// All zero bytes.
    pub fn zeros(ty: TensorType) -> Value {
        if ty.dtype == DType::String {
            let strings = vec![&[][..]; ty.elements()];
            return Value::from_strings(ty, &strings);
        }
        let bytes = ty.bytes();
        Value::new(ty, vec![0u64; bytes.div_ceil(8)].into_iter().flat_map(u64::to_le_bytes).take(bytes).collect::<Vec<u8>>())
    }

    /// Elements as `T`, without a copy where the bytes are aligned.
    ///
    /// # Panics
    /// Where the bytes are no whole number of elements.
    pub fn elements<T: Pod>(&self) -> Cow<'_, [T]> {
        match bytemuck::try_cast_slice(&self.data) {
            Ok(s) => Cow::Borrowed(s),
            Err(_) => Cow::Owned(self.data.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()),
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// Elements of any integer or truth-value type as `i64`; `None` for others.
    pub fn to_i64(&self) -> Option<Vec<i64>> {
        ints(self.ty.dtype, &self.data)
    }

    /// Elements of any number type as `f32`; `None` for others. Quantisation is not applied.
    pub fn to_f32(&self) -> Option<Vec<f32>> {
        Some(match self.ty.dtype {
            DType::Float32 => self.elements::<f32>().into_owned(),
            DType::Float16 => self.elements::<half::f16>().iter().map(|v| v.to_f32()).collect(),
            DType::BFloat16 => self.elements::<half::bf16>().iter().map(|v| v.to_f32()).collect(),
            DType::Float64 => self.elements::<f64>().iter().map(|v| *v as f32).collect(),
            _ => self.to_i64()?.into_iter().map(|v| v as f32).collect(),
        })
    }

    /// Elements of int8 and of packed integers, one byte each.
    pub fn to_i8(&self) -> Option<Cow<'_, [i8]>> {
        match self.ty.dtype {
            DType::Int8 => Some(Cow::Borrowed(bytemuck::cast_slice(&self.data))),
            DType::Int4 | DType::UInt4 | DType::Int2 => Some(Cow::Owned(unpack(self.ty.dtype, &self.data, self.ty.elements()))),
            _ => None,
        }
    }

    /// Strings; `None` where the value holds none or its offsets are wrong.
    pub fn strings(&self) -> Option<Vec<&[u8]>> {
        let word = |i: usize| -> Option<usize> {
            let at = i.checked_mul(4)?;
            usize::try_from(i32::from_le_bytes(self.data.get(at..at.checked_add(4)?)?.try_into().ok()?)).ok()
        };
        if self.ty.dtype != DType::String {
            return None;
        }
        if self.data.is_empty() {
            return (self.ty.elements() == 0).then(Vec::new);
        }
        let count = word(0)?;
        if count != self.ty.elements() {
            return None;
        }
        (0..count).map(|i| self.data.get(word(i + 1)?..word(i + 2)?)).collect()
    }

    /// A value of strings.
    ///
    /// # Panics
    /// Where they are not as many as the type has elements.
    pub fn from_strings<S: AsRef<[u8]>>(ty: TensorType, strings: &[S]) -> Value {
        assert_eq!(strings.len(), ty.elements());
        let mut data = (strings.len() as i32).to_le_bytes().to_vec();
        let mut at = 4 * (strings.len() + 2);
        data.extend((at as i32).to_le_bytes());
        for s in strings {
            at += s.as_ref().len();
            data.extend((at as i32).to_le_bytes());
        }
        for s in strings {
            data.extend(s.as_ref());
        }
        Value { ty, data: data.into() }
    }

    /// The same bytes with another type of the same size.
    ///
    /// # Panics
    /// Where the sizes differ.
    pub fn with_type(&self, ty: TensorType) -> Value {
        assert!(ty.dtype.bits() == 0 || self.data.len() == ty.bytes(), "{} bytes for {ty:?}", self.data.len());
        Value { ty, data: self.data.clone() }
    }
}

/// The bytes of a vector of elements, without a copy.
pub fn bytes_of<T: Pod + Send + Sync>(elements: Vec<T>) -> Bytes {
    let length = std::mem::size_of_val(&elements[..]);
    Bytes::from_owner(Arc::new(Elements(elements)), 0..length)
}

/// Elements of packed bytes of an integer or truth-value type; `None` for others.
pub fn ints(dtype: DType, data: &[u8]) -> Option<Vec<i64>> {
    fn all<const N: usize>(data: &[u8], f: impl Fn([u8; N]) -> i64) -> Option<Vec<i64>> {
        Some(data.as_chunks::<N>().0.iter().map(|c| f(*c)).collect())
    }
    match dtype {
        DType::Int8 => all(data, |b: [u8; 1]| b[0] as i8 as i64),
        DType::UInt8 | DType::Bool => all(data, |b: [u8; 1]| b[0] as i64),
        DType::Int16 => all(data, |b| i16::from_le_bytes(b) as i64),
        DType::UInt16 => all(data, |b| u16::from_le_bytes(b) as i64),
        DType::Int32 => all(data, |b| i32::from_le_bytes(b) as i64),
        DType::UInt32 => all(data, |b| u32::from_le_bytes(b) as i64),
        DType::Int64 => all(data, i64::from_le_bytes),
        DType::UInt64 => all(data, |b| u64::from_le_bytes(b) as i64),
        _ => None,
    }
}

/// Elements of packed integers of 2 or 4 bits, low bits first.
pub fn unpack(dtype: DType, data: &[u8], elements: usize) -> Vec<i8> {
    let bits = dtype.bits() as u32;
    let per_byte = 8 / bits as usize;
    if dtype == DType::UInt4 {
        let places = data.iter().flat_map(|b| [b & 15, b >> 4]).map(|e| e as i8);
        return places.take(elements).collect();
    }
    (0..elements.min(data.len() * per_byte))
        .map(|i| {
            let shift = 8 - bits - bits * (i % per_byte) as u32;
            ((data[i / per_byte] << shift) as i8) >> (8 - bits)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bit_elements_come_low_nibble_first() {
        assert_eq!(unpack(DType::Int4, &[0x71, 0x8f], 3), [1, 7, -1]);
        assert_eq!(unpack(DType::Int2, &[0b11_10_01_00], 4), [0, 1, -2, -1]);
    }

    #[test]
    fn strings_survive_packing_and_damage() {
        let v = Value::from_strings(TensorType::new(DType::String, [3]), &["a", "", "xyz"]);
        assert_eq!(v.strings().unwrap(), [&b"a"[..], b"", b"xyz"]);
        let mut broken = v.bytes().to_vec();
        broken[4] = 200;
        assert!(Value { ty: v.ty.clone(), data: broken.into() }.strings().is_none());
    }
}
