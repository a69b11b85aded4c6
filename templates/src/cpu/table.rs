//! The table of kernel families with accumulators: a row per family, element type and shape.
//!
//! Benchmarks measure every row against the machine's peak; a test of each backend compiles every row and asserts that the register allocator put
//! nothing into innermost loops. A new family adds rows here. Shapes are those of common networks.

use crate::cpu::conv::{self, ConvSpec};
use crate::cpu::depthwise::{self, DepthwiseSpec};
use crate::cpu::epilogue::{Epilogue, OperandAccess};
use crate::cpu::gemm::{self, GemmSpec};
use crate::cpu::mac::WeightFormat;
use crate::cpu::transpose_conv::{self, TransposeConvSpec};
use crate::expr::{Cast, ExprBuilder, Storage, Ty};
use tflc_kir::{Caps, Kernel};

/// Element types of a row, named as in XNNPACK.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dtype {
    /// f32 throughout; bias and clamp in the epilogue.
    F32,
    /// Signed bytes, requantised per channel.
    Qs8,
    /// Unsigned bytes with signed weights, requantised per channel.
    Qu8,
}

impl Dtype {
    /// The code in kernel names.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::F32 => "f32",
            Dtype::Qs8 => "qs8",
            Dtype::Qu8 => "qu8",
        }
    }

    const fn storage(self) -> Storage {
        match self {
            Dtype::F32 => Storage::F32,
            Dtype::Qs8 => Storage::I8,
            Dtype::Qu8 => Storage::U8,
        }
    }

    const fn weights(self) -> WeightFormat {
        match self {
            Dtype::F32 => WeightFormat::F32,
            _ => WeightFormat::I8,
        }
    }

    /// Zero point of activations.
    const fn zero_point(self) -> i32 {
        match self {
            Dtype::F32 => 0,
            Dtype::Qs8 => -5,
            Dtype::Qu8 => 123,
        }
    }
}

/// Shape of a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    /// M, N, K.
    Gemm(usize, usize, usize),
    /// Height and width of the input, input and output channels, kernel size and stride; padded as TFLite's SAME.
    Conv(usize, usize, usize, usize, usize),
    /// Height and width of the input, channels, kernel size and stride; padded as TFLite's SAME.
    Depthwise(usize, usize, usize, usize),
    /// Height and width of the input, input and output channels, kernel size, which is the stride.
    TransposeConv(usize, usize, usize, usize),
}

/// A kernel family at one element type and shape.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Row {
    /// Element types.
    pub dtype: Dtype,
    /// Family and shape.
    pub shape: Shape,
    /// Share of the peak of its instruction that the row has to reach; 0 where memory decides or nothing is promised.
    pub need: f64,
}

const fn row(dtype: Dtype, shape: Shape, need: f64) -> Row {
    Row { dtype, shape, need }
}

