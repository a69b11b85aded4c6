//! How far the values of a loop grow: the number of its iterations, where its condition bounds that by a counter, and what each adds.

use crate::ir::{Graph, GraphId, Model, Node, OpKind, TensorId};
use crate::ops::open::elements::{Element, Values};
use crate::ops::value::Value;
use std::collections::HashMap;

/// No more iterations than this say how long a value becomes: converters write a counter up to the greatest integer where nothing bounds a loop.
const MOST_TRIPS: u64 = 1 << 16;

/// A loop and where it stands.
pub(super) struct Loop<'a> {
    pub(super) model: &'a Model,
    /// The graph that holds it.
    pub(super) id: GraphId,
    pub(super) node: &'a Node,
    pub(super) cond: GraphId,
    pub(super) body: GraphId,
    /// Values that are known in that graph beside constants.
    pub(super) known: &'a HashMap<TensorId, Value>,
}

/// What is known of a loop so far. Types are inferred once for each iteration, until it is clear what an iteration adds.
#[derive(Default)]
pub(super) struct Growth {
    trips: Option<u64>,
    /// The most that an axis of a value may have when an iteration begins.
    limits: HashMap<(usize, usize), usize>,
    seen: HashMap<(usize, usize), Seen>,
}

/// An axis that grows.
struct Seen {
    /// Lengths before the first iteration and after each one.
    lengths: Vec<usize>,
    /// What each iteration adds at most, where that is clear.
    step: Option<usize>,
}

impl Growth {
    /// Looks at the condition, which has just been given the types of the values.
    pub(super) fn look(&mut self, at: &Loop<'_>) {
        let cond = &at.model.graphs[at.cond.index()];
        let Some(&truth) = cond.outputs.first() else { return };
        let mut found = vec![];
        conjuncts(cond, truth, 8, &mut found);
        for node in found {
            let trips = at.trips(node);
            self.trips = self.trips.into_iter().chain(trips).min();
            self.limits.extend(at.limit(node));
        }
    }

    /// The length to which an axis grows that an iteration has made longer.
    pub(super) fn bound(&mut self, place: (usize, usize), before: usize, after: usize) -> Option<usize> {
        let added = after - before;
        let seen = self.seen.entry(place).or_insert_with(|| Seen { lengths: vec![before], step: None });
        let first = seen.lengths[0];
        if let Some(limit) = self.limits.get(&place) {
            // One iteration more than those that begin below the limit.
            let step = seen.step.map_or(added, |s| s.max(added));
            seen.step = Some(step);
            return Some(limit.checked_add(step)?.max(first));
        }
        if self.trips.is_none() && seen.lengths.len() == 1 {
            // Once the axis is open a condition on its length shows.
            seen.lengths.push(after);
            return Some(after);
        }
        let trips = usize::try_from(self.trips?).ok()?;
        let end = |step: usize| first.checked_add(trips.checked_mul(step)?);
        if let Some(step) = seen.step {
            // What it is made of has become longer too.
            seen.step = Some(step.max(added));
            return end(step.max(added));
        }
        if seen.lengths.len() > trips {
            return Some(before);
        }
        seen.lengths.push(after);
        if let [.., a, b, c] = seen.lengths[..]
            && b - a == c - b
        {
            seen.step = Some(added);
            return end(added);
        }
        Some(after)
    }
}

/// The tensor that one of another shape or integer type is made of.
fn origin(graph: &Graph, t: TensorId) -> TensorId {
    match graph.producer(t) {
        Some(n) if matches!(n.op, OpKind::Reshape | OpKind::Squeeze | OpKind::ExpandDims | OpKind::Cast) => {
            n.inputs.first().copied().flatten().map_or(t, |x| origin(graph, x))
        }
        _ => t,
    }
}

/// Comparisons that must all hold for `t` to.
fn conjuncts<'a>(graph: &'a Graph, t: TensorId, depth: usize, out: &mut Vec<&'a Node>) {
    let Some(node) = graph.producer(origin(graph, t)) else { return };
    match node.op {
        OpKind::LogicalAnd if depth > 0 => node.inputs.iter().flatten().for_each(|t| conjuncts(graph, *t, depth - 1, out)),
        OpKind::Less | OpKind::LessEqual | OpKind::Greater | OpKind::GreaterEqual => out.push(node),
        _ => {}
    }
}

