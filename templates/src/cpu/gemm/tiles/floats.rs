//! Floats by tiles, exactly enough for binary32: a weight of binary16 is the sum of two bfloat16, an activation the sum of three. Of the six products the
//! smallest, 2⁻²⁴ of the whole, is left out. Where an activation is infinite the results of its row are NaN.
//!
//! An instruction takes as long for few rows as for sixteen where the core's other thread is busy, and tiles that are not in the nearest cache
//! are slow; so blocks consist of whole tiles, three or four of rows and one of columns where there are that many rows. Weights are
//! one stream of halves, half as many bytes as their parts: they are taken apart while the products of the step before are made. K is cut into chunks:
//! the parts of a chunk of A stay close while all panels of a work unit pass over it, and sums wait in memory between chunks.

use super::{A, B, Gemm, PANEL, Plan, ROW, SIDE, UNITS, Unit, shape_tiles, start_tiles};
use crate::cpu::gemm::{GemmSpec, for_panel};
use crate::cpu::mac::WeightFormat;
use crate::cpu::tiling::{Panels, RowSplit};
use std::ops::Range;
use tflc_kir::{Addr, BinOp, Builder, CmpOp, Elem, Locality, Mem, Narrow, Op, TileOp, TileProduct, Type, Value};

/// bfloat16 that an activation is taken apart into.
const A_PARTS: usize = 3;
/// bfloat16 that a weight is taken apart into.
const B_PARTS: usize = 2;
/// Tiles of rows of a block, at most: one of columns beside them fills the accumulators.
const MOST_TILES: usize = 4;
/// Rows beyond whole tiles that take less time by vectors, beside the tiles, than one tile more: 49, the pixels of many last layers and a divisor of those
/// before, are three tiles and one row.
const MOST_REST: usize = 2;
/// Bytes of the parts of a chunk of A, at most. They lie on the stack, as sums do.
const STAGE_BYTES: usize = 64 << 10;
/// Bytes of the sums of a work unit, at most.
const SUMS_BYTES: usize = 32 << 10;
/// Columns for which a chunk of A is worth taking apart once more.
const STAGED_COLUMNS: usize = 160;
/// Products of fewer columns spend their time on that.
const LEAST_COLUMNS: usize = 48;
/// Shorter sums are epilogues above all, which registers serve better.
const LEAST_K: usize = 48;
/// Steps by which weights are fetched ahead.
const AHEAD: usize = 6;

/// How the floats of a plan are multiplied.
pub(super) struct Floats {
    /// Tiles of rows of a block; the last two overlap where they have more rows than it.
    tiles: usize,
    /// Rows behind those of the tiles, which are multiplied by vectors.
    rest: usize,
    /// Tiles of columns of a panel.
    columns: usize,
    /// Steps of K in a chunk; the last chunk may have fewer.
    chunk: usize,
    /// Rows of tiles that hold the weights of a step and a panel.
    pieces: usize,
}

/// The plan of a product of floats, where tiles suit it.
pub(super) fn plan(spec: &GemmSpec) -> Option<Plan> {
    if spec.weights != WeightFormat::F16 || spec.n < LEAST_COLUMNS || spec.k < LEAST_K {
        return None;
    }
    let step = spec.k.div_ceil(spec.k.div_ceil(ROW / 2)).next_multiple_of(2);
    let steps = spec.k.div_ceil(step);
    let rest =
        |mr: usize| if spec.m.is_multiple_of(mr) && mr > SIDE && mr % SIDE <= MOST_REST && step * steps == spec.k { mr % SIDE } else { 0 };
    let tiles = |mr: usize| (mr - rest(mr)).div_ceil(SIDE);
    // Loads and products of a step, for two tiles of columns.
    let cost = |tiles: usize| if tiles > 2 { 4 * (4 * tiles + 1) } else { 15 * tiles + 4 };
    let blocks = spec.m.div_ceil(MOST_TILES * SIDE + MOST_REST)..=spec.m.div_ceil(SIDE);
    let fits = |blocks: &usize| tiles(spec.m.div_ceil(*blocks)) <= MOST_TILES;
    let blocks = blocks.filter(fits).min_by_key(|blocks| blocks * cost(tiles(spec.m.div_ceil(*blocks))))?;
    let mr = spec.m.div_ceil(blocks);
    let columns = if tiles(mr) > 2 { 1 } else { PANEL };
    let panels = Panels::new(spec.n, columns, SIDE as u16);
    let chunks = steps.div_ceil((STAGE_BYTES / (A_PARTS * mr * ROW)).max(1));
    let floats = Floats { tiles: tiles(mr), rest: rest(mr), columns, chunk: steps.div_ceil(chunks), pieces: step / 2 * columns };
    let rows = RowSplit::new(spec.m, mr);
    let group = panels.count.div_ceil(UNITS.div_ceil(rows.tiles())).max(STAGED_COLUMNS / panels.nr);
    let group = group.min(SUMS_BYTES / (mr * columns * ROW)).min(panels.count);
    Some(Plan { rows, groups: panels.count.div_ceil(group), panels, step, steps, group, floats: Some(floats) })
}

