//! Gathering of contiguous slices by indices known only at run time.
//!
//! Each index is checked; one outside its axis makes the kernel's status 2 and leaves its slice untouched. Work units are
//! (batch, outer) pairs, or indices where there is one pair, or index tuples.

use super::units::for_pairs;
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Elem, Kernel, Mem, Narrow, Type, Value};

/// Status where an index lies outside its axis.
pub const INDEX_OUT_OF_RANGE: i32 = 2;

/// Specification of a gather: `y[b, o, i, :] = x[b, o, index[b, i], :]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GatherSpec {
    /// Batches, each with indices of its own.
    pub batch: usize,
    /// Outer elements of a batch, which share its indices.
    pub outer: usize,
    /// Size of the gathered axis.
    pub axis: usize,
    /// Indices of a batch.
    pub indices: usize,
    /// Contiguous bytes that an index selects.
    pub slice_bytes: usize,
    /// Whether indices are 64 bits wide (else 32).
    pub wide_index: bool,
    /// Whether negative indices count from the end.
    pub wrap_negative: bool,
}

impl GatherSpec {
    /// Whether units are indices: one set of slices alone is split along them.
    pub fn splits_indices(&self) -> bool {
        self.batch * self.outer == 1
    }

    /// Number of work units.
    pub fn units(&self) -> u64 {
        (if self.splits_indices() { self.indices } else { self.batch * self.outer }) as u64
    }

    /// Builds the kernel: parameters are input, indices, output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("gather");
        let x = b.ptr_param("x");
        let indices = b.ptr_param("indices");
        let y = b.ptr_param("y");
        let fine = b.i32(0);
        let slice = self.slice_bytes as i64;
        let status = if self.splits_indices() {
            let (begin, end) = (b.begin(), b.end());
            b.for_loop(begin, end, 1, &[fine], |b, i, c| vec![self.slice(b, caps, [x, indices, y], i, c[0])])[0]
        } else {
            for_pairs(&mut b, self.outer, &[fine], |b, [batch, _, u], c| {
                let at = b.mul_const(batch, (self.indices * index_bytes(self.wide_index)) as i64);
                let index = b.ptr_add(indices, at);
                let at = b.mul_const(u, self.axis as i64 * slice);
                let from = b.ptr_add(x, at);
                let at = b.mul_const(u, self.indices as i64 * slice);
                let to = b.ptr_add(y, at);
                b.for_const(0, self.indices as i64, 1, &[c[0]], |b, i, c| vec![self.slice(b, caps, [from, index, to], i, c[0])])
            })[0]
        };
        b.finish_status(status)
    }

    /// Copies the slice that index `i` selects; gives the status.
    fn slice(&self, b: &mut Builder, caps: &Caps, [from, index, to]: [Value; 3], i: Value, status: Value) -> Value {
        let k = load_index(b, index, i, self.wide_index);
        let size = b.i64(self.axis as i64);
        let k = if self.wrap_negative {
            let zero = b.i64(0);
            let below = b.cmp(CmpOp::Lt, k, zero);
            let wrapped = b.add(k, size);
            b.select(below, wrapped, k)
        } else {
            k
        };
        let inside = b.cmp(CmpOp::LtU, k, size);
        let at = b.mul_const(i, self.slice_bytes as i64);
        let out = b.ptr_add(to, at);
        b.if_then(inside, |b| {
            let at = b.mul_const(k, self.slice_bytes as i64);
            let source = b.ptr_add(from, at);
            copy_bytes(b, caps, source, out, self.slice_bytes);
        });
        let bad = b.i32(INDEX_OUT_OF_RANGE);
        b.select(inside, status, bad)
    }
}

/// Specification of a gather by index tuples: `y[i, :] = x[index[i, 0], .., index[i, k-1], :]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct GatherNdSpec {
    /// Number of tuples: the work units.
    pub tuples: usize,
    /// Sizes of the indexed dimensions, outermost first.
    pub sizes: Vec<usize>,
    /// Contiguous bytes that a tuple selects.
    pub slice_bytes: usize,
    /// Whether indices are 64 bits wide (else 32).
    pub wide_index: bool,
}

impl GatherNdSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.tuples as u64
    }

    /// Builds the kernel: parameters are input, indices, output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("gather_nd");
        let x = b.ptr_param("x");
        let indices = b.ptr_param("indices");
        let y = b.ptr_param("y");
        let (begin, end) = (b.begin(), b.end());
        let fine = b.i32(0);
        let status = b.for_loop(begin, end, 1, &[fine], |b, u, c| {
            let first = b.mul_const(u, self.sizes.len() as i64);
            let mut position = b.i64(0);
            let mut inside = b.int(Type::BOOL, 1);
            for (d, &n) in self.sizes.iter().enumerate() {
                let at = b.add_const(first, d as i64);
                let k = load_index(b, indices, at, self.wide_index);
                let size = b.i64(n as i64);
                let fits = b.cmp(CmpOp::LtU, k, size);
                inside = b.bin(BinOp::And, inside, fits);
                let scaled = b.mul(position, size);
                position = b.add(scaled, k);
            }
            let at = b.mul_const(u, self.slice_bytes as i64);
            let out = b.ptr_add(y, at);
            b.if_then(inside, |b| {
                let at = b.mul_const(position, self.slice_bytes as i64);
                let source = b.ptr_add(x, at);
                copy_bytes(b, caps, source, out, self.slice_bytes);
            });
            let bad = b.i32(INDEX_OUT_OF_RANGE);
            vec![b.select(inside, c[0], bad)]
        })[0];
        b.finish_status(status)
    }
}

fn index_bytes(wide: bool) -> usize {
    if wide { 8 } else { 4 }
}

/// Index `i` of an array of 32- or 64-bit indices.
fn load_index(b: &mut Builder, indices: Value, i: Value, wide: bool) -> Value {
    let mem = if wide { Mem::I64 } else { Mem::S32 };
    b.load(Type::I64, mem, Addr::new(indices).index(i, index_bytes(wide) as u8))
}

/// Copies a constant number of bytes between buffers that do not overlap.
pub fn copy_bytes(b: &mut Builder, caps: &Caps, from: Value, to: Value, bytes: usize) {
    let lanes = caps.lanes(Elem::I8);
    let ty = Type::vector(Elem::I8, lanes);
    let (n, step) = (bytes as i64, i64::from(lanes));
    let whole = n - n % step;
    b.for_const(0, whole, step, &[], |b, i, _| {
        let v = b.load(ty, Mem::U8, Addr::new(from).index(i, 1));
        b.store(Mem::U8, Narrow::Wrap, Addr::new(to).index(i, 1), v);
        vec![]
    });
    let mut at = whole;
    for (size, mem, ty) in [(8, Mem::I64, Type::I64), (4, Mem::S32, Type::I32), (2, Mem::U16, Type::I32), (1, Mem::U8, Type::I32)] {
        while n - at >= size {
            let v = b.load(ty, mem, Addr::new(from).offset(at));
            b.store(mem, Narrow::Wrap, Addr::new(to).offset(at), v);
            at += size;
        }
    }
}
