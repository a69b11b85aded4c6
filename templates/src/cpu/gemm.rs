//! GEMM: `C[m, n] = epilogue(Σ_k A[m, k] · W[n, k])`, with static shape and compile-time weights.
//!
//! Serves 1×1 convolution, fully connected layers and batches of rows, in f32 and in int8 with i32 accumulators; with few rows it is a GEMV that
//! streams weights. A is read in place. Parameters: `a`, `b` (from [`pack_b`]), `c`, then the epilogue's operands and tables. A work unit is one
//! row block × column panel, or several panels where rows are widened in a buffer for all of them, so results do not depend on how units are split over
//! threads. C must not overlap A.

mod tiles;
mod widened;

use crate::cpu::epilogue::{Epilogue, Output, Place};
use crate::cpu::mac::{Acc, Run, Scheme, WeightFormat, widen};
use crate::cpu::tiling::{Panels, RowSplit, Tile, choose_product};
use crate::expr::Storage;
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Kernel, Locality, Value};
use widened::Widened;

/// A GEMM of one shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GemmSpec {
    /// Rows of A and C.
    pub m: usize,
    /// Columns of C: output channels.
    pub n: usize,
    /// Columns of A: input channels.
    pub k: usize,
    /// Distance between rows of A in elements, at least `k`.
    pub lda: usize,
    /// Distance between rows of C in elements, at least `n`.
    pub ldc: usize,
    /// Elements of A: `F32`, `I8` or `U8`.
    pub a_storage: Storage,
    /// Elements of the weights.
    pub weights: WeightFormat,
    /// What is done to accumulators (`F32` or `I32`).
    pub epilogue: Epilogue,
}

impl GemmSpec {
    fn scheme(&self, caps: &Caps) -> Scheme {
        Scheme::new(caps, self.a_storage, self.weights).suited_to(self.m, self.k)
    }
}

/// Rows of a block: its part of A stays in the second-level cache while all panels pass over it.
const BLOCK_ROWS: usize = 112;

/// Weights of panels that share widened rows, in bytes: with the rows they stay in the second-level cache.
const TOGETHER_BYTES: usize = 48 << 10;

/// Everything that follows from a spec and a target.
struct Plan {
    /// How tiles multiply.
    scheme: Scheme,
    /// How weights are packed: the same, unless they are widened before.
    stored: Scheme,
    tile: Tile,
    rows: RowSplit,
    panels: Panels,
    /// Row tiles in a block, and the number of blocks.
    block_tiles: usize,
    blocks: usize,
    /// Panels of a work unit, which share the rows that are widened for them: more than one only where they are.
    together: usize,
    /// Whether weights are widened for all rows of a block, and how.
    widened: Option<Widened>,
}

impl Plan {
    fn new(spec: &GemmSpec, caps: &Caps) -> Plan {
        let stored = spec.scheme(caps);
        let mut scheme = stored.clone();
        let tile = choose_product(&scheme, spec.m, spec.n, spec.k, caps.l1_bytes);
        let rows = RowSplit::new(spec.m, tile.mr);
        let widened = Widened::new(&stored, rows, tile, spec.k);
        if widened.is_some() {
            scheme = stored.of_floats();
        }
        let panels = Panels::new(spec.n, tile.nv, scheme.lanes);
        let tiles = rows.tiles();
        let blocks = tiles.div_ceil((BLOCK_ROWS / tile.mr).max(1));
        let block_tiles = tiles.div_ceil(blocks);
        let mut together = 1;
        if scheme.stages_rows(tile.mr, spec.k) {
            let most = (TOGETHER_BYTES / scheme.run_bytes(spec.k, panels.nr)).max(1);
            together = panels.count.div_ceil(panels.count.div_ceil(most));
        }
        Plan { scheme, stored, tile, rows, panels, block_tiles, blocks: tiles.div_ceil(block_tiles), together, widened }
    }

    /// Work units of a block of rows.
    fn units_of_block(&self) -> usize {
        self.panels.count.div_ceil(self.together)
    }

    fn panel_bytes(&self, k: usize) -> usize {
        self.stored.run_bytes(k, self.panels.nr)
    }
}

/// Whether tiles make the product: then weights of halves cost no more than those of floats.
pub fn is_tiled(spec: &GemmSpec, caps: &Caps) -> bool {
    tiles::Plan::new(spec, caps).is_some()
}

