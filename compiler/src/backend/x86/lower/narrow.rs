//! Narrowing of integer lanes, by truncation or saturation.

use super::Lower;
use super::values::{Fold, Lanes};
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use regalloc2::VReg;
use tflc_kir::Elem;

/// How lanes are narrowed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Keep the low bits.
    Wrap,
    /// Saturate to the signed range.
    SatS,
    /// Saturate signed lanes to the unsigned range.
    SatU,
}

impl Lower<'_> {
    /// The AVX-512 instruction that narrows to lanes of `to` bytes, and its operand: negative lanes become zero first where it saturates
    /// as unsigned.
    pub(super) fn narrowing(&mut self, kind: Kind, from: Elem, to: u32, w: Width, x: VReg) -> (Vop, VReg) {
        let row = match (from, to) {
            (Elem::I16, _) => [Vop::Pmovwb, Vop::Pmovswb, Vop::Pmovuswb],
            (Elem::I32, 1) => [Vop::Pmovdb, Vop::Pmovsdb, Vop::Pmovusdb],
            (Elem::I32, _) => [Vop::Pmovdw, Vop::Pmovsdw, Vop::Pmovusdw],
            (_, 1) => [Vop::Pmovqb, Vop::Pmovsqb, Vop::Pmovusqb],
            (_, 2) => [Vop::Pmovqw, Vop::Pmovsqw, Vop::Pmovusqw],
            _ => [Vop::Pmovqd, Vop::Pmovsqd, Vop::Pmovusqd],
        };
        if kind != Kind::SatU {
            return (row[usize::from(kind == Kind::SatS)], x);
        }
        let max = match from {
            Elem::I16 => Vop::Pmaxsw,
            Elem::I32 => Vop::Pmaxsd,
            _ => Vop::Pmaxsq,
        };
        let zero = self.lanes_reg(Lanes::Splat32(0), w);
        (row[2], self.op3(max, w, x, zero))
    }

    /// Narrows lanes to `to` bytes each; they fill the low bytes of the result.
    pub(super) fn narrow(&mut self, kind: Kind, from: Elem, to: u32, lanes: u16, x: VReg) -> VReg {
        let bytes = from.bits() / 8;
        let w = Width::holding(u32::from(lanes) * bytes);
        if self.isa.evex {
            let (op, x) = self.narrowing(kind, from, to, w, x);
            let code = self.vcode(op, w);
            let view = Width::holding(u32::from(lanes) * to).view();
            return self.def(code, VEC, view, &[Opnd::Use(x, w.view())]);
        }
        match (from, kind) {
            (Elem::I64, Kind::Wrap) => {
                let x = self.truncate_i64(w, x);
                if to == 4 { x } else { self.narrow(Kind::Wrap, Elem::I32, to, lanes, x) }
            }
            (Elem::I64, _) => {
                let x = self.clamp_i64(kind, to * 8, w, x);
                self.narrow(Kind::Wrap, from, to, lanes, x)
            }
            (_, Kind::Wrap) => {
                // Without the upper bits, saturation changes nothing.
                let low = Lanes::splat((1 << (8 * to)) - 1, bytes as usize);
                let low = self.konst(low, w, Fold::Whole);
                let x = self.op3(Vop::Pand, w, x, low);
                self.pack_down(Kind::SatU, from, to, w, x)
            }
            _ => self.pack_down(kind, from, to, w, x),
        }
    }

    /// Narrows 32- or 16-bit lanes with the saturating pack instructions.
    fn pack_down(&mut self, kind: Kind, from: Elem, to: u32, w: Width, x: VReg) -> VReg {
        let (low, high) = if w == Width::X { (x, x) } else { (x, self.extract_block(w, x, 1)) };
        let x = Width::X;
        match (from, to, kind) {
            (Elem::I32, 2, Kind::SatU) => self.op3(Vop::Packusdw, x, low, high),
            (Elem::I32, 2, _) => self.op3(Vop::Packssdw, x, low, high),
            (Elem::I32, _, _) => {
                let words = self.op3(Vop::Packssdw, x, low, high);
                self.op3(if kind == Kind::SatU { Vop::Packuswb } else { Vop::Packsswb }, x, words, words)
            }
            (_, _, Kind::SatU) => self.op3(Vop::Packuswb, x, low, high),
            _ => self.op3(Vop::Packsswb, x, low, high),
        }
    }

    fn truncate_i64(&mut self, w: Width, x: VReg) -> VReg {
        let low = self.op2i(Vop::Pshufd, w, x, 0b1000);
        if w == Width::X {
            return low;
        }
        let high = self.extract_block(w, low, 1);
        self.op3(Vop::Punpcklqdq, Width::X, low, high)
    }

    fn clamp_i64(&mut self, kind: Kind, bits: u32, w: Width, x: VReg) -> VReg {
        let (low, high) = if kind == Kind::SatS { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
        let low = self.lanes_reg(Lanes::splat(low as u64, 8), w);
        let high = self.lanes_reg(Lanes::splat(high as u64, 8), w);
        let below = self.op3(Vop::Pcmpgtq, w, low, x);
        let x = self.blend_lanes(64, w, below, low, x);
        let above = self.op3(Vop::Pcmpgtq, w, x, high);
        self.blend_lanes(64, w, above, high, x)
    }
}
