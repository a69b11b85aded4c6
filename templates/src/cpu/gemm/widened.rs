//! Weights of halves for many rows (see `mac::widen`): a panel, or a stretch of its K, is widened for all row tiles of a block.

use super::Gemm;
use crate::cpu::epilogue::Place;
use crate::cpu::mac::widen::{self, Buffers, Waiting};
use crate::cpu::mac::{Run, Scheme};
use crate::cpu::tiling::{RowSplit, Tile};
use tflc_kir::{Builder, CmpOp, Value};

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

impl Widened {
    /// How the panels of a product of `k` elements with weights of halves are widened, where that pays: for more than a few tiles of rows, and where `k` divides
    /// into stretches that the buffer holds.
    pub(super) fn new(scheme: &Scheme, rows: RowSplit, tile: Tile, k: usize) -> Option<Widened> {
        if !scheme.widens() || rows.tiles() <= widen::FEW_TILES {
            return None;
        }
        let bytes = scheme.of_floats().run_bytes(k, tile.nv * usize::from(scheme.lanes));
        let least = bytes.div_ceil(widen::MOST_BYTES);
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
        let sums = (widened.stretches > 1).then_some(self.plan.block_tiles * self.tile_bytes());
        Buffers::new(b, self.plan.scheme.run_bytes(widened.k, self.plan.panels.nr), sums)
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
            self.plan.stored.widen(b, packed, weights, widened.k * vectors.len());
            return self.block(b, block, col, (weights, packed), vectors);
        };
        let before = b.mul_const(block, -((self.plan.block_tiles * self.tile_bytes()) as i64));
        let sums = b.ptr_add(sums, before);
        let bytes = self.plan.stored.run_bytes(widened.k, vectors.len() * usize::from(self.plan.scheme.lanes)) as i64;
        let [zero, last, count] = [0, widened.stretches - 1, widened.stretches].map(|i| b.i64(i as i64));
        b.for_loop(zero, count, 1, &[packed], |b, stretch, packed| {
            self.plan.stored.widen(b, packed[0], weights, widened.k * vectors.len());
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
        let (col, vectors) = stretch.panel;
        let (a, row_offsets) = self.rows_at(b, row, mr);
        let a = b.ptr_add(a, stretch.along);
        let sums = b.mul_const(tile, self.tile_bytes() as i64);
        let waiting = Waiting { sums: b.ptr_add(stretch.sums, sums), is_first: stretch.ends.0, is_last: stretch.ends.1 };
        let mut acc = scheme.take_up(b, (mr, vectors.len()), stretch.k, &waiting, |b| self.output.start(b, col, vectors));
        let mut prefetch = vec![];
        if self.plan.blocks <= 2 {
            // Each row tile fetches its share of the halves that are widened next.
            let share = stretch.next.1 / self.plan.block_tiles as i64;
            let at = b.mul_const(tile, share);
            prefetch.push((b.ptr_add(stretch.next.0, at), share));
        }
        scheme.run(b, &mut acc, &Run { a, rows: 0..mr, row_offsets: &row_offsets, b: stretch.weights, k: stretch.k, prefetch });
        let place = Place { row, row_step: 1, col, rows: mr, vectors };
        scheme.leave(b, acc, &waiting, |b, sums| self.output.store(b, &place, sums));
    }
}
