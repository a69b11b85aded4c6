//! Moving lanes: splat, extraction, insertion, shuffles, parts of masks, tables, reductions, dot products.

use super::code::{Local, at};
use super::emit::{Emitter, Reason, mask_elem};
use tflc_kir::{DotSigns, Elem, Inst, Op, ReduceOp, Type};
use wasm_encoder::{Instruction as I, ValType};

impl Emitter<'_> {
    pub(super) fn splat(&mut self, inst: &Inst, ty: Type) -> Local {
        if let Some(bits) = self.known_bits(inst.args[0]) {
            return self.constant(ty, bits);
        }
        let s = self.get_full(inst.args[0]);
        if ty.elem == Elem::Bool {
            let zero = self.c.i32_const(0);
            let all = self.c.i32(I::I32Sub, &[zero, s]);
            // All bits of the lane are the same: a narrower lane gives the same vector.
            return self.c.v128(I::I8x16Splat, &[all]);
        }
        self.splat_scalar(ty.elem, s)
    }

    pub(super) fn splat_scalar(&mut self, elem: Elem, s: Local) -> Local {
        let i = match elem {
            Elem::I8 | Elem::Bool => I::I8x16Splat,
            Elem::I16 => I::I16x8Splat,
            Elem::I32 | Elem::Ptr => I::I32x4Splat,
            Elem::I64 => I::I64x2Splat,
            Elem::F32 => I::F32x4Splat,
            Elem::F64 => I::F64x2Splat,
        };
        self.c.v128(i, &[s])
    }

    /// One lane as a scalar; 8 and 16 bits are zero-extended, truth values 0 or 1.
    pub(super) fn extract_lane(&mut self, ty: Type, v: Local, lane: u16) -> Local {
        let n = lane as u8;
        match ty.elem {
            Elem::I8 => self.c.i32(I::I8x16ExtractLaneU(n), &[v]),
            Elem::I16 => self.c.i32(I::I16x8ExtractLaneU(n), &[v]),
            Elem::I32 | Elem::Ptr => self.c.i32(I::I32x4ExtractLane(n), &[v]),
            Elem::I64 => self.c.i64(I::I64x2ExtractLane(n), &[v]),
            Elem::F32 => self.c.op(ValType::F32, I::F32x4ExtractLane(n), &[v]),
            Elem::F64 => self.c.op(ValType::F64, I::F64x2ExtractLane(n), &[v]),
            Elem::Bool => {
                // The first byte of the lane says it all.
                let byte = self.c.i32(I::I8x16ExtractLaneU(n * (16 / ty.lanes) as u8), &[v]);
                let one = self.c.i32_const(1);
                self.c.i32(I::I32And, &[byte, one])
            }
        }
    }

    pub(super) fn insert_lane(&mut self, ty: Type, v: Local, s: Local, lane: u16) -> Local {
        let n = lane as u8;
        let i = match ty.elem {
            Elem::I8 | Elem::Bool => I::I8x16ReplaceLane(n),
            Elem::I16 => I::I16x8ReplaceLane(n),
            Elem::I32 | Elem::Ptr => I::I32x4ReplaceLane(n),
            Elem::I64 => I::I64x2ReplaceLane(n),
            Elem::F32 => I::F32x4ReplaceLane(n),
            Elem::F64 => I::F64x2ReplaceLane(n),
        };
        self.c.v128(i, &[v, s])
    }

    // ---- parts of masks, whose lanes widen as they become fewer ----

    pub(super) fn mask_part(&mut self, inst: &Inst, ty: Type, part: u16) -> Local {
        let mut v = self.get(inst.args[0]);
        let mut lanes = self.ty(inst.args[0]).lanes;
        let mut part = part;
        while lanes > ty.lanes {
            let half_parts = lanes / ty.lanes / 2;
            v = self.widen(mask_elem(lanes), part >= half_parts, true, v);
            part %= half_parts;
            lanes /= 2;
        }
        v
    }

    pub(super) fn mask_concat(&mut self, inst: &Inst) -> Local {
        let operands = [self.get(inst.args[0]), self.get(inst.args[1])];
        let i = match self.ty(inst.args[0]).lanes {
            2 => words([0, 2, 4, 6]),
            4 => I::I16x8NarrowI32x4S,
            _ => I::I8x16NarrowI16x8S,
        };
        self.c.v128(i, &operands)
    }

    // ---- shuffles ----

    pub(super) fn shuffle_lanes(&mut self, inst: &Inst, ty: Type, map: &[u16]) -> Result<Local, Reason> {
        let operands = [self.get(inst.args[0]), self.get(inst.args[1])];
        if map.len() != usize::from(ty.lanes) || self.ty(inst.args[0]) != ty {
            return Err(format!("shuffle of {} to {} lanes", self.ty(inst.args[0]), map.len()));
        }
        let lane_bytes = 16 / map.len();
        let bytes = std::array::from_fn(|i| (usize::from(map[i / lane_bytes]) * lane_bytes + i % lane_bytes) as u8);
        Ok(self.c.v128(I::I8x16Shuffle(bytes), &operands))
    }

    /// Interleaves the lower or upper halves of two vectors.
    pub(super) fn unpack(&mut self, inst: &Inst, ty: Type) -> Local {
        let operands = [self.get(inst.args[0]), self.get(inst.args[1])];
        let lane_bytes = 16 / ty.lanes as u8;
        let base = if inst.op == Op::UnpackHi { 8 } else { 0 };
        let bytes = std::array::from_fn(|i| {
            let i = i as u8;
            let second = if (i / lane_bytes) % 2 == 1 { 16 } else { 0 };
            second + base + i / (2 * lane_bytes) * lane_bytes + i % lane_bytes
        });
        self.c.v128(I::I8x16Shuffle(bytes), &operands)
    }

    pub(super) fn pack(&mut self, inst: &Inst) -> Local {
        let operands = [self.get(inst.args[0]), self.get(inst.args[1])];
        let i = match (self.ty(inst.args[0]).elem, inst.op == Op::PackU) {
            (Elem::I32, true) => I::I16x8NarrowI32x4U,
            (Elem::I32, false) => I::I16x8NarrowI32x4S,
            (_, true) => I::I8x16NarrowI16x8U,
            (_, false) => I::I8x16NarrowI16x8S,
        };
        self.c.v128(i, &operands)
    }

    // ---- tables ----

    pub(super) fn table16(&mut self, inst: &Inst) -> Local {
        let (table, index) = (self.get(inst.args[0]), self.get(inst.args[1]));
        // An index from 16 on gives 0, and bit 7 stays set.
        let used = self.lanes_of(Elem::I8, 0x8F);
        let index = self.c.v128(I::V128And, &[index, used]);
        self.c.v128(if self.relaxed { I::I8x16RelaxedSwizzle } else { I::I8x16Swizzle }, &[table, index])
    }

    pub(super) fn table256(&mut self, inst: &Inst) -> Local {
        let (table, index) = (self.get(inst.args[0]), self.get(inst.args[1]));
        let mut found = self.lanes_of(Elem::I8, 0);
        for lane in 0..16 {
            let i = self.c.i32(I::I8x16ExtractLaneU(lane), &[index]);
            let address = self.c.i32(I::I32Add, &[table, i]);
            found = self.c.v128(I::V128Load8Lane { memarg: at(0), lane }, &[address, found]);
        }
        found
    }

    // ---- reductions ----

    pub(super) fn reduce(&mut self, op: ReduceOp, inst: &Inst) -> Result<Local, Reason> {
        let ty = self.ty(inst.args[0]);
        let v = self.get(inst.args[0]);
        if ty.elem == Elem::Bool {
            return Ok(match op {
                ReduceOp::Or => self.c.i32(I::V128AnyTrue, &[v]),
                _ => self.c.i32(
                    match ty.lanes {
                        2 => I::I64x2AllTrue,
                        4 => I::I32x4AllTrue,
                        8 => I::I16x8AllTrue,
                        _ => I::I8x16AllTrue,
                    },
                    &[v],
                ),
            });
        }
        let op = op.of_two();
        let upper = self.c.v128(words([2, 3, 2, 3]), &[v, v]);
        let mut v = self.vector_binary(op, ty.elem, v, upper)?;
        if ty.lanes == 4 {
            let second = self.c.v128(words([1, 1, 1, 1]), &[v, v]);
            v = self.vector_binary(op, ty.elem, v, second)?;
        }
        Ok(self.extract_lane(ty, v, 0))
    }

    // ---- dot products ----

    /// Widens to 16 bits and adds neighbouring sums of two products.
    pub(super) fn dot4(&mut self, signs: DotSigns, acc: Local, x: Local, y: Local) -> Local {
        let (first, second) = (signs == DotSigns::Signed, signs != DotSigns::Unsigned);
        let [low, high] = [false, true].map(|half| {
            let x = self.widen(Elem::I8, half, first, x);
            let y = self.widen(Elem::I8, half, second, y);
            self.c.v128(I::I32x4DotI16x8S, &[x, y])
        });
        let even = self.c.v128(words([0, 2, 4, 6]), &[low, high]);
        let odd = self.c.v128(words([1, 3, 5, 7]), &[low, high]);
        let sum = self.c.v128(I::I32x4Add, &[even, odd]);
        self.c.v128(I::I32x4Add, &[acc, sum])
    }

    /// Each row of the first factor twice, in dot products of four with both rows of the second.
    pub(super) fn mmla(&mut self, signs: DotSigns, acc: Local, x: Local, y: Local) -> Local {
        let [first, second] = [[0, 1, 0, 1], [2, 3, 2, 3]].map(|row| {
            let zero = self.c.v128_const([0; 16]);
            let twice = self.c.v128(words(row), &[x, x]);
            self.dot4(signs, zero, twice, y)
        });
        let even = self.c.v128(words([0, 2, 4, 6]), &[first, second]);
        let odd = self.c.v128(words([1, 3, 5, 7]), &[first, second]);
        let sum = self.c.v128(I::I32x4Add, &[even, odd]);
        self.c.v128(I::I32x4Add, &[acc, sum])
    }
}

/// A shuffle of 32-bit units of two vectors.
pub(super) fn words(map: [u8; 4]) -> I<'static> {
    I::I8x16Shuffle(std::array::from_fn(|i| map[i / 4] * 4 + i as u8 % 4))
}
