//! IF, WHILE, CALL, composites, cases and CALL_ONCE: steps around the steps of the graphs that they call.
//!
//! Branches read the caller's operands where they lie and compute the caller's results in place. The values that a loop carries lie
//! where the loop's results do; the body computes new ones elsewhere and moves them at its end, unless nothing reads the old value
//! any more by then. Operands that the body gives back as they are stay where the caller has them.

use super::context::{Cx, Operand, Resource, SymbolicStep, VariableKey};
use super::graphs::{Bindings, copy_output, last_read, lower_graph};
use super::movement::{self, copy};
use super::open;
use super::pointwise::emit;
use super::storage::{SlotId, SlotRegion};
use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, DType, Graph, GraphId, Node, OpKind, TensorId};
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::expr::{Compare, ExprBuilder, Storage};

/// Lowers a control operator.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::If => {
            let condition = cx.input(node, 0)?;
            let condition = cx.operand(condition)?;
            let then = branch(cx, node, target(cx, node, "then_subgraph_index")?, 1)?;
            let otherwise = branch(cx, node, target(cx, node, "else_subgraph_index")?, 1)?;
            cx.steps.push(SymbolicStep::If { condition, then, otherwise });
            Ok(())
        }
        OpKind::StablehloCase => case(cx, node),
        OpKind::While => while_loop(cx, node),
        OpKind::CallOnce => call_once(cx, node),
        _ => {
            let name = if node.op == OpKind::Call { "subgraph" } else { "decomposition_subgraph_index" };
            let steps = branch(cx, node, target(cx, node, name)?, 0)?;
            cx.steps.extend(steps);
            Ok(())
        }
    }
}

/// The graph that an attribute names.
fn target(cx: &Cx<'_, '_>, node: &Node, name: &str) -> Result<GraphId, CompileError> {
    match node.attrs.get(name) {
        Some(AttrValue::Graph(g)) if g.index() < cx.shared.model.graphs.len() => Ok(*g),
        _ => Err(cx.invalid(format!("no graph {name}"))),
    }
}

/// Checks that the graph `id` takes the operands from `first` on as they are.
///
/// Values that are `resized` go where the graph wants them.
fn check_types(cx: &Cx<'_, '_>, node: &Node, id: GraphId, first: usize, resized: &[bool]) -> Result<(), CompileError> {
    let callee = &cx.shared.model.graphs[id.index()];
    if node.inputs.len() != first + callee.inputs.len() {
        let given = node.inputs.len().saturating_sub(first);
        return Err(cx.invalid(format!("{given} operands for the {} inputs of graph {id}", callee.inputs.len())));
    }
    for (i, t) in callee.inputs.iter().enumerate() {
        if resized.get(i) == Some(&true) {
            continue;
        }
        let (given, taken) = (cx.ty(cx.input(node, first + i)?), callee.ty(*t));
        if given.shape != taken.shape || given.dtype != taken.dtype {
            let what = format!("{:?} for input {i} of graph {id}, which takes {:?} elsewhere", given.shape, taken.shape);
            return Err(cx.unsupported(Unsupported::Shape(what)));
        }
    }
    Ok(())
}

/// The resource that each operand from `first` on stands for, if any.
fn resources(cx: &Cx<'_, '_>, node: &Node, first: usize) -> Vec<Option<Resource>> {
    node.inputs[first.min(node.inputs.len())..].iter().map(|t| t.and_then(|t| cx.resources.get(&t).cloned())).collect()
}

