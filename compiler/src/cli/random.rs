//! Seeded random inputs for models that are run without any.
//!
//! Floats and both parts of complex numbers are multiples of 1/128 in [-1, 1); 8- and 16-bit integers cover their whole
//! range; wider integers lie in [0, 10), where most models' indices are valid; truth values are even. The same seed, type
//! and shape give the same tensor on every machine and in every version.

use crate::cli::tensor::{HostTensor, byte_len};
use crate::ir::DType;
use crate::ops::packed::byte_type;
use anyhow::{Context, Result, bail};

/// A random tensor.
///
/// # Errors
/// For types without a width in bytes, and where there is not enough memory.
pub fn random(dtype: DType, shape: &[usize], seed: u64) -> Result<HostTensor> {
    let len = byte_len(dtype, shape)?;
    let mut data = Vec::new();
    data.try_reserve_exact(len).with_context(|| format!("no memory for {dtype} {shape:?}"))?;
    let mut rng = SplitMix64(seed);
    while data.len() < len {
        let step = rng.next() >> 56; // 0..256
        let real = step as f32 / 128.0 - 1.0;
        match dtype {
            DType::Float32 | DType::Complex64 => data.extend(real.to_le_bytes()),
            DType::Float64 | DType::Complex128 => data.extend(f64::from(real).to_le_bytes()),
            DType::Float16 => data.extend(half::f16::from_f32(real).to_le_bytes()),
            DType::BFloat16 => data.extend(half::bf16::from_f32(real).to_le_bytes()),
            DType::Int8 | DType::UInt8 | DType::Int4 | DType::UInt4 | DType::Int2 => data.push(step as u8),
            DType::Int16 | DType::UInt16 => data.extend(((rng.next() >> 48) as u16).to_le_bytes()),
            DType::Int32 | DType::UInt32 => data.extend((rng.below(10) as u32).to_le_bytes()),
            DType::Int64 | DType::UInt64 => data.extend(rng.below(10).to_le_bytes()),
            DType::Bool => data.push((step & 1) as u8),
            other => bail!("there are no random inputs of type {other}"),
        }
    }
    if byte_type(dtype).is_some() {
        let elements = HostTensor::new(dtype, shape, data)?;
        return elements.packed(dtype);
    }
    HostTensor::new(dtype, shape, data)
}

/// Source: G. Steele, D. Lea, C. Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014; constants of
/// `java.util.SplittableRandom`.
struct SplitMix64(u64);

impl SplitMix64 {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in [0, n), by the upper half of the product; even enough for small n.
    fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(dtype: DType) -> Vec<f64> {
        random(dtype, &[40, 100], 7).unwrap().to_f64(None).unwrap()
    }

    #[test]
    fn ranges_are_filled_and_kept() {
        for (dtype, low, high) in [
            (DType::Float32, -1.0, 127.0 / 128.0),
            (DType::Float16, -1.0, 127.0 / 128.0),
            (DType::Float64, -1.0, 127.0 / 128.0),
            (DType::Int8, -128.0, 127.0),
            (DType::UInt8, 0.0, 255.0),
            (DType::Int32, 0.0, 9.0),
            (DType::UInt64, 0.0, 9.0),
            (DType::Bool, 0.0, 1.0),
        ] {
            let v = values(dtype);
            assert_eq!(v.iter().copied().fold(f64::MAX, f64::min), low, "{dtype}");
            assert_eq!(v.iter().copied().fold(f64::MIN, f64::max), high, "{dtype}");
            assert!(!dtype.is_float() || v.iter().all(|x| (x * 128.0).fract() == 0.0), "{dtype}");
        }
        assert!(values(DType::Int16).iter().any(|&x| x < -32000.0) && values(DType::UInt16).iter().any(|&x| x > 65000.0));
    }

    #[test]
    fn the_seed_decides() {
        let make = |seed| random(DType::Int8, &[16], seed).unwrap();
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
        // The generator's published first values for seed 0.
        let mut rng = SplitMix64(0);
        assert_eq!([rng.next(), rng.next()], [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4]);
    }

    #[test]
    fn absurd_requests_are_refused() {
        assert!(random(DType::Float32, &[usize::MAX / 8], 0).is_err());
        assert!(random(DType::String, &[1], 0).is_err());
        assert_eq!(random(DType::Float32, &[0, 4], 0).unwrap().elements(), 0);
    }
}
