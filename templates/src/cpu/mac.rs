//! Multiply-accumulate schemes: how a run of K becomes multiply-adds on a register tile, and how B is packed for that.
//!
//! A *run* is a stretch of K that is contiguous in every row of A. It is walked in *steps* of `kr` elements: 1 for f32 (fused multiply-add of a
//! broadcast element), 4 for int8 with a four-element dot product, 8 for int8 with matrix products, 2 for int8 widened to 16 bits. Packed B holds, for each step of a panel of
//! `nr` columns, `nr * kr` weights, k innermost; columns and steps that do not exist hold zero. Nothing here knows where rows lie: callers give byte
//! offsets. Reads of A never leave the run.

mod acc;
mod lanes;
mod matrix;
mod run;
pub(crate) mod widen;

pub(crate) use acc::Acc;

use crate::expr::{Storage, Ty};
use std::ops::Range;
use tflc_kir::{Builder, Caps, Dot4, DotSigns, Elem, Mem, Value};

/// Elements and packed form of weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WeightFormat {
    /// binary32.
    F32,
    /// binary16, widened when loaded: half the bytes of `F32` for bandwidth-bound shapes.
    F16,
    /// Signed bytes with zero point 0.
    I8,
    /// Unsigned bytes with a zero point.
    U8 {
        /// Value that stands for 0, in [0, 255].
        zero_point: i32,
    },
}

impl WeightFormat {
    /// Bytes of one element of the source array.
    pub const fn bytes(self) -> usize {
        match self {
            WeightFormat::F32 => 4,
            WeightFormat::F16 => 2,
            WeightFormat::I8 | WeightFormat::U8 { .. } => 1,
        }
    }

    /// Zero point of the weights once they are signed bytes.
    pub(crate) const fn signed_zero_point(self) -> i32 {
        match self {
            WeightFormat::U8 { zero_point } => zero_point - 128,
            _ => 0,
        }
    }

    /// Sum of 8-bit weights less their zero point; wraps as i32 arithmetic does.
    pub(crate) fn sum_centered(self, weights: &[u8]) -> i32 {
        // As numbers from 0 to 255, of which 128 words have sums that fit sixteen bits: each word adds two bytes to each of four.
        let flip = if matches!(self, WeightFormat::U8 { .. }) { 0 } else { u64::MAX / 255 * 0x80 };
        let low = u64::MAX / 0xffff * 0xff;
        let part = |part: &[u8]| {
            let (words, rest) = part.as_chunks::<8>();
            let sums = words.iter().fold(0u64, |sums, word| {
                let word = u64::from_le_bytes(*word) ^ flip;
                sums + (word & low) + (word >> 8 & low)
            });
            let sum: u64 = (0..4).map(|i| sums >> (16 * i) & 0xffff).sum();
            rest.iter().fold(sum as i32, |sum, w| sum + i32::from(w ^ flip as u8))
        };
        let sum = weights.chunks(1024).fold(0i32, |sum, weights| sum.wrapping_add(part(weights)));
        sum.wrapping_sub((self.signed_zero_point() + 128).wrapping_mul(weights.len() as i32))
    }

    /// What an 8-bit weight stands for: the same less its zero point.
    pub(crate) fn centering(self) -> impl Fn(u8) -> i32 + Copy {
        let (flip, zero) = (if matches!(self, WeightFormat::U8 { .. }) { 0x80 } else { 0 }, self.signed_zero_point());
        move |w| i32::from((w ^ flip) as i8) - zero
    }

    /// Weight `i` of an 8-bit array less its zero point.
    pub(crate) fn centered(self, weights: &[u8], i: usize) -> i32 {
        self.centering()(weights[i])
    }
}

