//! Tables of 256 bytes for elementwise operators of one 8-bit operand, with the arithmetic of LiteRT's default path.
//!
//! LOGISTIC, TANH and ELU are XNNPACK's tables (the zero point is added before rounding); LEAKY_RELU is XNNPACK's 8-bit
//! multiplier where it takes the scales; everything else is TFLite's. Sources: XNNPACK `src/operators/unary-elementwise-nc.c`;
//! TFLite `kernels/{activations,elementwise}.cc`, `kernels/internal/common.h` (`LUTPopulate`), `reference/hard_swish.h`.

use crate::error::CompileError;
use crate::ir::{DType, OpKind};
use crate::ops::call::Call;
use crate::ops::fixed_point::{Fixed, Rounding, mul_round_hi, round_away, shift_half_away};
use tflc_templates::expr::interpret::erf;

/// Quantisation of the operand and the result, and the range of stored values.
#[derive(Clone, Copy)]
struct Params {
    si: f32,
    zi: i32,
    so: f32,
    zo: i32,
    lo: i32,
    hi: i32,
}

/// The result for each of the 256 stored values, by their low eight bits.
pub(super) fn table(call: &Call<'_>) -> Result<Vec<u8>, CompileError> {
    let (x, out) = (call.input(0)?, call.output(0)?);
    if call.op == OpKind::Neg {
        return Ok((0..=255u8).map(u8::wrapping_neg).collect());
    }
    if call.op == OpKind::Abs && x.quant.per_tensor().is_none() {
        return Ok((0..=255u8).map(|b| (b as i8).unsigned_abs()).collect());
    }
    let ((si, zi), (so, zo)) = (call.operand_quant(x)?, call.quant(out)?);
    let (lo, hi) = if out.dtype == DType::Int8 { (-128, 127) } else { (0, 255) };
    let p = Params { si, zi, so, zo, lo, hi };
    let f = one(call, p)?;
    Ok((0..=255u8).map(|b| f(if x.dtype == DType::Int8 { b as i8 as i32 } else { b as i32 }).clamp(lo, hi) as u8).collect())
}

/// The function of one stored value.
fn one(call: &Call<'_>, p: Params) -> Result<Box<dyn Fn(i32) -> i32>, CompileError> {
    let real = move |q: i32| p.si * (q - p.zi) as f32;
    Ok(match call.op {
        OpKind::Logistic => Box::new(move |q| p.xnnpack((1.0 / (1.0 + (-real(q) as f64).exp())) as f32)),
        OpKind::Tanh => Box::new(move |q| p.xnnpack((real(q) as f64).tanh() as f32)),
        OpKind::Elu => Box::new(move |q| p.xnnpack(if real(q) < 0.0 { (real(q) as f64).exp_m1() as f32 } else { real(q) })),
        OpKind::Exp => Box::new(move |q| p.tflite((real(q) as f64).exp() as f32)),
        OpKind::Log => Box::new(move |q| {
            let d = real(q);
            p.tflite(if d <= 0.0 { (p.lo - p.zo) as f32 * p.so } else { (d as f64).ln() as f32 })
        }),
        OpKind::Gelu if call.attrs.bool("approximate", false) => Box::new(move |q| {
            let d = real(q);
            let inner = 0.797_884_6f32 * (d + 0.044715f32 * d * d * d);
            p.tflite(0.5f32 * d * (1.0 + (inner as f64).tanh() as f32))
        }),
        OpKind::Gelu => Box::new(move |q| {
            let d = real(q);
            let e = 1.0 - erf((d * -std::f32::consts::FRAC_1_SQRT_2) as f64);
            p.tflite(0.5f32 * d * e as f32)
        }),
        OpKind::Sqrt => Box::new(move |q| ((real(q).max(0.0).sqrt() / p.so) as i32).saturating_add(p.zo)),
        OpKind::Rsqrt => Box::new(move |q| rsqrt(p, q)),
        OpKind::Abs => {
            let m = Fixed::new((p.si / p.so) as f64);
            Box::new(move |q| {
                let v = (q - p.zi).abs();
                if p.si == p.so { v + p.zo } else { m.apply(v, Rounding::HalfAway).saturating_add(p.zo) }
            })
        }
        OpKind::LeakyRelu => leaky_relu(p, call.attrs.float("alpha", 0.0)),
        OpKind::HardSwish => {
            let h = HardSwish::new(p);
            Box::new(move |q| h.apply(q))
        }
        OpKind::Relu => relu(p, 0.0, f32::INFINITY),
        OpKind::Relu6 => relu(p, 0.0, 6.0),
        OpKind::ReluN1To1 => relu(p, -1.0, 1.0),
        OpKind::Relu0To1 => relu(p, 0.0, 1.0),
        op => return Err(CompileError::Internal(format!("{op} has no 8-bit form"))),
    })
}

