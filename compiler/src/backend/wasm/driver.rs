//! The driver as WebAssembly: `invoke`, the parts that it calls, and `task` for modules with threads.
//!
//! The same steps as in every other backend ([`super::super::steps`]): argument slots of each call are written into the part's frame on the stack in linear memory,
//! and the kernel is called directly. With threads, a call of more than one grain goes to the imported `run`, which calls the exported `task` once for each
//! index, on any instance that shares the memory. Functions of custom operators are imports, called with the addresses of the call's description and of a list of
//! addresses of its operands and results.

use super::code::{Code, Local, at};
use super::emit::STACK_POINTER;
use crate::backend::steps::{STATUS_INVALID_ARGUMENT, is_split};
use crate::lower::program::{ARENA_ALIGN, Call, External, Place, Program, Region, STATUS_ITERATION_LIMIT, Step};
use std::ops::Range;
use wasm_encoder::{Instruction as I, ValType};

/// Index of the global that holds the address of the module's static memory, where the weights begin.
pub(super) const BASE: u32 = 0;

/// Parameters of `invoke` and of its parts: arena, state, inputs, outputs.
pub(super) const INVOKE_PARAMS: [ValType; 4] = [ValType::I32; 4];
/// Parameters of `task`: kernel, context, index.
pub(super) const TASK_PARAMS: [ValType; 3] = [ValType::I32; 3];
/// Parameters of the imported `run`: kernel, context, number of tasks.
pub(super) const RUN_PARAMS: [ValType; 3] = [ValType::I32; 3];

/// Layout of what a task reads, in bytes: slots, status, grain, units.
mod context {
    pub(super) const SLOTS: u32 = 0;
    pub(super) const STATUS: u32 = 4;
    pub(super) const GRAIN: u32 = 8;
    pub(super) const UNITS: u32 = 12;
    pub(super) const BYTES: u32 = 16;
}

/// Parameters of a function of a custom operator: the description of the call, and the list of addresses.
pub(super) const CUSTOM_PARAMS: [ValType; 2] = [ValType::I32; 2];

/// Where functions are in the module's index space.
#[derive(Clone, Copy, Debug)]
pub(super) struct Functions<'a> {
    /// The imported `run`, in modules with threads.
    pub(super) run: Option<u32>,
    /// Symbols of the imported functions of custom operators, in order.
    pub(super) customs: &'a [String],
    /// The first of them.
    pub(super) first_custom: u32,
    /// Kernel 0.
    pub(super) kernels: u32,
}

/// Bytes of stack that a part takes for its argument slots and a task's context.
pub(super) fn part_frame_bytes(program: &Program) -> u32 {
    let addresses = program.externals().iter().map(|e| e.args.len().div_ceil(2)).max().unwrap_or(0);
    let slots = program.calls().iter().map(|c| c.args.len()).max().unwrap_or(0).max(addresses) as u32;
    (slots * 8 + context::BYTES).next_multiple_of(64)
}

/// Checks the arguments of an entry point with so many inputs and outputs, then runs its parts.
pub(super) fn entry(program: &Program, ports: [usize; 2], parts: Range<u32>) -> Code {
    let mut c = Code::new(&INVOKE_PARAMS);
    let params = [Local(0), Local(1), Local(2), Local(3)];
    let mut invalid = c.i32_const(0);
    // The lists themselves, before anything is read from them.
    for (&list, count) in params[2..].iter().zip(ports) {
        if count > 0 {
            let null = c.i32(I::I32Eqz, &[list]);
            c.if_start(null);
            let status = c.i32_const(STATUS_INVALID_ARGUMENT as i32);
            c.effect(I::Return, &[status]);
            c.end();
        }
    }
    for (base, bytes) in params.into_iter().zip([program.arena_bytes, program.state_bytes]) {
        if bytes > 0 {
            let low = c.i32_const(ARENA_ALIGN as i32 - 1);
            let low = c.i32(I::I32And, &[base, low]);
            invalid = c.i32(I::I32Or, &[invalid, low]);
            let null = c.i32(I::I32Eqz, &[base]);
            invalid = c.i32(I::I32Or, &[invalid, null]);
        }
    }
    for (&list, count) in params[2..].iter().zip(ports) {
        for i in 0..count {
            let pointer = c.i32(I::I32Load(at(i as u32 * 4)), &[list]);
            let null = c.i32(I::I32Eqz, &[pointer]);
            invalid = c.i32(I::I32Or, &[invalid, null]);
        }
    }
    c.if_start(invalid);
    let status = c.i32_const(STATUS_INVALID_ARGUMENT as i32);
    c.effect(I::Return, &[status]);
    c.end();
    for part in parts {
        let status = c.i32(I::Call(part), &params);
        leave_unless_zero(&mut c, status);
    }
    let ok = c.i32_const(0);
    c.effect(I::Return, &[ok]);
    c
}

