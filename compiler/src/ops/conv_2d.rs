//! CONV_2D and DEPTHWISE_CONV_2D: NHWC images with OHWI or 1HWC weights, in float, quantised and hybrid forms.
//!
//! Floats accumulate in f32, in the order of taps and channels. Quantised forms follow XNNPACK where it takes the operator and TFLite's kernels
//! elsewhere (`compiler/docs/numerics.md`).

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, OpKind, TensorType};
use crate::ops::accumulate::{centered, quantize, rows};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::delegate::is_refused;
use crate::ops::fixed_point::Rounding;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::requant::{self, Epilogue, EpilogueInput, Requant, Scaling, bias_storage, bias_types, check_bias};
use crate::ops::window::Window;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::{Cast, Compare, ExprBuilder, Storage, Ty};

/// CONV_2D.
pub const CONV_2D: Operator = Operator::new(infer, Eval::Direct(eval));
/// DEPTHWISE_CONV_2D.
pub const DEPTHWISE_CONV_2D: Operator = Operator::new(infer, Eval::Direct(eval));

/// How activations and weights meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arithmetic {
    /// Floats.
    Float,
    /// 8-bit activations and weights.
    Quantized,
    /// 16-bit activations and 8-bit weights.
    Quantized16,
    /// Floats quantised at run time, 8-bit weights.
    Hybrid,
}

/// Everything static about a convolution.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv {
    /// Window over the images.
    pub window: Window,
    /// Input channels.
    pub in_channels: usize,
    /// Output channels.
    pub out_channels: usize,
    /// Groups of CONV_2D; for a depthwise one, the input channels.
    pub groups: usize,
    /// Whether weights are `[1, h, w, out]` (else `[out, h, w, in / groups]`).
    pub depthwise: bool,
    /// Kind of arithmetic.
    pub arithmetic: Arithmetic,
    /// How activations are quantised in hybrid arithmetic.
    pub rule: Rule,
    /// Zero point of the input; 0 for floats.
    pub input_zero_point: i32,
    /// Zero point of the weights where it is one for all; 0 for floats.
    pub weight_zero_point: i32,
}

impl Conv {
    /// The convolution that a call asks for.
    pub fn new(call: &Call<'_>) -> Result<Conv, CompileError> {
        let depthwise = call.op == OpKind::DepthwiseConv2d;
        call.arity(2, 3, 1)?;
        let [batch, height, width, in_channels] = call.dims::<4>(0)?;
        let [o, kh, kw, i] = call.dims::<4>(1)?;
        let (out_channels, groups) = if depthwise {
            if o != 1 || in_channels == 0 || !i.is_multiple_of(in_channels) {
                return Err(call.invalid(format!("depthwise weights [{o}, {kh}, {kw}, {i}] for {in_channels} channels")));
            }
            (i, in_channels)
        } else {
            if i == 0 || o == 0 || !in_channels.is_multiple_of(i) || !o.is_multiple_of((in_channels / i).max(1)) || in_channels == 0 {
                return Err(call.invalid(format!("weights [{o}, {kh}, {kw}, {i}] for {in_channels} channels")));
            }
            (o, in_channels / i)
        };
        let window = Window::new(call, [batch, height, width], [kh, kw], true)?;
        let x = call.input(0)?;
        let w = call.input(1)?;
        let arithmetic = match (x.dtype, w.dtype) {
            (DType::Float32, DType::Float32 | DType::Float16) | (DType::Float16, DType::Float16) => Arithmetic::Float,
            (DType::Float32, DType::Int8 | DType::Int4) => Arithmetic::Hybrid,
            // Old models call symmetric weights unsigned; TFLite's kernel reads signed bytes of one scale, whatever the zero point.
            (DType::Float32, DType::UInt8) if !depthwise && groups == 1 && call.operand(1)?.constant => Arithmetic::Hybrid,
            (DType::Int8, DType::Int8 | DType::Int4) | (DType::UInt8, DType::UInt8) => Arithmetic::Quantized,
            (DType::Int16, DType::Int8) => Arithmetic::Quantized16,
            // LiteRT's depthwise kernel takes packed weights for bytes.
            (DType::Int16, DType::Int4) if !depthwise => Arithmetic::Quantized16,
            (a, b) => return Err(call.unsupported(Unsupported::Types(format!("{a} with weights of {b}")))),
        };
        let input_zero_point = match arithmetic {
            Arithmetic::Quantized | Arithmetic::Quantized16 => call.operand_quant(x)?.1,
            _ => 0,
        };
        let axis = if depthwise { 3 } else { 0 };
        let weight_zero_point = match arithmetic {
            Arithmetic::Float => 0,
            Arithmetic::Hybrid if w.dtype == DType::UInt8 => {
                call.quant(w)?;
                0
            }
            _ => {
                let q = call.weight_quant(w, axis, out_channels)?;
                if q.zero_point.iter().any(|z| *z != q.zero_point[0]) {
                    return Err(call.bad_quantization("weights with several zero points"));
                }
                q.zero_point[0] as i32
            }
        };
        check_bias(call, 2, out_channels, bias_types(arithmetic))?;
        let rule = if arithmetic == Arithmetic::Hybrid { hybrid_rule(call, depthwise, groups)? } else { Rule::Even };
        Ok(Conv { window, in_channels, out_channels, groups, depthwise, arithmetic, rule, input_zero_point, weight_zero_point })
    }

