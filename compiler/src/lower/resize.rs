//! RESIZE_BILINEAR and RESIZE_NEAREST_NEIGHBOR: tap tables made here, in the arithmetic of `compiler/docs/numerics.md`.

use super::constants::element_bytes;
use super::context::Cx;
use super::grain::grain;
use super::movement::{raw, result};
use super::open::{self, Kind, Mode};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind};
use crate::ops::fixed_point::round_away;
use tflc_kir::Elem;
use tflc_templates::cpu::resample::{ResampleSpec, Taps, tap_table};
use tflc_templates::expr::{Binary, Cast, Expr, ExprBuilder, Id, Storage, Ty};

/// Lowers a resize.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (&[batch, ih, iw, channels], &[_, oh, ow, _]) = (&cx.ty(x).shape[..], &ty.shape[..]) else {
        return Err(cx.internal(format!("resize to shape {:?}", ty.shape)));
    };
    let mode = match (node.attrs.bool("align_corners", false), node.attrs.bool("half_pixel_centers", false)) {
        (true, _) => Mode::Corners,
        (_, true) => Mode::HalfPixels,
        _ => Mode::Plain,
    };
    let (kind, taps, expr): (Kind, fn(usize, usize, Mode) -> Taps, Expr) = match (node.op, ty.dtype) {
        (OpKind::ResizeNearestNeighbor, dtype) => {
            let moved = raw(element_bytes(cx, ty)?);
            (Kind::Nearest, nearest, Expr::identity(if dtype == DType::Float32 { Storage::F32 } else { moved }))
        }
        (_, DType::Float32) => (Kind::Linear, bilinear, blend_f32()),
        (_, DType::Int8) => (Kind::Fixed, bilinear_fixed, blend_8_bit(Storage::I8)),
        (_, DType::UInt8) => (Kind::Fixed, bilinear_fixed, blend_8_bit(Storage::U8)),
        (_, DType::Int16) => (Kind::Integer, bilinear_int16, blend_int16()),
        (_, other) => return Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    };
    let pixel = channels * expr.inputs[0].bytes();
    let mut tables = vec![];
    for (axis, i, o, stride) in [(1, ih, oh, iw * pixel), (2, iw, ow, pixel)] {
        tables.push(match open::taps(cx, [x, y], axis, stride, kind, mode)? {
            Some(table) => table,
            None => cx.bytes(tap_table(&taps(i, o, mode), stride)),
        });
    }
    let (rows, columns) = (tables[0], tables[1]);
    let spec = ResampleSpec { batch, input: [ih, iw], output: [oh, ow], channels, expr };
    let args = vec![cx.operand(x)?, rows, columns, cx.operand(y)?];
    let caps = cx.caps().clone();
    let vectors = channels.div_ceil(usize::from(caps.lanes(Elem::F32)));
    let unit_ns = ow as f64 * (3.0 + vectors as f64 * (1 + spec.expr.nodes.len()) as f64 * 0.4);
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, unit_ns));
    Ok(())
}

/// Position of output `o` in the input, and its lower tap, upper tap and fraction. Source: XNNPACK, `src/indirection.c`.
fn position(i: usize, o: usize, count: usize, mode: Mode) -> (usize, usize, f32) {
    let less = if mode == Mode::Corners && count != 1 { 1.0 } else { 0.0 };
    let scale = (i as f32 - less) / (count as f32 - less);
    let last = (i - 1) as f32;
    let p = match mode {
        Mode::HalfPixels => (o as f32 * scale + (0.5 * scale - 0.5)).max(0.0).min(last),
        _ => (o as f32 * scale).min(last),
    };
    let lo = p as usize;
    (lo, (lo + 1).min(i - 1), p - lo as f32)
}

fn bilinear(i: usize, count: usize, mode: Mode) -> Taps {
    (0..count).map(|o| position(i, o, count, mode)).map(|(lo, hi, a)| (lo, hi, a.to_bits())).collect()
}

/// Fractions in 1/2048, half to even.
fn bilinear_fixed(i: usize, count: usize, mode: Mode) -> Taps {
    let fixed = |a: f32| (a * 2048.0).round_ties_even() as i32 as u32;
    (0..count).map(|o| position(i, o, count, mode)).map(|(lo, hi, a)| (lo, hi, fixed(a))).collect()
}

