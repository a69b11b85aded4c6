//! Transposed convolution: strides below, at and above the kernel, paddings, outputs that no tap reaches.

use super::*;
use crate::cpu::mac::WeightFormat;
use crate::cpu::transpose_conv::{TransposeConvSpec, build, pack_b, units};

/// Shape of a case: input h w c, output h w c, kernel, stride, padding.
type Shape = ([usize; 3], [usize; 3], [usize; 2], [usize; 2], [usize; 2]);

const SHAPES: [Shape; 9] = [
    ([1, 1, 1], [1, 1, 1], [1, 1], [1, 1], [0, 0]),
    ([3, 4, 5], [6, 8, 7], [2, 2], [2, 2], [0, 0]),
    ([3, 5, 4], [6, 10, 18], [3, 3], [2, 2], [0, 0]),
    ([4, 4, 3], [8, 8, 16], [4, 4], [2, 2], [1, 1]),
    ([3, 3, 8], [6, 5, 33], [3, 4], [2, 2], [0, 1]),
    ([2, 6, 6], [8, 18, 5], [1, 2], [4, 3], [0, 0]),
    ([4, 3, 9], [4, 3, 20], [3, 3], [1, 1], [1, 1]),
    ([1, 7, 2], [1, 35, 3], [1, 10], [1, 5], [0, 2]),
    ([2, 9, 130], [5, 21, 3], [5, 5], [2, 2], [1, 1]),
];

fn case(i: usize, shape: &Shape, a_storage: Storage, random: &mut Random) -> TransposeConvSpec {
    let (input, output, kernel, stride, pad) = *shape;
    TransposeConvSpec {
        batch: 1 + i % 2,
        input,
        in_pixel: input[2] + random.below(2),
        output,
        ldc: output[2] + random.below(3),
        kernel,
        stride,
        pad,
        a_storage,
        a_zero_point: Some(0),
        weights: if a_storage == Storage::F32 { WeightFormat::F32 } else { WeightFormat::I8 },
        epilogue: Epilogue::identity(Storage::F32),
    }
}

/// For each output element, the pairs of input element and weight that it sums.
fn pairs(s: &TransposeConvSpec) -> Vec<Vec<(usize, usize)>> {
    let [out_h, out_w, out_c] = s.output;
    let mut all = vec![vec![]; s.batch * out_h * out_w * out_c];
    for pixel in 0..s.batch * s.input[0] * s.input[1] {
        let (image, y, x) = (pixel / (s.input[0] * s.input[1]), pixel / s.input[1] % s.input[0], pixel % s.input[1]);
        for tap in 0..s.kernel[0] * s.kernel[1] {
            let (ky, kx) = (tap / s.kernel[1], tap % s.kernel[1]);
            let (oy, ox) = ((y * s.stride[0] + ky).wrapping_sub(s.pad[0]), (x * s.stride[1] + kx).wrapping_sub(s.pad[1]));
            if oy >= out_h || ox >= out_w {
                continue;
            }
            for n in 0..out_c {
                let out = &mut all[((image * out_h + oy) * out_w + ox) * out_c + n];
                out.extend((0..s.input[2]).map(|c| (pixel * s.in_pixel + c, ((n * s.kernel[0] + ky) * s.kernel[1] + kx) * s.input[2] + c)));
            }
        }
    }
    all
}

fn run_case(label: &str, caps: &Caps, spec: &TransposeConvSpec, a: &[u8], w: &[u8], operands: &[Vec<u8>]) -> Vec<u8> {
    let kernel = build(spec, caps);
    let bytes = spec.epilogue.expr.output.bytes();
    let pixels = spec.batch * spec.output[0] * spec.output[1];
    let size = ((pixels - 1) * spec.ldc + spec.output[2]) * bytes;
    let c = execute(label, caps, &kernel, a, &pack_b(spec, caps, w), size, operands, units(spec, caps));
    for (i, chunk) in c.chunks_exact(bytes).enumerate() {
        assert!(i % spec.ldc < spec.output[2] || chunk.iter().all(|&b| b == CANARY), "{label}: wrote between pixels at {i}");
    }
    c
}

