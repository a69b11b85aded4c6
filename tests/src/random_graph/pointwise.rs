//! Recipes of elementwise operators.

use super::recipes::{activation, is_number, is_real, plan, plan_like};
use super::{Generator, Planned, Steps};
use tflc::ir::{Affine, AttrValue, Attrs, DType, OpKind, Quantization, TensorId, TensorType};

/// Whether two shapes broadcast together.
fn broadcasts(a: &[usize], b: &[usize]) -> bool {
    a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b || *a == 1 || *b == 1)
}

/// A second operand: a value so far, or a constant that broadcasts.
fn partner(g: &mut Generator, of: TensorId) -> Option<TensorId> {
    let ty = g.ty(of).clone();
    if g.rng.one_in(2) {
        return g.pick(|t| t.dtype == ty.dtype && broadcasts(&t.shape, &ty.shape));
    }
    let mut shape = ty.shape.clone();
    for d in &mut shape {
        if g.rng.one_in(2) {
            *d = 1;
        }
    }
    let drop = g.rng.below(shape.len() + 1);
    let quant = if g.rng.one_in(2) { ty.quant } else { g.quantization(ty.dtype) };
    Some(g.random_constant(TensorType { dtype: ty.dtype, shape: shape.split_off(drop), quant }))
}

pub(super) fn binary(g: &mut Generator) -> Option<Planned> {
    let a = g.pick(is_number)?;
    let b = partner(g, a)?;
    let dtype = g.ty(a).dtype;
    let ops: &[OpKind] = match dtype {
        DType::Float32 => &[OpKind::Add, OpKind::Sub, OpKind::Mul, OpKind::Maximum, OpKind::Minimum, OpKind::SquaredDifference],
        DType::Int32 => &[OpKind::Add, OpKind::Sub, OpKind::Mul, OpKind::Maximum, OpKind::Minimum],
        _ => &[OpKind::Add, OpKind::Sub, OpKind::Mul, OpKind::Maximum, OpKind::Minimum],
    };
    let op = *g.rng.choose(ops);
    let (a, b) = if g.rng.one_in(4) { (b, a) } else { (a, b) };
    match op {
        // These compare quantised values as they are.
        OpKind::Maximum | OpKind::Minimum if g.ty(a).quant != g.ty(b).quant => None,
        OpKind::Maximum | OpKind::Minimum => plan_like(g, op, [a, b], Attrs::new(), a),
        OpKind::SquaredDifference => plan_like(g, op, [a, b], Attrs::new(), a),
        _ => {
            let attrs = activation(g, Attrs::new());
            let quant = g.quantization(dtype);
            plan(op, [a, b], attrs, dtype, quant)
        }
    }
}

pub(super) fn unary(g: &mut Generator) -> Option<Planned> {
    use OpKind::*;
    let x = g.pick(is_number)?;
    let dtype = g.ty(x).dtype;
    let smooth = &[Relu, Relu6, ReluN1To1, Abs, Neg, Logistic, Tanh, HardSwish, Elu, Exp, Square, Sin, Cos, LeakyRelu, Gelu];
    // These have jumps, or no bounded slope at zero.
    let steps = &[Floor, Ceil, Round, Sign, Sqrt, Rsqrt, Log];
    let op = if g.steps == Steps::Any && g.rng.one_in(5) { *g.rng.choose(steps) } else { *g.rng.choose(smooth) };
    let attrs = match op {
        LeakyRelu => Attrs::new().with("alpha", AttrValue::Float(0.1)),
        Gelu => Attrs::new().with("approximate", AttrValue::Bool(g.rng.one_in(2))),
        _ => Attrs::new(),
    };
    let fixed = |scale, int8, uint8| Quantization::Affine(Affine::per_tensor(scale, if dtype == DType::UInt8 { uint8 } else { int8 }));
    let quant = match op {
        Logistic | Tanh if dtype == DType::Int16 => fixed(1.0 / 32768.0, 0, 0),
        _ if !matches!(dtype, DType::Int8 | DType::UInt8 | DType::Int16) => Quantization::None,
        Logistic => fixed(1.0 / 256.0, -128, 0),
        Tanh => fixed(1.0 / 128.0, 0, 128),
        Abs | Neg => g.ty(x).quant.clone(),
        _ => g.quantization(dtype),
    };
    plan(op, [x], attrs, dtype, quant)
}

/// QUANTIZE, DEQUANTIZE and CAST.
pub(super) fn convert(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(|t| is_number(t) || t.dtype == DType::Bool)?;
    let from = g.ty(x).dtype;
    let quantized = *g.rng.choose(&[DType::Int8, DType::UInt8]);
    match from {
        DType::Float32 if g.steps == Steps::Smooth => None,
        DType::Float32 if g.rng.one_in(4) => plan(OpKind::Cast, [x], Attrs::new(), DType::Int32, Quantization::None),
        DType::Float32 => {
            let quant = g.quantization(quantized);
            plan(OpKind::Quantize, [x], Attrs::new(), quantized, quant)
        }
        DType::Int8 | DType::UInt8 if g.rng.one_in(2) => {
            let quant = g.quantization(quantized);
            plan(OpKind::Quantize, [x], Attrs::new(), quantized, quant)
        }
        DType::Int8 | DType::UInt8 => plan(OpKind::Dequantize, [x], Attrs::new(), DType::Float32, Quantization::None),
        _ => plan(OpKind::Cast, [x], Attrs::new(), DType::Float32, Quantization::None),
    }
}

pub(super) fn compare(g: &mut Generator) -> Option<Planned> {
    use OpKind::*;
    let steps = g.steps;
    let a = g.pick(|t| is_number(t) && (steps == Steps::Any || t.dtype != DType::Float32))?;
    let b = partner(g, a)?;
    let op = *g.rng.choose(&[Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual]);
    plan(op, [a, b], Attrs::new(), DType::Bool, Quantization::None)
}

pub(super) fn select(g: &mut Generator) -> Option<Planned> {
    let c = g.pick(|t| t.dtype == DType::Bool)?;
    let shape = g.ty(c).shape.clone();
    let a = g.pick(|t| is_number(t) && broadcasts(&t.shape, &shape))?;
    let b = partner(g, a)?;
    let same = g.ty(a).quant == g.ty(b).quant && broadcasts(&g.ty(b).shape, &shape);
    if same { plan_like(g, OpKind::SelectV2, [c, a, b], Attrs::new(), a) } else { None }
}

pub(super) fn logical(g: &mut Generator) -> Option<Planned> {
    let a = g.pick(|t| t.dtype == DType::Bool)?;
    if g.rng.one_in(3) {
        return plan_like(g, OpKind::LogicalNot, [a], Attrs::new(), a);
    }
    let b = partner(g, a)?;
    let op = *g.rng.choose(&[OpKind::LogicalAnd, OpKind::LogicalOr]);
    plan_like(g, op, [a, b], Attrs::new(), a)
}

pub(super) fn prelu(g: &mut Generator) -> Option<Planned> {
    let x = g.pick(|t| is_real(t) && t.shape.len() > 1)?;
    let ty = g.ty(x).clone();
    let mut shape = ty.shape[1..].to_vec();
    if g.rng.one_in(2) {
        let last = shape.len() - 1;
        shape[..last].fill(1);
    }
    let quant = g.quantization(ty.dtype);
    let alpha = g.random_constant(TensorType { dtype: ty.dtype, shape, quant });
    let quant = g.quantization(ty.dtype);
    plan(OpKind::Prelu, [x, alpha], Attrs::new(), ty.dtype, quant)
}
