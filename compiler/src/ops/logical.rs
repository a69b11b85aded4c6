//! LOGICAL_AND, LOGICAL_OR, BITWISE_XOR, RIGHT_SHIFT, SELECT, SELECT_V2: bits, truth values and choices.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Bool, Int8, Int16, Int32, UInt8, UInt16, UInt32};
use crate::ir::OpKind;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::pointwise::infer_binary;
use crate::ops::shapes::{Walk, broadcast};
use crate::ops::storage::{over_operands, storage, storage_of};
use tflc_templates::expr::{Binary, Expr, Ty};

/// LOGICAL_AND and LOGICAL_OR.
pub(super) const LOGICAL: Operator = Operator::new(infer_logical, Eval::Pointwise(binary));
/// BITWISE_XOR and RIGHT_SHIFT.
pub(super) const BITWISE: Operator = Operator::new(infer_bitwise, Eval::Pointwise(binary));
/// SELECT and SELECT_V2: `cond ? a : b`.
pub(super) const SELECT: Operator = Operator::new(infer_select, Eval::Partly(build_select, select_bytes));

fn infer_logical(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Bool])?;
    infer_binary(call)
}

fn infer_bitwise(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Int8, UInt8, Int16, UInt16, Int32, UInt32])?;
    infer_binary(call)
}

fn binary(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let (x, mut y) = (b.input(0), b.input(1));
    let op = match call.op {
        OpKind::LogicalAnd => Binary::And,
        OpKind::LogicalOr => Binary::Or,
        OpKind::BitwiseXor => Binary::Xor,
        _ => Binary::Shr,
    };
    if op == Binary::Shr {
        // Amounts outside the width are clamped to it, as in TFLite's `kernels/right_shift.cc`.
        let most = call.input(0)?.dtype.bits() as i64 - 1;
        let (zero, most) = if b.ty(y) == Ty::I64 { (b.i64(0), b.i64(most)) } else { (b.i32(0), b.i32(most as i32)) };
        y = b.max(y, zero);
        y = b.min(y, most);
    }
    let r = b.binary(op, x, y);
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

fn infer_select(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    call.dtype_among(0, &[Bool])?;
    let dtype = call.input(1)?.dtype;
    if !matches!(dtype.bits(), 8 | 16 | 32 | 64) {
        return Err(call.unsupported(Unsupported::Types(dtype.to_string())));
    }
    call.same_dtype(1, 2)?;
    let (c, x, y) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let shape = broadcast(call, &x.shape, &y.shape)?;
    let shape = if by_rows(call) { shape } else { broadcast(call, &c.shape, &shape)? };
    Ok(vec![call.result(0, dtype, shape)?])
}

/// Whether the conditions are one for each index of the first dimension, which only SELECT (not V2) takes.
pub(crate) fn by_rows(call: &Call<'_>) -> bool {
    match (call.input(0), call.input(1)) {
        (Ok(c), Ok(x)) => call.op == OpKind::Select && c.shape.len() == 1 && x.shape.len() > 1 && c.shape.first() == x.shape.first(),
        _ => false,
    }
}

fn build_select(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    let plain = !by_rows(call) && call.input(1).is_ok_and(|t| storage(t.dtype).is_some());
    plain.then(|| select(call))
}

/// SELECT of rows, or of elements that expressions cannot hold.
fn select_bytes(args: &Args<'_>) -> Results {
    let (c, x, y) = (args.value(0)?, args.value(1)?, args.value(2)?);
    if !by_rows(args.call) {
        let (shape, width) = (&args.ty().shape, args.width(1)?);
        let [mut choice, mut out, mut other] = [vec![0; args.ty().elements()], vec![0; args.ty().bytes()], vec![0; args.ty().bytes()]];
        for (v, to, width) in [(c, &mut choice, 1), (x, &mut out, width), (y, &mut other, width)] {
            Walk::broadcast(&v.ty.shape, shape).gather(v.bytes(), to, width);
        }
        for i in (0..choice.len()).filter(|i| choice[*i] == 0) {
            out[i * width..(i + 1) * width].copy_from_slice(&other[i * width..(i + 1) * width]);
        }
        return args.result(out);
    }
    if x.ty.shape != y.ty.shape {
        return Err(args.error(format!("shapes {:?} and {:?}", x.ty.shape, y.ty.shape)));
    }
    let row = x.bytes().len() / c.bytes().len().max(1);
    let mut out = Vec::with_capacity(x.bytes().len());
    for (i, c) in c.bytes().iter().enumerate() {
        let from = if *c != 0 { x.bytes() } else { y.bytes() };
        out.extend_from_slice(&from[i * row..(i + 1) * row]);
    }
    args.result(out)
}

fn select(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let (c, x, y) = (b.input(0), b.input(1), b.input(2));
    let r = b.select(c, x, y);
    Ok(b.finish(r, storage_of(call, call.input(1)?)?))
}
