//! Single kernels through a backend, compared with the kir interpreter: every operator on every type, and random kernels.
//!
//! `TFLC_RANDOM_KERNELS=100000` makes the latter longer, `TFLC_RANDOM_SEED=7` starts elsewhere. Code runs where its [`Machine`] is installed; it is made
//! everywhere.

use crate::kernel_runner::{Case, Entry, Machine, Runner, Slot};
use crate::op_cases;
use std::fmt::Display;
use tflc::target::Target;
use tflc_kir::Kernel;
use tflc_kir::generate::{self, CaseArg, Options};

/// Of so many kernels, the emulator may fail at one.
const FEW: usize = 25;

/// Kernels that run in one process.
const PART: usize = 200;

/// Compiles and runs every operator on every type that the target has.
///
/// # Panics
/// Where a backend refuses a kernel or a result differs.
pub fn every_operator<E: Display>(target: &Target, machine: Machine, mut compile: impl FnMut(&Kernel) -> Result<Vec<u8>, E>) {
    let cases = op_cases::all(&target.caps());
    let (mut failures, mut left_out) = (vec![], 0);
    let mut compiled = vec![];
    for c in &cases {
        match compile(&c.kernel) {
            Ok(code) => {
                let slots = (0..c.buffers.len()).map(|i| Slot::Buffer(i, 0)).collect();
                compiled.push((c, Case { code, buffers: c.buffers.clone(), slots, entry: Entry::Kernel(0..1) }));
            }
            Err(e) => failures.push(e.to_string()),
        }
    }
    if let Some(runner) = Runner::find(machine) {
        for part in compiled.chunks(PART) {
            let calls: Vec<Case> = part.iter().map(|p| p.1.clone()).collect();
            match runner.run(&calls) {
                Ok(outcomes) => {
                    for ((c, _), o) in part.iter().zip(outcomes) {
                        if !o.ran {
                            left_out += 1;
                            continue;
                        }
                        if o.status != 0 {
                            failures.push(format!("@{}: status {}", c.kernel.name, o.status));
                        }
                        failures.extend(c.difference(&o.buffers[0], &c.expected()));
                    }
                }
                Err(e) => failures.push(format!("{e:#} (cases from @{})", part[0].0.kernel.name)),
            }
        }
    }
    assert!(left_out * FEW <= cases.len(), "{left_out} of {} were left out", cases.len());
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// Compiles and runs random kernels; `count` of them where the environment does not say.
///
/// # Panics
/// Where a backend refuses a kernel or a byte differs.
pub fn random_kernels<E: Display>(target: &Target, machine: Machine, count: u64, mut compile: impl FnMut(&Kernel) -> Result<Vec<u8>, E>) {
    let caps = target.caps();
    let runner = Runner::find(machine);
    let first = setting("TFLC_RANDOM_SEED", 0);
    let seeds: Vec<u64> = (first..first + setting("TFLC_RANDOM_KERNELS", count)).collect();
    let mut left_out = 0;
    for part in seeds.chunks(PART) {
        let mut cases = vec![];
        for &seed in part {
            // Small and large kernels in turn.
            let case = generate::generate(seed, &caps, &Options { size: 10 + seed as u32 % 8 * 20, ..Options::default() });
            let code = compile(&case.kernel).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", tflc_kir::print(&case.kernel)));
            let slots = case.args.iter().map(|a| match a {
                CaseArg::Buffer(i) => Slot::Buffer(*i, 0),
                CaseArg::Scalar(v) => Slot::Value(v.slot()),
            });
            let call = Case {
                code,
                buffers: case.buffers.iter().map(|b| b.bytes.clone()).collect(),
                slots: slots.collect(),
                entry: Entry::Kernel(case.begin..case.end),
            };
            cases.push((seed, case, call));
        }
        let Some(runner) = &runner else { continue };
        let calls: Vec<Case> = cases.iter().map(|c| c.2.clone()).collect();
        let outcomes = runner.run(&calls).unwrap_or_else(|e| panic!("seeds from {}: {e:#}", part[0]));
        for ((seed, case, _), got) in cases.iter().zip(outcomes) {
            if !got.ran {
                left_out += 1;
                continue;
            }
            let (status, buffers) = case.interpret().expect("generated kernels do not trap");
            let same = status == got.status && buffers == got.buffers;
            let text = || format!("{}\n{}", difference(&buffers, &got.buffers), tflc_kir::print(&case.kernel));
            assert!(same, "seed {seed} on {}: {}", target.cpu, text());
        }
    }
    assert!(left_out * FEW <= seeds.len(), "{left_out} of {} were left out", seeds.len());
}

fn difference(expected: &[Vec<u8>], got: &[Vec<u8>]) -> String {
    for (i, (e, g)) in expected.iter().zip(got).enumerate() {
        if let Some(at) = e.iter().zip(g).position(|(x, y)| x != y) {
            let end = (at + 16).min(e.len());
            return format!("buffer {i} from byte {at}: {:02x?}, not {:02x?}", &g[at..end], &e[at..end]);
        }
    }
    "the status".into()
}
