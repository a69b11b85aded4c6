//! Random tensor values, the same for the same seed on every machine.

use tflc::ir::{DType, TensorType};
use tflc::ops::Value;

/// SplitMix64. Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 17.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for a seed.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + (self.bits() % (high - low + 1) as u64) as i64
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of these.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    /// A float in `[-1, 1)`.
    pub fn signed_unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// A value of a type: floats in [-4, 4) with some exact zeros and halves, quantised and narrow integers over their range, wide integers up to 1000.
/// A complex number is two floats; of packed integers the bits behind the last are zero.
///
/// # Panics
/// For types without numbers.
pub fn random_value(rng: &mut Rng, ty: &TensorType) -> Value {
    let mut data = Vec::with_capacity(ty.bytes());
    let n = ty.elements();
    let float = |rng: &mut Rng| match rng.below(12) {
        0 => 0.0,
        1 => rng.between(-8, 8) as f32 * 0.5,
        _ => rng.signed_unit() * 4.0,
    };
    if matches!(ty.dtype, DType::Int4 | DType::UInt4 | DType::Int2) {
        data.extend((0..ty.bytes()).map(|_| rng.bits() as u8));
        let used = n * ty.dtype.bits() % 8;
        if let (Some(last), true) = (data.last_mut(), used != 0) {
            *last &= (1 << used) - 1;
        }
        return Value { ty: ty.clone(), data: data.into() };
    }
    for _ in 0..n {
        match ty.dtype {
            DType::Complex64 => data.extend([float(rng), float(rng)].iter().flat_map(|v| v.to_le_bytes())),
            DType::Complex128 => data.extend([float(rng), float(rng)].iter().flat_map(|v| f64::from(*v).to_le_bytes())),
            DType::Float32 => data.extend(float(rng).to_le_bytes()),
            DType::Float16 => data.extend(half::f16::from_f32(float(rng)).to_le_bytes()),
            DType::BFloat16 => data.extend(half::bf16::from_f32(float(rng)).to_le_bytes()),
            DType::Float64 => data.extend(f64::from(float(rng)).to_le_bytes()),
            DType::Bool => data.push(rng.below(2) as u8),
            DType::Int8 | DType::UInt8 | DType::Int16 | DType::UInt16 => data.extend(&rng.bits().to_le_bytes()[..ty.dtype.bits() / 8]),
            DType::Int32 | DType::Int64 | DType::Resource => data.extend(&rng.between(-1000, 1000).to_le_bytes()[..ty.dtype.bits() / 8]),
            DType::UInt32 | DType::UInt64 => data.extend(&rng.between(0, 1000).to_le_bytes()[..ty.dtype.bits() / 8]),
            other => panic!("no random values of {other}"),
        }
    }
    Value { ty: ty.clone(), data: data.into() }
}
