//! Recipes of recurrent operators: float, with 8-bit weights, and integer.
//!
//! With 8-bit weights what is quantised at run time must be the same in every way to run the model, so these make one step from a zero state and have no
//! projection.

use super::recipes::{name, plan, raw};
use super::{Generator, Planned};
use tflc::ir::OpKind::*;
use tflc::ir::{Affine, AttrValue, Attrs, DType, OpKind, Quantization, TensorId, TensorType};
use tflc::ops::Value;

/// Whether weights are floats or integers of 8 bits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Weights {
    Float,
    Hybrid,
}

fn scaled(dtype: DType, shape: impl Into<Vec<usize>>, scale: f32, zero: i64) -> TensorType {
    TensorType { dtype, shape: shape.into(), quant: Quantization::Affine(Affine::per_tensor(scale, zero)) }
}

impl Weights {
    fn any(g: &mut Generator) -> Weights {
        *g.rng.choose(&[Weights::Float, Weights::Float, Weights::Hybrid])
    }

    /// A matrix of small weights.
    fn matrix(self, g: &mut Generator, shape: &[usize]) -> TensorId {
        match self {
            Weights::Float => floats(g, shape, 0.5),
            Weights::Hybrid => {
                let elements: Vec<i8> = (0..shape.iter().product()).map(|_| g.rng.between(-127, 127) as i8).collect();
                // Old models call the same bytes unsigned.
                let dtype = if g.rng.one_in(4) { DType::UInt8 } else { DType::Int8 };
                g.given(Value::new(scaled(dtype, shape, 0.004, 0), elements))
            }
        }
    }

    /// Steps of a sequence.
    fn steps(self, g: &mut Generator) -> usize {
        if self == Weights::Hybrid { 1 } else { 1 + g.rng.below(4) }
    }
}

fn floats(g: &mut Generator, shape: &[usize], largest: f32) -> TensorId {
    let elements: Vec<f32> = (0..shape.iter().product()).map(|_| g.rng.signed_unit() * largest).collect();
    g.given(Value::new(raw(DType::Float32, shape), elements))
}

/// An input of a recurrent operator: one step, or a sequence with its attributes.
fn sequence(g: &mut Generator, op: OpKind, weights: Weights, batch: usize, time: usize, input: usize) -> Option<(TensorId, Attrs)> {
    let major = g.rng.one_in(2);
    let shape = match op {
        Rnn | Lstm => vec![batch, input],
        _ if major => vec![time, batch, input],
        _ => vec![batch, time, input],
    };
    let x = match weights {
        Weights::Hybrid => g.precise(&[DType::Float32], |s| s == shape, |_| shape.clone()),
        Weights::Float => g.operand(&[DType::Float32], |s| s == shape, |_| shape.clone()),
    };
    let attrs = if matches!(op, Rnn | Lstm) { Attrs::new() } else { Attrs::new().with("time_major", AttrValue::Bool(major)) };
    Some((x?, attrs.with("asymmetric_quantize_inputs", AttrValue::Bool(g.rng.one_in(2)))))
}

fn squash(g: &mut Generator, attrs: Attrs) -> Attrs {
    let chosen = *g.rng.choose(&["TANH", "RELU", "RELU6", "NONE"]);
    attrs.with("fused_activation_function", name(chosen))
}

pub(super) fn rnn(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Rnn, UnidirectionalSequenceRnn, BidirectionalSequenceRnn]);
    let weights = Weights::any(g);
    let (batch, time, input, units) = (1 + g.rng.below(3), weights.steps(g), 1 + g.rng.below(9), 1 + g.rng.below(9));
    let (x, attrs) = sequence(g, op, weights, batch, time, input)?;
    let attrs = squash(g, attrs);
    let both = op == BidirectionalSequenceRnn;
    let mut inputs = vec![Some(x)];
    for _ in 0..1 + usize::from(both) {
        inputs.push(Some(weights.matrix(g, &[units, input])));
        inputs.push(Some(weights.matrix(g, &[units, units])));
        inputs.push(Some(floats(g, &[units], 0.5)));
        inputs.push(Some(g.variable(raw(DType::Float32, [batch, units]))));
    }
    let merge = both && g.rng.one_in(2);
    let attrs = if both { attrs.with("merge_outputs", AttrValue::Bool(merge)) } else { attrs };
    if both {
        inputs.extend([None, None, None]);
    }
    let results = vec![(DType::Float32, Quantization::None); if both && !merge { 2 } else { 1 }];
    Some(Planned { inputs, results, ..plan(op, [], attrs, DType::Float32, Quantization::None)? })
}

