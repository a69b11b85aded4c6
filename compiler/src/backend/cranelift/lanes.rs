//! Moving single lanes: splat, extraction, insertion, look-up tables, reductions.

use super::arith::Sign;
use super::emit::{Emitter, Family, Reason, Val, mem_flags};
use super::multiply::Half;
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, InstBuilder};
use tflc_kir::{Elem, Inst, Op, ReduceOp, Type};

impl Emitter<'_, '_> {
    pub(super) fn splat(&mut self, inst: &Inst, kty: Type, ty: ir::Type, a: Val) -> Val {
        if let Some(bits) = self.known_bits(inst.args[0]) {
            let bits = if kty.elem == Elem::Bool { 0u64.wrapping_sub(bits & 1) } else { bits };
            return self.bits(ty, bits);
        }
        if kty.elem == Elem::Bool {
            let lane = self.b.ins().bmask(ty.lane_type(), a);
            return self.b.ins().splat(ty, lane);
        }
        // One shuffle, which AArch64 folds into `fmla` by element.
        if let Some(d) = self.def(inst.args[0])
            && let Op::ExtractLane(lane) = d.op
            && self.kir_type(d.args[0]) == kty
        {
            let v = self.get(d.args[0]);
            return self.broadcast_lane(v, lane as u8);
        }
        let lane = self.fit_int(ty.lane_type(), a);
        self.b.ins().splat(ty, lane)
    }

    pub(super) fn extract_lane(&mut self, inst: &Inst, kty: Type, a: Val, lane: u16) -> Val {
        let v = self.b.ins().extractlane(a, lane as u8);
        if self.kir_type(inst.args[0]).elem == Elem::Bool {
            let zero = self.int(self.ty(v), 0);
            return self.b.ins().icmp(IntCC::NotEqual, v, zero);
        }
        match kty.elem {
            Elem::I32 => self.fit_int(I32, v),
            _ => v,
        }
    }

    pub(super) fn insert_lane(&mut self, kty: Type, ty: ir::Type, v: Val, s: Val, lane: u16) -> Val {
        let s = if kty.elem == Elem::Bool { self.b.ins().bmask(ty.lane_type(), s) } else { self.fit_int(ty.lane_type(), s) };
        self.b.ins().insertlane(v, s, lane as u8)
    }

    // ---- parts of masks, whose lanes widen as they become fewer ----

    pub(super) fn mask_part(&mut self, ty: ir::Type, a: Val, part: u16) -> Val {
        let mut v = a;
        // Parts left in `v`, and which of them is wanted.
        let mut parts = self.ty(v).lane_count() / ty.lane_count();
        let mut part = u32::from(part);
        while parts > 1 {
            parts /= 2;
            let half = if part >= parts { Half::High } else { Half::Low };
            part %= parts;
            v = self.widen(v, Sign::Signed, half);
        }
        v
    }

    pub(super) fn mask_concat(&mut self, a: Val, b: Val) -> Val {
        match self.ty(a) {
            I64X2 => self.shuffle_words(I32X4, a, b, [0, 2, 4, 6]),
            _ => self.b.ins().snarrow(a, b),
        }
    }

    // ---- tables ----

    pub(super) fn table16(&mut self, table: Val, index: Val) -> Val {
        let used = self.int(I8X16, 0x8F);
        if self.family != Family::Sse2 {
            // `tbl` gives 0 for every index from 16 on.
            let index = self.b.ins().band(index, used);
            return self.b.ins().swizzle(table, index);
        }
        let at = self.scratch(16, 16);
        self.b.ins().store(mem_flags(), table, at, 0);
        let low = self.int(I8X16, 0x0F);
        let index_low = self.b.ins().band(index, low);
        let found = self.look_up_bytes(at, index_low);
        let zero = self.int(I8X16, 0);
        let valid = self.b.ins().icmp(IntCC::SignedGreaterThanOrEqual, index, zero);
        self.b.ins().band(found, valid)
    }

