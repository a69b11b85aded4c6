//! The descriptor of a compiled model as bytes, laid out as the run-time library and the C header declare it.

use crate::lower::program::{OpenOutput, Port};
use crate::lower::records::{Record, Tail, Words, of_ports, records};
use tflc_runtime::abi::{ABI_VERSION, ALIGNMENT, Descriptor, MAGIC, SPLIT_WEIGHTS, Signature, Tensor};

/// Offset of the distance to the code, which the image fills in.
pub(super) const INVOKE_AT: u32 = std::mem::offset_of!(Descriptor, invoke) as u32;
/// Alignment of a descriptor.
pub(super) const DESCRIPTOR_ALIGN: u32 = 8;

/// What all descriptors of one CPU level say.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) name: &'a str,
    pub(super) cpu: &'a str,
    pub(super) arena_bytes: usize,
    pub(super) state_bytes: usize,
    pub(super) weights_bytes: usize,
    pub(super) weights_crc32: u32,
    pub(super) split_weights: bool,
}

/// An entry point by the names of a signature, or by its own.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// Key of the signature; empty for the model itself.
    pub(super) key: &'a str,
    pub(super) inputs: &'a [Port],
    pub(super) outputs: &'a [Port],
    /// Names instead of the ports' own, where they are not empty.
    pub(super) names: [&'a [String]; 2],
    pub(super) open: &'a [OpenOutput],
}

/// The bytes of a descriptor, and the offsets of the distances to the descriptors of its signatures. Distances to code and descriptors are 0.
pub(super) fn descriptor(about: &About<'_>, entry: &Entry<'_>, signatures: &[&str]) -> (Vec<u8>, Vec<u32>) {
    let length = |i: usize| entry.open.iter().find(|o| o.output == i).map(|o| (o.axis, o.extent.offset));
    let mut list: Vec<Record<'_>> = of_ports(entry.inputs, entry.names[0], |_| None);
    list.extend(of_ports(entry.outputs, entry.names[1], length));
    let entries_at = size_of::<Descriptor>();
    let tensors_at = entries_at + signatures.len() * size_of::<Signature>();
    let mut tail = Tail::new(tensors_at, list.len());
    let tensors = records(&list, &mut tail);
    let [name, cpu, key] = [about.name, about.cpu, entry.key].map(|s| tail.text(s));
    let keys: Vec<u32> = signatures.iter().map(|s| tail.text(s)).collect();
    let total = (tail.start + tail.bytes.len()).next_multiple_of(DESCRIPTOR_ALIGN as usize);
    let mut out = Words(Vec::with_capacity(total));
    out.u32s([MAGIC, ABI_VERSION, total as u32, 0]);
    [about.arena_bytes, about.state_bytes, about.weights_bytes].iter().for_each(|&w| out.u64(w as u64));
    let flags = if about.split_weights { SPLIT_WEIGHTS } else { 0 };
    out.u32s([about.weights_crc32, flags, ALIGNMENT as u32]);
    out.u32s([entry.inputs.len() as u32, tensors_at as u32]);
    out.u32s([entry.outputs.len() as u32, (tensors_at + entry.inputs.len() * size_of::<Tensor>()) as u32]);
    out.u32s([name, cpu, key, signatures.len() as u32, entries_at as u32]);
    debug_assert_eq!(out.0.len(), size_of::<Descriptor>());
    let mut links = vec![];
    for key in keys {
        out.u32s([key]);
        links.push(out.0.len() as u32);
        out.u32s([0]);
    }
    out.0.extend(tensors);
    out.0.extend(tail.bytes);
    out.0.resize(total, 0);
    (out.0, links)
}
