//! Weights of halves for many rows: a stretch of K of a panel is widened into a buffer in the first-level cache, where all row tiles of a block read it.
//!
//! In memory such weights take half the bytes of floats, and each is read and widened once for a block rather than once for each tile of its rows. Where a panel
//! has several stretches, accumulators wait in another buffer between them.

use super::Gemm;
use crate::cpu::epilogue::Place;
use crate::cpu::mac::{Run, Scheme};
use crate::cpu::tiling::{RowSplit, Tile};
use tflc_kir::{Addr, Builder, CmpOp, Elem, Mem, Narrow, Op, Type, Value};

/// Tiles of rows that are too few to widen weights for: each widens them for itself.
const FEW_TILES: usize = 2;
/// Bytes of the floats of a stretch, at most.
const STRETCH_BYTES: usize = 64 << 10;
/// Elements of K that a stretch is a multiple of, so that loops over it have no rest.
const STRETCH_STEP: usize = 4;

/// How panels are widened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Widened {
    /// Stretches of a panel.
    stretches: usize,
    /// Elements of K in each.
    k: usize,
}

/// Buffers of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffers {
    /// Floats of a stretch.
    weights: Value,
    /// Accumulators of a block's rows, tile by tile; where there are several stretches.
    sums: Option<Value>,
}

impl Widened {
    /// How the panels of a product of `k` elements with weights of halves are widened, where that pays: for more than a few tiles of rows, and where `k` divides
    /// into stretches that leave half of the first-level cache to A.
    pub(super) fn new(scheme: &Scheme, rows: RowSplit, tile: Tile, k: usize) -> Option<Widened> {
        if !scheme.widens() || rows.tiles() <= FEW_TILES {
            return None;
        }
        let bytes = scheme.of_floats().run_bytes(k, tile.nv * usize::from(scheme.lanes));
        let least = bytes.div_ceil(STRETCH_BYTES);
        let stretches = (least..2 * least.max(1)).find(|s| k.is_multiple_of(s * STRETCH_STEP) || *s == 1)?;
        Some(Widened { stretches, k: k / stretches })
    }
}

/// A stretch of a panel, while the row tiles of a block pass over it.
struct Stretch<'a> {
    /// First column of the panel, and its vectors.
    panel: (Value, &'a [u16]),
    /// Elements of K, and what lies before them in a row of A, in bytes.
    k: usize,
    along: Value,
    /// Whether accumulators start here, and whether they end here.
    ends: (Value, Value),
    /// Where the accumulators of tile 0 of the whole product would wait.
    sums: Value,
    /// Floats of the stretch.
    weights: Value,
    /// Halves of the next one, and their bytes.
    next: (Value, i64),
}

