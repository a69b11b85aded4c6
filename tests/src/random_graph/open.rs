//! Recipes of tensors whose size only a run knows: rows chosen by a mask, windows whose corners are inputs, computed borders, parts and sizes, and lengths that meet.

use super::recipes::{plan, plan_like, raw};
use super::{Generator, Planned};
use tflc::ir::OpKind::*;
use tflc::ir::{AttrValue, Attrs, DType, Quantization, TensorId};
use tflc::ops::Value;

const TYPES: &[DType] = &[DType::Float32, DType::Float32, DType::Int32, DType::Int64, DType::Int8, DType::Bool];

/// Positions that are true in a mask, mostly some, at times all or none.
fn places(g: &mut Generator, n: usize) -> Option<TensorId> {
    let share = g.rng.below(5);
    let mask: Vec<u8> = (0..n).map(|_| u8::from(g.rng.below(4) < share)).collect();
    let mask = g.input_of(Value::new(raw(DType::Bool, [n]), mask));
    let found = plan(Where, [mask], Attrs::new(), DType::Int64, Quantization::None)?;
    let found = *g.add(found)?.first()?;
    let last = plan(Squeeze, [found], Attrs::new().with("squeeze_dims", AttrValue::Ints(vec![1])), DType::Int64, Quantization::None)?;
    g.add(last)?.first().copied()
}

/// Rows of a tensor along an axis, chosen by a mask.
pub(super) fn rows(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(TYPES, |s| !s.is_empty() && s.iter().product::<usize>() <= 400, Generator::shape)?;
    let axis = g.rng.below(g.ty(x).shape.len());
    let at = places(g, g.ty(x).shape[axis])?;
    plan_like(g, Gather, [x, at], Attrs::new().with("axis", AttrValue::Int(axis as i64)), x)
}

/// A window of a tensor whose corner and size are inputs.
pub(super) fn window(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(TYPES, |s| !s.is_empty(), Generator::shape)?;
    let shape = g.ty(x).shape.clone();
    let begin: Vec<usize> = shape.iter().map(|n| g.rng.below(*n)).collect();
    let size: Vec<usize> = shape.iter().zip(&begin).map(|(n, b)| 1 + g.rng.below(n - b)).collect();
    let given = |g: &mut Generator, v: &[usize]| {
        let v: Vec<i32> = v.iter().map(|v| *v as i32).collect();
        g.given(Value::new(raw(DType::Int32, [v.len()]), v))
    };
    let (begin, size) = (given(g, &begin), given(g, &size));
    plan_like(g, Slice, [x, begin, size], Attrs::new(), x)
}

/// Numbers below `most` that a run computes from an input.
fn computed(g: &mut Generator, shape: impl Into<Vec<usize>>, numbers: Vec<i32>, most: i32) -> Option<TensorId> {
    let given = g.input_of(Value::new(raw(DType::Int32, shape), numbers));
    let most = g.constant(Value::new(raw(DType::Int32, []), vec![most]));
    let small = plan(FloorMod, [given, most], Attrs::new(), DType::Int32, Quantization::None)?;
    g.add(small)?.first().copied()
}

/// A tensor between borders of computed width.
pub(super) fn border(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(TYPES, |s| !s.is_empty() && s.len() < 5, Generator::shape)?;
    let rank = g.ty(x).shape.len();
    let widths: Vec<i32> = (0..2 * rank).map(|_| g.rng.below(3) as i32).collect();
    let widths = computed(g, [rank, 2], widths, 3)?;
    plan_like(g, Pad, [x, widths], Attrs::new(), x)
}

/// Two parts of an axis, of computed lengths.
pub(super) fn parts(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(TYPES, |s| !s.is_empty(), Generator::shape)?;
    let axis = g.rng.below(g.ty(x).shape.len());
    let length = g.ty(x).shape[axis];
    let first = g.rng.below(length + 1) as i32;
    let sizes = computed(g, [2], vec![first, length as i32 - first], length as i32 + 1)?;
    let axis = g.constant(Value::new(raw(DType::Int32, []), vec![axis as i32]));
    let one = plan_like(g, SplitV, [x, sizes, axis], Attrs::new().with("num_splits", AttrValue::Int(2)), x)?;
    let first = one.results.first()?.clone();
    Some(Planned { results: vec![first; 2], ..one })
}

/// Images of a computed size.
pub(super) fn resized(g: &mut Generator) -> Option<Planned> {
    let image = |s: &[usize]| s.len() == 4 && s[1] * s[2] > 0;
    let shape = |g: &mut Generator| vec![1 + g.rng.below(2), 1 + g.rng.below(6), 1 + g.rng.below(6), 1 + g.rng.below(5)];
    let x = g.operand(&[DType::Float32, DType::Int8, DType::UInt8], image, shape)?;
    let size = vec![1 + g.rng.below(5) as i32, 1 + g.rng.below(5) as i32];
    let size = computed(g, [2], size, 6)?;
    let op = if g.rng.one_in(2) { ResizeBilinear } else { ResizeNearestNeighbor };
    let attrs = Attrs::new().with("half_pixel_centers", AttrValue::Bool(g.rng.one_in(2)));
    plan_like(g, op, [x, size], attrs, x)
}

/// The beginnings of two tensors of other sizes, as long as an input says, added.
pub(super) fn meeting(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(&[DType::Float32, DType::Int32], |s| !s.is_empty(), Generator::shape)?;
    let ty = g.ty(x).clone();
    let longer: Vec<usize> = ty.shape.iter().map(|n| n + g.rng.below(3)).collect();
    let y = g.input(ty.dtype, longer);
    let from = g.constant(Value::new(raw(DType::Int32, [ty.shape.len()]), vec![0; ty.shape.len()]));
    let size: Vec<i32> = ty.shape.iter().map(|n| 1 + g.rng.below(*n) as i32).collect();
    let size = g.input_of(Value::new(raw(DType::Int32, [size.len()]), size));
    let mut cut = |t: TensorId| {
        let part = plan_like(g, Slice, [t, from, size], Attrs::new(), t)?;
        g.add(part)?.first().copied()
    };
    let (a, b) = (cut(x)?, cut(y)?);
    plan_like(g, Add, [a, b], Attrs::new(), a)
}
