//! Operators that LiteRT runs by TFLite's own kernels although XNNPACK runs others like them.
//!
//! XNNPACK's delegate accepts some models and fails to prepare them: then it runs none of their operators. It refuses a TRANSPOSE_CONV whose output shape is no
//! constant of the file, as of an image of any size or batch, even where the shape turns out to be known. The importer marks such nodes, so that they
//! round as TFLite's kernels do (`docs/numerics.md`, *When the XNNPACK delegate takes an operator*).

use crate::ir::{AttrValue, DType, Graph, Model, Node, OpKind};
use crate::ops::call::Call;

/// Attribute of nodes that XNNPACK does not run although it runs others like them.
const ATTRIBUTE: &str = "without_xnnpack";

/// Marks the nodes of a model as it is in its file, before anything is folded.
pub fn mark(model: &mut Model) {
    let all = model.graphs.iter().any(|g| g.nodes.iter().any(|n| fails(g, n)));
    for graph in &mut model.graphs {
        for i in 0..graph.nodes.len() {
            let node = &graph.nodes[i];
            let marked = match node.op {
                OpKind::TransposeConv => all || !is_constant(graph, node, 0),
                OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::FullyConnected => all,
                _ => false,
            };
            if marked {
                graph.nodes[i].attrs.set(ATTRIBUTE, AttrValue::Bool(true));
            }
        }
    }
}

fn is_constant(graph: &Graph, node: &Node, operand: usize) -> bool {
    node.inputs.get(operand).copied().flatten().is_some_and(|t| graph.tensor(t).data.is_some())
}

/// Whether a node was marked.
pub fn is_refused(call: &Call<'_>) -> bool {
    call.attrs.bool(ATTRIBUTE, false)
}

/// RESIZE_BILINEAR of bytes with another quantisation of the result: the delegate looks at it only when it defines the operator.
fn fails(graph: &Graph, node: &Node) -> bool {
    let (Some(Some(x)), Some(y)) = (node.inputs.first(), node.outputs.first()) else { return false };
    let (x, y) = (graph.ty(*x), graph.ty(*y));
    node.op == OpKind::ResizeBilinear
        && is_constant(graph, node, 1)
        && matches!(x.dtype, DType::Int8 | DType::UInt8)
        && x.dtype == y.dtype
        && x.quant.per_tensor().is_some()
        && y.quant.per_tensor().is_some()
        && x.quant.per_tensor() != y.quant.per_tensor()
}
