//! Functions that need more than f32 inside: power and remainder, on scalars, in f64.
//!
//! They are exact to about 40 bits before the last rounding, so the f32 results are within 0.51 ulp.

use tflc_kir::{BinOp, Builder, CmpOp, ConvertOp, Type, UnOp, Value};

fn c(b: &mut Builder, v: f64) -> Value {
    b.float(Type::F64, v)
}

fn wide(b: &mut Builder, x: Value) -> Value {
    b.convert(ConvertOp::FloatToFloat, Type::F64, x)
}

fn poly(b: &mut Builder, x: Value, coefficients: &[f64]) -> Value {
    let mut acc = c(b, coefficients[0]);
    for &k in &coefficients[1..] {
        let p = b.mul(acc, x);
        let k = c(b, k);
        acc = b.add(p, k);
    }
    acc
}

/// A positive, normal f64 as exponent e and natural logarithm of m, where x = m 2^e with m in [sqrt(1/2), sqrt(2)): the series of
/// 2 atanh((m-1)/(m+1)).
fn log_parts(b: &mut Builder, x: Value) -> (Value, Value) {
    let bits = b.bitcast(Type::I64, x);
    let offset = b.i64(std::f64::consts::FRAC_1_SQRT_2.to_bits() as i64);
    let t = b.sub(bits, offset);
    let s = b.i64(52);
    let e = b.bin(BinOp::ShrS, t, s);
    let mask = b.i64((1 << 52) - 1);
    let m = b.bin(BinOp::And, t, mask);
    let m = b.add(m, offset);
    let m = b.bitcast(Type::F64, m);
    let one = c(b, 1.0);
    let num = b.sub(m, one);
    let den = b.add(m, one);
    let z = b.bin(BinOp::Div, num, den);
    let z2 = b.mul(z, z);
    // 2 atanh(z) = 2 (z + z^3/3 + z^5/5 + ...), |z| <= 0.172: eleven terms leave less than 2^-60.
    let series: Vec<f64> = (0..11).rev().map(|k| 2.0 / f64::from(2 * k + 1)).collect();
    let p = poly(b, z2, &series);
    let ln = b.mul(p, z);
    (b.convert(ConvertOp::IntToFloat, Type::F64, e), ln)
}

/// Base-2 logarithm of a positive, normal f64.
fn log2(b: &mut Builder, x: Value) -> Value {
    let (e, ln) = log_parts(b, x);
    let log2e = c(b, std::f64::consts::LOG2_E);
    let l = b.mul(ln, log2e);
    b.add(l, e)
}

/// Natural logarithm of a positive, finite f32 scalar.
pub(crate) fn log(b: &mut Builder, x: Value) -> Value {
    let x = wide(b, x);
    let (e, ln) = log_parts(b, x);
    let ln2 = c(b, std::f64::consts::LN_2);
    let l = b.mul(e, ln2);
    let l = b.add(l, ln);
    b.convert(ConvertOp::FloatToFloat, Type::F32, l)
}

/// 2^x for x in [-1000, 1000].
fn exp2(b: &mut Builder, x: Value) -> Value {
    let n = b.un(UnOp::RoundEven, x);
    let r = b.sub(x, n);
    let ln2 = c(b, std::f64::consts::LN_2);
    let r = b.mul(r, ln2);
    let mut factorial = 1.0;
    let mut series = vec![1.0];
    for k in 1..14 {
        factorial *= f64::from(k);
        series.push(1.0 / factorial);
    }
    series.reverse();
    let p = poly(b, r, &series);
    let n = b.convert(ConvertOp::FloatToIntEven, Type::I64, n);
    let bias = b.i64(1023);
    let n = b.add(n, bias);
    let s = b.i64(52);
    let bits = b.bin(BinOp::Shl, n, s);
    let f = b.bitcast(Type::F64, bits);
    b.mul(p, f)
}

/// e^x of an f64, to about 40 bits; beyond 2^±1000 the result stays there.
pub(crate) fn exp(b: &mut Builder, x: Value) -> Value {
    let log2e = c(b, std::f64::consts::LOG2_E);
    let x = b.mul(x, log2e);
    let (lo, hi) = (c(b, -1000.0), c(b, 1000.0));
    let x = b.max(lo, x);
    let x = b.min(hi, x);
    exp2(b, x)
}

