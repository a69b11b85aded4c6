//! Depthwise convolution NHWC of any kernel size, stride, dilation, padding and depth multiplier, in f32 and int8.
//!
//! Vectors run over channels. A tile is several neighbouring output pixels of one row, which share input loads, × one block of output channels; taps outside
//! the image are skipped as in `implicit`: in y by loop bounds, in x by classes of tiles. Two ways to multiply: one tap at a time (f32; int8 with a
//! multiplier or without dot products, in i32 lanes), here, or several taps by dot products, in `depthwise_dot`. Parameters: `a`, `b` (from
//! [`pack_b`]), `c`, then the epilogue's operands and tables. A work unit is an output row.

use crate::cpu::depthwise_dot::DotPath;
use crate::cpu::epilogue::{Epilogue, Output, Place, indexed};
use crate::cpu::gemm::{dtype, split_unit};
use crate::cpu::mac::WeightFormat;
use crate::cpu::tiling::RowSplit;
use crate::cpu::window::Axis;
use crate::expr::{Storage, Ty};
use std::ops::Range;
use tflc_kir::{Addr, Builder, Caps, Elem, Kernel, Mem, Type, Value};

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
    match DotPath::new(spec, caps) {
        Some(dot) => dot.pack(weights),
        None => TapPath::new(spec, caps).pack(weights),
    }
}

