//! Position of the largest or smallest element along one axis; of equal ones the first.
//!
//! Where dimensions follow the axis, lanes are outputs. Where it is the innermost, each lane keeps the best of its own elements, all
//! starting from the first element of the row, so that a NaN there wins and any other NaN loses, as in a plain loop. Work units are rows
//! (indices of the dimensions in front of the axis).

use crate::expr::emit::{elem, load_storage, load_storage_splat};
use crate::expr::{Storage, Ty};
use tflc_kir::{Addr, Builder, Caps, CmpOp, Elem, Mem, Narrow, ReduceOp, Type, Value};

/// Specification: `y[o, i] = argmax over k of x[o, k, i]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ArgSpec {
    /// Elements in front of the axis.
    pub outer: usize,
    /// Size of the axis, at least 1.
    pub n: usize,
    /// Elements behind the axis.
    pub inner: usize,
    /// Type of the elements; not `Bool`.
    pub input: Storage,
    /// Whether the largest is wanted, else the smallest.
    pub max: bool,
    /// Whether positions are stored in 64 bits, else 32.
    pub wide_output: bool,
}

impl ArgSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.outer as u64
    }

    fn lanes(&self, caps: &Caps) -> u16 {
        let wide = self.input.ty() == Ty::I64 || self.wide_output && self.inner > 1;
        match (wide, caps.vector_bytes) {
            (false, _) => caps.lanes(Elem::F32),
            (true, 16) => 1,
            (true, _) => caps.lanes(Elem::I64),
        }
    }

    /// Builds the kernel: parameters are input and output.
    pub fn build(&self, caps: &Caps) -> tflc_kir::Kernel {
        let mut b = Builder::new(if self.max { "arg_max" } else { "arg_min" });
        let x = b.ptr_param("x");
        let y = b.ptr_param("y");
        let (begin, end) = (b.begin(), b.end());
        let row_in = (self.n * self.inner * self.input.bytes()) as i64;
        let row_out = self.inner as i64 * self.out_bytes();
        let lanes = self.lanes(caps);
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let from = b.mul_const(u, row_in);
            let to = b.mul_const(u, row_out);
            let (x, y) = (b.ptr_add(x, from), b.ptr_add(y, to));
            if self.inner == 1 {
                self.row(b, lanes, x, y);
            } else {
                let whole = self.inner - self.inner % usize::from(lanes);
                b.for_const(0, whole as i64, i64::from(lanes), &[], |b, i, _| {
                    self.columns(b, lanes, x, y, i, lanes);
                    vec![]
                });
                if whole < self.inner {
                    let i = b.i64(whole as i64);
                    self.columns(b, lanes, x, y, i, (self.inner - whole) as u16);
                }
            }
            vec![]
        });
        b.finish()
    }

    fn out_bytes(&self) -> i64 {
        if self.wide_output { 8 } else { 4 }
    }

    /// The best value and its position, given the candidate at position `k`.
    fn better(&self, b: &mut Builder, v: Value, k: Value, best: Value, at: Value) -> (Value, Value) {
        let wins = b.cmp(if self.max { CmpOp::Gt } else { CmpOp::Lt }, v, best);
        (b.select(wins, v, best), b.select(wins, k, at))
    }

    /// Type of positions in lanes: as wide as the elements, or as the output.
    fn position(&self, lanes: u16, wide: bool) -> Type {
        Type::vector(if wide { Elem::I64 } else { Elem::I32 }, lanes)
    }

    /// Outputs in lanes: `active` columns from column `i`.
    fn columns(&self, b: &mut Builder, lanes: u16, x: Value, y: Value, i: Value, active: u16) {
        let ty = self.position(lanes, self.wide_output);
        let at = b.mul_const(i, self.input.bytes() as i64);
        let first = b.ptr_add(x, at);
        let best = load_storage(b, self.input, lanes, Addr::new(first), active);
        let (zero, one) = (b.int(ty, 0), b.int(ty, 1));
        let stride = (self.inner * self.input.bytes()) as i64;
        let found = b.for_const(1, self.n as i64, 1, &[best, zero, zero, first], |b, _, c| {
            let (k, p) = (b.add(c[2], one), b.ptr_add_const(c[3], stride));
            let v = load_storage(b, self.input, lanes, Addr::new(p), active);
            let (best, at) = self.better(b, v, k, c[0], c[1]);
            vec![best, at, k, p]
        });
        let to = b.mul_const(i, self.out_bytes());
        let mem = if self.wide_output { Mem::I64 } else { Mem::S32 };
        b.store_first(mem, Narrow::Wrap, Addr::new(y).index(to, 1), found[1], active);
    }

    /// One output: lanes look at different elements of the row.
    fn row(&self, b: &mut Builder, lanes: u16, x: Value, y: Value) {
        let wide = self.input.ty() == Ty::I64;
        let ty = self.position(lanes, wide);
        let bytes = self.input.bytes() as i64;
        let n = self.n as i64;
        let step = i64::from(lanes);
        let first = load_storage_splat(b, self.input, lanes, Addr::new(x));
        let zero = b.int(ty, 0);
        let mut k = if lanes == 1 { zero } else { b.const_vec(ty, (0..u64::from(lanes)).collect()) };
        let by = b.int(ty, step);
        let whole = n - n % step;
        let found = b.for_const(0, whole, step, &[first, zero, k], |b, i, c| {
            let v = load_storage(b, self.input, lanes, Addr::new(x).index(i, bytes as u8), lanes);
            let (best, at) = self.better(b, v, c[2], c[0], c[1]);
            vec![best, at, b.add(c[2], by)]
        });
        let (mut best, mut at) = (found[0], found[1]);
        k = found[2];
        if whole < n {
            let i = b.i64(whole);
            let v = load_storage(b, self.input, lanes, Addr::new(x).index(i, bytes as u8), (n - whole) as u16);
            // Lanes behind the row look at the first element again, which never wins.
            let limit = b.int(ty, n);
            let inside = b.cmp(CmpOp::Lt, k, limit);
            let v = b.select(inside, v, first);
            (best, at) = self.better(b, v, k, best, at);
        }
        let position = if lanes == 1 {
            at
        } else {
            let all = b.reduce(if self.max { ReduceOp::Max } else { ReduceOp::Min }, best);
            let all = b.splat(all, lanes);
            let equal = b.cmp(CmpOp::Eq, best, all);
            let most = b.int(ty, if wide { i64::MAX } else { i64::from(i32::MAX) });
            let candidates = b.select(equal, at, most);
            let least = b.reduce(ReduceOp::Min, candidates);
            // Nothing equals a NaN in front.
            let scalar = b.ty(least);
            let (none, zero) = (b.int(scalar, if wide { i64::MAX } else { i64::from(i32::MAX) }), b.int(scalar, 0));
            let lost = b.cmp(CmpOp::Eq, least, none);
            b.select(lost, zero, least)
        };
        let position = match (wide, self.wide_output) {
            (false, true) => b.convert(tflc_kir::ConvertOp::ExtS, Type::I64, position),
            (true, false) => b.convert(tflc_kir::ConvertOp::Wrap, Type::I32, position),
            _ => position,
        };
        b.store(if self.wide_output { Mem::I64 } else { Mem::S32 }, Narrow::Wrap, Addr::new(y), position);
        debug_assert_eq!(b.ty(best).elem, elem(self.input.ty()));
    }
}
