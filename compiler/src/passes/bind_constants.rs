//! Lets graphs that are called in one place see the constants that they are called with.
//!
//! A constant operand of IF or a case, or one that a WHILE hands from iteration to iteration unchanged, becomes a constant of the called graph, so that
//! weights are packed and shapes are folded there too. The graph still takes the operand; nobody reads it then.

use crate::error::CompileError;
use crate::ir::{AttrValue, GraphId, Model, Node, OpKind, TensorId};
use crate::ops::callees;
use crate::target::Target;

/// Runs the pass: binds operands of the calls in the graph `id`.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let mut bound = 0;
    for at in 0..model.graphs[id.index()].nodes.len() {
        let node = &model.graphs[id.index()].nodes[at];
        let first = match node.op {
            OpKind::If | OpKind::StablehloCase => 1,
            OpKind::While => 0,
            _ => continue,
        };
        let operands: Vec<Option<TensorId>> = node.inputs.iter().skip(first).copied().collect();
        let kept = match node.op {
            OpKind::While => unchanged(model, node),
            _ => vec![true; operands.len()],
        };
        for callee in callees(node) {
            if callee == id || !called_once(model, callee) {
                continue;
            }
            for (k, operand) in operands.iter().enumerate() {
                let (Some(t), Some(true)) = (*operand, kept.get(k)) else { continue };
                bound += usize::from(bind(model, id, t, callee, k));
            }
        }
    }
    Ok(bound)
}

/// Which values a loop's body gives back as it gets them.
fn unchanged(model: &Model, node: &Node) -> Vec<bool> {
    let Some(AttrValue::Graph(body)) = node.attrs.get("body_subgraph_index") else { return vec![] };
    let Some(body) = model.graphs.get(body.index()) else { return vec![] };
    body.inputs.iter().zip(&body.outputs).map(|(a, b)| a == b).collect()
}

/// Whether one node alone calls the graph, and no caller of the model can.
fn called_once(model: &Model, id: GraphId) -> bool {
    let calls = model.graphs.iter().flat_map(|g| &g.nodes).flat_map(callees).filter(|c| *c == id).count();
    calls == 1 && id.0 != 0 && model.signatures.iter().all(|s| s.graph != id)
}

/// Lets the nodes of `callee` read a constant instead of its input `k`.
fn bind(model: &mut Model, caller: GraphId, t: TensorId, callee: GraphId, k: usize) -> bool {
    let Some(graph) = model.graphs.get(callee.index()) else { return false };
    let Some(&input) = graph.inputs.get(k) else { return false };
    let constant = model.graphs[caller.index()].tensor(t);
    let read = graph.nodes.iter().any(|n| n.reads().any(|u| u == input));
    if constant.data.is_none() || !read || constant.ty != *graph.ty(input) {
        return false;
    }
    let constant = constant.clone();
    let graph = &mut model.graphs[callee.index()];
    graph.tensors.push(constant);
    let new = TensorId(graph.tensors.len() as u32 - 1);
    for node in &mut graph.nodes {
        for u in node.inputs.iter_mut().flatten().chain(node.tail.iter_mut().flat_map(|t| &mut t.inputs)) {
            if *u == input {
                *u = new;
            }
        }
    }
    true
}
