//! Turns an element of a list that is replaced by cutting the list in two into DYNAMIC_UPDATE_SLICE.
//!
//! Converters write `list[i] = item` as `CONCATENATION(SLICE(list, 0, i), item, SLICE(list, i + 1, the rest))`, whose parts have shapes that are known only at
//! run time and which copies the whole list in each iteration of a loop. The update has the shape of the list and works in place.

use crate::error::CompileError;
use crate::ir::{DType, Graph, GraphId, Model, Node, OpKind, TensorId, TensorType};
use crate::ops::value::ints;
use crate::target::Target;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let graph = &mut model.graphs[id.index()];
    let mut fused = 0;
    let mut at = 0;
    while at < graph.nodes.len() {
        if let Some((list, item, index)) = update(graph, &graph.nodes[at]) {
            at += replace(graph, at, list, item, index);
            fused += 1;
        }
        at += 1;
    }
    Ok(fused)
}

/// The list, the item and the index (a tensor of one element) of an update.
fn update(graph: &Graph, node: &Node) -> Option<(TensorId, TensorId, TensorId)> {
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
    let out = graph.ty(*node.outputs.first()?);
    let fits = back.0 == list && ty == out && part.dtype == ty.dtype && part.shape.len() == ty.shape.len() && !ty.shape.is_empty();
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
    follows.then_some((list, item, index))
}

fn producer(graph: &Graph, t: TensorId) -> Option<&Node> {
    graph.nodes.iter().find(|n| n.outputs.contains(&t))
}

/// Operands of the SLICE that computes `t`: source, begin and size.
fn slice(graph: &Graph, t: TensorId) -> Option<(TensorId, TensorId, TensorId)> {
    let node = producer(graph, t).filter(|n| n.op == OpKind::Slice)?;
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
    let node = producer(graph, t)?;
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
    match producer(graph, t) {
        Some(n) if matches!(n.op, OpKind::Reshape | OpKind::ExpandDims | OpKind::Squeeze) && n.tail.is_none() => {
            n.inputs.first().copied().flatten().map_or(t, |x| source(graph, x))
        }
        _ => t,
    }
}

/// The tensor and the constant that `t` is the sum of.
fn sum(graph: &Graph, t: TensorId) -> Option<(TensorId, i64)> {
    let node = producer(graph, t).filter(|n| n.op == OpKind::Add && n.tail.is_none())?;
    let [Some(a), Some(b)] = node.inputs[..] else { return None };
    let (x, c) = if graph.tensor(b).data.is_some() { (a, b) } else { (b, a) };
    match constants(graph, c)?[..] {
        [c] => Some((source(graph, x), c)),
        _ => None,
    }
}

/// Puts the update in place of the node `at`; gives the number of nodes that come in front of it.
fn replace(graph: &mut Graph, at: usize, list: TensorId, item: TensorId, index: TensorId) -> usize {
    let rank = graph.ty(list).shape.len();
    let old = graph.nodes[at].clone();
    let mut nodes = vec![];
    let one = graph.add_const("one", TensorType::new(DType::Int32, [1]), 1i32.to_le_bytes().to_vec());
    let head = graph.add_tensor("index", TensorType::new(DType::Int32, [1]));
    nodes.push(Node { location: old.location, ..Node::new(OpKind::Reshape, [index, one], [head]) });
    let mut start = head;
    if rank > 1 {
        let zeros = graph.add_const("zeros", TensorType::new(DType::Int32, [rank - 1]), vec![0; 4 * (rank - 1)]);
        start = graph.add_tensor("start", TensorType::new(DType::Int32, [rank]));
        let mut node = Node::new(OpKind::Concatenation, [head, zeros], [start]);
        node.attrs.set("axis", crate::ir::AttrValue::Int(0));
        nodes.push(Node { location: old.location, ..node });
    }
    nodes.push(Node { location: old.location, ..Node::new(OpKind::DynamicUpdateSlice, [list, item, start], old.outputs) });
    let more = nodes.len() - 1;
    graph.nodes.splice(at..=at, nodes);
    more
}
