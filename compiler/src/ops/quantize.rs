//! QUANTIZE, DEQUANTIZE, FAKE_QUANT: between real numbers and stored integers.
//!
//! `QUANTIZE` of floats is `clamp(rint(f32(x * f32(1/so))) + zo)`; between integers it is XNNPACK's 8-bit multiplier where the types are
//! equal, TFLite's fixed point otherwise. `DEQUANTIZE` is `f32(f32(q - zi) * si)`.
//! TFLite's vector code rounds halves up in groups of 16 elements of int8 to uint8 conversions and away from zero in the
//! rest; here all round up, so a last few elements may differ by one unit.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{BFloat16, Float16, Float32, Int2, Int4, Int8, Int16, Int32, UInt4, UInt8};
use crate::ir::{DType, Quantization};
use crate::ops::activation::{emit_clamp, integer_range};
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::packed::byte_type;
use crate::ops::shapes::strides;
use crate::ops::storage::{over_operands, storage_of};
use crate::ops::unary::table;
use tflc_templates::expr::{Cast, Compare, Expr, ExprBuilder, Storage, Ty};

/// QUANTIZE.
pub(super) const QUANTIZE: Operator = Operator::new(infer_quantize, Eval::Partly(build_quantize, eval_quantize));
/// DEQUANTIZE.
pub(super) const DEQUANTIZE: Operator = Operator::new(infer_dequantize, Eval::Partly(build_dequantize, eval_dequantize));
/// FAKE_QUANT: a float rounded to a grid of `num_bits` between `min` and `max`.
pub(super) const FAKE_QUANT: Operator = Operator::new(infer_fake_quant, Eval::Pointwise(fake_quant));

fn infer_quantize(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let from = call.dtype_among(0, &[Float32, Int8, UInt8, Int16, Int32])?;
    let (x, out) = (call.input(0)?, call.output(0)?);
    if !matches!(out.dtype, Int8 | UInt8 | Int16 | Int32) {
        return Err(call.unsupported(Unsupported::Types(format!("{from} to {}", out.dtype))));
    }
    match per_axis(&out.quant) {
        None => {
            call.quant(out)?;
        }
        Some(_) if from != Float32 || out.dtype == Int32 => {
            return Err(call.unsupported(Unsupported::Types(format!("{from} to {} with several scales", out.dtype))));
        }
        Some(a) => {
            let fits = |z: &i64| out.dtype.int_range().is_some_and(|(lo, hi)| (lo..=hi).contains(z));
            if x.shape.get(a.axis) != Some(&a.scale.len()) || a.zero_point.len() != a.scale.len() || !a.zero_point.iter().all(fits) {
                return Err(call.bad_quantization(format!("{} scales along axis {} of shape {:?}", a.scale.len(), a.axis, x.shape)));
            }
        }
    }
    if from != Float32 {
        call.operand_quant(x)?;
    }
    Ok(vec![call.result(0, out.dtype, x.shape.clone())?])
}

/// Scales along an axis, where there is more than one.
fn per_axis(q: &Quantization) -> Option<&crate::ir::Affine> {
    q.affine().filter(|a| a.scale.len() > 1)
}

fn build_quantize(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    let out = call.output(0).ok()?;
    if per_axis(&out.quant).is_some() { None } else { Some(quantize(call)) }
}

