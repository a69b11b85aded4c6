//! Quantised ADD, SUB, MUL, DIV and SQUARED_DIFFERENCE, with the arithmetic of LiteRT's default path.
//!
//! 8-bit ADD, SUB and MUL are XNNPACK's wherever it takes the scales, otherwise, and in 16 bits, TFLite's own. Quantised DIV is
//! computed in binary32, which differs from TFLite's fixed-point reciprocal by one unit at most. TFLite rounds the last few elements of ADD of int16
//! (what is left of groups of sixteen) in another way; here all are as in the groups, so these may differ by one unit.
//! Sources: XNNPACK `src/microparams-init.c`; TFLite `kernels/{add,sub,mul,squared_difference}.cc`; checked in `docs/numerics.md`.

use crate::error::CompileError;
use crate::ir::{DType, OpKind};
use crate::ops::activation::{Activation, Bounds, emit_clamp};
use crate::ops::call::Call;
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::storage::{over_operands, storage_of};
use tflc_templates::expr::{Binary, Cast, Expr, ExprBuilder, Id, Ty};

/// Quantisation of the operands and the result.
struct Scales {
    a: (f32, i32),
    b: (f32, i32),
    out: (f32, i32),
    wide: bool,
    activation: Activation,
    dtype: DType,
}

impl Scales {
    fn range(&self, bounds: Bounds) -> (i32, i32) {
        self.activation.quantized_range(self.dtype, self.out.0, self.out.1, bounds)
    }
}

/// The expression of a quantised ADD, SUB, MUL or DIV.
pub(super) fn basic(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (x, y, out) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let operand = |ty| if call.op == OpKind::Mul { call.operand_quant(ty) } else { call.quant(ty) };
    let s = Scales {
        a: operand(x)?,
        b: operand(y)?,
        out: call.quant(out)?,
        wide: x.dtype == DType::Int16,
        activation: Activation::parse_clamp(call)?,
        dtype: out.dtype,
    };
    let mut b = over_operands(call)?;
    let (x, y) = (b.input(0), b.input(1));
    let result = match call.op {
        OpKind::Mul => mul(&mut b, &s, x, y),
        OpKind::Div => div(&mut b, &s, x, y),
        op => sum(call, &mut b, &s, x, y, op == OpKind::Sub),
    };
    Ok(b.finish(result, storage_of(call, out)?))
}

/// `x - zero_point`.
fn centred(b: &mut ExprBuilder, x: Id, zero_point: i32) -> Id {
    if zero_point == 0 {
        return x;
    }
    let z = b.i32(zero_point);
    b.sub(x, z)
}

/// Adds the zero point and clamps.
fn offset_clamp(b: &mut ExprBuilder, x: Id, zero_point: i32, (lo, hi): (i32, i32)) -> Id {
    let x = emit_clamp(b, x, lo - zero_point, hi - zero_point);
    if zero_point == 0 {
        return x;
    }
    let z = b.i32(zero_point);
    b.add(x, z)
}

