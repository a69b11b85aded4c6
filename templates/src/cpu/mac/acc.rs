//! Accumulators of a register tile: how they start, how rows of them are reached, and how they end as rows of columns.
//!
//! Most schemes hold `rows × nv` vectors, each of neighbouring columns of a row. Matrix products hold pairs of rows instead: for each pair and each
//! vector of columns two vectors of 2×2 accumulators, the first with the vector's first two columns, row by row. An odd last row has a partner
//! that counts for nothing. Halves are held as they are multiplied, two vectors of columns in one, and become floats at the end.

use super::{Kind, Scheme};
use std::ops::Range;
use tflc_kir::{Builder, Elem, Type, Value};

/// Accumulators of a register tile: `sets` independent copies, and a sum of A per row (or pair of rows) where weights have a zero point.
#[derive(Clone, Debug)]
pub(crate) struct Acc {
    pub(crate) rows: usize,
    pub(crate) nv: usize,
    pub(super) sets: usize,
    pub(super) vals: Vec<Value>,
    pub(super) row_sums: Vec<Value>,
    pub(super) scratch: Option<Value>,
    layout: Layout,
}

/// How accumulators are held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// A vector for each vector of columns of each row.
    Rows,
    /// Pairs of rows, for matrix products.
    Pairs,
    /// Halves: a vector for two vectors of columns of a row.
    Halves,
}

impl Scheme {
    /// Zero accumulators for a tile; more than one set where a single one would wait for the latency of each multiply-add.
    pub(crate) fn begin(&self, b: &mut Builder, rows: usize, nv: usize, k: usize, scratch: Option<Value>) -> Acc {
        let chains = if self.is_float() { 8 } else { 10 };
        let layout = match self.kind {
            Kind::Mmla { .. } => Layout::Pairs,
            Kind::HalfLanes => Layout::Halves,
            _ => Layout::Rows,
        };
        let held = if layout == Layout::Pairs { rows.next_multiple_of(2) } else { rows };
        let mut sets = 1;
        while sets * held * self.held(nv) < chains && self.fits(held * sets * 2, nv) && sets * 2 <= self.steps(k) {
            sets *= 2;
        }
        let ty = match layout {
            Layout::Halves => Type::vector(Elem::I16, self.lanes * 2),
            _ => Type::vector(if self.is_float() { Elem::F32 } else { Elem::I32 }, self.lanes),
        };
        let mut acc = Acc { rows, nv, sets, vals: vec![], row_sums: vec![], scratch, layout };
        let zero = |b: &mut Builder| b.inst(tflc_kir::Op::Const(0), ty, &[]);
        acc.vals = (0..sets * acc.set_size()).map(|_| zero(b)).collect();
        acc.row_sums = (0..if self.sums_rows() { acc.units(&(0..rows)).len() } else { 0 }).map(|_| zero(b)).collect();
        acc
    }

    /// Sums the sets, applies the weights' zero point, and gives `rows × nv` values.
    pub(crate) fn end(&self, b: &mut Builder, mut acc: Acc) -> Vec<Value> {
        if acc.layout == Layout::Halves {
            acc.widen(b);
        }
        let size = acc.set_size();
        while acc.sets > 1 {
            acc.sets /= 2;
            for i in 0..acc.sets * size {
                acc.vals[i] = b.add(acc.vals[i], acc.vals[i + acc.sets * size]);
            }
            acc.vals.truncate(acc.sets * size);
        }
        let (mut vals, mut sums) = (acc.vals, acc.row_sums);
        if acc.layout == Layout::Pairs {
            vals = vals.chunks(2 * acc.nv).flat_map(|pair| unpaired(b, pair)).collect();
            sums = sums.iter().flat_map(|&s| unpaired(b, &[s, s])).collect();
        }
        vals.truncate(acc.rows * acc.nv);
        sums.truncate(acc.rows);
        for (r, &sum) in sums.iter().enumerate() {
            let zero_point = b.int(b.ty(sum), i64::from(self.weights.signed_zero_point()));
            let term = b.mul(sum, zero_point);
            for v in &mut vals[r * acc.nv..][..acc.nv] {
                *v = b.sub(*v, term);
            }
        }
        vals
    }
}

