//! TFLite's fixed-point multiplication, as numbers and as pointwise expressions.
//!
//! A real multiplier is a 31-bit fraction and a power of two. Kernels of TFLite multiply by it with one of three roundings, which
//! differ in the last bit. Source: TFLite, `kernels/internal/common.h` and `quantization_util.cc`.

use tflc_templates::expr::{Binary, Cast, Compare, ExprBuilder, Id, Ty};

/// A real multiplier `m / 2^31 * 2^e`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fixed {
    /// Fraction in `[2^30, 2^31)`, or 0.
    pub m: i32,
    /// Exponent in `[-31, 30]`.
    pub e: i32,
}

/// How a product with a [`Fixed`] is rounded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rounding {
    /// High product rounded half up, then shifted right half away from zero (`MultiplyByQuantizedMultiplier`).
    HalfAway,
    /// High product rounded half up, then shifted right half up (ruy, and the vector code of TFLite's kernels).
    HalfUp,
    /// The whole product shifted right half up, once.
    Single,
}

impl Fixed {
    /// The nearest fixed-point multiplier: `QuantizeMultiplier`. Values that are not finite, or negative, are the largest and 0.
    pub fn new(value: f64) -> Fixed {
        if value.is_nan() || value <= 0.0 {
            return Fixed::default();
        }
        if !value.is_finite() {
            return Fixed { m: i32::MAX, e: 30 };
        }
        // A normal number is a fraction of 53 bits in [0.5, 1) and a power of two; a subnormal one is far below the least multiplier.
        let bits = value.to_bits();
        let fraction = bits & ((1 << 52) - 1) | 1 << 52;
        let mut e = (bits >> 52) as i32 - 1022;
        let mut m = ((fraction + (1 << 21)) >> 22) as i64;
        if m == 1 << 31 {
            (m, e) = (m / 2, e + 1);
        }
        if e < -31 {
            return Fixed::default();
        }
        if e > 30 {
            return Fixed { m: i32::MAX, e: 30 };
        }
        Fixed { m: m as i32, e }
    }

    /// The same for values of either sign: scales of weights may be negative.
    pub fn signed(value: f64) -> Fixed {
        let f = Fixed::new(value.abs());
        if value < 0.0 { Fixed { m: -f.m, ..f } } else { f }
    }

    /// `x` times this multiplier.
    pub fn apply(self, x: i32, rounding: Rounding) -> i32 {
        let (left, right) = (self.e.max(0) as u32, (-self.e).max(0) as u32);
        match rounding {
            Rounding::HalfAway => shift_half_away(mul_round_hi(x.wrapping_shl(left), self.m), right),
            Rounding::HalfUp => {
                let high = mul_round_hi(x.wrapping_shl(left), self.m);
                if right == 0 { high } else { ((high as i64 + (1 << (right - 1))) >> right) as i32 }
            }
            Rounding::Single => {
                let shift = (31 - self.e) as u32;
                let product = x as i64 * self.m as i64;
                if shift == 0 {
                    product as i32
                } else {
                    ((product as i128 + (1i128 << (shift - 1))) >> shift).clamp(i32::MIN.into(), i32::MAX.into()) as i32
                }
            }
        }
    }

    /// A 64-bit accumulator times this multiplier, reduced to 15 bits: the 16-bit kernels' `MultiplyByQuantizedMultiplier`.
    pub fn apply_i64(self, x: i64) -> i32 {
        let reduced = self.reduced() as i64;
        let shift = self.reduced_shift() as u32;
        (x.wrapping_mul(reduced).wrapping_add(1 << (shift - 1)) >> shift) as i32
    }

    /// By how many bits a product with [`Fixed::reduced`] is shifted right; multipliers from 2^14 on are beyond every kernel and cut.
    pub fn reduced_shift(self) -> i32 {
        (15 - self.e).max(1)
    }

    /// The fraction in 15 bits.
    pub fn reduced(self) -> i32 {
        if self.m < 0x7FFF_0000 { (self.m + (1 << 15)) >> 16 } else { 0x7FFF }
    }

