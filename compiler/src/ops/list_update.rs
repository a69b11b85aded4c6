//! Recognises `list[i] = item` as converters write it: `CONCATENATION(SLICE(list, 0, i), item, SLICE(list, i + 1, the rest))`.
//!
//! The parts have shapes that are known only at run time; the whole has the shape of the list. Type propagation uses that, and a pass makes
//! an update in place of it.

use crate::ir::{DType, Graph, Node, OpKind, TensorId};
use crate::ops::value::ints;

/// `list[index] = item`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListUpdate {
    /// The list.
    pub list: TensorId,
    /// What is put into it: as many elements of the first dimension as its own has.
    pub item: TensorId,
    /// Where: an I32 tensor of one element.
    pub index: TensorId,
}

/// The update that a node stands for, if it is one. The types of list and item must be those of a run.
pub fn list_update(graph: &Graph, node: &Node) -> Option<ListUpdate> {
    let [Some(front), Some(item), Some(back)] = node.inputs[..] else { return None };
    if node.op != OpKind::Concatenation
        || node.tail.is_some()
        || node.attrs.int("axis", 0) != 0
        || node.attrs.name("fused_activation_function", "NONE") != "NONE"
    {
        return None;
    }
    let (front, back) = (slice(graph, front)?, slice(graph, back)?);
    let list = front.0;
    let (ty, part) = (graph.ty(list), graph.ty(item));
    let fits = back.0 == list && part.dtype == ty.dtype && part.shape.len() == ty.shape.len() && !ty.shape.is_empty();
    if !fits || part.shape[1..] != ty.shape[1..] || part.shape[0] > ty.shape[0] {
        return None;
    }
    let whole = |rest: &[i64]| rest.iter().zip(&ty.shape[1..]).all(|(n, d)| *n == -1 || *n == *d as i64);
    // The front starts at 0 and has `index` elements.
    let zeros = constants(graph, front.1)?;
    let (index, rest) = headed(graph, front.2)?;
    if zeros.iter().any(|v| *v != 0) || !whole(&rest) {
        return None;
    }
    // The back starts behind the item and takes the rest.
    let (start, rest) = headed(graph, back.1)?;
    let sizes = constants(graph, back.2)?;
    if rest.iter().any(|v| *v != 0) || sizes.first() != Some(&-1) || !whole(&sizes[1..]) {
        return None;
    }
    let follows = sum(graph, source(graph, start))? == (source(graph, index), part.shape[0] as i64);
    follows.then_some(ListUpdate { list, item, index })
}

/// Operands of the SLICE that computes `t`: source, begin and size.
fn slice(graph: &Graph, t: TensorId) -> Option<(TensorId, TensorId, TensorId)> {
    let node = graph.producer(t).filter(|n| n.op == OpKind::Slice)?;
    match node.inputs[..] {
        [Some(x), Some(begin), Some(size)] => Some((x, begin, size)),
        _ => None,
    }
}

fn constants(graph: &Graph, t: TensorId) -> Option<Vec<i64>> {
    let tensor = graph.tensor(t);
    ints(tensor.ty.dtype, tensor.data.as_ref()?)
}

/// A vector that is a computed element and constants behind it.
fn headed(graph: &Graph, t: TensorId) -> Option<(TensorId, Vec<i64>)> {
    let node = graph.producer(t)?;
    let mut parts = node.inputs.iter().copied();
    let head = match node.op {
        OpKind::Concatenation | OpKind::Pack => parts.next()??,
        OpKind::Reshape if graph.ty(t).elements() == 1 => t,
        _ => return None,
    };
    let mut rest = vec![];
    if head != t {
        for part in parts {
            rest.extend(constants(graph, part?)?);
        }
    }
    (graph.ty(head).elements() == 1 && graph.ty(head).dtype == DType::Int32 && graph.tensor(head).data.is_none()).then_some((head, rest))
}

/// The tensor that a chain of reshapes starts from.
fn source(graph: &Graph, t: TensorId) -> TensorId {
    match graph.producer(t) {
        Some(n) if matches!(n.op, OpKind::Reshape | OpKind::ExpandDims | OpKind::Squeeze) && n.tail.is_none() => {
            n.inputs.first().copied().flatten().map_or(t, |x| source(graph, x))
        }
        _ => t,
    }
}

/// The tensor and the constant that `t` is the sum of.
fn sum(graph: &Graph, t: TensorId) -> Option<(TensorId, i64)> {
    let node = graph.producer(t).filter(|n| n.op == OpKind::Add && n.tail.is_none())?;
    let [Some(a), Some(b)] = node.inputs[..] else { return None };
    let (x, c) = if graph.tensor(b).data.is_some() { (a, b) } else { (b, a) };
    match constants(graph, c)?[..] {
        [c] => Some((source(graph, x), c)),
        _ => None,
    }
}
