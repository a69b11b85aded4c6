//! A model under construction: its values so far, what recipes ask for, and the snapshots that undo what is refused.

use super::recipes::{self, RECIPES, Recipe};
use super::{LARGEST, MAX_ELEMENTS, Planned, RandomModel, Steps, focus};
use crate::differential::{Tolerance, floats};
use crate::random_values::{Rng, random_value};
use tflc::ir::{Affine, AttrValue, DType, Graph, GraphId, Location, Model, Node, OpKind, Quantization, TensorId, TensorType};
use tflc::ops::eval::is_control;
use tflc::ops::table::{Category, Support, row};
use tflc::ops::{Call, Evaluator, Operand, State, Value, evaluate, infer, propagate_types};

/// The most inputs of a model.
const MAX_INPUTS: usize = 10;

/// A model under construction.
pub struct Generator {
    /// Source of all choices.
    pub rng: Rng,
    /// What the model may hold.
    pub steps: Steps,
    model: Model,
    /// Inputs and results of nodes, which further nodes may read.
    available: Vec<TensorId>,
    /// A value of each tensor, for some inputs.
    values: Vec<Option<Value>>,
    /// Whether a tensor is the same to the bit in every way to run the model.
    exact: Vec<bool>,
    /// What the next node should be of, while that is looked for.
    wanted: Option<focus::Focus>,
    state: State,
}

/// Sizes of everything that grows, to return to.
struct Snapshot {
    tensors: usize,
    nodes: usize,
    inputs: usize,
    graphs: usize,
    available: usize,
}

impl Generator {
    /// An empty model.
    pub(super) fn new(rng: Rng, steps: Steps, name: String) -> Generator {
        let model = Model { graphs: vec![Graph { name, ..Graph::default() }], ..Model::default() };
        Generator { rng, steps, model, available: vec![], values: vec![], exact: vec![], wanted: None, state: State::default() }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.model.graphs[0]
    }

    /// Type of a tensor.
    pub fn ty(&self, t: TensorId) -> &TensorType {
        self.graph().ty(t)
    }

    /// Some inputs of one type.
    pub(super) fn inputs(&mut self) {
        use DType::{Bool, Float32, Int8, Int16, Int32, Int64, UInt8};
        let dtype = *self.rng.choose(&[Float32, Float32, Float32, Int8, Int8, UInt8, Int16, Int32, Int64, Bool]);
        for _ in 0..1 + self.rng.below(3) {
            let shape = self.shape();
            self.input(dtype, shape);
        }
    }

    /// A shape, mostly of an image.
    pub fn shape(&mut self) -> Vec<usize> {
        let r = &mut self.rng;
        match r.below(9) {
            0 => vec![1 + r.below(20)],
            1 | 2 => vec![1 + r.below(7), 1 + r.below(40)],
            3 => vec![1 + r.below(3), 1 + r.below(9), 1 + r.below(9)],
            4 if r.one_in(3) => (0..5).map(|_| 1 + r.below(4)).collect(),
            _ => vec![if r.one_in(4) { 2 } else { 1 }, 1 + r.below(8), 1 + r.below(8), 1 + r.below(9)],
        }
    }

    /// A shape of `rank` dimensions.
    pub fn shape_of(&mut self, rank: usize) -> Vec<usize> {
        (0..rank).map(|i| 1 + self.rng.below(if i + 1 == rank { 9 } else { 6 })).collect()
    }

    /// Quantisation of results of an element type.
    pub fn quantization(&mut self, dtype: DType) -> Quantization {
        let zero = match dtype {
            DType::Int8 => self.rng.between(-128, 127),
            DType::UInt8 => self.rng.between(0, 255),
            DType::Int16 => {
                let scale = 2e-4 * (1.0 + self.rng.below(1000) as f32 / 200.0);
                return Quantization::Affine(Affine::per_tensor(scale, 0));
            }
            _ => return Quantization::None,
        };
        // Mostly near the middle, as calibration gives it, at times at an end.
        let middle = if dtype == DType::UInt8 { 128 } else { 0 };
        let zero = if self.rng.one_in(4) { zero } else { middle + zero / 8 - middle / 8 };
        let scale = 0.02 * (1.0 + self.rng.below(1000) as f32 / 200.0);
        Quantization::Affine(Affine::per_tensor(scale, zero))
    }

    /// One of these operators: the one that is wanted, where it is among them.
    pub fn op(&mut self, ops: &[OpKind]) -> OpKind {
        match self.wanted {
            Some((op, _)) if ops.contains(&op) => op,
            _ => *self.rng.choose(ops),
        }
    }

