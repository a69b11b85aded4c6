//! Models that XNNPACK's delegate accepts and then fails to prepare: LiteRT runs every operator of such a model by TFLite's own kernels.
//!
//! The importer marks their nodes, so that operators round as those kernels do (`docs/numerics.md`, *When the delegate fails*).

use crate::ir::{AttrValue, DType, Graph, Model, Node, OpKind};
use crate::ops::call::Call;

/// Attribute of nodes that XNNPACK does not run although it runs others like them.
const ATTRIBUTE: &str = "without_xnnpack";

/// Marks the nodes of a model with an operator that makes the delegate fail.
pub fn mark(model: &mut Model) {
    if !model.graphs.iter().any(|g| g.nodes.iter().any(|n| fails(g, n))) {
        return;
    }
    for node in model.graphs.iter_mut().flat_map(|g| &mut g.nodes) {
        if matches!(node.op, OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::FullyConnected | OpKind::TransposeConv) {
            node.attrs.set(ATTRIBUTE, AttrValue::Bool(true));
        }
    }
}

/// Whether a node was marked.
pub fn is_refused(call: &Call<'_>) -> bool {
    call.attrs.bool(ATTRIBUTE, false)
}

/// RESIZE_BILINEAR of bytes with another quantisation of the result: the delegate looks at it only when it defines the operator.
fn fails(graph: &Graph, node: &Node) -> bool {
    let (Some(Some(x)), Some(y)) = (node.inputs.first(), node.outputs.first()) else { return false };
    let (x, y) = (graph.ty(*x), graph.ty(*y));
    let constant_size = node.inputs.get(1).copied().flatten().is_some_and(|t| graph.tensor(t).data.is_some());
    node.op == OpKind::ResizeBilinear
        && constant_size
        && matches!(x.dtype, DType::Int8 | DType::UInt8)
        && x.dtype == y.dtype
        && x.quant.per_tensor().is_some()
        && y.quant.per_tensor().is_some()
        && x.quant.per_tensor() != y.quant.per_tensor()
}
