//! Fused activation functions: as clamps of floats, as clamps of quantised values, as expressions.

use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, TensorType};
use crate::ops::call::Call;
use crate::ops::fixed_point::round_away;
use tflc_templates::expr::{ExprBuilder, Id, Ty, Unary};

/// A fused activation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    /// None.
    None,
    /// max(0, x).
    Relu,
    /// Between -1 and 1.
    ReluN1To1,
    /// Between 0 and 6.
    Relu6,
    /// Hyperbolic tangent.
    Tanh,
    /// 1 where x is negative, else 0.
    SignBit,
}

/// Whose formula turns the bounds of an activation into quantised values; they differ in rounding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bounds {
    /// `rint(v / scale + zero_point)`: XNNPACK.
    Xnnpack,
    /// `zero_point + round(v / scale)`, half away from zero: TFLite.
    Tflite,
}

impl Activation {
    /// The attribute `fused_activation_function`.
    pub fn parse(call: &Call<'_>) -> Result<Activation, CompileError> {
        Ok(match call.attrs.name("fused_activation_function", "NONE") {
            "NONE" => Activation::None,
            "RELU" => Activation::Relu,
            "RELU_N1_TO_1" => Activation::ReluN1To1,
            "RELU6" => Activation::Relu6,
            "TANH" => Activation::Tanh,
            "SIGN_BIT" => Activation::SignBit,
            other => return Err(call.unsupported(Unsupported::Option("fused_activation_function".into(), other.into()))),
        })
    }

    /// The same, of the kinds that only clamp.
    pub fn parse_clamp(call: &Call<'_>) -> Result<Activation, CompileError> {
        match Activation::parse(call)? {
            a @ (Activation::Tanh | Activation::SignBit) => {
                Err(call.unsupported(Unsupported::Option("fused_activation_function".into(), format!("{a:?}"))))
            }
            a => Ok(a),
        }
    }

    /// Bounds of the results: minus and plus infinity where there are none.
    pub fn range(self) -> (f32, f32) {
        match self {
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::ReluN1To1 => (-1.0, 1.0),
            Activation::Relu6 => (0.0, 6.0),
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        }
    }

    /// Bounds of the results as quantised values of `ty`, which has these parameters.
    pub fn quantized_range(self, dtype: DType, scale: f32, zero_point: i32, bounds: Bounds) -> (i32, i32) {
        let (min, max) = dtype.int_range().unwrap_or((i32::MIN as i64, i32::MAX as i64));
        let (min, max) = (min as i32, max as i32);
        let q = |v: f32| match bounds {
            _ if v == f32::INFINITY => max,
            _ if v == f32::NEG_INFINITY => min,
            Bounds::Xnnpack => ((v / scale + zero_point as f32).round_ties_even() as i32).clamp(min, max),
            Bounds::Tflite => zero_point.saturating_add(round_away(v / scale)).clamp(min, max),
        };
        let (lo, hi) = self.range();
        (q(lo), q(hi))
    }

    /// The activation applied to an F32.
    pub fn emit_f32(self, b: &mut ExprBuilder, mut x: Id) -> Id {
        match self {
            Activation::Tanh => return b.unary(Unary::Tanh, x),
            Activation::SignBit => {
                let zero = b.f32(0.0);
                let negative = b.compare(tflc_templates::expr::Compare::Lt, x, zero);
                return b.cast(tflc_templates::expr::Cast::Value, Ty::F32, negative);
            }
            _ => {}
        }
        let (lo, hi) = self.range();
        if lo != f32::NEG_INFINITY {
            let lo = b.f32(lo);
            x = b.max(lo, x);
        }
        if hi != f32::INFINITY {
            let hi = b.f32(hi);
            x = b.min(hi, x);
        }
        x
    }

    /// The activation applied to an unquantised I32 or I64.
    pub fn emit_int(self, b: &mut ExprBuilder, mut x: Id) -> Id {
        let wide = b.ty(x) == Ty::I64;
        let (lo, hi) = self.range();
        let mut constant = |v: f32| if wide { b.i64(v as i64) } else { b.i32(v as i32) };
        let lo = (lo != f32::NEG_INFINITY).then(|| constant(lo));
        let hi = (hi != f32::INFINITY).then(|| constant(hi));
        if let Some(lo) = lo {
            x = b.max(lo, x);
        }
        if let Some(hi) = hi {
            x = b.min(hi, x);
        }
        x
    }
}

/// Clamps an I32 to `[lo, hi]`; bounds that a value of `full` range cannot pass are still checked, because results wrap when stored.
pub fn emit_clamp(b: &mut ExprBuilder, x: Id, lo: i32, hi: i32) -> Id {
    let lo = b.i32(lo);
    let hi = b.i32(hi);
    let x = b.max(x, lo);
    b.min(x, hi)
}

/// The range of an integer element type as I32.
pub fn integer_range(ty: &TensorType) -> (i32, i32) {
    let (lo, hi) = ty.dtype.int_range().unwrap_or((i32::MIN as i64, i32::MAX as i64));
    (lo as i32, hi as i32)
}
