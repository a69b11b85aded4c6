//! RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL and MULTINOMIAL: a counter in the state says where the stream goes on. STABLEHLO_RNG_BIT_GENERATOR has its state as an operand.

use super::context::{Cx, Operand};
use super::movement::{Part, copy, result};
use super::pointwise::emit;
use super::storage::{Slot, SlotRegion};
use crate::error::CompileError;
use crate::ir::{DType, Node, OpKind};
use crate::ops::random::{multinomial_blocks, seeds};
use crate::ops::stablehlo_rng::is_threefry;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::random::{BitsSpec, MultinomialSpec, Seeds, UniformSpec};
use tflc_templates::expr::{Expr, ExprBuilder, Storage, Unary};

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (key, stream) = seeds(&cx.as_call()?);
    let seeds = Seeds { key, stream };
    let now = cx.shared.now;
    let counter = cx.shared.add_slot(Slot { bytes: 8, region: SlotRegion::State, first: now, last: now });
    let counter = Operand::Slot(counter, 0);
    let (y, ty) = result(cx, node, 0)?;
    if node.op == OpKind::Multinomial {
        let logits = cx.input(node, 0)?;
        let (&[rows, classes], Some(&samples)) = (&cx.ty(logits).shape[..], ty.shape.last()) else {
            return Err(cx.internal("logits of another rank"));
        };
        let (wide_output, blocks) = (ty.dtype == DType::Int64, multinomial_blocks(rows, samples) as usize);
        let spec = MultinomialSpec { rows, classes, samples, wide_output, blocks, seeds };
        let args = vec![counter, cx.operand(logits)?, cx.workspace(spec.workspace_bytes()), cx.operand(y)?];
        cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
        return Ok(());
    }
    let elements = ty.elements();
    let spec = UniformSpec { elements, seeds };
    // Whole blocks of four, which the result has no room for.
    let blocks = elements.div_ceil(4);
    let numbers = cx.workspace(blocks * 16);
    cx.call(format!("{spec:?}"), move || spec.build(), vec![counter, numbers], 1, 1);
    let to = cx.operand(y)?;
    if node.op == OpKind::RandomUniform {
        copy(cx, numbers, to, elements * 4);
        return Ok(());
    }
    for (k, wave) in [Unary::Sin, Unary::Cos].into_iter().enumerate() {
        let pairs = (elements + 1 - k) / 2;
        let every = |base: Operand, at: usize| Part { base: base.offset(4 * at), offset: 0, strides: vec![2] };
        let (radius, angle, out) = (every(numbers, 0), every(numbers, 1), every(to, k));
        let spec = PointwiseSpec::new(&[pairs], vec![radius.strides, angle.strides], out.strides, normal(wave));
        emit(cx, spec, vec![radius.base, angle.base, out.base]);
    }
    Ok(())
}

/// Random bits for a state that is an operand.
pub(super) fn bits(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let state = cx.input(node, 0)?;
    let ((next, _), (y, ty)) = (result(cx, node, 0)?, result(cx, node, 1)?);
    let threefry = is_threefry(&cx.as_call()?);
    let spec = BitsSpec { words: ty.bytes() / 4, state: cx.ty(state).elements(), threefry };
    let to = cx.operand(y)?;
    // Whole blocks, which the result may have no room for.
    let whole = spec.written() == spec.words;
    let words = if whole { to } else { cx.workspace(spec.written() * 4) };
    let args = vec![cx.operand(state)?, cx.operand(next)?, words];
    cx.call(format!("{spec:?}"), move || spec.build(), args, 1, 1);
    if !whole {
        copy(cx, words, to, ty.bytes());
    }
    Ok(())
}

/// Box and Muller's transform: `wave(2π v) sqrt(-2 ln(max(u, 1e-7)))`.
fn normal(wave: Unary) -> Expr {
    let mut b = ExprBuilder::new([Storage::F32, Storage::F32]);
    let (u, v) = (b.input(0), b.input(1));
    let least = b.f32(1e-7);
    let u = b.max(u, least);
    let log = b.unary(Unary::Log, u);
    let minus_two = b.f32(-2.0);
    let square = b.mul(minus_two, log);
    let radius = b.unary(Unary::Sqrt, square);
    let turn = b.f32(2.0 * std::f32::consts::PI);
    let angle = b.mul(turn, v);
    let wave = b.unary(wave, angle);
    let r = b.mul(wave, radius);
    b.finish(r, Storage::F32)
}
