//! Recipes of StableHLO operators.

use super::movement::{MOVED, ranked, shaped_integers};
use super::recipes::{name, plan, plan_like, raw, size, sizes};
use super::{Generator, Planned};
use crate::random_values::random_value;
use tflc::ir::OpKind::*;
use tflc::ir::{AttrValue, Attrs, DType, Graph, Node, OpKind, Quantization, TensorType};
use tflc::ops::Value;

pub(super) fn binary(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[StablehloAdd, StablehloMultiply, StablehloMaximum, StablehloMinimum, StablehloAnd, StablehloShiftLeft]);
    let dtypes = g.dtypes(op);
    let dtype = g.dtype(&dtypes);
    let ty = raw(dtype, g.shape());
    let a = random_value(&mut g.rng, &ty);
    let b = if op == StablehloShiftLeft {
        let list: Vec<u8> = (0..ty.elements())
            .flat_map(|_| {
                let amount = g.rng.below(dtype.bits()) as u64;
                amount.to_le_bytes()[..dtype.bits() / 8].to_vec()
            })
            .collect();
        Value { ty: ty.clone(), data: list.into() }
    } else {
        random_value(&mut g.rng, &ty)
    };
    let a = g.input_of(a);
    let b = g.given(b);
    plan_like(g, op, [a, b], Attrs::new(), a)
}

pub(super) fn pad(g: &mut Generator) -> Option<Planned> {
    let x = ranked(g)?;
    let ty = g.ty(x).clone();
    let fill = g.random_constant(TensorType { shape: vec![], ..ty.clone() });
    let mut list = |low: i64, high: i64| AttrValue::Ints(ty.shape.iter().map(|_| g.rng.between(low, high)).collect());
    let attrs =
        Attrs::new().with("edge_padding_low", list(-1, 2)).with("edge_padding_high", list(-1, 2)).with("interior_padding", list(0, 1));
    plan_like(g, StablehloPad, [x, fill], attrs, x)
}

/// A graph of one operator of two scalars.
fn body(g: &mut Generator, op: OpKind, dtype: DType) -> AttrValue {
    let mut graph = Graph { name: format!("body {}", g.graphs()), ..Graph::default() };
    let [a, b, c] = ["a", "b", "c"].map(|n| graph.add_tensor(n, raw(dtype, [])));
    graph.inputs = vec![a, b];
    graph.outputs = vec![c];
    graph.nodes.push(Node::new(op, [a, b], [c]));
    g.add_graph(graph)
}

pub(super) fn reduce_window(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(StablehloReduceWindow);
    let dtype = g.dtype(&dtypes);
    let shape = g.shape_of(2);
    let value = random_value(&mut g.rng, &raw(dtype, shape.clone()));
    let x = g.input_of(value);
    let start = random_value(&mut g.rng, &raw(dtype, []));
    let start = g.constant(start);
    let op = *g.rng.choose(&[StablehloAdd, StablehloMaximum, StablehloMinimum]);
    let body = body(g, op, dtype);
    let mut list = |n: usize, least: usize, most: usize| sizes(&(0..n).map(|_| least + g.rng.below(most - least + 1)).collect::<Vec<_>>());
    let attrs = Attrs::new()
        .with("window_dimensions", list(2, 1, 3))
        .with("window_strides", list(2, 1, 2))
        .with("base_dilations", list(2, 1, 2))
        .with("window_dilations", list(2, 1, 2))
        .with("padding", list(4, 0, 2))
        .with("body_subgraph_index", body);
    plan_like(g, StablehloReduceWindow, [x, start], attrs, x)
}

/// Boxes of rows and columns of a matrix, at starts that are clamped.
pub(super) fn gather(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(MOVED, |s| s.len() == 2, |g| g.shape_of(2))?;
    let shape = g.ty(x).shape.clone();
    let (rows, width) = (1 + g.rng.below(4), 1 + g.rng.below(shape[1]));
    let starts: Vec<i64> = (0..rows).flat_map(|_| [g.rng.between(-1, shape[0] as i64), g.rng.between(-1, shape[1] as i64)]).collect();
    let starts = shaped_integers(g, starts, &[rows, 2]);
    let attrs = Attrs::new()
        .with("offset_dims", sizes(&[1]))
        .with("collapsed_slice_dims", sizes(&[0]))
        .with("start_index_map", sizes(&[0, 1]))
        .with("index_vector_dim", size(1))
        .with("slice_sizes", sizes(&[1, width]));
    plan_like(g, StablehloGather, [x, starts], attrs, x)
}

/// Rows combined into a matrix, some of them outside.
pub(super) fn scatter(g: &mut Generator) -> Option<Planned> {
    let dtypes = g.dtypes(StablehloScatter);
    let x = g.operand(&dtypes, |s| s.len() == 2, |g| g.shape_of(2))?;
    let ty = g.ty(x).clone();
    let rows = 1 + g.rng.below(4);
    let starts: Vec<i64> = (0..rows).map(|_| g.rng.between(-1, ty.shape[0] as i64)).collect();
    let starts = shaped_integers(g, starts, &[rows, 1]);
    let updates = random_value(&mut g.rng, &raw(ty.dtype, [rows, ty.shape[1]]));
    let updates = g.given(updates);
    let op = *g.rng.choose(&[StablehloAdd, StablehloMaximum]);
    let body = body(g, op, ty.dtype);
    let attrs = Attrs::new()
        .with("update_window_dims", sizes(&[1]))
        .with("inserted_window_dims", sizes(&[0]))
        .with("scatter_dims_to_operand_dims", sizes(&[0]))
        .with("index_vector_dim", size(1))
        .with("update_computation_subgraph_index", body);
    plan_like(g, StablehloScatter, [x, starts, updates], attrs, x)
}

/// Random bits, and the next state.
pub(super) fn random_bits(g: &mut Generator) -> Option<Planned> {
    let (algorithm, words) = *g.rng.choose(&[("DEFAULT", 2), ("PHILOX", 3), ("PHILOX", 2), ("THREEFRY", 2)]);
    let state = g.input(DType::UInt64, vec![words]);
    let dtype = g.dtype(&[DType::Int32, DType::Int64, DType::UInt32, DType::UInt64]);
    let attrs = Attrs::new().with("algorithm", name(algorithm));
    let one = plan(StablehloRngBitGenerator, [state], attrs, dtype, Quantization::None)?;
    let results = vec![(DType::UInt64, Quantization::None), (dtype, Quantization::None)];
    Some(Planned { results, declared: g.shape(), ..one })
}
