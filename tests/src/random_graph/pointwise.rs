//! Recipes of elementwise operators.

use super::recipes::{activation, is_quantized, plan, plan_like, plan_new, raw};
use super::{Generator, Planned};
use tflc::ir::OpKind::*;
use tflc::ir::{Affine, AttrValue, Attrs, DType, Quantization, TensorId, TensorType};
use tflc::ops::Value;

/// Whether two shapes broadcast together.
fn broadcasts(a: &[usize], b: &[usize]) -> bool {
    a.iter().rev().zip(b.iter().rev()).all(|(a, b)| a == b || *a == 1 || *b == 1)
}

/// A shape that broadcasts with another.
fn partner_shape(g: &mut Generator, of: &[usize]) -> Vec<usize> {
    let mut shape = of.to_vec();
    for d in &mut shape {
        if g.rng.one_in(2) {
            *d = 1;
        }
    }
    let drop = g.rng.below(shape.len() + 1);
    shape.split_off(drop)
}

/// A second operand: a value so far, or a constant that broadcasts; of floats one that `precise` operators take, if asked for.
fn partner(g: &mut Generator, of: TensorId, exact: bool) -> Option<TensorId> {
    let ty = g.ty(of).clone();
    if g.rng.one_in(2) {
        let found = g.pick(|t| t.dtype == ty.dtype && broadcasts(&t.shape, &ty.shape));
        return found.filter(|t| !exact || g.is_exact(*t));
    }
    let shape = partner_shape(g, &ty.shape);
    let quant = if g.rng.one_in(2) { ty.quant } else { g.quantization(ty.dtype) };
    Some(g.random_constant(TensorType { dtype: ty.dtype, shape, quant }))
}

fn any_shape(_: &[usize]) -> bool {
    true
}

pub(super) fn binary(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Add, Sub, Mul, Maximum, Minimum, SquaredDifference]);
    let dtypes = g.dtypes(op);
    let a = g.operand(&dtypes, any_shape, Generator::shape)?;
    let b = partner(g, a, false)?;
    let (a, b) = if g.rng.one_in(4) { (b, a) } else { (a, b) };
    match op {
        // These compare quantised values as they are.
        Maximum | Minimum if g.ty(a).quant != g.ty(b).quant => None,
        Maximum | Minimum => plan_like(g, op, [a, b], Attrs::new(), a),
        SquaredDifference => plan_new(g, op, [a, b], Attrs::new(), a),
        // Complex numbers have no activation.
        Mul if g.ty(a).dtype == DType::Complex64 => plan_like(g, op, [a, b], Attrs::new(), a),
        _ => {
            let attrs = activation(g, Attrs::new());
            plan_new(g, op, [a, b], attrs, a)
        }
    }
}

/// Elements from a function, as a constant or an input.
fn elements(g: &mut Generator, ty: TensorType, mut f: impl FnMut(&mut Generator) -> f32) -> TensorId {
    let list: Vec<f32> = (0..ty.elements()).map(|_| f(g)).collect();
    let value = match ty.dtype {
        DType::Float32 => Value::new(ty, list),
        DType::Float64 => Value::new(ty, list.into_iter().map(f64::from).collect()),
        DType::Float16 => Value::new(ty, list.into_iter().map(half::f16::from_f32).collect()),
        DType::BFloat16 => Value::new(ty, list.into_iter().map(half::bf16::from_f32).collect()),
        DType::Int64 => Value::new(ty, list.into_iter().map(|v| v as i64).collect()),
        DType::Int32 => Value::new(ty, list.into_iter().map(|v| v as i32).collect()),
        DType::UInt32 => Value::new(ty, list.into_iter().map(|v| v as u32).collect()),
        DType::Int16 => Value::new(ty, list.into_iter().map(|v| v as i16).collect()),
        DType::UInt8 => Value::new(ty, list.into_iter().map(|v| v as u8).collect()),
        _ => Value::new(ty, list.into_iter().map(|v| v as i8).collect()),
    };
    g.given(value)
}

