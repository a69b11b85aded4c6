//! L2_NORMALIZATION: rows divided by their length. LOCAL_RESPONSE_NORMALIZATION: channels divided by their neighbourhood.
//!
//! Source of the 8-bit form: TFLite `reference/integer_ops/l2normalization.h` (a fixed-point inverse root).

use crate::error::CompileError;
use crate::ir::DType::{Float32, Int8, UInt8};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::unary_quant::inverse_sqrt_multiplier;

/// L2_NORMALIZATION.
pub const L2_NORMALIZATION: Operator = Operator::new(infer_l2, Eval::Direct(l2));
/// LOCAL_RESPONSE_NORMALIZATION.
pub const LOCAL_RESPONSE_NORMALIZATION: Operator = Operator::new(infer_lrn, Eval::Direct(lrn));

fn infer_l2(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let dtype = call.dtype_among(0, &[Float32, Int8, UInt8])?;
    let x = call.input(0)?;
    if dtype != Float32 {
        call.quant(x)?;
    }
    if Activation::parse(call)? != Activation::None || x.shape.is_empty() {
        return Err(call.invalid("an activation, or a scalar"));
    }
    Ok(vec![call.result(0, dtype, x.shape.clone())?])
}

fn l2(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let n = x.ty.shape.last().copied().unwrap_or(1).max(1);
    if x.ty.dtype == Float32 {
        let x = args.floats(0)?;
        let mut out = Vec::with_capacity(x.len());
        for row in x.chunks_exact(n) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt().max(1e-6);
            out.extend(row.iter().map(|v| v / norm));
        }
        return args.result(out);
    }
    let (_, zi) = args.call.quant(&x.ty)?;
    let unsigned = x.ty.dtype == UInt8;
    let mut out = vec![];
    for row in args.ints(0)?.chunks_exact(n) {
        let sum = row.iter().fold(0i32, |s, q| s.wrapping_add(((*q as i32) - zi).wrapping_mul(*q as i32 - zi)));
        let (m, e) = inverse_sqrt_multiplier(sum);
        // The result has scale 1/128 and zero point 128 (uint8) or 0.
        out.extend(row.iter().map(|q| {
            let x = *q as i32 - zi;
            if unsigned {
                (Fixed { m, e }.apply(128 * x, Rounding::HalfAway) + 128).clamp(0, 255) as u8
            } else {
                Fixed { m, e: e + 7 }.apply(x, Rounding::HalfAway).clamp(-128, 127) as u8
            }
        }));
    }
    args.result(out)
}

/// Radius, bias, alpha and beta.
pub fn lrn_attrs(call: &Call<'_>) -> Result<(usize, f32, f32, f32), CompileError> {
    let radius = call.attrs.int("radius", 0);
    let radius = usize::try_from(radius).map_err(|_| call.invalid(format!("radius {radius}")))?;
    Ok((radius, call.attrs.float("bias", 0.0), call.attrs.float("alpha", 0.0), call.attrs.float("beta", 0.0)))
}

fn infer_lrn(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, &[Float32])?;
    call.dims::<4>(0)?;
    lrn_attrs(call)?;
    Ok(vec![call.result(0, Float32, call.input(0)?.shape.clone())?])
}

fn lrn(args: &Args<'_>) -> Results {
    let (radius, bias, alpha, beta) = lrn_attrs(args.call)?;
    let [.., c] = args.call.dims::<4>(0)?;
    let x = args.floats(0)?;
    let mut out = Vec::with_capacity(x.len());
    for row in x.chunks_exact(c.max(1)) {
        for (i, v) in row.iter().enumerate() {
            let around = &row[i.saturating_sub(radius)..(i.saturating_add(radius).saturating_add(1)).min(c)];
            let sum: f32 = around.iter().map(|v| v * v).sum();
            out.push(v * (bias + alpha * sum).powf(-beta));
        }
    }
    args.result(out)
}
