//! What is done with sizes known only at run time: parts joined, indices and counts compared with them.
//!
//! A comparison that fails makes a kernel's status 2. Joining has one work unit, comparing has one for each index.

use super::gather::{INDEX_OUT_OF_RANGE, copy_bytes};
use super::scalar::{get_int, put_int, s};
use tflc_kir::{Addr, Builder, Caps, CmpOp, Kernel, Mem, Type};

/// Specification of rows put behind those that are there.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AppendSpec {
    /// Bytes of a row.
    pub row_bytes: usize,
}

impl AppendSpec {
    /// Builds the kernel: parameters are the new rows, their number (`I64`), the rows so far and their number (`I64`), which goes up.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("append");
        let [x, rows, y, total] = ["x", "rows", "y", "total"].map(|n| b.ptr_param(n));
        let zero = b.i64(0);
        let (rows, before) = (get_int(&mut b, true, rows, zero), get_int(&mut b, true, total, zero));
        b.for_loop(zero, rows, 1, &[], |b, i, _| {
            let place = b.add(before, i);
            let (from, to) = (b.mul_const(i, self.row_bytes as i64), b.mul_const(place, self.row_bytes as i64));
            let (from, to) = (b.ptr_add(x, from), b.ptr_add(y, to));
            copy_bytes(b, caps, from, to, self.row_bytes);
            vec![]
        });
        let after = b.add(before, rows);
        put_int(&mut b, true, total, zero, after);
        b.finish()
    }
}

/// Specification of indices that must be below a number.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BelowSpec {
    /// Indices.
    pub indices: usize,
    /// Which component of a tuple an index is.
    pub at: usize,
    /// Components of a tuple.
    pub of: usize,
    /// Whether indices are 64 bits wide (else 32).
    pub wide: bool,
}

impl BelowSpec {
    /// Builds the kernel: parameters are the indices and the number (`I64`).
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("below");
        let (indices, number) = (b.ptr_param("indices"), b.ptr_param("number"));
        let most = b.load(Type::I64, Mem::I64, Addr::new(number));
        let (begin, end, fine, bad) = (b.begin(), b.end(), b.i32(0), b.i32(INDEX_OUT_OF_RANGE));
        let status = b.for_loop(begin, end, 1, &[fine], |b, i, c| {
            let at = s!(b, (i * { self.of }) + { self.at });
            let index = get_int(b, self.wide, indices, at);
            let inside = b.cmp(CmpOp::LtU, index, most);
            vec![b.select(inside, c[0], bad)]
        })[0];
        b.finish_status(status)
    }
}

/// Specification of a number that must not be below another.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct AtLeastSpec {
    /// The least that it may be.
    pub least: usize,
}

impl AtLeastSpec {
    /// Builds the kernel: the parameter is the number (`I64`).
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("at_least");
        let number = b.ptr_param("number");
        let number = b.load(Type::I64, Mem::I64, Addr::new(number));
        let least = b.i64(self.least as i64);
        let inside = b.cmp(CmpOp::Le, least, number);
        let (fine, bad) = (b.i32(0), b.i32(INDEX_OUT_OF_RANGE));
        let status = b.select(inside, fine, bad);
        b.finish_status(status)
    }
}
