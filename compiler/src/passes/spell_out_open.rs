//! Writes what operators do with tensors of open size in terms of others, where their families cannot do it on bounds.
//!
//! - Operands that meet element for element with other lengths or bounds than the result's: BROADCAST_TO of each to the shape that all have together.
//!
//! What needs no extents but those of its operands stays as it is.

use crate::error::CompileError;
use crate::ir::{DType, Graph, GraphId, Model, Node, OpKind, Open, TensorId, TensorType};
use crate::ops::table::{Category, category};
use crate::target::Target;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let graph = &mut model.graphs[id.index()];
    if graph.open.is_empty() {
        return Ok(0);
    }
    let mut changed = 0;
    let mut at = 0;
    while at < graph.nodes.len() {
        let mut front = vec![];
        let node = graph.nodes[at].clone();
        let new = match node.op {
            op if category(op) == Some(Category::Elementwise) => align(graph, &node, &mut front),
            _ => None,
        };
        if let Some(new) = new {
            changed += 1;
            graph.nodes[at] = new;
            for n in &mut front {
                n.location = node.location;
            }
            let more = front.len();
            graph.nodes.splice(at..at, front);
            at += more;
        }
        at += 1;
    }
    Ok(changed)
}

fn is_open(graph: &Graph, t: TensorId) -> bool {
    !graph.open_axes(t).is_empty()
}

/// Whether an operand is not what the result is along some axis, so that a kernel on bounds could not read it.
fn differs(graph: &Graph, t: TensorId, out: TensorId) -> bool {
    let (own, all) = (&graph.ty(t).shape, &graph.ty(out).shape);
    let Some(lead) = all.len().checked_sub(own.len()) else { return false };
    graph.open_axes(t).iter().any(|o| {
        let at = lead + o.axis as usize;
        let same = graph.open_axes(out).iter().find(|u| u.axis as usize == at).map(|u| u.extent);
        // An axis as long as the bound, in the result: a run compares.
        own[o.axis as usize] != all[at] || same.is_some_and(|e| e != o.extent)
    })
}

/// The node with its operands as long as the result.
fn align(graph: &mut Graph, node: &Node, front: &mut Vec<Node>) -> Option<Node> {
    let &[out] = &node.outputs[..] else { return None };
    let known = |t: TensorId| graph.open.get(&t) != Some(&Open::Unknown);
    let mut operands: Vec<TensorId> = node.inputs.iter().flatten().copied().collect();
    operands.dedup();
    let odd: Vec<TensorId> = operands.iter().copied().filter(|t| differs(graph, *t, out)).collect();
    if odd.is_empty() || !known(out) || !operands.iter().all(|t| known(*t)) || node.tail.is_some() {
        return None;
    }
    let shape = if is_open(graph, out) { common_shape(graph, &operands, front) } else { written(graph, out) };
    let mut new = node.clone();
    for t in odd {
        let ty = TensorType { shape: graph.ty(out).shape.clone(), ..graph.ty(t).clone() };
        let whole = graph.add_tensor("", ty);
        if let Some(open) = graph.open.get(&out).cloned() {
            graph.open.insert(whole, open);
        }
        front.push(Node::new(OpKind::BroadcastTo, [t, shape], [whole]));
        new.inputs.iter_mut().filter(|i| **i == Some(t)).for_each(|i| *i = Some(whole));
    }
    Some(new)
}

/// The shape of a tensor that is not open, as a constant.
fn written(graph: &mut Graph, t: TensorId) -> TensorId {
    let shape = graph.ty(t).shape.clone();
    let data: Vec<u8> = shape.iter().flat_map(|n| (*n as i32).to_le_bytes()).collect();
    graph.add_const("", TensorType::new(DType::Int32, [shape.len()]), data)
}

/// The shape that all operands broadcast to.
fn common_shape(graph: &mut Graph, operands: &[TensorId], front: &mut Vec<Node>) -> TensorId {
    let mut all: Option<TensorId> = None;
    for &t in operands {
        let rank = graph.ty(t).shape.len();
        if graph.ty(t).shape.iter().all(|n| *n == 1) && !is_open(graph, t) && all.is_some() {
            continue;
        }
        let own = match is_open(graph, t) {
            false => written(graph, t),
            true => {
                let shape = graph.add_tensor("", TensorType::new(DType::Int32, [rank]));
                front.push(Node::new(OpKind::Shape, [t], [shape]));
                shape
            }
        };
        all = Some(match all {
            None => own,
            Some(before) => {
                let rank = graph.ty(before).shape[0].max(rank);
                let both = graph.add_tensor("", TensorType::new(DType::Int32, [rank]));
                front.push(Node::new(OpKind::BroadcastArgs, [before, own], [both]));
                both
            }
        });
    }
    all.unwrap_or_else(|| written(graph, operands[0]))
}
