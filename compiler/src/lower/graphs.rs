//! One graph of a model to steps: the entry, and the graphs that control operators call.
//!
//! A called graph is lowered in place, once for each caller: its inputs are bound to the caller's buffers and its own buffers lie in the
//! same arena, alive within the time of the calling node. Times count nodes over all graphs, so that nesting needs no rule of its own.

use super::context::{Cx, Operand, Resource, Shared, SymbolicStep};
use super::control::initialize;
use super::storage::{Slot, SlotId, SlotRegion};
use super::{lower_node, movement, open, storage};
use crate::error::{CompileError, Place, Unsupported};
use crate::ir::{Graph, GraphId, TensorId};
use std::collections::HashMap;

/// Lowerings of graphs, nested ones included, after which a model is refused: calls of calls grow exponentially.
const MOST_GRAPHS: usize = 10_000;

/// What a caller gives to a graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Bindings {
    /// Storage of each input that has any.
    pub(super) inputs: Vec<Option<SlotRegion>>,
    /// Storage that outputs are computed in; the graph's own where there is none.
    pub(super) outputs: Vec<Option<SlotRegion>>,
    /// Resources among the inputs.
    pub(super) resources: Vec<Option<Resource>>,
    /// Extents of the inputs, and where the caller has them.
    pub(super) extents: Vec<(TensorId, Operand)>,
}

/// Lowers the entry graph: the caller owns inputs and outputs.
pub(super) fn lower_entry(shared: &mut Shared<'_>, id: GraphId) -> Result<Vec<SymbolicStep>, CompileError> {
    let graph = &shared.model.graphs[id.index()];
    // Outputs with gaps between their elements are packed at the end.
    let packed = open::packed_outputs(graph);
    let output = |i: usize| (!packed[i]).then_some(SlotRegion::Output(i as u32));
    let bindings = Bindings {
        inputs: (0..graph.inputs.len() as u32).map(|i| Some(SlotRegion::Input(i))).collect(),
        outputs: (0..graph.outputs.len()).map(output).collect(),
        ..Bindings::default()
    };
    let regions = bindings.outputs.clone();
    let (steps, ()) = lower_graph(shared, id, &bindings, |cx| {
        for (i, region) in regions.iter().enumerate() {
            if let Some(region) = region {
                copy_output(cx, i, *region)?;
            }
        }
        initialize(cx);
        cx.shared.open = open::finish_outputs(cx)?;
        Ok(())
    })?;
    Ok(steps)
}