    /// One of these element types: the one that is wanted, where it is among them.
    pub fn dtype(&mut self, dtypes: &[DType]) -> DType {
        match self.wanted {
            Some((_, dtype)) if dtypes.contains(&dtype) => dtype,
            _ => *self.rng.choose(dtypes),
        }
    }

    /// The element types of an operator's first operand, as its row of the operator table says.
    pub fn dtypes(&self, op: OpKind) -> Vec<DType> {
        focus::dtypes(op)
    }

    /// Values so far that any operator may read. Those with several scales are left out: results take the quantisation of operands, and an axis of theirs may have
    /// another extent.
    fn operands(&self) -> impl Iterator<Item = TensorId> {
        let one_scale = |t: &TensorId| self.ty(*t).quant.affine().is_none_or(|q| q.scale.len() <= 1);
        self.available.iter().copied().filter(one_scale)
    }

    /// A value so far that satisfies a condition, rather a late one.
    pub fn pick(&mut self, ok: impl Fn(&TensorType) -> bool) -> Option<TensorId> {
        let found: Vec<TensorId> = self.operands().filter(|t| ok(self.ty(*t))).collect();
        match found.len() {
            0 => None,
            n => Some(found[self.rng.below(n).max(self.rng.below(n))]),
        }
    }

    /// A value of one of these element types whose shape satisfies a condition: one so far, or a new input of a shape from `make`.
    pub fn operand(
        &mut self,
        dtypes: &[DType],
        ok: impl Fn(&[usize]) -> bool,
        make: impl FnOnce(&mut Generator) -> Vec<usize>,
    ) -> Option<TensorId> {
        self.choose(dtypes, false, ok, make)
    }

    /// The same, of floats only those that are equal in every way to run the model: for operators that turn a small difference into a large one.
    pub fn precise(
        &mut self,
        dtypes: &[DType],
        ok: impl Fn(&[usize]) -> bool,
        make: impl FnOnce(&mut Generator) -> Vec<usize>,
    ) -> Option<TensorId> {
        let exact = self.steps == Steps::Smooth;
        self.choose(dtypes, exact, ok, make)
    }

    fn choose(
        &mut self,
        dtypes: &[DType],
        exact: bool,
        ok: impl Fn(&[usize]) -> bool,
        make: impl FnOnce(&mut Generator) -> Vec<usize>,
    ) -> Option<TensorId> {
        let wanted = self.wanted.map(|w| w.1).filter(|d| dtypes.contains(d));
        let fits = |t: &TensorType| wanted.map_or(dtypes.contains(&t.dtype), |w| t.dtype == w) && ok(&t.shape);
        let all: Vec<TensorId> = self.operands().filter(|t| fits(self.ty(*t)) && (!exact || self.exact[t.index()])).collect();
        if !all.is_empty() && !self.rng.one_in(6) {
            let n = all.len();
            return Some(all[self.rng.below(n).max(self.rng.below(n))]);
        }
        if self.graph().inputs.len() >= MAX_INPUTS || dtypes.is_empty() {
            return None;
        }
        let dtype = self.dtype(dtypes);
        let shape = make(self);
        ok(&shape).then(|| self.input(dtype, shape))
    }

    /// Adds an input of random elements, quantised where its type may be.
    pub fn input(&mut self, dtype: DType, shape: Vec<usize>) -> TensorId {
        let ty = TensorType { dtype, shape, quant: self.quantization(dtype) };
        let value = random_value(&mut self.rng, &ty);
        self.input_of(value)
    }

    /// Adds an input with a value.
    pub fn input_of(&mut self, value: Value) -> TensorId {
        let name = format!("x{}", self.graph().inputs.len());
        let t = self.model.graphs[0].add_tensor(name, value.ty.clone());
        self.model.graphs[0].inputs.push(t);
        self.values.push(Some(value));
        self.exact.push(true);
        self.available.push(t);
        t
    }

    /// Whether a tensor is the same to the bit in every way to run the model: inputs, constants, integers, and what only moves them.
    pub fn is_exact(&self, t: TensorId) -> bool {
        self.exact[t.index()]
    }

    /// The value of a tensor for the inputs of the model.
    pub fn value(&self, t: TensorId) -> Option<&Value> {
        self.values[t.index()].as_ref()
    }

    /// Adds a constant.
    pub fn constant(&mut self, value: Value) -> TensorId {
        let t = self.model.graphs[0].add_const("", value.ty.clone(), value.data.clone());
        self.values.push(Some(value));
        self.exact.push(true);
        t
    }

    /// Adds a constant, or at times an input with the same value.
    pub fn given(&mut self, value: Value) -> TensorId {
        if self.rng.one_in(3) && self.graph().inputs.len() < MAX_INPUTS { self.input_of(value) } else { self.constant(value) }
    }

