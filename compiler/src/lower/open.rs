//! Tensors whose size is known only at run time: their extents, and the operators that bring them.
//!
//! `compiler/docs/ir.md` describes open tensors. Everything else about them is in the families: computing on bounds is what they do anyway.

use super::context::{Cx, Operand, Shared};
use super::gather::wide_index;
use super::movement::{Part, copy, copy_strided, raw, result};
use super::search;
use super::storage::{Slot, SlotId, SlotRegion};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Graph, Node, OpKind, Open, TensorId};
use crate::ops::storage::storage;
use std::collections::BTreeSet;
use tflc_templates::cpu::dynamic::{DynamicSliceSpec, SegmentsSpec};
use tflc_templates::cpu::extent::{AppendSpec, AtLeastSpec, BelowSpec};
use tflc_templates::cpu::limit::{TailSpec, limited};
use tflc_templates::cpu::places::{UniqueSpec, WhereSpec};
use tflc_templates::cpu::pointwise::row_major;

/// Extents, each once.
fn extents(graph: &Graph) -> BTreeSet<TensorId> {
    graph.open.values().filter_map(|o| if let Open::Along { extent, .. } = o { Some(*extent) } else { None }).collect()
}

/// Gives every extent a place that lives as long as the graph; times count its nodes.
pub(super) fn place_extents(shared: &mut Shared<'_>, graph: &Graph, of: &mut [Option<(SlotId, usize)>]) {
    for t in extents(graph) {
        let slot = shared.add_slot(Slot { bytes: 8, region: SlotRegion::Arena, first: 0, last: graph.nodes.len() });
        of[t.index()] = Some((slot, 0));
    }
}

/// The open outputs of the graph.
pub(super) fn outputs(cx: &Cx<'_, '_>) -> Result<Vec<(usize, usize, Operand)>, CompileError> {
    let mut all = vec![];
    for (i, t) in cx.graph.outputs.iter().enumerate() {
        match cx.graph.open.get(t) {
            Some(Open::Along { axis, extent }) => {
                let (slot, at) = cx.storage[extent.index()].ok_or_else(|| cx.internal("an extent without storage"))?;
                all.push((i, *axis as usize, Operand::Slot(slot, at)));
            }
            Some(Open::Unknown) => return Err(cx.unsupported(Unsupported::DynamicShape)),
            None => {}
        }
    }
    Ok(all)
}

/// The open axis of a tensor and the address of its extent.
pub(super) fn extent(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Option<(usize, Operand)>, CompileError> {
    match cx.graph.open.get(&t) {
        Some(Open::Along { axis, extent }) => Ok(Some((*axis as usize, cx.operand(*extent)?))),
        _ => Ok(None),
    }
}

/// Whether a node brings an extent of its own, or reads one.
pub(super) fn is_source(cx: &Cx<'_, '_>, node: &Node) -> bool {
    let open = |t: Option<TensorId>| t.is_some_and(|t| cx.graph.open.contains_key(&t));
    let constant = |i: usize| node.inputs.get(i).copied().flatten().is_none_or(|t| cx.constant(t).is_some());
    let (first, out) = (node.inputs.first().copied().flatten(), node.outputs.first().copied());
    match node.op {
        OpKind::Where | OpKind::Unique => true,
        OpKind::TopkV2 | OpKind::SegmentSum => !constant(1) && open(out) && !open(first),
        OpKind::Slice => !constant(2) && open(out) && !open(first),
        OpKind::Concatenation => joins(cx, node),
        OpKind::Shape => open(first),
        OpKind::Range => open(out),
        _ => false,
    }
}

/// Whether a concatenation is along the axis that its result is open along.
fn joins(cx: &Cx<'_, '_>, node: &Node) -> bool {
    let Some(Open::Along { axis, .. }) = node.outputs.first().and_then(|t| cx.graph.open.get(t)) else { return false };
    let rank = node.outputs.first().map_or(0, |t| cx.ty(*t).shape.len()) as i64;
    let at = node.attrs.int("axis", 0);
    i64::from(*axis) == if at < 0 { at + rank } else { at }
}

/// Lowers a node that brings an extent of its own, or reads one.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, _) = result(cx, node, 0)?;
    let own = extent(cx, y)?.map(|(_, at)| at);
    let source: fn(&mut Cx<'_, '_>, &Node, Operand) -> Result<(), CompileError> = match node.op {
        OpKind::Where => places,
        OpKind::Unique => unique,
        OpKind::TopkV2 => top_k,
        OpKind::SegmentSum => segments,
        OpKind::Slice => slice,
        OpKind::Concatenation => join,
        OpKind::Shape => return shape(cx, node),
        _ => return range(cx, node),
    };
    let number = own.ok_or_else(|| cx.unsupported(Unsupported::DynamicShape))?;
    source(cx, node, number)
}

