//! CONV_2D whose weights are computed: windows are copied side by side, and the rest is a matrix product with weights packed at run time.

use super::context::{Cx, Operand};
use super::epilogue::{Correction, Sources, compose};
use super::mac::{Mac, activations};
use super::matmul::{matrix, pack_at_run_time};
use super::movement::{Part, copy_strided};
use super::pad::{Value, pad_into};
use super::run_time_weights::{Matrix, Sizes, prepare, product};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, TensorId};
use crate::ops::conv_2d::{Arithmetic, Conv};
use crate::ops::requant::Epilogue;
use tflc_templates::cpu::gemm::GemmSpec;
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::pointwise::row_major;
use tflc_templates::expr::Storage;

/// Appends the calls of a convolution of `x` with computed weights `w`.
///
/// # Errors
/// `Unsupported` for groups, depthwise convolutions and float activations with integer weights.
pub(super) fn lower(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    conv: &Conv,
    base: &Epilogue,
    [x, w]: [TensorId; 2],
    bias: Option<TensorId>,
) -> Result<(), CompileError> {
    if conv.depthwise || conv.groups != 1 || conv.arithmetic == Arithmetic::Hybrid || cx.ty(w).dtype == DType::Float16 {
        return Err(cx.unsupported(Unsupported::Option("weights".into(), format!("a computed tensor of {}", cx.ty(w).dtype))));
    }
    let storage = activations(cx, x)?;
    let source = cx.operand(x)?;
    let columns = windows(cx, conv, source, storage);
    let out = cx.operand(node.outputs[0])?;
    let bias = bias.map(|t| cx.operand(t)).transpose()?;
    let sizes =
        Sizes { m: conv.window.pixels(), k: conv.window.kernel[0] * conv.window.kernel[1] * conv.in_channels, n: conv.out_channels };
    let strides = [1, sizes.k as i64];
    if conv.arithmetic != Arithmetic::Float {
        let right = matrix(cx, w, 0, conv.weight_zero_point, strides)?;
        let mut right = prepare(cx, right, sizes)?;
        let left = Matrix { base: columns, storage, zero_point: conv.input_zero_point, strides: [0, 0] };
        return product(cx, node, base, bias, left, &mut right, sizes, out);
    }
    let composed = compose(cx, node, base, Storage::F32, Correction::None)?;
    let spec = GemmSpec {
        m: sizes.m,
        n: sizes.n,
        k: sizes.k,
        lda: sizes.k,
        ldc: sizes.n,
        a_storage: Storage::F32,
        weights: WeightFormat::F32,
        epilogue: composed.epilogue.clone(),
    };
    let weights = cx.operand(w)?;
    let packed = pack_at_run_time(cx, &spec, weights, strides);
    let mut args = vec![columns, packed, out];
    args.extend(composed.operands(cx, &Sources { bias, ..Sources::default() })?);
    Mac::Gemm(spec, 0).call(cx, args);
    Ok(())
}

/// The window of every output pixel as a row `[kernel height, kernel width, channels]`.
fn windows(cx: &mut Cx<'_, '_>, conv: &Conv, source: Operand, storage: Storage) -> Operand {
    let win = &conv.window;
    let (bytes, c) = (storage.bytes(), conv.in_channels);
    let mut paddings = [(0, 0); 4];
    for d in 0..2 {
        let reach = (win.output[d] - 1) * win.stride[d] + (win.kernel[d] - 1) * win.dilation[d] + 1;
        paddings[1 + d] = (win.pad[d], reach.saturating_sub(win.pad[d] + win.input[d]));
    }
    let inner = [win.batch, win.input[0], win.input[1], c];
    let framed: Vec<usize> = inner.iter().zip(&paddings).map(|(n, p)| n + p.0 + p.1).collect();
    let mut from = source;
    if framed != inner {
        from = cx.workspace(framed.iter().product::<usize>() * bytes);
        pad_into(cx, &inner, &paddings, source, from, bytes, &Value::Bits(conv.input_zero_point as u32 as u64));
    }
    let taps = win.kernel[0] * win.kernel[1];
    let out = cx.workspace(win.pixels() * taps * c * bytes);
    let dims = [win.batch, win.output[0], win.output[1], c];
    let own = row_major(&framed);
    let strides = vec![own[0], own[1] * win.stride[0] as i64, own[2] * win.stride[1] as i64, 1];
    let row = (taps * c) as i64;
    let target = vec![row * (win.output[0] * win.output[1]) as i64, row * win.output[1] as i64, row, 1];
    for ky in 0..win.kernel[0] {
        for kx in 0..win.kernel[1] {
            let offset = (ky * win.dilation[0]) as i64 * own[1] + (kx * win.dilation[1]) as i64 * own[2];
            let at = ((ky * win.kernel[1] + kx) * c) as i64;
            let to = Part { base: out, offset: at, strides: target.clone() };
            copy_strided(cx, &dims, Part { base: from, offset, strides: strides.clone() }, to, bytes);
        }
    }
    out
}
