//! GEMM by tiles (AMX): blocks of up to 32 rows and 32 columns, four accumulators of 16×16 that two tiles of A and two of B feed.
//!
//! Bytes are multiplied as they lie: packed B is that of a four-element dot product. Floats with weights of binary16 are multiplied as bfloat16,
//! exactly enough for binary32: a weight is the sum of two bfloat16, an activation the sum of three, which a block of rows is taken apart into
//! before all panels pass over it; of the six products the smallest, 2⁻²⁴ of the whole, is left out. Where an activation is infinite the
//! results of its row are NaN.
//!
//! Accumulators reach the epilogue by way of a scratch buffer, some rows at a time. A work unit is one row block × some panels.

use super::{GemmSpec, for_panel, split_unit};
use crate::cpu::epilogue::{Output, Place};
use crate::cpu::mac::WeightFormat;
use crate::cpu::tiling::{Panels, RowSplit};
use crate::expr::{Storage, Ty};
use half::f16;
use half::slice::HalfFloatSliceExt;
use tflc_kir::{
    Addr, BinOp, Builder, Caps, CmpOp, DotSigns, Elem, Kernel, Locality, Mem, Narrow, TileOp, TileProduct, TileShape, Type, Value,
};

/// Rows of a tile; also columns of an accumulator, which fill a vector.
const SIDE: usize = 16;
/// Tiles of columns of a panel.
const PANEL: usize = 2;
/// Bytes of a row of a tile.
const ROW: usize = 64;
/// First tile of A; the accumulators come before it.
const A: u8 = 4;
/// First tile of B.
const B: u8 = 6;
/// bfloat16 that an activation is taken apart into.
const A_PARTS: usize = 3;
/// bfloat16 that a weight is taken apart into.
const B_PARTS: usize = 2;
/// Bytes of a block of rows that is taken apart, at most: it shares the second-level cache with the weights, and lies on the stack.
const STAGE_BYTES: usize = 96 << 10;
/// Panels that are multiplied before their sums go through the epilogue: neither then waits for the other but once.
const BATCH: usize = 4;
/// Shorter sums are epilogues above all, which registers serve better.
const LEAST_FLOATS: usize = 24;
/// The same of bytes.
const LEAST_BYTES: usize = 32;
/// Steps of K by which weights are fetched ahead, into the first-level cache: from the second alone, tiles waited for them.
const AHEAD: usize = 2;
/// With more blocks of rows than these, weights come from the second-level cache but for the first of them.
const FETCHING_BLOCKS: usize = 16;
/// Rows that go through the epilogue together.
const GROUP: usize = 4;
/// Work units that a product is cut into, where rows alone do not give them.
const UNITS: usize = 8;
/// Panels for which a block of rows is worth taking apart.
const STAGED_PANELS: usize = 10;

/// Everything that follows from a spec whose product is made by tiles.
pub(super) struct Plan {
    /// Whether A is floats.
    pub(super) float: bool,
    rows: RowSplit,
    pub(super) panels: Panels,
    /// Elements of K that a tile of A holds, and how many such steps there are.
    step: usize,
    steps: usize,
    /// Panels of a work unit, and how many such groups there are.
    group: usize,
    groups: usize,
}

impl Plan {
    /// The plan, where tiles suit the product.
    pub(super) fn new(spec: &GemmSpec, caps: &Caps) -> Option<Plan> {
        let float = spec.a_storage == Storage::F32;
        if !caps.tiles || spec.m < 8 || spec.n < 8 || spec.k < if float { LEAST_FLOATS } else { LEAST_BYTES } {
            return None;
        }
        let (step, steps, most) = match spec.weights {
            WeightFormat::F16 if float => {
                let steps = spec.k.div_ceil(ROW / 2);
                let step = spec.k.div_ceil(steps).next_multiple_of(2);
                (step, spec.k.div_ceil(step), STAGE_BYTES / (steps * A_PARTS * ROW))
            }
            format if !float && format.signed_zero_point() == 0 => {
                let step = byte_step(spec.k)?;
                (step, spec.k / step, 2 * SIDE)
            }
            _ => return None,
        };
        let most = most.min(2 * SIDE);
        if most < 8 {
            return None;
        }
        let rows = row_split(spec.m, most);
        let panels = Panels::new(spec.n, PANEL, SIDE as u16);
        let wanted = UNITS.div_ceil(rows.tiles());
        let least = if float { STAGED_PANELS } else { 1 };
        let group = panels.count.div_ceil(wanted).max(least).min(panels.count);
        Some(Plan { float, rows, groups: panels.count.div_ceil(group), panels, step, steps, group })
    }

