//! The driver: `invoke` and its helpers, generated from a [`Program`].
//!
//! `invoke` has the C signature of the run-time ABI and runs the program's calls in order: it writes the argument slots of each
//! into a block on its own stack and calls the kernel by a direct, relative call. A call of more than one grain goes through `dispatch`, which hands it to the
//! caller's thread pool where there is one; the pool calls `task`, which turns a task index into a range of the kernel's units. Long programs are cut into
//! parts, so that no function grows without bound. Function j of the result has position `program.kernels.len() + j` in the image, behind the
//! kernels; `invoke` comes first.

use super::Compiler;
use super::emit::{Val, mem_flags};
use super::function::{Conventions, dispatch_signature, enter, import, import_external, kernel_signature};
use crate::backend::BackendError;
use crate::backend::image::Function;
use crate::backend::steps::{self, Emit, Frame, STATUS_INVALID_ARGUMENT, is_split, task};
use crate::lower::program::{Call, External, Place, Program, Region, STATUS_ITERATION_LIMIT, Step};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{Block, BlockArg, FuncRef, InstBuilder, Signature, StackSlot, StackSlotData, StackSlotKind};
use cranelift_frontend::FunctionBuilder;
use std::collections::HashMap;
use std::ops::Range;

impl Compiler {
    /// The functions that run a program, to be placed behind its kernels.
    ///
    /// # Errors
    /// Where Cranelift refuses the code: a bug.
    pub fn driver(&mut self, program: &Program) -> Result<Vec<Function>, BackendError> {
        steps::driver(program, self)
    }
}

impl Emit for Compiler {
    fn entry(&mut self, name: String, program: &Program, ports: [usize; 2], parts: Range<usize>) -> Result<Function, BackendError> {
        let c = self.conventions;
        self.define(name, |b| emit_entry(b, c, program, ports, parts))
    }

    fn part(&mut self, name: String, steps: &[Step], frame: Frame<'_>) -> Result<Function, BackendError> {
        let c = self.conventions;
        self.define(name, |b| Part::emit(b, c, steps, frame))
    }

    fn dispatch(&mut self, name: String, task: usize) -> Result<Function, BackendError> {
        let c = self.conventions;
        self.define(name, |b| emit_dispatch(b, c, task))
    }

    fn task(&mut self, name: String) -> Result<Function, BackendError> {
        let c = self.conventions;
        self.define(name, |b| emit_task(b, c))
    }
}

/// Leaves the function with `status` where it is not zero.
fn leave_unless_zero(b: &mut FunctionBuilder<'_>, status: Val) {
    let (fail, next) = (b.create_block(), b.create_block());
    b.set_cold_block(fail);
    b.ins().brif(status, fail, &[], next, &[]);
    b.switch_to_block(fail);
    b.ins().return_(&[status]);
    b.switch_to_block(next);
}

/// Checks the arguments, then runs the parts.
fn emit_entry(b: &mut FunctionBuilder<'_>, c: Conventions, program: &Program, ports: [usize; 2], parts: Range<usize>) {
    let args = enter(b, c.invoke());
    // The lists themselves, before anything is read from them.
    for (&list, count) in args[3..].iter().zip(ports) {
        if count > 0 {
            let zero = b.ins().iconst(I64, 0);
            let bad = b.ins().icmp(IntCC::Equal, list, zero);
            let (status, ok) = (b.ins().iconst(I32, STATUS_INVALID_ARGUMENT), b.ins().iconst(I32, 0));
            let status = b.ins().select(bad, status, ok);
            leave_unless_zero(b, status);
        }
    }
    let mut invalid = b.ins().iconst(I8, 0);
    let mut refuse = |b: &mut FunctionBuilder<'_>, bad: Val| invalid = b.ins().bor(invalid, bad);
    let align = crate::lower::program::ARENA_ALIGN as i64 - 1;
    for (&base, bytes) in args.iter().zip([program.weights_bytes, program.arena_bytes, program.state_bytes]) {
        if bytes > 0 {
            let low = b.ins().iconst(I64, align);
            let low = b.ins().band(base, low);
            let zero = b.ins().iconst(I64, 0);
            let bad = b.ins().icmp(IntCC::NotEqual, low, zero);
            refuse(b, bad);
            let bad = b.ins().icmp(IntCC::Equal, base, zero);
            refuse(b, bad);
        }
    }
    for (&list, count) in args[3..].iter().zip(ports) {
        for i in 0..count {
            let pointer = b.ins().load(I64, mem_flags(), list, i as i32 * 8);
            let zero = b.ins().iconst(I64, 0);
            let bad = b.ins().icmp(IntCC::Equal, pointer, zero);
            refuse(b, bad);
        }
    }
    let status = b.ins().iconst(I32, STATUS_INVALID_ARGUMENT);
    let ok = b.ins().iconst(I32, 0);
    let status = b.ins().select(invalid, status, ok);
    leave_unless_zero(b, status);
    for part in parts {
        let part = import(b, part, c.part());
        let call = b.ins().call(part, &args);
        let status = b.inst_results(call)[0];
        leave_unless_zero(b, status);
    }
    let ok = b.ins().iconst(I32, 0);
    b.ins().return_(&[ok]);
}

