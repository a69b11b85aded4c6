//! Every operator on every type through the Cranelift backend: run natively for baseline x86-64 and under qemu for AArch64, compared with
//! the kir interpreter.

use tflc::backend::cranelift::Compiler;
use tflc::target::{ArmLevel, Cpu, Target, X86Level};
use tflc_tests::kernel_runner::{Case, Entry, Machine, Runner, Slot};
use tflc_tests::op_cases::{self, OpCase};

fn check(cpu: Cpu, machine: Machine) {
    let target = Target::new(cpu);
    let mut compiler = Compiler::new(&target).expect("target");
    let cases = op_cases::all(&target.caps());
    let mut failures = vec![];
    let mut compiled: Vec<(&OpCase, Case)> = vec![];
    for c in &cases {
        match compiler.compile(&c.kernel) {
            Ok(code) => {
                let slots = (0..c.buffers.len()).map(|i| Slot::Buffer(i, 0)).collect();
                compiled.push((c, Case { code: code.bytes, buffers: c.buffers.clone(), slots, entry: Entry::Kernel(0..1) }));
            }
            Err(e) => failures.push(e.to_string()),
        }
    }
    let Some(runner) = Runner::find(machine) else {
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        return;
    };
    for part in compiled.chunks(100) {
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
    assert!(failures.is_empty(), "{} of {} failed:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_operator_on_baseline_x86() {
    check(Cpu::X86(X86Level::Baseline), Machine::Native);
}

/// The emulator refuses every instruction newer than SSE2.
#[test]
fn every_operator_needs_no_more_than_sse2() {
    check(Cpu::X86(X86Level::Baseline), Machine::Sse2);
}

#[test]
fn every_operator_on_aarch64() {
    check(Cpu::Aarch64(ArmLevel::Baseline), Machine::Aarch64);
}

#[test]
fn every_operator_on_aarch64_with_dotprod() {
    check(Cpu::Aarch64(ArmLevel::Dotprod), Machine::Aarch64);
}

#[test]
fn every_operator_on_aarch64_with_i8mm() {
    check(Cpu::Aarch64(ArmLevel::I8mm), Machine::Aarch64);
}

#[test]
fn every_operator_on_riscv64() {
    check(Cpu::Riscv64, Machine::Riscv64);
}