    /// Number of work units.
    pub(super) fn units(&self) -> usize {
        self.rows.tiles() * self.groups
    }

    /// Multiply-adds of a work unit.
    pub(super) fn unit_products(&self) -> usize {
        self.rows.mr * self.group * self.panels.nr * self.step * self.steps
    }

    /// Bytes of the accumulators of a block and a panel.
    fn sums_bytes(&self) -> usize {
        self.rows.mr * PANEL * ROW
    }

    /// Elements of K with padding.
    fn padded_k(&self) -> usize {
        self.step * self.steps
    }

    /// Bytes of a panel of `vectors` tiles of columns.
    fn panel_bytes(&self, vectors: usize) -> usize {
        vectors * SIDE * self.padded_k() * if self.float { 2 * B_PARTS } else { 1 }
    }

    /// Bytes of packed B.
    pub(super) fn packed_bytes(&self) -> usize {
        (0..self.panels.count).map(|p| self.panel_bytes(self.panels.vectors(p))).sum()
    }

    /// Packs weights of binary16 into `out`, zeros: for each panel, for each part, the pairs of K, each for all columns. A pair is an element of the
    /// first half of a step and that of the second: so the parts of two vectors of A need not be moved between lanes.
    pub(super) fn pack(&self, spec: &GemmSpec, weights: &[u8], out: &mut [u8]) {
        let (mut rest, half) = (out, self.step / 2);
        let (mut halves, mut wide) = (vec![f16::ZERO; spec.k], vec![0f32; self.padded_k()]);
        for p in 0..self.panels.count {
            let columns = self.panels.vectors(p) * SIDE;
            let (panel, next) = rest.split_at_mut(self.panel_bytes(self.panels.vectors(p)));
            let rows = weights.chunks_exact(spec.k * 2).skip(p * self.panels.nr).take(columns);
            for (n, row) in rows.enumerate() {
                halves.iter_mut().zip(row.as_chunks().0).for_each(|(to, w)| *to = f16::from_le_bytes(*w));
                halves.convert_to_f32_slice(&mut wide[..spec.k]);
                let (high, low) = panel.split_at_mut(panel.len() / B_PARTS);
                let [high, low] = [high, low].map(|part| part.as_chunks_mut::<4>().0[n..].iter_mut().step_by(columns));
                let pairs = wide.chunks(self.step).flat_map(|step| std::iter::zip(&step[..half], &step[half..]));
                for ((&x, &y), (high, low)) in pairs.zip(high.zip(low)) {
                    let ([x, less_x], [y, less_y]) = (weight_parts(x), weight_parts(y));
                    *high = (x | y << 16).to_le_bytes();
                    *low = (less_x | less_y << 16).to_le_bytes();
                }
            }
            rest = next;
        }
    }
}

/// Elements of K that a tile of bytes holds: the largest number of whole groups that divides K, unless most of the tile would be empty.
fn byte_step(k: usize) -> Option<usize> {
    if !k.is_multiple_of(4) {
        return None;
    }
    let groups = k / 4;
    let step = 4 * (1..=groups.min(ROW / 4)).rev().find(|&g| groups.is_multiple_of(g))?;
    (step == k || step >= ROW / 2).then_some(step)
}

/// Rows cut into blocks of at most `most` rows: evenly, where a number of rows for which two tiles are worth it divides them.
fn row_split(m: usize, most: usize) -> RowSplit {
    let even = (most / 2 + 1..=most).rev().find(|&mr| m.is_multiple_of(mr));
    RowSplit::new(m, even.unwrap_or(most))
}

/// A value of binary16 as the sum of two bfloat16, as their bits: exact.
fn weight_parts(w: f32) -> [u32; 2] {
    let high = w.to_bits() >> 16;
    [high, (w - f32::from_bits(high << 16)).to_bits() >> 16]
}

