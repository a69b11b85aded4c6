//! Scalar integers, addresses and truth values in general registers. A truth value is 0 or 1 in the low 32 bits.

use super::Lower;
use super::values::Lanes;
use crate::backend::x86::machine::*;
use iced_x86::{Code, OpKind};
use regalloc2::{PReg, VReg};
use tflc_kir::{BinOp, CmpOp, Elem, Op, Type, UnOp, Value};

use crate::backend::x86::abi::gpr;

/// A scalar operand: register, memory or immediate.
enum Rmi {
    Rm(Rm),
    Imm(i64),
}

/// Two-operand arithmetic: 32-bit register, immediates of 8 and 32 bits; the same of 64 bits.
struct Alu([Code; 6]);

const ADD: Alu =
    Alu([Code::Add_r32_rm32, Code::Add_rm32_imm8, Code::Add_rm32_imm32, Code::Add_r64_rm64, Code::Add_rm64_imm8, Code::Add_rm64_imm32]);
const SUB: Alu =
    Alu([Code::Sub_r32_rm32, Code::Sub_rm32_imm8, Code::Sub_rm32_imm32, Code::Sub_r64_rm64, Code::Sub_rm64_imm8, Code::Sub_rm64_imm32]);
const AND: Alu =
    Alu([Code::And_r32_rm32, Code::And_rm32_imm8, Code::And_rm32_imm32, Code::And_r64_rm64, Code::And_rm64_imm8, Code::And_rm64_imm32]);
const OR: Alu =
    Alu([Code::Or_r32_rm32, Code::Or_rm32_imm8, Code::Or_rm32_imm32, Code::Or_r64_rm64, Code::Or_rm64_imm8, Code::Or_rm64_imm32]);
const XOR: Alu =
    Alu([Code::Xor_r32_rm32, Code::Xor_rm32_imm8, Code::Xor_rm32_imm32, Code::Xor_r64_rm64, Code::Xor_rm64_imm8, Code::Xor_rm64_imm32]);
const CMP: Alu =
    Alu([Code::Cmp_r32_rm32, Code::Cmp_rm32_imm8, Code::Cmp_rm32_imm32, Code::Cmp_r64_rm64, Code::Cmp_rm64_imm8, Code::Cmp_rm64_imm32]);

/// Conditional moves of 32 and 64 bits.
fn cmov(cc: Cc, wide: bool) -> Code {
    let codes = match cc {
        Cc::B => [Code::Cmovb_r32_rm32, Code::Cmovb_r64_rm64],
        Cc::Ae => [Code::Cmovae_r32_rm32, Code::Cmovae_r64_rm64],
        Cc::E => [Code::Cmove_r32_rm32, Code::Cmove_r64_rm64],
        Cc::Ne => [Code::Cmovne_r32_rm32, Code::Cmovne_r64_rm64],
        Cc::Be => [Code::Cmovbe_r32_rm32, Code::Cmovbe_r64_rm64],
        Cc::A => [Code::Cmova_r32_rm32, Code::Cmova_r64_rm64],
        Cc::S => [Code::Cmovs_r32_rm32, Code::Cmovs_r64_rm64],
        Cc::Ns => [Code::Cmovns_r32_rm32, Code::Cmovns_r64_rm64],
        Cc::P => [Code::Cmovp_r32_rm32, Code::Cmovp_r64_rm64],
        Cc::Np => [Code::Cmovnp_r32_rm32, Code::Cmovnp_r64_rm64],
        Cc::L => [Code::Cmovl_r32_rm32, Code::Cmovl_r64_rm64],
        Cc::Ge => [Code::Cmovge_r32_rm32, Code::Cmovge_r64_rm64],
        Cc::Le => [Code::Cmovle_r32_rm32, Code::Cmovle_r64_rm64],
        Cc::G => [Code::Cmovg_r32_rm32, Code::Cmovg_r64_rm64],
    };
    codes[usize::from(wide)]
}

