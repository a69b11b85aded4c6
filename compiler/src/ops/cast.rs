//! CAST: conversion of numbers; BITCAST: the same bytes as another type.
//!
//! LiteRT has no conversion of 64-bit unsigned integers. Floats become integers by truncation towards zero, saturating, NaN the greatest one; integers narrow by wrapping; anything but zero is true.

use crate::error::CompileError;
use crate::ir::{DType, TensorType};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::packed::{byte_type, narrowed, widened};
use crate::ops::pointwise::eval_pointwise;
use crate::ops::storage::storage;
use crate::ops::value::Value;
use tflc_templates::expr::{Cast, Compare, Expr, ExprBuilder, Id, Storage, Ty};

/// CAST.
pub(super) const CAST: Operator = Operator::new(infer, Eval::Partly(build, eval));
/// BITCAST.
pub(super) const BITCAST: Operator = Operator::new(infer_bitcast, Eval::Direct(bitcast));

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let (x, out) = (call.input(0)?, call.output(0)?);
    let whole = |d: DType| storage(d).is_some() && d != DType::UInt64 || d == DType::Complex64;
    // Packed integers and complex numbers do not meet.
    let packed = [x.dtype, out.dtype].map(|d| byte_type(d).is_some());
    let complex = [x.dtype, out.dtype].contains(&DType::Complex64);
    if !(whole(x.dtype) || packed[0]) || !(whole(out.dtype) || packed[1]) || packed == [true, true] || (complex && packed != [false, false])
    {
        return Err(call.unsupported(crate::error::Unsupported::Types(format!("{} to {}", x.dtype, out.dtype))));
    }
    Ok(vec![call.result(0, out.dtype, x.shape.clone())?])
}

fn build(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    let (x, out) = (call.input(0).ok()?, call.output(0).ok()?);
    let (from, to) = (storage(x.dtype)?, storage(out.dtype)?);
    Some(Ok(conversion(from, to)))
}

/// The conversion of one number.
pub(crate) fn conversion(from: Storage, to: Storage) -> Expr {
    let mut b = ExprBuilder::new([from]);
    let x = b.input(0);
    let integer = !matches!(to.ty(), Ty::F32 | Ty::F64 | Ty::Bool);
    let r = if matches!(b.ty(x), Ty::F32 | Ty::F64) && integer { saturate(&mut b, x, to) } else { b.cast(Cast::Value, to.ty(), x) };
    b.finish(r, to)
}

/// The conversion of one number to an element of a packed type, whose low bits count; `None` for other types.
pub(crate) fn conversion_to(from: Storage, packed: DType) -> Option<Expr> {
    let (to, (least, most)) = (storage(byte_type(packed)?)?, packed.int_range()?);
    let mut b = ExprBuilder::new([from]);
    let x = b.input(0);
    let r = if matches!(b.ty(x), Ty::F32 | Ty::F64) { limit(&mut b, x, to, least, most) } else { b.cast(Cast::Value, to.ty(), x) };
    Some(b.finish(r, to))
}

/// A float towards zero, within the range of `to`; NaN is the greatest number, as in LiteRT.
fn saturate(b: &mut ExprBuilder, x: Id, to: Storage) -> Id {
    match to.integers() {
        Some((least, most)) => limit(b, x, to, least, most),
        None => b.cast(Cast::Value, to.ty(), x),
    }
}

/// The same within a range of `to`.
fn limit(b: &mut ExprBuilder, x: Id, to: Storage, least: i64, most: i64) -> Id {
    let r = b.cast(Cast::Value, to.ty(), x);
    let (lo, hi) = match to.ty() {
        Ty::I64 => (b.i64(least), b.i64(most)),
        _ => (b.i32(least as i32), b.i32(most as i32)),
    };
    // The conversion itself stays within the compute type.
    let r = if matches!(to, Storage::I32 | Storage::I64) {
        r
    } else {
        let r = b.max(r, lo);
        b.min(r, hi)
    };
    let number = b.compare(Compare::Eq, x, x);
    b.select(number, r, hi)
}

/// Types that expressions lack: complex numbers, of which only the real part is converted, and packed integers.
fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let real = match x.ty.dtype {
        DType::Complex64 => Value::new(of(&x.ty, DType::Float32), x.elements::<f32>().iter().step_by(2).copied().collect::<Vec<f32>>()),
        _ => widened(x).unwrap_or_else(|| x.clone()),
    };
    if let Some(bytes) = byte_type(args.ty().dtype) {
        let expr = storage(real.ty.dtype).and_then(|from| conversion_to(from, args.ty().dtype));
        let expr = expr.ok_or_else(|| args.error(format!("{} to {}", x.ty.dtype, args.ty().dtype)))?;
        return Ok(vec![narrowed(&eval_pointwise(&expr, &[&real], &of(args.ty(), bytes)), args.ty().clone())]);
    }
    let to = |dtype: DType| -> Result<Value, EvalError> {
        let storages = storage(real.ty.dtype).zip(storage(dtype));
        let (from, to) = storages.ok_or_else(|| args.error(format!("{} to {dtype}", x.ty.dtype)))?;
        Ok(eval_pointwise(&conversion(from, to), &[&real], &of(args.ty(), dtype)))
    };
    if args.ty().dtype != DType::Complex64 {
        return Ok(vec![to(args.ty().dtype)?]);
    }
    if x.ty.dtype == DType::Complex64 {
        return Ok(vec![x.clone()]);
    }
    let real = to(DType::Float32)?;
    args.result(real.elements::<f32>().iter().flat_map(|re| [*re, 0.0]).collect::<Vec<f32>>())
}

/// A type with other elements.
fn of(ty: &TensorType, dtype: DType) -> TensorType {
    TensorType { dtype, ..ty.clone() }
}

fn infer_bitcast(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let (x, out) = (call.input(0)?, call.output(0)?);
    let (from, to) = (x.dtype.bits(), out.dtype.bits());
    if from == 0 || to == 0 || from % 8 != 0 || to % 8 != 0 {
        return Err(call.unsupported(crate::error::Unsupported::Types(format!("{} to {}", x.dtype, out.dtype))));
    }
    let mut shape = x.shape.clone();
    if from > to {
        shape.push(from / to);
    } else if to > from {
        match shape.pop() {
            Some(last) if last * from == to => {}
            _ => return Err(call.invalid(format!("shape {:?} of {} as {}", x.shape, x.dtype, out.dtype))),
        }
    }
    Ok(vec![call.result(0, out.dtype, shape)?])
}

fn bitcast(args: &Args<'_>) -> Results {
    Ok(vec![args.value(0)?.with_type(args.ty().clone())])
}
