//! NON_MAX_SUPPRESSION_V4 and V5, and the custom TFLite_Detection_PostProcess: boxes that overlap better ones are dropped.
//!
//! Sources: TFLite `internal/reference/non_max_suppression.h` (soft suppression: Bodla et al., arXiv 1704.04503),
//! `kernels/detection_postprocess.cc`.

use crate::error::CompileError;
use crate::ir::DType::{Float32, Int32, UInt8};
use crate::ops::call::{Call, Inferred};
use crate::ops::flex_map::FlexMap;
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::value::Value;

/// NON_MAX_SUPPRESSION_V4.
pub const V4: Operator = Operator::new(infer, Eval::Direct(eval));
/// NON_MAX_SUPPRESSION_V5.
pub const V5: Operator = Operator::new(infer, Eval::Direct(eval));

fn infer(call: &Call<'_>) -> Inferred {
    let soft = call.op == crate::ir::OpKind::NonMaxSuppressionV5;
    call.arity(5 + soft as usize, 5 + soft as usize, 2 + soft as usize)?;
    let ([n, four], [m]) = (call.dims::<2>(0)?, call.dims::<1>(1)?);
    call.dtype_among(0, &[Float32])?;
    call.dtype_among(1, &[Float32])?;
    call.dtype_among(2, &[Int32])?;
    for i in 3..5 + soft as usize {
        call.dtype_among(i, &[Float32])?;
        if call.input(i)?.elements() != 1 {
            return Err(call.invalid(format!("operand {i} is not one number")));
        }
    }
    if four != 4 || n != m {
        return Err(call.invalid(format!("boxes [{n}, {four}] and {m} scores")));
    }
    let most = call.int(2)?;
    let most = usize::try_from(most).map_err(|_| call.invalid(format!("at most {most} boxes")))?;
    let mut types = vec![call.result(0, Int32, [most])?];
    if soft {
        types.push(call.result(1, Float32, [most])?);
    }
    types.push(call.result(1 + soft as usize, Int32, [])?);
    Ok(types)
}

/// A box by two corners: y1, x1, y2, x2.
type Corners = [f32; 4];

/// Area of the intersection over that of the union; 0 for empty boxes.
fn overlap(a: &Corners, b: &Corners) -> f32 {
    let sorted = |c: &Corners| [c[0].min(c[2]), c[1].min(c[3]), c[0].max(c[2]), c[1].max(c[3])];
    let (a, b) = (sorted(a), sorted(b));
    let area = |c: &Corners| (c[2] - c[0]) * (c[3] - c[1]);
    if area(&a) <= 0.0 || area(&b) <= 0.0 {
        return 0.0;
    }
    let common = (a[2].min(b[2]) - a[0].max(b[0])).max(0.0) * (a[3].min(b[3]) - a[1].max(b[1])).max(0.0);
    let union = area(&a) + area(&b) - common;
    if union == 0.0 { 0.0 } else { common / union }
}

/// A candidate: its score, its box, and the number of chosen boxes that it has been compared with.
type Candidate = (f32, usize, usize);

/// Puts a candidate at position `p` of a heap, or nearer to the root: behind equal ones.
fn sift_up(heap: &mut [Candidate], mut p: usize, candidate: Candidate) {
    while p > 0 && heap[(p - 1) / 2].0 < candidate.0 {
        heap[p] = heap[(p - 1) / 2];
        p = (p - 1) / 2;
    }
    heap[p] = candidate;
}

fn push(heap: &mut Vec<Candidate>, candidate: Candidate) {
    let last = heap.len();
    heap.push(candidate);
    sift_up(heap, last, candidate);
}

/// Takes the best candidate. Which one of equals that is follows from the steps of libstdc++'s `std::priority_queue`: the hole goes down to the end by
/// the greater child, the right one of equals, and the last candidate up from there.
fn pop(heap: &mut Vec<Candidate>) -> Option<Candidate> {
    let last = heap.pop()?;
    let Some(&best) = heap.first() else { return Some(last) };
    let mut hole = 0;
    while 2 * hole + 1 < heap.len() {
        let (left, right) = (2 * hole + 1, 2 * hole + 2);
        let child = if right < heap.len() && !(heap[right].0 < heap[left].0) { right } else { left };
        heap[hole] = heap[child];
        hole = child;
    }
    sift_up(heap, hole, last);
    Some(best)
}

