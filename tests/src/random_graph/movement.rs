//! Recipes of operators that move elements and keep their values.

use super::recipes::{plan, plan_like, raw, size};
use super::{Generator, Planned};
use tflc::ir::{AttrValue, Attrs, DType, OpKind, Quantization, TensorId, TensorType};
use tflc::ops::Value;

/// Element types of data that is only moved.
pub(super) const MOVED: &[DType] = &[
    DType::Float32,
    DType::Int8,
    DType::Float16,
    DType::BFloat16,
    DType::UInt8,
    DType::Int16,
    DType::UInt16,
    DType::Int32,
    DType::UInt32,
    DType::Int64,
    DType::UInt64,
    DType::Bool,
    DType::Complex64,
];

/// A value of any element type and at least one dimension.
pub(super) fn ranked(g: &mut Generator) -> Option<TensorId> {
    g.operand(MOVED, |s| !s.is_empty(), Generator::shape)
}

/// The same for an operator that moves packed integers too, where its row names them.
pub(super) fn ranked_of(g: &mut Generator, op: OpKind) -> Option<TensorId> {
    let packed = g.dtypes(op).into_iter().filter(|d| d.bits() < 8);
    let dtypes: Vec<DType> = MOVED.iter().copied().chain(packed).collect();
    g.operand(&dtypes, |s| !s.is_empty(), Generator::shape)
}

fn image(g: &mut Generator, ok: impl Fn(&[usize]) -> bool, shape: Vec<usize>) -> Option<TensorId> {
    g.operand(MOVED, |s| s.len() == 4 && ok(s), |_| shape)
}

pub(super) fn concatenation(g: &mut Generator) -> Option<Planned> {
    let a = ranked_of(g, OpKind::Concatenation)?;
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
    match g.op(&[OpKind::Pad, OpKind::Pad, OpKind::Padv2, OpKind::MirrorPad]) {
        OpKind::Padv2 => {
            let value = g.random_constant(TensorType { shape: vec![1], ..ty });
            plan_like(g, OpKind::Padv2, [x, amounts, value], Attrs::new(), x)
        }
        OpKind::MirrorPad => {
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
    let x = ranked_of(g, OpKind::Slice)?;
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
        attrs.set(*g.rng.choose(&["shrink_axis_mask", "new_axis_mask", "ellipsis_mask"]), AttrValue::Int(1));
    }
    if g.rng.one_in(4) {
        // Backwards along the last axis, to the first element.
        let (last, n) = (shape.len() - 1, shape[shape.len() - 1]);
        let list = |v: &[usize], at: i32| v.iter().enumerate().map(|(i, v)| if i == last { at } else { *v as i32 }).collect::<Vec<i32>>();
        let ty = raw(DType::Int32, [shape.len()]);
        let (begin, end, strides) = (list(&begin, n as i32 - 1), list(&end, -(n as i32) - 1), list(&strides, -1));
        let [begin, end, strides] = [begin, end, strides].map(|v| g.constant(Value::new(ty.clone(), v)));
        return plan_like(g, OpKind::StridedSlice, [x, begin, end, strides], attrs, x);
    }
    let (begin, end, strides) = (g.ints(&begin), g.ints(&end), g.ints(&strides));
    plan_like(g, OpKind::StridedSlice, [x, begin, end, strides], attrs, x)
}

pub(super) fn reshape(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(MOVED, |_| true, Generator::shape)?;
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
    let x = ranked_of(g, OpKind::Transpose)?;
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
    let at = g.int(axis);
    if g.op(&[OpKind::Split, OpKind::SplitV]) == OpKind::SplitV {
        let first = 1 + g.rng.below(ty.shape[axis]);
        let mut parts = vec![first as i32];
        if first < ty.shape[axis] {
            parts.push(if g.rng.one_in(2) { -1 } else { (ty.shape[axis] - first) as i32 });
        }
        let n = parts.len();
        let parts = g.constant(Value::new(raw(DType::Int32, [n]), parts));
        let one = plan_like(g, OpKind::SplitV, [x, parts, at], Attrs::new().with("num_splits", size(n)), x)?;
        return Some(Planned { results: vec![(ty.dtype, ty.quant); n], ..one });
    }
    let parts: Vec<usize> = (1..=4).filter(|n| ty.shape[axis].is_multiple_of(*n)).collect();
    let n = *g.rng.choose(&parts);
    let one = plan_like(g, OpKind::Split, [at, x], Attrs::new().with("num_splits", size(n)), x)?;
    Some(Planned { results: vec![(ty.dtype, ty.quant); n], ..one })
}

pub(super) fn pack(g: &mut Generator) -> Option<Planned> {
    let a = g.operand(MOVED, |_| true, Generator::shape)?;
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
    let x = g.operand(MOVED, |s| s.iter().any(|d| *d <= 4), |g| [g.shape_of(2), vec![2]].concat())?;
    let ty = g.ty(x).clone();
    let axis = ty.shape.iter().position(|d| *d <= 4)?;
    let n = ty.shape[axis];
    let one = plan_like(g, OpKind::Unpack, [x], Attrs::new().with("axis", size(axis)).with("num", size(n)), x)?;
    Some(Planned { results: vec![(ty.dtype, ty.quant); n], ..one })
}

/// TILE and BROADCAST_TO.
pub(super) fn tile(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let shape = g.ty(x).shape.clone();
    if g.op(&[OpKind::Tile, OpKind::BroadcastTo]) == OpKind::BroadcastTo {
        let mut to: Vec<usize> = shape.iter().map(|d| if *d == 1 { 1 + g.rng.below(5) } else { *d }).collect();
        if g.rng.one_in(2) {
            to.insert(0, 1 + g.rng.below(3));
        }
        let to = g.ints(&to);
        return plan_like(g, OpKind::BroadcastTo, [x, to], Attrs::new(), x);
    }
    let times: Vec<usize> = shape.iter().map(|_| if g.rng.one_in(2) { 2 } else { 1 }).collect();
    let times = g.ints(&times);
    plan_like(g, OpKind::Tile, [x, times], Attrs::new(), x)
}

pub(super) fn depth_space(g: &mut Generator) -> Option<Planned> {
    let (h, w) = (2 * (1 + g.rng.below(3)), 2 * (1 + g.rng.below(3)));
    let op = g.op(&[OpKind::DepthToSpace, OpKind::SpaceToDepth]);
    let x = match op {
        OpKind::DepthToSpace => image(g, |s| s[3].is_multiple_of(4), vec![1, h, w, 8]),
        _ => image(g, |s| s[1].is_multiple_of(2) && s[2].is_multiple_of(2), vec![2, h, w, 3]),
    };
    let x = x?;
    plan_like(g, op, [x], Attrs::new().with("block_size", size(2)), x)
}

/// SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND.
pub(super) fn batch_space(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[OpKind::SpaceToBatchNd, OpKind::BatchToSpaceNd]);
    let x = if op == OpKind::SpaceToBatchNd {
        image(g, |_| true, vec![2, 3, 4, 3])
    } else {
        let shape = [4, 2, 3, 1 + g.rng.below(4)];
        image(g, |s| s[0].is_multiple_of(4), shape.to_vec())
    }?;
    let shape = g.ty(x).shape.clone();
    // Padding makes the sizes multiples of the block; crops stay inside.
    let borders: Vec<i32> = (1..3)
        .flat_map(|d| {
            let front = g.rng.below(2);
            let back = if op == OpKind::SpaceToBatchNd { (front + shape[d]) % 2 } else { g.rng.below(2) };
            [front as i32, back as i32]
        })
        .collect();
    let block = g.ints(&[2, 2]);
    let borders = g.constant(Value::new(raw(DType::Int32, [2, 2]), borders));
    plan_like(g, op, [x, block, borders], Attrs::new(), x)
}

