//! Depthwise convolution: kernels, strides, dilations, paddings, multipliers; partial channel blocks; zero points at both ends.

use super::*;
use crate::cpu::depthwise::{DepthwiseSpec, build, folded_bias, pack_b, units};
use crate::cpu::mac::WeightFormat;

/// Shape of a case: input h w c, multiplier, kernel, stride, dilation, whether padded as TFLite's SAME.
type Shape = ([usize; 3], usize, [usize; 2], [usize; 2], [usize; 2], bool);

const SHAPES: [Shape; 22] = [
    ([1, 1, 1], 1, [1, 1], [1, 1], [1, 1], false),
    ([5, 6, 7], 1, [3, 3], [1, 1], [1, 1], true),
    ([4, 30, 16], 1, [3, 3], [1, 1], [1, 1], true),
    ([9, 9, 24], 1, [3, 3], [2, 2], [1, 1], true),
    ([8, 8, 64], 1, [3, 3], [2, 2], [1, 1], true),
    ([7, 7, 65], 1, [5, 5], [1, 1], [1, 1], true),
    ([6, 9, 130], 1, [3, 3], [1, 1], [1, 1], false),
    ([5, 5, 33], 1, [3, 3], [1, 1], [2, 2], true),
    ([10, 4, 8], 1, [7, 7], [1, 1], [1, 1], true),
    ([1, 40, 5], 1, [1, 19], [1, 1], [1, 1], true),
    ([12, 1, 40], 1, [9, 1], [3, 1], [1, 1], true),
    ([6, 6, 1], 8, [3, 3], [2, 2], [1, 1], true),
    ([4, 5, 3], 2, [3, 3], [1, 1], [1, 1], true),
    ([4, 5, 11], 3, [2, 2], [1, 1], [1, 1], true),
    ([3, 4, 2], 37, [3, 3], [1, 1], [1, 1], true),
    ([2, 2, 48], 1, [3, 3], [1, 1], [4, 4], true),
    ([2, 3, 20], 1, [4, 4], [1, 2], [1, 1], true),
    ([3, 3, 96], 1, [3, 3], [1, 1], [1, 1], true),
    ([3, 4, 9], 1, [3, 3], [1, 1], [40, 5000], true),
    // Rows of floats that exceed the first-level cache: all channels at a time, or some of them.
    ([3, 30, 72], 1, [3, 3], [1, 1], [1, 1], true),
    ([3, 9, 301], 1, [3, 3], [1, 1], [1, 1], true),
    ([5, 20, 140], 1, [3, 3], [2, 2], [1, 1], true),
];

fn case(i: usize, shape: &Shape, a_storage: Storage, weights: WeightFormat, random: &mut Random) -> DepthwiseSpec {
    let (input, multiplier, kernel, stride, dilation, same) = *shape;
    let (mut output, mut pad) = ([0, 0], [0, 0]);
    for d in 0..2 {
        let span = (kernel[d] - 1) * dilation[d] + 1;
        if same {
            output[d] = input[d].div_ceil(stride[d]);
            pad[d] = ((output[d] - 1) * stride[d] + span).saturating_sub(input[d]) / 2;
        } else {
            output[d] = (input[d] - span) / stride[d] + 1;
        }
    }
    DepthwiseSpec {
        batch: 1 + i % 2,
        input,
        in_pixel: input[2] + random.below(3),
        output,
        multiplier,
        ldc: input[2] * multiplier + random.below(3),
        kernel,
        stride,
        dilation,
        pad,
        a_storage,
        a_zero_point: 0,
        weights,
        epilogue: Epilogue::identity(Storage::F32),
    }
}

fn for_each_output(s: &DepthwiseSpec, f: &mut dyn FnMut(usize, usize, &[(usize, usize)])) {
    let channels = s.input[2] * s.multiplier;
    for image in 0..s.batch {
        for y in 0..s.output[0] {
            for x in 0..s.output[1] {
                for n in 0..channels {
                    let mut pairs = vec![];
                    for ky in 0..s.kernel[0] {
                        for kx in 0..s.kernel[1] {
                            let iy = (y * s.stride[0] + ky * s.dilation[0]) as i64 - s.pad[0] as i64;
                            let ix = (x * s.stride[1] + kx * s.dilation[1]) as i64 - s.pad[1] as i64;
                            if iy < 0 || ix < 0 || iy >= s.input[0] as i64 || ix >= s.input[1] as i64 {
                                continue;
                            }
                            let pixel = (image * s.input[0] + iy as usize) * s.input[1] + ix as usize;
                            pairs.push((pixel * s.in_pixel + n / s.multiplier, (ky * s.kernel[1] + kx) * channels + n));
                        }
                    }
                    f((image * s.output[0] + y) * s.output[1] + x, n, &pairs);
                }
            }
        }
    }
}

