//! Loops and branches.
//!
//! `for` tests at its end, behind a guard where the bounds do not show that it runs at all. Every edge into a block with several
//! predecessors comes from a block of its own, which stays empty, and then vanishes, unless the allocator needs a move there.

use super::Lower;
use super::values::Scope;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use iced_x86::{Code, OpKind};
use regalloc2::VReg;
use tflc_kir::{Block, Elem, Inst, Op, Value};

/// Registers that the estimate of a loop's pressure may be too low by.
const SPARE_VECTORS: usize = 0;

/// Mask registers that a loop may keep for constants, of seven.
const MASK_CONSTANTS: usize = 4;

impl<'k> Lower<'k> {
    fn new_block(&mut self) -> BlockId {
        let innermost = self.scope.is_some();
        self.f.block(innermost)
    }

    /// Makes a block the current one, next in the layout.
    fn start(&mut self, b: BlockId) {
        self.f.order.push(b);
        self.cur = b;
        self.local.clear();
    }

    fn end(&mut self, term: Term) {
        self.f.blocks[self.cur].term = term;
    }

    /// Gives each value a register as parameter of a block.
    fn params(&mut self, block: BlockId, vs: &[Value]) {
        for &v in vs {
            let class = self.class(v);
            let r = self.vreg(class);
            self.f.blocks[block].params.push(r);
            self.vals[v.index()] = Some(r);
            self.set_canonical_mask(v);
        }
    }

    fn passed_regs(&mut self, vs: &[Value]) -> Vec<VReg> {
        vs.iter().map(|&v| self.canonical_reg(v)).collect()
    }

    /// The registers of a loop's initial values. One that is needed elsewhere too is copied: the allocator would otherwise see it and the
    /// carried value as one, and could no longer put only the former on the stack.
    fn initial_regs(&mut self, vs: &[Value]) -> Vec<VReg> {
        let mut regs = vec![];
        for &v in vs {
            let r = self.canonical_reg(v);
            let own = self.homeless(v) || self.an.uses(v) <= 1 && self.slots[self.an.root(v).index()].is_none();
            regs.push(if own { r } else { self.copy(v, r) });
        }
        regs
    }

    /// Separates a loop's results that are used several times from what the loop carried, for the same reason.
    fn separate(&mut self, results: &[Value]) {
        for &v in results {
            if let Some(r) = self.vals[v.index()].filter(|_| self.an.uses(v) > 1) {
                self.vals[v.index()] = Some(self.copy(v, r));
            }
        }
    }

    fn copy(&mut self, v: Value, r: VReg) -> VReg {
        match r.class() {
            GPR => self.def(Code::Mov_r64_rm64, GPR, View::Q, &[Opnd::Use(r, View::Q)]),
            VEC => {
                let ty = self.ty(v);
                let w = if ty.elem == Elem::Bool { Width::Y } else { self.width(ty) };
                self.op2(Vop::MovapsR, w, r)
            }
            MASK => r,
        }
    }

    /// Lowers an innermost loop's blocks with a place for constants in front.
    fn enter(&mut self, inst: &'k Inst) {
        if inst.blocks.iter().any(contains_loop) {
            return;
        }
        let pressure = self.an.vector_pressure(inst) + SPARE_VECTORS;
        let vectors = self.isa.vector_registers().saturating_sub(pressure);
        self.scope = Some(Scope { preheader: self.cur, cache: vec![], vectors, masks: MASK_CONSTANTS });
    }

    pub(super) fn for_loop(&mut self, inst: &'k Inst, step: i64) {
        let body = &inst.blocks[0];
        let (start, end) = (inst.args[0], inst.args[1]);
        let carried: Vec<usize> = (0..inst.results.len()).filter(|&k| self.an.carried(inst, k)).collect();
        let pick = |vs: &[Value]| -> Vec<Value> { carried.iter().map(|&k| vs[k]).collect() };
        let (initial, args) = (pick(&inst.args[2..]), pick(&body.args[1..]));
        let (yields, results) = (pick(&body.yields), pick(&inst.results));

        let runs = matches!((self.int(start), self.int(end)), (Some(a), Some(b)) if a < b);
        let mut first = vec![self.reg(start)];
        first.extend(self.initial_regs(&initial));
        let after = self.new_block();
        let skip = if runs {
            None
        } else {
            let (pre, skip) = (self.new_block(), self.new_block());
            self.cmp_int(first[0], end);
            self.end(Term::Branch(Cc::L, pre, skip));
            self.start(pre);
            Some(skip)
        };
        let preheader = self.cur;
        self.enter(inst);
        let (head, latch) = (self.new_block(), self.new_block());
        self.end(Term::Jump(head, first.clone()));
        let index = self.vreg(GPR);
        self.f.blocks[head].params.push(index);
        self.vals[body.args[0].index()] = Some(index);
        self.params(head, &args);
        debug_assert_eq!(preheader, self.cur);
        self.start(head);
        self.block(body);
        let mut next = self.passed_regs(&yields);
        let i = self.add_imm(index, step);
        self.cmp_int(i, end);
        self.scope = None;
        let exit = self.new_block();
        self.end(Term::Branch(Cc::L, latch, exit));
        self.start(latch);
        next.insert(0, i);
        self.end(Term::Jump(head, next.clone()));
        self.start(exit);
        match skip {
            None => {
                for (&r, &reg) in results.iter().zip(&next[1..]) {
                    self.vals[r.index()] = Some(reg);
                    self.set_canonical_mask(r);
                }
                self.separate(&results);
            }
            Some(skip) => {
                let live: Vec<usize> = (0..results.len()).filter(|&k| self.an.live(results[k])).collect();
                let args = |from: &[VReg]| live.iter().map(|&k| from[k + 1]).collect();
                self.end(Term::Jump(after, args(&next)));
                self.start(skip);
                self.end(Term::Jump(after, args(&first)));
                let results: Vec<Value> = live.iter().map(|&k| results[k]).collect();
                self.params(after, &results);
                self.start(after);
                self.separate(&results);
            }
        }
    }

