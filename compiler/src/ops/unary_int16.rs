//! Elementwise operators of one 16-bit operand, with the arithmetic of TFLite's kernels.
//!
//! LOGISTIC and TANH are gemmlowp's fixed-point functions for one input scale and interpolate a table of the logistic function for
//! others; EXP, LOG, GELU and RSQRT interpolate a table of 513 entries made for the scales; RELU and its kin rescale.
//! Sources: TFLite `kernels/internal/common.h` (`LUTPopulateInt16`), `reference/integer_ops/{logistic,tanh}.h`, `kernels/activations.cc`.

use crate::error::{CompileError, Unsupported};
use crate::ir::OpKind;
use crate::ops::activation::emit_clamp;
use crate::ops::call::Call;
use crate::ops::fixed_point::{Fixed, Rounding, round_away};
use crate::ops::gemmlowp::FixedPoint;
use crate::ops::operator::{Args, EvalError, Results};
use crate::ops::storage::{over_operands, storage_of};
use tflc_templates::expr::interpret::erf;
use tflc_templates::expr::{Compare, Expr, Unary};

/// The expression of a 16-bit operator that is one; `None` for those that look up and interpolate.
pub fn pointwise(call: &Call<'_>) -> Option<Result<Expr, CompileError>> {
    match call.op {
        OpKind::Logistic | OpKind::Tanh | OpKind::Exp | OpKind::Log | OpKind::Gelu | OpKind::Rsqrt | OpKind::Sqrt | OpKind::HardSwish => {
            None
        }
        _ => Some(rescaling(call)),
    }
}

fn rescaling(call: &Call<'_>) -> Result<Expr, CompileError> {
    let mut b = over_operands(call)?;
    let x = b.input(0);
    let storage = storage_of(call, call.output(0)?)?;
    if call.op == OpKind::Neg {
        let r = b.unary(Unary::Neg, x);
        return Ok(b.finish(r, storage));
    }
    let ((si, zi), (so, zo)) = (call.quant(call.input(0)?)?, call.quant(call.output(0)?)?);
    let zero = b.i32(zi);
    let x = b.sub(x, zero);
    let scale = Fixed::new((si / so) as f64);
    let scaled = |b: &mut _, x| scale.emit(b, x, Rounding::HalfAway);
    let quantized = |v: f32| zo.saturating_add(round_away(v / so)).clamp(-32768, 32767);
    let (mut lo, mut hi) = (-32768, 32767);
    let y = match call.op {
        OpKind::Abs => {
            let x = b.unary(Unary::Abs, x);
            if si == so { x } else { scaled(&mut b, x) }
        }
        OpKind::LeakyRelu => {
            let slope = (si * call.attrs.float("alpha", 0.0) / so) as f64;
            let least = b.i32(0);
            let positive = scaled(&mut b, x);
            let mut negative = Fixed::new(slope.abs()).emit(&mut b, x, Rounding::HalfAway);
            if slope < 0.0 {
                negative = b.unary(Unary::Neg, negative);
            }
            let up = b.compare(Compare::Ge, x, least);
            b.select(up, positive, negative)
        }
        OpKind::Relu | OpKind::Relu6 | OpKind::ReluN1To1 | OpKind::Relu0To1 => {
            lo = quantized(if call.op == OpKind::ReluN1To1 { -1.0 } else { 0.0 });
            hi = match call.op {
                OpKind::Relu => hi,
                OpKind::Relu6 => quantized(6.0),
                _ => quantized(1.0),
            };
            scaled(&mut b, x)
        }
        _ => return Err(call.unsupported(Unsupported::Types("int16".into()))),
    };
    let y = emit_clamp(&mut b, y, lo - zo, hi - zo);
    let zero = b.i32(zo);
    let y = b.add(y, zero);
    Ok(b.finish(y, storage))
}

/// Evaluates the operators that are no expression.
pub fn eval(args: &Args<'_>) -> Results {
    let x = args.elements::<i16>(0)?;
    let f = function(args.call)?;
    args.result(x.iter().map(|v| f(*v)).collect())
}

/// The function of one stored value, for lowering too: its 65536 values are a table.
pub fn function(call: &Call<'_>) -> Result<Box<dyn Fn(i16) -> i16>, EvalError> {
    let ((si, zi), (so, zo)) = (call.quant(call.input(0)?)?, call.quant(call.output(0)?)?);
    let least = (-32768 - zo) as f32 * so;
    Ok(match call.op {
        OpKind::Logistic => logistic(si, LogisticOf::Itself),
        OpKind::Tanh => logistic(si, LogisticOf::Tanh),
        OpKind::Exp => interpolated(si, zi, so, zo, |v| (v as f64).exp() as f32),
        OpKind::Log => interpolated(si, zi, so, zo, move |v| if v <= 0.0 { least } else { (v as f64).ln() as f32 }),
        OpKind::Rsqrt => interpolated(si, zi, so, zo, move |v| if v <= 0.0 { 32767.0 * so } else { 1.0 / v.sqrt() }),
        OpKind::Gelu if call.attrs.bool("approximate", false) => interpolated(si, zi, so, zo, |v| {
            let inner = 0.797_884_6f32 * (v + 0.044715f32 * v * v * v);
            0.5f32 * v * (1.0 + (inner as f64).tanh() as f32)
        }),
        OpKind::Gelu => interpolated(si, zi, so, zo, |v| 0.5f32 * v * (1.0 - erf((v * -std::f32::consts::FRAC_1_SQRT_2) as f64)) as f32),
        OpKind::Sqrt => {
            Box::new(move |q| (((si * (q as i32 - zi) as f32).max(0.0).sqrt() / so) as i32).saturating_add(zo).clamp(-32768, 32767) as i16)
        }
        _ => return Err(call.unsupported(Unsupported::Types("int16".into())).into()),
    })
}

