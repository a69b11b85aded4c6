//! The two kernels of TFLite_Detection_PostProcess: boxes from anchors, and the best detections of all classes.
//!
//! Source: TFLite `kernels/detection_postprocess.cc`.

use super::scalar::{both, get, get_int, put, put_int, s};
use super::suppress::{INVALID_VALUE, Suppress};
use crate::expr::Storage;
use crate::expr::math_f64;
use tflc_kir::{BinOp, Builder, Caps, CmpOp, ConvertOp, Kernel, Type, Value};

/// Specification of the corners of boxes that are coded as centre and size relative to anchors.
#[derive(Clone, PartialEq, Debug)]
pub struct DecodeBoxesSpec {
    /// Boxes: the work units.
    pub boxes: usize,
    /// Numbers of a coded box, of which four are used.
    pub coordinates: usize,
    /// Divisors of y, x, h and w.
    pub scale: [f32; 4],
}

impl DecodeBoxesSpec {
    /// Number of work units.
    pub fn units(&self) -> u64 {
        self.boxes as u64
    }

    /// Builds the kernel: parameters are coded boxes, anchors (y, x, h, w), corners; all `F32`. A box whose corners are exchanged makes its status 4.
    pub fn build(&self) -> Kernel {
        let mut b = Builder::new("decode_boxes");
        let [coded, anchors, corners] = ["coded", "anchors", "corners"].map(|n| b.ptr_param(n));
        let (begin, end) = (b.begin(), b.end());
        let fine = b.i32(0);
        let status = b.for_loop(begin, end, 1, &[fine], |b, u, c| {
            let wide = |b: &mut Builder, array: Value, row: usize, k: usize| {
                let at = s!(b, (u * { row }) + { k });
                let v = get(b, Storage::F32, array, at);
                b.convert(ConvertOp::FloatToFloat, Type::F64, v)
            };
            let scaled = |b: &mut Builder, k: usize| {
                let (v, by) = (wide(b, coded, self.coordinates, k), b.float(Type::F64, f64::from(self.scale[k])));
                b.bin(BinOp::Div, v, by)
            };
            let narrow = |b: &mut Builder, v: Value| b.convert(ConvertOp::FloatToFloat, Type::F32, v);
            let mut sides = vec![];
            for k in 0..2 {
                let (place, size) = (wide(b, anchors, 4, k), wide(b, anchors, 4, k + 2));
                let v = scaled(b, k);
                let centre = s!(b, (v * size) + place);
                let centre = narrow(b, centre);
                let v = scaled(b, k + 2);
                let half = b.float(Type::F64, 0.5);
                let e = math_f64::exp(b, v);
                let extent = s!(b, (half * e) * size);
                let extent = narrow(b, extent);
                sides.push((b.sub(centre, extent), b.add(centre, extent)));
            }
            for (k, v) in [sides[0].0, sides[1].0, sides[0].1, sides[1].1].into_iter().enumerate() {
                let at = s!(b, (u * 4) + { k });
                put(b, Storage::F32, corners, at, v);
            }
            let exchanged = sides.iter().map(|(low, high)| b.cmp(CmpOp::Gt, *low, *high)).collect::<Vec<_>>();
            let wrong = b.bin(BinOp::Or, exchanged[0], exchanged[1]);
            let bad = b.i32(INVALID_VALUE);
            vec![b.select(wrong, bad, c[0])]
        })[0];
        b.finish_status(status)
    }
}

/// Specification of the choice of detections.
#[derive(Clone, PartialEq, Debug)]
pub struct DetectSpec {
    /// Boxes.
    pub boxes: usize,
    /// Classes without the background.
    pub classes: usize,
    /// Scores of a box: the classes, behind the background where there is one.
    pub scores: usize,
    /// The most detections.
    pub detections: usize,
    /// How classes are told apart.
    pub method: Method,
    /// Least score.
    pub least: f32,
    /// Overlap above which a box is dropped.
    pub overlap: f32,
}

