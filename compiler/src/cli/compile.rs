//! `tflc compile`: writes what the compiler makes of a model.

use crate::artifact::{self, Level, Library, Manifest, Name, Weights};
use crate::cli::args::SourceArgs;
use crate::cli::output::{Mode, Output};
use crate::cli::source_files::{source_files, source_paths};
use crate::cli::target::TargetArgs;
use crate::cli::{compile_wasm, depfile, link, text};
use crate::driver;
use crate::ir::{GraphId, Model, print};
use crate::jit::{entry_graph, host_target};
use crate::target::{Arch, Os, Target};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use tflc_templates::bindings;

/// A form of the compiled model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Emit {
    /// An object file.
    Obj,
    /// A static library.
    Staticlib,
    /// A shared library; needs a linker for the target.
    Cdylib,
    /// The C header of the model, and tflc.h.
    Header,
    /// The Rust module of the model.
    Rust,
    /// manifest.json, which comes with all of these anyway.
    Manifest,
    /// NAME.d for make, ninja and CMake: which files all others that are written depend on. It is no text: manifest.json comes with it.
    Depfile,
    /// A WebAssembly module with its JavaScript loader and types; for the target wasm32, and alone there.
    Wasm,
    /// The graph after all passes, as text.
    Graph,
    /// The kernels, in the kernel language.
    Kir,
    /// The kernels and the driver as Cranelift's intermediate form.
    Clif,
    /// Disassembled machine code.
    Asm,
}

/// What is written where nothing is asked for by name.
const DEFAULT_EMIT: &[Emit] = &[Emit::Obj, Emit::Header, Emit::Rust];

impl Emit {
    /// Suffix of a text about the compilation, which goes to standard output where there is no folder.
    fn text_suffix(self) -> Option<&'static str> {
        match self {
            Emit::Graph => Some("graph"),
            Emit::Kir => Some("kir"),
            Emit::Clif => Some("clif"),
            Emit::Asm => Some("s"),
            _ => None,
        }
    }
}

/// Arguments of `tflc compile`.
#[derive(Args, Clone, Debug)]
pub struct CompileArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    target: TargetArgs,
    /// What to write; may be a list. Without it obj,header,rust, for wasm32 wasm.
    #[arg(long, value_enum, value_delimiter = ',')]
    emit: Vec<Emit>,
    /// Folder for the files and manifest.json; texts alone go to standard output without it.
    #[arg(short, long, value_name = "OUT")]
    output: Option<PathBuf>,
    /// Name of the model: prefix of its symbols and files. Without it, the file's name.
    #[arg(long)]
    name: Option<String>,
    /// Compiles this signature too, with the same weights and state; may be repeated.
    #[arg(long = "and-signature", value_name = "KEY")]
    and_signatures: Vec<String>,
    /// C function that computes a custom operator of the model, which the program has to bring; may be repeated.
    #[arg(long = "custom", value_name = "NAME=FUNCTION", value_parser = parse_custom)]
    customs: Vec<(String, String)>,
    /// Leaves the weights in a file NAME.weights, to be mapped by the program.
    #[arg(long)]
    split_weights: bool,
    #[command(flatten)]
    wasm: compile_wasm::WasmArgs,
    /// Linker for cdylib: a C compiler with its arguments.
    #[arg(long, value_name = "COMMAND")]
    linker: Option<String>,
    /// Prints the graph after a pass (`import` for what was read), or after `all`; may be repeated.
    #[arg(long = "print-after", value_name = "PASS")]
    print_after: Vec<String>,
    /// Prints the manifest.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where the model cannot be compiled or a file not be written.
