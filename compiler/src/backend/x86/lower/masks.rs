//! Masks: truth values per lane.
//!
//! With AVX-512 a mask is a mask register; bits beyond its lanes hold anything. Without, it is a vector whose lanes are all zeros or all ones and as
//! wide as those of the comparison that made it; each user converts it to the width it needs. Values that cross blocks have a canonical width.

use super::Lower;
use super::values::Key;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use iced_x86::{Code, OpKind};
use regalloc2::{RegClass, VReg};
use tflc_kir::{BinOp, Elem, ReduceOp, Type, Value};

/// Mask register instructions on 8, 16, 32 and 64 bits.
fn sized(lanes: u16, codes: [Code; 4]) -> Code {
    codes[match lanes {
        0..=8 => 0,
        9..=16 => 1,
        17..=32 => 2,
        _ => 3,
    }]
}

/// Lane width, without mask registers, of masks that cross blocks.
fn canonical_bits(lanes: u16) -> u32 {
    match lanes {
        0..=2 => 64,
        3..=8 => 32,
        _ => 8,
    }
}

impl Lower<'_> {
    /// Register class of a value.
    pub(super) fn class(&self, v: Value) -> RegClass {
        let ty = self.ty(v);
        match ty.elem {
            Elem::Bool if ty.is_vector() && self.isa.evex => MASK,
            Elem::F32 | Elem::F64 => VEC,
            _ if ty.is_vector() => VEC,
            _ => GPR,
        }
    }

    fn lane_masks(&self, v: Value) -> bool {
        let ty = self.ty(v);
        !self.isa.evex && ty.elem == Elem::Bool && ty.is_vector()
    }

    /// Notes the lane width of a mask value, where masks are vectors.
    pub(super) fn set_mask_bits(&mut self, v: Value, bits: u32) {
        if self.lane_masks(v) {
            self.mask_bits[v.index()] = bits as u8;
        }
    }

    pub(super) fn set_canonical_mask(&mut self, v: Value) {
        self.set_mask_bits(v, canonical_bits(self.ty(v).lanes));
    }

    /// The register of a value that crosses blocks.
    pub(super) fn canonical_reg(&mut self, v: Value) -> VReg {
        if self.lane_masks(v) { self.mask(v, canonical_bits(self.ty(v).lanes)) } else { self.reg(v) }
    }

    /// A mask for lanes of `bits` bits.
    pub(super) fn mask(&mut self, v: Value, bits: u32) -> VReg {
        let r = self.reg(v);
        if self.isa.evex {
            return r;
        }
        let from = u32::from(self.mask_bits[self.an.root(v).index()]);
        self.convert_mask(r, self.ty(v).lanes, from, bits)
    }

    fn convert_mask(&mut self, r: VReg, lanes: u16, from: u32, to: u32) -> VReg {
        if to > from {
            let i = from.trailing_zeros() as usize - 3;
            let vop = match to / from {
                2 => [Vop::Pmovsxbw, Vop::Pmovsxwd, Vop::Pmovsxdq][i],
                4 => [Vop::Pmovsxbd, Vop::Pmovsxwq, Vop::Pmovsxwq][i],
                _ => Vop::Pmovsxbq,
            };
            return self.op2_from(vop, Width::holding(u32::from(lanes) * to / 8), Width::X, r);
        }
        let mut r = r;
        let mut bits = from;
        while bits > to {
            r = self.halve_mask(r, lanes, bits);
            bits /= 2;
        }
        r
    }

    /// Halves the lane width; saturation keeps all ones.
    fn halve_mask(&mut self, r: VReg, lanes: u16, bits: u32) -> VReg {
        let w = Width::holding(u32::from(lanes) * bits / 8);
        let pack = |s: &mut Self, a: VReg, b: VReg| match bits {
            16 => s.op3(Vop::Packsswb, Width::X, a, b),
            32 => s.op3(Vop::Packssdw, Width::X, a, b),
            // A 64-bit lane is two equal 32-bit lanes.
            _ => {
                let [a, b] = [a, b].map(|v| s.op2i(Vop::Pshufd, Width::X, v, 0b1000));
                s.op3(Vop::Punpcklqdq, Width::X, a, b)
            }
        };
        match w {
            Width::X => pack(self, r, r),
            _ => {
                let high = self.extract_block(w, r, 1);
                pack(self, r, high)
            }
        }
    }

    /// A constant mask.
    pub(super) fn mask_const(&mut self, lanes: &[bool], v: Value) -> VReg {
        if self.isa.evex {
            let bits = lanes.iter().enumerate().fold(0, |m, (i, &l)| m | u64::from(l) << i);
            return self.make(Key::Mask(bits));
        }
        let bits = canonical_bits(lanes.len() as u16);
        self.set_mask_bits(v, bits);
        self.mask_pattern(bits, lanes)
    }

    /// A constant vector of all-ones and zero lanes.
    pub(super) fn mask_pattern(&mut self, bits: u32, lanes: &[bool]) -> VReg {
        let w = Width::holding(lanes.len() as u32 * bits / 8);
        let mut padded = lanes.to_vec();
        padded.resize((w.bytes() * 8 / bits) as usize, false);
        let pattern = Self::lane_pattern(bits, &padded);
        self.lanes_reg(pattern, w)
    }

    pub(super) fn mask_not(&mut self, ty: Type, a: Value, result: Value) -> VReg {
        let x = self.reg(a);
        if self.isa.evex {
            let code = sized(ty.lanes, [Code::VEX_Knotb_kr_kr, Code::VEX_Knotw_kr_kr, Code::VEX_Knotd_kr_kr, Code::VEX_Knotq_kr_kr]);
            return self.def(code, MASK, View::K, &[Opnd::Use(x, View::K)]);
        }
        let bits = u32::from(self.mask_bits[self.an.root(a).index()]);
        self.set_mask_bits(result, bits);
        self.invert(Width::holding(u32::from(ty.lanes) * bits / 8), x)
    }

    pub(super) fn mask_bin(&mut self, op: BinOp, ty: Type, a: Value, b: Value, result: Value) -> VReg {
        let x = self.reg(a);
        if self.isa.evex {
            let codes = match op {
                BinOp::And => [Code::VEX_Kandb_kr_kr_kr, Code::VEX_Kandw_kr_kr_kr, Code::VEX_Kandd_kr_kr_kr, Code::VEX_Kandq_kr_kr_kr],
                BinOp::Or => [Code::VEX_Korb_kr_kr_kr, Code::VEX_Korw_kr_kr_kr, Code::VEX_Kord_kr_kr_kr, Code::VEX_Korq_kr_kr_kr],
                BinOp::Xor => [Code::VEX_Kxorb_kr_kr_kr, Code::VEX_Kxorw_kr_kr_kr, Code::VEX_Kxord_kr_kr_kr, Code::VEX_Kxorq_kr_kr_kr],
                _ => return self.fail("arithmetic on masks"),
            };
            let y = self.reg(b);
            return self.mask3(sized(ty.lanes, codes), x, y);
        }
        let bits = u32::from(self.mask_bits[self.an.root(a).index()]);
        let y = self.mask(b, bits);
        self.set_mask_bits(result, bits);
        let w = Width::holding(u32::from(ty.lanes) * bits / 8);
        match op {
            BinOp::And => self.op3(Vop::Pand, w, x, y),
            BinOp::Or => self.op3(Vop::Por, w, x, y),
            BinOp::Xor => self.op3(Vop::Pxor, w, x, y),
            _ => self.fail("arithmetic on masks"),
        }
    }

    fn mask3(&mut self, code: Code, x: VReg, y: VReg) -> VReg {
        self.def(code, MASK, View::K, &[Opnd::Use(x, View::K), Opnd::Use(y, View::K)])
    }

    fn mask_shift(&mut self, left: bool, lanes: u16, x: VReg, n: u8) -> VReg {
        let codes = if left {
            [Code::VEX_Kshiftlb_kr_kr_imm8, Code::VEX_Kshiftlw_kr_kr_imm8, Code::VEX_Kshiftld_kr_kr_imm8, Code::VEX_Kshiftlq_kr_kr_imm8]
        } else {
            [Code::VEX_Kshiftrb_kr_kr_imm8, Code::VEX_Kshiftrw_kr_kr_imm8, Code::VEX_Kshiftrd_kr_kr_imm8, Code::VEX_Kshiftrq_kr_kr_imm8]
        };
        self.def(sized(lanes, codes), MASK, View::K, &[Opnd::Use(x, View::K), Opnd::imm8(n)])
    }

    /// The bits of a mask in a general register; bits beyond its lanes are zero.
    fn mask_to_gpr(&mut self, v: Value) -> VReg {
        let lanes = self.ty(v).lanes;
        let r = self.reg(v);
        let (bits, delivered) = if self.isa.evex {
            let code = sized(lanes, [Code::VEX_Kmovb_r32_kr, Code::VEX_Kmovw_r32_kr, Code::VEX_Kmovd_r32_kr, Code::VEX_Kmovq_r64_kr]);
            let view = if lanes > 32 { View::Q } else { View::D };
            (self.def(code, GPR, view, &[Opnd::Use(r, View::K)]), u32::from(lanes.max(8)))
        } else {
            let width = u32::from(self.mask_bits[self.an.root(v).index()]);
            let w = Width::holding(u32::from(lanes) * width / 8);
            let (r, width, w) = if width == 16 { (self.convert_mask(r, lanes, 16, 8), 8, Width::X) } else { (r, width, w) };
            let code = match (width, w) {
                (8, Width::X) => Code::VEX_Vpmovmskb_r32_xmm,
                (8, _) => Code::VEX_Vpmovmskb_r32_ymm,
                (32, Width::X) => Code::VEX_Vmovmskps_r32_xmm,
                (32, _) => Code::VEX_Vmovmskps_r32_ymm,
                (_, Width::X) => Code::VEX_Vmovmskpd_r32_xmm,
                (_, _) => Code::VEX_Vmovmskpd_r32_ymm,
            };
            (self.def(code, GPR, View::D, &[Opnd::Use(r, w.view())]), w.bytes() * 8 / width)
        };
        if delivered == u32::from(lanes) { bits } else { self.and_imm(Type::I32, bits, (1 << lanes) - 1) }
    }

    pub(super) fn reduce_mask(&mut self, op: ReduceOp, a: Value) -> VReg {
        let cc = self.test_mask(op, a);
        self.set(cc)
    }

    /// Sets the flags for whether any or all lanes hold; gives the condition under which that is so.
    pub(super) fn test_mask(&mut self, op: ReduceOp, a: Value) -> Cc {
        let lanes = self.ty(a).lanes;
        let bits = self.mask_to_gpr(a);
        let wide = lanes > 32;
        match op {
            ReduceOp::Or => {
                let (code, view) = if wide { (Code::Test_rm64_r64, View::Q) } else { (Code::Test_rm32_r32, View::D) };
                self.emit(code, &[Opnd::Use(bits, view), Opnd::Use(bits, view)]);
                Cc::Ne
            }
            ReduceOp::And if wide => {
                self.emit(Code::Cmp_rm64_imm8, &[Opnd::Use(bits, View::Q), Opnd::Imm(OpKind::Immediate8to64, -1)]);
                Cc::E
            }
            ReduceOp::And => {
                self.emit(Code::Cmp_rm32_imm32, &[Opnd::Use(bits, View::D), Opnd::Imm(OpKind::Immediate32, (1i64 << lanes) - 1)]);
                Cc::E
            }
            _ => {
                self.fail("arithmetic reduction of truth values");
                Cc::E
            }
        }
    }

    pub(super) fn mask_lane(&mut self, i: u16, a: Value) -> VReg {
        let bits = self.mask_to_gpr(a);
        let ty = if self.ty(a).lanes > 32 { Type::I64 } else { Type::I32 };
        let bit = if i == 0 { bits } else { self.shift_imm(BinOp::ShrU, ty, bits, i as u8) };
        self.and_imm(Type::I32, bit, 1)
    }

    pub(super) fn splat_mask(&mut self, ty: Type, a: Value, result: Value) -> VReg {
        let r = self.reg(a);
        let r = self.spread_bool(r);
        if self.isa.evex {
            return self.def(Code::VEX_Kmovq_kr_r64, MASK, View::K, &[Opnd::Use(r, View::Q)]);
        }
        let bits = canonical_bits(ty.lanes);
        self.set_mask_bits(result, bits);
        let x = self.to_vector(Type::I64, r);
        self.op2_from(Vop::Pbroadcastq, Width::holding(u32::from(ty.lanes) * bits / 8), Width::X, x)
    }

    pub(super) fn mask_part(&mut self, part: u16, ty: Type, a: Value, result: Value) -> VReg {
        let from = self.ty(a).lanes;
        let first = part * ty.lanes;
        let x = self.reg(a);
        if self.isa.evex {
            return if first == 0 { x } else { self.mask_shift(false, from, x, first as u8) };
        }
        // A part is at most half of 256 bits.
        let bits = u32::from(self.mask_bits[self.an.root(a).index()]);
        let w = Width::holding(u32::from(from) * bits / 8);
        let offset_bytes = u32::from(first) * bits / 8;
        let block = if w > Width::X { self.extract_block(w, x, (offset_bytes / 16) as u8) } else { x };
        let rest = offset_bytes % 16;
        let low = if rest == 0 { block } else { self.op2i(Vop::PsrldqI, Width::X, block, rest as u8) };
        self.set_mask_bits(result, bits);
        low
    }

    pub(super) fn concat_masks(&mut self, ty: Type, a: Value, b: Value, result: Value) -> VReg {
        let half = ty.lanes / 2;
        if self.isa.evex {
            let (x, y) = (self.reg(a), self.reg(b));
            let unpack = match half {
                8 => Code::VEX_Kunpckbw_kr_kr_kr,
                16 => Code::VEX_Kunpckwd_kr_kr_kr,
                32 => Code::VEX_Kunpckdq_kr_kr_kr,
                // Fewer lanes than a byte: shift the garbage out on both sides.
                n => {
                    let x = self.mask_shift(true, 8, x, 8 - n as u8);
                    let x = self.mask_shift(false, 8, x, 8 - n as u8);
                    let y = self.mask_shift(true, 8, y, n as u8);
                    return self.mask3(Code::VEX_Korb_kr_kr_kr, x, y);
                }
            };
            return self.mask3(unpack, y, x);
        }
        let bits = canonical_bits(ty.lanes);
        self.set_mask_bits(result, bits);
        let (x, y) = (self.mask(a, bits), self.mask(b, bits));
        match u32::from(half) * bits / 8 {
            16 => self.join_blocks(x, y),
            8 => self.op3(Vop::Punpcklqdq, Width::X, x, y),
            _ => self.fail("a mask too narrow to join"),
        }
    }

    pub(super) fn select_masks(&mut self, ty: Type, c: Value, a: Value, b: Value, result: Value) -> VReg {
        let scalar = !self.ty(c).is_vector();
        if self.isa.evex {
            let (x, y) = (self.reg(a), self.reg(b));
            let m = if scalar { self.splat_mask(ty, c, result) } else { self.reg(c) };
            // y ^ ((x ^ y) & m)
            let codes = [
                [Code::VEX_Kxorb_kr_kr_kr, Code::VEX_Kxorw_kr_kr_kr, Code::VEX_Kxord_kr_kr_kr, Code::VEX_Kxorq_kr_kr_kr],
                [Code::VEX_Kandb_kr_kr_kr, Code::VEX_Kandw_kr_kr_kr, Code::VEX_Kandd_kr_kr_kr, Code::VEX_Kandq_kr_kr_kr],
            ];
            let differ = self.mask3(sized(ty.lanes, codes[0]), x, y);
            let taken = self.mask3(sized(ty.lanes, codes[1]), differ, m);
            return self.mask3(sized(ty.lanes, codes[0]), y, taken);
        }
        let bits = canonical_bits(ty.lanes);
        let (x, y) = (self.mask(a, bits), self.mask(b, bits));
        let m = if scalar { self.splat_mask(ty, c, result) } else { self.mask(c, bits) };
        self.set_mask_bits(result, bits);
        self.blend_lanes(bits, Width::holding(u32::from(ty.lanes) * bits / 8), m, x, y)
    }

    /// 1 in the lanes of a mask, 0 elsewhere.
    pub(super) fn mask_to_ints(&mut self, ty: Type, a: Value) -> VReg {
        let w = self.width(ty);
        let i = super::int::lane_index(ty.elem);
        let ones = if self.isa.evex {
            let x = self.reg(a);
            let code = self.vcode([Vop::Pmovm2b, Vop::Pmovm2w, Vop::Pmovm2d, Vop::Pmovm2q][i], w);
            self.def(code, VEC, w.view(), &[Opnd::Use(x, View::K)])
        } else {
            self.mask(a, ty.elem.bits())
        };
        let zero = self.zero();
        self.op3([Vop::Psubb, Vop::Psubw, Vop::Psubd, Vop::Psubq][i], w, zero, ones)
    }

    /// The first `n` lanes.
    pub(super) fn first_mask(&mut self, n: u32) -> VReg {
        self.make(Key::Mask(if n >= 64 { u64::MAX } else { (1 << n) - 1 }))
    }
}
