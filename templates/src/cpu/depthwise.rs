//! Depthwise convolution NHWC of any kernel size, stride, dilation, padding and depth multiplier, in f32 and int8.
//!
//! Vectors run over channels. A tile is several neighbouring output pixels of one row, which share input loads, × one block of output channels; taps outside
//! the image are skipped as in `implicit`: in y by loop bounds, in x by classes of tiles. Where the rows under the taps exceed the first-level cache, a tile is
//! computed for all rows of a range before the next one, so that each row is read from the second level once instead of once for each tap. Two ways to multiply: one tap at a time (f32; int8 with a
//! multiplier or without dot products, in i32 lanes), in `depthwise_tap`, or several taps by dot products, in `depthwise_dot`. Parameters: `a`, `b` (from
//! [`pack_b`]), `c`, then the epilogue's operands and tables. A work unit is an output row.

use crate::cpu::depthwise_dot::DotPath;
use crate::cpu::depthwise_tap::TapPath;
use crate::cpu::epilogue::{Epilogue, Output};
use crate::cpu::gemm::{dtype, split_unit};
use crate::cpu::mac::WeightFormat;
use crate::cpu::tiling::RowSplit;
use crate::cpu::window::Axis;
use crate::expr::{Storage, Ty};
use tflc_kir::{Builder, Caps, Elem, Kernel, Value};

/// A depthwise convolution of one shape; output channel `c * multiplier + m` reads input channel c.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct DepthwiseSpec {
    /// Images.
    pub batch: usize,
    /// Input height, width and channels.
    pub input: [usize; 3],
    /// Distance between input pixels in elements, at least the channels.
    pub in_pixel: usize,
    /// Output height and width.
    pub output: [usize; 2],
    /// Output channels for each input channel.
    pub multiplier: usize,
    /// Distance between output pixels in elements, at least the output channels.
    pub ldc: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Strides in y and x.
    pub stride: [usize; 2],
    /// Dilations in y and x, 1 for none.
    pub dilation: [usize; 2],
    /// Padding above and to the left; below and to the right, taps outside the image are padding too.
    pub pad: [usize; 2],
    /// Elements of the input: `F32`, `I8` or `U8`.
    pub a_storage: Storage,
    /// Zero point of the input, which padding counts as; 0 for floats.
    pub a_zero_point: i32,
    /// Elements of the weights, `[kernel_h, kernel_w, channels * multiplier]`.
    pub weights: WeightFormat,
    /// What is done to accumulators (`F32` or `I32`).
    pub epilogue: Epilogue,
}

impl DepthwiseSpec {
    pub(crate) fn axis(&self, d: usize) -> Axis {
        Axis {
            input: self.input[d],
            output: self.output[d],
            kernel: self.kernel[d],
            stride: self.stride[d],
            dilation: self.dilation[d],
            pad: self.pad[d] as i64,
        }
    }

    /// Output channels.
    pub fn channels(&self) -> usize {
        self.input[2] * self.multiplier
    }

    pub(crate) fn is_float(&self) -> bool {
        self.a_storage == Storage::F32
    }

    /// Position of the weight of tap (ky, kx) and output channel `n`.
    pub(crate) fn weight_index(&self, ky: usize, kx: usize, n: usize) -> usize {
        (ky * self.kernel[1] + kx) * self.channels() + n
    }
}

/// Number of work units: output rows of all images.
pub fn units(spec: &DepthwiseSpec) -> usize {
    spec.batch * spec.output[0]
}

/// Number of units worth handing to a thread at once.
pub fn grain(spec: &DepthwiseSpec) -> usize {
    (200_000 / (spec.output[1] * spec.channels() * spec.kernel[0] * spec.kernel[1]).max(1)).max(1)
}

/// Packs weights `[kernel_h, kernel_w, channels * multiplier]` into what the kernel reads.
///
/// # Panics
/// Where `weights` has another size.
pub fn pack_b(spec: &DepthwiseSpec, caps: &Caps, weights: &[u8]) -> Vec<u8> {
    let taps = spec.kernel[0] * spec.kernel[1];
    assert_eq!(weights.len(), taps * spec.channels() * spec.weights.bytes(), "size of the weights");
    let out = match DotPath::new(spec, caps) {
        Some(dot) => dot.pack(weights),
        None => TapPath::new(spec, caps).pack(weights),
    };
    debug_assert_eq!(out.len(), packed_bytes(spec, caps));
    out
}

