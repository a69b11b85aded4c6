//! Lengths computed at run time, and copies whose sizes are such lengths.
//!
//! Formulas are collected, checked and stored by one kernel in front of what uses them. Copies read their counts, places and steps from a table that it fills.

use crate::error::CompileError;
use crate::ir::TensorId;
use crate::lower::context::{Cx, Operand};
use tflc_templates::cpu::lengths::{Formula, LengthsSpec};
use tflc_templates::cpu::moves::MoveSpec;

/// A formula of a [`Lengths`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::lower) struct Length(usize);

/// Formulas in the making.
#[derive(Clone, Debug, Default)]
pub(in crate::lower) struct Lengths {
    spec: LengthsSpec,
    arrays: Vec<Operand>,
}

impl Lengths {
    fn push(&mut self, formula: Formula) -> Length {
        let list = &mut self.spec.formulas;
        Length(list.iter().position(|f| *f == formula).unwrap_or_else(|| {
            list.push(formula);
            list.len() - 1
        }))
    }

    fn array(&mut self, operand: Operand) -> usize {
        self.arrays.iter().position(|a| *a == operand).unwrap_or_else(|| {
            self.arrays.push(operand);
            self.arrays.len() - 1
        })
    }

    /// The number, where the formula is one.
    pub(super) fn known(&self, l: Length) -> Option<i64> {
        if let Formula::Number(v) = self.spec.formulas[l.0] { Some(v) } else { None }
    }

    pub(super) fn number(&mut self, v: usize) -> Length {
        self.signed(v as i64)
    }

    pub(super) fn signed(&mut self, v: i64) -> Length {
        self.push(Formula::Number(v))
    }

    /// Element `at` of an array of 32- or 64-bit integers.
    pub(super) fn read(&mut self, array: Operand, at: usize, wide: bool) -> Length {
        let from = self.array(array);
        self.push(Formula::Read { from, at, wide })
    }

    /// Element `at` of a tensor of indices: its value where it is constant.
    pub(super) fn element(&mut self, cx: &mut Cx<'_, '_>, t: TensorId, at: usize) -> Result<Length, CompileError> {
        if cx.constant(t).is_some() {
            let v = crate::lower::constants::ints(cx, t, "lengths")?.get(at).copied().unwrap_or(0);
            return Ok(self.signed(v));
        }
        let wide = crate::lower::gather::wide_index(cx, t)?;
        let from = crate::lower::gather::index_operand(cx, t)?;
        Ok(self.read(from, at, wide))
    }

    /// The length of an axis of a tensor.
    pub(super) fn axis(&mut self, cx: &mut Cx<'_, '_>, t: TensorId, axis: usize) -> Result<Length, CompileError> {
        match super::extent(cx, t, axis)? {
            Some(at) => Ok(self.read(at, 0, true)),
            None => Ok(self.number(cx.ty(t).shape[axis])),
        }
    }

