//! Operators that move elements: each is a few strided copies, or nothing where storage is shared.
//!
//! In: a node whose operands that say where things go are constant. Out: calls of copy loops. Values are never touched, whatever the
//! quantisation says, but for CONCATENATION of uint8 (see `compiler/docs/numerics.md`).

use super::constants::{axis, element_bytes, operand_int, operand_ints};
use super::context::{Cx, Operand};
use super::pointwise::emit;
use super::rounding::away;
use super::{pad, slice, space};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind, TensorId, TensorType};
use tflc_templates::cpu::pointwise::{PointwiseSpec, Strides, row_major};
use tflc_templates::expr::{Cast, Compare, Expr, ExprBuilder, Storage, Ty};

/// Lowers a node that moves elements.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::Reshape | OpKind::Squeeze | OpKind::ExpandDims | OpKind::Bitcast => rename(cx, node),
        OpKind::Transpose => transpose(cx, node),
        OpKind::Concatenation => concatenation(cx, node),
        OpKind::Pack => pack(cx, node),
        OpKind::Split | OpKind::SplitV | OpKind::Unpack => split(cx, node),
        OpKind::Slice | OpKind::StridedSlice | OpKind::ReverseV2 | OpKind::DynamicUpdateSlice => slice::lower(cx, node),
        OpKind::Pad | OpKind::Padv2 | OpKind::MirrorPad | OpKind::Tile | OpKind::BroadcastTo | OpKind::Fill | OpKind::ZerosLike => {
            pad::lower(cx, node)
        }
        OpKind::Shape | OpKind::Rank => describe(cx, node),
        OpKind::BroadcastArgs => broadcast_shapes(cx, node),
        OpKind::SpaceToDepth | OpKind::DepthToSpace | OpKind::SpaceToBatchNd | OpKind::BatchToSpaceNd => space::lower(cx, node),
        _ => Err(cx.unsupported(Unsupported::Operator)),
    }
}

/// Copies `bytes` bytes between places that do not overlap, or are the same.
pub(super) fn copy(cx: &mut Cx<'_, '_>, from: Operand, to: Operand, bytes: usize) {
    copy_strided(cx, &[bytes], Part::dense(from, &[bytes]), Part::dense(to, &[bytes]), 1);
}

/// Elements of a buffer that an iteration visits: where it starts, in elements, and a stride for each dimension.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub(super) base: Operand,
    pub(super) offset: i64,
    pub(super) strides: Strides,
}

impl Part {
    /// All elements of a dense tensor.
    pub(super) fn dense(base: Operand, shape: &[usize]) -> Part {
        Part { base, offset: 0, strides: row_major(shape) }
    }

    fn operand(&self, bytes: usize) -> Operand {
        self.base.offset(self.offset.max(0) as usize * bytes)
    }
}

/// Copies the elements of `bytes` bytes (1, 2, 4, 8 or 16) that both parts visit over `dims`.
pub(super) fn copy_strided(cx: &mut Cx<'_, '_>, dims: &[usize], from: Part, to: Part, bytes: usize) {
    let (source, target) = (from.operand(bytes), to.operand(bytes));
    // Where there is one element only, strides do not matter.
    let same = || dims.iter().zip(from.strides.iter().zip(&to.strides)).all(|(&n, (a, b))| n == 1 || a == b);
    if dims.contains(&0) || (source == target && same()) {
        return;
    }
    let (mut dims, mut from, mut to) = (dims.to_vec(), from.strides, to.strides);
    if bytes == 16 {
        dims.push(2);
        for s in [&mut from, &mut to] {
            s.iter_mut().for_each(|s| *s *= 2);
            s.push(1);
        }
    }
    emit(cx, PointwiseSpec::new(&dims, vec![from], to, Expr::identity(raw(bytes))), vec![source, target]);
}

/// The memory type that moves elements of a size.
pub(super) fn raw(bytes: usize) -> Storage {
    match bytes {
        1 => Storage::I8,
        2 => Storage::I16,
        4 => Storage::I32,
        _ => Storage::I64,
    }
}

