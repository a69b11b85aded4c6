//! Operators that pass on which axes of their operands are open.

use super::{Axes, By, Opened, Site};
use crate::ir::{AttrValue, DType, OpKind};
use crate::ops::reduce;
use crate::ops::table::{Category, category};

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    match site.node.op {
        op if category(op) == Some(Category::Elementwise) || op == OpKind::Pointwise => elementwise(site),
        OpKind::Shape | OpKind::Rank => site.closed(),
        OpKind::ExpandDims => {
            let new = site.axis_operand(1, site.rank(0)? + 1)?;
            site.along(site.mapped(0, |axis| Some(axis + usize::from(new <= axis)))?)
        }
        OpKind::Squeeze => squeeze(site),
        OpKind::Transpose if site.only(0) => {
            let order = site.call.ints(1, 64).ok()?;
            let order = order.iter().map(|a| site.call.axis(*a, site.rank(0)?).ok()).collect::<Option<Vec<usize>>>()?;
            site.along(site.mapped(0, |axis| order.iter().position(|a| *a == axis))?)
        }
        OpKind::ReverseV2 | OpKind::MatrixDiag if site.only(0) => {
            let mut axes = site.mapped(0, Some)?;
            if let (OpKind::MatrixDiag, Some(last)) = (site.node.op, axes.iter().find(|a| a.0 + 1 == site.rank(0).unwrap_or(0)).copied()) {
                axes.push((last.0 + 1, last.1));
            }
            site.along(axes)
        }
        OpKind::Gather => gather(site),
        OpKind::GatherNd => gather_nd(site),
        OpKind::EmbeddingLookup if !site.is_open(1) && site.dtype(1)? == site.call.output(0).ok()?.dtype => {
            site.along(site.mapped(0, Some)?)
        }
        OpKind::OneHot if site.only(0) => {
            let rank = site.rank(0)?;
            let new = site.call.attrs.int("axis", -1);
            let new = if new == -1 { rank } else { site.call.axis(new, rank + 1).ok()? };
            site.along(site.mapped(0, |axis| Some(axis + usize::from(new <= axis)))?)
        }
        OpKind::Concatenation => concatenation(site),
        // Boxes behind the extent get a score that is never chosen.
        OpKind::NonMaxSuppressionV4 | OpKind::NonMaxSuppressionV5 if (2..site.node.inputs.len()).all(|i| !site.is_open(i)) => {
            if site.opens(0) == site.opens(1) && site.opens(0).iter().all(|o| o.axis == 0) { site.closed() } else { None }
        }
        OpKind::Pack => {
            let at = site.axis_attr("axis", 0, site.rank(0)? + 1)?;
            let alike = (1..site.node.inputs.len()).all(|i| site.opens(i) == site.opens(0));
            if alike { site.along(site.mapped(0, |axis| Some(axis + usize::from(at <= axis)))?) } else { None }
        }
        OpKind::Unpack => {
            let at = site.axis_attr("axis", 0, site.rank(0)?)?;
            site.along(site.mapped(0, |axis| (axis != at).then(|| axis - usize::from(at < axis)))?)
        }
        OpKind::Split | OpKind::SplitV => {
            let (x, axis_at) = if site.node.op == OpKind::Split { (1, 0) } else { (0, 2) };
            let at = site.axis_operand(axis_at, site.rank(x)?)?;
            if site.only(x) { site.along(site.mapped(x, |axis| (axis != at).then_some(axis))?) } else { None }
        }
        OpKind::Softmax | OpKind::LogSoftmax | OpKind::L2Normalization => {
            let float = matches!(site.dtype(0)?, DType::Float32 | DType::Float16);
            let float = float && (site.node.op != OpKind::L2Normalization || site.dtype(0)? == DType::Float32);
            site.along(site.mapped(0, |axis| (float || axis + 1 < site.rank(0).unwrap_or(0)).then_some(axis))?)
        }
        OpKind::TopkV2 if site.known(1) && site.only(0) => {
            // The row is long enough, or the run ends.
            let last = site.rank(0)?.checked_sub(1)?;
            site.along(site.mapped(0, Some)?.into_iter().filter(|a| a.0 != last).collect())
        }
        OpKind::Cumsum if site.only(0) => site.along(site.mapped(0, Some)?),
        OpKind::ArgMax | OpKind::ArgMin if site.only(0) => {
            let at = site.axis_operand(1, site.rank(0)?)?;
            let axes = site.mapped(0, Some)?.into_iter().filter(|a| a.0 != at);
            site.along(axes.map(|(axis, by)| (axis - usize::from(at < axis), by)).collect())
        }
        OpKind::Sum | OpKind::Mean | OpKind::ReduceProd | OpKind::ReduceMax | OpKind::ReduceMin | OpKind::ReduceAny | OpKind::ReduceAll
            if site.only(0) =>
        {
            reduction(site)
        }
        _ => None,
    }
}

