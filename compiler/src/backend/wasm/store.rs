//! Stores: whole, partial and masked, with narrowing and half-precision formats.
//!
//! Lanes are narrowed to a packed vector (see [`super::memory`]), of which the active elements are written in pieces of 8, 4, 2 and 1 bytes.

use super::code::{Local, at};
use super::emit::{Emitter, Reason};
use super::lanes::words;
use super::memory::Address;
use tflc_kir::{Active, BinOp, Elem, Inst, Mem, MemOp, Narrow, Type};
use wasm_encoder::{Instruction as I, ValType};

impl Emitter<'_> {
    pub(super) fn store(&mut self, inst: &Inst, m: MemOp, narrow: Narrow) -> Result<(), Reason> {
        let data = inst.args[inst.args.len() - 1];
        let ty = self.ty(data);
        let (to, rest) = self.address(inst, m.addr);
        if !ty.is_vector() {
            let saturates = narrow == Narrow::Saturate && ty.elem.is_int() && m.mem.bytes() * 8 < ty.elem.bits();
            let whole = saturates || m.mem == Mem::I64;
            let v = if whole { self.get_full(data) } else { self.get(data) };
            let v = if saturates { self.saturate_scalar(v, m.mem) } else { v };
            return self.store_scalar(ty.elem, m.mem, to, v);
        }
        let v = self.get(data);
        let packed = self.narrow_packed(ty, v, m.mem, narrow)?;
        match m.active {
            Active::All => self.store_bytes(packed, to, u32::from(ty.lanes) * m.mem.bytes()),
            Active::First(n) => self.store_bytes(packed, to, u32::from(n) * m.mem.bytes()),
            Active::Mask => {
                let mask_ty = self.ty(inst.args[rest]);
                let mask = self.get(inst.args[rest]);
                for lane in 0..ty.lanes {
                    let set = self.extract_lane(mask_ty, mask, lane);
                    self.c.if_start(set);
                    self.store_lane(packed, to.plus(u32::from(lane) * m.mem.bytes()), m.mem.bytes(), lane as u8);
                    self.c.end();
                }
            }
        }
        Ok(())
    }

    fn saturate_scalar(&mut self, v: Local, mem: Mem) -> Local {
        let (least, most) = range_of(mem);
        if self.c.ty(v) == ValType::I64 {
            return self.clamp_i64(v, least, most);
        }
        let least = self.c.i32_const(least as i32);
        let above = self.c.i32(I::I32GtS, &[v, least]);
        let v = self.c.select(above, v, least);
        let most = self.c.i32_const(most as i32);
        let below = self.c.i32(I::I32LtS, &[v, most]);
        self.c.select(below, v, most)
    }

    fn store_scalar(&mut self, elem: Elem, mem: Mem, Address(base, offset): Address, v: Local) -> Result<(), Reason> {
        let at = at(offset);
        let wide = self.c.ty(v) == ValType::I64;
        let (i, v) = match (mem, elem) {
            (Mem::F16 | Mem::BF16, _) => {
                let lanes = self.c.v128(I::F32x4Splat, &[v]);
                let h = self.f32_to_half(mem, lanes);
                (I::I32Store16(at), self.c.i32(I::I32x4ExtractLane(0), &[h]))
            }
            (Mem::F32, _) => (I::F32Store(at), v),
            (Mem::F64, _) => (I::F64Store(at), v),
            (Mem::I64, Elem::Ptr) => (I::I64Store(at), self.c.i64(I::I64ExtendI32U, &[v])),
            (Mem::I64, _) => (I::I64Store(at), v),
            (Mem::S8 | Mem::U8, _) => (if wide { I::I64Store8(at) } else { I::I32Store8(at) }, v),
            (Mem::S16 | Mem::U16, _) => (if wide { I::I64Store16(at) } else { I::I32Store16(at) }, v),
            (Mem::S32 | Mem::U32, _) => (if wide { I::I64Store32(at) } else { I::I32Store(at) }, v),
        };
        self.c.effect(i, &[base, v]);
        Ok(())
    }

    /// The first `n` bytes of a packed vector.
    fn store_bytes(&mut self, packed: Local, to: Address, n: u32) {
        if n == 16 {
            return self.c.effect(I::V128Store(at(to.1)), &[to.0, packed]);
        }
        let mut done = 0;
        while done < n {
            let piece = [8, 4, 2, 1].into_iter().find(|p| *p <= n - done).unwrap_or(1);
            self.store_lane(packed, to.plus(done), piece, (done / piece) as u8);
            done += piece;
        }
    }

    fn store_lane(&mut self, v: Local, Address(base, offset): Address, bytes: u32, lane: u8) {
        let memarg = at(offset);
        let i = match bytes {
            1 => I::V128Store8Lane { memarg, lane },
            2 => I::V128Store16Lane { memarg, lane },
            4 => I::V128Store32Lane { memarg, lane },
            _ => I::V128Store64Lane { memarg, lane },
        };
        self.c.effect(i, &[base, v]);
    }

    /// Lanes as memory elements, packed. What lies above them is unspecified: stores take no more than the elements.
    fn narrow_packed(&mut self, ty: Type, v: Local, mem: Mem, narrow: Narrow) -> Result<Local, Reason> {
        let half = matches!(mem, Mem::F16 | Mem::BF16);
        let mut v = if half { self.f32_to_half(mem, v) } else { v };
        let mut bits = ty.elem.bits();
        let target = mem.bytes() * 8;
        let saturates = narrow == Narrow::Saturate && ty.elem.is_int();
        if saturates && bits == 64 && target < 64 {
            let (least, most) = range_of(mem);
            let least = self.lanes_of(Elem::I64, least as u64);
            v = self.vector_binary(BinOp::Max, Elem::I64, v, least)?;
            let most = self.lanes_of(Elem::I64, most as u64);
            v = self.vector_binary(BinOp::Min, Elem::I64, v, most)?;
        }
        let by_saturation = saturates && bits < 64;
        let unsigned = matches!(mem, Mem::U8 | Mem::U16 | Mem::U32);
        while bits > target {
            let last = bits == target * 2;
            let i = match (by_saturation, bits) {
                // The signed step cannot change what the last step would saturate to.
                (true, 32) if unsigned && last => I::I16x8NarrowI32x4U,
                (true, 32) => I::I16x8NarrowI32x4S,
                (true, _) if unsigned && last => I::I8x16NarrowI16x8U,
                (true, _) => I::I8x16NarrowI16x8S,
                (false, 64) => words([0, 2, 0, 2]),
                (false, _) => lower_halves(bits),
            };
            v = self.c.v128(i, &[v, v]);
            bits /= 2;
        }
        Ok(v)
    }
}

/// The low half of each lane of `bits` bits, in the lower half of the vector.
fn lower_halves(bits: u32) -> I<'static> {
    let (lane, half) = ((bits / 8) as u8, (bits / 16) as u8);
    I::I8x16Shuffle(std::array::from_fn(|i| (i as u8 / half * lane + i as u8 % half) % 16))
}

/// Range of an integer element of at most 32 bits.
fn range_of(mem: Mem) -> (i64, i64) {
    let bits = mem.bytes() * 8;
    if matches!(mem, Mem::U8 | Mem::U16 | Mem::U32) { (0, (1 << bits) - 1) } else { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) }
}
