//! Rewrites of graphs: one pass a file. Which passes run, in which order and why, is said in [`crate::driver`].
//!
//! A pass takes a verified graph and gives a verified graph that computes the same outputs; the driver checks both.

pub mod bind_constants;
pub mod fold_constants;
pub mod fold_pad;
pub mod fold_transpose;
pub mod fuse_element;
pub mod fuse_list_update;
pub mod fuse_pointwise;
pub mod fuse_tail;
pub mod inline_calls;
pub mod lower_elementwise;
pub mod remove_dead_code;
pub mod remove_identities;
pub mod spell_out_open;
pub mod split_attention;
pub mod split_rows;
mod views;
pub mod widen_packed;

use crate::error::CompileError;
use crate::ir::{Graph, GraphId, Model, Node, NodeId, Patch};
use crate::target::Target;

/// A pass: rewrites one graph of a model for a target and says how many nodes it changed.
///
/// # Errors
/// `Internal` where a pass breaks, `Unsupported` where it meets what it should lower and cannot.
pub type Pass = fn(&mut Model, GraphId, &Target) -> Result<usize, CompileError>;

/// Merges nodes with their producers, as long as `candidate` names a producer of a node and what takes the place of both; how many there were.
fn merge_producers(model: &mut Model, id: GraphId, candidate: impl Fn(&Patch<'_>, NodeId) -> Option<(NodeId, Node)>) -> usize {
    let mut patch = Patch::new(&mut model.graphs[id.index()]);
    let mut merged = 0;
    for at in patch.ids() {
        // The merged node may have further producers to merge.
        while let Some((producer, node)) = candidate(&patch, at) {
            patch.remove(producer);
            patch.replace(at, node);
            merged += 1;
        }
    }
    merged
}

/// The only node that reads each tensor; none where several do, or the graph gives it as an output.
fn sole_readers(graph: &Graph) -> Vec<Option<usize>> {
    let mut count = vec![0; graph.tensors.len()];
    let mut last = vec![None; graph.tensors.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for t in node.reads() {
            if last[t.index()].replace(i) != Some(i) {
                count[t.index()] += 1;
            }
        }
    }
    graph.outputs.iter().for_each(|t| count[t.index()] += 1);
    last.into_iter().zip(count).map(|(reader, n)| reader.filter(|_| n == 1)).collect()
}
