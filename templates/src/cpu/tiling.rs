//! Register tiles and how a matrix is cut into them.
//!
//! Rows are cut evenly into tiles of `mr` and `mr - 1` rows, so that no tile is much smaller than the others and at most two bodies are emitted.
//! Columns are cut into panels of `nv` vectors; the last one may have fewer vectors and a partial one. The choice of the tile is a cost estimate
//! from the shape and the register budget of the multiply-accumulate scheme.

use crate::cpu::mac::Scheme;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Rows cut into `large` tiles of `mr` rows, followed by `small` tiles of `mr - 1` rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RowSplit {
    pub(crate) mr: usize,
    pub(crate) large: usize,
    pub(crate) small: usize,
}

impl RowSplit {
    /// Cuts `m` rows into as few tiles of at most `most` rows as possible.
    pub(crate) fn new(m: usize, most: usize) -> RowSplit {
        let tiles = m.div_ceil(most).max(1);
        let mr = m.div_ceil(tiles);
        let small = tiles * mr - m;
        RowSplit { mr, large: tiles - small, small }
    }

    /// Number of tiles.
    pub(crate) fn tiles(&self) -> usize {
        self.large + self.small
    }

    /// First row and number of rows of tile `t`.
    pub(crate) fn tile(&self, t: usize) -> (usize, usize) {
        let start = t * self.mr - t.saturating_sub(self.large);
        (start, if t < self.large { self.mr } else { self.mr - 1 })
    }
}

/// Columns cut into panels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Panels {
    /// Columns of a full panel.
    pub(crate) nr: usize,
    /// Number of panels, the last one included.
    pub(crate) count: usize,
    /// Lanes that exist in each vector of a full panel.
    pub(crate) full: Vec<u16>,
    /// The same of the last panel.
    pub(crate) last: Vec<u16>,
}

impl Panels {
    /// Cuts `n` columns into panels of `nv` vectors of `lanes`.
    pub(crate) fn new(n: usize, nv: usize, lanes: u16) -> Panels {
        let l = usize::from(lanes);
        let nr = nv * l;
        let count = n.div_ceil(nr).max(1);
        let rest = n - (count - 1) * nr;
        let last = (0..rest.div_ceil(l)).map(|v| (rest - v * l).min(l) as u16).collect();
        Panels { nr, count, full: vec![lanes; nv], last }
    }

    /// Whether the last panel differs from the others.
    pub(crate) fn has_tail(&self) -> bool {
        self.last != self.full
    }

    /// Whole vectors of panel `p`.
    pub(crate) fn vectors(&self, p: usize) -> usize {
        if p + 1 == self.count { self.last.len() } else { self.full.len() }
    }

    /// Columns of packed weights in all panels.
    pub(crate) fn padded(&self, lanes: u16) -> usize {
        (self.count - 1) * self.nr + self.last.len() * usize::from(lanes)
    }
}

/// Rows and vectors of a register tile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tile {
    pub(crate) mr: usize,
    pub(crate) nv: usize,
}

/// Picks the tile for `rows` rows that are cut evenly and `n` columns, with `k` elements to accumulate.
pub(crate) fn choose(scheme: &Scheme, rows: usize, n: usize, k: usize, l1_bytes: u32) -> Tile {
    let vectors = n.div_ceil(usize::from(scheme.lanes));
    let mut best = (f64::INFINITY, Tile { mr: 1, nv: 1 });
    for nv in 1..=vectors.min(scheme.most_vectors()) {
        let most = (1..=rows.min(32)).rev().find(|&mr| scheme.fits(mr, nv));
        let Some(most) = most else { continue };
        for most in [most, most.div_ceil(2)] {
            let split = RowSplit::new(rows, most);
            let total = cost(scheme, split, vectors, nv, k, l1_bytes);
            if total < best.0 {
                best = (total, Tile { mr: split.mr, nv });
            }
        }
    }
    best.1
}

