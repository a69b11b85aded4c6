//! Turns a verified kernel into a flat list of steps over value slots.
//!
//! A value has one `u64` slot per lane, which holds the lane's bits, zero-extended. Slots are given out in order of definition, so that operands
//! of a plain instruction lie below its result: one `split_at_mut` separates what it reads from what it writes. Constants are part of
//! the initial slots and cost nothing at run time.

use crate::kernel::{Block, Inst, Kernel, Value};
use crate::op::Op;
use crate::types::{Elem, Type};
use crate::verify::{VerifyError, verify};

/// Where a value is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) at: u32,
    pub(super) lanes: u16,
    pub(super) elem: Elem,
}

impl Slot {
    pub(super) fn range(self) -> std::ops::Range<usize> {
        self.at as usize..self.at as usize + usize::from(self.lanes)
    }
}

/// A plain instruction.
#[derive(Debug)]
pub(super) struct Plain<'k> {
    pub(super) op: &'k Op,
    /// Operands; those beyond the last repeat slot 0.
    pub(super) args: [Slot; 4],
    /// The result; past the end, with the data's type, where there is none.
    pub(super) dst: Slot,
}

/// A step.
#[derive(Debug)]
pub(super) enum Code<'k> {
    Plain(Plain<'k>),
    /// Copies all sources, then writes all destinations.
    Copy(Vec<(Slot, Slot)>),
    Jump(u32),
    /// Jumps where the scalar is false.
    JumpIfNot(u32, u32),
    /// Jumps to `exit` unless `i < end`.
    ForHead {
        i: u32,
        end: u32,
        exit: u32,
    },
    /// Adds `step` and jumps to `head`.
    ForNext {
        i: u32,
        step: i64,
        head: u32,
    },
}

/// A kernel made ready to run many times.
#[derive(Debug)]
pub struct Program<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) code: Vec<Code<'k>>,
    /// The instruction that each step comes from.
    pub(super) origin: Vec<u32>,
    /// Slots at entry, with the constants.
    pub(super) slots: Vec<u64>,
    /// Slots of the parameters, then begin and end.
    pub(super) entry: Vec<u32>,
    /// Slot of each scratch address and the size in bytes.
    pub(super) scratch: Vec<(u32, u32)>,
    /// Slot of the status.
    pub(super) status: Option<u32>,
    pub(super) fuel: u64,
}

impl<'k> Program<'k> {
    /// Verifies and decodes a kernel.
    ///
    /// # Errors
    /// Where the kernel does not verify.
    pub fn new(kernel: &'k Kernel) -> Result<Program<'k>, VerifyError> {
        verify(kernel)?;
        let nowhere = Slot { at: 0, lanes: 0, elem: Elem::Bool };
        let program = Program {
            kernel,
            code: vec![],
            origin: vec![],
            slots: vec![],
            entry: vec![],
            scratch: vec![],
            status: None,
            fuel: super::DEFAULT_FUEL,
        };
        let mut d = Decoder { program, place: vec![nowhere; kernel.types.len()], count: 0, inst: 0 };
        for v in kernel.params.iter().map(|p| p.value).chain([kernel.begin, kernel.end]) {
            let slot = d.define(v);
            d.program.entry.push(slot.at);
        }
        d.block(&kernel.body);
        d.program.status = kernel.body.yields.first().map(|v| d.place[v.index()].at);
        Ok(d.program)
    }

    /// Sets the number of steps that a run may take; a step is an instruction or a transfer of loop values.
    pub fn fuel(self, steps: u64) -> Program<'k> {
        Program { fuel: steps, ..self }
    }
}

struct Decoder<'k> {
    program: Program<'k>,
    /// Slot of each value that is defined so far.
    place: Vec<Slot>,
    /// Instructions begun so far.
    count: u32,
    /// The current instruction.
    inst: u32,
}

impl<'k> Decoder<'k> {
    fn define(&mut self, v: Value) -> Slot {
        let Type { elem, lanes } = self.program.kernel.ty(v);
        let slot = Slot { at: self.program.slots.len() as u32, lanes, elem };
        self.program.slots.resize(slot.range().end, 0);
        self.place[v.index()] = slot;
        slot
    }

    fn at(&self, v: Value) -> Slot {
        self.place[v.index()]
    }

