//! SUM, MEAN, REDUCE_MAX, REDUCE_MIN, REDUCE_PROD, REDUCE_ANY, REDUCE_ALL over axes.
//!
//! Quantised SUM and MEAN of 8 bits are XNNPACK's: the zero points meet in a float that is added before rounding. 16 bits and products are
//! TFLite's. Extremes compare stored values. Formulas: `docs/numerics.md`.

use crate::error::CompileError;
use crate::ir::DType::{Bool, Float16, Float32, Int8, Int16, Int32, Int64, UInt8};
use crate::ir::{AttrValue, DType, OpKind};
use crate::ops::call::{Call, Inferred, MAX_RANK, is_quantized};
use crate::ops::fixed_point::{Fixed, Rounding, round_away};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::pointwise::eval_pointwise;
use crate::ops::shapes::Walk;
use tflc_templates::expr::{Expr, Storage};

/// The attribute that holds [`element`].
pub const ELEMENT: &str = "element";

/// All reductions.
pub const REDUCE: Operator = Operator::new(infer, Eval::Direct(eval));

/// What a reduction of float32 does with each element first, where `fuse-element` has given it that.
pub fn element<'a>(call: &Call<'a>) -> Option<&'a Expr> {
    match call.attrs.get(ELEMENT) {
        Some(AttrValue::Expr(e)) => Some(e),
        _ => None,
    }
}

/// Which axes are reduced.
pub fn reduced(call: &Call<'_>) -> Result<Vec<bool>, CompileError> {
    let rank = call.input(0)?.shape.len();
    let mut reduced = vec![false; rank];
    for a in call.ints(1, 4 * MAX_RANK)? {
        // A scalar has no axes; LiteRT ignores what is said about them.
        if rank != 0 {
            reduced[call.axis(a, rank)?] = true;
        }
    }
    Ok(reduced)
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    let types: &[DType] = match call.op {
        OpKind::ReduceAny | OpKind::ReduceAll => &[Bool],
        OpKind::ReduceProd => &[Float32, Int8, Int16, Int32, Int64, Bool],
        OpKind::Mean => &[Float32, Float16, Int8, UInt8, Int16, Int32, Int64],
        _ => &[Float32, Float16, Int8, UInt8, Int16, Int32, Int64, Bool],
    };
    let dtype = call.dtype_among(0, types)?;
    let x = call.input(0)?;
    let arithmetic = matches!(call.op, OpKind::Sum | OpKind::Mean | OpKind::ReduceProd);
    if arithmetic && is_quantized(x) {
        call.quant(x)?;
        call.quant(call.output(0)?)?;
    }
    let plain = |e: &Expr| dtype == Float32 && e.inputs == [Storage::F32] && e.output == Storage::F32;
    if call.attrs.get(ELEMENT).is_some() && !element(call).is_some_and(plain) {
        return Err(call.invalid("an element expression that is none of one float32"));
    }
    let keep = call.attrs.bool("keep_dims", false);
    let shape: Vec<usize> = x.shape.iter().zip(reduced(call)?).filter(|(_, r)| keep || !r).map(|(n, r)| if r { 1 } else { *n }).collect();
    Ok(vec![call.result(0, dtype, shape)?])
}

/// How a quantised SUM, MEAN or REDUCE_PROD ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Finish {
    /// `rint(f32(f32(sum) * scale) + zero)`, clamped: XNNPACK, of the sum of stored values.
    Float {
        /// Multiplier.
        scale: f32,
        /// What is added before rounding.
        zero: f32,
    },
    /// `fixed(sum - count * zi) + zo`: TFLite's MEAN of 16 bits.
    Fixed {
        /// Multiplier, divided by the count.
        fixed: Fixed,
        /// `count * zi`.
        offset: i32,
    },
    /// `round(f32(f32(sum) * scale) + zero) + zo`, half away from zero: TFLite's SUM of 16 bits.
    Away {
        /// Multiplier.
        scale: f32,
        /// What is added before rounding.
        zero: f32,
    },
}

/// The end of a quantised SUM or MEAN of `count` elements.
pub fn finish(call: &Call<'_>, count: usize) -> Result<Finish, CompileError> {
    let (x, out) = (call.input(0)?, call.output(0)?);
    let ((si, zi), (so, zo)) = (call.quant(x)?, call.quant(out)?);
    let n = count.max(1);
    if x.dtype != Int16 {
        let ratio = si / so;
        let scale = if call.op == OpKind::Mean { ratio * (1.0 / n as f32) } else { ratio };
        return Ok(Finish::Float { scale, zero: zo as f32 - (n as i64 * zi as i64) as f32 * scale });
    }
    if call.op == OpKind::Sum {
        let scale = si / so;
        return Ok(Finish::Away { scale, zero: (-zi as f32 * scale) * n as f32 });
    }
    let fixed = Fixed::new(si as f64 / so as f64);
    let log2 = usize::BITS as i32 - 1 - n.leading_zeros() as i32;
    let shift = log2.min(32).min(31 + fixed.e);
    let m = ((fixed.m as i64) << shift.max(0)) / n as i64;
    Ok(Finish::Fixed { fixed: Fixed { m: m as i32, e: fixed.e - shift.max(0) }, offset: (n as i64 * zi as i64) as i32 })
}

impl Finish {
    /// The result's stored value, not clamped.
    pub fn apply(self, sum: i32, zero_point: i32) -> i32 {
        match self {
            Finish::Float { scale, zero } => (sum as f32 * scale + zero).round_ties_even() as i32,
            Finish::Fixed { fixed, offset } => fixed.apply(sum.wrapping_sub(offset), Rounding::HalfAway).saturating_add(zero_point),
            Finish::Away { scale, zero } => round_away(sum as f32 * scale + zero).saturating_add(zero_point),
        }
    }
}

