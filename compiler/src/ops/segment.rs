//! SEGMENT_SUM, UNSORTED_SEGMENT_SUM, PROD, MAX, MIN: rows of the operand combined by segment.

use crate::error::Unsupported;
use crate::ir::DType::{Float32, Int32};
use crate::ir::OpKind;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};

/// SEGMENT_SUM: segments in order.
pub(super) const SEGMENT_SUM: Operator = Operator::new(infer_sum, Eval::Direct(eval));
/// The unsorted ones: negative segments are dropped.
pub(super) const UNSORTED: Operator = Operator::new(infer_unsorted, Eval::Direct(eval));

fn infer_sum(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = call.dtype_among(0, &[Float32, Int32])?;
    call.dtype_among(1, &[Int32])?;
    let (x, [n]) = (call.input(0)?, call.dims::<1>(1)?);
    if x.shape.first() != Some(&n) {
        return Err(call.invalid(format!("{n} segments of {:?}", x.shape)));
    }
    let ids = call.ints(1, usize::MAX)?;
    let in_order = ids.first().is_none_or(|i| *i >= 0) && ids.windows(2).all(|w| w[0] <= w[1] && w[1] - w[0] <= 1);
    if !in_order {
        return Err(call.invalid("segments are not in order"));
    }
    let mut shape = x.shape.clone();
    shape[0] = ids.last().map_or(0, |i| *i as usize + 1);
    Ok(vec![call.result(0, dtype, shape)?])
}

fn infer_unsorted(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    let dtype = call.dtype_among(0, &[Float32, Int32])?;
    call.dtype_among(1, &[Int32])?;
    let (x, ids) = (call.input(0)?, call.input(1)?);
    if !x.shape.starts_with(&ids.shape) {
        return Err(call.invalid(format!("segments {:?} of {:?}", ids.shape, x.shape)));
    }
    let n = call.int(2)?;
    let n = usize::try_from(n).map_err(|_| call.invalid(format!("{n} segments")))?;
    let shape = [&[n], &x.shape[ids.shape.len()..]].concat();
    if dtype.bits() == 0 {
        return Err(call.unsupported(Unsupported::Types(dtype.to_string())));
    }
    Ok(vec![call.result(0, dtype, shape)?])
}

fn eval(args: &Args<'_>) -> Results {
    let ty = args.ty();
    let ids = args.ints(1)?;
    let n = ty.shape[0] as i64;
    if let Some(i) = ids.iter().find(|i| **i >= n) {
        return Err(args.error(format!("segment {i} of {n}")));
    }
    let inner: usize = ty.shape[1..].iter().product();
    macro_rules! combine {
        ($t:ty, $start:expr, $f:expr) => {{
            let x = args.elements::<$t>(0)?;
            let mut out = vec![$start; ty.elements()];
            for (row, id) in x.chunks_exact(inner.max(1)).zip(&ids) {
                if let Ok(id) = usize::try_from(*id) {
                    for (o, v) in out[id * inner..(id + 1) * inner].iter_mut().zip(row) {
                        *o = $f(*o, *v);
                    }
                }
            }
            args.result(out)
        }};
    }
    match (ty.dtype, args.call.op) {
        (Float32, OpKind::UnsortedSegmentProd) => combine!(f32, 1.0, |a: f32, b: f32| a * b),
        (Float32, OpKind::UnsortedSegmentMax) => combine!(f32, f32::MIN, f32::max),
        (Float32, OpKind::UnsortedSegmentMin) => combine!(f32, f32::MAX, f32::min),
        (Float32, _) => combine!(f32, 0.0, |a: f32, b: f32| a + b),
        (_, OpKind::UnsortedSegmentProd) => combine!(i32, 1, i32::wrapping_mul),
        (_, OpKind::UnsortedSegmentMax) => combine!(i32, i32::MIN, i32::max),
        (_, OpKind::UnsortedSegmentMin) => combine!(i32, i32::MAX, i32::min),
        _ => combine!(i32, 0, i32::wrapping_add),
    }
}
