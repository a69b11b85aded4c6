//! Implicit GEMM: the loop nest that convolutions share.
//!
//! A tile is `mr` neighbouring output pixels of one output row × a panel of channels. Input pixels are read in place. Taps outside the image are
//! skipped: in y by the bounds of the loop over `ky`, computed for each output row; in x by the class of the tile. A class lists runs: neighbouring `kx`
//! for which the same pixels of the tile are inside. Where input pixels are dense (no groups, no dilation in x), a run over several `kx` is one
//! stretch of K. For int8, a skipped tap must count as the zero point: packed B carries `zero_point * Σ_ci w` for each tap and each row of taps.

mod pack;

use crate::cpu::epilogue::{Output, Place};
use crate::cpu::gemm::{for_panel, split_unit};
use crate::cpu::mac::widen::{self, Buffers, Waiting};
use crate::cpu::mac::{Acc, Run, Scheme};
use crate::cpu::tiling::{Panels, RowSplit, choose};
use crate::cpu::window::Axis;
use std::ops::Range;
use tflc_kir::{Addr, BinOp, Builder, Caps, CmpOp, Elem, Locality, Mem, Type, Value};

/// Which output pixels a nest computes: pixel (y, x) of the nest is pixel (y * step_y + y0, x * step_x + x0) of an image of `height × width`,
/// where the origin (y0, x0) is known when the kernel runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct OutMap {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) step_y: usize,
    pub(crate) step_x: usize,
}

/// Shape of a nest. Counts of channels are those of one group.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Geometry {
    pub(crate) batch: usize,
    pub(crate) y: Axis,
    pub(crate) x: Axis,
    /// Distance between input pixels in elements.
    pub(crate) in_pixel: usize,
    pub(crate) groups: usize,
    pub(crate) in_c: usize,
    pub(crate) out_c: usize,
    pub(crate) out: OutMap,
}

/// Neighbouring `kx` for which the same rows (pixels) of a tile lie inside the image.
#[derive(Clone, PartialEq, Eq, Debug)]
struct KxRun {
    kx: Range<usize>,
    rows: Range<usize>,
}

/// Neighbouring tiles of one output row that share their code: `count` tiles of `mr` pixels from pixel `x`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Class {
    x: usize,
    mr: usize,
    count: usize,
    runs: Vec<KxRun>,
}

/// A loop nest for one geometry and target.
pub(crate) struct Nest {
    geometry: Geometry,
    /// How tiles multiply.
    pub(crate) scheme: Scheme,
    /// How weights are packed: the same, unless they are widened before.
    stored: Scheme,
    pub(crate) mr: usize,
    pub(crate) panels: Panels,
    classes: Vec<Class>,
    /// Output rows of a unit.
    block_rows: usize,
    /// What a skipped tap counts as: the zero point as the scheme sees it; 0 for floats.
    pub(crate) zero: Zero,
    /// Whether a run over several `kx` is contiguous.
    dense: bool,
    /// Whether partial runs read weights packed tap by tap, behind those packed row by row.
    split_copy: bool,
    /// Who subtracts the zero point.
    pub(crate) centering: Centering,
    /// What is widened at a time of weights that are stored as halves and multiplied as floats.
    widened: Option<Widened>,
}

/// A zero point as a scheme sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Zero {
    /// This; packed sums of weights are multiplied by it.
    Known(i32),
    /// [`Call::zero`]; sums of weights are packed as they are.
    Given,
}

impl Zero {
    /// Whether nothing needs to be known of skipped taps.
    fn is_none(self) -> bool {
        self == Zero::Known(0)
    }
}

/// Weights that are widened at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Widened {
    /// Panels.
    Panels,
    /// Rows of taps of a panel; accumulators wait in between.
    Rows,
}

/// Who subtracts what the zero point of A contributes to an accumulator, `zero_point * Σ w` over all taps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Centering {
    /// The caller, in the bias.
    Bias,
    /// The kernel, from a further vector of each panel: several nests share one bias.
    Kernel,
}

/// Cache lines that a tile fetches for what follows, at most: more would be much code for a few tiles.
const MOST_LINES: usize = 32;

/// Pixels of a unit, so that a panel of weights in the first-level cache serves many.
const BLOCK_PIXELS: usize = 112;

impl Geometry {
    /// Whether the taps of a row lie side by side in the input.
    fn is_dense(&self) -> bool {
        self.groups == 1 && self.x.dilation == 1 && self.in_pixel == self.in_c
    }

