//! Recipes of operators that move elements and keep their values.

use super::recipes::{is_number, plan, plan_like, size};
use super::{Generator, Planned};
use tflc::ir::{AttrValue, Attrs, DType, OpKind, TensorId, TensorType};
use tflc::ops::Value;

fn ranked(g: &mut Generator) -> Option<TensorId> {
    g.pick(|t| is_number(t) && !t.shape.is_empty())
}

pub(super) fn concatenation(g: &mut Generator) -> Option<Planned> {
    let a = ranked(g)?;
    let ty = g.ty(a).clone();
    let axis = g.rng.below(ty.shape.len());
    let fits = |t: &TensorType| {
        let others = t.shape.iter().zip(&ty.shape).enumerate().all(|(i, (x, y))| i == axis || x == y);
        t.dtype == ty.dtype && t.quant == ty.quant && t.shape.len() == ty.shape.len() && others
    };
    let mut inputs = vec![a];
    for _ in 0..1 + g.rng.below(3) {
        if g.rng.one_in(3) {
            let mut shape = ty.shape.clone();
            shape[axis] = 1 + g.rng.below(4);
            inputs.push(g.random_constant(TensorType { shape, ..ty.clone() }));
        } else {
            inputs.extend(g.pick(fits));
        }
    }
    let attrs = Attrs::new().with("axis", size(axis)).with("fused_activation_function", AttrValue::Enum("NONE".into()));
    plan_like(g, OpKind::Concatenation, inputs, attrs, a)
}

/// PAD, PADV2 and MIRROR_PAD.
pub(super) fn pad(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let ty = g.ty(x).clone();
    let rank = ty.shape.len();
    let amounts: Vec<i32> = (0..2 * rank).map(|_| if g.rng.one_in(2) { 0 } else { g.rng.below(3) as i32 }).collect();
    let amounts = g.constant(Value::new(TensorType::new(DType::Int32, [rank, 2]), amounts));
    match g.rng.below(4) {
        0 => {
            let value = g.random_constant(TensorType { shape: vec![1], ..ty });
            plan_like(g, OpKind::Padv2, [x, amounts, value], Attrs::new(), x)
        }
        1 => {
            let mode = AttrValue::Enum((*g.rng.choose(&["REFLECT", "SYMMETRIC"])).into());
            plan_like(g, OpKind::MirrorPad, [x, amounts], Attrs::new().with("mode", mode), x)
        }
        _ => plan_like(g, OpKind::Pad, [x, amounts], Attrs::new(), x),
    }
}

/// Where a part of each dimension begins and how long it is.
fn part(g: &mut Generator, shape: &[usize]) -> (Vec<usize>, Vec<usize>) {
    let begin: Vec<usize> = shape.iter().map(|d| if g.rng.one_in(2) { 0 } else { g.rng.below(*d) }).collect();
    let sizes = shape.iter().zip(&begin).map(|(d, b)| 1 + g.rng.below(d - b)).collect();
    (begin, sizes)
}

pub(super) fn slice(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let shape = g.ty(x).shape.clone();
    let (begin, sizes) = part(g, &shape);
    let (begin, sizes) = (g.ints(&begin), g.ints(&sizes));
    plan_like(g, OpKind::Slice, [x, begin, sizes], Attrs::new(), x)
}

pub(super) fn strided_slice(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let shape = g.ty(x).shape.clone();
    let (begin, sizes) = part(g, &shape);
    let end: Vec<usize> = begin.iter().zip(&sizes).map(|(b, s)| b + s).collect();
    let strides: Vec<usize> = shape.iter().map(|_| 1 + g.rng.below(2)).collect();
    let mask = |g: &mut Generator| AttrValue::Int(g.rng.below(1 << shape.len()) as i64);
    let mut attrs = Attrs::new();
    for name in ["begin_mask", "end_mask"] {
        let m = mask(g);
        attrs.set(name, m);
    }
    if g.rng.one_in(4) {
        attrs.set("shrink_axis_mask", AttrValue::Int(1));
    }
    let (begin, end, strides) = (g.ints(&begin), g.ints(&end), g.ints(&strides));
    plan_like(g, OpKind::StridedSlice, [x, begin, end, strides], attrs, x)
}

