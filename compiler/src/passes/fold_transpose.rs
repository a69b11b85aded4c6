//! Folds TRANSPOSE of the last two dimensions into the matrix product that reads it, by turning its `adj_x` or `adj_y` over.
//!
//! The product packs or copies its operands anyway, and reads them in either order. A RESHAPE of the dimensions in front may stand between the two.

use super::views::reshape;
use crate::error::CompileError;
use crate::ir::{AttrValue, DType, GraphId, Model, NodeId, OpKind, Patch, TensorId};
use crate::target::Target;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let mut patch = Patch::new(&mut model.graphs[id.index()]);
    let mut folded = 0;
    for at in patch.ids() {
        // The left side is read by rows; turning that by itself costs as much as the transpose did.
        let Some(node) = patch.node(at).filter(|n| n.op == OpKind::BatchMatmul && n.tail.is_none()).cloned() else { continue };
        let Some(y) = node.inputs.get(1).copied().flatten().filter(|y| node.inputs[0] != Some(*y)) else { continue };
        let Some(source) = turned(&patch, y, at) else { continue };
        let shape = exchanged(&patch.ty(y).shape);
        let mut new = node;
        new.inputs[1] = Some(reshape(&mut patch, at, source, shape));
        let adjoint = new.attrs.bool("adj_y", false);
        new.attrs.set("adj_y", AttrValue::Bool(!adjoint));
        patch.replace(at, new);
        folded += 1;
    }
    Ok(folded)
}

/// The tensor whose matrices `y`, which only the node `reader` needs, has turned over.
fn turned(patch: &Patch<'_>, y: TensorId, reader: NodeId) -> Option<TensorId> {
    let at = patch.sole_producer(y, reader)?;
    let node = patch.node(at).filter(|n| n.tail.is_none())?;
    let x = node.inputs.first().copied().flatten()?;
    let closed = [x, y].iter().all(|t| {
        patch.graph().open_axes(*t).is_empty() && patch.ty(*t).quant.per_tensor().is_some() == patch.ty(*t).quant.affine().is_some()
    });
    match node.op {
        OpKind::Transpose if closed => {
            let order = node.inputs.get(1).copied().flatten()?;
            let values: Vec<i32> = patch.tensor(order).data.as_ref()?.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
            let rank = values.len();
            let swaps = rank >= 2 && values.iter().enumerate().all(|(i, v)| *v as usize == if i + 2 < rank { i } else { 2 * rank - 3 - i });
            (swaps && patch.ty(order).dtype == DType::Int32).then_some(x)
        }
        OpKind::Reshape if closed => {
            let matrices = |t: TensorId| patch.ty(t).shape.last_chunk::<2>().copied();
            (matrices(x) == matrices(y) && matrices(x).is_some()).then(|| turned(patch, x, at)).flatten()
        }
        _ => None,
    }
}

/// A shape with its last two dimensions exchanged.
fn exchanged(shape: &[usize]) -> Vec<usize> {
    let mut shape = shape.to_vec();
    let n = shape.len();
    shape.swap(n - 1, n - 2);
    shape
}
