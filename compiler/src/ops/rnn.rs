//! RNN, UNIDIRECTIONAL_SEQUENCE_RNN, BIDIRECTIONAL_SEQUENCE_RNN: `h = act(W x + A aux + R h + b)`. SVDF: a filter bank over time.
//!
//! Weights are float, or 8-bit with float activations; SVDF has an integer form with a 16-bit state.
//! Sources: TFLite `kernels/{basic_rnn,unidirectional_sequence_rnn,bidirectional_sequence_rnn,svdf}.cc`, `internal/kernel_utils.cc`.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Float32, Int8, Int16, Int32, UInt8};
use crate::ops::call::{Call, Inferred};
use crate::ops::fixed_point::{Fixed, Rounding};
use crate::ops::lstm::{merged, row, sequence};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::recurrent::{Activate, Batch, Inputs, Matrix, check_matrix, scale};
use crate::ops::state::State;
use crate::ops::value::Value;

/// RNN: one step.
pub const RNN: Operator = Operator::new(infer, Eval::Stateful(eval));
/// UNIDIRECTIONAL_SEQUENCE_RNN.
pub const UNIDIRECTIONAL: Operator = Operator::new(infer, Eval::Stateful(eval));
/// BIDIRECTIONAL_SEQUENCE_RNN.
pub const BIDIRECTIONAL: Operator = Operator::new(infer_both, Eval::Stateful(eval_both));
/// SVDF.
pub const SVDF: Operator = Operator::new(infer_svdf, Eval::Stateful(eval_svdf));

/// Operand numbers of one direction.
pub struct Layout {
    /// Weights, recurrent weights, bias, state, auxiliary weights.
    pub operands: [usize; 5],
    /// From the last step to the first.
    pub backward: bool,
}

/// Operands of RNN and UNIDIRECTIONAL_SEQUENCE_RNN.
pub const ONE: Layout = Layout { operands: [1, 2, 3, 4, usize::MAX], backward: false };
/// Operands: input, forward (weights, recurrent, bias, state), backward likewise, auxiliary input, its two weights.
pub const BOTH: [Layout; 2] =
    [Layout { operands: [1, 2, 3, 4, 10], backward: false }, Layout { operands: [5, 6, 7, 8, 11], backward: true }];
/// The auxiliary input.
pub const AUX: usize = 9;

impl Layout {
    /// Checks the operands of this direction and gives the number of units.
    ///
    /// # Errors
    /// Where types or shapes do not fit.
    pub fn check(&self, call: &Call<'_>) -> Result<usize, CompileError> {
        let (batch, _, input) = sequence(call, 0)?;
        let [w, r, bias, state, aux] = self.operands;
        let [units, _] = call.dims::<2>(w)?;
        check_matrix(call, w, &[units, input])?;
        check_matrix(call, r, &[units, units])?;
        call.dtype_among(bias, &[Float32])?;
        call.dtype_among(state, &[Float32])?;
        if call.input(bias)?.shape != [units] || call.input(state)?.elements() != batch * units {
            return Err(call.invalid(format!("bias {:?}, state {:?} of {units} units", call.input(bias)?.shape, call.input(state)?.shape)));
        }
        if call.optional(aux).is_some() && call.optional(AUX).is_some() {
            let (_, _, n) = sequence(call, AUX)?;
            check_matrix(call, aux, &[units, n])?;
        }
        Ok(units)
    }

    fn run(&self, args: &Args<'_>, state: &mut State) -> Result<(Vec<f32>, usize), EvalError> {
        let call = args.call;
        let units = self.check(call)?;
        let (batch, time, input) = sequence(call, 0)?;
        let [w, r, bias, hidden, aux] = self.operands;
        let (w, r) = (Matrix::new(call, args.value(w)?)?, Matrix::new(call, args.value(r)?)?);
        let aux = match (args.optional(aux), args.optional(AUX)) {
            (Some(m), Some(_)) => Some((Matrix::new(call, m)?, args.floats(AUX)?, sequence(call, AUX)?.2)),
            _ => None,
        };
        let (bias, x) = (args.floats(bias)?, args.floats(0)?);
        let mut h = args.floats(hidden)?.into_owned();
        let inputs = Inputs::parse(call);
        let activation = Activate::parse(call)?;
        let mut out = vec![0f32; batch * time * units];
        for step in 0..time {
            let t = if self.backward { time - 1 - step } else { step };
            let gather = |x: &[f32], n: usize| -> Vec<f32> {
                (0..batch).flat_map(|b| x[row(call, batch, time, b, t) * n..][..n].iter().copied()).collect()
            };
            let rows = |v: Vec<f32>, n: usize, m: &Matrix| Batch::new(v, n, m.is_integer().then_some(inputs));
            let mut v = bias.repeat(batch);
            w.accumulate(&rows(gather(&x, input), input, &w), &mut v);
            if let Some((m, a, n)) = &aux {
                m.accumulate(&rows(gather(a, *n), *n, m), &mut v);
            }
            r.accumulate(&rows(h, units, &r), &mut v);
            v.iter_mut().for_each(|v| *v = activation.apply(*v));
            for b in 0..batch {
                out[row(call, batch, time, b, t) * units..][..units].copy_from_slice(&v[b * units..(b + 1) * units]);
            }
            h = v;
        }
        state.updates.push((hidden, Value::new(args.value(hidden)?.ty.clone(), h)));
        Ok((out, units))
    }
}

