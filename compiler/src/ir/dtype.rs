//! Element types of tensors, with TFLite's names.

use std::fmt;
use tflc_templates::expr::Storage;

macro_rules! dtypes {
    ($($variant:ident $code:literal $name:literal $bits:literal $doc:literal;)*) => {
        /// Element type of a tensor.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub enum DType { $(#[doc = $doc] $variant,)* }

        impl DType {
            /// All element types, in the order of the schema's codes.
            pub const ALL: &[DType] = &[$(DType::$variant),*];

            /// Name in the schema, in lower case.
            pub const fn name(self) -> &'static str {
                match self { $(DType::$variant => $name),* }
            }

            /// Code in the schema's `TensorType`.
            pub const fn code(self) -> i8 {
                match self { $(DType::$variant => $code),* }
            }

            /// Width of an element in bits; 0 for types without a fixed width.
            pub const fn bits(self) -> usize {
                match self { $(DType::$variant => $bits),* }
            }
        }
    };
}

dtypes! {
    Float32 0 "float32" 32 "IEEE binary32.";
    Float16 1 "float16" 16 "IEEE binary16.";
    Int32 2 "int32" 32 "Signed 32-bit integer.";
    UInt8 3 "uint8" 8 "Unsigned 8-bit integer.";
    Int64 4 "int64" 64 "Signed 64-bit integer.";
    String 5 "string" 0 "Strings, packed.";
    Bool 6 "bool" 8 "Truth values, one byte each.";
    Int16 7 "int16" 16 "Signed 16-bit integer.";
    Complex64 8 "complex64" 64 "Pairs of binary32.";
    Int8 9 "int8" 8 "Signed 8-bit integer.";
    Float64 10 "float64" 64 "IEEE binary64.";
    Complex128 11 "complex128" 128 "Pairs of binary64.";
    UInt64 12 "uint64" 64 "Unsigned 64-bit integer.";
    Resource 13 "resource" 32 "Handle of a variable or table.";
    Variant 14 "variant" 0 "Opaque value.";
    UInt32 15 "uint32" 32 "Unsigned 32-bit integer.";
    UInt16 16 "uint16" 16 "Unsigned 16-bit integer.";
    Int4 17 "int4" 4 "Signed 4-bit integers, two a byte, low nibble first.";
    BFloat16 18 "bfloat16" 16 "The upper half of binary32.";
    Int2 19 "int2" 2 "Signed 2-bit integers, four a byte, low bits first.";
    UInt4 20 "uint4" 4 "Unsigned 4-bit integers, two a byte.";
    Float8E4M3 21 "float8_e4m3fn" 8 "8-bit float, 4 exponent bits.";
    Float8E5M2 22 "float8_e5m2" 8 "8-bit float, 5 exponent bits.";
}

impl DType {
    /// The type with a schema code.
    pub fn from_code(code: i8) -> Option<DType> {
        DType::ALL.iter().copied().find(|d| d.code() == code)
    }

    /// The type with a name.
    pub fn from_name(name: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|d| d.name() == name)
    }

    /// Bytes of `elements` elements, packed; `None` on overflow or where the width is not fixed.
    pub fn bytes(self, elements: usize) -> Option<usize> {
        if self.bits() == 0 { None } else { Some(elements.checked_mul(self.bits())?.div_ceil(8)) }
    }

    /// The memory type of elements in pointwise expressions; `None` where expressions lack it.
    pub const fn storage(self) -> Option<Storage> {
        Some(match self {
            DType::Float32 => Storage::F32,
            DType::Float64 => Storage::F64,
            DType::Float16 => Storage::F16,
            DType::BFloat16 => Storage::BF16,
            DType::Int8 => Storage::I8,
            DType::UInt8 => Storage::U8,
            DType::Int16 => Storage::I16,
            DType::UInt16 => Storage::U16,
            DType::Int32 | DType::Resource => Storage::I32,
            DType::UInt32 => Storage::U32,
            DType::Int64 | DType::UInt64 => Storage::I64,
            DType::Bool => Storage::Bool,
            _ => return None,
        })
    }

    /// Whether this is a floating-point type.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::Float32 | DType::Float16 | DType::BFloat16 | DType::Float64)
    }

    /// The range of an integer type of at most 32 bits.
    pub const fn int_range(self) -> Option<(i64, i64)> {
        match self {
            DType::Int8 => Some((-128, 127)),
            DType::UInt8 => Some((0, 255)),
            DType::Int16 => Some((-32768, 32767)),
            DType::UInt16 => Some((0, 65535)),
            DType::Int32 => Some((i32::MIN as i64, i32::MAX as i64)),
            DType::UInt32 => Some((0, u32::MAX as i64)),
            DType::Int4 => Some((-8, 7)),
            DType::UInt4 => Some((0, 15)),
            DType::Int2 => Some((-2, 1)),
            _ => None,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
