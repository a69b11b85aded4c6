//! Cuts chains of convolutions over large images into bands of rows, so that what lies between two of them stays small.
//!
//! A network for images widens early: between the two convolutions of an inverted residual lies a tensor several times as large as what goes in and
//! comes out. A chain `conv -> conv -> …` whose tensors in between nobody else reads becomes, for each band of rows of its result, SLICE of the rows that the
//! band needs, the convolutions with explicit padding, and at the end one CONCATENATION. Slices are views and the concatenation is in place, so
//! nothing is copied; rows that two bands need are computed twice. Results are the same, since each of their elements is.
//!
//! It leaves alone: batches, arithmetic with scales of whole images, filters too large to be packed for several kinds of bands, chains with little in between, and
//! heights that no number of rows divides well.

use super::sole_readers;
use super::views::{like, slice};
use crate::error::CompileError;
use crate::ir::{AttrValue, Graph, GraphId, Model, Node, NodeId, OpKind, Patch, TensorId, TensorType};
use crate::ops::Call;
use crate::ops::conv_2d::{Arithmetic, Conv};
use crate::target::{Effort, Target};
use std::collections::HashSet;

/// What is worth cutting.
struct Limits {
    /// A tensor between two convolutions is worth cutting from this size on: smaller ones are no large part of an arena, and the kernels of bands take
    /// time to compile.
    worth: usize,
    /// What lies between the convolutions of one band takes at most this, where that costs little.
    band: usize,
}

impl Limits {
    const fn new(effort: Effort) -> Limits {
        match effort {
            Effort::Quick => Limits { worth: 1 << 20, band: 256 << 10 },
            Effort::Thorough => Limits { worth: 256 << 10, band: 128 << 10 },
        }
    }
}

/// Work done twice is at most this part of a chain's: a page that a first run need not touch is worth some hundred thousand multiplications.
const MOST_TWICE: f64 = 0.12;
/// The most convolutions that are computed band by band together.
const MOST_LINKS: usize = 8;
/// Filters up to this size may be packed for each kind of band.
const FILTER_BYTES: usize = 64 << 10;

/// A convolution of a chain.
struct Link {
    at: usize,
    conv: Conv,
}

/// Rows of an image: first, and one behind the last.
type Rows = (usize, usize);

impl Link {
    /// The rows of the input that rows of the output need, with the padding above and below.
    fn needs(&self, rows: Rows) -> (Rows, [usize; 2]) {
        let w = &self.conv.window;
        let (first, last) = (rows.0 * w.stride[0], (rows.1 - 1) * w.stride[0] + w.reach(0));
        let inside = (first.saturating_sub(w.pad[0]), last.saturating_sub(w.pad[0]).min(w.input[0]));
        (inside, [w.pad[0].saturating_sub(first), last.saturating_sub(w.pad[0] + w.input[0])])
    }

    /// Multiplications for a row of the output.
    fn row_work(&self) -> f64 {
        let w = &self.conv.window;
        (w.output[1] * self.conv.out_channels * (self.conv.in_channels / self.conv.groups) * w.kernel[0] * w.kernel[1]) as f64
    }
}

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, target: &Target) -> Result<usize, CompileError> {
    let limits = Limits::new(target.effort);
    let readers = sole_readers(&model.graphs[id.index()]);
    let nodes = model.graphs[id.index()].nodes.len();
    let mut seen = vec![false; nodes];
    let mut segments = vec![];
    for at in 0..nodes {
        for chain in chains(model, id, at, &limits, &readers, &mut seen) {
            segments.extend(segments_of(&model.graphs[id.index()], &limits, chain));
        }
    }
    // Where another place needs as much anyway, nothing is gained.
    let graph = &model.graphs[id.index()];
    let cut_nodes: HashSet<usize> = segments.iter().flat_map(|s| s.chain.iter().map(|l| l.at)).collect();
    let elsewhere = (0..nodes).filter(|at| !cut_nodes.contains(at)).map(|at| node_bytes(graph, &graph.nodes[at])).max().unwrap_or(0);
    let needed = segments.iter().map(|s| s.most).fold(elsewhere, usize::max);
    segments.retain(|s| s.chain.iter().any(|l| node_bytes(graph, &graph.nodes[l.at]) > needed));
    if segments.is_empty() {
        return Ok(0);
    }
    let mut patch = Patch::new(&mut model.graphs[id.index()]);
    for segment in &segments {
        cut(&mut patch, segment);
    }
    Ok(segments.len())
}

