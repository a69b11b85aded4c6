//! Structured damage to models: fields of the file, and options of operators, get values that no converter writes.
//!
//! In: a model file as its tables ([`schema::Model`]), or an imported graph. Out: the same with one thing changed. The file stays readable, so that what
//! stands behind the reader is reached; whether the model makes sense any more is for the compiler to say.

use crate::random_values::Rng;
use tflc::frontend::schema::{self, Buffer, Operator, QuantizationParameters, SubGraph, Tensor};
use tflc::ir::{AttrValue, Attrs, Model};

/// Numbers at which something may go wrong.
const EDGES: &[i64] =
    &[0, 1, -1, 2, 3, 4, 7, 8, 15, 16, 17, 31, 64, 127, 128, -128, 255, 256, 1000, 65535, 65536, i32::MAX as i64, i32::MIN as i64, -2];

fn number(rng: &mut Rng, old: i64) -> i64 {
    match rng.below(4) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_sub(1),
        2 => rng.between(-3, 20),
        _ => *rng.choose(EDGES),
    }
}

fn float(rng: &mut Rng, old: f32) -> f32 {
    *rng.choose(&[
        0.0,
        -0.0,
        1.0,
        -1.0,
        old * 2.0,
        old * 1e-6,
        old * 1e6,
        f32::NAN,
        f32::INFINITY,
        f32::MAX,
        f32::MIN_POSITIVE,
        1e-40,
        -old,
    ])
}

fn index(rng: &mut Rng, count: usize, old: i32) -> i32 {
    if count > 0 && !rng.one_in(6) { rng.below(count) as i32 } else { number(rng, old.into()) as i32 }
}

/// Changes one element of a list, or its length.
fn list<T: Clone>(rng: &mut Rng, items: &mut Vec<T>, change: impl FnOnce(&mut Rng, &T) -> T) {
    if items.is_empty() {
        return;
    }
    let at = rng.below(items.len());
    match rng.below(8) {
        0 => drop(items.remove(at)),
        1 => items.insert(at, items[at].clone()),
        2 => {
            let other = rng.below(items.len());
            items.swap(at, other);
        }
        _ => items[at] = change(rng, &items[at]),
    }
}

/// Changes one thing in the tables of a file.
pub fn mutate_file(rng: &mut Rng, model: &mut schema::Model) {
    let (codes, buffers, graphs) = (model.operator_codes.len(), model.buffers.len(), model.subgraphs.len());
    if graphs == 0 {
        return;
    }
    let at = rng.below(graphs);
    match rng.below(10) {
        0 if buffers > 0 => {
            let at = rng.below(buffers);
            buffer(rng, &mut model.buffers[at]);
        }
        1 if codes > 0 => {
            let at = rng.below(codes);
            let code = &mut model.operator_codes[at];
            if rng.one_in(2) {
                // Another operator with the options of this one.
                let n = rng.below(210) as i32;
                (code.builtin_code.0, code.deprecated_builtin_code) = (n, n.min(127) as i8);
            } else {
                code.version = number(rng, code.version.into()) as i32;
            }
        }
        2 => {
            let graph = &mut model.subgraphs[at];
            let count = graph.tensors.len();
            let which = if rng.one_in(2) { &mut graph.inputs } else { &mut graph.outputs };
            list(rng, which, |rng, old| index(rng, count, *old));
        }
        3..=6 => {
            let graph = &mut model.subgraphs[at];
            if !graph.tensors.is_empty() {
                let at = rng.below(graph.tensors.len());
                tensor(rng, &mut graph.tensors[at], buffers);
            }
        }
        _ => operators(rng, &mut model.subgraphs[at], codes),
    }
}

fn buffer(rng: &mut Rng, buffer: &mut Buffer) {
    let Some(data) = &mut buffer.data else { return };
    if data.is_empty() {
        return;
    }
    match rng.below(4) {
        0 => data.truncate(rng.below(data.len())),
        1 => data.extend_from_within(..),
        2 => {
            // Words at the start: axes, shapes and indices lie there.
            let word = (number(rng, 0) as i32).to_le_bytes();
            let n = data.len().min(4);
            let at = rng.below(data.len() / 4 + 1) * 4;
            let at = if at + n > data.len() { 0 } else { at };
            data[at..at + n].copy_from_slice(&word[..n]);
        }
        _ => {
            let at = rng.below(data.len());
            data[at] = rng.bits() as u8;
        }
    }
}

