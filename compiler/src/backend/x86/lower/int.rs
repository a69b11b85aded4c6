//! Integer arithmetic on vectors, and the entry points of unary and binary operators.

use super::Lower;
use super::values::{Fold, Lanes};
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use regalloc2::VReg;
use tflc_kir::{BinOp, Elem, Type, UnOp, Value};

/// Families for lanes of 8, 16, 32 and 64 bits.
type ByWidth = [Option<Vop>; 4];

/// Position in [`ByWidth`].
pub(super) fn lane_index(elem: Elem) -> usize {
    elem.bits().trailing_zeros() as usize - 3
}

const fn all(b: Vop, w: Vop, d: Vop, q: Vop) -> ByWidth {
    [Some(b), Some(w), Some(d), Some(q)]
}

/// Shifts by an immediate, by a count per lane, by one count, for lanes of 16, 32 and 64 bits.
struct Shifts {
    imm: [Vop; 3],
    each: [Vop; 3],
}

const SHL: Shifts = Shifts { imm: [Vop::PsllwI, Vop::PslldI, Vop::PsllqI], each: [Vop::Psllvw, Vop::Psllvd, Vop::Psllvq] };
const SHR_U: Shifts = Shifts { imm: [Vop::PsrlwI, Vop::PsrldI, Vop::PsrlqI], each: [Vop::Psrlvw, Vop::Psrlvd, Vop::Psrlvq] };
const SHR_S: Shifts = Shifts { imm: [Vop::PsrawI, Vop::PsradI, Vop::PsraqI], each: [Vop::Psravw, Vop::Psravd, Vop::Psravq] };

fn shifts(op: BinOp) -> &'static Shifts {
    match op {
        BinOp::Shl => &SHL,
        BinOp::ShrU => &SHR_U,
        _ => &SHR_S,
    }
}