/// The chains that begin at node `at` and what follows it: cut where what lies in between is small.
fn chains(model: &Model, id: GraphId, at: usize, limits: &Limits, readers: &[Option<usize>], seen: &mut [bool]) -> Vec<Vec<Link>> {
    let graph = &model.graphs[id.index()];
    let mut chains: Vec<Vec<Link>> = vec![];
    let mut next = Some(at);
    while let Some(at) = next.filter(|at| !std::mem::replace(&mut seen[*at], true)) {
        let Some(l) = link(model, id, at) else { break };
        let node = &graph.nodes[at];
        let large = node.inputs[0].is_some_and(|x| graph.ty(x).bytes() >= limits.worth);
        match chains.last_mut() {
            Some(chain) if large => chain.push(l),
            _ => chains.push(vec![l]),
        }
        let out = node.outputs[0];
        // The image that the next one reads, and nothing else.
        let image = |n: &Node| n.inputs.first() == Some(&Some(out)) && n.reads().filter(|t| *t == out).count() == 1;
        next = readers[out.index()].filter(|r| *r > at && image(&graph.nodes[*r]));
    }
    chains.retain(|c| c.len() > 1);
    chains
}

/// The convolution at a node that can be part of a chain.
fn link(model: &Model, id: GraphId, at: usize) -> Option<Link> {
    let graph = &model.graphs[id.index()];
    let node = &graph.nodes[at];
    if !matches!(node.op, OpKind::Conv2d | OpKind::DepthwiseConv2d) {
        return None;
    }
    let conv = Conv::new(&Call::of(model, id, node, at)).ok()?;
    let constant = |t: TensorId| graph.tensor(t).data.is_some();
    let [x, filter] = [node.inputs[0]?, node.inputs[1]?];
    let bias = node.inputs.get(2).copied().flatten();
    let out = node.outputs[0];
    let fixed = [x, out].iter().all(|t| !graph.open.contains_key(t) && graph.ty(*t).dtype.bits() >= 8);
    // An operand of the tail is cut like the result, or belongs to all of it.
    let tail = node.tail.iter().flat_map(|t| &t.inputs).all(|t| {
        let ty = graph.ty(*t);
        !graph.open.contains_key(t) && (is_whole(ty, graph.ty(out)) || !constant(*t) && is_image(ty, graph.ty(out)))
    });
    let plain = !constant(x) && constant(filter) && bias.is_none_or(constant) && !graph.tensor(out).variable;
    let kind = matches!(conv.arithmetic, Arithmetic::Float | Arithmetic::Quantized);
    (plain && fixed && tail && kind && conv.window.batch == 1 && graph.ty(filter).bytes() <= FILTER_BYTES).then_some(Link { at, conv })
}

/// Whether an operand is the same for all rows of a result.
fn is_whole(ty: &TensorType, out: &TensorType) -> bool {
    let n = ty.elements();
    n == 1 || ty.shape.last() == Some(&n) && out.shape.last() == Some(&n)
}

/// Whether an operand has the rows of a result.
fn is_image(ty: &TensorType, out: &TensorType) -> bool {
    ty.shape.len() == 4 && ty.shape[..3] == out.shape[..3] && ty.dtype.bits() >= 8
}

/// A part of a chain that is cut into bands.
struct Segment {
    chain: Vec<Link>,
    /// Rows of its result in a band.
    rows: usize,
    /// Bytes that it needs at most.
    most: usize,
}

/// Bytes that a tensor takes in the arena: what the caller owns is not there, nor are constants.
fn arena_bytes(graph: &Graph, t: TensorId) -> usize {
    let elsewhere = graph.inputs.contains(&t) || graph.outputs.contains(&t) || graph.tensor(t).data.is_some();
    if elsewhere { 0 } else { graph.ty(t).bytes() }
}

/// Bytes of what a node reads and writes.
fn node_bytes(graph: &Graph, node: &Node) -> usize {
    node.reads().chain(node.outputs.iter().copied()).map(|t| arena_bytes(graph, t)).sum()
}

/// The parts of a chain that are cut, so that the place where most memory is needed needs the least; bands are as few as will do.
fn segments_of(graph: &Graph, limits: &Limits, mut chain: Vec<Link>) -> Vec<Segment> {
    let input = |i: usize| graph.nodes[chain[i].at].inputs[0].map_or(0, |t| arena_bytes(graph, t));
    let output = |i: usize| arena_bytes(graph, graph.nodes[chain[i].at].outputs[0]);
    // For the first i links: the most memory, where their last part begins, and, if that is cut, its rows and what it needs.
    let mut best: Vec<(usize, usize, Option<(usize, usize)>)> = vec![(0, 0, None)];
    for i in 1..=chain.len() {
        let own = input(i - 1) + output(i - 1);
        let mut choice = (best[i - 1].0.max(own), i - 1, None);
        for j in (i.saturating_sub(MOST_LINKS)..i - 1).rev() {
            if let Some((rows, between)) = band(graph, limits, &chain[j..i]) {
                let own = input(j) + output(i - 1) + between;
                let most = best[j].0.max(own);
                if most < choice.0 {
                    choice = (most, j, Some((rows, own)));
                }
            }
        }
        best.push(choice);
    }
    let mut parts = vec![];
    while !chain.is_empty() {
        let (_, from, cut) = best[chain.len()];
        let part = chain.split_off(from);
        parts.extend(cut.map(|(rows, most)| Segment { chain: part, rows, most }));
    }
    parts
}

