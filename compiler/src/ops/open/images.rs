//! Operators on images: their number, and their height and width, where those are known only at run time.

use super::{Dim, Opened, Site};
use crate::ir::OpKind;

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    match site.node.op {
        OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::AveragePool2d | OpKind::MaxPool2d | OpKind::L2Pool2d if site.only(0) => {
            window(site)
        }
        OpKind::ResizeBilinear | OpKind::ResizeNearestNeighbor if site.only(0) => resize(site),
        OpKind::SpaceToDepth | OpKind::DepthToSpace if site.only(0) => {
            let types = site.bounds()?;
            let out = &types.first()?.shape;
            let own = |d: usize| Some(if site.extent(0, d).is_some() { Dim::New(*out.get(d)?) } else { Dim::Fixed(*out.get(d)?) });
            if site.extent(0, 3).is_some() {
                return None;
            }
            Some(vec![site.shaped(0, site.dtype(0)?, &[site.dim(0, 0)?, own(1)?, own(2)?, own(3)?])?])
        }
        OpKind::LocalResponseNormalization if site.only(0) => site.along(site.mapped(0, |axis| (axis < 3).then_some(axis))?),
        // Images are one by one.
        OpKind::Conv3d if site.only(0) => site.along(site.mapped(0, |axis| (axis == 0).then_some(0))?),
        OpKind::Rfft2d if site.only(0) => {
            let rank = site.rank(0)?;
            site.along(site.mapped(0, |axis| (axis + 2 < rank).then_some(axis))?)
        }
        _ => None,
    }
}

/// A window that slides over rows and columns.
fn window(site: &Site<'_>) -> Option<Opened> {
    let types = site.bounds()?;
    let out = &types.first()?.shape;
    let pools = matches!(site.node.op, OpKind::AveragePool2d | OpKind::MaxPool2d | OpKind::L2Pool2d);
    if out.len() != 4 || (site.extent(0, 3).is_some() && !pools) {
        return None;
    }
    let same = site.call.attrs.name("padding", "SAME") == "SAME";
    let mut dims = vec![site.dim(0, 0)?];
    for (axis, stride) in [(1, "stride_h"), (2, "stride_w")] {
        let stride = site.call.attrs.int(stride, 1);
        dims.push(match site.dim(0, axis)? {
            Dim::Fixed(_) => Dim::Fixed(out[axis]),
            Dim::Same(e, n) if same && stride == 1 => Dim::Same(e, n),
            _ => Dim::New(out[axis]),
        });
    }
    dims.push(if pools { site.dim(0, 3)? } else { Dim::Fixed(out[3]) });
    Some(vec![site.shaped(0, types.first()?.dtype, &dims)?])
}

fn resize(site: &Site<'_>) -> Option<Opened> {
    let size = site.elements(1).filter(|s| s.len() == 2)?;
    if site.rank(0)? != 4 {
        return None;
    }
    let dims = [site.dim(0, 0)?, site.bounded(size[0], 1)?, site.bounded(size[1], 2)?, site.dim(0, 3)?];
    // One element at least, whatever the bound is.
    if dims.iter().any(|d| matches!(d, Dim::Fixed(0))) {
        return None;
    }
    Some(vec![site.shaped(0, site.dtype(0)?, &dims)?])
}
