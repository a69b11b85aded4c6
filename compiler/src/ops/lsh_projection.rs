//! LSH_PROJECTION: signs of sums of hashes of an input's items.
//!
//! A hash is FarmHash's 64-bit fingerprint of a seed (an f32, as its bytes) and an item (all bytes behind the first dimension). Strings, and items of more
//! than 60 bytes, are not supported. Sources: TFLite `kernels/lsh_projection.cc`; FarmHash, `farmhashna::Hash64`.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Float32, Int32, Resource, String, Variant};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use tflc_templates::cpu::fingerprint::{MOST_KEY_BYTES, ProjectionSpec};

/// LSH_PROJECTION.
pub(super) const LSH_PROJECTION: Operator = Operator::new(infer, Eval::Direct(eval));

/// Everything static about a projection.
pub(crate) fn projection(call: &Call<'_>) -> Result<ProjectionSpec, CompileError> {
    call.arity(2, 3, 1)?;
    call.dtype_among(0, &[Float32])?;
    let [hashes, bits] = call.dims::<2>(0)?;
    let x = call.input(1)?;
    if matches!(x.dtype, String | Resource | Variant) || x.dtype.bits() < 8 {
        return Err(call.unsupported(Unsupported::Types(x.dtype.to_string())));
    }
    let (items, item_bytes) = match x.shape.split_first() {
        Some((&items, inner)) if items > 0 => (items, inner.iter().product::<usize>().saturating_mul(x.dtype.bits() / 8)),
        _ => return Err(call.invalid(format!("an input of shape {:?}", x.shape))),
    };
    if hashes == 0 || bits > 32 {
        return Err(call.invalid(format!("{hashes} hashes of {bits} bits")));
    }
    if item_bytes > MOST_KEY_BYTES - 4 {
        return Err(call.unsupported(Unsupported::Shape(format!("items of {item_bytes} bytes, more than {}", MOST_KEY_BYTES - 4))));
    }
    let weighted = call.optional(2).is_some();
    if weighted {
        call.dtype_among(2, &[Float32])?;
        if call.dims::<1>(2)? != [items] {
            return Err(call.invalid(format!("{:?} weights of {items} items", call.input(2)?.shape)));
        }
    }
    let sparse = match call.attrs.name("type", "UNKNOWN") {
        "SPARSE" => true,
        "DENSE" => false,
        other => return Err(call.invalid(format!("a projection of type {other}"))),
    };
    Ok(ProjectionSpec { hashes, bits, items, item_bytes, weighted, sparse })
}

fn infer(call: &Call<'_>) -> Inferred {
    let p = projection(call)?;
    Ok(vec![call.result(0, Int32, [if p.sparse { p.hashes } else { p.hashes * p.bits }])?])
}

fn eval(args: &Args<'_>) -> Results {
    let p = projection(args.call)?;
    let (seeds, items) = (args.floats(0)?, args.value(1)?.bytes());
    let weights = args.optional(2).map(|_| args.floats(2)).transpose()?;
    let bit = |seed: f32| {
        let mut score = 0f64;
        for n in 0..p.items {
            let key = [&seed.to_le_bytes()[..], &items[n * p.item_bytes..(n + 1) * p.item_bytes]].concat();
            let value = fingerprint(&key) as i64 as f64;
            score += weights.as_ref().map_or(value, |w| f64::from(w[n]) * value);
        }
        score > 0.0
    };
    let bits: Vec<i32> = seeds.iter().map(|s| i32::from(bit(*s))).collect();
    if !p.sparse {
        return args.result(bits);
    }
    let pack = |(i, row): (usize, &[i32])| row.iter().fold(0i64, |a, b| a * 2 + i64::from(*b)).wrapping_add((i as i64) << p.bits) as i32;
    args.result(bits.chunks(p.bits.max(1)).enumerate().map(pack).collect())
}

const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

fn mix(u: u64, v: u64, mul: u64) -> u64 {
    let fold = |x: u64| x ^ x >> 47;
    let x = fold((u ^ v).wrapping_mul(mul));
    fold((v ^ x).wrapping_mul(mul)).wrapping_mul(mul)
}

/// FarmHash's fingerprint of 4 to 64 bytes.
fn fingerprint(key: &[u8]) -> u64 {
    let n = key.len();
    let word = |at: usize| key[at..at + 8].iter().rev().fold(0u64, |a, b| a << 8 | u64::from(*b));
    let half = |at: usize| key[at..at + 4].iter().rev().fold(0u64, |a, b| a << 8 | u64::from(*b));
    let mul = K2.wrapping_add(2 * n as u64);
    if n < 8 {
        return mix(n as u64 + (half(0) << 3), half(n - 4), mul);
    }
    if n <= 16 {
        let (a, b) = (word(0).wrapping_add(K2), word(n - 8));
        let c = b.rotate_right(37).wrapping_mul(mul).wrapping_add(a);
        return mix(c, a.rotate_right(25).wrapping_add(b).wrapping_mul(mul), mul);
    }
    let a = word(0).wrapping_mul(if n <= 32 { K1 } else { K2 });
    let (b, c, d) = (word(8), word(n - 8).wrapping_mul(mul), word(n - 16).wrapping_mul(K2));
    let y = a.wrapping_add(b).rotate_right(43).wrapping_add(c.rotate_right(30)).wrapping_add(d);
    let z = mix(y, a.wrapping_add(b.wrapping_add(K2).rotate_right(18)).wrapping_add(c), mul);
    if n <= 32 {
        return z;
    }
    let (e, f) = (word(16).wrapping_mul(mul), word(24));
    let (g, h) = (y.wrapping_add(word(n - 32)).wrapping_mul(mul), z.wrapping_add(word(n - 24)).wrapping_mul(mul));
    let first = e.wrapping_add(f).rotate_right(43).wrapping_add(g.rotate_right(30)).wrapping_add(h);
    mix(first, e.wrapping_add(f.wrapping_add(a).rotate_right(18)).wrapping_add(g), mul)
}
