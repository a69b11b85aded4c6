//! The function that asks an x86-64 processor what it has, in machine code.
//!
//! `features() -> bits`: bit 0 for [`X86Level::V3`], bit 1 for [`X86Level::V4`], bit 2 for [`X86Level::V4Vnni`], bit 3 for [`X86Level::V4Amx`]
//! where that is asked for, bit 4 for [`X86Level::V3Vnni`]. It follows System V and Windows alike: it takes nothing, and of the registers that a function preserves it touches
//! `rbx` only, which it restores. A level counts where the processor has all its instructions and the system saves its registers. Linux saves
//! tiles for processes that have asked for them, which this function does; other systems are not asked.
//! Source of the leaves and bits: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2A, CPUID and XGETBV; of the permission:
//! Linux, Documentation/arch/x86/xstate.rst.

use crate::backend::Code;
use crate::target::X86Level;
use iced_x86::{BlockEncoder, BlockEncoderOptions, Code as Op, IcedError, Instruction, InstructionBlock, Register};

/// Where an answer of `cpuid` is kept.
const LEAF1_ECX: Register = Register::R8D;
const XCR0: Register = Register::R9D;
const LEAF7_EBX: Register = Register::R10D;
const LEAF7_ECX: Register = Register::R11D;
/// Only where tiles are asked for, which is not under the calling convention that preserves it.
const LEAF7_EDX: Register = Register::ESI;

/// FMA, MOVBE, OSXSAVE, AVX, F16C.
const V3_LEAF1_ECX: u32 = 1 << 12 | 1 << 22 | 1 << 27 | 1 << 28 | 1 << 29;
/// Leaf 0x8000_0001, ECX: LZCNT; kept as bit 31 of the copy of XCR0, which has no use for it.
const LZCNT: u32 = 1 << 31;
/// Leaf 7, subleaf 1, EAX: AVX-VNNI, of which processors without that subleaf say zero; kept as bit 30 of the copy of XCR0.
const AVX_VNNI: u32 = 1 << 30;
/// SSE and AVX state.
const V3_XCR0: u32 = 0b110 | LZCNT;
/// BMI1, AVX2, BMI2.
const V3_LEAF7_EBX: u32 = 1 << 3 | 1 << 5 | 1 << 8;
/// Mask registers, upper halves of zmm0-15, zmm16-31.
const V4_XCR0: u32 = 0b111 << 5;
/// AVX-512 F, DQ, CD, BW, VL.
const V4_LEAF7_EBX: u32 = 1 << 16 | 1 << 17 | 1 << 28 | 1 << 30 | 1 << 31;
/// AVX-512 VBMI, VNNI.
const VNNI_LEAF7_ECX: u32 = 1 << 1 | 1 << 11;

/// Leaf 7, EDX: AMX-BF16, AMX-TILE, AMX-INT8.
pub const AMX_LEAF7_EDX: u32 = 1 << 22 | 1 << 24 | 1 << 25;
/// Configuration and contents of tiles.
pub const AMX_XCR0: u32 = 0b11 << 17;
/// Number of the system call `arch_prctl` and its arguments `ARCH_REQ_XCOMP_PERM` and the component of the tiles' contents.
pub const PERMISSION: [u32; 3] = [158, 0x1023, 18];

/// The level's bit in the result.
pub const fn feature_bit(level: X86Level) -> u64 {
    match level {
        X86Level::Baseline => 0,
        X86Level::V3 => 1 << 0,
        X86Level::V4 => 1 << 1,
        X86Level::V4Vnni => 1 << 2,
        X86Level::V4Amx => 1 << 3,
        X86Level::V3Vnni => 1 << 4,
    }
}

/// Position of the end, which jumps to it need before it is known; the encoder replaces addresses of instructions by theirs.
const END: u64 = 0x10_000;
/// Position of what follows a level that others do not build on.
const NEXT: u64 = 0x10_001;

