//! Vectors along the innermost dimension, with loops over the others; scalars where an operand strides over memory there.

use super::Elements;
use tflc_kir::{Addr, Builder, CmpOp, Value};

/// Vectors in flight in the inner loop.
pub(super) const UNROLL: usize = 2;

pub(super) struct Rows<'a> {
    pub(super) e: Elements<'a>,
    pub(super) lanes: u16,
}

impl Rows<'_> {
    pub(super) fn emit(&self, b: &mut Builder, pointers: &[Value]) {
        let (begin, end) = (b.begin(), b.end());
        if self.e.spec.dims.len() == 1 {
            self.blocks(b, pointers);
        } else {
            self.e.walk(b, 0, begin, end, pointers, |b, inner| self.nest(b, inner, 1));
        }
    }

    /// Loops over dimensions `dim` and on.
    fn nest(&self, b: &mut Builder, pointers: &[Value], dim: usize) {
        let n = self.e.spec.dims[dim] as i64;
        let zero = b.i64(0);
        if dim + 1 == self.e.spec.dims.len() {
            let whole = n - n % i64::from(self.lanes);
            let end = b.i64(whole);
            let fixed = self.broadcasts(b, pointers);
            self.vectors(b, pointers, &fixed, zero, end, whole);
            self.rest(b, pointers, &fixed, n);
            return;
        }
        let end = b.i64(n);
        self.e.walk(b, dim, zero, end, pointers, |b, inner| self.nest(b, inner, dim + 1));
    }

    /// One dimension, split into blocks.
    fn blocks(&self, b: &mut Builder, pointers: &[Value]) {
        let n = self.e.spec.dims[0] as i64;
        let block = self.e.spec.block(self.e.caps) as i64;
        let whole = n - n % i64::from(self.lanes);
        let units = n.div_euclid(block) + i64::from(n % block != 0);
        let (begin, end) = (b.begin(), b.end());
        let start = b.mul_const(begin, block);
        let stop = b.mul_const(end, block);
        let limit = b.i64(whole);
        let stop = b.min(stop, limit);
        let fixed = self.broadcasts(b, pointers);
        self.vectors(b, pointers, &fixed, start, stop, whole.min(block));
        if whole < n {
            let last = b.i64(units);
            let is_last = b.cmp(CmpOp::Ge, end, last);
            b.if_then(is_last, |b| self.rest(b, pointers, &fixed, n));
        }
    }

    /// Whole vectors from index `start` to `end`; `span` is how many elements that usually is.
    fn vectors(&self, b: &mut Builder, pointers: &[Value], fixed: &[Option<Value>], start: Value, end: Value, span: i64) {
        let lanes = i64::from(self.lanes);
        if span <= 0 {
            return;
        }
        let unrolled = lanes * UNROLL as i64;
        // Two vectors a round while they fit; a loop that covers few of them stays simple.
        let at = if span >= unrolled * 2 {
            let last = b.add_const(end, 1 - unrolled);
            let done = b.for_loop(start, last, unrolled, &[start], |b, i, _| {
                for u in 0..UNROLL as i64 {
                    self.element(b, pointers, fixed, i, u * lanes, self.lanes);
                }
                vec![b.add_const(i, unrolled)]
            });
            done[0]
        } else {
            start
        };
        if let (Some(s), Some(e)) = (b.known(at), b.known(end)) {
            b.for_const(s, e, lanes, &[], |b, i, _| {
                self.element(b, pointers, fixed, i, 0, self.lanes);
                vec![]
            });
            return;
        }
        b.for_loop(at, end, lanes, &[], |b, i, _| {
            self.element(b, pointers, fixed, i, 0, self.lanes);
            vec![]
        });
    }

    /// The last elements of a row of `n`.
    fn rest(&self, b: &mut Builder, pointers: &[Value], fixed: &[Option<Value>], n: i64) {
        let left = n % i64::from(self.lanes);
        if left > 0 {
            let i = b.i64(n - left);
            self.element(b, pointers, fixed, i, 0, left as u16);
        }
    }

    /// Inputs that do not change along the inner dimension, loaded once.
    fn broadcasts(&self, b: &mut Builder, pointers: &[Value]) -> Vec<Option<Value>> {
        let last = self.e.spec.dims.len() - 1;
        (0..self.e.inputs())
            .map(|k| (self.e.stride(k, last) == 0).then(|| self.e.load_everywhere(b, k, Addr::new(pointers[k]), self.lanes)))
            .collect()
    }

    /// Computes the `active` elements at `index + offset` of the inner dimension.
    fn element(&self, b: &mut Builder, pointers: &[Value], fixed: &[Option<Value>], index: Value, offset: i64, active: u16) {
        let last = self.e.spec.dims.len() - 1;
        let address = |b: &mut Builder, k: usize| {
            let step = self.e.step(k, last);
            let base = Addr::new(pointers[k]).offset(offset * step);
            match b.known(index) {
                Some(i) if i32::try_from((i + offset) * step).is_ok() => base.offset(i * step),
                _ if matches!(step, 1 | 2 | 4 | 8) => base.index(index, step as u8),
                _ => {
                    let bytes = b.mul_const(index, step);
                    base.index(bytes, 1)
                }
            }
        };
        let mut values = vec![];
        for k in 0..self.e.inputs() {
            values.push(match fixed[k] {
                Some(v) => v,
                None => {
                    let addr = address(b, k);
                    self.e.load(b, k, addr, self.lanes, active)
                }
            });
        }
        let to = address(b, self.e.inputs());
        self.e.finish(b, values, to, self.lanes, active);
    }
}
