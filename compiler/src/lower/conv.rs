//! Convolutions: CONV_2D (a matrix product where the window is one pixel), DEPTHWISE_CONV_2D, TRANSPOSE_CONV.
//!
//! Weights are packed at compile time into what the chosen kernel reads; integer kernels start from a bias that holds
//! the compensation for zero points.

use super::context::{Cx, Operand};
use super::epilogue::{Composed, compose};
use crate::error::{CompileError, Unsupported};
use crate::ir::{Bytes, DType, Node, OpKind, TensorId};
use crate::ops::conv_2d::{Arithmetic, Conv};
use crate::ops::transpose_conv::TransposeConv;
use half::slice::HalfFloatSliceExt;
use tflc_templates::cpu::conv::{self, ConvSpec};
use tflc_templates::cpu::depthwise::{self, DepthwiseSpec};
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::transpose_conv::{self, TransposeConvSpec};
use tflc_templates::expr::Storage;

/// Appends the calls of a convolution.
///
/// # Errors
/// `Unsupported` for weights that are computed, and types that no kernel takes.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    if node.op == OpKind::TransposeConv {
        return lower_transposed(cx, node);
    }
    let call = cx.as_call()?;
    let conv = Conv::new(&call)?;
    let base = conv.epilogue(&call)?;
    let (x, w) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let bias = cx.optional_input(node, 2);
    if matches!(conv.arithmetic, Arithmetic::Hybrid | Arithmetic::Quantized16) {
        return Err(cx.unsupported(Unsupported::Types(format!("{} with weights of {}", cx.ty(x).dtype, cx.ty(w).dtype))));
    }
    let activations = activations(cx, x)?;
    let (weights, format) = weights(cx, w, conv.weight_zero_point)?;
    let integer = conv.arithmetic == Arithmetic::Quantized;
    let composed = compose(cx, node, &base, if integer { Storage::I32 } else { Storage::F32 }, integer)?;
    let win = conv.window;
    let [height, width] = win.input;
    let [out_h, out_w] = win.output;
    let caps = cx.caps().clone();
    let source = cx.operand(x)?;
    let out = cx.operand(node.outputs[0])?;

    if conv.depthwise {
        let spec = DepthwiseSpec {
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
            a_storage: activations,
            a_zero_point: conv.input_zero_point,
            weights: format,
            epilogue: composed.epilogue.clone(),
        };
        let packed = depthwise::pack_b(&spec, &caps, &weights());
        let packed = cx.bytes(packed);
        let what = format!("depthwise {:?} {:?} {}", spec.kernel, spec.a_storage, spec.a_zero_point);
        let folded = if integer {
            let (s, c) = (spec.clone(), caps.clone());
            Some(folded_bias(cx, w, bias, &what, conv.out_channels, move |b| depthwise::folded_bias(&s, &c, b, &weights()))?)
        } else {
            None
        };
        let args = arguments(cx, &composed, [source, packed, out], bias, folded)?;
        let (units, grain) = (depthwise::units(&spec), depthwise::grain(&spec));
        cx.call(format!("{spec:?}"), move || depthwise::build(&spec, &caps), args, units as u64, grain as u64);
        return Ok(());
    }
    let plain = win.kernel == [1, 1] && win.stride == [1, 1] && win.pad == [0, 0] && win.output == win.input && conv.groups == 1;
    if plain {
        let spec = GemmSpec {
            m: win.pixels(),
            n: conv.out_channels,
            k: conv.in_channels,
            lda: conv.in_channels,
            ldc: conv.out_channels,
            a_storage: activations,
            weights: format,
            epilogue: composed.epilogue.clone(),
        };
        let what = format!("gemm {}x{}x{} {:?} {}", spec.m, spec.n, spec.k, spec.a_storage, conv.input_zero_point);
        let folded = if integer {
            let (s, c, weights, zero) = (spec.clone(), caps.clone(), weights.clone(), conv.input_zero_point);
            Some(folded_bias(cx, w, bias, &what, spec.n, move |b| gemm::folded_bias(&s, &c, b, &weights(), zero))?)
        } else {
            None
        };
        let (s, c) = (spec.clone(), caps.clone());
        let packed =
            cx.packed(w, &what, gemm::packed_bytes(&spec, &caps), move |out| out.copy_from_slice(&gemm::pack_b(&s, &c, &weights())));
        let args = arguments(cx, &composed, [source, packed, out], bias, folded)?;
        let (units, grain) = (gemm::units(&spec, &caps), gemm::grain(&spec, &caps));
        cx.call(format!("{spec:?}"), move || gemm::build(&spec, &caps), args, units as u64, grain as u64);
        return Ok(());
    }
    let spec = ConvSpec {
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
        a_storage: activations,
        a_zero_point: conv.input_zero_point,
        weights: format,
        epilogue: composed.epilogue.clone(),
    };
    let what =
        format!("conv {:?} {:?} {:?} {:?} {:?} {}", spec.input, spec.output, spec.stride, spec.dilation, spec.a_storage, spec.a_zero_point);
    let folded = if integer {
        let (s, c, weights) = (spec.clone(), caps.clone(), weights.clone());
        Some(folded_bias(cx, w, bias, &what, conv.out_channels, move |b| conv::folded_bias(&s, &c, b, &weights()))?)
    } else {
        None
    };
    let (s, c) = (spec.clone(), caps.clone());
    let packed = cx.packed(w, &what, conv::packed_bytes(&spec, &caps), move |out| out.copy_from_slice(&conv::pack_b(&s, &c, &weights())));
    let args = arguments(cx, &composed, [source, packed, out], bias, folded)?;
    let (units, grain) = (conv::units(&spec, &caps), conv::grain(&spec, &caps));
    cx.call(format!("{spec:?}"), move || conv::build(&spec, &caps), args, units as u64, grain as u64);
    Ok(())
}

