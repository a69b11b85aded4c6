//! Puts the nodes of called graphs in place of the call: CALL, composites by their decomposition, IF where the condition is constant.
//!
//! What follows sees one graph and fuses across the border. A call stays where the called graph keeps state in variable tensors (each
//! has one state, however often it is called), calls itself, or takes or gives types other than those of the call.

use crate::error::CompileError;
use crate::ir::{AttrValue, Attrs, Graph, GraphId, Model, Node, OpKind, Open, OpenAxis, Quantization, TensorId};
use crate::ops::callees;
use crate::target::Target;
use std::collections::HashSet;

/// Nodes that a graph may grow to.
const MOST_NODES: usize = 1 << 16;

/// Runs the pass.
///
/// # Errors
/// None: a call that cannot be inlined stays.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let mut inlined = 0;
    let mut at = 0;
    // Nodes that come in place of a call are looked at again: they may be calls.
    while at < model.graphs[id.index()].nodes.len() {
        match inlinable(model, id, at) {
            Some((callee, first)) => {
                inline(model, id, at, callee, first);
                inlined += 1;
            }
            None => at += 1,
        }
    }
    Ok(inlined)
}

/// The graph to put in place of the node `at`, and the first operand that it takes.
fn inlinable(model: &Model, id: GraphId, at: usize) -> Option<(GraphId, usize)> {
    let graph = &model.graphs[id.index()];
    let node = &graph.nodes[at];
    let target = |name: &str| match node.attrs.get(name) {
        Some(AttrValue::Graph(g)) => Some(*g),
        _ => None,
    };
    let (callee, first) = match node.op {
        OpKind::Call => (target("subgraph")?, 0),
        OpKind::StablehloComposite => (target("decomposition_subgraph_index")?, 0),
        OpKind::If => {
            let truth = *graph.tensor(node.inputs.first().copied().flatten()?).data.as_ref()?.first()?;
            (target(if truth != 0 { "then_subgraph_index" } else { "else_subgraph_index" })?, 1)
        }
        _ => return None,
    };
    let inner = model.graphs.get(callee.index())?;
    let axes = |g: &Graph, t: TensorId| match g.open.get(&t) {
        Some(Open::Unknown) => None,
        _ => Some(g.open_axes(t).iter().map(|o| o.axis).collect::<Vec<_>>()),
    };
    let alike = |outside: TensorId, inside: TensorId| axes(graph, outside).is_some_and(|a| axes(inner, inside) == Some(a));
    let same =
        |(outside, inside): (Option<TensorId>, &TensorId)| outside.is_some_and(|t| graph.ty(t) == inner.ty(*inside) && alike(t, *inside));
    let fits = node.inputs.len() == first + inner.inputs.len()
        && node.outputs.len() == inner.outputs.len()
        && node.inputs[first..].iter().copied().zip(&inner.inputs).all(same)
        && node.outputs.iter().map(|t| Some(*t)).zip(&inner.outputs).all(same);
    // A copy is a reshape to a shape that is written down: not for what is as long as a run says.
    let copied = |k: usize, t: &TensorId| inner.inputs.contains(t) || inner.outputs[..k].contains(t);
    let fits = fits && !inner.outputs.iter().enumerate().any(|(k, t)| !inner.open_axes(*t).is_empty() && copied(k, t));
    let small = graph.nodes.len() + inner.nodes.len() <= MOST_NODES;
    let stateless = inner.tensors.iter().all(|t| !t.variable);
    (fits && small && stateless && !reaches(model, callee, &[id, callee])).then_some((callee, first))
}

/// Whether a graph calls one of `goals`, directly or not.
fn reaches(model: &Model, from: GraphId, goals: &[GraphId]) -> bool {
    let (mut seen, mut open) = (HashSet::new(), vec![from]);
    while let Some(id) = open.pop() {
        let Some(graph) = model.graphs.get(id.index()) else { continue };
        for callee in graph.nodes.iter().flat_map(callees) {
            if goals.contains(&callee) {
                return true;
            }
            if seen.insert(callee) {
                open.push(callee);
            }
        }
    }
    false
}

