//! GEMM by tiles (AMX): blocks of rows and panels of columns, with up to four accumulators of 16×16.
//!
//! Bytes are multiplied as they lie, up to 32 rows by 32 columns: packed B is that of a four-element dot product. Floats with weights of binary16 are taken
//! apart into bfloat16 (`floats`).
//!
//! Accumulators reach the epilogue by way of a scratch buffer, some rows at a time. A work unit is one row block × some panels.

mod floats;

use super::{GemmSpec, for_panel, split_unit};
use crate::cpu::epilogue::{Output, Place};
use crate::cpu::tiling::{Panels, RowSplit};
use crate::expr::{Storage, Ty};
use floats::Floats;
use tflc_kir::{Addr, Builder, Caps, CmpOp, DotSigns, Elem, Kernel, Locality, Mem, TileOp, TileProduct, TileShape, Type, Value};

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
/// Panels that are multiplied before their sums go through the epilogue: neither then waits for the other but once.
const BATCH: usize = 4;
/// Shorter sums are epilogues above all, which registers serve better.
const LEAST_K: usize = 32;
/// Steps of K by which weights are fetched ahead, into the first-level cache: from the second alone, tiles waited for them.
const AHEAD: usize = 2;
/// With more blocks of rows than these, weights come from the second-level cache but for the first of them.
const FETCHING_BLOCKS: usize = 16;
/// Rows that go through the epilogue together.
const GROUP: usize = 4;
/// Work units that a product is cut into, where rows alone do not give them.
const UNITS: usize = 8;

/// Everything that follows from a spec whose product is made by tiles.
pub(super) struct Plan {
    rows: RowSplit,
    pub(super) panels: Panels,
    /// Elements of K that a tile of A holds, and how many such steps there are.
    step: usize,
    steps: usize,
    /// Panels of a work unit, and how many such groups there are.
    group: usize,
    groups: usize,
    /// How floats are multiplied; `None` for bytes.
    floats: Option<Floats>,
}

impl Plan {
    /// The plan, where tiles suit the product.
    pub(super) fn new(spec: &GemmSpec, caps: &Caps) -> Option<Plan> {
        if !caps.tiles || spec.m < 8 || spec.n < 8 {
            return None;
        }
        if spec.a_storage == Storage::F32 {
            return floats::plan(spec);
        }
        // Rows of a tile are reached by a constant offset of 32 bits.
        let reached = i32::try_from(spec.lda * 2 * SIDE).is_ok();
        if spec.weights.signed_zero_point() != 0 || spec.k < LEAST_K || !reached {
            return None;
        }
        let step = byte_step(spec.k)?;
        let rows = row_split(spec.m, 2 * SIDE);
        let panels = Panels::new(spec.n, PANEL, SIDE as u16);
        let group = panels.count.div_ceil(UNITS.div_ceil(rows.tiles())).min(panels.count);
        Some(Plan { rows, groups: panels.count.div_ceil(group), panels, step, steps: spec.k / step, group, floats: None })
    }

    /// Whether A is floats.
    pub(super) fn is_float(&self) -> bool {
        self.floats.is_some()
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
        self.rows.mr * self.panels.nr * ROW / SIDE
    }

    /// Bytes of a panel of `vectors` tiles of columns.
    fn panel_bytes(&self, vectors: usize) -> usize {
        vectors * SIDE * self.step * self.steps
    }

    /// Bytes of packed B.
    pub(super) fn packed_bytes(&self) -> usize {
        match &self.floats {
            Some(floats) => floats.packed_bytes(self),
            None => (0..self.panels.count).map(|p| self.panel_bytes(self.panels.vectors(p))).sum(),
        }
    }

