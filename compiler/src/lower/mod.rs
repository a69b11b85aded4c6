//! Graph operators to kernel calls: one file per family of operators.
//!
//! In: a model whose graphs have been through the passes. Out: a [`Program`] with final addresses. Families choose a template and its
//! specification, say how weights are packed and append calls; storage is decided in [`storage`], offsets by [`crate::plan`].

mod audio;
mod blockwise;
mod boxes;
mod complex;
mod computed_weights;
mod constants;
pub mod context;
mod control;
mod conv;
mod conv_3d;
mod custom;
mod embedding;
mod epilogue;
mod gather;
mod grain;
mod graphs;
mod hybrid;
pub mod interpret;
mod lut;
mod mac;
mod matmul;
mod movement;
mod open;
mod packed;
mod pad;
mod pointwise;
mod pool;
mod product;
pub mod program;
mod random;
pub mod records;
mod recurrent;
mod reduce;
mod reorder;
mod resize;
mod rounding;
mod run_time_weights;
mod scatter;
mod search;
mod signal;
mod slice;
mod softmax;
mod space;
mod stablehlo;
mod stablehlo_boxes;
mod storage;
mod variables;
pub mod view;
mod wide;

use crate::error::{CompileError, Place as ErrorPlace, Unsupported};
use crate::ir::{DType, GraphId, Model, Node, OpKind, Open, TensorId};
use crate::ops::called_graphs;
use crate::plan::{self, Buffer};
use crate::target::Target;
use context::{Cx, KernelSink, NodeRef, Operand, Shared, SymbolicStep};
use program::{ARENA_ALIGN, Call, EntryPoint, External, OpenOutput, Place, Port, Program, Recipe, Region, Step};
use std::collections::HashMap;
use storage::SlotRegion;

/// Lowers the graph `entry` of `model` for `target`.
///
/// # Errors
/// As [`lower_entries`].
pub fn lower(model: &Model, entry: GraphId, target: &Target) -> Result<Program, CompileError> {
    lower_entries(model, entry, &[], target)
}

/// Lowers the graph `entry` and further entry points, by key, which share kernels, weights, arena and state.
///
/// # Errors
/// `Unsupported` with everything that has no lowering, or `Internal` where a pass left something behind that it should not have.
pub fn lower_entries(model: &Model, entry: GraphId, others: &[(String, GraphId)], target: &Target) -> Result<Program, CompileError> {
    lower_to(model, entry, others, target, &|_, _| {})
}

/// As [`lower_entries`]; `sink` gets each kernel, with its position in the program, as soon as it is asked for, so that it can be compiled meanwhile.
///
/// # Errors
/// As [`lower_entries`].
pub fn lower_to(
    model: &Model,
    entry: GraphId,
    others: &[(String, GraphId)],
    target: &Target,
    sink: &dyn Fn(usize, &Recipe),
) -> Result<Program, CompileError> {
    for id in std::iter::once(entry).chain(others.iter().map(|o| o.1)) {
        refuse_strings(model, id)?;
    }
    let mut shared = Shared {
        model,
        target,
        caps: target.caps(),
        kernels: vec![],
        kernel_index: HashMap::new(),
        kernel_sink: KernelSink(sink),
        pieces: vec![],
        piece_index: HashMap::new(),
        weights_bytes: 0,
        slots: vec![],
        now: 0,
        variables: HashMap::new(),
        first_values: vec![],
        open: vec![],
        active: vec![],
        graphs: 0,
        names: HashMap::new(),
    };
    let first = Lowered::new(&mut shared, entry)?;
    let mut further = vec![];
    for (key, id) in others {
        further.push((key.clone(), Lowered::new(&mut shared, *id)?));
    }
    finish(shared, first, further)
}

/// An entry point with symbolic addresses.
struct Lowered {
    graph: GraphId,
    steps: Vec<SymbolicStep>,
    open: Vec<(usize, usize, Operand)>,
}

impl Lowered {
    fn new(shared: &mut Shared<'_>, graph: GraphId) -> Result<Lowered, CompileError> {
        let steps = graphs::lower_entry(shared, graph)?;
        Ok(Lowered { graph, steps, open: std::mem::take(&mut shared.open) })
    }
}

