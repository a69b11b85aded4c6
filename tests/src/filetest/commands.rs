//! The commands of filetests: one function each, found by the first word behind `test`.

use super::{Case, Command};
use crate::differential::{Tolerance, compare};
use crate::host::levels;
use crate::random_values::{Rng, random_value};
use anyhow::{Context, Result, anyhow, bail, ensure};
use tflc::driver::PASSES;
use tflc::error::CompileError;
use tflc::ir::parse::parse_value;
use tflc::ir::print::print_value;
use tflc::ir::{GraphId, Model, PrintOptions, TensorType, parse, print, print_with, verify};
use tflc::jit::{JitError, Options};
use tflc::ops::{EvalError, Evaluator, Value, propagate_types};
use tflc::target::Target;
use tflc_kir::interp::{self, Arg, Memory};
use tflc_kir::{Elem, Type};
use tflc_templates::text::{Cursor, Token};

/// All commands by name.
pub const COMMANDS: [(&str, Command); 6] =
    [("parse", parse_model), ("verify", verify_model), ("pass", pass), ("eval", eval), ("run", run_compiled), ("kir-interp", kir_interp)];

/// `test parse`: the model as it prints, or the parser's error.
fn parse_model(case: &Case<'_>) -> Result<String> {
    match parse(case.input) {
        Ok(model) => {
            reads_back(&model)?;
            Ok(print_with(&model, PrintOptions::LIVE))
        }
        Err(e) => Ok(format!("error: {e}")),
    }
}

/// `test verify`: what the verifier says against a model.
fn verify_model(case: &Case<'_>) -> Result<String> {
    match verify(&parse(case.input)?) {
        Ok(()) => bail!("the model is valid; these tests show what is refused"),
        Err(e) => Ok(format!("error: {e}")),
    }
}

/// `test pass NAME [CPU]`: how many changes a pass makes, and the model afterwards. The input and the result verify, print and parse, and
/// give the same outputs for random inputs.
fn pass(case: &Case<'_>) -> Result<String> {
    let (name, cpu) = match case.args {
        [name] => (name, "x86-64-v3"),
        [name, cpu] => (name, *cpu),
        _ => bail!("the header is `test pass NAME [CPU]`"),
    };
    let (_, run) = PASSES.iter().find(|(n, _)| n == name).with_context(|| format!("there is no pass `{name}`"))?;
    let target = Target::new(Target::parse_cpu(cpu).with_context(|| format!("there is no CPU `{cpu}`"))?);
    let before = parse(case.input)?;
    verify(&before)?;
    let mut model = before.clone();
    let mut changes = 0;
    for g in 0..model.graphs.len() {
        match run(&mut model, GraphId(g as u32), &target) {
            Ok(n) => changes += n,
            Err(e @ (CompileError::Unsupported(_) | CompileError::InvalidModel { .. })) => return Ok(format!("error: {e}")),
            Err(e) => return Err(e.into()),
        }
    }
    let text = print_with(&model, PrintOptions::LIVE);
    verify(&model).map_err(|e| anyhow!("the pass broke the model: {e}\n{text}"))?;
    reads_back(&model)?;
    same_outputs(&before, &model).map_err(|e| anyhow!("the pass changed what the model computes: {e:#}\n{text}"))?;
    if changes == 0 {
        ensure!(print(&model) == print(&before), "the pass reports no change but made one:\n{text}");
        return Ok("unchanged".to_string());
    }
    Ok(format!("{changes} change{}\n\n{text}", if changes == 1 { "" } else { "s" }))
}

/// Checks that the full text of a model parses back to it.
fn reads_back(model: &Model) -> Result<()> {
    let text = print(model);
    let again = parse(&text).with_context(|| format!("the text form does not parse:\n{text}"))?;
    ensure!(print(&again) == text, "the text form does not read back:\n{text}");
    Ok(())
}

/// Checks that two models give the same outputs, on a few random inputs; floats may differ by rounding.
///
/// A model with operators that the evaluator lacks is not run.
fn same_outputs(a: &Model, b: &Model) -> Result<()> {
    for seed in 0..3 {
        let mut rng = Rng::new(seed);
        let inputs: Vec<Value> = a.graphs[0].inputs.iter().map(|t| random_value(&mut rng, a.graphs[0].ty(*t))).collect();
        let expected = match Evaluator::new(a).run(&inputs) {
            Err(EvalError::Compile(CompileError::Unsupported(_))) => return Ok(()),
            result => result?,
        };
        let got = Evaluator::new(b).run(&inputs)?;
        compare(&expected, &got, Tolerance::ROUNDING)?;
    }
    Ok(())
}

/// `test eval`: the outputs of a model without inputs.
fn eval(case: &Case<'_>) -> Result<String> {
    let model = parse(case.input)?;
    verify(&model)?;
    match Evaluator::new(&model).run(&[]) {
        Ok(outputs) => {
            let named = model.graphs[0].outputs.iter().zip(&outputs);
            Ok(named.map(|(t, v)| format!("{t} = {}\n", print_value(&v.ty, v.bytes()))).collect())
        }
        Err(e) => Ok(format!("error: {e}")),
    }
}