/// Kind of multiply-accumulate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// f32, one element of K a step, broadcast from memory.
    Float,
    /// f32, A loaded by vectors along K and multiplied lane by lane (targets with multiply-by-element).
    FloatLanes,
    /// binary16: A loaded by vectors along K and rounded, copied lane by lane; two vectors of columns share an accumulator of halves.
    HalfLanes,
    /// Bytes, four elements of K a step, broadcast from memory; `flip` turns signed activations into unsigned ones or the reverse, in long runs by way
    /// of a scratch buffer.
    Dot4 { signs: DotSigns, flip: bool },
    /// Signed bytes, four elements of K a step, A loaded by vectors along K (targets with dot products by element).
    Dot4Lanes { flip: bool },
    /// Bytes, eight elements of K a step: products of two rows of A and two columns of B.
    Mmla { signs: DotSigns },
    /// Bytes widened to 16 bits in a scratch buffer, two elements of K a step.
    Dot2 { a: Mem },
}

/// A multiply-accumulate scheme for one target and pair of element types.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Scheme {
    kind: Kind,
    fma: bool,
    pub(crate) weights: WeightFormat,
    /// Lanes of an accumulator vector.
    pub(crate) lanes: u16,
    registers: usize,
    /// As [`Caps::scalars`].
    pub(crate) scalars: bool,
    /// As [`Caps::dot2`].
    dot2: bool,
}

/// Multiply-adds in the body of a loop over K, more or less: enough that the loop's own instructions hide behind them. Twice as many gained
/// nothing and took a tenth longer to compile.
const BODY: usize = 56;

/// Bytes of a row in the scratch buffer where a run is widened, or its signs are flipped, before it is used.
const STAGE_BYTES: usize = 1024;

/// Bytes of all rows of a tile in the scratch buffer, where whole rows are widened.
const STAGED_ROWS_BYTES: usize = 16 << 10;

/// Runs of fewer elements flip signs as they broadcast: filling a scratch buffer would not pay. The second number is for targets where that takes
/// another instruction for every broadcast.
const LEAST_STAGED_FLIP: [usize; 2] = [64, 32];

/// A run: rows of the tile that take part, their byte offsets from `a`, where its packed weights begin, and its length.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) a: Value,
    pub(crate) rows: Range<usize>,
    pub(crate) row_offsets: &'a [i64],
    pub(crate) b: Value,
    pub(crate) k: usize,
    /// What is fetched while this run computes: where it begins and how many bytes.
    pub(crate) prefetch: Vec<(Value, i64)>,
}

impl Scheme {
    /// The scheme for activations of `a` and weights of `weights`.
    ///
    /// # Panics
    /// Where the pair is none of f32 × {F32, F16} and {I8, U8} × {I8, U8}.
    pub(crate) fn new(caps: &Caps, a: Storage, weights: WeightFormat) -> Scheme {
        let kind = match (a, weights) {
            (Storage::F32, WeightFormat::F16) if caps.f16 => Kind::HalfLanes,
            (Storage::F32, WeightFormat::F32 | WeightFormat::F16) if caps.vector_bytes == 16 && caps.vector_registers >= 32 => {
                Kind::FloatLanes
            }
            (Storage::F32, WeightFormat::F32 | WeightFormat::F16) => Kind::Float,
            (Storage::I8 | Storage::U8, WeightFormat::I8 | WeightFormat::U8 { .. }) => {
                let unsigned = a == Storage::U8;
                match caps.dot4 {
                    _ if caps.mmla => Kind::Mmla { signs: if unsigned { DotSigns::UnsignedSigned } else { DotSigns::Signed } },
                    Dot4::UnsignedSigned => Kind::Dot4 { signs: DotSigns::UnsignedSigned, flip: !unsigned },
                    // Flipping unsigned activations to signed ones keeps to the signed dot product, which every such target has.
                    Dot4::AnySign => Kind::Dot4Lanes { flip: unsigned },
                    Dot4::None => Kind::Dot2 { a: if unsigned { Mem::U8 } else { Mem::S8 } },
                }
            }
            (a, w) => panic!("no multiply-accumulate scheme for {a:?} x {w:?}"),
        };
        let registers = caps.vector_registers as usize;
        Scheme { kind, fma: caps.fma, weights, lanes: caps.lanes(Elem::F32), registers, scalars: caps.scalars, dot2: caps.dot2 }
    }

