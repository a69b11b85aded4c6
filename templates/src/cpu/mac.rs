//! Multiply-accumulate schemes: how a run of K becomes multiply-adds on a register tile, and how B is packed for that.
//!
//! A *run* is a stretch of K that is contiguous in every row of A. It is walked in *steps* of `kr` elements: 1 for f32 (fused multiply-add of a
//! broadcast element), 4 for int8 with a four-element dot product, 2 for int8 widened to 16 bits. Packed B holds, for each step of a panel of
//! `nr` columns, `nr * kr` weights, k innermost; columns and steps that do not exist hold zero. Nothing here knows where rows lie: callers give byte
//! offsets. Reads of A never leave the run.

use crate::expr::{Storage, Ty};
use std::ops::Range;
use tflc_kir::{Addr, BinOp, Builder, Caps, Dot4, DotSigns, Elem, Locality, Mem, Narrow, Type, Value};

/// Elements and packed form of weights.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WeightFormat {
    /// binary32.
    F32,
    /// binary16, widened when loaded: half the bytes of `F32` for bandwidth-bound shapes.
    F16,
    /// Signed bytes with zero point 0.
    I8,
    /// Unsigned bytes with a zero point.
    U8 {
        /// Value that stands for 0, in [0, 255].
        zero_point: i32,
    },
}

impl WeightFormat {
    /// Bytes of one element of the source array.
    pub const fn bytes(self) -> usize {
        match self {
            WeightFormat::F32 => 4,
            WeightFormat::F16 => 2,
            WeightFormat::I8 | WeightFormat::U8 { .. } => 1,
        }
    }

    /// Zero point of the weights once they are signed bytes.
    pub(crate) const fn signed_zero_point(self) -> i32 {
        match self {
            WeightFormat::U8 { zero_point } => zero_point - 128,
            _ => 0,
        }
    }

    /// Weight `i` of an 8-bit array as a signed byte.
    pub(crate) fn signed_byte(self, weights: &[u8], i: usize) -> i8 {
        match self {
            WeightFormat::U8 { .. } => (weights[i] ^ 0x80) as i8,
            _ => weights[i] as i8,
        }
    }

    /// Weight `i` of an 8-bit array less its zero point.
    pub(crate) fn centered(self, weights: &[u8], i: usize) -> i32 {
        i32::from(self.signed_byte(weights, i)) - self.signed_zero_point()
    }
}

/// Kind of multiply-accumulate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// f32, one element of K a step, broadcast from memory.
    Float,
    /// f32, A loaded by vectors along K and multiplied lane by lane (targets with multiply-by-element).
    FloatLanes,
    /// Bytes, four elements of K a step; `flip` turns signed activations into unsigned ones.
    Dot4 { signs: DotSigns, flip: bool },
    /// Bytes widened to 16 bits in a scratch buffer, two elements of K a step.
    Dot2 { a: Mem },
}

/// A multiply-accumulate scheme for one target and pair of element types.
#[derive(Clone, Debug)]
pub(crate) struct Scheme {
    kind: Kind,
    fma: bool,
    pub(crate) weights: WeightFormat,
    /// Lanes of an accumulator vector.
    pub(crate) lanes: u16,
    registers: usize,
}

/// Elements of K that [`Kind::Dot2`] widens at a time.
const WIDEN_K: usize = 512;

/// Accumulators of a register tile: `sets` independent copies of `rows × nv`, and a sum of A per row where weights have a zero point.
#[derive(Clone, Debug)]
pub(crate) struct Acc {
    pub(crate) rows: usize,
    pub(crate) nv: usize,
    sets: usize,
    vals: Vec<Value>,
    row_sums: Vec<Value>,
    scratch: Option<Value>,
}

/// A run: rows of the tile that take part, their byte offsets from `a`, where its packed weights begin, and its length.
#[derive(Clone, Debug)]
pub(crate) struct Run<'a> {
    pub(crate) a: Value,
    pub(crate) rows: Range<usize>,
    pub(crate) row_offsets: &'a [i64],
    pub(crate) b: Value,
    pub(crate) k: usize,
    /// What is fetched while this run computes: where it begins and how many bytes.
    pub(crate) prefetch: Vec<(Value, i64)>,
    /// Multiply-adds to emit in the body of the loop over K.
    pub(crate) budget: usize,
}

