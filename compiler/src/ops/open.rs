//! Which results have a size known only at run time, and what bounds it.
//!
//! In: a node some of whose operands are open, or whose result's size follows from values. Out: for each result the type with its bound and how it is open; or
//! nothing where no rule covers the node. `compiler/docs/ir.md` describes open tensors.

pub(super) mod elements;

use crate::error::CompileError;
use crate::ir::{DType, Graph, Node, OpKind, Open, TensorId, TensorType};
use crate::ops::call::{Call, Operand};
use crate::ops::table::{Category, category, infer};
use crate::ops::{reduce, strided_slice};
use elements::{Element, Values};

/// How a result is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Opening {
    /// Not at all.
    Closed,
    /// Along an axis, as long as others with this extent.
    Same(usize, TensorId),
    /// Along an axis, by an extent of its own.
    New(usize),
}

/// Types and openings of the results.
pub(super) type Opened = Vec<(TensorType, Opening)>;

/// The rule's view of a node.
pub(super) struct Site<'a> {
    pub(super) graph: &'a Graph,
    pub(super) node: &'a Node,
    pub(super) call: &'a Call<'a>,
    /// Values that are known beside constants.
    pub(super) values: &'a Values<'a>,
}

/// Results of a node by the rules; `None` where there is none for it.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    let opened = source(site).or_else(|| by_value(site)).or_else(|| follow(site))?;
    // What lies in front of the open axis must not stretch the buffer.
    let packed = |(ty, opening): &(TensorType, Opening)| match opening {
        Opening::Closed => true,
        Opening::Same(axis, _) | Opening::New(axis) => {
            ty.shape.get(..*axis).is_some_and(|d| d.iter().all(|n| *n == 1)) && *axis < ty.shape.len()
        }
    };
    opened.iter().all(packed).then_some(opened)
}

impl Site<'_> {
    /// The axis and extent of operand `i`.
    fn along(&self, i: usize) -> Option<(usize, TensorId)> {
        match self.graph.open.get(&self.node.inputs.get(i).copied().flatten()?)? {
            Open::Along { axis, extent } => Some((*axis as usize, *extent)),
            Open::Unknown => None,
        }
    }

    fn is_open(&self, i: usize) -> bool {
        self.node.inputs.get(i).copied().flatten().is_some_and(|t| self.graph.open.contains_key(&t))
    }

    fn shape(&self, i: usize) -> Option<&[usize]> {
        Some(&self.call.optional(i)?.ty.shape)
    }

    fn known(&self, i: usize) -> bool {
        self.call.optional(i).is_some_and(|o| o.data.is_some())
    }

    /// The elements of operand `i` as far as they are known.
    fn elements(&self, i: usize) -> Option<Vec<Element>> {
        self.values.elements(self.node.inputs.get(i).copied().flatten()?)
    }

    fn result(&self, i: usize, dtype: DType, shape: impl Into<Vec<usize>>) -> Option<TensorType> {
        self.call.result(i, dtype, shape).ok()
    }

    /// Types by the operator's own inference, on bounds.
    fn bounds(&self) -> Option<Vec<TensorType>> {
        infer(self.call).ok()
    }

    /// Results that are not open.
    fn closed(&self) -> Option<Opened> {
        Some(self.bounds()?.into_iter().map(|ty| (ty, Opening::Closed)).collect())
    }

    /// One result that is open along `axis` as an operand is.
    fn same(&self, axis: usize, extent: TensorId) -> Option<Opened> {
        Some(self.bounds()?.into_iter().map(|ty| (ty, Opening::Same(axis, extent))).collect())
    }
}

