//! SLICE, STRIDED_SLICE, REVERSE_V2 and DYNAMIC_UPDATE_SLICE: parts of a tensor by start and stride.

use super::constants::{axis, element_bytes, operand_ints};
use super::context::{Cx, Operand};
use super::gather::wide_index;
use super::grain::grain;
use super::movement::{Part, copy, copy_strided, fill, result};
use super::pointwise::emit;
use crate::error::CompileError;
use crate::ir::{Node, OpKind};
use crate::ops::strided_slice::{Range, picks};
use tflc_templates::cpu::pointwise::{PointwiseSpec, Strides, row_major};
use tflc_templates::cpu::window_copy::WindowCopySpec;
use tflc_templates::expr::{Compare, ExprBuilder, Storage};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::Slice => slice(cx, node),
        OpKind::StridedSlice => strided_slice(cx, node),
        OpKind::ReverseV2 => reverse(cx, node),
        _ => update_slice(cx, node),
    }
}

/// Copies the part of operand 0 that starts at element `offset` and has these strides to the result.
fn take(cx: &mut Cx<'_, '_>, node: &Node, offset: i64, strides: Strides) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    if strides.len() != ty.shape.len() {
        return Err(cx.internal(format!("{} strides for shape {:?}", strides.len(), ty.shape)));
    }
    check_inside(cx, cx.ty(x).elements(), offset, &ty.shape, &strides)?;
    let bytes = element_bytes(cx, ty)?;
    let from = Part { base: cx.operand(x)?, offset, strides };
    let to = Part::dense(cx.operand(y)?, &ty.shape);
    copy_strided(cx, &ty.shape, from, to, bytes);
    Ok(())
}

/// Shape inference has made sure of this; generated code must not depend on it alone.
fn check_inside(cx: &Cx<'_, '_>, elements: usize, offset: i64, dims: &[usize], strides: &[i64]) -> Result<(), CompileError> {
    if dims.contains(&0) {
        return Ok(());
    }
    let reach = |sign: i64| -> i64 { dims.iter().zip(strides).map(|(&n, &s)| (s * sign).max(0) * sign * (n as i64 - 1)).sum() };
    let (lo, hi) = (offset + reach(-1), offset + reach(1));
    if lo < 0 || hi >= elements as i64 { Err(cx.internal(format!("elements {lo} to {hi} of {elements}"))) } else { Ok(()) }
}

fn slice(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let start = cx.input(node, 1)?;
    let shape = &cx.ty(x).shape;
    if cx.constant(start).is_none() {
        let (y, ty) = result(cx, node, 0)?;
        let (bytes, wide) = (element_bytes(cx, ty)?, wide_index(cx, start)?);
        let args = [cx.operand(x)?, cx.operand(start)?, cx.operand(y)?];
        return window_copy(cx, shape, &ty.shape, args, (bytes, wide), Window::Read);
    }
    let begin = operand_ints(cx, node, 1, "begin")?;
    let strides = row_major(shape);
    let offset = begin.iter().zip(&strides).map(|(b, s)| b * s).sum();
    take(cx, node, offset, strides)
}

/// What is done with a window whose start is computed at run time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Window {
    /// Copied out; a start that does not fit is an error.
    Read,
    /// Replaced; starts are clamped.
    Write,
}

/// Copies the first of `args` to the last, one of them a window (of shape `part`) that starts at the second. Elements have so many bytes, and starts are
/// 64 bits wide or 32.
fn window_copy(
    cx: &mut Cx<'_, '_>,
    shape: &[usize],
    part: &[usize],
    args: [Operand; 3],
    (element_bytes, wide_index): (usize, bool),
    window: Window,
) -> Result<(), CompileError> {
    let fits = shape.len() == part.len() && !shape.is_empty() && part.iter().zip(shape).all(|(w, n)| w <= n);
    if !fits {
        return Err(cx.internal(format!("window {part:?} of {shape:?}")));
    }
    if part.contains(&0) {
        return Ok(());
    }
    let write = window == Window::Write;
    let spec = WindowCopySpec { shape: shape.to_vec(), window: part.to_vec(), element_bytes, write, clamp: write, wide_index };
    let caps = cx.caps().clone();
    let units = spec.units();
    let unit_ns = 5.0 + part[1..].iter().product::<usize>() as f64 * element_bytes as f64 * 0.1;
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args.to_vec(), units, grain(units, unit_ns));
    Ok(())
}