    /// The scheme for tiles of one row at a time, or for runs of `k` elements: matrix products where they have both rows and elements to work on,
    /// else dot products.
    pub(crate) fn suited_to(mut self, rows: usize, k: usize) -> Scheme {
        if let Kind::Mmla { signs } = self.kind
            && (rows == 1 || k <= 4)
        {
            self.kind = Kind::Dot4Lanes { flip: signs == DotSigns::UnsignedSigned };
        }
        self
    }

    /// Type of the accumulator.
    pub(crate) fn acc_ty(&self) -> Ty {
        if self.is_float() { Ty::F32 } else { Ty::I32 }
    }

    fn is_float(&self) -> bool {
        matches!(self.kind, Kind::Float | Kind::FloatLanes | Kind::HalfLanes)
    }

    /// Whether it accumulates halves.
    fn is_half(&self) -> bool {
        matches!(self.kind, Kind::HalfLanes)
    }

    /// Vectors that hold `nv` vectors of columns of packed weights, or of accumulators, where those are as many.
    fn held(&self, nv: usize) -> usize {
        if self.is_half() { nv.div_ceil(2) } else { nv }
    }

    /// Name prefix of its kernels over activations of `a`.
    pub(crate) fn dtype(&self, a: Storage) -> &'static str {
        if self.is_half() { "f16" } else { crate::cpu::gemm::dtype(a) }
    }

    /// Elements of K a step.
    pub(crate) fn kr(&self) -> usize {
        match self.kind {
            Kind::Float | Kind::FloatLanes | Kind::HalfLanes => 1,
            Kind::Dot4 { .. } | Kind::Dot4Lanes { .. } => 4,
            Kind::Mmla { .. } => 8,
            Kind::Dot2 { .. } => 2,
        }
    }

    /// Whether the last, partial step of a run overlaps the one before, so that a broadcast does not read past the end.
    pub(crate) fn overlaps(&self) -> bool {
        matches!(self.kind, Kind::Dot4 { .. })
    }

    /// Bytes of an element of A.
    pub(crate) fn a_bytes(&self) -> i64 {
        if self.is_float() { 4 } else { 1 }
    }

    /// What the scheme adds to every activation: signs are flipped by adding or subtracting 128.
    pub(crate) fn a_shift(&self) -> i32 {
        match self.kind {
            Kind::Dot4 { signs: DotSigns::UnsignedSigned, flip: true } => 128,
            Kind::Dot4Lanes { flip: true } | Kind::Dot4 { signs: DotSigns::Signed, flip: true } => -128,
            _ => 0,
        }
    }

    /// Whether the sum of each row of A is accumulated, because weights have a zero point.
    fn sums_rows(&self) -> bool {
        !self.is_float() && self.weights.signed_zero_point() != 0
    }

    /// Vectors of columns of a tile, at most: wider panels leave less of the first-level cache to A. Two vectors of halves take the room of one.
    pub(crate) fn most_vectors(&self) -> usize {
        if self.is_half() { 16 } else { 8 }
    }

    /// Whether a tile of `mr` rows and `nv` vectors leaves the inner loop without spills.
    pub(crate) fn fits(&self, mr: usize, nv: usize) -> bool {
        if let Kind::Mmla { .. } = self.kind {
            // A tile of accumulators and a vector of A for each pair of rows; weights, and rows before they are paired, come one by one.
            let pairs = mr.div_ceil(2);
            let sums = if self.sums_rows() { pairs + 1 } else { 0 };
            return pairs * nv * 2 + sums + pairs + 2 <= self.registers;
        }
        let nv = self.held(nv);
        let acc = mr * nv + if self.sums_rows() { mr + 1 } else { 0 };
        let working = match self.kind {
            Kind::Float => nv + 1 + usize::from(!self.fma),
            Kind::FloatLanes => nv + mr,
            Kind::HalfLanes => nv + mr + 1,
            Kind::Dot4Lanes { flip } => nv + mr + usize::from(flip),
            Kind::Dot4 { flip, .. } => nv + 1 + usize::from(flip),
            // With 32 registers (AArch64) the two-element dot product is two products and their pairwise sum.
            Kind::Mmla { .. } => unreachable!("counted above"),
            // Even and odd elements of weights are apart; as scalars they are twice as many too, and share their registers with addresses.
            Kind::Dot2 { .. } if !self.dot2 => 2 * nv + 3,
            Kind::Dot2 { .. } => nv + 2 + usize::from(self.registers >= 32),
        };
        acc + working <= self.registers
    }

    /// Whether broadcasting and flipping signs is one instruction: with 32 registers (AVX-512) operands in memory are broadcast.
    fn flips_in_one(&self) -> bool {
        self.registers >= 32
    }

    /// Arithmetic and loads of a step of a tile, in instructions, in a run of `k` elements.
    pub(crate) fn step_instructions(&self, mr: usize, nv: usize, k: usize) -> (f64, f64) {
        let loads = (mr + nv) as f64;
        match self.kind {
            Kind::Mmla { .. } => ((mr.div_ceil(2) * (2 * nv + 1)) as f64, (mr + 2 * nv) as f64),
            // Each element of A is copied to all lanes; eight are rounded in three instructions.
            Kind::HalfLanes => (mr as f64 * (nv.div_ceil(2) as f64 + 1.375), mr as f64 / 4.0 + nv.div_ceil(2) as f64),
            Kind::Dot4 { flip: true, .. } if !self.flips_in_one() && !self.staged(k) => ((mr * (nv + 1)) as f64, loads),
            // The signs of four steps are flipped at once.
            Kind::Dot4Lanes { flip: true } => (mr as f64 * (nv as f64 + 0.25), loads),
            // A vector is four scalars, and what all lanes have in common is one.
            Kind::Float if self.scalars => ((mr * nv) as f64, mr as f64 / 4.0 + nv as f64),
            _ => ((mr * nv) as f64, loads),
        }
    }

    /// Bytes of packed B of one step for `nr` columns.
    pub(crate) fn step_bytes(&self, nr: usize) -> usize {
        nr * match (self.kind, self.weights) {
            (Kind::Float | Kind::FloatLanes, WeightFormat::F16) | (Kind::HalfLanes, _) => 2,
            (Kind::Float | Kind::FloatLanes | Kind::Dot4 { .. } | Kind::Dot4Lanes { .. }, _) => 4,
            (Kind::Mmla { .. }, _) => 8,
            (Kind::Dot2 { .. }, _) => 2,
        }
    }

    /// Steps of a run of `k` elements.
    pub(crate) fn steps(&self, k: usize) -> usize {
        k.div_ceil(self.kr())
    }

    /// Bytes of packed B of a run of `k` elements.
    pub(crate) fn run_bytes(&self, k: usize, nr: usize) -> usize {
        self.steps(k) * self.step_bytes(nr)
    }

    /// First element of step `s` of a run of `k` elements. The last step of a broadcast four-element dot product overlaps the one before (with
    /// zero weights there).
    fn step_start(&self, s: usize, k: usize) -> usize {
        let start = s * self.kr();
        if self.overlaps() && start + 4 > k && k >= 4 { k - 4 } else { start }
    }

    /// Writes the packed weights of a run of `k` elements for `nr` columns into `out`, [`Scheme::run_bytes`] zeros; `index(n, k)` is the position in `weights`,
    /// None where the column does not exist.
    pub(crate) fn pack_run(&self, out: &mut [u8], weights: &[u8], nr: usize, k: usize, index: impl Fn(usize, usize) -> Option<usize>) {
        match self.kr() * self.weights.bytes() {
            1 => self.pack_groups::<1>(out, weights, nr, k, index),
            2 => self.pack_groups::<2>(out, weights, nr, k, index),
            8 => self.pack_groups::<8>(out, weights, nr, k, index),
            _ => self.pack_groups::<4>(out, weights, nr, k, index),
        }
    }

    /// [`Scheme::pack_run`] where the elements of a step for one column are `G` bytes. Positions are affine in k.
    fn pack_groups<const G: usize>(
        &self,
        out: &mut [u8],
        weights: &[u8],
        nr: usize,
        k: usize,
        index: impl Fn(usize, usize) -> Option<usize>,
    ) {
        let (kr, bytes) = (self.kr(), self.weights.bytes());
        debug_assert_eq!(G, kr * bytes);
        let flip = if matches!(self.weights, WeightFormat::U8 { .. }) { 0x80 } else { 0 };
        let steps = self.steps(k);
        let groups = out.as_chunks_mut::<G>().0;
        // A column whose elements lie side by side goes group by group; what remains, element by element.
        let row = |n: usize| {
            let row = (k > 0)
                .then(|| index(n, 0))
                .flatten()
                .filter(|i| index(n, k - 1) == Some(i + k - 1))
                .and_then(|i| weights.get(i * bytes..(i + k) * bytes));
            row.map_or(&[][..], |row| row.as_chunks::<G>().0)
        };
        let rows: Vec<&[[u8; G]]> = (0..nr).map(row).collect();
        // A cache line of every column at a time, so that what is written stays in the first level.
        for first in (0..steps).step_by(64 / G) {
            for (n, row) in rows.iter().enumerate() {
                let Some(row) = row.get(first..row.len().min(first + 64 / G)) else { continue };
                let column = groups[first * nr..].chunks_exact_mut(nr).zip(row);
                if flip == 0 {
                    column.for_each(|(to, group)| to[n] = *group);
                } else {
                    column.for_each(|(to, group)| to[n] = group.map(|w| w ^ flip));
                }
            }
        }
        for (n, row) in rows.iter().enumerate() {
            for s in row.len()..steps {
                let start = self.step_start(s, k);
                for (j, to) in (start..start + kr).zip(groups[s * nr + n].chunks_exact_mut(bytes)) {
                    // Steps may overlap, and the last may be incomplete.
                    if j >= k || j < s * kr {
                        continue;
                    }
                    match index(n, j) {
                        Some(i) => to.iter_mut().zip(&weights[i * bytes..]).for_each(|(t, w)| *t = w ^ flip),
                        // A weight of zero, which the zero point stands for.
                        None => to.fill(self.weights.signed_zero_point() as u8),
                    }
                }
            }
        }
    }

    /// Reserves what the scheme needs in a kernel whose tiles have at most `mr` rows and runs at most `k` elements; once, outside of all loops.
    pub(crate) fn scratch(&self, b: &mut Builder, mr: usize, k: usize) -> Option<Value> {
        // One stage may take a partial step more than the others.
        self.staged(k).then(|| b.scratch((mr * self.staged_row_bytes(k.min(self.stage_k() + self.kr()))) as u32, 64))
    }

    /// Whether whole rows of `k` elements, `mr` of them, are worth widening once for all panels that read them: where they are widened at all, and fit.
    pub(crate) fn stages_rows(&self, mr: usize, k: usize) -> bool {
        matches!(self.kind, Kind::Dot2 { .. }) && mr * self.staged_row_bytes(k) <= STAGED_ROWS_BYTES
    }

    /// Reserves what [`Scheme::stage_rows`] fills, once, outside of all loops.
    pub(crate) fn rows_scratch(&self, b: &mut Builder, mr: usize, k: usize) -> Value {
        b.scratch((mr * self.staged_row_bytes(k)) as u32, 64)
    }

    /// Whether runs of `k` elements go through a scratch buffer.
    fn staged(&self, k: usize) -> bool {
        match self.kind {
            Kind::Dot2 { .. } => true,
            Kind::Dot4 { flip, .. } => flip && k >= LEAST_STAGED_FLIP[usize::from(!self.flips_in_one())],
            Kind::Float | Kind::FloatLanes | Kind::HalfLanes | Kind::Dot4Lanes { .. } | Kind::Mmla { .. } => false,
        }
    }

    /// Elements of K that are staged at a time.
    fn stage_k(&self) -> usize {
        STAGE_BYTES / self.staged_bytes()
    }

    /// Bytes of an element in the scratch buffer.
    fn staged_bytes(&self) -> usize {
        if matches!(self.kind, Kind::Dot2 { .. }) { 2 } else { 1 }
    }

    /// Elements of a vector of the scratch buffer.
    fn staged_lanes(&self) -> usize {
        usize::from(self.lanes) * 4 / self.staged_bytes()
    }

    fn staged_row_bytes(&self, k: usize) -> usize {
        k.next_multiple_of(self.staged_lanes()) * self.staged_bytes()
    }
}
