//! Types, quantisation and constants of tensors, and how tensors meet expressions.

use super::VerifyCause;
use crate::ir::{Affine, DType, Graph, Open, Quantization, Tensor, TensorId, TensorType};

/// Whether a shape broadcasts to another: aligned at the innermost dimension, each is equal or 1.
pub(super) fn shape_broadcasts(from: &[usize], to: &[usize]) -> bool {
    from.len() <= to.len() && from.iter().rev().zip(to.iter().rev()).all(|(a, b)| a == b || *a == 1)
}

/// Checks a tensor by itself.
pub(super) fn tensor(graph: &Graph, tensor: &Tensor) -> Result<(), VerifyCause> {
    ty(graph, &tensor.ty)?;
    if let Some(data) = &tensor.data {
        let fixed = tensor.ty.dtype.bits() > 0;
        if fixed && data.len() != tensor.ty.bytes() {
            return Err(VerifyCause::ConstantBytes { expected: tensor.ty.bytes(), got: data.len() });
        }
    }
    match &tensor.signature {
        Some(dims) if dims.len() != tensor.ty.shape.len() || dims.iter().any(|d| *d < -1) => Err(VerifyCause::ShapeSignature(dims.clone())),
        _ => Ok(()),
    }
}

/// Checks a type: its size in bytes fits the address space, its quantisation fits its shape.
pub(super) fn ty(graph: &Graph, ty: &TensorType) -> Result<(), VerifyCause> {
    // Empty dimensions count as one: partial products must not overflow either.
    let elements = ty.shape.iter().try_fold(1usize, |n, d| n.checked_mul((*d).max(1)));
    let bits = elements.and_then(|n| n.checked_mul(ty.dtype.bits().max(8)));
    if bits.is_none_or(|b| b > isize::MAX as usize) {
        return Err(VerifyCause::TooLarge(ty.shape.clone()));
    }
    match &ty.quant {
        Quantization::None | Quantization::Custom(_) => Ok(()),
        Quantization::Affine(Affine { scale, zero_point, axis }) => {
            numbers(ty, scale, zero_point)?;
            let along = ty.shape.get(*axis);
            if scale.len() == 1 || along == Some(&scale.len()) {
                Ok(())
            } else {
                Err(VerifyCause::ScaleAxes { scales: scale.len(), shape: ty.shape.clone() })
            }
        }
        Quantization::MultiAxis { scale, zero_point, axes } => {
            numbers(ty, scale, zero_point)?;
            let n = axes.iter().try_fold(1usize, |n, a| n.checked_mul(*ty.shape.get(*a)?));
            if n == Some(scale.len()) { Ok(()) } else { Err(VerifyCause::ScaleAxes { scales: scale.len(), shape: ty.shape.clone() }) }
        }
        Quantization::Blockwise { scales, zero_points, block_size } => {
            for t in [Some(*scales), *zero_points].into_iter().flatten() {
                exists(graph, t)?;
            }
            if *block_size == 0 { Err(VerifyCause::EmptyBlock) } else { Ok(()) }
        }
    }
}

/// Checks what is said about a size that is known only at run time: the axes exist and ascend, the lengths are int64 scalars.
pub(super) fn open(graph: &Graph, t: TensorId, open: &Open) -> Result<(), VerifyCause> {
    exists(graph, t)?;
    let Open::Along(axes) = open else { return Ok(()) };
    let rank = graph.ty(t).shape.len();
    for open in axes {
        exists(graph, open.extent)?;
        let length = graph.tensor(open.extent);
        let is_length = length.ty == TensorType::new(DType::Int64, []) && length.data.is_none() && !length.variable;
        if open.axis as usize >= rank || !is_length {
            return Err(VerifyCause::Open(t));
        }
    }
    if axes.is_empty() || !axes.is_sorted_by(|a, b| a.axis < b.axis) { Err(VerifyCause::Open(t)) } else { Ok(()) }
}

fn exists(graph: &Graph, t: TensorId) -> Result<(), VerifyCause> {
    if t.index() < graph.tensors.len() { Ok(()) } else { Err(VerifyCause::NoTensor(t)) }
}

/// Checks scales and zero points one by one.
fn numbers(ty: &TensorType, scale: &[f32], zero_point: &[i64]) -> Result<(), VerifyCause> {
    if scale.is_empty() || scale.len() != zero_point.len() {
        return Err(VerifyCause::ScaleCount { scales: scale.len(), zero_points: zero_point.len() });
    }
    // Scales of zero occur in channels of zeros, negative ones in biases, whose scales no arithmetic reads; operators check those that they use.
    if let Some(s) = scale.iter().find(|s| !s.is_finite()) {
        return Err(VerifyCause::Scale(s.to_bits()));
    }
    let (low, high) = ty.dtype.int_range().unwrap_or((i64::MIN, i64::MAX));
    match zero_point.iter().find(|z| !(low..=high).contains(z)) {
        Some(z) => Err(VerifyCause::ZeroPoint { zero_point: *z, dtype: ty.dtype }),
        None => Ok(()),
    }
}
