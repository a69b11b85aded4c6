//! Random models compiled in memory at every level of this processor, against the reference evaluator.
//!
//! Integers must be equal, floats close. An operator compiled, run and compared at one level is one operator run.
//! `TFLC_GRAPHS=100000 cargo test --release -p tflc-tests --test random_compiled -- --nocapture` runs more models than by default, `TFLC_FIRST=5000` begins
//! with another seed, `TFLC_SEED=123` runs one. A failure prints the seed, the level and the model. Models that a level refuses are counted.

use anyhow::{Context, Result};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tflc::driver;
use tflc::error::CompileError;
use tflc::ir::{GraphId, OpKind, PrintOptions, print_with};
use tflc::jit::{JitError, Options};
use tflc::lower::lower;
use tflc::ops::{Evaluator, Value};
use tflc::target::Target;
use tflc_tests::differential::compare;
use tflc_tests::host::levels;
use tflc_tests::random_graph::{RandomModel, Steps, focus, random_model};

/// Runs a model at every level; the operators that ran, or `None` where it was refused.
fn one(random: &RandomModel) -> Result<Option<usize>> {
    let mut evaluator = Evaluator::new(&random.model);
    let expected = (0..random.runs).map(|_| evaluator.run(&random.inputs)).collect::<Result<Vec<_>, _>>().context("evaluator")?;
    let inputs: Vec<&[u8]> = random.inputs.iter().map(Value::bytes).collect();
    for cpu in levels() {
        let mut compiled = match Options::new().cpu(cpu).compile(random.model.clone()) {
            Ok(m) => m,
            Err(JitError::Compile(e @ CompileError::Unsupported(_))) => {
                // One seed alone is looked at: what is missing, and in which model.
                if std::env::var_os("TFLC_SEED").is_some() {
                    println!("{e}\n\n{}", print_with(&random.model, PrintOptions::LIVE));
                }
                return Ok(None);
            }
            Err(e) => return Err(e).with_context(|| cpu.to_string()),
        };
        let types: Vec<_> = compiled.outputs().iter().map(|p| p.ty.clone()).collect();
        for expected in &expected {
            let mut outputs: Vec<Vec<u8>> = types.iter().map(|t| vec![0xa5; t.bytes()]).collect();
            compiled.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).with_context(|| cpu.to_string())?;
            let got = outputs.into_iter().zip(&types).enumerate().map(|(i, (mut data, ty))| {
                // Where the size is known only at run time, the buffer has room for the bound.
                let mut ty = ty.clone();
                ty.shape = compiled.output_shape(i);
                data.truncate(ty.bytes());
                Value { ty, data: data.into() }
            });
            compare(expected, &got.collect::<Vec<_>>(), random.tolerance).with_context(|| cpu.to_string())?;
        }
    }
    Ok(Some(random.model.graphs[0].nodes.len() * levels().len()))
}

/// What came of many models.
#[derive(Default)]
struct Count {
    models: u64,
    operators: usize,
    refused: u64,
    failed: Vec<String>,
}

fn run(seeds: impl Iterator<Item = u64>) -> Count {
    let mut count = Count::default();
    for seed in seeds {
        let random = random_model(seed, Steps::Smooth);
        count.models += 1;
        let result = catch_unwind(AssertUnwindSafe(|| one(&random)));
        match result.unwrap_or_else(|_| Err(anyhow::anyhow!("a panic"))) {
            Ok(Some(n)) => count.operators += n,
            Ok(None) => count.refused += 1,
            Err(e) => {
                let text = print_with(&random.model, PrintOptions::LIVE);
                println!("TFLC_SEED={seed} ({:?}): {e:#}\n\n{text}", focus::of(seed));
                count.failed.push(format!("TFLC_SEED={seed}: {e:#}"));
            }
        }
        if count.models.is_multiple_of(10_000) {
            println!("{} models, {} operators, {} refused, {} failed", count.models, count.operators, count.refused, count.failed.len());
        }
    }
    count
}

#[test]
fn compiled_random_models_give_the_evaluators_answers() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("TFLC_FIRST").unwrap_or(0);
    let count = match number("TFLC_SEED") {
        Some(seed) => run(seed..seed + 1),
        None => run(first..first + number("TFLC_GRAPHS").unwrap_or(60)),
    };
    println!("{} operators in {} models, {} of them refused", count.operators, count.models, count.refused);
    assert!(count.failed.is_empty(), "{} failed:\n{}", count.failed.len(), count.failed.join("\n"));
    assert!(count.refused * 10 <= count.models || count.models == 1, "{} of {} refused", count.refused, count.models);
}

/// Pairs of an operator and an element type of its row that random models do not hold, and why; an operator alone stands for all of its types.
const MISSING: &[(OpKind, &str)] = &[
    (OpKind::Hashtable, "all tables have strings, which are not compiled"),
    (OpKind::HashtableFind, "one side is strings, which are not compiled"),
    (OpKind::HashtableImport, "one side is strings, which are not compiled"),
    (OpKind::HashtableSize, "the table has strings, which are not compiled"),
];

/// Every operator that compiles occurs, with every element type that its row names.
#[test]
fn random_models_hold_every_operator_with_every_type() {
    let target = Target::new(levels()[0]);
    let (mut found, mut failed, mut refused) = (HashSet::new(), vec![], Vec::<String>::new());
    // Models may be refused for something else that they hold: a pair has four.
    for seed in 0..4 * focus::all().len() as u64 {
        if found.contains(&focus::of(seed)) {
            continue;
        }
        let mut random = random_model(seed, Steps::Smooth);
        let graph = random.model.graphs[0].clone();
        let entry = GraphId(0);
        let made = driver::optimize(&mut random.model, entry, &target, &mut |_, _| {}).and_then(|()| lower(&random.model, entry, &target));
        match made {
            Ok(_) => {
                let held = |f: &&focus::Focus| graph.nodes.iter().any(|n| focus::holds(&graph, n, **f));
                found.extend(focus::all().iter().filter(held).copied());
            }
            Err(CompileError::Unsupported(why)) => {
                refused.extend(why.into_iter().map(|(place, what)| format!("TFLC_SEED={seed}: {place}: {what}")))
            }
            Err(e) => failed.push(format!("TFLC_SEED={seed}: {e}")),
        }
    }
    println!("refused:\n{}", refused.join("\n"));
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    let excused = |f: &focus::Focus| MISSING.iter().any(|m| m.0 == f.0);
    let missing: Vec<String> =
        focus::all().iter().filter(|f| !excused(f) && !found.contains(f)).map(|f| format!("{} {}", f.0, f.1)).collect();
    assert!(missing.is_empty(), "{} of {} pairs never occur:\n{}", missing.len(), focus::all().len(), missing.join("\n"));
    let needless: Vec<&str> = MISSING.iter().filter(|m| found.iter().any(|f| f.0 == m.0)).map(|m| m.0.name()).collect();
    assert!(needless.is_empty(), "these occur after all: {needless:?}");
}
