//! LSTM, UNIDIRECTIONAL_SEQUENCE_LSTM, BIDIRECTIONAL_SEQUENCE_LSTM: geometry, inference, sequences.
//!
//! Gates may be coupled (CIFG: no input gate), have peepholes, layer normalisation and a projection; weights are float, or
//! 8-bit with float activations. The integer form (8-bit activations, 16-bit cell) is in `lstm_integer.rs`, the basic kernel in
//! `lstm_basic.rs`, a step of the float form in `lstm_step.rs`. Output and cell state are variable operands.
//! Source: TFLite `kernels/{lstm,unidirectional_sequence_lstm,bidirectional_sequence_lstm,lstm_eval}.cc`.

use crate::error::{CompileError, Unsupported};
use crate::ir::DType::{Float32, Int8, Int16};
use crate::ir::OpKind;
use crate::ops::call::{Call, Inferred};
use crate::ops::lstm_step::Cell;
use crate::ops::operator::{Args, Eval, Operator, Results};
use crate::ops::recurrent::{Activate, Inputs, check_matrix};
use crate::ops::state::State;
use crate::ops::value::Value;
use crate::ops::{lstm_basic, lstm_integer};

/// LSTM: one step.
pub const LSTM: Operator = Operator::new(infer, Eval::Stateful(eval));
/// UNIDIRECTIONAL_SEQUENCE_LSTM.
pub const UNIDIRECTIONAL: Operator = Operator::new(infer, Eval::Stateful(eval));
/// BIDIRECTIONAL_SEQUENCE_LSTM.
pub const BIDIRECTIONAL: Operator = Operator::new(infer_both, Eval::Stateful(eval_both));

/// Operand numbers of one direction. Gates are in the order input, forget, cell, output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Input weights.
    pub input: [usize; 4],
    /// Recurrent weights.
    pub recurrent: [usize; 4],
    /// Peepholes of the input, forget and output gates.
    pub peephole: [usize; 3],
    /// Biases.
    pub bias: [usize; 4],
    /// Projection weights and bias.
    pub projection: [usize; 2],
    /// Output state and cell state.
    pub state: [usize; 2],
    /// Layer normalisation coefficients; beyond the operands where there are none.
    pub norm: [usize; 4],
    /// Weights of the auxiliary input.
    pub aux: [usize; 4],
}

const ABSENT: [usize; 4] = [usize::MAX; 4];

/// Operands of LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM.
pub const ONE: Layout = Layout {
    input: [1, 2, 3, 4],
    recurrent: [5, 6, 7, 8],
    peephole: [9, 10, 11],
    bias: [12, 13, 14, 15],
    projection: [16, 17],
    state: [18, 19],
    norm: [20, 21, 22, 23],
    aux: ABSENT,
};

/// Operands of the two directions of BIDIRECTIONAL_SEQUENCE_LSTM.
pub const BOTH: [Layout; 2] = [
    Layout { state: [35, 36], norm: ABSENT, aux: [40, 41, 42, 43], ..ONE },
    Layout {
        input: [18, 19, 20, 21],
        recurrent: [22, 23, 24, 25],
        peephole: [26, 27, 28],
        bias: [29, 30, 31, 32],
        projection: [33, 34],
        state: [37, 38],
        norm: ABSENT,
        aux: [44, 45, 46, 47],
    },
];

/// Sizes of one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sizes {
    /// Sequences.
    pub batch: usize,
    /// Steps.
    pub time: usize,
    /// Elements of the input.
    pub input: usize,
    /// Elements of the cell.
    pub cell: usize,
    /// Elements of the output.
    pub output: usize,
}

/// Batch, time and features of the input.
pub fn sequence(call: &Call<'_>, operand: usize) -> Result<(usize, usize, usize), CompileError> {
    let shape = &call.input(operand)?.shape;
    let time_major = call.attrs.bool("time_major", call.op == OpKind::BidirectionalSequenceLstm);
    match shape[..] {
        [b, n] if matches!(call.op, OpKind::Lstm | OpKind::Rnn) => Ok((b, 1, n)),
        [t, b, n] if time_major => Ok((b, t, n)),
        [b, t, n] => Ok((b, t, n)),
        _ => Err(call.invalid(format!("an input of shape {shape:?}"))),
    }
}