/// `task(kernel, context, i)`: runs the kernel over the units of task `i`, and leaves a status that is not zero in the context.
pub(super) fn task(kernel_type: u32) -> Code {
    let mut c = Code::new(&TASK_PARAMS);
    let (kernel, context, index) = (Local(0), Local(1), Local(2));
    let mut field = |offset| c.i32(I::I32Load(at(offset)), &[context]);
    let (slots, grain, units) = (field(context::SLOTS), field(context::GRAIN), field(context::UNITS));
    let begin = c.i32(I::I32Mul, &[index, grain]);
    let end = c.i32(I::I32Add, &[begin, grain]);
    let whole = c.i32(I::I32LtU, &[end, units]);
    let end = c.select(whole, end, units);
    let status = c.i32(I::CallIndirect { type_index: kernel_type, table_index: 0 }, &[slots, begin, end, kernel]);
    c.if_start(status);
    // Any failing task may win; the host's end of the run orders this store before the driver's load.
    c.effect(I::I32Store(at(context::STATUS)), &[context, status]);
    c.end();
    c
}

fn leave_unless_zero(c: &mut Code, status: Local) {
    c.if_start(status);
    c.effect(I::Return, &[status]);
    c.end();
}

/// Runs a list of steps.
pub(super) fn part(steps: &[Step], frame_bytes: u32, functions: Functions<'_>) -> Code {
    let mut c = Code::new(&INVOKE_PARAMS);
    let old = c.i32(I::GlobalGet(STACK_POINTER), &[]);
    let size = c.i32_const(frame_bytes as i32);
    let frame = c.i32(I::I32Sub, &[old, size]);
    c.effect(I::GlobalSet(STACK_POINTER), &[frame]);
    let status = c.local(ValType::I32);
    let mut part = Part { c, frame, frame_bytes, status, functions, depth: 0, iteration: None };
    // Every way out leads through here.
    part.c.block();
    part.steps(steps);
    part.c.end();
    let Part { mut c, .. } = part;
    c.effect(I::GlobalSet(STACK_POINTER), &[old]);
    c.effect(I::Return, &[status]);
    c
}

struct Part<'a> {
    c: Code,
    frame: Local,
    frame_bytes: u32,
    status: Local,
    functions: Functions<'a>,
    /// Constructs open inside of the part's block.
    depth: u32,
    /// Number of the iteration of the innermost repetition.
    iteration: Option<Local>,
}

