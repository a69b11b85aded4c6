//! Small integer tensors whose elements are known in part: constants, and lengths of open tensors.

use crate::ir::{DType, Graph, GraphId, Model, Node, OpKind, Open, TensorId};
use crate::ops::call::{Call, Operand};
use crate::ops::state::State;
use crate::ops::table::{evaluate, infer};
use crate::ops::value::Value;
use std::collections::HashMap;

/// An element of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::ops) enum Element {
    /// Its value.
    Known(i64),
    /// The length of open tensors by this extent, and its bound.
    Extent(TensorId, usize),
    /// Anything.
    Unknown,
}

/// The most elements of a tensor that is followed.
const MOST: usize = 16;
/// The longest way that is followed.
const DEPTH: usize = 24;

/// What is known of the tensors of a graph.
pub(in crate::ops) struct Values<'a> {
    pub(in crate::ops) model: &'a Model,
    pub(in crate::ops) id: GraphId,
    /// Values of tensors that are no constants.
    pub(in crate::ops) known: &'a HashMap<TensorId, Value>,
}

impl Values<'_> {
    /// The elements of an integer tensor; `None` where it is none, or too large.
    pub(in crate::ops) fn elements(&self, t: TensorId) -> Option<Vec<Element>> {
        self.follow(t, DEPTH)
    }

    fn graph(&self) -> &Graph {
        &self.model.graphs[self.id.index()]
    }

    fn follow(&self, t: TensorId, depth: usize) -> Option<Vec<Element>> {
        let tensor = self.graph().tensor(t);
        let count = tensor.ty.elements();
        let integer = matches!(tensor.ty.dtype, DType::Int32 | DType::Int64 | DType::Int16);
        if !integer || count > MOST || self.graph().open.contains_key(&t) {
            return None;
        }
        let value = match &tensor.data {
            Some(data) => Value::from_bytes(tensor.ty.clone(), data.clone()),
            None => self.known.get(&t).cloned(),
        };
        if let Some(v) = value {
            return v.to_i64().map(|v| v.into_iter().map(Element::Known).collect());
        }
        let unknown = vec![Element::Unknown; count];
        let Some((index, node)) = self.graph().nodes.iter().enumerate().find(|(_, n)| n.outputs.contains(&t)) else { return Some(unknown) };
        let found = if depth == 0 { None } else { self.through(index, node, depth - 1) };
        Some(found.filter(|f| f.len() == count).unwrap_or(unknown))
    }

    /// The elements of the first result of a node that moves them.
    fn through(&self, index: usize, node: &Node, depth: usize) -> Option<Vec<Element>> {
        let operand = |i: usize| node.inputs.get(i).copied().flatten();
        match node.op {
            OpKind::Shape => {
                let x = operand(0)?;
                let open = self.graph().open.get(&x).copied();
                let size = |(d, n): (usize, &usize)| match open {
                    Some(Open::Along { axis, extent }) if axis as usize == d => Element::Extent(extent, *n),
                    Some(Open::Unknown) => Element::Unknown,
                    _ => Element::Known(*n as i64),
                };
                Some(self.graph().ty(x).shape.iter().enumerate().map(size).collect())
            }
            OpKind::Cast => self.follow(operand(0)?, depth),
            OpKind::Pack | OpKind::Concatenation if node.attrs.int("axis", 0) == 0 => {
                let parts = node.inputs.iter().flatten().map(|t| self.follow(*t, depth)).collect::<Option<Vec<_>>>()?;
                Some(parts.concat())
            }
            OpKind::Reshape
            | OpKind::Squeeze
            | OpKind::ExpandDims
            | OpKind::StridedSlice
            | OpKind::Slice
            | OpKind::Gather
            | OpKind::ReverseV2 => {
                let from = self.follow(operand(0)?, depth)?;
                let picks = self.picks(index, node, from.len())?;
                picks.into_iter().map(|p| from.get(usize::try_from(p).ok()?).copied()).collect()
            }
            _ => None,
        }
    }

    /// Which elements of its first operand a node that moves elements gives: the node is evaluated on their positions.
    fn picks(&self, index: usize, node: &Node, count: usize) -> Option<Vec<i64>> {
        let graph = self.graph();
        let first = node.inputs.first().copied().flatten()?;
        let ty = graph.ty(first);
        let positions = match ty.dtype {
            DType::Int64 => Value::new(ty.clone(), (0..count as i64).collect()),
            DType::Int32 => Value::new(ty.clone(), (0..count as i32).collect()),
            _ => return None,
        };
        let value_of = |t: TensorId| match &graph.tensor(t).data {
            Some(data) => Value::from_bytes(graph.ty(t).clone(), data.clone()),
            None => self.known.get(&t).cloned(),
        };
        let mut owned = vec![Some(positions)];
        for t in node.inputs.iter().skip(1) {
            owned.push(match t {
                Some(t) => Some(value_of(*t)?),
                None => None,
            });
        }
        let call = Call::with(self.model, self.id, node, index, |t| {
            let at = node.inputs.iter().position(|u| *u == Some(t)).unwrap_or(0);
            Operand { ty: graph.ty(t), data: owned[at].as_ref().map(|v| &v.data), constant: true, variable: false }
        });
        let types = infer(&call).ok()?;
        let refs: Vec<Option<&Value>> = owned.iter().map(Option::as_ref).collect();
        evaluate(&call, &refs, &types, &mut State::default()).ok()?.first()?.to_i64()
    }
}
