//! Lane-wise arithmetic on the bits of lanes. Integers are computed as 64-bit ones, sign- or zero-extended, and cut to the lane.

use crate::op::*;
use crate::types::Elem;

/// Range that a saturating narrowing keeps to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Range {
    Signed,
    Unsigned,
}

/// Sign-extends the low `bits` bits.
#[inline]
pub(crate) fn signed(v: u64, bits: u32) -> i64 {
    ((v << (64 - bits)) as i64) >> (64 - bits)
}

/// The bits of `v` saturated to a range of `bits` bits.
#[inline]
pub(crate) fn saturate(v: i64, bits: u32, range: Range) -> u64 {
    let mask = u64::MAX >> (64 - bits);
    match range {
        Range::Signed => v.clamp(-(1i64 << (bits - 1)), ((1u64 << (bits - 1)) - 1) as i64) as u64 & mask,
        Range::Unsigned if bits == 64 => v.max(0) as u64,
        Range::Unsigned => v.clamp(0, mask as i64) as u64,
    }
}

#[inline]
fn f32_of(v: u64) -> f32 {
    f32::from_bits(v as u32)
}

#[inline]
fn map(dst: &mut [u64], a: &[u64], f: impl Fn(u64) -> u64) {
    for (d, &x) in dst.iter_mut().zip(a) {
        *d = f(x);
    }
}

#[inline]
fn map2(dst: &mut [u64], a: &[u64], b: &[u64], f: impl Fn(u64, u64) -> u64) {
    for (d, (&x, &y)) in dst.iter_mut().zip(a.iter().zip(b)) {
        *d = f(x, y);
    }
}

pub(crate) fn unary(op: UnOp, elem: Elem, dst: &mut [u64], a: &[u64]) {
    let (bits, mask) = (elem.bits(), elem.bit_mask());
    let sign = 1u64 << (bits - 1);
    let round32 = |f: fn(f32) -> f32| move |v: u64| u64::from(f(f32_of(v)).to_bits());
    let round64 = |f: fn(f64) -> f64| move |v: u64| f(f64::from_bits(v)).to_bits();
    match (op, elem) {
        (UnOp::Neg, Elem::F32 | Elem::F64) => map(dst, a, |v| v ^ sign),
        (UnOp::Abs, Elem::F32 | Elem::F64) => map(dst, a, |v| v & !sign),
        (UnOp::Neg, _) => map(dst, a, |v| v.wrapping_neg() & mask),
        (UnOp::Abs, _) => map(dst, a, |v| signed(v, bits).wrapping_abs() as u64 & mask),
        (UnOp::Not, _) => map(dst, a, |v| !v & mask),
        (UnOp::LeadingZeros, _) => map(dst, a, |v| u64::from(v.leading_zeros() - (64 - bits))),
        (UnOp::Sqrt, Elem::F64) => map(dst, a, round64(f64::sqrt)),
        (UnOp::RoundEven, Elem::F64) => map(dst, a, round64(f64::round_ties_even)),
        (UnOp::Floor, Elem::F64) => map(dst, a, round64(f64::floor)),
        (UnOp::Ceil, Elem::F64) => map(dst, a, round64(f64::ceil)),
        (UnOp::Trunc, Elem::F64) => map(dst, a, round64(f64::trunc)),
        (UnOp::Sqrt, _) => map(dst, a, round32(f32::sqrt)),
        (UnOp::RoundEven, _) => map(dst, a, round32(f32::round_ties_even)),
        (UnOp::Floor, _) => map(dst, a, round32(f32::floor)),
        (UnOp::Ceil, _) => map(dst, a, round32(f32::ceil)),
        (UnOp::Trunc, _) => map(dst, a, round32(f32::trunc)),
    }
}

