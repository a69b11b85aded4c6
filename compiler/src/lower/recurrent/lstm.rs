//! LSTM with float activations: `i, f, o = sigmoid(Wx + Rh + p*c + b)`, `g = act(Wx + Rh + b)`, `c = clip(f*c + i*g)`,
//! `h = clip(P (o * act(c)) + b)`.
//!
//! Source: TFLite `kernels/lstm_eval.cc`; the operands are those of [`crate::ops::lstm`].

use super::product::{Addend, product, reduce};
use super::stack::{Stack, vectors};
use super::{Rows, Sequence, activate, clip, copy_rows, rows_loop, state};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::result;
use crate::ops::lstm::{BOTH, Layout, ONE, Sizes};
use crate::ops::recurrent::{Inputs, scale};
use tflc_templates::cpu::reduce::{Combine, ReduceSpec};
use tflc_templates::expr::{Binary, Cast, ExprBuilder, Id, Storage, Ty, Unary};

/// LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM.
pub(super) fn one(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let columns = ty.shape.last().copied().unwrap_or(1);
    let out = Rows::new(cx.operand(y)?, columns);
    Direction::new(cx, node, &ONE, false)?.run(cx, out)
}

/// BIDIRECTIONAL_SEQUENCE_LSTM: two results, or both side by side in one.
pub(super) fn both(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let mut first = 0;
    for (k, l) in BOTH.iter().enumerate() {
        let d = Direction::new(cx, node, l, k == 1)?;
        let merged = node.outputs.len() == 1;
        let (y, ty) = result(cx, node, if merged { 0 } else { k })?;
        let columns = ty.shape.last().copied().unwrap_or(1);
        let out = Rows::new(cx.operand(y)?, columns).columns(if merged { first } else { 0 }, 4);
        first += d.sizes.output;
        d.run(cx, out)?;
    }
    Ok(())
}

/// One pass over a sequence.
struct Direction<'n> {
    node: &'n Node,
    layout: &'n Layout,
    sizes: Sizes,
    sequence: Sequence,
    /// Gates that are there, in the order input, forget, cell, output.
    gates: Vec<usize>,
    inputs: Inputs,
}

/// Peephole, coefficients of normalisation and bias of a gate.
#[derive(Clone, Copy)]
struct Vectors {
    peephole: Option<Operand>,
    norm: Option<(Operand, Operand)>,
}

