//! Elementwise operators of one operand: ABS, NEG, roundings, roots, transcendental functions, activations.
//!
//! Floats are one expression each. Quantised 8-bit forms are one look-up in a table of 256 bytes, made by `unary_quant.rs`; most
//! 16-bit forms are look-ups with interpolation, which expressions lack, and are evaluated by `unary_int16.rs`.

use crate::error::CompileError;
use crate::ir::DType::{BFloat16, Bool, Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8};
use crate::ir::{DType, OpKind};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred, is_quantized};
use crate::ops::operator::{Args, Eval, EvalError, Operator};
use crate::ops::pointwise::infer_unary;
use crate::ops::storage::{over_operands, storage_of};
use crate::ops::{unary_int16, unary_quant};
use std::sync::Arc;
use tflc_templates::expr::{Compare, Expr, ExprBuilder, Id, Ty, Unary};

/// All of them; what each computes depends on the kind of operator.
pub(super) const UNARY: Operator = Operator::new(infer, Eval::Partly(build, unary_int16::eval));
/// SQRT and RSQRT, which refuse negative quantised values.
pub(super) const ROOT: Operator = UNARY.checked(check_root);

/// Element types that an operator takes.
pub(super) fn dtypes(op: OpKind) -> &'static [DType] {
    match op {
        OpKind::Abs => &[Float32, Float16, BFloat16, Int8, Int16, Int32],
        OpKind::Neg => &[Float32, Float16, BFloat16, Int8, Int16, Int32, Int64],
        OpKind::Sign => &[Float32, Float64, Float16, BFloat16, Int32],
        OpKind::LogicalNot => &[Bool],
        OpKind::Sqrt | OpKind::Rsqrt | OpKind::Exp | OpKind::Log => &[Float32, Float16, BFloat16, Int8, Int16],
        OpKind::Floor | OpKind::Ceil | OpKind::Round | OpKind::Square | OpKind::Sin | OpKind::Cos => &[Float32, Float16, BFloat16],
        OpKind::Elu => &[Float32, Float16, BFloat16, Int8],
        OpKind::HardSwish => &[Float32, Float16, BFloat16, Int8, UInt8],
        OpKind::ZerosLike => &[Float32, Float16, BFloat16, Int8, UInt8, Int16, Int32, Int64, Bool],
        _ => &[Float32, Float16, BFloat16, Int8, UInt8, Int16],
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, dtypes(call.op))?;
    let ty = call.input(0)?;
    let raw = matches!(call.op, OpKind::ZerosLike | OpKind::Neg | OpKind::Abs);
    if matches!(ty.dtype, Int8 | UInt8 | Int16) && !raw {
        call.quant(ty)?;
        call.quant(call.output(0)?)?;
    }
    infer_unary(call)
}

fn build(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    let ty = match call.input(0) {
        Ok(ty) => ty,
        Err(e) => return Some(Err(e)),
    };
    if call.op == OpKind::ZerosLike {
        return Some(zeros(call));
    }
    if ty.dtype == Int16 && (is_quantized(ty) || call.op != OpKind::Abs) {
        return unary_int16::pointwise(call);
    }
    if matches!(ty.dtype, Int8 | UInt8) {
        return Some(unary_quant::table(call).and_then(|t| table(call, t)));
    }
    Some(float(call))
}

/// A look-up in a table indexed by the low eight bits of the stored value.
pub(super) fn table(call: &Call<'_>, table: Vec<u8>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let x = b.input(0);
    let r = b.table(Arc::new(table), call.output(0)?.dtype == Int8, x);
    Ok(b.finish(r, storage_of(call, call.output(0)?)?))
}

fn zeros(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let x = b.input(0);
    let zero = match b.ty(x) {
        Ty::F32 => b.f32(0.0),
        Ty::F64 => b.f64(0.0),
        Ty::I32 => b.i32(0),
        Ty::I64 => b.i64(0),
        Ty::Bool => b.bool(false),
    };
    Ok(b.finish(zero, storage_of(call, call.input(0)?)?))
}

