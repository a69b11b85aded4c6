//! Elementwise operators: operands that meet element for element, along an axis as long as all of them or one element wide.

use super::{Axes, By, Opened, Site};
use crate::ir::{OpKind, TensorId, TensorType};
use crate::ops::call::Operand;
use crate::ops::table::{Category, category, infer};

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    let op = site.node.op;
    if category(op) != Some(Category::Elementwise) && op != OpKind::Pointwise {
        return None;
    }
    let shapes: Vec<Option<&[usize]>> = (0..site.node.inputs.len()).map(|i| site.shape(i)).collect();
    let rank = shapes.iter().flatten().map(|s| s.len()).max()?;
    // SELECT's condition may count rows, which is not broadcasting.
    if op == OpKind::Select && shapes.iter().any(|s| s.is_none_or(|s| s.len() != rank)) {
        return None;
    }
    let (mut out, mut axes) = (vec![1; rank], Axes::new());
    for at in 0..rank {
        let (n, by) = meet(site, &shapes, rank, at)?;
        out[at] = n;
        axes.extend(by.map(|by| (at, by)));
    }
    let types = aligned(site, &shapes, &out)?;
    (types.first()?.shape == out).then(|| types.into_iter().map(|ty| (ty, axes.clone())).collect())
}

/// How long an axis of the result is: as long as the operands whose lengths are known; else as long as all that are open, or those that have not one element.
fn meet(site: &Site<'_>, shapes: &[Option<&[usize]>], rank: usize, at: usize) -> Option<(usize, Option<By>)> {
    let (mut fixed, mut open): (Option<usize>, Vec<(TensorId, usize)>) = (None, vec![]);
    for (i, shape) in shapes.iter().enumerate() {
        let Some(shape) = shape else { continue };
        let Some(axis) = (at + shape.len()).checked_sub(rank) else { continue };
        match (site.extent(i, axis), shape[axis]) {
            (Some(e), n) => open.push((e, n)),
            // Nothing stands for all in a SELECT.
            (None, 1) if site.node.op != OpKind::Select => {}
            (None, n) if fixed.is_none_or(|f| f == n) => fixed = Some(n),
            _ => return None,
        }
    }
    Some(match (fixed, &open[..]) {
        (Some(n), _) => (n, None),
        (None, []) => (1, None),
        (None, [(first, _), rest @ ..]) => {
            let most = open.iter().map(|o| o.1).max()?;
            (most, Some(if rest.iter().all(|o| o.0 == *first) { By::Same(*first) } else { By::New(at) }))
        }
    })
}

/// The results on operands that have the result's lengths wherever theirs are not known.
fn aligned(site: &Site<'_>, shapes: &[Option<&[usize]>], out: &[usize]) -> Option<Vec<TensorType>> {
    let mut types: Vec<Option<TensorType>> = vec![];
    for (i, shape) in shapes.iter().enumerate() {
        let mut ty = site.call.optional(i).map(|o| o.ty.clone());
        if let (Some(ty), Some(shape)) = (&mut ty, shape) {
            for axis in 0..shape.len() {
                if site.extent(i, axis).is_some() {
                    ty.shape[axis] = out[axis + out.len() - shape.len()];
                }
            }
        }
        types.push(ty);
    }
    let mut call = site.call.clone();
    for (operand, ty) in call.inputs.iter_mut().zip(&types) {
        *operand = operand.zip(ty.as_ref()).map(|(o, ty)| Operand { ty, ..o });
    }
    infer(&call).ok()
}
