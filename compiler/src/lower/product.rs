//! REDUCE_PROD of quantised integers: every step rounds, so the factors are folded in their order.
//!
//! `c = x_0`, `c = MB16(c * x_j)` for the others, `MB16(c) + zo` with `x = q - zi`. Source: TFLite, `reference/reduce.h`; formulas in
//! `compiler/docs/numerics.md`.

use super::constants::element_bytes;
use super::context::Cx;
use super::grain::grain;
use super::movement::{Part, copy_strided};
use crate::error::{CompileError, Unsupported};
use crate::ir::TensorId;
use crate::ops::activation::emit_clamp;
use crate::ops::fixed_point::Fixed;
use crate::ops::storage::storage;
use tflc_templates::cpu::fold::FoldSpec;
use tflc_templates::cpu::pointwise::row_major;
use tflc_templates::expr::{Binary, Cast, ExprBuilder, Id, Storage, Ty};

/// Lowers the product of `n` elements each of `x` over the marked axes.
pub(super) fn lower(cx: &mut Cx<'_, '_>, (x, y): (TensorId, TensorId), reduced: &[bool], n: usize) -> Result<(), CompileError> {
    let (ty, out) = (cx.ty(x), cx.ty(y));
    let (Some(((si, zi), (so, zo))), Some(input)) = (ty.quant.per_tensor().zip(out.quant.per_tensor()), storage(ty.dtype)) else {
        return Err(cx.unsupported(Unsupported::Quantization("a product needs one scale and zero point".into())));
    };
    let (lo, hi) = ty.dtype.int_range().ok_or_else(|| cx.unsupported(Unsupported::Types(ty.dtype.to_string())))?;
    let fixed = Fixed::new(f64::from(si) / f64::from(so).powf(1.0 / n.max(1) as f64));
    let mut b = ExprBuilder::new([input]);
    let first = centred(&mut b, 0, zi);
    let first = b.finish(first, Storage::I64);
    let mut b = ExprBuilder::new([Storage::I64, input]);
    let (acc, v) = (b.input(0), centred(&mut b, 1, zi));
    let product = b.mul(acc, v);
    let step = scaled(&mut b, product, fixed);
    let step = b.finish(step, Storage::I64);
    let mut b = ExprBuilder::new([Storage::I64]);
    let acc = b.input(0);
    let v = scaled(&mut b, acc, fixed);
    let v = b.cast(Cast::Value, Ty::I32, v);
    let v = emit_clamp(&mut b, v, (lo - zo) as i32, (hi - zo) as i32);
    let zero = b.i32(zo as i32);
    let v = b.add(v, zero);
    let finish = b.finish(v, input);

    let (mut from, to) = (cx.operand(x)?, cx.operand(y)?);
    let size = |dims: &[usize]| dims.iter().product::<usize>();
    let kept = size(&out.shape);
    let first_axis = reduced.iter().position(|r| *r).unwrap_or(reduced.len());
    let after = reduced.iter().rposition(|r| *r).map_or(first_axis, |i| i + 1);
    let together = reduced[first_axis..after].iter().zip(&ty.shape[first_axis..after]).all(|(r, d)| *r || *d == 1);
    let (mut outer, mut inner) = (size(&ty.shape[..first_axis]), size(&ty.shape[after..]));
    if !together {
        // Kept dimensions come first, the factors of a product lie side by side.
        let order: Vec<usize> = (0..reduced.len()).filter(|i| !reduced[*i]).chain((0..reduced.len()).filter(|i| reduced[*i])).collect();
        let bytes = element_bytes(cx, ty)?;
        let own = row_major(&ty.shape);
        let dims: Vec<usize> = order.iter().map(|&i| ty.shape[i]).collect();
        let turned = cx.workspace(ty.bytes());
        let source = Part { base: from, offset: 0, strides: order.iter().map(|&i| own[i]).collect() };
        copy_strided(cx, &dims, source, Part::dense(turned, &dims), bytes);
        (from, outer, inner) = (turned, kept, 1);
    }
    if n == 0 {
        return Err(cx.unsupported(Unsupported::Shape("a product of no elements".into())));
    }
    let spec = FoldSpec { outer, n, inner, input, first, step, finish };
    let caps = cx.caps().clone();
    let units = spec.units();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), vec![from, to], units, grain(units, 5.0 + (n * inner) as f64 * 2.0));
    Ok(())
}

/// Input `i` less the zero point, as I64.
fn centred(b: &mut ExprBuilder, i: usize, zero_point: i64) -> Id {
    let q = b.input(i);
    let q = b.cast(Cast::Value, Ty::I64, q);
    let zero = b.i64(zero_point);
    b.sub(q, zero)
}

/// `(v * fraction + half) >> shift`: the fraction in 15 bits, the result in 32.
fn scaled(b: &mut ExprBuilder, v: Id, fixed: Fixed) -> Id {
    let shift = i64::from(fixed.reduced_shift());
    let fraction = b.i64(i64::from(fixed.reduced()));
    let product = b.mul(v, fraction);
    let half = b.i64(1 << (shift - 1));
    let sum = b.add(product, half);
    let shift = b.i64(shift);
    let shifted = b.binary(Binary::Shr, sum, shift);
    let low = b.cast(Cast::Value, Ty::I32, shifted);
    b.cast(Cast::Value, Ty::I64, low)
}
