//! Sums of products for the evaluator: dot products of rows with weights, and the epilogue that turns sums into results.
//!
//! Float sums run in eight binary32 lanes that are added at the end, as vector kernels do; integer sums are exact (and wrap at 32
//! bits as the kernels do). Weights are rows of one output channel each, as TFLite stores them.

use crate::ops::operator::{Args, EvalError};
use crate::ops::requant::{Epilogue, EpilogueInput};
use crate::ops::value::Value;
use rayon::prelude::*;
use tflc_templates::expr::Storage;
use tflc_templates::expr::interpret::{Source, eval_slices};

/// Rows of accumulators, one for each output channel.
pub enum Sums {
    /// Of floats.
    F32(Vec<f32>),
    /// Of integers.
    I32(Vec<i32>),
    /// Of 16-bit activations.
    I64(Vec<i64>),
}

/// An element that can be summed.
pub trait Term: Copy + Default + Send + Sync {
    /// Sum of products of two rows of one length.
    fn dot(a: &[Self], b: &[Self]) -> Self;
    /// Rows of sums.
    fn sums(v: Vec<Self>) -> Sums;
}

impl Term for f32 {
    fn dot(a: &[f32], b: &[f32]) -> f32 {
        let mut lanes = [0f32; 8];
        let ((a8, a1), (b8, b1)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
        for (a, b) in a8.iter().zip(b8) {
            for l in 0..8 {
                lanes[l] += a[l] * b[l];
            }
        }
        for (l, (a, b)) in lanes.iter_mut().zip(a1.iter().zip(b1)) {
            *l += a * b;
        }
        ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
    }

    fn sums(v: Vec<f32>) -> Sums {
        Sums::F32(v)
    }
}

impl Term for i32 {
    fn dot(a: &[i32], b: &[i32]) -> i32 {
        let mut lanes = [0i32; 4];
        let ((a4, a1), (b4, b1)) = (a.as_chunks::<4>(), b.as_chunks::<4>());
        for (a, b) in a4.iter().zip(b4) {
            for l in 0..4 {
                lanes[l] = lanes[l].wrapping_add(a[l].wrapping_mul(b[l]));
            }
        }
        for (l, (a, b)) in lanes.iter_mut().zip(a1.iter().zip(b1)) {
            *l = l.wrapping_add(a.wrapping_mul(*b));
        }
        lanes.iter().fold(0, |s, l| s.wrapping_add(*l))
    }

    fn sums(v: Vec<i32>) -> Sums {
        Sums::I32(v)
    }
}

impl Term for i64 {
    fn dot(a: &[i64], b: &[i64]) -> i64 {
        a.iter().zip(b).fold(0i64, |s, (a, b)| s.wrapping_add(a.wrapping_mul(*b)))
    }

