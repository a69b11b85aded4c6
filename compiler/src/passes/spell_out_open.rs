//! Writes what operators do with tensors of open size in terms of others, where their families cannot do it on bounds.
//!
//! - Operands that meet element for element with other lengths or bounds than the result's: BROADCAST_TO of each to the shape that all have together.
//! - A product of two matrices of which the second is open, written as FULLY_CONNECTED: BATCH_MATMUL.
//! - Convolutions with strides over images of open size, whose border depends on that size: a border of its own, then the window without one.
//!
//! What needs no extents but those of its operands stays as it is.

use crate::error::CompileError;
use crate::ir::{AttrValue, Attrs, DType, Graph, GraphId, Model, Node, OpKind, Open, TensorId, TensorType};
use crate::ops::Call;
use crate::ops::conv_2d::Conv;
use crate::ops::fully_connected::is_plain_product;
use crate::ops::table::{Category, category};
use crate::target::Target;
use tflc_templates::expr::{Binary, Expr, ExprBuilder, Storage};

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    if model.graphs[id.index()].open.is_empty() {
        return Ok(0);
    }
    let mut changed = 0;
    let mut at = 0;
    while at < model.graphs[id.index()].nodes.len() {
        let mut front = vec![];
        let node = model.graphs[id.index()].nodes[at].clone();
        let new = match node.op {
            OpKind::Conv2d | OpKind::DepthwiseConv2d => border(model, id, at, &mut front),
            op if category(op) == Some(Category::Elementwise) => align(&mut model.graphs[id.index()], &node, &mut front),
            OpKind::FullyConnected => product(&model.graphs[id.index()], &node),
            _ => None,
        };
        if let Some(new) = new {
            let graph = &mut model.graphs[id.index()];
            changed += 1;
            graph.nodes[at] = new;
            for n in &mut front {
                n.location = node.location;
            }
            let more = front.len();
            graph.nodes.splice(at..at, front);
            at += more;
        }
        at += 1;
    }
    Ok(changed)
}

/// The product as one of two computed matrices.
fn product(graph: &Graph, node: &Node) -> Option<Node> {
    let weights = node.inputs.get(1).copied().flatten()?;
    if !is_plain_product(graph, node) || !is_open(graph, weights) {
        return None;
    }
    let attrs = Attrs::new().with("adj_x", AttrValue::Bool(false)).with("adj_y", AttrValue::Bool(true));
    Some(Node { op: OpKind::BatchMatmul, inputs: node.inputs[..2].to_vec(), attrs, ..node.clone() })
}

/// The window over an image with the border that it needs, where strides let that depend on the image's size.
fn border(model: &mut Model, id: GraphId, at: usize, front: &mut Vec<Node>) -> Option<Node> {
    let node = model.graphs[id.index()].nodes[at].clone();
    let (x, &out) = (node.inputs.first().copied().flatten()?, node.outputs.first()?);
    let graph = &model.graphs[id.index()];
    let open: Vec<u32> = graph.open_axes(x).iter().map(|o| o.axis).filter(|a| matches!(a, 1 | 2)).collect();
    if node.attrs.name("padding", "SAME") != "SAME" || open.is_empty() || graph.open.get(&out) == Some(&Open::Unknown) {
        return None;
    }
    let call = Call::of(model, id, &node, at);
    let window = Conv::new(&call).ok()?.window;
    if open.iter().all(|a| window.stride[*a as usize - 1] == 1) {
        return None;
    }
    let reach = [0, 1].map(|d| window.reach(d));
    let graph = &mut model.graphs[id.index()];
    let mut ty = graph.ty(x).clone();
    for d in 0..2 {
        ty.shape[d + 1] = window.input[d].max((window.output[d] - 1) * window.stride[d] + reach[d]);
    }
    let widths = widths(graph, x, reach, window.stride, front);
    let padded = graph.add_tensor("", ty);
    let mut axes = graph.open_axes(x).to_vec();
    for own in axes.iter_mut().filter(|o| o.axis != 0) {
        own.extent = graph.add_tensor("", TensorType::new(DType::Int64, []));
    }
    graph.open.insert(padded, Open::Along(axes));
    front.push(Node::new(OpKind::Pad, [x, widths], [padded]));
    let mut new = node;
    new.inputs[0] = Some(padded);
    new.attrs.set("padding", AttrValue::Enum("VALID".into()));
    Some(new)
}

