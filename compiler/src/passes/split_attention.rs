//! Cuts attention into bands of query rows, so that the scores of one band stay in a second-level cache and those of all are nowhere.
//!
//! `softmax(Q x K) x V` has a score for each pair of positions: with 2048 of them and four heads 64 MiB, written and read three times, where everything else
//! takes 2 MiB. A chain `BATCH_MATMUL -> POINTWISE* -> SOFTMAX -> POINTWISE* -> BATCH_MATMUL` whose tensors in between nobody else reads becomes, for each band
//! of rows, the same chain on the rows of Q and of what masks the scores; at the end stands one CONCATENATION. Rows are views, the concatenation is in place
//! and each K and V is packed once for all bands. Results are the same, since each of their elements is.
//!
//! It leaves alone: small products, tensors of open size, and operands that broadcast over the rows of a band in an irregular way. Composite operators for attention
//! arrive here too, as what they decompose into.

use crate::error::CompileError;
use crate::ir::{AttrValue, DType, GraphId, Model, Node, NodeId, OpKind, Patch, Quantization, TensorId, TensorType};
use crate::ops::Call;
use crate::ops::batch_matmul::BatchMatMul;
use crate::ops::conv_2d::Arithmetic;
use crate::ops::shapes::Walk;
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

/// A chain: two products, and what lies between them.
struct Chain {
    /// `Q x K`.
    scores: (usize, BatchMatMul),
    /// The nodes between the products in their order.
    between: Vec<usize>,
    /// `P x V`.
    result: (usize, BatchMatMul),
}

/// Rows of all scores that are computed together: of one matrix, or of several whole ones.
struct Band {
    rows: Range<usize>,
    matrices: usize,
}

/// Which rows of an operand a band reads.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Share {
    /// As many as the band has, from this one on.
    All(usize),
    /// Those of one matrix, from this one on, for each matrix of the band.
    Matrix(usize),
    /// This one for all rows.
    One(usize),
}

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let nodes = model.graphs[id.index()].nodes.len();
    let chains: Vec<Chain> = (0..nodes).filter_map(|at| chain(model, id, at)).collect();
    let mut patch = Patch::new(&mut model.graphs[id.index()]);
    let mut cut = 0;
    for chain in &chains {
        let bands = bands(&patch, chain);
        if bands.len() > 1 {
            Cutter { patch: &mut patch, place: NodeId(chain.result.0 as u32), parts: HashMap::new() }.cut(chain, &bands);
            cut += 1;
        }
    }
    Ok(cut)
}

/// The chain whose softmax stands at a node.
fn chain(model: &Model, id: GraphId, at: usize) -> Option<Chain> {
    let graph = &model.graphs[id.index()];
    if graph.nodes[at].op != OpKind::Softmax {
        return None;
    }
    let readers = |t: TensorId| graph.nodes.iter().enumerate().filter(move |(_, n)| n.reads().any(|u| u == t)).map(|(i, _)| i);
    let closed = |t: TensorId| {
        let ty = graph.ty(t);
        !graph.open.contains_key(&t) && ty.dtype.bits() >= 8 && (ty.quant == Quantization::None || ty.quant.per_tensor().is_some())
    };
    // A tensor that only the next node of the chain needs.
    let inner = |t: TensorId| {
        let tensor = graph.tensor(t);
        closed(t) && tensor.data.is_none() && !tensor.variable && !graph.outputs.contains(&t) && readers(t).count() == 1
    };
    let last_dim = |t: TensorId| graph.ty(t).shape.last().copied();
    let columns = last_dim(graph.nodes[at].outputs[0])?;
    // Nodes that compute each row of scores by itself.
    let by_rows =
        |n: &Node| n.tail.is_none() && n.outputs.len() == 1 && matches!(n.op, OpKind::Pointwise | OpKind::Reshape | OpKind::Softmax);
    let product = |i: usize| {
        let node = &graph.nodes[i];
        let plain = node.op == OpKind::BatchMatmul && node.tail.is_none() && node.reads().chain(node.outputs.iter().copied()).all(closed);
        let p = BatchMatMul::new(&Call::of(model, id, node, i)).ok().filter(|_| plain)?;
        // Rows lie one behind the other, and those of the result are those of the left side in their order.
        let in_order = p.sources(0).iter().enumerate().all(|(i, l)| i == *l);
        (!p.adjoint[0] && p.k > 0 && !p.sources(0).is_empty()).then_some((i, p, in_order))
    };
    let mut between = vec![at];
    let scores = loop {
        let node = &graph.nodes[between[0]];
        let before = node.inputs.iter().flatten().copied().filter(|t| inner(*t) && last_dim(*t) == Some(columns)).find_map(|t| {
            let same = graph.ty(t).elements() == graph.ty(node.outputs[0]).elements();
            graph.nodes[..between[0]]
                .iter()
                .rposition(|n| n.outputs.contains(&t))
                .filter(|p| same && (by_rows(&graph.nodes[*p]) || product(*p).is_some()))
        })?;
        if let Some((i, p, _)) = product(before) {
            break (i, p);
        }
        between.insert(0, before);
    };
    let result = loop {
        let t = graph.nodes[*between.last()?].outputs[0];
        let next = readers(t).next().filter(|_| inner(t) && last_dim(t) == Some(columns))?;
        if let Some((i, p, true)) =
            product(next).filter(|_| graph.nodes[next].inputs[0] == Some(t) && graph.nodes[next].inputs[1] != Some(t))
        {
            break (i, p);
        }
        let node = &graph.nodes[next];
        if !by_rows(node) || node.op == OpKind::Softmax || graph.ty(node.outputs[0]).elements() != graph.ty(t).elements() {
            return None;
        }
        between.push(next);
    };
    let rows = |p: &BatchMatMul| p.m * p.batch.iter().product::<usize>();
    let whole = between.iter().flat_map(|i| graph.nodes[*i].reads().chain(graph.nodes[*i].outputs.iter().copied())).all(closed);
    (whole && scores.1.n == columns && rows(&scores.1) == rows(&result.1) && scores.1.m == result.1.m).then_some(Chain {
        scores,
        between,
        result,
    })
}

