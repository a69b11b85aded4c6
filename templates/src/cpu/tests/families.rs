//! Reductions, pooling, softmax, resizing, gathering, arg, scan: against naive loops.

use super::run::{check, check_close, outcome};
use super::{Random, f32_bytes, i32_bytes, targets};
use crate::cpu::arg::ArgSpec;
use crate::cpu::gather::{GatherNdSpec, GatherSpec, INDEX_OUT_OF_RANGE};
use crate::cpu::l2_norm::L2NormSpec;
use crate::cpu::pool::PoolSpec;
use crate::cpu::reduce::{Combine, ReduceSpec};
use crate::cpu::resample::{ResampleSpec, Taps, tap_table};
use crate::cpu::scan::ScanSpec;
use crate::cpu::softmax::{SoftmaxSpec, SoftmaxTableSpec, TableKind};
use crate::cpu::window_copy::WindowCopySpec;
use crate::expr::{Binary, Cast, Expr, ExprBuilder, Storage, Ty, Unary};

/// Output position and elements of each input position of a reduction.
fn reduced_positions(shape: &[usize], reduced: &[bool]) -> (Vec<usize>, usize) {
    let n: usize = shape.iter().product();
    let mut out = vec![];
    for i in 0..n {
        let (mut rest, mut index) = (i, vec![0; shape.len()]);
        for d in (0..shape.len()).rev() {
            index[d] = rest % shape[d];
            rest /= shape[d];
        }
        out.push(index.iter().zip(shape).zip(reduced).filter(|(_, r)| !**r).fold(0, |o, ((i, n), _)| o * n + i));
    }
    (out, shape.iter().zip(reduced).filter(|(_, r)| !**r).map(|(n, _)| n).product())
}

const SHAPES: [(&[usize], &[bool]); 14] = [
    (&[1], &[true]),
    (&[7], &[true]),
    (&[64], &[true]),
    (&[300], &[true]),
    (&[5, 9], &[false, true]),
    (&[5, 9], &[true, false]),
    (&[7, 7, 70], &[true, true, false]),
    (&[3, 200], &[true, false]),
    (&[2, 3, 4], &[true, false, true]),
    (&[2, 3, 35], &[false, true, false]),
    (&[2, 3, 4, 20], &[false, true, false, true]),
    (&[2, 3, 4, 20], &[true, false, true, false]),
    (&[1, 1], &[true, false]),
    (&[4, 3], &[false, false]),
];

#[test]
fn sums_and_extremes_over_any_axes() {
    for (shape, reduced) in SHAPES {
        let (to, outs) = reduced_positions(shape, reduced);
        let x = Random::new(5).floats(to.len());
        for combine in [Combine::Sum, Combine::Min, Combine::Max] {
            let init = match combine {
                Combine::Sum => 0.0,
                Combine::Min => f64::INFINITY,
                _ => f64::NEG_INFINITY,
            };
            let mut y = vec![init; outs];
            for (v, &o) in x.iter().zip(&to) {
                let v = f64::from(*v);
                y[o] = match combine {
                    Combine::Sum => y[o] + v,
                    Combine::Min => y[o].min(v),
                    _ => y[o].max(v),
                };
            }
            let spec = ReduceSpec::new(shape, reduced, combine, Expr::identity(Storage::F32), Expr::identity(Storage::F32));
            let build = |caps: &tflc_kir::Caps| (spec.build(caps), spec.units(caps));
            check_close(&format!("{combine:?} of {shape:?} over {reduced:?}"), &build, &[f32_bytes(&x)], &[], &y, 1e-6);
        }
    }
}

