//! Weights of halves for many rows (see `mac::widen`): a panel, or a stretch of its K, is widened for all row tiles of a block.

use super::{Gemm, Panel};
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
    /// The panel, with the weights of this stretch.
    panel: Panel<'a>,
    /// Elements of K, and what lies before them in a row of A, in bytes.
    k: usize,
    along: Value,
    /// Bytes of its packed weights.
    bytes: usize,
    /// Where the accumulators of the block's first tile wait.
    waiting: Waiting,
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

    /// All row tiles of a block against one panel.
    pub(super) fn widened_block(&self, b: &mut Builder, block: Value, panel: &Panel<'_>, widened: Widened, buffers: Buffers) {
        let (stored, steps) = (&self.plan.stored, widened.k * panel.vectors.len());
        let floats = Panel { weights: buffers.weights, ..*panel };
        let Some(sums) = buffers.sums else {
            stored.widen(b, panel.packed, floats.weights, steps);
            return self.block(b, block, &floats);
        };
        let bytes = stored.run_bytes(widened.k, panel.vectors.len() * usize::from(stored.lanes));
        let [zero, last, count] = [0, widened.stretches - 1, widened.stretches].map(|i| b.i64(i as i64));
        b.for_loop(zero, count, 1, &[panel.packed], |b, stretch, packed| {
            stored.widen(b, packed[0], floats.weights, steps);
            let waiting = Waiting { sums, is_first: b.cmp(CmpOp::Eq, stretch, zero), is_last: b.cmp(CmpOp::Eq, stretch, last) };
            let along = b.mul_const(stretch, widened.k as i64 * 4);
            let stretch = Stretch { panel: Panel { packed: packed[0], ..floats }, k: widened.k, along, bytes, waiting };
            self.row_tiles(b, block, |b, t, row, mr| self.stretch_tile(b, &stretch, t, row, mr));
            vec![b.ptr_add_const(packed[0], bytes as i64)]
        });
    }

    /// One row tile: its accumulators start or are taken up again, and are stored or left to wait.
    fn stretch_tile(&self, b: &mut Builder, stretch: &Stretch<'_>, tile: Value, row: Value, mr: usize) {
        let (scheme, panel) = (&self.plan.scheme, &stretch.panel);
        let (a, row_offsets) = self.rows_at(b, row, mr);
        let a = b.ptr_add(a, stretch.along);
        let sums = b.mul_const(tile, self.tile_bytes() as i64);
        let waiting = Waiting { sums: b.ptr_add(stretch.waiting.sums, sums), ..stretch.waiting };
        let tile_shape = (mr, panel.vectors.len());
        let mut acc = scheme.take_up(b, tile_shape, stretch.k, &waiting, |b| self.output.start(b, panel.col, panel.vectors));
        let prefetch = self.share_of_next(b, tile, panel.packed, stretch.bytes).into_iter().collect();
        scheme.run(b, &mut acc, &Run { a, rows: 0..mr, row_offsets: &row_offsets, b: panel.weights, k: stretch.k, prefetch });
        let place = Place { row, row_step: 1, col: panel.col, rows: mr, vectors: panel.vectors };
        scheme.leave(b, acc, &waiting, |b, sums| self.output.store(b, &place, sums));
    }
}
