//! Dot products of neighbouring 8- and 16-bit lanes.

use super::Lower;
use super::values::{Fold, Lanes};
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use regalloc2::VReg;
use tflc_kir::{DotSigns, Type, Value};

impl Lower<'_> {
    pub(super) fn dot4(&mut self, signs: DotSigns, ty: Type, args: &[Value]) -> VReg {
        let w = self.width(ty);
        let (acc, a, b) = (args[0], args[1], args[2]);
        if !self.isa.vnni {
            return self.dot4_by_words(signs, w, acc, a, b);
        }
        let flip = Lanes::splat(0x80, 1);
        match signs {
            DotSigns::UnsignedSigned => {
                let acc = self.reg_over(acc, w);
                let x = self.reg(a);
                let y = self.rm(b, w, Fold::Elem(4));
                self.op_acc(Vop::Pdpbusd, w, acc, x, y)
            }
            DotSigns::Signed => {
                // a = (a ^ 0x80) - 128 with the first unsigned.
                let (acc, x, y) = (self.reg_over(acc, w), self.reg(a), self.reg(b));
                let bias = self.konst(flip.clone(), w, Fold::Elem(4));
                let x = self.op3(Vop::Pxor, w, x, bias);
                let sum = self.op_acc(Vop::Pdpbusd, w, acc, x, y);
                let zero = self.zero();
                let bias = self.lanes_reg(flip, w);
                let excess = self.op_acc(Vop::Pdpbusd, w, zero, bias, y);
                self.op3_over(Vop::Psubd, w, true, sum, excess)
            }
            DotSigns::Unsigned => {
                // b = (b ^ 0x80) + 128 with the first signed.
                let (acc, x, y) = (self.reg_over(acc, w), self.reg(a), self.reg(b));
                let bias = self.konst(flip, w, Fold::Elem(4));
                let y = self.op3(Vop::Pxor, w, y, bias);
                let sum = self.op_acc(Vop::Pdpbusd, w, acc, x, y);
                let zero = self.zero();
                let ones = self.konst(Lanes::splat(1, 1), w, Fold::Elem(4));
                let lacking = self.op_acc(Vop::Pdpbusd, w, zero, x, ones);
                let lacking = self.op2i(Vop::PslldI, w, lacking, 7);
                self.op3_over(Vop::Paddd, w, true, sum, lacking)
            }
        }
    }

    /// Even and odd bytes as 16-bit lanes, multiplied and added in pairs: exact, since two products of bytes fit 32 bits.
    fn dot4_by_words(&mut self, signs: DotSigns, w: Width, acc: Value, a: Value, b: Value) -> VReg {
        let over = self.dies(acc);
        let (acc, x, y) = (self.reg(acc), self.reg(a), self.reg(b));
        let (sa, sb) = match signs {
            DotSigns::UnsignedSigned => (false, true),
            DotSigns::Signed => (true, true),
            DotSigns::Unsigned => (false, false),
        };
        let [xe, xo] = self.words(sa, w, x);
        let [ye, yo] = self.words(sb, w, y);
        let (even, odd) = (self.op3(Vop::Pmaddwd, w, xe, ye), self.op3(Vop::Pmaddwd, w, xo, yo));
        let both = self.op3_over(Vop::Paddd, w, true, even, odd);
        self.op3_over(Vop::Paddd, w, over, acc, both)
    }

    fn words(&mut self, signed: bool, w: Width, x: VReg) -> [VReg; 2] {
        if signed {
            let raised = self.op2i(Vop::PsllwI, w, x, 8);
            return [self.op2i(Vop::PsrawI, w, raised, 8), self.op2i(Vop::PsrawI, w, x, 8)];
        }
        let low = self.konst(Lanes::splat(0x00ff, 2), w, Fold::Elem(4));
        [self.op3(Vop::Pand, w, x, low), self.op2i(Vop::PsrlwI, w, x, 8)]
    }

    pub(super) fn dot2(&mut self, ty: Type, args: &[Value]) -> VReg {
        let w = self.width(ty);
        let (a, b) = if self.foldable(args[1]) && !self.foldable(args[2]) { (args[2], args[1]) } else { (args[1], args[2]) };
        if self.isa.vnni {
            let acc = self.reg_over(args[0], w);
            let x = self.reg(a);
            let y = self.rm(b, w, Fold::Elem(4));
            return self.op_acc(Vop::Pdpwssd, w, acc, x, y);
        }
        let acc = if let Some(Lanes::Splat32(0)) = self.lanes(args[0]) { None } else { Some(self.reg(args[0])) };
        let x = self.reg(a);
        let y = self.rm(b, w, Fold::Whole);
        let p = self.op3(Vop::Pmaddwd, w, x, y);
        acc.map_or(p, |acc| self.op3_over(Vop::Paddd, w, self.dies(args[0]), acc, p))
    }
}
