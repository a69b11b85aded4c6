//! Element types, and quantised values as real numbers.

/// Element type of a tensor; the numbers are those of the C header.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum DType {
    Float32,
    Float16,
    Int32,
    UInt8,
    Int64,
    Bool,
    Int16,
    Complex64,
    Int8,
    Float64,
    Complex128,
    UInt64,
    UInt32,
    UInt16,
    Int4,
    BFloat16,
    Int2,
    UInt4,
    Unknown(u32),
}

impl DType {
    /// The type with a number.
    pub const fn from_code(code: u32) -> DType {
        match code {
            0 => DType::Float32,
            1 => DType::Float16,
            2 => DType::Int32,
            3 => DType::UInt8,
            4 => DType::Int64,
            6 => DType::Bool,
            7 => DType::Int16,
            8 => DType::Complex64,
            9 => DType::Int8,
            10 => DType::Float64,
            11 => DType::Complex128,
            12 => DType::UInt64,
            15 => DType::UInt32,
            16 => DType::UInt16,
            17 => DType::Int4,
            18 => DType::BFloat16,
            19 => DType::Int2,
            20 => DType::UInt4,
            other => DType::Unknown(other),
        }
    }
}

/// Affine quantisation of a tensor: `real = scale * (stored - zero_point)`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Quantized {
    /// Real value of a step.
    pub scale: f32,
    /// Stored value of the real value 0.
    pub zero_point: i32,
}

/// Integers that quantised tensors hold.
pub trait QuantizedElement: Copy {
    /// The nearest element, the ends of the range for values beyond it.
    fn saturate(value: i64) -> Self;
    /// The element as an integer.
    fn stored(self) -> i32;
}

macro_rules! quantized_elements {
    ($($t:ty),*) => {$(
        impl QuantizedElement for $t {
            fn saturate(value: i64) -> $t {
                value.clamp(<$t>::MIN as i64, <$t>::MAX as i64) as $t
            }
            fn stored(self) -> i32 {
                self as i32
            }
        }
    )*};
}

quantized_elements!(i8, u8, i16, u16);

impl Quantized {
    /// The stored value nearest to a real one; of two equally near, the one farther from zero. NaN becomes the zero point.
    pub fn quantize<T: QuantizedElement>(self, real: f32) -> T {
        let steps = real / self.scale;
        let half = if steps < 0.0 { -0.5 } else { 0.5 };
        // The cast truncates and saturates; NaN becomes 0.
        T::saturate((steps + half) as i64 + i64::from(self.zero_point))
    }

    /// The real value of a stored one.
    pub fn dequantize<T: QuantizedElement>(self, stored: T) -> f32 {
        self.scale * (stored.stored() - self.zero_point) as f32
    }

    /// Stores real values; as many as the shorter of both has.
    pub fn quantize_slice<T: QuantizedElement>(self, real: &[f32], stored: &mut [T]) {
        for (s, &r) in stored.iter_mut().zip(real) {
            *s = self.quantize(r);
        }
    }

    /// Reads real values; as many as the shorter of both has.
    pub fn dequantize_slice<T: QuantizedElement>(self, stored: &[T], real: &mut [f32]) {
        for (r, &s) in real.iter_mut().zip(stored) {
            *r = self.dequantize(s);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_round_to_nearest_and_saturate() {
        let q = Quantized { scale: 0.5, zero_point: -3 };
        let all = [0.0, 0.25, 0.24, -0.25, 1000.0, -1000.0, f32::NAN, f32::INFINITY].map(|v| q.quantize::<i8>(v));
        assert_eq!(all, [-3, -2, -3, -4, 127, -128, -3, 127]);
        assert_eq!(q.dequantize(-1i8), 1.0);
        let mut stored = [0u8; 3];
        Quantized { scale: 2.0, zero_point: 128 }.quantize_slice(&[-256.0, 0.0, 300.0], &mut stored);
        assert_eq!(stored, [0, 128, 255]);
    }
}
