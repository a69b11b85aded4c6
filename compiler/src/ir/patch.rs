//! Edits a graph without moving nodes: nodes keep their identifiers while they are replaced, removed and inserted, uses stay
//! up to date, and the list of nodes is put in order once, at the end.
//!
//! Every edit costs time in proportion to the nodes it touches, so a pass that walks the graph once is linear. A node's identifier is its
//! position before the first edit; inserted nodes get numbers behind. The end (by [`Patch::finish`] or by dropping the patch) keeps the order
//! of nodes, inserted ones before the node they were inserted at; only where an edit made a node read what a later one computes does
//! the later one move forward. Graph outputs are part of the interface: edits never rename them.

use crate::ir::{Graph, Node, NodeId, Tensor, TensorId, TensorType};

/// Readers of a tensor: how many, and their numbers combined, which for a single one is that one.
#[derive(Clone, Copy, Default)]
struct Readers {
    count: u32,
    xor: u32,
}

/// An edit of a graph in progress.
pub struct Patch<'g> {
    graph: &'g mut Graph,
    nodes: Vec<Option<Node>>,
    /// Inserted nodes by the node that they come before.
    before: Vec<Vec<u32>>,
    producer: Vec<Option<u32>>,
    readers: Vec<Readers>,
    /// Every reader of each tensor, and some that no longer are.
    reader_log: Vec<Vec<u32>>,
    output: Vec<bool>,
    changed: usize,
}

impl<'g> Patch<'g> {
    /// Starts an edit.
    ///
    /// # Panics
    /// Where nodes name tensors that the graph lacks (the verifier has seen to that).
    pub fn new(graph: &'g mut Graph) -> Patch<'g> {
        let (n, tensors) = (graph.nodes.len(), graph.tensors.len());
        let nodes: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
        let mut patch = Patch {
            graph,
            nodes: vec![None; n],
            before: vec![vec![]; n],
            producer: vec![None; tensors],
            readers: vec![Readers::default(); tensors],
            reader_log: vec![vec![]; tensors],
            output: vec![false; tensors],
            changed: 0,
        };
        for t in &patch.graph.outputs {
            patch.output[t.index()] = true;
        }
        for (i, node) in nodes.into_iter().enumerate() {
            if let Some(node) = node {
                patch.put(i as u32, node);
            }
        }
        patch
    }

    // ---- looking ----

    /// The nodes that the graph had at the start, in order; those removed meanwhile too.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.before.len() as u32).map(NodeId)
    }