/// A product that takes less than this is small: reading its code into the caches takes as long as running it.
const SMALL_PRODUCT: f64 = 32e3;
/// What the code of an accumulator costs in a small product: about 35 instructions that are read once; without vectors, four times as many.
fn body_cost(scheme: &Scheme) -> f64 {
    if scheme.scalars { 280.0 } else { 70.0 }
}

/// What a tile of a matrix product follows from.
#[derive(Clone, PartialEq, Debug)]
struct Product {
    scheme: Scheme,
    shape: [usize; 3],
    l1_bytes: u32,
}

/// Products whose tiles are remembered: everything that follows from a product asks for its tile anew.
const REMEMBERED: usize = 8;

thread_local! {
    static TILES: RefCell<VecDeque<(Product, Tile)>> = const { RefCell::new(VecDeque::new()) };
}

/// Picks the tile of a matrix product: as [`choose`], but in a small one the code counts too, so that a tile is small or divides the rows evenly.
pub(crate) fn choose_product(scheme: &Scheme, m: usize, n: usize, k: usize, l1_bytes: u32) -> Tile {
    let product = Product { scheme: scheme.clone(), shape: [m, n, k], l1_bytes };
    TILES.with_borrow_mut(|tiles| {
        if let Some((_, tile)) = tiles.iter().find(|(p, _)| *p == product) {
            return *tile;
        }
        let tile = search_product(scheme, m, n, k, l1_bytes);
        tiles.truncate(tiles.len().min(REMEMBERED - 1));
        tiles.push_front((product, tile));
        tile
    })
}

fn search_product(scheme: &Scheme, m: usize, n: usize, k: usize, l1_bytes: u32) -> Tile {
    let vectors = n.div_ceil(usize::from(scheme.lanes));
    let fast = choose(scheme, m, n, k, l1_bytes);
    if cost(scheme, RowSplit::new(m, fast.mr), vectors, fast.nv, k, l1_bytes) > SMALL_PRODUCT {
        return fast;
    }
    let mut best = (f64::INFINITY, fast);
    for nv in 1..=vectors.min(scheme.most_vectors()) {
        for most in (1..=m.min(32)).filter(|&mr| scheme.fits(mr, nv)) {
            let split = RowSplit::new(m, most);
            let rows = split.mr + if split.small > 0 { split.mr - 1 } else { 0 };
            let bodies = rows * (nv + vectors % nv);
            let total = cost(scheme, split, vectors, nv, k, l1_bytes) + bodies as f64 * body_cost(scheme);
            if total < best.0 {
                best = (total, Tile { mr: split.mr, nv });
            }
        }
    }
    best.1
}

/// Estimated time of a product whose columns are cut into panels of `nv` vectors.
fn cost(scheme: &Scheme, split: RowSplit, vectors: usize, nv: usize, k: usize, l1_bytes: u32) -> f64 {
    let panel = |nv: usize| {
        split.large as f64 * tile_cost(scheme, split.mr, nv, k, l1_bytes)
            + split.small as f64 * tile_cost(scheme, split.mr - 1, nv, k, l1_bytes)
    };
    let rest = vectors % nv;
    (vectors / nv) as f64 * panel(nv) + if rest > 0 { panel(rest) } else { 0.0 }
}

/// Estimated time of a tile in units of one multiply-add instruction: two multiply-adds and two loads start in each cycle.
fn tile_cost(scheme: &Scheme, mr: usize, nv: usize, k: usize, l1_bytes: u32) -> f64 {
    let steps = scheme.steps(k) as f64;
    let (arithmetic, loads) = scheme.step_instructions(mr, nv, k);
    let panel = scheme.run_bytes(k, nv * usize::from(scheme.lanes));
    // A panel that leaves the first-level cache comes from the second at about half a line per cycle, not all of it behind arithmetic.
    let (stream, exposed) = if panel as f64 > 0.7 * f64::from(l1_bytes) { (2.0 * nv as f64, 0.35 * nv as f64) } else { (0.0, 0.0) };
    let step = arithmetic.max(loads).max(stream).max(4.0) + 0.1 * loads + exposed;
    // Start and end of a tile: pointers, loop set-up, and the epilogue's operands.
    steps * step + 30.0 + 6.0 * nv as f64
}
