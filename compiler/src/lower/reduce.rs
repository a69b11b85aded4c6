//! SUM, MEAN, REDUCE_*, L2_NORMALIZATION, ARG_MAX, ARG_MIN, CUMSUM.
//!
//! The arithmetic of quantised means and sums is that of `compiler/docs/numerics.md`: raw integers are summed, everything else is the epilogue.

use super::constants::axis;
use super::context::{Cx, Operand};
use super::grain::grain;
use super::movement::result;
use super::open::{counted, with_neutral_tail};
use super::pointwise::emit;
use super::rounding::away;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind, TensorId, TensorType};
use crate::ops::activation::emit_clamp;
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::reduce::{element, reduced};
use crate::ops::storage::storage;
use tflc_templates::cpu::arg::ArgSpec;
use tflc_templates::cpu::l2_norm::L2NormSpec;
use tflc_templates::cpu::pointwise::{PointwiseSpec, broadcast, row_major};
use tflc_templates::cpu::reduce::{Combine, ReduceSpec};
use tflc_templates::cpu::scan::ScanSpec;
use tflc_templates::expr::{Binary, Cast, Expr, ExprBuilder, Storage, Ty, Unary};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::L2Normalization => l2_normalization(cx, node),
        OpKind::ArgMax | OpKind::ArgMin => arg(cx, node),
        OpKind::Cumsum => cumsum(cx, node),
        _ => reduction(cx, node),
    }
}

/// The memory type of a tensor.
fn storage_of(cx: &Cx<'_, '_>, ty: &TensorType) -> Result<Storage, CompileError> {
    storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))
}

fn reduction(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, out) = result(cx, node, 0)?;
    let ty = cx.ty(x);
    let reduced = reduced(&cx.as_call()?)?;
    let n: usize = ty.shape.iter().zip(&reduced).filter(|(_, r)| **r).map(|(n, _)| n).product();
    let combine = match node.op {
        // Of truth values a sum is true where one is, the largest likewise; a product where all are.
        OpKind::Sum | OpKind::ReduceMax if ty.dtype == DType::Bool => Combine::Any,
        OpKind::ReduceProd | OpKind::ReduceMin if ty.dtype == DType::Bool => Combine::All,
        OpKind::Sum | OpKind::Mean => Combine::Sum,
        OpKind::ReduceProd => Combine::Product,
        OpKind::ReduceMax => Combine::Max,
        OpKind::ReduceMin => Combine::Min,
        OpKind::ReduceAny => Combine::Any,
        OpKind::ReduceAll => Combine::All,
        _ => return Err(cx.unsupported(Unsupported::Operator)),
    };
    if node.op == OpKind::ReduceProd && crate::ops::call::is_quantized(ty) {
        return super::product::lower(cx, (x, y), &reduced, n);
    }
    if let (OpKind::Sum | OpKind::Mean, DType::Int8 | DType::UInt8 | DType::Int32 | DType::Int64) = (node.op, ty.dtype)
        && let Some(number) = counted(cx, x, &reduced)?
    {
        return super::open::sum_counted(cx, node.op, [x, y], &reduced, number);
    }
    let (element, epilogue) = expressions(cx, node.op, ty, out, n)?;
    let spec = ReduceSpec::new(&ty.shape, &reduced, combine, element, epilogue);
    let value = match combine {
        Combine::Max => lowest(ty.dtype),
        Combine::Min => highest(ty.dtype),
        _ => neutral(combine, ty.dtype),
    };
    let from = with_neutral_tail(cx, x, &reduced, value)?;
    let args = vec![from, cx.operand(y)?];
    reduce(cx, spec, ty.elements(), args);
    match counted(cx, x, &reduced)? {
        Some(_) if node.op == OpKind::Mean && out.dtype != DType::Float32 => {
            Err(cx.unsupported(Unsupported::Types(format!("a mean of {} over an extent known only at run time", out.dtype))))
        }
        Some(number) if node.op == OpKind::Mean => divide_again(cx, y, n, number),
        _ => Ok(()),
    }
}

