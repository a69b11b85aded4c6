//! Elementwise operators: the one expression of each, inference by broadcasting, and evaluation by the interpreter.

use crate::error::CompileError;
use crate::ir::{AttrValue, DType, OpKind, TensorType};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::Eval;
use crate::ops::shapes::{Walk, broadcast};
use crate::ops::table::operator;
use crate::ops::value::Value;
use rayon::prelude::*;
use std::borrow::Cow;
use tflc_templates::expr::Expr;
use tflc_templates::expr::interpret::{Source, eval_slices};

/// The expression that an elementwise operator computes for each element, over its present operands in their order,
/// broadcast to the result's shape; `None` for operators (or types) that are not elementwise.
pub fn pointwise(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    if call.op == OpKind::Pointwise {
        return Some(match call.attrs.get("expr") {
            Some(AttrValue::Expr(e)) => Ok((**e).clone()),
            _ => Err(call.invalid("no expression")),
        });
    }
    match operator(call)?.eval {
        Eval::Pointwise(build) => Some(build(call)),
        Eval::Partly(build, _) => build(call),
        _ => None,
    }
}

/// Types of the result of an elementwise operator of one operand, which keeps shape and element type.
pub fn infer_unary(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let ty = call.input(0)?;
    Ok(vec![call.result(0, ty.dtype, ty.shape.clone())?])
}

/// Types of the result of an elementwise operator of two operands of one element type.
pub fn infer_binary(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.same_dtype(0, 1)?;
    let (a, b) = (call.input(0)?, call.input(1)?);
    Ok(vec![call.result(0, a.dtype, broadcast(call, &a.shape, &b.shape)?)?])
}

/// The same for operators that give truth values.
pub fn infer_predicate(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.same_dtype(0, 1)?;
    let (a, b) = (call.input(0)?, call.input(1)?);
    Ok(vec![call.result(0, DType::Bool, broadcast(call, &a.shape, &b.shape)?)?])
}

/// Elements that one task computes.
const TASK_ELEMENTS: usize = 1 << 14;

/// Computes `expr` for each element of `ty`; inputs are broadcast to its shape.
///
/// # Panics
/// Where an input's shape does not broadcast or its element type is not that of the expression's input.
pub fn eval_pointwise(expr: &Expr, inputs: &[&Value], ty: &TensorType) -> Value {
    let widths: Vec<usize> = expr.inputs.iter().map(|s| s.bytes()).collect();
    let expanded: Vec<(bool, Cow<'_, [u8]>)> = inputs
        .iter()
        .zip(&widths)
        .map(|(v, width)| {
            if v.ty.elements() == 1 {
                return (true, Cow::Borrowed(v.bytes()));
            }
            if v.ty.elements() == ty.elements() {
                return (false, Cow::Borrowed(v.bytes()));
            }
            let mut out = vec![0; ty.elements() * width];
            Walk::broadcast(&v.ty.shape, &ty.shape).gather(v.bytes(), &mut out, *width);
            (false, Cow::Owned(out))
        })
        .collect();
    let width = expr.output.bytes();
    let mut out = vec![0u8; ty.elements() * width];
    out.par_chunks_mut(TASK_ELEMENTS * width).enumerate().for_each(|(task, out)| {
        let (start, n) = (task * TASK_ELEMENTS, out.len() / width);
        let sources: Vec<Source<'_>> = expanded
            .iter()
            .zip(&widths)
            .map(|((splat, bytes), w)| if *splat { Source::Splat(bytes) } else { Source::Dense(&bytes[start * w..(start + n) * w]) })
            .collect();
        eval_slices(expr, &sources, out);
    });
    Value::new(ty.clone(), out)
}
