//! Operators whose result's shape is a value that is known in part, or follows from one: RESHAPE, FILL, BROADCAST_TO, RANGE, TILE, PAD.

use super::{Dim, Element, Opened, Site, floats};
use crate::ir::{AttrValue, DType, OpKind, TensorId};

/// The rule of such a node.
pub(super) fn open(site: &Site<'_>) -> Option<Opened> {
    match site.node.op {
        OpKind::Reshape => {
            let target = match site.call.optional(1) {
                _ if site.is_open(1) => return None,
                Some(_) => site.elements(1)?,
                None => match site.call.attrs.get("new_shape") {
                    Some(AttrValue::Ints(v)) => v.iter().map(|v| Element::Known(*v)).collect(),
                    _ => return None,
                },
            };
            reshape(site, &target)
        }
        OpKind::Fill if !site.any_open() => {
            let dims = site.elements(0)?.into_iter().enumerate().map(|(d, e)| site.bounded(e, d)).collect::<Option<Vec<Dim>>>()?;
            Some(vec![site.shaped(0, site.dtype(1)?, &dims)?])
        }
        OpKind::BroadcastTo if site.only(0) => broadcast_to(site),
        OpKind::Range if !site.any_open() => range(site),
        OpKind::Tile if site.only(0) => tile(site),
        OpKind::Pad | OpKind::Padv2 | OpKind::MirrorPad if site.only(0) => pad(site),
        _ => None,
    }
}

/// The same elements under another shape. Dimensions that are written down are what they say; of the others at most one is left over, and takes what remains.
fn reshape(site: &Site<'_>, target: &[Element]) -> Option<Opened> {
    let (x, dtype) = (site.shape(0)?, site.dtype(0)?);
    let mut dims: Vec<Option<Dim>> = vec![];
    for (d, element) in target.iter().enumerate() {
        dims.push(match element {
            Element::Known(-1) => None,
            // What has no bound of its own is what remains.
            e => site.bounded(*e, d),
        });
    }
    let rest: Vec<usize> = (0..dims.len()).filter(|d| dims[*d].is_none()).collect();
    let at = match rest[..] {
        [] => None,
        [at] => Some(at),
        _ => return None,
    };
    // Extents of the operand that the target does not name.
    let mut left: Vec<(TensorId, usize)> = vec![];
    let mut fixed = 1usize;
    for (d, &n) in x.iter().enumerate() {
        match site.extent(0, d) {
            Some(e) => left.push((e, n)),
            None => fixed = fixed.checked_mul(n)?,
        }
    }
    let (mut named, mut vague) = (1usize, 1usize);
    for dim in dims.iter().flatten() {
        match dim {
            Dim::Fixed(n) => named = named.checked_mul(*n)?,
            Dim::Same(e, n) => match left.iter().position(|l| l.0 == *e) {
                Some(k) => drop(left.remove(k)),
                None => vague = vague.checked_mul(*n)?,
            },
            Dim::New(n) => vague = vague.checked_mul(*n)?,
        }
    }
    let total = x.iter().product::<usize>();
    if let Some(at) = at {
        let only_left = vague == 1 && named > 0;
        dims[at] = Some(match left[..] {
            [] if only_left && fixed.is_multiple_of(named) => Dim::Fixed(fixed / named),
            [(e, n)] if only_left && fixed == named => Dim::Same(e, n),
            // At least one row of what is named: an empty one says nothing.
            _ => Dim::New(total.checked_div(named)?),
        });
    } else if left.is_empty() && vague == 1 && fixed != named {
        return None;
    }
    // No dimension is longer than all elements in a row, unless there are none.
    let dims = dims.into_iter().collect::<Option<Vec<Dim>>>()?;
    let dims: Vec<Dim> = dims.into_iter().map(|d| if let Dim::New(n) = d { Dim::New(n.min(total)) } else { d }).collect();
    Some(vec![site.shaped(0, dtype, &dims)?])
}

/// As long as the shape says; axes of the operand that are open are that, or one element wide.
fn broadcast_to(site: &Site<'_>) -> Option<Opened> {
    let x = site.shape(0)?;
    let mut dims = site.elements(1)?.into_iter().enumerate().map(|(d, e)| site.bounded(e, d)).collect::<Vec<_>>();
    let lead = dims.len().checked_sub(x.len())?;
    for (d, &n) in x.iter().enumerate() {
        let dim = &mut dims[lead + d];
        match (site.extent(0, d), &dim) {
            // A run compares.
            (Some(_), _) => {}
            // An operand that has elements there says how many they are.
            (None, _) if n != 1 => *dim = Some(Dim::Fixed(n)),
            (None, _) => {}
        }
    }
    let dims = dims.into_iter().collect::<Option<Vec<Dim>>>()?;
    Some(vec![site.shaped(0, site.dtype(0)?, &dims)?])
}