impl Params {
    /// `rint(f32(f32(t * f32(1/so)) + zo))`.
    fn xnnpack(&self, t: f32) -> i32 {
        (t * (1.0 / self.so) + self.zo as f32).round_ties_even() as i32
    }

    /// `round(f32(t * f32(1/so))) + zo`, half away from zero.
    fn tflite(&self, t: f32) -> i32 {
        round_away(t * (1.0 / self.so)).saturating_add(self.zo)
    }
}

fn relu(p: Params, lo: f32, hi: f32) -> Box<dyn Fn(i32) -> i32> {
    let m = Fixed::new((p.si / p.so) as f64);
    let least = p.lo.max(p.zo.saturating_add(round_away(lo / p.so)));
    let most = if hi == f32::INFINITY { p.hi } else { p.hi.min(p.zo.saturating_add(round_away(hi / p.so))) };
    Box::new(move |q| m.apply(q - p.zi, Rounding::HalfAway).saturating_add(p.zo).max(least).min(most))
}

fn leaky_relu(p: Params, alpha: f32) -> Box<dyn Fn(i32) -> i32> {
    let positive = p.si / p.so;
    let negative = positive * alpha;
    let taken = (1.0 / 256.0..=128.0).contains(&positive) && negative.abs() >= 1.0 / 256.0 && (-127.996..=128.0).contains(&negative);
    if taken && alpha.is_normal() {
        let (pm, nm) = ((256.0 * positive).round_ties_even() as i32, (256.0 * negative).round_ties_even() as i32);
        return Box::new(move |q| {
            let x = q - p.zi;
            (x * if x >= 0 { pm } else { nm } + 128 + (p.zo << 8)) >> 8
        });
    }
    let identity = Fixed::new(positive as f64);
    let slope = (p.si * alpha / p.so) as f64;
    let (slope, sign) = (Fixed::new(slope.abs()), if slope < 0.0 { -1 } else { 1 });
    Box::new(move |q| {
        let x = q - p.zi;
        let y = if x >= 0 { identity.apply(x, Rounding::HalfAway) } else { sign * slope.apply(x, Rounding::HalfAway) };
        y.saturating_add(p.zo)
    })
}

/// TFLite's fixed-point inverse square root. Source: `kernels/elementwise.cc`, `RsqrtEvalQuantizedInt8`.
fn rsqrt(p: Params, q: i32) -> i32 {
    const SHIFT: i32 = 20;
    let value = q - p.zi;
    if value <= 0 {
        return p.hi;
    }
    let (m, shift) = inverse_sqrt_multiplier(value);
    let data = Fixed { m, e: shift + SHIFT }.apply(1, Rounding::HalfAway);
    let scale = Fixed::new(1.0 / ((p.si.sqrt() * p.so) as f64));
    Fixed { m: scale.m, e: scale.e - SHIFT }.apply(data, Rounding::HalfAway).saturating_add(p.zo)
}

