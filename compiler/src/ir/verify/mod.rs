//! Checks models: the rules that every pass may rely on and must keep.
//!
//! In: any [`Model`]. Out: nothing, or the first rule that it breaks, with its place. Linear in nodes, tensors and expressions, so that debug builds
//! run it after every pass. What an operator asks of its operands and attributes is not checked here: that is [`crate::ops`]'s to infer.

mod error;
mod types;

pub use error::{VerifyCause, VerifyError};

use crate::ir::{AttrValue, Graph, GraphId, Model, Node, NodeId, OpKind, Signature, TensorId, TensorType};
use tflc_templates::expr::{Expr, Storage};
use types::shape_broadcasts;

/// Checks a model.
///
/// # Errors
/// The first rule broken: graph by graph, tensors before nodes, then signatures and calls between graphs.
pub fn verify(model: &Model) -> Result<(), VerifyError> {
    if model.graphs.is_empty() {
        return Err(VerifyError::of(VerifyCause::NoGraph));
    }
    for (i, graph) in model.graphs.iter().enumerate() {
        verify_graph(model, GraphId(i as u32), graph)?;
    }
    for s in &model.signatures {
        signature(model, s).map_err(|cause| VerifyError::of(VerifyCause::Signature { key: s.key.clone(), cause: Box::new(cause) }))?;
    }
    calls(model)
}

type Cause<T = ()> = Result<T, VerifyCause>;

fn verify_graph(model: &Model, id: GraphId, graph: &Graph) -> Result<(), VerifyError> {
    let error = |cause| VerifyError { graph: Some(id), ..VerifyError::of(cause) };
    for (i, tensor) in graph.tensors.iter().enumerate() {
        types::tensor(graph, tensor)
            .map_err(|cause| VerifyError { tensor: Some((TensorId(i as u32), tensor.name.clone())), ..error(cause) })?;
    }
    for (&t, open) in &graph.open {
        types::open(graph, t, open).map_err(error)?;
    }
    let mut state = State { graph, defined: vec![None; graph.tensors.len()] };
    state.sources().map_err(error)?;
    for (i, node) in graph.nodes.iter().enumerate() {
        let at = NodeId(i as u32);
        state.node(model, at, node).map_err(|cause| VerifyError { node: Some((at, node.op)), ..error(cause) })?;
    }
    for t in &graph.outputs {
        state.read(*t).map_err(error)?;
    }
    Ok(())
}

/// How a tensor gets its value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Source {
    Input,
    Constant,
    Variable,
    Node(NodeId),
}

struct State<'a> {
    graph: &'a Graph,
    /// Where the value of each tensor comes from, as far as it has one.
    defined: Vec<Option<Source>>,
}

