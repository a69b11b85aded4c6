//! The greatest elements of rows and where they are, best first; of equal ones, the first is better.
//!
//! A heap holds the best k indices so far with the worst at its root. Work units are rows.

use super::heap::{heapify, sift_down, sort};
use super::scalar::{get, put, put_int, s};
use crate::expr::Storage;
use tflc_kir::{Addr, BinOp, Builder, CmpOp, Kernel, Mem, Narrow, Value};

/// Specification: the best `k` of each row of `n` elements.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TopKSpec {
    /// Rows.
    pub rows: usize,
    /// Elements of a row.
    pub n: usize,
    /// Distance of rows in elements.
    pub stride: usize,
    /// Elements wanted, between 1 and `n`.
    pub k: usize,
    /// Type of the elements.
    pub storage: Storage,
    /// Whether indices are stored in 16 bits, else 32.
    pub narrow_index: bool,
}

impl TopKSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.rows as u64
    }

    /// Bytes of the workspace.
    pub fn workspace_bytes(&self) -> usize {
        self.rows * self.k * 4
    }

    /// Builds the kernel: parameters are input, workspace, values, indices.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("top_k");
        let [x, heaps, values, indices] = ["x", "heaps", "values", "indices"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        let bytes = self.storage.bytes();
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let at = b.mul_const(u, (self.stride * bytes) as i64);
            let x = b.ptr_add(x, at);
            let at = b.mul_const(u, 4 * self.k as i64);
            let heap = b.ptr_add(heaps, at);
            let worse = |b: &mut Builder, i: Value, j: Value| {
                let (v, w) = (get(b, self.storage, x, i), get(b, self.storage, x, j));
                let (less, equal, later) = (b.cmp(CmpOp::Lt, v, w), b.cmp(CmpOp::Eq, v, w), s!(b, i > j));
                let behind = b.bin(BinOp::And, equal, later);
                b.bin(BinOp::Or, less, behind)
            };
            let (zero, k, n) = (b.i64(0), b.i64(self.k as i64), b.i64(self.n as i64));
            b.for_loop(zero, k, 1, &[], |b, i, _| {
                put_int(b, false, heap, i, i);
                vec![]
            });
            heapify(b, heap, k, &worse);
            b.for_loop(k, n, 1, &[], |b, i, _| {
                let root = super::scalar::get_int(b, false, heap, zero);
                let better = worse(b, root, i);
                b.if_then(better, |b| {
                    put_int(b, false, heap, zero, i);
                    sift_down(b, heap, k, zero, &worse);
                });
                vec![]
            });
            sort(b, heap, k, &worse);
            b.for_loop(zero, k, 1, &[], |b, i, _| {
                let from = super::scalar::get_int(b, false, heap, i);
                let to = s!(b, (u * { self.k }) + i);
                let v = get(b, self.storage, x, from);
                put(b, self.storage, values, to, v);
                if self.narrow_index {
                    b.store(Mem::S16, Narrow::Wrap, Addr::new(indices).index(to, 2), from);
                } else {
                    put_int(b, false, indices, to, from);
                }
                vec![]
            });
            vec![]
        });
        b.finish()
    }
}