    pub(super) fn table256(&mut self, table: Val, index: Val) -> Val {
        if self.family == Family::Sse2 {
            return self.look_up_bytes(table, index);
        }
        // Sixteen tables of 16 bytes: each look-up gives 0 for the indices of the others.
        let step = self.int(I8X16, 16);
        let mut index = index;
        let mut found = None;
        for row in 0..16 {
            let part = self.b.ins().load(I8X16, mem_flags(), table, row * 16);
            let hit = self.b.ins().swizzle(part, index);
            found = Some(match found {
                None => hit,
                Some(f) => self.b.ins().bor(f, hit),
            });
            index = self.b.ins().isub(index, step);
        }
        found.expect("sixteen rows")
    }

    /// Loads the byte at `table + index` for each lane, gathered in general registers.
    fn look_up_bytes(&mut self, table: Val, index: Val) -> Val {
        let index = self.cast(I64X2, index);
        let halves: Vec<Val> = (0..2u8)
            .map(|half| {
                let indices = self.b.ins().extractlane(index, half);
                let mut bytes = None;
                for i in 0..8 {
                    let one = self.ushr(indices, i * 8);
                    let mask = self.int(I64, 0xFF);
                    let one = self.b.ins().band(one, mask);
                    let address = self.b.ins().iadd(table, one);
                    let byte = self.b.ins().uload8(I64, mem_flags(), address, 0);
                    let byte = if i == 0 { byte } else { self.shl(byte, i * 8) };
                    bytes = Some(match bytes {
                        None => byte,
                        Some(b) => self.b.ins().bor(b, byte),
                    });
                }
                bytes.expect("eight bytes")
            })
            .collect();
        let v = self.vector_of(&halves);
        self.cast(I8X16, v)
    }

    // ---- reductions ----

    pub(super) fn reduce(&mut self, op: ReduceOp, kty: Type, a: Val) -> Result<Val, Reason> {
        let ty = self.ty(a);
        if kty.elem == Elem::Bool {
            return match op {
                ReduceOp::Or => Ok(self.b.ins().vany_true(a)),
                ReduceOp::And => Ok(self.b.ins().vall_true(a)),
                _ => Err("arithmetic reduction of truth values".into()),
            };
        }
        if ty == I32X4 && op == ReduceOp::Add && self.family != Family::Sse2 {
            // Cranelift folds this into `addv`.
            let pairs = self.b.ins().iadd_pairwise(a, a);
            let sum = self.b.ins().iadd_pairwise(pairs, pairs);
            return Ok(self.b.ins().extractlane(sum, 0u8));
        }
        if !matches!(ty.lane_bits(), 32 | 64) {
            return Err(format!("reduction of {ty}"));
        }
        let mut v = a;
        if ty.lane_bits() == 32 {
            let upper = self.shuffle_words(ty, v, v, [2, 3, 2, 3]);
            v = self.combine(op, v, upper);
            let second = self.shuffle_words(ty, v, v, [1, 1, 1, 1]);
            v = self.combine(op, v, second);
        } else {
            let upper = self.shuffle_words(ty, v, v, [2, 3, 2, 3]);
            v = self.combine(op, v, upper);
        }
        Ok(self.b.ins().extractlane(v, 0u8))
    }

    fn combine(&mut self, op: ReduceOp, a: Val, b: Val) -> Val {
        let float = self.ty(a).lane_type().is_float();
        match op {
            ReduceOp::Add if float => self.b.ins().fadd(a, b),
            ReduceOp::Add => self.b.ins().iadd(a, b),
            ReduceOp::Min | ReduceOp::Max if float => {
                let (x, y) = if op == ReduceOp::Min { (a, b) } else { (b, a) };
                let less = self.b.ins().fcmp(FloatCC::LessThan, x, y);
                self.pick(less, a, b)
            }
            ReduceOp::Min => self.b.ins().smin(a, b),
            ReduceOp::Max => self.b.ins().smax(a, b),
            ReduceOp::Or => self.b.ins().bor(a, b),
            ReduceOp::And => self.b.ins().band(a, b),
        }
    }
}
