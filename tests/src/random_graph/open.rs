//! Recipes of tensors whose size only a run knows: rows chosen by a mask, and windows whose corners are inputs.

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
