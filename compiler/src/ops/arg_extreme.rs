//! ARG_MAX, ARG_MIN: index of the first greatest or least element along an axis. TOPK_V2: the greatest elements and their indices.

use crate::error::CompileError;
use crate::ir::DType::{Bool, Float32, Int8, Int16, Int32, Int64, UInt8};
use crate::ir::{DType, OpKind};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::count;
use crate::ops::value::Value;

/// ARG_MAX and ARG_MIN.
pub const ARG_EXTREME: Operator = Operator::new(infer, Eval::Direct(eval));
/// TOPK_V2.
pub const TOPK_V2: Operator = Operator::new(infer_topk, Eval::Direct(topk));

/// The axis that is searched.
pub fn axis(call: &Call<'_>) -> Result<usize, CompileError> {
    call.axis(call.int(1)?, call.input(0)?.shape.len())
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32, Int8, UInt8, Int16, Int32, Int64, Bool])?;
    let axis = axis(call)?;
    let mut shape = call.input(0)?.shape.clone();
    if shape.remove(axis) == 0 {
        return Err(call.invalid("an empty axis"));
    }
    let dtype = call.output(0)?.dtype;
    if !matches!(dtype, Int32 | Int64) {
        return Err(call.invalid(format!("indices of {dtype}")));
    }
    Ok(vec![call.result(0, dtype, shape)?])
}

fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let axis = axis(args.call)?;
    let (n, inner) = (x.ty.shape[axis], count(&x.ty.shape[axis + 1..]));
    let max = args.call.op == OpKind::ArgMax;
    let indices = match x.ty.dtype {
        Float32 => search(&x.elements::<f32>(), n, inner, |a, b| if max { a > b } else { a < b }),
        _ => search(&args.ints(0)?, n, inner, |a, b| if max { a > b } else { a < b }),
    };
    match args.ty().dtype {
        Int64 => args.result(indices.into_iter().map(|i| i as i64).collect()),
        _ => args.result(indices.into_iter().map(|i| i as i32).collect()),
    }
}

fn search<T: Copy>(x: &[T], n: usize, inner: usize, better: impl Fn(T, T) -> bool) -> Vec<usize> {
    let mut out = vec![];
    for block in x.chunks_exact((n * inner).max(1)) {
        for i in 0..inner {
            let mut best = 0;
            for k in 1..n {
                if better(block[k * inner + i], block[best * inner + i]) {
                    best = k;
                }
            }
            out.push(best);
        }
    }
    out
}

fn infer_topk(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 2)?;
    let dtype = call.dtype_among(0, &[Float32, Int8, UInt8, Int16, Int32, Int64])?;
    call.dtype_among(1, &[Int16, Int32])?;
    let mut shape = call.input(0)?.shape.clone();
    let k = call.int(1)?;
    match shape.last_mut() {
        Some(n) if k >= 0 && k as usize <= *n => *n = k as usize,
        _ => return Err(call.invalid(format!("the first {k} of shape {shape:?}"))),
    }
    let indices = call.output(1)?.dtype;
    if !matches!(indices, Int16 | Int32) {
        return Err(call.invalid(format!("indices of {indices}")));
    }
    Ok(vec![call.result(0, dtype, shape.clone())?, call.result(1, indices, shape)?])
}

fn topk(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let (n, k) = (*x.ty.shape.last().unwrap_or(&1), *args.ty().shape.last().unwrap_or(&1));
    let width = args.width(0)?;
    let rows = x.ty.elements() / n.max(1);
    let mut order: Vec<usize> = vec![];
    let floats = (x.ty.dtype == DType::Float32).then(|| x.elements::<f32>());
    let ints = if floats.is_none() { args.ints(0)? } else { vec![] };
    for r in 0..rows {
        let mut row: Vec<usize> = (r * n..(r + 1) * n).collect();
        // Equal elements keep their order, as in TFLite's container.
        match &floats {
            Some(f) => row.sort_by(|a, b| f[*b].partial_cmp(&f[*a]).unwrap_or(std::cmp::Ordering::Equal)),
            None => row.sort_by(|a, b| ints[*b].cmp(&ints[*a])),
        }
        order.extend(&row[..k]);
    }
    let values: Vec<u8> = order.iter().flat_map(|i| x.bytes()[i * width..(i + 1) * width].iter().copied()).collect();
    let at = order.iter().map(|i| i % n.max(1));
    let indices = match args.types[1].dtype {
        Int16 => Value::new(args.types[1].clone(), at.map(|i| i as i16).collect()),
        _ => Value::new(args.types[1].clone(), at.map(|i| i as i32).collect()),
    };
    Ok(vec![Value::new(args.ty().clone(), values), indices])
}