/// Sizes of an LSTM and which optional operands it has.
struct Lstm4 {
    batch: usize,
    input: usize,
    cell: usize,
    output: usize,
    coupled: bool,
    peephole: bool,
    projection: bool,
    norm: bool,
}

impl Lstm4 {
    fn any(g: &mut Generator, projection: bool, norm: bool) -> Lstm4 {
        let cell = 1 + g.rng.below(9);
        let projection = projection && g.rng.one_in(3);
        Lstm4 {
            batch: 1 + g.rng.below(3),
            input: 1 + g.rng.below(9),
            cell,
            output: if projection { 1 + g.rng.below(9) } else { cell },
            coupled: g.rng.one_in(3),
            peephole: g.rng.one_in(3),
            projection,
            norm: norm && g.rng.one_in(3),
        }
    }

    /// Operands of one direction from the weights on: matrices, peepholes, biases and the projection.
    fn operands(&self, g: &mut Generator, weights: Weights) -> Vec<Option<TensorId>> {
        let mut all = vec![];
        for columns in [self.input, self.output] {
            for gate in 0..4 {
                all.push(if gate == 0 && self.coupled { None } else { Some(weights.matrix(g, &[self.cell, columns])) });
            }
        }
        for gate in 0..3 {
            let has = self.peephole && !(gate == 0 && self.coupled);
            all.push(if has { Some(weights.matrix(g, &[self.cell])) } else { None });
        }
        for gate in 0..4 {
            all.push(if gate == 0 && self.coupled { None } else { Some(floats(g, &[self.cell], 0.5)) });
        }
        all.push(if self.projection { Some(weights.matrix(g, &[self.output, self.cell])) } else { None });
        all.push(if self.projection && g.rng.one_in(2) { Some(floats(g, &[self.output], 0.5)) } else { None });
        all
    }

    fn states(&self, g: &mut Generator) -> [Option<TensorId>; 2] {
        [self.output, self.cell].map(|n| Some(g.variable(raw(DType::Float32, [self.batch, n]))))
    }

    fn norms(&self, g: &mut Generator, mut one: impl FnMut(&mut Generator, usize) -> TensorId) -> Vec<Option<TensorId>> {
        let cell = self.cell;
        (0..4).map(|gate| if gate == 0 && self.coupled { None } else { Some(one(g, cell)) }).collect()
    }
}

fn clips(g: &mut Generator, attrs: Attrs) -> Attrs {
    let mut clip = |n: usize| AttrValue::Float(if g.rng.one_in(n) { 0.5 } else { 0.0 });
    attrs.with("cell_clip", clip(3)).with("proj_clip", clip(4))
}

/// The basic kernel of LSTM in bytes, with a state of 16 bits.
fn basic_integer(g: &mut Generator) -> Option<Planned> {
    let (batch, input, units) = (1 + g.rng.below(3), 1 + g.rng.below(9), 1 + g.rng.below(9));
    let bytes = |columns: usize| scaled(DType::UInt8, [batch, columns], 1.0 / 128.0, 128);
    let state = scaled(DType::Int16, [batch, units], 1.0 / 2048.0, 0);
    let x = crate::random_values::random_value(&mut g.rng, &bytes(input));
    let x = g.input_of(x);
    let previous = [bytes(units), state.clone()].map(|ty| {
        let value = crate::random_values::random_value(&mut g.rng, &ty);
        g.input_of(value)
    });
    let zero = g.rng.between(110, 140);
    let w = crate::random_values::random_value(&mut g.rng, &scaled(DType::UInt8, [4 * units, input + units], 0.01, zero));
    let w = g.given(w);
    let b = integers(g, scaled(DType::Int32, [4 * units], 0.01 / 128.0, 0), 9000);
    let attrs = Attrs::new().with("kernel_type", name("BASIC")).with("fused_activation_function", name("TANH"));
    let one = plan(OpKind::Lstm, [x, previous[0], w, b, previous[1]], attrs, DType::UInt8, bytes(units).quant)?;
    let gates = scaled(DType::Int16, [0], 1.0 / 4096.0, 0).quant;
    let hidden = bytes(units).quant;
    let results = vec![(DType::UInt8, hidden.clone()), (DType::Int16, state.quant), (DType::UInt8, hidden), (DType::Int16, gates)];
    Some(Planned { results, ..one })
}