/// Fractions in 1/1024, all in integers. Source: TFLite, `reference/resize_bilinear.h`, ResizeBilinearInteger.
fn bilinear_int16(i: usize, count: usize, mode: Mode) -> Taps {
    let (i, count) = (i as i64, count as i64);
    let scale =
        if mode == Mode::Corners && count > 1 { (1024 * (i - 1) + (count - 1) / 2) / (count - 1) } else { (1024 * i + count / 2) / count };
    (0..count)
        .map(|o| {
            let v = o * scale + if mode == Mode::HalfPixels { scale / 2 - 512 } else { 0 };
            let lo = (v / 1024).max(0);
            let hi = ((v + 1023) / 1024).min(i - 1);
            (lo as usize, hi as usize, (v - 1024 * lo) as i32 as u32)
        })
        .collect()
}

/// The one tap, twice. Source: TFLite, `reference/resize_nearest_neighbor.h`.
fn nearest(i: usize, count: usize, mode: Mode) -> Taps {
    let scale = if mode == Mode::Corners && count > 1 { (i - 1) as f32 / (count - 1) as f32 } else { i as f32 / count as f32 };
    let offset = if mode == Mode::HalfPixels { 0.5 } else { 0.0 };
    (0..count)
        .map(|o| {
            let p = (o as f32 + offset) * scale;
            let at = if mode == Mode::Corners { round_away(p) } else { p.floor() as i32 };
            let at = at.clamp(0, i as i32 - 1) as usize;
            (at, at, 0)
        })
        .collect()
}

/// `l + (r - l) * w`, multiplied and added separately.
fn mix(b: &mut ExprBuilder, l: Id, r: Id, w: Id) -> Id {
    let d = b.sub(r, l);
    let p = b.mul(d, w);
    b.add(l, p)
}

fn blend_f32() -> Expr {
    let mut b = ExprBuilder::new(vec![Storage::F32; 6]);
    let v: Vec<Id> = (0..6).map(|i| b.input(i)).collect();
    let top = mix(&mut b, v[0], v[1], v[4]);
    let bottom = mix(&mut b, v[2], v[3], v[4]);
    let y = mix(&mut b, top, bottom, v[5]);
    b.finish(y, Storage::F32)
}

/// `((t << 11) + (b - t) * Ay + 2^21) >> 22` with `t = (tl << 11) + (tr - tl) * Ax`.
fn blend_8_bit(storage: Storage) -> Expr {
    let mut inputs = vec![storage; 4];
    inputs.extend([Storage::I32; 2]);
    let mut b = ExprBuilder::new(inputs);
    let v: Vec<Id> = (0..6).map(|i| b.input(i)).collect();
    let eleven = b.i32(11);
    let fixed = |b: &mut ExprBuilder, l, r, w| {
        let up = b.binary(Binary::Shl, l, eleven);
        let d = b.sub(r, l);
        let p = b.mul(d, w);
        b.add(up, p)
    };
    let top = fixed(&mut b, v[0], v[1], v[4]);
    let bottom = fixed(&mut b, v[2], v[3], v[4]);
    let y = fixed(&mut b, top, bottom, v[5]);
    let half = b.i32(1 << 21);
    let y = b.add(y, half);
    let shift = b.i32(22);
    let y = b.binary(Binary::Shr, y, shift);
    b.finish(y, storage)
}

/// The four products in 64 bits, divided by 2^20, half away from zero.
fn blend_int16() -> Expr {
    let mut inputs = vec![Storage::I16; 4];
    inputs.extend([Storage::I32; 2]);
    let mut b = ExprBuilder::new(inputs);
    let v: Vec<Id> = (0..6)
        .map(|i| {
            let v = b.input(i);
            b.cast(Cast::Value, Ty::I64, v)
        })
        .collect();
    let one = b.i64(1024);
    let (left, top) = (b.sub(one, v[4]), b.sub(one, v[5]));
    let mut sum = b.i64(0);
    for (i, x, y) in [(0, left, top), (1, v[4], top), (2, left, v[5]), (3, v[4], v[5])] {
        let w = b.mul(x, y);
        let p = b.mul(v[i], w);
        sum = b.add(sum, p);
    }
    // Half away from zero: add a half, less one where negative, and take the floor.
    let (half, sign) = (b.i64(1 << 19), b.i64(63));
    let negative = b.binary(Binary::Shr, sum, sign);
    let y = b.add(sum, half);
    let y = b.add(y, negative);
    let shift = b.i64(20);
    let y = b.binary(Binary::Shr, y, shift);
    let y = b.cast(Cast::Value, Ty::I32, y);
    b.finish(y, Storage::I16)
}