#[test]
fn f32_transpose_conv_with_every_operand() {
    for (name, caps) in targets() {
        for (i, shape) in SHAPES.iter().enumerate() {
            let mut random = Random::new(i as u64);
            let mut spec = case(i, shape, Storage::F32, &mut random);
            let out_c = spec.output[2];
            spec.weights = float_weights(&caps);
            spec.epilogue = every_operand(out_c as i64 * 4);
            let pixels = spec.batch * spec.output[0] * spec.output[1];
            let a = random.floats((spec.batch * spec.input[0] * spec.input[1] - 1) * spec.in_pixel + spec.input[2]);
            let w = random.floats(out_c * spec.kernel[0] * spec.kernel[1] * spec.input[2]);
            let (bias, row, residual, scalar) =
                (random.floats(out_c), random.floats(pixels), random.floats(pixels * out_c), random.float());
            let operands = [f32_bytes(&bias), f32_bytes(&row), f32_bytes(&residual), f32_bytes(&[scalar])];
            let label = format!("{name} {shape:?}");
            let c = run_case(&label, &caps, &spec, &f32_bytes(&a), &weight_bytes(spec.weights, &w), &operands);
            for (at, pairs) in pairs(&spec).iter().enumerate() {
                let (p, n) = (at / out_c, at % out_c);
                let acc: f64 = pairs.iter().map(|&(i, j)| f64::from(a[i]) * f64::from(w[j])).sum();
                let want = -((acc + f64::from(bias[n])).max(0.0) * f64::from(row[p]) + f64::from(residual[at]) + f64::from(scalar));
                let from = (p * spec.ldc + n) * 4;
                let got = f64::from(f32::from_le_bytes(c[from..from + 4].try_into().unwrap()));
                let products = pairs.iter().map(|&(i, j)| a[i] * w[j]);
                let bound = 1e-4 * (1.0 + want.abs()) + halves_error(&caps, bias[n], products) * f64::from(row[p].abs());
                assert!((got - want).abs() <= bound, "{label}: pixel {p} channel {n} is {got}, not {want}");
            }
        }
    }
}

#[test]
fn int8_transpose_conv_is_exact() {
    for (name, caps) in targets() {
        for (i, shape) in SHAPES.iter().enumerate() {
            for (a_storage, given) in [(Storage::U8, false), (Storage::I8, false), (Storage::U8, true), (Storage::I8, true)] {
                let mut random = Random::new(i as u64 + 9);
                let mut spec = case(i, shape, a_storage, &mut random);
                let out_c = spec.output[2];
                let zero = [0, 255, 77, 128][i % 4] - if a_storage == Storage::I8 { 128 } else { 0 };
                spec.a_zero_point = (!given).then_some(zero);
                spec.epilogue = requantize(a_storage, 4);
                let a = random.bytes((spec.batch * spec.input[0] * spec.input[1] - 1) * spec.in_pixel + spec.input[2]);
                let w = random.bytes(out_c * spec.kernel[0] * spec.kernel[1] * spec.input[2]);
                let bias: Vec<i32> = (0..out_c).map(|_| random.next() as i32 % 20000).collect();
                let scale: Vec<f32> = (0..out_c).map(|_| 0.0007 + random.below(100) as f32 * 2e-5).collect();
                let label = format!("{name} {shape:?} {a_storage:?}{}", if given { ", zero point given" } else { "" });
                let mut operands = vec![i32_bytes(&bias), f32_bytes(&scale)];
                operands.extend(given.then(|| i32_bytes(&[zero])));
                let c = run_case(&label, &caps, &spec, &a, &w, &operands);
                for (at, pairs) in pairs(&spec).iter().enumerate() {
                    let (p, n) = (at / out_c, at % out_c);
                    let activation = |i: usize| if a_storage == Storage::I8 { i32::from(a[i] as i8) } else { i32::from(a[i]) };
                    let product = |&(i, j): &(usize, usize)| (activation(i) - zero) * i32::from(w[j] as i8);
                    let acc = pairs.iter().map(product).sum::<i32>() + bias[n];
                    assert_eq!(c[p * spec.ldc + n], requantized(a_storage, acc, scale[n], 4), "{label}: pixel {p} channel {n}");
                }
            }
        }
    }
}
