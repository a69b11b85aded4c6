//! SOFTMAX and LOG_SOFTMAX along the last axis: f32, 8 bits by a table of exponentials, 16 bits by two interpolated tables (see
//! [`crate::ops::softmax`]).

use super::context::{Cx, Operand};
use super::grain::grain;
use super::movement::result;
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind};
use crate::ops::fixed_point::Rounding;
use crate::ops::softmax::Table;
use crate::ops::softmax_int16::SoftmaxInt16;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::softmax::{SoftmaxSpec, SoftmaxTableSpec, TableKind};
use tflc_templates::cpu::softmax_i16::SoftmaxI16Spec;
use tflc_templates::expr::{ExprBuilder, Storage};

/// Appends a conversion between types of floats.
fn convert(cx: &mut Cx<'_, '_>, [from, to]: [Storage; 2], elements: usize, source: Operand, target: Operand) {
    let mut b = ExprBuilder::new([from]);
    let v = b.input(0);
    emit(cx, PointwiseSpec::new(&[elements], vec![vec![1]], vec![1], b.finish(v, to)), vec![source, target]);
}

/// Lowers a softmax.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let Some(&n) = ty.shape.last() else { return Err(cx.internal("softmax of a scalar")) };
    let rows = ty.elements().checked_div(n).unwrap_or(0);
    let log = node.op == OpKind::LogSoftmax;
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    let caps = cx.caps().clone();
    let dtype = cx.ty(x).dtype;
    match dtype {
        DType::Float32 | DType::Float16 => {
            let half = dtype == DType::Float16;
            let elements = ty.elements();
            let mut ends = [from, to];
            if half {
                ends = [cx.workspace(elements * 4), cx.workspace(elements * 4)];
                convert(cx, [Storage::F16, Storage::F32], elements, from, ends[0]);
            }
            let beta = if log { 1.0 } else { node.attrs.float("beta", 1.0) };
            let spec = SoftmaxSpec { rows, n, beta_bits: beta.to_bits(), log };
            let unit_ns = 30.0 + n as f64 * 16.0 / f64::from(caps.vector_bytes);
            let units = spec.units();
            cx.call(format!("{spec:?}"), move || spec.build(&caps), ends.to_vec(), units, grain(units, unit_ns));
            if half {
                convert(cx, [Storage::F32, Storage::F16], elements, ends[1], to);
            }
        }
        DType::Int8 | DType::UInt8 => {
            let table = Table::new(&cx.as_call()?)?;
            let output_scale_bits = table.output_scale.to_bits();
            let kind = if log {
                TableKind::Log { input_scale_bits: table.input_scale.to_bits(), output_scale_bits }
            } else {
                TableKind::Probability { output_scale_bits }
            };
            let input = if dtype == DType::Int8 { Storage::I8 } else { Storage::U8 };
            let spec = SoftmaxTableSpec { rows, n, input, kind, epilogue: table.epilogue };
            let exp = cx.bytes(table.exp.iter().flat_map(|v| v.to_le_bytes()).collect());
            let units = spec.units();
            cx.call(format!("{spec:?}"), move || spec.build(&caps), vec![from, exp, to], units, grain(units, 20.0 + n as f64 * 6.0));
        }
        DType::Int16 if !log => {
            let softmax = SoftmaxInt16::new(&cx.as_call()?)?;
            let mut b = ExprBuilder::new([Storage::I32]);
            let d = b.input(0);
            let scaled = softmax.scale.emit(&mut b, d, Rounding::HalfAway);
            let spec = SoftmaxI16Spec { rows, n, scaled: b.finish(scaled, Storage::I32) };
            let bytes = |t: &[i16]| t.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
            let (exp, reciprocal) = (cx.bytes(bytes(&softmax.exp)), cx.bytes(bytes(&softmax.reciprocal)));
            let units = spec.units();
            let args = vec![from, exp, reciprocal, to];
            cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, 30.0 + n as f64 * 10.0));
        }
        other => return Err(cx.unsupported(Unsupported::Types(other.to_string()))),
    }
    Ok(())
}
