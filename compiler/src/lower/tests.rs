//! Whole small models: file → passes → program → kir interpreter, against the evaluator and LiteRT's answers.
//!
//! The models are those of `tests/models/ops`, or of the folder that the variable `TFLC_MODELS` names.

use super::interpret::Interpreter;
use super::lower;
use crate::cli::npz::Npz;
use crate::driver::{load, optimize};
use crate::error::CompileError;
use crate::ir::{DType, Graph, GraphId, TensorType};
use crate::ops::{Evaluator, Value};
use crate::target::Target;
use rayon::prelude::*;
use std::path::{Path, PathBuf};

/// What became of one model on one target.
#[derive(Debug)]
enum Outcome {
    /// Same as the evaluator; the largest distance to LiteRT, in units of the last place of integers or relative for floats.
    Right(f64),
    /// Some operator cannot be compiled.
    Unsupported(String),
    /// The model computes something else, or nothing.
    Wrong(String),
}

fn models() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/models/ops");
    let folder = std::env::var_os("TFLC_MODELS").map_or(own, PathBuf::from);
    let mut all: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("models")
        .map(|e| e.expect("entry").path())
        .filter(|p| p.extension().is_some_and(|e| e == "tflite"))
        .collect();
    all.sort();
    all
}

/// Largest difference of two tensors: steps of integers, else relative to values above 1.
fn distance(ty: &TensorType, a: &[u8], b: &[u8]) -> f64 {
    let value = |d: &[u8]| Value::from_bytes(ty.clone(), d.to_vec().into());
    let (Some(a), Some(b)) = (value(a), value(b)) else { return f64::INFINITY };
    if let (Some(a), Some(b)) = (a.to_i64(), b.to_i64()) {
        return a.iter().zip(&b).map(|(a, b)| a.abs_diff(*b) as f64).fold(0.0, f64::max);
    }
    let (Some(a), Some(b)) = (a.to_f32(), b.to_f32()) else { return if a == b { 0.0 } else { f64::INFINITY } };
    let one = |(a, b): (&f32, &f32)| {
        if a == b || (a.is_nan() && b.is_nan()) { 0.0 } else { f64::from((a - b).abs()) / f64::from(b.abs().max(1.0)) }
    };
    a.iter().zip(&b).map(one).map(|d| if d.is_nan() { f64::INFINITY } else { d }).fold(0.0, f64::max)
}

/// Bytes of the array for a tensor, by its name or position.
fn array(npz: &mut Npz, kind: &str, graph: &Graph, inputs: bool, i: usize) -> Option<Vec<u8>> {
    let list = if inputs { &graph.inputs } else { &graph.outputs };
    let name = format!("{kind}/{}", graph.tensor(list[i]).name);
    let names: Vec<String> = npz.names().filter(|n| n.starts_with(&format!("{kind}/"))).map(str::to_string).collect();
    let found = names.iter().find(|n| **n == name).or(if names.len() == list.len() { names.get(i) } else { None })?;
    npz.read(found).ok().map(|t| t.data)
}

fn try_model(path: &Path, target: &Target) -> Outcome {
    let model = match load(path) {
        Ok(m) => m,
        Err(e @ CompileError::Unsupported(_)) => return Outcome::Unsupported(e.to_string()),
        Err(e) => return Outcome::Wrong(e.to_string()),
    };
    let mut npz = Npz::open(&path.with_extension("npz")).expect("answers");
    let entry = GraphId(0);
    let graph = &model.graphs[0];
    let mut inputs = vec![];
    for (i, t) in graph.inputs.iter().enumerate() {
        match array(&mut npz, "in", graph, true, i).and_then(|d| Value::from_bytes(graph.ty(*t).clone(), d.into())) {
            Some(v) => inputs.push(v),
            None => return Outcome::Unsupported(format!("input {i} has another shape")),
        }
    }
    let expected = match Evaluator::new(&model).run(&inputs) {
        Ok(v) => v,
        Err(e) => return Outcome::Unsupported(format!("evaluator: {e}")),
    };
    let mut optimized = model.clone();
    let program = optimize(&mut optimized, entry, target, &mut |_, _| {}).and_then(|()| lower(&optimized, entry, target));
    let program = match program {
        Ok(p) => p,
        Err(e @ CompileError::Unsupported(_)) => return Outcome::Unsupported(e.to_string()),
        Err(e) => return Outcome::Wrong(e.to_string()),
    };
    let bytes: Vec<&[u8]> = inputs.iter().map(Value::bytes).collect();
    let outputs = match Interpreter::new(&program).run(&bytes) {
        Ok(o) => o,
        Err(e) => return Outcome::Wrong(e.to_string()),
    };
    let mut golden = 0.0f64;
    for (i, (got, want)) in outputs.iter().zip(&expected).enumerate() {
        let d = distance(&want.ty, got, want.bytes());
        let allowed = if want.ty.dtype.is_float() { 2e-5 } else { 0.0 };
        if d > allowed {
            return Outcome::Wrong(format!("output {i} is {d} from the evaluator's ({:?})", want.ty.dtype));
        }
        match array(&mut npz, "out", graph, false, i) {
            Some(theirs) if want.ty.dtype != DType::String => golden = golden.max(distance(&want.ty, got, &theirs)),
            _ => {}
        }
    }
    Outcome::Right(golden)
}

#[test]
fn models_of_one_operator_give_what_the_evaluator_gives() {
    let mut wrong = vec![];
    for (name, cpu, _) in Target::CPU_NAMES {
        let target = Target::new(*cpu);
        let results: Vec<(PathBuf, Outcome)> = models().into_par_iter().map(|p| (p.clone(), try_model(&p, &target))).collect();
        let mut counts = [0; 3];
        for (path, outcome) in results {
            let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            match outcome {
                Outcome::Right(d) => {
                    counts[0] += 1;
                    if d > 1e-4 {
                        println!("{name} {stem}: {d} from LiteRT");
                    }
                }
                Outcome::Unsupported(e) => {
                    counts[1] += 1;
                    if *name == "x86-64" {
                        println!("{stem}: {e}");
                    }
                }
                Outcome::Wrong(e) => {
                    counts[2] += 1;
                    wrong.push(format!("{stem} on {name}: {e}"));
                }
            }
        }
        println!("{name}: {} right, {} unsupported, {} wrong", counts[0], counts[1], counts[2]);
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