/// Start and stride of each dimension that remains. The masks' bits count the entries of begin, end and strides.
/// Source: TFLite, `kernels/internal/strided_slice_logic.h` and `kernels/strided_slice.cc`.
fn strided_slice(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    if [1, 2].iter().any(|i| cx.input(node, *i).is_ok_and(|t| cx.constant(t).is_none())) {
        return picked(cx, node);
    }
    let shape = &cx.ty(x).shape;
    let own = row_major(shape);
    let begin = operand_ints(cx, node, 1, "begin")?;
    let step = operand_ints(cx, node, 3, "strides")?;
    let mask = |name: &str, i: usize| i < 63 && node.attrs.int(name, 0) >> i & 1 != 0;
    let entries = begin.len();
    let new_axes = (0..entries).filter(|&i| mask("new_axis_mask", i) && !mask("ellipsis_mask", i)).count();
    let named = entries - new_axes - (0..entries).filter(|&i| mask("ellipsis_mask", i)).count();
    let mut offset = 0;
    let mut strides = vec![];
    let mut d = 0;
    for i in 0..entries {
        if mask("ellipsis_mask", i) {
            let skipped = shape.len().saturating_sub(named);
            strides.extend(own.iter().skip(d).take(skipped));
            d += skipped;
            continue;
        }
        if mask("new_axis_mask", i) {
            strides.push(0);
            continue;
        }
        let (Some(&n), Some(&by)) = (shape.get(d), step.get(i)) else {
            return Err(cx.internal(format!("entry {i} of begin has no dimension")));
        };
        let n = n as i64;
        let shrink = mask("shrink_axis_mask", i);
        let mut start = begin[i];
        if start < 0 {
            start += n;
        }
        // The first index is clamped to the dimension; a mask replaces that of a shrunk axis too.
        start = match (mask("begin_mask", i), by > 0) {
            (true, true) => 0,
            (true, false) => n - 1,
            (false, true) => start.clamp(0, n),
            (false, false) => start.clamp(-1, n - 1),
        };
        offset += start * own[d];
        if !shrink {
            strides.push(by * own[d]);
        }
        d += 1;
    }
    strides.extend(&own[d.min(own.len())..]);
    take(cx, node, offset, strides)
}

/// A slice of indices known only at run time, which drop their axes, and of other axes as they are.
fn picked(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, begin) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, _) = result(cx, node, 0)?;
    let shape = cx.ty(x).shape.clone();
    let wide = wide_index(cx, begin)?;
    let (storage, bytes) = if wide { (Storage::I64, 8) } else { (Storage::I32, 4) };
    let starts = cx.workspace(shape.len() * bytes);
    fill(cx, &[shape.len()], Part::dense(starts, &[shape.len()]), bytes, 0);
    let begin = cx.operand(begin)?;
    let mut part = shape.clone();
    for pick in picks(&cx.as_call()?)? {
        let Range::Index { axis, entry } = pick else { continue };
        part[axis] = 1;
        // Negative indices count from the end.
        let mut b = ExprBuilder::new([storage]);
        let v = b.input(0);
        let (zero, n) = match wide {
            true => (b.i64(0), b.i64(shape[axis] as i64)),
            false => (b.i32(0), b.i32(i32::try_from(shape[axis]).unwrap_or(i32::MAX))),
        };
        let below = b.compare(Compare::Lt, v, zero);
        let wrapped = b.add(v, n);
        let v = b.select(below, wrapped, v);
        let spec = PointwiseSpec::new(&[1], vec![vec![0]], vec![1], b.finish(v, storage));
        emit(cx, spec, vec![begin.offset(entry * bytes), starts.offset(axis * bytes)]);
    }
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    let bytes = element_bytes(cx, cx.ty(y))?;
    window_copy(cx, &shape, &part, [from, starts, to], (bytes, wide), Window::Read)
}

fn reverse(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let shape = &cx.ty(cx.input(node, 0)?).shape;
    let mut strides = row_major(shape);
    let mut offset = 0;
    for a in operand_ints(cx, node, 1, "axis")? {
        let a = axis(cx, a, shape.len())?;
        offset += (shape[a] as i64 - 1) * strides[a].abs();
        strides[a] = -strides[a].abs();
    }
    take(cx, node, offset, strides)
}

/// The operand with a part replaced by the update; the start is clamped so that the part lies inside.
fn update_slice(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, update) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let start_at = cx.input(node, 2)?;
    if cx.constant(start_at).is_none() {
        let (y, ty) = result(cx, node, 0)?;
        let (from, to) = (cx.operand(x)?, cx.operand(y)?);
        copy(cx, from, to, ty.bytes());
        let (bytes, wide) = (element_bytes(cx, ty)?, wide_index(cx, start_at)?);
        let args = [cx.operand(update)?, cx.operand(start_at)?, to];
        return window_copy(cx, &ty.shape, &cx.ty(update).shape, args, (bytes, wide), Window::Write);
    }
    let start = operand_ints(cx, node, 2, "start_indices")?;
    let (y, ty) = result(cx, node, 0)?;
    let part = &cx.ty(update).shape;
    let bytes = element_bytes(cx, ty)?;
    let strides = row_major(&ty.shape);
    let mut offset = 0;
    for (d, s) in start.iter().enumerate() {
        let last = ty.shape[d].saturating_sub(part[d]) as i64;
        offset += (*s).clamp(0, last) * strides[d];
    }
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    copy(cx, from, to, ty.bytes());
    let from = Part::dense(cx.operand(update)?, part);
    copy_strided(cx, part, from, Part { base: to, offset, strides }, bytes);
    Ok(())
}
