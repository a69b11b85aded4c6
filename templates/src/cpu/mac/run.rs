//! Runs of K as kir: loops over steps for each kind of multiply-accumulate.
//!
//! Takes accumulators and a [`Run`]; the loop over steps is unrolled within a budget, carries the accumulators of the rows that take part and the
//! pointer to packed weights, and never reads A beyond the run.

use super::{Acc, BODY, Kind, Run, Scheme, WeightFormat};
use crate::cpu::epilogue::indexed;
use std::ops::Range;
use tflc_kir::{Addr, BinOp, Builder, DotSigns, Elem, Locality, Mem, Narrow, Type, Value};

impl Scheme {
    /// Accumulates a run.
    pub(crate) fn run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        match self.kind {
            _ if self.staged(run.k) => self.staged_run(b, acc, run),
            Kind::FloatLanes | Kind::HalfLanes | Kind::Dot4Lanes { .. } => self.lanes_run(b, acc, run),
            Kind::Mmla { signs } => self.matrix_run(b, acc, run, signs),
            Kind::Dot4 { flip, .. } => self.broadcast_run(b, acc, run, flip),
            Kind::Float | Kind::Dot2 { .. } => self.broadcast_run(b, acc, run, false),
        }
    }

    /// Number of steps unrolled in the loop over a run.
    fn unroll(&self, steps: usize, tile: usize) -> usize {
        // Without vectors a multiply-add is four or eight instructions, and a body that long hides as much.
        let (body, least) = match (self.scalars, self.is_float()) {
            (false, _) => (BODY, 2),
            (true, true) => (BODY / 2, 1),
            (true, false) => (BODY / 4, 1),
        };
        let most = (body / tile.max(1)).clamp(least, 8);
        let most = 1 << most.ilog2();
        if steps <= most {
            return steps;
        }
        (most / 2 + 1..=most).rev().find(|u| steps.is_multiple_of(*u)).unwrap_or(most)
    }

    /// Each step of A is loaded into every lane, its signs flipped where `flip` says so.
    fn broadcast_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>, flip: bool) {
        // Widened rows end in zeros: all their steps are whole.
        let whole = if matches!(self.kind, Kind::Dot2 { .. }) { self.steps(run.k) } else { run.k / self.kr() };
        let element_bytes = if self.is_float() { 4 } else { self.staged_bytes() as i64 };
        self.step_loop(b, acc, run, whole, 1, self.kr() as i64 * element_bytes, element_bytes, |s, b, acc, set, a, weights| {
            let w = s.load_weights(b, acc, weights);
            for r in run.rows.clone() {
                let x = s.load_broadcast(b, a.offset(run.row_offsets[r]), flip);
                s.multiply(b, acc, set, r, x, &w);
            }
        });
        if whole < self.steps(run.k) {
            let weights = Addr::new(run.b).offset((whole * self.step_bytes(self.nr(acc))) as i64);
            let w = self.load_weights(b, acc, weights);
            for r in run.rows.clone() {
                let at = Addr::new(run.a).offset(run.row_offsets[r]);
                let x =
                    if run.k >= 4 { self.load_broadcast(b, at.offset(run.k as i64 - 4), flip) } else { self.assemble(b, at, run.k, flip) };
                // Bytes of the dword that no earlier step has counted.
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
        let u = self.unroll(steps, group * run.rows.len() * acc.nv).max(1).next_multiple_of(if steps >= acc.sets { acc.sets } else { 1 });
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

    pub(super) fn load_weights(&self, b: &mut Builder, acc: &Acc, at: Addr) -> Vec<Value> {
        if self.is_half() {
            let ty = Type::vector(Elem::I16, self.lanes * 2);
            // The last vector may be half a one.
            let columns = |v: usize| (self.nr(acc) - usize::from(ty.lanes) * v).min(usize::from(ty.lanes)) as u16;
            return (0..self.held(acc.nv)).map(|v| b.load_first(ty, Mem::S16, at.offset(16 * v as i64), columns(v))).collect();
        }
        let vector_bytes = self.step_bytes(usize::from(self.lanes)) as i64;
        let (ty, mem) = match (self.kind, self.weights) {
            (Kind::Float | Kind::FloatLanes, WeightFormat::F16) => (Type::vector(Elem::F32, self.lanes), Mem::F16),
            (Kind::Float | Kind::FloatLanes, _) => (Type::vector(Elem::F32, self.lanes), Mem::F32),
            (Kind::Dot4 { .. } | Kind::Dot4Lanes { .. } | Kind::Mmla { .. }, _) => (Type::vector(Elem::I8, self.lanes * 4), Mem::S8),
            (Kind::Dot2 { .. } | Kind::HalfLanes, _) => (Type::vector(Elem::I16, self.lanes * 2), Mem::S8),
        };
        (0..acc.nv as i64).map(|v| b.load(ty, mem, at.offset(v * vector_bytes))).collect()
    }

    /// One step of A in every lane.
    fn load_broadcast(&self, b: &mut Builder, at: Addr, flip: bool) -> Value {
        if self.is_float() {
            return b.load_splat(Type::vector(Elem::F32, self.lanes), Mem::F32, at);
        }
        let dwords = b.load_splat(Type::vector(Elem::I32, self.lanes), Mem::S32, at);
        self.dword_lanes(b, dwords, flip)
    }

    fn dword_lanes(&self, b: &mut Builder, dwords: Value, flip: bool) -> Value {
        if matches!(self.kind, Kind::Dot2 { .. }) {
            return b.bitcast(Type::vector(Elem::I16, self.lanes * 2), dwords);
        }
        let x = b.bitcast(Type::vector(Elem::I8, self.lanes * 4), dwords);
        if flip { flip_signs(b, x) } else { x }
    }

    /// The dword of `k` < 4 bytes in every lane.
    fn assemble(&self, b: &mut Builder, at: Addr, k: usize, flip: bool) -> Value {
        let mut word = b.load(Type::I32, Mem::U8, at);
        for j in 1..k {
            let byte = b.load(Type::I32, Mem::U8, at.offset(j as i64));
            let by = b.i32(8 * j as i32);
            let byte = b.bin(BinOp::Shl, byte, by);
            word = b.bin(BinOp::Or, word, byte);
        }
        let dwords = b.splat(word, self.lanes);
        self.dword_lanes(b, dwords, flip)
    }

    pub(super) fn multiply(&self, b: &mut Builder, acc: &mut Acc, set: usize, r: usize, x: Value, w: &[Value]) {
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
    pub(super) fn multiply_tail(&self, b: &mut Builder, acc: &mut Acc, set: usize, r: usize, x: Value, w: &[Value], new: Range<usize>) {
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
            Kind::HalfLanes => b.fma_f16(x, w, acc),
            Kind::Dot4 { signs, .. } => b.dot4(signs, acc, x, w),
            Kind::Dot4Lanes { .. } => b.dot4(DotSigns::Signed, acc, x, w),
            Kind::Mmla { signs } => b.mmla(signs, acc, x, w),
            Kind::Dot2 { .. } => b.dot2(acc, x, w),
        }
    }

    /// Widens whole rows of `k` elements at `a` into `scratch`, for [`Scheme::run_rows`].
    pub(crate) fn stage_rows(&self, b: &mut Builder, a: Value, row_offsets: &[i64], scratch: Value, k: usize) {
        self.stage(b, &(0..row_offsets.len()), row_offsets, a, scratch, k);
    }

    /// Accumulates `rows` rows of `k` elements that [`Scheme::stage_rows`] has widened.
    pub(crate) fn run_rows(&self, b: &mut Builder, acc: &mut Acc, scratch: Value, rows: usize, weights: Value, k: usize) {
        let row_bytes = self.staged_row_bytes(k) as i64;
        let row_offsets: Vec<i64> = (0..rows as i64).map(|r| r * row_bytes).collect();
        self.broadcast_run(b, acc, &Run { a: scratch, rows: 0..rows, row_offsets: &row_offsets, b: weights, k, prefetch: vec![] }, false);
    }

    /// int8 through a scratch buffer that holds the rows with their signs flipped or their elements widened, so many of them at a time.
    fn staged_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        let (stage_k, b_step) = (self.stage_k(), self.step_bytes(self.nr(acc)) as i64);
        let mut whole = run.k / stage_k * stage_k;
        if (1..self.kr()).contains(&(run.k - whole)) {
            // The last, partial step lies in the same stage as the step that it overlaps.
            whole = whole.saturating_sub(stage_k);
        }
        let single = whole == 0 || run.k == stage_k;
        let prefetch = if single { &run.prefetch[..] } else { &[] };
        let chunk = |b: &mut Builder, acc: &mut Acc, a: Value, weights: Value, k: usize| {
            let scratch = acc.scratch.expect("reserved by `scratch`");
            let row_bytes = self.staged_row_bytes(k) as i64;
            self.stage(b, &run.rows, run.row_offsets, a, scratch, k);
            let offsets: Vec<i64> = (0..run.row_offsets.len() as i64).map(|r| (r - run.rows.start as i64) * row_bytes).collect();
            let (rows, prefetch) = (run.rows.clone(), prefetch.to_vec());
            self.broadcast_run(b, acc, &Run { a: scratch, row_offsets: &offsets, b: weights, k, rows, prefetch }, false);
        };
        let mut carried = acc.select(&run.rows);
        carried.push(run.b);
        let out = b.for_const(0, whole as i64, stage_k as i64, &carried, |b, i, c| {
            let mut inner = acc.clone();
            let n = inner.replace(&run.rows, c);
            let a = b.ptr_add(run.a, i);
            chunk(b, &mut inner, a, c[n], stage_k);
            let mut yields = inner.select(&run.rows);
            yields.push(b.ptr_add_const(c[n], (stage_k / self.kr()) as i64 * b_step));
            yields
        });
        let n = acc.replace(&run.rows, &out);
        if whole < run.k {
            let a = b.ptr_add_const(run.a, whole as i64);
            chunk(b, acc, a, out[n], run.k - whole);
        }
    }

    /// Writes `k` elements of each of `rows` to `scratch` as [`Scheme::staged_run`] says, up to a whole vector.
    fn stage(&self, b: &mut Builder, rows: &Range<usize>, row_offsets: &[i64], a: Value, scratch: Value, k: usize) {
        let lanes = self.staged_lanes();
        let (ty, from_mem, to_mem) = match self.kind {
            Kind::Dot2 { a } => (Type::vector(Elem::I16, lanes as u16), a, Mem::S16),
            _ => (Type::vector(Elem::I8, lanes as u16), Mem::S8, Mem::S8),
        };
        let row_bytes = self.staged_row_bytes(k) as i64;
        let whole = (k / lanes * lanes) as i64;
        let copy = |b: &mut Builder, from: Addr, to: Addr, n: usize| {
            for (i, r) in rows.clone().enumerate() {
                let v = b.load_first(ty, from_mem, from.offset(row_offsets[r]), n as u16);
                let v = if ty.elem == Elem::I8 { flip_signs(b, v) } else { v };
                b.store(to_mem, Narrow::Wrap, to.offset(i as i64 * row_bytes), v);
            }
        };
        let scale = self.staged_bytes() as i64;
        b.for_const(0, whole, lanes as i64, &[], |b, i, _| {
            let (from, to) = (indexed(b, a, i, 1), indexed(b, scratch, i, scale));
            copy(b, from, to, lanes);
            vec![]
        });
        if (whole as usize) < k {
            copy(b, Addr::new(a).offset(whole), Addr::new(scratch).offset(whole * scale), k - whole as usize);
        }
    }
}

/// Bytes 128 higher, or lower: signed ones as unsigned ones, and the reverse.
pub(super) fn flip_signs(b: &mut Builder, bytes: Value) -> Value {
    let sign = b.int(b.ty(bytes), 0x80);
    b.bin(BinOp::Xor, bytes, sign)
}
