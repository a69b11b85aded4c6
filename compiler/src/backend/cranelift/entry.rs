//! The two functions by which a linked model is reached: `invoke` with its weights filled in, and the choice of a CPU level.
//!
//! Neither keeps state: the weights' address is relative to the code, and the level is chosen anew by each call of `NAME_model`, which a
//! program calls once.

use super::Compiler;
use super::function::{Conventions, address_of, enter, import, import_external};
use crate::backend::BackendError;
use crate::backend::image::{External, Function};
use crate::target::{Arch, ArmLevel, Cpu, Os, Precision, RiscvLevel, Target};
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use cranelift_frontend::FunctionBuilder;

/// Where an entry finds the weights.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WeightsAt {
    /// In the object, those of this CPU level.
    Object(usize),
    /// In memory whose address follows the inputs, at this position of the list.
    Input(usize),
}

/// One choice of [`Compiler::select`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Choice {
    /// What the level needs.
    pub target: Target,
    /// Position of the level's descriptor in the image.
    pub descriptor: usize,
}

/// Bits of `tflc_cpu_features` for dot products, matrix products and arithmetic on halves on AArch64, as the C header has them.
const DOTPROD: u64 = 1 << 0;
const I8MM: u64 = 1 << 1;
const FP16: u64 = 1 << 2;

/// Bit of `tflc_cpu_features` for vectors on RISC-V, as the C header has it.
const VECTORS: u64 = 1 << 0;

/// What `getauxval` is asked for, and which of its bits gives which of ours (Linux, `uapi/linux/auxvec.h`, `asm/hwcap.h` of arm64: `AT_HWCAP` and
/// `HWCAP_ASIMDDP`, `AT_HWCAP2` and `HWCAP2_I8MM`, `AT_HWCAP` and `HWCAP_ASIMDHP`).
const AARCH64_CAPABILITIES: &[(i64, u32, u64)] = &[(16, 20, DOTPROD), (26, 13, I8MM), (16, 10, FP16)];

/// The same of RISC-V: in `AT_HWCAP`, the bit of each letter of the instruction set's name (Linux, `arch/riscv/uabi.rst`).
const RISCV64_CAPABILITIES: &[(i64, u32, u64)] = &[(16, b'V' as u32 - b'A' as u32, VECTORS)];

/// The bits that a level needs; arithmetic on halves is in the code of the levels above it only where it is asked for.
fn needed(target: &Target) -> u64 {
    let level = match target.cpu {
        Cpu::Aarch64(ArmLevel::Baseline) | Cpu::Riscv64(RiscvLevel::Baseline) | Cpu::Wasm32 { .. } => 0,
        Cpu::Riscv64(RiscvLevel::Vectors) => VECTORS,
        Cpu::X86(level) => crate::backend::x86::feature_bit(level),
        Cpu::Aarch64(ArmLevel::Dotprod) => DOTPROD,
        Cpu::Aarch64(ArmLevel::I8mm) => DOTPROD | I8MM,
        Cpu::Aarch64(ArmLevel::Fp16) => FP16,
    };
    level | if target.precision == Precision::F16 { FP16 } else { 0 }
}

impl Compiler {
    /// `(arena, state, inputs, outputs, parallel) -> status`, which calls the `invoke` at position `invoke` with the weights.
    ///
    /// # Errors
    /// Where Cranelift refuses the code: a bug.
    pub fn bind_weights(&mut self, name: String, invoke: usize, weights: WeightsAt) -> Result<Function, BackendError> {
        let c = self.conventions;
        self.define(name, |b| {
            let args = enter(b, c.bound_invoke());
            let weights = match weights {
                WeightsAt::Object(level) => address_of(b, External::Weights(level)),
                WeightsAt::Input(position) => weights_input(b, args[2], position),
            };
            let invoke = import(b, invoke, c.invoke());
            let call = b.ins().call(invoke, &[&[weights], &args[..]].concat());
            let status = b.inst_results(call)[0];
            b.ins().return_(&[status]);
        })
    }

    /// `NAME_model() -> descriptor`: the first of `choices` that the processor can run, null where it can run none.
    ///
    /// `features` is the position of a function in the image that gives the processor's bits, for those that can ask without the system.
    ///
    /// # Errors
    /// Where Cranelift refuses the code: a bug.
    pub fn select(&mut self, name: String, choices: &[Choice], features: Option<usize>, target: &Target) -> Result<Function, BackendError> {
        let c = self.conventions;
        self.define(name, |b| {
            enter(b, c.getter());
            let ask = choices.iter().any(|choice| needed(&choice.target) != 0) && (choices.len() > 1 || features.is_some());
            let have = ask.then(|| cpu_features(b, c, features, target));
            for choice in choices {
                let address = import(b, choice.descriptor, c.getter());
                let Some(have) = have.filter(|_| needed(&choice.target) != 0) else {
                    let address = b.ins().func_addr(I64, address);
                    b.ins().return_(&[address]);
                    return;
                };
                let (found, next) = (b.create_block(), b.create_block());
                let bits = b.ins().iconst(I64, needed(&choice.target) as i64);
                let masked = b.ins().band(have, bits);
                let fits = b.ins().icmp(IntCC::Equal, masked, bits);
                b.ins().brif(fits, found, &[], next, &[]);
                b.switch_to_block(found);
                let address = b.ins().func_addr(I64, address);
                b.ins().return_(&[address]);
                b.switch_to_block(next);
            }
            let null = b.ins().iconst(I64, 0);
            b.ins().return_(&[null]);
        })
    }
}

/// The weights' address behind the inputs; null where the list is.
fn weights_input(b: &mut FunctionBuilder<'_>, inputs: super::emit::Val, position: usize) -> super::emit::Val {
    let (load, join) = (b.create_block(), b.create_block());
    let address = b.append_block_param(join, I64);
    b.ins().brif(inputs, load, &[], join, &[inputs.into()]);
    b.switch_to_block(load);
    let found = b.ins().load(I64, super::emit::mem_flags(), inputs, position as i32 * 8);
    b.ins().jump(join, &[found.into()]);
    b.switch_to_block(join);
    address
}

/// The processor's bits: from the image, from `getauxval` on Linux and Android, else from the program.
fn cpu_features(b: &mut FunctionBuilder<'_>, c: Conventions, features: Option<usize>, target: &Target) -> super::emit::Val {
    let function = match (features, target.arch(), target.os) {
        (Some(position), ..) => import(b, position, c.getter()),
        (None, arch @ (Arch::Aarch64 | Arch::Riscv64), Os::Linux | Os::Android) => {
            let getauxval = import_external(b, External::Getauxval, c.getauxval());
            let capabilities = if arch == Arch::Aarch64 { AARCH64_CAPABILITIES } else { RISCV64_CAPABILITIES };
            let mut all = b.ins().iconst(I64, 0);
            for &(kind, bit, ours) in capabilities {
                let kind = b.ins().iconst(I64, kind);
                let call = b.ins().call(getauxval, &[kind]);
                let capabilities = b.inst_results(call)[0];
                let down = b.ins().iconst(I32, i64::from(bit));
                let moved = b.ins().ushr(capabilities, down);
                let one = b.ins().iconst(I64, 1);
                let set = b.ins().band(moved, one);
                let up = b.ins().iconst(I32, i64::from(ours.trailing_zeros()));
                let set = b.ins().ishl(set, up);
                all = b.ins().bor(all, set);
            }
            return all;
        }
        _ => import_external(b, External::CpuFeatures, c.getter()),
    };
    let call = b.ins().call(function, &[]);
    b.inst_results(call)[0]
}
