//! Operators that bring an extent of their own: WHERE, UNIQUE, TOPK_V2, segments, SCATTER_ND, ONE_HOT; SHAPE, which reads extents; and shapes that are values.

use super::indices::{Negative, below, check_tuples, dropped_behind};
use super::lengths::{Length, Lengths};
use super::masks::{counted, with_neutral_tail};
use super::{extent, is_open};
use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, DType, Node, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::{Part, copy_strided, result};
use crate::lower::{scatter as scattering, search};
use crate::ops::storage::storage;
use tflc_templates::cpu::dynamic::SegmentsSpec;
use tflc_templates::cpu::places::{UniqueSpec, WhereSpec};

/// Stores the length of an open axis, which must be between zero and its bound; a known one must be what it is.
pub(super) fn give(cx: &mut Cx<'_, '_>, l: &mut Lengths, y: TensorId, axis: usize, length: Length) -> Result<(), CompileError> {
    let (bound, at) = (cx.ty(y).shape[axis], extent(cx, y, axis)?);
    checked(l, length, bound, at);
    Ok(())
}

/// Checks a length against a bound and stores it, or where there is no place for it, checks that it is that bound.
pub(super) fn checked(l: &mut Lengths, length: Length, bound: usize, at: Option<Operand>) {
    match at {
        Some(at) => {
            let most = l.number(bound);
            l.check_size(length, most);
            l.store(length, at, 0);
        }
        None if l.known(length) == Some(bound as i64) => {}
        None => {
            let known = l.number(bound);
            let same = l.equal(length, known);
            l.check(same);
        }
    }
}

/// The address of the extent of a result that must have one.
fn own(cx: &mut Cx<'_, '_>, y: TensorId, axis: usize) -> Result<Operand, CompileError> {
    extent(cx, y, axis)?.ok_or_else(|| cx.unsupported(Unsupported::DynamicShape))
}

pub(super) fn places(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, _) = result(cx, node, 0)?;
    let ty = cx.ty(x);
    let storage = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let spec = WhereSpec { shape: ty.shape.clone(), storage };
    let from = with_neutral_tail(cx, x, &vec![true; ty.shape.len()], 0)?;
    let args = vec![from, cx.operand(y)?, own(cx, y, 0)?];
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    Ok(())
}

pub(super) fn unique(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let ((y, ty), (index, index_ty)) = (result(cx, node, 0)?, result(cx, node, 1)?);
    let number = counted(cx, x, &[true])?;
    let spec = UniqueSpec {
        elements: cx.ty(x).elements(),
        bytes: ty.dtype.bits() / 8,
        wide_index: index_ty.dtype == DType::Int64,
        counted: number.is_some(),
    };
    let work = cx.workspace(spec.workspace_bytes());
    let mut args = vec![cx.operand(x)?, work, cx.operand(y)?, cx.operand(index)?, own(cx, y, 0)?];
    args.extend(number);
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    Ok(())
}

/// The bound's part of each row is sorted; k says how much of it is the result.
pub(super) fn top_k(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, k) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, _) = result(cx, node, 0)?;
    let last = cx.ty(x).shape.len().saturating_sub(1);
    let mut l = Lengths::default();
    let (k, n) = (l.element(cx, k, 0)?, l.axis(cx, x, last)?);
    l.check_size(k, n);
    give(cx, &mut l, y, last, k)?;
    l.call(cx);
    search::top_k(cx, node)
}

/// The number of segments is the last id and one more.
pub(super) fn segments(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let ids = cx.input(node, 1)?;
    let (y, _) = result(cx, node, 0)?;
    if let Some(number) = extent(cx, y, 0)? {
        let rows = counted(cx, ids, &[true])?;
        let spec = SegmentsSpec { ids: cx.ty(ids).elements(), counted: rows.is_some() };
        let mut args = vec![cx.operand(ids)?, number];
        args.extend(rows);
        cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    }
    with_ids(cx, node, ids)
}