    /// A node; `None` where it was removed.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.index())?.as_ref()
    }

    /// The graph's tensors, inputs and outputs; its list of nodes is empty while it is being edited.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// A tensor.
    ///
    /// # Panics
    /// Where it is not of this graph.
    pub fn tensor(&self, t: TensorId) -> &Tensor {
        self.graph.tensor(t)
    }

    /// Type of a tensor.
    ///
    /// # Panics
    /// Where it is not of this graph.
    pub fn ty(&self, t: TensorId) -> &TensorType {
        self.graph.ty(t)
    }

    /// The node that computes a tensor.
    pub fn producer(&self, t: TensorId) -> Option<NodeId> {
        self.producer[t.index()].map(NodeId)
    }

    /// Whether the graph gives the tensor as an output.
    pub fn is_output(&self, t: TensorId) -> bool {
        self.output[t.index()]
    }

    /// How many nodes read a tensor.
    pub fn reader_count(&self, t: TensorId) -> usize {
        self.readers[t.index()].count as usize
    }

    /// The nodes that read a tensor, each once, in no particular order.
    pub fn readers(&self, t: TensorId) -> Vec<NodeId> {
        let mut readers: Vec<u32> = self.reader_log[t.index()].iter().copied().filter(|r| self.reads(*r, t)).collect();
        readers.sort_unstable();
        readers.dedup();
        readers.into_iter().map(NodeId).collect()
    }

    /// The only node that reads a tensor that is no output.
    pub fn sole_reader(&self, t: TensorId) -> Option<NodeId> {
        let r = self.readers[t.index()];
        (r.count == 1 && !self.output[t.index()]).then_some(NodeId(r.xor))
    }

    /// The node that computes `t`, where nothing but the node `reader` needs it: it may be merged into that one.
    pub fn sole_producer(&self, t: TensorId, reader: NodeId) -> Option<NodeId> {
        (self.sole_reader(t) == Some(reader) && !self.tensor(t).variable).then(|| self.producer(t)).flatten()
    }

    fn reads(&self, node: u32, t: TensorId) -> bool {
        self.nodes[node as usize].as_ref().is_some_and(|n| n.reads().any(|u| u == t))
    }

    // ---- editing ----

    /// Adds a tensor for a node to compute.
    pub fn add_tensor(&mut self, name: impl Into<String>, ty: TensorType) -> TensorId {
        let t = self.graph.add_tensor(name, ty);
        self.grow();
        t
    }

    /// Adds a constant.
    pub fn add_const(&mut self, name: impl Into<String>, ty: TensorType, data: impl Into<crate::ir::Bytes>) -> TensorId {
        let t = self.graph.add_const(name, ty, data);
        self.grow();
        t
    }

    /// Adds a constant list of int32 numbers.
    pub fn add_ints(&mut self, name: impl Into<String>, values: &[usize]) -> TensorId {
        let t = self.graph.add_ints(name, [values.len()], values);
        self.grow();
        t
    }

    fn grow(&mut self) {
        self.producer.push(None);
        self.readers.push(Readers::default());
        self.reader_log.push(vec![]);
        self.output.push(false);
    }

    /// Puts another node in the place of one, which may have been removed. Remove the other producer first where a result moves from node to node.
    ///
    /// # Panics
    /// In debug builds, where another node computes one of its results.
    pub fn replace(&mut self, id: NodeId, node: Node) {
        self.changed += 1;
        self.take(id.0);
        self.put(id.0, node);
    }

    /// Removes a node and gives it; its results have no value any more.
    pub fn remove(&mut self, id: NodeId) -> Option<Node> {
        self.changed += 1;
        self.take(id.0)
    }

    /// Adds a node right before another one (and behind those inserted there already).
    ///
    /// # Panics
    /// Where `at` is itself an inserted node.
    pub fn insert_before(&mut self, at: NodeId, node: Node) -> NodeId {
        self.changed += 1;
        let id = self.nodes.len() as u32;
        self.nodes.push(None);
        self.before[at.index()].push(id);
        self.put(id, node);
        NodeId(id)
    }

    /// Makes every node that reads `old` read `new` instead. Where `old` is an output, it stays one and keeps its producer.
    pub fn substitute(&mut self, old: TensorId, new: TensorId) {
        if old == new {
            return;
        }
        for reader in self.readers(old) {
            self.changed += 1;
            if let Some(mut node) = self.take(reader.0) {
                let tail = node.tail.iter_mut().flat_map(|t| &mut t.inputs);
                node.inputs.iter_mut().flatten().chain(tail).filter(|t| **t == old).for_each(|t| *t = new);
                self.put(reader.0, node);
            }
        }
        self.reader_log[old.index()].clear();
    }

    fn take(&mut self, id: u32) -> Option<Node> {
        let node = self.nodes[id as usize].take()?;
        self.count(id, &node, |r, id| Readers { count: r.count - 1, xor: r.xor ^ id });
        for t in &node.outputs {
            if self.producer[t.index()] == Some(id) {
                self.producer[t.index()] = None;
            }
        }
        Some(node)
    }

    fn put(&mut self, id: u32, node: Node) {
        for t in &node.outputs {
            debug_assert!(self.producer[t.index()].is_none(), "{t} has another producer");
            self.producer[t.index()] = Some(id);
        }
        self.count(id, &node, |r, id| Readers { count: r.count + 1, xor: r.xor ^ id });
        for t in node.reads() {
            let log = &mut self.reader_log[t.index()];
            if log.last() != Some(&id) {
                log.push(id);
            }
        }
        self.nodes[id as usize] = Some(node);
    }

    /// Updates the readers of every tensor that a node reads, once each.
    fn count(&mut self, id: u32, node: &Node, update: impl Fn(Readers, u32) -> Readers) {
        let mut reads: Vec<TensorId> = node.reads().collect();
        reads.sort_unstable();
        reads.dedup();
        for t in reads {
            let r = &mut self.readers[t.index()];
            *r = update(*r, id);
        }
    }

    // ---- the end ----

    /// Ends the edit and says how many edits there were.
    pub fn finish(self) -> usize {
        self.changed
    }

    /// Puts the nodes back, each behind those whose results it reads; nodes in a cycle keep their place, for the verifier to find.
    fn put_back(&mut self) {
        let order: Vec<u32> = (0..self.before.len() as u32)
            .flat_map(|i| self.before[i as usize].iter().copied().chain([i]))
            .filter(|i| self.nodes[*i as usize].is_some())
            .collect();
        let mut entered = vec![false; self.nodes.len()];
        let mut out = Vec::with_capacity(order.len());
        let mut stack = vec![];
        for root in order {
            stack.push((root, false));
            while let Some((id, ready)) = stack.pop() {
                if ready {
                    out.extend(self.nodes[id as usize].take());
                } else if !std::mem::replace(&mut entered[id as usize], true) {
                    stack.push((id, true));
                    let reads = self.nodes[id as usize].iter().flat_map(Node::reads);
                    let producers: Vec<u32> = reads.filter_map(|t| self.producer[t.index()]).filter(|p| !entered[*p as usize]).collect();
                    stack.extend(producers.into_iter().rev().map(|p| (p, false)));
                }
            }
        }
        self.graph.nodes = out;
    }
}

impl Drop for Patch<'_> {
    fn drop(&mut self) {
        self.put_back();
    }
}

#[cfg(test)]
mod tests;