/// C's `powf` of f32 scalars.
pub(super) fn pow(b: &mut Builder, x: Value, y: Value) -> Value {
    let (x, y) = (wide(b, x), wide(b, y));
    let zero = c(b, 0.0);
    let one = c(b, 1.0);
    let infinity = c(b, f64::INFINITY);
    let size = b.un(UnOp::Abs, x);
    // |x|^y; zero and infinity are clamped to what overflows or underflows f32 for any |y| of interest, then fixed below.
    let tiny = c(b, f64::MIN_POSITIVE);
    let huge = c(b, f64::MAX);
    let v = b.max(tiny, size);
    let v = b.min(huge, v);
    let l = log2(b, v);
    let e = b.mul(y, l);
    let (lo, hi) = (c(b, -1000.0), c(b, 1000.0));
    let e = b.max(lo, e);
    let e = b.min(hi, e);
    let p = exp2(b, e);
    let size_zero = b.cmp(CmpOp::Eq, size, zero);
    let size_infinite = b.cmp(CmpOp::Eq, size, infinity);
    let positive = b.cmp(CmpOp::Gt, y, zero);
    let at_zero = b.select(positive, zero, infinity);
    let at_infinity = b.select(positive, infinity, zero);
    let p = b.select(size_zero, at_zero, p);
    let p = b.select(size_infinite, at_infinity, p);
    // Negative bases: odd integer exponents give the sign, other integers none, the rest NaN.
    let whole = b.un(UnOp::Trunc, y);
    let is_whole = b.cmp(CmpOp::Eq, whole, y);
    let half = c(b, 0.5);
    let h = b.mul(whole, half);
    let h_whole = b.un(UnOp::Trunc, h);
    let is_odd = b.cmp(CmpOp::Ne, h_whole, h);
    let bits = b.bitcast(Type::I64, x);
    let zero_int = b.i64(0);
    let negative = b.cmp(CmpOp::Lt, bits, zero_int);
    let below = b.cmp(CmpOp::Lt, x, zero);
    let minus = b.un(UnOp::Neg, p);
    let is_odd = b.bin(BinOp::And, is_odd, is_whole);
    let flip = b.bin(BinOp::And, negative, is_odd);
    let p = b.select(flip, minus, p);
    let nan = c(b, f64::NAN);
    let broken = b.un(UnOp::Not, is_whole);
    let broken = b.bin(BinOp::And, broken, below);
    let minus_infinity = c(b, f64::NEG_INFINITY);
    let x_infinite = b.cmp(CmpOp::Eq, x, minus_infinity);
    let keep = b.un(UnOp::Not, x_infinite);
    let broken = b.bin(BinOp::And, broken, keep);
    let p = b.select(broken, nan, p);
    // NaN operands, then the identities x^0 = 1^y = 1 that hold even for NaN; (-1)^(+-inf) = 1.
    let x_nan = b.cmp(CmpOp::Ne, x, x);
    let y_nan = b.cmp(CmpOp::Ne, y, y);
    let any = b.bin(BinOp::Or, x_nan, y_nan);
    let p = b.select(any, nan, p);
    let y_zero = b.cmp(CmpOp::Eq, y, zero);
    let x_one = b.cmp(CmpOp::Eq, x, one);
    let y_size = b.un(UnOp::Abs, y);
    let y_infinite = b.cmp(CmpOp::Eq, y_size, infinity);
    let size_one = b.cmp(CmpOp::Eq, size, one);
    let unit = b.bin(BinOp::And, y_infinite, size_one);
    let identity = b.bin(BinOp::Or, y_zero, x_one);
    let identity = b.bin(BinOp::Or, identity, unit);
    let p = b.select(identity, one, p);
    b.convert(ConvertOp::FloatToFloat, Type::F32, p)
}

/// C's `fmodf` of f32 scalars: exact, by reducing at most 28 bits of the quotient at a time.
pub(super) fn rem(b: &mut Builder, x: Value, y: Value) -> Value {
    let (wx, wy) = (wide(b, x), wide(b, y));
    let size = b.un(UnOp::Abs, wx);
    let divisor = b.un(UnOp::Abs, wy);
    let (zero, infinity) = (c(b, 0.0), c(b, f64::INFINITY));
    let usable = b.cmp(CmpOp::Gt, divisor, zero);
    let finite = b.cmp(CmpOp::Lt, size, infinity);
    let usable = b.bin(BinOp::And, usable, finite);
    let reduced = b.while_loop(
        &[size],
        |b, a| {
            let more = b.cmp(CmpOp::Ge, a[0], divisor);
            (b.bin(BinOp::And, more, usable), a.to_vec())
        },
        |b, a| {
            // A multiple of the divisor, a power of two times it, that leaves a quotient below 2^28.
            let step = b.while_loop(
                &[divisor],
                |b, d| {
                    let k = c(b, 268_435_456.0);
                    let far = b.mul(d[0], k);
                    (b.cmp(CmpOp::Ge, a[0], far), d.to_vec())
                },
                |b, d| {
                    let k = c(b, 268_435_456.0);
                    vec![b.mul(d[0], k)]
                },
            );
            let q = b.bin(BinOp::Div, a[0], step[0]);
            let q = b.un(UnOp::Trunc, q);
            let m = b.mul(q, step[0]);
            // The quotient may have been rounded up to the next integer.
            let over = b.cmp(CmpOp::Gt, m, a[0]);
            let less = b.sub(m, step[0]);
            let m = b.select(over, less, m);
            vec![b.sub(a[0], m)]
        },
    )[0];
    let nan = c(b, f64::NAN);
    let r = b.select(usable, reduced, nan);
    // An infinite divisor leaves the dividend.
    let bits = b.bitcast(Type::I64, wx);
    let sign = b.i64(i64::MIN);
    let sign = b.bin(BinOp::And, bits, sign);
    let rb = b.bitcast(Type::I64, r);
    let signed = b.bin(BinOp::Or, rb, sign);
    let r = b.bitcast(Type::F64, signed);
    let ordered = b.cmp(CmpOp::Eq, wy, wy);
    let r = b.select(ordered, r, nan);
    b.convert(ConvertOp::FloatToFloat, Type::F32, r)
}