/// Operators that bring a size of their own.
fn source(site: &Site<'_>) -> Option<Opened> {
    let x = site.call.optional(0)?.ty;
    let any_open = (0..site.node.inputs.len()).any(|i| site.is_open(i));
    if any_open && !(site.node.op == OpKind::Where && site.along(0).is_some()) {
        return None;
    }
    match site.node.op {
        OpKind::Where => Some(vec![(site.result(0, DType::Int64, [x.elements(), x.shape.len()])?, Opening::New(0))]),
        OpKind::Unique => {
            let index = site.result(1, site.call.output(1).ok()?.dtype, x.shape.clone())?;
            Some(vec![(site.result(0, x.dtype, x.shape.clone())?, Opening::New(0)), (index, Opening::Closed)])
        }
        OpKind::TopkV2 if !site.known(1) => {
            let last = x.shape.len().checked_sub(1)?;
            let index = site.result(1, site.call.output(1).ok()?.dtype, x.shape.clone())?;
            // Both results are as long as k says; one extent serves both.
            Some(vec![(site.result(0, x.dtype, x.shape.clone())?, Opening::New(last)), (index, Opening::New(last))])
        }
        OpKind::SegmentSum if !site.known(1) => Some(vec![(site.result(0, x.dtype, x.shape.clone())?, Opening::New(0))]),
        OpKind::Slice if !(site.known(1) && site.known(2)) => {
            let (begin, sizes) = (site.elements(1)?, site.elements(2)?);
            if sizes.len() != x.shape.len() || begin.len() != sizes.len() {
                return None;
            }
            let mut opening = Opening::Closed;
            let mut shape = vec![];
            for (d, (n, place)) in x.shape.iter().zip(begin.iter().zip(&sizes)).enumerate() {
                shape.push(match place {
                    (_, Element::Known(s)) if *s >= 0 => usize::try_from(*s).ok().filter(|s| s <= n)?,
                    (Element::Known(b), Element::Known(_)) => n.checked_sub(usize::try_from(*b).ok()?)?,
                    _ if opening != Opening::Closed => return None,
                    _ => {
                        opening = Opening::New(d);
                        *n
                    }
                });
            }
            Some(vec![(site.result(0, x.dtype, shape)?, opening)])
        }
        _ => None,
    }
}

/// Operators whose result's shape is a value that is known in part.
fn by_value(site: &Site<'_>) -> Option<Opened> {
    let (operand, dtype) = match site.node.op {
        OpKind::Reshape => (1, site.call.optional(0)?.ty.dtype),
        OpKind::BroadcastTo => (1, site.call.optional(0)?.ty.dtype),
        OpKind::Fill => (0, site.call.optional(1)?.ty.dtype),
        OpKind::Range => return range(site),
        _ => return None,
    };
    if operand < site.node.inputs.len() && site.is_open(operand) {
        return None;
    }
    let target = match site.call.optional(operand) {
        Some(_) => site.elements(operand)?,
        None => match site.call.attrs.get("new_shape") {
            Some(crate::ir::AttrValue::Ints(v)) => v.iter().map(|v| Element::Known(*v)).collect(),
            _ => return None,
        },
    };
    if site.node.op == OpKind::Reshape {
        return reshape(site, &target, dtype);
    }
    let mut opening = Opening::Closed;
    let mut shape = vec![];
    for (d, element) in target.iter().enumerate() {
        shape.push(match element {
            Element::Known(v) => usize::try_from(*v).ok()?,
            Element::Extent(extent, bound) if opening == Opening::Closed => {
                opening = Opening::Same(d, *extent);
                *bound
            }
            _ => return None,
        });
    }
    if site.is_open(0) || site.is_open(1) {
        return None;
    }
    Some(vec![(site.result(0, dtype, shape)?, opening)])
}