/// The bias that makes the kernel's accumulator exact. Add it to the accumulator first in the epilogue.
pub fn folded_bias(spec: &DepthwiseSpec, caps: &Caps, bias: Option<&[i32]>, weights: &[u8]) -> Vec<i32> {
    let offset = DotPath::new(spec, caps).map_or(0, |dot| dot.zero());
    let sum = |n: usize| -> i32 {
        let taps = (0..spec.kernel[0]).flat_map(|ky| (0..spec.kernel[1]).map(move |kx| (ky, kx)));
        taps.map(|(ky, kx)| spec.weights.centered(weights, spec.weight_index(ky, kx, n))).sum()
    };
    (0..spec.channels()).map(|n| bias.map_or(0, |b| b[n]).wrapping_sub(sum(n).wrapping_mul(offset))).collect()
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
    b.for_loop(begin, end, 1, &[], |b, unit, _| {
        let (image, y) = split_unit(b, unit, spec.batch, spec.output[0]);
        let pixel = b.mul_const(unit, spec.output[1] as i64);
        let line = Line { a, packed, image, y, pixel };
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

/// How output channels of a block read input channels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Channels {
    /// One to one.
    Same,
    /// Each input lane serves `multiplier` output lanes; a block is a whole number of them.
    Spread,
    /// One input channel serves all lanes.
    Splat,
}

/// One tap at a time.
struct TapPath<'a> {
    spec: &'a DepthwiseSpec,
    fma: bool,
    lanes: u16,
    mr: usize,
    channels: Channels,
    /// Output channels of a full block.
    block: usize,
    classes: Vec<Class<Vec<Range<usize>>>>,
    /// Whether the weights of a row of taps stay in registers.
    resident: bool,
}

/// A block of output channels while a tile is built.
struct Block {
    /// First input channel and first output channel (`I64`).
    input: Value,
    output: Value,
    weights: Value,
    active: usize,
}

impl<'a> TapPath<'a> {
    fn new(spec: &'a DepthwiseSpec, caps: &Caps) -> TapPath<'a> {
        let lanes = caps.lanes(Elem::F32);
        let l = usize::from(lanes);
        let (channels, block) = match spec.multiplier {
            1 => (Channels::Same, l),
            m if m <= l => (Channels::Spread, l / m * m),
            _ => (Channels::Splat, l),
        };
        let registers = caps.vector_registers as usize - 2 - usize::from(!caps.fma || !spec.is_float());
        let kw = spec.kernel[1];
        let resident = kw + 4 <= registers;
        let most = if resident { (registers - kw).min(8) } else { 8 };
        let split = RowSplit::new(spec.output[1], most);
        let x = spec.axis(1);
        let classes = classes(split, |at, mr| (0..kw).map(|kx| x.inside(at, mr, kx)).collect());
        TapPath { spec, fma: caps.fma, lanes, mr: split.mr, channels, block, classes, resident }
    }

    /// Full blocks in a stretch of channels that the block loop walks, and the channels of the rest.
    fn blocks(&self) -> (usize, usize) {
        let n = if self.channels == Channels::Splat { self.spec.multiplier } else { self.spec.channels() };
        (n / self.block, n % self.block)
    }

    fn ty(&self) -> Type {
        Type::vector(if self.spec.is_float() { Elem::F32 } else { Elem::I32 }, self.lanes)
    }

    /// Memory element of packed weights: 8-bit ones less their zero point take 16 bits.
    fn weight_mem(&self) -> Mem {
        match self.spec.weights {
            WeightFormat::F32 => Mem::F32,
            WeightFormat::F16 => Mem::F16,
            _ => Mem::S16,
        }
    }

    fn vector_bytes(&self) -> usize {
        usize::from(self.lanes) * self.weight_mem().bytes() as usize
    }

    fn block_bytes(&self) -> usize {
        self.spec.kernel[0] * self.spec.kernel[1] * self.vector_bytes()
    }

    fn pack(&self, weights: &[u8]) -> Vec<u8> {
        let spec = self.spec;
        let (full, rest) = self.blocks();
        let mut starts = vec![];
        let stretches = if self.channels == Channels::Splat { spec.input[2] } else { 1 };
        for stretch in 0..stretches {
            let first = stretch * spec.multiplier;
            starts.extend((0..full).map(|i| (first + i * self.block, self.block)));
            if rest > 0 {
                starts.push((first + full * self.block, rest));
            }
        }
        let mut out = Vec::with_capacity(starts.len() * self.block_bytes());
        for (start, active) in starts {
            for ky in 0..spec.kernel[0] {
                for kx in 0..spec.kernel[1] {
                    for lane in 0..usize::from(self.lanes) {
                        let at = (lane < active).then(|| spec.weight_index(ky, kx, start + lane));
                        match (spec.weights, at) {
                            (WeightFormat::F32, Some(i)) => out.extend_from_slice(&weights[i * 4..][..4]),
                            (WeightFormat::F16, Some(i)) => out.extend_from_slice(&weights[i * 2..][..2]),
                            (format, Some(i)) => out.extend_from_slice(&(format.centered(weights, i) as i16).to_le_bytes()),
                            (_, None) => out.extend_from_slice(&[0; 4][..self.weight_mem().bytes() as usize]),
                        }
                    }
                }
            }
        }
        out
    }

    fn line(&self, b: &mut Builder, line: &Line, output: &Output<'_>) {
        let spec = self.spec;
        let bytes = spec.a_storage.bytes() as i64;
        let pixel_bytes = spec.in_pixel as i64 * bytes;
        let top = b.mul_const(line.image, spec.input[0] as i64);
        let y = b.mul_const(line.y, spec.stride[0] as i64);
        let top = b.add(top, y);
        let top = b.add_const(top, -(spec.pad[0] as i64));
        let offset = b.mul_const(top, spec.input[1] as i64 * pixel_bytes);
        let a = b.ptr_add(line.a, offset);
        let ky = spec.axis(0).taps(b, line.y);
        for class in &self.classes {
            b.for_const(0, class.count as i64, 1, &[], |b, t, _| {
                let x = b.mul_const(t, class.mr as i64);
                let x = b.add_const(x, class.x as i64);
                let pixel = b.add(line.pixel, x);
                let at = b.mul_const(x, spec.stride[1] as i64 * pixel_bytes);
                let at = b.add_const(at, -(spec.pad[1] as i64) * pixel_bytes);
                let a = b.ptr_add(a, at);
                self.for_blocks(b, line.packed, &|b, block| self.tile(b, class, a, ky, pixel, &block, output));
                vec![]
            });
        }
    }

    /// Emits `body` for every block of output channels.
    fn for_blocks(&self, b: &mut Builder, packed: Value, body: &dyn Fn(&mut Builder, Block)) {
        let (full, rest) = self.blocks();
        let count = (full + usize::from(rest > 0)) as i64;
        let stretches = if self.channels == Channels::Splat { self.spec.input[2] } else { 1 };
        b.for_const(0, stretches as i64, 1, &[], |b, stretch, _| {
            let one = |b: &mut Builder, i: Value, active: usize| {
                let first = b.mul_const(stretch, count);
                let index = b.add(first, i);
                let offset = b.mul_const(index, self.block_bytes() as i64);
                let weights = b.ptr_add(packed, offset);
                let base = b.mul_const(stretch, self.spec.multiplier as i64);
                let output = b.mul_const(i, self.block as i64);
                let output = b.add(base, output);
                let input = match self.channels {
                    Channels::Same => output,
                    Channels::Spread => b.mul_const(i, (self.block / self.spec.multiplier) as i64),
                    Channels::Splat => stretch,
                };
                body(b, Block { input, output, weights, active });
            };
            b.for_const(0, full as i64, 1, &[], |b, i, _| {
                one(b, i, self.block);
                vec![]
            });
            if rest > 0 {
                let i = b.i64(full as i64);
                one(b, i, rest);
            }
            vec![]
        });
    }

    #[allow(clippy::too_many_arguments)]
    fn tile(
        &self,
        b: &mut Builder,
        class: &Class<Vec<Range<usize>>>,
        a: Value,
        ky: (Value, Value),
        pixel: Value,
        block: &Block,
        output: &Output<'_>,
    ) {
        let spec = self.spec;
        let vectors = [block.active as u16];
        // Each accumulator loads the bias itself: a shared value costs a copy.
        let start = |b: &mut Builder| match output.start(b, block.output, &vectors) {
            Some(bias) => bias[0],
            None => b.inst(tflc_kir::Op::Const(0), self.ty(), &[]),
        };
        let acc: Vec<Value> = (0..class.mr).map(|_| start(b)).collect();
        let line_bytes = (spec.dilation[0] * spec.input[1] * spec.in_pixel * spec.a_storage.bytes()) as i64;
        let row_bytes = (spec.kernel[1] * self.vector_bytes()) as i64;
        let row = |b: &mut Builder, ky: Value, acc: &[Value]| {
            let (line, taps) = (b.mul_const(ky, line_bytes), b.mul_const(ky, row_bytes));
            let (a, weights) = (b.ptr_add(a, line), b.ptr_add(block.weights, taps));
            let a = indexed(b, a, block.input, spec.a_storage.bytes() as i64);
            let mut acc = acc.to_vec();
            if self.resident {
                self.row_by_columns(b, class, a, weights, block, &mut acc)
            } else {
                self.row_by_taps(b, class, a, weights, block, &mut acc)
            }
            acc
        };
        let acc = match (b.known(ky.0), b.known(ky.1)) {
            (Some(0), Some(1)) => row(b, ky.0, &acc),
            _ => b.for_loop(ky.0, ky.1, 1, &acc, |b, ky, acc| row(b, ky, acc)),
        };
        let place = Place { row: pixel, row_step: 1, col: block.output, rows: class.mr, vectors: &vectors };
        output.store(b, &place, &acc);
    }

    /// Taps of one row with their weights in registers: each input column is loaded once.
    fn row_by_columns(&self, b: &mut Builder, class: &Class<Vec<Range<usize>>>, a: Addr, weights: Value, block: &Block, acc: &mut [Value]) {
        let x = self.spec.axis(1);
        let w: Vec<Value> = (0..x.kernel).map(|kx| self.weight(b, weights, kx)).collect();
        for column in 0..(class.mr - 1) * x.stride + (x.kernel - 1) * x.dilation + 1 {
            let mut input = None;
            for (kx, rows) in class.key.iter().enumerate() {
                for r in rows.clone().filter(|r| r * x.stride + kx * x.dilation == column) {
                    let v = *input.get_or_insert_with(|| self.input(b, a, column, block));
                    acc[r] = self.mul_add(b, v, w[kx], acc[r]);
                }
            }
        }
    }

    /// Taps of one row with one weight at a time in a register.
    fn row_by_taps(&self, b: &mut Builder, class: &Class<Vec<Range<usize>>>, a: Addr, weights: Value, block: &Block, acc: &mut [Value]) {
        let x = self.spec.axis(1);
        for (kx, rows) in class.key.iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let w = self.weight(b, weights, kx);
            for r in rows.clone() {
                let v = self.input(b, a, r * x.stride + kx * x.dilation, block);
                acc[r] = self.mul_add(b, v, w, acc[r]);
            }
        }
    }

    fn weight(&self, b: &mut Builder, weights: Value, kx: usize) -> Value {
        b.load(self.ty(), self.weight_mem(), Addr::new(weights).offset((kx * self.vector_bytes()) as i64))
    }

    /// Input column `column` of the tile, for the lanes of the block, less the zero point.
    fn input(&self, b: &mut Builder, a: Addr, column: usize, block: &Block) -> Value {
        let spec = self.spec;
        let at = a.offset((column * spec.in_pixel * spec.a_storage.bytes()) as i64);
        let mem = crate::expr::emit::mem(spec.a_storage);
        let v = match self.channels {
            Channels::Same => b.load_first(self.ty(), mem, at, block.active as u16),
            Channels::Spread => {
                let v = b.load_first(self.ty(), mem, at, (block.active / spec.multiplier) as u16);
                b.shuffle(v, v, (0..self.lanes).map(|i| i / spec.multiplier as u16).collect())
            }
            Channels::Splat => b.load_splat(self.ty(), mem, at),
        };
        if spec.a_zero_point == 0 {
            return v;
        }
        let zero = b.int(self.ty(), i64::from(spec.a_zero_point));
        b.sub(v, zero)
    }

    fn mul_add(&self, b: &mut Builder, x: Value, w: Value, acc: Value) -> Value {
        if self.fma && self.spec.is_float() {
            return b.fma(x, w, acc);
        }
        let p = b.mul(x, w);
        b.add(acc, p)
    }
}
