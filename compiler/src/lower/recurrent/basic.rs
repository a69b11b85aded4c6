//! The basic LSTM kernel: input and previous output side by side, one matrix for all gates (input, cell, forget, output), states as results.
//!
//! Source: TFLite `kernels/internal/reference/reference_ops.h`, `LstmCell`.

use super::product::{Addend, Stack, product};
use super::{Rows, copy_rows, rows_loop};
use crate::error::{CompileError, Unsupported};
use crate::ir::Node;
use crate::lower::context::Cx;
use crate::ops::recurrent::Inputs;
use tflc_templates::expr::{ExprBuilder, Storage, Unary};

/// Lowers a node of floats.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let ([batch, n], [_, units]) = (call.dims::<2>(0)?, call.dims::<2>(1)?);
    if batch == 0 || n == 0 || units == 0 {
        return Err(cx.unsupported(Unsupported::Shape("a cell without elements".into())));
    }
    let mut operands = vec![];
    for i in [0, 1, 3, 4] {
        operands.push(cx.operand(cx.input(node, i)?)?);
    }
    let [x, previous, bias, state] = operands[..] else { return Err(cx.internal("a basic cell without operands")) };
    let mut results = vec![];
    for &t in &node.outputs {
        results.push(cx.operand(t)?);
    }
    let [output, cells, both, gates] = results[..] else { return Err(cx.internal("a basic cell without four results")) };
    let k = n + units;
    let both = Rows::new(both, k);
    copy_rows(cx, [batch, n], Rows::new(x, n), both, 4);
    copy_rows(cx, [batch, units], Rows::new(previous, units), both.columns(n, 4), 4);
    let weights = Stack::new(cx, &[cx.input(node, 2)?], 4 * units, k)?;
    let gates = Rows::new(gates, 4 * units);
    product(cx, &weights, batch, (both, gates), Addend::Bias(bias), Inputs::Symmetric)?;
    let gate = |g: usize| gates.columns(g * units, 4);
    let cells = Rows::new(cells, units);
    let mut b = ExprBuilder::new([Storage::F32; 4]);
    let (i, g, f, c) = (b.input(0), b.input(1), b.input(2), b.input(3));
    let (i, g, f) = (b.unary(Unary::Logistic, i), b.unary(Unary::Tanh, g), b.unary(Unary::Logistic, f));
    let added = b.mul(i, g);
    let kept = b.mul(c, f);
    let new = b.add(added, kept);
    let inputs = [gate(0), gate(1), gate(2), Rows::new(state, units)];
    rows_loop(cx, [batch, units], &inputs, cells, b.finish(new, Storage::F32));
    let mut b = ExprBuilder::new([Storage::F32; 2]);
    let (o, c) = (b.input(0), b.input(1));
    let (o, c) = (b.unary(Unary::Logistic, o), b.unary(Unary::Tanh, c));
    let h = b.mul(o, c);
    rows_loop(cx, [batch, units], &[gate(3), cells], Rows::new(output, units), b.finish(h, Storage::F32));
    Ok(())
}