fn setcc(cc: Cc) -> Code {
    match cc {
        Cc::B => Code::Setb_rm8,
        Cc::Ae => Code::Setae_rm8,
        Cc::E => Code::Sete_rm8,
        Cc::Ne => Code::Setne_rm8,
        Cc::Be => Code::Setbe_rm8,
        Cc::A => Code::Seta_rm8,
        Cc::S => Code::Sets_rm8,
        Cc::Ns => Code::Setns_rm8,
        Cc::P => Code::Setp_rm8,
        Cc::Np => Code::Setnp_rm8,
        Cc::L => Code::Setl_rm8,
        Cc::Ge => Code::Setge_rm8,
        Cc::Le => Code::Setle_rm8,
        Cc::G => Code::Setg_rm8,
    }
}

/// Whether a scalar type takes 64 bits.
pub(super) fn wide(ty: Type) -> bool {
    matches!(ty.elem, Elem::I64 | Elem::Ptr)
}

/// View of a scalar in a general register.
pub(super) fn gview(ty: Type) -> View {
    if wide(ty) { View::Q } else { View::D }
}

impl Lower<'_> {
    fn rmi(&mut self, v: Value) -> Rmi {
        if let Some(c) = self.int(v).filter(|&c| i32::try_from(c).is_ok()) {
            return Rmi::Imm(c);
        }
        Rmi::Rm(self.gpr_rm(v))
    }

    /// A scalar as register, or as memory where its load waits.
    pub(super) fn gpr_rm(&mut self, v: Value) -> Rm {
        let v = self.an.root(v);
        match self.an.inst(v).map(|i| (&i.op, i)) {
            Some((Op::Load(m), inst)) if self.an.deferred(v) && self.vals[v.index()].is_none() => Rm::Mem(self.mem(m.addr, &inst.args)),
            _ => Rm::Reg(self.reg(v)),
        }
    }

    fn alu_operands(alu: &Alu, wide: bool, b: Rmi) -> (Code, Opnd) {
        let view = if wide { View::Q } else { View::D };
        let codes = &alu.0[if wide { 3 } else { 0 }..];
        match b {
            Rmi::Rm(b) => (codes[0], Opnd::rm(b, view)),
            Rmi::Imm(c) if i8::try_from(c).is_ok() => {
                (codes[1], Opnd::Imm(if wide { OpKind::Immediate8to64 } else { OpKind::Immediate8to32 }, c))
            }
            Rmi::Imm(c) => (codes[2], Opnd::Imm(if wide { OpKind::Immediate32to64 } else { OpKind::Immediate32 }, c)),
        }
    }

    /// The register of a scalar for an instruction that overwrites it: its own, or a copy where it is still needed.
    pub(super) fn gpr_over(&mut self, v: Value) -> VReg {
        let r = self.reg(v);
        if self.dies(v)
            || self.homeless(v) && !matches!(self.an.inst(self.an.root(v)).map(|i| &i.op), Some(Op::Scratch { .. } | Op::PtrAdd))
        {
            return r;
        }
        self.def(Code::Mov_r64_rm64, GPR, View::Q, &[Opnd::Use(r, View::Q)])
    }

    fn alu(&mut self, alu: &Alu, ty: Type, a: VReg, b: Rmi) -> VReg {
        let (code, b) = Self::alu_operands(alu, wide(ty), b);
        self.modify(code, a, gview(ty), &[b])
    }

    fn alu_imm(&mut self, alu: &Alu, ty: Type, a: VReg, c: i64) -> VReg {
        self.alu(alu, ty, a, Rmi::Imm(c))
    }

    pub(super) fn and_imm(&mut self, ty: Type, a: VReg, c: i32) -> VReg {
        self.alu_imm(&AND, ty, a, i64::from(c))
    }

    fn cmp_regs(&mut self, ty: Type, a: VReg, b: Rmi) {
        let (code, b) = Self::alu_operands(&CMP, wide(ty), b);
        self.emit(code, &[Opnd::Use(a, gview(ty)), b]);
    }

    /// `cc ? a : b`; nothing may change the flags before.
    pub(super) fn cmov(&mut self, cc: Cc, ty: Type, a: VReg, b: VReg) -> VReg {
        self.modify(cmov(cc, wide(ty)), b, gview(ty), &[Opnd::Use(a, gview(ty))])
    }

    /// The truth value of a condition.
    pub(super) fn set(&mut self, cc: Cc) -> VReg {
        let b = self.def(setcc(cc), GPR, View::B, &[]);
        self.def(Code::Movzx_r32_rm8, GPR, View::D, &[Opnd::Use(b, View::B)])
    }

    /// Sets the flags for a truth value; gives the condition under which it holds.
    pub(super) fn flags(&mut self, v: Value) -> Cc {
        let v = self.an.root(v);
        if self.vals[v.index()].is_none()
            && let Some(inst) = self.an.inst(v)
            && self.an.deferred(v)
        {
            match inst.op {
                Op::Cmp(op) => return self.compare(op, inst.args[0], inst.args[1]),
                Op::Reduce(op) => return self.test_mask(op, inst.args[0]),
                _ => {}
            }
        }
        let r = self.reg(v);
        self.emit(Code::Test_rm32_r32, &[Opnd::Use(r, View::D), Opnd::Use(r, View::D)]);
        Cc::Ne
    }

    /// Compares scalars; gives the condition under which the comparison holds.
    pub(super) fn compare(&mut self, op: CmpOp, a: Value, b: Value) -> Cc {
        let ty = self.ty(a);
        if ty.elem.is_float() {
            return self.compare_floats(op, a, b);
        }
        let swap = self.int(a).is_some() && self.int(b).is_none();
        let (a, b) = if swap { (b, a) } else { (a, b) };
        let x = self.reg(a);
        if self.int(b) == Some(0) {
            let code = if wide(ty) { Code::Test_rm64_r64 } else { Code::Test_rm32_r32 };
            self.emit(code, &[Opnd::Use(x, gview(ty)), Opnd::Use(x, gview(ty))]);
        } else {
            let y = self.rmi(b);
            self.cmp_regs(ty, x, y);
        }
        let (straight, swapped) = match op {
            CmpOp::Eq => (Cc::E, Cc::E),
            CmpOp::Ne => (Cc::Ne, Cc::Ne),
            CmpOp::Lt => (Cc::L, Cc::G),
            CmpOp::Le => (Cc::Le, Cc::Ge),
            CmpOp::Gt => (Cc::G, Cc::L),
            CmpOp::Ge => (Cc::Ge, Cc::Le),
            CmpOp::LtU => (Cc::B, Cc::A),
            CmpOp::LeU => (Cc::Be, Cc::Ae),
        };
        if swap { swapped } else { straight }
    }

    pub(super) fn scalar_un(&mut self, op: UnOp, ty: Type, a: Value) -> VReg {
        let w = wide(ty);
        let pick = |narrow, wider| if w { wider } else { narrow };
        match op {
            UnOp::LeadingZeros => {
                let a = self.gpr_rm(a);
                self.def(pick(Code::Lzcnt_r32_rm32, Code::Lzcnt_r64_rm64), GPR, gview(ty), &[Opnd::rm(a, gview(ty))])
            }
            UnOp::Not if ty.elem == Elem::Bool => {
                let a = self.gpr_over(a);
                self.alu_imm(&XOR, ty, a, 1)
            }
            UnOp::Not => {
                let a = self.gpr_over(a);
                self.modify(pick(Code::Not_rm32, Code::Not_rm64), a, gview(ty), &[])
            }
            UnOp::Neg => {
                let a = self.gpr_over(a);
                self.modify(pick(Code::Neg_rm32, Code::Neg_rm64), a, gview(ty), &[])
            }
            UnOp::Abs => {
                let a = self.reg(a);
                let copy = self.def(Code::Mov_r64_rm64, GPR, View::Q, &[Opnd::Use(a, View::Q)]);
                let n = self.modify(pick(Code::Neg_rm32, Code::Neg_rm64), copy, gview(ty), &[]);
                // The sign flag is that of -a: set where a is positive, or the smallest integer.
                self.cmov(Cc::S, ty, a, n)
            }
            _ => self.fail("float operator on integers"),
        }
    }

    pub(super) fn scalar_bin(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> VReg {
        let commutes = matches!(op, BinOp::Add | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor);
        let (a, b) = if commutes && self.foldable(a) && !self.foldable(b) { (b, a) } else { (a, b) };
        match op {
            BinOp::Add => self.scalar_add(ty, a, b),
            BinOp::Sub => self.alu_values(&SUB, ty, a, b),
            BinOp::And => self.alu_values(&AND, ty, a, b),
            BinOp::Or => self.alu_values(&OR, ty, a, b),
            BinOp::Xor => self.alu_values(&XOR, ty, a, b),
            BinOp::Mul => self.scalar_mul(ty, a, b),
            BinOp::Div => self.divide(ty, a, b).0,
            BinOp::Rem => self.divide(ty, a, b).1,
            BinOp::Min => self.min_max(Cc::L, ty, a, b),
            BinOp::Max => self.min_max(Cc::G, ty, a, b),
            BinOp::MinU => self.min_max(Cc::B, ty, a, b),
            BinOp::MaxU => self.min_max(Cc::A, ty, a, b),
            BinOp::Shl | BinOp::ShrU | BinOp::ShrS => self.scalar_shift(op, ty, a, b),
            BinOp::MulHiS | BinOp::MulHiU => self.scalar_mul_hi(op, ty, a, b),
            BinOp::MulRoundHi => self.scalar_mul_round(a, b),
            BinOp::AddSatS | BinOp::SubSatS | BinOp::AddSatU | BinOp::SubSatU => self.fail("saturating scalar arithmetic"),
        }
    }

    fn alu_values(&mut self, alu: &Alu, ty: Type, a: Value, b: Value) -> VReg {
        let x = self.gpr_over(a);
        let y = self.rmi(b);
        self.alu(alu, ty, x, y)
    }

    /// Adds with `lea` where the first operand is needed again.
    fn scalar_add(&mut self, ty: Type, a: Value, b: Value) -> VReg {
        let x = self.reg(a);
        let y = self.rmi(b);
        let lea = if wide(ty) { Code::Lea_r64_m } else { Code::Lea_r32_m };
        let m = match y {
            _ if self.dies(a) => None,
            Rmi::Imm(c) => Some(Mem::at(Base::Reg(x), c as i32)),
            Rmi::Rm(Rm::Reg(y)) => Some(Mem { index: Some((y, 1, View::Q)), ..Mem::at(Base::Reg(x), 0) }),
            Rmi::Rm(Rm::Mem(_)) => None,
        };
        match m {
            Some(m) => self.def(lea, GPR, gview(ty), &[Opnd::Mem(m)]),
            None => self.alu(&ADD, ty, x, y),
        }
    }

    fn scalar_mul(&mut self, ty: Type, a: Value, b: Value) -> VReg {
        let w = wide(ty);
        match self.rmi(b) {
            Rmi::Imm(1) => self.reg(a),
            Rmi::Imm(c @ (2 | 4 | 8)) if !self.dies(a) => {
                let x = self.reg(a);
                let m = Mem { index: Some((x, c as u8, View::Q)), ..Mem::at(Base::None, 0) };
                self.def(if w { Code::Lea_r64_m } else { Code::Lea_r32_m }, GPR, gview(ty), &[Opnd::Mem(m)])
            }
            Rmi::Imm(c) if c > 0 && (c as u64).is_power_of_two() => {
                let x = self.gpr_over(a);
                self.shift_imm(BinOp::Shl, ty, x, c.trailing_zeros() as u8)
            }
            Rmi::Imm(c @ (3 | 5 | 9)) => {
                let x = self.reg(a);
                let m = Mem { index: Some((x, c as u8 - 1, View::Q)), ..Mem::at(Base::Reg(x), 0) };
                self.def(if w { Code::Lea_r64_m } else { Code::Lea_r32_m }, GPR, gview(ty), &[Opnd::Mem(m)])
            }
            Rmi::Imm(c) => {
                let x = self.reg(a);
                let code = if w { Code::Imul_r64_rm64_imm32 } else { Code::Imul_r32_rm32_imm32 };
                let kind = if w { OpKind::Immediate32to64 } else { OpKind::Immediate32 };
                self.def(code, GPR, gview(ty), &[Opnd::Use(x, gview(ty)), Opnd::Imm(kind, c)])
            }
            Rmi::Rm(y) => {
                let x = self.gpr_over(a);
                self.modify(if w { Code::Imul_r64_rm64 } else { Code::Imul_r32_rm32 }, x, gview(ty), &[Opnd::rm(y, gview(ty))])
            }
        }
    }

    /// Quotient and remainder.
    fn divide(&mut self, ty: Type, a: Value, b: Value) -> (VReg, VReg) {
        let (x, y) = (self.reg(a), self.reg(b));
        let (rax, rdx) = (PReg::new(gpr::RAX, GPR), PReg::new(gpr::RDX, GPR));
        let [high, quotient, remainder] = [(); 3].map(|()| self.vreg(GPR));
        let (extend, divide) = if wide(ty) { (Code::Cqo, Code::Idiv_rm64) } else { (Code::Cdq, Code::Idiv_rm32) };
        self.emit(extend, &[Opnd::UseFixed(x, rax), Opnd::DefFixed(high, rdx)]);
        self.emit(
            divide,
            &[
                Opnd::Use(y, gview(ty)),
                Opnd::UseFixed(x, rax),
                Opnd::UseFixed(high, rdx),
                Opnd::DefFixed(quotient, rax),
                Opnd::DefFixed(remainder, rdx),
            ],
        );
        (quotient, remainder)
    }

    fn min_max(&mut self, cc: Cc, ty: Type, a: Value, b: Value) -> VReg {
        let (x, y) = (self.reg(a), self.gpr_over(b));
        self.cmp_regs(ty, x, Rmi::Rm(Rm::Reg(y)));
        self.cmov(cc, ty, x, y)
    }

    pub(super) fn shift_imm(&mut self, op: BinOp, ty: Type, a: VReg, n: u8) -> VReg {
        let code = match (op, wide(ty)) {
            (BinOp::Shl, false) => Code::Shl_rm32_imm8,
            (BinOp::Shl, true) => Code::Shl_rm64_imm8,
            (BinOp::ShrU, false) => Code::Shr_rm32_imm8,
            (BinOp::ShrU, true) => Code::Shr_rm64_imm8,
            (_, false) => Code::Sar_rm32_imm8,
            (_, true) => Code::Sar_rm64_imm8,
        };
        self.modify(code, a, gview(ty), &[Opnd::imm8(n)])
    }

    fn scalar_shift(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> VReg {
        let bits = i64::from(ty.elem.bits());
        let view = gview(ty);
        if let Some(n) = self.int(b) {
            let x = self.gpr_over(a);
            return match (op, (0..bits).contains(&n)) {
                (_, true) => self.shift_imm(op, ty, x, n as u8),
                (BinOp::ShrS, false) => self.shift_imm(op, ty, x, bits as u8 - 1),
                (_, false) => self.int_const(ty, 0),
            };
        }
        let (x, n) = (self.reg(a), self.reg(b));
        let code = match (op, wide(ty)) {
            (BinOp::Shl, false) => Code::VEX_Shlx_r32_rm32_r32,
            (BinOp::Shl, true) => Code::VEX_Shlx_r64_rm64_r64,
            (BinOp::ShrU, false) => Code::VEX_Shrx_r32_rm32_r32,
            (BinOp::ShrU, true) => Code::VEX_Shrx_r64_rm64_r64,
            (_, false) => Code::VEX_Sarx_r32_rm32_r32,
            (_, true) => Code::VEX_Sarx_r64_rm64_r64,
        };
        if op == BinOp::ShrS {
            let most = self.int_const(ty, bits - 1);
            self.cmp_regs(ty, n, Rmi::Imm(bits - 1));
            let n = self.cmov(Cc::B, ty, n, most);
            return self.def(code, GPR, view, &[Opnd::Use(x, view), Opnd::Use(n, view)]);
        }
        let zero = self.int_const(ty, 0);
        let shifted = self.def(code, GPR, view, &[Opnd::Use(x, view), Opnd::Use(n, view)]);
        self.cmp_regs(ty, n, Rmi::Imm(bits));
        self.cmov(Cc::B, ty, shifted, zero)
    }

    /// A 32-bit integer in a register, extended to 64 bits.
    pub(super) fn extend(&mut self, signed: bool, r: VReg) -> VReg {
        let code = if signed { Code::Movsxd_r64_rm32 } else { Code::Mov_r32_rm32 };
        let view = if signed { View::Q } else { View::D };
        self.def(code, GPR, view, &[Opnd::Use(r, View::D)])
    }

    fn scalar_mul_hi(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> VReg {
        let (x, y) = (self.reg(a), self.reg(b));
        let signed = op == BinOp::MulHiS;
        if !wide(ty) {
            let (x, y) = (self.extend(signed, x), self.extend(signed, y));
            let p = self.modify(Code::Imul_r64_rm64, x, View::Q, &[Opnd::Use(y, View::Q)]);
            return self.shift_imm(BinOp::ShrU, Type::I64, p, 32);
        }
        let (rax, rdx) = (PReg::new(gpr::RAX, GPR), PReg::new(gpr::RDX, GPR));
        let (low, high) = (self.vreg(GPR), self.vreg(GPR));
        let code = if signed { Code::Imul_rm64 } else { Code::Mul_rm64 };
        self.emit(code, &[Opnd::Use(y, View::Q), Opnd::UseFixed(x, rax), Opnd::DefFixed(low, rax), Opnd::DefFixed(high, rdx)]);
        high
    }

    /// `(a * b + 2^30) >> 31` of 32-bit integers, saturated: only the smallest integer squared leaves the range.
    fn scalar_mul_round(&mut self, a: Value, b: Value) -> VReg {
        let (x, y) = (self.reg(a), self.reg(b));
        let (x, y) = (self.extend(true, x), self.extend(true, y));
        let p = self.modify(Code::Imul_r64_rm64, x, View::Q, &[Opnd::Use(y, View::Q)]);
        let p = self.alu_imm(&ADD, Type::I64, p, 1 << 30);
        let p = self.shift_imm(BinOp::ShrS, Type::I64, p, 31);
        let most = self.int_const(Type::I64, i64::from(i32::MAX));
        self.cmp_regs(Type::I64, p, Rmi::Imm(i64::from(i32::MAX)));
        self.cmov(Cc::L, Type::I64, p, most)
    }

    /// Clamps a 32- or 64-bit integer to a range.
    pub(super) fn clamp(&mut self, ty: Type, r: VReg, low: i64, high: i64) -> VReg {
        let bounds = [(low, Cc::L), (high, Cc::G)];
        bounds.into_iter().fold(r, |r, (bound, cc)| {
            let limit = self.int_const(ty, bound);
            self.cmp_regs(ty, r, Rmi::Rm(Rm::Reg(limit)));
            self.cmov(cc, ty, limit, r)
        })
    }

    // ---- between files ----

    /// A general register's low 32 or all 64 bits in a vector register, zero above.
    pub(super) fn to_vector(&mut self, ty: Type, r: VReg) -> VReg {
        let code = match (wide(ty), self.isa.evex) {
            (false, false) => Code::VEX_Vmovd_xmm_rm32,
            (false, true) => Code::EVEX_Vmovd_xmm_rm32,
            (true, false) => Code::VEX_Vmovq_xmm_rm64,
            (true, true) => Code::EVEX_Vmovq_xmm_rm64,
        };
        self.def(code, VEC, View::X, &[Opnd::Use(r, gview(ty))])
    }

    /// The lowest 32 or 64 bits of a vector register in a general one.
    pub(super) fn to_gpr(&mut self, ty: Type, r: VReg) -> VReg {
        let code = match (wide(ty), self.isa.evex) {
            (false, false) => Code::VEX_Vmovd_rm32_xmm,
            (false, true) => Code::EVEX_Vmovd_rm32_xmm,
            (true, false) => Code::VEX_Vmovq_rm64_xmm,
            (true, true) => Code::EVEX_Vmovq_rm64_xmm,
        };
        self.def(code, GPR, gview(ty), &[Opnd::Use(r, View::X)])
    }

    /// A truth value as all zeros or all ones in 64 bits.
    pub(super) fn spread_bool(&mut self, r: VReg) -> VReg {
        self.modify(Code::Neg_rm64, r, View::Q, &[])
    }

    /// The sign bits alone, in every lane.
    pub(super) fn sign_lanes(elem: Elem) -> Lanes {
        Lanes::splat(1 << (elem.bits() - 1), elem.bits() as usize / 8)
    }
}
