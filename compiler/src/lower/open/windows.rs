//! Windows over images of open height and width, and resizes of them: how large the result is, and which pixels are read.

use super::extent;
use super::lengths::Lengths;
use super::sources::give;
use crate::error::CompileError;
use crate::ir::{Node, OpKind, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::result;
use crate::lower::pointwise::emit;
use crate::ops::conv_2d::Conv;
use crate::ops::pool_2d::Pool;
use crate::ops::window::Window;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::resample::ENTRY_BYTES;
use tflc_templates::expr::{Binary, Cast, Compare, Expr, ExprBuilder, Id, Storage, Ty, Unary};

/// Which pixels of two sizes lie over which.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::lower) enum Mode {
    /// Centres of the corner pixels coincide.
    Corners,
    /// Centres of pixels lie at halves.
    HalfPixels,
    /// Corners of the images coincide.
    Plain,
}

/// The taps of a resize.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::lower) enum Kind {
    /// One tap.
    Nearest,
    /// Two taps and a fraction.
    Linear,
    /// Two taps and a fraction in 1/2048.
    Fixed,
    /// Two taps and a fraction in 1/1024, all in integers.
    Integer,
}

/// The window of a convolution or a pool.
fn window(cx: &Cx<'_, '_>) -> Result<Window, CompileError> {
    let call = cx.as_call()?;
    Ok(match Conv::new(&call) {
        Ok(conv) if call.inputs.len() > 1 => conv.window,
        _ => Pool::new(&call)?.window,
    })
}

/// Gives the height and width of the result of a window, where they are of its own.
pub(super) fn slide(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, _) = result(cx, node, 0)?;
    let w = window(cx)?;
    let mut l = Lengths::default();
    for d in 0..2 {
        let (from, to) = (extent(cx, x, d + 1)?, extent(cx, y, d + 1)?);
        if from.is_none() || from == to {
            continue;
        }
        let n = l.axis(cx, x, d + 1)?;
        // With a border a window begins at every so many-th pixel; without one it has to fit at least once.
        let same = node.attrs.name("padding", "SAME") == "SAME";
        let reach = l.number(if same { 1 } else { w.reach(d) });
        let stride = l.number(w.stride[d]);
        let rest = l.sub(n, reach);
        l.check_size(rest, n);
        let sum = l.add(rest, stride);
        let length = l.div(sum, stride);
        give(cx, &mut l, y, d + 1, length)?;
    }
    l.call(cx);
    Ok(())
}

/// Height and width of images, and the border above and to the left, in memory, where sizes are known only at run time.
pub(in crate::lower) fn measured(cx: &mut Cx<'_, '_>, node: &Node, x: TensorId, w: &Window) -> Result<Option<Operand>, CompileError> {
    if extent(cx, x, 1)?.is_none() && extent(cx, x, 2)?.is_none() {
        return Ok(None);
    }
    let sizes = cx.workspace(32);
    let same = node.attrs.name("padding", "SAME") == "SAME";
    let mut l = Lengths::default();
    for d in 0..2 {
        let (n, zero, one) = (l.axis(cx, x, d + 1)?, l.number(0), l.number(1));
        let (stride, reach, two) = (l.number(w.stride[d]), l.number(w.kernel[d]), l.number(2));
        let fewer = l.sub(n, one);
        let last = l.div(fewer, stride);
        let last = l.mul(last, stride);
        let needed = l.add(last, reach);
        let total = l.sub(needed, n);
        let total = l.max(total, zero);
        let before = l.div(total, two);
        l.store(n, sizes, d);
        l.store(if same { before } else { zero }, sizes, 2 + d);
    }
    l.call(cx);
    Ok(Some(sizes))
}

/// Gives the height and width of an image of which blocks become pixels, or pixels blocks.
pub(super) fn blocks(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, _) = result(cx, node, 0)?;
    let mut l = Lengths::default();
    let block = l.number(usize::try_from(node.attrs.int("block_size", 1)).unwrap_or(1));
    for axis in 1..3 {
        if extent(cx, x, axis)?.is_none() {
            continue;
        }
        let n = l.axis(cx, x, axis)?;
        let length = if node.op == OpKind::DepthToSpace {
            l.mul(n, block)
        } else {
            let length = l.div(n, block);
            let whole = l.mul(length, block);
            let fits = l.equal(whole, n);
            l.check(fits);
            length
        };
        give(cx, &mut l, y, axis, length)?;
    }
    l.call(cx);
    Ok(())
}

