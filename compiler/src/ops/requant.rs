//! Requantisation: how an integer accumulator becomes an output element. Scales become multipliers here and nowhere else.
//!
//! Accumulating operators (convolutions, fully connected, matrix products) describe the work after the accumulator as an
//! [`Epilogue`]: a pointwise expression over the accumulator and some vectors along the output channels. The evaluator interprets
//! it, kernels emit it.

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, TensorType};
use crate::ops::activation::{Activation, Bounds, emit_clamp};
use crate::ops::call::Call;
use crate::ops::conv_2d::Arithmetic;
use crate::ops::fixed_point::{Fixed, Rounding, emit_by};
use crate::ops::storage::storage_of;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::{Binary, Cast, Compare, Expr, ExprBuilder, Id, Storage, Ty};

/// One input of an epilogue's expression.
#[derive(Clone, PartialEq, Debug)]
pub enum EpilogueInput {
    /// The accumulator: I32 for integers (I64 for 16-bit activations), F32 for floats.
    Acc,
    /// The operator's bias operand, along the channels.
    Bias,
    /// F32 multipliers, one for each channel.
    Floats(Vec<f32>),
    /// I32 multipliers or shifts, one for each channel.
    Ints(Vec<i32>),
    /// F64 multipliers, one for each channel.
    Doubles(Vec<f64>),
    /// F32 scale of the row (of the image, for convolutions) that dynamic quantisation found: the reciprocal of its multiplier.
    RowScale,
}

impl EpilogueInput {
    /// The numbers for the channels, little-endian; `None` where a run or the model gives them.
    pub fn constants(&self) -> Option<Vec<u8>> {
        match self {
            EpilogueInput::Floats(v) => Some(bytemuck::cast_slice(v).to_vec()),
            EpilogueInput::Ints(v) => Some(bytemuck::cast_slice(v).to_vec()),
            EpilogueInput::Doubles(v) => Some(bytemuck::cast_slice(v).to_vec()),
            EpilogueInput::Acc | EpilogueInput::Bias | EpilogueInput::RowScale => None,
        }
    }
}

/// What is computed from an accumulator.
#[derive(Clone, PartialEq, Debug)]
pub struct Epilogue {
    /// The expression; its output is the element type of the result.
    pub expr: Expr,
    /// Its inputs; the accumulator is the first.
    pub inputs: Vec<EpilogueInput>,
}

/// How accumulators are scaled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scaling {
    /// `rint(f32(acc) * scale)`: XNNPACK.
    Float,
    /// A fixed-point multiplier: TFLite's kernels.
    Fixed(Rounding),
    /// A 15-bit multiplier of a 64-bit accumulator: TFLite's convolutions of 16-bit activations.
    Fixed64,
    /// `round(f64(acc) * scale)` of a 64-bit accumulator, halves away from zero: TFLite's FULLY_CONNECTED of 16-bit activations.
    Double,
}

/// How an accumulator becomes a quantised element.
#[derive(Clone, PartialEq, Debug)]
pub struct Requant {
    /// How accumulators are scaled.
    pub scaling: Scaling,
    /// `f32(f32(si * sw) / so)`, one or one for each channel.
    pub scales: Vec<f32>,
    /// `si * sw / so` in binary64, from which multipliers in fixed point are made.
    pub doubles: Vec<f64>,
    /// 1 for each channel that rounds half away from zero though the others round half up; empty where none does.
    pub away: Vec<i32>,
    /// Zero point of the output.
    pub zero_point: i32,
    /// Least result.
    pub lo: i32,
    /// Greatest result.
    pub hi: i32,
    /// Element type of the output.
    pub output: Storage,
}

impl Requant {
    /// For an output of type `output`, an input scale, and weight scales. `scaling` is chosen by the operator, which knows
    /// which of LiteRT's kernels runs; where a scale is 256 or more, or one of the weights is not positive, XNNPACK refuses and TFLite's kernel runs.
    pub fn new(
        call: &Call<'_>,
        output: &TensorType,
        input_scale: f32,
        weight_scales: &[f32],
        activation: Activation,
        scaling: Scaling,
    ) -> Result<Requant, CompileError> {
        if !matches!(output.dtype, DType::Int8 | DType::UInt8 | DType::Int16) {
            return Err(call.unsupported(Unsupported::Types(format!("{} of integers", output.dtype))));
        }
        let (so, zo) = call.quant(output)?;
        let scales: Vec<f32> = weight_scales.iter().map(|sw| input_scale * sw / so).collect();
        let taken = scales.iter().all(|s| *s < 256.0) && weight_scales.iter().all(|s| *s > 0.0 && s.is_normal());
        let scaling = match scaling {
            Scaling::Float if !taken => Scaling::Fixed(Rounding::HalfUp),
            s => s,
        };
        let doubles = weight_scales.iter().map(|sw| input_scale as f64 * *sw as f64 / so as f64).collect();
        let bounds = if scaling == Scaling::Float { Bounds::Xnnpack } else { Bounds::Tflite };
        let (lo, hi) = activation.quantized_range(output.dtype, so, zo, bounds);
        Ok(Requant { scaling, scales, doubles, away: vec![], zero_point: zo, lo, hi, output: storage_of(call, output)? })
    }

