//! Options of the operators in the first union that have a table but no options.
//!
//! Source of field ids, types and defaults: `schema.fbs` of TensorFlow Lite, version 3d.

use super::def::TableDef;
use super::kind::SchemaTable;
use super::macros::tables;
use super::reader::{RawTable, Ref};
use super::writer::{TableOffset, Writer};

tables! {
    /// Options of PAD.
    PadOptions {}

    /// Options of BATCH_TO_SPACE_ND.
    BatchToSpaceNDOptions {}

    /// Options of SPACE_TO_BATCH_ND.
    SpaceToBatchNDOptions {}

    /// Options of TRANSPOSE.
    TransposeOptions {}

    /// Options of EXP.
    ExpOptions {}

    /// Options of TOPK_V2.
    TopKV2Options {}

    /// Options of LOG_SOFTMAX.
    LogSoftmaxOptions {}

    /// Options of DEQUANTIZE.
    DequantizeOptions {}

    /// Options of MAXIMUM and MINIMUM.
    MaximumMinimumOptions {}

    /// Options of LESS.
    LessOptions {}

    /// Options of NEG.
    NegOptions {}

    /// Options of PADV2.
    PadV2Options {}

    /// Options of GREATER.
    GreaterOptions {}

    /// Options of GREATER_EQUAL.
    GreaterEqualOptions {}

    /// Options of LESS_EQUAL.
    LessEqualOptions {}

    /// Options of SELECT.
    SelectOptions {}

    /// Options of SLICE.
    SliceOptions {}

    /// Options of TILE.
    TileOptions {}

    /// Options of EXPAND_DIMS.
    ExpandDimsOptions {}

    /// Options of EQUAL.
    EqualOptions {}

    /// Options of NOT_EQUAL.
    NotEqualOptions {}

    /// Options of POW.
    PowOptions {}

    /// Options of LOGICAL_OR.
    LogicalOrOptions {}

    /// Options of LOGICAL_AND.
    LogicalAndOptions {}

    /// Options of LOGICAL_NOT.
    LogicalNotOptions {}

    /// Options of FLOOR_DIV.
    FloorDivOptions {}

    /// Options of SQUARE.
    SquareOptions {}

    /// Options of ZEROS_LIKE.
    ZerosLikeOptions {}

    /// Options of FILL.
    FillOptions {}

    /// Options of FLOOR_MOD.
    FloorModOptions {}

    /// Options of RANGE.
    RangeOptions {}

    /// Options of SQUARED_DIFFERENCE.
    SquaredDifferenceOptions {}

    /// Options of ABS.
    AbsOptions {}

    /// Options of REVERSE_V2.
    ReverseV2Options {}

    /// Options of ADD_N.
    AddNOptions {}

    /// Options of GATHER_ND.
    GatherNdOptions {}

    /// Options of COS.
    CosOptions {}

    /// Options of WHERE.
    WhereOptions {}

    /// Options of RANK.
    RankOptions {}

    /// Options of MATRIX_DIAG.
    MatrixDiagOptions {}

    /// Options of QUANTIZE.
    QuantizeOptions {}

    /// Options of MATRIX_SET_DIAG.
    MatrixSetDiagOptions {}

    /// Options of HARD_SWISH.
    HardSwishOptions {}

    /// Options of NON_MAX_SUPPRESSION_V4.
    NonMaxSuppressionV4Options {}

    /// Options of NON_MAX_SUPPRESSION_V5.
    NonMaxSuppressionV5Options {}

    /// Options of SCATTER_ND.
    ScatterNdOptions {}

    /// Options of SELECT_V2.
    SelectV2Options {}

    /// Options of DENSIFY.
    DensifyOptions {}

    /// Options of SEGMENT_SUM.
    SegmentSumOptions {}

    /// Options of BROADCAST_TO.
    BroadcastToOptions {}

    /// Options of RFFT2D.
    Rfft2dOptions {}

    /// Options of HASHTABLE_FIND.
    HashtableFindOptions {}

    /// Options of HASHTABLE_IMPORT.
    HashtableImportOptions {}

    /// Options of HASHTABLE_SIZE.
    HashtableSizeOptions {}

    /// Options of READ_VARIABLE.
    ReadVariableOptions {}

    /// Options of ASSIGN_VARIABLE.
    AssignVariableOptions {}

    /// Options of DYNAMIC_UPDATE_SLICE.
    DynamicUpdateSliceOptions {}

    /// Options of UNSORTED_SEGMENT_PROD.
    UnsortedSegmentProdOptions {}

    /// Options of UNSORTED_SEGMENT_MAX.
    UnsortedSegmentMaxOptions {}

    /// Options of UNSORTED_SEGMENT_MIN.
    UnsortedSegmentMinOptions {}

    /// Options of UNSORTED_SEGMENT_SUM.
    UnsortedSegmentSumOptions {}

    /// Options of ATAN2.
    ATan2Options {}

    /// Options of SIGN.
    SignOptions {}

    /// Options of BITCAST.
    BitcastOptions {}

    /// Options of BITWISE_XOR.
    BitwiseXorOptions {}

    /// Options of RIGHT_SHIFT.
    RightShiftOptions {}
}