#[test]
fn integers_and_truth_values_reduce_exactly() {
    for (shape, reduced) in SHAPES {
        let (to, outs) = reduced_positions(shape, reduced);
        let x = Random::new(8).bytes(to.len());
        let mut sums = vec![0i32; outs];
        let mut products = vec![1i32; outs];
        let mut any = vec![0u8; outs];
        let mut all = vec![1u8; outs];
        for (v, &o) in x.iter().zip(&to) {
            sums[o] += i32::from(*v as i8);
            products[o] = products[o].wrapping_mul(i32::from(*v as i8));
            any[o] |= v & 1;
            all[o] &= v & 1;
        }
        let widen = |storage| Expr { output: Storage::I32, ..Expr::identity(storage) };
        let integer = Expr::identity(Storage::I32);
        let spec = |combine| ReduceSpec::new(shape, reduced, combine, widen(Storage::I8), integer.clone());
        let (sum, product) = (spec(Combine::Sum), spec(Combine::Product));
        let name = format!("{shape:?} over {reduced:?}");
        check(&name, &|caps| (sum.build(caps), sum.units(caps)), std::slice::from_ref(&x), &[], &i32_bytes(&sums));
        check(&name, &|caps| (product.build(caps), product.units(caps)), std::slice::from_ref(&x), &[], &i32_bytes(&products));
        let bits: Vec<u8> = x.iter().map(|v| v & 1).collect();
        let truth = Expr::identity(Storage::Bool);
        let spec = |combine| ReduceSpec::new(shape, reduced, combine, truth.clone(), truth.clone());
        let (a, e) = (spec(Combine::Any), spec(Combine::All));
        check(&name, &|caps| (a.build(caps), a.units(caps)), std::slice::from_ref(&bits), &[], &any);
        check(&name, &|caps| (e.build(caps), e.units(caps)), std::slice::from_ref(&bits), &[], &all);
        // 64-bit integers.
        let wide: Vec<i64> = x.iter().map(|v| i64::from(*v) << 33).collect();
        let mut most = vec![i64::MIN; outs];
        for (v, &o) in wide.iter().zip(&to) {
            most[o] = most[o].max(*v);
        }
        let i64s = Expr::identity(Storage::I64);
        let spec = ReduceSpec::new(shape, reduced, Combine::Max, i64s.clone(), i64s);
        let bytes = |v: &[i64]| v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        check(&name, &|caps| (spec.build(caps), spec.units(caps)), &[bytes(&wide)], &[], &bytes(&most));
    }
}

#[test]
fn the_mean_of_bytes_rounds_in_the_epilogue() {
    let (n, c) = (49, 37);
    let x = Random::new(2).bytes(n * c);
    let mut b = ExprBuilder::new([Storage::I32]);
    let s = b.input(0);
    let f = b.cast(Cast::Value, Ty::F32, s);
    let k = b.f32(0.037);
    let f = b.mul(f, k);
    let q = b.cast(Cast::RoundEven, Ty::I32, f);
    let epilogue = b.finish(q, Storage::I8);
    let element = Expr { output: Storage::I32, ..Expr::identity(Storage::I8) };
    let spec = ReduceSpec::new(&[n, c], &[true, false], Combine::Sum, element, epilogue);
    let expected: Vec<u8> = (0..c)
        .map(|j| ((0..n).map(|i| i32::from(x[i * c + j] as i8)).sum::<i32>() as f32 * 0.037).round_ties_even() as i32 as u8)
        .collect();
    check("mean", &|caps| (spec.build(caps), spec.units(caps)), &[x], &[], &expected);
}

fn pool_reference(s: &PoolSpec, x: &[f64], max: bool) -> Vec<f64> {
    let mut y = vec![];
    for b in 0..s.batch {
        for oy in 0..s.output[0] {
            for ox in 0..s.output[1] {
                for c in 0..s.channels {
                    let (mut acc, mut n) = (if max { f64::NEG_INFINITY } else { 0.0 }, 0);
                    for fy in 0..s.window[0] {
                        for fx in 0..s.window[1] {
                            let iy = (oy * s.stride[0] + fy) as i64 - s.padding[0] as i64;
                            let ix = (ox * s.stride[1] + fx) as i64 - s.padding[1] as i64;
                            if iy >= 0 && ix >= 0 && iy < s.input[0] as i64 && ix < s.input[1] as i64 {
                                let v = x[((b * s.input[0] + iy as usize) * s.input[1] + ix as usize) * s.channels + c];
                                acc = if max { acc.max(v) } else { acc + v };
                                n += 1;
                            }
                        }
                    }
                    y.push(if max { acc } else { acc / f64::from(n) });
                }
            }
        }
    }
    y
}