/// DIV, FLOOR_DIV, FLOOR_MOD, POW, ATAN2: operators with places where they jump or grow without bound.
pub(super) fn quotient(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Div, FloorDiv, FloorMod, Pow, Atan2]);
    let dtypes = g.dtypes(op);
    let dtype = g.dtype(&dtypes);
    let shape = g.shape();
    let other = partner_shape(g, &shape);
    let float = dtype.is_float();
    if op == Pow {
        let base =
            elements(g, raw(dtype, shape), |g| if float { 0.25 + g.rng.signed_unit().abs() * 2.0 } else { g.rng.between(-4, 4) as f32 });
        let exponent = elements(g, raw(dtype, other), |g| if float { g.rng.signed_unit() * 3.0 } else { g.rng.below(6) as f32 });
        return plan_like(g, op, [base, exponent], Attrs::new(), base);
    }
    let quant = if op == Div && is_quantized(dtype) { g.quantization(dtype) } else { Quantization::None };
    let unsigned = matches!(dtype, DType::UInt8 | DType::UInt32);
    let from = if unsigned { 0 } else { -100 };
    let a = elements(g, TensorType { dtype, shape, quant: quant.clone() }, |g| {
        if float { g.rng.signed_unit() * 9.0 } else { g.rng.between(from, 100) as f32 }
    });
    let lowest = if dtype == DType::Int8 { -128 } else { 0 };
    let quant = if quant == Quantization::None { quant } else { Quantization::Affine(Affine::per_tensor(0.05, lowest)) };
    let b = elements(g, TensorType { dtype, shape: other, quant }, |g| {
        let sign = if g.rng.one_in(2) && !unsigned { -1.0 } else { 1.0 };
        if float { sign * (0.5 + g.rng.signed_unit().abs() * 4.0) } else { sign * g.rng.between(1, 100) as f32 }
    });
    let attrs = if op == Div { activation(g, Attrs::new()) } else { Attrs::new() };
    if op == Div { plan_new(g, op, [a, b], attrs, a) } else { plan_like(g, op, [a, b], attrs, a) }
}

/// The quantisation that the result of an operator has by its definition, or any.
fn unary_quant(g: &mut Generator, op: tflc::ir::OpKind, x: TensorId) -> Quantization {
    let dtype = g.ty(x).dtype;
    let fixed = |scale, int8, uint8| Quantization::Affine(Affine::per_tensor(scale, if dtype == DType::UInt8 { uint8 } else { int8 }));
    match op {
        Logistic | Tanh if dtype == DType::Int16 => fixed(1.0 / 32768.0, 0, 0),
        _ if !is_quantized(dtype) => Quantization::None,
        Logistic => fixed(1.0 / 256.0, -128, 0),
        Tanh => fixed(1.0 / 128.0, 0, 128),
        Abs | Neg | ZerosLike => g.ty(x).quant.clone(),
        _ => g.quantization(dtype),
    }
}

pub(super) fn unary(g: &mut Generator) -> Option<Planned> {
    let smooth =
        [Relu, Relu6, ReluN1To1, Relu0To1, Abs, Neg, Logistic, Tanh, HardSwish, Elu, Exp, Square, Sin, Cos, LeakyRelu, Gelu, ZerosLike];
    let op = g.op(&smooth);
    let dtypes = g.dtypes(op);
    let x = g.operand(&dtypes, any_shape, Generator::shape)?;
    let attrs = match op {
        LeakyRelu => Attrs::new().with("alpha", AttrValue::Float(*g.rng.choose(&[0.1, 0.3, -0.5, 1.5]))),
        Gelu => Attrs::new().with("approximate", AttrValue::Bool(g.rng.one_in(2))),
        _ => Attrs::new(),
    };
    let quant = unary_quant(g, op, x);
    plan(op, [x], attrs, g.ty(x).dtype, quant)
}

/// Operators that jump.
pub(super) fn jump(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Floor, Ceil, Round, Sign]);
    let dtypes = g.dtypes(op);
    let x = g.precise(&dtypes, any_shape, Generator::shape)?;
    plan_like(g, op, [x], Attrs::new(), x)
}

