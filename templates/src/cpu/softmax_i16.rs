//! Softmax of 16-bit rows, in TFLite's fixed point: two interpolated tables of 513 entries.
//!
//! Three passes over a row: its maximum; exponentials, which the result holds meanwhile, and their sum; products with the reciprocal of the sum. All in
//! scalars. Work units are rows. Source: TFLite, `reference/softmax.h`, SoftmaxInt16, and `common.h`, LUTLookup.

use crate::expr::Expr;
use crate::expr::emit::emit;
use tflc_kir::{Addr, BinOp, Builder, Caps, ConvertOp, Kernel, Mem, Narrow, Type, UnOp, Value};

/// Specification.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SoftmaxI16Spec {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// From the difference of an element to the maximum (I32) to units of the first table (I32).
    pub scaled: Expr,
}

impl SoftmaxI16Spec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.rows as u64
    }

    /// Builds the kernel: parameters are input, the table of exponentials, the table of `1 / (1 + x)`, and output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("s16_softmax");
        let (x, exp) = (b.ptr_param("x"), b.ptr_param("exp"));
        let (reciprocal, y) = (b.ptr_param("reciprocal"), b.ptr_param("y"));
        let (begin, end) = (b.begin(), b.end());
        b.for_loop(begin, end, 1, &[], |b, row, _| {
            let at = b.mul_const(row, self.n as i64 * 2);
            let (x, y) = (b.ptr_add(x, at), b.ptr_add(y, at));
            self.row(b, caps, x, [exp, reciprocal], y);
            vec![]
        });
        b.finish()
    }

    fn row(&self, b: &mut Builder, caps: &Caps, x: Value, [exp, reciprocal]: [Value; 2], y: Value) {
        let n = self.n as i64;
        let element = |b: &mut Builder, from: Value, i: Value| b.load(Type::I32, Mem::S16, Addr::new(from).index(i, 2));
        let store = |b: &mut Builder, i: Value, v: Value| b.store(Mem::S16, Narrow::Wrap, Addr::new(y).index(i, 2), v);
        let least = b.i32(-32768);
        let max = b.for_const(0, n, 1, &[least], |b, i, c| {
            let v = element(b, x, i);
            vec![b.max(v, c[0])]
        })[0];
        let zero = b.i32(0);
        let sum = b.for_const(0, n, 1, &[zero], |b, i, c| {
            let v = element(b, x, i);
            let d = b.sub(v, max);
            let at = emit(b, caps, &self.scaled, 1, &[d]);
            let most = b.i32(32767);
            // Differences are not positive, so this cannot overflow.
            let at = b.add(at, most);
            let at = saturated(b, at);
            let e = look_up(b, exp, at);
            store(b, i, e);
            vec![b.add(c[0], e)]
        })[0];
        let headroom = b.un(UnOp::LeadingZeros, sum);
        let wide = b.convert(ConvertOp::ExtS, Type::I64, sum);
        let zeros = b.convert(ConvertOp::ExtS, Type::I64, headroom);
        let (one, none) = (b.i64(1), b.i64(0));
        let left = b.sub(zeros, one);
        let left = b.max(left, none);
        let shifted = b.bin(BinOp::Shl, wide, left);
        let half = b.i64(1 << 13);
        let shifted = b.add(shifted, half);
        let fourteen = b.i64(14);
        let shifted = b.bin(BinOp::ShrS, shifted, fourteen);
        let at = b.add_const(shifted, -(1 << 15) - (1 << 16));
        let (lo, hi) = (b.i64(-32768), b.i64(32767));
        let at = b.max(at, lo);
        let at = b.min(at, hi);
        let at = b.convert(ConvertOp::Wrap, Type::I32, at);
        let inverse = look_up(b, reciprocal, at);
        let inverse = b.convert(ConvertOp::ExtS, Type::I64, inverse);
        let thirty = b.i64(30);
        let zeros = b.min(zeros, thirty);
        let bits = b.i64(31);
        let right = b.sub(bits, zeros);
        let less = b.sub(right, one);
        let half = b.bin(BinOp::Shl, one, less);
        b.for_const(0, n, 1, &[], |b, i, _| {
            let e = element(b, y, i);
            let e = b.convert(ConvertOp::ExtS, Type::I64, e);
            let p = b.mul(e, inverse);
            let p = b.add(p, half);
            let p = b.bin(BinOp::ShrS, p, right);
            let p = b.max(p, none);
            let p = b.min(p, hi);
            let p = b.convert(ConvertOp::Wrap, Type::I32, p);
            store(b, i, p);
            vec![]
        });
    }
}

fn saturated(b: &mut Builder, v: Value) -> Value {
    let (lo, hi) = (b.i32(-32768), b.i32(32767));
    let v = b.max(v, lo);
    b.min(v, hi)
}

/// Interpolates a table of 513 entries at a 16-bit integer.
fn look_up(b: &mut Builder, table: Value, q: Value) -> Value {
    let seven = b.i32(7);
    let index = b.bin(BinOp::ShrS, q, seven);
    let index = b.convert(ConvertOp::ExtS, Type::I64, index);
    let at = |k: i64| Addr::new(table).index(index, 2).offset((256 + k) * 2);
    let base = b.load(Type::I32, Mem::S16, at(0));
    let next = b.load(Type::I32, Mem::S16, at(1));
    let slope = b.sub(next, base);
    let slope = low_half(b, slope);
    let mask = b.i32(127);
    let offset = b.bin(BinOp::And, q, mask);
    let product = b.mul(slope, offset);
    let half = b.i32(64);
    let product = b.add(product, half);
    let step = b.bin(BinOp::ShrS, product, seven);
    let v = b.add(base, step);
    low_half(b, v)
}

/// The low 16 bits, with their sign.
fn low_half(b: &mut Builder, v: Value) -> Value {
    let sixteen = b.i32(16);
    let v = b.bin(BinOp::Shl, v, sixteen);
    b.bin(BinOp::ShrS, v, sixteen)
}
