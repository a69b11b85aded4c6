//! Removes nodes whose results nobody reads, keeping those with an effect on state.

use crate::error::CompileError;
use crate::ir::{GraphId, Model, OpKind, Quantization, TensorType};
use crate::target::Target;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let graph = &mut model.graphs[id.index()];
    let mut live = vec![false; graph.tensors.len()];
    for t in &graph.outputs {
        live[t.index()] = true;
    }
    let mut keep = vec![true; graph.nodes.len()];
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        keep[i] =
            has_effect(node.op) || node.outputs.iter().any(|t| live[t.index()]) || node.reads().any(|t| graph.tensors[t.index()].variable);
        if keep[i] {
            node.reads().for_each(|t| live[t.index()] = true);
        }
    }
    let before = graph.nodes.len();
    let mut flags = keep.into_iter();
    graph.nodes.retain(|_| flags.next().unwrap_or(true));
    // Scales of blocks are read through the type of the tensor that they scale.
    for i in 0..graph.tensors.len() {
        if let (true, Quantization::Blockwise { scales, zero_points, .. }) = (live[i], &graph.tensors[i].ty.quant) {
            live[scales.index()] = true;
            zero_points.iter().for_each(|z| live[z.index()] = true);
        }
    }
    // Constants that nobody reads any more need not be kept in memory.
    for (t, live) in graph.tensors.iter_mut().zip(&live) {
        if !live && t.data.is_some() {
            t.data = Some(Vec::new().into());
            t.ty = TensorType::new(t.ty.dtype, [0]);
            t.signature = None;
        }
    }
    Ok(before - graph.nodes.len())
}

/// Whether an operator does something besides computing its results.
fn has_effect(op: OpKind) -> bool {
    matches!(
        op,
        OpKind::AssignVariable
            | OpKind::CallOnce
            | OpKind::HashtableImport
            | OpKind::If
            | OpKind::While
            | OpKind::Call
            | OpKind::StablehloComposite
            | OpKind::StablehloCase
            | OpKind::VarHandle
            | OpKind::Hashtable
    )
}
