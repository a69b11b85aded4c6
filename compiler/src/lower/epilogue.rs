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
    /// Scale of each row, found at run time by dynamic quantisation.
    RowScale,
    /// A tensor of the graph.
    Tensor(TensorId),
}

/// A kernel's epilogue with the sources of its operands, in their order.
#[derive(Clone, Debug)]
pub(super) struct Composed {
    pub(super) epilogue: Epilogue,
    pub(super) sources: Vec<Source>,
}

/// How an accumulating operator's result is stored.
///
/// `base` is the operator's own epilogue. `accumulator` is the type that the kernel accumulates in; where the operator has no bias of its own and the kernel
/// needs one (`needs_bias`: integer kernels fold zero points into it), one is added in front.
pub(super) fn compose(
    cx: &Cx<'_, '_>,
    node: &Node,
    base: &requant::Epilogue,
    accumulator: Storage,
    needs_bias: bool,
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
    let has_bias = base.inputs.contains(&EpilogueInput::Bias);
    let extra_bias = (needs_bias && !has_bias).then(|| add(Storage::I32, OperandAccess::PerColumn, Source::Bias));
    let mut positions = vec![];
    for (input, &storage) in base.inputs.iter().zip(&base.expr.inputs) {
        positions.push(match input {
            EpilogueInput::Acc => 0,
            EpilogueInput::Bias => add(storage, OperandAccess::PerColumn, Source::Bias),
            EpilogueInput::Floats(v) => {
                add(storage, OperandAccess::PerColumn, Source::Bytes(v.iter().flat_map(|x| x.to_le_bytes()).collect()))
            }
            EpilogueInput::Ints(v) => {
                add(storage, OperandAccess::PerColumn, Source::Bytes(v.iter().flat_map(|x| x.to_le_bytes()).collect()))
            }
            EpilogueInput::RowScale => add(storage, OperandAccess::PerRow, Source::RowScale),
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
    if let Some(i) = extra_bias {
        let bias = b.input(i);
        acc = b.add(acc, bias);
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
    /// Addresses of the operands and of the tables behind them; `bias` and `row_scale` stand for those sources.
    pub(super) fn operands(
        &self,
        cx: &mut Cx<'_, '_>,
        bias: Option<Operand>,
        row_scale: Option<Operand>,
    ) -> Result<Vec<Operand>, CompileError> {
        let mut out = vec![];
        for source in &self.sources {
            out.push(match source {
                Source::Bytes(b) => cx.bytes(b.clone()),
                Source::Bias => bias.ok_or_else(|| cx.internal("an epilogue with a bias that the kernel does not have"))?,
                Source::RowScale => row_scale.ok_or_else(|| cx.internal("an epilogue with row scales that nobody computes"))?,
                Source::Tensor(t) => cx.operand(*t)?,
            });
        }
        for table in self.epilogue.tables() {
            let table = table.to_vec();
            out.push(cx.bytes(table));
        }
        Ok(out)
    }
}
