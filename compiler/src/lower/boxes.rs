//! NON_MAX_SUPPRESSION_V4 and V5, and TFLite_Detection_PostProcess.

use super::context::{Cx, Operand};
use super::grain::grain;
use super::movement::result;
use super::open::with_neutral_tail;
use super::pointwise::emit;
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind, TensorId};
use crate::ops::boxes::Detection;
use crate::ops::custom;
use tflc_templates::cpu::detection::{DecodeBoxesSpec, DetectSpec, Method};
use tflc_templates::cpu::pointwise::{PointwiseSpec, row_major};
use tflc_templates::cpu::suppress::SuppressSpec;
use tflc_templates::cpu::top_k::TopKSpec;
use tflc_templates::expr::{Cast, ExprBuilder, Storage, Ty};

/// Lowers a suppression.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let soft = node.op == OpKind::NonMaxSuppressionV5;
    let (chosen, ty) = result(cx, node, 0)?;
    let boxes = cx.ty(cx.input(node, 1)?).elements();
    let spec = SuppressSpec { boxes, most: ty.elements(), soft };
    let mut args = vec![];
    // Operand 2 is the number of boxes, which the shape says.
    for i in [0, 1, 3, 4, 5].into_iter().take(4 + usize::from(soft)) {
        let operand = cx.input(node, i)?;
        let lowest = u64::from(f32::NEG_INFINITY.to_bits());
        args.push(if i == 1 { with_neutral_tail(cx, operand, &[true], lowest)? } else { cx.operand(operand)? });
    }
    args.push(cx.workspace(spec.workspace_bytes()));
    args.push(cx.operand(chosen)?);
    for k in 1..2 + usize::from(soft) {
        let (y, _) = result(cx, node, k)?;
        args.push(cx.operand(y)?);
    }
    let caps = cx.caps().clone();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, 1, 1);
    Ok(())
}

/// A tensor as floats: itself, or its values by its quantisation in a workspace.
fn floats(cx: &mut Cx<'_, '_>, t: TensorId) -> Result<Operand, CompileError> {
    let ty = cx.ty(t);
    let from = cx.operand(t)?;
    if ty.dtype == DType::Float32 {
        return Ok(from);
    }
    let (DType::UInt8, Some((scale, zero))) = (ty.dtype, ty.quant.per_tensor()) else {
        return Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string())));
    };
    let to = cx.workspace(ty.elements() * 4);
    let mut b = ExprBuilder::new([Storage::U8]);
    let q = b.input(0);
    let q = b.cast(Cast::Value, Ty::F32, q);
    let (zero, scale) = (b.f32(zero as f32), b.f32(scale));
    let v = b.sub(q, zero);
    let v = b.mul(v, scale);
    let expr = b.finish(v, Storage::F32);
    let own = row_major(&ty.shape);
    emit(cx, PointwiseSpec::new(&ty.shape, vec![own.clone()], own, expr), vec![from, to]);
    Ok(to)
}

/// Lowers TFLite_Detection_PostProcess: decoded boxes, ranked classes, chosen detections.
pub(super) fn detection(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let d = Detection::parse(&call, custom::options(&call))?;
    let (boxes, scores, anchors) = (cx.input(node, 0)?, cx.input(node, 1)?, cx.input(node, 2)?);
    let (&[_, n, coordinates], &[.., total]) = (&cx.ty(boxes).shape[..], &cx.ty(scores).shape[..]) else {
        return Err(cx.internal("boxes or scores of another rank"));
    };
    let [coded, scores, anchors] = [floats(cx, boxes)?, floats(cx, scores)?, floats(cx, anchors)?];
    let corners = cx.workspace(n * 16);
    let decode = DecodeBoxesSpec { boxes: n, coordinates, scale: d.scale };
    let units = decode.units();
    cx.call(format!("{decode:?}"), move || decode.build(), vec![coded, anchors, corners], units, grain(units, 40.0));
    let background = total - d.classes;
    let mut args = vec![corners];
    let method = if d.regular {
        args.push(scores);
        Method::Regular { each: d.detections_per_class }
    } else {
        let ranked = d.classes_per_detection.min(d.classes);
        let rank = TopKSpec { rows: n, n: d.classes, stride: total, k: ranked, storage: Storage::F32, narrow_index: false };
        let heaps = cx.workspace(rank.workspace_bytes());
        let [values, classes] = [0; 2].map(|_| cx.workspace(n * ranked * 4));
        let units = rank.units();
        let unit_ns = d.classes as f64 * 2.0;
        let operands = vec![scores.offset(background * 4), heaps, values, classes];
        cx.call(format!("{rank:?}"), move || rank.build(), operands, units, grain(units, unit_ns));
        args.extend([values, classes]);
        Method::Fast { rows: d.classes_per_detection, ranked }
    };
    let spec = DetectSpec { boxes: n, classes: d.classes, scores: total, detections: d.detections, method, least: d.score, overlap: d.iou };
    args.push(cx.workspace(spec.workspace_bytes()));
    for k in 0..4 {
        let (y, _) = result(cx, node, k)?;
        args.push(cx.operand(y)?);
    }
    let caps = cx.caps().clone();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, 1, 1);
    Ok(())
}