/// Inputs and outputs of a graph.
fn ports(model: &Model, id: GraphId) -> [Vec<Port>; 2] {
    let graph = &model.graphs[id.index()];
    let port = |t: &TensorId| {
        let t = graph.tensor(*t);
        Port { name: t.name.clone(), ty: t.ty.clone(), signature: t.signature.clone() }
    };
    [&graph.inputs, &graph.outputs].map(|list| list.iter().map(port).collect())
}

/// Strings have no fixed size and no kernels: the first tensor of them that a node touches says so for all.
fn refuse_strings(model: &Model, entry: GraphId) -> Result<(), CompileError> {
    for id in called_graphs(model, entry) {
        let graph = &model.graphs[id.index()];
        let ports = graph.inputs.iter().chain(&graph.outputs).copied().map(|t| (None, t));
        let nodes = graph.nodes.iter().flat_map(|n| n.reads().chain(n.outputs.iter().copied()).map(move |t| (Some(n), t)));
        if let Some((node, t)) = ports.chain(nodes).find(|(_, t)| graph.ty(*t).dtype == DType::String) {
            let place = ErrorPlace {
                subgraph: Some(node.map_or(id.0, |n| n.location.subgraph)),
                operator: node.map(|n| (n.location.operator, n.op.name().to_string())),
                tensor: Some((t.0, graph.tensor(t).name.clone())),
            };
            return Err(CompileError::unsupported(place, Unsupported::Strings));
        }
    }
    Ok(())
}

/// Plans the arena and turns symbolic addresses into places.
fn finish(shared: Shared<'_>, entry: Lowered, others: Vec<(String, Lowered)>) -> Result<Program, CompileError> {
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
            SlotRegion::Alias(_) | SlotRegion::Variable(_) => {}
            SlotRegion::Input(k) => places[i].region = Region::Input(k),
            SlotRegion::Output(k) => places[i].region = Region::Output(k),
        }
    }
    let plan = plan::planner::plan(&buffers);
    plan::checker::check(&buffers, &plan).map_err(|e| CompileError::Internal(format!("memory plan: {e}")))?;
    for (&slot, &offset) in in_arena.iter().zip(&plan.offsets) {
        places[slot].offset = offset as u64;
    }
    let resolve = |places: &[Place], o: Operand| match o {
        Operand::Slot(s, at) | Operand::Moving(s, at, _) => Place { offset: places[s.index()].offset + at as u64, ..places[s.index()] },
        Operand::Weights(at) => Place { region: Region::Weights, offset: at as u64 },
    };
    // An alias names a slot in front of it.
    for (i, slot) in shared.slots.iter().enumerate() {
        if let SlotRegion::Alias(to) | SlotRegion::Variable(to) = slot.region {
            places[i] = resolve(&places, to);
        }
    }
    let resolve = |o: Operand| resolve(&places, o);
    let [inputs, outputs] = ports(shared.model, entry.graph);
    let opened = |open: Vec<(usize, usize, Operand)>| {
        open.into_iter().map(|(output, axis, at)| OpenOutput { output, axis, extent: resolve(at) }).collect()
    };
    let others = others.into_iter().map(|(key, other)| {
        let [inputs, outputs] = ports(shared.model, other.graph);
        EntryPoint { key, steps: resolve_steps(other.steps, &resolve), inputs, outputs, open: opened(other.open) }
    });
    Ok(Program {
        others: others.collect(),
        steps: resolve_steps(entry.steps, &resolve),
        kernels: shared.kernels,
        pieces: shared.pieces,
        weights_bytes: shared.weights_bytes,
        arena_bytes: plan.arena_bytes,
        arena_lower_bound: plan.lower_bound,
        state_bytes,
        inputs,
        outputs,
        open: opened(entry.open),
    })
}

