//! Elements that go to places which depend on extents: slices, repetitions, reversals, parts one behind the other, and other shapes.

use super::lengths::{Length, Lengths, Term, Walk, walk};
use super::sources::give;
use super::{brings, extent};
use crate::error::{CompileError, Unsupported};
use crate::ir::{Node, TensorId};
use crate::lower::constants::{axis, element_bytes, operand_ints};
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::{Part, copy, copy_strided, result};
use crate::lower::view::keeps_places;
use crate::ops::strided_slice::{Range, ranges};
use tflc_templates::cpu::pointwise::row_major;

/// Steps of the elements of a tensor where its bound says.
pub(super) fn steps(cx: &Cx<'_, '_>, t: TensorId) -> Vec<usize> {
    row_major(&cx.ty(t).shape).into_iter().map(|s| s as usize).collect()
}

/// Steps of the elements of a tensor of these lengths without gaps.
fn dense(l: &mut Lengths, lengths: &[Length]) -> Vec<Term> {
    let mut at = (l.number(1), 1);
    let mut all = vec![];
    for length in lengths.iter().rev() {
        all.push(at);
        match l.known(*length).and_then(|n| usize::try_from(n).ok()) {
            Some(n) => at.1 *= n,
            None => at.0 = l.mul(at.0, *length),
        }
    }
    all.reverse();
    all
}

/// A copy of a tensor in a workspace, its elements at run time one behind the other.
pub(super) fn packed(cx: &mut Cx<'_, '_>, l: Lengths, t: TensorId) -> Result<Operand, CompileError> {
    let to = cx.workspace(cx.ty(t).bytes());
    pack(cx, l, t, to)?;
    Ok(to)
}

/// Copies the elements of a tensor one behind the other.
pub(super) fn pack(cx: &mut Cx<'_, '_>, mut l: Lengths, t: TensorId, to: Operand) -> Result<(), CompileError> {
    let lengths = l.axes(cx, t)?;
    let (writes, reads, one) = (dense(&mut l, &lengths), steps(cx, t), l.number(1));
    let dims = lengths.into_iter().zip(reads).zip(writes).map(|((count, read), write)| Walk { count, read: (one, read), write });
    let (from, bytes) = (cx.operand(t)?, element_bytes(cx, cx.ty(t))?);
    walk(cx, l, dims.collect(), [vec![], vec![]], [from, to], bytes);
    Ok(())
}

/// The same elements under another shape: where they do not stay where they are, through a copy without gaps.
pub(super) fn reshape(cx: &mut Cx<'_, '_>, node: &Node) -> Result<bool, CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    if keeps_places(cx.graph, x, y) {
        return Ok(false);
    }
    let mut l = Lengths::default();
    let given = l.axes(cx, x)?;
    let total = l.product(&given);
    // Dimensions that are written down; the one that is not takes what remains.
    let written: Vec<Option<Length>> = match cx.optional_input(node, 1) {
        Some(t) if cx.constant(t).is_none() => (0..ty.shape.len()).map(|d| l.element(cx, t, d).map(Some)).collect::<Result<_, _>>()?,
        Some(_) => operand_ints(cx, node, 1, "shape")?.into_iter().map(|v| (v >= 0).then(|| l.signed(v))).collect(),
        None => match node.attrs.get("new_shape") {
            Some(crate::ir::AttrValue::Ints(v)) => v.iter().map(|v| (*v >= 0).then(|| l.signed(*v))).collect(),
            _ => vec![],
        },
    };
    if written.len() != ty.shape.len() {
        return Err(cx.unsupported(Unsupported::DynamicShape));
    }
    let (zero, one, minus) = (l.number(0), l.number(1), l.signed(-1));
    // At run time one of them may be -1.
    let named: Vec<Length> = written
        .iter()
        .map(|w| match w {
            Some(v) if l.known(*v).is_some() => *v,
            Some(v) => {
                let rest = l.less(*v, zero);
                l.choose(rest, one, *v)
            }
            None => one,
        })
        .collect();
    let product = l.product(&named);
    let rest = l.div(total, product);
    let mut lengths = vec![];
    for (d, w) in written.into_iter().enumerate() {
        let length = match w {
            Some(v) if l.known(v).is_some() => v,
            Some(v) => {
                let open = l.equal(v, minus);
                l.choose(open, rest, v)
            }
            None => rest,
        };
        give(cx, &mut l, y, d, length)?;
        lengths.push(length);
    }
    let all = l.product(&lengths);
    let same = l.equal(all, total);
    l.check(same);
    let dense_x = packed(cx, l, x)?;
    // Lengths of the result have been checked and stored.
    let mut l = Lengths::default();
    let lengths = l.axes(cx, y)?;
    let (reads, writes, one) = (dense(&mut l, &lengths), steps(cx, y), l.number(1));
    let dims = lengths.into_iter().zip(reads).zip(writes).map(|((count, read), write)| Walk { count, read, write: (one, write) });
    let (to, bytes) = (cx.operand(y)?, element_bytes(cx, ty)?);
    walk(cx, l, dims.collect(), [vec![], vec![]], [dense_x, to], bytes);
    Ok(true)
}

