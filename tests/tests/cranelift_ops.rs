//! Every operator on every type through the Cranelift backend: run natively for baseline x86-64 and under qemu for AArch64, compared with
//! the kir interpreter.

use tflc::backend::cranelift::Compiler;
use tflc::target::{ArmLevel, Cpu, Precision, RiscvLevel, Target, X86Level};
use tflc_tests::kernel_checks::every_operator;
use tflc_tests::kernel_runner::Machine;

fn check(cpu: Cpu, machine: Machine) {
    check_target(&Target::new(cpu), machine);
}

fn check_target(target: &Target, machine: Machine) {
    let mut compiler = Compiler::new(target).expect("target");
    every_operator(target, machine, |k| compiler.compile(k).map(|code| code.bytes));
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
fn every_operator_on_aarch64_with_halves() {
    let target = Target::new(Cpu::Aarch64(ArmLevel::Fp16)).with_precision(Precision::F16).expect("has them");
    check_target(&target, Machine::Aarch64);
}

#[test]
fn every_operator_on_riscv64() {
    check(Cpu::Riscv64(RiscvLevel::Baseline), Machine::Riscv64);
}

#[test]
fn every_operator_on_riscv64_with_vectors() {
    check(Cpu::Riscv64(RiscvLevel::Vectors), Machine::Riscv64V);
}
