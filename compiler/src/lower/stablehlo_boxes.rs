//! STABLEHLO_GATHER and STABLEHLO_SCATTER: boxes of one tensor whose starts are rows of another.

use super::constants::element_bytes;
use super::context::{Cx, Operand};
use super::gather::wide_index;
use super::grain::grain;
use super::movement::{copy, raw, result};
use crate::error::{CompileError, Unsupported};
use crate::ir::{Node, OpKind, TensorId};
use crate::ops::stablehlo_gather::{Boxes, gather_boxes, scatter_boxes, update};
use crate::ops::storage::storage;
use tflc_templates::cpu::boxes::{BoxDim, BoxesSpec, Job, RowDim};
use tflc_templates::cpu::pointwise::row_major;
use tflc_templates::cpu::scatter::Meet;
use tflc_templates::expr::{Binary, Storage};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let (x, index) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let to = cx.operand(y)?;
    if node.op == OpKind::StablehloGather {
        let spec = spec(cx, &gather_boxes(&call)?, [x, index, y], raw(element_bytes(cx, ty)?), Job::Gather)?;
        return boxes(cx, spec, x, index, to);
    }
    let updates = cx.input(node, 2)?;
    let meet = match update(&call)? {
        None => Meet::Replace,
        Some(Binary::Add) => Meet::Add,
        Some(Binary::Mul) => Meet::Multiply,
        // Of truth values the greater one is the disjunction.
        Some(Binary::Max | Binary::Or) => Meet::Max,
        Some(Binary::Min | Binary::And) => Meet::Min,
        Some(other) => return Err(cx.unsupported(Unsupported::Option("update_computation_subgraph_index".into(), format!("{other:?}")))),
    };
    let storage = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let spec = spec(cx, &scatter_boxes(&call)?, [x, index, updates], storage, Job::Scatter(meet))?;
    let from = cx.operand(x)?;
    copy(cx, from, to, ty.bytes());
    boxes(cx, spec, updates, index, to)
}

fn boxes(cx: &mut Cx<'_, '_>, spec: BoxesSpec, from: TensorId, starts: TensorId, to: Operand) -> Result<(), CompileError> {
    let args = vec![cx.operand(from)?, cx.operand(starts)?, to];
    let (units, caps) = (spec.units(), cx.caps().clone());
    let grain = grain(units, 4.0 + spec.unit_elements() as f64);
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain);
    Ok(())
}

/// The kernel for boxes of the tensor `full` at `starts`, the others of which are in `small`.
fn spec(
    cx: &Cx<'_, '_>,
    boxes: &Boxes,
    [full, starts, small]: [TensorId; 3],
    storage: Storage,
    job: Job,
) -> Result<BoxesSpec, CompileError> {
    let [own, outer, at] = [full, small, starts].map(|t| row_major(&cx.ty(t).shape));
    let indices = &cx.ty(starts).shape;
    let index_axes = (0..indices.len()).filter(|d| *d != boxes.vector);
    let batch_axes = (0..outer.len()).filter(|d| !boxes.offset.contains(d));
    let mut rows: Vec<RowDim> = vec![];
    for (i, b) in index_axes.zip(batch_axes) {
        let dim = RowDim { size: indices[i], small: outer[b], starts: at[i] };
        match rows.last_mut() {
            // Neighbours that lie evenly in both tensors are one.
            Some(last) if last.small == dim.small * dim.size as i64 && last.starts == dim.starts * dim.size as i64 => {
                *last = RowDim { size: last.size * dim.size, ..dim };
            }
            _ => rows.push(dim),
        }
    }
    let step = at.get(boxes.vector).copied().unwrap_or(0);
    let mut offsets = boxes.offset.iter();
    let dims = cx.ty(full).shape.iter().enumerate().map(|(d, size)| {
        let kept = if boxes.collapsed.contains(&d) { None } else { offsets.next() };
        BoxDim {
            size: *size,
            window: boxes.sizes[d],
            large: own[d],
            small: kept.map_or(0, |o| outer[*o]),
            start: boxes.map.iter().position(|m| *m == d).map(|component| component as i64 * step),
        }
    });
    let dims = dims.collect();
    Ok(BoxesSpec { rows, dims, storage, wide: wide_index(cx, starts)?, job })
}
