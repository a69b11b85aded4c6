//! Four vectors of results narrowed to bytes at once: a third of the instructions that narrowing each takes.
//!
//! Takes vectors of I32 of 256 or 512 bits, what is added to them last, and where each belongs; stores bytes. Two vectors become words and two of those
//! bytes, by 128-bit blocks; a permutation puts the blocks of each in order.

use crate::cpu::epilogue::constant;
use crate::expr::{Binary, Expr, Node, Storage};
use tflc_kir::{Addr, BinOp, Builder, Elem, Mem, Narrow, Type, Value};

/// An expression of bytes without the addition of a zero point that ends it; and the zero point, 0 where there is none.
pub(super) fn without_zero_point(expr: &Expr) -> Option<(Expr, i32)> {
    if !matches!(expr.output, Storage::I8 | Storage::U8) {
        return None;
    }
    let sum = match expr.nodes[expr.result.0 as usize] {
        Node::Binary(Binary::Add, x, y) => constant(expr, y).map(|c| (x, c)).or_else(|| constant(expr, x).map(|c| (y, c))),
        _ => None,
    };
    let (result, zero_point) = sum.filter(|s| (-128..=255).contains(&s.1)).unwrap_or((expr.result, 0));
    Some((Expr { result, ..expr.clone() }, zero_point))
}

/// Which whole vectors of a tile, as rows and positions in them, are narrowed together; lists of one are stored as others are.
pub(super) fn groups(rows: usize, whole: &[usize], lanes: u16) -> Vec<Vec<(usize, usize)>> {
    if lanes == 16 {
        // A column needs its operands in registers only while it is stored.
        let column = |&v: &usize| -> Vec<(usize, usize)> { (0..rows).map(|r| (r, v)).collect() };
        let quads = |column: Vec<(usize, usize)>| {
            let (quads, rest) = column.split_at(rows / 4 * 4);
            quads.chunks(4).chain(rest.chunks(1)).map(<[_]>::to_vec).collect::<Vec<_>>()
        };
        return whole.iter().map(column).flat_map(quads).collect();
    }
    // Two neighbours are stored as one vector of 128 bits.
    let columns = |two: &[usize]| -> Vec<(usize, usize)> { (0..rows).flat_map(|r| two.iter().map(move |&v| (r, v))).collect() };
    whole.chunks(2).flat_map(|two| columns(two).chunks(4).map(<[_]>::to_vec).collect::<Vec<_>>()).collect()
}

/// Two to four vectors of I32 plus a zero point, saturated to bytes, one behind the other in dwords. Sums saturate at 16 bits on the way, which the range of a byte does not see.
pub(super) fn narrowed(b: &mut Builder, out: Storage, values: &[Value], zero_point: i32) -> Value {
    let value = |i: usize| values[i.min(values.len() - 1)];
    let [low, high] = [0, 2].map(|i| {
        let words = b.pack_s(value(i), value(i + 1));
        if zero_point == 0 {
            return words;
        }
        let zero_point = b.int(b.ty(words), i64::from(zero_point));
        b.bin(BinOp::AddSatS, words, zero_point)
    });
    let bytes = if out == Storage::U8 { b.pack_u(low, high) } else { b.pack_s(low, high) };
    // A block of 128 bits has four bytes of each.
    let lanes = b.ty(values[0]).lanes;
    let blocks = lanes / 4;
    let dwords = b.bitcast(Type::vector(Elem::I32, lanes), bytes);
    b.shuffle(dwords, dwords, (0..lanes).map(|i| i % blocks * 4 + i / blocks).collect())
}

/// Stores what [`narrowed`] gave for these vectors of `lanes` lanes; neighbours in a row at once.
pub(super) fn store(b: &mut Builder, bytes: Value, lanes: u16, vectors: &[(usize, usize)], address: impl Fn((usize, usize)) -> Addr) {
    let dwords = lanes / 4;
    let mut i = 0;
    while let Some(&(r, v)) = vectors.get(i) {
        let two = lanes == 8 && vectors.get(i + 1) == Some(&(r, v + 1));
        let (mem, part) = if two {
            (Mem::S32, b.extract_part(bytes, i as u16 / 2, 2 * dwords))
        } else if lanes == 8 {
            // Eight bytes are no vector; as a float they stay in its register.
            let all = b.bitcast(Type::vector(Elem::F64, 4), bytes);
            (Mem::F64, b.extract_lane(all, i as u16))
        } else {
            (Mem::S32, b.extract_part(bytes, i as u16, dwords))
        };
        b.store(mem, Narrow::Wrap, address((r, v)), part);
        i += if two { 2 } else { 1 };
    }
}
