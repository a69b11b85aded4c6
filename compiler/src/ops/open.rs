//! Which results have a size known only at run time, and what bounds it.
//!
//! In: a node some of whose operands are open, or whose result's size follows from values. Out: for each result the type with its bounds and which of its axes are
//! open; or nothing where no rule covers the node. `compiler/docs/ir.md` describes open tensors.

mod control;
pub(super) mod elements;
mod floats;
mod follow;
mod images;
mod meeting;
mod products;
mod shaped;
mod slices;
mod source;

use crate::ir::{DType, Graph, Node, OpenAxis, TensorId, TensorType};
use crate::ops::call::Call;
use crate::ops::table::infer;
use elements::{Element, Values};

/// What says how long an open axis of a result is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// The extent of others that are as long.
    Same(TensorId),
    /// An extent of the node's own; axes with the same number share one.
    New(usize),
}

/// The open axes of a result, in ascending order; none where its size is known.
pub(super) type Axes = Vec<(usize, By)>;

/// Types and open axes of the results.
pub(super) type Opened = Vec<(TensorType, Axes)>;

/// The rule's view of a node.
pub(super) struct Site<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node: &'a Node,
    pub(super) call: &'a Call<'a>,
    /// Values that are known beside constants.
    pub(super) values: &'a Values<'a>,
}

/// A dimension of a result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Dim {
    Fixed(usize),
    /// As long as others with this extent; the bound.
    Same(TensorId, usize),
    /// By an extent of its own; the bound.
    New(usize),
}

/// Results of a node by the rules; `None` where there is none for it, or for one of them.
pub(super) fn open(site: &Site<'_>) -> Option<Vec<Option<(TensorType, Axes)>>> {
    if let Some(results) = control::open(site) {
        return Some(results);
    }
    let mut opened = source::open(site)
        .or_else(|| slices::open(site))
        .or_else(|| shaped::open(site))
        .or_else(|| products::open(site))
        .or_else(|| images::open(site))
        .or_else(|| meeting::open(site))
        .or_else(|| follow::open(site))?;
    for (ty, axes) in &mut opened {
        axes.sort_by_key(|a| a.0);
        if axes.iter().any(|a| a.0 >= ty.shape.len()) || !axes.is_sorted_by(|a, b| a.0 < b.0) {
            return None;
        }
    }
    Some(opened.into_iter().map(Some).collect())
}

impl Site<'_> {
    fn tensor(&self, i: usize) -> Option<TensorId> {
        self.node.inputs.get(i).copied().flatten()
    }

    /// The open axes of operand `i`.
    fn opens(&self, i: usize) -> &[OpenAxis] {
        self.tensor(i).map_or(&[], |t| self.graph.open_axes(t))
    }

    /// The extent of an axis of operand `i`, where it is open.
    fn extent(&self, i: usize, axis: usize) -> Option<TensorId> {
        self.opens(i).iter().find(|o| o.axis as usize == axis).map(|o| o.extent)
    }

    fn is_open(&self, i: usize) -> bool {
        self.tensor(i).is_some_and(|t| self.graph.open.contains_key(&t))
    }

    fn any_open(&self) -> bool {
        (0..self.node.inputs.len()).any(|i| self.is_open(i))
    }

    /// Whether no other operand than this one is open.
    fn only(&self, i: usize) -> bool {
        (0..self.node.inputs.len()).all(|k| k == i || !self.is_open(k))
    }

    fn shape(&self, i: usize) -> Option<&[usize]> {
        Some(&self.call.optional(i)?.ty.shape)
    }

    fn rank(&self, i: usize) -> Option<usize> {
        self.shape(i).map(<[usize]>::len)
    }

    fn dtype(&self, i: usize) -> Option<DType> {
        Some(self.call.optional(i)?.ty.dtype)
    }

    fn known(&self, i: usize) -> bool {
        self.call.optional(i).is_some_and(|o| o.data.is_some())
    }

    /// An axis that an attribute names.
    fn axis_attr(&self, name: &str, default: i64, rank: usize) -> Option<usize> {
        self.call.axis(self.call.attrs.int(name, default), rank).ok()
    }

    /// An axis that operand `i` names.
    fn axis_operand(&self, i: usize, rank: usize) -> Option<usize> {
        self.call.axis(self.call.int(i).ok()?, rank).ok()
    }

    /// The elements of operand `i` as far as they are known.
    fn elements(&self, i: usize) -> Option<Vec<Element>> {
        self.values.elements(self.tensor(i)?)
    }

    fn result(&self, i: usize, dtype: DType, shape: impl Into<Vec<usize>>) -> Option<TensorType> {
        self.call.result(i, dtype, shape).ok()
    }

    /// A dimension of the first result that an element gives; where that has no bound, the one that is stated.
    fn bounded(&self, element: Element, axis: usize) -> Option<Dim> {
        element.dim().or_else(|| self.stated(axis).filter(|_| element.interval().is_none()).map(Dim::New))
    }

    /// The stated bound of an axis of the first result.
    fn stated(&self, axis: usize) -> Option<usize> {
        self.graph.bounds.get(self.node.outputs.first()?)?.get(axis).copied()
    }

    /// Types by the operator's own inference, on bounds.
    fn bounds(&self) -> Option<Vec<TensorType>> {
        infer(self.call).ok()
    }

    /// Results that are not open.
    fn closed(&self) -> Option<Opened> {
        self.along(vec![])
    }

    /// All results by bounds, open along the same axes.
    fn along(&self, axes: Axes) -> Option<Opened> {
        Some(self.bounds()?.into_iter().map(|ty| (ty, axes.clone())).collect())
    }

    /// The open axes of operand `i`, where they are in the result.
    fn mapped(&self, i: usize, place: impl Fn(usize) -> Option<usize>) -> Option<Axes> {
        self.opens(i).iter().map(|o| Some((place(o.axis as usize)?, By::Same(o.extent)))).collect()
    }

    /// The axis of operand `i` as a dimension.
    fn dim(&self, i: usize, axis: usize) -> Option<Dim> {
        let n = *self.shape(i)?.get(axis)?;
        Some(self.extent(i, axis).map_or(Dim::Fixed(n), |e| Dim::Same(e, n)))
    }

    /// A result of these dimensions.
    fn shaped(&self, i: usize, dtype: DType, dims: &[Dim]) -> Option<(TensorType, Axes)> {
        let bound = |d: &Dim| match d {
            Dim::Fixed(n) | Dim::Same(_, n) | Dim::New(n) => *n,
        };
        let by = |(d, dim): (usize, &Dim)| match dim {
            Dim::Fixed(_) => None,
            Dim::Same(e, _) => Some((d, By::Same(*e))),
            Dim::New(_) => Some((d, By::New(d))),
        };
        Some((self.result(i, dtype, dims.iter().map(bound).collect::<Vec<_>>())?, dims.iter().enumerate().filter_map(by).collect()))
    }
}

impl Element {
    /// The element as a dimension; one of unknown bound is none.
    fn dim(self) -> Option<Dim> {
        match self {
            Element::Known(v) => Some(Dim::Fixed(usize::try_from(v).ok()?)),
            Element::Extent(e, bound) => Some(Dim::Same(e, bound)),
            Element::Between(_, most) => Some(Dim::New(usize::try_from(most).ok()?)),
            Element::Plus(..) | Element::Unknown => None,
        }
    }
}