/// Whether weights of halves serve activations of floats in this shape: tiles make the product, or so many rows share the weights that widening each of them once
/// takes no time, and there are so many weights that half their bytes are a gain.
pub fn suits_halves(spec: &GemmSpec, caps: &Caps) -> bool {
    let spec = GemmSpec { a_storage: Storage::F32, weights: WeightFormat::F16, ..spec.clone() };
    is_tiled(&spec, caps) || spec.n * spec.k >= widen::LEAST_WEIGHTS && Plan::new(&spec, caps).widened.is_some()
}

/// Number of work units.
pub fn units(spec: &GemmSpec, caps: &Caps) -> usize {
    if let Some(plan) = tiles::Plan::new(spec, caps) {
        return plan.units();
    }
    let plan = Plan::new(spec, caps);
    plan.blocks * plan.units_of_block()
}

/// Number of units worth handing to a thread at once: about 100,000 multiply-adds of a vector lane's width.
pub fn grain(spec: &GemmSpec, caps: &Caps) -> usize {
    if let Some(plan) = tiles::Plan::new(spec, caps) {
        return (4_000_000 / plan.unit_products()).max(1);
    }
    let plan = Plan::new(spec, caps);
    let unit = plan.block_tiles * plan.tile.mr * plan.panels.nr * plan.together * spec.k;
    (1_000_000 / unit.max(1)).max(1)
}

/// Packs weights `[n, k]`, row-major in their format, into the panels that the kernel reads.
///
/// # Panics
/// Where `weights` does not hold `n * k` elements.
pub fn pack_b(spec: &GemmSpec, caps: &Caps, weights: &[u8]) -> Vec<u8> {
    let mut out = vec![0; packed_bytes(spec, caps)];
    pack_b_into(spec, caps, weights, &mut out);
    out
}

/// The same into [`packed_bytes`] zeros.
///
/// # Panics
/// Where `weights` does not hold `n * k` elements, or `out` has another size.
pub fn pack_b_into(spec: &GemmSpec, caps: &Caps, weights: &[u8], out: &mut [u8]) {
    assert_eq!(weights.len(), spec.n * spec.k * spec.weights.bytes(), "size of the weights");
    let tiles = tiles::Plan::new(spec, caps);
    if let Some(plan) = tiles.as_ref().filter(|plan| plan.is_float()) {
        return plan.pack_floats(spec, weights, out);
    }
    let plan = Plan::new(spec, caps);
    // Tiles of bytes are packed as registers are, but for the width of panels.
    let panels = tiles.map_or(plan.panels, |tiles| tiles.panels);
    let mut at = 0;
    for p in 0..panels.count {
        let columns = panels.vectors(p) * usize::from(plan.scheme.lanes);
        let (first, bytes) = (p * panels.nr, plan.stored.run_bytes(spec.k, columns));
        let index = |n, k| (first + n < spec.n).then(|| (first + n) * spec.k + k);
        plan.stored.pack_run(&mut out[at..at + bytes], weights, columns, spec.k, index);
        at += bytes;
    }
}

/// The panels of packed weights, in order: first column, columns with padding, and columns that exist. A panel of f32 weights holds its
/// columns row by row, `[k, columns with padding]`; what stands in the padding does not matter.
pub fn panels(spec: &GemmSpec, caps: &Caps) -> Vec<(usize, usize, usize)> {
    let plan = Plan::new(spec, caps);
    let panels = tiles::Plan::new(spec, caps).map_or(plan.panels, |tiles| tiles.panels);
    let at = |p: usize| {
        let first = p * panels.nr;
        let width = panels.vectors(p) * usize::from(plan.scheme.lanes);
        (first, width, width.min(spec.n - first))
    };
    (0..panels.count).map(at).collect()
}

/// Size of what [`pack_b`] gives, in bytes.
pub fn packed_bytes(spec: &GemmSpec, caps: &Caps) -> usize {
    if let Some(plan) = tiles::Plan::new(spec, caps) {
        return plan.packed_bytes();
    }
    let plan = Plan::new(spec, caps);
    plan.stored.run_bytes(spec.k, plan.panels.padded(plan.stored.lanes))
}

/// How a panel of packed 8-bit weights holds K, for weights that are packed at run time: `steps` rows, each of `width` elements of K (innermost) for
/// every column. The last row is partial where `width` does not divide K: its `rest` elements begin at `rest_at`, the others are zero. Bytes are signed:
/// unsigned weights are stored 128 lower.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KLayout {
    /// Elements of K in a row.
    pub width: usize,
    /// Rows.
    pub steps: usize,
    /// Elements of K in the last row where that is partial, else 0.
    pub rest: usize,
    /// Where they begin.
    pub rest_at: usize,
}

