//! High halves of products and dot products of small integers.
//!
//! The widening trees are written in the shapes that Cranelift's instruction selection recognises: `pmaddwd`, `pmuludq` on x86-64;
//! `smull`, `saddlp`, `sqrdmulh`, `sdot` on AArch64.

use super::arith::Sign;
use super::emit::{Emitter, Family, Reason, Val};
use super::stand_in::{UDOT, matrix_product};
use crate::target::ArmLevel;
use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use tflc_kir::DotSigns;

/// Picks the odd 32-bit lanes of two vectors.
const ODD_WORDS: [u8; 4] = [1, 3, 5, 7];

impl Emitter<'_, '_> {
    /// High half of each product.
    pub(super) fn mul_hi(&mut self, a: Val, b: Val, sign: Sign) -> Result<Val, Reason> {
        Ok(match self.ty(a) {
            I64 if sign == Sign::Signed => self.b.ins().smulhi(a, b),
            I64 => self.b.ins().umulhi(a, b),
            I32 => {
                let product = self.long_product(a, b, sign);
                let high = self.ushr(product, 32);
                self.b.ins().ireduce(I32, high)
            }
            I16X8 => {
                let (lo, hi) = self.products(a, b, sign);
                // The sign shift makes the narrowing exact for unsigned products too: only 16 bits are left.
                let (lo, hi) = (self.sshr(lo, 16), self.sshr(hi, 16));
                self.b.ins().snarrow(lo, hi)
            }
            I32X4 if sign == Sign::Unsigned || self.family != Family::Sse2 => {
                let (lo, hi) = self.products(a, b, sign);
                self.shuffle_words(I32X4, lo, hi, ODD_WORDS)
            }
            I32X4 => {
                // SSE2 multiplies unsigned only: subtract what a negative operand contributes as 2^32.
                let high = self.mul_hi(a, b, Sign::Unsigned)?;
                let excess = self.unsigned_excess(a, b);
                self.b.ins().isub(high, excess)
            }
            ty => return Err(format!("high half of a product of {ty}")),
        })
    }

    /// Rounding doubling high product, saturated.
    pub(super) fn mul_round_hi(&mut self, a: Val, b: Val) -> Result<Val, Reason> {
        Ok(match self.ty(a) {
            I16X8 => self.b.ins().sqmul_round_sat(a, b),
            I32X4 if self.family != Family::Sse2 => self.b.ins().sqmul_round_sat(a, b),
            I32X4 => self.mul_round_hi_words(a, b),
            I32 => {
                let product = self.long_product(a, b, Sign::Signed);
                let half = self.int(I64, 1 << 30);
                let sum = self.b.ins().iadd(product, half);
                let high = self.sshr(sum, 31);
                let most = self.int(I64, i64::from(i32::MAX));
                let high = self.b.ins().smin(high, most);
                self.b.ins().ireduce(I32, high)
            }
            ty => return Err(format!("rounding doubling product of {ty}")),
        })
    }

    /// `((a*b + 2^30) << 1) >> 32` from unsigned products; the one overflow, of the smallest integer squared, is mended last.
    fn mul_round_hi_words(&mut self, a: Val, b: Val) -> Val {
        let (lo, hi) = self.products(a, b, Sign::Unsigned);
        let half = self.int(I64X2, 1 << 30);
        let [lo, hi] = [lo, hi].map(|p| {
            let sum = self.b.ins().iadd(p, half);
            self.shl(sum, 1)
        });
        let high = self.shuffle_words(I32X4, lo, hi, ODD_WORDS);
        let excess = self.unsigned_excess(a, b);
        let excess = self.shl(excess, 1);
        let high = self.b.ins().isub(high, excess);
        let least = self.int(I32X4, i64::from(i32::MIN));
        let both = {
            let a_least = self.b.ins().icmp(IntCC::Equal, a, least);
            let b_least = self.b.ins().icmp(IntCC::Equal, b, least);
            self.b.ins().band(a_least, b_least)
        };
        self.b.ins().bxor(high, both)
    }

