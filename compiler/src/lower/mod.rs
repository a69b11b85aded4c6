//! Graph operators to kernel calls: one file per family of operators.
//!
//! In: a model whose graphs have been through the passes. Out: a [`Program`] with final addresses. Families choose a template and its
//! specification, say how weights are packed and append calls; storage is decided in [`storage`], offsets by [`crate::plan`].

mod blockwise;
mod constants;
pub mod context;
mod conv;
mod epilogue;
mod gather;
mod grain;
mod hybrid;
pub mod interpret;
mod lut;
mod mac;
mod matmul;
mod movement;
mod pad;
mod pointwise;
mod pool;
mod product;
pub mod program;
mod reduce;
mod resize;
mod rounding;
mod run_time_weights;
mod slice;
mod softmax;
mod space;
mod storage;
pub mod view;
mod wide;

use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, GraphId, Model, Node, OpKind, TensorId};
use crate::plan::{self, Buffer};
use crate::target::Target;
use context::{Cx, NodeRef, Operand, Shared, SymbolicStep};
use program::{ARENA_ALIGN, Call, Place, Port, Program, Region, Step};
use std::collections::HashMap;
use storage::{Slot, SlotId, SlotRegion};

/// Lowers the graph `entry` of `model` for `target`.
///
/// # Errors
/// `Unsupported` with everything that has no lowering, or `Internal` where a pass left something behind that it should not have.
pub fn lower(model: &Model, entry: GraphId, target: &Target) -> Result<Program, CompileError> {
    let graph = &model.graphs[entry.index()];
    let port = |t: &TensorId| {
        let t = graph.tensor(*t);
        Port { name: t.name.clone(), ty: t.ty.clone(), signature: t.signature.clone() }
    };
    let mut shared = Shared {
        model,
        target,
        caps: target.caps(),
        kernels: vec![],
        kernel_index: HashMap::new(),
        pieces: vec![],
        piece_index: HashMap::new(),
        weights_bytes: 0,
        slots: vec![],
        now: 0,
        inputs: graph.inputs.iter().map(port).collect(),
        outputs: graph.outputs.iter().map(port).collect(),
    };
    let steps = lower_entry(&mut shared, entry)?;
    finish(shared, steps)
}

/// Lowers the entry graph: the caller owns inputs and outputs, variables lie in the state.
fn lower_entry(shared: &mut Shared<'_>, id: GraphId) -> Result<Vec<SymbolicStep>, CompileError> {
    let graph = &shared.model.graphs[id.index()];
    let pinned = |t: TensorId| {
        let index = |list: &[TensorId]| list.iter().position(|&u| u == t).map(|i| i as u32);
        if graph.tensor(t).data.is_some() {
            None
        } else if let Some(i) = index(&graph.inputs) {
            Some(SlotRegion::Input(i))
        } else if graph.tensor(t).variable {
            Some(SlotRegion::State)
        } else {
            index(&graph.outputs).map(SlotRegion::Output)
        }
    };
    let storage = storage::assign(graph, &pinned);
    let base = shared.slots.len() as u32;
    shared.slots.extend(storage.slots);
    let of = storage.of.iter().map(|p| p.map(|(slot, at)| (SlotId(base + slot as u32), at))).collect();
    let mut cx = Cx { shared, graph_id: id, graph, storage: of, steps: vec![], node: None };
    let mut missing = vec![];
    for node in &graph.nodes {
        cx.node = Some(node);
        match lower_node(&mut cx, node) {
            Ok(()) => {}
            Err(CompileError::Unsupported(list)) => missing.extend(list),
            Err(e) => return Err(e),
        }
        cx.shared.now += 1;
    }
    if !missing.is_empty() {
        return Err(CompileError::Unsupported(missing));
    }
    cx.node = None;
    copy_outputs(&mut cx)?;
    Ok(cx.steps)
}

/// Copies outputs that are inputs, constants, variables or other outputs at the same time.
fn copy_outputs(cx: &mut Cx<'_, '_>) -> Result<(), CompileError> {
    for (i, &t) in cx.graph.outputs.iter().enumerate() {
        let region = cx.storage[t.index()].map(|(s, _)| cx.shared.slots[s.index()].region);
        if region == Some(SlotRegion::Output(i as u32)) {
            continue;
        }
        let bytes = cx.ty(t).bytes();
        let now = cx.shared.now;
        let slot = cx.shared.add_slot(Slot { bytes, region: SlotRegion::Output(i as u32), first: now, last: now });
        let from = cx.operand(t)?;
        movement::copy(cx, from, Operand::Slot(slot, 0), bytes);
    }
    Ok(())
}