    /// Longest run of K.
    pub(crate) fn longest_run(&self) -> usize {
        if self.is_dense() { self.x.kernel * self.in_c } else { self.in_c }
    }

    fn classes(&self, split: RowSplit) -> Vec<Class> {
        let mut classes: Vec<Class> = vec![];
        for t in 0..split.tiles() {
            let (x, mr) = split.tile(t);
            let mut runs: Vec<KxRun> = vec![];
            for kx in 0..self.x.kernel {
                let rows = self.x.inside(x, mr, kx);
                match runs.last_mut() {
                    _ if rows.is_empty() => {}
                    Some(run) if run.rows == rows && run.kx.end == kx => run.kx.end += 1,
                    _ => runs.push(KxRun { kx: kx..kx + 1, rows }),
                }
            }
            match classes.last_mut() {
                Some(c) if c.mr == mr && c.runs == runs => c.count += 1,
                _ => classes.push(Class { x, mr, count: 1, runs }),
            }
        }
        classes
    }
}

impl Nest {
    pub(crate) fn new(geometry: Geometry, scheme: Scheme, caps: &Caps, zero_point: i32) -> Nest {
        let g = &geometry;
        let tile = choose(&scheme, g.x.output, g.out_c, g.y.kernel * g.x.kernel * g.in_c, caps.l1_bytes);
        let split = RowSplit::new(g.x.output, tile.mr);
        let panels = Panels::new(g.out_c, tile.nv, scheme.lanes);
        let classes = g.classes(split);
        let dense = g.is_dense();
        let partial = classes.iter().any(|c| c.runs.iter().any(|r| r.kx.len() < g.x.kernel));
        let split_copy = dense && partial && !g.in_c.is_multiple_of(scheme.kr());
        let float = scheme.acc_ty() == crate::expr::Ty::F32;
        let zero = if float { 0 } else { zero_point + scheme.a_shift() };
        let block_rows = (BLOCK_PIXELS / g.x.output).clamp(1, g.batch * g.y.output);
        let stored = scheme.clone();
        Nest {
            geometry,
            scheme,
            stored,
            mr: split.mr,
            panels,
            classes,
            block_rows,
            zero: Zero::Known(zero),
            dense,
            split_copy,
            centering: Centering::Bias,
            widened: None,
        }
    }

    /// The same with weights of halves that each unit widens, where they are halves and that pays.
    pub(crate) fn widened(mut self) -> Nest {
        let g = &self.geometry;
        let tiles = self.block_rows * self.classes.iter().map(|c| c.count).sum::<usize>();
        if !self.stored.widens() || tiles <= widen::FEW_TILES {
            return self;
        }
        let floats = self.stored.of_floats();
        let row_bytes = self.ky_bytes(&floats, self.panels.nr).0;
        self.widened = if g.y.kernel * row_bytes <= widen::MOST_BYTES {
            Some(Widened::Panels)
        } else {
            let fits = row_bytes.max(self.sums_bytes()) <= widen::MOST_BYTES;
            (fits && g.y.always_inside()).then_some(Widened::Rows)
        };
        if self.widened.is_some() {
            self.scheme = floats;
        }
        self
    }

    /// Whether it is so.
    pub(crate) fn widens(&self) -> bool {
        self.widened.is_some()
    }

    /// Reserves the buffers for that, once, outside of all loops.
    pub(crate) fn widening_buffers(&self, b: &mut Builder) -> Option<Buffers> {
        let row = self.ky_bytes(&self.scheme, self.panels.nr).0;
        Some(match self.widened? {
            Widened::Panels => Buffers::new(b, self.geometry.y.kernel * row, None),
            Widened::Rows => Buffers::new(b, row, Some(self.sums_bytes())),
        })
    }

    /// Bytes of the accumulators of all pixels of a unit.
    fn sums_bytes(&self) -> usize {
        self.block_rows * self.geometry.x.output * self.panels.nr * 4
    }

    /// Blocks of output rows, over all images.
    fn blocks(&self) -> usize {
        (self.geometry.batch * self.geometry.y.output).div_ceil(self.block_rows)
    }

    /// Number of work units: row blocks × groups × panels, panels fastest.
    pub(crate) fn units(&self) -> usize {
        self.blocks() * self.geometry.groups * self.panels.count
    }

    /// Multiply-adds of a unit.
    pub(crate) fn unit_work(&self) -> usize {
        let g = &self.geometry;
        self.block_rows * g.x.output * self.panels.nr * g.y.kernel * g.x.kernel * g.in_c
    }

