//! AVX-VNNI: its kernels have no instruction of AVX-512, and give what those of the level below give.
//!
//! Processors with AVX2 alone run them as well: [`without_vnni`] writes the same machine code with its dot products taken apart, so that registers,
//! frames and whatever else stands around them are those of the real code.

use super::run::{Guarded, LEVELS, call, runnable, runs};
use crate::backend::Code;
use crate::backend::x86::{compile, disassemble};
use crate::target::{Cpu, Target, X86Level};
use iced_x86::{BlockEncoder, BlockEncoderOptions, Code as Op, Decoder, DecoderOptions, Instruction, InstructionBlock};
use iced_x86::{MemoryOperand, Mnemonic, OpKind, Register};
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::{Addr, Builder, DotSigns, Elem, Kernel, Mem, Narrow, Type};
use tflc_templates::cpu::table::{Case, Dtype, ROWS, Row, Shape};

/// The instructions of a function, the first at address `ip`.
fn instructions(code: &Code, ip: u64) -> Vec<Instruction> {
    let mut end = ip + code.bytes.len() as u64;
    let mut all = vec![];
    for i in Decoder::with_ip(64, &code.bytes, ip, DecoderOptions::NONE) {
        // Constants begin at the first address that code reads, behind a trap where there is padding.
        if i.ip() >= end || i.code() == Op::Int3 {
            break;
        }
        assert!(!i.is_invalid(), "{:#x} does not decode\n{}", i.ip() - ip, disassemble(code));
        if i.is_ip_rel_memory_operand() {
            end = end.min(i.ip_rel_memory_address());
        }
        all.push(i);
    }
    all
}

/// A function that does what `code` does, without `vpdpbusd` and `vpdpwssd`: for AVX2.
pub(super) fn without_vnni(code: &Code) -> Code {
    // What is written comes first, then the function as it was, whose constants are read.
    let room = (code.bytes.len() * 32).next_multiple_of(64);
    let mut written = vec![];
    for i in instructions(code, room as u64) {
        match i.mnemonic() {
            Mnemonic::Vpdpbusd | Mnemonic::Vpdpwssd => taken_apart(&i, &mut written),
            _ => written.push(i),
        }
    }
    let block = BlockEncoder::encode(64, InstructionBlock::new(&written, 0), BlockEncoderOptions::NONE).expect("encodes");
    let mut bytes = block.code_buffer;
    assert!(bytes.len() <= room);
    bytes.resize(room, 0xcc);
    bytes.extend_from_slice(&code.bytes);
    Code { bytes, align: code.align }
}