fn tensor(rng: &mut Rng, tensor: &mut Tensor, buffers: usize) {
    match rng.below(9) {
        0..=2 => {
            if tensor.shape.is_empty() || rng.one_in(10) {
                tensor.shape.push(1 + rng.below(4) as i32);
            }
            list(rng, &mut tensor.shape, |rng, old| number(rng, (*old).into()) as i32);
        }
        3 => tensor.dtype.0 = rng.between(-1, 23) as i8,
        4 => tensor.buffer = index(rng, buffers, tensor.buffer as i32) as u32,
        5 => tensor.is_variable = !tensor.is_variable,
        6 => tensor.shape_signature = tensor.shape.iter().map(|d| if rng.one_in(2) { -1 } else { *d }).collect(),
        _ => match &mut tensor.quantization {
            Some(q) => quantization(rng, q),
            None => {
                let q = QuantizationParameters { scale: vec![0.1], zero_point: vec![rng.between(-130, 130)], ..Default::default() };
                tensor.quantization = Some(Box::new(q));
            }
        },
    }
}

fn quantization(rng: &mut Rng, q: &mut QuantizationParameters) {
    match rng.below(5) {
        0 => list(rng, &mut q.scale, |rng, old| float(rng, *old)),
        1 => list(rng, &mut q.zero_point, |rng, old| number(rng, *old)),
        2 => q.quantized_dimension = number(rng, q.quantized_dimension.into()) as i32,
        3 => q.scale.clear(),
        _ => (q.scale, q.zero_point) = (vec![], vec![]),
    }
}

fn operators(rng: &mut Rng, graph: &mut SubGraph, codes: usize) {
    let (tensors, count) = (graph.tensors.len(), graph.operators.len());
    if count == 0 {
        return;
    }
    let at = rng.below(count);
    match rng.below(8) {
        0 => {
            let other = rng.below(count);
            graph.operators.swap(at, other);
        }
        1 => drop(graph.operators.remove(at)),
        2 => {
            // The options of another operator.
            let options = graph.operators[rng.below(count)].builtin_options.clone();
            graph.operators[at].builtin_options = options;
        }
        _ => operator(rng, &mut graph.operators[at], tensors, codes),
    }
}

fn operator(rng: &mut Rng, operator: &mut Operator, tensors: usize, codes: usize) {
    match rng.below(6) {
        0 => operator.opcode_index = index(rng, codes, operator.opcode_index as i32) as u32,
        1 | 2 => list(rng, &mut operator.inputs, |rng, old| index(rng, tensors, *old)),
        3 => list(rng, &mut operator.outputs, |rng, old| index(rng, tensors, *old)),
        4 => match &mut operator.custom_options {
            Some(bytes) if !bytes.is_empty() => {
                let at = rng.below(bytes.len());
                bytes[at] = rng.bits() as u8;
            }
            _ => operator.builtin_options = Default::default(),
        },
        _ => list(rng, &mut operator.intermediates, |rng, old| index(rng, tensors, *old)),
    }
}

/// Changes one option of one operator of a graph.
pub fn mutate_options(rng: &mut Rng, model: &mut Model) {
    let places: Vec<(usize, usize)> =
        model.graphs.iter().enumerate().flat_map(|(g, graph)| (0..graph.nodes.len()).map(move |n| (g, n))).collect();
    if places.is_empty() {
        return;
    }
    let (g, n) = *rng.choose(&places);
    let attrs = &mut model.graphs[g].nodes[n].attrs;
    let all: Vec<(String, AttrValue)> = attrs.iter().map(|(k, v)| (k.to_string(), v.clone())).collect();
    if all.is_empty() {
        return;
    }
    let at = rng.below(all.len());
    let mut changed = Attrs::new();
    for (i, (key, value)) in all.into_iter().enumerate() {
        if i != at {
            changed.set(key, value);
        } else if !rng.one_in(8) {
            changed.set(key, option(rng, value));
        }
    }
    *attrs = changed;
}

/// Names of options' values.
const NAMES: &[&str] = &[
    "NONE",
    "RELU",
    "RELU6",
    "TANH",
    "SIGN_BIT",
    "SAME",
    "VALID",
    "REFLECT",
    "SYMMETRIC",
    "INT32",
    "INT64",
    "SUM",
    "MEAN",
    "SQRTN",
    "BASIC",
    "FULL",
    "?",
];

fn option(rng: &mut Rng, value: AttrValue) -> AttrValue {
    match value {
        AttrValue::Int(v) => AttrValue::Int(number(rng, v)),
        AttrValue::Float(v) => AttrValue::Float(float(rng, v)),
        AttrValue::Bool(v) => AttrValue::Bool(!v),
        AttrValue::Enum(_) => AttrValue::Enum((*rng.choose(NAMES)).to_string()),
        AttrValue::Ints(mut v) => {
            list(rng, &mut v, |rng, old| number(rng, *old));
            AttrValue::Ints(v)
        }
        AttrValue::Floats(mut v) => {
            list(rng, &mut v, |rng, old| float(rng, *old));
            AttrValue::Floats(v)
        }
        other => other,
    }
}
