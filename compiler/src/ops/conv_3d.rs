//! CONV_3D: input NDHWC, weights DHWIO, bias O. CONV_3D_TRANSPOSE: its gradient as a layer, weights DHWOI.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Float32, Int32};
use crate::ops::accumulate::rows;
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::requant::{Epilogue, bias_storage, check_bias, float_epilogue};

/// CONV_3D.
pub const CONV_3D: Operator = Operator::new(infer, Eval::Direct(eval));
/// CONV_3D_TRANSPOSE.
pub const CONV_3D_TRANSPOSE: Operator = Operator::new(infer_transpose, Eval::Direct(eval_transpose));

/// Geometry; triples are depth, height, width. For the transposed operator, "output" is the input of the convolution it inverts.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv3d {
    /// Volumes.
    pub batch: usize,
    /// Sizes of the larger side.
    pub input: [usize; 3],
    /// Sizes of the side that windows count.
    pub output: [usize; 3],
    /// Sizes of the filter.
    pub kernel: [usize; 3],
    /// Steps between windows.
    pub stride: [usize; 3],
    /// Steps inside a window.
    pub dilation: [usize; 3],
    /// Padding before the input.
    pub pad: [usize; 3],
}

impl Conv3d {
    fn new(call: &Call<'_>, batch: usize, input: [usize; 3], kernel: [usize; 3]) -> Result<Conv3d, CompileError> {
        let attr = |name: &str| call.size_attr(name, 1);
        let stride = [attr("stride_d")?, attr("stride_h")?, attr("stride_w")?];
        let dilation = [attr("dilation_d_factor")?, attr("dilation_h_factor")?, attr("dilation_w_factor")?];
        let same = match call.attrs.name("padding", "SAME") {
            "SAME" => true,
            "VALID" => false,
            other => return Err(call.unsupported(Unsupported::Option("padding".into(), other.into()))),
        };
        let (mut output, mut pad) = ([0; 3], [0; 3]);
        for d in 0..3 {
            if kernel[d] == 0 || kernel[d] > 1 << 20 {
                return Err(call.invalid(format!("a filter of {kernel:?}")));
            }
            let spread = (kernel[d] - 1) * dilation[d] + 1;
            output[d] = if same { input[d].div_ceil(stride[d]) } else { (input[d] + stride[d]).saturating_sub(spread) / stride[d] };
            pad[d] = if same { ((output[d].max(1) - 1) * stride[d] + spread).saturating_sub(input[d]) / 2 } else { 0 };
        }
        Ok(Conv3d { batch, input, output, kernel, stride, dilation, pad })
    }

    /// The element of the larger side that element `o` of the other meets at tap `k`, along axis `d`.
    pub(crate) fn meets(&self, d: usize, o: usize, k: usize) -> Option<usize> {
        (o * self.stride[d] + k * self.dilation[d]).checked_sub(self.pad[d]).filter(|i| *i < self.input[d])
    }

    /// Taps of the filter in the order of its weights.
    pub(crate) fn taps(&self) -> impl Iterator<Item = [usize; 3]> + use<> {
        let k = self.kernel;
        (0..k[0]).flat_map(move |a| (0..k[1]).flat_map(move |b| (0..k[2]).map(move |c| [a, b, c])))
    }
}

/// Position of row `row` of a side of these sizes: volume and place.
fn place(row: usize, s: [usize; 3]) -> (usize, [usize; 3]) {
    (row / (s[0] * s[1] * s[2]), [row / (s[1] * s[2]) % s[0], row / s[2] % s[1], row % s[2]])
}

/// Geometry, input and output channels of CONV_3D.
pub(crate) fn forward(call: &Call<'_>) -> Result<(Conv3d, usize, usize), CompileError> {
    let [n, d, h, w, c] = call.dims::<5>(0)?;
    let [kd, kh, kw, ci, co] = call.dims::<5>(1)?;
    if ci != c || c == 0 {
        return Err(call.invalid(format!("weights {:?} for {c} channels", call.input(1)?.shape)));
    }
    Ok((Conv3d::new(call, n, [d, h, w], [kd, kh, kw])?, c, co))
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 3, 1)?;
    call.dtype_among(0, &[Float32])?;
    call.dtype_among(1, &[Float32])?;
    let (g, _, co) = forward(call)?;
    check_bias(call, 2, co, &[Float32])?;
    let [d, h, w] = g.output;
    Ok(vec![call.result(0, Float32, [g.batch, d, h, w, co])?])
}