/// Where a called graph finds the operand `t`.
fn bound(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Option<SlotRegion>, CompileError> {
    match cx.resources.contains_key(&t) {
        true => Ok(None),
        false => Ok(Some(SlotRegion::Alias(cx.operand(t)?))),
    }
}

/// The steps of a graph on the operands from `first` on, with its outputs computed where the node's results are.
fn branch(cx: &mut Cx<'_, '_>, node: &Node, id: GraphId, first: usize) -> Result<Vec<SymbolicStep>, CompileError> {
    check_types(cx, node, id, first, &[])?;
    let mut bindings = Bindings { resources: resources(cx, node, first), ..Bindings::default() };
    let callee = &cx.shared.model.graphs[id.index()];
    for i in first..node.inputs.len() {
        let t = cx.input(node, i)?;
        bindings.inputs.push(bound(cx, t)?);
        bindings.extents.extend(open::shared_extents(cx, callee, callee.inputs[i - first], t)?);
    }
    // Results that are open, here or there, go to where the bounds of this graph say.
    let mut targets = vec![];
    for (k, (&out, &inner)) in node.outputs.iter().zip(&callee.outputs).enumerate() {
        if !cx.graph.open_axes(out).is_empty() || !callee.open_axes(inner).is_empty() {
            targets.push((k, open::Target::of(cx, out)?));
            bindings.outputs.push(None);
            continue;
        }
        if cx.ty(out).bytes() != callee.ty(inner).bytes() {
            return Err(cx.unsupported(Unsupported::DynamicShape));
        }
        let handle = cx.ty(out).dtype == DType::Resource;
        bindings.outputs.push(if handle { None } else { Some(SlotRegion::Alias(cx.operand(out)?)) });
    }
    let regions = bindings.outputs.clone();
    let (steps, given) = lower_graph(cx.shared, id, &bindings, |inner| {
        for (i, region) in regions.iter().enumerate() {
            if let Some(region) = region {
                copy_output(inner, i, *region)?;
            }
        }
        for (k, target) in &targets {
            open::hand_over(inner, inner.graph.outputs[*k], target)?;
        }
        Ok(inner.graph.outputs.iter().map(|t| inner.resources.get(t).cloned()).collect::<Vec<_>>())
    })?;
    for (&out, resource) in node.outputs.iter().zip(given) {
        match (resource, cx.resources.get(&out)) {
            (Some(r), Some(other)) if *other != r => {
                return Err(cx.unsupported(Unsupported::Types("a resource that depends on a value".into())));
            }
            (Some(r), _) => drop(cx.resources.insert(out, r)),
            (None, _) => {}
        }
    }
    Ok(steps)
}

/// A chain of conditionals; an index out of range chooses the last branch.
fn case(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let branches: Vec<GraphId> = match node.attrs.get("branch_subgraph_indices") {
        Some(AttrValue::Ints(v)) => v.iter().filter_map(|g| u32::try_from(*g).ok()).map(GraphId).collect(),
        _ => vec![],
    };
    let Some((&last, rest)) = branches.split_last() else { return Err(cx.internal("a case without branches")) };
    let index = cx.input(node, 0)?;
    let storage = match cx.ty(index).dtype {
        DType::Int32 => Storage::I32,
        DType::Int64 => Storage::I64,
        other => return Err(cx.unsupported(Unsupported::Types(format!("{other} as the index")))),
    };
    let index = cx.operand(index)?;
    let mut conditions = vec![];
    for i in 0..rest.len() {
        let flag = cx.workspace(1);
        let mut b = ExprBuilder::new([storage]);
        let v = b.input(0);
        let number = if storage == Storage::I64 { b.i64(i as i64) } else { b.i32(i as i32) };
        let equal = b.compare(Compare::Eq, v, number);
        emit(cx, PointwiseSpec::new(&[1], vec![vec![0]], vec![1], b.finish(equal, Storage::Bool)), vec![index, flag]);
        conditions.push(flag);
    }
    // Flags are read after the graphs in front of theirs have run.
    let begin = cx.shared.now;
    let mut arms = vec![];
    for id in rest {
        arms.push(branch(cx, node, *id, 1)?);
    }
    let mut steps = branch(cx, node, last, 1)?;
    for (condition, then) in conditions.iter().copied().zip(arms).rev() {
        steps = vec![SymbolicStep::If { condition, then, otherwise: steps }];
    }
    for flag in &conditions {
        if let Operand::Slot(s, _) = flag {
            let slot = &mut cx.shared.slots[s.index()];
            (slot.first, slot.last) = (slot.first.min(begin), cx.shared.now);
        }
    }
    cx.steps.extend(steps);
    Ok(())
}

/// What becomes of one value that a loop carries.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Carried {
    /// A resource, which stays the same.
    Resource,
    /// The body gives it back as it is: read where the caller has it.
    Invariant,
    /// Changes: lies where the loop's result does. `in_place` where the body may compute the new value right there.
    Changing { state: Operand, in_place: bool },
    /// Changes, its length too: lies where the loop's result does, by the bounds of that.
    Resized,
}

