//! RESHAPE, SQUEEZE, EXPAND_DIMS, DENSIFY: the same elements under another shape.

use crate::error::CompileError;
use crate::ir::{AttrValue, DType};
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};

/// RESHAPE.
pub const RESHAPE: Operator = Operator::new(infer_reshape, Eval::Direct(eval));
/// SQUEEZE.
pub const SQUEEZE: Operator = Operator::new(infer_squeeze, Eval::Direct(eval));
/// EXPAND_DIMS.
pub const EXPAND_DIMS: Operator = Operator::new(infer_expand_dims, Eval::Direct(eval));
/// DENSIFY: constants are dense here, so it is a copy.
pub const DENSIFY: Operator = Operator::new(infer_densify, Eval::Direct(eval));

fn infer_reshape(call: &Call<'_>) -> Inferred {
    call.arity(1, 2, 1)?;
    let x = call.input(0)?;
    let attr = || match call.attrs.get("new_shape") {
        Some(AttrValue::Ints(v)) => v.clone(),
        _ => vec![],
    };
    let target = match call.optional(1) {
        // A shape operand that is no vector is ignored, as in LiteRT.
        Some(o) if o.ty.shape.len() == 1 && o.ty.dtype == DType::Int32 => call.ints(1, MAX_RANK)?,
        Some(o) if o.ty.shape.len() == 1 => call.ints(1, MAX_RANK)?,
        _ => attr(),
    };
    // Old converters write a shape of one zero for a scalar.
    let target = if target == [0] && call.optional(1).is_none() { vec![] } else { target };
    Ok(vec![call.result(0, x.dtype, resolve(call, &x.shape, &target)?)?])
}

/// The shape `target` with its one -1 computed.
fn resolve(call: &Call<'_>, from: &[usize], target: &[i64]) -> Result<Vec<usize>, CompileError> {
    let elements: usize = from.iter().product();
    let mismatch = || call.invalid(format!("{from:?} reshaped to {target:?}"));
    let mut open = None;
    let mut known = 1usize;
    let mut shape = vec![];
    for (i, d) in target.iter().enumerate() {
        if *d == -1 && open.is_none() {
            open = Some(i);
            shape.push(1);
            continue;
        }
        let size = usize::try_from(*d).map_err(|_| mismatch())?;
        known = known.checked_mul(size).ok_or_else(mismatch)?;
        shape.push(size);
    }
    match open {
        Some(i) if known == 0 => {
            shape[i] = 0;
            if elements != 0 {
                return Err(mismatch());
            }
        }
        Some(i) if elements.is_multiple_of(known) => shape[i] = elements / known,
        None if elements == known => {}
        _ => return Err(mismatch()),
    }
    Ok(shape)
}

fn infer_squeeze(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let x = call.input(0)?;
    let dims = match call.attrs.get("squeeze_dims") {
        Some(AttrValue::Ints(v)) => v.as_slice(),
        _ => &[],
    };
    let mut drop = vec![dims.is_empty(); x.shape.len()];
    for d in dims {
        let axis = call.axis(*d, x.shape.len())?;
        if x.shape[axis] != 1 {
            return Err(call.invalid(format!("axis {axis} of {:?} is squeezed", x.shape)));
        }
        drop[axis] = true;
    }
    let shape: Vec<usize> = x.shape.iter().zip(drop).filter(|(n, drop)| **n != 1 || !drop).map(|(n, _)| *n).collect();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn infer_expand_dims(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let x = call.input(0)?;
    let mut shape = x.shape.clone();
    let axis = call.axis(call.int(1)?, shape.len() + 1)?;
    shape.insert(axis, 1);
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn infer_densify(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let x = call.input(0)?;
    Ok(vec![call.result(0, x.dtype, x.shape.clone())?])
}

fn eval(args: &Args<'_>) -> Results {
    Ok(vec![args.value(0)?.with_type(args.ty().clone())])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attrs, OpKind, TensorType};
    use crate::ops::table::tests::apply;
    use crate::ops::value::Value;

    #[test]
    fn one_open_dimension_is_computed() {
        let x = Value::new(TensorType::new(DType::Float32, [2, 6]), vec![0f32; 12]);
        for (target, expected) in [
            (vec![3, -1], Some(vec![3, 4])),
            (vec![-1], Some(vec![12])),
            (vec![5, -1], None),
            (vec![-1, -1], None),
            (vec![1 << 30, 1 << 30], None),
        ] {
            let shape = Value::new(TensorType::new(DType::Int32, [target.len()]), target);
            let out = TensorType::new(DType::Float32, expected.clone().unwrap_or_default());
            assert_eq!(apply(OpKind::Reshape, Attrs::new(), &[&x, &shape], &[out]).is_ok(), expected.is_some());
        }
    }
}