    fn sums(v: Vec<i64>) -> Sums {
        Sums::I64(v)
    }
}

/// Dot products of each of the rows of `a`, of `k` elements, with each of the rows of `b`.
///
/// # Panics
/// Where the operands are no whole number of rows.
pub fn matrix_product<T: Term>(a: &[T], b: &[T], k: usize) -> Vec<T> {
    if k == 0 || a.is_empty() || b.is_empty() {
        return vec![];
    }
    let (rows, columns) = (a.len() / k, b.len() / k);
    let mut out = vec![T::default(); rows * columns];
    if rows >= 8 {
        out.par_chunks_mut(columns).zip(a.par_chunks(k)).for_each(|(out, a)| {
            for (o, b) in out.iter_mut().zip(b.chunks_exact(k)) {
                *o = T::dot(a, b);
            }
        });
    } else {
        for (out, a) in out.chunks_exact_mut(columns).zip(a.chunks_exact(k)) {
            out.par_iter_mut().zip(b.par_chunks(k)).for_each(|(o, b)| *o = T::dot(a, b));
        }
    }
    out
}

/// Rows that one task finishes.
const TASK_ELEMENTS: usize = 1 << 13;

/// Applies an epilogue to rows of `channels` sums: the first result. `row_scales` holds one scale for each `rows_per_scale` rows.
pub fn finish(args: &Args<'_>, epilogue: &Epilogue, sums: &Sums, channels: usize, bias: Option<&Value>, row_scales: &[f32]) -> Result<Value, EvalError> {
    let ty = args.ty().clone();
    let sums: &[u8] = match sums {
        Sums::F32(v) => bytemuck::cast_slice(v),
        Sums::I32(v) => bytemuck::cast_slice(v),
        Sums::I64(v) => bytemuck::cast_slice(v),
    };
    let widths: Vec<usize> = epilogue.expr.inputs.iter().map(|s: &Storage| s.bytes()).collect();
    if channels == 0 || ty.elements() == 0 {
        return Ok(Value::zeros(ty));
    }
    let rows = ty.elements() / channels;
    if sums.len() != rows * channels * widths[0] {
        return Err(args.error(format!("{} bytes of sums for {:?}", sums.len(), ty.shape)));
    }
    let block = (TASK_ELEMENTS / channels).max(1);
    // Vectors along the channels, repeated for the rows of a task.
    let mut vectors: Vec<Vec<u8>> = vec![];
    for input in &epilogue.inputs {
        let one: &[u8] = match input {
            EpilogueInput::Acc | EpilogueInput::RowScale => &[],
            EpilogueInput::Bias => bias.map_or(&[], Value::bytes),
            EpilogueInput::Floats(v) => bytemuck::cast_slice(v),
            EpilogueInput::Ints(v) => bytemuck::cast_slice(v),
        };
        vectors.push(one.repeat(block.min(rows)));
    }
    let rows_per_scale = if row_scales.is_empty() { 1 } else { rows.div_ceil(row_scales.len()) };
    let width = epilogue.expr.output.bytes();
    let mut out = vec![0u8; rows * channels * width];
    out.par_chunks_mut(block * channels * width).enumerate().for_each(|(task, out)| {
        let n = out.len() / width;
        let first = task * block;
        let scales: Vec<f32> = if epilogue.inputs.contains(&EpilogueInput::RowScale) {
            (0..n).map(|i| row_scales[(first + i / channels) / rows_per_scale]).collect()
        } else {
            vec![]
        };
        let sources: Vec<Source<'_>> = epilogue
            .inputs
            .iter()
            .zip(&vectors)
            .zip(&widths)
            .map(|((input, vector), w)| match input {
                EpilogueInput::Acc => Source::Dense(&sums[first * channels * w..(first * channels + n) * w]),
                EpilogueInput::RowScale => Source::Dense(bytemuck::cast_slice(&scales)),
                _ => Source::Dense(&vector[..n * w]),
            })
            .collect();
        eval_slices(&epilogue.expr, &sources, out);
    });
    Ok(Value::new(ty, out))
}

/// Stored integers less their zero point.
pub fn centred(v: &Value, zero_point: i32) -> Option<Vec<i32>> {
    use crate::ir::DType;
    Some(match v.ty.dtype {
        DType::Int8 | DType::Int4 | DType::Int2 => v.to_i8()?.iter().map(|q| *q as i32 - zero_point).collect(),
        DType::UInt8 => v.bytes().iter().map(|q| *q as i32 - zero_point).collect(),
        DType::Int16 => v.elements::<i16>().iter().map(|q| *q as i32 - zero_point).collect(),
        _ => return None,
    })
}

/// The same with one zero point for all or one for each index of an axis.
pub fn centred_weights(v: &Value, zero_points: &[i64], axis: usize) -> Option<Vec<i32>> {
    if zero_points.len() <= 1 || zero_points.iter().all(|z| *z == zero_points[0]) {
        return centred(v, zero_points.first().copied().unwrap_or(0) as i32);
    }
    let mut out = centred(v, 0)?;
    let stride: usize = v.ty.shape[axis + 1..].iter().product();
    for (i, q) in out.iter_mut().enumerate() {
        *q -= zero_points[i / stride.max(1) % zero_points.len()] as i32;
    }
    Some(out)
}
