//! Dynamic quantisation against the formulas of numerics.md, one row at a time.

use super::{CANARY, Random, f32_bytes, targets};
use crate::cpu::quantize_rows::{QuantizeRowsSpec, Rule};
use crate::expr::Storage;
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::{legal, verify};

/// Quantised values (without the zero point added), scale and zero point of a row.
fn even(x: &[f32]) -> (Vec<i32>, f32, i32) {
    let (lo, hi) = x.iter().fold((0f32, 0f32), |(l, h), v| (l.min(*v), h.max(*v)));
    let k = if lo == hi { 1.0 } else { 255.0 / (hi - lo) };
    let (low, high) = (lo * k, hi * k);
    let z = if (-128.0 + low) + (127.0 + high) > 0.0 { -128.0 - low } else { 127.0 - high };
    let z = z.clamp(-128.0, 127.0).round_ties_even() as i32;
    (x.iter().map(|v| ((v * k).round_ties_even() as i32 + z).clamp(-128, 127)).collect(), 1.0 / k, z)
}

fn away(x: &[f32]) -> (Vec<i32>, f32, i32) {
    let (lo, hi) = x.iter().fold((0f32, 0f32), |(l, h), v| (l.min(*v), h.max(*v)));
    if lo == hi {
        return (vec![0; x.len()], 1.0, 0);
    }
    let d = f64::from(hi - lo) / 255.0;
    let (low, high) = (f64::from(lo) / d, f64::from(hi) / d);
    let z = if 128.0 + low.abs() < 127.0 + high.abs() { -128.0 - low } else { 127.0 - high };
    let z = (z.round() as i32).clamp(-128, 127);
    (rounded(x, 1.0 / d as f32).map(|r| (r + z).clamp(-128, 127)).collect(), d as f32, z)
}

fn symmetric(x: &[f32]) -> (Vec<i32>, f32, i32) {
    let most = x.iter().fold(0f32, |m, v| m.max(v.abs()));
    if most == 0.0 {
        return (vec![0; x.len()], 1.0, 0);
    }
    (rounded(x, 127.0 / most).collect(), most / 127.0, 0)
}

fn rounded(x: &[f32], multiplier: f32) -> impl Iterator<Item = i32> {
    let whole = x.len() / 8 * 8;
    x.iter().enumerate().map(move |(i, v)| {
        let v = v * multiplier;
        if i < whole { (v + 0.5f32.copysign(v)) as i32 } else { v.round() as i32 }
    })
}

fn rows_of(n: usize) -> Vec<f32> {
    let mut random = Random::new(n as u64);
    let mut x: Vec<f32> = vec![];
    for row in 0..7 {
        let wide = (0..n).map(|_| (random.next() % 100_003) as f32 / 7919.0 - 5.0);
        x.extend(match row {
            // Zeros alone, one sign alone, ties, and numbers of all sizes.
            0 => vec![0.0; n],
            1 => wide.map(f32::abs).collect(),
            2 => wide.map(|v| -v.abs() - 1.0).collect(),
            3 => (0..n).map(|i| [255.0, 0.0, 0.5, 1.5, 2.5, 126.5, 127.5][i % 7]).collect(),
            4 => wide.map(|v| v * 1e-30).collect(),
            5 => wide.map(|v| v * 1e30).collect(),
            _ => wide.collect::<Vec<f32>>(),
        });
    }
    x
}

#[test]
fn rows_are_quantised_by_their_own_range() {
    for (rule, naive) in [(Rule::Even, even as fn(&[f32]) -> _), (Rule::Away, away), (Rule::Symmetric, symmetric)] {
        for storage in [Storage::I8, Storage::U8, Storage::I16] {
            for n in [1, 3, 8, 16, 21, 63, 64, 300] {
                let x = rows_of(n);
                let rows = x.len() / n;
                let offset = if storage == Storage::U8 { 128 } else { 0 };
                let (mut q, mut scales, mut zeros) = (vec![], vec![], vec![]);
                for row in x.chunks(n) {
                    let (values, scale, zero): (Vec<i32>, f32, i32) = naive(row);
                    q.extend(values.iter().flat_map(|v| match storage {
                        Storage::I16 => ((v - zero) as i16).to_le_bytes().to_vec(),
                        _ => vec![(v + offset) as u8],
                    }));
                    scales.extend(scale.to_le_bytes());
                    zeros.extend((zero + offset).to_le_bytes());
                }
                let spec = QuantizeRowsSpec { rows, n, storage, rule };
                for (target, caps) in targets() {
                    let kernel = spec.build(&caps);
                    let name = format!("{spec:?} on {target}");
                    verify(&kernel).unwrap_or_else(|e| panic!("{name}: {e}"));
                    assert!(kernel.types.iter().all(|t| legal(*t, &caps)), "{name}: a type that is no register");
                    let bytes = f32_bytes(&x);
                    let mut memory = Memory::new();
                    let mut args = vec![Arg::Ptr(memory.add_shared(&bytes))];
                    for expected in [&q, &scales, &zeros] {
                        args.push(Arg::Ptr(memory.add(vec![CANARY; expected.len()])));
                    }
                    for (begin, end) in [(3, rows as i64), (0, 3)] {
                        run(&kernel, &args, &mut memory, begin, end).unwrap_or_else(|e| panic!("{name}: {e}\n{kernel}"));
                    }
                    assert_eq!(memory.bytes(2), scales, "{name}: scales");
                    assert_eq!(memory.bytes(3), zeros, "{name}: zero points");
                    assert_eq!(memory.bytes(1), q, "{name}");
                }
            }
        }
    }
}