    /// Adds a tensor that keeps its value from run to run, zero at first.
    pub fn variable(&mut self, ty: TensorType) -> TensorId {
        let t = self.model.graphs[0].add_tensor("", ty.clone());
        self.model.graphs[0].tensors[t.index()].variable = true;
        let zero = match (ty.dtype, ty.quant.per_tensor()) {
            (DType::Int8, Some((_, zero))) => Value::new(ty.clone(), vec![zero as i8; ty.elements()]),
            _ => Value::zeros(ty),
        };
        self.values.push(Some(zero));
        self.exact.push(true);
        t
    }

    /// Adds a tensor that only carries a type.
    pub fn scratch(&mut self, ty: TensorType) -> TensorId {
        let t = self.model.graphs[0].add_tensor("", ty);
        self.values.push(None);
        self.exact.push(false);
        t
    }

    /// Adds a constant of random elements.
    pub fn random_constant(&mut self, ty: TensorType) -> TensorId {
        let value = random_value(&mut self.rng, &ty);
        self.constant(value)
    }

    /// Adds a constant list of int32, as axes, shapes and paddings are given.
    pub fn ints(&mut self, values: &[usize]) -> TensorId {
        let values: Vec<i32> = values.iter().map(|v| *v as i32).collect();
        self.constant(Value::new(TensorType::new(DType::Int32, [values.len()]), values))
    }

    /// Adds a constant of one int32.
    pub fn int(&mut self, value: usize) -> TensorId {
        self.constant(Value::new(TensorType::new(DType::Int32, []), vec![value as i32]))
    }

    /// Adds a graph for operators that call one.
    pub fn add_graph(&mut self, graph: Graph) -> AttrValue {
        self.model.graphs.push(graph);
        AttrValue::Graph(GraphId(self.model.graphs.len() as u32 - 1))
    }

    /// How many graphs there are.
    pub fn graphs(&self) -> usize {
        self.model.graphs.len()
    }

    /// Begins the model with a node of an operator and an element type; without it where the recipes do not get there.
    pub(super) fn focus_on(&mut self, focus: focus::Focus) {
        self.wanted = Some(focus);
        let all: Vec<&Recipe> = RECIPES.iter().filter(|r| r.ops.contains(&focus.0)).collect();
        for _ in 0..60 {
            if all.is_empty() {
                break;
            }
            let recipe = *self.rng.choose(&all);
            if self.try_recipe(recipe) {
                break;
            }
        }
        self.wanted = None;
    }

    /// Adds a node by a random recipe, or nothing where that does not work out.
    pub(super) fn grow(&mut self) -> bool {
        let recipe = recipes::any(&mut self.rng);
        self.try_recipe(recipe)
    }

    fn try_recipe(&mut self, recipe: &Recipe) -> bool {
        let before = Snapshot {
            tensors: self.graph().tensors.len(),
            nodes: self.graph().nodes.len(),
            inputs: self.graph().inputs.len(),
            graphs: self.model.graphs.len(),
            available: self.available.len(),
        };
        let done = (recipe.make)(self).and_then(|planned| self.add(planned)).is_some() && self.holds_wanted(before.nodes);
        if !done {
            let graph = &mut self.model.graphs[0];
            graph.tensors.truncate(before.tensors);
            graph.nodes.truncate(before.nodes);
            graph.inputs.truncate(before.inputs);
            self.model.graphs.truncate(before.graphs);
            self.available.truncate(before.available);
            self.values.truncate(before.tensors);
            self.exact.truncate(before.tensors);
        }
        done
    }

    /// Whether the nodes from one on hold the operator and the element type that are wanted.
    fn holds_wanted(&self, first: usize) -> bool {
        self.wanted.is_none_or(|wanted| self.graph().nodes[first..].iter().any(|n| focus::holds(self.graph(), n, wanted)))
    }

    /// Adds a node; its results, or nothing where it is refused or gives floats that are too large.
    pub fn add(&mut self, planned: Planned) -> Option<Vec<TensorId>> {
        let first = self.graph().tensors.len();
        let exact_operands = planned.inputs.iter().flatten().all(|t| self.exact[t.index()]);
        for (dtype, quant) in planned.results {
            self.model.graphs[0].add_tensor("", TensorType { dtype, shape: planned.declared.clone(), quant });
            let moves = matches!(row(planned.op).map(|r| &r.support), Some(Support::Supported { category: Category::DataMovement, .. }));
            self.exact.push(!dtype.is_float() && !matches!(dtype, DType::Complex64 | DType::Complex128) || moves && exact_operands);
            self.values.push(None);
        }
        let outputs: Vec<TensorId> = (first..self.graph().tensors.len()).map(|i| TensorId(i as u32)).collect();
        let location = Location { subgraph: 0, operator: self.graph().nodes.len() as u32 };
        let plain = Node::new(planned.op, [], outputs.clone());
        let node = Node { inputs: planned.inputs, attrs: planned.attrs, intermediates: planned.intermediates, location, ..plain };
        for (t, value) in outputs.iter().zip(self.evaluate(&node)?) {
            self.model.graphs[0].tensors[t.index()].ty.shape.clone_from(&value.ty.shape);
            self.values[t.index()] = Some(value);
        }
        self.model.graphs[0].nodes.push(node);
        // Of what only a run can size, few operators can do with a bound.
        let sized =
            !matches!(self.graph().nodes.last().map(|n| n.op), Some(OpKind::Where | OpKind::Unique | OpKind::Range)) || self.rng.one_in(3);
        let useful = outputs.iter().filter(|t| sized && self.model.graphs[0].ty(**t).elements() > 0);
        self.available.extend(useful);
        Some(outputs)
    }

