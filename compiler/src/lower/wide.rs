//! 16-bit activations with 8-bit weights: two 8-bit products, of the high and of the low bytes, put together in 32 or 64 bits.
//!
//! `x = 256 * high + low` with a signed high byte and an unsigned low one, so `sum(x * w) = 256 * sum(high * w) + sum(low * w)`, both of which fit
//! in 32 bits. Zero points of the activations are 0. The operator's epilogue runs in a loop of its own over both accumulators.

use super::context::{Cx, Operand};
use super::epilogue::{Correction, Source, Sources, compose};
use super::hybrid::repeat;
use super::mac::Product;
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::Node;
use crate::ops::requant;
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::cpu::pointwise::{PointwiseSpec, Strides, row_major};
use tflc_templates::expr::{Binary, Cast, Expr, ExprBuilder, Storage, Ty};

/// A sum of products in 32 bits that counts `2^shift`; or the whole sum, of floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    pub(super) sum: Operand,
    pub(super) shift: i64,
}

/// Products that can be summed before the sum of low bytes times weights leaves 32 bits.
const DEPTH: usize = (i32::MAX / (255 * 128)) as usize;

/// Appends the calls of a product over 16-bit integers at `values`. `row_scales` are the scales of that many groups of rows where the
/// epilogue asks for them.
///
/// # Errors
/// `Unsupported` where so many products are summed that 32 bits do not hold their sum.
pub(super) fn lower(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    p: Product,
    values: Operand,
    row_scales: Option<(Operand, usize)>,
) -> Result<(), CompileError> {
    if p.mac.depth() > DEPTH {
        return Err(cx.unsupported(Unsupported::Shape(format!("sums of {} products of 16-bit integers", p.mac.depth()))));
    }
    if p.zero_point != 0 {
        return Err(cx.unsupported(Unsupported::Quantization(format!("16-bit activations with zero point {}", p.zero_point))));
    }
    let elements = p.mac.inputs();
    let columns = p.mac.columns();
    let rows = p.mac.rows();
    let mut sums = vec![];
    for (storage, shift) in [(Storage::I8, 8), (Storage::U8, 0)] {
        let bytes = byte_of(cx, values, elements, storage, shift);
        let sum = cx.workspace(rows * columns * 4);
        let mac = p.mac.with(storage, 0, plus_compensation());
        let packed = mac.packed(cx, &p.weights);
        let mut args = vec![bytes, packed, sum];
        args.push(mac.compensated(cx, &p.weights, None)?);
        mac.call(cx, args);
        sums.push(Term { sum, shift: i64::from(shift) });
    }
    let bias = p.bias.map(|t| cx.operand(t)).transpose()?;
    finish(cx, node, &p.base, &sums, [rows, columns], bias, row_scales, p.out)
}

/// The byte of 16-bit integers that begins at bit `shift`.
pub(super) fn byte_of(cx: &mut Cx<'_, '_>, values: Operand, elements: usize, storage: Storage, shift: i32) -> Operand {
    let out = cx.workspace(elements);
    let mut b = ExprBuilder::new([Storage::I16]);
    let x = b.input(0);
    let v = if shift > 0 {
        let n = b.i32(shift);
        b.binary(Binary::Shr, x, n)
    } else {
        let mask = b.i32(255);
        b.binary(Binary::And, x, mask)
    };
    let expr = b.finish(v, storage);
    emit(cx, PointwiseSpec::new(&[elements], vec![vec![1]], vec![1], expr), vec![values, out]);
    out
}

/// The accumulator with the kernel's compensation, as it is.
fn plus_compensation() -> Epilogue {
    let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
    let (acc, more) = (b.input(0), b.input(1));
    let sum = b.add(acc, more);
    Epilogue { expr: b.finish(sum, Storage::I32), operands: vec![OperandAccess::PerColumn] }
}

/// The sum of the terms in front of an epilogue, whose first input that is.
fn joined(epilogue: &Expr, terms: &[Term]) -> Expr {
    let acc = epilogue.inputs[0].ty();
    let term = if acc == Ty::F32 { Storage::F32 } else { Storage::I32 };
    let inputs: Vec<Storage> = terms.iter().map(|_| term).chain(epilogue.inputs[1..].iter().copied()).collect();
    let mut b = ExprBuilder::new(inputs);
    let mut sum = None;
    for (i, term) in terms.iter().enumerate() {
        let v = b.input(i);
        let v = b.cast(Cast::Value, acc, v);
        let shift = if acc == Ty::I64 { b.i64(term.shift) } else { b.i32(term.shift as i32) };
        let v = if term.shift > 0 { b.binary(Binary::Shl, v, shift) } else { v };
        sum = Some(sum.map_or(v, |s| b.add(s, v)));
    }
    let rest = (1..epilogue.inputs.len()).map(|i| b.input(terms.len() + i - 1)).collect::<Vec<_>>();
    let inputs: Vec<_> = sum.into_iter().chain(rest).collect();
    let result = b.inline(epilogue, &inputs);
    b.finish(result, epilogue.output)
}

/// Runs the operator's epilogue and tail over `[rows, columns]` accumulators.
#[allow(clippy::too_many_arguments)]
pub(super) fn finish(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    base: &requant::Epilogue,
    terms: &[Term],
    [rows, columns]: [usize; 2],
    bias: Option<Operand>,
    row_scales: Option<(Operand, usize)>,
    out: Operand,
) -> Result<(), CompileError> {
    let composed = compose(cx, node, base, base.expr.inputs[0], Correction::None)?;
    let row_scale = row_scales.map(|(scales, groups)| match groups {
        1 => scales,
        _ => repeat(cx, scales, groups, rows / groups),
    });
    let single = row_scales.is_some_and(|(_, groups)| groups == 1);
    let expr = joined(&composed.epilogue.expr, terms);
    let dense = row_major(&[rows, columns]);
    let mut strides = vec![dense.clone(); terms.len()];
    let storages = &composed.epilogue.expr.inputs[1..];
    for ((access, source), storage) in composed.epilogue.operands.iter().zip(&composed.sources).zip(storages) {
        strides.push(match access {
            OperandAccess::PerRow if single && matches!(source, Source::RowScale) => vec![0, 0],
            OperandAccess::PerRow => vec![1, 0],
            OperandAccess::PerColumn => vec![0, 1],
            OperandAccess::Scalar => vec![0, 0],
            OperandAccess::Matrix { row_stride_bytes } => Strides::from([row_stride_bytes / storage.bytes() as i64, 1]),
        });
    }
    let mut operands = composed.operands(cx, &Sources { bias, row_scale, ..Sources::default() })?;
    // The loop finds its tables itself.
    operands.truncate(composed.sources.len());
    let args = terms.iter().map(|t| t.sum).chain(operands).chain([out]).collect();
    emit(cx, PointwiseSpec::new(&[rows, columns], strides, dense, expr), args);
    Ok(())
}
