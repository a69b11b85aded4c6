//! RANGE of a length known only at run time.

use super::lengths::Lengths;
use super::sources::give;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node};
use crate::lower::constants::element_bytes;
use crate::lower::context::{Cx, Operand};
use crate::lower::movement::result;
use crate::lower::pointwise::emit;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::expr::{Binary, Cast, Compare, ExprBuilder, Storage, Ty, Unary};

/// Numbers from a start on, by steps.
pub(super) fn range(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let [start, limit, delta] = [cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?];
    let (y, ty) = result(cx, node, 0)?;
    let wide = match ty.dtype {
        DType::Float32 => return floats(cx, node),
        DType::Int32 => false,
        DType::Int64 => true,
        other => return Err(cx.unsupported(Unsupported::Types(format!("a range of {other} of open size")))),
    };
    let mut l = Lengths::default();
    let [from, to, by] = [l.element(cx, start, 0)?, l.element(cx, limit, 0)?, l.element(cx, delta, 0)?];
    let up = l.known(by).is_none_or(|v| v > 0);
    let distance = if up { l.sub(to, from) } else { l.sub(from, to) };
    let (zero, one) = (l.number(0), l.number(1));
    let step = if up { by } else { l.sub(zero, by) };
    // Steps that lead away from the limit, or nowhere, are an error: a distance below zero, and a step below one.
    let forward = l.less(zero, step);
    l.check(forward);
    let rest = l.sub(step, one);
    let negative = l.less(distance, zero);
    let sum = l.add(distance, rest);
    let steps = l.div(sum, step);
    let steps = l.choose(negative, distance, steps);
    give(cx, &mut l, y, 0, steps)?;
    l.call(cx);
    let (n, element) = (ty.elements() as i64, if wide { Storage::I64 } else { Storage::I32 });
    debug_assert_eq!(element_bytes(cx, ty)?, element.bytes());
    let positions = (0..n).flat_map(|v| v.to_le_bytes()[..element.bytes()].to_vec()).collect();
    let ends = [cx.operand(start)?, cx.operand(delta)?, cx.operand(y)?];
    numbers(cx, positions, element, ends);
    Ok(())
}

/// `start + i * delta` of all positions `i`.
fn numbers(cx: &mut Cx<'_, '_>, positions: Vec<u8>, element: Storage, [start, delta, to]: [Operand; 3]) {
    let n = positions.len() / element.bytes();
    let mut b = ExprBuilder::new([element; 3]);
    let (i, first, by) = (b.input(0), b.input(1), b.input(2));
    let v = b.mul(i, by);
    let v = b.add(first, v);
    let args = vec![cx.bytes(positions), start, delta, to];
    emit(cx, PointwiseSpec::new(&[n], vec![vec![1], vec![0], vec![0]], vec![1], b.finish(v, element)), args);
}

/// The same of floats, whose number is computed as a float: `ceil(|(limit - start) / delta|)`.
fn floats(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let [start, limit, delta] = [cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?];
    let (y, ty) = result(cx, node, 0)?;
    let n = ty.elements();
    let [start, limit, delta] = [cx.operand(start)?, cx.operand(limit)?, cx.operand(delta)?];
    let number = cx.workspace(8);
    let mut b = ExprBuilder::new([Storage::F32; 3]);
    let (from, to, by) = (b.input(0), b.input(1), b.input(2));
    let zero = b.f32(0.0);
    let distance = b.sub(to, from);
    let steps = b.binary(Binary::Div, distance, by);
    // Steps that lead away from the limit, or nowhere, are an error: a number below zero.
    let (away, nowhere, still) = (b.compare(Compare::Lt, steps, zero), b.compare(Compare::Eq, by, zero), b.compare(Compare::Eq, to, from));
    let steps = b.unary(Unary::Abs, steps);
    let steps = b.unary(Unary::Ceil, steps);
    let most = b.f32((n + 1) as f32);
    let within = b.compare(Compare::Lt, steps, most);
    let (none, minus) = (b.f32(0.0), b.f32(-1.0));
    let steps = b.select(within, steps, minus);
    let steps = b.select(away, minus, steps);
    let steps = b.select(still, none, steps);
    let steps = b.select(nowhere, minus, steps);
    let steps = b.cast(Cast::Value, Ty::I64, steps);
    let spec = PointwiseSpec::new(&[1], vec![vec![0]; 3], vec![1], b.finish(steps, Storage::I64));
    emit(cx, spec, vec![start, limit, delta, number]);
    let mut l = Lengths::default();
    let steps = l.read(number, 0, true);
    give(cx, &mut l, y, 0, steps)?;
    l.call(cx);
    let positions = (0..n).flat_map(|v| (v as f32).to_le_bytes()).collect();
    let to = cx.operand(y)?;
    numbers(cx, positions, Storage::F32, [start, delta, to]);
    Ok(())
}
