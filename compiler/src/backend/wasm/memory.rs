//! Addresses and loads: whole, partial and masked, with widening and half-precision formats.
//!
//! A constant offset goes into the memory instruction where the rest of the address is known to lie in or behind its buffer: WebAssembly adds
//! the two without wrapping, so a base in front of the buffer would trap. Partial loads make *packed* vectors: the elements in the low
//! bytes, zeros above.

use super::code::{Local, at};
use super::emit::{Emitter, Reason};
use tflc_kir::{Active, AddrMode, Elem, Inst, Mem, MemOp, Type, Value};
use wasm_encoder::{Instruction as I, ValType};

/// Base address and constant offset.
#[derive(Clone, Copy)]
pub(super) struct Address(pub(super) Local, pub(super) u32);

impl Address {
    pub(super) fn plus(self, bytes: u32) -> Address {
        Address(self.0, self.1 + bytes)
    }
}

/// Largest offset that goes into a memory instruction; it stays positive where pieces of an access add to it.
const MAX_OFFSET: i64 = 1 << 30;

impl Emitter<'_> {
    /// Address from the operands of a memory operation; with the position of the first operand behind them.
    pub(super) fn address(&mut self, inst: &Inst, mode: AddrMode) -> (Address, usize) {
        let base = self.get(inst.args[0]);
        let anchored = self.ranges.is_anchored(inst.args[0]);
        if mode.scale == 0 {
            return (self.displaced(base, anchored, i64::from(mode.disp)), 1);
        }
        let index = inst.args[1];
        if let Some(known) = self.known_bits(index) {
            let disp = (known as i64).wrapping_mul(i64::from(mode.scale)).wrapping_add(i64::from(mode.disp));
            return (self.displaced(base, anchored, disp), 2);
        }
        let anchored = anchored && self.ranges.is_non_negative(index);
        let index = self.get_low(index);
        let base = self.indexed(base, index, mode.scale);
        (self.displaced(base, anchored, i64::from(mode.disp)), 2)
    }

    fn displaced(&mut self, base: Local, anchored: bool, disp: i64) -> Address {
        if disp == 0 || (anchored && (0..MAX_OFFSET).contains(&disp)) {
            return Address(base, disp as u32);
        }
        let disp = self.c.i32_const(disp as i32);
        Address(self.c.i32(I::I32Add, &[base, disp]), 0)
    }

    /// `base + index * scale`.
    fn indexed(&mut self, base: Local, index: Local, scale: u8) -> Local {
        let index = match scale {
            1 => index,
            _ => {
                let n = self.c.i32_const(scale.trailing_zeros() as i32);
                self.c.i32(I::I32Shl, &[index, n])
            }
        };
        self.c.i32(I::I32Add, &[base, index])
    }

    // ---- loads ----

    pub(super) fn load(&mut self, inst: &Inst, ty: Type, m: MemOp) -> Result<Local, Reason> {
        let (from, rest) = self.address(inst, m.addr);
        if !ty.is_vector() {
            return self.load_scalar(ty.elem, m.mem, from);
        }
        let packed = match m.active {
            Active::All => return self.load_all(ty, m.mem, from),
            Active::First(n) => self.load_bytes(from, u32::from(n) * m.mem.bytes()),
            Active::Mask => self.load_masked(ty, m.mem, from, inst.args[rest]),
        };
        self.widen_packed(packed, m.mem, ty)
    }

    pub(super) fn load_splat(&mut self, inst: &Inst, ty: Type, m: MemOp) -> Result<Local, Reason> {
        let (Address(base, offset), _) = self.address(inst, m.addr);
        let at = at(offset);
        let i = match (m.mem.bytes() * 8 == ty.elem.bits(), m.mem.bytes()) {
            (true, 1) => I::V128Load8Splat(at),
            (true, 2) => I::V128Load16Splat(at),
            (true, 4) => I::V128Load32Splat(at),
            (true, _) => I::V128Load64Splat(at),
            _ => {
                let s = self.load_scalar(ty.elem.scalar(), m.mem, Address(base, offset))?;
                return Ok(self.splat_scalar(ty.elem, s));
            }
        };
        Ok(self.c.v128(i, &[base]))
    }

    pub(super) fn gather(&mut self, inst: &Inst, ty: Type, m: MemOp) -> Result<Local, Reason> {
        let (base, index) = (self.get(inst.args[0]), self.get(inst.args[1]));
        let mut v = self.lanes_of(ty.elem, 0);
        for lane in 0..ty.lanes {
            let i = self.c.i32(I::I32x4ExtractLane(lane as u8), &[index]);
            let from = self.indexed(base, i, m.addr.scale);
            let from = self.displaced(from, false, i64::from(m.addr.disp));
            let s = self.load_scalar(ty.elem.scalar(), m.mem, from)?;
            v = self.insert_lane(ty, v, s, lane);
        }
        Ok(v)
    }

    /// One element as a scalar of lane kind `elem`.
    fn load_scalar(&mut self, elem: Elem, mem: Mem, Address(base, offset): Address) -> Result<Local, Reason> {
        let at = at(offset);
        let (home, i) = match (mem, elem) {
            (Mem::F16 | Mem::BF16, Elem::F32) => {
                let h = self.c.i32(I::I32Load16U(at), &[base]);
                let v = self.c.v128(I::I32x4Splat, &[h]);
                let v = self.half_to_f32(mem, v);
                return Ok(self.c.op(ValType::F32, I::F32x4ExtractLane(0), &[v]));
            }
            (Mem::F32, Elem::F32) => (ValType::F32, I::F32Load(at)),
            (Mem::F64, Elem::F64) => (ValType::F64, I::F64Load(at)),
            (Mem::I64, Elem::I64) => (ValType::I64, I::I64Load(at)),
            // An address is stored as 64 bits, of which the low half counts.
            (Mem::I64, Elem::Ptr) => (ValType::I32, I::I32Load(at)),
            (Mem::S8, Elem::I64) => (ValType::I64, I::I64Load8S(at)),
            (Mem::U8, Elem::I64) => (ValType::I64, I::I64Load8U(at)),
            (Mem::S16, Elem::I64) => (ValType::I64, I::I64Load16S(at)),
            (Mem::U16, Elem::I64) => (ValType::I64, I::I64Load16U(at)),
            (Mem::S32, Elem::I64) => (ValType::I64, I::I64Load32S(at)),
            (Mem::U32, Elem::I64) => (ValType::I64, I::I64Load32U(at)),
            (Mem::S8, _) => (ValType::I32, I::I32Load8S(at)),
            (Mem::U8, _) => (ValType::I32, I::I32Load8U(at)),
            (Mem::S16, _) => (ValType::I32, I::I32Load16S(at)),
            (Mem::U16, _) => (ValType::I32, I::I32Load16U(at)),
            (Mem::S32 | Mem::U32, Elem::I32) => (ValType::I32, I::I32Load(at)),
            _ => return Err(format!("load of {} into {}", mem.name(), elem.name())),
        };
        Ok(self.c.op(home, i, &[base]))
    }

    /// All lanes.
    fn load_all(&mut self, ty: Type, mem: Mem, from: Address) -> Result<Local, Reason> {
        let Address(base, offset) = from;
        let at = at(offset);
        let i = match (mem, ty.elem) {
            _ if mem.bytes() * 8 == ty.elem.bits() => I::V128Load(at),
            (Mem::S8, Elem::I16) => I::V128Load8x8S(at),
            (Mem::U8, Elem::I16) => I::V128Load8x8U(at),
            (Mem::S16, Elem::I32) => I::V128Load16x4S(at),
            (Mem::U16, Elem::I32) => I::V128Load16x4U(at),
            (Mem::S32, Elem::I64) => I::V128Load32x2S(at),
            (Mem::U32, Elem::I64) => I::V128Load32x2U(at),
            _ => {
                let packed = self.load_bytes(from, u32::from(ty.lanes) * mem.bytes());
                return self.widen_packed(packed, mem, ty);
            }
        };
        Ok(self.c.v128(i, &[base]))
    }

    /// `n` bytes as a packed vector, in pieces that do not overlap.
    fn load_bytes(&mut self, Address(base, offset): Address, n: u32) -> Local {
        let (mut v, mut done) = match n {
            16 => return self.c.v128(I::V128Load(at(offset)), &[base]),
            8.. => (self.c.v128(I::V128Load64Zero(at(offset)), &[base]), 8),
            4.. => (self.c.v128(I::V128Load32Zero(at(offset)), &[base]), 4),
            _ => (self.lanes_of(Elem::I8, 0), 0),
        };
        while done < n {
            let memarg = at(offset + done);
            let (piece, i) = match n - done {
                4.. => (4, I::V128Load32Lane { memarg, lane: (done / 4) as u8 }),
                2.. => (2, I::V128Load16Lane { memarg, lane: (done / 2) as u8 }),
                _ => (1, I::V128Load8Lane { memarg, lane: done as u8 }),
            };
            v = self.c.v128(i, &[base, v]);
            done += piece;
        }
        v
    }

    /// The elements whose mask lane is set, one branch each.
    fn load_masked(&mut self, ty: Type, mem: Mem, from: Address, mask: Value) -> Local {
        let zero = self.lanes_of(Elem::I8, 0);
        let packed = self.c.local(ValType::V128);
        self.c.copy(zero, packed);
        let mask_ty = self.ty(mask);
        let mask = self.get(mask);
        for lane in 0..ty.lanes {
            let set = self.extract_lane(mask_ty, mask, lane);
            self.c.if_start(set);
            let Address(base, offset) = from.plus(u32::from(lane) * mem.bytes());
            let (memarg, lane) = (at(offset), lane as u8);
            let i = match mem.bytes() {
                1 => I::V128Load8Lane { memarg, lane },
                2 => I::V128Load16Lane { memarg, lane },
                4 => I::V128Load32Lane { memarg, lane },
                _ => I::V128Load64Lane { memarg, lane },
            };
            self.c.op_to(packed, i, &[base, packed]);
            self.c.end();
        }
        packed
    }

    /// A packed vector as lanes of `ty`.
    fn widen_packed(&mut self, packed: Local, mem: Mem, ty: Type) -> Result<Local, Reason> {
        let half = matches!(mem, Mem::F16 | Mem::BF16);
        let signed = matches!(mem, Mem::S8 | Mem::S16 | Mem::S32);
        let target = if half { 32 } else { ty.elem.bits() };
        let mut v = packed;
        let mut bits = mem.bytes() * 8;
        while bits < target {
            let elem = if bits == 8 {
                Elem::I8
            } else if bits == 16 {
                Elem::I16
            } else {
                Elem::I32
            };
            v = self.widen(elem, false, signed, v);
            bits *= 2;
        }
        if bits != ty.elem.bits() {
            return Err(format!("load of {} into {ty}", mem.name()));
        }
        Ok(if half { self.half_to_f32(mem, v) } else { v })
    }
}