/// The layout of K in packed 8-bit weights.
pub fn k_layout(spec: &GemmSpec, caps: &Caps) -> KLayout {
    let scheme = Plan::new(spec, caps).scheme;
    let width = scheme.kr();
    let overlaps = scheme.overlaps() && spec.k >= 4;
    let rest = spec.k % width;
    KLayout { width, steps: scheme.steps(spec.k), rest, rest_at: if overlaps && rest > 0 { width - rest } else { 0 } }
}

/// What this target's kernel adds to every activation: it belongs to the zero point that is compensated for.
pub fn activation_shift(spec: &GemmSpec, caps: &Caps) -> i32 {
    if tiles::Plan::new(spec, caps).is_some() { 0 } else { spec.scheme(caps).a_shift() }
}

/// `Σ_k (w[n, k] - zero_point of w)` of 8-bit weights, for each n.
pub fn weight_sums(spec: &GemmSpec, weights: &[u8]) -> Vec<i32> {
    (0..spec.n).map(|n| spec.weights.sum_centered(&weights[n * spec.k..(n + 1) * spec.k])).collect()
}

/// The bias that makes the kernel's accumulator exact: `bias[n] - (zero_point + shift) * Σ_k w[n, k]`, where `shift` is what this target's
/// kernel adds to activations. Add it to the accumulator first in the epilogue. Wraps as i32 arithmetic does.
pub fn folded_bias(spec: &GemmSpec, caps: &Caps, bias: Option<&[i32]>, weights: &[u8], zero_point: i32) -> Vec<i32> {
    let offset = zero_point + activation_shift(spec, caps);
    let at = |n: usize| bias.map_or(0, |b| b[n]);
    weight_sums(spec, weights).iter().enumerate().map(|(n, s)| at(n).wrapping_sub(s.wrapping_mul(offset))).collect()
}

/// Name prefix of a kernel over these activations.
pub(crate) fn dtype(a: Storage) -> &'static str {
    match a {
        Storage::I8 => "qs8",
        Storage::U8 => "qu8",
        _ => "f32",
    }
}

/// Builds the kernel.
///
/// # Panics
/// Where the spec contradicts itself: empty, strides below the row length, an accumulator type that is not the scheme's.
pub fn build(spec: &GemmSpec, caps: &Caps) -> Kernel {
    assert!(spec.m > 0 && spec.n > 0 && spec.k > 0 && spec.lda >= spec.k && spec.ldc >= spec.n, "shape of {spec:?}");
    if let Some(plan) = tiles::Plan::new(spec, caps) {
        return tiles::build(spec, &plan, caps);
    }
    let plan = Plan::new(spec, caps);
    spec.epilogue.check(plan.scheme.acc_ty());
    let kr = if plan.scheme.kr() > 1 { format!("c{}", plan.scheme.kr()) } else { String::new() };
    let mut b = Builder::new(format!("{}_gemm_{}x{}{kr}", plan.scheme.dtype(spec.a_storage), plan.tile.mr, plan.panels.nr));
    let (a, packed) = (b.ptr_param("a"), b.ptr_param("b"));
    let output = Output::declare(&mut b, caps, &spec.epilogue, spec.ldc);
    let staged = plan.together > 1;
    let scratch = if staged {
        Some(plan.scheme.rows_scratch(&mut b, plan.tile.mr, spec.k))
    } else {
        plan.scheme.scratch(&mut b, plan.tile.mr, spec.k)
    };
    let gemm = Gemm { spec, plan: &plan, output: &output, a, packed, scratch };
    let widened = plan.widened.map(|widened| (widened, gemm.widening_buffers(&mut b, widened)));
    let (begin, end) = (b.begin(), b.end());
    b.for_loop(begin, end, 1, &[], |b, unit, _| {
        let (block, panel) = split_unit(b, unit, plan.blocks, plan.units_of_block());
        if staged {
            gemm.staged_block(b, block, panel);
        } else {
            gemm.panel(b, panel, |b, panel| match widened {
                Some((widened, buffers)) => gemm.widened_block(b, block, panel, widened, buffers),
                None => gemm.block(b, block, panel),
            });
        }
        vec![]
    });
    b.finish()
}

