//! Scalar code in few words: integer formulas, elements of arrays, loops that end early. For kernels whose work is a decision per element.
//!
//! `s!(b, (a + b) * {n})` emits a formula of `I64` values: operands are names, literals, constants in braces (any Rust integer) and
//! formulas in parentheses; there is no precedence, and one formula holds one operator or a chain of equal ones.

use crate::expr::Storage;
use crate::expr::emit::{load_storage, store_storage};
use tflc_kir::{Addr, BinOp, Builder, Mem, Narrow, Type, Value};

/// Emits an integer formula, see the module.
macro_rules! s {
    ($b:expr, $x:tt) => { s!(@operand $b, $x) };
    ($b:expr, $x:tt + $($y:tt)+) => {{ let x = s!(@operand $b, $x); let y = s!($b, $($y)+); $b.add(x, y) }};
    ($b:expr, $x:tt * $($y:tt)+) => {{ let x = s!(@operand $b, $x); let y = s!($b, $($y)+); $b.mul(x, y) }};
    ($b:expr, $x:tt - $y:tt) => {{ let x = s!(@operand $b, $x); let y = s!(@operand $b, $y); $b.sub(x, y) }};
    ($b:expr, $x:tt / $y:tt) => { s!(@bin $b, Div, $x, $y) };
    ($b:expr, $x:tt % $y:tt) => { s!(@bin $b, Rem, $x, $y) };
    ($b:expr, $x:tt & $y:tt) => { s!(@bin $b, And, $x, $y) };
    ($b:expr, $x:tt | $y:tt) => { s!(@bin $b, Or, $x, $y) };
    ($b:expr, $x:tt < $y:tt) => { s!(@cmp $b, Lt, $x, $y) };
    ($b:expr, $x:tt <= $y:tt) => { s!(@cmp $b, Le, $x, $y) };
    ($b:expr, $x:tt > $y:tt) => { s!(@cmp $b, Gt, $x, $y) };
    ($b:expr, $x:tt >= $y:tt) => { s!(@cmp $b, Ge, $x, $y) };
    ($b:expr, $x:tt == $y:tt) => { s!(@cmp $b, Eq, $x, $y) };
    ($b:expr, $x:tt != $y:tt) => { s!(@cmp $b, Ne, $x, $y) };
    (@bin $b:expr, $op:ident, $x:tt, $y:tt) => {{
        let x = s!(@operand $b, $x);
        let y = s!(@operand $b, $y);
        $b.bin(tflc_kir::BinOp::$op, x, y)
    }};
    (@cmp $b:expr, $op:ident, $x:tt, $y:tt) => {{
        let x = s!(@operand $b, $x);
        let y = s!(@operand $b, $y);
        $b.cmp(tflc_kir::CmpOp::$op, x, y)
    }};
    (@operand $b:expr, ($($x:tt)+)) => { s!($b, $($x)+) };
    (@operand $b:expr, {$x:expr}) => { $b.i64(($x) as i64) };
    (@operand $b:expr, $x:literal) => { $b.i64($x) };
    (@operand $b:expr, $x:ident) => { $x };
}
pub(super) use s;

/// Element `i` of an array, in the compute type of its storage.
pub(super) fn get(b: &mut Builder, storage: Storage, array: Value, i: Value) -> Value {
    load_storage(b, storage, 1, Addr::new(array).index(i, storage.bytes() as u8), 1)
}

/// Stores element `i` of an array; integers wrap.
pub(super) fn put(b: &mut Builder, storage: Storage, array: Value, i: Value, v: Value) {
    store_storage(b, storage, Narrow::Wrap, Addr::new(array).index(i, storage.bytes() as u8), v, 1);
}

/// Element `i` of an array of 32- or 64-bit integers, as `I64`.
pub(super) fn get_int(b: &mut Builder, wide: bool, array: Value, i: Value) -> Value {
    let (mem, bytes) = if wide { (Mem::I64, 8) } else { (Mem::S32, 4) };
    b.load(Type::I64, mem, Addr::new(array).index(i, bytes))
}

/// Stores an `I64` as element `i` of an array of 32- or 64-bit integers.
pub(super) fn put_int(b: &mut Builder, wide: bool, array: Value, i: Value, v: Value) {
    if wide {
        b.store(Mem::I64, Narrow::Wrap, Addr::new(array).index(i, 8), v);
    } else {
        b.store(Mem::S32, Narrow::Wrap, Addr::new(array).index(i, 4), v);
    }
}

/// `a && b` of scalar truth values that are both known.
pub(super) fn both(b: &mut Builder, x: Value, y: Value) -> Value {
    b.bin(BinOp::And, x, y)
}

/// `x ? y() : false`: `y` runs only where `x` holds.
pub(super) fn and_then(b: &mut Builder, x: Value, y: impl FnOnce(&mut Builder) -> Value) -> Value {
    b.if_else(x, |b| vec![y(b)], |b| vec![b.int(Type::BOOL, 0)])[0]
}

/// The number of items among the first `n` for which `before` holds: it holds for none after the first for which it does not. A binary search.
pub(super) fn partition_point(b: &mut Builder, n: usize, before: impl FnOnce(&mut Builder, Value) -> Value) -> Value {
    let (lo, hi) = (b.i64(0), b.i64(n as i64));
    let found = b.while_loop(
        &[lo, hi],
        |b, c| {
            let (lo, hi) = (c[0], c[1]);
            (s!(b, lo < hi), vec![lo, hi])
        },
        |b, c| {
            let (lo, hi) = (c[0], c[1]);
            let middle = s!(b, (lo + hi) / 2);
            let before = before(b, middle);
            let next = s!(b, middle + 1);
            vec![b.select(before, next, lo), b.select(before, hi, middle)]
        },
    );
    found[0]
}