    /// The same where TFLite's vector code takes eight of `channels` channels at a time and rounds the last ones otherwise, as its int8 kernels of depthwise
    /// convolutions and those of int8 and int16 of transposed ones do.
    pub fn in_eights(mut self, channels: usize) -> Requant {
        if self.scaling == Scaling::Fixed(Rounding::HalfUp) && !channels.is_multiple_of(8) {
            self.away = (0..channels).map(|c| i32::from(c >= channels / 8 * 8)).collect();
        }
        self
    }

    /// The same as TFLite's matrix products of one scale have it: they round the product of the operands' scales, `product`, to binary32.
    pub fn of_one_scale(mut self, product: f32, output_scale: f32) -> Requant {
        self.doubles = vec![f64::from(product) / f64::from(output_scale)];
        self
    }

    /// The epilogue, with a bias of this memory type.
    pub fn epilogue(&self, bias: Option<Storage>) -> Epilogue {
        let acc = if matches!(self.scaling, Scaling::Fixed64 | Scaling::Double) { Storage::I64 } else { Storage::I32 };
        let mut kinds = vec![(EpilogueInput::Acc, acc)];
        kinds.extend(bias.map(|b| (EpilogueInput::Bias, b)));
        let first = kinds.len();
        let per_channel = self.scales.len() > 1;
        let fixed: Vec<Fixed> = self.doubles.iter().map(|s| Fixed::signed(*s)).collect();
        let left = fixed.iter().any(|f| f.e > 0);
        if per_channel {
            match self.scaling {
                Scaling::Float => kinds.push((EpilogueInput::Floats(self.scales.clone()), Storage::F32)),
                Scaling::Fixed(_) => {
                    kinds.push((EpilogueInput::Ints(fixed.iter().map(|f| f.m).collect()), Storage::I32));
                    kinds.push((EpilogueInput::Ints(fixed.iter().map(|f| (-f.e).max(0)).collect()), Storage::I32));
                    if left {
                        kinds.push((EpilogueInput::Ints(fixed.iter().map(|f| f.e.max(0)).collect()), Storage::I32));
                    }
                }
                Scaling::Fixed64 => {
                    kinds.push((EpilogueInput::Ints(fixed.iter().map(|f| f.reduced()).collect()), Storage::I32));
                    kinds.push((EpilogueInput::Ints(fixed.iter().map(|f| f.reduced_shift()).collect()), Storage::I32));
                }
                Scaling::Double => kinds.push((EpilogueInput::Doubles(self.doubles.clone()), Storage::F64)),
            }
        }
        if !self.away.is_empty() {
            kinds.push((EpilogueInput::Ints(self.away.clone()), Storage::I32));
        }
        let mut b = ExprBuilder::new(kinds.iter().map(|k| k.1).collect::<Vec<_>>());
        let mut acc = b.input(0);
        if bias.is_some() {
            let bias = b.input(1);
            let bias = b.cast(Cast::Value, b.ty(acc), bias);
            acc = b.add(acc, bias);
        }
        let scaled = match self.scaling {
            Scaling::Float => {
                let f = b.cast(Cast::Value, Ty::F32, acc);
                let scale = if per_channel { b.input(first) } else { b.f32(self.scales[0]) };
                let product = b.mul(f, scale);
                if self.saturates() { b.cast(Cast::RoundEven, Ty::I32, product) } else { self.emit_float_tail(&mut b, product) }
            }
            Scaling::Fixed(rounding) => {
                let rounded = |b: &mut ExprBuilder, rounding: Rounding| {
                    if !per_channel {
                        return fixed[0].emit(b, acc, rounding);
                    }
                    let (m, right) = (b.input(first), b.input(first + 1));
                    let left = left.then(|| b.input(first + 2));
                    emit_by(b, acc, m, left, right, rounding)
                };
                let usual = rounded(&mut b, rounding);
                if self.away.is_empty() {
                    usual
                } else {
                    let away = rounded(&mut b, Rounding::HalfAway);
                    let (flag, zero) = (b.input(kinds.len() - 1), b.i32(0));
                    let last = b.compare(Compare::Ne, flag, zero);
                    b.select(last, away, usual)
                }
            }
            Scaling::Double => {
                let scale = if per_channel { b.input(first) } else { b.f64(self.doubles[0]) };
                let acc = b.cast(Cast::Value, Ty::F64, acc);
                let product = b.mul(acc, scale);
                self.emit_half_away(&mut b, product)
            }
            Scaling::Fixed64 => {
                let (m, shift) = if per_channel {
                    let (m, s) = (b.input(first), b.input(first + 1));
                    (b.cast(Cast::Value, Ty::I64, m), b.cast(Cast::Value, Ty::I64, s))
                } else {
                    (b.i64(fixed[0].reduced() as i64), b.i64(fixed[0].reduced_shift() as i64))
                };
                let one = b.i64(1);
                let less = b.sub(shift, one);
                let half = b.binary(Binary::Shl, one, less);
                let product = b.mul(acc, m);
                let sum = b.add(product, half);
                let shifted = b.binary(Binary::Shr, sum, shift);
                b.cast(Cast::Value, Ty::I32, shifted)
            }
        };
        let result = self.emit_offset(&mut b, scaled);
        Epilogue { expr: b.finish(result, self.output), inputs: kinds.into_iter().map(|k| k.0).collect() }
    }

