//! Accumulating operators in the reference evaluator: products of activations and weights, then an epilogue.
//!
//! Convolutions and matrix products differ in which activations meet which weights; what follows is the same: an accumulator for each output channel of a row
//! (an output pixel), turned into elements by the operator's [`Epilogue`]. Also dynamic quantisation of float activations.

use crate::ir::TensorType;
use crate::ops::operator::{Args, EvalError};
use crate::ops::requant::{Epilogue, EpilogueInput};
use crate::ops::value::Value;
use bytemuck::Pod;
use rayon::prelude::*;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::interpret::{Source, eval_slices};

/// Number type of accumulators.
pub trait Accumulator: Pod + Send + Sync + Default {
    /// `self + a * b`: fused for floats, wrapping for integers.
    fn multiply_add(self, a: Self, b: Self) -> Self;
}

impl Accumulator for f32 {
    fn multiply_add(self, a: f32, b: f32) -> f32 {
        self + a * b
    }
}

impl Accumulator for i32 {
    fn multiply_add(self, a: i32, b: i32) -> i32 {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

impl Accumulator for i64 {
    fn multiply_add(self, a: i64, b: i64) -> i64 {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

/// Computes a result of `rows` rows of `channels` elements.
///
/// `accumulate(row, acc)` adds the products of a row to `acc`, one accumulator for each channel, zero at first. `row_scales` holds the scale of
/// each row where the epilogue asks for one.
///
/// # Errors
/// Where the bias operand is missing.
pub fn rows<T: Accumulator>(
    args: &Args<'_>,
    ty: &TensorType,
    epilogue: &Epilogue,
    bias_operand: usize,
    row_scales: &[f32],
    channels: usize,
    accumulate: impl Fn(usize, &mut [T]) + Sync,
) -> Result<Value, EvalError> {
    let bias = args.optional(bias_operand).map(|v| v.bytes().to_vec()).unwrap_or_default();
    let vectors: Vec<Vec<u8>> = epilogue
        .inputs
        .iter()
        .map(|i| match i {
            EpilogueInput::Bias => bias.clone(),
            other => other.constants().unwrap_or_default(),
        })
        .collect();
    let width = epilogue.expr.output.bytes();
    let mut out = vec![0u8; ty.elements() * width];
    if channels == 0 {
        return Ok(Value::new(ty.clone(), out));
    }
    out.par_chunks_mut(channels * width).enumerate().for_each_init(
        || vec![T::default(); channels],
        |acc, (row, out)| {
            acc.fill(T::default());
            accumulate(row, acc);
            let scale = row_scales.get(row).copied().unwrap_or(1.0).to_le_bytes();
            let sources: Vec<Source<'_>> = epilogue
                .inputs
                .iter()
                .zip(&vectors)
                .map(|(input, bytes)| match input {
                    EpilogueInput::Acc => Source::Dense(bytemuck::cast_slice(acc)),
                    EpilogueInput::RowScale => Source::Splat(&scale),
                    _ => Source::Dense(bytes),
                })
                .collect();
            eval_slices(&epilogue.expr, &sources, out);
        },
    );
    Ok(Value::new(ty.clone(), out))
}

/// Activations quantised to int8 for a group of elements, with the reciprocal of the multiplier.
pub struct Quantized {
    /// `q - zero_point` of each element.
    pub values: Vec<i32>,
    /// Scale that turns products back into floats.
    pub scale: f32,
    /// The zero point.
    pub zero: i32,
}

/// Dynamic quantisation by a rule: numerics.md, "Hybrid".
pub fn quantize(x: &[f32], rule: Rule) -> Quantized {
    match rule {
        Rule::Even => quantize_dynamic(x),
        Rule::Away => quantize_asymmetric(x),
        Rule::Symmetric => quantize_symmetric(x),
    }
}

/// Dynamic quantisation as XNNPACK does it (`qd8`).
pub fn quantize_dynamic(x: &[f32]) -> Quantized {
    let lo = x.iter().fold(0.0f32, |m, &v| m.min(v));
    let hi = x.iter().fold(0.0f32, |m, &v| m.max(v));
    let k = if lo == hi { 1.0 } else { (255.0 / (hi - lo)).min(f32::MAX) };
    let scale = 1.0 / k;
    let (rmin, rmax) = (lo * k, hi * k);
    let zero = if (-128.0 + rmin) + (127.0 + rmax) > 0.0 { -128.0 - rmin } else { 127.0 - rmax };
    let zero = zero.clamp(-128.0, 127.0).round_ties_even() as i32;
    let values = x.iter().map(|v| ((v * k).round_ties_even() as i32).saturating_add(zero).clamp(-128, 127) - zero).collect();
    Quantized { values, scale, zero }
}

/// Dynamic quantisation as TFLite's own kernels do it (`AsymmetricQuantizeFloats`).
pub fn quantize_asymmetric(x: &[f32]) -> Quantized {
    let lo = x.iter().fold(0.0f32, |m, &v| m.min(v));
    let hi = x.iter().fold(0.0f32, |m, &v| m.max(v));
    if lo == hi {
        return Quantized { values: vec![0; x.len()], scale: 1.0, zero: 0 };
    }
    let scale = f64::from(hi - lo) / 255.0;
    let (rmin, rmax) = (f64::from(lo) / scale, f64::from(hi) / scale);
    let zero = if 128.0 + rmin.abs() < 127.0 + rmax.abs() { -128.0 - rmin } else { 127.0 - rmax };
    let zero = (zero.round() as i32).clamp(-128, 127);
    let scale = scale as f32;
    let inverse = 1.0 / scale;
    let values = rounded(x, inverse).map(|q| q.saturating_add(zero).clamp(-128, 127) - zero).collect();
    Quantized { values, scale, zero }
}

/// The same with a zero point of 0 (`SymmetricQuantizeFloats`).
fn quantize_symmetric(x: &[f32]) -> Quantized {
    let most = x.iter().fold(0.0f32, |m, &v| m.max(v.abs()));
    if most == 0.0 {
        return Quantized { values: vec![0; x.len()], scale: 1.0, zero: 0 };
    }
    Quantized { values: rounded(x, 127.0 / most).map(|q| q.clamp(-128, 127)).collect(), scale: most / 127.0, zero: 0 }
}

/// Elements times a multiplier as TFLite rounds them: half away from zero, by an addition in whole groups of eight.
fn rounded(x: &[f32], multiplier: f32) -> impl Iterator<Item = i32> {
    let whole = x.len() - x.len() % 8;
    x.iter().enumerate().map(move |(i, v)| {
        let v = v * multiplier;
        if i < whole { (v + 0.5f32.copysign(v)) as i32 } else { v.round() as i32 }
    })
}

/// Integers of any width below 32 bits minus a zero point.
pub fn centered(values: &[i64], zero_point: impl Fn(usize) -> i64) -> Vec<i32> {
    values.iter().enumerate().map(|(i, v)| (v - zero_point(i)) as i32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_eight_round_by_an_addition() {
        // The number below a half becomes 1 in a whole group, where adding a half rounds, and 0 in the rest.
        let below = 0.5f32.next_down();
        let mut x = [0.0f32; 10];
        (x[0], x[1], x[2], x[9]) = (127.0, below, -below, below);
        let q = quantize(&x, Rule::Symmetric);
        assert_eq!((q.scale, q.zero), (1.0, 0));
        assert_eq!(q.values, [127, 1, -1, 0, 0, 0, 0, 0, 0, 0]);
    }
}
