//! Open tensors at the borders of graphs: extents of a called graph's inputs are those of the caller, and results go to where the caller's bounds say.

use super::extent;
use super::lengths::{Lengths, Walk, walk};
use super::sources::checked;
use crate::error::{CompileError, Unsupported};
use crate::ir::{Graph, TensorId};
use crate::lower::constants::element_bytes;
use crate::lower::context::{Cx, Operand};
use tflc_templates::cpu::pointwise::row_major;

/// Where a value goes: its bounds there, its address, and the addresses of the extents of its open axes.
#[derive(Clone, Debug)]
pub(in crate::lower) struct Target {
    shape: Vec<usize>,
    to: Operand,
    extents: Vec<(usize, Operand)>,
}

impl Target {
    /// The place of a tensor.
    pub(in crate::lower) fn of(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Target, CompileError> {
        let axes: Vec<_> = cx.graph.open_axes(t).to_vec();
        let extents = axes.into_iter().map(|o| Ok((o.axis as usize, cx.operand(o.extent)?))).collect::<Result<_, CompileError>>()?;
        Ok(Target { shape: cx.ty(t).shape.clone(), to: cx.operand(t)?, extents })
    }

    /// The same in workspaces.
    pub(in crate::lower) fn aside(&self, cx: &mut Cx<'_, '_>, bytes: usize) -> Target {
        let extents = self.extents.iter().map(|e| (e.0, cx.workspace(8))).collect();
        Target { shape: self.shape.clone(), to: cx.workspace(bytes), extents }
    }

    /// Copies what lies here, `bytes` bytes of bounds, to another place of the same shape.
    pub(in crate::lower) fn copy_to(&self, cx: &mut Cx<'_, '_>, other: &Target, bytes: usize) {
        for (from, to) in self.extents.iter().zip(&other.extents) {
            crate::lower::movement::copy(cx, from.1, to.1, 8);
        }
        crate::lower::movement::copy(cx, self.to, other.to, bytes);
    }
}

/// Copies a tensor, as long as it is at run time, to where its bounds may be others. A length beyond those ends the run with a status.
pub(in crate::lower) fn hand_over(cx: &mut Cx<'_, '_>, t: TensorId, target: &Target) -> Result<(), CompileError> {
    let ty = cx.ty(t);
    if ty.shape.len() != target.shape.len() {
        return Err(cx.unsupported(Unsupported::DynamicShape));
    }
    let (reads, writes) = (row_major(&ty.shape), row_major(&target.shape));
    let mut l = Lengths::default();
    let one = l.number(1);
    let mut dims = vec![];
    for d in 0..ty.shape.len() {
        let count = l.axis(cx, t, d)?;
        let at = target.extents.iter().find(|e| e.0 == d).map(|e| e.1);
        checked(&mut l, count, target.shape[d], at);
        dims.push(Walk { count, read: (one, reads[d] as usize), write: (one, writes[d] as usize) });
    }
    let (from, bytes) = (cx.operand(t)?, element_bytes(cx, ty)?);
    walk(cx, l, dims, [vec![], vec![]], [from, target.to], bytes);
    Ok(())
}

/// The extents of a called graph's input, with the addresses of those of the tensor that the caller has for it.
pub(in crate::lower) fn shared_extents(
    cx: &mut Cx<'_, '_>,
    callee: &Graph,
    input: TensorId,
    t: TensorId,
) -> Result<Vec<(TensorId, Operand)>, CompileError> {
    let mut all = vec![];
    for open in callee.open_axes(input) {
        let Some(at) = extent(cx, t, open.axis as usize)? else { return Err(cx.unsupported(Unsupported::DynamicShape)) };
        all.push((open.extent, at));
    }
    // The graph takes an axis as known that is open here.
    if cx.graph.open_axes(t).len() != all.len() {
        return Err(cx.unsupported(Unsupported::DynamicShape));
    }
    Ok(all)
}
