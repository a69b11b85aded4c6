//! PAD, PADV2, MIRROR_PAD around what is there at run time, by borders that may be computed; SPLIT, SPLIT_V and UNPACK into parts that are.

use super::extent;
use super::lengths::{Length, Lengths, Walk, walk};
use super::moves::steps;
use super::sources::give;
use crate::error::CompileError;
use crate::ir::{Node, OpKind};
use crate::lower::constants::element_bytes;
use crate::lower::context::Cx;
use crate::lower::movement::{Part, copy_strided, fill, parted, result};
use crate::lower::pad::zero_bits;

/// What one axis of a padded tensor consists of.
struct Border {
    before: Length,
    count: Length,
    after: Length,
}

/// The lengths of all axes; those of the result are checked and stored.
fn borders(cx: &mut Cx<'_, '_>, node: &Node, l: &mut Lengths) -> Result<Vec<Border>, CompileError> {
    let (x, widths) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let mut all = vec![];
    for d in 0..ty.shape.len() {
        let (before, count, after) = (l.element(cx, widths, 2 * d)?, l.axis(cx, x, d)?, l.element(cx, widths, 2 * d + 1)?);
        let minus = l.signed(-1);
        for width in [before, after] {
            if l.known(width).is_none() {
                let fine = l.less(minus, width);
                l.check(fine);
            }
        }
        let sum = l.add(count, before);
        let length = l.add(sum, after);
        give(cx, l, y, d, length)?;
        all.push(Border { before, count, after });
    }
    Ok(all)
}

/// Borders around what is there.
pub(super) fn pad(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let (to, bytes) = (cx.operand(y)?, element_bytes(cx, ty)?);
    match cx.optional_input(node, 2).filter(|_| node.op == OpKind::Padv2) {
        _ if node.op == OpKind::MirrorPad => {}
        None => fill(cx, &ty.shape, Part::dense(to, &ty.shape), bytes, zero_bits(ty)),
        Some(t) => {
            let value = Part { base: cx.operand(t)?, offset: 0, strides: vec![0; ty.shape.len()] };
            copy_strided(cx, &ty.shape, value, Part::dense(to, &ty.shape), bytes);
        }
    }
    let x = cx.input(node, 0)?;
    let (reads, writes) = (steps(cx, x), steps(cx, y));
    let mut l = Lengths::default();
    let one = l.number(1);
    let all = borders(cx, node, &mut l)?;
    if node.op == OpKind::MirrorPad {
        // As many as there are to mirror.
        let skip = if node.attrs.name("mode", "REFLECT") == "SYMMETRIC" { 0 } else { 1 };
        let skip = l.number(skip);
        for b in &all {
            let room = l.sub(b.count, skip);
            for width in [b.before, b.after] {
                if l.known(width) != Some(0) {
                    l.check_size(width, room);
                }
            }
        }
    }
    let dims = all.iter().enumerate().map(|(d, b)| Walk { count: b.count, read: (one, reads[d]), write: (one, writes[d]) }).collect();
    let start = all.iter().enumerate().map(|(d, b)| (b.before, writes[d])).collect();
    let from = cx.operand(x)?;
    walk(cx, l, dims, [vec![], start], [from, to], bytes);
    if node.op == OpKind::MirrorPad {
        for d in 0..ty.shape.len() {
            mirror(cx, node, d)?;
        }
    }
    Ok(())
}

