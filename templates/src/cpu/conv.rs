//! Convolution NHWC × OHWI → NHWC of any kernel size, stride, dilation, padding and number of groups, in f32 and int8.
//!
//! An implicit GEMM (see `implicit`): no im2col buffer and no padded copy. Parameters: `a` (input), `b` (from [`pack_b`]), `c` (output), then the
//! epilogue's operands and tables; a row of the epilogue is an output pixel. A work unit is a block of output rows × a panel of output channels.
//! A 1×1 convolution with stride 1 is a GEMM over all pixels: use [`crate::cpu::gemm`] for it.

use crate::cpu::epilogue::{Epilogue, Output};
use crate::cpu::implicit::{Call, Geometry, Nest, OutMap};
use crate::cpu::mac::{Scheme, WeightFormat, widen};
use crate::cpu::window::Axis;
use crate::expr::Storage;
use tflc_kir::{Builder, Caps, Kernel};

/// A convolution of one shape.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ConvSpec {
    /// Images.
    pub batch: usize,
    /// Input height, width and channels (of all groups).
    pub input: [usize; 3],
    /// Distance between input pixels in elements, at least the channels.
    pub in_pixel: usize,
    /// Output height, width and channels (of all groups).
    pub output: [usize; 3],
    /// Distance between output pixels in elements, at least the channels.
    pub ldc: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Strides in y and x.
    pub stride: [usize; 2],
    /// Dilations in y and x, 1 for none.
    pub dilation: [usize; 2],
    /// Padding above and to the left; below and to the right, taps outside the image are padding too.
    pub pad: [usize; 2],
    /// Groups; divides both channel counts.
    pub groups: usize,
    /// Elements of the input: `F32`, `I8` or `U8`.
    pub a_storage: Storage,
    /// Zero point of the input, which padding counts as; 0 for floats.
    pub a_zero_point: i32,
    /// Elements of the weights, `[out_c, kernel_h, kernel_w, in_c / groups]`.
    pub weights: WeightFormat,
    /// What is done to accumulators (`F32` or `I32`).
    pub epilogue: Epilogue,
}

impl ConvSpec {
    fn geometry(&self) -> Geometry {
        let [out_h, out_w, out_c] = self.output;
        let axis = |d: usize| Axis {
            input: self.input[d],
            output: self.output[d],
            kernel: self.kernel[d],
            stride: self.stride[d],
            dilation: self.dilation[d],
            pad: self.pad[d] as i64,
        };
        Geometry {
            batch: self.batch,
            y: axis(0),
            x: axis(1),
            in_pixel: self.in_pixel,
            groups: self.groups,
            in_c: self.input[2] / self.groups,
            out_c: out_c / self.groups,
            out: OutMap { height: out_h, width: out_w, step_y: 1, step_x: 1 },
        }
    }

    fn nest(&self, caps: &Caps) -> Nest {
        Nest::new(self.geometry(), self.scheme(caps), caps, self.a_zero_point).widened()
    }

    fn scheme(&self, caps: &Caps) -> Scheme {
        let g = self.geometry();
        Scheme::new(caps, self.a_storage, self.weights).suited_to(g.x.output, g.longest_run())
    }

    /// Weights of one output channel.
    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1] * (self.input[2] / self.groups)
    }
}

/// Whether weights of halves serve activations of floats in this shape: so many tiles share them that widening each of them once takes no time, and
/// there are so many of them that half their bytes are a gain.
pub fn suits_halves(spec: &ConvSpec, caps: &Caps) -> bool {
    let spec = ConvSpec { a_storage: Storage::F32, a_zero_point: 0, weights: WeightFormat::F16, ..spec.clone() };
    spec.output[2] * spec.taps() >= widen::LEAST_WEIGHTS && spec.nest(caps).widens()
}

/// Number of work units.
pub fn units(spec: &ConvSpec, caps: &Caps) -> usize {
    spec.nest(caps).units()
}