/// A box from a begin, as large as sizes say; -1 means up to the end.
pub(super) fn slice(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, begins, sizes) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?);
    let (y, ty) = result(cx, node, 0)?;
    let (reads, writes) = (steps(cx, x), steps(cx, y));
    let mut l = Lengths::default();
    let one = l.number(1);
    let (mut dims, mut start) = (vec![], vec![]);
    for d in 0..ty.shape.len() {
        let (n, begin, size) = (l.axis(cx, x, d)?, l.element(cx, begins, d)?, l.element(cx, sizes, d)?);
        let (room, minus) = (l.sub(n, begin), l.signed(-1));
        let count = match l.known(size) {
            Some(-1) => room,
            Some(_) => size,
            None => {
                let open = l.equal(size, minus);
                l.choose(open, room, size)
            }
        };
        l.check_size(begin, n);
        l.check_size(count, room);
        give(cx, &mut l, y, d, count)?;
        dims.push(Walk { count, read: (one, reads[d]), write: (one, writes[d]) });
        start.push((begin, reads[d]));
    }
    let (ends, bytes) = ([cx.operand(x)?, cx.operand(y)?], element_bytes(cx, ty)?);
    walk(cx, l, dims, [start, vec![]], ends, bytes);
    Ok(())
}

/// Every stride-th element between begins and ends, which are clamped to the axis.
pub(super) fn strided_slice(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, begins, ends) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?);
    let (y, ty) = result(cx, node, 0)?;
    let (reads, writes) = (steps(cx, x), steps(cx, y));
    let mut l = Lengths::default();
    let (zero, one) = (l.number(0), l.number(1));
    let (mut dims, mut start, mut at) = (vec![], vec![], 0);
    for range in ranges(&cx.as_call()?)? {
        match range {
            Range::New => at += 1,
            Range::Whole(axis) => {
                let count = l.axis(cx, x, axis)?;
                give(cx, &mut l, y, at, count)?;
                dims.push(Walk { count, read: (one, reads[axis]), write: (one, writes[at]) });
                at += 1;
            }
            Range::Index { axis, entry } => {
                let (n, index) = (l.axis(cx, x, axis)?, l.element(cx, begins, entry)?);
                let index = from_end(&mut l, index, n);
                let last = l.sub(n, one);
                l.check_size(index, last);
                start.push((index, reads[axis]));
            }
            Range::Part(part) => {
                let n = l.axis(cx, x, part.axis)?;
                let (begin, end) = (l.element(cx, begins, part.entry)?, l.element(cx, ends, part.entry)?);
                let (last, stride, minus) = (l.sub(n, one), l.number(part.stride.unsigned_abs() as usize), l.signed(-1));
                let forward = part.stride > 0;
                let (low, high) = if forward { (zero, n) } else { (minus, last) };
                let clamp = |l: &mut Lengths, v: Length| {
                    let v = l.max(v, low);
                    l.min(v, high)
                };
                let first = match (part.from_begin, forward) {
                    (true, true) => zero,
                    (true, false) => last,
                    _ => {
                        let v = from_end(&mut l, begin, n);
                        clamp(&mut l, v)
                    }
                };
                let behind = match (part.to_end, forward) {
                    (true, true) => n,
                    (true, false) => minus,
                    _ => {
                        let v = if part.offset { l.add(first, end) } else { from_end(&mut l, end, n) };
                        clamp(&mut l, v)
                    }
                };
                let distance = if forward { l.sub(behind, first) } else { l.sub(first, behind) };
                let distance = l.max(distance, zero);
                let (up, sum) = (l.sub(stride, one), distance);
                let sum = l.add(sum, up);
                let count = l.div(sum, stride);
                give(cx, &mut l, y, at, count)?;
                let step = l.signed(part.stride);
                dims.push(Walk { count, read: (step, reads[part.axis]), write: (one, writes[at]) });
                start.push((first, reads[part.axis]));
                at += 1;
            }
        }
    }
    let (ends, bytes) = ([cx.operand(x)?, cx.operand(y)?], element_bytes(cx, ty)?);
    walk(cx, l, dims, [start, vec![]], ends, bytes);
    Ok(())
}

