//! Random kernels, for differential tests of backends and passes (testing support).
//!
//! [`generate`] gives a kernel that verifies, ends after a few thousand steps, stays inside its buffers, uses only types and operators that the
//! [`Caps`] allow, and whose result the language fixes to the bit: no division by zero, no conversion out of range, and no NaN that
//! reaches memory (each may be made, and is then consumed by `min`, `max` or a comparison). The same seed gives the same kernel.
//!
//! How it keeps that: integers are arbitrary, but those used as indices have a known range; floats have a known bound on their magnitude and
//! are clamped where it grows too large or is unknown; pointers know their buffer and range of offsets.

mod access;
mod arith;
mod control;
mod rng;
mod tiles;

use crate::interp::{Arg, Memory, Program, Trap};
use crate::kernel::{Kernel, Value};
use crate::op::*;
use crate::types::{Elem, Type};
use crate::{Builder, Caps, Dot4, legal};
pub(crate) use rng::Rng;

/// A group of operators that can be left out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the name is the operator's, or the comment says more")]
pub enum Group {
    /// `for`.
    Loops,
    /// `if`.
    Branches,
    /// `while`.
    While,
    /// Loads and stores under a mask value; also needs [`Caps::masks`].
    MaskedMemory,
    /// Loads and stores of the first lanes.
    FirstMemory,
    /// Loads that extend and stores that narrow integers.
    NarrowMemory,
    /// binary16 and bfloat16 in memory.
    HalfMemory,
    LoadSplat,
    /// Also needs [`Caps::gather`].
    Gather,
    Prefetch,
    Scratch,
    /// `f64` in any form.
    Float64,
    /// Vectors of `i64` lanes.
    Int64Vectors,
    /// Vectors of `i8` and `i16` lanes.
    NarrowVectors,
    /// Products, shifts and leading zeros of `i8` lanes, which few targets have.
    ByteArithmetic,
    /// Also needs [`Caps::fma`].
    Fma,
    /// Integer division and remainder.
    IntegerDivision,
    LeadingZeros,
    Saturating,
    MulHigh,
    MulRoundHigh,
    /// Vector shifts by amounts that are not constant.
    VariableShifts,
    /// All conversions but bit casts.
    Convert,
    Bitcast,
    /// Also needs [`Caps::dot4`].
    Dot4,
    /// Also needs [`Caps::mmla`].
    Mmla,
    /// Also needs [`Caps::tiles`].
    Tiles,
    /// Arithmetic on binary16; also needs [`Caps::f16`].
    Float16,
    /// Also needs [`Caps::dot2`].
    Dot2,
    Splat,
    /// Single lanes out and in.
    SingleLanes,
    /// Parts and concatenation.
    Parts,
    Shuffle,
    /// Shuffles with a result of another lane count.
    ShuffleResize,
    Unpack,
    Pack,
    Table16,
    Table256,
    Reduce,
    /// Masks as data: logic, lanes, parts, reductions, choice between masks.
    MaskValues,
}

/// What to generate.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of steps that make something, about half the number of instructions.
    pub size: u32,
    /// Groups to leave out.
    pub exclude: Vec<Group>,
}

impl Default for Options {
    fn default() -> Options {
        Options { size: 60, exclude: vec![] }
    }
}

/// A buffer that a generated kernel works on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BufferSpec {
    /// Contents before the run; every access is inside.
    pub bytes: Vec<u8>,
    /// Whether the kernel may store to it.
    pub writable: bool,
}

/// An argument of a generated kernel.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum CaseArg {
    /// The address of a buffer, by its number.
    Buffer(usize),
    /// A scalar.
    Scalar(Arg),
}

/// A random kernel and what to run it on.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel; it verifies.
    pub kernel: Kernel,
    /// Buffers.
    pub buffers: Vec<BufferSpec>,
    /// Arguments, one per parameter.
    pub args: Vec<CaseArg>,
    /// First work unit.
    pub begin: i64,
    /// End of the work units.
    pub end: i64,
}

impl Case {
    /// Runs the kernel in the interpreter: the status and the buffers' contents afterwards.
    ///
    /// # Errors
    /// A trap, which would be a fault of the generator.
    pub fn interpret(&self) -> Result<(i32, Vec<Vec<u8>>), Trap> {
        self.interpret_as(&self.kernel)
    }

