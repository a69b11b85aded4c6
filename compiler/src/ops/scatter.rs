//! SCATTER_ND, SPARSE_TO_DENSE, ONE_HOT, DYNAMIC_UPDATE_SLICE: results that are filled at places that operands name.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType;
use crate::ir::DType::{Bool, Float32, Int8, Int16, Int32, Int64, UInt8};
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::{Walk, count};

/// SCATTER_ND: updates are added up where they meet.
pub const SCATTER_ND: Operator = Operator::new(infer_scatter_nd, Eval::Direct(scatter_nd));
/// SPARSE_TO_DENSE: values at indices, a default elsewhere.
pub const SPARSE_TO_DENSE: Operator = Operator::new(infer_sparse_to_dense, Eval::Direct(sparse_to_dense));
/// ONE_HOT: `on` at each index, `off` elsewhere; indices outside give `off` only.
pub const ONE_HOT: Operator = Operator::new(infer_one_hot, Eval::Direct(one_hot));
/// DYNAMIC_UPDATE_SLICE: the operand with a box replaced; starts are clamped so that the box fits.
pub const DYNAMIC_UPDATE_SLICE: Operator = Operator::new(infer_update, Eval::Direct(update));

fn whole_bytes(call: &Call<'_>, operand: usize) -> Result<DType, CompileError> {
    let dtype = call.input(operand)?.dtype;
    if dtype.bits() < 8 { Err(call.unsupported(Unsupported::Types(dtype.to_string()))) } else { Ok(dtype) }
}

/// Sizes from an operand's values.
pub fn sizes(call: &Call<'_>, operand: usize) -> Result<Vec<usize>, CompileError> {
    let shape = call.ints(operand, MAX_RANK)?;
    shape.iter().map(|d| usize::try_from(*d).map_err(|_| call.invalid(format!("shape {shape:?}")))).collect()
}

fn infer_scatter_nd(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    call.dtype_among(0, &[Int32])?;
    let dtype = call.dtype_among(1, &[Float32, Int8, UInt8, Int16, Int32, Int64, Bool])?;
    let (indices, updates) = (call.input(0)?, call.input(1)?);
    let shape = sizes(call, 2)?;
    let depth =
        indices.shape.last().copied().filter(|d| *d <= shape.len()).ok_or_else(|| call.invalid(format!("indices {:?}", indices.shape)))?;
    let expected = [&indices.shape[..indices.shape.len() - 1], &shape[depth..]].concat();
    if updates.shape != expected {
        return Err(call.invalid(format!("updates of shape {:?}; indices and shape ask for {expected:?}", updates.shape)));
    }
    Ok(vec![call.result(0, dtype, shape)?])
}

fn scatter_nd(args: &Args<'_>) -> Results {
    let (indices, updates) = (args.value(0)?, args.value(1)?);
    let ty = args.ty();
    let depth = indices.ty.shape.last().copied().unwrap_or(0);
    let rows = count(&indices.ty.shape[..indices.ty.shape.len() - 1]);
    let inner = count(&ty.shape[depth..]);
    let at = args.ints(0)?;
    let mut places = vec![];
    for r in 0..rows {
        let mut place = 0;
        for (i, n) in at[r * depth..(r + 1) * depth].iter().zip(&ty.shape) {
            super::gather::check_indices(args, &[*i], *n)?;
            place = place * n + *i as usize;
        }
        places.push(place * inner);
    }
    macro_rules! add {
        ($t:ty, $f:expr) => {{
            let mut out = vec![<$t>::default(); ty.elements()];
            let updates = updates.elements::<$t>();
            for (place, updates) in places.iter().zip(updates.chunks_exact(inner.max(1))) {
                for (o, u) in out[*place..*place + inner].iter_mut().zip(updates) {
                    *o = $f(*o, *u);
                }
            }
            args.result(out)
        }};
    }
    match ty.dtype {
        Float32 => add!(f32, |a: f32, b: f32| a + b),
        Int8 => add!(i8, i8::wrapping_add),
        Int16 => add!(i16, i16::wrapping_add),
        Int32 => add!(i32, i32::wrapping_add),
        Int64 => add!(i64, i64::wrapping_add),
        Bool => add!(u8, |a: u8, b: u8| a | b),
        _ => add!(u8, u8::wrapping_add),
    }
}