/// Builds the kernel.
pub(super) fn build(spec: &GemmSpec, plan: &Plan, caps: &Caps) -> Kernel {
    spec.epilogue.check(if plan.float { Ty::F32 } else { Ty::I32 });
    let dtype = super::dtype(spec.a_storage);
    let mut b = Builder::new(format!("{dtype}_gemm_{}x{}t{}", plan.rows.mr, plan.panels.nr, plan.step));
    let (a, packed) = (b.ptr_param("a"), b.ptr_param("b"));
    let output = Output::declare(&mut b, caps, &spec.epilogue, spec.ldc);
    let sums = b.scratch((BATCH.min(plan.group) * plan.sums_bytes()) as u32, 64);
    let stage = plan.float.then(|| b.scratch((plan.steps * A_PARTS * plan.rows.mr * ROW) as u32, 64));
    let gemm = Gemm { spec, plan, output: &output, a, packed, sums, stage };
    let rows = plan.rows;
    let uneven = rows.large > 0 && rows.small > 0;
    if !uneven {
        gemm.configure(&mut b, rows.mr);
    }
    let (begin, end) = (b.begin(), b.end());
    b.for_loop(begin, end, 1, &[], |b, unit, _| {
        let (block, group) = split_unit(b, unit, rows.tiles(), plan.groups);
        if !uneven {
            gemm.block(b, block, 0, rows.mr, group);
            return vec![];
        }
        let large = b.i64(rows.large as i64);
        let first = b.cmp(CmpOp::Lt, block, large);
        let one = |b: &mut Builder, shift: usize, mr: usize| {
            gemm.configure(b, mr);
            gemm.block(b, block, shift, mr, group);
            vec![]
        };
        b.if_else(first, |b| one(b, 0, rows.mr), |b| one(b, rows.large, rows.mr - 1));
        vec![]
    });
    b.finish()
}

/// Tiles of rows of a block: first row and number of rows.
fn row_tiles(mr: usize) -> Vec<(usize, usize)> {
    let first = if mr > SIDE { mr.div_ceil(2) } else { mr };
    [(0, first), (first, mr - first)].into_iter().filter(|t| t.1 > 0).collect()
}

/// Whether accumulators start from the bias as it lies in memory: a partial vector may end at the end of its buffer, and is added later.
fn whole_vectors(vectors: &[u16]) -> bool {
    vectors.iter().all(|&v| usize::from(v) == SIDE)
}

struct Gemm<'a> {
    spec: &'a GemmSpec,
    plan: &'a Plan,
    output: &'a Output<'a>,
    a: Value,
    packed: Value,
    /// Accumulators of a block and some panels: panel by panel, row by row.
    sums: Value,
    /// The parts of a block of A: for each step, for each part, a row of a tile for each row.
    stage: Option<Value>,
}