#[test]
fn pooling_leaves_out_what_lies_outside() {
    let average = {
        let mut b = ExprBuilder::new([Storage::F32, Storage::I32]);
        let (acc, n) = (b.input(0), b.input(1));
        let n = b.cast(Cast::Value, Ty::F32, n);
        let y = b.binary(Binary::Div, acc, n);
        b.finish(y, Storage::F32)
    };
    let highest = {
        let mut b = ExprBuilder::new([Storage::F32, Storage::I32]);
        let acc = b.input(0);
        b.finish(acc, Storage::F32)
    };
    for (input, output, window, stride, padding) in [
        ([4, 4], [2, 2], [2, 2], [2, 2], [0, 0]),
        ([5, 6], [3, 3], [3, 3], [2, 2], [1, 0]),
        ([7, 7], [1, 1], [7, 7], [1, 1], [0, 0]),
        ([3, 5], [3, 5], [3, 3], [1, 1], [1, 1]),
        ([6, 4], [2, 2], [2, 1], [4, 3], [0, 0]),
    ] {
        for channels in [1, 3, 16, 21] {
            let spec = |combine, epilogue: &Expr| PoolSpec {
                batch: 2,
                input,
                output,
                channels,
                window,
                stride,
                padding,
                measured: false,
                combine,
                element: Expr::identity(Storage::F32),
                epilogue: epilogue.clone(),
            };
            let x = Random::new(4).floats(2 * input[0] * input[1] * channels);
            let wide: Vec<f64> = x.iter().map(|v| f64::from(*v)).collect();
            for (s, max) in [(spec(Combine::Sum, &average), false), (spec(Combine::Max, &highest), true)] {
                let y = pool_reference(&s, &wide, max);
                check_close(&format!("{s:?}"), &|caps| (s.build(caps), s.units()), &[f32_bytes(&x)], &[], &y, 1e-6);
            }
        }
    }
}

#[test]
fn softmax_sums_to_one_and_survives_extremes() {
    for n in [1, 2, 5, 15, 16, 17, 100] {
        let rows = 3;
        let mut x = Random::new(n as u64).floats(rows * n);
        x[0] = 1000.0;
        x[n] = -1000.0;
        for (log, beta) in [(false, 1.0f32), (false, 0.5), (true, 1.0)] {
            let mut y = vec![];
            for row in x.chunks(n) {
                let m = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let d: Vec<f64> = row.iter().map(|v| f64::from(v - m) * f64::from(beta)).collect();
                let sum: f64 = d.iter().map(|v| v.exp()).sum();
                y.extend(d.iter().map(|v| if log { v - sum.ln() } else { v.exp() / sum }));
            }
            let s = SoftmaxSpec { rows, n, beta_bits: beta.to_bits(), log };
            check_close(&format!("{s:?}"), &|caps| (s.build(caps), s.units()), &[f32_bytes(&x)], &[], &y, 2e-6);
        }
    }
}

