//! Floats that are known in part: between which numbers all elements of a tensor lie.

use super::elements::Values;
use crate::ir::{DType, OpKind, TensorId};
use crate::ops::value::Value;

/// The longest way that is followed.
const DEPTH: usize = 16;
/// Everything.
const ALL: (f32, f32) = (f32::NEG_INFINITY, f32::INFINITY);

/// The least and the greatest that an element of a tensor may be; infinite where nothing is known. Rounding moves neither by more than a few units in the last
/// place.
pub(super) fn interval(values: &Values<'_>, t: TensorId) -> (f32, f32) {
    follow(values, t, DEPTH).filter(|(low, high)| low <= high).unwrap_or(ALL)
}

/// The interval that holds all of some numbers.
fn hull(v: impl IntoIterator<Item = f32>) -> Option<(f32, f32)> {
    let (mut low, mut high, mut any) = (f32::INFINITY, f32::NEG_INFINITY, false);
    for x in v {
        if x.is_nan() {
            return None;
        }
        (low, high, any) = (low.min(x), high.max(x), true);
    }
    any.then_some((low, high))
}

fn follow(values: &Values<'_>, t: TensorId, depth: usize) -> Option<(f32, f32)> {
    let graph = values.graph();
    let tensor = graph.tensor(t);
    if tensor.ty.dtype != DType::Float32 {
        // Lengths and counts are far below the integers that floats cannot hold.
        let all = values.elements(t)?.into_iter().map(|e| e.interval()).collect::<Option<Vec<_>>>()?;
        return hull(all.into_iter().flat_map(|(low, high)| [low as f32, high as f32]));
    }
    let value = match &tensor.data {
        Some(data) => Value::from_bytes(tensor.ty.clone(), data.clone()),
        None => values.known.get(&t).cloned(),
    };
    if let Some(v) = value {
        return hull(v.to_f32()?);
    }
    let node = graph.producer(t).filter(|n| n.tail.is_none())?;
    let depth = depth.checked_sub(1)?;
    let operand = |i: usize| follow(values, node.inputs.get(i).copied().flatten()?, depth);
    // One side is enough for a bound.
    let wide = |i: usize| operand(i).unwrap_or(ALL);
    let clamped = |low: f32, high: f32| {
        let (a, b) = wide(0);
        (a.clamp(low, high), b.clamp(low, high))
    };
    if node.attrs.name("fused_activation_function", "NONE") != "NONE" {
        return None;
    }
    Some(match node.op {
        OpKind::Cast
        | OpKind::Reshape
        | OpKind::Squeeze
        | OpKind::ExpandDims
        | OpKind::Slice
        | OpKind::StridedSlice
        | OpKind::Gather
        | OpKind::GatherNd
        | OpKind::Transpose
        | OpKind::Unpack
        | OpKind::SplitV
        | OpKind::ReduceMax
        | OpKind::ReduceMin => operand(0)?,
        OpKind::Split => operand(1)?,
        OpKind::Pack | OpKind::Concatenation => {
            let all = (0..node.inputs.len()).map(operand).collect::<Option<Vec<_>>>()?;
            hull(all.into_iter().flat_map(|(low, high)| [low, high]))?
        }
        OpKind::Minimum => (wide(0).0.min(wide(1).0), wide(0).1.min(wide(1).1)),
        OpKind::Maximum => (wide(0).0.max(wide(1).0), wide(0).1.max(wide(1).1)),
        OpKind::Add => {
            let ((a, b), (c, d)) = (operand(0)?, operand(1)?);
            (a + c, b + d)
        }
        OpKind::Sub => {
            let ((a, b), (c, d)) = (operand(0)?, operand(1)?);
            (a - d, b - c)
        }
        OpKind::Mul => {
            let ((a, b), (c, d)) = (operand(0)?, operand(1)?);
            hull([a * c, a * d, b * c, b * d])?
        }
        OpKind::Div => {
            let ((a, b), (c, d)) = (operand(0)?, operand(1).filter(|(c, d)| *c > 0.0 || *d < 0.0)?);
            hull([a / c, a / d, b / c, b / d])?
        }
        OpKind::Abs => match wide(0) {
            (a, b) if a < 0.0 => (0.0, b.max(-a)),
            positive => positive,
        },
        OpKind::Floor => operand(0).map(|(a, b)| (a.floor(), b.floor()))?,
        OpKind::Ceil => operand(0).map(|(a, b)| (a.ceil(), b.ceil()))?,
        OpKind::Round => operand(0).map(|(a, b)| (a.floor(), b.ceil()))?,
        OpKind::Logistic | OpKind::Softmax => (0.0, 1.0),
        OpKind::Tanh | OpKind::Sin | OpKind::Cos => (-1.0, 1.0),
        OpKind::Relu => clamped(0.0, f32::INFINITY),
        OpKind::Relu6 => clamped(0.0, 6.0),
        OpKind::ReluN1To1 => clamped(-1.0, 1.0),
        OpKind::Relu0To1 => clamped(0.0, 1.0),
        _ => return None,
    })
}
