//! Dynamic range: float activations are quantised as they come, against integer weights.
//!
//! XNNPACK's scheme, per row (FULLY_CONNECTED, BATCH_MATMUL, 1x1 convolutions) or per image (other convolutions); and TFLite's own for
//! DEPTHWISE_CONV_2D, which XNNPACK does not take. Formulas: `docs/numerics.md`.

use rayon::prelude::*;

/// Quantised rows.
pub struct Rows {
    /// Stored values less the row's zero point.
    pub centred: Vec<i32>,
    /// Scale of each row: a stored difference of one is that much.
    pub scales: Vec<f32>,
    /// Zero point of each row.
    pub zero_points: Vec<i32>,
}

/// Quantises rows of `length` elements to 8 bits, as XNNPACK does.
pub fn quantize_rows(x: &[f32], length: usize) -> Rows {
    let rows = if length == 0 { 0 } else { x.len() / length };
    let mut out = Rows { centred: vec![0; x.len()], scales: vec![1.0; rows], zero_points: vec![0; rows] };
    if rows == 0 {
        return out;
    }
    out.centred
        .par_chunks_mut(length)
        .zip(&mut out.scales)
        .zip(&mut out.zero_points)
        .zip(x.par_chunks(length))
        .for_each(|(((q, scale), zero), x)| {
            let lo = x.iter().copied().fold(0f32, f32::min);
            let hi = x.iter().copied().fold(0f32, f32::max);
            let k = if lo == hi { 1.0 } else { 255.0 / (hi - lo) };
            let (least, most) = (lo * k, hi * k);
            let zp = if (-128.0 + least) + (127.0 + most) > 0.0 { -128.0 - least } else { 127.0 - most };
            let zp = zp.clamp(-128.0, 127.0).round_ties_even() as i32;
            for (q, x) in q.iter_mut().zip(x) {
                *q = ((x * k).round_ties_even() as i32).saturating_add(zp).clamp(-128, 127) - zp;
            }
            *scale = 1.0 / k;
            *zero = zp;
        });
    out
}

/// Quantises one image to 8 bits, as TFLite does (`AsymmetricQuantizeFloats`): values less the zero point, and the scale.
pub fn quantize_image(x: &[f32]) -> (Vec<i32>, f32) {
    let lo = x.iter().copied().fold(0f32, f32::min);
    let hi = x.iter().copied().fold(0f32, f32::max);
    if lo == hi {
        return (vec![0; x.len()], 1.0);
    }
    let scale = (hi - lo) as f64 / 255.0;
    let (from_min, from_max) = (-128.0 - lo as f64 / scale, 127.0 - hi as f64 / scale);
    let (min_error, max_error) = (128.0 + (lo as f64 / scale).abs(), 127.0 + (hi as f64 / scale).abs());
    let zero = if min_error < max_error { from_min } else { from_max };
    let zero = (zero.round() as i32).clamp(-128, 127);
    let scale = scale as f32;
    let inverse = 1.0 / scale;
    let vector = x.len() / 8 * 8;
    let q = x.iter().enumerate().map(|(i, x)| {
        let v = x * inverse;
        let r = if i < vector { (v + 0.5f32.copysign(v)).trunc() } else { v.round() };
        (r as i32).saturating_add(zero).clamp(-128, 127) - zero
    });
    (q.collect(), scale)
}
