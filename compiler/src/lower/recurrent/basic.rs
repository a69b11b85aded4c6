//! The basic LSTM kernel: input and previous output side by side, one matrix for all gates (input, cell, forget, output), states as results.
//!
//! The arithmetic is that of the evaluator, [`crate::ops::lstm_basic`]. Variables that hold previous output and state take the new ones at the end.

use super::product::{Addend, IntBias, compensation, multiply, product};
use super::stack::Stack;
use super::{Rows, copy_rows, rows_loop};
use crate::error::{CompileError, Unsupported};
use crate::ir::Node;
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::copy;
use crate::ops::activation::emit_clamp;
use crate::ops::fixed_point::Rounding;
use crate::ops::gemmlowp_expr::{logistic, mul, shift_half_away, shl, tanh};
use crate::ops::lstm_basic::{Integers, STATES, ZERO_POINT};
use crate::ops::recurrent::Inputs;
use tflc_templates::cpu::epilogue::OperandAccess;
use tflc_templates::expr::{Expr, ExprBuilder, Storage, Unary};

/// Operands and results of a cell.
struct Cell<'n> {
    node: &'n Node,
    batch: usize,
    units: usize,
    /// Columns of input and previous output side by side.
    depth: usize,
    both: Rows,
    state: Rows,
    output: Rows,
    cells: Rows,
    gates: Rows,
}

/// Lowers a node.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let ([batch, n], [_, units]) = (call.dims::<2>(0)?, call.dims::<2>(1)?);
    let integers = Integers::new(&call)?;
    if batch == 0 || n == 0 || units == 0 {
        return Err(cx.unsupported(Unsupported::Shape("a cell without elements".into())));
    }
    let [x, previous, state] = [0, 1, 4].map(|i| cx.input(node, i));
    let (x, previous, state) = (cx.operand(x?)?, cx.operand(previous?)?, cx.operand(state?)?);
    let results = node.outputs.iter().map(|t| cx.operand(*t)).collect::<Result<Vec<Operand>, _>>()?;
    let [output, cells, both, gates] = results[..] else { return Err(cx.internal("a basic cell without four results")) };
    let depth = n + units;
    let cell = Cell {
        node,
        batch,
        units,
        depth,
        both: Rows::new(both, depth),
        state: Rows::new(state, units),
        output: Rows::new(output, units),
        cells: Rows::new(cells, units),
        gates: Rows::new(gates, 4 * units),
    };
    let bytes = if integers.is_some() { 1 } else { 4 };
    copy_rows(cx, [batch, n], Rows::new(x, n), cell.both, bytes);
    copy_rows(cx, [batch, units], Rows::new(previous, units), cell.both.columns(n, bytes), bytes);
    match integers {
        Some(p) => cell.integers(cx, p)?,
        None => cell.floats(cx)?,
    }
    for (operand, result) in STATES {
        let (t, from) = (cx.input(node, operand)?, results[result]);
        if cx.graph.tensor(t).variable {
            let to = cx.operand(t)?;
            copy(cx, from, to, cx.ty(t).bytes());
        }
    }
    Ok(())
}

impl Cell<'_> {
    fn floats(&self, cx: &mut Cx<'_, '_>) -> Result<(), CompileError> {
        let weights = Stack::new(cx, &[cx.input(self.node, 2)?], 4 * self.units, self.depth)?;
        let bias = cx.operand(cx.input(self.node, 3)?)?;
        product(cx, &weights, self.batch, (self.both, self.gates), Addend::Bias(bias), Inputs::Symmetric)?;
        let mut b = ExprBuilder::new([Storage::F32; 4]);
        let (i, g, f, c) = (b.input(0), b.input(1), b.input(2), b.input(3));
        let (i, g, f) = (b.unary(Unary::Logistic, i), b.unary(Unary::Tanh, g), b.unary(Unary::Logistic, f));
        let added = b.mul(i, g);
        let kept = b.mul(c, f);
        let new = b.add(added, kept);
        let update = b.finish(new, Storage::F32);
        let mut b = ExprBuilder::new([Storage::F32; 2]);
        let (o, c) = (b.input(0), b.input(1));
        let (o, c) = (b.unary(Unary::Logistic, o), b.unary(Unary::Tanh, c));
        let h = b.mul(o, c);
        self.activate(cx, 4, update, b.finish(h, Storage::F32));
        Ok(())
    }

    fn integers(&self, cx: &mut Cx<'_, '_>, p: Integers) -> Result<(), CompileError> {
        let weights = Stack::unsigned(cx, cx.input(self.node, 2)?, [4 * self.units, self.depth], p.weight_zero)?;
        let bias = IntBias::new(cx, &[cx.input(self.node, 3)?])?;
        let centre = compensation(cx, &weights, self.batch, bias, ZERO_POINT);
        let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
        let (acc, c) = (b.input(0), b.input(1));
        let v = b.add(acc, c);
        let v = p.gates.emit(&mut b, v, Rounding::HalfUp);
        let v = emit_clamp(&mut b, v, -32768, 32767);
        let operands = vec![(Storage::I32, OperandAccess::PerColumn, centre)];
        multiply(cx, &weights, self.batch, (Storage::U8, self.both, self.gates), b.finish(v, Storage::I16), operands);
        let mut b = ExprBuilder::new([Storage::I16; 4]);
        let (i, g, f, c) = (b.input(0), b.input(1), b.input(2), b.input(3));
        let (i, g, f) = (logistic(&mut b, i, 3), tanh(&mut b, g, 3), logistic(&mut b, f, 3));
        let added = mul(&mut b, i, g);
        let kept = mul(&mut b, f, c);
        // The product of gates has no integer bits, the state four.
        let added = shift_half_away(&mut b, added, 4);
        let new = b.add(added, kept);
        let new = emit_clamp(&mut b, new, -32768, 32767);
        let update = b.finish(new, Storage::I16);
        let mut b = ExprBuilder::new([Storage::I16; 2]);
        let (o, c) = (b.input(0), b.input(1));
        let c = shl(&mut b, c, 1);
        let (o, c) = (logistic(&mut b, o, 3), tanh(&mut b, c, 3));
        let h = mul(&mut b, o, c);
        let h = shift_half_away(&mut b, h, 8);
        let h = emit_clamp(&mut b, h, -128, 127);
        let zero = b.i32(ZERO_POINT);
        let h = b.add(h, zero);
        self.activate(cx, 2, update, b.finish(h, Storage::U8));
        Ok(())
    }

    /// The new state from the gates and the previous one, then the output.
    fn activate(&self, cx: &mut Cx<'_, '_>, gate_bytes: usize, update: Expr, output: Expr) {
        let dims = [self.batch, self.units];
        let gate = |g: usize| self.gates.columns(g * self.units, gate_bytes);
        rows_loop(cx, dims, &[gate(0), gate(1), gate(2), self.state], self.cells, update);
        rows_loop(cx, dims, &[gate(3), self.cells], self.output, output);
    }
}
