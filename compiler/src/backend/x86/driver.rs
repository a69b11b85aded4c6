//! The driver of a program: `invoke` and its helpers, written directly.
//!
//! The same functions as Cranelift's driver makes, with the same names, order and conventions, for systems where C follows System V. What they do needs
//! no register allocation: the arguments of `invoke` stay in registers that calls preserve, everything else lives for a few instructions. A
//! general code generator took as long for them as for a third of a small network's kernels.

mod asm;
mod part;

use super::abi::gpr;
use super::emit::gpr64;
use crate::backend::image::Function;
use crate::backend::steps::{self, Emit, Frame, STATUS_INVALID_ARGUMENT, task};
use crate::backend::{BackendError, Code};
use crate::lower::program::{ARENA_ALIGN, Program, Step};
use asm::{Asm, Register};
use iced_x86::Code as Op;
use std::ops::Range;

/// Arguments of `invoke` and of its parts: weights, arena, state, inputs, outputs, parallel.
const ARGS: [Register; 6] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// The frame of a function that calls, of a task's size: with its return address it is a multiple of 16.
const TASK_BYTES: i32 = task::BYTES as i32;

/// Where they are kept: the registers that a function preserves, in the order in which they are saved.
const KEPT: [Register; 6] = [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// The functions that run a program, to be placed behind its kernels.
///
/// # Errors
/// Where the encoder refuses an instruction: a bug.
pub fn driver(program: &Program) -> Result<Vec<Function>, BackendError> {
    steps::driver(program, &mut Direct)
}

/// Writes functions directly.
struct Direct;

impl Emit for Direct {
    fn entry(&mut self, name: String, program: &Program, ports: [usize; 2], parts: Range<usize>) -> Result<Function, BackendError> {
        function(name, |a| entry(a, program, ports, parts))
    }

    fn part(&mut self, name: String, steps: &[Step], frame: Frame<'_>) -> Result<Function, BackendError> {
        function(name, |a| part::emit(a, steps, frame))
    }

    fn dispatch(&mut self, name: String, task: usize) -> Result<Function, BackendError> {
        function(name, |a| emit_dispatch(a, task))
    }

    fn task(&mut self, name: String) -> Result<Function, BackendError> {
        function(name, emit_task)
    }
}

fn function(name: String, emit: impl FnOnce(&mut Asm)) -> Result<Function, BackendError> {
    let mut asm = Asm::new();
    emit(&mut asm);
    match asm.finish() {
        Ok((bytes, links, references)) => Ok(Function { name, code: Code { bytes, align: 16 }, links, references }),
        Err(reason) => Err(BackendError { kernel: name, reason }),
    }
}

/// Saves the registers of [`KEPT`], keeps the arguments in them and makes room for `bytes` on the stack, at `rsp`.
fn prologue(a: &mut Asm, bytes: i32) -> i32 {
    KEPT.iter().for_each(|r| a.push(*r));
    KEPT.iter().zip(ARGS).for_each(|(to, from)| a.mov(*to, from));
    // Six registers and the return address: the frame makes it a multiple of 16.
    let bytes = (bytes + 7) / 16 * 16 + 8;
    a.add_imm(Register::RSP, -bytes);
    bytes
}

/// Returns what is in `eax`.
fn epilogue(a: &mut Asm, bytes: i32) {
    a.add_imm(Register::RSP, bytes);
    KEPT.iter().rev().for_each(|r| a.pop(*r));
    a.ret();
}

/// Checks the arguments, then runs the parts.
fn entry(a: &mut Asm, program: &Program, ports: [usize; 2], parts: Range<usize>) {
    let (invalid, leave) = (a.label(), a.label());
    let bytes = prologue(a, 0);
    let refuse_null = |a: &mut Asm, r: Register| {
        a.test(r);
        a.branch(Op::Je_rel32_64, invalid);
    };
    for (base, bytes) in KEPT.into_iter().zip([program.weights_bytes, program.arena_bytes, program.state_bytes]) {
        if bytes > 0 {
            refuse_null(a, base);
            a.test_imm(base, ARENA_ALIGN as i32 - 1);
            a.branch(Op::Jne_rel32_64, invalid);
        }
    }
    // The lists themselves, before anything is read from them.
    for (list, count) in KEPT[3..].iter().zip(ports) {
        if count > 0 {
            refuse_null(a, *list);
        }
    }
    for (list, count) in KEPT[3..].iter().zip(ports) {
        for i in 0..count {
            a.load(Register::RAX, *list, i as i32 * 8);
            refuse_null(a, Register::RAX);
        }
    }
    for part in parts {
        KEPT.iter().zip(ARGS).for_each(|(from, to)| a.mov(to, *from));
        a.call(part);
        a.test_status();
        a.branch(Op::Jne_rel32_64, leave);
    }
    a.imm(Register::RAX, 0);
    a.bind(leave);
    epilogue(a, bytes);
    a.bind(invalid);
    a.imm(Register::RAX, STATUS_INVALID_ARGUMENT as u64);
    a.branch(Op::Jmp_rel32_64, leave);
}

/// `dispatch(kernel, slots, units, grain, parallel) -> status`: on the pool if there is one, else here.
fn emit_dispatch(a: &mut Asm, task: usize) {
    let [kernel, slots, units, grain, parallel] = [0, 1, 2, 3, 4].map(|i| ARGS[i]);
    let pooled = a.label();
    a.test(parallel);
    a.branch(Op::Jne_rel32_64, pooled);
    a.mov(Register::RAX, kernel);
    a.mov(ARGS[0], slots);
    a.imm(ARGS[1], 0);
    a.jump_to(Register::RAX);

    a.bind(pooled);
    a.add_imm(Register::RSP, -TASK_BYTES);
    a.imm(Register::RAX, 0);
    let context = [(slots, task::SLOTS), (Register::RAX, task::STATUS), (grain, task::GRAIN), (units, task::UNITS), (kernel, task::KERNEL)];
    context.into_iter().for_each(|(r, at)| a.store(Register::RSP, at, r));
    a.lea_sum(Register::RAX, units, grain, -1);
    a.divide(grain);
    // run(parallel, task, context, count)
    a.mov(ARGS[3], Register::RAX);
    a.mov(ARGS[2], Register::RSP);
    a.address_of(ARGS[1], task);
    a.mov(ARGS[0], parallel);
    a.call_at(parallel, 0);
    a.load_status(Register::RSP, task::STATUS);
    a.add_imm(Register::RSP, TASK_BYTES);
    a.ret();
}

/// `task(context, i)`: runs the kernel over the units of task `i`, and leaves a status that is not zero in the context.
fn emit_task(a: &mut Asm) {
    let (kept, grain, units) = (gpr64(gpr::RBX), Register::RAX, Register::RCX);
    let [slots, begin, end] = [0, 1, 2].map(|i| ARGS[i]);
    let done = a.label();
    a.push(kept);
    a.mov(kept, ARGS[0]);
    a.load(grain, kept, task::GRAIN);
    a.multiply(begin, grain);
    a.lea_sum(end, begin, grain, 0);
    a.load(units, kept, task::UNITS);
    a.min(end, units);
    a.load(slots, kept, task::SLOTS);
    a.call_at(kept, task::KERNEL);
    a.test_status();
    a.branch(Op::Je_rel32_64, done);
    // Any failing task may win; the pool's end of the call orders this store before the load in `dispatch`.
    a.store_status(kept, task::STATUS);
    a.bind(done);
    a.pop(kept);
    a.ret();
}