fn last(call: &Call<'_>, n: usize) -> Result<Vec<usize>, CompileError> {
    let mut shape = call.input(0)?.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = n;
    }
    Ok(shape)
}

fn infer(call: &Call<'_>) -> Inferred {
    call.arity(5, 5, 1)?;
    call.dtype_among(0, &[Float32])?;
    Activate::parse(call)?;
    let units = ONE.check(call)?;
    Ok(vec![call.result(0, Float32, last(call, units)?)?])
}

fn eval(args: &Args<'_>, state: &mut State) -> Results {
    let (out, _) = ONE.run(args, state)?;
    args.result(out)
}

fn infer_both(call: &Call<'_>) -> Inferred {
    let merge = call.attrs.bool("merge_outputs", false);
    call.arity(9, 12, if merge { 1 } else { 2 })?;
    call.dtype_among(0, &[Float32])?;
    Activate::parse(call)?;
    if call.optional(AUX).is_some() && call.optional(BOTH[0].operands[4]).is_none() {
        return Err(call.unsupported(Unsupported::Shape("an auxiliary input without weights".into())));
    }
    let (f, b) = (BOTH[0].check(call)?, BOTH[1].check(call)?);
    if merge {
        return Ok(vec![call.result(0, Float32, last(call, f + b)?)?]);
    }
    Ok(vec![call.result(0, Float32, last(call, f)?)?, call.result(1, Float32, last(call, b)?)?])
}

fn eval_both(args: &Args<'_>, state: &mut State) -> Results {
    let outputs = BOTH.iter().map(|l| l.run(args, state)).collect::<Result<Vec<_>, _>>()?;
    merged(args, outputs)
}

/// Sizes of an SVDF.
pub struct Svdf {
    /// Sequences.
    pub batch: usize,
    /// Elements of the input.
    pub input: usize,
    /// Filters: units times rank.
    pub filters: usize,
    /// Steps that are remembered.
    pub memory: usize,
    /// Filters of a unit.
    pub rank: usize,
}

impl Svdf {
    /// The sizes of a call.
    ///
    /// # Errors
    /// Where they do not fit each other.
    pub fn new(call: &Call<'_>) -> Result<Svdf, CompileError> {
        let ([batch, input], [filters, wi], [wf, memory]) = (call.dims::<2>(0)?, call.dims::<2>(1)?, call.dims::<2>(2)?);
        let rank = call.size_attr("rank", 0)?;
        if wi != input || wf != filters || filters % rank != 0 || memory == 0 || call.input(4)?.shape != [batch, memory * filters] {
            return Err(call.invalid(format!(
                "input {:?}, features {:?}, time {:?}, state {:?}, rank {rank}",
                [batch, input],
                [filters, wi],
                [wf, memory],
                call.input(4)?.shape
            )));
        }
        if let Some(bias) = call.optional(3)
            && bias.ty.shape != [filters / rank]
        {
            return Err(call.invalid(format!("a bias of shape {:?}", bias.ty.shape)));
        }
        Ok(Svdf { batch, input, filters, memory, rank })
    }
}

fn infer_svdf(call: &Call<'_>) -> Inferred {
    call.arity(5, 5, 1).or_else(|e| if call.inputs.len() == 5 && call.optional(3).is_none() { Ok(()) } else { Err(e) })?;
    let s = Svdf::new(call)?;
    let dtype = call.dtype_among(0, &[Float32, Int8])?;
    let activation = Activate::parse(call)?;
    if dtype == Int8 {
        call.dtype_among(1, &[Int8])?;
        call.dtype_among(2, &[Int16])?;
        call.dtype_among(4, &[Int16])?;
        if call.optional(3).is_some() {
            call.dtype_among(3, &[Int32])?;
        }
        svdf_multipliers(call)?;
        if activation != Activate::Relu {
            return Err(call.unsupported(Unsupported::Option("fused_activation_function".into(), "not RELU".into())));
        }
    } else {
        check_matrix(call, 1, &[s.filters, s.input])?;
        call.dtype_among(4, &[Float32])?;
        call.dtype_among(2, &[Float32, Int8, UInt8])?;
        if call.input(2)?.dtype != Float32 {
            scale(call, call.input(2)?)?;
        }
        if call.optional(3).is_some() {
            call.dtype_among(3, &[Float32])?;
        }
    }
    Ok(vec![call.result(0, dtype, [s.batch, s.filters / s.rank])?])
}

