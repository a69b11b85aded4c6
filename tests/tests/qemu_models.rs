//! Whole models as code of other processors, run under qemu and judged by LiteRT's answers.
//!
//! Every model runs twice, with each buffer behind and in front of a guard page. The models of the checkout are always run; with `../shared/corpus`
//! beside it, `TFLC_CORPUS=1` runs its models too, `TFLC_CORPUS=mobilenet,vww` some of them.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use tflc::backend::compile_program;
use tflc::cli::HostTensor;
use tflc::driver;
use tflc::lower::program::Program;
use tflc::target::{ArmLevel, Cpu, RiscvLevel, Target};
use tflc_tests::compiled::{invoke, lowered, outputs, supported};
use tflc_tests::golden::{Golden, corpus, models, root};
use tflc_tests::kernel_runner::{Case, Machine, Outcome, Runner};

/// A compiled model with its answers.
struct Model {
    path: PathBuf,
    golden: Golden,
    program: Program,
    case: Case,
}

/// Compiles a model; `None` where the compiler refuses it, as it does for every target.
fn compile(path: &Path, cpu: Cpu) -> Result<Option<Model>> {
    let Some(mut model) = supported(driver::load(path))? else { return Ok(None) };
    let golden = Golden::read(path, &model)?;
    let target = Target::new(cpu);
    let Some(program) = lowered(&mut model, &target)? else { return Ok(None) };
    let image = compile_program(&program, &target)?;
    let case = invoke(&program, image, golden.inputs.iter().map(|v| v.data.clone()))?;
    Ok(Some(Model { path: path.to_path_buf(), golden, case, program }))
}

fn judge(model: &Model, outcome: &Outcome) -> Result<()> {
    if outcome.status != 0 {
        bail!("status {}", outcome.status);
    }
    let tensors: Vec<HostTensor> =
        outputs(&model.program, outcome).into_iter().map(|(ty, data)| HostTensor::new(ty.dtype, &ty.shape, data)).collect::<Result<_>>()?;
    model.golden.check(&tensors)
}

fn all_right(folder: &Path, cpu: Cpu, machine: Machine, least: usize) {
    if let Some((right, wrong)) = run_all(&models(folder), cpu, machine) {
        assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
        assert!(right >= least, "only {right} right");
    }
}

/// Runs models; gives how many are right, and what is wrong. `None` where the machine is not here.
fn run_all(paths: &[PathBuf], cpu: Cpu, machine: Machine) -> Option<(usize, Vec<String>)> {
    let runner = Runner::find(machine)?;
    let (mut right, mut refused, mut left_out, mut wrong) = (0, 0, 0, vec![]);
    for part in paths.chunks(32) {
        let mut compiled = vec![];
        for path in part {
            match compile(path, cpu).with_context(|| path.display().to_string()) {
                Ok(Some(m)) => compiled.push(m),
                Ok(None) => refused += 1,
                Err(e) => wrong.push(format!("{e:#}")),
            }
        }
        let cases: Vec<Case> = compiled.iter().map(|m| m.case.clone()).collect();
        let outcomes = runner.run(&cases).unwrap_or_else(|e| panic!("models from {}: {e:#}", part[0].display()));
        for (model, outcome) in compiled.iter().zip(outcomes) {
            if !outcome.ran {
                left_out += 1;
                continue;
            }
            match judge(model, &outcome) {
                Ok(()) => right += 1,
                Err(e) => wrong.push(format!("{}: {e:#}", model.path.display())),
            }
        }
    }
    println!("{cpu} on {machine:?}: {right} right, {refused} refused, {left_out} left out, {} wrong", wrong.len());
    Some((right, wrong))
}

const BASE: Cpu = Cpu::Aarch64(ArmLevel::Baseline);
const DOTPROD: Cpu = Cpu::Aarch64(ArmLevel::Dotprod);
const I8MM: Cpu = Cpu::Aarch64(ArmLevel::I8mm);
const RV64GC: Cpu = Cpu::Riscv64(RiscvLevel::Baseline);
const RV64GCV: Cpu = Cpu::Riscv64(RiscvLevel::Vectors);

#[test]
fn shipped_models_are_right_on_cortex_a53() {
    all_right(&root().join("tests/models/digits"), BASE, Machine::CortexA53, 2);
}

#[test]
fn shipped_models_are_right_on_neoverse_n1() {
    all_right(&root().join("tests/models/digits"), DOTPROD, Machine::NeoverseN1, 2);
}