impl Part<'_> {
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

    /// Base address and offset of a place.
    fn place(&mut self, place: &Place) -> (Local, u32) {
        let base = match place.region {
            Region::Weights => self.c.i32(I::GlobalGet(BASE), &[]),
            Region::Arena => Local(0),
            Region::State => Local(1),
            Region::Input(i) => self.c.i32(I::I32Load(at(i * 4)), &[Local(2)]),
            Region::Output(i) => self.c.i32(I::I32Load(at(i * 4)), &[Local(3)]),
        };
        (base, place.offset as u32)
    }

    /// Address of a place.
    fn address(&mut self, place: &Place) -> Local {
        let (base, offset) = self.place(place);
        if offset == 0 {
            return base;
        }
        let offset = self.c.i32_const(offset as i32);
        self.c.i32(I::I32Add, &[base, offset])
    }

    /// Calls a function of the caller's, which is imported by its symbol.
    fn external(&mut self, external: &External) {
        for (i, place) in external.args.iter().enumerate() {
            let address = self.address(place);
            self.c.effect(I::I32Store(at(i as u32 * 4)), &[self.frame, address]);
        }
        let description = self.address(&external.function);
        let position = self.functions.customs.iter().position(|c| Some(c) == external.symbol.as_ref());
        match position {
            Some(i) => self.c.op_to(self.status, I::Call(self.functions.first_custom + i as u32), &[description, self.frame]),
            // One without a symbol is refused before.
            None => self.c.raw(I::Unreachable),
        }
        self.c.effect(I::BrIf(self.depth), &[self.status]);
    }

    fn call(&mut self, call: &Call) {
        for (i, place) in call.args.iter().enumerate() {
            let mut address = self.address(place);
            if let (Some(&step), Some(iteration)) = (call.advance.get(i).filter(|s| **s != 0), self.iteration) {
                let step = self.c.i32_const(step as i32);
                let moved = self.c.i32(I::I32Mul, &[iteration, step]);
                address = self.c.i32(I::I32Add, &[address, moved]);
            }
            self.c.effect(I::I32Store(at(i as u32 * 8)), &[self.frame, address]);
        }
        match self.functions.run.filter(|_| is_split(call)) {
            Some(run) => self.call_split(call, run),
            None => {
                let (begin, end) = (self.c.i32_const(0), self.c.i32_const(call.units as i32));
                self.c.op_to(self.status, I::Call(self.functions.kernels + call.kernel as u32), &[self.frame, begin, end]);
            }
        }
        self.c.effect(I::BrIf(self.depth), &[self.status]);
    }

    fn call_split(&mut self, call: &Call, run: u32) {
        let context_at = self.frame_bytes - context::BYTES;
        let fields = [(context::STATUS, 0), (context::GRAIN, call.grain as i32), (context::UNITS, call.units as i32)];
        self.c.effect(I::I32Store(at(context_at + context::SLOTS)), &[self.frame, self.frame]);
        for (offset, v) in fields {
            let v = self.c.i32_const(v);
            self.c.effect(I::I32Store(at(context_at + offset)), &[self.frame, v]);
        }
        let offset = self.c.i32_const(context_at as i32);
        let context = self.c.i32(I::I32Add, &[self.frame, offset]);
        let kernel = self.c.i32_const(call.kernel as i32);
        let count = self.c.i32_const(call.units.div_ceil(call.grain.max(1)) as i32);
        self.c.effect(I::Call(run), &[kernel, context, count]);
        self.c.op_to(self.status, I::I32Load(at(context_at + context::STATUS)), &[self.frame]);
    }

    fn condition(&mut self, place: &Place) -> Local {
        let (base, offset) = self.place(place);
        self.c.i32(I::I32Load8U(at(offset)), &[base])
    }

    fn if_else(&mut self, condition: &Place, then: &[Step], otherwise: &[Step]) {
        let condition = self.condition(condition);
        self.c.if_start(condition);
        self.depth += 1;
        self.steps(then);
        self.c.raw(I::Else);
        self.steps(otherwise);
        self.depth -= 1;
        self.c.end();
    }

    fn repeat(&mut self, count: u64, body: &[Step]) {
        let i = self.c.local(ValType::I32);
        let zero = self.c.i32_const(0);
        self.c.copy(zero, i);
        self.c.loop_start();
        self.depth += 1;
        let outer = self.iteration.replace(i);
        self.steps(body);
        self.iteration = outer;
        let one = self.c.i32_const(1);
        self.c.op_to(i, I::I32Add, &[i, one]);
        let count = self.c.i32_const(count as i32);
        let more = self.c.i32(I::I32LtU, &[i, count]);
        self.c.effect(I::BrIf(0), &[more]);
        self.depth -= 1;
        self.c.end();
    }

    fn while_loop(&mut self, test: &[Step], condition: &Place, body: &[Step], limit: u64) {
        let count = self.c.local(ValType::I64);
        let zero = self.c.i64_const(0);
        self.c.copy(zero, count);
        self.c.block();
        self.c.loop_start();
        self.depth += 2;
        self.steps(test);
        let condition = self.condition(condition);
        let stop = self.c.i32(I::I32Eqz, &[condition]);
        self.c.effect(I::BrIf(1), &[stop]);
        let limit = self.c.i64_const(limit as i64);
        let over = self.c.i32(I::I64GeU, &[count, limit]);
        self.c.if_start(over);
        let status = self.c.i32_const(STATUS_ITERATION_LIMIT);
        self.c.copy(status, self.status);
        self.c.raw(I::Br(self.depth + 1));
        self.c.end();
        self.steps(body);
        let one = self.c.i64_const(1);
        self.c.op_to(count, I::I64Add, &[count, one]);
        self.c.raw(I::Br(0));
        self.depth -= 2;
        self.c.end();
        self.c.end();
    }
}
