//! Random models compiled in memory at every level of this processor, against the reference evaluator.
//!
//! Integers must be equal, floats close. `TFLC_GRAPHS=100000 cargo test --release -p tflc-tests --test random_compiled` runs more models than by default,
//! `TFLC_SEED=123` runs one. A failure prints the seed, the level and the model. Models that a level refuses are counted.

use anyhow::{Context, Result};
use tflc::error::CompileError;
use tflc::ir::{PrintOptions, print_with};
use tflc::jit::{JitError, Options, host_target};
use tflc::ops::{Evaluator, Value};
use tflc::target::{Cpu, X86Level};
use tflc_tests::differential::{Tolerance, compare};
use tflc_tests::random_graph::{RandomModel, Steps, random_model};

/// The CPU levels that this machine runs.
fn levels() -> Vec<Cpu> {
    let all = [X86Level::Baseline, X86Level::V3, X86Level::V4, X86Level::V4Vnni];
    match host_target().cpu {
        Cpu::X86(best) => all.into_iter().filter(|l| *l <= best).map(Cpu::X86).collect(),
        cpu => vec![cpu],
    }
}

/// Chains of up to twelve operators enlarge what rounding leaves.
const CLOSE: Tolerance = Tolerance { absolute: 1e-4, relative: 2e-4 };

/// Runs a model at every level; the operators that ran, or `None` where it was refused.
fn one(random: &RandomModel) -> Result<Option<usize>> {
    let expected = Evaluator::new(&random.model).run(&random.inputs)?;
    let inputs: Vec<&[u8]> = random.inputs.iter().map(Value::bytes).collect();
    for cpu in levels() {
        let mut compiled = match Options::new().cpu(cpu).compile(random.model.clone()) {
            Ok(m) => m,
            Err(JitError::Compile(CompileError::Unsupported(_))) => return Ok(None),
            Err(e) => return Err(e).with_context(|| cpu.to_string()),
        };
        let types: Vec<_> = compiled.outputs().iter().map(|p| p.ty.clone()).collect();
        let mut outputs: Vec<Vec<u8>> = types.iter().map(|t| vec![0xa5; t.bytes()]).collect();
        compiled.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).with_context(|| cpu.to_string())?;
        let got: Vec<Value> = types.into_iter().zip(outputs).map(|(ty, data)| Value { ty, data: data.into() }).collect();
        compare(&expected, &got, CLOSE).with_context(|| cpu.to_string())?;
    }
    Ok(Some(random.model.graphs[0].nodes.len() * levels().len()))
}

#[test]
fn compiled_random_models_give_the_evaluators_answers() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let seeds = match number("TFLC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TFLC_GRAPHS").unwrap_or(60),
    };
    let (mut operators, mut refused, mut models) = (0, 0, 0);
    for seed in seeds {
        let random = random_model(seed, Steps::Smooth);
        match one(&random) {
            Ok(Some(n)) => operators += n,
            Ok(None) => refused += 1,
            Err(e) => panic!("TFLC_SEED={seed}: {e:#}\n\n{}", print_with(&random.model, PrintOptions::LIVE)),
        }
        models += 1;
    }
    println!("{operators} operators in {models} models, {refused} of them refused");
    assert!(refused * 10 <= models, "{refused} of {models} refused");
}
