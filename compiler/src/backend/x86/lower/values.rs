//! Where values are: registers, memory operands, constants, parameters, addresses.

use super::Lower;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::{Vop, code};
use iced_x86::{Code, OpKind};
use regalloc2::VReg;
use smallvec::{SmallVec, smallvec};
use tflc_kir::{AddrMode, Block, ConvertOp, Elem, Op, Type, Value};

/// A vector constant, in the smallest form.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Lanes {
    /// The same 32 bits everywhere.
    Splat32(u32),
    /// The same 64 bits everywhere.
    Splat64(u64),
    /// All bytes.
    Bytes(Vec<u8>),
}

impl Lanes {
    /// From lanes of `bytes` bytes each.
    pub(super) fn new(lanes: &[u64], bytes: usize) -> Lanes {
        let mut all = Vec::with_capacity(lanes.len() * bytes);
        lanes.iter().for_each(|l| all.extend_from_slice(&l.to_le_bytes()[..bytes]));
        Lanes::from_bytes(all)
    }

    /// From all bytes, at least 16.
    pub(super) fn from_bytes(b: Vec<u8>) -> Lanes {
        let first = u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]);
        if b.chunks(8).any(|c| c != &b[..8]) { Lanes::Bytes(b) } else { Lanes::splat(first, 8) }
    }

    /// One value of `bytes` bytes in every lane.
    pub(super) fn splat(bits: u64, bytes: usize) -> Lanes {
        let wide = match bytes {
            1 => (bits & 0xff) * 0x0101_0101_0101_0101,
            2 => (bits & 0xffff) * 0x0001_0001_0001_0001,
            4 => (bits & 0xffff_ffff) * 0x0000_0001_0000_0001,
            _ => bits,
        };
        if wide as u32 == (wide >> 32) as u32 { Lanes::Splat32(wide as u32) } else { Lanes::Splat64(wide) }
    }

    /// The first `bytes` bytes.
    fn bytes(&self, bytes: u32) -> SmallVec<[u8; 64]> {
        let n = bytes as usize;
        let mut all = smallvec![0; n];
        match self {
            Lanes::Splat32(v) => repeat(&mut all, v.to_le_bytes()),
            Lanes::Splat64(v) => repeat(&mut all, v.to_le_bytes()),
            Lanes::Bytes(b) => all.iter_mut().zip(b).for_each(|(to, from)| *to = *from),
        }
        all
    }
}

/// Fills with copies of some bytes, the last one perhaps cut short.
fn repeat<const N: usize>(to: &mut [u8], bytes: [u8; N]) {
    let (whole, rest) = to.as_chunks_mut::<N>();
    whole.fill(bytes);
    rest.copy_from_slice(&bytes[..rest.len()]);
}

/// Something that lowering can make again wherever it is needed.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Key {
    /// A vector constant.
    Const(Lanes, Width),
    /// A mask register with constant bits.
    Mask(u64),
    /// A scalar integer constant.
    Int(i64),
    /// A parameter.
    Param(u16),
    /// A parameter's low bytes in every lane.
    ParamSplat(u16, u8, Width),
}

/// The innermost loop being lowered.
#[derive(Debug)]
pub(super) struct Scope {
    /// The block in front of it.
    pub(super) preheader: BlockId,
    /// What the preheader has put into registers.
    pub(super) cache: Vec<(Key, VReg)>,
    /// Vector registers left for constants.
    pub(super) vectors: usize,
    /// Mask registers left for constants.
    pub(super) masks: usize,
}

/// What memory operand an instruction accepts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fold {
    /// None.
    No,
    /// The whole operand.
    Whole,
    /// The whole operand or, with EVEX, one element of so many bytes for all lanes.
    Elem(u8),
    /// A scalar of so many bytes in a vector register.
    Scalar(u8),
}

impl Fold {
    /// For a family whose lanes have the width of `elem`.
    pub(super) fn of(elem: Elem) -> Fold {
        match elem.bits() {
            32 => Fold::Elem(4),
            64 => Fold::Elem(8),
            _ => Fold::Whole,
        }
    }
}

