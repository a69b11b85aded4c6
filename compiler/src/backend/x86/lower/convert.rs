//! Conversions between lane kinds.

use super::Lower;
use super::narrow::Kind;
use super::scalar::gview;
use super::values::Fold;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use iced_x86::Code;
use regalloc2::VReg;
use tflc_kir::{ConvertOp, Elem, Type, Value};

impl Lower<'_> {
    pub(super) fn convert(&mut self, op: ConvertOp, to: Type, a: Value) -> VReg {
        let from = self.ty(a);
        if from.elem == Elem::Bool {
            return if to.is_vector() { self.mask_to_ints(to, a) } else { self.reg(a) };
        }
        if !to.is_vector() {
            let x = self.reg(a);
            return self.convert_scalar(op, from, to, x);
        }
        match op {
            ConvertOp::Bitcast => self.reg(a),
            ConvertOp::ExtS | ConvertOp::ExtU => self.extend_vector(op == ConvertOp::ExtS, from, to, a),
            ConvertOp::Wrap | ConvertOp::SatS | ConvertOp::SatU => {
                let kind = match op {
                    ConvertOp::Wrap => Kind::Wrap,
                    ConvertOp::SatS => Kind::SatS,
                    _ => Kind::SatU,
                };
                let x = self.reg(a);
                self.narrow(kind, from.elem, to.elem.bits() / 8, from.lanes, x)
            }
            _ => self.convert_float_lanes(op, from, to, a),
        }
    }

    fn extend_vector(&mut self, signed: bool, from: Type, to: Type, a: Value) -> VReg {
        let pick = |s, z| if signed { s } else { z };
        let op = match (from.elem, to.elem) {
            (Elem::I8, Elem::I16) => pick(Vop::Pmovsxbw, Vop::Pmovzxbw),
            (Elem::I8, Elem::I32) => pick(Vop::Pmovsxbd, Vop::Pmovzxbd),
            (Elem::I8, _) => pick(Vop::Pmovsxbq, Vop::Pmovzxbq),
            (Elem::I16, Elem::I32) => pick(Vop::Pmovsxwd, Vop::Pmovzxwd),
            (Elem::I16, _) => pick(Vop::Pmovsxwq, Vop::Pmovzxwq),
            _ => pick(Vop::Pmovsxdq, Vop::Pmovzxdq),
        };
        let half = self.width(from);
        let x = self.rm(a, half, Fold::Whole);
        self.op2_from(op, self.width(to), half, x)
    }

    fn convert_float_lanes(&mut self, op: ConvertOp, from: Type, to: Type, a: Value) -> VReg {
        use ConvertOp::{FloatToFloat, FloatToIntEven, FloatToIntTrunc, IntToFloat};
        // The column is the width of the side that names the family: the wider one, except where both are equal.
        let (wf, wt) = (self.width(from), self.width(to));
        let w = wf.max(wt);
        let narrows = from.elem.bits() > to.elem.bits();
        let vop = match (op, from.elem, to.elem) {
            (IntToFloat, Elem::I32, Elem::F32) => Vop::Cvtdq2ps,
            (IntToFloat, Elem::I32, _) => Vop::Cvtdq2pd,
            (FloatToIntEven, Elem::F32, Elem::I32) => Vop::Cvtps2dq,
            (FloatToIntTrunc, Elem::F32, Elem::I32) => Vop::Cvttps2dq,
            (FloatToIntEven, Elem::F64, Elem::I32) => Vop::Cvtpd2dq,
            (FloatToIntTrunc, Elem::F64, Elem::I32) => Vop::Cvttpd2dq,
            (FloatToFloat, Elem::F32, _) => Vop::Cvtps2pd,
            (FloatToFloat, ..) => Vop::Cvtpd2ps,
            _ if !self.isa.evex => {
                let x = self.reg(a);
                return self.convert_lanes(op, from, to, x);
            }
            (IntToFloat, _, Elem::F32) => Vop::Cvtqq2ps,
            (IntToFloat, ..) => Vop::Cvtqq2pd,
            (FloatToIntEven, Elem::F32, _) => Vop::Cvtps2qq,
            (FloatToIntTrunc, Elem::F32, _) => Vop::Cvttps2qq,
            (FloatToIntEven, ..) => Vop::Cvtpd2qq,
            _ => Vop::Cvttpd2qq,
        };
        if from.bits() == to.bits() {
            return self.op2_value(vop, w, Fold::Whole, a, None);
        }
        let x = self.rm(a, wf, Fold::Whole);
        let d = self.vreg(VEC);
        // Two 64-bit lanes become 64 bits of an xmm register.
        let target = if narrows { Width::holding(wf.bytes() / 2) } else { wt };
        let code = self.vcode(vop, w);
        self.emit(code, &[Opnd::Def(d, target.view()), Opnd::rm(x, wf.view())]);
        d
    }

    /// Converts a scalar in a register.
    pub(super) fn convert_scalar(&mut self, op: ConvertOp, from: Type, to: Type, x: VReg) -> VReg {
        let evex = self.isa.evex;
        let pick = |v, e| if evex { e } else { v };
        let long = |ty: Type| ty.elem == Elem::I64;
        let double = |ty: Type| ty.elem == Elem::F64;
        match op {
            ConvertOp::ExtS => self.extend(true, x),
            ConvertOp::ExtU => self.extend(false, x),
            ConvertOp::Wrap => x,
            ConvertOp::SatS => self.clamp(from, x, i64::from(i32::MIN), i64::from(i32::MAX)),
            ConvertOp::SatU => self.clamp(from, x, 0, i64::from(u32::MAX)),
            ConvertOp::Bitcast => match (from.elem.is_float(), to.elem.is_float()) {
                (true, false) => self.to_gpr(to, x),
                (false, true) => self.to_vector(from, x),
                _ => x,
            },
            ConvertOp::FloatToFloat => self.scalar_from(if double(from) { Vop::Cvtsd2ss } else { Vop::Cvtss2sd }, Rm::Reg(x)),
            ConvertOp::IntToFloat => {
                let code = match (double(to), long(from)) {
                    (false, false) => pick(Code::VEX_Vcvtsi2ss_xmm_xmm_rm32, Code::EVEX_Vcvtsi2ss_xmm_xmm_rm32_er),
                    (false, true) => pick(Code::VEX_Vcvtsi2ss_xmm_xmm_rm64, Code::EVEX_Vcvtsi2ss_xmm_xmm_rm64_er),
                    (true, false) => pick(Code::VEX_Vcvtsi2sd_xmm_xmm_rm32, Code::EVEX_Vcvtsi2sd_xmm_xmm_rm32_er),
                    (true, true) => pick(Code::VEX_Vcvtsi2sd_xmm_xmm_rm64, Code::EVEX_Vcvtsi2sd_xmm_xmm_rm64_er),
                };
                // The upper lanes come from a zero, not from whatever the register held.
                let zero = self.zero();
                self.def(code, VEC, View::X, &[Opnd::Use(zero, View::X), Opnd::Use(x, gview(from))])
            }
            ConvertOp::FloatToIntEven | ConvertOp::FloatToIntTrunc => {
                let code = match (op == ConvertOp::FloatToIntEven, double(from), long(to)) {
                    (true, false, false) => pick(Code::VEX_Vcvtss2si_r32_xmmm32, Code::EVEX_Vcvtss2si_r32_xmmm32_er),
                    (true, false, true) => pick(Code::VEX_Vcvtss2si_r64_xmmm32, Code::EVEX_Vcvtss2si_r64_xmmm32_er),
                    (true, true, false) => pick(Code::VEX_Vcvtsd2si_r32_xmmm64, Code::EVEX_Vcvtsd2si_r32_xmmm64_er),
                    (true, true, true) => pick(Code::VEX_Vcvtsd2si_r64_xmmm64, Code::EVEX_Vcvtsd2si_r64_xmmm64_er),
                    (false, false, false) => pick(Code::VEX_Vcvttss2si_r32_xmmm32, Code::EVEX_Vcvttss2si_r32_xmmm32_sae),
                    (false, false, true) => pick(Code::VEX_Vcvttss2si_r64_xmmm32, Code::EVEX_Vcvttss2si_r64_xmmm32_sae),
                    (false, true, false) => pick(Code::VEX_Vcvttsd2si_r32_xmmm64, Code::EVEX_Vcvttsd2si_r32_xmmm64_sae),
                    (false, true, true) => pick(Code::VEX_Vcvttsd2si_r64_xmmm64, Code::EVEX_Vcvttsd2si_r64_xmmm64_sae),
                };
                self.def(code, GPR, gview(to), &[Opnd::Use(x, View::X)])
            }
        }
    }
}
