//! Random models for differential tests: valid, small, oddly shaped, the same for the same seed everywhere.
//!
//! A model grows node by node: a recipe ([`recipes`]) chooses an operator and its operands among the values so far or as new inputs, type inference says
//! what comes out, and the reference evaluator computes it. What either refuses is dropped, so operators take part as soon as they are implemented.
//! Each seed has an operator and an element type that it begins with ([`focus`]), so that as many seeds as there are pairs hold all of them.
//! Float results stay below [`LARGEST`], so that differences in rounding stay small. Shapes have at most [`MAX_ELEMENTS`] elements.

mod control;
mod convolution;
mod custom;
mod flexbuffer;
pub mod focus;
mod generator;
mod indexed;
mod layers;
mod movement;
mod open;
mod pointwise;
pub mod recipes;
mod recurrent;
mod search;
mod stablehlo;

use crate::differential::Tolerance;
use crate::random_values::Rng;
pub use generator::Generator;
use tflc::ir::{Attrs, DType, Model, OpKind, Quantization, TensorId};
use tflc::ops::Value;

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
    /// Shape of the results where only the declaration says it.
    pub declared: Vec<usize>,
    /// Scratch tensors that carry quantisation.
    pub intermediates: Vec<TensorId>,
}

/// A model and values of its inputs that no operator refuses and that keep its floats small.
#[derive(Clone, PartialEq, Debug)]
pub struct RandomModel {
    /// The model.
    pub model: Model,
    /// Its inputs.
    pub inputs: Vec<Value>,
    /// How far floats of two ways to run it may be apart: what rounding leaves in the largest float of the model, whatever it is used for.
    pub tolerance: Tolerance,
    /// How often to run it: twice where it has a state.
    pub runs: usize,
}

/// The model for a seed.
pub fn random_model(seed: u64, steps: Steps) -> RandomModel {
    let mut rng = Rng::new(seed);
    let nodes = 1 + rng.below(12);
    let mut g = Generator::new(rng, steps, format!("random {seed}"));
    g.focus_on(focus::of(seed));
    if g.rng.one_in(2) {
        g.inputs();
    }
    // Some recipes find no operands or are refused.
    for _ in 0..nodes * 20 {
        if g.graph().nodes.len() >= nodes {
            break;
        }
        g.grow();
    }
    if g.graph().nodes.is_empty() {
        g.inputs();
        (0..200).any(|_| g.grow());
    }
    g.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use tflc::ir::{print, verify};

    #[test]
    fn the_same_seed_gives_the_same_valid_model() {
        for seed in 0..20 {
            let RandomModel { model, inputs, .. } = random_model(seed, Steps::Any);
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
