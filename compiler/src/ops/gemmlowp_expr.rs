//! gemmlowp's fixed-point logistic function and hyperbolic tangent of 16-bit numbers, as pointwise expressions.
//!
//! The same integers as [`super::gemmlowp`], node for node; values are I32 that fit into 16 bits. Source: gemmlowp, `fixedpoint/fixedpoint.h`.

use tflc_templates::expr::{Binary, Compare, ExprBuilder, Id, Unary};

const MAX: i32 = 32767;

/// Logistic function of `a` with `integer_bits`; the result has none.
pub fn logistic(b: &mut ExprBuilder, a: Id, integer_bits: u32) -> Id {
    let negative = minus_magnitude(b, a);
    let e = exp_on_negative(b, negative, integer_bits);
    let half = two_over_one_plus(b, e);
    let positive = shl(b, half, 1);
    let (zero, max, middle) = (b.i32(0), b.i32(MAX), b.i32(1 << 14));
    let other = b.sub(max, positive);
    let above = b.compare(Compare::Gt, a, zero);
    let result = b.select(above, positive, other);
    let none = b.compare(Compare::Eq, a, zero);
    b.select(none, middle, result)
}

/// Hyperbolic tangent of `a` with `integer_bits`; the result has none.
pub fn tanh(b: &mut ExprBuilder, a: Id, integer_bits: u32) -> Id {
    let negative = minus_magnitude(b, a);
    let e = exp_on_negative(b, negative, integer_bits + 1);
    let two = two_over_one_plus(b, e);
    let one = b.i32(1 << 13);
    let t = b.sub(two, one);
    let t = wrap(b, t);
    let t = shl(b, t, 2);
    let minus = b.unary(Unary::Neg, t);
    let minus = wrap(b, minus);
    let zero = b.i32(0);
    let below = b.compare(Compare::Lt, a, zero);
    let result = b.select(below, minus, t);
    let none = b.compare(Compare::Eq, a, zero);
    b.select(none, zero, result)
}

/// Half of 32 bits: a constant that gemmlowp gives for 32.
fn constant(b: &mut ExprBuilder, raw: i64) -> Id {
    let mask = (1i64 << 16) - 1;
    let up = (raw & mask) > (mask >> 1) + i64::from(raw < 0);
    b.i32(((raw >> 16) + i64::from(up)) as i32)
}

fn minus_magnitude(b: &mut ExprBuilder, a: Id) -> Id {
    let minus = b.unary(Unary::Neg, a);
    b.min(a, minus)
}

/// To 16 bits, as sums of raw numbers do.
pub fn wrap(b: &mut ExprBuilder, v: Id) -> Id {
    let bits = b.i32(16);
    let up = b.binary(Binary::Shl, v, bits);
    b.binary(Binary::Shr, up, bits)
}

/// `SaturatingRoundingDoublingHighMul`: half up, which for 16 bits is what its division towards zero comes to.
pub fn mul(b: &mut ExprBuilder, x: Id, y: Id) -> Id {
    let product = b.mul(x, y);
    let (half, bits, max) = (b.i32(1 << 14), b.i32(15), b.i32(MAX));
    let sum = b.add(product, half);
    let high = b.binary(Binary::Shr, sum, bits);
    b.min(high, max)
}

/// Left shift, saturated.
pub fn shl(b: &mut ExprBuilder, v: Id, by: u32) -> Id {
    let (by, lo, hi) = (b.i32(by as i32), b.i32(-MAX - 1), b.i32(MAX));
    let v = b.binary(Binary::Shl, v, by);
    let v = b.max(v, lo);
    b.min(v, hi)
}

/// Right shift, half away from zero.
pub fn shift_half_away(b: &mut ExprBuilder, v: Id, by: u32) -> Id {
    let (sign, half, by) = (b.i32(31), b.i32(1 << (by - 1)), b.i32(by as i32));
    let sign = b.binary(Binary::Shr, v, sign);
    let nudge = b.add(half, sign);
    let v = b.add(v, nudge);
    b.binary(Binary::Shr, v, by)
}