fn quantize(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (x, out) = (call.input(0)?, call.output(0)?);
    let (so, zo) = call.quant(out)?;
    let (lo, hi) = integer_range(out);
    if x.dtype == Float32 {
        let mut b = over_operands(call)?;
        let v = b.input(0);
        let inverse = b.f32(1.0 / so);
        let v = b.mul(v, inverse);
        // The bounds are within the range of F32 and I32. NaN gives the greatest byte (XNNPACK), and the least of other integers, as does what lies above 32
        // bits (TFLite's kernel).
        let (least, most) =
            (b.f32((lo as i64 - zo as i64).max(i32::MIN as i64) as f32), b.f32((hi as i64 - zo as i64).min(2_147_483_520) as f32));
        let v = if matches!(out.dtype, Int8 | UInt8) {
            v
        } else {
            let end = b.f32(2_147_483_648.0);
            let fits = b.compare(Compare::Lt, v, end);
            b.select(fits, v, least)
        };
        let v = b.min(v, most);
        let v = b.max(v, least);
        let q = b.cast(Cast::RoundEven, Ty::I32, v);
        let zero = b.i32(zo);
        let q = b.add(q, zero);
        return Ok(b.finish(q, storage_of(call, out)?));
    }
    let (si, zi) = call.operand_quant(x)?;
    let ratio = si / so;
    let bytes = matches!(x.dtype, Int8 | UInt8) && matches!(out.dtype, Int8 | UInt8);
    let fixed = Fixed::new(si as f64 / so as f64);
    let xnnpack = x.dtype == out.dtype && (1.0 / 256.0..=128.0).contains(&ratio);
    if bytes {
        let m = (256.0 * ratio).round_ties_even() as i32;
        let f = |q: i32| {
            if xnnpack { ((q - zi) * m + 128 + (zo << 8)) >> 8 } else { fixed.apply(q - zi, Rounding::HalfUp).saturating_add(zo) }
        };
        let entries = (0..=255u8).map(|b| f(if x.dtype == Int8 { b as i8 as i32 } else { b as i32 }).clamp(lo, hi) as u8).collect();
        return table(call, entries);
    }
    let mut b = over_operands(call)?;
    let v = b.input(0);
    let zero = b.i32(zi);
    let v = b.sub(v, zero);
    let v = fixed.emit(&mut b, v, Rounding::HalfAway);
    let v = emit_clamp(&mut b, v, lo.saturating_sub(zo), hi.saturating_sub(zo));
    let zero = b.i32(zo);
    let v = b.add(v, zero);
    Ok(b.finish(v, storage_of(call, out)?))
}

/// QUANTIZE of floats with one scale for each index of an axis: TFLite divides, and rounds half away from zero.
fn eval_quantize(args: &Args<'_>) -> Results {
    let ty = args.ty();
    let Some(q) = per_axis(&ty.quant) else { return Err(args.error("no quantisation")) };
    let x = args.floats(0)?;
    let (lo, hi) = integer_range(ty);
    let channel = channels(&ty.shape, q.axis, q.scale.len()).ok_or_else(|| args.error("scales do not fit the shape"))?;
    let stored = x.iter().enumerate().map(|(i, v)| {
        let c = channel(i);
        ((v / q.scale[c]).round() as i32).saturating_add(q.zero_point[c] as i32).clamp(lo, hi)
    });
    match ty.dtype {
        Int8 | UInt8 => args.result(stored.map(|v| v as u8).collect()),
        Int16 => args.result(stored.map(|v| v as i16).collect()),
        _ => args.result(stored.collect()),
    }
}

/// Channel of each element along `axis`; `None` where there are not as many scales as channels.
fn channels(shape: &[usize], axis: usize, scales: usize) -> Option<impl Fn(usize) -> usize> {
    let stride = *strides(shape).get(axis)?;
    let size = shape[axis];
    (size == scales || scales == 1).then_some(move |i: usize| if scales == 1 { 0 } else { i / stride % size })
}

fn infer_dequantize(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, &[Int8, UInt8, Int16, Int32, Float16, BFloat16, Int4, UInt4, Int2])?;
    let (x, out) = (call.input(0)?, call.output(0)?);
    if !out.dtype.is_float() || out.dtype == DType::Float64 {
        return Err(call.unsupported(Unsupported::Types(format!("{} to {}", x.dtype, out.dtype))));
    }
    if !x.dtype.is_float() {
        match &x.quant {
            Quantization::Affine(a) if a.scale.len() == a.zero_point.len() && !a.scale.is_empty() => {
                if a.scale.len() > 1 && x.shape.get(a.axis) != Some(&a.scale.len()) {
                    return Err(call.invalid(format!("{} scales along axis {} of shape {:?}", a.scale.len(), a.axis, x.shape)));
                }
            }
            q => return Err(call.bad_quantization(format!("{q:?}"))),
        }
    }
    Ok(vec![call.result(0, out.dtype, x.shape.clone())?])
}