/// The basic kernel of LSTM: previous output and state are operands.
fn basic(g: &mut Generator) -> Option<Planned> {
    let (batch, input, units) = (1 + g.rng.below(3), 1 + g.rng.below(6), 1 + g.rng.below(6));
    let x = g.operand(&[DType::Float32], |s| s == [batch, input], |_| vec![batch, input])?;
    let [previous, state] = [0; 2].map(|_| g.input(DType::Float32, vec![batch, units]));
    let (w, b) = (floats(g, &[4 * units, input + units], 0.5), floats(g, &[4 * units], 0.5));
    let attrs = Attrs::new().with("kernel_type", name("BASIC")).with("fused_activation_function", name("TANH"));
    let one = plan(OpKind::Lstm, [x, previous, w, b, state], attrs, DType::Float32, Quantization::None)?;
    Some(Planned { results: vec![(DType::Float32, Quantization::None); 4], ..one })
}

pub(super) fn lstm(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[OpKind::Lstm, UnidirectionalSequenceLstm, BidirectionalSequenceLstm]);
    if op == OpKind::Lstm {
        if g.dtype(&[DType::Float32, DType::Float32, DType::Float32, DType::UInt8]) == DType::UInt8 {
            return basic_integer(g);
        }
        if g.rng.one_in(3) {
            return basic(g);
        }
    }
    let weights = Weights::any(g);
    let float = weights == Weights::Float;
    let both = op == BidirectionalSequenceLstm;
    let s = Lstm4::any(g, float, float && !both);
    let time = weights.steps(g);
    let (x, attrs) = sequence(g, op, weights, s.batch, time, s.input)?;
    let attrs = clips(g, attrs.with("fused_activation_function", name("TANH")).with("kernel_type", name("FULL")));
    let mut inputs = vec![Some(x)];
    inputs.extend(s.operands(g, weights));
    if !both {
        inputs.extend(s.states(g));
        if s.norm {
            inputs.extend(s.norms(g, |g, n| floats(g, &[n], 1.0)));
        }
        return Some(Planned { inputs, ..plan(op, [], attrs, DType::Float32, Quantization::None)? });
    }
    inputs.extend(s.operands(g, weights));
    inputs.extend(s.states(g));
    inputs.extend(s.states(g));
    inputs.extend([None; 9]);
    let merge = g.rng.one_in(2);
    let attrs = attrs.with("merge_outputs", AttrValue::Bool(merge));
    let results = vec![(DType::Float32, Quantization::None); if merge { 1 } else { 2 }];
    Some(Planned { inputs, results, ..plan(op, [], attrs, DType::Float32, Quantization::None)? })
}

fn integers(g: &mut Generator, ty: TensorType, largest: i64) -> TensorId {
    let list: Vec<i64> = (0..ty.elements()).map(|_| g.rng.between(-largest, largest)).collect();
    let value = match ty.dtype {
        DType::Int8 => Value::new(ty, list.into_iter().map(|v| v as i8).collect()),
        DType::Int16 => Value::new(ty, list.into_iter().map(|v| v as i16).collect()),
        _ => Value::new(ty, list.into_iter().map(|v| v as i32).collect()),
    };
    g.given(value)
}

