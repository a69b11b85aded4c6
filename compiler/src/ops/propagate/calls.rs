//! Types across the borders of graphs: operands of control operators become inputs of the graphs that they call, and what a loop carries gets a bound.

use super::Pass;
use super::growth::{Growth, Loop};
use crate::error::CompileError;
use crate::ir::{DType, Graph, GraphId, Model, Node, OpKind, OpenAxis, TensorId, TensorType};
use crate::ops::control::{called_graphs, callees};
use crate::ops::value::Value;
use std::collections::HashMap;

/// How often in all the types that loops carry are widened before those that change are given up.
pub(super) const ROUNDS: usize = 200;

/// The shape of a value that crosses a border: bounds, and which axes are open by which extent of the caller; `None` where it is not followed.
type Crossing = Option<(Vec<usize>, Vec<(usize, Source)>)>;

/// What tells the extents of a called graph's inputs apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Source {
    /// An extent of the caller.
    Caller(TensorId),
    /// An axis of one value that a loop carries.
    Carried(usize, usize),
}

impl Pass {
    /// Gives graphs that the node calls the types of its operands, and visits them.
    pub(super) fn calls(
        &mut self,
        model: &mut Model,
        id: GraphId,
        index: usize,
        depth: usize,
        known: &HashMap<TensorId, Value>,
    ) -> Result<(), CompileError> {
        let node = model.graphs[id.index()].nodes[index].clone();
        let first = matches!(node.op, OpKind::If | OpKind::StablehloCase) as usize;
        let operands: Vec<Option<TensorId>> = node.inputs.iter().skip(first).copied().collect();
        let crossings: Vec<Crossing> = operands.iter().map(|t| self.crossing(&model.graphs[id.index()], id, (*t)?)).collect();
        if node.op == OpKind::While {
            return self.carry(model, id, &node, crossings, depth, known);
        }
        for target in callees(&node) {
            if target.index() < model.graphs.len() && !self.done.contains(&target) {
                self.enter(model, target, &operands, &crossings);
                self.graph(model, target, depth + 1)?;
            }
        }
        Ok(())
    }

    /// The shape of an operand.
    fn crossing(&self, graph: &Graph, id: GraphId, t: TensorId) -> Crossing {
        let axes: Vec<(usize, Source)> = graph.open_axes(t).iter().map(|o| (o.axis as usize, Source::Caller(o.extent))).collect();
        if self.out.dynamic.contains(&(id, t)) && axes.is_empty() {
            return None;
        }
        Some((graph.ty(t).shape.clone(), axes))
    }

    /// Gives the inputs of a graph these shapes.
    fn enter(&mut self, model: &mut Model, target: GraphId, operands: &[Option<TensorId>], crossings: &[Crossing]) {
        let graph = &mut model.graphs[target.index()];
        let mut extents: HashMap<Source, TensorId> = HashMap::new();
        for ((operand, crossing), input) in operands.iter().zip(crossings).zip(graph.inputs.clone()) {
            if operand.is_none() {
                continue;
            }
            self.inputs.remove(&(target, input));
            self.out.dynamic.remove(&(target, input));
            let Some((shape, axes)) = crossing else {
                self.out.dynamic.insert((target, input));
                continue;
            };
            graph.tensors[input.index()].set_shape(shape);
            if axes.is_empty() {
                continue;
            }
            let old: Vec<OpenAxis> = graph.open_axes(input).to_vec();
            let mut open = vec![];
            for (axis, source) in axes {
                let known = old.iter().find(|o| o.axis as usize == *axis).map(|o| o.extent).filter(|e| !extents.values().any(|u| u == e));
                let extent = *extents
                    .entry(*source)
                    .or_insert_with(|| known.unwrap_or_else(|| graph.add_tensor("", TensorType::new(DType::Int64, []))));
                open.push(OpenAxis { axis: *axis as u32, extent });
            }
            self.out.dynamic.insert((target, input));
            self.inputs.insert((target, input), open);
        }
    }

