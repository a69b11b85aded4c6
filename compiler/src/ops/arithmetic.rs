//! ADD, SUB, MUL, DIV, MAXIMUM, MINIMUM, SQUARED_DIFFERENCE, POW, FLOOR_DIV, FLOOR_MOD, ATAN2, ADD_N: arithmetic of two or more operands.
//!
//! Floats are computed in binary32, integers wrap. Quantised forms are in `arithmetic_quant.rs`.

use crate::error::CompileError;
use crate::ir::DType::{BFloat16, Complex64, Float16, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt32};
use crate::ir::{DType, OpKind};
use crate::ops::activation::Activation;
use crate::ops::arithmetic_quant;
use crate::ops::atan2_f64;
use crate::ops::call::{Call, Inferred, is_quantized};
use crate::ops::complex;
use crate::ops::operator::{Args, Eval, EvalError, Operator};
use crate::ops::pointwise::infer_binary;
use crate::ops::storage::{over_operands, storage_of};
use tflc_templates::expr::{Binary, Cast, Compare, Expr, ExprBuilder, Id, Ty, Unary};

/// ADD, SUB, MUL and DIV: with a fused activation, broadcasting.
pub(super) const BASIC: Operator = Operator::new(infer_basic, Eval::Pointwise(basic)).checked(check_divisor);
/// MUL: the same, and of complex numbers.
pub(super) const MUL: Operator = Operator::new(infer_basic, Eval::Partly(real_product, complex::product));
/// MAXIMUM and MINIMUM: of stored values.
pub(super) const EXTREME: Operator = Operator::new(infer_extreme, Eval::Pointwise(extreme));
/// SQUARED_DIFFERENCE: `(a - b)^2`.
pub(super) const SQUARED_DIFFERENCE: Operator = Operator::new(infer_squared_difference, Eval::Pointwise(squared_difference));
/// POW: C's `powf`, and wrapping integer powers.
pub(super) const POW: Operator = Operator::new(infer_pow, Eval::Pointwise(pow));
/// FLOOR_DIV: `floor(a / b)`.
pub(super) const FLOOR_DIV: Operator = Operator::new(infer_floor, Eval::Pointwise(floor_div)).checked(check_divisor);
/// FLOOR_MOD: `a - floor(a / b) * b`.
pub(super) const FLOOR_MOD: Operator = Operator::new(infer_floor, Eval::Pointwise(floor_mod)).checked(check_divisor);
/// ATAN2: C's `atan2f`, and `atan2` of binary64.
pub(super) const ATAN2: Operator = Operator::new(infer_atan2, Eval::Pointwise(atan2));
/// ADD_N: the sum of all operands.
pub(super) const ADD_N: Operator = Operator::new(infer_add_n, Eval::Pointwise(add_n));

const NUMBERS: &[DType] = &[Float32, Float16, BFloat16, Int8, UInt8, Int16, Int32, Int64, UInt32];

fn infer_basic(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let product = call.op == OpKind::Mul;
    if product && call.input(0)?.dtype == Complex64 {
        if Activation::parse_clamp(call)? != Activation::None {
            return Err(call.invalid("an activation of complex numbers"));
        }
        return infer_binary(call);
    }
    call.dtype_among(0, NUMBERS)?;
    Activation::parse_clamp(call)?;
    infer_binary(call)
}

fn infer_extreme(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, NUMBERS)?;
    infer_binary(call)
}

fn infer_squared_difference(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32, Float16, BFloat16, Int8, Int32, Int64])?;
    infer_binary(call)
}

fn infer_pow(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32, Float16, BFloat16, Int32])?;
    infer_binary(call)
}

fn infer_floor(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32, Float16, BFloat16, Int8, Int16, Int32, Int64])?;
    infer_binary(call)
}

fn infer_atan2(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32, Float16, BFloat16, Float64])?;
    infer_binary(call)
}