    fn emit(&mut self, code: Code<'k>) -> usize {
        self.program.code.push(code);
        self.program.origin.push(self.inst);
        self.program.code.len() - 1
    }

    fn here(&self) -> u32 {
        self.program.code.len() as u32
    }

    fn copy(&mut self, from: &[Value], to: &[Value]) {
        let pairs: Vec<_> = from.iter().zip(to).map(|(&f, &t)| (self.at(f), self.at(t))).collect();
        if !pairs.is_empty() {
            self.emit(Code::Copy(pairs));
        }
    }

    fn define_all(&mut self, vs: &[Value]) {
        for &v in vs {
            self.define(v);
        }
    }

    fn block(&mut self, b: &'k Block) {
        for inst in &b.insts {
            let id = self.count;
            self.inst = id;
            self.count += 1;
            match inst.op {
                Op::For { step } => self.for_loop(inst, step, id),
                Op::If => self.if_else(inst, id),
                Op::While => self.while_loop(inst, id),
                _ => self.plain(inst),
            }
        }
    }

    fn plain(&mut self, inst: &'k Inst) {
        let mut args = [Slot { at: 0, lanes: 0, elem: Elem::Bool }; 4];
        for (slot, &v) in args.iter_mut().zip(&inst.args) {
            *slot = self.at(v);
        }
        let dst = match inst.results.first() {
            Some(&r) => self.define(r),
            None => Slot { at: u32::MAX, lanes: 0, elem: Elem::Bool },
        };
        match &inst.op {
            Op::Const(bits) => self.program.slots[dst.range()].fill(*bits),
            Op::ConstVec(lanes) => self.program.slots[dst.range()].copy_from_slice(lanes),
            Op::Scratch { bytes, .. } => self.program.scratch.push((dst.at, *bytes)),
            Op::Prefetch(..) => {}
            op => {
                self.emit(Code::Plain(Plain { op, args, dst }));
            }
        }
    }

    fn for_loop(&mut self, inst: &'k Inst, step: i64, id: u32) {
        let b = &inst.blocks[0];
        let end = self.at(inst.args[1]).at;
        self.define_all(&b.args);
        let i = self.at(b.args[0]).at;
        let initial: Vec<Value> = std::iter::once(inst.args[0]).chain(inst.args[2..].iter().copied()).collect();
        self.copy(&initial, &b.args);
        let head = self.emit(Code::ForHead { i, end, exit: 0 });
        self.block(b);
        self.inst = id;
        self.copy(&b.yields, &b.args[1..]);
        self.emit(Code::ForNext { i, step, head: head as u32 });
        self.program.code[head] = Code::ForHead { i, end, exit: self.here() };
        self.define_all(&inst.results);
        self.copy(&b.args[1..], &inst.results);
    }

    fn if_else(&mut self, inst: &'k Inst, id: u32) {
        let cond = self.at(inst.args[0]).at;
        let branch = self.emit(Code::JumpIfNot(cond, 0));
        let [then, other] = &inst.blocks[..] else { unreachable!("verified: an if has two blocks") };
        // The results' slots may lie below the second block's: copies have no order to keep.
        self.block(then);
        self.define_all(&inst.results);
        self.inst = id;
        self.copy(&then.yields, &inst.results);
        let jump = self.emit(Code::Jump(0));
        self.program.code[branch] = Code::JumpIfNot(cond, self.here());
        self.block(other);
        self.inst = id;
        self.copy(&other.yields, &inst.results);
        self.program.code[jump] = Code::Jump(self.here());
    }

    fn while_loop(&mut self, inst: &'k Inst, id: u32) {
        let [first, second] = &inst.blocks[..] else { unreachable!("verified: a while has two blocks") };
        self.define_all(&first.args);
        self.copy(&inst.args, &first.args);
        let head = self.here();
        self.block(first);
        self.inst = id;
        let go = self.at(first.yields[0]).at;
        let branch = self.emit(Code::JumpIfNot(go, 0));
        self.define_all(&second.args);
        self.copy(&first.yields[1..], &second.args);
        self.block(second);
        self.inst = id;
        self.copy(&second.yields, &first.args);
        self.emit(Code::Jump(head));
        self.program.code[branch] = Code::JumpIfNot(go, self.here());
        self.define_all(&inst.results);
        self.copy(&first.yields[1..], &inst.results);
    }
}
