//! Results of graphs that are called: open where those of the graph are, or where branches differ.

use super::{Axes, By, Site};
use crate::ir::{AttrValue, Graph, OpKind, Open, TensorId, TensorType};
use crate::ops::control::callees;

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Vec<Result>> {
    match site.node.op {
        OpKind::While => carried(site),
        OpKind::If | OpKind::StablehloCase | OpKind::Call | OpKind::StablehloComposite => joined(site),
        _ => None,
    }
}

/// A result, where it is followed.
type Result = Option<(TensorType, Axes)>;

/// A number that no other axis of a result of the node has.
fn own(k: usize, axis: usize) -> By {
    By::New(64 * k + axis)
}

/// The shape of a tensor of a called graph, and which axes are open.
fn shape(graph: &Graph, t: TensorId) -> Option<(&[usize], Vec<usize>)> {
    let open = match graph.open.get(&t) {
        Some(Open::Unknown) => return None,
        _ => graph.open_axes(t).iter().map(|o| o.axis as usize).collect(),
    };
    Some((&graph.ty(t).shape, open))
}

/// The most that any graph gives.
fn joined(site: &Site<'_>) -> Option<Vec<Result>> {
    let graphs: Vec<&Graph> = callees(site.node).into_iter().map(|g| site.values.model.graphs.get(g.index())).collect::<Option<_>>()?;
    let one = |k: usize| {
        let shapes = graphs.iter().map(|g| shape(g, *g.outputs.get(k)?)).collect::<Option<Vec<_>>>()?;
        let (mut most, mut axes) = (shapes.first()?.0.to_vec(), Axes::new());
        if shapes.iter().any(|s| s.0.len() != most.len()) {
            return None;
        }
        for axis in 0..most.len() {
            if shapes.iter().any(|s| s.1.contains(&axis) || s.0[axis] != most[axis]) {
                axes.push((axis, own(k, axis)));
            }
            most[axis] = shapes.iter().map(|s| s.0[axis]).max()?;
        }
        Some((site.result(k, site.call.output(k).ok()?.dtype, most)?, axes))
    };
    Some((0..site.node.outputs.len()).map(one).collect())
}

/// What the body of a loop gets; what it hands on is as long as the operand.
fn carried(site: &Site<'_>) -> Option<Vec<Result>> {
    let Some(AttrValue::Graph(body)) = site.node.attrs.get("body_subgraph_index") else { return None };
    let body = site.values.model.graphs.get(body.index())?;
    let one = |k: usize| {
        let (input, output) = (*body.inputs.get(k)?, *body.outputs.get(k)?);
        let (most, open) = shape(body, input)?;
        let axes = match input == output {
            true => site.mapped(k, Some)?,
            false => open.into_iter().map(|axis| (axis, own(k, axis))).collect(),
        };
        Some((site.result(k, site.call.output(k).ok()?.dtype, most)?, axes))
    };
    Some((0..site.node.outputs.len()).map(one).collect())
}
