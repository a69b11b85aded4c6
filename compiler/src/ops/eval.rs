//! The reference evaluator: runs a model's graphs in order, with values of real shapes.
//!
//! Results have the shapes that inference finds from the values, whatever the model declares. Variables and
//! tables live in a [`State`]; graphs called by IF, WHILE, CALL_ONCE, composites and cases share it. Limits bound the number of
//! operators, the depth of calls and the bytes alive. It never calls a kernel and has no speed to speak of.

use crate::error::CompileError;
use crate::ir::{AttrValue, DType, Graph, GraphId, Model, Node, OpKind, TensorId, TensorType};
use crate::ops::call::{Call, Operand};
use crate::ops::operator::EvalError;
use crate::ops::pointwise::eval_pointwise;
use crate::ops::state::State;
use crate::ops::table::{evaluate, infer};
use crate::ops::value::Value;

/// Bounds of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Operators evaluated in one run, in all graphs.
    pub operators: u64,
    /// Depth of calls.
    pub depth: usize,
    /// Bytes of all values of one graph that are alive at once.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { operators: 50_000_000, depth: 48, bytes: 1 << 34 }
    }
}

/// Sees every value as it is computed.
pub type Observer<'m> = Box<dyn FnMut(GraphId, TensorId, &Value) + 'm>;

/// Runs a model.
pub struct Evaluator<'m> {
    model: &'m Model,
    /// What outlives a run.
    pub state: State,
    limits: Limits,
    observer: Option<Observer<'m>>,
    fuel: u64,
}

impl<'m> Evaluator<'m> {
    /// An evaluator with fresh state.
    pub fn new(model: &'m Model) -> Evaluator<'m> {
        Evaluator { model, state: State::default(), limits: Limits::default(), observer: None, fuel: 0 }
    }

    /// The same with other limits.
    pub fn with_limits(mut self, limits: Limits) -> Evaluator<'m> {
        self.limits = limits;
        self
    }

    /// Calls `observer` with every value that an operator computes, in order.
    pub fn observe(&mut self, observer: impl FnMut(GraphId, TensorId, &Value) + 'm) {
        self.observer = Some(Box::new(observer));
    }

    /// Runs the primary graph.
    ///
    /// # Errors
    /// As for [`Evaluator::run_graph`].
    pub fn run(&mut self, inputs: &[Value]) -> Result<Vec<Value>, EvalError> {
        self.run_graph(GraphId(0), inputs)
    }

    /// Runs the signature `key` with named inputs; gives named outputs in the signature's order.
    ///
    /// # Errors
    /// Where there is no such signature or input, and as for [`Evaluator::run_graph`].
    pub fn run_signature(&mut self, key: &str, inputs: &[(String, Value)]) -> Result<Vec<(String, Value)>, EvalError> {
        let model = self.model;
        let signature = model.signatures.iter().find(|s| s.key == key).ok_or_else(|| EvalError::Input(format!("no signature {key:?}")))?;
        let graph = &model.graphs[signature.graph.index()];
        let find = |tensor: &TensorId| {
            let name = signature.inputs.iter().find(|(_, t)| t == tensor).map(|(n, _)| n);
            let name = name.ok_or_else(|| EvalError::Input(format!("the signature {key:?} has no name for input {tensor}")))?;
            let value = inputs.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            value.ok_or_else(|| EvalError::Input(format!("input {name:?} is missing")))
        };
        let values = graph.inputs.iter().map(find).collect::<Result<Vec<_>, _>>()?;
        let results = self.run_graph(signature.graph, &values)?;
        let output = |(name, tensor): &(String, TensorId)| {
            let at = graph.outputs.iter().position(|t| t == tensor);
            let at = at.ok_or_else(|| EvalError::Input(format!("output {name:?} is not an output of its graph")))?;
            Ok((name.clone(), results[at].clone()))
        };
        signature.outputs.iter().map(output).collect()
    }

    /// Runs a graph on inputs in its order; shapes may differ from those the model declares.
    ///
    /// # Errors
    /// Where inputs do not fit, an operator refuses a type or a value, or a limit is hit.
    pub fn run_graph(&mut self, graph: GraphId, inputs: &[Value]) -> Result<Vec<Value>, EvalError> {
        self.fuel = self.limits.operators;
        self.graph(graph, inputs, 0)
    }

