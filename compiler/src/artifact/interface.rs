//! What the bindings say of a compiled model, from its programs and the model's signatures.

use super::library::{Level, Library, Weights};
use crate::ir::{Model, TensorId};
use crate::lower::program::{OpenOutput, Port};
use crate::lower::records::quantization;
use tflc_templates::bindings::{Interface, Ports, Signature, Tensor};

/// The interface of a library; `model` is what its levels were made from.
pub fn interface(library: &Library, levels: &[Level], model: &Model) -> Interface {
    let program = &levels[0].program;
    let named = |list: &[(String, TensorId)], ports: &[TensorId]| {
        list.iter().filter_map(|(name, t)| Some((name.clone(), ports.iter().position(|p| p == t)?))).collect()
    };
    let signature = |own: &super::LevelSignature| {
        let s = model.signatures.iter().find(|s| s.key == own.key)?;
        let graph = &model.graphs[s.graph.index()];
        let ports = own.other.map(|o| &program.others[o]).map(|o| ports(&o.inputs, &o.outputs, &o.open));
        Some(Signature {
            key: s.key.clone(),
            inputs: named(&s.inputs, &graph.inputs),
            outputs: named(&s.outputs, &graph.outputs),
            own: ports,
        })
    };
    Interface {
        name: library.name.to_string(),
        description: model.description.clone(),
        cpus: levels.iter().map(|l| l.target.cpu.to_string()).collect(),
        ports: ports(&program.inputs, &program.outputs, &program.open),
        signatures: levels[0].signatures.iter().filter_map(signature).collect(),
        arena_bytes: levels.iter().map(|l| l.program.arena_bytes).max().unwrap_or(0),
        state_bytes: program.state_bytes,
        split_weights: (library.placement == Weights::Split).then(|| (library.weights.len(), crc32fast::hash(&library.weights))),
    }
}

fn ports(inputs: &[Port], outputs: &[Port], open: &[OpenOutput]) -> Ports {
    let axis = |i: usize| open.iter().find(|o| o.output == i).map(|o| o.axis);
    Ports {
        inputs: inputs.iter().map(|p| tensor(p, None)).collect(),
        outputs: outputs.iter().enumerate().map(|(i, p)| tensor(p, axis(i))).collect(),
    }
}

fn tensor(port: &Port, open_axis: Option<usize>) -> Tensor {
    Tensor {
        name: port.name.clone(),
        dtype: port.ty.dtype.name().to_string(),
        shape: port.ty.shape.clone(),
        bytes: port.ty.bytes(),
        quantized: quantization(&port.ty),
        open_axis,
    }
}
