//! SOFTMAX and LOG_SOFTMAX along the last axis: f32 directly, 8 bits by a table of exponentials, 16 bits in `softmax_int16.rs`.

use crate::error::CompileError;
use crate::ir::{DType, OpKind};
use crate::ops::activation::emit_clamp;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::softmax_int16::SoftmaxInt16;
use tflc_templates::expr::interpret::{Source, eval_slices};
use tflc_templates::expr::{Cast, Compare, Expr, ExprBuilder, Storage, Ty, Unary};

/// Both.
pub const SOFTMAX: Operator = Operator::new(infer, Eval::Direct(eval));

/// Everything static about an 8-bit softmax: numerics.md, "SOFTMAX".
#[derive(Clone, PartialEq, Debug)]
pub struct Table {
    /// `exp(-beta * scale * k)` for k in [0, 255].
    pub exp: Vec<f32>,
    /// Scale of the input.
    pub input_scale: f32,
    /// Scale of the output.
    pub output_scale: f32,
    /// Makes results: from the probability over the output scale for SOFTMAX, from element and offset for LOG_SOFTMAX.
    pub epilogue: Expr,
}

impl Table {
    /// The table of a call with 8-bit operands.
    pub fn new(call: &Call<'_>) -> Result<Table, CompileError> {
        let x = call.input(0)?;
        let y = call.output(0)?;
        let ((si, _), (so, zo)) = (call.quant(x)?, call.quant(y)?);
        let beta = if call.op == OpKind::Softmax { call.attrs.float("beta", 1.0) } else { 1.0 };
        let step = -si * beta;
        let exp = (0..256).map(|k| f64::from(step * k as f32).exp() as f32).collect();
        let (storage, lo, hi) = match y.dtype {
            DType::Int16 => (Storage::I16, -32768, 32767),
            DType::Int8 => (Storage::I8, -128, 127),
            _ => (Storage::U8, 0, 255),
        };
        let epilogue = if call.op == OpKind::Softmax {
            let mut b = ExprBuilder::new([Storage::F32]);
            let p = b.input(0);
            // Values are not negative: half away from zero is half up. int8 and int16 round exactly, uint8 adds 0.5 in f32.
            let q = if y.dtype != DType::UInt8 {
                let t = b.unary(Unary::Trunc, p);
                let d = b.sub(p, t);
                let half = b.f32(0.5);
                let up = b.compare(Compare::Ge, d, half);
                let one = b.f32(1.0);
                let next = b.add(t, one);
                b.select(up, next, t)
            } else {
                let half = b.f32(0.5);
                b.add(p, half)
            };
            let q = b.cast(Cast::Value, Ty::I32, q);
            let zero = b.i32(if y.dtype != DType::UInt8 { zo } else { 0 });
            let q = b.add(q, zero);
            let q = emit_clamp(&mut b, q, lo, hi);
            b.finish(q, storage)
        } else {
            let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
            let (q, offset) = (b.input(0), b.input(1));
            let scale = b.f32(si / so);
            let v = b.mul(scale, q);
            let v = b.sub(v, offset);
            let v = b.unary(Unary::RoundEven, v);
            let v = b.cast(Cast::Value, Ty::I32, v);
            let zero = b.i32(zo);
            let v = b.add(v, zero);
            let v = emit_clamp(&mut b, v, lo, hi);
            b.finish(v, storage)
        };
        Ok(Table { exp, input_scale: si, output_scale: so, epilogue })
    }
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let dtype = call.dtype_among(0, &[DType::Float32, DType::Float16, DType::Int8, DType::UInt8, DType::Int16])?;
    let x = call.input(0)?;
    if x.shape.is_empty() {
        return Err(call.invalid("a scalar has no axis"));
    }
    if matches!(dtype, DType::Int8 | DType::UInt8) {
        Table::new(call)?;
    }
    if dtype == DType::Int16 {
        if call.op == OpKind::LogSoftmax {
            return Err(call.unsupported(crate::error::Unsupported::Types("int16".into())));
        }
        SoftmaxInt16::new(call)?;
    }
    // 8-bit operands may have 16-bit results.
    let wide = call.op == OpKind::Softmax && !dtype.is_float() && call.output(0)?.dtype == DType::Int16;
    Ok(vec![call.result(0, if wide { DType::Int16 } else { dtype }, x.shape.clone())?])
}

fn eval(args: &Args<'_>) -> Results {
    let call = args.call;
    let x = args.value(0)?;
    let n = x.ty.shape.last().copied().unwrap_or(1).max(1);
    let log = call.op == OpKind::LogSoftmax;
    if x.ty.dtype.is_float() {
        let beta = if log { 1.0 } else { call.attrs.float("beta", 1.0) };
        let mut out = args.floats(0)?.into_owned();
        for row in out.chunks_mut(n) {
            let max = row.iter().fold(f32::NEG_INFINITY, |m, v| if *v > m { *v } else { m });
            row.iter_mut().for_each(|v| *v = (*v - max) * beta);
            let sum: f64 = row.iter().map(|v| f64::from(*v).exp()).sum();
            for v in row {
                *v = if log { (f64::from(*v) - sum.ln()) as f32 } else { (f64::from(*v).exp() / sum) as f32 };
            }
        }
        if x.ty.dtype == DType::Float16 {
            return args.float_result(out);
        }
        return args.result(out);
    }
    if x.ty.dtype == DType::Int16 {
        let softmax = SoftmaxInt16::new(call)?;
        let mut out = Vec::with_capacity(x.ty.elements());
        args.ints(0)?.chunks(n).for_each(|row| softmax.row(row, &mut out));
        return args.result(out);
    }
    let table = Table::new(call)?;
    let q = args.ints(0)?;
    let width = table.epilogue.output.bytes();
    let mut out = vec![0u8; q.len() * width];
    for (q, out) in q.chunks(n).zip(out.chunks_mut(n * width)) {
        let max = q.iter().copied().max().unwrap_or(0);
        let at = |v: i64| table.exp[(max - v) as usize & 255];
        let sum = q.iter().fold(0.0f32, |s, &v| s + at(v));
        if log {
            let offset = (table.input_scale * max as f32 + f64::from(sum).ln() as f32) / table.output_scale;
            let values: Vec<f32> = q.iter().map(|v| *v as f32).collect();
            eval_slices(&table.epilogue, &[Source::Dense(bytemuck::cast_slice(&values)), Source::Splat(&offset.to_le_bytes())], out);
        } else {
            let inverse = 1.0 / (sum * table.output_scale);
            let p: Vec<f32> = q.iter().map(|&v| at(v) * inverse).collect();
            eval_slices(&table.epilogue, &[Source::Dense(bytemuck::cast_slice(&p))], out);
        }
    }
    args.result(out)
}
