//! REVERSE_V2: axes walked backwards. REVERSE_SEQUENCE: the first elements of each sequence backwards. MATRIX_DIAG and
//! MATRIX_SET_DIAG: diagonals. DILATE: gaps between elements.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Int32, Int64};
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::scatter::sizes;
use crate::ops::shapes::{Walk, count};

/// REVERSE_V2.
pub const REVERSE_V2: Operator = Operator::new(infer_reverse, Eval::Direct(reverse));
/// REVERSE_SEQUENCE.
pub const REVERSE_SEQUENCE: Operator = Operator::new(infer_sequence, Eval::Direct(sequence));
/// MATRIX_DIAG.
pub const MATRIX_DIAG: Operator = Operator::new(infer_diag, Eval::Direct(diag));
/// MATRIX_SET_DIAG.
pub const MATRIX_SET_DIAG: Operator = Operator::new(infer_set_diag, Eval::Direct(set_diag));
/// DILATE.
pub const DILATE: Operator = Operator::new(infer_dilate, Eval::Direct(dilate));

fn whole_bytes(call: &Call<'_>) -> Result<(), CompileError> {
    let dtype = call.input(0)?.dtype;
    if dtype.bits() < 8 { Err(call.unsupported(Unsupported::Types(dtype.to_string()))) } else { Ok(()) }
}

/// Which axes are reversed.
pub fn reversed(call: &Call<'_>) -> Result<Vec<bool>, CompileError> {
    let mut out = vec![false; call.input(0)?.shape.len()];
    for a in call.ints(1, MAX_RANK)? {
        let axis = call.axis(a, out.len())?;
        out[axis] = true;
    }
    Ok(out)
}

fn infer_reverse(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    whole_bytes(call)?;
    reversed(call)?;
    let x = call.input(0)?;
    Ok(vec![call.result(0, x.dtype, x.shape.clone())?])
}

fn reverse(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let mut walk = Walk::dense(&x.ty.shape);
    for (dim, reversed) in walk.dims.iter_mut().zip(reversed(args.call)?) {
        if reversed && dim.0 > 0 {
            walk.offset += dim.1 * (dim.0 as isize - 1);
            dim.1 = -dim.1;
        }
    }
    let mut out = vec![0; args.ty().bytes()];
    walk.gather(x.bytes(), &mut out, args.width(0)?);
    args.result(out)
}

/// Axis of the sequences and of the batch.
fn sequence_axes(call: &Call<'_>) -> Result<(usize, usize), CompileError> {
    let x = call.input(0)?;
    let seq = call.axis(call.attrs.int("seq_dim", 0), x.shape.len())?;
    let batch = call.axis(call.attrs.int("batch_dim", 0), x.shape.len())?;
    if seq == batch || call.input(1)?.shape != [x.shape[batch]] {
        return Err(call.invalid(format!(
            "sequences along axis {seq}, lengths {:?} along axis {batch} of {:?}",
            call.input(1)?.shape,
            x.shape
        )));
    }
    Ok((seq, batch))
}

fn infer_sequence(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    whole_bytes(call)?;
    call.dtype_among(1, &[Int32, Int64])?;
    sequence_axes(call)?;
    let x = call.input(0)?;
    Ok(vec![call.result(0, x.dtype, x.shape.clone())?])
}

fn sequence(args: &Args<'_>) -> Results {
    let (x, width) = (args.value(0)?, args.width(0)?);
    let (seq, batch) = sequence_axes(args.call)?;
    let mut out = x.bytes().to_vec();
    let dense = Walk::dense(&x.ty.shape);
    for (b, length) in args.ints(1)?.into_iter().enumerate() {
        let n =
            usize::try_from(length).ok().filter(|n| *n <= x.ty.shape[seq]).ok_or_else(|| args.error(format!("a sequence of {length}")))?;
        if n == 0 {
            continue;
        }
        let mut to = dense.clone();
        to.offset += to.dims[batch].1 * b as isize;
        to.dims[batch].0 = 1;
        to.dims[seq].0 = n;
        let mut from = to.clone();
        from.offset += from.dims[seq].1 * (n as isize - 1);
        from.dims[seq].1 = -from.dims[seq].1;
        let mut part = vec![0; from.elements() * width];
        from.gather(x.bytes(), &mut part, width);
        to.scatter(&part, &mut out, width);
    }
    args.result(out)
}

fn infer_diag(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    whole_bytes(call)?;
    let x = call.input(0)?;
    let mut shape = x.shape.clone();
    shape.push(*shape.last().ok_or_else(|| call.invalid("a scalar has no diagonal"))?);
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn diag(args: &Args<'_>) -> Results {
    let (x, width) = (args.value(0)?, args.width(0)?);
    let mut out = vec![0; args.ty().bytes()];
    put_diagonals(&mut out, &args.ty().shape, x.bytes(), width);
    args.result(out)
}

/// Writes rows of `diagonals` to the diagonals of the innermost matrices of `out`.
fn put_diagonals(out: &mut [u8], shape: &[usize], diagonals: &[u8], width: usize) {
    let (rows, columns) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let n = rows.min(columns);
    let matrices = count(&shape[..shape.len() - 2]);
    let dims = vec![(matrices, (rows * columns) as isize), (n, columns as isize + 1)];
    Walk { offset: 0, dims }.scatter(diagonals, out, width);
}

fn infer_set_diag(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    whole_bytes(call)?;
    call.same_dtype(0, 1)?;
    let (x, d) = (call.input(0)?, call.input(1)?);
    let rank = x.shape.len();
    if rank < 2
        || d.shape.len() + 1 != rank
        || d.shape[..rank - 2] != x.shape[..rank - 2]
        || d.shape[rank - 2] != x.shape[rank - 2].min(x.shape[rank - 1])
    {
        return Err(call.invalid(format!("diagonals {:?} of {:?}", d.shape, x.shape)));
    }
    Ok(vec![call.result(0, x.dtype, x.shape.clone())?])
}

fn set_diag(args: &Args<'_>) -> Results {
    let mut out = args.value(0)?.bytes().to_vec();
    put_diagonals(&mut out, &args.ty().shape, args.value(1)?.bytes(), args.width(0)?);
    args.result(out)
}

fn infer_dilate(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    whole_bytes(call)?;
    call.same_dtype(0, 2)?;
    let x = call.input(0)?;
    let steps = sizes(call, 1)?;
    if steps.len() != x.shape.len() || steps.contains(&0) || call.input(2)?.elements() != 1 {
        return Err(call.invalid(format!("dilations {steps:?} of {:?}", x.shape)));
    }
    let grow = |(n, s): (&usize, &usize)| if *n == 0 { Some(0) } else { (n - 1).checked_mul(*s)?.checked_add(1) };
    let shape = x.shape.iter().zip(&steps).map(|d| grow(d).ok_or_else(|| call.invalid("sizes overflow"))).collect::<Result<Vec<_>, _>>()?;
    Ok(vec![call.result(0, x.dtype, shape)?])
}

fn dilate(args: &Args<'_>) -> Results {
    let (x, width) = (args.value(0)?, args.width(0)?);
    let mut out = args.value(2)?.bytes().repeat(args.ty().elements());
    let mut walk = Walk::dense(&args.ty().shape);
    for ((dim, n), step) in walk.dims.iter_mut().zip(&x.ty.shape).zip(sizes(args.call, 1)?) {
        *dim = (*n, dim.1 * step as isize);
    }
    walk.scatter(x.bytes(), &mut out, width);
    args.result(out)
}