/// A position, which counts from the end where it is negative.
fn from_end(l: &mut Lengths, v: Length, n: Length) -> Length {
    match l.known(v) {
        Some(0..) => v,
        Some(_) => l.add(v, n),
        None => {
            let zero = l.number(0);
            let (negative, wrapped) = (l.less(v, zero), l.add(v, n));
            l.choose(negative, wrapped, v)
        }
    }
}

/// Axes that are open walked from their last element on.
pub(super) fn reverse(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let mut turned = vec![false; ty.shape.len()];
    for a in operand_ints(cx, node, 1, "axis")? {
        turned[axis(cx, a, ty.shape.len())?] = true;
    }
    let (reads, writes) = (steps(cx, x), steps(cx, y));
    let mut l = Lengths::default();
    let (one, minus) = (l.number(1), l.signed(-1));
    let (mut dims, mut start) = (vec![], vec![]);
    for d in 0..ty.shape.len() {
        let count = l.axis(cx, x, d)?;
        if turned[d] {
            let last = l.sub(count, one);
            start.push((last, reads[d]));
        }
        dims.push(Walk { count, read: (if turned[d] { minus } else { one }, reads[d]), write: (one, writes[d]) });
    }
    let (ends, bytes) = ([cx.operand(x)?, cx.operand(y)?], element_bytes(cx, ty)?);
    walk(cx, l, dims, [start, vec![]], ends, bytes);
    Ok(())
}

/// The operand several times, one behind the other along each axis.
pub(super) fn tile(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, times) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let (reads, writes) = (steps(cx, x), steps(cx, y));
    let mut l = Lengths::default();
    let (zero, one) = (l.number(0), l.number(1));
    let (mut again, mut inner) = (vec![], vec![]);
    for d in 0..ty.shape.len() {
        let (n, m) = (l.axis(cx, x, d)?, l.element(cx, times, d)?);
        let length = l.mul(n, m);
        give(cx, &mut l, y, d, length)?;
        // As often as the result has room for: repetitions of nothing take no time.
        let m = if l.known(m) == Some(1) { m } else { l.min(m, length) };
        again.push(Walk { count: m, read: (zero, 0), write: (n, writes[d]) });
        inner.push(Walk { count: n, read: (one, reads[d]), write: (one, writes[d]) });
    }
    again.retain(|w| l.known(w.count) != Some(1));
    again.extend(inner);
    let (ends, bytes) = ([cx.operand(x)?, cx.operand(y)?], element_bytes(cx, ty)?);
    walk(cx, l, again, [vec![], vec![]], ends, bytes);
    Ok(())
}

