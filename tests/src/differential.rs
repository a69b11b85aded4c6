//! Compares outputs of two ways to run a model.

use anyhow::{Result, bail, ensure};
use tflc::ir::DType;
use tflc::ops::Value;

/// How far floats may be apart; integers must be equal.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    /// Distance allowed by itself.
    pub absolute: f32,
    /// Distance allowed in proportion to the largest magnitude of the output.
    pub relative: f32,
}

impl Tolerance {
    /// Floats equal to the bit, but for the payload of NaNs.
    pub const EXACT: Tolerance = Tolerance { absolute: 0.0, relative: 0.0 };
    /// Differences by the order of additions and by fused multiplication.
    pub const ROUNDING: Tolerance = Tolerance { absolute: 1e-6, relative: 1e-5 };
    /// Differences of a chain of kernels with transcendental functions of their own.
    pub const KERNELS: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-4 };
}

/// Checks that two lists of outputs agree.
///
/// # Errors
/// The first element that does not, with its place.
pub fn compare(expected: &[Value], got: &[Value], tolerance: Tolerance) -> Result<()> {
    ensure!(expected.len() == got.len(), "{} outputs instead of {}", got.len(), expected.len());
    for (output, (e, g)) in expected.iter().zip(got).enumerate() {
        ensure!(
            e.ty.shape == g.ty.shape && e.ty.dtype == g.ty.dtype,
            "output {output} is {}{:?} instead of {}{:?}",
            g.ty.dtype,
            g.ty.shape,
            e.ty.dtype,
            e.ty.shape
        );
        let apart = match (floats(e), floats(g)) {
            (Some(a), Some(b)) => first_apart(&a, &b, tolerance),
            _ => first_byte_apart(e, g),
        };
        if let Some((element, what)) = apart {
            bail!("output {output}, element {element} of {}{:?}: {what}", e.ty.dtype, e.ty.shape);
        }
    }
    Ok(())
}

/// Elements of a float type, of complex numbers their parts.
pub fn floats(value: &Value) -> Option<Vec<f32>> {
    match value.ty.dtype {
        DType::Complex64 => Some(value.elements::<f32>().into_owned()),
        dtype if dtype.is_float() => value.to_f32(),
        _ => None,
    }
}

fn first_apart(expected: &[f32], got: &[f32], tolerance: Tolerance) -> Option<(usize, String)> {
    let largest = expected.iter().filter(|v| v.is_finite()).fold(0.0f32, |m, v| m.max(v.abs()));
    let allowed = tolerance.absolute + tolerance.relative * largest;
    let close = |a: f32, b: f32| a.to_bits() == b.to_bits() || a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= allowed;
    let at = expected.iter().zip(got).position(|(a, b)| !close(*a, *b))?;
    Some((at, format!("{:?} instead of {:?}, at most {allowed:e} apart", got[at], expected[at])))
}

fn first_byte_apart(expected: &Value, got: &Value) -> Option<(usize, String)> {
    // Places behind the last element of a packed tensor hold nothing.
    if let (true, Some(a), Some(b)) = (expected.ty.dtype.bits() < 8, expected.to_i8(), got.to_i8()) {
        let element = a.iter().zip(b.iter()).position(|(a, b)| a != b)?;
        return Some((element, format!("{} instead of {}", b[element], a[element])));
    }
    let at = expected.bytes().iter().zip(got.bytes()).position(|(a, b)| a != b)?;
    let element = at * 8 / expected.ty.dtype.bits().max(8);
    let text = |v: &Value| v.to_i64().and_then(|v| v.get(element).map(i64::to_string)).unwrap_or_else(|| format!("{:?}", &v.bytes()[at]));
    Some((element, format!("{} instead of {}", text(got), text(expected))))
}
