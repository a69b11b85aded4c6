//! Binary heaps of indices, in arrays of 32-bit integers: what sorts and selects without moving the elements themselves.
//!
//! `above(b, i, j)` says that index i belongs nearer to the root than j; it must be a strict order, but any answers keep accesses inside the heap.

use super::scalar::{and_then, get_int, put_int, s};
use tflc_kir::{Builder, Type, Value};

/// Emits: moves the element at position `p` down to where it belongs among the first `size`.
pub(super) fn sift_down(b: &mut Builder, heap: Value, size: Value, p: Value, above: &dyn Fn(&mut Builder, Value, Value) -> Value) {
    let v = get_int(b, false, heap, p);
    let left = s!(b, (p * 2) + 1);
    let last = b.while_loop(
        &[p, left],
        |b, c| {
            let (p, left) = (c[0], c[1]);
            let inside = s!(b, left < size);
            let picked = b.if_else(
                inside,
                |b| {
                    let right = s!(b, left + 1);
                    let more = s!(b, right < size);
                    let better = and_then(b, more, |b| {
                        let (l, r) = (get_int(b, false, heap, left), get_int(b, false, heap, right));
                        above(b, r, l)
                    });
                    let child = b.select(better, right, left);
                    let c = get_int(b, false, heap, child);
                    vec![above(b, c, v), child]
                },
                |b| vec![b.int(Type::BOOL, 0), left],
            );
            (picked[0], vec![p, picked[1]])
        },
        |b, c| {
            let up = get_int(b, false, heap, c[1]);
            put_int(b, false, heap, c[0], up);
            let child = c[1];
            vec![child, s!(b, (child * 2) + 1)]
        },
    );
    put_int(b, false, heap, last[0], v);
}

/// Emits: makes a heap of the first `size` elements, in any order before.
pub(super) fn heapify(b: &mut Builder, heap: Value, size: Value, above: &dyn Fn(&mut Builder, Value, Value) -> Value) {
    let half = s!(b, size / 2);
    let zero = b.i64(0);
    b.for_loop(zero, half, 1, &[], |b, i, _| {
        let p = s!(b, (half - i) - 1);
        sift_down(b, heap, size, p, above);
        vec![]
    });
}

/// Emits: moves `v` from position `p`, which is free, up to where it belongs. `below` says that an index belongs further from the root than another: equal
/// ones stay in front. At the end of a heap this is the push of libstdc++'s `std::priority_queue`.
pub(super) fn sift_up(b: &mut Builder, heap: Value, p: Value, v: Value, below: &dyn Fn(&mut Builder, Value, Value) -> Value) {
    let last = b.while_loop(
        &[p],
        |b, c| {
            let p = c[0];
            let inner = s!(b, p > 0);
            let moves = and_then(b, inner, |b| {
                let parent = s!(b, (p - 1) / 2);
                let parent = get_int(b, false, heap, parent);
                below(b, parent, v)
            });
            (moves, vec![p])
        },
        |b, c| {
            let p = c[0];
            let parent = s!(b, (p - 1) / 2);
            let down = get_int(b, false, heap, parent);
            put_int(b, false, heap, p, down);
            vec![parent]
        },
    );
    put_int(b, false, heap, last[0], v);
}

/// Emits: removes the root of `size` elements, at least one, in the steps of libstdc++'s `std::priority_queue`, whose answers among equal ones LiteRT
/// gives: the hole goes down to the end by the greater child, the right one of equals, and the last element up from there.
pub(super) fn pop(b: &mut Builder, heap: Value, size: Value, below: &dyn Fn(&mut Builder, Value, Value) -> Value) {
    let last = s!(b, size - 1);
    let v = get_int(b, false, heap, last);
    let zero = b.i64(0);
    let hole = b.while_loop(
        &[zero],
        |b, c| {
            let p = c[0];
            let right = s!(b, (p * 2) + 2);
            (s!(b, right < last), vec![p])
        },
        |b, c| {
            let p = c[0];
            let (left, right) = (s!(b, (p * 2) + 1), s!(b, (p * 2) + 2));
            let (l, r) = (get_int(b, false, heap, left), get_int(b, false, heap, right));
            let less = below(b, r, l);
            let (child, up) = (b.select(less, left, right), b.select(less, l, r));
            put_int(b, false, heap, p, up);
            vec![child]
        },
    )[0];
    // An only child.
    let left = s!(b, (hole * 2) + 1);
    let only = s!(b, (left + 1) == last);
    let hole = b.if_else(
        only,
        |b| {
            let up = get_int(b, false, heap, left);
            put_int(b, false, heap, hole, up);
            vec![left]
        },
        |_| vec![hole],
    )[0];
    sift_up(b, heap, hole, v, below);
}

/// Emits: sorts a heap, the root last.
pub(super) fn sort(b: &mut Builder, heap: Value, size: Value, above: &dyn Fn(&mut Builder, Value, Value) -> Value) {
    let one = b.i64(1);
    b.for_loop(one, size, 1, &[], |b, i, _| {
        let end = s!(b, size - i);
        let zero = b.i64(0);
        let (root, last) = (get_int(b, false, heap, zero), get_int(b, false, heap, end));
        put_int(b, false, heap, zero, last);
        put_int(b, false, heap, end, root);
        sift_down(b, heap, end, zero, above);
        vec![]
    });
}
