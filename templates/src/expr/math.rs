//! Transcendental functions on f32 lanes, as kir.
//!
//! Each function states its largest error in units in the last place (ulp), measured against f64 by the tests of this
//! crate; results are the same on every backend that has fused multiply-add. Constants come first in `min` and `max`, so that
//! NaN operands come through.

use super::{Binary, Unary};
use tflc_kir::{BinOp, Builder, Caps, CmpOp, ConvertOp, Elem, Type, UnOp, Value};

/// Emits a unary transcendental function of f32 lanes.
///
/// # Panics
/// For operators that are not transcendental: the caller emits them directly.
pub fn unary(b: &mut Builder, caps: &Caps, op: Unary, x: Value) -> Value {
    let mut m = Math { b, fma: caps.fma };
    match op {
        Unary::Exp => m.exp(x),
        Unary::Expm1 => m.expm1(x),
        Unary::Log => m.log(x),
        Unary::Tanh => m.tanh(x),
        Unary::Logistic => m.logistic(x),
        Unary::Sin => m.sin_cos(x, false),
        Unary::Cos => m.sin_cos(x, true),
        Unary::Erf => m.erf(x),
        other => panic!("{other:?} is not transcendental"),
    }
}

/// Emits e^x for f32 lanes that are not positive, within 1 ulp; 0 where it is below the normal numbers, which take the processor a hundred cycles each, as
/// do products with them. Softmax meets them in every masked element.
pub fn exp_not_positive(b: &mut Builder, caps: &Caps, x: Value) -> Value {
    Math { b, fma: caps.fma }.exp_not_positive(x)
}

/// Emits a binary transcendental function of f32 lanes: `Pow`, `Atan2` or the remainder `Rem`.
///
/// # Panics
/// For other operators.
pub fn binary(b: &mut Builder, caps: &Caps, op: Binary, x: Value, y: Value) -> Value {
    let mut m = Math { b, fma: caps.fma };
    match op {
        Binary::Atan2 => m.atan2(x, y),
        Binary::Pow => m.lanewise(x, y, super::math_f64::pow),
        Binary::Rem => m.lanewise(x, y, super::math_f64::rem),
        other => panic!("{other:?} is not transcendental"),
    }
}

// pi/2 - 1.5703125 in pieces of 9 bits and a rest: 507 * 2^-20, 337 * 2^-30.
const P2: f32 = -4.835_128_8e-4;
const P3: f32 = -3.138_557e-7;
const P4: f32 = -6.077_100_6e-11;
/// The logarithm of the least normal number, rounded up.
const LEAST_NORMAL_LN: f32 = -87.336_54;

struct Math<'a> {
    b: &'a mut Builder,
    fma: bool,
}

