//! Shuffles of constant pattern.
//!
//! AArch64 takes any pattern. SSE2 has word shuffles, interleaving and logic, and Cranelift would call a library for the rest: here
//! patterns of 32-bit units take at most two shuffles and a blend, others go through memory byte by byte.

use super::emit::{Emitter, Family, Reason, Val, mem_flags};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, InstBuilder};

/// Source byte of each result byte: 0–15 of the first operand, 16–31 of the second.
type Bytes = [u8; 16];

impl Emitter<'_, '_> {
    /// Result lane i is lane `map[i]` of a followed by b.
    pub(super) fn shuffle_lanes(&mut self, ty: ir::Type, a: Val, b: Val, map: &[u16]) -> Result<Val, Reason> {
        let lane_bytes = ty.lane_bits() as usize / 8;
        if self.ty(a) != ty || map.len() * lane_bytes != 16 {
            return Err(format!("shuffle of {} to {} lanes", self.ty(a), map.len()));
        }
        let bytes: Bytes = std::array::from_fn(|i| (usize::from(map[i / lane_bytes]) * lane_bytes + i % lane_bytes) as u8);
        Ok(self.shuffle(ty, a, b, bytes))
    }

    /// Shuffle of 32-bit units.
    pub(super) fn shuffle_words(&mut self, ty: ir::Type, a: Val, b: Val, map: [u8; 4]) -> Val {
        self.shuffle(ty, a, b, std::array::from_fn(|i| map[i / 4] * 4 + i as u8 % 4))
    }

    /// Copies one lane to all.
    pub(super) fn broadcast_lane(&mut self, v: Val, lane: u8) -> Val {
        let ty = self.ty(v);
        let lane_bytes = (ty.lane_bits() / 8) as u8;
        self.shuffle(ty, v, v, std::array::from_fn(|i| lane * lane_bytes + i as u8 % lane_bytes))
    }

    /// Interleaves the lower or upper halves of two vectors.
    pub(super) fn unpack(&mut self, ty: ir::Type, a: Val, b: Val, high: bool) -> Val {
        let lane_bytes = (ty.lane_bits() / 8) as u8;
        let base = if high { 8 } else { 0 };
        let bytes = std::array::from_fn(|i| {
            let i = i as u8;
            let (pair, within) = (i / (2 * lane_bytes), i % lane_bytes);
            let second = if (i / lane_bytes) % 2 == 1 { 16 } else { 0 };
            second + base + pair * lane_bytes + within
        });
        self.shuffle(ty, a, b, bytes)
    }

    /// Shuffles bytes; the result has type `ty`.
    pub(super) fn shuffle(&mut self, ty: ir::Type, a: Val, b: Val, bytes: Bytes) -> Val {
        let (a, b) = (self.cast(I8X16, a), self.cast(I8X16, b));
        // One source comes first, and alone.
        let one_source = a == b || bytes.iter().all(|&i| i < 16) || bytes.iter().all(|&i| i >= 16);
        let (a, b, bytes) = match one_source {
            true if bytes[0] < 16 || a == b => (a, a, bytes.map(|i| i % 16)),
            true => (b, b, bytes.map(|i| i % 16)),
            false => (a, b, bytes),
        };
        let v = match self.family {
            Family::Neon(_) | Family::Riscv(_) => self.shuffle_neon(a, b, bytes),
            Family::Sse2 => self.shuffle_sse2(a, b, bytes),
        };
        self.cast(ty, v)
    }

    /// A shuffle whose pattern the target is known to have, both operands being `v`.
    pub(super) fn shuffle_exact(&mut self, ty: ir::Type, v: Val, bytes: Bytes) -> Val {
        let v = self.cast(I8X16, v);
        let v = self.shuffle_inst(v, v, bytes);
        self.cast(ty, v)
    }

    fn shuffle_inst(&mut self, a: Val, b: Val, bytes: Bytes) -> Val {
        let mask = self.b.func.dfg.immediates.push(bytes[..].into());
        self.b.ins().shuffle(a, b, mask)
    }

    fn shuffle_neon(&mut self, a: Val, b: Val, bytes: Bytes) -> Val {
        if a == b && bytes.iter().enumerate().all(|(i, &x)| x == (bytes[0] + i as u8) % 16) {
            // A rotation is `ext` of the vector with itself.
            return self.shuffle_inst(a, a, std::array::from_fn(|i| bytes[0] + i as u8));
        }
        let repeats = [1, 2, 4, 8].iter().any(|&n| bytes.iter().enumerate().all(|(i, &x)| x == bytes[0] + (i % n) as u8));
        if a == b && !repeats {
            // One table register instead of two adjacent ones.
            let index = self.vector_constant(I8X16, bytes);
            return self.b.ins().swizzle(a, index);
        }
        self.shuffle_inst(a, b, bytes)
    }