/// Size of what [`pack_b`] gives, in bytes.
pub fn packed_bytes(spec: &DepthwiseSpec, caps: &Caps) -> usize {
    match DotPath::new(spec, caps) {
        Some(dot) => dot.packed_bytes(),
        None => TapPath::new(spec, caps).packed_bytes(),
    }
}

/// The bias that makes the kernel's accumulator exact. Add it to the accumulator first in the epilogue.
pub fn folded_bias(spec: &DepthwiseSpec, caps: &Caps, bias: Option<&[i32]>, weights: &[u8]) -> Vec<i32> {
    let offset = DotPath::new(spec, caps).map_or(0, |dot| dot.zero());
    let at = |n: usize| bias.map_or(0, |b| b[n]);
    weight_sums(spec, weights).iter().enumerate().map(|(n, s)| at(n).wrapping_sub(s.wrapping_mul(offset))).collect()
}

/// Sum of the 8-bit weights of each output channel, less their zero points.
pub fn weight_sums(spec: &DepthwiseSpec, weights: &[u8]) -> Vec<i32> {
    let centered = spec.weights.centering();
    let mut sums = vec![0; spec.channels()];
    for tap in weights.chunks_exact(sums.len().max(1)) {
        sums.iter_mut().zip(tap).for_each(|(sum, w)| *sum += centered(*w));
    }
    sums
}

/// Builds the kernel.
///
/// # Panics
/// Where the spec contradicts itself: empty, strides below the channels, an accumulator type that does not fit.
pub fn build(spec: &DepthwiseSpec, caps: &Caps) -> Kernel {
    let sizes = [&spec.input[..], &spec.output, &spec.kernel, &spec.stride, &spec.dilation, &[spec.batch, spec.multiplier]].concat();
    assert!(sizes.iter().all(|&s| s > 0), "empty shape of {spec:?}");
    assert!(spec.in_pixel >= spec.input[2] && spec.ldc >= spec.channels(), "pixel strides of {spec:?}");
    spec.epilogue.check(if spec.is_float() { Ty::F32 } else { Ty::I32 });
    let dot = DotPath::new(spec, caps);
    let tap = TapPath::new(spec, caps);
    let tile = dot.as_ref().map_or((tap.mr, String::new()), |d| (d.mr, format!("c{}", d.group)));
    let [kh, kw] = spec.kernel;
    let mut b = Builder::new(format!("{}_dwconv{kh}x{kw}_{}x{}{}", dtype(spec.a_storage), tile.0, caps.lanes(Elem::F32), tile.1));
    let (a, packed) = (b.ptr_param("a"), b.ptr_param("b"));
    let output = Output::declare(&mut b, caps, &spec.epilogue, spec.ldc);
    let (begin, end) = (b.begin(), b.end());
    let line = |b: &mut Builder, unit: Value| {
        let (image, y) = split_unit(b, unit, spec.batch, spec.output[0]);
        let pixel = b.mul_const(unit, spec.output[1] as i64);
        Line { a, packed, image, y, pixel }
    };
    if let (None, Some(blocks)) = (&dot, tap.strip_blocks(caps)) {
        tap.strips(&mut b, (begin, end), blocks, packed, &line, &output);
        return b.finish();
    }
    b.for_loop(begin, end, 1, &[], |b, unit, _| {
        let line = line(b, unit);
        match &dot {
            Some(dot) => dot.line(b, &line, &output),
            None => tap.line(b, &line, &output),
        }
        vec![]
    });
    b.finish()
}

/// An output row under construction.
pub(crate) struct Line {
    pub(crate) a: Value,
    pub(crate) packed: Value,
    pub(crate) image: Value,
    pub(crate) y: Value,
    /// Index of its first output pixel.
    pub(crate) pixel: Value,
}

/// Neighbouring tiles that share their code: `count` tiles of `mr` pixels from pixel `x`, equal in `key`.
pub(crate) struct Class<K> {
    pub(crate) x: usize,
    pub(crate) mr: usize,
    pub(crate) count: usize,
    pub(crate) key: K,
}

/// Groups the tiles of a row by what `key(x, mr)` says of them.
pub(crate) fn classes<K: PartialEq>(split: RowSplit, key: impl Fn(usize, usize) -> K) -> Vec<Class<K>> {
    let mut classes: Vec<Class<K>> = vec![];
    for t in 0..split.tiles() {
        let (x, mr) = split.tile(t);
        let k = key(x, mr);
        match classes.last_mut() {
            Some(c) if c.mr == mr && c.key == k => c.count += 1,
            _ => classes.push(Class { x, mr, count: 1, key: k }),
        }
    }
    classes
}
