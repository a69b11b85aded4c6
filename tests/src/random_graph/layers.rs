//! Recipes of convolutions, matrix products, pooling, softmax, normalisation, reductions, running sums and resizing.

use super::recipes::{activation, is_quantized, name, plan, plan_like, plan_new, size};
use super::{Generator, Planned};
use tflc::ir::OpKind::*;
use tflc::ir::{Affine, AttrValue, Attrs, DType, Quantization, TensorId, TensorType};
use tflc::ops::Value;

/// What convolutions and fully connected layers take.
const WITH_HALVES: &[DType] = &[DType::Float32, DType::Float16, DType::Int8, DType::UInt8, DType::Int16];

/// Weights for activations `x`: small floats, or quantised along `axis` for signed integers and as a whole for uint8. Activations that are the same in every
/// way to run the model may be floats that meet integers: of others, small differences would become steps.
pub(super) fn weights(g: &mut Generator, x: TensorId, shape: Vec<usize>, axis: usize, narrow: &[DType]) -> TensorId {
    let kinds: Vec<DType> = match g.ty(x).dtype {
        DType::Float32 if g.is_exact(x) => [&[DType::Float32, DType::Float16, DType::Int8], narrow].concat(),
        DType::Float32 => vec![DType::Float32, DType::Float16],
        DType::Int8 => [&[DType::Int8, DType::Int8], narrow].concat(),
        DType::Int16 if narrow.contains(&DType::Int2) => [&[DType::Int8, DType::Int16], narrow].concat(),
        DType::Int16 => vec![DType::Int8],
        other => vec![other],
    };
    let dtype = g.dtype(&kinds);
    constant_weights(g, dtype, shape, axis)
}

/// Weights of a type.
fn constant_weights(g: &mut Generator, dtype: DType, shape: Vec<usize>, axis: usize) -> TensorId {
    let ty = TensorType { dtype, shape, quant: Quantization::None };
    match dtype {
        DType::Float32 => {
            let elements: Vec<f32> = (0..ty.elements()).map(|_| g.rng.signed_unit()).collect();
            g.constant(Value::new(ty, elements))
        }
        DType::Float16 => {
            let elements: Vec<half::f16> = (0..ty.elements()).map(|_| half::f16::from_f32(g.rng.signed_unit())).collect();
            g.constant(Value::new(ty, elements))
        }
        DType::Int8 | DType::Int4 | DType::Int2 => {
            let n = if g.rng.one_in(4) { 1 } else { ty.shape[axis] };
            let step = if dtype == DType::Int8 { 0.001 } else { 0.02 };
            let scale = (0..n).map(|_| step * (1 + g.rng.below(9)) as f32).collect();
            let quant = Quantization::Affine(Affine { scale, zero_point: vec![0; n], axis: if n == 1 { 0 } else { axis } });
            if dtype != DType::Int8 {
                return g.random_constant(TensorType { quant, ..ty });
            }
            let elements: Vec<i8> = (0..ty.elements()).map(|_| g.rng.between(-127, 127) as i8).collect();
            g.constant(Value::new(TensorType { quant, ..ty }, elements))
        }
        DType::Int16 => g.random_constant(TensorType { quant: Quantization::Affine(Affine::per_tensor(2e-5, 0)), ..ty }),
        _ => {
            let quant = Quantization::Affine(Affine::per_tensor(0.005, g.rng.between(100, 156)));
            g.random_constant(TensorType { quant, ..ty })
        }
    }
}

/// Signed bytes that are called unsigned.
fn signed_under_an_old_name(g: &mut Generator, shape: Vec<usize>) -> TensorId {
    let quant = Quantization::Affine(Affine::per_tensor(0.005, 0));
    g.random_constant(TensorType { dtype: DType::UInt8, shape, quant })
}

