//! What `tflc MODEL.tflite --target wasm32 -o OUT` writes: a module, its loader and types, in a folder shaped like an npm package.

use crate::artifact::Name;
use crate::backend::wasm::{self, Memory, Options, Signature, bindings};
use crate::cli::output::Output;
use crate::cli::source_files::source_files;
use crate::driver;
use crate::ir::{GraphId, Model, TensorId};
use crate::lower::program::Program;
use crate::target::{Cpu, Target};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;
use std::path::Path;

/// Where the module's memory comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum MemoryKind {
    /// The module has its own.
    #[default]
    Exported,
    /// The caller gives one.
    Imported,
    /// The caller gives one that threads share.
    Shared,
}

/// Options of WebAssembly modules.
#[derive(Args, Clone, Debug)]
pub struct WasmArgs {
    /// WebAssembly: whose memory the module uses; `shared` lets calls run on several threads.
    #[arg(long = "wasm-memory", value_enum, default_value = "exported", value_name = "KIND")]
    memory: MemoryKind,
}

/// What is compiled.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The model, imported and not optimised.
    pub model: &'a Model,
    /// The graph of the primary entry point.
    pub entry: GraphId,
    /// Further ones, by the keys of their signatures.
    pub others: &'a [(String, GraphId)],
    /// Iterations after which a loop ends the run with a status.
    pub loop_limit: Option<u64>,
}

/// Adds all files to the folder; gives the manifest.
///
/// # Errors
/// Where there is more than one CPU level, the model cannot be compiled, or a file not be written.
pub fn add(
    args: &WasmArgs,
    split_weights: bool,
    name: &Name,
    source: &Source<'_>,
    targets: &[Target],
    file: &Path,
    out: &mut Output,
) -> Result<String> {
    ensure!(
        targets.len() == 1,
        "a WebAssembly module has one CPU level: engines refuse modules with instructions they lack; choose one with --cpu"
    );
    let target = &targets[0];
    let Cpu::Wasm32 { relaxed } = target.cpu else { bail!("{} is no WebAssembly", target.cpu) };
    let memory = match args.memory {
        MemoryKind::Exported => Memory::Exported,
        MemoryKind::Imported => Memory::Imported,
        MemoryKind::Shared => Memory::Shared,
    };
    let options = Options { memory, split_weights };
    let wrong = || format!("cannot compile {}", file.display());
    let mut levels = driver::levels_entries(source.model, source.entry, source.others, targets).with_context(wrong)?;
    let Some(level) = levels.pop() else { bail!("no CPU level") };
    let mut program = level.program;
    if let Some(iterations) = source.loop_limit {
        program.limit_loops(iterations);
    }
    let signatures = signatures(source, &program);
    let module = wasm::compile_program(&program, relaxed, options).with_context(wrong)?;
    let description = wasm::describe(name.as_str(), &program, &module, options, &signatures);
    out.add("module", format!("{name}.wasm"), &module.with_description(&description))?;
    if split_weights {
        let mut weights = vec![0; program.weights_bytes];
        program.write_weights(&mut weights);
        out.add("weights", format!("{name}.weights"), &weights)?;
    }
    for (file, text) in bindings::LOADER {
        out.add("loader", file.into(), text.as_bytes())?;
    }
    out.add("javascript", format!("{name}.js"), bindings::script(name.as_str(), split_weights).as_bytes())?;
    out.add("types", format!("{name}.d.ts"), bindings::types(name.as_str(), &program, &signatures).as_bytes())?;
    out.add("package", "package.json".into(), bindings::package(name.as_str()).as_bytes())?;
    let about: serde_json::Value = serde_json::from_str(&description)?;
    let platform = target.platform();
    let manifest = json!({
        "manifest_version": 1,
        "tflc_version": env!("CARGO_PKG_VERSION"),
        "name": name.as_str(),
        "model": source_files(file)?.describe(),
        "target": { "name": platform.name(), "triple": platform.triple(), "object_format": platform.os.format().to_string(), "cpus": [target.cpu.to_string()] },
        "module": about,
        "files": out.list().iter().map(|(kind, name, bytes)| json!({ "kind": kind, "name": name, "bytes": bytes })).collect::<Vec<_>>(),
    });
    let manifest = format!("{manifest:#}\n");
    out.add("manifest", "manifest.json".into(), manifest.as_bytes())?;
    Ok(manifest)
}

/// The signatures of the entry points of a program.
fn signatures(source: &Source<'_>, program: &Program) -> Vec<Signature> {
    let model = source.model;
    // As many entry points as graphs: a graph that several signatures have is compiled once.
    let further = |key: &String| source.others.iter().find(|(k, _)| k == key).map(|o| o.1);
    let graphs: Vec<Option<GraphId>> = std::iter::once(Some(source.entry)).chain(program.others.iter().map(|e| further(&e.key))).collect();
    let positions = |named: &[(String, TensorId)], ports: &[TensorId]| {
        named.iter().filter_map(|(n, t)| Some((n.clone(), ports.iter().position(|p| p == t)?))).collect()
    };
    let of = |s: &crate::ir::Signature| {
        let graph = &model.graphs[s.graph.index()];
        let entry = graphs.iter().position(|g| *g == Some(s.graph))?;
        let (inputs, outputs) = (positions(&s.inputs, &graph.inputs), positions(&s.outputs, &graph.outputs));
        Some(Signature { key: s.key.clone(), entry, inputs, outputs })
    };
    model.signatures.iter().filter_map(of).collect()
}