fn infer_add_n(call: &Call<'_>) -> Inferred {
    call.arity(1, 1 << 16, 1)?;
    let dtype = call.dtype_among(0, &[Float32, Int32])?;
    let shape = &call.input(0)?.shape;
    for i in 1..call.inputs.len() {
        call.same_dtype(0, i)?;
        if call.input(i)?.shape != *shape {
            return Err(call.invalid(format!("operand {i} has shape {:?}, operand 0 {shape:?}", call.input(i)?.shape)));
        }
    }
    Ok(vec![call.result(0, dtype, shape.clone())?])
}

/// The two operands and the builder.
fn operands(call: &Call<'_>) -> Result<(ExprBuilder, Id, Id), CompileError> {
    let mut b = over_operands(call)?;
    let (x, y) = (b.input(0), b.input(1));
    Ok((b, x, y))
}

/// The product where it is one of real numbers.
fn real_product(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    let complex = call.input(0).is_ok_and(|ty| ty.dtype == Complex64);
    (!complex).then(|| basic(call))
}

fn basic(call: &Call<'_>) -> Result<Expr, CompileError> {
    let ty = call.input(0)?;
    if is_quantized(ty) {
        return arithmetic_quant::basic(call);
    }
    let activation = Activation::parse_clamp(call)?;
    let (mut b, x, y) = operands(call)?;
    let op = match call.op {
        OpKind::Sub => Binary::Sub,
        OpKind::Mul => Binary::Mul,
        OpKind::Div => Binary::Div,
        _ => Binary::Add,
    };
    let r = b.binary(op, x, y);
    let r = if b.ty(r) == Ty::F32 { activation.emit_f32(&mut b, r) } else { activation.emit_int(&mut b, r) };
    Ok(b.finish(r, storage_of(call, ty)?))
}