/// One row for all: on bounds where the rows of the operand are known to be one, or all of the result's; else as many as a run says.
pub(super) fn broadcast(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    let (shape, lead) = (&cx.ty(x).shape, ty.shape.len() - cx.ty(x).shape.len());
    let mut plain = true;
    for (d, &n) in shape.iter().enumerate() {
        let (own, other) = (extent(cx, x, d)?, extent(cx, y, lead + d)?);
        plain &= (own.is_none() && n == 1) || (own == other && n == ty.shape[lead + d]);
    }
    if plain {
        let strides = tflc_templates::cpu::pointwise::broadcast(shape, &ty.shape);
        let (from, to) = (Part { base: cx.operand(x)?, offset: 0, strides }, Part::dense(cx.operand(y)?, &ty.shape));
        copy_strided(cx, &ty.shape, from, to, bytes);
        return Ok(());
    }
    let (reads, writes) = (steps(cx, x), steps(cx, y));
    let mut l = Lengths::default();
    let (zero, one) = (l.number(0), l.number(1));
    let mut dims = vec![];
    for at in 0..ty.shape.len() {
        let count = l.axis(cx, y, at)?;
        let read = match at.checked_sub(lead) {
            None => (zero, 0),
            Some(d) => {
                let own = l.axis(cx, x, d)?;
                let (lone, same) = (l.equal(own, one), l.equal(own, count));
                let fine = l.max(lone, same);
                l.check(fine);
                (l.choose(lone, zero, one), reads[d])
            }
        };
        dims.push(Walk { count, read, write: (one, writes[at]) });
    }
    let ends = [cx.operand(x)?, cx.operand(y)?];
    walk(cx, l, dims, [vec![], vec![]], ends, bytes);
    Ok(())
}

/// Parts one behind the other, each as long as it is; false where that axis is known and all parts have the other axes of the result, so that bounds say where they
/// lie.
pub(super) fn concatenation(cx: &mut Cx<'_, '_>, node: &Node) -> Result<bool, CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let at = axis(cx, node.attrs.int("axis", 0), ty.shape.len())?;
    let mut alike = true;
    for x in node.inputs.iter().flatten() {
        for d in (0..ty.shape.len()).filter(|d| *d != at) {
            alike &= cx.ty(*x).shape[d] == ty.shape[d] && extent(cx, *x, d)? == extent(cx, y, d)?;
        }
    }
    let total = extent(cx, y, at)?.filter(|_| brings(cx, node));
    if total.is_none() && alike {
        return Ok(false);
    }
    // How far the parts reach: in memory, where that is computed.
    let total = total.unwrap_or_else(|| cx.workspace(8));
    let bytes = element_bytes(cx, ty)?;
    let (to, writes) = (cx.operand(y)?, steps(cx, y));
    let zero = cx.bytes(vec![0; 8]);
    copy(cx, zero, total, 8);
    let mut first = true;
    for x in node.inputs.clone().into_iter().flatten() {
        if cx.ty(x).quant != ty.quant {
            return Err(cx.unsupported(Unsupported::Quantization("parts of open size with several scales".into())));
        }
        let mut l = Lengths::default();
        let (one, before, reads) = (l.number(1), l.read(total, 0, true), steps(cx, x));
        let mut dims = vec![];
        for d in 0..ty.shape.len() {
            let count = match d == at || !alike {
                true => l.axis(cx, x, d)?,
                false => l.number(ty.shape[d]),
            };
            if d != at && !alike {
                // The lengths of the first part are those of the result, where nothing else says them.
                if first {
                    give(cx, &mut l, y, d, count)?;
                } else {
                    let own = l.axis(cx, y, d)?;
                    let same = l.equal(own, count);
                    l.check(same);
                }
            }
            dims.push(Walk { count, read: (one, reads[d]), write: (one, writes[d]) });
        }
        first = false;
        let after = l.add(before, dims[at].count);
        let most = l.number(ty.shape[at]);
        l.check_size(after, most);
        l.store(after, total, 0);
        if cx.ty(x).elements() == 0 {
            l.call(cx);
            continue;
        }
        let from = cx.operand(x)?;
        walk(cx, l, dims, [vec![], vec![(before, writes[at])]], [from, to], bytes);
    }
    Ok(true)
}
