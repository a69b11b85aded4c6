//! Convolutions whose weights are computed.
//!
//! CONV_2D copies windows side by side, so that each group is a matrix product with weights packed at run time; TRANSPOSE_CONV multiplies first and
//! adds the products where they belong; DEPTHWISE_CONV_2D sums taps in loops over whole images. But for plain convolutions these give bare sums, and the
//! operator's epilogue runs in a loop of its own. Float activations with integer weights become 16-bit integers without zero points first.

use super::context::{Cx, Operand};
use super::epilogue::{Correction, Sources, compose};
use super::hybrid;
use super::mac::{Mac, activations, widened};
use super::matmul::pack_at_run_time;
use super::movement::{Part, copy_strided, fill};
use super::pad::{Value, pad_into};
use super::pointwise::emit;
use super::run_time_weights::{Matrix, Sizes, prepare, product};
use super::wide::{self, Term};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, TensorId};
use crate::ops::conv_2d::{Arithmetic, Conv};
use crate::ops::requant::{self, EpilogueInput};
use crate::ops::transpose_conv::TransposeConv;
use crate::ops::window::Window;
use tflc_templates::cpu::epilogue::Epilogue;
use tflc_templates::cpu::gemm::GemmSpec;
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::{Expr, ExprBuilder, Storage, Ty};

/// Taps of a depthwise convolution that one loop sums.
const TAPS: usize = 4;
/// Products of 16-bit activations and bytes of which 32 bits hold the sum.
const DEPTH_16: usize = (i32::MAX / (32768 * 128)) as usize;

/// The activations of a layer as its products take them.
struct Left {
    base: Operand,
    storage: Storage,
    zero_point: i32,
    /// Scales of so many groups of rows of the result, where activations were quantised at run time.
    scales: Option<(Operand, usize)>,
}

/// Activations of `groups` groups of elements, which are quantised apart in hybrid arithmetic.
fn left(
    cx: &mut Cx<'_, '_>,
    x: TensorId,
    arithmetic: Arithmetic,
    zero_point: i32,
    groups: usize,
    rule: Rule,
) -> Result<Left, CompileError> {
    let (base, storage) = activations(cx, x)?;
    if arithmetic != Arithmetic::Hybrid {
        return Ok(Left { base, storage, zero_point, scales: None });
    }
    let rows = hybrid::quantize(cx, base, [groups, cx.ty(x).elements() / groups.max(1)], Storage::I16, rule);
    Ok(Left { base: rows.values, storage: Storage::I16, zero_point: 0, scales: Some((rows.scales, groups)) })
}

/// The weights as a matrix whose strides are those of k and n; halves are widened.
fn right(cx: &mut Cx<'_, '_>, w: TensorId, zero_point: i32, strides: [i64; 2]) -> Result<Matrix, CompileError> {
    let (mut base, ty) = (cx.operand(w)?, cx.ty(w));
    let storage = match ty.dtype {
        DType::Float32 => Storage::F32,
        DType::Float16 => {
            base = widened(cx, base, ty.elements());
            Storage::F32
        }
        DType::Int8 => Storage::I8,
        DType::UInt8 => Storage::U8,
        other => return Err(cx.unsupported(Unsupported::Option("weights".into(), format!("a computed tensor of {other}")))),
    };
    Ok(Matrix { base, storage, zero_point, strides })
}

/// Refuses sums that do not fit.
fn check_depth(cx: &Cx<'_, '_>, arithmetic: Arithmetic, depth: usize) -> Result<(), CompileError> {
    if arithmetic != Arithmetic::Quantized16 || depth <= DEPTH_16 {
        return Ok(());
    }
    Err(cx.unsupported(Unsupported::Shape(format!("sums of {depth} products of 16-bit integers with computed weights"))))
}

/// The type of bare sums.
fn sums_of(storage: Storage) -> Storage {
    if storage == Storage::F32 { Storage::F32 } else { Storage::I32 }
}

/// Appends a product of dense rows with a matrix: bare sums `[m, n]` at `out`.
fn sums(cx: &mut Cx<'_, '_>, node: &Node, rows: Matrix, weights: Matrix, sizes: Sizes, out: Operand) -> Result<(), CompileError> {
    if rows.storage == Storage::F32 {
        let Sizes { m, k, n } = sizes;
        let epilogue = Epilogue::identity(Storage::F32);
        let spec = GemmSpec { m, n, k, lda: k, ldc: n, a_storage: Storage::F32, weights: WeightFormat::F32, epilogue };
        let packed = pack_at_run_time(cx, &spec, weights.base, weights.strides);
        Mac::Gemm(spec, 0).call(cx, vec![rows.base, packed, out]);
        return Ok(());
    }
    let bare = requant::Epilogue { expr: Expr::identity(Storage::I32), inputs: vec![EpilogueInput::Acc] };
    let node = Node { tail: None, ..node.clone() };
    let mut weights = prepare(cx, weights, sizes)?;
    product(cx, &node, &bare, None, rows, &mut weights, sizes, out)
}

