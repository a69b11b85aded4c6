//! Cuts attention into bands of query rows, so that the scores of one band stay in a second-level cache and those of all are nowhere.
//!
//! `softmax(Q x K) x V` has a score for each pair of positions: with 2048 of them and four heads 64 MiB, written and read three times, where everything else
//! takes 2 MiB. A chain `BATCH_MATMUL -> POINTWISE* -> SOFTMAX -> POINTWISE* -> BATCH_MATMUL` whose tensors in between nobody else reads becomes, for each band
//! of rows, the same chain on the rows of Q and of what masks the scores; at the end stands one CONCATENATION. Rows are views, the concatenation is in place
//! and each K and V is packed once for all bands. Results are the same, since each of their elements is.
//!
//! It leaves alone: small products, tensors of open size, and operands that broadcast over the rows of a band in an irregular way. Composite operators for attention
//! arrive here too, as what they decompose into.

use super::sole_readers;
use super::views::{like, reshape, slice};
use crate::error::CompileError;
use crate::ir::{AttrValue, DType, Graph, GraphId, Location, Model, Node, NodeId, OpKind, Patch, Quantization, TensorId, TensorType};
use crate::ops::Call;
use crate::ops::batch_matmul::BatchMatMul;
use crate::ops::conv_2d::Arithmetic;
use crate::ops::shapes::{count, sources};
use crate::target::Target;
use std::collections::HashMap;
use std::ops::Range;

/// Scores are worth cutting from this size on: smaller ones stay in a second-level cache, and each band is a call more of each kernel.
const WORTH_BYTES: usize = 512 << 10;
/// The scores of one band take about this.
const BAND_BYTES: usize = 256 << 10;
/// A band has at least this many rows, two tiles of the widest kernels: each reads all of K and V.
const LEAST_ROWS: usize = 28;
/// The most bands of one chain.
const MOST_BANDS: usize = 128;

/// A product of a chain.
struct Product {
    at: usize,
    p: BatchMatMul,
    /// For each matrix of the result, which matrices of the operands it takes.
    sources: [Vec<usize>; 2],
}

/// A chain: two products, and what lies between them.
struct Chain {
    /// `Q x K`.
    scores: Product,
    /// The nodes between the products in their order.
    between: Vec<usize>,
    /// `P x V`.
    result: Product,
}

/// Rows of a tensor's last dimension: those from `first` on that fill `shape`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Part {
    first: usize,
    shape: Vec<usize>,
}

/// Rows of all scores that are computed together: of one matrix, or of several whole ones.
struct Band {
    /// Dimensions in front of the columns: rows, or matrices and rows.
    lead: Vec<usize>,
    /// Of Q.
    left: Part,
    /// Of K and of V.
    right: [Part; 2],
    /// Of the operands of pointwise nodes.
    operands: HashMap<(usize, TensorId), Part>,
}

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let graph = &model.graphs[id.index()];
    let readers = sole_readers(graph);
    let mut chains: Vec<(Chain, Vec<Band>)> = vec![];
    for at in (0..graph.nodes.len()).filter(|i| graph.nodes[*i].op == OpKind::Softmax) {
        let Some(chain) = chain(model, id, at, &readers) else { continue };
        // The last product of one chain may be the first of another.
        let is_free = chains.iter().all(|(other, _)| other.result.at != chain.scores.at);
        let bands = bands(graph, &chain);
        if is_free && bands.len() > 1 {
            chains.push((chain, bands));
        }
    }
    if chains.is_empty() {
        return Ok(0);
    }
    let mut patch = Patch::new(&mut model.graphs[id.index()]);
    for (chain, bands) in &chains {
        Cutter { patch: &mut patch, place: NodeId(chain.result.at as u32), parts: HashMap::new() }.cut(chain, bands);
    }
    Ok(chains.len())
}

/// Whether rows of a tensor lie where they are written, as whole bytes with one scale.
fn closed(graph: &Graph, t: TensorId) -> bool {
    let ty = graph.ty(t);
    !graph.open.contains_key(&t) && ty.dtype.bits() >= 8 && (ty.quant == Quantization::None || ty.quant.per_tensor().is_some())
}

