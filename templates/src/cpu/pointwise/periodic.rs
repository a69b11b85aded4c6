//! A short innermost dimension along which an operand repeats (three channels, a mean for each): the operand is repeated in scratch
//! until whole vectors hold whole periods, and all dimensions become one long loop.

use super::{Elements, PointwiseSpec};
use tflc_kir::{Addr, Builder, CmpOp, Narrow, Value};

/// The most vectors that repeated operands may occupy.
const MAX_VECTORS: usize = 8;
/// Rounds over the period in one work unit.
const ROUNDS: usize = 8;

/// How a specification is walked in periods.
pub(super) struct Period {
    lanes: u16,
    /// Vectors until lane 0 meets the first element of the inner dimension again.
    vectors: usize,
}

impl Period {
    /// The period of `spec` at `lanes` lanes, where that way fits.
    pub(super) fn of(spec: &PointwiseSpec, lanes: u16) -> Option<Period> {
        let (&[_, n], wide) = (&spec.dims[..], usize::from(lanes)) else { return None };
        let dense = [n as i64, 1];
        let fits = spec.output == dense && spec.inputs.iter().all(|s| *s == dense || matches!(s[..], [0, 0 | 1]));
        if wide == 1 || n % wide == 0 || !fits {
            return None;
        }
        let vectors = n / gcd(n, wide);
        let repeated = spec.inputs.iter().filter(|s| s[..] == [0, 1]).count();
        (repeated > 0 && vectors * repeated <= MAX_VECTORS).then_some(Period { lanes, vectors })
    }

    /// Elements of a round.
    fn round(&self) -> usize {
        self.vectors * usize::from(self.lanes)
    }

    pub(super) fn units(&self, spec: &PointwiseSpec) -> u64 {
        (spec.dims[0] * spec.dims[1]).div_ceil(self.round() * ROUNDS) as u64
    }

    pub(super) fn emit(&self, b: &mut Builder, e: &Elements<'_>, pointers: &[Value]) {
        let total = e.spec.dims[0] * e.spec.dims[1];
        let round = self.round();
        let whole = (total - total % round) as i64;
        let block = (round * ROUNDS) as i64;
        let repeated: Vec<Option<Vec<Value>>> = (0..e.inputs()).map(|k| self.repeat(b, e, k, pointers[k])).collect();
        let (begin, end) = (b.begin(), b.end());
        let start = b.mul_const(begin, block);
        let stop = b.mul_const(end, block);
        let limit = b.i64(whole);
        let stop = b.min(stop, limit);
        b.for_loop(start, stop, round as i64, &[], |b, i, _| {
            self.one_round(b, e, pointers, &repeated, i, round);
            vec![]
        });
        if !total.is_multiple_of(round) {
            let units = b.i64(self.units(e.spec) as i64);
            let last = b.cmp(CmpOp::Ge, end, units);
            b.if_then(last, |b| self.one_round(b, e, pointers, &repeated, limit, total % round));
        }
    }

    /// The vectors of input `k` where it repeats or never changes.
    fn repeat(&self, b: &mut Builder, e: &Elements<'_>, k: usize, from: Value) -> Option<Vec<Value>> {
        match (e.stride(k, 0), e.stride(k, 1)) {
            (0, 0) => Some(vec![e.load_everywhere(b, k, Addr::new(from), self.lanes); self.vectors]),
            (0, _) => {
                let bytes = e.bytes(k);
                let n = e.spec.dims[1];
                let space = b.scratch((self.round() as i64 * bytes) as u32, 64);
                let (elem, mem) = super::raw(bytes as usize, 1);
                for j in 0..n {
                    let v = b.load(tflc_kir::Type::scalar(elem), mem, Addr::new(from).offset(j as i64 * bytes));
                    for at in (j..self.round()).step_by(n) {
                        b.store(mem, Narrow::Wrap, Addr::new(space).offset(at as i64 * bytes), v);
                    }
                }
                let step = i64::from(self.lanes) * bytes;
                Some((0..self.vectors as i64).map(|v| e.load(b, k, Addr::new(space).offset(v * step), self.lanes, self.lanes)).collect())
            }
            _ => None,
        }
    }

    /// The first `count` elements of the round at element `i`.
    fn one_round(&self, b: &mut Builder, e: &Elements<'_>, pointers: &[Value], repeated: &[Option<Vec<Value>>], i: Value, count: usize) {
        let lanes = usize::from(self.lanes);
        let mut base = vec![];
        for (k, &p) in pointers.iter().enumerate() {
            let offset = b.mul_const(i, e.bytes(k));
            base.push(if repeated.get(k).is_some_and(Option::is_some) { p } else { b.ptr_add(p, offset) });
        }
        for v in 0..count.div_ceil(lanes) {
            let active = lanes.min(count - v * lanes) as u16;
            let at = |k: usize| Addr::new(base[k]).offset((v * lanes) as i64 * e.bytes(k));
            let mut values = vec![];
            for (k, r) in repeated.iter().enumerate() {
                values.push(match r {
                    Some(vectors) => vectors[v],
                    None => e.load(b, k, at(k), self.lanes, active),
                });
            }
            e.finish(b, values, at(e.inputs()), self.lanes, active);
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
