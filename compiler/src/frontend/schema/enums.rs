//! Enumerations of the schema, except the operator codes.
//!
//! Source of names and numbers: `schema.fbs` of TensorFlow Lite, version 3d.

use std::fmt;

use super::def::{EnumDef, FieldType, ScalarType};
use super::kind::Scalar;
use super::macros::enums;

enums! {
    /// Element types.
    TensorType: i8 {
        FLOAT32 = 0, FLOAT16 = 1, INT32 = 2, UINT8 = 3, INT64 = 4, STRING = 5, BOOL = 6, INT16 = 7, COMPLEX64 = 8,
        INT8 = 9, FLOAT64 = 10, COMPLEX128 = 11, UINT64 = 12, RESOURCE = 13, VARIANT = 14, UINT32 = 15, UINT16 = 16,
        INT4 = 17, BFLOAT16 = 18, INT2 = 19, UINT4 = 20, FLOAT8_E4M3FN = 21, FLOAT8_E5M2 = 22,
    }

    /// How one dimension of a sparse tensor is stored.
    DimensionType: i8 { DENSE = 0, SPARSE_CSR = 1 }

    /// Precision asked of a StableHLO dot product or convolution.
    StablehloPrecisionConfig: u32 { DEFAULT = 0, HIGH = 1, HIGHEST = 2 }

    /// Comparison of STABLEHLO_COMPARE.
    StablehloComparisonDirection: u32 {
        STABLEHLO_COMPARISON_DIRECTION_EQ = 0, STABLEHLO_COMPARISON_DIRECTION_NE = 1,
        STABLEHLO_COMPARISON_DIRECTION_GE = 2, STABLEHLO_COMPARISON_DIRECTION_GT = 3,
        STABLEHLO_COMPARISON_DIRECTION_LE = 4, STABLEHLO_COMPARISON_DIRECTION_LT = 5,
    }

    /// How STABLEHLO_COMPARE orders its operands.
    StablehloComparisonType: u32 {
        STABLEHLO_COMPARISON_TYPE_NOTYPE = 0, STABLEHLO_COMPARISON_TYPE_FLOAT = 1,
        STABLEHLO_COMPARISON_TYPE_FLOAT_TOTAL_ORDER = 2, STABLEHLO_COMPARISON_TYPE_SIGNED = 3,
        STABLEHLO_COMPARISON_TYPE_UNSIGNED = 4,
    }

    /// Generator of STABLEHLO_RNG_BIT_GENERATOR.
    RngAlgorithm: i8 { DEFAULT = 0, PHILOX = 1, THREEFRY = 2 }

    /// Padding of convolutions and pools: SAME keeps `ceil(in / stride)` outputs, VALID pads nothing.
    Padding: i8 { SAME = 0, VALID = 1 }

    /// Activation applied to an operator's result.
    ActivationFunctionType: i8 { NONE = 0, RELU = 1, RELU_N1_TO_1 = 2, RELU6 = 3, TANH = 4, SIGN_BIT = 5 }

    /// Kind of LSH_PROJECTION.
    LSHProjectionType: i8 { UNKNOWN = 0, SPARSE = 1, DENSE = 2 }

    /// Order of the weights of FULLY_CONNECTED.
    FullyConnectedOptionsWeightsFormat: i8 { DEFAULT = 0, SHUFFLED4x16INT8 = 1 }

    /// Variant of LSTM.
    LSTMKernelType: i8 { FULL = 0, BASIC = 1 }

    /// How EMBEDDING_LOOKUP_SPARSE combines rows.
    CombinerType: i8 { SUM = 0, MEAN = 1, SQRTN = 2 }

    /// Whether MIRROR_PAD repeats the border (SYMMETRIC) or not (REFLECT).
    MirrorPadMode: i8 { REFLECT = 0, SYMMETRIC = 1 }

    /// Reduction of the retired REDUCE_WINDOW.
    ReduceWindowFunction: i32 { UNSUPPORTED = 0, ADD = 1, MUL = 2, MINIMUM = 3, MAXIMUM = 4, ALL = 5, ANY = 6 }

    /// Encoding of custom options.
    CustomOptionsFormat: i8 { FLEXBUFFERS = 0 }
}
