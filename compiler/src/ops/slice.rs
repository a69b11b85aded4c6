//! SLICE: a box of the operand, from begins and sizes.

use crate::error::CompileError;
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::Walk;

/// SLICE.
pub const SLICE: Operator = Operator::new(infer, Eval::Direct(eval));

/// Begins and sizes, of which -1 means up to the end.
pub fn bounds(call: &Call<'_>) -> Result<Vec<(usize, usize)>, CompileError> {
    let shape = &call.input(0)?.shape;
    let (begin, size) = (call.ints(1, MAX_RANK)?, call.ints(2, MAX_RANK)?);
    if begin.len() != shape.len() || size.len() != shape.len() {
        return Err(call.invalid(format!("begins {begin:?} and sizes {size:?} for shape {shape:?}")));
    }
    let one = |((n, b), s): ((&usize, &i64), &i64)| {
        let b = usize::try_from(*b).ok().filter(|b| b <= n)?;
        let s = if *s == -1 { n - b } else { usize::try_from(*s).ok()? };
        (s <= n - b).then_some((b, s))
    };
    shape
        .iter()
        .zip(&begin)
        .zip(&size)
        .map(|d| one(d).ok_or_else(|| call.invalid(format!("begins {begin:?} and sizes {size:?} leave shape {shape:?}"))))
        .collect()
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    let x = call.input(0)?;
    if x.dtype.bits() < 8 {
        return Err(call.unsupported(crate::error::Unsupported::Types(x.dtype.to_string())));
    }
    let shape: Vec<usize> = bounds(call)?.into_iter().map(|b| b.1).collect();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let mut walk = Walk::dense(&x.ty.shape);
    for (dim, (begin, size)) in walk.dims.iter_mut().zip(bounds(args.call)?) {
        walk.offset += dim.1 * begin as isize;
        dim.0 = size;
    }
    let mut out = vec![0; args.ty().bytes()];
    walk.gather(x.bytes(), &mut out, args.width(0)?);
    args.result(out)
}