    /// Runs another kernel of the same parameters on the case's buffers, such as an optimised one.
    ///
    /// # Errors
    /// A trap of that kernel.
    pub fn interpret_as(&self, kernel: &Kernel) -> Result<(i32, Vec<Vec<u8>>), Trap> {
        let mut buffers: Vec<Vec<u8>> = self.buffers.iter().map(|b| b.bytes.clone()).collect();
        let mut memory = Memory::new();
        let mut addresses = vec![];
        for (bytes, spec) in buffers.iter_mut().zip(&self.buffers) {
            addresses.push(if spec.writable { memory.add_mut(bytes) } else { memory.add_shared(bytes) });
        }
        let arg = |a: &CaseArg| match a {
            CaseArg::Buffer(i) => Arg::Ptr(addresses[*i]),
            CaseArg::Scalar(s) => *s,
        };
        let args: Vec<Arg> = self.args.iter().map(arg).collect();
        let status = Program::new(kernel)?.fuel(1 << 22).run(&args, &mut memory, self.begin, self.end)?;
        drop(memory);
        Ok((status, buffers))
    }

    /// The block of argument slots of the calling convention, given each buffer's address.
    pub fn slots(&self, address: impl Fn(usize) -> u64) -> Vec<u64> {
        let slot = |a: &CaseArg| match a {
            CaseArg::Buffer(i) => address(*i),
            CaseArg::Scalar(s) => s.slot(),
        };
        self.args.iter().map(slot).collect()
    }
}

/// Size of each buffer in bytes; the first two are read only, the third is written only, the last both.
const BUFFER_BYTES: [i64; 4] = [1024, 640, 4096, 768];
/// Buffer that takes the results.
const OUT: usize = 2;
/// Stands for the scratch buffer.
const SCRATCH: usize = BUFFER_BYTES.len();
const SCRATCH_BYTES: i64 = 192;
/// Floats in loops, from memory and from inexact sources stay within this magnitude.
const TAME: f64 = 1024.0;

/// A value that operators may use.
#[derive(Clone, Copy, Debug)]
struct Entry {
    v: Value,
    ty: Type,
    /// Of floats: bound on the magnitude. Infinity also allows NaN.
    mag: f64,
    /// Of `i64`: least and greatest value, where known and small.
    range: Option<(i64, i64)>,
}

/// A pointer with its buffer and range of offsets.
#[derive(Clone, Copy, Debug)]
struct Pointer {
    v: Value,
    buffer: usize,
    lo: i64,
    hi: i64,
}

struct Generator<'a> {
    rng: Rng,
    caps: &'a Caps,
    options: &'a Options,
    /// Legal number types; full vectors are listed several times, so that they come more often.
    types: Vec<Type>,
    pool: Vec<Entry>,
    pointers: Vec<Pointer>,
    depth: u32,
    /// Product of the trip counts of the open loops.
    trips: i64,
}

/// Makes a random kernel for a target's capabilities.
pub fn generate(seed: u64, caps: &Caps, options: &Options) -> Case {
    let mut g = Generator { rng: Rng::new(seed), caps, options, types: vec![], pool: vec![], pointers: vec![], depth: 0, trips: 1 };
    g.types = g.number_types();
    let mut b = Builder::new(format!("random_{seed}"));
    let mut args = vec![];
    for buffer in 0..BUFFER_BYTES.len() {
        let v = b.ptr_param(["a", "b", "out", "io"][buffer]);
        g.pointers.push(Pointer { v, buffer, lo: 0, hi: 0 });
        args.push(CaseArg::Buffer(buffer));
    }
    let (n, k, f) = (g.rng.within(0, 12), g.rng.next() as i32, g.rng.within(-500, 500) as f32 / 8.0);
    let scalars = [("n", Arg::I64(n)), ("k", Arg::I32(k)), ("f", Arg::F32(f))];
    for (name, arg) in scalars {
        let v = b.param(name, arg.ty());
        g.pool.push(Entry { v, ty: arg.ty(), mag: TAME, range: (name == "n").then_some((0, 12)) });
        args.push(CaseArg::Scalar(arg));
    }
    let (begin, end) = (b.begin(), b.end());
    for v in [begin, end] {
        g.pool.push(Entry { v, ty: Type::I64, mag: TAME, range: Some((0, 7)) });
    }
    if g.allows(Group::Scratch) && g.rng.chance(40) {
        g.scratch(&mut b);
    }
    g.steps(&mut b, options.size);
    g.store_results(&mut b);
    let kernel = match g.rng.chance(50) {
        true => {
            let status = g.pick(&mut b, Type::I32);
            b.finish_status(status.v)
        }
        false => b.finish(),
    };
    let mut rng = Rng::new(!seed);
    let bytes = |n: i64, rng: &mut Rng| (0..n).map(|_| rng.next() as u8).collect();
    let buffers = BUFFER_BYTES.iter().enumerate().map(|(i, &n)| BufferSpec { bytes: bytes(n, &mut rng), writable: i >= OUT }).collect();
    let begin = rng.within(0, 3);
    let end = rng.within(begin, 7);
    Case { kernel, buffers, args, begin, end }
}