impl Scheme {
    /// The scheme for activations of `a` and weights of `weights`.
    ///
    /// # Panics
    /// Where the pair is none of f32 × {F32, F16} and {I8, U8} × {I8, U8}.
    pub(crate) fn new(caps: &Caps, a: Storage, weights: WeightFormat) -> Scheme {
        let kind = match (a, weights) {
            (Storage::F32, WeightFormat::F32 | WeightFormat::F16) if caps.vector_bytes == 16 && caps.vector_registers >= 32 => {
                Kind::FloatLanes
            }
            (Storage::F32, WeightFormat::F32 | WeightFormat::F16) => Kind::Float,
            (Storage::I8 | Storage::U8, WeightFormat::I8 | WeightFormat::U8 { .. }) => {
                let unsigned = a == Storage::U8;
                match caps.dot4 {
                    Dot4::UnsignedSigned => Kind::Dot4 { signs: DotSigns::UnsignedSigned, flip: !unsigned },
                    // Flipping unsigned activations to signed ones keeps to the signed dot product, which every such target has.
                    Dot4::AnySign => Kind::Dot4 { signs: DotSigns::Signed, flip: unsigned },
                    Dot4::None => Kind::Dot2 { a: if unsigned { Mem::U8 } else { Mem::S8 } },
                }
            }
            (a, w) => panic!("no multiply-accumulate scheme for {a:?} x {w:?}"),
        };
        let registers = caps.vector_registers as usize;
        Scheme { kind, fma: caps.fma, weights, lanes: caps.lanes(Elem::F32), registers }
    }

    /// Type of the accumulator.
    pub(crate) fn acc_ty(&self) -> Ty {
        if self.is_float() { Ty::F32 } else { Ty::I32 }
    }

    fn is_float(&self) -> bool {
        matches!(self.kind, Kind::Float | Kind::FloatLanes)
    }

    /// Elements of K a step.
    pub(crate) fn kr(&self) -> usize {
        match self.kind {
            Kind::Float | Kind::FloatLanes => 1,
            Kind::Dot4 { .. } => 4,
            Kind::Dot2 { .. } => 2,
        }
    }

    /// Bytes of an element of A.
    pub(crate) fn a_bytes(&self) -> i64 {
        if self.is_float() { 4 } else { 1 }
    }

    /// What the scheme adds to every activation: signs are flipped by adding or subtracting 128.
    pub(crate) fn a_shift(&self) -> i32 {
        match self.kind {
            Kind::Dot4 { signs: DotSigns::UnsignedSigned, flip: true } => 128,
            Kind::Dot4 { signs: DotSigns::Signed, flip: true } => -128,
            _ => 0,
        }
    }

    /// Whether the sum of each row of A is accumulated, because weights have a zero point.
    fn sums_rows(&self) -> bool {
        !self.is_float() && self.weights.signed_zero_point() != 0
    }

    /// Whether a tile of `mr` rows and `nv` vectors leaves the inner loop without spills.
    pub(crate) fn fits(&self, mr: usize, nv: usize) -> bool {
        let acc = mr * nv + if self.sums_rows() { mr + 1 } else { 0 };
        let working = match self.kind {
            Kind::Float => nv + 1 + usize::from(!self.fma),
            Kind::FloatLanes => nv + mr,
            Kind::Dot4 { flip, .. } => nv + 1 + usize::from(flip),
            Kind::Dot2 { .. } => nv + 2,
        };
        acc + working <= self.registers
    }

    /// Bytes of packed B of one step for `nr` columns.
    pub(crate) fn step_bytes(&self, nr: usize) -> usize {
        nr * match (self.kind, self.weights) {
            (Kind::Float | Kind::FloatLanes, WeightFormat::F16) => 2,
            (Kind::Float | Kind::FloatLanes | Kind::Dot4 { .. }, _) => 4,
            (Kind::Dot2 { .. }, _) => 2,
        }
    }

