//! SCATTER_ND, SPARSE_TO_DENSE, SEGMENT_SUM and UNSORTED_SEGMENT_*: slices that go where operands say.
//!
//! The result is filled first; every index is checked where it is used.

use super::constants::element_bytes;
use super::context::{Cx, Operand};
use super::gather::wide_index;
use super::movement::{Part, copy_strided, fill, raw, result};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind};
use crate::ops::storage::storage;
use tflc_templates::cpu::scatter::{Meet, Negative, ScatterSpec};
use tflc_templates::expr::Storage;

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::ScatterNd => scatter_nd(cx, node, None),
        OpKind::SparseToDense => sparse_to_dense(cx, node),
        _ => segments(cx, node, false),
    }
}

fn call(cx: &mut Cx<'_, '_>, spec: ScatterSpec, args: Vec<Operand>) {
    let caps = cx.caps().clone();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, 1, 1);
}

/// Slices that land where tuples say; `checked` are tuples that have been looked at, of which negative ones do not count.
pub(super) fn scatter_nd(cx: &mut Cx<'_, '_>, node: &Node, checked: Option<Operand>) -> Result<(), CompileError> {
    let (index, x) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let storage = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let Some((&depth, tuples)) = cx.ty(index).shape.split_last() else { return Err(cx.internal("indices without dimensions")) };
    if depth > ty.shape.len() {
        return Err(cx.internal(format!("indices of {depth} dimensions into {:?}", ty.shape)));
    }
    let spec = ScatterSpec {
        tuples: tuples.iter().product(),
        sizes: ty.shape[..depth].to_vec(),
        inner: ty.shape[depth..].iter().product(),
        storage,
        meet: Meet::Add,
        wide_index: wide_index(cx, index)?,
        negative: if checked.is_some() { Negative::Drop } else { Negative::Refuse },
        one_value: false,
    };
    let to = cx.operand(y)?;
    fill(cx, &ty.shape, Part::dense(to, &ty.shape), storage.bytes(), 0);
    let at = checked.map_or_else(|| cx.operand(index), Ok)?;
    let args = vec![at, cx.operand(x)?, to];
    call(cx, spec, args);
    Ok(())
}

fn sparse_to_dense(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (index, values, default) = (cx.input(node, 0)?, cx.input(node, 2)?, cx.input(node, 3)?);
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    if bytes > 8 {
        return Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string())));
    }
    let depth = ty.shape.len();
    let tuples = cx.ty(index).elements().checked_div(depth).unwrap_or(1);
    let spec = ScatterSpec {
        tuples,
        sizes: ty.shape.clone(),
        inner: 1,
        storage: raw(bytes),
        meet: Meet::Replace,
        wide_index: wide_index(cx, index)?,
        negative: Negative::Refuse,
        one_value: cx.ty(values).elements() == 1,
    };
    let (from, to) = (Part { base: cx.operand(default)?, offset: 0, strides: vec![0; depth] }, Part::dense(cx.operand(y)?, &ty.shape));
    copy_strided(cx, &ty.shape, from, to, bytes);
    let args = vec![cx.operand(index)?, cx.operand(values)?, cx.operand(y)?];
    call(cx, spec, args);
    Ok(())
}

/// Rows combined by segment; negative segments are dropped where segments are not in order, or open, and their order has been looked at.
pub(super) fn segments(cx: &mut Cx<'_, '_>, node: &Node, open: bool) -> Result<(), CompileError> {
    let (x, index) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let float = match ty.dtype {
        DType::Float32 => true,
        DType::Int32 => false,
        other => return Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    };
    let (meet, start) = match (node.op, float) {
        (OpKind::UnsortedSegmentProd, true) => (Meet::Multiply, 1f32.to_bits()),
        (OpKind::UnsortedSegmentProd, false) => (Meet::Multiply, 1),
        (OpKind::UnsortedSegmentMax, true) => (Meet::Max, f32::MIN.to_bits()),
        (OpKind::UnsortedSegmentMax, false) => (Meet::Max, i32::MIN as u32),
        (OpKind::UnsortedSegmentMin, true) => (Meet::Min, f32::MAX.to_bits()),
        (OpKind::UnsortedSegmentMin, false) => (Meet::Min, i32::MAX as u32),
        _ => (Meet::Add, 0),
    };
    let Some((&segments, inner)) = ty.shape.split_first() else { return Err(cx.internal("a result without segments")) };
    let spec = ScatterSpec {
        tuples: cx.ty(index).elements(),
        sizes: vec![segments],
        inner: inner.iter().product(),
        storage: if float { Storage::F32 } else { Storage::I32 },
        meet,
        wide_index: wide_index(cx, index)?,
        negative: if node.op == OpKind::SegmentSum && !open { Negative::Refuse } else { Negative::Drop },
        one_value: false,
    };
    let to = cx.operand(y)?;
    fill(cx, &ty.shape, Part::dense(to, &ty.shape), 4, u64::from(start));
    let at = if open { super::open::dropped_behind(cx, index)? } else { cx.operand(index)? };
    let args = vec![at, cx.operand(x)?, to];
    call(cx, spec, args);
    Ok(())
}