fn build_dequantize(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    let x = call.input(0).ok()?;
    if per_axis(&x.quant).is_some() || byte_type(x.dtype).is_some() { None } else { Some(dequantize(call)) }
}

/// `f32(q - zero) * scale` of an element, its scale and its zero point.
pub(crate) fn scaled(from: Storage, to: Storage) -> Expr {
    let mut b = ExprBuilder::new([from, Storage::F32, Storage::I32]);
    let (q, scale, zero) = (b.input(0), b.input(1), b.input(2));
    let v = b.sub(q, zero);
    let v = b.cast(Cast::Value, Ty::F32, v);
    let v = b.mul(v, scale);
    b.finish(v, to)
}

fn dequantize(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (x, out) = (call.input(0)?, call.output(0)?);
    let mut b = over_operands(call)?;
    let v = b.input(0);
    if x.dtype.is_float() {
        return Ok(b.finish(v, storage_of(call, out)?));
    }
    let (si, zi) = call.operand_quant(x)?;
    let zero = b.i32(zi);
    let v = b.sub(v, zero);
    let v = b.cast(Cast::Value, Ty::F32, v);
    let scale = b.f32(si);
    let v = b.mul(v, scale);
    Ok(b.finish(v, storage_of(call, out)?))
}

/// DEQUANTIZE of packed integers, or with one scale for each index of an axis.
fn eval_dequantize(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let Some(q) = x.ty.quant.affine() else { return Err(args.error("no quantisation")) };
    let stored: Vec<i64> = match x.to_i8() {
        Some(v) => v.iter().map(|v| *v as i64).collect(),
        None => args.ints(0)?,
    };
    let channel = channels(&x.ty.shape, q.axis, q.scale.len()).ok_or_else(|| args.error("scales do not fit the shape"))?;
    let real = stored.iter().enumerate().map(|(i, v)| {
        let c = channel(i);
        (v - q.zero_point[c]) as f32 * q.scale[c]
    });
    match args.ty().dtype {
        Float16 => args.result(real.map(half::f16::from_f32).collect()),
        BFloat16 => args.result(real.map(half::bf16::from_f32).collect()),
        _ => args.result(real.collect::<Vec<f32>>()),
    }
}

fn infer_fake_quant(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, &[Float32])?;
    let bits = call.attrs.int("num_bits", 0);
    let (min, max) = (call.attrs.float("min", 0.0), call.attrs.float("max", 0.0));
    if !(2..=16).contains(&bits) || !(min < max) || !min.is_finite() || !max.is_finite() {
        return Err(call.invalid(format!("num_bits {bits}, min {min}, max {max}")));
    }
    Ok(vec![call.result(0, Float32, call.input(0)?.shape.clone())?])
}

/// Source: TFLite, `kernels/fake_quant.cc` and `internal/quantization_util.h` (`NudgeQuantizationRange`, `FakeQuantizeArray`).
fn fake_quant(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (min, max) = (call.attrs.float("min", 0.0), call.attrs.float("max", 0.0));
    let least = if call.attrs.bool("narrow_range", false) { 1.0f32 } else { 0.0 };
    let most = ((1i64 << call.attrs.int("num_bits", 8)) - 1) as f32;
    let scale = (max - min) / (most - least);
    let zero = least - min / scale;
    let nudged = if zero < least {
        least
    } else if zero > most {
        most
    } else {
        zero.round()
    };
    let (low, high) = ((least - nudged) * scale, (most - nudged) * scale);
    let mut b = over_operands(call)?;
    let x = b.input(0);
    let (lo, hi, s, inverse, half) = (b.f32(low), b.f32(high), b.f32(scale), b.f32(1.0 / scale), b.f32(0.5));
    let v = b.max(x, lo);
    let v = b.min(v, hi);
    let v = b.sub(v, lo);
    let v = b.mul(v, inverse);
    // Half away from zero; the value is not negative.
    let v = b.add(v, half);
    let v = b.unary(tflc_templates::expr::Unary::Floor, v);
    let v = b.mul(v, s);
    let v = b.add(v, lo);
    let ordered = b.compare(Compare::Eq, x, x);
    let v = b.select(ordered, v, x);
    Ok(b.finish(v, storage_of(call, call.input(0)?)?))
}
