//! REVERSE_SEQUENCE, MATRIX_DIAG, MATRIX_SET_DIAG and DILATE: elements that change places by more than strides alone.

use super::constants::{axis, element_bytes, operand_ints};
use super::context::{Cx, Operand};
use super::gather::wide_index;
use super::grain::grain;
use super::movement::{Part, copy, copy_strided, fill, result};
use crate::error::CompileError;
use crate::ir::{Node, OpKind};
use tflc_templates::cpu::pointwise::row_major;
use tflc_templates::cpu::reverse_sequence::ReverseSequenceSpec;

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::ReverseSequence => reverse_sequence(cx, node),
        OpKind::Dilate => dilate(cx, node),
        _ => diagonals(cx, node),
    }
}

fn reverse_sequence(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, lengths) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let (y, ty) = result(cx, node, 0)?;
    let rank = ty.shape.len();
    let along = axis(cx, node.attrs.int("seq_dim", 0), rank)?;
    let batch = axis(cx, node.attrs.int("batch_dim", 0), rank)?;
    if along == batch {
        return Err(cx.internal("sequences along their own axis"));
    }
    let bytes = element_bytes(cx, ty)?;
    let (first, second) = (along.min(batch), along.max(batch));
    let size = |dims: &[usize]| dims.iter().product::<usize>();
    let shape = [
        size(&ty.shape[..first]),
        ty.shape[first],
        size(&ty.shape[first + 1..second]),
        ty.shape[second],
        size(&ty.shape[second + 1..]) * bytes,
    ];
    let spec = ReverseSequenceSpec { shape, along_second: along > batch, wide_index: wide_index(cx, lengths)? };
    let args = vec![cx.operand(x)?, cx.operand(lengths)?, cx.operand(y)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    let unit_ns = (shape[1] * shape[2] * shape[3]) as f64 * (3.0 + shape[4] as f64 * 0.1);
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, unit_ns));
    Ok(())
}

/// Rows of diagonals laid over zeros, or over the operand.
fn diagonals(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    let to = cx.operand(y)?;
    let source = match node.op {
        OpKind::MatrixDiag => {
            fill(cx, &ty.shape, Part::dense(to, &ty.shape), bytes, 0);
            0
        }
        _ => {
            let from = cx.operand(cx.input(node, 0)?)?;
            copy(cx, from, to, ty.bytes());
            1
        }
    };
    let [outer @ .., rows, columns] = &ty.shape[..] else { return Err(cx.internal("a result that is no matrix")) };
    let (matrices, n) = (outer.iter().product::<usize>(), *rows.min(columns));
    let from = Part::dense(cx.operand(cx.input(node, source)?)?, &[matrices, n]);
    let to = Part { base: to, offset: 0, strides: vec![(rows * columns) as i64, *columns as i64 + 1] };
    copy_strided(cx, &[matrices, n], from, to, bytes);
    Ok(())
}

/// The operand's elements some steps apart, a value in between.
fn dilate(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, padding) = (cx.input(node, 0)?, cx.input(node, 2)?);
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    let steps = operand_ints(cx, node, 1, "dilations")?;
    let to: Operand = cx.operand(y)?;
    let from = Part { base: cx.operand(padding)?, offset: 0, strides: vec![0; ty.shape.len()] };
    copy_strided(cx, &ty.shape, from, Part::dense(to, &ty.shape), bytes);
    let shape = &cx.ty(x).shape;
    let strides = row_major(&ty.shape).iter().zip(&steps).map(|(s, by)| s * by).collect();
    let from = Part::dense(cx.operand(x)?, shape);
    copy_strided(cx, shape, from, Part { base: to, offset: 0, strides }, bytes);
    Ok(())
}