/// `None` where an integer division is undefined.
pub(crate) fn binary(op: BinOp, elem: Elem, dst: &mut [u64], a: &[u64], b: &[u64]) -> Option<()> {
    match elem {
        Elem::F32 => {
            let f = |f: fn(f32, f32) -> f32| move |x: u64, y: u64| u64::from(f(f32_of(x), f32_of(y)).to_bits());
            match op {
                BinOp::Add => map2(dst, a, b, f(|x, y| x + y)),
                BinOp::Sub => map2(dst, a, b, f(|x, y| x - y)),
                BinOp::Mul => map2(dst, a, b, f(|x, y| x * y)),
                BinOp::Div => map2(dst, a, b, f(|x, y| x / y)),
                // The choice copies bits, as minps and maxps do.
                BinOp::Min => map2(dst, a, b, |x, y| if f32_of(x) < f32_of(y) { x } else { y }),
                _ => map2(dst, a, b, |x, y| if f32_of(x) > f32_of(y) { x } else { y }),
            }
        }
        Elem::F64 => {
            let f = |f: fn(f64, f64) -> f64| move |x: u64, y: u64| f(f64::from_bits(x), f64::from_bits(y)).to_bits();
            match op {
                BinOp::Add => map2(dst, a, b, f(|x, y| x + y)),
                BinOp::Sub => map2(dst, a, b, f(|x, y| x - y)),
                BinOp::Mul => map2(dst, a, b, f(|x, y| x * y)),
                BinOp::Div => map2(dst, a, b, f(|x, y| x / y)),
                BinOp::Min => map2(dst, a, b, |x, y| if f64::from_bits(x) < f64::from_bits(y) { x } else { y }),
                _ => map2(dst, a, b, |x, y| if f64::from_bits(x) > f64::from_bits(y) { x } else { y }),
            }
        }
        _ => return binary_int(op, elem, dst, a, b),
    }
    Some(())
}

fn binary_int(op: BinOp, elem: Elem, dst: &mut [u64], a: &[u64], b: &[u64]) -> Option<()> {
    let (w, mask) = (elem.bits(), elem.bit_mask());
    let s = |v: u64| signed(v, w);
    match op {
        BinOp::Add => map2(dst, a, b, |x, y| x.wrapping_add(y) & mask),
        BinOp::Sub => map2(dst, a, b, |x, y| x.wrapping_sub(y) & mask),
        BinOp::Mul => map2(dst, a, b, |x, y| x.wrapping_mul(y) & mask),
        BinOp::Div | BinOp::Rem => {
            let (x, y) = (s(a[0]), s(b[0]));
            if y == 0 || (y == -1 && x == s(1 << (w - 1))) {
                return None;
            }
            dst[0] = if op == BinOp::Div { x / y } else { x % y } as u64 & mask;
        }
        BinOp::Min => map2(dst, a, b, |x, y| if s(x) < s(y) { x } else { y }),
        BinOp::Max => map2(dst, a, b, |x, y| if s(x) > s(y) { x } else { y }),
        BinOp::MinU => map2(dst, a, b, u64::min),
        BinOp::MaxU => map2(dst, a, b, u64::max),
        BinOp::And => map2(dst, a, b, |x, y| x & y),
        BinOp::Or => map2(dst, a, b, |x, y| x | y),
        BinOp::Xor => map2(dst, a, b, |x, y| x ^ y),
        BinOp::Shl => map2(dst, a, b, |x, y| if y < u64::from(w) { (x << y) & mask } else { 0 }),
        BinOp::ShrU => map2(dst, a, b, |x, y| if y < u64::from(w) { x >> y } else { 0 }),
        BinOp::ShrS => map2(dst, a, b, |x, y| (s(x) >> y.min(63)) as u64 & mask),
        BinOp::AddSatS => map2(dst, a, b, |x, y| saturate(s(x) + s(y), w, Range::Signed)),
        BinOp::SubSatS => map2(dst, a, b, |x, y| saturate(s(x) - s(y), w, Range::Signed)),
        BinOp::AddSatU => map2(dst, a, b, |x, y| saturate((x + y) as i64, w, Range::Unsigned)),
        BinOp::SubSatU => map2(dst, a, b, |x, y| x.saturating_sub(y)),
        BinOp::MulHiS => map2(dst, a, b, |x, y| ((i128::from(s(x)) * i128::from(s(y))) >> w) as u64 & mask),
        BinOp::MulHiU => map2(dst, a, b, |x, y| ((u128::from(x) * u128::from(y)) >> w) as u64),
        BinOp::MulRoundHi => map2(dst, a, b, |x, y| {
            let product = 2 * i128::from(s(x)) * i128::from(s(y)) + (1 << (w - 1));
            saturate((product >> w) as i64, w, Range::Signed)
        }),
    }
    Some(())
}

