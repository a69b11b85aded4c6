//! Models with LiteRT's answers, compiled in memory at every x86-64 level that this machine has, and through the evaluator.
//!
//! `tests/models/ops` holds small models of one or a few operators, `tests/models/digits` the shipped one. With `../shared/corpus` beside the
//! checkout, its models are run too. A model that the compiler refuses is counted; a wrong answer fails.

use anyhow::{Context, Result};
use std::path::Path;
use tflc::cli::HostTensor;
use tflc::driver;
use tflc::error::CompileError;
use tflc::jit::{JitError, Options, host_target};
use tflc::ops::{Evaluator, Value};
use tflc::target::{ArmLevel, Cpu, X86Level};
use tflc_tests::golden::{Golden, models, root};
use tflc_tests::host::levels;

/// What came of one model.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Right,
    Refused,
}

fn refused(e: &CompileError) -> bool {
    matches!(e, CompileError::Unsupported(_))
}

/// Runs a model everywhere; integer outputs are LiteRT's, bit for bit.
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
    let check = |outputs: &[HostTensor]| golden.check(outputs).and_then(|()| golden.check_integers(outputs));
    check(&evaluated).context("evaluator")?;
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
            .enumerate()
            .map(|(i, (mut data, p))| {
                // Where the size is known only at run time, the buffer has room for the bound.
                let shape = compiled.output_shape(i);
                data.truncate(p.ty.dtype.bytes(shape.iter().product()).unwrap_or(data.len()));
                HostTensor::new(p.ty.dtype, &shape, data)
            })
            .collect::<Result<_>>()?;
        check(&outputs).with_context(|| cpu.to_string())?;
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
        Cpu::X86(_) => Cpu::Aarch64(ArmLevel::Baseline),
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

/// A counter in the state, and a loop that runs as often as the input says.
const COUNTER: &str = include_str!("../models/counter.graph");

/// Runs the counter; gives the count.
fn count(model: &mut tflc::jit::Model, iterations: i32) -> Result<i32, JitError> {
    let (mut count, mut left) = ([0; 4], [0; 4]);
    model.run(&[&iterations.to_le_bytes()], &mut [&mut count, &mut left])?;
    assert_eq!(left, [0; 4]);
    Ok(i32::from_le_bytes(count))
}

#[test]
fn state_belongs_to_an_instance_until_it_is_reset() {
    let mut model = Options::new().compile(tflc::ir::parse(COUNTER).unwrap()).unwrap();
    assert_eq!([count(&mut model, 0).unwrap(), count(&mut model, 3).unwrap()], [1, 2]);
    let mut other = model.instance().unwrap();
    assert_eq!([count(&mut other, 0).unwrap(), count(&mut model, 0).unwrap()], [1, 3]);
    model.reset();
    assert_eq!([count(&mut model, 0).unwrap(), count(&mut other, 0).unwrap()], [1, 2]);
}

#[test]
fn signatures_share_state() {
    let second = "signature \"add\" @0 (\"x\" = %x) -> (\"count\" = %count)
signature \"peek\" @3 () -> (\"count\" = %now)
";
    let peek = "
graph @3 () -> (%now) {
  %h: resource[] = VAR_HANDLE() {container = \"\", shared_name = \"count\"}
  %now: int32[] = READ_VARIABLE(%h)
}
";
    let source = tflc::ir::parse(&format!("{second}{COUNTER}{peek}")).unwrap();
    let mut model = Options::new().signature("add").and_signature("peek").compile(source).unwrap();
    assert_eq!([count(&mut model, 0).unwrap(), count(&mut model, 2).unwrap()], [1, 2]);
    assert_eq!(model.signature("peek").unwrap().1.len(), 1);
    let mut now = [0; 4];
    model.run_signature("peek", &[], &mut [&mut now]).unwrap();
    assert_eq!(now, 2i32.to_le_bytes());
    assert!(matches!(model.run_signature("poke", &[], &mut []), Err(JitError::Signature { .. })));
}

#[test]
fn a_loop_without_end_stops_at_the_limit() {
    let mut model = Options::new().loop_limit(1000).compile(tflc::ir::parse(COUNTER).unwrap()).unwrap();
    assert_eq!(count(&mut model, 1000).unwrap(), 1);
    let error = count(&mut model, -1).unwrap_err();
    assert!(matches!(error, JitError::Run(tflc_runtime::Status::IterationLimit)), "{error}");
}

/// A list that gets a row in each iteration; nothing in the model says how long it may become.
const LIST: &str = "
graph @0 (%x, %n) -> (%list) {
  %x: float32[2,3]
  %n: int32[]
  %zero: int32[] = const [0]
  %i: int32[], %list: float32[2,3], %left: int32[] = WHILE(%zero, %x, %n) {cond_subgraph_index = @1, body_subgraph_index = @2}
}
graph @1 (%i, %list, %n) -> (%go) {
  %i: int32[]
  %list: float32[2,3]
  %n: int32[]
  %go: bool[] = LESS(%i, %n)
}
graph @2 (%i, %list, %n) -> (%next, %longer, %n) {
  %i: int32[]
  %list: float32[2,3]
  %n: int32[]
  %one: int32[] = const [1]
  %next: int32[] = ADD(%i, %one)
  %size: int32[2] = const [1, 3]
  %first: int32[2] = const [0, 0]
  %item: float32[1,3] = SLICE(%list, %first, %size)
  %longer: float32[3,3] = CONCATENATION(%list, %item) {axis = 0}
}
";

#[test]
fn a_list_grows_up_to_the_bound_that_is_stated() {
    let source = tflc::ir::parse(LIST).unwrap();
    let refused = Options::new().bound("lists", &[5, 3]).compile(source.clone()).err().unwrap();
    assert!(matches!(&refused, JitError::Compile(CompileError::InvalidModel { .. })), "{refused}");
    let mut model = Options::new().bound("list", &[5, 3]).compile(source).unwrap();
    assert_eq!(model.outputs()[0].ty.shape, [5, 3]);
    let x: Vec<u8> = (1..=6).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let mut list = vec![0x5a; 60];
    for (n, rows) in [(0i32, 2), (3, 5), (1, 3)] {
        model.run(&[&x, &n.to_le_bytes()], &mut [&mut list]).unwrap();
        assert_eq!(model.output_shape(0), [rows, 3]);
        assert_eq!(list[..24], x);
        assert!(list[24..12 * rows].chunks(12).all(|row| *row == x[..12]));
    }
    let error = model.run(&[&x, &4i32.to_le_bytes()], &mut [&mut list]).unwrap_err();
    assert!(matches!(error, JitError::Run(tflc_runtime::Status::IndexOutOfRange)), "{error}");
}

/// Operator models that compile and are right, at least; the rest are refused with a reason.
const LEAST_RIGHT: usize = 655;