/// Every row.
pub const ROWS: &[Row] = &[
    row(Dtype::F32, Shape::Gemm(3136, 256, 256), 0.85),
    row(Dtype::F32, Shape::Gemm(12544, 64, 32), 0.0),
    row(Dtype::F32, Shape::Gemm(784, 128, 128), 0.0),
    row(Dtype::F32, Shape::Gemm(196, 512, 512), 0.0),
    row(Dtype::F32, Shape::Gemm(196, 96, 576), 0.0),
    row(Dtype::F32, Shape::Gemm(49, 1024, 1024), 0.0),
    row(Dtype::F32, Shape::Gemm(1, 1000, 1024), 0.0),
    row(Dtype::F32, Shape::Gemm(1, 10, 1024), 0.0),
    row(Dtype::F32, Shape::Conv(56, 64, 64, 3, 1), 0.80),
    row(Dtype::F32, Shape::Conv(224, 3, 32, 3, 2), 0.0),
    row(Dtype::F32, Shape::Conv(224, 3, 64, 7, 2), 0.0),
    row(Dtype::F32, Shape::Conv(28, 128, 128, 3, 1), 0.0),
    row(Dtype::F32, Shape::Conv(14, 256, 256, 3, 1), 0.0),
    row(Dtype::F32, Shape::Conv(7, 512, 512, 3, 1), 0.0),
    row(Dtype::F32, Shape::Depthwise(112, 32, 3, 1), 0.0),
    row(Dtype::F32, Shape::Depthwise(112, 96, 3, 2), 0.0),
    row(Dtype::F32, Shape::Depthwise(14, 512, 3, 1), 0.0),
    row(Dtype::F32, Shape::Depthwise(28, 120, 5, 1), 0.0),
    row(Dtype::F32, Shape::TransposeConv(64, 64, 32, 2), 0.0),
    row(Dtype::Qu8, Shape::Gemm(3136, 256, 256), 0.75),
    row(Dtype::Qs8, Shape::Gemm(3136, 256, 256), 0.0),
    row(Dtype::Qu8, Shape::Gemm(12544, 64, 32), 0.0),
    row(Dtype::Qu8, Shape::Gemm(196, 512, 512), 0.0),
    row(Dtype::Qu8, Shape::Gemm(49, 1024, 1024), 0.0),
    row(Dtype::Qu8, Shape::Gemm(1, 1000, 1024), 0.0),
    row(Dtype::Qu8, Shape::Conv(56, 64, 64, 3, 1), 0.0),
    row(Dtype::Qs8, Shape::Conv(56, 64, 64, 3, 1), 0.0),
    row(Dtype::Qu8, Shape::Conv(224, 3, 32, 3, 2), 0.0),
    row(Dtype::Qu8, Shape::Conv(7, 512, 512, 3, 1), 0.0),
    row(Dtype::Qu8, Shape::Depthwise(112, 32, 3, 1), 0.0),
    row(Dtype::Qu8, Shape::Depthwise(112, 96, 3, 2), 0.0),
    row(Dtype::Qu8, Shape::Depthwise(14, 512, 3, 1), 0.0),
    row(Dtype::Qs8, Shape::Depthwise(14, 512, 3, 1), 0.0),
    row(Dtype::Qu8, Shape::Depthwise(28, 120, 5, 1), 0.0),
    row(Dtype::Qu8, Shape::TransposeConv(64, 64, 32, 2), 0.0),
];

/// A row made for one target: the kernel and everything to call it with.
#[derive(Clone, Debug)]
pub struct Case {
    /// The kernel; parameters are A, packed weights, C, then `operands`.
    pub kernel: Kernel,
    /// Input.
    pub a: Vec<u8>,
    /// Packed weights.
    pub packed: Vec<u8>,
    /// Size of the output in bytes.
    pub c_bytes: usize,
    /// Operands of the epilogue.
    pub operands: Vec<Vec<u8>>,
    /// Work units.
    pub units: usize,
    /// Multiply-adds of the whole.
    pub macs: usize,
}

impl Case {
    /// Bytes that a run touches at least once.
    pub fn bytes(&self) -> usize {
        self.a.len() + self.packed.len() + self.c_bytes + self.operands.iter().map(Vec::len).sum::<usize>()
    }
}

impl Row {
    /// The row's name: element type, family and shape.
    pub fn name(&self) -> String {
        let d = self.dtype.name();
        match self.shape {
            Shape::Gemm(m, n, k) => format!("{d} gemm {m}x{n}x{k}"),
            Shape::Conv(hw, ci, co, k, s) => format!("{d} conv {k}x{k}/{s} {hw}x{hw}x{ci}->{co}"),
            Shape::Depthwise(hw, c, k, s) => format!("{d} dwconv {k}x{k}/{s} {hw}x{hw}x{c}"),
            Shape::TransposeConv(hw, ci, co, k) => format!("{d} deconv {k}x{k}/{k} {hw}x{hw}x{ci}->{co}"),
        }
    }

    /// The row's kernel for a target; on one that accumulates in halves, matrix products of floats do so.
    pub fn kernel(&self, caps: &Caps) -> Kernel {
        match self.shape {
            Shape::Gemm(m, n, k) if caps.f16 && self.dtype == Dtype::F32 => {
                gemm::build(&GemmSpec { weights: WeightFormat::F16, ..self.gemm_spec(m, n, k) }, caps)
            }
            Shape::Gemm(m, n, k) => gemm::build(&self.gemm_spec(m, n, k), caps),
            Shape::Conv(hw, ci, co, k, s) => conv::build(&self.conv_spec([hw, hw, ci], co, k, s), caps),
            Shape::Depthwise(hw, c, k, s) => depthwise::build(&self.depthwise_spec([hw, hw, c], k, s), caps),
            Shape::TransposeConv(hw, ci, co, k) => transpose_conv::build(&self.transpose_conv_spec([hw, hw, ci], co, k), caps),
        }
    }

