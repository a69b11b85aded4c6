//! PAD, PADV2, MIRROR_PAD, TILE, BROADCAST_TO, FILL, ZEROS_LIKE: results larger than their operand.

use super::constants::{element_bytes, operand_ints};
use super::context::{Cx, Operand};
use super::movement::{Part, copy_strided, fill, raw, result};
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{Node, OpKind, TensorType};
use tflc_templates::cpu::pointwise::{PointwiseSpec, Strides, broadcast, row_major};
use tflc_templates::expr::Expr;

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::Pad | OpKind::Padv2 => pad(cx, node),
        OpKind::MirrorPad => mirror_pad(cx, node),
        OpKind::Tile => tile(cx, node),
        OpKind::BroadcastTo => broadcast_to(cx, node),
        OpKind::Fill => fill_value(cx, node),
        _ => zeros(cx, node),
    }
}

/// What a padding writes.
pub(super) enum Value {
    /// Bits of an element.
    Bits(u64),
    /// One element at an address.
    At(Operand),
}

/// The stored value that stands for zero: the zero point of a quantised type.
pub(super) fn zero_bits(ty: &TensorType) -> u64 {
    let zero = ty.quant.per_tensor().map_or(0, |(_, z)| z);
    if ty.dtype.int_range().is_some() { zero as u64 } else { 0 }
}

/// Elements in front of and behind each dimension, from the operand `i` of shape `[rank, 2]`.
pub(super) fn paddings(cx: &Cx<'_, '_>, node: &Node, i: usize, rank: usize) -> Result<Vec<(usize, usize)>, CompileError> {
    let flat = operand_ints(cx, node, i, "paddings")?;
    let pairs: Vec<(usize, usize)> = flat.as_chunks::<2>().0.iter().map(|p| (p[0].max(0) as usize, p[1].max(0) as usize)).collect();
    if pairs.len() == rank { Ok(pairs) } else { Err(cx.internal(format!("paddings {flat:?} of {rank} dimensions"))) }
}

fn pad(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let shape = &cx.ty(x).shape;
    let paddings = paddings(cx, node, 1, shape.len())?;
    let bytes = element_bytes(cx, ty)?;
    let value = match cx.optional_input(node, 2).filter(|_| node.op == OpKind::Padv2) {
        None => Value::Bits(zero_bits(ty)),
        Some(t) => match cx.constant(t) {
            Some(data) if bytes <= 8 && data.len() >= bytes => {
                let mut bits = [0; 8];
                bits[..bytes].copy_from_slice(&data[..bytes]);
                Value::Bits(u64::from_le_bytes(bits))
            }
            _ => Value::At(cx.operand(t)?),
        },
    };
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    pad_into(cx, shape, &paddings, from, to, bytes, &value);
    Ok(())
}

/// Below this size the whole result is filled first: one call instead of one for each side.
const SMALL_BYTES: usize = 4096;

/// Copies a dense tensor into the middle of a larger one and fills the border.
pub(super) fn pad_into(
    cx: &mut Cx<'_, '_>,
    shape: &[usize],
    paddings: &[(usize, usize)],
    from: Operand,
    to: Operand,
    bytes: usize,
    value: &Value,
) {
    let outer: Vec<usize> = shape.iter().zip(paddings).map(|(n, p)| n + p.0 + p.1).collect();
    let strides = row_major(&outer);
    let place = |start: &[usize]| -> i64 { start.iter().zip(&strides).map(|(&i, s)| i as i64 * s).sum() };
    let first: Vec<usize> = paddings.iter().map(|p| p.0).collect();
    let border = paddings.iter().any(|p| *p != (0, 0));
    if border && outer.iter().product::<usize>() * bytes <= SMALL_BYTES {
        fill_with(cx, &outer, Part::dense(to, &outer), bytes, value);
    } else if border {
        // Slabs in front of and behind each dimension: outer dimensions without their borders, inner ones whole.
        for d in 0..shape.len() {
            let mut dims: Vec<usize> = shape[..d].iter().chain(&outer[d..]).copied().collect();
            let mut start: Vec<usize> = first[..d].iter().copied().chain(std::iter::repeat_n(0, shape.len() - d)).collect();
            for (size, at) in [(paddings[d].0, 0), (paddings[d].1, paddings[d].0 + shape[d])] {
                (dims[d], start[d]) = (size, at);
                let part = Part { base: to, offset: place(&start), strides: strides.clone() };
                fill_with(cx, &dims, part, bytes, value);
            }
        }
    }
    let middle = Part { base: to, offset: place(&first), strides: strides.clone() };
    copy_strided(cx, shape, Part::dense(from, shape), middle, bytes);
}