pub(super) fn reverse(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let shape = g.ty(x).shape.clone();
    let axis = g.rng.below(shape.len());
    if g.op(&[OpKind::ReverseV2, OpKind::ReverseSequence]) == OpKind::ReverseV2 {
        let axes = g.ints(&[axis]);
        return plan_like(g, OpKind::ReverseV2, [x, axes], Attrs::new(), x);
    }
    let batch = (axis + 1) % shape.len();
    let lengths: Vec<i64> = (0..shape[batch]).map(|_| g.rng.below(shape[axis] + 1) as i64).collect();
    let lengths = integers(g, lengths);
    let attrs = Attrs::new().with("seq_dim", size(axis)).with("batch_dim", size(batch));
    plan_like(g, OpKind::ReverseSequence, [x, lengths], attrs, x)
}

/// A list of int32 or int64, as a constant or an input.
pub(super) fn integers(g: &mut Generator, list: Vec<i64>) -> TensorId {
    let shape = [list.len()];
    shaped_integers(g, list, &shape)
}

/// The same of a shape.
pub(super) fn shaped_integers(g: &mut Generator, list: Vec<i64>, shape: &[usize]) -> TensorId {
    if g.rng.one_in(3) {
        return g.given(Value::new(raw(DType::Int64, shape), list));
    }
    g.given(Value::new(raw(DType::Int32, shape), list.into_iter().map(|v| v as i32).collect()))
}