    /// Steps of a run of `k` elements.
    pub(crate) fn steps(&self, k: usize) -> usize {
        k.div_ceil(self.kr())
    }

    /// Bytes of packed B of a run of `k` elements.
    pub(crate) fn run_bytes(&self, k: usize, nr: usize) -> usize {
        self.steps(k) * self.step_bytes(nr)
    }

    /// First element of step `s` of a run of `k` elements. The last step of a four-element dot product overlaps the one before (with zero
    /// weights there), so that no read passes the end of the run.
    fn step_start(&self, s: usize, k: usize) -> usize {
        let start = s * self.kr();
        if self.kr() == 4 && start + 4 > k && k >= 4 { k - 4 } else { start }
    }

    /// Appends the packed weights of a run of `k` elements for `nr` columns; `index(n, k)` is the position in `weights`, None where the column
    /// does not exist.
    pub(crate) fn pack_run(&self, out: &mut Vec<u8>, weights: &[u8], nr: usize, k: usize, index: impl Fn(usize, usize) -> Option<usize>) {
        let kr = self.kr();
        for s in 0..self.steps(k) {
            let start = self.step_start(s, k);
            for n in 0..nr {
                for j in start..start + kr {
                    let exists = j < k && j >= s * kr;
                    let i = if exists { index(n, j) } else { None };
                    match self.weights {
                        WeightFormat::F32 | WeightFormat::F16 => {
                            let bytes = self.weights.bytes();
                            match i {
                                Some(i) => out.extend_from_slice(&weights[i * bytes..][..bytes]),
                                None => out.extend_from_slice(&[0; 4][..bytes]),
                            }
                        }
                        _ => out.push(i.map_or(0, |i| self.weights.signed_byte(weights, i)) as u8),
                    }
                }
            }
        }
    }

    /// Reserves what the scheme needs in a kernel whose tiles have at most `mr` rows and runs at most `k` elements; once, outside of all loops.
    pub(crate) fn scratch(&self, b: &mut Builder, mr: usize, k: usize) -> Option<Value> {
        match self.kind {
            Kind::Dot2 { .. } => Some(b.scratch((mr * self.widened_row_bytes(k.min(WIDEN_K))) as u32, 64)),
            _ => None,
        }
    }

    fn widened_row_bytes(&self, k: usize) -> usize {
        k.next_multiple_of(usize::from(self.lanes) * 2) * 2
    }

    /// Zero accumulators for a tile; more than one set where a single one would wait for the latency of each multiply-add.
    pub(crate) fn begin(&self, b: &mut Builder, rows: usize, nv: usize, k: usize, scratch: Option<Value>) -> Acc {
        let chains = if self.is_float() { 8 } else { 10 };
        let mut sets = 1;
        while sets * rows * nv < chains && self.fits(rows * sets * 2, nv) && sets * 2 <= self.steps(k) {
            sets *= 2;
        }
        let ty = Type::vector(if self.is_float() { Elem::F32 } else { Elem::I32 }, self.lanes);
        let zero = |b: &mut Builder| b.inst(tflc_kir::Op::Const(0), ty, &[]);
        let vals = (0..sets * rows * nv).map(|_| zero(b)).collect();
        let row_sums = (0..if self.sums_rows() { rows } else { 0 }).map(|_| zero(b)).collect();
        Acc { rows, nv, sets, vals, row_sums, scratch }
    }

    /// Sums the sets, applies the weights' zero point, and gives `rows × nv` values.
    pub(crate) fn end(&self, b: &mut Builder, acc: Acc) -> Vec<Value> {
        let size = acc.rows * acc.nv;
        let mut vals = acc.vals;
        let mut sets = acc.sets;
        while sets > 1 {
            sets /= 2;
            for i in 0..sets * size {
                vals[i] = b.add(vals[i], vals[i + sets * size]);
            }
            vals.truncate(sets * size);
        }
        for (r, &sum) in acc.row_sums.iter().enumerate() {
            let zero_point = b.int(b.ty(sum), i64::from(self.weights.signed_zero_point()));
            let term = b.mul(sum, zero_point);
            for v in &mut vals[r * acc.nv..][..acc.nv] {
                *v = b.sub(*v, term);
            }
        }
        vals
    }