fn eval(args: &Args<'_>) -> Results {
    let soft = args.types.len() == 3;
    let (boxes, scores) = (args.floats(0)?, args.floats(1)?);
    let boxes = boxes.as_chunks::<4>().0;
    let most = args.ty().elements();
    let (iou, least) = (args.floats(3)?[0], args.floats(4)?[0]);
    let sigma = if soft { args.floats(5)?[0] } else { 0.0 };
    if !(iou >= 0.0) || !(sigma >= 0.0) {
        return Err(args.error(format!("overlap threshold {iou}, sigma {sigma}")));
    }
    let mut queue = vec![];
    scores.iter().enumerate().filter(|(_, s)| **s > least).for_each(|(i, s)| push(&mut queue, (*s, i, 0)));
    let most_selected = most.min(queue.len());
    let (mut selected, mut kept) = (vec![], vec![]);
    while selected.len() < most_selected {
        let Some((original, index, compared)) = pop(&mut queue) else { break };
        let mut score = original;
        let mut dropped = false;
        let before = selected.len();
        for j in (compared..before).rev() {
            let shared: f32 = overlap(&boxes[index], &boxes[selected[j]]);
            if shared >= iou {
                dropped = true;
                break;
            }
            if sigma > 0.0 {
                score *= ((-0.5 / sigma) * shared * shared).exp();
            }
            if score <= least {
                break;
            }
        }
        if dropped {
            continue;
        }
        if score == original {
            selected.push(index);
            kept.push(score);
        }
        // A chosen box overlaps itself and is dropped when its turn comes again, unless it has no area.
        if score > least {
            push(&mut queue, (score, index, before));
        }
    }
    let count = selected.len() as i32;
    let mut indices: Vec<i32> = selected.into_iter().map(|i| i as i32).collect();
    indices.resize(most, 0);
    kept.resize(most, 0.0);
    let mut results = vec![Value::new(args.ty().clone(), indices)];
    if soft {
        results.push(Value::new(args.types[1].clone(), kept));
    }
    results.push(Value::new(args.types[results.len()].clone(), vec![count]));
    Ok(results)
}

/// Options of TFLite_Detection_PostProcess.
#[derive(Clone, PartialEq, Debug)]
pub struct Detection {
    /// Detections of the result.
    pub detections: usize,
    /// Classes for each box of the fast method.
    pub classes_per_detection: usize,
    /// Detections of a class of the regular method.
    pub detections_per_class: usize,
    /// Whether classes are suppressed one by one.
    pub regular: bool,
    /// Least score.
    pub score: f32,
    /// Overlap above which a box is dropped.
    pub iou: f32,
    /// Classes without the background.
    pub classes: usize,
    /// Divisors of y, x, h and w.
    pub scale: [f32; 4],
}

impl Detection {
    /// From the flexbuffer of the options.
    pub fn parse(call: &Call<'_>, options: &[u8]) -> Result<Detection, CompileError> {
        let map = FlexMap::parse(options).ok_or_else(|| call.invalid("options are no flexbuffer map"))?;
        let size = |name: &str, default: Option<i64>| {
            let v = map.int(name).or(default).unwrap_or(-1);
            usize::try_from(v).ok().filter(|v| *v <= 1 << 20).ok_or_else(|| call.invalid(format!("{name} = {v}")))
        };
        let number = |name: &str| map.float(name).unwrap_or(0.0);
        let d = Detection {
            detections: size("max_detections", None)?,
            classes_per_detection: size("max_classes_per_detection", None)?,
            detections_per_class: size("detections_per_class", Some(100))?,
            regular: map.int("use_regular_nms").unwrap_or(0) != 0,
            score: number("nms_score_threshold"),
            iou: number("nms_iou_threshold"),
            classes: size("num_classes", None)?,
            scale: [number("y_scale"), number("x_scale"), number("h_scale"), number("w_scale")],
        };
        if !(d.iou > 0.0 && d.iou <= 1.0) || d.classes == 0 || d.classes_per_detection == 0 {
            return Err(call.invalid(format!("{d:?}")));
        }
        Ok(d)
    }
}

/// Types of the results of TFLite_Detection_PostProcess.
pub fn infer_detection(call: &Call<'_>, options: &[u8]) -> Inferred {
    call.arity(3, 3, 4)?;
    let d = Detection::parse(call, options)?;
    let ([one, n, coordinates], [b, m, classes], [anchors, four]) = (call.dims::<3>(0)?, call.dims::<3>(1)?, call.dims::<2>(2)?);
    for i in 0..3 {
        if call.dtype_among(i, &[Float32, UInt8])? == UInt8 {
            call.quant(call.input(i)?)?;
        }
    }
    if one != 1 || b != 1 || n != m || anchors != n || coordinates < 4 || four != 4 || !(d.classes..=d.classes + 1).contains(&classes) {
        return Err(call.invalid(format!("boxes [{one}, {n}, {coordinates}], scores [{b}, {m}, {classes}], anchors [{anchors}, {four}]")));
    }
    let rows = d.detections * d.classes_per_detection;
    Ok(vec![
        call.result(0, Float32, [1, rows, 4])?,
        call.result(1, Float32, [1, rows])?,
        call.result(2, Float32, [1, rows])?,
        call.result(3, Float32, [1])?,
    ])
}