fn extreme(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (mut b, x, y) = operands(call)?;
    let r = b.binary(if call.op == OpKind::Maximum { Binary::Max } else { Binary::Min }, x, y);
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

fn squared_difference(call: &Call<'_>) -> Result<Expr, CompileError> {
    if call.input(0)?.dtype == Int8 {
        return arithmetic_quant::squared_difference(call);
    }
    let (mut b, x, y) = operands(call)?;
    let d = b.sub(x, y);
    let r = b.mul(d, d);
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

fn pow(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (mut b, x, y) = operands(call)?;
    if b.ty(x) == Ty::F32 {
        let r = b.binary(Binary::Pow, x, y);
        return Ok(b.finish(r, storage_of(call, call.input(0)?)?));
    }
    // Powers by squaring over the five low bits: larger exponents overflow unless the base is 0, 1 or -1.
    let (zero, one) = (b.i32(0), b.i32(1));
    let (mut r, mut square) = (one, x);
    for bit in 0..5 {
        let mask = b.i32(1 << bit);
        let set = b.binary(Binary::And, y, mask);
        let set = b.compare(Compare::Ne, set, zero);
        let product = b.mul(r, square);
        r = b.select(set, product, r);
        square = b.mul(square, square);
    }
    let is_zero = b.compare(Compare::Eq, x, zero);
    let positive = b.compare(Compare::Gt, y, zero);
    let vanishes = b.binary(Binary::And, is_zero, positive);
    let r = b.select(vanishes, zero, r);
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

fn floor_div(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (mut b, x, y) = operands(call)?;
    let q = b.binary(Binary::Div, x, y);
    let r = if b.ty(x) == Ty::F32 {
        b.unary(Unary::Floor, q)
    } else {
        let rest = b.binary(Binary::Rem, x, y);
        let ty = b.ty(x);
        let less = differs(&mut b, rest, y);
        let less = b.cast(Cast::Value, ty, less);
        b.sub(q, less)
    };
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

fn floor_mod(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (mut b, x, y) = operands(call)?;
    let rest = b.binary(Binary::Rem, x, y);
    let sum = b.add(rest, y);
    let wrong = differs(&mut b, rest, y);
    let r = b.select(wrong, sum, rest);
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

/// Whether `rest` is not zero and has another sign than `divisor`.
fn differs(b: &mut ExprBuilder, rest: Id, divisor: Id) -> Id {
    let zero = match b.ty(rest) {
        Ty::F32 => b.f32(0.0),
        Ty::I64 => b.i64(0),
        _ => b.i32(0),
    };
    let some = b.compare(Compare::Ne, rest, zero);
    let s = b.compare(Compare::Lt, rest, zero);
    let t = b.compare(Compare::Lt, divisor, zero);
    let signs = b.binary(Binary::Xor, s, t);
    b.binary(Binary::And, some, signs)
}

fn atan2(call: &Call<'_>) -> Result<Expr, CompileError> {
    let (mut b, x, y) = operands(call)?;
    let r = if b.ty(x) == Ty::F64 { atan2_f64::emit(&mut b, x, y) } else { b.binary(Binary::Atan2, x, y) };
    Ok(b.finish(r, storage_of(call, call.input(0)?)?))
}

fn add_n(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let mut sum = b.input(0);
    for i in 1..call.inputs.len() {
        let x = b.input(i);
        sum = b.add(sum, x);
    }
    Ok(b.finish(sum, storage_of(call, call.input(0)?)?))
}

/// LiteRT's check before integer division: no divisor is zero. Floats divide by zero as IEEE 754 says.
pub(super) fn check_divisor(args: &Args<'_>) -> Result<(), EvalError> {
    if matches!(args.call.op, OpKind::Add | OpKind::Sub | OpKind::Mul) {
        return Ok(());
    }
    let divisor = args.value(1)?;
    let integer = divisor.ty.dtype.int_range().is_some() || divisor.ty.dtype == Int64;
    if integer && !is_quantized(&divisor.ty) && args.ints(1)?.contains(&0) {
        return Err(args.error("division by zero"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Attrs, TensorType};
    use crate::ops::table::tests::apply;
    use crate::ops::value::Value;

    fn i32s(v: &[i32]) -> Value {
        Value::new(TensorType::new(Int32, [v.len()]), v.to_vec())
    }

    #[test]
    fn floor_operators_round_towards_minus_infinity() {
        let (a, b) = (i32s(&[7, -7, 7, -7, 6]), i32s(&[2, 2, -2, -2, -3]));
        let out = TensorType::new(Int32, [5]);
        let q = apply(OpKind::FloorDiv, Attrs::new(), &[&a, &b], std::slice::from_ref(&out)).unwrap();
        assert_eq!(q[0].to_i64().unwrap(), [3, -4, -4, 3, -2]);
        let r = apply(OpKind::FloorMod, Attrs::new(), &[&a, &b], std::slice::from_ref(&out)).unwrap();
        assert_eq!(r[0].to_i64().unwrap(), [1, 1, -1, -1, 0]);
        let zero = i32s(&[1, 0, 1, 1, 1]);
        assert!(apply(OpKind::FloorDiv, Attrs::new(), &[&a, &zero], &[out]).is_err());
    }

    #[test]
    fn integer_powers_wrap() {
        let (a, b) = (i32s(&[3, 2, -1, 0, 5, 0]), i32s(&[4, 10, 7, 0, 0, 32]));
        let p = apply(OpKind::Pow, Attrs::new(), &[&a, &b], &[TensorType::new(Int32, [6])]).unwrap();
        assert_eq!(p[0].to_i64().unwrap(), [81, 1024, -1, 1, 1, 0]);
    }

    #[test]
    fn operands_broadcast_or_are_refused() {
        let a = Value::new(TensorType::new(Float32, [2, 1]), vec![1f32, 2.0]);
        let b = Value::new(TensorType::new(Float32, [3]), vec![10f32, 20.0, 30.0]);
        let sum = apply(OpKind::Add, Attrs::new(), &[&a, &b], &[TensorType::new(Float32, [2, 3])]).unwrap();
        assert_eq!(sum[0].to_f32().unwrap(), [11., 21., 31., 12., 22., 32.]);
        let c = Value::new(TensorType::new(Float32, [2]), vec![1f32, 2.0]);
        assert!(apply(OpKind::Add, Attrs::new(), &[&b, &c], &[TensorType::new(Float32, [3])]).is_err());
    }
}
