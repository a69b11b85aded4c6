//! Movement of lanes: splat, extract, insert, parts, interleaving, packing and reductions.

use super::Lower;
use super::int::lane_index;
use super::values::Fold;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use iced_x86::Code;
use regalloc2::VReg;
use tflc_kir::{Elem, ReduceOp, Type, Value};

impl Lower<'_> {
    // ---- 128- and 256-bit blocks ----

    /// 128-bit block `i` of a vector.
    pub(super) fn extract_block(&mut self, w: Width, x: VReg, i: u8) -> VReg {
        if i == 0 {
            return x;
        }
        let d = self.vreg(VEC);
        let code = self.vcode(Vop::Extract128, w);
        self.emit(code, &[Opnd::Def(d, View::X), Opnd::Use(x, w.view()), Opnd::imm8(i)]);
        d
    }

    /// Two 128-bit blocks as 256 bits.
    pub(super) fn join_blocks(&mut self, low: VReg, high: VReg) -> VReg {
        let code = self.vcode(Vop::Insert128, Width::Y);
        self.def(code, VEC, View::Y, &[Opnd::Use(low, View::Y), Opnd::Use(high, View::X), Opnd::imm8(1)])
    }

    /// Part `i` of width `to` of a vector of width `from`.
    fn part(&mut self, from: Width, to: Width, x: VReg, i: u16) -> VReg {
        if i == 0 {
            return x;
        }
        match to {
            Width::X => self.extract_block(from, x, i as u8),
            _ => {
                let d = self.vreg(VEC);
                let code = self.vcode(Vop::Extract256, from);
                self.emit(code, &[Opnd::Def(d, View::Y), Opnd::Use(x, from.view()), Opnd::imm8(i as u8)]);
                d
            }
        }
    }

    pub(super) fn extract_part(&mut self, i: u16, ty: Type, a: Value, result: Value) -> VReg {
        if ty.elem == Elem::Bool {
            return self.mask_part(i, ty, a, result);
        }
        let x = self.reg(a);
        self.part(self.width(self.ty(a)), self.width(ty), x, i)
    }

    pub(super) fn concat(&mut self, ty: Type, a: Value, b: Value, result: Value) -> VReg {
        if ty.elem == Elem::Bool {
            return self.concat_masks(ty, a, b, result);
        }
        let (x, y) = (self.reg(a), self.reg(b));
        match self.width(ty) {
            Width::Z => {
                let code = self.vcode(Vop::Insert256, Width::Z);
                self.def(code, VEC, View::Z, &[Opnd::Use(x, View::Z), Opnd::Use(y, View::Y), Opnd::imm8(1)])
            }
            _ => self.join_blocks(x, y),
        }
    }

    // ---- splat ----

    pub(super) fn splat(&mut self, ty: Type, a: Value, result: Value) -> VReg {
        match ty.elem {
            Elem::Bool => self.splat_mask(ty, a, result),
            Elem::F32 | Elem::F64 => {
                let x = self.reg(a);
                self.splat_low(ty, x)
            }
            _ => {
                let r = self.reg(a);
                self.splat_gpr(ty, r)
            }
        }
    }

    /// The lowest lane in every lane.
    pub(super) fn splat_low(&mut self, ty: Type, x: VReg) -> VReg {
        let op = match ty.elem.bits() {
            8 => Vop::Pbroadcastb,
            16 => Vop::Pbroadcastw,
            32 => Vop::BroadcastssX,
            _ => Vop::BroadcastsdX,
        };
        self.op2_from(op, self.width(ty), Width::X, x)
    }

    /// The low bits of a general register in every lane.
    pub(super) fn splat_gpr(&mut self, ty: Type, r: VReg) -> VReg {
        let long = ty.elem.bits() == 64;
        if !self.isa.evex {
            let x = self.to_vector(if long { Type::I64 } else { Type::I32 }, r);
            return self.splat_low(ty, x);
        }
        let w = self.width(ty);
        let op = [Vop::PbroadcastbR, Vop::PbroadcastwR, Vop::PbroadcastdR, Vop::PbroadcastqR][lane_index(ty.elem)];
        let code = self.vcode(op, w);
        self.def(code, VEC, w.view(), &[Opnd::Use(r, if long { View::Q } else { View::D })])
    }

    // ---- single lanes ----

    pub(super) fn extract_lane(&mut self, i: u16, a: Value) -> VReg {
        let ty = self.ty(a);
        if ty.elem == Elem::Bool {
            return self.mask_lane(i, a);
        }
        let bytes = ty.elem.bits() / 8;
        let per_block = 16 / bytes as u16;
        let x = self.reg(a);
        let block = self.extract_block(self.width(ty), x, (i / per_block) as u8);
        let lane = (i % per_block) as u8;
        if ty.elem.is_float() {
            return match (lane, bytes) {
                (0, _) => block,
                (_, 4) => self.op2i(Vop::Pshufd, Width::X, block, lane),
                _ => self.op2i(Vop::Pshufd, Width::X, block, 0b1110),
            };
        }
        let evex = self.isa.evex;
        let pick = |v, e| if evex { e } else { v };
        let (code, view) = match bytes {
            1 => (pick(Code::VEX_Vpextrb_r32m8_xmm_imm8, Code::EVEX_Vpextrb_r32m8_xmm_imm8), View::D),
            2 => (pick(Code::VEX_Vpextrw_r32_xmm_imm8, Code::EVEX_Vpextrw_r32_xmm_imm8), View::D),
            4 if lane == 0 => return self.to_gpr(Type::I32, block),
            8 if lane == 0 => return self.to_gpr(Type::I64, block),
            4 => (pick(Code::VEX_Vpextrd_rm32_xmm_imm8, Code::EVEX_Vpextrd_rm32_xmm_imm8), View::D),
            _ => (pick(Code::VEX_Vpextrq_rm64_xmm_imm8, Code::EVEX_Vpextrq_rm64_xmm_imm8), View::Q),
        };
        self.def(code, GPR, view, &[Opnd::Use(block, View::X), Opnd::imm8(lane)])
    }

    pub(super) fn insert_lane(&mut self, i: u16, ty: Type, a: Value, s: Value) -> VReg {
        let w = self.width(ty);
        let (x, r) = (self.reg(a), self.reg(s));
        let wide = if ty.elem.is_float() { self.splat_low(ty, r) } else { self.splat_gpr(ty, r) };
        let lanes: Vec<bool> = (0..ty.lanes).map(|l| l == i).collect();
        let m = if self.isa.evex { self.make(super::values::Key::Mask(1 << i)) } else { self.mask_pattern(ty.elem.bits(), &lanes) };
        self.blend_lanes(ty.elem.bits(), w, m, wide, x)
    }

    // ---- pairs ----

    pub(super) fn unpack(&mut self, high: bool, ty: Type, a: Value, b: Value) -> VReg {
        let ops = if high {
            [Vop::Punpckhbw, Vop::Punpckhwd, Vop::Punpckhdq, Vop::Punpckhqdq]
        } else {
            [Vop::Punpcklbw, Vop::Punpcklwd, Vop::Punpckldq, Vop::Punpcklqdq]
        };
        let w = self.width(ty);
        let x = self.reg(a);
        let y = self.rm(b, w, Fold::of(ty.elem));
        self.op3(ops[lane_index_of(ty)], w, x, y)
    }

    pub(super) fn pack(&mut self, signed: bool, ty: Type, a: Value, b: Value) -> VReg {
        let op = match (ty.elem, signed) {
            (Elem::I16, true) => Vop::Packssdw,
            (Elem::I16, false) => Vop::Packusdw,
            (_, true) => Vop::Packsswb,
            (_, false) => Vop::Packuswb,
        };
        let w = self.width(ty);
        let x = self.reg(a);
        let y = self.rm(b, w, Fold::of(self.ty(a).elem));
        self.op3(op, w, x, y)
    }

    // ---- reductions ----

    pub(super) fn reduce(&mut self, op: ReduceOp, a: Value) -> VReg {
        let ty = self.ty(a);
        if ty.elem == Elem::Bool {
            return self.reduce_mask(op, a);
        }
        let mut x = self.reg(a);
        let mut w = self.width(ty);
        let mut lanes = ty.lanes;
        while lanes > 1 {
            let half = lanes / 2;
            let bytes = u32::from(half) * ty.elem.bits() / 8;
            let high = match bytes {
                16 | 32 => {
                    let to = Width::holding(bytes);
                    let high = self.part(w, to, x, 1);
                    w = to;
                    high
                }
                8 => self.op2i(Vop::Pshufd, Width::X, x, 0b1110),
                _ => self.op2i(Vop::Pshufd, Width::X, x, 0b0001),
            };
            x = self.combine(op, ty.elem, w, x, high);
            lanes = half;
        }
        if ty.elem.is_float() { x } else { self.to_gpr(Type::scalar(ty.elem), x) }
    }

    fn combine(&mut self, op: ReduceOp, elem: Elem, w: Width, x: VReg, y: VReg) -> VReg {
        let double = elem == Elem::F64;
        let evex = self.isa.evex;
        let vop = match (op, elem) {
            (ReduceOp::Add, Elem::F32 | Elem::F64) => [Vop::Addps, Vop::Addpd][usize::from(double)],
            (ReduceOp::Min, Elem::F32 | Elem::F64) => [Vop::Minps, Vop::Minpd][usize::from(double)],
            (ReduceOp::Max, Elem::F32 | Elem::F64) => [Vop::Maxps, Vop::Maxpd][usize::from(double)],
            (ReduceOp::Add, Elem::I64) => Vop::Paddq,
            (ReduceOp::Add, _) => Vop::Paddd,
            (ReduceOp::Min, Elem::I64) if evex => Vop::Pminsq,
            (ReduceOp::Max, Elem::I64) if evex => Vop::Pmaxsq,
            (ReduceOp::Min | ReduceOp::Max, Elem::I64) => {
                let greater = self.op3(Vop::Pcmpgtq, w, x, y);
                let (high, low) = if op == ReduceOp::Max { (x, y) } else { (y, x) };
                return self.blend_lanes(64, w, greater, high, low);
            }
            (ReduceOp::Min, _) => Vop::Pminsd,
            (ReduceOp::Max, _) => Vop::Pmaxsd,
            (ReduceOp::Or, _) => Vop::Por,
            (ReduceOp::And, _) => Vop::Pand,
        };
        self.op3(vop, w, x, y)
    }
}

fn lane_index_of(ty: Type) -> usize {
    lane_index(ty.elem)
}
