//! GATHER, GATHER_ND, EMBEDDING_LOOKUP and ONE_HOT: elements chosen by indices, each checked where it is known only at run time.

use super::constants::{axis, element_bytes, ints};
use super::context::{Cx, Operand};
use super::grain::grain;
use super::movement::{Part, copy_strided, raw, result};
use super::open;
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind, TensorId};
use crate::ops::blockwise::Blocks;
use crate::ops::value::unpack;
use tflc_kir::Kernel;
use tflc_templates::cpu::gather::{GatherNdSpec, GatherSpec};
use tflc_templates::cpu::limit::limited;
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::expr::{Cast, Compare, ExprBuilder, Storage, Ty};

/// Constant indices up to this number become copies.
const FEW: usize = 8;

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::Gather => gather(cx, node),
        OpKind::GatherNd => gather_nd(cx, node),
        OpKind::EmbeddingLookup => embedding_lookup(cx, node),
        _ => one_hot(cx, node),
    }
}

/// Whether indices are 64 bits wide; those of 16 bits are widened by [`index_operand`].
pub(super) fn wide_index(cx: &Cx<'_, '_>, t: TensorId) -> Result<bool, CompileError> {
    match cx.ty(t).dtype {
        DType::Int16 | DType::Int32 => Ok(false),
        DType::Int64 => Ok(true),
        other => Err(cx.unsupported(Unsupported::Types(format!("{other} indices")))),
    }
}

/// Address of indices of 32 or 64 bits.
pub(super) fn index_operand(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Operand, CompileError> {
    let (from, ty) = (cx.operand(t)?, cx.ty(t));
    if ty.dtype != DType::Int16 {
        return Ok(from);
    }
    let elements = ty.elements();
    let wide = cx.workspace(elements * 4);
    let mut b = ExprBuilder::new([Storage::I16]);
    let v = b.input(0);
    emit(cx, PointwiseSpec::new(&[elements], vec![vec![1]], vec![1], b.finish(v, Storage::I32)), vec![from, wide]);
    Ok(wide)
}

fn gather(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, index) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let shape = &cx.ty(x).shape;
    let at = axis(cx, node.attrs.int("axis", 0), shape.len())?;
    let indices = &cx.ty(index).shape;
    let batch_dims = node.attrs.int("batch_dims", 0);
    let batch_dims = if batch_dims < 0 { batch_dims + indices.len() as i64 } else { batch_dims };
    let batch_dims = usize::try_from(batch_dims).ok().filter(|b| *b <= at && *b <= indices.len());
    let batch_dims = batch_dims.ok_or_else(|| cx.internal("batch_dims beyond the axis"))?;
    let bytes = element_bytes(cx, ty)?;
    let size = |dims: &[usize]| dims.iter().product::<usize>();
    let inner = size(&shape[at + 1..]);
    let (batch, outer, count) = (size(&shape[..batch_dims]), size(&shape[batch_dims..at]), size(&indices[batch_dims..]));
    if cx.constant(index).is_some() && batch == 1 && count <= FEW {
        open::check_below(cx, x, at, index, [0, 1])?;
        let picks = ints(cx, index, "indices")?;
        return copies(cx, (x, y), [outer, shape[at], inner], &picks, bytes);
    }
    let spec = GatherSpec {
        batch,
        outer,
        axis: shape[at],
        indices: count,
        slice_bytes: inner * bytes,
        wide_index: wide_index(cx, index)?,
        wrap_negative: false,
    };
    gather_by(cx, spec, x, index, y)
}

fn gather_by(cx: &mut Cx<'_, '_>, spec: GatherSpec, x: TensorId, index: TensorId, y: TensorId) -> Result<(), CompileError> {
    let axis = if cx.node.is_some_and(|n| n.op == OpKind::Gather) { gather_axis(cx, x)? } else { 0 };
    open::check_below(cx, x, axis, index, [0, 1])?;
    // `call_by` puts the indices in their place.
    let args = vec![cx.operand(x)?, Operand::Weights(0), cx.operand(y)?];
    let (caps, units, grain) = (cx.caps().clone(), spec.units(), tasks(&spec));
    let by_index = spec.splits_indices().then_some(0);
    call_by(cx, index, by_index, format!("{spec:?}"), move || spec.build(&caps), args, units, grain)
}

/// The axis that the current GATHER is along.
fn gather_axis(cx: &Cx<'_, '_>, x: TensorId) -> Result<usize, CompileError> {
    axis(cx, cx.node.map_or(0, |n| n.attrs.int("axis", 0)), cx.ty(x).shape.len())
}

/// Units of one task of a gather.
fn tasks(spec: &GatherSpec) -> u64 {
    let units = spec.units();
    let slices = (spec.batch * spec.outer * spec.indices) as f64 / units.max(1) as f64;
    grain(units, slices * (2.0 + spec.slice_bytes as f64 * 0.1))
}

