//! Operators without vector instructions: lane by lane through the frame. Right, not fast.

use super::Lower;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use iced_x86::{Code, OpKind};
use regalloc2::VReg;
use tflc_kir::{ConvertOp, Elem, Mem as Element, MemOp, Type, Value};

impl Lower<'_> {
    /// A part of the frame that holds a vector.
    fn buffer(&mut self, w: Width) -> Mem {
        Mem::at(Base::Frame, self.frame_bytes(w.bytes(), w.bytes()) as i32)
    }

    fn spill(&mut self, w: Width, x: VReg) -> Mem {
        let at = self.buffer(w);
        let code = self.vcode(Vop::MovupsS, w);
        self.emit(code, &[Opnd::Mem(at), Opnd::Use(x, w.view())]);
        at
    }

    fn store_gpr(&mut self, bytes: u32, r: VReg, at: Mem) {
        let (code, view) = match bytes {
            1 => (Code::Mov_rm8_r8, View::B),
            2 => (Code::Mov_rm16_r16, View::W),
            4 => (Code::Mov_rm32_r32, View::D),
            _ => (Code::Mov_rm64_r64, View::Q),
        };
        self.emit(code, &[Opnd::Mem(at), Opnd::Use(r, view)]);
    }

    fn load_gpr(&mut self, bytes: u32, at: Mem) -> VReg {
        let (mem, ty) = match bytes {
            1 => (Element::U8, Type::I32),
            2 => (Element::U16, Type::I32),
            4 => (Element::U32, Type::I32),
            _ => (Element::I64, Type::I64),
        };
        self.load_scalar(mem, ty, at)
    }

    pub(super) fn leading_zeros(&mut self, ty: Type, a: Value) -> VReg {
        let w = self.width(ty);
        let x = self.reg(a);
        if self.isa.evex && ty.elem.bits() >= 32 {
            return self.op2(if ty.elem == Elem::I64 { Vop::Plzcntq } else { Vop::Plzcntd }, w, x);
        }
        let bytes = ty.elem.bits() / 8;
        let from = self.spill(w, x);
        let to = self.buffer(w);
        for i in 0..u32::from(ty.lanes) {
            let offset = (i * bytes) as i32;
            let lane = self.load_gpr(bytes, from.offset(offset));
            let (code, view) = if bytes == 8 { (Code::Lzcnt_r64_rm64, View::Q) } else { (Code::Lzcnt_r32_rm32, View::D) };
            let mut n = self.def(code, GPR, view, &[Opnd::Use(lane, view)]);
            if bytes < 4 {
                n = self.modify(Code::Sub_rm32_imm8, n, View::D, &[Opnd::Imm(OpKind::Immediate8to32, 32 - 8 * i64::from(bytes))]);
            }
            self.store_gpr(bytes, n, to.offset(offset));
        }
        self.op2(Vop::MovupsL, w, to)
    }

    /// Conversions between 64-bit integers and floats.
    pub(super) fn convert_lanes(&mut self, op: ConvertOp, from: Type, to: Type, x: VReg) -> VReg {
        let source = self.spill(self.width(from), x);
        let w = self.width(to);
        let target = self.buffer(w);
        let (from_bytes, to_bytes) = (from.elem.bits() / 8, to.elem.bits() / 8);
        for i in 0..u32::from(to.lanes) {
            let at = source.offset((i * from_bytes) as i32);
            let lane = if from.elem.is_float() { self.load_scalar_float(from_bytes as u8, at) } else { self.load_gpr(from_bytes, at) };
            let r = self.convert_scalar(op, Type::scalar(from.elem), Type::scalar(to.elem), lane);
            let at = target.offset((i * to_bytes) as i32);
            if to.elem.is_float() {
                let code = if to_bytes == 4 { Code::VEX_Vmovss_m32_xmm } else { Code::VEX_Vmovsd_m64_xmm };
                self.emit(code, &[Opnd::Mem(at), Opnd::Use(r, View::X)]);
            } else {
                self.store_gpr(to_bytes, r, at);
            }
        }
        self.op2(Vop::MovupsL, w, target)
    }

    /// The lanes of a mask as bytes in the frame, all ones where set; with their lane width in bytes.
    pub(super) fn lane_flags(&mut self, mask: Value) -> (Mem, u32) {
        // A constant mask gets its lane width along with its register.
        let r = self.reg(mask);
        let bits = u32::from(self.mask_bits[self.an.root(mask).index()]);
        (self.spill(Width::holding(u32::from(self.ty(mask).lanes) * bits / 8), r), bits / 8)
    }

    /// The address of lane `i` where its flag is set, else of a place in the frame that anything may touch.
    fn lane_address(&mut self, flags: (Mem, u32), i: u32, at: Mem, dummy: Mem) -> Mem {
        let real = self.lea(at);
        let other = self.lea(dummy);
        let flag = flags.0.offset((i * flags.1) as i32);
        self.emit(Code::Cmp_rm8_imm8, &[Opnd::Mem(flag), Opnd::imm8(0)]);
        let address = self.cmov(Cc::Ne, Type::PTR, real, other);
        Mem::at(Base::Reg(address), 0)
    }

    /// Loads lanes of `bytes` bytes whose flag is set; zero elsewhere.
    pub(super) fn load_lanes_if(&mut self, bytes: u32, lanes: u32, flags: (Mem, u32), at: Mem) -> VReg {
        let w = Width::holding(bytes * lanes);
        let zero = self.zero();
        let target = self.spill(w, zero);
        let dummy = self.spill(Width::X, zero);
        for i in 0..lanes {
            let offset = (i * bytes) as i32;
            let from = self.lane_address(flags, i, at.offset(offset), dummy);
            let r = self.load_gpr(bytes, from);
            self.store_gpr(bytes, r, target.offset(offset));
        }
        self.op2(Vop::MovupsL, w, target)
    }

    /// Stores lanes of `bytes` bytes whose flag is set.
    pub(super) fn store_lanes_if(&mut self, bytes: u32, lanes: u32, flags: (Mem, u32), x: VReg, at: Mem) {
        let source = self.spill(Width::holding(bytes * lanes), x);
        let dummy = self.buffer(Width::X);
        for i in 0..lanes {
            let offset = (i * bytes) as i32;
            let r = self.load_gpr(bytes, source.offset(offset));
            let to = self.lane_address(flags, i, at.offset(offset), dummy);
            self.store_gpr(bytes, r, to);
        }
    }

    /// Gathers elements that the gather instructions cannot load without touching their neighbours.
    pub(super) fn gather_lanes(&mut self, m: MemOp, ty: Type, index: VReg, index_width: Width, base: Mem) -> VReg {
        let indices = self.spill(index_width, index);
        let w = self.width(ty);
        let bytes = ty.elem.bits() / 8;
        let target = self.buffer(w);
        for i in 0..u32::from(ty.lanes) {
            let offset = self.load_scalar(Element::S32, Type::I64, indices.offset(4 * i as i32));
            let from = Mem { index: Some((offset, m.addr.scale, View::Q)), ..base };
            let to = target.offset((i * bytes) as i32);
            match m.mem {
                Element::F16 | Element::BF16 => {
                    let x = self.load_scalar(m.mem, Type::F32, from);
                    let code = if self.isa.evex { Code::EVEX_Vmovss_m32_k1_xmm } else { Code::VEX_Vmovss_m32_xmm };
                    self.emit(code, &[Opnd::Mem(to), Opnd::Use(x, View::X)]);
                }
                _ => {
                    let scalar = if bytes == 8 { Type::I64 } else { Type::I32 };
                    let r = self.load_scalar(m.mem, scalar, from);
                    self.store_gpr(bytes, r, to);
                }
            }
        }
        self.op2(Vop::MovupsL, w, target)
    }
}
