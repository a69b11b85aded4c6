//! Where tensors live: one slot for each buffer; views and in-place results share the slot of their source.
//!
//! A tensor is a view when its node only renames elements (RESHAPE and its kin); a pointwise result takes the place of an operand that
//! dies at that node; operands of a concatenation along the outermost axis that counts are computed right where they belong.

use super::context::Operand;
use super::view::view;
use crate::ir::{Graph, Node, OpKind, TensorId};

/// A buffer of a program.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SlotId(pub u32);

impl SlotId {
    /// Position in the list of slots.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Region of a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SlotRegion {
    Arena,
    State,
    Input(u32),
    Output(u32),
    /// Somewhere in another slot, or in the weights.
    Alias(Operand),
    /// The same, and assigned while views of it may be alive.
    Variable(Operand),
}

/// A buffer: size, region and live range in node time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Slot {
    pub(super) bytes: usize,
    pub(super) region: SlotRegion,
    pub(super) first: usize,
    pub(super) last: usize,
}

/// Storage of the tensors of one graph, relative to its own slots.
#[derive(Debug, Default)]
pub(super) struct GraphStorage {
    /// Slot and offset of each tensor; none for constants and tensors that nobody computes.
    pub(super) of: Vec<Option<(usize, usize)>>,
    /// The slots; times count the nodes of the graph from 0.
    pub(super) slots: Vec<Slot>,
}

/// Last node that reads each tensor; `nodes.len()` for outputs of the graph.
fn last_reads(graph: &Graph) -> Vec<Option<usize>> {
    let mut last = vec![None; graph.tensors.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        for t in node.reads() {
            last[t.index()] = Some(i);
        }
    }
    for t in &graph.outputs {
        last[t.index()] = Some(graph.nodes.len());
    }
    last
}

/// Assigns storage to the tensors of `graph`; `pinned` gives the region of tensors that the caller owns (inputs, outputs, variables).
pub(super) fn assign(graph: &Graph, pinned: &dyn Fn(TensorId) -> Option<SlotRegion>) -> GraphStorage {
    let last = last_reads(graph);
    let mut s = GraphStorage { of: vec![None; graph.tensors.len()], slots: vec![] };
    let end = graph.nodes.len();
    // Tensors that the caller owns live for the whole run.
    for (i, t) in graph.tensors.iter().enumerate() {
        if let Some(region) = pinned(TensorId(i as u32)) {
            s.slots.push(Slot { bytes: t.ty.bytes(), region, first: 0, last: end });
            s.of[i] = Some((s.slots.len() - 1, 0));
        }
    }
    // Operands of a concatenation that can be computed in place: from the last node backwards, so that chains resolve.
    for (i, node) in graph.nodes.iter().enumerate().rev() {
        if node.op == OpKind::Concatenation && node.tail.is_none() {
            place_concatenation(graph, node, i, &last, &mut s);
        }
    }
    for (i, node) in graph.nodes.iter().enumerate() {
        for (k, &out) in node.outputs.iter().enumerate() {
            let source = source_of(graph, node, i, k, &last, &s);
            match (s.of[out.index()], source) {
                (Some((slot, _)), _) => s.slots[slot].first = s.slots[slot].first.min(i),
                (None, Some(place)) => s.of[out.index()] = Some(place),
                (None, None) => {
                    let bytes = graph.ty(out).bytes();
                    s.slots.push(Slot { bytes, region: SlotRegion::Arena, first: i, last: i });
                    s.of[out.index()] = Some((s.slots.len() - 1, 0));
                }
            }
            let until = last[out.index()].unwrap_or(i).max(i);
            if let Some((slot, _)) = s.of[out.index()] {
                s.slots[slot].last = s.slots[slot].last.max(until);
                s.slots[slot].first = s.slots[slot].first.min(i);
            }
        }
    }
    s
}

