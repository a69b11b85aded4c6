//! The first elements of each sequence backwards, as many as the sequence's length says; the others stay.
//!
//! A length outside the axis makes the kernel's status 2 and leaves its part untouched. Work units are indices of the dimensions in front of both axes.

use super::gather::{INDEX_OUT_OF_RANGE, copy_bytes};
use super::scalar::{get_int, s};
use tflc_kir::{Builder, Caps, CmpOp, Kernel};

/// Specification over a tensor `[outer, first, middle, second, inner]`, where one of `first` and `second` counts sequences and the other runs along them.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ReverseSequenceSpec {
    /// The five sizes; the innermost counts bytes.
    pub shape: [usize; 5],
    /// Whether sequences run along the second axis, else along the first.
    pub along_second: bool,
    /// Whether lengths are 64 bits wide (else 32).
    pub wide_index: bool,
}

impl ReverseSequenceSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.shape[0] as u64
    }

    /// Builds the kernel: parameters are input, lengths, output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("reverse_sequence");
        let [x, lengths, y] = ["x", "lengths", "y"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        let [_, first, middle, second, inner] = self.shape;
        let n = if self.along_second { second } else { first };
        let fine = b.i32(0);
        let status = b.for_loop(begin, end, 1, &[fine], |b, o, c| {
            b.for_const(0, first as i64, 1, &[c[0]], |b, i, c| {
                b.for_const(0, middle as i64, 1, &[c[0]], |b, m, c| {
                    b.for_const(0, second as i64, 1, &[c[0]], |b, j, c| {
                        let (batch, along) = if self.along_second { (i, j) } else { (j, i) };
                        let length = get_int(b, self.wide_index, lengths, batch);
                        let most = b.i64(n as i64);
                        let fits = b.cmp(CmpOp::LeU, length, most);
                        b.if_then(fits, |b| {
                            let mirrored = s!(b, (length - along) - 1);
                            let inside = s!(b, along < length);
                            let from = b.select(inside, mirrored, along);
                            let (fi, fj) = if self.along_second { (i, from) } else { (from, j) };
                            let to = s!(b, ((((((o * { first }) + i) * { middle }) + m) * { second }) + j) * { inner });
                            let from = s!(b, ((((((o * { first }) + fi) * { middle }) + m) * { second }) + fj) * { inner });
                            let (to, from) = (b.ptr_add(y, to), b.ptr_add(x, from));
                            copy_bytes(b, caps, from, to, inner);
                        });
                        let bad = b.i32(INDEX_OUT_OF_RANGE);
                        vec![b.select(fits, c[0], bad)]
                    })
                })
            })
        })[0];
        b.finish_status(status)
    }
}
