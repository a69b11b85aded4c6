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
