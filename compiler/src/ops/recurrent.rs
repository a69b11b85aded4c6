//! What recurrent operators share: weight matrices in float or 8 bits, batches of vectors quantised as they come, activations.
//!
//! Integer weights with float vectors are TFLite's hybrid arithmetic: vectors are quantised per row, symmetrically or
//! (`asymmetric_quantize_inputs`) with a zero point. Source: TFLite `internal/optimized/neon_tensor_utils.cc`, which runs on x86 too.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Float32, Int8, UInt8};
use crate::ir::TensorType;
use crate::ops::accumulate::{Quantized, quantize};
use crate::ops::call::Call;
use crate::ops::value::Value;
use tflc_templates::cpu::quantize_rows::Rule;

/// How float vectors meet integer weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inputs {
    /// Quantised around zero.
    Symmetric,
    /// Quantised with a zero point.
    Asymmetric,
}

impl Inputs {
    /// The attribute `asymmetric_quantize_inputs`.
    pub fn parse(call: &Call<'_>) -> Inputs {
        if call.attrs.bool("asymmetric_quantize_inputs", false) { Inputs::Asymmetric } else { Inputs::Symmetric }
    }

    /// The rounding of TFLite's own kernels.
    pub fn rule(self) -> Rule {
        if self == Inputs::Asymmetric { Rule::Away } else { Rule::Symmetric }
    }
}

/// A weight matrix, rows of outputs.
pub struct Matrix {
    /// Elements of a row.
    columns: usize,
    weights: Weights,
}

enum Weights {
    Float(Vec<f32>),
    Scaled(Vec<i32>, f32),
    Diagonal(Vec<f32>),
}

/// Rows of a float operand, with their quantised form.
pub struct Batch {
    rows: Vec<f32>,
    columns: usize,
    quantized: Option<Vec<Quantized>>,
}

/// Checks that an operand holds weights of this shape: floats, or integers with one scale.
pub fn check_matrix(call: &Call<'_>, i: usize, shape: &[usize]) -> Result<(), CompileError> {
    let ty = call.input(i)?;
    if ty.shape != shape {
        return Err(call.invalid(format!("operand {i} has shape {:?}; {shape:?} is needed", ty.shape)));
    }
    match ty.dtype {
        Float32 => Ok(()),
        Int8 | UInt8 => scale(call, ty).map(|_| ()),
        other => Err(call.unsupported(Unsupported::Types(format!("{other} as operand {i}")))),
    }
}

/// The one scale of weights.
pub fn scale(call: &Call<'_>, ty: &TensorType) -> Result<f32, CompileError> {
    match ty.quant.affine().map(|q| &q.scale[..]) {
        Some([s]) if s.is_finite() => Ok(*s),
        _ => Err(call.bad_quantization("weights need one scale")),
    }
}

impl Matrix {
    /// The weights of a value that [`check_matrix`] has seen; a vector stands for a diagonal.
    pub fn new(call: &Call<'_>, v: &Value) -> Result<Matrix, CompileError> {
        let columns = v.ty.shape.last().copied().unwrap_or(1);
        let weights = match v.ty.dtype {
            Float32 if v.ty.shape.len() == 1 => Weights::Diagonal(v.elements::<f32>().into_owned()),
            Float32 => Weights::Float(v.elements::<f32>().into_owned()),
            // Old models mark symmetric 8-bit weights as uint8; the bytes are signed all the same.
            _ => Weights::Scaled(v.bytes().iter().map(|q| *q as i8 as i32).collect(), scale(call, &v.ty)?),
        };
        Ok(Matrix { columns, weights })
    }

    /// Whether vectors are quantised to meet these weights.
    pub fn is_integer(&self) -> bool {
        matches!(self.weights, Weights::Scaled(..))
    }

    /// Adds the products with each row of `x` to the rows of `out`.
    pub fn accumulate(&self, x: &Batch, out: &mut [f32]) {
        let batch = x.rows.len() / x.columns.max(1);
        let outputs = out.len() / batch.max(1);
        for (b, out) in out.chunks_exact_mut(outputs.max(1)).enumerate() {
            let row = &x.rows[b * x.columns..(b + 1) * x.columns];
            match &self.weights {
                Weights::Float(w) => out.iter_mut().zip(w.chunks_exact(self.columns.max(1))).for_each(|(o, w)| *o += dot(row, w)),
                Weights::Diagonal(w) => out.iter_mut().zip(w).zip(row).for_each(|((o, w), x)| *o += w * x),
                Weights::Scaled(w, scale) => {
                    let Some(q) = x.quantized.as_ref().map(|q| &q[b]) else { continue };
                    let scale = scale * q.scale;
                    for (o, w) in out.iter_mut().zip(w.chunks_exact(self.columns.max(1))) {
                        let sum = w.iter().zip(&q.values).fold(0i32, |s, (a, b)| s.wrapping_add(a * b));
                        *o += sum as f32 * scale;
                    }
                }
            }
        }
    }
}

impl Batch {
    /// Rows of `columns` elements, quantised where `inputs` says how.
    pub fn new(rows: Vec<f32>, columns: usize, inputs: Option<Inputs>) -> Batch {
        let quantized = inputs.map(|i| rows.chunks(columns.max(1)).map(|row| quantize(row, i.rule())).collect());
        Batch { rows, columns, quantized }
    }
}

/// Dot product in eight binary32 lanes.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let ((a8, a1), (b8, b1)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.iter().zip(b8) {
        for l in 0..8 {
            lanes[l] += a[l] * b[l];
        }
    }
    lanes.iter().sum::<f32>() + a1.iter().zip(b1).map(|(a, b)| a * b).sum::<f32>()
}

/// Activations of recurrent operators.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activate {
    /// None.
    None,
    /// max(0, x).
    Relu,
    /// Between 0 and 6.
    Relu6,
    /// Hyperbolic tangent.
    Tanh,
    /// Logistic function.
    Logistic,
}

impl Activate {
    /// The attribute `fused_activation_function`.
    pub fn parse(call: &Call<'_>) -> Result<Activate, CompileError> {
        Ok(match call.attrs.name("fused_activation_function", "NONE") {
            "NONE" => Activate::None,
            "RELU" => Activate::Relu,
            "RELU6" => Activate::Relu6,
            "TANH" => Activate::Tanh,
            other => return Err(call.unsupported(Unsupported::Option("fused_activation_function".into(), other.into()))),
        })
    }

    /// Of one value.
    pub fn apply(self, v: f32) -> f32 {
        match self {
            Activate::None => v,
            Activate::Relu => v.max(0.0),
            Activate::Relu6 => v.clamp(0.0, 6.0),
            Activate::Tanh => (v as f64).tanh() as f32,
            Activate::Logistic => (1.0 / (1.0 + (-v as f64).exp())) as f32,
        }
    }
}

/// `cell_clip` and its like: no bound where zero.
pub fn clip(v: f32, bound: f32) -> f32 {
    if bound > 0.0 { v.clamp(-bound, bound) } else { v }
}