/// Splits a unit number into (outer, inner), inner fastest.
pub(crate) fn split_unit(b: &mut Builder, unit: Value, outer: usize, inner: usize) -> (Value, Value) {
    let zero = b.i64(0);
    match (outer, inner) {
        (_, 1) => (unit, zero),
        (1, _) => (zero, unit),
        _ => {
            let count = b.i64(inner as i64);
            let o = b.bin(BinOp::Div, unit, count);
            let back = b.mul(o, count);
            (o, b.sub(unit, back))
        }
    }
}

/// Emits `body` for full panels and, where it differs, for the last one.
pub(crate) fn for_panel(b: &mut Builder, panels: &Panels, panel: Value, body: impl Fn(&mut Builder, &[u16])) {
    if !panels.has_tail() {
        return body(b, &panels.full);
    }
    if panels.count == 1 {
        return body(b, &panels.last);
    }
    let last = b.i64(panels.count as i64 - 1);
    let full = b.cmp(CmpOp::Lt, panel, last);
    b.if_else(
        full,
        |b| {
            body(b, &panels.full);
            vec![]
        },
        |b| {
            body(b, &panels.last);
            vec![]
        },
    );
}

struct Gemm<'a> {
    spec: &'a GemmSpec,
    plan: &'a Plan,
    output: &'a Output<'a>,
    a: Value,
    packed: Value,
    scratch: Option<Value>,
}

/// A panel of columns.
#[derive(Clone, Copy)]
struct Panel<'a> {
    /// First column.
    col: Value,
    /// Weights as they are packed.
    packed: Value,
    /// Weights as they are multiplied: the same, or floats that they were widened to.
    weights: Value,
    /// Lanes that exist in each vector of columns.
    vectors: &'a [u16],
}