    /// Whether scaled accumulators and their sums with the zero point fit 32 bits and the range of the result is that of its type: a store that
    /// saturates then is all that clamps.
    fn saturates(&self) -> bool {
        let whole = match self.output {
            Storage::I8 => (self.lo, self.hi) == (-128, 127),
            Storage::U8 => (self.lo, self.hi) == (0, 255),
            _ => false,
        };
        whole && self.scaling == Scaling::Float && self.scales.iter().all(|s| s.abs() <= 0.5)
    }

    /// Rounds a scaled F64 to I32, halves away from zero, after limiting it to one unit beyond where the result will lie.
    fn emit_half_away(&self, b: &mut ExprBuilder, x: Id) -> Id {
        let lo = b.f64((self.lo as i64 - self.zero_point as i64 - 1) as f64);
        let hi = b.f64((self.hi as i64 - self.zero_point as i64 + 1) as f64);
        let x = b.max(x, lo);
        let x = b.min(x, hi);
        let whole = b.cast(Cast::Value, Ty::I32, x);
        let back = b.cast(Cast::Value, Ty::F64, whole);
        let rest = b.sub(x, back);
        let (half, minus) = (b.f64(0.5), b.f64(-0.5));
        let up = b.compare(Compare::Ge, rest, half);
        let down = b.compare(Compare::Le, rest, minus);
        let [up, down] = [up, down].map(|c| b.cast(Cast::Value, Ty::I32, c));
        let whole = b.add(whole, up);
        b.sub(whole, down)
    }

    /// Rounds a scaled F32 to I32 after clamping it to where the result will lie.
    fn emit_float_tail(&self, b: &mut ExprBuilder, x: Id) -> Id {
        let lo = b.f32((self.lo as i64 - self.zero_point as i64) as f32);
        let hi = b.f32((self.hi as i64 - self.zero_point as i64) as f32);
        let x = b.max(x, lo);
        let x = b.min(x, hi);
        b.cast(Cast::RoundEven, Ty::I32, x)
    }

    fn emit_offset(&self, b: &mut ExprBuilder, scaled: Id) -> Id {
        if self.saturates() {
            let zero = b.i32(self.zero_point);
            let sum = b.add(scaled, zero);
            return emit_clamp(b, sum, self.lo, self.hi);
        }
        if self.scaling == Scaling::Float {
            // Clamped before rounding; the bounds are integers, so the order does not matter.
            let zero = b.i32(self.zero_point);
            return b.add(scaled, zero);
        }
        // The zero point could overflow a large result: clamp first, as the bounds are within the range of the type.
        let clamped = emit_clamp(b, scaled, self.lo - self.zero_point, self.hi - self.zero_point);
        let zero = b.i32(self.zero_point);
        b.add(clamped, zero)
    }
}