    fn graph(&mut self, id: GraphId, inputs: &[Value], depth: usize) -> Result<Vec<Value>, EvalError> {
        if depth > self.limits.depth {
            return Err(EvalError::Limit(format!("graphs call each other more than {} deep", self.limits.depth)));
        }
        let model = self.model;
        let graph = model.graphs.get(id.index()).ok_or_else(|| EvalError::Input(format!("there is no graph {id}")))?;
        if inputs.len() != graph.inputs.len() {
            return Err(EvalError::Input(format!("{} inputs for the {} of graph {id}", inputs.len(), graph.inputs.len())));
        }
        let mut values: Vec<Option<Value>> = vec![None; graph.tensors.len()];
        for (value, tensor) in inputs.iter().zip(&graph.inputs) {
            let declared = graph.ty(*tensor);
            if value.ty.dtype != declared.dtype {
                let name = &graph.tensor(*tensor).name;
                return Err(EvalError::Input(format!("{name:?} takes {}, not {}", declared.dtype, value.ty.dtype)));
            }
            let ty = TensorType { dtype: declared.dtype, shape: value.ty.shape.clone(), quant: declared.quant.clone() };
            values[tensor.index()] = Some(value.with_type(ty));
        }
        let last = last_uses(graph);
        let mut alive = 0;
        for (index, node) in graph.nodes.iter().enumerate() {
            self.fuel = self.fuel.checked_sub(1).ok_or_else(|| EvalError::Limit(format!("{} operators", self.limits.operators)))?;
            let results = self.node(id, graph, node, index, &mut values, depth)?;
            for (tensor, value) in node.outputs.iter().zip(results) {
                if let Some(observer) = &mut self.observer {
                    observer(id, *tensor, &value);
                }
                alive += value.bytes().len();
                values[tensor.index()] = Some(value);
            }
            if alive > self.limits.bytes {
                return Err(EvalError::Limit(format!("{} bytes of values", self.limits.bytes)));
            }
            for tensor in node.reads().chain(node.outputs.iter().copied()) {
                if last[tensor.index()] <= index {
                    alive -= values[tensor.index()]
                        .take()
                        .map_or(0, |v| if graph.tensor(tensor).data.is_some() { 0 } else { v.bytes().len() })
                        .min(alive);
                }
            }
        }
        graph.outputs.iter().map(|t| self.value(id, graph, *t, &values)).collect()
    }

    /// The value of a tensor: computed, given, constant or variable.
    fn value(&self, id: GraphId, graph: &Graph, tensor: TensorId, values: &[Option<Value>]) -> Result<Value, EvalError> {
        if let Some(v) = &values[tensor.index()] {
            return Ok(v.clone());
        }
        let t = graph.tensor(tensor);
        let missing = |what: &str| EvalError::Input(format!("tensor {tensor} ({:?}) {what}", t.name));
        if let Some(data) = &t.data {
            return Value::from_bytes(t.ty.clone(), data.clone()).ok_or_else(|| missing("has data of another size"));
        }
        if t.variable {
            if let Some(v) = self.state.tensors.get(&(id.0, tensor.0)) {
                return Ok(v.clone());
            }
            // Reset to what stands for zero, as LiteRT does.
            return Ok(match (t.ty.dtype, t.ty.quant.per_tensor()) {
                (DType::Int8, Some((_, zero))) => Value::new(t.ty.clone(), vec![zero as i8; t.ty.elements()]),
                _ => Value::zeros(t.ty.clone()),
            });
        }
        // Empty tensors without data are values too.
        if t.ty.elements() == 0 {
            return Ok(Value::zeros(t.ty.clone()));
        }
        Err(missing("has no value"))
    }

    fn node(
        &mut self,
        id: GraphId,
        graph: &'m Graph,
        node: &'m Node,
        index: usize,
        values: &mut [Option<Value>],
        depth: usize,
    ) -> Result<Vec<Value>, EvalError> {
        for tensor in node.reads() {
            if values[tensor.index()].is_none() {
                values[tensor.index()] = Some(self.value(id, graph, tensor, values)?);
            }
        }
        let values = &*values;
        let operands: Vec<Option<&Value>> = node.inputs.iter().map(|t| t.and_then(|t| values[t.index()].as_ref())).collect();
        let missing = Value::zeros(TensorType::new(DType::Bool, [0]));
        let call = Call::with(self.model, id, node, index, |t| {
            let v = values[t.index()].as_ref().unwrap_or(&missing);
            let tensor = graph.tensor(t);
            Operand { ty: &v.ty, data: Some(&v.data), constant: tensor.data.is_some(), variable: tensor.variable }
        });
        if is_control(node.op) {
            return self.control(&call, &operands, depth);
        }
        let types = infer(&call).map_err(|e| blame_values(graph, node, &call, e))?;
        let mut results = evaluate(&call, &operands, &types, &mut self.state)?;
        for (operand, value) in self.state.updates.drain(..) {
            if let Some(tensor) = node.inputs.get(operand).copied().flatten() {
                self.state.tensors.insert((id.0, tensor.0), value);
            }
        }
        if let Some(tail) = &node.tail {
            let declared = graph.ty(node.outputs[0]);
            let mut inputs = vec![&results[0]];
            inputs.extend(tail.inputs.iter().filter_map(|t| values[t.index()].as_ref()));
            let ty = TensorType { dtype: declared.dtype, shape: results[0].ty.shape.clone(), quant: declared.quant.clone() };
            results[0] = eval_pointwise(&tail.expr, &inputs, &ty);
        }
        Ok(results)
    }