/// A reshape that leaves the rows of the open axis whole, or one of a tensor of known size to a shape with one unknown.
fn reshape(site: &Site<'_>, target: &[Element], dtype: DType) -> Option<Opened> {
    let x = site.shape(0)?;
    let free = target.iter().position(|e| !matches!(e, Element::Known(v) if *v >= 0));
    let known = |part: &[Element]| -> Option<Vec<usize>> {
        part.iter().map(|e| if let Element::Known(v) = e { usize::try_from(*v).ok() } else { None }).collect()
    };
    let Some(at) = free else {
        // A shape without elements is a scalar's, whether it has a value or not.
        let shape = known(target)?;
        let fits = !site.is_open(0) && shape.iter().product::<usize>() == x.iter().product::<usize>();
        return if fits { Some(vec![(site.result(0, dtype, shape)?, Opening::Closed)]) } else { None };
    };
    let (front, back) = (known(&target[..at])?, known(&target[at + 1..])?);
    let product = |d: &[usize]| d.iter().product::<usize>();
    let (size, opening) = match site.along(0) {
        Some((axis, extent)) => {
            if product(&front) != 1 || product(&back) != product(&x[axis + 1..]) {
                return None;
            }
            (x[axis], Opening::Same(at, extent))
        }
        None if site.is_open(0) => return None,
        None => (product(x).checked_div(product(&front) * product(&back))?, Opening::Closed),
    };
    let shape = [&front[..], &[size], &back[..]].concat();
    Some(vec![(site.result(0, dtype, shape)?, opening)])
}

/// Numbers from 0 up to an extent.
fn range(site: &Site<'_>) -> Option<Opened> {
    let one = |i: usize| site.elements(i)?.first().copied();
    let dtype = site.call.optional(0)?.ty.dtype;
    match (one(0)?, one(1)?, one(2)?) {
        (Element::Known(0), Element::Extent(extent, bound), Element::Known(1)) => {
            Some(vec![(site.result(0, dtype, [bound])?, Opening::Same(0, extent))])
        }
        _ => None,
    }
}

