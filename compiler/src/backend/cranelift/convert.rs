//! Conversions between lane kinds, rounding to integers, and half-precision formats as integer arithmetic.
//!
//! SSE2 has no rounding instruction, and Cranelift would call a library: adding and subtracting 2^23 (2^52) with the sign of
//! the operand rounds in the current mode, to nearest even, wherever the operand has a fraction at all.

use super::emit::{Emitter, Family, Reason, Val, int_type};
use cranelift_codegen::ir::condcodes::{FloatCC, IntCC};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, InstBuilder};
use tflc_kir::{BinOp, ConvertOp, Elem, Inst, Op, Type, UnOp, Value};

impl Emitter<'_, '_> {
    pub(super) fn convert(&mut self, op: ConvertOp, inst: &Inst, kty: Type, ty: ir::Type, a: Val) -> Result<Val, Reason> {
        let from = self.kir_type(inst.args[0]);
        let changes_width = kty.elem.bits() != from.elem.bits();
        if kty.is_vector() && changes_width && from.elem != Elem::Bool && op != ConvertOp::Bitcast {
            return Err(format!("{from} to {kty}: lanes of this target's vectors keep their width"));
        }
        Ok(match op {
            ConvertOp::ExtU if from.elem == Elem::Bool && kty.is_vector() => self.ushr(a, ty.lane_bits() - 1),
            ConvertOp::ExtS | ConvertOp::ExtU | ConvertOp::Wrap if self.ty(a) == ty => a,
            ConvertOp::ExtS => self.b.ins().sextend(ty, a),
            ConvertOp::ExtU => self.b.ins().uextend(ty, a),
            ConvertOp::Wrap => self.b.ins().ireduce(ty, a),
            ConvertOp::SatS | ConvertOp::SatU => {
                let (least, most) = range(op == ConvertOp::SatS, kty.elem.bits());
                let v = self.clamp(a, least, most);
                if self.ty(v) == ty { v } else { self.b.ins().ireduce(ty, v) }
            }
            ConvertOp::IntToFloat => self.b.ins().fcvt_from_sint(ty, a),
            ConvertOp::FloatToIntTrunc => self.truncate(ty, a),
            ConvertOp::FloatToIntEven => self.nearest_int(ty, inst.args[0], a),
            ConvertOp::FloatToFloat if ty == F64 && from.elem == Elem::F32 => self.b.ins().fpromote(F64, a),
            ConvertOp::FloatToFloat if ty == F32 && from.elem == Elem::F64 => self.b.ins().fdemote(F32, a),
            ConvertOp::FloatToFloat => a,
            ConvertOp::Bitcast => self.cast(ty, a),
        })
    }

    /// Clamps signed lanes; bounds outside the lane's own range are no bounds.
    pub(super) fn clamp(&mut self, v: Val, least: i128, most: i128) -> Val {
        let ty = self.ty(v);
        let (lane_least, lane_most) = range(true, ty.lane_bits());
        let mut v = v;
        if least > lane_least {
            let c = self.int(ty, least as i64);
            v = self.b.ins().smax(v, c);
        }
        if most < lane_most {
            let c = self.int(ty, most as i64);
            v = self.b.ins().smin(v, c);
        }
        v
    }

    // ---- float to integer ----

    /// Towards zero.
    fn truncate(&mut self, ty: ir::Type, a: Val) -> Val {
        match (self.family, self.ty(a), ty) {
            (Family::Sse2, F32X4, _) => self.b.ins().x86_cvtt2dq(I32X4, a),
            (Family::Sse2, F32, I32) => {
                let v = self.b.ins().scalar_to_vector(F32X4, a);
                let v = self.b.ins().x86_cvtt2dq(I32X4, v);
                self.b.ins().extractlane(v, 0u8)
            }
            (Family::Sse2, F64X2, _) => self.map_lanes(a, |e, lane| e.b.ins().fcvt_to_sint_sat(I64, lane)),
            _ => self.b.ins().fcvt_to_sint_sat(ty, a),
        }
    }

    /// To nearest even.
    fn nearest_int(&mut self, ty: ir::Type, from: Value, a: Val) -> Val {
        // AArch64 rounds and converts in two instructions; the others would take up to a dozen.
        if !matches!(self.family, Family::Neon(_)) && matches!(self.ty(a), F32 | F32X4) && ty.lane_type() == I32 {
            let limit = f32::from_bits(0x4A80_0000); // 2^22
            if let Some((least, most)) = self.bounds(from)
                && least >= -limit
                && most <= limit
            {
                return self.nearest_int_by_magic(ty, a);
            }
        }
        let rounded = self.round(UnOp::RoundEven, a);
        self.truncate(ty, rounded)
    }

