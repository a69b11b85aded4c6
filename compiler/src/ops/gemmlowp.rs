//! gemmlowp's fixed-point functions on 16- and 32-bit numbers: exponential, logistic, hyperbolic tangent, reciprocal.
//!
//! A number is a raw integer with some integer bits; all integers here are `i64`, of which 16 or 32 bits are used.
//! Source: gemmlowp, `fixedpoint/fixedpoint.h`.

/// Arithmetic on raw numbers of a width.
#[derive(Clone, Copy, Debug)]
pub struct FixedPoint {
    /// 16 or 32.
    pub bits: u32,
}

impl FixedPoint {
    fn max(self) -> i64 {
        (1 << (self.bits - 1)) - 1
    }

    fn saturate(self, v: i64) -> i64 {
        v.clamp(-self.max() - 1, self.max())
    }

    /// Wraps to the width, as sums of raw numbers do.
    fn wrap(self, v: i64) -> i64 {
        (v << (64 - self.bits)) >> (64 - self.bits)
    }

    /// A constant that gemmlowp gives for 32 bits.
    fn constant(self, raw: i64) -> i64 {
        if self.bits == 32 { raw } else { shift_right(raw, 16) }
    }

    /// Product: the integer bits add up. `SaturatingRoundingDoublingHighMul`.
    pub fn mul(self, a: i64, b: i64) -> i64 {
        if a == b && a == -self.max() - 1 {
            return self.max();
        }
        let product = a as i128 * b as i128;
        let half = 1i128 << (self.bits - 2);
        let nudge = if product >= 0 { half } else { 1 - half };
        ((product + nudge) / (1i128 << (self.bits - 1))) as i64
    }

    fn shl(self, v: i64, by: u32) -> i64 {
        self.saturate(v << by)
    }

    /// `exp(a)` of `a` in [-1/4, 0), both without integer bits.
    fn exp_quarter(self, a: i64) -> i64 {
        let constant_term = self.constant(1_895_147_668);
        let third = self.constant(715_827_883);
        let x = self.wrap(a + (1 << (self.bits - 1 - 3)));
        let x2 = self.mul(x, x);
        let x3 = self.mul(x2, x);
        let x4 = self.mul(x2, x2);
        let x4_over_4 = shift_right(x4, 2);
        let sum = shift_right(self.wrap(self.mul(self.wrap(x4_over_4 + x3), third) + x2), 1);
        let result = constant_term + self.mul(constant_term, self.wrap(x + sum));
        if self.bits == 16 { self.saturate(result) } else { self.wrap(result) }
    }

    /// `exp(a)` of `a <= 0` with `integer_bits`; the result has none.
    pub fn exp_on_negative(self, a: i64, integer_bits: u32) -> i64 {
        let fractional = self.bits - 1 - integer_bits;
        let quarter = 1i64 << (fractional - 2);
        let rest = (a & (quarter - 1)) - quarter;
        let mut result = self.exp_quarter(self.shl(rest, integer_bits));
        let remainder = self.wrap(rest - a);
        let factors = [1_672_461_947, 1_302_514_674, 790_015_084, 290_630_308, 39_332_535, 720_401, 242];
        for (i, factor) in factors.iter().enumerate() {
            let exponent = i as i32 - 2;
            if integer_bits as i32 > exponent && remainder & (1 << (fractional as i32 + exponent)) != 0 {
                result = self.mul(result, self.constant(*factor));
            }
        }
        if integer_bits > 5 && a < -(1i64 << (self.bits - 1 - integer_bits + 5)) {
            result = 0;
        }
        if a == 0 { self.max() } else { result }
    }

    /// Newton's method for `2 / (1 + a)` of `a` in [0, 1], with two integer bits.
    fn two_over_one_plus(self, a: i64) -> i64 {
        let sum = a + self.max();
        let half_denominator = (sum + if sum >= 0 { 1 } else { -1 }) / 2;
        let mut x = self.wrap(self.constant(1_515_870_810) + self.mul(half_denominator, self.constant(-1_010_580_540)));
        let one = 1i64 << (self.bits - 1 - 2);
        for _ in 0..3 {
            let rest = one - self.mul(half_denominator, x);
            x = self.wrap(x + self.shl(self.mul(x, rest), 2));
        }
        x
    }

    /// `1 / (1 + a)` of `a` in [0, 1], both without integer bits.
    pub fn one_over_one_plus(self, a: i64) -> i64 {
        self.shl(self.two_over_one_plus(a), 1)
    }

    /// Logistic function of `a` with `integer_bits`; the result has none.
    pub fn logistic(self, a: i64, integer_bits: u32) -> i64 {
        if a == 0 {
            return 1 << (self.bits - 2);
        }
        let positive = self.one_over_one_plus(self.exp_on_negative(self.wrap(-a.abs()), integer_bits));
        if a > 0 { positive } else { self.max() - positive }
    }

    /// Hyperbolic tangent of `a` with `integer_bits`; the result has none.
    pub fn tanh(self, a: i64, integer_bits: u32) -> i64 {
        if a == 0 {
            return 0;
        }
        let negative = -a.abs();
        let e = self.exp_on_negative(negative, integer_bits + 1);
        let t = self.shl(self.wrap(self.two_over_one_plus(e) - (1 << (self.bits - 1 - 2))), 2);
        if a < 0 { self.wrap(-t) } else { t }
    }
}

/// Shifts right, half away from zero.
fn shift_right(v: i64, by: u32) -> i64 {
    let mask = (1i64 << by) - 1;
    let threshold = (mask >> 1) + (v < 0) as i64;
    (v >> by) + ((v & mask) > threshold) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_close_to_what_they_approximate() {
        for bits in [16, 32] {
            let f = FixedPoint { bits };
            let one = (1i64 << (bits - 1)) as f64;
            let tolerance = if bits == 16 { 3e-4 } else { 1e-6 };
            for i in -40..=40 {
                let x = i as f64 / 5.1;
                let raw = (x * one / 8.0) as i64;
                let x = raw as f64 * 8.0 / one;
                assert!((f.logistic(raw, 3) as f64 / one - 1.0 / (1.0 + (-x).exp())).abs() < tolerance, "logistic({x})");
                assert!((f.tanh(raw, 3) as f64 / one - x.tanh()).abs() < tolerance, "tanh({x})");
                if x <= 0.0 {
                    assert!((f.exp_on_negative(raw, 3) as f64 / one - x.exp()).abs() < tolerance, "exp({x})");
                }
            }
        }
    }
}