/// No range of floats is longer by arithmetic alone.
const LONGEST: f32 = (1 << 24) as f32;

/// Numbers from a start to a limit.
fn range(site: &Site<'_>) -> Option<Opened> {
    let one = |i: usize| site.elements(i)?.first().copied();
    let dtype = site.dtype(0)?;
    if dtype == DType::Float32 {
        let [start, limit, delta] = [0, 1, 2].map(|i| site.tensor(i).map(|t| floats::interval(site.values, t)));
        let ((least, most), (low, high), (from, to)) = (start?, limit?, delta?);
        // The longest way by the shortest step; one in the other direction is an error.
        let distance = match (from > 0.0, to < 0.0) {
            (true, _) => (high - least) / from,
            (_, true) => (most - low) / -to,
            _ => f32::INFINITY,
        };
        let steps = distance.max(0.0).ceil();
        let steps = (0.0..LONGEST).contains(&steps).then_some(steps as usize).or_else(|| site.stated(0))?;
        return Some(vec![site.shaped(0, dtype, &[Dim::New(steps)])?]);
    }
    let dim = match (one(0)?, one(1)?, one(2)?) {
        (Element::Known(0), Element::Extent(extent, bound), Element::Known(1)) => Dim::Same(extent, bound),
        (start, limit, Element::Known(delta)) if delta != 0 => {
            let steps = |((least, most), (low, high)): ((i64, i64), (i64, i64))| {
                let distance = if delta > 0 { high.checked_sub(least)? } else { most.checked_sub(low)? };
                usize::try_from(distance.max(0).unsigned_abs().div_ceil(delta.unsigned_abs())).ok()
            };
            Dim::New(start.interval().zip(limit.interval()).and_then(steps).or_else(|| site.stated(0))?)
        }
        // Steps upwards, or the run ends with a status.
        _ if site.stated(0).is_some() => Dim::New(site.stated(0)?),
        _ => return None,
    };
    Some(vec![site.shaped(0, dtype, &[dim])?])
}

fn tile(site: &Site<'_>) -> Option<Opened> {
    let x = site.shape(0)?;
    let times = site.elements(1)?;
    if times.len() != x.len() {
        return None;
    }
    let mut dims = vec![];
    for (d, &n) in x.iter().enumerate() {
        dims.push(match (times[d], site.extent(0, d)) {
            (Element::Known(m), None) => Dim::Fixed(n.checked_mul(usize::try_from(m).ok()?)?),
            (Element::Known(1), Some(e)) => Dim::Same(e, n),
            (Element::Extent(e, bound), None) if n == 1 => Dim::Same(e, bound),
            (Element::Known(m), Some(_)) => Dim::New(n.checked_mul(usize::try_from(m).ok()?)?),
            (Element::Extent(_, m), _) => Dim::New(n.checked_mul(m)?),
            (Element::Between(_, m), _) => Dim::New(n.checked_mul(usize::try_from(m).ok()?)?),
            (Element::Plus(..) | Element::Unknown, _) => Dim::New(site.stated(d)?),
        });
    }
    Some(vec![site.shaped(0, site.dtype(0)?, &dims)?])
}

/// Borders, each as wide as an element says.
fn pad(site: &Site<'_>) -> Option<Opened> {
    let borders = site.elements(1)?;
    let x = site.shape(0)?;
    if site.shape(1)? != [x.len(), 2] {
        return None;
    }
    let mut dims = vec![];
    for (d, &n) in x.iter().enumerate() {
        let own = site.dim(0, d)?;
        let width = |e: Element| e.interval().map(|(_, most)| most.max(0)).and_then(|v| usize::try_from(v).ok());
        let most = width(borders[2 * d]).zip(width(borders[2 * d + 1])).map(|(a, b)| n.saturating_add(a).saturating_add(b));
        let stated = site.stated(d);
        dims.push(match (borders[2 * d], borders[2 * d + 1]) {
            (Element::Known(0), Element::Known(0)) => own,
            (Element::Known(_), Element::Known(_)) if own == Dim::Fixed(n) => Dim::Fixed(most?),
            _ => Dim::New(most.into_iter().chain(stated).min()?),
        });
    }
    Some(vec![site.shaped(0, site.dtype(0)?, &dims)?])
}