/// Gives the height and width of a resized image, and makes sure that there are pixels on both sides.
pub(super) fn resized(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, size) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, _) = result(cx, node, 0)?;
    let mut l = Lengths::default();
    let zero = l.number(0);
    for axis in 1..3 {
        let mut lengths = vec![l.axis(cx, x, axis)?];
        if extent(cx, y, axis)?.is_some() {
            let length = l.element(cx, size, axis - 1)?;
            give(cx, &mut l, y, axis, length)?;
            lengths.push(length);
        }
        for n in lengths {
            if l.known(n).is_none() {
                let some = l.less(zero, n);
                l.check(some);
            }
        }
    }
    l.call(cx);
    Ok(())
}

/// The table of taps of an axis of a resize, where a size is known only at run time; `stride` is the distance of neighbouring pixels of the operand in bytes.
pub(in crate::lower) fn taps(
    cx: &mut Cx<'_, '_>,
    [x, y]: [TensorId; 2],
    axis: usize,
    stride: usize,
    kind: Kind,
    mode: Mode,
) -> Result<Option<Operand>, CompileError> {
    let sizes = [extent(cx, x, axis)?, extent(cx, y, axis)?];
    if sizes == [None, None] {
        return Ok(None);
    }
    let mut lengths = vec![];
    for (t, size) in [x, y].into_iter().zip(sizes) {
        let n = cx.ty(t).shape[axis] as u64;
        lengths.push(size.unwrap_or_else(|| cx.bytes(n.to_le_bytes().to_vec())));
    }
    let count = cx.ty(y).shape[axis];
    let positions = cx.bytes((0..count as i32).flat_map(i32::to_le_bytes).collect());
    let table = cx.workspace(count * ENTRY_BYTES);
    let inputs = |at: usize, bytes: usize| {
        let strides = vec![vec![1], vec![0], vec![0]];
        (table.offset(at), strides, vec![(ENTRY_BYTES / bytes) as i64])
    };
    for (part, at) in [(Part::Low, 0), (Part::High, 8), (Part::Fraction, 16)] {
        let expr = Tap { kind, mode, stride }.expr(part);
        let (to, strides, out) = inputs(at, expr.output.bytes());
        emit(cx, PointwiseSpec::new(&[count], strides, out, expr), vec![positions, lengths[0], lengths[1], to]);
    }
    Ok(Some(table))
}

/// A part of an entry of the table.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Low,
    High,
    Fraction,
}

struct Tap {
    kind: Kind,
    mode: Mode,
    stride: usize,
}

impl Tap {
    /// A part of the entry by the position in the result, the operand's size and the result's; the arithmetic of the tables that are made when compiling.
    fn expr(&self, part: Part) -> Expr {
        let mut b = ExprBuilder::new([Storage::I32, Storage::I64, Storage::I64]);
        let (o, i, n) = (b.input(0), b.input(1), b.input(2));
        let one = b.i32(1);
        // Sizes below one are an error that has been seen, and lead to the first pixel.
        let [i, n] = [i, n].map(|v| {
            let v = b.cast(Cast::Value, Ty::I32, v);
            b.max(v, one)
        });
        let (low, high, fraction) = match self.kind {
            Kind::Nearest => self.nearest(&mut b, [o, i, n]),
            Kind::Integer => self.integer(&mut b, [o, i, n]),
            _ => self.linear(&mut b, [o, i, n]),
        };
        let (zero, last) = (b.i32(0), b.sub(i, one));
        let value = match part {
            Part::Fraction if self.kind == Kind::Linear => return b.finish(fraction, Storage::F32),
            Part::Fraction => return b.finish(fraction, Storage::I32),
            Part::Low => low,
            Part::High => high,
        };
        let value = b.max(value, zero);
        let value = b.min(value, last);
        let value = b.cast(Cast::Value, Ty::I64, value);
        let stride = b.i64(self.stride as i64);
        let value = b.mul(value, stride);
        b.finish(value, Storage::I64)
    }

    /// `x` where corners coincide and there are several pixels, else `y`.
    fn corners(&self, b: &mut ExprBuilder, n: Id, x: Id, y: Id) -> Id {
        if self.mode != Mode::Corners {
            return y;
        }
        let one = b.i32(1);
        let several = b.compare(Compare::Lt, one, n);
        b.select(several, x, y)
    }

