//! Values of constant operands that shape a lowering, and element sizes, with errors where a model gives something else.

use super::context::Cx;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, TensorId, TensorType};

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
