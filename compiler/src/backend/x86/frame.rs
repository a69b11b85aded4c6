//! The stack frame: scratch buffers at the bottom, spill slots above, saved vector registers, the caller's stack pointer on top.
//!
//! Callee-saved general registers are pushed first. A frame that needs more than 8-byte alignment aligns the stack pointer and keeps the old one in
//! the frame, so that `rbp` stays an ordinary register. Frames beyond a page touch every page in order, for the guard page.

use super::abi::{Abi, gpr};
use super::emit::Emitter;
use super::encode::{RawMem, RawOp};
use super::machine::{MachineFunction, View, Width};
use super::opcodes::{Vop, code};
use iced_x86::{Code, OpKind};
use regalloc2::{Allocation, Edit, Output, PReg, RegClass};

const PAGE: u32 = 4096;

fn register(r: usize) -> RawOp {
    RawOp::Reg(r as u8, View::Q)
}

/// Layout of a frame.
#[derive(Debug)]
pub(super) struct Frame {
    saved_gprs: Vec<usize>,
    saved_vectors: Vec<usize>,
    size: u32,
    align: u32,
    spill_base: u32,
    vectors_base: u32,
    evex: bool,
}

impl Frame {
    /// The frame of a function after register allocation.
    pub(super) fn new(func: &MachineFunction, out: &Output, abi: Abi, evex: bool) -> Frame {
        let mut written = regalloc2::PRegSet::empty();
        let mut mark = |a: Allocation| {
            if let Some(r) = a.as_reg() {
                written.add(r);
            }
        };
        out.allocs.iter().for_each(|&a| mark(a));
        for (_, Edit::Move { to, .. }) in &out.edits {
            mark(*to);
        }
        let gprs = abi.saved_gprs().iter().copied().filter(|&r| written.contains(PReg::new(r, RegClass::Int))).collect();
        let vectors: Vec<usize> =
            abi.saved_vectors().iter().copied().filter(|&r| written.contains(PReg::new(r, RegClass::Float))).collect();
        let slot_align = if out.num_spillslots > 0 { func.widest.unwrap_or(Width::X).bytes() } else { 8 };
        let spill_base = func.scratch_bytes.next_multiple_of(slot_align);
        let vectors_base = (spill_base + out.num_spillslots as u32 * 8).next_multiple_of(16);
        let end = vectors_base + 16 * vectors.len() as u32;
        let align = slot_align.max(func.scratch_align).max(if vectors.is_empty() { 8 } else { 16 });
        let used = func.scratch_bytes > 0 || out.num_spillslots > 0 || !vectors.is_empty();
        let size = if used { (end + 8).next_multiple_of(align) } else { 0 };
        Frame { saved_gprs: gprs, saved_vectors: vectors, size, align, spill_base, vectors_base, evex }
    }

    /// Memory of a spill slot.
    pub(super) fn spill_slot(&self, slot: usize) -> RawMem {
        RawMem::base(gpr::RSP, (self.spill_base + slot as u32 * 8) as i32)
    }

    fn stack_save(&self) -> RawMem {
        RawMem::base(gpr::RSP, self.size as i32 - 8)
    }

    fn saved_vectors(&self) -> impl Iterator<Item = (RawOp, RawMem)> {
        let base = self.vectors_base;
        self.saved_vectors
            .iter()
            .enumerate()
            .map(move |(i, &r)| (RawOp::Reg(r as u8, View::X), RawMem::base(gpr::RSP, (base + 16 * i as u32) as i32)))
    }

    /// Emits the entry sequence.
    pub(super) fn prologue(&self, e: &mut Emitter) {
        for &r in &self.saved_gprs {
            e.raw(Code::Push_r64, &[register(r)]);
        }
        if self.size == 0 {
            return;
        }
        let (rax, rsp) = (register(gpr::RAX), register(gpr::RSP));
        if self.align > 8 {
            e.raw(Code::Mov_r64_rm64, &[rax, rsp]);
        }
        for page in 1..=self.size / PAGE {
            let touched = RawMem::base(gpr::RSP, -((page * PAGE) as i32));
            e.raw(Code::Mov_rm32_r32, &[RawOp::Mem(touched), RawOp::Reg(gpr::RAX as u8, View::D)]);
        }
        e.raw(Code::Sub_rm64_imm32, &[rsp, RawOp::Imm(OpKind::Immediate32to64, i64::from(self.size))]);
        if self.align > 8 {
            e.raw(Code::And_rm64_imm8, &[rsp, RawOp::Imm(OpKind::Immediate8to64, -i64::from(self.align))]);
            e.raw(Code::Mov_rm64_r64, &[RawOp::Mem(self.stack_save()), rax]);
        }
        for (r, m) in self.saved_vectors() {
            e.raw(code(Vop::MovupsS, Width::X, self.evex), &[RawOp::Mem(m), r]);
        }
    }

    /// Emits the exit sequence, which preserves `rax`.
    pub(super) fn epilogue(&self, e: &mut Emitter) {
        for (r, m) in self.saved_vectors() {
            e.raw(code(Vop::MovupsL, Width::X, self.evex), &[r, RawOp::Mem(m)]);
        }
        let rsp = register(gpr::RSP);
        if self.size > 0 && self.align > 8 {
            e.raw(Code::Mov_r64_rm64, &[rsp, RawOp::Mem(self.stack_save())]);
        } else if self.size > 0 {
            e.raw(Code::Add_rm64_imm32, &[rsp, RawOp::Imm(OpKind::Immediate32to64, i64::from(self.size))]);
        }
        for &r in self.saved_gprs.iter().rev() {
            e.raw(Code::Pop_r64, &[register(r)]);
        }
        e.raw(Code::Retnq, &[]);
    }
}
