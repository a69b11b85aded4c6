//! Shuffles by a constant map.

use super::Lower;
use super::int::lane_index;
use super::values::Lanes;
use crate::backend::x86::machine::*;
use crate::backend::x86::opcodes::Vop;
use regalloc2::VReg;
use tflc_kir::{Type, Value};

impl Lower<'_> {
    /// Result lane `i` is lane `map[i]` of `a` followed by `b`.
    pub(super) fn shuffle(&mut self, map: &[u16], ty: Type, a: Value, b: Value) -> VReg {
        let n = self.ty(a).lanes;
        let (x, y) = (self.reg(a), self.reg(b));
        let same = self.an.root(a) == self.an.root(b);
        let map: Vec<u16> = map.iter().map(|&i| if same { i % n } else { i }).collect();
        let source = self.width(self.ty(a));
        if map.iter().all(|&i| i < n) {
            return self.shuffle_one(&map, ty, source, x);
        }
        if map.iter().all(|&i| i >= n) {
            let map: Vec<u16> = map.iter().map(|i| i - n).collect();
            return self.shuffle_one(&map, ty, source, y);
        }
        let w = self.width(ty).max(source);
        if let Some(op) = self.two_source(ty) {
            // At the wider of both widths, the second source starts at another lane.
            let lanes = (w.bytes() * 8 / ty.elem.bits()) as u16;
            let index: Vec<u64> = map.iter().map(|&i| u64::from(if i < n { i } else { i - n + lanes })).collect();
            let index = self.index_vector(&index, lanes, ty.elem.bits());
            let index = self.lanes_reg(index, w);
            // The overwritten operand is the first source.
            return self.op_acc(op, w, x, index, y);
        }
        if let (Width::Y, Width::Y, Some([low, high])) = (w, source, block_pattern(&map, ty.elem.bits())) {
            return self.op3i(Vop::Perm2i128, w, x, y, low | high << 4);
        }
        self.shuffle_bytes(&map, ty, source, n, [x, y])
    }

    fn index_vector(&self, index: &[u64], lanes: u16, bits: u32) -> Lanes {
        let mut index = index.to_vec();
        index.resize(usize::from(lanes), 0);
        Lanes::new(&index, bits as usize / 8)
    }

    /// The instruction that picks lanes of two registers.
    fn two_source(&self, ty: Type) -> Option<Vop> {
        let op = [Vop::Permt2b, Vop::Permt2w, Vop::Permt2d, Vop::Permt2q][lane_index(ty.elem)];
        (self.isa.evex && (self.isa.vbmi || op != Vop::Permt2b)).then_some(op)
    }

    fn shuffle_one(&mut self, map: &[u16], ty: Type, source: Width, x: VReg) -> VReg {
        let bits = ty.elem.bits();
        let w = self.width(ty);
        if map.iter().enumerate().all(|(i, &m)| usize::from(m) == i) {
            return x;
        }
        if map.iter().all(|&m| m == 0) {
            return self.splat_low(ty, x);
        }
        if w == source
            && let Some(imm) = in_block_pattern(map, bits)
        {
            return self.op2i(Vop::Pshufd, w, x, imm);
        }
        let wide = w.max(source);
        if bits == 64
            && wide == Width::Y
            && let [a, b, c, d] = *map
        {
            return self.op2i(Vop::PermqI, wide, x, (a | b << 2 | c << 4 | d << 6) as u8);
        }
        let op = match (bits, wide) {
            // No permutation of whole registers exists for 128 bits, where two sources do as well.
            (32, Width::Y | Width::Z) => Some(Vop::Permps),
            (64, Width::Y | Width::Z) if self.isa.evex => Some(Vop::Permq),
            (16, _) if self.isa.evex => Some(Vop::Permw),
            (8, _) if self.isa.vbmi => Some(Vop::Permb),
            _ => None,
        };
        let Some(op) = op else {
            let n = (source.bytes() * 8 / bits) as u16;
            return self.shuffle_bytes(map, ty, source, n, [x, x]);
        };
        let lanes = (wide.bytes() * 8 / bits) as u16;
        let index: Vec<u64> = map.iter().map(|&i| u64::from(i)).collect();
        let index = self.index_vector(&index, lanes, bits);
        let index = self.lanes_reg(index, wide);
        self.op3(op, wide, index, x)
    }

    /// Any shuffle, block by block of the sources: each block that the result needs is copied to every block and `vpshufb` picks its bytes.
    fn shuffle_bytes(&mut self, map: &[u16], ty: Type, source: Width, n: u16, sources: [VReg; 2]) -> VReg {
        let bytes = (ty.elem.bits() / 8) as usize;
        let w = self.width(ty);
        // Byte j of the result is byte `from[j]` of both sources in a row.
        let from: Vec<usize> = map
            .iter()
            .flat_map(|&m| {
                let base = usize::from(m % n) * bytes + usize::from(m / n) * source.bytes() as usize;
                (0..bytes).map(move |k| base + k)
            })
            .collect();
        let mut result = None;
        for block in 0..2 * source.bytes() as usize / 16 {
            if !from.iter().any(|f| f / 16 == block) {
                continue;
            }
            let per_source = source.bytes() as usize / 16;
            let x = sources[block / per_source];
            let everywhere = self.splat_block(source, w, x, (block % per_source) as u8);
            let control = from.iter().map(|f| if f / 16 == block { (f % 16) as u8 } else { 0x80 }).collect();
            let control = self.konst(Lanes::from_bytes(control), w, super::values::Fold::Whole);
            let part = self.op3(Vop::Pshufb, w, everywhere, control);
            result = Some(match result {
                None => part,
                Some(r) => self.op3(Vop::Por, w, r, part),
            });
        }
        result.unwrap_or_else(|| self.zero())
    }

    /// 128-bit block `i` of a register of width `source` in every block of one of width `w`.
    fn splat_block(&mut self, source: Width, w: Width, x: VReg, i: u8) -> VReg {
        let wide = w.max(source);
        match (wide, self.isa.evex) {
            (Width::X, _) => x,
            (Width::Y, false) => self.op2i(Vop::PermqI, Width::Y, x, if i == 0 { 0x44 } else { 0xee }),
            (Width::Y, true) => self.op3i(Vop::Shufi32x4, Width::Y, x, x, i | i << 1),
            (Width::Z, _) => self.op3i(Vop::Shufi32x4, Width::Z, x, x, i * 0b0101_0101),
        }
    }
}

