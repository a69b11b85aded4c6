//! Integers of less than a byte, two or four to a byte: CAST and DEQUANTIZE of them, CAST to them; and QUANTIZE and DEQUANTIZE with scales along an axis.
//!
//! Elements at the same place of their bytes are one strided array: unpacking is a loop over bytes for each place, packing one that joins the places.

use super::context::{Cx, Operand};
use super::movement::result;
use super::pointwise::emit;
use super::rounding::away;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind, TensorType};
use crate::ops::activation::{emit_clamp, integer_range};
use crate::ops::cast::{conversion, conversion_to};
use crate::ops::packed::byte_type;
use crate::ops::quantize::scaled;
use crate::ops::storage::storage;
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::expr::{Binary, Expr, ExprBuilder, Id, Storage};

/// Lowers a conversion that is no expression over its operand.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::Cast => cast(cx, node),
        OpKind::Quantize => quantize(cx, node),
        _ => dequantize(cx, node),
    }
}

/// Whether a node reads or writes packed integers.
pub(super) fn converts(cx: &Cx<'_, '_>, node: &Node) -> bool {
    node.reads().chain(node.outputs.iter().copied()).any(|t| byte_type(cx.ty(t).dtype).is_some())
}

fn memory(cx: &Cx<'_, '_>, dtype: DType) -> Result<Storage, CompileError> {
    storage(byte_type(dtype).unwrap_or(dtype)).ok_or_else(|| cx.unsupported(Unsupported::Types(dtype.to_string())))
}

fn cast(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    let source = cx.ty(x).dtype;
    let storage = memory(cx, source)?;
    match (byte_type(source), byte_type(ty.dtype)) {
        (Some(_), None) => {
            let expr = conversion(storage, memory(cx, ty.dtype)?);
            unpack(cx, source, from, ty.elements(), &expr, to);
        }
        (None, Some(_)) => {
            let expr = conversion_to(storage, ty.dtype).ok_or_else(|| cx.internal("no packed integers"))?;
            pack(cx, from, &expr, ty.dtype, ty.elements(), to);
        }
        _ => return Err(cx.unsupported(Unsupported::Types(format!("{source} to {}", ty.dtype)))),
    }
    Ok(())
}

/// DEQUANTIZE of packed integers, and with scales along an axis.
fn dequantize(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, out) = result(cx, node, 0)?;
    let (mut from, to) = (cx.operand(x)?, cx.operand(y)?);
    let ty = cx.ty(x).clone();
    let from_storage = memory(cx, ty.dtype)?;
    if byte_type(ty.dtype).is_some() {
        let bytes = cx.workspace(ty.elements());
        unpack(cx, ty.dtype, from, ty.elements(), &Expr::identity(from_storage), bytes);
        from = bytes;
    }
    let expr = scaled(from_storage, memory(cx, out.dtype)?);
    by_channel(cx, &ty, expr, from, to)
}

/// QUANTIZE of floats with scales along an axis: the quotient, half away from zero.
fn quantize(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, out) = result(cx, node, 0)?;
    if cx.ty(x).dtype != DType::Float32 {
        return Err(cx.unsupported(Unsupported::Types(format!("{} to several scales", cx.ty(x).dtype))));
    }
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    let mut b = ExprBuilder::new([Storage::F32, Storage::F32, Storage::I32]);
    let (v, scale, zero) = (b.input(0), b.input(1), b.input(2));
    let quotient = b.binary(Binary::Div, v, scale);
    let q = away(&mut b, quotient, 131_072.0);
    let q = b.add(q, zero);
    let (lo, hi) = integer_range(out);
    let q = emit_clamp(&mut b, q, lo, hi);
    let expr = b.finish(q, memory(cx, out.dtype)?);
    let out = out.clone();
    by_channel(cx, &out, expr, from, to)
}