impl<'n> Direction<'n> {
    fn new(cx: &Cx<'_, '_>, node: &'n Node, layout: &'n Layout, backward: bool) -> Result<Direction<'n>, CompileError> {
        let call = cx.as_call()?;
        let sizes = layout.check(&call)?;
        let time_major = node.attrs.bool("time_major", node.op == crate::ir::OpKind::BidirectionalSequenceLstm);
        let sequence = Sequence { batch: sizes.batch, time: sizes.time, time_major, backward };
        let gates = (0..4).filter(|&g| cx.optional_input(node, layout.input[g]).is_some()).collect();
        Ok(Direction { node, layout, sizes, sequence, gates, inputs: Inputs::parse(&call) })
    }

    fn stack(&self, cx: &mut Cx<'_, '_>, operands: &[usize; 4], k: usize) -> Result<Stack, CompileError> {
        let tensors = self.gates.iter().map(|&g| cx.input(self.node, operands[g])).collect::<Result<Vec<TensorId>, _>>()?;
        Stack::new(cx, &tensors, self.sizes.cell, k)
    }

    /// Runs all steps; the result's rows are `out.stride` elements apart.
    fn run(&self, cx: &mut Cx<'_, '_>, out: Rows) -> Result<(), CompileError> {
        let s = &self.sizes;
        if self.sequence.rows() == 0 || s.cell == 0 || s.output == 0 || s.input == 0 {
            return Err(cx.unsupported(Unsupported::Shape("a cell without elements".into())));
        }
        let width = self.gates.len() * s.cell;
        let normed = cx.optional_input(self.node, self.layout.norm[1]).is_some();
        let x = cx.operand(cx.input(self.node, 0)?)?;
        let all = cx.workspace(self.sequence.rows() * width * 4);
        let bias = if normed { Addend::None } else { Addend::Bias(self.biases(cx)?) };
        let weights = self.stack(cx, &self.layout.input, s.input)?;
        product(cx, &weights, self.sequence.rows(), (Rows::new(x, s.input), Rows::new(all, width)), bias, self.inputs)?;
        if let (Some(_), Some(aux)) = (cx.optional_input(self.node, self.layout.aux[1]), cx.optional_input(self.node, 39)) {
            let n = cx.ty(aux).shape.last().copied().unwrap_or(1);
            let weights = self.stack(cx, &self.layout.aux, n)?;
            let (from, more) = (cx.operand(aux)?, cx.workspace(self.sequence.rows() * width * 4));
            let sums = Addend::Rows(Rows::new(all, width));
            product(cx, &weights, self.sequence.rows(), (Rows::new(from, n), Rows::new(more, width)), sums, self.inputs)?;
            return self.steps(cx, more, width, out);
        }
        self.steps(cx, all, width, out)
    }

    /// The steps in order, from the products with the input.
    fn steps(&self, cx: &mut Cx<'_, '_>, sums: Operand, width: usize, out: Rows) -> Result<(), CompileError> {
        let s = &self.sizes;
        let (h, c) = (state(cx, cx.input(self.node, self.layout.state[0])?)?, state(cx, cx.input(self.node, self.layout.state[1])?)?);
        let recurrent = self.stack(cx, &self.layout.recurrent, s.output)?.ready(cx, s.batch);
        let projection = match cx.optional_input(self.node, self.layout.projection[0]) {
            Some(t) => Some(Stack::new(cx, &[t], s.output, s.cell)?.ready(cx, s.batch)),
            None => None,
        };
        let mut vectors = vec![];
        for g in 0..4 {
            vectors.push(self.vectors(cx, g)?);
        }
        let gates = cx.workspace(s.batch * width * 4);
        let (h, c) = (Rows::new(h, s.output), Rows::new(c, s.cell));
        cx.repeat(self.sequence.time, |cx| {
            let now = Addend::Rows(self.sequence.step(sums, width, 4));
            product(cx, &recurrent, s.batch, (h, Rows::new(gates, width)), now, self.inputs)?;
            self.update_cell(cx, Rows::new(gates, width), c, &vectors);
            let hidden = if projection.is_some() { Rows::new(cx.workspace(s.batch * s.cell * 4), s.cell) } else { h };
            self.hidden(cx, Rows::new(gates, width), c, &vectors, hidden);
            if let Some(p) = &projection {
                self.project(cx, p, hidden, h)?;
            }
            copy_rows(cx, [s.batch, s.output], h, self.sequence.step(out.at, out.stride, 4), 4);
            Ok(())
        })
    }

    /// The biases of all gates, one behind the other.
    fn biases(&self, cx: &mut Cx<'_, '_>) -> Result<Operand, CompileError> {
        let tensors = self.gates.iter().map(|&g| cx.input(self.node, self.layout.bias[g])).collect::<Result<Vec<TensorId>, _>>()?;
        vectors(cx, &tensors)
    }

    fn vectors(&self, cx: &mut Cx<'_, '_>, g: usize) -> Result<Vectors, CompileError> {
        let peephole = match g {
            0 | 1 => cx.optional_input(self.node, self.layout.peephole[g]),
            3 => cx.optional_input(self.node, self.layout.peephole[2]),
            _ => None,
        };
        let peephole = peephole.filter(|_| self.gates.contains(&g)).map(|t| float_vector(cx, t)).transpose()?;
        let norm = match cx.optional_input(self.node, self.layout.norm[g]).filter(|_| self.gates.contains(&g)) {
            Some(t) => {
                let bias = cx.input(self.node, self.layout.bias[g])?;
                Some((float_vector(cx, t)?, cx.operand(bias)?))
            }
            None => None,
        };
        Ok(Vectors { peephole, norm })
    }

    /// Where the sums of gate `g` lie.
    fn gate(&self, gates: Rows, g: usize) -> Option<Rows> {
        self.gates.iter().position(|&i| i == g).map(|i| gates.columns(i * self.sizes.cell, 4))
    }

    /// The sums of a gate, normalised where the cell does that, and the peephole that is still to be added.
    fn prepared(&self, cx: &mut Cx<'_, '_>, gates: Rows, g: usize, c: Rows, v: Vectors) -> Option<(Rows, Option<Operand>)> {
        let sums = self.gate(gates, g)?;
        match v.norm {
            None => Some((sums, v.peephole)),
            Some(norm) => Some((self.normalized(cx, sums, c, v.peephole, norm), None)),
        }
    }

    /// `c = clip(f*c + i*g)`, in place.
    fn update_cell(&self, cx: &mut Cx<'_, '_>, gates: Rows, c: Rows, vectors: &[Vectors]) {
        let s = &self.sizes;
        let parts: Vec<_> = (0..3).map(|g| self.prepared(cx, gates, g, c, vectors[g])).collect();
        let mut inputs = vec![c];
        let mut places = vec![];
        for part in &parts {
            places.push(part.map(|(sums, peephole)| {
                inputs.push(sums);
                let at = inputs.len() - 1;
                inputs.extend(peephole.map(|p| Rows::new(p, 0)));
                (at, peephole.is_some())
            }));
        }
        let mut b = ExprBuilder::new(vec![Storage::F32; inputs.len()]);
        let old = b.input(0);
        let sum = |b: &mut ExprBuilder, g: usize| -> Option<Id> {
            let (at, peephole) = places[g]?;
            let v = b.input(at);
            if !peephole {
                return Some(v);
            }
            let p = b.input(at + 1);
            let product = b.mul(p, old);
            Some(b.add(v, product))
        };
        let forget = sum(&mut b, 1).map(|v| b.unary(Unary::Logistic, v)).unwrap_or(old);
        let update = sum(&mut b, 2).map(|v| activate(&mut b, self.node, v)).unwrap_or(old);
        let gate = match sum(&mut b, 0) {
            Some(v) => b.unary(Unary::Logistic, v),
            None => {
                let one = b.f32(1.0);
                b.sub(one, forget)
            }
        };
        let kept = b.mul(forget, old);
        let added = b.mul(update, gate);
        let new = b.add(kept, added);
        let new = clip(&mut b, new, self.node.attrs.float("cell_clip", 0.0));
        rows_loop(cx, [s.batch, s.cell], &inputs, c, b.finish(new, Storage::F32));
    }

    /// `o * act(c)`.
    fn hidden(&self, cx: &mut Cx<'_, '_>, gates: Rows, c: Rows, vectors: &[Vectors], to: Rows) {
        let s = &self.sizes;
        let Some((sums, peephole)) = self.prepared(cx, gates, 3, c, vectors[3]) else { return };
        let mut inputs = vec![sums, c];
        inputs.extend(peephole.map(|p| Rows::new(p, 0)));
        let mut b = ExprBuilder::new(vec![Storage::F32; inputs.len()]);
        let (mut v, cell) = (b.input(0), b.input(1));
        if peephole.is_some() {
            let p = b.input(2);
            let product = b.mul(p, cell);
            v = b.add(v, product);
        }
        let gate = b.unary(Unary::Logistic, v);
        let active = activate(&mut b, self.node, cell);
        let hidden = b.mul(gate, active);
        rows_loop(cx, [s.batch, s.cell], &inputs, to, b.finish(hidden, Storage::F32));
    }

    fn project(&self, cx: &mut Cx<'_, '_>, p: &Stack, hidden: Rows, h: Rows) -> Result<(), CompileError> {
        let s = &self.sizes;
        let bias = match cx.optional_input(self.node, self.layout.projection[1]) {
            Some(t) => Addend::Bias(cx.operand(t)?),
            None => Addend::None,
        };
        product(cx, p, s.batch, (hidden, h), bias, self.inputs)?;
        let bound = self.node.attrs.float("proj_clip", 0.0);
        if bound > 0.0 {
            let mut b = ExprBuilder::new([Storage::F32]);
            let v = b.input(0);
            let v = clip(&mut b, v, bound);
            rows_loop(cx, [s.batch, s.output], &[h], h, b.finish(v, Storage::F32));
        }
        Ok(())
    }

    /// `(v - mean) / sqrt(variance + 1e-8) * coefficient + bias`, with `v` the sums and what the peephole sees.
    fn normalized(&self, cx: &mut Cx<'_, '_>, sums: Rows, c: Rows, peephole: Option<Operand>, (norm, bias): (Operand, Operand)) -> Rows {
        let (batch, n) = (self.sizes.batch, self.sizes.cell);
        let v = Rows::new(cx.workspace(batch * n * 4), n);
        let mut inputs = vec![sums];
        let mut b = ExprBuilder::new(vec![Storage::F32; if peephole.is_some() { 3 } else { 1 }]);
        let mut x = b.input(0);
        if let Some(p) = peephole {
            inputs.extend([c, Rows::new(p, 0)]);
            let (c, p) = (b.input(1), b.input(2));
            let product = b.mul(p, c);
            x = b.add(x, product);
        }
        rows_loop(cx, [batch, n], &inputs, v, b.finish(x, Storage::F32));
        let (mean, inverse) = (cx.workspace(batch * 4), cx.workspace(batch * 4));
        let square = |squared: bool| {
            let mut b = ExprBuilder::new([Storage::F32]);
            let x = b.input(0);
            let x = if squared { b.mul(x, x) } else { x };
            b.finish(x, Storage::F32)
        };
        let average = |root: bool| {
            let mut b = ExprBuilder::new([Storage::F32]);
            let (x, count, epsilon, one) = (b.input(0), b.f32(n as f32), b.f32(1e-8), b.f32(1.0));
            let mut x = b.binary(Binary::Div, x, count);
            if root {
                x = b.add(x, epsilon);
                x = b.unary(Unary::Sqrt, x);
                x = b.binary(Binary::Div, one, x);
            }
            b.finish(x, Storage::F32)
        };
        let kept = [false, true];
        reduce(cx, ReduceSpec::new(&[batch, n], &kept, Combine::Sum, square(false), average(false)), vec![v.at, mean]);
        let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
        let (x, m) = (b.input(0), b.input(1));
        let x = b.sub(x, m);
        per_row(cx, [batch, n], &[v.at, mean, v.at], b.finish(x, Storage::F32));
        reduce(cx, ReduceSpec::new(&[batch, n], &kept, Combine::Sum, square(true), average(true)), vec![v.at, inverse]);
        let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
        let (x, m) = (b.input(0), b.input(1));
        let x = b.mul(x, m);
        per_row(cx, [batch, n], &[v.at, inverse, v.at], b.finish(x, Storage::F32));
        let mut b = ExprBuilder::new([Storage::F32, Storage::F32, Storage::F32]);
        let (x, norm_id, bias_id) = (b.input(0), b.input(1), b.input(2));
        let x = b.mul(x, norm_id);
        let x = b.add(x, bias_id);
        rows_loop(cx, [batch, n], &[v, Rows::new(norm, 0), Rows::new(bias, 0)], v, b.finish(x, Storage::F32));
        v
    }
}

/// An expression over dense rows and one element for each row.
fn per_row(cx: &mut Cx<'_, '_>, [m, n]: [usize; 2], args: &[Operand; 3], expr: tflc_templates::expr::Expr) {
    let rows = vec![n as i64, 1];
    let spec = tflc_templates::cpu::pointwise::PointwiseSpec::new(&[m, n], vec![rows.clone(), vec![1, 0]], rows, expr);
    crate::lower::pointwise::emit(cx, spec, args.to_vec());
}

/// A vector of floats, or of bytes times their scale.
pub(super) fn float_vector(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Operand, CompileError> {
    let ty = cx.ty(t);
    let at = cx.operand(t)?;
    if ty.dtype == DType::Float32 {
        return Ok(at);
    }
    let scale = scale(&cx.as_call()?, ty)?;
    let n = ty.elements();
    let out = cx.workspace(n * 4);
    let mut b = ExprBuilder::new([Storage::I8]);
    let q = b.input(0);
    let q = b.cast(Cast::Value, Ty::F32, q);
    let scale = b.f32(scale);
    let v = b.mul(q, scale);
    rows_loop(cx, [1, n], &[Rows::new(at, n)], Rows::new(out, n), b.finish(v, Storage::F32));
    Ok(out)
}
