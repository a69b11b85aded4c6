//! Matrix products: rows and columns whose number is known only at run time.

use super::{Axes, By, Opened, Site};
use crate::ir::{DType, OpKind};
use crate::ops::fully_connected::is_plain_product;

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    match site.node.op {
        OpKind::FullyConnected if site.only(0) => fully_connected(site),
        OpKind::BatchMatmul => batch_matmul(site),
        OpKind::FullyConnected => by_open_weights(site),
        _ => None,
    }
}

fn fully_connected(site: &Site<'_>) -> Option<Opened> {
    let (x, types) = (site.shape(0)?, site.bounds()?);
    let out = &types.first()?.shape;
    if out.len() == x.len() {
        return site.along(site.mapped(0, |axis| (axis + 1 < x.len()).then_some(axis))?);
    }
    // All rows in one axis: as many as the one axis that is not one.
    let rows = x[..x.len().checked_sub(1)?].iter().product::<usize>();
    let one_axis = |axis: usize| (axis + 1 < x.len() && rows == x[axis] && out.first() == Some(&rows)).then_some(0);
    if site.opens(0).len() > 1 { None } else { site.along(site.mapped(0, one_axis)?) }
}

/// A product of two matrices of floats of which the second is open: what is written as BATCH_MATMUL before it is lowered.
fn by_open_weights(site: &Site<'_>) -> Option<Opened> {
    if !is_plain_product(site.graph, site.node) || site.extent(0, 1) != site.extent(1, 1) {
        return None;
    }
    let dims = [site.dim(0, 0)?, site.dim(1, 0)?];
    let types = site.bounds()?;
    (types.first()?.shape.len() == 2).then_some(())?;
    Some(vec![site.shaped(0, DType::Float32, &dims)?])
}

fn batch_matmul(site: &Site<'_>) -> Option<Opened> {
    let (x, y) = (site.rank(0)?, site.rank(1)?);
    if x.min(y) < 2 {
        return None;
    }
    let rank = x.max(y);
    let turned = [site.call.attrs.bool("adj_x", false), site.call.attrs.bool("adj_y", false)];
    // The place of the inner axis counted from the end.
    let inner = [x - if turned[0] { 2 } else { 1 }, y - if turned[1] { 1 } else { 2 }];
    let sums = [site.extent(0, inner[0]), site.extent(1, inner[1])];
    if sums[0] != sums[1] || (sums[0].is_some() && (site.dtype(0)? != DType::Float32 || site.dtype(1)? != DType::Float32)) {
        return None;
    }
    let mut axes: Axes = vec![];
    for (i, own) in [x, y].into_iter().enumerate() {
        for open in site.opens(i) {
            let axis = open.axis as usize;
            if axis == inner[i] {
                continue;
            }
            let place = match axis + 2 >= own {
                true if i == 0 => rank - 2,
                true => rank - 1,
                false => axis + rank - own,
            };
            match axes.iter().find(|a| a.0 == place) {
                Some((_, by)) if *by != By::Same(open.extent) => return None,
                Some(_) => {}
                None => axes.push((place, By::Same(open.extent))),
            }
        }
    }
    // A batch that is open in one operand is that, or one, in the other.
    for (place, by) in axes.iter().filter(|a| a.0 + 2 < rank) {
        for (i, own) in [x, y].into_iter().enumerate() {
            let Some(axis) = (place + own).checked_sub(rank) else { continue };
            let same = site.extent(i, axis).map(By::Same) == Some(*by);
            if !same && (site.is_open(i) && site.extent(i, axis).is_some() || site.shape(i)?[axis] != 1) {
                return None;
            }
        }
    }
    site.along(axes)
}