impl<'k> Lower<'k> {
    /// Places the scratch buffers in the frame.
    pub(super) fn scratch_buffers(&mut self, block: &Block) {
        for inst in &block.insts {
            if let Op::Scratch { bytes, align } = inst.op
                && self.an.live(inst.results[0])
            {
                let offset = self.frame_bytes(bytes, align);
                self.scratch.push((inst.results[0], offset));
            }
            inst.blocks.iter().for_each(|b| self.scratch_buffers(b));
        }
    }

    /// Reserves a part of the frame.
    pub(super) fn frame_bytes(&mut self, bytes: u32, align: u32) -> u32 {
        let offset = self.f.scratch_bytes.next_multiple_of(align);
        self.f.scratch_bytes = offset + bytes;
        self.f.scratch_align = self.f.scratch_align.max(align);
        offset
    }

    /// The constant that a value is, as lanes; of scalars, the scalar in every lane.
    pub(super) fn lanes(&self, v: Value) -> Option<Lanes> {
        let v = self.an.root(v);
        let inst = self.an.inst(v)?;
        let ty = self.ty(v);
        match &inst.op {
            _ if ty.elem == Elem::Bool => None,
            Op::Const(bits) => Some(Lanes::splat(*bits, ty.elem.bits() as usize / 8)),
            Op::ConstVec(lanes) => Some(Lanes::new(lanes, ty.elem.bits() as usize / 8)),
            Op::Splat => Some(Lanes::splat(self.scalar_bits(inst.args[0])?, ty.elem.bits() as usize / 8)),
            _ => None,
        }
    }

    /// Bits of a scalar constant, also through a scalar bitcast.
    pub(super) fn scalar_bits(&self, v: Value) -> Option<u64> {
        let inst = self.an.inst(self.an.root(v))?;
        match inst.op {
            Op::Const(bits) if !self.ty(v).is_vector() => Some(bits),
            Op::Convert(ConvertOp::Bitcast) => self.scalar_bits(inst.args[0]),
            _ => None,
        }
    }

    /// A scalar integer constant, sign-extended.
    pub(super) fn int(&self, v: Value) -> Option<i64> {
        let ty = self.ty(v);
        let bits = self.scalar_bits(v)?;
        match ty.elem {
            Elem::I64 | Elem::Ptr => Some(bits as i64),
            Elem::I32 => Some(i64::from(bits as i32)),
            Elem::Bool => Some(bits as i64 & 1),
            _ => None,
        }
    }

    /// The splat constant of a vector value: the bits of one lane.
    pub(super) fn splat_bits(&self, v: Value) -> Option<u64> {
        let lane = self.ty(v).elem.bits();
        match self.lanes(v)? {
            Lanes::Splat32(bits) if lane <= 32 => {
                Some(u64::from(bits) & (u64::MAX >> (64 - lane))).filter(|&b| Lanes::splat(b, lane as usize / 8) == Lanes::Splat32(bits))
            }
            Lanes::Splat32(bits) => Some(u64::from(bits) << 32 | u64::from(bits)),
            Lanes::Splat64(bits) if lane == 64 => Some(bits),
            _ => None,
        }
    }

    /// The parameter that a value splats.
    fn param_splat(&self, v: Value) -> Option<(u16, u8)> {
        let inst = self.an.inst(v)?;
        let ty = self.ty(v);
        if inst.op != Op::Splat || ty.elem == Elem::Bool {
            return None;
        }
        let slot = self.slots[self.an.root(inst.args[0]).index()]?;
        Some((slot, (ty.elem.bits() / 8) as u8))
    }

    /// Whether a value is made anew for each user.
    pub(super) fn homeless(&self, v: Value) -> bool {
        let Some(inst) = self.an.inst(v) else { return false };
        match inst.op {
            Op::Const(_) | Op::ConstVec(_) | Op::Scratch { .. } => true,
            Op::PtrAdd => self.int(inst.args[1]).is_some(),
            Op::Splat => self.lanes(v).is_some() || self.param_splat(v).is_some(),
            _ => false,
        }
    }