/// Plans the arena and turns symbolic addresses into places.
fn finish(shared: Shared<'_>, steps: Vec<SymbolicStep>) -> Result<Program, CompileError> {
    let mut buffers = vec![];
    let mut places = vec![Place { region: Region::Arena, offset: 0 }; shared.slots.len()];
    let mut in_arena = vec![];
    let mut state_bytes = 0;
    for (i, slot) in shared.slots.iter().enumerate() {
        match slot.region {
            SlotRegion::Arena => {
                // Kernels may read a few bytes past the end of a row; planned buffers keep whole cache lines.
                let bytes = slot.bytes.next_multiple_of(ARENA_ALIGN);
                buffers.push(Buffer { bytes, align: ARENA_ALIGN, first: slot.first, last: slot.last });
                in_arena.push(i);
            }
            SlotRegion::State => {
                places[i] = Place { region: Region::State, offset: state_bytes as u64 };
                state_bytes += slot.bytes.next_multiple_of(ARENA_ALIGN);
            }
            SlotRegion::Input(k) => places[i].region = Region::Input(k),
            SlotRegion::Output(k) => places[i].region = Region::Output(k),
        }
    }
    let plan = plan::planner::plan(&buffers);
    plan::checker::check(&buffers, &plan).map_err(|e| CompileError::Internal(format!("memory plan: {e}")))?;
    for (&slot, &offset) in in_arena.iter().zip(&plan.offsets) {
        places[slot].offset = offset as u64;
    }
    let resolve = |o: Operand| match o {
        Operand::Slot(s, at) => Place { offset: places[s.index()].offset + at as u64, ..places[s.index()] },
        Operand::Weights(at) => Place { region: Region::Weights, offset: at as u64 },
    };
    Ok(Program {
        steps: resolve_steps(steps, &resolve),
        kernels: shared.kernels,
        pieces: shared.pieces,
        weights_bytes: shared.weights_bytes,
        arena_bytes: plan.arena_bytes,
        arena_lower_bound: plan.lower_bound,
        state_bytes,
        inputs: shared.inputs,
        outputs: shared.outputs,
    })
}

fn resolve_steps(steps: Vec<SymbolicStep>, resolve: &dyn Fn(Operand) -> Place) -> Vec<Step> {
    let one = |s| match s {
        SymbolicStep::Call { kernel, args, units, grain, node: NodeRef { location, label } } => {
            Step::Call(Call { kernel, args: args.into_iter().map(resolve).collect(), units, grain, location, label })
        }
        SymbolicStep::If { condition, then, otherwise } => {
            Step::If { condition: resolve(condition), then: resolve_steps(then, resolve), otherwise: resolve_steps(otherwise, resolve) }
        }
        SymbolicStep::While { test, condition, body } => Step::While {
            test: resolve_steps(test, resolve),
            condition: resolve(condition),
            body: resolve_steps(body, resolve),
            limit: u64::MAX,
        },
    };
    steps.into_iter().map(one).collect()
}

/// Lowers one node by its family; the families of this file's siblings say how.
fn lower_node(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    // Where no result has an element there is nothing to compute.
    if !node.outputs.is_empty() && node.outputs.iter().all(|t| cx.ty(*t).elements() == 0) {
        return Ok(());
    }
    match node.op {
        OpKind::Pointwise => pointwise::lower(cx, node),
        OpKind::Reshape
        | OpKind::Squeeze
        | OpKind::ExpandDims
        | OpKind::Bitcast
        | OpKind::Transpose
        | OpKind::Concatenation
        | OpKind::Pack
        | OpKind::Split
        | OpKind::SplitV
        | OpKind::Unpack
        | OpKind::Slice
        | OpKind::StridedSlice
        | OpKind::ReverseV2
        | OpKind::DynamicUpdateSlice
        | OpKind::Pad
        | OpKind::Padv2
        | OpKind::MirrorPad
        | OpKind::Tile
        | OpKind::BroadcastTo
        | OpKind::Fill
        | OpKind::ZerosLike
        | OpKind::Shape
        | OpKind::Rank
        | OpKind::SpaceToDepth
        | OpKind::DepthToSpace
        | OpKind::SpaceToBatchNd
        | OpKind::BatchToSpaceNd => movement::lower(cx, node),
        OpKind::Sum
        | OpKind::Mean
        | OpKind::ReduceProd
        | OpKind::ReduceMax
        | OpKind::ReduceMin
        | OpKind::ReduceAny
        | OpKind::ReduceAll
        | OpKind::L2Normalization
        | OpKind::ArgMax
        | OpKind::ArgMin
        | OpKind::Cumsum => reduce::lower(cx, node),
        OpKind::AveragePool2d | OpKind::MaxPool2d | OpKind::L2Pool2d => pool::lower(cx, node),
        OpKind::Softmax | OpKind::LogSoftmax => softmax::lower(cx, node),
        OpKind::ResizeBilinear | OpKind::ResizeNearestNeighbor => resize::lower(cx, node),
        OpKind::Gather | OpKind::GatherNd | OpKind::EmbeddingLookup | OpKind::OneHot => gather::lower(cx, node),
        OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::TransposeConv => conv::lower(cx, node),
        OpKind::FullyConnected | OpKind::BatchMatmul => matmul::lower(cx, node),
        OpKind::Logistic | OpKind::Tanh | OpKind::Exp | OpKind::Log | OpKind::Gelu | OpKind::Sqrt | OpKind::Rsqrt => lut::lower(cx, node),
        OpKind::Custom => {
            let name = match node.attrs.get("custom_code") {
                Some(AttrValue::Str(s)) => s.clone(),
                _ => String::new(),
            };
            Err(cx.unsupported(Unsupported::CustomOperator(name)))
        }
        _ => Err(cx.unsupported(Unsupported::Operator)),
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests;
