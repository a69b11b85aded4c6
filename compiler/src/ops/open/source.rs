//! Operators that bring a size of their own: how many elements have a property, or as many as an operand says.

use super::{By, Dim, Element, Opened, Site};
use crate::ir::{DType, OpKind};

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    let x = site.call.optional(0)?.ty;
    let rank = x.shape.len();
    match site.node.op {
        OpKind::Where => Some(vec![(site.result(0, DType::Int64, [x.elements(), rank])?, vec![(0, By::New(0))])]),
        OpKind::Unique => {
            let index = site.result(1, site.call.output(1).ok()?.dtype, x.shape.clone())?;
            let places = site.mapped(0, Some)?;
            Some(vec![(site.result(0, x.dtype, x.shape.clone())?, vec![(0, By::New(0))]), (index, places)])
        }
        OpKind::TopkV2 if !site.known(1) && site.only(0) => {
            let last = rank.checked_sub(1)?;
            let most = match site.elements(1)?.first()? {
                Element::Known(v) | Element::Between(_, v) => usize::try_from(*v).ok()?,
                Element::Extent(_, bound) => *bound,
                Element::Plus(..) | Element::Unknown => x.shape[last],
            };
            let mut dims = (0..last).map(|d| site.dim(0, d)).collect::<Option<Vec<Dim>>>()?;
            dims.push(Dim::New(most.min(x.shape[last])));
            // Both results are as long as k says; one extent serves both.
            Some(vec![site.shaped(0, x.dtype, &dims)?, site.shaped(1, site.call.output(1).ok()?.dtype, &dims)?])
        }
        OpKind::SegmentSum if !site.known(1) || site.is_open(0) => {
            let mut dims = (0..rank).map(|d| site.dim(0, d)).collect::<Option<Vec<Dim>>>()?;
            // Rows and their segments are equally many.
            if site.extent(0, 0) != site.extent(1, 0) {
                return None;
            }
            *dims.first_mut()? =
                if site.known(1) { Dim::Fixed(*site.bounds()?.first()?.shape.first()?) } else { Dim::New(*x.shape.first()?) };
            Some(vec![site.shaped(0, x.dtype, &dims)?])
        }
        OpKind::UnsortedSegmentSum | OpKind::UnsortedSegmentMax | OpKind::UnsortedSegmentMin | OpKind::UnsortedSegmentProd => {
            if site.is_open(2) || site.rank(1)? != 1 || site.extent(0, 0) != site.extent(1, 0) {
                return None;
            }
            let mut dims = (0..rank).map(|d| site.dim(0, d)).collect::<Option<Vec<Dim>>>()?;
            *dims.first_mut()? = site.elements(2)?.first()?.dim()?;
            Some(vec![site.shaped(0, x.dtype, &dims)?])
        }
        OpKind::ScatterNd => {
            let dims = site.elements(2)?.into_iter().map(Element::dim).collect::<Option<Vec<Dim>>>()?;
            let (index, updates) = (site.shape(0)?, site.shape(1)?);
            let (depth, tuples) = index.split_last()?;
            // What an update covers must be as large as the tensor there; tuples and updates are equally many.
            let same_rows = (0..tuples.len()).all(|d| site.extent(0, d) == site.extent(1, d) && tuples.get(d) == updates.get(d));
            // A run compares the numbers of both.
            let same_rows = same_rows || (tuples.len() == 1 && (site.extent(0, 0).is_some() || site.extent(1, 0).is_some()));
            let rest = updates.get(tuples.len()..)?;
            let same_slice = rest.len() + depth == dims.len()
                && (0..rest.len()).all(|d| site.dim(1, tuples.len() + d) == dims.get(depth + d).copied())
                && site.extent(0, tuples.len()).is_none();
            if !same_rows || !same_slice {
                return None;
            }
            Some(vec![site.shaped(0, site.dtype(1)?, &dims)?])
        }
        _ => None,
    }
}