/// A bias for weights, in the scale of the accumulators; at times none.
pub(super) fn bias(g: &mut Generator, x: TensorId, w: TensorId, channels: usize) -> Option<TensorId> {
    if g.rng.one_in(5) {
        return None;
    }
    let shape = vec![channels];
    match (g.ty(x).quant.per_tensor(), g.ty(w).quant.affine().cloned()) {
        (Some((s, _)), Some(q)) => {
            let scale: Vec<f32> = q.scale.iter().map(|w| w * s).collect();
            let quant = Quantization::Affine(Affine { zero_point: vec![0; scale.len()], scale, axis: 0 });
            if g.ty(x).dtype == DType::Int16 && g.ty(w).dtype != DType::Int16 {
                let elements: Vec<i64> = (0..channels).map(|_| g.rng.between(-300_000, 300_000)).collect();
                return Some(g.constant(Value::new(TensorType { dtype: DType::Int64, shape, quant }, elements)));
            }
            let elements: Vec<i32> = (0..channels).map(|_| g.rng.between(-3000, 3000) as i32).collect();
            Some(g.constant(Value::new(TensorType { dtype: DType::Int32, shape, quant }, elements)))
        }
        _ => {
            let dtype = if g.ty(x).dtype == DType::Float16 && g.rng.one_in(2) { DType::Float16 } else { DType::Float32 };
            Some(g.random_constant(TensorType::new(dtype, shape)))
        }
    }
}

pub(super) fn window(g: &mut Generator, attrs: Attrs) -> Attrs {
    let attrs = attrs.with("padding", name(g.rng.choose::<&str>(&["SAME", "VALID"])));
    attrs.with("stride_h", size(1 + g.rng.below(3))).with("stride_w", size(1 + g.rng.below(3)))
}

fn dilation(g: &mut Generator, attrs: Attrs) -> Attrs {
    let d = |g: &mut Generator| size(if g.rng.one_in(4) { 2 } else { 1 });
    let (h, w) = (d(g), d(g));
    attrs.with("dilation_h_factor", h).with("dilation_w_factor", w)
}

pub(super) fn image(g: &mut Generator, dtypes: &[DType]) -> Option<TensorId> {
    g.operand(dtypes, |s| s.len() == 4, |g| g.shape_of(4))
}

pub(super) fn conv_2d(g: &mut Generator) -> Option<Planned> {
    let x = image(g, WITH_HALVES)?;
    let ty = g.ty(x).clone();
    let groups = if ty.shape[3].is_multiple_of(2) && g.rng.one_in(6) { 2 } else { 1 };
    let (kh, kw, out) = (1 + g.rng.below(3), 1 + g.rng.below(3), groups * (1 + g.rng.below(10)));
    let shape = vec![out, kh, kw, ty.shape[3] / groups];
    let w = if ty.dtype == DType::Float32 && groups == 1 && g.is_exact(x) && g.rng.one_in(6) {
        signed_under_an_old_name(g, shape)
    } else {
        weights(g, x, shape, 0, &[DType::Int4])
    };
    let b = bias(g, x, w, out);
    let attrs = window(g, Attrs::new());
    let attrs = dilation(g, attrs);
    let attrs = activation(g, attrs);
    let quant = g.quantization(ty.dtype);
    Some(Planned { inputs: vec![Some(x), Some(w), b], ..plan(Conv2d, [], attrs, ty.dtype, quant)? })
}

pub(super) fn depthwise_conv_2d(g: &mut Generator) -> Option<Planned> {
    let x = image(g, WITH_HALVES)?;
    let ty = g.ty(x).clone();
    let multiplier = if g.rng.one_in(3) { 2 } else { 1 };
    let out = ty.shape[3] * multiplier;
    let (kh, kw) = (1 + g.rng.below(4), 1 + g.rng.below(4));
    let w = weights(g, x, vec![1, kh, kw, out], 3, &[DType::Int4]);
    let b = bias(g, x, w, out);
    let attrs = window(g, Attrs::new().with("depth_multiplier", size(multiplier)));
    let attrs = dilation(g, attrs);
    let attrs = activation(g, attrs);
    let quant = g.quantization(ty.dtype);
    Some(Planned { inputs: vec![Some(x), Some(w), b], ..plan(DepthwiseConv2d, [], attrs, ty.dtype, quant)? })
}