/// `dispatch(kernel, slots, units, grain, parallel) -> status`: on the pool if there is one, else here.
fn emit_dispatch(b: &mut FunctionBuilder<'_>, c: Conventions, task: usize) {
    let args = enter(b, dispatch_signature());
    let &[kernel, slots, units, grain, parallel] = &args[..] else { return };
    let (pooled, alone) = (b.create_block(), b.create_block());
    b.ins().brif(parallel, pooled, &[], alone, &[]);

    b.switch_to_block(alone);
    let begin = b.ins().iconst(I64, 0);
    let status = call_kernel(b, kernel, [slots, begin, units]);
    b.ins().return_(&[status]);

    b.switch_to_block(pooled);
    let context = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, task::BYTES, 3));
    let context = b.ins().stack_addr(I64, context, 0);
    let zero = b.ins().iconst(I64, 0);
    for (v, at) in [(slots, task::SLOTS), (zero, task::STATUS), (grain, task::GRAIN), (units, task::UNITS), (kernel, task::KERNEL)] {
        b.ins().store(mem_flags(), v, context, at);
    }
    let task = import(b, task, c.task());
    let task = b.ins().func_addr(I64, task);
    let less = b.ins().iadd_imm_s(grain, -1);
    let rounded = b.ins().iadd(units, less);
    let count = b.ins().udiv(rounded, grain);
    let run = b.ins().load(I64, mem_flags(), parallel, 0);
    let signature = b.import_signature(c.run());
    b.ins().call_indirect(signature, run, &[parallel, task, context, count]);
    let status = b.ins().load(I32, mem_flags(), context, task::STATUS);
    b.ins().return_(&[status]);
}

fn call_kernel(b: &mut FunctionBuilder<'_>, kernel: Val, args: [Val; 3]) -> Val {
    let signature = b.import_signature(kernel_signature());
    let call = b.ins().call_indirect(signature, kernel, &args);
    b.inst_results(call)[0]
}

/// `task(context, i)`: runs the kernel over the units of task `i`, and leaves a status that is not zero in the context.
fn emit_task(b: &mut FunctionBuilder<'_>, c: Conventions) {
    let args = enter(b, c.task());
    let (context, index) = (args[0], args[1]);
    let [slots, grain, units, kernel] =
        [task::SLOTS, task::GRAIN, task::UNITS, task::KERNEL].map(|at| b.ins().load(I64, mem_flags(), context, at));
    let begin = b.ins().imul(index, grain);
    let end = b.ins().iadd(begin, grain);
    let end = b.ins().smin(end, units);
    let status = call_kernel(b, kernel, [slots, begin, end]);
    let (fail, done) = (b.create_block(), b.create_block());
    b.ins().brif(status, fail, &[], done, &[]);
    b.switch_to_block(fail);
    // Any failing task may win; the pool's end of the call orders this store before the driver's load.
    b.ins().store(mem_flags(), status, context, task::STATUS);
    b.ins().jump(done, &[]);
    b.switch_to_block(done);
    b.ins().return_(&[]);
}

/// Emits a run of steps.
struct Part<'a, 'b, 'f> {
    b: &'b mut FunctionBuilder<'f>,
    conventions: Conventions,
    args: Vec<Val>,
    slots: StackSlot,
    /// Position of `dispatch`.
    dispatch: usize,
    /// Symbols of custom operators' functions.
    symbols: &'a [String],
    functions: HashMap<usize, FuncRef>,
    /// Returns the status it is given.
    fail: Block,
    /// Number of the iteration of the innermost repetition.
    iteration: Option<Val>,
}