    fn linear(&self, b: &mut ExprBuilder, [o, i, n]: [Id; 3]) -> (Id, Id, Id) {
        let one = b.i32(1);
        let (fewer, less) = (b.sub(i, one), b.sub(n, one));
        let (top, bottom) = (self.corners(b, n, fewer, i), self.corners(b, n, less, n));
        let [p, top, bottom, last] = [o, top, bottom, fewer].map(|v| b.cast(Cast::Value, Ty::F32, v));
        let scale = b.binary(Binary::Div, top, bottom);
        let mut p = b.mul(p, scale);
        if self.mode == Mode::HalfPixels {
            let (half, zero) = (b.f32(0.5), b.f32(0.0));
            let offset = b.mul(half, scale);
            let offset = b.sub(offset, half);
            p = b.add(p, offset);
            p = b.max(p, zero);
        }
        let p = b.min(p, last);
        let low = b.cast(Cast::Value, Ty::I32, p);
        let high = b.add(low, one);
        let whole = b.cast(Cast::Value, Ty::F32, low);
        let mut fraction = b.sub(p, whole);
        if self.kind == Kind::Fixed {
            let scale = b.f32(2048.0);
            fraction = b.mul(fraction, scale);
            fraction = b.cast(Cast::RoundEven, Ty::I32, fraction);
        }
        (low, high, fraction)
    }

    fn integer(&self, b: &mut ExprBuilder, [o, i, n]: [Id; 3]) -> (Id, Id, Id) {
        let [o, i, n] = [o, i, n].map(|v| b.cast(Cast::Value, Ty::I64, v));
        let (one, two, unit) = (b.i64(1), b.i64(2), b.i64(1024));
        let rounded = |b: &mut ExprBuilder, x: Id, y: Id| {
            let (sum, half) = (b.mul(x, unit), b.binary(Binary::Div, y, two));
            let sum = b.add(sum, half);
            let y = b.max(y, one);
            b.binary(Binary::Div, sum, y)
        };
        let mut scale = rounded(b, i, n);
        if self.mode == Mode::Corners {
            let (fewer, less) = (b.sub(i, one), b.sub(n, one));
            let other = rounded(b, fewer, less);
            let several = b.compare(Compare::Lt, one, n);
            scale = b.select(several, other, scale);
        }
        let mut v = b.mul(o, scale);
        if self.mode == Mode::HalfPixels {
            let (half, middle) = (b.binary(Binary::Div, scale, two), b.i64(512));
            v = b.add(v, half);
            v = b.sub(v, middle);
        }
        let (zero, up) = (b.i64(0), b.i64(1023));
        let low = b.binary(Binary::Div, v, unit);
        let low = b.max(low, zero);
        let above = b.add(v, up);
        let high = b.binary(Binary::Div, above, unit);
        let whole = b.mul(low, unit);
        let fraction = b.sub(v, whole);
        let [low, high, fraction] = [low, high, fraction].map(|v| b.cast(Cast::Value, Ty::I32, v));
        (low, high, fraction)
    }

    fn nearest(&self, b: &mut ExprBuilder, [o, i, n]: [Id; 3]) -> (Id, Id, Id) {
        let one = b.i32(1);
        let (fewer, less) = (b.sub(i, one), b.sub(n, one));
        let (top, bottom) = (self.corners(b, n, fewer, i), self.corners(b, n, less, n));
        let [mut p, top, bottom] = [o, top, bottom].map(|v| b.cast(Cast::Value, Ty::F32, v));
        let scale = b.binary(Binary::Div, top, bottom);
        let half = b.f32(0.5);
        if self.mode == Mode::HalfPixels {
            p = b.add(p, half);
        }
        let p = b.mul(p, scale);
        let mut whole = b.unary(Unary::Floor, p);
        if self.mode == Mode::Corners {
            let (rest, unit) = (b.sub(p, whole), b.f32(1.0));
            let (up, above) = (b.compare(Compare::Le, half, rest), b.add(whole, unit));
            whole = b.select(up, above, whole);
        }
        let at = b.cast(Cast::Value, Ty::I32, whole);
        let none = b.i32(0);
        (at, at, none)
    }
}

/// Whether zeros belong behind the extents of an image that a window reads: where it reaches beyond them, and where dynamic quantisation looks at all of it.
pub(super) fn border_axes(cx: &Cx<'_, '_>, node: &Node, x: TensorId) -> Vec<bool> {
    let shape = &cx.ty(x).shape;
    let hybrid = node.inputs.get(1).copied().flatten().is_some_and(|w| cx.ty(x).dtype != cx.ty(w).dtype);
    let reaches = hybrid || node.attrs.name("padding", "SAME") != "VALID";
    (0..shape.len()).map(|d| reaches && (d == 1 || d == 2)).collect()
}
