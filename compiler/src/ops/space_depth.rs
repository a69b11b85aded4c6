//! SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND: blocks of pixels become channels or images, and back.

use crate::error::{CompileError, Unsupported};
use crate::ir::OpKind;
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::pad::fill_value;
use crate::ops::shapes::{Walk, strides};

/// SPACE_TO_DEPTH and DEPTH_TO_SPACE.
pub const DEPTH: Operator = Operator::new(infer_depth, Eval::Direct(eval_depth));
/// SPACE_TO_BATCH_ND.
pub const SPACE_TO_BATCH_ND: Operator = Operator::new(infer_to_batch, Eval::Direct(to_batch));
/// BATCH_TO_SPACE_ND.
pub const BATCH_TO_SPACE_ND: Operator = Operator::new(infer_to_space, Eval::Direct(to_space));

fn whole_bytes(call: &Call<'_>) -> Result<(), CompileError> {
    let dtype = call.input(0)?.dtype;
    if dtype.bits() < 8 { Err(call.unsupported(Unsupported::Types(dtype.to_string()))) } else { Ok(()) }
}

fn infer_depth(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    whole_bytes(call)?;
    let [n, h, w, c] = call.dims::<4>(0)?;
    let b = call.size_attr("block_size", 0)?;
    let wrong = || call.invalid(format!("blocks of {b} in {:?}", [n, h, w, c]));
    let shape = if call.op == OpKind::SpaceToDepth {
        if h % b != 0 || w % b != 0 {
            return Err(wrong());
        }
        [n, h / b, w / b, b.checked_mul(b).and_then(|b| b.checked_mul(c)).ok_or_else(wrong)?]
    } else {
        let square = b.checked_mul(b).filter(|s| c % s == 0).ok_or_else(wrong)?;
        [n, h.checked_mul(b).ok_or_else(wrong)?, w.checked_mul(b).ok_or_else(wrong)?, c / square]
    };
    Ok(vec![call.result(0, call.input(0)?.dtype, shape)?])
}

fn eval_depth(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let b = args.call.size_attr("block_size", 1)?;
    let to_depth = args.call.op == OpKind::SpaceToDepth;
    // Either way: the image with blocks as rows of pixels, axes exchanged.
    let [n, h, w, c] = if to_depth { args.call.dims::<4>(0)? } else { <[usize; 4]>::try_from(&args.ty().shape[..]).unwrap_or_default() };
    let (rows, columns) = (h / b, w / b);
    let split = if to_depth { [n, rows, b, columns, b, c] } else { [n, rows, columns, b, b, c] };
    let order = [0, 1, 3, 2, 4, 5];
    let own = strides(&split);
    let walk = Walk { offset: 0, dims: order.iter().map(|i| (split[*i], own[*i] as isize)).collect() };
    let mut out = vec![0; args.ty().bytes()];
    walk.gather(x.bytes(), &mut out, args.width(0)?);
    args.result(out)
}

/// Block sizes and borders of the spatial axes, which follow the batch.
pub fn blocks(call: &Call<'_>) -> Result<Vec<(usize, usize, usize)>, CompileError> {
    let rank = call.input(0)?.shape.len();
    let sizes = call.ints(1, MAX_RANK)?;
    let borders = call.ints(2, 2 * MAX_RANK)?;
    if !(3..=4).contains(&rank) || sizes.len() != rank - 2 || borders.len() != 2 * sizes.len() {
        return Err(call.invalid(format!("blocks {sizes:?}, borders {borders:?} for {rank} dimensions")));
    }
    let size = |v: i64, least: i64| {
        usize::try_from(v)
            .ok()
            .filter(|_| (least..=1 << 31).contains(&v))
            .ok_or_else(|| call.invalid(format!("blocks {sizes:?}, borders {borders:?}")))
    };
    sizes.iter().zip(borders.chunks_exact(2)).map(|(s, b)| Ok((size(*s, 1)?, size(b[0], 0)?, size(b[1], 0)?))).collect()
}

