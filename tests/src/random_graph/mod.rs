//! Random models for differential tests: valid, small, oddly shaped, the same for the same seed everywhere.
//!
//! A model grows node by node: a recipe ([`recipes`]) chooses an operator and its operands among the values so far, type inference says what
//! comes out, and the reference evaluator computes it. What either refuses is dropped, so operators take part as soon as they are implemented.
//! Float results stay below [`LARGEST`], so that differences in rounding stay small. Shapes have at most [`MAX_ELEMENTS`] elements.

mod layers;
mod movement;
mod pointwise;
pub mod recipes;

use crate::random_values::{Rng, random_value};
use tflc::ir::{Affine, Attrs, DType, Graph, GraphId, Model, Node, OpKind, Quantization, TensorId, TensorType};
use tflc::ops::{Call, State, Value, evaluate, infer};

/// The most elements of a result.
pub const MAX_ELEMENTS: usize = 4096;
/// The largest magnitude of a float result.
pub const LARGEST: f32 = 1e4;

/// What a model may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Steps {
    /// Any operator.
    Any,
    /// None that turns a small difference of floats into a large one: no rounding, comparison or quantisation of floats.
    Smooth,
}

/// A node as a recipe wants it; the shapes of the results are inferred.
pub struct Planned {
    /// Operator.
    pub op: OpKind,
    /// Operands.
    pub inputs: Vec<Option<TensorId>>,
    /// Options.
    pub attrs: Attrs,
    /// Element type and quantisation of each result.
    pub results: Vec<(DType, Quantization)>,
}

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
}

/// A model and values of its inputs that no operator refuses and that keep its floats small.
#[derive(Clone, PartialEq, Debug)]
pub struct RandomModel {
    /// The model.
    pub model: Model,
    /// Its inputs.
    pub inputs: Vec<Value>,
}

/// The model for a seed.
pub fn random_model(seed: u64, steps: Steps) -> RandomModel {
    let mut g = Generator { rng: Rng::new(seed), steps, model: Model::default(), available: vec![], values: vec![] };
    g.model.graphs.push(Graph { name: format!("random {seed}"), ..Graph::default() });
    g.inputs();
    let nodes = 1 + g.rng.below(12);
    // Some recipes find no operands or are refused.
    for _ in 0..nodes * 20 {
        if g.model.graphs[0].nodes.len() >= nodes {
            break;
        }
        g.grow();
    }
    g.outputs();
    let inputs = g.graph().inputs.iter().filter_map(|t| g.values[t.index()].clone()).collect();
    RandomModel { model: g.model, inputs }
}