    /// The results of a node that is not in the graph yet; `None` where it is refused or its results are too large.
    fn evaluate(&mut self, node: &Node) -> Option<Vec<Value>> {
        let operands: Vec<Option<&Value>> = node.inputs.iter().map(|t| t.and_then(|t| self.values[t.index()].as_ref())).collect();
        let results = if is_control(node.op) {
            self.run_alone(node)?
        } else {
            // Sizes may come from values that are no constants.
            let (graph, values) = (&self.model.graphs[0], &self.values);
            let call = Call::with(&self.model, GraphId(0), node, graph.nodes.len(), |t| {
                let tensor = graph.tensor(t);
                let data = values[t.index()].as_ref().map(|v| &v.data);
                Operand { ty: &tensor.ty, data, constant: tensor.data.is_some(), variable: tensor.variable }
            });
            let types = infer(&call).ok()?;
            if types.iter().any(|t| t.elements() > MAX_ELEMENTS || t.shape.len() > 6) {
                return None;
            }
            evaluate(&call, &operands, &types, &mut self.state).ok()?
        };
        self.state.updates.clear();
        let small = |v: &Value| floats(v).is_none_or(|v| v.iter().all(|v| v.abs() <= LARGEST));
        results.iter().all(|v| v.ty.elements() <= MAX_ELEMENTS && small(v)).then_some(results)
    }

    /// The results of a node that calls graphs, as the only node of a model.
    fn run_alone(&self, node: &Node) -> Option<Vec<Value>> {
        let graph = Graph { nodes: vec![node.clone()], outputs: node.outputs.clone(), open: Default::default(), ..self.graph().clone() };
        let computed: Vec<TensorId> = node.reads().filter(|t| self.graph().tensor(*t).data.is_none()).collect();
        let inputs: Vec<Value> = computed.iter().map(|t| self.values[t.index()].clone()).collect::<Option<_>>()?;
        let mut model = self.model.clone();
        model.graphs[0] = Graph { inputs: computed, ..graph };
        Evaluator::new(&model).run(&inputs).ok()
    }

    /// Whatever nobody reads becomes an output, and some other results.
    pub(super) fn finish(mut self) -> RandomModel {
        let mut read = vec![false; self.graph().tensors.len()];
        self.graph().nodes.iter().flat_map(Node::reads).for_each(|t| read[t.index()] = true);
        let results: Vec<TensorId> = self.graph().nodes.iter().flat_map(|n| n.outputs.clone()).collect();
        for t in results {
            let number = self.ty(t).dtype != DType::Resource;
            if number && (!read[t.index()] || self.rng.one_in(6)) {
                self.model.graphs[0].outputs.push(t);
            }
        }
        let inputs = self.graph().inputs.iter().filter_map(|t| self.values[t.index()].clone()).collect();
        let stateful = self.graph().tensors.iter().any(|t| t.variable || t.ty.dtype == DType::Resource);
        let tolerance = self.tolerance();
        // Sizes that only a run knows get their bounds; what is refused here, the compiler refuses too.
        let mut model = self.model.clone();
        let model = if propagate_types(&mut model).is_ok() { model } else { self.model };
        RandomModel { model, inputs, tolerance, runs: if stateful { 2 } else { 1 } }
    }

    /// What rounding leaves in the largest float of the model.
    fn tolerance(&self) -> Tolerance {
        let step = |dtype| match dtype {
            DType::Float16 => 2e-3,
            DType::BFloat16 => 1.6e-2,
            _ => Tolerance::KERNELS.absolute,
        };
        let largest = |v: &Value| Some(floats(v)?.iter().fold(1.0f32, |m, v| m.max(v.abs())) * step(v.ty.dtype));
        let absolute = self.values.iter().flatten().filter_map(largest).fold(Tolerance::KERNELS.absolute, f32::max);
        Tolerance { absolute, ..Tolerance::KERNELS }
    }
}