pub(super) fn fully_connected(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(WITH_HALVES, |s| s.len() >= 2, |g| g.shape_of(2))?;
    let ty = g.ty(x).clone();
    let (out, k) = (1 + g.rng.below(20), *ty.shape.last()?);
    let w = if ty.dtype == DType::Float32 && g.is_exact(x) && g.rng.one_in(6) {
        signed_under_an_old_name(g, vec![out, k])
    } else if ty.dtype == DType::Float16 && g.is_exact(x) {
        let dtype = g.dtype(&[DType::Float16, DType::Int8, DType::Int4]);
        constant_weights(g, dtype, vec![out, k], 0)
    } else {
        weights(g, x, vec![out, k], 0, &[DType::Int4, DType::Int2])
    };
    let b = bias(g, x, w, out);
    let attrs = Attrs::new().with("keep_num_dims", AttrValue::Bool(g.rng.one_in(2))).with("weights_format", name("DEFAULT"));
    let attrs = activation(g, attrs);
    let quant = g.quantization(ty.dtype);
    Some(Planned { inputs: vec![Some(x), Some(w), b], ..plan(FullyConnected, [], attrs, ty.dtype, quant)? })
}

pub(super) fn pool_2d(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[AveragePool2d, MaxPool2d, L2Pool2d]);
    let dtypes = g.dtypes(op);
    let x = image(g, &dtypes)?;
    let attrs = window(g, Attrs::new()).with("filter_height", size(1 + g.rng.below(4))).with("filter_width", size(1 + g.rng.below(4)));
    let attrs = activation(g, attrs);
    plan_like(g, op, [x], attrs, x)
}

/// Probabilities of 8 and 16 bits have a scale by definition.
fn probability(dtype: DType) -> Quantization {
    match dtype {
        DType::Int8 => Quantization::Affine(Affine::per_tensor(1.0 / 256.0, -128)),
        DType::Int16 => Quantization::Affine(Affine::per_tensor(1.0 / 32768.0, 0)),
        DType::UInt8 => Quantization::Affine(Affine::per_tensor(1.0 / 256.0, 0)),
        _ => Quantization::None,
    }
}

pub(super) fn softmax(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Softmax, LogSoftmax]);
    let dtypes = g.dtypes(op);
    let x = g.operand(&dtypes, |s| !s.is_empty(), Generator::shape)?;
    let dtype = g.ty(x).dtype;
    if op == LogSoftmax {
        let quant = match dtype {
            DType::Int8 => Quantization::Affine(Affine::per_tensor(16.0 / 256.0, 127)),
            DType::UInt8 => Quantization::Affine(Affine::per_tensor(16.0 / 256.0, 255)),
            _ => Quantization::None,
        };
        return plan(op, [x], Attrs::new(), dtype, quant);
    }
    let beta = *g.rng.choose(&[1.0, 1.0, 0.5]);
    plan(op, [x], Attrs::new().with("beta", AttrValue::Float(beta)), dtype, probability(dtype))
}

pub(super) fn normalize(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[L2Normalization, LocalResponseNormalization]);
    let dtypes = g.dtypes(op);
    if op == L2Normalization {
        let x = g.operand(&dtypes, |s| !s.is_empty(), Generator::shape)?;
        let dtype = g.ty(x).dtype;
        let quant = match dtype {
            DType::Int8 => Quantization::Affine(Affine::per_tensor(1.0 / 128.0, 0)),
            DType::UInt8 => Quantization::Affine(Affine::per_tensor(1.0 / 128.0, 128)),
            _ => Quantization::None,
        };
        let attrs = Attrs::new().with("fused_activation_function", name("NONE"));
        return plan(op, [x], attrs, dtype, quant);
    }
    let x = image(g, &dtypes)?;
    let attrs = Attrs::new()
        .with("radius", size(g.rng.below(4)))
        .with("bias", AttrValue::Float(1.0 + g.rng.below(3) as f32 * 0.5))
        .with("alpha", AttrValue::Float(0.1))
        .with("beta", AttrValue::Float(*g.rng.choose(&[0.5, 0.75, 1.0])));
    plan_like(g, op, [x], attrs, x)
}

/// Whether both types are quantised, or neither.
fn quantised_alike(a: &TensorType, b: &TensorType) -> bool {
    a.quant.per_tensor().is_some() == b.quant.per_tensor().is_some()
}

