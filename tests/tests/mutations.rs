//! Models with structured damage: the compiler gives code or an error, and code stays inside its buffers.
//!
//! The seeds are the models of `tests/models` and, with `../shared/corpus` beside the checkout, the small ones of it. Each mutation changes one to three
//! things ([`tflc_tests::mutation`]), goes through import, passes, lowering and code generation for a level of this processor, and runs on random inputs in
//! a process of its own, with every buffer behind and in front of a guard page. A panic, a crash, a write beside a buffer or a run without end fails.
//! `TFLC_MUTATIONS=100000 cargo test --release -p tflc-tests --test mutations -- --nocapture` makes more than by default, `TFLC_MUTATION=123` makes one,
//! `TFLC_FIRST=5000` begins with another, and `TFLC_WRAPPER="valgrind --error-exitcode=9"` runs the code
//! under that program.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tflc::backend::compile_program;
use tflc::error::CompileError;
use tflc::frontend::{Limits, ModelFile, import, schema, write_model};
use tflc::ir::{Model, verify};
use tflc::ops::propagate_types;
use tflc::target::Target;
use tflc_tests::compiled::{invoke, lowered};
use tflc_tests::golden::{models, root};
use tflc_tests::host::levels;
use tflc_tests::kernel_runner::{Case, Machine, Runner};
use tflc_tests::mutation::{mutate_file, mutate_options};
use tflc_tests::random_values::{Rng, random_value};

/// Files beyond this many bytes are no seeds.
const LARGEST_FILE: u64 = 300_000;
/// Models whose buffers have more bytes in all are compiled and not run.
const MOST_BYTES: usize = 4 << 20;
/// Seconds after which the compiler counts as hanging.
const MOST_SECONDS: u64 = 120;

fn seeds() -> Vec<(PathBuf, schema::Model)> {
    let folders = ["tests/models/ops", "tests/models/digits", "../shared/corpus", "../shared/corpus/ops"];
    let paths = folders.iter().flat_map(|f| models(&root().join(f)));
    let small = |p: &Path| std::fs::metadata(p).is_ok_and(|m| m.len() <= LARGEST_FILE);
    paths.filter(|p| small(p)).map(|p| (p.clone(), ModelFile::open(&p, &Limits::default()).unwrap().model().unpack())).collect()
}

