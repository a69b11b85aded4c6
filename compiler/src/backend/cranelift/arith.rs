//! Lane-wise arithmetic and comparisons.
//!
//! The same code serves scalars and vectors. Where SSE2 lacks an operation that Cranelift does not supply either (products of
//! bytes, leading zeros), a sequence over wider lanes stands in.

use super::emit::{Emitter, Family, Reason, Val, int_type};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, InstBuilder};
use tflc_kir::{BinOp, CmpOp, Inst, Op, Type, UnOp, Value};

impl Emitter<'_, '_> {
    pub(super) fn unary(&mut self, op: UnOp, kty: Type, a: Val) -> Result<Val, Reason> {
        let ty = self.ty(a);
        let float = kty.elem.is_float();
        Ok(match op {
            UnOp::Neg if float => self.b.ins().fneg(a),
            UnOp::Neg => self.b.ins().ineg(a),
            UnOp::Abs if float => self.b.ins().fabs(a),
            UnOp::Abs => self.b.ins().iabs(a),
            UnOp::Not if kty == Type::BOOL => {
                let one = self.int(I8, 1);
                self.b.ins().bxor(a, one)
            }
            UnOp::Not => self.b.ins().bnot(a),
            UnOp::Sqrt => self.b.ins().sqrt(a),
            UnOp::RoundEven | UnOp::Floor | UnOp::Ceil | UnOp::Trunc => self.round(op, a),
            UnOp::LeadingZeros if ty.is_vector() => self.vector_clz(a),
            UnOp::LeadingZeros => self.b.ins().clz(a),
        })
    }

