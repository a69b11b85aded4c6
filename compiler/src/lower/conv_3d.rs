//! CONV_3D and CONV_3D_TRANSPOSE: the windows as rows of a matrix, then one matrix product; the transposed operator the other way round.

use super::context::{Cx, Operand};
use super::epilogue::{Composed, Correction, Sources, compose};
use super::mac::Mac;
use super::matmul::pack_at_run_time;
use super::movement::{Part, copy_strided, fill, result};
use super::pointwise::emit;
use crate::error::CompileError;
use crate::ir::{Node, OpKind, TensorId};
use crate::ops::conv_3d::{Conv3d, backward, epilogue, forward};
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::cpu::gemm::GemmSpec;
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::expr::{ExprBuilder, Storage};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    if node.op == OpKind::Conv3d { convolution(cx, node) } else { transposed(cx, node) }
}

/// The windows that tap `k` meets along each axis, `first..first + count`, and the element that the first meets.
fn overlap(g: &Conv3d, k: [usize; 3]) -> Option<([usize; 3], [usize; 3], [usize; 3])> {
    let (mut first, mut count, mut from) = ([0; 3], [0; 3], [0; 3]);
    for d in 0..3 {
        let hits: Vec<(usize, usize)> = (0..g.output[d]).filter_map(|o| Some((o, g.meets(d, o, k[d])?))).collect();
        let &(o, i) = hits.first()?;
        (first[d], count[d], from[d]) = (o, hits.len(), i);
    }
    Some((first, count, from))
}

/// Strides of volumes `[batch, depth, height, width, channels]`, of which the last are a part of `row`.
fn strides(batch_elements: usize, size: [usize; 3], row: usize, step: [usize; 3]) -> Vec<i64> {
    let own = [size[1] * size[2] * row, size[2] * row, row];
    let mut all = vec![batch_elements as i64];
    all.extend((0..3).map(|d| (own[d] * step[d]) as i64));
    all.push(1);
    all
}

fn offset(at: [usize; 3], size: [usize; 3], row: usize) -> i64 {
    (((at[0] * size[1] + at[1]) * size[2] + at[2]) * row) as i64
}

/// Rows of windows beside the part of the larger side that tap `t` meets: dimensions, then both parts.
fn parts(g: &Conv3d, t: usize, k: [usize; 3], channels: usize, rows: Operand, volume: Operand) -> Option<([usize; 5], Part, Part)> {
    let (first, count, from) = overlap(g, k)?;
    let width = channels * g.kernel.iter().product::<usize>();
    let size = |s: [usize; 3]| s.iter().product::<usize>();
    let windows = Part {
        base: rows.offset(t * channels * 4),
        offset: offset(first, g.output, width),
        strides: strides(size(g.output) * width, g.output, width, [1; 3]),
    };
    let elements = Part {
        base: volume,
        offset: offset(from, g.input, channels),
        strides: strides(size(g.input) * channels, g.input, channels, g.stride),
    };
    Some(([g.batch, count[0], count[1], count[2], channels], windows, elements))
}

/// The weights, a constant or computed f32 matrix with these strides (of k and n, in elements), in the panels of the kernel.
fn panels(cx: &mut Cx<'_, '_>, spec: &GemmSpec, w: TensorId, strides: [i64; 2]) -> Result<Operand, CompileError> {
    let matrix = cx.operand(w)?;
    Ok(pack_at_run_time(cx, spec, matrix, strides))
}

