//! Small integer tensors whose elements are known in part: constants, and lengths of open tensors.

use super::floats;
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
    /// A number between these, both included.
    Between(i64, i64),
    /// The only element of a tensor, and so much more.
    Plus(TensorId, i64),
    /// Anything.
    Unknown,
}

impl Element {
    /// The least and the greatest that it may be.
    pub(in crate::ops) fn interval(self) -> Option<(i64, i64)> {
        match self {
            Element::Known(v) => Some((v, v)),
            Element::Extent(_, bound) => Some((0, i64::try_from(bound).ok()?)),
            Element::Between(low, high) => Some((low, high)),
            Element::Plus(..) | Element::Unknown => None,
        }
    }

    /// One of two.
    fn either(self, other: Element) -> Element {
        match self.interval().zip(other.interval()) {
            _ if self == other => self,
            Some(((a, b), (c, d))) => Element::Between(a.min(c), b.max(d)),
            None => Element::Unknown,
        }
    }

    /// The length that two broadcast to.
    fn meet(self, other: Element) -> Element {
        match (self, other) {
            (Element::Known(1), e) | (e, Element::Known(1)) => e,
            (Element::Known(v), _) | (_, Element::Known(v)) => Element::Known(v),
            (x, y) => x.either(y),
        }
    }

    /// What an operator gives of two numbers; roundings of a division do not matter to its interval.
    fn combine(op: OpKind, x: Element, y: Element) -> Element {
        match (op, x, y) {
            (OpKind::Add, e, Element::Known(0)) | (OpKind::Add, Element::Known(0), e) | (OpKind::Sub, e, Element::Known(0)) => return e,
            (OpKind::Mul, e, Element::Known(1)) | (OpKind::Mul, Element::Known(1), e) => return e,
            (OpKind::Div | OpKind::FloorDiv, e, Element::Known(1)) => return e,
            (OpKind::Maximum | OpKind::Minimum, a, b) if a == b => return a,
            (OpKind::Maximum, e @ Element::Extent(..), Element::Known(..=0))
            | (OpKind::Maximum, Element::Known(..=0), e @ Element::Extent(..)) => return e,
            (OpKind::Minimum, e @ Element::Extent(_, n), Element::Known(v))
            | (OpKind::Minimum, Element::Known(v), e @ Element::Extent(_, n))
                if v >= n as i64 =>
            {
                return e;
            }
            // One side is enough for a bound.
            (OpKind::Minimum, v, e) | (OpKind::Minimum, e, v) if v.interval().is_none() => {
                return e.interval().map_or(Element::Unknown, |(_, high)| Element::Between(i64::from(i32::MIN), high));
            }
            (OpKind::Add, Element::Plus(t, a), Element::Known(b)) | (OpKind::Add, Element::Known(b), Element::Plus(t, a)) => {
                return a.checked_add(b).map_or(Element::Unknown, |v| Element::Plus(t, v));
            }
            (OpKind::Sub, Element::Plus(t, a), Element::Known(b)) => {
                return a.checked_sub(b).map_or(Element::Unknown, |v| Element::Plus(t, v));
            }
            (OpKind::Sub, Element::Plus(t, a), Element::Plus(u, b)) if t == u => {
                return a.checked_sub(b).map_or(Element::Unknown, Element::Known);
            }
            _ => {}
        }
        if let (OpKind::FloorMod, Element::Known(m @ 1..)) = (op, y) {
            return if m == 1 { Element::Known(0) } else { Element::Between(0, m - 1) };
        }
        let (Some((a, b)), Some((c, d))) = (x.interval(), y.interval()) else { return Element::Unknown };
        let all = |v: [Option<i64>; 4]| {
            v.into_iter()
                .collect::<Option<Vec<i64>>>()
                .map(|v| (v.iter().copied().min().unwrap_or(0), v.iter().copied().max().unwrap_or(0)))
        };
        let found = match op {
            OpKind::Add => a.checked_add(c).zip(b.checked_add(d)),
            OpKind::Sub => a.checked_sub(d).zip(b.checked_sub(c)),
            OpKind::Mul => all([a.checked_mul(c), a.checked_mul(d), b.checked_mul(c), b.checked_mul(d)]),
            OpKind::Div | OpKind::FloorDiv if c > 0 => {
                let up = |v: i64, by: i64| v.checked_add(by - 1).map(|v| v.div_euclid(by));
                all([Some(a.div_euclid(d)), Some(a.div_euclid(c)), up(b, d), up(b, c)])
            }
            OpKind::Maximum => Some((a.max(c), b.max(d))),
            OpKind::Minimum => Some((a.min(c), b.min(d))),
            _ => None,
        };
        match found {
            Some((low, high)) if low == high => Element::Known(low),
            Some((low, high)) => Element::Between(low, high),
            None => Element::Unknown,
        }
    }
}