impl Part<'_, '_, '_> {
    fn emit(b: &mut FunctionBuilder<'_>, conventions: Conventions, steps: &[Step], frame: Frame<'_>) {
        let Frame { slots, dispatch, symbols } = frame;
        let args = enter(b, conventions.part());
        let slots = b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, slots.max(1) as u32 * 8, 3));
        let fail = b.create_block();
        b.set_cold_block(fail);
        let status = b.append_block_param(fail, I32);
        let mut part = Part { b, conventions, args, slots, dispatch, symbols, functions: HashMap::new(), fail, iteration: None };
        part.steps(steps);
        let ok = part.b.ins().iconst(I32, 0);
        part.b.ins().return_(&[ok]);
        b.switch_to_block(fail);
        b.ins().return_(&[status]);
    }

    /// Leaves the function with `status` where it is not zero.
    fn leave_unless_zero(&mut self, status: Val) {
        let next = self.b.create_block();
        self.b.ins().brif(status, self.fail, &[BlockArg::Value(status)], next, &[]);
        self.b.switch_to_block(next);
    }

    fn steps(&mut self, steps: &[Step]) {
        for s in steps {
            match s {
                Step::Call(c) => self.call(c),
                Step::External(e) => self.external(e),
                Step::If { condition, then, otherwise } => self.if_else(condition, then, otherwise),
                Step::Repeat { count, body } => self.repeat(*count, body),
                Step::While { test, condition, body, limit } => self.while_loop(test, condition, body, *limit),
            }
        }
    }

    /// Base address and offset of a place; an offset that no displacement holds is added here.
    fn place(&mut self, place: &Place) -> (Val, i32) {
        let base = match place.region {
            Region::Weights => self.args[0],
            Region::Arena => self.args[1],
            Region::State => self.args[2],
            Region::Input(i) => self.b.ins().load(I64, mem_flags(), self.args[3], i as i32 * 8),
            Region::Output(i) => self.b.ins().load(I64, mem_flags(), self.args[4], i as i32 * 8),
        };
        match i32::try_from(place.offset) {
            Ok(offset) => (base, offset),
            Err(_) => {
                let offset = self.b.ins().iconst(I64, place.offset as i64);
                (self.b.ins().iadd(base, offset), 0)
            }
        }
    }

    fn function(&mut self, position: usize, signature: impl FnOnce() -> Signature) -> FuncRef {
        match self.functions.get(&position) {
            Some(&f) => f,
            None => {
                let f = import(self.b, position, signature());
                self.functions.insert(position, f);
                f
            }
        }
    }

    fn call(&mut self, call: &Call) {
        let slots = self.b.ins().stack_addr(I64, self.slots, 0);
        for (i, place) in call.args.iter().enumerate() {
            let (base, offset) = self.place(place);
            let mut address = if offset == 0 { base } else { self.b.ins().iadd_imm_s(base, i64::from(offset)) };
            if let (Some(&step), Some(iteration)) = (call.advance.get(i).filter(|s| **s != 0), self.iteration) {
                let moved = self.b.ins().imul_imm_s(iteration, step);
                address = self.b.ins().iadd(address, moved);
            }
            self.b.ins().store(mem_flags(), address, slots, i as i32 * 8);
        }
        let status = if is_split(call) { self.call_split(call, slots) } else { self.call_serial(call, slots) };
        self.leave_unless_zero(status);
    }

    /// `function(context, arguments) -> status`: a function that a linker finds gets the description in the weights, another one and its context are read
    /// from there.
    fn external(&mut self, external: &External) {
        let slots = self.b.ins().stack_addr(I64, self.slots, 0);
        for (i, place) in external.args.iter().enumerate() {
            let (base, offset) = self.place(place);
            let address = if offset == 0 { base } else { self.b.ins().iadd_imm_s(base, i64::from(offset)) };
            self.b.ins().store(mem_flags(), address, slots, i as i32 * 8);
        }
        let (base, offset) = self.place(&external.function);
        if let Some(at) = external.symbol.as_ref().and_then(|s| self.symbols.iter().position(|own| own == s)) {
            let signature = self.conventions.external();
            let function = import_external(self.b, crate::backend::image::External::Custom(at), signature);
            let description = self.b.ins().iadd_imm_s(base, i64::from(offset));
            let inst = self.b.ins().call(function, &[description, slots]);
            let status = self.b.inst_results(inst)[0];
            return self.leave_unless_zero(status);
        }
        let function = self.b.ins().load(I64, mem_flags(), base, offset);
        let context = self.b.ins().load(I64, mem_flags(), base, offset + 8);
        let signature = self.conventions.external();
        let signature = self.b.import_signature(signature);
        let inst = self.b.ins().call_indirect(signature, function, &[context, slots]);
        let status = self.b.inst_results(inst)[0];
        self.leave_unless_zero(status);
    }

    fn call_serial(&mut self, call: &Call, slots: Val) -> Val {
        let kernel = self.function(call.kernel, kernel_signature);
        let begin = self.b.ins().iconst(I64, 0);
        let end = self.b.ins().iconst(I64, call.units as i64);
        let inst = self.b.ins().call(kernel, &[slots, begin, end]);
        self.b.inst_results(inst)[0]
    }

    fn call_split(&mut self, call: &Call, slots: Val) -> Val {
        let kernel = self.function(call.kernel, kernel_signature);
        let kernel = self.b.ins().func_addr(I64, kernel);
        let [units, grain] = [call.units, call.grain.max(1)].map(|n| self.b.ins().iconst(I64, n as i64));
        let dispatch = self.function(self.dispatch, dispatch_signature);
        let inst = self.b.ins().call(dispatch, &[kernel, slots, units, grain, self.args[5]]);
        self.b.inst_results(inst)[0]
    }

    fn condition(&mut self, place: &Place) -> Val {
        let (base, offset) = self.place(place);
        self.b.ins().load(I8, mem_flags(), base, offset)
    }

    fn if_else(&mut self, condition: &Place, then: &[Step], otherwise: &[Step]) {
        let (yes, no, join) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let condition = self.condition(condition);
        self.b.ins().brif(condition, yes, &[], no, &[]);
        for (block, steps) in [(yes, then), (no, otherwise)] {
            self.b.switch_to_block(block);
            self.steps(steps);
            self.b.ins().jump(join, &[]);
        }
        self.b.switch_to_block(join);
    }

    fn repeat(&mut self, count: u64, body: &[Step]) {
        let (inner, exit) = (self.b.create_block(), self.b.create_block());
        let i = self.b.append_block_param(inner, I64);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().jump(inner, &[BlockArg::Value(zero)]);
        self.b.switch_to_block(inner);
        let outer = self.iteration.replace(i);
        self.steps(body);
        self.iteration = outer;
        let next = self.b.ins().iadd_imm_s(i, 1);
        let count = self.b.ins().iconst(I64, count as i64);
        let more = self.b.ins().icmp(IntCC::UnsignedLessThan, next, count);
        self.b.ins().brif(more, inner, &[BlockArg::Value(next)], exit, &[]);
        self.b.switch_to_block(exit);
    }

    fn while_loop(&mut self, test: &[Step], condition: &Place, body: &[Step], limit: u64) {
        let (header, inner, exit) = (self.b.create_block(), self.b.create_block(), self.b.create_block());
        let count = self.b.append_block_param(header, I64);
        let zero = self.b.ins().iconst(I64, 0);
        self.b.ins().jump(header, &[BlockArg::Value(zero)]);
        self.b.switch_to_block(header);
        self.steps(test);
        let condition = self.condition(condition);
        self.b.ins().brif(condition, inner, &[], exit, &[]);
        self.b.switch_to_block(inner);
        let limit = self.b.ins().iconst(I64, limit as i64);
        let over = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, count, limit);
        let status = self.b.ins().iconst(I32, i64::from(STATUS_ITERATION_LIMIT));
        let ok = self.b.ins().iconst(I32, 0);
        let status = self.b.ins().select(over, status, ok);
        self.leave_unless_zero(status);
        self.steps(body);
        let next = self.b.ins().iadd_imm_s(count, 1);
        self.b.ins().jump(header, &[BlockArg::Value(next)]);
        self.b.switch_to_block(exit);
    }
}