fn lower_transposed(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let conv = TransposeConv::new(&call)?;
    let base = conv.epilogue(&call)?;
    let (w, x) = (cx.input(node, 1)?, cx.input(node, 2)?);
    let bias = cx.optional_input(node, 3);
    if matches!(conv.arithmetic, Arithmetic::Hybrid | Arithmetic::Quantized16) {
        return Err(cx.unsupported(Unsupported::Types(format!("{} with weights of {}", cx.ty(x).dtype, cx.ty(w).dtype))));
    }
    let (weights, format) = weights(cx, w, conv.weight_zero_point)?;
    let integer = conv.arithmetic == Arithmetic::Quantized;
    let composed = compose(cx, node, &base, if integer { Storage::I32 } else { Storage::F32 }, false)?;
    let caps = cx.caps().clone();
    let spec = TransposeConvSpec {
        batch: conv.batch,
        input: conv.input,
        in_pixel: conv.input[2],
        output: conv.output,
        ldc: conv.output[2],
        kernel: conv.kernel,
        stride: conv.stride,
        pad: conv.pad,
        a_storage: activations(cx, x)?,
        a_zero_point: conv.input_zero_point,
        weights: format,
        epilogue: composed.epilogue.clone(),
    };
    let (s, c) = (spec.clone(), caps.clone());
    let what = format!("transpose_conv {:?} {:?} {:?} {:?}", spec.input, spec.output, spec.stride, spec.pad);
    let packed = cx.packed(w, &what, transpose_conv::packed_bytes(&spec, &caps), move |out| {
        out.copy_from_slice(&transpose_conv::pack_b(&s, &c, &weights()))
    });
    let (source, out) = (cx.operand(x)?, cx.operand(node.outputs[0])?);
    let args = arguments(cx, &composed, [source, packed, out], bias, None)?;
    let (units, grain) = (transpose_conv::units(&spec, &caps), transpose_conv::grain(&spec, &caps));
    cx.call(format!("{spec:?}"), move || transpose_conv::build(&spec, &caps), args, units as u64, grain as u64);
    Ok(())
}

