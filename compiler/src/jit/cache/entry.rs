//! One file of the cache: a head with checksum and key, the model's interface, code, weights.
//!
//! All numbers are little-endian. Code and weights begin at multiples of a page, so that the weights can be used where they are mapped.

use crate::ir::{Affine, DType, Quantization, TensorType};
use crate::lower::program::{OpenOutput, Place, Port, Program, Region};
use memmap2::{Mmap, MmapOptions};
use std::fs::File;
use std::ops::Range;

/// First bytes of an entry; the number is that of the format.
const MAGIC: &[u8; 8] = b"tflcjit2";
/// Magic, checksum of the rest (8 bytes), key, then six numbers.
const HEAD: usize = 8 + 8 + 32 + 6 * 8;
/// Where the checksummed part begins.
const CHECKED_FROM: usize = 16;
/// Start of code and weights.
const PAGE: usize = 4096;

/// What an entry is made of.
pub(in super::super) struct Content<'a> {
    pub(in super::super) program: &'a Program,
    pub(in super::super) code: &'a [u8],
    pub(in super::super) invoke: usize,
    pub(in super::super) weights: &'a [u8],
}

/// What an entry gives.
pub(in super::super) struct Loaded {
    /// The interface and sizes; kernels and steps are in the code.
    pub(in super::super) program: Program,
    pub(in super::super) invoke: usize,
    map: Mmap,
    code: Range<usize>,
    weights: Range<usize>,
}

impl Loaded {
    pub(in super::super) fn code(&self) -> &[u8] {
        &self.map[self.code.clone()]
    }

    pub(in super::super) fn weights(&self) -> &[u8] {
        &self.map[self.weights.clone()]
    }
}

/// The bytes of an entry, to be written one after the other; nothing for what has no form here.
pub(super) fn parts<'a>(content: &Content<'a>, key: &[u8; 32]) -> Option<Vec<std::borrow::Cow<'a, [u8]>>> {
    // Named in full, so that what is new in programs is not forgotten here.
    let Program {
        kernels: _,
        steps: _,
        pieces: _,
        weights_bytes: _,
        arena_bytes,
        arena_lower_bound,
        state_bytes,
        inputs,
        outputs,
        open,
        others,
    } = content.program;
    if !others.is_empty() {
        return None;
    }
    let mut about = vec![];
    for n in [arena_bytes, arena_lower_bound, state_bytes] {
        number(&mut about, *n);
    }
    for list in [inputs, outputs] {
        number(&mut about, list.len());
        for p in list {
            port(&mut about, p)?;
        }
    }
    number(&mut about, open.len());
    for OpenOutput { output, axis, extent } in open {
        if extent.region != Region::Arena {
            return None;
        }
        for n in [*output, *axis, extent.offset as usize] {
            number(&mut about, n);
        }
    }
    let code_at = (HEAD + about.len()).next_multiple_of(PAGE);
    let weights_at = (code_at + content.code.len()).next_multiple_of(PAGE);
    let mut head = key.to_vec();
    for n in [about.len(), code_at, content.code.len(), content.invoke, weights_at, content.weights.len()] {
        number(&mut head, n);
    }
    let fill = |from: usize, to: usize| vec![0; to - from];
    let checked = [
        head.into(),
        about.clone().into(),
        fill(HEAD + about.len(), code_at).into(),
        content.code.into(),
        fill(code_at + content.code.len(), weights_at).into(),
        content.weights.into(),
    ];
    let mut crc = crc32fast::Hasher::new();
    checked.iter().for_each(|part: &std::borrow::Cow<'_, [u8]>| crc.update(part));
    let mut start = MAGIC.to_vec();
    number(&mut start, crc.finalize() as usize);
    Some(std::iter::once(start.into()).chain(checked).collect())
}

