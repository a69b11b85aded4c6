//! The number of boundaries that are not greater than each element: a binary search.
//!
//! Work units are elements.

use super::scalar::{get, partition_point, put_int};
use crate::expr::{Storage, Ty};
use tflc_kir::{Builder, CmpOp, ConvertOp, Kernel, Type};

/// Specification of a search among boundaries in ascending order.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct BucketizeSpec {
    /// Elements.
    pub elements: usize,
    /// Boundaries.
    pub boundaries: usize,
    /// Type of the elements, which are compared as `F32`, `F64` as they are.
    pub storage: Storage,
}

impl BucketizeSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.elements as u64
    }

    /// Builds the kernel: parameters are input, boundaries (`F32`), output (`I32`).
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("bucketize");
        let [x, boundaries, y] = ["x", "boundaries", "y"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let v = get(b, self.storage, x, u);
            // Boundaries are binary32 and exact in binary64.
            let wide = self.storage.ty() == Ty::F64;
            let v = if matches!(self.storage.ty(), Ty::F32 | Ty::F64) { v } else { b.convert(ConvertOp::IntToFloat, Type::F32, v) };
            let found = partition_point(b, self.boundaries, |b, i| {
                let bound = get(b, Storage::F32, boundaries, i);
                let bound = if wide { b.convert(ConvertOp::FloatToFloat, Type::F64, bound) } else { bound };
                b.cmp(CmpOp::Le, bound, v)
            });
            put_int(b, false, y, u, found);
            vec![]
        });
        b.finish()
    }
}
