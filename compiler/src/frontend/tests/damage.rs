//! Damaged files: truncated anywhere, bits flipped, bytes overwritten. Nothing may panic, hang or grow.

use super::corpus::models;
use super::sample::{every_field, sample_bytes};
use crate::frontend::{Limits, fuzz_frontend, verify, write_model};

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

/// Damages `bytes` in 1 to 4 places: a flipped bit, a random byte, or an extreme word.
fn damage(bytes: &mut [u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        match random.below(3) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = random.next() as u8,
            _ => {
                let word = [0, 1, 4, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, bytes.len() as u32][random.below(7)];
                let end = (at + 4).min(bytes.len());
                bytes[at..end].copy_from_slice(&word.to_le_bytes()[..end - at]);
            }
        }
    }
}

/// Runs the front end; what passes must not have grown.
fn survive(bytes: &[u8]) {
    fuzz_frontend(bytes);
    if let Ok(model) = verify(bytes, &Limits::default()) {
        let written = write_model(&model.unpack()).unwrap();
        assert!(written.len() <= 16 * bytes.len() + (1 << 20), "{} from {}", written.len(), bytes.len());
    }
}

#[test]
fn truncated_at_every_length() {
    let bytes = sample_bytes();
    for len in 0..bytes.len() {
        fuzz_frontend(&bytes[..len]);
        if len < bytes.len() - 16 {
            assert!(verify(&bytes[..len], &Limits::default()).is_err(), "{len} of {}", bytes.len());
        }
    }
}

#[test]
fn every_bit_of_the_sample_flipped() {
    let good = sample_bytes();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        survive(&bytes);
    }
}

#[test]
fn random_damage_to_small_models() {
    let mut random = Random(1);
    for good in [sample_bytes(), every_field(1, 1), every_field(126, 23), every_field(68, 7)] {
        for _ in 0..2000 {
            let mut bytes = good.clone();
            damage(&mut bytes, &mut random);
            survive(&bytes);
        }
    }
}

#[test]
fn random_bytes_behind_a_good_head() {
    let mut random = Random(2);
    for _ in 0..5000 {
        let len = 8 + random.below(200);
        let mut bytes: Vec<u8> =
            (0..len).map(|_| if random.below(3) == 0 { random.next() as u8 } else { random.below(12) as u8 }).collect();
        bytes[4..8].copy_from_slice(b"TFL3");
        bytes[..4].copy_from_slice(&(8 + random.below(len) as u32).to_le_bytes());
        survive(&bytes);
    }
}

#[test]
fn damage_to_real_models() {
    let mut random = Random(3);
    let small = models().into_iter().filter(|path| std::fs::metadata(path).is_ok_and(|meta| meta.len() < 200_000));
    for path in small.step_by(8) {
        let good = std::fs::read(&path).unwrap();
        for _ in 0..20 {
            let mut bytes = good.clone();
            damage(&mut bytes, &mut random);
            survive(&bytes);
            survive(&good[..random.below(good.len())]);
        }
    }
}