    /// Adds 1.5 * 2^23, which leaves the integer in the low mantissa bits; exact for |a| <= 2^22.
    fn nearest_int_by_magic(&mut self, ty: ir::Type, a: Val) -> Val {
        const MAGIC: u64 = 0x4B40_0000;
        let magic = self.bits(self.ty(a), MAGIC);
        let sum = self.b.ins().fadd(a, magic);
        let sum = self.int_view(sum);
        let base = self.bits(ty, MAGIC);
        self.b.ins().isub(sum, base)
    }

    /// Bounds of a float value, from minima and maxima with constants as second operand: these hold for NaN too.
    fn bounds(&self, v: Value) -> Option<(f32, f32)> {
        let inst = self.def(v)?;
        let Op::Bin(op @ (BinOp::Min | BinOp::Max)) = inst.op else { return None };
        let c = f32::from_bits(self.known_bits(inst.args[1])? as u32);
        let (least, most) = self.bounds(inst.args[0]).unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        match op {
            _ if c.is_nan() => None,
            BinOp::Min => Some((least.min(c), most.min(c))),
            _ => Some((least.max(c), most.max(c))),
        }
    }

    // ---- rounding ----

    pub(super) fn round(&mut self, op: UnOp, a: Val) -> Val {
        if self.family != Family::Sse2 {
            return match op {
                UnOp::Floor => self.b.ins().floor(a),
                UnOp::Ceil => self.b.ins().ceil(a),
                UnOp::Trunc => self.b.ins().trunc(a),
                _ => self.b.ins().nearest(a),
            };
        }
        let ty = self.ty(a);
        if !ty.is_vector() {
            let vector = if ty == F32 { F32X4 } else { F64X2 };
            let v = self.b.ins().scalar_to_vector(vector, a);
            let v = self.round_inline(op, v);
            return self.b.ins().extractlane(v, 0u8);
        }
        self.round_inline(op, a)
    }

    fn round_inline(&mut self, op: UnOp, a: Val) -> Val {
        let ty = self.ty(a);
        let ity = int_type(ty);
        let bits = self.cast(ity, a);
        let sign_bit = self.bits(ity, 1 << (ty.lane_bits() - 1));
        let sign = self.b.ins().band(bits, sign_bit);
        let magnitude = self.b.ins().band_not(bits, sign_bit);
        let magnitude = self.cast(ty, magnitude);
        // 2^23 or 2^52 where the operand is smaller, else 0: larger operands have no fraction, and NaN stays.
        let scale = if ty == F32X4 { 8_388_608.0 } else { 4_503_599_627_370_496.0 };
        let big = self.float(ty, scale);
        let small = self.b.ins().fcmp(FloatCC::LessThan, magnitude, big);
        let big = self.cast(ity, big);
        let shifter = self.b.ins().band(small, big);
        let operand = if op == UnOp::Trunc { magnitude } else { a };
        let shifter = if op == UnOp::Trunc { shifter } else { self.b.ins().bor(shifter, sign) };
        let shifter = self.cast(ty, shifter);
        let sum = self.b.ins().fadd(operand, shifter);
        let nearest = self.b.ins().fsub(sum, shifter);
        let rounded = match op {
            UnOp::Floor | UnOp::Trunc => self.step_where(FloatCC::LessThan, operand, nearest, 1.0, nearest),
            UnOp::Ceil => self.step_where(FloatCC::LessThan, nearest, operand, -1.0, nearest),
            _ => nearest,
        };
        // Restores the sign of a zero.
        let rounded = self.cast(ity, rounded);
        let rounded = self.b.ins().bor(rounded, sign);
        self.cast(ty, rounded)
    }

    /// `v - step` where the comparison of x and y holds.
    fn step_where(&mut self, cc: FloatCC, x: Val, y: Val, step: f64, v: Val) -> Val {
        let ty = self.ty(v);
        let wrong = self.b.ins().fcmp(cc, x, y);
        let step = self.float(ty, step);
        let step = self.cast(int_type(ty), step);
        let step = self.b.ins().band(wrong, step);
        let step = self.cast(ty, step);
        self.b.ins().fsub(v, step)
    }

    // ---- 16-bit floats ----

