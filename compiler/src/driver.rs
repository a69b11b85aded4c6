//! The phases of a compilation and the ordered list of passes: the whole compiler on one screen.
//!
//! `import` → `optimize` ([`PASSES`]) → `lower` → `generate`. Each phase takes and gives plain data; a [`Watch`] sees the graphs after any pass.

use crate::artifact::{Level, LevelSignature};
use crate::backend::{self, Image};
use crate::error::{CompileError, Place};
use crate::frontend::{self, Limits, ModelFile, import};
use crate::ir::{GraphId, Model, TensorId, parse, verify};
use crate::lower::{lower, lower_entries, program::Program};
use crate::ops;
use crate::passes::{self, Pass};
use crate::target::Target;
use std::path::Path;

/// The passes in the order in which they run, each with the reason for its place.
pub const PASSES: &[(&str, Pass)] = &[
    // First: calls that need not be calls, so that all others see through them; then constants where they are used.
    ("inline-calls", passes::inline_calls::run),
    ("bind-constants", passes::bind_constants::run),
    // Before constants are folded, so that packed ones are unpacked once.
    ("widen-packed", passes::widen_packed::run),
    // Everything after it sees constants where the model computes them from constants, shapes above all.
    ("fold-constants", passes::fold_constants::run),
    // While slices, sums and concatenations are still there by name; what it leaves without readers goes at the end.
    ("fuse-list-update", passes::fuse_list_update::run),
    // While operators still have their names, and before anything is fused across lengths that may differ.
    ("spell-out-open", passes::spell_out_open::run),
    // Before fusion, so that producers and consumers meet.
    ("remove-identities", passes::remove_identities::run),
    // While padding is still its own node next to the convolution that can take it over.
    ("fold-pad", passes::fold_pad::run),
    // A product turns its operands itself, while it packs them.
    ("fold-transpose", passes::fold_transpose::run),
    // After the passes that look at elementwise operators by name.
    ("lower-elementwise", passes::lower_elementwise::run),
    // Chains first, so that a convolution takes a whole chain as its tail.
    ("fuse-pointwise", passes::fuse_pointwise::run),
    ("fuse-tail", passes::fuse_tail::run),
    ("fuse-element", passes::fuse_element::run),
    // When each convolution has its final result: before that, tails would stand between them.
    ("split-rows", passes::split_rows::run),
    ("split-attention", passes::split_attention::run),
    // Last: what the others left without readers.
    ("remove-dead-code", passes::remove_dead_code::run),
];

/// Called with the name of a pass and the model after it.
pub type Watch<'a> = &'a mut dyn FnMut(&str, &Model);

/// Reads a model file: a `.tflite` file, or a graph in text form where the name ends in `.graph`, as `--emit graph` writes it.
///
/// # Errors
/// What the front end and the importer find, all unsupported operators at once; of a text, the first thing wrong with its line and column.
pub fn load(path: &Path) -> Result<Model, CompileError> {
    if path.extension().is_some_and(|e| e == "graph") {
        return load_text(path);
    }
    let file = ModelFile::open(path, &Limits::default())?;
    import(&file)
}

/// Names of the other files that [`load`] may read for the model file with these bytes, relative to its folder; none where it is no `.tflite` file.
///
/// # Errors
/// What the front end finds wrong with a model that has other files.
pub fn external_files(bytes: &[u8]) -> Result<Vec<&str>, CompileError> {
    Ok(frontend::external_files(bytes, &Limits::default())?)
}

fn load_text(path: &Path) -> Result<Model, CompileError> {
    let invalid = |reason: String| CompileError::invalid(Place::default(), reason);
    let text = std::fs::read_to_string(path).map_err(|e| invalid(e.to_string()))?;
    let mut model = parse(&text).map_err(|e| invalid(e.to_string()))?;
    verify(&model).map_err(|e| invalid(e.to_string()))?;
    ops::propagate_types(&mut model)?.supported()?;
    Ok(model)
}

/// Sets the shapes of some inputs and infers all others anew.
///
/// # Errors
/// Where an input is unknown, or the operators do not take the shapes.
pub fn resize(model: &mut Model, graph: GraphId, shapes: &[(TensorId, Vec<usize>)]) -> Result<(), CompileError> {
    for (t, shape) in shapes {
        model.graphs[graph.index()].tensors[t.index()].set_shape(shape);
    }
    ops::propagate_types(model)?.supported()
}

