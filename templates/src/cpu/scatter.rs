//! Slices combined into a tensor at places known only at run time.
//!
//! Places are tuples of indices, each checked; one outside its dimension makes the kernel's status 2 and its slice is dropped. Tuples may meet, so there is
//! one work unit. The tensor is filled before.

use super::gather::INDEX_OUT_OF_RANGE;
use super::scalar::{get_int, s};
use crate::expr::emit::{load_storage, load_storage_splat, store_storage};
use crate::expr::{Storage, Ty};
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Elem, Kernel, Narrow, Type, Value};

/// What is done where a slice lands.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Meet {
    /// The slice replaces what is there.
    Replace,
    /// Sum, wrapping; of truth values, disjunction, as the greater one.
    Add,
    /// Product, wrapping; of truth values, conjunction, as the smaller one.
    Multiply,
    /// The smaller one.
    Min,
    /// The greater one.
    Max,
}

/// What is done with a negative index.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Negative {
    /// It is an error.
    Refuse,
    /// Its slice is dropped.
    Drop,
}

/// Specification: `y[index[i, 0], .., index[i, d-1], :] ⊕= x[i, :]`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ScatterSpec {
    /// Number of tuples.
    pub tuples: usize,
    /// Sizes of the indexed dimensions, outermost first.
    pub sizes: Vec<usize>,
    /// Elements of a slice.
    pub inner: usize,
    /// Type of the elements.
    pub storage: Storage,
    /// What is done where a slice lands.
    pub meet: Meet,
    /// Whether indices are 64 bits wide (else 32).
    pub wide_index: bool,
    /// What is done with negative indices.
    pub negative: Negative,
    /// Whether all tuples take the same single element.
    pub one_value: bool,
}

impl ScatterSpec {
    /// Builds the kernel: parameters are indices, slices, the filled tensor.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("scatter");
        let [indices, x, y] = ["indices", "x", "y"].map(|n| b.ptr_param(n));
        let bytes = self.storage.bytes() as i64;
        let fine = b.i32(0);
        let status = b.for_const(0, self.tuples as i64, 1, &[fine], |b, u, c| {
            let mut place = b.i64(0);
            let mut inside = b.int(Type::BOOL, 1);
            let mut below = b.int(Type::BOOL, 0);
            for (d, &n) in self.sizes.iter().enumerate() {
                let at = s!(b, (u * { self.sizes.len() }) + { d });
                let k = get_int(b, self.wide_index, indices, at);
                let size = b.i64(n as i64);
                let fits = b.cmp(CmpOp::LtU, k, size);
                inside = b.bin(BinOp::And, inside, fits);
                let negative = s!(b, k < 0);
                below = b.bin(BinOp::Or, below, negative);
                place = s!(b, (place * size) + k);
            }
            b.if_then(inside, |b| {
                let at = b.mul_const(place, self.inner as i64 * bytes);
                let to = b.ptr_add(y, at);
                let at = if self.one_value { b.i64(0) } else { b.mul_const(u, self.inner as i64 * bytes) };
                let from = b.ptr_add(x, at);
                self.slice(b, caps, from, to);
            });
            let bad = b.i32(INDEX_OUT_OF_RANGE);
            let lost = if self.negative == Negative::Drop { b.select(below, c[0], bad) } else { bad };
            vec![b.select(inside, c[0], lost)]
        })[0];
        b.finish_status(status)
    }

    fn slice(&self, b: &mut Builder, caps: &Caps, from: Value, to: Value) {
        if self.one_value {
            b.for_const(0, self.inner as i64, 1, &[], |b, i, _| {
                element(b, self.storage, self.meet, from, to, i, Lanes { all: 1, active: 1, splat: true });
                vec![]
            });
            return;
        }
        combine(b, caps, self.storage, self.meet, self.inner, from, to);
    }
}

/// Emits: `length` elements at `from` combined into those at `to`.
pub(super) fn combine(b: &mut Builder, caps: &Caps, storage: Storage, meet: Meet, length: usize, from: Value, to: Value) {
    let lanes = match storage {
        Storage::F32 | Storage::I32 if length > 1 => caps.lanes(Elem::F32),
        _ => 1,
    };
    let whole = length - length % usize::from(lanes);
    b.for_const(0, whole as i64, i64::from(lanes), &[], |b, i, _| {
        element(b, storage, meet, from, to, i, Lanes { all: lanes, active: lanes, splat: false });
        vec![]
    });
    if whole < length {
        let i = b.i64(whole as i64);
        element(b, storage, meet, from, to, i, Lanes { all: lanes, active: (length - whole) as u16, splat: false });
    }
}

/// How many elements are combined at once, and whether they all take the first one.
#[derive(Clone, Copy)]
struct Lanes {
    all: u16,
    active: u16,
    splat: bool,
}

fn element(b: &mut Builder, storage: Storage, meet: Meet, from: Value, to: Value, i: Value, lanes: Lanes) {
    let scale = storage.bytes() as u8;
    let v = if lanes.splat {
        load_storage_splat(b, storage, lanes.all, Addr::new(from))
    } else {
        load_storage(b, storage, lanes.all, Addr::new(from).index(i, scale), lanes.active)
    };
    let truth = storage.ty() == Ty::Bool;
    let op = match meet {
        Meet::Replace => None,
        Meet::Add | Meet::Max if truth => Some(BinOp::Or),
        Meet::Multiply | Meet::Min if truth => Some(BinOp::And),
        Meet::Add => Some(BinOp::Add),
        Meet::Multiply => Some(BinOp::Mul),
        Meet::Min => Some(BinOp::Min),
        Meet::Max => Some(BinOp::Max),
    };
    let v = match op {
        None => v,
        Some(op) => {
            let old = load_storage(b, storage, lanes.all, Addr::new(to).index(i, scale), lanes.active);
            b.bin(op, old, v)
        }
    };
    store_storage(b, storage, Narrow::Wrap, Addr::new(to).index(i, scale), v, lanes.active);
}
