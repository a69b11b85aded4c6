//! Folds along one axis in order: each element changes an accumulator by an expression, for operators whose steps round.
//!
//! Lanes are elements behind the axis; without any, the fold runs in scalars. Work units are rows (indices of the dimensions in front of the axis).

use crate::expr::emit::{emit, lanes, load_storage, store_storage};
use crate::expr::{Expr, Storage};
use tflc_kir::{Addr, Builder, Caps, Kernel, Narrow, Value};

/// Specification: `acc = first(x[0])`, then `acc = step(acc, x[k])` for k = 1, 2, ..., then `y = finish(acc)`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct FoldSpec {
    /// Elements in front of the axis.
    pub outer: usize,
    /// Size of the axis, at least 1.
    pub n: usize,
    /// Elements behind the axis.
    pub inner: usize,
    /// Memory type of the elements.
    pub input: Storage,
    /// Of one element; gives the accumulator, whatever its storage.
    pub first: Expr,
    /// Of the accumulator and an element.
    pub step: Expr,
    /// Of the accumulator; its storage is the result's.
    pub finish: Expr,
}

impl FoldSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.outer as u64
    }

    /// Builds the kernel: parameters are input and output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("fold");
        let (x, y) = (b.ptr_param("x"), b.ptr_param("y"));
        let width = match self.inner {
            1 => 1,
            _ => [&self.first, &self.step, &self.finish].map(|e| lanes(caps, e)).into_iter().min().unwrap_or(1),
        };
        let (begin, end) = (b.begin(), b.end());
        let (in_row, out_row) = (self.n * self.inner * self.input.bytes(), self.inner * self.finish.output.bytes());
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let at = b.mul_const(u, in_row as i64);
            let x = b.ptr_add(x, at);
            let at = b.mul_const(u, out_row as i64);
            let y = b.ptr_add(y, at);
            let whole = self.inner - self.inner % usize::from(width);
            b.for_const(0, whole as i64, i64::from(width), &[], |b, i, _| {
                self.columns(b, caps, width, (x, y), i, width);
                vec![]
            });
            if whole < self.inner {
                let i = b.i64(whole as i64);
                self.columns(b, caps, width, (x, y), i, (self.inner - whole) as u16);
            }
            vec![]
        });
        b.finish()
    }

    fn columns(&self, b: &mut Builder, caps: &Caps, width: u16, (x, y): (Value, Value), i: Value, active: u16) {
        let bytes = self.input.bytes() as i64;
        let stride = self.inner as i64 * bytes;
        let at = b.mul_const(i, bytes);
        let x = b.ptr_add(x, at);
        let element = |b: &mut Builder, p: Value| load_storage(b, self.input, width, Addr::new(p), active);
        let v = element(b, x);
        let acc = emit(b, caps, &self.first, width, &[v]);
        let next = b.ptr_add_const(x, stride);
        let folded = b.for_const(1, self.n as i64, 1, &[acc, next], |b, _, c| {
            let v = element(b, c[1]);
            let acc = emit(b, caps, &self.step, width, &[c[0], v]);
            vec![acc, b.ptr_add_const(c[1], stride)]
        });
        let out = emit(b, caps, &self.finish, width, &[folded[0]]);
        let to = Addr::new(y).index(i, self.finish.output.bytes() as u8);
        store_storage(b, self.finish.output, Narrow::Wrap, to, out, active);
    }
}
