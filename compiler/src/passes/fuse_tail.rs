//! Fuses pointwise nodes into the convolution or matrix product whose result they read, as its tail.
//!
//! The tail's other inputs must be addressable from inside a kernel's tile: of the output's shape, along its innermost dimension, one for
//! each row, or single elements ([`access`]). The node moves to the place of the pointwise one, where all inputs are ready. Where looking bytes up
//! takes many instructions, only a look-up that gives the tail's result is fused: it is lowered as a loop behind the kernel.

use super::fuse_pointwise::{expr_of, inline_stored, is_exact};
use super::merge_producers;
use crate::error::CompileError;
use crate::ir::{DType, GraphId, Model, Node, NodeId, OpKind, Patch, Tail, TensorId};
use crate::target::Target;
use tflc_templates::expr::{ExprBuilder, Id};

/// The most inputs of a tail.
const MAX_INPUTS: usize = 4;

/// How an operand broadcast to a result is addressed from a tile of rows and columns, where columns are the innermost dimension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// One element for the whole result.
    Scalar,
    /// One element for each column.
    PerColumn,
    /// One element for each row.
    PerRow,
    /// One element for each element.
    Matrix,
}

/// How an operand of shape `shape` is addressed in a result of shape `to`; `None` where it broadcasts in another way.
pub fn access(shape: &[usize], to: &[usize]) -> Option<Access> {
    let elements = |s: &[usize]| s.iter().product::<usize>();
    let last = |s: &[usize]| s.last().copied().unwrap_or(1);
    let (n, all) = (elements(shape), elements(to));
    if n == 1 {
        Some(Access::Scalar)
    } else if n == all {
        Some(Access::Matrix)
    } else if n == last(to) && last(shape) == n {
        Some(Access::PerColumn)
    } else if n * last(to) == all && last(shape) == 1 {
        Some(Access::PerRow)
    } else {
        None
    }
}

/// Whether kernels of an operator run a tail.
fn takes_tail(op: OpKind) -> bool {
    matches!(op, OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::FullyConnected)
}

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, target: &Target) -> Result<usize, CompileError> {
    let anywhere = target.caps().tables;
    Ok(merge_producers(model, id, |patch, at| {
        let (producer, fused) = candidate(patch, at)?;
        let expr = &fused.tail.as_ref()?.expr;
        (anywhere || !expr.has_table() || expr.split_table().is_some()).then_some((producer, fused))
    }))
}

/// The producer to fuse the pointwise node `at` into, and the fused node.
fn candidate(patch: &Patch<'_>, at: NodeId) -> Option<(NodeId, Node)> {
    let node = patch.node(at)?;
    // A tail works on the registers of its kernel, whose lanes have 32 bits.
    let expr = expr_of(node).filter(|e| !e.has_64_bits())?;
    let out = patch.ty(*node.outputs.first()?);
    let operands: Vec<TensorId> = node.inputs.iter().flatten().copied().collect();
    // Of several producers the latest: its other operands are ready by then.
    let (producer, base, t) = operands
        .iter()
        .filter_map(|&t| patch.sole_producer(t, at).map(|p| (p, t)))
        .filter(|&(_, t)| patch.ty(t).shape == out.shape)
        // A run compares the lengths of operands with the result's, not those of a product that is never stored.
        .filter(|&(_, t)| patch.graph().open.get(&t) == patch.graph().open.get(&node.outputs[0]))
        .filter_map(|(p, t)| patch.node(p).filter(|n| takes_tail(n.op)).map(|n| (p, n, t)))
        .max_by_key(|&(p, _, t)| (p, t))?;
    // TFLite's own hybrid arithmetic takes no tail.
    let types = [0, 1].map(|i| base.inputs.get(i).copied().flatten().map(|t| patch.ty(t).dtype));
    if types == [Some(DType::Float32), Some(DType::UInt8)] {
        return None;
    }
    // The producer moves to this place: a variable may have been assigned in between.
    if base.reads().any(|t| patch.tensor(t).variable) {
        return None;
    }
    let others: Vec<TensorId> = operands.iter().copied().filter(|&u| u != t).collect();
    let known = base.tail.as_ref().map_or(0, |t| t.inputs.len());
    if others.len() + known > MAX_INPUTS || others.iter().any(|&u| access(&patch.ty(u).shape, &out.shape).is_none()) {
        return None;
    }
    let tail = match &base.tail {
        None => {
            // Input 0 of the tail is the node's own result.
            let mut storages = vec![expr.inputs[operands.iter().position(|&u| u == t)?]];
            storages.extend(operands.iter().zip(&expr.inputs).filter(|(u, _)| **u != t).map(|(_, s)| *s));
            if !is_exact(storages[0]) {
                return None;
            }
            let mut b = ExprBuilder::new(storages);
            let mut next = 0;
            let ids: Vec<Id> = operands
                .iter()
                .map(|&u| {
                    if u == t {
                        b.input(0)
                    } else {
                        next += 1;
                        b.input(next)
                    }
                })
                .collect();
            let result = b.inline(expr, &ids);
            Tail { result: patch.ty(t).clone(), expr: b.finish(result, expr.output), inputs: others }
        }
        Some(tail) => {
            if !is_exact(tail.expr.output) {
                return None;
            }
            let mut storages = tail.expr.inputs.clone();
            storages.extend(operands.iter().zip(&expr.inputs).filter(|(u, _)| **u != t).map(|(_, s)| *s));
            let mut b = ExprBuilder::new(storages);
            let inner: Vec<Id> = (0..tail.expr.inputs.len()).map(|i| b.input(i)).collect();
            let value = inline_stored(&mut b, &tail.expr, &inner);
            let mut next = tail.expr.inputs.len();
            let ids: Vec<Id> = operands
                .iter()
                .map(|&u| {
                    if u == t {
                        value
                    } else {
                        next += 1;
                        b.input(next - 1)
                    }
                })
                .collect();
            let result = b.inline(expr, &ids);
            let inputs = tail.inputs.iter().copied().chain(others).collect();
            Tail { result: tail.result.clone(), expr: b.finish(result, expr.output), inputs }
        }
    };
    let mut fused = base.clone();
    fused.tail = Some(Box::new(tail));
    fused.outputs = node.outputs.clone();
    Some((producer, fused))
}