    pub(super) fn if_else(&mut self, inst: &'k Inst) {
        let live: Vec<usize> = (0..inst.results.len()).filter(|&k| self.an.live(inst.results[k])).collect();
        let cc = self.flags(inst.args[0]);
        let sides = [self.new_block(), self.new_block()];
        let join = self.new_block();
        self.end(Term::Branch(cc, sides[0], sides[1]));
        for (block, side) in inst.blocks.iter().zip(sides) {
            self.start(side);
            self.block(block);
            let yields: Vec<Value> = live.iter().map(|&k| block.yields[k]).collect();
            let regs = self.passed_regs(&yields);
            self.end(Term::Jump(join, regs));
        }
        let results: Vec<Value> = live.iter().map(|&k| inst.results[k]).collect();
        self.params(join, &results);
        self.start(join);
    }

    pub(super) fn while_loop(&mut self, inst: &'k Inst) {
        let (condition, body) = (&inst.blocks[0], &inst.blocks[1]);
        let args: Vec<usize> = (0..inst.args.len()).filter(|&k| self.an.live(condition.args[k])).collect();
        let passed: Vec<usize> = (0..inst.results.len()).filter(|&k| self.an.passed(inst, k)).collect();
        let pick = |ks: &[usize], vs: &[Value]| -> Vec<Value> { ks.iter().map(|&k| vs[k]).collect() };

        let initial = self.initial_regs(&pick(&args, &inst.args));
        let exit = self.new_block();
        self.enter(inst);
        let (head, inside) = (self.new_block(), self.new_block());
        self.end(Term::Jump(head, initial));
        self.params(head, &pick(&args, &condition.args));
        self.start(head);
        self.block(condition);
        let values = self.passed_regs(&pick(&passed, &condition.yields[1..]));
        let cc = self.flags(condition.yields[0]);
        self.end(Term::Branch(cc, inside, exit));
        for (&k, &r) in passed.iter().zip(&values) {
            for v in [body.args[k], inst.results[k]] {
                self.vals[v.index()] = Some(r);
                self.set_canonical_mask(v);
            }
        }
        self.start(inside);
        self.block(body);
        let next = self.passed_regs(&pick(&args, &body.yields));
        self.end(Term::Jump(head, next));
        self.scope = None;
        self.start(exit);
    }

    /// `cmp r, v` of 64 bits, with the value as immediate where it fits.
    fn cmp_int(&mut self, r: VReg, v: Value) {
        match self.int(v) {
            Some(c) if i8::try_from(c).is_ok() => {
                self.emit(Code::Cmp_rm64_imm8, &[Opnd::Use(r, View::Q), Opnd::Imm(OpKind::Immediate8to64, c)])
            }
            Some(c) if i32::try_from(c).is_ok() => {
                self.emit(Code::Cmp_rm64_imm32, &[Opnd::Use(r, View::Q), Opnd::Imm(OpKind::Immediate32to64, c)]);
            }
            _ => {
                let b = self.reg(v);
                self.emit(Code::Cmp_r64_rm64, &[Opnd::Use(r, View::Q), Opnd::Use(b, View::Q)]);
            }
        }
    }

    /// `r + c` of 64 bits.
    fn add_imm(&mut self, r: VReg, c: i64) -> VReg {
        if i8::try_from(c).is_ok() {
            self.modify(Code::Add_rm64_imm8, r, View::Q, &[Opnd::Imm(OpKind::Immediate8to64, c)])
        } else if i32::try_from(c).is_ok() {
            self.modify(Code::Add_rm64_imm32, r, View::Q, &[Opnd::Imm(OpKind::Immediate32to64, c)])
        } else {
            let b = self.int_const(tflc_kir::Type::I64, c);
            self.modify(Code::Add_r64_rm64, r, View::Q, &[Opnd::Use(b, View::Q)])
        }
    }
}

fn contains_loop(b: &Block) -> bool {
    b.insts.iter().any(|i| matches!(i.op, Op::For { .. } | Op::While) || i.blocks.iter().any(contains_loop))
}
