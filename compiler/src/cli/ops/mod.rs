//! Which types each operator takes, found out by trying: a small use of each (`samples.txt`) goes through inference, passes and lowering.
//!
//! In: targets. Out: for each row of the operator table the types of its samples that infer and those that lower for every target. Nothing here says what
//! is supported; the code that compiles models does.

pub mod docs;

use crate::driver::optimize;
use crate::ir::{DType, GraphId, Model, OpKind, parse};
use crate::lower::lower;
use crate::ops::propagate_types;
use crate::target::Target;
use rayon::prelude::*;

/// The samples.
const SAMPLES: &str = include_str!("samples.txt");

/// Types that are tried, with their short names.
const TYPES: &[(&str, DType)] = &[
    ("f32", DType::Float32),
    ("f16", DType::Float16),
    ("bf16", DType::BFloat16),
    ("i8", DType::Int8),
    ("u8", DType::UInt8),
    ("i16", DType::Int16),
    ("u16", DType::UInt16),
    ("i32", DType::Int32),
    ("u32", DType::UInt32),
    ("i64", DType::Int64),
    ("u64", DType::UInt64),
    ("bool", DType::Bool),
    ("f64", DType::Float64),
    ("c64", DType::Complex64),
    ("c128", DType::Complex128),
];

/// Types of weights that are not tried as activations.
const WEIGHT_TYPES: &[(&str, DType)] = &[("i4", DType::Int4), ("i2", DType::Int2)];

/// One line of the samples, for one operator.
#[derive(Clone, Copy, Debug)]
struct Sample {
    name: &'static str,
    weights: Option<&'static str>,
    operands: &'static str,
    results: &'static str,
    attributes: &'static str,
}

/// What became of a sample.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tried {
    /// Operator.
    pub op: OpKind,
    /// Type of its constant weights, where the sample has any.
    pub weights: Option<&'static str>,
    /// Types that the operator takes: inference and the reference evaluator do.
    pub evaluated: Vec<&'static str>,
    /// For each target, the types that lower to its kernels.
    pub compiled: Vec<Vec<&'static str>>,
}

fn samples() -> Vec<Sample> {
    let lines = SAMPLES.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    let parts = |line: &'static str| -> Vec<&'static str> { line.splitn(4, '|').map(str::trim).collect() };
    lines
        .flat_map(|line| {
            let p = parts(line);
            let at = move |i: usize| p.get(i).copied().unwrap_or_default();
            let (operands, results, attributes) = (at(1), at(2), at(3));
            at(0).split_whitespace().map(move |name| {
                let (name, weights) = name.split_once(':').map_or((name, None), |(n, w)| (n, Some(w)));
                Sample { name, weights, operands, results, attributes }
            })
        })
        .collect()
}

/// Tries every sample with every type, for these targets.
pub fn try_all(targets: &[Target]) -> Vec<Tried> {
    let try_one = |s: &Sample| -> Option<Tried> {
        let op = OpKind::BUILTIN.iter().copied().find(|k| k.name() == s.name)?;
        let mut tried = Tried { op, weights: s.weights, evaluated: vec![], compiled: vec![vec![]; targets.len()] };
        for (name, _) in TYPES {
            let Some(model) = s.model(name) else { continue };
            tried.evaluated.push(*name);
            for (target, list) in targets.iter().zip(&mut tried.compiled) {
                let mut model = model.clone();
                let done = optimize(&mut model, GraphId(0), target, &mut |_, _| {}).and_then(|()| lower(&model, GraphId(0), target));
                if done.is_ok() {
                    list.push(*name);
                }
            }
        }
        Some(tried)
    };
    samples().par_iter().filter_map(try_one).collect()
}