fn while_loop(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (cond, body) = (target(cx, node, "cond_subgraph_index")?, target(cx, node, "body_subgraph_index")?);
    let resized = resized(cx, node, body);
    check_types(cx, node, cond, 0, &resized)?;
    check_types(cx, node, body, 0, &resized)?;
    let graph = &cx.shared.model.graphs[body.index()];
    let test = &cx.shared.model.graphs[cond.index()];
    let mut carried = vec![];
    let mut inputs = vec![];
    let mut extents = [vec![], vec![]];
    let mut targets = vec![];
    for (k, (&out, &inner)) in node.outputs.iter().zip(&graph.outputs).enumerate() {
        let t = cx.input(node, k)?;
        if resized[k] || inner == graph.inputs[k] {
            let place = if resized[k] { out } else { t };
            for (list, callee) in extents.iter_mut().zip([test, graph]) {
                list.extend(open::shared_extents(cx, callee, callee.inputs[k], place)?);
            }
        }
        if resized[k] {
            let target = open::Target::of(cx, out)?;
            open::hand_over(cx, t, &target)?;
            carried.push(Carried::Resized);
            inputs.push(Some(SlotRegion::Alias(cx.operand(out)?)));
            targets.push((k, target));
            continue;
        }
        if cx.ty(t).bytes() != cx.ty(out).bytes() || cx.ty(t).bytes() != graph.ty(inner).bytes() {
            return Err(cx.unsupported(Unsupported::DynamicShape));
        }
        if let Some(r) = cx.resources.get(&t).cloned() {
            cx.resources.insert(out, r);
            carried.push(Carried::Resource);
            inputs.push(None);
            continue;
        }
        let from = cx.operand(t)?;
        if inner == graph.inputs[k] {
            carried.push(Carried::Invariant);
            inputs.push(Some(SlotRegion::Alias(from)));
            continue;
        }
        let state = cx.operand(out)?;
        copy(cx, from, state, cx.ty(t).bytes());
        carried.push(Carried::Changing { state, in_place: computed_in_place(graph, k) });
        inputs.push(Some(SlotRegion::Alias(state)));
    }
    let [of_test, of_body] = extents;
    let mut bindings = Bindings { inputs, outputs: vec![], resources: resources(cx, node, 0), extents: of_test };
    let (test, condition) = lower_graph(cx.shared, cond, &bindings, |inner| {
        let truth = inner.graph.outputs.first().copied().ok_or_else(|| inner.internal("a condition without a value"))?;
        inner.operand(truth)
    })?;
    bindings.extents = of_body;
    bindings.outputs = carried
        .iter()
        .map(|c| match c {
            Carried::Changing { state, in_place: true } => Some(SlotRegion::Alias(*state)),
            _ => None,
        })
        .collect();
    let (body, ()) = lower_graph(cx.shared, body, &bindings, |inner| next_iteration(inner, &carried, &targets))?;
    cx.steps.push(SymbolicStep::While { test, condition, body });
    // What the loop never changed is its result too.
    for (k, c) in carried.iter().enumerate() {
        let out = node.outputs[k];
        if *c == Carried::Invariant && is_read(cx.graph, out) {
            let t = cx.input(node, k)?;
            let (from, to) = (cx.operand(t)?, cx.operand(out)?);
            copy(cx, from, to, cx.ty(out).bytes());
        }
    }
    Ok(())
}

/// Which values of a loop change their length, so that they are open or lie otherwise in the operand.
fn resized(cx: &Cx<'_, '_>, node: &Node, body: GraphId) -> Vec<bool> {
    let body = &cx.shared.model.graphs[body.index()];
    let changes = |(k, out): (usize, &TensorId)| body.inputs.get(k) != body.outputs.get(k) && !cx.graph.open_axes(*out).is_empty();
    node.outputs.iter().enumerate().map(changes).collect()
}

fn is_read(graph: &Graph, t: TensorId) -> bool {
    graph.outputs.contains(&t) || graph.nodes.iter().any(|n| n.reads().any(|u| u == t))
}

/// Whether the node that computes output `k` of a loop's body may write over input `k`: whatever reads the old value comes before it,
/// or is it itself, element for element.
fn computed_in_place(graph: &Graph, k: usize) -> bool {
    let (old, new) = (graph.inputs[k], graph.outputs[k]);
    let Some(at) = graph.nodes.iter().position(|n| n.outputs.contains(&new)) else { return false };
    let node = &graph.nodes[at];
    // Operands of a concatenation may be computed in its result, long before it; a view lies where its source does.
    if node.op == OpKind::Concatenation || super::view::view(graph, node, 0).is_some() || graph.tensor(new).variable {
        return false;
    }
    match last_read(graph, old) {
        None => true,
        Some(last) if last < at => true,
        Some(last) if last == at => super::storage::overwrites(graph, node, old, &|t| t != old && is_view_of(graph, t, old)),
        Some(_) => false,
    }
}