impl Generator {
    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.model.graphs[0]
    }

    /// Type of a tensor.
    pub fn ty(&self, t: TensorId) -> &TensorType {
        self.graph().ty(t)
    }

    fn inputs(&mut self) {
        use DType::{Float32, Int8, Int16, Int32, UInt8};
        let dtype = *self.rng.choose(&[Float32, Float32, Float32, Int8, Int8, UInt8, Int16, Int32]);
        for i in 0..1 + self.rng.below(3) {
            let shape = self.shape();
            let ty = TensorType { dtype, shape, quant: self.quantization(dtype) };
            let value = random_value(&mut self.rng, &ty);
            let t = self.model.graphs[0].add_tensor(format!("x{i}"), ty);
            self.model.graphs[0].inputs.push(t);
            self.values.push(Some(value));
            self.available.push(t);
        }
    }

    /// A shape, mostly of an image.
    fn shape(&mut self) -> Vec<usize> {
        let r = &mut self.rng;
        match r.below(8) {
            0 => vec![1 + r.below(20)],
            1 | 2 => vec![1 + r.below(7), 1 + r.below(40)],
            3 => vec![1 + r.below(3), 1 + r.below(9), 1 + r.below(9)],
            _ => vec![if r.one_in(4) { 2 } else { 1 }, 1 + r.below(11), 1 + r.below(11), 1 + r.below(9)],
        }
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

    /// A value so far that satisfies a condition, rather a late one.
    pub fn pick(&mut self, ok: impl Fn(&TensorType) -> bool) -> Option<TensorId> {
        let found: Vec<TensorId> = self.available.iter().copied().filter(|t| ok(self.ty(*t))).collect();
        match found.len() {
            0 => None,
            n => Some(found[self.rng.below(n).max(self.rng.below(n))]),
        }
    }

    /// Whether a tensor is an input of the model: its value is the same however the model is run.
    pub fn is_input(&self, t: TensorId) -> bool {
        self.graph().inputs.contains(&t)
    }

    /// Adds a constant.
    pub fn constant(&mut self, value: Value) -> TensorId {
        let t = self.model.graphs[0].add_const("", value.ty.clone(), value.data.clone());
        self.values.push(Some(value));
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

    /// Adds a node by a random recipe, or nothing where that does not work out.
    fn grow(&mut self) {
        let before = self.graph().tensors.len();
        let recipe = *self.rng.choose(recipes::RECIPES);
        let added = match recipe(self) {
            Some(planned) => self.add(planned),
            None => false,
        };
        if !added {
            self.model.graphs[0].tensors.truncate(before);
            self.values.truncate(before);
        }
    }

    fn add(&mut self, planned: Planned) -> bool {
        let first = self.graph().tensors.len();
        for (dtype, quant) in planned.results {
            self.model.graphs[0].add_tensor("", TensorType { dtype, shape: vec![], quant });
            self.values.push(None);
        }
        let outputs: Vec<TensorId> = (first..self.graph().tensors.len()).map(|i| TensorId(i as u32)).collect();
        let node = Node { inputs: planned.inputs, attrs: planned.attrs, ..Node::new(planned.op, [], outputs.clone()) };
        let Some(results) = self.evaluate(&node) else { return false };
        for (t, value) in outputs.iter().zip(results) {
            self.model.graphs[0].tensors[t.index()].ty.shape = value.ty.shape.clone();
            self.values[t.index()] = Some(value);
        }
        self.model.graphs[0].nodes.push(node);
        self.available.extend(outputs);
        true
    }

    /// The results of a node that is not in the graph yet; `None` where it is refused or its results are too large.
    fn evaluate(&self, node: &Node) -> Option<Vec<Value>> {
        let call = Call::of(&self.model, GraphId(0), node, self.graph().nodes.len());
        let types = infer(&call).ok()?;
        if types.iter().any(|t| t.elements() > MAX_ELEMENTS || t.shape.len() > 5) {
            return None;
        }
        let operands: Vec<Option<&Value>> = node.inputs.iter().map(|t| t.and_then(|t| self.values[t.index()].as_ref())).collect();
        let results = evaluate(&call, &operands, &types, &mut State::default()).ok()?;
        let small = |v: &Value| !v.ty.dtype.is_float() || v.to_f32().is_some_and(|v| v.iter().all(|v| v.abs() <= LARGEST));
        results.iter().all(small).then_some(results)
    }

    /// Whatever nobody reads becomes an output, and some other results.
    fn outputs(&mut self) {
        let mut read = vec![false; self.graph().tensors.len()];
        self.graph().nodes.iter().flat_map(Node::reads).for_each(|t| read[t.index()] = true);
        let results: Vec<TensorId> = self.graph().nodes.iter().flat_map(|n| n.outputs.clone()).collect();
        for t in results {
            if !read[t.index()] || self.rng.one_in(6) {
                self.model.graphs[0].outputs.push(t);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tflc::ir::{print, verify};

    #[test]
    fn the_same_seed_gives_the_same_valid_model() {
        for seed in 0..20 {
            let RandomModel { model, inputs } = random_model(seed, Steps::Any);
            verify(&model).unwrap();
            assert_eq!(inputs.len(), model.graphs[0].inputs.len());
            assert_eq!(print(&model), print(&random_model(seed, Steps::Any).model));
            assert!(!model.graphs[0].outputs.is_empty(), "{}", print(&model));
        }
    }

    #[test]
    fn many_operators_take_part() {
        let models: Vec<Model> = (0..300).map(|seed| random_model(seed, Steps::Any).model).collect();
        let ops: BTreeSet<&str> = models.iter().flat_map(|m| &m.graphs[0].nodes).map(|n| n.op.name()).collect();
        assert!(ops.len() >= 40, "{} operators: {ops:?}", ops.len());
        let mean = models.iter().map(|m| m.graphs[0].nodes.len()).sum::<usize>() / models.len();
        assert!(mean >= 4, "{mean} nodes a model");
    }
}