fn fill_with(cx: &mut Cx<'_, '_>, dims: &[usize], to: Part, bytes: usize, value: &Value) {
    if dims.contains(&0) {
        return;
    }
    match value {
        Value::Bits(bits) => fill(cx, dims, to, bytes, *bits),
        Value::At(v) => copy_strided(cx, dims, Part { base: *v, offset: 0, strides: vec![0; dims.len()] }, to, bytes),
    }
}

/// One copy for each combination of border and interior over the dimensions; borders run backwards.
fn mirror_pad(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let shape = &cx.ty(x).shape;
    let paddings = paddings(cx, node, 1, shape.len())?;
    let skip = if node.attrs.name("mode", "REFLECT") == "SYMMETRIC" { 0 } else { 1 };
    let bytes = element_bytes(cx, ty)?;
    let (own, outer) = (row_major(shape), row_major(&ty.shape));
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    // Size, first input index, input direction and first output index of each part of each dimension.
    let parts: Vec<Vec<(usize, i64, i64, i64)>> = shape
        .iter()
        .zip(&paddings)
        .map(|(&n, &(before, after))| {
            let n = n as i64;
            let before_part = (before, before as i64 - 1 + skip, -1, 0);
            let after_part = (after, n - 1 - skip, -1, before as i64 + n);
            [before_part, (n as usize, 0, 1, before as i64), after_part].into_iter().filter(|p| p.0 > 0).collect()
        })
        .collect();
    for (d, dim) in parts.iter().enumerate() {
        let n = shape[d] as i64;
        if dim.iter().any(|p| p.1 < 0 || p.1 >= n || p.1 + p.2 * (p.0 as i64 - 1) < 0) {
            return Err(cx.internal(format!("mirror padding of dimension {d} reaches beyond its {n} elements")));
        }
    }
    let mut choice = vec![0; shape.len()];
    loop {
        let picked: Vec<_> = parts.iter().zip(&choice).map(|(p, &c)| p[c]).collect();
        let dims: Vec<usize> = picked.iter().map(|p| p.0).collect();
        let sum = |f: &dyn Fn(&(usize, i64, i64, i64)) -> i64, s: &Strides| picked.iter().zip(s).map(|(p, s)| f(p) * s).sum::<i64>();
        let source = Part { base: from, offset: sum(&|p| p.1, &own), strides: picked.iter().zip(&own).map(|(p, s)| p.2 * s).collect() };
        let target = Part { base: to, offset: sum(&|p| p.3, &outer), strides: outer.clone() };
        copy_strided(cx, &dims, source, target, bytes);
        let Some(d) = (0..choice.len()).rev().find(|&d| choice[d] + 1 < parts[d].len()) else { return Ok(()) };
        choice[d] += 1;
        choice[d + 1..].fill(0);
    }
}

fn tile(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let shape = &cx.ty(x).shape;
    let bytes = element_bytes(cx, ty)?;
    let (own, outer) = (row_major(shape), row_major(&ty.shape));
    let (mut dims, mut from, mut to) = (vec![], vec![], vec![]);
    for d in 0..shape.len() {
        let times = ty.shape[d].checked_div(shape[d]).unwrap_or(0);
        dims.extend([times, shape[d]]);
        from.extend([0, own[d]]);
        to.extend([shape[d] as i64 * outer[d], outer[d]]);
    }
    let from = Part { base: cx.operand(x)?, offset: 0, strides: from };
    let to = Part { base: cx.operand(y)?, offset: 0, strides: to };
    copy_strided(cx, &dims, from, to, bytes);
    Ok(())
}

fn broadcast_to(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    let from = Part { base: cx.operand(x)?, offset: 0, strides: broadcast(&cx.ty(x).shape, &ty.shape) };
    let to = Part::dense(cx.operand(y)?, &ty.shape);
    copy_strided(cx, &ty.shape, from, to, bytes);
    Ok(())
}

/// FILL: operand 1 in every element.
fn fill_value(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 1)?;
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    if bytes > 8 {
        return Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string())));
    }
    let args = vec![cx.operand(x)?, cx.operand(y)?];
    let n = [ty.elements()];
    emit(cx, PointwiseSpec::new(&n, vec![vec![0]], vec![1], Expr::identity(raw(bytes))), args);
    Ok(())
}

fn zeros(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let to = Part::dense(cx.operand(y)?, &[ty.bytes()]);
    if ty.bytes() > 0 {
        fill(cx, &[ty.bytes()], to, 1, 0);
    }
    Ok(())
}
