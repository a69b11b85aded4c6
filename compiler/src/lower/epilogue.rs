//! Epilogues of accumulating kernels: an operator's requantisation and its fused tail become one expression with operands.

use super::context::{Cx, Operand};
use crate::error::CompileError;
use crate::ir::{Node, TensorId};
use crate::ops::requant::{self, EpilogueInput};
use crate::passes::fuse_tail::{Access, access};
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::expr::{ExprBuilder, Id, Storage};

/// Where the operands of an epilogue come from.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// Bytes that the compiler made.
    Bytes(Vec<u8>),
    /// The operator's bias, which the family folds compensations into.
    Bias,
    /// What the kernel must add to an integer accumulator besides the bias.
    Compensation,
    /// Scale of each row, found at run time by dynamic quantisation.
    RowScale,
    /// Zero point of each row, found likewise.
    RowZero,
    /// Sum of the weights of each column.
    WeightSums,
    /// A tensor of the graph.
    Tensor(TensorId),
}

/// A kernel's epilogue with the sources of its operands, in their order.
#[derive(Clone, Debug)]
pub(super) struct Composed {
    pub(super) epilogue: Epilogue,
    pub(super) sources: Vec<Source>,
}

/// What makes a kernel's accumulator the sum that the operator defines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Correction {
    /// Nothing.
    None,
    /// The zero point of the activations times the weights, folded into the bias, or into a compensation where there is none.
    Folded,
    /// The kernel's compensation, and zero points of rows that are known only at run time; scales and zero points are addressed like this.
    Rows(OperandAccess),
}

/// Addresses of what an epilogue's sources stand for.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Sources {
    pub(super) bias: Option<Operand>,
    pub(super) compensation: Option<Operand>,
    pub(super) row_scale: Option<Operand>,
    pub(super) row_zero: Option<Operand>,
    pub(super) weight_sums: Option<Operand>,
}

/// How an accumulating operator's result is stored.
///
/// `base` is the operator's own epilogue. `accumulator` is the type that the kernel accumulates in; `correction` is applied to it first.
pub(super) fn compose(
    cx: &Cx<'_, '_>,
    node: &Node,
    base: &requant::Epilogue,
    accumulator: Storage,
    correction: Correction,
) -> Result<Composed, CompileError> {
    let mut storages = vec![accumulator];
    let mut operands = vec![];
    let mut sources = vec![];
    let mut add = |storage: Storage, access: OperandAccess, source: Source| {
        storages.push(storage);
        operands.push(access);
        sources.push(source);
        operands.len()
    };
    let extra = match correction {
        Correction::None => false,
        Correction::Folded => !base.inputs.contains(&EpilogueInput::Bias),
        Correction::Rows(_) => true,
    };
    let compensation = extra.then(|| add(Storage::I32, OperandAccess::PerColumn, Source::Compensation));
    let mut row = OperandAccess::PerRow;
    let mut zeros = None;
    if let Correction::Rows(access) = correction {
        row = access;
        zeros = Some((add(Storage::I32, row, Source::RowZero), add(Storage::I32, OperandAccess::PerColumn, Source::WeightSums)));
    }
    let mut positions = vec![];
    for (input, &storage) in base.inputs.iter().zip(&base.expr.inputs) {
        positions.push(match input {
            EpilogueInput::Acc => 0,
            EpilogueInput::Bias => add(storage, OperandAccess::PerColumn, Source::Bias),
            EpilogueInput::RowScale => add(storage, row, Source::RowScale),
            vector => add(storage, OperandAccess::PerColumn, Source::Bytes(vector.constants().unwrap_or_default())),
        });
    }
    let out = cx.ty(node.outputs[0]);
    let mut tail_positions = vec![];
    if let Some(tail) = &node.tail {
        for (&t, &storage) in tail.inputs.iter().zip(&tail.expr.inputs[1..]) {
            let last = out.shape.last().copied().unwrap_or(1);
            let access = match access(&cx.ty(t).shape, &out.shape) {
                Some(Access::Scalar) => OperandAccess::Scalar,
                Some(Access::PerColumn) => OperandAccess::PerColumn,
                Some(Access::PerRow) => OperandAccess::PerRow,
                Some(Access::Matrix) => OperandAccess::Matrix { row_stride_bytes: (last * storage.bytes()) as i64 },
                None => return Err(cx.internal("a tail input that no kernel can address")),
            };
            tail_positions.push(add(storage, access, Source::Tensor(t)));
        }
    }
    let mut b = ExprBuilder::new(storages);
    let mut acc = b.input(0);
    if let Some(i) = compensation {
        let value = b.input(i);
        acc = b.add(acc, value);
    }
    if let Some((zero, sum)) = zeros {
        let (zero, sum) = (b.input(zero), b.input(sum));
        let term = b.mul(zero, sum);
        acc = b.sub(acc, term);
    }
    let inputs: Vec<Id> = positions.iter().map(|&i| if i == 0 { acc } else { b.input(i) }).collect();
    let mut result = b.inline(&base.expr, &inputs);
    let mut output = base.expr.output;
    if let Some(tail) = &node.tail {
        let inputs: Vec<Id> = std::iter::once(result).chain(tail_positions.iter().map(|&i| b.input(i))).collect();
        result = b.inline(&tail.expr, &inputs);
        output = tail.expr.output;
    }
    Ok(Composed { epilogue: Epilogue { expr: b.finish(result, output), operands }, sources })
}

impl Composed {
    /// Addresses of the operands and of the tables behind them.
    pub(super) fn operands(&self, cx: &mut Cx<'_, '_>, from: &Sources) -> Result<Vec<Operand>, CompileError> {
        let mut out = vec![];
        for source in &self.sources {
            let found = match source {
                Source::Bytes(b) => Some(cx.bytes(b.clone())),
                Source::Tensor(t) => Some(cx.operand(*t)?),
                Source::Bias => from.bias,
                Source::Compensation => from.compensation,
                Source::RowScale => from.row_scale,
                Source::RowZero => from.row_zero,
                Source::WeightSums => from.weight_sums,
            };
            out.push(found.ok_or_else(|| cx.internal(format!("an epilogue with {source:?} that nobody provides")))?);
        }
        for table in self.epilogue.tables() {
            let table = table.to_vec();
            out.push(cx.bytes(table));
        }
        Ok(out)
    }
}
