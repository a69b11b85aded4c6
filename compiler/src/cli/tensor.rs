//! Tensors on the command line's side: element type, shape and little-endian bytes, owned.

use crate::ir::DType;
use crate::ops::packed::{byte_type, pack};
use crate::ops::value::unpack;
use anyhow::{Context, Result, bail};

/// An array as files hold it.
#[derive(Clone, PartialEq, Debug)]
pub struct HostTensor {
    /// Element type; one whose elements are whole bytes, but for what [`HostTensor::packed`] gives.
    pub dtype: DType,
    /// Extents, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
    /// Elements in row-major order, little-endian, without gaps.
    pub data: Vec<u8>,
}

impl HostTensor {
    /// A tensor of the given bytes; packed integers become bytes.
    ///
    /// # Errors
    /// Where type and shape ask for another number of bytes.
    pub fn new(dtype: DType, shape: &[usize], data: Vec<u8>) -> Result<HostTensor> {
        let wanted = byte_len(dtype, shape)?;
        if data.len() != wanted {
            bail!("{dtype} {shape:?} takes {wanted} bytes, not {}", data.len());
        }
        let Some(bytes) = byte_type(dtype) else { return Ok(HostTensor { dtype, shape: shape.to_vec(), data }) };
        let elements = unpack(dtype, &data, shape.iter().product());
        Ok(HostTensor { dtype: bytes, shape: shape.to_vec(), data: bytemuck::cast_vec(elements) })
    }

    /// Bytes as a model takes packed integers: their low bits, two or four to a byte.
    ///
    /// # Errors
    /// Where the elements are not of the type of bytes that belongs to `dtype`.
    pub fn packed(self, dtype: DType) -> Result<HostTensor> {
        if byte_type(dtype) != Some(self.dtype) {
            bail!("{} given for {dtype}", self.dtype);
        }
        Ok(HostTensor { dtype, data: pack(dtype, &self.data), shape: self.shape })
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The real and imaginary parts of complex numbers, side by side along a new last axis.
    ///
    /// # Errors
    /// None for complex64; the sizes are those of the elements.
    pub fn parts(&self) -> Result<HostTensor> {
        HostTensor::new(DType::Float32, &[&self.shape[..], &[2]].concat(), self.data.clone())
    }

    /// Every element as `f64`, through `scale * (q - zero_point)` where a quantisation is given; truth values are 0 and 1.
    ///
    /// # Errors
    /// For complex numbers and types without a value of their own.
    pub fn to_f64(&self, quantization: Option<(f32, i64)>) -> Result<Vec<f64>> {
        macro_rules! read {
            ($t:ty) => {
                self.data.as_chunks().0.iter().map(|b| <$t>::from_le_bytes(*b) as f64).collect()
            };
        }
        let raw: Vec<f64> = match self.dtype {
            DType::Float32 => read!(f32),
            DType::Float64 => read!(f64),
            DType::Float16 => self.data.as_chunks().0.iter().map(|b| half::f16::from_le_bytes(*b).to_f64()).collect(),
            DType::BFloat16 => self.data.as_chunks().0.iter().map(|b| half::bf16::from_le_bytes(*b).to_f64()).collect(),
            DType::Int8 => read!(i8),
            DType::UInt8 | DType::Bool => read!(u8),
            DType::Int16 => read!(i16),
            DType::UInt16 => read!(u16),
            DType::Int32 => read!(i32),
            DType::UInt32 => read!(u32),
            DType::Int64 => read!(i64),
            DType::UInt64 => read!(u64),
            other => bail!("{other} elements have no single real value"),
        };
        Ok(match quantization {
            Some((scale, zero_point)) => raw.into_iter().map(|q| f64::from(scale) * (q - zero_point as f64)).collect(),
            None => raw,
        })
    }
}

/// Bytes of a tensor.
///
/// # Errors
/// On overflow, and for types whose elements have no fixed width.
pub fn byte_len(dtype: DType, shape: &[usize]) -> Result<usize> {
    if dtype.bits() == 0 {
        bail!("{dtype} arrays cannot be read or written");
    }
    let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
    elements
        .and_then(|n| dtype.bytes(n))
        .filter(|&n| n <= isize::MAX as usize)
        .with_context(|| format!("{dtype} {shape:?} is too large to address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_must_fit_type_and_shape() {
        assert!(HostTensor::new(DType::Int16, &[2, 3], vec![0; 12]).is_ok());
        let error = HostTensor::new(DType::Int16, &[2, 3], vec![0; 11]).unwrap_err().to_string();
        assert_eq!(error, "int16 [2, 3] takes 12 bytes, not 11");
        assert!(byte_len(DType::Float32, &[usize::MAX, 2]).is_err());
        assert!(byte_len(DType::String, &[2]).is_err());
    }

    #[test]
    fn packed_integers_are_bytes_outside() {
        let t = HostTensor::new(DType::Int4, &[3], vec![0x1f, 0x07]).unwrap();
        assert_eq!((t.dtype, t.to_f64(None).unwrap()), (DType::Int8, vec![-1.0, 1.0, 7.0]));
        assert_eq!(t.clone().packed(DType::Int4).unwrap().data, [0x1f, 0x07]);
        assert!(t.packed(DType::UInt4).is_err());
    }

    #[test]
    fn elements_become_real_numbers() {
        let t = HostTensor::new(DType::Int8, &[2], vec![0xff, 4]).unwrap();
        assert_eq!(t.to_f64(None).unwrap(), [-1.0, 4.0]);
        assert_eq!(t.to_f64(Some((0.5, 2))).unwrap(), [-1.5, 1.0]);
        let t = HostTensor::new(DType::Float16, &[], vec![0x00, 0x3e]).unwrap();
        assert_eq!(t.to_f64(None).unwrap(), [1.5]);
        let complex = HostTensor::new(DType::Complex64, &[1], [1.5f32, -2.0].map(f32::to_le_bytes).concat()).unwrap();
        assert!(complex.to_f64(None).is_err());
        assert_eq!(complex.parts().unwrap().to_f64(None).unwrap(), [1.5, -2.0]);
    }
}