/// Where what is taken apart lies.
pub(super) struct Parts {
    /// Of a chunk of A: for each step, for each part, a row of a tile for each row.
    stage: Value,
    /// Of the weights of two steps.
    weights: Value,
}

impl Floats {
    /// Rows of a tile in blocks of `mr` rows.
    fn tile_rows(&self, mr: usize) -> usize {
        (mr - self.rest).div_ceil(self.tiles)
    }

    /// First row of a tile in blocks of `mr` rows.
    fn first_row(&self, tile: usize, mr: usize) -> usize {
        (tile * self.tile_rows(mr)).min(mr - self.rest - self.tile_rows(mr))
    }

    /// The accumulator of a tile of rows and a tile of columns.
    fn sum(&self, row: usize, column: usize) -> u8 {
        (row * self.columns + column) as u8
    }

    /// Bytes of the weights of a step and a panel: of each part of them as well.
    fn block_bytes(&self) -> usize {
        self.pieces * ROW
    }

    /// Bytes of packed weights. One step more than there are is read.
    pub(super) fn packed_bytes(&self, plan: &Plan) -> usize {
        (plan.steps * plan.panels.count + 1) * self.block_bytes()
    }

    /// Packs weights of binary16 into `out`, zeros, in the order in which they are used: chunk by chunk, panel by panel, step by step. A row of a tile holds
    /// pairs of K, an element of the first half of a step and that of the second, so that the parts of two vectors need not be moved between
    /// lanes; the first ones of a tile's columns come before the second ones.
    pub(super) fn pack(&self, plan: &Plan, spec: &GemmSpec, weights: &[u8], out: &mut [u8]) {
        let (half, columns) = (plan.step / 2, self.columns * SIDE);
        let (weights, _) = weights.as_chunks::<2>();
        let mut blocks = out.chunks_exact_mut(self.block_bytes());
        for from in (0..plan.steps).step_by(self.chunk) {
            for first in (0..spec.n).step_by(columns) {
                for (step, block) in (from..plan.steps.min(from + self.chunk)).zip(&mut blocks) {
                    let (block, _) = block.as_chunks_mut::<2>();
                    let k = step * plan.step..spec.k.min((step + 1) * plan.step);
                    for n in 0..columns.min(spec.n - first) {
                        let at = n / SIDE * 2 * SIDE + n % SIDE;
                        let column = &weights[(first + n) * spec.k..][k.clone()];
                        for (part, from) in column.chunks(half).zip([at, at + SIDE]) {
                            block[from..].iter_mut().step_by(2 * columns).zip(part).for_each(|(to, weight)| *to = *weight);
                        }
                    }
                }
            }
        }
    }

    /// Reserves memory for parts.
    pub(super) fn reserve(&self, b: &mut Builder, plan: &Plan) -> Parts {
        let stage = b.scratch((self.chunk * A_PARTS * (plan.rows.mr - self.rest) * ROW) as u32, 64);
        Parts { stage, weights: b.scratch((2 * B_PARTS * self.block_bytes()) as u32, 64) }
    }

    /// Gives tiles the shapes for blocks of `mr` rows.
    pub(super) fn configure(&self, b: &mut Builder, plan: &Plan, mr: usize) {
        let rows = self.tile_rows(mr);
        shape_tiles(b, [rows; 4], [rows; 2], 2 * plan.step);
    }
}

/// A work unit.
pub(super) struct Block<'a> {
    pub(super) gemm: &'a Gemm<'a>,
    pub(super) floats: &'a Floats,
    pub(super) parts: &'a Parts,
    pub(super) unit: &'a Unit,
}

