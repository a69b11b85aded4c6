//! Non-maximum suppression: boxes in the order of their scores, without those that overlap a chosen one too much.
//!
//! A heap of candidates gives the best next. Soft suppression lowers a candidate's score by each overlap (Bodla et al., arXiv 1704.04503) and puts it back
//! into the heap; it is compared only with boxes chosen since. There is one work unit.

use super::heap::{pop, sift_up};
use super::scalar::{both, get, get_int, put, put_int, s};
use crate::expr::emit::emit;
use crate::expr::{ExprBuilder, Storage, Unary};
use tflc_kir::{BinOp, Builder, Caps, CmpOp, Kernel, Type, Value};

/// Status where an operand's value makes no sense.
pub const INVALID_VALUE: i32 = 4;

/// Specification of a suppression.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SuppressSpec {
    /// Boxes.
    pub boxes: usize,
    /// The most boxes that are chosen.
    pub most: usize,
    /// Whether scores decay (with results for them), else overlapping boxes are dropped only.
    pub soft: bool,
}

impl SuppressSpec {
    /// Bytes of the workspace.
    pub fn workspace_bytes(&self) -> usize {
        self.boxes * 12
    }

    /// Builds the kernel: parameters are boxes `[n, 4]`, scores, overlap threshold, least score, sigma where soft, workspace; chosen indices, their scores
    /// where soft, their number.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut builder = Builder::new("non_max_suppression");
        let b = &mut builder;
        let [boxes, scores, overlap, least] = ["boxes", "scores", "overlap", "least"].map(|n| b.ptr_param(n));
        let sigma = self.soft.then(|| b.ptr_param("sigma"));
        let (work, chosen) = (b.ptr_param("work"), b.ptr_param("chosen"));
        let kept = self.soft.then(|| b.ptr_param("kept"));
        let number = b.ptr_param("number");
        let (zero, zero_f, none) = (b.i64(0), b.float(Type::F32, 0.0), b.i32(0));
        b.for_const(0, self.most as i64, 1, &[], |b, i, _| {
            put_int(b, false, chosen, i, zero);
            if let Some(kept) = kept {
                put(b, Storage::F32, kept, i, zero_f);
            }
            vec![]
        });
        let [overlap, least] = [overlap, least].map(|p| get(b, Storage::F32, p, zero));
        let sigma = sigma.map(|p| get(b, Storage::F32, p, zero));
        let mut fine = b.cmp(CmpOp::Ge, overlap, zero_f);
        if let Some(sigma) = sigma {
            let also = b.cmp(CmpOp::Ge, sigma, zero_f);
            fine = both(b, fine, also);
        }
        let status = b.if_else(
            fine,
            |b| {
                let score = |b: &mut Builder, i: Value| get(b, Storage::F32, scores, i);
                let run = Suppress { boxes, n: self.boxes, most: self.most, work, chosen, kept, least, overlap, sigma, builtin: true };
                let count = run.emit(b, caps, &score);
                put_int(b, false, number, zero, count);
                vec![none]
            },
            |b| vec![b.i32(INVALID_VALUE)],
        )[0];
        builder.finish_status(status)
    }
}

/// What a suppression works on.
pub(super) struct Suppress {
    /// Corners (y1, x1, y2, x2) of each box.
    pub(super) boxes: Value,
    pub(super) n: usize,
    pub(super) most: usize,
    /// 12 bytes for each box.
    pub(super) work: Value,
    /// Chosen boxes, 32 bits each.
    pub(super) chosen: Value,
    /// Scores of the chosen boxes.
    pub(super) kept: Option<Value>,
    pub(super) least: Value,
    pub(super) overlap: Value,
    /// Width of the decay; 0 for none.
    pub(super) sigma: Option<Value>,
    /// How NON_MAX_SUPPRESSION chooses, else TFLite_Detection_PostProcess. The operator takes scores above `least`, drops boxes from `overlap` on, leaves
    /// ties to its heap, and puts a chosen box back, where it overlaps itself: without area it does not, and is chosen again. The custom operator takes
    /// scores from `least` on, drops boxes above `overlap`, and gives ties to the first box.
    pub(super) builtin: bool,
}