impl Sample {
    /// The sample as a model whose types have been inferred, where the operator takes the type.
    fn model(&self, tried: &str) -> Option<Model> {
        let (mut tensors, mut inputs, mut operands, mut outputs) = (String::new(), vec![], vec![], vec![]);
        for (i, token) in self.operands.split_whitespace().enumerate() {
            if token == "_" {
                operands.push("_".to_string());
                continue;
            }
            let variable = token.contains('*');
            let (token, value) = token.split_once('=').map_or((token, None), |(t, v)| (t, Some(v)));
            let ty = self.ty(&token.replace('*', ""), tried)?;
            let value = match value {
                Some(v) => format!(" = const [{}]", v.replace(',', ", ")),
                None if token.starts_with(['W', 'Z']) => " = const splat 0".to_string(),
                None => String::new(),
            };
            // Numbers of float types have a point.
            let value = if ty.contains("float") { value.replace("splat 0", "splat 0.0").replace(']', ".0]") } else { value };
            let value = if variable { " = variable".to_string() } else { value };
            tensors += &format!("  %x{i}: {ty}{value}\n");
            operands.push(format!("%x{i}"));
            if value.is_empty() {
                inputs.push(format!("%x{i}"));
            }
        }
        let results: Option<Vec<String>> = self
            .results
            .split_whitespace()
            .enumerate()
            .map(|(i, token)| {
                outputs.push(format!("%y{i}"));
                Some(format!("%y{i}: {}", self.ty(token, tried)?))
            })
            .collect();
        let attributes = if self.attributes.is_empty() { String::new() } else { format!(" {{{}}}", self.attributes) };
        let bare = TYPES.iter().find(|t| t.0 == tried)?.1.name();
        let body = |add: &str| {
            format!("graph @{add} (%a, %b) -> (%c) {{\n  %a: {bare}[]\n  %b: {bare}[]\n  %c: {bare}[] = STABLEHLO_ADD(%a, %b)\n}}\n")
        };
        let bodies = if self.attributes.contains("subgraph_index") { body("1") + &body("2") } else { String::new() };
        let text = format!(
            "graph @0 ({}) -> ({}) {{\n{tensors}  {} = {}({}){attributes}\n}}\n{bodies}",
            inputs.join(", "),
            outputs.join(", "),
            results?.join(", "),
            self.name,
            operands.join(", "),
        );
        let mut model = parse(&text).ok()?;
        let propagated = propagate_types(&mut model).ok()?;
        propagated.unsupported.is_empty().then_some(model)
    }

    /// A type in the text form: `T[2,3]` becomes `int8[2,3] {scale 0.02, zero -3}`.
    fn ty(&self, token: &str, tried: &str) -> Option<String> {
        let (name, shape) = token.split_at(token.find('[')?);
        let (name, range) = name.split_once('%').unwrap_or((name, ""));
        let short = match name {
            "T" | "Z" => tried,
            "W" => self.weights?,
            other => other,
        };
        let dtype = TYPES.iter().chain(WEIGHT_TYPES).find(|t| t.0 == short)?.1;
        let quantisation = match (short, range) {
            ("i8", "p") => " {scale 0.00390625, zero -128}",
            ("u8", "p") => " {scale 0.00390625, zero 0}",
            ("i8", "l") => " {scale 0.0625, zero 127}",
            ("u8", "l") => " {scale 0.0625, zero 255}",
            ("i8", "u") => " {scale 0.0078125, zero 0}",
            ("u8", "u") => " {scale 0.0078125, zero 128}",
            ("i16", "p" | "u") => " {scale 0.000030517578125, zero 0}",
            ("i8" | "i4" | "i2", _) if name == "W" => " {scale 0.02, zero 0}",
            ("i8", _) => " {scale 0.02, zero -3}",
            ("u8", _) => " {scale 0.02, zero 120}",
            ("i16", _) => " {scale 0.0001, zero 0}",
            ("i32", _) if name == "T" && self.name == "DEQUANTIZE" => " {scale 0.02, zero 0}",
            _ => "",
        };
        Some(format!("{}{shape}{quantisation}", dtype.name()))
    }
}
