//! EQUAL, NOT_EQUAL, LESS, LESS_EQUAL, GREATER, GREATER_EQUAL: comparisons that give truth values, broadcasting.
//!
//! Quantised operands are compared after TFLite's rescaling to steps of 1/256, of which smaller ones become equal; those of 16 bits only by EQUAL and NOT_EQUAL.
//! Source: TFLite `kernels/comparisons.cc`.

use crate::error::CompileError;
use crate::ir::DType::{BFloat16, Bool, Float16, Float32, Int8, Int16, Int32, Int64, String, UInt8, UInt32};
use crate::ir::OpKind;
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::pointwise::infer_predicate;
use crate::ops::shapes::sources;
use crate::ops::storage::over_operands;
use tflc_templates::expr::{Binary, Compare, Expr, Id, Storage};

/// All comparisons.
pub(super) const COMPARE: Operator = Operator::new(infer, Eval::Partly(build, eval_strings));

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let equality = matches!(call.op, OpKind::Equal | OpKind::NotEqual);
    let all = [Float32, Float16, BFloat16, Int8, UInt8, Int16, Int32, Int64, UInt32, Bool, String];
    call.dtype_among(0, if equality { &all } else { &all[..9] })?;
    infer_predicate(call)
}

fn kind(op: OpKind) -> Compare {
    match op {
        OpKind::Equal => Compare::Eq,
        OpKind::NotEqual => Compare::Ne,
        OpKind::Less => Compare::Lt,
        OpKind::LessEqual => Compare::Le,
        OpKind::Greater => Compare::Gt,
        _ => Compare::Ge,
    }
}

fn build(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    if call.input(0).is_ok_and(|t| t.dtype == String) {
        return None;
    }
    Some(expression(call))
}

fn expression(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let (mut x, mut y) = (b.input(0), b.input(1));
    let (tx, ty) = (call.input(0)?, call.input(1)?);
    let rescaled = match tx.dtype {
        Int8 | UInt8 => true,
        Int16 => matches!(call.op, OpKind::Equal | OpKind::NotEqual),
        _ => false,
    };
    if rescaled
        && let (Some(qx), Some(qy)) = (tx.quant.per_tensor(), ty.quant.per_tensor())
        // Steps of one scale that are this large stay apart.
        && (qx != qy || qx.0 < 1.0 / 128.0)
    {
        let shift = b.i32(8);
        let mut rescale = |x: Id, (scale, zero): (f32, i64)| {
            let zero = b.i32(zero as i32);
            let x = b.sub(x, zero);
            let x = b.binary(Binary::Shl, x, shift);
            Fixed::new(scale as f64).emit(&mut b, x, Rounding::HalfAway)
        };
        (x, y) = (rescale(x, qx), rescale(y, qy));
    }
    let r = b.compare(kind(call.op), x, y);
    Ok(b.finish(r, Storage::Bool))
}

fn eval_strings(args: &Args<'_>) -> Results {
    let (a, b) = (args.value(0)?, args.value(1)?);
    let (Some(x), Some(y)) = (a.strings(), b.strings()) else { return Err(args.error("broken strings")) };
    let shape = &args.ty().shape;
    let places = [a, b].map(|v| sources(&v.ty.shape, shape));
    let equal = args.call.op == OpKind::Equal;
    args.result(places[0].iter().zip(&places[1]).map(|(i, j)| ((x[*i] == y[*j]) == equal) as u8).collect())
}
