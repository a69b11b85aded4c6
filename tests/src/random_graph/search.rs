//! Recipes of operators that look for elements, and of random numbers.

use super::recipes::{name, plan, plan_like, raw};
use super::{Generator, Planned};
use tflc::ir::OpKind::*;
use tflc::ir::{AttrValue, Attrs, DType, Quantization};
use tflc::ops::Value;

pub(super) fn arg_extreme(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[ArgMax, ArgMin]);
    let dtypes = g.dtypes(op);
    let x = g.precise(&dtypes, |s| !s.is_empty(), Generator::shape)?;
    let axis = g.rng.below(g.ty(x).shape.len());
    let axis = g.int(axis);
    let (dtype, text) = *g.rng.choose(&[(DType::Int32, "INT32"), (DType::Int64, "INT64")]);
    plan(op, [x, axis], Attrs::new().with("output_type", name(text)), dtype, Quantization::None)
}

pub(super) fn top_k(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(TopkV2);
    let x = g.precise(&dtypes, |s| !s.is_empty(), Generator::shape)?;
    let ty = g.ty(x).clone();
    let k = 1 + g.rng.below(*ty.shape.last()?);
    let k = g.int(k);
    let one = plan_like(g, TopkV2, [x, k], Attrs::new(), x)?;
    Some(Planned { results: vec![(ty.dtype, ty.quant), (DType::Int32, Quantization::None)], ..one })
}

/// UNIQUE, whose number of results only a run knows.
pub(super) fn unique(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(Unique);
    let dtype = g.dtype(&dtypes);
    let n = 1 + g.rng.below(20);
    let list: Vec<i64> = (0..n).map(|_| g.rng.between(0, 6)).collect();
    let ty = raw(dtype, [n]);
    let value = match dtype {
        DType::Float32 => Value::new(ty, list.iter().map(|v| *v as f32 * 0.5).collect()),
        DType::Int16 => Value::new(ty, list.iter().map(|v| *v as i16).collect()),
        DType::Int32 => Value::new(ty, list.iter().map(|v| *v as i32).collect()),
        DType::Int64 => Value::new(ty, list),
        _ => Value::new(ty, list.iter().map(|v| *v as i8).collect()),
    };
    let x = g.given(value);
    let (index, text) = *g.rng.choose(&[(DType::Int32, "INT32"), (DType::Int64, "INT64")]);
    let one = plan_like(g, Unique, [x], Attrs::new().with("idx_out_type", name(text)), x)?;
    Some(Planned { results: vec![(dtype, Quantization::None), (index, Quantization::None)], ..one })
}

/// WHERE, whose number of results only a run knows.
pub(super) fn where_true(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(Where);
    let x = g.precise(&dtypes, |s| !s.is_empty(), Generator::shape)?;
    plan(Where, [x], Attrs::new(), DType::Int64, Quantization::None)
}

pub(super) fn bucketize(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(Bucketize);
    let x = g.precise(&dtypes, |_| true, Generator::shape)?;
    let mut at = -5.0;
    let bounds: Vec<f32> = (0..g.rng.below(12))
        .map(|_| {
            at += g.rng.below(4) as f32 * 0.5;
            at
        })
        .collect();
    plan(Bucketize, [x], Attrs::new().with("boundaries", AttrValue::Floats(bounds)), DType::Int32, Quantization::None)
}

/// NON_MAX_SUPPRESSION_V4 and V5, of boxes that are inputs.
pub(super) fn non_max_suppression(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[NonMaxSuppressionV4, NonMaxSuppressionV5]);
    let n = 1 + g.rng.below(20);
    let boxes: Vec<f32> = (0..n)
        .flat_map(|_| {
            let (y, x) = (g.rng.signed_unit(), g.rng.signed_unit());
            [y, x, y + 0.1 + g.rng.signed_unit().abs(), x + 0.1 + g.rng.signed_unit().abs()]
        })
        .collect();
    let scores: Vec<f32> = (0..n).map(|_| g.rng.signed_unit().abs()).collect();
    let boxes = g.input_of(Value::new(raw(DType::Float32, [n, 4]), boxes));
    let scores = g.input_of(Value::new(raw(DType::Float32, [n]), scores));
    let most = 1 + g.rng.below(8);
    let most = g.int(most);
    let mut inputs = vec![boxes, scores, most];
    let soft = op == NonMaxSuppressionV5;
    let (iou, score) = (0.1 + 0.1 * g.rng.below(8) as f32, 0.1 * g.rng.below(5) as f32);
    for v in [iou, score, 0.5].into_iter().take(2 + usize::from(soft)) {
        inputs.push(g.constant(Value::new(raw(DType::Float32, []), vec![v])));
    }
    let one = plan(op, inputs, Attrs::new(), DType::Int32, Quantization::None)?;
    let mut results = vec![(DType::Int32, Quantization::None)];
    if soft {
        results.push((DType::Float32, Quantization::None));
    }
    results.push((DType::Int32, Quantization::None));
    Some(Planned { results, ..one })
}

/// RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL and MULTINOMIAL, seeded.
pub(super) fn random(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[RandomUniform, RandomStandardNormal, Multinomial]);
    let attrs = Attrs::new().with("seed", AttrValue::Int(g.rng.below(100) as i64)).with("seed2", AttrValue::Int(g.rng.below(100) as i64));
    if op == Multinomial {
        let x = g.precise(&[DType::Float32], |s| s.len() == 2, |g| g.shape_of(2))?;
        let samples = 1 + g.rng.below(9);
        let samples = g.int(samples);
        let dtype = g.dtype(&[DType::Int32, DType::Int64]);
        return plan(op, [x, samples], attrs, dtype, Quantization::None);
    }
    let shape = g.shape();
    let shape = g.ints(&shape);
    plan(op, [shape], attrs, DType::Float32, Quantization::None)
}