    /// Longest run of K.
    pub(crate) fn longest_run(&self) -> usize {
        self.geometry.longest_run()
    }

    /// Emits one unit.
    pub(crate) fn unit(&self, b: &mut Builder, call: &Call<'_>, unit: Value) {
        let (a, packed) = (call.a, call.packed);
        let g = &self.geometry;
        let (outer, panel) = split_unit(b, unit, self.blocks() * g.groups, self.panels.count);
        let (block, group) = split_unit(b, outer, self.blocks(), g.groups);
        let group_weights = b.mul_const(group, self.group_bytes() as i64);
        let packed = b.ptr_add(packed, group_weights);
        let offset = b.mul_const(panel, self.panel_bytes(self.panels.nr) as i64);
        let weights = b.ptr_add(packed, offset);
        let group_a = b.mul_const(group, g.in_c as i64 * self.scheme.a_bytes());
        let a = b.ptr_add(a, group_a);
        let group_col = b.mul_const(group, g.out_c as i64);
        let col = b.mul_const(panel, self.panels.nr as i64);
        let col = b.add(group_col, col);
        let first = b.mul_const(block, self.block_rows as i64);
        let stop = b.add_const(first, self.block_rows as i64);
        let rows = b.i64((g.batch * g.y.output) as i64);
        let stop = b.min(stop, rows);
        for_panel(b, &self.panels, panel, |b, vectors| {
            let steps = g.x.kernel * g.in_c * vectors.len();
            let row_bytes = self.ky_bytes(&self.stored, vectors.len() * usize::from(self.stored.lanes)).0;
            let part = Part { call, a, col, vectors, lines: (first, stop), weights, waiting: None, next: None };
            let next = |b: &mut Builder, from: Value, bytes: usize| (b.ptr_add_const(from, bytes as i64), bytes);
            match call.widened {
                None => self.lines(b, &part),
                Some(Buffers { weights: floats, sums: None }) => {
                    self.stored.widen(b, weights, floats, g.y.kernel * steps);
                    let next = next(b, weights, g.y.kernel * row_bytes);
                    self.lines(b, &Part { weights: floats, next: Some(next), ..part });
                }
                Some(Buffers { weights: floats, sums: Some(sums) }) => {
                    b.for_const(0, g.y.kernel as i64, 1, &[weights], |b, ky, packed| {
                        self.stored.widen(b, packed[0], floats, steps);
                        let next = next(b, packed[0], row_bytes);
                        self.lines(b, &Part { weights: floats, waiting: Some((ky, sums)), next: Some(next), ..part });
                        vec![next.0]
                    });
                }
            }
        });
    }

    /// All output rows of a unit.
    fn lines(&self, b: &mut Builder, part: &Part<'_>) {
        let g = &self.geometry;
        let (first, stop) = part.lines;
        b.for_loop(first, stop, 1, &[], |b, line, _| {
            let (image, y) = split_unit(b, line, g.batch, g.y.output);
            let row = OutRow { part, line, image, y, ky: g.y.taps(b, y) };
            let Some((ky, _)) = part.waiting else {
                self.row(b, &row);
                return vec![];
            };
            let (from, to) = (b.cmp(CmpOp::Le, row.ky.0, ky), b.cmp(CmpOp::Lt, ky, row.ky.1));
            let inside = b.bin(BinOp::And, from, to);
            let body = |b: &mut Builder| {
                self.row(b, &row);
                vec![]
            };
            b.if_else(inside, body, |_| vec![]);
            vec![]
        });
    }

    /// All tiles of an output row.
    fn row(&self, b: &mut Builder, row: &OutRow<'_>) {
        let g = &self.geometry;
        let line_bytes = g.x.input as i64 * self.pixel_bytes();
        // (image * in_h + y * stride - pad) input lines.
        let line = b.mul_const(row.image, g.y.input as i64);
        let y = b.mul_const(row.y, g.y.stride as i64);
        let line = b.add(line, y);
        let line = b.add_const(line, -g.y.pad);
        let offset = b.mul_const(line, line_bytes);
        let a = b.ptr_add(row.part.a, offset);
        let out = b.mul_const(row.image, g.out.height as i64);
        let y = b.mul_const(row.y, g.out.step_y as i64);
        let out = b.add(out, y);
        let out = b.add(out, row.part.call.origin.0);
        let out = b.mul_const(out, g.out.width as i64);
        let out = b.add(out, row.part.call.origin.1);
        for class in &self.classes {
            b.for_const(0, class.count as i64, 1, &[], |b, t, _| {
                let x = b.mul_const(t, class.mr as i64);
                let x = b.add_const(x, class.x as i64);
                let at = b.mul_const(x, g.x.stride as i64 * self.pixel_bytes());
                let at = b.add_const(at, -g.x.pad * self.pixel_bytes());
                let a = b.ptr_add(a, at);
                let pixel = b.mul_const(x, g.out.step_x as i64);
                let pixel = b.add(out, pixel);
                let place =
                    Place { row: pixel, row_step: g.out.step_x as i64, col: row.part.col, rows: class.mr, vectors: row.part.vectors };
                self.tile(b, row, class, (x, a), &place);
                vec![]
            });
        }
    }

