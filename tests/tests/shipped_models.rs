//! Every model of the repository, as graph IR: it verifies, its text reads back to the same model, and passes keep what it computes.
//!
//! `TFLC_MODELS=FOLDER` takes the models of that folder instead. Models that import refuses as unsupported are counted, not failed.

use anyhow::{Context, Result, anyhow, ensure};
use std::path::{Path, PathBuf};
use tflc::driver::PASSES;
use tflc::error::CompileError;
use tflc::frontend::{Limits, ModelFile, import};
use tflc::ir::{GraphId, Model, PrintOptions, parse, print, print_with, verify};
use tflc::ops::{EvalError, Evaluator, Value};
use tflc::target::{Cpu, Target, X86Level};
use tflc_tests::differential::{Tolerance, compare};
use tflc_tests::random_values::{Rng, random_value};

/// Models whose tensors have more bytes in all are not run: the evaluator has no speed to speak of.
const MOST_BYTES: usize = 1 << 20;

fn models(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            models(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "tflite") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

fn reads_back(model: &Model) -> Result<()> {
    let text = print(model);
    let again = parse(&text)?;
    // Debug rather than equality: a NaN is itself there. It leaves out constants.
    ensure!(format!("{again:?}") == format!("{model:?}"), "the text form gives another model");
    for (a, b) in again.graphs.iter().zip(&model.graphs).flat_map(|(a, b)| a.tensors.iter().zip(&b.tensors)) {
        ensure!(a.data == b.data, "the text form gives another constant {:?}", b.name);
    }
    ensure!(print(&again) == text, "the text form prints differently");
    Ok(())
}

/// Outputs for random inputs; nothing for models that are large or refuse them.
fn outputs(model: &Model) -> Result<Option<(Vec<Value>, Vec<Value>)>> {
    let graph = &model.graphs[0];
    let numbers = graph.inputs.iter().all(|t| graph.ty(*t).dtype.storage().is_some());
    if !numbers || graph.tensors.iter().map(|t| t.ty.bytes()).sum::<usize>() > MOST_BYTES {
        return Ok(None);
    }
    let mut rng = Rng::new(1);
    let inputs: Vec<Value> = graph.inputs.iter().map(|t| random_value(&mut rng, graph.ty(*t))).collect();
    match Evaluator::new(model).run(&inputs) {
        Ok(outputs) => Ok(Some((inputs, outputs))),
        // Sizes may come from the inputs: some are refused, and some do not meet.
        Err(EvalError::Compile(CompileError::InvalidModel { .. })) if !graph.open.is_empty() => Ok(None),
        Err(EvalError::Operand { .. } | EvalError::Compile(CompileError::Unsupported(_))) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// What was done with a model.
#[derive(PartialEq)]
enum Done {
    Unsupported,
    Rewritten,
    Run,
}

fn one(path: &Path) -> Result<Done> {
    let file = ModelFile::open(path, &Limits::default())?;
    let mut model = match import(&file) {
        Err(CompileError::Unsupported(_)) => return Ok(Done::Unsupported),
        result => result?,
    };
    verify(&model).context("as imported")?;
    reads_back(&model).context("as imported")?;
    let before = outputs(&model)?;
    let target = Target::new(Cpu::X86(X86Level::V3));
    for (name, pass) in PASSES {
        for g in 0..model.graphs.len() {
            pass(&mut model, GraphId(g as u32), &target).with_context(|| format!("pass {name}"))?;
            verify(&model).with_context(|| format!("after {name}"))?;
        }
    }
    reads_back(&model).context("after all passes")?;
    let Some((inputs, expected)) = before else { return Ok(Done::Rewritten) };
    let got = Evaluator::new(&model).run(&inputs)?;
    compare(&expected, &got, Tolerance::ROUNDING).map_err(|e| anyhow!("{e:#}\n{}", print_with(&model, PrintOptions::SHORT)))?;
    Ok(Done::Run)
}

#[test]
fn models_survive_text_and_passes() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let folder = std::env::var_os("TFLC_MODELS").map_or(shipped, PathBuf::from);
    let mut found = vec![];
    models(&folder, &mut found).unwrap();
    let results: Vec<Result<Done>> = found.iter().map(|path| one(path)).collect();
    let count = |done: Done| results.iter().filter(|r| r.as_ref().is_ok_and(|d| *d == done)).count();
    println!("{} models, {} unsupported, {} rewritten only", found.len(), count(Done::Unsupported), count(Done::Rewritten));
    let failed: Vec<String> =
        found.iter().zip(&results).filter_map(|(p, r)| Some(format!("{}: {:#}", p.display(), r.as_ref().err()?))).collect();
    assert!(failed.is_empty(), "{} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(count(Done::Unsupported) < found.len(), "no model of {} is supported", folder.display());
}
