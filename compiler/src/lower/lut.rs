//! Elementwise operators of 16 bits that are no expression: a table of all 65,536 results.

use super::context::Cx;
use super::grain::grain;
use super::movement::result;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node};
use crate::ops::EvalError;
use crate::ops::unary_int16::function;
use tflc_templates::cpu::lut::LutSpec;

/// Lowers an elementwise operator that passes have left alone.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    if cx.ty(x).dtype != DType::Int16 || ty.dtype != DType::Int16 {
        return Err(cx.unsupported(Unsupported::Types(format!("{} to {}", cx.ty(x).dtype, ty.dtype))));
    }
    let f = function(&cx.as_call()?).map_err(|e| match e {
        EvalError::Compile(e) => e,
        other => cx.internal(other),
    })?;
    let table: Vec<u8> = (i16::MIN..=i16::MAX).flat_map(|q| f(q).to_le_bytes()).collect();
    let table = cx.bytes(table);
    let spec = LutSpec { n: ty.elements() };
    let args = vec![cx.operand(x)?, table, cx.operand(y)?];
    let caps = cx.caps().clone();
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, 500.0));
    Ok(())
}
