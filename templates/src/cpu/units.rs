//! Work units that count two things at once.

use tflc_kir::{BinOp, Builder, CmpOp, ConvertOp, Type, Value};

/// Runs `body(b, [outer, inner, unit], carried)` for the units `begin..end` of a kernel, where `unit = outer * count + inner`:
/// one division at the start, none in the loop. `body` gives the next carried values.
pub(super) fn for_pairs(
    b: &mut Builder,
    count: usize,
    carried: &[Value],
    body: impl FnOnce(&mut Builder, [Value; 3], &[Value]) -> Vec<Value>,
) -> Vec<Value> {
    let (begin, end) = (b.begin(), b.end());
    let n = b.i64(count as i64);
    let outer = b.bin(BinOp::Div, begin, n);
    let first = b.mul(outer, n);
    let inner = b.sub(begin, first);
    let initial: Vec<Value> = [outer, inner].into_iter().chain(carried.iter().copied()).collect();
    let mut results = b.for_loop(begin, end, 1, &initial, |b, unit, c| {
        let next = body(b, [c[0], c[1], unit], &c[2..]);
        let inner = b.add_const(c[1], 1);
        let wraps = b.cmp(CmpOp::Ge, inner, n);
        let carry = b.convert(ConvertOp::ExtU, Type::I64, wraps);
        let outer = b.add(c[0], carry);
        let zero = b.i64(0);
        let inner = b.select(wraps, zero, inner);
        [outer, inner].into_iter().chain(next).collect()
    });
    results.drain(..2);
    results
}
