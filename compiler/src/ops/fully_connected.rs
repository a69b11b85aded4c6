//! FULLY_CONNECTED: rows of activations times `[out, in]` weights, in float, quantised and hybrid forms.

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Graph, Node, OpKind, TensorId};
use crate::ops::accumulate::{Accumulator, centered, quantize, rows};
use crate::ops::activation::Activation;
use crate::ops::blockwise::{self, Blocks};
use crate::ops::call::{Call, Inferred};
use crate::ops::conv_2d::Arithmetic;
use crate::ops::delegate::is_refused;
use crate::ops::fixed_point::Rounding;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::pointwise::eval_pointwise;
use crate::ops::recurrent::{Batch, Inputs, Matrix, check_matrix};
use crate::ops::requant::{self, Epilogue, Requant, Scaling, bias_storage, bias_types, check_bias};
use crate::ops::storage::storage_of;
use crate::ops::value::Value;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::{ExprBuilder, Storage, Ty};

/// FULLY_CONNECTED.
pub const FULLY_CONNECTED: Operator = Operator::new(infer, Eval::Direct(eval));

/// Everything static about a fully connected layer.
#[derive(Clone, PartialEq, Debug)]
pub struct FullyConnected {
    /// Rows of activations.
    pub rows: usize,
    /// Elements of a row.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Kind of arithmetic.
    pub arithmetic: Arithmetic,
    /// Whether XNNPACK takes such weights.
    pub delegated: bool,
    /// How activations are quantised in hybrid arithmetic.
    pub rule: Rule,
    /// Zero point of the input; 0 for floats.
    pub input_zero_point: i32,
    /// Zero point of the weights; 0 for floats.
    pub weight_zero_point: i32,
    /// Scales of blocks of the weights, where they have them.
    pub blocks: Option<Blocks>,
}

impl FullyConnected {
    /// The layer that a call asks for.
    pub fn new(call: &Call<'_>) -> Result<FullyConnected, CompileError> {
        call.arity(2, 3, 1)?;
        let (x, w) = (call.input(0)?, call.input(1)?);
        let [outputs, inputs] = call.dims::<2>(1)?;
        if call.attrs.name("weights_format", "DEFAULT") != "DEFAULT" {
            return Err(call.unsupported(Unsupported::Option("weights_format".into(), call.attrs.name("weights_format", "").into())));
        }
        if inputs == 0 || outputs == 0 || !x.elements().is_multiple_of(inputs) {
            return Err(call.invalid(format!("weights [{outputs}, {inputs}] for activations of {:?}", x.shape)));
        }
        let arithmetic = match (x.dtype, w.dtype) {
            (DType::Float32, DType::Float32 | DType::Float16) | (DType::Float16, DType::Float16) => Arithmetic::Float,
            (DType::Float32, DType::Int8 | DType::Int4 | DType::Int2) | (DType::Float16, DType::Int8 | DType::Int4) => Arithmetic::Hybrid,
            (DType::Int8, DType::Int8 | DType::Int4 | DType::Int2) | (DType::UInt8, DType::UInt8) => Arithmetic::Quantized,
            (DType::Int16, DType::Int8 | DType::Int16 | DType::Int4 | DType::Int2) => Arithmetic::Quantized16,
            (a, b) => return Err(call.unsupported(Unsupported::Types(format!("{a} with weights of {b}")))),
        };
        let blocks = Blocks::of(call, w, outputs, inputs)?;
        if blocks.is_some() && (arithmetic != Arithmetic::Hybrid || x.dtype != DType::Float32) {
            return Err(call.bad_quantization("scales for blocks beside activations that are not float32"));
        }
        let weight_zero_point = match arithmetic {
            Arithmetic::Float => 0,
            _ if blocks.is_some() => 0,
            _ => {
                let q = call.weight_quant(w, 0, outputs)?;
                if q.zero_point.iter().any(|z| *z != q.zero_point[0]) {
                    return Err(call.bad_quantization("weights with several zero points"));
                }
                q.zero_point[0] as i32
            }
        };
        let input_zero_point = match arithmetic {
            Arithmetic::Quantized | Arithmetic::Quantized16 => call.operand_quant(x)?.1,
            _ => 0,
        };
        // LiteRT reads a bias beside weights of 16 bits as 32-bit integers, whatever it is.
        let biases = if w.dtype == DType::Int16 { &[DType::Int32] } else { bias_types(arithmetic) };
        check_bias(call, 2, outputs, biases)?;
        let several = w.quant.affine().is_some_and(|q| q.scale.len() > 1);
        let whole = match w.dtype {
            DType::Int4 => inputs.is_multiple_of(2),
            DType::Int2 => inputs.is_multiple_of(4) && several,
            _ => true,
        };
        // XNNPACK takes constant weights whose rows end with a byte, those of 2 bits with several scales; TFLite's kernel follows the option.
        let delegated = call.operand(1)?.constant && whole && !is_refused(call);
        let rule = match delegated {
            true => Rule::Even,
            false if call.attrs.bool("asymmetric_quantize_inputs", false) => Rule::Away,
            false => Rule::Symmetric,
        };
        // Only XNNPACK takes halves.
        if arithmetic == Arithmetic::Hybrid && x.dtype == DType::Float16 && rule != Rule::Even {
            return Err(call
                .unsupported(Unsupported::Types(format!("{} with weights of {} that are computed or not whole bytes", x.dtype, w.dtype))));
        }
        let rows = x.elements() / inputs;
        Ok(FullyConnected { rows, inputs, outputs, arithmetic, delegated, rule, input_zero_point, weight_zero_point, blocks })
    }