/// Storage of activations that the kernels multiply.
pub(super) fn activations(cx: &Cx<'_, '_>, t: TensorId) -> Result<Storage, CompileError> {
    match cx.ty(t).dtype {
        DType::Float32 => Ok(Storage::F32),
        DType::Int8 => Ok(Storage::I8),
        DType::UInt8 => Ok(Storage::U8),
        other => Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    }
}

/// Weights as kernels pack them, unpacked or widened when asked for, and their format.
pub(super) fn weights(
    cx: &Cx<'_, '_>,
    t: TensorId,
    zero_point: i32,
) -> Result<(impl Fn() -> Bytes + Clone + Send + Sync + 'static, WeightFormat), CompileError> {
    let ty = cx.ty(t);
    let data = cx.require_constant(t, "weights")?.clone();
    let (dtype, elements) = (ty.dtype, ty.elements());
    let format = match dtype {
        DType::Float32 | DType::Float16 => WeightFormat::F32,
        DType::Int8 | DType::Int4 | DType::Int2 if zero_point == 0 => WeightFormat::I8,
        DType::UInt8 => WeightFormat::U8 { zero_point },
        other => return Err(cx.unsupported(Unsupported::Types(format!("weights of {other} with zero point {zero_point}")))),
    };
    let expand = move || match dtype {
        DType::Float16 => {
            let halves: Vec<half::f16> = bytemuck::pod_collect_to_vec(&data);
            let mut wide = vec![0f32; halves.len()];
            halves.convert_to_f32_slice(&mut wide);
            crate::ops::value::bytes_of(wide)
        }
        DType::Int4 | DType::Int2 => {
            Bytes::from(crate::ops::value::unpack(dtype, &data, elements).into_iter().map(|v| v as u8).collect::<Vec<u8>>())
        }
        _ => data.clone(),
    };
    Ok((expand, format))
}

/// Values of an integer bias; `None` inside where there is none.
pub(super) fn int_bias(cx: &Cx<'_, '_>, bias: Option<TensorId>) -> Result<Option<Vec<i32>>, CompileError> {
    let Some(t) = bias else { return Ok(None) };
    let data = cx.require_constant(t, "bias")?;
    match cx.ty(t).dtype {
        DType::Int32 => Ok(Some(data.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect())),
        other => Err(cx.unsupported(Unsupported::Types(format!("bias of {other}")))),
    }
}

/// An integer bias that `fold` makes of the model's, packed later like the weights `w`; `what` says all that it depends on.
pub(super) fn folded_bias(
    cx: &mut Cx<'_, '_>,
    w: TensorId,
    bias: Option<TensorId>,
    what: &str,
    channels: usize,
    fold: impl Fn(Option<&[i32]>) -> Vec<i32> + Send + Sync + 'static,
) -> Result<Operand, CompileError> {
    let values = int_bias(cx, bias)?;
    let what = format!("bias {bias:?} of {what}");
    Ok(cx.packed(w, &what, channels * 4, move |out| {
        for (to, v) in out.as_chunks_mut().0.iter_mut().zip(fold(values.as_deref())) {
            *to = v.to_le_bytes();
        }
    }))
}

/// Arguments of an accumulating kernel: activations, weights, output, then those of the epilogue. `folded` replaces the bias.
pub(super) fn arguments(
    cx: &mut Cx<'_, '_>,
    composed: &Composed,
    main: [Operand; 3],
    bias: Option<TensorId>,
    folded: Option<Operand>,
) -> Result<Vec<Operand>, CompileError> {
    let bias = match (folded, bias) {
        (Some(operand), _) => Some(operand),
        (None, Some(t)) => Some(cx.operand(t)?),
        (None, None) => None,
    };
    let mut args = main.to_vec();
    args.extend(composed.operands(cx, bias, None)?);
    Ok(args)
}