/// The two 128-bit blocks that a map of 256 bits copies, counted through both sources.
fn block_pattern(map: &[u16], bits: u32) -> Option<[u8; 2]> {
    let per_block = (128 / bits) as u16;
    let block = |map: &[u16]| {
        let whole = map[0].is_multiple_of(per_block) && map.iter().enumerate().all(|(i, &m)| usize::from(m) == usize::from(map[0]) + i);
        whole.then(|| (map[0] / per_block) as u8)
    };
    let (low, high) = map.split_at_checked(usize::from(per_block)).filter(|(_, high)| high.len() == usize::from(per_block))?;
    Some([block(low)?, block(high)?])
}

/// The immediate of `vpshufd` for a map that does the same within every 128-bit block.
fn in_block_pattern(map: &[u16], bits: u32) -> Option<u8> {
    let words: Vec<usize> = match bits {
        32 => map.iter().map(|&m| usize::from(m)).collect(),
        64 => map.iter().flat_map(|&m| [2 * usize::from(m), 2 * usize::from(m) + 1]).collect(),
        _ => return None,
    };
    let first = words.get(..4)?;
    let same = words.iter().enumerate().all(|(i, &m)| m / 4 == i / 4 && m % 4 == first[i % 4] % 4);
    (same && first.iter().all(|&m| m < 4)).then(|| first.iter().enumerate().fold(0, |imm, (i, &m)| imm | (m as u8) << (2 * i)))
}
