//! The integer LSTM: 8-bit input, output state and weights, 16-bit cell state and gates, 32-bit biases ("8x8_16").
//!
//! Gates are in Q3.12; the cell has a power-of-two scale. Formulas: `docs/numerics.md`, section *Recurrent operators, int8*.
//! Source: TFLite `kernels/{lstm,lstm_eval}.cc`.

use crate::error::CompileError;
use crate::ir::DType::{Int8, Int32};
use crate::ops::call::Call;
use crate::ops::fixed_point::{Fixed, Rounding, shift_half_away};
use crate::ops::gemmlowp::FixedPoint;
use crate::ops::lstm::{ONE, Sizes, check_i16, row};
use crate::ops::operator::{Args, EvalError, Results};
use crate::ops::recurrent::scale;
use crate::ops::state::State;
use crate::ops::unary_quant::inverse_sqrt_multiplier;
use crate::ops::value::Value;

/// Multipliers of one gate.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct GateParams {
    /// Of input sums.
    pub input: Fixed,
    /// Of recurrent sums.
    pub recurrent: Fixed,
    /// Of peephole products.
    pub peephole: Fixed,
    /// Of normalised values, and the variance where it vanishes.
    pub norm: (Fixed, i32),
}

/// All multipliers and zero points.
#[derive(Clone, PartialEq, Debug)]
pub struct Params {
    /// Input, forget, cell, output.
    pub gates: [GateParams; 4],
    /// Zero point of the input.
    pub input_zero: i32,
    /// Zero point of the output state.
    pub output_zero: i32,
    /// The cell's scale is 2 to this.
    pub cell_log2: i32,
    /// Of output gate times activated cell.
    pub hidden: Fixed,
    /// Zero point of that product.
    pub hidden_zero: i32,
    /// Of projected sums.
    pub projection: Fixed,
    /// Bounds of the cell and of the projection; 0 where there are none.
    pub clips: (i32, i32),
}

impl Params {
    /// From the scales of a call whose shapes have been checked.
    pub fn new(call: &Call<'_>, _: &Sizes) -> Result<Params, CompileError> {
        let l = &ONE;
        let (si, zi) = call.quant(call.input(0)?)?;
        let state = call.input(l.state[0])?;
        let (sh, zh) = call.quant(state)?;
        call.dtype_among(l.state[0], &[Int8])?;
        check_i16(call, l.state[1])?;
        let (sc, _) = call.quant(call.input(l.state[1])?)?;
        let cell_log2 = sc.log2().round();
        if (sc.log2() - cell_log2).abs() > 1e-3 || !(-15.0..=-9.0).contains(&cell_log2) {
            return Err(call.bad_quantization(format!("a cell scale of {sc}, which is no power of two up to 2^-9")));
        }
        for g in 0..4 {
            if call.optional(l.input[g]).is_some() {
                call.dtype_among(l.input[g], &[Int8])?;
                call.dtype_among(l.recurrent[g], &[Int8])?;
                call.dtype_among(l.bias[g], &[Int32])?;
                if call.input(l.recurrent[g])?.shape.len() != 2 {
                    return Err(call.bad_quantization("diagonal recurrent weights"));
                }
            }
            if call.optional(l.norm[g]).is_some() {
                check_i16(call, l.norm[g])?;
            }
        }
        for p in l.peephole {
            if call.optional(p).is_some() {
                check_i16(call, p)?;
            }
        }
        if call.optional(l.projection[0]).is_some() {
            call.dtype_among(l.projection[0], &[Int8])?;
            if call.optional(l.projection[1]).is_some() {
                call.dtype_among(l.projection[1], &[Int32])?;
            }
        }
        if call.intermediates.len() != 5 {
            return Err(call.bad_quantization(format!("{} intermediate tensors; the 16-bit cell has 5", call.intermediates.len())));
        }
        let normed = call.optional(l.norm[1]).is_some();
        let (hidden_scale, hidden_zero) = call.quant(call.intermediates[4])?;
        let mut gates = [GateParams::default(); 4];
        let peepholes = [Some(l.peephole[0]), Some(l.peephole[1]), None, Some(l.peephole[2])];
        for (g, gate) in gates.iter_mut().enumerate() {
            if call.optional(l.input[g]).is_none() {
                continue;
            }
            let between = if normed { call.quant(call.intermediates[g])?.0 } else { 2f32.powi(-12) };
            gate.input = Fixed::new((scale(call, call.input(l.input[g])?)? * si / between) as f64);
            gate.recurrent = Fixed::new((scale(call, call.input(l.recurrent[g])?)? * sh / between) as f64);
            if let Some(p) = peepholes[g].and_then(|p| call.optional(p)) {
                gate.peephole = Fixed::new((2f64.powi(cell_log2 as i32) * scale(call, p.ty)? as f64 / between as f64) as f32 as f64);
            }
            if let Some(n) = call.optional(l.norm[g]) {
                let s = scale(call, n.ty)?;
                gate.norm = (Fixed::new(s as f64), ((10000.0 * s) as i32).max(1));
            }
        }
        let projection = match call.optional(l.projection[0]) {
            Some(p) => Fixed::new((scale(call, p.ty)? * hidden_scale / sh) as f64),
            None => Fixed::default(),
        };
        let clip = |v: f32, scale: f32, most: f32| if v > 0.0 { (v / scale).min(most) as i32 } else { 0 };
        Ok(Params {
            gates,
            input_zero: zi,
            output_zero: zh,
            cell_log2: cell_log2 as i32,
            hidden: Fixed::new((2f64.powi(-15) / hidden_scale as f64 * 2f64.powi(-15)) as f32 as f64),
            hidden_zero,
            projection,
            clips: (
                clip(call.attrs.float("cell_clip", 0.0), sc, 32767.0),
                clip(call.attrs.float("proj_clip", 0.0), call.quant(call.output(0)?)?.0, 127.0),
            ),
        })
    }
}