#[test]
fn table_softmax_has_the_bits_of_a_plain_loop() {
    let (scale, out_scale) = (0.07f32, 1.0f32 / 256.0);
    let table: Vec<f32> = (0..256).map(|k| (-scale * k as f32).exp()).collect();
    let mut b = ExprBuilder::new([Storage::F32]);
    let p = b.input(0);
    let q = b.cast(Cast::RoundEven, Ty::I32, p);
    let most = b.i32(255);
    let q = b.min(q, most);
    let epilogue = b.finish(q, Storage::U8);
    for input in [Storage::I8, Storage::U8] {
        for n in [1, 3, 40] {
            let x = Random::new(6).bytes(4 * n);
            let value = |v: u8| if input == Storage::I8 { i32::from(v as i8) } else { i32::from(v) };
            let mut expected = vec![];
            for row in x.chunks(n) {
                let m = row.iter().map(|v| value(*v)).max().unwrap();
                let e: Vec<f32> = row.iter().map(|v| table[(m - value(*v)) as usize]).collect();
                let sum = e.iter().fold(0.0f32, |s, v| s + v);
                let inverse = 1.0 / (sum * out_scale);
                expected.extend(e.iter().map(|v| ((v * inverse).round_ties_even() as i32).min(255) as u8));
            }
            let kind = TableKind::Probability { output_scale_bits: out_scale.to_bits() };
            let s = SoftmaxTableSpec { rows: 4, n, input, kind, epilogue: epilogue.clone() };
            // The table comes in front of the output.
            check("table softmax", &|caps| (s.build(caps), s.units()), &[x, f32_bytes(&table)], &[], &expected);
        }
    }
}

#[test]
fn resizing_blends_four_taps() {
    let mut b = ExprBuilder::new(vec![Storage::F32; 6]);
    let v: Vec<_> = (0..6).map(|i| b.input(i)).collect();
    let mix = |b: &mut ExprBuilder, l, r, w| {
        let d = b.sub(r, l);
        let p = b.mul(d, w);
        b.add(l, p)
    };
    let top = mix(&mut b, v[0], v[1], v[4]);
    let bottom = mix(&mut b, v[2], v[3], v[4]);
    let y = mix(&mut b, top, bottom, v[5]);
    let expr = b.finish(y, Storage::F32);
    let (input, output, batch) = ([3, 4], [5, 3], 2);
    let taps = |o: usize, i: usize| -> Taps {
        (0..o)
            .map(|k| {
                let p = (k * (i - 1)) as f32 / o as f32;
                let lo = p as usize;
                (lo, (lo + 1).min(i - 1), (p - lo as f32).to_bits())
            })
            .collect()
    };
    let (ty, tx) = (taps(output[0], input[0]), taps(output[1], input[1]));
    for channels in [1, 3, 8, 19] {
        let x = Random::new(7).floats(batch * input[0] * input[1] * channels);
        let at = |n: usize, y: usize, z: usize, c: usize| x[((n * input[0] + y) * input[1] + z) * channels + c];
        let mut expected = vec![];
        for n in 0..batch {
            for &(y0, y1, wy) in &ty {
                for &(x0, x1, wx) in &tx {
                    for c in 0..channels {
                        let (wx, wy) = (f32::from_bits(wx), f32::from_bits(wy));
                        let t = at(n, y0, x0, c) + (at(n, y0, x1, c) - at(n, y0, x0, c)) * wx;
                        let u = at(n, y1, x0, c) + (at(n, y1, x1, c) - at(n, y1, x0, c)) * wx;
                        expected.push(t + (u - t) * wy);
                    }
                }
            }
        }
        let pixel = channels * 4;
        let tables = [tap_table(&ty, input[1] * pixel), tap_table(&tx, pixel)];
        let s = ResampleSpec { batch, input, output, channels, expr: expr.clone() };
        let inputs = [f32_bytes(&x), tables[0].clone(), tables[1].clone()];
        check("bilinear", &|caps| (s.build(caps), s.units()), &inputs, &[], &f32_bytes(&expected));
        // Nearest: the first tap.
        let s = ResampleSpec { expr: Expr::identity(Storage::F32), ..s };
        let mut expected = vec![];
        for n in 0..batch {
            for &(y0, ..) in &ty {
                for &(x0, ..) in &tx {
                    expected.extend((0..channels).map(|c| at(n, y0, x0, c)));
                }
            }
        }
        check("nearest", &|caps| (s.build(caps), s.units()), &inputs, &[], &f32_bytes(&expected));
    }
}

