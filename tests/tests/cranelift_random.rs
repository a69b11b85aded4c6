//! Random kernels through the Cranelift backend, compared with the kir interpreter byte by byte.

use tflc::backend::cranelift::Compiler;
use tflc::target::{ArmLevel, Cpu, Precision, RiscvLevel, Target, X86Level};
use tflc_tests::kernel_checks::random_kernels;
use tflc_tests::kernel_runner::Machine;

fn check(cpu: Cpu, machine: Machine, count: u64) {
    check_target(&Target::new(cpu), machine, count);
}

fn check_target(target: &Target, machine: Machine, count: u64) {
    let mut compiler = Compiler::new(target).expect("target");
    random_kernels(target, machine, count, |k| compiler.compile(k).map(|code| code.bytes));
}

#[test]
fn random_kernels_on_baseline_x86() {
    check(Cpu::X86(X86Level::Baseline), Machine::Native, 600);
}

#[test]
fn random_kernels_on_aarch64() {
    check(Cpu::Aarch64(ArmLevel::Baseline), Machine::Aarch64, 300);
}

#[test]
fn random_kernels_on_aarch64_with_dotprod() {
    check(Cpu::Aarch64(ArmLevel::Dotprod), Machine::Aarch64, 300);
}

#[test]
fn random_kernels_on_aarch64_with_i8mm() {
    check(Cpu::Aarch64(ArmLevel::I8mm), Machine::Aarch64, 300);
}

#[test]
fn random_kernels_on_aarch64_with_halves() {
    let target = Target::new(Cpu::Aarch64(ArmLevel::Fp16)).with_precision(Precision::F16).expect("has them");
    check_target(&target, Machine::Aarch64, 300);
}

#[test]
fn random_kernels_on_riscv64() {
    check(Cpu::Riscv64(RiscvLevel::Baseline), Machine::Riscv64, 300);
}

#[test]
fn random_kernels_on_riscv64_with_vectors() {
    check(Cpu::Riscv64(RiscvLevel::Vectors), Machine::Riscv64V, 300);
}