const ROUND: Rounding = Rounding::HalfAway;

fn i8s(args: &Args<'_>, i: usize) -> Result<Vec<i32>, EvalError> {
    Ok(args.value(i)?.bytes().iter().map(|q| *q as i8 as i32).collect())
}

fn sat16(v: i64) -> i32 {
    v.clamp(-32768, 32767) as i32
}

/// Weights of one gate.
struct Gate {
    params: GateParams,
    input: Vec<i32>,
    recurrent: Vec<i32>,
    bias: Vec<i32>,
    peephole: Option<Vec<i32>>,
    norm: Option<Vec<i32>>,
}

/// Runs all steps; states go to `state`.
pub fn eval(args: &Args<'_>, s: &Sizes, state: &mut State) -> Results {
    let (call, l) = (args.call, &ONE);
    let p = Params::new(call, s)?;
    let wide = |i: usize| -> Result<Vec<i32>, EvalError> { Ok(args.ints(i)?.into_iter().map(|v| v as i32).collect()) };
    let peepholes = [Some(l.peephole[0]), Some(l.peephole[1]), None, Some(l.peephole[2])];
    let gate = |g: usize| -> Result<Option<Gate>, EvalError> {
        if args.optional(l.input[g]).is_none() {
            return Ok(None);
        }
        let peephole = peepholes[g].filter(|i| args.optional(*i).is_some());
        Ok(Some(Gate {
            params: p.gates[g],
            input: i8s(args, l.input[g])?,
            recurrent: i8s(args, l.recurrent[g])?,
            bias: wide(l.bias[g])?,
            peephole: peephole.map(wide).transpose()?,
            norm: args.optional(l.norm[g]).map(|_| wide(l.norm[g])).transpose()?,
        }))
    };
    let gates = [gate(0)?, gate(1)?, gate(2)?, gate(3)?];
    let projection = args.optional(l.projection[0]).map(|_| i8s(args, l.projection[0])).transpose()?;
    let projection_bias = args.optional(l.projection[1]).map(|_| wide(l.projection[1])).transpose()?.unwrap_or_else(|| vec![0; s.output]);
    let x = i8s(args, 0)?;
    let mut h = i8s(args, l.state[0])?;
    let mut c = wide(l.state[1])?;
    let mut out = vec![0i8; s.batch * s.time * s.output];
    let fixed = FixedPoint { bits: 16 };
    for t in 0..s.time {
        for b in 0..s.batch {
            let at = row(call, s.batch, s.time, b, t);
            let x: Vec<i32> = x[at * s.input..(at + 1) * s.input].iter().map(|q| q - p.input_zero).collect();
            let hb: Vec<i32> = h[b * s.output..(b + 1) * s.output].iter().map(|q| q - p.output_zero).collect();
            let c = &mut c[b * s.cell..(b + 1) * s.cell];
            let sums = |g: &Gate, c: &[i32]| -> Vec<i32> {
                let mut v = vec![0; s.cell];
                for (i, v) in v.iter_mut().enumerate() {
                    let bias = if g.norm.is_some() { 0 } else { g.bias[i] };
                    let sum = dot(&x, &g.input[i * s.input..]).wrapping_add(bias);
                    *v = sat16(g.params.input.apply(sum, ROUND) as i64);
                    let sum = dot(&hb, &g.recurrent[i * s.output..]);
                    *v = sat16(*v as i64 + g.params.recurrent.apply(sum, ROUND) as i64);
                    if let Some(w) = &g.peephole {
                        *v = sat16(*v as i64 + g.params.peephole.apply(w[i] * c[i], ROUND) as i64);
                    }
                }
                if let Some(n) = &g.norm {
                    normalize(&mut v, n, &g.bias, g.params.norm);
                }
                v
            };
            let logistic = |v: Vec<i32>| -> Vec<i32> { v.into_iter().map(|v| fixed.logistic(v as i64, 3) as i32).collect() };
            let input = gates[0].as_ref().map(|g| logistic(sums(g, c)));
            let [_, Some(forget), Some(update), Some(output)] = &gates else { return Err(args.error("a gate is missing")) };
            let forget = logistic(sums(forget, c));
            let update: Vec<i32> = sums(update, c).into_iter().map(|v| fixed.tanh(v as i64, 3) as i32).collect();
            for i in 0..s.cell {
                let gate = input.as_ref().map_or(32767 - forget[i], |g| g[i]);
                let kept = shift_half_away(forget[i] * c[i], 15) as i16 as i64;
                let added = shift_half_away(gate * update[i], (30 + p.cell_log2) as u32) as i16 as i64;
                c[i] = sat16(kept + added);
                if p.clips.0 > 0 {
                    c[i] = c[i].clamp(-p.clips.0, p.clips.0);
                }
            }
            let output = logistic(sums(output, c));
            let products = c.iter().zip(&output).map(|(c, o)| o * fixed.tanh(*c as i64, (15 + p.cell_log2) as u32) as i32);
            let h = &mut h[b * s.output..(b + 1) * s.output];
            match &projection {
                None => h
                    .iter_mut()
                    .zip(products)
                    .for_each(|(h, v)| *h = p.hidden.apply(v, ROUND).saturating_add(p.hidden_zero).clamp(-128, 127)),
                Some(w) => {
                    // TFLite subtracts the zero point of the hidden values where it adds it elsewhere; the weights' bias makes up for it.
                    let hidden: Vec<i32> =
                        products.map(|v| p.hidden.apply(v, ROUND).saturating_sub(p.hidden_zero).clamp(-128, 127) + p.hidden_zero).collect();
                    for (o, h) in h.iter_mut().enumerate() {
                        let sum = dot(&hidden, &w[o * s.cell..]).wrapping_add(projection_bias[o]);
                        *h = p.projection.apply(sum, ROUND).saturating_add(p.output_zero).clamp(-128, 127);
                        if p.clips.1 > 0 {
                            *h = (*h).clamp(-p.clips.1, p.clips.1);
                        }
                    }
                }
            }
            for (o, h) in out[at * s.output..(at + 1) * s.output].iter_mut().zip(h) {
                *o = *h as i8;
            }
        }
    }
    let h: Vec<i8> = h.into_iter().map(|v| v as i8).collect();
    let c: Vec<i16> = c.into_iter().map(|v| v as i16).collect();
    state.updates.push((l.state[0], Value::new(args.value(l.state[0])?.ty.clone(), h)));
    state.updates.push((l.state[1], Value::new(args.value(l.state[1])?.ty.clone(), c)));
    args.result(out)
}