/// Multiplier and (left) shift of `1 / sqrt(input)`, by Newton's method in fixed point.
/// Source: TFLite, `kernels/internal/common.h`, `GetInvSqrtQuantizedMultiplierExp` with a reverse shift of -1.
pub fn inverse_sqrt_multiplier(input: i32) -> (i32, i32) {
    if input <= 1 {
        return (i32::MAX, 0);
    }
    let mut input = input;
    let mut shift = 11;
    while input >= 1 << 29 {
        input /= 4;
        shift += 1;
    }
    let left_bits = (input.leading_zeros() as i32 - 1) / 2 - 1;
    shift -= left_bits;
    input <<= 2 * left_bits;
    // Fixed point with 3 integer bits; products of formats add their integer bits, and are rescaled with saturation.
    let x = input >> 1;
    let half_x = shift_half_away(x, 1);
    let half_three = (1 << 28) + (1 << 27);
    let mut y = 1i32 << 28;
    for _ in 0..5 {
        let square = mul_round_hi(y, y);
        let cube = saturating_shl(mul_round_hi(square, y), 6);
        let left = mul_round_hi(half_three, y);
        let right = mul_round_hi(half_x, cube);
        y = saturating_shl(left.saturating_sub(right), 3);
    }
    let half_sqrt_2 = 1_518_500_250;
    let mut m = mul_round_hi(y, half_sqrt_2);
    if shift < 0 {
        m = m.wrapping_shl(-shift as u32);
        shift = 0;
    }
    (m, -shift)
}

/// `x << shift`, saturated.
pub(super) fn saturating_shl(x: i32, shift: u32) -> i32 {
    ((x as i64) << shift).clamp(i32::MIN as i64, i32::MAX as i64) as i32
}

/// TFLite's 16-bit fixed-point hard swish.
struct HardSwish {
    p: Params,
    output: i16,
    output_exponent: i32,
    relu: i16,
    relu_exponent: i32,
}

impl HardSwish {
    fn new(p: Params) -> HardSwish {
        // Source: TFLite, `kernels/activations.cc`, `HardSwishPrepare`.
        let hires = p.si / 128.0;
        let output = Fixed::new((hires / p.so) as f64);
        let relu = Fixed::new((hires / (3.0 / 32768.0)) as f64);
        HardSwish { p, output: to_i16(output.m), output_exponent: output.e, relu: to_i16(relu.m), relu_exponent: relu.e }
    }

    fn apply(&self, q: i32) -> i32 {
        let hires = ((q - self.p.zi) as i16).wrapping_mul(1 << 7);
        let preshift = mul_round_hi_i16(hires, self.output);
        let mut relu = hires;
        if self.relu_exponent > 0 {
            relu = shl_i16(relu, self.relu_exponent - 1);
        }
        relu = mul_round_hi_i16(relu, self.relu);
        if self.relu_exponent > 0 {
            relu = shl_i16(relu, 1);
        }
        if self.relu_exponent < 0 {
            relu = shift_half_away(relu as i32, -self.relu_exponent as u32) as i16;
        }
        let relu = ((relu as i32 + (1 << 15)) >> 1) as i16;
        let product = relu as i32 * preshift as i32;
        let value = if relu == i16::MIN && preshift == i16::MIN { i16::MAX } else { (product / (1 << 15)) as i16 };
        let shifted = shift_half_away(value as i32, (-self.output_exponent).max(0) as u32);
        (shifted as i16).wrapping_add(self.p.zo as i16) as i32
    }
}

/// Rounds a 31-bit fraction to 15 bits. Source: TFLite, `DownScaleInt32ToInt16Multiplier`.
fn to_i16(m: i32) -> i16 {
    const OFFSET: i32 = 1 << 15;
    if m >= i32::MAX - OFFSET { i16::MAX } else { ((m + OFFSET) >> 16) as i16 }
}

/// `SaturatingRoundingDoublingHighMul` of 16 bits.
pub(super) fn mul_round_hi_i16(a: i16, b: i16) -> i16 {
    if a == i16::MIN && b == i16::MIN {
        return i16::MAX;
    }
    let product = a as i32 * b as i32;
    let nudge = if product >= 0 { 1 << 14 } else { 1 - (1 << 14) };
    ((product + nudge) / (1 << 15)) as i16
}

fn shl_i16(v: i16, amount: i32) -> i16 {
    ((v as i64) << amount.min(32)).clamp(i16::MIN as i64, i16::MAX as i64) as i16
}