/// The paddings of an image for windows that begin at every so many-th of its rows and columns: `max((ceil(n / s) - 1) s + reach - n, 0)`, half of it in front.
fn widths(graph: &mut Graph, x: TensorId, reach: [usize; 2], stride: [usize; 2], front: &mut Vec<Node>) -> TensorId {
    let int = |graph: &mut Graph, shape: &[usize]| graph.add_tensor("", TensorType::new(DType::Int32, shape.to_vec()));
    let (all, size) = (int(graph, &[4]), int(graph, &[2]));
    front.push(Node::new(OpKind::Shape, [x], [all]));
    let [begin, end, step] = [1, 3, 1].map(|v| graph.add_ints("", [1], &[v]));
    front.push(Node::new(OpKind::StridedSlice, [all, begin, end, step], [size]));
    let (reach, stride) = (graph.add_ints("", [2], &reach), graph.add_ints("", [2], &stride));
    let sides = [false, true].map(|behind| {
        let side = int(graph, &[2]);
        let mut node = Node::new(OpKind::Pointwise, [size, reach, stride], [side]);
        node.attrs.set("expr", AttrValue::Expr(Box::new(side_expr(behind))));
        front.push(node);
        side
    });
    let (pairs, widths, none) = (int(graph, &[2, 2]), int(graph, &[4, 2]), graph.add_ints("", [1, 2], &[0, 0]));
    let mut pack = Node::new(OpKind::Pack, sides, [pairs]);
    pack.attrs.set("axis", AttrValue::Int(1));
    pack.attrs.set("values_count", AttrValue::Int(2));
    front.push(pack);
    let mut join = Node::new(OpKind::Concatenation, [none, pairs, none], [widths]);
    join.attrs.set("axis", AttrValue::Int(0));
    front.push(join);
    widths
}

/// One side of the border of a length (input 0), of windows with a reach (1) and a stride (2).
fn side_expr(behind: bool) -> Expr {
    let mut b = ExprBuilder::new([Storage::I32; 3]);
    let (n, reach, stride) = (b.input(0), b.input(1), b.input(2));
    let (zero, one, two) = (b.i32(0), b.i32(1), b.i32(2));
    let fewer = b.sub(n, one);
    // One less than the number of windows.
    let last = b.binary(Binary::Div, fewer, stride);
    let last = b.mul(last, stride);
    let needed = b.add(last, reach);
    let total = b.sub(needed, n);
    let total = b.max(total, zero);
    let before = b.binary(Binary::Div, total, two);
    let side = if behind { b.sub(total, before) } else { before };
    b.finish(side, Storage::I32)
}

fn is_open(graph: &Graph, t: TensorId) -> bool {
    !graph.open_axes(t).is_empty()
}

/// Whether an operand is not what the result is along some axis, so that a kernel on bounds could not read it.
fn differs(graph: &Graph, t: TensorId, out: TensorId) -> bool {
    let (own, all) = (&graph.ty(t).shape, &graph.ty(out).shape);
    let Some(lead) = all.len().checked_sub(own.len()) else { return false };
    graph.open_axes(t).iter().any(|o| {
        let at = lead + o.axis as usize;
        let same = graph.open_axes(out).iter().find(|u| u.axis as usize == at).map(|u| u.extent);
        // An axis as long as the bound, in the result: a run compares.
        own[o.axis as usize] != all[at] || same.is_some_and(|e| e != o.extent)
    })
}

/// The node with its operands as long as the result.
fn align(graph: &mut Graph, node: &Node, front: &mut Vec<Node>) -> Option<Node> {
    let &[out] = &node.outputs[..] else { return None };
    let known = |t: TensorId| graph.open.get(&t) != Some(&Open::Unknown);
    let mut operands: Vec<TensorId> = node.inputs.iter().flatten().copied().collect();
    operands.dedup();
    let odd: Vec<TensorId> = operands.iter().copied().filter(|t| differs(graph, *t, out)).collect();
    if odd.is_empty() || !known(out) || !operands.iter().all(|t| known(*t)) || node.tail.is_some() {
        return None;
    }
    let shape = if is_open(graph, out) { common_shape(graph, &operands, front) } else { written(graph, out) };
    let mut new = node.clone();
    for t in odd {
        let ty = TensorType { shape: graph.ty(out).shape.clone(), ..graph.ty(t).clone() };
        let whole = graph.add_tensor("", ty);
        if let Some(open) = graph.open.get(&out).cloned() {
            graph.open.insert(whole, open);
        }
        front.push(Node::new(OpKind::BroadcastTo, [t, shape], [whole]));
        new.inputs.iter_mut().filter(|i| **i == Some(t)).for_each(|i| *i = Some(whole));
    }
    Some(new)
}

/// The shape of a tensor that is not open, as a constant.
fn written(graph: &mut Graph, t: TensorId) -> TensorId {
    let shape = graph.ty(t).shape.clone();
    graph.add_ints("", [shape.len()], &shape)
}

/// The shape that all operands broadcast to.
fn common_shape(graph: &mut Graph, operands: &[TensorId], front: &mut Vec<Node>) -> TensorId {
    let mut all: Option<TensorId> = None;
    for &t in operands {
        let rank = graph.ty(t).shape.len();
        if graph.ty(t).shape.iter().all(|n| *n == 1) && !is_open(graph, t) && all.is_some() {
            continue;
        }
        let own = match is_open(graph, t) {
            false => written(graph, t),
            true => {
                let shape = graph.add_tensor("", TensorType::new(DType::Int32, [rank]));
                front.push(Node::new(OpKind::Shape, [t], [shape]));
                shape
            }
        };
        all = Some(match all {
            None => own,
            Some(before) => {
                let rank = graph.ty(before).shape[0].max(rank);
                let both = graph.add_tensor("", TensorType::new(DType::Int32, [rank]));
                front.push(Node::new(OpKind::BroadcastArgs, [before, own], [both]));
                both
            }
        });
    }
    all.unwrap_or_else(|| written(graph, operands[0]))
}
