//! Square tiles: where the output is contiguous along the innermost dimension and some inputs along another one, their rows
//! are loaded along that other dimension and transposed in registers.
//!
//! Vectors have 16 bytes on every target: the transposition then needs nothing but interleaving within 128-bit blocks.

use super::{Elements, PointwiseSpec};
use tflc_kir::{Addr, Builder, Elem, Value};

/// How a specification is cut into tiles.
pub(super) struct Tile {
    /// The dimension along which the transposed inputs are contiguous.
    across: usize,
    /// Elements of a side.
    side: usize,
}

impl Tile {
    /// The tiling of `spec`, where one helps.
    pub(super) fn of(spec: &PointwiseSpec) -> Option<Tile> {
        let last = spec.dims.len().checked_sub(1)?;
        let side = match spec.copied_bytes() {
            Some(bytes) => 16 / bytes,
            None if spec.is_wide() => return None,
            None => 4,
        };
        let strided = |s: &&Vec<i64>| s[last] != 0 && s[last] != 1;
        let across = (0..last).find(|&d| spec.inputs.iter().filter(strided).all(|s| s[d] == 1))?;
        let any = spec.inputs.iter().any(|s| strided(&s));
        (any && spec.output[last] == 1 && spec.dims[across] > 1).then_some(Tile { across, side })
    }

    /// Dimensions in loop order: all but the tile's two, then those; the outermost one is split into units.
    fn outer(&self, spec: &PointwiseSpec) -> Vec<usize> {
        (0..spec.dims.len() - 1).filter(|&d| d != self.across).collect()
    }

    /// Work units: indices of the outermost dimension that is not tiled; without one, columns of tiles.
    pub(super) fn units(&self, spec: &PointwiseSpec) -> u64 {
        match self.outer(spec).first() {
            Some(&d) => spec.dims[d] as u64,
            None => spec.dims[self.across].div_ceil(self.side) as u64,
        }
    }

    pub(super) fn emit(&self, b: &mut Builder, e: &Elements<'_>, pointers: &[Value]) {
        let outer = self.outer(e.spec);
        let (begin, end) = (b.begin(), b.end());
        match outer.split_first() {
            Some((&d, rest)) => e.walk(b, d, begin, end, pointers, |b, p| self.nest(b, e, p, rest)),
            None => {
                let n = e.spec.dims[self.across];
                let whole = b.i64((n / self.side) as i64);
                let stop = b.min(end, whole);
                b.for_loop(begin, stop, 1, &[], |b, u, _| {
                    let i = b.mul_const(u, self.side as i64);
                    self.column(b, e, pointers, i, self.side);
                    vec![]
                });
                if !n.is_multiple_of(self.side) {
                    let all = b.i64(n.div_ceil(self.side) as i64);
                    let last = b.cmp(tflc_kir::CmpOp::Ge, end, all);
                    b.if_then(last, |b| {
                        let i = b.i64((n - n % self.side) as i64);
                        self.column(b, e, pointers, i, n % self.side);
                    });
                }
            }
        }
    }

    fn nest(&self, b: &mut Builder, e: &Elements<'_>, pointers: &[Value], outer: &[usize]) {
        let zero = b.i64(0);
        if let Some((&d, rest)) = outer.split_first() {
            let n = b.i64(e.spec.dims[d] as i64);
            e.walk(b, d, zero, n, pointers, |b, p| self.nest(b, e, p, rest));
            return;
        }
        let n = e.spec.dims[self.across];
        let whole = n - n % self.side;
        b.for_const(0, whole as i64, self.side as i64, &[], |b, i, _| {
            self.column(b, e, pointers, i, self.side);
            vec![]
        });
        if whole < n {
            let i = b.i64(whole as i64);
            self.column(b, e, pointers, i, n - whole);
        }
    }

