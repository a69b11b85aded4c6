//! SVDF: products with feature weights go through a memory of past ones, which is weighted over time and summed over the rank.
//!
//! Source: TFLite `kernels/svdf.cc`, `kernels/internal/kernel_utils.cc`; the integer form has a 16-bit memory.

use super::lstm::float_vector;
use super::product::{Addend, IntBias, compensation, ints, multiply, product, reduce};
use super::stack::Stack;
use super::{Rows, activate, copy_rows, rows_loop, state};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node};
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::{Part, copy, copy_strided, result};
use crate::lower::pointwise::emit;
use crate::ops::activation::emit_clamp;
use crate::ops::fixed_point::Rounding;
use crate::ops::recurrent::Inputs;
use crate::ops::rnn::{Svdf, svdf_multipliers};
use tflc_templates::cpu::epilogue::OperandAccess;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::reduce::{Combine, ReduceSpec};
use tflc_templates::expr::{Expr, ExprBuilder, Storage};

/// Lowers a node.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let s = Svdf::new(&cx.as_call()?)?;
    if s.batch == 0 || s.input == 0 || s.filters == 0 {
        return Err(cx.unsupported(Unsupported::Shape("a cell without elements".into())));
    }
    if cx.ty(cx.input(node, 0)?).dtype == DType::Int8 { integer(cx, node, &s) } else { float(cx, node, &s) }
}

/// Moves the memory on by one place, with `sums` (rows of `filters`) as its newest column; gives its place.
fn remember(cx: &mut Cx<'_, '_>, s: &Svdf, memory: Operand, sums: Operand, element_bytes: usize) {
    let (rows, m) = (s.batch * s.filters, s.memory);
    let moved = cx.workspace(rows * m * element_bytes);
    if m > 1 {
        copy_rows(cx, [rows, m - 1], Rows::new(memory, m).columns(1, element_bytes), Rows::new(moved, m), element_bytes);
    }
    let newest = Part { base: moved.offset((m - 1) * element_bytes), offset: 0, strides: vec![m as i64] };
    copy_strided(cx, &[rows], Part::dense(sums, &[rows]), newest, element_bytes);
    copy(cx, moved, memory, rows * m * element_bytes);
}

/// `Σ memory * time` over time and rank, one for each unit, as the accumulator's type.
fn filter(cx: &mut Cx<'_, '_>, s: &Svdf, memory: Operand, time: Operand, [from, acc]: [Storage; 2]) -> Operand {
    let units = s.filters / s.rank;
    let all = s.filters * s.memory;
    let products = cx.workspace(s.batch * all * 4);
    let mut b = ExprBuilder::new([from, from]);
    let (x, y) = (b.input(0), b.input(1));
    let p = b.mul(x, y);
    let rows = vec![all as i64, 1];
    let spec = PointwiseSpec::new(&[s.batch, all], vec![rows.clone(), vec![0, 1]], rows, b.finish(p, acc));
    emit(cx, spec, vec![memory, time, products]);
    let sums = cx.workspace(s.batch * units * 4);
    let spec =
        ReduceSpec::new(&[s.batch * units, s.rank * s.memory], &[false, true], Combine::Sum, Expr::identity(acc), Expr::identity(acc));
    reduce(cx, spec, vec![products, sums]);
    sums
}

fn float(cx: &mut Cx<'_, '_>, node: &Node, s: &Svdf) -> Result<(), CompileError> {
    let units = s.filters / s.rank;
    let inputs = Inputs::parse(&cx.as_call()?);
    let x = cx.operand(cx.input(node, 0)?)?;
    let features = Stack::new(cx, &[cx.input(node, 1)?], s.filters, s.input)?;
    let sums = cx.workspace(s.batch * s.filters * 4);
    product(cx, &features, s.batch, (Rows::new(x, s.input), Rows::new(sums, s.filters)), Addend::None, inputs)?;
    let memory = state(cx, cx.input(node, 4)?)?;
    remember(cx, s, memory, sums, 4);
    let t = cx.input(node, 2)?;
    let time = float_vector(cx, t)?;
    let filtered = filter(cx, s, memory, time, [Storage::F32; 2]);
    let (y, _) = result(cx, node, 0)?;
    let mut inputs = vec![Rows::new(filtered, units)];
    if let Some(bias) = cx.optional_input(node, 3) {
        inputs.push(Rows::new(cx.operand(bias)?, 0));
    }
    let mut b = ExprBuilder::new(vec![Storage::F32; inputs.len()]);
    let mut v = b.input(0);
    if inputs.len() > 1 {
        let bias = b.input(1);
        v = b.add(bias, v);
    }
    let v = activate(&mut b, node, v);
    let out = Rows::new(cx.operand(y)?, units);
    rows_loop(cx, [s.batch, units], &inputs, out, b.finish(v, Storage::F32));
    Ok(())
}

fn integer(cx: &mut Cx<'_, '_>, node: &Node, s: &Svdf) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let units = s.filters / s.rank;
    let ((_, zi), (_, zo)) = (call.quant(call.input(0)?)?, call.quant(call.output(0)?)?);
    let (first, second) = svdf_multipliers(&call)?;
    let x = cx.operand(cx.input(node, 0)?)?;
    let features = Stack::new(cx, &[cx.input(node, 1)?], s.filters, s.input)?;
    let sums = cx.workspace(s.batch * s.filters * 2);
    let centre = compensation(cx, &features, s.batch, IntBias::None, zi);
    let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
    let (acc, c) = (b.input(0), b.input(1));
    let v = b.add(acc, c);
    let v = first.emit(&mut b, v, Rounding::HalfAway);
    let v = emit_clamp(&mut b, v, -32768, 32767);
    let expr = b.finish(v, Storage::I16);
    let operands = vec![(Storage::I32, OperandAccess::PerColumn, centre)];
    multiply(cx, &features, s.batch, (Storage::I8, Rows::new(x, s.input), Rows::new(sums, s.filters)), expr, operands);
    let memory = state(cx, cx.input(node, 4)?)?;
    remember(cx, s, memory, sums, 2);
    let time = cx.operand(cx.input(node, 2)?)?;
    let filtered = filter(cx, s, memory, time, [Storage::I16, Storage::I32]);
    let bias = match cx.optional_input(node, 3) {
        Some(t) => cx.operand(t)?,
        None => ints(cx, &vec![0; units]),
    };
    let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
    let (v, bias_id) = (b.input(0), b.input(1));
    let v = b.add(v, bias_id);
    let v = second.emit(&mut b, v, Rounding::HalfAway);
    let v = emit_clamp(&mut b, v, -128 - zo, 127 - zo);
    let zero = b.i32(zo);
    let v = b.add(v, zero);
    let (y, _) = result(cx, node, 0)?;
    let out = Rows::new(cx.operand(y)?, units);
    rows_loop(cx, [s.batch, units], &[Rows::new(filtered, units), Rows::new(bias, 0)], out, b.finish(v, Storage::I8));
    Ok(())
}