/// States the largest shapes that tensors of some names may have at run time, for those whose sizes nothing in the model bounds, and infers all types anew.
///
/// # Errors
/// Where no tensor has a name, and as [`resize`].
pub fn bound(model: &mut Model, bounds: &[(String, Vec<usize>)]) -> Result<(), CompileError> {
    for (name, shape) in bounds {
        let mut found = false;
        for graph in &mut model.graphs {
            let named = (0..graph.tensors.len() as u32).map(TensorId).filter(|t| graph.tensor(*t).name == *name);
            for t in named.collect::<Vec<_>>() {
                graph.bounds.insert(t, shape.clone());
                found = true;
            }
        }
        if !found {
            return Err(CompileError::invalid(Place::default(), format!("no tensor is named {name:?}, of which a bound is given")));
        }
    }
    if bounds.is_empty() { Ok(()) } else { ops::propagate_types(model)?.supported() }
}

/// Runs all passes over the graph `entry` and those that it calls.
///
/// # Errors
/// Those of the passes, and `Internal` where a pass leaves an invalid graph behind.
pub fn optimize(model: &mut Model, entry: GraphId, target: &Target, watch: Watch<'_>) -> Result<(), CompileError> {
    optimize_entries(model, &[entry], target, watch)
}

/// Runs all passes over several graphs and those that they call.
///
/// # Errors
/// As [`optimize`].
pub fn optimize_entries(model: &mut Model, entries: &[GraphId], target: &Target, watch: Watch<'_>) -> Result<(), CompileError> {
    for (name, pass) in PASSES {
        let mut graphs: Vec<GraphId> = entries.iter().flat_map(|e| ops::called_graphs(model, *e)).collect();
        let mut seen = std::collections::HashSet::new();
        graphs.retain(|g| seen.insert(*g));
        for graph in graphs {
            pass(model, graph, target)?;
        }
        if cfg!(debug_assertions) {
            verify::verify(model).map_err(|e| CompileError::Internal(format!("after pass {name}: {e}")))?;
        }
        watch(name, model);
    }
    Ok(())
}

/// From an imported model to a lowered program for each target, the least demanding first, ahead of time.
///
/// # Errors
/// As [`optimize`] and [`crate::lower::lower`].
pub fn levels(model: &Model, entry: GraphId, targets: &[Target]) -> Result<Vec<Level>, CompileError> {
    levels_entries(model, entry, &[], targets)
}

/// The same with further entry points, by key, as [`crate::lower::lower_entries`] takes them.
///
/// # Errors
/// As [`levels`].
pub fn levels_entries(model: &Model, entry: GraphId, others: &[(String, GraphId)], targets: &[Target]) -> Result<Vec<Level>, CompileError> {
    let mut targets = targets.to_vec();
    targets.sort_by_key(|t| Target::CPU_NAMES.iter().position(|row| row.1 == t.cpu));
    // A graph is compiled once, whatever the number of its signatures.
    let mut further: Vec<(String, GraphId)> = vec![];
    for (key, graph) in others {
        if *graph != entry && !further.iter().any(|f| f.1 == *graph) {
            further.push((key.clone(), *graph));
        }
    }
    let entries: Vec<GraphId> = std::iter::once(entry).chain(further.iter().map(|f| f.1)).collect();
    let signatures = signatures(model, &entries);
    let level = |target: Target| {
        target.check()?;
        let mut model = model.clone();
        optimize_entries(&mut model, &entries, &target.clone().thorough(), &mut |_, _| {})?;
        let program = lower_entries(&model, entry, &further, &target)?;
        Ok(Level { target, program, signatures: signatures.clone() })
    };
    targets.into_iter().map(level).collect()
}

/// The signatures of some graphs, by the names that they give to inputs and outputs.
fn signatures(model: &Model, entries: &[GraphId]) -> Vec<LevelSignature> {
    let of = |s: &crate::ir::Signature| {
        let at = entries.iter().position(|e| *e == s.graph)?;
        let graph = &model.graphs[s.graph.index()];
        let names = |list: &[(String, TensorId)], ports: &[TensorId]| {
            let name = |t: &TensorId| list.iter().find(|(_, own)| own == t).map(|(n, _)| n.clone()).unwrap_or_default();
            ports.iter().map(name).collect()
        };
        let [inputs, outputs] = [names(&s.inputs, &graph.inputs), names(&s.outputs, &graph.outputs)];
        Some(LevelSignature { key: s.key.clone(), other: at.checked_sub(1), inputs, outputs })
    };
    model.signatures.iter().filter_map(of).collect()
}

/// From an optimised model to a program and its code.
///
/// # Errors
/// `Unsupported` for operators without a lowering, `Internal` where a backend fails.
pub fn generate(model: &Model, entry: GraphId, target: &Target) -> Result<(Program, Image), CompileError> {
    let program = lower(model, entry, target)?;
    let image = backend::compile_program(&program, target).map_err(|e| CompileError::Internal(e.to_string()))?;
    Ok((program, image))
}