fn program(tiles: bool) -> Result<Vec<Instruction>, IcedError> {
    use Register::{EAX, EBX, ECX, EDI, EDX, ESI, RAX, RBX};
    let mut code = vec![Instruction::with1(Op::Push_r64, RBX)?];
    let leaf = |code: &mut Vec<Instruction>, number: u32| -> Result<(), IcedError> {
        code.push(Instruction::with2(Op::Mov_r32_imm32, EAX, number)?);
        code.push(Instruction::with2(Op::Xor_r32_rm32, ECX, ECX)?);
        code.push(Instruction::with(Op::Cpuid));
        Ok(())
    };
    let keep = |code: &mut Vec<Instruction>, to, from| -> Result<(), IcedError> {
        code.push(Instruction::with2(Op::Mov_r32_rm32, to, from)?);
        Ok(())
    };
    // Nothing is known of processors without leaf 7, nor of registers that the system does not say it saves.
    let leave_if_less = |code: &mut Vec<Instruction>, least: u32| -> Result<(), IcedError> {
        code.push(Instruction::with2(Op::Cmp_rm32_imm32, EAX, least)?);
        code.push(Instruction::with2(Op::Mov_r32_imm32, EAX, 0u32)?);
        code.push(Instruction::with_branch(Op::Jb_rel32_64, END)?);
        Ok(())
    };
    leaf(&mut code, 0)?;
    leave_if_less(&mut code, 7)?;
    leaf(&mut code, 0x8000_0000)?;
    leave_if_less(&mut code, 0x8000_0001)?;
    leaf(&mut code, 1)?;
    keep(&mut code, LEAF1_ECX, ECX)?;
    code.push(Instruction::with2(Op::Xor_r32_rm32, EAX, EAX)?);
    code.push(Instruction::with2(Op::Bt_rm32_imm8, ECX, 27u32)?);
    code.push(Instruction::with_branch(Op::Jae_rel32_64, END)?);
    leaf(&mut code, 7)?;
    keep(&mut code, LEAF7_EBX, EBX)?;
    keep(&mut code, LEAF7_ECX, ECX)?;
    if tiles {
        keep(&mut code, LEAF7_EDX, EDX)?;
    }
    code.push(Instruction::with2(Op::Xor_r32_rm32, ECX, ECX)?);
    code.push(Instruction::with(Op::Xgetbv));
    keep(&mut code, XCR0, EAX)?;
    leaf(&mut code, 0x8000_0001)?;
    code.push(Instruction::with2(Op::Shl_rm32_imm8, ECX, 31u32 - 5)?);
    code.push(Instruction::with2(Op::And_rm32_imm32, ECX, LZCNT)?);
    code.push(Instruction::with2(Op::Or_r32_rm32, XCR0, ECX)?);
    code.push(Instruction::with2(Op::Mov_r32_imm32, EAX, 7)?);
    code.push(Instruction::with2(Op::Mov_r32_imm32, ECX, 1)?);
    code.push(Instruction::with(Op::Cpuid));
    code.push(Instruction::with2(Op::Shl_rm32_imm8, EAX, 30u32 - 4)?);
    code.push(Instruction::with2(Op::And_rm32_imm32, EAX, AVX_VNNI)?);
    code.push(Instruction::with2(Op::Or_r32_rm32, XCR0, EAX)?);
    code.push(Instruction::with2(Op::Xor_r32_rm32, EAX, EAX)?);
    // Each level adds its bit to the result, or ends the search: all but one are nested.
    let v3 = [(LEAF1_ECX, V3_LEAF1_ECX), (XCR0, V3_XCR0), (LEAF7_EBX, V3_LEAF7_EBX)];
    let v3_vnni = [(XCR0, AVX_VNNI)];
    let v4 = [(XCR0, V4_XCR0), (LEAF7_EBX, V4_LEAF7_EBX)];
    let vnni = [(LEAF7_ECX, VNNI_LEAF7_ECX)];
    let amx = [(XCR0, AMX_XCR0), (LEAF7_EDX, AMX_LEAF7_EDX)];
    let levels = [
        (X86Level::V3, &v3[..]),
        (X86Level::V3Vnni, &v3_vnni[..]),
        (X86Level::V4, &v4[..]),
        (X86Level::V4Vnni, &vnni[..]),
        (X86Level::V4Amx, &amx[..]),
    ];
    for (level, tests) in levels.into_iter().take(if tiles { 5 } else { 4 }) {
        let (first, without) = (code.len(), if level == X86Level::V3Vnni { NEXT } else { END });
        for &(register, mask) in tests {
            code.push(Instruction::with2(Op::Mov_r32_rm32, EDX, register)?);
            code.push(Instruction::with2(Op::And_rm32_imm32, EDX, mask)?);
            code.push(Instruction::with2(Op::Cmp_rm32_imm32, EDX, mask)?);
            code.push(Instruction::with_branch(Op::Jne_rel32_64, without)?);
        }
        if level == X86Level::V4 {
            code[first].set_ip(NEXT);
        }
        if level == X86Level::V4Amx {
            // The call leaves all registers but these: rax, rcx and r11.
            let [number, what, component] = PERMISSION;
            keep(&mut code, LEAF7_EBX, EAX)?;
            for (to, value) in [(EAX, number), (EDI, what), (ESI, component)] {
                code.push(Instruction::with2(Op::Mov_r32_imm32, to, value)?);
            }
            code.push(Instruction::with(Op::Syscall));
            keep(&mut code, EDX, EAX)?;
            keep(&mut code, EAX, LEAF7_EBX)?;
            code.push(Instruction::with2(Op::Cmp_rm32_imm32, EDX, 0u32)?);
            code.push(Instruction::with_branch(Op::Jne_rel32_64, END)?);
        }
        code.push(Instruction::with2(Op::Or_rm32_imm32, EAX, feature_bit(level) as u32)?);
    }
    let mut end = Instruction::with1(Op::Pop_r64, RBX)?;
    end.set_ip(END);
    code.push(end);
    code.push(Instruction::with(Op::Retnq));
    debug_assert!(code.iter().all(|i| i.op0_register() != RAX));
    Ok(code)
}