/// How classes are told apart.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Method {
    /// Boxes are suppressed by their best class; each chosen one gives a number of rows, of which the first `ranked` have a class.
    Fast {
        /// Rows of a box.
        rows: usize,
        /// Rows with a class.
        ranked: usize,
    },
    /// Classes are suppressed one by one, with at most so many detections each.
    Regular {
        /// The most detections of a class.
        each: usize,
    },
}

impl DetectSpec {
    /// Bytes of the workspace: suppression, chosen boxes, and the best so far (box, class, score).
    pub fn workspace_bytes(&self) -> usize {
        self.boxes * 12 + self.detections * 16
    }

    fn rows(&self) -> usize {
        match self.method {
            Method::Fast { rows, .. } => self.detections * rows,
            Method::Regular { .. } => self.detections,
        }
    }

    /// Builds the kernel: parameters are corners `[n, 4]`; scores `[n, scores]`, or the best scores `[n, ranked]` and their classes for the fast method;
    /// workspace; the results boxes, classes, scores and number of detections, all `F32`. There is one work unit.
    pub fn build(&self, caps: &Caps) -> Kernel {
        let mut builder = Builder::new("detect");
        let b = &mut builder;
        let [corners, scores] = ["corners", "scores"].map(|n| b.ptr_param(n));
        let classes = matches!(self.method, Method::Fast { .. }).then(|| b.ptr_param("classes"));
        let work = b.ptr_param("work");
        let out = ["out_boxes", "out_classes", "out_scores", "out_number"].map(|n| b.ptr_param(n));
        let zero = b.float(Type::F32, 0.0);
        let rows = self.rows() as i64;
        b.for_const(0, 4 * rows, 1, &[], |b, i, _| {
            put(b, Storage::F32, out[0], i, zero);
            vec![]
        });
        b.for_const(0, rows, 1, &[], |b, i, _| {
            put(b, Storage::F32, out[1], i, zero);
            put(b, Storage::F32, out[2], i, zero);
            vec![]
        });
        let chosen = b.ptr_add_const(work, 12 * self.boxes as i64);
        let [least, overlap] = [self.least, self.overlap].map(|v| b.f32_const(Type::F32, v));
        let base = |most: usize| Suppress {
            boxes: corners,
            n: self.boxes,
            most,
            work,
            chosen,
            kept: None,
            least,
            overlap,
            sigma: None,
            builtin: false,
        };
        let count = match self.method {
            Method::Fast { rows, ranked } => {
                let best = |b: &mut Builder, i: Value| {
                    let at = s!(b, i * { ranked });
                    get(b, Storage::F32, scores, at)
                };
                let count = base(self.detections).emit(b, caps, &best);
                let start = b.i64(0);
                b.for_loop(start, count, 1, &[], |b, r, _| {
                    let index = get_int(b, false, chosen, r);
                    for k in 0..rows {
                        let row = s!(b, (r * { rows }) + { k });
                        copy_box(b, corners, index, out[0], row);
                        if let (true, Some(classes)) = (k < ranked, classes) {
                            let at = s!(b, (index * { ranked }) + { k });
                            let class = get_int(b, false, classes, at);
                            put_class(b, out[1], row, class);
                            let v = get(b, Storage::F32, scores, at);
                            put(b, Storage::F32, out[2], row, v);
                        }
                    }
                    vec![]
                });
                count
            }
            Method::Regular { each } => {
                let best = Best { at: b.ptr_add_const(chosen, 4 * self.detections as i64), most: self.detections };
                let (start, end) = (b.i64(0), b.i64(self.classes as i64));
                let found = b.for_loop(start, end, 1, &[start], |b, class, c| {
                    let score = |b: &mut Builder, i: Value| {
                        let at = s!(b, (i * { self.scores }) + ({ self.scores - self.classes } + class));
                        get(b, Storage::F32, scores, at)
                    };
                    let own = base(each.min(self.detections)).emit(b, caps, &score);
                    let start = b.i64(0);
                    b.for_loop(start, own, 1, &[c[0]], |b, r, c| {
                        let index = get_int(b, false, chosen, r);
                        let v = score(b, index);
                        vec![best.insert(b, c[0], [index, class], v)]
                    })
                })[0];
                b.for_loop(start, found, 1, &[], |b, row, _| {
                    let ([index, class], score) = best.entry(b, row);
                    copy_box(b, corners, index, out[0], row);
                    put_class(b, out[1], row, class);
                    put(b, Storage::F32, out[2], row, score);
                    vec![]
                });
                found
            }
        };
        let start = b.i64(0);
        put_class(b, out[3], start, count);
        builder.finish()
    }
}

