//! Operators that pass on which axes of their operands are open.

use super::elements::Element;
use super::{Axes, By, Dim, Opened, Site};
use crate::ir::{AttrValue, DType, OpKind};
use crate::ops::list_update::list_update;
use crate::ops::reduce;

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    match site.node.op {
        OpKind::Shape | OpKind::Rank | OpKind::BroadcastArgs => site.closed(),
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
        OpKind::ReverseSequence => {
            let rank = site.rank(0)?;
            let (along, batch) = (site.axis_attr("seq_dim", 0, rank)?, site.axis_attr("batch_dim", 0, rank)?);
            let fits = site.extent(0, along).is_none() && site.extent(1, 0) == site.extent(0, batch);
            if fits { site.along(site.mapped(0, Some)?) } else { None }
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
            let mut dims = (0..rank).map(|d| site.dim(0, d)).collect::<Option<Vec<Dim>>>()?;
            dims.insert(new, site.bounded(*site.elements(1)?.first()?, new)?);
            Some(vec![site.shaped(0, site.dtype(2)?, &dims)?])
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
            // As many parts as there are results, or the run ends.
            let across = site.mapped(0, Some)?.into_iter().filter(|a| a.0 != at);
            let axes: Axes = across.map(|(axis, by)| (axis - usize::from(at < axis), by)).collect();
            let mut shape = site.shape(0)?.to_vec();
            shape.remove(at);
            let dtype = site.dtype(0)?;
            (0..site.node.outputs.len()).map(|k| Some((site.result(k, dtype, shape.clone())?, axes.clone()))).collect()
        }
        OpKind::Bitcast => {
            // The last axis comes or goes where elements become smaller or larger.
            let (rank, types) = (site.rank(0)?, site.bounds()?);
            let left = types.first()?.shape.len();
            site.along(site.mapped(0, |axis| (axis < left.min(rank)).then_some(axis))?)
        }
        OpKind::Split | OpKind::SplitV => {
            let (x, axis_at) = if site.node.op == OpKind::Split { (1, 0) } else { (0, 2) };
            let at = site.axis_operand(axis_at, site.rank(x)?)?;
            match site.only(x) {
                true if site.extent(x, at).is_some() || !site.known(1) && x == 0 => parts(site, x, at),
                true => site.along(site.mapped(x, Some)?),
                false => None,
            }
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

/// Parts of an open axis, or of sizes that are computed: each with a length of its own.
fn parts(site: &Site<'_>, x: usize, at: usize) -> Option<Opened> {
    let (count, n) = (site.node.outputs.len(), *site.shape(x)?.get(at)?);
    let sizes = if x == 0 { Some(site.elements(1).filter(|s| s.len() == count)?) } else { None };
    let open = site.extent(x, at).is_some();
    let rest = |known: usize| n.saturating_sub(known);
    let known = |sizes: &[Element]| sizes.iter().map(|e| if let Element::Known(v @ 0..) = e { *v as usize } else { 0 }).sum::<usize>();
    let mut all = vec![];
    for k in 0..count {
        let mut dims = (0..site.rank(x)?).map(|d| site.dim(x, d)).collect::<Option<Vec<Dim>>>()?;
        dims[at] = match sizes.as_deref().map(|s| (s[k], rest(known(s)))) {
            None => Dim::New(n / count.max(1)),
            Some((Element::Known(v @ 0..), _)) => Dim::Fixed(usize::try_from(v).ok().filter(|v| *v <= n)?),
            Some((Element::Known(_), left)) if !open && sizes.iter().flatten().all(|e| matches!(e, Element::Known(_))) => Dim::Fixed(left),
            Some((e, left)) => Dim::New(e.interval().filter(|i| i.0 >= 0).map_or(left, |i| left.min(usize::try_from(i.1).unwrap_or(left)))),
        };
        let (ty, axes) = site.shaped(k, site.dtype(x)?, &dims)?;
        // A length for each part.
        let own = |(axis, by): (usize, By)| (axis, if by == By::New(at) { By::New(64 * k + at) } else { by });
        all.push((ty, axes.into_iter().map(own).collect()));
    }
    Some(all)
}

fn squeeze(site: &Site<'_>) -> Option<Opened> {
    let rank = site.rank(0)?;
    let dims = match site.call.attrs.get("squeeze_dims") {
        Some(AttrValue::Ints(dims)) => dims.iter().map(|d| site.call.axis(*d, rank).ok()).collect::<Option<Vec<usize>>>()?,
        _ => vec![],
    };
    if dims.is_empty() {
        // All that are one are dropped; an open axis stays, and a run in which it is one ends with a status.
        let kept: Vec<usize> = (0..rank).filter(|d| site.extent(0, *d).is_some() || site.shape(0).is_some_and(|s| s[*d] != 1)).collect();
        let dims = kept.iter().map(|d| site.dim(0, *d)).collect::<Option<Vec<_>>>()?;
        return Some(vec![site.shaped(0, site.dtype(0)?, &dims)?]);
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
    if let Some(u) = list_update(site.graph, site.node) {
        // A list with one item replaced is as long as it was.
        let axes = site.graph.open_axes(u.list).iter().map(|o| (o.axis as usize, By::Same(o.extent))).collect();
        let ty = site.graph.ty(u.list);
        return Some(vec![(site.result(0, ty.dtype, ty.shape.clone())?, axes)]);
    }
    let (rank, count) = (site.rank(0)?, site.node.inputs.len());
    let at = site.axis_attr("axis", 0, rank)?;
    let mut dims = vec![];
    for axis in 0..rank {
        let all = (0..count).map(|i| site.dim(i, axis).filter(|_| site.rank(i) == Some(rank))).collect::<Option<Vec<Dim>>>()?;
        let known = |d: &Dim| if let Dim::Fixed(n) = d { Some(*n) } else { None };
        let fixed: Vec<usize> = all.iter().filter_map(known).collect();
        dims.push(match (axis == at, fixed.len() == count) {
            (true, true) => Dim::Fixed(fixed.iter().sum()),
            (true, false) => Dim::New((0..count).map(|i| site.shape(i).map(|s| s[axis])).sum::<Option<usize>>()?),
            // A run compares the others with those that are known, or with the first one.
            _ if fixed.iter().any(|n| *n != fixed[0]) => return None,
            _ if !fixed.is_empty() => Dim::Fixed(fixed[0]),
            _ => match (all[0], (0..count).map(|i| site.shape(i).map(|s| s[axis])).collect::<Option<Vec<_>>>()?.into_iter().min()?) {
                (Dim::Same(e, n), least) if n == least => Dim::Same(e, n),
                (_, least) => Dim::New(least),
            },
        });
    }
    Some(vec![site.shaped(0, site.dtype(0)?, &dims)?])
}

fn reduction(site: &Site<'_>) -> Option<Opened> {
    let reduced = reduce::reduced(site.call).ok()?;
    let keep = site.call.attrs.bool("keep_dims", false);
    let along: Vec<_> = site.mapped(0, Some)?.into_iter().filter(|a| reduced[a.0]).collect();
    // Means of 16 bits scale by a multiplier that is made for their number.
    let exact = match site.node.op {
        OpKind::Mean => &[DType::Float32, DType::Int32, DType::Int64, DType::Int8, DType::UInt8][..],
        OpKind::Sum => &[DType::Float32, DType::Int32, DType::Int64, DType::Int8, DType::UInt8],
        OpKind::ReduceMax | OpKind::ReduceMin => &[DType::Float32, DType::Int32, DType::Int64, DType::Int8, DType::UInt8, DType::Int16],
        _ => &[DType::Float32, DType::Int32, DType::Int64, DType::Bool],
    };
    if !along.is_empty() && !exact.contains(&site.dtype(0)?) {
        return None;
    }
    let gone = |axis: usize| if keep { 0 } else { reduced[..axis].iter().filter(|r| **r).count() };
    site.along(site.mapped(0, Some)?.into_iter().filter(|a| !reduced[a.0]).map(|(axis, by)| (axis - gone(axis), by)).collect())
}