/// Lowers a graph with its inputs and outputs bound; `finish` runs behind the last node and appends to the steps.
pub(super) fn lower_graph<'a, T>(
    shared: &mut Shared<'a>,
    id: GraphId,
    bindings: &Bindings,
    finish: impl FnOnce(&mut Cx<'a, '_>) -> Result<T, CompileError>,
) -> Result<(Vec<SymbolicStep>, T), CompileError> {
    enter(shared, id)?;
    let graph = &shared.model.graphs[id.index()];
    let position = |list: &[TensorId], t: TensorId| list.iter().position(|&u| u == t);
    let variables: HashMap<TensorId, Operand> = (0..graph.tensors.len() as u32)
        .map(TensorId)
        .filter(|&t| graph.tensor(t).variable && graph.tensor(t).data.is_none() && position(&graph.inputs, t).is_none())
        .map(|t| (t, shared.variable_tensor(id, t)))
        .collect();
    let pinned = |t: TensorId| {
        if graph.tensor(t).data.is_some() {
            None
        } else if let Some(i) = position(&graph.inputs, t) {
            bindings.inputs.get(i).copied().flatten()
        } else if let Some(&state) = variables.get(&t) {
            Some(SlotRegion::Variable(state))
        } else {
            position(&graph.outputs, t).and_then(|i| bindings.outputs.get(i).copied().flatten())
        }
    };
    let storage = storage::assign(graph, &pinned);
    let base = shared.slots.len();
    shared.slots.extend(storage.slots);
    let mut of: Vec<_> = storage.of.iter().map(|p| p.map(|(slot, at)| (SlotId((base + slot) as u32), at))).collect();
    open::place_extents(shared, graph, &mut of);
    for (extent, at) in &bindings.extents {
        let slot = Slot { bytes: 8, region: SlotRegion::Alias(*at), first: 0, last: graph.nodes.len() };
        of[extent.index()] = Some((shared.add_slot(slot), 0));
    }
    let own = base..shared.slots.len();
    let known = graph.inputs.iter().zip(&bindings.resources);
    let resources = known.filter_map(|(t, r)| Some((*t, r.clone()?))).collect();
    let mut cx = Cx { shared, graph_id: id, graph, storage: of, resources, steps: vec![], node: None, remembered: HashMap::new() };
    let mut missing = vec![];
    // When each node begins and ends.
    let mut times = vec![];
    for node in &graph.nodes {
        cx.node = Some(node);
        let begin = cx.shared.now;
        match lower_node(&mut cx, node) {
            Ok(()) => {}
            // What follows from a shape that is not known says nothing new.
            Err(CompileError::Unsupported(list)) => {
                let new = list.into_iter().filter(|(_, u)| missing.is_empty() || *u != Unsupported::DynamicShape);
                let new: Vec<_> = new.collect();
                missing.extend(new);
            }
            Err(e) => return Err(e),
        }
        times.push((begin, cx.shared.now));
        cx.shared.now += 1;
    }
    if !missing.is_empty() {
        return Err(CompileError::Unsupported(missing));
    }
    cx.node = None;
    let result = finish(&mut cx)?;
    let steps = cx.steps;
    let end = (shared.now, shared.now);
    shared.now += 1;
    for slot in &mut shared.slots[own] {
        slot.first = times.get(slot.first).unwrap_or(&end).0;
        slot.last = times.get(slot.last).unwrap_or(&end).1;
    }
    shared.active.pop();
    Ok((steps, result))
}

/// Notes that a graph is being lowered; refuses recursion and runaway growth.
fn enter(shared: &mut Shared<'_>, id: GraphId) -> Result<(), CompileError> {
    let place = || Place { subgraph: Some(id.0), ..Place::default() };
    if shared.active.contains(&id) {
        return Err(CompileError::invalid(place(), "the graph calls itself"));
    }
    shared.graphs += 1;
    if shared.graphs > MOST_GRAPHS {
        return Err(CompileError::LimitExceeded { place: place(), reason: format!("more than {MOST_GRAPHS} calls of graphs") });
    }
    shared.active.push(id);
    Ok(())
}

/// Copies output `i` to `region` where it was not computed there: outputs that are inputs, constants, variables or other outputs too.
pub(super) fn copy_output(cx: &mut Cx<'_, '_>, i: usize, region: SlotRegion) -> Result<(), CompileError> {
    let t = cx.graph.outputs[i];
    let placed = cx.storage[t.index()].filter(|(_, at)| *at == 0).map(|(s, _)| cx.shared.slots[s.index()].region);
    if placed == Some(region) {
        return Ok(());
    }
    let bytes = cx.ty(t).bytes();
    let to = match region {
        SlotRegion::Alias(to) | SlotRegion::Variable(to) => to,
        _ => {
            let now = cx.shared.now;
            Operand::Slot(cx.shared.add_slot(Slot { bytes, region, first: now, last: now }), 0)
        }
    };
    let from = cx.operand(t)?;
    movement::copy(cx, from, to, bytes);
    Ok(())
}

/// The last node that reads `t` or a view of it; the number of nodes where an output of the graph is one.
pub(super) fn last_read(graph: &Graph, t: TensorId) -> Option<usize> {
    let mut family = vec![t];
    let mut last = None;
    for (i, node) in graph.nodes.iter().enumerate() {
        if node.reads().any(|u| family.contains(&u)) {
            last = Some(i);
        }
        for (k, &out) in node.outputs.iter().enumerate() {
            if super::view::view(graph, node, k).is_some_and(|(source, _)| family.contains(&source)) {
                family.push(out);
            }
        }
    }
    if graph.outputs.iter().any(|u| family.contains(u)) { Some(graph.nodes.len()) } else { last }
}
