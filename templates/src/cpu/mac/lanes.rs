//! Runs of K on targets that multiply by element: A is loaded by vectors along K, and each of its lanes, one f32, four bytes or an f32 that was rounded to a half,
//! meets one step of B.
//!
//! A run shorter than a vector is loaded exactly. The end of a longer one is loaded with what stands before it, so that whole vectors are read.

use super::run::flip_signs;
use super::{Acc, Kind, Run, Scheme};
use crate::cpu::epilogue::indexed;
use tflc_kir::{Addr, Builder, Elem, Mem, Type, Value};

/// A vector of A along K, a step in each lane, and the first lane that counts.
struct ALanes {
    steps: Value,
    first: usize,
}

impl Scheme {
    /// Elements of K in a vector of A.
    fn lanes_width(&self) -> usize {
        usize::from(self.lanes) * if self.is_half() { 2 } else { self.kr() }
    }

    /// A in vectors along K: each lane multiplies one step of B.
    pub(super) fn lanes_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        let kr = self.kr();
        let width = self.lanes_width();
        let b_step = self.step_bytes(self.nr(acc)) as i64;
        let whole = run.k / width * width;
        let chunk = |b: &mut Builder, acc: &mut Acc, rows: Vec<ALanes>, weights: Addr, n: usize| {
            for j in 0..n.div_ceil(kr) {
                let w = self.load_weights(b, acc, weights.offset(j as i64 * b_step));
                for (r, x) in run.rows.clone().zip(&rows) {
                    let x = self.lane(b, x, j);
                    self.multiply_lane(b, acc, j % acc.sets, r, x, &w, n - j * kr);
                }
            }
        };
        let mut carried = acc.select(&run.rows);
        carried.push(run.b);
        let out = b.for_const(0, whole as i64, width as i64, &carried, |b, i, c| {
            let mut inner = acc.clone();
            let n = inner.replace(&run.rows, c);
            let a = indexed(b, run.a, i, self.a_bytes());
            let rows = run.rows.clone().map(|r| self.load_lanes(b, a.offset(run.row_offsets[r]), width)).collect();
            chunk(b, &mut inner, rows, Addr::new(c[n]), width);
            let mut yields = inner.select(&run.rows);
            yields.push(b.ptr_add_const(c[n], (width / kr) as i64 * b_step));
            yields
        });
        acc.replace(&run.rows, &out);
        let rest = run.k - whole;
        if rest > 0 {
            let weights = Addr::new(run.b).offset((whole / kr) as i64 * b_step);
            let from = |r: usize| Addr::new(run.a).offset(run.row_offsets[r]);
            let load = |b: &mut Builder, r: usize| match whole {
                0 => self.load_lanes(b, from(r), rest),
                _ => self.load_last_lanes(b, from(r).offset((run.k - width) as i64 * self.a_bytes()), rest),
            };
            let rows = run.rows.clone().map(|r| load(b, r)).collect();
            chunk(b, acc, rows, weights, rest);
        }
    }

    /// The first `n` elements at an address, one step a lane; what lies behind them is not read and counts as nothing.
    fn load_lanes(&self, b: &mut Builder, at: Addr, n: usize) -> ALanes {
        let steps = match self.kind {
            Kind::Dot4Lanes { .. } => {
                let x = b.load_first(Type::vector(Elem::I8, self.lanes * 4), Mem::S8, at, n as u16);
                self.byte_lanes(b, x)
            }
            Kind::HalfLanes => {
                let (ty, lanes) = (Type::vector(Elem::F32, self.lanes), usize::from(self.lanes));
                let first = b.load_first(ty, Mem::F32, at, n.min(lanes) as u16);
                let second = match n.saturating_sub(lanes) {
                    0 => first,
                    more => b.load_first(ty, Mem::F32, at.offset(4 * lanes as i64), more as u16),
                };
                b.pack_f16(first, second)
            }
            _ => b.load_first(Type::vector(Elem::F32, self.lanes), Mem::F32, at, n as u16),
        };
        ALanes { steps, first: 0 }
    }

    /// The last `n` elements of a whole vector at an address.
    fn load_last_lanes(&self, b: &mut Builder, at: Addr, n: usize) -> ALanes {
        let kr = self.kr();
        let width = self.lanes_width();
        let Kind::Dot4Lanes { .. } = self.kind else {
            return ALanes { first: width - n, ..self.load_lanes(b, at, width) };
        };
        let x = b.load(Type::vector(Elem::I8, self.lanes * 4), Mem::S8, at);
        if n.is_multiple_of(kr) {
            return ALanes { steps: self.byte_lanes(b, x), first: (width - n) / kr };
        }
        // To the front; whatever stands behind them meets weights that are zero.
        let x = b.shuffle(x, x, (0..width).map(|i| ((width - n + i) % width) as u16).collect());
        ALanes { steps: self.byte_lanes(b, x), first: 0 }
    }

    /// Bytes as signed 32-bit lanes of four.
    fn byte_lanes(&self, b: &mut Builder, x: Value) -> Value {
        let x = if let Kind::Dot4Lanes { flip: true } = self.kind { flip_signs(b, x) } else { x };
        b.bitcast(Type::vector(Elem::I32, self.lanes), x)
    }

    /// Step `j` of a vector of A in every lane.
    fn lane(&self, b: &mut Builder, x: &ALanes, j: usize) -> Value {
        let lane = b.extract_lane(x.steps, (x.first + j) as u16);
        if self.is_half() {
            return b.splat_to(b.ty(x.steps), lane);
        }
        let lanes = b.splat(lane, self.lanes);
        if self.is_float() { lanes } else { b.bitcast(Type::vector(Elem::I8, self.lanes * 4), lanes) }
    }

    /// [`Scheme::multiply`] of a step of which `k` elements exist, if that is fewer than a step has.
    #[allow(clippy::too_many_arguments)]
    fn multiply_lane(&self, b: &mut Builder, acc: &mut Acc, set: usize, r: usize, x: Value, w: &[Value], k: usize) {
        if k >= self.kr() { self.multiply(b, acc, set, r, x, w) } else { self.multiply_tail(b, acc, set, r, x, w, 0..k) }
    }
}
