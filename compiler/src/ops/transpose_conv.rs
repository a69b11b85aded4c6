//! TRANSPOSE_CONV: the gradient of a convolution with respect to its input, as a layer.
//!
//! Operands: output shape, weights `[out, h, w, in]`, input, optional bias. Quantised forms use CONV_2D's rounding.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType;
use crate::ops::accumulate::{centered, quantize_dynamic, rows};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::conv_2d::Arithmetic;
use crate::ops::delegate::is_refused;
use crate::ops::fixed_point::Rounding;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::requant::{self, Epilogue, Requant, Scaling, bias_storage, bias_types, check_bias};
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::Storage;

/// TRANSPOSE_CONV.
pub const TRANSPOSE_CONV: Operator = Operator::new(infer, Eval::Direct(eval));

/// Everything static about a transposed convolution. Pairs are (height, width).
#[derive(Clone, PartialEq, Debug)]
pub struct TransposeConv {
    /// Images.
    pub batch: usize,
    /// Input height, width, channels.
    pub input: [usize; 3],
    /// Output height, width, channels.
    pub output: [usize; 3],
    /// Weights' height and width.
    pub kernel: [usize; 2],
    /// Distance of outputs of neighbouring inputs.
    pub stride: [usize; 2],
    /// Rows and columns cut off above and to the left.
    pub pad: [usize; 2],
    /// Kind of arithmetic.
    pub arithmetic: Arithmetic,
    /// Zero point of the input; 0 for floats.
    pub input_zero_point: i32,
    /// Zero point of the weights; 0 for floats.
    pub weight_zero_point: i32,
}

impl TransposeConv {
    /// The convolution that a call asks for.
    pub fn new(call: &Call<'_>) -> Result<TransposeConv, CompileError> {
        call.arity(3, 4, 1)?;
        let shape = call.ints(0, 4)?;
        let [out_c, kh, kw, in_c] = call.dims::<4>(1)?;
        let [batch, ih, iw, channels] = call.dims::<4>(2)?;
        let [b, oh, ow, c] = <[i64; 4]>::try_from(shape).map_err(|s| call.invalid(format!("output shape {s:?}")))?;
        let size =
            |v: i64| usize::try_from(v).ok().filter(|v| *v > 0 && *v < 1 << 31).ok_or_else(|| call.invalid(format!("output size {v}")));
        let (oh, ow) = (size(oh)?, size(ow)?);
        if in_c != channels || size(c)? != out_c || size(b)? != batch || kh == 0 || kw == 0 || in_c == 0 {
            return Err(call.invalid(format!("weights [{out_c}, {kh}, {kw}, {in_c}] for {channels} channels and output {:?}", [b, c])));
        }
        let stride = [call.size_attr("stride_h", 0)?, call.size_attr("stride_w", 0)?];
        let mut pad = [0; 2];
        for (d, (o, (i, k))) in [(oh, (ih, kh)), (ow, (iw, kw))].into_iter().enumerate() {
            // The input is what a convolution of the output gives; its padding is cut off.
            let same = call.attrs.name("padding", "SAME") == "SAME";
            let expected = if same { o.div_ceil(stride[d]) } else { (o + stride[d]).saturating_sub(k) / stride[d] };
            if expected != i {
                return Err(call.invalid(format!("an output of {o} comes from {expected} inputs, not {i}")));
            }
            pad[d] = if same { ((i.max(1) - 1) * stride[d] + k).saturating_sub(o) / 2 } else { 0 };
        }
        let (x, w) = (call.input(2)?, call.input(1)?);
        let arithmetic = match (x.dtype, w.dtype) {
            (DType::Float32, DType::Float32 | DType::Float16) => Arithmetic::Float,
            (DType::Float32, DType::Int8) => Arithmetic::Hybrid,
            (DType::Int8, DType::Int8) | (DType::UInt8, DType::UInt8) => Arithmetic::Quantized,
            (DType::Int16, DType::Int8) => Arithmetic::Quantized16,
            (a, b) => return Err(call.unsupported(Unsupported::Types(format!("{a} with weights of {b}")))),
        };
        let quantized = matches!(arithmetic, Arithmetic::Quantized | Arithmetic::Quantized16);
        let input_zero_point = if quantized { call.quant(x)?.1 } else { 0 };
        let weight_zero_point = if arithmetic == Arithmetic::Float { 0 } else { call.weight_quant(w, 0, out_c)?.zero_point[0] as i32 };
        check_bias(call, 3, out_c, bias_types(arithmetic))?;
        let (input, output) = ([ih, iw, in_c], [oh, ow, out_c]);
        Ok(TransposeConv { batch, input, output, kernel: [kh, kw], stride, pad, arithmetic, input_zero_point, weight_zero_point })
    }

