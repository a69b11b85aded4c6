//! LSTM, RNN and SVDF in all their forms: matrix products and pointwise loops, repeated over time.
//!
//! The products of a whole sequence with the input weights come first, as one matrix product; each step then adds the product of the previous
//! output with the recurrent weights of all gates at once. States are variable tensors, updated in place.

mod basic;
mod lstm;
mod lstm_integer;
mod norm_integer;
pub(super) mod plain;
mod product;
mod rnn;
mod stack;
mod svdf;

use super::context::{Cx, Operand};
use super::movement::{Part, copy_strided};
use super::pointwise::emit;
use crate::error::CompileError;
use crate::ir::{DType, Node, OpKind, TensorId};
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::expr::{Expr, ExprBuilder, Id, Unary};

/// Lowers a recurrent operator.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let integer = node.inputs.first().copied().flatten().is_some_and(|x| cx.ty(x).dtype != DType::Float32);
    match node.op {
        OpKind::Svdf => svdf::lower(cx, node),
        OpKind::Rnn | OpKind::UnidirectionalSequenceRnn => rnn::one(cx, node),
        OpKind::BidirectionalSequenceRnn => rnn::both(cx, node),
        OpKind::BidirectionalSequenceLstm => lstm::both(cx, node),
        OpKind::Lstm if node.attrs.name("kernel_type", "FULL") == "BASIC" => basic::lower(cx, node),
        _ if integer => lstm_integer::lower(cx, node),
        _ => lstm::one(cx, node),
    }
}

/// Rows of a matrix: the first one, and the elements from one to the next.
#[derive(Clone, Copy, Debug)]
struct Rows {
    at: Operand,
    stride: usize,
}

impl Rows {
    fn new(at: Operand, stride: usize) -> Rows {
        Rows { at, stride }
    }

    /// The same rows, some columns on.
    fn columns(self, first: usize, element_bytes: usize) -> Rows {
        Rows { at: self.at.offset(first * element_bytes), ..self }
    }
}

/// Order of the steps of a sequence, and where its rows lie.
#[derive(Clone, Copy, Debug)]
struct Sequence {
    batch: usize,
    time: usize,
    time_major: bool,
    backward: bool,
}

impl Sequence {
    /// The rows of all sequences at the current step, of a buffer with `columns` columns; `width` of them count.
    fn step(self, at: Operand, columns: usize, element_bytes: usize) -> Rows {
        let (between_steps, stride) = if self.time_major { (self.batch * columns, columns) } else { (columns, self.time * columns) };
        let bytes = between_steps * element_bytes;
        let (first, step) = if self.backward { ((self.time - 1) * bytes, -(bytes as i64)) } else { (0, bytes as i64) };
        Rows { at: at.offset(first).moving(step), stride }
    }

    /// Number of rows in all.
    fn rows(self) -> usize {
        self.batch * self.time
    }
}

/// Storage of a state: the variable itself, or a copy of an operand that is no variable.
fn state(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Operand, CompileError> {
    let at = cx.operand(t)?;
    if cx.graph.tensor(t).variable {
        return Ok(at);
    }
    let bytes = cx.ty(t).bytes();
    let own = cx.workspace(bytes);
    super::movement::copy(cx, at, own, bytes);
    Ok(own)
}

/// Applies `expr` to rows of `width` elements: inputs are rows, or one row for all where the stride is 0.
fn rows_loop(cx: &mut Cx<'_, '_>, [count, width]: [usize; 2], inputs: &[Rows], output: Rows, expr: Expr) {
    let strides = |r: &Rows| vec![r.stride as i64, 1];
    let spec = PointwiseSpec::new(&[count, width], inputs.iter().map(strides).collect(), strides(&output), expr);
    let args = inputs.iter().map(|r| r.at).chain([output.at]).collect();
    emit(cx, spec, args);
}

/// Copies rows of `width` elements.
fn copy_rows(cx: &mut Cx<'_, '_>, dims: [usize; 2], from: Rows, to: Rows, element_bytes: usize) {
    let part = |r: Rows| Part { base: r.at, offset: 0, strides: vec![r.stride as i64, 1] };
    copy_strided(cx, &dims, part(from), part(to), element_bytes);
}

/// The attribute `fused_activation_function` of a float.
fn activate(b: &mut ExprBuilder, node: &Node, x: Id) -> Id {
    match node.attrs.name("fused_activation_function", "NONE") {
        "RELU" => {
            let zero = b.f32(0.0);
            b.max(x, zero)
        }
        "RELU6" => {
            let zero = b.f32(0.0);
            let six = b.f32(6.0);
            let x = b.max(x, zero);
            b.min(x, six)
        }
        "TANH" => b.unary(Unary::Tanh, x),
        _ => x,
    }
}

/// `[-bound, bound]`; no bound where zero.
fn clip(b: &mut ExprBuilder, x: Id, bound: f32) -> Id {
    if bound > 0.0 {
        let (lo, hi) = (b.f32(-bound), b.f32(bound));
        let x = b.max(x, lo);
        return b.min(x, hi);
    }
    x
}