/// Makes a mean over the bound of axes one over their extents.
fn divide_again(cx: &mut Cx<'_, '_>, y: TensorId, bound: usize, number: Operand) -> Result<(), CompileError> {
    let elements = cx.ty(y).elements();
    let mut b = ExprBuilder::new([Storage::F32, Storage::I64]);
    let (v, n) = (b.input(0), b.input(1));
    let n = b.cast(Cast::Value, Ty::I32, n);
    let n = b.cast(Cast::Value, Ty::F32, n);
    let bound = b.f32(bound as f32);
    let v = b.mul(v, bound);
    let v = b.binary(Binary::Div, v, n);
    let to = cx.operand(y)?;
    emit(cx, PointwiseSpec::new(&[elements], vec![vec![1], vec![0]], vec![1], b.finish(v, Storage::F32)), vec![to, number, to]);
    Ok(())
}

/// The bits of the element that changes nothing.
fn neutral(combine: Combine, dtype: DType) -> u64 {
    let [zero, one, most, least] = match dtype {
        DType::Float32 => [0.0, 1.0, f32::INFINITY, f32::NEG_INFINITY].map(|v| u64::from(v.to_bits())),
        DType::Float16 => [0, 0x3c00, 0x7c00, 0xfc00],
        DType::Int64 => [0, 1, i64::MAX, i64::MIN].map(|v| v as u64),
        DType::Bool => [0, 1, 1, 0],
        _ => [0, 1, i32::MAX, i32::MIN].map(|v| u64::from(v as u32)),
    };
    match combine {
        Combine::Product | Combine::All => one,
        Combine::Min => most,
        Combine::Max => least,
        _ => zero,
    }
}

/// The bits of the lowest element of a type.
pub(super) fn lowest(dtype: DType) -> u64 {
    match dtype {
        DType::Int8 => i8::MIN as u8 as u64,
        DType::Int16 => i16::MIN as u16 as u64,
        DType::UInt8 => 0,
        _ => neutral(Combine::Max, dtype),
    }
}

fn highest(dtype: DType) -> u64 {
    match dtype {
        DType::Int8 => i8::MAX as u64,
        DType::Int16 => i16::MAX as u64,
        DType::UInt8 => u64::from(u8::MAX),
        _ => neutral(Combine::Min, dtype),
    }
}

/// Appends a reduction of `elements` elements.
pub(super) fn reduce(cx: &mut Cx<'_, '_>, spec: ReduceSpec, elements: usize, args: Vec<super::context::Operand>) {
    let caps = cx.caps().clone();
    let units = spec.units(&caps);
    let bytes = spec.element.inputs[0].bytes();
    let unit_ns = elements as f64 / units as f64 * (bytes as f64 * 0.04 + 4.0 / f64::from(caps.vector_bytes));
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, unit_ns));
}

