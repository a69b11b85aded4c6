//! Turns an element of a list that is replaced by cutting the list in two into DYNAMIC_UPDATE_SLICE.
//!
//! Converters write `list[i] = item` as `CONCATENATION(SLICE(list, 0, i), item, SLICE(list, i + 1, the rest))`, whose parts have shapes that are known only at
//! run time and which copies the whole list in each iteration of a loop. The update has the shape of the list and works in place.

use crate::error::CompileError;
use crate::ir::{DType, Graph, GraphId, Model, Node, OpKind, TensorType};
use crate::ops::list_update::{ListUpdate, list_update};
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
        let node = &graph.nodes[at];
        let whole = |u: &ListUpdate| node.outputs.first().is_some_and(|out| graph.ty(*out) == graph.ty(u.list));
        if let Some(u) = list_update(graph, node).filter(whole) {
            at += replace(graph, at, &u);
            fused += 1;
        }
        at += 1;
    }
    Ok(fused)
}

/// Puts the update in place of the node `at`; gives the number of nodes that come in front of it.
fn replace(graph: &mut Graph, at: usize, u: &ListUpdate) -> usize {
    let (list, item, index) = (u.list, u.item, u.index);
    let rank = graph.ty(list).shape.len();
    let old = graph.nodes[at].clone();
    let mut nodes = vec![];
    let one = graph.add_ints("one", [1], &[1]);
    let head = graph.add_tensor("index", TensorType::new(DType::Int32, [1]));
    nodes.push(Node { location: old.location, ..Node::new(OpKind::Reshape, [index, one], [head]) });
    let mut start = head;
    if rank > 1 {
        let zeros = graph.add_ints("zeros", [rank - 1], &vec![0; rank - 1]);
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
