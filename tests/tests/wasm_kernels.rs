//! Single kernels through the WebAssembly backend, run in Node and compared with the kir interpreter: every operator on every type, and random
//! kernels.
//!
//! `TFLC_RANDOM_KERNELS=100000` makes the latter longer, `TFLC_RANDOM_SEED=7` starts elsewhere.

use tflc::backend::wasm::kernel_module;
use tflc::target::{Cpu, Target};
use tflc_kir::generate::{self, CaseArg, Options};
use tflc_tests::kernel_runner::{Case, Entry, Machine, Runner, Slot};
use tflc_tests::op_cases;

fn every_operator(relaxed: bool) {
    let cases = op_cases::all(&Target::new(Cpu::Wasm32 { relaxed }).caps());
    let mut failures = vec![];
    let mut compiled = vec![];
    for c in &cases {
        match kernel_module(&c.kernel, relaxed) {
            Ok(code) => {
                let slots = (0..c.buffers.len()).map(|i| Slot::Buffer(i, 0)).collect();
                compiled.push((c, Case { code, buffers: c.buffers.clone(), slots, entry: Entry::Kernel(0..1) }));
            }
            Err(e) => failures.push(e.to_string()),
        }
    }
    if let Some(runner) = Runner::find(Machine::Wasm) {
        for part in compiled.chunks(200) {
            let calls: Vec<Case> = part.iter().map(|p| p.1.clone()).collect();
            match runner.run(&calls) {
                Ok(outcomes) => {
                    for ((c, _), o) in part.iter().zip(outcomes) {
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
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn random_kernels(relaxed: bool, count: u64) {
    let caps = Target::new(Cpu::Wasm32 { relaxed }).caps();
    let runner = Runner::find(Machine::Wasm);
    let first = setting("TFLC_RANDOM_SEED", 0);
    let seeds: Vec<u64> = (first..first + setting("TFLC_RANDOM_KERNELS", count)).collect();
    for part in seeds.chunks(200) {
        let mut cases = vec![];
        for &seed in part {
            let case = generate::generate(seed, &caps, &Options { size: 10 + seed as u32 % 8 * 20, ..Options::default() });
            let code =
                kernel_module(&case.kernel, relaxed).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", tflc_kir::print(&case.kernel)));
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
            let (status, buffers) = case.interpret().expect("generated kernels do not trap");
            assert!(status == got.status && buffers == got.buffers, "seed {seed}:\n{}", tflc_kir::print(&case.kernel));
        }
    }
}

#[test]
fn every_operator_on_wasm() {
    every_operator(false);
}

/// The processor under Node has fused multiply-add, so that the relaxed form is exact here.
#[test]
fn every_operator_on_wasm_with_relaxed_simd() {
    every_operator(true);
}

#[test]
fn random_kernels_on_wasm() {
    random_kernels(false, 600);
}

#[test]
fn random_kernels_on_wasm_with_relaxed_simd() {
    random_kernels(true, 300);
}