/// Writes a constant, given by its bits, to the elements that the part visits.
pub(super) fn fill(cx: &mut Cx<'_, '_>, dims: &[usize], to: Part, bytes: usize, bits: u64) {
    let target = to.operand(bytes);
    let (mut dims, mut strides) = (dims.to_vec(), to.strides);
    if bytes == 16 {
        dims.push(2);
        strides.iter_mut().for_each(|s| *s *= 2);
        strides.push(1);
    }
    let mut b = ExprBuilder::new([]);
    let v = if bytes >= 8 { b.i64(bits as i64) } else { b.i32(bits as u32 as i32) };
    emit(cx, PointwiseSpec::new(&dims, vec![], strides, b.finish(v, raw(bytes))), vec![target]);
}

/// The result `k` of a node, with its type.
pub(super) fn result<'a>(cx: &Cx<'a, '_>, node: &Node, k: usize) -> Result<(TensorId, &'a TensorType), CompileError> {
    let t = node.outputs.get(k).copied().ok_or_else(|| cx.internal(format!("{} without result {k}", node.op)))?;
    Ok((t, cx.ty(t)))
}

/// The bytes stay as they are.
fn rename(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    if ty.dtype.bits() == 0 {
        return Err(cx.unsupported(Unsupported::Types(ty.dtype.to_string())));
    }
    let bytes = ty.bytes().min(cx.ty(x).bytes());
    let (from, to) = (cx.operand(x)?, cx.operand(y)?);
    copy(cx, from, to, bytes);
    Ok(())
}

/// SHAPE and RANK of an operand whose shape is known: constants.
fn describe(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let shape = &cx.ty(cx.input(node, 0)?).shape;
    let (y, ty) = result(cx, node, 0)?;
    let values = if node.op == OpKind::Rank { vec![shape.len()] } else { shape.clone() };
    let bytes = element_bytes(cx, ty)?;
    let data: Vec<u8> = values.iter().flat_map(|v| (*v as u64).to_le_bytes()[..bytes.min(8)].to_vec()).collect();
    if data.len() != ty.bytes() {
        return Err(cx.internal(format!("{} values of {shape:?}", ty.elements())));
    }
    let (n, from, to) = (data.len(), cx.bytes(data), cx.operand(y)?);
    copy(cx, from, to, n);
    Ok(())
}

/// The shape that two shapes broadcast to: the longer one, with the other's sizes where its own are 1.
fn broadcast_shapes(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (mut long, mut short) = (cx.input(node, 0)?, cx.input(node, 1)?);
    if cx.ty(long).elements() < cx.ty(short).elements() {
        (long, short) = (short, long);
    }
    let (y, ty) = result(cx, node, 0)?;
    let common = cx.ty(short).elements();
    let (lead, bytes) = (ty.elements() - common, element_bytes(cx, ty)?);
    let storage = raw(bytes);
    let (a, b, to) = (cx.operand(long)?, cx.operand(short)?, cx.operand(y)?);
    copy(cx, a, to, lead * bytes);
    let mut e = ExprBuilder::new([storage, storage]);
    let (x, y) = (e.input(0), e.input(1));
    let one = if storage == Storage::I64 { e.i64(1) } else { e.i32(1) };
    let single = e.compare(Compare::Eq, x, one);
    let v = e.select(single, y, x);
    let spec = PointwiseSpec::new(&[common], vec![vec![1], vec![1]], vec![1], e.finish(v, storage));
    emit(cx, spec, vec![a.offset(lead * bytes), b, to.offset(lead * bytes)]);
    Ok(())
}

fn transpose(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let shape = &cx.ty(x).shape;
    let order = operand_ints(cx, node, 1, "perm")?;
    let own = row_major(shape);
    let strides = order.iter().map(|&a| Ok(own[axis(cx, a, shape.len())?])).collect::<Result<Strides, CompileError>>()?;
    if strides.len() != ty.shape.len() {
        return Err(cx.internal(format!("order {order:?} of {} dimensions", ty.shape.len())));
    }
    let bytes = element_bytes(cx, ty)?;
    let from = Part { base: cx.operand(x)?, offset: 0, strides };
    let to = Part::dense(cx.operand(y)?, &ty.shape);
    copy_strided(cx, &ty.shape, from, to, bytes);
    Ok(())
}