    /// Accumulates a run.
    pub(crate) fn run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        match self.kind {
            Kind::Float | Kind::Dot4 { .. } => self.broadcast_run(b, acc, run),
            Kind::FloatLanes => self.lanes_run(b, acc, run),
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
        self.step_loop(b, acc, run, whole, step_bytes, self.a_bytes(), |s, b, acc, set, a, weights| {
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
                self.multiply_tail(b, acc, r, x, &w, run.k);
            }
        }
    }

    /// Loop over `steps` steps of `a_step` bytes in A; `step` emits one of them for accumulator set `set`.
    #[allow(clippy::too_many_arguments)]
    fn step_loop(
        &self,
        b: &mut Builder,
        acc: &mut Acc,
        run: &Run<'_>,
        steps: usize,
        a_step: i64,
        a_scale: i64,
        step: impl Fn(&Scheme, &mut Builder, &mut Acc, usize, Addr, Addr),
    ) {
        let b_step = self.step_bytes(self.nr(acc)) as i64;
        let u =
            self.unroll(steps, run.rows.len() * acc.nv, run.budget).max(1).next_multiple_of(if steps >= acc.sets { acc.sets } else { 1 });
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

    fn nr(&self, acc: &Acc) -> usize {
        acc.nv * usize::from(self.lanes)
    }

    fn load_weights(&self, b: &mut Builder, acc: &Acc, at: Addr) -> Vec<Value> {
        let vector_bytes = self.step_bytes(usize::from(self.lanes)) as i64;
        let (ty, mem) = match (self.kind, self.weights) {
            (Kind::Float | Kind::FloatLanes, WeightFormat::F16) => (Type::vector(Elem::F32, self.lanes), Mem::F16),
            (Kind::Float | Kind::FloatLanes, _) => (Type::vector(Elem::F32, self.lanes), Mem::F32),
            (Kind::Dot4 { .. }, _) => (Type::vector(Elem::I8, self.lanes * 4), Mem::S8),
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
            let slot = (set * acc.rows + r) * acc.nv + v;
            acc.vals[slot] = self.mul_add(b, acc.vals[slot], x, w);
        }
        if self.sums_rows() {
            let one = b.int(b.ty(x), 1);
            acc.row_sums[r] = self.mul_add(b, acc.row_sums[r], x, one);
        }
    }

    /// The last, partial step of a run of `k` bytes.
    fn multiply_tail(&self, b: &mut Builder, acc: &mut Acc, r: usize, x: Value, w: &[Value], k: usize) {
        for (v, &w) in w.iter().enumerate() {
            let slot = r * acc.nv + v;
            acc.vals[slot] = self.mul_add(b, acc.vals[slot], x, w);
        }
        if self.sums_rows() {
            let ty = b.ty(x);
            // Bytes of the dword that no earlier step has counted.
            let new = |i: usize| if k >= 4 { i >= 4 - k % 4 } else { i < k };
            let ones = b.const_vec(ty, (0..usize::from(ty.lanes)).map(|i| u64::from(new(i % 4))).collect());
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
            Kind::Dot2 { .. } => b.dot2(acc, x, w),
        }
    }

    /// f32 with A in vectors along K: each lane multiplies one step of B.
    fn lanes_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>) {
        let lanes = usize::from(self.lanes);
        let ty = Type::vector(Elem::F32, self.lanes);
        let b_step = self.step_bytes(self.nr(acc)) as i64;
        let whole = run.k / lanes * lanes;
        let chunk = |b: &mut Builder, acc: &mut Acc, a: Addr, weights: Addr, n: usize| {
            let x: Vec<Value> = run.rows.clone().map(|r| b.load_first(ty, Mem::F32, a.offset(run.row_offsets[r]), n as u16)).collect();
            for j in 0..n {
                let w = self.load_weights(b, acc, weights.offset(j as i64 * b_step));
                for (r, &x) in run.rows.clone().zip(&x) {
                    let lane = b.extract_lane(x, j as u16);
                    let lane = b.splat(lane, self.lanes);
                    self.multiply(b, acc, j % acc.sets, r, lane, &w);
                }
            }
        };
        let mut carried = acc.select(&run.rows);
        carried.push(run.b);
        let out = b.for_const(0, whole as i64, lanes as i64, &carried, |b, i, c| {
            let mut inner = acc.clone();
            let n = inner.replace(&run.rows, c);
            chunk(b, &mut inner, crate::cpu::epilogue::indexed(b, run.a, i, 4), Addr::new(c[n]), lanes);
            let mut yields = inner.select(&run.rows);
            yields.push(b.ptr_add_const(c[n], lanes as i64 * b_step));
            yields
        });
        acc.replace(&run.rows, &out);
        if whole < run.k {
            let weights = Addr::new(run.b).offset(whole as i64 * b_step);
            chunk(b, acc, Addr::new(run.a).offset(whole as i64 * 4), weights, run.k - whole);
        }
    }

