//! Options of the operators in the first union, those that have any.
//!
//! Source of field ids, types and defaults: `schema.fbs` of TensorFlow Lite, version 3d.

use super::def::{FieldDef, TableDef};
use super::enums::{
    ActivationFunctionType, CombinerType, FullyConnectedOptionsWeightsFormat, LSHProjectionType, LSTMKernelType, MirrorPadMode, Padding,
    TensorType,
};
use super::kind::{FieldKind, List, SchemaTable, Str};
use super::macros::{default_of, tables, wire_name};
use super::reader::{RawTable, Ref};
use super::writer::{TableOffset, Writer};

tables! {
    /// Options of CONV_2D.
    Conv2DOptions {
        0 padding: Padding,
        1 stride_w: i32,
        2 stride_h: i32,
        3 fused_activation_function: ActivationFunctionType,
        4 dilation_w_factor: i32 = 1,
        5 dilation_h_factor: i32 = 1,
        /// Element type of bias and accumulator; FLOAT32, the default, means not set.
        6 quantized_bias_type: TensorType,
    }

    /// Options of DEPTHWISE_CONV_2D.
    DepthwiseConv2DOptions {
        0 padding: Padding,
        1 stride_w: i32,
        2 stride_h: i32,
        /// Redundant; kernels derive it from the shapes.
        3 depth_multiplier: i32,
        4 fused_activation_function: ActivationFunctionType,
        5 dilation_w_factor: i32 = 1,
        6 dilation_h_factor: i32 = 1,
    }

    /// Options of CONCAT_EMBEDDINGS.
    ConcatEmbeddingsOptions {
        0 num_channels: i32,
        1 num_columns_per_channel: List<i32>,
        2 embedding_dim_per_channel: List<i32>,
    }

    /// Options of LSH_PROJECTION.
    LSHProjectionOptions { 0 projection as "type": LSHProjectionType }

    /// Options of AVERAGE_POOL_2D, MAX_POOL_2D and L2_POOL_2D.
    Pool2DOptions {
        0 padding: Padding,
        1 stride_w: i32,
        2 stride_h: i32,
        3 filter_width: i32,
        4 filter_height: i32,
        5 fused_activation_function: ActivationFunctionType,
    }

    /// Options of SVDF.
    SVDFOptions {
        0 rank: i32,
        1 fused_activation_function: ActivationFunctionType,
        2 asymmetric_quantize_inputs: bool,
    }

    /// Options of RNN.
    RNNOptions { 0 fused_activation_function: ActivationFunctionType, 1 asymmetric_quantize_inputs: bool }

    /// Options of FULLY_CONNECTED.
    FullyConnectedOptions {
        0 fused_activation_function: ActivationFunctionType,
        1 weights_format: FullyConnectedOptionsWeightsFormat,
        /// Whether the output keeps all dimensions of the input but the last.
        2 keep_num_dims: bool,
        3 asymmetric_quantize_inputs: bool,
        /// Element type of bias and accumulator; FLOAT32, the default, means not set.
        4 quantized_bias_type: TensorType,
    }

    /// Options of SOFTMAX.
    SoftmaxOptions { 0 beta: f32 }

    /// Options of CONCATENATION.
    ConcatenationOptions { 0 axis: i32, 1 fused_activation_function: ActivationFunctionType }

    /// Options of ADD.
    AddOptions { 0 fused_activation_function: ActivationFunctionType, 1 pot_scale_int16: bool = 1 }

    /// Options of L2_NORMALIZATION.
    L2NormOptions { 0 fused_activation_function: ActivationFunctionType }

    /// Options of LOCAL_RESPONSE_NORMALIZATION.
    LocalResponseNormalizationOptions { 0 radius: i32, 1 bias: f32, 2 alpha: f32, 3 beta: f32 }

    /// Options of LSTM.
    LSTMOptions {
        0 fused_activation_function: ActivationFunctionType,
        /// 0 is no clipping.
        1 cell_clip: f32,
        /// 0 is no clipping.
        2 proj_clip: f32,
        3 kernel_type: LSTMKernelType,
        4 asymmetric_quantize_inputs: bool,
    }

    /// Options of RESIZE_BILINEAR.
    ResizeBilinearOptions {
        // 0 `new_height` is retired.
        // 1 `new_width` is retired.
        2 align_corners: bool,
        3 half_pixel_centers: bool,
    }

    /// Options of CALL.
    CallOptions { 0 subgraph: u32 }

    /// Options of RESHAPE.
    ReshapeOptions { 0 new_shape: List<i32> }

    /// Options of SKIP_GRAM.
    SkipGramOptions { 0 ngram_size: i32, 1 max_skip_size: i32, 2 include_all_ngrams: bool }

    /// Options of SPACE_TO_DEPTH.
    SpaceToDepthOptions { 0 block_size: i32 }

    /// Options of EMBEDDING_LOOKUP_SPARSE.
    EmbeddingLookupSparseOptions { 0 combiner: CombinerType }

    /// Options of MUL.
    MulOptions { 0 fused_activation_function: ActivationFunctionType }

    /// Options of GATHER.
    GatherOptions { 0 axis: i32, 1 batch_dims: i32 }

    /// Options of SUM, MEAN, REDUCE_PROD, REDUCE_MAX, REDUCE_MIN, REDUCE_ANY and REDUCE_ALL.
    ReducerOptions { 0 keep_dims: bool }

    /// Options of SUB.
    SubOptions { 0 fused_activation_function: ActivationFunctionType, 1 pot_scale_int16: bool = 1 }

    /// Options of DIV.
    DivOptions { 0 fused_activation_function: ActivationFunctionType }

    /// Options of SQUEEZE.
    SqueezeOptions { 0 squeeze_dims: List<i32> }

    /// Options of UNIDIRECTIONAL_SEQUENCE_RNN.
    SequenceRNNOptions {
        0 time_major: bool,
        1 fused_activation_function: ActivationFunctionType,
        2 asymmetric_quantize_inputs: bool,
    }

    /// Options of STRIDED_SLICE.
    StridedSliceOptions {
        0 begin_mask: i32,
        1 end_mask: i32,
        2 ellipsis_mask: i32,
        3 new_axis_mask: i32,
        4 shrink_axis_mask: i32,
        /// Whether `end` is relative to `begin`.
        5 offset: bool,
    }

    /// Options of SPLIT.
    SplitOptions { 0 num_splits: i32 }

    /// Options of CAST.
    CastOptions { 0 in_data_type: TensorType, 1 out_data_type: TensorType }

    /// Options of ARG_MAX.
    ArgMaxOptions { 0 output_type: TensorType }

    /// Options of TRANSPOSE_CONV.
    TransposeConvOptions {
        0 padding: Padding,
        1 stride_w: i32,
        2 stride_h: i32,
        3 fused_activation_function: ActivationFunctionType,
        /// Element type of bias and accumulator; FLOAT32, the default, means not set.
        4 quantized_bias_type: TensorType,
    }

    /// Options of SPARSE_TO_DENSE.
    SparseToDenseOptions { 0 validate_indices: bool }

    /// Options of SHAPE.
    ShapeOptions { 0 out_type: TensorType }

    /// Options of ARG_MIN.
    ArgMinOptions { 0 output_type: TensorType }

    /// Options of FAKE_QUANT.
    FakeQuantOptions { 0 min: f32, 1 max: f32, 2 num_bits: i32, 3 narrow_range: bool }

    /// Options of PACK.
    PackOptions { 0 values_count: i32, 1 axis: i32 }

    /// Options of ONE_HOT.
    OneHotOptions { 0 axis: i32 }

    /// Options of UNPACK.
    UnpackOptions { 0 num: i32, 1 axis: i32 }

    /// Options of BIDIRECTIONAL_SEQUENCE_LSTM.
    BidirectionalSequenceLSTMOptions {
        0 fused_activation_function: ActivationFunctionType,
        /// 0 is no clipping.
        1 cell_clip: f32,
        /// 0 is no clipping.
        2 proj_clip: f32,
        /// Whether both directions go to the first output.
        3 merge_outputs: bool,
        4 time_major: bool = 1,
        5 asymmetric_quantize_inputs: bool,
    }

    /// Options of BIDIRECTIONAL_SEQUENCE_RNN.
    BidirectionalSequenceRNNOptions {
        0 time_major: bool,
        1 fused_activation_function: ActivationFunctionType,
        2 merge_outputs: bool,
        3 asymmetric_quantize_inputs: bool,
    }

    /// Options of UNIDIRECTIONAL_SEQUENCE_LSTM.
    UnidirectionalSequenceLSTMOptions {
        0 fused_activation_function: ActivationFunctionType,
        /// 0 is no clipping.
        1 cell_clip: f32,
        /// 0 is no clipping.
        2 proj_clip: f32,
        3 time_major: bool,
        4 asymmetric_quantize_inputs: bool,
        5 diagonal_recurrent_tensors: bool,
    }

    /// Options of RESIZE_NEAREST_NEIGHBOR.
    ResizeNearestNeighborOptions { 0 align_corners: bool, 1 half_pixel_centers: bool }

    /// Options of LEAKY_RELU.
    LeakyReluOptions { 0 alpha: f32 }

    /// Options of MIRROR_PAD.
    MirrorPadOptions { 0 mode: MirrorPadMode }

    /// Options of SPLIT_V.
    SplitVOptions { 0 num_splits: i32 }

    /// Options of UNIQUE.
    UniqueOptions { 0 idx_out_type: TensorType = 2 }

    /// Options of REVERSE_SEQUENCE.
    ReverseSequenceOptions { 0 seq_dim: i32, 1 batch_dim: i32 }

    /// Options of IF.
    IfOptions { 0 then_subgraph_index: i32, 1 else_subgraph_index: i32 }

    /// Options of WHILE.
    WhileOptions { 0 cond_subgraph_index: i32, 1 body_subgraph_index: i32 }

    /// Options of DEPTH_TO_SPACE.
    DepthToSpaceOptions { 0 block_size: i32 }

    /// Options of BATCH_MATMUL.
    BatchMatMulOptions { 0 adj_x: bool, 1 adj_y: bool, 2 asymmetric_quantize_inputs: bool }

    /// Options of CUMSUM.
    CumsumOptions { 0 exclusive: bool, 1 reverse: bool }

    /// Options of CALL_ONCE.
    CallOnceOptions { 0 init_subgraph_index: i32 }

    /// Options of CONV_3D and CONV_3D_TRANSPOSE.
    Conv3DOptions {
        0 padding: Padding,
        1 stride_d: i32,
        2 stride_w: i32,
        3 stride_h: i32,
        4 fused_activation_function: ActivationFunctionType,
        5 dilation_d_factor: i32 = 1,
        6 dilation_w_factor: i32 = 1,
        7 dilation_h_factor: i32 = 1,
    }

    /// Options of HASHTABLE.
    HashtableOptions { 0 table_id: i32, 1 key_dtype: TensorType, 2 value_dtype: TensorType }

    /// Options of VAR_HANDLE.
    VarHandleOptions { 0 container: Str, 1 shared_name: Str }

    /// Options of RANDOM_STANDARD_NORMAL, RANDOM_UNIFORM and MULTINOMIAL.
    RandomOptions { 0 seed: i64, 1 seed2: i64 }

    /// Options of BUCKETIZE.
    BucketizeOptions { 0 boundaries: List<f32> }

    /// Options of GELU.
    GeluOptions { 0 approximate: bool }
}
