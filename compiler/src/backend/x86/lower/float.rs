//! Float arithmetic, scalar and vector, and the choice between the forms of multiply-add.

use super::Lower;
use super::values::{Fold, Lanes};
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use regalloc2::VReg;
use tflc_kir::{BinOp, CmpOp, Elem, Op, Type, UnOp, Value};

/// Forms of multiply-add by which source the destination holds: a factor with the addend last, a factor with the other factor last, the addend.
/// Columns: `ps pd ss sd`.
type FmaForms = [[Vop; 4]; 3];

/// Plain, negated product, negated addend, both negated.
const FMA: [FmaForms; 4] = [
    [
        [Vop::Fmadd213ps, Vop::Fmadd213pd, Vop::Fmadd213ss, Vop::Fmadd213sd],
        [Vop::Fmadd132ps, Vop::Fmadd132pd, Vop::Fmadd132ss, Vop::Fmadd132sd],
        [Vop::Fmadd231ps, Vop::Fmadd231pd, Vop::Fmadd231ss, Vop::Fmadd231sd],
    ],
    [
        [Vop::Fnmadd213ps, Vop::Fnmadd213pd, Vop::Fnmadd213ss, Vop::Fnmadd213sd],
        [Vop::Fnmadd132ps, Vop::Fnmadd132pd, Vop::Fnmadd132ss, Vop::Fnmadd132sd],
        [Vop::Fnmadd231ps, Vop::Fnmadd231pd, Vop::Fnmadd231ss, Vop::Fnmadd231sd],
    ],
    [
        [Vop::Fmsub213ps, Vop::Fmsub213pd, Vop::Fmsub213ss, Vop::Fmsub213sd],
        [Vop::Fmsub132ps, Vop::Fmsub132pd, Vop::Fmsub132ss, Vop::Fmsub132sd],
        [Vop::Fmsub231ps, Vop::Fmsub231pd, Vop::Fmsub231ss, Vop::Fmsub231sd],
    ],
    [
        [Vop::Fnmsub213ps, Vop::Fnmsub213pd, Vop::Fnmsub213ss, Vop::Fnmsub213sd],
        [Vop::Fnmsub132ps, Vop::Fnmsub132pd, Vop::Fnmsub132ss, Vop::Fnmsub132sd],
        [Vop::Fnmsub231ps, Vop::Fnmsub231pd, Vop::Fnmsub231ss, Vop::Fnmsub231sd],
    ],
];

/// Column of `ps pd ss sd` for a float type.
fn column(ty: Type) -> usize {
    usize::from(ty.elem == Elem::F64) + if ty.is_vector() { 0 } else { 2 }
}

/// What an operand of float arithmetic on a type may fold.
pub(super) fn float_fold(ty: Type) -> Fold {
    let bytes = (ty.elem.bits() / 8) as u8;
    if ty.is_vector() { Fold::Elem(bytes) } else { Fold::Scalar(bytes) }
}

