//! Options of the operators in the second union: StableHLO, and DILATE.
//!
//! Source of field ids, types and defaults: `schema.fbs` of TensorFlow Lite, version 3d.

use super::def::{FieldDef, TableDef};
use super::enums::{
    CustomOptionsFormat, ReduceWindowFunction, RngAlgorithm, StablehloComparisonDirection, StablehloComparisonType,
    StablehloPrecisionConfig,
};
use super::kind::{Blob, FieldKind, List, SchemaTable, Str};
use super::macros::{default_of, tables, wire_name};
use super::reader::{RawTable, Ref};
use super::writer::{TableOffset, Writer};

tables! {
    /// Options of STABLEHLO_CONCATENATE.
    StablehloConcatenateOptions { 0 dimension: i64 }

    /// Options of STABLEHLO_BROADCAST_IN_DIM.
    StablehloBroadcastInDimOptions { 0 broadcast_dimensions: List<i64> }

    /// Options of STABLEHLO_SLICE.
    StablehloSliceOptions { 0 start_indices: List<i64>, 1 limit_indices: List<i64>, 2 strides: List<i64> }

    /// Options of STABLEHLO_CONVOLUTION.
    StablehloConvolutionOptions {
        0 window_strides: List<i64>,
        1 padding: List<i64>,
        2 lhs_dilation: List<i64>,
        3 rhs_dilation: List<i64>,
        4 window_reversal: List<bool>,
        5 input_batch_dimension: i64,
        6 input_feature_dimension: i64,
        7 input_spatial_dimensions: List<i64>,
        8 kernel_input_feature_dimension: i64,
        9 kernel_output_feature_dimension: i64,
        10 kernel_spatial_dimensions: List<i64>,
        11 output_batch_dimension: i64,
        12 output_feature_dimension: i64,
        13 output_spatial_dimensions: List<i64>,
        14 feature_group_count: i64,
        15 batch_group_count: i64,
        16 precision_config: List<StablehloPrecisionConfig>,
    }

    /// Options of STABLEHLO_CUSTOM_CALL.
    StablehloCustomCallOptions {
        0 call_target_name: Str,
        1 has_side_effect: bool,
        2 backend_config: Str,
        3 api_version: i32,
        4 called_computations: List<i32>,
        5 custom_attributes: Blob<4>,
    }

    /// Options of STABLEHLO_REDUCE.
    StablehloReduceOptions { 0 dimensions: List<i64>, 1 body_subgraph_index: i32 }

    /// Options of STABLEHLO_SCATTER.
    StablehloScatterOptions {
        0 indices_are_sorted: bool,
        1 update_window_dims: List<i64>,
        2 inserted_window_dims: List<i64>,
        3 scatter_dims_to_operand_dims: List<i64>,
        4 index_vector_dim: i64,
        5 unique_indices: bool,
        6 update_computation_subgraph_index: i32,
    }

    /// Options of STABLEHLO_COMPARE.
    StablehloCompareOptions {
        0 comparison_direction: StablehloComparisonDirection,
        1 compare_type: StablehloComparisonType,
    }

    /// Options of STABLEHLO_DYNAMIC_SLICE.
    StablehloDynamicSliceOptions { 0 slice_sizes: List<i64> }

    /// Options of STABLEHLO_PAD.
    StablehloPadOptions {
        0 edge_padding_low: List<i64>,
        1 edge_padding_high: List<i64>,
        2 interior_padding: List<i64>,
    }

    /// Options of STABLEHLO_IOTA.
    StablehloIotaOptions { 0 iota_dimension: i64 }

    /// Options of STABLEHLO_DOT_GENERAL.
    StablehloDotGeneralOptions {
        0 lhs_batching_dimensions: List<i64>,
        1 rhs_batching_dimensions: List<i64>,
        2 lhs_contracting_dimensions: List<i64>,
        3 rhs_contracting_dimensions: List<i64>,
        4 precision_config: List<StablehloPrecisionConfig>,
    }

    /// Options of STABLEHLO_REDUCE_WINDOW.
    StablehloReduceWindowOptions {
        0 window_dimensions: List<i64>,
        1 window_strides: List<i64>,
        2 base_dilations: List<i64>,
        3 window_dilations: List<i64>,
        4 padding: List<i64>,
        5 body_subgraph_index: i32,
    }

    /// Options of STABLEHLO_SORT.
    StablehloSortOptions { 0 dimension: i64, 1 is_stable: bool, 2 comparator_subgraph_index: i32 }

    /// Options of STABLEHLO_WHILE.
    StablehloWhileOptions { 0 cond_subgraph_index: i32, 1 body_subgraph_index: i32 }

    /// Options of STABLEHLO_GATHER.
    StablehloGatherOptions {
        0 offset_dims: List<i64>,
        1 collapsed_slice_dims: List<i64>,
        2 start_index_map: List<i64>,
        3 index_vector_dim: i64,
        4 slice_sizes: List<i64>,
        5 indices_are_sorted: bool,
    }

    /// Options of STABLEHLO_TRANSPOSE.
    StablehloTransposeOptions { 0 permutation: List<i64> }

    /// Options of DILATE.
    DilateOptions {}

    /// Options of STABLEHLO_RNG_BIT_GENERATOR.
    StablehloRngBitGeneratorOptions { 0 algorithm: RngAlgorithm }

    /// Options of the retired REDUCE_WINDOW.
    ReduceWindowOptions { 0 reduce_function: ReduceWindowFunction }

    /// Options of STABLEHLO_COMPOSITE.
    StableHLOCompositeOptions {
        0 name: Str,
        /// The subgraph that computes the same.
        1 decomposition_subgraph_index: i32,
        2 composite_attributes: Blob<4>,
        3 composite_attributes_format: CustomOptionsFormat,
        4 version: i32,
    }

    /// Options of STABLEHLO_SHIFT_LEFT.
    StablehloShiftLeftOptions {}

    /// Options of STABLEHLO_CASE.
    StablehloCaseOptions { 0 branch_subgraph_indices: List<i32> }
}