/// Appends the operator's epilogue over bare sums `[rows, columns]`.
fn finish(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    base: &requant::Epilogue,
    bias: Option<TensorId>,
    left: &Left,
    sum: Operand,
    shape: [usize; 2],
) -> Result<(), CompileError> {
    let bias = bias.map(|t| cx.operand(t)).transpose()?;
    let out = cx.operand(node.outputs[0])?;
    wide::finish(cx, node, base, &[Term { sum, shift: 0 }], shape, bias, left.scales, out)
}

/// Appends the calls of a product of rows of `k` float activations with a computed matrix `[n, k]` of integers.
pub(super) fn hybrid_product(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    base: &requant::Epilogue,
    [x, w]: [TensorId; 2],
    bias: Option<TensorId>,
    (zero_point, rule): (i32, Rule),
    sizes: Sizes,
) -> Result<(), CompileError> {
    let left = left(cx, x, Arithmetic::Hybrid, 0, sizes.m, rule)?;
    let weights = right(cx, w, zero_point, [1, sizes.k as i64])?;
    let sum = cx.workspace(sizes.m * sizes.n * 4);
    let rows = Matrix { base: left.base, storage: left.storage, zero_point: 0, strides: [0, 0] };
    sums(cx, node, rows, weights, sizes, sum)?;
    finish(cx, node, base, bias, &left, sum, [sizes.m, sizes.n])
}

/// Appends the calls of a convolution of `x` with computed weights `w`.
///
/// # Errors
/// `Unsupported` for types that no kernel takes, and 16-bit sums that may not fit.
pub(super) fn convolution(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    conv: &Conv,
    base: &requant::Epilogue,
    [x, w]: [TensorId; 2],
    bias: Option<TensorId>,
) -> Result<(), CompileError> {
    let win = &conv.window;
    let taps = win.kernel[0] * win.kernel[1];
    let (group_in, group_out) = (conv.in_channels / conv.groups, conv.out_channels / conv.groups);
    let groups = if conv.quantized_per_pixel() { win.pixels() } else { win.batch };
    let left = left(cx, x, conv.arithmetic, conv.input_zero_point, groups, conv.rule)?;
    let framed = framed(cx, win, conv.in_channels, &left);
    if conv.depthwise {
        check_depth(cx, conv.arithmetic, taps)?;
        let weights = right(cx, w, conv.weight_zero_point, [0, 0])?;
        let sum = depthwise(cx, conv, &framed, &left, weights);
        return finish(cx, node, base, bias, &left, sum, [win.pixels(), conv.out_channels]);
    }
    let sizes = Sizes { m: win.pixels(), k: taps * group_in, n: group_out };
    let strides = [1, sizes.k as i64];
    let weights = right(cx, w, conv.weight_zero_point, strides)?;
    let rows = |base| Matrix { base, storage: left.storage, zero_point: left.zero_point, strides: [0, 0] };
    if conv.groups == 1 && left.scales.is_none() {
        let columns = windows(cx, win, &framed, 0..conv.in_channels, left.storage.bytes());
        return plain(cx, node, base, bias, rows(columns), weights, sizes);
    }
    check_depth(cx, conv.arithmetic, sizes.k)?;
    let all = cx.workspace(sizes.m * conv.out_channels * 4);
    for g in 0..conv.groups {
        let columns = windows(cx, win, &framed, g * group_in..(g + 1) * group_in, left.storage.bytes());
        let part = cx.workspace(sizes.m * group_out * 4);
        let at = g * group_out * sizes.k * weights.storage.bytes();
        sums(cx, node, rows(columns), Matrix { base: weights.base.offset(at), ..weights }, sizes, part)?;
        let dims = [sizes.m, group_out];
        let to = Part { base: all, offset: (g * group_out) as i64, strides: vec![conv.out_channels as i64, 1] };
        copy_strided(cx, &dims, Part::dense(part, &dims), to, 4);
    }
    finish(cx, node, base, bias, &left, all, [sizes.m, conv.out_channels])
}

