//! Stores: whole, partial and masked, with narrowing and half-precision formats.
//!
//! Lanes are narrowed to a packed vector (see [`super::memory`]), of which the active elements are written in pieces of 8, 4, 2 and 1 bytes.

use super::convert::range;
use super::emit::{Emitter, Family, Reason, Val, mem_flags};
use super::memory::{Address, packed_type};
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::*;
use tflc_kir::{Active, Elem, Inst, Mem, MemOp, Narrow};

impl Emitter<'_, '_> {
    pub(super) fn store(&mut self, inst: &Inst, m: MemOp, narrow: Narrow, a: &[Val]) -> Result<(), Reason> {
        let data = a[a.len() - 1];
        let lanes = if self.ty(data).is_vector() { self.ty(data).lane_count() } else { 1 };
        let (at, rest) = self.address(inst, m.addr, m.mem.bytes() * lanes, a);
        let elem = self.kir_type(inst.args[inst.args.len() - 1]).elem;
        if !self.ty(data).is_vector() {
            return self.store_scalar(elem, m.mem, narrow, at, data);
        }
        let packed = self.narrow_packed(data, m.mem, narrow)?;
        match m.active {
            Active::All => self.store_bytes(packed, at, lanes * m.mem.bytes()),
            Active::First(n) => self.store_bytes(packed, at, u32::from(n) * m.mem.bytes()),
            Active::Mask => self.store_masked(packed, m.mem, at, rest[0], lanes as u16),
        }
        Ok(())
    }

    fn store_scalar(&mut self, elem: Elem, mem: Mem, narrow: Narrow, Address(base, at): Address, v: Val) -> Result<(), Reason> {
        let flags = mem_flags();
        let v = match mem {
            Mem::F16 => self.f32_to_f16(v),
            Mem::BF16 => self.f32_to_bf16(v),
            _ if elem.is_int() && narrow == Narrow::Saturate && mem.bytes() < self.ty(v).bytes() => {
                let (least, most) = range_of(mem);
                self.clamp(v, least, most)
            }
            _ => v,
        };
        let bytes = self.ty(v).bytes();
        match mem.bytes() {
            n if n == bytes => self.b.ins().store(flags, v, base, at),
            1 => self.b.ins().istore8(flags, v, base, at),
            2 => self.b.ins().istore16(flags, v, base, at),
            4 => self.b.ins().istore32(flags, v, base, at),
            _ => return Err(format!("store of {} as {}", elem.name(), mem.name())),
        };
        Ok(())
    }

    /// The first `n` bytes of a packed vector.
    fn store_bytes(&mut self, packed: Val, Address(base, offset): Address, n: u32) {
        let flags = mem_flags();
        if n == 16 {
            self.b.ins().store(flags, packed, base, offset);
            return;
        }
        let mut done = 0;
        if n >= 8 {
            let wide = self.cast(F64X2, packed);
            let x = self.b.ins().extractlane(wide, 0u8);
            self.b.ins().store(flags, x, base, offset);
            done = 8;
        }
        if n - done >= 4 {
            let words = self.cast(F32X4, packed);
            let x = self.b.ins().extractlane(words, (done / 4) as u8);
            self.b.ins().store(flags, x, base, offset + done as i32);
            done += 4;
        }
        if n == done {
            return;
        }
        let words = self.cast(I32X4, packed);
        let mut x = self.b.ins().extractlane(words, (done / 4) as u8);
        if n - done >= 2 {
            self.b.ins().istore16(flags, x, base, offset + done as i32);
            done += 2;
            x = self.ushr(x, 16);
        }
        if n > done {
            self.b.ins().istore8(flags, x, base, offset + done as i32);
        }
    }

    fn store_masked(&mut self, packed: Val, mem: Mem, at: Address, mask: Val, lanes: u16) {
        let (_, packed_ty) = packed_type(mem);
        let packed = self.cast(packed_ty, packed);
        for i in 0..lanes {
            let (active, next) = self.lane_branch(mask, i, None);
            self.b.switch_to_block(active);
            let Address(base, offset) = at.plus(u32::from(i) * mem.bytes());
            let x = self.b.ins().extractlane(packed, i as u8);
            self.b.ins().store(mem_flags(), x, base, offset);
            self.b.ins().jump(next, &[]);
            self.b.switch_to_block(next);
        }
    }

    /// Lanes as memory elements, packed. What lies above them is unspecified: stores take no more than the elements.
    fn narrow_packed(&mut self, v: Val, mem: Mem, narrow: Narrow) -> Result<Val, Reason> {
        let mut v = match mem {
            Mem::F16 if matches!(self.family, Family::Neon(_)) => {
                let halves = self.narrow_f16(v);
                return Ok(self.cast(I8X16, halves));
            }
            Mem::F16 => self.f32_to_f16(v),
            Mem::BF16 => self.f32_to_bf16(v),
            _ => v,
        };
        let lane = self.ty(v).lane_type();
        let saturate = narrow == Narrow::Saturate && lane.is_int() && !matches!(mem, Mem::F16 | Mem::BF16);
        let unsigned = matches!(mem, Mem::U8 | Mem::U16 | Mem::U32);
        let target = mem.bytes() * 8;
        if saturate && lane == I64 && target < 64 {
            let (least, most) = range_of(mem);
            v = self.clamp(v, least, most);
        }
        let by_saturation = saturate && lane != I64;
        while self.ty(v).lane_bits() > target {
            let last = self.ty(v).lane_bits() == target * 2;
            v = match by_saturation {
                // The signed step cannot change what the last step would saturate to.
                true if unsigned && last => self.b.ins().unarrow(v, v),
                true => self.b.ins().snarrow(v, v),
                false => self.halve(v),
            };
        }
        Ok(self.cast(I8X16, v))
    }

    /// The low half of each lane, in the lower half of the vector.
    fn halve(&mut self, v: Val) -> Val {
        match (self.family, self.ty(v)) {
            (_, I64X2) => self.shuffle_words(I32X4, v, v, [0, 2, 0, 2]),
            (Family::Sse2, I32X4) => {
                let up = self.shl(v, 16);
                let v = self.sshr(up, 16);
                self.b.ins().snarrow(v, v)
            }
            (Family::Sse2, _) => {
                let low = self.int(I16X8, 0xFF);
                let v = self.b.ins().band(v, low);
                self.b.ins().unarrow(v, v)
            }
            (Family::Neon(_) | Family::Riscv(_), ty) => {
                let (bytes, half) = ((ty.lane_bits() / 8) as u8, (ty.lane_bits() / 16) as u8);
                let narrow = if ty == I32X4 { I16X8 } else { I8X16 };
                // `uzp1` of the vector with itself.
                self.shuffle_exact(narrow, v, std::array::from_fn(|i| (i as u8 / half) * bytes + i as u8 % half))
            }
        }
    }
}

/// Range of an integer element.
fn range_of(mem: Mem) -> (i128, i128) {
    range(!matches!(mem, Mem::U8 | Mem::U16 | Mem::U32), mem.bytes() * 8)
}
