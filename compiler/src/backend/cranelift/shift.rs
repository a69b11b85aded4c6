//! Shifts with an amount per lane.
//!
//! CLIF shifts all lanes by one amount taken modulo the lane width; kir has an amount per lane, and amounts at or above the width shift
//! everything out. Constant and splatted amounts, the usual ones, map to one instruction; others go bit by bit.

use super::emit::{Emitter, Val};
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::{self, InstBuilder};
use tflc_kir::{BinOp, Inst, Op};

impl Emitter<'_, '_> {
    pub(super) fn shift(&mut self, op: BinOp, inst: &Inst, a: Val, amount: Val) -> Val {
        let ty = self.ty(a);
        let width = ty.lane_bits();
        if let Some(n) = self.known_bits(inst.args[1]) {
            return self.shift_by_constant(op, a, n & (u64::MAX >> (64 - width)));
        }
        if !ty.is_vector() {
            return self.shift_by_scalar(op, a, amount);
        }
        match self.def(inst.args[1]) {
            Some(d) if d.op == Op::Splat => {
                let scalar = self.get(d.args[0]);
                let scalar = self.fit_int(ty.lane_type(), scalar);
                self.shift_by_scalar(op, a, scalar)
            }
            _ => self.shift_by_lanes(op, a, amount),
        }
    }

    fn shift_by_constant(&mut self, op: BinOp, a: Val, n: u64) -> Val {
        let ty = self.ty(a);
        let width = ty.lane_bits();
        let n = n.min(u64::from(width)) as u32;
        match op {
            _ if n == 0 => a,
            BinOp::ShrS => self.sshr(a, n.min(width - 1)),
            _ if n == width => self.int(ty, 0),
            BinOp::Shl => self.shl(a, n),
            _ => self.ushr(a, n),
        }
    }

    /// Shifts every lane by one scalar of the lane's width.
    fn shift_by_scalar(&mut self, op: BinOp, a: Val, amount: Val) -> Val {
        let ty = self.ty(a);
        let lane = self.ty(amount);
        let width = i64::from(ty.lane_bits());
        if op == BinOp::ShrS {
            let most = self.int(lane, width - 1);
            let amount = self.b.ins().umin(amount, most);
            return self.b.ins().sshr(a, amount);
        }
        let shifted = if op == BinOp::Shl { self.b.ins().ishl(a, amount) } else { self.b.ins().ushr(a, amount) };
        let limit = self.int(lane, width);
        let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, amount, limit);
        let zero = self.int(ty, 0);
        self.b.ins().select(inside, shifted, zero)
    }

    /// Shifts by 1, 2, 4, ... in the lanes whose amount has that bit.
    fn shift_by_lanes(&mut self, op: BinOp, a: Val, amount: Val) -> Val {
        let ty = self.ty(a);
        let width = ty.lane_bits();
        let amount = if op == BinOp::ShrS {
            let most = self.int(ty, i64::from(width) - 1);
            self.b.ins().umin(amount, most)
        } else {
            amount
        };
        let mut v = a;
        for bit in 0..width.trailing_zeros() {
            let one = self.int(ty, 1 << bit);
            let has = self.b.ins().band(amount, one);
            let has = self.b.ins().icmp(IntCC::Equal, has, one);
            let moved = self.shift_by_constant(op, v, 1 << bit);
            v = self.b.ins().bitselect(has, moved, v);
        }
        if op == BinOp::ShrS {
            return v;
        }
        let limit = self.int(ty, i64::from(width));
        let inside = self.b.ins().icmp(IntCC::UnsignedLessThan, amount, limit);
        self.b.ins().band(v, inside)
    }

    /// The low bits of an integer scalar, or the scalar zero-extended, as `ty`.
    pub(super) fn fit_int(&mut self, ty: ir::Type, v: Val) -> Val {
        let from = self.ty(v);
        if from.is_float() || from == ty {
            v
        } else if from.bits() > ty.bits() {
            self.b.ins().ireduce(ty, v)
        } else {
            self.b.ins().uextend(ty, v)
        }
    }
}