fn gather_into(cx: &mut Cx<'_, '_>, spec: GatherSpec, x: Operand, index: Operand, y: Operand) {
    let args = vec![x, index, y];
    let (caps, units, grain) = (cx.caps().clone(), spec.units(), tasks(&spec));
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain);
}

/// One copy for each run of consecutive constant indices; sizes are those in front of, along and behind the axis.
fn copies(cx: &mut Cx<'_, '_>, (x, y): (TensorId, TensorId), sizes: [usize; 3], picks: &[i64], bytes: usize) -> Result<(), CompileError> {
    let [outer, n, inner] = sizes;
    if let Some(bad) = picks.iter().find(|p| **p < 0 || **p >= n as i64) {
        return Err(CompileError::invalid(cx.place(), format!("index {bad} of {n}")));
    }
    let mut i = 0;
    while i < picks.len() {
        let run = 1 + picks[i..].windows(2).take_while(|w| w[1] == w[0] + 1).count();
        let dims = [outer, run * inner];
        let from = Part { base: cx.operand(x)?, offset: picks[i] * inner as i64, strides: vec![(n * inner) as i64, 1] };
        let to = Part { base: cx.operand(y)?, offset: (i * inner) as i64, strides: vec![(picks.len() * inner) as i64, 1] };
        copy_strided(cx, &dims, from, to, bytes);
        i += run;
    }
    Ok(())
}

fn gather_nd(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, index) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let (shape, indices) = (&cx.ty(x).shape, &cx.ty(index).shape);
    let Some((&depth, tuples)) = indices.split_last() else { return Err(cx.internal("indices without dimensions")) };
    if depth > shape.len() {
        return Err(cx.internal(format!("indices of {depth} dimensions into {shape:?}")));
    }
    for d in 0..depth {
        open::check_below(cx, x, d, index, [d, depth])?;
    }
    let bytes = element_bytes(cx, ty)?;
    let spec = GatherNdSpec {
        tuples: tuples.iter().product(),
        sizes: shape[..depth].to_vec(),
        slice_bytes: shape[depth..].iter().product::<usize>() * bytes,
        wide_index: wide_index(cx, index)?,
    };
    // `call_by` puts the indices in their place.
    let args = vec![cx.operand(x)?, Operand::Weights(0), cx.operand(y)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    let unit_ns = 2.0 + depth as f64 + spec.slice_bytes as f64 * 0.1;
    call_by(cx, index, Some(1), format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, unit_ns))
}

/// Appends a call that follows indices, which are its operand 1. Where its units are indices, each of so many trailing dimensions of their tensor, and that is
/// open, those behind its extent are left out.
#[allow(clippy::too_many_arguments)]
fn call_by(
    cx: &mut Cx<'_, '_>,
    index: TensorId,
    tuple_dims: Option<usize>,
    key: String,
    build: impl Fn() -> Kernel + Send + Sync + 'static,
    mut args: Vec<Operand>,
    units: u64,
    grain: u64,
) -> Result<(), CompileError> {
    let indices = open::gather_indices(cx, index, tuple_dims)?;
    args[1] = indices.at;
    match indices.rows {
        None => cx.call(key, build, args, units, grain),
        Some((per_row, number)) => {
            args.push(number);
            cx.call(format!("limited {per_row} {key}"), move || limited(&build(), per_row), args, units, grain);
        }
    }
    Ok(())
}