    /// Finds shapes that a loop's values keep: where its body changes the length of an axis, that becomes open, with a bound.
    fn carry(
        &mut self,
        model: &mut Model,
        id: GraphId,
        node: &Node,
        mut crossings: Vec<Crossing>,
        depth: usize,
        known: &HashMap<TensorId, Value>,
    ) -> Result<(), CompileError> {
        let graph = |name: &str| match node.attrs.get(name) {
            Some(crate::ir::AttrValue::Graph(g)) if g.index() < model.graphs.len() => Some(*g),
            _ => None,
        };
        let (Some(cond), Some(body)) = (graph("cond_subgraph_index"), graph("body_subgraph_index")) else { return Ok(()) };
        if self.done.contains(&cond) || self.done.contains(&body) {
            return Ok(());
        }
        let b = &model.graphs[body.index()];
        let counts = [b.inputs.len(), b.outputs.len(), model.graphs[cond.index()].inputs.len()];
        if counts != [node.inputs.len(); 3] {
            // Inference of the loop itself says so.
            return Ok(());
        }
        // What the body changes has extents of its own.
        for (k, crossing) in crossings.iter_mut().enumerate() {
            if let (Some((_, axes)), true) = (crossing, b.inputs.get(k) != b.outputs.get(k)) {
                axes.iter_mut().for_each(|(axis, source)| *source = Source::Carried(k, *axis));
            }
        }
        let found = self.out.unsupported.len();
        let mut growth = Growth::default();
        // A value that is given up stays so, and one that is open stays open: this ends.
        loop {
            self.enter(model, cond, &node.inputs, &crossings);
            self.graph(model, cond, depth + 1)?;
            self.enter(model, body, &node.inputs, &crossings);
            self.graph(model, body, depth + 1)?;
            let before = crossings.clone();
            growth.look(&Loop { model, id, node, cond, body, known });
            for (k, crossing) in crossings.iter_mut().enumerate() {
                let next = self.next(model, id, node, body, k, crossing, &mut growth);
                *crossing = if self.rounds == 0 && next != *crossing { None } else { next };
            }
            if before == crossings {
                return Ok(());
            }
            self.rounds = self.rounds.saturating_sub(1);
            self.out.unsupported.truncate(found);
            self.forget(model, cond);
            self.forget(model, body);
        }
    }

    /// Lets a graph, and those that it calls, be visited again.
    fn forget(&mut self, model: &Model, target: GraphId) {
        for g in called_graphs(model, target) {
            self.done.remove(&g);
            self.out.dynamic.retain(|(own, _)| *own != g);
        }
    }

    /// The shape of value `k` of a loop, wide enough for what goes in and for what the body gives.
    #[expect(clippy::too_many_arguments)]
    fn next(&self, model: &Model, id: GraphId, node: &Node, body: GraphId, k: usize, now: &Crossing, growth: &mut Growth) -> Crossing {
        let (mut shape, mut axes) = now.clone()?;
        let (outer, inner) = (&model.graphs[id.index()], &model.graphs[body.index()]);
        let (input, output) = (*inner.inputs.get(k)?, *inner.outputs.get(k)?);
        if input == output {
            return now.clone();
        }
        let (after, opened) = self.crossing(inner, body, output)?;
        if after.len() != shape.len() {
            return None;
        }
        let named = [
            (outer, node.outputs.get(k).copied()),
            (outer, node.inputs.get(k).copied().flatten()),
            (inner, Some(input)),
            (inner, Some(output)),
        ];
        let stated = |axis: usize| named.iter().find_map(|(g, t)| g.bounds.get(&(*t)?)?.get(axis).copied());
        for axis in 0..shape.len() {
            let is_open = axes.iter().any(|a| a.0 == axis);
            let same = after[axis] == shape[axis] && !opened.iter().any(|o| o.0 == axis);
            match (is_open, stated(axis)) {
                (false, _) if same => continue,
                (_, Some(most)) if most < shape[axis] && !is_open => return None,
                (_, Some(most)) => shape[axis] = most,
                (_, None) if after[axis] <= shape[axis] => {}
                // It grows: as far as the number of iterations says, if that is known.
                _ => shape[axis] = growth.bound((k, axis), shape[axis], after[axis])?,
            }
            if !is_open {
                axes.push((axis, Source::Carried(k, axis)));
            }
        }
        axes.sort_by_key(|a| a.0);
        Some((shape, axes))
    }
}
