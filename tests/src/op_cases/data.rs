//! Operand data: special values in every pairing first, then random ones. Deterministic.

use tflc_kir::{Elem, Type};

/// Restriction of the values of an operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// Anything, NaN and infinity included.
    Any,
    /// Floats of magnitude at most 2^30, no NaN; integers as `Any`.
    Convertible,
    /// Small integers: shift amounts around the lane width, indices.
    Small,
    /// Integers other than 0 and -1.
    Divisor,
    /// 16 bits that are binary16: special values, and numbers around 1.
    Halves,
}

/// A small deterministic generator (xorshift64*, Vigna 2016, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator seeded by a text.
    pub fn new(seed: &str) -> Rng {
        // FNV-1a.
        Rng(seed.bytes().fold(0xcbf2_9ce4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)) | 1)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }
}

const FLOATS: &[f64] = &[
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.49999997,
    3.7,
    -3.2,
    4194304.5,
    -4194305.5,
    8388607.5,
    8388608.0,
    16777217.0,
    1e9,
    -1e9,
    65504.0,
    65519.9,
    65520.0,
    5.96e-8,
    2.98e-8,
    6.1e-5,
    1e-40,
    -1e-45,
    4503599627370495.5,
    4503599627370496.0,
    1e300,
    f64::MAX,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::NAN,
];

/// Zeros, ones, subnormals, the smallest normal, the largest numbers, infinities, NaN.
const HALVES: [u16; 12] = [0, 0x8000, 0x3C00, 0xBC00, 0x0001, 0x83FF, 0x0400, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00];

/// `rows` values of type `ty`, as bytes.
pub(super) fn fill(rng: &mut Rng, ty: Type, kind: Kind, rows: usize, operand: usize) -> Vec<u8> {
    let count = rows * usize::from(ty.lanes);
    let bytes = (ty.elem.bits() / 8) as usize;
    let mut out = vec![];
    for i in 0..count {
        let v = if ty.elem.is_float() { float(rng, ty.elem, kind, i, operand) } else { int(rng, ty.elem.bits(), kind, i, operand) };
        out.extend(&v.to_le_bytes()[..bytes]);
    }
    out
}

fn int(rng: &mut Rng, bits: u32, kind: Kind, i: usize, operand: usize) -> u64 {
    let top = 1u64 << (bits - 1);
    let specials = [0, 1, u64::MAX, top, top - 1, 2, top + 1, 127, 128, 255, 0x7FFF, 0x8000];
    let v = match kind {
        Kind::Halves if i < 144 => return u64::from(HALVES[if operand == 0 { i % 12 } else { i / 12 }]),
        Kind::Halves if rng.below(4) == 0 => return u64::from(HALVES[rng.below(12) as usize]),
        // Exponents from -7 to 8, any sign and fraction.
        Kind::Halves => return (rng.bits() & 0x83FF) | ((8 + rng.below(16)) << 10),
        Kind::Small => return rng.below(u64::from(bits) + 3),
        _ if i < 144 && operand == 0 => specials[i % 12],
        _ if i < 144 => specials[i / 12],
        _ if rng.below(4) == 0 => specials[rng.below(12) as usize],
        _ => rng.bits() >> rng.below(u64::from(bits)),
    };
    let low = v & (u64::MAX >> (64 - bits));
    if kind == Kind::Divisor && (low == 0 || low == u64::MAX >> (64 - bits)) { 3 } else { v }
}

fn float(rng: &mut Rng, elem: Elem, kind: Kind, i: usize, operand: usize) -> u64 {
    let special = match operand {
        0 if i < FLOATS.len() => Some(FLOATS[i]),
        _ if i < FLOATS.len() => Some(FLOATS[i * 7 % FLOATS.len()]),
        _ if rng.below(4) == 0 => Some(FLOATS[rng.below(FLOATS.len() as u64) as usize]),
        _ => None,
    };
    let v = match special {
        Some(v) => v,
        // Any bit pattern, or a number of moderate size.
        None if rng.below(3) == 0 && kind == Kind::Any => {
            return if elem == Elem::F32 { rng.bits() & 0xFFFF_FFFF } else { rng.bits() };
        }
        None => (rng.bits() as i64 as f64) / 2f64.powi(30 + rng.below(40) as i32),
    };
    let v = if kind == Kind::Convertible && (v.is_nan() || v.abs() > 1_073_741_824.0) { 12345.5 } else { v };
    if elem == Elem::F32 { u64::from((v as f32).to_bits()) } else { v.to_bits() }
}
