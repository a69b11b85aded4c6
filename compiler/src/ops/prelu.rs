//! PRELU: `x >= 0 ? x : x * alpha`, alpha broadcast to the input's shape; alpha is int8 where the input is int16.
//!
//! Source of the quantised forms: TFLite `kernels/internal/reference/prelu.h`.

use crate::error::CompileError;
use crate::ir::DType::{BFloat16, Float16, Float32, Int8, Int16, UInt8};
use crate::ops::activation::{emit_clamp, integer_range};
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::operator::{Eval, Operator};
use crate::ops::shapes::broadcast;
use crate::ops::storage::{over_operands, storage_of};
use tflc_templates::expr::{Compare, Expr};

/// PRELU.
pub(super) const PRELU: Operator = Operator::new(infer, Eval::Pointwise(build));

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = call.dtype_among(0, &[Float32, Float16, BFloat16, Int8, UInt8, Int16])?;
    // LiteRT's slopes of 16-bit activations are bytes.
    let slopes = if dtype == Int16 { Int8 } else { dtype };
    call.dtype_among(1, &[slopes])?;
    let (x, alpha) = (call.input(0)?, call.input(1)?);
    if matches!(dtype, Int8 | UInt8 | Int16) {
        call.quant(x)?;
        call.quant(alpha)?;
        call.quant(call.output(0)?)?;
    }
    Ok(vec![call.result(0, dtype, broadcast(call, &x.shape, &alpha.shape)?)?])
}

fn build(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (tx, ta, out) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let mut b = over_operands(call)?;
    let (x, alpha) = (b.input(0), b.input(1));
    if tx.dtype.is_float() {
        let zero = b.f32(0.0);
        let scaled = b.mul(x, alpha);
        let positive = b.compare(Compare::Ge, x, zero);
        let r = b.select(positive, x, scaled);
        return Ok(b.finish(r, storage_of(call, out)?));
    }
    let ((si, zi), (sa, za), (so, zo)) = (call.quant(tx)?, call.quant(ta)?, call.quant(out)?);
    let (zi, za) = (b.i32(zi), b.i32(za));
    let x = b.sub(x, zi);
    let alpha = b.sub(alpha, za);
    let product = b.mul(x, alpha);
    let up = Fixed::new((si / so) as f64).emit(&mut b, x, Rounding::HalfAway);
    let down = Fixed::new((si * sa / so) as f64).emit(&mut b, product, Rounding::HalfAway);
    let zero = b.i32(0);
    let positive = b.compare(Compare::Ge, x, zero);
    let r = b.select(positive, up, down);
    let (lo, hi) = integer_range(out);
    let r = emit_clamp(&mut b, r, lo - zo, hi - zo);
    let zo = b.i32(zo);
    let r = b.add(r, zo);
    Ok(b.finish(r, storage_of(call, out)?))
}
