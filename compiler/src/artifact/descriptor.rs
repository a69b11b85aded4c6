//! The descriptor of a compiled model as bytes, laid out as the run-time library and the C header declare it.

use crate::ir::DType;
use crate::lower::program::{Port, Program};
use tflc_runtime::abi::{ABI_VERSION, ALIGNMENT, Descriptor, MAGIC, SPLIT_WEIGHTS, Tensor};

/// Offset of the distance to the code, which the image fills in.
pub(super) const INVOKE_AT: u32 = std::mem::offset_of!(Descriptor, invoke) as u32;
/// Alignment of a descriptor.
pub(super) const DESCRIPTOR_ALIGN: u32 = 8;

/// What a descriptor says besides the program.
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) cpu: &'a str,
    pub(super) weights_bytes: usize,
    pub(super) weights_crc32: u32,
    pub(super) split_weights: bool,
}

/// The bytes of a descriptor; the distance to the code is 0.
pub(super) fn descriptor(program: &Program, about: &About<'_>) -> Vec<u8> {
    let tensors_at = |count: usize| size_of::<Descriptor>() + count * size_of::<Tensor>();
    let ports: Vec<&Port> = program.inputs.iter().chain(&program.outputs).collect();
    // Shapes follow the tensors, strings follow the shapes.
    let mut tail = Tail { start: tensors_at(ports.len()), bytes: vec![] };
    let shapes: Vec<u32> = ports.iter().map(|p| tail.shape(&p.ty.shape)).collect();
    let names: Vec<u32> = ports.iter().map(|p| tail.text(&p.name)).collect();
    let (name, cpu) = (tail.text(about.name), tail.text(about.cpu));
    let total = (tail.start + tail.bytes.len()).next_multiple_of(DESCRIPTOR_ALIGN as usize);
    let mut out = Words(Vec::with_capacity(total));
    out.u32s([MAGIC, ABI_VERSION, total as u32, 0]);
    [program.arena_bytes, program.state_bytes, about.weights_bytes].iter().for_each(|&w| out.u64(w as u64));
    let flags = if about.split_weights { SPLIT_WEIGHTS } else { 0 };
    out.u32s([about.weights_crc32, flags, ALIGNMENT as u32]);
    out.u32s([program.inputs.len() as u32, tensors_at(0) as u32]);
    out.u32s([program.outputs.len() as u32, tensors_at(program.inputs.len()) as u32]);
    out.u32s([name, cpu, 0]);
    debug_assert_eq!(out.0.len(), size_of::<Descriptor>());
    for ((port, shape), name) in ports.iter().zip(shapes).zip(names) {
        let (scale, zero_point) = quantization(port).unwrap_or((0.0, 0));
        out.u64(port.ty.bytes() as u64);
        out.u32s([name, port.ty.dtype.code() as u32, port.ty.shape.len() as u32, shape, scale.to_bits(), zero_point as u32]);
    }
    out.0.extend(tail.bytes);
    out.0.resize(total, 0);
    out.0
}

/// Scale and zero point of a port of integers with one of each.
pub(super) fn quantization(port: &Port) -> Option<(f32, i32)> {
    let integers = matches!(
        port.ty.dtype,
        DType::Int8 | DType::UInt8 | DType::Int16 | DType::UInt16 | DType::Int32 | DType::Int4 | DType::UInt4 | DType::Int2
    );
    let (scale, zero_point) = port.ty.quant.per_tensor().filter(|_| integers)?;
    Some((scale, i32::try_from(zero_point).ok()?))
}

struct Words(Vec<u8>);

impl Words {
    fn u32s<const N: usize>(&mut self, words: [u32; N]) {
        words.iter().for_each(|w| self.0.extend(w.to_le_bytes()));
    }

    fn u64(&mut self, word: u64) {
        self.0.extend(word.to_le_bytes());
    }
}

/// What lies behind the tensors.
struct Tail {
    start: usize,
    bytes: Vec<u8>,
}

impl Tail {
    fn shape(&mut self, shape: &[usize]) -> u32 {
        let at = self.start + self.bytes.len();
        self.bytes.extend(shape.iter().flat_map(|&d| (d as u64).to_le_bytes()));
        at as u32
    }

    /// A string with a zero behind it; a zero inside ends it early for C.
    fn text(&mut self, text: &str) -> u32 {
        let at = self.start + self.bytes.len();
        self.bytes.extend(text.bytes().chain([0]));
        at as u32
    }
}
