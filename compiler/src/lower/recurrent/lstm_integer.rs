//! The integer LSTM: 8-bit input, output state and weights, 16-bit cell and gates.
//!
//! The arithmetic is that of the evaluator, [`crate::ops::lstm_integer`], bit for bit. Source: TFLite `kernels/lstm_eval.cc`.

use super::norm_integer::normalize;
use super::product::{IntBias, compensation, ints, multiply};
use super::stack::Stack;
use super::{Rows, Sequence, copy_rows, rows_loop, state};
use crate::error::{CompileError, Unsupported};
use crate::ir::{Node, OpKind, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::result;
use crate::ops::activation::emit_clamp;
use crate::ops::fixed_point::{Fixed, Rounding, emit_by};
use crate::ops::gemmlowp_expr::{logistic, shift_half_away, tanh, wrap};
use crate::ops::lstm::{ONE, Sizes};
use crate::ops::lstm_integer::Params;
use tflc_templates::cpu::epilogue::OperandAccess;
use tflc_templates::expr::{ExprBuilder, Id, Storage};

/// Lowers LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM of int8.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let sizes = ONE.check(&call)?;
    let params = Params::new(&call, &sizes)?;
    let time_major = node.attrs.bool("time_major", false) && node.op != OpKind::Lstm;
    let sequence = Sequence { batch: sizes.batch, time: sizes.time, time_major, backward: false };
    let gates: Vec<usize> = (0..4).filter(|&g| cx.optional_input(node, ONE.input[g]).is_some()).collect();
    let cell = Cell { node, s: sizes, sequence, gates, p: params };
    if cell.p.gates.iter().any(|g| g.norm.0.e > 18) {
        return Err(cx.unsupported(Unsupported::Quantization("coefficients of normalisation with a scale of 2^18 and more".into())));
    }
    if cell.sequence.rows() == 0 || sizes.cell == 0 || sizes.output == 0 || sizes.input == 0 {
        return Err(cx.unsupported(Unsupported::Shape("a cell without elements".into())));
    }
    cell.run(cx)
}

struct Cell<'n> {
    node: &'n Node,
    s: Sizes,
    sequence: Sequence,
    gates: Vec<usize>,
    p: Params,
}

/// To 16 bits, saturated.
fn sat16(b: &mut ExprBuilder, v: Id) -> Id {
    emit_clamp(b, v, -32768, 32767)
}