/// The bands that a chain is cut into; one or none where it stays whole.
fn bands(patch: &Patch<'_>, chain: &Chain) -> Vec<Band> {
    let p = &chain.scores.1;
    let Some(scores) = patch.node(NodeId(chain.scores.0 as u32)).map(|n| patch.ty(n.outputs[0])) else { return vec![] };
    let matrices: usize = p.batch.iter().product();
    let bytes = scores.bytes();
    if bytes < WORTH_BYTES || p.m == 0 {
        return vec![];
    }
    let row = bytes / (matrices * p.m);
    let band_bytes = BAND_BYTES.max(bytes / MOST_BANDS);
    // Whole matrices, as many as fit.
    let together = (1..=matrices).rev().filter(|g| matrices.is_multiple_of(*g)).find(|g| g * p.m * row <= band_bytes);
    // Bands of so many rows, from the start of each group of matrices on.
    let cut = |group: usize, rows: usize| -> Vec<Band> {
        let all = group * p.m;
        let starts = (0..matrices / group).flat_map(|g| (0..all).step_by(rows).map(move |r| g * all + r..g * all + (r + rows).min(all)));
        starts.map(|rows| Band { rows, matrices: group }).collect()
    };
    let mut choices: Vec<Vec<Band>> = together.iter().map(|g| cut(*g, g * p.m)).collect();
    // Rows of a matrix share its packed sides, which other types than floats prepare for each product.
    let rows = if p.arithmetic == Arithmetic::Float && scores.dtype == DType::Float32 {
        (band_bytes / row).clamp(LEAST_ROWS.min(p.m), p.m)
    } else {
        p.m
    };
    let even = (rows.div_ceil(2)..=rows).rev().find(|r| p.m.is_multiple_of(*r)).unwrap_or_else(|| p.m.div_ceil(p.m.div_ceil(rows)));
    choices.push(cut(1, even));
    choices.into_iter().find(|bands| bands.iter().all(|b| fits(patch, chain, b))).unwrap_or_default()
}

/// Whether every operand has rows for a band.
fn fits(patch: &Patch<'_>, chain: &Chain, band: &Band) -> bool {
    let sides = [&chain.scores.1, &chain.result.1].into_iter().all(|p| right(p, band).is_some());
    let operands = chain.between.iter().all(|i| {
        patch
            .node(NodeId(*i as u32))
            .is_some_and(|n| n.op != OpKind::Pointwise || n.reads().all(|t| share(patch, n, t, chain.scores.1.m, band).is_some()))
    });
    sides && operands && left(&chain.scores.1, band).is_some()
}

/// The first row that a band reads of the left side of a product.
fn left(p: &BatchMatMul, band: &Band) -> Option<usize> {
    let matrices = &p.sources(0)[band.rows.start / p.m..][..band.matrices];
    let in_order = matrices.windows(2).all(|w| w[1] == w[0] + 1);
    in_order.then(|| matrices[0] * p.m + band.rows.start % p.m)
}

