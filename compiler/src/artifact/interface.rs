//! What the bindings say of a compiled model, from its programs and the model's signatures.

use super::descriptor::quantization;
use super::library::{Level, Library, Weights};
use crate::ir::{GraphId, Model, TensorId};
use crate::lower::program::Port;
use tflc_templates::bindings::{Interface, Signature, Tensor};

/// The interface of a library; `model` and `entry` are what its levels were made from.
pub fn interface(library: &Library, levels: &[Level], model: &Model, entry: GraphId) -> Interface {
    let program = &levels[0].program;
    let graph = &model.graphs[entry.index()];
    let named = |list: &[(String, TensorId)], ports: &[TensorId]| {
        list.iter().filter_map(|(name, t)| Some((name.clone(), ports.iter().position(|p| p == t)?))).collect()
    };
    let signatures = model.signatures.iter().filter(|s| s.graph == entry).map(|s| Signature {
        key: s.key.clone(),
        inputs: named(&s.inputs, &graph.inputs),
        outputs: named(&s.outputs, &graph.outputs),
    });
    Interface {
        name: library.name.to_string(),
        description: model.description.clone(),
        cpus: levels.iter().map(|l| l.target.cpu.to_string()).collect(),
        inputs: program.inputs.iter().map(tensor).collect(),
        outputs: program.outputs.iter().map(tensor).collect(),
        signatures: signatures.collect(),
        arena_bytes: levels.iter().map(|l| l.program.arena_bytes).max().unwrap_or(0),
        state_bytes: program.state_bytes,
        split_weights: (library.placement == Weights::Split).then(|| (library.weights.len(), crc32fast::hash(&library.weights))),
    }
}

fn tensor(port: &Port) -> Tensor {
    Tensor {
        name: port.name.clone(),
        dtype: port.ty.dtype.name().to_string(),
        shape: port.ty.shape.clone(),
        bytes: port.ty.bytes(),
        quantized: quantization(port),
    }
}