/// The element of one of several operands at a place: the only one where it has one.
fn nth(v: &[Element], i: usize) -> Option<Element> {
    if v.len() == 1 { v.first().copied() } else { v.get(i).copied() }
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

    /// The graph.
    pub(in crate::ops) fn graph(&self) -> &Graph {
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
        let unknown = vec![if count == 1 { Element::Plus(t, 0) } else { Element::Unknown }; count];
        let Some((index, node)) = self.graph().nodes.iter().enumerate().find(|(_, n)| n.outputs.contains(&t)) else { return Some(unknown) };
        let found = if depth == 0 { None } else { self.part(node, t, depth - 1).or_else(|| self.through(index, node, depth - 1)) };
        Some(found.filter(|f| f.len() == count).unwrap_or(unknown))
    }

    /// The elements of a vector that a node parts, which the result `t` has.
    fn part(&self, node: &Node, t: TensorId, depth: usize) -> Option<Vec<Element>> {
        let x = node.inputs.get(usize::from(node.op == OpKind::Split)).copied().flatten()?;
        if !matches!(node.op, OpKind::Unpack | OpKind::Split | OpKind::SplitV) || self.graph().ty(x).shape.len() != 1 {
            return None;
        }
        let k = node.outputs.iter().position(|u| *u == t)?;
        let size = |t: &TensorId| self.graph().ty(*t).elements();
        let (before, own) = (node.outputs[..k].iter().map(size).sum::<usize>(), size(&t));
        let closed = node.outputs.iter().all(|t| !self.graph().open.contains_key(t));
        Some(self.follow(x, depth).filter(|_| closed)?.get(before..before + own)?.to_vec())
    }

    /// The elements of the first result of a node that moves them.
    fn through(&self, index: usize, node: &Node, depth: usize) -> Option<Vec<Element>> {
        let operand = |i: usize| node.inputs.get(i).copied().flatten();
        match node.op {
            OpKind::Shape => {
                let x = operand(0)?;
                let unknown = self.graph().open.get(&x) == Some(&Open::Unknown);
                let open = self.graph().open_axes(x);
                let size = |(d, n): (usize, &usize)| match open.iter().find(|o| o.axis as usize == d) {
                    Some(o) => Element::Extent(o.extent, *n),
                    None if unknown => Element::Unknown,
                    None => Element::Known(*n as i64),
                };
                Some(self.graph().ty(x).shape.iter().enumerate().map(size).collect())
            }
            OpKind::Cast if self.graph().ty(operand(0)?).dtype == DType::Float32 => {
                let (low, high) = floats::interval(self, operand(0)?);
                // Numbers out of range become the last ones in it.
                let most = (1u64 << 31) as f32;
                let count = self.graph().ty(operand(0)?).elements();
                let known = low > -most || high < most;
                known.then(|| vec![Element::Between(low.floor().max(-most) as i64, high.ceil().min(most) as i64); count])
            }
            OpKind::Cast => self.follow(operand(0)?, depth),
            OpKind::Pack | OpKind::Concatenation if node.attrs.int("axis", 0) == 0 => {
                let parts = node.inputs.iter().flatten().map(|t| self.follow(*t, depth)).collect::<Option<Vec<_>>>()?;
                Some(parts.concat())
            }
            OpKind::Add
            | OpKind::Sub
            | OpKind::Mul
            | OpKind::Div
            | OpKind::FloorDiv
            | OpKind::FloorMod
            | OpKind::Maximum
            | OpKind::Minimum => {
                let (x, y) = (self.follow(operand(0)?, depth)?, self.follow(operand(1)?, depth)?);
                let count = if x.len() == 1 { y.len() } else { x.len() };
                (0..count).map(|i| Some(Element::combine(node.op, nth(&x, i)?, nth(&y, i)?))).collect()
            }
            OpKind::Select | OpKind::SelectV2 => {
                let (x, y) = (self.follow(operand(1)?, depth)?, self.follow(operand(2)?, depth)?);
                let count = x.len().max(y.len());
                (0..count).map(|i| Some(nth(&x, i)?.either(nth(&y, i)?))).collect()
            }
            OpKind::BroadcastArgs => {
                let (x, y) = (self.follow(operand(0)?, depth)?, self.follow(operand(1)?, depth)?);
                let count = x.len().max(y.len());
                let part =
                    |v: &[Element], i: usize| (i + v.len()).checked_sub(count).and_then(|i| v.get(i).copied()).unwrap_or(Element::Known(1));
                Some((0..count).map(|i| part(&x, i).meet(part(&y, i))).collect())
            }
            // Of a vector, to one element.
            OpKind::Sum | OpKind::ReduceProd | OpKind::ReduceMax | OpKind::ReduceMin if self.graph().ty(operand(0)?).shape.len() == 1 => {
                let op = match node.op {
                    OpKind::Sum => OpKind::Add,
                    OpKind::ReduceProd => OpKind::Mul,
                    OpKind::ReduceMax => OpKind::Maximum,
                    _ => OpKind::Minimum,
                };
                let all = self.follow(operand(0)?, depth)?;
                Some(vec![all.into_iter().reduce(|x, y| Element::combine(op, x, y))?])
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