#[test]
fn shipped_models_are_right_with_matrix_products() {
    all_right(&root().join("tests/models/digits"), I8MM, Machine::Aarch64, 2);
}

#[test]
fn operator_models_are_right_with_matrix_products() {
    all_right(&root().join("tests/models/ops"), I8MM, Machine::Aarch64, LEAST_RIGHT);
}

#[test]
fn operator_models_are_right_on_cortex_a53() {
    all_right(&root().join("tests/models/ops"), BASE, Machine::CortexA53, LEAST_RIGHT);
}

#[test]
fn operator_models_are_right_on_neoverse_n1() {
    all_right(&root().join("tests/models/ops"), DOTPROD, Machine::NeoverseN1, LEAST_RIGHT);
}

#[test]
fn shipped_models_are_right_on_riscv64() {
    all_right(&root().join("tests/models/digits"), RV64GC, Machine::Riscv64, 2);
}

#[test]
fn shipped_models_are_right_on_riscv64_with_vectors() {
    all_right(&root().join("tests/models/digits"), RV64GCV, Machine::Riscv64V, 2);
}

#[test]
fn operator_models_are_right_on_riscv64() {
    all_right(&root().join("tests/models/ops"), RV64GC, Machine::Riscv64, LEAST_RIGHT);
}

#[test]
fn operator_models_are_right_on_riscv64_with_vectors() {
    // The emulator cannot translate one or two.
    all_right(&root().join("tests/models/ops"), RV64GCV, Machine::Riscv64V, LEAST_RIGHT - 5);
}

#[test]
fn corpus_models_are_right_on_neoverse_n1() {
    corpus_models_are_right(DOTPROD, Machine::NeoverseN1);
}

#[test]
fn corpus_models_are_right_on_riscv64() {
    corpus_models_are_right(RV64GC, Machine::Riscv64);
}

#[test]
fn corpus_models_are_right_with_matrix_products() {
    corpus_models_are_right(I8MM, Machine::Aarch64);
}

fn corpus_models_are_right(cpu: Cpu, machine: Machine) {
    let Some((paths, whole)) = corpus() else { return };
    if let Some((right, wrong)) = run_all(&paths, cpu, machine) {
        let least = if whole { CORPUS_RIGHT } else { paths.len() };
        assert!(right >= least, "only {right} right; wrong:\n{}", wrong.join("\n"));
    }
}

/// Models of the corpus that compile and are right, at least.
const CORPUS_RIGHT: usize = 42;

/// Instructions of one run at each level, printed; the corpus has the models that are quoted.
#[test]
fn dot_products_and_matrix_products_take_fewer_instructions() {
    let mut paths = vec![root().join("tests/models/digits/digits_int8.tflite")];
    if std::env::var_os("TFLC_CORPUS").is_some() {
        paths.push(root().join("../shared/corpus/mobilenet_v2_1.0_224_quant.tflite"));
    }
    for path in paths {
        let [base, dotprod, i8mm] = [BASE, DOTPROD, I8MM].map(|cpu| instructions(&path, cpu, Machine::Aarch64));
        println!("{}: {base:?} instructions, {dotprod:?} with dot products, {i8mm:?} with matrix products", path.display());
        // Nothing is known where there is no emulator.
        let (Some(base), Some(dotprod), Some(i8mm)) = (base, dotprod, i8mm) else { return };
        assert!(2 * dotprod < base && i8mm < dotprod);
    }
}

#[test]
fn vectors_take_fewer_instructions_on_riscv64() {
    for name in ["digits_f32", "digits_int8"] {
        let path = root().join(format!("tests/models/digits/{name}.tflite"));
        let scalar = instructions(&path, RV64GC, Machine::Riscv64);
        let vector = instructions(&path, RV64GCV, Machine::Riscv64V);
        println!("{name}: {scalar:?} instructions without vectors, {vector:?} with them");
        let (Some(scalar), Some(vector)) = (scalar, vector) else { return };
        assert!(vector < scalar, "{name}");
    }
}

/// Instructions of one run; nothing where the machine is not here.
fn instructions(path: &Path, cpu: Cpu, machine: Machine) -> Option<u64> {
    let runner = Runner::find(machine)?;
    let model = compile(path, cpu).ok().flatten().expect("compiles");
    Some(runner.instructions(&model.case).unwrap_or_else(|e| panic!("{e:#}")))
}

/// Operator models that compile and are right, at least.
const LEAST_RIGHT: usize = 580;
