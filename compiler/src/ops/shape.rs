//! SHAPE, RANK: the operand's shape as a value. RANGE: numbers from start to limit by steps.

use crate::ir::DType::{Float32, Int32, Int64};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};

/// SHAPE.
pub const SHAPE: Operator = Operator::new(infer_shape, Eval::Direct(shape));
/// RANK.
pub const RANK: Operator = Operator::new(infer_rank, Eval::Direct(rank));
/// RANGE.
pub const RANGE: Operator = Operator::new(infer_range, Eval::Direct(range));

fn infer_shape(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let dtype = call.output(0)?.dtype;
    if !matches!(dtype, Int32 | Int64) {
        return Err(call.invalid(format!("a shape of {dtype}")));
    }
    Ok(vec![call.result(0, dtype, [call.input(0)?.shape.len()])?])
}

fn shape(args: &Args<'_>) -> Results {
    // Only the type is asked for, so that shapes of unknown values fold.
    let shape = &args.call.input(0)?.shape;
    match args.ty().dtype {
        Int64 => args.result(shape.iter().map(|d| *d as i64).collect()),
        _ => args.result(shape.iter().map(|d| *d as i32).collect()),
    }
}

fn infer_rank(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    Ok(vec![call.result(0, Int32, [])?])
}

fn rank(args: &Args<'_>) -> Results {
    args.result(vec![args.call.input(0)?.shape.len() as i32])
}

fn infer_range(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    let dtype = call.dtype_among(0, &[Float32, Int32, Int64])?;
    call.same_dtype(0, 1)?;
    call.same_dtype(0, 2)?;
    for i in 0..3 {
        if call.input(i)?.elements() != 1 {
            return Err(call.invalid(format!("operand {i} of shape {:?}", call.input(i)?.shape)));
        }
    }
    let size = if dtype == Float32 {
        let number = |i: usize| {
            let data = call.operand(i)?.data.ok_or_else(|| call.unsupported(crate::error::Unsupported::DynamicShape))?;
            data.first_chunk::<4>().map(|b| f32::from_le_bytes(*b)).ok_or_else(|| call.invalid("no value"))
        };
        let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
        let n = ((limit - start) / delta).abs().ceil();
        if delta == 0.0 || !n.is_finite() || (limit > start) != (delta > 0.0) && limit != start {
            return Err(call.invalid(format!("range from {start} to {limit} by {delta}")));
        }
        n as u128
    } else {
        let (start, limit, delta) = (call.int(0)? as i128, call.int(1)? as i128, call.int(2)? as i128);
        if delta == 0 || (limit != start && (limit > start) != (delta > 0)) {
            return Err(call.invalid(format!("range from {start} to {limit} by {delta}")));
        }
        (limit - start).unsigned_abs().div_ceil(delta.unsigned_abs())
    };
    let size = usize::try_from(size).map_err(|_| call.invalid("a range without end"))?;
    Ok(vec![call.result(0, dtype, [size])?])
}

fn range(args: &Args<'_>) -> Results {
    let n = args.ty().elements();
    if args.ty().dtype == Float32 {
        let (start, delta) = (args.floats(0)?[0], args.floats(2)?[0]);
        return args.result((0..n).map(|i| start + i as f32 * delta).collect());
    }
    let (start, delta) = (args.ints(0)?[0], args.ints(2)?[0]);
    let values = (0..n as i64).map(|i| start.wrapping_add(i.wrapping_mul(delta)));
    match args.ty().dtype {
        Int64 => args.result(values.collect()),
        _ => args.result(values.map(|v| v as i32).collect()),
    }
}