    /// `x * self` as an expression of I32.
    pub fn emit(self, b: &mut ExprBuilder, x: Id, rounding: Rounding) -> Id {
        let m = b.i32(self.m);
        let x = if self.e > 0 {
            let left = b.i32(self.e);
            b.binary(Binary::Shl, x, left)
        } else {
            x
        };
        if rounding == Rounding::Single {
            let wide = b.cast(Cast::Value, Ty::I64, x);
            let m = b.i64(self.m as i64);
            let product = b.mul(wide, m);
            let shift = (31 - self.e.min(0)) as i64;
            let half = b.i64(1 << (shift - 1));
            let sum = b.add(product, half);
            let shift = b.i64(shift);
            let shifted = b.binary(Binary::Shr, sum, shift);
            return b.cast(Cast::Value, Ty::I32, shifted);
        }
        let high = b.binary(Binary::MulRoundHi, x, m);
        let right = -self.e.min(0);
        if right == 0 {
            return high;
        }
        let shift = b.i32(right);
        let one = b.i32(1);
        emit_shift(b, high, shift, one, rounding)
    }
}

/// Shifts I32 right by `shift` in 1..=31 with a rounding; `one` is the constant 1.
fn emit_shift(b: &mut ExprBuilder, high: Id, shift: Id, one: Id, rounding: Rounding) -> Id {
    let floor = b.binary(Binary::Shr, high, shift);
    let all = b.binary(Binary::Shl, one, shift);
    let mask = b.sub(all, one);
    let rest = b.binary(Binary::And, high, mask);
    let mut threshold = b.binary(Binary::Shr, mask, one);
    if rounding == Rounding::HalfAway {
        let sign = b.i32(31);
        let negative = b.binary(Binary::Shr, high, sign);
        threshold = b.sub(threshold, negative);
    }
    let up = b.compare(Compare::Gt, rest, threshold);
    let up = b.cast(Cast::Value, Ty::I32, up);
    b.add(floor, up)
}

/// `x` times a multiplier given as values: fraction, left shift and right shift of I32.
pub fn emit_by(b: &mut ExprBuilder, x: Id, m: Id, left: Option<Id>, right: Id, rounding: Rounding) -> Id {
    let x = match left {
        Some(left) => b.binary(Binary::Shl, x, left),
        None => x,
    };
    let high = b.binary(Binary::MulRoundHi, x, m);
    let one = b.i32(1);
    emit_shift(b, high, right, one, rounding)
}

/// `(a * b + 2^30) >> 31`, saturated: `SaturatingRoundingDoublingHighMul`.
pub fn mul_round_hi(a: i32, b: i32) -> i32 {
    ((a as i64 * b as i64 + (1 << 30)) >> 31).min(i32::MAX as i64) as i32
}

/// `x / 2^shift`, half away from zero: `RoundingDivideByPOT`.
pub fn shift_half_away(x: i32, shift: u32) -> i32 {
    if shift == 0 {
        return x;
    }
    let mask = (1i64 << shift) - 1;
    let rest = x as i64 & mask;
    let threshold = (mask >> 1) + (x < 0) as i64;
    ((x as i64 >> shift) + (rest > threshold) as i64) as i32
}

/// Half away from zero, as C's `roundf` followed by a saturating conversion.
pub fn round_away(v: f32) -> i32 {
    v.round() as i32
}

#[cfg(test)]
mod tests {
    use super::*;
    use tflc_templates::expr::Storage;
    use tflc_templates::expr::interpret::{Scalar, interpret};

    #[test]
    fn a_multiplier_is_a_fraction_and_an_exponent() {
        assert_eq!(Fixed::new(1.0), Fixed { m: 1 << 30, e: 1 });
        assert_eq!(Fixed::new(0.5), Fixed { m: 1 << 30, e: 0 });
        assert_eq!(Fixed::new(0.0), Fixed::default());
        assert_eq!(Fixed::new(1e-30), Fixed::default());
        assert_eq!(Fixed::new(0.25).apply(6, Rounding::HalfAway), 2);
        assert_eq!(Fixed::new(0.25).apply(-6, Rounding::HalfAway), -2);
        assert_eq!(Fixed::new(0.25).apply(-6, Rounding::HalfUp), -1);
    }

    #[test]
    fn expressions_give_what_the_numbers_give() {
        for value in [0.3, 1.0, 7.7, 0.0031, 0.5, 0.25, 1e-6] {
            let fixed = Fixed::new(value);
            for rounding in [Rounding::HalfAway, Rounding::HalfUp, Rounding::Single] {
                let mut b = ExprBuilder::new([Storage::I32]);
                let x = b.input(0);
                let y = fixed.emit(&mut b, x, rounding);
                let expr = b.finish(y, Storage::I32);
                for x in [0, 1, -1, 2, -2, 3, 37, -1001, 99_999, -100_000, 12_345_678] {
                    assert_eq!(interpret(&expr, &[Scalar::I32(x)]), Scalar::I32(fixed.apply(x, rounding)), "{x} * {value} {rounding:?}");
                }
            }
        }
    }
}
