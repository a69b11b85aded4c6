//! Nodes whose result is a contiguous part of an operand: they cost nothing when the storage can be shared.

use crate::ir::{DType, Graph, Node, OpKind, OpenAxis, TensorId};

/// The operand that output `k` of `node` is a view of, with the byte offset into it.
pub fn view(graph: &Graph, node: &Node, k: usize) -> Option<(TensorId, usize)> {
    if node.tail.is_some() {
        return None;
    }
    let out = graph.ty(*node.outputs.get(k)?);
    let operand = |i: usize| node.inputs.get(i).copied().flatten();
    let computed = |t: TensorId| graph.tensor(t).data.is_none();
    if node.op == OpKind::Reshape && !keeps_places(graph, operand(0)?, *node.outputs.first()?) {
        return None;
    }
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
        OpKind::Slice => {
            let source = operand(0)?;
            (source, outer_slice(graph, source, node, k)?)
        }
        _ => return None,
    };
    let fits = offset + out.bytes() <= graph.ty(source).bytes();
    (computed(source) && fits && graph.ty(source).dtype.bits() == out.dtype.bits()).then_some((source, offset))
}

/// Whether the elements of one tensor lie where those of another shape of it do: the same open axes, with as many elements behind each.
pub(super) fn keeps_places(graph: &Graph, x: TensorId, y: TensorId) -> bool {
    let places = |t: TensorId| -> Vec<(TensorId, usize, usize)> {
        let shape = &graph.ty(t).shape;
        let place = |o: &OpenAxis| (o.extent, shape[o.axis as usize], shape[o.axis as usize + 1..].iter().product());
        graph.open_axes(t).iter().map(place).collect()
    };
    places(x) == places(y)
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
    // Parts of an open axis, or of computed sizes, do not lie where bounds say.
    let divided = |t: TensorId| graph.open_axes(t).iter().any(|o| o.axis as usize == axis);
    if divided(source) || (node.op != OpKind::Unpack && node.outputs.iter().any(|t| divided(*t))) {
        return None;
    }
    Some(node.outputs[..k].iter().map(|&t| graph.ty(t).bytes()).sum())
}

/// Offset of a box that takes a range of the outermost dimension that is not 1, and all of the others.
fn outer_slice(graph: &Graph, source: TensorId, node: &Node, k: usize) -> Option<usize> {
    let (from, out) = (graph.ty(source), node.outputs[k]);
    let begin = node.inputs.get(1).copied().flatten()?;
    if [source, out].iter().any(|t| graph.open.contains_key(t)) || graph.tensor(begin).data.is_none() {
        return None;
    }
    let to = &graph.ty(out).shape;
    let axis = from.shape.iter().zip(to).position(|(a, b)| a != b).unwrap_or(0);
    let whole = from.shape.len() == to.len() && !to.is_empty() && from.shape[axis + 1..] == to[axis + 1..];
    if !whole || from.shape[..axis].iter().any(|&d| d != 1) {
        return None;
    }
    let data = graph.tensor(begin).data.as_ref()?;
    let first = match graph.ty(begin).dtype {
        DType::Int32 => i64::from(i32::from_le_bytes(data.get(axis * 4..axis * 4 + 4)?.try_into().ok()?)),
        DType::Int64 => i64::from_le_bytes(data.get(axis * 8..axis * 8 + 8)?.try_into().ok()?),
        _ => return None,
    };
    let row: usize = from.shape[axis + 1..].iter().product();
    from.dtype.bytes(usize::try_from(first).ok()?.checked_mul(row)?)
}

fn constant_i32(graph: &Graph, t: TensorId) -> Option<i64> {
    let data = graph.tensor(t).data.as_ref()?;
    Some(i64::from(i32::from_le_bytes(data.get(..4)?.try_into().ok()?)))
}