/// Calls `f` with each result's position and the elements that it reduces, in order.
fn groups<T: Copy>(x: &[T], shape: &[usize], reduced: &[bool], mut f: impl FnMut(&[T])) {
    let dense = Walk::dense(shape);
    let part = |which: bool| dense.dims.iter().zip(reduced).filter(|(_, r)| **r == which).map(|(d, _)| *d).collect::<Vec<_>>();
    let (outer, inner) = (Walk { offset: 0, dims: part(false) }, part(true));
    let size: usize = inner.iter().map(|d| d.0).product();
    let mut group = Vec::with_capacity(size);
    outer.rows(|at, stride, n| {
        for i in 0..n {
            group.clear();
            let offset = at as isize + stride * i as isize;
            Walk { offset, dims: inner.clone() }.rows(|at, stride, n| {
                if stride == 1 {
                    group.extend_from_slice(&x[at..at + n]);
                } else {
                    group.extend((0..n).map(|i| x[(at as isize + stride * i as isize) as usize]));
                }
            });
            f(&group);
        }
    });
}

fn eval(args: &Args<'_>) -> Results {
    let x = args.value(0)?;
    let reduced = reduced(args.call)?;
    let shape = &x.ty.shape;
    let op = args.call.op;
    let count: usize = shape.iter().zip(&reduced).filter(|(_, r)| **r).map(|(n, _)| n).product();
    if x.ty.dtype.is_float() {
        let mut out = vec![];
        let floats = match element(args.call) {
            Some(element) => bytemuck::pod_collect_to_vec(eval_pointwise(element, &[x], &x.ty).bytes()),
            None => args.floats(0)?.into_owned(),
        };
        groups(&floats, shape, &reduced, |g| {
            out.push(match op {
                OpKind::Sum => sum(g),
                OpKind::Mean => sum(g) / count as f32,
                OpKind::ReduceProd => g.iter().product(),
                OpKind::ReduceMax => g.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                _ => g.iter().copied().fold(f32::INFINITY, f32::min),
            });
        });
        return args.float_result(out);
    }
    let stored = args.ints(0)?;
    let mut out: Vec<i64> = vec![];
    if is_quantized(&x.ty) && matches!(op, OpKind::Sum | OpKind::Mean) {
        let (_, zo) = args.call.quant(args.ty())?;
        let finish = finish(args.call, count)?;
        groups(&stored, shape, &reduced, |g| out.push(finish.apply(g.iter().sum::<i64>() as i32, zo) as i64));
    } else if is_quantized(&x.ty) && op == OpKind::ReduceProd {
        out = products(args, &stored, shape, &reduced, count)?;
    } else {
        let range = if x.ty.dtype == Bool { Some((0, 1)) } else { x.ty.dtype.int_range() };
        let (lo, hi) = range.unwrap_or((i64::MIN, i64::MAX));
        let total = |g: &[i64]| g.iter().fold(0i64, |a, b| a.wrapping_add(*b));
        groups(&stored, shape, &reduced, |g| {
            out.push(match op {
                // Truth values: a sum is true where one of them is.
                OpKind::Sum if x.ty.dtype == Bool => g.iter().any(|v| *v != 0) as i64,
                OpKind::Sum => total(g),
                OpKind::Mean => total(g).checked_div(count as i64).unwrap_or(0),
                OpKind::ReduceProd => g.iter().fold(1i64, |a, b| a.wrapping_mul(*b)),
                OpKind::ReduceMax => g.iter().copied().max().unwrap_or(lo),
                OpKind::ReduceMin => g.iter().copied().min().unwrap_or(hi),
                OpKind::ReduceAny => g.iter().any(|v| *v != 0) as i64,
                _ => g.iter().all(|v| *v != 0) as i64,
            });
        });
    }
    // Plain integers wrap.
    let (lo, hi) = x.ty.dtype.int_range().filter(|_| is_quantized(&x.ty)).unwrap_or((i64::MIN, i64::MAX));
    match x.ty.dtype {
        Int64 => args.result(out),
        Int32 => args.result(out.into_iter().map(|v| v as i32).collect()),
        Int16 => args.result(out.into_iter().map(|v| v.clamp(lo, hi) as i16).collect()),
        Bool => args.result(out.into_iter().map(|v| v as u8).collect()),
        _ => args.result(out.into_iter().map(|v| v.clamp(lo, hi) as u8).collect()),
    }
}

/// Sums in eight lanes, then their sum.
fn sum(g: &[f32]) -> f32 {
    let mut lanes = [0f32; 8];
    let (chunks, rest) = g.as_chunks::<8>();
    for c in chunks {
        for l in 0..8 {
            lanes[l] += c[l];
        }
    }
    lanes.iter().sum::<f32>() + rest.iter().sum::<f32>()
}

/// TFLite's quantised product: each factor is rescaled to the n-th root of the output's scale.
fn products(args: &Args<'_>, stored: &[i64], shape: &[usize], reduced: &[bool], count: usize) -> Result<Vec<i64>, EvalError> {
    let ((si, zi), (so, zo)) = (args.call.quant(&args.value(0)?.ty)?, args.call.quant(args.ty())?);
    let fixed = Fixed::new(si as f64 / (so as f64).powf(1.0 / count.max(1) as f64));
    let mut out = vec![];
    groups(stored, shape, reduced, |g| {
        let mut product = g.first().map_or(1, |q| q - zi as i64);
        for q in g.iter().skip(1) {
            product = fixed.apply_i64(product.wrapping_mul(q - zi as i64)) as i64;
        }
        out.push(fixed.apply_i64(product) as i64 + zo as i64);
    });
    Ok(out)
}
