//! SPLIT, SPLIT_V: parts of the operand along an axis, as several results.

use crate::error::CompileError;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::value::Value;

/// SPLIT: equal parts.
pub const SPLIT: Operator = Operator::new(infer, Eval::Direct(eval));
/// SPLIT_V: parts of given sizes.
pub const SPLIT_V: Operator = Operator::new(infer, Eval::Direct(eval));

/// The operand that is split, the axis, and the sizes of the parts.
pub fn geometry(call: &Call<'_>) -> Result<(usize, usize, Vec<usize>), CompileError> {
    let parts = call.outputs.len();
    let sized = call.op == crate::ir::OpKind::SplitV;
    let (operand, axis) = if sized { (0, 2) } else { (1, 0) };
    let shape = &call.input(operand)?.shape;
    let axis = call.axis(call.int(axis)?, shape.len())?;
    let total = shape[axis];
    if call.attrs.int("num_splits", parts as i64) != parts as i64 || parts == 0 {
        return Err(call.invalid(format!("{parts} results for {} parts", call.attrs.int("num_splits", 0))));
    }
    if !sized {
        if total % parts != 0 {
            return Err(call.invalid(format!("{total} elements in {parts} parts")));
        }
        return Ok((operand, axis, vec![total / parts; parts]));
    }
    let sizes = call.ints(1, parts)?;
    let known: i64 = sizes.iter().filter(|s| **s >= 0).fold(0i64, |a, b| a.saturating_add(*b));
    let open = sizes.iter().filter(|s| **s == -1).count();
    let rest = total as i64 - known;
    if sizes.len() != parts || open > 1 || sizes.iter().any(|s| *s < -1) || rest < 0 || (open == 0 && rest != 0) {
        return Err(call.invalid(format!("sizes {sizes:?} of {parts} parts of {total}")));
    }
    Ok((operand, axis, sizes.iter().map(|s| if *s == -1 { rest as usize } else { *s as usize }).collect()))
}

fn infer(call: &Call<'_>) -> Inferred {
    let operands = if call.op == crate::ir::OpKind::SplitV { 3 } else { 2 };
    call.arity(operands, operands, call.outputs.len())?;
    let (operand, axis, sizes) = geometry(call)?;
    let x = call.input(operand)?;
    if x.dtype.bits() < 8 {
        return Err(call.unsupported(crate::error::Unsupported::Types(x.dtype.to_string())));
    }
    sizes
        .into_iter()
        .enumerate()
        .map(|(i, size)| {
            let mut shape = x.shape.clone();
            shape[axis] = size;
            call.result(i, x.dtype, shape)
        })
        .collect()
}

fn eval(args: &Args<'_>) -> Results {
    let (operand, axis, sizes) = geometry(args.call)?;
    let x = args.value(operand)?;
    let outer: usize = x.ty.shape[..axis].iter().product();
    let inner: usize = x.ty.shape[axis + 1..].iter().product::<usize>() * args.width(operand)?;
    let row = x.ty.shape[axis] * inner;
    let mut start = 0;
    let mut results = vec![];
    for (size, ty) in sizes.into_iter().zip(args.types) {
        let mut out = Vec::with_capacity(ty.bytes());
        for o in 0..outer {
            out.extend_from_slice(&x.bytes()[o * row + start..o * row + start + size * inner]);
        }
        start += size * inner;
        results.push(Value::new(ty.clone(), out));
    }
    Ok(results)
}
