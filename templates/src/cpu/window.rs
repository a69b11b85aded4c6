//! One axis of a sliding window: which taps of which outputs lie inside the input.
//!
//! Tap k of output x reads input `x * stride - pad + k * dilation`. Taps outside `[0, input)` are padding.

use std::collections::BTreeMap;
use tflc_kir::{BinOp, Builder, Value};

/// A window along one axis.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Axis {
    /// Length of the input.
    pub input: usize,
    /// Length of the output.
    pub output: usize,
    /// Number of taps.
    pub kernel: usize,
    /// Distance between the windows of neighbouring outputs.
    pub stride: usize,
    /// Distance between neighbouring taps.
    pub dilation: usize,
    /// Padding before the input; negative where the first window begins further on.
    pub pad: i64,
}

impl Axis {
    /// Input position of tap `k` of output `x`, which may lie outside.
    pub fn position(&self, x: usize, k: usize) -> i64 {
        (x * self.stride + k * self.dilation) as i64 - self.pad
    }

    /// The inputs that the windows of `outputs` neighbouring outputs read, counted from the start of the first window, in ascending order, each with the
    /// outputs and taps that read it.
    pub(crate) fn readers(&self, outputs: usize) -> BTreeMap<usize, Vec<(usize, usize)>> {
        let mut readers = BTreeMap::<_, Vec<_>>::new();
        for (k, x) in (0..self.kernel).flat_map(|k| (0..outputs).map(move |x| (k, x))) {
            readers.entry(x * self.stride + k * self.dilation).or_default().push((x, k));
        }
        readers
    }

    /// Whether tap `k` of output `x` lies inside the input.
    pub fn is_inside(&self, x: usize, k: usize) -> bool {
        (0..self.input as i64).contains(&self.position(x, k))
    }

    /// Outputs, counted from `x`, among the `count` that begin there for which tap `k` lies inside.
    pub fn inside(&self, x: usize, count: usize, k: usize) -> std::ops::Range<usize> {
        let lo = (0..count).find(|&r| self.position(x + r, k) >= 0).unwrap_or(count);
        let hi = (lo..count).find(|&r| self.position(x + r, k) >= self.input as i64).unwrap_or(count);
        lo..hi
    }

    /// Whether every tap of every output lies inside.
    pub fn all_inside(&self) -> bool {
        self.pad <= 0 && self.position(self.output - 1, self.kernel - 1) < self.input as i64
    }

    /// Whether some tap of every output lies inside.
    pub fn always_inside(&self) -> bool {
        let inside = |at: i64| (0..self.input as i64).contains(&at);
        (0..self.output).all(|x| (0..self.kernel).any(|k| inside(self.position(x, k))))
    }

    /// Emits the range of taps of output `y` (`I64`) that lie inside.
    pub fn taps(&self, b: &mut Builder, y: Value) -> (Value, Value) {
        let (zero, all) = (b.i64(0), b.i64(self.kernel as i64));
        if self.all_inside() {
            return (zero, all);
        }
        let dilation = b.i64(self.dilation as i64);
        // How far tap 0 lies before the input: taps before ceil(before / dilation) lie there too.
        let before = b.mul_const(y, -(self.stride as i64));
        let before = b.add_const(before, self.pad);
        let round_up = self.dilation as i64 - 1;
        let lo = b.add_const(before, round_up);
        let lo = b.max(lo, zero);
        let lo = b.bin(BinOp::Div, lo, dilation);
        let hi = b.add_const(before, self.input as i64 + round_up);
        let hi = b.max(hi, zero);
        let hi = b.bin(BinOp::Div, hi, dilation);
        let hi = b.min(hi, all);
        (b.min(lo, hi), hi)
    }
}
