//! Signs of sums of hashes: locality sensitive projections.
//!
//! The hash is FarmHash's 64-bit fingerprint of a constant number of bytes, at most 64, so that its code has no branches. There is one work unit. Source:
//! FarmHash, `farmhashna::Hash64`.

use super::scalar::{put_int, s};
use tflc_kir::{Addr, BinOp, Builder, CmpOp, ConvertOp, Kernel, Mem, Narrow, Type, Value};

/// Bytes up to which a key is hashed.
pub const MOST_KEY_BYTES: usize = 64;

const K1: i64 = 0xb492_b66f_be98_f273_u64 as i64;
const K2: i64 = 0x9ae1_6a3b_2f90_404f_u64 as i64;

/// Specification: bit `j` of hash `i` is the sign of `Σ weight[n] * fingerprint(seed[i, j], item[n])`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ProjectionSpec {
    /// Hash functions.
    pub hashes: usize,
    /// Bits that each gives.
    pub bits: usize,
    /// Items of the input.
    pub items: usize,
    /// Bytes of an item, at most [`MOST_KEY_BYTES`] less the four of the seed.
    pub item_bytes: usize,
    /// Whether items have weights.
    pub weighted: bool,
    /// Whether the bits of a hash are packed into one number, to which `i << bits` is added.
    pub sparse: bool,
}

impl ProjectionSpec {
    /// Builds the kernel: parameters are the seeds (`F32`), items, weights (`F32`, unused where there are none) and the result (`I32`).
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("projection");
        let [seeds, items, weights, y] = ["seeds", "items", "weights", "y"].map(|n| b.ptr_param(n));
        let key = b.scratch(MOST_KEY_BYTES as u32, 8);
        b.for_const(0, self.hashes as i64, 1, &[], |b, i, _| {
            let none = b.i64(0);
            let packed = b.for_const(0, self.bits as i64, 1, &[none], |b, j, c| {
                let at = s!(b, (i * { self.bits }) + j);
                let seed = b.load(Type::I32, Mem::S32, Addr::new(seeds).index(at, 4));
                b.store(Mem::S32, Narrow::Wrap, Addr::new(key), seed);
                let score = self.score(b, key, items, weights);
                let zero = b.float(Type::F64, 0.0);
                let above = b.cmp(CmpOp::Gt, score, zero);
                let bit = b.convert(ConvertOp::ExtU, Type::I64, above);
                if !self.sparse {
                    put_int(b, false, y, at, bit);
                }
                let old = c[0];
                vec![s!(b, (old * 2) + bit)]
            })[0];
            if self.sparse {
                let offset = b.mul_const(i, 1i64 << self.bits);
                let signature = b.add(packed, offset);
                put_int(b, false, y, i, signature);
            }
            vec![]
        });
        b.finish()
    }

    /// The sum over all items, whose key has its seed already.
    fn score(&self, b: &mut Builder, key: Value, items: Value, weights: Value) -> Value {
        let zero = b.float(Type::F64, 0.0);
        b.for_const(0, self.items as i64, 1, &[zero], |b, n, c| {
            let at = b.mul_const(n, self.item_bytes as i64);
            for byte in 0..self.item_bytes as i64 {
                let v = b.load(Type::I32, Mem::U8, Addr::new(items).index(at, 1).offset(byte));
                b.store(Mem::U8, Narrow::Wrap, Addr::new(key).offset(4 + byte), v);
            }
            let hash = fingerprint(b, key, self.item_bytes + 4);
            let mut value = b.convert(ConvertOp::IntToFloat, Type::F64, hash);
            if self.weighted {
                let w = b.load(Type::F32, Mem::F32, Addr::new(weights).index(n, 4));
                let w = b.convert(ConvertOp::FloatToFloat, Type::F64, w);
                value = b.mul(w, value);
            }
            vec![b.add(c[0], value)]
        })[0]
    }
}

/// Emits: the fingerprint of `n` bytes.
fn fingerprint(b: &mut Builder, key: Value, n: usize) -> Value {
    let word = |b: &mut Builder, at: usize| b.load(Type::I64, Mem::I64, Addr::new(key).offset(at as i64));
    let half = |b: &mut Builder, at: usize| {
        let v = b.load(Type::I64, Mem::S32, Addr::new(key).offset(at as i64));
        let mask = b.i64(0xffff_ffff);
        b.bin(BinOp::And, v, mask)
    };
    let (k1, k2) = (b.i64(K1), b.i64(K2));
    let mul = b.i64(K2.wrapping_add(2 * n as i64));
    if n < 8 {
        // A key has at least the four bytes of its seed.
        let (first, last) = (half(b, 0), half(b, n - 4));
        let u = s!(b, { n } + (first * 8));
        return mix(b, u, last, mul);
    }
    if n <= 16 {
        let (x, y) = (word(b, 0), word(b, n - 8));
        let x = b.add(x, k2);
        let (y37, x25) = (rotate(b, y, 37), rotate(b, x, 25));
        let (c, d) = (s!(b, (y37 * mul) + x), s!(b, (x25 + y) * mul));
        return mix(b, c, d, mul);
    }
    let (x, y, c, d) = (word(b, 0), word(b, 8), word(b, n - 8), word(b, n - 16));
    let x = b.mul(x, if n <= 32 { k1 } else { k2 });
    let (c, d) = (b.mul(c, mul), b.mul(d, k2));
    let (sum, shifted) = (b.add(x, y), b.add(y, k2));
    let (sum, c30, shifted) = (rotate(b, sum, 43), rotate(b, c, 30), rotate(b, shifted, 18));
    let u = s!(b, sum + c30 + d);
    let v = s!(b, x + shifted + c);
    let z = mix(b, u, v, mul);
    if n <= 32 {
        return z;
    }
    let (e, f, g, h) = (word(b, 16), word(b, 24), word(b, n - 32), word(b, n - 24));
    let (e, g, h) = (b.mul(e, mul), s!(b, (u + g) * mul), s!(b, (z + h) * mul));
    let (sum, other) = (b.add(e, f), b.add(f, x));
    let (sum, g30, other) = (rotate(b, sum, 43), rotate(b, g, 30), rotate(b, other, 18));
    let (p, q) = (s!(b, sum + g30 + h), s!(b, e + other + g));
    mix(b, p, q, mul)
}

/// Emits: the bits turned right.
fn rotate(b: &mut Builder, v: Value, by: i64) -> Value {
    let (right, left) = (b.i64(by), b.i64(64 - by));
    let (low, high) = (b.bin(BinOp::ShrU, v, right), b.bin(BinOp::Shl, v, left));
    b.bin(BinOp::Or, low, high)
}

/// Emits: two words hashed to one.
fn mix(b: &mut Builder, u: Value, v: Value, mul: Value) -> Value {
    let n = b.i64(47);
    let fold = |b: &mut Builder, x: Value| {
        let high = b.bin(BinOp::ShrU, x, n);
        b.bin(BinOp::Xor, x, high)
    };
    let x = b.bin(BinOp::Xor, u, v);
    let x = b.mul(x, mul);
    let x = fold(b, x);
    let y = b.bin(BinOp::Xor, v, x);
    let y = b.mul(y, mul);
    let y = fold(b, y);
    b.mul(y, mul)
}