    /// What is done to accumulators.
    pub fn epilogue(&self, call: &Call<'_>) -> Result<Epilogue, CompileError> {
        let activation = Activation::parse(call)?;
        let output = call.output(0)?;
        let bias = bias_storage(call, 3)?;
        match self.arithmetic {
            Arithmetic::Float => requant::float_epilogue(call, output, bias, activation),
            Arithmetic::Hybrid => Ok(requant::hybrid_epilogue(
                &call.weight_quant(call.input(1)?, 0, self.output[2])?.scale,
                bias,
                activation,
                Rule::Even,
                Storage::F32,
            )),
            Arithmetic::Quantized | Arithmetic::Quantized16 => {
                let q = call.weight_quant(call.input(1)?, 0, self.output[2])?;
                let scaling = match self.arithmetic {
                    Arithmetic::Quantized if is_refused(call) || !call.operand(1)?.constant => Scaling::Fixed(Rounding::HalfUp),
                    Arithmetic::Quantized => Scaling::Float,
                    _ if bias.or(requant::named_bias(call)) == Some(Storage::I32) => Scaling::Fixed(Rounding::HalfUp),
                    _ => Scaling::Fixed64,
                };
                let (si, _) = call.quant(call.input(2)?)?;
                let requant = Requant::new(call, output, si, &q.scale, activation, scaling)?;
                let eights = output.dtype != DType::UInt8;
                Ok(if eights { requant.in_eights(self.output[2]) } else { requant }.epilogue(bias))
            }
        }
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    let conv = TransposeConv::new(call)?;
    conv.epilogue(call)?;
    let [h, w, c] = conv.output;
    Ok(vec![call.result(0, call.input(2)?.dtype, [conv.batch, h, w, c])?])
}

fn products<T: crate::ops::accumulate::Accumulator>(conv: &TransposeConv, x: &[T], w: &[T], row: usize, acc: &mut [T]) {
    let [ih, iw, in_c] = conv.input;
    let [oh, ow, out_c] = conv.output;
    let (ox, rest) = (row % ow, row / ow);
    let (oy, image) = (rest % oh, rest / oh);
    let from = |o: usize, k: usize, d: usize, size: usize| {
        let at = (o + conv.pad[d]).checked_sub(k)?;
        (at.is_multiple_of(conv.stride[d]) && at / conv.stride[d] < size).then_some(at / conv.stride[d])
    };
    for ky in 0..conv.kernel[0] {
        let Some(iy) = from(oy, ky, 0, ih) else { continue };
        for kx in 0..conv.kernel[1] {
            let Some(ix) = from(ox, kx, 1, iw) else { continue };
            let pixel = ((image * ih + iy) * iw + ix) * in_c;
            for (o, a) in acc.iter_mut().enumerate() {
                let base = ((o * conv.kernel[0] + ky) * conv.kernel[1] + kx) * in_c;
                for (v, k) in x[pixel..pixel + in_c].iter().zip(&w[base..base + in_c]) {
                    *a = a.multiply_add(*v, *k);
                }
            }
        }
    }
    debug_assert_eq!(acc.len(), out_c);
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    let conv = TransposeConv::new(call)?;
    let epilogue = conv.epilogue(call)?;
    let (ty, n) = (args.ty(), conv.output[2]);
    let weights = || -> Result<Vec<i32>, crate::ops::EvalError> { Ok(centered(&args.ints(1)?, |_| conv.weight_zero_point.into())) };
    let value = match conv.arithmetic {
        Arithmetic::Float => {
            let (x, w) = (args.floats(2)?, args.floats(1)?);
            rows::<f32>(args, ty, &epilogue, 3, &[], n, |row, acc| products(&conv, &x, &w, row, acc))?
        }
        Arithmetic::Hybrid => {
            let (x, w) = (args.floats(2)?, weights()?);
            let pixels = conv.output[0] * conv.output[1];
            let (mut q, mut scales) = (vec![], vec![]);
            for part in x.chunks((x.len() / conv.batch.max(1)).max(1)) {
                let part = quantize_dynamic(part);
                q.extend(part.values);
                scales.extend(std::iter::repeat_n(part.scale, pixels));
            }
            rows::<i32>(args, ty, &epilogue, 3, &scales, n, |row, acc| products(&conv, &q, &w, row, acc))?
        }
        Arithmetic::Quantized | Arithmetic::Quantized16 => {
            let (x, w) = (centered(&args.ints(2)?, |_| conv.input_zero_point.into()), weights()?);
            if epilogue.expr.inputs[0] == Storage::I64 {
                let [x, w] = [x, w].map(|v| v.into_iter().map(i64::from).collect::<Vec<_>>());
                rows::<i64>(args, ty, &epilogue, 3, &[], n, |row, acc| products(&conv, &x, &w, row, acc))?
            } else {
                rows::<i32>(args, ty, &epilogue, 3, &[], n, |row, acc| products(&conv, &x, &w, row, acc))?
            }
        }
    };
    Ok(vec![value])
}
