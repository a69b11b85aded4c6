//! Recipes of operators whose places come from operands: gathering, scattering, segments, tables.

use super::movement::{MOVED, integers, ranked, ranked_of, shaped_integers};
use super::recipes::{name, plan, plan_like, raw, size};
use super::{Generator, Planned};
use crate::random_values::random_value;
use tflc::ir::OpKind::*;
use tflc::ir::{Affine, AttrValue, Attrs, DType, Quantization, TensorId, TensorType};
use tflc::ops::Value;

/// Indices below bounds, one column each.
fn places(g: &mut Generator, rows: usize, bounds: &[usize]) -> Vec<i64> {
    (0..rows).flat_map(|_| bounds.iter().map(|n| g.rng.below(*n) as i64).collect::<Vec<_>>()).collect()
}

/// Random elements of an operand's type and another shape, as a constant or an input.
fn like(g: &mut Generator, x: TensorId, shape: impl Into<Vec<usize>>) -> TensorId {
    let ty = TensorType { shape: shape.into(), ..g.ty(x).clone() };
    let value = random_value(&mut g.rng, &ty);
    g.given(value)
}

pub(super) fn gather(g: &mut Generator) -> Option<Planned> {
    let x = ranked_of(g, Gather)?;
    let shape = g.ty(x).shape.clone();
    let axis = g.rng.below(shape.len());
    let batch = if axis > 0 && g.rng.one_in(3) { 1 } else { 0 };
    let own: Vec<usize> = if g.rng.one_in(4) { vec![2, 3] } else { vec![1 + g.rng.below(6)] };
    let of = [&shape[..batch], &own].concat();
    let list = places(g, of.iter().product(), &[shape[axis]]);
    let indices = if g.rng.one_in(4) {
        g.given(Value::new(raw(DType::Int16, of), list.into_iter().map(|v| v as i16).collect()))
    } else {
        shaped_integers(g, list, &of)
    };
    plan_like(g, Gather, [x, indices], Attrs::new().with("axis", size(axis)).with("batch_dims", size(batch)), x)
}

pub(super) fn gather_nd(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let shape = g.ty(x).shape.clone();
    let (depth, rows) = (1 + g.rng.below(shape.len()), 1 + g.rng.below(6));
    let list = places(g, rows, &shape[..depth]);
    let indices = shaped_integers(g, list, &[rows, depth]);
    plan_like(g, GatherNd, [x, indices], Attrs::new(), x)
}

pub(super) fn scatter_nd(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(ScatterNd);
    let shape = g.shape_of(3);
    let (depth, rows) = (1 + g.rng.below(3), 1 + g.rng.below(6));
    let list: Vec<i32> = places(g, rows, &shape[..depth]).into_iter().map(|v| v as i32).collect();
    let indices = g.given(Value::new(raw(DType::Int32, [rows, depth]), list));
    let wanted = [&[rows], &shape[depth..]].concat();
    let updates = g.operand(&dtypes, |s| s == wanted, |_| wanted.clone())?;
    let to = g.ints(&shape);
    plan_like(g, ScatterNd, [indices, updates, to], Attrs::new(), updates)
}

pub(super) fn sparse_to_dense(g: &mut Generator) -> Option<Planned> {
    let shape = g.shape_of(2);
    let rows = 1 + g.rng.below(6);
    let mut list = places(g, rows, &shape);
    // Rows in order, as LiteRT asks.
    let mut ordered: Vec<&[i64]> = list.chunks_exact(2).collect();
    ordered.sort();
    ordered.dedup();
    list = ordered.concat();
    let rows = list.len() / 2;
    let indices = shaped_integers(g, list, &[rows, 2]);
    let values = g.operand(MOVED, |s| s == [rows], |_| vec![rows])?;
    let default = like(g, values, []);
    let to = g.ints(&shape);
    let attrs = Attrs::new().with("validate_indices", AttrValue::Bool(false));
    plan_like(g, SparseToDense, [indices, to, values, default], attrs, values)
}

pub(super) fn one_hot(g: &mut Generator) -> Option<Planned> {
    let rank = 1 + g.rng.below(2);
    let shape = g.shape_of(rank);
    let depth = 1 + g.rng.below(8);
    // Some indices are outside.
    let list: Vec<i64> = (0..shape.iter().product()).map(|_| g.rng.between(-1, depth as i64)).collect();
    let indices = shaped_integers(g, list, &shape);
    let dtype = g.dtype(MOVED);
    let on = g.input(dtype, vec![]);
    let off = like(g, on, []);
    let depth = g.int(depth);
    let axis = g.rng.between(-1, rank as i64);
    plan_like(g, OneHot, [indices, depth, on, off], Attrs::new().with("axis", AttrValue::Int(axis)), on)
}

pub(super) fn update_slice(g: &mut Generator) -> Option<Planned> {
    let x = ranked_of(g, DynamicUpdateSlice)?;
    let shape = g.ty(x).shape.clone();
    let part: Vec<usize> = shape.iter().map(|d| 1 + g.rng.below(*d)).collect();
    let update = like(g, x, part);
    // Starts are clamped.
    let start: Vec<i64> = shape.iter().map(|d| g.rng.between(-2, *d as i64 + 1)).collect();
    let start = integers(g, start);
    plan_like(g, DynamicUpdateSlice, [x, update, start], Attrs::new(), x)
}