impl Lower<'_> {
    pub(super) fn float_bin(&mut self, op: BinOp, ty: Type, a: Value, b: Value) -> VReg {
        let row = match op {
            BinOp::Add => [Vop::Addps, Vop::Addpd, Vop::Addss, Vop::Addsd],
            BinOp::Sub => [Vop::Subps, Vop::Subpd, Vop::Subss, Vop::Subsd],
            BinOp::Mul => [Vop::Mulps, Vop::Mulpd, Vop::Mulss, Vop::Mulsd],
            BinOp::Div => [Vop::Divps, Vop::Divpd, Vop::Divss, Vop::Divsd],
            // These give the second source where the comparison fails or a NaN is there, as kir wants.
            BinOp::Min => [Vop::Minps, Vop::Minpd, Vop::Minss, Vop::Minsd],
            BinOp::Max => [Vop::Maxps, Vop::Maxpd, Vop::Maxss, Vop::Maxsd],
            _ => return self.fail("integer operator on floats"),
        };
        let commutes = matches!(op, BinOp::Add | BinOp::Mul);
        self.op3_values(row[column(ty)], self.width(ty), float_fold(ty), commutes, a, b)
    }

    pub(super) fn float_un(&mut self, op: UnOp, ty: Type, a: Value) -> VReg {
        let w = self.width(ty);
        let double = ty.elem == Elem::F64;
        let rounding = match op {
            UnOp::RoundEven => 8,
            UnOp::Floor => 9,
            UnOp::Ceil => 10,
            UnOp::Trunc => 11,
            UnOp::Neg | UnOp::Abs => {
                let sign = Self::sign_lanes(ty.elem);
                let bits =
                    if op == UnOp::Neg { sign } else { Lanes::splat(u64::MAX >> (65 - ty.elem.bits()), ty.elem.bits() as usize / 8) };
                let over = self.dies(a);
                let x = self.reg(a);
                let vop = match (op, double) {
                    (UnOp::Neg, false) => Vop::Xorps,
                    (UnOp::Neg, true) => Vop::Xorpd,
                    (_, false) => Vop::Andps,
                    (_, true) => Vop::Andpd,
                };
                let bits = self.konst(bits, w, Fold::of(ty.elem));
                return self.op3_over(vop, w, over, x, bits);
            }
            UnOp::Sqrt => {
                let vop = [Vop::Sqrtps, Vop::Sqrtpd, Vop::Sqrtss, Vop::Sqrtsd][column(ty)];
                if ty.is_vector() {
                    return self.op2_value(vop, w, float_fold(ty), a, None);
                }
                let y = self.rm(a, w, float_fold(ty));
                return self.scalar_from(vop, y);
            }
            UnOp::Not | UnOp::LeadingZeros => return self.fail("integer operator on floats"),
        };
        let vop = [Vop::Roundps, Vop::Roundpd, Vop::Roundss, Vop::Roundsd][column(ty)];
        if ty.is_vector() {
            return self.op2_value(vop, w, float_fold(ty), a, Some(rounding));
        }
        let y = self.rm(a, w, float_fold(ty));
        let low = self.low_source(y);
        self.op3i(vop, w, low, y, rounding)
    }

    /// A scalar instruction that copies the upper lanes of its first source: that source without a false dependency where there is one.
    pub(super) fn scalar_from(&mut self, op: Vop, y: Rm) -> VReg {
        let low = self.low_source(y);
        self.op3(op, Width::X, low, y)
    }

    fn low_source(&mut self, y: Rm) -> VReg {
        match y {
            Rm::Reg(r) => r,
            Rm::Mem(_) => self.zero(),
        }
    }

    /// Takes a negation off a value: the value below and whether there was one that nobody else needs.
    fn negated(&mut self, v: Value) -> (Value, bool) {
        match self.an.inst(v) {
            Some(inst) if inst.op == Op::Un(UnOp::Neg) && self.an.deferred(v) && self.vals[v.index()].is_none() => (inst.args[0], true),
            _ => (v, false),
        }
    }

    pub(super) fn fma(&mut self, ty: Type, args: &[Value]) -> VReg {
        let w = self.width(ty);
        let fold = float_fold(ty);
        let ((mut a, na), (mut b, nb), (c, nc)) = (self.negated(args[0]), self.negated(args[1]), self.negated(args[2]));
        let forms = &FMA[usize::from(na != nb) + 2 * usize::from(nc)];
        let column = column(ty);
        let loose = |s: &Self, v: Value| s.dies(v) && !s.foldable(v);
        // The register that is overwritten should be one that nobody needs any more: the addend, else a factor.
        let factor_first = !loose(self, c) && (loose(self, a) || loose(self, b) || self.foldable(c));
        if factor_first {
            if !loose(self, a) && (loose(self, b) || self.foldable(a)) {
                std::mem::swap(&mut a, &mut b);
            }
            let x = self.reg_over(a, w);
            // One memory operand: the addend, else the other factor.
            if self.foldable(b) && !self.foldable(c) {
                let z = self.reg(c);
                let y = self.rm(b, w, fold);
                return self.op_acc(forms[1][column], w, x, z, y);
            }
            let y = self.reg(b);
            let z = self.rm(c, w, fold);
            return self.op_acc(forms[0][column], w, x, y, z);
        }
        if self.foldable(a) && !self.foldable(b) {
            std::mem::swap(&mut a, &mut b);
        }
        let z = self.reg_over(c, w);
        let x = self.reg(a);
        let y = self.rm(b, w, fold);
        self.op_acc(forms[2][column], w, z, x, y)
    }

    /// Compares scalar floats; gives the condition under which the comparison holds.
    pub(super) fn compare_floats(&mut self, op: CmpOp, a: Value, b: Value) -> Cc {
        let ty = self.ty(a);
        let (a, b, cc) = match op {
            // The carry flag tells of NaN, so that "above" and "above or equal" are false then.
            CmpOp::Lt => (b, a, Cc::A),
            CmpOp::Le => (b, a, Cc::Ae),
            CmpOp::Gt => (a, b, Cc::A),
            CmpOp::Ge => (a, b, Cc::Ae),
            CmpOp::Eq | CmpOp::Ne => (a, b, Cc::E),
            CmpOp::LtU | CmpOp::LeU => {
                self.fail("unsigned comparison of floats");
                return Cc::E;
            }
        };
        let x = self.reg(a);
        let y = self.rm(b, Width::X, float_fold(ty));
        let code = self.vcode(if ty.elem == Elem::F64 { Vop::Ucomisd } else { Vop::Ucomiss }, Width::X);
        self.emit(code, &[Opnd::Use(x, View::X), Opnd::rm(y, View::X)]);
        match op {
            CmpOp::Eq => {
                let (e, np) = (self.set(Cc::E), self.set(Cc::Np));
                self.modify(iced_x86::Code::And_r32_rm32, e, View::D, &[Opnd::Use(np, View::D)]);
                Cc::Ne
            }
            CmpOp::Ne => {
                let (ne, p) = (self.set(Cc::Ne), self.set(Cc::P));
                self.modify(iced_x86::Code::Or_r32_rm32, ne, View::D, &[Opnd::Use(p, View::D)]);
                Cc::Ne
            }
            _ => cc,
        }
    }
}