    /// `(a < 0 ? b : 0) + (b < 0 ? a : 0)`: the high half of the unsigned product minus that of the signed one.
    fn unsigned_excess(&mut self, a: Val, b: Val) -> Val {
        let (a_sign, b_sign) = (self.sshr(a, 31), self.sshr(b, 31));
        let x = self.b.ins().band(a_sign, b);
        let y = self.b.ins().band(b_sign, a);
        self.b.ins().iadd(x, y)
    }

    /// 64-bit product of two 32-bit scalars.
    fn long_product(&mut self, a: Val, b: Val, sign: Sign) -> Val {
        let [a, b] = [a, b].map(|v| match sign {
            Sign::Signed => self.b.ins().sextend(I64, v),
            Sign::Unsigned => self.b.ins().uextend(I64, v),
        });
        self.b.ins().imul(a, b)
    }

    /// Full products of the lower and of the upper lanes.
    fn products(&mut self, a: Val, b: Val, sign: Sign) -> (Val, Val) {
        let lo = self.mixed_product(a, sign, b, sign, Half::Low);
        let hi = self.mixed_product(a, sign, b, sign, Half::High);
        (lo, hi)
    }

    fn mixed_product(&mut self, a: Val, a_sign: Sign, b: Val, b_sign: Sign, half: Half) -> Val {
        let (a, b) = (self.widen(a, a_sign, half), self.widen(b, b_sign, half));
        self.b.ins().imul(a, b)
    }

    /// Half of the lanes, at twice the width.
    pub(super) fn widen(&mut self, v: Val, sign: Sign, half: Half) -> Val {
        match (sign, half) {
            (Sign::Signed, Half::Low) => self.b.ins().swiden_low(v),
            (Sign::Signed, Half::High) => self.b.ins().swiden_high(v),
            (Sign::Unsigned, Half::Low) => self.b.ins().uwiden_low(v),
            (Sign::Unsigned, Half::High) => self.b.ins().uwiden_high(v),
        }
    }

    // ---- dot products ----

    pub(super) fn dot2(&mut self, acc: Val, a: Val, b: Val) -> Val {
        if let Family::Riscv(_) = self.family {
            // Neighbours are apart by shifts, which several products share; widening and adding in pairs would permute vectors.
            let ((a_even, a_odd), (b_even, b_odd)) = (self.words_by_parity(a), self.words_by_parity(b));
            let even = self.b.ins().imul(a_even, b_even);
            let odd = self.b.ins().imul(a_odd, b_odd);
            let acc = self.b.ins().iadd(acc, even);
            return self.b.ins().iadd(acc, odd);
        }
        let sums = self.pair_dot(a, b);
        self.b.ins().iadd(acc, sums)
    }

    /// Sums of neighbouring products of signed 16-bit lanes: `pmaddwd` on x86-64.
    fn pair_dot(&mut self, a: Val, b: Val) -> Val {
        let (lo, hi) = self.products(a, b, Sign::Signed);
        self.b.ins().iadd_pairwise(lo, hi)
    }

    pub(super) fn dot4(&mut self, signs: DotSigns, acc: Val, a: Val, b: Val) -> Val {
        let (sa, sb) = match signs {
            DotSigns::UnsignedSigned => (Sign::Unsigned, Sign::Signed),
            DotSigns::Signed => (Sign::Signed, Sign::Signed),
            DotSigns::Unsigned => (Sign::Unsigned, Sign::Unsigned),
        };
        if let Family::Neon(level) = self.family {
            let least = if signs == DotSigns::UnsignedSigned { ArmLevel::I8mm } else { ArmLevel::Dotprod };
            if level >= least
                && let Some(v) = self.dot4_by_element(signs, acc, a, b)
            {
                return v;
            }
        }
        match (self.family, signs) {
            (Family::Sse2, _) => self.dot4_by_parity(acc, a, sa, b, sb),
            (Family::Neon(ArmLevel::Dotprod | ArmLevel::I8mm), DotSigns::Unsigned) => self.stand_in_of_vectors(&UDOT, acc, a, b),
            (Family::Neon(ArmLevel::Dotprod), DotSigns::UnsignedSigned) => {
                // a·b = (a - 128)·b + 64·b + 64·b, and the first factor is signed.
                let flip = self.int(I8X16, 0x80);
                let a = self.b.ins().bxor(a, flip);
                let c64 = self.int(I8X16, 64);
                let acc = self.dot4_tree(acc, b, Sign::Signed, c64, Sign::Signed);
                let acc = self.dot4_tree(acc, b, Sign::Signed, c64, Sign::Signed);
                self.dot4_tree(acc, a, Sign::Signed, b, Sign::Signed)
            }
            (Family::Neon(_) | Family::Riscv(_), _) => self.dot4_tree(acc, a, sa, b, sb),
        }
    }