/// The chain whose softmax stands at a node.
fn chain(model: &Model, id: GraphId, at: usize, readers: &[Option<usize>]) -> Option<Chain> {
    let graph = &model.graphs[id.index()];
    // A tensor that only the next node of the chain needs.
    let inner = |t: TensorId| {
        let tensor = graph.tensor(t);
        closed(graph, t) && tensor.data.is_none() && !tensor.variable && readers[t.index()].is_some()
    };
    let last_dim = |t: TensorId| graph.ty(t).shape.last().copied();
    let columns = last_dim(graph.nodes[at].outputs[0])?;
    // Nodes that compute each row of scores by itself.
    let by_rows =
        |n: &Node| n.tail.is_none() && n.outputs.len() == 1 && matches!(n.op, OpKind::Pointwise | OpKind::Reshape | OpKind::Softmax);
    let mut between = vec![at];
    let scores = loop {
        let node = &graph.nodes[between[0]];
        let elements = graph.ty(node.outputs[0]).elements();
        let (before, found) = node.inputs.iter().flatten().copied().find_map(|t| {
            if !inner(t) || last_dim(t) != Some(columns) || graph.ty(t).elements() != elements {
                return None;
            }
            let before = graph.nodes[..between[0]].iter().rposition(|n| n.outputs.contains(&t))?;
            let found = Product::new(model, id, before);
            (found.is_some() || by_rows(&graph.nodes[before])).then_some((before, found))
        })?;
        match found {
            Some(p) => break p,
            None => between.insert(0, before),
        }
    };
    let result = loop {
        let t = graph.nodes[*between.last()?].outputs[0];
        let next = readers[t.index()].filter(|_| inner(t) && last_dim(t) == Some(columns))?;
        let node = &graph.nodes[next];
        if let Some(p) = Product::new(model, id, next)
            && p.is_in_order()
            && node.inputs[0] == Some(t)
            && node.inputs[1] != Some(t)
        {
            break p;
        }
        if !by_rows(node) || node.op == OpKind::Softmax || graph.ty(node.outputs[0]).elements() != graph.ty(t).elements() {
            return None;
        }
        between.push(next);
    };
    let rows = |p: &BatchMatMul| p.m * count(&p.batch);
    let whole =
        between.iter().flat_map(|i| graph.nodes[*i].reads().chain(graph.nodes[*i].outputs.iter().copied())).all(|t| closed(graph, t));
    let (first, last) = (&scores.p, &result.p);
    let fits = whole && first.n == columns && rows(first) == rows(last) && first.m == last.m;
    fits.then_some(Chain { scores, between, result })
}

impl Product {
    /// The product at a node, where it can be one of a chain.
    fn new(model: &Model, id: GraphId, at: usize) -> Option<Product> {
        let graph = &model.graphs[id.index()];
        let node = &graph.nodes[at];
        if node.op != OpKind::BatchMatmul
            || node.tail.is_some()
            || !node.reads().chain(node.outputs.iter().copied()).all(|t| closed(graph, t))
        {
            return None;
        }
        let p = BatchMatMul::new(&Call::of(model, id, node, at)).ok()?;
        let sources = [p.sources(0), p.sources(1)];
        (!p.adjoint[0] && p.k > 0 && !sources[0].is_empty()).then_some(Product { at, p, sources })
    }

    /// Whether rows lie one behind the other: those of the result are those of the left side in their order.
    fn is_in_order(&self) -> bool {
        self.sources[0].iter().enumerate().all(|(i, l)| i == *l)
    }

    /// The part of the left side that a band of so many matrices reads, which begins at row `start`.
    fn left(&self, start: usize, lead: &[usize], matrices: usize) -> Option<Part> {
        let read = &self.sources[0][start / self.p.m..][..matrices];
        counts(read).then(|| Part { first: read[0] * self.p.m + start % self.p.m, shape: with(lead, &[self.p.k]) })
    }

    /// The part of the right side that it reads.
    fn right(&self, start: usize, matrices: usize) -> Option<Part> {
        let read = &self.sources[1][start / self.p.m..][..matrices];
        let [rows, columns] = if self.p.adjoint[1] { [self.p.n, self.p.k] } else { [self.p.k, self.p.n] };
        let lead = match matrices {
            1 => vec![],
            _ if read.iter().all(|m| *m == read[0]) => vec![1],
            _ if counts(read) => vec![matrices],
            _ => return None,
        };
        Some(Part { first: read[0] * rows, shape: with(&lead, &[rows, columns]) })
    }
}