fn lengths(s: &DepthwiseSpec) -> (usize, usize, usize) {
    let channels = s.input[2] * s.multiplier;
    let input = (s.batch * s.input[0] * s.input[1] - 1) * s.in_pixel + s.input[2];
    (input, s.kernel[0] * s.kernel[1] * channels, s.batch * s.output[0] * s.output[1])
}

fn check_canaries(label: &str, s: &DepthwiseSpec, c: &[u8], bytes: usize) {
    for (i, chunk) in c.chunks_exact(bytes).enumerate() {
        assert!(i % s.ldc < s.channels() || chunk.iter().all(|&b| b == CANARY), "{label}: wrote between pixels at {i}");
    }
}

#[test]
fn f32_depthwise_with_every_operand() {
    for (name, caps) in targets() {
        for (i, shape) in SHAPES.iter().enumerate() {
            let mut random = Random::new(i as u64);
            let mut spec = case(i, shape, Storage::F32, WeightFormat::F32, &mut random);
            let channels = spec.channels();
            spec.epilogue = every_operand(channels as i64 * 4);
            let (input, weights, pixels) = lengths(&spec);
            let (a, w) = (random.floats(input), random.floats(weights));
            let (bias, row, residual, scalar) =
                (random.floats(channels), random.floats(pixels), random.floats(pixels * channels), random.float());
            let operands = [f32_bytes(&bias), f32_bytes(&row), f32_bytes(&residual), f32_bytes(&[scalar])];
            let kernel = build(&spec, &caps);
            let label = format!("{name} {} {shape:?}", kernel.name);
            let packed = pack_b(&spec, &caps, &f32_bytes(&w));
            let bytes = ((pixels - 1) * spec.ldc + channels) * 4;
            let c = execute(&label, &caps, &kernel, &f32_bytes(&a), &packed, bytes, &operands, units(&spec));
            check_canaries(&label, &spec, &c, 4);
            for_each_output(&spec, &mut |p, n, pairs| {
                let acc: f64 = pairs.iter().map(|&(i, j)| f64::from(a[i]) * f64::from(w[j])).sum();
                let want =
                    -((acc + f64::from(bias[n])).max(0.0) * f64::from(row[p]) + f64::from(residual[p * channels + n]) + f64::from(scalar));
                let at = (p * spec.ldc + n) * 4;
                let got = f64::from(f32::from_le_bytes(c[at..at + 4].try_into().unwrap()));
                assert!((got - want).abs() <= 1e-4 * (1.0 + want.abs()), "{label}: pixel {p} channel {n} is {got}, not {want}");
            });
        }
    }
}

#[test]
fn int8_depthwise_is_exact() {
    let formats = [WeightFormat::I8, WeightFormat::I8, WeightFormat::U8 { zero_point: 0 }, WeightFormat::U8 { zero_point: 128 }];
    for (name, caps) in targets() {
        for (i, shape) in SHAPES.iter().enumerate() {
            for a_storage in [Storage::U8, Storage::I8] {
                let mut random = Random::new(i as u64 + 50);
                let weights = formats[(i + usize::from(a_storage == Storage::I8)) % 4];
                let mut spec = case(i, shape, a_storage, weights, &mut random);
                let channels = spec.channels();
                spec.a_zero_point = [0, 255, 77, 128][i % 4] - if a_storage == Storage::I8 { 128 } else { 0 };
                let out_zp = if a_storage == Storage::I8 { 9 } else { 100 };
                spec.epilogue = requantize(a_storage, out_zp);
                let (input, taps, pixels) = lengths(&spec);
                let (a, w) = (random.bytes(input), random.bytes(taps));
                let bias: Vec<i32> = (0..channels).map(|_| random.next() as i32 % 20000).collect();
                let scale: Vec<f32> = (0..channels).map(|_| 0.0007 + random.below(100) as f32 * 2e-5).collect();
                let operands = [i32_bytes(&folded_bias(&spec, &caps, Some(&bias), &w)), f32_bytes(&scale)];
                let kernel = build(&spec, &caps);
                let label = format!("{name} {} {shape:?} {weights:?}", kernel.name);
                let packed = pack_b(&spec, &caps, &w);
                let bytes = (pixels - 1) * spec.ldc + channels;
                let c = execute(&label, &caps, &kernel, &a, &packed, bytes, &operands, units(&spec));
                check_canaries(&label, &spec, &c, 1);
                for_each_output(&spec, &mut |p, n, pairs| {
                    let activation = |i: usize| if a_storage == Storage::I8 { i32::from(a[i] as i8) } else { i32::from(a[i]) };
                    let product = |&(i, j): &(usize, usize)| (activation(i) - spec.a_zero_point) * weights.centered(&w, j);
                    let acc = pairs.iter().map(product).sum::<i32>() + bias[n];
                    let want = requantized(a_storage, acc, scale[n], out_zp);
                    assert_eq!(c[p * spec.ldc + n], want, "{label}: pixel {p} channel {n}, accumulator {acc}");
                });
            }
        }
    }
}