impl Generator<'_> {
    fn allows(&self, group: Group) -> bool {
        let able = match group {
            Group::MaskedMemory => self.caps.masks,
            Group::Gather => self.caps.gather,
            Group::Fma => self.caps.fma,
            Group::Dot4 => self.caps.dot4 != Dot4::None,
            Group::Mmla => self.caps.mmla,
            Group::Tiles => self.caps.tiles,
            Group::Float16 => self.caps.f16,
            Group::Dot2 => self.caps.dot2,
            _ => true,
        };
        able && !self.options.exclude.contains(&group)
    }

    fn number_types(&self) -> Vec<Type> {
        let mut types = vec![];
        for elem in Elem::ALL {
            let vectors = match elem {
                Elem::Bool | Elem::Ptr => continue,
                Elem::F64 if !self.allows(Group::Float64) => continue,
                Elem::I64 => self.allows(Group::Int64Vectors),
                Elem::I8 | Elem::I16 => self.allows(Group::NarrowVectors),
                _ => true,
            };
            types.extend((1..=64).map(|l| Type::vector(elem, l)).filter(|&t| legal(t, self.caps) && (vectors || !t.is_vector())));
            if vectors {
                types.extend([Type::vector(elem, self.caps.lanes(elem)); 3]);
            }
        }
        types
    }

    /// Legal number types for which something holds.
    fn types_where(&self, ok: impl Fn(Type) -> bool) -> Vec<Type> {
        self.types.iter().copied().filter(|&t| ok(t)).collect()
    }

    fn type_where(&mut self, ok: impl Fn(Type) -> bool) -> Option<Type> {
        let types = self.types_where(ok);
        (!types.is_empty()).then(|| self.rng.of(&types))
    }

    fn has(&self, ty: Type) -> bool {
        self.types.contains(&ty)
    }

    /// Records a value other than a float.
    fn add(&mut self, b: &Builder, v: Value) {
        let mag = if b.ty(v).elem.is_float() { f64::INFINITY } else { 0.0 };
        self.pool.push(Entry { v, ty: b.ty(v), mag, range: None });
    }

    /// Records a float of known magnitude, clamped first where that is too large to compute with.
    fn add_float(&mut self, b: &mut Builder, v: Value, mag: f64) {
        let ty = b.ty(v);
        let e = Entry { v, ty, mag, range: None };
        let e = if mag < 1e15 { e } else { self.tame(b, e, TAME) };
        self.pool.push(e);
    }

    /// The value clamped to a magnitude; NaN becomes the upper bound.
    fn tame(&mut self, b: &mut Builder, e: Entry, mag: f64) -> Entry {
        if e.mag <= mag || !e.ty.elem.is_float() {
            return e;
        }
        let (hi, lo) = (b.float(e.ty, mag), b.float(e.ty, -mag));
        let v = b.min(e.v, hi);
        Entry { v: b.max(v, lo), mag, ..e }
    }

    /// A value of a type: mostly one that is there, the later the likelier; else a new one.
    fn pick(&mut self, b: &mut Builder, ty: Type) -> Entry {
        let all: Vec<Entry> = self.pool.iter().copied().filter(|e| e.ty == ty).collect();
        if all.is_empty() || self.rng.chance(15) {
            return self.fresh(b, ty);
        }
        let i = self.rng.below(all.len() as u64).max(self.rng.below(all.len() as u64));
        all[i as usize]
    }

    /// A new value of a type: a constant, a load, a copy of a scalar, a comparison.
    fn fresh(&mut self, b: &mut Builder, ty: Type) -> Entry {
        if ty.elem == Elem::Bool {
            return self.fresh_truth(b, ty);
        }
        if self.rng.chance(40)
            && let Some(e) = self.load(b, ty)
        {
            return e;
        }
        let scalar = Type::scalar(ty.elem.scalar());
        if ty.is_vector() && self.rng.chance(20) && self.allows(Group::Splat) {
            let e = self.pick(b, scalar);
            return Entry { v: b.splat_to(ty, e.v), ty, mag: e.mag, range: None };
        }
        let v = if ty.is_vector() && self.rng.chance(30) {
            let lanes = (0..ty.lanes).map(|_| self.constant(ty.elem)).collect();
            b.const_vec(ty, lanes)
        } else {
            let bits = self.constant(ty.elem);
            b.inst(Op::Const(bits), ty, &[])
        };
        Entry { v, ty, mag: TAME, range: None }
    }

    /// Bits of an interesting constant.
    fn constant(&mut self, elem: Elem) -> u64 {
        let r = self.rng.next();
        match elem {
            Elem::F32 | Elem::F64 => {
                let v = match r % 8 {
                    0 => 0.0,
                    1 => -0.0,
                    2 => 1.0,
                    3 => 0.5,
                    4 => 3e-39,
                    _ => self.rng.within(-1_000_000, 1_000_000) as f64 / 1024.0,
                };
                if elem == Elem::F64 { v.to_bits() } else { u64::from((v as f32).to_bits()) }
            }
            Elem::Bool => r & 1,
            _ => {
                let v = match r % 8 {
                    0 => 0,
                    1 => 1,
                    2 => -1,
                    3 => 1 << (elem.bits() - 1),
                    4 => !(1 << (elem.bits() - 1)),
                    5 => self.rng.next() as i64,
                    _ => self.rng.within(-130, 130),
                };
                v as u64 & elem.bit_mask()
            }
        }
    }

    /// A truth value or mask.
    fn fresh_truth(&mut self, b: &mut Builder, ty: Type) -> Entry {
        let compared = self.type_where(|t| t.lanes == ty.lanes);
        let v = match compared {
            Some(t) if self.rng.chance(80) => {
                let (x, y) = (self.pick(b, t), self.pick(b, t));
                let ops: Vec<CmpOp> =
                    CmpOp::ALL.iter().copied().filter(|&o| crate::verify::check_op(&Op::Cmp(o), &[t, t], &[ty]).is_ok()).collect();
                let op = self.rng.of(&ops);
                b.cmp(op, x.v, y.v)
            }
            _ if ty.is_vector() => {
                let lanes = (0..ty.lanes).map(|_| self.rng.next() & 1).collect();
                b.const_vec(ty, lanes)
            }
            _ => {
                let bits = self.rng.next() & 1;
                b.inst(Op::Const(bits), ty, &[])
            }
        };
        Entry { v, ty, mag: 0.0, range: None }
    }

    /// An `i64` with a known range inside `0..=max`, and that range's end.
    fn index(&mut self, b: &mut Builder, max: i64) -> Option<(Value, i64)> {
        if max >= 0 && self.rng.chance(10) {
            let c = self.rng.within(0, max);
            return Some((b.i64(c), c));
        }
        let inside = |e: &Entry, lo: i64, hi: i64| e.range.is_some_and(|(l, h)| l >= lo && h <= hi);
        let by = self.rng.within(1, 9);
        let (shifted, op, lo, hi) = match self.rng.below(4) {
            0 => (by, BinOp::Add, 0, max - by),
            1 => (-by, BinOp::Sub, by, max + by),
            _ => (0, BinOp::Add, 0, max),
        };
        let ready: Vec<Entry> = self.pool.iter().copied().filter(|e| inside(e, lo, hi)).collect();
        if !ready.is_empty() && self.rng.chance(75) {
            let e = self.rng.of(&ready);
            let (l, h) = e.range?;
            if shifted == 0 {
                return Some((e.v, h));
            }
            let c = b.i64(by);
            let v = b.bin(op, e.v, c);
            self.pool.push(Entry { v, range: Some((l + shifted, h + shifted)), ..e });
            return Some((v, h + shifted));
        }
        // The largest mask 2^k - 1 within the range.
        let mask = (1i64 << (max + 1).checked_ilog2()?) - 1;
        let (x, m) = (self.pick(b, Type::I64), b.i64(mask));
        let v = b.bin(BinOp::And, x.v, m);
        self.pool.push(Entry { v, ty: Type::I64, mag: 0.0, range: Some((0, mask)) });
        Some((v, mask))
    }
}

#[cfg(test)]
mod tests;