/// The results of TFLite_Detection_PostProcess.
pub fn eval_detection(args: &Args<'_>, options: &[u8]) -> Results {
    let d = Detection::parse(args.call, options)?;
    let floats = |i: usize| -> Result<Vec<f32>, EvalError> {
        let v = args.value(i)?;
        if v.ty.dtype == Float32 {
            return Ok(args.floats(i)?.into_owned());
        }
        let (scale, zero) = args.call.quant(&v.ty)?;
        Ok(v.bytes().iter().map(|q| (*q as f32 - zero as f32) * scale).collect())
    };
    let (encoded, scores, anchors) = (floats(0)?, floats(1)?, floats(2)?);
    let (coordinates, classes) = (args.value(0)?.ty.shape[2], args.value(1)?.ty.shape[2]);
    let offset = classes - d.classes;
    let boxes: Vec<Corners> = encoded
        .chunks_exact(coordinates)
        .zip(anchors.as_chunks::<4>().0)
        .map(|(e, a)| {
            let wide = |v: f32| v as f64;
            let y = (wide(e[0]) / wide(d.scale[0]) * wide(a[2]) + wide(a[0])) as f32;
            let x = (wide(e[1]) / wide(d.scale[1]) * wide(a[3]) + wide(a[1])) as f32;
            let h = (0.5 * (wide(e[2]) / wide(d.scale[2])).exp() * wide(a[2])) as f32;
            let w = (0.5 * (wide(e[3]) / wide(d.scale[3])).exp() * wide(a[3])) as f32;
            [y - h, x - w, y + h, x + w]
        })
        .collect();
    if boxes.iter().any(|b| b[0] > b[2] || b[1] > b[3]) {
        return Err(args.error("a box whose corners are exchanged"));
    }
    // Box, class, score.
    let mut found: Vec<(usize, usize, f32)> = vec![];
    let mut count = 0;
    if d.regular {
        for class in 0..d.classes {
            let own: Vec<f32> = scores.chunks_exact(classes).map(|s| s[class + offset]).collect();
            for b in suppress(&boxes, &own, d.score, d.iou, d.detections_per_class.min(d.detections)) {
                found.push((b, class, own[b]));
            }
            // Equal scores keep the order in which they came.
            found.sort_by(|a, b| b.2.total_cmp(&a.2));
            found.truncate(d.detections);
        }
        count = found.len();
    } else {
        let each = d.classes_per_detection.min(d.classes);
        let ranked: Vec<Vec<usize>> = scores
            .chunks_exact(classes)
            .map(|s| {
                let mut order: Vec<usize> = (0..d.classes).collect();
                order.sort_by(|a, b| s[b + offset].total_cmp(&s[a + offset]));
                order.truncate(each);
                order
            })
            .collect();
        let best: Vec<f32> = ranked.iter().zip(scores.chunks_exact(classes)).map(|(r, s)| s[r[0] + offset]).collect();
        for b in suppress(&boxes, &best, d.score, d.iou, d.detections) {
            count += 1;
            found.extend(ranked[b].iter().map(|c| (b, *c, scores[b * classes + c + offset])));
            found.extend((each..d.classes_per_detection).map(|_| (b, 0, 0.0)));
        }
    }
    let rows = args.types[1].elements();
    let mut out = [vec![0f32; rows * 4], vec![0f32; rows], vec![0f32; rows]];
    for (i, (b, class, score)) in found.into_iter().take(rows).enumerate() {
        out[0][4 * i..4 * i + 4].copy_from_slice(&boxes[b]);
        out[1][i] = class as f32;
        out[2][i] = score;
    }
    let mut results: Vec<Value> = out.into_iter().zip(args.types).map(|(v, ty)| Value::new(ty.clone(), v)).collect();
    results.push(Value::new(args.types[3].clone(), vec![count as f32]));
    Ok(results)
}

/// Boxes whose score is at least `least`, best first, without those that overlap a better one by more than `iou`.
fn suppress(boxes: &[Corners], scores: &[f32], least: f32, iou: f32, most: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..boxes.len()).filter(|i| scores[*i] >= least).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut active = vec![true; order.len()];
    let mut selected = vec![];
    for i in 0..order.len() {
        if selected.len() >= most {
            break;
        }
        if !active[i] {
            continue;
        }
        selected.push(order[i]);
        for j in i + 1..order.len() {
            if active[j] && overlap(&boxes[order[i]], &boxes[order[j]]) > iou {
                active[j] = false;
            }
        }
    }
    selected
}