    /// The product of a 2×8 matrix and a transposed one; without an instruction for it, each row of the first twice, in dot products of four with
    /// both rows of the second.
    pub(super) fn mmla(&mut self, signs: DotSigns, acc: Val, a: Val, b: Val) -> Val {
        if self.family == Family::Neon(ArmLevel::I8mm) {
            return self.stand_in_of_vectors(matrix_product(signs), acc, a, b);
        }
        let [first, second] = [[0, 1, 0, 1], [2, 3, 2, 3]].map(|row| {
            let zero = self.int(I32X4, 0);
            let twice = self.shuffle_words(I8X16, a, a, row);
            self.dot4(signs, zero, twice, b)
        });
        let even = self.shuffle_words(I32X4, first, second, [0, 2, 4, 6]);
        let odd = self.shuffle_words(I32X4, first, second, [1, 3, 5, 7]);
        let sum = self.b.ins().iadd(even, odd);
        self.b.ins().iadd(acc, sum)
    }

    /// Even and odd bytes as 16-bit lanes, each pair multiplied and added by `pmaddwd`.
    fn dot4_by_parity(&mut self, acc: Val, a: Val, sa: Sign, b: Val, sb: Sign) -> Val {
        let (a_even, a_odd) = self.by_parity(a, sa);
        let (b_even, b_odd) = self.by_parity(b, sb);
        let even = self.pair_dot(a_even, b_even);
        let odd = self.pair_dot(a_odd, b_odd);
        let acc = self.b.ins().iadd(acc, even);
        self.b.ins().iadd(acc, odd)
    }

    /// Even and odd signed words as 32-bit lanes.
    fn words_by_parity(&mut self, v: Val) -> (Val, Val) {
        if let Some(known) = self.shared.parities(v) {
            return known;
        }
        let words = self.cast(I32X4, v);
        let up = self.shl(words, 16);
        let split = (self.sshr(up, 16), self.sshr(words, 16));
        self.shared.set_parities(v, split);
        split
    }

    fn by_parity(&mut self, v: Val, sign: Sign) -> (Val, Val) {
        let v = self.cast(I16X8, v);
        match sign {
            Sign::Signed => {
                let up = self.shl(v, 8);
                (self.sshr(up, 8), self.sshr(v, 8))
            }
            Sign::Unsigned => {
                let low = self.int(I16X8, 0xFF);
                (self.b.ins().band(v, low), self.ushr(v, 8))
            }
        }
    }

    /// The tree that Cranelift folds into `sdot`, or into `usdot` with the matrix product extension. The 16-bit products are exact, as unsigned ones where both factors are unsigned.
    fn dot4_tree(&mut self, acc: Val, a: Val, sa: Sign, b: Val, sb: Sign) -> Val {
        let sums = [Half::Low, Half::High].map(|half| {
            let product = self.mixed_product(a, sa, b, sb, half);
            let sign = if sa == Sign::Unsigned && sb == Sign::Unsigned { Sign::Unsigned } else { Sign::Signed };
            let (lo, hi) = (self.widen(product, sign, Half::Low), self.widen(product, sign, Half::High));
            self.b.ins().iadd_pairwise(lo, hi)
        });
        let sum = self.b.ins().iadd_pairwise(sums[0], sums[1]);
        self.b.ins().iadd(sum, acc)
    }
}

/// Lower or upper half of the lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Half {
    /// Lanes `0..n/2`.
    Low,
    /// Lanes `n/2..n`.
    High,
}