    /// Whether a value lives in a general register.
    pub(super) fn in_gpr(&self, v: Value) -> bool {
        let ty = self.ty(v);
        !ty.is_vector() && !ty.elem.is_float()
    }

    /// The register of a value, computing or loading it here if it has none.
    pub(super) fn reg(&mut self, v: Value) -> VReg {
        let v = self.an.root(v);
        if let Some(r) = self.vals[v.index()] {
            return r;
        }
        if let Some(slot) = self.slots[v.index()] {
            return self.param(slot, self.ty(v));
        }
        let Some(inst) = self.an.inst(v) else { return self.fail("a value without definition") };
        let ty = self.ty(v);
        match inst.op {
            Op::Const(bits) if ty.elem == Elem::Bool && ty.is_vector() => self.mask_const(&vec![bits & 1 != 0; usize::from(ty.lanes)], v),
            Op::ConstVec(ref l) if ty.elem == Elem::Bool => {
                let bits: Vec<bool> = l.iter().map(|b| b & 1 != 0).collect();
                self.mask_const(&bits, v)
            }
            Op::Const(_) if self.in_gpr(v) => {
                let c = self.int(v).unwrap_or(0);
                self.int_const(ty, c)
            }
            Op::Const(_) | Op::ConstVec(_) => self.const_reg(v, ty),
            Op::Splat if self.lanes(v).is_some() => self.const_reg(v, ty),
            Op::Splat if self.param_splat(v).is_some() => {
                let (slot, bytes) = self.param_splat(v).unwrap_or_default();
                self.make(Key::ParamSplat(slot, bytes, self.width(ty)))
            }
            Op::Scratch { .. } => {
                let m = self.scratch_mem(v);
                self.lea(m)
            }
            Op::PtrAdd if self.int(inst.args[1]).is_some() => {
                let m = self.mem(AddrMode { scale: 0, disp: 0 }, &[v]);
                match m {
                    Mem { base: Base::Reg(r), index: None, disp: 0, .. } => r,
                    _ => self.lea(m),
                }
            }
            _ => {
                self.inst(inst);
                self.vals[v.index()].unwrap_or_else(|| self.fail("an operator without result"))
            }
        }
    }

    fn const_reg(&mut self, v: Value, ty: Type) -> VReg {
        let lanes = self.lanes(v).unwrap_or(Lanes::Splat32(0));
        if ty.is_vector() || lanes == Lanes::Splat32(0) {
            return self.lanes_reg(lanes, self.width(ty));
        }
        let bytes = (ty.elem.bits() / 8) as u8;
        match self.konst(lanes, Width::X, Fold::Scalar(bytes)) {
            Rm::Reg(r) => r,
            Rm::Mem(m) => self.load_scalar_float(bytes, m),
        }
    }

    /// `movss` or `movsd` from memory.
    pub(super) fn load_scalar_float(&mut self, bytes: u8, m: Mem) -> VReg {
        let code = match (bytes, self.isa.evex) {
            (4, false) => Code::VEX_Vmovss_xmm_m32,
            (4, true) => Code::EVEX_Vmovss_xmm_k1z_m32,
            (_, false) => Code::VEX_Vmovsd_xmm_m64,
            (_, true) => Code::EVEX_Vmovsd_xmm_k1z_m64,
        };
        self.def(code, VEC, View::X, &[Opnd::Mem(m)])
    }

