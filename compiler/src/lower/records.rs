//! Tensors, shapes and strings as the run-time ABI lays them out: what the descriptors of models and of calls of custom operators have in common.
//!
//! A description is a header, then records of tensors, then a tail of shapes and strings that both refer to by their distance from the start.

use super::program::Port;
use crate::ir::{DType, TensorType};
use tflc_runtime::abi::{ABI_VERSION, CustomCall, NO_AXIS, Tensor};

/// A tensor to be described.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Name.
    pub name: &'a str,
    /// Type.
    pub ty: &'a TensorType,
    /// Where its size is known only at run time: the first open axis, and the place in the arena of its length and those of the axes behind it.
    pub open: Option<(usize, u64)>,
}

/// Fields one after the other, little-endian.
#[derive(Debug, Default)]
pub struct Words(pub Vec<u8>);

impl Words {
    /// Appends 32-bit fields.
    pub fn u32s<const N: usize>(&mut self, words: [u32; N]) {
        words.iter().for_each(|w| self.0.extend(w.to_le_bytes()));
    }

    /// Appends a 64-bit field.
    pub fn u64(&mut self, word: u64) {
        self.0.extend(word.to_le_bytes());
    }
}

/// What lies behind the records.
#[derive(Debug)]
pub struct Tail {
    /// Distance of its first byte.
    pub start: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Tail {
    /// A tail behind a header of `header` bytes and so many records. Shapes come first, since they are aligned.
    pub fn new(header: usize, records: usize) -> Tail {
        Tail { start: header + records * size_of::<Tensor>(), bytes: vec![] }
    }

    /// Distance of what is appended next.
    pub fn at(&self) -> u32 {
        (self.start + self.bytes.len()) as u32
    }

    fn shape(&mut self, shape: &[usize]) -> u32 {
        let at = self.at();
        self.bytes.extend(shape.iter().flat_map(|&d| (d as u64).to_le_bytes()));
        at
    }

    /// Appends a string with a zero behind it; a zero inside ends it early for C.
    pub fn text(&mut self, text: &str) -> u32 {
        let at = self.at();
        self.bytes.extend(text.bytes().chain([0]));
        at
    }
}

/// The records of tensors, whose shapes and names go into `tail`; no string may be in it yet.
pub fn records(list: &[Record<'_>], tail: &mut Tail) -> Vec<u8> {
    let shapes: Vec<u32> = list.iter().map(|r| tail.shape(&r.ty.shape)).collect();
    let mut out = Words::default();
    for (r, shape) in list.iter().zip(shapes) {
        let (scale, zero_point) = quantization(r.ty).unwrap_or((0.0, 0));
        let (axis, length) = r.open.map_or((NO_AXIS, 0), |(axis, at)| (axis as u32, at));
        out.u64(r.ty.bytes() as u64);
        out.u64(length);
        out.u32s([tail.text(r.name), r.ty.dtype.code() as u32, r.ty.shape.len() as u32, shape]);
        out.u32s([scale.to_bits(), zero_point as u32, axis, 0]);
    }
    out.0
}

/// Scale and zero point of integers with one of each.
pub fn quantization(ty: &TensorType) -> Option<(f32, i32)> {
    let integers = matches!(
        ty.dtype,
        DType::Int8 | DType::UInt8 | DType::Int16 | DType::UInt16 | DType::Int32 | DType::Int4 | DType::UInt4 | DType::Int2
    );
    let (scale, zero_point) = ty.quant.per_tensor().filter(|_| integers)?;
    Some((scale, i32::try_from(zero_point).ok()?))
}

/// The records of ports by other names, where there are any; `open` gives the open axis of one by its position.
pub fn of_ports<'a>(ports: &'a [Port], names: &'a [String], open: impl Fn(usize) -> Option<(usize, u64)>) -> Vec<Record<'a>> {
    let name = |i: usize, p: &'a Port| names.get(i).filter(|n| !n.is_empty()).unwrap_or(&p.name).as_str();
    ports.iter().enumerate().map(|(i, p)| Record { name: name(i, p), ty: &p.ty, open: open(i) }).collect()
}

/// The description of a call of a custom operator.
pub(super) fn custom_call(name: &str, inputs: &[&TensorType], outputs: &[&TensorType], options: &[u8]) -> Vec<u8> {
    let list: Vec<Record<'_>> = inputs.iter().chain(outputs).map(|ty| Record { name: "", ty, open: None }).collect();
    let mut tail = Tail::new(size_of::<CustomCall>(), list.len());
    let tensors = records(&list, &mut tail);
    let name = tail.text(name);
    let options_at = tail.at();
    tail.bytes.extend(options);
    let mut out = Words::default();
    out.u32s([ABI_VERSION, inputs.len() as u32, outputs.len() as u32, size_of::<CustomCall>() as u32]);
    out.u32s([name, options_at, options.len() as u32, 0]);
    out.0.extend(tensors);
    out.0.extend(tail.bytes);
    out.0
}