/// The epilogue of a float accumulator: bias, then the activation, stored as `output`.
pub fn float_epilogue(
    call: &Call<'_>,
    output: &TensorType,
    bias: Option<Storage>,
    activation: Activation,
) -> Result<Epilogue, CompileError> {
    if !matches!(output.dtype, DType::Float32 | DType::Float16 | DType::BFloat16) {
        return Err(call.unsupported(Unsupported::Types(format!("{} of floats", output.dtype))));
    }
    let mut inputs = vec![Storage::F32];
    inputs.extend(bias);
    let mut b = ExprBuilder::new(inputs);
    let mut acc = b.input(0);
    if bias.is_some() {
        let bias = b.input(1);
        acc = b.add(acc, bias);
    }
    let result = activation.emit_f32(&mut b, acc);
    let kinds = [EpilogueInput::Acc, EpilogueInput::Bias];
    Ok(Epilogue { expr: b.finish(result, storage_of(call, output)?), inputs: kinds[..1 + bias.is_some() as usize].to_vec() })
}

/// The epilogue of an integer accumulator of dynamically quantised activations:
/// `fma(f32(acc) * row_scale, weight_scale, bias)` by XNNPACK's rule, `f32(acc) * (weight_scale * row_scale) + bias` by TFLite's, then the activation,
/// stored as `output`.
pub fn hybrid_epilogue(weight_scales: &[f32], bias: Option<Storage>, activation: Activation, rule: Rule, output: Storage) -> Epilogue {
    let mut kinds = vec![(EpilogueInput::Acc, Storage::I32), (EpilogueInput::RowScale, Storage::F32)];
    let scale = (weight_scales.len() > 1).then(|| {
        kinds.push((EpilogueInput::Floats(weight_scales.to_vec()), Storage::F32));
        kinds.len() - 1
    });
    let bias = bias.map(|s| {
        kinds.push((EpilogueInput::Bias, s));
        kinds.len() - 1
    });
    let mut b = ExprBuilder::new(kinds.iter().map(|k| k.1).collect::<Vec<_>>());
    let (acc, row) = (b.input(0), b.input(1));
    let acc = b.cast(Cast::Value, Ty::F32, acc);
    let weight = match scale {
        Some(i) => b.input(i),
        None => b.f32(weight_scales.first().copied().unwrap_or(0.0)),
    };
    let bias = match bias {
        Some(i) => b.input(i),
        None => b.f32(0.0),
    };
    let y = if rule == Rule::Even {
        let scaled = b.mul(acc, row);
        b.mul_add(scaled, weight, bias)
    } else {
        let both = b.mul(weight, row);
        let scaled = b.mul(acc, both);
        b.add(scaled, bias)
    };
    let y = activation.emit_f32(&mut b, y);
    Epilogue { expr: b.finish(y, output), inputs: kinds.into_iter().map(|k| k.0).collect() }
}

/// Memory type of a bias operand; `None` where there is none.
pub fn bias_storage(call: &Call<'_>, operand: usize) -> Result<Option<Storage>, CompileError> {
    call.optional(operand).map(|o| storage_of(call, o.ty)).transpose()
}

/// Element types of a bias beside an arithmetic: floats where the accumulators become floats, else integers.
pub fn bias_types(arithmetic: Arithmetic) -> &'static [DType] {
    match arithmetic {
        Arithmetic::Float | Arithmetic::Hybrid => &[DType::Float32, DType::Float16],
        Arithmetic::Quantized | Arithmetic::Quantized16 => &[DType::Int32, DType::Int64],
    }
}

/// The type that an operator of int16 says its bias has. TFLite's kernels of FULLY_CONNECTED and TRANSPOSE_CONV go by it also where there is no bias.
pub fn named_bias(call: &Call<'_>) -> Option<Storage> {
    match call.attrs.name("quantized_bias_type", "") {
        "INT32" => Some(Storage::I32),
        "INT64" => Some(Storage::I64),
        _ => None,
    }
}

/// Checks that a bias has one element for each channel and one of these element types.
pub fn check_bias(call: &Call<'_>, operand: usize, channels: usize, dtypes: &[DType]) -> Result<(), CompileError> {
    let Some(bias) = call.optional(operand) else { return Ok(()) };
    call.dtype_among(operand, dtypes)?;
    if bias.ty.elements() != channels {
        return Err(call.invalid(format!("bias of {} elements for {channels} channels", bias.ty.elements())));
    }
    Ok(())
}
