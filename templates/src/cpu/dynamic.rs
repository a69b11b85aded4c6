//! The number of segments that ids name.
//!
//! Ids out of order make the kernel's status 2, and the number 0. There is one work unit.

use super::gather::INDEX_OUT_OF_RANGE;
use super::scalar::{both, get_int, put_int};
use tflc_kir::{BinOp, Builder, CmpOp, ConvertOp, Kernel, Type};

/// Specification of the number of segments that ascending ids name, which go up by at most one from 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SegmentsSpec {
    /// Ids.
    pub ids: usize,
    /// Whether memory says how many of them count.
    pub counted: bool,
}

impl SegmentsSpec {
    /// Builds the kernel: parameters are the ids (`I32`) and their number of segments (`I64`), and where ids are counted their number (`I64`). Ids that are not in order make its status 2.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("segments");
        let (ids, number) = (b.ptr_param("ids"), b.ptr_param("number"));
        let (zero, before) = (b.i64(0), b.i64(-1));
        let good = b.int(Type::BOOL, 1);
        let ids_in_all = super::extent::counted(&mut b, self.counted, self.ids);
        let seen = b.for_loop(zero, ids_in_all, 1, &[before, good], |b, i, c| {
            let id = get_int(b, false, ids, i);
            let step = b.sub(id, c[0]);
            let one = b.i64(1);
            let fits = b.cmp(CmpOp::LeU, step, one);
            vec![id, both(b, c[1], fits)]
        });
        let all = b.add_const(seen[0], 1);
        let count = b.select(seen[1], all, zero);
        put_int(&mut b, true, number, zero, count);
        let ok = b.convert(ConvertOp::ExtU, Type::I32, seen[1]);
        let one = b.i32(1);
        let wrong = b.bin(BinOp::Sub, one, ok);
        let bad = b.i32(INDEX_OUT_OF_RANGE);
        let status = b.mul(wrong, bad);
        b.finish_status(status)
    }
}