/// Replaces the node `at` by the nodes of `callee`.
fn inline(model: &mut Model, id: GraphId, at: usize, callee: GraphId, first: usize) {
    let inner = model.graphs[callee.index()].clone();
    let graph = &mut model.graphs[id.index()];
    let node = graph.nodes[at].clone();
    let mut place: Vec<Option<TensorId>> = vec![None; inner.tensors.len()];
    for (inside, outside) in inner.inputs.iter().zip(&node.inputs[first..]) {
        place[inside.index()] = place[inside.index()].or(*outside);
    }
    let mut copies = vec![];
    for (inside, &outside) in inner.outputs.iter().zip(&node.outputs) {
        match place[inside.index()] {
            None if inner.tensor(*inside).data.is_none() => place[inside.index()] = Some(outside),
            _ => copies.push((*inside, outside)),
        }
    }
    // Extents of operands are those of the inputs, and extents of results those of the outputs; where both are said of one, two of this graph are the same.
    let mut united = vec![];
    let given = inner.inputs.iter().zip(&node.inputs[first..]).filter_map(|(inside, outside)| Some((*inside, (*outside)?)));
    let pairs: Vec<(TensorId, TensorId)> = given.chain(inner.outputs.iter().copied().zip(node.outputs.iter().copied())).collect();
    for (inside, outside) in pairs {
        for (a, b) in inner.open_axes(inside).iter().zip(graph.open_axes(outside)) {
            match place[a.extent.index()] {
                None => place[a.extent.index()] = Some(b.extent),
                Some(own) => united.push((b.extent, own)),
            }
        }
    }
    let added = graph.tensors.len();
    for (i, tensor) in inner.tensors.iter().enumerate() {
        if place[i].is_none() {
            graph.tensors.push(tensor.clone());
            place[i] = Some(TensorId(graph.tensors.len() as u32 - 1));
        }
    }
    for tensor in &mut graph.tensors[added..] {
        // Scales of blocks are named by tensor.
        if let Quantization::Blockwise { scales, zero_points, .. } = &mut tensor.ty.quant {
            [Some(scales), zero_points.as_mut()].into_iter().flatten().for_each(|t| *t = place[t.index()].unwrap_or(*t));
        }
    }
    let to = |t: TensorId| place[t.index()].unwrap_or(t);
    let open: Vec<(TensorId, Open)> = inner.open.iter().map(|(t, open)| (to(*t), renamed_axes(open, &to))).collect();
    graph.open.extend(open);
    for (from, into) in united {
        unite(graph, from, into);
    }
    let mut nodes: Vec<Node> = inner.nodes.iter().map(|n| renamed(n, &to)).collect();
    nodes.extend(copies.into_iter().map(|(inside, outside)| copy(graph, to(inside), outside, &node)));
    graph.nodes.splice(at..=at, nodes);
}

/// How a tensor is open, by other names of extents.
fn renamed_axes(open: &Open, to: &dyn Fn(TensorId) -> TensorId) -> Open {
    match open {
        Open::Along(axes) => Open::Along(axes.iter().map(|o| OpenAxis { axis: o.axis, extent: to(o.extent) }).collect()),
        Open::Unknown => Open::Unknown,
    }
}

/// Lets tensors that are as long as one extent says be as long as another one says.
fn unite(graph: &mut Graph, from: TensorId, into: TensorId) {
    for open in graph.open.values_mut() {
        *open = renamed_axes(open, &|e| if e == from { into } else { e });
    }
}

/// The node with other names for its tensors.
fn renamed(node: &Node, to: &dyn Fn(TensorId) -> TensorId) -> Node {
    let mut node = node.clone();
    node.inputs.iter_mut().flatten().for_each(|t| *t = to(*t));
    node.outputs.iter_mut().for_each(|t| *t = to(*t));
    node.intermediates.iter_mut().for_each(|t| *t = to(*t));
    if let Some(tail) = &mut node.tail {
        tail.inputs.iter_mut().for_each(|t| *t = to(*t));
    }
    node
}

/// A node that gives `source` as `result`, which has its type.
fn copy(graph: &Graph, source: TensorId, result: TensorId, call: &Node) -> Node {
    let shape = graph.ty(result).shape.iter().map(|d| *d as i64).collect();
    let mut node = Node::new(OpKind::Reshape, [source], [result]);
    node.attrs = Attrs::new().with("new_shape", AttrValue::Ints(shape));
    node.location = call.location;
    node
}
