//! CONV_2D: input NHWC, weights OHWI, bias O, result NHWC; grouped where the weights have fewer input channels.
//!
//! Floats accumulate in binary32. Quantised sums are exact integers, requantised as XNNPACK does (16-bit activations: as TFLite does).
//! Integer weights with float activations are dynamic range: activations are quantised per image, or per pixel for 1x1 filters.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{BFloat16, Float16, Float32, Int4, Int8, Int16, Int32, Int64, UInt8};
use crate::ir::TensorType;
use crate::ops::accumulate::{Sums, Term, centred, centred_weights, finish, matrix_product};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::Rounding;
use crate::ops::hybrid::quantize_rows;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::requant::{Epilogue, Requant, Scaling, bias_storage, check_bias, float_epilogue, hybrid_epilogue};
use crate::ops::window::{Axis, Padding};
use rayon::prelude::*;

/// CONV_2D.
pub const CONV_2D: Operator = Operator::new(infer, Eval::Direct(eval));

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
    /// Channels of the result.
    pub output_channels: usize,
    /// Groups of channels.
    pub groups: usize,
    /// Activation.
    pub activation: Activation,
}

/// What kind of sums an accumulating operator makes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arithmetic {
    /// Floats.
    Float,
    /// Integers with scales.
    Quantized,
    /// Float activations, quantised as they come, and integer weights.
    Hybrid,
}

impl Arithmetic {
    /// From the types of activations and weights.
    pub fn of(call: &Call<'_>, x: &TensorType, w: &TensorType) -> Result<Arithmetic, CompileError> {
        match (x.dtype, w.dtype) {
            (Float32, Float32 | Float16 | BFloat16) | (Float16, Float16) | (BFloat16, BFloat16) => Ok(Arithmetic::Float),
            (Float32, Int8 | Int4) => Ok(Arithmetic::Hybrid),
            (Int8 | Int16, Int8 | Int4) | (UInt8, UInt8) => Ok(Arithmetic::Quantized),
            (x, w) => Err(call.unsupported(Unsupported::Types(format!("{x} with weights of {w}")))),
        }
    }
}

impl Attrs {
    /// Reads and checks them.
    pub fn parse(call: &Call<'_>) -> Result<Attrs, CompileError> {
        let [batch, ih, iw, ic] = call.dims::<4>(0)?;
        let [oc, kh, kw, kc] = call.dims::<4>(1)?;
        if kc == 0 || kh == 0 || kw == 0 || ic == 0 || ic % kc != 0 || oc % (ic / kc) != 0 {
            return Err(call.invalid(format!("weights {:?} for {ic} input channels", call.input(1)?.shape)));
        }
        let padding = Padding::parse(call)?;
        let axis = |i, k, stride: &str, dilation: &str| Axis::new(call, padding, i, k, call.size_attr(stride, 1)?, call.size_attr(dilation, 1)?);
        Ok(Attrs {
            batch,
            height: axis(ih, kh, "stride_h", "dilation_h_factor")?,
            width: axis(iw, kw, "stride_w", "dilation_w_factor")?,
            input_channels: ic,
            output_channels: oc,
            groups: ic / kc,
            activation: Activation::parse_clamp(call)?,
        })
    }

    /// Whether activations that are quantised as they come have a range per pixel: XNNPACK runs such a convolution as fully connected.
    pub fn range_per_pixel(&self) -> bool {
        let unit = |a: &Axis| a.filter == 1 && a.stride == 1;
        unit(&self.height) && unit(&self.width) && self.groups == 1 && self.input_channels + self.output_channels > 2
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 3, 1)?;
    let a = Attrs::parse(call)?;
    let x = call.input(0)?;
    check_types(call, a.output_channels, 0)?;
    Ok(vec![call.result(0, x.dtype, [a.batch, a.height.output, a.width.output, a.output_channels])?])
}

/// Checks types and quantisation of activations, weights (channels along `axis`) and bias: operands 0, 1 and 2.
pub fn check_types(call: &Call<'_>, channels: usize, axis: usize) -> Result<Arithmetic, CompileError> {
    let (x, w) = (call.input(0)?, call.input(1)?);
    let arithmetic = Arithmetic::of(call, x, w)?;
    if arithmetic != Arithmetic::Float {
        let q = call.weight_quant(w, axis, channels)?;
        if w.dtype != UInt8 && q.zero_point.iter().any(|z| *z != 0) && arithmetic == Arithmetic::Hybrid {
            return Err(call.bad_quantization("weights with a zero point and float activations"));
        }
    }
    match arithmetic {
        Arithmetic::Quantized => {
            call.quant(x)?;
            call.quant(call.output(0)?)?;
            check_bias(call, 2, channels, &[Int32, Int64])?;
        }
        _ => check_bias(call, 2, channels, &[Float32, Float16, BFloat16])?,
    }
    Ok(arithmetic)
}

