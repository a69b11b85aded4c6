//! AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D.
//!
//! Quantised averages are of the stored integers, rounded half away from zero; maxima are of the stored integers. The
//! quantisation of the result is that of the input, whatever the model says (`compiler/docs/numerics.md`).

use crate::error::CompileError;
use crate::ir::{DType, OpKind};
use crate::ops::activation::{Activation, Bounds, emit_clamp};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::storage::storage_of;
use crate::ops::value::Value;
use crate::ops::window::Window;
use tflc_templates::expr::interpret::{Source, eval_slices};
use tflc_templates::expr::{Binary, Cast, Expr, ExprBuilder, Storage, Ty, Unary};

/// All three.
pub const POOL_2D: Operator = Operator::new(infer, Eval::Direct(eval));

/// Everything static about a pool.
#[derive(Clone, PartialEq, Debug)]
pub struct Pool {
    /// Window over the images.
    pub window: Window,
    /// Channels.
    pub channels: usize,
    /// Applied to each element before it is combined.
    pub element: Expr,
    /// Applied to the combination (F32 or I32) and the number of elements in the window (I32).
    pub epilogue: Expr,
}

impl Pool {
    /// The pool that a call asks for.
    pub fn new(call: &Call<'_>) -> Result<Pool, CompileError> {
        call.arity(1, 1, 1)?;
        let [batch, height, width, channels] = call.dims::<4>(0)?;
        let kernel = [call.size_attr("filter_height", 0)?, call.size_attr("filter_width", 0)?];
        let window = Window::new(call, [batch, height, width], kernel, false)?;
        let x = call.input(0)?;
        let types = match call.op {
            OpKind::L2Pool2d => &[DType::Float32][..],
            OpKind::AveragePool2d => &[DType::Float32, DType::Float16, DType::Int8, DType::UInt8, DType::Int16],
            _ => &[DType::Float32, DType::Int8, DType::UInt8, DType::Int16],
        };
        call.dtype_among(0, types)?;
        let activation = Activation::parse_clamp(call)?;
        let storage = storage_of(call, x)?;
        Ok(Pool {
            window,
            channels,
            element: element(call.op, storage),
            epilogue: epilogue(call, storage, kernel[0].saturating_mul(kernel[1]), activation)?,
        })
    }
}

fn element(op: OpKind, storage: Storage) -> Expr {
    let mut b = ExprBuilder::new([storage]);
    let x = b.input(0);
    let y = if op == OpKind::L2Pool2d { b.mul(x, x) } else { x };
    b.finish(y, accumulator(storage))
}

/// What elements of a type are combined in.
fn accumulator(storage: Storage) -> Storage {
    if storage.ty() == Ty::F32 { Storage::F32 } else { Storage::I32 }
}

fn epilogue(call: &Call<'_>, storage: Storage, taps: usize, activation: Activation) -> Result<Expr, CompileError> {
    let acc = accumulator(storage);
    let mut b = ExprBuilder::new([acc, Storage::I32]);
    let (x, n) = (b.input(0), b.input(1));
    let y = match (call.op, storage) {
        (OpKind::MaxPool2d, _) => x,
        (op, _) if acc == Storage::F32 => {
            let n = b.cast(Cast::Value, Ty::F32, n);
            let mean = b.binary(Binary::Div, x, n);
            if op == OpKind::L2Pool2d { b.unary(Unary::Sqrt, mean) } else { mean }
        }
        _ => {
            // (s + sign(s) * (n / 2)) / n, truncated. Below 2^24 the quotient in f32, truncated, is the integer one: the quotient's
            // distance to the next integer is at least 1/n, more than its rounding error. No processor divides vectors of integers.
            let one = b.i32(1);
            let half = b.binary(Binary::Shr, n, one);
            let zero = b.i32(0);
            let positive = b.compare(tflc_templates::expr::Compare::Gt, x, zero);
            let up = b.add(x, half);
            let down = b.sub(x, half);
            let sum = b.select(positive, up, down);
            let largest = if storage == Storage::I16 { 1 << 15 } else { 1 << 8 };
            if taps.saturating_mul(largest + 1) < 1 << 24 {
                let sum = b.cast(Cast::Value, Ty::F32, sum);
                let n = b.cast(Cast::Value, Ty::F32, n);
                let quotient = b.binary(Binary::Div, sum, n);
                let whole = b.unary(Unary::Trunc, quotient);
                b.cast(Cast::RoundEven, Ty::I32, whole)
            } else {
                b.binary(Binary::Div, sum, n)
            }
        }
    };
    let y = if acc == Storage::F32 {
        activation.emit_f32(&mut b, y)
    } else {
        let output = call.output(0)?;
        let (scale, zero) = call.quant(output)?;
        let (lo, hi) = activation.quantized_range(output.dtype, scale, zero, Bounds::Tflite);
        emit_clamp(&mut b, y, lo, hi)
    };
    Ok(b.finish(y, storage))
}

fn infer(call: &Call<'_>) -> Inferred {
    let pool = Pool::new(call)?;
    let w = &pool.window;
    Ok(vec![call.result(0, call.input(0)?.dtype, [w.batch, w.output[0], w.output[1], pool.channels])?])
}

fn eval(args: &Args<'_>) -> Results {
    let pool = Pool::new(args.call)?;
    let w = &pool.window;
    let max = args.call.op == OpKind::MaxPool2d;
    let float = pool.epilogue.inputs[0] == Storage::F32;
    let (floats, ints) = if float { (args.floats(0)?.into_owned(), vec![]) } else { (vec![], args.ints(0)?) };
    let square = args.call.op == OpKind::L2Pool2d;
    let c = pool.channels;
    let width = pool.epilogue.output.bytes();
    let mut out = vec![0u8; w.pixels() * c * width];
    for (row, out) in out.chunks_mut((c * width).max(1)).enumerate() {
        let (ox, rest) = (row % w.output[1], row / w.output[1]);
        let (oy, image) = (rest % w.output[0], rest / w.output[0]);
        let mut f = vec![if max { f32::NEG_INFINITY } else { 0.0 }; c];
        let mut q = vec![if max { i32::MIN } else { 0 }; c];
        let mut count = 0i32;
        for ky in 0..w.kernel[0] {
            for kx in 0..w.kernel[1] {
                let Some((iy, ix)) = w.tap(oy, ox, ky, kx) else { continue };
                let at = ((image * w.input[0] + iy) * w.input[1] + ix) * c;
                count += 1;
                for i in 0..c {
                    match (float, max) {
                        (true, true) => f[i] = if floats[at + i] > f[i] { floats[at + i] } else { f[i] },
                        (true, false) => f[i] += if square { floats[at + i] * floats[at + i] } else { floats[at + i] },
                        (false, true) => q[i] = q[i].max(ints[at + i] as i32),
                        (false, false) => q[i] += ints[at + i] as i32,
                    }
                }
            }
        }
        let acc: &[u8] = if float { bytemuck::cast_slice(&f) } else { bytemuck::cast_slice(&q) };
        eval_slices(&pool.epilogue, &[Source::Dense(acc), Source::Splat(&count.to_le_bytes())], out);
    }
    Ok(vec![Value::new(args.ty().clone(), out)])
}
