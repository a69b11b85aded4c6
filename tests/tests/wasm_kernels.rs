//! Single kernels through the WebAssembly backend, run in Node and compared with the kir interpreter.

use tflc::backend::wasm::kernel_module;
use tflc::target::{Cpu, Target};
use tflc_tests::kernel_checks;
use tflc_tests::kernel_runner::Machine;

fn every_operator(relaxed: bool) {
    kernel_checks::every_operator(&Target::new(Cpu::Wasm32 { relaxed }), Machine::Wasm, |k| kernel_module(k, relaxed));
}

fn random_kernels(relaxed: bool, count: u64) {
    kernel_checks::random_kernels(&Target::new(Cpu::Wasm32 { relaxed }), Machine::Wasm, count, |k| kernel_module(k, relaxed));
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
