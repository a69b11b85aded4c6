//! LSTM with the basic kernel: one matrix for all gates, previous output and state as operands, four results.
//!
//! Floats; or bytes around 128 that count 1/128, weights of bytes, a state of 16 bits with four integer bits and gates with three.
//! Where previous output and state are variables they take the new ones. Sources: TFLite `kernels/lstm.cc`,
//! `kernels/internal/optimized/optimized_ops.h` (`LstmCell`); gemmlowp, `fixedpoint/fixedpoint.h`.

use crate::error::CompileError;
use crate::ir::DType::{self, Float32, Int16, Int32, UInt8};
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::{Fixed, Rounding, shift_half_away};
use crate::ops::gemmlowp::FixedPoint;
use crate::ops::operator::{Args, EvalError, Results};
use crate::ops::recurrent::Activate;
use crate::ops::state::State;
use crate::ops::value::Value;

/// Operands with previous output and state, and the results that they become.
pub const STATES: [(usize, usize); 2] = [(1, 0), (4, 1)];

/// Zero point of the bytes that come in and go out.
pub const ZERO_POINT: i32 = 128;

/// What takes integer sums to gates.
#[derive(Clone, Copy, Debug)]
pub struct Integers {
    /// Zero point of the weights.
    pub weight_zero: i32,
    /// Sums times this have three integer bits.
    pub gates: Fixed,
}

impl Integers {
    /// The parameters of a call whose types have been inferred; `None` for floats.
    ///
    /// # Errors
    /// Where weights and bias lack a scale, or the state has another than 2^-11.
    pub fn new(call: &Call<'_>) -> Result<Option<Integers>, CompileError> {
        if call.input(0)?.dtype == Float32 {
            return Ok(None);
        }
        let (_, weight_zero) = call.quant(call.input(2)?)?;
        let (bias, _) = call.quant(call.input(3)?)?;
        let (state, _) = call.quant(call.output(1)?)?;
        if (state.log2() + 11.0).abs() > 1e-3 {
            return Err(call.bad_quantization(format!("a state with scale {state}; the basic cell has 2^-11")));
        }
        Ok(Some(Integers { weight_zero, gates: Fixed::new((4096.0 * bias) as f64) }))
    }
}

/// Types of output, state, the operands side by side and the gates, from input `[batch, n]`, previous output and state `[batch, units]`, weights
/// `[4 units, n + units]` (input, cell, forget, output) and a bias.
pub(super) fn infer(call: &Call<'_>) -> Inferred {
    call.arity(5, 5, 4)?;
    let float = call.dtype_among(0, &[Float32, UInt8])? == Float32;
    let operands: [DType; 5] = if float { [Float32; 5] } else { [UInt8, UInt8, UInt8, Int32, Int16] };
    for (i, dtype) in operands.into_iter().enumerate() {
        call.dtype_among(i, &[dtype])?;
    }
    let ([b, n], [pb, units], [wo, wi], [bias], [sb, su]) =
        (call.dims::<2>(0)?, call.dims::<2>(1)?, call.dims::<2>(2)?, call.dims::<1>(3)?, call.dims::<2>(4)?);
    if pb != b || sb != b || su != units || wo != 4 * units || bias != wo || wi != n + units {
        return Err(call.invalid("sizes of the operands do not fit each other"));
    }
    Integers::new(call)?;
    let shapes = [[b, units], [b, units], [b, wi], [b, wo]];
    let results: [DType; 4] = if float { [Float32; 4] } else { [UInt8, Int16, UInt8, Int16] };
    shapes.into_iter().zip(results).enumerate().map(|(i, (s, dtype))| call.result(i, dtype, s)).collect()
}

/// The four results; output and state are the new values of the operands with previous ones.
pub(super) fn eval(args: &Args<'_>, state: &mut State) -> Results {
    let results = match Integers::new(args.call)? {
        Some(p) => integers(args, p)?,
        None => floats(args)?,
    };
    for (operand, result) in STATES {
        state.updates.push((operand, results[result].with_type(args.value(operand)?.ty.clone())));
    }
    Ok(results)
}