impl Loop<'_> {
    /// The one element of a tensor of a graph, or of the operand that it is in all iterations.
    fn element(&self, id: GraphId, t: TensorId) -> Element {
        let graph = &self.model.graphs[id.index()];
        let none = HashMap::new();
        let first = |id: GraphId, t: TensorId, known: &HashMap<TensorId, Value>| {
            let all = Values { model: self.model, id, known }.elements(t);
            all.and_then(|v| <[Element; 1]>::try_from(v).ok()).map_or(Element::Unknown, |[e]| e)
        };
        let body = &self.model.graphs[self.body.index()];
        match graph.inputs.iter().position(|i| *i == origin(graph, t)) {
            None => first(id, t, &none),
            Some(k) if body.inputs.get(k) == body.outputs.get(k) => {
                self.node.inputs.get(k).copied().flatten().map_or(Element::Unknown, |t| first(self.id, t, self.known))
            }
            Some(_) => Element::Unknown,
        }
    }

    /// The sides of a comparison as "smaller, greater", and how many more values `<=` lets through than `<`.
    fn sides(node: &Node) -> Option<(TensorId, TensorId, i64)> {
        let [Some(a), Some(b)] = node.inputs[..] else { return None };
        Some(match node.op {
            OpKind::Less => (a, b, 0),
            OpKind::LessEqual => (a, b, 1),
            OpKind::Greater => (b, a, 0),
            _ => (b, a, 1),
        })
    }

    /// How many iterations a comparison of a counter allows.
    fn trips(&self, node: &Node) -> Option<u64> {
        let cond = &self.model.graphs[self.cond.index()];
        let (small, great, more) = Self::sides(node)?;
        let carried = |t: TensorId| cond.inputs.iter().position(|i| *i == origin(cond, t));
        let way = |k: usize| {
            let start = self.node.inputs.get(k).copied().flatten()?;
            let start = Values { model: self.model, id: self.id, known: self.known }.elements(start)?.first()?.interval()?;
            Some((start, self.step(k)?))
        };
        let counted = |distance: Option<i64>, step: i64| {
            let trips = distance?.checked_add(more)?.max(0).unsigned_abs().div_ceil(step.unsigned_abs());
            (trips <= MOST_TRIPS).then_some(trips)
        };
        let up = carried(small).and_then(way).filter(|(_, step)| *step > 0).and_then(|((low, _), step)| {
            let (_, limit) = self.element(self.cond, great).interval()?;
            counted(limit.checked_sub(low), step)
        });
        up.or_else(|| {
            let ((_, high), step) = carried(great).and_then(way).filter(|(_, step)| *step < 0)?;
            let (limit, _) = self.element(self.cond, small).interval()?;
            counted(high.checked_sub(limit), step)
        })
    }

    /// What an iteration adds to the counter `k`.
    fn step(&self, k: usize) -> Option<i64> {
        let body = &self.model.graphs[self.body.index()];
        let (input, output) = (*body.inputs.get(k)?, *body.outputs.get(k)?);
        let node = body.producer(origin(body, output))?;
        let [Some(a), Some(b)] = node.inputs[..] else { return None };
        let known = |t: TensorId| if let Element::Known(v) = self.element(self.body, t) { Some(v) } else { None };
        match node.op {
            OpKind::Add if origin(body, a) == input => known(b),
            OpKind::Add if origin(body, b) == input => known(a),
            OpKind::Sub if origin(body, a) == input => known(b)?.checked_neg(),
            _ => None,
        }
    }

    /// The axis of a value whose length a comparison limits, and the most that it is when an iteration begins.
    fn limit(&self, node: &Node) -> Option<((usize, usize), usize)> {
        let cond = &self.model.graphs[self.cond.index()];
        let (small, great, more) = Self::sides(node)?;
        let none = HashMap::new();
        let length = Values { model: self.model, id: self.cond, known: &none }.elements(small)?;
        let [Element::Extent(extent, _)] = length[..] else { return None };
        let most = self.element(self.cond, great).interval()?.1.checked_add(more - 1)?;
        let most = usize::try_from(most).ok()?;
        cond.inputs.iter().enumerate().find_map(|(k, t)| {
            let open = cond.open_axes(*t).iter().find(|o| o.extent == extent)?;
            Some(((k, open.axis as usize), most))
        })
    }
}