/// Multipliers of feature sums and of time sums.
///
/// # Errors
/// Where a scale is missing.
pub fn svdf_multipliers(call: &Call<'_>) -> Result<(Fixed, Fixed), CompileError> {
    let ((si, _), (so, _)) = (call.quant(call.input(0)?)?, call.quant(call.output(0)?)?);
    let (sf, st, ss) = (scale(call, call.input(1)?)?, scale(call, call.input(2)?)?, scale(call, call.input(4)?)?);
    Ok((Fixed::new(si as f64 * sf as f64 / ss as f64), Fixed::new(ss as f64 * st as f64 / so as f64)))
}

fn eval_svdf(args: &Args<'_>, state: &mut State) -> Results {
    let call = args.call;
    let s = Svdf::new(call)?;
    let units = s.filters / s.rank;
    if args.value(0)?.ty.dtype == Int8 {
        let ((_, zi), (_, zo)) = (call.quant(&args.value(0)?.ty)?, call.quant(args.ty())?);
        let (first, second) = svdf_multipliers(call)?;
        let (x, w, time) = (args.ints(0)?, args.ints(1)?, args.ints(2)?);
        let bias = if args.optional(3).is_some() { args.ints(3)? } else { vec![0; units] };
        let mut memory: Vec<i64> = args.ints(4)?;
        let mut out = vec![];
        for b in 0..s.batch {
            let x = &x[b * s.input..(b + 1) * s.input];
            let mut sums = vec![];
            for f in 0..s.filters {
                let sum =
                    w[f * s.input..(f + 1) * s.input].iter().zip(x).fold(0i32, |a, (w, x)| a.wrapping_add((*w * (*x - zi as i64)) as i32));
                let row = &mut memory[(b * s.filters + f) * s.memory..][..s.memory];
                row.rotate_left(1);
                row[s.memory - 1] = first.apply(sum, Rounding::HalfAway).clamp(-32768, 32767) as i64;
                sums.push(row.iter().zip(&time[f * s.memory..]).fold(0i32, |a, (m, t)| a.wrapping_add((m * t) as i32)));
            }
            for (u, sums) in sums.chunks_exact(s.rank).enumerate() {
                let sum = sums.iter().fold(bias[u] as i32, |a, b| a.wrapping_add(*b));
                out.push(second.apply(sum, Rounding::HalfAway).saturating_add(zo).clamp(-128, 127) as i8);
            }
        }
        state.updates.push((4, Value::new(args.value(4)?.ty.clone(), memory.into_iter().map(|v| v as i16).collect())));
        return args.result(out);
    }
    let features = Matrix::new(call, args.value(1)?)?;
    let time: Vec<f32> = match args.value(2)?.ty.dtype {
        Float32 => args.floats(2)?.into_owned(),
        _ => {
            let scale = scale(call, &args.value(2)?.ty)?;
            // Bytes that old models call unsigned are signed all the same.
            args.value(2)?.bytes().iter().map(|q| f32::from(*q as i8) * scale).collect()
        }
    };
    let bias = if args.optional(3).is_some() { args.floats(3)?.into_owned() } else { vec![0.0; units] };
    let activation = Activate::parse(call)?;
    let mut sums = vec![0f32; s.batch * s.filters];
    let inputs = features.is_integer().then(|| Inputs::parse(call));
    features.accumulate(&Batch::new(args.floats(0)?.into_owned(), s.input, inputs), &mut sums);
    let mut memory = args.floats(4)?.into_owned();
    let mut out = vec![];
    for b in 0..s.batch {
        let mut filtered = vec![];
        for f in 0..s.filters {
            let row = &mut memory[(b * s.filters + f) * s.memory..][..s.memory];
            row.rotate_left(1);
            row[s.memory - 1] = sums[b * s.filters + f];
            filtered.push(row.iter().zip(&time[f * s.memory..]).map(|(m, t)| m * t).sum::<f32>());
        }
        out.extend(filtered.chunks_exact(s.rank).zip(&bias).map(|(v, b)| activation.apply(b + v.iter().sum::<f32>())));
    }
    state.updates.push((4, Value::new(args.value(4)?.ty.clone(), memory)));
    args.result(out)
}