    fn shuffle_sse2(&mut self, a: Val, b: Val, bytes: Bytes) -> Val {
        if bytes == std::array::from_fn(|i| i as u8) {
            return a;
        }
        if is_interleaving(bytes) || is_half_shuffle(bytes) {
            return self.shuffle_inst(a, b, bytes);
        }
        if a == b
            && let Some(pattern) = self_interleaving(bytes)
        {
            return self.shuffle_inst(a, a, pattern);
        }
        if let Some(words) = as_words(bytes) {
            let halves_differ = words[..2].iter().all(|w| w / 4 == words[0] / 4) && words[2..].iter().all(|w| w / 4 == words[2] / 4);
            // `pshufd` or `shufps`.
            if a == b || halves_differ {
                return self.shuffle_inst(a, b, bytes);
            }
        }
        if let Some(second) = blend_mask(bytes) {
            let mask = self.vector_constant(I8X16, second);
            return self.b.ins().bitselect(mask, b, a);
        }
        if let Some(words) = as_words(bytes) {
            let x = self.shuffle_words(I8X16, a, a, words.map(|w| w % 4));
            let y = self.shuffle_words(I8X16, b, b, words.map(|w| w % 4));
            let mask = self.vector_constant(I8X16, bytes.map(|i| if i >= 16 { 0xFF } else { 0 }));
            return self.b.ins().bitselect(mask, y, x);
        }
        if a == b
            && let Some((low, high)) = half_shuffles(bytes)
        {
            let v = self.shuffle_inst(a, a, low);
            return self.shuffle_inst(v, v, high);
        }
        self.shuffle_in_memory(a, b, bytes)
    }

    fn shuffle_in_memory(&mut self, a: Val, b: Val, bytes: Bytes) -> Val {
        let at = self.scratch(32, 16);
        self.b.ins().store(mem_flags(), a, at, 0);
        self.b.ins().store(mem_flags(), b, at, 16);
        let halves: Vec<Val> = bytes
            .chunks(8)
            .map(|half| {
                let mut all = None;
                for (i, &from) in half.iter().enumerate() {
                    let byte = self.b.ins().uload8(I64, mem_flags(), at, i32::from(from));
                    let byte = if i == 0 { byte } else { self.shl(byte, i as u32 * 8) };
                    all = Some(match all {
                        None => byte,
                        Some(v) => self.b.ins().bor(v, byte),
                    });
                }
                all.expect("eight bytes")
            })
            .collect();
        let v = self.vector_of(&halves);
        self.cast(I8X16, v)
    }
}

/// The pattern in 32-bit units, if it is one.
fn as_words(bytes: Bytes) -> Option<[u8; 4]> {
    let aligned = bytes.chunks(4).all(|c| c[0] % 4 == 0 && (1..4).all(|i| c[i] == c[0] + i as u8));
    aligned.then(|| std::array::from_fn(|i| bytes[i * 4] / 4))
}

/// `punpckl*` and `punpckh*` of two sources.
fn is_interleaving(bytes: Bytes) -> bool {
    [1u8, 2, 4, 8].iter().any(|&w| {
        [0u8, 8].iter().any(|&base| {
            bytes.iter().enumerate().all(|(i, &x)| {
                let i = i as u8;
                x == base + i / (2 * w) * w + i % w + if (i / w) % 2 == 1 { 16 } else { 0 }
            })
        })
    })
}

/// The interleaving of a vector with itself that gives this pattern.
fn self_interleaving(bytes: Bytes) -> Option<Bytes> {
    [1u8, 2].into_iter().find_map(|w| {
        let twice = std::array::from_fn(|i| bytes[i] + if (i as u8 / w) % 2 == 1 { 16 } else { 0 });
        is_interleaving(twice).then_some(twice)
    })
}

/// `pshuflw` or `pshufhw`: 16-bit units permuted within one half, the other half as it is.
fn is_half_shuffle(bytes: Bytes) -> bool {
    let units_within = |range: std::ops::Range<usize>| {
        bytes[range.clone()].chunks(2).all(|c| c[0] % 2 == 0 && c[1] == c[0] + 1 && range.contains(&usize::from(c[0])))
    };
    let same = |range: std::ops::Range<usize>| range.clone().all(|i| usize::from(bytes[i]) == i);
    (units_within(0..8) && same(8..16)) || (units_within(8..16) && same(0..8))
}

/// Two half shuffles in a row, where no 16-bit unit crosses the middle.
fn half_shuffles(bytes: Bytes) -> Option<(Bytes, Bytes)> {
    let low: Bytes = std::array::from_fn(|i| if i < 8 { bytes[i] } else { i as u8 });
    let high: Bytes = std::array::from_fn(|i| if i < 8 { i as u8 } else { bytes[i] });
    (is_half_shuffle(low) && is_half_shuffle(high)).then_some((low, high))
}

/// Mask of the bytes taken from the second source, where every byte keeps its place.
fn blend_mask(bytes: Bytes) -> Option<Bytes> {
    let stays = bytes.iter().enumerate().all(|(i, &x)| usize::from(x) % 16 == i);
    stays.then(|| bytes.map(|x| if x >= 16 { 0xFF } else { 0 }))
}