/// What is done with each element of `x`, and with what `n` of them combine to.
fn expressions(cx: &Cx<'_, '_>, op: OpKind, x: &TensorType, y: &TensorType, n: usize) -> Result<(Expr, Expr), CompileError> {
    let (from, to) = (storage_of(cx, x)?, storage_of(cx, y)?);
    let sums = matches!(op, OpKind::Sum | OpKind::Mean);
    let quantized = x.quant.per_tensor().zip(y.quant.per_tensor());
    // Integers of 16 bits could overflow 32 after 65,535 elements; the mean of integers is of their exact sum.
    let wide_mean = op == OpKind::Mean && from == Storage::I32;
    let wide = from.ty() == Ty::I64 || wide_mean || (sums && from == Storage::I16 && n > 1 << 16);
    let acc = match from.ty() {
        Ty::F32 => Storage::F32,
        Ty::Bool => Storage::Bool,
        _ if wide => Storage::I64,
        _ => Storage::I32,
    };
    let mut b = ExprBuilder::new([from]);
    let v = b.input(0);
    let v = match element(&cx.as_call()?) {
        Some(first) => b.inline(first, &[v]),
        None => v,
    };
    let v = b.cast(Cast::Value, acc.ty(), v);
    let element = b.finish(v, acc);
    let mut b = ExprBuilder::new([acc]);
    let s = b.input(0);
    let r = match (from, quantized) {
        (Storage::I8 | Storage::U8, Some((qx, qy))) if sums => quantized_sum(&mut b, s, op, qx, qy, to, n),
        (Storage::I16, Some((qx, qy))) if op == OpKind::Mean => {
            let s = b.cast(Cast::Value, Ty::I32, s);
            let r = mean_multiplier(qx.0, qy.0, n).emit(&mut b, s, Rounding::HalfAway);
            emit_clamp(&mut b, r, -32768, 32767)
        }
        (Storage::I16, Some(((si, zi), (so, zo)))) if op == OpKind::Sum => {
            let v = si / so;
            let f = b.cast(Cast::Value, Ty::F32, s);
            let (scale, bias) = (b.f32(v), b.f32(-(zi as f32) * v * n as f32));
            let f = b.mul(f, scale);
            let f = b.add(f, bias);
            let q = away(&mut b, f, 65536.0);
            let zero = b.i32(zo as i32);
            let q = b.add(q, zero);
            emit_clamp(&mut b, q, -32768, 32767)
        }
        (Storage::F32 | Storage::F16 | Storage::BF16, _) if op == OpKind::Mean => {
            let k = b.f32(1.0 / n as f32);
            b.mul(s, k)
        }
        _ if op == OpKind::Mean => {
            let count = if wide { b.i64(n as i64) } else { b.i32(n as i32) };
            let q = b.binary(Binary::Div, s, count);
            b.cast(Cast::Value, to.ty(), q)
        }
        _ => b.cast(Cast::Value, to.ty(), s),
    };
    Ok((element, b.finish(r, to)))
}

/// `clamp(rint(f32(f32(f32(S)*v) + c)))` with `v = f32(si/so)`, times `f32(1/n)` for a mean, and
/// `c = f32(zo - f32(f32(n*zi)*v))`. Source: XNNPACK, `src/operators/reduce-nd.c`.
fn quantized_sum(
    b: &mut ExprBuilder,
    sum: tflc_templates::expr::Id,
    op: OpKind,
    (si, zi): (f32, i64),
    (so, zo): (f32, i64),
    to: Storage,
    n: usize,
) -> tflc_templates::expr::Id {
    let v = if op == OpKind::Mean { si / so * (1.0 / n as f32) } else { si / so };
    let c = zo as f32 - (n as i64 * zi) as f32 * v;
    let (lo, hi) = if to == Storage::U8 { (0.0, 255.0) } else { (-128.0, 127.0) };
    let f = b.cast(Cast::Value, Ty::F32, sum);
    let v = b.f32(v);
    let f = b.mul(f, v);
    let c = b.f32(c);
    let f = b.add(f, c);
    let (lo, hi) = (b.f32(lo), b.f32(hi));
    let f = b.max(lo, f);
    let f = b.min(hi, f);
    b.cast(Cast::RoundEven, Ty::I32, f)
}

/// `QM(si/so)` divided by n in integers, after as many left shifts as fit. Source: TFLite, `kernels/reduce.cc`, mean of int16.
fn mean_multiplier(si: f32, so: f32, n: usize) -> Fixed {
    let f = Fixed::new(f64::from(si) / f64::from(so));
    let n = n.max(1) as u64;
    let k = i64::from(n.ilog2()).min(32).min(31 + i64::from(f.e)).max(0);
    Fixed { m: (((f.m as u64) << k) / n) as i32, e: f.e - k as i32 }
}