/// Operators of positive numbers, steep at zero.
pub(super) fn positive(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Sqrt, Rsqrt, Log]);
    let dtypes = g.dtypes(op);
    let dtype = g.dtype(&dtypes);
    let shape = g.shape();
    let quant = match dtype {
        DType::Int8 => Quantization::Affine(Affine::per_tensor(0.03, -128)),
        DType::Int16 => Quantization::Affine(Affine::per_tensor(3e-4, 0)),
        _ => Quantization::None,
    };
    let low = if dtype == DType::Int8 { -127 } else { 1 };
    let x = elements(g, TensorType { dtype, shape, quant }, |g| {
        if dtype.is_float() { 0.01 + g.rng.signed_unit().abs() * 8.0 } else { g.rng.between(low, if low < 0 { 127 } else { 32767 }) as f32 }
    });
    plan_new(g, op, [x], Attrs::new(), x)
}

/// QUANTIZE, DEQUANTIZE and CAST.
pub(super) fn convert(g: &mut Generator) -> Option<Planned> {
    use DType::*;
    match g.op(&[Quantize, Dequantize, Cast]) {
        Quantize => {
            let x = g.precise(&[Float32, Int8, UInt8, Int16, Int32], any_shape, Generator::shape)?;
            let to = g.dtype(&[Int8, UInt8, Int16, Int32]);
            let shape = g.ty(x).shape.clone();
            if g.ty(x).dtype == Float32 && to != Int32 && g.rng.one_in(3) && shape.last().is_some_and(|n| *n > 1) {
                let scale: Vec<f32> = (0..shape[shape.len() - 1]).map(|_| 0.01 * (1 + g.rng.below(9)) as f32).collect();
                let zero_point = if to == UInt8 { vec![120; scale.len()] } else { vec![0; scale.len()] };
                let quant = Quantization::Affine(Affine { scale, zero_point, axis: shape.len() - 1 });
                return plan(tflc::ir::OpKind::Quantize, [x], Attrs::new(), to, quant);
            }
            let scale = Quantization::Affine(Affine::per_tensor(0.01 * (1 + g.rng.below(9)) as f32, 0));
            let quant = if to == Int32 { scale.clone() } else { g.quantization(to) };
            // Integers of 32 bits have a scale too.
            let x = if g.ty(x).dtype == Int32 {
                let ty = TensorType { quant: scale, ..g.ty(x).clone() };
                let value = crate::random_values::random_value(&mut g.rng, &ty);
                g.input_of(value)
            } else {
                x
            };
            plan(tflc::ir::OpKind::Quantize, [x], Attrs::new(), to, quant)
        }
        Dequantize => {
            let dtype = g.dtype(&[Int8, UInt8, Int16, Int32, Float16, BFloat16, Int4, UInt4, Int2]);
            let shape = g.shape();
            let quant = match dtype {
                Int8 | Int4 if g.rng.one_in(3) && !shape.is_empty() => {
                    let scale: Vec<f32> = (0..shape[0]).map(|i| 0.01 * (1 + i) as f32).collect();
                    Quantization::Affine(Affine { zero_point: vec![0; scale.len()], scale, axis: 0 })
                }
                Int32 | Int4 | UInt4 | Int2 => Quantization::Affine(Affine::per_tensor(0.25, 0)),
                _ => g.quantization(dtype),
            };
            let ty = TensorType { dtype, shape, quant };
            let value = crate::random_values::random_value(&mut g.rng, &ty);
            let x = g.given(value);
            plan(tflc::ir::OpKind::Dequantize, [x], Attrs::new(), Float32, Quantization::None)
        }
        op => {
            let types = g.dtypes(op);
            let x = g.precise(&types, any_shape, Generator::shape)?;
            // Of two types the operand's may be the wanted one; packed integers meet neither their like nor complex numbers.
            let whole: Vec<DType> = types.iter().copied().filter(|d| d.bits() >= 8).collect();
            let to = if g.ty(x).dtype.bits() < 8 { *g.rng.choose(&whole) } else { g.dtype(&types) };
            plan(op, [x], Attrs::new(), to, Quantization::None)
        }
    }
}

/// BITCAST; of floats as they are in every way to run the model.
pub(super) fn bitcast(g: &mut Generator) -> Option<Planned> {
    use DType::*;
    let x = g.precise(&[Float32, Float16, Int8, UInt8, Int16, Int32, Int64, Bool], any_shape, Generator::shape)?;
    // Bits of integers may be no small float and no truth value, so none of these are made.
    let to = *g.rng.choose(&[Int8, UInt8, Int16, Int32, Int64]);
    plan(Bitcast, [x], Attrs::new(), to, Quantization::None)
}

