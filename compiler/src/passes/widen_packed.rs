//! Gives operators that move integers of less than a byte bytes to move: a CAST in front of each packed operand, and one behind each packed result.

use crate::error::CompileError;
use crate::ir::{GraphId, Model, Node, OpKind, TensorType};
use crate::ops::packed::{byte_type, moved};
use crate::target::Target;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let graph = &mut model.graphs[id.index()];
    let mut widened = 0;
    for mut node in std::mem::take(&mut graph.nodes) {
        let touched: Vec<_> = node.inputs.iter().flatten().chain(&node.outputs).copied().collect();
        let types = touched.iter().map(|t| graph.ty(*t).dtype);
        // What has no written shape keeps its type, and is refused by name.
        if moved(node.op, types).is_none() || touched.iter().any(|t| graph.open.contains_key(t)) {
            graph.nodes.push(node);
            continue;
        }
        let mut behind = vec![];
        let (place, name) = (node.location, "widened");
        for input in node.inputs.iter_mut().flatten() {
            let ty = graph.ty(*input).clone();
            let Some(dtype) = byte_type(ty.dtype) else { continue };
            let bytes = graph.add_tensor(name, TensorType { dtype, ..ty });
            graph.nodes.push(Node { location: place, ..Node::new(OpKind::Cast, [*input], [bytes]) });
            *input = bytes;
        }
        for output in &mut node.outputs {
            let ty = graph.ty(*output).clone();
            let Some(dtype) = byte_type(ty.dtype) else { continue };
            let bytes = graph.add_tensor(name, TensorType { dtype, ..ty });
            behind.push(Node { location: place, ..Node::new(OpKind::Cast, [bytes], [*output]) });
            *output = bytes;
        }
        graph.nodes.push(node);
        graph.nodes.extend(behind);
        widened += 1;
    }
    Ok(widened)
}
