//! Type propagation: shapes of all tensors of a model from the shapes of its inputs.
//!
//! Small integer values are evaluated on the way, so that shapes computed from shapes (SHAPE, STRIDED_SLICE, PACK, RESHAPE) become
//! known. What stays unknown keeps the shape that the model declares and is reported as dynamic. Runs at import and after
//! `resize_input`. Operators that do not exist or do not take their types are collected, all of them.

mod calls;
mod growth;

use crate::error::{CompileError, Place, Unsupported};
use crate::ir::{AttrValue, DType, Graph, GraphId, Model, Node, OpKind, Open, OpenAxis, TensorId, TensorType};
use crate::ops::call::{Call, Operand};
use crate::ops::control::callees;
use crate::ops::eval::is_control;
use crate::ops::list_update::list_update;
use crate::ops::open::elements::Values;
use crate::ops::open::{self, By, Site};
use crate::ops::operator::Eval;
use crate::ops::state::State;
use crate::ops::table::{evaluate, infer, operator};
use crate::ops::value::Value;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What propagation could not settle.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Propagated {
    /// Tensors whose shape is known only at run time; they keep the declared shape.
    pub dynamic: HashSet<(GraphId, TensorId)>,
    /// Operators, types and options that do not exist here.
    pub unsupported: Vec<(Place, Unsupported)>,
}

impl Propagated {
    /// Nothing, where nothing is missing.
    ///
    /// # Errors
    /// `Unsupported` where there are operators, types or options that do not exist here.
    pub fn supported(self) -> Result<(), CompileError> {
        if self.unsupported.is_empty() { Ok(()) } else { Err(CompileError::Unsupported(self.unsupported)) }
    }
}

/// Bytes up to which values are evaluated.
const FOLD_BYTES: usize = 1 << 12;
/// Depth of calls up to which graphs are visited.
const DEPTH: usize = 48;

/// Sets the types of all tensors that nodes compute, from those of the graphs' inputs.
///
/// # Errors
/// Where the model contradicts itself or asks for tensors beyond the limits. What is merely unsupported is in the result.
pub fn propagate_types(model: &mut Model) -> Result<Propagated, CompileError> {
    let mut pass = Pass { out: Propagated::default(), done: HashSet::new(), rounds: calls::ROUNDS, inputs: HashMap::new() };
    for graph in 0..model.graphs.len() {
        pass.graph(model, GraphId(graph as u32), 0)?;
    }
    Ok(pass.out)
}

struct Pass {
    out: Propagated,
    done: HashSet<GraphId>,
    /// How often the types that loops carry may still be widened.
    rounds: usize,
    /// Open axes of inputs of graphs that are called.
    inputs: HashMap<(GraphId, TensorId), Vec<OpenAxis>>,
}

