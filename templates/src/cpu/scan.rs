//! Running sums along one axis.
//!
//! Lanes are elements behind the axis; without any, the sum runs in a scalar. Work units are rows (indices of the dimensions in front of the axis).

use crate::expr::emit::{elem, load_storage, store_storage};
use crate::expr::{Storage, Ty};
use tflc_kir::{Addr, Builder, Caps, Elem, Kernel, Narrow, Type, Value};

/// Specification: `y[o, k, i]` is the sum of `x[o, j, i]` over j up to k (below k where `exclusive`; from the end where `reverse`).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ScanSpec {
    /// Elements in front of the axis.
    pub outer: usize,
    /// Size of the axis.
    pub n: usize,
    /// Elements behind the axis.
    pub inner: usize,
    /// Type of the elements: F32, I32 or I64 in registers.
    pub storage: Storage,
    /// Whether an element's own value is left out.
    pub exclusive: bool,
    /// Whether the sum runs from the end.
    pub reverse: bool,
}

impl ScanSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.outer as u64
    }

    /// Builds the kernel: parameters are input and output.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new("cumsum");
        let x = b.ptr_param("x");
        let y = b.ptr_param("y");
        let lanes = match (self.storage.ty(), caps.vector_bytes) {
            _ if self.inner == 1 => 1,
            (Ty::I64, 16) => 1,
            (Ty::I64, _) => caps.lanes(Elem::I64),
            _ => caps.lanes(Elem::F32),
        };
        let (begin, end) = (b.begin(), b.end());
        let row = (self.n * self.inner * self.storage.bytes()) as i64;
        b.for_loop(begin, end, 1, &[], |b, u, _| {
            let at = b.mul_const(u, row);
            let (x, y) = (b.ptr_add(x, at), b.ptr_add(y, at));
            let whole = self.inner - self.inner % usize::from(lanes);
            b.for_const(0, whole as i64, i64::from(lanes), &[], |b, i, _| {
                self.columns(b, lanes, x, y, i, lanes);
                vec![]
            });
            if whole < self.inner {
                let i = b.i64(whole as i64);
                self.columns(b, lanes, x, y, i, (self.inner - whole) as u16);
            }
            vec![]
        });
        b.finish()
    }

    fn columns(&self, b: &mut Builder, lanes: u16, x: Value, y: Value, i: Value, active: u16) {
        let bytes = self.storage.bytes() as i64;
        let stride = self.inner as i64 * bytes;
        let (start, step) = if self.reverse { ((self.n as i64 - 1) * stride, -stride) } else { (0, stride) };
        let at = b.mul_const(i, bytes);
        let at = b.add_const(at, start);
        let (x, y) = (b.ptr_add(x, at), b.ptr_add(y, at));
        let ty = Type::vector(elem(self.storage.ty()), lanes);
        let zero = if ty.elem.is_float() { b.float(ty, 0.0) } else { b.int(ty, 0) };
        b.for_const(0, self.n as i64, 1, &[zero, x, y], |b, _, c| {
            let v = load_storage(b, self.storage, lanes, Addr::new(c[1]), active);
            let sum = b.add(c[0], v);
            let out = if self.exclusive { c[0] } else { sum };
            store_storage(b, self.storage, Narrow::Wrap, Addr::new(c[2]), out, active);
            vec![sum, b.ptr_add_const(c[1], step), b.ptr_add_const(c[2], step)]
        });
    }
}