/// Rows of two matrices side by side.
fn side_by_side<T: Copy>(a: &[T], n: usize, b: &[T], units: usize) -> Vec<T> {
    a.chunks_exact(n.max(1)).zip(b.chunks_exact(units.max(1))).flat_map(|(a, b)| a.iter().chain(b).copied()).collect()
}

fn floats(args: &Args<'_>) -> Result<Vec<Value>, EvalError> {
    let ([_, n], [_, units]) = (args.call.dims::<2>(0)?, args.call.dims::<2>(1)?);
    let (x, previous, w, bias, state) = (args.floats(0)?, args.floats(1)?, args.floats(2)?, args.floats(3)?, args.floats(4)?);
    let (mut output, mut cells, mut gates) = (vec![], vec![], vec![]);
    let logistic = |v: f32| Activate::Logistic.apply(v);
    let tanh = |v: f32| Activate::Tanh.apply(v);
    let both = side_by_side(&x, n, &previous, units);
    for (row, state) in both.chunks_exact((n + units).max(1)).zip(state.chunks_exact(units.max(1))) {
        let sum = |(w, bias): (&[f32], &f32)| w.iter().zip(row).map(|(a, b)| a * b).sum::<f32>() + bias;
        let g: Vec<f32> = w.chunks_exact(row.len().max(1)).zip(bias.iter()).map(sum).collect();
        for c in 0..units {
            let new = logistic(g[c]) * tanh(g[units + c]) + state[c] * logistic(g[2 * units + c]);
            cells.push(new);
            output.push(logistic(g[3 * units + c]) * tanh(new));
        }
        gates.extend(g);
    }
    Ok([output, cells, both, gates].into_iter().zip(args.types).map(|(v, ty)| Value::new(ty.clone(), v)).collect())
}

fn integers(args: &Args<'_>, p: Integers) -> Result<Vec<Value>, EvalError> {
    let ([_, n], [_, units]) = (args.call.dims::<2>(0)?, args.call.dims::<2>(1)?);
    let (x, previous, w) = (args.elements::<u8>(0)?, args.elements::<u8>(1)?, args.elements::<u8>(2)?);
    let (bias, state) = (args.elements::<i32>(3)?, args.elements::<i16>(4)?);
    let (mut output, mut cells, mut gates) = (vec![], vec![], vec![]);
    let f = FixedPoint { bits: 16 };
    let both = side_by_side(&x, n, &previous, units);
    for (row, state) in both.chunks_exact((n + units).max(1)).zip(state.chunks_exact(units.max(1))) {
        let product = |(w, x): (&u8, &u8)| (i32::from(*w) - p.weight_zero).wrapping_mul(i32::from(*x) - ZERO_POINT);
        let sum = |(w, bias): (&[u8], &i32)| w.iter().zip(row).map(product).fold(*bias, i32::wrapping_add);
        let gate = |sum: i32| i64::from(p.gates.apply(sum, Rounding::HalfUp).clamp(-32768, 32767));
        let g: Vec<i64> = w.chunks_exact(row.len().max(1)).zip(bias.iter()).map(|r| gate(sum(r))).collect();
        for c in 0..units {
            let added = f.mul(f.logistic(g[c], 3), f.tanh(g[units + c], 3));
            let kept = f.mul(f.logistic(g[2 * units + c], 3), i64::from(state[c]));
            // The product of gates has no integer bits, the state four; the hyperbolic tangent sees three.
            let new = (i64::from(shift_half_away(added as i32, 4)) + kept).clamp(-32768, 32767);
            let out = f.mul(f.logistic(g[3 * units + c], 3), f.tanh((2 * new).clamp(-32768, 32767), 3));
            cells.push(new as i16);
            output.push((shift_half_away(out as i32, 8).clamp(-128, 127) + ZERO_POINT) as u8);
        }
        gates.extend(g.into_iter().map(|v| v as i16));
    }
    let [a, b, c, d] = args.types else { return Err(args.error("not four results")) };
    Ok(vec![Value::new(a.clone(), output), Value::new(b.clone(), cells), Value::new(c.clone(), both), Value::new(d.clone(), gates)])
}