impl Gemm<'_> {
    /// Gives tiles the shapes for blocks of `mr` rows.
    fn configure(&self, b: &mut Builder, mr: usize) {
        let (rows, step) = (row_tiles(mr), self.plan.step);
        let step_bytes = if self.plan.float { 2 * step } else { step };
        let rows = |i: usize| rows[i.min(rows.len() - 1)].1 as u8;
        let sums = (0..4).map(|i| TileShape { rows: rows(i / PANEL), row_bytes: ROW as u8 });
        let a = (0..2).map(|i| TileShape { rows: rows(i), row_bytes: step_bytes as u8 });
        let weights = [TileShape { rows: (step_bytes / 4) as u8, row_bytes: ROW as u8 }; PANEL];
        b.tile(TileOp::Config(sums.chain(a).chain(weights).collect()), &[]);
    }

    /// A block of rows against a group of panels; block t begins at row `t * mr + shift`.
    fn block(&self, b: &mut Builder, t: Value, shift: usize, mr: usize, group: Value) {
        let plan = self.plan;
        let row = b.mul_const(t, mr as i64);
        let row = b.add_const(row, shift as i64);
        let offset = b.mul_const(row, (self.spec.lda * self.spec.a_storage.bytes()) as i64);
        let a = b.ptr_add(self.a, offset);
        if let Some(stage) = self.stage {
            self.take_apart(b, a, stage, mr);
        }
        let first = b.mul_const(group, plan.group as i64);
        let stop = b.add_const(first, plan.group as i64);
        let all = b.i64(plan.panels.count as i64);
        let stop = b.min(stop, all);
        let each = |b: &mut Builder, from: Value, to: Value, one: &dyn Fn(&mut Builder, Value, Value, &[u16])| {
            b.for_loop(from, to, 1, &[self.sums], |b, panel, at| {
                for_panel(b, &plan.panels, panel, |b, vectors| one(b, panel, at[0], vectors));
                vec![b.ptr_add_const(at[0], plan.sums_bytes() as i64)]
            });
        };
        b.for_loop(first, stop, BATCH as i64, &[], |b, from, _| {
            let to = b.add_const(from, BATCH as i64);
            let to = b.min(to, stop);
            each(b, from, to, &|b, panel, sums, vectors| {
                let offset = b.mul_const(panel, plan.panel_bytes(PANEL) as i64);
                let weights = b.ptr_add(self.packed, offset);
                let col = b.mul_const(panel, plan.panels.nr as i64);
                let start = if whole_vectors(vectors) { self.output.start_at(b, col) } else { None };
                self.multiply(b, a, weights, start, sums, mr, vectors.len());
            });
            each(b, from, to, &|b, panel, sums, vectors| {
                let col = b.mul_const(panel, plan.panels.nr as i64);
                self.finish(b, row, col, sums, mr, vectors);
            });
            vec![]
        });
    }

    /// Leaves the products of a block with a panel at `sums`; rows start from the one at `start`, or from zero.
    #[allow(clippy::too_many_arguments)]
    fn multiply(&self, b: &mut Builder, a: Value, weights: Value, start: Option<Value>, sums: Value, mr: usize, nv: usize) {
        let (plan, tiles) = (self.plan, row_tiles(mr));
        let pairs = || (0..tiles.len()).flat_map(move |r| (0..nv).map(move |c| (r, c)));
        let acc = |r: usize, c: usize| (r * PANEL + c) as u8;
        let same = b.i64(0);
        for (r, c) in pairs() {
            match start {
                Some(row) => b.tile(TileOp::Load { tile: acc(r, c), disp: (c * ROW) as i32 }, &[row, same]),
                None => b.tile(TileOp::Zero(acc(r, c)), &[]),
            }
        }
        let row_bytes = b.i64((nv * ROW) as i64);
        let b_step = nv * SIDE * plan.step * if plan.float { 2 } else { 1 };
        let product = match self.spec.a_storage {
            Storage::F32 => TileProduct::Bf16,
            Storage::U8 => TileProduct::Bytes(DotSigns::UnsignedSigned),
            _ => TileProduct::Bytes(DotSigns::Signed),
        };
        // Where the rows of A lie, their distance, the distance of steps, and that of parts.
        let (a, stride, a_step, part) = match self.stage {
            Some(stage) => (stage, ROW, A_PARTS * mr * ROW, mr * ROW),
            None => (a, self.spec.lda, plan.step, 0),
        };
        let a_stride = b.i64(stride as i64);
        b.for_const(0, plan.steps as i64, 1, &[a, weights], |b, _, at| {
            let parts = if plan.float { (A_PARTS, B_PARTS) } else { (1, 1) };
            for w in 0..parts.1 {
                if plan.rows.tiles() <= FETCHING_BLOCKS {
                    let from = w * plan.panel_bytes(nv) / parts.1 + AHEAD * b_step;
                    (0..b_step).step_by(ROW).for_each(|line| b.prefetch(Addr::new(at[1]).offset((from + line) as i64), Locality::L1));
                }
                for c in 0..nv {
                    let disp = (w * plan.panel_bytes(nv) / parts.1 + c * ROW) as i32;
                    b.tile(TileOp::Load { tile: B + c as u8, disp }, &[at[1], row_bytes]);
                }
                // The last part of A times the last part of B is too small to count.
                for x in 0..parts.0 - w {
                    for (r, &(first, _)) in tiles.iter().enumerate() {
                        let disp = (x * part + first * stride) as i32;
                        b.tile(TileOp::Load { tile: A + r as u8, disp }, &[at[0], a_stride]);
                    }
                    for (r, c) in pairs() {
                        b.tile(TileOp::Dot { product, acc: acc(r, c), a: A + r as u8, b: B + c as u8 }, &[]);
                    }
                }
            }
            vec![b.ptr_add_const(at[0], a_step as i64), b.ptr_add_const(at[1], b_step as i64)]
        });
        for (r, c) in pairs() {
            let disp = ((tiles[r].0 * nv + c) * ROW) as i32;
            b.tile(TileOp::Store { tile: acc(r, c), disp }, &[sums, row_bytes]);
        }
    }

    /// Applies the epilogue to what is at `sums`.
    fn finish(&self, b: &mut Builder, row: Value, col: Value, sums: Value, mr: usize, vectors: &[u16]) {
        let whole = mr / GROUP * GROUP;
        let some = |b: &mut Builder, at: Value, rows: usize| {
            let bytes = b.mul_const(at, (vectors.len() * ROW) as i64);
            let sums = b.ptr_add(sums, bytes);
            let elem = if self.plan.float { Elem::F32 } else { Elem::I32 };
            let mem = if self.plan.float { Mem::F32 } else { Mem::S32 };
            let load = |b: &mut Builder, i: usize| b.load(Type::vector(elem, SIDE as u16), mem, Addr::new(sums).offset((i * ROW) as i64));
            let mut acc: Vec<Value> = (0..rows * vectors.len()).map(|i| load(b, i)).collect();
            let bias = if whole_vectors(vectors) { None } else { self.output.start(b, col, vectors) };
            if let Some(bias) = bias {
                acc.chunks_mut(bias.len()).flat_map(|row| row.iter_mut().zip(&bias)).for_each(|(sum, &bias)| *sum = b.add(*sum, bias));
            }
            let row = b.add(row, at);
            self.output.store(b, &Place { row, row_step: 1, col, rows, vectors }, &acc);
        };
        b.for_const(0, whole as i64, GROUP as i64, &[], |b, at, _| {
            some(b, at, GROUP);
            vec![]
        });
        if whole < mr {
            let at = b.i64(whole as i64);
            some(b, at, mr - whole);
        }
    }

    /// Takes the floats of a block of rows apart into bfloat16: what remains after each part is cut off is exact.
    fn take_apart(&self, b: &mut Builder, a: Value, stage: Value, mr: usize) {
        let (plan, k) = (self.plan, self.spec.k);
        let whole = k / plan.step;
        b.for_const(0, mr as i64, 1, &[], |b, r, _| {
            let offset = b.mul_const(r, self.spec.lda as i64 * 4);
            let a = b.ptr_add(a, offset);
            let offset = b.mul_const(r, ROW as i64);
            let to = b.ptr_add(stage, offset);
            b.for_const(0, whole as i64, 1, &[a, to], |b, _, at| {
                self.take_step_apart(b, at[0], at[1], mr, plan.step);
                vec![b.ptr_add_const(at[0], plan.step as i64 * 4), b.ptr_add_const(at[1], (A_PARTS * mr * ROW) as i64)]
            });
            if k > whole * plan.step {
                let a = b.ptr_add_const(a, (whole * plan.step) as i64 * 4);
                let to = b.ptr_add_const(to, (whole * A_PARTS * mr * ROW) as i64);
                self.take_step_apart(b, a, to, mr, k - whole * plan.step);
            }
            vec![]
        });
    }

    /// Takes `count` elements of a row apart; those up to a whole step are zero.
    fn take_step_apart(&self, b: &mut Builder, a: Value, to: Value, mr: usize, count: usize) {
        let (ty, ints) = (Type::vector(Elem::F32, SIDE as u16), Type::vector(Elem::I32, SIDE as u16));
        let half = self.plan.step / 2;
        let mut values = [0, 1].map(|i| match count.saturating_sub(i * half).min(half) {
            0 => b.inst(tflc_kir::Op::Const(0), ty, &[]),
            lanes => b.load_first(ty, Mem::F32, Addr::new(a).offset((i * half * 4) as i64), lanes as u16),
        });
        let (mask, by) = (b.int(ints, i64::from(0xffff_0000u32 as i32)), b.int(ints, 16));
        for part in 0..A_PARTS {
            let bits = values.map(|v| b.bitcast(ints, v));
            let cut = bits.map(|v| b.bin(BinOp::And, v, mask));
            let low = b.bin(BinOp::ShrU, bits[0], by);
            let both = b.bin(BinOp::Or, low, cut[1]);
            b.store(Mem::S32, Narrow::Wrap, Addr::new(to).offset((part * mr * ROW) as i64), both);
            values = [0, 1].map(|i| {
                let cut = b.bitcast(ty, cut[i]);
                b.sub(values[i], cut)
            });
        }
    }
}
