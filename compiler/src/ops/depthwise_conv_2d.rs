//! DEPTHWISE_CONV_2D: input NHWC, weights 1HWO with `O = C * multiplier`, bias O; channel o reads channel `o / multiplier`.
//!
//! Arithmetic as in `conv_2d.rs`, but for float activations with integer weights, which are TFLite's own kernel: a range per image, and two
//! orders of the last products. Source of that: TFLite, `optimized/integer_ops/depthwise_conv_hybrid.h`.

use crate::error::CompileError;
use crate::ops::accumulate::{Term, centred, centred_weights, finish};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::conv_2d::{Arithmetic, check_types, epilogue_along, sums_for};
use crate::ops::hybrid::quantize_image;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::requant::{Epilogue, EpilogueInput, Scaling, bias_storage};
use crate::ops::window::{Axis, Padding};
use rayon::prelude::*;
use tflc_templates::expr::{Cast, Compare, ExprBuilder, Storage, Ty};

/// DEPTHWISE_CONV_2D.
pub const DEPTHWISE_CONV_2D: Operator = Operator::new(infer, Eval::Direct(eval));

/// Options and geometry.
#[derive(Clone, PartialEq, Debug)]
pub struct Attrs {
    /// Images.
    pub batch: usize,
    /// Rows.
    pub height: Axis,
    /// Columns.
    pub width: Axis,
    /// Channels of the input.
    pub input_channels: usize,
    /// Channels of the result for each of the input.
    pub multiplier: usize,
    /// Activation.
    pub activation: Activation,
}

impl Attrs {
    /// Reads and checks them. The multiplier comes from the weights, as in LiteRT.
    pub fn parse(call: &Call<'_>) -> Result<Attrs, CompileError> {
        let [batch, ih, iw, ic] = call.dims::<4>(0)?;
        let [one, kh, kw, oc] = call.dims::<4>(1)?;
        if one != 1 || kh == 0 || kw == 0 || ic == 0 || oc % ic != 0 {
            return Err(call.invalid(format!("weights {:?} for {ic} input channels", call.input(1)?.shape)));
        }
        let padding = Padding::parse(call)?;
        let axis = |i, k, stride: &str, dilation: &str| Axis::new(call, padding, i, k, call.size_attr(stride, 1)?, call.size_attr(dilation, 1)?);
        Ok(Attrs {
            batch,
            height: axis(ih, kh, "stride_h", "dilation_h_factor")?,
            width: axis(iw, kw, "stride_w", "dilation_w_factor")?,
            input_channels: ic,
            multiplier: oc / ic,
            activation: Activation::parse_clamp(call)?,
        })
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 3, 1)?;
    let a = Attrs::parse(call)?;
    let channels = a.input_channels * a.multiplier;
    check_types(call, channels, 3)?;
    Ok(vec![call.result(0, call.input(0)?.dtype, [a.batch, a.height.output, a.width.output, channels])?])
}