fn squeeze(site: &Site<'_>) -> Option<Opened> {
    let rank = site.rank(0)?;
    let Some(AttrValue::Ints(dims)) = site.call.attrs.get("squeeze_dims") else { return None };
    let dims = dims.iter().map(|d| site.call.axis(*d, rank).ok()).collect::<Option<Vec<usize>>>()?;
    // Without dimensions all that are one are dropped, and which those are a run would say.
    if dims.is_empty() {
        return None;
    }
    site.along(site.mapped(0, |axis| (!dims.contains(&axis)).then(|| axis - dims.iter().filter(|d| **d < axis).count()))?)
}

/// Axes of the source in front of the gathered one, those of the indices behind the batch, and the rest of the source.
fn gather(site: &Site<'_>) -> Option<Opened> {
    let (rank, indices) = (site.rank(0)?, site.rank(1)?);
    let at = site.axis_attr("axis", 0, rank)?;
    let batch = site.call.attrs.int("batch_dims", 0);
    let batch = usize::try_from(if batch < 0 { batch + indices as i64 } else { batch }).ok().filter(|b| *b <= at && *b <= indices)?;
    if (0..batch).any(|d| site.extent(0, d) != site.extent(1, d)) || (batch > 0 && site.extent(0, at).is_some()) {
        return None;
    }
    let mut axes: Axes = vec![];
    for (axis, by) in site.mapped(0, Some)? {
        match axis.cmp(&at) {
            std::cmp::Ordering::Less => axes.push((axis, by)),
            // Indices into the open axis are compared with its extent.
            std::cmp::Ordering::Equal => {}
            std::cmp::Ordering::Greater => axes.push((axis + indices - batch - 1, by)),
        }
    }
    axes.extend(site.mapped(1, Some)?.into_iter().filter(|a| a.0 >= batch).map(|(axis, by)| (at + axis - batch, by)));
    site.along(axes)
}

fn gather_nd(site: &Site<'_>) -> Option<Opened> {
    let (depth, tuples) = site.shape(1)?.split_last()?;
    let mut axes = site.mapped(1, |axis| (axis < tuples.len()).then_some(axis))?;
    axes.extend(site.mapped(0, Some)?.into_iter().filter(|a| a.0 >= *depth).map(|(axis, by)| (axis - depth + tuples.len(), by)));
    site.along(axes)
}

/// Along an open axis the parts are as long as they are; the other axes are the same in all of them.
fn concatenation(site: &Site<'_>) -> Option<Opened> {
    let at = site.axis_attr("axis", 0, site.rank(0)?)?;
    let across = |i: usize| -> Option<Axes> { Some(site.mapped(i, Some)?.into_iter().filter(|a| a.0 != at).collect()) };
    let mut axes = across(0)?;
    for i in 1..site.node.inputs.len() {
        if across(i)? != axes {
            return None;
        }
    }
    if (0..site.node.inputs.len()).any(|i| site.extent(i, at).is_some()) {
        axes.push((at, By::New(at)));
    }
    site.along(axes)
}

fn reduction(site: &Site<'_>) -> Option<Opened> {
    let reduced = reduce::reduced(site.call).ok()?;
    let keep = site.call.attrs.bool("keep_dims", false);
    let along: Vec<_> = site.mapped(0, Some)?.into_iter().filter(|a| reduced[a.0]).collect();
    // Means of integers would have to divide by a length that is not known.
    let exact = match site.node.op {
        OpKind::Mean => &[DType::Float32][..],
        OpKind::ReduceMax | OpKind::ReduceMin => &[DType::Float32, DType::Int32, DType::Int64, DType::Int8, DType::UInt8, DType::Int16],
        _ => &[DType::Float32, DType::Int32, DType::Int64, DType::Bool],
    };
    if !along.is_empty() && !exact.contains(&site.dtype(0)?) {
        return None;
    }
    let gone = |axis: usize| if keep { 0 } else { reduced[..axis].iter().filter(|r| **r).count() };
    site.along(site.mapped(0, Some)?.into_iter().filter(|a| !reduced[a.0]).map(|(axis, by)| (axis - gone(axis), by)).collect())
}

/// Operands of one extent along an axis of the result, or of several that a run finds to be equal; the others are one element wide there, or as wide as the
/// axis is known to be.
fn elementwise(site: &Site<'_>) -> Option<Opened> {
    let types = site.bounds()?;
    let out = &types.first()?.shape;
    // SELECT's condition may count rows, which is not broadcasting.
    if site.node.op == OpKind::Select && (0..3).any(|i| site.shape(i) != Some(out)) {
        return None;
    }
    let mut axes: Axes = vec![];
    for at in 0..out.len() {
        let (mut found, mut fixed) = (None, false);
        for i in 0..site.node.inputs.len() {
            let Some(shape) = site.shape(i) else { continue };
            let Some(axis) = (at + shape.len()).checked_sub(out.len()) else { continue };
            match site.extent(i, axis) {
                // One row that may be none does not stretch.
                Some(_) if shape[axis] != out[at] => return None,
                Some(e) => found = found.or(Some(e)),
                None => fixed |= shape[axis] != 1,
            }
        }
        if let Some(e) = found.filter(|_| !fixed) {
            axes.push((at, By::Same(e)));
        }
    }
    Some(types.into_iter().map(|ty| (ty, axes.clone())).collect())
}
