//! TOPK_V2 and BUCKETIZE: positions of elements with a property. LSH_PROJECTION: bits of hashes.

use super::context::Cx;
use super::grain::grain;
use super::movement::result;
use super::open::{check_at_least, with_neutral_tail};
use super::reduce::lowest;
use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, DType, Node, OpKind};
use crate::ops::lsh_projection::projection as projection_of;
use crate::ops::storage::storage;
use tflc_templates::cpu::bucketize::BucketizeSpec;
use tflc_templates::cpu::top_k::TopKSpec;

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::TopkV2 => top_k(cx, node),
        OpKind::LshProjection => projection(cx, node),
        _ => bucketize(cx, node),
    }
}

pub(super) fn top_k(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let ((values, ty), (indices, index_ty)) = (result(cx, node, 0)?, result(cx, node, 1)?);
    let (Some(&n), Some(&k)) = (cx.ty(x).shape.last(), ty.shape.last()) else { return Err(cx.internal("a scalar has no rows")) };
    let storage = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let narrow_index = match index_ty.dtype {
        DType::Int16 => true,
        DType::Int32 => false,
        other => return Err(cx.unsupported(Unsupported::Types(format!("{other} indices")))),
    };
    let spec = TopKSpec { rows: ty.elements() / k.max(1), n, stride: n, k, storage, narrow_index };
    let heaps = cx.workspace(spec.workspace_bytes());
    let rank = cx.ty(x).shape.len();
    // A k that is computed has been compared with the row already.
    if cx.graph.open_axes(values).iter().all(|o| o.axis as usize + 1 != rank) {
        check_at_least(cx, x, rank - 1, k)?;
    }
    let along: Vec<bool> = (0..rank).map(|d| d + 1 == rank).collect();
    let from = with_neutral_tail(cx, x, &along, lowest(ty.dtype))?;
    let args = vec![from, heaps, cx.operand(values)?, cx.operand(indices)?];
    let units = spec.units();
    let unit_ns = n as f64 + k as f64 * 20.0 * (k as f64 + 2.0).log2();
    cx.call(format!("{spec:?}"), move || spec.build(), args, units, grain(units, unit_ns));
    Ok(())
}

fn projection(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let spec = projection_of(&cx.as_call()?)?;
    let (seeds, x) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, _) = result(cx, node, 0)?;
    let seeds = cx.operand(seeds)?;
    // Without weights nothing reads them.
    let weights = cx.optional_input(node, 2).map_or(Ok(seeds), |t| cx.operand(t))?;
    let args = vec![seeds, cx.operand(x)?, weights, cx.operand(y)?];
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    Ok(())
}

fn bucketize(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let storage = storage(cx.ty(x).dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(cx.ty(x).dtype.to_string())))?;
    let bounds: &[f32] = match node.attrs.get("boundaries") {
        Some(AttrValue::Floats(v)) => v,
        _ => &[],
    };
    let spec = BucketizeSpec { elements: ty.elements(), boundaries: bounds.len(), storage };
    // An empty table still has an address.
    let table = cx.bytes(bounds.iter().chain([&0.0]).flat_map(|v| v.to_le_bytes()).collect());
    let args = vec![cx.operand(x)?, table, cx.operand(y)?];
    let (units, unit_ns) = (spec.units(), 5.0 * (bounds.len() as f64 + 2.0).log2());
    cx.call(format!("{spec:?}"), move || spec.build(), args, units, grain(units, unit_ns));
    Ok(())
}
