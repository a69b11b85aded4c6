//! `tflc compile`: writes what the compiler makes of a model.

use crate::backend;
use crate::cli::args::ModelArgs;
use crate::cli::compile_wasm;
use crate::driver;
use crate::ir::print;
use crate::lower::program::Program;
use crate::target::Target;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::path::PathBuf;

/// A form of the compiled model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Emit {
    /// The graph after all passes, as text.
    Graph,
    /// The kernels, in the kernel language.
    Kir,
    /// The kernels and the driver as Cranelift's intermediate form.
    Clif,
    /// Disassembled machine code.
    Asm,
    /// A WebAssembly module with its loader and types, in the folder OUT.
    Wasm,
}

/// Arguments of `tflc compile`.
#[derive(Args, Clone, Debug)]
pub struct CompileArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// What to write; may be a list.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "graph")]
    emit: Vec<Emit>,
    /// Writes to files OUT.graph, OUT.kir, … instead of standard output.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Prints the graph after a pass (`import` for what was read), or after `all`; may be repeated.
    #[arg(long = "print-after", value_name = "PASS")]
    print_after: Vec<String>,
    #[command(flatten)]
    wasm: compile_wasm::WasmArgs,
}

/// Runs the command.
///
/// # Errors
/// Where the model cannot be compiled or a file not be written.
pub fn run(args: &CompileArgs) -> Result<()> {
    let known = || driver::PASSES.iter().map(|(n, _)| *n).chain(["import", "all"]);
    for name in &args.print_after {
        anyhow::ensure!(known().any(|k| k == name), "there is no pass {name:?}; known are {}", known().collect::<Vec<_>>().join(", "));
    }
    let mut loaded = args.model.load()?;
    let wanted = |name: &str| args.print_after.iter().any(|p| p == name || p == "all");
    if wanted("import") {
        println!("; after import\n{}", print::print(&loaded.model));
    }
    driver::optimize(&mut loaded.model, loaded.entry, &loaded.target, &mut |name, model| {
        if wanted(name) {
            println!("; after {name}\n{}", print::print(model));
        }
    })?;
    let program = crate::lower::lower(&loaded.model, loaded.entry, &loaded.target)?;
    for emit in &args.emit {
        let (suffix, text) = match emit {
            Emit::Graph => ("graph", print::print(&loaded.model)),
            Emit::Kir => ("kir", kernels(&program)),
            Emit::Clif => ("clif", clif(&program, &loaded.target)?),
            Emit::Asm => ("s", assembly(&program, &loaded.target)?),
            Emit::Wasm => {
                let out = args.output.as_deref().context("--emit wasm writes a folder: name it with -o OUT")?;
                compile_wasm::write(&args.wasm, &loaded, &program, &args.model.model, out)?;
                continue;
            }
        };
        match &args.output {
            Some(out) => {
                let path = out.with_added_extension(suffix);
                std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
                eprintln!("wrote {}", path.display());
            }
            None => print!("{text}"),
        }
    }
    Ok(())
}

fn kernels(program: &Program) -> String {
    let mut text = String::new();
    for (i, recipe) in program.kernels.iter().enumerate() {
        let mut kernel = (recipe.build)();
        tflc_kir::optimize(&mut kernel);
        let _ = writeln!(text, "; kernel {i}: {}\n{kernel}", recipe.key);
    }
    for call in program.calls() {
        let args: Vec<String> = call.args.iter().map(ToString::to_string).collect();
        let _ =
            writeln!(text, "; call kernel {} units {} grain {} ({}) {}", call.kernel, call.units, call.grain, args.join(", "), call.label);
    }
    text
}

fn clif(program: &Program, target: &Target) -> Result<String> {
    let mut text = String::new();
    for (i, recipe) in program.kernels.iter().enumerate() {
        let mut kernel = (recipe.build)();
        tflc_kir::optimize(&mut kernel);
        let body = backend::cranelift::clif_text(&kernel, target)
            .context("this form exists for the targets that Cranelift serves: --cpu x86-64 or aarch64")?;
        let _ = writeln!(text, "; kernel {i} {}\n{body}", kernel.name);
    }
    Ok(text)
}

fn assembly(program: &Program, target: &Target) -> Result<String> {
    let mut text = String::new();
    for (i, recipe) in program.kernels.iter().enumerate() {
        let mut kernel = (recipe.build)();
        tflc_kir::optimize(&mut kernel);
        let _ = writeln!(text, "; kernel {i} {}\n{}", kernel.name, backend::assembly_text(&kernel, target)?);
    }
    Ok(text)
}