impl Layout {
    /// Checks all operands of this direction and gives the sizes.
    pub fn check(&self, call: &Call<'_>) -> Result<Sizes, CompileError> {
        let (batch, time, input) = sequence(call, 0)?;
        let [cell, _] = two(call, self.input[3])?;
        let output = match call.input(self.recurrent[3])?.shape[..] {
            [n, m] if n == cell => m,
            [n] if n == cell => n,
            ref s => return Err(call.invalid(format!("recurrent weights of shape {s:?}"))),
        };
        let coupled = call.optional(self.input[0]).is_none();
        for g in 0..4 {
            if g == 0 && coupled {
                continue;
            }
            check_matrix(call, self.input[g], &[cell, input])?;
            let recurrent = call.input(self.recurrent[g])?;
            if recurrent.shape.len() == 1 {
                check_matrix(call, self.recurrent[g], &[output])?;
            } else {
                check_matrix(call, self.recurrent[g], &[cell, output])?;
            }
            if call.input(self.bias[g])?.shape != [cell] {
                return Err(call.invalid(format!("a bias of shape {:?}", call.input(self.bias[g])?.shape)));
            }
            if let Some(norm) = call.optional(self.norm[g])
                && norm.ty.shape != [cell]
            {
                return Err(call.invalid(format!("normalisation coefficients of shape {:?}", norm.ty.shape)));
            }
            if let Some(aux) = call.optional(self.aux[g]) {
                let (_, _, n) = sequence(call, 39)?;
                check_matrix(call, self.aux[g], &[cell, n])?;
                let _ = aux;
            }
        }
        for p in self.peephole {
            if let Some(p) = call.optional(p)
                && p.ty.shape != [cell]
            {
                return Err(call.invalid(format!("a peephole of shape {:?}", p.ty.shape)));
            }
        }
        match call.optional(self.projection[0]) {
            Some(_) => check_matrix(call, self.projection[0], &[output, cell])?,
            None if output != cell => return Err(call.invalid(format!("{output} outputs of {cell} cells without a projection"))),
            None => {}
        }
        if let Some(b) = call.optional(self.projection[1])
            && b.ty.shape != [output]
        {
            return Err(call.invalid(format!("a projection bias of shape {:?}", b.ty.shape)));
        }
        for (s, n) in self.state.into_iter().zip([output, cell]) {
            let state = call.input(s)?;
            if state.elements() != batch * n {
                return Err(call.invalid(format!("a state of shape {:?} for {batch} times {n}", state.shape)));
            }
        }
        Ok(Sizes { batch, time, input, cell, output })
    }
}

fn two(call: &Call<'_>, i: usize) -> Result<[usize; 2], CompileError> {
    call.dims::<2>(i)
}

fn basic(call: &Call<'_>) -> bool {
    call.op == OpKind::Lstm && call.attrs.name("kernel_type", "FULL") == "BASIC"
}

fn infer(call: &Call<'_>) -> Inferred {
    if basic(call) {
        return lstm_basic::infer(call);
    }
    if !(20..=24).contains(&call.inputs.len()) || call.outputs.len() != 1 {
        return Err(call.invalid(format!("{} operands and {} results", call.inputs.len(), call.outputs.len())));
    }
    let dtype = call.dtype_among(0, &[Float32, Int8])?;
    let s = ONE.check(call)?;
    Activate::parse(call)?;
    if dtype == Int8 {
        lstm_integer::Params::new(call, &s)?;
    } else {
        float_states(call, &ONE)?;
    }
    let mut shape = call.input(0)?.shape.clone();
    if let Some(last) = shape.last_mut() {
        *last = s.output;
    }
    Ok(vec![call.result(0, dtype, shape)?])
}

/// Checks that states, biases and coefficients are floats.
fn float_states(call: &Call<'_>, l: &Layout) -> Result<(), CompileError> {
    let all = l.state.iter().chain(&l.bias).chain(&l.norm).chain(&l.projection[1..]);
    for i in all {
        if let Some(o) = call.optional(*i)
            && o.ty.dtype != Float32
        {
            return Err(call.unsupported(Unsupported::Types(format!("{} as operand {i}", o.ty.dtype))));
        }
    }
    Ok(())
}

fn eval(args: &Args<'_>, state: &mut State) -> Results {
    if basic(args.call) {
        return lstm_basic::eval(args, state);
    }
    let s = ONE.check(args.call)?;
    if args.value(0)?.ty.dtype == Int8 {
        return lstm_integer::eval(args, &s, state);
    }
    let out = run(args, &ONE, &s, state, Direction::Forward)?;
    args.result(out)
}

/// Order of the steps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

