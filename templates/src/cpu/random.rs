//! Random words by Philox 4x32-10, and draws from discrete distributions.
//!
//! A block of four words is a function of the seeds and of its number, so a stream goes on where a counter in memory says. Kernels have one work unit, and
//! the counter counts blocks. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC'11).

use super::scalar::{get, partition_point, put, put_int, s};
use crate::expr::{Storage, math_f64};
use tflc_kir::{Addr, BinOp, Builder, CmpOp, ConvertOp, Kernel, Mem, Narrow, Type, UnOp, Value};

/// The seeds of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Seeds {
    /// The key.
    pub key: u64,
    /// The upper half of the counter.
    pub stream: u64,
}

const MASK: i64 = 0xffff_ffff;

impl Seeds {
    /// Emits: the four words of block `number`, each in an `I64` below 2^32.
    fn block(self, b: &mut Builder, number: Value) -> [Value; 4] {
        let [low, high] = halves(b, number);
        let word = |b: &mut Builder, v: u64| b.i64(v as i64 & MASK);
        let counter = [low, high, word(b, self.stream), word(b, self.stream >> 32)];
        let key = [word(b, self.key), word(b, self.key >> 32)];
        philox(b, key, counter)
    }
}

/// Emits: a block of Philox 4x32-10, words in `I64` below 2^32.
fn philox(b: &mut Builder, mut k: [Value; 2], mut c: [Value; 4]) -> [Value; 4] {
    let mask = b.i64(MASK);
    for _ in 0..10 {
        let product = |b: &mut Builder, m: i64, v: Value| {
            let m = b.i64(m);
            let p = b.mul(m, v);
            halves(b, p)
        };
        let [a_low, a_high] = product(b, 0xD251_1F53, c[0]);
        let [b_low, b_high] = product(b, 0xCD9E_8D57, c[2]);
        let mix = |b: &mut Builder, high: Value, v: Value, k: Value| {
            let v = b.bin(BinOp::Xor, high, v);
            b.bin(BinOp::Xor, v, k)
        };
        c = [mix(b, b_high, c[1], k[0]), b_low, mix(b, a_high, c[3], k[1]), a_low];
        for (k, step) in k.iter_mut().zip([0x9E37_79B9, 0xBB67_AE85]) {
            let next = b.add_const(*k, step);
            *k = b.bin(BinOp::And, next, mask);
        }
    }
    c
}

/// Emits: the block number that the counter in memory holds, which moves on by `blocks`.
fn take(b: &mut Builder, counter: Value, blocks: usize) -> Value {
    let first = b.load(Type::I64, Mem::I64, Addr::new(counter));
    let next = b.add_const(first, blocks as i64);
    b.store(Mem::I64, Narrow::Wrap, Addr::new(counter), next);
    first
}

/// Specification of uniform numbers in [0, 1): the 23 low bits of each word.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct UniformSpec {
    /// Numbers.
    pub elements: usize,
    /// Seeds.
    pub seeds: Seeds,
}

impl UniformSpec {
    /// Builds the kernel: parameters are the counter (`I64`) and the output (`F32`), which is written in whole blocks of four.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("random_uniform");
        let (counter, y) = (b.ptr_param("counter"), b.ptr_param("y"));
        let blocks = self.elements.div_ceil(4);
        let first = take(&mut b, counter, blocks);
        b.for_const(0, blocks as i64, 1, &[], |b, i, _| {
            let words = s!(b, first + i);
            let words = self.seeds.block(b, words);
            for (k, w) in words.into_iter().enumerate() {
                let at = s!(b, (i * 4) + { k });
                let mantissa = s!(b, w & { 0x7f_ffff });
                let bits = s!(b, mantissa | { 127 << 23 });
                let bits = b.convert(ConvertOp::Wrap, Type::I32, bits);
                let v = b.bitcast(Type::F32, bits);
                let one = b.float(Type::F32, 1.0);
                let v = b.sub(v, one);
                put(b, Storage::F32, y, at, v);
            }
            vec![]
        });
        b.finish()
    }
}

