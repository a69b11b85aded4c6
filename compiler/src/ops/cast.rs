//! CAST: conversion of numbers; BITCAST: the same bytes as another type.
//!
//! LiteRT has no conversion of 64-bit unsigned integers. Floats become integers by truncation towards zero, saturating, NaN the greatest one; integers narrow by wrapping; anything but zero is true.

use crate::error::CompileError;
use crate::ir::{DType, TensorType};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::pointwise::eval_pointwise;
use crate::ops::storage::storage;
use crate::ops::value::{Value, unpack};
use tflc_templates::expr::{Cast, Compare, Expr, ExprBuilder, Id, Storage, Ty};

/// CAST.
pub(super) const CAST: Operator = Operator::new(infer, Eval::Partly(build, eval));
/// BITCAST.
pub(super) const BITCAST: Operator = Operator::new(infer_bitcast, Eval::Direct(bitcast));

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let (x, out) = (call.input(0)?, call.output(0)?);
    let whole = |d: DType| storage(d).is_some() && d != DType::UInt64 || d == DType::Complex64;
    if !(whole(x.dtype) || x.dtype == DType::Int4) || !whole(out.dtype) {
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

/// A float towards zero, within the range of `to`; NaN is the greatest number, as in LiteRT.
fn saturate(b: &mut ExprBuilder, x: Id, to: Storage) -> Id {
    let r = b.cast(Cast::Value, to.ty(), x);
    let Some((least, most)) = to.integers() else { return r };
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

/// Types that expressions lack: complex numbers, of which only the real part is converted, and 4-bit integers.
fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let real = match x.ty.dtype {
        DType::Complex64 => Value::new(of(&x.ty, DType::Float32), x.elements::<f32>().iter().step_by(2).copied().collect::<Vec<f32>>()),
        DType::Int4 => Value::new(of(&x.ty, DType::Int8), unpack(DType::Int4, x.bytes(), x.ty.elements())),
        _ => x.clone(),
    };
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
