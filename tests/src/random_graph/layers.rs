//! Recipes of convolutions, matrix products, pooling, softmax, reductions and resizing.

use super::recipes::{activation, is_number, is_real, name, plan, plan_like, size};
use super::{Generator, Planned, Steps};
use tflc::ir::{Affine, AttrValue, Attrs, DType, OpKind, Quantization, TensorId, TensorType};
use tflc::ops::Value;

/// Weights for activations `x`: small floats, or quantised along `axis` for signed integers and as a whole for uint8. Inputs of the model may be floats that
/// meet integers: of other floats, small differences would become steps.
fn weights(g: &mut Generator, x: TensorId, shape: Vec<usize>, axis: usize) -> TensorId {
    let activations = g.ty(x).dtype;
    let dtype = match activations {
        DType::Float32 if g.is_input(x) && g.rng.one_in(2) => DType::Int8,
        DType::Int16 => DType::Int8,
        other => other,
    };
    let ty = TensorType { dtype, shape, quant: Quantization::None };
    match dtype {
        DType::Float32 => {
            let elements: Vec<f32> = (0..ty.elements()).map(|_| g.rng.signed_unit()).collect();
            g.constant(Value::new(ty, elements))
        }
        DType::Int8 => {
            let n = if g.rng.one_in(4) { 1 } else { ty.shape[axis] };
            let scale = (0..n).map(|_| 0.001 * (1 + g.rng.below(9)) as f32).collect();
            let quant = Quantization::Affine(Affine { scale, zero_point: vec![0; n], axis: if n == 1 { 0 } else { axis } });
            let elements: Vec<i8> = (0..ty.elements()).map(|_| g.rng.between(-127, 127) as i8).collect();
            g.constant(Value::new(TensorType { quant, ..ty }, elements))
        }
        _ => {
            let quant = Quantization::Affine(Affine::per_tensor(0.005, g.rng.between(100, 156)));
            g.random_constant(TensorType { quant, ..ty })
        }
    }
}

/// A bias for weights, in the scale of the accumulators; at times none.
fn bias(g: &mut Generator, x: TensorId, w: TensorId, channels: usize) -> Option<TensorId> {
    if g.rng.one_in(5) {
        return None;
    }
    let shape = vec![channels];
    match (g.ty(x).quant.per_tensor(), g.ty(w).quant.affine().cloned()) {
        (Some((s, _)), Some(q)) => {
            let scale: Vec<f32> = q.scale.iter().map(|w| w * s).collect();
            let quant = Quantization::Affine(Affine { zero_point: vec![0; scale.len()], scale, axis: 0 });
            if g.ty(x).dtype == DType::Int16 {
                let elements: Vec<i64> = (0..channels).map(|_| g.rng.between(-300_000, 300_000)).collect();
                return Some(g.constant(Value::new(TensorType { dtype: DType::Int64, shape, quant }, elements)));
            }
            let elements: Vec<i32> = (0..channels).map(|_| g.rng.between(-3000, 3000) as i32).collect();
            Some(g.constant(Value::new(TensorType { dtype: DType::Int32, shape, quant }, elements)))
        }
        _ => Some(g.random_constant(TensorType::new(DType::Float32, shape))),
    }
}

fn window(g: &mut Generator, attrs: Attrs) -> Attrs {
    let attrs = attrs.with("padding", name(g.rng.choose::<&str>(&["SAME", "VALID"])));
    attrs.with("stride_h", size(1 + g.rng.below(3))).with("stride_w", size(1 + g.rng.below(3)))
}

fn dilation(g: &mut Generator, attrs: Attrs) -> Attrs {
    let d = |g: &mut Generator| size(if g.rng.one_in(4) { 2 } else { 1 });
    let (h, w) = (d(g), d(g));
    attrs.with("dilation_h_factor", h).with("dilation_w_factor", w)
}

fn image(g: &mut Generator) -> Option<TensorId> {
    g.pick(|t| is_real(t) && t.shape.len() == 4)
}

pub(super) fn conv_2d(g: &mut Generator) -> Option<Planned> {
    let x = image(g)?;
    let ty = g.ty(x).clone();
    let groups = if ty.shape[3].is_multiple_of(2) && g.rng.one_in(6) { 2 } else { 1 };
    let (kh, kw, out) = (1 + g.rng.below(3), 1 + g.rng.below(3), groups * (1 + g.rng.below(10)));
    let w = weights(g, x, vec![out, kh, kw, ty.shape[3] / groups], 0);
    let b = bias(g, x, w, out);
    let attrs = window(g, Attrs::new());
    let attrs = dilation(g, attrs);
    let attrs = activation(g, attrs);
    let quant = g.quantization(ty.dtype);
    Some(Planned { inputs: vec![Some(x), Some(w), b], ..plan(OpKind::Conv2d, [], attrs, ty.dtype, quant)? })
}

pub(super) fn depthwise_conv_2d(g: &mut Generator) -> Option<Planned> {
    let x = image(g)?;
    let ty = g.ty(x).clone();
    let multiplier = if g.rng.one_in(3) { 2 } else { 1 };
    let out = ty.shape[3] * multiplier;
    let (kh, kw) = (1 + g.rng.below(4), 1 + g.rng.below(4));
    let w = weights(g, x, vec![1, kh, kw, out], 3);
    let b = bias(g, x, w, out);
    let attrs = window(g, Attrs::new().with("depth_multiplier", size(multiplier)));
    let attrs = dilation(g, attrs);
    let attrs = activation(g, attrs);
    let quant = g.quantization(ty.dtype);
    Some(Planned { inputs: vec![Some(x), Some(w), b], ..plan(OpKind::DepthwiseConv2d, [], attrs, ty.dtype, quant)? })
}