    /// int8 by 16-bit dot products: rows are widened to a scratch buffer, `WIDEN_K` elements at a time, then broadcast from there.
    fn widened_run(&self, b: &mut Builder, acc: &mut Acc, run: &Run<'_>, mem: Mem) {
        let b_step = self.step_bytes(self.nr(acc)) as i64;
        let chunk = |b: &mut Builder, acc: &mut Acc, a: Value, weights: Value, k: usize| {
            let scratch = acc.scratch.expect("reserved by `scratch`");
            let row_bytes = self.widened_row_bytes(k) as i64;
            self.widen(b, run, a, scratch, mem, k);
            let offsets: Vec<i64> = (0..run.row_offsets.len() as i64).map(|r| (r - run.rows.start as i64) * row_bytes).collect();
            let wide = Run { a: scratch, row_offsets: &offsets, b: weights, k, rows: run.rows.clone(), prefetch: vec![], budget: run.budget };
            self.step_loop(b, acc, &wide, self.steps(k), 4, 2, |s, b, acc, set, a, weights| {
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
            let (from, to) = (crate::cpu::epilogue::indexed(b, a, i, 1), crate::cpu::epilogue::indexed(b, scratch, i, 2));
            copy(b, from, to, lanes);
            vec![]
        });
        if (whole as usize) < k {
            copy(b, Addr::new(a).offset(whole), Addr::new(scratch).offset(whole * 2), k - whole as usize);
        }
    }
}

impl Acc {
    /// The vectors of row `r` in the first set.
    pub(crate) fn row(&mut self, r: usize) -> &mut [Value] {
        &mut self.vals[r * self.nv..][..self.nv]
    }

    /// Starts every row from `values[v]` instead of zero.
    pub(crate) fn fill(&mut self, values: &[Value]) {
        (0..self.rows).for_each(|r| self.row(r).copy_from_slice(values));
    }

    /// Accumulators of these rows, all sets, then their row sums.
    pub(crate) fn select(&self, rows: &Range<usize>) -> Vec<Value> {
        let mut out = vec![];
        for set in 0..self.sets {
            out.extend_from_slice(&self.vals[(set * self.rows + rows.start) * self.nv..][..rows.len() * self.nv]);
        }
        if !self.row_sums.is_empty() {
            out.extend_from_slice(&self.row_sums[rows.clone()]);
        }
        out
    }

    /// Replaces what [`Acc::select`] gave; returns how many values that were.
    pub(crate) fn replace(&mut self, rows: &Range<usize>, values: &[Value]) -> usize {
        let n = rows.len() * self.nv;
        for set in 0..self.sets {
            let at = (set * self.rows + rows.start) * self.nv;
            self.vals[at..at + n].copy_from_slice(&values[set * n..][..n]);
        }
        let mut used = self.sets * n;
        if !self.row_sums.is_empty() {
            self.row_sums[rows.clone()].copy_from_slice(&values[used..used + rows.len()]);
            used += rows.len();
        }
        used
    }
}