#[test]
fn gathering_checks_every_index() {
    for (batch, outer, slice_bytes) in [(1, 1, 1), (1, 1, 70), (2, 3, 5), (1, 4, 16), (3, 1, 130)] {
        for wide_index in [false, true] {
            let (axis, indices) = (6, 4);
            let x = Random::new(3).bytes(batch * outer * axis * slice_bytes);
            for (offset, bad) in [(0i64, false), (0, true)] {
                let mut picks: Vec<i64> = (0..batch * indices).map(|i| (i as i64 * 5 + offset) % axis as i64).collect();
                if bad {
                    picks[1] = 6;
                    picks[2] = -1;
                }
                let bytes: Vec<u8> = picks
                    .iter()
                    .flat_map(|&i| if wide_index { i.to_le_bytes().to_vec() } else { (i as i32).to_le_bytes().to_vec() })
                    .collect();
                let mut expected = vec![super::CANARY; batch * outer * indices * slice_bytes];
                for b in 0..batch {
                    for o in 0..outer {
                        for i in 0..indices {
                            let Ok(k) = usize::try_from(picks[b * indices + i]) else { continue };
                            if k < axis {
                                let (to, from) =
                                    (((b * outer + o) * indices + i) * slice_bytes, ((b * outer + o) * axis + k) * slice_bytes);
                                expected[to..to + slice_bytes].copy_from_slice(&x[from..from + slice_bytes]);
                            }
                        }
                    }
                }
                let s = GatherSpec { batch, outer, axis, indices, slice_bytes, wide_index, wrap_negative: false };
                for (target, caps) in targets() {
                    let (got, status) = outcome(
                        &format!("{s:?} on {target}"),
                        &caps,
                        &s.build(&caps),
                        &[x.clone(), bytes.clone()],
                        expected.len(),
                        &[],
                        s.units(),
                    );
                    assert_eq!((&got, status), (&expected, if bad { INDEX_OUT_OF_RANGE } else { 0 }), "{s:?} on {target}");
                }
            }
        }
    }
}

#[test]
fn index_tuples_are_checked_in_each_dimension() {
    let sizes = vec![3, 4];
    let x = Random::new(3).bytes(3 * 4 * 7);
    for (tuples, status) in [(vec![[0, 0], [2, 3], [1, 2]], 0), (vec![[0, 4], [3, 0], [-1, 1], [2, 1]], INDEX_OUT_OF_RANGE)] {
        let bytes: Vec<u8> = tuples.iter().flatten().flat_map(|v: &i32| v.to_le_bytes()).collect();
        let mut expected = vec![super::CANARY; tuples.len() * 7];
        for (i, t) in tuples.iter().enumerate() {
            if (0..3).contains(&t[0]) && (0..4).contains(&t[1]) {
                let from = (t[0] * 4 + t[1]) as usize * 7;
                expected[i * 7..i * 7 + 7].copy_from_slice(&x[from..from + 7]);
            }
        }
        let s = GatherNdSpec { tuples: tuples.len(), sizes: sizes.clone(), slice_bytes: 7, wide_index: false };
        for (target, caps) in targets() {
            let (got, got_status) = outcome(target, &caps, &s.build(&caps), &[x.clone(), bytes.clone()], expected.len(), &[], s.units());
            assert_eq!((got, got_status), (expected.clone(), status), "{target}");
        }
    }
}