pub(super) fn reshape(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(is_number)?;
    let mut left = g.ty(x).elements();
    let mut shape = vec![];
    while left > 1 && shape.len() < 3 {
        let divisors: Vec<usize> = (1..=left).filter(|d| left.is_multiple_of(*d)).collect();
        let d = *g.rng.choose(&divisors);
        shape.push(d);
        left /= d;
    }
    shape.push(left);
    let ints: Vec<i64> = shape.iter().map(|d| *d as i64).collect();
    let to = g.ints(&shape);
    plan_like(g, OpKind::Reshape, [x, to], Attrs::new().with("new_shape", AttrValue::Ints(ints)), x)
}

pub(super) fn transpose(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let mut order: Vec<usize> = (0..g.ty(x).shape.len()).collect();
    for i in (1..order.len()).rev() {
        let j = g.rng.below(i + 1);
        order.swap(i, j);
    }
    let order = g.ints(&order);
    plan_like(g, OpKind::Transpose, [x, order], Attrs::new(), x)
}

pub(super) fn split(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let ty = g.ty(x).clone();
    let axis = g.rng.below(ty.shape.len());
    let parts: Vec<usize> = (1..=4).filter(|n| ty.shape[axis].is_multiple_of(*n)).collect();
    let n = *g.rng.choose(&parts);
    let at = g.int(axis);
    let one = plan_like(g, OpKind::Split, [at, x], Attrs::new().with("num_splits", size(n)), x)?;
    Some(Planned { results: vec![(ty.dtype, ty.quant); n], ..one })
}

pub(super) fn pack(g: &mut Generator) -> Option<Planned> {
    let a = g.pick(is_number)?;
    let ty = g.ty(a).clone();
    let mut inputs = vec![a];
    for _ in 0..1 + g.rng.below(3) {
        inputs.extend(g.pick(|t| *t == ty));
    }
    let axis = g.rng.below(ty.shape.len() + 1);
    let attrs = Attrs::new().with("axis", size(axis)).with("values_count", size(inputs.len()));
    plan_like(g, OpKind::Pack, inputs, attrs, a)
}

pub(super) fn unpack(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(|t| is_number(t) && t.shape.iter().any(|d| *d <= 4))?;
    let ty = g.ty(x).clone();
    let axis = ty.shape.iter().position(|d| *d <= 4)?;
    let n = ty.shape[axis];
    let one = plan_like(g, OpKind::Unpack, [x], Attrs::new().with("axis", size(axis)).with("num", size(n)), x)?;
    Some(Planned { results: vec![(ty.dtype, ty.quant); n], ..one })
}

pub(super) fn gather(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let shape = g.ty(x).shape.clone();
    let axis = g.rng.below(shape.len());
    let indices: Vec<usize> = (0..1 + g.rng.below(6)).map(|_| g.rng.below(shape[axis])).collect();
    let indices = g.ints(&indices);
    plan_like(g, OpKind::Gather, [x, indices], Attrs::new().with("axis", size(axis)).with("batch_dims", size(0)), x)
}

pub(super) fn tile(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let times: Vec<usize> = (0..g.ty(x).shape.len()).map(|_| if g.rng.one_in(2) { 2 } else { 1 }).collect();
    let times = g.ints(&times);
    plan_like(g, OpKind::Tile, [x, times], Attrs::new(), x)
}

pub(super) fn depth_to_space(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(|t| is_number(t) && t.shape.len() == 4 && t.shape[3].is_multiple_of(4))?;
    plan_like(g, OpKind::DepthToSpace, [x], Attrs::new().with("block_size", size(2)), x)
}

pub(super) fn space_to_depth(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(|t| is_number(t) && t.shape.len() == 4 && t.shape[1].is_multiple_of(2) && t.shape[2].is_multiple_of(2))?;
    plan_like(g, OpKind::SpaceToDepth, [x], Attrs::new().with("block_size", size(2)), x)
}

pub(super) fn expand_or_squeeze(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(is_number)?;
    let ty = g.ty(x).clone();
    let ones: Vec<i64> = (0..ty.shape.len()).filter(|i| ty.shape[*i] == 1).map(|i| i as i64).collect();
    if !ones.is_empty() && g.rng.one_in(2) {
        let dims = AttrValue::Ints(if g.rng.one_in(2) { vec![] } else { ones });
        return plan(OpKind::Squeeze, [x], Attrs::new().with("squeeze_dims", dims), ty.dtype, ty.quant);
    }
    let axis = g.rng.below(ty.shape.len() + 1);
    let axis = g.int(axis);
    plan(OpKind::ExpandDims, [x, axis], Attrs::new(), ty.dtype, ty.quant)
}