pub(super) fn fully_connected(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(|t| is_real(t) && t.shape.len() >= 2)?;
    let ty = g.ty(x).clone();
    let (out, k) = (1 + g.rng.below(20), *ty.shape.last()?);
    let w = weights(g, x, vec![out, k], 0);
    let b = bias(g, x, w, out);
    let attrs = Attrs::new().with("keep_num_dims", AttrValue::Bool(g.rng.one_in(2))).with("weights_format", name("DEFAULT"));
    let attrs = activation(g, attrs);
    let quant = g.quantization(ty.dtype);
    Some(Planned { inputs: vec![Some(x), Some(w), b], ..plan(OpKind::FullyConnected, [], attrs, ty.dtype, quant)? })
}

pub(super) fn pool_2d(g: &mut Generator) -> Option<Planned> {
    let x = image(g)?;
    let op = *g.rng.choose(&[OpKind::AveragePool2d, OpKind::MaxPool2d]);
    let attrs = window(g, Attrs::new()).with("filter_height", size(1 + g.rng.below(4))).with("filter_width", size(1 + g.rng.below(4)));
    let attrs = activation(g, attrs);
    plan_like(g, op, [x], attrs, x)
}

pub(super) fn softmax(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(|t| is_real(t) && !t.shape.is_empty())?;
    let dtype = g.ty(x).dtype;
    let quant = match dtype {
        DType::Float32 => Quantization::None,
        DType::Int8 => Quantization::Affine(Affine::per_tensor(1.0 / 256.0, -128)),
        DType::Int16 => Quantization::Affine(Affine::per_tensor(1.0 / 32768.0, 0)),
        _ => Quantization::Affine(Affine::per_tensor(1.0 / 256.0, 0)),
    };
    plan(OpKind::Softmax, [x], Attrs::new().with("beta", AttrValue::Float(1.0)), dtype, quant)
}

/// Whether both types are quantised, or neither.
fn quantised_alike(a: &TensorType, b: &TensorType) -> bool {
    a.quant.per_tensor().is_some() == b.quant.per_tensor().is_some()
}

pub(super) fn batch_matmul(g: &mut Generator) -> Option<Planned> {
    let a = g.pick(|t| matches!(t.dtype, DType::Float32 | DType::Int8 | DType::Int16) && t.shape.len() >= 2)?;
    let ty = g.ty(a).clone();
    let k = *ty.shape.last()?;
    let n = 1 + g.rng.below(9);
    let transposed = g.rng.one_in(2);
    let mut shape = ty.shape.clone();
    let rank = shape.len();
    (shape[rank - 2], shape[rank - 1]) = if transposed { (n, k) } else { (k, n) };
    let right = if ty.dtype == DType::Float32 && g.is_input(a) && g.rng.one_in(2) { DType::Int8 } else { ty.dtype };
    let quant = match right {
        DType::Int8 => Quantization::Affine(Affine::per_tensor(0.01, if g.rng.one_in(3) { 5 } else { 0 })),
        DType::Int16 => Quantization::Affine(Affine::per_tensor(1e-4, 0)),
        _ => Quantization::None,
    };
    // The other side of a product may be another value of the model.
    let wanted = TensorType { dtype: right, shape, quant };
    let found = g.pick(|t| t.dtype == wanted.dtype && t.shape == wanted.shape && quantised_alike(t, &wanted));
    let b = match found {
        Some(t) if right == ty.dtype => t,
        _ => g.random_constant(wanted),
    };
    let attrs = Attrs::new().with("adj_x", AttrValue::Bool(false)).with("adj_y", AttrValue::Bool(transposed));
    let quant = g.quantization(ty.dtype);
    plan(OpKind::BatchMatmul, [a, b], attrs, ty.dtype, quant)
}

pub(super) fn reduce(g: &mut Generator) -> Option<Planned> {
    use OpKind::*;
    let x = g.pick(|t| is_number(t) && !t.shape.is_empty())?;
    let rank = g.ty(x).shape.len();
    let axes: Vec<usize> = (0..rank).filter(|_| g.rng.one_in(2)).collect();
    let axes = if rank == 4 && g.rng.one_in(3) { vec![1, 2] } else { axes };
    let op = *g.rng.choose(&[Mean, Mean, Sum, ReduceMax, ReduceMin]);
    let attrs = Attrs::new().with("keep_dims", AttrValue::Bool(g.rng.one_in(2)));
    let axes = g.ints(&axes);
    plan_like(g, op, [x, axes], attrs, x)
}

pub(super) fn arg_extreme(g: &mut Generator) -> Option<Planned> {
    let steps = g.steps;
    let x = g.pick(|t| is_number(t) && !t.shape.is_empty() && (steps == Steps::Any || t.dtype != DType::Float32))?;
    let axis = g.rng.below(g.ty(x).shape.len());
    let axis = g.int(axis);
    let op = *g.rng.choose(&[OpKind::ArgMax, OpKind::ArgMin]);
    plan(op, [x, axis], Attrs::new().with("output_type", name("INT32")), DType::Int32, Quantization::None)
}

pub(super) fn resize(g: &mut Generator) -> Option<Planned> {
    let x = image(g)?;
    let to = [1 + g.rng.below(12), 1 + g.rng.below(12)];
    let to = g.ints(&to);
    let op = *g.rng.choose(&[OpKind::ResizeBilinear, OpKind::ResizeNearestNeighbor]);
    // Both at once are refused.
    let corners = g.rng.below(3);
    let attrs = Attrs::new().with("align_corners", AttrValue::Bool(corners == 1)).with("half_pixel_centers", AttrValue::Bool(corners == 2));
    plan_like(g, op, [x, to], attrs, x)
}