/// Floats, and integers that are not quantised.
fn float(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let x = b.input(0);
    let r = match call.op {
        OpKind::Abs => b.unary(Unary::Abs, x),
        OpKind::Neg => b.unary(Unary::Neg, x),
        OpKind::LogicalNot => b.unary(Unary::Not, x),
        OpKind::Sqrt => b.unary(Unary::Sqrt, x),
        OpKind::Rsqrt => {
            let one = b.f32(1.0);
            let root = b.unary(Unary::Sqrt, x);
            b.binary(tflc_templates::expr::Binary::Div, one, root)
        }
        OpKind::Exp => b.unary(Unary::Exp, x),
        OpKind::Log => b.unary(Unary::Log, x),
        OpKind::Sin => b.unary(Unary::Sin, x),
        OpKind::Cos => b.unary(Unary::Cos, x),
        OpKind::Floor => b.unary(Unary::Floor, x),
        OpKind::Ceil => b.unary(Unary::Ceil, x),
        OpKind::Round => b.unary(Unary::RoundEven, x),
        OpKind::Square => b.mul(x, x),
        OpKind::Sign => sign(&mut b, x),
        OpKind::Logistic => b.unary(Unary::Logistic, x),
        OpKind::Tanh => b.unary(Unary::Tanh, x),
        OpKind::Elu => {
            let zero = b.f32(0.0);
            let negative = b.compare(Compare::Lt, x, zero);
            let e = b.unary(Unary::Expm1, x);
            b.select(negative, e, x)
        }
        OpKind::Relu => Activation::Relu.emit_f32(&mut b, x),
        OpKind::Relu6 => Activation::Relu6.emit_f32(&mut b, x),
        OpKind::ReluN1To1 => Activation::ReluN1To1.emit_f32(&mut b, x),
        OpKind::Relu0To1 => {
            let (zero, one) = (b.f32(0.0), b.f32(1.0));
            let x = b.max(zero, x);
            b.min(one, x)
        }
        OpKind::LeakyRelu => {
            let alpha = b.f32(call.attrs.float("alpha", 0.0));
            let zero = b.f32(0.0);
            let scaled = b.mul(x, alpha);
            let positive = b.compare(Compare::Gt, x, zero);
            b.select(positive, x, scaled)
        }
        OpKind::HardSwish => {
            // As XNNPACK has it, bit for bit where both multiply and add with one rounding.
            let (zero, half, one, sixth) = (b.f32(0.0), b.f32(0.5), b.f32(1.0), b.f32(1.0 / 6.0));
            let gate = b.mul_add(x, sixth, half);
            let gate = b.max(zero, gate);
            let gate = b.min(one, gate);
            b.mul(x, gate)
        }
        OpKind::Gelu if call.attrs.bool("approximate", false) => gelu_tanh(&mut b, x),
        OpKind::Gelu => {
            let (half, one, root) = (b.f32(0.5), b.f32(1.0), b.f32(std::f32::consts::FRAC_1_SQRT_2));
            let scaled = b.mul(x, root);
            let e = b.unary(Unary::Erf, scaled);
            let e = b.add(e, one);
            let x = b.mul(x, half);
            b.mul(x, e)
        }
        op => return Err(CompileError::Internal(format!("{op} is not a unary operator"))),
    };
    Ok(b.finish(r, storage_of(call, call.output(0)?)?))
}

/// `0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))`. Source: Hendrycks and Gimpel, arXiv 1606.08415.
fn gelu_tanh(b: &mut ExprBuilder, x: Id) -> Id {
    let (half, one, c, k) = (b.f32(0.5), b.f32(1.0), b.f32(0.044715), b.f32(0.797_884_6));
    let square = b.mul(x, x);
    let cube = b.mul(square, x);
    let inner = b.mul(c, cube);
    let inner = b.add(x, inner);
    let inner = b.mul(k, inner);
    let t = b.unary(Unary::Tanh, inner);
    let t = b.add(one, t);
    let x = b.mul(half, x);
    b.mul(x, t)
}

/// 1, 0 or -1; zero and NaN give 0.
fn sign(b: &mut ExprBuilder, x: Id) -> Id {
    let (zero, one, minus) = match b.ty(x) {
        Ty::F32 => (b.f32(0.0), b.f32(1.0), b.f32(-1.0)),
        Ty::F64 => (b.f64(0.0), b.f64(1.0), b.f64(-1.0)),
        _ => (b.i32(0), b.i32(1), b.i32(-1)),
    };
    let positive = b.compare(Compare::Gt, x, zero);
    let negative = b.compare(Compare::Lt, x, zero);
    let other = b.select(negative, minus, zero);
    b.select(positive, one, other)
}

fn check_root(args: &Args<'_>) -> Result<(), EvalError> {
    let x = args.value(0)?;
    if let (Int8 | Int16, Some((_, zero))) = (x.ty.dtype, x.ty.quant.per_tensor())
        && args.ints(0)?.iter().any(|v| *v < zero)
    {
        return Err(args.error("the root of a negative number"));
    }
    Ok(())
}
