//! Pointwise loops: sizes around the vector, storages, broadcasting, strides, tiles and periods.

use super::run::check;
use super::{Random, f32_bytes};
use crate::cpu::pointwise::{PointwiseSpec, Strides, broadcast, row_major};
use crate::expr::{Binary, Cast, Expr, ExprBuilder, Storage, Ty, Unary};
use std::sync::Arc;
use tflc_kir::{Caps, Kernel};

/// Index tuples of `dims` in row-major order.
fn indices(dims: &[usize]) -> Vec<Vec<usize>> {
    let mut out = vec![vec![]];
    for &n in dims {
        out = out.into_iter().flat_map(|p: Vec<usize>| (0..n).map(move |i| [&p[..], &[i]].concat())).collect();
    }
    out
}

fn element(index: &[usize], strides: &[i64]) -> i64 {
    index.iter().zip(strides).map(|(&i, s)| i as i64 * s).sum()
}

/// A copy of elements of `storage`; both sides may start inside their buffers (in elements).
struct Copy {
    dims: Vec<usize>,
    from: (i64, Strides),
    to: (i64, Strides),
}

impl Copy {
    fn run(&self, storage: Storage) {
        let bytes = storage.bytes() as i64;
        let extent = |(start, strides): &(i64, Strides)| {
            let all: Vec<i64> = indices(&self.dims).iter().map(|i| start + element(i, strides)).collect();
            (all.iter().copied().min().unwrap(), all.iter().copied().max().unwrap() + 1)
        };
        // Buffers hold exactly what is visited; the kernel gets the address of the first element visited in order.
        let (lo, hi) = extent(&self.from);
        let mut r = Random::new(hi as u64);
        let source = r.bytes(((hi - lo) * bytes) as usize);
        let (to_lo, to_hi) = extent(&self.to);
        assert_eq!(to_lo, self.to.0, "tests keep outputs forwards");
        let mut expected = vec![super::CANARY; ((to_hi - to_lo) * bytes) as usize];
        for i in indices(&self.dims) {
            let f = ((self.from.0 + element(&i, &self.from.1) - lo) * bytes) as usize;
            let t = ((self.to.0 + element(&i, &self.to.1) - to_lo) * bytes) as usize;
            expected[t..t + bytes as usize].copy_from_slice(&source[f..f + bytes as usize]);
        }
        let spec = PointwiseSpec::new(&self.dims, vec![self.from.1.clone()], self.to.1.clone(), Expr::identity(storage));
        let start = (self.from.0 - lo) * bytes;
        // The source is reached through its first element in iteration order: shift it by a prologue kernel-side pointer.
        let build = |caps: &Caps| -> (Kernel, u64) { (shifted(spec.build(caps), start), spec.units(caps)) };
        check(&format!("copy {spec:?}"), &build, &[source], &[], &expected);
    }
}

/// The kernel with its first parameter moved by `bytes`.
fn shifted(kernel: Kernel, bytes: i64) -> Kernel {
    if bytes == 0 {
        return kernel;
    }
    // Replace the parameter by a new one and compute the old value from it.
    let mut k = kernel;
    let old = k.params[0].value;
    let new = k.new_value(tflc_kir::Type::PTR);
    let offset = k.new_value(tflc_kir::Type::I64);
    k.params[0].value = new;
    let constant = tflc_kir::Inst {
        op: tflc_kir::Op::Const(bytes as u64),
        args: Default::default(),
        results: std::iter::once(offset).collect(),
        blocks: vec![],
    };
    let add = tflc_kir::Inst {
        op: tflc_kir::Op::PtrAdd,
        args: [new, offset].into_iter().collect(),
        results: std::iter::once(old).collect(),
        blocks: vec![],
    };
    k.body.insts.splice(0..0, [constant, add]);
    k
}

const WIDTHS: [Storage; 4] = [Storage::I8, Storage::I16, Storage::I32, Storage::I64];

#[test]
fn flat_copies_of_every_length_and_width() {
    for storage in WIDTHS {
        for n in [1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 130, 1024, 1027, 2500] {
            Copy { dims: vec![n], from: (0, vec![1]), to: (0, vec![1]) }.run(storage);
        }
    }
}