/// Rows of operand 1 by operand 0; quantised rows become floats where the result is float.
fn embedding_lookup(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (index, x) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let values = cx.ty(x);
    let Some((&rows, rest)) = values.shape.split_first() else { return Err(cx.internal("values without dimensions")) };
    let inner = rest.iter().product::<usize>();
    let spec = |slice_bytes, wide_index| GatherSpec {
        batch: 1,
        outer: 1,
        axis: rows,
        indices: cx.ty(index).elements(),
        slice_bytes,
        wide_index,
        wrap_negative: false,
    };
    if values.dtype == ty.dtype {
        let spec = spec(inner * element_bytes(cx, ty)?, wide_index(cx, index)?);
        return gather_by(cx, spec, x, index, y);
    }
    if ty.dtype != DType::Float32 {
        return Err(cx.unsupported(Unsupported::Types(format!("{} to {}", values.dtype, ty.dtype))));
    }
    let storage = match values.dtype {
        DType::UInt8 => Storage::U8,
        DType::Int8 | DType::Int4 | DType::Int2 => Storage::I8,
        other => return Err(cx.unsupported(Unsupported::Types(format!("a table of {other}")))),
    };
    let wide = wide_index(cx, index)?;
    let (by_row, by_scale) = (spec(inner, wide), spec(4, wide));
    let n = by_row.indices;
    let blocks = Blocks::stored(&cx.as_call()?, values, rows, inner)?;
    let table = unpacked(cx, x)?;
    let stored = cx.workspace(n * inner);
    let (at, to) = (cx.operand(index)?, cx.operand(y)?);
    gather_into(cx, by_row.clone(), table, at, stored);
    if let Some(Blocks { size, scales }) = blocks {
        // Each row takes its scales with it.
        let count = inner / size;
        let picked = cx.workspace(n * count * 4);
        let scales = cx.bytes(scales.iter().flat_map(|s| s.to_le_bytes()).collect());
        gather_into(cx, GatherSpec { slice_bytes: count * 4, ..by_row }, scales, at, picked);
        let mut b = ExprBuilder::new([storage, Storage::F32]);
        let (q, scale) = (b.input(0), b.input(1));
        let v = b.cast(Cast::Value, Ty::F32, q);
        let v = b.mul(v, scale);
        let dims = [n, count, size];
        let own = row_major(&dims);
        let spec = PointwiseSpec::new(&dims, vec![own.clone(), vec![count as i64, 1, 0]], own, b.finish(v, Storage::F32));
        emit(cx, spec, vec![stored, picked, to]);
        return Ok(());
    }
    let quant = cx.as_call()?.weight_quant(values, 0, rows)?;
    // Rows have scales and zero points of their own, or all the same.
    let per_row = |cx: &mut Cx<'_, '_>, words: Vec<[u8; 4]>| {
        let (single, table) = (words.len() == 1, cx.bytes(words.concat()));
        if single {
            return (table, vec![0, 0]);
        }
        let picked = cx.workspace(n * 4);
        gather_into(cx, by_scale.clone(), table, at, picked);
        (picked, vec![1, 0])
    };
    let (scales, scale_strides) = per_row(cx, quant.scale.iter().map(|s| s.to_le_bytes()).collect());
    let (zeros, zero_strides) = per_row(cx, quant.zero_point.iter().map(|z| (*z as i32).to_le_bytes()).collect());
    let mut b = ExprBuilder::new([storage, Storage::F32, Storage::I32]);
    let (q, scale, zero) = (b.input(0), b.input(1), b.input(2));
    let v = b.sub(q, zero);
    let v = b.cast(Cast::Value, Ty::F32, v);
    let v = b.mul(v, scale);
    let expr = b.finish(v, Storage::F32);
    let dims = [n, inner];
    let spec = PointwiseSpec::new(&dims, vec![row_major(&dims), scale_strides, zero_strides], row_major(&dims), expr);
    emit(cx, spec, vec![stored, scales, zeros, to]);
    Ok(())
}

/// A table of bytes; smaller elements are unpacked by the compiler.
fn unpacked(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Operand, CompileError> {
    let ty = cx.ty(t);
    if ty.dtype.bits() == 8 {
        return cx.operand(t);
    }
    let (dtype, elements) = (ty.dtype, ty.elements());
    let data = cx.require_constant(t, "table")?.clone();
    Ok(cx.packed(t, "bytes", elements, move |out| {
        for (to, v) in out.iter_mut().zip(unpack(dtype, &data, elements)) {
            *to = v as u8;
        }
    }))
}

/// `index == position ? on : off` along the new axis; an index outside it selects nothing.
fn one_hot(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (index, on, off) = (cx.input(node, 0)?, cx.input(node, 2)?, cx.input(node, 3)?);
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    let rank = ty.shape.len();
    let at = match node.attrs.int("axis", -1) {
        -1 => rank.saturating_sub(1),
        a => axis(cx, a, rank)?,
    };
    let wide = wide_index(cx, index)?;
    let positions: Vec<u8> = (0..ty.shape[at] as i32).flat_map(i32::to_le_bytes).collect();
    let positions = cx.bytes(positions);
    let element = raw(bytes);
    let mut b = ExprBuilder::new([if wide { Storage::I64 } else { Storage::I32 }, Storage::I32, element, element]);
    let (i, k, on_value, off_value) = (b.input(0), b.input(1), b.input(2), b.input(3));
    let k = if wide { b.cast(Cast::Value, Ty::I64, k) } else { k };
    let hit = b.compare(Compare::Eq, i, k);
    let v = b.select(hit, on_value, off_value);
    let expr = b.finish(v, element);
    let own = row_major(&ty.shape);
    let mut by_index = row_major(&cx.ty(index).shape);
    by_index.insert(at, 0);
    let mut by_position = vec![0; rank];
    by_position[at] = 1;
    let args = vec![cx.operand(index)?, positions, cx.operand(on)?, cx.operand(off)?, cx.operand(y)?];
    let spec = PointwiseSpec::new(&ty.shape, vec![by_index, by_position, vec![0; rank], vec![0; rank]], own, expr);
    emit(cx, spec, args);
    Ok(())
}
