//! Rows of tables by keys, and weighted sums of rows.
//!
//! Indices that lie outside make a kernel's status 2, and nothing is read or written there.

use super::gather::{INDEX_OUT_OF_RANGE, copy_bytes};
use super::scalar::{and_then, both, get, get_int, partition_point, put, s};
use crate::expr::Storage;
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Kernel, Mem, Narrow, Type, UnOp, Value};

/// Specification of a look-up of keys in an ascending list: the rows of those found, zeros for the others.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LookupKeysSpec {
    /// Keys looked up: the work units.
    pub lookups: usize,
    /// Keys of the table.
    pub keys: usize,
    /// Bytes of a row.
    pub row_bytes: usize,
}

impl LookupKeysSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.lookups as u64
    }

    /// Builds the kernel: parameters are the keys looked up, the table's keys (both `I32`), rows, output, and a byte for each that says whether it was found.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("lookup_keys");
        let [queries, keys, rows, y, hits] = ["queries", "keys", "rows", "y", "hits"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let key = get_int(b, false, queries, u);
            let first = partition_point(b, self.keys, |b, i| {
                let own = get_int(b, false, keys, i);
                s!(b, own < key)
            });
            let inside = s!(b, first < { self.keys });
            let found = and_then(b, inside, |b| {
                let own = get_int(b, false, keys, first);
                s!(b, own == key)
            });
            let to = b.mul_const(u, self.row_bytes as i64);
            let to = b.ptr_add(y, to);
            b.if_else(
                found,
                |b| {
                    let from = b.mul_const(first, self.row_bytes as i64);
                    let from = b.ptr_add(rows, from);
                    copy_bytes(b, caps, from, to, self.row_bytes);
                    vec![]
                },
                |b| {
                    let zero = b.i32(0);
                    b.for_const(0, self.row_bytes as i64, 1, &[], |b, i, _| {
                        b.store(Mem::U8, Narrow::Wrap, Addr::new(to).index(i, 1), zero);
                        vec![]
                    });
                    vec![]
                },
            );
            let (one, zero) = (b.i32(1), b.i32(0));
            let hit: Value = b.select(found, one, zero);
            b.store(Mem::U8, Narrow::Wrap, Addr::new(hits).index(u, 1), hit);
            vec![]
        });
        b.finish()
    }
}

/// Specification of a sum of rows of a table for each of some places, weighted.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LookupSparseSpec {
    /// Rows looked up.
    pub lookups: usize,
    /// Indices of each lookup's place, of which the last is not used.
    pub depth: usize,
    /// Sizes of the places' dimensions: one less than `depth`.
    pub sizes: Vec<usize>,
    /// Rows of the table.
    pub rows: usize,
    /// Elements of a row.
    pub inner: usize,
    /// What sums are divided by.
    pub combiner: Combiner,
}

/// What sums of weighted rows are divided by, where it is not zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Combiner {
    /// Nothing.
    Sum,
    /// The sum of the weights.
    Mean,
    /// The root of the sum of the weights' squares.
    SquareRoot,
}

impl LookupSparseSpec {
    fn places(&self) -> usize {
        self.sizes.iter().product()
    }

    /// Bytes of the workspace.
    pub fn workspace_bytes(&self) -> usize {
        self.places() * 4
    }

    /// Builds the kernel: parameters are ids, indices (both `I32`), weights, table, workspace, output (`F32`). There is one work unit.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("lookup_sparse");
        let [ids, indices, weights, table, totals, y] = ["ids", "indices", "weights", "table", "totals", "y"].map(|n| b.ptr_param(n));
        let zero = b.float(Type::F32, 0.0);
        b.for_const(0, self.places() as i64, 1, &[], |b, i, _| {
            put(b, Storage::F32, totals, i, zero);
            vec![]
        });
        b.for_const(0, (self.places() * self.inner) as i64, 1, &[], |b, i, _| {
            put(b, Storage::F32, y, i, zero);
            vec![]
        });
        let fine = b.i32(0);
        let status = b.for_const(0, self.lookups as i64, 1, &[fine], |b, i, c| {
            let id = get_int(b, false, ids, i);
            let rows = b.i64(self.rows as i64);
            let mut inside = b.cmp(CmpOp::LtU, id, rows);
            let mut place = b.i64(0);
            for (d, &n) in self.sizes.iter().enumerate() {
                let at = s!(b, (i * { self.depth }) + { d });
                let k = get_int(b, false, indices, at);
                let size = b.i64(n as i64);
                let fits = b.cmp(CmpOp::LtU, k, size);
                inside = both(b, inside, fits);
                place = s!(b, (place * size) + k);
            }
            b.if_then(inside, |b| {
                let weight = get(b, Storage::F32, weights, i);
                let share = if self.combiner == Combiner::SquareRoot { b.mul(weight, weight) } else { weight };
                let total = get(b, Storage::F32, totals, place);
                let total = b.add(total, share);
                put(b, Storage::F32, totals, place, total);
                b.for_const(0, self.inner as i64, 1, &[], |b, k, _| {
                    let (from, to) = (s!(b, (id * { self.inner }) + k), s!(b, (place * { self.inner }) + k));
                    let (v, sum) = (get(b, Storage::F32, table, from), get(b, Storage::F32, y, to));
                    let sum = s!(b, sum + (v * weight));
                    put(b, Storage::F32, y, to, sum);
                    vec![]
                });
            });
            let bad = b.i32(INDEX_OUT_OF_RANGE);
            vec![b.select(inside, c[0], bad)]
        })[0];
        if self.combiner != Combiner::Sum {
            b.for_const(0, self.places() as i64, 1, &[], |b, place, _| {
                let total = get(b, Storage::F32, totals, place);
                let by = if self.combiner == Combiner::SquareRoot { b.un(UnOp::Sqrt, total) } else { total };
                let some = b.cmp(CmpOp::Ne, by, zero);
                b.if_then(some, |b| {
                    b.for_const(0, self.inner as i64, 1, &[], |b, k, _| {
                        let at = s!(b, (place * { self.inner }) + k);
                        let v = get(b, Storage::F32, y, at);
                        let v = b.bin(BinOp::Div, v, by);
                        put(b, Storage::F32, y, at, v);
                        vec![]
                    });
                });
                vec![]
            });
        }
        b.finish_status(status)
    }
}