impl Block<'_> {
    /// Rows that tiles multiply.
    fn tiled(&self) -> usize {
        self.unit.mr - self.floats.rest
    }

    /// All of it.
    pub(super) fn emit(&self, b: &mut Builder) {
        let (gemm, floats, plan, spec, unit) = (self.gemm, self.floats, self.gemm.plan, self.gemm.spec, self.unit);
        let (a, first, all, block_bytes) = (unit.a, unit.first, unit.all, floats.block_bytes() as i64);
        let (zero, steps) = (b.i64(0), b.i64(plan.steps as i64));
        b.for_loop(zero, steps, floats.chunk as i64, &[], |b, from, _| {
            let to = b.add_const(from, floats.chunk as i64);
            let to = b.min(to, steps);
            let count = b.sub(to, from);
            self.take_apart(b, a, (from, to));
            let offset = b.mul_const(from, plan.step as i64 * 4);
            let rest = b.ptr_add(a, offset);
            let rest = b.ptr_add_const(rest, (self.tiled() * spec.lda * 4) as i64);
            // Where the weights of this chunk and the group's first panel are.
            let before = b.mul(from, all);
            let skipped = b.mul(first, count);
            let blocks = b.add(before, skipped);
            let offset = b.mul_const(blocks, block_bytes);
            let weights = b.ptr_add(gemm.packed, offset);
            self.take_weights_apart(b, weights, self.parts.weights, 0..floats.pieces);
            gemm.each_panel(b, unit, |b, panel, sums| {
                let index = b.sub(panel, first);
                let done = b.mul(index, count);
                let offset = b.mul_const(done, block_bytes);
                let weights = b.ptr_add(weights, offset);
                // Two steps' parts, in turn.
                let one = b.i64(1);
                let odd = b.bin(BinOp::And, done, one);
                let even = b.sub(one, odd);
                let [these, next] = [odd, even].map(|which| {
                    let offset = b.mul_const(which, B_PARTS as i64 * block_bytes);
                    b.ptr_add(self.parts.weights, offset)
                });
                let begun = b.cmp(CmpOp::Lt, zero, from);
                for_panel(b, &plan.panels, panel, |b, vectors| {
                    let col = b.mul_const(panel, plan.panels.nr as i64);
                    let start = gemm.start(b, col, vectors);
                    let others = self.begin_sums(b, begun, start, sums, vectors.len());
                    let others = self.multiply(b, count, [self.parts.stage, weights, these, next, rest], &others, vectors.len());
                    self.each_sum(b, vectors.len(), |b, tile, disp, stride| b.tile(TileOp::Store { tile, disp }, &[sums, stride]));
                    for (sum, at) in others.into_iter().zip(self.other_sums(sums, vectors.len())) {
                        b.store(Mem::F32, Narrow::Wrap, at, sum);
                    }
                });
            });
            vec![]
        });
        gemm.finish(b, unit);
    }

    /// Each accumulator with the place of its rows among sums, and their distance.
    fn each_sum(&self, b: &mut Builder, nv: usize, mut one: impl FnMut(&mut Builder, u8, i32, Value)) {
        let stride = b.i64((nv * ROW) as i64);
        for r in 0..self.floats.tiles {
            for c in 0..nv {
                let disp = ((self.floats.first_row(r, self.unit.mr) * nv + c) * ROW) as i32;
                one(b, self.floats.sum(r, c), disp, stride);
            }
        }
    }

    /// Where the sums of the rows behind the tiles lie.
    fn other_sums(&self, sums: Value, nv: usize) -> impl Iterator<Item = Addr> + use<> {
        (self.tiled() * nv..self.unit.mr * nv).map(move |i| Addr::new(sums).offset((i * ROW) as i64))
    }

    /// Fills accumulators, and gives those that are vectors: with the sums at `sums` where some steps were `begun`, else with the row at `start`, or zero.
    fn begin_sums(&self, b: &mut Builder, begun: Value, start: Option<Value>, sums: Value, nv: usize) -> Vec<Value> {
        let (floats, ty) = (self.floats, Type::vector(Elem::F32, SIDE as u16));
        b.if_else(
            begun,
            |b| {
                self.each_sum(b, nv, |b, tile, disp, stride| b.tile(TileOp::Load { tile, disp }, &[sums, stride]));
                self.other_sums(sums, nv).map(|at| b.load(ty, Mem::F32, at)).collect()
            },
            |b| {
                let pairs = (0..floats.tiles).flat_map(|r| (0..nv).map(move |c| (r, c)));
                start_tiles(b, start, pairs.map(|(r, c)| (floats.sum(r, c), c)));
                let columns = (0..floats.rest).flat_map(|_| 0..nv);
                let others = columns.map(|c| match start {
                    Some(row) => b.load(ty, Mem::F32, Addr::new(row).offset((c * ROW) as i64)),
                    None => b.inst(Op::Const(0), ty, &[]),
                });
                others.collect()
            },
        )
    }

    /// Adds the products of a chunk's `count` steps, and gives the accumulators that are vectors. Places are those of the parts of A, the weights, the parts of
    /// the first step's weights, where those of the next one go, and the rows behind the tiles. In the end the parts of the step behind the last one
    /// are where the next panel looks for its first.
    fn multiply(&self, b: &mut Builder, count: Value, places: [Value; 5], others: &[Value], nv: usize) -> Vec<Value> {
        let (floats, step) = (self.floats, self.gemm.plan.step);
        let (block, part) = (floats.block_bytes(), self.tiled() * ROW);
        let (a_stride, b_stride) = (b.i64(ROW as i64), b.i64((floats.columns * ROW) as i64));
        // One tile of columns leaves room for both parts of its weights.
        let passes: &[&[usize]] = if floats.columns == 1 { &[&[0, 1]] } else { &[&[0], &[1]] };
        // Parts of A and tiles of rows in the order in which they are loaded.
        let of_pass = |&pass: &&'static [usize]| (0..A_PARTS - pass[0]).flat_map(move |x| (0..floats.tiles).map(move |r| (pass, x, r)));
        let loads: Vec<(&[usize], usize, usize)> = passes.iter().flat_map(of_pass).collect();
        let zero = b.i64(0);
        let results = b.for_loop(zero, count, 1, &[&places[..], others].concat(), |b, _, at| {
            let [a, weights, these, next, rest] = [at[0], at[1], at[2], at[3], at[4]];
            let mut others = at[5..].to_vec();
            let following = b.ptr_add_const(weights, block as i64);
            for line in (0..block).step_by(ROW) {
                b.prefetch(Addr::new(weights).offset((AHEAD * block + line) as i64), Locality::L1);
            }
            for (i, &(pass, x, r)) in loads.iter().enumerate() {
                if (x, r) == (0, 0) {
                    for (which, c) in (0..pass.len()).flat_map(|which| (0..nv).map(move |c| (which, c))) {
                        let disp = (pass[which] * block + c * ROW) as i32;
                        b.tile(TileOp::Load { tile: B + (which * floats.columns + c) as u8, disp }, &[these, b_stride]);
                    }
                }
                let tile = A + (r % 2) as u8;
                b.tile(TileOp::Load { tile, disp: (x * part + floats.first_row(r, self.unit.mr) * ROW) as i32 }, &[a, a_stride]);
                // The last part of A times the last part of B is too small to count.
                for (which, _) in pass.iter().enumerate().filter(|(_, w)| x + **w < A_PARTS) {
                    for c in 0..nv {
                        let (acc, factor) = (floats.sum(r, c), B + (which * floats.columns + c) as u8);
                        b.tile(TileOp::Dot { product: TileProduct::Bf16, acc, a: tile, b: factor }, &[]);
                    }
                }
                let share = |i: usize| i * floats.pieces / loads.len();
                self.take_weights_apart(b, following, next, share(i)..share(i + 1));
                self.multiply_rest(b, weights, rest, &mut others, share(i)..share(i + 1));
            }
            let places = [b.ptr_add_const(a, (A_PARTS * part) as i64), following, next, these, b.ptr_add_const(rest, step as i64 * 4)];
            [&places[..], &others].concat()
        });
        results[5..].to_vec()
    }

    /// Multiplies some pieces of a step's weights by the rows behind the tiles, the first of which is at `rest`.
    fn multiply_rest(&self, b: &mut Builder, weights: Value, rest: Value, sums: &mut [Value], pieces: Range<usize>) {
        let (floats, ty) = (self.floats, Type::vector(Elem::F32, SIDE as u16));
        let nv = sums.len() / floats.rest.max(1);
        for piece in pieces.filter(|piece| piece % floats.columns < nv) {
            for i in 0..2 {
                let k = piece / floats.columns + i * self.gemm.plan.step / 2;
                let factor = b.load(ty, Mem::F16, Addr::new(weights).offset((piece * ROW + i * ROW / 2) as i64));
                for r in 0..floats.rest {
                    let x = b.load_splat(ty, Mem::F32, Addr::new(rest).offset(((r * self.gemm.spec.lda + k) * 4) as i64));
                    let sum = &mut sums[r * nv + piece % floats.columns];
                    *sum = b.fma(x, factor, *sum);
                }
            }
        }
    }

    /// Takes some pieces of a step's weights apart: the pairs of one row of a tile each.
    fn take_weights_apart(&self, b: &mut Builder, weights: Value, parts: Value, pieces: Range<usize>) {
        let ty = Type::vector(Elem::F32, SIDE as u16);
        for piece in pieces {
            let mut values = [0, 1].map(|i| b.load(ty, Mem::F16, Addr::new(weights).offset((piece * ROW + i * ROW / 2) as i64)));
            for part in 0..B_PARTS {
                values = store_part(b, values, Addr::new(parts).offset((part * self.floats.block_bytes() + piece * ROW) as i64));
            }
        }
    }

    /// Takes the floats of the block's rows, which begin at `a`, apart, for the steps `from..to` of K.
    fn take_apart(&self, b: &mut Builder, a: Value, (from, to): (Value, Value)) {
        let (plan, spec, rows) = (self.gemm.plan, self.gemm.spec, self.tiled());
        let whole = spec.k / plan.step;
        let all_whole = b.i64(whole as i64);
        let stop = b.min(to, all_whole);
        let (row_bytes, step_bytes) = (spec.lda as i64 * 4, (A_PARTS * rows * ROW) as i64);
        let each_row = |b: &mut Builder, a: Value, stage: Value, one: &dyn Fn(&mut Builder, Value, Value)| {
            b.for_const(0, rows as i64, 1, &[a, stage], |b, _, at| {
                one(b, at[0], at[1]);
                vec![b.ptr_add_const(at[0], row_bytes), b.ptr_add_const(at[1], ROW as i64)]
            });
        };
        let offset = b.mul_const(from, plan.step as i64 * 4);
        let first = b.ptr_add(a, offset);
        each_row(b, first, self.parts.stage, &|b, a, stage| {
            b.for_loop(from, stop, 1, &[a, stage], |b, _, at| {
                self.take_step_apart(b, at[0], at[1], plan.step);
                vec![b.ptr_add_const(at[0], plan.step as i64 * 4), b.ptr_add_const(at[1], step_bytes)]
            });
        });
        if spec.k > whole * plan.step {
            let partial = b.cmp(CmpOp::Lt, all_whole, to);
            b.if_then(partial, |b| {
                let a = b.ptr_add_const(a, (whole * plan.step) as i64 * 4);
                let before = b.sub(all_whole, from);
                let offset = b.mul_const(before, step_bytes);
                let stage = b.ptr_add(self.parts.stage, offset);
                each_row(b, a, stage, &|b, a, stage| self.take_step_apart(b, a, stage, spec.k - whole * plan.step));
            });
        }
    }

    /// Takes the first `count` elements of a step of a row apart; those behind them are zero.
    fn take_step_apart(&self, b: &mut Builder, a: Value, to: Value, count: usize) {
        let (ty, half) = (Type::vector(Elem::F32, SIDE as u16), self.gemm.plan.step / 2);
        let mut values = [0, 1].map(|i| match count.saturating_sub(i * half).min(half) {
            0 => b.inst(Op::Const(0), ty, &[]),
            lanes => b.load_first(ty, Mem::F32, Addr::new(a).offset((i * half * 4) as i64), lanes as u16),
        });
        for part in 0..A_PARTS {
            values = store_part(b, values, Addr::new(to).offset((part * self.tiled() * ROW) as i64));
        }
    }
}

/// Stores a bfloat16 of each element of two vectors, in pairs, and gives what remains of the elements: what is cut off is exact.
fn store_part(b: &mut Builder, values: [Value; 2], to: Addr) -> [Value; 2] {
    let (ty, ints) = (Type::vector(Elem::F32, SIDE as u16), Type::vector(Elem::I32, SIDE as u16));
    let (mask, by) = (b.int(ints, i64::from(0xffff_0000u32 as i32)), b.int(ints, 16));
    let bits = values.map(|v| b.bitcast(ints, v));
    let cut = bits.map(|v| b.bin(BinOp::And, v, mask));
    let low = b.bin(BinOp::ShrU, bits[0], by);
    let both = b.bin(BinOp::Or, low, cut[1]);
    b.store(Mem::S32, Narrow::Wrap, to, both);
    [0, 1].map(|i| {
        let cut = b.bitcast(ty, cut[i]);
        b.sub(values[i], cut)
    })
}
