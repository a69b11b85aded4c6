//! FULLY_CONNECTED: rows of the input times weights OI, plus a bias O.
//!
//! The input is flattened to rows as long as the weights'; with `keep_num_dims` the leading dimensions stay. Float activations
//! with integer weights (8, 4, 2 bits, blockwise) are dynamic range, a range per row.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{BFloat16, Float16, Float32, Int2, Int4, Int8, Int16, Int32, Int64, UInt8};
use crate::ir::{Quantization, TensorType};
use crate::ops::accumulate::{Term, centred, centred_weights, finish, matrix_product};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::conv_2d::{Arithmetic, epilogue_along, sums_for};
use crate::ops::fixed_point::Rounding;
use crate::ops::hybrid::quantize_rows;
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::requant::{Epilogue, Requant, Scaling, bias_storage, check_bias};
use crate::ops::value::{Value, ints};
use half::{bf16, f16};

/// FULLY_CONNECTED.
pub const FULLY_CONNECTED: Operator = Operator::new(infer, Eval::Direct(eval));

/// Geometry.
#[derive(Clone, PartialEq, Debug)]
pub struct Attrs {
    /// Rows of the input: M.
    pub rows: usize,
    /// Elements of a row: K.
    pub depth: usize,
    /// Channels of the result: N.
    pub channels: usize,
    /// Shape of the result.
    pub shape: Vec<usize>,
}

impl Attrs {
    /// Reads and checks them.
    pub fn parse(call: &Call<'_>) -> Result<Attrs, CompileError> {
        let x = call.input(0)?;
        let [channels, depth] = call.dims::<2>(1)?;
        let elements = x.elements();
        if depth == 0 || elements % depth != 0 {
            return Err(call.invalid(format!("input {:?} for weights of rows of {depth}", x.shape)));
        }
        let format = call.attrs.name("weights_format", "DEFAULT");
        if format != "DEFAULT" {
            return Err(call.unsupported(Unsupported::Option("weights_format".into(), format.into())));
        }
        let rows = elements / depth;
        let shape = if call.attrs.bool("keep_num_dims", false) {
            if x.shape.last() != Some(&depth) {
                return Err(call.invalid(format!("input {:?} with keep_num_dims for weights of rows of {depth}", x.shape)));
            }
            let mut shape = x.shape.clone();
            shape.pop();
            shape.push(channels);
            shape
        } else {
            vec![rows, channels]
        };
        Ok(Attrs { rows, depth, channels, shape })
    }
}

fn arithmetic(call: &Call<'_>, x: &TensorType, w: &TensorType) -> Result<Arithmetic, CompileError> {
    match (x.dtype, w.dtype) {
        (Float32, Int2) => Ok(Arithmetic::Hybrid),
        (Int8 | Int16, Int2) => Ok(Arithmetic::Quantized),
        _ => Arithmetic::of(call, x, w),
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 3, 1)?;
    let a = Attrs::parse(call)?;
    let (x, w) = (call.input(0)?, call.input(1)?);
    match arithmetic(call, x, w)? {
        Arithmetic::Float => check_bias(call, 2, a.channels, &[Float32, Float16, BFloat16])?,
        Arithmetic::Hybrid => {
            if let Quantization::Blockwise { block_size, .. } = &w.quant {
                blocks(call, &a, *block_size)?;
            } else if call.weight_quant(w, 0, a.channels)?.zero_point.iter().any(|z| *z != 0) && w.dtype != UInt8 {
                return Err(call.bad_quantization("weights with a zero point and float activations"));
            }
            check_bias(call, 2, a.channels, &[Float32])?;
        }
        Arithmetic::Quantized => {
            call.weight_quant(w, 0, a.channels)?;
            call.quant(x)?;
            call.quant(call.output(0)?)?;
            check_bias(call, 2, a.channels, &[Int32, Int64])?;
        }
    }
    let out = call.output(0)?.dtype;
    // uint8 and int8 inputs may have 16-bit results.
    let dtype = if matches!((x.dtype, out), (UInt8 | Int8, Int16)) { Int16 } else { x.dtype };
    Ok(vec![call.result(0, dtype, a.shape)?])
}

/// Scales of blockwise weights as F32, `depth / block_size` for each channel.
fn blocks(call: &Call<'_>, a: &Attrs, block_size: usize) -> Result<Vec<f32>, CompileError> {
    let w = call.input(1)?;
    let Quantization::Blockwise { scales, zero_points, .. } = &w.quant else { return Err(call.bad_quantization("not blockwise")) };
    let tensor = call.graph.tensors.get(scales.index()).ok_or_else(|| call.invalid(format!("scales in {scales}")))?;
    let per_row = a.depth / block_size;
    if a.depth % block_size != 0 || tensor.ty.elements() != per_row * a.channels {
        return Err(call.invalid(format!("{} scales for {} rows of {} in blocks of {block_size}", tensor.ty.elements(), a.channels, a.depth)));
    }
    let data = tensor.data.as_ref().ok_or_else(|| call.bad_quantization("scales that are no constant"))?;
    if let Some(zero) = zero_points {
        let zero = call.graph.tensors.get(zero.index()).ok_or_else(|| call.invalid("zero points are missing"))?;
        let zeros = zero.data.as_ref().and_then(|d| ints(zero.ty.dtype, d));
        if zeros.is_some_and(|z| z.iter().any(|z| *z != 0)) {
            return Err(call.bad_quantization("zero points of blocks"));
        }
    }
    let value = Value::from_bytes(tensor.ty.clone(), data.clone()).ok_or_else(|| call.invalid("scales of another size"))?;
    match tensor.ty.dtype {
        Float16 => Ok(value.elements::<f16>().iter().map(|s| s.to_f32()).collect()),
        Float32 => Ok(value.elements::<f32>().into_owned()),
        d => Err(call.bad_quantization(format!("scales of {d}"))),
    }
}

