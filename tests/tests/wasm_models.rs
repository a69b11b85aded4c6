//! Whole models as WebAssembly modules, judged by LiteRT's answers: in Node and headless Chromium through the shipped loader, and in Wasmtime.
//!
//! The models of the checkout are always run; with `../shared/corpus` beside it, `TFLC_CORPUS=1` runs its models too.

use anyhow::{Context, Result};
use std::path::{Path, PathBuf};
use tflc::backend::wasm::{Memory, Options, compile_program, describe};
use tflc::cli::HostTensor;
use tflc::driver;
use tflc::lower::program::Program;
use tflc::target::{Cpu, Target};
use tflc_tests::compiled::{lowered, supported};
use tflc_tests::golden::{Golden, corpus, models, root};
use tflc_tests::module_runner::{Host, Job, Output};

/// A compiled model with its answers.
struct Model {
    path: PathBuf,
    golden: Golden,
    program: Program,
    job: Job,
}

/// Kinds of module that tests ask for.
#[derive(Clone, Copy, Default)]
struct Kind {
    relaxed: bool,
    options: Options,
    threads: usize,
    /// Only models with an output whose size is known after a run.
    open: bool,
}

/// Compiles a model; `None` where the compiler refuses it, as it does for every target, or the kind does not want it.
fn compile(path: &Path, kind: Kind) -> Result<Option<Model>> {
    let Some(mut model) = supported(driver::load(path))? else { return Ok(None) };
    let golden = Golden::read(path, &model)?;
    let target = Target::new(Cpu::Wasm32 { relaxed: kind.relaxed });
    let Some(program) = lowered(&mut model, &target)? else { return Ok(None) };
    if kind.open && program.open.is_empty() {
        return Ok(None);
    }
    let module = compile_program(&program, kind.relaxed, kind.options)?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let description = describe(&name, &program, &module, kind.options, &[]);
    let weights = kind.options.split_weights.then(|| {
        let mut weights = vec![0; program.weights_bytes];
        program.write_weights(&mut weights);
        weights
    });
    let job = Job {
        name,
        module: module.with_description(&description),
        weights,
        inputs: golden.inputs.iter().map(|v| v.data.clone()).collect(),
        outputs: program.outputs.len(),
        threads: kind.threads,
    };
    Ok(Some(Model { path: path.to_path_buf(), golden, program, job }))
}

fn judge(model: &Model, outputs: Result<Vec<Output>, String>) -> Result<()> {
    let outputs = outputs.map_err(anyhow::Error::msg)?;
    let tensors: Vec<HostTensor> = outputs
        .into_iter()
        .zip(&model.program.outputs)
        .map(|(output, p)| HostTensor::new(p.ty.dtype, output.shape.as_ref().unwrap_or(&p.ty.shape), output.data))
        .collect::<Result<_>>()?;
    model.golden.check(&tensors)
}

/// Runs models; gives how many are right, how many were refused, and what is wrong. `None` where the host is not here.
fn run_all(host: Host, paths: &[PathBuf], kind: Kind) -> Option<(usize, usize, Vec<String>)> {
    if let Err(reason) = host.find() {
        assert!(std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "{reason:#}");
        eprintln!("not run: {reason:#}");
        return None;
    }
    let (mut right, mut refused, mut wrong) = (0, 0, vec![]);
    // Few at a time: modules and inputs of large models take memory.
    for part in paths.chunks(64) {
        let mut compiled = vec![];
        for path in part {
            match compile(path, kind).with_context(|| path.display().to_string()) {
                Ok(Some(m)) => compiled.push(m),
                Ok(None) => refused += 1,
                Err(e) => wrong.push(format!("{e:#}")),
            }
        }
        let jobs: Vec<Job> = compiled.iter().map(|m| m.job.clone()).collect();
        let results = host.run(&jobs).unwrap_or_else(|e| panic!("{e:#}"));
        for (model, outputs) in compiled.iter().zip(results) {
            match judge(model, outputs) {
                Ok(()) => right += 1,
                Err(e) => wrong.push(format!("{}: {e:#}", model.path.display())),
            }
        }
    }
    println!("{host:?}: {right} right, {refused} refused, {} wrong", wrong.len());
    Some((right, refused, wrong))
}

