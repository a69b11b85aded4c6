//! Layer normalisation of 16-bit gate sums in fixed point, as the evaluator computes it ([`crate::ops::lstm_integer`]).
//!
//! Sums and squares of each row are 64 bits wide; mean, multiplier and shift of the row are one word each, found by a loop over the rows. Source: TFLite
//! `portable_tensor_utils.cc`, `PortableApplyLayerNorm`, and `kernels/internal/common.h`, `GetInvSqrtQuantizedMultiplierExp`.

use super::product::reduce;
use super::{Rows, rows_loop};
use crate::lower::context::{Cx, Operand};
use crate::lower::pointwise::emit;
use crate::ops::activation::emit_clamp;
use crate::ops::fixed_point::{Fixed, Rounding, emit_by};
use crate::ops::gemmlowp_expr::shift_half_away;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::reduce::{Combine, ReduceSpec};
use tflc_templates::expr::{Binary, Cast, Compare, Expr, ExprBuilder, Id, Storage, Ty, Unary};

/// Normalises `[batch, n]` dense sums and writes them to `to`; `norm` is the multiplier of coefficients and the variance where it vanishes.
pub(super) fn normalize(
    cx: &mut Cx<'_, '_>,
    [batch, n]: [usize; 2],
    sums: Operand,
    to: Rows,
    (weights, bias): (Operand, Operand),
    norm: (Fixed, i32),
) {
    let (total, squares) = (cx.workspace(batch * 8), cx.workspace(batch * 8));
    for (out, squared) in [(total, false), (squares, true)] {
        let mut b = ExprBuilder::new([Storage::I16]);
        let v = b.input(0);
        let v = b.cast(Cast::Value, Ty::I64, v);
        let v = if squared { b.mul(v, v) } else { v };
        let element = b.finish(v, Storage::I64);
        reduce(cx, ReduceSpec::new(&[batch, n], &[false, true], Combine::Sum, element, Expr::identity(Storage::I64)), vec![sums, out]);
    }
    let [mean, fraction, shift] = [cx.workspace(batch * 4), cx.workspace(batch * 4), cx.workspace(batch * 4)];
    let row = |at| Rows::new(at, batch);
    for (k, out) in [mean, fraction, shift].into_iter().enumerate() {
        let mut b = ExprBuilder::new([Storage::I64, Storage::I64]);
        let (sum, square) = (b.input(0), b.input(1));
        let mean = mean_of(&mut b, sum, n);
        let v = match k {
            0 => mean,
            _ => {
                let variance = variance_of(&mut b, square, mean, n, norm.1);
                let (fraction, shift) = inverse_sqrt(&mut b, variance);
                if k == 1 { fraction } else { shift }
            }
        };
        rows_loop(cx, [1, batch], &[row(total), row(squares)], row(out), b.finish(v, Storage::I32));
    }
    let storages = [Storage::I16, Storage::I32, Storage::I32, Storage::I32, Storage::I16, Storage::I32];
    let mut b = ExprBuilder::new(storages);
    let [v, mean_id, fraction_id, shift_id, weight, bias_id] = std::array::from_fn(|i| b.input(i));
    let unit = b.i32(1024);
    let v = b.mul(v, unit);
    let v = b.sub(v, mean_id);
    let v = emit_by(&mut b, v, fraction_id, None, shift_id, Rounding::HalfAway);
    let v = b.mul(v, weight);
    let v = b.add(v, bias_id);
    let v = thousandth(&mut b, v);
    let v = Fixed { m: norm.0.m, e: norm.0.e + 12 }.emit(&mut b, v, Rounding::HalfAway);
    let v = emit_clamp(&mut b, v, -32768, 32767);
    let (dense, each, column) = (vec![n as i64, 1], vec![1, 0], vec![0, 1]);
    let inputs = vec![dense, each.clone(), each.clone(), each, column.clone(), column];
    let spec = PointwiseSpec::new(&[batch, n], inputs, vec![to.stride as i64, 1], b.finish(v, Storage::I16));
    emit(cx, spec, vec![sums, mean, fraction, shift, weights, bias, to.at]);
}

/// `sum * 1024 / n`, towards zero.
fn mean_of(b: &mut ExprBuilder, sum: Id, n: usize) -> Id {
    let (unit, n) = (b.i64(1024), b.i64(n as i64));
    let scaled = b.mul(sum, unit);
    let mean = b.binary(Binary::Div, scaled, n);
    b.cast(Cast::Value, Ty::I32, mean)
}

/// `(squares * (2^20 / n) - mean^2) / 2^20`, towards zero, or the guard where that is below 1.
fn variance_of(b: &mut ExprBuilder, squares: Id, mean: Id, n: usize, guard: i32) -> Id {
    let (share, unit) = (b.i64((1 << 20) / n as i64), b.i64(1 << 20));
    let wide = b.cast(Cast::Value, Ty::I64, mean);
    let mean2 = b.mul(wide, wide);
    let scaled = b.mul(squares, share);
    let rest = b.sub(scaled, mean2);
    let variance = b.binary(Binary::Div, rest, unit);
    let variance = b.cast(Cast::Value, Ty::I32, variance);
    let (one, guard) = (b.i32(1), b.i32(guard));
    let vanishes = b.compare(Compare::Lt, variance, one);
    b.select(vanishes, guard, variance)
}

