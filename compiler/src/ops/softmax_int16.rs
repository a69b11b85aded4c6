//! SOFTMAX of 16 bits: two interpolated tables, of the exponential over [-10, 0] and of `1 / (1 + x)` over [0, 1].
//!
//! The result has scale 2^-15. Source: TFLite `kernels/internal/reference/softmax.h`, `SoftmaxInt16`; formulas in `docs/numerics.md`.

use crate::error::CompileError;
use crate::ops::call::Call;
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::unary_int16::look_up_513;

/// Tables and the multiplier of differences.
#[derive(Clone, PartialEq, Debug)]
pub struct SoftmaxInt16 {
    /// The exponential over [-10, 0].
    pub exp: Vec<i16>,
    /// `1 / (1 + x)` over [0, 1].
    pub reciprocal: Vec<i16>,
    /// From differences of stored values to units of 10 / 65535.
    pub scale: Fixed,
}

impl SoftmaxInt16 {
    /// For the scales of a call.
    pub fn new(call: &Call<'_>) -> Result<SoftmaxInt16, CompileError> {
        let (si, _) = call.quant(call.input(0)?)?;
        call.quant(call.output(0)?)?;
        let beta = call.attrs.float("beta", 1.0);
        Ok(SoftmaxInt16 {
            exp: table(10.0 / 65535.0, 32767, f64::exp),
            reciprocal: table(1.0 / 65535.0, -32768, |x| 1.0 / (1.0 + x)),
            scale: Fixed::new((si * beta) as f64 / (10.0 / 65535.0)),
        })
    }

    /// One row.
    pub fn row(&self, q: &[i64], out: &mut Vec<i16>) {
        let max = q.iter().copied().max().unwrap_or(0);
        let e: Vec<i32> = q
            .iter()
            .map(|v| {
                let scaled = self.scale.apply((v - max) as i32, Rounding::HalfAway).saturating_add(32767);
                look_up_513(&self.exp, scaled.clamp(-32768, 32767) as i16) as i32
            })
            .collect();
        let sum = e.iter().fold(0i32, |s, v| s.wrapping_add(*v));
        let headroom = sum.leading_zeros();
        let shifted = (((sum as i64) << headroom.max(1).saturating_sub(1)) + (1 << 13)) >> 14;
        let at = (shifted - (1 << 15) - (1 << 16)).clamp(-32768, 32767) as i16;
        let reciprocal = look_up_513(&self.reciprocal, at) as i64;
        let right = 31 - headroom.min(30) as i64;
        out.extend(e.iter().map(|e| ((*e as i64 * reciprocal + (1 << (right - 1))) >> right).clamp(0, 32767) as i16));
    }
}

/// `LUTPopulateInt16` in binary64 for results in [-1, 1].
fn table(scale: f64, zero_point: i32, f: impl Fn(f64) -> f64) -> Vec<i16> {
    let (least, most) = (scale * (-32768 - zero_point) as f64, scale * (32767 - zero_point) as f64);
    let step = (most - least) / 512.0;
    let output = 2.0 / 65535.0;
    let inverse = 65536.0 / (output * 32767.0 - output * -32768.0);
    let mut out: Vec<i16> = (0..512)
        .map(|i| {
            let at = least + i as f64 * step;
            let value = (f(at) * inverse).round();
            let middle = (f(at + step / 2.0) * inverse).round();
            let next = f(least + (i + 1) as f64 * step) * inverse;
            let bias = ((((next + value) / 2.0).round() - middle) / 2.0).round();
            (value - bias).clamp(-32768.0, 32767.0) as i16
        })
        .collect();
    out.push((f(most) * inverse).round().clamp(-32768.0, 32767.0) as i16);
    out
}