fn sum(call: &Call<'_>, b: &mut ExprBuilder, s: &Scales, x: Id, y: Id, subtract: bool) -> Id {
    let (ra, rb) = (s.a.0 / s.out.0, s.b.0 / s.out.0);
    let taken = |r: f32| (1.0 / 1024.0..256.0).contains(&r);
    if !s.wide && taken(ra) && taken(rb) {
        return sum_xnnpack(b, s, x, y, (ra, rb), subtract);
    }
    if s.wide
        && call.attrs.bool("pot_scale_int16", true)
        && let (Some(ea), Some(eb), Some(eo)) = (power_of_two(s.a), power_of_two(s.b), power_of_two(s.out))
    {
        return sum_powers(b, s, x, y, (ea - eo, eb - eo), subtract);
    }
    let left_shift = if s.wide { 15 } else { 20 };
    let twice = 2.0 * f64::max(s.a.0 as f64, s.b.0 as f64);
    let (ma, mb) = (Fixed::new(s.a.0 as f64 / twice), Fixed::new(s.b.0 as f64 / twice));
    let mo = Fixed::new(twice / ((1u64 << left_shift) as f64 * s.out.0 as f64));
    let shift = b.i32(left_shift);
    // TFLite's vector code of ADD of int16, which takes operands of one shape in groups of sixteen, rounds these products once.
    let rounding = if s.wide && !subtract && same_shape(call) { Rounding::Single } else { Rounding::HalfAway };
    let mut part = |x: Id, zero_point: i32, m: Fixed| {
        let x = centred(b, x, zero_point);
        let x = b.binary(Binary::Shl, x, shift);
        m.emit(b, x, rounding)
    };
    let (p, q) = (part(x, s.a.1, ma), part(y, s.b.1, mb));
    let raw = if subtract { b.sub(p, q) } else { b.add(p, q) };
    let scaled = mo.emit(b, raw, Rounding::HalfAway);
    offset_clamp(b, scaled, s.out.1, s.range(Bounds::Tflite))
}

/// Whether two operands have the same shape, but for leading ones.
fn same_shape(call: &Call<'_>) -> bool {
    let [x, y] = [0, 1].map(|i| call.input(i).map(|t| t.shape.iter().copied().skip_while(|n| *n == 1).collect::<Vec<_>>()).ok());
    x == y
}

/// `((a - za) * ma ± (b - zb) * mb + 2^(shift-1)) >> shift`, multipliers of 21 bits.
fn sum_xnnpack(b: &mut ExprBuilder, s: &Scales, x: Id, y: Id, (ra, rb): (f32, f32), subtract: bool) -> Id {
    let exponent = (f32::max(ra, rb).to_bits() >> 23) as i32 - 127;
    let shift = 20 - exponent;
    let scale = 2f32.powi(shift);
    let (ma, mb) = ((ra * scale).round_ties_even() as i32, (rb * scale).round_ties_even() as i32);
    let mb = if subtract { -mb } else { mb };
    // (a - za) * ma + (b - zb) * mb + half, with the constants gathered.
    let bias = (1i32 << (shift - 1)).wrapping_sub(s.a.1.wrapping_mul(ma)).wrapping_sub(s.b.1.wrapping_mul(mb));
    let (ma, mb, bias, shift) = (b.i32(ma), b.i32(mb), b.i32(bias), b.i32(shift));
    let p = b.mul(x, ma);
    let q = b.mul(y, mb);
    let sum = b.add(p, bias);
    let sum = b.add(sum, q);
    let scaled = b.binary(Binary::Shr, sum, shift);
    offset_clamp(b, scaled, s.out.1, s.range(Bounds::Xnnpack))
}

/// Exponent of a scale that is a power of two with zero point 0.
fn power_of_two((scale, zero_point): (f32, i32)) -> Option<i32> {
    let exponent = scale.log2().round();
    ((scale.log2() - exponent).abs() < 1e-3 && zero_point == 0).then_some(exponent as i32)
}

/// 16-bit sum of scales that are powers of two: the smaller one is shifted right, the sum saturates.
fn sum_powers(b: &mut ExprBuilder, s: &Scales, x: Id, y: Id, (ea, eb): (i32, i32), subtract: bool) -> Id {
    let mut part = |x: Id, e: i32| match e {
        0 => x,
        e if e > 0 => {
            let e = b.i32(e.min(15));
            b.binary(Binary::Shl, x, e)
        }
        // Half away from zero: a half, less one unit where negative, then the floor.
        e => {
            let shift = b.i32((-e).min(30));
            let half = b.i32(1 << ((-e).min(30) - 1));
            let sign = b.i32(31);
            let negative = b.binary(Binary::Shr, x, sign);
            let sum = b.add(x, half);
            let sum = b.add(sum, negative);
            b.binary(Binary::Shr, sum, shift)
        }
    };
    let (p, q) = (part(x, ea), part(y, eb));
    let raw = if subtract { b.sub(p, q) } else { b.add(p, q) };
    offset_clamp(b, raw, s.out.1, s.range(Bounds::Tflite))
}

