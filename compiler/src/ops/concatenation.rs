//! CONCATENATION: operands side by side along an axis.
//!
//! Stored values are copied; uint8 operands whose quantisation differs from the result's are rescaled, as TFLite does
//! (`kernels/internal/reference/concatenation.h`, `ConcatenationWithScaling`).

use crate::error::CompileError;
use crate::ir::{DType, TensorType};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::round_away;
use crate::ops::operator::{Args, Eval, Operator, Results};
use std::borrow::Cow;

/// CONCATENATION.
pub const CONCATENATION: Operator = Operator::new(infer, Eval::Direct(eval));

/// The axis, and the shape of the result.
pub fn geometry(call: &Call<'_>) -> Result<(usize, Vec<usize>), CompileError> {
    let first = call.input(0)?;
    let mut shape = first.shape.clone();
    let axis = call.axis(call.attrs.int("axis", 0), shape.len())?;
    for i in 1..call.inputs.len() {
        let ty = call.input(i)?;
        call.same_dtype(0, i)?;
        let fits = ty.shape.len() == shape.len() && ty.shape.iter().zip(&shape).enumerate().all(|(d, (a, b))| d == axis || a == b);
        if !fits {
            return Err(call.invalid(format!("operand {i} of shape {:?} beside {:?} along axis {axis}", ty.shape, first.shape)));
        }
        shape[axis] = shape[axis].checked_add(ty.shape[axis]).ok_or_else(|| call.invalid("sizes overflow"))?;
    }
    Ok((axis, shape))
}

/// Whether operand `i` is rescaled, not copied.
pub fn rescaled(call: &Call<'_>, ty: &TensorType) -> bool {
    ty.dtype == DType::UInt8
        && call.output(0).is_ok_and(|out| out.quant.per_tensor().is_some() && ty.quant.per_tensor().is_some() && !call.same_quant(ty, out))
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1 << 16, 1)?;
    let first = call.input(0)?;
    if first.dtype.bits() < 8 {
        return Err(call.unsupported(crate::error::Unsupported::Types(first.dtype.to_string())));
    }
    if Activation::parse(call)? != Activation::None {
        return Err(call.unsupported(crate::error::Unsupported::Option("fused_activation_function".into(), "not NONE".into())));
    }
    let (_, shape) = geometry(call)?;
    Ok(vec![call.result(0, first.dtype, shape)?])
}

fn eval(args: &Args<'_>) -> Results {
    let (axis, shape) = geometry(args.call)?;
    let width = args.width(0)?;
    let outer: usize = shape[..axis].iter().product();
    let inner: usize = shape[axis + 1..].iter().product::<usize>() * width;
    let mut parts: Vec<(Cow<'_, [u8]>, usize)> = vec![];
    for i in 0..args.call.inputs.len() {
        let v = args.value(i)?;
        let bytes = if rescaled(args.call, &v.ty) {
            let ((si, zi), (so, zo)) = (args.call.operand_quant(&v.ty)?, args.call.quant(args.ty())?);
            let scale = si * (1.0 / so);
            let bias = -zi as f32 * scale;
            let rescale = |q: &u8| round_away(*q as f32 * scale + bias).saturating_add(zo).clamp(0, 255) as u8;
            Cow::Owned(v.bytes().iter().map(rescale).collect())
        } else {
            Cow::Borrowed(v.bytes())
        };
        parts.push((bytes, v.ty.shape[axis] * inner));
    }
    let mut out = Vec::with_capacity(args.ty().bytes());
    for o in 0..outer {
        for (bytes, row) in &parts {
            out.extend_from_slice(&bytes[o * row..(o + 1) * row]);
        }
    }
    args.result(out)
}
