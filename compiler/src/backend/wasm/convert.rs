//! Conversions: widths, integers and floats, half-precision formats.
//!
//! The half-precision ones are the classic bit manipulations (F. Giesen, "Float to half conversion", 2012, and Maratyszcza's FP16 library), on vectors of
//! four lanes; scalars take the way through a vector.

use super::code::Local;
use super::emit::{Emitter, Reason};
use super::tables;
use tflc_kir::{BinOp, ConvertOp, Elem, Inst, Mem, Type, UnOp};
use wasm_encoder::{Instruction as I, ValType};

impl Emitter<'_> {
    pub(super) fn convert(&mut self, op: ConvertOp, inst: &Inst, ty: Type) -> Result<Local, Reason> {
        let from = self.ty(inst.args[0]);
        let x = self.get_full(inst.args[0]);
        if ty.is_vector() {
            return self.convert_lanes(op, from, ty, x);
        }
        let home = self.c.ty(x);
        Ok(match op {
            ConvertOp::ExtS if from.elem == Elem::I32 && ty.elem == Elem::I64 => self.c.i64(I::I64ExtendI32S, &[x]),
            ConvertOp::ExtU if ty.elem == Elem::I64 && home == ValType::I32 => self.c.i64(I::I64ExtendI32U, &[x]),
            ConvertOp::ExtS | ConvertOp::ExtU => x,
            ConvertOp::Wrap => self.get_low(inst.args[0]),
            ConvertOp::SatS | ConvertOp::SatU if home == ValType::I64 && ty.elem == Elem::I32 => {
                let signed = op == ConvertOp::SatS;
                let (least, most) = if signed { (i64::from(i32::MIN), i64::from(i32::MAX)) } else { (0, i64::from(u32::MAX)) };
                let x = self.clamp_i64(x, least, most);
                self.c.i32(I::I32WrapI64, &[x])
            }
            ConvertOp::IntToFloat => {
                let (i, to) = match (home, ty.elem) {
                    (ValType::I32, Elem::F32) => (I::F32ConvertI32S, ValType::F32),
                    (ValType::I32, _) => (I::F64ConvertI32S, ValType::F64),
                    (_, Elem::F32) => (I::F32ConvertI64S, ValType::F32),
                    _ => (I::F64ConvertI64S, ValType::F64),
                };
                self.c.op(to, i, &[x])
            }
            ConvertOp::FloatToIntEven | ConvertOp::FloatToIntTrunc => {
                let x = if op == ConvertOp::FloatToIntEven { self.unary(UnOp::RoundEven, from, x)? } else { x };
                match (from.elem, ty.elem) {
                    (Elem::F32, Elem::I32) => self.c.i32(I::I32TruncSatF32S, &[x]),
                    (_, Elem::I32) => self.c.i32(I::I32TruncSatF64S, &[x]),
                    (Elem::F32, _) => self.c.i64(I::I64TruncSatF32S, &[x]),
                    _ => self.c.i64(I::I64TruncSatF64S, &[x]),
                }
            }
            ConvertOp::FloatToFloat => match (from.elem, ty.elem) {
                (Elem::F32, Elem::F64) => self.c.op(ValType::F64, I::F64PromoteF32, &[x]),
                (Elem::F64, Elem::F32) => self.c.op(ValType::F32, I::F32DemoteF64, &[x]),
                _ => x,
            },
            ConvertOp::Bitcast => match (from.elem, ty.elem) {
                (Elem::I32, Elem::F32) => self.c.op(ValType::F32, I::F32ReinterpretI32, &[x]),
                (Elem::F32, Elem::I32) => self.c.i32(I::I32ReinterpretF32, &[x]),
                (Elem::I64, Elem::F64) => self.c.op(ValType::F64, I::F64ReinterpretI64, &[x]),
                (Elem::F64, Elem::I64) => self.c.i64(I::I64ReinterpretF64, &[x]),
                (Elem::Ptr, Elem::I64) => self.c.i64(I::I64ExtendI32U, &[x]),
                (Elem::I64, Elem::Ptr) => self.get_low(inst.args[0]),
                (a, b) if a == b => x,
                _ => return Err(format!("bitcast of {from} to {ty}")),
            },
            _ => return Err(format!("{op:?} of {from} to {ty}")),
        })
    }

    fn convert_lanes(&mut self, op: ConvertOp, from: Type, ty: Type, x: Local) -> Result<Local, Reason> {
        if op == ConvertOp::Bitcast {
            return Ok(x);
        }
        if op == ConvertOp::ExtU && from.elem == Elem::Bool {
            return Ok(self.shift_by(BinOp::ShrU, ty.elem, x, ty.elem.bits() - 1));
        }
        if from.elem.bits() != ty.elem.bits() {
            return Err(format!("{from} to {ty}: lanes of this target's vectors keep their width"));
        }
        Ok(match (op, ty.elem) {
            (ConvertOp::IntToFloat, Elem::F32) => self.c.v128(I::F32x4ConvertI32x4S, &[x]),
            (ConvertOp::IntToFloat, _) => self.map_between(from, ty, x, |e, s| e.c.op(ValType::F64, I::F64ConvertI64S, &[s])),
            (ConvertOp::FloatToIntEven | ConvertOp::FloatToIntTrunc, _) => {
                let x = if op == ConvertOp::FloatToIntEven { self.unary(UnOp::RoundEven, from, x)? } else { x };
                match ty.elem {
                    // What is out of range is open, and the relaxed form is one instruction.
                    Elem::I32 => self.c.v128(if self.relaxed { I::I32x4RelaxedTruncF32x4S } else { I::I32x4TruncSatF32x4S }, &[x]),
                    _ => self.map_between(from, ty, x, |e, s| e.c.i64(I::I64TruncSatF64S, &[s])),
                }
            }
            (ConvertOp::ExtS | ConvertOp::ExtU | ConvertOp::Wrap | ConvertOp::FloatToFloat, _) => x,
            _ => return Err(format!("{op:?} of {from} to {ty}")),
        })
    }

    /// Applies `f` to every lane, which changes its kind.
    fn map_between(&mut self, from: Type, to: Type, x: Local, mut f: impl FnMut(&mut Self, Local) -> Local) -> Local {
        let mut v = self.lanes_of(to.elem, 0);
        for lane in 0..from.lanes {
            let s = self.extract_lane(from, x, lane);
            let s = f(self, s);
            v = self.insert_lane(to, v, s, lane);
        }
        v
    }

    /// Clamps a 64-bit scalar.
    pub(super) fn clamp_i64(&mut self, x: Local, least: i64, most: i64) -> Local {
        let least = self.c.i64_const(least);
        let above = self.c.i32(I::I64GtS, &[x, least]);
        let x = self.c.select(above, x, least);
        let most = self.c.i64_const(most);
        let below = self.c.i32(I::I64LtS, &[x, most]);
        self.c.select(below, x, most)
    }

    // ---- half precision, on four 32-bit lanes ----

    fn shl32(&mut self, x: Local, n: u32) -> Local {
        self.shift_by(BinOp::Shl, Elem::I32, x, n)
    }

    fn shr32(&mut self, x: Local, n: u32) -> Local {
        self.shift_by(BinOp::ShrU, Elem::I32, x, n)
    }

    fn word(&mut self, bits: u32) -> Local {
        self.lanes_of(Elem::I32, u64::from(bits))
    }

    /// Half-precision bits in the low halves of the lanes, the upper ones zero, as `f32`.
    pub(super) fn half_to_f32(&mut self, mem: Mem, h: Local) -> Local {
        let w = self.shl32(h, 16);
        if mem == Mem::BF16 {
            return w;
        }
        let sign_bit = self.word(0x8000_0000);
        let sign = self.c.v128(I::V128And, &[w, sign_bit]);
        let magnitude = self.c.v128(I::V128AndNot, &[w, sign_bit]);
        // Normal numbers, infinities and NaNs: the exponent moves by a product, so that infinity stays one.
        let rebias = self.word(0xE0 << 23);
        let normal = self.shr32(magnitude, 3);
        let normal = self.c.v128(I::I32x4Add, &[normal, rebias]);
        let scale = self.word(0x0780_0000); // 2^-112
        let normal = self.c.v128(I::F32x4Mul, &[normal, scale]);
        // Subnormal ones: the mantissa as the fraction of one half, less one half.
        let half = self.word(126 << 23);
        let tiny = self.shr32(magnitude, 16);
        let tiny = self.c.v128(I::V128Or, &[tiny, half]);
        let tiny = self.c.v128(I::F32x4Sub, &[tiny, half]);
        let limit = self.word(0x0400_0000);
        let is_tiny = self.c.v128(I::I32x4LtS, &[magnitude, limit]);
        let value = self.pick(is_tiny, tiny, normal);
        self.c.v128(I::V128Or, &[value, sign])
    }

    /// `f32` lanes as half-precision bits in the low halves of the lanes, the upper ones zero.
    pub(super) fn f32_to_half(&mut self, mem: Mem, f: Local) -> Local {
        if mem == Mem::BF16 { self.f32_to_bf16(f) } else { self.f32_to_f16(f) }
    }

    fn f32_to_f16(&mut self, w: Local) -> Local {
        let sign_bit = self.word(0x8000_0000);
        let magnitude = self.c.v128(I::V128AndNot, &[w, sign_bit]);
        // Two products take what overflows to infinity; adding a power of two as large as the result's last place rounds.
        let up = self.word(0x7780_0000); // 2^112
        let down = self.word(0x0880_0000); // 2^-110
        let base = self.c.v128(I::F32x4Mul, &[magnitude, up]);
        let base = self.c.v128(I::F32x4Mul, &[base, down]);
        let exponent = self.word(0x7F80_0000);
        let bias = self.c.v128(I::V128And, &[w, exponent]);
        let least = self.word(0x3880_0000);
        let bias = self.c.v128(I::I32x4MaxS, &[bias, least]);
        let shift = self.word(0x0780_0000);
        let bias = self.c.v128(I::I32x4Add, &[bias, shift]);
        let bits = self.c.v128(I::F32x4Add, &[bias, base]);
        let exponent = self.shr32(bits, 13);
        let exponent_mask = self.word(0x7C00);
        let exponent = self.c.v128(I::V128And, &[exponent, exponent_mask]);
        let mantissa_mask = self.word(0x0FFF);
        let mantissa = self.c.v128(I::V128And, &[bits, mantissa_mask]);
        let number = self.c.v128(I::I32x4Add, &[exponent, mantissa]);
        let payload = self.shr32(magnitude, 13);
        let quiet = self.word(0x7E00);
        let low = self.word(0x7FFF);
        let payload = self.c.v128(I::V128Or, &[payload, quiet]);
        let payload = self.c.v128(I::V128And, &[payload, low]);
        let nan = self.c.v128(I::F32x4Ne, &[w, w]);
        let value = self.pick(nan, payload, number);
        let sign = self.c.v128(I::V128And, &[w, sign_bit]);
        let sign = self.shr32(sign, 16);
        self.c.v128(I::V128Or, &[value, sign])
    }

    fn f32_to_bf16(&mut self, w: Local) -> Local {
        let high = self.shr32(w, 16);
        let one = self.word(1);
        let odd = self.c.v128(I::V128And, &[high, one]);
        let bias = self.word(0x7FFF);
        let sum = self.c.v128(I::I32x4Add, &[w, bias]);
        let sum = self.c.v128(I::I32x4Add, &[sum, odd]);
        let number = self.shr32(sum, 16);
        let quiet = self.word(0x40);
        let quiet = self.c.v128(I::V128Or, &[high, quiet]);
        let nan = self.c.v128(I::F32x4Ne, &[w, w]);
        self.pick(nan, quiet, number)
    }

    /// Halves of a vector, widened to lanes of twice the width.
    pub(super) fn widen(&mut self, elem: Elem, high: bool, signed: bool, v: Local) -> Local {
        self.c.v128(tables::extend(elem, high, signed).unwrap_or(I::Unreachable), &[v])
    }
}
