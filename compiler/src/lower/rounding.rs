//! Roundings that pointwise expressions lack, made of those that they have.

use tflc_templates::expr::{Cast, Compare, ExprBuilder, Id, Ty, Unary};

/// `x` to the nearest integer, half away from zero, as C's `roundf`; values beyond `limit` (below 2^30) are clamped to it first.
pub(super) fn away(b: &mut ExprBuilder, x: Id, limit: f32) -> Id {
    let (lo, hi) = (b.f32(-limit), b.f32(limit));
    let x = b.max(lo, x);
    let x = b.min(hi, x);
    // What truncation leaves is exact, so comparing it with one half is too.
    let whole = b.unary(Unary::Trunc, x);
    let rest = b.sub(x, whole);
    let (half, minus_half, one, minus_one, zero) = (b.f32(0.5), b.f32(-0.5), b.f32(1.0), b.f32(-1.0), b.f32(0.0));
    let up = b.compare(Compare::Ge, rest, half);
    let up = b.select(up, one, zero);
    let down = b.compare(Compare::Le, rest, minus_half);
    let step = b.select(down, minus_one, up);
    let rounded = b.add(whole, step);
    b.cast(Cast::RoundEven, Ty::I32, rounded)
}
