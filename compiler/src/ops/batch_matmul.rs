//! BATCH_MATMUL: products of matrices with broadcast batch dimensions, either operand turned over.

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, TensorType};
use crate::ops::accumulate::{Accumulator, centered, quantize, rows};
use crate::ops::activation::Activation;
use crate::ops::call::{Call, Inferred};
use crate::ops::conv_2d::Arithmetic;
use crate::ops::fixed_point::Rounding;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::recurrent::Inputs;
use crate::ops::requant::{self, Epilogue, EpilogueInput, Requant, Scaling};
use crate::ops::shapes::{broadcast, sources};
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::{Expr, Storage};

/// BATCH_MATMUL.
pub const BATCH_MATMUL: Operator = Operator::new(infer, Eval::Direct(eval));

/// Everything static about a batched product `[m, k] x [k, n]`.
#[derive(Clone, PartialEq, Debug)]
pub struct BatchMatMul {
    /// Batch dimensions of the result.
    pub batch: Vec<usize>,
    /// Batch dimensions of the operands.
    pub batches: [Vec<usize>; 2],
    /// Rows of the result.
    pub m: usize,
    /// Columns of the result.
    pub n: usize,
    /// Inner dimension.
    pub k: usize,
    /// Whether the operands' last two dimensions are exchanged.
    pub adjoint: [bool; 2],
    /// Kind of arithmetic.
    pub arithmetic: Arithmetic,
    /// Zero points of the operands; 0 for floats.
    pub zero_points: [i32; 2],
}

impl BatchMatMul {
    /// The product that a call asks for.
    pub fn new(call: &Call<'_>) -> Result<BatchMatMul, CompileError> {
        call.arity(2, 2, 1)?;
        let (x, y) = (call.input(0)?, call.input(1)?);
        let adjoint = [call.attrs.bool("adj_x", false), call.attrs.bool("adj_y", false)];
        let split = |s: &[usize], turned: bool| match s {
            [batch @ .., r, c] => Ok((batch.to_vec(), if turned { [*c, *r] } else { [*r, *c] })),
            _ => Err(call.invalid(format!("operands of {:?} and {:?} are not matrices", x.shape, y.shape))),
        };
        let (bx, [m, k]) = split(&x.shape, adjoint[0])?;
        let (by, [ky, n]) = split(&y.shape, adjoint[1])?;
        if k != ky {
            return Err(call.invalid(format!("inner dimensions {k} and {ky} differ")));
        }
        let batch = broadcast(call, &bx, &by)?;
        let arithmetic = match (x.dtype, y.dtype) {
            (DType::Float32, DType::Float32) | (DType::Float16, DType::Float16) => Arithmetic::Float,
            (DType::Float32, DType::Int8) => Arithmetic::Hybrid,
            (DType::Int8, DType::Int8) => Arithmetic::Quantized,
            (DType::Int16, DType::Int16 | DType::Int8) => Arithmetic::Quantized16,
            (a, b) => return Err(call.unsupported(Unsupported::Types(format!("{a} with {b}")))),
        };
        let fits = match arithmetic {
            Arithmetic::Float | Arithmetic::Hybrid => call.output(0)?.dtype == x.dtype,
            Arithmetic::Quantized => matches!(call.output(0)?.dtype, DType::Int8 | DType::Int32),
            Arithmetic::Quantized16 => call.output(0)?.dtype == DType::Int16,
        };
        if !fits {
            return Err(call.unsupported(Unsupported::Types(format!("{} with {} to {}", x.dtype, y.dtype, call.output(0)?.dtype))));
        }
        let zero = |t, on: bool| if on { Ok::<_, CompileError>(call.operand_quant(t)?.1) } else { Ok(0) };
        // Products of bytes may be the result as they are, and then without zero points.
        let raw = raw_products(call, arithmetic)?;
        let quantized = matches!(arithmetic, Arithmetic::Quantized | Arithmetic::Quantized16) && !raw;
        let scales = arithmetic != Arithmetic::Float && !raw && !is_lost(arithmetic, y);
        // TFLite's hybrid kernel, which takes what is no constant, knows no zero point of the right side.
        let counts = arithmetic != Arithmetic::Hybrid || call.operand(1)?.constant;
        let columns = if adjoint[1] { 2 } else { 1 };
        let several = y.quant.affine().is_some_and(|q| q.scale.len() > 1) && call.operand(1)?.constant;
        let right = if several && scales { per_column(call, y, columns, n)?.1 } else { zero(y, scales && counts)? };
        let zero_points = [zero(x, quantized)?, right];
        Ok(BatchMatMul { batch, batches: [bx, by], m, n, k, adjoint, arithmetic, zero_points })
    }