/// The dot product `i` in instructions of AVX2. Kernels call nobody, so that what lies below the stack pointer is free to keep three registers.
fn taken_apart(i: &Instruction, out: &mut Vec<Instruction>) {
    let first = out.len();
    let (acc, a) = (i.op0_register(), i.op1_register());
    let wide = acc.is_ymm();
    assert!(wide || acc.is_xmm(), "{i}");
    let base = if wide { Register::YMM0 } else { Register::XMM0 };
    let free: Vec<u32> = (0..16).filter(|&n| ![acc, a, i.op2_register()].contains(&(base + n))).take(3).collect();
    let [x, y, z] = [0, 1, 2].map(|n| base + free[n]);
    let kept = |n: usize| MemoryOperand::with_base_displ(Register::RSP, -32 * (n as i64 + 1));
    for (n, &r) in free.iter().enumerate() {
        out.push(Instruction::with2(Op::VEX_Vmovdqu_ymmm256_ymm, kept(n), Register::YMM0 + r).expect("a store"));
    }
    let load = if wide { Op::VEX_Vmovdqu_ymm_ymmm256 } else { Op::VEX_Vmovdqu_xmm_xmmm128 };
    out.push(match i.op2_kind() {
        OpKind::Memory => {
            let (base, index, scale) = (i.memory_base(), i.memory_index(), i.memory_index_scale());
            let at = MemoryOperand::new(base, index, scale, i.memory_displacement64() as i64, 8, false, Register::None);
            Instruction::with2(load, z, at).expect("a load")
        }
        _ => Instruction::with2(load, z, i.op2_register()).expect("a copy"),
    });
    let pick = |narrow, full| if wide { full } else { narrow };
    let left = pick(Op::VEX_Vpsllw_xmm_xmm_imm8, Op::VEX_Vpsllw_ymm_ymm_imm8);
    let unsigned = pick(Op::VEX_Vpsrlw_xmm_xmm_imm8, Op::VEX_Vpsrlw_ymm_ymm_imm8);
    let signed = pick(Op::VEX_Vpsraw_xmm_xmm_imm8, Op::VEX_Vpsraw_ymm_ymm_imm8);
    let multiply = pick(Op::VEX_Vpmaddwd_xmm_xmm_xmmm128, Op::VEX_Vpmaddwd_ymm_ymm_ymmm256);
    let add = pick(Op::VEX_Vpaddd_xmm_xmm_xmmm128, Op::VEX_Vpaddd_ymm_ymm_ymmm256);
    let three = |op, d: Register, a: Register, b: Register| Instruction::with3(op, d, a, b).expect("registers");
    let shift = |op, d: Register, a: Register| Instruction::with3(op, d, a, 8).expect("a shift");
    if i.mnemonic() == Mnemonic::Vpdpwssd {
        out.extend([three(multiply, x, a, z), three(add, acc, acc, x)]);
    } else {
        // Even bytes, then odd ones, as 16-bit lanes.
        out.extend([shift(left, x, a), shift(unsigned, x, x), shift(left, y, z), shift(signed, y, y), three(multiply, x, x, y)]);
        out.extend([shift(unsigned, y, a), shift(signed, z, z), three(multiply, y, y, z), three(add, x, x, y), three(add, acc, acc, x)]);
    }
    for (n, &r) in free.iter().enumerate() {
        out.push(Instruction::with2(Op::VEX_Vmovdqu_ymm_ymmm256, Register::YMM0 + r, kept(n)).expect("a load"));
    }
    // Jumps to the dot product go to what replaces it.
    out[first].set_ip(i.ip());
}

/// `output[i] += input[i] · weights[i]` in vectors of so many dwords.
fn dots(lanes: u16) -> Kernel {
    let mut b = Builder::new("dots");
    let [output, input, weights] = ["output", "input", "weights"].map(|name| b.ptr_param(name));
    let (ints, bytes) = (Type::vector(Elem::I32, lanes), Type::vector(Elem::I8, lanes * 4));
    let at = |p| Addr::new(p);
    let (x, w, acc) = (b.load(bytes, Mem::S8, at(input)), b.load(bytes, Mem::S8, at(weights)), b.load(ints, Mem::S32, at(output)));
    let sum = b.dot4(DotSigns::UnsignedSigned, acc, x, w);
    b.store(Mem::S32, Narrow::Wrap, at(output), sum);
    b.finish()
}

#[test]
fn dot_products_of_bytes_are_one_instruction() {
    for (lanes, op) in [(4, Op::VEX_Vpdpbusd_xmm_xmm_xmmm128), (8, Op::VEX_Vpdpbusd_ymm_ymm_ymmm256)] {
        let code = compile(&dots(lanes), X86Level::V3Vnni).expect("compiles");
        let found: Vec<Instruction> = instructions(&code, 0).into_iter().filter(|i| i.mnemonic() == Mnemonic::Vpdpbusd).collect();
        let [dot] = found[..] else { panic!("{}", disassemble(&code)) };
        assert_eq!(dot.code(), op);
        // Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2C: VEX.128.66.0F38.W0 50 /r, VEX.256.66.0F38.W0 50 /r.
        let bytes = &code.bytes[dot.ip() as usize..dot.next_ip() as usize];
        assert_eq!((bytes[0], bytes[1] & 0x1f, bytes[2] & 0x87, bytes[3]), (0xc4, 2, if lanes == 8 { 0x05 } else { 0x01 }, 0x50));
    }
}

