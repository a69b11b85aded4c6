//! Transposed convolution NHWC × OHWI → NHWC by sub-pixel decomposition, in f32 and int8.
//!
//! Outputs whose position has one remainder modulo the stride use one subset of the taps: they form a convolution with stride 1, whose pixels lie `stride`
//! apart in the output. Neighbouring remainders whose convolutions have one shape share a loop nest (see `implicit`) and differ in weights and
//! origin only. Every output element is written once, so nothing is cleared or accumulated in memory. Parameters: `a`, `b` (from [`pack_b`]), `c`,
//! then the epilogue's operands and tables; a row of the epilogue is an output pixel. The kernel subtracts the input's zero point itself: no bias is
//! folded. Where only a run knows it, it lies at a last parameter.

use crate::cpu::epilogue::{Epilogue, Output};
use crate::cpu::gemm::{dtype, split_unit};
use crate::cpu::implicit::{Call, Centering, Geometry, Nest, OutMap, Zero};
use crate::cpu::mac::{Scheme, WeightFormat};
use crate::cpu::window::Axis;
use crate::expr::Storage;
use tflc_kir::{Addr, Builder, Caps, CmpOp, Elem, Kernel, Mem, Type, Value};

/// A transposed convolution of one shape: output `(y * stride - pad + ky, …)` receives input (y, x) times tap (ky, kx).
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TransposeConvSpec {
    /// Images.
    pub batch: usize,
    /// Input height, width and channels.
    pub input: [usize; 3],
    /// Distance between input pixels in elements, at least the channels.
    pub in_pixel: usize,
    /// Output height, width and channels.
    pub output: [usize; 3],
    /// Distance between output pixels in elements, at least the channels.
    pub ldc: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Strides in y and x.
    pub stride: [usize; 2],
    /// Rows and columns cut off above and to the left.
    pub pad: [usize; 2],
    /// Elements of the input: `F32`, `I8` or `U8`.
    pub a_storage: Storage,
    /// Zero point of the input; 0 for floats. `None`: an I32 at the last parameter.
    pub a_zero_point: Option<i32>,
    /// Elements of the weights, `[out_c, kernel_h, kernel_w, in_c]`.
    pub weights: WeightFormat,
    /// What is done to accumulators (`F32` or `I32`).
    pub epilogue: Epilogue,
}

/// Neighbouring first outputs `first .. first + count` along one axis whose convolutions have the same shape.
struct Phases {
    first: usize,
    count: usize,
    axis: Axis,
}

impl TransposeConvSpec {
    /// The phases along axis `d`.
    fn phases(&self, d: usize) -> Vec<Phases> {
        let (stride, pad, kernel) = (self.stride[d], self.pad[d], self.kernel[d]);
        let mut all: Vec<Phases> = vec![];
        for first in 0..stride.min(self.output[d]) {
            let (q, remainder) = ((first + pad) / stride, (first + pad) % stride);
            // A phase without taps still writes its outputs: one tap of zero weight.
            let taps = (kernel.saturating_sub(remainder)).div_ceil(stride).max(1);
            let axis = Axis {
                input: self.input[d],
                output: (self.output[d] - first).div_ceil(stride),
                kernel: taps,
                stride: 1,
                dilation: 1,
                pad: taps as i64 - 1 - q as i64,
            };
            match all.last_mut() {
                Some(p) if p.axis == axis => p.count += 1,
                _ => all.push(Phases { first, count: 1, axis }),
            }
        }
        all
    }

    /// The kernel position along axis `d` of tap `k` of the phase that begins at output `first`; None where it has no taps.
    fn tap(&self, d: usize, first: usize, taps: usize, k: usize) -> Option<usize> {
        let at = (first + self.pad[d]) % self.stride[d] + (taps - 1 - k) * self.stride[d];
        (at < self.kernel[d]).then_some(at)
    }

    /// Loop nests, each with its phases.
    fn nests(&self, caps: &Caps) -> Vec<(Nest, Phases, Phases)> {
        let mut nests = vec![];
        for y in self.phases(0) {
            for x in self.phases(1) {
                let geometry = Geometry {
                    batch: self.batch,
                    y: y.axis,
                    x: x.axis,
                    in_pixel: self.in_pixel,
                    groups: 1,
                    in_c: self.input[2],
                    out_c: self.output[2],
                    out: OutMap { height: self.output[0], width: self.output[1], step_y: self.stride[0], step_x: self.stride[1] },
                };
                let scheme = Scheme::new(caps, self.a_storage, self.weights).suited_to(self.input[1], self.input[2]);
                let y = Phases { first: y.first, count: y.count, axis: y.axis };
                let mut nest = Nest::new(geometry, scheme, caps, self.a_zero_point.unwrap_or(0));
                nest.centering = Centering::Kernel;
                if self.a_zero_point.is_none() {
                    nest.zero = Zero::Given;
                }
                nests.push((nest, y, x));
            }
        }
        nests
    }
}

/// Number of work units.
pub fn units(spec: &TransposeConvSpec, caps: &Caps) -> usize {
    spec.nests(caps).iter().map(|(nest, y, x)| nest.units() * y.count * x.count).sum()
}