    /// What is done to accumulators.
    pub fn epilogue(&self, call: &Call<'_>) -> Result<Epilogue, CompileError> {
        let output = call.output(0)?;
        let none = Activation::None;
        match self.arithmetic {
            Arithmetic::Float => requant::float_epilogue(call, output, None, none),
            Arithmetic::Hybrid => Ok(requant::hybrid_epilogue(&self.right_scales(call)?, None, none, Rule::Even, Storage::F32)),
            Arithmetic::Quantized if raw_products(call, self.arithmetic)? => {
                Ok(Epilogue { expr: Expr::identity(Storage::I32), inputs: vec![EpilogueInput::Acc] })
            }
            Arithmetic::Quantized | Arithmetic::Quantized16 => {
                let (sx, _) = call.operand_quant(call.input(0)?)?;
                let sy = if is_lost(self.arithmetic, call.input(1)?) { 0.0 } else { call.quant(call.input(1)?)?.0 };
                let scaling = match self.arithmetic {
                    Arithmetic::Quantized if self.zero_points[1] == 0 => Scaling::Float,
                    Arithmetic::Quantized => Scaling::Fixed(Rounding::HalfAway),
                    _ => Scaling::Fixed64,
                };
                Ok(Requant::new(call, output, sx, &[sy], none, scaling)?.of_one_scale(sx * sy, call.quant(output)?.0).epilogue(None))
            }
        }
    }

    /// The scale of the right side, or one for each of its columns, which XNNPACK takes of constants.
    fn right_scales(&self, call: &Call<'_>) -> Result<Vec<f32>, CompileError> {
        let (y, columns) = (call.operand(1)?, if self.adjoint[1] { 2 } else { 1 });
        if y.constant && y.ty.quant.affine().is_some_and(|q| q.scale.len() > 1) {
            return Ok(per_column(call, y.ty, columns, self.n)?.0.to_vec());
        }
        Ok(vec![call.quant(y.ty)?.0])
    }

    /// For each matrix of the result, which matrix of operand `i` it takes.
    pub fn sources(&self, i: usize) -> Vec<usize> {
        sources(&self.batches[i], &self.batch)
    }

    /// Shape of the result.
    pub fn shape(&self) -> Vec<usize> {
        self.batch.iter().copied().chain([self.m, self.n]).collect()
    }
}

/// Scales and the zero point of a right side whose columns lie along dimension `from_end`, counted from the end.
fn per_column<'a>(call: &Call<'a>, y: &'a TensorType, from_end: usize, columns: usize) -> Result<(&'a [f32], i32), CompileError> {
    let q = call.weight_quant(y, y.shape.len().saturating_sub(from_end), columns)?;
    if q.zero_point.iter().any(|z| *z != 0) {
        return Err(call.bad_quantization("zero points of columns"));
    }
    Ok((&q.scale, 0))
}

/// Whether the result is the sums of products themselves: int32 of int8.
fn raw_products(call: &Call<'_>, arithmetic: Arithmetic) -> Result<bool, CompileError> {
    Ok(arithmetic == Arithmetic::Quantized && call.output(0)?.dtype == DType::Int32)
}

/// Whether LiteRT multiplies by the scale of the right side as if it were 0: it has one scale only for tensors that have one, and with
/// integer activations asks for no other (`kernels/batch_matmul.cc`).
fn is_lost(arithmetic: Arithmetic, right: &TensorType) -> bool {
    matches!(arithmetic, Arithmetic::Quantized | Arithmetic::Quantized16) && right.quant.affine().is_some_and(|q| q.scale.len() > 1)
}