/// What follows the accumulator, for a node whose weights have their channels along `axis`.
pub fn epilogue_along(call: &Call<'_>, channels: usize, axis: usize, wide: Scaling) -> Result<Epilogue, CompileError> {
    let (x, w, out) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let bias = bias_storage(call, 2)?;
    let activation = Activation::parse_clamp(call)?;
    match Arithmetic::of(call, x, w)? {
        Arithmetic::Float => float_epilogue(call, out, bias, activation),
        Arithmetic::Hybrid => Ok(hybrid_epilogue(&call.weight_quant(w, axis, channels)?.scale, bias, activation)),
        Arithmetic::Quantized => {
            let q = call.weight_quant(w, axis, channels)?;
            let narrow_bias = call.optional(2).is_some_and(|b| b.ty.dtype == Int32);
            let scaling = match x.dtype {
                Int16 if narrow_bias => Scaling::Fixed(Rounding::HalfUp),
                Int16 => wide,
                _ => Scaling::Float,
            };
            Ok(Requant::new(call, out, call.quant(x)?.0, &q.scale, activation, scaling)?.epilogue(bias))
        }
    }
}

/// What follows the accumulator.
pub fn epilogue(call: &Call<'_>) -> Result<Epilogue, CompileError> {
    epilogue_along(call, call.input(1)?.shape[0], 0, Scaling::Fixed64)
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    let a = Attrs::parse(call)?;
    let (x, w, bias) = (args.value(0)?, args.value(1)?, args.optional(2));
    let epilogue = epilogue(call)?;
    let mut scales = vec![];
    let broken = || args.error("types that do not fit");
    let sums = match Arithmetic::of(call, &x.ty, &w.ty)? {
        Arithmetic::Float => f32::sums(convolve(&args.floats(0)?, &args.floats(1)?, &a)),
        Arithmetic::Hybrid => {
            let rows = if a.range_per_pixel() { a.input_channels } else { a.height.input * a.width.input * a.input_channels };
            let q = quantize_rows(&args.floats(0)?, rows);
            scales = q.scales;
            i32::sums(convolve(&q.centred, &centred(w, 0).ok_or_else(broken)?, &a))
        }
        Arithmetic::Quantized => {
            let (_, zi) = call.quant(&x.ty)?;
            let zero_points = &call.weight_quant(&w.ty, 0, a.output_channels)?.zero_point;
            let x = centred(x, zi).ok_or_else(broken)?;
            let w = centred_weights(w, zero_points, 0).ok_or_else(broken)?;
            sums_for(&epilogue, &x, &w, |x, w| convolve(x, w, &a), |x, w| convolve(x, w, &a))
        }
    };
    Ok(vec![finish(args, &epilogue, &sums, a.output_channels, bias, &scales)?])
}

/// Integer sums in the width that the epilogue takes.
pub fn sums_for(
    epilogue: &Epilogue,
    x: &[i32],
    w: &[i32],
    narrow: impl Fn(&[i32], &[i32]) -> Vec<i32>,
    wide: impl Fn(&[i64], &[i64]) -> Vec<i64>,
) -> Sums {
    if epilogue.expr.inputs[0] == tflc_templates::expr::Storage::I64 {
        let widen = |v: &[i32]| v.iter().map(|v| *v as i64).collect::<Vec<_>>();
        Sums::I64(wide(&widen(x), &widen(w)))
    } else {
        Sums::I32(narrow(x, w))
    }
}

