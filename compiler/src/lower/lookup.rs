//! HASHTABLE_LOOKUP: rows of values by key, zeros and no hit where a key is missing.
//!
//! Every query is compared with every key in vectors, and the greatest matching position is the row; then it is a gather with checked indices.

use super::context::Cx;
use super::grain::grain;
use super::movement::{raw, result};
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node};
use tflc_templates::cpu::gather::GatherSpec;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::reduce::{Combine, ReduceSpec};
use tflc_templates::expr::{Cast, Compare, Expr, ExprBuilder, Storage, Ty};

/// Lowers a node.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let [queries, keys, values] = [cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?];
    let ((rows, ty), (hits, _)) = (result(cx, node, 0)?, result(cx, node, 1)?);
    let (n, m) = (cx.ty(queries).elements(), cx.ty(keys).elements());
    let width = ty.dtype.bits() / 8;
    if ty.dtype == DType::String || width == 0 {
        return Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string())));
    }
    let inner = ty.elements() / n.max(1);
    let (queries, keys, values) = (cx.operand(queries)?, cx.operand(keys)?, cx.operand(values)?);
    let (rows, hits) = (cx.operand(rows)?, cx.operand(hits)?);
    if n == 0 {
        return Ok(());
    }
    if m == 0 {
        super::movement::fill(cx, &[n * inner], super::movement::Part::dense(rows, &[n * inner]), width, 0);
        super::movement::fill(cx, &[n], super::movement::Part::dense(hits, &[n]), 1, 0);
        return Ok(());
    }
    // The position of each key where it matches, else -1; the greatest of a row is what was found.
    let positions = cx.bytes((0..m as i32).flat_map(i32::to_le_bytes).collect());
    let (matches, found, index) = (cx.workspace(n * m * 4), cx.workspace(n * 4), cx.workspace(n * 4));
    let mut b = ExprBuilder::new([Storage::I32; 3]);
    let (query, key, position, none) = (b.input(0), b.input(1), b.input(2), b.i32(-1));
    let equal = b.compare(Compare::Eq, query, key);
    let at = b.select(equal, position, none);
    let strides = vec![vec![1, 0], vec![0, 1], vec![0, 1]];
    let spec = PointwiseSpec::new(&[n, m], strides, vec![m as i64, 1], b.finish(at, Storage::I32));
    emit(cx, spec, vec![queries, keys, positions, matches]);
    let identity = || Expr::identity(Storage::I32);
    let spec = ReduceSpec::new(&[n, m], &[false, true], Combine::Max, identity(), identity());
    let caps = cx.caps().clone();
    let units = spec.units(&caps);
    cx.call(format!("{spec:?}"), move || spec.build(&caps), vec![matches, found], units, grain(units, m as f64 * 0.1));
    each(cx, n, found, hits, Storage::U8, |b, v| {
        let zero = b.i32(0);
        let hit = b.compare(Compare::Ge, v, zero);
        b.cast(Cast::Value, Ty::I32, hit)
    });
    each(cx, n, found, index, Storage::I32, |b, v| {
        let zero = b.i32(0);
        b.max(v, zero)
    });
    if inner == 0 {
        return Ok(());
    }
    let spec = GatherSpec { batch: 1, outer: 1, axis: m, indices: n, slice_bytes: inner * width, wide_index: false, wrap_negative: false };
    let caps = cx.caps().clone();
    let units = spec.units();
    let unit_ns = 2.0 + (inner * width) as f64 * 0.1;
    cx.call(format!("{spec:?}"), move || spec.build(&caps), vec![values, index, rows], units, grain(units, unit_ns));
    // Rows of missing keys become zeros.
    let storage = raw(width);
    let mut b = ExprBuilder::new([storage, Storage::I32]);
    let (v, found_id, none) = (b.input(0), b.input(1), b.i32(0));
    let hit = b.compare(Compare::Ge, found_id, none);
    let nought = if storage == Storage::I64 { b.i64(0) } else { b.i32(0) };
    let kept = b.select(hit, v, nought);
    let own = vec![inner as i64, 1];
    let spec = PointwiseSpec::new(&[n, inner], vec![own.clone(), vec![1, 0]], own, b.finish(kept, storage));
    emit(cx, spec, vec![rows, found, rows]);
    Ok(())
}

/// An expression of each of `n` words.
fn each(
    cx: &mut Cx<'_, '_>,
    n: usize,
    from: super::context::Operand,
    to: super::context::Operand,
    output: Storage,
    f: impl Fn(&mut ExprBuilder, tflc_templates::expr::Id) -> tflc_templates::expr::Id,
) {
    let mut b = ExprBuilder::new([Storage::I32]);
    let v = b.input(0);
    let v = f(&mut b, v);
    emit(cx, PointwiseSpec::new(&[n], vec![vec![1]], vec![1], b.finish(v, output)), vec![from, to]);
}
