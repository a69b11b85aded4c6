//! A run of steps: argument slots on the stack, direct calls, and the control flow of steps.

use super::asm::{Asm, Label, Register};
use super::{ARGS, KEPT, epilogue, prologue};
use crate::backend::image::External as Outside;
use crate::backend::steps::{Frame, is_split};
use crate::lower::program::{Call, External, Place, Region, STATUS_ITERATION_LIMIT, Step};
use iced_x86::Code as Op;

const WEIGHTS: Register = KEPT[0];
const ARENA: Register = KEPT[1];
const STATE: Register = KEPT[2];
const INPUTS: Register = KEPT[3];
const OUTPUTS: Register = KEPT[4];
const PARALLEL: Register = KEPT[5];

/// Emits the steps; the status is that of the first call which fails.
pub(super) fn emit(a: &mut Asm, steps: &[Step], frame: Frame<'_>) {
    let counters = (frame.slots * 8) as i32;
    let bytes = prologue(a, counters + depth(steps) * 8);
    let leave = a.label();
    let mut part = Part { a, frame, next_counter: counters, iteration: None, leave };
    part.steps(steps);
    a.imm(Register::RAX, 0);
    a.bind(leave);
    epilogue(a, bytes);
}

/// Loops inside one another.
fn depth(steps: &[Step]) -> i32 {
    let of =
        |s: &Step| s.parts().map(depth).into_iter().max().unwrap_or(0) + i32::from(matches!(s, Step::Repeat { .. } | Step::While { .. }));
    steps.iter().map(of).max().unwrap_or(0)
}

/// The argument slots are at `rsp`, counters of loops behind them. `rax` and `rcx` live for one operand.
struct Part<'a, 'f> {
    a: &'a mut Asm,
    frame: Frame<'f>,
    /// Where the next loop counts.
    next_counter: i32,
    /// Where the innermost repetition counts.
    iteration: Option<i32>,
    /// Returns the status in `eax`.
    leave: Label,
}

impl Part<'_, '_> {
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

    /// The register that holds the address of a place, which is `step` further on in each iteration of the innermost repetition; `rax` where
    /// it has to be computed.
    fn address(&mut self, place: &Place, step: i64) -> Register {
        let mut base = match place.region {
            Region::Weights => WEIGHTS,
            Region::Arena => ARENA,
            Region::State => STATE,
            Region::Input(i) => self.port(INPUTS, i),
            Region::Output(i) => self.port(OUTPUTS, i),
        };
        match i32::try_from(place.offset) {
            Ok(0) => {}
            Ok(offset) => {
                self.a.lea(Register::RAX, base, offset);
                base = Register::RAX;
            }
            Err(_) => {
                self.a.imm(Register::RCX, place.offset);
                self.a.lea_sum(Register::RAX, base, Register::RCX, 0);
                base = Register::RAX;
            }
        }
        if let Some(iteration) = self.iteration.filter(|_| step != 0) {
            self.a.load_times(Register::RCX, Register::RSP, iteration, step);
            self.a.lea_sum(Register::RAX, base, Register::RCX, 0);
            base = Register::RAX;
        }
        base
    }

    fn port(&mut self, list: Register, i: u32) -> Register {
        self.a.load(Register::RAX, list, i as i32 * 8);
        Register::RAX
    }

    fn argument(&mut self, i: usize, place: &Place, step: i64) {
        let address = self.address(place, step);
        self.a.store(Register::RSP, i as i32 * 8, address);
    }

    /// Leaves the part where the call that has returned failed.
    fn leave_unless_zero(&mut self) {
        self.a.test_status();
        self.a.branch(Op::Jne_rel32_64, self.leave);
    }

