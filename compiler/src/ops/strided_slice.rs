//! STRIDED_SLICE: every stride-th element between begins and ends, with TensorFlow's masks.
//!
//! Source: TFLite `kernels/strided_slice.cc` and `internal/strided_slice_logic.h`.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Int32, Int64};
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::Walk;

/// STRIDED_SLICE.
pub const STRIDED_SLICE: Operator = Operator::new(infer, Eval::Direct(eval));

/// One dimension of the full result: where it starts in the operand, its size and step; new and dropped axes are marked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// First element.
    pub start: usize,
    /// Elements.
    pub size: usize,
    /// Step, not zero.
    pub stride: isize,
    /// Axis of the operand; `None` for a new axis.
    pub axis: Option<usize>,
    /// Whether the axis is missing in the result's shape.
    pub dropped: bool,
}

/// The cuts of all dimensions.
pub fn cuts(call: &Call<'_>) -> Result<Vec<Cut>, CompileError> {
    let shape = &call.input(0)?.shape;
    let specs = [call.ints(1, 2 * MAX_RANK)?, call.ints(2, 2 * MAX_RANK)?, call.ints(3, 2 * MAX_RANK)?];
    let [begin, end, stride] = &specs;
    if begin.len() != end.len() || begin.len() != stride.len() {
        return Err(call.invalid(format!("begins {begin:?}, ends {end:?}, strides {stride:?}")));
    }
    let mask = |name: &str, i: usize| mask(call, name, i);
    let offset = call.attrs.bool("offset", false);
    let new_axes = (0..begin.len()).filter(|i| mask("new_axis_mask", *i) && !mask("ellipsis_mask", *i)).count();
    let ellipses = (0..begin.len()).filter(|i| mask("ellipsis_mask", *i)).count();
    if ellipses > 1 {
        return Err(call.invalid("more than one ellipsis"));
    }
    let consumed = begin.len() - new_axes - ellipses;
    if consumed > shape.len() {
        return Err(call.invalid(format!("{} specifications for {} dimensions", begin.len(), shape.len())));
    }
    let mut cuts = vec![];
    let mut axis = 0;
    let whole = |axis: usize| Cut { start: 0, size: shape[axis], stride: 1, axis: Some(axis), dropped: false };
    for i in 0..begin.len() {
        if mask("ellipsis_mask", i) {
            for _ in 0..shape.len() - consumed {
                cuts.push(whole(axis));
                axis += 1;
            }
            continue;
        }
        if mask("new_axis_mask", i) {
            cuts.push(Cut { start: 0, size: 1, stride: 1, axis: None, dropped: false });
            continue;
        }
        let shrink = mask("shrink_axis_mask", i);
        let (n, s) = (shape[axis] as i64, stride[i]);
        if s == 0 {
            return Err(call.invalid("a stride of zero"));
        }
        let clamp = |v: i64| if s > 0 { v.clamp(0, n) } else { v.clamp(-1, n - 1) };
        let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let b = if mask("begin_mask", i) { if s > 0 { 0 } else { n - 1 } } else { clamp(wrap(begin[i])) };
        if shrink {
            // A begin outside is clamped to an element, as in LiteRT; there is none in an empty axis.
            let at = wrap(begin[i]);
            let at = if mask("begin_mask", i) { b } else { at };
            if at < 0 || at >= n {
                return Err(call.invalid(format!("index {} of an axis of {n}", begin[i])));
            }
            cuts.push(Cut { start: at as usize, size: 1, stride: 1, axis: Some(axis), dropped: true });
            axis += 1;
            continue;
        }
        let e = if mask("end_mask", i) {
            if s > 0 { n } else { -1 }
        } else if offset {
            clamp(b.saturating_add(end[i]))
        } else {
            clamp(wrap(end[i]))
        };
        let distance = if s > 0 { e - b } else { b - e };
        let size = if distance <= 0 { 0 } else { distance.div_euclid(s.abs()) + (distance.rem_euclid(s.abs()) != 0) as i64 };
        cuts.push(Cut {
            start: b.max(0) as usize,
            size: size as usize,
            stride: s.clamp(-(1 << 40), 1 << 40) as isize,
            axis: Some(axis),
            dropped: false,
        });
        axis += 1;
    }
    for a in axis..shape.len() {
        cuts.push(whole(a));
    }
    Ok(cuts)
}