    /// Packs weights of binary16 into `out`, zeros.
    pub(super) fn pack_floats(&self, spec: &GemmSpec, weights: &[u8], out: &mut [u8]) {
        if let Some(floats) = &self.floats {
            floats.pack(self, spec, weights, out);
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

/// Builds the kernel.
pub(super) fn build(spec: &GemmSpec, plan: &Plan, caps: &Caps) -> Kernel {
    spec.epilogue.check(if plan.is_float() { Ty::F32 } else { Ty::I32 });
    let dtype = super::dtype(spec.a_storage);
    let mut b = Builder::new(format!("{dtype}_gemm_{}x{}t{}", plan.rows.mr, plan.panels.nr, plan.step));
    let (a, packed) = (b.ptr_param("a"), b.ptr_param("b"));
    let output = Output::declare(&mut b, caps, &spec.epilogue, spec.ldc);
    let panels = if plan.is_float() { plan.group } else { BATCH.min(plan.group) };
    let sums = b.scratch((panels * plan.sums_bytes()) as u32, 64);
    let parts = plan.floats.as_ref().map(|floats| floats.reserve(&mut b, plan));
    let gemm = Gemm { spec, plan, output: &output, a, packed, sums };
    let rows = plan.rows;
    let uneven = rows.large > 0 && rows.small > 0;
    let configure = |b: &mut Builder, mr: usize| match &plan.floats {
        Some(floats) => floats.configure(b, plan, mr),
        None => gemm.configure(b, mr),
    };
    let block = |b: &mut Builder, t: Value, shift: usize, mr: usize, group: Value| {
        let unit = gemm.unit(b, t, shift, mr, group);
        match (&plan.floats, &parts) {
            (Some(floats), Some(parts)) => floats::Block { gemm: &gemm, floats, parts, unit: &unit }.emit(b),
            _ => gemm.products(b, &unit),
        }
    };
    if !uneven {
        configure(&mut b, rows.mr);
    }
    let (begin, end) = (b.begin(), b.end());
    b.for_loop(begin, end, 1, &[], |b, unit, _| {
        let (t, group) = split_unit(b, unit, rows.tiles(), plan.groups);
        if !uneven {
            block(b, t, 0, rows.mr, group);
            return vec![];
        }
        let large = b.i64(rows.large as i64);
        let first = b.cmp(CmpOp::Lt, t, large);
        let one = |b: &mut Builder, shift: usize, mr: usize| {
            configure(b, mr);
            block(b, t, shift, mr, group);
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

/// Gives tiles their shapes: those of sums and of A by their rows, those of B by the bytes of a row of A.
fn shape_tiles(b: &mut Builder, sums: [usize; 4], a: [usize; 2], a_bytes: usize) {
    let full = |rows: usize| TileShape { rows: rows as u8, row_bytes: ROW as u8 };
    let a = a.map(|rows| TileShape { rows: rows as u8, row_bytes: a_bytes as u8 });
    b.tile(TileOp::Config([&sums.map(full)[..], &a, &[full(a_bytes / 4); 2]].concat()), &[]);
}

/// Starts accumulators, each of a tile of columns: every row from the one at `start`, or from zero.
fn start_tiles(b: &mut Builder, start: Option<Value>, accumulators: impl Iterator<Item = (u8, usize)>) {
    let same = b.i64(0);
    for (tile, column) in accumulators {
        match start {
            Some(row) => b.tile(TileOp::Load { tile, disp: (column * ROW) as i32 }, &[row, same]),
            None => b.tile(TileOp::Zero(tile), &[]),
        }
    }
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
}

/// Where a work unit, or some panels of it, lies.
#[derive(Clone, Copy)]
struct Unit {
    /// Its first row, and how many it has.
    row: Value,
    mr: usize,
    /// A at that row.
    a: Value,
    /// The first panel, and the one behind the last.
    first: Value,
    stop: Value,
    /// Number of all panels.
    all: Value,
}

impl Gemm<'_> {
    /// Gives tiles the shapes for blocks of `mr` rows.
    fn configure(&self, b: &mut Builder, mr: usize) {
        let tiles = row_tiles(mr);
        let rows = [0, 1].map(|i: usize| tiles[i.min(tiles.len() - 1)].1);
        shape_tiles(b, [0, 1, 2, 3].map(|i| rows[i / PANEL]), rows, self.plan.step);
    }

    /// The unit of block `t`, which begins at row `t * mr + shift`, and a group of panels.
    fn unit(&self, b: &mut Builder, t: Value, shift: usize, mr: usize, group: Value) -> Unit {
        let plan = self.plan;
        let row = b.mul_const(t, mr as i64);
        let row = b.add_const(row, shift as i64);
        let offset = b.mul_const(row, (self.spec.lda * self.spec.a_storage.bytes()) as i64);
        let a = b.ptr_add(self.a, offset);
        let first = b.mul_const(group, plan.group as i64);
        let stop = b.add_const(first, plan.group as i64);
        let all = b.i64(plan.panels.count as i64);
        Unit { row, mr, a, first, stop: b.min(stop, all), all }
    }

    /// A loop over the panels of a unit, with the place of their sums.
    fn each_panel(&self, b: &mut Builder, unit: &Unit, one: impl Fn(&mut Builder, Value, Value)) {
        b.for_loop(unit.first, unit.stop, 1, &[self.sums], |b, panel, at| {
            one(b, panel, at[0]);
            vec![b.ptr_add_const(at[0], self.plan.sums_bytes() as i64)]
        });
    }

    /// What the sums of a panel that begins at column `col` start from, where it lies in memory.
    fn start(&self, b: &mut Builder, col: Value, vectors: &[u16]) -> Option<Value> {
        if whole_vectors(vectors) { self.output.start_at(b, col) } else { None }
    }

    /// The products of bytes of a unit.
    fn products(&self, b: &mut Builder, unit: &Unit) {
        let plan = self.plan;
        b.for_loop(unit.first, unit.stop, BATCH as i64, &[], |b, first, _| {
            let stop = b.add_const(first, BATCH as i64);
            let batch = Unit { first, stop: b.min(stop, unit.stop), ..*unit };
            self.each_panel(b, &batch, |b, panel, sums| {
                for_panel(b, &plan.panels, panel, |b, vectors| {
                    let offset = b.mul_const(panel, plan.panel_bytes(PANEL) as i64);
                    let weights = b.ptr_add(self.packed, offset);
                    let col = b.mul_const(panel, plan.panels.nr as i64);
                    let start = self.start(b, col, vectors);
                    self.multiply(b, unit.a, weights, start, sums, unit.mr, vectors.len());
                });
            });
            self.finish(b, &batch);
            vec![]
        });
    }

    /// Leaves the products of a block with a panel at `sums`; rows start from the one at `start`, or from zero.
    #[allow(clippy::too_many_arguments)]
    fn multiply(&self, b: &mut Builder, a: Value, weights: Value, start: Option<Value>, sums: Value, mr: usize, nv: usize) {
        let (plan, tiles) = (self.plan, row_tiles(mr));
        // Neighbours share a tile of B.
        let count = tiles.len();
        let pairs = || (0..nv).flat_map(move |c| (0..count).map(move |r| (r, c)));
        let acc = |r: usize, c: usize| (r * PANEL + c) as u8;
        start_tiles(b, start, pairs().map(|(r, c)| (acc(r, c), c)));
        let row_bytes = b.i64((nv * ROW) as i64);
        let b_step = nv * SIDE * plan.step;
        let product = match self.spec.a_storage {
            Storage::U8 => TileProduct::Bytes(DotSigns::UnsignedSigned),
            _ => TileProduct::Bytes(DotSigns::Signed),
        };
        let a_stride = b.i64(self.spec.lda as i64);
        b.for_const(0, plan.steps as i64, 1, &[a, weights], |b, _, at| {
            if plan.rows.tiles() <= FETCHING_BLOCKS {
                let from = AHEAD * b_step;
                (0..b_step).step_by(ROW).for_each(|line| b.prefetch(Addr::new(at[1]).offset((from + line) as i64), Locality::L1));
            }
            for c in 0..nv {
                b.tile(TileOp::Load { tile: B + c as u8, disp: (c * ROW) as i32 }, &[at[1], row_bytes]);
            }
            for (r, &(first, _)) in tiles.iter().enumerate() {
                b.tile(TileOp::Load { tile: A + r as u8, disp: (first * self.spec.lda) as i32 }, &[at[0], a_stride]);
            }
            for (r, c) in pairs() {
                b.tile(TileOp::Dot { product, acc: acc(r, c), a: A + r as u8, b: B + c as u8 }, &[]);
            }
            vec![b.ptr_add_const(at[0], plan.step as i64), b.ptr_add_const(at[1], b_step as i64)]
        });
        for (r, c) in pairs() {
            let disp = ((tiles[r].0 * nv + c) * ROW) as i32;
            b.tile(TileOp::Store { tile: acc(r, c), disp }, &[sums, row_bytes]);
        }
    }

    /// Applies the epilogue to the sums of a unit.
    fn finish(&self, b: &mut Builder, unit: &Unit) {
        self.each_panel(b, unit, |b, panel, sums| {
            for_panel(b, &self.plan.panels, panel, |b, vectors| {
                let col = b.mul_const(panel, self.plan.panels.nr as i64);
                self.finish_panel(b, unit.row, col, sums, unit.mr, vectors);
            });
        });
    }

    /// The same for a panel, whose sums are at `sums`.
    fn finish_panel(&self, b: &mut Builder, row: Value, col: Value, sums: Value, mr: usize, vectors: &[u16]) {
        let whole = mr / GROUP * GROUP;
        let some = |b: &mut Builder, at: Value, rows: usize| {
            let bytes = b.mul_const(at, (vectors.len() * ROW) as i64);
            let sums = b.ptr_add(sums, bytes);
            let (elem, mem) = if self.plan.is_float() { (Elem::F32, Mem::F32) } else { (Elem::I32, Mem::S32) };
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
}
