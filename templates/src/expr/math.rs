//! Transcendental functions and the binary functions of floats that no instruction computes, as kir.
//!
//! Takes and gives `F32` values of any lane count. Each function states its error in ulp.

use super::{Binary, Unary};
use tflc_kir::{Builder, Caps, Value};

/// Emits the transcendental `op` on `x` (`F32` lanes).
///
/// # Panics
/// Where `op` has no kir form yet, or is not transcendental.
pub fn unary(_b: &mut Builder, _caps: &Caps, op: Unary, _x: Value) -> Value {
    panic!("expr::math::unary: no kir form of {op:?} yet")
}

/// Emits `op` (`Pow`, `Atan2`, or `Rem` of floats) on `x` and `y` (`F32` lanes).
///
/// # Panics
/// Where `op` has no kir form yet, or is none of these.
pub fn binary(_b: &mut Builder, _caps: &Caps, op: Binary, _x: Value, _y: Value) -> Value {
    panic!("expr::math::binary: no kir form of {op:?} yet")
}
