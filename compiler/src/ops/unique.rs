//! UNIQUE: distinct elements in order of appearance, and where each element is among them. WHERE: indices of true elements. BUCKETIZE.

use crate::error::Unsupported;
use crate::ir::DType::{Bool, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt32};
use crate::ir::{AttrValue, TensorType};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::strides;
use crate::ops::value::Value;
use std::collections::HashMap;

/// UNIQUE.
pub(super) const UNIQUE: Operator = Operator::new(infer_unique, Eval::Direct(unique));
/// WHERE.
pub(super) const WHERE: Operator = Operator::new(infer_where, Eval::Direct(places));
/// BUCKETIZE: the number of boundaries that are not greater than each element.
pub(super) const BUCKETIZE: Operator = Operator::new(infer_bucketize, Eval::Direct(bucketize));

fn infer_unique(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 2)?;
    let dtype = call.dtype_among(0, &[Float32, Int8, UInt8, Int16, Int32, Int64])?;
    let [n] = call.dims::<1>(0)?;
    let index = call.output(1)?.dtype;
    if !matches!(index, Int32 | Int64) {
        return Err(call.invalid(format!("indices of {index}")));
    }
    let data = call.operand(0)?.data.ok_or_else(|| call.unsupported(Unsupported::DynamicShape))?;
    let (distinct, _) = distinct(data, dtype.bits() / 8);
    Ok(vec![call.result(0, dtype, [distinct.len()])?, call.result(1, index, [n])?])
}

/// Positions of the first of each distinct element, and the index among them of each element.
fn distinct(data: &[u8], width: usize) -> (Vec<usize>, Vec<usize>) {
    let mut seen: HashMap<&[u8], usize> = HashMap::new();
    let mut first = vec![];
    let indices = data
        .chunks_exact(width)
        .enumerate()
        .map(|(i, e)| {
            *seen.entry(e).or_insert_with(|| {
                first.push(i);
                first.len() - 1
            })
        })
        .collect();
    (first, indices)
}

fn unique(args: &Args<'_>) -> Results {
    let (x, width) = (args.value(0)?, args.width(0)?);
    let (first, indices) = distinct(x.bytes(), width);
    let values: Vec<u8> = first.iter().flat_map(|i| x.bytes()[i * width..(i + 1) * width].iter().copied()).collect();
    let ty = args.types[1].clone();
    let indices = match ty.dtype {
        Int64 => Value::new(ty, indices.into_iter().map(|i| i as i64).collect()),
        _ => Value::new(ty, indices.into_iter().map(|i| i as i32).collect()),
    };
    Ok(vec![Value::new(args.ty().clone(), values), indices])
}

fn infer_where(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, &[Bool, Float32, Int8, UInt8, Int32, Int64, UInt32])?;
    let c = call.operand(0)?;
    let data = c.data.ok_or_else(|| call.unsupported(Unsupported::DynamicShape))?;
    let n = truths(c.ty, data).filter(|t| *t).count();
    Ok(vec![call.result(0, Int64, [n, c.ty.shape.len()])?])
}

/// Whether each element is not zero.
fn truths<'a>(ty: &TensorType, data: &'a [u8]) -> impl Iterator<Item = bool> + 'a {
    let float = ty.dtype == Float32;
    data.chunks_exact((ty.dtype.bits() / 8).max(1)).map(move |e| {
        // Minus zero is zero.
        let e = if float { &[e[0], e[1], e[2], e[3] & 0x7f] } else { e };
        e.iter().any(|b| *b != 0)
    })
}

fn places(args: &Args<'_>) -> Results {
    let c = args.value(0)?;
    let own = strides(&c.ty.shape);
    let mut out: Vec<i64> = vec![];
    for (i, _) in truths(&c.ty, c.bytes()).enumerate().filter(|(_, t)| *t) {
        out.extend(own.iter().zip(&c.ty.shape).map(|(s, n)| (i / s % n) as i64));
    }
    args.result(out)
}

fn boundaries<'a>(call: &Call<'a>) -> &'a [f32] {
    match call.attrs.get("boundaries") {
        Some(AttrValue::Floats(v)) => v,
        _ => &[],
    }
}

fn infer_bucketize(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, &[Float32, Float64, Int32, Int64])?;
    if !boundaries(call).is_sorted() {
        return Err(call.invalid("boundaries are not in order"));
    }
    Ok(vec![call.result(0, Int32, call.input(0)?.shape.clone())?])
}

fn bucketize(args: &Args<'_>) -> Results {
    let bounds = boundaries(args.call);
    let x = args.value(0)?;
    if x.ty.dtype == Float64 {
        return args.result(x.elements::<f64>().iter().map(|v| bounds.partition_point(|b| f64::from(*b) <= *v) as i32).collect());
    }
    let x = x.to_f32().ok_or_else(|| args.error("no numbers"))?;
    args.result(x.iter().map(|v| bounds.partition_point(|b| b <= v) as i32).collect())
}