/// A product whose kernel runs the operator's epilogue.
fn plain(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    base: &requant::Epilogue,
    bias: Option<TensorId>,
    rows: Matrix,
    weights: Matrix,
    sizes: Sizes,
) -> Result<(), CompileError> {
    let out = cx.operand(node.outputs[0])?;
    let bias = bias.map(|t| cx.operand(t)).transpose()?;
    if rows.storage != Storage::F32 {
        let mut weights = prepare(cx, weights, sizes)?;
        return product(cx, node, base, bias, rows, &mut weights, sizes, out);
    }
    let composed = compose(cx, node, base, Storage::F32, Correction::None)?;
    let Sizes { m, k, n } = sizes;
    let epilogue = composed.epilogue.clone();
    let spec = GemmSpec { m, n, k, lda: k, ldc: n, a_storage: Storage::F32, weights: WeightFormat::F32, epilogue };
    let packed = pack_at_run_time(cx, &spec, weights.base, weights.strides);
    let mut args = vec![rows.base, packed, out];
    args.extend(composed.operands(cx, &Sources { bias, ..Sources::default() })?);
    Mac::Gemm(spec, 0).call(cx, args);
    Ok(())
}

/// Bare sums of a depthwise convolution, `[pixels, channels]`: a few taps in each loop.
fn depthwise(cx: &mut Cx<'_, '_>, conv: &Conv, (from, framed): &(Operand, Vec<usize>), left: &Left, weights: Matrix) -> Operand {
    let win = &conv.window;
    let multiplier = conv.out_channels / conv.in_channels;
    let kind = sums_of(left.storage);
    let out = cx.workspace(win.pixels() * conv.out_channels * 4);
    let dims = [win.batch, win.output[0], win.output[1], conv.in_channels, multiplier];
    let own = row_major(framed);
    let x_strides = vec![own[0], own[1] * win.stride[0] as i64, own[2] * win.stride[1] as i64, 1, 0];
    let w_strides = vec![0, 0, 0, multiplier as i64, 1];
    let dense = row_major(&dims);
    let places: Vec<(usize, usize)> = (0..win.kernel[0]).flat_map(|y| (0..win.kernel[1]).map(move |x| (y, x))).collect();
    for (i, chunk) in places.chunks(TAPS).enumerate() {
        let (mut inputs, mut strides, mut args) = (vec![], vec![], vec![]);
        for (j, (ky, kx)) in chunk.iter().enumerate() {
            let at = (ky * win.dilation[0]) as i64 * own[1] + (kx * win.dilation[1]) as i64 * own[2];
            inputs.extend([left.storage, weights.storage]);
            strides.extend([x_strides.clone(), w_strides.clone()]);
            args.push(from.offset(at as usize * left.storage.bytes()));
            args.push(weights.base.offset((i * TAPS + j) * conv.out_channels * weights.storage.bytes()));
        }
        if i > 0 {
            inputs.push(kind);
            strides.push(dense.clone());
            args.push(out);
        }
        let last = inputs.len() - 1;
        let mut b = ExprBuilder::new(inputs);
        let mut sum = (i > 0).then(|| b.input(last));
        for j in 0..chunk.len() {
            let [x, w] = [(2 * j, left.zero_point), (2 * j + 1, weights.zero_point)].map(|(input, zero)| {
                let v = b.input(input);
                if zero == 0 {
                    return v;
                }
                let zero = b.i32(zero);
                b.sub(v, zero)
            });
            sum = Some(match sum {
                Some(s) if kind.ty() == Ty::F32 => b.mul_add(x, w, s),
                Some(s) => {
                    let p = b.mul(x, w);
                    b.add(s, p)
                }
                None => b.mul(x, w),
            });
        }
        if let Some(sum) = sum {
            args.push(out);
            emit(cx, PointwiseSpec::new(&dims, strides, dense.clone(), b.finish(sum, kind)), args);
        }
    }
    out
}