/// `x << by`, saturated.
fn saturating_shl(b: &mut ExprBuilder, x: Id, by: i64) -> Id {
    let x = b.cast(Cast::Value, Ty::I64, x);
    let by = b.i64(by);
    let x = b.binary(Binary::Shl, x, by);
    saturate(b, x)
}

fn saturate(b: &mut ExprBuilder, x: Id) -> Id {
    let (lo, hi) = (b.i64(i64::from(i32::MIN)), b.i64(i64::from(i32::MAX)));
    let x = b.max(x, lo);
    let x = b.min(x, hi);
    b.cast(Cast::Value, Ty::I32, x)
}

/// Multiplier and right shift of `1 / sqrt(input)`, by Newton's method with three integer bits.
fn inverse_sqrt(b: &mut ExprBuilder, input: Id) -> (Id, Id) {
    let (zero, one) = (b.i32(0), b.i32(1));
    let large = b.i32((1 << 29) - 1);
    let large = b.compare(Compare::Gt, input, large);
    let two = b.i32(2);
    let quarter = b.binary(Binary::Shr, input, two);
    let reduced = b.select(large, quarter, input);
    let more = b.cast(Cast::Value, Ty::I32, large);
    // Pairs of leading bits that are free.
    let mut left = zero;
    for j in 0..=13 {
        let bound = b.i32(1 << (27 - 2 * j));
        let below = b.compare(Compare::Lt, reduced, bound);
        let below = b.cast(Cast::Value, Ty::I32, below);
        left = b.add(left, below);
    }
    let eleven = b.i32(11);
    let shift = b.add(eleven, more);
    let shift = b.sub(shift, left);
    let bits = b.add(left, left);
    let scaled = b.binary(Binary::Shl, reduced, bits);
    let x = b.binary(Binary::Shr, scaled, one);
    let half_x = shift_half_away(b, x, 1);
    let half_three = b.i32((1 << 28) + (1 << 27));
    let mut y = b.i32(1 << 28);
    for _ in 0..5 {
        let square = b.binary(Binary::MulRoundHi, y, y);
        let cube = b.binary(Binary::MulRoundHi, square, y);
        let cube = saturating_shl(b, cube, 6);
        let left = b.binary(Binary::MulRoundHi, half_three, y);
        let right = b.binary(Binary::MulRoundHi, half_x, cube);
        let (wide, less) = (b.cast(Cast::Value, Ty::I64, left), b.cast(Cast::Value, Ty::I64, right));
        let rest = b.sub(wide, less);
        let rest = saturate(b, rest);
        y = saturating_shl(b, rest, 3);
    }
    let half_sqrt_2 = b.i32(1_518_500_250);
    let m = b.binary(Binary::MulRoundHi, y, half_sqrt_2);
    let back = b.unary(Unary::Neg, shift);
    let back = b.max(back, zero);
    let m = b.binary(Binary::Shl, m, back);
    let shift = b.max(shift, zero);
    // Of 1 and less, the reciprocal is as good as 1.
    let small = b.compare(Compare::Le, input, one);
    let most = b.i32(i32::MAX);
    (b.select(small, most, m), b.select(small, zero, shift))
}

/// `(v + 512 * sign(v)) / 1024`, towards zero.
fn thousandth(b: &mut ExprBuilder, v: Id) -> Id {
    let wide = b.cast(Cast::Value, Ty::I64, v);
    let magnitude = b.unary(Unary::Abs, wide);
    let (half, bits, zero) = (b.i64(512), b.i64(10), b.i64(0));
    let sum = b.add(magnitude, half);
    let part = b.binary(Binary::Shr, sum, bits);
    let minus = b.unary(Unary::Neg, part);
    let below = b.compare(Compare::Lt, wide, zero);
    let part = b.select(below, minus, part);
    b.cast(Cast::Value, Ty::I32, part)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::unary_quant::inverse_sqrt_multiplier;
    use tflc_templates::expr::interpret::{Scalar, interpret};

    #[test]
    fn the_inverse_square_root_is_the_evaluators() {
        let part = |second: bool| {
            let mut b = ExprBuilder::new([Storage::I32]);
            let x = b.input(0);
            let (m, shift) = inverse_sqrt(&mut b, x);
            b.finish(if second { shift } else { m }, Storage::I32)
        };
        let (m, shift) = (part(false), part(true));
        let values =
            (0..31).flat_map(|b| [(1i32 << b) - 1, 1 << b, (1 << b) + 1, (1 << b) + (1 << b) / 3]).chain([i32::MAX, 7, 1000, 123_456]);
        for x in values {
            let expected = inverse_sqrt_multiplier(x);
            let got = [&m, &shift].map(|e| interpret(e, &[Scalar::I32(x)]));
            assert_eq!(got, [Scalar::I32(expected.0), Scalar::I32(-expected.1)], "{x}");
        }
    }
}
