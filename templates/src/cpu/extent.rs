//! What is done with sizes known only at run time: indices and counts compared with them.
//!
//! A comparison that fails makes a kernel's status 2. There is one work unit for each index.

use super::gather::INDEX_OUT_OF_RANGE;
use super::scalar::{get_int, s};
use tflc_kir::{Addr, Builder, CmpOp, Kernel, Mem, Type, Value};

/// The number of elements that count: all of them, or what a further parameter says.
pub(super) fn counted(b: &mut Builder, by_memory: bool, all: usize) -> Value {
    if !by_memory {
        return b.i64(all as i64);
    }
    let number = b.ptr_param("counted");
    b.load(Type::I64, Mem::I64, Addr::new(number))
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
    /// Whether negative indices pass.
    pub signed: bool,
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
            let inside = b.cmp(if self.signed { CmpOp::Lt } else { CmpOp::LtU }, index, most);
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