#[test]
fn transposes_run_in_tiles_and_at_their_edges() {
    for storage in WIDTHS {
        for (m, n) in [(2, 2), (3, 5), (4, 4), (4, 8), (16, 16), (17, 3), (3, 33), (19, 21)] {
            // y[n][m] = x[m][n].
            Copy { dims: vec![n, m], from: (0, vec![1, n as i64]), to: (0, vec![m as i64, 1]) }.run(storage);
        }
        // NCHW to NHWC and back, a transposition inside a batch, and one of three dimensions that keeps none in place.
        let nchw = row_major(&[2, 3, 2, 5]);
        Copy { dims: vec![2, 2, 5, 3], from: (0, vec![nchw[0], nchw[2], nchw[3], nchw[1]]), to: (0, row_major(&[2, 2, 5, 3])) }
            .run(storage);
        let s = row_major(&[4, 5, 6]);
        Copy { dims: vec![6, 5, 4], from: (0, vec![s[2], s[1], s[0]]), to: (0, row_major(&[6, 5, 4])) }.run(storage);
        Copy { dims: vec![5, 4, 6], from: (0, vec![s[1], s[0], s[2]]), to: (0, row_major(&[5, 4, 6])) }.run(storage);
    }
}

#[test]
fn slices_with_any_stride() {
    for storage in WIDTHS {
        // Every second, backwards, a window of a plane, a column, repeated rows, and elements of a wider output.
        Copy { dims: vec![9], from: (0, vec![2]), to: (0, vec![1]) }.run(storage);
        Copy { dims: vec![70], from: (69, vec![-1]), to: (0, vec![1]) }.run(storage);
        Copy { dims: vec![5, 7], from: (40, vec![-10, 1]), to: (0, vec![7, 1]) }.run(storage);
        Copy { dims: vec![5, 7], from: (3, vec![10, 1]), to: (0, vec![7, 1]) }.run(storage);
        Copy { dims: vec![3, 4, 5], from: (59, vec![-20, -5, -1]), to: (0, vec![20, 5, 1]) }.run(storage);
        Copy { dims: vec![6, 3], from: (0, vec![3, 1]), to: (0, vec![5, 1]) }.run(storage);
        Copy { dims: vec![6, 2], from: (0, vec![4, 1]), to: (0, vec![2, 1]) }.run(storage);
        Copy { dims: vec![4, 33], from: (0, vec![0, 1]), to: (0, vec![33, 1]) }.run(storage);
        Copy { dims: vec![33, 4], from: (0, vec![1, 0]), to: (0, vec![4, 1]) }.run(storage);
        Copy { dims: vec![2, 3, 4], from: (0, vec![0, 0, 0]), to: (0, vec![12, 4, 1]) }.run(storage);
        Copy { dims: vec![11], from: (0, vec![1]), to: (0, vec![3]) }.run(storage);
    }
}

#[test]
fn short_runs_are_copied_as_wider_elements() {
    let spec = PointwiseSpec::new(&[6, 4], vec![vec![8, 1]], vec![4, 1], Expr::identity(Storage::I8));
    assert_eq!((&spec.dims[..], spec.copied_bytes()), (&[6][..], Some(4)));
    assert_eq!((&spec.inputs[0][..], &spec.output[..]), (&[2][..], &[1][..]));
    // An odd distance keeps bytes.
    let spec = PointwiseSpec::new(&[6, 4], vec![vec![7, 1]], vec![4, 1], Expr::identity(Storage::I8));
    assert_eq!(spec.copied_bytes(), Some(1));
}

/// `a * b + a` of two f32 inputs.
fn arithmetic() -> Expr {
    let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
    let (x, y) = (b.input(0), b.input(1));
    let p = b.mul(x, y);
    let s = b.add(p, x);
    b.finish(s, Storage::F32)
}