    fn pixel_bytes(&self) -> i64 {
        self.geometry.in_pixel as i64 * self.scheme.a_bytes()
    }

    /// What accumulators start from, one value for each vector: the epilogue's bias and what the rows of taps outside the image count
    /// as; none where both are zero.
    fn start(&self, b: &mut Builder, row: &OutRow<'_>) -> Option<Vec<Value>> {
        let g = &self.geometry;
        let bias = row.part.call.output.start(b, row.part.col, row.part.vectors);
        let (skips, centers) = (!g.y.all_inside(), self.centering == Centering::Kernel);
        if self.zero.is_none() || !(skips || centers) {
            return bias;
        }
        let columns = row.part.vectors.len() * usize::from(self.scheme.lanes);
        let ty = Type::vector(Elem::I32, self.scheme.lanes);
        let mut sums = bias.unwrap_or_else(|| row.part.vectors.iter().map(|_| b.int(ty, 0)).collect());
        let at = self.weight_bytes(columns) + 4 * columns * g.y.kernel * g.x.kernel;
        let table = b.ptr_add_const(row.part.weights, at as i64);
        if centers {
            sums = self.add_skipped(b, &sums, Addr::new(table).offset((4 * columns * g.y.kernel) as i64), row.part.call);
        }
        if !skips {
            return Some(sums);
        }
        let (zero, all) = (b.i64(0), b.i64(g.y.kernel as i64));
        for (from, to) in [(zero, row.ky.0), (row.ky.1, all)] {
            let offset = b.mul_const(from, 4 * columns as i64);
            sums.push(b.ptr_add(table, offset));
            sums = b.for_loop(from, to, 1, &sums, |b, _, c| {
                let (&p, sums) = c.split_last().expect("the pointer is carried last");
                let mut sums = self.add_skipped(b, sums, Addr::new(p), row.part.call);
                sums.push(b.ptr_add_const(p, 4 * columns as i64));
                sums
            });
            sums.pop();
        }
        Some(sums)
    }

    /// `sums[v]` and what the skipped taps whose sums of weights lie at `at` count as.
    fn add_skipped(&self, b: &mut Builder, sums: &[Value], at: Addr, call: &Call<'_>) -> Vec<Value> {
        let terms = self.skipped(b, sums.len(), at, call);
        sums.iter().zip(terms).map(|(&s, t)| b.add(s, t)).collect()
    }

    /// What the skipped taps whose sums of weights lie at `at` count as.
    fn skipped(&self, b: &mut Builder, count: usize, at: Addr, call: &Call<'_>) -> Vec<Value> {
        let sums = self.vectors(b, count, at);
        match call.zero {
            Some(zero) => sums.into_iter().map(|s| b.mul(s, zero)).collect(),
            None => sums,
        }
    }

    /// Neighbouring vectors of sums.
    fn vectors(&self, b: &mut Builder, count: usize, at: Addr) -> Vec<Value> {
        let ty = Type::vector(Elem::I32, self.scheme.lanes);
        let bytes = i64::from(self.scheme.lanes) * 4;
        (0..count as i64).map(|v| b.load(ty, Mem::S32, at.offset(v * bytes))).collect()
    }