    /// A value as register or, where the instruction allows, memory operand.
    pub(super) fn rm(&mut self, v: Value, w: Width, fold: Fold) -> Rm {
        let v = self.an.root(v);
        if self.vals[v.index()].is_some() || fold == Fold::No {
            return Rm::Reg(self.reg(v));
        }
        let Some(inst) = self.an.inst(v) else { return Rm::Reg(self.reg(v)) };
        if self.ty(v).elem != Elem::Bool
            && !self.in_gpr(v)
            && let Some(lanes) = self.lanes(v)
        {
            return self.konst(lanes, w, fold);
        }
        let bcast = |bytes: u32| self.isa.evex && fold == Fold::Elem(bytes as u8);
        match inst.op {
            Op::Load(m) if self.an.deferred(v) => Rm::Mem(self.mem(m.addr, &inst.args)),
            Op::LoadSplat(m) if self.an.deferred(v) && bcast(m.mem.bytes()) => {
                let m = self.mem(m.addr, &inst.args);
                Rm::Mem(Mem { bcast: true, ..m })
            }
            Op::Splat => match self.param_splat(v) {
                Some((slot, bytes)) if bcast(u32::from(bytes)) && !self.room() => {
                    Rm::Mem(Mem { bcast: true, ..Mem::at(Base::Reg(self.args), i32::from(slot) * 8) })
                }
                _ => Rm::Reg(self.reg(v)),
            },
            _ => Rm::Reg(self.reg(v)),
        }
    }

    /// How much a value would rather be the operand that may be memory or an immediate: a load that waits most, then what is made anew, unless
    /// the loop keeps it in a register.
    pub(super) fn fold_rank(&self, v: Value) -> u8 {
        let v = self.an.root(v);
        match self.vals[v.index()] {
            Some(_) => 0,
            // Only AVX-512 broadcasts an operand.
            None if !self.isa.evex && self.an.inst(v).is_some_and(|inst| matches!(inst.op, Op::LoadSplat(_))) => 0,
            None if self.an.deferred(v) => 2,
            None if !self.homeless(v) => 0,
            None => u8::from(self.in_gpr(v) || !self.room()),
        }
    }

    /// Whether a value would rather be the operand that may be memory or an immediate.
    pub(super) fn foldable(&self, v: Value) -> bool {
        self.fold_rank(v) > 0
    }

    // ---- things made anew ----

    /// Whether the preheader may take another vector.
    fn room(&self) -> bool {
        self.scope.as_ref().is_some_and(|s| s.vectors > 0)
    }

    /// The register that holds `key`: from the preheader, from this block, or new.
    pub(super) fn make(&mut self, key: Key) -> VReg {
        let cached = |c: &[(Key, VReg)]| c.iter().find(|(k, _)| *k == key).map(|(_, r)| *r);
        if let Some(r) = self.scope.as_ref().and_then(|s| cached(&s.cache)).or_else(|| cached(&self.local)) {
            return r;
        }
        let hoist = self.scope.as_mut().is_some_and(|s| match key {
            Key::Param(_) | Key::Int(_) => true,
            Key::Mask(_) => s.masks.checked_sub(1).map(|n| s.masks = n).is_some(),
            Key::Const(..) | Key::ParamSplat(..) => s.vectors.checked_sub(1).map(|n| s.vectors = n).is_some(),
        });
        let here = self.cur;
        if let (true, Some(s)) = (hoist, &self.scope) {
            self.cur = s.preheader;
        }
        let r = self.make_here(&key);
        self.cur = here;
        match &mut self.scope {
            Some(s) if hoist => s.cache.push((key, r)),
            _ if matches!(key, Key::Param(_)) => self.local.push((key, r)),
            _ => {}
        }
        r
    }

    fn make_here(&mut self, key: &Key) -> VReg {
        match key {
            Key::Const(lanes, w) => self.materialise(lanes, *w),
            Key::Mask(bits) => {
                let wide = u32::try_from(*bits).is_err();
                let g = self.mov_imm(*bits as i64);
                let code = if wide { Code::VEX_Kmovq_kr_r64 } else { Code::VEX_Kmovd_kr_r32 };
                self.def(code, MASK, View::K, &[Opnd::Use(g, if wide { View::Q } else { View::D })])
            }
            Key::Int(v) => self.mov_imm(*v),
            Key::Param(slot) => {
                let m = Mem::at(Base::Reg(self.args), i32::from(*slot) * 8);
                let ty = self.kernel.ty(self.kernel.params[usize::from(*slot)].value);
                match ty.elem {
                    Elem::F32 => self.load_scalar_float(4, m),
                    Elem::I32 => self.def(Code::Mov_r32_rm32, GPR, View::D, &[Opnd::Mem(m)]),
                    _ => self.def(Code::Mov_r64_rm64, GPR, View::Q, &[Opnd::Mem(m)]),
                }
            }
            Key::ParamSplat(slot, bytes, w) => {
                let m = Mem::at(Base::Reg(self.args), i32::from(*slot) * 8);
                self.broadcast_mem(u32::from(*bytes), *w, m)
            }
        }
    }