/// Position of the row of sequence `b` at step `t`.
pub fn row(call: &Call<'_>, batch: usize, time: usize, b: usize, t: usize) -> usize {
    let time_major = call.attrs.bool("time_major", call.op == OpKind::BidirectionalSequenceLstm);
    if time_major { t * batch + b } else { b * time + t }
}

fn run(args: &Args<'_>, l: &Layout, s: &Sizes, state: &mut State, direction: Direction) -> Result<Vec<f32>, crate::ops::EvalError> {
    let call = args.call;
    let cell = Cell::new(args, l, s)?;
    let (mut output, mut cells) = (args.floats(l.state[0])?.into_owned(), args.floats(l.state[1])?.into_owned());
    let x = args.floats(0)?;
    let aux = if args.optional(l.aux[1]).is_some() && args.optional(39).is_some() { Some(args.floats(39)?) } else { None };
    let aux_size = aux.as_ref().map_or(0, |a| a.len() / (s.batch * s.time).max(1));
    let mut out = vec![0f32; s.batch * s.time * s.output];
    for step in 0..s.time {
        let t = if direction == Direction::Forward { step } else { s.time - 1 - step };
        let gather = |x: &[f32], n: usize| -> Vec<f32> {
            (0..s.batch).flat_map(|b| x[row(call, s.batch, s.time, b, t) * n..][..n].iter().copied()).collect()
        };
        let aux = aux.as_ref().map(|a| gather(a, aux_size));
        cell.step(gather(&x, s.input), aux, &mut output, &mut cells);
        for b in 0..s.batch {
            out[row(call, s.batch, s.time, b, t) * s.output..][..s.output].copy_from_slice(&output[b * s.output..(b + 1) * s.output]);
        }
    }
    for (i, v) in l.state.into_iter().zip([output, cells]) {
        state.updates.push((i, Value::new(args.value(i)?.ty.clone(), v)));
    }
    Ok(out)
}

fn infer_both(call: &Call<'_>) -> Inferred {
    let merge = call.attrs.bool("merge_outputs", false);
    call.arity(1, 48, if merge { 1 } else { 2 })?;
    call.dtype_among(0, &[Float32])?;
    Activate::parse(call)?;
    let mut sizes = vec![];
    for l in &BOTH {
        sizes.push(l.check(call)?);
        float_states(call, l)?;
    }
    if call.optional(39).is_some() {
        let (a, b) = (sequence(call, 0)?, sequence(call, 39)?);
        // With an auxiliary input but no weights for it, it is the input of the backward direction.
        if a.0 != b.0 || a.1 != b.1 || call.optional(BOTH[0].aux[1]).is_none() {
            return Err(call.unsupported(Unsupported::Shape("an auxiliary input without weights".into())));
        }
    }
    let shape = |n: usize| {
        let mut shape = call.input(0)?.shape.clone();
        if let Some(last) = shape.last_mut() {
            *last = n;
        }
        Ok::<_, CompileError>(shape)
    };
    if merge {
        return Ok(vec![call.result(0, Float32, shape(sizes[0].output + sizes[1].output)?)?]);
    }
    Ok(vec![call.result(0, Float32, shape(sizes[0].output)?)?, call.result(1, Float32, shape(sizes[1].output)?)?])
}

fn eval_both(args: &Args<'_>, state: &mut State) -> Results {
    let mut outputs = vec![];
    for (l, direction) in BOTH.iter().zip([Direction::Forward, Direction::Backward]) {
        let s = l.check(args.call)?;
        outputs.push((run(args, l, &s, state, direction)?, s.output));
    }
    merged(args, outputs)
}

/// Results of two directions: apart, or side by side.
pub fn merged(args: &Args<'_>, outputs: Vec<(Vec<f32>, usize)>) -> Results {
    if args.types.len() == 2 {
        return Ok(outputs.into_iter().zip(args.types).map(|((v, _), ty)| Value::new(ty.clone(), v)).collect());
    }
    let [(a, n), (b, m)] = &outputs[..] else { return Err(args.error("not two directions")) };
    let rows = a.chunks_exact((*n).max(1)).zip(b.chunks_exact((*m).max(1)));
    args.result(rows.flat_map(|(a, b)| a.iter().chain(b).copied()).collect::<Vec<f32>>())
}

/// Checks that an operand is a 16-bit tensor.
pub fn check_i16(call: &Call<'_>, i: usize) -> Result<(), CompileError> {
    call.dtype_among(i, &[Int16]).map(|_| ())
}

/// How float vectors meet integer weights of the call.
pub fn inputs(call: &Call<'_>) -> Inputs {
    Inputs::parse(call)
}
