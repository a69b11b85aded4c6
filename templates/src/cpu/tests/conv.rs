//! Convolution: kernels, strides, dilations, paddings, groups, pixel strides, batches; partial tiles and columns; zero points at both ends.

use super::*;
use crate::cpu::conv::{ConvSpec, build, folded_bias, pack_b, units};
use crate::cpu::mac::WeightFormat;

/// Shape of a case: input h w c, output channels, kernel, stride, dilation, whether padded as TFLite's SAME, groups.
type Shape = ([usize; 3], usize, [usize; 2], [usize; 2], [usize; 2], bool, usize);

const SHAPES: [Shape; 24] = [
    ([1, 1, 1], 1, [1, 1], [1, 1], [1, 1], false, 1),
    ([4, 4, 3], 5, [3, 3], [1, 1], [1, 1], true, 1),
    ([7, 7, 4], 16, [3, 3], [1, 1], [1, 1], true, 1),
    ([8, 9, 3], 8, [3, 3], [2, 2], [1, 1], true, 1),
    ([9, 8, 3], 8, [3, 3], [2, 2], [1, 1], true, 1),
    ([6, 30, 8], 33, [3, 3], [1, 1], [1, 1], true, 1),
    ([5, 57, 2], 17, [1, 5], [1, 1], [1, 1], true, 1),
    ([15, 3, 6], 9, [7, 1], [1, 1], [1, 1], true, 1),
    ([11, 12, 3], 16, [7, 7], [2, 2], [1, 1], true, 1),
    ([10, 10, 5], 7, [3, 3], [1, 1], [2, 2], true, 1),
    ([12, 13, 4], 6, [3, 2], [1, 1], [3, 4], true, 1),
    ([9, 9, 8], 12, [3, 3], [1, 1], [1, 1], true, 4),
    ([8, 8, 6], 6, [3, 3], [2, 1], [1, 1], false, 2),
    ([9, 7, 10], 70, [1, 1], [2, 3], [1, 1], false, 1),
    ([3, 2, 5], 4, [5, 5], [1, 1], [1, 1], true, 1),
    ([2, 2, 9], 20, [3, 3], [2, 2], [4, 4], true, 1),
    ([1, 16, 1], 3, [1, 9], [1, 4], [1, 1], true, 1),
    ([6, 6, 16], 65, [4, 4], [1, 1], [1, 1], true, 1),
    ([3, 40, 7], 8, [2, 4], [1, 2], [1, 1], false, 1),
    ([5, 5, 600], 3, [1, 3], [1, 1], [1, 1], true, 1),
    // Halves that tiles share: panels that are widened at once, with groups; rows of taps, in blocks of several lines, with partial panels, strides and dilations.
    ([9, 14, 12], 40, [3, 3], [1, 1], [1, 1], true, 2),
    ([7, 18, 180], 28, [3, 3], [1, 1], [1, 1], true, 1),
    ([9, 16, 97], 19, [5, 4], [2, 1], [1, 1], true, 1),
    ([10, 11, 130], 9, [4, 3], [1, 1], [2, 1], false, 1),
];
/// Shapes from this one on have weights of halves.
const HALVES: usize = 20;

/// A case: the spec without epilogue and the sizes that follow.
fn case(i: usize, shape: &Shape, a_storage: Storage, weights: WeightFormat, random: &mut Random) -> ConvSpec {
    let (input, out_c, kernel, stride, dilation, same, groups) = *shape;
    let mut output = [0, 0, out_c];
    let mut pad = [0, 0];
    for d in 0..2 {
        let span = (kernel[d] - 1) * dilation[d] + 1;
        if same {
            output[d] = input[d].div_ceil(stride[d]);
            pad[d] = ((output[d] - 1) * stride[d] + span).saturating_sub(input[d]) / 2;
        } else {
            output[d] = (input[d] - span) / stride[d] + 1;
        }
    }
    let in_pixel = input[2] + if i % 4 == 3 { 1 + random.below(3) } else { 0 };
    let ldc = out_c + random.below(3);
    let epilogue = Epilogue::identity(Storage::F32);
    let batch = 1 + i % 2;
    ConvSpec { batch, input, in_pixel, output, ldc, kernel, stride, dilation, pad, groups, a_storage, a_zero_point: 0, weights, epilogue }
}

/// Calls `f(pixel of the output, channel, pairs of input element and weight)` for every output element.
fn for_each_output(s: &ConvSpec, f: &mut dyn FnMut(usize, usize, &[(usize, usize)])) {
    let [in_h, in_w, in_c] = s.input.map(|v| v as i64);
    let [out_h, out_w, out_c] = s.output;
    let (group_in, group_out) = (in_c as usize / s.groups, out_c / s.groups);
    for image in 0..s.batch {
        for y in 0..out_h {
            for x in 0..out_w {
                for n in 0..out_c {
                    let mut pairs = vec![];
                    for ky in 0..s.kernel[0] {
                        for kx in 0..s.kernel[1] {
                            let iy = (y * s.stride[0] + ky * s.dilation[0]) as i64 - s.pad[0] as i64;
                            let ix = (x * s.stride[1] + kx * s.dilation[1]) as i64 - s.pad[1] as i64;
                            if iy < 0 || ix < 0 || iy >= in_h || ix >= in_w {
                                continue;
                            }
                            for c in 0..group_in {
                                let pixel = (image as i64 * in_h + iy) * in_w + ix;
                                let a = pixel as usize * s.in_pixel + n / group_out * group_in + c;
                                pairs.push((a, ((n * s.kernel[0] + ky) * s.kernel[1] + kx) * group_in + c));
                            }
                        }
                    }
                    f((image * out_h + y) * out_w + x, n, &pairs);
                }
            }
        }
    }
}