/// The first matrix that a band reads of the right side of a product, and how many.
fn right(p: &BatchMatMul, band: &Band) -> Option<(usize, usize)> {
    let matrices = &p.sources(1)[band.rows.start / p.m..][..band.matrices];
    if matrices.windows(2).all(|w| w[1] == w[0]) {
        return Some((matrices[0], 1));
    }
    matrices.windows(2).all(|w| w[1] == w[0] + 1).then_some((matrices[0], band.matrices))
}

/// The rows that a band reads of an operand of a pointwise node, where matrices have `m` rows.
fn share(patch: &Patch<'_>, node: &Node, t: TensorId, m: usize, band: &Band) -> Option<Share> {
    let lead = |shape: &[usize]| shape.split_last().map_or(vec![], |(_, lead)| lead.to_vec());
    let (from, to) = (lead(&patch.ty(t).shape), lead(&patch.ty(node.outputs[0]).shape));
    let count = |s: &[usize]| s.iter().product::<usize>();
    let ids: Vec<u32> = (0..count(&from) as u32).collect();
    let mut rows = vec![0u32; count(&to)];
    Walk::broadcast(&from, &to).gather(bytemuck::cast_slice(&ids), bytemuck::cast_slice_mut(&mut rows), 4);
    let rows = rows.get(band.rows.clone())?;
    let first = *rows.first()?;
    let counts = |part: &[u32]| part.windows(2).all(|w| w[1] == w[0] + 1);
    if rows.iter().all(|r| *r == first) {
        Some(Share::One(first as usize))
    } else if counts(rows) {
        Some(Share::All(first as usize))
    } else if band.matrices > 1 && counts(&rows[..m]) && rows.chunks(m).all(|part| part[0] == first && counts(part)) {
        Some(Share::Matrix(first as usize))
    } else {
        None
    }
}

/// Writes bands into a graph.
struct Cutter<'p, 'g> {
    patch: &'p mut Patch<'g>,
    place: NodeId,
    /// Parts of operands so far, which several bands may read: of which tensor, from which row on, in which shape.
    parts: HashMap<(TensorId, usize, Vec<usize>), TensorId>,
}

impl Cutter<'_, '_> {
    /// Puts the bands in the place of a chain.
    fn cut(&mut self, chain: &Chain, bands: &[Band]) {
        let id = |i: usize| NodeId(i as u32);
        let (Some(scores), Some(result)) = (self.patch.remove(id(chain.scores.0)), self.patch.remove(id(chain.result.0))) else { return };
        let between: Vec<Node> = chain.between.iter().filter_map(|i| self.patch.remove(id(*i))).collect();
        let m = chain.scores.1.m;
        let mut parts = vec![];
        for band in bands {
            let shape = |columns: usize| match band.matrices {
                1 => vec![band.rows.len(), columns],
                g => vec![g, m, columns],
            };
            let mut x = match (scores.inputs[0], left(&chain.scores.1, band)) {
                (Some(q), Some(row)) => self.part(q, row, shape(chain.scores.1.k)),
                _ => return,
            };
            x = self.product(&scores, &chain.scores.1, x, band, shape(chain.scores.1.n));
            let mut whole = scores.outputs[0];
            for node in &between {
                let given = std::mem::replace(&mut whole, node.outputs[0]);
                if node.op == OpKind::Reshape {
                    continue;
                }
                let mut new = node.clone();
                for t in new.inputs.iter_mut().flatten() {
                    *t = if *t == given { x } else { self.operand(node, *t, m, band) };
                }
                x = self.add(new, shape(chain.scores.1.n));
            }
            parts.push(Some(self.product(&result, &chain.result.1, x, band, shape(chain.result.1.n))));
        }
        let out = result.outputs[0];
        let rows = bands.iter().map(|b| b.rows.len()).sum::<usize>();
        let lead = if bands[0].matrices > 1 { vec![rows / m, m] } else { vec![rows] };
        let ty = TensorType { shape: lead.into_iter().chain([chain.result.1.n]).collect(), ..self.patch.ty(out).clone() };
        let name = self.patch.tensor(out).name.clone();
        let all = self.patch.add_tensor(name, ty);
        let mut concatenation = Node { location: result.location, ..Node::new(OpKind::Concatenation, [], vec![all]) };
        concatenation.inputs = parts;
        concatenation.attrs.set("axis", AttrValue::Int(0));
        self.patch.insert_before(self.place, concatenation);
        let shape = self.shape(&self.patch.ty(out).shape.clone());
        self.patch.replace(self.place, Node { location: result.location, ..Node::new(OpKind::Reshape, [all, shape], vec![out]) });
    }

