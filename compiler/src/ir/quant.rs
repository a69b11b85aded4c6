//! Quantisation parameters of a tensor.

use crate::ir::{Bytes, TensorId};

/// Affine quantisation, `real = scale * (q - zero_point)`, per tensor or along one axis.
#[derive(Clone, PartialEq, Debug)]
pub struct Affine {
    /// One scale, or one for each index of `axis`; finite, and positive wherever an operator uses it.
    pub scale: Vec<f32>,
    /// As many zero points as scales.
    pub zero_point: Vec<i64>,
    /// The axis that several scales run along; 0 for one scale.
    pub axis: usize,
}

impl Affine {
    /// Per-tensor parameters.
    pub fn per_tensor(scale: f32, zero_point: i64) -> Affine {
        Affine { scale: vec![scale], zero_point: vec![zero_point], axis: 0 }
    }
}

/// Quantisation of a tensor.
#[derive(Clone, PartialEq, Debug, Default)]
pub enum Quantization {
    /// Not quantised.
    #[default]
    None,
    /// Affine, per tensor or per channel.
    Affine(Affine),
    /// Scales for blocks of `block_size` consecutive elements of the last axis.
    Blockwise {
        /// Tensor of scales (float16 or float32).
        scales: TensorId,
        /// Tensor of zero points; all zero where there is none.
        zero_points: Option<TensorId>,
        /// Elements that share a scale.
        block_size: usize,
    },
    /// Scales along several axes.
    MultiAxis {
        /// Scales, one for each combination of indices.
        scale: Vec<f32>,
        /// As many zero points.
        zero_point: Vec<i64>,
        /// The axes, in the order of the scales.
        axes: Vec<usize>,
    },
    /// Parameters that only the producer of the model understands.
    Custom(Bytes),
}

impl Quantization {
    /// Scale and zero point where there is one of each.
    pub fn per_tensor(&self) -> Option<(f32, i64)> {
        match self {
            Quantization::Affine(Affine { scale, zero_point, .. }) => match (&scale[..], &zero_point[..]) {
                ([s], [z]) => Some((*s, *z)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The affine parameters, per tensor or per channel.
    pub fn affine(&self) -> Option<&Affine> {
        match self {
            Quantization::Affine(a) => Some(a),
            _ => None,
        }
    }
}