    /// Whether pixels of the input have scales of their own in hybrid arithmetic, as in a 1x1 convolution, which XNNPACK turns into a matrix product; else
    /// images do.
    pub fn quantized_per_pixel(&self) -> bool {
        let w = &self.window;
        self.rule == Rule::Even
            && !self.depthwise
            && w.kernel == [1, 1]
            && w.stride == [1, 1]
            && w.pad == [0, 0]
            && self.groups == 1
            && self.in_channels + self.out_channels > 2
    }

    /// What is done to accumulators.
    pub fn epilogue(&self, call: &Call<'_>) -> Result<Epilogue, CompileError> {
        let activation = Activation::parse(call)?;
        let output = call.output(0)?;
        let bias = bias_storage(call, 2)?;
        let axis = if self.depthwise { 3 } else { 0 };
        match self.arithmetic {
            Arithmetic::Float => requant::float_epilogue(call, output, bias, activation),
            Arithmetic::Hybrid => {
                let scales = &call.weight_quant(call.input(1)?, axis, self.out_channels)?.scale;
                if self.depthwise {
                    Ok(depthwise_hybrid(scales, self.out_channels, bias, activation))
                } else {
                    Ok(requant::hybrid_epilogue(scales, bias, activation, self.rule, Storage::F32))
                }
            }
            Arithmetic::Quantized | Arithmetic::Quantized16 => {
                let x = call.input(0)?;
                let q = call.weight_quant(call.input(1)?, axis, self.out_channels)?;
                let w = call.operand(1)?;
                // XNNPACK takes constant bytes.
                let (constant, refused) = (w.constant && w.ty.dtype != DType::Int4, is_refused(call));
                let scaling = match (x.dtype, bias) {
                    (DType::Int16, Some(Storage::I64)) => Scaling::Fixed64,
                    (DType::Int16, _) => Scaling::Fixed(Rounding::HalfUp),
                    // XNNPACK does not take uint8 weights with scales along the channels, nor operators without bias.
                    (DType::UInt8, _) if self.depthwise && (refused || !constant || q.axis != 0 && q.scale.len() == 1) => {
                        Scaling::Fixed(Rounding::HalfAway)
                    }
                    (_, Some(_)) if constant && !refused => Scaling::Float,
                    // TFLite's optimised kernel knows no groups; the reference kernel runs.
                    _ if !self.depthwise && self.groups > 1 => Scaling::Fixed(Rounding::HalfAway),
                    _ => Scaling::Fixed(Rounding::HalfUp),
                };
                let (si, _) = call.operand_quant(x)?;
                let requant = Requant::new(call, output, si, &q.scale, activation, scaling)?;
                let eights = self.depthwise && x.dtype == DType::Int8;
                Ok(if eights { requant.in_eights(self.out_channels) } else { requant }.epilogue(bias))
            }
        }
    }
}

/// XNNPACK's rule for constant bytes; TFLite's kernel takes the rest, symmetric where all weights have one scale and it knows no groups.
fn hybrid_rule(call: &Call<'_>, depthwise: bool, groups: usize) -> Result<Rule, CompileError> {
    let w = call.operand(1)?;
    if !depthwise && w.ty.dtype == DType::Int8 && w.constant && !is_refused(call) {
        return Ok(Rule::Even);
    }
    let one = w.ty.quant.affine().is_some_and(|q| q.scale.iter().all(|s| *s == q.scale[0]));
    Ok(if one && groups == 1 && !depthwise { Rule::Symmetric } else { Rule::Away })
}

/// The epilogue of TFLite's hybrid depthwise kernel: channels in fours multiply by the weight's scale first, the rest by the image's.
fn depthwise_hybrid(scales: &[f32], channels: usize, bias: Option<Storage>, activation: Activation) -> Epilogue {
    let all: Vec<f32> = (0..channels).map(|c| scales[if scales.len() > 1 { c } else { 0 }]).collect();
    let late: Vec<i32> = (0..channels).map(|c| i32::from(c >= channels / 4 * 4)).collect();
    let mut kinds = vec![
        (EpilogueInput::Acc, Storage::I32),
        (EpilogueInput::RowScale, Storage::F32),
        (EpilogueInput::Floats(all), Storage::F32),
        (EpilogueInput::Ints(late), Storage::I32),
    ];
    kinds.extend(bias.map(|s| (EpilogueInput::Bias, s)));
    let mut b = ExprBuilder::new(kinds.iter().map(|k| k.1).collect::<Vec<_>>());
    let (acc, image, weight, late) = (b.input(0), b.input(1), b.input(2), b.input(3));
    let acc = b.cast(Cast::Value, Ty::F32, acc);
    let zero = b.i32(0);
    let late = b.compare(Compare::Ne, late, zero);
    let first = b.select(late, image, weight);
    let second = b.select(late, weight, image);
    let y = b.mul(acc, first);
    let mut y = b.mul(y, second);
    if bias.is_some() {
        let bias = b.input(4);
        y = b.add(y, bias);
    }
    let y = activation.emit_f32(&mut b, y);
    Epilogue { expr: b.finish(y, Storage::F32), inputs: kinds.into_iter().map(|k| k.0).collect() }
}

