//! Complex numbers: REAL, IMAG, COMPLEX_ABS, MUL of two, CAST from and to them.
//!
//! They lie in memory as pairs (real, imaginary) of binary32; each part is a strided array of floats.

use super::context::{Cx, Operand};
use super::movement::{Part, copy_strided, fill, result};
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind};
use crate::ops::cast::conversion;
use crate::ops::storage::storage;
use tflc_templates::cpu::pointwise::{PointwiseSpec, broadcast, row_major};
use tflc_templates::expr::{Binary, Cast, Compare, Expr, ExprBuilder, Id, Storage, Ty, Unary};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::Mul => product(cx, node),
        OpKind::Cast => cast(cx, node),
        _ => part(cx, node),
    }
}

/// Every second number of an array of pairs of binary32.
pub(super) fn half(base: Operand, which: usize, shape: &[usize]) -> Part {
    half_of(base, which, shape, 4)
}

/// Every second number, of so many bytes, of an array of pairs.
fn half_of(base: Operand, which: usize, shape: &[usize], bytes: usize) -> Part {
    Part { base: base.offset(bytes * which), offset: 0, strides: row_major(shape).iter().map(|s| s * 2).collect() }
}

fn part(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    let (storage, bytes) = if ty.dtype == DType::Float64 { (Storage::F64, 8) } else { (Storage::F32, 4) };
    let (re, im) = (half_of(from, 0, &ty.shape, bytes), half_of(from, 1, &ty.shape, bytes));
    match node.op {
        OpKind::Real => copy_strided(cx, &ty.shape, re, Part::dense(to, &ty.shape), bytes),
        OpKind::Imag => copy_strided(cx, &ty.shape, im, Part::dense(to, &ty.shape), bytes),
        OpKind::ComplexAbs => {
            let spec = PointwiseSpec::new(&ty.shape, vec![re.strides, im.strides], row_major(&ty.shape), magnitude(storage));
            emit(cx, spec, vec![re.base, im.base, to]);
        }
        _ => return Err(cx.internal("no part of complex numbers")),
    }
    Ok(())
}

/// `a sqrt(1 + (b/a)^2)` with `a` the greater and `b` the smaller magnitude: squares of extreme numbers neither overflow nor vanish.
fn magnitude(storage: Storage) -> Expr {
    let mut b = ExprBuilder::new([storage, storage]);
    let (re, im) = (b.input(0), b.input(1));
    let (re, im) = (b.unary(Unary::Abs, re), b.unary(Unary::Abs, im));
    let (most, least) = (b.max(re, im), b.min(re, im));
    let ratio = b.binary(Binary::Div, least, most);
    let square = b.mul(ratio, ratio);
    let one = number(&mut b, storage, 1.0);
    let sum = b.add(one, square);
    let root = root(&mut b, storage, sum);
    let length = b.mul(most, root);
    // Zero and infinity have no ratio.
    let (zero, infinity) = (number(&mut b, storage, 0.0), number(&mut b, storage, f64::INFINITY));
    let at_zero = b.compare(Compare::Eq, most, zero);
    let length = b.select(at_zero, zero, length);
    let at_infinity = b.compare(Compare::Eq, most, infinity);
    let length = b.select(at_infinity, infinity, length);
    b.finish(length, storage)
}

/// A constant of the arithmetic of a type.
fn number(b: &mut ExprBuilder, storage: Storage, value: f64) -> Id {
    if storage == Storage::F64 { b.f64(value) } else { b.f32(value as f32) }
}

/// The square root of a number from 1 to 2. In binary64 two steps of Newton's method follow the root in binary32: each doubles its 24 bits.
fn root(b: &mut ExprBuilder, storage: Storage, x: Id) -> Id {
    if storage != Storage::F64 {
        return b.unary(Unary::Sqrt, x);
    }
    let short = b.cast(Cast::Value, Ty::F32, x);
    let short = b.unary(Unary::Sqrt, short);
    let mut y = b.cast(Cast::Value, Ty::F64, short);
    for _ in 0..2 {
        let half = b.f64(0.5);
        let quotient = b.binary(Binary::Div, x, y);
        let sum = b.add(y, quotient);
        y = b.mul(sum, half);
    }
    y
}

/// `(ac - bd) + (ad + bc)i`, one part after the other.
fn product(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, y) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (out, ty) = result(cx, node, 0)?;
    let pairs = |shape: &[usize]| -> Vec<i64> { broadcast(shape, &ty.shape).iter().map(|s| s * 2).collect() };
    let strides = [pairs(&cx.ty(x).shape), pairs(&cx.ty(y).shape)];
    let (x, y, out) = (cx.operand(x)?, cx.operand(y)?, cx.operand(out)?);
    // The operands are a and b of one factor, c and d of the other.
    for (k, op, other) in [(0, Binary::Sub, 0), (1, Binary::Add, 1)] {
        let mut b = ExprBuilder::new([Storage::F32; 4]);
        let [re, im, first, second] = [0, 1, 2, 3].map(|i| b.input(i));
        let (p, q) = (b.mul(re, first), b.mul(im, second));
        let r = b.binary(op, p, q);
        let to = half(out, k, &ty.shape);
        let strides = vec![strides[0].clone(), strides[0].clone(), strides[1].clone(), strides[1].clone()];
        let args = vec![x, x.offset(4), y.offset(4 * other), y.offset(4 * (1 - other)), to.base];
        emit(cx, PointwiseSpec::new(&ty.shape, strides, to.strides, b.finish(r, Storage::F32)), args);
    }
    Ok(())
}

/// Real parts from or to any number; imaginary parts become zero.
fn cast(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let kind = cx.ty(x).dtype;
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    let of = |dtype: DType| if dtype == DType::Complex64 { Some(Storage::F32) } else { storage(dtype) };
    let Some((source, target)) = of(kind).zip(of(ty.dtype)) else {
        return Err(cx.unsupported(Unsupported::Types(format!("{kind} to {} at run time", ty.dtype))));
    };
    let side = |dtype: DType, base: Operand, k: usize| {
        if dtype == DType::Complex64 { half(base, k, &ty.shape) } else { Part::dense(base, &ty.shape) }
    };
    let (re, result) = (side(kind, from, 0), side(ty.dtype, to, 0));
    let spec = PointwiseSpec::new(&ty.shape, vec![re.strides], result.strides, conversion(source, target));
    emit(cx, spec, vec![re.base, result.base]);
    match (kind, ty.dtype) {
        (DType::Complex64, DType::Complex64) => copy_strided(cx, &ty.shape, side(kind, from, 1), side(ty.dtype, to, 1), 4),
        (_, DType::Complex64) => fill(cx, &ty.shape, side(ty.dtype, to, 1), 4, 0),
        _ => {}
    }
    Ok(())
}