/// Runs `a * b + a` for operands of these shapes, broadcast to `to`.
fn broadcasting(a: &[usize], c: &[usize], to: &[usize]) {
    let mut r = Random::new(to.iter().sum::<usize>() as u64);
    let (x, y) = (r.floats(a.iter().product()), r.floats(c.iter().product()));
    let (sa, sc) = (broadcast(a, to), broadcast(c, to));
    let expected: Vec<f32> = indices(to)
        .iter()
        .map(|i| {
            let (x, y) = (x[element(i, &sa) as usize], y[element(i, &sc) as usize]);
            x * y + x
        })
        .collect();
    let spec = PointwiseSpec::new(to, vec![sa, sc], row_major(to), arithmetic());
    let build = |caps: &Caps| (spec.build(caps), spec.units(caps));
    check(&format!("{a:?} with {c:?}"), &build, &[f32_bytes(&x), f32_bytes(&y)], &[], &f32_bytes(&expected));
}

#[test]
fn operands_broadcast() {
    for n in [1, 3, 4, 5, 8, 15, 16, 17, 33, 64, 300] {
        broadcasting(&[n], &[n], &[n]);
        broadcasting(&[n], &[1], &[n]);
    }
    broadcasting(&[2, 3, 5], &[5], &[2, 3, 5]);
    broadcasting(&[2, 3, 5], &[3, 1], &[2, 3, 5]);
    broadcasting(&[2, 3, 5], &[2, 1, 5], &[2, 3, 5]);
    broadcasting(&[2, 1, 17], &[1, 3, 1], &[2, 3, 17]);
    broadcasting(&[1, 7, 7, 20], &[1, 1, 1, 20], &[1, 7, 7, 20]);
    broadcasting(&[], &[4, 1, 2, 1, 3], &[4, 1, 2, 1, 3]);
}

#[test]
fn short_rows_repeat_an_operand() {
    // Periods of 3, 5, 7, 12 and 17 channels, whole and with every kind of remainder.
    for (m, n) in [(1, 3), (2, 3), (16, 3), (17, 3), (130, 3), (50, 5), (9, 7), (40, 12), (11, 17), (300, 2)] {
        broadcasting(&[m, n], &[n], &[m, n]);
    }
}

#[test]
fn arithmetic_over_transposed_operands_runs_in_tiles() {
    for (m, n) in [(4, 4), (5, 9), (8, 3), (17, 6)] {
        let mut r = Random::new(n as u64);
        let (x, y) = (r.floats(m * n), r.floats(m * n));
        let spec = PointwiseSpec::new(&[m, n], vec![vec![1, m as i64], vec![n as i64, 1]], vec![n as i64, 1], arithmetic());
        let expected: Vec<f32> = (0..m * n).map(|i| (x[i % n * m + i / n], y[i])).map(|(x, y)| x * y + x).collect();
        let build = |caps: &Caps| (spec.build(caps), spec.units(caps));
        check("transposed operand", &build, &[f32_bytes(&x), f32_bytes(&y)], &[], &f32_bytes(&expected));
    }
}

#[test]
fn every_storage_goes_through_its_compute_type() {
    // x + x, wrapping where integers leave their range; the complement of truth values.
    let n = 75;
    for storage in [Storage::I8, Storage::U8, Storage::I16, Storage::U16, Storage::I32, Storage::U32, Storage::I64] {
        let mut b = ExprBuilder::new([storage]);
        let x = b.input(0);
        let y = b.add(x, x);
        let expr = b.finish(y, storage);
        let x = Random::new(9).bytes(n * storage.bytes());
        let expected: Vec<u8> = x
            .chunks(storage.bytes())
            .flat_map(|c| {
                let mut raw = [0; 8];
                raw[..c.len()].copy_from_slice(c);
                let v = u64::from_le_bytes(raw);
                v.wrapping_add(v).to_le_bytes()[..c.len()].to_vec()
            })
            .collect();
        let spec = PointwiseSpec::new(&[n], vec![vec![1]], vec![1], expr);
        check(&format!("{storage:?}"), &|caps| (spec.build(caps), spec.units(caps)), &[x], &[], &expected);
    }
    let mut b = ExprBuilder::new([Storage::Bool]);
    let x = b.input(0);
    let y = b.unary(Unary::Not, x);
    let spec = PointwiseSpec::new(&[n], vec![vec![1]], vec![1], b.finish(y, Storage::Bool));
    let x: Vec<u8> = (0..n).map(|i| (i % 3 == 0) as u8).collect();
    let expected: Vec<u8> = x.iter().map(|v| 1 - v).collect();
    check("Bool", &|caps| (spec.build(caps), spec.units(caps)), &[x], &[], &expected);
}