impl Acc {
    /// Adds `terms[v]` to row `r`.
    pub(crate) fn add_to_row(&mut self, b: &mut Builder, r: usize, terms: &[Value]) {
        let at = self.slot(0, r, 0);
        let terms = if self.layout == Layout::Rows {
            terms.to_vec()
        } else {
            let zero = b.int(b.ty(terms[0]), 0);
            terms.iter().flat_map(|&t| if r.is_multiple_of(2) { halves(b, t, zero) } else { halves(b, zero, t) }).collect()
        };
        for (v, t) in self.vals[at..].iter_mut().zip(terms) {
            *v = b.add(*v, t);
        }
    }

    /// Starts every row from `values[v]` instead of zero.
    pub(crate) fn fill(&mut self, b: &mut Builder, values: &[Value]) {
        let values: Vec<Value> = match self.layout {
            Layout::Rows => values.to_vec(),
            Layout::Pairs => values.iter().flat_map(|&v| halves(b, v, v)).collect(),
            Layout::Halves => values.chunks(2).map(|two| b.pack_f16(two[0], two[two.len() - 1])).collect(),
        };
        let size = self.set_size();
        self.vals[..size].chunks_mut(values.len()).for_each(|row| row.copy_from_slice(&values));
    }

    /// Starts each vector from a value, as [`Scheme::end`] gives them, where they are held so.
    pub(crate) fn start_from(&mut self, values: &[Value]) {
        debug_assert_eq!(self.layout, Layout::Rows);
        self.vals[..values.len()].copy_from_slice(values);
    }

    /// Accumulators of these rows, all sets, then their row sums.
    pub(crate) fn select(&self, rows: &Range<usize>) -> Vec<Value> {
        let units = self.units(rows);
        let mut out = vec![];
        for set in 0..self.sets {
            out.extend_from_slice(&self.vals[self.slot(set, rows.start, 0)..][..units.len() * self.width()]);
        }
        if !self.row_sums.is_empty() {
            out.extend_from_slice(&self.row_sums[units]);
        }
        out
    }

    /// Replaces what [`Acc::select`] gave; returns how many values that were.
    pub(crate) fn replace(&mut self, rows: &Range<usize>, values: &[Value]) -> usize {
        let units = self.units(rows);
        let n = units.len() * self.width();
        for set in 0..self.sets {
            let at = self.slot(set, rows.start, 0);
            self.vals[at..at + n].copy_from_slice(&values[set * n..][..n]);
        }
        let mut used = self.sets * n;
        if !self.row_sums.is_empty() {
            let sums = &mut self.row_sums[units];
            sums.copy_from_slice(&values[used..used + sums.len()]);
            used += sums.len();
        }
        used
    }

    /// Rows that are accumulated together: single ones, or the pairs that these rows belong to.
    pub(super) fn units(&self, rows: &Range<usize>) -> Range<usize> {
        if self.layout == Layout::Pairs { rows.start / 2..rows.end.div_ceil(2) } else { rows.clone() }
    }

    /// Position of vector `v` of the unit of row `r` in a set.
    pub(super) fn slot(&self, set: usize, r: usize, v: usize) -> usize {
        set * self.set_size() + if self.layout == Layout::Pairs { r / 2 } else { r } * self.width() + v
    }

    /// Vectors of a unit.
    fn width(&self) -> usize {
        match self.layout {
            Layout::Rows => self.nv,
            Layout::Pairs => 2 * self.nv,
            Layout::Halves => self.nv.div_ceil(2),
        }
    }

    /// Halves as floats, a vector for each vector of columns.
    fn widen(&mut self, b: &mut Builder) {
        let held = self.width();
        let rows = self.vals.chunks(held).map(|row| row.iter().flat_map(|&v| b.widen_f16(v)).take(self.nv).collect::<Vec<_>>());
        self.vals = rows.collect::<Vec<_>>().concat();
        self.layout = Layout::Rows;
    }

    fn set_size(&self) -> usize {
        self.units(&(0..self.rows)).len() * self.width()
    }
}

/// The first halves of two vectors of four columns, then the second halves.
fn halves(b: &mut Builder, x: Value, y: Value) -> [Value; 2] {
    let ty = b.ty(x);
    let [x, y] = [x, y].map(|v| b.bitcast(Type::vector(Elem::I64, 2), v));
    [b.unpack_lo(x, y), b.unpack_hi(x, y)].map(|v| b.bitcast(ty, v))
}

/// The first row of a pair, then the second.
fn unpaired(b: &mut Builder, pair: &[Value]) -> Vec<Value> {
    let both: Vec<[Value; 2]> = pair.chunks(2).map(|two| halves(b, two[0], two[1])).collect();
    [0, 1].iter().flat_map(|&row| both.iter().map(move |rows| rows[row])).collect()
}