pub fn run(args: &CompileArgs) -> Result<()> {
    let known = || driver::PASSES.iter().map(|(n, _)| *n).chain(["import", "all"]);
    for name in &args.print_after {
        ensure!(known().any(|k| k == name), "there is no pass {name:?}; known are {}", known().collect::<Vec<_>>().join(", "));
    }
    let targets = args.target.targets()?;
    let wasm = targets[0].arch() == Arch::Wasm32;
    let default: &[Emit] = if wasm { &[Emit::Wasm] } else { DEFAULT_EMIT };
    let mut emit = if args.emit.is_empty() { default.to_vec() } else { vec![] };
    args.emit.iter().for_each(|e| {
        if !emit.contains(e) {
            emit.push(*e)
        }
    });
    let misplaced = |e: &Emit| e.text_suffix().is_none() && !matches!(e, Emit::Manifest | Emit::Depfile) && (*e == Emit::Wasm) != wasm;
    if let Some(e) = emit.iter().copied().find(misplaced) {
        bail!(
            "--emit {} is not for {}; {}",
            e.to_possible_value().map_or_else(String::new, |v| v.get_name().to_string()),
            targets[0].platform().name(),
            if wasm {
                "for it there are wasm and the texts graph, kir, and depfile with either"
            } else {
                "a WebAssembly module takes --target wasm32"
            }
        );
    }
    let texts: Vec<Emit> = emit.iter().copied().filter(|e| e.text_suffix().is_some()).collect();
    let only_texts = texts.len() == emit.len();
    ensure!(args.output.is_some() || !emit.contains(&Emit::Depfile), "--emit depfile is about files: say where they go with -o OUT");
    if args.output.is_none() && !only_texts && args.print_after.is_empty() {
        bail!("say where the files go with -o OUT, or what to print with --emit graph");
    }
    ensure!(texts.is_empty() || targets.len() == 1, "texts are of one CPU level; choose one with --cpu");
    let (mut model, entry) = args.source.load()?;
    artifact::link_customs(&mut model, &args.customs)?;
    let mut written = vec![];
    if !texts.is_empty() || !args.print_after.is_empty() {
        written = explain(args, &texts, &model, entry, &targets[0])?;
    }
    let Some(folder) = &args.output else {
        written.iter().for_each(|(_, text)| say_text!("{text}"));
        return Ok(());
    };
    let name = match &args.name {
        Some(name) => Name::new(name)?,
        None => Name::from_stem(&args.source.model.file_stem().unwrap_or_default().to_string_lossy()),
    };
    let mut out = Output::new(folder)?;
    for (suffix, text) in written {
        out.add("text", format!("{name}.{suffix}"), text.as_bytes())?;
    }
    if wasm && !only_texts {
        let others = further_entries(args, &model)?;
        let source = compile_wasm::Source { model: &model, entry, others: &others, loop_limit: args.source.loop_limit };
        let manifest = compile_wasm::add(&args.wasm, args.split_weights, &name, &source, &targets, &args.source.model, &mut out)?;
        if args.json {
            say_text!("{manifest}");
        }
    } else if !only_texts {
        let manifest = artifacts(args, &emit, name.clone(), &model, entry, &targets, &mut out)?;
        out.add("manifest", "manifest.json".into(), manifest.as_bytes())?;
        if args.json {
            say_text!("{manifest}");
        }
    }
    if emit.contains(&Emit::Depfile) {
        let targets: Vec<PathBuf> = out.list().iter().map(|(_, file, _)| folder.join(file)).collect();
        let text = depfile::depfile(&targets, &source_paths(&args.source.model)?)?;
        out.add("depfile", format!("{name}.d"), text.as_bytes())?;
    }
    for path in out.finish()? {
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// `NAME=FUNCTION`; a name alone stands for both.
fn parse_custom(text: &str) -> Result<(String, String), String> {
    let (name, function) = text.rsplit_once('=').unwrap_or((text, text));
    if name.is_empty() { Err("expected NAME=FUNCTION, such as MyOperator=my_operator".into()) } else { Ok((name.into(), function.into())) }
}

/// The texts asked for, with the suffixes of their files; prints graphs after passes.
fn explain(args: &CompileArgs, texts: &[Emit], model: &Model, entry: GraphId, target: &Target) -> Result<Vec<(&'static str, String)>> {
    let wanted = |name: &str| args.print_after.iter().any(|p| p == name || p == "all");
    if wanted("import") {
        say!("; after import\n{}", print::print(model));
    }
    let mut model = model.clone();
    driver::optimize(&mut model, entry, &target.clone().thorough(), &mut |name, model| {
        if wanted(name) {
            say!("; after {name}\n{}", print::print(model));
        }
    })?;
    if texts == [Emit::Graph] {
        return Ok(vec![("graph", print::print(&model))]);
    }
    if texts.is_empty() {
        return Ok(vec![]);
    }
    let program = crate::lower::lower(&model, entry, target)?;
    let one = |e: &Emit| {
        let text = match e {
            Emit::Graph => print::print(&model),
            Emit::Kir => text::kernels(&program),
            Emit::Clif => text::clif(&program, target)?,
            _ => text::assembly(&program, target)?,
        };
        Ok((e.text_suffix().unwrap_or("txt"), text))
    };
    texts.iter().map(one).collect()
}

/// The graphs of the signatures that are compiled too, by key.
fn further_entries(args: &CompileArgs, model: &Model) -> Result<Vec<(String, GraphId)>> {
    args.and_signatures.iter().map(|key| Ok((key.clone(), entry_graph(model, Some(key))?))).collect()
}

/// Adds the artifacts asked for; gives the manifest.
fn artifacts(
    args: &CompileArgs,
    emit: &[Emit],
    name: Name,
    model: &Model,
    entry: GraphId,
    targets: &[Target],
    out: &mut Output,
) -> Result<String> {
    let wrong = || format!("cannot compile {}", args.source.model.display());
    let others = further_entries(args, model)?;
    let mut levels: Vec<Level> = driver::levels_entries(model, entry, &others, targets).with_context(wrong)?;
    if let Some(iterations) = args.source.loop_limit {
        levels.iter_mut().for_each(|l| l.program.limit_loops(iterations));
    }
    let placement = if args.split_weights { Weights::Split } else { Weights::Embedded };
    let library = Library::new(name, &levels, placement).with_context(wrong)?;
    let interface = artifact::interface(&library, &levels, model);
    let (name, windows) = (library.name.clone(), library.platform.os == Os::Windows);
    for e in emit {
        match e {
            Emit::Obj => out.add("object", format!("{name}.{}", if windows { "obj" } else { "o" }), &artifact::object(&library)?)?,
            Emit::Staticlib => {
                let file = if windows { format!("{name}.lib") } else { format!("lib{name}.a") };
                out.add("staticlib", file, &artifact::archive(&library)?)?;
            }
            Emit::Cdylib => {
                let link = |path: &Path| link::link(&library, args.linker.as_deref(), host_target().platform(), path);
                out.add_made("cdylib", link::shared_name(&library), Mode::Executable, link)?;
            }
            Emit::Header => {
                out.add("header", format!("{name}.h"), bindings::header(&interface).as_bytes())?;
                out.add("header", "tflc.h".into(), tflc_runtime::C_HEADER.as_bytes())?;
            }
            Emit::Rust => match bindings::module(&interface) {
                Ok(text) => out.add("rust", format!("{name}.rs"), text.as_bytes())?,
                Err(e) if args.emit.is_empty() => eprintln!("warning: no Rust module: {e}"),
                Err(e) => bail!("{e}"),
            },
            Emit::Manifest | Emit::Depfile | Emit::Wasm | Emit::Graph | Emit::Kir | Emit::Clif | Emit::Asm => {}
        }
    }
    if args.split_weights {
        out.add("weights", format!("{name}.weights"), &library.weights)?;
    }
    let sources = source_files(&args.source.model)?;
    let targets: Vec<Target> = levels.iter().map(|l| l.target.clone()).collect();
    let about = Manifest { library: &library, interface: &interface, targets: &targets, sources: &sources, files: &out.list() };
    Ok(artifact::manifest(&about))
}