/// Specification of random words for a state that is an operand.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BitsSpec {
    /// Words of 32 bits.
    pub words: usize,
    /// Words of 64 bits of the state: key, counter and, of Philox, the counter's upper half, which is the key where there is none.
    pub state: usize,
    /// Whether blocks are Threefry 2x32-20; else Philox 4x32-10.
    pub threefry: bool,
}

impl BitsSpec {
    /// Words of a block.
    fn block_words(&self) -> usize {
        if self.threefry { 2 } else { 4 }
    }

    /// Words that are written: whole blocks.
    pub fn written(&self) -> usize {
        self.words.next_multiple_of(self.block_words())
    }

    /// Builds the kernel: parameters are the state, the next state and the words, which are written in whole blocks.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("random_bits");
        let [state, next, y] = ["state", "next", "y"].map(|n| b.ptr_param(n));
        let word = |b: &mut Builder, i: usize| b.load(Type::I64, Mem::I64, Addr::new(state).offset(8 * i as i64));
        let (key, counter) = (word(&mut b, 0), word(&mut b, 1));
        let upper = if self.state > 2 { word(&mut b, 2) } else { key };
        let blocks = self.written() / self.block_words();
        let (k, u) = (halves(&mut b, key), halves(&mut b, upper));
        b.for_const(0, blocks as i64, 1, &[], |b, i, _| {
            let c = b.add(counter, i);
            let c = halves(b, c);
            let words = if self.threefry { threefry(b, k, c).to_vec() } else { philox(b, k, [c[0], c[1], u[0], u[1]]).to_vec() };
            let n = words.len();
            for (j, w) in words.into_iter().enumerate() {
                let at = s!(b, (i * { n }) + { j });
                put_int(b, false, y, at, w);
            }
            vec![]
        });
        let after = b.add_const(counter, blocks as i64);
        for (i, v) in [key, after, upper].into_iter().take(self.state).enumerate() {
            b.store(Mem::I64, Narrow::Wrap, Addr::new(next).offset(8 * i as i64), v);
        }
        b.finish()
    }
}

/// Emits: the lower and the upper 32 bits.
fn halves(b: &mut Builder, v: Value) -> [Value; 2] {
    let (mask, s32) = (b.i64(MASK), b.i64(32));
    [b.bin(BinOp::And, v, mask), b.bin(BinOp::ShrU, v, s32)]
}

/// Emits: a block of Threefry 2x32-20, words in `I64` below 2^32.
fn threefry(b: &mut Builder, [k0, k1]: [Value; 2], [x, y]: [Value; 2]) -> [Value; 2] {
    let mask = b.i64(MASK);
    let parity = b.i64(0x1BD1_1BDA);
    let both = b.bin(BinOp::Xor, k0, k1);
    let keys = [k0, k1, b.bin(BinOp::Xor, both, parity)];
    let sum = |b: &mut Builder, x: Value, y: Value| s!(b, (x + y) & mask);
    let (mut x, mut y) = (sum(b, x, k0), sum(b, y, k1));
    for round in 0..5 {
        for turn in [[13, 15, 26, 6], [17, 29, 16, 24]][round % 2] {
            x = sum(b, x, y);
            let (left, right) = (b.i64(turn), b.i64(32 - turn));
            let (high, low) = (b.bin(BinOp::Shl, y, left), b.bin(BinOp::ShrU, y, right));
            let turned = s!(b, (high | low) & mask);
            y = b.bin(BinOp::Xor, turned, x);
        }
        x = sum(b, x, keys[(round + 1) % 3]);
        let key = b.add_const(keys[(round + 2) % 3], round as i64 + 1);
        y = sum(b, y, key);
    }
    [x, y]
}