/// What came of a mutation.
enum Made {
    /// Refused, by the kind of error.
    Refused(&'static str),
    /// Compiled; not run for its size.
    Large,
    /// Compiled, ready to run.
    Case(Box<Case>),
}

/// The damaged model, or why it is none.
fn damaged(rng: &mut Rng, seed: &schema::Model) -> Result<Model, CompileError> {
    let mut tables = seed.clone();
    let file = rng.below(4);
    (0..file).for_each(|_| mutate_file(rng, &mut tables));
    let bytes = write_model(&tables)?;
    let mut model = import(&ModelFile::from_bytes(bytes, &Limits::default())?)?;
    let options = if file == 0 { 1 + rng.below(2) } else { rng.below(2) };
    (0..options).for_each(|_| mutate_options(rng, &mut model));
    if options > 0 {
        verify(&model).map_err(|e| CompileError::invalid(Default::default(), e.to_string()))?;
        let propagated = propagate_types(&mut model)?;
        if !propagated.unsupported.is_empty() {
            return Err(CompileError::Unsupported(propagated.unsupported));
        }
    }
    Ok(model)
}

fn make(rng: &mut Rng, seed: &schema::Model) -> anyhow::Result<Made> {
    let refused = |e: CompileError| match e {
        CompileError::InvalidModel { .. } => Ok(Made::Refused("invalid")),
        CompileError::Unsupported(_) => Ok(Made::Refused("unsupported")),
        CompileError::LimitExceeded { .. } => Ok(Made::Refused("limit")),
        // A bug of the compiler, whatever the model.
        other => Err(other.into()),
    };
    let mut model = match damaged(rng, seed) {
        Ok(model) => model,
        Err(e) => return refused(e),
    };
    let target = Target::new(*rng.choose(&levels()));
    let mut program = match lowered(&mut model, &target) {
        Ok(Some(program)) => program,
        Ok(None) => return Ok(Made::Refused("unsupported")),
        Err(e) => return refused(e),
    };
    program.limit_loops(1000);
    let image = compile_program(&program, &target)?;
    let ports = || program.inputs.iter().chain(&program.outputs);
    let bytes = program.weights_bytes + program.arena_bytes + program.state_bytes + ports().map(|p| p.ty.bytes()).sum::<usize>();
    if bytes > MOST_BYTES || ports().count() > 60 {
        return Ok(Made::Large);
    }
    let numbers = program.inputs.iter().all(|p| p.ty.dtype.storage().is_some());
    let inputs = program.inputs.iter().map(|p| match numbers {
        true => random_value(rng, &p.ty).bytes().to_vec(),
        false => (0..p.ty.bytes()).map(|_| rng.bits() as u8).collect(),
    });
    let inputs: Vec<Vec<u8>> = inputs.collect();
    Ok(Made::Case(Box::new(invoke(&program, image, inputs)?)))
}

/// Ends the process where one mutation takes too long; it has no other way to stop.
fn watch(now: &'static AtomicU64) {
    std::thread::spawn(move || {
        let (mut last, mut since) = (u64::MAX, Instant::now());
        loop {
            std::thread::sleep(Duration::from_secs(1));
            let at = now.load(Ordering::Relaxed);
            if at != last {
                (last, since) = (at, Instant::now());
            } else if at != u64::MAX && since.elapsed() > Duration::from_secs(MOST_SECONDS) {
                eprintln!("TFLC_MUTATION={at} does not end");
                std::process::abort();
            }
        }
    });
}

/// Runs cases; a crash names one of them, and the rest runs again without it.
fn run(runner: &Runner, cases: &mut Vec<(u64, Box<Case>)>, failed: &mut Vec<String>, statuses: &mut BTreeMap<i32, usize>) {
    while !cases.is_empty() {
        let plain: Vec<Case> = cases.iter().map(|c| (*c.1).clone()).collect();
        match runner.run(&plain) {
            Ok(outcomes) => {
                for ((seed, _), outcome) in cases.iter().zip(outcomes) {
                    *statuses.entry(outcome.status).or_default() += 1;
                    if outcome.status == -1000 {
                        failed.push(format!("TFLC_MUTATION={seed}: two runs end with two statuses"));
                    }
                }
                cases.clear();
            }
            Err(e) => {
                let text = format!("{e:#}");
                let number = text.split("case ").nth(1).and_then(|t| t.split(' ').next()).and_then(|n| n.parse::<usize>().ok());
                let at = number.filter(|n| *n < cases.len()).unwrap_or(0);
                let message = format!("TFLC_MUTATION={}: {text}", cases[at].0);
                println!("{message}");
                failed.push(message);
                // Those in front of it have run.
                cases.drain(..=at);
            }
        }
    }
}

#[test]
fn damaged_models_are_refused_or_stay_inside_their_buffers() {
    static NOW: AtomicU64 = AtomicU64::new(u64::MAX);
    let setting = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = setting("TFLC_FIRST").unwrap_or(0);
    let numbers = match setting("TFLC_MUTATION") {
        Some(n) => n..n + 1,
        None => first..first + setting("TFLC_MUTATIONS").unwrap_or(300),
    };
    watch(&NOW);
    let runner = Runner::find(Machine::Native).map(|r| r.limited(60)).map(|r| match std::env::var("TFLC_WRAPPER") {
        Ok(program) => r.wrapped(&program),
        Err(_) => r,
    });
    let seeds = seeds();
    let (mut failed, mut cases) = (vec![], vec![]);
    let (mut counts, mut statuses) = (BTreeMap::<&str, usize>::new(), BTreeMap::new());
    let total = numbers.end - numbers.start;
    for number in numbers {
        NOW.store(number, Ordering::Relaxed);
        let mut rng = Rng::new(number);
        let (path, seed) = rng.choose(&seeds);
        let made = catch_unwind(AssertUnwindSafe(|| make(&mut rng, seed))).unwrap_or_else(|_| Err(anyhow::anyhow!("a panic")));
        match made {
            Ok(Made::Refused(why)) => *counts.entry(why).or_default() += 1,
            Ok(Made::Large) => *counts.entry("large").or_default() += 1,
            Ok(Made::Case(case)) => {
                *counts.entry("compiled").or_default() += 1;
                cases.push((number, case));
            }
            Err(e) => {
                let message = format!("TFLC_MUTATION={number} ({}): {e:#}", path.display());
                println!("{message}");
                failed.push(message);
            }
        }
        if cases.len() >= 200 {
            NOW.store(u64::MAX, Ordering::Relaxed);
            match &runner {
                Some(runner) => run(runner, &mut cases, &mut failed, &mut statuses),
                None => cases.clear(),
            }
        }
        if number.is_multiple_of(10_000) {
            println!("{number}: {counts:?}, statuses {statuses:?}, {} failed", failed.len());
        }
    }
    NOW.store(u64::MAX, Ordering::Relaxed);
    if let Some(runner) = &runner {
        run(runner, &mut cases, &mut failed, &mut statuses);
    }
    println!("{counts:?}, statuses {statuses:?}");
    assert!(failed.is_empty(), "{} of {total} failed:\n{}", failed.len(), failed.join("\n"));
    let compiled = counts.get("compiled").copied().unwrap_or(0) as u64;
    assert!(compiled * 20 >= total || total == 1, "only {compiled} of {total} compile");
}
