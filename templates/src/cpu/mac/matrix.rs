//! Runs of K by matrix products: two rows of A and two columns of B at a time, eight elements of K a step.
//!
//! Packed B holds eight elements of K of one column after another, so that a vector is two columns. Rows of A are loaded by sixteen elements, which are
//! two steps; for each, the halves of two rows are put side by side. A row without a partner in the run has zeros beside it, and zeros stand for
//! elements behind the end.

use super::{Acc, Run, Scheme};
use tflc_kir::{Addr, Builder, DotSigns, Elem, Mem, Type, Value};

const BYTES: Type = Type::vector(Elem::I8, 16);

/// Elements of K in a vector of A.
const WIDTH: usize = 16;

impl Scheme {
    /// Accumulates a run by matrix products.
    pub(super) fn matrix_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>, signs: DotSigns) {
        let (whole, steps) = (run.k / WIDTH, WIDTH / self.kr());
        self.step_loop(b, acc, run, whole, steps, WIDTH as i64, 1, |s, b, acc, set, a, weights| {
            let load = |b: &mut Builder, r: usize| b.load(BYTES, Mem::S8, a.offset(run.row_offsets[r]));
            (0..steps).for_each(|half| s.matrix_step(b, acc, run, set, half, weights, signs, &load));
        });
        let rest = run.k % WIDTH;
        let load = |b: &mut Builder, r: usize| {
            let at = Addr::new(run.a).offset(run.row_offsets[r]);
            if whole == 0 {
                return b.load_first(BYTES, Mem::S8, at, rest as u16);
            }
            // The last sixteen elements, of which those that are new move to the front.
            let x = b.load(BYTES, Mem::S8, at.offset((run.k - WIDTH) as i64));
            let zero = b.int(BYTES, 0);
            b.shuffle(x, zero, (0..WIDTH).map(|i| (WIDTH - rest + i) as u16).collect())
        };
        let weights = Addr::new(run.b).offset((whole * steps * self.step_bytes(self.nr(acc))) as i64);
        (0..self.steps(rest)).for_each(|half| self.matrix_step(b, acc, run, 0, half, weights, signs, &load));
    }

    /// Step `half` of the two of a vector of each row, which `load` gives; `weights` are those of the first. Loading anew for the second takes fewer
    /// registers than keeping the vectors, and loads are not what such a loop waits for.
    #[allow(clippy::too_many_arguments)]
    fn matrix_step(
        &self,
        b: &mut Builder,
        acc: &mut Acc,
        run: &Run<'_>,
        set: usize,
        half: usize,
        weights: Addr,
        signs: DotSigns,
        load: &dyn Fn(&mut Builder, usize) -> Value,
    ) {
        let units = acc.units(&run.rows);
        let mut pairs = vec![];
        for p in units.clone() {
            let [x, y] = [2 * p, 2 * p + 1].map(|r| {
                let bytes = if run.rows.contains(&r) { load(b, r) } else { b.int(BYTES, 0) };
                b.bitcast(Type::vector(Elem::I64, 2), bytes)
            });
            let both = if half == 0 { b.unpack_lo(x, y) } else { b.unpack_hi(x, y) };
            pairs.push(b.bitcast(BYTES, both));
        }
        let weights = weights.offset((half * self.step_bytes(self.nr(acc))) as i64);
        // Each vector of weights meets all pairs before the next one is loaded.
        for v in 0..2 * acc.nv {
            let w = b.load(BYTES, Mem::S8, weights.offset(16 * v as i64));
            for (p, &x) in units.clone().zip(&pairs) {
                let slot = acc.slot(set, 2 * p, v);
                acc.vals[slot] = b.mmla(signs, acc.vals[slot], x, w);
            }
        }
        if self.sums_rows() {
            let ones = b.int(BYTES, 1);
            for (p, &x) in units.zip(&pairs) {
                acc.row_sums[p] = b.mmla(signs, acc.row_sums[p], x, ones);
            }
        }
    }
}