pub(crate) fn fma(elem: Elem, dst: &mut [u64], a: &[u64], b: &[u64], c: &[u64]) {
    for (d, ((&x, &y), &z)) in dst.iter_mut().zip(a.iter().zip(b).zip(c)) {
        *d = match elem {
            Elem::F64 => f64::from_bits(x).mul_add(f64::from_bits(y), f64::from_bits(z)).to_bits(),
            _ => u64::from(f32_of(x).mul_add(f32_of(y), f32_of(z)).to_bits()),
        };
    }
}

pub(crate) fn compare(op: CmpOp, elem: Elem, dst: &mut [u64], a: &[u64], b: &[u64]) {
    fn ordered<T: PartialOrd>(op: CmpOp, x: T, y: T) -> bool {
        match op {
            CmpOp::Eq => x == y,
            CmpOp::Ne => x != y,
            CmpOp::Lt | CmpOp::LtU => x < y,
            CmpOp::Le | CmpOp::LeU => x <= y,
            CmpOp::Gt => x > y,
            CmpOp::Ge => x >= y,
        }
    }
    let w = elem.bits();
    map2(dst, a, b, |x, y| {
        u64::from(match (elem, op) {
            (Elem::F32, _) => ordered(op, f32_of(x), f32_of(y)),
            (Elem::F64, _) => ordered(op, f64::from_bits(x), f64::from_bits(y)),
            (_, CmpOp::LtU | CmpOp::LeU) => ordered(op, x, y),
            _ => ordered(op, signed(x, w), signed(y, w)),
        })
    });
}

/// The condition is a mask or one truth value for all.
pub(crate) fn select(dst: &mut [u64], cond: &[u64], a: &[u64], b: &[u64]) {
    if let [c] = cond {
        dst.copy_from_slice(if *c != 0 { a } else { b });
    } else {
        for (d, (&c, (&x, &y))) in dst.iter_mut().zip(cond.iter().zip(a.iter().zip(b))) {
            *d = if c != 0 { x } else { y };
        }
    }
}

pub(crate) fn convert(op: ConvertOp, from: Elem, to: Elem, dst: &mut [u64], a: &[u64]) {
    let (w, mask) = (from.bits(), to.bit_mask());
    match op {
        ConvertOp::ExtS => map(dst, a, |v| signed(v, w) as u64 & mask),
        ConvertOp::ExtU => map(dst, a, |v| v),
        ConvertOp::Wrap => map(dst, a, |v| v & mask),
        ConvertOp::SatS => map(dst, a, |v| saturate(signed(v, w), to.bits(), Range::Signed)),
        ConvertOp::SatU => map(dst, a, |v| saturate(signed(v, w), to.bits(), Range::Unsigned)),
        ConvertOp::IntToFloat => map(dst, a, |v| match to {
            Elem::F64 => (signed(v, w) as f64).to_bits(),
            _ => u64::from((signed(v, w) as f32).to_bits()),
        }),
        ConvertOp::FloatToIntEven => map(dst, a, |v| float_to_int(wide(v, from).round_ties_even(), to)),
        ConvertOp::FloatToIntTrunc => map(dst, a, |v| float_to_int(wide(v, from).trunc(), to)),
        ConvertOp::FloatToFloat => map(dst, a, |v| match to {
            Elem::F64 => f64::from(f32_of(v)).to_bits(),
            _ => u64::from((f64::from_bits(v) as f32).to_bits()),
        }),
        ConvertOp::Bitcast => super::vectors::bitcast(from, to, dst, a),
    }
}

/// A float lane as `f64`, which is exact.
fn wide(v: u64, elem: Elem) -> f64 {
    if elem == Elem::F32 { f64::from(f32_of(v)) } else { f64::from_bits(v) }
}

/// An integral float as an integer. What is out of range gives the smallest integer, as x86 does; the language leaves it open.
fn float_to_int(v: f64, to: Elem) -> u64 {
    let limit = if to == Elem::I32 { 2f64.powi(31) } else { 2f64.powi(63) };
    let v = if v >= -limit && v < limit { v as i64 } else { -limit as i64 };
    v as u64 & to.bit_mask()
}
