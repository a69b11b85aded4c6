//! TRANSPOSE: axes in another order.

use crate::error::CompileError;
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::Walk;

/// TRANSPOSE.
pub const TRANSPOSE: Operator = Operator::new(infer, Eval::Direct(eval));

/// The permutation: result axis `i` is operand axis `perm[i]`.
pub fn permutation(call: &Call<'_>) -> Result<Vec<usize>, CompileError> {
    let rank = call.input(0)?.shape.len();
    let perm = call.ints(1, MAX_RANK)?;
    let perm = perm.iter().map(|p| call.axis(*p, rank)).collect::<Result<Vec<_>, _>>()?;
    let mut seen = vec![false; rank];
    perm.iter().for_each(|p| seen[*p] = true);
    if perm.len() != rank || seen.contains(&false) {
        return Err(call.invalid(format!("{perm:?} is no permutation of {rank} axes")));
    }
    Ok(perm)
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let x = call.input(0)?;
    if x.dtype.bits() < 8 {
        return Err(call.unsupported(crate::error::Unsupported::Types(x.dtype.to_string())));
    }
    let shape: Vec<usize> = permutation(call)?.into_iter().map(|p| x.shape[p]).collect();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let dense = Walk::dense(&x.ty.shape);
    let dims = permutation(args.call)?.into_iter().map(|p| dense.dims[p]).collect();
    let mut out = vec![0; args.ty().bytes()];
    Walk { offset: 0, dims }.gather(x.bytes(), &mut out, args.width(0)?);
    args.result(out)
}