    /// A parameter.
    fn param(&mut self, slot: u16, _: Type) -> VReg {
        self.make(Key::Param(slot))
    }

    /// A scalar integer constant in a fresh register, or the preheader's.
    pub(super) fn int_const(&mut self, _: Type, v: i64) -> VReg {
        if i32::try_from(v).is_ok() { self.mov_imm(v) } else { self.make(Key::Int(v)) }
    }

    fn mov_imm(&mut self, v: i64) -> VReg {
        if let Ok(v) = u32::try_from(v) {
            self.def(Code::Mov_r32_imm32, GPR, View::D, &[Opnd::Imm(OpKind::Immediate32, i64::from(v))])
        } else if i32::try_from(v).is_ok() {
            self.def(Code::Mov_rm64_imm32, GPR, View::Q, &[Opnd::Imm(OpKind::Immediate32to64, v)])
        } else {
            self.def(Code::Mov_r64_imm64, GPR, View::Q, &[Opnd::Imm(OpKind::Immediate64, v)])
        }
    }

    /// A vector constant as register or memory operand.
    pub(super) fn konst(&mut self, lanes: Lanes, w: Width, fold: Fold) -> Rm {
        let key = Key::Const(lanes, w);
        let held = self.scope.as_ref().is_some_and(|s| s.cache.iter().any(|(k, _)| *k == key));
        if held || self.room() || fold == Fold::No {
            return Rm::Reg(self.make(key));
        }
        let Key::Const(lanes, _) = key else { return Rm::Reg(self.fail("constant")) };
        if matches!(lanes, Lanes::Splat32(0 | u32::MAX)) && !matches!(fold, Fold::Scalar(_)) {
            return Rm::Reg(self.materialise(&lanes, w));
        }
        let bytes = match (fold, &lanes) {
            (Fold::Scalar(n), _) => u32::from(n),
            (Fold::Elem(4), Lanes::Splat32(_)) if self.isa.evex => 4,
            (Fold::Elem(8), Lanes::Splat32(_) | Lanes::Splat64(_)) if self.isa.evex => 8,
            _ => w.bytes(),
        };
        let bcast = bytes < w.bytes() && !matches!(fold, Fold::Scalar(_));
        Rm::Mem(Mem { bcast, ..self.pool(&lanes, bytes) })
    }

    /// The first bytes of a constant in the pool.
    pub(super) fn pool(&mut self, lanes: &Lanes, bytes: u32) -> Mem {
        let id = self.f.consts.intern(&lanes.bytes(bytes));
        Mem::at(Base::Const(id), 0)
    }

    /// A vector constant in a register.
    pub(super) fn lanes_reg(&mut self, lanes: Lanes, w: Width) -> VReg {
        self.make(Key::Const(lanes, w))
    }

    /// A fresh zero.
    pub(super) fn zero(&mut self) -> VReg {
        self.materialise(&Lanes::Splat32(0), Width::X)
    }