/// Bytes at the ends of their ranges: sums of products are exact, and the sum wraps.
#[test]
fn dot_products_of_extreme_bytes_are_exact() {
    let kernel = dots(8);
    let Some(code) = runnable(&compile(&kernel, X86Level::V3Vnni).expect("compiles"), X86Level::V3Vnni) else { return };
    let ends = [0x00u8, 0x01, 0x7f, 0x80, 0xff];
    for case in 0..625usize {
        let pick = |i: usize| ends[case / 5usize.pow(i as u32 % 4) % 5];
        let (x, w): (Vec<u8>, Vec<u8>) = (0..32).map(|i| (pick(i), pick(i + i / 4 + 1))).unzip();
        let mut expected: Vec<u8> = [i32::MAX, i32::MIN, 0, -1, 1, 7, i32::MAX - 3, i32::MIN + 3].map(i32::to_le_bytes).concat();
        let buffers = [&expected, &x, &w].map(|bytes| Guarded::new(bytes));
        let mut memory = Memory::new();
        let output = memory.add_mut(&mut expected);
        let args = [output, memory.add_shared(&x), memory.add_shared(&w)].map(Arg::Ptr);
        run(&kernel, &args, &mut memory, 0, 1).expect("runs");
        drop(memory);
        call(&code, &buffers.each_ref().map(Guarded::address), 0, 1);
        assert_eq!(buffers[0].bytes(), expected, "{x:?} {w:?}");
    }
}

/// The quantised rows of the kernel table.
fn quantized() -> impl Iterator<Item = &'static Row> {
    ROWS.iter().filter(|row| row.dtype != Dtype::F32)
}

fn case(row: &Row, level: X86Level) -> (Case, Code) {
    let mut case = row.make(&Target::new(Cpu::X86(level)).caps());
    tflc_kir::optimize(&mut case.kernel);
    let code = compile(&case.kernel, level).unwrap_or_else(|e| panic!("{} {level:?}: {e}", row.name()));
    (case, code)
}

#[test]
fn quantized_kernels_have_dot_products_and_nothing_of_avx_512() {
    for row in quantized() {
        let (_, code) = case(row, X86Level::V3Vnni);
        let all = instructions(&code, 0);
        // The first byte of the EVEX prefix, which means nothing else in 64-bit mode.
        let evex = all.iter().find(|i| code.bytes[i.ip() as usize] == 0x62);
        assert!(evex.is_none(), "{}: {}", row.name(), evex.map(ToString::to_string).unwrap_or_default());
        let count = |m: Mnemonic| all.iter().filter(|i| i.mnemonic() == m).count();
        assert!(count(Mnemonic::Vpdpbusd) > 0 && count(Mnemonic::Vpmaddwd) == 0, "{}\n{}", row.name(), disassemble(&code));
    }
}

/// Integers have one right answer: every level that runs here, and AVX-VNNI in any case, gives the same.
#[test]
fn quantized_kernels_give_the_same_at_every_level() {
    if !runs(X86Level::V3) {
        return;
    }
    // The larger rows differ from the smaller ones in how often loops run.
    let macs = |row: &Row| match row.shape {
        Shape::Gemm(m, n, k) => m * n * k,
        _ => 0,
    };
    for row in quantized().filter(|row| macs(row) < 100 << 20) {
        let mut first: Option<Vec<u8>> = None;
        for level in LEVELS {
            let (case, code) = case(row, level);
            let Some(code) = runnable(&code, level) else { continue };
            let buffers: Vec<Guarded> = [&case.a, &case.packed, &vec![0xcc; case.c_bytes]].into_iter().map(|b| Guarded::new(b)).collect();
            let operands: Vec<Guarded> = case.operands.iter().map(|b| Guarded::new(b)).collect();
            let args: Vec<u64> = buffers.iter().chain(&operands).map(Guarded::address).collect();
            call(&code, &args, 0, case.units as i64);
            let got = buffers[2].bytes();
            assert!(*first.get_or_insert_with(|| got.clone()) == got, "{} {level:?}", row.name());
        }
    }
}