/// Number of units worth handing to a thread at once.
pub fn grain(spec: &ConvSpec, caps: &Caps) -> usize {
    (1_000_000 / spec.nest(caps).unit_work().max(1)).max(1)
}

/// Packs weights `[out_c, kernel_h, kernel_w, in_c / groups]` into what the kernel reads.
///
/// # Panics
/// Where `weights` has another size.
pub fn pack_b(spec: &ConvSpec, caps: &Caps, weights: &[u8]) -> Vec<u8> {
    assert_eq!(weights.len(), spec.output[2] * spec.taps() * spec.weights.bytes(), "size of the weights");
    let nest = spec.nest(caps);
    let [kernel_h, kernel_w] = spec.kernel;
    let in_c = spec.input[2] / spec.groups;
    let mut out = Vec::with_capacity(nest.packed_bytes());
    nest.pack(&mut out, weights, |n, ky, kx, c| Some(((n * kernel_h + ky) * kernel_w + kx) * in_c + c));
    debug_assert_eq!(out.len(), nest.packed_bytes());
    out
}

/// Size of what [`pack_b`] gives, in bytes.
pub fn packed_bytes(spec: &ConvSpec, caps: &Caps) -> usize {
    spec.nest(caps).packed_bytes()
}

/// The bias that makes the kernel's accumulator exact: `bias[n] - (zero_point + shift) * Σ w[n]`, where `shift` is what this target's
/// kernel adds to activations. Add it to the accumulator first in the epilogue.
pub fn folded_bias(spec: &ConvSpec, caps: &Caps, bias: Option<&[i32]>, weights: &[u8]) -> Vec<i32> {
    let offset = spec.a_zero_point + spec.scheme(caps).a_shift();
    let at = |n: usize| bias.map_or(0, |b| b[n]);
    weight_sums(spec, weights).iter().enumerate().map(|(n, s)| at(n).wrapping_sub(s.wrapping_mul(offset))).collect()
}

/// Sum of the 8-bit weights of each output channel, less their zero points.
pub fn weight_sums(spec: &ConvSpec, weights: &[u8]) -> Vec<i32> {
    let taps = spec.taps();
    (0..spec.output[2]).map(|n| spec.weights.sum_centered(&weights[n * taps..(n + 1) * taps])).collect()
}

/// Builds the kernel.
///
/// # Panics
/// Where the spec contradicts itself: empty, groups that do not divide, strides below the channels, an accumulator type that is not the scheme's.
pub fn build(spec: &ConvSpec, caps: &Caps) -> Kernel {
    let sizes = [&spec.input[..], &spec.output, &spec.kernel, &spec.stride, &spec.dilation, &[spec.batch, spec.groups]].concat();
    assert!(sizes.iter().all(|&s| s > 0), "empty shape of {spec:?}");
    assert!(spec.input[2].is_multiple_of(spec.groups) && spec.output[2].is_multiple_of(spec.groups), "groups of {spec:?}");
    assert!(spec.in_pixel >= spec.input[2] && spec.ldc >= spec.output[2], "pixel strides of {spec:?}");
    let nest = spec.nest(caps);
    spec.epilogue.check(nest.scheme.acc_ty());
    let kr = if nest.scheme.kr() > 1 { format!("c{}", nest.scheme.kr()) } else { String::new() };
    let mut b = Builder::new(format!("{}_conv_{}x{}{kr}", nest.scheme.dtype(spec.a_storage), nest.mr, nest.panels.nr));
    let (a, packed) = (b.ptr_param("a"), b.ptr_param("b"));
    let output = Output::declare(&mut b, caps, &spec.epilogue, spec.ldc);
    let scratch = nest.scheme.scratch(&mut b, nest.mr, nest.longest_run());
    let (begin, end) = (b.begin(), b.end());
    let zero = b.i64(0);
    let widened = nest.widening_buffers(&mut b);
    let call = Call { a, packed, output: &output, scratch, widened, origin: (zero, zero), zero: None };
    b.for_loop(begin, end, 1, &[], |b, unit, _| {
        nest.unit(b, &call, unit);
        vec![]
    });
    b.finish()
}
