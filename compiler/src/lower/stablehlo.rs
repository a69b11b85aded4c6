//! STABLEHLO_PAD and STABLEHLO_REDUCE_WINDOW: strided copies, and one pass over the result for each element of a window.

use super::constants::element_bytes;
use super::context::Cx;
use super::movement::{Part, copy_strided, result};
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{Node, OpKind};
use crate::ops::stablehlo::{pad_attrs, reducer, slides};
use crate::ops::storage::storage;
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::expr::ExprBuilder;

/// Elements of a window up to which each gets a pass.
const MOST_TAPS: usize = 1024;

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    if node.op == OpKind::StablehloPad { pad(cx, node) } else { reduce_window(cx, node) }
}

/// Fills the result with the scalar operand 1.
fn start(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let value = cx.input(node, 1)?;
    let (y, ty) = result(cx, node, 0)?;
    let bytes = element_bytes(cx, ty)?;
    let from = Part { base: cx.operand(value)?, offset: 0, strides: vec![0; ty.shape.len()] };
    let to = Part::dense(cx.operand(y)?, &ty.shape);
    copy_strided(cx, &ty.shape, from, to, bytes);
    Ok(())
}

fn pad(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let shape = &cx.ty(x).shape;
    let attrs = pad_attrs(&cx.as_call()?)?;
    start(cx, node)?;
    let (own, outer) = (row_major(shape), row_major(&ty.shape));
    let (mut dims, mut strides, mut from_offset, mut to_offset) = (vec![], vec![], 0, 0);
    for (d, (low, _, gap)) in attrs.into_iter().enumerate() {
        // Element i goes to low + i * step; those that fall outside are cut off.
        let step = gap + 1;
        let inside = |i: &i64| (0..ty.shape[d] as i64).contains(&(low + i * step));
        let hits: Vec<i64> = (0..shape[d] as i64).filter(inside).collect();
        let first = hits.first().copied().unwrap_or(0);
        dims.push(hits.len());
        from_offset += first * own[d];
        to_offset += (low + first * step).max(0) * outer[d];
        strides.push(step * outer[d]);
    }
    let bytes = element_bytes(cx, ty)?;
    let from = Part { base: cx.operand(x)?, offset: from_offset, strides: own };
    let to = Part { base: cx.operand(y)?, offset: to_offset, strides };
    copy_strided(cx, &dims, from, to, bytes);
    Ok(())
}

fn reduce_window(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let (op, slides) = (reducer(&call, "body_subgraph_index")?, slides(&call)?);
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let shape = &cx.ty(x).shape;
    let storage = storage(ty.dtype).ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let taps: usize = slides.iter().map(|s| s.window as usize).product();
    if taps > MOST_TAPS {
        return Err(cx.unsupported(Unsupported::Option("window_dimensions".into(), format!("{taps} elements, more than {MOST_TAPS},"))));
    }
    start(cx, node)?;
    let mut b = ExprBuilder::new([storage, storage]);
    let (old, new) = (b.input(0), b.input(1));
    let r = b.binary(op, old, new);
    let expr = b.finish(r, storage);
    let (own, outer) = (row_major(shape), row_major(&ty.shape));
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    for tap in 0..taps {
        let mut rest = tap;
        let (mut dims, mut reads, mut writes, mut at) = (vec![], vec![], vec![], [0i64; 2]);
        for d in (0..shape.len()).rev() {
            let s = &slides[d];
            let k = (rest % s.window as usize) as i64;
            rest /= s.window as usize;
            // Windows whose element k is there, and which one that is: both are equally spaced.
            let meets = |o: i64| {
                let place = o * s.stride + k * s.dilation - s.low;
                (place >= 0 && place % s.base == 0 && place / s.base < shape[d] as i64).then_some([o, place / s.base])
            };
            let hits: Vec<[i64; 2]> = (0..ty.shape[d] as i64).filter_map(meets).collect();
            let first = hits.first().copied().unwrap_or_default();
            let step = hits.get(1).map_or([1, 1], |h| [h[0] - first[0], h[1] - first[1]]);
            at = [at[0] + first[0] * outer[d], at[1] + first[1] * own[d]];
            dims.insert(0, hits.len());
            writes.insert(0, step[0] * outer[d]);
            reads.insert(0, step[1] * own[d]);
        }
        if !dims.contains(&0) {
            let place = to.offset(at[0] as usize * storage.bytes());
            let args = vec![place, from.offset(at[1] as usize * storage.bytes()), place];
            emit(cx, PointwiseSpec::new(&dims, vec![writes.clone(), reads], writes, expr.clone()), args);
        }
    }
    Ok(())
}