/// MATRIX_DIAG and MATRIX_SET_DIAG.
pub(super) fn diagonal(g: &mut Generator) -> Option<Planned> {
    if g.op(&[OpKind::MatrixDiag, OpKind::MatrixSetDiag]) == OpKind::MatrixDiag {
        let x = g.operand(MOVED, |s| !s.is_empty() && s.len() < 4, |g| g.shape_of(2))?;
        return plan_like(g, OpKind::MatrixDiag, [x], Attrs::new(), x);
    }
    let x = g.operand(MOVED, |s| s.len() >= 2, |g| g.shape_of(3))?;
    let ty = g.ty(x).clone();
    let mut shape = ty.shape.clone();
    let last = shape.pop()?;
    let rows = shape.pop()?;
    shape.push(rows.min(last));
    let value = crate::random_values::random_value(&mut g.rng, &TensorType { shape, ..ty });
    let d = g.given(value);
    plan_like(g, OpKind::MatrixSetDiag, [x, d], Attrs::new(), x)
}

pub(super) fn dilate(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let ty = g.ty(x).clone();
    let steps: Vec<usize> = ty.shape.iter().map(|_| 1 + g.rng.below(3)).collect();
    let steps = g.ints(&steps);
    let fill = g.random_constant(TensorType { shape: vec![], ..ty });
    plan_like(g, OpKind::Dilate, [x, steps, fill], Attrs::new(), x)
}

pub(super) fn fill(g: &mut Generator) -> Option<Planned> {
    let dtype = g.dtype(MOVED);
    let value = g.input(dtype, vec![]);
    let dims = g.shape();
    let dims = g.ints(&dims);
    plan_like(g, OpKind::Fill, [dims, value], Attrs::new(), value)
}

/// DENSIFY of a constant, which import has made dense.
pub(super) fn densify(g: &mut Generator) -> Option<Planned> {
    let dtype = g.dtype(&[DType::Float32, DType::Float16, DType::Int8]);
    let (shape, quant) = (g.shape(), g.quantization(dtype));
    let x = g.random_constant(TensorType { dtype, shape, quant });
    plan_like(g, OpKind::Densify, [x], Attrs::new(), x)
}

/// SHAPE and RANK.
pub(super) fn shape(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[OpKind::Shape, OpKind::Rank]);
    let x = ranked(g)?;
    let dtype = if op == OpKind::Shape { g.dtype(&[DType::Int32, DType::Int64]) } else { DType::Int32 };
    plan(op, [x], Attrs::new(), dtype, Quantization::None)
}

/// RANGE of constants: of values that only a run knows the result has no bound.
pub(super) fn range(g: &mut Generator) -> Option<Planned> {
    let dtype = g.dtype(&[DType::Float32, DType::Int32, DType::Int64]);
    let (start, step, n) = (g.rng.between(-5, 5), if g.rng.one_in(3) { -2 } else { 1 + g.rng.below(3) as i64 }, g.rng.below(12) as i64);
    let mut number = |v: i64| {
        let value = match dtype {
            DType::Float32 => Value::new(raw(dtype, []), vec![v as f32 * 0.5]),
            DType::Int32 => Value::new(raw(dtype, []), vec![v as i32]),
            _ => Value::new(raw(dtype, []), vec![v]),
        };
        g.constant(value)
    };
    let inputs = [number(start), number(start + n * step), number(step)];
    plan(OpKind::Range, inputs, Attrs::new(), dtype, Quantization::None)
}

pub(super) fn broadcast_args(g: &mut Generator) -> Option<Planned> {
    let a = g.shape();
    let b: Vec<usize> = a.iter().map(|d| if g.rng.one_in(2) { 1 } else { *d }).collect();
    let dtype = g.dtype(&[DType::Int32, DType::Int64]);
    let mut list = |s: &[usize]| {
        let value = match dtype {
            DType::Int32 => Value::new(raw(dtype, [s.len()]), s.iter().map(|d| *d as i32).collect()),
            _ => Value::new(raw(dtype, [s.len()]), s.iter().map(|d| *d as i64).collect()),
        };
        g.given(value)
    };
    let inputs = [list(&a), list(&b)];
    plan(OpKind::BroadcastArgs, inputs, Attrs::new(), dtype, Quantization::None)
}

pub(super) fn expand_or_squeeze(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(MOVED, |_| true, Generator::shape)?;
    let ty = g.ty(x).clone();
    let ones: Vec<i64> = (0..ty.shape.len()).filter(|i| ty.shape[*i] == 1).map(|i| i as i64).collect();
    if !ones.is_empty() && g.rng.one_in(2) {
        // Which axes are 1 must be said of a tensor that may be of open size: how many dimensions the result has would be open too.
        let closed = g.graph().inputs.contains(&x) || g.graph().tensor(x).data.is_some();
        let dims = AttrValue::Ints(if g.rng.one_in(2) && closed { vec![] } else { ones });
        return plan(OpKind::Squeeze, [x], Attrs::new().with("squeeze_dims", dims), ty.dtype, ty.quant);
    }
    let axis = g.rng.below(ty.shape.len() + 1);
    let axis = g.int(axis);
    plan(OpKind::ExpandDims, [x, axis], Attrs::new(), ty.dtype, ty.quant)
}