/// Whether `t` shares the storage of `source` through a chain of views.
fn is_view_of(graph: &Graph, t: TensorId, source: TensorId) -> bool {
    let mut t = t;
    while t != source {
        let Some((node, k)) = graph.nodes.iter().find_map(|n| n.outputs.iter().position(|o| *o == t).map(|k| (n, k))) else {
            return false;
        };
        match super::view::view(graph, node, k) {
            Some((from, _)) => t = from,
            None => return false,
        }
    }
    true
}

/// The buffer at the bottom of an operand's aliases.
fn root(cx: &Cx<'_, '_>, mut operand: Operand) -> Option<SlotId> {
    loop {
        match operand {
            Operand::Weights(_) => return None,
            Operand::Slot(s, _) | Operand::Moving(s, ..) => match cx.shared.slots[s.index()].region {
                SlotRegion::Alias(to) | SlotRegion::Variable(to) => operand = to,
                _ => return Some(s),
            },
        }
    }
}

/// Moves the values that a body computed to where the next iteration reads them, as if all at once.
fn next_iteration(cx: &mut Cx<'_, '_>, carried: &[Carried], targets: &[(usize, open::Target)]) -> Result<(), CompileError> {
    // Values of other lengths first: what they are computed from may be replaced below.
    let mut resized = vec![];
    for (k, target) in targets {
        let bytes = cx.ty(cx.graph.inputs[*k]).bytes();
        let aside = target.aside(cx, bytes);
        open::hand_over(cx, cx.graph.outputs[*k], &aside)?;
        resized.push((aside, target, bytes));
    }
    let states: Vec<Option<SlotId>> = carried
        .iter()
        .filter_map(|c| match c {
            Carried::Changing { state, .. } => Some(root(cx, *state)),
            _ => None,
        })
        .collect();
    let mut moves = vec![];
    for (k, c) in carried.iter().enumerate() {
        let t = cx.graph.outputs[k];
        match *c {
            Carried::Invariant | Carried::Resized => {}
            Carried::Resource => {
                if cx.resources.get(&t) != cx.resources.get(&cx.graph.inputs[k]) {
                    return Err(cx.unsupported(Unsupported::Types("a resource that changes from iteration to iteration".into())));
                }
            }
            Carried::Changing { state, .. } => {
                let bytes = cx.ty(t).bytes();
                let placed = cx.storage[t.index()].filter(|(_, at)| *at == 0).map(|(s, _)| cx.shared.slots[s.index()].region);
                if placed == Some(SlotRegion::Alias(state)) {
                    continue;
                }
                let mut from = cx.operand(t)?;
                if states.contains(&root(cx, from)) && root(cx, from).is_some() {
                    // The value lies where another one belongs.
                    let aside = cx.workspace(bytes);
                    copy(cx, from, aside, bytes);
                    from = aside;
                }
                moves.push((from, state, bytes));
            }
        }
    }
    for (from, to, bytes) in moves {
        copy(cx, from, to, bytes);
    }
    for (aside, target, bytes) in resized {
        aside.copy_to(cx, target, bytes);
    }
    Ok(())
}

/// Runs a graph in the first run of an instance only, by a flag in the state.
fn call_once(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let id = target(cx, node, "init_subgraph_index")?;
    let flag = cx.shared.variable(VariableKey::Flag(id), 1);
    let flag = flag.ok_or_else(|| cx.internal("a flag of another size"))?;
    let outer = std::mem::take(&mut cx.steps);
    let steps = branch(cx, node, id, 0)?;
    let one = cx.bytes(vec![1]);
    copy(cx, one, flag, 1);
    let set = std::mem::replace(&mut cx.steps, outer);
    let otherwise = steps.into_iter().chain(set).collect();
    cx.steps.push(SymbolicStep::If { condition: flag, then: vec![], otherwise });
    Ok(())
}

/// Puts steps in front that give variables their first value, where that is not all zeros and they do not have it yet.
pub(super) fn initialize(cx: &mut Cx<'_, '_>) {
    let steps = std::mem::take(&mut cx.steps);
    let mut first = vec![];
    for v in std::mem::take(&mut cx.shared.first_values) {
        movement::fill(cx, &[v.bytes], movement::Part::dense(v.at, &[v.bytes]), 1, u64::from(v.value));
        let one = cx.bytes(vec![1]);
        copy(cx, one, v.flag, 1);
        let otherwise = std::mem::take(&mut cx.steps);
        first.push(SymbolicStep::If { condition: v.flag, then: vec![], otherwise });
    }
    cx.steps = first;
    cx.steps.extend(steps);
}
