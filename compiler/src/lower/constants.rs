//! Values of constant operands that shape a lowering, and element sizes, with errors where a model gives something else.

use super::context::Cx;
use super::movement::{copy, result};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, TensorId, TensorType};
use crate::ops::{self, State, Value};

/// Integers of a tensor that must be constant.
pub(super) fn ints(cx: &Cx<'_, '_>, t: TensorId, what: &str) -> Result<Vec<i64>, CompileError> {
    let data = cx.require_constant(t, what)?;
    let all = match cx.ty(t).dtype {
        DType::Int8 => data.iter().map(|&b| i64::from(b as i8)).collect(),
        DType::UInt8 | DType::Bool => data.iter().map(|&b| i64::from(b)).collect(),
        DType::Int16 => data.as_chunks::<2>().0.iter().map(|c| i64::from(i16::from_le_bytes(*c))).collect(),
        DType::Int32 => data.as_chunks::<4>().0.iter().map(|c| i64::from(i32::from_le_bytes(*c))).collect(),
        DType::UInt32 => data.as_chunks::<4>().0.iter().map(|c| i64::from(u32::from_le_bytes(*c))).collect(),
        DType::Int64 => data.as_chunks::<8>().0.iter().map(|c| i64::from_le_bytes(*c)).collect(),
        other => return Err(cx.unsupported(Unsupported::Types(format!("{other} as {what}")))),
    };
    Ok(all)
}

/// Integers of operand `i` of a node.
pub(super) fn operand_ints(cx: &Cx<'_, '_>, node: &Node, i: usize, what: &str) -> Result<Vec<i64>, CompileError> {
    ints(cx, cx.input(node, i)?, what)
}

/// The one integer of operand `i` of a node.
pub(super) fn operand_int(cx: &Cx<'_, '_>, node: &Node, i: usize, what: &str) -> Result<i64, CompileError> {
    operand_ints(cx, node, i, what)?.first().copied().ok_or_else(|| cx.internal(format!("{what} is empty")))
}

/// The axis `axis` of `rank` dimensions; negative ones count from the end.
pub(super) fn axis(cx: &Cx<'_, '_>, axis: i64, rank: usize) -> Result<usize, CompileError> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at).ok().filter(|a| *a < rank).ok_or_else(|| cx.internal(format!("axis {axis} of {rank} dimensions")))
}

/// Bytes of an element, of types that have whole ones.
pub(super) fn element_bytes(cx: &Cx<'_, '_>, ty: &TensorType) -> Result<usize, CompileError> {
    match ty.dtype.bits() {
        0 => Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string()))),
        bits if bits % 8 != 0 => Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string()))),
        bits => Ok(bits / 8),
    }
}

/// A result of constants: an output of the graph, which keeps its node when others are folded.
pub(super) fn folded(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let mut values = vec![];
    for t in &node.inputs {
        values.push(match t {
            None => None,
            Some(t) => Value::from_bytes(cx.ty(*t).clone(), cx.require_constant(*t, "operand")?.clone()),
        });
    }
    let values: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    let (y, ty) = result(cx, node, 0)?;
    let found = ops::evaluate(&call, &values, std::slice::from_ref(ty), &mut State::default());
    let found = found.map_err(|e| CompileError::invalid(cx.place(), e.to_string()))?;
    let data = found.first().map(|v| v.bytes().to_vec()).filter(|d| d.len() == ty.bytes());
    let data = data.ok_or_else(|| cx.internal("constants give another size"))?;
    let (from, to) = (cx.bytes(data), cx.operand(y)?);
    copy(cx, from, to, ty.bytes());
    Ok(())
}
