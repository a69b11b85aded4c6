//! Nodes that passes put around the tensors they cut: other shapes and parts of one, which cost nothing where they are contiguous.

use crate::ir::{Location, Node, NodeId, OpKind, Patch, TensorId, TensorType};

/// A tensor in another shape, by a RESHAPE right before `place`; itself where it has that shape.
pub(super) fn reshape(patch: &mut Patch<'_>, place: NodeId, x: TensorId, shape: Vec<usize>) -> TensorId {
    if patch.ty(x).shape == shape {
        return x;
    }
    let operand = patch.add_ints("shape", &shape);
    let y = like(patch, x, shape);
    patch.insert_before(place, Node::new(OpKind::Reshape, [x, operand], [y]));
    y
}

/// The part of a tensor from `begin` on that has this shape, by a SLICE right before `place`.
pub(super) fn slice(patch: &mut Patch<'_>, place: NodeId, location: Location, x: TensorId, begin: &[usize], shape: Vec<usize>) -> TensorId {
    let begin = patch.add_ints("begin", begin);
    let size = patch.add_ints("size", &shape);
    let y = like(patch, x, shape);
    patch.insert_before(place, Node { location, ..Node::new(OpKind::Slice, [x, begin, size], [y]) });
    y
}

/// A tensor of the name and type of another one, in a shape of its own.
pub(super) fn like(patch: &mut Patch<'_>, t: TensorId, shape: Vec<usize>) -> TensorId {
    let ty = TensorType { shape, ..patch.ty(t).clone() };
    let name = patch.tensor(t).name.clone();
    patch.add_tensor(name, ty)
}
