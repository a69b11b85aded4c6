//! PACK: operands of one shape, stacked along a new axis. UNPACK: the reverse.

use crate::error::CompileError;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::value::Value;

/// PACK.
pub const PACK: Operator = Operator::new(infer_pack, Eval::Direct(pack));
/// UNPACK.
pub const UNPACK: Operator = Operator::new(infer_unpack, Eval::Direct(unpack));

fn whole_bytes(call: &Call<'_>) -> Result<(), CompileError> {
    let dtype = call.input(0)?.dtype;
    if dtype.bits() < 8 { Err(call.unsupported(crate::error::Unsupported::Types(dtype.to_string()))) } else { Ok(()) }
}

/// The axis of the result (PACK) or the operand (UNPACK).
pub fn axis(call: &Call<'_>) -> Result<usize, CompileError> {
    let rank = call.input(0)?.shape.len() + (call.op == crate::ir::OpKind::Pack) as usize;
    call.axis(call.attrs.int("axis", 0), rank)
}

fn infer_pack(call: &Call<'_>) -> Inferred {
    call.arity(1, 1 << 16, 1)?;
    whole_bytes(call)?;
    let first = call.input(0)?;
    if call.attrs.int("values_count", call.inputs.len() as i64) != call.inputs.len() as i64 {
        return Err(call.invalid(format!("{} operands for values_count {}", call.inputs.len(), call.attrs.int("values_count", 0))));
    }
    for i in 1..call.inputs.len() {
        call.same_dtype(0, i)?;
        if call.input(i)?.shape != first.shape {
            return Err(call.invalid(format!("operand {i} has shape {:?}, operand 0 {:?}", call.input(i)?.shape, first.shape)));
        }
    }
    let mut shape = first.shape.clone();
    shape.insert(axis(call)?, call.inputs.len());
    Ok(vec![call.result(0, first.dtype, shape)?])
}

fn pack(args: &Args<'_>) -> Results {
    let axis = axis(args.call)?;
    let first = args.value(0)?;
    let outer: usize = first.ty.shape[..axis].iter().product();
    let inner: usize = first.ty.shape[axis..].iter().product::<usize>() * args.width(0)?;
    let mut out = Vec::with_capacity(args.ty().bytes());
    for o in 0..outer {
        for i in 0..args.call.inputs.len() {
            out.extend_from_slice(&args.value(i)?.bytes()[o * inner..(o + 1) * inner]);
        }
    }
    args.result(out)
}

fn infer_unpack(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, call.outputs.len())?;
    whole_bytes(call)?;
    let x = call.input(0)?;
    let mut shape = x.shape.clone();
    let n = shape.remove(axis(call)?);
    if n != call.outputs.len() || call.attrs.int("num", n as i64) != n as i64 {
        return Err(call.invalid(format!("{} results of an axis of {n}", call.outputs.len())));
    }
    (0..n).map(|i| call.result(i, x.dtype, shape.clone())).collect()
}

fn unpack(args: &Args<'_>) -> Results {
    let axis = axis(args.call)?;
    let x = args.value(0)?;
    let outer: usize = x.ty.shape[..axis].iter().product();
    let inner: usize = x.ty.shape[axis + 1..].iter().product::<usize>() * args.width(0)?;
    let n = x.ty.shape[axis];
    let part = |(i, ty): (usize, &crate::ir::TensorType)| {
        let mut out = Vec::with_capacity(ty.bytes());
        for o in 0..outer {
            let from = (o * n + i) * inner;
            out.extend_from_slice(&x.bytes()[from..from + inner]);
        }
        Value::new(ty.clone(), out)
    };
    Ok(args.types.iter().enumerate().map(part).collect())
}