fn all_right(host: Host, folder: &str, kind: Kind, least: usize) {
    if let Some((right, _, wrong)) = run_all(host, &models(&root().join(folder)), kind) {
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert!(right >= least, "only {right} right");
    }
}

const DIGITS: &str = "tests/models/digits";

#[test]
fn shipped_models_are_right_in_node() {
    all_right(Host::Node, DIGITS, Kind::default(), 2);
}

#[test]
fn shipped_models_are_right_with_relaxed_simd() {
    all_right(Host::Node, DIGITS, Kind { relaxed: true, ..Kind::default() }, 2);
}

#[test]
fn shipped_models_are_right_with_split_weights() {
    let options = Options { split_weights: true, ..Options::default() };
    all_right(Host::Node, DIGITS, Kind { options, ..Kind::default() }, 2);
}

#[test]
fn shipped_models_are_right_in_a_memory_of_the_callers() {
    let options = Options { memory: Memory::Imported, ..Options::default() };
    all_right(Host::Node, DIGITS, Kind { options, ..Kind::default() }, 2);
}

#[test]
fn shipped_models_are_right_on_several_threads() {
    let options = Options { memory: Memory::Shared, ..Options::default() };
    all_right(Host::Node, DIGITS, Kind { options, threads: 3, ..Kind::default() }, 2);
}

#[test]
fn shipped_models_are_right_in_chromium() {
    all_right(Host::Chromium, DIGITS, Kind::default(), 2);
}

#[test]
fn shipped_models_are_right_on_several_threads_in_chromium() {
    let options = Options { memory: Memory::Shared, ..Options::default() };
    all_right(Host::Chromium, DIGITS, Kind { options, threads: 2, ..Kind::default() }, 2);
}

#[test]
fn shipped_models_are_right_in_wasmtime() {
    all_right(Host::Wasmtime, DIGITS, Kind::default(), 2);
}

#[test]
fn operator_models_are_right_in_node() {
    all_right(Host::Node, "tests/models/ops", Kind::default(), LEAST_RIGHT);
}

#[test]
fn operator_models_are_right_with_relaxed_simd() {
    all_right(Host::Node, "tests/models/ops", Kind { relaxed: true, ..Kind::default() }, LEAST_RIGHT);
}

#[test]
fn operator_models_are_right_on_several_threads() {
    let options = Options { memory: Memory::Shared, ..Options::default() };
    all_right(Host::Node, "tests/models/ops", Kind { options, threads: 3, ..Kind::default() }, LEAST_RIGHT);
}

#[test]
fn outputs_of_open_size_are_right_in_chromium() {
    all_right(Host::Chromium, "tests/models/ops", Kind { open: true, ..Kind::default() }, LEAST_OPEN);
}

#[test]
fn outputs_of_open_size_are_right_in_wasmtime() {
    all_right(Host::Wasmtime, "tests/models/ops", Kind { open: true, ..Kind::default() }, LEAST_OPEN);
}

/// Operator models with an output whose size is known after a run, at least.
const LEAST_OPEN: usize = 27;

#[test]
fn corpus_models_are_right_in_node() {
    let Some((paths, whole)) = corpus() else { return };
    if let Some((right, _, wrong)) = run_all(Host::Node, &paths, Kind::default()) {
        let least = if whole { CORPUS_RIGHT } else { paths.len() };
        assert!(right >= least, "only {right} right; wrong:\n{}", wrong.join("\n"));
    }
}

/// Models of the corpus that compile and are right, at least.
const CORPUS_RIGHT: usize = 42;

#[test]
fn the_same_model_gives_the_same_module() {
    let path = root().join(DIGITS).join("digits_int8.tflite");
    let module = || compile(&path, Kind::default()).ok().flatten().expect("compiles").job.module;
    assert_eq!(module(), module());
}

/// Operator models that compile and are right, at least.
const LEAST_RIGHT: usize = 580;
