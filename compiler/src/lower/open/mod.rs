//! Tensors whose size is known only at run time: their extents, the operators that bring them, and those that look at them.
//!
//! `compiler/docs/ir.md` describes open tensors. Elements lie where the bounds say, so that most families compute on bounds and need to know nothing.

mod borders;
mod crossing;
mod indices;
mod lengths;
mod masks;
mod meeting;
mod moves;
mod outputs;
mod range;
mod sources;
mod sums;
mod windows;

use super::context::{Cx, Operand, Shared};
use super::movement::parted;
use super::storage::{Slot, SlotId, SlotRegion};
use crate::error::CompileError;
use crate::ir::{Graph, Node, OpKind, TensorId};
pub(super) use crossing::{Target, hand_over, shared_extents};
pub(super) use indices::{check_at_least, check_below, dropped_behind, gather_indices};
pub(super) use masks::{counted, with_neutral_tail, with_stand_ins};
pub(super) use outputs::{finish as finish_outputs, packed_outputs};
use std::collections::BTreeSet;
pub(super) use sums::sum_counted;
pub(super) use windows::{Kind, Mode, measured, taps};

/// Extents, each once.
fn extents(graph: &Graph) -> BTreeSet<TensorId> {
    graph.open.keys().flat_map(|t| graph.open_axes(*t)).map(|o| o.extent).collect()
}

/// Gives every extent a place that lives as long as the graph; times count its nodes.
pub(super) fn place_extents(shared: &mut Shared<'_>, graph: &Graph, of: &mut [Option<(SlotId, usize)>]) {
    for t in extents(graph) {
        let slot = shared.add_slot(Slot { bytes: 8, region: SlotRegion::Arena, first: 0, last: graph.nodes.len() });
        of[t.index()] = Some((slot, 0));
    }
}

/// The address of the extent of an axis, where it is open.
pub(super) fn extent(cx: &mut Cx<'_, '_>, t: TensorId, axis: usize) -> Result<Option<Operand>, CompileError> {
    let found = cx.graph.open_axes(t).iter().find(|o| o.axis as usize == axis).map(|o| o.extent);
    found.map(|e| cx.operand(e)).transpose()
}

/// The open axis of a tensor and the address of its extent, where it is the only one and those in front of it are one: the elements at run time are the first ones.
fn front(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Option<(usize, Operand)>, CompileError> {
    let [open] = cx.graph.open_axes(t) else { return Ok(None) };
    let axis = open.axis as usize;
    if cx.ty(t).shape[..axis].iter().any(|n| *n != 1) {
        return Ok(None);
    }
    Ok(Some((axis, cx.operand(open.extent)?)))
}

/// Whether the graph's tensor is open.
fn is_open(cx: &Cx<'_, '_>, t: Option<TensorId>) -> bool {
    t.is_some_and(|t| !cx.graph.open_axes(t).is_empty())
}

/// Lowers a node that brings extents of its own, or reads them; false where its family does that.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<bool, CompileError> {
    if !node.outputs.iter().chain(node.inputs.iter().flatten()).any(|t| is_open(cx, Some(*t))) {
        return Ok(false);
    }
    let (first, out) = (node.inputs.first().copied().flatten(), node.outputs.first().copied());
    match node.op {
        OpKind::Where => sources::places(cx, node)?,
        OpKind::Unique => sources::unique(cx, node)?,
        OpKind::TopkV2 if brings(cx, node) => sources::top_k(cx, node)?,
        OpKind::SegmentSum => sources::segments(cx, node)?,
        OpKind::UnsortedSegmentSum | OpKind::UnsortedSegmentMax | OpKind::UnsortedSegmentMin | OpKind::UnsortedSegmentProd => {
            sources::unsorted_segments(cx, node)?;
        }
        OpKind::ScatterNd => sources::scatter(cx, node)?,
        OpKind::Shape if is_open(cx, first) => sources::shape(cx, node)?,
        OpKind::Range if is_open(cx, out) => range::range(cx, node)?,
        OpKind::Fill => {
            sources::sizes_from(cx, node, 0)?;
            return Ok(false);
        }
        OpKind::BroadcastTo => {
            sources::sizes_from(cx, node, 1)?;
            return moves::broadcast(cx, node).map(|()| true);
        }
        OpKind::Slice if !passes_on(cx, node) => moves::slice(cx, node)?,
        OpKind::StridedSlice if !passes_on(cx, node) => moves::strided_slice(cx, node)?,
        OpKind::Concatenation => return moves::concatenation(cx, node),
        OpKind::Pad | OpKind::Padv2 | OpKind::MirrorPad if node.op == OpKind::MirrorPad || brings(cx, node) => borders::pad(cx, node)?,
        OpKind::Split | OpKind::SplitV if brings(cx, node) || parts_open(cx, node)? => borders::split(cx, node)?,
        OpKind::Unpack if parts_open(cx, node)? => borders::unpack(cx, node)?,
        OpKind::OneHot if brings(cx, node) => {
            sources::depth(cx, node)?;
            return Ok(false);
        }
        OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::AveragePool2d | OpKind::MaxPool2d | OpKind::L2Pool2d if brings(cx, node) => {
            windows::slide(cx, node)?;
            return Ok(false);
        }
        OpKind::SpaceToDepth | OpKind::DepthToSpace if brings(cx, node) => {
            windows::blocks(cx, node)?;
            return Ok(false);
        }
        OpKind::ResizeBilinear | OpKind::ResizeNearestNeighbor => {
            windows::resized(cx, node)?;
            return Ok(false);
        }
        OpKind::Squeeze => {
            sources::more_than_one(cx, node)?;
            return Ok(false);
        }
        OpKind::Tile
            if !is_open(cx, out) || brings(cx, node) || node.inputs.get(1).copied().flatten().is_some_and(|t| cx.constant(t).is_none()) =>
        {
            moves::tile(cx, node)?;
        }
        OpKind::ReverseV2 => moves::reverse(cx, node)?,
        OpKind::Reshape => return moves::reshape(cx, node),
        _ => return Ok(false),
    }
    Ok(true)
}

/// Whether a result is open by an extent that no operand has.
fn brings(cx: &Cx<'_, '_>, node: &Node) -> bool {
    let given: Vec<TensorId> = node.inputs.iter().flatten().flat_map(|t| cx.graph.open_axes(*t)).map(|o| o.extent).collect();
    node.outputs.iter().flat_map(|t| cx.graph.open_axes(*t)).any(|o| !given.contains(&o.extent))
}

/// Whether a node takes apart an open axis, whose parts may all be of known size.
fn parts_open(cx: &mut Cx<'_, '_>, node: &Node) -> Result<bool, CompileError> {
    let (x, at) = parted(cx, node)?;
    Ok(extent(cx, x, at)?.is_some())
}

/// Whether a slice by constants leaves open axes as they are, so that it is one of the bounds.
fn passes_on(cx: &Cx<'_, '_>, node: &Node) -> bool {
    let (Some(Some(x)), Some(y)) = (node.inputs.first(), node.outputs.first()) else { return false };
    let lengths = |t: TensorId| cx.graph.open_axes(t).iter().map(|o| o.extent).collect::<Vec<_>>();
    let constant = node.inputs[1..].iter().flatten().all(|t| cx.constant(*t).is_some());
    let forward = |t: TensorId| cx.constant(t).is_some_and(|d| d.as_chunks().0.iter().all(|s| i32::from_le_bytes(*s) > 0));
    let forward = node.op == OpKind::Slice || node.inputs.get(3).copied().flatten().is_some_and(forward);
    constant && forward && lengths(*x) == lengths(*y)
}