    pub(super) fn binary(&mut self, op: BinOp, kty: Type, inst: &Inst, a: Val, b: Val) -> Result<Val, Reason> {
        let ty = self.ty(a);
        let float = kty.elem.is_float();
        // x86 overwrites the first operand of a sum: let that be the running one.
        let (a, b) = if op == BinOp::Add && self.is_running(inst.args[1]) && !self.is_running(inst.args[0]) { (b, a) } else { (a, b) };
        Ok(match op {
            BinOp::Add if float => self.b.ins().fadd(a, b),
            BinOp::Add => self.b.ins().iadd(a, b),
            BinOp::Sub if float => self.b.ins().fsub(a, b),
            BinOp::Sub => self.b.ins().isub(a, b),
            BinOp::Mul if float => self.b.ins().fmul(a, b),
            BinOp::Mul if ty == I8X16 && self.family == Family::Sse2 => self.mul_bytes(a, b),
            BinOp::Mul if !ty.is_vector() => self.mul_scalar(inst, a, b),
            BinOp::Mul => self.b.ins().imul(a, b),
            BinOp::Div if float => self.b.ins().fdiv(a, b),
            BinOp::Div => self.b.ins().sdiv(a, b),
            BinOp::Rem => self.b.ins().srem(a, b),
            // This comparison and choice is what Cranelift folds into `minps`.
            BinOp::Min if float => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, a, b);
                self.pick(less, a, b)
            }
            BinOp::Max if float => {
                let less = self.b.ins().fcmp(FloatCC::LessThan, b, a);
                self.pick(less, a, b)
            }
            BinOp::Min => self.b.ins().smin(a, b),
            BinOp::Max => self.b.ins().smax(a, b),
            BinOp::MinU => self.b.ins().umin(a, b),
            BinOp::MaxU => self.b.ins().umax(a, b),
            BinOp::And => self.b.ins().band(a, b),
            BinOp::Or => self.b.ins().bor(a, b),
            BinOp::Xor => self.b.ins().bxor(a, b),
            BinOp::Shl | BinOp::ShrU | BinOp::ShrS => self.shift(op, inst, a, b),
            BinOp::AddSatS => self.b.ins().sadd_sat(a, b),
            BinOp::SubSatS => self.b.ins().ssub_sat(a, b),
            BinOp::AddSatU => self.b.ins().uadd_sat(a, b),
            BinOp::SubSatU => self.b.ins().usub_sat(a, b),
            BinOp::MulHiS => self.mul_hi(a, b, Sign::Signed)?,
            BinOp::MulHiU => self.mul_hi(a, b, Sign::Unsigned)?,
            BinOp::MulRoundHi => self.mul_round_hi(a, b)?,
        })
    }

    pub(super) fn compare(&mut self, op: CmpOp, a: Val, b: Val) -> Val {
        let lane = self.ty(a).lane_type();
        if lane.is_float() {
            let cc = match op {
                CmpOp::Eq => FloatCC::Equal,
                CmpOp::Ne => FloatCC::NotEqual,
                CmpOp::Lt | CmpOp::LtU => FloatCC::LessThan,
                CmpOp::Le | CmpOp::LeU => FloatCC::LessThanOrEqual,
                CmpOp::Gt => FloatCC::GreaterThan,
                CmpOp::Ge => FloatCC::GreaterThanOrEqual,
            };
            return self.b.ins().fcmp(cc, a, b);
        }
        let cc = match op {
            CmpOp::Eq => IntCC::Equal,
            CmpOp::Ne => IntCC::NotEqual,
            CmpOp::Lt => IntCC::SignedLessThan,
            CmpOp::Le => IntCC::SignedLessThanOrEqual,
            CmpOp::Gt => IntCC::SignedGreaterThan,
            CmpOp::Ge => IntCC::SignedGreaterThanOrEqual,
            CmpOp::LtU => IntCC::UnsignedLessThan,
            CmpOp::LeU => IntCC::UnsignedLessThanOrEqual,
        };
        self.b.ins().icmp(cc, a, b)
    }

    /// Whether a value is a carried sum, or such a sum with more added.
    fn is_running(&self, v: Value) -> bool {
        let mut v = v;
        for _ in 0..32 {
            if self.is_carried(v) {
                return true;
            }
            match self.def(v) {
                Some(d) if d.op == Op::Bin(BinOp::Add) => v = d.args[usize::from(self.is_carried(d.args[1]))],
                _ => return false,
            }
        }
        false
    }

    /// A scalar product; powers of two become shifts.
    fn mul_scalar(&mut self, inst: &Inst, a: Val, b: Val) -> Val {
        for (constant, other) in [(inst.args[1], a), (inst.args[0], b)] {
            match self.known_bits(constant) {
                Some(1) => return other,
                Some(c) if c.is_power_of_two() => return self.shl(other, c.trailing_zeros()),
                _ => {}
            }
        }
        self.b.ins().imul(a, b)
    }

    /// Products of bytes: those of even and of odd bytes as 16-bit lanes, then woven together.
    fn mul_bytes(&mut self, a: Val, b: Val) -> Val {
        let (a, b) = (self.cast(I16X8, a), self.cast(I16X8, b));
        let even = self.b.ins().imul(a, b);
        let low = self.int(I16X8, 0xFF);
        let even = self.b.ins().band(even, low);
        let (a, b) = (self.ushr(a, 8), self.ushr(b, 8));
        let odd = self.b.ins().imul(a, b);
        let odd = self.shl(odd, 8);
        let all = self.b.ins().bor(even, odd);
        self.cast(I8X16, all)
    }

    /// Leading zeros of vector lanes; CLIF counts them in scalars only.
    fn vector_clz(&mut self, a: Val) -> Val {
        match self.ty(a) {
            I32X4 => self.clz_by_exponent(a),
            I64X2 => self.map_lanes(a, |e, lane| e.b.ins().clz(lane)),
            ty => {
                let (lo, hi) = (self.b.ins().uwiden_low(a), self.b.ins().uwiden_high(a));
                let (lo, hi) = (self.vector_clz(lo), self.vector_clz(hi));
                let both = if ty == I8X16 { self.b.ins().unarrow(lo, hi) } else { self.b.ins().snarrow(lo, hi) };
                let extra = self.int(ty, i64::from(ty.lane_bits()));
                self.b.ins().isub(both, extra)
            }
        }
    }

    /// Reads the count from the exponent of the lane as a float. Clearing the bit below the leading one keeps the
    /// conversion from rounding up to the next power of two.
    fn clz_by_exponent(&mut self, a: Val) -> Val {
        let half = self.ushr(a, 1);
        let kept = self.b.ins().band_not(a, half);
        let float = self.b.ins().fcvt_from_sint(F32X4, kept);
        let float = self.cast(I32X4, float);
        let exponent = self.ushr(float, 23);
        // 127 + 31 minus the biased exponent; zero has exponent 0 and gives 158, cut to 32.
        let top = self.int(I32X4, 158);
        let count = self.b.ins().isub(top, exponent);
        let most = self.int(I32X4, 32);
        let count = self.b.ins().smin(count, most);
        let negative = self.sshr(a, 31);
        self.b.ins().band_not(count, negative)
    }

    /// Applies a scalar function to each lane.
    pub(super) fn map_lanes(&mut self, a: Val, mut f: impl FnMut(&mut Self, Val) -> Val) -> Val {
        let ty = self.ty(a);
        let lanes: Vec<Val> = (0..ty.lane_count() as u8)
            .map(|i| {
                let lane = self.b.ins().extractlane(a, i);
                f(self, lane)
            })
            .collect();
        self.vector_of(&lanes)
    }

    /// A vector of scalars.
    pub(super) fn vector_of(&mut self, lanes: &[Val]) -> Val {
        let lane_ty = self.ty(lanes[0]);
        let ty = lane_ty.by(lanes.len() as u32).expect("a 16-byte vector");
        let mut v = match lane_ty {
            I8 | I16 => self.b.ins().splat(ty, lanes[0]),
            _ => self.b.ins().scalar_to_vector(ty, lanes[0]),
        };
        for (i, &lane) in lanes.iter().enumerate().skip(1) {
            v = self.b.ins().insertlane(v, lane, i as u8);
        }
        v
    }

    /// Mask of the lanes that are NaN.
    pub(super) fn is_nan(&mut self, v: Val) -> Val {
        self.b.ins().fcmp(FloatCC::Unordered, v, v)
    }

    /// The integer view of a vector or scalar of floats.
    pub(super) fn int_view(&mut self, v: Val) -> Val {
        let ty: ir::Type = int_type(self.ty(v));
        self.cast(ty, v)
    }
}

/// Whether integer operands count as signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sign {
    /// Two's complement.
    Signed,
    /// Unsigned.
    Unsigned,
}