/// Dimensions, and further ones behind them.
fn with(lead: &[usize], more: &[usize]) -> Vec<usize> {
    [lead, more].concat()
}

/// Whether each number is one more than the one before it.
fn counts(numbers: &[usize]) -> bool {
    numbers.windows(2).all(|w| w[1] == w[0] + 1)
}

/// The bands that a chain is cut into; one or none where it stays whole.
fn bands(graph: &Graph, chain: &Chain) -> Vec<Band> {
    let p = &chain.scores.p;
    let scores = graph.ty(graph.nodes[chain.scores.at].outputs[0]);
    let matrices = count(&p.batch);
    let bytes = scores.bytes();
    if bytes < WORTH_BYTES || p.m == 0 {
        return vec![];
    }
    let row = bytes / (matrices * p.m);
    let band_bytes = BAND_BYTES.max(bytes / MOST_BANDS);
    // Whole matrices, as many as fit.
    let together = (1..=matrices).rev().filter(|g| matrices.is_multiple_of(*g)).find(|g| g * p.m * row <= band_bytes);
    // Rows of a matrix share its packed sides, which other types than floats prepare for each product.
    let rows = if p.arithmetic == Arithmetic::Float && scores.dtype == DType::Float32 {
        (band_bytes / row).clamp(LEAST_ROWS.min(p.m), p.m)
    } else {
        p.m
    };
    let even = (rows.div_ceil(2)..=rows).rev().find(|r| p.m.is_multiple_of(*r)).unwrap_or_else(|| p.m.div_ceil(p.m.div_ceil(rows)));
    let operands = operands(graph, chain);
    // Bands of so many rows, from the start of each group of matrices on.
    let cut = |group: usize, rows: usize| -> Option<Vec<Band>> {
        let all = group * p.m;
        let starts = (0..matrices / group).flat_map(|g| (0..all).step_by(rows).map(move |r| g * all + r..g * all + (r + rows).min(all)));
        starts.map(|rows| chain.band(rows, group, &operands)).collect()
    };
    together.and_then(|g| cut(g, g * p.m)).or_else(|| cut(1, even)).unwrap_or_default()
}

/// An operand of a pointwise node.
struct Operand {
    node: usize,
    t: TensorId,
    columns: usize,
    /// Which of its rows meets each row of scores.
    rows: Vec<usize>,
}

/// The operands of the pointwise nodes of a chain, but what they pass on.
fn operands(graph: &Graph, chain: &Chain) -> Vec<Operand> {
    let split = |t: TensorId| graph.ty(t).shape.split_last().map_or((1, &[][..]), |(n, lead)| (*n, lead));
    let mut all = vec![];
    let mut given = graph.nodes[chain.scores.at].outputs[0];
    for at in &chain.between {
        let node = &graph.nodes[*at];
        let given = std::mem::replace(&mut given, node.outputs[0]);
        for t in node.reads().filter(|t| node.op == OpKind::Pointwise && *t != given) {
            let ((columns, from), (_, to)) = (split(t), split(node.outputs[0]));
            all.push(Operand { node: *at, t, columns, rows: sources(from, to) });
        }
    }
    all
}

impl Chain {
    /// What a band reads, where every operand has rows for it.
    fn band(&self, rows: Range<usize>, matrices: usize, operands: &[Operand]) -> Option<Band> {
        let lead = if matrices > 1 { vec![matrices, self.scores.p.m] } else { vec![rows.len()] };
        let right = [self.scores.right(rows.start, matrices)?, self.result.right(rows.start, matrices)?];
        let left = self.scores.left(rows.start, &lead, matrices)?;
        let operands = operands.iter().map(|o| Some(((o.node, o.t), o.part(&rows, &lead)?))).collect::<Option<_>>()?;
        Some(Band { lead, left, right, operands })
    }
}

impl Operand {
    /// What a band reads: one row for all of its own, as many as it has, or those of one matrix for each of its matrices.
    fn part(&self, rows: &Range<usize>, lead: &[usize]) -> Option<Part> {
        let read = self.rows.get(rows.clone())?;
        let first = *read.first()?;
        let lead = match lead {
            _ if read.iter().all(|r| *r == first) => vec![1],
            _ if counts(read) => lead.to_vec(),
            [_, m] if read.chunks(*m).all(|part| part[0] == first && counts(part)) => vec![1, *m],
            _ => return None,
        };
        Some(Part { first, shape: with(&lead, &[self.columns]) })
    }
}