fn convolution(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let (g, ci, co) = forward(&call)?;
    let composed = compose(cx, node, &epilogue(&call, 2)?, Storage::F32, Correction::None)?;
    let (x, w, bias) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.optional_input(node, 2));
    let (y, _) = result(cx, node, 0)?;
    let rows = g.batch * g.output.iter().product::<usize>();
    let k = ci * g.kernel.iter().product::<usize>();
    let windows = cx.workspace(rows * k * 4);
    fill(cx, &[rows * k], Part::dense(windows, &[rows * k]), 4, 0);
    let volume = cx.operand(x)?;
    for (t, tap) in g.taps().enumerate() {
        if let Some((dims, to, from)) = parts(&g, t, tap, ci, windows, volume) {
            copy_strided(cx, &dims, from, to, 4);
        }
    }
    let (a_storage, weights) = (Storage::F32, WeightFormat::F32);
    let spec = GemmSpec { m: rows, n: co, k, lda: k, ldc: co, a_storage, weights, epilogue: composed.epilogue.clone() };
    let packed = panels(cx, &spec, w, [co as i64, 1])?;
    let out = cx.operand(y)?;
    let mut args = vec![windows, packed, out];
    args.extend(operands(cx, &composed, bias)?);
    Mac::Gemm(spec, 0).call(cx, args);
    Ok(())
}

fn transposed(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let (g, ci, co) = backward(&call)?;
    let (x, w, bias) = (cx.input(node, 2)?, cx.input(node, 1)?, cx.optional_input(node, 3));
    let (y, ty) = result(cx, node, 0)?;
    let taps: usize = g.kernel.iter().product();
    let rows = g.batch * g.output.iter().product::<usize>();
    let n = taps * co;
    let plain = Epilogue::identity(Storage::F32);
    let (a_storage, weights) = (Storage::F32, WeightFormat::F32);
    let spec = GemmSpec { m: rows, n, k: ci, lda: ci, ldc: n, a_storage, weights, epilogue: plain };
    let packed = panels(cx, &spec, w, [1, ci as i64])?;
    let (windows, out) = (cx.workspace(rows * n * 4), cx.operand(y)?);
    let source = cx.operand(x)?;
    Mac::Gemm(spec, 0).call(cx, vec![source, packed, windows]);
    // Sums of what lands on each element, from the bias on.
    fill(cx, &ty.shape, Part::dense(out, &ty.shape), 4, 0);
    let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
    let (old, new) = (b.input(0), b.input(1));
    let sum = b.add(old, new);
    let add = b.finish(sum, Storage::F32);
    for (t, tap) in g.taps().enumerate() {
        if let Some((dims, from, to)) = parts(&g, t, tap, co, windows, out) {
            let place = to.base.offset(to.offset as usize * 4);
            let args = vec![place, from.base.offset(from.offset as usize * 4), place];
            emit(cx, PointwiseSpec::new(&dims, vec![to.strides.clone(), from.strides], to.strides, add.clone()), args);
        }
    }
    finish(cx, node, bias, out, &ty.shape)
}

/// Addresses of the operands of an epilogue.
fn operands(cx: &mut Cx<'_, '_>, composed: &Composed, bias: Option<TensorId>) -> Result<Vec<Operand>, CompileError> {
    let bias = bias.map(|t| cx.operand(t)).transpose()?;
    composed.operands(cx, &Sources { bias, ..Sources::default() })
}

/// Bias, activation and tail on the sums, in place.
fn finish(cx: &mut Cx<'_, '_>, node: &Node, bias: Option<TensorId>, out: Operand, shape: &[usize]) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let composed = compose(cx, node, &epilogue(&call, 3)?, Storage::F32, Correction::None)?;
    let args = operands(cx, &composed, bias)?;
    let own = row_major(shape);
    let mut strides = vec![own.clone()];
    let mut operands = vec![out];
    for (access, operand) in composed.epilogue.operands.iter().zip(&args) {
        if *access != OperandAccess::PerColumn {
            return Err(cx.internal("a tail that no loop can address"));
        }
        strides.push((0..shape.len()).map(|d| i64::from(d + 1 == shape.len())).collect());
        operands.push(*operand);
    }
    operands.push(out);
    emit(cx, PointwiseSpec::new(shape, strides, own, composed.epilogue.expr.clone()), operands);
    Ok(())
}
