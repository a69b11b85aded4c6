//! ATAN2 of binary64, out of the arithmetic that expressions have.
//!
//! The smaller magnitude over the larger one is at most 1; above tan(pi/8) the arc tangent is pi/4 more than that of (t - 1) / (t + 1), so a series in t up to
//! 0.4143 is enough. Within a few units in the last place.

use std::f64::consts::{FRAC_PI_2, FRAC_PI_4, PI};
use tflc_templates::expr::{Binary, Compare, ExprBuilder, Id, Unary};

/// Terms of the series `t - t^3/3 + t^5/5 - ...`; the first one left out is below 2^-58 of the sum.
const TERMS: i32 = 22;

/// The angle of the point (`x`, `y`), as C's `atan2(y, x)`.
pub(super) fn emit(b: &mut ExprBuilder, y: Id, x: Id) -> Id {
    let (zero, one, infinity) = (b.f64(0.0), b.f64(1.0), b.f64(f64::INFINITY));
    let (ay, ax) = (b.unary(Unary::Abs, y), b.unary(Unary::Abs, x));
    let (small, large) = (b.min(ay, ax), b.max(ay, ax));
    // 0 / 0 counts as 0, infinity / infinity as 1.
    let ratio = b.binary(Binary::Div, small, large);
    let none = b.compare(Compare::Eq, large, zero);
    let ratio = b.select(none, zero, ratio);
    let both = b.compare(Compare::Eq, small, infinity);
    let ratio = b.select(both, one, ratio);
    let edge = b.f64(0.414_213_562_373_095_1);
    let above = b.compare(Compare::Gt, ratio, edge);
    let (less, more) = (b.sub(ratio, one), b.add(ratio, one));
    let turned = b.binary(Binary::Div, less, more);
    let t = b.select(above, turned, ratio);
    let square = b.mul(t, t);
    let coefficient = |k: i32| (if k % 2 == 0 { 1.0 } else { -1.0 }) / f64::from(2 * k + 1);
    let mut p = b.f64(coefficient(TERMS - 1));
    for k in (1..TERMS - 1).rev() {
        let product = b.mul(p, square);
        let next = b.f64(coefficient(k));
        p = b.add(product, next);
    }
    let p = b.mul(p, square);
    let rest = b.mul(p, t);
    let a = b.add(t, rest);
    let quarter = b.f64(FRAC_PI_4);
    let far = b.add(quarter, a);
    let a = b.select(above, far, a);
    let (half, whole) = (b.f64(FRAC_PI_2), b.f64(PI));
    let steep = b.compare(Compare::Gt, ay, ax);
    let turned = b.sub(half, a);
    let a = b.select(steep, turned, a);
    let left = is_negative(b, x);
    let turned = b.sub(whole, a);
    let a = b.select(left, turned, a);
    let below = is_negative(b, y);
    let minus = b.unary(Unary::Neg, a);
    let a = b.select(below, minus, a);
    let sum = b.add(x, y);
    let (ordered_x, ordered_y) = (b.compare(Compare::Eq, x, x), b.compare(Compare::Eq, y, y));
    let ordered = b.binary(Binary::And, ordered_x, ordered_y);
    b.select(ordered, a, sum)
}

/// Whether the sign of a number is set, of zeros too, which their reciprocals tell apart.
fn is_negative(b: &mut ExprBuilder, x: Id) -> Id {
    let (zero, one) = (b.f64(0.0), b.f64(1.0));
    let reciprocal = b.binary(Binary::Div, one, x);
    let is_zero = b.compare(Compare::Eq, x, zero);
    let probe = b.select(is_zero, reciprocal, x);
    b.compare(Compare::Lt, probe, zero)
}

#[cfg(test)]
mod tests {
    use crate::ir::{Attrs, DType, OpKind, TensorType};
    use crate::ops::table::tests::apply;
    use crate::ops::value::Value;

    #[test]
    fn every_quadrant_edge_and_size_is_that_of_the_library() {
        let list = [0.0, -0.0, 1.0, -1.0, 0.3, -0.7, 1e-300, -1e300, 5.0, 0.41, 0.42, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        let pairs: Vec<(f64, f64)> = list.iter().flat_map(|y| list.iter().map(move |x| (*y, *x))).collect();
        let ty = TensorType::new(DType::Float64, [pairs.len()]);
        let y = Value::new(ty.clone(), pairs.iter().map(|p| p.0).collect::<Vec<f64>>());
        let x = Value::new(ty.clone(), pairs.iter().map(|p| p.1).collect::<Vec<f64>>());
        let got = apply(OpKind::Atan2, Attrs::new(), &[&y, &x], &[ty]).unwrap();
        for ((y, x), got) in pairs.iter().zip(got[0].elements::<f64>().iter()) {
            let want = y.atan2(*x);
            let same = got.is_nan() == want.is_nan() && (want.is_nan() || (got - want).abs() <= 4.0 * f64::EPSILON * want.abs());
            assert!(same && (want.is_nan() || got.is_sign_negative() == want.is_sign_negative()), "atan2({y}, {x}) = {got}, not {want}");
        }
    }
}