/// A dimension of the full result where sizes, begins or ends may be known only at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Range {
    /// A new axis.
    New,
    /// An axis of the operand as it is.
    Whole(usize),
    /// One index of an axis, which is dropped.
    Index {
        /// The axis.
        axis: usize,
        /// The entry of the begins that says which.
        entry: usize,
    },
    /// Elements of an axis.
    Part(Part),
}

/// Every stride-th element of an axis.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// The axis.
    pub axis: usize,
    /// The entry of begins and ends.
    pub entry: usize,
    /// The step, not zero.
    pub stride: i64,
    /// Whether the begin is masked.
    pub from_begin: bool,
    /// Whether the end is masked.
    pub to_end: bool,
    /// Whether the end counts from the begin.
    pub offset: bool,
}

impl Part {
    /// First element and number of elements of an axis of `n`.
    pub(crate) fn of(&self, n: i64, begin: i64, end: i64) -> (i64, i64) {
        let s = self.stride;
        let clamp = |v: i64| if s > 0 { v.clamp(0, n) } else { v.clamp(-1, n - 1) };
        let wrap = |v: i64| if v < 0 { v.saturating_add(n) } else { v };
        let b = match self.from_begin {
            true if s > 0 => 0,
            true => n - 1,
            false => clamp(wrap(begin)),
        };
        let e = match self.to_end {
            true if s > 0 => n,
            true => -1,
            false if self.offset => clamp(b.saturating_add(end)),
            false => clamp(wrap(end)),
        };
        let distance = if s > 0 { e - b } else { b - e }.max(0).unsigned_abs();
        (b, distance.div_ceil(s.unsigned_abs()) as i64)
    }
}

/// Whether bit `i` of a mask is set.
fn mask(call: &Call<'_>, name: &str, i: usize) -> bool {
    i < 64 && call.attrs.int(name, 0) >> i & 1 == 1
}

/// The dimensions of a slice with these strides.
fn dimensions(call: &Call<'_>, strides: &[i64]) -> Result<Vec<Range>, CompileError> {
    let rank = call.input(0)?.shape.len();
    let entries = call.input(1)?.elements();
    let mask = |name: &str, i: usize| mask(call, name, i);
    let new = |i: usize| mask("new_axis_mask", i) && !mask("ellipsis_mask", i);
    let taken = (0..entries).filter(|i| !new(*i) && !mask("ellipsis_mask", *i)).count();
    if call.input(2)?.elements() != entries || strides.len() != entries || entries > 2 * MAX_RANK || taken > rank {
        return Err(call.invalid(format!("{entries} begins, strides {strides:?} of {rank} dimensions")));
    }
    let (mut out, mut axis) = (vec![], 0);
    for (entry, &stride) in strides.iter().enumerate() {
        let (from_begin, to_end) = (mask("begin_mask", entry), mask("end_mask", entry));
        if mask("ellipsis_mask", entry) {
            out.extend((axis..axis + rank - taken).map(Range::Whole));
            axis += rank - taken;
        } else if mask("new_axis_mask", entry) {
            out.push(Range::New);
        } else {
            out.push(match mask("shrink_axis_mask", entry) {
                true if from_begin => return Err(call.unsupported(Unsupported::DynamicShape)),
                true => Range::Index { axis, entry },
                false => Range::Part(Part { axis, entry, stride, from_begin, to_end, offset: call.attrs.bool("offset", false) }),
            });
            axis += 1;
        }
    }
    if axis > rank {
        return Err(call.invalid("more than one ellipsis"));
    }
    out.extend((axis..rank).map(Range::Whole));
    Ok(out)
}

/// The dimensions of a slice whose strides are known.
pub(crate) fn ranges(call: &Call<'_>) -> Result<Vec<Range>, CompileError> {
    let strides = call.ints(3, 2 * MAX_RANK)?;
    if strides.contains(&0) {
        return Err(call.invalid(format!("strides {strides:?}")));
    }
    dimensions(call, &strides)
}

