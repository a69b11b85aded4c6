//! IF, WHILE, CALL, CALL_ONCE, STABLEHLO_COMPOSITE, STABLEHLO_CASE: calls of other graphs. The evaluator runs them.

use crate::error::CompileError;
use crate::ir::{AttrValue, DType, Graph, GraphId, Model, Node, OpKind, TensorType};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Eval, Operator};

/// IF.
pub(super) const IF: Operator = Operator::new(infer_if, Eval::Control);
/// WHILE.
pub(super) const WHILE: Operator = Operator::new(infer_while, Eval::Control);
/// CALL.
pub(super) const CALL: Operator = Operator::new(infer_call, Eval::Control);
/// CALL_ONCE.
pub(super) const CALL_ONCE: Operator = Operator::new(infer_call_once, Eval::Control);
/// STABLEHLO_COMPOSITE, by its decomposition.
pub(super) const COMPOSITE: Operator = Operator::new(infer_composite, Eval::Control);
/// STABLEHLO_CASE.
pub(super) const CASE: Operator = Operator::new(infer_case, Eval::Control);

/// The graphs that a node calls.
pub fn callees(node: &Node) -> Vec<GraphId> {
    let mut targets = vec![];
    for (_, value) in node.attrs.iter() {
        match value {
            AttrValue::Graph(g) => targets.push(*g),
            AttrValue::Ints(v) if node.op == OpKind::StablehloCase => {
                targets.extend(v.iter().filter_map(|g| u32::try_from(*g).ok()).map(GraphId))
            }
            _ => {}
        }
    }
    targets
}

/// The graph `entry` and all that it calls, directly or not, callers first where graphs do not call each other in turn.
pub fn called_graphs(model: &Model, entry: GraphId) -> Vec<GraphId> {
    let mut found = vec![entry];
    let mut at = 0;
    while let Some(&id) = found.get(at) {
        at += 1;
        for callee in model.graphs.get(id.index()).into_iter().flat_map(|g| &g.nodes).flat_map(callees) {
            if callee.index() < model.graphs.len() && !found.contains(&callee) {
                found.push(callee);
            }
        }
    }
    found
}

/// The graph that an attribute names.
pub(super) fn target<'a>(call: &Call<'a>, name: &str) -> Result<&'a Graph, CompileError> {
    let id = match call.attrs.get(name) {
        Some(AttrValue::Graph(g)) => *g,
        _ => return Err(call.invalid(format!("no {name}"))),
    };
    graph(call, id)
}

fn graph<'a>(call: &Call<'a>, id: GraphId) -> Result<&'a Graph, CompileError> {
    call.model.graphs.get(id.index()).ok_or_else(|| call.invalid(format!("graph {id} of {}", call.model.graphs.len())))
}

/// Checks that `graph` takes the operands from `first` on, and gives the types of its results.
fn check(call: &Call<'_>, graph: &Graph, first: usize) -> Inferred {
    let operands = call.inputs.len().saturating_sub(first);
    if graph.inputs.len() != operands {
        return Err(call.invalid(format!("{operands} operands for a graph of {} inputs", graph.inputs.len())));
    }
    for (i, tensor) in graph.inputs.iter().enumerate() {
        let (given, taken) = (call.input(first + i)?.dtype, graph.ty(*tensor).dtype);
        if given != taken {
            return Err(call.invalid(format!("operand {} is {given}, the graph takes {taken}", first + i)));
        }
    }
    Ok(graph.outputs.iter().map(|t| graph.ty(*t).clone()).collect())
}

/// Checks that there are as many results as the graph gives, of the declared element types.
fn results(call: &Call<'_>, types: Vec<TensorType>) -> Inferred {
    if types.len() != call.outputs.len() {
        return Err(call.invalid(format!("{} results of a graph with {}", call.outputs.len(), types.len())));
    }
    types.into_iter().enumerate().map(|(i, ty)| call.result(i, ty.dtype, ty.shape)).collect()
}

fn condition(call: &Call<'_>, i: usize) -> Result<(), CompileError> {
    let ty = call.input(i)?;
    if ty.dtype == DType::Bool && ty.elements() == 1 {
        Ok(())
    } else {
        Err(call.invalid(format!("condition of {} {:?}", ty.dtype, ty.shape)))
    }
}

fn infer_if(call: &Call<'_>) -> Inferred {
    condition(call, 0)?;
    let yes = check(call, target(call, "then_subgraph_index")?, 1)?;
    let no = check(call, target(call, "else_subgraph_index")?, 1)?;
    if yes.len() != no.len() || yes.iter().zip(&no).any(|(a, b)| a.dtype != b.dtype) {
        return Err(call.invalid("the branches give different results"));
    }
    let same = yes.iter().zip(&no).all(|(a, b)| a.shape == b.shape);
    let types = results(call, yes)?;
    if same { Ok(types) } else { Err(call.unsupported(crate::error::Unsupported::DynamicShape)) }
}

fn infer_while(call: &Call<'_>) -> Inferred {
    let cond = check(call, target(call, "cond_subgraph_index")?, 0)?;
    if !matches!(&cond[..], [ty] if ty.dtype == DType::Bool && ty.elements() == 1) {
        return Err(call.invalid("the condition's graph does not give one truth value"));
    }
    let body = check(call, target(call, "body_subgraph_index")?, 0)?;
    if body.len() != call.inputs.len() {
        return Err(call.invalid(format!("the body gives {} values for {}", body.len(), call.inputs.len())));
    }
    let mut types = vec![];
    for (i, after) in body.iter().enumerate() {
        let before = call.input(i)?;
        if before.dtype != after.dtype {
            return Err(call.invalid(format!("value {i} becomes {} from {}", after.dtype, before.dtype)));
        }
        if before.shape != after.shape {
            return Err(call.unsupported(crate::error::Unsupported::DynamicShape));
        }
        types.push(before.clone());
    }
    results(call, types)
}

fn infer_call(call: &Call<'_>) -> Inferred {
    let types = check(call, target(call, "subgraph")?, 0)?;
    results(call, types)
}

fn infer_call_once(call: &Call<'_>) -> Inferred {
    let graph = target(call, "init_subgraph_index")?;
    if !graph.inputs.is_empty() || !call.inputs.is_empty() || !call.outputs.is_empty() {
        return Err(call.invalid("an initialiser has no operands and no results"));
    }
    Ok(vec![])
}

fn infer_composite(call: &Call<'_>) -> Inferred {
    let types = check(call, target(call, "decomposition_subgraph_index")?, 0)?;
    results(call, types)
}

fn infer_case(call: &Call<'_>) -> Inferred {
    call.ints(0, 1).or_else(|e| if call.input(0)?.elements() == 1 { Ok(vec![]) } else { Err(e) })?;
    let branches = match call.attrs.get("branch_subgraph_indices") {
        Some(AttrValue::Ints(v)) if !v.is_empty() => v,
        _ => return Err(call.invalid("no branches")),
    };
    let mut types = None;
    for b in branches {
        let g = graph(call, GraphId(u32::try_from(*b).unwrap_or(u32::MAX)))?;
        let t = check(call, g, 1)?;
        match &types {
            None => types = Some(t),
            Some(first) if *first == t => {}
            Some(_) => return Err(call.unsupported(crate::error::Unsupported::DynamicShape)),
        }
    }
    results(call, types.unwrap_or_default())
}