impl Gemm<'_> {
    /// Reserves the buffers, once, outside of all loops.
    pub(super) fn widening_buffers(&self, b: &mut Builder, widened: Widened) -> Buffers {
        let bytes = self.plan.scheme.run_bytes(widened.k, self.plan.panels.nr);
        let weights = b.scratch(bytes as u32, 64);
        let sums = (widened.stretches > 1).then(|| b.scratch((self.plan.block_tiles * self.tile_bytes()) as u32, 64));
        Buffers { weights, sums }
    }

    /// Bytes of the accumulators of a whole tile.
    fn tile_bytes(&self) -> usize {
        self.plan.tile.mr * self.plan.panels.nr * 4
    }

    /// All row tiles of a block against one panel: its first column, its packed weights and its vectors.
    pub(super) fn widened_block(&self, b: &mut Builder, block: Value, panel: (Value, Value, &[u16]), widened: Widened, buffers: Buffers) {
        let (col, packed, vectors) = panel;
        let weights = buffers.weights;
        let Some(sums) = buffers.sums else {
            self.widen(b, packed, weights, widened.k * vectors.len());
            return self.block(b, block, col, (weights, packed), vectors);
        };
        let before = b.mul_const(block, -((self.plan.block_tiles * self.tile_bytes()) as i64));
        let sums = b.ptr_add(sums, before);
        let bytes = self.plan.stored.run_bytes(widened.k, vectors.len() * usize::from(self.plan.scheme.lanes)) as i64;
        let [zero, last, count] = [0, widened.stretches - 1, widened.stretches].map(|i| b.i64(i as i64));
        b.for_loop(zero, count, 1, &[packed], |b, stretch, packed| {
            self.widen(b, packed[0], weights, widened.k * vectors.len());
            let ends = (b.cmp(CmpOp::Eq, stretch, zero), b.cmp(CmpOp::Eq, stretch, last));
            let along = b.mul_const(stretch, widened.k as i64 * 4);
            let next = b.ptr_add_const(packed[0], bytes);
            let stretch = Stretch { panel: (col, vectors), k: widened.k, along, ends, sums, weights, next: (next, bytes) };
            self.row_tiles(b, block, |b, t, row, mr| self.stretch_tile(b, &stretch, t, row, mr));
            vec![next]
        });
    }

    /// One row tile: its accumulators start or are taken up again, and are stored or left to wait.
    fn stretch_tile(&self, b: &mut Builder, stretch: &Stretch<'_>, tile: Value, row: Value, mr: usize) {
        let scheme = &self.plan.scheme;
        let ((col, vectors), ty) = (stretch.panel, Type::vector(Elem::F32, scheme.lanes));
        let (a, row_offsets) = self.rows_at(b, row, mr);
        let a = b.ptr_add(a, stretch.along);
        let waiting = b.mul_const(tile, self.tile_bytes() as i64);
        let waiting = Addr::new(b.ptr_add(stretch.sums, waiting));
        let sum = |i: usize| waiting.offset(i as i64 * i64::from(ty.lanes) * 4);
        let count = mr * vectors.len();

        let mut acc = scheme.begin(b, mr, vectors.len(), stretch.k, None);
        let starts = b.if_else(
            stretch.ends.0,
            |b| match self.output.start(b, col, vectors) {
                Some(bias) => bias.repeat(mr),
                None => vec![b.inst(Op::Const(0), ty, &[]); count],
            },
            |b| (0..count).map(|i| b.load(ty, Mem::F32, sum(i))).collect(),
        );
        acc.start_from(&starts);
        let mut prefetch = vec![];
        if self.plan.blocks == 1 {
            // Each row tile fetches its share of the halves that are widened next.
            let share = stretch.next.1 / self.plan.rows.tiles() as i64;
            let at = b.mul_const(tile, share);
            prefetch.push((b.ptr_add(stretch.next.0, at), share));
        }
        scheme.run(b, &mut acc, &Run { a, rows: 0..mr, row_offsets: &row_offsets, b: stretch.weights, k: stretch.k, prefetch });
        let acc = scheme.end(b, acc);
        b.if_else(
            stretch.ends.1,
            |b| {
                self.output.store(b, &Place { row, row_step: 1, col, rows: mr, vectors }, &acc);
                vec![]
            },
            |b| {
                acc.iter().enumerate().for_each(|(i, &v)| b.store(Mem::F32, Narrow::Wrap, sum(i), v));
                vec![]
            },
        );
    }

    /// Widens this many vectors of packed halves.
    fn widen(&self, b: &mut Builder, packed: Value, to: Value, vectors: usize) {
        const UNROLL: i64 = 4;
        let ty = Type::vector(Elem::F32, self.plan.scheme.lanes);
        let vectors = vectors as i64;
        let one = |b: &mut Builder, from: Value, to: Value, i: i64| {
            let v = b.load(ty, Mem::F16, Addr::new(from).offset(i * i64::from(ty.lanes) * 2));
            b.store(Mem::F32, Narrow::Wrap, Addr::new(to).offset(i * i64::from(ty.lanes) * 4), v);
        };
        let whole = vectors / UNROLL * UNROLL;
        b.for_const(0, whole, UNROLL, &[packed, to], |b, _, at| {
            (0..UNROLL).for_each(|i| one(b, at[0], at[1], i));
            let step = UNROLL * i64::from(ty.lanes);
            vec![b.ptr_add_const(at[0], step * 2), b.ptr_add_const(at[1], step * 4)]
        });
        (whole..vectors).for_each(|i| one(b, packed, to, i));
    }
}