/// The same of a slice whose shape does not depend on its begins and ends: each of those drops its axis or is masked. No dimension is a part.
pub(crate) fn picks(call: &Call<'_>) -> Result<Vec<Range>, CompileError> {
    let whole = |range| match range {
        Range::Part(Part { axis, stride: 1, from_begin: true, to_end: true, .. }) => Ok(Range::Whole(axis)),
        Range::Part(_) => Err(call.unsupported(Unsupported::DynamicShape)),
        other => Ok(other),
    };
    dimensions(call, &call.ints(3, 2 * MAX_RANK)?)?.into_iter().map(whole).collect()
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(4, 4, 1)?;
    let x = call.input(0)?;
    if x.dtype.bits() < 8 {
        return Err(call.unsupported(Unsupported::Types(x.dtype.to_string())));
    }
    if call.operand(1)?.data.is_none() || call.operand(2)?.data.is_none() {
        call.dtype_among(1, &[Int32, Int64])?;
        let size = |p| match p {
            Range::Whole(axis) => Some(x.shape[axis]),
            Range::New => Some(1),
            Range::Index { .. } | Range::Part(_) => None,
        };
        return Ok(vec![call.result(0, x.dtype, picks(call)?.into_iter().filter_map(size).collect::<Vec<_>>())?]);
    }
    let shape: Vec<usize> = cuts(call)?.iter().filter(|c| !c.dropped).map(|c| c.size).collect();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let dense = Walk::dense(&x.ty.shape);
    let mut walk = Walk { offset: 0, dims: vec![] };
    for cut in cuts(args.call)? {
        let step = cut.axis.map_or(0, |a| dense.dims[a].1);
        walk.offset += step * cut.start as isize;
        // A single element has no step, so a huge stride is never multiplied.
        walk.dims.push((cut.size, if cut.size > 1 { step * cut.stride } else { 0 }));
    }
    let mut out = vec![0; args.ty().bytes()];
    walk.gather(x.bytes(), &mut out, args.width(0)?);
    args.result(out)
}

#[cfg(test)]
mod tests {
    use crate::ir::{AttrValue, Attrs, DType, OpKind, TensorType};
    use crate::ops::table::tests::apply;
    use crate::ops::value::Value;

    fn slice(attrs: Attrs, spec: [&[i32]; 3], shape: &[usize]) -> Option<Vec<i64>> {
        let x = Value::new(TensorType::new(DType::Int32, [2, 4]), (0..8).collect::<Vec<i32>>());
        let specs: Vec<Value> = spec.iter().map(|s| Value::new(TensorType::new(DType::Int32, [s.len()]), s.to_vec())).collect();
        apply(OpKind::StridedSlice, attrs, &[&x, &specs[0], &specs[1], &specs[2]], &[TensorType::new(DType::Int32, shape)]).ok()?[0]
            .to_i64()
    }

    #[test]
    fn negative_strides_masks_and_new_axes() {
        let mask = |name: &str, v: i64| Attrs::new().with(name, AttrValue::Int(v));
        assert_eq!(slice(Attrs::new(), [&[0, 3], &[2, 0], &[1, -2]], &[2, 2]).unwrap(), [3, 1, 7, 5]);
        assert_eq!(slice(mask("end_mask", 2), [&[1, -3], &[2, 0], &[1, 1]], &[1, 3]).unwrap(), [5, 6, 7]);
        assert_eq!(slice(mask("shrink_axis_mask", 1), [&[-1], &[0], &[1]], &[4]).unwrap(), [4, 5, 6, 7]);
        assert_eq!(slice(mask("new_axis_mask", 1), [&[0, 0], &[0, 1], &[1, 1]], &[1, 1, 4]).unwrap(), [0, 1, 2, 3]);
        assert_eq!(slice(mask("ellipsis_mask", 1), [&[0, 0], &[0, 1], &[1, 1]], &[2, 1]).unwrap(), [0, 4]);
        assert!(slice(mask("shrink_axis_mask", 1), [&[2], &[3], &[1]], &[4]).is_none());
        assert!(slice(Attrs::new(), [&[0], &[1], &[0]], &[1, 4]).is_none());
    }
}
