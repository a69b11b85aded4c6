//! Float activations with integer weights: activations are quantised at run time, products are integers, the result is float again.
//!
//! Each row of a matrix product, or each image of a convolution, has its own scale and zero point. The zero point times the sum of the weights is taken off in the
//! epilogue; where a window reaches beyond the image, the quantised image is copied into a frame of its zero point first. Kernels of transposed convolutions
//! take the zero point of their one image off themselves.

use super::context::{Cx, Operand};
use super::epilogue::{Correction, Sources, compose};
use super::grain::grain;
use super::mac::{Mac, Product};
use super::movement::{Part, copy_strided};
use super::pad::{Value, pad_into};
use crate::error::CompileError;
use crate::ir::Node;
use tflc_kir::Dot4;
use tflc_templates::cpu::epilogue::OperandAccess;
use tflc_templates::cpu::quantize_rows::{QuantizeRowsSpec, Rule};
use tflc_templates::cpu::transpose_conv::TransposeConvSpec;
use tflc_templates::expr::Storage;

/// Activations that were quantised at run time: rows, their scales (f32) and zero points (i32).
#[derive(Clone, Copy, Debug)]
pub(super) struct Rows {
    pub(super) values: Operand,
    pub(super) scales: Operand,
    pub(super) zeros: Operand,
}

/// Appends the calls of a product of float activations with integer weights.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node, p: Product) -> Result<(), CompileError> {
    let (groups, size, pixels) = groups(&p.mac);
    if p.mac.is_exact() {
        if let (Mac::Transposed(spec), 1) = (&p.mac, groups) {
            return transposed(cx, node, &p, spec, [size, pixels]);
        }
        // How many weights an output meets depends on its place: values less their zero points leave nothing to correct.
        let rows = quantize(cx, p.source, [groups, size], Storage::I16, p.rule);
        return super::wide::lower(cx, node, p, rows.values, Some((rows.scales, groups)));
    }
    let storage = integer_storage(cx);
    let mut rows = quantize(cx, p.source, [groups, size], storage, p.rule);
    let mut mac = p.mac.clone();
    pad(cx, &mut mac, &mut rows);
    let access = if groups == 1 { OperandAccess::Scalar } else { OperandAccess::PerRow };
    if groups > 1 && pixels > 1 {
        rows.scales = repeat(cx, rows.scales, groups, pixels);
        rows.zeros = repeat(cx, rows.zeros, groups, pixels);
    }
    let composed = compose(cx, node, &p.base, Storage::I32, Correction::Rows(access))?;
    let mac = mac.with(storage, 0, composed.epilogue.clone());
    let packed = mac.packed(cx, &p.weights);
    let from = Sources {
        bias: p.bias.map(|t| cx.operand(t)).transpose()?,
        compensation: Some(mac.compensated(cx, &p.weights, None)?),
        row_scale: Some(rows.scales),
        row_zero: Some(rows.zeros),
        weight_sums: Some(mac.sums(cx, &p.weights)),
    };
    let mut args = vec![rows.values, packed, p.out];
    args.extend(composed.operands(cx, &from)?);
    mac.call(cx, args);
    Ok(())
}

/// Appends the calls of a transposed convolution of one image of `size` activations, whose kernel takes their zero point off itself.
fn transposed(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    p: &Product,
    spec: &TransposeConvSpec,
    [size, pixels]: [usize; 2],
) -> Result<(), CompileError> {
    let storage = integer_storage(cx);
    let rows = quantize(cx, p.source, [1, size], storage, p.rule);
    let composed = compose(cx, node, &p.base, Storage::I32, Correction::None)?;
    let epilogue = composed.epilogue.clone();
    let mac = Mac::Transposed(TransposeConvSpec { a_storage: storage, a_zero_point: None, epilogue, ..spec.clone() });
    let packed = mac.packed(cx, &p.weights);
    let from = Sources {
        bias: p.bias.map(|t| cx.operand(t)).transpose()?,
        row_scale: Some(repeat(cx, rows.scales, 1, pixels)),
        ..Sources::default()
    };
    let mut args = vec![rows.values, packed, p.out];
    args.extend(composed.operands(cx, &from)?);
    args.push(rows.zeros);
    mac.call(cx, args);
    Ok(())
}

/// The bytes that this target's products take without a correction.
pub(super) fn integer_storage(cx: &Cx<'_, '_>) -> Storage {
    if cx.caps().dot4 == Dot4::AnySign { Storage::I8 } else { Storage::U8 }
}

/// Groups of activations that share a scale, the size of one, and how many rows of the result belong to it.
fn groups(mac: &Mac) -> (usize, usize, usize) {
    match mac {
        Mac::Gemm(s, _) => (s.m, s.k, 1),
        Mac::Conv(s) => (s.batch, s.input.iter().product(), s.output[0] * s.output[1]),
        Mac::Depthwise(s) => (s.batch, s.input.iter().product(), s.output[0] * s.output[1]),
        Mac::Transposed(s) => (s.batch, s.input.iter().product(), s.output[0] * s.output[1]),
    }
}

/// Quantises `[rows, elements]` floats.
pub(super) fn quantize(cx: &mut Cx<'_, '_>, source: Operand, [rows, n]: [usize; 2], storage: Storage, rule: Rule) -> Rows {
    let out = Rows { values: cx.workspace(rows * n * storage.bytes()), scales: cx.workspace(rows * 4), zeros: cx.workspace(rows * 4) };
    let spec = QuantizeRowsSpec { rows, n, storage, rule };
    let caps = cx.caps().clone();
    let units = spec.units();
    let args = vec![source, out.values, out.scales, out.zeros];
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, n as f64 * 0.2));
    out
}

/// Each of `count` words `times` times.
pub(super) fn repeat(cx: &mut Cx<'_, '_>, words: Operand, count: usize, times: usize) -> Operand {
    let out = cx.workspace(count * times * 4);
    let dims = [count, times];
    copy_strided(cx, &dims, Part { base: words, offset: 0, strides: vec![1, 0] }, Part::dense(out, &dims), 4);
    out
}

/// Gives images a frame of their zero point where windows reach beyond them.
fn pad(cx: &mut Cx<'_, '_>, mac: &mut Mac, rows: &mut Rows) {
    let (batch, input, output, kernel, stride, dilation, pad) = match mac {
        Mac::Conv(s) => (s.batch, &mut s.input, [s.output[0], s.output[1]], s.kernel, s.stride, s.dilation, &mut s.pad),
        Mac::Depthwise(s) => (s.batch, &mut s.input, s.output, s.kernel, s.stride, s.dilation, &mut s.pad),
        Mac::Gemm(..) | Mac::Transposed(_) => return,
    };
    let mut paddings = [(0, 0); 3];
    for d in 0..2 {
        let reach = (output[d] - 1) * stride[d] + (kernel[d] - 1) * dilation[d] + 1;
        paddings[d] = (pad[d], reach.saturating_sub(pad[d] + input[d]));
    }
    if paddings == [(0, 0); 3] {
        return;
    }
    let inner = *input;
    for d in 0..2 {
        input[d] += paddings[d].0 + paddings[d].1;
        pad[d] = 0;
    }
    let (small, large) = (inner.iter().product::<usize>(), input.iter().product::<usize>());
    let framed = cx.workspace(batch * large);
    for i in 0..batch {
        // The low byte of a zero point is its stored form.
        let zero = Value::At(rows.zeros.offset(i * 4));
        pad_into(cx, &inner, &paddings, rows.values.offset(i * small), framed.offset(i * large), 1, &zero);
    }
    rows.values = framed;
}