impl Suppress {
    /// Emits the choice; gives the number of chosen boxes.
    pub(super) fn emit(&self, b: &mut Builder, caps: &Caps, score: &dyn Fn(&mut Builder, Value) -> Value) -> Value {
        let heap = self.work;
        let current = b.ptr_add_const(self.work, 4 * self.n as i64);
        let compared = b.ptr_add_const(self.work, 8 * self.n as i64);
        let zero = b.i64(0);
        let end = b.i64(self.n as i64);
        let below = |b: &mut Builder, i: Value, j: Value| {
            let (v, w) = (get(b, Storage::F32, current, i), get(b, Storage::F32, current, j));
            let less = b.cmp(CmpOp::Lt, v, w);
            if self.builtin {
                return less;
            }
            let (equal, later) = (b.cmp(CmpOp::Eq, v, w), s!(b, i > j));
            let behind = both(b, equal, later);
            b.bin(BinOp::Or, less, behind)
        };
        let candidates = b.for_loop(zero, end, 1, &[zero], |b, i, c| {
            let m = c[0];
            let v = score(b, i);
            let fits = b.cmp(if self.builtin { CmpOp::Gt } else { CmpOp::Ge }, v, self.least);
            b.if_then(fits, |b| {
                put(b, Storage::F32, current, i, v);
                put_int(b, false, compared, i, zero);
                sift_up(b, heap, m, i, &below);
            });
            let more = s!(b, m + 1);
            vec![b.select(fits, more, m)]
        })[0];
        let most = b.i64(self.most as i64);
        let most = b.min(most, candidates);
        let results = b.while_loop(
            &[candidates, zero],
            |b, c| {
                let (m, count) = (c[0], c[1]);
                let (some, room) = (s!(b, m > 0), s!(b, count < most));
                (both(b, some, room), vec![m, count])
            },
            |b, c| {
                let (m, count) = (c[0], c[1]);
                let index = get_int(b, false, heap, zero);
                pop(b, heap, m, &below);
                let original = get(b, Storage::F32, current, index);
                let first = get_int(b, false, compared, index);
                let own = self.corners(b, index);
                let (score, dropped) = self.compare(b, caps, own, count, first, original);
                let unchanged = b.cmp(CmpOp::Eq, score, original);
                let stays = b.un(tflc_kir::UnOp::Not, dropped);
                let taken = both(b, stays, unchanged);
                b.if_then(taken, |b| {
                    put_int(b, false, self.chosen, count, index);
                    if let Some(kept) = self.kept {
                        put(b, Storage::F32, kept, count, score);
                    }
                });
                let mut left = s!(b, m - 1);
                if self.builtin {
                    let high = b.cmp(CmpOp::Gt, score, self.least);
                    let again = both(b, stays, high);
                    b.if_then(again, |b| {
                        put(b, Storage::F32, current, index, score);
                        put_int(b, false, compared, index, count);
                        sift_up(b, heap, left, index, &below);
                    });
                    left = b.select(again, m, left);
                }
                let more = s!(b, count + 1);
                vec![left, b.select(taken, more, count)]
            },
        );
        results[1]
    }

    /// Compares a box with the chosen ones from the last down to `first`; gives its score afterwards and whether it is dropped.
    fn compare(&self, b: &mut Builder, caps: &Caps, own: [Value; 4], count: Value, first: Value, score: Value) -> (Value, Value) {
        let (last, go, no) = (s!(b, count - 1), b.int(Type::BOOL, 1), b.int(Type::BOOL, 0));
        let end = b.while_loop(
            &[last, score, go, no],
            |b, c| {
                let j = c[0];
                let more = s!(b, j >= first);
                (both(b, more, c[2]), c.to_vec())
            },
            |b, c| {
                let other = get_int(b, false, self.chosen, c[0]);
                let other = self.corners(b, other);
                let shared = overlap(b, own, other);
                let dropped = b.cmp(if self.builtin { CmpOp::Ge } else { CmpOp::Gt }, shared, self.overlap);
                let stays = b.un(tflc_kir::UnOp::Not, dropped);
                let j = c[0];
                let (score, go) = match self.sigma {
                    None => (c[1], stays),
                    Some(sigma) => {
                        let lower = decay(b, caps, c[1], shared, sigma);
                        let zero = b.float(Type::F32, 0.0);
                        let soft = b.cmp(CmpOp::Gt, sigma, zero);
                        let soft = both(b, soft, stays);
                        let score = b.select(soft, lower, c[1]);
                        let hopeless = b.cmp(CmpOp::Le, score, self.least);
                        let hope = b.un(tflc_kir::UnOp::Not, hopeless);
                        (score, both(b, stays, hope))
                    }
                };
                vec![s!(b, j - 1), score, go, dropped]
            },
        );
        (end[1], end[3])
    }

    /// Corners of a box, the lower ones first.
    fn corners(&self, b: &mut Builder, i: Value) -> [Value; 4] {
        let c = [0, 1, 2, 3].map(|k| {
            let at = s!(b, (i * 4) + { k });
            get(b, Storage::F32, self.boxes, at)
        });
        [b.min(c[0], c[2]), b.min(c[1], c[3]), b.max(c[0], c[2]), b.max(c[1], c[3])]
    }
}

/// Area of the intersection over that of the union; 0 for empty boxes.
fn overlap(b: &mut Builder, x: [Value; 4], y: [Value; 4]) -> Value {
    let zero = b.float(Type::F32, 0.0);
    let area = |b: &mut Builder, c: [Value; 4]| {
        let (h, w) = (b.sub(c[2], c[0]), b.sub(c[3], c[1]));
        b.mul(h, w)
    };
    let side = |b: &mut Builder, d: usize| {
        let (low, high) = (b.max(x[d], y[d]), b.min(x[d + 2], y[d + 2]));
        let length = b.sub(high, low);
        b.max(length, zero)
    };
    let (p, q) = (area(b, x), area(b, y));
    let (h, w) = (side(b, 0), side(b, 1));
    let common = b.mul(h, w);
    let both_areas = b.add(p, q);
    let union = b.sub(both_areas, common);
    let ratio = b.bin(BinOp::Div, common, union);
    // Boxes of areas that are no numbers share no number.
    let (no_p, no_q, no_union) = (b.cmp(CmpOp::Le, p, zero), b.cmp(CmpOp::Le, q, zero), b.cmp(CmpOp::Eq, union, zero));
    let none = b.bin(BinOp::Or, no_p, no_q);
    let none = b.bin(BinOp::Or, none, no_union);
    b.select(none, zero, ratio)
}

/// `score * exp(-0.5 / sigma * shared^2)`.
fn decay(b: &mut Builder, caps: &Caps, score: Value, shared: Value, sigma: Value) -> Value {
    let half = b.float(Type::F32, -0.5);
    let k = b.bin(BinOp::Div, half, sigma);
    let power = s!(b, (k * shared) * shared);
    let mut e = ExprBuilder::new([Storage::F32]);
    let v = e.input(0);
    let v = e.unary(Unary::Exp, v);
    let expr = e.finish(v, Storage::F32);
    let factor = emit(b, caps, &expr, 1, &[power]);
    b.mul(score, factor)
}