fn infer(call: &Call<'_>) -> Inferred {
    let conv = Conv::new(call)?;
    conv.epilogue(call)?;
    let dtype = call.input(0)?.dtype;
    let w = &conv.window;
    Ok(vec![call.result(0, dtype, [w.batch, w.output[0], w.output[1], conv.out_channels])?])
}

/// Weights in the order `[tap, input channel of the group, output channel of the group]` for each group.
fn reorder<T: Copy>(conv: &Conv, w: &[T]) -> Vec<T> {
    let taps = conv.window.kernel[0] * conv.window.kernel[1];
    let (gi, go) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
    let mut out = Vec::with_capacity(w.len());
    for g in 0..conv.groups {
        for t in 0..taps {
            for i in 0..gi {
                for o in 0..go {
                    let n = g * go + o;
                    out.push(if conv.depthwise { w[t * conv.out_channels + n] } else { w[(n * taps + t) * gi + i] });
                }
            }
        }
    }
    out
}

/// Adds the products of output pixel `row` to `acc`; `x` holds the centred input.
fn products<T: crate::ops::accumulate::Accumulator>(conv: &Conv, x: &[T], w: &[T], row: usize, acc: &mut [T]) {
    let win = &conv.window;
    let (ox, rest) = (row % win.output[1], row / win.output[1]);
    let (oy, image) = (rest % win.output[0], rest / win.output[0]);
    let (gi, go) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
    let taps = win.kernel[0] * win.kernel[1];
    for ky in 0..win.kernel[0] {
        for kx in 0..win.kernel[1] {
            let Some((iy, ix)) = win.tap(oy, ox, ky, kx) else { continue };
            let pixel = ((image * win.input[0] + iy) * win.input[1] + ix) * conv.in_channels;
            let tap = ky * win.kernel[1] + kx;
            for g in 0..conv.groups {
                for i in 0..gi {
                    let v = x[pixel + g * gi + i];
                    let base = ((g * taps + tap) * gi + i) * go;
                    for (a, &k) in acc[g * go..(g + 1) * go].iter_mut().zip(&w[base..base + go]) {
                        *a = a.multiply_add(v, k);
                    }
                }
            }
        }
    }
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    let conv = Conv::new(call)?;
    let epilogue = conv.epilogue(call)?;
    let ty: &TensorType = args.ty();
    let n = conv.out_channels;
    let value = match conv.arithmetic {
        Arithmetic::Float => {
            let (x, w) = (args.floats(0)?, reorder(&conv, &args.floats(1)?));
            rows::<f32>(args, ty, &epilogue, 2, &[], n, |row, acc| products(&conv, &x, &w, row, acc))?
        }
        Arithmetic::Hybrid => {
            let x = args.floats(0)?;
            let w = weights(args, &conv)?;
            let pixels = conv.window.output[0] * conv.window.output[1];
            let group = if conv.quantized_per_pixel() { conv.in_channels } else { x.len() / conv.window.batch.max(1) };
            let (mut q, mut scales) = (vec![], vec![]);
            for part in x.chunks(group.max(1)) {
                let part = quantize(part, conv.rule);
                q.extend(part.values);
                scales.extend(std::iter::repeat_n(part.scale, if conv.quantized_per_pixel() { 1 } else { pixels }));
            }
            rows::<i32>(args, ty, &epilogue, 2, &scales, n, |row, acc| products(&conv, &q, &w, row, acc))?
        }
        Arithmetic::Quantized | Arithmetic::Quantized16 => {
            let x = centered(&args.ints(0)?, |_| conv.input_zero_point.into());
            let w = weights(args, &conv)?;
            if epilogue.expr.inputs[0] == Storage::I64 {
                let x: Vec<i64> = x.into_iter().map(i64::from).collect();
                let w: Vec<i64> = w.into_iter().map(i64::from).collect();
                rows::<i64>(args, ty, &epilogue, 2, &[], n, |row, acc| products(&conv, &x, &w, row, acc))?
            } else {
                rows::<i32>(args, ty, &epilogue, 2, &[], n, |row, acc| products(&conv, &x, &w, row, acc))?
            }
        }
    };
    Ok(vec![value])
}

/// Centred integer weights in the evaluator's order.
fn weights(args: &Args<'_>, conv: &Conv) -> Result<Vec<i32>, crate::ops::EvalError> {
    let v = args.value(1)?;
    let raw: Vec<i64> = match v.to_i8() {
        Some(w) => w.iter().map(|w| i64::from(*w)).collect(),
        None if conv.arithmetic == Arithmetic::Hybrid => v.bytes().iter().map(|w| i64::from(*w as i8)).collect(),
        None => args.ints(1)?,
    };
    Ok(reorder(conv, &centered(&raw, |_| conv.weight_zero_point.into())))
}