/// What follows the accumulator, with the bias at an operand.
pub fn epilogue(call: &Call<'_>, bias: usize) -> Result<Epilogue, CompileError> {
    float_epilogue(call, call.output(0)?, bias_storage(call, bias)?, Activation::parse_clamp(call)?)
}

fn eval(args: &Args<'_>) -> Results {
    let (g, ci, co) = forward(args.call)?;
    let (x, w) = (args.floats(0)?, args.floats(1)?);
    let value = rows::<f32>(args, args.ty(), &epilogue(args.call, 2)?, 2, &[], co, |row, acc| {
        let (volume, o) = place(row, g.output);
        for (t, k) in g.taps().enumerate() {
            let (Some(z), Some(y), Some(xx)) = (g.meets(0, o[0], k[0]), g.meets(1, o[1], k[1]), g.meets(2, o[2], k[2])) else { continue };
            let x = &x[(((volume * g.input[0] + z) * g.input[1] + y) * g.input[2] + xx) * ci..][..ci];
            add_products(acc, x, &w[t * ci * co..]);
        }
    })?;
    Ok(vec![value])
}

/// Adds `x` times rows of `w`, one for each element of `x`.
fn add_products(acc: &mut [f32], x: &[f32], w: &[f32]) {
    for (x, w) in x.iter().zip(w.chunks_exact(acc.len().max(1))) {
        acc.iter_mut().zip(w).for_each(|(a, w)| *a += x * w);
    }
}

/// Geometry, input and output channels of CONV_3D_TRANSPOSE.
pub(crate) fn backward(call: &Call<'_>) -> Result<(Conv3d, usize, usize), CompileError> {
    let sizes = call.ints(0, 5)?;
    let [kd, kh, kw, co, ci] = call.dims::<5>(1)?;
    let [n, d, h, w, c] = call.dims::<5>(2)?;
    let [on, od, oh, ow, oc] = <[i64; 5]>::try_from(sizes).map_err(|s| call.invalid(format!("output shape {s:?}")))?;
    let size = |v: i64| usize::try_from(v).ok().filter(|v| *v <= 1 << 31).ok_or_else(|| call.invalid(format!("output size {v}")));
    let g = Conv3d::new(call, n, [size(od)?, size(oh)?, size(ow)?], [kd, kh, kw])?;
    if ci != c || size(oc)? != co || size(on)? != n || g.output != [d, h, w] {
        return Err(call.invalid(format!("input {:?}, weights {:?}, output {:?}", [n, d, h, w, c], [kd, kh, kw, co, ci], g.input)));
    }
    Ok((g, ci, co))
}

fn infer_transpose(call: &Call<'_>) -> Inferred {
    call.arity(3, 4, 1)?;
    call.dtype_among(0, &[Int32])?;
    call.dtype_among(1, &[Float32])?;
    call.dtype_among(2, &[Float32])?;
    let (g, _, co) = backward(call)?;
    check_bias(call, 3, co, &[Float32])?;
    let [d, h, w] = g.input;
    Ok(vec![call.result(0, Float32, [g.batch, d, h, w, co])?])
}

fn eval_transpose(args: &Args<'_>) -> Results {
    let (g, ci, co) = backward(args.call)?;
    let (x, w) = (args.floats(2)?, args.floats(1)?);
    let value = rows::<f32>(args, args.ty(), &epilogue(args.call, 3)?, 3, &[], co, |row, acc| {
        let (volume, i) = place(row, g.input);
        for (t, k) in g.taps().enumerate() {
            // The element of the input whose tap lands here, where there is one.
            let from = |d: usize| {
                let at = (i[d] + g.pad[d]).checked_sub(k[d] * g.dilation[d])?;
                (at % g.stride[d] == 0 && at / g.stride[d] < g.output[d]).then_some(at / g.stride[d])
            };
            let (Some(z), Some(y), Some(xx)) = (from(0), from(1), from(2)) else { continue };
            let x = &x[(((volume * g.output[0] + z) * g.output[1] + y) * g.output[2] + xx) * ci..][..ci];
            for (a, w) in acc.iter_mut().zip(w[t * co * ci..].chunks_exact(ci.max(1))) {
                *a += w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
            }
        }
    })?;
    Ok(vec![value])
}