/// Operators that pass on how an operand is open.
fn follow(site: &Site<'_>) -> Option<Opened> {
    let rank = |i: usize| site.shape(i).map(<[usize]>::len);
    let axis_attr = |name: &str, default: i64, rank: usize| site.call.axis(site.call.attrs.int(name, default), rank).ok();
    let only_first = || (1..site.node.inputs.len()).all(|i| !site.is_open(i));
    match site.node.op {
        op if category(op) == Some(Category::Elementwise) => elementwise(site),
        OpKind::Shape | OpKind::Rank => Some(site.bounds()?.into_iter().map(|ty| (ty, Opening::Closed)).collect()),
        OpKind::ExpandDims => {
            let (axis, extent) = site.along(0)?;
            let new = site.call.axis(site.call.int(1).ok()?, rank(0)? + 1).ok()?;
            site.same(axis + usize::from(new <= axis), extent)
        }
        OpKind::Squeeze => {
            let (axis, extent) = site.along(0)?;
            let crate::ir::AttrValue::Ints(dims) = site.call.attrs.get("squeeze_dims")? else { return None };
            let dims = dims.iter().map(|d| site.call.axis(*d, rank(0)?).ok()).collect::<Option<Vec<usize>>>()?;
            if dims.is_empty() || dims.contains(&axis) {
                return None;
            }
            site.same(axis - dims.iter().filter(|d| **d < axis).count(), extent)
        }
        OpKind::Gather => {
            let at = axis_attr("axis", 0, rank(0)?)?;
            if site.call.attrs.int("batch_dims", 0) != 0 {
                return None;
            }
            match (site.along(0), site.along(1)) {
                (None, Some((axis, extent))) if !site.is_open(0) => site.same(at + axis, extent),
                (Some((axis, extent)), None) if !site.is_open(1) && axis != at => {
                    site.same(if axis < at { axis } else { axis + rank(1)? - 1 }, extent)
                }
                // Indices into the open axis are compared with its extent.
                (Some((axis, _)), None) if !site.is_open(1) && axis == at => site.closed(),
                (Some((axis, _)), Some((along, extent))) if axis == at => site.same(at + along, extent),
                _ => None,
            }
        }
        OpKind::GatherNd if !site.is_open(0) => {
            let (axis, extent) = site.along(1)?;
            if axis + 1 == rank(1)? { None } else { site.same(axis, extent) }
        }
        OpKind::EmbeddingLookup if !site.is_open(1) && site.call.input(1).ok()?.dtype == site.call.output(0).ok()?.dtype => {
            site.along(0).and_then(|(axis, extent)| site.same(axis, extent))
        }
        OpKind::OneHot if only_first() => {
            let (axis, extent) = site.along(0)?;
            let new = site.call.attrs.int("axis", -1);
            let new = if new == -1 { rank(0)? } else { site.call.axis(new, rank(0)? + 1).ok()? };
            site.same(axis + usize::from(new <= axis), extent)
        }
        OpKind::Slice if only_first() => {
            let (axis, extent) = site.along(0)?;
            let (begin, size) = (site.elements(1)?, site.elements(2)?);
            let whole = begin.get(axis) == Some(&Element::Known(0))
                && match size.get(axis)? {
                    Element::Known(s) => *s == -1,
                    Element::Extent(e, _) => *e == extent,
                    Element::Unknown => false,
                };
            if whole && site.known(2) { site.same(axis, extent) } else { None }
        }
        OpKind::StridedSlice if only_first() => cut(site),
        OpKind::Concatenation => {
            let at = axis_attr("axis", 0, rank(0)?)?;
            let along = |i: usize| if site.is_open(i) { site.along(i).is_some_and(|(axis, _)| axis == at) } else { true };
            if (0..site.node.inputs.len()).all(along) {
                return Some(site.bounds()?.into_iter().map(|ty| (ty, Opening::New(at))).collect());
            }
            let (axis, extent) = all_alike(site)?;
            if at == axis { None } else { site.same(axis, extent) }
        }
        // Boxes behind the extent get a score that is never chosen.
        OpKind::NonMaxSuppressionV4 | OpKind::NonMaxSuppressionV5 if (2..site.node.inputs.len()).all(|i| !site.is_open(i)) => {
            let (boxes, scores) = (site.along(0)?, site.along(1)?);
            if boxes == scores && boxes.0 == 0 { site.closed() } else { None }
        }
        OpKind::Pack => {
            let at = axis_attr("axis", 0, rank(0)? + 1)?;
            let (axis, extent) = all_alike(site)?;
            site.same(axis + usize::from(at <= axis), extent)
        }
        OpKind::Unpack => {
            let (axis, extent) = site.along(0)?;
            let at = axis_attr("axis", 0, rank(0)?)?;
            if at == axis { None } else { site.same(axis - usize::from(at < axis), extent) }
        }
        OpKind::Split | OpKind::SplitV => {
            let (x, axis_at) = if site.node.op == OpKind::Split { (1, 0) } else { (0, 2) };
            let (axis, extent) = site.along(x)?;
            let at = site.call.axis(site.call.int(axis_at).ok()?, rank(x)?).ok()?;
            if at == axis { None } else { site.same(axis, extent) }
        }
        OpKind::Softmax | OpKind::LogSoftmax | OpKind::L2Normalization => {
            let (axis, extent) = site.along(0)?;
            if axis + 1 == rank(0)? { None } else { site.same(axis, extent) }
        }
        OpKind::FullyConnected if only_first() => {
            let (axis, extent) = site.along(0)?;
            let x = site.shape(0)?;
            let types = site.bounds()?;
            let rows = x[..x.len().checked_sub(1)?].iter().product::<usize>();
            let out = if types.first()?.shape.len() == x.len() { axis } else { 0 };
            let fits = axis + 1 < x.len() && rows == x[axis] && types.first()?.shape.get(out) == Some(&x[axis]);
            if fits { site.same(out, extent) } else { None }
        }
        OpKind::TopkV2 | OpKind::ArgMax | OpKind::ArgMin | OpKind::Cumsum if only_first() => {
            let (axis, extent) = site.along(0)?;
            let at = match site.node.op {
                OpKind::TopkV2 => rank(0)?.checked_sub(1)?,
                _ => site.call.axis(site.call.int(1).ok()?, rank(0)?).ok()?,
            };
            let dropped = matches!(site.node.op, OpKind::ArgMax | OpKind::ArgMin) && at < axis;
            if at == axis {
                return match site.node.op {
                    OpKind::Cumsum if !site.call.attrs.bool("reverse", false) => site.same(axis, extent),
                    OpKind::ArgMax | OpKind::ArgMin => site.closed(),
                    OpKind::TopkV2 if site.known(1) => site.closed(),
                    _ => None,
                };
            }
            site.same(axis - usize::from(dropped), extent)
        }
        OpKind::Sum | OpKind::Mean | OpKind::ReduceProd | OpKind::ReduceMax | OpKind::ReduceMin | OpKind::ReduceAny | OpKind::ReduceAll
            if only_first() =>
        {
            let (axis, extent) = site.along(0)?;
            let reduced = reduce::reduced(site.call).ok()?;
            if reduced[axis] {
                // Means of integers would have to divide by a length that is not known.
                let exact = match site.node.op {
                    OpKind::Mean => &[DType::Float32][..],
                    _ => &[DType::Float32, DType::Int32, DType::Int64, DType::Bool],
                };
                return if exact.contains(&site.call.input(0).ok()?.dtype) { site.closed() } else { None };
            }
            let gone = if site.call.attrs.bool("keep_dims", false) { 0 } else { reduced[..axis].iter().filter(|r| **r).count() };
            site.same(axis - gone, extent)
        }
        _ => None,
    }
}