#[test]
fn the_first_of_equal_extremes_wins() {
    for (outer, n, inner) in [(3, 1, 1), (2, 5, 1), (2, 16, 1), (1, 130, 1), (2, 9, 4), (3, 4, 21)] {
        let mut x = Random::new(n as u64).floats(outer * n * inner);
        if n == 130 {
            x[3] = f32::NAN;
        }
        for max in [true, false] {
            for wide_output in [false, true] {
                let mut y = vec![];
                for o in 0..outer {
                    for i in 0..inner {
                        let at = |k: usize| x[(o * n + k) * inner + i];
                        let best = (1..n).fold(0, |b, k| if (max && at(k) > at(b)) || (!max && at(k) < at(b)) { k } else { b });
                        y.extend((best as i64).to_le_bytes()[..if wide_output { 8 } else { 4 }].iter().copied());
                    }
                }
                let s = ArgSpec { outer, n, inner, input: Storage::F32, max, wide_output };
                check(&format!("{s:?}"), &|caps| (s.build(caps), s.units()), &[f32_bytes(&x)], &[], &y);
            }
        }
    }
    // A NaN in front wins; bytes compare as stored; 64-bit elements too.
    let s = ArgSpec { outer: 1, n: 3, inner: 1, input: Storage::F32, max: true, wide_output: false };
    check("NaN", &|caps| (s.build(caps), s.units()), &[f32_bytes(&[f32::NAN, 1.0, 2.0])], &[], &i32_bytes(&[0]));
    let s = ArgSpec { input: Storage::U8, ..s };
    check("bytes", &|caps| (s.build(caps), s.units()), &[vec![3, 200, 100]], &[], &i32_bytes(&[1]));
    let s = ArgSpec { input: Storage::I64, ..s };
    let x: Vec<u8> = [5i64, -3, 1 << 40].iter().flat_map(|v| v.to_le_bytes()).collect();
    check("wide", &|caps| (s.build(caps), s.units()), &[x], &[], &i32_bytes(&[2]));
}

#[test]
fn running_sums_in_both_directions() {
    for (outer, n, inner) in [(2, 5, 1), (3, 4, 7), (1, 3, 33)] {
        let x: Vec<i32> = Random::new(1).bytes(outer * n * inner).iter().map(|v| i32::from(*v) - 100).collect();
        for (exclusive, reverse) in [(false, false), (true, false), (false, true), (true, true)] {
            let mut y = vec![0; x.len()];
            for o in 0..outer {
                for i in 0..inner {
                    let mut sum = 0;
                    for k in 0..n {
                        let k = if reverse { n - 1 - k } else { k };
                        let at = (o * n + k) * inner + i;
                        y[at] = if exclusive { sum } else { sum + x[at] };
                        sum += x[at];
                    }
                }
            }
            let s = ScanSpec { outer, n, inner, storage: Storage::I32, exclusive, reverse };
            check(&format!("{s:?}"), &|caps| (s.build(caps), s.units()), &[i32_bytes(&x)], &[], &i32_bytes(&y));
        }
    }
}

#[test]
fn a_root_of_squares_is_element_and_epilogue() {
    let mut b = ExprBuilder::new([Storage::F32]);
    let x = b.input(0);
    let y = b.mul(x, x);
    let element = b.finish(y, Storage::F32);
    let mut b = ExprBuilder::new([Storage::F32]);
    let x = b.input(0);
    let y = b.unary(Unary::Sqrt, x);
    let epilogue = b.finish(y, Storage::F32);
    let x = Random::new(1).floats(4 * 30);
    let y: Vec<f64> = x.chunks(30).map(|r| r.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()).collect();
    let spec = ReduceSpec::new(&[4, 30], &[false, true], Combine::Sum, element, epilogue);
    check_close("norm", &|caps| (spec.build(caps), spec.units(caps)), &[f32_bytes(&x)], &[], &y, 1e-6);
}