/// Appends the calls of a transposed convolution with computed weights.
///
/// # Errors
/// As [`convolution`].
pub(super) fn transposed(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    conv: &TransposeConv,
    base: &requant::Epilogue,
    [x, w]: [TensorId; 2],
    bias: Option<TensorId>,
) -> Result<(), CompileError> {
    let ([ih, iw, in_c], [oh, ow, out_c], [kh, kw]) = (conv.input, conv.output, conv.kernel);
    check_depth(cx, conv.arithmetic, in_c * kh * kw)?;
    let left = left(cx, x, conv.arithmetic, conv.input_zero_point, conv.batch, Rule::Even)?;
    let weights = right(cx, w, conv.weight_zero_point, [1, in_c as i64])?;
    let kind = sums_of(left.storage);
    let sizes = Sizes { m: conv.batch * ih * iw, k: in_c, n: out_c * kh * kw };
    let products = cx.workspace(sizes.m * sizes.n * 4);
    let rows = Matrix { base: left.base, storage: left.storage, zero_point: left.zero_point, strides: [0, 0] };
    sums(cx, node, rows, weights, sizes, products)?;
    let shape = [conv.batch, oh, ow, out_c];
    let all = cx.workspace(shape.iter().product::<usize>() * 4);
    fill(cx, &shape, Part::dense(all, &shape), 4, 0);
    let mut b = ExprBuilder::new([kind, kind]);
    let (old, new) = (b.input(0), b.input(1));
    let sum = b.add(old, new);
    let add = b.finish(sum, kind);
    let (own, outer) = (row_major(&[conv.batch, ih, iw, sizes.n]), row_major(&shape));
    // Inputs whose product with tap k falls inside, and the first output that meets one.
    let inside = |d: usize, k: usize, n: usize, size: usize| -> (usize, usize, usize) {
        let hit = |i: &usize| (i * conv.stride[d] + k).checked_sub(conv.pad[d]).is_some_and(|o| o < size);
        let first = (0..n).find(hit).unwrap_or(n);
        (first, (first..n).take_while(hit).count(), (first * conv.stride[d] + k).saturating_sub(conv.pad[d]))
    };
    for ky in 0..kh {
        for kx in 0..kw {
            let ((y, rows, oy), (x, columns, ox)) = (inside(0, ky, ih, oh), inside(1, kx, iw, ow));
            if rows * columns == 0 {
                continue;
            }
            let dims = [conv.batch, rows, columns, out_c];
            let from = y as i64 * own[1] + x as i64 * own[2] + (ky * kw + kx) as i64;
            let to = all.offset((oy as i64 * outer[1] + ox as i64 * outer[2]) as usize * 4);
            let reads = vec![own[0], own[1], own[2], (kh * kw) as i64];
            let writes = vec![outer[0], outer[1] * conv.stride[0] as i64, outer[2] * conv.stride[1] as i64, 1];
            let spec = PointwiseSpec::new(&dims, vec![writes.clone(), reads], writes, add.clone());
            emit(cx, spec, vec![to, products.offset(from as usize * 4), to]);
        }
    }
    finish(cx, node, base, bias, &left, all, [conv.batch * oh * ow, out_c])
}

/// The images, in a frame of their zero point where windows reach beyond them, and the shape of that.
fn framed(cx: &mut Cx<'_, '_>, win: &Window, channels: usize, left: &Left) -> (Operand, Vec<usize>) {
    let mut paddings = [(0, 0); 4];
    for d in 0..2 {
        let reach = (win.output[d] - 1) * win.stride[d] + (win.kernel[d] - 1) * win.dilation[d] + 1;
        paddings[1 + d] = (win.pad[d], reach.saturating_sub(win.pad[d] + win.input[d]));
    }
    let inner = [win.batch, win.input[0], win.input[1], channels];
    let shape: Vec<usize> = inner.iter().zip(&paddings).map(|(n, p)| n + p.0 + p.1).collect();
    if shape == inner {
        return (left.base, shape);
    }
    let bytes = left.storage.bytes();
    let to = cx.workspace(shape.iter().product::<usize>() * bytes);
    pad_into(cx, &inner, &paddings, left.base, to, bytes, &Value::Bits(left.zero_point as u32 as u64));
    (to, shape)
}

/// The window of every output pixel over some of the channels as a row `[kernel height, kernel width, channels]`.
fn windows(
    cx: &mut Cx<'_, '_>,
    win: &Window,
    (from, framed): &(Operand, Vec<usize>),
    channels: std::ops::Range<usize>,
    bytes: usize,
) -> Operand {
    let c = channels.len();
    let taps = win.kernel[0] * win.kernel[1];
    let out = cx.workspace(win.pixels() * taps * c * bytes);
    let dims = [win.batch, win.output[0], win.output[1], c];
    let own = row_major(framed);
    let strides = vec![own[0], own[1] * win.stride[0] as i64, own[2] * win.stride[1] as i64, 1];
    let row = (taps * c) as i64;
    let target = vec![row * (win.output[0] * win.output[1]) as i64, row * win.output[1] as i64, row, 1];
    for ky in 0..win.kernel[0] {
        for kx in 0..win.kernel[1] {
            let offset = (ky * win.dilation[0]) as i64 * own[1] + (kx * win.dilation[1]) as i64 * own[2] + channels.start as i64;
            let at = ((ky * win.kernel[1] + kx) * c) as i64;
            let to = Part { base: out, offset: at, strides: target.clone() };
            copy_strided(cx, &dims, Part { base: *from, offset, strides: strides.clone() }, to, bytes);
        }
    }
    out
}