fn resolve_steps(steps: Vec<SymbolicStep>, resolve: &dyn Fn(Operand) -> Place) -> Vec<Step> {
    let one = |s| match s {
        SymbolicStep::Call { kernel, args, units, grain, node: NodeRef { location, label } } => {
            let step = |o: &Operand| if let Operand::Moving(_, _, step) = o { *step } else { 0 };
            let advance = if args.iter().any(|o| step(o) != 0) { args.iter().map(step).collect() } else { vec![] };
            Step::Call(Call { kernel, args: args.into_iter().map(resolve).collect(), advance, units, grain, location, label })
        }
        SymbolicStep::External { name, symbol, function, args, node } => Step::External(External {
            name,
            symbol,
            function: resolve(function),
            args: args.into_iter().map(resolve).collect(),
            location: node.location,
        }),
        SymbolicStep::If { condition, then, otherwise } => {
            Step::If { condition: resolve(condition), then: resolve_steps(then, resolve), otherwise: resolve_steps(otherwise, resolve) }
        }
        SymbolicStep::Repeat { count, body } => Step::Repeat { count, body: resolve_steps(body, resolve) },
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
    let touched = || node.reads().chain(node.outputs.iter().copied());
    if let Some(t) = touched().find(|t| cx.graph.open.get(t) == Some(&Open::Unknown)) {
        let place = ErrorPlace { tensor: Some((t.0, cx.graph.tensor(t).name.clone())), ..cx.place() };
        return Err(CompileError::unsupported(place, Unsupported::DynamicShape));
    }
    if open::lower(cx, node)? {
        return Ok(());
    }
    open::with_stand_ins(cx, node, lower_by_family)
}

/// Lowers a node by its family, on bounds.
fn lower_by_family(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::If | OpKind::While | OpKind::Call | OpKind::CallOnce | OpKind::StablehloComposite | OpKind::StablehloCase => {
            return control::lower(cx, node);
        }
        OpKind::Lstm
        | OpKind::UnidirectionalSequenceLstm
        | OpKind::BidirectionalSequenceLstm
        | OpKind::Rnn
        | OpKind::UnidirectionalSequenceRnn
        | OpKind::BidirectionalSequenceRnn
        | OpKind::Svdf => return recurrent::lower(cx, node),
        OpKind::VarHandle | OpKind::ReadVariable | OpKind::AssignVariable => return variables::lower(cx, node),
        _ => {}
    }
    // Where no result has an element there is nothing to compute.
    if !node.outputs.is_empty() && node.outputs.iter().all(|t| cx.ty(*t).elements() == 0) {
        return Ok(());
    }
    match node.op {
        OpKind::Pointwise => pointwise::lower(cx, node),
        OpKind::Select | OpKind::SelectV2 => pointwise::select(cx, node),
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
        OpKind::ScatterNd
        | OpKind::SparseToDense
        | OpKind::SegmentSum
        | OpKind::UnsortedSegmentProd
        | OpKind::UnsortedSegmentMax
        | OpKind::UnsortedSegmentSum
        | OpKind::UnsortedSegmentMin => scatter::lower(cx, node),
        OpKind::TopkV2 | OpKind::Bucketize | OpKind::LshProjection => search::lower(cx, node),
        OpKind::ReverseSequence | OpKind::MatrixDiag | OpKind::MatrixSetDiag | OpKind::Dilate => reorder::lower(cx, node),
        OpKind::Rfft2d | OpKind::LocalResponseNormalization => signal::lower(cx, node),
        OpKind::Real | OpKind::Imag | OpKind::ComplexAbs | OpKind::Mul => complex::lower(cx, node),
        OpKind::Cast if packed::converts(cx, node) => packed::lower(cx, node),
        OpKind::Cast => complex::lower(cx, node),
        OpKind::Quantize | OpKind::Dequantize => packed::lower(cx, node),
        OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::TransposeConv => pointwise::with_table_behind(cx, node, conv::lower),
        OpKind::FullyConnected | OpKind::BatchMatmul => pointwise::with_table_behind(cx, node, matmul::lower),
        OpKind::Logistic | OpKind::Tanh | OpKind::Exp | OpKind::Log | OpKind::Gelu | OpKind::Sqrt | OpKind::Rsqrt => lut::lower(cx, node),
        OpKind::EmbeddingLookupSparse | OpKind::HashtableLookup => embedding::lower(cx, node),
        OpKind::NonMaxSuppressionV4 | OpKind::NonMaxSuppressionV5 => boxes::lower(cx, node),
        OpKind::RandomUniform | OpKind::RandomStandardNormal | OpKind::Multinomial => random::lower(cx, node),
        OpKind::Conv3d | OpKind::Conv3dTranspose => conv_3d::lower(cx, node),
        OpKind::StablehloPad | OpKind::StablehloReduceWindow => stablehlo::lower(cx, node),
        OpKind::StablehloGather | OpKind::StablehloScatter => stablehlo_boxes::lower(cx, node),
        OpKind::StablehloRngBitGenerator => random::bits(cx, node),
        OpKind::BroadcastArgs => movement::lower(cx, node),
        OpKind::Range => constants::folded(cx, node),
        OpKind::Custom => custom::lower(cx, node),
        _ => Err(cx.unsupported(Unsupported::Operator)),
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests;