    /// A vector constant in a fresh register.
    pub(super) fn materialise(&mut self, lanes: &Lanes, w: Width) -> VReg {
        let evex = self.isa.evex;
        match lanes {
            // Writing the low 128 bits clears the rest.
            Lanes::Splat32(0) => {
                let x = View::X;
                self.def(code(Vop::Pxor, Width::X, evex), VEC, x, &[Opnd::Same(x), Opnd::Same(x)])
            }
            Lanes::Splat32(u32::MAX) if evex => {
                let v = w.view();
                self.def(code(Vop::Pternlogd, w, evex), VEC, v, &[Opnd::Same(v), Opnd::Same(v), Opnd::imm8(0xff)])
            }
            Lanes::Splat32(u32::MAX) => {
                let v = w.view();
                self.def(code(Vop::Pcmpeqd, w, evex), VEC, v, &[Opnd::Same(v), Opnd::Same(v)])
            }
            Lanes::Splat32(_) => {
                let m = self.pool(lanes, 4);
                self.broadcast_mem(4, w, m)
            }
            Lanes::Splat64(_) => {
                let m = self.pool(lanes, 8);
                self.broadcast_mem(8, w, m)
            }
            Lanes::Bytes(_) => {
                let m = self.pool(lanes, w.bytes());
                self.op2(Vop::MovupsL, w, m)
            }
        }
    }

    /// Loads one element of 1, 2, 4 or 8 bytes into every lane.
    pub(super) fn broadcast_mem(&mut self, bytes: u32, w: Width, m: Mem) -> VReg {
        let op = match bytes {
            1 => Vop::Pbroadcastb,
            2 => Vop::Pbroadcastw,
            4 => Vop::BroadcastssM,
            _ => Vop::BroadcastsdM,
        };
        self.op2_from(op, w, Width::X, m)
    }

    // ---- addresses ----

    fn scratch_mem(&self, v: Value) -> Mem {
        let offset = self.scratch.iter().find(|(s, _)| *s == v).map_or(0, |(_, o)| *o);
        Mem::at(Base::Frame, offset as i32)
    }

    pub(super) fn lea(&mut self, m: Mem) -> VReg {
        self.def(Code::Lea_r64_m, GPR, View::Q, &[Opnd::Mem(m)])
    }

    /// The memory operand at `args[0] + args[1] * scale + disp`, with constant offsets folded.
    pub(super) fn mem(&mut self, addr: AddrMode, args: &[Value]) -> Mem {
        let mut disp = i64::from(addr.disp);
        let mut index = None;
        if addr.scale != 0 {
            match self.int(args[1]).and_then(|i| i.checked_mul(i64::from(addr.scale))).and_then(|i| i.checked_add(disp)) {
                Some(d) if i32::try_from(d).is_ok() => disp = d,
                _ => index = Some((self.reg(args[1]), addr.scale, View::Q)),
            }
        }
        let mut base = self.an.root(args[0]);
        while self.vals[base.index()].is_none()
            && let Some(inst) = self.an.inst(base)
            && inst.op == Op::PtrAdd
            && let Some(d) = self.int(inst.args[1]).and_then(|c| c.checked_add(disp))
            && i32::try_from(d).is_ok()
        {
            disp = d;
            base = self.an.root(inst.args[0]);
        }
        let m = match self.an.inst(base).map(|i| &i.op) {
            Some(Op::Scratch { .. }) => self.scratch_mem(base),
            // A constant that does not fit the displacement: the sum goes through a register.
            Some(Op::PtrAdd) if self.homeless(base) && self.vals[base.index()].is_none() => {
                let inst = self.an.inst(base).map(|i| [i.args[0], i.args[1]]).unwrap_or([base; 2]);
                Mem::at(Base::Reg(self.ptr_add(inst[0], inst[1])), 0)
            }
            _ => Mem::at(Base::Reg(self.reg(base)), 0),
        };
        Mem { index, ..m.offset(disp as i32) }
    }

    /// Pointer plus offset.
    pub(super) fn ptr_add(&mut self, p: Value, offset: Value) -> VReg {
        let base = match self.mem(AddrMode { scale: 0, disp: 0 }, &[p]) {
            m @ Mem { base: Base::Frame, .. } => Mem::at(Base::Reg(self.lea(m)), 0),
            m => m,
        };
        let index = self.reg(offset);
        self.lea(Mem { index: Some((index, 1, View::Q)), ..base })
    }
}
