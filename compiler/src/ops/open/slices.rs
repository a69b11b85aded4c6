//! SLICE and STRIDED_SLICE of open tensors, and with begins and sizes that are known only at run time.

use super::{Dim, Element, Opened, Site};
use crate::ir::{OpKind, TensorId};
use crate::ops::strided_slice::{Part, Range, ranges};

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    if !site.only(0) {
        return None;
    }
    match site.node.op {
        OpKind::Slice => slice(site),
        OpKind::StridedSlice => strided(site),
        _ => None,
    }
}

fn slice(site: &Site<'_>) -> Option<Opened> {
    let x = site.call.optional(0)?.ty;
    let (begins, sizes) = (site.elements(1)?, site.elements(2)?);
    if sizes.len() != x.shape.len() || begins.len() != sizes.len() {
        return None;
    }
    let mut dims = vec![];
    for (d, &n) in x.shape.iter().enumerate() {
        let most = |v: i64| usize::try_from(v).map_or(n, |v| v.min(n));
        // What is written down lies in the axis, or in its bound.
        if let Element::Known(b) = begins[d] {
            let least = if let Element::Known(s @ 0..) = sizes[d] { s } else { 0 };
            usize::try_from(b.checked_add(least)?).ok().filter(|end| b >= 0 && *end <= n)?;
        }
        dims.push(match (begins[d], sizes[d], site.extent(0, d)) {
            (_, Element::Known(s), _) if s >= 0 => Dim::Fixed(usize::try_from(s).ok().filter(|s| *s <= n)?),
            (Element::Known(0), Element::Known(_), Some(e)) => Dim::Same(e, n),
            (Element::Known(b), Element::Known(_), None) => Dim::Fixed(n.checked_sub(usize::try_from(b).ok()?)?),
            (Element::Known(b), Element::Known(_), Some(_)) => Dim::New(n.checked_sub(usize::try_from(b).ok()?)?),
            (_, Element::Extent(e, bound), _) if bound <= n => Dim::Same(e, bound),
            (_, Element::Between(0.., hi), _) => Dim::New(most(hi)),
            _ => Dim::New(n),
        });
    }
    Some(vec![site.shaped(0, x.dtype, &dims)?])
}

fn strided(site: &Site<'_>) -> Option<Opened> {
    let x = site.call.optional(0)?.ty;
    let (begins, ends) = (site.elements(1)?, site.elements(2)?);
    let mut dims = vec![];
    for range in ranges(site.call).ok()? {
        match range {
            Range::New => dims.push(Dim::Fixed(1)),
            Range::Index { .. } => {}
            Range::Whole(axis) => dims.push(site.dim(0, axis)?),
            Range::Part(part) => {
                let (n, extent) = (x.shape[part.axis], site.extent(0, part.axis));
                dims.push(self::part(part, n, extent, *begins.get(part.entry)?, *ends.get(part.entry)?)?);
            }
        }
    }
    Some(vec![site.shaped(0, x.dtype, &dims)?])
}

/// The dimension that a part of an axis gives; `n` is the axis's length or bound.
fn part(part: Part, n: usize, extent: Option<TensorId>, begin: Element, end: Element) -> Option<Dim> {
    let zero = Element::Known(0);
    let (first, last) = (if part.from_begin { zero } else { begin }, if part.to_end { zero } else { end });
    if let (None, Element::Known(b), Element::Known(e)) = (extent, first, last) {
        return Some(Dim::Fixed(usize::try_from(part.of(i64::try_from(n).ok()?, b, e).1).ok()?));
    }
    let steps = |n: usize| n.div_ceil(usize::try_from(part.stride.unsigned_abs()).unwrap_or(usize::MAX));
    let forward = part.stride > 0;
    if let Some(e) = extent {
        let to_end = part.to_end || end == Element::Extent(e, n) && !part.offset;
        if part.stride == 1 && first == zero && to_end || part.stride == -1 && part.from_begin && part.to_end {
            return Some(Dim::Same(e, n));
        }
    }
    Some(match (first, end) {
        (Element::Known(0), Element::Extent(e, bound)) if !part.to_end && part.stride == 1 && bound <= n && extent.is_none() => {
            Dim::Same(e, bound)
        }
        // No more than up to an end that is not counted from behind, or than what lies between begin and end.
        (Element::Known(b @ 0..), Element::Known(e @ 0..) | Element::Between(0.., e)) if !part.to_end && !part.offset && forward => {
            Dim::New(steps(n.min(usize::try_from(e.saturating_sub(b).max(0)).ok()?)))
        }
        (Element::Known(b @ ..0), Element::Known(e @ ..0)) if !part.to_end && !part.offset && forward => {
            Dim::New(steps(n.min(usize::try_from(e.saturating_sub(b).max(0)).ok()?)))
        }
        // As many as lie between, wherever that is.
        (Element::Plus(t, b), Element::Plus(u, e)) if t == u && !part.from_begin && !part.to_end && !part.offset && forward => {
            Dim::New(steps(n.min(usize::try_from(e.saturating_sub(b).max(0)).ok()?)))
        }
        (Element::Known(b @ 0..), _) if !part.from_begin && forward => Dim::New(steps(n.saturating_sub(usize::try_from(b).ok()?))),
        _ => Dim::New(steps(n)),
    })
}