impl Cell<'_> {
    fn stack(&self, cx: &mut Cx<'_, '_>, operands: &[usize; 4], k: usize) -> Result<Stack, CompileError> {
        let tensors = self.gates.iter().map(|&g| cx.input(self.node, operands[g])).collect::<Result<Vec<TensorId>, _>>()?;
        Stack::new(cx, &tensors, self.s.cell, k)
    }

    /// Multipliers of the gates' columns: fractions, left shifts, right shifts.
    fn multipliers(&self, cx: &mut Cx<'_, '_>, of: impl Fn(usize) -> Fixed) -> [Operand; 3] {
        let columns = |f: fn(Fixed) -> i32| -> Vec<i32> { self.gates.iter().flat_map(|&g| vec![f(of(g)); self.s.cell]).collect() };
        let parts = [columns(|f| f.m), columns(|f| f.e.max(0)), columns(|f| (-f.e).max(0))];
        parts.map(|v| ints(cx, &v))
    }

    fn run(&self, cx: &mut Cx<'_, '_>) -> Result<(), CompileError> {
        let s = &self.s;
        let width = self.gates.len() * s.cell;
        let rows = self.sequence.rows();
        let x = cx.operand(cx.input(self.node, 0)?)?;
        let sums = cx.workspace(rows * width * 2);
        let weights = self.stack(cx, &ONE.input, s.input)?;
        // Where sums are normalised, the bias comes after that.
        let bias = if cx.optional_input(self.node, ONE.norm[1]).is_some() { IntBias::None } else { self.biases(cx)? };
        let centre = compensation(cx, &weights, rows, bias, self.p.input_zero);
        let scales = self.multipliers(cx, |g| self.p.gates[g].input);
        self.accumulate(cx, &weights, rows, (Rows::new(x, s.input), Rows::new(sums, width)), centre, scales, None);

        let (h, c) = (state(cx, cx.input(self.node, ONE.state[0])?)?, state(cx, cx.input(self.node, ONE.state[1])?)?);
        let (h, c) = (Rows::new(h, s.output), Rows::new(c, s.cell));
        let recurrent = self.stack(cx, &ONE.recurrent, s.output)?.ready(cx, s.batch);
        let centre = compensation(cx, &recurrent, s.batch, IntBias::None, self.p.output_zero);
        let scales = self.multipliers(cx, |g| self.p.gates[g].recurrent);
        let gates = Rows::new(cx.workspace(s.batch * width * 2), width);
        let hidden = Rows::new(cx.workspace(s.batch * s.cell), s.cell);
        let projection = cx.optional_input(self.node, ONE.projection[0]).map(|t| self.projection(cx, t)).transpose()?;
        let (y, ty) = result(cx, self.node, 0)?;
        let out = cx.operand(y)?;
        let columns = ty.shape.last().copied().unwrap_or(1);
        cx.repeat(self.sequence.time, |cx| {
            let now = self.sequence.step(sums, width, 2);
            self.accumulate(cx, &recurrent, s.batch, (h, gates), centre, scales, Some(now));
            self.update_cell(cx, gates, c)?;
            match &projection {
                None => self.hidden(cx, gates, c, h)?,
                Some(projection) => {
                    self.hidden(cx, gates, c, hidden)?;
                    self.project(cx, projection, hidden, h);
                }
            }
            copy_rows(cx, [s.batch, s.output], h, self.sequence.step(out, columns, 1), 1);
            Ok(())
        })
    }

    /// `sat16(previous + multiplier * (acc + centre))`, as 16 bits.
    #[allow(clippy::too_many_arguments)]
    fn accumulate(
        &self,
        cx: &mut Cx<'_, '_>,
        w: &Stack,
        m: usize,
        (x, out): (Rows, Rows),
        centre: Operand,
        scales: [Operand; 3],
        previous: Option<Rows>,
    ) {
        let column = |at: Operand| (Storage::I32, OperandAccess::PerColumn, at);
        let mut operands = vec![column(centre)];
        operands.extend(scales.map(column));
        operands.extend(previous.map(|r| (Storage::I16, OperandAccess::Matrix { row_stride_bytes: r.stride as i64 * 2 }, r.at)));
        let mut b = ExprBuilder::new([Storage::I32].into_iter().chain(operands.iter().map(|o| o.0)).collect::<Vec<_>>());
        let (acc, c, fraction, left, right) = (b.input(0), b.input(1), b.input(2), b.input(3), b.input(4));
        let v = b.add(acc, c);
        let mut v = emit_by(&mut b, v, fraction, Some(left), right, Rounding::HalfAway);
        if previous.is_some() {
            let before = b.input(5);
            v = b.add(before, v);
        }
        let v = sat16(&mut b, v);
        multiply(cx, w, m, (Storage::I8, x, out), b.finish(v, Storage::I16), operands);
    }

    fn biases(&self, cx: &mut Cx<'_, '_>) -> Result<IntBias, CompileError> {
        let tensors = self.gates.iter().map(|&g| cx.input(self.node, ONE.bias[g])).collect::<Result<Vec<TensorId>, _>>()?;
        IntBias::new(cx, &tensors)
    }

    /// Where the sums of gate `g` lie.
    fn gate(&self, gates: Rows, g: usize) -> Option<Rows> {
        self.gates.iter().position(|&i| i == g).map(|i| gates.columns(i * self.s.cell, 2))
    }

    /// Replaces a gate's sums by its activation; a peephole is added first, then they are normalised.
    fn activate(&self, cx: &mut Cx<'_, '_>, gates: Rows, g: usize, c: Rows) -> Result<Option<Rows>, CompileError> {
        let Some(sums) = self.gate(gates, g) else { return Ok(None) };
        let peephole = match g {
            0 | 1 => cx.optional_input(self.node, ONE.peephole[g]),
            3 => cx.optional_input(self.node, ONE.peephole[2]),
            _ => None,
        };
        let mut inputs = vec![sums];
        if let Some(p) = peephole {
            inputs.extend([c, Rows::new(cx.operand(p)?, 0)]);
        }
        let mut b = ExprBuilder::new(vec![Storage::I16; inputs.len()]);
        let mut v = b.input(0);
        if peephole.is_some() {
            let (c, p) = (b.input(1), b.input(2));
            let product = b.mul(p, c);
            let product = self.p.gates[g].peephole.emit(&mut b, product, Rounding::HalfAway);
            v = b.add(v, product);
            v = sat16(&mut b, v);
        }
        if let Some(norm) = cx.optional_input(self.node, ONE.norm[g]) {
            let dense = cx.workspace(self.s.batch * self.s.cell * 2);
            rows_loop(cx, [self.s.batch, self.s.cell], &inputs, Rows::new(dense, self.s.cell), b.finish(v, Storage::I16));
            let bias = cx.input(self.node, ONE.bias[g])?;
            let vectors = (cx.operand(norm)?, cx.operand(bias)?);
            normalize(cx, [self.s.batch, self.s.cell], dense, sums, vectors, self.p.gates[g].norm);
            inputs = vec![sums];
            b = ExprBuilder::new([Storage::I16]);
            v = b.input(0);
        }
        let v = if g == 2 { tanh(&mut b, v, 3) } else { logistic(&mut b, v, 3) };
        rows_loop(cx, [self.s.batch, self.s.cell], &inputs, sums, b.finish(v, Storage::I16));
        Ok(Some(sums))
    }

    /// `c = clip(f*c + i*g)`, in place.
    fn update_cell(&self, cx: &mut Cx<'_, '_>, gates: Rows, c: Rows) -> Result<(), CompileError> {
        let input = self.activate(cx, gates, 0, c)?;
        let (Some(forget), Some(update)) = (self.activate(cx, gates, 1, c)?, self.activate(cx, gates, 2, c)?) else {
            return Err(cx.internal("a cell without gates"));
        };
        let mut inputs = vec![c, forget, update];
        inputs.extend(input);
        let mut b = ExprBuilder::new(vec![Storage::I16; inputs.len()]);
        let (old, f, g) = (b.input(0), b.input(1), b.input(2));
        let i = match input {
            Some(_) => b.input(3),
            None => {
                let one = b.i32(32767);
                b.sub(one, f)
            }
        };
        let kept = b.mul(f, old);
        let kept = shift_half_away(&mut b, kept, 15);
        let kept = wrap(&mut b, kept);
        let added = b.mul(i, g);
        let added = shift_half_away(&mut b, added, (30 + self.p.cell_log2) as u32);
        let added = wrap(&mut b, added);
        let new = b.add(kept, added);
        let new = sat16(&mut b, new);
        let bound = self.p.clips.0;
        let new = if bound > 0 { emit_clamp(&mut b, new, -bound, bound) } else { new };
        rows_loop(cx, [self.s.batch, self.s.cell], &inputs, c, b.finish(new, Storage::I16));
        Ok(())
    }

    /// `o * tanh(c)` as 8 bits. Where a projection follows, the zero point is taken off where it is added elsewhere, as TFLite does.
    fn hidden(&self, cx: &mut Cx<'_, '_>, gates: Rows, c: Rows, to: Rows) -> Result<(), CompileError> {
        let Some(gate) = self.activate(cx, gates, 3, c)? else { return Err(cx.internal("a cell without an output gate")) };
        let zero = if cx.optional_input(self.node, ONE.projection[0]).is_some() { -self.p.hidden_zero } else { self.p.hidden_zero };
        let mut b = ExprBuilder::new([Storage::I16, Storage::I16]);
        let (o, cell) = (b.input(0), b.input(1));
        let t = tanh(&mut b, cell, (15 + self.p.cell_log2) as u32);
        let v = b.mul(o, t);
        let v = self.p.hidden.emit(&mut b, v, Rounding::HalfAway);
        let v = emit_clamp(&mut b, v, -128 - zero, 127 - zero);
        let zero = b.i32(zero);
        let v = b.add(v, zero);
        rows_loop(cx, [self.s.batch, self.s.cell], &[gate, c], to, b.finish(v, Storage::I8));
        Ok(())
    }

    /// The weights of the projection, and what its sums start from.
    fn projection(&self, cx: &mut Cx<'_, '_>, t: TensorId) -> Result<(Stack, Operand), CompileError> {
        let weights = Stack::new(cx, &[t], self.s.output, self.s.cell)?.ready(cx, self.s.batch);
        let bias = match cx.optional_input(self.node, ONE.projection[1]) {
            Some(t) => IntBias::new(cx, &[t])?,
            None => IntBias::None,
        };
        let centre = compensation(cx, &weights, self.s.batch, bias, -self.p.hidden_zero);
        Ok((weights, centre))
    }

    fn project(&self, cx: &mut Cx<'_, '_>, (weights, centre): &(Stack, Operand), hidden: Rows, h: Rows) {
        let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
        let (acc, c) = (b.input(0), b.input(1));
        let v = b.add(acc, c);
        let v = self.p.projection.emit(&mut b, v, Rounding::HalfAway);
        let zero = self.p.output_zero;
        let v = emit_clamp(&mut b, v, -128 - zero, 127 - zero);
        let zero = b.i32(zero);
        let mut v = b.add(v, zero);
        let bound = self.p.clips.1;
        if bound > 0 {
            v = emit_clamp(&mut b, v, -bound, bound);
        }
        let operands = vec![(Storage::I32, OperandAccess::PerColumn, *centre)];
        multiply(cx, weights, self.s.batch, (Storage::I8, hidden, h), b.finish(v, Storage::I8), operands);
    }
}