    /// All tiles along the innermost dimension at `width` indices of the dimension across, from index `i`.
    fn column(&self, b: &mut Builder, e: &Elements<'_>, pointers: &[Value], i: Value, width: usize) {
        let mut at = vec![];
        for (k, &p) in pointers.iter().enumerate() {
            let offset = b.mul_const(i, e.step(k, self.across));
            at.push(b.ptr_add(p, offset));
        }
        let n = e.spec.dims[e.spec.dims.len() - 1];
        let whole = n - n % self.side;
        b.for_const(0, whole as i64, self.side as i64, &[], |b, j, _| {
            self.tile(b, e, &at, j, width, self.side);
            vec![]
        });
        if whole < n {
            let j = b.i64(whole as i64);
            self.tile(b, e, &at, j, width, n - whole);
        }
    }

    /// One tile: `width` rows of the output (indices across) of `length` elements from index `j`.
    fn tile(&self, b: &mut Builder, e: &Elements<'_>, at: &[Value], j: Value, width: usize, length: usize) {
        let last = e.spec.dims.len() - 1;
        let lanes = self.side as u16;
        let mut base = vec![];
        for (k, &p) in at.iter().enumerate() {
            let offset = b.mul_const(j, e.step(k, last));
            base.push(b.ptr_add(p, offset));
        }
        // For each input one vector for each row of the output.
        let mut inputs: Vec<Vec<Value>> = vec![];
        for k in 0..e.inputs() {
            let across = e.step(k, self.across);
            let vectors = match e.stride(k, last) {
                0 if across == 0 => vec![e.load_everywhere(b, k, Addr::new(base[k]), lanes); width],
                1 if across == 0 => vec![e.load(b, k, Addr::new(base[k]), lanes, length as u16); width],
                step @ (0 | 1) => {
                    let mut rows = vec![];
                    for r in 0..width as i64 {
                        let addr = far(b, base[k], r * across);
                        rows.push(if step == 0 { e.load_everywhere(b, k, addr, lanes) } else { e.load(b, k, addr, lanes, length as u16) });
                    }
                    rows
                }
                _ => {
                    let mut rows = vec![];
                    for c in 0..length as i64 {
                        let addr = far(b, base[k], c * e.step(k, last));
                        rows.push(e.load(b, k, addr, lanes, width as u16));
                    }
                    self.transpose(b, rows)
                }
            };
            inputs.push(vectors);
        }
        let y = e.inputs();
        for r in 0..width {
            let to = far(b, base[y], r as i64 * e.step(y, self.across));
            let values = inputs.iter().map(|v| v[r]).collect();
            e.finish(b, values, to, lanes, length as u16);
        }
    }

    /// The transpose of up to `side` vectors of `side` lanes; missing rows count as zero.
    fn transpose(&self, b: &mut Builder, mut rows: Vec<Value>) -> Vec<Value> {
        let ty = b.ty(rows[0]);
        // Masks are transposed as integers.
        let mask = ty.elem == Elem::Bool;
        let ty = if mask { ty.with_elem(Elem::I32) } else { ty };
        if mask {
            let (one, zero) = (b.int(ty, 1), b.int(ty, 0));
            rows = rows.into_iter().map(|v| b.select(v, one, zero)).collect();
        }
        let zero = if ty.elem.is_float() { b.float(ty, 0.0) } else { b.int(ty, 0) };
        rows.resize(self.side, zero);
        // Interleaving halves: after all rounds vector i holds column i. Each round pairs vector i with i + side/2.
        let half = self.side / 2;
        let mut round = 1;
        while round < self.side {
            let mut next = Vec::with_capacity(self.side);
            for i in 0..half {
                next.push(b.unpack_lo(rows[i], rows[i + half]));
                next.push(b.unpack_hi(rows[i], rows[i + half]));
            }
            rows = next;
            round *= 2;
        }
        if mask {
            rows = rows.into_iter().map(|v| b.cmp(tflc_kir::CmpOp::Ne, v, zero)).collect();
        }
        rows
    }
}

/// The address `bytes` behind `base`, however far.
fn far(b: &mut Builder, base: Value, bytes: i64) -> Addr {
    if i32::try_from(bytes).is_ok() {
        Addr::new(base).offset(bytes)
    } else {
        let p = b.ptr_add_const(base, bytes);
        Addr::new(p)
    }
}
