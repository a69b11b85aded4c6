//! Depthwise int8 convolution by dot products over the taps of a column.
//!
//! The bytes (or widened 16-bit elements) of `group` = 4 (or 2) rows of one input column are interleaved once, so that each 32-bit lane holds what one
//! channel reads there, and serve every output pixel that has the column in its window. Where rows are taken by two, an odd last one is interleaved with
//! itself a column further on. Rows outside the image: their weights are zero (there
//! is a copy of the weights for each set of rows inside), the pointer stays inside the image, and accumulators start from what the taps count as.
//! Columns outside the image hold the zero point. One block is `group` vectors of accumulators. Interleaving works by 128-bit blocks: a permutation in front
//! of it puts channels in order, or where two accumulators of two blocks each are a block, one behind them: those are fewer.

use crate::cpu::depthwise::{Class, DepthwiseSpec, Line, classes};
use crate::cpu::epilogue::{Output, Place};
use crate::cpu::tiling::RowSplit;
use crate::expr::Storage;
use std::collections::BTreeMap;
use std::ops::Range;
use tflc_kir::{Addr, BinOp, Builder, Caps, DotSigns, Elem, Mem, Type, Value};

/// Dot products of a tile, which are all unrolled.
const MAX_DOTS: usize = 96;

/// The dot-product way for one spec and target.
pub(crate) struct DotPath<'a> {
    spec: &'a DepthwiseSpec,
    /// Taps of a dot product, and accumulator vectors of a block.
    pub(crate) group: usize,
    signs: DotSigns,
    /// Whether activations change sign on load.
    flip: bool,
    lanes: u16,
    vector_bytes: usize,
    pub(crate) mr: usize,
    /// Key: which of the columns that are read lie inside.
    classes: Vec<Class<Vec<bool>>>,
    /// Rows of taps inside the image, each set once.
    variants: Vec<Range<usize>>,
}

