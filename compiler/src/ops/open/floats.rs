//! Single floats that are known in part: between which numbers they lie.

use super::elements::Values;
use crate::ir::{DType, OpKind, TensorId};
use crate::ops::value::Value;

/// The longest way that is followed.
const DEPTH: usize = 12;

/// The least and the greatest that a tensor of one float may be; infinite where nothing is known.
pub(super) fn interval(values: &Values<'_>, t: TensorId) -> (f32, f32) {
    follow(values, t, DEPTH).filter(|(low, high)| low <= high).unwrap_or((f32::NEG_INFINITY, f32::INFINITY))
}

fn follow(values: &Values<'_>, t: TensorId, depth: usize) -> Option<(f32, f32)> {
    let graph = values.graph();
    let tensor = graph.tensor(t);
    if tensor.ty.elements() != 1 || graph.open.contains_key(&t) {
        return None;
    }
    if tensor.ty.dtype != DType::Float32 {
        // Lengths and counts are far below the integers that floats cannot hold.
        let (low, high) = values.elements(t)?.first()?.interval()?;
        return Some((low as f32, high as f32));
    }
    let value = match &tensor.data {
        Some(data) => Value::from_bytes(tensor.ty.clone(), data.clone()),
        None => values.known.get(&t).cloned(),
    };
    if let Some(v) = value {
        let v = *v.to_f32()?.first()?;
        return Some((v, v));
    }
    let node = graph.nodes.iter().find(|n| n.outputs.contains(&t))?;
    let depth = depth.checked_sub(1)?;
    let operand = |i: usize| follow(values, node.inputs.get(i).copied().flatten()?, depth);
    // One side is enough for a bound.
    let wide = |x: Option<(f32, f32)>| x.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
    let ends = |v: [f32; 4]| (v.into_iter().fold(f32::INFINITY, f32::min), v.into_iter().fold(f32::NEG_INFINITY, f32::max));
    Some(match node.op {
        OpKind::Cast | OpKind::Reshape | OpKind::Squeeze | OpKind::ExpandDims => operand(0)?,
        OpKind::Minimum => {
            let ((a, b), (c, d)) = (wide(operand(0)), wide(operand(1)));
            (a.min(c), b.min(d))
        }
        OpKind::Maximum => {
            let ((a, b), (c, d)) = (wide(operand(0)), wide(operand(1)));
            (a.max(c), b.max(d))
        }
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
            ends([a * c, a * d, b * c, b * d])
        }
        OpKind::Floor => operand(0).map(|(a, b)| (a.floor(), b.floor()))?,
        OpKind::Ceil => operand(0).map(|(a, b)| (a.ceil(), b.ceil()))?,
        _ => return None,
    })
}
