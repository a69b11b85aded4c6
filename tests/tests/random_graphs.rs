//! Random models, run in every way: the reference evaluator on the model as it is, on the model after each pass and after all of them, and
//! compiled in memory at every CPU level that this machine has. Integers must be equal.
//!
//! `TFLC_GRAPHS=10000` runs more models than by default, `TFLC_SEED=123` runs one. A failure prints the seed, the pass and the model.

use anyhow::{Context, Result, anyhow, ensure};
use tflc::driver::PASSES;
use tflc::error::CompileError;
use tflc::ir::{GraphId, Model, PrintOptions, parse, print, print_with, verify};
use tflc::jit::{JitError, Options, host_target};
use tflc::ops::{Evaluator, Value};
use tflc::passes::Pass;
use tflc::target::{Cpu, Target, X86Level};
use tflc_tests::differential::{Tolerance, compare};
use tflc_tests::random_graph::{RandomModel, Steps, random_model};

/// Seeds that are run: one, or as many as the environment asks for.
fn seeds(default: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("TFLC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TFLC_GRAPHS").unwrap_or(default),
    }
}

fn run_passes(model: &Model, list: &[(&str, Pass)]) -> Result<Model> {
    let target = Target::new(Cpu::X86(X86Level::V3));
    let mut model = model.clone();
    for (name, pass) in list {
        pass(&mut model, GraphId(0), &target).with_context(|| format!("pass {name}"))?;
        verify(&model).with_context(|| format!("after {name}:\n{}", print_with(&model, PrintOptions::LIVE)))?;
    }
    Ok(model)
}

/// Checks one way to run a model against the model as it is.
fn check(before: &RandomModel, after: &Model) -> Result<()> {
    let expected = Evaluator::new(&before.model).run(&before.inputs)?;
    let got = Evaluator::new(after).run(&before.inputs)?;
    compare(&expected, &got, Tolerance::ROUNDING).map_err(|e| anyhow!("{e:#}\n\nafterwards:\n{}", print_with(after, PrintOptions::LIVE)))
}

fn one(seed: u64) -> Result<()> {
    let before = random_model(seed, Steps::Any);
    let model = &before.model;
    verify(model)?;
    let text = print(model);
    ensure!(parse(&text)? == *model, "the text form does not read back");
    for pass in PASSES {
        let after = run_passes(model, &[*pass]).and_then(|after| check(&before, &after));
        after.with_context(|| format!("pass {} alone", pass.0))?;
    }
    check(&before, &run_passes(model, PASSES)?).context("all passes")
}

#[test]
fn passes_keep_what_random_models_compute() {
    for seed in seeds(400) {
        if let Err(e) = one(seed) {
            panic!("TFLC_SEED={seed}: {e:#}\n\n{}", print_with(&random_model(seed, Steps::Any).model, PrintOptions::LIVE));
        }
    }
}

/// The CPU levels that this machine runs.
fn levels() -> Vec<Cpu> {
    let all = [X86Level::Baseline, X86Level::V3, X86Level::V4, X86Level::V4Vnni];
    match host_target().cpu {
        Cpu::X86(best) => all.into_iter().filter(|l| *l <= best).map(Cpu::X86).collect(),
        cpu => vec![cpu],
    }
}

/// Runs a model compiled for a CPU; `false` where the compiler refuses it.
fn compiled(random: &RandomModel, expected: &[Value], cpu: Cpu) -> Result<bool> {
    let mut model = match Options::new().cpu(cpu).compile(random.model.clone()) {
        Err(JitError::Compile(CompileError::Unsupported(_))) => return Ok(false),
        result => result?,
    };
    let inputs: Vec<&[u8]> = random.inputs.iter().map(Value::bytes).collect();
    let mut outputs: Vec<Vec<u8>> = expected.iter().map(|v| vec![0; v.bytes().len()]).collect();
    model.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
    let got: Option<Vec<Value>> = outputs.into_iter().zip(expected).map(|(data, v)| Value::from_bytes(v.ty.clone(), data.into())).collect();
    compare(expected, &got.context("outputs of another size")?, Tolerance::KERNELS)?;
    Ok(true)
}

#[test]
fn compiled_code_computes_what_random_models_compute() {
    let (mut run, mut refused) = (0, 0);
    for seed in seeds(60) {
        let random = random_model(seed, Steps::Smooth);
        let expected = Evaluator::new(&random.model).run(&random.inputs).unwrap();
        for cpu in levels() {
            match compiled(&random, &expected, cpu) {
                Ok(true) => run += 1,
                Ok(false) => refused += 1,
                Err(e) => panic!("TFLC_SEED={seed} on {cpu}: {e:#}\n\n{}", print_with(&random.model, PrintOptions::LIVE)),
            }
        }
    }
    println!("{run} runs, {refused} refused");
    assert!(run > 0 || std::env::var_os("TFLC_SEED").is_some(), "every model was refused");
}