impl<'a> DotPath<'a> {
    /// None where taps are better multiplied one by one: floats, depth multipliers, targets without dot products.
    pub(crate) fn new(spec: &'a DepthwiseSpec, caps: &Caps) -> Option<DotPath<'a>> {
        if spec.is_float() || spec.multiplier != 1 || spec.kernel[0] > 8 {
            return None;
        }
        let unsigned = spec.a_storage == Storage::U8;
        let four = spec.weights.signed_zero_point() == 0;
        let (group, signs, flip) = match caps.dot4 {
            tflc_kir::Dot4::UnsignedSigned if four => (4, DotSigns::UnsignedSigned, !unsigned),
            tflc_kir::Dot4::AnySign if four => (4, DotSigns::Signed, unsigned),
            _ if caps.dot2 => (2, DotSigns::Signed, false),
            _ => return None,
        };
        let registers = caps.vector_registers as usize;
        let interleaved = group * spec.kernel[0].div_ceil(group);
        // Rows before and while they are interleaved, and the permutation. Pairs are used as soon as they are interleaved.
        let working = if group == 2 { 6 } else { interleaved + 2 * group + 2 };
        let dots = group * spec.kernel[1] * spec.kernel[0].div_ceil(group);
        let most = (registers.saturating_sub(working) / group).min(MAX_DOTS / dots).clamp(1, 6);
        let split = RowSplit::new(spec.output[1], most);
        let x = spec.axis(1);
        // Tiles have one of two numbers of pixels.
        let columns = [split.mr, split.mr - 1].map(|mr| x.readers(mr).into_keys().collect::<Vec<_>>());
        let classes = classes(split, |at, mr| {
            let first = x.position(at, 0);
            columns[split.mr - mr].iter().map(|c| (0..x.input as i64).contains(&(first + *c as i64))).collect()
        });
        let mut variants = vec![];
        (0..spec.output[0]).map(|y| Self::rows_inside(spec, y)).for_each(|v| {
            if !variants.contains(&v) {
                variants.push(v);
            }
        });
        let lanes = caps.lanes(Elem::F32);
        Some(DotPath { spec, group, signs, flip, lanes, vector_bytes: caps.vector_bytes as usize, mr: split.mr, classes, variants })
    }

    fn rows_inside(spec: &DepthwiseSpec, y: usize) -> Range<usize> {
        let axis = spec.axis(0);
        let lo = (0..axis.kernel).find(|&k| axis.is_inside(y, k)).unwrap_or(0);
        let hi = (lo..axis.kernel).find(|&k| !axis.is_inside(y, k)).unwrap_or(axis.kernel);
        lo..hi
    }

    /// The zero point of activations as the dot product sees them.
    pub(crate) fn zero(&self) -> i32 {
        let shift = match (self.flip, self.signs) {
            (true, DotSigns::UnsignedSigned) => 128,
            (true, _) => -128,
            _ => 0,
        };
        self.spec.a_zero_point + shift
    }

    /// Channels of a block.
    fn block(&self) -> usize {
        self.group * usize::from(self.lanes)
    }

    fn blocks(&self) -> usize {
        self.spec.channels().div_ceil(self.block())
    }

    /// Groups of rows of taps.
    fn groups(&self) -> usize {
        self.spec.kernel[0].div_ceil(self.group)
    }

    /// Rows of taps that are interleaved with others, by groups; an odd last one by itself where they are taken by two.
    fn whole_groups(&self) -> usize {
        if self.group == 2 { self.spec.kernel[0] / 2 } else { self.groups() }
    }

    /// Which tap in x, group and tap of the group hold the weight of a tap.
    fn weight_place(&self, ky: usize, kx: usize) -> (usize, usize, usize) {
        if ky / self.group < self.whole_groups() { (kx, ky / self.group, ky % self.group) } else { (kx / 2 * 2, ky / self.group, kx % 2) }
    }

    /// Whether the lanes of accumulators are in the order in which 128-bit blocks are interleaved. Of four blocks, putting two accumulators in order takes
    /// copies of both.
    fn by_blocks(&self) -> bool {
        self.group == 2 && self.vector_bytes == 32
    }

    /// The lane of channel `c` of a block among all of its accumulators.
    fn lane_of(&self, c: usize) -> usize {
        if self.by_blocks() { c % 8 / 4 * usize::from(self.lanes) + c / 8 * 4 + c % 4 } else { c }
    }

    /// Bytes of the weights of one block: `[kx][group][vector][lane][tap]`.
    fn weight_bytes(&self) -> usize {
        self.spec.kernel[1] * self.groups() * self.group * self.vector_bytes
    }

    /// Whether accumulators start from more than the bias.
    fn has_start(&self) -> bool {
        self.zero() != 0 && self.variants.iter().any(|v| v.len() < self.spec.kernel[0])
    }

    fn block_bytes(&self) -> usize {
        self.weight_bytes() + if self.has_start() { self.group * self.vector_bytes } else { 0 }
    }

    fn variant_bytes(&self) -> usize {
        self.blocks() * self.block_bytes()
    }

    /// Size of what [`DotPath::pack`] gives, in bytes.
    pub(crate) fn packed_bytes(&self) -> usize {
        let offsets = if self.variants.len() > 1 { self.spec.output[0] * 4 } else { 0 };
        self.variants.len() * self.variant_bytes() + offsets
    }

    /// Weights of every variant, then, where there are several, the offset of the variant of each output row.
    pub(crate) fn pack(&self, weights: &[u8]) -> Vec<u8> {
        let (spec, element) = (self.spec, if self.group == 4 { 1 } else { 2 });
        let mut out = vec![0; self.variants.len() * self.variant_bytes()];
        let centered = spec.weights.centering();
        for (variant, out) in self.variants.iter().zip(out.chunks_exact_mut(self.variant_bytes())) {
            for (block, out) in out.chunks_exact_mut(self.block_bytes()).enumerate() {
                let channels = block * self.block()..spec.channels().min((block + 1) * self.block());
                for (ky, kx) in variant.clone().flat_map(|ky| (0..spec.kernel[1]).map(move |kx| (ky, kx))) {
                    // By tap in x, rows by groups, channels, rows of the group.
                    let (kx_at, group, tap) = self.weight_place(ky, kx);
                    let at = ((kx_at * self.groups() + group) * self.block() * self.group + tap) * element;
                    // The weights of a tap lie side by side.
                    let row = &weights[spec.weight_index(ky, kx, channels.start)..][..channels.len()];
                    // A group is four bytes, and four channels lie side by side in every order.
                    let places = out[at / 4 * 4..].as_chunks_mut::<4>().0;
                    let [lo, hi] = [at % 4, (at + 1) % 4];
                    for (i, row) in row.chunks(4).enumerate() {
                        let places = places[self.lane_of(4 * i)..].iter_mut().zip(row);
                        if element == 1 {
                            places.for_each(|(to, w)| to[lo] = centered(*w) as u8);
                        } else {
                            places.for_each(|(to, w)| [to[lo], to[hi]] = (centered(*w) as i16).to_le_bytes());
                        }
                    }
                }
                if self.has_start() {
                    let mut sums = vec![0i32; channels.len()];
                    for ky in (0..spec.kernel[0]).filter(|ky| !variant.contains(ky)) {
                        for kx in 0..spec.kernel[1] {
                            let row = &weights[spec.weight_index(ky, kx, channels.start)..];
                            sums.iter_mut().zip(row).for_each(|(sum, w)| *sum += centered(*w));
                        }
                    }
                    let places = out[self.weight_bytes()..].as_chunks_mut::<4>().0;
                    for (c, sum) in sums.into_iter().enumerate() {
                        places[self.lane_of(c)] = sum.wrapping_mul(self.zero()).to_le_bytes();
                    }
                }
            }
        }
        if self.variants.len() > 1 {
            for y in 0..spec.output[0] {
                let rows = Self::rows_inside(spec, y);
                let i = self.variants.iter().position(|v| *v == rows).unwrap_or(0);
                out.extend_from_slice(&((i * self.variant_bytes()) as i32).to_le_bytes());
            }
        }
        out
    }

    pub(crate) fn line(&self, b: &mut Builder, line: &Line, output: &Output<'_>) {
        let spec = self.spec;
        let packed = if self.variants.len() > 1 {
            let table = Addr::new(line.packed).index(line.y, 4).offset((self.variants.len() * self.variant_bytes()) as i64);
            let offset = b.load(Type::I64, Mem::S32, table);
            b.ptr_add(line.packed, offset)
        } else {
            line.packed
        };
        let rows: Vec<Value> = (0..spec.kernel[0]).map(|ky| self.row(b, line, ky)).collect();
        let step = |pixels: usize| (pixels * spec.stride[1] * spec.in_pixel) as i64;
        let full = (spec.channels() / self.block() * self.block()) as i64;
        // Positions are carried rather than computed: these loops may be the innermost ones.
        for class in &self.classes {
            let at = b.i64(step(class.x) - (spec.pad[1] * spec.in_pixel) as i64);
            let pixel = b.add_const(line.pixel, class.x as i64);
            b.for_const(0, class.count as i64, 1, &[at, pixel], |b, _, c| {
                let (at, pixel) = (c[0], c[1]);
                let block = self.block() as i64;
                let rest = b.for_const(0, full, block, &[at, packed], |b, col, c| {
                    self.tile(b, class, &rows, c[0], c[1], pixel, col, self.block(), output);
                    vec![b.add_const(c[0], block), b.ptr_add_const(c[1], self.block_bytes() as i64)]
                });
                if !spec.channels().is_multiple_of(self.block()) {
                    let col = b.i64(full);
                    self.tile(b, class, &rows, rest[0], rest[1], pixel, col, spec.channels() % self.block(), output);
                }
                vec![b.add_const(at, step(class.mr)), b.add_const(pixel, class.mr as i64)]
            });
        }
    }

    /// The input row of tap `ky`, or the nearest one where that lies outside the image.
    fn row(&self, b: &mut Builder, line: &Line, ky: usize) -> Value {
        let spec = self.spec;
        let y = b.mul_const(line.y, spec.stride[0] as i64);
        let y = b.add_const(y, (ky * spec.dilation[0]) as i64 - spec.pad[0] as i64);
        let y = if self.variants.len() == 1 && self.variants[0].len() == spec.kernel[0] {
            y
        } else {
            let (zero, last) = (b.i64(0), b.i64(spec.input[0] as i64 - 1));
            let y = b.max(y, zero);
            b.min(y, last)
        };
        let top = b.mul_const(line.image, spec.input[0] as i64);
        let y = b.add(top, y);
        let offset = b.mul_const(y, (spec.input[1] * spec.in_pixel) as i64);
        b.ptr_add(line.a, offset)
    }

    #[allow(clippy::too_many_arguments)]
    fn tile(
        &self,
        b: &mut Builder,
        class: &Class<Vec<bool>>,
        rows: &[Value],
        at: Value,
        weights: Value,
        pixel: Value,
        col: Value,
        active: usize,
        output: &Output<'_>,
    ) {
        let x = self.spec.axis(1);
        let lanes = usize::from(self.lanes);
        let vectors: Vec<u16> = (0..active.div_ceil(lanes)).map(|v| (active - v * lanes).min(lanes) as u16).collect();
        let nv = vectors.len();
        let held = if self.by_blocks() { self.group } else { nv };
        // Each accumulator loads what it starts from itself: a shared value costs a copy.
        let mut acc: Vec<Value> = (0..class.mr).flat_map(|_| self.start(b, weights, col, &vectors, held, output)).collect();
        let readers = x.readers(class.mr);
        let inside: BTreeMap<usize, bool> = readers.keys().copied().zip(class.key.iter().copied()).collect();
        let mut last_row = BTreeMap::new();
        for (&column, users) in &readers {
            let mut multiply = |b: &mut Builder, d: &[Value], group: usize, users: &[(usize, usize)]| {
                for &(r, kx) in users {
                    for v in 0..held {
                        let w = self.weight(b, weights, (kx * self.groups() + group) * self.group + v);
                        let slot = &mut acc[r * held + v];
                        *slot = if self.group == 4 { b.dot4(self.signs, *slot, d[v], w) } else { b.dot2(*slot, d[v], w) };
                    }
                }
            };
            for group in 0..self.whole_groups() {
                let d = if inside[&column] { self.interleave(b, rows, at, column, group, active) } else { self.outside(b) };
                multiply(b, &d, group, users);
            }
            let group = self.whole_groups();
            if group == self.groups() {
                continue;
            }
            let users: Vec<(usize, usize)> = users.iter().copied().filter(|(_, kx)| kx % 2 == 0).collect();
            if !users.is_empty() {
                let next = column + self.spec.dilation[1];
                let pair = [column, if users.iter().any(|(_, kx)| kx + 1 < self.spec.kernel[1]) { next } else { column }];
                let pair = pair.map(|c| *last_row.entry(c).or_insert_with(|| self.row_at(b, rows[2 * group], at, c, inside[&c], active)));
                let d = [b.unpack_lo(pair[0], pair[1]), b.unpack_hi(pair[0], pair[1])];
                multiply(b, &d, group, &users);
            }
        }
        if self.by_blocks() {
            let bias = output.start(b, col, &vectors);
            acc = acc.chunks(held).flat_map(|held| self.in_order(b, held, bias.as_deref(), nv)).collect();
        }
        output.store(b, &Place { row: pixel, row_step: 1, col, rows: class.mr, vectors: &vectors }, &acc);
    }

    /// Accumulators of a pixel whose lanes are ordered by blocks, in the order of channels, plus what they should have started from.
    fn in_order(&self, b: &mut Builder, held: &[Value], bias: Option<&[Value]>, nv: usize) -> Vec<Value> {
        let lanes = usize::from(self.lanes);
        (0..nv)
            .map(|v| {
                let map = (v * lanes..(v + 1) * lanes).map(|c| self.lane_of(c) as u16).collect();
                let sum = b.shuffle(held[0], held[1], map);
                bias.map_or(sum, |bias| b.add(sum, bias[v]))
            })
            .collect()
    }

    /// What the `held` accumulators of a pixel start from.
    fn start(&self, b: &mut Builder, weights: Value, col: Value, vectors: &[u16], held: usize, output: &Output<'_>) -> Vec<Value> {
        let ty = Type::vector(Elem::I32, self.lanes);
        let bias = if self.by_blocks() { None } else { output.start(b, col, vectors) };
        let skipped = self.has_start().then(|| {
            let at = Addr::new(weights).offset(self.weight_bytes() as i64);
            (0..held).map(|v| b.load(ty, Mem::S32, at.offset((v * self.vector_bytes) as i64))).collect::<Vec<_>>()
        });
        match (bias, skipped) {
            (Some(x), Some(y)) => x.into_iter().zip(y).map(|(x, y)| b.add(x, y)).collect(),
            (Some(x), None) | (None, Some(x)) => x,
            (None, None) => (0..held).map(|_| b.int(ty, 0)).collect(),
        }
    }

    /// Type of a vector whose elements are interleaved.
    fn element_ty(&self) -> Type {
        let elem = if self.group == 4 { Elem::I8 } else { Elem::I16 };
        Type::vector(elem, self.lanes * self.group as u16)
    }

    fn weight(&self, b: &mut Builder, weights: Value, i: usize) -> Value {
        let mem = if self.group == 4 { Mem::S8 } else { Mem::S16 };
        b.load(self.element_ty(), mem, Addr::new(weights).offset((i * self.vector_bytes) as i64))
    }

    /// A column outside the image.
    fn outside(&self, b: &mut Builder) -> Vec<Value> {
        (0..self.group).map(|_| self.padding(b)).collect()
    }

    /// One row of a column outside the image.
    fn padding(&self, b: &mut Builder) -> Value {
        b.int(self.element_ty(), i64::from(self.zero()))
    }

    /// One row of a column, the zero point where it lies outside the image.
    fn row_at(&self, b: &mut Builder, row: Value, at: Value, column: usize, inside: bool, active: usize) -> Value {
        if !inside {
            return self.padding(b);
        }
        let addr = Addr::new(row).index(at, 1).offset((column * self.spec.in_pixel) as i64);
        self.load_row(b, addr, active)
    }

    /// The interleaved taps of rows `group * self.group ..` of a column inside the image: `self.group` vectors.
    fn interleave(&self, b: &mut Builder, rows: &[Value], at: Value, column: usize, group: usize, active: usize) -> Vec<Value> {
        let first = group * self.group;
        let count = (rows.len() - first).min(self.group);
        let mut t: Vec<Value> = (first..first + count).map(|ky| self.row_at(b, rows[ky], at, column, true, active)).collect();
        // Rows that do not exist have zero weights: any value will do.
        t.resize(self.group, t[count - 1]);
        if self.group == 2 {
            return vec![b.unpack_lo(t[0], t[1]), b.unpack_hi(t[0], t[1])];
        }
        let pairs = [b.unpack_lo(t[0], t[1]), b.unpack_lo(t[2], t[3]), b.unpack_hi(t[0], t[1]), b.unpack_hi(t[2], t[3])];
        let words = Type::vector(Elem::I16, self.lanes * 2);
        let p: Vec<Value> = pairs.into_iter().map(|v| b.bitcast(words, v)).collect();
        let d = [b.unpack_lo(p[0], p[1]), b.unpack_hi(p[0], p[1]), b.unpack_lo(p[2], p[3]), b.unpack_hi(p[2], p[3])];
        d.into_iter().map(|v| b.bitcast(self.element_ty(), v)).collect()
    }

    /// The block's channels of one pixel, permuted so that interleaving gives them in order, unless accumulators are put in order.
    fn load_row(&self, b: &mut Builder, addr: Addr, active: usize) -> Value {
        let ty = self.element_ty();
        let mem = if self.spec.a_storage == Storage::U8 { Mem::U8 } else { Mem::S8 };
        let v = b.load_first(ty, mem, addr, active as u16);
        let v = if self.flip {
            let sign = b.int(ty, 0x80);
            b.bin(BinOp::Xor, v, sign)
        } else {
            v
        };
        let parts = self.vector_bytes / 16;
        if parts == 1 || self.by_blocks() {
            return v;
        }
        // Four channels are a dword of bytes or a qword of 16-bit elements; piece p of a 128-bit block b must be piece `p * parts + b`.
        let unit = if self.group == 4 { Elem::I32 } else { Elem::I64 };
        let pieces = 16 / (unit.bits() as usize / 8);
        let v = b.bitcast(Type::vector(unit, (parts * pieces) as u16), v);
        let map = (0..parts * pieces).map(|i| (i % pieces * parts + i / pieces) as u16).collect();
        let v = b.shuffle(v, v, map);
        b.bitcast(ty, v)
    }
}
