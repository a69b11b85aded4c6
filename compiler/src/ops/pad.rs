//! PAD, PADV2, MIRROR_PAD: borders around the operand.
//!
//! PAD fills with zero, which for quantised tensors is the zero point of the result; PADV2 fills with a value.

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, OpKind};
use crate::ops::call::{Call, Inferred, MAX_RANK};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::shapes::Walk;

/// PAD and PADV2.
pub const PAD: Operator = Operator::new(infer, Eval::Direct(eval));
/// PADV2.
pub const PADV2: Operator = Operator::new(infer, Eval::Direct(eval));
/// MIRROR_PAD: borders repeat the operand, mirrored.
pub const MIRROR_PAD: Operator = Operator::new(infer, Eval::Direct(mirror));

/// Elements before and after each axis.
pub fn paddings(call: &Call<'_>) -> Result<Vec<(usize, usize)>, CompileError> {
    let (x, p) = (call.input(0)?, call.input(1)?);
    let flat = call.ints(1, 2 * MAX_RANK)?;
    if p.shape != [x.shape.len(), 2] {
        return Err(call.invalid(format!("paddings of shape {:?} for {} dimensions", p.shape, x.shape.len())));
    }
    let size = |v: i64| usize::try_from(v).ok().filter(|v| *v <= 1 << 31).ok_or_else(|| call.invalid(format!("paddings {flat:?}")));
    flat.chunks_exact(2).map(|p| Ok((size(p[0])?, size(p[1])?))).collect()
}

fn infer(call: &Call<'_>) -> Inferred {
    let valued = call.op == OpKind::Padv2;
    call.arity(2, if valued { 3 } else { 2 }, 1)?;
    let x = call.input(0)?;
    if x.dtype.bits() < 8 {
        return Err(call.unsupported(Unsupported::Types(x.dtype.to_string())));
    }
    if call.optional(2).is_some() {
        call.same_dtype(0, 2)?;
        if call.input(2)?.elements() != 1 {
            return Err(call.invalid(format!("a padding value of shape {:?}", call.input(2)?.shape)));
        }
    }
    let paddings = paddings(call)?;
    if call.op == OpKind::MirrorPad {
        let offset = mirror_offset(call)?;
        if x.shape.iter().zip(&paddings).any(|(n, p)| p.0.max(p.1) > n.saturating_sub(offset)) {
            return Err(call.invalid(format!("paddings {paddings:?} of shape {:?}", x.shape)));
        }
    }
    let shape: Vec<usize> = x.shape.iter().zip(&paddings).map(|(n, p)| n + p.0 + p.1).collect();
    Ok(vec![call.result(0, x.dtype, shape)?])
}

/// The bytes of the element that fills the borders; `None` where it is an operand without a known value.
pub fn fill_value(call: &Call<'_>) -> Result<Option<Vec<u8>>, CompileError> {
    let (x, out) = (call.input(0)?, call.output(0)?);
    if let Some(value) = call.optional(2) {
        return Ok(value.data.map(|d| d.to_vec()));
    }
    let zero = match (x.dtype, out.quant.per_tensor()) {
        (DType::Int8 | DType::UInt8 | DType::Int16, Some((_, z))) => z,
        _ => 0,
    };
    Ok(Some(zero.to_le_bytes().iter().chain(&[0; 8]).take(x.dtype.bits() / 8).copied().collect()))
}

fn eval(args: &Args<'_>) -> Results {
    let (x, width) = (args.value(0)?, args.width(0)?);
    let fill = fill_value(args.call)?.ok_or_else(|| args.error("the padding value is not known"))?;
    let mut out = fill.repeat(args.ty().elements());
    let mut walk = Walk::dense(&args.ty().shape);
    for ((dim, n), (before, _)) in walk.dims.iter_mut().zip(&x.ty.shape).zip(paddings(args.call)?) {
        walk.offset += dim.1 * before as isize;
        dim.0 = *n;
    }
    walk.scatter(x.bytes(), &mut out, width);
    args.result(out)
}

/// 1 where the border does not repeat the edge (`REFLECT`), else 0 (`SYMMETRIC`).
pub fn mirror_offset(call: &Call<'_>) -> Result<usize, CompileError> {
    match call.attrs.name("mode", "REFLECT") {
        "REFLECT" => Ok(1),
        "SYMMETRIC" => Ok(0),
        other => Err(call.unsupported(Unsupported::Option("mode".into(), other.into()))),
    }
}

fn mirror(args: &Args<'_>) -> Results {
    let (x, width) = (args.value(0)?, args.width(0)?);
    let offset = mirror_offset(args.call)?;
    let places: Vec<Vec<usize>> =
        x.ty.shape
            .iter()
            .zip(paddings(args.call)?)
            .map(|(n, (before, after))| {
                let left = (0..before).map(|i| before - i - 1 + offset);
                let right = (0..after).map(|i| n - 1 - offset - i);
                left.chain(0..*n).chain(right).collect()
            })
            .collect();
    args.result(gather_places(x.bytes(), &x.ty.shape, &places, width))
}

/// Elements at all combinations of the given indices of each axis.
pub fn gather_places(from: &[u8], shape: &[usize], places: &[Vec<usize>], width: usize) -> Vec<u8> {
    let strides = crate::ops::shapes::strides(shape);
    let mut offsets = vec![0usize];
    for (places, stride) in places.iter().zip(strides) {
        offsets = offsets.iter().flat_map(|o| places.iter().map(move |p| o + p * stride)).collect();
    }
    offsets.iter().flat_map(|o| from[o * width..(o + 1) * width].iter().copied()).collect()
}