pub(super) fn fake_quant(g: &mut Generator) -> Option<Planned> {
    let x = g.precise(&[DType::Float32], any_shape, Generator::shape)?;
    let attrs = Attrs::new()
        .with("min", AttrValue::Float(-1.0 - g.rng.below(20) as f32 * 0.1))
        .with("max", AttrValue::Float(1.0 + g.rng.below(20) as f32 * 0.1))
        .with("num_bits", AttrValue::Int(*g.rng.choose(&[4, 8, 16])))
        .with("narrow_range", AttrValue::Bool(g.rng.one_in(2)));
    plan_like(g, FakeQuant, [x], attrs, x)
}

pub(super) fn compare(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual]);
    let dtypes = g.dtypes(op);
    let a = g.precise(&dtypes, any_shape, Generator::shape)?;
    let b = partner(g, a, g.ty(a).dtype.is_float() && g.steps == super::Steps::Smooth)?;
    plan(op, [a, b], Attrs::new(), DType::Bool, Quantization::None)
}

pub(super) fn select(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Select, SelectV2]);
    let dtypes = g.dtypes(op);
    let a = g.operand(&dtypes, any_shape, Generator::shape)?;
    let ty = g.ty(a).clone();
    let other = partner_shape(g, &ty.shape);
    let b = if op == Select || g.rng.one_in(2) { ty.shape.clone() } else { other };
    let b = g.random_constant(TensorType { shape: b, ..ty.clone() });
    // One condition for each row is what SELECT alone takes.
    let shape = match op {
        Select if g.rng.one_in(2) && !ty.shape.is_empty() => vec![ty.shape[0]],
        Select => ty.shape.clone(),
        _ => partner_shape(g, &ty.shape),
    };
    let c = g.pick(|t| t.dtype == DType::Bool && t.shape == shape);
    let c = match c {
        Some(c) => c,
        None => g.input(DType::Bool, shape),
    };
    let (a, b) = if g.rng.one_in(2) { (a, b) } else { (b, a) };
    plan_like(g, op, [c, a, b], Attrs::new(), a)
}

pub(super) fn logical(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[LogicalNot, LogicalAnd, LogicalOr]);
    let a = g.operand(&[DType::Bool], any_shape, Generator::shape)?;
    if op == LogicalNot {
        return plan_like(g, op, [a], Attrs::new(), a);
    }
    let b = partner(g, a, false)?;
    plan_like(g, op, [a, b], Attrs::new(), a)
}

pub(super) fn bitwise(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[BitwiseXor, RightShift]);
    let dtypes = g.dtypes(op);
    let a = g.operand(&dtypes, any_shape, Generator::shape)?;
    let b = partner(g, a, false)?;
    plan(op, [a, b], Attrs::new(), g.ty(a).dtype, Quantization::None)
}

pub(super) fn add_n(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(&[DType::Float32, DType::Int32], any_shape, Generator::shape)?;
    let ty = g.ty(x).clone();
    let mut inputs = vec![x];
    for _ in 0..g.rng.below(4) {
        let found = g.pick(|t| *t == ty);
        inputs.push(match found {
            Some(t) => t,
            None => g.random_constant(ty.clone()),
        });
    }
    plan_like(g, AddN, inputs, Attrs::new(), x)
}

pub(super) fn prelu(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(Prelu);
    let x = g.operand(&dtypes, |s| s.len() > 1, |g| g.shape_of(3))?;
    let ty = g.ty(x).clone();
    let mut shape = ty.shape[1..].to_vec();
    if g.rng.one_in(2) {
        let last = shape.len() - 1;
        shape[..last].fill(1);
    }
    let slopes = if ty.dtype == DType::Int16 { DType::Int8 } else { ty.dtype };
    let quant = g.quantization(slopes);
    let alpha = g.random_constant(TensorType { dtype: slopes, shape, quant });
    plan_new(g, Prelu, [x, alpha], Attrs::new(), x)
}