impl Pass {
    fn graph(&mut self, model: &mut Model, id: GraphId, depth: usize) -> Result<(), CompileError> {
        if depth > DEPTH {
            let place = Place { subgraph: Some(id.0), ..Place::default() };
            return Err(CompileError::LimitExceeded { place, reason: format!("graphs call each other more than {DEPTH} deep") });
        }
        if !self.done.insert(id) {
            return Ok(());
        }
        let mut known: HashMap<TensorId, Value> = HashMap::new();
        let before = std::mem::take(&mut model.graphs[id.index()].open);
        let inputs = model.graphs[id.index()].inputs.clone();
        for t in inputs.into_iter().filter(|t| self.out.dynamic.contains(&(id, *t))) {
            let open = self.inputs.get(&(id, t)).map_or(Open::Unknown, |axes| Open::Along(axes.clone()));
            model.graphs[id.index()].open.insert(t, open);
        }
        for index in 0..model.graphs[id.index()].nodes.len() {
            if is_control(model.graphs[id.index()].nodes[index].op) {
                self.calls(model, id, index, depth, &known)?;
            }
            adopt_type(model, id, index);
            match self.node(model, id, index, &mut known) {
                Ok(types) => {
                    let graph = &mut model.graphs[id.index()];
                    let node = &mut graph.nodes[index];
                    for (i, (tensor, mut ty)) in node.outputs.iter().zip(types).enumerate() {
                        if let (0, Some(tail)) = (i, &mut node.tail) {
                            let declared = &graph.tensors[tensor.index()].ty;
                            tail.result.shape.clone_from(&ty.shape);
                            ty = TensorType { dtype: declared.dtype, shape: ty.shape, quant: declared.quant.clone() };
                        }
                        let tensor = &mut graph.tensors[tensor.index()];
                        tensor.set_shape(&ty.shape);
                        tensor.ty = ty;
                    }
                }
                Err(CompileError::Unsupported(items)) => {
                    let outputs = model.graphs[id.index()].nodes[index].outputs.clone();
                    open_results(model, id, index, &known, &before);
                    let open = &model.graphs[id.index()].open;
                    self.out.dynamic.extend(outputs.into_iter().filter(|t| open.contains_key(t)).map(|t| (id, t)));
                    self.out.unsupported.extend(items.into_iter().filter(|(_, u)| *u != Unsupported::DynamicShape));
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn node(
        &self,
        model: &Model,
        id: GraphId,
        index: usize,
        known: &mut HashMap<TensorId, Value>,
    ) -> Result<Vec<TensorType>, CompileError> {
        let graph = &model.graphs[id.index()];
        let node = &graph.nodes[index];
        if let Some(ty) = self.updated_list(id, graph, node) {
            return Ok(vec![ty]);
        }
        let (types, values) = {
            let call = Call::with(model, id, node, index, |t| {
                let tensor = graph.tensor(t);
                let data = tensor.data.as_ref().or_else(|| known.get(&t).map(|v| &v.data));
                Operand { ty: &tensor.ty, data, constant: tensor.data.is_some(), variable: tensor.variable }
            });
            let open = node.reads().any(|t| self.out.dynamic.contains(&(id, t)));
            let dynamic = open && !shape_is_a_value(node.op, &call);
            // Shapes that are known only at run time may contradict each other as declared.
            let types = match infer(&call) {
                Ok(types) if !dynamic && !self.calls_dynamic(model, node) => types,
                // Numbers of operands and results and their element types do not depend on sizes.
                Err(e @ CompileError::InvalidModel { .. }) if is_control(node.op) && !self.guesses_condition(model, id, node) => {
                    return Err(e);
                }
                Err(CompileError::InvalidModel { .. }) if open => return Err(call.unsupported(Unsupported::DynamicShape)),
                Err(CompileError::InvalidModel { .. }) | Ok(_) if dynamic || is_control(node.op) => {
                    return Err(call.unsupported(Unsupported::DynamicShape));
                }
                Ok(types) => types,
                Err(e) => return Err(e),
            };
            let values = self.fold(&call, node, &types, known);
            (types, values)
        };
        for (tensor, value) in node.outputs.iter().zip(values) {
            known.insert(*tensor, value);
        }
        Ok(types)
    }

    /// The type of a list with an item replaced, where both are known: the parts between which it stands are not.
    fn updated_list(&self, id: GraphId, graph: &Graph, node: &Node) -> Option<TensorType> {
        let u = list_update(graph, node).filter(|u| [u.list, u.item].iter().all(|t| !self.out.dynamic.contains(&(id, *t))))?;
        let declared = graph.ty(*node.outputs.first()?);
        let ty = graph.ty(u.list);
        (declared.dtype == ty.dtype).then(|| TensorType { quant: declared.quant.clone(), ..ty.clone() })
    }

    /// Whether the node calls a graph whose results have shapes known only at run time.
    fn calls_dynamic(&self, model: &Model, node: &crate::ir::Node) -> bool {
        is_control(node.op)
            && callees(node)
                .into_iter()
                .filter_map(|g| model.graphs.get(g.index()).map(|graph| (g, graph)))
                .any(|(g, graph)| graph.outputs.iter().any(|t| self.out.dynamic.contains(&(g, *t))))
    }

    /// Whether the condition of a node is a tensor of a shape that is known only at run time: how many elements it has is a guess then.
    fn guesses_condition(&self, model: &Model, id: GraphId, node: &Node) -> bool {
        match (node.op, node.attrs.get("cond_subgraph_index")) {
            (OpKind::While, Some(AttrValue::Graph(g))) => {
                model.graphs.get(g.index()).is_some_and(|cond| cond.outputs.iter().any(|t| self.out.dynamic.contains(&(*g, *t))))
            }
            (OpKind::If | OpKind::StablehloCase, _) => {
                node.inputs.first().copied().flatten().is_some_and(|t| self.out.dynamic.contains(&(id, t)))
            }
            _ => false,
        }
    }

    /// Values of the results where the operands' are known and everything is small.
    fn fold(&self, call: &Call<'_>, node: &crate::ir::Node, types: &[TensorType], known: &HashMap<TensorId, Value>) -> Vec<Value> {
        let shape_only = matches!(node.op, OpKind::Shape | OpKind::Rank);
        let small = |ty: &TensorType| ty.bytes() <= FOLD_BYTES;
        let pure = match operator(call).map(|o| &o.eval) {
            Some(Eval::Stateful(_) | Eval::Control) | None => node.op == OpKind::Pointwise,
            _ => true,
        };
        if !pure || node.tail.is_some() || !types.iter().all(small) || (!shape_only && !call.inputs.iter().flatten().all(|o| small(o.ty))) {
            return vec![];
        }
        let mut owned: Vec<Option<Value>> = vec![];
        for (operand, tensor) in call.inputs.iter().zip(&node.inputs) {
            let value = match (operand, tensor) {
                (Some(o), Some(t)) => known.get(t).cloned().or_else(|| Value::from_bytes(o.ty.clone(), o.data?.clone())),
                _ => None,
            };
            if operand.is_some() && value.is_none() && !shape_only {
                return vec![];
            }
            owned.push(value);
        }
        let values: Vec<Option<&Value>> = owned.iter().map(Option::as_ref).collect();
        evaluate(call, &values, types, &mut State::default()).unwrap_or_default()
    }
}

/// Says how the results of a node are open, and gives them their bounds.
fn open_results(model: &mut Model, id: GraphId, index: usize, known: &HashMap<TensorId, Value>, before: &BTreeMap<TensorId, Open>) {
    let opened = {
        let graph = &model.graphs[id.index()];
        let node = &graph.nodes[index];
        let call = Call::with(model, id, node, index, |t| {
            let tensor = graph.tensor(t);
            let data = tensor.data.as_ref().or_else(|| known.get(&t).map(|v| &v.data));
            Operand { ty: &tensor.ty, data, constant: tensor.data.is_some(), variable: tensor.variable }
        });
        let followed = !node.reads().any(|t| graph.open.get(&t) == Some(&Open::Unknown));
        let values = Values { model, id, known };
        (followed && node.tail.is_none()).then(|| open::open(&Site { graph, node, call: &call, values: &values })).flatten()
    };
    let graph = &mut model.graphs[id.index()];
    let outputs = graph.nodes[index].outputs.clone();
    let mut own: HashMap<usize, TensorId> = HashMap::new();
    // Each extent has one producer.
    let mut extents: HashSet<TensorId> =
        graph.open.values().flat_map(|o| if let Open::Along(axes) = o { &axes[..] } else { &[] }).map(|o| o.extent).collect();
    for (i, t) in outputs.into_iter().enumerate() {
        let Some((ty, axes)) = opened.as_ref().and_then(|o| o.get(i)?.as_ref()) else {
            graph.open.insert(t, Open::Unknown);
            continue;
        };
        graph.tensors[t.index()].set_shape(&ty.shape);
        graph.tensors[t.index()].ty = ty.clone();
        let mut open = vec![];
        for (axis, by) in axes {
            let axis = *axis as u32;
            let extent = match by {
                By::Same(extent) => *extent,
                By::New(key) => *own.entry(*key).or_insert_with(|| {
                    // Where types are inferred again, the extent of the last time is there.
                    let old = match before.get(&t) {
                        Some(Open::Along(axes)) => axes.iter().find(|o| o.axis == axis).map(|o| o.extent),
                        _ => None,
                    };
                    let fresh = old.filter(|e| extents.insert(*e));
                    fresh.unwrap_or_else(|| graph.add_tensor("", TensorType::new(DType::Int64, [])))
                }),
            };
            open.push(OpenAxis { axis, extent });
        }
        if !open.is_empty() {
            graph.open.insert(t, Open::Along(open));
        }
    }
}

/// Gives the result of arithmetic the element type of its operands, whatever the file says: LiteRT does so (`Prepare` of `kernels/add.cc`
/// and its kin). The result keeps its scales.
fn adopt_type(model: &mut Model, id: GraphId, index: usize) {
    let graph = &mut model.graphs[id.index()];
    let node = &graph.nodes[index];
    if !matches!(node.op, OpKind::Add | OpKind::Sub | OpKind::Mul | OpKind::Div | OpKind::Maximum | OpKind::Minimum) || node.tail.is_some()
    {
        return;
    }
    if let (Some(Some(x)), Some(y)) = (node.inputs.first(), node.outputs.first()) {
        let dtype = graph.ty(*x).dtype;
        graph.tensors[y.index()].ty.dtype = dtype;
    }
}

/// Whether the result's shape comes from a value that is known, whatever the operands' shapes are.
fn shape_is_a_value(op: OpKind, call: &Call<'_>) -> bool {
    let shape = match op {
        OpKind::Fill | OpKind::RandomUniform | OpKind::RandomStandardNormal => 0,
        OpKind::BroadcastTo => 1,
        _ => return false,
    };
    call.optional(shape).is_some_and(|o| o.data.is_some())
}
