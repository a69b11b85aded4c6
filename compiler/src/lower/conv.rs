//! Convolutions: CONV_2D (a matrix product where the window is one pixel), DEPTHWISE_CONV_2D, TRANSPOSE_CONV.

use super::context::Cx;
use super::mac::{Mac, Product, Weights, activations};
use crate::error::CompileError;
use crate::ir::{DType, Node, OpKind};
use crate::ops::conv_2d::{Arithmetic, Conv};
use crate::ops::transpose_conv::TransposeConv;
use tflc_templates::cpu::conv::ConvSpec;
use tflc_templates::cpu::depthwise::DepthwiseSpec;
use tflc_templates::cpu::epilogue::Epilogue;
use tflc_templates::cpu::gemm::GemmSpec;
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::cpu::transpose_conv::TransposeConvSpec;
use tflc_templates::expr::Storage;

/// Appends the calls of a convolution.
///
/// # Errors
/// `Unsupported` for types that no kernel takes.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    if node.op == OpKind::TransposeConv {
        return lower_transposed(cx, node);
    }
    let call = cx.as_call()?;
    let conv = Conv::new(&call)?;
    let base = conv.epilogue(&call)?;
    let (x, w) = (cx.input(node, 0)?, cx.input(node, 1)?);
    if cx.constant(w).is_none() {
        return super::computed_weights::convolution(cx, node, &conv, &base, [x, w], cx.optional_input(node, 2));
    }
    let mut weights = Weights::of(cx, w, conv.weight_zero_point)?;
    if conv.arithmetic == Arithmetic::Hybrid && cx.ty(w).dtype == DType::UInt8 {
        weights.format = WeightFormat::I8;
    }
    let (source, storage) = activations(cx, x)?;
    let product = Product {
        mac: kernel(&conv, &weights),
        weights,
        base,
        bias: cx.optional_input(node, 2),
        arithmetic: conv.arithmetic,
        rule: conv.rule,
        source,
        storage,
        zero_point: conv.input_zero_point,
        out: cx.operand(node.outputs[0])?,
    };
    product.lower(cx, node)
}

/// The kernel of a convolution; activations and epilogue are left open.
fn kernel(conv: &Conv, weights: &Weights) -> Mac {
    let win = conv.window;
    let [height, width] = win.input;
    let [out_h, out_w] = win.output;
    let epilogue = Epilogue::identity(Storage::I32);
    if conv.depthwise {
        return Mac::Depthwise(DepthwiseSpec {
            batch: win.batch,
            input: [height, width, conv.in_channels],
            in_pixel: conv.in_channels,
            output: win.output,
            multiplier: conv.out_channels / conv.in_channels,
            ldc: conv.out_channels,
            kernel: win.kernel,
            stride: win.stride,
            dilation: win.dilation,
            pad: win.pad,
            a_storage: Storage::I8,
            a_zero_point: 0,
            weights: weights.format,
            epilogue,
        });
    }
    let plain = win.kernel == [1, 1] && win.stride == [1, 1] && win.pad == [0, 0] && win.output == win.input && conv.groups == 1;
    // Rows of a matrix product are quantised one by one, images of a convolution as a whole.
    if plain && (conv.arithmetic != Arithmetic::Hybrid || conv.quantized_per_pixel()) {
        let spec = GemmSpec {
            m: win.pixels(),
            n: conv.out_channels,
            k: conv.in_channels,
            lda: conv.in_channels,
            ldc: conv.out_channels,
            a_storage: Storage::I8,
            weights: weights.format,
            epilogue,
        };
        return Mac::Gemm(spec, 0);
    }
    Mac::Conv(ConvSpec {
        batch: win.batch,
        input: [height, width, conv.in_channels],
        in_pixel: conv.in_channels,
        output: [out_h, out_w, conv.out_channels],
        ldc: conv.out_channels,
        kernel: win.kernel,
        stride: win.stride,
        dilation: win.dilation,
        pad: win.pad,
        groups: conv.groups,
        a_storage: Storage::I8,
        a_zero_point: 0,
        weights: weights.format,
        epilogue,
    })
}

fn lower_transposed(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let conv = TransposeConv::new(&call)?;
    let base = conv.epilogue(&call)?;
    let (w, x) = (cx.input(node, 1)?, cx.input(node, 2)?);
    if cx.constant(w).is_none() {
        return super::computed_weights::transposed(cx, node, &conv, &base, [x, w], cx.optional_input(node, 3));
    }
    let weights = Weights::of(cx, w, conv.weight_zero_point)?;
    let mac = Mac::Transposed(TransposeConvSpec {
        batch: conv.batch,
        input: conv.input,
        in_pixel: conv.input[2],
        output: conv.output,
        ldc: conv.output[2],
        kernel: conv.kernel,
        stride: conv.stride,
        pad: conv.pad,
        a_storage: Storage::I8,
        a_zero_point: Some(0),
        weights: weights.format,
        epilogue: Epilogue::identity(Storage::I32),
    });
    let (source, storage) = activations(cx, x)?;
    let product = Product {
        mac,
        weights,
        base,
        bias: cx.optional_input(node, 3),
        arithmetic: conv.arithmetic,
        rule: Rule::Even,
        source,
        storage,
        zero_point: conv.input_zero_point,
        out: cx.operand(node.outputs[0])?,
    };
    product.lower(cx, node)
}
