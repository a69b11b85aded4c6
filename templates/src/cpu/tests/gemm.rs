//! GEMM: below, at and above the register tile and the stages of long rows, odd strides, partial columns, extreme bytes.

use super::*;
use crate::cpu::gemm::{GemmSpec, build, folded_bias, pack_b, units};
use crate::cpu::mac::WeightFormat;

const SHAPES: [(usize, usize, usize); 38] = [
    (1, 1, 1),
    (1, 40, 9),
    (1, 130, 33),
    (2, 17, 5),
    (3, 64, 16),
    (4, 15, 130),
    (5, 7, 3),
    (6, 16, 4),
    (7, 33, 8),
    (13, 32, 12),
    (14, 32, 64),
    (15, 31, 31),
    (29, 48, 2),
    (49, 24, 17),
    (57, 96, 19),
    (130, 65, 6),
    (3, 5, 1031),
    (2, 9, 513),
    (5, 20, 1026),
    (3, 33, 2048),
    // Two tiles of rows, evenly and not; several steps of K; more panels than go through the epilogue at once; floats that end amid a step.
    (34, 40, 68),
    (41, 33, 96),
    (18, 150, 128),
    (37, 34, 75),
    // Halves by tiles: rows of one to four tiles, K of one chunk and of several, partial columns and steps, several groups of panels; blocks of more rows.
    (9, 64, 50),
    (25, 49, 70),
    (32, 200, 1100),
    (33, 70, 57),
    (49, 176, 420),
    (49, 176, 480),
    (18, 70, 64),
    (64, 345, 96),
    (67, 50, 57),
    (98, 100, 64),
    (131, 48, 64),
    (97, 150, 75),
    // Halves that are widened for many rows: a panel at once, and in several stretches of K, with a partial panel.
    (45, 31, 88),
    (39, 41, 2200),
];
/// Shapes from this one on have weights of halves.
const HALVES: usize = 24;

#[test]
fn f32_gemm_with_every_operand() {
    for (name, caps) in targets() {
        for (i, (m, n, k)) in SHAPES.into_iter().enumerate() {
            let mut random = Random::new(i as u64);
            let (lda, ldc, ldr) = (k + random.below(3), n + random.below(4), n + random.below(2));
            let weights = if i >= HALVES || i % 3 == 2 || caps.f16 { WeightFormat::F16 } else { WeightFormat::F32 };
            let epilogue = every_operand(ldr as i64 * 4);
            let spec = GemmSpec { m, n, k, lda, ldc, a_storage: Storage::F32, weights, epilogue };
            let (a, w) = (random.floats((m - 1) * lda + k), random.floats(n * k));
            let (bias, row, residual, scalar) = (random.floats(n), random.floats(m), random.floats((m - 1) * ldr + n), random.float());
            let source = weight_bytes(weights, &w);
            let packed = pack_b(&spec, &caps, &source);
            let operands = [f32_bytes(&bias), f32_bytes(&row), f32_bytes(&residual), f32_bytes(&[scalar])];
            let kernel = build(&spec, &caps);
            let label = format!("{name} {} {m}x{n}x{k}", kernel.name);
            let c = execute(&label, &caps, &kernel, &f32_bytes(&a), &packed, ((m - 1) * ldc + n) * 4, &operands, units(&spec, &caps));
            for (at, bytes) in c.chunks_exact(4).enumerate() {
                let (r, col) = (at / ldc, at % ldc);
                if col >= n {
                    assert_eq!(bytes, [CANARY; 4], "{label}: wrote column {col} of row {r}");
                    continue;
                }
                let acc: f64 = (0..k).map(|j| f64::from(a[r * lda + j]) * f64::from(w[col * k + j])).sum();
                let want =
                    -((acc + f64::from(bias[col])).max(0.0) * f64::from(row[r]) + f64::from(residual[r * ldr + col]) + f64::from(scalar));
                let got = f64::from(f32::from_le_bytes(bytes.try_into().unwrap()));
                let products = (0..k).map(|j| a[r * lda + j] * w[col * k + j]);
                let bound = 1e-4 * (1.0 + want.abs()) + halves_error(&caps, bias[col], products) * f64::from(row[r].abs());
                assert!((got - want).abs() <= bound, "{label}: [{r}, {col}] is {got}, not {want}");
            }
        }
    }
}

#[test]
fn halves_are_widened_at_once_or_in_stretches() {
    let caps = Caps::x86_64_v3();
    for ((m, n, k), buffers) in [((6, 48, 64), 0), ((45, 31, 88), 1), ((39, 41, 2200), 2)] {
        let epilogue = Epilogue::identity(Storage::F32);
        let spec = GemmSpec { m, n, k, lda: k, ldc: n, a_storage: Storage::F32, weights: WeightFormat::F16, epilogue };
        assert_eq!(build(&spec, &caps).to_string().matches(" scratch ").count(), buffers, "{m}x{n}x{k}");
    }
}

#[test]
fn int8_gemm_is_exact() {
    let formats =
        [WeightFormat::I8, WeightFormat::U8 { zero_point: 128 }, WeightFormat::U8 { zero_point: 0 }, WeightFormat::U8 { zero_point: 201 }];
    for (name, caps) in targets() {
        for (i, (m, n, k)) in SHAPES.into_iter().enumerate() {
            for a_storage in [Storage::U8, Storage::I8] {
                let mut random = Random::new(i as u64 + 100);
                let weights = formats[(i + usize::from(a_storage == Storage::I8)) % 4];
                let (lda, ldc) = (k + random.below(3), n + random.below(4));
                let zero_point = [0, 255, 128, 3][i % 4] - if a_storage == Storage::I8 { 128 } else { 0 };
                let out_zp = if a_storage == Storage::I8 { -7 } else { 131 };
                let spec = GemmSpec { m, n, k, lda, ldc, a_storage, weights, epilogue: requantize(a_storage, out_zp) };
                let (a, w) = (random.bytes((m - 1) * lda + k), random.bytes(n * k));
                let bias: Vec<i32> = (0..n).map(|_| random.next() as i32 % 20000).collect();
                let scale: Vec<f32> = (0..n).map(|_| 0.0007 + random.below(100) as f32 * 1e-5 / (k as f32).sqrt()).collect();
                let operands = [i32_bytes(&folded_bias(&spec, &caps, Some(&bias), &w, zero_point)), f32_bytes(&scale)];
                let kernel = build(&spec, &caps);
                let label = format!("{name} {} {m}x{n}x{k} {weights:?}", kernel.name);
                let packed = pack_b(&spec, &caps, &w);
                let c = execute(&label, &caps, &kernel, &a, &packed, (m - 1) * ldc + n, &operands, units(&spec, &caps));
                let activation = |i: usize| if a_storage == Storage::I8 { i32::from(a[i] as i8) } else { i32::from(a[i]) };
                let weight = |i: usize| match weights {
                    WeightFormat::U8 { zero_point } => i32::from(w[i]) - zero_point,
                    _ => i32::from(w[i] as i8),
                };
                for (at, &got) in c.iter().enumerate() {
                    let (r, col) = (at / ldc, at % ldc);
                    if col >= n {
                        assert_eq!(got, CANARY, "{label}: wrote column {col} of row {r}");
                        continue;
                    }
                    let acc = (0..k).map(|j| (activation(r * lda + j) - zero_point) * weight(col * k + j)).sum::<i32>() + bias[col];
                    assert_eq!(got, requantized(a_storage, acc, scale[col], out_zp), "{label}: [{r}, {col}], accumulator {acc}");
                }
            }
        }
    }
}