    /// What is done to accumulators.
    pub fn epilogue(&self, call: &Call<'_>) -> Result<Epilogue, CompileError> {
        let activation = Activation::parse(call)?;
        let output = call.output(0)?;
        let bias = bias_storage(call, 2)?;
        match self.arithmetic {
            Arithmetic::Float => requant::float_epilogue(call, output, bias, activation),
            Arithmetic::Hybrid if self.blocks.is_some() => Ok(blockwise::epilogue(bias, activation)),
            Arithmetic::Hybrid => {
                let scales = &call.weight_quant(call.input(1)?, 0, self.outputs)?.scale;
                let storage = storage_of(call, output)?;
                if storage.ty() != Ty::F32 {
                    return Err(call.invalid(format!("{} as the result of floats", output.dtype)));
                }
                Ok(requant::hybrid_epilogue(scales, bias, activation, self.rule, storage))
            }
            Arithmetic::Quantized | Arithmetic::Quantized16 => {
                let x = call.input(0)?;
                let q = call.weight_quant(call.input(1)?, 0, self.outputs)?;
                let scaling = match (x.dtype, bias) {
                    (DType::Int16, _) if call.input(1)?.dtype == DType::Int16 => Scaling::Fixed64,
                    (DType::Int16, bias) if bias.or(requant::named_bias(call)) == Some(Storage::I64) => Scaling::Double,
                    (DType::Int16, _) => Scaling::Fixed(Rounding::HalfUp),
                    (DType::Int8, _) if self.weight_zero_point != 0 => Scaling::Fixed(Rounding::HalfUp),
                    _ if !self.delegated => Scaling::Fixed(Rounding::HalfUp),
                    _ => Scaling::Float,
                };
                let (si, _) = call.operand_quant(x)?;
                let mut requant = Requant::new(call, output, si, &q.scale, activation, scaling)?;
                if let (Scaling::Fixed(_), [scale]) = (requant.scaling, &q.scale[..]) {
                    requant = requant.of_one_scale(si * scale, call.quant(output)?.0);
                }
                Ok(requant.epilogue(bias))
            }
        }
    }
}

/// Whether activations are floats and weights are called unsigned bytes, as old models have them: XNNPACK does not take these, and TFLite's kernel
/// reads signed bytes.
pub fn is_plain_hybrid(call: &Call<'_>) -> Result<bool, CompileError> {
    Ok((call.input(0)?.dtype, call.input(1)?.dtype) == (DType::Float32, DType::UInt8))
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(2, 3, 1)?;
    let [outputs, inputs] = if is_plain_hybrid(call)? {
        let [outputs, inputs] = call.dims::<2>(1)?;
        check_matrix(call, 1, &[outputs, inputs])?;
        if call.optional(2).is_some() {
            call.dtype_among(2, &[DType::Float32])?;
        }
        Activation::parse(call)?;
        check_bias(call, 2, outputs, bias_types(Arithmetic::Hybrid))?;
        if inputs == 0 || outputs == 0 || !call.input(0)?.elements().is_multiple_of(inputs) {
            return Err(call.invalid(format!("weights [{outputs}, {inputs}] for activations of {:?}", call.input(0)?.shape)));
        }
        [outputs, inputs]
    } else {
        let fc = FullyConnected::new(call)?;
        fc.epilogue(call)?;
        [fc.outputs, fc.inputs]
    };
    let x = call.input(0)?;
    let shape = if call.attrs.bool("keep_num_dims", false) {
        let mut shape = x.shape.clone();
        match shape.last_mut() {
            Some(last) if *last == inputs => *last = outputs,
            _ => return Err(call.invalid(format!("activations of {:?} keep their dimensions but the last is not {inputs}", x.shape))),
        }
        shape
    } else {
        vec![x.elements() / inputs, outputs]
    };
    Ok(vec![call.result(0, x.dtype, shape)?])
}

/// Adds the products of one row: weights are `[inputs, outputs]`.
fn products<T: Accumulator>(x: &[T], w: &[T], acc: &mut [T]) {
    let n = acc.len();
    for (v, w) in x.iter().zip(w.chunks_exact(n)) {
        for (a, k) in acc.iter_mut().zip(w) {
            *a = a.multiply_add(*v, *k);
        }
    }
}