/// Specification of draws from rows of unnormalised log-probabilities.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct MultinomialSpec {
    /// Rows.
    pub rows: usize,
    /// Classes of a row, at least 1.
    pub classes: usize,
    /// Draws of a row.
    pub samples: usize,
    /// Whether classes are stored in 64 bits, else 32.
    pub wide_output: bool,
    /// Blocks by which the counter moves on.
    pub blocks: usize,
    /// Seeds.
    pub seeds: Seeds,
}

impl MultinomialSpec {
    /// Bytes of the workspace.
    pub fn workspace_bytes(&self) -> usize {
        self.classes * 8
    }

    /// Builds the kernel: parameters are the counter (`I64`), logits (`F32`), workspace and output.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("multinomial");
        let [counter, logits, sums, y] = ["counter", "logits", "sums", "y"].map(|n| b.ptr_param(n));
        let first = take(&mut b, counter, self.blocks);
        b.for_const(0, self.rows as i64, 1, &[], |b, r, _| {
            let total = self.accumulate(b, logits, sums, r);
            b.for_const(0, self.samples as i64, 1, &[], |b, i, _| {
                let at = s!(b, (r * { self.samples }) + i);
                // Two words make a number: 20 bits of the first and the second.
                let (pair, odd) = (s!(b, at / 2), s!(b, (at % 2) != 0));
                let block = s!(b, first + pair);
                let words = self.seeds.block(b, block);
                let (high, low) = (b.select(odd, words[2], words[0]), b.select(odd, words[3], words[1]));
                let high = s!(b, (high & { 0xf_ffff }) * { 1i64 << 32 });
                let bits = s!(b, (high | low) + { 1023i64 << 52 });
                let one = b.float(Type::F64, 1.0);
                let share = b.bitcast(Type::F64, bits);
                let share = b.sub(share, one);
                let limit = b.mul(share, total);
                let class = self.search(b, sums, limit);
                put_int(b, self.wide_output, y, at, class);
                vec![]
            });
            vec![]
        });
        b.finish()
    }

    /// Running sums of the probabilities of row `r`, relative to its most likely finite class; gives the last.
    fn accumulate(&self, b: &mut Builder, logits: Value, sums: Value, r: Value) -> Value {
        let least = b.f32_const(Type::F32, f32::NEG_INFINITY);
        let finite = |b: &mut Builder, v: Value| {
            let size = b.un(UnOp::Abs, v);
            let infinity = b.f32_const(Type::F32, f32::INFINITY);
            b.cmp(CmpOp::Lt, size, infinity)
        };
        let most = b.for_const(0, self.classes as i64, 1, &[least], |b, k, c| {
            let at = s!(b, (r * { self.classes }) + k);
            let v = get(b, Storage::F32, logits, at);
            let counts = finite(b, v);
            let more = b.max(v, c[0]);
            vec![b.select(counts, more, c[0])]
        })[0];
        let zero = b.float(Type::F64, 0.0);
        b.for_const(0, self.classes as i64, 1, &[zero], |b, k, c| {
            let at = s!(b, (r * { self.classes }) + k);
            let v = get(b, Storage::F32, logits, at);
            let counts = finite(b, v);
            let below = b.sub(v, most);
            let below = b.convert(ConvertOp::FloatToFloat, Type::F64, below);
            let p = math_f64::exp(b, below);
            let sum = b.add(c[0], p);
            let sum = b.select(counts, sum, c[0]);
            b.store(Mem::F64, Narrow::Wrap, Addr::new(sums).index(k, 8), sum);
            vec![sum]
        })[0]
    }

    /// The first class whose sum is above `limit`, or the last.
    fn search(&self, b: &mut Builder, sums: Value, limit: Value) -> Value {
        let found = partition_point(b, self.classes, |b, i| {
            let sum = b.load(Type::F64, Mem::F64, Addr::new(sums).index(i, 8));
            b.cmp(CmpOp::Le, sum, limit)
        });
        let last = b.i64(self.classes as i64 - 1);
        b.min(found, last)
    }
}