/// Appends a loop over elements, their scales and their zero points, which are those of the type `ty`.
fn by_channel(cx: &mut Cx<'_, '_>, ty: &TensorType, expr: Expr, from: Operand, to: Operand) -> Result<(), CompileError> {
    let Some(q) = ty.quant.affine() else { return Err(cx.internal("a conversion without scales")) };
    let zeros = q.zero_point.iter().map(|z| i32::try_from(*z).ok().filter(|z| z.abs() < 1 << 24)).collect::<Option<Vec<i32>>>();
    let zeros = zeros.ok_or_else(|| cx.unsupported(Unsupported::Quantization(format!("zero points {:?}", q.zero_point))))?;
    let scales = cx.bytes(q.scale.iter().flat_map(|s| s.to_le_bytes()).collect());
    let zeros = cx.bytes(zeros.into_iter().flat_map(i32::to_le_bytes).collect());
    let own = row_major(&ty.shape);
    let along = (0..ty.shape.len()).map(|d| i64::from(d == q.axis && q.scale.len() > 1)).collect::<Vec<i64>>();
    emit(cx, PointwiseSpec::new(&ty.shape, vec![own.clone(), along.clone(), along], own, expr), vec![from, scales, zeros, to]);
    Ok(())
}

/// Applies an expression over elements of the byte type to each packed element.
fn unpack(cx: &mut Cx<'_, '_>, dtype: DType, from: Operand, elements: usize, expr: &Expr, to: Operand) {
    let (bits, per_byte) = (dtype.bits() as i32, 8 / dtype.bits());
    for place in 0..per_byte {
        let count = (elements + per_byte - 1 - place) / per_byte;
        if count == 0 {
            continue;
        }
        let mut b = ExprBuilder::new([Storage::U8]);
        let byte = b.input(0);
        let value = if dtype == DType::UInt4 {
            let (down, mask) = (b.i32(bits * place as i32), b.i32((1 << bits) - 1));
            let low = b.binary(Binary::Shr, byte, down);
            b.binary(Binary::And, low, mask)
        } else {
            // The sign is the element's highest bit.
            let (up, down) = (b.i32(32 - bits * (place as i32 + 1)), b.i32(32 - bits));
            let high = b.binary(Binary::Shl, byte, up);
            b.binary(Binary::Shr, high, down)
        };
        let result = b.inline(expr, &[value]);
        let spec = PointwiseSpec::new(&[count], vec![vec![1]], vec![per_byte as i64], b.finish(result, expr.output));
        emit(cx, spec, vec![from, to.offset(place * expr.output.bytes())]);
    }
}

/// Joins what an expression makes of neighbouring elements.
fn pack(cx: &mut Cx<'_, '_>, from: Operand, expr: &Expr, dtype: DType, elements: usize, to: Operand) {
    let per_byte = 8 / dtype.bits();
    let width = expr.inputs[0].bytes();
    let (whole, rest) = (elements / per_byte, elements % per_byte);
    for (first, count, places) in [(0, whole, per_byte), (whole, usize::from(rest > 0), rest)] {
        if count == 0 {
            continue;
        }
        let mut b = ExprBuilder::new(vec![expr.inputs[0]; places]);
        let mut byte: Option<Id> = None;
        for place in 0..places {
            let x = b.input(place);
            let value = b.inline(expr, &[x]);
            let (mask, up) = (b.i32((1 << dtype.bits()) - 1), b.i32((dtype.bits() * place) as i32));
            let low = b.binary(Binary::And, value, mask);
            let part = b.binary(Binary::Shl, low, up);
            byte = Some(byte.map_or(part, |rest| b.binary(Binary::Or, rest, part)));
        }
        let Some(byte) = byte else { continue };
        let stride = vec![per_byte as i64];
        let spec = PointwiseSpec::new(&[count], vec![stride; places], vec![1], b.finish(byte, Storage::U8));
        let mut args: Vec<Operand> = (0..places).map(|place| from.offset((first * per_byte + place) * width)).collect();
        args.push(to.offset(first));
        emit(cx, spec, args);
    }
}