impl State<'_> {
    fn known(&self, t: TensorId) -> Cause {
        if t.index() < self.graph.tensors.len() { Ok(()) } else { Err(VerifyCause::NoTensor(t)) }
    }

    /// Empty tensors need no producer: models use them for operands that are not there.
    fn read(&self, t: TensorId) -> Cause {
        self.known(t)?;
        let empty = self.graph.ty(t).shape.contains(&0);
        if self.defined[t.index()].is_some() || empty { Ok(()) } else { Err(VerifyCause::Undefined(t)) }
    }

    /// Inputs, constants and variables have values from the start.
    fn sources(&mut self) -> Cause {
        for (i, tensor) in self.graph.tensors.iter().enumerate() {
            self.defined[i] = match (&tensor.data, tensor.variable) {
                (Some(_), true) => return Err(VerifyCause::ConstantVariable(TensorId(i as u32))),
                (Some(_), false) => Some(Source::Constant),
                (None, true) => Some(Source::Variable),
                (None, false) => None,
            };
        }
        for &t in &self.graph.inputs {
            self.known(t)?;
            match self.defined[t.index()].replace(Source::Input) {
                None => {}
                Some(Source::Input) => return Err(VerifyCause::InputTwice(t)),
                Some(_) => return Err(VerifyCause::InputWithValue(t)),
            }
        }
        Ok(())
    }

    fn node(&mut self, model: &Model, at: NodeId, node: &Node) -> Cause {
        for t in node.reads() {
            self.read(t)?;
        }
        for t in &node.intermediates {
            self.known(*t)?;
        }
        for &t in &node.outputs {
            self.known(t)?;
            match self.defined[t.index()].replace(Source::Node(at)) {
                None => {}
                Some(Source::Node(first)) => return Err(VerifyCause::ProducedTwice(t, first)),
                Some(_) => return Err(VerifyCause::ProducedSource(t)),
            }
        }
        if let Some(g) = called(node).find(|g| g.index() >= model.graphs.len()) {
            return Err(VerifyCause::NoGraphNumbered(g));
        }
        for (_, value) in node.attrs.iter() {
            if let AttrValue::Expr(e) = value {
                e.verify().map_err(VerifyCause::Expr)?;
            }
        }
        if node.op == OpKind::Pointwise {
            self.pointwise(node)?;
        }
        self.tail(node)
    }

    fn pointwise(&self, node: &Node) -> Cause {
        let Some(AttrValue::Expr(expr)) = node.attrs.get("expr") else { return Err(VerifyCause::NoExpr) };
        let &[out] = &node.outputs[..] else { return Err(VerifyCause::Results(node.outputs.len())) };
        let result = match &node.tail {
            Some(tail) => &tail.result,
            None => self.graph.ty(out),
        };
        let operands: Option<Vec<TensorId>> = node.inputs.iter().copied().collect();
        let operands = operands.ok_or(VerifyCause::AbsentOperand)?;
        self.applied(expr, &operands, 0, result)
    }

    fn tail(&self, node: &Node) -> Cause {
        let Some(tail) = &node.tail else { return Ok(()) };
        let Some(out) = node.outputs.first() else { return Err(VerifyCause::Results(0)) };
        let out = self.graph.ty(*out);
        types::ty(self.graph, &tail.result)?;
        tail.expr.verify().map_err(VerifyCause::Expr)?;
        if tail.result.shape != out.shape {
            return Err(VerifyCause::TailShape { result: tail.result.shape.clone(), output: out.shape.clone() });
        }
        if let Some(first) = tail.expr.inputs.first() {
            storage(0, *first, &tail.result)?;
        }
        self.applied(&tail.expr, &tail.inputs, 1, out)
    }

    /// Checks that the inputs of an expression from `first` on are these tensors, and its result is of this type.
    fn applied(&self, expr: &Expr, operands: &[TensorId], first: usize, result: &TensorType) -> Cause {
        if expr.inputs.len() != first + operands.len() {
            return Err(VerifyCause::InputCount { expr: expr.inputs.len(), operands: first + operands.len() });
        }
        for (i, (t, s)) in operands.iter().zip(expr.inputs.iter().skip(first)).enumerate() {
            let ty = self.graph.ty(*t);
            storage(first + i, *s, ty)?;
            if !shape_broadcasts(&ty.shape, &result.shape) {
                return Err(VerifyCause::Broadcast { tensor: *t, from: ty.shape.clone(), to: result.shape.clone() });
            }
        }
        match result.dtype.storage() {
            Some(s) if s == expr.output => Ok(()),
            _ => Err(VerifyCause::ResultStorage { expr: expr.output, tensor: result.dtype }),
        }
    }
}

/// Checks that elements of a type are what an expression loads as its input `i`.
fn storage(i: usize, expected: Storage, ty: &TensorType) -> Cause {
    match ty.dtype.storage() {
        Some(s) if s == expected => Ok(()),
        _ => Err(VerifyCause::InputStorage { input: i, expr: expected, tensor: ty.dtype }),
    }
}

fn signature(model: &Model, s: &Signature) -> Cause {
    let Some(graph) = model.graphs.get(s.graph.index()) else { return Err(VerifyCause::NoGraphNumbered(s.graph)) };
    let listed = |named: &[(String, TensorId)], all: &[TensorId]| {
        let set: std::collections::HashSet<TensorId> = all.iter().copied().collect();
        match named.iter().find(|(_, t)| !set.contains(t)) {
            Some((name, t)) => Err(VerifyCause::NotListed(name.clone(), *t)),
            None => Ok(()),
        }
    };
    listed(&s.inputs, &graph.inputs)?;
    listed(&s.outputs, &graph.outputs)
}

/// The graphs that a node calls.
fn called(node: &Node) -> impl Iterator<Item = GraphId> {
    node.attrs.iter().flat_map(|(name, value)| match value {
        AttrValue::Graph(g) => vec![*g],
        // A case has a list of graphs.
        AttrValue::Ints(v) if name == "branch_subgraph_indices" => {
            v.iter().map(|g| GraphId(u32::try_from(*g).unwrap_or(u32::MAX))).collect()
        }
        _ => vec![],
    })
}

/// Checks that no graph calls itself, directly or through others.
fn calls(model: &Model) -> Result<(), VerifyError> {
    let callees = |g: GraphId| -> Vec<GraphId> { model.graphs[g.index()].nodes.iter().flat_map(called).collect() };
    // Depth first: a graph is open while its callees are walked, then done.
    let (mut open, mut done) = (vec![false; model.graphs.len()], vec![false; model.graphs.len()]);
    for root in (0..model.graphs.len() as u32).map(GraphId) {
        let mut stack = vec![(root, None::<Vec<GraphId>>)];
        while let Some((g, rest)) = stack.last_mut() {
            let at = g.index();
            if done[at] {
                stack.pop();
                continue;
            }
            let rest = rest.get_or_insert_with(|| {
                open[at] = true;
                callees(*g)
            });
            match rest.pop() {
                Some(next) if open[next.index()] => {
                    return Err(VerifyError { graph: Some(*g), ..VerifyError::of(VerifyCause::Cycle(next)) });
                }
                Some(next) => stack.push((next, None)),
                None => {
                    (open[at], done[at]) = (false, true);
                    stack.pop();
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
