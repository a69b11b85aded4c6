//! Addresses and loads: whole, partial and masked, with widening and half-precision formats.
//!
//! Everything goes through *packed* vectors: `I8X16` with the memory elements in the low bytes and zeros above. Loading packs, then
//! widens. Compile-time partial accesses take scalar pieces that stay inside the active elements, and may overlap;
//! run-time masks branch per lane.

use super::arith::Sign;
use super::emit::{Emitter, Family, Reason, Val, mem_flags};
use super::multiply::Half;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder};
use tflc_kir::{Active, AddrMode, Elem, Inst, Mem, MemOp, Type};

/// Base value and constant offset.
#[derive(Clone, Copy)]
pub(super) struct Address(pub(super) Val, pub(super) i32);

impl Address {
    pub(super) fn plus(self, bytes: u32) -> Address {
        Address(self.0, self.1 + bytes as i32)
    }
}

impl Emitter<'_, '_> {
    /// Address from the operands of a memory operation on elements of `bytes` bytes in all, and what follows them.
    pub(super) fn address<'a>(&mut self, inst: &Inst, mode: AddrMode, bytes: u32, a: &'a [Val]) -> (Address, &'a [Val]) {
        let known = if mode.scale == 0 { None } else { self.known(inst.args[1]) };
        let constant = known.unwrap_or(0).wrapping_mul(i64::from(mode.scale)).wrapping_add(i64::from(mode.disp));
        let (base, constant) = self.nearest_base(a[0], constant, bytes);
        if mode.scale == 0 {
            return (Address(base, constant), &a[1..]);
        }
        if known.is_some() {
            return (Address(base, constant), &a[2..]);
        }
        (Address(self.indexed(base, a[1], u32::from(mode.scale).trailing_zeros()), constant), &a[2..])
    }

    /// Base and displacement: from the pointer's root where the target's addressing modes take the whole distance.
    fn nearest_base(&mut self, pointer: Val, disp: i64, bytes: u32) -> (Val, i32) {
        let (root, start) = self.pointer_root(pointer);
        let total = start.wrapping_add(disp);
        let encodable = match self.family {
            Family::Sse2 => i32::try_from(total).is_ok(),
            Family::Riscv(_) => (-2048..2048).contains(&total),
            Family::Neon(_) => total >= 0 && total % i64::from(bytes) == 0 && total / i64::from(bytes) < 4096,
        };
        match (i32::try_from(total), i32::try_from(disp)) {
            (Ok(total), _) if encodable => (root, total),
            (_, Ok(disp)) => (pointer, disp),
            _ => {
                let disp = self.int(I64, disp);
                (self.b.ins().iadd(pointer, disp), 0)
            }
        }
    }

    // ---- loads ----

    pub(super) fn load(&mut self, inst: &Inst, kty: Type, ty: ir::Type, m: MemOp, a: &[Val]) -> Result<Val, Reason> {
        let (at, rest) = self.address(inst, m.addr, m.mem.bytes() * u32::from(kty.lanes), a);
        if !ty.is_vector() {
            return self.load_scalar(kty.elem, m.mem, at);
        }
        let packed = match m.active {
            Active::All => return self.load_all(kty, ty, m.mem, at),
            Active::First(n) => self.load_bytes(at, u32::from(n) * m.mem.bytes()),
            Active::Mask => self.load_masked(m.mem, at, rest[0], kty.lanes),
        };
        self.widen_packed(packed, m.mem, ty)
    }

    pub(super) fn load_splat(&mut self, inst: &Inst, kty: Type, ty: ir::Type, m: MemOp, a: &[Val]) -> Result<Val, Reason> {
        let (at, _) = self.address(inst, m.addr, m.mem.bytes(), a);
        // Whole 32- and 64-bit elements go straight into a vector register, as floats do.
        let elem = match kty.elem {
            Elem::I32 if m.mem.bytes() == 4 => Elem::F32,
            Elem::I64 if m.mem.bytes() == 8 => Elem::F64,
            e => e,
        };
        let mem = match elem {
            Elem::F32 if m.mem.bytes() == 4 => Mem::F32,
            Elem::F64 => Mem::F64,
            _ => m.mem,
        };
        let v = self.load_scalar(elem, mem, at)?;
        let lanes = self.ty(v).by(ty.lane_count()).unwrap_or(ty);
        let v = self.b.ins().splat(lanes, v);
        Ok(self.cast(ty, v))
    }

    pub(super) fn gather(&mut self, kty: Type, ty: ir::Type, m: MemOp, a: &[Val]) -> Result<Val, Reason> {
        let lanes = (0..kty.lanes)
            .map(|i| {
                let index = self.b.ins().extractlane(a[1], i as u8);
                let index = self.b.ins().sextend(I64, index);
                let base = self.indexed(a[0], index, u32::from(m.addr.scale).trailing_zeros());
                self.load_scalar(kty.elem, m.mem, Address(base, m.addr.disp))
            })
            .collect::<Result<Vec<Val>, Reason>>()?;
        let v = self.vector_of(&lanes);
        Ok(self.cast(ty, v))
    }

    /// One element as a scalar of lane kind `elem`.
    fn load_scalar(&mut self, elem: Elem, mem: Mem, Address(base, at): Address) -> Result<Val, Reason> {
        let flags = mem_flags();
        let ty = match elem {
            Elem::I8 | Elem::Bool => I8,
            Elem::I16 => I16,
            Elem::I32 => I32,
            Elem::I64 | Elem::Ptr => I64,
            Elem::F32 => F32,
            Elem::F64 => F64,
        };
        Ok(match (mem, ty) {
            (Mem::F16, F32) => {
                let h = self.b.ins().uload16(I32, flags, base, at);
                self.f16_to_f32(h)
            }
            (Mem::BF16, F32) => {
                let h = self.b.ins().uload16(I32, flags, base, at);
                self.bf16_to_f32(h)
            }
            _ if mem.bytes() == ty.bytes() => self.b.ins().load(ty, flags, base, at),
            (Mem::S8, _) => self.b.ins().sload8(ty, flags, base, at),
            (Mem::U8, _) => self.b.ins().uload8(ty, flags, base, at),
            (Mem::S16, _) => self.b.ins().sload16(ty, flags, base, at),
            (Mem::U16, _) => self.b.ins().uload16(ty, flags, base, at),
            (Mem::S32, I64) => self.b.ins().sload32(flags, base, at),
            (Mem::U32, I64) => self.b.ins().uload32(flags, base, at),
            _ => return Err(format!("load of {} into {}", mem.name(), elem.name())),
        })
    }

    /// All lanes.
    fn load_all(&mut self, kty: Type, ty: ir::Type, mem: Mem, at: Address) -> Result<Val, Reason> {
        let flags = mem_flags();
        let Address(base, offset) = at;
        Ok(match (mem, ty) {
            // Cranelift 0.135 folds a load into CMPPS and CMPPD, which fault unless the address is a multiple of 16: floats come in as integers.
            (Mem::F32 | Mem::F64, F32X4 | F64X2) if self.family == Family::Sse2 => {
                let bits = self.b.ins().load(if ty == F32X4 { I32X4 } else { I64X2 }, flags, base, offset);
                self.cast(ty, bits)
            }
            _ if mem.bytes() * 8 == kty.elem.bits() => self.b.ins().load(ty, flags, base, offset),
            (Mem::S8, I16X8) => self.b.ins().sload8x8(flags, base, offset),
            (Mem::U8, I16X8) => self.b.ins().uload8x8(flags, base, offset),
            (Mem::S16, I32X4) => self.b.ins().sload16x4(flags, base, offset),
            (Mem::U16, I32X4) => self.b.ins().uload16x4(flags, base, offset),
            (Mem::S32, I64X2) => self.b.ins().sload32x2(flags, base, offset),
            (Mem::U32, I64X2) => self.b.ins().uload32x2(flags, base, offset),
            _ => {
                let packed = self.load_bytes(at, u32::from(kty.lanes) * mem.bytes());
                return self.widen_packed(packed, mem, ty);
            }
        })
    }

    /// `n` bytes as a packed vector, read in pieces that may overlap but stay inside.
    fn load_bytes(&mut self, at: Address, n: u32) -> Val {
        let flags = mem_flags();
        let Address(base, offset) = at;
        let packed = match n {
            16 => return self.b.ins().load(I8X16, flags, base, offset),
            4 => {
                let x = self.b.ins().load(F32, flags, base, offset);
                self.b.ins().scalar_to_vector(F32X4, x)
            }
            1..8 => {
                let x = self.load_int(at, n);
                self.b.ins().scalar_to_vector(I64X2, x)
            }
            _ => {
                let x = self.b.ins().load(F64, flags, base, offset);
                let x = self.b.ins().scalar_to_vector(F64X2, x);
                if n == 8 {
                    x
                } else {
                    let x = self.cast(I64X2, x);
                    let last = self.b.ins().load(I64, flags, base, offset + n as i32 - 8);
                    let upper = self.ushr(last, (16 - n) * 8);
                    self.b.ins().insertlane(x, upper, 1u8)
                }
            }
        };
        self.cast(I8X16, packed)
    }

    /// Fewer than eight bytes, zero-extended.
    fn load_int(&mut self, at: Address, n: u32) -> Val {
        let flags = mem_flags();
        let Address(base, offset) = at;
        match n {
            1 => self.b.ins().uload8(I64, flags, base, offset),
            2 => self.b.ins().uload16(I64, flags, base, offset),
            4 => self.b.ins().uload32(flags, base, offset),
            _ => {
                let piece = if n == 3 { 2 } else { 4 };
                let low = self.load_int(at, piece);
                let high = self.load_int(at.plus(n - piece), piece);
                let high = self.shl(high, (n - piece) * 8);
                self.b.ins().bor(low, high)
            }
        }
    }

    /// The elements whose mask lane is set, one branch each.
    fn load_masked(&mut self, mem: Mem, at: Address, mask: Val, lanes: u16) -> Val {
        let (element, packed_ty) = packed_type(mem);
        let mut packed = self.int(packed_ty, 0);
        for i in 0..lanes {
            let (active, next) = self.lane_branch(mask, i, Some((packed_ty, packed)));
            self.b.switch_to_block(active);
            let Address(base, offset) = at.plus(u32::from(i) * mem.bytes());
            let x = self.b.ins().load(element, mem_flags(), base, offset);
            let with = self.b.ins().insertlane(packed, x, i as u8);
            self.b.ins().jump(next, &[BlockArg::Value(with)]);
            self.b.switch_to_block(next);
            packed = self.b.block_params(next)[0];
        }
        self.cast(I8X16, packed)
    }

    /// Branches on one lane of a mask: the block for an active lane, and the one where both ways meet, with a parameter for `carried`.
    pub(super) fn lane_branch(&mut self, mask: Val, lane: u16, carried: Option<(ir::Type, Val)>) -> (ir::Block, ir::Block) {
        let (active, next) = (self.b.create_block(), self.b.create_block());
        let args: Vec<BlockArg> = carried.iter().map(|c| BlockArg::Value(c.1)).collect();
        if let Some((ty, _)) = carried {
            self.b.append_block_param(next, ty);
        }
        let bit = self.b.ins().extractlane(mask, lane as u8);
        let zero = self.int(self.ty(bit), 0);
        let set = self.b.ins().icmp(IntCC::NotEqual, bit, zero);
        self.b.ins().brif(set, active, &[], next, &args);
        (active, next)
    }

    /// A packed vector as lanes of `ty`.
    fn widen_packed(&mut self, packed: Val, mem: Mem, ty: ir::Type) -> Result<Val, Reason> {
        let sign = match mem {
            Mem::S8 | Mem::S16 | Mem::S32 => Sign::Signed,
            _ => Sign::Unsigned,
        };
        if mem.bytes() * 8 == ty.lane_bits() {
            return Ok(self.cast(ty, packed));
        }
        if mem == Mem::F16 && matches!(self.family, Family::Neon(_)) {
            return Ok(self.widen_f16(packed));
        }
        let (_, start) = packed_type(mem);
        let target = if matches!(mem, Mem::F16 | Mem::BF16) { 32 } else { ty.lane_bits() };
        let v = if self.family == Family::Sse2 && sign == Sign::Signed && start == I8X16 && target == 32 {
            // Two interleavings put the byte on top of its lane; one shift brings it down.
            let twice = self.unpack(I8X16, packed, packed, false);
            let twice = self.cast(I16X8, twice);
            let four = self.unpack(I16X8, twice, twice, false);
            let words = self.cast(I32X4, four);
            self.sshr(words, 24)
        } else {
            let mut v = self.cast(start, packed);
            while self.ty(v).lane_bits() < target {
                v = self.widen(v, sign, Half::Low);
            }
            v
        };
        Ok(match mem {
            Mem::F16 => self.f16_to_f32(v),
            Mem::BF16 => self.bf16_to_f32(v),
            _ if self.ty(v) == ty => v,
            _ => return Err(format!("load of {} into {ty}", mem.name())),
        })
    }
}

/// Scalar and vector type of packed elements.
pub(super) fn packed_type(mem: Mem) -> (ir::Type, ir::Type) {
    match mem.bytes() {
        1 => (I8, I8X16),
        2 => (I16, I16X8),
        4 => (I32, I32X4),
        _ => (I64, I64X2),
    }
}