/// LSTM and UNIDIRECTIONAL_SEQUENCE_LSTM of 8-bit activations and a 16-bit cell.
pub(super) fn lstm_integer(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[UnidirectionalSequenceLstm, OpKind::Lstm]);
    let s = Lstm4::any(g, true, true);
    let (time, major) = (1 + g.rng.below(4), g.rng.one_in(2));
    let shape = match op {
        OpKind::Lstm => vec![s.batch, s.input],
        _ if major => vec![time, s.batch, s.input],
        _ => vec![s.batch, time, s.input],
    };
    let zero = g.rng.between(-20, 20);
    let x = crate::random_values::random_value(&mut g.rng, &scaled(DType::Int8, shape, 0.02, zero));
    let x = g.input_of(x);
    let matrix = |g: &mut Generator, n: usize, m: usize| integers(g, scaled(DType::Int8, [n, m], 0.005, 0), 127);
    let mut inputs = vec![Some(x)];
    for columns in [s.input, s.output] {
        for gate in 0..4 {
            inputs.push(if gate == 0 && s.coupled { None } else { Some(matrix(g, s.cell, columns)) });
        }
    }
    for gate in 0..3 {
        let has = s.peephole && !(gate == 0 && s.coupled);
        inputs.push(if has { Some(integers(g, scaled(DType::Int16, [s.cell], 2e-5, 0), 32767)) } else { None });
    }
    for gate in 0..4 {
        let has = !(gate == 0 && s.coupled);
        inputs.push(if has { Some(integers(g, scaled(DType::Int32, [s.cell], 1e-4, 0), 5000)) } else { None });
    }
    inputs.push(if s.projection { Some(matrix(g, s.output, s.cell)) } else { None });
    inputs.push(if s.projection && g.rng.one_in(2) { Some(integers(g, scaled(DType::Int32, [s.output], 4e-5, 0), 5000)) } else { None });
    let zero = g.rng.between(-10, 10);
    let output = scaled(DType::Int8, [s.batch, s.output], 1.0 / 128.0, zero);
    inputs.push(Some(g.variable(output.clone())));
    inputs.push(Some(g.variable(scaled(DType::Int16, [s.batch, s.cell], 1.0 / 2048.0, 0))));
    if s.norm {
        inputs.extend(s.norms(g, |g, n| integers(g, scaled(DType::Int16, [n], 3e-5, 0), 32767)));
    }
    let gates: Vec<TensorId> = (0..4).map(|_| g.scratch(scaled(DType::Int16, [0], 1.0 / 4096.0, 0))).collect();
    let hidden = g.scratch(scaled(DType::Int8, [0], 1.0 / 128.0, 3));
    let attrs = Attrs::new().with("kernel_type", name("FULL")).with("fused_activation_function", name("TANH"));
    let attrs = if op == OpKind::Lstm { attrs } else { attrs.with("time_major", AttrValue::Bool(major)) };
    let attrs = clips(g, attrs);
    let one = plan(op, [], attrs, DType::Int8, output.quant)?;
    Some(Planned { inputs, intermediates: [gates, vec![hidden]].concat(), ..one })
}

pub(super) fn svdf(g: &mut Generator) -> Option<Planned> {
    let (batch, input, units, rank, memory) =
        (1 + g.rng.below(3), 1 + g.rng.below(9), 1 + g.rng.below(6), 1 + g.rng.below(3), 1 + g.rng.below(6));
    let filters = units * rank;
    let attrs = Attrs::new().with("rank", AttrValue::Int(rank as i64));
    if g.dtype(&[DType::Float32, DType::Int8]) == DType::Int8 {
        let x = g.operand(&[DType::Int8], |s| s == [batch, input], |_| vec![batch, input])?;
        let features = integers(g, scaled(DType::Int8, [filters, input], 0.01, 0), 127);
        let time = integers(g, scaled(DType::Int16, [filters, memory], 1e-4, 0), 32767);
        let b = integers(g, scaled(DType::Int32, [units], 1e-7, 0), 100_000);
        let state = g.variable(scaled(DType::Int16, [batch, memory * filters], 1e-3, 0));
        let quant = g.quantization(DType::Int8);
        return plan(Svdf, [x, features, time, b, state], attrs.with("fused_activation_function", name("RELU")), DType::Int8, quant);
    }
    let weights = Weights::any(g);
    let x = match weights {
        Weights::Hybrid => g.precise(&[DType::Float32], |s| s == [batch, input], |_| vec![batch, input]),
        Weights::Float => g.operand(&[DType::Float32], |s| s == [batch, input], |_| vec![batch, input]),
    }?;
    let features = weights.matrix(g, &[filters, input]);
    let time = weights.matrix(g, &[filters, memory]);
    let b = if g.rng.one_in(3) { None } else { Some(floats(g, &[units], 1.0)) };
    let state = g.variable(raw(DType::Float32, [batch, memory * filters]));
    let attrs = attrs.with("asymmetric_quantize_inputs", AttrValue::Bool(g.rng.one_in(2)));
    let attrs = squash(g, attrs);
    let inputs = vec![Some(x), Some(features), Some(time), b, Some(state)];
    Some(Planned { inputs, ..plan(Svdf, [], attrs, DType::Float32, Quantization::None)? })
}