    /// A tile from pixel `x` of the row; `a` is the line of its first pixel and tap (0, 0).
    fn tile(&self, b: &mut Builder, row: &OutRow<'_>, class: &Class, (x, a): (Value, Value), place: &Place<'_>) {
        let g = &self.geometry;
        let output = row.part.call.output;
        let line_bytes = (g.y.dilation * g.x.input) as i64 * self.pixel_bytes();
        let columns = place.vectors.len() * usize::from(self.scheme.lanes);
        let body = |b: &mut Builder, ky: Value, a: Value, weights: Value, acc: &mut Acc| {
            for run in &class.runs {
                let at = if self.by_taps(run) { self.tap_copy(b, row.part.weights, ky, columns) } else { weights };
                self.kx_run(b, acc, run, class, a, at, columns);
            }
            self.skipped_pixels(b, acc, class, row.part, ky, columns);
        };
        let k = g.x.kernel * g.in_c;
        self.prefetch_next(b, row, class, x);
        if let Some((ky, sums)) = row.part.waiting {
            let waiting = self.waiting(b, row, x, (ky, sums));
            let mut acc = self.scheme.take_up(b, (class.mr, place.vectors.len()), k, &waiting, |b| self.start(b, row));
            let line = b.mul_const(ky, line_bytes);
            let a = b.ptr_add(a, line);
            body(b, ky, a, row.part.weights, &mut acc);
            return self.scheme.leave(b, acc, &waiting, |b, sums| output.store(b, place, sums));
        }
        let mut acc = self.scheme.begin(b, class.mr, place.vectors.len(), g.y.kernel * k, row.part.call.scratch);
        // Not kept over the tiles of a row: that would take registers from their loops.
        if let Some(values) = self.start(b, row) {
            acc.fill(b, &values);
        }
        let all = 0..class.mr;
        let row_bytes = self.ky_bytes(&self.scheme, columns).0 as i64;
        let (line, taps) = (b.mul_const(row.ky.0, line_bytes), b.mul_const(row.ky.0, row_bytes));
        let (a, weights) = (b.ptr_add(a, line), b.ptr_add(row.part.weights, taps));
        if g.y.all_inside() && g.y.kernel == 1 {
            body(b, row.ky.0, a, weights, &mut acc);
        } else {
            let mut carried = acc.select(&all);
            carried.extend([a, weights]);
            let out = b.for_loop(row.ky.0, row.ky.1, 1, &carried, |b, ky, c| {
                let mut inner = acc.clone();
                let n = inner.replace(&all, c);
                body(b, ky, c[n], c[n + 1], &mut inner);
                let mut yields = inner.select(&all);
                yields.push(b.ptr_add_const(c[n], line_bytes));
                yields.push(b.ptr_add_const(c[n + 1], row_bytes));
                yields
            });
            acc.replace(&all, &out);
        }
        let acc = self.scheme.end(b, acc);
        output.store(b, place, &acc);
    }

    /// Fetches a tile's share of the halves that are widened next, so that widening does not wait for them.
    fn prefetch_next(&self, b: &mut Builder, row: &OutRow<'_>, class: &Class, x: Value) {
        let Some((next, bytes)) = row.part.next else { return };
        let share = bytes / (self.block_rows * self.geometry.x.output);
        let pixel = self.pixel_of_unit(b, row, x);
        let at = b.mul_const(pixel, share as i64);
        let at = b.ptr_add(next, at);
        for line in 0..(class.mr * share).div_ceil(64).min(MOST_LINES) {
            b.prefetch(Addr::new(at).offset(line as i64 * 64), Locality::L1);
        }
    }

    /// The number of pixel `x` of a row among those of the unit.
    fn pixel_of_unit(&self, b: &mut Builder, row: &OutRow<'_>, x: Value) -> Value {
        let line = b.sub(row.line, row.part.lines.0);
        let pixel = b.mul_const(line, self.geometry.x.output as i64);
        b.add(pixel, x)
    }

    /// Where the accumulators of the tile from pixel `x` of a row wait while other rows of taps than `ky` are multiplied.
    fn waiting(&self, b: &mut Builder, row: &OutRow<'_>, x: Value, (ky, sums): (Value, Value)) -> Waiting {
        let pixel = self.pixel_of_unit(b, row, x);
        let offset = b.mul_const(pixel, self.panels.nr as i64 * 4);
        let next = b.add_const(ky, 1);
        let (is_first, is_last) = (b.cmp(CmpOp::Eq, ky, row.ky.0), b.cmp(CmpOp::Eq, next, row.ky.1));
        Waiting { sums: b.ptr_add(sums, offset), is_first, is_last }
    }

    /// Whether a run reads the copy of the weights that is packed tap by tap.
    fn by_taps(&self, run: &KxRun) -> bool {
        self.split_copy && run.kx.len() < self.geometry.x.kernel
    }

