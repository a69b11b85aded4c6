//! AVERAGE_POOL_2D, MAX_POOL_2D, L2_POOL_2D: over the elements of a window that lie inside the input.
//!
//! Integer averages divide the sum of stored values by their count, half away from zero; quantisation of input and result is the same.

use crate::error::CompileError;
use crate::ir::DType::{BFloat16, Float16, Float32, Int8, Int16, UInt8};
use crate::ir::OpKind;
use crate::ops::activation::{Activation, Bounds};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::window::{Axis, Padding};
use rayon::prelude::*;

/// All pooling operators.
pub const POOL: Operator = Operator::new(infer, Eval::Direct(eval));

/// Options and geometry.
#[derive(Clone, PartialEq, Debug)]
pub struct Attrs {
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: Axis,
    /// Columns.
    pub width: Axis,
    /// Channels.
    pub channels: usize,
    /// Activation.
    pub activation: Activation,
}

impl Attrs {
    /// Reads and checks them.
    pub fn parse(call: &Call<'_>) -> Result<Attrs, CompileError> {
        let [batch, ih, iw, channels] = call.dims::<4>(0)?;
        let padding = Padding::parse(call)?;
        let axis = |i, filter: &str, stride: &str| Axis::new(call, padding, i, call.size_attr(filter, 1)?, call.size_attr(stride, 1)?, 1);
        Ok(Attrs {
            batch,
            height: axis(ih, "filter_height", "stride_h")?,
            width: axis(iw, "filter_width", "stride_w")?,
            channels,
            activation: Activation::parse_clamp(call)?,
        })
    }

    /// Bounds of the fused activation for stored integers, in the result's quantisation.
    pub fn integer_bounds(&self, call: &Call<'_>) -> Result<(i32, i32), CompileError> {
        let out = call.output(0)?;
        let bounds = if call.op == OpKind::MaxPool2d { Bounds::Xnnpack } else { Bounds::Tflite };
        let (scale, zero) = if self.activation == Activation::None { (1.0, 0) } else { call.quant(out)? };
        Ok(self.activation.quantized_range(out.dtype, scale, zero, bounds))
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let floats = [Float32, Float16, BFloat16];
    let dtype = if call.op == OpKind::L2Pool2d { call.dtype_among(0, &floats)? } else { call.dtype_among(0, &[Float32, Float16, BFloat16, Int8, UInt8, Int16])? };
    let a = Attrs::parse(call)?;
    a.integer_bounds(call)?;
    Ok(vec![call.result(0, dtype, [a.batch, a.height.output, a.width.output, a.channels])?])
}

fn eval(args: &Args<'_>) -> Results {
    let a = Attrs::parse(args.call)?;
    let dtype = args.value(0)?.ty.dtype;
    if dtype.is_float() {
        let x = args.floats(0)?;
        let y = pool(&x, &a, |x, out| float_window(args.call.op, x, out, a.activation.range()));
        return Ok(vec![float_value(args, y)]);
    }
    let x: Vec<i32> = args.ints(0)?.into_iter().map(|v| v as i32).collect();
    let (lo, hi) = a.integer_bounds(args.call)?;
    let y = pool(&x, &a, |windows, out: &mut [i32]| {
        let max = args.call.op == OpKind::MaxPool2d;
        out.fill(if max { i32::MIN } else { 0 });
        let mut count = 0;
        for x in windows {
            count += 1;
            for (o, x) in out.iter_mut().zip(*x) {
                *o = if max { (*o).max(*x) } else { *o + *x };
            }
        }
        for o in out {
            let v = if max {
                *o
            } else if count == 0 {
                0
            } else if *o > 0 {
                (*o + count / 2) / count
            } else {
                (*o - count / 2) / count
            };
            *o = v.clamp(lo, hi);
        }
    });
    match dtype {
        Int16 => args.result(y.into_iter().map(|v| v as i16).collect()),
        _ => args.result(y.into_iter().map(|v| v as u8).collect()),
    }
}

/// Floats stored in the element type of the first result.
pub fn float_value(args: &Args<'_>, v: Vec<f32>) -> crate::ops::Value {
    let ty = args.ty().clone();
    match ty.dtype {
        Float16 => crate::ops::Value::new(ty, v.into_iter().map(half::f16::from_f32).collect()),
        BFloat16 => crate::ops::Value::new(ty, v.into_iter().map(half::bf16::from_f32).collect()),
        _ => crate::ops::Value::new(ty, v),
    }
}

fn float_window(op: OpKind, windows: &[&[f32]], out: &mut [f32], (lo, hi): (f32, f32)) {
    let max = op == OpKind::MaxPool2d;
    out.fill(if max { f32::NEG_INFINITY } else { 0.0 });
    for x in windows {
        for (o, x) in out.iter_mut().zip(*x) {
            *o = match op {
                OpKind::MaxPool2d => o.max(*x),
                OpKind::L2Pool2d => *o + x * x,
                _ => *o + x,
            };
        }
    }
    let count = windows.len().max(1) as f32;
    for o in out {
        let v = match op {
            OpKind::MaxPool2d => *o,
            OpKind::L2Pool2d => (*o / count).sqrt(),
            _ => *o / count,
        };
        *o = v.max(lo).min(hi);
    }
}

/// Calls `f` with the pixels of each window and the output pixel.
fn pool<T: Copy + Default + Send + Sync>(x: &[T], a: &Attrs, f: impl Fn(&[&[T]], &mut [T]) + Sync) -> Vec<T> {
    let (h, v, c) = (&a.width, &a.height, a.channels);
    let mut out = vec![T::default(); a.batch * v.output * h.output * c];
    if out.is_empty() {
        return out;
    }
    out.par_chunks_mut(h.output * c).enumerate().for_each(|(r, out)| {
        let (image, oy) = (r / v.output, r % v.output);
        let image = &x[image * v.input * h.input * c..][..v.input * h.input * c];
        let (ys, y0) = v.inside(oy);
        let mut windows = vec![];
        for (ox, out) in out.chunks_exact_mut(c).enumerate() {
            let (xs, x0) = h.inside(ox);
            windows.clear();
            for y in y0..y0 + ys.len() {
                windows.extend((x0..x0 + xs.len()).map(|x| &image[(y * h.input + x) * c..][..c]));
            }
            f(&windows, out);
        }
    });
    out
}
