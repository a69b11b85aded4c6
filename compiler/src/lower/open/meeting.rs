//! Operands that meet element for element: their lengths must agree at run time, or be 1 and stand for all.

use super::extent;
use super::lengths::{Lengths, Walk, walk};
use crate::error::CompileError;
use crate::ir::{Node, OpKind, TensorId};
use crate::lower::constants::element_bytes;
use crate::lower::context::{Cx, Operand};
use crate::ops::table::{Category, category};
use tflc_templates::cpu::pointwise::row_major;

/// Makes sure of that, and gives copies of operands whose open axes may have one element where the result has more: there it is repeated.
pub(super) fn spread(cx: &mut Cx<'_, '_>, node: &Node) -> Result<Vec<(TensorId, Operand)>, CompileError> {
    let elementwise = node.op == OpKind::Pointwise || category(node.op) == Some(Category::Elementwise);
    let Some(&out) = node.outputs.first().filter(|_| elementwise || node.tail.is_some()) else { return Ok(vec![]) };
    let mut operands: Vec<TensorId> = node
        .tail
        .iter()
        .flat_map(|t| t.inputs.iter().copied())
        .chain(node.inputs.iter().flatten().copied().filter(|_| elementwise))
        .collect();
    operands.sort();
    operands.dedup();
    let mut copies = vec![];
    for t in operands {
        if let Some(copy) = one(cx, out, t)? {
            copies.push((t, copy));
        }
    }
    Ok(copies)
}

/// The same of one operand.
fn one(cx: &mut Cx<'_, '_>, out: TensorId, t: TensorId) -> Result<Option<Operand>, CompileError> {
    let (shape, dims) = (&cx.ty(out).shape, &cx.ty(t).shape);
    let mut l = Lengths::default();
    let (none, single) = (l.number(0), l.number(1));
    let (mut walks, mut repeats) = (vec![], false);
    for (axis, (&n, stride)) in dims.iter().zip(row_major(dims)).enumerate() {
        let mut along = Walk { count: l.number(n), read: (single, stride as usize), write: (single, stride as usize) };
        let open = extent(cx, t, axis)?.is_some();
        // One row is as long as everything.
        if let Some(at) = (axis + shape.len()).checked_sub(dims.len()).filter(|_| n != 1 || open) {
            let (own, other) = (l.axis(cx, out, at)?, l.axis(cx, t, axis)?);
            if own != other {
                let same = l.equal(own, other);
                let mut fine = same;
                if open {
                    let lone = l.equal(other, single);
                    fine = l.max(same, lone);
                    if n != 1 {
                        let step = l.choose(same, single, none);
                        along = Walk { count: own, read: (step, stride as usize), ..along };
                        repeats = true;
                    }
                }
                l.check(fine);
            }
        }
        walks.push(along);
    }
    if !repeats {
        l.call(cx);
        return Ok(None);
    }
    let (from, to) = (cx.operand(t)?, cx.workspace(cx.ty(t).bytes()));
    let bytes = element_bytes(cx, cx.ty(t))?;
    walk(cx, l, walks, [vec![], vec![]], [from, to], bytes);
    Ok(Some(to))
}