impl Math<'_> {
    fn c(&mut self, like: Value, v: f32) -> Value {
        let ty = self.b.ty(like).with_elem(Elem::F32);
        self.b.f32_const(ty, v)
    }

    fn i(&mut self, like: Value, v: i64) -> Value {
        let ty = self.b.ty(like).with_elem(Elem::I32);
        self.b.int(ty, v)
    }

    fn ints(&self, like: Value) -> Type {
        self.b.ty(like).with_elem(Elem::I32)
    }

    fn floats(&self, like: Value) -> Type {
        self.b.ty(like).with_elem(Elem::F32)
    }

    /// `x * y + z`, fused where the target can.
    fn mul_add(&mut self, x: Value, y: Value, z: Value) -> Value {
        if self.fma {
            self.b.fma(x, y, z)
        } else {
            let p = self.b.mul(x, y);
            self.b.add(p, z)
        }
    }

    /// Polynomial by Horner's rule; the highest coefficient comes first.
    fn poly(&mut self, x: Value, coefficients: &[f32]) -> Value {
        let mut acc = self.c(x, coefficients[0]);
        for &k in &coefficients[1..] {
            let k = self.c(x, k);
            acc = self.mul_add(acc, x, k);
        }
        acc
    }

    /// `2^n` for integer lanes n in [-126, 127].
    fn exp2_int(&mut self, n: Value) -> Value {
        let bias = self.i(n, 127);
        let e = self.b.add(n, bias);
        let s = self.i(n, 23);
        let bits = self.b.bin(BinOp::Shl, e, s);
        let ty = self.floats(n);
        self.b.bitcast(ty, bits)
    }

    /// e^r split as n and p with e^x = 2^n * p, for x in [-104, 89]: the nearest integer n to x / ln 2 and p = e^(x - n ln 2).
    fn exp_parts(&mut self, x: Value) -> (Value, Value) {
        let log2e = self.c(x, std::f32::consts::LOG2_E);
        let n = self.b.mul(x, log2e);
        let n = self.b.un(UnOp::RoundEven, n);
        // ln 2 in two parts, the first with 9 trailing zero bits so that n times it is exact (Cody and Waite).
        let hi = self.c(x, -0.693_359_4);
        let lo = self.c(x, 2.121_944_4e-4);
        let r = self.mul_add(n, hi, x);
        let r = self.mul_add(n, lo, r);
        // Cephes expf: e^r = 1 + r + r^2 P(r).
        let p = self.poly(r, &[1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 0.166_666_65, 0.5]);
        let r2 = self.b.mul(r, r);
        let p = self.mul_add(p, r2, r);
        let ty = self.ints(x);
        let n = self.b.convert(ConvertOp::FloatToIntEven, ty, n);
        (n, p)
    }

    fn clamp(&mut self, x: Value, lo: f32, hi: f32) -> Value {
        let lo = self.c(x, lo);
        let hi = self.c(x, hi);
        let x = self.b.max(lo, x);
        self.b.min(hi, x)
    }

    /// e^x, within 1 ulp; overflows to infinity, underflows through the subnormals to 0.
    fn exp(&mut self, x: Value) -> Value {
        let x = self.clamp(x, -104.0, 89.0);
        let (n, p) = self.exp_parts(x);
        let one = self.c(x, 1.0);
        let p = self.b.add(p, one);
        // Two factors, so that neither leaves the normal range.
        let s = self.i(x, 1);
        let half = self.b.bin(BinOp::ShrS, n, s);
        let rest = self.b.sub(n, half);
        let f = self.exp2_int(half);
        let y = self.b.mul(p, f);
        let f = self.exp2_int(rest);
        self.b.mul(y, f)
    }

    /// e^x where that is a normal number, within 1 ulp.
    fn exp_normal(&mut self, x: Value) -> Value {
        let (n, p) = self.exp_parts(x);
        let one = self.c(x, 1.0);
        let p = self.b.add(p, one);
        let f = self.exp2_int(n);
        self.b.mul(p, f)
    }

    /// e^x for x <= 0, within 1 ulp; 0 below the normal numbers.
    fn exp_not_positive(&mut self, x: Value) -> Value {
        let least = self.c(x, LEAST_NORMAL_LN);
        let vanishes = self.b.cmp(CmpOp::Lt, x, least);
        let x = self.b.max(least, x);
        let y = self.exp_normal(x);
        let zero = self.c(x, 0.0);
        self.b.select(vanishes, zero, y)
    }

    /// e^x - 1, within 2 ulp; overflows to infinity.
    fn expm1(&mut self, x: Value) -> Value {
        let x = self.clamp(x, -30.0, 89.0);
        self.expm1_parts(x)
    }

    /// e^x - 1 for x in [-104, 89].
    fn expm1_parts(&mut self, x: Value) -> Value {
        let (n, p) = self.exp_parts(x);
        // 2 (2^(n-1) p + (2^(n-1) - 1/2)): exact where n = 0, and 2^(n-1) never overflows.
        let one = self.i(x, 1);
        let less = self.b.sub(n, one);
        let f = self.exp2_int(less);
        let half = self.c(x, 0.5);
        let g = self.b.sub(f, half);
        let y = self.mul_add(p, f, g);
        self.b.add(y, y)
    }

    /// Natural logarithm, within 1 ulp; -infinity at 0, NaN below.
    fn log(&mut self, x: Value) -> Value {
        let (ints, floats) = (self.ints(x), self.floats(x));
        // Subnormals are scaled by 2^23 first.
        let tiny = self.c(x, f32::MIN_POSITIVE);
        let is_tiny = self.b.cmp(CmpOp::Lt, x, tiny);
        let scale = self.c(x, 8_388_608.0);
        let scaled = self.b.mul(x, scale);
        let v = self.b.select(is_tiny, scaled, x);
        let bits = self.b.bitcast(ints, v);
        // Mantissa in [sqrt(1/2), sqrt(2)): exponent and mantissa around the bits of sqrt(1/2).
        let offset = self.i(x, 0x3f35_04f3);
        let t = self.b.sub(bits, offset);
        let s23 = self.i(x, 23);
        let e = self.b.bin(BinOp::ShrS, t, s23);
        let mask = self.i(x, 0x007f_ffff);
        let m = self.b.bin(BinOp::And, t, mask);
        let m = self.b.add(m, offset);
        let m = self.b.bitcast(floats, m);
        let one = self.c(x, 1.0);
        let f = self.b.sub(m, one);
        let e = self.b.convert(ConvertOp::IntToFloat, floats, e);
        let shift = self.c(x, 23.0);
        let e_tiny = self.b.sub(e, shift);
        let e = self.b.select(is_tiny, e_tiny, e);
        // Cephes logf: log(1 + f) = f - f^2/2 + f^3 P(f).
        let p = self.poly(
            f,
            &[
                7.037_683_6e-2,
                -0.115_146_1,
                0.116_769_99,
                -0.124_201_41,
                0.142_493_23,
                -0.166_680_58,
                0.200_007_15,
                -0.249_999_94,
                0.333_333_3,
            ],
        );
        let f2 = self.b.mul(f, f);
        let f3 = self.b.mul(f2, f);
        let y = self.b.mul(p, f3);
        let lo = self.c(x, -2.121_944_4e-4);
        let y = self.mul_add(e, lo, y);
        let half = self.c(x, -0.5);
        let y = self.mul_add(f2, half, y);
        let y = self.b.add(f, y);
        let hi = self.c(x, 0.693_359_4);
        let y = self.mul_add(e, hi, y);
        // Infinity and NaN come through; 0 gives -infinity, negative numbers NaN.
        let infinity = self.c(x, f32::INFINITY);
        let finite = self.b.cmp(CmpOp::Lt, x, infinity);
        let y = self.b.select(finite, y, x);
        let zero = self.c(x, 0.0);
        let minus = self.c(x, f32::NEG_INFINITY);
        let is_zero = self.b.cmp(CmpOp::Eq, x, zero);
        let y = self.b.select(is_zero, minus, y);
        let nan = self.c(x, f32::NAN);
        let negative = self.b.cmp(CmpOp::Lt, x, zero);
        self.b.select(negative, nan, y)
    }

    /// Hyperbolic tangent, within 3 ulp: `t / (t + 2)` with `t = e^(2|x|) - 1`, and the sign of x.
    fn tanh(&mut self, x: Value) -> Value {
        let a = self.b.un(UnOp::Abs, x);
        // At 10 the result has long been 1.
        let limit = self.c(x, 10.0);
        let a = self.b.min(limit, a);
        let twice = self.b.add(a, a);
        let t = self.expm1_parts(twice);
        let two = self.c(x, 2.0);
        let d = self.b.add(t, two);
        let y = self.b.bin(BinOp::Div, t, d);
        self.copy_sign(y, x)
    }

    /// 1 / (1 + e^-x), within 2.5 ulp, as `e / (1 + e)` with `e = e^-|x|` for negative x, so that it underflows gradually.
    fn logistic(&mut self, x: Value) -> Value {
        let a = self.b.un(UnOp::Abs, x);
        let n = self.b.un(UnOp::Neg, a);
        let e = self.exp(n);
        let (zero, one) = (self.c(x, 0.0), self.c(x, 1.0));
        let d = self.b.add(e, one);
        let below = self.b.cmp(CmpOp::Lt, x, zero);
        let top = self.b.select(below, e, one);
        self.b.bin(BinOp::Div, top, d)
    }

    /// Sine or cosine, for |x| up to 30,000 within 2 ulp; beyond, the error grows with |x|, while results stay
    /// between -1.1 and 1.1.
    fn sin_cos(&mut self, x: Value, cos: bool) -> Value {
        let ints = self.ints(x);
        let two_over_pi = self.c(x, std::f32::consts::FRAC_2_PI);
        let n = self.b.mul(x, two_over_pi);
        let n = self.b.un(UnOp::RoundEven, n);
        // pi/2 in parts (Cody and Waite): without fusion each but the last has 9 bits, so that n times it is exact below 2^15.
        let parts: &[f32] = if self.fma { &[-1.570_312_5, -4.837_513e-4, -7.549_79e-8] } else { &[-1.570_312_5, P2, P3, P4] };
        let mut r = x;
        for &part in parts {
            let k = self.c(x, part);
            r = self.mul_add(n, k, r);
        }
        let r = self.clamp(r, -0.8, 0.8);
        let limit = self.clamp(n, -2e9, 2e9);
        let q = self.b.convert(ConvertOp::FloatToIntEven, ints, limit);
        let one = self.i(x, 1);
        let q = if cos { self.b.add(q, one) } else { q };
        let r2 = self.b.mul(r, r);
        // Cephes sinf and cosf on [-pi/4, pi/4].
        let s = self.poly(r2, &[-1.951_529_6e-4, 8.332_161e-3, -0.166_666_55]);
        let r3 = self.b.mul(r2, r);
        let s = self.mul_add(s, r3, r);
        let c = self.poly(r2, &[2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2, -0.5, 1.0]);
        let odd = self.b.bin(BinOp::And, q, one);
        let zero = self.i(x, 0);
        let is_odd = self.b.cmp(CmpOp::Ne, odd, zero);
        let y = self.b.select(is_odd, c, s);
        let two = self.i(x, 2);
        let sign = self.b.bin(BinOp::And, q, two);
        let negative = self.b.cmp(CmpOp::Ne, sign, zero);
        let minus = self.b.un(UnOp::Neg, y);
        self.b.select(negative, minus, y)
    }

    /// Error function, within 1.1 ulp (N. Juffa, "erff" with a polynomial below 0.92 and 1 - e^q(x) above).
    fn erf(&mut self, x: Value) -> Value {
        let t = self.b.un(UnOp::Abs, x);
        let four = self.c(x, 4.0);
        let t = self.b.min(four, t);
        let s = self.b.mul(t, t);
        let a = self.poly(s, &[-5.967_617e-4, 4.991_194_2e-3, -2.676_813_5e-2, 0.112_819_925, -0.376_125_34, 0.128_379_17]);
        let near = self.mul_add(a, t, t);
        let b1 = self.poly(t, &[-1.728_534_7e-5, 3.831_971_3e-4]);
        let b2 = self.poly(t, &[-3.883_964_4e-3, 2.425_462_2e-2]);
        let mut r = self.mul_add(b1, s, b2);
        for k in [-0.106_777_88, -0.634_846_7, -0.128_717_51] {
            let k = self.c(x, k);
            r = self.mul_add(r, t, k);
        }
        let minus = self.b.un(UnOp::Neg, t);
        let r = self.mul_add(r, t, minus);
        // At least e^-18.
        let e = self.exp_normal(r);
        let one = self.c(x, 1.0);
        let far = self.b.sub(one, e);
        let edge = self.c(x, 0.921_875);
        let is_far = self.b.cmp(CmpOp::Gt, t, edge);
        let y = self.b.select(is_far, far, near);
        self.copy_sign(y, x)
    }

    /// The size of `y` with the sign of `x`.
    fn copy_sign(&mut self, y: Value, x: Value) -> Value {
        let (ints, floats) = (self.ints(x), self.floats(x));
        let mask = self.i(x, -0x8000_0000);
        let xi = self.b.bitcast(ints, x);
        let sign = self.b.bin(BinOp::And, xi, mask);
        let yi = self.b.bitcast(ints, y);
        let rest = self.i(x, 0x7fff_ffff);
        let size = self.b.bin(BinOp::And, yi, rest);
        let bits = self.b.bin(BinOp::Or, size, sign);
        self.b.bitcast(floats, bits)
    }

    /// Arc tangent of y / x in the right quadrant, within 3 ulp (Cephes atanf with a three-way range reduction).
    fn atan2(&mut self, y: Value, x: Value) -> Value {
        let ay = self.b.un(UnOp::Abs, y);
        let ax = self.b.un(UnOp::Abs, x);
        let small = self.b.min(ay, ax);
        let large = self.b.max(ay, ax);
        let zero = self.c(x, 0.0);
        let ratio = self.b.bin(BinOp::Div, small, large);
        // 0 / 0 counts as 0, infinity / infinity as 1.
        let none = self.b.cmp(CmpOp::Eq, large, zero);
        let ratio = self.b.select(none, zero, ratio);
        let infinity = self.c(x, f32::INFINITY);
        let both = self.b.cmp(CmpOp::Eq, small, infinity);
        let one = self.c(x, 1.0);
        let t = self.b.select(both, one, ratio);
        // Above tan(pi/8): atan(t) = pi/4 + atan((t - 1) / (t + 1)).
        let edge = self.c(x, 0.414_213_57);
        let above = self.b.cmp(CmpOp::Gt, t, edge);
        let num = self.b.sub(t, one);
        let den = self.b.add(t, one);
        let turned = self.b.bin(BinOp::Div, num, den);
        let t = self.b.select(above, turned, t);
        let quarter = self.c(x, std::f32::consts::FRAC_PI_4);
        let base = self.b.select(above, quarter, zero);
        let z = self.b.mul(t, t);
        let p = self.poly(z, &[8.053_744_6e-2, -0.138_776_85, 0.199_777_11, -0.333_329_5]);
        let t3 = self.b.mul(z, t);
        let a = self.mul_add(p, t3, t);
        let a = self.b.add(base, a);
        let half_pi = self.c(x, std::f32::consts::FRAC_PI_2);
        let steep = self.b.cmp(CmpOp::Gt, ay, ax);
        let turned = self.b.sub(half_pi, a);
        let a = self.b.select(steep, turned, a);
        let pi = self.c(x, std::f32::consts::PI);
        let ints = self.ints(x);
        let bits = self.b.bitcast(ints, x);
        let zero_int = self.i(x, 0);
        let left = self.b.cmp(CmpOp::Lt, bits, zero_int);
        let turned = self.b.sub(pi, a);
        let a = self.b.select(left, turned, a);
        let a = self.copy_sign(a, y);
        let ordered = self.b.cmp(CmpOp::Eq, y, y);
        let ordered_x = self.b.cmp(CmpOp::Eq, x, x);
        let both = self.b.bin(BinOp::And, ordered, ordered_x);
        let nan = self.b.add(x, y);
        self.b.select(both, a, nan)
    }

    /// Applies a scalar function lane by lane.
    fn lanewise(&mut self, x: Value, y: Value, f: fn(&mut Builder, Value, Value) -> Value) -> Value {
        let ty = self.b.ty(x);
        if !ty.is_vector() {
            return f(self.b, x, y);
        }
        let mut out = self.c(x, 0.0);
        for lane in 0..ty.lanes {
            let a = self.b.extract_lane(x, lane);
            let c = self.b.extract_lane(y, lane);
            let r = f(self.b, a, c);
            out = self.b.insert_lane(out, lane, r);
        }
        out
    }
}

#[cfg(test)]
mod tests;
