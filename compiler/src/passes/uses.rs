//! Who computes and who reads each tensor of a graph.

use crate::ir::{Graph, TensorId};

/// Producers and readers by tensor.
pub(super) struct Uses {
    /// The node that computes each tensor.
    pub(super) producer: Vec<Option<usize>>,
    /// The nodes that read each tensor, each once, in order.
    pub(super) readers: Vec<Vec<usize>>,
    /// Whether the graph gives the tensor as an output.
    pub(super) output: Vec<bool>,
}

impl Uses {
    pub(super) fn of(graph: &Graph) -> Uses {
        let n = graph.tensors.len();
        let mut uses = Uses { producer: vec![None; n], readers: vec![vec![]; n], output: vec![false; n] };
        for (i, node) in graph.nodes.iter().enumerate() {
            for t in node.reads() {
                if uses.readers[t.index()].last() != Some(&i) {
                    uses.readers[t.index()].push(i);
                }
            }
            for t in &node.outputs {
                uses.producer[t.index()] = Some(i);
            }
        }
        for t in &graph.outputs {
            uses.output[t.index()] = true;
        }
        uses
    }

    /// The node that computes `t`, where `reader` is the only one that reads it.
    pub(super) fn sole_producer(&self, graph: &Graph, t: TensorId, reader: usize) -> Option<usize> {
        let i = t.index();
        (!self.output[i] && !graph.tensors[i].variable && self.readers[i] == [reader]).then_some(self.producer[i]).flatten()
    }
}
