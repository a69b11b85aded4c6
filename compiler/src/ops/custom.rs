//! CUSTOM: operators known by name. TFLite_Detection_PostProcess is in `boxes.rs`; MediaPipe's Convolution2DTransposeBias becomes a
//! TRANSPOSE_CONV at import; MaxPoolingWithArgmax2D, MaxUnpooling2D and Resampler are here, AudioSpectrogram and Mfcc in
//! `audio.rs`.
//!
//! Options of MediaPipe's operators are C structures; those of others are flexbuffers. Sources: TFLite
//! `delegates/xnnpack/xnnpack_delegate.cc`, MediaPipe `util/tflite/operations/`.

use crate::error::{CompileError, Unsupported};
use crate::ir::AttrValue;
use crate::ir::DType::Float32;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::value::Value;
use crate::ops::{audio, boxes};

/// CUSTOM.
pub const CUSTOM: Operator = Operator::new(infer, Eval::Direct(eval));

/// Custom operators that exist here, by name.
pub const NAMES: &[&str] = &[
    "TFLite_Detection_PostProcess",
    "Convolution2DTransposeBias",
    "MaxPoolingWithArgmax2D",
    "MaxUnpooling2D",
    "Resampler",
    "AudioSpectrogram",
    "Mfcc",
];

/// Attribute of a node whose operator is a function of the caller's.
pub const REGISTERED: &str = "registered";

/// Attribute of such a node with the symbol of that function, where code is compiled ahead of time.
pub const SYMBOL: &str = "symbol";

/// The name of a custom operator.
pub fn name<'a>(call: &Call<'a>) -> &'a str {
    match call.attrs.get("custom_code") {
        Some(AttrValue::Str(s)) => s,
        _ => "",
    }
}

/// The options of a custom operator.
pub fn options<'a>(call: &Call<'a>) -> &'a [u8] {
    match call.attrs.get("custom_options") {
        Some(AttrValue::Bytes(b)) => b,
        _ => &[],
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    match name(call) {
        "TFLite_Detection_PostProcess" => boxes::infer_detection(call, options(call)),
        "MaxPoolingWithArgmax2D" => infer_max_pool(call),
        "MaxUnpooling2D" => infer_unpool(call),
        "Resampler" => infer_resampler(call),
        "AudioSpectrogram" => audio::infer_spectrogram(call),
        "Mfcc" => audio::infer_mfcc(call),
        other if other.starts_with("Flex") => Err(call.unsupported(Unsupported::CustomOperator(other.into()))),
        // What the caller may bring is as it is declared; who needs it and does not have it says so.
        _ => Ok(call.outputs.iter().map(|ty| (*ty).clone()).collect()),
    }
}

fn eval(args: &Args<'_>) -> Results {
    match name(args.call) {
        "TFLite_Detection_PostProcess" => boxes::eval_detection(args, options(args.call)),
        "MaxPoolingWithArgmax2D" => max_pool(args),
        "MaxUnpooling2D" => unpool(args),
        "AudioSpectrogram" => audio::spectrogram(args),
        "Mfcc" => audio::mfcc(args),
        "Resampler" => resampler(args),
        other => Err(args.call.unsupported(Unsupported::CustomOperator(other.into())).into()),
    }
}

/// MediaPipe's pooling options; pairs are height and width.
pub(crate) struct Pool {
    same: bool,
    /// Steps between windows.
    pub(crate) stride: [usize; 2],
    /// Sizes of a window.
    pub(crate) filter: [usize; 2],
}

impl Pool {
    /// `TfLitePoolParams`: padding (1 SAME, 2 VALID), stride width and height, filter width and height, activation.
    pub(crate) fn parse(call: &Call<'_>) -> Result<Pool, CompileError> {
        let words: Vec<i32> = options(call).as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
        let size = |i: usize| {
            words
                .get(i)
                .and_then(|v| usize::try_from(*v).ok())
                .filter(|v| (1..=1 << 20).contains(v))
                .ok_or_else(|| call.invalid("pooling options"))
        };
        let pool = Pool { same: words.first() == Some(&1), stride: [size(2)?, size(1)?], filter: [size(4)?, size(3)?] };
        if words.get(5).is_some_and(|a| *a != 0) {
            return Err(call.unsupported(Unsupported::Option("activation".into(), format!("{:?}", words.get(5)))));
        }
        Ok(pool)
    }

    fn output(&self, d: usize, n: usize) -> usize {
        if self.same { n.div_ceil(self.stride[d]) } else { (n + self.stride[d]).saturating_sub(self.filter[d]) / self.stride[d] }
    }

    /// Padding in front of `n` elements along axis `d`.
    pub(crate) fn pad(&self, d: usize, n: usize) -> usize {
        if self.same { ((self.output(d, n).max(1) - 1) * self.stride[d] + self.filter[d]).saturating_sub(n) / 2 } else { 0 }
    }
}

