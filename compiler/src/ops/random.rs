//! RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL, MULTINOMIAL: pseudo-random numbers by Philox 4x32-10.
//!
//! Seeds are the attributes `seed` and `seed2`; where both are zero, LiteRT asks the system, and tflc uses a fixed seed, so results repeat. Each
//! operator has its own stream, which goes on from run to run. Sources: Salmon et al., "Parallel random numbers: as easy as 1, 2,
//! 3" (SC'11); TFLite `kernels/random_ops.cc`, `internal/reference`-free port of TensorFlow's `philox_random.h`.

use crate::error::CompileError;
use crate::ir::DType::{Float32, Int32, Int64};
use crate::ir::OpKind;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::scatter::sizes;
use crate::ops::state::State;

/// RANDOM_UNIFORM, in [0, 1).
pub const RANDOM_UNIFORM: Operator = Operator::new(infer, Eval::Stateful(eval));
/// RANDOM_STANDARD_NORMAL.
pub const RANDOM_STANDARD_NORMAL: Operator = Operator::new(infer, Eval::Stateful(eval));
/// MULTINOMIAL: classes drawn from unnormalised log-probabilities.
pub const MULTINOMIAL: Operator = Operator::new(infer_multinomial, Eval::Stateful(multinomial));

/// The generator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Philox {
    key: [u32; 2],
    counter: [u32; 4],
}

impl Philox {
    /// The stream of two seeds, from block `block` on.
    pub fn new(seed: u64, seed2: u64, block: u64) -> Philox {
        Philox {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [block as u32, (block >> 32) as u32, seed2 as u32, (seed2 >> 32) as u32],
        }
    }

    /// Four random words, and the next block.
    pub fn words(&mut self) -> [u32; 4] {
        let (mut c, mut k) = (self.counter, self.key);
        for _ in 0..10 {
            let a = 0xD251_1F53u64 * c[0] as u64;
            let b = 0xCD9E_8D57u64 * c[2] as u64;
            c = [(b >> 32) as u32 ^ c[1] ^ k[0], b as u32, (a >> 32) as u32 ^ c[3] ^ k[1], a as u32];
            k = [k[0].wrapping_add(0x9E37_79B9), k[1].wrapping_add(0xBB67_AE85)];
        }
        let block = (self.counter[0] as u64 | (self.counter[1] as u64) << 32).wrapping_add(1);
        (self.counter[0], self.counter[1]) = (block as u32, (block >> 32) as u32);
        c
    }
}

/// The 23 low bits as a number in [0, 1).
fn uniform(word: u32) -> f32 {
    f32::from_bits(127 << 23 | word & 0x7f_ffff) - 1.0
}

/// 20 bits of the first word and the second as a number in [0, 1).
fn uniform_f64(high: u32, low: u32) -> f64 {
    f64::from_bits(1023 << 52 | u64::from(high & 0xf_ffff) << 32 | u64::from(low)) - 1.0
}

/// Blocks by which a draw of `samples` numbers for each of `rows` moves its stream on: many more than it takes, as in LiteRT.
pub(crate) fn multinomial_blocks(rows: usize, samples: usize) -> u64 {
    (rows * samples.next_multiple_of(4)) as u64 * 2 * 256
}

/// The two seeds of an operator.
pub(crate) fn seeds(call: &Call<'_>) -> (u64, u64) {
    match (call.attrs.int("seed", 0) as u64, call.attrs.int("seed2", 0) as u64) {
        (0, 0) => (0x7466_6c63, 1),
        s => s,
    }
}

/// The operator's stream, and how many blocks it takes are added to its state.
fn stream(args: &Args<'_>, state: &mut State, blocks: u64) -> Philox {
    let place = &args.call.place;
    let key = (place.subgraph.unwrap_or(0), place.operator.as_ref().map_or(0, |o| o.0));
    let used = state.random.entry(key).or_insert(0);
    let (seed, seed2) = seeds(args.call);
    let generator = Philox::new(seed, seed2, *used);
    *used += blocks;
    generator
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    call.dtype_among(0, &[Int32, Int64])?;
    Ok(vec![call.result(0, Float32, sizes(call, 0)?)?])
}

fn eval(args: &Args<'_>, state: &mut State) -> Results {
    let n = args.ty().elements();
    let mut g = stream(args, state, n.div_ceil(4) as u64);
    let normal = args.call.op == OpKind::RandomStandardNormal;
    let mut out = Vec::with_capacity(n + 3);
    while out.len() < n {
        let w = g.words();
        if normal {
            // Box and Muller's transform of pairs.
            for p in [[w[0], w[1]], [w[2], w[3]]] {
                let radius = (-2.0 * uniform(p[0]).max(1e-7).ln()).sqrt();
                let (s, c) = (2.0 * std::f32::consts::PI * uniform(p[1])).sin_cos();
                out.extend([s * radius, c * radius]);
            }
        } else {
            out.extend(w.map(uniform));
        }
    }
    out.truncate(n);
    args.result(out)
}

fn infer_multinomial(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32])?;
    call.dtype_among(1, &[Int32])?;
    let [batch, classes] = call.dims::<2>(0)?;
    let samples = call.int(1)?;
    let samples = usize::try_from(samples).map_err(|_| call.invalid(format!("{samples} samples")))?;
    if classes == 0 {
        return Err(call.invalid("no classes"));
    }
    let dtype = call.output(0)?.dtype;
    if !matches!(dtype, Int32 | Int64) {
        return Err::<_, CompileError>(call.invalid(format!("classes of {dtype}")));
    }
    Ok(vec![call.result(0, dtype, [batch, samples])?])
}

fn multinomial(args: &Args<'_>, state: &mut State) -> Results {
    let [_, classes] = args.call.dims::<2>(0)?;
    let logits = args.floats(0)?;
    let samples = args.ty().shape[1];
    let mut g = stream(args, state, multinomial_blocks(args.ty().shape[0], samples));
    let mut words = [0; 4];
    let mut out: Vec<i64> = vec![];
    for row in logits.chunks_exact(classes) {
        let max = row.iter().copied().filter(|v| v.is_finite()).fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0f64;
        let sums: Vec<f64> = row
            .iter()
            .map(|v| {
                total += if v.is_finite() { ((v - max) as f64).exp() } else { 0.0 };
                total
            })
            .collect();
        for _ in 0..samples {
            let half = 2 * (out.len() % 2);
            if half == 0 {
                words = g.words();
            }
            let at = uniform_f64(words[half], words[half + 1]) * total;
            out.push(sums.partition_point(|s| *s <= at).min(classes - 1) as i64);
        }
    }
    match args.ty().dtype {
        Int64 => args.result(out),
        _ => args.result(out.into_iter().map(|v| v as i32).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn philox_gives_the_published_vectors() {
        // Random123, `kat_vectors`: philox4x32 10 with all zeros and all ones.
        let mut zero = Philox { key: [0; 2], counter: [0; 4] };
        assert_eq!(zero.words(), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        let mut ones = Philox { key: [u32::MAX; 2], counter: [u32::MAX; 4] };
        assert_eq!(ones.words(), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    }
}