/// f32: `x / max(sqrt(sum of squares), 1e-6)` along the last axis. Source: TFLite, `reference/l2normalization.h`.
fn l2_normalization(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    if node.attrs.name("fused_activation_function", "NONE") != "NONE" {
        let value = node.attrs.name("fused_activation_function", "NONE").to_string();
        return Err(cx.unsupported(Unsupported::Option("fused_activation_function".into(), value)));
    }
    match ty.dtype {
        DType::Float32 => {}
        DType::Int8 => return l2_norm(cx, node, Storage::I8),
        DType::UInt8 => return l2_norm(cx, node, Storage::U8),
        other => return Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    }
    let mut reduced = vec![false; ty.shape.len()];
    if let Some(last) = reduced.last_mut() {
        *last = true;
    }
    let mut rows = ty.shape.clone();
    if let Some(last) = rows.last_mut() {
        *last = 1;
    }
    let mut b = ExprBuilder::new([Storage::F32]);
    let v = b.input(0);
    let square = b.mul(v, v);
    let element = b.finish(square, Storage::F32);
    let mut b = ExprBuilder::new([Storage::F32]);
    let v = b.input(0);
    let root = b.unary(Unary::Sqrt, v);
    let least = b.f32(1e-6);
    let norm = b.max(least, root);
    let epilogue = b.finish(norm, Storage::F32);
    let spec = ReduceSpec::new(&ty.shape, &reduced, Combine::Sum, element, epilogue);
    let norms = cx.workspace(rows.iter().product::<usize>() * 4);
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    reduce(cx, spec, ty.elements(), vec![from, norms]);
    let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
    let (v, norm) = (b.input(0), b.input(1));
    let q = b.binary(Binary::Div, v, norm);
    let expr = b.finish(q, Storage::F32);
    let own = row_major(&ty.shape);
    let spec = PointwiseSpec::new(&ty.shape, vec![own.clone(), broadcast(&rows, &ty.shape)], own, expr);
    emit(cx, spec, vec![from, norms, to]);
    Ok(())
}

/// 8 bits: one kernel of integers.
fn l2_norm(cx: &mut Cx<'_, '_>, node: &Node, storage: Storage) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let Some((_, zero_point)) = cx.ty(x).quant.per_tensor() else {
        return Err(cx.unsupported(Unsupported::Quantization("needs one scale and zero point".into())));
    };
    let n = ty.shape.last().copied().unwrap_or(1);
    let rows = ty.elements().checked_div(n).unwrap_or(0);
    let spec = L2NormSpec { rows, n, storage, zero_point: zero_point as i32 };
    let args = vec![cx.operand(x)?, cx.operand(y)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, 40.0 + n as f64 * 0.3));
    Ok(())
}

/// Sizes in front of, along and behind an axis.
fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (shape[..axis].iter().product(), shape[axis], shape[axis + 1..].iter().product())
}

fn arg(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, out) = result(cx, node, 0)?;
    let ty = cx.ty(x);
    let at = super::constants::operand_int(cx, node, 1, "axis")?;
    let at = axis(cx, at, ty.shape.len())?;
    let (outer, n, inner) = around(&ty.shape, at);
    let input = match storage_of(cx, ty)? {
        Storage::Bool => Storage::U8,
        s => s,
    };
    let wide_output = match out.dtype {
        DType::Int32 => false,
        DType::Int64 => true,
        other => return Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    };
    let spec = ArgSpec { outer, n, inner, input, max: node.op == OpKind::ArgMax, wide_output };
    let tail = if spec.max { lowest(ty.dtype) } else { highest(ty.dtype) };
    let along: Vec<bool> = (0..ty.shape.len()).map(|d| d == at).collect();
    let args = vec![with_neutral_tail(cx, x, &along, tail)?, cx.operand(y)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, 20.0 + (n * inner) as f64 * 0.2));
    Ok(())
}

fn cumsum(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let at = super::constants::operand_int(cx, node, 1, "axis")?;
    let at = axis(cx, at, ty.shape.len())?;
    let (outer, n, inner) = around(&ty.shape, at);
    let storage = match ty.dtype {
        DType::Float32 => Storage::F32,
        DType::Int32 => Storage::I32,
        DType::Int64 => Storage::I64,
        other => return Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    };
    let (exclusive, reverse) = (node.attrs.bool("exclusive", false), node.attrs.bool("reverse", false));
    let spec = ScanSpec { outer, n, inner, storage, exclusive, reverse };
    let args = vec![cx.operand(x)?, cx.operand(y)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, 20.0 + (n * inner) as f64));
    Ok(())
}