/// What follows the accumulator.
pub fn epilogue(call: &Call<'_>) -> Result<Epilogue, CompileError> {
    let channels = call.input(1)?.shape[3];
    if Arithmetic::of(call, call.input(0)?, call.input(1)?)? != Arithmetic::Hybrid {
        return epilogue_along(call, channels, 3, Scaling::Fixed64);
    }
    let scales = &call.weight_quant(call.input(1)?, 3, channels)?.scale;
    let scales: Vec<f32> = (0..channels).map(|c| scales[c.min(scales.len() - 1)]).collect();
    let mut inputs = vec![(EpilogueInput::Acc, Storage::I32), (EpilogueInput::RowScale, Storage::F32), (EpilogueInput::Floats(scales), Storage::F32)];
    // Vector code of four channels multiplies by the channel's scale first, the rest by the image's.
    let vector = channels / 4 * 4;
    let mixed = vector != 0 && vector != channels;
    if mixed {
        inputs.push((EpilogueInput::Ints((0..channels).map(|c| (c < vector) as i32).collect()), Storage::I32));
    }
    if let Some(bias) = bias_storage(call, 2)? {
        inputs.push((EpilogueInput::Bias, bias));
    }
    let mut b = ExprBuilder::new(inputs.iter().map(|i| i.1).collect::<Vec<_>>());
    let (acc, row, channel) = (b.input(0), b.input(1), b.input(2));
    let acc = b.cast(Cast::Value, Ty::F32, acc);
    let first = b.mul(acc, channel);
    let first = b.mul(first, row);
    let second = b.mul(acc, row);
    let second = b.mul(second, channel);
    let mut y = if mixed {
        let (flag, zero) = (b.input(3), b.i32(0));
        let flag = b.compare(Compare::Ne, flag, zero);
        b.select(flag, first, second)
    } else if vector == channels {
        first
    } else {
        second
    };
    if inputs.last().is_some_and(|i| i.0 == EpilogueInput::Bias) {
        let bias = b.input(inputs.len() - 1);
        y = b.add(y, bias);
    }
    let y = Activation::parse_clamp(call)?.emit_f32(&mut b, y);
    Ok(Epilogue { expr: b.finish(y, Storage::F32), inputs: inputs.into_iter().map(|i| i.0).collect() })
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    let a = Attrs::parse(call)?;
    let channels = a.input_channels * a.multiplier;
    let (x, w, bias) = (args.value(0)?, args.value(1)?, args.optional(2));
    let epilogue = epilogue(call)?;
    let broken = || args.error("types that do not fit");
    let mut scales = vec![];
    let sums = match Arithmetic::of(call, &x.ty, &w.ty)? {
        Arithmetic::Float => f32::sums(convolve(&args.floats(0)?, &args.floats(1)?, &a)),
        Arithmetic::Hybrid => {
            let x = args.floats(0)?;
            let image = a.height.input * a.width.input * a.input_channels;
            let mut stored = vec![];
            for image in x.chunks(image.max(1)) {
                let (q, scale) = quantize_image(image);
                stored.extend(q);
                scales.push(scale);
            }
            i32::sums(convolve(&stored, &centred(w, 0).ok_or_else(broken)?, &a))
        }
        Arithmetic::Quantized => {
            let (_, zi) = call.quant(&x.ty)?;
            let zero_points = &call.weight_quant(&w.ty, 3, channels)?.zero_point;
            let x = centred(x, zi).ok_or_else(broken)?;
            let w = centred_weights(w, zero_points, 3).ok_or_else(broken)?;
            sums_for(&epilogue, &x, &w, |x, w| convolve(x, w, &a), |x, w| convolve(x, w, &a))
        }
    };
    Ok(vec![finish(args, &epilogue, &sums, channels, bias, &scales)?])
}

/// A number that can be multiplied and added.
trait Product: Term {
    fn mul_add(self, a: Self, b: Self) -> Self;
}

impl Product for f32 {
    fn mul_add(self, a: f32, b: f32) -> f32 {
        self + a * b
    }
}

impl Product for i32 {
    fn mul_add(self, a: i32, b: i32) -> i32 {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

impl Product for i64 {
    fn mul_add(self, a: i64, b: i64) -> i64 {
        self.wrapping_add(a.wrapping_mul(b))
    }
}

/// Sums of products, NHWC.
fn convolve<T: Product>(x: &[T], w: &[T], a: &Attrs) -> Vec<T> {
    let (h, v) = (&a.width, &a.height);
    let channels = a.input_channels * a.multiplier;
    let mut out = vec![T::default(); a.batch * v.output * h.output * channels];
    let row = h.output * channels;
    if row == 0 {
        return out;
    }
    out.par_chunks_mut(row).enumerate().for_each(|(r, out)| {
        let (image, oy) = (r / v.output, r % v.output);
        let image = &x[image * v.input * h.input * a.input_channels..][..v.input * h.input * a.input_channels];
        let (ys, y0) = v.inside(oy);
        for (ox, out) in out.chunks_exact_mut(channels).enumerate() {
            let (xs, x0) = h.inside(ox);
            for (i, ky) in ys.clone().enumerate() {
                let line = (y0 + i * v.dilation) * h.input;
                for (j, kx) in xs.clone().enumerate() {
                    let x = &image[(line + x0 + j * h.dilation) * a.input_channels..][..a.input_channels];
                    let w = &w[(ky * h.filter + kx) * channels..][..channels];
                    if a.multiplier == 1 {
                        for ((o, x), w) in out.iter_mut().zip(x).zip(w) {
                            *o = o.mul_add(*x, *w);
                        }
                    } else {
                        for ((o, w), x) in out.chunks_exact_mut(a.multiplier).zip(w.chunks_exact(a.multiplier)).zip(x) {
                            for (o, w) in o.iter_mut().zip(w) {
                                *o = o.mul_add(*x, *w);
                            }
                        }
                    }
                }
            }
        }
    });
    out
}