/// A matrix `[rows, columns]` turned over.
pub(crate) fn transposed<T: Copy>(w: &[T], rows: usize, columns: usize) -> Vec<T> {
    (0..columns).flat_map(|c| (0..rows).map(move |r| w[r * columns + c])).collect()
}

/// Rows quantised as in recurrent cells; the sums start from the bias.
fn eval_plain_hybrid(args: &Args<'_>) -> Results {
    let call = args.call;
    let [outputs, inputs] = call.dims::<2>(1)?;
    let x = args.floats(0)?.into_owned();
    let rows = x.len() / inputs;
    let mut out = match args.optional(2) {
        Some(_) => args.floats(2)?.repeat(rows),
        None => vec![0.0; rows * outputs],
    };
    Matrix::new(call, args.value(1)?)?.accumulate(&Batch::new(x, inputs, Some(Inputs::parse(call))), &mut out);
    let mut b = ExprBuilder::new([Storage::F32]);
    let v = b.input(0);
    let v = Activation::parse(call)?.emit_f32(&mut b, v);
    let sums = Value::new(args.ty().clone(), out);
    Ok(vec![eval_pointwise(&b.finish(v, Storage::F32), &[&sums], args.ty())])
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    if is_plain_hybrid(call)? {
        return eval_plain_hybrid(args);
    }
    let fc = FullyConnected::new(call)?;
    let epilogue = fc.epilogue(call)?;
    let ty = args.ty();
    let (n, k) = (fc.outputs, fc.inputs);
    let ints = || -> Result<Vec<i32>, crate::ops::EvalError> {
        let v = args.value(1)?;
        let raw: Vec<i64> = match v.to_i8() {
            Some(w) => w.iter().map(|w| i64::from(*w)).collect(),
            None => args.ints(1)?,
        };
        Ok(transposed(&centered(&raw, |_| fc.weight_zero_point.into()), n, k))
    };
    let value = match fc.arithmetic {
        Arithmetic::Float => {
            let (x, w) = (args.floats(0)?, transposed(&args.floats(1)?, n, k));
            rows::<f32>(args, ty, &epilogue, 2, &[], n, |r, acc| products(&x[r * k..(r + 1) * k], &w, acc))?
        }
        Arithmetic::Hybrid => {
            let x = args.floats(0)?;
            let q: Vec<_> = x.chunks(k).map(|x| quantize(x, fc.rule)).collect();
            let scales: Vec<f32> = q.iter().map(|q| q.scale).collect();
            if let Some(blocks) = &fc.blocks {
                let w = args.value(1)?.to_i8().ok_or_else(|| call.unsupported(Unsupported::Types("weights in blocks".into())))?;
                let offsets = blocks.offsets(&w, k);
                let value = rows::<f32>(args, ty, &epilogue, 2, &scales, n, |r, acc| {
                    let zero = q[r].zero + 128;
                    let stored: Vec<i32> = q[r].values.iter().map(|v| v + zero).collect();
                    blocks.sums(&stored, zero, &w, &offsets, acc);
                })?;
                return Ok(vec![value]);
            }
            let w = ints()?;
            rows::<i32>(args, ty, &epilogue, 2, &scales, n, |r, acc| products(&q[r].values, &w, acc))?
        }
        Arithmetic::Quantized | Arithmetic::Quantized16 => {
            let x = centered(&args.ints(0)?, |_| fc.input_zero_point.into());
            let w = ints()?;
            if epilogue.expr.inputs[0] == Storage::I64 {
                let wide = |v: Vec<i32>| v.into_iter().map(i64::from).collect::<Vec<i64>>();
                let (x, w) = (wide(x), wide(w));
                rows::<i64>(args, ty, &epilogue, 2, &[], n, |r, acc| products(&x[r * k..(r + 1) * k], &w, acc))?
            } else {
                rows::<i32>(args, ty, &epilogue, 2, &[], n, |r, acc| products(&x[r * k..(r + 1) * k], &w, acc))?
            }
        }
    };
    Ok(vec![value])
}

/// Whether a FULLY_CONNECTED does nothing but multiply a matrix of floats with another one turned.
pub fn is_plain_product(graph: &Graph, node: &Node) -> bool {
    let &[Some(x), Some(w), ref bias @ ..] = &node.inputs[..] else { return false };
    let matrix = |t: TensorId| graph.ty(t).dtype == DType::Float32 && graph.ty(t).shape.len() == 2;
    node.op == OpKind::FullyConnected
        && node.outputs.len() == 1
        && node.tail.is_none()
        && bias.iter().all(Option::is_none)
        && matrix(x)
        && matrix(w)
        && node.attrs.name("fused_activation_function", "NONE") == "NONE"
        && node.attrs.name("weights_format", "DEFAULT") == "DEFAULT"
}