impl Lower<'_> {
    pub(super) fn un(&mut self, op: UnOp, ty: Type, a: Value, result: Value) -> VReg {
        match ty.elem {
            Elem::F32 | Elem::F64 => self.float_un(op, ty, a),
            _ if !ty.is_vector() => self.scalar_un(op, ty, a),
            Elem::Bool => self.mask_not(ty, a, result),
            _ => self.int_un(op, ty, a),
        }
    }

    pub(super) fn bin(&mut self, op: BinOp, ty: Type, a: Value, b: Value, result: Value) -> VReg {
        match ty.elem {
            Elem::F32 | Elem::F64 => self.float_bin(op, ty, a, b),
            _ if !ty.is_vector() => self.scalar_bin(op, ty, a, b),
            Elem::Bool => self.mask_bin(op, ty, a, b, result),
            _ => self.int_bin(op, ty, a, b),
        }
    }

    fn int_un(&mut self, op: UnOp, ty: Type, a: Value) -> VReg {
        let w = self.width(ty);
        let i = lane_index(ty.elem);
        match op {
            UnOp::Neg => {
                let zero = self.zero();
                let y = self.rm(a, w, Fold::of(ty.elem));
                self.op3([Vop::Psubb, Vop::Psubw, Vop::Psubd, Vop::Psubq][i], w, zero, y)
            }
            UnOp::Not => {
                let x = self.reg(a);
                self.invert(w, x)
            }
            UnOp::Abs if ty.elem == Elem::I64 && !self.isa.evex => {
                let x = self.reg(a);
                let zero = self.zero();
                let sign = self.op3(Vop::Pcmpgtq, w, zero, x);
                let flipped = self.op3(Vop::Pxor, w, x, sign);
                self.op3(Vop::Psubq, w, flipped, sign)
            }
            UnOp::Abs => {
                let fold = if self.isa.evex { Fold::of(ty.elem) } else { Fold::Whole };
                let y = self.rm(a, w, fold);
                self.op2([Vop::Pabsb, Vop::Pabsw, Vop::Pabsd, Vop::Pabsq][i], w, y)
            }
            UnOp::LeadingZeros => self.leading_zeros(ty, a),
            _ => self.fail("float operator on integers"),
        }
    }

    /// Bitwise complement.
    pub(super) fn invert(&mut self, w: Width, x: VReg) -> VReg {
        let ones = self.lanes_reg(Lanes::Splat32(u32::MAX), w);
        self.op3(Vop::Pxor, w, x, ones)
    }

    fn int_bin(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> VReg {
        let evex = self.isa.evex;
        let by_width: ByWidth = match op {
            BinOp::Add => all(Vop::Paddb, Vop::Paddw, Vop::Paddd, Vop::Paddq),
            BinOp::Sub => all(Vop::Psubb, Vop::Psubw, Vop::Psubd, Vop::Psubq),
            BinOp::Mul => [None, Some(Vop::Pmullw), Some(Vop::Pmulld), evex.then_some(Vop::Pmullq)],
            BinOp::Min => [Some(Vop::Pminsb), Some(Vop::Pminsw), Some(Vop::Pminsd), evex.then_some(Vop::Pminsq)],
            BinOp::Max => [Some(Vop::Pmaxsb), Some(Vop::Pmaxsw), Some(Vop::Pmaxsd), evex.then_some(Vop::Pmaxsq)],
            BinOp::MinU => [Some(Vop::Pminub), Some(Vop::Pminuw), Some(Vop::Pminud), evex.then_some(Vop::Pminuq)],
            BinOp::MaxU => [Some(Vop::Pmaxub), Some(Vop::Pmaxuw), Some(Vop::Pmaxud), evex.then_some(Vop::Pmaxuq)],
            BinOp::And if evex && ty.elem == Elem::I64 => [Some(Vop::Pandq); 4],
            BinOp::Or if evex && ty.elem == Elem::I64 => [Some(Vop::Porq); 4],
            BinOp::Xor if evex && ty.elem == Elem::I64 => [Some(Vop::Pxorq); 4],
            BinOp::And => [Some(Vop::Pand); 4],
            BinOp::Or => [Some(Vop::Por); 4],
            BinOp::Xor => [Some(Vop::Pxor); 4],
            BinOp::AddSatS => [Some(Vop::Paddsb), Some(Vop::Paddsw), None, None],
            BinOp::SubSatS => [Some(Vop::Psubsb), Some(Vop::Psubsw), None, None],
            BinOp::AddSatU => [Some(Vop::Paddusb), Some(Vop::Paddusw), None, None],
            BinOp::SubSatU => [Some(Vop::Psubusb), Some(Vop::Psubusw), None, None],
            BinOp::MulHiS => [None, Some(Vop::Pmulhw), None, None],
            BinOp::MulHiU => [None, Some(Vop::Pmulhuw), None, None],
            BinOp::Shl | BinOp::ShrU | BinOp::ShrS => return self.shift(op, ty, a, b),
            BinOp::MulRoundHi | BinOp::Div | BinOp::Rem => [None; 4],
        };
        let w = self.width(ty);
        // Logic on narrow lanes works on 32-bit ones, so constants fold as those do.
        let logic = matches!(op, BinOp::And | BinOp::Or | BinOp::Xor);
        let fold = if logic && ty.elem.bits() < 32 { Fold::Elem(4) } else { Fold::of(ty.elem) };
        if let Some(vop) = by_width[lane_index(ty.elem)] {
            let commutes = !matches!(op, BinOp::Sub | BinOp::SubSatS | BinOp::SubSatU);
            return self.op3_values(vop, w, fold, commutes, a, b);
        }
        let (x, y) = (self.reg(a), self.reg(b));
        match (op, ty.elem) {
            (BinOp::Mul, Elem::I8) => self.mul_i8(w, x, y),
            (BinOp::Mul, _) => self.mul_i64(w, x, y),
            (BinOp::Min | BinOp::Max | BinOp::MinU | BinOp::MaxU, _) => self.min_max_i64(op, w, x, y),
            (BinOp::MulHiS | BinOp::MulHiU, _) => {
                let [even, odd] = self.products(op == BinOp::MulHiS, w, x, y);
                self.high_halves(w, even, odd)
            }
            (BinOp::MulRoundHi, Elem::I16) => {
                let r = self.op3(Vop::Pmulhrsw, w, x, y);
                self.saturate_rounded(Elem::I16, w, r)
            }
            (BinOp::MulRoundHi, _) => {
                let halves = self.products(true, w, x, y).map(|p| {
                    let doubled = self.op3(Vop::Paddq, w, p, p);
                    let half = self.konst(Lanes::Splat64(1 << 31), w, Fold::Elem(8));
                    self.op3(Vop::Paddq, w, doubled, half)
                });
                let r = self.high_halves(w, halves[0], halves[1]);
                self.saturate_rounded(Elem::I32, w, r)
            }
            _ => self.fail("operator without integer form"),
        }
    }

    /// The full products of the even and of the odd 32-bit lanes.
    fn products(&mut self, signed: bool, w: Width, x: VReg, y: VReg) -> [VReg; 2] {
        let op = if signed { Vop::Pmuldq } else { Vop::Pmuludq };
        let even = self.op3(op, w, x, y);
        let (x, y) = (self.op2i(Vop::PsrlqI, w, x, 32), self.op2i(Vop::PsrlqI, w, y, 32));
        [even, self.op3(op, w, x, y)]
    }

    /// The upper 32 bits of 64-bit lanes, from the even and the odd products.
    fn high_halves(&mut self, w: Width, even: VReg, odd: VReg) -> VReg {
        let even = self.op2i(Vop::PsrlqI, w, even, 32);
        if !self.isa.evex {
            return self.op3i(Vop::Pblendd, w, even, odd, 0xaa);
        }
        let upper = self.konst(Lanes::Splat64(0xffff_ffff_0000_0000), w, Fold::Elem(8));
        // even | (odd & upper)
        self.ternlog(w, even, odd, upper, 0xf8)
    }

    /// Any function of three bits: bit `4a + 2b + c` of `table`.
    fn ternlog(&mut self, w: Width, a: VReg, b: VReg, c: Rm, table: u8) -> VReg {
        let code = self.vcode(Vop::Pternlogq, w);
        self.modify(code, a, w.view(), &[Opnd::Use(b, w.view()), Opnd::rm(c, w.view()), Opnd::imm8(table)])
    }

    /// The smallest integer, which only its own square rounds to, becomes the largest.
    fn saturate_rounded(&mut self, elem: Elem, w: Width, r: VReg) -> VReg {
        let smallest = Self::sign_lanes(elem);
        if self.isa.evex {
            // Unsigned, the smallest integer is one above the largest; negative results lie further above.
            let (cmp, sub) = if elem == Elem::I16 { (Vop::Pcmpw, Vop::Paddw) } else { (Vop::Pcmpd, Vop::Paddd) };
            let smallest = self.konst(smallest, w, Fold::of(elem));
            let code = self.vcode(cmp, w);
            let k = self.def(code, MASK, View::K, &[Opnd::Use(r, w.view()), Opnd::rm(smallest, w.view()), Opnd::imm8(0)]);
            let ones = self.lanes_reg(Lanes::Splat32(u32::MAX), w);
            let code = self.vcode(sub, w);
            return self.modify(code, r, w.view(), &[Opnd::Use(r, w.view()), Opnd::Use(ones, w.view()), Opnd::Mask(k, false)]);
        }
        let cmp = if elem == Elem::I16 { Vop::Pcmpeqw } else { Vop::Pcmpeqd };
        let smallest = self.konst(smallest, w, Fold::Whole);
        let hit = self.op3(cmp, w, r, smallest);
        self.op3(Vop::Pxor, w, r, hit)
    }

    fn mul_i8(&mut self, w: Width, x: VReg, y: VReg) -> VReg {
        let even = self.op3(Vop::Pmullw, w, x, y);
        let low = self.konst(Lanes::splat(0x00ff, 2), w, Fold::Elem(4));
        let even = self.op3(Vop::Pand, w, even, low);
        let (x, y) = (self.op2i(Vop::PsrlwI, w, x, 8), self.op2i(Vop::PsrlwI, w, y, 8));
        let odd = self.op3(Vop::Pmullw, w, x, y);
        let odd = self.op2i(Vop::PsllwI, w, odd, 8);
        self.op3(Vop::Por, w, even, odd)
    }

    /// Low 64 bits of products from 32-bit ones.
    fn mul_i64(&mut self, w: Width, x: VReg, y: VReg) -> VReg {
        let low = self.op3(Vop::Pmuludq, w, x, y);
        let (xh, yh) = (self.op2i(Vop::PsrlqI, w, x, 32), self.op2i(Vop::PsrlqI, w, y, 32));
        let (p, q) = (self.op3(Vop::Pmuludq, w, xh, y), self.op3(Vop::Pmuludq, w, yh, x));
        let cross = self.op3(Vop::Paddq, w, p, q);
        let cross = self.op2i(Vop::PsllqI, w, cross, 32);
        self.op3(Vop::Paddq, w, low, cross)
    }

    fn min_max_i64(&mut self, op: BinOp, w: Width, x: VReg, y: VReg) -> VReg {
        let greater = self.greater_i64(matches!(op, BinOp::MinU | BinOp::MaxU), w, x, y);
        let (high, low) = if matches!(op, BinOp::Max | BinOp::MaxU) { (x, y) } else { (y, x) };
        self.blend_lanes(64, w, greater, high, low)
    }

    /// `x > y` on 64-bit lanes, without mask registers.
    pub(super) fn greater_i64(&mut self, unsigned: bool, w: Width, x: VReg, y: VReg) -> VReg {
        if !unsigned {
            return self.op3(Vop::Pcmpgtq, w, x, y);
        }
        let [x, y] = [x, y].map(|v| {
            let sign = self.konst(Self::sign_lanes(Elem::I64), w, Fold::Whole);
            self.op3(Vop::Pxor, w, v, sign)
        });
        self.op3(Vop::Pcmpgtq, w, x, y)
    }

    // ---- shifts ----

    fn shift(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> VReg {
        let w = self.width(ty);
        let bits = ty.elem.bits();
        let x = self.reg(a);
        if let Some(n) = self.splat_bits(b) {
            let n = n.min(u64::from(if op == BinOp::ShrS { bits - 1 } else { bits })) as u8;
            return self.shift_lanes(op, ty.elem, w, x, n);
        }
        let y = self.reg(b);
        self.shift_each(op, ty.elem, w, x, y)
    }

    /// Shifts every lane by `n`.
    pub(super) fn shift_lanes(&mut self, op: BinOp, elem: Elem, w: Width, x: VReg, n: u8) -> VReg {
        match elem {
            Elem::I8 if n >= 8 => self.lanes_reg(Lanes::Splat32(0), w),
            Elem::I8 if op == BinOp::ShrS => {
                let even = self.op2i(Vop::PsllwI, w, x, 8);
                let even = self.op2i(Vop::PsrawI, w, even, n);
                let even = self.op2i(Vop::PsrlwI, w, even, 8);
                let odd = self.op2i(Vop::PsrawI, w, x, n);
                self.merge_bytes(w, even, odd)
            }
            Elem::I8 => {
                let (vop, keep) = if op == BinOp::Shl { (Vop::PsllwI, 0xffu64 << n) } else { (Vop::PsrlwI, 0xff >> n) };
                let y = self.op2i(vop, w, x, n);
                let keep = self.konst(Lanes::splat(keep, 1), w, Fold::Elem(4));
                self.op3(Vop::Pand, w, y, keep)
            }
            Elem::I64 if op == BinOp::ShrS && !self.isa.evex => {
                let n = self.lanes_reg(Lanes::splat(u64::from(n), 8), w);
                self.shift_each(op, elem, w, x, n)
            }
            _ => self.op2i(shifts(op).imm[lane_index(elem) - 1], w, x, n),
        }
    }

    /// The even bytes of one vector, which is zero at the odd ones, with the odd bytes of another.
    fn merge_bytes(&mut self, w: Width, even: VReg, odd: VReg) -> VReg {
        let high = self.konst(Lanes::splat(0xff00, 2), w, Fold::Elem(4));
        let odd = self.op3(Vop::Pand, w, odd, high);
        self.op3(Vop::Por, w, even, odd)
    }

    /// Shifts each lane by the amount in the same lane.
    fn shift_each(&mut self, op: BinOp, elem: Elem, w: Width, x: VReg, y: VReg) -> VReg {
        let evex = self.isa.evex;
        match elem {
            Elem::I64 if op == BinOp::ShrS && !evex => {
                // ((x ^ s) >>> n) ^ s with s the sign in every bit; amounts beyond the lane leave s.
                let zero = self.zero();
                let sign = self.op3(Vop::Pcmpgtq, w, zero, x);
                let flipped = self.op3(Vop::Pxor, w, x, sign);
                let shifted = self.op3(Vop::Psrlvq, w, flipped, y);
                self.op3(Vop::Pxor, w, shifted, sign)
            }
            Elem::I32 | Elem::I64 => self.op3(shifts(op).each[lane_index(elem) - 1], w, x, y),
            Elem::I16 if evex => self.op3(shifts(op).each[0], w, x, y),
            _ => self.shift_halves(op, elem, w, x, y),
        }
    }

    /// Shifts narrow lanes as the even and the odd half of lanes twice as wide.
    fn shift_halves(&mut self, op: BinOp, elem: Elem, w: Width, x: VReg, y: VReg) -> VReg {
        let (wide, half) = if elem == Elem::I8 { (Elem::I16, 8) } else { (Elem::I32, 16) };
        let low = Lanes::splat((1 << half) - 1, usize::from(half) / 4);
        let low = self.lanes_reg(low, w);
        let (ny_even, ny_odd) = (self.op3(Vop::Pand, w, y, low), self.shift_lanes(BinOp::ShrU, wide, w, y, half));
        let (even, odd) = match op {
            BinOp::Shl => {
                let even = self.shift_each(op, wide, w, x, ny_even);
                let top = self.op3(Vop::Pandn, w, low, x);
                (self.op3(Vop::Pand, w, even, low), self.shift_each(op, wide, w, top, ny_odd))
            }
            BinOp::ShrU => {
                let bottom = self.op3(Vop::Pand, w, x, low);
                (self.shift_each(op, wide, w, bottom, ny_even), self.shift_each(op, wide, w, x, ny_odd))
            }
            _ => {
                let raised = self.shift_lanes(BinOp::Shl, wide, w, x, half);
                let even = self.shift_each(op, wide, w, raised, ny_even);
                (self.shift_lanes(BinOp::ShrU, wide, w, even, half), self.shift_each(op, wide, w, x, ny_odd))
            }
        };
        let odd = self.op3(Vop::Pandn, w, low, odd);
        self.op3(Vop::Por, w, even, odd)
    }
}