fn infer_to_batch(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    whole_bytes(call)?;
    let mut shape = call.input(0)?.shape.clone();
    for (i, (size, before, after)) in blocks(call)?.into_iter().enumerate() {
        let padded = shape[i + 1] + before + after;
        if padded % size != 0 {
            return Err(call.invalid(format!("{padded} elements in blocks of {size}")));
        }
        shape[i + 1] = padded / size;
        shape[0] = shape[0].checked_mul(size).ok_or_else(|| call.invalid("sizes overflow"))?;
    }
    Ok(vec![call.result(0, call.input(0)?.dtype, shape)?])
}

/// For each image of the batched side: the image of the other side and the offset in its block.
fn phases(blocks: &[(usize, usize, usize)], batch: usize) -> impl Iterator<Item = (usize, usize, Vec<usize>)> + '_ {
    let inner: usize = blocks.iter().map(|b| b.0).product();
    (0..batch * inner).map(move |image| {
        let mut phase = image / batch;
        let mut at: Vec<usize> = blocks.iter().rev().map(|b| (phase % b.0, phase /= b.0).0).collect();
        at.reverse();
        (image, image % batch, at)
    })
}

/// The elements that an image of the batched side and its origin share: walks in each.
fn overlap(
    spaced: &[usize],
    batched: &[usize],
    blocks: &[(usize, usize, usize)],
    image: usize,
    origin: usize,
    phase: &[usize],
) -> (Walk, Walk) {
    let (mut s, mut b) = (Walk::dense(&spaced[1..]), Walk::dense(&batched[1..]));
    s.offset = (origin * spaced[1..].iter().product::<usize>()) as isize;
    b.offset = (image * batched[1..].iter().product::<usize>()) as isize;
    for (i, (size, before, _)) in blocks.iter().enumerate() {
        // Batched element k is spaced element k * size + phase - before.
        let first = before.saturating_sub(phase[i]).div_ceil(*size).min(batched[i + 1]);
        let room = (spaced[i + 1] + before).saturating_sub(phase[i]);
        let last = room.div_ceil(*size).min(batched[i + 1]).max(first);
        let start = (first * size + phase[i]).saturating_sub(*before);
        s.offset += start as isize * s.dims[i].1;
        b.offset += first as isize * b.dims[i].1;
        s.dims[i] = (last - first, s.dims[i].1 * *size as isize);
        b.dims[i].0 = last - first;
    }
    (s, b)
}

fn to_batch(args: &Args<'_>) -> Results {
    let (x, width, blocks) = (args.value(0)?, args.width(0)?, blocks(args.call)?);
    // Operand 2 holds the borders, so the fill is the zero of the result's type.
    let zero = {
        let mut c = args.call.clone();
        c.inputs.truncate(2);
        fill_value(&c)?.unwrap_or_default()
    };
    let mut out = zero.repeat(args.ty().elements());
    for (image, origin, phase) in phases(&blocks, x.ty.shape[0]) {
        let (s, b) = overlap(&x.ty.shape, &args.ty().shape, &blocks, image, origin, &phase);
        let mut part = vec![0; s.elements() * width];
        s.gather(x.bytes(), &mut part, width);
        b.scatter(&part, &mut out, width);
    }
    args.result(out)
}

fn infer_to_space(call: &Call<'_>) -> Inferred {
    call.arity(3, 3, 1)?;
    whole_bytes(call)?;
    let mut shape = call.input(0)?.shape.clone();
    for (i, (size, before, after)) in blocks(call)?.into_iter().enumerate() {
        let whole = shape[i + 1].checked_mul(size).ok_or_else(|| call.invalid("sizes overflow"))?;
        if shape[0] % size != 0 || before + after > whole {
            return Err(call.invalid(format!("blocks of {size}, borders {before} and {after}, of {:?}", call.input(0)?.shape)));
        }
        shape[i + 1] = whole - before - after;
        shape[0] /= size;
    }
    Ok(vec![call.result(0, call.input(0)?.dtype, shape)?])
}

fn to_space(args: &Args<'_>) -> Results {
    let (x, width, blocks) = (args.value(0)?, args.width(0)?, blocks(args.call)?);
    let mut out = vec![0; args.ty().bytes()];
    for (image, origin, phase) in phases(&blocks, args.ty().shape[0]) {
        let (s, b) = overlap(&args.ty().shape, &x.ty.shape, &blocks, image, origin, &phase);
        let mut part = vec![0; b.elements() * width];
        b.gather(x.bytes(), &mut part, width);
        s.scatter(&part, &mut out, width);
    }
    args.result(out)
}