fn infer_sparse_to_dense(call: &Call<'_>) -> Inferred {
    call.arity(4, 4, 1)?;
    call.dtype_among(0, &[Int32, Int64])?;
    let dtype = whole_bytes(call, 2)?;
    call.same_dtype(2, 3)?;
    let (indices, values, default) = (call.input(0)?, call.input(2)?, call.input(3)?);
    let shape = sizes(call, 1)?;
    let (rows, depth) = match indices.shape[..] {
        [] => (1, 1),
        [n] => (n, 1),
        [n, d] => (n, d),
        _ => return Err(call.invalid(format!("indices of shape {:?}", indices.shape))),
    };
    if depth != shape.len() || !(values.elements() == 1 || values.elements() == rows) || default.elements() != 1 {
        return Err(call.invalid(format!("indices {:?}, values {:?} for shape {shape:?}", indices.shape, values.shape)));
    }
    Ok(vec![call.result(0, dtype, shape)?])
}

fn sparse_to_dense(args: &Args<'_>) -> Results {
    let (values, default) = (args.value(2)?, args.value(3)?);
    let width = args.width(2)?;
    let shape = &args.ty().shape;
    let mut out = default.bytes().repeat(args.ty().elements());
    let at = args.ints(0)?;
    for (r, index) in at.chunks_exact(shape.len().max(1)).enumerate() {
        let mut place = 0;
        for (i, n) in index.iter().zip(shape) {
            super::gather::check_indices(args, &[*i], *n)?;
            place = place * n + *i as usize;
        }
        let from = if values.ty.elements() == 1 { 0 } else { r * width };
        out[place * width..(place + 1) * width].copy_from_slice(&values.bytes()[from..from + width]);
    }
    args.result(out)
}

fn infer_one_hot(call: &Call<'_>) -> Inferred {
    call.arity(4, 4, 1)?;
    call.dtype_among(0, &[Int32, Int64])?;
    let dtype = whole_bytes(call, 2)?;
    call.same_dtype(2, 3)?;
    if call.input(2)?.elements() != 1 || call.input(3)?.elements() != 1 {
        return Err(call.invalid("on and off values are not scalars"));
    }
    let indices = call.input(0)?;
    let axis = call.attrs.int("axis", -1);
    let axis = if axis == -1 { indices.shape.len() } else { call.axis(axis, indices.shape.len() + 1)? };
    let depth = call.int(1)?;
    let mut shape = indices.shape.clone();
    shape.insert(axis, usize::try_from(depth).map_err(|_| call.invalid(format!("depth {depth}")))?);
    Ok(vec![call.result(0, dtype, shape)?])
}

fn one_hot(args: &Args<'_>) -> Results {
    let indices = args.value(0)?;
    let axis = args.call.attrs.int("axis", -1);
    let axis = if axis == -1 { indices.ty.shape.len() } else { args.call.axis(axis, indices.ty.shape.len() + 1)? };
    let (on, off) = (args.value(2)?.bytes(), args.value(3)?.bytes());
    let depth = args.ty().shape[axis];
    let inner = count(&indices.ty.shape[axis..]);
    let mut out = Vec::with_capacity(args.ty().bytes());
    for row in args.ints(0)?.chunks(inner.max(1)) {
        for d in 0..depth {
            for i in row {
                out.extend_from_slice(if *i == d as i64 { on } else { off });
            }
        }
    }
    args.result(out)
}

fn infer_update(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    let dtype = whole_bytes(call, 0)?;
    call.same_dtype(0, 1)?;
    call.dtype_among(2, &[Int32, Int64])?;
    let (x, part, start) = (call.input(0)?, call.input(1)?, call.input(2)?);
    let fits = part.shape.len() == x.shape.len() && part.shape.iter().zip(&x.shape).all(|(p, n)| p <= n);
    if !fits || start.shape != [x.shape.len()] {
        return Err(call.invalid(format!("update {:?} at {:?} of {:?}", part.shape, start.shape, x.shape)));
    }
    Ok(vec![call.result(0, dtype, x.shape.clone())?])
}

fn update(args: &Args<'_>) -> Results {
    let (x, part) = (args.value(0)?, args.value(1)?);
    let mut out = x.bytes().to_vec();
    let mut walk = Walk::dense(&x.ty.shape);
    for ((dim, p), start) in walk.dims.iter_mut().zip(&part.ty.shape).zip(args.ints(2)?) {
        let start = start.clamp(0, (dim.0 - p) as i64) as isize;
        walk.offset += dim.1 * start;
        dim.0 = *p;
    }
    walk.scatter(part.bytes(), &mut out, args.width(0)?);
    args.result(out)
}
