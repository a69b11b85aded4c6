//! `tflc verify --per-op`: compares every tensor that the primary graph computes with the reference evaluator's, and names the first
//! operator that departs.
//!
//! `unfused` keeps every tensor of the model as an output, so that each operator is compiled on its own; `fused` keeps what the passes leave, so
//! that the code is what normally runs, and a departure lies in one of the operators between two tensors. Tensors inside loops and branches
//! are not kept: their operator answers for them.

use crate::cli::HostTensor;
use crate::cli::args::{Loaded, ModelArgs};
use crate::cli::run::to_values;
use crate::cli::verify::{Distance, distance};
use crate::driver;
use crate::ir::{DType, Location, Model, TensorId};
use crate::ops::{Evaluator, Value};
use anyhow::{Result, bail};
use clap::ValueEnum;
use std::collections::HashMap;

/// Which tensors are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Kept {
    /// All of the model's.
    Unfused,
    /// Those that are left after fusion.
    Fused,
}

/// A tensor that was compared.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Compared {
    /// Operator in its subgraph.
    pub operator: u32,
    /// Name of the operator.
    pub kind: String,
    /// Name of the tensor.
    pub tensor: String,
    /// Its element type.
    #[serde(skip)]
    pub dtype: DType,
    /// Whether it is within the tolerance.
    pub ok: bool,
    /// How far it is off.
    pub distance: Distance,
}

/// Compares the tensors that the entry graph computes, in order.
///
/// # Errors
/// Where the model cannot be compiled or run.
pub fn compare(
    loaded: Loaded,
    args: &ModelArgs,
    threads: usize,
    kept: Kept,
    inputs: &[HostTensor],
    within: &dyn Fn(&Distance, DType) -> bool,
) -> Result<Vec<Compared>> {
    let values = to_values(&loaded, inputs)?;
    let Loaded { model, entry, target } = loaded;
    let mut compiled = model.clone();
    if kept == Kept::Fused {
        driver::optimize(&mut compiled, entry, &target, &mut |_, _| {})?;
    }
    let tensors = keep(&mut compiled, &model, entry.index());
    if tensors.is_empty() {
        bail!("the graph computes nothing that could be kept");
    }
    let mut expected: HashMap<TensorId, Value> = HashMap::new();
    let mut evaluator = Evaluator::new(&model);
    evaluator.observe(|graph, tensor, value| {
        if graph == entry {
            expected.insert(tensor, value.clone());
        }
    });
    evaluator.run_graph(entry, &values)?;
    drop(evaluator);

    let names: Vec<(Location, String)> = tensors.iter().map(|t| producer(&model, entry.index(), *t)).collect();
    let mut code = args.jit_options(threads).compile(compiled)?;
    let given: Vec<&[u8]> = inputs.iter().map(|v| v.data.as_slice()).collect();
    let mut outputs: Vec<Vec<u8>> = code.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
    code.run(&given, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;

    let mut compared = vec![];
    for (((t, (location, kind)), data), port) in tensors.iter().zip(names).zip(outputs).zip(code.outputs()) {
        let Some(want) = expected.get(t) else { continue };
        let got = HostTensor::new(port.ty.dtype, &port.ty.shape, data)?;
        let want = HostTensor::new(want.ty.dtype, &want.ty.shape, want.bytes().to_vec())?;
        // A shape that is known only at run time, or elements without a real value: nothing to measure.
        let Ok(distance) = distance(&got, &want) else { continue };
        let ok = within(&distance, want.dtype);
        compared.push(Compared { operator: location.operator, kind, tensor: port.name.clone(), dtype: want.dtype, ok, distance });
    }
    Ok(compared)
}

/// Makes every tensor that the graph computes, and that the unchanged model computes too, an output; gives them in order.
fn keep(model: &mut Model, original: &Model, entry: usize) -> Vec<TensorId> {
    let known: Vec<TensorId> = original.graphs[entry].nodes.iter().flat_map(|n| n.outputs.iter().copied()).collect();
    let graph = &mut model.graphs[entry];
    let whole_bytes = |t: &TensorId| {
        let ty = graph.ty(*t);
        ty.bytes() > 0 && ty.dtype.bits().is_multiple_of(8) && ty.dtype != DType::Resource
    };
    let tensors: Vec<TensorId> =
        graph.nodes.iter().flat_map(|n| n.outputs.iter().copied()).filter(|t| known.contains(t)).filter(whole_bytes).collect();
    graph.outputs.clone_from(&tensors);
    for s in model.signatures.iter_mut().filter(|s| s.graph.index() == entry) {
        s.outputs.clear();
    }
    tensors
}

/// Where a tensor is computed, and by what.
fn producer(model: &Model, entry: usize, t: TensorId) -> (Location, String) {
    let node = model.graphs[entry].producer(t);
    node.map_or_else(Default::default, |n| (n.location, n.op.to_string()))
}
