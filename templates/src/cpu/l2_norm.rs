//! L2 normalisation of 8-bit rows, in TFLite's fixed point.
//!
//! A row's sum of squares gives a multiplier by Newton's iteration for 1/sqrt in integers; every element is multiplied by it. Work units are rows.
//! Source: TFLite, `reference/integer_ops/l2normalization.h`, `reference/l2normalization.h`, and `common.h`,
//! GetInvSqrtQuantizedMultiplierExp.

use super::reduce::fill_tail;
use crate::expr::Storage;
use crate::expr::emit::{load_storage, store_storage};
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, ConvertOp, Elem, Kernel, Narrow, ReduceOp, Type, UnOp, Value};

/// Specification: `y = x / sqrt(sum of x^2)` in steps of 1/128, of `x = q - zero_point`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct L2NormSpec {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// `I8` (result around 0) or `U8` (result around 128).
    pub storage: Storage,
    /// Zero point of the input.
    pub zero_point: i32,
}

impl L2NormSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.rows as u64
    }

    /// Builds the kernel: parameters are input and output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new(if self.storage == Storage::U8 { "qu8_l2_norm" } else { "qs8_l2_norm" });
        let x = b.ptr_param("x");
        let y = b.ptr_param("y");
        let (begin, end) = (b.begin(), b.end());
        let lanes = caps.lanes(Elem::I32);
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let at = b.mul_const(u, self.n as i64);
            let (x, y) = (b.ptr_add(x, at), b.ptr_add(y, at));
            self.row(b, lanes, x, y);
            vec![]
        });
        b.finish()
    }

    /// Elements in lanes at `i`, less the zero point.
    fn element(&self, b: &mut Builder, x: Value, i: Value, lanes: u16, active: u16) -> Value {
        let v = load_storage(b, self.storage, lanes, Addr::new(x).index(i, 1), active);
        let zero = b.int(b.ty(v), i64::from(self.zero_point));
        b.sub(v, zero)
    }

    fn row(&self, b: &mut Builder, lanes: u16, x: Value, y: Value) {
        let n = self.n as i64;
        let step = i64::from(lanes);
        let whole = n - n % step;
        let ty = Type::vector(Elem::I32, lanes);
        let zero = b.int(ty, 0);
        let mut sum = b.for_const(0, whole, step, &[zero], |b, i, c| {
            let v = self.element(b, x, i, lanes, lanes);
            let square = b.mul(v, v);
            vec![b.add(c[0], square)]
        })[0];
        if whole < n {
            let i = b.i64(whole);
            let v = self.element(b, x, i, lanes, (n - whole) as u16);
            let v = fill_tail(b, v, (n - whole) as u16, zero);
            let square = b.mul(v, v);
            sum = b.add(sum, square);
        }
        let sum = b.reduce(ReduceOp::Add, sum);
        let (m, e) = inverse_root(b, sum);
        // int8 multiplies x by 2^7 through the exponent, uint8 by 128 itself.
        let signed = self.storage == Storage::I8;
        let seven = b.i32(if signed { 7 } else { 0 });
        let e = b.add(e, seven);
        let none = b.i32(0);
        let left = b.max(e, none);
        let minus = b.sub(none, e);
        let right = b.max(minus, none);
        let (m, left, right) = (b.splat(m, lanes), b.splat(left, lanes), b.splat(right, lanes));
        b.for_const(0, whole, step, &[], |b, i, _| {
            self.scaled(b, x, y, i, [m, left, right], lanes, lanes);
            vec![]
        });
        if whole < n {
            let i = b.i64(whole);
            self.scaled(b, x, y, i, [m, left, right], lanes, (n - whole) as u16);
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn scaled(&self, b: &mut Builder, x: Value, y: Value, i: Value, [m, left, right]: [Value; 3], lanes: u16, active: u16) {
        let v = self.element(b, x, i, lanes, active);
        let ty = b.ty(v);
        let signed = self.storage == Storage::I8;
        let v = if signed {
            v
        } else {
            let k = b.int(ty, 128);
            b.mul(v, k)
        };
        let v = b.bin(BinOp::Shl, v, left);
        let high = b.bin(BinOp::MulRoundHi, v, m);
        let r = divide_by_power(b, high, right);
        let (offset, lo, hi) = if signed { (0, -128, 127) } else { (128, 0, 255) };
        let offset = b.int(ty, offset);
        let r = b.add(r, offset);
        let (lo, hi) = (b.int(ty, lo), b.int(ty, hi));
        let r = b.max(lo, r);
        let r = b.min(hi, r);
        store_storage(b, self.storage, Narrow::Wrap, Addr::new(y).index(i, 1), r, active);
    }
}

/// `x / 2^n`, half away from zero: `(x >> n) + ((x & m) > (m >> 1) + (x < 0))` with `m = 2^n - 1`.
fn divide_by_power(b: &mut Builder, x: Value, n: Value) -> Value {
    let ty = b.ty(x);
    let (zero, one, sign) = (b.int(ty, 0), b.int(ty, 1), b.int(ty, 31));
    let all = b.bin(BinOp::Shl, one, n);
    let mask = b.sub(all, one);
    let rest = b.bin(BinOp::And, x, mask);
    let half = b.bin(BinOp::ShrS, mask, one);
    let negative = b.bin(BinOp::ShrS, x, sign);
    let threshold = b.sub(half, negative);
    let up = b.cmp(CmpOp::Gt, rest, threshold);
    let up = b.select(up, one, zero);
    let floor = b.bin(BinOp::ShrS, x, n);
    b.add(floor, up)
}

/// `x * 2^shift` of an `I32`, saturated.
fn shift_saturated(b: &mut Builder, x: Value, shift: i64) -> Value {
    let wide = b.convert(ConvertOp::ExtS, Type::I64, x);
    let wide = b.mul_const(wide, 1 << shift);
    let (lo, hi) = (b.i64(i64::from(i32::MIN)), b.i64(i64::from(i32::MAX)));
    let wide = b.max(lo, wide);
    let wide = b.min(hi, wide);
    b.convert(ConvertOp::Wrap, Type::I32, wide)
}

/// Multiplier and exponent of 1/sqrt(v), a scalar.
fn inverse_root(b: &mut Builder, v: Value) -> (Value, Value) {
    let (zero, one, eleven) = (b.i32(0), b.i32(1), b.i32(11));
    let large = b.i32(1 << 29);
    let reduced = b.while_loop(
        &[v, eleven],
        |b, c| (b.cmp(CmpOp::Ge, c[0], large), c.to_vec()),
        |b, c| {
            let two = b.i32(2);
            vec![b.bin(BinOp::ShrS, c[0], two), b.add(c[1], one)]
        },
    );
    // Values of 0 and 1 take another way; 2 keeps the shifts below in range for them.
    let two = b.i32(2);
    let value = b.max(reduced[0], two);
    let zeros = b.un(UnOp::LeadingZeros, value);
    let k = b.sub(zeros, one);
    let k = b.bin(BinOp::ShrS, k, one);
    let k = b.sub(k, one);
    let n = b.sub(reduced[1], k);
    let twice = b.add(k, k);
    let value = b.bin(BinOp::Shl, value, twice);
    let h = b.bin(BinOp::ShrS, value, one);
    let low = b.bin(BinOp::And, h, one);
    let h = b.bin(BinOp::ShrS, h, one);
    let half = b.add(h, low);
    let mut y = b.i32(1 << 28);
    let three_halves = b.i32(3 << 27);
    for _ in 0..5 {
        let y2 = b.bin(BinOp::MulRoundHi, y, y);
        let y3 = b.bin(BinOp::MulRoundHi, y2, y);
        let y3 = shift_saturated(b, y3, 6);
        let a = b.bin(BinOp::MulRoundHi, three_halves, y);
        let c = b.bin(BinOp::MulRoundHi, half, y3);
        let d = b.sub(a, c);
        y = shift_saturated(b, d, 3);
    }
    let root_half = b.i32(1_518_500_250);
    let y = b.bin(BinOp::MulRoundHi, y, root_half);
    let minus = b.sub(zero, n);
    let up = b.max(minus, zero);
    let m = b.bin(BinOp::Shl, y, up);
    let e = b.min(minus, zero);
    let small = b.cmp(CmpOp::Le, v, one);
    let most = b.i32(i32::MAX);
    (b.select(small, most, m), b.select(small, zero, e))
}
