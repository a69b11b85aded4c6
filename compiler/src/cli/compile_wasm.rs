//! What `tflc compile --emit wasm` writes: a folder with the module, its loader and types, shaped like an npm package.

use crate::backend::wasm::{self, Memory, Options, Signature, bindings};
use crate::cli::args::Loaded;
use crate::lower::program::Program;
use crate::target::Cpu;
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
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
    /// WebAssembly: leaves the weights in a file NAME.weights.
    #[arg(long = "wasm-split-weights")]
    split_weights: bool,
}

/// Writes the folder `out`.
///
/// # Errors
/// Where the target is no WebAssembly, the model cannot be compiled, or a file not be written.
pub fn write(args: &WasmArgs, loaded: &Loaded, program: &Program, model: &Path, out: &Path) -> Result<()> {
    let Cpu::Wasm32 { relaxed } = loaded.target.cpu else { bail!("--emit wasm needs --cpu wasm32 or wasm32+relaxed-simd") };
    let name = model.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    ensure!(!name.is_empty(), "{} has no name to call the module by", model.display());
    let memory = match args.memory {
        MemoryKind::Exported => Memory::Exported,
        MemoryKind::Imported => Memory::Imported,
        MemoryKind::Shared => Memory::Shared,
    };
    let options = Options { memory, split_weights: args.split_weights };
    let module = wasm::compile_program(program, relaxed, options)?;
    let description = wasm::describe(&name, program, &module, options, &signatures(loaded));
    std::fs::create_dir_all(out).with_context(|| format!("cannot make the folder {}", out.display()))?;
    let put = |file: &str, bytes: &[u8]| -> Result<()> {
        let path = out.join(file);
        std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("wrote {} ({} bytes)", path.display(), bytes.len());
        Ok(())
    };
    put(&format!("{name}.wasm"), &module.with_description(&description))?;
    if args.split_weights {
        let mut weights = vec![0; program.weights_bytes];
        program.write_weights(&mut weights);
        put(&format!("{name}.weights"), &weights)?;
    }
    for (file, text) in bindings::LOADER {
        put(file, text.as_bytes())?;
    }
    put(&format!("{name}.js"), bindings::script(&name, args.split_weights).as_bytes())?;
    put(&format!("{name}.d.ts"), bindings::types(&name, program).as_bytes())?;
    put("package.json", bindings::package(&name).as_bytes())
}

fn signatures(loaded: &Loaded) -> Vec<Signature> {
    let graph = &loaded.model.graphs[loaded.entry.index()];
    let positions = |named: &[(String, crate::ir::TensorId)], ports: &[crate::ir::TensorId]| {
        named.iter().filter_map(|(n, t)| Some((n.clone(), ports.iter().position(|p| p == t)?))).collect()
    };
    let of_entry = loaded.model.signatures.iter().filter(|s| s.graph == loaded.entry);
    of_entry
        .map(|s| Signature {
            key: s.key.clone(),
            inputs: positions(&s.inputs, &graph.inputs),
            outputs: positions(&s.outputs, &graph.outputs),
        })
        .collect()
}