fn places(cx: &mut Cx<'_, '_>, node: &Node, number: Operand) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, _) = result(cx, node, 0)?;
    let ty = cx.ty(x);
    let storage = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let spec = WhereSpec { shape: ty.shape.clone(), storage };
    let from = with_neutral_tail(cx, x, &vec![true; ty.shape.len()], 0)?;
    let args = vec![from, cx.operand(y)?, number];
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    Ok(())
}

/// One part behind the other, each as long as it is.
fn join(cx: &mut Cx<'_, '_>, node: &Node, number: Operand) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let Some((axis, _)) = extent(cx, y)? else { return Err(cx.internal("a concatenation that is not open")) };
    let row_bytes = ty.shape[axis + 1..].iter().product::<usize>() * super::constants::element_bytes(cx, ty)?;
    let zero = cx.bytes(vec![0; 8]);
    copy(cx, zero, number, 8);
    let to = cx.operand(y)?;
    for x in node.inputs.clone().into_iter().flatten() {
        if cx.ty(x).quant != ty.quant {
            return Err(cx.unsupported(Unsupported::Quantization("parts of open size with several scales".into())));
        }
        let rows = match extent(cx, x)? {
            Some((_, rows)) => rows,
            None => cx.bytes((cx.ty(x).shape[axis] as u64).to_le_bytes().to_vec()),
        };
        let (spec, caps) = (AppendSpec { row_bytes }, cx.caps().clone());
        let args = vec![cx.operand(x)?, rows, to, number];
        cx.call(format!("{spec:?}"), move || spec.build(&caps), args, 1, 1);
    }
    Ok(())
}

/// Makes sure that indices into an open axis are below its extent; each is component `at` of so many.
pub(super) fn check_below(
    cx: &mut Cx<'_, '_>,
    x: TensorId,
    axis: usize,
    index: TensorId,
    [at, of]: [usize; 2],
) -> Result<(), CompileError> {
    let Some((_, number)) = extent(cx, x)?.filter(|(along, _)| *along == axis) else { return Ok(()) };
    let spec = BelowSpec { indices: cx.ty(index).elements() / of.max(1), at, of, wide: wide_index(cx, index)? };
    let from = super::gather::index_operand(cx, index)?;
    let (key, units) = (format!("{spec:?}"), spec.indices as u64);
    let mut args = vec![from, number];
    match extent(cx, index)? {
        None => cx.call(key, move || spec.build(), args, units, super::grain::grain(units, 2.0)),
        Some((along, rows)) => {
            let shape = &cx.ty(index).shape;
            let per_row = shape[along + 1..].iter().product::<usize>() / of.max(1);
            args.push(rows);
            cx.call(
                format!("limited {per_row} {key}"),
                move || limited(&spec.build(), per_row),
                args,
                units,
                super::grain::grain(units, 2.0),
            );
        }
    }
    Ok(())
}

/// Makes sure that the extent of a tensor is at least so much.
pub(super) fn check_at_least(cx: &mut Cx<'_, '_>, x: TensorId, least: usize) -> Result<(), CompileError> {
    if let Some((_, number)) = extent(cx, x)? {
        let spec = AtLeastSpec { least };
        cx.call(format!("{spec:?}"), move || spec.build(), vec![number], 1, 1);
    }
    Ok(())
}

fn unique(cx: &mut Cx<'_, '_>, node: &Node, number: Operand) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let ((y, ty), (index, index_ty)) = (result(cx, node, 0)?, result(cx, node, 1)?);
    let spec = UniqueSpec { elements: cx.ty(x).elements(), bytes: ty.dtype.bits() / 8, wide_index: index_ty.dtype == DType::Int64 };
    let work = cx.workspace(spec.workspace_bytes());
    let args = vec![cx.operand(x)?, work, cx.operand(y)?, cx.operand(index)?, number];
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    Ok(())
}

