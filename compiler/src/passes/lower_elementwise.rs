//! Turns elementwise operators into `POINTWISE` nodes: their expression over their operands, with scalar constants put in.

use crate::error::CompileError;
use crate::ir::{AttrValue, Attrs, DType, Graph, GraphId, Model, Node, OpKind, Open, TensorId};
use crate::ops::shapes::broadcasts_to;
use crate::ops::{Call, pointwise};
use crate::target::Target;
use tflc_templates::expr::{Expr, ExprBuilder, Id, Storage};

/// Runs the pass.
///
/// # Errors
/// Where an operator's expression cannot be built for its types.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let graph = &model.graphs[id.index()];
    let mut lowered = vec![];
    for (i, node) in graph.nodes.iter().enumerate() {
        // A shape that is a guess is no shape to compute with: lowering says what is wrong with it.
        let guessed = node.outputs.iter().any(|t| graph.open.get(t) == Some(&Open::Unknown));
        // Bounds that do not meet are what `spell-out-open` is for.
        let apart = node
            .outputs
            .first()
            .is_some_and(|y| node.inputs.iter().flatten().any(|t| !broadcasts_to(&graph.ty(*t).shape, &graph.ty(*y).shape)));
        if node.op == OpKind::Pointwise || guessed || apart {
            continue;
        }
        if let Some(expr) = pointwise(&Call::of(model, id, node, i)) {
            lowered.push((i, to_pointwise(graph, node, &expr?)));
        }
    }
    let count = lowered.len();
    let graph = &mut model.graphs[id.index()];
    for (i, node) in lowered {
        graph.nodes[i] = node;
    }
    Ok(count)
}

/// Attribute of a pointwise node: the position of an operand no element of which may be zero.
pub const DIVISOR: &str = "divisor";

/// The divisor of an integer division, unless it is a constant without zeros.
fn divisor(graph: &Graph, node: &Node) -> Option<TensorId> {
    let divides = matches!(node.op, OpKind::Div | OpKind::FloorDiv | OpKind::FloorMod);
    let t = node.inputs.get(1).copied().flatten().filter(|_| divides)?;
    let tensor = graph.tensor(t);
    let integer = matches!(tensor.ty.dtype, DType::Int8 | DType::UInt8 | DType::Int16 | DType::Int32 | DType::Int64 | DType::UInt32);
    let bytes = tensor.ty.dtype.bits() / 8;
    let some_zero = tensor.data.as_ref().is_none_or(|d| d.chunks_exact(bytes.max(1)).any(|e| e.iter().all(|b| *b == 0)));
    (integer && !crate::ops::call::is_quantized(&tensor.ty) && some_zero).then_some(t)
}

/// The node as a pointwise one.
fn to_pointwise(graph: &Graph, node: &Node, expr: &Expr) -> Node {
    let operands: Vec<TensorId> = node.inputs.iter().flatten().copied().take(expr.inputs.len()).collect();
    let checked = divisor(graph, node);
    // A checked operand stays one, even where it is a single constant.
    let (expr, inputs) = match checked {
        Some(_) => (expr.clone(), operands),
        None => put_in_scalars(graph, expr, &operands),
    };
    let mut attrs = Attrs::new().with("expr", AttrValue::Expr(Box::new(expr)));
    if let Some(at) = checked.and_then(|t| inputs.iter().position(|u| *u == t)) {
        attrs.set(DIVISOR, AttrValue::Int(at as i64));
    }
    Node { op: OpKind::Pointwise, inputs: inputs.into_iter().map(Some).collect(), attrs, ..node.clone() }
}

/// Replaces operands that are constants of one element by constants of the expression; operands that occur twice become one input.
pub(super) fn put_in_scalars(graph: &Graph, expr: &Expr, operands: &[TensorId]) -> (Expr, Vec<TensorId>) {
    let scalar = |t: TensorId| {
        let t = graph.tensor(t);
        t.data.as_ref().filter(|_| t.ty.elements() == 1)
    };
    let mut kept: Vec<TensorId> = vec![];
    let mut storages = vec![];
    for (&t, &s) in operands.iter().zip(&expr.inputs) {
        if scalar(t).is_none() && !kept.contains(&t) {
            kept.push(t);
            storages.push(s);
        }
    }
    // Something must give the iteration its elements: a node of constants alone keeps the first.
    if kept.is_empty() {
        kept.extend(operands.first());
        storages.extend(expr.inputs.first());
    }
    let mut b = ExprBuilder::new(storages);
    let ids: Vec<Id> = operands
        .iter()
        .zip(&expr.inputs)
        .map(|(t, &s)| match kept.iter().position(|k| k == t) {
            Some(i) => b.input(i),
            None => constant(&mut b, s, scalar(*t).map_or(&[][..], |d| d)),
        })
        .collect();
    let result = b.inline(expr, &ids);
    (b.finish(result, expr.output), kept)
}

/// The constant that bytes of a storage type hold; 0 where there are too few.
fn constant(b: &mut ExprBuilder, storage: Storage, data: &[u8]) -> Id {
    let mut raw = [0; 8];
    let n = storage.bytes().min(data.len());
    raw[..n].copy_from_slice(&data[..n]);
    let bits = u64::from_le_bytes(raw);
    match storage {
        Storage::F32 => b.f32(f32::from_bits(bits as u32)),
        Storage::F64 => b.f64(f64::from_bits(bits)),
        Storage::F16 => b.f32(half::f16::from_bits(bits as u16).to_f32()),
        Storage::BF16 => b.f32(half::bf16::from_bits(bits as u16).to_f32()),
        Storage::I8 => b.i32(i32::from(bits as u8 as i8)),
        Storage::U8 => b.i32(i32::from(bits as u8)),
        Storage::I16 => b.i32(i32::from(bits as u16 as i16)),
        Storage::U16 => b.i32(i32::from(bits as u16)),
        Storage::I32 => b.i32(bits as u32 as i32),
        Storage::U32 => b.i64(i64::from(bits as u32)),
        Storage::I64 => b.i64(bits as i64),
        Storage::Bool => b.bool(bits != 0),
    }
}
