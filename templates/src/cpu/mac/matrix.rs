//! Runs of K by matrix products: two rows of A and two columns of B at a time, eight elements of K a step.
//!
//! Packed B holds eight elements of K of one column after another, so that a vector is two columns. Two rows of A are put side by side when they are
//! loaded. A row without a partner in the run has zeros beside it, and so have the elements of a partial step.

use super::{Acc, Run, Scheme};
use tflc_kir::{Addr, Builder, DotSigns, Elem, Mem, Type, Value};

const BYTES: Type = Type::vector(Elem::I8, 16);

impl Scheme {
    /// Accumulates a run by matrix products.
    pub(super) fn matrix_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>, signs: DotSigns) {
        let kr = self.kr();
        let whole = run.k / kr;
        self.step_loop(b, acc, run, whole, kr as i64, 1, |s, b, acc, set, a, weights| {
            s.matrix_step(b, acc, run, set, weights, signs, |b, r| b.load_first(BYTES, Mem::S8, a.offset(run.row_offsets[r]), 8));
        });
        let rest = run.k % kr;
        if rest > 0 {
            let weights = Addr::new(run.b).offset((whole * self.step_bytes(self.nr(acc))) as i64);
            self.matrix_step(b, acc, run, 0, weights, signs, |b, r| {
                let at = Addr::new(run.a).offset(run.row_offsets[r]);
                if whole == 0 {
                    return b.load_first(BYTES, Mem::S8, at, rest as u16);
                }
                // The last eight elements, of which those that are new move to the front.
                let x = b.load_first(BYTES, Mem::S8, at.offset((run.k - kr) as i64), 8);
                let zero = b.int(BYTES, 0);
                b.shuffle(x, zero, (0..16).map(|i| (kr - rest + i) as u16).collect())
            });
        }
    }

    /// One step; `load` gives the elements of a row in the lower half of a vector.
    #[allow(clippy::too_many_arguments)]
    fn matrix_step(
        &self,
        b: &mut Builder,
        acc: &mut Acc,
        run: &Run<'_>,
        set: usize,
        weights: Addr,
        signs: DotSigns,
        load: impl Fn(&mut Builder, usize) -> Value,
    ) {
        let units = acc.units(&run.rows);
        let row = |b: &mut Builder, r: usize| if run.rows.contains(&r) { load(b, r) } else { b.int(BYTES, 0) };
        let pairs: Vec<Value> = units
            .clone()
            .map(|p| {
                let [x, y] = [2 * p, 2 * p + 1].map(|r| {
                    let bytes = row(b, r);
                    b.bitcast(Type::vector(Elem::I64, 2), bytes)
                });
                let both = b.unpack_lo(x, y);
                b.bitcast(BYTES, both)
            })
            .collect();
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
