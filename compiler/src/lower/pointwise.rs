//! POINTWISE: an expression over broadcast operands as one loop.

use super::constants::element_bytes;
use super::context::{Cx, Operand};
use super::grain::grain;
use super::movement::{raw, result};
use super::open;
use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, Node, Tail, TensorId};
use crate::ops::logical::by_rows;
use crate::ops::storage::storage;
use crate::passes::lower_elementwise::DIVISOR;
use tflc_templates::cpu::nonzero::NonZeroSpec;
use tflc_templates::cpu::pointwise::{PointwiseSpec, broadcast, row_major};
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

/// Lowers a node with `lower`; where its tail ends in a look-up of bytes, and each look-up should do a full register of them, in a loop behind it, in place.
pub(super) fn with_table_behind(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    lower: impl Fn(&mut Cx<'_, '_>, &Node) -> Result<(), CompileError>,
) -> Result<(), CompileError> {
    let parts = node.tail.as_ref().filter(|_| !cx.caps().tables).and_then(|tail| Some((tail, tail.expr.split_table()?)));
    let Some((tail, (before, table))) = parts else { return lower(cx, node) };
    let tail = Tail { expr: before, ..(**tail).clone() };
    lower(cx, &Node { tail: Some(Box::new(tail)), ..node.clone() })?;
    let out = node.outputs[0];
    let (shape, place) = (cx.ty(out).shape.clone(), cx.operand(out)?);
    let strides = row_major(&shape);
    emit(cx, PointwiseSpec::new(&shape, vec![strides.clone()], strides, table), vec![place, place]);
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
    let (expr, tables) = spec.expr.without_tables();
    let spec = PointwiseSpec { expr, ..spec };
    args.extend(tables.into_iter().map(|t| cx.bytes(t.to_vec())));
    let caps = cx.caps().clone();
    let units = spec.units(&caps);
    let unit_ns = spec.unit_cost(&caps);
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, unit_ns));
}