    /// The lengths of all axes of a tensor.
    pub(super) fn axes(&mut self, cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Vec<Length>, CompileError> {
        (0..cx.ty(t).shape.len()).map(|d| self.axis(cx, t, d)).collect()
    }

    pub(super) fn add(&mut self, x: Length, y: Length) -> Length {
        match (self.known(x), self.known(y)) {
            (Some(x), Some(y)) => self.signed(x.saturating_add(y)),
            (Some(0), _) => y,
            (_, Some(0)) => x,
            _ => self.push(Formula::Add(x.0, y.0)),
        }
    }

    pub(super) fn sub(&mut self, x: Length, y: Length) -> Length {
        match (self.known(x), self.known(y)) {
            (Some(x), Some(y)) => self.signed(x.saturating_sub(y)),
            (_, Some(0)) => x,
            _ => self.push(Formula::Sub(x.0, y.0)),
        }
    }

    pub(super) fn mul(&mut self, x: Length, y: Length) -> Length {
        match (self.known(x), self.known(y)) {
            (Some(x), Some(y)) => self.signed(x.saturating_mul(y)),
            (Some(1), _) => y,
            (_, Some(1)) => x,
            _ => self.push(Formula::Mul(x.0, y.0)),
        }
    }

    /// Quotient towards zero; a divisor below 1 counts as 1.
    pub(super) fn div(&mut self, x: Length, y: Length) -> Length {
        if self.known(y) == Some(1) { x } else { self.push(Formula::Div(x.0, y.0)) }
    }

    pub(super) fn min(&mut self, x: Length, y: Length) -> Length {
        self.push(Formula::Min(x.0, y.0))
    }

    pub(super) fn max(&mut self, x: Length, y: Length) -> Length {
        self.push(Formula::Max(x.0, y.0))
    }

    pub(super) fn less(&mut self, x: Length, y: Length) -> Length {
        self.push(Formula::Less(x.0, y.0))
    }

    pub(super) fn choose(&mut self, condition: Length, x: Length, y: Length) -> Length {
        self.push(Formula::Choose(condition.0, x.0, y.0))
    }

    pub(super) fn equal(&mut self, x: Length, y: Length) -> Length {
        self.push(Formula::Equal(x.0, y.0))
    }

    pub(super) fn product(&mut self, all: &[Length]) -> Length {
        let one = self.number(1);
        all.iter().fold(one, |x, y| self.mul(x, *y))
    }

    /// The run ends with a status where this is 0.
    pub(super) fn check(&mut self, condition: Length) {
        self.spec.checks.push(condition.0);
    }

    /// Checks `0 <= v <= most`.
    pub(super) fn check_size(&mut self, v: Length, most: Length) {
        let (zero, one) = (self.signed(-1), self.number(1));
        let (above, limit) = (self.less(zero, v), self.add(most, one));
        let below = self.less(v, limit);
        self.check(above);
        self.check(below);
    }

    /// Stores a length as 64-bit integer `at` of an array.
    pub(super) fn store(&mut self, v: Length, to: Operand, at: usize) {
        let array = self.array(to);
        self.spec.stores.push((v.0, array, at));
    }

    /// Appends the kernel, where it does anything.
    pub(super) fn call(mut self, cx: &mut Cx<'_, '_>) {
        self.spec.arrays = self.arrays.len();
        let spec = self.spec;
        if !spec.stores.is_empty() || !spec.checks.is_empty() {
            cx.call(format!("{spec:?}"), move || spec.build(), self.arrays, 1, 1);
        }
    }
}

/// A length times a number.
pub(super) type Term = (Length, usize);

/// A dimension of a copy: how many steps, and how far each goes, in elements, where it reads and where it writes.
pub(super) struct Walk {
    pub(super) count: Length,
    pub(super) read: Term,
    pub(super) write: Term,
}

/// Appends a copy of elements of `bytes` bytes from places to places; each starts at a sum. Lengths are evaluated in front of it, with all their checks and stores.
pub(super) fn walk(cx: &mut Cx<'_, '_>, mut l: Lengths, mut dims: Vec<Walk>, starts: [Vec<Term>; 2], ends: [Operand; 2], bytes: usize) {
    let one = l.number(1);
    // Whole trailing dimensions are one block.
    let mut block = 1;
    while let Some(last) = dims.last() {
        let dense = |t: Term| t.0 == one && t.1 == block;
        let Some(n) = l.known(last.count).and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0) else { break };
        let fits = |t: &Term| t.1.is_multiple_of(block * n);
        let rest = &dims[..dims.len() - 1];
        if !dense(last.read)
            || !dense(last.write)
            || !rest.iter().all(|w| fits(&w.read) && fits(&w.write))
            || !starts.iter().flatten().all(fits)
        {
            break;
        }
        block *= n;
        dims.pop();
    }
    let spec = MoveSpec { rank: dims.len(), block_bytes: block * bytes };
    let table = cx.workspace(spec.table() * 8);
    let term = |l: &mut Lengths, (v, k): Term| {
        let k = l.number(k / block);
        l.mul(v, k)
    };
    let mut entries: Vec<Length> = dims.iter().map(|w| w.count).collect();
    for (start, side) in starts.into_iter().zip([0, 1]) {
        let mut sum = l.number(0);
        for t in start {
            let v = term(&mut l, t);
            sum = l.add(sum, v);
        }
        entries.push(sum);
        for w in &dims {
            entries.push(term(&mut l, if side == 0 { w.read } else { w.write }));
        }
    }
    for (at, v) in entries.into_iter().enumerate() {
        l.store(v, table, at);
    }
    l.call(cx);
    let caps = cx.caps().clone();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), vec![table, ends[0], ends[1]], 1, 1);
}
