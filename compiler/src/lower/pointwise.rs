//! POINTWISE: an expression over broadcast operands as one loop.

use super::constants::element_bytes;
use super::context::{Cx, Operand};
use super::grain::grain;
use super::movement::{raw, result};
use super::open;
use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, Node, TensorId};
use crate::ops::logical::by_rows;
use crate::ops::storage::storage;
use crate::passes::lower_elementwise::DIVISOR;
use tflc_templates::cpu::nonzero::NonZeroSpec;
use tflc_templates::cpu::pointwise::{PointwiseSpec, broadcast, row_major};
use tflc_templates::expr::emit::tables;
use tflc_templates::expr::{ExprBuilder, Storage};

/// Lowers a pointwise node.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let Some(AttrValue::Expr(expr)) = node.attrs.get("expr") else {
        return Err(cx.internal("a pointwise node without an expression"));
    };
    let Some(&out) = node.outputs.first() else {
        return Err(cx.internal("a pointwise node without a result"));
    };
    let shape = &cx.ty(out).shape;
    let mut strides = vec![];
    let mut args = vec![];
    for &t in node.inputs.iter().flatten() {
        strides.push(broadcast(&cx.ty(t).shape, shape));
        args.push(cx.operand(t)?);
    }
    if let Some(AttrValue::Int(at)) = node.attrs.get(DIVISOR) {
        check_divisor(cx, cx.input(node, usize::try_from(*at).unwrap_or(usize::MAX))?)?;
    }
    args.push(cx.operand(out)?);
    emit(cx, PointwiseSpec::new(shape, strides, row_major(shape), (**expr).clone()), args);
    Ok(())
}

/// SELECT and SELECT_V2 of elements that expressions cannot hold, or of whole rows.
pub(super) fn select(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (c, x, y) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?);
    let (out, ty) = result(cx, node, 0)?;
    let rank = ty.shape.len();
    let rows = by_rows(&cx.as_call()?);
    let choice = if rows { (0..rank).map(|d| i64::from(d == 0)).collect() } else { broadcast(&cx.ty(c).shape, &ty.shape) };
    let strides = vec![choice, broadcast(&cx.ty(x).shape, &ty.shape), broadcast(&cx.ty(y).shape, &ty.shape)];
    let kind = raw(element_bytes(cx, ty)?);
    let mut b = ExprBuilder::new([Storage::Bool, kind, kind]);
    let (condition, yes, no) = (b.input(0), b.input(1), b.input(2));
    let r = b.select(condition, yes, no);
    let args = vec![cx.operand(c)?, cx.operand(x)?, cx.operand(y)?, cx.operand(out)?];
    emit(cx, PointwiseSpec::new(&ty.shape, strides, row_major(&ty.shape), b.finish(r, kind)), args);
    Ok(())
}

/// Appends a look at a divisor, behind whose extent nothing counts.
fn check_divisor(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<(), CompileError> {
    let ty = cx.ty(t);
    let storage = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let spec = NonZeroSpec { elements: ty.elements(), storage };
    let units = spec.elements as u64;
    let args = vec![open::with_neutral_tail(cx, t, &vec![true; ty.shape.len()], 1)?];
    cx.call(format!("{spec:?}"), move || spec.build(), args, units, grain(units, 0.5));
    Ok(())
}

/// Appends the loop `spec` over `args`: its inputs, then its output.
pub(super) fn emit(cx: &mut Cx<'_, '_>, spec: PointwiseSpec, mut args: Vec<Operand>) {
    if spec.dims.contains(&0) {
        return;
    }
    let data: Vec<Vec<u8>> = tables(&spec.expr).into_iter().map(<[u8]>::to_vec).collect();
    args.extend(data.into_iter().map(|t| cx.bytes(t)));
    let caps = cx.caps().clone();
    let units = spec.units(&caps);
    let unit_ns = spec.unit_cost(&caps);
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, unit_ns));
}