/// Machine code of the function; `tiles` says whether it asks Linux for tiles.
///
/// # Errors
/// Where the encoder refuses an instruction: a bug.
pub fn features_function(tiles: bool) -> Result<Code, String> {
    let mut code = program(tiles).map_err(|e| e.to_string())?;
    // Jumps find their target by address: every other instruction has one that nobody names.
    for (i, instruction) in code.iter_mut().enumerate().filter(|(_, i)| ![NEXT, END].contains(&i.ip())) {
        instruction.set_ip(i as u64 + 1);
    }
    let block = InstructionBlock::new(&code, 0);
    let encoded = BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).map_err(|e| e.to_string())?;
    Ok(Code { bytes: encoded.code_buffer, align: 16 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{Cpu, Target};
    use std::collections::HashMap;

    /// A processor: what `cpuid` says of a leaf and subleaf (`eax`, `ebx`, `ecx`, `edx`), and what the system saves.
    #[derive(Clone)]
    struct Processor {
        leaves: HashMap<(u32, u32), [u32; 4]>,
        xcr0: u32,
    }

    impl Processor {
        /// AVX2, with an ordinary system.
        fn haswell() -> Processor {
            let leaves = [
                ((0, 0), [13, 0, 0, 0]),
                ((1, 0), [0, 0, V3_LEAF1_ECX, 0]),
                ((7, 0), [0, V3_LEAF7_EBX, 0, 0]),
                ((0x8000_0000, 0), [0x8000_0008, 0, 0, 0]),
                ((0x8000_0001, 0), [0, 0, 1 << 5, 0]),
            ];
            Processor { leaves: leaves.into_iter().collect(), xcr0: 0b111 }
        }

        fn with(mut self, leaf: (u32, u32), register: usize, bits: u32) -> Processor {
            self.leaves.entry(leaf).or_default()[register] |= bits;
            self
        }

        fn with_leaves(mut self, most: u32) -> Processor {
            self.leaves.insert((0, 0), [most, 0, 0, 0]);
            self
        }

        fn avx_vnni(self) -> Processor {
            self.with((7, 0), 0, 1).with((7, 1), 0, 1 << 4)
        }

        fn avx512(self) -> Processor {
            Processor { xcr0: 0xe7, ..self.with((7, 0), 1, V4_LEAF7_EBX) }
        }

        fn vnni(self) -> Processor {
            self.with((7, 0), 2, VNNI_LEAF7_ECX)
        }

        fn amx(self) -> Processor {
            Processor { xcr0: self.xcr0 | AMX_XCR0, ..self.with((7, 0), 3, AMX_LEAF7_EDX) }
        }

        /// What the function gives there, where the system grants tiles.
        fn bits(&self, tiles: bool) -> u64 {
            let code = program(tiles).expect("instructions");
            let mut registers: HashMap<Register, u32> = HashMap::new();
            let (mut at, mut equal, mut below) = (0, false, false);
            loop {
                let i = &code[at];
                at += 1;
                let (to, from) = (i.op0_register(), i.op1_register());
                let [old, other] = [to, from].map(|r| registers.get(&r).copied().unwrap_or(0xdead_beef));
                let jumps = match i.code() {
                    Op::Push_r64 | Op::Pop_r64 => false,
                    Op::Retnq => return u64::from(registers[&Register::EAX]),
                    Op::Cpuid => {
                        let leaf = (registers[&Register::EAX], registers[&Register::ECX]);
                        let said = self.leaves.get(&leaf).copied().unwrap_or_default();
                        registers.extend([Register::EAX, Register::EBX, Register::ECX, Register::EDX].into_iter().zip(said));
                        false
                    }
                    Op::Xgetbv => {
                        registers.extend([(Register::EAX, self.xcr0), (Register::EDX, 0)]);
                        false
                    }
                    Op::Syscall => {
                        registers.insert(Register::EAX, 0);
                        false
                    }
                    Op::Jb_rel32_64 => below,
                    Op::Jae_rel32_64 => !below,
                    Op::Jne_rel32_64 => !equal,
                    Op::Cmp_rm32_imm32 => {
                        (equal, below) = (old == i.immediate32(), old < i.immediate32());
                        false
                    }
                    Op::Bt_rm32_imm8 => {
                        below = old >> i.immediate8() & 1 == 1;
                        false
                    }
                    op => {
                        let new = match op {
                            Op::Mov_r32_imm32 => i.immediate32(),
                            Op::Mov_r32_rm32 => other,
                            Op::Xor_r32_rm32 => old ^ other,
                            Op::Or_r32_rm32 => old | other,
                            Op::And_rm32_imm32 => old & i.immediate32(),
                            Op::Or_rm32_imm32 => old | i.immediate32(),
                            Op::Shl_rm32_imm8 => old << i.immediate8(),
                            op => panic!("{op:?} is not known here"),
                        };
                        registers.insert(to, new);
                        false
                    }
                };
                if jumps {
                    at = code.iter().position(|to| to.ip() == i.near_branch_target()).expect("a place");
                }
            }
        }

        /// The level that an object with all of them takes.
        fn level(&self) -> String {
            let bits = self.bits(true);
            let fits = |cpu: &Cpu| matches!(cpu, Cpu::X86(level) if bits & feature_bit(*level) == feature_bit(*level));
            Target::CPU_NAMES.iter().rfind(|row| fits(&row.1)).map(|row| row.0.to_string()).unwrap_or_default()
        }
    }

    #[test]
    fn every_processor_gets_its_level() {
        let haswell = Processor::haswell;
        for (processor, expected) in [
            (haswell(), "x86-64-v3"),
            (Processor { xcr0: 0b011, ..haswell() }, "x86-64"),
            (haswell().with_leaves(6), "x86-64"),
            // Alder Lake, Sierra Forest; the same where the system saves no wide registers.
            (haswell().avx_vnni(), "x86-64-v3+vnni"),
            (Processor { xcr0: 0b011, ..haswell().avx_vnni() }, "x86-64"),
            // Skylake with AVX-512; one that had AVX-VNNI as well.
            (haswell().avx512(), "x86-64-v4"),
            (haswell().avx512().avx_vnni(), "x86-64-v4"),
            // Ice Lake; Zen 5; where the system saves nothing of AVX-512, AVX-VNNI is left of the latter.
            (haswell().avx512().vnni(), "x86-64-v4+vnni"),
            (haswell().avx512().vnni().avx_vnni(), "x86-64-v4+vnni"),
            (Processor { xcr0: 0b111, ..haswell().avx512().vnni().avx_vnni() }, "x86-64-v3+vnni"),
            // Sapphire Rapids, and without the registers of tiles.
            (haswell().avx512().vnni().avx_vnni().amx(), "x86-64-v4+amx"),
            (Processor { xcr0: 0xe7, ..haswell().avx512().vnni().avx_vnni().amx() }, "x86-64-v4+vnni"),
        ] {
            assert_eq!(processor.level(), expected, "{:x?} {:#x}", processor.leaves, processor.xcr0);
            assert_eq!(processor.bits(false), processor.bits(true) & !feature_bit(X86Level::V4Amx));
        }
    }

    #[test]
    fn names_and_levels_have_one_order() {
        let names: Vec<Cpu> = Target::CPU_NAMES.iter().map(|row| row.1).filter(|cpu| matches!(cpu, Cpu::X86(_))).collect();
        assert_eq!(names, X86Level::ALL.map(Cpu::X86));
    }
}