fn dot(x: &[i32], w: &[i32]) -> i32 {
    x.iter().zip(w).fold(0i32, |s, (a, b)| s.wrapping_add(a.wrapping_mul(*b)))
}

/// Fixed-point layer normalisation. Source: TFLite `portable_tensor_utils.cc`, `PortableApplyLayerNorm`.
fn normalize(v: &mut [i32], weights: &[i32], bias: &[i32], (scale, guard): (Fixed, i32)) {
    let n = v.len() as i64;
    let sum: i64 = v.iter().map(|v| *v as i64).sum();
    let squares: i64 = v.iter().map(|v| *v as i64 * *v as i64).sum();
    let mean = (sum * 1024 / n) as i32;
    let variance = squares * ((1 << 20) / n) - mean as i64 * mean as i64;
    let variance = (variance / (1 << 20)) as i32;
    let (m, e) = inverse_sqrt_multiplier(if variance < 1 { guard } else { variance });
    for ((v, w), b) in v.iter_mut().zip(weights).zip(bias) {
        let shifted = 1024i32.wrapping_mul(*v).wrapping_sub(mean);
        let rescaled = Fixed { m, e }.apply(shifted, ROUND);
        let weighted = rescaled.wrapping_mul(*w).wrapping_add(*b) as i64;
        let rounded = (if weighted > 0 { weighted + 512 } else { weighted - 512 }) / 1024;
        *v = sat16(Fixed { m: scale.m, e: scale.e + 12 }.apply(rounded as i32, ROUND) as i64);
    }
}
