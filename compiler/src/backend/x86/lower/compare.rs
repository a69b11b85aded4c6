//! Comparisons and choices.

use super::Lower;
use super::int::lane_index;
use super::scalar::gview;
use super::values::{Fold, Lanes};
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use regalloc2::VReg;
use tflc_kir::{BinOp, CmpOp, Elem, Op, Type, Value};

/// Predicate of `vcmpps`: quiet, false for NaN except "not equal".
pub(super) fn float_predicate(op: CmpOp) -> u8 {
    match op {
        CmpOp::Eq => 0x00,
        CmpOp::Ne => 0x04,
        CmpOp::Lt | CmpOp::LtU => 0x11,
        CmpOp::Le | CmpOp::LeU => 0x12,
        CmpOp::Ge => 0x1d,
        CmpOp::Gt => 0x1e,
    }
}

impl Lower<'_> {
    pub(super) fn cmp(&mut self, op: CmpOp, a: Value, b: Value, result: Value) -> VReg {
        let ty = self.ty(a);
        if !ty.is_vector() {
            let cc = self.compare(op, a, b);
            return self.set(cc);
        }
        self.set_mask_bits(result, ty.elem.bits());
        match (ty.elem.is_float(), self.isa.evex) {
            (true, evex) => {
                let w = self.width(ty);
                let x = self.reg(a);
                let y = self.rm(b, w, Fold::of(ty.elem));
                let vop = if ty.elem == Elem::F64 { Vop::Cmppd } else { Vop::Cmpps };
                let (class, view) = if evex { (MASK, View::K) } else { (VEC, w.view()) };
                let code = self.vcode(vop, w);
                self.def(code, class, view, &[Opnd::Use(x, w.view()), Opnd::rm(y, w.view()), Opnd::imm8(float_predicate(op))])
            }
            (false, true) => self.cmp_int_mask(op, ty, a, b),
            (false, false) => self.cmp_int_lanes(op, ty, a, b),
        }
    }

    fn cmp_int_mask(&mut self, op: CmpOp, ty: Type, a: Value, b: Value) -> VReg {
        let w = self.width(ty);
        let i = lane_index(ty.elem);
        let signed = [Vop::Pcmpb, Vop::Pcmpw, Vop::Pcmpd, Vop::Pcmpq][i];
        let unsigned = [Vop::Pcmpub, Vop::Pcmpuw, Vop::Pcmpud, Vop::Pcmpuq][i];
        let (vop, predicate) = match op {
            CmpOp::Eq => (signed, 0),
            CmpOp::Ne => (signed, 4),
            CmpOp::Lt => (signed, 1),
            CmpOp::Le => (signed, 2),
            CmpOp::Gt => (signed, 6),
            CmpOp::Ge => (signed, 5),
            CmpOp::LtU => (unsigned, 1),
            CmpOp::LeU => (unsigned, 2),
        };
        let x = self.reg(a);
        let y = self.rm(b, w, Fold::of(ty.elem));
        let code = self.vcode(vop, w);
        self.def(code, MASK, View::K, &[Opnd::Use(x, w.view()), Opnd::rm(y, w.view()), Opnd::imm8(predicate)])
    }

    fn cmp_int_lanes(&mut self, op: CmpOp, ty: Type, a: Value, b: Value) -> VReg {
        let w = self.width(ty);
        let i = lane_index(ty.elem);
        let eq = [Vop::Pcmpeqb, Vop::Pcmpeqw, Vop::Pcmpeqd, Vop::Pcmpeqq][i];
        let gt = [Vop::Pcmpgtb, Vop::Pcmpgtw, Vop::Pcmpgtd, Vop::Pcmpgtq][i];
        match op {
            CmpOp::Eq | CmpOp::Ne => {
                let (a, b) = if self.foldable(a) && !self.foldable(b) { (b, a) } else { (a, b) };
                let x = self.reg(a);
                let y = self.rm(b, w, Fold::Whole);
                let r = self.op3(eq, w, x, y);
                if op == CmpOp::Ne { self.invert(w, r) } else { r }
            }
            CmpOp::Lt | CmpOp::Ge | CmpOp::Gt | CmpOp::Le => {
                let swap = matches!(op, CmpOp::Lt | CmpOp::Ge);
                let (a, b) = if swap { (b, a) } else { (a, b) };
                let x = self.reg(a);
                let y = self.rm(b, w, Fold::Whole);
                let r = self.op3(gt, w, x, y);
                if matches!(op, CmpOp::Ge | CmpOp::Le) { self.invert(w, r) } else { r }
            }
            CmpOp::LtU | CmpOp::LeU => {
                let (x, y) = (self.reg(a), self.reg(b));
                let (less, equal) = (op == CmpOp::LtU, self.unsigned_le(ty.elem, w, x, y, op == CmpOp::LtU));
                if less { self.invert(w, equal) } else { equal }
            }
        }
    }

    /// `x <= y`, or `y <= x` where `swap`, unsigned.
    fn unsigned_le(&mut self, elem: Elem, w: Width, x: VReg, y: VReg, swap: bool) -> VReg {
        let (x, y) = if swap { (y, x) } else { (x, y) };
        match elem {
            Elem::I64 => {
                let greater = self.greater_i64(true, w, x, y);
                self.invert(w, greater)
            }
            _ => {
                let i = lane_index(elem);
                let least = self.op3([Vop::Pminub, Vop::Pminuw, Vop::Pminud][i], w, x, y);
                self.op3([Vop::Pcmpeqb, Vop::Pcmpeqw, Vop::Pcmpeqd][i], w, least, x)
            }
        }
    }

    pub(super) fn select(&mut self, ty: Type, args: &[Value], result: Value) -> VReg {
        let (c, a, b) = (args[0], args[1], args[2]);
        if let Some(op) = self.select_as_min_max(ty, c, a, b) {
            return self.bin(op, ty, a, b, result);
        }
        let scalar = !self.ty(c).is_vector();
        match (scalar, ty.is_vector(), ty.elem) {
            (true, false, Elem::F32 | Elem::F64) => self.select_float(ty, c, a, b),
            (true, false, _) => {
                let (x, y) = (self.reg(a), self.gpr_over(b));
                let cc = self.flags(c);
                self.cmov(cc, ty, x, y)
            }
            (_, true, Elem::Bool) => self.select_masks(ty, c, a, b, result),
            (_, true, _) => {
                let w = self.width(ty);
                let bits = ty.elem.bits();
                let (x, y) = (self.reg(a), self.reg(b));
                let m = if scalar { self.bool_mask(c, ty) } else { self.mask(c, bits) };
                self.blend_lanes(bits, w, m, x, y)
            }
            (false, false, _) => self.fail("a mask for scalars"),
        }
    }

    /// `a < b ? a : b` and `a > b ? a : b` are the minimum and the maximum, also for floats as kir defines them.
    fn select_as_min_max(&self, ty: Type, c: Value, a: Value, b: Value) -> Option<BinOp> {
        let inst = self.an.inst(c)?;
        let Op::Cmp(op) = inst.op else { return None };
        if inst.args[..] != [a, b] || self.ty(c).lanes != ty.lanes || self.an.uses(c) > 1 || ty.elem == Elem::Bool || ty.elem == Elem::Ptr {
            return None;
        }
        match op {
            CmpOp::Lt => Some(BinOp::Min),
            CmpOp::Gt => Some(BinOp::Max),
            CmpOp::LtU => Some(BinOp::MinU),
            _ => None,
        }
    }

    fn select_float(&mut self, ty: Type, c: Value, a: Value, b: Value) -> VReg {
        let (x, y) = (self.reg(a), self.reg(b));
        let m = self.bool_mask(c, ty.with_lanes(1));
        self.blend_lanes(ty.elem.bits(), Width::X, m, x, y)
    }

    /// A scalar truth value as mask for all lanes of a type.
    fn bool_mask(&mut self, c: Value, ty: Type) -> VReg {
        let r = self.reg(c);
        let r = self.spread_bool(r);
        if self.isa.evex {
            return self.def(iced_x86::Code::VEX_Kmovq_kr_r64, MASK, View::K, &[Opnd::Use(r, gview(Type::I64))]);
        }
        let x = self.to_vector(Type::I64, r);
        if ty.is_vector() { self.op2_from(Vop::Pbroadcastq, self.width(ty), Width::X, x) } else { x }
    }

    /// `mask ? a : b` on lanes of `bits` bits; the mask is a mask register or, without these, a vector of such lanes.
    pub(super) fn blend_lanes(&mut self, bits: u32, w: Width, mask: VReg, a: VReg, b: VReg) -> VReg {
        if self.isa.evex {
            let vop = match bits {
                8 => Vop::Pblendmb,
                16 => Vop::Pblendmw,
                32 => Vop::Pblendmd,
                _ => Vop::Pblendmq,
            };
            let code = self.vcode(vop, w);
            return self.def(code, VEC, w.view(), &[Opnd::Use(b, w.view()), Opnd::Use(a, w.view()), Opnd::Mask(mask, false)]);
        }
        let vop = match bits {
            32 => Vop::Blendvps,
            64 => Vop::Blendvpd,
            _ => Vop::Pblendvb,
        };
        let code = self.vcode(vop, w);
        self.def(code, VEC, w.view(), &[Opnd::Use(b, w.view()), Opnd::Use(a, w.view()), Opnd::Use(mask, w.view())])
    }

    /// All ones in the lanes that a constant list names, zero elsewhere.
    pub(super) fn lane_pattern(bits: u32, lanes: &[bool]) -> Lanes {
        let ones = u64::MAX >> (64 - bits);
        let lanes: Vec<u64> = lanes.iter().map(|&l| if l { ones } else { 0 }).collect();
        Lanes::new(&lanes, bits as usize / 8)
    }
}
