//! Packed weights of an implicit GEMM.
//!
//! Group by group, panel by panel: the runs of each row of taps; where needed the same tap by tap; then what skipped taps count as.

use super::{Centering, Nest, Zero};
use crate::cpu::mac::Scheme;

impl Nest {
    /// Bytes of packed weights of one row of taps in a scheme, packed row by row and tap by tap.
    pub(super) fn ky_bytes(&self, scheme: &Scheme, columns: usize) -> (usize, usize) {
        let g = &self.geometry;
        let taps = g.x.kernel * scheme.run_bytes(g.in_c, columns);
        (if self.dense { scheme.run_bytes(g.x.kernel * g.in_c, columns) } else { taps }, taps)
    }

    pub(super) fn weight_bytes(&self, columns: usize) -> usize {
        let (rows, taps) = self.ky_bytes(&self.stored, columns);
        self.geometry.y.kernel * (rows + if self.split_copy { taps } else { 0 })
    }

    /// Bytes of a panel: weights, then what skipped taps count as: for each tap, for each row of taps and, negative, all together.
    pub(super) fn panel_bytes(&self, columns: usize) -> usize {
        let g = &self.geometry;
        let all = usize::from(self.centering == Centering::Kernel);
        let skipped = if self.zero.is_none() { 0 } else { 4 * columns * (g.y.kernel * (g.x.kernel + 1) + all) };
        self.weight_bytes(columns) + skipped
    }

    /// Bytes of packed weights of one group.
    pub(super) fn group_bytes(&self) -> usize {
        let last = self.panels.last.len() * usize::from(self.scheme.lanes);
        (self.panels.count - 1) * self.panel_bytes(self.panels.nr) + self.panel_bytes(last)
    }

    /// Bytes of packed weights.
    pub(crate) fn packed_bytes(&self) -> usize {
        self.geometry.groups * self.group_bytes()
    }

    /// Appends packed weights; `index(n, ky, kx, ci)` is a weight's position in `weights`, n counted over all groups; None for zero.
    pub(crate) fn pack(&self, out: &mut Vec<u8>, weights: &[u8], index: impl Fn(usize, usize, usize, usize) -> Option<usize>) {
        let g = &self.geometry;
        for group in 0..g.groups {
            for p in 0..self.panels.count {
                let columns = self.panels.vectors(p) * usize::from(self.scheme.lanes);
                let column = |n: usize| (p * self.panels.nr + n < g.out_c).then(|| group * g.out_c + p * self.panels.nr + n);
                let taps = |out: &mut Vec<u8>, ky: usize, kx: usize, count: usize| {
                    let (from, k) = (out.len(), count * g.in_c);
                    out.resize(from + self.stored.run_bytes(k, columns), 0);
                    self.stored.pack_run(&mut out[from..], weights, columns, k, |n, k| {
                        column(n).and_then(|n| index(n, ky, kx + k / g.in_c, k % g.in_c))
                    });
                };
                for ky in 0..g.y.kernel {
                    let step = if self.dense { g.x.kernel } else { 1 };
                    (0..g.x.kernel).step_by(step).for_each(|kx| taps(out, ky, kx, step));
                }
                if self.split_copy {
                    (0..g.y.kernel).for_each(|ky| (0..g.x.kernel).for_each(|kx| taps(out, ky, kx, 1)));
                }
                if !self.zero.is_none() {
                    self.pack_skipped(out, weights, columns, &column, &index);
                }
            }
        }
    }

    fn pack_skipped(
        &self,
        out: &mut Vec<u8>,
        weights: &[u8],
        columns: usize,
        column: &impl Fn(usize) -> Option<usize>,
        index: &impl Fn(usize, usize, usize, usize) -> Option<usize>,
    ) {
        let g = &self.geometry;
        let tap = |n: usize, ky: usize, kx: usize| -> i32 {
            let sum: i32 = (0..g.in_c).filter_map(|c| index(n, ky, kx, c)).map(|i| self.scheme.weights.centered(weights, i)).sum();
            match self.zero {
                Zero::Known(zero) => sum.wrapping_mul(zero),
                Zero::Given => sum,
            }
        };
        let mut put = |n: usize, f: &dyn Fn(usize) -> i32| out.extend_from_slice(&column(n).map_or(0, f).to_le_bytes());
        for ky in 0..g.y.kernel {
            for kx in 0..g.x.kernel {
                (0..columns).for_each(|n| put(n, &|n| tap(n, ky, kx)));
            }
        }
        for ky in 0..g.y.kernel {
            (0..columns).for_each(|n| put(n, &|n| (0..g.x.kernel).fold(0, |s: i32, kx| s.wrapping_add(tap(n, ky, kx)))));
        }
        if self.centering == Centering::Kernel {
            let taps = |n: usize| (0..g.y.kernel * g.x.kernel).fold(0, |s: i32, i| s.wrapping_sub(tap(n, i / g.x.kernel, i % g.x.kernel)));
            (0..columns).for_each(|n| put(n, &taps));
        }
    }
}