fn infer(call: &Call<'_>) -> Inferred {
    let product = BatchMatMul::new(call)?;
    product.epilogue(call)?;
    let dtype = if raw_products(call, product.arithmetic)? { DType::Int32 } else { call.input(0)?.dtype };
    Ok(vec![call.result(0, dtype, product.shape())?])
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    let p = BatchMatMul::new(call)?;
    let epilogue = p.epilogue(call)?;
    let ty = args.ty();
    let (xs, ys) = (p.sources(0), p.sources(1));
    fn products<T: Accumulator>(p: &BatchMatMul, x: &[T], y: &[T], at: (usize, usize), row: usize, acc: &mut [T]) {
        let (m, n, k) = (p.m, p.n, p.k);
        let (x, y) = (&x[at.0 * m * k..], &y[at.1 * k * n..]);
        for i in 0..k {
            let v = if p.adjoint[0] { x[i * m + row] } else { x[row * k + i] };
            for (j, a) in acc.iter_mut().enumerate() {
                *a = a.multiply_add(v, if p.adjoint[1] { y[j * k + i] } else { y[i * n + j] });
            }
        }
    }
    let place = |row: usize| ((xs[row / p.m], ys[row / p.m]), row % p.m);
    let value = match p.arithmetic {
        Arithmetic::Float => {
            let (x, y) = (args.floats(0)?, args.floats(1)?);
            rows::<f32>(args, ty, &epilogue, 2, &[], p.n, |row, acc| {
                let (at, r) = place(row);
                products(&p, &x, &y, at, r, acc);
            })?
        }
        Arithmetic::Hybrid => {
            let x = args.floats(0)?;
            let y = centered(&args.ints(1)?, |_| p.zero_points[1].into());
            // Rows of the left operand are quantised one by one.
            let (mut q, mut scales) = (vec![0i32; x.len()], vec![]);
            let matrices: usize = p.batches[0].iter().product();
            let mut of_row = vec![1.0f32; matrices * p.m];
            for (row, scale) in of_row.iter_mut().enumerate() {
                let (matrix, r) = (row / p.m, row % p.m);
                let index = |i: usize| matrix * p.m * p.k + if p.adjoint[0] { i * p.m + r } else { r * p.k + i };
                let values: Vec<f32> = (0..p.k).map(|i| x[index(i)]).collect();
                // XNNPACK takes constants only; for others TFLite's own kernel runs.
                let rule = if call.operand(1)?.constant { Rule::Even } else { Inputs::parse(call).rule() };
                let part = quantize(&values, rule);
                *scale = part.scale;
                part.values.iter().enumerate().for_each(|(i, v)| q[index(i)] = *v);
            }
            for matrix in &xs {
                scales.extend_from_slice(&of_row[matrix * p.m..(matrix + 1) * p.m]);
            }
            rows::<i32>(args, ty, &epilogue, 2, &scales, p.n, |row, acc| {
                let (at, r) = place(row);
                products(&p, &q, &y, at, r, acc);
            })?
        }
        Arithmetic::Quantized => {
            let x = centered(&args.ints(0)?, |_| p.zero_points[0].into());
            let y = centered(&args.ints(1)?, |_| p.zero_points[1].into());
            rows::<i32>(args, ty, &epilogue, 2, &[], p.n, |row, acc| {
                let (at, r) = place(row);
                products(&p, &x, &y, at, r, acc);
            })?
        }
        Arithmetic::Quantized16 => {
            let wide = |i: usize| -> Result<Vec<i64>, crate::ops::EvalError> {
                Ok(args.ints(i)?.iter().map(|v| v - i64::from(p.zero_points[i])).collect())
            };
            let (x, y) = (wide(0)?, wide(1)?);
            rows::<i64>(args, ty, &epilogue, 2, &[], p.n, |row, acc| {
                let (at, r) = place(row);
                products(&p, &x, &y, at, r, acc);
            })?
        }
    };
    Ok(vec![value])
}