    /// A product of a band.
    fn product(&mut self, node: &Node, p: &BatchMatMul, x: TensorId, band: &Band, shape: Vec<usize>) -> TensorId {
        let mut new = node.clone();
        new.inputs[0] = Some(x);
        if let (Some(y), Some((matrix, count))) = (node.inputs[1], right(p, band)) {
            let [r, c] = if p.adjoint[1] { [p.n, p.k] } else { [p.k, p.n] };
            let lead = if band.matrices > 1 { vec![count] } else { vec![] };
            new.inputs[1] = Some(self.part(y, matrix * r, lead.into_iter().chain([r, c]).collect()));
        }
        self.add(new, shape)
    }

    /// What a band reads of an operand of a pointwise node.
    fn operand(&mut self, node: &Node, t: TensorId, m: usize, band: &Band) -> TensorId {
        let columns = self.patch.ty(t).shape.last().copied().unwrap_or(1);
        let (first, rows) = match share(self.patch, node, t, m, band) {
            Some(Share::All(first)) if band.matrices > 1 => (first, vec![band.matrices, m]),
            Some(Share::All(first)) => (first, vec![band.rows.len()]),
            Some(Share::Matrix(first)) => (first, vec![1, m]),
            Some(Share::One(first)) => (first, vec![1]),
            None => return t,
        };
        self.part(t, first, rows.into_iter().chain([columns]).collect())
    }

    /// Adds a node in front of the chain's place, with a result of another shape than it had.
    fn add(&mut self, mut node: Node, shape: Vec<usize>) -> TensorId {
        let out = node.outputs[0];
        let ty = TensorType { shape, ..self.patch.ty(out).clone() };
        let name = self.patch.tensor(out).name.clone();
        let y = self.patch.add_tensor(name, ty);
        node.outputs = vec![y];
        self.patch.insert_before(self.place, node);
        y
    }

    /// A tensor as rows of its last dimension: those from `first` on that fill `shape`.
    fn part(&mut self, t: TensorId, first: usize, shape: Vec<usize>) -> TensorId {
        let key = (t, first, shape.clone());
        if let Some(part) = self.parts.get(&key) {
            return *part;
        }
        let whole = self.patch.ty(t).clone();
        let columns = shape.last().copied().unwrap_or(1);
        let rows = shape.iter().product::<usize>().checked_div(columns).unwrap_or(0);
        let ty = |shape: Vec<usize>| TensorType { shape, ..whole.clone() };
        let name = self.patch.tensor(t).name.clone();
        let part = if let Some(data) = self.patch.tensor(t).data.clone() {
            let row = columns * whole.dtype.bits() / 8;
            let data = data.slice(first * row..(first + rows) * row);
            self.patch.add_const(name, ty(shape), data)
        } else {
            let all = whole.elements().checked_div(columns).unwrap_or(0);
            let mut x = t;
            if rows != all {
                x = self.part(t, 0, vec![all, columns]);
                let ints = |v: [usize; 2]| v.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect::<Vec<u8>>();
                let begin = self.patch.add_const("begin", TensorType::new(DType::Int32, [2]), ints([first, 0]));
                let size = self.patch.add_const("size", TensorType::new(DType::Int32, [2]), ints([rows, columns]));
                let y = self.patch.add_tensor(name, ty(vec![rows, columns]));
                self.patch.insert_before(self.place, Node::new(OpKind::Slice, [x, begin, size], [y]));
                x = y;
            }
            self.reshape(x, &whole, shape)
        };
        self.parts.insert(key, part);
        part
    }

    /// A tensor in another shape; itself where it has that.
    fn reshape(&mut self, x: TensorId, like: &TensorType, shape: Vec<usize>) -> TensorId {
        if self.patch.ty(x).shape == shape {
            return x;
        }
        let operand = self.shape(&shape);
        let name = self.patch.tensor(x).name.clone();
        let y = self.patch.add_tensor(name, TensorType { shape, ..like.clone() });
        self.patch.insert_before(self.place, Node::new(OpKind::Reshape, [x, operand], [y]));
        y
    }

    /// A shape as the operand of RESHAPE.
    fn shape(&mut self, shape: &[usize]) -> TensorId {
        let data: Vec<u8> = shape.iter().flat_map(|d| (*d as i32).to_le_bytes()).collect();
        self.patch.add_const("shape", TensorType::new(DType::Int32, [shape.len()]), data)
    }
}
