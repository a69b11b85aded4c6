//! GATHER: slices of the operand at indices along an axis, with batch dimensions; GATHER_ND: at rows of indices.
//!
//! An index outside is an error.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Int16, Int32, Int64, String};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::shapes::count;
use crate::ops::value::Value;

/// GATHER.
pub const GATHER: Operator = Operator::new(infer, Eval::Direct(eval));
/// GATHER_ND.
pub const GATHER_ND: Operator = Operator::new(infer_nd, Eval::Direct(eval_nd));

/// The axis and the number of batch dimensions.
pub fn geometry(call: &Call<'_>) -> Result<(usize, usize), CompileError> {
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let axis = call.axis(call.attrs.int("axis", 0), x.shape.len())?;
    let batch = call.attrs.int("batch_dims", 0);
    let rank = indices.shape.len() as i64;
    let batch = if batch < 0 { batch.saturating_add(rank) } else { batch };
    match usize::try_from(batch) {
        Ok(b) if b <= indices.shape.len() && b <= axis && x.shape[..b] == indices.shape[..b] => Ok((axis, b)),
        _ => Err(call.invalid(format!("{batch} batch dimensions of {:?} and {:?}, axis {axis}", x.shape, indices.shape))),
    }
}

fn check_elements(call: &Call<'_>) -> Result<(), CompileError> {
    let dtype = call.input(0)?.dtype;
    if dtype.bits() < 8 && dtype != String {
        return Err(call.unsupported(Unsupported::Types(dtype.to_string())));
    }
    Ok(())
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    check_elements(call)?;
    call.dtype_among(1, &[Int16, Int32, Int64])?;
    let (axis, batch) = geometry(call)?;
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let shape = [&x.shape[..axis], &indices.shape[batch..], &x.shape[axis + 1..]].concat();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn eval(args: &Args<'_>) -> Results {
    let (axis, batch) = geometry(args.call)?;
    let (x, indices) = (args.value(0)?, args.value(1)?);
    let n = x.ty.shape[axis];
    let at = args.ints(1)?;
    check_indices(args, &at, n)?;
    let batches = count(&x.ty.shape[..batch]);
    let outer = count(&x.ty.shape[batch..axis]);
    let inner = count(&x.ty.shape[axis + 1..]);
    let each = count(&indices.ty.shape[batch..]);
    let mut places = Vec::with_capacity(batches * outer * each);
    for b in 0..batches {
        for o in 0..outer {
            places.extend(at[b * each..(b + 1) * each].iter().map(|i| (b * outer + o) * n + *i as usize));
        }
    }
    pick(args, x, &places, inner)
}

/// Checks that all indices are in `[0, n)`.
pub fn check_indices(args: &Args<'_>, indices: &[i64], n: usize) -> Result<(), EvalError> {
    match indices.iter().find(|i| **i < 0 || **i >= n as i64) {
        Some(i) => Err(args.error(format!("index {i} of {n}"))),
        None => Ok(()),
    }
}

/// Slices of `inner` elements at `places`, in units of slices.
fn pick(args: &Args<'_>, x: &Value, places: &[usize], inner: usize) -> Results {
    if x.ty.dtype == String {
        let strings = x.strings().ok_or_else(|| args.error("broken strings"))?;
        let picked: Vec<&[u8]> = places.iter().flat_map(|p| strings[p * inner..(p + 1) * inner].iter().copied()).collect();
        return Ok(vec![Value::from_strings(args.ty().clone(), &picked)]);
    }
    let row = inner * args.width(0)?;
    let mut out = Vec::with_capacity(places.len() * row);
    for p in places {
        out.extend_from_slice(&x.bytes()[p * row..(p + 1) * row]);
    }
    args.result(out)
}

fn infer_nd(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    check_elements(call)?;
    call.dtype_among(1, &[Int16, Int32, Int64])?;
    let (x, indices) = (call.input(0)?, call.input(1)?);
    let depth = match indices.shape.last() {
        Some(d) if *d <= x.shape.len() => *d,
        _ => return Err(call.invalid(format!("indices of shape {:?} into {:?}", indices.shape, x.shape))),
    };
    let shape = [&indices.shape[..indices.shape.len() - 1], &x.shape[depth..]].concat();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn eval_nd(args: &Args<'_>) -> Results {
    let (x, indices) = (args.value(0)?, args.value(1)?);
    let depth = indices.ty.shape.last().copied().unwrap_or(0);
    let rows = count(&indices.ty.shape[..indices.ty.shape.len().saturating_sub(1)]);
    let at = args.ints(1)?;
    let mut places = Vec::with_capacity(rows);
    for r in 0..rows {
        let mut place = 0;
        for (i, n) in at[r * depth..(r + 1) * depth].iter().zip(&x.ty.shape) {
            check_indices(args, &[*i], *n)?;
            place = place * n + *i as usize;
        }
        places.push(place);
    }
    pick(args, x, &places, count(&x.ty.shape[depth..]))
}