/// Reads an entry that has this key; nothing where it is damaged or another's.
pub(super) fn read(file: &File, key: &[u8; 32]) -> Option<Loaded> {
    // All of it is read for the checksum: mapped at once it takes no page faults.
    // SAFETY: files of a cache are never changed once they have their name, only replaced or removed.
    let map = unsafe { MmapOptions::new().populate().map(file) }.ok()?;
    let mut head = Reader { bytes: map.get(..HEAD)? };
    let (magic, crc, its_key) = (head.take(8)?, head.number()?, head.take(32)?);
    if magic != MAGIC || its_key != key || crc32fast::hash(&map[CHECKED_FROM..]) as usize != crc {
        return None;
    }
    let [about, code_at, code_bytes, invoke, weights_at, weights_bytes] = [(); 6].map(|()| head.number());
    let range = |at: Option<usize>, bytes: Option<usize>| {
        let range = at?..at?.checked_add(bytes?)?;
        map.get(range.clone())?;
        Some(range)
    };
    let (code, weights) = (range(code_at, code_bytes)?, range(weights_at, weights_bytes)?);
    if weights.start % PAGE != 0 || invoke? >= code.len() {
        return None;
    }
    let mut about = Reader { bytes: map.get(HEAD..HEAD.checked_add(about?)?)? };
    let mut program = Program { weights_bytes: weights.len(), ..Program::default() };
    program.arena_bytes = about.number()?;
    program.arena_lower_bound = about.number()?;
    program.state_bytes = about.number()?;
    program.inputs = about.ports()?;
    program.outputs = about.ports()?;
    for _ in 0..about.number()? {
        let (output, axis, offset) = (about.number()?, about.number()?, about.word()?);
        program.outputs.get(output)?.ty.shape.get(axis)?;
        program.open.push(OpenOutput { output, axis, extent: Place { region: Region::Arena, offset } });
    }
    Some(Loaded { program, invoke: invoke?, code, weights, map })
}

fn number(out: &mut Vec<u8>, n: usize) {
    out.extend((n as u64).to_le_bytes());
}

/// Nothing for quantisation that refers to other parts of a model, which interfaces do not have.
fn port(out: &mut Vec<u8>, p: &Port) -> Option<()> {
    number(out, p.name.len());
    out.extend(p.name.bytes());
    number(out, p.ty.dtype.code() as usize);
    numbers(out, p.ty.shape.iter().map(|&d| d as u64));
    match &p.ty.quant {
        Quantization::None => number(out, 0),
        Quantization::Affine(a) => {
            number(out, 1);
            numbers(out, a.scale.iter().map(|s| u64::from(s.to_bits())));
            numbers(out, a.zero_point.iter().map(|&z| z as u64));
            number(out, a.axis);
        }
        _ => return None,
    }
    number(out, usize::from(p.signature.is_some()));
    numbers(out, p.signature.iter().flatten().map(|&d| d as u64));
    Some(())
}

fn numbers(out: &mut Vec<u8>, list: impl Iterator<Item = u64> + Clone) {
    number(out, list.clone().count());
    list.for_each(|n| out.extend(n.to_le_bytes()));
}

/// Reads from the front; nothing once the bytes are too few.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(n)?;
        self.bytes = rest;
        Some(taken)
    }

    fn word(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn number(&mut self) -> Option<usize> {
        usize::try_from(self.word()?).ok()
    }

    fn numbers(&mut self) -> Option<Vec<u64>> {
        let count = self.number()?;
        let bytes = self.take(count.checked_mul(8)?)?;
        Some(bytes.chunks_exact(8).filter_map(|c| Some(u64::from_le_bytes(c.try_into().ok()?))).collect())
    }

    fn ports(&mut self) -> Option<Vec<Port>> {
        let count = self.number()?;
        // Each takes at least a number of bytes: a wrong count ends early.
        let mut ports = vec![];
        for _ in 0..count {
            ports.push(self.port()?);
        }
        Some(ports)
    }

    fn port(&mut self) -> Option<Port> {
        let length = self.number()?;
        let name = String::from_utf8(self.take(length)?.to_vec()).ok()?;
        let dtype = DType::from_code(i8::try_from(self.number()?).ok()?)?;
        let shape = self.numbers()?.into_iter().map(|d| d as usize).collect();
        let quant = match self.number()? {
            0 => Quantization::None,
            _ => Quantization::Affine(Affine {
                scale: self.numbers()?.into_iter().map(|s| f32::from_bits(s as u32)).collect(),
                zero_point: self.numbers()?.into_iter().map(|z| z as i64).collect(),
                axis: self.number()?,
            }),
        };
        let has_signature = self.number()? != 0;
        let signature = self.numbers()?.into_iter().map(|d| d as i64).collect();
        Some(Port { name, ty: TensorType { dtype, shape, quant }, signature: has_signature.then_some(signature) })
    }
}
