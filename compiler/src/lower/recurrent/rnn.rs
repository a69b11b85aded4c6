//! RNN and its sequences: `h = act(W x + A aux + R h + b)`.

use super::product::{Addend, product};
use super::stack::Stack;
use super::{Rows, Sequence, activate, copy_rows, rows_loop, state};
use crate::error::{CompileError, Unsupported};
use crate::ir::{Node, OpKind};
use crate::lower::context::Cx;
use crate::lower::movement::result;
use crate::ops::lstm::sequence;
use crate::ops::recurrent::Inputs;
use crate::ops::rnn::{AUX, BOTH, Layout, ONE};
use tflc_templates::expr::{ExprBuilder, Storage};

/// RNN and UNIDIRECTIONAL_SEQUENCE_RNN.
pub(super) fn one(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let out = Rows::new(cx.operand(y)?, ty.shape.last().copied().unwrap_or(1));
    run(cx, node, &ONE, out).map(|_| ())
}

/// BIDIRECTIONAL_SEQUENCE_RNN: two results, or both side by side in one.
pub(super) fn both(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let mut first = 0;
    for (k, l) in BOTH.iter().enumerate() {
        let merged = node.outputs.len() == 1;
        let (y, ty) = result(cx, node, if merged { 0 } else { k })?;
        let out = Rows::new(cx.operand(y)?, ty.shape.last().copied().unwrap_or(1)).columns(if merged { first } else { 0 }, 4);
        first += run(cx, node, l, out)?;
    }
    Ok(())
}

/// One direction; gives the number of units.
fn run(cx: &mut Cx<'_, '_>, node: &Node, l: &Layout, out: Rows) -> Result<usize, CompileError> {
    let call = cx.as_call()?;
    let units = l.check(&call)?;
    let (batch, time, input) = sequence(&call, 0)?;
    let inputs = Inputs::parse(&call);
    let time_major = node.attrs.bool("time_major", false) && node.op != OpKind::Rnn;
    let s = Sequence { batch, time, time_major, backward: l.backward };
    if s.rows() == 0 || units == 0 || input == 0 {
        return Err(cx.unsupported(Unsupported::Shape("a cell without elements".into())));
    }
    let [w, r, bias, hidden, aux] = l.operands;
    let w = Stack::new(cx, &[cx.input(node, w)?], units, input)?;
    let r = Stack::new(cx, &[cx.input(node, r)?], units, units)?.ready(cx, batch);
    let x = cx.operand(cx.input(node, 0)?)?;
    let bias = cx.operand(cx.input(node, bias)?)?;
    let mut sums = cx.workspace(s.rows() * units * 4);
    product(cx, &w, s.rows(), (Rows::new(x, input), Rows::new(sums, units)), Addend::Bias(bias), inputs)?;
    if let (Some(m), Some(a)) = (cx.optional_input(node, aux), cx.optional_input(node, AUX)) {
        let n = cx.ty(a).shape.last().copied().unwrap_or(1);
        let m = Stack::new(cx, &[m], units, n)?;
        let (from, more) = (cx.operand(a)?, cx.workspace(s.rows() * units * 4));
        product(cx, &m, s.rows(), (Rows::new(from, n), Rows::new(more, units)), Addend::Rows(Rows::new(sums, units)), inputs)?;
        sums = more;
    }
    let h = Rows::new(state(cx, cx.input(node, hidden)?)?, units);
    let next = Rows::new(cx.workspace(batch * units * 4), units);
    cx.repeat(time, |cx| {
        product(cx, &r, batch, (h, next), Addend::Rows(s.step(sums, units, 4)), inputs)?;
        let mut b = ExprBuilder::new([Storage::F32]);
        let v = b.input(0);
        let v = activate(&mut b, node, v);
        rows_loop(cx, [batch, units], &[next], h, b.finish(v, Storage::F32));
        copy_rows(cx, [batch, units], h, s.step(out.at, out.stride, 4), 4);
        Ok::<(), CompileError>(())
    })?;
    Ok(units)
}
