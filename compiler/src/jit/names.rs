//! Graphs and inputs by the names that callers know them by.

use super::error::JitError;
use crate::ir::{self, GraphId, TensorId};

/// The graph that a signature (or none) names.
pub fn entry_graph(model: &ir::Model, signature: Option<&str>) -> Result<GraphId, JitError> {
    match signature {
        None => Ok(GraphId(0)),
        Some(key) => model.signatures.iter().find(|s| s.key == key).map(|s| s.graph).ok_or_else(|| JitError::Signature {
            wanted: key.to_string(),
            known: model.signatures.iter().map(|s| s.key.clone()).collect(),
        }),
    }
}

/// The inputs that `shapes` name, by tensor name or signature name, with their shapes.
pub fn named_shapes(model: &ir::Model, entry: GraphId, shapes: &[(String, Vec<usize>)]) -> Result<Vec<(TensorId, Vec<usize>)>, JitError> {
    let graph = &model.graphs[entry.index()];
    let by_signature =
        |name: &str| model.signatures.iter().filter(|s| s.graph == entry).flat_map(|s| &s.inputs).find(|(n, _)| n == name).map(|(_, t)| *t);
    shapes
        .iter()
        .map(|(name, shape)| {
            let by_tensor = graph.inputs.iter().copied().find(|t| graph.tensor(*t).name == *name);
            match by_tensor.or_else(|| by_signature(name)) {
                Some(t) => Ok((t, shape.clone())),
                None => Err(JitError::Input {
                    wanted: name.clone(),
                    known: graph.inputs.iter().map(|t| graph.tensor(*t).name.clone()).collect(),
                }),
            }
        })
        .collect()
}