#[test]
fn windows_at_run_time_are_clamped_or_checked() {
    for (shape, window) in [
        (vec![5], vec![2]),
        (vec![4, 5], vec![2, 3]),
        (vec![3, 4, 6], vec![2, 4, 6]),
        (vec![3, 4, 6], vec![1, 2, 6]),
        (vec![2, 3], vec![2, 3]),
    ] {
        let count = |s: &[usize]| s.iter().product::<usize>();
        let (bytes, tensor, part) = (2, Random::new(1).bytes(count(&shape) * 2), Random::new(2).bytes(count(&window) * 2));
        for starts in [vec![0i64; shape.len()], vec![1; shape.len()], vec![-3; shape.len()], vec![100; shape.len()]] {
            let fits = starts.iter().zip(&shape).zip(&window).all(|((s, n), w)| *s >= 0 && *s as usize + w <= *n);
            let clamped: Vec<usize> =
                starts.iter().zip(&shape).zip(&window).map(|((s, n), w)| (*s).clamp(0, (n - w) as i64) as usize).collect();
            // Element of the tensor under each element of the window.
            let places: Vec<usize> = (0..count(&window))
                .map(|mut i| {
                    let (mut at, mut stride) = (0, 1);
                    for d in (0..shape.len()).rev() {
                        at += (i % window[d] + clamped[d]) * stride;
                        stride *= shape[d];
                        i /= window[d];
                    }
                    at
                })
                .collect();
            let picked: Vec<u8> = places.iter().flat_map(|p| tensor[p * bytes..][..bytes].to_vec()).collect();
            let index: Vec<u8> = starts.iter().flat_map(|s| s.to_le_bytes()).collect();
            for clamp in [true, false] {
                let s = WindowCopySpec {
                    shape: shape.clone(),
                    window: window.clone(),
                    element_bytes: bytes,
                    write: false,
                    clamp,
                    wide_index: true,
                };
                let expected = if clamp || fits { (picked.clone(), 0) } else { (vec![super::CANARY; picked.len()], INDEX_OUT_OF_RANGE) };
                for (target, caps) in targets() {
                    let name = format!("{s:?} at {starts:?} on {target}");
                    let got = outcome(&name, &caps, &s.build(&caps), &[tensor.clone(), index.clone()], picked.len(), &[], s.units());
                    assert_eq!(got, expected, "{name}");
                    let s = WindowCopySpec { write: true, ..s.clone() };
                    let (got, status) =
                        outcome(&name, &caps, &s.build(&caps), &[part.clone(), index.clone()], tensor.len(), &[], s.units());
                    let mut whole = vec![super::CANARY; tensor.len()];
                    if clamp || fits {
                        places
                            .iter()
                            .enumerate()
                            .for_each(|(i, p)| whole[p * bytes..][..bytes].copy_from_slice(&part[i * bytes..][..bytes]));
                    }
                    assert_eq!((got, status), (whole, expected.1), "{name}");
                }
            }
        }
    }
}

#[test]
fn bytes_are_normalised_to_length_one() {
    for (storage, zero_point) in [(Storage::I8, 0), (Storage::I8, -7), (Storage::U8, 128), (Storage::U8, 3)] {
        for n in [1, 3, 16, 50] {
            let mut x = Random::new(n as u64).bytes(n * 3);
            // A row of zeros and one of ones.
            x[..n].fill(zero_point as u8);
            x[n..2 * n].fill((zero_point + 1) as u8);
            let value = |q: u8| (if storage == Storage::I8 { i32::from(q as i8) } else { i32::from(q) }) - zero_point;
            let s = L2NormSpec { rows: 3, n, storage, zero_point };
            for (target, caps) in targets() {
                let (got, _) = outcome(target, &caps, &s.build(&caps), &[x.clone()], x.len(), &[], s.units());
                for (row, out) in x.chunks(n).zip(got.chunks(n)) {
                    let norm = row.iter().map(|q| f64::from(value(*q)).powi(2)).sum::<f64>().sqrt().max(1e-9);
                    for (q, y) in row.iter().zip(out) {
                        let exact = (128.0 * f64::from(value(*q)) / norm).round();
                        let (y, lo, hi) = if storage == Storage::I8 {
                            (f64::from(*y as i8), -128.0, 127.0)
                        } else {
                            (f64::from(*y) - 128.0, -128.0, 127.0)
                        };
                        assert!((y - exact.clamp(lo, hi)).abs() <= 1.0, "{s:?} on {target}: {y} instead of {exact}");
                    }
                }
            }
        }
    }
}
