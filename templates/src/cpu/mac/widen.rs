//! Weights of halves that many row tiles share: they are widened once, into a buffer that those tiles read.
//!
//! In memory they take half the bytes of floats. Where few tiles share them, each widens them as it loads them. Where the buffer does not hold a panel, part after part of K is
//! widened, and the accumulators of all tiles wait in another buffer in between.

use super::{Acc, Kind, Scheme, WeightFormat};
use tflc_kir::{Addr, Builder, Elem, Mem, Narrow, Op, Type, Value};

/// Tiles that are too few to widen weights for.
pub(crate) const FEW_TILES: usize = 2;
/// Bytes of a buffer, at most. It lies on the stack.
pub(crate) const MOST_BYTES: usize = 64 << 10;
/// Weights that are worth keeping as halves, at least.
pub(crate) const LEAST_WEIGHTS: usize = 8192;

/// Buffers of a kernel that widens weights.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buffers {
    /// Floats of a panel, or of a part of it.
    pub(crate) weights: Value,
    /// Accumulators of all tiles of a unit; where panels have several parts.
    pub(crate) sums: Option<Value>,
}

impl Buffers {
    /// Reserves buffers of so many bytes, once, outside of all loops.
    pub(crate) fn new(b: &mut Builder, weights: usize, sums: Option<usize>) -> Buffers {
        let mut space = |bytes: usize| b.scratch(bytes as u32, 64);
        Buffers { weights: space(weights), sums: sums.map(space) }
    }
}

/// Where a tile's accumulators wait, and whether this part of K is the first or the last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waiting {
    pub(crate) sums: Value,
    pub(crate) is_first: Value,
    pub(crate) is_last: Value,
}

impl Waiting {
    fn at(&self, ty: Type, i: usize) -> Addr {
        Addr::new(self.sums).offset(i as i64 * i64::from(ty.lanes) * 4)
    }
}

impl Scheme {
    /// Accumulators of a tile for a part of K of `k` elements: from `start` in the first one, from zero where that gives none.
    pub(crate) fn take_up(
        &self,
        b: &mut Builder,
        (rows, nv): (usize, usize),
        k: usize,
        waiting: &Waiting,
        start: impl FnOnce(&mut Builder) -> Option<Vec<Value>>,
    ) -> Acc {
        let mut acc = self.begin(b, rows, nv, k, None);
        let ty = Type::vector(Elem::F32, self.lanes);
        let sums = b.if_else(
            waiting.is_first,
            |b| match start(b) {
                Some(values) => values.repeat(rows),
                None => vec![b.inst(Op::Const(0), ty, &[]); rows * nv],
            },
            |b| (0..rows * nv).map(|i| b.load(ty, Mem::F32, waiting.at(ty, i))).collect(),
        );
        acc.start_from(&sums);
        acc
    }

    /// Hands the accumulators to `store` after the last part, and leaves them to wait after any other.
    pub(crate) fn leave(&self, b: &mut Builder, acc: Acc, waiting: &Waiting, store: impl FnOnce(&mut Builder, &[Value])) {
        let sums = self.end(b, acc);
        b.if_else(
            waiting.is_last,
            |b| {
                store(b, &sums);
                vec![]
            },
            |b| {
                let ty = Type::vector(Elem::F32, self.lanes);
                sums.iter().enumerate().for_each(|(i, &sum)| b.store(Mem::F32, Narrow::Wrap, waiting.at(ty, i), sum));
                vec![]
            },
        );
    }

    /// Whether it multiplies floats by weights of halves that it widens.
    pub(crate) fn widens(&self) -> bool {
        self.weights == WeightFormat::F16 && matches!(self.kind, Kind::Float | Kind::FloatLanes)
    }

    /// The same with weights of floats.
    pub(crate) fn of_floats(&self) -> Scheme {
        Scheme { weights: WeightFormat::F32, ..self.clone() }
    }

    /// Widens so many vectors of packed halves.
    pub(crate) fn widen(&self, b: &mut Builder, packed: Value, to: Value, vectors: usize) {
        const UNROLL: i64 = 4;
        let ty = Type::vector(Elem::F32, self.lanes);
        let vectors = vectors as i64;
        let one = |b: &mut Builder, from: Value, to: Value, i: i64| {
            let v = b.load(ty, Mem::F16, Addr::new(from).offset(i * i64::from(ty.lanes) * 2));
            b.store(Mem::F32, Narrow::Wrap, Addr::new(to).offset(i * i64::from(ty.lanes) * 4), v);
        };
        let whole = vectors / UNROLL * UNROLL;
        let ends = b.for_const(0, whole, UNROLL, &[packed, to], |b, _, at| {
            (0..UNROLL).for_each(|i| one(b, at[0], at[1], i));
            let step = UNROLL * i64::from(ty.lanes);
            vec![b.ptr_add_const(at[0], step * 2), b.ptr_add_const(at[1], step * 4)]
        });
        (0..vectors - whole).for_each(|i| one(b, ends[0], ends[1], i));
    }
}
