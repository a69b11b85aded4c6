//! Runs of K as kir: loops over steps for each kind of multiply-accumulate.
//!
//! Takes accumulators and a [`Run`]; the loop over steps is unrolled within a budget, carries the accumulators of the rows that take part and the
//! pointer to packed weights, and never reads A beyond the run.

use super::{Acc, Kind, Run, Scheme, WIDEN_K, WeightFormat};
use crate::cpu::epilogue::indexed;
use std::ops::Range;
use tflc_kir::{Addr, BinOp, Builder, DotSigns, Elem, Locality, Mem, Narrow, Type, Value};

/// A vector of A along K as 32-bit lanes, the first of which that counts.
struct ALanes {
    words: Value,
    first: usize,
}

impl Scheme {
    /// Accumulates a run.
    pub(crate) fn run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        match self.kind {
            Kind::Float | Kind::Dot4 { .. } => self.broadcast_run(b, acc, run),
            Kind::FloatLanes | Kind::Dot4Lanes { .. } => self.lanes_run(b, acc, run),
            Kind::Mmla { signs } => self.matrix_run(b, acc, run, signs),
            Kind::Dot2 { a } => self.widened_run(b, acc, run, a),
        }
    }

    /// Number of steps unrolled in the loop over a run.
    fn unroll(&self, steps: usize, tile: usize, budget: usize) -> usize {
        let most = (budget / tile.max(1)).clamp(2, 8);
        let most = 1 << most.ilog2();
        if steps <= most {
            return steps;
        }
        (most / 2 + 1..=most).rev().find(|u| steps.is_multiple_of(*u)).unwrap_or(most)
    }

    fn broadcast_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        let whole = run.k / self.kr();
        let step_bytes = self.kr() as i64 * self.a_bytes();
        self.step_loop(b, acc, run, whole, 1, step_bytes, self.a_bytes(), |s, b, acc, set, a, weights| {
            let w = s.load_weights(b, acc, weights);
            for r in run.rows.clone() {
                let x = s.load_broadcast(b, a.offset(run.row_offsets[r]));
                s.multiply(b, acc, set, r, x, &w);
            }
        });
        if whole < self.steps(run.k) {
            let weights = Addr::new(run.b).offset((whole * self.step_bytes(self.nr(acc))) as i64);
            let w = self.load_weights(b, acc, weights);
            for r in run.rows.clone() {
                let at = Addr::new(run.a).offset(run.row_offsets[r]);
                let x = if run.k >= 4 { self.load_broadcast(b, at.offset(run.k as i64 - 4)) } else { self.assemble(b, at, run.k) };
                let new = if run.k >= 4 { 4 - run.k % 4..4 } else { 0..run.k };
                self.multiply_tail(b, acc, 0, r, x, &w, new);
            }
        }
    }

    /// Loop over `steps` times `group` steps that are `a_step` bytes in A; `step` emits one group for accumulator set `set`.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn step_loop(
        &self,
        b: &mut Builder,
        acc: &mut Acc,
        run: &Run<'_>,
        steps: usize,
        group: usize,
        a_step: i64,
        a_scale: i64,
        step: impl Fn(&Scheme, &mut Builder, &mut Acc, usize, Addr, Addr),
    ) {
        let b_step = (group * self.step_bytes(self.nr(acc))) as i64;
        let u =
            self.unroll(steps, group * run.rows.len() * acc.nv, run.budget).max(1).next_multiple_of(if steps >= acc.sets { acc.sets } else { 1 });
        let looped = steps / u * u;
        let sets = acc.sets;
        let unrolled = |b: &mut Builder, acc: &mut Acc, a: Addr, weights: Addr, n: usize| {
            for j in 0..n {
                let (j_a, j_b) = (a.offset(j as i64 * a_step), weights.offset(j as i64 * b_step));
                step(self, b, acc, j % sets, j_a, j_b);
            }
        };
        let end = looped as i64 * b_step;
        if looped == u {
            unrolled(b, acc, Addr::new(run.a), Addr::new(run.b), u);
        } else if looped > 0 {
            let mut carried = acc.select(&run.rows);
            carried.push(run.b);
            let lines: Vec<i64> = run.prefetch.iter().map(|(_, bytes)| (bytes / (looped / u) as i64 + 63) / 64).collect();
            carried.extend(run.prefetch.iter().map(|(p, _)| p));
            let (start, stop) = (b.i64(0), b.i64(looped as i64 * a_step / a_scale));
            let out = b.for_loop(start, stop, u as i64 * a_step / a_scale, &carried, |b, i, c| {
                let mut inner = acc.clone();
                let n = inner.replace(&run.rows, c);
                for (&p, &lines) in c[n + 1..].iter().zip(&lines) {
                    (0..lines).for_each(|line| b.prefetch(Addr::new(p).offset(line * 64), Locality::L1));
                }
                unrolled(b, &mut inner, Addr::new(run.a).index(i, a_scale as u8), Addr::new(c[n]), u);
                let mut yields = inner.select(&run.rows);
                yields.push(b.ptr_add_const(c[n], u as i64 * b_step));
                for (&p, &lines) in c[n + 1..].iter().zip(&lines) {
                    yields.push(b.ptr_add_const(p, lines * 64));
                }
                yields
            });
            acc.replace(&run.rows, &out);
        }
        let a = Addr::new(run.a).offset(looped as i64 * a_step);
        unrolled(b, acc, a, Addr::new(run.b).offset(end), steps - looped);
    }

    pub(super) fn nr(&self, acc: &Acc) -> usize {
        acc.nv * usize::from(self.lanes)
    }

    fn load_weights(&self, b: &mut Builder, acc: &Acc, at: Addr) -> Vec<Value> {
        let vector_bytes = self.step_bytes(usize::from(self.lanes)) as i64;
        let (ty, mem) = match (self.kind, self.weights) {
            (Kind::Float | Kind::FloatLanes, WeightFormat::F16) => (Type::vector(Elem::F32, self.lanes), Mem::F16),
            (Kind::Float | Kind::FloatLanes, _) => (Type::vector(Elem::F32, self.lanes), Mem::F32),
            (Kind::Dot4 { .. } | Kind::Dot4Lanes { .. } | Kind::Mmla { .. }, _) => (Type::vector(Elem::I8, self.lanes * 4), Mem::S8),
            (Kind::Dot2 { .. }, _) => (Type::vector(Elem::I16, self.lanes * 2), Mem::S8),
        };
        (0..acc.nv as i64).map(|v| b.load(ty, mem, at.offset(v * vector_bytes))).collect()
    }

    /// One step of A in every lane.
    fn load_broadcast(&self, b: &mut Builder, at: Addr) -> Value {
        if self.is_float() {
            return b.load_splat(Type::vector(Elem::F32, self.lanes), Mem::F32, at);
        }
        let dwords = b.load_splat(Type::vector(Elem::I32, self.lanes), Mem::S32, at);
        self.dword_lanes(b, dwords)
    }

    fn dword_lanes(&self, b: &mut Builder, dwords: Value) -> Value {
        let Kind::Dot4 { flip, .. } = self.kind else { return b.bitcast(Type::vector(Elem::I16, self.lanes * 2), dwords) };
        let bytes = Type::vector(Elem::I8, self.lanes * 4);
        let x = b.bitcast(bytes, dwords);
        if !flip {
            return x;
        }
        let sign = b.int(bytes, 0x80);
        b.bin(BinOp::Xor, x, sign)
    }

    /// The dword of `k` < 4 bytes in every lane.
    fn assemble(&self, b: &mut Builder, at: Addr, k: usize) -> Value {
        let mut word = b.load(Type::I32, Mem::U8, at);
        for j in 1..k {
            let byte = b.load(Type::I32, Mem::U8, at.offset(j as i64));
            let by = b.i32(8 * j as i32);
            let byte = b.bin(BinOp::Shl, byte, by);
            word = b.bin(BinOp::Or, word, byte);
        }
        let dwords = b.splat(word, self.lanes);
        self.dword_lanes(b, dwords)
    }

    fn multiply(&self, b: &mut Builder, acc: &mut Acc, set: usize, r: usize, x: Value, w: &[Value]) {
        for (v, &w) in w.iter().enumerate() {
            let slot = acc.slot(set, r, v);
            acc.vals[slot] = self.mul_add(b, acc.vals[slot], x, w);
        }
        if self.sums_rows() {
            let one = b.int(b.ty(x), 1);
            acc.row_sums[r] = self.mul_add(b, acc.row_sums[r], x, one);
        }
    }

    /// A partial step; the bytes `new` of each four are counted for the first time in the sums of rows.
    #[allow(clippy::too_many_arguments)]
    fn multiply_tail(&self, b: &mut Builder, acc: &mut Acc, set: usize, r: usize, x: Value, w: &[Value], new: Range<usize>) {
        for (v, &w) in w.iter().enumerate() {
            let slot = acc.slot(set, r, v);
            acc.vals[slot] = self.mul_add(b, acc.vals[slot], x, w);
        }
        if self.sums_rows() {
            let ty = b.ty(x);
            let ones = b.const_vec(ty, (0..usize::from(ty.lanes)).map(|i| u64::from(new.contains(&(i % 4)))).collect());
            acc.row_sums[r] = self.mul_add(b, acc.row_sums[r], x, ones);
        }
    }

    fn mul_add(&self, b: &mut Builder, acc: Value, x: Value, w: Value) -> Value {
        match self.kind {
            Kind::Float | Kind::FloatLanes if self.fma => b.fma(x, w, acc),
            Kind::Float | Kind::FloatLanes => {
                let p = b.mul(x, w);
                b.add(acc, p)
            }
            Kind::Dot4 { signs, .. } => b.dot4(signs, acc, x, w),
            Kind::Dot4Lanes { .. } => b.dot4(DotSigns::Signed, acc, x, w),
            Kind::Mmla { signs } => b.mmla(signs, acc, x, w),
            Kind::Dot2 { .. } => b.dot2(acc, x, w),
        }
    }

    /// A in vectors along K: each 32-bit lane multiplies one step of B.
    fn lanes_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        let kr = self.kr();
        let width = usize::from(self.lanes) * kr;
        let b_step = self.step_bytes(self.nr(acc)) as i64;
        let whole = run.k / width * width;
        let chunk = |b: &mut Builder, acc: &mut Acc, rows: Vec<ALanes>, weights: Addr, n: usize| {
            for j in 0..n.div_ceil(kr) {
                let w = self.load_weights(b, acc, weights.offset(j as i64 * b_step));
                for (r, x) in run.rows.clone().zip(&rows) {
                    let x = self.lane(b, x, j);
                    self.multiply_lane(b, acc, j % acc.sets, r, x, &w, n - j * kr);
                }
            }
        };
        let mut carried = acc.select(&run.rows);
        carried.push(run.b);
        let out = b.for_const(0, whole as i64, width as i64, &carried, |b, i, c| {
            let mut inner = acc.clone();
            let n = inner.replace(&run.rows, c);
            let a = indexed(b, run.a, i, self.a_bytes());
            let rows = run.rows.clone().map(|r| self.load_lanes(b, a.offset(run.row_offsets[r]), width)).collect();
            chunk(b, &mut inner, rows, Addr::new(c[n]), width);
            let mut yields = inner.select(&run.rows);
            yields.push(b.ptr_add_const(c[n], i64::from(self.lanes) * b_step));
            yields
        });
        acc.replace(&run.rows, &out);
        let rest = run.k - whole;
        if rest > 0 {
            let weights = Addr::new(run.b).offset((whole / kr) as i64 * b_step);
            let from = |r: usize| Addr::new(run.a).offset(run.row_offsets[r]);
            let load = |b: &mut Builder, r: usize| match whole {
                0 => self.load_lanes(b, from(r), rest),
                _ => self.load_last_lanes(b, from(r).offset((run.k - width) as i64 * self.a_bytes()), rest),
            };
            let rows = run.rows.clone().map(|r| load(b, r)).collect();
            chunk(b, acc, rows, weights, rest);
        }
    }

    /// The first `n` elements at an address, as 32-bit lanes; what lies behind them is not read and counts as nothing.
    fn load_lanes(&self, b: &mut Builder, at: Addr, n: usize) -> ALanes {
        let Kind::Dot4Lanes { .. } = self.kind else {
            return ALanes { words: b.load_first(Type::vector(Elem::F32, self.lanes), Mem::F32, at, n as u16), first: 0 };
        };
        let x = b.load_first(Type::vector(Elem::I8, self.lanes * 4), Mem::S8, at, n as u16);
        ALanes { words: self.byte_lanes(b, x), first: 0 }
    }

    /// The last `n` elements of a whole vector at an address.
    fn load_last_lanes(&self, b: &mut Builder, at: Addr, n: usize) -> ALanes {
        let kr = self.kr();
        let width = usize::from(self.lanes) * kr;
        let Kind::Dot4Lanes { .. } = self.kind else {
            return ALanes { words: b.load(Type::vector(Elem::F32, self.lanes), Mem::F32, at), first: width - n };
        };
        let x = b.load(Type::vector(Elem::I8, self.lanes * 4), Mem::S8, at);
        if n.is_multiple_of(kr) {
            return ALanes { words: self.byte_lanes(b, x), first: (width - n) / kr };
        }
        // To the front; whatever stands behind them meets weights that are zero.
        let x = b.shuffle(x, x, (0..width).map(|i| ((width - n + i) % width) as u16).collect());
        ALanes { words: self.byte_lanes(b, x), first: 0 }
    }

    /// Bytes as signed 32-bit lanes of four.
    fn byte_lanes(&self, b: &mut Builder, x: Value) -> Value {
        let x = match self.kind {
            Kind::Dot4Lanes { flip: true } => {
                let sign = b.int(b.ty(x), 0x80);
                b.bin(BinOp::Xor, x, sign)
            }
            _ => x,
        };
        b.bitcast(Type::vector(Elem::I32, self.lanes), x)
    }

    /// Step `j` of a vector of A in every lane.
    fn lane(&self, b: &mut Builder, x: &ALanes, j: usize) -> Value {
        let lane = b.extract_lane(x.words, (x.first + j) as u16);
        let lanes = b.splat(lane, self.lanes);
        if self.is_float() { lanes } else { b.bitcast(Type::vector(Elem::I8, self.lanes * 4), lanes) }
    }

    /// [`Scheme::multiply`] of a step of which `k` elements exist, if that is fewer than a step has.
    #[allow(clippy::too_many_arguments)]
    fn multiply_lane(&self, b: &mut Builder, acc: &mut Acc, set: usize, r: usize, x: Value, w: &[Value], k: usize) {
        if k >= self.kr() { self.multiply(b, acc, set, r, x, w) } else { self.multiply_tail(b, acc, set, r, x, w, 0..k) }
    }

    /// int8 by 16-bit dot products: rows are widened to a scratch buffer, `WIDEN_K` elements at a time, then broadcast from there.
    fn widened_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>, mem: Mem) {
        let b_step = self.step_bytes(self.nr(acc)) as i64;
        let chunk = |b: &mut Builder, acc: &mut Acc, a: Value, weights: Value, k: usize| {
            let scratch = acc.scratch.expect("reserved by `scratch`");
            let row_bytes = self.widened_row_bytes(k) as i64;
            self.widen(b, run, a, scratch, mem, k);
            let offsets: Vec<i64> = (0..run.row_offsets.len() as i64).map(|r| (r - run.rows.start as i64) * row_bytes).collect();
            let wide =
                Run { a: scratch, row_offsets: &offsets, b: weights, k, rows: run.rows.clone(), prefetch: vec![], budget: run.budget };
            self.step_loop(b, acc, &wide, self.steps(k), 1, 4, 2, |s, b, acc, set, a, weights| {
                let w = s.load_weights(b, acc, weights);
                for r in wide.rows.clone() {
                    let x = s.load_broadcast(b, a.offset(wide.row_offsets[r]));
                    s.multiply(b, acc, set, r, x, &w);
                }
            });
        };
        let whole = run.k / WIDEN_K * WIDEN_K;
        let mut carried = acc.select(&run.rows);
        carried.push(run.b);
        let out = b.for_const(0, whole as i64, WIDEN_K as i64, &carried, |b, i, c| {
            let mut inner = acc.clone();
            let n = inner.replace(&run.rows, c);
            let a = b.ptr_add(run.a, i);
            chunk(b, &mut inner, a, c[n], WIDEN_K);
            let mut yields = inner.select(&run.rows);
            yields.push(b.ptr_add_const(c[n], (WIDEN_K / 2) as i64 * b_step));
            yields
        });
        let n = acc.replace(&run.rows, &out);
        if whole < run.k {
            let a = b.ptr_add_const(run.a, whole as i64);
            chunk(b, acc, a, out[n], run.k - whole);
        }
    }

    /// Widens `k` bytes of each row to 16 bits in `scratch`, zeros behind them up to a whole vector.
    fn widen(&self, b: &mut Builder, run: &Run<'_>, a: Value, scratch: Value, mem: Mem, k: usize) {
        let ty = Type::vector(Elem::I16, self.lanes * 2);
        let lanes = usize::from(ty.lanes);
        let row_bytes = self.widened_row_bytes(k) as i64;
        let whole = (k / lanes * lanes) as i64;
        let copy = |b: &mut Builder, from: Addr, to: Addr, n: usize| {
            for (i, r) in run.rows.clone().enumerate() {
                let v = b.load_first(ty, mem, from.offset(run.row_offsets[r]), n as u16);
                b.store(Mem::S16, Narrow::Wrap, to.offset(i as i64 * row_bytes), v);
            }
        };
        b.for_const(0, whole, lanes as i64, &[], |b, i, _| {
            let (from, to) = (indexed(b, a, i, 1), indexed(b, scratch, i, 2));
            copy(b, from, to, lanes);
            vec![]
        });
        if (whole as usize) < k {
            copy(b, Addr::new(a).offset(whole), Addr::new(scratch).offset(whole * 2), k - whole as usize);
        }
    }
}
