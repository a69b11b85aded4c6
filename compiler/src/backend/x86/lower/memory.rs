//! Loads, stores, gathers and prefetches.
//!
//! A load that extends reads memory in the extending instruction; a partial one loads the elements as they are and extends them in the register, so that only the
//! active elements are touched. Stores go the other way. Partial accesses use mask registers, `vmaskmov`, or moves of powers of two.

use super::Lower;
use super::scalar::gview;
use super::values::Lanes;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use iced_x86::Code;
use regalloc2::VReg;
use tflc_kir::{Active, AddrMode, Elem, Locality, Mem as Element, MemOp, Narrow, Type, Value};

use super::narrow::Kind;

/// Elements as they lie in memory.
#[derive(Clone, Copy)]
struct Raw {
    /// Size of one in bytes.
    bytes: u32,
    /// How many there are.
    lanes: u32,
}

impl Raw {
    fn width(self) -> Width {
        Width::holding(self.bytes * self.lanes)
    }
}

impl Lower<'_> {
    pub(super) fn prefetch(&mut self, addr: AddrMode, locality: Locality, args: &[Value]) {
        let m = self.mem(addr, args);
        let code = match locality {
            Locality::L1 => Code::Prefetcht0_m8,
            Locality::L2 => Code::Prefetcht1_m8,
            Locality::NonTemporal => Code::Prefetchnta_m8,
        };
        self.emit(code, &[Opnd::Mem(m)]);
    }

    /// The mask operand of a memory operation.
    fn mask_arg(m: MemOp, args: &[Value]) -> Value {
        args[1 + usize::from(m.addr.scale != 0)]
    }

    pub(super) fn load(&mut self, m: MemOp, ty: Type, args: &[Value]) -> VReg {
        let at = self.mem(m.addr, args);
        if !ty.is_vector() {
            return self.load_scalar(m.mem, ty, at);
        }
        let w = self.width(ty);
        let raw = Raw { bytes: m.mem.bytes(), lanes: u32::from(ty.lanes) };
        let source = match m.active {
            Active::All => Rm::Mem(at),
            Active::First(n) => Rm::Reg(self.load_first(raw, u32::from(n), at)),
            Active::Mask => Rm::Reg(self.load_masked(raw, Self::mask_arg(m, args), at)),
        };
        self.extend_lanes(m.mem, ty.elem, w, raw.width(), source)
    }

    /// Elements to register lanes; memory operands are read whole.
    fn extend_lanes(&mut self, mem: Element, elem: Elem, w: Width, from: Width, source: Rm) -> VReg {
        let signed = matches!(mem, Element::S8 | Element::S16 | Element::S32);
        let pick = |s, z| if signed { s } else { z };
        let op = match (mem, elem) {
            (Element::F16, _) => Vop::Cvtph2ps,
            (Element::BF16, _) => {
                let x = self.op2_from(Vop::Pmovzxwd, w, from, source);
                return self.op2i(Vop::PslldI, w, x, 16);
            }
            (Element::S8 | Element::U8, Elem::I16) => pick(Vop::Pmovsxbw, Vop::Pmovzxbw),
            (Element::S8 | Element::U8, Elem::I32) => pick(Vop::Pmovsxbd, Vop::Pmovzxbd),
            (Element::S8 | Element::U8, Elem::I64) => pick(Vop::Pmovsxbq, Vop::Pmovzxbq),
            (Element::S16 | Element::U16, Elem::I32) => pick(Vop::Pmovsxwd, Vop::Pmovzxwd),
            (Element::S16 | Element::U16, Elem::I64) => pick(Vop::Pmovsxwq, Vop::Pmovzxwq),
            (Element::S32 | Element::U32, Elem::I64) => pick(Vop::Pmovsxdq, Vop::Pmovzxdq),
            _ => {
                return match source {
                    Rm::Reg(r) => r,
                    Rm::Mem(_) => self.op2(Vop::MovupsL, w, source),
                };
            }
        };
        self.op2_from(op, w, from, source)
    }

    pub(super) fn load_scalar(&mut self, mem: Element, ty: Type, at: Mem) -> VReg {
        let long = ty.elem == Elem::I64;
        let (code, view) = match mem {
            Element::S8 if long => (Code::Movsx_r64_rm8, View::Q),
            Element::S8 => (Code::Movsx_r32_rm8, View::D),
            Element::U8 => (Code::Movzx_r32_rm8, View::D),
            Element::S16 if long => (Code::Movsx_r64_rm16, View::Q),
            Element::S16 => (Code::Movsx_r32_rm16, View::D),
            Element::U16 => (Code::Movzx_r32_rm16, View::D),
            Element::S32 if long => (Code::Movsxd_r64_rm32, View::Q),
            Element::S32 | Element::U32 => (Code::Mov_r32_rm32, View::D),
            Element::I64 => (Code::Mov_r64_rm64, View::Q),
            Element::F32 => return self.load_scalar_float(4, at),
            Element::F64 => return self.load_scalar_float(8, at),
            Element::F16 | Element::BF16 => {
                let r = self.def(Code::Movzx_r32_rm16, GPR, View::D, &[Opnd::Mem(at)]);
                let x = self.to_vector(Type::I32, r);
                return if mem == Element::F16 { self.op2(Vop::Cvtph2ps, Width::X, x) } else { self.op2i(Vop::PslldI, Width::X, x, 16) };
            }
        };
        self.def(code, GPR, view, &[Opnd::Mem(at)])
    }

    pub(super) fn load_splat(&mut self, m: MemOp, ty: Type, args: &[Value]) -> VReg {
        let at = self.mem(m.addr, args);
        let w = self.width(ty);
        let (from, to) = (m.mem.bytes() * 8, ty.elem.bits());
        if m.mem == Element::F16 {
            let half = Width::holding(w.bytes() / 2);
            let x = self.broadcast_mem(2, half, at);
            return self.op2_from(Vop::Cvtph2ps, w, half, x);
        }
        let signed = matches!(m.mem, Element::S8 | Element::S16 | Element::S32);
        if from < to && signed && ty.elem == Elem::I64 && !self.isa.evex {
            let r = self.load_scalar(m.mem, Type::I64, at);
            return self.splat_gpr(ty, r);
        }
        let x = self.broadcast_mem(from / 8, w, at);
        if from == to {
            return x;
        }
        // Every narrow lane holds the element, so a shift extends it.
        let i = super::int::lane_index(ty.elem) - 1;
        let shift = match (m.mem, signed) {
            (Element::BF16, _) => Vop::PslldI,
            (_, true) => [Vop::PsrawI, Vop::PsradI, Vop::PsraqI][i],
            (_, false) => [Vop::PsrlwI, Vop::PsrldI, Vop::PsrlqI][i],
        };
        self.op2i(shift, w, x, (to - from) as u8)
    }

    // ---- partial loads ----

    fn load_first(&mut self, raw: Raw, n: u32, at: Mem) -> VReg {
        let bytes = n * raw.bytes;
        match bytes {
            4 | 8 => return self.load_scalar_float(bytes as u8, at),
            16 | 32 => return self.op2(Vop::MovupsL, Width::holding(bytes), at),
            _ => {}
        }
        if self.isa.evex {
            let k = self.first_mask(n);
            return self.load_with_mask(raw, k, at);
        }
        if raw.bytes >= 4 {
            let lanes: Vec<bool> = (0..raw.lanes).map(|i| i < n).collect();
            let mask = self.mask_pattern(raw.bytes * 8, &lanes);
            return self.maskmov_load(raw, mask, at);
        }
        if bytes > 16 {
            let low = self.op2(Vop::MovupsL, Width::X, at);
            let high = self.load_pieces(bytes - 16, at.offset(16));
            return self.join_blocks(low, high);
        }
        self.load_pieces(bytes, at)
    }

    /// Loads fewer than 16 bytes by powers of two; zero above.
    fn load_pieces(&mut self, bytes: u32, at: Mem) -> VReg {
        let mut done = 0;
        let mut x = None;
        for size in [8, 4, 2, 1].into_iter().filter(|s| bytes & s != 0) {
            let m = at.offset(done as i32);
            x = Some(match (x, size) {
                (None, 4 | 8) => self.load_scalar_float(size as u8, m),
                (None, _) => {
                    let code = if size == 2 { Code::Movzx_r32_rm16 } else { Code::Movzx_r32_rm8 };
                    let r = self.def(code, GPR, View::D, &[Opnd::Mem(m)]);
                    self.to_vector(Type::I32, r)
                }
                (Some(x), _) => self.insert_element(size, x, Opnd::Mem(m), (done / size) as u8),
            });
            done += size;
        }
        x.unwrap_or_else(|| self.zero())
    }

    /// `vpinsr` of an element of `bytes` bytes into a 128-bit register.
    pub(super) fn insert_element(&mut self, bytes: u32, x: VReg, from: Opnd, lane: u8) -> VReg {
        let evex = self.isa.evex;
        let pick = |v, e| if evex { e } else { v };
        let code = match bytes {
            1 => pick(Code::VEX_Vpinsrb_xmm_xmm_r32m8_imm8, Code::EVEX_Vpinsrb_xmm_xmm_r32m8_imm8),
            2 => pick(Code::VEX_Vpinsrw_xmm_xmm_r32m16_imm8, Code::EVEX_Vpinsrw_xmm_xmm_r32m16_imm8),
            4 => pick(Code::VEX_Vpinsrd_xmm_xmm_rm32_imm8, Code::EVEX_Vpinsrd_xmm_xmm_rm32_imm8),
            _ => pick(Code::VEX_Vpinsrq_xmm_xmm_rm64_imm8, Code::EVEX_Vpinsrq_xmm_xmm_rm64_imm8),
        };
        self.def(code, VEC, View::X, &[Opnd::Use(x, View::X), from, Opnd::imm8(lane)])
    }

    fn load_with_mask(&mut self, raw: Raw, k: VReg, at: Mem) -> VReg {
        let op = match raw.bytes {
            1 => Vop::Movdqu8L,
            2 => Vop::Movdqu16L,
            4 => Vop::Movdqu32L,
            _ => Vop::Movdqu64L,
        };
        let w = raw.width();
        let code = self.vcode(op, w);
        self.def(code, VEC, w.view(), &[Opnd::Mem(at), Opnd::Mask(k, true)])
    }

    fn maskmov_load(&mut self, raw: Raw, mask: VReg, at: Mem) -> VReg {
        let w = raw.width();
        let code = self.vcode(if raw.bytes == 4 { Vop::MaskmovpsL } else { Vop::MaskmovpdL }, w);
        self.def(code, VEC, w.view(), &[Opnd::Use(mask, w.view()), Opnd::Mem(at)])
    }

    fn load_masked(&mut self, raw: Raw, mask: Value, at: Mem) -> VReg {
        if self.isa.evex {
            let k = self.trimmed_mask(raw, mask);
            return self.load_with_mask(raw, k, at);
        }
        if raw.bytes >= 4 && raw.bytes * raw.lanes >= 16 {
            let m = self.mask(mask, raw.bytes * 8);
            return self.maskmov_load(raw, m, at);
        }
        let flags = self.lane_flags(mask);
        self.load_lanes_if(raw.bytes, raw.lanes, flags, at)
    }

    /// The mask register of a mask; where the lanes do not fill a 128-bit register, without the garbage above them.
    fn trimmed_mask(&mut self, raw: Raw, mask: Value) -> VReg {
        let k = self.reg(mask);
        if raw.bytes * raw.lanes >= 16 {
            return k;
        }
        let first = self.first_mask(raw.lanes);
        self.def(Code::VEX_Kandd_kr_kr_kr, MASK, View::K, &[Opnd::Use(k, View::K), Opnd::Use(first, View::K)])
    }

    // ---- stores ----

    pub(super) fn store(&mut self, m: MemOp, narrow: Narrow, args: &[Value]) {
        let data = args[args.len() - 1];
        let ty = self.ty(data);
        if !ty.is_vector() {
            return self.store_scalar(m, narrow, ty, data, args);
        }
        let w = self.width(ty);
        let raw = Raw { bytes: m.mem.bytes(), lanes: u32::from(ty.lanes) };
        let signed = matches!(m.mem, Element::S8 | Element::S16 | Element::S32);
        let kind = match (narrow, signed) {
            (Narrow::Wrap, _) => Kind::Wrap,
            (_, true) => Kind::SatS,
            (_, false) => Kind::SatU,
        };
        let x = self.reg(data);
        let at = self.mem(m.addr, args);
        let narrows = ty.elem.is_int() && m.mem.bytes() * 8 < ty.elem.bits();
        if narrows && self.isa.evex && m.active == Active::All {
            let (op, x) = self.narrowing(kind, ty.elem, raw.bytes, w, x);
            let code = self.vcode(op, w);
            return self.emit(code, &[Opnd::Mem(at), Opnd::Use(x, w.view())]);
        }
        let x = match m.mem {
            Element::F16 => self.to_f16(w, x),
            Element::BF16 => self.to_bf16(w, ty.lanes, x),
            _ if narrows => self.narrow(kind, ty.elem, raw.bytes, ty.lanes, x),
            _ => x,
        };
        match m.active {
            Active::All => self.store_bytes(raw.bytes * raw.lanes, x, at),
            Active::First(n) => self.store_first(raw, u32::from(n), x, at),
            Active::Mask => self.store_masked(raw, Self::mask_arg(m, args), x, at),
        }
    }

    fn store_scalar(&mut self, m: MemOp, narrow: Narrow, ty: Type, data: Value, args: &[Value]) {
        let mut r = self.reg(data);
        let bits = m.mem.bytes() * 8;
        if ty.elem.is_float() {
            let at = self.mem(m.addr, args);
            let x = match m.mem {
                Element::F16 => self.to_f16(Width::X, r),
                Element::BF16 => self.to_bf16(Width::X, 4, r),
                _ => r,
            };
            return self.store_bytes(m.mem.bytes(), x, at);
        }
        if narrow == Narrow::Saturate && bits < ty.elem.bits() {
            let signed = matches!(m.mem, Element::S8 | Element::S16 | Element::S32);
            let (low, high) = if signed { (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1) } else { (0, (1i64 << bits) - 1) };
            r = self.clamp(ty, r, low, high);
        }
        let at = self.mem(m.addr, args);
        let (code, view) = match bits {
            8 => (Code::Mov_rm8_r8, View::B),
            16 => (Code::Mov_rm16_r16, View::W),
            32 => (Code::Mov_rm32_r32, View::D),
            _ => (Code::Mov_rm64_r64, gview(Type::I64)),
        };
        self.emit(code, &[Opnd::Mem(at), Opnd::Use(r, view)]);
    }

    /// Half-precision floats, rounded to nearest even.
    fn to_f16(&mut self, w: Width, x: VReg) -> VReg {
        let d = self.vreg(VEC);
        let code = self.vcode(Vop::Cvtps2ph, w);
        let half = Width::holding(w.bytes() / 2);
        self.emit(code, &[Opnd::Def(d, half.view()), Opnd::Use(x, w.view()), Opnd::imm8(0)]);
        d
    }

    /// bfloat16, rounded to nearest even; NaN stays NaN and becomes quiet.
    fn to_bf16(&mut self, w: Width, lanes: u16, x: VReg) -> VReg {
        use super::values::Fold;
        let high = self.op2i(Vop::PsrldI, w, x, 16);
        let one = self.konst(Lanes::Splat32(1), w, Fold::Elem(4));
        let odd = self.op3(Vop::Pand, w, high, one);
        let bias = self.konst(Lanes::Splat32(0x7fff), w, Fold::Elem(4));
        let bias = self.op3(Vop::Paddd, w, odd, bias);
        let sum = self.op3(Vop::Paddd, w, x, bias);
        let rounded = self.op2i(Vop::PsrldI, w, sum, 16);
        let quiet = self.konst(Lanes::Splat32(0x40), w, Fold::Elem(4));
        let quiet = self.op3(Vop::Por, w, high, quiet);
        let code = self.vcode(Vop::Cmpps, w);
        let (class, view) = if self.isa.evex { (MASK, View::K) } else { (VEC, w.view()) };
        let nan = self.def(code, class, view, &[Opnd::Use(x, w.view()), Opnd::Use(x, w.view()), Opnd::imm8(3)]);
        let r = self.blend_lanes(32, w, nan, quiet, rounded);
        self.narrow(Kind::Wrap, Elem::I32, 2, lanes, r)
    }

    /// Stores the low `bytes` bytes, a power of two.
    fn store_bytes(&mut self, bytes: u32, x: VReg, at: Mem) {
        let evex = self.isa.evex;
        let pick = |v, e| if evex { e } else { v };
        let (code, imm) = match bytes {
            1 => (pick(Code::VEX_Vpextrb_r32m8_xmm_imm8, Code::EVEX_Vpextrb_r32m8_xmm_imm8), true),
            2 => (pick(Code::VEX_Vpextrw_r32m16_xmm_imm8, Code::EVEX_Vpextrw_r32m16_xmm_imm8), true),
            4 => (pick(Code::VEX_Vmovss_m32_xmm, Code::EVEX_Vmovss_m32_k1_xmm), false),
            8 => (pick(Code::VEX_Vmovsd_m64_xmm, Code::EVEX_Vmovsd_m64_k1_xmm), false),
            _ => {
                let w = Width::holding(bytes);
                let code = self.vcode(Vop::MovupsS, w);
                return self.emit(code, &[Opnd::Mem(at), Opnd::Use(x, w.view())]);
            }
        };
        let ops = [Opnd::Mem(at), Opnd::Use(x, View::X), Opnd::imm8(0)];
        self.emit(code, &ops[..if imm { 3 } else { 2 }]);
    }

    fn store_first(&mut self, raw: Raw, n: u32, x: VReg, at: Mem) {
        let bytes = n * raw.bytes;
        if bytes.is_power_of_two() {
            return self.store_bytes(bytes, x, at);
        }
        if self.isa.evex {
            let k = self.first_mask(n);
            return self.store_with_mask(raw, k, x, at);
        }
        if raw.bytes >= 4 && raw.bytes * raw.lanes >= 16 {
            let lanes: Vec<bool> = (0..raw.lanes).map(|i| i < n).collect();
            let mask = self.mask_pattern(raw.bytes * 8, &lanes);
            return self.maskmov_store(raw, mask, x, at);
        }
        let (mut x, mut at, mut left) = (x, at, bytes);
        if left > 16 {
            self.store_bytes(16, x, at);
            x = self.extract_block(Width::Y, x, 1);
            (at, left) = (at.offset(16), left - 16);
        }
        let mut done = 0;
        for size in [8, 4, 2, 1].into_iter().filter(|s| left & s != 0) {
            self.store_element(size, x, (done / size) as u8, at.offset(done as i32));
            done += size;
        }
    }

    /// `vpextr` to memory.
    fn store_element(&mut self, bytes: u32, x: VReg, lane: u8, at: Mem) {
        if lane == 0 {
            return self.store_bytes(bytes, x, at);
        }
        let code = match bytes {
            1 => Code::VEX_Vpextrb_r32m8_xmm_imm8,
            2 => Code::VEX_Vpextrw_r32m16_xmm_imm8,
            4 => Code::VEX_Vpextrd_rm32_xmm_imm8,
            _ => Code::VEX_Vpextrq_rm64_xmm_imm8,
        };
        self.emit(code, &[Opnd::Mem(at), Opnd::Use(x, View::X), Opnd::imm8(lane)]);
    }

    fn store_with_mask(&mut self, raw: Raw, k: VReg, x: VReg, at: Mem) {
        let op = match raw.bytes {
            1 => Vop::Movdqu8S,
            2 => Vop::Movdqu16S,
            4 => Vop::Movdqu32S,
            _ => Vop::Movdqu64S,
        };
        let w = raw.width();
        let code = self.vcode(op, w);
        self.emit(code, &[Opnd::Mem(at), Opnd::Use(x, w.view()), Opnd::Mask(k, false)]);
    }

    fn maskmov_store(&mut self, raw: Raw, mask: VReg, x: VReg, at: Mem) {
        let w = raw.width();
        let code = self.vcode(if raw.bytes == 4 { Vop::MaskmovpsS } else { Vop::MaskmovpdS }, w);
        self.emit(code, &[Opnd::Mem(at), Opnd::Use(mask, w.view()), Opnd::Use(x, w.view())]);
    }

    fn store_masked(&mut self, raw: Raw, mask: Value, x: VReg, at: Mem) {
        if self.isa.evex {
            let k = self.trimmed_mask(raw, mask);
            return self.store_with_mask(raw, k, x, at);
        }
        if raw.bytes >= 4 && raw.bytes * raw.lanes >= 16 {
            let m = self.mask(mask, raw.bytes * 8);
            return self.maskmov_store(raw, m, x, at);
        }
        let flags = self.lane_flags(mask);
        self.store_lanes_if(raw.bytes, raw.lanes, flags, x, at);
    }

    // ---- gathers ----

    pub(super) fn gather(&mut self, m: MemOp, ty: Type, args: &[Value]) -> VReg {
        let base = self.mem(AddrMode { scale: 0, disp: m.addr.disp }, &args[..1]);
        let index = self.reg(args[1]);
        let index_width = Width::holding(u32::from(ty.lanes) * 4);
        let bytes = m.mem.bytes();
        if bytes < 4 || bytes * 8 != ty.elem.bits() {
            return self.gather_lanes(m, ty, index, index_width, base);
        }
        let w = self.width(ty);
        let at = Mem { index: Some((index, m.addr.scale, index_width.view())), ..base };
        let code = self.vcode(if bytes == 4 { Vop::Gatherdps } else { Vop::Gatherdpd }, w);
        let zero = self.zero();
        if self.isa.evex {
            let k = self.first_mask(u32::from(ty.lanes));
            let cleared = self.vreg(MASK);
            return self.modify(code, zero, w.view(), &[Opnd::Mem(at), Opnd::MaskMod(k, cleared)]);
        }
        let ones = self.materialise(&Lanes::Splat32(u32::MAX), w);
        let cleared = self.vreg(VEC);
        self.modify(code, zero, w.view(), &[Opnd::Mem(at), Opnd::Mod(ones, cleared, w.view())])
    }
}
