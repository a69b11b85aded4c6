//! Indices of open tensors, and into them: what lies behind an extent is not followed, and indices into an open axis are compared with its extent.

use super::lengths::Lengths;
use super::masks::with_neutral_tail;
use super::moves::packed;
use super::{extent, front, is_open};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::gather::{index_operand, wide_index};
use crate::lower::grain::grain;
use tflc_templates::cpu::extent::{AtLeastSpec, BelowSpec};
use tflc_templates::cpu::limit::limited;

/// Indices that a kernel may follow.
pub(in crate::lower) struct Indices {
    /// Where they are.
    pub(in crate::lower) at: Operand,
    /// Where only those in front count: how many of them for each of a number, and its address.
    pub(in crate::lower) rows: Option<(usize, Operand)>,
}

/// Indices of which those behind an extent are not followed, where the kernel's units are indices, each of so many of the tensor's trailing dimensions; else
/// they lead to the first element.
pub(in crate::lower) fn gather_indices(cx: &mut Cx<'_, '_>, index: TensorId, tuple_dims: Option<usize>) -> Result<Indices, CompileError> {
    if let (Some(tuple_dims), Some((axis, number))) = (tuple_dims, front(cx, index)?) {
        let shape = &cx.ty(index).shape;
        let per_row = shape[axis + 1..shape.len() - tuple_dims].iter().product();
        return Ok(Indices { at: index_operand(cx, index)?, rows: Some((per_row, number)) });
    }
    Ok(Indices { at: replaced(cx, index, 0)?, rows: None })
}

/// Indices of which those behind an extent are negative.
pub(in crate::lower) fn dropped_behind(cx: &mut Cx<'_, '_>, index: TensorId) -> Result<Operand, CompileError> {
    replaced(cx, index, u64::MAX)
}

fn replaced(cx: &mut Cx<'_, '_>, index: TensorId, value: u64) -> Result<Operand, CompileError> {
    if !is_open(cx, Some(index)) {
        return index_operand(cx, index);
    }
    if cx.ty(index).dtype == DType::Int16 {
        return Err(cx.unsupported(Unsupported::Types("int16 indices of open size".into())));
    }
    let all = vec![true; cx.ty(index).shape.len()];
    with_neutral_tail(cx, index, &all, value)
}

/// Makes sure that indices into an open axis are below its extent; each is component `at` of so many.
pub(in crate::lower) fn check_below(
    cx: &mut Cx<'_, '_>,
    x: TensorId,
    axis: usize,
    index: TensorId,
    part: [usize; 2],
) -> Result<(), CompileError> {
    match extent(cx, x, axis)? {
        Some(number) => below(cx, number, index, part, Negative::Fails),
        None => Ok(()),
    }
}

/// Makes sure that tuples of open size lie in the leading axes of a tensor.
pub(in crate::lower) fn check_tuples(cx: &mut Cx<'_, '_>, x: TensorId, depth: usize, index: TensorId) -> Result<(), CompileError> {
    for d in 0..depth {
        let number = match extent(cx, x, d)? {
            Some(number) => number,
            None if is_open(cx, Some(index)) => cx.bytes((cx.ty(x).shape[d] as u64).to_le_bytes().to_vec()),
            None => continue,
        };
        below(cx, number, index, [d, depth], Negative::Fails)?;
    }
    Ok(())
}

/// What a negative index means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Negative {
    /// It is out of range.
    Fails,
    /// It is not followed.
    Passes,
}

/// Makes sure that indices are below a number.
pub(super) fn below(
    cx: &mut Cx<'_, '_>,
    number: Operand,
    index: TensorId,
    [at, of]: [usize; 2],
    negative: Negative,
) -> Result<(), CompileError> {
    let signed = negative == Negative::Passes;
    let spec = BelowSpec { indices: cx.ty(index).elements() / of.max(1), at, of, wide: wide_index(cx, index)?, signed };
    let (key, units) = (format!("{spec:?}"), spec.indices as u64);
    let grain = grain(units, 2.0);
    let rows = match front(cx, index)? {
        Some((axis, rows)) => Some((cx.ty(index).shape[axis + 1..].iter().product::<usize>() / of.max(1), rows, index_operand(cx, index)?)),
        None if is_open(cx, Some(index)) => {
            let mut l = Lengths::default();
            let lengths = l.axes(cx, index)?;
            let (all, one) = (l.product(&lengths), l.number(of.max(1)));
            let (tuples, number) = (l.div(all, one), cx.workspace(8));
            l.store(tuples, number, 0);
            let dense = packed(cx, l, index)?;
            Some((1, number, dense))
        }
        None => None,
    };
    match rows {
        None => {
            let from = index_operand(cx, index)?;
            cx.call(key, move || spec.build(), vec![from, number], units, grain);
        }
        Some((per_row, rows, from)) => {
            cx.call(format!("limited {per_row} {key}"), move || limited(&spec.build(), per_row), vec![from, number, rows], units, grain);
        }
    }
    Ok(())
}

/// Makes sure that an axis is at least so long.
pub(in crate::lower) fn check_at_least(cx: &mut Cx<'_, '_>, x: TensorId, axis: usize, least: usize) -> Result<(), CompileError> {
    if let Some(number) = extent(cx, x, axis)? {
        let spec = AtLeastSpec { least };
        cx.call(format!("{spec:?}"), move || spec.build(), vec![number], 1, 1);
    }
    Ok(())
}
