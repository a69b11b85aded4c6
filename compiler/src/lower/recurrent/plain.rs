//! Layers in the hybrid arithmetic of recurrent cells, which is that of TFLite's own kernels: where XNNPACK does not take a layer.

use super::product::{Addend, product};
use super::stack::Stack;
use super::{Rows, rows_loop};
use crate::error::CompileError;
use crate::ir::Node;
use crate::lower::context::{Cx, Operand};
use crate::ops::activation::Activation;
use crate::ops::recurrent::Inputs;
use tflc_templates::expr::{ExprBuilder, Storage};

/// FULLY_CONNECTED of floats whose weights are called unsigned bytes, and are signed.
pub(in crate::lower) fn fully_connected(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let [n, k] = call.dims::<2>(1)?;
    let (m, activation, inputs) = (call.input(0)?.elements() / k, Activation::parse(&call)?, Inputs::parse(&call));
    let weights = Stack::new(cx, &[cx.input(node, 1)?], n, k)?;
    let bias = match cx.optional_input(node, 2) {
        Some(t) => Addend::Bias(cx.operand(t)?),
        None => Addend::None,
    };
    let x = Rows::new(cx.operand(cx.input(node, 0)?)?, k);
    let out = Rows::new(cx.operand(node.outputs[0])?, n);
    product(cx, &weights, m, (x, out), bias, inputs)?;
    if activation != Activation::None {
        let mut b = ExprBuilder::new([Storage::F32]);
        let v = b.input(0);
        let v = activation.emit_f32(&mut b, v);
        rows_loop(cx, [m, n], &[out], out, b.finish(v, Storage::F32));
    }
    Ok(())
}

/// Rows `[m, k]` of floats times rows `[n, k]` of bytes that are computed and have one scale.
pub(in crate::lower) fn multiply(
    cx: &mut Cx<'_, '_>,
    [m, n, k]: [usize; 3],
    [x, weights, out]: [Operand; 3],
    scale: f32,
    inputs: Inputs,
) -> Result<(), CompileError> {
    let weights = Stack::of_bytes(weights, [n, k], scale);
    product(cx, &weights, m, (Rows::new(x, k), Rows::new(out, n)), Addend::None, inputs)
}