fn concatenation(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let at = axis(cx, node.attrs.int("axis", 0), ty.shape.len())?;
    if node.attrs.name("fused_activation_function", "NONE") != "NONE" {
        let value = node.attrs.name("fused_activation_function", "NONE").to_string();
        return Err(cx.unsupported(Unsupported::Option("fused_activation_function".into(), value)));
    }
    let bytes = element_bytes(cx, ty)?;
    let strides = row_major(&ty.shape);
    let mut offset = 0;
    for &x in node.inputs.iter().flatten() {
        let own = cx.ty(x);
        let from = Part::dense(cx.operand(x)?, &own.shape);
        let to = Part { base: cx.operand(y)?, offset, strides: strides.clone() };
        offset += own.shape[at] as i64 * strides[at];
        match rescale(own, ty) {
            Some(expr) => {
                if own.elements() > 0 {
                    let args = vec![from.operand(bytes), to.operand(bytes)];
                    emit(cx, PointwiseSpec::new(&own.shape, vec![from.strides], to.strides, expr), args);
                }
            }
            None => copy_strided(cx, &own.shape, from, to, bytes),
        }
    }
    Ok(())
}

/// `clamp(away(f32(f32(q*v) + f32(-zi*v))) + zo)`, `v = f32(si * f32(1/so))`: uint8 operands of another scale or zero point than the
/// result's. Source: `compiler/docs/numerics.md`, CONCATENATION.
fn rescale(x: &TensorType, y: &TensorType) -> Option<Expr> {
    let ((si, zi), (so, zo)) = (x.quant.per_tensor()?, y.quant.per_tensor()?);
    if x.dtype != DType::UInt8 || (si, zi) == (so, zo) {
        return None;
    }
    let v = si * (1.0 / so);
    let mut b = ExprBuilder::new([Storage::U8]);
    let q = b.input(0);
    let q = b.cast(Cast::Value, Ty::F32, q);
    let scale = b.f32(v);
    let scaled = b.mul(q, scale);
    let bias = b.f32(-(zi as f32) * v);
    let r = b.add(scaled, bias);
    let n = away(&mut b, r, 512.0);
    let zo = b.i32(zo as i32);
    let n = b.add(n, zo);
    let (least, most) = (b.i32(0), b.i32(255));
    let n = b.max(least, n);
    let n = b.min(most, n);
    Some(b.finish(n, Storage::U8))
}

fn pack(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (y, ty) = result(cx, node, 0)?;
    let at = axis(cx, node.attrs.int("axis", 0), ty.shape.len())?;
    let bytes = element_bytes(cx, ty)?;
    let strides = row_major(&ty.shape);
    let mut inner = strides.clone();
    inner.remove(at);
    for (i, &x) in node.inputs.iter().flatten().enumerate() {
        let shape = &cx.ty(x).shape;
        let from = Part::dense(cx.operand(x)?, shape);
        let to = Part { base: cx.operand(y)?, offset: i as i64 * strides[at], strides: inner.clone() };
        copy_strided(cx, shape, from, to, bytes);
    }
    Ok(())
}

/// What SPLIT, SPLIT_V and UNPACK take apart, and along which axis.
pub(super) fn parted(cx: &Cx<'_, '_>, node: &Node) -> Result<(TensorId, usize), CompileError> {
    let (source, at) = match node.op {
        OpKind::Split => (1, operand_int(cx, node, 0, "axis")?),
        OpKind::SplitV => (0, operand_int(cx, node, 2, "axis")?),
        _ => (0, node.attrs.int("axis", 0)),
    };
    let x = cx.input(node, source)?;
    Ok((x, axis(cx, at, cx.ty(x).shape.len())?))
}

/// SPLIT, SPLIT_V, UNPACK: parts of the operand along an axis, which UNPACK removes.
fn split(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let (x, at) = parted(cx, node)?;
    let ty = cx.ty(x);
    let bytes = element_bytes(cx, ty)?;
    let strides = row_major(&ty.shape);
    let mut offset = 0;
    for &y in &node.outputs {
        let shape = &cx.ty(y).shape;
        let mut inner = strides.clone();
        let size = if node.op == OpKind::Unpack {
            inner.remove(at);
            1
        } else {
            shape[at]
        };
        let from = Part { base: cx.operand(x)?, offset, strides: inner };
        let to = Part::dense(cx.operand(y)?, shape);
        offset += size as i64 * strides[at];
        copy_strided(cx, shape, from, to, bytes);
    }
    Ok(())
}