    fn control(&mut self, call: &Call<'_>, operands: &[Option<&Value>], depth: usize) -> Result<Vec<Value>, EvalError> {
        let given = |from: usize| operands[from.min(operands.len())..].iter().map(|v| v.cloned()).collect::<Option<Vec<Value>>>();
        let absent = || EvalError::Compile(call.invalid("an operand is missing"));
        let target = |name: &str| match call.attrs.get(name) {
            Some(AttrValue::Graph(g)) => Ok(*g),
            _ => Err(EvalError::Compile(call.invalid(format!("no graph {name}")))),
        };
        let truth = |v: Option<&Value>| match v {
            Some(v) if v.ty.dtype == DType::Bool && v.ty.elements() == 1 => Ok(v.bytes()[0] != 0),
            _ => Err(EvalError::Compile(call.invalid("the condition is not one truth value"))),
        };
        match call.op {
            OpKind::If => {
                let branch = if truth(operands.first().copied().flatten())? { "then_subgraph_index" } else { "else_subgraph_index" };
                self.graph(target(branch)?, &given(1).ok_or_else(absent)?, depth + 1)
            }
            OpKind::While => {
                let (cond, body) = (target("cond_subgraph_index")?, target("body_subgraph_index")?);
                let mut values = given(0).ok_or_else(absent)?;
                loop {
                    self.fuel = self.fuel.checked_sub(1).ok_or_else(|| EvalError::Limit(format!("{} operators", self.limits.operators)))?;
                    if !truth(self.graph(cond, &values, depth + 1)?.first())? {
                        return Ok(values);
                    }
                    values = self.graph(body, &values, depth + 1)?;
                }
            }
            OpKind::CallOnce => {
                let init = target("init_subgraph_index")?;
                if self.state.called.insert(init.0, ()).is_none() {
                    self.graph(init, &[], depth + 1)?;
                }
                Ok(vec![])
            }
            OpKind::StablehloCase => {
                let branches = match call.attrs.get("branch_subgraph_indices") {
                    Some(AttrValue::Ints(v)) if !v.is_empty() => v,
                    _ => return Err(EvalError::Compile(call.invalid("no branches"))),
                };
                let index =
                    operands.first().copied().flatten().and_then(Value::to_i64).and_then(|v| v.first().copied()).ok_or_else(absent)?;
                let last = branches.len() - 1;
                let branch = branches[usize::try_from(index).unwrap_or(last).min(last)];
                self.graph(GraphId(u32::try_from(branch).unwrap_or(u32::MAX)), &given(1).ok_or_else(absent)?, depth + 1)
            }
            OpKind::Call => self.graph(target("subgraph")?, &given(0).ok_or_else(absent)?, depth + 1),
            _ => self.graph(target("decomposition_subgraph_index")?, &given(0).ok_or_else(absent)?, depth + 1),
        }
    }
}

/// An error of inference at run time: the model's, or that of values from which sizes come, where operands of the declared shapes and unknown values pass.
fn blame_values(graph: &Graph, node: &Node, call: &Call<'_>, error: CompileError) -> EvalError {
    let CompileError::InvalidModel { place, reason } = error else { return EvalError::Compile(error) };
    let mut declared = call.clone();
    for (operand, t) in declared.inputs.iter_mut().zip(&node.inputs) {
        if let (Some(o), Some(t)) = (operand, t) {
            (o.ty, o.data) = (graph.ty(*t), o.data.filter(|_| o.constant));
        }
    }
    match infer(&declared) {
        Err(CompileError::InvalidModel { .. }) => EvalError::Compile(CompileError::InvalidModel { place, reason }),
        _ => EvalError::Operand { place, reason },
    }
}

/// Whether the evaluator itself runs the operator, by calling graphs.
pub fn is_control(op: OpKind) -> bool {
    matches!(op, OpKind::If | OpKind::While | OpKind::CallOnce | OpKind::Call | OpKind::StablehloComposite | OpKind::StablehloCase)
}

/// The last node that reads each tensor; outputs of the graph are read at the end.
fn last_uses(graph: &Graph) -> Vec<usize> {
    let mut last = vec![0; graph.tensors.len()];
    for (index, node) in graph.nodes.iter().enumerate() {
        for tensor in node.reads().chain(node.outputs.iter().copied()) {
            last[tensor.index()] = index;
        }
    }
    for tensor in &graph.outputs {
        last[tensor.index()] = usize::MAX;
    }
    last
}
