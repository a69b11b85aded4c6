//! Sizes that come from values: slices of computed size, and the number of segments.
//!
//! What does not fit makes a kernel's status 2 and nothing is written but a length of 0. There is one work unit.

use super::gather::INDEX_OUT_OF_RANGE;
use super::scalar::{both, get_int, put_int, s};
use tflc_kir::{Addr, BinOp, Builder, CmpOp, ConvertOp, Kernel, Mem, Narrow, Type, Value};

/// Specification of a slice, packed, whose size along one axis is known only at run time; axes in front of that one are 1 in the result.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DynamicSliceSpec {
    /// Dimensions.
    pub rank: usize,
    /// Sizes of the operand; then, unless elements have no bytes, those of the result, of which the open one is a bound.
    pub sizes: Vec<usize>,
    /// The open axis.
    pub axis: usize,
    /// Whether begins and sizes are 64 bits wide (else 32).
    pub wide: bool,
    /// Size of an element in bytes (1, 2, 4, 8 or 16); 0 where only the size is checked and stored, and -1 means no rest.
    pub element_bytes: usize,
}

impl DynamicSliceSpec {
    /// Builds the kernel: parameters are operand, begins, sizes, result and the open axis's length (`I64`).
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("slice_of_computed_size");
        let [x, begins, sizes, y, number] = ["x", "begins", "sizes", "y", "number"].map(|n| b.ptr_param(n));
        let mut inside = b.int(Type::BOOL, 1);
        let mut starts = vec![];
        let mut length = b.i64(0);
        for d in 0..self.rank {
            let at = b.i64(d as i64);
            let start = get_int(&mut b, self.wide, begins, at);
            let n = b.i64(self.sizes[d] as i64);
            let fits = b.cmp(CmpOp::LeU, start, n);
            inside = both(&mut b, inside, fits);
            let room = b.sub(n, start);
            let size = get_int(&mut b, self.wide, sizes, at);
            let size = if self.element_bytes == 0 {
                size
            } else {
                let rest = s!(b, size == { -1 });
                b.select(rest, room, size)
            };
            let fits = b.cmp(CmpOp::LeU, size, room);
            inside = both(&mut b, inside, fits);
            if d == self.axis {
                length = size;
            }
            starts.push(start);
        }
        let zero = b.i64(0);
        let length = b.select(inside, length, zero);
        put_int(&mut b, true, number, zero, length);
        if self.element_bytes > 0 {
            self.copy(&mut b, x, y, &starts, length);
        }
        let (fine, bad) = (b.i32(0), b.i32(INDEX_OUT_OF_RANGE));
        let status = b.select(inside, fine, bad);
        b.finish_status(status)
    }

    fn copy(&self, b: &mut Builder, x: Value, y: Value, starts: &[Value], length: Value) {
        let (shape, result) = self.sizes.split_at(self.rank);
        let mut first = b.i64(0);
        for (start, n) in starts.iter().zip(shape) {
            let start = *start;
            first = s!(b, (first * { *n }) + start);
        }
        // Dimensions behind the open one, as nested loops.
        let zero = b.i64(0);
        let inner: usize = result[self.axis + 1..].iter().product();
        b.for_loop(zero, length, 1, &[], |b, row, _| {
            let stride: usize = shape[self.axis + 1..].iter().product();
            let from = s!(b, first + (row * { stride }));
            let to = s!(b, row * { inner });
            self.nest(b, self.axis + 1, [x, y], from, to);
            vec![]
        });
    }

    fn nest(&self, b: &mut Builder, d: usize, [x, y]: [Value; 2], from: Value, to: Value) {
        let (shape, result) = self.sizes.split_at(self.rank);
        if d == self.rank {
            let (from, to) = (b.mul_const(from, self.element_bytes as i64), b.mul_const(to, self.element_bytes as i64));
            let (mem, ty) = match self.element_bytes {
                1 => (Mem::U8, Type::I32),
                2 => (Mem::U16, Type::I32),
                4 => (Mem::S32, Type::I32),
                _ => (Mem::I64, Type::I64),
            };
            for part in 0..self.element_bytes.div_ceil(8) as i64 {
                let v = b.load(ty, mem, Addr::new(x).index(from, 1).offset(8 * part));
                b.store(mem, Narrow::Wrap, Addr::new(y).index(to, 1).offset(8 * part), v);
            }
            return;
        }
        let (stride, inner): (usize, usize) = (shape[d + 1..].iter().product(), result[d + 1..].iter().product());
        b.for_const(0, result[d] as i64, 1, &[], |b, i, _| {
            let (from, to) = (s!(b, from + (i * { stride })), s!(b, to + (i * { inner })));
            self.nest(b, d + 1, [x, y], from, to);
            vec![]
        });
    }
}

/// Specification of the number of segments that ascending ids name, which go up by at most one from 0.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SegmentsSpec {
    /// Ids.
    pub ids: usize,
}

impl SegmentsSpec {
    /// Builds the kernel: parameters are the ids (`I32`) and their number of segments (`I64`). Ids that are not in order make its status 2.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("segments");
        let (ids, number) = (b.ptr_param("ids"), b.ptr_param("number"));
        let (zero, before) = (b.i64(0), b.i64(-1));
        let good = b.int(Type::BOOL, 1);
        let seen = b.for_const(0, self.ids as i64, 1, &[before, good], |b, i, c| {
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
