//! Removes nodes that give their operand back: reshapes to the same shape, concatenations of one, transposes that move nothing,
//! padding by nothing, slices of everything.

use crate::error::CompileError;
use crate::ir::{Graph, GraphId, Model, Node, OpKind, TensorId};
use crate::target::Target;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let graph = &mut model.graphs[id.index()];
    let mut replaced: Vec<TensorId> = (0..graph.tensors.len() as u32).map(TensorId).collect();
    let mut removed = 0;
    let nodes = std::mem::take(&mut graph.nodes);
    for mut node in nodes {
        for t in node.inputs.iter_mut().flatten() {
            *t = replaced[t.index()];
        }
        if let Some(tail) = &mut node.tail {
            tail.inputs.iter_mut().for_each(|t| *t = replaced[t.index()]);
        }
        match identity_of(graph, &node) {
            // A graph's outputs keep their names and their storage; variables may change behind a copy.
            Some(source) if !graph.outputs.contains(&node.outputs[0]) && !graph.tensor(source).variable => {
                replaced[node.outputs[0].index()] = source;
                removed += 1;
            }
            _ => graph.nodes.push(node),
        }
    }
    Ok(removed)
}

/// The operand whose elements the node's one result has, in the same type.
fn identity_of(graph: &Graph, node: &Node) -> Option<TensorId> {
    let [out] = node.outputs[..] else { return None };
    let ty = graph.ty(out);
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    // Quantisation too: readers would take the same bytes for other numbers.
    let same = |t: TensorId| graph.ty(t) == ty;
    if node.tail.is_some() {
        return None;
    }
    let source = match node.op {
        // Equal shapes say it all: these keep or drop elements, never change them.
        OpKind::Reshape | OpKind::Squeeze | OpKind::ExpandDims | OpKind::Slice | OpKind::Pad | OpKind::Tile | OpKind::BroadcastTo => {
            operand(0)?
        }
        OpKind::StridedSlice => {
            let data = graph.tensor(operand(3)?).data.as_ref()?;
            let forward = data.as_chunks().0.iter().all(|s| i32::from_le_bytes(*s) == 1);
            operand(0).filter(|_| forward)?
        }
        OpKind::Concatenation if node.inputs.len() == 1 => operand(0)?,
        OpKind::Split if node.inputs.len() == 2 => operand(1)?,
        OpKind::Transpose => {
            let data = graph.tensor(operand(1)?).data.as_ref()?;
            let order: Vec<i32> = data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
            operand(0).filter(|_| order.iter().enumerate().all(|(i, &p)| p == i as i32))?
        }
        OpKind::Quantize | OpKind::Cast | OpKind::Dequantize => operand(0)?,
        _ => return None,
    };
    // What is as large as its operand by its bound may be smaller at run time, or looks whether the operand is.
    (same(source) && graph.open.get(&source) == graph.open.get(&out)).then_some(source)
}