    /// Makes the row for a target, with pseudo-random data.
    pub fn make(&self, caps: &Caps) -> Case {
        match self.shape {
            Shape::Gemm(m, n, k) => self.gemm(caps, m, n, k),
            Shape::Conv(hw, ci, co, k, s) => self.conv(caps, [hw, hw, ci], co, k, s),
            Shape::Depthwise(hw, c, k, s) => self.depthwise(caps, [hw, hw, c], k, s),
            Shape::TransposeConv(hw, ci, co, k) => self.transpose_conv(caps, [hw, hw, ci], co, k),
        }
    }

    fn gemm_spec(&self, m: usize, n: usize, k: usize) -> GemmSpec {
        let (a_storage, weights) = (self.dtype.storage(), self.dtype.weights());
        GemmSpec { m, n, k, lda: k, ldc: n, a_storage, weights, epilogue: self.epilogue() }
    }

    fn gemm(&self, caps: &Caps, m: usize, n: usize, k: usize) -> Case {
        let spec = self.gemm_spec(m, n, k);
        let w = self.data(n * k, 7);
        let bias = self.bias(n, |b| gemm::folded_bias(&spec, caps, Some(b), &w, self.dtype.zero_point()));
        let packed = gemm::pack_b(&spec, caps, &w);
        self.case(gemm::build(&spec, caps), m * k, packed, m * n, n, bias, gemm::units(&spec, caps), m * n * k)
    }

    fn conv_spec(&self, input: [usize; 3], out_c: usize, kernel: usize, stride: usize) -> ConvSpec {
        let (hw, pad) = same(input[0], kernel, stride);
        ConvSpec {
            batch: 1,
            input,
            in_pixel: input[2],
            output: [hw, hw, out_c],
            ldc: out_c,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pad: [pad; 2],
            groups: 1,
            a_storage: self.dtype.storage(),
            a_zero_point: self.dtype.zero_point(),
            weights: self.dtype.weights(),
            epilogue: self.epilogue(),
        }
    }

    fn conv(&self, caps: &Caps, input: [usize; 3], out_c: usize, kernel: usize, stride: usize) -> Case {
        let (hw, _) = same(input[0], kernel, stride);
        let spec = self.conv_spec(input, out_c, kernel, stride);
        let taps = kernel * kernel * input[2];
        let w = self.data(out_c * taps, 7);
        let bias = self.bias(out_c, |b| conv::folded_bias(&spec, caps, Some(b), &w));
        let packed = conv::pack_b(&spec, caps, &w);
        let out = hw * hw * out_c;
        self.case(conv::build(&spec, caps), input.iter().product(), packed, out, out_c, bias, conv::units(&spec, caps), out * taps)
    }

    fn depthwise_spec(&self, input: [usize; 3], kernel: usize, stride: usize) -> DepthwiseSpec {
        let (hw, pad) = same(input[0], kernel, stride);
        let channels = input[2];
        DepthwiseSpec {
            batch: 1,
            input,
            in_pixel: channels,
            output: [hw, hw],
            multiplier: 1,
            ldc: channels,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pad: [pad; 2],
            a_storage: self.dtype.storage(),
            a_zero_point: self.dtype.zero_point(),
            weights: self.dtype.weights(),
            epilogue: self.epilogue(),
        }
    }

    fn depthwise(&self, caps: &Caps, input: [usize; 3], kernel: usize, stride: usize) -> Case {
        let (hw, _) = same(input[0], kernel, stride);
        let channels = input[2];
        let spec = self.depthwise_spec(input, kernel, stride);
        let w = self.data(kernel * kernel * channels, 7);
        let bias = self.bias(channels, |b| depthwise::folded_bias(&spec, caps, Some(b), &w));
        let packed = depthwise::pack_b(&spec, caps, &w);
        let out = hw * hw * channels;
        let macs = out * kernel * kernel;
        self.case(depthwise::build(&spec, caps), input.iter().product(), packed, out, channels, bias, depthwise::units(&spec), macs)
    }

