//! Fuses a pointwise node into the reduction of float32 that alone reads it, which does that work with each element as it loads it.
//!
//! The mean of squares of a normalisation is then one walk over its input. The expression becomes the reduction's attribute `element`. It leaves alone
//! expressions of several operands, and tensors of open size, whose elements beyond it must stay neutral.

use super::fuse_pointwise::expr_of;
use super::merge_producers;
use crate::error::CompileError;
use crate::ir::{AttrValue, DType, GraphId, Model, Node, NodeId, OpKind, Patch};
use crate::ops::reduce::ELEMENT;
use crate::target::Target;
use tflc_templates::expr::Storage;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    Ok(merge_producers(model, id, candidate))
}

/// The pointwise node to fuse into the reduction `at`, and the fused reduction.
fn candidate(patch: &Patch<'_>, at: NodeId) -> Option<(NodeId, Node)> {
    let node = patch.node(at)?;
    let reduces = matches!(node.op, OpKind::Sum | OpKind::Mean | OpKind::ReduceMax | OpKind::ReduceMin | OpKind::ReduceProd);
    if !reduces || node.attrs.get(ELEMENT).is_some() {
        return None;
    }
    let t = node.inputs.first().copied().flatten()?;
    let producer = patch.sole_producer(t, at)?;
    let expr = expr_of(patch.node(producer)?).filter(|e| e.inputs == [Storage::F32] && e.output == Storage::F32 && !e.has_64_bits())?;
    let source = patch.node(producer)?.inputs.first().copied().flatten()?;
    let same = patch.ty(source).shape == patch.ty(t).shape && patch.ty(t).dtype == DType::Float32;
    // The reduction moves nowhere, but reads what the pointwise node read: a variable may have been assigned in between.
    if !same || patch.tensor(source).variable || [source, t].iter().any(|t| !patch.graph().open_axes(*t).is_empty()) {
        return None;
    }
    let mut fused = node.clone();
    fused.inputs[0] = Some(source);
    fused.attrs.set(ELEMENT, AttrValue::Expr(Box::new(expr.clone())));
    Some((producer, fused))
}
