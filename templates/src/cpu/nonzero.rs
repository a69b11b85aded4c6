//! A look at divisors before integers are divided.
//!
//! Work units are elements.

use super::scalar::get;
use super::suppress::INVALID_VALUE;
use crate::expr::Storage;
use tflc_kir::{Builder, CmpOp, Kernel};

/// Specification of a check that no element is zero.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct NonZeroSpec {
    /// Elements.
    pub elements: usize,
    /// Type of the elements: integers.
    pub storage: Storage,
}

impl NonZeroSpec {
    /// Builds the kernel: the parameter is the tensor. A zero makes its status 4.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("non_zero");
        let x = b.ptr_param("x");
        let (begin, end) = (b.begin(), b.end());
        let (fine, bad) = (b.i32(0), b.i32(INVALID_VALUE));
        let status = b.for_loop(begin, end, 1, &[fine], |b, i, c| {
            let v = get(b, self.storage, x, i);
            let zero = b.int(b.ty(v), 0);
            let wrong = b.cmp(CmpOp::Eq, v, zero);
            vec![b.select(wrong, bad, c[0])]
        })[0];
        b.finish_status(status)
    }
}