/// Number of units worth handing to a thread at once.
pub fn grain(spec: &TransposeConvSpec, caps: &Caps) -> usize {
    let least = spec.nests(caps).iter().map(|(nest, ..)| nest.unit_work()).min().unwrap_or(1);
    (1_000_000 / least.max(1)).max(1)
}

/// Packs weights `[out_c, kernel_h, kernel_w, in_c]` into what the kernel reads.
///
/// # Panics
/// Where `weights` has another size.
pub fn pack_b(spec: &TransposeConvSpec, caps: &Caps, weights: &[u8]) -> Vec<u8> {
    let [kernel_h, kernel_w] = spec.kernel;
    let in_c = spec.input[2];
    assert_eq!(weights.len(), spec.output[2] * kernel_h * kernel_w * in_c * spec.weights.bytes(), "size of the weights");
    let mut out = vec![];
    for (nest, y, x) in spec.nests(caps) {
        for i in 0..y.count {
            for j in 0..x.count {
                nest.pack(&mut out, weights, |n, ky, kx, c| {
                    let ky = spec.tap(0, y.first + i, y.axis.kernel, ky)?;
                    let kx = spec.tap(1, x.first + j, x.axis.kernel, kx)?;
                    Some(((n * kernel_h + ky) * kernel_w + kx) * in_c + c)
                });
            }
        }
    }
    out
}

/// Size of what [`pack_b`] gives, in bytes.
pub fn packed_bytes(spec: &TransposeConvSpec, caps: &Caps) -> usize {
    spec.nests(caps).iter().map(|(nest, y, x)| nest.packed_bytes() * y.count * x.count).sum()
}

/// Builds the kernel.
///
/// # Panics
/// Where the spec contradicts itself: empty, strides below the channels, an accumulator type that is not the scheme's.
pub fn build(spec: &TransposeConvSpec, caps: &Caps) -> Kernel {
    let sizes = [&spec.input[..], &spec.output, &spec.kernel, &spec.stride, &[spec.batch]].concat();
    assert!(sizes.iter().all(|&s| s > 0), "empty shape of {spec:?}");
    assert!(spec.in_pixel >= spec.input[2] && spec.ldc >= spec.output[2], "pixel strides of {spec:?}");
    let nests = spec.nests(caps);
    let (mr, nr) = nests.iter().map(|(n, ..)| (n.mr, n.panels.nr)).max().unwrap_or((1, 1));
    let scheme = &nests[0].0.scheme;
    spec.epilogue.check(scheme.acc_ty());
    let mut b = Builder::new(format!("{}_deconv_{mr}x{nr}", dtype(spec.a_storage)));
    let (a, packed) = (b.ptr_param("a"), b.ptr_param("b"));
    let output = Output::declare(&mut b, caps, &spec.epilogue, spec.ldc);
    let zero = spec.a_zero_point.is_none().then(|| {
        let ty = Type::vector(Elem::I32, scheme.lanes);
        let place = b.ptr_param("zero");
        let stored = b.load_splat(ty, Mem::S32, Addr::new(place));
        let shift = b.int(ty, i64::from(scheme.a_shift()));
        b.add(stored, shift)
    });
    let longest = nests.iter().map(|(n, ..)| n.longest_run()).max().unwrap_or(1);
    let scratch = scheme.scratch(&mut b, mr, longest);
    let (begin, end) = (b.begin(), b.end());
    b.for_loop(begin, end, 1, &[], |b, unit, _| {
        chain(b, &nests, unit, 0, &Args { a, packed, output: &output, scratch, zero });
        vec![]
    });
    b.finish()
}

struct Args<'a> {
    a: Value,
    packed: Value,
    output: &'a Output<'a>,
    scratch: Option<Value>,
    zero: Option<Value>,
}

/// Emits `if unit < units of the first nest { it } else { the other nests }`; `packed_at` is where the first nest's weights begin.
fn chain(b: &mut Builder, nests: &[(Nest, Phases, Phases)], unit: Value, packed_at: usize, args: &Args<'_>) {
    let Some(((nest, y, x), rest)) = nests.split_first() else { return };
    let one = |b: &mut Builder| {
        let (phase, inner) = split_unit(b, unit, y.count * x.count, nest.units());
        let (i, j) = split_unit(b, phase, y.count, x.count);
        let offset = b.mul_const(phase, nest.packed_bytes() as i64);
        let offset = b.add_const(offset, packed_at as i64);
        let packed = b.ptr_add(args.packed, offset);
        let origin = (b.add_const(i, y.first as i64), b.add_const(j, x.first as i64));
        let Args { a, output, scratch, zero, .. } = *args;
        nest.unit(b, &Call { a, packed, output, scratch, widened: None, origin, zero }, inner);
    };
    if rest.is_empty() {
        return one(b);
    }
    let units = nest.units() * y.count * x.count;
    let limit = b.i64(units as i64);
    let here = b.cmp(CmpOp::Lt, unit, limit);
    b.if_else(
        here,
        |b| {
            one(b);
            vec![]
        },
        |b| {
            let left = b.add_const(unit, -(units as i64));
            chain(b, rest, left, packed_at + nest.packed_bytes() * y.count * x.count, args);
            vec![]
        },
    );
}
