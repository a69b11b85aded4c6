//! Nodes whose result is a contiguous part of an operand: they cost nothing when the storage can be shared.

use crate::ir::{Graph, Node, OpKind, TensorId};

/// The operand that output `k` of `node` is a view of, with the byte offset into it.
pub fn view(graph: &Graph, node: &Node, k: usize) -> Option<(TensorId, usize)> {
    if node.tail.is_some() {
        return None;
    }
    let out = graph.ty(*node.outputs.get(k)?);
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    let computed = |t: TensorId| graph.tensor(t).data.is_none();
    let (source, offset) = match node.op {
        OpKind::Reshape | OpKind::Squeeze | OpKind::ExpandDims | OpKind::Bitcast => (operand(0)?, 0),
        OpKind::Split => {
            let source = operand(1)?;
            (source, outer_split(graph, source, node, k)?)
        }
        OpKind::SplitV | OpKind::Unpack => {
            let source = operand(0)?;
            (source, outer_split(graph, source, node, k)?)
        }
        _ => return None,
    };
    let fits = offset + out.bytes() <= graph.ty(source).bytes();
    (computed(source) && fits && graph.ty(source).dtype.bits() == out.dtype.bits()).then_some((source, offset))
}

/// Offset of part `k` where all dimensions in front of the split axis are 1.
fn outer_split(graph: &Graph, source: TensorId, node: &Node, k: usize) -> Option<usize> {
    let shape = &graph.ty(source).shape;
    let axis = match node.op {
        OpKind::Unpack => node.attrs.int("axis", 0),
        OpKind::Split => constant_i32(graph, node.inputs.first().copied().flatten()?)?,
        _ => constant_i32(graph, node.inputs.get(2).copied().flatten()?)?,
    };
    let axis = usize::try_from(if axis < 0 { axis + shape.len() as i64 } else { axis }).ok()?;
    if axis >= shape.len() || shape[..axis].iter().any(|&d| d != 1) {
        return None;
    }
    Some(node.outputs[..k].iter().map(|&t| graph.ty(t).bytes()).sum())
}

fn constant_i32(graph: &Graph, t: TensorId) -> Option<i64> {
    let data = graph.tensor(t).data.as_ref()?;
    Some(i64::from(i32::from_le_bytes(data.get(..4)?.try_into().ok()?)))
}