/// The storage that output `k` of a node can take over from an operand: a view of it, or its place if it dies here.
fn source_of(graph: &Graph, node: &Node, at: usize, k: usize, last: &[Option<usize>], s: &GraphStorage) -> Option<(usize, usize)> {
    let out = *node.outputs.get(k)?;
    if let Some((source, offset)) = view(graph, node, k)
        && let Some((slot, base)) = s.of[source.index()]
    {
        // A variable may be assigned while its view is alive; a view of it is a copy.
        return (!matches!(s.slots[slot].region, SlotRegion::State | SlotRegion::Variable(_))).then_some((slot, base + offset));
    }
    let ty = graph.ty(out);
    node.reads().find_map(|t| {
        // A loop's result lies where its own operand did.
        if node.op == OpKind::While && node.inputs.get(k).copied().flatten() != Some(t) {
            return None;
        }
        let (slot, base) = s.of[t.index()]?;
        let whole = base == 0 && s.slots[slot].bytes == ty.bytes();
        let dies = last[t.index()] == Some(at) && s.slots[slot].last == at && s.slots[slot].region == SlotRegion::Arena;
        let shares = |u: TensorId| u != t && s.of[u.index()].is_some_and(|(other, _)| other == slot);
        let free = match node.op {
            OpKind::While => node.reads().filter(|u| s.of[u.index()].is_some_and(|(other, _)| other == slot)).count() == 1,
            _ => k == 0 && overwrites(graph, node, t, &shares),
        };
        (whole && dies && free).then_some((slot, base))
    })
}

/// Whether a node may write its first result over its operand `t`; `shares` says whether another operand lies in the same place.
pub(super) fn overwrites(graph: &Graph, node: &Node, t: TensorId, shares: &dyn Fn(TensorId) -> bool) -> bool {
    let Some(&out) = node.outputs.first() else { return false };
    let ty = graph.ty(out);
    let same = |u: TensorId| graph.ty(u).shape == ty.shape && graph.ty(u).dtype.bits() == ty.dtype.bits();
    match node.op {
        // Another operand in the same place must read the very element that is being replaced.
        OpKind::Pointwise => same(t) && node.reads().all(|u| !shares(u) || same(u)),
        // The rest of the operand stays, the window is written last.
        OpKind::DynamicUpdateSlice => {
            node.tail.is_none()
                && same(t)
                && node.inputs.iter().flatten().filter(|&&u| u == t || shares(u)).count() == 1
                && node.inputs[0] == Some(t)
        }
        _ => false,
    }
}

/// Lets the operands of a concatenation live inside its result where they are contiguous there and used nowhere else first.
fn place_concatenation(graph: &Graph, node: &Node, at: usize, last: &[Option<usize>], s: &mut GraphStorage) {
    let Some(&out) = node.outputs.first() else { return };
    // Parts of open size do not lie where their bounds say.
    if graph.open.contains_key(&out) || node.inputs.iter().flatten().any(|t| graph.open.contains_key(t)) {
        return;
    }
    let ty = graph.ty(out);
    let rank = ty.shape.len() as i64;
    let axis = node.attrs.int("axis", 0);
    let axis = if axis < 0 { axis + rank } else { axis };
    let Ok(axis) = usize::try_from(axis) else { return };
    if axis >= ty.shape.len() || ty.shape[..axis].iter().any(|&d| d != 1) {
        return;
    }
    let mut seen = vec![];
    let movable = node.inputs.iter().flatten().all(|t| {
        let fresh = !seen.contains(t);
        seen.push(*t);
        // Each operand is computed by a plain node for this use alone, or at least read nowhere later.
        fresh
            && s.of[t.index()].is_none()
            && graph.tensor(*t).data.is_none()
            && graph.ty(*t).quant == ty.quant
            && last[t.index()] == Some(at)
            && graph.producer(*t).is_some_and(|p| view(graph, p, 0).is_none() && !matches!(p.op, OpKind::If | OpKind::While))
    });
    if !movable {
        return;
    }
    let (slot, mut offset) = match s.of[out.index()] {
        Some(place) => place,
        None => {
            s.slots.push(Slot { bytes: ty.bytes(), region: SlotRegion::Arena, first: at, last: at });
            (s.slots.len() - 1, 0)
        }
    };
    s.of[out.index()] = Some((slot, offset));
    for t in node.inputs.iter().flatten() {
        s.of[t.index()] = Some((slot, offset));
        offset += graph.ty(*t).bytes();
    }
}