/// `exp(a)` of `a` in [-1/4, 0), both without integer bits.
fn exp_quarter(b: &mut ExprBuilder, a: Id) -> Id {
    let constant_term = constant(b, 1_895_147_668);
    let third = constant(b, 715_827_883);
    let eighth = b.i32(1 << 12);
    let x = b.add(a, eighth);
    let x = wrap(b, x);
    let x2 = mul(b, x, x);
    let x3 = mul(b, x2, x);
    let x4 = mul(b, x2, x2);
    let x4 = shift_half_away(b, x4, 2);
    let sum = b.add(x4, x3);
    let sum = mul(b, sum, third);
    let sum = b.add(sum, x2);
    let sum = shift_half_away(b, sum, 1);
    let sum = b.add(x, sum);
    let sum = wrap(b, sum);
    let product = mul(b, constant_term, sum);
    let result = b.add(constant_term, product);
    shl(b, result, 0)
}

/// `exp(a)` of `a <= 0` with `integer_bits`; the result has none.
fn exp_on_negative(b: &mut ExprBuilder, a: Id, integer_bits: u32) -> Id {
    let fractional = 15 - integer_bits as i32;
    let (mask, quarter, zero) = (b.i32((1 << (fractional - 2)) - 1), b.i32(1 << (fractional - 2)), b.i32(0));
    let low = b.binary(Binary::And, a, mask);
    let rest = b.sub(low, quarter);
    let scaled = shl(b, rest, integer_bits);
    let mut result = exp_quarter(b, scaled);
    let remainder = b.sub(rest, a);
    let factors = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
    for (i, factor) in factors.into_iter().enumerate() {
        let exponent = i as i32 - 2;
        if integer_bits as i32 > exponent {
            let bit = b.i32(1 << (fractional + exponent));
            let bit = b.binary(Binary::And, remainder, bit);
            let set = b.compare(Compare::Ne, bit, zero);
            let factor = constant(b, factor);
            let product = mul(b, result, factor);
            result = b.select(set, product, result);
        }
    }
    if integer_bits > 5 {
        let least = b.i32(-(1 << (fractional + 5)));
        let tiny = b.compare(Compare::Lt, a, least);
        result = b.select(tiny, zero, result);
    }
    let none = b.compare(Compare::Eq, a, zero);
    let max = b.i32(MAX);
    b.select(none, max, result)
}

/// Newton's method for `2 / (1 + a)` of `a` in [0, 1], with two integer bits.
fn two_over_one_plus(b: &mut ExprBuilder, a: Id) -> Id {
    let (next, one_bit) = (b.i32(MAX + 1), b.i32(1));
    let sum = b.add(a, next);
    let half = b.binary(Binary::Shr, sum, one_bit);
    let slope = constant(b, -1_010_580_540);
    let start = constant(b, 1_515_870_810);
    let x = mul(b, half, slope);
    let x = b.add(start, x);
    let mut x = wrap(b, x);
    let one = b.i32(1 << 13);
    for _ in 0..3 {
        let product = mul(b, half, x);
        let rest = b.sub(one, product);
        let step = mul(b, x, rest);
        let step = shl(b, step, 2);
        let sum = b.add(x, step);
        x = wrap(b, sum);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::gemmlowp::FixedPoint;
    use tflc_templates::expr::Storage;
    use tflc_templates::expr::interpret::{Scalar, interpret};

    #[test]
    fn expressions_give_what_the_numbers_give() {
        let fixed = FixedPoint { bits: 16 };
        for integer_bits in 0..=6 {
            let build = |f: fn(&mut ExprBuilder, Id, u32) -> Id| {
                let mut b = ExprBuilder::new([Storage::I16]);
                let x = b.input(0);
                let y = f(&mut b, x, integer_bits);
                b.finish(y, Storage::I16)
            };
            let (l, t) = (build(logistic), build(tanh));
            let step = if integer_bits == 3 { 1 } else { 13 };
            for x in (-32768i32..=32767).step_by(step) {
                let value = |e| match interpret(e, &[Scalar::I32(x)]) {
                    Scalar::I32(v) => i64::from(v),
                    other => panic!("{other:?}"),
                };
                assert_eq!(value(&l), fixed.logistic(i64::from(x), integer_bits), "logistic of {x} with {integer_bits} integer bits");
                assert_eq!(value(&t), fixed.tanh(i64::from(x), integer_bits), "tanh of {x} with {integer_bits} integer bits");
            }
        }
    }
}