impl Gemm<'_> {
    /// Calls `body` with the panel of a number.
    fn panel(&self, b: &mut Builder, panel: Value, body: impl Fn(&mut Builder, &Panel<'_>)) {
        let offset = b.mul_const(panel, self.plan.panel_bytes(self.spec.k) as i64);
        let weights = b.ptr_add(self.packed, offset);
        let col = b.mul_const(panel, self.plan.panels.nr as i64);
        for_panel(b, &self.plan.panels, panel, |b, vectors| body(b, &Panel { col, packed: weights, weights, vectors }));
    }

    /// Where row `row` of A lies, and the offsets of `mr` rows from there.
    fn rows_at(&self, b: &mut Builder, row: Value, mr: usize) -> (Value, Vec<i64>) {
        let row_bytes = self.row_bytes();
        let offset = b.mul_const(row, row_bytes);
        (b.ptr_add(self.a, offset), (0..mr as i64).map(|r| r * row_bytes).collect())
    }

    /// Distance between rows of A in bytes.
    fn row_bytes(&self) -> i64 {
        self.spec.lda as i64 * self.plan.scheme.a_bytes()
    }

    /// All row tiles of a block against one panel.
    fn block(&self, b: &mut Builder, block: Value, panel: &Panel<'_>) {
        self.row_tiles(b, block, |b, t, row, mr| self.tile(b, panel, t, row, mr));
    }

    /// All row tiles of a block, each widened once, against the panels of a unit.
    fn staged_block(&self, b: &mut Builder, block: Value, unit: Value) {
        let together = self.plan.together as i64;
        let first = b.mul_const(unit, together);
        let stop = b.add_const(first, together);
        let count = b.i64(self.plan.panels.count as i64);
        let stop = b.min(stop, count);
        let scratch = self.scratch.expect("reserved for widened rows");
        self.row_tiles(b, block, |b, _, row, mr| {
            let (a, row_offsets) = self.rows_at(b, row, mr);
            self.plan.scheme.stage_rows(b, a, &row_offsets, scratch, self.spec.k);
            b.for_loop(first, stop, 1, &[], |b, panel, _| {
                self.panel(b, panel, |b, panel| {
                    let place = Place { row, row_step: 1, col: panel.col, rows: mr, vectors: panel.vectors };
                    self.accumulate(b, &place, None, |b, acc| self.plan.scheme.run_rows(b, acc, scratch, mr, panel.weights, self.spec.k));
                });
                vec![]
            });
        });
    }

    /// Starts the accumulators of a tile, runs `products` on them, and stores them.
    fn accumulate(&self, b: &mut Builder, place: &Place<'_>, scratch: Option<Value>, products: impl FnOnce(&mut Builder, &mut Acc)) {
        let scheme = &self.plan.scheme;
        let mut acc = scheme.begin(b, place.rows, place.vectors.len(), self.spec.k, scratch);
        if let Some(bias) = self.output.start(b, place.col, place.vectors) {
            acc.fill(b, &bias);
        }
        products(b, &mut acc);
        let acc = scheme.end(b, acc);
        self.output.store(b, place, &acc);
    }

    /// Calls `body` with the number of each row tile within a block, its first row, and its rows.
    fn row_tiles(&self, b: &mut Builder, block: Value, body: impl Fn(&mut Builder, Value, Value, usize)) {
        let (rows, tiles) = (self.plan.rows, self.plan.rows.tiles() as i64);
        let first = b.mul_const(block, self.plan.block_tiles as i64);
        let stop = b.add_const(first, self.plan.block_tiles as i64);
        let tiles = b.i64(tiles);
        let stop = b.min(stop, tiles);
        let large = b.i64(rows.large as i64);
        // Tile t of `mr` rows begins at row `t * mr + shift`.
        let tile = |b: &mut Builder, t: Value, mr: usize, shift: usize| {
            let row = b.mul_const(t, mr as i64);
            let row = b.add_const(row, shift as i64);
            let within = b.sub(t, first);
            body(b, within, row, mr);
        };
        let each = |b: &mut Builder, range: (Value, Value), mr: usize, shift: usize| {
            if self.plan.rows.tiles() == 1 {
                let zero = b.i64(0);
                return tile(b, zero, mr, shift);
            }
            b.for_loop(range.0, range.1, 1, &[], |b, t, _| {
                tile(b, t, mr, shift);
                vec![]
            });
        };
        if rows.large > 0 {
            let end = if rows.small > 0 { b.min(stop, large) } else { stop };
            each(b, (first, end), rows.mr, 0);
        }
        if rows.small > 0 {
            let start = if rows.large > 0 { b.max(first, large) } else { first };
            each(b, (start, stop), rows.mr - 1, rows.large);
        }
    }

    fn tile(&self, b: &mut Builder, panel: &Panel<'_>, tile: Value, row: Value, mr: usize) {
        let (a, row_offsets) = self.rows_at(b, row, mr);
        let place = Place { row, row_step: 1, col: panel.col, rows: mr, vectors: panel.vectors };
        let many = self.plan.rows.tiles() > 1;
        if many {
            self.prefetch_c(b, &place, panel.vectors);
        }
        self.accumulate(b, &place, self.scratch, |b, acc| {
            let mut prefetch = vec![];
            if many && self.spec.lda == self.spec.k {
                let bytes = mr as i64 * self.row_bytes();
                prefetch.push((b.ptr_add_const(a, bytes), bytes));
            }
            if many && self.plan.panels.count > 1 {
                prefetch.extend(self.share_of_next(b, tile, panel.packed, self.plan.panel_bytes(self.spec.k)));
            }
            self.plan.scheme.run(b, acc, &Run { a, rows: 0..mr, row_offsets: &row_offsets, b: panel.weights, k: self.spec.k, prefetch });
        });
    }

    /// What a row tile fetches of the weights behind `bytes` of packed ones, while the tiles of its block pass over those: its share, where few blocks read them.
    /// Halves are waited for when they are widened, so that a second block fetches them too.
    fn share_of_next(&self, b: &mut Builder, tile: Value, packed: Value, bytes: usize) -> Option<(Value, i64)> {
        let most_blocks = if self.plan.widened.is_some() { 2 } else { 1 };
        (self.plan.blocks <= most_blocks).then(|| {
            let share = (bytes / self.plan.block_tiles) as i64;
            let at = b.mul_const(tile, share);
            let next = b.ptr_add(packed, at);
            (b.ptr_add_const(next, bytes as i64), share)
        })
    }

    /// Fetches the lines of C early, so that stores do not wait for them.
    fn prefetch_c(&self, b: &mut Builder, place: &Place<'_>, vectors: &[u16]) {
        let bytes = vectors.iter().map(|&v| i64::from(v)).sum::<i64>() * self.spec.epilogue.out_bytes();
        let c: Addr = self.output.address(b, place.row, place.col);
        for r in 0..place.rows as i64 {
            for line in 0..(bytes + 63) / 64 {
                b.prefetch(c.offset(r * self.output.row_bytes() + line * 64), Locality::L1);
            }
        }
    }
}