    fn call(&mut self, call: &Call) {
        for (i, place) in call.args.iter().enumerate() {
            self.argument(i, place, call.advance.get(i).copied().unwrap_or(0));
        }
        if is_split(call) {
            self.a.address_of(ARGS[0], call.kernel);
            self.a.mov(ARGS[1], Register::RSP);
            self.a.imm(ARGS[2], call.units);
            self.a.imm(ARGS[3], call.grain.max(1));
            self.a.mov(ARGS[4], PARALLEL);
            self.a.call(self.frame.dispatch);
        } else {
            self.a.mov(ARGS[0], Register::RSP);
            self.a.imm(ARGS[1], 0);
            self.a.imm(ARGS[2], call.units);
            self.a.call(call.kernel);
        }
        self.leave_unless_zero();
    }

    /// `function(context, arguments) -> status`: a function that a linker finds gets the description in the weights, another one and its context are read
    /// from there.
    fn external(&mut self, external: &External) {
        for (i, place) in external.args.iter().enumerate() {
            self.argument(i, place, 0);
        }
        let at = self.address(&external.function, 0);
        match external.symbol.as_ref().and_then(|s| self.frame.symbols.iter().position(|own| own == s)) {
            Some(i) => {
                self.a.mov(ARGS[0], at);
                self.a.mov(ARGS[1], Register::RSP);
                self.a.call_external(Outside::Custom(i));
            }
            None => {
                self.a.load(ARGS[0], at, 8);
                self.a.load(Register::RAX, at, 0);
                self.a.mov(ARGS[1], Register::RSP);
                self.a.call_register(Register::RAX);
            }
        }
        self.leave_unless_zero();
    }

    /// Branches where the byte at a place is zero.
    fn branch_unless(&mut self, condition: &Place, to: Label) {
        let at = self.address(condition, 0);
        self.a.compare_byte_with_zero(at);
        self.a.branch(Op::Je_rel32_64, to);
    }

    fn if_else(&mut self, condition: &Place, then: &[Step], otherwise: &[Step]) {
        let (no, join) = (self.a.label(), self.a.label());
        self.branch_unless(condition, no);
        self.steps(then);
        self.a.branch(Op::Jmp_rel32_64, join);
        self.a.bind(no);
        self.steps(otherwise);
        self.a.bind(join);
    }

    /// Begins a loop that counts from zero; gives where it counts.
    fn begin_counter(&mut self) -> i32 {
        let counter = self.next_counter;
        self.next_counter += 8;
        self.a.imm(Register::RAX, 0);
        self.a.store(Register::RSP, counter, Register::RAX);
        counter
    }

    /// Ends it.
    fn end_counter(&mut self) {
        self.next_counter -= 8;
    }

    /// Counts one iteration; `rax` is their number.
    fn count(&mut self, counter: i32) {
        self.a.load(Register::RAX, Register::RSP, counter);
        self.a.add_imm(Register::RAX, 1);
        self.a.store(Register::RSP, counter, Register::RAX);
    }

    fn repeat(&mut self, count: u64, body: &[Step]) {
        let counter = self.begin_counter();
        let again = self.a.label();
        self.a.bind(again);
        let outer = self.iteration.replace(counter);
        self.steps(body);
        self.iteration = outer;
        self.count(counter);
        self.a.imm(Register::RCX, count);
        self.a.compare(Register::RAX, Register::RCX);
        self.a.branch(Op::Jb_rel32_64, again);
        self.end_counter();
    }

    fn while_loop(&mut self, test: &[Step], condition: &Place, body: &[Step], limit: u64) {
        let counter = self.begin_counter();
        let (again, within, done) = (self.a.label(), self.a.label(), self.a.label());
        self.a.bind(again);
        self.steps(test);
        self.branch_unless(condition, done);
        self.a.load(Register::RAX, Register::RSP, counter);
        self.a.imm(Register::RCX, limit);
        self.a.compare(Register::RAX, Register::RCX);
        self.a.branch(Op::Jb_rel32_64, within);
        self.a.imm(Register::RAX, STATUS_ITERATION_LIMIT as u64);
        self.a.branch(Op::Jmp_rel32_64, self.leave);
        self.a.bind(within);
        self.steps(body);
        self.count(counter);
        self.a.branch(Op::Jmp_rel32_64, again);
        self.a.bind(done);
        self.end_counter();
    }
}
