//! Control flow in random kernels, and the choice of what comes next.

use super::{Entry, Generator, Group, Pointer, TAME};
use crate::op::*;
use crate::types::Type;
use crate::{Builder, Value};

/// A value carried through a loop.
#[derive(Clone, Copy)]
enum Carried {
    /// Any value; floats are tame.
    Plain(Type),
    /// An `i64` that grows by a constant per iteration: its range and the constant.
    Index(i64, i64, i64),
    /// A pointer that moves by a constant number of bytes per iteration.
    Pointer(Pointer, i64),
}

impl Generator<'_> {
    /// Makes `n` things in the current block.
    pub(super) fn steps(&mut self, b: &mut Builder, n: u32) {
        let mut left = n;
        while left > 0 {
            left -= 1;
            let inner = left / 2;
            // What does not work out for lack of a type or of room is skipped.
            let _ = match self.rng.below(100) {
                0..8 if self.depth < 3 && inner > 2 && self.allows(Group::Loops) => {
                    left -= inner;
                    self.for_loop(b, inner)
                }
                8..13 if self.depth < 4 && inner > 2 && self.allows(Group::Branches) => {
                    left -= inner;
                    self.branch(b, inner)
                }
                13..15 if self.depth < 3 && inner > 2 && self.allows(Group::While) => {
                    left -= inner;
                    self.while_loop(b, inner)
                }
                15..23 => self.store(b),
                23..28 => self.load_something(b),
                28..31 => self.step_pointer(b),
                31..34 if self.allows(Group::Gather) => self.gather(b),
                34..36 if self.allows(Group::Table256) => self.table256(b),
                36..38 if self.allows(Group::Prefetch) => self.prefetch(b),
                38..41 if self.allows(Group::Tiles) => self.tiles(b),
                _ => self.arithmetic(b),
            };
        }
    }

    fn load_something(&mut self, b: &mut Builder) -> Option<()> {
        let ty = self.type_where(|_| true)?;
        let e = self.load(b, ty)?;
        self.pool.push(e);
        Some(())
    }

    /// A type that a loop may carry or a branch give.
    fn result_type(&mut self) -> Option<Type> {
        let ty = self.type_where(|_| true)?;
        let mask = ty.is_vector() && self.rng.chance(10) && self.allows(Group::MaskValues);
        Some(if mask || self.rng.chance(3) { ty.mask() } else { ty })
    }

    /// A value of a type that may leave a block.
    fn pick_tame(&mut self, b: &mut Builder, ty: Type) -> Entry {
        let e = self.pick(b, ty);
        self.tame(b, e, TAME)
    }

    fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let (values, pointers) = (self.pool.len(), self.pointers.len());
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        self.pool.truncate(values);
        self.pointers.truncate(pointers);
        result
    }

    fn add_tame(&mut self, v: Value, ty: Type) {
        self.pool.push(Entry { v, ty, mag: TAME, range: None });
    }

    fn for_loop(&mut self, b: &mut Builder, size: u32) -> Option<()> {
        let step = self.rng.within(1, 3);
        let known: Vec<Entry> = self.pool.iter().copied().filter(|e| e.range.is_some_and(|(lo, hi)| lo >= 0 && hi <= 8)).collect();
        let constant = |g: &mut Self, b: &mut Builder, lo, hi| {
            let c = g.rng.within(lo, hi);
            (b.i64(c), (c, c))
        };
        let bound = |g: &mut Self, b: &mut Builder, lo: i64, hi: i64| match g.rng.chance(40) && !known.is_empty() {
            true => {
                let e = g.rng.of(&known);
                e.range.map_or_else(|| constant(g, b, lo, hi), |r| (e.v, r))
            }
            false => constant(g, b, lo, hi),
        };
        let (start, (lo, _)) = bound(self, b, 0, 3);
        let (end, (_, hi)) = bound(self, b, 0, 8);
        let trips = ((hi - lo).max(0) + step - 1) / step;
        if trips * self.trips > 60 {
            return None;
        }
        let mut carried = vec![];
        let mut initial = vec![];
        for _ in 0..self.rng.below(6) {
            match self.rng.below(8) {
                0 => {
                    let (v, max) = self.index(b, 15)?;
                    let by = self.rng.within(0, 4);
                    carried.push(Carried::Index(max, by, trips));
                    initial.push(v);
                }
                1 => {
                    let p = self.rng.of(&self.pointers.clone());
                    let by = self.rng.of(&[-16, 1, 4, 16, 33]);
                    carried.push(Carried::Pointer(p, by));
                    initial.push(p.v);
                }
                _ => {
                    let ty = self.result_type()?;
                    carried.push(Carried::Plain(ty));
                    initial.push(self.pick_tame(b, ty).v);
                }
            }
        }
        self.trips *= trips.max(1);
        let results = b.for_loop(start, end, step, &initial, |b, i, args| {
            self.scoped(|g| {
                g.pool.push(Entry { v: i, ty: Type::I64, mag: 0.0, range: Some((lo, (hi - 1).max(lo))) });
                for (&v, c) in args.iter().zip(&carried) {
                    g.enter(v, *c, trips);
                }
                g.steps(b, size);
                args.iter().zip(&carried).map(|(&v, c)| g.next_carried(b, v, *c)).collect()
            })
        });
        self.trips /= trips.max(1);
        for (&v, c) in results.iter().zip(&carried) {
            self.enter(v, *c, trips);
        }
        Some(())
    }

    /// Records a carried value, with what holds in and after every iteration.
    fn enter(&mut self, v: Value, c: Carried, trips: i64) {
        match c {
            Carried::Plain(ty) => self.add_tame(v, ty),
            Carried::Index(max, by, trips) => {
                self.pool.push(Entry { v, ty: Type::I64, mag: 0.0, range: Some((0, max + by * trips)) });
            }
            Carried::Pointer(p, by) => {
                let moved = by * trips;
                self.pointers.push(Pointer { v, buffer: p.buffer, lo: p.lo + moved.min(0), hi: p.hi + moved.max(0) });
            }
        }
    }

    fn next_carried(&mut self, b: &mut Builder, v: Value, c: Carried) -> Value {
        match c {
            Carried::Plain(ty) => self.pick_tame(b, ty).v,
            Carried::Index(_, by, _) => b.add_const(v, by),
            Carried::Pointer(_, by) => b.ptr_add_const(v, by),
        }
    }

    fn branch(&mut self, b: &mut Builder, size: u32) -> Option<()> {
        let cond = self.pick(b, Type::BOOL);
        let mut types = vec![];
        for _ in 0..self.rng.below(4) {
            types.push(self.result_type()?);
        }
        let has_else = !types.is_empty() || self.rng.chance(50);
        // Both arms are closures that need the generator; they run one after the other.
        let g = std::cell::RefCell::new(&mut *self);
        let arm = |b: &mut Builder, size| {
            g.borrow_mut().scoped(|g| {
                g.steps(b, size);
                types.iter().map(|&t| g.pick_tame(b, t).v).collect::<Vec<Value>>()
            })
        };
        let results = b.if_else(cond.v, |b| arm(b, size / 2 + 1), |b| if has_else { arm(b, size / 2) } else { vec![] });
        for v in results {
            let ty = b.ty(v);
            self.add_tame(v, ty);
        }
        Some(())
    }

    /// Counts from 0 to a small number, which bounds the loop.
    fn while_loop(&mut self, b: &mut Builder, size: u32) -> Option<()> {
        let trips = self.rng.within(0, 4);
        if trips * self.trips > 60 {
            return None;
        }
        let (ty, zero, limit) = (self.result_type()?, b.i64(0), b.i64(trips));
        let initial = self.pick_tame(b, ty);
        self.trips *= trips.max(1);
        let g = std::cell::RefCell::new(&mut *self);
        let results = b.while_loop(
            &[zero, initial.v],
            |b, args| {
                g.borrow_mut().scoped(|g| {
                    g.pool.push(Entry { v: args[0], ty: Type::I64, mag: 0.0, range: Some((0, trips)) });
                    g.add_tame(args[1], ty);
                    g.steps(b, size / 3);
                    let go = b.cmp(CmpOp::Lt, args[0], limit);
                    let (x, extra) = (g.pick_tame(b, ty), g.pick_tame(b, Type::I32));
                    (go, vec![args[0], x.v, extra.v])
                })
            },
            |b, args| {
                g.borrow_mut().scoped(|g| {
                    g.pool.push(Entry { v: args[0], ty: Type::I64, mag: 0.0, range: Some((0, trips)) });
                    g.add_tame(args[1], ty);
                    g.add_tame(args[2], Type::I32);
                    g.steps(b, size / 2);
                    vec![b.add_const(args[0], 1), g.pick_tame(b, ty).v]
                })
            },
        );
        self.trips /= trips.max(1);
        self.pool.push(Entry { v: results[0], ty: Type::I64, mag: 0.0, range: Some((0, trips)) });
        self.add_tame(results[1], ty);
        self.add_tame(results[2], Type::I32);
        Some(())
    }
}