/// Which function interpolates the table of the logistic function.
#[derive(Clone, Copy, PartialEq)]
enum LogisticOf {
    Itself,
    Tanh,
}

/// LOGISTIC and TANH for an output scale of 2^-15.
fn logistic(scale: f32, which: LogisticOf) -> Box<dyn Fn(i16) -> i16> {
    let fixed = FixedPoint { bits: 16 };
    let log2 = scale.log2().round();
    let shift = 12 + log2 as i32;
    let power_of_two = (scale.log2() - log2).abs() < 1e-3;
    if power_of_two && (shift == 0 || (shift == 1 && which == LogisticOf::Tanh)) {
        return match which {
            LogisticOf::Itself => Box::new(move |q| fixed.logistic(q as i64, 3) as i16),
            LogisticOf::Tanh => Box::new(move |q| fixed.tanh(((q as i64) << shift).clamp(-32768, 32767), 3) as i16),
        };
    }
    let mut multiplier = scale as f64 * 4096.0 * 3.0;
    let mut shift = 0;
    while multiplier <= 32767.0 / 2.0 && shift <= 30 {
        (multiplier, shift) = (multiplier * 2.0, shift + 1);
    }
    let multiplier = multiplier as i32;
    let table = sigmoid_table();
    let round = if shift > 0 { 1i64 << (shift - 1) } else { 0 };
    Box::new(move |q| {
        let x = ((q as i64 * multiplier as i64 + round) >> shift) as i32;
        interpolate_logistic(&table, x, which)
    })
}

/// Interpolation in [`sigmoid_table`] of `x` in units of 1 / (3 * 4096).
fn interpolate_logistic(table: &[u32; 256], x: i32, which: LogisticOf) -> i16 {
    let a = x.unsigned_abs();
    let bits = if which == LogisticOf::Itself { 9 } else { 8 };
    let high = (a >> bits) as usize;
    let low = a & ((1 << bits) - 1);
    if which == LogisticOf::Itself {
        let r = if high >= 255 { 0x7FFF << 10 } else { (table[high] << 9) + low * (table[high + 1] - table[high]) };
        let r = if x >= 0 { r + (1 << 9) } else { (1 << 25) - r + (1 << 9) - 1 };
        (r >> 10) as i16
    } else {
        let r = if high >= 255 { 0xFFFF << 8 } else { ((table[high] << 8) + low * (table[high + 1] - table[high])) as i32 };
        let r = if x >= 0 { r - (1 << 23) + (1 << 7) } else { -r + (1 << 23) + (1 << 7) - 1 };
        (r >> 8) as i16
    }
}

/// `sigmoid(i / 24)` in 0.16 format, shifted by half of the error of interpolation. Source: TFLite, `sigmoid_table_uint16`, of which
/// this formula gives all 256 entries.
fn sigmoid_table() -> [u32; 256] {
    let s = |v: f64| 1.0 / (1.0 + (-v).exp());
    std::array::from_fn(|i| {
        let i = i as f64;
        if i == 255.0 {
            return 65535;
        }
        let e = s((i + 0.5) / 24.0) - (s(i / 24.0) + s((i + 1.0) / 24.0)) / 2.0;
        (65536.0 * (s(i / 24.0) + e / 2.0) + 0.5).floor() as u32
    })
}

/// Interpolation of a table of 513 entries. Source: TFLite, `LUTPopulateInt16` and `LUTLookup`.
fn interpolated(si: f32, zi: i32, so: f32, zo: i32, f: impl Fn(f32) -> f32) -> Box<dyn Fn(i16) -> i16> {
    let table = lut_513(si, zi, so, zo, f);
    Box::new(move |q| look_up_513(&table, q))
}

/// The 513 entries of `LUTPopulateInt16`.
pub fn lut_513(si: f32, zi: i32, so: f32, zo: i32, f: impl Fn(f32) -> f32) -> Vec<i16> {
    let (input_min, input_max) = (si * (-32768 - zi) as f32, si * (32767 - zi) as f32);
    let (output_min, output_max) = (so * (-32768 - zo) as f32, so * (32767 - zo) as f32);
    let step = (input_max - input_min) / 512.0;
    let half_step = step / 2.0;
    let inverse = 65536.0 / (output_max - output_min);
    let mut table: Vec<i16> = (0..512)
        .map(|i| {
            let at = input_min + i as f32 * step;
            let value = (f(at) * inverse).round();
            let middle = (f(at + half_step) * inverse).round();
            let next = f(input_min + (i + 1) as f32 * step) * inverse;
            let interpolated = ((next + value) / 2.0).round();
            let error = interpolated - middle;
            let bias = (error / 2.0).round();
            (value - bias).clamp(-32768.0, 32767.0) as i16
        })
        .collect();
    table.push((f(input_max) * inverse).round().clamp(-32768.0, 32767.0) as i16);
    table
}

/// Interpolates [`lut_513`].
pub fn look_up_513(table: &[i16], q: i16) -> i16 {
    let index = (256 + (q as i32 >> 7)) as usize;
    let offset = (q & 0x7f) as i32;
    let base = table[index] as i32;
    let slope = (table[index + 1] as i32 - base) as i16 as i32;
    (base + ((slope * offset + 64) >> 7)) as i16
}
