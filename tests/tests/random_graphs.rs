//! Random models and the passes: the reference evaluator on the model as it is, on the model after each pass and after all of them. Integers must be equal.
//! `random_compiled.rs` runs such models compiled.
//!
//! `TFLC_GRAPHS=10000` runs more models than by default, `TFLC_SEED=123` runs one. A failure prints the seed, the pass and the model.

use anyhow::{Context, Result, anyhow, ensure};
use tflc::driver::PASSES;
use tflc::ir::{GraphId, Model, PrintOptions, parse, print, print_with, verify};
use tflc::ops::Evaluator;
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
