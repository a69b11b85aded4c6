//! Weights `[outputs, inputs]` with a scale for each block of consecutive inputs.
//!
//! The products of a block are summed as integers, blocks in f32 in their order. Source: XNNPACK, `src/qd8-f32-qb4w-gemm` (the form with unsigned
//! activations, as x86 with dot products runs it); formulas in `docs/numerics.md`, *Hybrid*.

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Quantization, TensorType};
use crate::ops::activation::Activation;
use crate::ops::call::Call;
use crate::ops::requant::{Epilogue, EpilogueInput};
use tflc_templates::expr::{ExprBuilder, Storage};

/// Scales of blocks.
#[derive(Clone, PartialEq, Debug)]
pub struct Blocks {
    /// Inputs that share a scale.
    pub size: usize,
    /// Scales `[outputs, inputs / size]`.
    pub scales: Vec<f32>,
}

impl Blocks {
    /// The blocks of weights `ty` of a product, with scales rounded to bfloat16; `None` where they have none.
    pub fn of(call: &Call<'_>, ty: &TensorType, outputs: usize, inputs: usize) -> Result<Option<Blocks>, CompileError> {
        let mut blocks = Blocks::stored(call, ty, outputs, inputs)?;
        blocks.iter_mut().flat_map(|b| &mut b.scales).for_each(|s| *s = half::bf16::from_f32(*s).to_f32());
        Ok(blocks)
    }

    /// The blocks of rows `[outputs, inputs]` of `ty`, with scales as they are; `None` where it has none.
    pub fn stored(call: &Call<'_>, ty: &TensorType, outputs: usize, inputs: usize) -> Result<Option<Blocks>, CompileError> {
        let Quantization::Blockwise { scales, zero_points, block_size: size } = &ty.quant else { return Ok(None) };
        let size = *size;
        if ty.dtype != DType::Int4 {
            return Err(call.unsupported(Unsupported::Types(format!("{} with scales for blocks", ty.dtype))));
        }
        if size == 0 || !size.is_multiple_of(32) || !inputs.is_multiple_of(size) {
            return Err(call.bad_quantization(format!("blocks of {size} of {inputs} inputs; multiples of 32 that divide them")));
        }
        let values = |t| -> Option<Vec<f32>> {
            let tensor = call.graph.tensors.get(crate::ir::TensorId::index(t))?;
            let data = tensor.data.as_ref()?;
            let halves = data.as_chunks::<2>().0.iter();
            match tensor.ty.dtype {
                DType::Float16 => Some(halves.map(|b| half::f16::from_le_bytes(*b).to_f32()).collect()),
                DType::BFloat16 => Some(halves.map(|b| half::bf16::from_le_bytes(*b).to_f32()).collect()),
                DType::Float32 => Some(data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
                DType::Int4 | DType::Int8 | DType::Int32 => data.iter().all(|b| *b == 0).then(Vec::new),
                _ => None,
            }
        };
        if zero_points.is_some_and(|z| values(z).is_none_or(|v| v.iter().any(|z| *z != 0.0))) {
            return Err(call.bad_quantization("zero points of blocks"));
        }
        let scales = values(*scales).filter(|v| v.len() == outputs * (inputs / size));
        let scales = scales.ok_or_else(|| call.invalid(format!("scales for {outputs} x {} blocks", inputs / size)))?;
        Ok(Some(Blocks { size, scales }))
    }

    /// What the zero point of a row is multiplied by, for each output: less the sum of the real weights, block by block.
    pub fn offsets(&self, weights: &[i8], inputs: usize) -> Vec<f32> {
        let count = inputs / self.size;
        let one = |(row, scales): (&[i8], &[f32])| {
            let sums = row.chunks(self.size).map(|b| b.iter().map(|w| i32::from(*w)).sum::<i32>());
            sums.zip(scales).fold(0.0f32, |k, (sum, s)| k - sum as f32 * s)
        };
        weights.chunks(inputs).zip(self.scales.chunks(count)).map(one).collect()
    }

    /// The sum for each output of a row: `values` are the stored activations and `zero` their zero point, both 128 higher than signed ones.
    pub fn sums(&self, values: &[i32], zero: i32, weights: &[i8], offsets: &[f32], out: &mut [f32]) {
        let (inputs, count) = (values.len(), values.len() / self.size);
        for (c, (out, offset)) in out.iter_mut().zip(offsets).enumerate() {
            let row = &weights[c * inputs..(c + 1) * inputs];
            let mut o = offset * zero as f32;
            for (b, scale) in self.scales[c * count..(c + 1) * count].iter().enumerate() {
                let at = b * self.size..(b + 1) * self.size;
                let sum: i32 = values[at.clone()].iter().zip(&row[at]).map(|(u, w)| u * i32::from(*w)).sum();
                o = (sum as f32).mul_add(*scale, o);
            }
            *out = o;
        }
    }
}

/// `acc * row_scale + bias`, then the activation.
pub fn epilogue(bias: Option<Storage>, activation: Activation) -> Epilogue {
    let mut kinds = vec![(EpilogueInput::Acc, Storage::F32), (EpilogueInput::RowScale, Storage::F32)];
    kinds.extend(bias.map(|s| (EpilogueInput::Bias, s)));
    let mut b = ExprBuilder::new(kinds.iter().map(|k| k.1).collect::<Vec<_>>());
    let (acc, row) = (b.input(0), b.input(1));
    let mut y = b.mul(acc, row);
    if bias.is_some() {
        let bias = b.input(2);
        y = b.add(y, bias);
    }
    let y = activation.emit_f32(&mut b, y);
    Epilogue { expr: b.finish(y, Storage::F32), inputs: kinds.into_iter().map(|k| k.0).collect() }
}
