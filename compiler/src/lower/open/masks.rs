//! What lies behind an extent, where a family must not see it: copies with a neutral value there.

use super::lengths::{Lengths, Walk, walk};
use super::meeting::spread;
use super::windows::border_axes;
use super::{extent, is_open};
use crate::error::CompileError;
use crate::ir::{DType, Node, OpKind, TensorId};
use crate::lower::constants::element_bytes;
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::{Part, fill};
use tflc_templates::cpu::pointwise::row_major;

/// The tensor, or where it is open along one of these axes a copy that holds this value, given by its bits, behind the extents.
pub(in crate::lower) fn with_neutral_tail(cx: &mut Cx<'_, '_>, t: TensorId, axes: &[bool], value: u64) -> Result<Operand, CompileError> {
    let from = cx.operand(t)?;
    if !cx.graph.open_axes(t).iter().any(|o| axes.get(o.axis as usize) == Some(&true)) {
        return Ok(from);
    }
    let ty = cx.ty(t);
    let bytes = element_bytes(cx, ty)?;
    let to = cx.workspace(ty.bytes());
    fill(cx, &ty.shape, Part::dense(to, &ty.shape), bytes, value);
    let mut l = Lengths::default();
    let one = l.number(1);
    let mut dims = vec![];
    for (d, stride) in row_major(&ty.shape).into_iter().enumerate() {
        let count = if axes[d] { l.axis(cx, t, d)? } else { l.number(ty.shape[d]) };
        let step = (one, stride as usize);
        dims.push(Walk { count, read: step, write: step });
    }
    walk(cx, l, dims, [vec![], vec![]], [from, to], bytes);
    Ok(to)
}

/// The address of the number of elements of some axes, where one of them is open.
pub(in crate::lower) fn counted(cx: &mut Cx<'_, '_>, t: TensorId, axes: &[bool]) -> Result<Option<Operand>, CompileError> {
    let mut l = Lengths::default();
    let mut all = vec![];
    let mut open = false;
    for (d, _) in axes.iter().enumerate().filter(|a| *a.1) {
        open |= extent(cx, t, d)?.is_some();
        all.push(l.axis(cx, t, d)?);
    }
    if !open {
        return Ok(None);
    }
    let (number, at) = (l.product(&all), cx.workspace(8));
    l.store(number, at, 0);
    l.call(cx);
    Ok(Some(at))
}

/// Lets the node read copies of those operands that it sums or compares along an open axis, and of those of which one element stands for all; `body` lowers
/// it.
pub(in crate::lower) fn with_stand_ins(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    body: impl FnOnce(&mut Cx<'_, '_>, &Node) -> Result<(), CompileError>,
) -> Result<(), CompileError> {
    let touched = || node.reads().chain(node.outputs.iter().copied());
    if !touched().any(|t| is_open(cx, Some(t))) {
        return body(cx, node);
    }
    let mut copies = spread(cx, node)?;
    for (i, axis, value) in neutral_operands(cx, node) {
        let Some(t) = node.inputs.get(i).copied().flatten().filter(|t| is_open(cx, Some(*t))) else { continue };
        let axes: Vec<bool> = (0..cx.ty(t).shape.len()).map(|d| d == axis).collect();
        copies.push((t, with_neutral_tail(cx, t, &axes, value)?));
    }
    if let (OpKind::Conv2d | OpKind::DepthwiseConv2d, Some(Some(x))) = (node.op, node.inputs.first()) {
        let (value, axes) = (crate::lower::pad::zero_bits(cx.ty(*x)), border_axes(cx, node, *x));
        copies.push((*x, with_neutral_tail(cx, *x, &axes, value)?));
    }
    let mut saved = vec![];
    for (t, copy) in copies {
        if let Operand::Slot(slot, at) = copy {
            saved.push((t, cx.storage[t.index()]));
            cx.storage[t.index()] = Some((slot, at));
        }
    }
    let result = body(cx, node);
    for (t, place) in saved.into_iter().rev() {
        cx.storage[t.index()] = place;
    }
    result
}

/// Operands that a node sees along an axis, and the element that changes nothing there.
fn neutral_operands(cx: &Cx<'_, '_>, node: &Node) -> Vec<(usize, usize, u64)> {
    let rank = |i: usize| node.inputs.get(i).copied().flatten().map_or(0, |t| cx.ty(t).shape.len());
    let float = |v: f32| u64::from(v.to_bits());
    match node.op {
        OpKind::BatchMatmul => {
            // Counted from the end: the last axis of the first operand, the one in front of it of the second, unless they are turned.
            let from_end =
                [("adj_x", 1, 2), ("adj_y", 2, 1)].map(|(name, as_is, turned)| if node.attrs.bool(name, false) { turned } else { as_is });
            (0..2).map(|i| (i, rank(i).saturating_sub(from_end[i]), 0)).collect()
        }
        OpKind::Softmax | OpKind::LogSoftmax => {
            let half = node.inputs.first().copied().flatten().is_some_and(|t| cx.ty(t).dtype == DType::Float16);
            // So low that nothing is left of its exponential, and finite.
            vec![(0, rank(0).saturating_sub(1), if half { 0xfbff } else { float(-1e30) })]
        }
        OpKind::L2Normalization => vec![(0, rank(0).saturating_sub(1), 0)],
        // Lengths of rows behind the extent: none.
        OpKind::ReverseSequence => vec![(1, 0, 0)],
        OpKind::Cumsum if node.attrs.bool("reverse", false) => {
            let axis = crate::lower::constants::operand_int(cx, node, 1, "axis").ok();
            let axis = axis.and_then(|a| crate::lower::constants::axis(cx, a, rank(0)).ok());
            axis.map(|a| (0, a, 0)).into_iter().collect()
        }
        _ => vec![],
    }
}
