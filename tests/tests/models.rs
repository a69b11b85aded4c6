//! Models with LiteRT's answers, compiled in memory at every x86-64 level that this machine has, and through the evaluator.
//!
//! `tests/models/ops` holds small models of one or a few operators, `tests/models/digits` the shipped one. With `../shared/corpus` beside the
//! checkout, its models are run too. A model that the compiler refuses is counted; a wrong answer fails.

use anyhow::{Context, Result, bail};
use std::path::Path;
use tflc::cli::HostTensor;
use tflc::driver;
use tflc::error::CompileError;
use tflc::ir::DType;
use tflc::jit::{JitError, Options, host_target};
use tflc::ops::{Evaluator, Value};
use tflc::target::{Cpu, X86Level};
use tflc_tests::golden::{Golden, models, root};

/// What came of one model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Right,
    Refused,
}

/// The CPU levels that this machine runs, the baseline first.
fn levels() -> Vec<Cpu> {
    let all = [X86Level::Baseline, X86Level::V3, X86Level::V4, X86Level::V4Vnni];
    match host_target().cpu {
        Cpu::X86(best) => all.into_iter().filter(|l| *l <= best).map(Cpu::X86).collect(),
        cpu => vec![cpu],
    }
}

fn refused(e: &CompileError) -> bool {
    matches!(e, CompileError::Unsupported(_))
}

/// Runs a model everywhere; integer outputs are the same bytes at every level.
fn run(path: &Path) -> Result<Outcome> {
    let model = match driver::load(path) {
        Ok(m) => m,
        Err(e) if refused(&e) => return Ok(Outcome::Refused),
        Err(e) => return Err(e.into()),
    };
    let golden = Golden::read(path, &model)?;
    let values = golden.inputs.iter().zip(&model.graphs[0].inputs).map(|(v, t)| {
        let mut ty = model.graphs[0].ty(*t).clone();
        ty.shape.clone_from(&v.shape);
        Value::from_bytes(ty, v.data.clone().into()).context("an input of another size")
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let evaluated = Evaluator::new(&model).run(&values).context("evaluator")?;
    let evaluated: Vec<HostTensor> =
        evaluated.into_iter().map(|v| HostTensor::new(v.ty.dtype, &v.ty.shape, v.bytes().to_vec())).collect::<Result<_>>()?;
    golden.check(&evaluated).context("evaluator")?;
    let mut first: Option<Vec<HostTensor>> = None;
    for cpu in levels() {
        let mut compiled = match Options::new().cpu(cpu).compile(model.clone()) {
            Ok(m) => m,
            Err(JitError::Compile(e)) if refused(&e) => return Ok(Outcome::Refused),
            Err(e) => return Err(e).with_context(|| cpu.to_string()),
        };
        let inputs: Vec<&[u8]> = golden.inputs.iter().map(|v| v.data.as_slice()).collect();
        let mut outputs: Vec<Vec<u8>> = compiled.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
        compiled.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>()).with_context(|| cpu.to_string())?;
        let outputs: Vec<HostTensor> = outputs
            .into_iter()
            .zip(compiled.outputs())
            .map(|(data, p)| HostTensor::new(p.ty.dtype, &p.ty.shape, data))
            .collect::<Result<_>>()?;
        golden.check(&outputs).with_context(|| cpu.to_string())?;
        if let Some(first) = &first {
            for (a, b) in first.iter().zip(&outputs) {
                if !a.dtype.is_float() && a.dtype != DType::Complex64 && a != b && golden.inputs.iter().all(|i| !i.dtype.is_float()) {
                    bail!("{cpu} gives other integers than the baseline");
                }
            }
        } else {
            first = Some(outputs);
        }
    }
    Ok(Outcome::Right)
}

/// Runs the models of a folder; gives how many are right and how many were refused.
fn run_all(folder: &Path) -> (usize, usize, Vec<String>) {
    let (mut right, mut refused, mut wrong) = (0, 0, vec![]);
    for path in models(folder) {
        let name = path.file_name().map(|n| n.to_string_lossy().to_string()).unwrap_or_default();
        match run(&path) {
            Ok(Outcome::Right) => right += 1,
            Ok(Outcome::Refused) => {
                println!("refused: {name}");
                refused += 1;
            }
            Err(e) => wrong.push(format!("{name}: {e:#}")),
        }
    }
    (right, refused, wrong)
}

#[test]
fn code_for_another_processor_is_refused_not_run() {
    let other = match host_target().cpu {
        Cpu::X86(_) => Cpu::Aarch64 { dotprod: false },
        _ => Cpu::X86(X86Level::Baseline),
    };
    let error = Options::new().cpu(other).load(root().join("tests/models/digits/digits_f32.tflite")).err();
    assert!(matches!(error, Some(JitError::Compile(CompileError::Target(_)))), "{error:?}");
}

#[test]
fn the_shipped_models_give_litert_answers() {
    let (right, refused, wrong) = run_all(&root().join("tests/models/digits"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((right, refused), (2, 0));
}

#[test]
fn operator_models_give_litert_answers() {
    let (right, refused, wrong) = run_all(&root().join("tests/models/ops"));
    println!("{right} right, {refused} refused, {} wrong", wrong.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(right >= LEAST_RIGHT, "only {right} right, {refused} refused");
}

/// Operator models that compile and are right, at least; the rest are refused with a reason.
const LEAST_RIGHT: usize = 369;