/// The axis and extent that all operands share.
fn all_alike(site: &Site<'_>) -> Option<(usize, TensorId)> {
    let first = site.along(0)?;
    (1..site.node.inputs.len()).all(|i| site.along(i) == Some(first)).then_some(first)
}

/// Operands of one extent along one axis of the result; the others are one element wide there.
fn elementwise(site: &Site<'_>) -> Option<Opened> {
    let types = site.bounds()?;
    let out = &types.first()?.shape;
    // SELECT's condition may count rows, which is not broadcasting.
    if site.node.op == OpKind::Select && (0..3).any(|i| site.shape(i) != Some(out)) {
        return None;
    }
    let mut found = None;
    for i in 0..site.node.inputs.len() {
        if let Some((axis, extent)) = site.along(i) {
            let at = axis + out.len() - site.shape(i)?.len();
            if *found.get_or_insert((at, extent)) != (at, extent) {
                return None;
            }
        } else if site.is_open(i) {
            return None;
        }
    }
    let (at, extent) = found?;
    for i in 0..site.node.inputs.len() {
        let Some(shape) = site.shape(i) else { continue };
        let own = (at + shape.len()).checked_sub(out.len()).map_or(1, |d| shape[d]);
        if site.along(i).is_none() && own != 1 {
            return None;
        }
    }
    site.same(at, extent)
}

/// A slice that takes the open axis whole: from its first element, one by one, to an end that moves with it.
fn cut(site: &Site<'_>) -> Option<Opened> {
    let (axis, extent) = site.along(0)?;
    let whole = |call: &Call<'_>| -> Option<(usize, Result<Vec<TensorType>, CompileError>)> {
        let cuts = strided_slice::cuts(call).ok()?;
        let own = cuts.iter().find(|c| c.axis == Some(axis))?;
        let n = call.optional(0)?.ty.shape[axis];
        let at = cuts.iter().take_while(|c| c.axis != Some(axis)).filter(|c| !c.dropped).count();
        (own.start == 0 && own.stride == 1 && own.size == n && !own.dropped).then(|| (at, infer(call)))
    };
    let (at, types) = whole(site.call)?;
    // One element more shows whether the end moves along.
    let mut longer = site.call.optional(0)?.ty.clone();
    longer.shape[axis] += 1;
    let mut call = site.call.clone();
    call.inputs[0] = Some(Operand { ty: &longer, ..site.call.optional(0)? });
    whole(&call)?.1.ok()?;
    Some(types.ok()?.into_iter().map(|ty| (ty, Opening::Same(at, extent))).collect())
}