    /// binary16 bits, zero-extended to 32-bit lanes, as `F32`. After `fp16_ieee_to_fp32_value` of the FP16 library
    /// (github.com/Maratyszcza/FP16), which scales by powers of two and never meets a subnormal.
    pub(super) fn f16_to_f32(&mut self, h: Val) -> Val {
        let ity = self.ty(h);
        let fty = float_of(ity);
        let w = self.shl(h, 16);
        let sign_bit = self.bits(ity, 0x8000_0000);
        let sign = self.b.ins().band(w, sign_bit);
        let magnitude = self.b.ins().band_not(w, sign_bit);
        let rebias = self.bits(ity, 0xE0 << 23);
        let normal = self.ushr(magnitude, 3);
        let normal = self.b.ins().iadd(normal, rebias);
        let normal = self.cast(fty, normal);
        let scale = self.bits(fty, 0x0780_0000); // 2^-112
        let normal = self.b.ins().fmul(normal, scale);
        let normal = self.cast(ity, normal);
        let half = self.bits(ity, 126 << 23);
        let tiny = self.ushr(magnitude, 16);
        let tiny = self.b.ins().bor(tiny, half);
        let tiny = self.cast(fty, tiny);
        let half = self.cast(fty, half);
        let tiny = self.b.ins().fsub(tiny, half);
        let tiny = self.cast(ity, tiny);
        let limit = self.bits(ity, 0x0400_0000);
        let is_tiny = self.b.ins().icmp(IntCC::SignedLessThan, magnitude, limit);
        let value = self.pick(is_tiny, tiny, normal);
        let value = self.b.ins().bor(value, sign);
        self.cast(fty, value)
    }

    /// `F32` lanes to binary16 bits in the low half of 32-bit lanes, rounded to nearest even. After
    /// `fp16_ieee_from_fp32_value` of the FP16 library; NaN keeps its upper bits and becomes quiet, as the `vcvtps2ph` and `fcvtn` instructions do it.
    pub(super) fn f32_to_f16(&mut self, f: Val) -> Val {
        let fty = self.ty(f);
        let ity = int_type(fty);
        let w = self.cast(ity, f);
        let sign_bit = self.bits(ity, 0x8000_0000);
        let magnitude = self.b.ins().band_not(w, sign_bit);
        let base = self.cast(fty, magnitude);
        let up = self.bits(fty, 0x7780_0000); // 2^112
        let down = self.bits(fty, 0x0880_0000); // 2^-110
        let base = self.b.ins().fmul(base, up);
        let base = self.b.ins().fmul(base, down);
        let exponent = self.bits(ity, 0x7F80_0000);
        let bias = self.b.ins().band(w, exponent);
        let least = self.bits(ity, 0x3880_0000);
        let bias = self.b.ins().smax(bias, least);
        let shift = self.bits(ity, 0x0780_0000);
        let bias = self.b.ins().iadd(bias, shift);
        let bias = self.cast(fty, bias);
        let sum = self.b.ins().fadd(bias, base);
        let bits = self.cast(ity, sum);
        let exponent = self.ushr(bits, 13);
        let exponent_mask = self.bits(ity, 0x7C00);
        let exponent = self.b.ins().band(exponent, exponent_mask);
        let mantissa_mask = self.bits(ity, 0x0FFF);
        let mantissa = self.b.ins().band(bits, mantissa_mask);
        let number = self.b.ins().iadd(exponent, mantissa);
        let payload = self.ushr(magnitude, 13);
        let quiet = self.bits(ity, 0x7E00);
        let low = self.bits(ity, 0x7FFF);
        let payload = self.b.ins().bor(payload, quiet);
        let payload = self.b.ins().band(payload, low);
        let nan = self.is_nan(f);
        let value = self.pick(nan, payload, number);
        let sign = self.b.ins().band(w, sign_bit);
        let sign = self.ushr(sign, 16);
        self.b.ins().bor(value, sign)
    }

    /// bfloat16 bits, zero-extended to 32-bit lanes, as `F32`.
    pub(super) fn bf16_to_f32(&mut self, h: Val) -> Val {
        let w = self.shl(h, 16);
        self.cast(float_of(self.ty(w)), w)
    }

    /// `F32` lanes to bfloat16 bits in the low half of 32-bit lanes, rounded to nearest even; NaN becomes quiet.
    pub(super) fn f32_to_bf16(&mut self, f: Val) -> Val {
        let w = self.int_view(f);
        let ity = self.ty(w);
        let high = self.ushr(w, 16);
        let one = self.int(ity, 1);
        let odd = self.b.ins().band(high, one);
        let bias = self.int(ity, 0x7FFF);
        let sum = self.b.ins().iadd(w, bias);
        let sum = self.b.ins().iadd(sum, odd);
        let number = self.ushr(sum, 16);
        let quiet = self.int(ity, 0x40);
        let quiet = self.b.ins().bor(high, quiet);
        let nan = self.is_nan(f);
        self.pick(nan, quiet, number)
    }
}

/// Range of an integer of `bits` bits.
pub(super) fn range(signed: bool, bits: u32) -> (i128, i128) {
    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn float_of(ity: ir::Type) -> ir::Type {
    if ity == I32 { F32 } else { F32X4 }
}
