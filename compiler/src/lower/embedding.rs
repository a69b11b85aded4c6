//! EMBEDDING_LOOKUP of quantised tables, EMBEDDING_LOOKUP_SPARSE and HASHTABLE_LOOKUP.

use super::constants::element_bytes;
use super::context::{Cx, Operand};
use super::gather::{rows, wide_index};
use super::grain::grain;
use super::movement::result;
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind};
use crate::ops::value::Value;
use tflc_templates::cpu::lookup::{Combiner, LookupKeysSpec, LookupSparseSpec};
use tflc_templates::cpu::pointwise::{PointwiseSpec, broadcast, row_major};
use tflc_templates::expr::{Cast, ExprBuilder, Storage, Ty};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::EmbeddingLookup => dequantized(cx, node),
        OpKind::EmbeddingLookupSparse => sparse(cx, node),
        _ => by_key(cx, node),
    }
}

/// Rows of a quantised table as floats: the rows, their scales and zero points are gathered, then combined.
fn dequantized(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (index, table) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let values = cx.ty(table);
    let Some((&count, inner)) = values.shape.split_first() else { return Err(cx.internal("values without dimensions")) };
    let inner: usize = inner.iter().product();
    let storage = if values.dtype == DType::UInt8 { Storage::U8 } else { Storage::I8 };
    let stored = match values.dtype {
        DType::Int8 | DType::UInt8 => cx.operand(table)?,
        DType::Int4 => {
            let data = cx.require_constant(table, "a table of int4")?.clone();
            let value = Value::from_bytes(values.clone(), data).ok_or_else(|| cx.internal("a table of another size"))?;
            let bytes = value.to_i8().ok_or_else(|| cx.internal("no bytes"))?;
            cx.bytes(bytes.into_iter().map(|v| *v as u8).collect())
        }
        other => return Err(cx.unsupported(Unsupported::Types(format!("{other} to {}", ty.dtype)))),
    };
    let q = cx.as_call()?.weight_quant(values, 0, count)?.clone();
    let (n, wide) = (cx.ty(index).elements(), wide_index(cx, index)?);
    let index = cx.operand(index)?;
    let picked = cx.workspace(n * inner);
    rows(cx, [count, n, inner], wide, [stored, index, picked]);
    let dims = [n, inner];
    let mut args = vec![picked];
    let mut strides = vec![row_major(&dims)];
    let mut b = ExprBuilder::new([storage, Storage::F32, Storage::I32]);
    let (v, mut scale, mut zero) = (b.input(0), b.input(1), b.input(2));
    if q.scale.len() == 1 {
        b = ExprBuilder::new([storage]);
        b.input(0);
        (scale, zero) = (b.f32(q.scale[0]), b.i32(q.zero_point[0] as i32));
    } else {
        let columns: [Vec<u8>; 2] =
            [q.scale.iter().flat_map(|s| s.to_le_bytes()).collect(), q.zero_point.iter().flat_map(|z| (*z as i32).to_le_bytes()).collect()];
        for column in columns {
            let (all, own): (Operand, Operand) = (cx.bytes(column), cx.workspace(n * 4));
            rows(cx, [count, n, 4], wide, [all, index, own]);
            args.push(own);
            strides.push(broadcast(&[n, 1], &dims));
        }
    }
    let v = b.sub(v, zero);
    let v = b.cast(Cast::Value, Ty::F32, v);
    let v = b.mul(v, scale);
    let expr = b.finish(v, Storage::F32);
    args.push(cx.operand(y)?);
    emit(cx, PointwiseSpec::new(&dims, strides, row_major(&dims), expr), args);
    Ok(())
}

fn by_key(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (queries, keys, values) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?);
    let ((y, ty), (hits, _)) = (result(cx, node, 0)?, result(cx, node, 1)?);
    let bytes = element_bytes(cx, ty)?;
    let inner: usize = ty.shape[1..].iter().product();
    let spec = LookupKeysSpec { lookups: cx.ty(queries).elements(), keys: cx.ty(keys).elements(), row_bytes: inner * bytes };
    let args = vec![cx.operand(queries)?, cx.operand(keys)?, cx.operand(values)?, cx.operand(y)?, cx.operand(hits)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    let unit_ns = 5.0 * (spec.keys as f64 + 2.0).log2() + spec.row_bytes as f64 * 0.1;
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, unit_ns));
    Ok(())
}

fn sparse(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (ids, indices) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (weights, table) = (cx.input(node, 3)?, cx.input(node, 4)?);
    let (y, ty) = result(cx, node, 0)?;
    let (&[lookups, depth], Some((&count, inner))) = (&cx.ty(indices).shape[..], cx.ty(table).shape.split_first()) else {
        return Err(cx.internal("indices or table of another rank"));
    };
    let combiner = match node.attrs.name("combiner", "SUM") {
        "MEAN" => Combiner::Mean,
        "SQRTN" => Combiner::SquareRoot,
        _ => Combiner::Sum,
    };
    let spec =
        LookupSparseSpec { lookups, depth, sizes: ty.shape[..depth - 1].to_vec(), rows: count, inner: inner.iter().product(), combiner };
    let work = cx.workspace(spec.workspace_bytes());
    let mut args = vec![];
    for t in [ids, indices, weights, table] {
        args.push(cx.operand(t)?);
    }
    args.extend([work, cx.operand(y)?]);
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    Ok(())
}