/// Sums of products, NHWC.
fn convolve<T: Term>(x: &[T], w: &[T], a: &Attrs) -> Vec<T> {
    let (h, v) = (&a.width, &a.height);
    let group_in = a.input_channels / a.groups;
    let group_out = a.output_channels / a.groups;
    let unit = |a: &Axis| a.filter == 1 && a.stride == 1 && a.input == a.output;
    if unit(h) && unit(v) && a.groups == 1 {
        return matrix_product(x, w, a.input_channels);
    }
    let patch_size = v.filter * h.filter * group_in;
    let mut out = vec![T::default(); a.batch * v.output * h.output * a.output_channels];
    let row = h.output * a.output_channels;
    if row == 0 {
        return out;
    }
    out.par_chunks_mut(row).enumerate().for_each(|(r, out)| {
        let (image, oy) = (r / v.output, r % v.output);
        let image = &x[image * v.input * h.input * a.input_channels..][..v.input * h.input * a.input_channels];
        let mut patch = vec![T::default(); patch_size];
        let (ys, y0) = v.inside(oy);
        for (ox, out) in out.chunks_exact_mut(a.output_channels).enumerate() {
            let (xs, x0) = h.inside(ox);
            for g in 0..a.groups {
                patch.fill(T::default());
                for (i, ky) in ys.clone().enumerate() {
                    let line = (y0 + i * v.dilation) * h.input;
                    for (j, kx) in xs.clone().enumerate() {
                        let from = (line + x0 + j * h.dilation) * a.input_channels + g * group_in;
                        let to = (ky * h.filter + kx) * group_in;
                        patch[to..to + group_in].copy_from_slice(&image[from..from + group_in]);
                    }
                }
                let first = g * group_out;
                let weights = &w[first * patch_size..(first + group_out) * patch_size];
                for (o, w) in out[first..first + group_out].iter_mut().zip(weights.chunks_exact(patch_size)) {
                    *o = T::dot(&patch, w);
                }
            }
        }
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Affine, AttrValue, OpKind, Quantization};
    use crate::ops::table::tests::apply;
    use crate::ops::value::Value;

    fn attrs(padding: &str) -> crate::ir::Attrs {
        crate::ir::Attrs::new().with("padding", AttrValue::Enum(padding.into())).with("stride_w", AttrValue::Int(1)).with("stride_h", AttrValue::Int(1))
    }

    #[test]
    fn floats_are_summed_over_the_window() {
        let x = Value::new(TensorType::new(Float32, [1, 2, 2, 1]), vec![1f32, 2.0, 3.0, 4.0]);
        let w = Value::new(TensorType::new(Float32, [1, 2, 2, 1]), vec![1f32, 10.0, 100.0, 1000.0]);
        let b = Value::new(TensorType::new(Float32, [1]), vec![0.5f32]);
        let valid = apply(OpKind::Conv2d, attrs("VALID"), &[&x, &w, &b], &[TensorType::new(Float32, [1, 1, 1, 1])]).unwrap();
        assert_eq!(valid[0].to_f32().unwrap(), [4321.5]);
        let same = apply(OpKind::Conv2d, attrs("SAME"), &[&x, &w, &b], &[TensorType::new(Float32, [1, 2, 2, 1])]).unwrap();
        assert_eq!(same[0].to_f32().unwrap(), [4321.5, 402.5, 43.5, 4.5]);
    }

    #[test]
    fn integers_are_rescaled_per_channel() {
        let quantized = |dtype, shape: &[usize], scale: Vec<f32>, zero: i64| TensorType {
            dtype,
            shape: shape.to_vec(),
            quant: Quantization::Affine(Affine { zero_point: vec![zero; scale.len()], scale, axis: 0 }),
        };
        let x = Value::new(quantized(Int8, &[1, 1, 1, 2], vec![0.5], -1), vec![9i8, -11]);
        let w = Value::new(quantized(Int8, &[2, 1, 1, 2], vec![0.1, 0.2], 0), vec![3i8, 1, 1, 2]);
        let b = Value::new(TensorType::new(Int32, [2]), vec![5i32, -3]);
        let out = quantized(Int8, &[1, 1, 1, 2], vec![0.25], 3);
        // (10, -10) . (3, 1) + 5 = 25, times 0.5 * 0.1 / 0.25 = 0.2: 5 + 3. (10, -10) . (1, 2) - 3 = -13, times 0.4: -5.2, rounded -5, + 3.
        let y = apply(OpKind::Conv2d, attrs("SAME"), &[&x, &w, &b], &[out]).unwrap();
        assert_eq!(y[0].to_i64().unwrap(), [8, -2]);
    }

    #[test]
    fn hostile_geometry_is_an_error() {
        let x = Value::new(TensorType::new(Float32, [1, 2, 2, 1]), vec![0f32; 4]);
        let w = Value::new(TensorType::new(Float32, [1, 2, 2, 1]), vec![0f32; 4]);
        for (name, v) in [("stride_w", 0), ("stride_h", -3), ("dilation_w_factor", i64::MAX), ("dilation_h_factor", 1 << 31)] {
            let attrs = attrs("SAME").with(name, AttrValue::Int(v));
            assert!(apply(OpKind::Conv2d, attrs, &[&x, &w], &[TensorType::new(Float32, [1, 2, 2, 1])]).is_err(), "{name} = {v}");
        }
    }
}