/// `test kir-interp`: runs a kernel once for each directive `;; run BEGIN .. END (ARGUMENTS)`. An argument is a number or, for a pointer, a
/// type and value such as `float32[2] [1.0, 2.0]`. Gives the status and the buffers that changed.
fn kir_interp(case: &Case<'_>) -> Result<String> {
    let kernel = match tflc_kir::parse(case.input) {
        Ok(k) => k,
        Err(e) => return Ok(format!("error: {e}")),
    };
    let mut out = String::new();
    for line in case.input.lines().filter_map(|l| l.strip_prefix(";; run ")) {
        let text = line.replacen("..", ":", 1);
        let mut c = Cursor::new(&text)?;
        let begin: i64 = c.int("the first unit")?;
        c.punct(":", "`..`")?;
        let end: i64 = c.int("the unit behind the last")?;
        c.punct("(", "`(` and the arguments")?;
        let (mut memory, mut args, mut buffers) = (Memory::new(), vec![], vec![]);
        for (i, p) in kernel.params.iter().enumerate() {
            if i > 0 {
                c.punct(",", "`,` and an argument for every parameter")?;
            }
            args.push(match kernel.ty(p.value) {
                Type::PTR => {
                    let (ty, data) = parse_value(&mut c)?;
                    buffers.push((&p.name, ty, data.clone()));
                    Arg::Ptr(memory.add(data))
                }
                Type { elem: Elem::F32, .. } => Arg::F32(c.f32("a float")?),
                Type { elem: Elem::I32, .. } => Arg::I32(c.int("a 32-bit integer")?),
                _ => Arg::I64(c.int("a 64-bit integer")?),
            });
        }
        c.punct(")", "`)`")?;
        ensure!(c.token() == Token::End, "text behind the arguments: {line}");
        match interp::run(&kernel, &args, &mut memory, begin, end) {
            Ok(0) => out += &format!("run {begin} .. {end}\n"),
            Ok(status) => out += &format!("run {begin} .. {end}: status {status}\n"),
            Err(trap) => out += &format!("run {begin} .. {end}: {trap}\n"),
        }
        for (i, (name, ty, before)) in buffers.iter().enumerate() {
            if memory.bytes(i) != before {
                out += &format!("  {name} = {}\n", print_value(ty, memory.bytes(i)));
            }
        }
    }
    ensure!(!out.is_empty(), "there is no directive `;; run BEGIN .. END (ARGUMENTS)`");
    Ok(out)
}

/// `test run [RUNS] [infer]`: compiles a model for every CPU level that this machine has and runs it that many times (once where none is said) on random
/// inputs, state kept in between; every run must agree with the reference evaluator. Gives the size of the state. With `infer`, types are inferred first, as
/// for a model from a file.
fn run_compiled(case: &Case<'_>) -> Result<String> {
    let (counts, infer) = match case.args {
        [rest @ .., "infer"] => (rest, true),
        all => (all, false),
    };
    let runs: u64 = match counts {
        [] => 1,
        [n] => n.parse().context("the header is `test run [RUNS] [infer]`")?,
        _ => bail!("the header is `test run [RUNS] [infer]`"),
    };
    let mut model = parse(case.input)?;
    verify(&model)?;
    if infer {
        match propagate_types(&mut model).and_then(|p| p.supported()) {
            Err(e @ (CompileError::Unsupported(_) | CompileError::InvalidModel { .. })) => return Ok(format!("error: {e}")),
            other => other?,
        }
        verify(&model)?;
    }
    let mut state_bytes = 0;
    for cpu in levels() {
        let mut compiled = match Options::new().cpu(cpu).compile(model.clone()) {
            Ok(m) => m,
            Err(JitError::Compile(e @ (CompileError::Unsupported(_) | CompileError::InvalidModel { .. }))) => {
                return Ok(format!("error: {e}"));
            }
            Err(e) => return Err(e.into()),
        };
        state_bytes = compiled.program().state_bytes;
        let mut evaluator = Evaluator::new(&model);
        for seed in 0..runs {
            let mut rng = Rng::new(seed);
            let inputs: Vec<Value> = model.graphs[0].inputs.iter().map(|t| random_value(&mut rng, model.graphs[0].ty(*t))).collect();
            let expected = evaluator.run(&inputs)?;
            let mut outputs: Vec<Vec<u8>> = compiled.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
            let given: Vec<&[u8]> = inputs.iter().map(Value::bytes).collect();
            compiled.run(&given, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
            let got = outputs.into_iter().zip(compiled.outputs()).enumerate().map(|(i, (mut data, port))| {
                let ty = TensorType { shape: compiled.output_shape(i), ..port.ty.clone() };
                data.truncate(ty.bytes());
                Value::from_bytes(ty, data.into())
            });
            let got = got.collect::<Option<Vec<_>>>().context("an output of another size")?;
            compare(&expected, &got, Tolerance::ROUNDING).with_context(|| format!("{cpu}, run {seed}"))?;
        }
    }
    Ok(format!("{runs} run{} at every level; state {state_bytes} bytes", if runs == 1 { "" } else { "s" }))
}
