//! AudioSpectrogram and Mfcc: windows, transforms and powers; magnitudes, filter bank, logarithms and cosines.

use super::context::{Cx, Operand};
use super::mac::Mac;
use super::movement::{Part, fill, result};
use super::pointwise::emit;
use super::signal::transform;
use crate::error::CompileError;
use crate::ir::Node;
use crate::ops::audio::{FLOOR, Mfcc, Spectrogram};
use tflc_templates::cpu::epilogue::Epilogue;
use tflc_templates::cpu::fft::FftSpec;
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::expr::{Expr, ExprBuilder, Id, Storage, Unary};

fn expr(inputs: usize, f: impl FnOnce(&mut ExprBuilder, &[Id]) -> Id) -> Expr {
    let mut b = ExprBuilder::new(vec![Storage::F32; inputs]);
    let ids: Vec<Id> = (0..inputs).map(|i| b.input(i)).collect();
    let r = f(&mut b, &ids);
    b.finish(r, Storage::F32)
}

fn floats(v: impl IntoIterator<Item = f64>) -> Vec<u8> {
    v.into_iter().flat_map(|v| (v as f32).to_le_bytes()).collect()
}

/// Lowers AudioSpectrogram.
pub(super) fn spectrogram(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let s = Spectrogram::parse(&cx.as_call()?)?;
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (&[samples, channels], &[_, frames, bins]) = (&cx.ty(x).shape[..], &ty.shape[..]) else {
        return Err(cx.internal("audio of another rank"));
    };
    debug_assert_eq!(frames, s.frames(samples));
    let n = s.length();
    let spec = FftSpec { batch: channels * frames, n, inner: 1 };
    let [re, im, work_re, work_im] = [0; 4].map(|_| cx.workspace(spec.elements() * 4));
    for part in [re, im] {
        fill(cx, &[spec.elements()], Part::dense(part, &[spec.elements()]), 4, 0);
    }
    // Windows overlap in the input and lie apart in the transform's rows.
    let dims = [channels, frames, s.window];
    let (from, window) = (cx.operand(x)?, cx.bytes(floats(s.weights())));
    let strides = vec![vec![1, (s.stride * channels) as i64, channels as i64], vec![0, 0, 1]];
    let target = vec![(frames * n) as i64, n as i64, 1];
    let weigh = expr(2, |b, v| b.mul(v[0], v[1]));
    emit(cx, PointwiseSpec::new(&dims, strides, target, weigh), vec![from, window, re]);
    let [re, im] = transform(cx, &spec, [re, im], [work_re, work_im]);
    let power = expr(2, |b, v| {
        let (p, q) = (b.mul(v[0], v[0]), b.mul(v[1], v[1]));
        let sum = b.add(p, q);
        if s.squared { sum } else { b.unary(Unary::Sqrt, sum) }
    });
    let dims = [channels * frames, bins];
    let to = cx.operand(y)?;
    emit(cx, PointwiseSpec::new(&dims, vec![vec![n as i64, 1]; 2], row_major(&dims), power), vec![re, im, to]);
    Ok(())
}

/// Lowers Mfcc.
pub(super) fn mfcc(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let m = Mfcc::parse(&cx.as_call()?)?;
    let rate = super::constants::operand_int(cx, node, 1, "sample_rate")?;
    if rate <= 0 {
        return Err(CompileError::invalid(cx.place(), format!("a sample rate of {rate}")));
    }
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (Some(&bins), Some(&coefficients)) = (cx.ty(x).shape.last(), ty.shape.last()) else { return Err(cx.internal("a scalar spectrum")) };
    let rows = ty.elements() / coefficients.max(1);
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    let (magnitudes, bands) = (cx.workspace(rows * bins * 4), cx.workspace(rows * m.channels * 4));
    let root = expr(1, |b, v| b.unary(Unary::Sqrt, v[0]));
    each(cx, rows * bins, root, from, magnitudes);
    product(cx, [rows, bins, m.channels], &m.filters(bins, rate as f64), magnitudes, bands);
    let log = expr(1, |b, v| {
        let least = b.f32(FLOOR as f32);
        let v = b.max(v[0], least);
        b.unary(Unary::Log, v)
    });
    each(cx, rows * m.channels, log, bands, bands);
    product(cx, [rows, m.channels, coefficients], &m.cosines(), bands, to);
    Ok(())
}

/// An expression over dense elements.
fn each(cx: &mut Cx<'_, '_>, elements: usize, expr: Expr, from: Operand, to: Operand) {
    emit(cx, PointwiseSpec::new(&[elements], vec![vec![1]], vec![1], expr), vec![from, to]);
}

/// `[m, k]` times a constant `[k, n]`.
fn product(cx: &mut Cx<'_, '_>, [m, k, n]: [usize; 3], matrix: &[f64], from: Operand, to: Operand) {
    let (a_storage, weights) = (Storage::F32, WeightFormat::F32);
    let spec = GemmSpec { m, n, k, lda: k, ldc: n, a_storage, weights, epilogue: Epilogue::identity(Storage::F32) };
    // Packing takes one row for each output.
    let turned = floats((0..n).flat_map(|j| (0..k).map(move |i| matrix[i * n + j])));
    let packed = gemm::pack_b(&spec, cx.caps(), &turned);
    let packed = cx.bytes(packed);
    Mac::Gemm(spec, 0).call(cx, vec![from, packed, to]);
}