    /// Where that copy holds row `ky`.
    fn tap_copy(&self, b: &mut Builder, weights: Value, ky: Value, columns: usize) -> Value {
        let (row_bytes, tap_row_bytes) = self.ky_bytes(&self.scheme, columns);
        let offset = b.mul_const(ky, tap_row_bytes as i64);
        let offset = b.add_const(offset, (self.geometry.y.kernel * row_bytes) as i64);
        b.ptr_add(weights, offset)
    }

    /// Accumulates the taps of a run; `a` is the line of the tile's first pixel and tap (ky, 0), `weights` those of row ky.
    #[allow(clippy::too_many_arguments)]
    fn kx_run(&self, b: &mut Builder, acc: &mut Acc, run: &KxRun, class: &Class, a: Value, weights: Value, columns: usize) {
        let g = &self.geometry;
        let row_offsets: Vec<i64> = (0..class.mr as i64).map(|r| r * g.x.stride as i64 * self.pixel_bytes()).collect();
        let by_taps = self.by_taps(run);
        let tap_bytes = self.scheme.run_bytes(g.in_c, columns) as i64;
        let tap_a = g.x.dilation as i64 * self.pixel_bytes();
        let one = |b: &mut Builder, acc: &mut Acc, a: Value, weights: Value, k: usize| {
            let run = Run { a, rows: run.rows.clone(), row_offsets: &row_offsets, b: weights, k, prefetch: vec![] };
            self.scheme.run(b, acc, &run);
        };
        let first = run.kx.start as i64;
        if self.dense && !by_taps {
            let a = b.ptr_add_const(a, first * tap_a);
            let weights = b.ptr_add_const(weights, first * tap_bytes);
            return one(b, acc, a, weights, run.kx.len() * g.in_c);
        }
        let carried = acc.select(&run.rows);
        let out = b.for_const(first, run.kx.end as i64, 1, &carried, |b, kx, c| {
            let mut inner = acc.clone();
            inner.replace(&run.rows, c);
            let (at, wt) = (b.mul_const(kx, tap_a), b.mul_const(kx, tap_bytes));
            let (a, weights) = (b.ptr_add(a, at), b.ptr_add(weights, wt));
            one(b, &mut inner, a, weights, g.in_c);
            inner.select(&run.rows)
        });
        acc.replace(&run.rows, &out);
    }

    /// Adds what taps of row `ky` count as for the pixels of the tile for which they lie outside.
    fn skipped_pixels(&self, b: &mut Builder, acc: &mut Acc, class: &Class, part: &Part<'_>, ky: Value, columns: usize) {
        let g = &self.geometry;
        if self.zero.is_none() {
            return;
        }
        let table = b.ptr_add_const(part.weights, self.weight_bytes(columns) as i64);
        let offset = b.mul_const(ky, (4 * columns * g.x.kernel) as i64);
        let table = b.ptr_add(table, offset);
        for kx in 0..g.x.kernel {
            let inside = g.x.inside(class.x, class.mr, kx);
            for r in (0..class.mr).filter(|r| !inside.contains(r)) {
                let terms = self.skipped(b, acc.nv, Addr::new(table).offset((4 * columns * kx) as i64), part.call);
                acc.add_to_row(b, r, &terms);
            }
        }
    }
}

/// What a nest is given when it is emitted.
pub(crate) struct Call<'a> {
    /// The input.
    pub(crate) a: Value,
    /// Where this nest's packed weights begin.
    pub(crate) packed: Value,
    pub(crate) output: &'a Output<'a>,
    /// From [`Scheme::scratch`].
    pub(crate) scratch: Option<Value>,
    /// From [`Nest::widening_buffers`].
    pub(crate) widened: Option<Buffers>,
    /// Output pixel (y, x) of the nest's first pixel.
    pub(crate) origin: (Value, Value),
    /// The zero point in every lane of I32, where that is [`Zero::Given`].
    pub(crate) zero: Option<Value>,
}

/// Output rows of a panel against its weights, or against one row of its taps.
#[derive(Clone, Copy)]
struct Part<'a> {
    call: &'a Call<'a>,
    a: Value,
    col: Value,
    vectors: &'a [u16],
    /// The first output row, and one behind the last.
    lines: (Value, Value),
    weights: Value,
    /// The row of taps that `weights` are, and where accumulators wait.
    waiting: Option<(Value, Value)>,
    /// Halves that are widened next, and their bytes.
    next: Option<(Value, usize)>,
}

/// One output row of a part.
struct OutRow<'a> {
    part: &'a Part<'a>,
    /// Its number, its image and its place there.
    line: Value,
    image: Value,
    y: Value,
    /// Taps inside the image in y.
    ky: (Value, Value),
}