/// The borders of one axis, from what the result has between them: whole along the axes in front of it, without borders along those behind.
fn mirror(cx: &mut Cx<'_, '_>, node: &Node, at: usize) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let (to, bytes, writes) = (cx.operand(y)?, element_bytes(cx, ty)?, steps(cx, y));
    let reflect = usize::from(node.attrs.name("mode", "REFLECT") != "SYMMETRIC");
    for behind in [false, true] {
        let mut l = Lengths::default();
        let (one, minus, skip) = (l.number(1), l.signed(-1), l.number(reflect));
        let all = borders(cx, node, &mut l)?;
        let Border { before, count, after } = all[at];
        let width = if behind { after } else { before };
        if l.known(width) == Some(0) {
            continue;
        }
        let (mut dims, mut starts) = (vec![], [vec![], vec![]]);
        for (d, b) in all.iter().enumerate() {
            let step = if d == at { minus } else { one };
            let whole = l.axis(cx, y, d)?;
            let count = match d.cmp(&at) {
                std::cmp::Ordering::Less => whole,
                std::cmp::Ordering::Equal => width,
                std::cmp::Ordering::Greater => b.count,
            };
            dims.push(Walk { count, read: (step, writes[d]), write: (one, writes[d]) });
            if d > at {
                starts.iter_mut().for_each(|s| s.push((b.before, writes[d])));
            }
        }
        let (last, edge) = (l.sub(count, one), l.add(before, skip));
        // The first element read is next to the edge, or the edge itself, and they go away from it.
        let first = if behind {
            let v = l.add(before, last);
            l.sub(v, skip)
        } else {
            let v = l.add(edge, before);
            l.sub(v, one)
        };
        starts[0].push((first, writes[at]));
        if behind {
            let v = l.add(before, count);
            starts[1].push((v, writes[at]));
        }
        walk(cx, l, dims, starts, [to, to], bytes);
    }
    Ok(())
}

/// Parts of an open axis, or of computed sizes; -1 takes what the others leave.
pub(super) fn split(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let sized = node.op == OpKind::SplitV;
    let (x, at) = parted(cx, node)?;
    let parts = node.outputs.len();
    let mut l = Lengths::default();
    let (zero, total) = (l.number(0), l.axis(cx, x, at)?);
    let sizes = if sized {
        let given = cx.input(node, 1)?;
        let minus = l.signed(-1);
        let mut sizes = vec![];
        let mut sum = zero;
        for k in 0..parts {
            let size = l.element(cx, given, k)?;
            let rest = l.equal(size, minus);
            let named = l.choose(rest, zero, size);
            sum = l.add(sum, named);
            sizes.push((rest, size));
        }
        let left = l.sub(total, sum);
        sizes.into_iter().map(|(rest, size)| l.choose(rest, left, size)).collect::<Vec<_>>()
    } else {
        let count = l.number(parts.max(1));
        vec![l.div(total, count); parts]
    };
    let sum = sizes.iter().fold(zero, |a, b| l.add(a, *b));
    let same = l.equal(sum, total);
    l.check(same);
    for (k, &size) in sizes.iter().enumerate() {
        l.check_size(size, total);
        give(cx, &mut l, node.outputs[k], at, size)?;
    }
    let (from, reads) = (cx.operand(x)?, steps(cx, x));
    let mut before = zero;
    for (k, &size) in sizes.iter().enumerate() {
        let (y, ty) = result(cx, node, k)?;
        let (to, bytes, writes) = (cx.operand(y)?, element_bytes(cx, ty)?, steps(cx, y));
        // Each copy looks at all sizes: where they are wrong nothing is copied.
        let mut own = l.clone();
        let one = own.number(1);
        let mut dims = vec![];
        for d in 0..ty.shape.len() {
            let count = if d == at { size } else { own.axis(cx, x, d)? };
            dims.push(Walk { count, read: (one, reads[d]), write: (one, writes[d]) });
        }
        if ty.elements() > 0 {
            walk(cx, own, dims, [vec![(before, reads[at])], vec![]], [from, to], bytes);
        }
        before = l.add(before, size);
    }
    debug_assert!(extent(cx, x, at)?.is_some() || sized);
    Ok(())
}

/// The slices of an open axis, of which there must be as many as results.
pub(super) fn unpack(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, at) = parted(cx, node)?;
    let (from, reads) = (cx.operand(x)?, steps(cx, x));
    for k in 0..node.outputs.len() {
        let (y, ty) = result(cx, node, k)?;
        let (to, bytes, writes) = (cx.operand(y)?, element_bytes(cx, ty)?, steps(cx, y));
        let mut l = Lengths::default();
        let (length, parts, one, place) = (l.axis(cx, x, at)?, l.number(node.outputs.len()), l.number(1), l.number(k));
        let all = l.equal(length, parts);
        l.check(all);
        let mut dims = vec![];
        for d in (0..reads.len()).filter(|d| *d != at) {
            dims.push(Walk { count: l.axis(cx, x, d)?, read: (one, reads[d]), write: (one, writes[d - usize::from(d > at)]) });
        }
        walk(cx, l, dims, [vec![(place, reads[at])], vec![]], [from, to], bytes);
    }
    Ok(())
}
