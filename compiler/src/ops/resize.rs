//! RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: images of another size.
//!
//! Bilinear floats and 8-bit integers are XNNPACK's (11-bit weights for integers), 16-bit integers TFLite's (10-bit). Quantisation
//! is ignored: stored values are interpolated. Sources: XNNPACK `src/indirection.c`, TFLite `reference/resize_*.h`.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Float32, Int8, Int16, Int32, UInt8};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use rayon::prelude::*;

/// RESIZE_BILINEAR.
pub const BILINEAR: Operator = Operator::new(infer, Eval::Direct(bilinear));
/// RESIZE_NEAREST_NEIGHBOR.
pub const NEAREST: Operator = Operator::new(infer, Eval::Direct(nearest));

/// How coordinates of pixels relate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mode {
    /// Centres of the corner pixels coincide.
    pub align_corners: bool,
    /// Centres of pixels lie at halves.
    pub half_pixel_centers: bool,
}

impl Mode {
    /// The attributes.
    pub fn parse(call: &Call<'_>) -> Result<Mode, CompileError> {
        let m = Mode {
            align_corners: call.attrs.bool("align_corners", false),
            half_pixel_centers: call.attrs.bool("half_pixel_centers", false),
        };
        if m.align_corners && m.half_pixel_centers { Err(call.invalid("align_corners and half_pixel_centers at once")) } else { Ok(m) }
    }

    /// Input elements below and above each output element, and the weight of the one above in [0, 1].
    pub fn linear(self, input: usize, output: usize) -> Vec<(usize, usize, f32)> {
        let adjust = (self.align_corners && output != 1) as usize;
        let scale = (input as i64 - adjust as i64) as f32 / (output as i64 - adjust as i64) as f32;
        let last = input.saturating_sub(1);
        (0..output)
            .map(|o| {
                let p = if self.half_pixel_centers {
                    let offset = 0.5f32 * scale - 0.5;
                    (o as f32 * scale + offset).max(0.0)
                } else {
                    o as f32 * scale
                };
                let p = p.min(last as f32);
                let low = p as usize;
                (low, (low + 1).min(last), p - low as f32)
            })
            .collect()
    }

    /// The same in 10-bit fixed point: weights in [0, 1024].
    pub fn linear_fixed(self, input: usize, output: usize) -> Vec<(usize, usize, i64)> {
        let (i, o) = (input as i64, output as i64);
        let scale = if self.align_corners && o > 1 { (1024 * (i - 1) + (o - 1) / 2) / (o - 1) } else { (1024 * i + o / 2) / o };
        (0..o)
            .map(|at| {
                let v = at * scale + if self.half_pixel_centers { scale / 2 - 512 } else { 0 };
                let low = (v / 1024).max(0);
                let high = ((v + 1023) / 1024).min(i - 1);
                (low as usize, high.max(0) as usize, v - 1024 * low)
            })
            .collect()
    }

    /// The nearest input element of each output element.
    pub fn nearest(self, input: usize, output: usize) -> Vec<usize> {
        let scale =
            if self.align_corners && output > 1 { (input as i64 - 1) as f32 / (output - 1) as f32 } else { input as f32 / output as f32 };
        let offset = if self.half_pixel_centers { 0.5f32 } else { 0.0 };
        (0..output)
            .map(|o| {
                let p = (o as f32 + offset) * scale;
                let p = if self.align_corners { p.round() } else { p.floor() } as i64;
                // Half-pixel coordinates can lie below the first element.
                p.min(input as i64 - 1).max(0) as usize
            })
            .collect()
    }
}

