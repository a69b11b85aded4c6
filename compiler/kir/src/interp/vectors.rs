//! Operators that move or combine lanes: dot products, interleaving, narrowing in pairs, tables, reductions, bit casts.

use super::lanes::{Range, binary, saturate, signed};
use crate::op::*;
use crate::types::Elem;
use half::f16;

pub(super) fn dot4(signs: DotSigns, dst: &mut [u64], acc: &[u64], a: &[u64], b: &[u64]) {
    for (i, (d, &c)) in dst.iter_mut().zip(acc).enumerate() {
        let sum = sum_of_products(signs, &a[4 * i..4 * i + 4], &b[4 * i..4 * i + 4]);
        *d = u64::from((c as u32).wrapping_add(sum as u32));
    }
}

/// 2×2 matrices plus products of a 2×8 matrix and a transposed one, block by block.
pub(super) fn mmla(signs: DotSigns, dst: &mut [u64], acc: &[u64], a: &[u64], b: &[u64]) {
    for (i, (d, &c)) in dst.iter_mut().zip(acc).enumerate() {
        let (block, row, column) = (i / 4 * 16, i / 2 % 2, i % 2);
        let of = |v: &'_ [u64], r: usize| -> [u64; 8] { std::array::from_fn(|k| v[block + r * 8 + k]) };
        let sum = sum_of_products(signs, &of(a, row), &of(b, column));
        *d = u64::from((c as u32).wrapping_add(sum as u32));
    }
}

fn sum_of_products(signs: DotSigns, a: &[u64], b: &[u64]) -> i64 {
    let first = |v: u64| if signs == DotSigns::Signed { signed(v, 8) } else { v as i64 };
    let second = |v: u64| if signs == DotSigns::Unsigned { v as i64 } else { signed(v, 8) };
    a.iter().zip(b).map(|(&x, &y)| first(x) * second(y)).sum()
}

pub(super) fn dot2(dst: &mut [u64], acc: &[u64], a: &[u64], b: &[u64]) {
    for (i, (d, &c)) in dst.iter_mut().zip(acc).enumerate() {
        let sum: i64 = (2 * i..2 * i + 2).map(|j| signed(a[j], 16) * signed(b[j], 16)).sum();
        *d = u64::from((c as u32).wrapping_add(sum as u32));
    }
}

/// `a b + c` of halves, rounded once.
pub(super) fn fma_f16(dst: &mut [u64], a: &[u64], b: &[u64], c: &[u64]) {
    let wide = |v: u64| f16::from_bits(v as u16).to_f64();
    for (d, ((&x, &y), &z)) in dst.iter_mut().zip(a.iter().zip(b).zip(c)) {
        // The product of two halves is exact; the sum is rounded to odd, so that rounding it again is as rounding once. The crate's conversion may go by way
        // of f32 or drop the lower word: the last bit of the upper one stands for that.
        let sum = sum_to_odd(wide(x) * wide(y), wide(z)).to_bits();
        let sum = sum >> 32 << 32 | u64::from(sum as u32 != 0) << 32;
        *d = u64::from(f16::from_f64(f64::from_bits(sum)).to_bits());
    }
}

/// `x + y` where that is a number of 53 bits, else the one of its two neighbours whose last bit is set (Boldo and Melquiond 2008, "Emulation of FMA and
/// correctly rounded sums: proved algorithms using rounding to odd"). The error of the sum is Knuth's.
fn sum_to_odd(x: f64, y: f64) -> f64 {
    let sum = x + y;
    let part = sum - x;
    let error = (x - (sum - part)) + (y - part);
    if !error.is_finite() || error == 0.0 || sum.to_bits() & 1 == 1 {
        return sum;
    }
    // Towards the exact sum: away from zero where the error has the sign of the sum.
    let bits = sum.to_bits();
    f64::from_bits(if (error > 0.0) == (sum > 0.0) { bits + 1 } else { bits - 1 })
}

pub(super) fn pack_f16(dst: &mut [u64], a: &[u64], b: &[u64]) {
    for (d, &v) in dst.iter_mut().zip(a.iter().chain(b)) {
        *d = u64::from(f16::from_f32(f32::from_bits(v as u32)).to_bits());
    }
}

pub(super) fn widen_f16(dst: &mut [u64], a: &[u64]) {
    for (d, &v) in dst.iter_mut().zip(a) {
        *d = u64::from(f16::from_bits(v as u16).to_f32().to_bits());
    }
}

/// Interleaves half `half` of each 128-bit block.
pub(super) fn unpack(elem: Elem, half: usize, dst: &mut [u64], a: &[u64], b: &[u64]) {
    let n = 128 / elem.bits() as usize;
    for (i, d) in dst.iter_mut().enumerate() {
        let from = if i % 2 == 0 { a } else { b };
        *d = from[i / n * n + half * n / 2 + i % n / 2];
    }
}

/// Narrows lanes of kind `from` to half the width, block by block.
pub(super) fn pack(from: Elem, range: Range, dst: &mut [u64], a: &[u64], b: &[u64]) {
    let w = from.bits();
    let n = 128 / w as usize;
    for (i, d) in dst.iter_mut().enumerate() {
        let (block, lane) = (i / (2 * n), i % (2 * n));
        let v = if lane < n { a[block * n + lane] } else { b[block * n + lane - n] };
        *d = saturate(signed(v, w), w / 2, range);
    }
}

pub(super) fn table16(dst: &mut [u64], table: &[u64], index: &[u64]) {
    for (i, (d, &x)) in dst.iter_mut().zip(index).enumerate() {
        *d = if x & 0x80 != 0 { 0 } else { table[i / 16 * 16 + (x & 15) as usize] };
    }
}

/// Reduces a power of two of lanes by halves.
pub(super) fn reduce(op: ReduceOp, elem: Elem, a: &[u64]) -> u64 {
    let op = op.of_two();
    let mut v = smallvec::SmallVec::<[u64; 64]>::from_slice(a);
    let mut out = v.clone();
    while v.len() > 1 {
        let half = v.len() / 2;
        out.truncate(half);
        // None of these operators is undefined anywhere.
        let _ = binary(op, elem, &mut out, &v[..half], &v[half..]);
        v.truncate(half);
        v.copy_from_slice(&out);
    }
    v[0]
}

/// Regroups bits, least significant first, from lanes of one width to lanes of another.
pub(super) fn bitcast(from: Elem, to: Elem, dst: &mut [u64], a: &[u64]) {
    let (from, to) = (from.bits() as usize / 8, to.bits() as usize / 8);
    if from == to {
        return dst.copy_from_slice(a);
    }
    let mut bytes = a.iter().flat_map(|v| v.to_le_bytes().into_iter().take(from));
    for d in dst {
        let mut lane = [0; 8];
        lane[..to].iter_mut().zip(&mut bytes).for_each(|(l, b)| *l = b);
        *d = u64::from_le_bytes(lane);
    }
}
