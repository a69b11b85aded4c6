//! Copies between a tensor and a window of it whose start is known only at run time.
//!
//! Start indices are clamped so that the window lies inside, or make the status 2 where it would not. Work units are indices of the
//! window's outermost dimension.

use super::gather::{INDEX_OUT_OF_RANGE, copy_bytes};
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Kernel, Mem, Type, Value};

/// Specification of a copy into or out of a window.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct WindowCopySpec {
    /// Shape of the tensor that holds the window; at least one dimension.
    pub shape: Vec<usize>,
    /// Shape of the window: as many dimensions, none larger.
    pub window: Vec<usize>,
    /// Size of an element in bytes.
    pub element_bytes: usize,
    /// Whether the window is written, else read.
    pub write: bool,
    /// Whether starts are clamped, else checked.
    pub clamp: bool,
    /// Whether starts are 64 bits wide (else 32).
    pub wide_index: bool,
}

impl WindowCopySpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.window[0] as u64
    }

    /// Builds the kernel: parameters are what is read (window or tensor), the starts, what is written (tensor or window).
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut b = Builder::new(if self.write { "update_slice" } else { "dynamic_slice" });
        let from = b.ptr_param("from");
        let starts = b.ptr_param("starts");
        let to = b.ptr_param("to");
        let mut stride = self.element_bytes as i64;
        let mut strides = vec![0; self.shape.len()];
        for (s, &n) in strides.iter_mut().zip(&self.shape).rev() {
            *s = stride;
            stride *= n as i64;
        }
        let mut offset = b.i64(0);
        let mut inside = b.int(Type::BOOL, 1);
        for (d, &stride) in strides.iter().enumerate() {
            let (mem, bytes) = if self.wide_index { (Mem::I64, 8) } else { (Mem::S32, 4) };
            let start = b.load(Type::I64, mem, Addr::new(starts).offset(d as i64 * bytes));
            let (zero, last) = (b.i64(0), b.i64((self.shape[d] - self.window[d]) as i64));
            let start = if self.clamp {
                let start = b.max(start, zero);
                b.min(start, last)
            } else {
                let fits = b.cmp(CmpOp::LeU, start, last);
                inside = b.bin(BinOp::And, inside, fits);
                start
            };
            let bytes = b.mul_const(start, stride);
            offset = b.add(offset, bytes);
        }
        b.if_then(inside, |b| {
            let place = if self.write { to } else { from };
            let place = b.ptr_add(place, offset);
            let dense = if self.write { from } else { to };
            let mut dense_stride = self.element_bytes as i64;
            let mut dense_strides = vec![0; self.window.len()];
            for (s, &n) in dense_strides.iter_mut().zip(&self.window).rev() {
                *s = dense_stride;
                dense_stride *= n as i64;
            }
            // Trailing dimensions that the window spans whole are one run with the next.
            let mut run = self.window.len() - 1;
            while run > 1 && self.window[run] == self.shape[run] {
                run -= 1;
            }
            let (begin, end) = (b.begin(), b.end());
            let run = run.max(1).min(self.window.len());
            let bytes = if run < self.window.len() { dense_strides[run] * self.window[run] as i64 } else { self.element_bytes as i64 };
            b.for_loop(begin, end, 1, &[], |b, i, _| {
                let (p, d) = (b.mul_const(i, strides[0]), b.mul_const(i, dense_strides[0]));
                let (p, d) = (b.ptr_add(place, p), b.ptr_add(dense, d));
                self.nest(b, caps, 1..run, &strides, &dense_strides, p, d, bytes as usize);
                vec![]
            });
        });
        let (fine, bad) = (b.i32(0), b.i32(INDEX_OUT_OF_RANGE));
        let status = b.select(inside, fine, bad);
        b.finish_status(status)
    }

    #[allow(clippy::too_many_arguments)]
    fn nest(
        &self,
        b: &mut Builder,
        caps: &Caps,
        dims: std::ops::Range<usize>,
        outer: &[i64],
        inner: &[i64],
        p: Value,
        d: Value,
        bytes: usize,
    ) {
        if dims.is_empty() {
            let (from, to) = if self.write { (d, p) } else { (p, d) };
            copy_bytes(b, caps, from, to, bytes);
            return;
        }
        let k = dims.start;
        b.for_const(0, self.window[k] as i64, 1, &[p, d], |b, _, c| {
            self.nest(b, caps, k + 1..dims.end, outer, inner, c[0], c[1], bytes);
            vec![b.ptr_add_const(c[0], outer[k]), b.ptr_add_const(c[1], inner[k])]
        });
    }
}