fn infer_max_pool(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 2)?;
    call.dtype_among(0, &[Float32])?;
    let [n, h, w, c] = call.dims::<4>(0)?;
    let p = Pool::parse(call)?;
    let shape = [n, p.output(0, h), p.output(1, w), c];
    Ok(vec![call.result(0, Float32, shape)?, call.result(1, Float32, shape)?])
}

/// The maximum of each window, and its index in the window (row by row) as a float.
fn max_pool(args: &Args<'_>) -> Results {
    let p = Pool::parse(args.call)?;
    let [n, h, w, c] = args.call.dims::<4>(0)?;
    let x = args.floats(0)?;
    let (oh, ow) = (p.output(0, h), p.output(1, w));
    let (mut values, mut places) = (vec![], vec![]);
    for (b, oy, ox) in (0..n).flat_map(|b| (0..oh).flat_map(move |y| (0..ow).map(move |x| (b, y, x)))) {
        for ch in 0..c {
            let (mut best, mut at) = (f32::NEG_INFINITY, 0);
            for k in 0..p.filter[0] * p.filter[1] {
                let y = (oy * p.stride[0] + k / p.filter[1]).wrapping_sub(p.pad(0, h));
                let x0 = (ox * p.stride[1] + k % p.filter[1]).wrapping_sub(p.pad(1, w));
                if y < h && x0 < w {
                    let v = x[((b * h + y) * w + x0) * c + ch];
                    if v > best {
                        (best, at) = (v, k);
                    }
                }
            }
            values.push(best);
            places.push(at as f32);
        }
    }
    Ok(vec![Value::new(args.ty().clone(), values), Value::new(args.types[1].clone(), places)])
}

fn infer_unpool(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32])?;
    call.dtype_among(1, &[Float32])?;
    let [n, h, w, c] = call.dims::<4>(0)?;
    let p = Pool::parse(call)?;
    if call.input(1)?.shape != call.input(0)?.shape {
        return Err(call.invalid("indices of another shape"));
    }
    let grow = |d: usize, size: usize| size.checked_mul(p.stride[d]).ok_or_else(|| call.invalid("sizes overflow"));
    Ok(vec![call.result(0, Float32, [n, grow(0, h)?, grow(1, w)?, c])?])
}

fn unpool(args: &Args<'_>) -> Results {
    let p = Pool::parse(args.call)?;
    let [_, h, w, c] = args.call.dims::<4>(0)?;
    let (x, places) = (args.floats(0)?, args.floats(1)?);
    let [oh, ow] = [h * p.stride[0], w * p.stride[1]];
    let mut out = vec![0f32; args.ty().elements()];
    for (i, (v, place)) in x.iter().zip(places.iter()).enumerate() {
        let (ch, ox, oy, b) = (i % c, i / c % w, i / c / w % h, i / c / w / h);
        let k = *place as usize;
        let y = (oy * p.stride[0] + k / p.filter[1]).wrapping_sub(p.pad(0, oh));
        let x = (ox * p.stride[1] + k % p.filter[1]).wrapping_sub(p.pad(1, ow));
        if k >= p.filter[0] * p.filter[1] {
            return Err(args.error(format!("index {place} of a window of {:?}", p.filter)));
        }
        if y < oh && x < ow {
            out[((b * oh + y) * ow + x) * c + ch] = *v;
        }
    }
    args.result(out)
}

fn infer_resampler(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32])?;
    call.dtype_among(1, &[Float32])?;
    let [n, _, _, c] = call.dims::<4>(0)?;
    let warp = &call.input(1)?.shape;
    if warp.first() != Some(&n) || warp.last() != Some(&2) || warp.len() < 2 {
        return Err(call.invalid(format!("coordinates of shape {warp:?}")));
    }
    let mut shape = warp.clone();
    *shape.last_mut().ok_or_else(|| call.invalid("no coordinates"))? = c;
    Ok(vec![call.result(0, Float32, shape)?])
}

/// Bilinear samples at (x, y); pixels outside are zero.
fn resampler(args: &Args<'_>) -> Results {
    let [n, h, w, c] = args.call.dims::<4>(0)?;
    let (image, warp) = (args.floats(0)?, args.floats(1)?);
    let per_image = warp.len() / 2 / n.max(1);
    let mut out = vec![];
    for (i, [x, y]) in warp.as_chunks::<2>().0.iter().enumerate() {
        let image = &image[i / per_image.max(1) * h * w * c..][..h * w * c];
        let (x0, y0) = (x.floor(), y.floor());
        let (ax, ay) = (x - x0, y - y0);
        let at = |dy: i64, dx: i64, ch: usize| {
            let (y, x) = (y0 as i64 + dy, x0 as i64 + dx);
            if (0..h as i64).contains(&y) && (0..w as i64).contains(&x) { image[(y as usize * w + x as usize) * c + ch] } else { 0.0 }
        };
        for ch in 0..c {
            let top = at(0, 0, ch) * (1.0 - ax) + at(0, 1, ch) * ax;
            let bottom = at(1, 0, ch) * (1.0 - ax) + at(1, 1, ch) * ax;
            out.push(top * (1.0 - ay) + bottom * ay);
        }
    }
    args.result(out)
}