#[test]
fn half_precision_storages_round_to_nearest_even() {
    let n = 40;
    for storage in [Storage::F16, Storage::BF16] {
        let mut b = ExprBuilder::new([storage, Storage::F32]);
        let (x, y) = (b.input(0), b.input(1));
        let s = b.add(x, y);
        let expr = b.finish(s, storage);
        let mut r = Random::new(3);
        let y: Vec<f32> = (0..n).map(|_| r.float() / 1000.0).collect();
        let (mut x, mut expected) = (vec![], vec![]);
        for y in &y {
            let v = r.float();
            if storage == Storage::F16 {
                let v = half::f16::from_f32(v);
                x.extend(v.to_le_bytes());
                expected.extend(half::f16::from_f32(v.to_f32() + y).to_le_bytes());
            } else {
                let v = half::bf16::from_f32(v);
                x.extend(v.to_le_bytes());
                expected.extend(half::bf16::from_f32(v.to_f32() + y).to_le_bytes());
            }
        }
        let spec = PointwiseSpec::new(&[n], vec![vec![1]; 2], vec![1], expr);
        check(&format!("{storage:?}"), &|caps| (spec.build(caps), spec.units(caps)), &[x, f32_bytes(&y)], &[], &expected);
    }
}

#[test]
fn tables_look_bytes_up() {
    let table: Vec<u8> = (0..=255u8).map(|i| i.wrapping_mul(77).wrapping_add(3)).collect();
    for (input, signed) in [(Storage::I8, true), (Storage::U8, false), (Storage::I8, false)] {
        let mut b = ExprBuilder::new([input]);
        let x = b.input(0);
        let y = b.table(Arc::new(table.clone()), signed, x);
        let one = b.i32(1);
        let y = b.binary(Binary::Shr, y, one);
        let expr = b.finish(y, Storage::I16);
        for n in [1, 15, 16, 100] {
            let x = Random::new(n as u64).bytes(n);
            let look = |v: &u8| i16::from(table[usize::from(*v)]);
            let expected: Vec<u8> = x
                .iter()
                .map(|v| if signed { i16::from(look(v) as u8 as i8) } else { look(v) })
                .flat_map(|v| (v >> 1).to_le_bytes())
                .collect();
            let spec = PointwiseSpec::new(&[n], vec![vec![1]], vec![1], expr.clone());
            check("table", &|caps| (spec.build(caps), spec.units(caps)), &[x], std::slice::from_ref(&table), &expected);
        }
    }
}

#[test]
fn conversions_saturate_and_nan_becomes_zero() {
    let x =
        [0.5f32, -0.5, 2.5, 3.5, -2.5, 1e10, -1e10, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2147483520.0, -2147483648.0, 1e-40, -0.0];
    for to in [Ty::I32, Ty::I64] {
        let mut b = ExprBuilder::new([Storage::F32]);
        let v = b.input(0);
        let v = b.cast(Cast::Value, to, v);
        let wide = to == Ty::I64;
        let expr = b.finish(v, if wide { Storage::I64 } else { Storage::I32 });
        let expected: Vec<u8> =
            x.iter().flat_map(|v| if wide { (*v as i64).to_le_bytes().to_vec() } else { (*v as i32).to_le_bytes().to_vec() }).collect();
        let spec = PointwiseSpec::new(&[x.len()], vec![vec![1]], vec![1], expr);
        check("cast", &|caps| (spec.build(caps), spec.units(caps)), &[f32_bytes(&x)], &[], &expected);
    }
}

#[test]
fn constants_fill() {
    let mut b = ExprBuilder::new([]);
    let v = b.i32(-7);
    let expr = b.finish(v, Storage::I8);
    for (dims, strides, size) in [(vec![100], vec![1], 100), (vec![3, 5], vec![9, 1], 23), (vec![4], vec![6], 19)] {
        let mut expected = vec![super::CANARY; size];
        for i in indices(&dims) {
            expected[element(&i, &strides) as usize] = -7i8 as u8;
        }
        let spec = PointwiseSpec::new(&dims, vec![], strides, expr.clone());
        check("fill", &|caps| (spec.build(caps), spec.units(caps)), &[], &[], &expected);
    }
}