/// Segments behind the number of them are an error; negative ones are dropped.
pub(super) fn unsorted_segments(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (ids, number) = (cx.input(node, 1)?, cx.input(node, 2)?);
    let (y, _) = result(cx, node, 0)?;
    let mut l = Lengths::default();
    let number = l.element(cx, number, 0)?;
    give(cx, &mut l, y, 0, number)?;
    l.call(cx);
    // Ids between the number of segments and its bound would go unnoticed.
    if let Some(number) = extent(cx, y, 0)? {
        below(cx, number, ids, [0, 1], Negative::Passes)?;
    }
    with_ids(cx, node, ids)
}

fn with_ids(cx: &mut Cx<'_, '_>, node: &Node, ids: TensorId) -> Result<(), CompileError> {
    scattering::segments(cx, node, is_open(cx, Some(ids)))
}

pub(super) fn scatter(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (index, updates) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, _) = result(cx, node, 0)?;
    sizes_from(cx, node, 2)?;
    let mut l = Lengths::default();
    let (tuples, rows) = (l.axis(cx, index, 0)?, l.axis(cx, updates, 0)?);
    if tuples != rows {
        let same = l.equal(tuples, rows);
        l.check(same);
    }
    l.call(cx);
    let depth = cx.ty(index).shape.last().copied().unwrap_or(0);
    check_tuples(cx, y, depth, index)?;
    let at = dropped_behind(cx, index)?;
    scattering::scatter_nd(cx, node, Some(at))
}

/// The lengths of open axes of the result, from the operand that holds its shape.
pub(super) fn sizes_from(cx: &mut Cx<'_, '_>, node: &Node, operand: usize) -> Result<(), CompileError> {
    let sizes = cx.input(node, operand)?;
    let (y, ty) = result(cx, node, 0)?;
    let mut l = Lengths::default();
    for d in 0..ty.shape.len() {
        if extent(cx, y, d)?.is_some() {
            let size = l.element(cx, sizes, d)?;
            give(cx, &mut l, y, d, size)?;
        }
    }
    l.call(cx);
    Ok(())
}

/// The length of the new axis of ONE_HOT, which is an operand.
pub(super) fn depth(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let depth = cx.input(node, 1)?;
    let (y, ty) = result(cx, node, 0)?;
    let rank = ty.shape.len();
    let at = match node.attrs.int("axis", -1) {
        -1 => rank.saturating_sub(1),
        a => crate::lower::constants::axis(cx, a, rank)?,
    };
    let mut l = Lengths::default();
    let length = l.element(cx, depth, 0)?;
    give(cx, &mut l, y, at, length)?;
    l.call(cx);
    Ok(())
}

/// SQUEEZE of whatever is one: an open axis stays, and must not be one.
pub(super) fn more_than_one(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    if matches!(node.attrs.get("squeeze_dims"), Some(AttrValue::Ints(dims)) if !dims.is_empty()) {
        return Ok(());
    }
    let x = cx.input(node, 0)?;
    let mut l = Lengths::default();
    let (zero, one) = (l.number(0), l.number(1));
    for d in 0..cx.ty(x).shape.len() {
        if extent(cx, x, d)?.is_some() {
            let length = l.axis(cx, x, d)?;
            let lone = l.equal(length, one);
            let fine = l.equal(lone, zero);
            l.check(fine);
        }
    }
    l.call(cx);
    Ok(())
}

/// The bound's dimensions, of which some are replaced by extents.
pub(super) fn shape(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let bytes = ty.dtype.bits() / 8;
    let dims = &cx.ty(x).shape;
    let data: Vec<u8> = dims.iter().flat_map(|v| (*v as u64).to_le_bytes()[..bytes].to_vec()).collect();
    let (from, to, n) = (cx.bytes(data), cx.operand(y)?, dims.len());
    let whole = |base: Operand| Part { base, offset: 0, strides: vec![1] };
    copy_strided(cx, &[n], whole(from), whole(to), bytes);
    for axis in 0..n {
        if let Some(number) = extent(cx, x, axis)? {
            // The low bytes of the extent: lengths are below 2^31.
            copy_strided(cx, &[1], whole(number), whole(to.offset(axis * bytes)), bytes);
        }
    }
    Ok(())
}
