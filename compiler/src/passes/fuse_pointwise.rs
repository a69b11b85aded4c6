//! Merges chains of pointwise nodes into one: a result that only one pointwise node reads, element for element, is never stored.
//!
//! What becomes a function of one byte that looks bytes up becomes one table. Where looking up takes many instructions, a table is merged with nothing
//! else: alone, it does a full register of bytes at once.

use super::lower_elementwise::{DIVISOR, put_in_scalars};
use super::merge_producers;
use crate::error::CompileError;
use crate::ir::{AttrValue, Graph, GraphId, Model, Node, NodeId, OpKind, Patch, TensorId};
use crate::target::Target;
use tflc_templates::expr::{Expr, ExprBuilder, Id, Storage};

/// The most inputs of a merged node: each is a pointer in a register.
const MAX_INPUTS: usize = 10;
/// The most nodes of a merged expression.
const MAX_NODES: usize = 160;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, target: &Target) -> Result<usize, CompileError> {
    let anywhere = target.caps().tables;
    Ok(merge_producers(model, id, |patch, at| candidate(patch, at, anywhere)))
}

/// The expression of a pointwise node; none where operands are checked first, which belongs to the node.
pub(super) fn expr_of(node: &Node) -> Option<&Expr> {
    if node.attrs.get(DIVISOR).is_some() {
        return None;
    }
    match node.attrs.get("expr") {
        Some(AttrValue::Expr(e)) if node.op == OpKind::Pointwise && node.tail.is_none() => Some(e),
        _ => None,
    }
}

/// Whether values of the compute type pass through memory of this type unchanged, integers out of its range aside.
pub(super) fn is_exact(storage: Storage) -> bool {
    !matches!(storage, Storage::F16 | Storage::BF16)
}

/// What a reader sees of the result of `inner` over `inputs`: where its integers may be out of their memory type's range, their low bits.
pub(super) fn inline_stored(b: &mut ExprBuilder, inner: &Expr, inputs: &[Id]) -> Id {
    let value = b.inline(inner, inputs);
    if inner.fits_output() { value } else { b.wrap(value, inner.output) }
}

/// The pointwise producer to merge into the node `at`, and the merged node; tables may stand `anywhere` in it, or must be all of it.
fn candidate(patch: &Patch<'_>, at: NodeId, anywhere: bool) -> Option<(NodeId, Node)> {
    let node = patch.node(at)?;
    let expr = expr_of(node)?;
    let shape = &patch.ty(*node.outputs.first()?).shape;
    node.inputs.iter().flatten().find_map(|&t| {
        let producer = patch.sole_producer(t, at)?;
        let inner_node = patch.node(producer)?;
        let inner = expr_of(inner_node)?;
        // The producer moves to this place: a variable may have been assigned in between.
        if inner_node.reads().any(|t| patch.tensor(t).variable) {
            return None;
        }
        if patch.ty(t).shape != *shape || !is_exact(inner.output) {
            return None;
        }
        let mut merged = merge(patch.graph(), node, expr, t, inner_node, inner);
        let expr = expr_of(&merged)?;
        let small = merged.inputs.len() <= MAX_INPUTS && expr.nodes.len() <= MAX_NODES;
        let table = expr.as_table();
        let wanted = small && (anywhere || table.is_some() || !expr.has_table());
        if let Some(table) = table {
            merged.attrs.set("expr", AttrValue::Expr(Box::new(table)));
        }
        wanted.then_some((producer, merged))
    })
}

/// The node `outer` with its input `t` replaced by what `inner_node` computes.
fn merge(graph: &Graph, outer: &Node, expr: &Expr, t: TensorId, inner_node: &Node, inner: &Expr) -> Node {
    let mut operands: Vec<TensorId> = inner_node.inputs.iter().flatten().copied().collect();
    let mut storages = inner.inputs.clone();
    let mut place = vec![];
    for (&u, &s) in outer.inputs.iter().flatten().zip(&expr.inputs) {
        place.push((u != t).then(|| {
            operands.push(u);
            storages.push(s);
            operands.len() - 1
        }));
    }
    let mut b = ExprBuilder::new(storages);
    let inner_ids: Vec<Id> = (0..inner.inputs.len()).map(|i| b.input(i)).collect();
    let value = inline_stored(&mut b, inner, &inner_ids);
    let ids: Vec<Id> = place.into_iter().map(|p| p.map_or(value, |i| b.input(i))).collect();
    let result = b.inline(expr, &ids);
    let (expr, inputs) = put_in_scalars(graph, &b.finish(result, expr.output), &operands);
    let mut node = outer.clone();
    node.inputs = inputs.into_iter().map(Some).collect();
    node.attrs.set("expr", AttrValue::Expr(Box::new(expr)));
    node.location = inner_node.location;
    node
}