    fn transpose_conv_spec(&self, input: [usize; 3], out_c: usize, kernel: usize) -> TransposeConvSpec {
        let output = [input[0] * kernel, input[1] * kernel, out_c];
        TransposeConvSpec {
            batch: 1,
            input,
            in_pixel: input[2],
            output,
            ldc: out_c,
            kernel: [kernel; 2],
            stride: [kernel; 2],
            pad: [0; 2],
            a_storage: self.dtype.storage(),
            a_zero_point: Some(self.dtype.zero_point()),
            weights: self.dtype.weights(),
            epilogue: self.epilogue(),
        }
    }

    fn transpose_conv(&self, caps: &Caps, input: [usize; 3], out_c: usize, kernel: usize) -> Case {
        let output = [input[0] * kernel, input[1] * kernel, out_c];
        let spec = self.transpose_conv_spec(input, out_c, kernel);
        let w = self.data(out_c * kernel * kernel * input[2], 7);
        let bias = self.bias(out_c, <[i32]>::to_vec);
        let packed = transpose_conv::pack_b(&spec, caps, &w);
        let out: usize = output.iter().product();
        let units = transpose_conv::units(&spec, caps);
        self.case(transpose_conv::build(&spec, caps), input.iter().product(), packed, out, out_c, bias, units, out * input[2])
    }

    #[allow(clippy::too_many_arguments)]
    fn case(&self, kernel: Kernel, a: usize, packed: Vec<u8>, c: usize, n: usize, bias: Vec<u8>, units: usize, macs: usize) -> Case {
        let mut operands = vec![bias];
        if self.dtype != Dtype::F32 {
            operands.push(bytemuck::cast_slice(&vec![0.001_f32; n]).to_vec());
        }
        Case { kernel, a: self.data(a, 3), packed, c_bytes: c * self.dtype.storage().bytes(), operands, units, macs }
    }

    /// `n` elements in [-1, 1] or over all bytes.
    fn data(&self, n: usize, seed: u32) -> Vec<u8> {
        let noise = (0..n as u32).map(|i| (i.wrapping_add(seed).wrapping_mul(0x9e37_79b1) >> 11) as u8);
        match self.dtype {
            Dtype::F32 => noise.flat_map(|b| (f32::from(b) / 128.0 - 1.0).to_le_bytes()).collect(),
            _ => noise.collect(),
        }
    }

    fn bias(&self, n: usize, fold: impl Fn(&[i32]) -> Vec<i32>) -> Vec<u8> {
        match self.dtype {
            Dtype::F32 => bytemuck::cast_slice(&vec![0.5_f32; n]).to_vec(),
            _ => bytemuck::cast_slice(&fold(&vec![77; n])).to_vec(),
        }
    }

    /// Bias and clamp, or bias and requantisation per channel.
    fn epilogue(&self) -> Epilogue {
        if self.dtype == Dtype::F32 {
            let mut e = ExprBuilder::new(vec![Storage::F32; 2]);
            let (acc, bias) = (e.input(0), e.input(1));
            let x = e.add(acc, bias);
            let (lo, hi) = (e.f32(0.0), e.f32(6.0));
            let x = e.max(x, lo);
            let x = e.min(x, hi);
            return Epilogue { expr: e.finish(x, Storage::F32), operands: vec![OperandAccess::PerColumn] };
        }
        let (lo, hi) = if self.dtype == Dtype::Qu8 { (0, 255) } else { (-128, 127) };
        let mut e = ExprBuilder::new(vec![Storage::I32, Storage::I32, Storage::F32]);
        let (acc, bias, scale) = (e.input(0), e.input(1), e.input(2));
        let sum = e.add(acc, bias);
        let x = e.cast(Cast::Value, Ty::F32, sum);
        let x = e.mul(x, scale);
        let q = e.cast(Cast::RoundEven, Ty::I32, x);
        let zp = e.i32(self.dtype.zero_point());
        let q = e.add(q, zp);
        let (lo, hi) = (e.i32(lo), e.i32(hi));
        let q = e.max(q, lo);
        let q = e.min(q, hi);
        Epilogue { expr: e.finish(q, self.dtype.storage()), operands: vec![OperandAccess::PerColumn; 2] }
    }
}

/// Output size and padding in front, padded as TFLite's SAME.
fn same(input: usize, kernel: usize, stride: usize) -> (usize, usize) {
    let output = input.div_ceil(stride);
    (output, ((output - 1) * stride + kernel).saturating_sub(input) / 2)
}
