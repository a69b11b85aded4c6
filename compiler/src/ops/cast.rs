//! CAST: conversion of numbers; BITCAST: the same bytes as another type.
//!
//! Floats become integers by truncation towards zero, saturating, NaN the greatest one; integers narrow by wrapping; anything but zero is true.

use crate::error::CompileError;
use crate::ir::DType;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::storage::{over_operands, storage, storage_of};
use crate::ops::value::{Value, unpack};
use tflc_templates::expr::{Cast, Compare, Expr, ExprBuilder, Id, Storage, Ty};

/// CAST.
pub(super) const CAST: Operator = Operator::new(infer, Eval::Partly(build, eval));
/// BITCAST.
pub(super) const BITCAST: Operator = Operator::new(infer_bitcast, Eval::Direct(bitcast));

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let (x, out) = (call.input(0)?, call.output(0)?);
    let known = |d: DType| storage(d).is_some() || matches!(d, DType::Float64 | DType::Complex64 | DType::Int4);
    if !known(x.dtype) || !known(out.dtype) {
        return Err(call.unsupported(crate::error::Unsupported::Types(format!("{} to {}", x.dtype, out.dtype))));
    }
    Ok(vec![call.result(0, out.dtype, x.shape.clone())?])
}

fn build(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    let (x, out) = (call.input(0).ok()?, call.output(0).ok()?);
    storage(x.dtype)?;
    storage(out.dtype)?;
    Some(expression(call))
}

fn expression(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let x = b.input(0);
    let to = storage_of(call, call.output(0)?)?;
    let r = match (b.ty(x), to) {
        (Ty::F32, Storage::I8 | Storage::U8 | Storage::I16 | Storage::U16 | Storage::I32 | Storage::I64) => saturate(&mut b, x, to),
        (_, to) => b.cast(Cast::Value, to.ty(), x),
    };
    Ok(b.finish(r, to))
}

/// A float towards zero, within the range of `to`; NaN is the greatest number, as in LiteRT.
fn saturate(b: &mut ExprBuilder, x: Id, to: Storage) -> Id {
    let bounds = match to {
        Storage::I8 => Some((-128, 127)),
        Storage::U8 => Some((0, 255)),
        Storage::I16 => Some((-32768, 32767)),
        Storage::U16 => Some((0, 65535)),
        _ => None,
    };
    let r = b.cast(Cast::Value, to.ty(), x);
    let (r, most) = match bounds {
        Some((lo, hi)) => {
            let (lo, hi) = (b.i32(lo), b.i32(hi));
            let r = b.max(r, lo);
            (b.min(r, hi), hi)
        }
        None if to == Storage::I64 => (r, b.i64(i64::MAX)),
        None => (r, b.i32(i32::MAX)),
    };
    let number = b.compare(Compare::Eq, x, x);
    b.select(number, r, most)
}

/// Types that expressions lack: binary64, complex numbers, 4-bit integers.
fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let n = x.ty.elements();
    let parts: Vec<f64> = match x.ty.dtype {
        DType::Float64 => x.elements::<f64>().into_owned(),
        DType::Complex64 => x.elements::<f32>().iter().step_by(2).map(|v| *v as f64).collect(),
        DType::Int4 => unpack(DType::Int4, x.bytes(), n).into_iter().map(f64::from).collect(),
        _ => match x.to_i64() {
            Some(v) => v.into_iter().map(|v| v as f64).collect(),
            None => args.floats(0)?.iter().map(|v| *v as f64).collect(),
        },
    };
    let ty = args.ty().clone();
    let integers = |f: fn(f64) -> i64| parts.iter().map(|v| f(*v)).collect::<Vec<i64>>();
    let value = match ty.dtype {
        DType::Float64 => Value::new(ty, parts),
        DType::Float32 => Value::new(ty, parts.iter().map(|v| *v as f32).collect()),
        DType::Float16 => Value::new(ty, parts.iter().map(|v| half::f16::from_f64(*v)).collect()),
        DType::BFloat16 => Value::new(ty, parts.iter().map(|v| half::bf16::from_f64(*v)).collect()),
        DType::Complex64 => {
            let imaginary: Vec<f32> = match x.ty.dtype {
                DType::Complex64 => x.elements::<f32>().iter().skip(1).step_by(2).copied().collect(),
                _ => vec![0.0; n],
            };
            Value::new(ty, parts.iter().zip(imaginary).flat_map(|(re, im)| [*re as f32, im]).collect())
        }
        DType::Bool => Value::new(ty, parts.iter().map(|v| (*v != 0.0) as u8).collect()),
        DType::Int64 | DType::UInt64 => Value::new(ty, integers(|v| v as i64)),
        DType::Int32 | DType::UInt32 | DType::Resource => Value::new(ty, integers(|v| v as i64).iter().map(|v| *v as i32).collect()),
        DType::Int16 | DType::UInt16 => Value::new(ty, integers(|v| v as i32 as i64).iter().map(|v| *v as i16).collect()),
        DType::Int8 | DType::UInt8 => Value::new(ty, integers(|v| v as i32 as i64).iter().map(|v| *v as i8).collect()),
        other => return Err(args.error(format!("CAST to {other}"))),
    };
    Ok(vec![value])
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