/// Writes bands into a graph.
struct Cutter<'p, 'g> {
    patch: &'p mut Patch<'g>,
    place: NodeId,
    /// Parts of operands so far, which several bands may read.
    parts: HashMap<(TensorId, Part), TensorId>,
}

impl Cutter<'_, '_> {
    /// Puts the bands in the place of a chain.
    fn cut(&mut self, chain: &Chain, bands: &[Band]) {
        let id = |i: usize| NodeId(i as u32);
        let (Some(scores), Some(result)) = (self.patch.remove(id(chain.scores.at)), self.patch.remove(id(chain.result.at))) else { return };
        let between: Vec<(usize, Node)> = chain.between.iter().filter_map(|i| Some((*i, self.patch.remove(id(*i))?))).collect();
        let (first, last) = (&chain.scores.p, &chain.result.p);
        let mut parts = vec![];
        for band in bands {
            let Some(q) = scores.inputs[0] else { return };
            let mut x = self.part(q, &band.left);
            x = self.product(&scores, x, &band.right[0], with(&band.lead, &[first.n]));
            let mut whole = scores.outputs[0];
            for (at, node) in &between {
                let given = std::mem::replace(&mut whole, node.outputs[0]);
                if node.op == OpKind::Reshape {
                    continue;
                }
                let mut new = node.clone();
                for t in new.inputs.iter_mut().flatten() {
                    *t = match band.operands.get(&(*at, *t)) {
                        _ if *t == given => x,
                        Some(part) => self.part(*t, part),
                        None => *t,
                    };
                }
                x = self.add(new, with(&band.lead, &[first.n]));
            }
            parts.push(Some(self.product(&result, x, &band.right[1], with(&band.lead, &[last.n]))));
        }
        let out = result.outputs[0];
        let rows = first.m * count(&first.batch);
        let lead = if bands[0].lead.len() > 1 { vec![rows / first.m, first.m] } else { vec![rows] };
        let all = like(self.patch, out, with(&lead, &[last.n]));
        let mut concatenation = Node { location: result.location, ..Node::new(OpKind::Concatenation, [], vec![all]) };
        concatenation.inputs = parts;
        concatenation.attrs.set("axis", AttrValue::Int(0));
        self.patch.insert_before(self.place, concatenation);
        let shape = self.patch.ty(out).shape.clone();
        let shape = self.patch.add_ints("shape", &shape);
        self.patch.replace(self.place, Node { location: result.location, ..Node::new(OpKind::Reshape, [all, shape], vec![out]) });
    }

    /// A product of a band.
    fn product(&mut self, node: &Node, x: TensorId, right: &Part, shape: Vec<usize>) -> TensorId {
        let mut new = node.clone();
        let y = node.inputs[1].map(|y| self.part(y, right));
        new.inputs = vec![Some(x), y];
        self.add(new, shape)
    }

    /// Adds a node in front of the chain's place, with a result of another shape than it had.
    fn add(&mut self, mut node: Node, shape: Vec<usize>) -> TensorId {
        let y = like(self.patch, node.outputs[0], shape);
        node.outputs = vec![y];
        self.patch.insert_before(self.place, node);
        y
    }

    /// A part of a tensor.
    fn part(&mut self, t: TensorId, part: &Part) -> TensorId {
        let key = (t, part.clone());
        if let Some(part) = self.parts.get(&key) {
            return *part;
        }
        let Part { first, shape } = part.clone();
        let columns = shape.last().copied().unwrap_or(1);
        let rows = count(&shape).checked_div(columns).unwrap_or(0);
        let tensor = self.patch.tensor(t);
        let y = if let Some(data) = &tensor.data {
            let row = columns * tensor.ty.dtype.bits() / 8;
            let data = data.slice(first * row..(first + rows) * row);
            let (name, ty) = (tensor.name.clone(), TensorType { shape, ..tensor.ty.clone() });
            self.patch.add_const(name, ty, data)
        } else {
            let all = tensor.ty.elements().checked_div(columns).unwrap_or(0);
            let mut x = t;
            if rows != all {
                x = self.part(t, &Part { first: 0, shape: vec![all, columns] });
                x = slice(self.patch, self.place, Location::default(), x, &[first, 0], vec![rows, columns]);
            }
            reshape(self.patch, self.place, x, shape)
        };
        self.parts.insert(key, y);
        y
    }
}