/// Height and width of the result.
pub fn target(call: &Call<'_>) -> Result<(usize, usize), CompileError> {
    match call.ints(1, 2)?[..] {
        [h, w] if h > 0 && w > 0 => Ok((h as usize, w as usize)),
        ref other => Err(call.invalid(format!("size {other:?}"))),
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let dtype = call.input(0)?.dtype;
    if call.op == crate::ir::OpKind::ResizeBilinear {
        call.dtype_among(0, &[Float32, Int8, UInt8, Int16])?;
    } else if !matches!(dtype.bits(), 8 | 16 | 32 | 64) {
        return Err(call.unsupported(Unsupported::Types(dtype.to_string())));
    }
    call.dtype_among(1, &[Int32])?;
    Mode::parse(call)?;
    let [n, ih, iw, c] = call.dims::<4>(0)?;
    let (h, w) = target(call)?;
    if ih == 0 || iw == 0 {
        return Err(call.invalid("an empty image"));
    }
    Ok(vec![call.result(0, dtype, [n, h, w, c])?])
}

fn nearest(args: &Args<'_>) -> Results {
    let mode = Mode::parse(args.call)?;
    let [n, ih, iw, c] = args.call.dims::<4>(0)?;
    let (h, w) = target(args.call)?;
    let (ys, xs) = (mode.nearest(ih, h), mode.nearest(iw, w));
    let row = c * args.width(0)?;
    let from = args.value(0)?.bytes();
    let mut out = Vec::with_capacity(args.ty().bytes());
    for image in 0..n {
        for y in &ys {
            for x in &xs {
                let at = ((image * ih + y) * iw + x) * row;
                out.extend_from_slice(&from[at..at + row]);
            }
        }
    }
    args.result(out)
}

fn bilinear(args: &Args<'_>) -> Results {
    let mode = Mode::parse(args.call)?;
    let [n, ih, iw, c] = args.call.dims::<4>(0)?;
    let (h, w) = target(args.call)?;
    match args.value(0)?.ty.dtype {
        Float32 => {
            let x = args.elements::<f32>(0)?;
            let (ys, xs) = (mode.linear(ih, h), mode.linear(iw, w));
            args.result(interpolate(&x, (n, ih, iw, c), &ys, &xs, |[tl, tr, bl, br], ay, ax| {
                let top = tl + (tr - tl) * ax;
                let bottom = bl + (br - bl) * ax;
                top + (bottom - top) * ay
            }))
        }
        Int16 => {
            let x = args.elements::<i16>(0)?;
            let (ys, xs) = (mode.linear_fixed(ih, h), mode.linear_fixed(iw, w));
            args.result(interpolate(&x, (n, ih, iw, c), &ys, &xs, |q, ay, ax| {
                let [tl, tr, bl, br] = q.map(i64::from);
                let sum = tl * (1024 - ay) * (1024 - ax) + tr * (1024 - ay) * ax + bl * ay * (1024 - ax) + br * ay * ax;
                let half = if sum > 0 { 1 << 19 } else { -(1 << 19) };
                ((sum + half) / (1 << 20)) as i16
            }))
        }
        _ => {
            let fixed = |v: Vec<(usize, usize, f32)>| {
                v.into_iter().map(|(l, h, a)| (l, h, (a * 2048.0).round_ties_even() as i64)).collect::<Vec<_>>()
            };
            let (ys, xs) = (fixed(mode.linear(ih, h)), fixed(mode.linear(iw, w)));
            let blend = |[tl, tr, bl, br]: [i64; 4], ay: i64, ax: i64| {
                let top = (tl << 11) + (tr - tl) * ax;
                let bottom = (bl << 11) + (br - bl) * ax;
                ((top << 11) + (bottom - top) * ay + (1 << 21)) >> 22
            };
            if args.value(0)?.ty.dtype == Int8 {
                let x = args.elements::<i8>(0)?;
                args.result(interpolate(&x, (n, ih, iw, c), &ys, &xs, |q, ay, ax| blend(q.map(i64::from), ay, ax) as i8))
            } else {
                let x = args.elements::<u8>(0)?;
                args.result(interpolate(&x, (n, ih, iw, c), &ys, &xs, |q, ay, ax| blend(q.map(i64::from), ay, ax) as u8))
            }
        }
    }
}

/// Blends the four neighbours (top left, top right, bottom left, bottom right) of each output element.
fn interpolate<T: Copy + Send + Sync, W: Copy + Sync>(
    x: &[T],
    (n, ih, iw, c): (usize, usize, usize, usize),
    ys: &[(usize, usize, W)],
    xs: &[(usize, usize, W)],
    blend: impl Fn([T; 4], W, W) -> T + Sync,
) -> Vec<T> {
    (0..n * ys.len())
        .into_par_iter()
        .flat_map_iter(|r| {
            let image = &x[r / ys.len() * ih * iw * c..][..ih * iw * c];
            let (top, bottom, ay) = ys[r % ys.len()];
            let mut row = Vec::with_capacity(xs.len() * c);
            for (left, right, ax) in xs {
                let at = |y: usize, x: usize| &image[(y * iw + x) * c..][..c];
                let (tl, tr, bl, br) = (at(top, *left), at(top, *right), at(bottom, *left), at(bottom, *right));
                row.extend((0..c).map(|i| blend([tl[i], tr[i], bl[i], br[i]], ay, *ax)));
            }
            row
        })
        .collect()
}