fn input_len(s: &ConvSpec) -> usize {
    (s.batch * s.input[0] * s.input[1] - 1) * s.in_pixel + s.input[2]
}

fn weight_len(s: &ConvSpec) -> usize {
    s.output[2] * s.kernel[0] * s.kernel[1] * s.input[2] / s.groups
}

fn pixels(s: &ConvSpec) -> usize {
    s.batch * s.output[0] * s.output[1]
}

fn check_canaries(label: &str, s: &ConvSpec, c: &[u8], bytes: usize) {
    for (i, chunk) in c.chunks_exact(bytes).enumerate() {
        assert!(i % s.ldc < s.output[2] || chunk.iter().all(|&b| b == CANARY), "{label}: wrote between pixels at {i}");
    }
}

#[test]
fn f32_convolution_with_every_operand() {
    for (name, caps) in targets() {
        for (i, shape) in SHAPES.iter().enumerate() {
            let mut random = Random::new(i as u64);
            let format = if i >= HALVES { WeightFormat::F16 } else { float_weights(&caps) };
            let mut spec = case(i, shape, Storage::F32, format, &mut random);
            let out_c = spec.output[2];
            spec.epilogue = every_operand(out_c as i64 * 4);
            let (a, w) = (random.floats(input_len(&spec)), random.floats(weight_len(&spec)));
            let pixels = pixels(&spec);
            let (bias, row, residual, scalar) =
                (random.floats(out_c), random.floats(pixels), random.floats(pixels * out_c), random.float());
            let operands = [f32_bytes(&bias), f32_bytes(&row), f32_bytes(&residual), f32_bytes(&[scalar])];
            let kernel = build(&spec, &caps);
            let label = format!("{name} {} {shape:?}", kernel.name);
            let packed = pack_b(&spec, &caps, &weight_bytes(spec.weights, &w));
            let bytes = ((pixels - 1) * spec.ldc + out_c) * 4;
            let c = execute(&label, &caps, &kernel, &f32_bytes(&a), &packed, bytes, &operands, units(&spec, &caps));
            check_canaries(&label, &spec, &c, 4);
            for_each_output(&spec, &mut |p, n, pairs| {
                let acc: f64 = pairs.iter().map(|&(i, j)| f64::from(a[i]) * f64::from(w[j])).sum();
                let want =
                    -((acc + f64::from(bias[n])).max(0.0) * f64::from(row[p]) + f64::from(residual[p * out_c + n]) + f64::from(scalar));
                let at = (p * spec.ldc + n) * 4;
                let got = f64::from(f32::from_le_bytes(c[at..at + 4].try_into().unwrap()));
                let products = pairs.iter().map(|&(i, j)| a[i] * w[j]);
                let bound = 1e-4 * (1.0 + want.abs()) + halves_error(&caps, bias[n], products) * f64::from(row[p].abs());
                assert!((got - want).abs() <= bound, "{label}: pixel {p} channel {n} is {got}, not {want}");
            });
        }
    }
}

#[test]
fn halves_are_widened_by_panels_or_rows_of_taps() {
    let caps = Caps::x86_64_v3();
    for (i, buffers) in [(20, 1), (21, 2), (22, 2), (23, 2)] {
        let spec = case(i, &SHAPES[i], Storage::F32, WeightFormat::F16, &mut Random::new(0));
        assert_eq!(build(&spec, &caps).to_string().matches(" scratch ").count(), buffers, "{:?}", SHAPES[i]);
    }
}

#[test]
fn int8_convolution_is_exact() {
    let formats = [WeightFormat::I8, WeightFormat::I8, WeightFormat::U8 { zero_point: 0 }, WeightFormat::U8 { zero_point: 201 }];
    for (name, caps) in targets() {
        for (i, shape) in SHAPES.iter().enumerate() {
            for a_storage in [Storage::U8, Storage::I8] {
                let mut random = Random::new(i as u64 + 50);
                let weights = formats[(i + usize::from(a_storage == Storage::I8)) % 4];
                let mut spec = case(i, shape, a_storage, weights, &mut random);
                let out_c = spec.output[2];
                spec.a_zero_point = [0, 255, 77, 128][i % 4] - if a_storage == Storage::I8 { 128 } else { 0 };
                let out_zp = if a_storage == Storage::I8 { 9 } else { 100 };
                spec.epilogue = requantize(a_storage, out_zp);
                let (a, w) = (random.bytes(input_len(&spec)), random.bytes(weight_len(&spec)));
                let bias: Vec<i32> = (0..out_c).map(|_| random.next() as i32 % 20000).collect();
                let taps = (weight_len(&spec) / out_c) as f32;
                let scale: Vec<f32> = (0..out_c).map(|_| 0.0007 + random.below(100) as f32 * 1e-4 / taps.sqrt()).collect();
                let operands = [i32_bytes(&folded_bias(&spec, &caps, Some(&bias), &w)), f32_bytes(&scale)];
                let kernel = build(&spec, &caps);
                let label = format!("{name} {} {shape:?} {weights:?}", kernel.name);
                let packed = pack_b(&spec, &caps, &w);
                let bytes = (pixels(&spec) - 1) * spec.ldc + out_c;
                let c = execute(&label, &caps, &kernel, &a, &packed, bytes, &operands, units(&spec, &caps));
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
