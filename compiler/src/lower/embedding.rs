//! EMBEDDING_LOOKUP_SPARSE and HASHTABLE_LOOKUP.

use super::constants::element_bytes;
use super::context::Cx;
use super::grain::grain;
use super::movement::result;
use crate::error::CompileError;
use crate::ir::{Node, OpKind};
use tflc_templates::cpu::lookup::{Combiner, LookupKeysSpec, LookupSparseSpec};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::EmbeddingLookupSparse => sparse(cx, node),
        _ => by_key(cx, node),
    }
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