fn copy_box(b: &mut Builder, corners: Value, index: Value, out: Value, row: Value) {
    for k in 0..4 {
        let at = s!(b, (index * 4) + { k });
        let v = get(b, Storage::F32, corners, at);
        let at = s!(b, (row * 4) + { k });
        put(b, Storage::F32, out, at, v);
    }
}

/// Stores an integer as a float.
fn put_class(b: &mut Builder, out: Value, row: Value, class: Value) {
    let v = b.convert(ConvertOp::IntToFloat, Type::F32, class);
    put(b, Storage::F32, out, row, v);
}

/// The best detections so far, best first, equal ones in the order in which they came: arrays of boxes, classes and scores.
struct Best {
    at: Value,
    most: usize,
}

impl Best {
    fn array(&self, b: &mut Builder, k: usize) -> Value {
        b.ptr_add_const(self.at, (4 * k * self.most) as i64)
    }

    fn entry(&self, b: &mut Builder, i: Value) -> ([Value; 2], Value) {
        let arrays = [0, 1, 2].map(|k| self.array(b, k));
        ([get_int(b, false, arrays[0], i), get_int(b, false, arrays[1], i)], get(b, Storage::F32, arrays[2], i))
    }

    fn set(&self, b: &mut Builder, i: Value, ids: [Value; 2], score: Value) {
        let arrays = [0, 1, 2].map(|k| self.array(b, k));
        put_int(b, false, arrays[0], i, ids[0]);
        put_int(b, false, arrays[1], i, ids[1]);
        put(b, Storage::F32, arrays[2], i, score);
    }

    /// Emits: inserts a detection among the first `count`; the last one falls out where there is no room. Gives their number.
    fn insert(&self, b: &mut Builder, count: Value, ids: [Value; 2], score: Value) -> Value {
        let full = s!(b, count >= { self.most });
        let most = b.i64(self.most as i64 - 1);
        // Where there is no room the new one takes the place of the last, if it is better.
        let place = b.select(full, most, count);
        let worse = super::scalar::and_then(b, full, |b| {
            let (_, last) = self.entry(b, most);
            b.cmp(CmpOp::Ge, last, score)
        });
        let enters = b.un(tflc_kir::UnOp::Not, worse);
        b.if_then(enters, |b| {
            let at = b.while_loop(
                &[place],
                |b, c| {
                    let i = c[0];
                    let inside = s!(b, i > 0);
                    let before = super::scalar::and_then(b, inside, |b| {
                        let i = s!(b, i - 1);
                        let (_, v) = self.entry(b, i);
                        b.cmp(CmpOp::Lt, v, score)
                    });
                    (both(b, inside, before), vec![i])
                },
                |b, c| {
                    let i = c[0];
                    let before = s!(b, i - 1);
                    let (ids, v) = self.entry(b, before);
                    self.set(b, i, ids, v);
                    vec![before]
                },
            )[0];
            self.set(b, at, ids, score);
        });
        let more = s!(b, place + 1);
        b.select(full, count, more)
    }
}