/// The whole row is sorted; k says how much of it is the result.
fn top_k(cx: &mut Cx<'_, '_>, node: &Node, number: Operand) -> Result<(), CompileError> {
    let k = cx.input(node, 1)?;
    let n = cx.ty(cx.input(node, 0)?).shape.last().copied().unwrap_or(0);
    if cx.ty(k).dtype != DType::Int32 {
        return Err(cx.unsupported(Unsupported::Types(format!("{} as k", cx.ty(k).dtype))));
    }
    let spec = DynamicSliceSpec { rank: 1, sizes: vec![n], axis: 0, wide: false, element_bytes: 0 };
    let zero = cx.bytes(vec![0; 8]);
    let k = cx.operand(k)?;
    // Only checks the size and stores it.
    cx.call(format!("{spec:?}"), move || spec.build(), vec![zero, zero, k, zero, number], 1, 1);
    search::top_k(cx, node)
}

fn segments(cx: &mut Cx<'_, '_>, node: &Node, number: Operand) -> Result<(), CompileError> {
    let ids = cx.input(node, 1)?;
    let spec = SegmentsSpec { ids: cx.ty(ids).elements() };
    let ids = cx.operand(ids)?;
    cx.call(format!("{spec:?}"), move || spec.build(), vec![ids, number], 1, 1);
    super::scatter::lower(cx, node)
}

fn slice(cx: &mut Cx<'_, '_>, node: &Node, number: Operand) -> Result<(), CompileError> {
    let (x, begin, size) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?);
    let (y, ty) = result(cx, node, 0)?;
    let Some((axis, _)) = extent(cx, y)? else { return Err(cx.internal("a slice that is not open")) };
    let shape = &cx.ty(x).shape;
    let element_bytes = super::constants::element_bytes(cx, ty)?;
    if wide_index(cx, begin)? != wide_index(cx, size)? {
        return Err(cx.unsupported(Unsupported::Types("begins and sizes of different types".into())));
    }
    let spec = DynamicSliceSpec {
        rank: shape.len(),
        sizes: [&shape[..], &ty.shape[..]].concat(),
        axis,
        wide: wide_index(cx, begin)?,
        element_bytes,
    };
    let args = vec![cx.operand(x)?, cx.operand(begin)?, cx.operand(size)?, cx.operand(y)?, number];
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    Ok(())
}

/// The bound's dimensions, of which one is replaced by the extent.
fn shape(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let Some((axis, number)) = extent(cx, x)? else { return Err(cx.internal("a shape that is not open")) };
    let bytes = ty.dtype.bits() / 8;
    let dims = &cx.ty(x).shape;
    let data: Vec<u8> = dims.iter().flat_map(|v| (*v as u64).to_le_bytes()[..bytes].to_vec()).collect();
    let (from, to, n) = (cx.bytes(data), cx.operand(y)?, dims.len());
    let whole = |base: Operand| Part { base, offset: 0, strides: vec![1] };
    copy_strided(cx, &[n], whole(from), whole(to), bytes);
    // The low bytes of the extent: lengths are below 2^31.
    copy_strided(cx, &[1], whole(number), whole(to.offset(axis * bytes)), bytes);
    Ok(())
}

/// Numbers from 0 on.
fn range(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let n = ty.elements();
    let data: Vec<u8> = match ty.dtype {
        DType::Float32 => (0..n).flat_map(|v| (v as f32).to_le_bytes()).collect(),
        DType::Int64 => (0..n as i64).flat_map(i64::to_le_bytes).collect(),
        _ => (0..n as i32).flat_map(i32::to_le_bytes).collect(),
    };
    let bytes = ty.dtype.bits() / 8;
    let (from, to) = (cx.bytes(data), cx.operand(y)?);
    copy_strided(cx, &ty.shape, Part::dense(from, &ty.shape), Part::dense(to, &ty.shape), bytes);
    Ok(())
}

/// The tensor, or where it is open along a reduced axis a copy whose tail has this value.
pub(super) fn with_neutral_tail(cx: &mut Cx<'_, '_>, t: TensorId, reduced: &[bool], value: u64) -> Result<Operand, CompileError> {
    let from = cx.operand(t)?;
    let Some((axis, number)) = extent(cx, t)?.filter(|(axis, _)| reduced[*axis]) else { return Ok(from) };
    let ty = cx.ty(t);
    let bytes = super::constants::element_bytes(cx, ty)?;
    let to = cx.workspace(ty.bytes());
    let spec = TailSpec { elements: ty.elements(), bytes, per_row: row_major(&ty.shape)[axis] as usize, value };
    let units = spec.elements as u64;
    debug_assert_eq!(raw(bytes).bytes(), bytes);
    cx.call(format!("{spec:?}"), move || spec.build(), vec![from, to, number], units, super::grain::grain(units, 1.0));
    Ok(to)
}