/// SEGMENT_SUM and the unsorted ones.
pub(super) fn segment(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[SegmentSum, UnsortedSegmentProd, UnsortedSegmentMax, UnsortedSegmentSum, UnsortedSegmentMin]);
    let dtypes = g.dtypes(op);
    let x = g.operand(&dtypes, |s| !s.is_empty(), |g| g.shape_of(2))?;
    let rows = g.ty(x).shape[0];
    if op == SegmentSum {
        let mut at = 0;
        let ids: Vec<i32> = (0..rows)
            .map(|i| {
                at += if i > 0 && g.rng.one_in(2) { 1 } else { 0 };
                at
            })
            .collect();
        let ids = g.constant(Value::new(raw(DType::Int32, [rows]), ids));
        return plan_like(g, op, [x, ids], Attrs::new(), x);
    }
    let segments = 1 + g.rng.below(5);
    let ids: Vec<i32> = (0..rows).map(|_| g.rng.between(-1, segments as i64 - 1) as i32).collect();
    // An empty segment of floats is the least or the greatest float.
    let whole = (0..segments as i32).all(|s| ids.contains(&s));
    if g.ty(x).dtype.is_float() && !whole && matches!(op, UnsortedSegmentMax | UnsortedSegmentMin) {
        return None;
    }
    let ids = g.given(Value::new(raw(DType::Int32, [rows]), ids));
    let segments = g.int(segments);
    plan_like(g, op, [x, ids, segments], Attrs::new(), x)
}

pub(super) fn embedding(g: &mut Generator) -> Option<Planned> {
    let packed = [DType::Int4, DType::Int2];
    let dtype = g.dtype(&[MOVED, &packed].concat());
    let (rows, columns, n) = (1 + g.rng.below(9), 4 * (1 + g.rng.below(4)), 1 + g.rng.below(6));
    let quant = match dtype {
        DType::Int8 | DType::UInt8 | DType::Int4 | DType::Int2 => Quantization::Affine(Affine::per_tensor(0.05, 0)),
        _ => Quantization::None,
    };
    let table = g.random_constant(TensorType { dtype, shape: vec![rows, columns], quant: quant.clone() });
    let ids: Vec<i32> = places(g, n, &[rows]).into_iter().map(|v| v as i32).collect();
    let ids = g.given(Value::new(raw(DType::Int32, [n]), ids));
    let float = packed.contains(&dtype) || dtype == DType::Int8 && g.rng.one_in(2);
    let (dtype, quant) = if float { (DType::Float32, Quantization::None) } else { (dtype, quant) };
    plan(EmbeddingLookup, [ids, table], Attrs::new(), dtype, quant)
}

/// LSH_PROJECTION of items of any type, with and without weights.
pub(super) fn projection(g: &mut Generator) -> Option<Planned> {
    let (hashes, bits, items) = (1 + g.rng.below(4), 1 + g.rng.below(8), 1 + g.rng.below(6));
    let seeds = g.random_constant(raw(DType::Float32, [hashes, bits]));
    let x = g.precise(MOVED, |s| s.first().is_some_and(|n| *n == items), |g| vec![items, 1 + g.rng.below(3)])?;
    let mut inputs = vec![seeds, x];
    if g.rng.one_in(2) {
        inputs.push(g.random_constant(raw(DType::Float32, [items])));
    }
    let chosen = *g.rng.choose(&["SPARSE", "DENSE"]);
    let attrs = Attrs::new().with("type", name(chosen));
    plan(LshProjection, inputs, attrs, DType::Int32, Quantization::None)
}

pub(super) fn embedding_sparse(g: &mut Generator) -> Option<Planned> {
    let (rows, n, width, table_rows) = (1 + g.rng.below(4), 1 + g.rng.below(6), 1 + g.rng.below(5), 1 + g.rng.below(8));
    let table = g.operand(&[DType::Float32], |s| s.len() == 2, |_| vec![table_rows, width])?;
    let table_rows = g.ty(table).shape[0];
    let ids: Vec<i32> = places(g, n, &[table_rows]).into_iter().map(|v| v as i32).collect();
    let mut at: Vec<i32> = (0..n).map(|_| g.rng.below(rows) as i32).collect();
    at.sort_unstable();
    let at: Vec<i32> = at.into_iter().enumerate().flat_map(|(i, row)| [row, i as i32]).collect();
    let ids = g.given(Value::new(raw(DType::Int32, [n]), ids));
    let at = g.given(Value::new(raw(DType::Int32, [n, 2]), at));
    let shape = g.ints(&[rows, n]);
    let weights: Vec<f32> = (0..n).map(|_| 0.5 + g.rng.signed_unit().abs()).collect();
    let weights = g.given(Value::new(raw(DType::Float32, [n]), weights));
    let chosen = *g.rng.choose(&["SUM", "MEAN", "SQRTN"]);
    let attrs = Attrs::new().with("combiner", name(chosen));
    plan(EmbeddingLookupSparse, [ids, at, shape, weights, table], attrs, DType::Float32, Quantization::None)
}

pub(super) fn hashtable_lookup(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(HashtableLookup);
    let x = g.operand(&dtypes, |s| !s.is_empty() && s[0] <= 12, |g| g.shape_of(2))?;
    let (ty, n) = (g.ty(x).clone(), 1 + g.rng.below(6));
    let mut key = -3;
    let keys: Vec<i32> = (0..ty.shape[0])
        .map(|_| {
            key += 1 + g.rng.below(3) as i32;
            key
        })
        .collect();
    let queries: Vec<i32> = (0..n).map(|_| if g.rng.one_in(4) { -9 } else { *g.rng.choose(&keys) }).collect();
    let keys = g.constant(Value::new(raw(DType::Int32, [keys.len()]), keys));
    let queries = g.given(Value::new(raw(DType::Int32, [n]), queries));
    let one = plan_like(g, HashtableLookup, [queries, keys, x], Attrs::new(), x)?;
    Some(Planned { results: vec![(ty.dtype, ty.quant), (DType::UInt8, Quantization::None)], ..one })
}
