//! The two unions of operator options.
//!
//! An operator uses at most one of them. Source of the type codes: `schema.fbs` of TensorFlow Lite, version 3d.

use super::def::UnionDef;
use super::kind::{SchemaTable, SchemaUnion};
use super::macros::unions;
use super::model::Operator;
use super::reader::{RawTable, Ref};
use super::writer::{TableOffset, Writer};
use crate::frontend::reflect::DynTable;

pub use super::options_builtin::*;
pub use super::options_empty::*;
pub use super::options_late::*;

unions! {
    /// Options of most builtin operators.
    BuiltinOptions {
        1 Conv2DOptions, 2 DepthwiseConv2DOptions, 3 ConcatEmbeddingsOptions, 4 LSHProjectionOptions,
        5 Pool2DOptions, 6 SVDFOptions, 7 RNNOptions, 8 FullyConnectedOptions, 9 SoftmaxOptions,
        10 ConcatenationOptions, 11 AddOptions, 12 L2NormOptions, 13 LocalResponseNormalizationOptions,
        14 LSTMOptions, 15 ResizeBilinearOptions, 16 CallOptions, 17 ReshapeOptions, 18 SkipGramOptions,
        19 SpaceToDepthOptions, 20 EmbeddingLookupSparseOptions, 21 MulOptions, 22 PadOptions, 23 GatherOptions,
        24 BatchToSpaceNDOptions, 25 SpaceToBatchNDOptions, 26 TransposeOptions, 27 ReducerOptions, 28 SubOptions,
        29 DivOptions, 30 SqueezeOptions, 31 SequenceRNNOptions, 32 StridedSliceOptions, 33 ExpOptions,
        34 TopKV2Options, 35 SplitOptions, 36 LogSoftmaxOptions, 37 CastOptions, 38 DequantizeOptions,
        39 MaximumMinimumOptions, 40 ArgMaxOptions, 41 LessOptions, 42 NegOptions, 43 PadV2Options,
        44 GreaterOptions, 45 GreaterEqualOptions, 46 LessEqualOptions, 47 SelectOptions, 48 SliceOptions,
        49 TransposeConvOptions, 50 SparseToDenseOptions, 51 TileOptions, 52 ExpandDimsOptions, 53 EqualOptions,
        54 NotEqualOptions, 55 ShapeOptions, 56 PowOptions, 57 ArgMinOptions, 58 FakeQuantOptions, 59 PackOptions,
        60 LogicalOrOptions, 61 OneHotOptions, 62 LogicalAndOptions, 63 LogicalNotOptions, 64 UnpackOptions,
        65 FloorDivOptions, 66 SquareOptions, 67 ZerosLikeOptions, 68 FillOptions,
        69 BidirectionalSequenceLSTMOptions, 70 BidirectionalSequenceRNNOptions,
        71 UnidirectionalSequenceLSTMOptions, 72 FloorModOptions, 73 RangeOptions, 74 ResizeNearestNeighborOptions,
        75 LeakyReluOptions, 76 SquaredDifferenceOptions, 77 MirrorPadOptions, 78 AbsOptions, 79 SplitVOptions,
        80 UniqueOptions, 81 ReverseV2Options, 82 AddNOptions, 83 GatherNdOptions, 84 CosOptions, 85 WhereOptions,
        86 RankOptions, 87 ReverseSequenceOptions, 88 MatrixDiagOptions, 89 QuantizeOptions, 90 MatrixSetDiagOptions,
        91 HardSwishOptions, 92 IfOptions, 93 WhileOptions, 94 DepthToSpaceOptions, 95 NonMaxSuppressionV4Options,
        96 NonMaxSuppressionV5Options, 97 ScatterNdOptions, 98 SelectV2Options, 99 DensifyOptions,
        100 SegmentSumOptions, 101 BatchMatMulOptions, 102 CumsumOptions, 103 CallOnceOptions,
        104 BroadcastToOptions, 105 Rfft2dOptions, 106 Conv3DOptions, 107 HashtableOptions, 108 HashtableFindOptions,
        109 HashtableImportOptions, 110 HashtableSizeOptions, 111 VarHandleOptions, 112 ReadVariableOptions,
        113 AssignVariableOptions, 114 RandomOptions, 115 BucketizeOptions, 116 GeluOptions,
        117 DynamicUpdateSliceOptions, 118 UnsortedSegmentProdOptions, 119 UnsortedSegmentMaxOptions,
        120 UnsortedSegmentMinOptions, 121 UnsortedSegmentSumOptions, 122 ATan2Options, 123 SignOptions,
        124 BitcastOptions, 125 BitwiseXorOptions, 126 RightShiftOptions,
    }

    /// Options of the operators that came after the first union was full.
    BuiltinOptions2 {
        1 StablehloConcatenateOptions, 2 StablehloBroadcastInDimOptions, 3 StablehloSliceOptions,
        4 StablehloConvolutionOptions, 5 StablehloCustomCallOptions, 6 StablehloReduceOptions,
        7 StablehloScatterOptions, 8 StablehloCompareOptions, 9 StablehloDynamicSliceOptions, 10 StablehloPadOptions,
        11 StablehloIotaOptions, 12 StablehloDotGeneralOptions, 13 StablehloReduceWindowOptions,
        14 StablehloSortOptions, 15 StablehloWhileOptions, 16 StablehloGatherOptions, 17 StablehloTransposeOptions,
        18 DilateOptions, 19 StablehloRngBitGeneratorOptions, 20 ReduceWindowOptions, 21 StableHLOCompositeOptions,
        22 StablehloShiftLeftOptions, 23 StablehloCaseOptions,
    }
}

impl<'a> Ref<'a, Operator> {
    /// The options as a `T`, from whichever union holds one; `None` where they are absent or something else.
    ///
    /// `unwrap_or_default()` gives the schema's defaults.
    pub fn options<T: SchemaTable>(self) -> Option<Ref<'a, T>> {
        self.builtin_options().get().or_else(|| self.builtin_options_2().get())
    }

    /// The options as a list of named values, from whichever union holds some.
    pub fn reflect_options(self) -> Option<DynTable<'a>> {
        self.builtin_options().reflect().or_else(|| self.builtin_options_2().reflect())
    }
}
