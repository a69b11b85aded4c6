//! TILE, BROADCAST_TO, BROADCAST_ARGS, FILL: repetition.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType;
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::scatter::sizes;
use crate::ops::shapes::{Walk, broadcast, broadcasts_to};
use crate::ops::value::Value;

/// TILE.
pub const TILE: Operator = Operator::new(infer_tile, Eval::Direct(tile));
/// BROADCAST_TO.
pub const BROADCAST_TO: Operator = Operator::new(infer_to, Eval::Direct(to));
/// BROADCAST_ARGS: the shape that two shapes broadcast to.
pub const BROADCAST_ARGS: Operator = Operator::new(infer_args, Eval::Direct(args_shape));
/// FILL.
pub const FILL: Operator = Operator::new(infer_fill, Eval::Direct(fill));

fn movable(call: &Call<'_>, operand: usize) -> Result<DType, CompileError> {
    let dtype = call.input(operand)?.dtype;
    if dtype.bits() < 8 && dtype != DType::String { Err(call.unsupported(Unsupported::Types(dtype.to_string()))) } else { Ok(dtype) }
}

fn infer_tile(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = movable(call, 0)?;
    let x = call.input(0)?;
    let times = sizes(call, 1)?;
    if times.len() != x.shape.len() {
        return Err(call.invalid(format!("{times:?} repetitions of shape {:?}", x.shape)));
    }
    let shape = x
        .shape
        .iter()
        .zip(&times)
        .map(|(n, t)| n.checked_mul(*t).ok_or_else(|| call.invalid("sizes overflow")))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(vec![call.result(0, dtype, shape)?])
}

/// Elements of operand 0 in the order of a walk of `[repetition, size]` pairs.
fn repeated(args: &Args<'_>, walk: &Walk) -> Results {
    let x = args.value(0)?;
    if x.ty.dtype == DType::String {
        let strings = x.strings().ok_or_else(|| args.error("broken strings"))?;
        let mut out = vec![];
        walk.rows(|at, stride, n| out.extend((0..n).map(|i| strings[(at as isize + stride * i as isize) as usize])));
        return Ok(vec![Value::from_strings(args.ty().clone(), &out)]);
    }
    let mut out = vec![0; args.ty().bytes()];
    walk.gather(x.bytes(), &mut out, args.width(0)?);
    args.result(out)
}

fn tile(args: &Args<'_>) -> Results {
    let times = sizes(args.call, 1)?;
    let dense = Walk::dense(&args.value(0)?.ty.shape);
    let dims = dense.dims.iter().zip(times).flat_map(|(d, t)| [(t, 0), *d]).collect();
    repeated(args, &Walk { offset: 0, dims })
}

fn infer_to(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = movable(call, 0)?;
    let shape = sizes(call, 1)?;
    if !broadcasts_to(&call.input(0)?.shape, &shape) {
        return Err(call.invalid(format!("{:?} broadcast to {shape:?}", call.input(0)?.shape)));
    }
    Ok(vec![call.result(0, dtype, shape)?])
}

fn to(args: &Args<'_>) -> Results {
    repeated(args, &Walk::broadcast(&args.value(0)?.ty.shape, &args.ty().shape))
}

fn infer_args(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = call.dtype_among(0, &[DType::Int32, DType::Int64])?;
    call.same_dtype(0, 1)?;
    let ([a], [b]) = (call.dims::<1>(0)?, call.dims::<1>(1)?);
    Ok(vec![call.result(0, dtype, [a.max(b)])?])
}

fn args_shape(args: &Args<'_>) -> Results {
    let size = |v: Vec<i64>| v.into_iter().map(|d| usize::try_from(d).unwrap_or(0)).collect::<Vec<_>>();
    let shape = broadcast(args.call, &size(args.call.ints(0, MAX_RANK)?), &size(args.call.ints(1, MAX_RANK)?))?;
    match args.ty().dtype {
        DType::Int64 => args.result(shape.into_iter().map(|d| d as i64).collect()),
        _ => args.result(shape.into_iter().map(|d| d as i32).collect()),
    }
}

fn infer_fill(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = movable(call, 1)?;
    if call.input(1)?.elements() != 1 {
        return Err(call.invalid(format!("a value of shape {:?}", call.input(1)?.shape)));
    }
    Ok(vec![call.result(0, dtype, sizes(call, 0)?)?])
}

fn fill(args: &Args<'_>) -> Results {
    let value = args.value(1)?;
    if value.ty.dtype == DType::String {
        let one = value.strings().ok_or_else(|| args.error("broken strings"))?[0];
        return Ok(vec![Value::from_strings(args.ty().clone(), &vec![one; args.ty().elements()])]);
    }
    args.result(value.bytes().repeat(args.ty().elements()))
}