/// Rows of the result in a band, and the most memory between the convolutions of one: as many rows as keep that small, as far as little is computed
/// twice. `None` where no number will do.
fn band(graph: &Graph, limits: &Limits, chain: &[Link]) -> Option<(usize, usize)> {
    let height = chain.last()?.conv.window.output[0];
    let whole: f64 = chain.iter().map(|l| l.row_work() * l.conv.window.output[0] as f64).sum();
    let mut best = None;
    for rows in (1..=height / 2).rev().filter(|r| height % r == 0) {
        let (mut most, mut work) = (0, 0.0);
        for first in (0..height).step_by(rows) {
            let mut needed = (first, first + rows);
            // What a convolution gives to the next one, which is there together with what it reads.
            let mut given = 0;
            for (i, l) in chain.iter().enumerate().rev() {
                work += l.row_work() * (needed.1 - needed.0) as f64;
                needed = l.needs(needed).0;
                if needed.0 >= needed.1 {
                    return best;
                }
                let row = graph.ty(graph.nodes[l.at].inputs[0]?).bytes() / l.conv.window.input[0];
                let read = if i > 0 { row * (needed.1 - needed.0) } else { 0 };
                most = most.max(read + given);
                given = read;
            }
        }
        if work > whole * (1.0 + MOST_TWICE) {
            break;
        }
        best = Some((rows, most));
        if most <= limits.band {
            break;
        }
    }
    best
}

/// Puts the bands in the place of a segment.
fn cut(patch: &mut Patch<'_>, Segment { chain, rows, .. }: &Segment) {
    let Some(last) = chain.last() else { return };
    let nodes: Vec<Node> = chain.iter().filter_map(|l| patch.remove(NodeId(l.at as u32))).collect();
    let place = NodeId(last.at as u32);
    let height = last.conv.window.output[0];
    let mut parts = vec![];
    for first in (0..height).step_by(*rows) {
        // From the result back to what each convolution has to give.
        let mut spans = vec![(first, first + *rows)];
        let mut pads = vec![];
        for l in chain.iter().rev() {
            let (needed, pad) = l.needs(spans[spans.len() - 1]);
            spans.push(needed);
            pads.push(pad);
        }
        spans.reverse();
        pads.reverse();
        let mut x = nodes[0].inputs[0].map(|x| rows_of(patch, place, &nodes[0], x, spans[0]));
        for (((l, node), pad), span) in chain.iter().zip(&nodes).zip(pads).zip(&spans[1..]) {
            let y = band_of(patch, l, node, x, pad, *span, place);
            x = Some(y);
        }
        parts.push(x);
    }
    let mut whole =
        Node { location: nodes[nodes.len() - 1].location, ..Node::new(OpKind::Concatenation, [], nodes[nodes.len() - 1].outputs.clone()) };
    whole.inputs = parts;
    whole.attrs.set("axis", AttrValue::Int(1));
    patch.replace(place, whole);
}

/// One convolution of a band, which gives rows `span`.
fn band_of(patch: &mut Patch<'_>, l: &Link, node: &Node, x: Option<TensorId>, pad: [usize; 2], span: Rows, place: NodeId) -> TensorId {
    let w = &l.conv.window;
    let mut new = node.clone();
    new.inputs[0] = x;
    let sides = w.border(1);
    new.attrs.set("padding", AttrValue::Enum("EXPLICIT".to_string()));
    for (name, amount) in [("pad_top", pad[0]), ("pad_bottom", pad[1]), ("pad_left", sides[0]), ("pad_right", sides[1])] {
        new.attrs.set(name, AttrValue::Int(amount as i64));
    }
    let of_band = |shape: &[usize]| {
        let mut shape = shape.to_vec();
        shape[1] = span.1 - span.0;
        shape
    };
    let out = node.outputs[0];
    if let Some(tail) = &mut new.tail {
        tail.result.shape = of_band(&tail.result.shape);
        for t in &mut tail.inputs {
            if !is_whole(patch.ty(*t), patch.ty(out)) {
                *t = rows_of(patch, place, node, *t, span);
            }
        }
    }
    let shape = of_band(&patch.ty(out).shape);
    let y = like(patch, out, shape);
    new.outputs = vec![y];
    patch.insert_before(place, new);
    y
}

/// Rows `span` of an image; the image itself where they are all of it.
fn rows_of(patch: &mut Patch<'_>, place: NodeId, node: &Node, x: TensorId, span: Rows) -> TensorId {
    let mut shape = patch.ty(x).shape.clone();
    if span == (0, shape[1]) {
        return x;
    }
    shape[1] = span.1 - span.0;
    slice(patch, place, node.location, x, &[0, span.0, 0, 0], shape)
}