/// What follows the accumulator. Blockwise weights have no single one: their sums are already scaled floats.
pub fn epilogue(call: &Call<'_>) -> Result<Epilogue, CompileError> {
    let (x, w, out) = (call.input(0)?, call.input(1)?, call.output(0)?);
    let a = Attrs::parse(call)?;
    if matches!(w.quant, Quantization::Blockwise { .. }) {
        return crate::ops::requant::float_epilogue(call, out, bias_storage(call, 2)?, Activation::parse_clamp(call)?);
    }
    if arithmetic(call, x, w)? == Arithmetic::Quantized {
        let q = call.weight_quant(w, 0, a.channels)?;
        // XNNPACK refuses 8-bit weights with a zero point, and 16-bit results.
        let refused = (w.dtype != UInt8 && q.zero_point.iter().any(|z| *z != 0)) || out.dtype != x.dtype;
        if refused && x.dtype != Int16 {
            let r = Requant::new(call, out, call.quant(x)?.0, &q.scale, Activation::parse_clamp(call)?, Scaling::Fixed(Rounding::HalfUp))?;
            return Ok(r.epilogue(bias_storage(call, 2)?));
        }
    }
    if w.dtype == Int2 {
        let q = call.weight_quant(w, 0, a.channels)?;
        let (bias, activation) = (bias_storage(call, 2)?, Activation::parse_clamp(call)?);
        return Ok(match x.dtype {
            Float32 => crate::ops::requant::hybrid_epilogue(&q.scale, bias, activation),
            _ => Requant::new(call, out, call.quant(x)?.0, &q.scale, activation, Scaling::Float)?.epilogue(bias),
        });
    }
    epilogue_along(call, a.channels, 0, Scaling::Single64)
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    let a = Attrs::parse(call)?;
    let (x, w, bias) = (args.value(0)?, args.value(1)?, args.optional(2));
    let epilogue = epilogue(call)?;
    let broken = || args.error("types that do not fit");
    let mut scales = vec![];
    let sums = match arithmetic(call, &x.ty, &w.ty)? {
        Arithmetic::Float => f32::sums(matrix_product(&args.floats(0)?, &args.floats(1)?, a.depth)),
        Arithmetic::Hybrid => {
            let weights = centred(w, 0).ok_or_else(broken)?;
            if let Quantization::Blockwise { block_size, .. } = &w.ty.quant {
                return blockwise(args, &a, &epilogue, &weights, *block_size);
            }
            let q = quantize_rows(&args.floats(0)?, a.depth);
            scales = q.scales;
            i32::sums(matrix_product(&q.centred, &weights, a.depth))
        }
        Arithmetic::Quantized => {
            let (_, zi) = call.quant(&x.ty)?;
            let zero_points = &call.weight_quant(&w.ty, 0, a.channels)?.zero_point;
            let x = centred(x, zi).ok_or_else(broken)?;
            let w = centred_weights(w, zero_points, 0).ok_or_else(broken)?;
            sums_for(&epilogue, &x, &w, |x, w| matrix_product(x, w, a.depth), |x, w| matrix_product(x, w, a.depth))
        }
    };
    Ok(vec![finish(args, &epilogue, &sums, a.channels, bias, &scales)?])
}

/// Blockwise weights: XNNPACK's order of sums, with scales rounded to bfloat16 and activations shifted to be unsigned.
fn blockwise(args: &Args<'_>, a: &Attrs, epilogue: &Epilogue, weights: &[i32], block_size: usize) -> Result<Vec<Value>, EvalError> {
    let scales: Vec<f32> = blocks(args.call, a, block_size)?.into_iter().map(|s| bf16::from_f32(s).to_f32()).collect();
    let rows = quantize_rows(&args.floats(0)?, a.depth);
    let per_row = a.depth / block_size;
    let mut sums = vec![0f32; a.rows * a.channels];
    for (r, sums) in sums.chunks_exact_mut(a.channels.max(1)).enumerate() {
        let zero = rows.zero_points[r];
        let x: Vec<i32> = rows.centred[r * a.depth..(r + 1) * a.depth].iter().map(|q| q + zero + 128).collect();
        let unsigned_zero = (zero + 128) as f32;
        for (c, sum) in sums.iter_mut().enumerate() {
            let w = &weights[c * a.depth..(c + 1) * a.depth];
            let scale = &scales[c * per_row..(c + 1) * per_row];
            let blocks = || w.chunks_exact(block_size).zip(scale);
            let kernel_sum = blocks().fold(0f32, |k, (w, s)| k + -(w.iter().sum::<i32>() as f32) * s);
            let mut o = kernel_sum * unsigned_zero;
            for ((w, s), x) in blocks().zip(x.chunks_exact(block_size)) {
                o = (i32::dot(x, w) as f64 * *s as f64 + o as f64) as f32;
            }
            *sum = o * rows.scales[r];
        }
    }
    Ok(vec![finish(args, epilogue, &f32::sums(sums), a.channels, args.optional(2), &[])?])
}
