//! RFFT2D; LOCAL_RESPONSE_NORMALIZATION.
//!
//! Transforms work on separate arrays of real and imaginary parts, which meet in the result.

use super::complex::half;
use super::constants::operand_ints;
use super::context::{Cx, Operand};
use super::grain::grain;
use super::movement::{Part, copy_strided, fill, result};
use super::pointwise::emit;
use crate::error::CompileError;
use crate::ir::{Node, OpKind};
use crate::ops::normalize::lrn_attrs;
use tflc_templates::cpu::fft::FftSpec;
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::expr::{Binary, ExprBuilder, Storage};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::Rfft2d => rfft2d(cx, node),
        _ => local_response(cx, node),
    }
}

/// Rows, then columns of the half of the spectrum that is kept.
fn rfft2d(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let lengths = operand_ints(cx, node, 1, "fft_length")?;
    let shape = &cx.ty(x).shape;
    let (&[h, w], [outer @ .., ih, iw]) = (&lengths[..], &shape[..]) else { return Err(cx.internal("no matrices to transform")) };
    let (h, w) = (h as usize, w as usize);
    let images: usize = outer.iter().product();
    let rows = FftSpec { batch: images * h, n: w, inner: 1 };
    let [re, im, work_re, work_im] = [0; 4].map(|_| cx.workspace(rows.elements() * 4));
    // The image, cropped or padded with zeros.
    let grid = [images, h, w];
    for target in [re, im] {
        fill(cx, &grid, Part::dense(target, &grid), 4, 0);
    }
    let kept = [images, h.min(*ih), w.min(*iw)];
    let from = Part::dense(cx.operand(x)?, &[images, *ih, *iw]);
    copy_strided(cx, &kept, from, Part::dense(re, &grid), 4);
    let mut now = transform(cx, &rows, [re, im], [work_re, work_im]);
    let mut grid = grid;
    if h > 1 {
        let columns = FftSpec { batch: images, n: h, inner: w / 2 + 1 };
        let narrow = [images, h, w / 2 + 1];
        let half = [0; 2].map(|_| cx.workspace(columns.elements() * 4));
        let work = [0; 2].map(|_| cx.workspace(columns.elements() * 4));
        for k in 0..2 {
            copy_strided(cx, &narrow, Part::dense(now[k], &grid), Part::dense(half[k], &narrow), 4);
        }
        now = transform(cx, &columns, half, work);
        grid = narrow;
    }
    let out = [images, h, w / 2 + 1];
    let to = cx.operand(y)?;
    debug_assert_eq!(ty.elements(), out.iter().product::<usize>());
    for (k, part) in now.into_iter().enumerate() {
        copy_strided(cx, &out, Part::dense(part, &grid), half(to, k, &out), 4);
    }
    Ok(())
}

/// Appends a transform; gives the arrays where the result is.
pub(super) fn transform(cx: &mut Cx<'_, '_>, spec: &FftSpec, data: [Operand; 2], work: [Operand; 2]) -> [Operand; 2] {
    if spec.n > 1 {
        let twiddles = cx.bytes(spec.twiddles().into_iter().flat_map(f32::to_le_bytes).collect());
        let args = vec![data[0], data[1], work[0], work[1], twiddles];
        let (caps, units, own) = (cx.caps().clone(), spec.units(), spec.clone());
        let unit_ns = (spec.n * spec.inner) as f64 * f64::from(spec.n.trailing_zeros()) * 0.5;
        cx.call(format!("{spec:?}"), move || own.build(&caps), args, units, grain(units, unit_ns));
    }
    if spec.lands_in_workspace() { work } else { data }
}

/// Operands of one sum; more neighbours take several.
const TERMS: usize = 24;

/// `x (bias + alpha * sum of squares of the neighbours)^-beta`, neighbours being up to `radius` channels away.
fn local_response(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (radius, bias, alpha, beta) = lrn_attrs(&cx.as_call()?)?;
    let Some((&c, outer)) = ty.shape.split_last() else { return Err(cx.internal("a scalar has no channels")) };
    let rows: usize = outer.iter().product();
    let radius = radius.min(c.saturating_sub(1));
    let (dims, padded) = ([rows, c], [rows, c + 2 * radius]);
    // Squares with zeros on both sides.
    let (squares, sums) = (cx.workspace(padded.iter().product::<usize>() * 4), cx.workspace(rows * c * 4));
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    if radius > 0 {
        for at in [0, radius + c] {
            fill(cx, &[rows, radius], Part { base: squares, offset: at as i64, strides: row_major(&padded) }, 4, 0);
        }
    }
    let mut b = ExprBuilder::new([Storage::F32]);
    let v = b.input(0);
    let v = b.mul(v, v);
    let square = b.finish(v, Storage::F32);
    emit(cx, PointwiseSpec::new(&dims, vec![row_major(&dims)], row_major(&padded), square), vec![from, squares.offset(radius * 4)]);
    let terms: Vec<Operand> = (0..2 * radius + 1).map(|k| squares.offset(k * 4)).collect();
    for (i, part) in terms.chunks(TERMS).enumerate() {
        let mut args = part.to_vec();
        let mut strides = vec![row_major(&padded); part.len()];
        if i > 0 {
            args.push(sums);
            strides.push(row_major(&dims));
        }
        let mut b = ExprBuilder::new(vec![Storage::F32; args.len()]);
        let inputs: Vec<_> = (0..args.len()).map(|k| b.input(k)).collect();
        let total = inputs[1..].iter().fold(inputs[0], |acc, v| b.add(acc, *v));
        args.push(sums);
        let expr = b.finish(total, Storage::F32);
        emit(cx, PointwiseSpec::new(&dims, strides, row_major(&dims), expr), args);
    }
    let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
    let (v, sum) = (b.input(0), b.input(1));
    let (alpha, bias, exponent) = (b.f32(alpha), b.f32(bias), b.f32(-beta));
    let scaled = b.mul(alpha, sum);
    let base = b.add(bias, scaled);
    let power = b.binary(Binary::Pow, base, exponent);
    let r = b.mul(v, power);
    let expr = b.finish(r, Storage::F32);
    emit(cx, PointwiseSpec::new(&dims, vec![row_major(&dims); 2], row_major(&dims), expr), vec![from, sums, to]);
    Ok(())
}