pub(super) fn batch_matmul(g: &mut Generator) -> Option<Planned> {
    let a = g.operand(&[DType::Float32, DType::Float16, DType::Int8, DType::Int16], |s| s.len() >= 2, |g| g.shape_of(3))?;
    let ty = g.ty(a).clone();
    let rank = ty.shape.len();
    let adjoint = g.rng.one_in(4);
    let k = if adjoint { ty.shape[rank - 2] } else { ty.shape[rank - 1] };
    let n = 1 + g.rng.below(9);
    let transposed = g.rng.one_in(2);
    let mut shape = ty.shape.clone();
    (shape[rank - 2], shape[rank - 1]) = if transposed { (n, k) } else { (k, n) };
    // The batches of the right side may be one for all.
    if rank > 2 && g.rng.one_in(4) {
        shape[0] = 1;
    }
    let right = if ty.dtype == DType::Float32 && g.is_exact(a) && !adjoint && g.rng.one_in(2) { DType::Int8 } else { ty.dtype };
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
        _ => {
            let value = crate::random_values::random_value(&mut g.rng, &wanted);
            g.given(value)
        }
    };
    let attrs = Attrs::new().with("adj_x", AttrValue::Bool(adjoint)).with("adj_y", AttrValue::Bool(transposed));
    if g.dtype(&[ty.dtype, DType::Int32]) == DType::Int32 && ty.dtype == DType::Int8 {
        return plan(BatchMatmul, [a, b], attrs, DType::Int32, Quantization::None);
    }
    plan_new(g, BatchMatmul, [a, b], attrs, a)
}

pub(super) fn reduce(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Mean, Mean, Sum, ReduceMax, ReduceMin, ReduceProd, ReduceAny, ReduceAll]);
    let dtypes = g.dtypes(op);
    let x = g.operand(&dtypes, |s| !s.is_empty(), Generator::shape)?;
    // The order of the factors is not prescribed: none may lead beyond the numbers, where another meets a zero first.
    let factor = |b: &[u8; 4]| f32::from_le_bytes(*b).abs().max(1.0).log2();
    let most = |v: &Value| if v.ty.dtype == DType::Float32 { v.bytes().as_chunks().0.iter().map(factor).sum::<f32>() } else { 0.0 };
    if op == ReduceProd && g.value(x).map_or(0.0, most) > 100.0 {
        return None;
    }
    let rank = g.ty(x).shape.len();
    let axes: Vec<usize> = (0..rank).filter(|_| g.rng.one_in(2)).collect();
    let axes = if rank == 4 && g.rng.one_in(3) { vec![1, 2] } else { axes };
    let attrs = Attrs::new().with("keep_dims", AttrValue::Bool(g.rng.one_in(2)));
    let axes = g.ints(&axes);
    let arithmetic = matches!(op, Mean | Sum | ReduceProd) && is_quantized(g.ty(x).dtype);
    if arithmetic && g.rng.one_in(2) { plan_new(g, op, [x, axes], attrs, x) } else { plan_like(g, op, [x, axes], attrs, x) }
}

pub(super) fn cumsum(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(Cumsum);
    let x = g.operand(&dtypes, |s| !s.is_empty(), Generator::shape)?;
    let axis = g.rng.below(g.ty(x).shape.len());
    let axis = g.int(axis);
    let attrs = Attrs::new().with("exclusive", AttrValue::Bool(g.rng.one_in(2))).with("reverse", AttrValue::Bool(g.rng.one_in(2)));
    plan_like(g, Cumsum, [x, axis], attrs, x)
}

pub(super) fn resize(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[ResizeBilinear, ResizeNearestNeighbor]);
    let dtypes = g.dtypes(op);
    let x = image(g, &dtypes)?;
    let to = [1 + g.rng.below(12), 1 + g.rng.below(12)];
    let to = g.ints(&to);
    // Both at once are refused.
    let corners = g.rng.below(3);
    let attrs = Attrs::new().with("align_corners", AttrValue::Bool(corners == 1)).with("half_pixel_centers", AttrValue::Bool(corners == 2));
    plan_like(g, op, [x, to], attrs, x)
}