fn mul(b: &mut ExprBuilder, s: &Scales, x: Id, y: Id) -> Id {
    let (x, y) = (centred(b, x, s.a.1), centred(b, y, s.b.1));
    let product = b.mul(x, y);
    let scale = s.a.0 * s.b.0 / s.out.0;
    if !s.wide && (1.0 / 65536.0..256.0).contains(&scale) {
        return float_tail(b, product, scale, s);
    }
    // TFLite computes the multiplier of 16 bits in binary32.
    let real = if s.wide { scale as f64 } else { s.a.0 as f64 * s.b.0 as f64 / s.out.0 as f64 };
    let scaled = Fixed::new(real).emit(b, product, Rounding::HalfAway);
    offset_clamp(b, scaled, s.out.1, s.range(Bounds::Tflite))
}

/// `clamp(rint(f32(x) * scale) + zo)`.
fn float_tail(b: &mut ExprBuilder, x: Id, scale: f32, s: &Scales) -> Id {
    let (lo, hi) = s.range(Bounds::Xnnpack);
    let x = b.cast(Cast::Value, Ty::F32, x);
    let scale = b.f32(scale);
    let x = b.mul(x, scale);
    let (lo, hi) = (b.f32((lo - s.out.1) as f32), b.f32((hi - s.out.1) as f32));
    let x = b.max(x, lo);
    let x = b.min(x, hi);
    let x = b.cast(Cast::RoundEven, Ty::I32, x);
    let z = b.i32(s.out.1);
    b.add(x, z)
}

fn div(b: &mut ExprBuilder, s: &Scales, x: Id, y: Id) -> Id {
    let (x, y) = (centred(b, x, s.a.1), centred(b, y, s.b.1));
    let (x, y) = (b.cast(Cast::Value, Ty::F32, x), b.cast(Cast::Value, Ty::F32, y));
    let q = b.binary(Binary::Div, x, y);
    let scale = b.f32((s.a.0 as f64 / (s.b.0 as f64 * s.out.0 as f64)) as f32);
    let q = b.mul(q, scale);
    let (lo, hi) = s.range(Bounds::Tflite);
    let (lo, hi) = (b.f32((lo - s.out.1) as f32), b.f32((hi - s.out.1) as f32));
    let q = b.max(q, lo);
    let q = b.min(q, hi);
    let q = b.cast(Cast::RoundEven, Ty::I32, q);
    let z = b.i32(s.out.1);
    b.add(q, z)
}

/// The expression of an int8 SQUARED_DIFFERENCE.
pub(super) fn squared_difference(call: &Call<'_>) -> Result<Expr, CompileError> {
    let out = call.output(0)?;
    let ((sa, za), (sb, zb), (so, zo)) = (call.quant(call.input(0)?)?, call.quant(call.input(1)?)?, call.quant(out)?);
    let twice = 2.0 * f64::max(sa as f64, sb as f64);
    let mut b = over_operands(call)?;
    let (x, y) = (b.input(0), b.input(1));
    let seven = b.i32(7);
    let mut part = |x: Id, zero_point: i32, m: f64| {
        let x = centred(&mut b, x, zero_point);
        let x = b.binary(Binary::Shl, x, seven);
        Fixed::new(m).emit(&mut b, x, Rounding::HalfAway)
    };
    let (p, q) = (part(x, za, sa as f64 / twice), part(y, zb, sb as f64 / twice));
    let d = b.sub(p, q);
    let square = b.mul(d, d);
    let scaled = Fixed::new(twice * twice / ((1 << 14) as f64 * so as f64)).emit(&mut b, square, Rounding::HalfAway);
    let result = offset_clamp(&mut b, scaled, zo, (-128, 127));
    Ok(b.finish(result, storage_of(call, out)?))
}
