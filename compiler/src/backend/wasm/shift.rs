//! Shifts: amounts at or above the lane width give 0 or the sign, while WebAssembly takes them modulo the width.

use super::code::Local;
use super::emit::{Emitter, Reason};
use super::tables;
use tflc_kir::{BinOp, Elem, Op, Type, Value};
use wasm_encoder::{Instruction as I, ValType};

impl Emitter<'_> {
    /// A scalar shift; `known` is the amount where it is constant.
    pub(super) fn shift_scalar(&mut self, op: BinOp, elem: Elem, x: Local, amount: Local, known: Option<u64>) -> Local {
        let home = self.c.ty(x);
        let width = u64::from(elem.bits());
        let shift = tables::scalar_binary(op, elem).unwrap_or(I::Unreachable);
        let number = |e: &mut Self, n: u64| if home == ValType::I64 { e.c.i64_const(n as i64) } else { e.c.i32_const(n as i32) };
        match (known, op) {
            (Some(n), BinOp::ShrS) => {
                let n = number(self, n.min(width - 1));
                return self.c.op(home, shift, &[x, n]);
            }
            (Some(n), _) if n >= width => return number(self, 0),
            (Some(_), _) => return self.c.op(home, shift, &[x, amount]),
            _ => {}
        }
        let less = if home == ValType::I64 { I::I64LtU } else { I::I32LtU };
        if op == BinOp::ShrS {
            let last = number(self, width - 1);
            let below = self.c.i32(less, &[amount, last]);
            let amount = self.c.select(below, amount, last);
            return self.c.op(home, shift, &[x, amount]);
        }
        let shifted = self.c.op(home, shift, &[x, amount]);
        let limit = number(self, width);
        let below = self.c.i32(less, &[amount, limit]);
        let zero = number(self, 0);
        self.c.select(below, shifted, zero)
    }

    /// A vector shift: by a constant, by one amount for all lanes, or lane by lane.
    pub(super) fn shift_lanes(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> Result<Local, Reason> {
        let x = self.get(a);
        let width = u64::from(ty.elem.bits());
        if let Some(n) = self.known_bits(b) {
            return Ok(match (n & ty.elem.bit_mask(), op) {
                (0, _) => x,
                (n, BinOp::ShrS) => self.shift_by(op, ty.elem, x, n.min(width - 1) as u32),
                (n, _) if n >= width => self.lanes_of(ty.elem, 0),
                (n, _) => self.shift_by(op, ty.elem, x, n as u32),
            });
        }
        if let Some(def) = self.def(b)
            && def.op == Op::Splat
        {
            return Ok(self.shift_splat(op, ty.elem, x, def.args[0]));
        }
        let amounts = self.get(b);
        let mut v = self.lanes_of(ty.elem, 0);
        let scalar = if ty.elem == Elem::I64 { Elem::I64 } else { Elem::I32 };
        for lane in 0..ty.lanes {
            let s = self.extract_lane(ty, x, lane);
            let n = self.extract_lane(ty, amounts, lane);
            let s = self.shift_narrow(op, ty.elem, scalar, s, n);
            v = self.insert_lane(ty, v, s, lane);
        }
        Ok(v)
    }

    /// Shifts the lane of kind `elem` that lies zero-extended in a scalar. The upper bits of the result are unspecified.
    fn shift_narrow(&mut self, op: BinOp, elem: Elem, scalar: Elem, s: Local, n: Local) -> Local {
        let s = match (op, elem) {
            (BinOp::ShrS, Elem::I8) => self.c.i32(I::I32Extend8S, &[s]),
            (BinOp::ShrS, Elem::I16) => self.c.i32(I::I32Extend16S, &[s]),
            _ => s,
        };
        self.shift_scalar(op, scalar, s, n, None)
    }

    /// All lanes by one amount, which only its low bits of the lane's width count.
    fn shift_splat(&mut self, op: BinOp, elem: Elem, x: Local, amount: Value) -> Local {
        let shift = tables::vector_shift(op, elem).unwrap_or(I::Unreachable);
        let width = i64::from(elem.bits());
        let (amount, below) = if elem == Elem::I64 {
            let n = self.get_full(amount);
            let limit = self.c.i64_const(width);
            let below = self.c.i32(I::I64LtU, &[n, limit]);
            (self.c.i32(I::I32WrapI64, &[n]), below)
        } else {
            let n = self.get(amount);
            let mask = self.c.i32_const(elem.bit_mask() as u32 as i32);
            let n = self.c.i32(I::I32And, &[n, mask]);
            let limit = self.c.i32_const(width as i32);
            (n, self.c.i32(I::I32LtU, &[n, limit]))
        };
        if op == BinOp::ShrS {
            let last = self.c.i32_const(width as i32 - 1);
            let amount = self.c.select(below, amount, last);
            return self.c.v128(shift, &[x, amount]);
        }
        let shifted = self.c.v128(shift, &[x, amount]);
        let zero = self.lanes_of(elem, 0);
        self.c.select(below, shifted, zero)
    }

    /// All lanes by a constant below the lane width.
    pub(super) fn shift_by(&mut self, op: BinOp, elem: Elem, x: Local, n: u32) -> Local {
        let n = self.c.i32_const(n as i32);
        self.c.v128(tables::vector_shift(op, elem).unwrap_or(I::Unreachable), &[x, n])
    }
}
