//! The tables of the model itself: subgraphs, tensors, operators, buffers, signatures.
//!
//! Source of field ids, types and defaults: `schema.fbs` of TensorFlow Lite, version 3d.

use super::def::{FieldDef, TableDef, UnionDef};
use super::enums::{CustomOptionsFormat, DimensionType, TensorType};
use super::kind::{Blob, FieldKind, List, SchemaTable, SchemaUnion, Str, Sub, Subs, Union};
use super::macros::{default_of, tables, unions, wire_name};
use super::operators::BuiltinOperator;
use super::options::{BuiltinOptions, BuiltinOptions2};
use super::reader::{RawTable, Ref};
use super::writer::{TableOffset, Writer};

/// The identifier of the files, at byte 4.
pub const FILE_IDENTIFIER: &str = "TFL3";

/// The value of [`Model::version`].
pub const SCHEMA_VERSION: u32 = 3;

unions! {
    /// Quantisation beyond scale and zero point.
    QuantizationDetails {
        1 CustomQuantization, 2 BlockwiseQuantization, 3 MultiAxisQuantization,
    }

    /// Indices of a sparse dimension, in the narrowest type that holds them.
    SparseIndexVector {
        1 Int32Vector, 2 Uint16Vector, 3 Uint8Vector,
    }
}

tables! {
    /// Quantisation parameters that only the producer understands.
    CustomQuantization { 0 custom: Blob<16> }

    /// One scale per block of the last dimension.
    BlockwiseQuantization {
        /// Tensor index of the scales.
        0 scales: i32,
        /// Tensor index of the zero points, or -1 for zero points of 0.
        1 zero_points: i32,
        /// Elements per block.
        2 block_size: i32,
    }

    /// One scale per index of several dimensions, with or without blocks.
    MultiAxisQuantization {
        /// Tensor index of the scales.
        0 scales: i32,
        /// Tensor index of the zero points, or -1 for zero points of 0.
        1 zero_points: i32,
        /// Elements per block; 0 without blocks.
        2 block_size: i32,
        /// The dimensions that have scales of their own.
        3 quantized_dimensions: List<i32>,
    }

    /// How integers stand for reals: `real = scale * (q - zero_point)`, per tensor or per index of one dimension.
    QuantizationParameters {
        /// Smallest values seen in calibration.
        0 min: List<f32>,
        /// Largest values seen in calibration.
        1 max: List<f32>,
        /// One scale, or one per index of `quantized_dimension`.
        2 scale: List<f32>,
        /// As many as scales.
        3 zero_point: List<i64>,
        /// Where present, holds instead of `scale` and `zero_point`.
        5 details: Union<QuantizationDetails>,
        /// The dimension that the scales belong to.
        6 quantized_dimension: i32,
    }

    /// Indices of 32 bits.
    Int32Vector { 0 values: List<i32> }

    /// Indices of 16 bits.
    Uint16Vector { 0 values: List<u16> }

    /// Indices of 8 bits.
    Uint8Vector { 0 values: List<u8> }

    /// Storage of one dimension of a sparse tensor, in traversal order.
    DimensionMetadata {
        0 format: DimensionType,
        /// Extent of a dense dimension.
        1 dense_size: i32,
        /// Where each row starts in `array_indices`, as in compressed sparse rows.
        3 array_segments: Union<SparseIndexVector>,
        /// Coordinates of the stored elements.
        5 array_indices: Union<SparseIndexVector>,
    }

    /// Storage of a sparse tensor (the TACO scheme: Kjolstad et al., OOPSLA 2017).
    SparsityParameters {
        /// The order of dimensions, block dimensions last.
        0 traversal_order: List<i32>,
        /// The dimension that each block dimension divides.
        1 block_map: List<i32>,
        /// One entry per dimension of `traversal_order`.
        2 dim_metadata: Subs<DimensionMetadata>,
    }

    /// Element type and shape behind a VARIANT tensor.
    VariantSubType { 0 shape: List<i32>, 1 dtype as "type": TensorType, 2 has_rank: bool }

    /// A tensor of a subgraph.
    Tensor {
        /// Extents; empty for a scalar and for an unknown rank.
        0 shape: List<i32>,
        1 dtype as "type": TensorType,
        /// Index into the buffers of the model; 0 is no data.
        2 buffer: u32,
        3 name: Str,
        4 quantization: Sub<QuantizationParameters>,
        /// Whether the tensor keeps its value from one run to the next.
        5 is_variable: bool,
        /// Present where the data is sparse.
        6 sparsity: Sub<SparsityParameters>,
        /// As `shape` with -1 for extents that vary; empty where none does.
        7 shape_signature: List<i32>,
        /// Tells a scalar from an unknown rank.
        8 has_rank: bool,
        /// At most one, for VARIANT tensors.
        9 variant_tensors: Subs<VariantSubType>,
        /// Id of an external buffer; 0 is none.
        10 external_buffer: u32,
    }

    /// An operator that the model uses; see `operator` on its reference.
    OperatorCode {
        /// The code, where it is below 127.
        0 deprecated_builtin_code: i8,
        /// The name of a custom operator.
        1 custom_code: Str,
        /// The version of the operator's semantics.
        2 version: i32 = 1,
        /// The code.
        3 builtin_code: BuiltinOperator,
    }

    /// A node of a subgraph.
    Operator {
        /// Index into the operator codes of the model.
        0 opcode_index: u32,
        /// Tensor indices; -1 for an omitted optional input.
        1 inputs: List<i32>,
        /// Tensor indices.
        2 outputs: List<i32>,
        /// Options of most builtin operators.
        4 builtin_options: Union<BuiltinOptions>,
        /// Options of a custom operator.
        5 custom_options: Blob<4>,
        6 custom_options_format: CustomOptionsFormat,
        /// Empty, or for each input whether the operator changes it.
        7 mutating_variable_inputs: List<bool>,
        /// Tensor indices of values inside the operator.
        8 intermediates: List<i32>,
        /// Options outside the flatbuffer, in bytes from the start of the file; valid above 1.
        9 large_custom_options_offset: u64,
        /// Their size in bytes.
        10 large_custom_options_size: u64,
        /// Options of the operators that came after the first union was full.
        12 builtin_options_2: Union<BuiltinOptions2>,
        /// Index into debug metadata; -1 is none.
        13 debug_metadata_index: i32 = -1,
    }

    /// A graph; number 0 is the model's main one.
    SubGraph {
        0 tensors: Subs<Tensor>,
        /// Tensor indices.
        1 inputs: List<i32>,
        /// Tensor indices.
        2 outputs: List<i32>,
        /// In execution order.
        3 operators: Subs<Operator>,
        4 name: Str,
        /// Index into debug metadata; -1 is none.
        5 debug_metadata_index: i32 = -1,
    }

    /// Constant data. Number 0 of a model is always empty.
    Buffer {
        /// The bytes, inside the flatbuffer.
        0 data: Blob<16>,
        /// The bytes outside the flatbuffer, from the start of the file; valid above 1.
        1 offset: u64,
        /// Their size in bytes.
        2 size: u64,
    }

    /// A file beside the model.
    ExternalBufferGroup {
        /// The file's name, relative to the model.
        0 name: Str,
    }

    /// A part of a file beside the model.
    ExternalBuffer {
        /// What `external_buffer` of a tensor refers to.
        0 id: u32,
        /// Index into the external buffer groups of the model.
        1 group: u32,
        /// In bytes from the start of that file.
        2 offset: u64,
        /// In bytes.
        3 length: u64,
        /// Order of the data; empty and `unpacked` are plain.
        4 packing: Str,
    }

    /// A named piece of data about the model.
    Metadata {
        0 name: Str,
        /// Index into the buffers of the model.
        1 buffer: u32,
    }

    /// A tensor's name in a signature.
    TensorMap {
        0 name: Str,
        /// Index into the tensors of the signature's subgraph.
        1 tensor_index: u32,
    }

    /// A named entry point.
    SignatureDef {
        0 inputs: Subs<TensorMap>,
        1 outputs: Subs<TensorMap>,
        /// The name.
        2 signature_key: Str,
        // 3 `deprecated_tag` is retired.
        /// The subgraph to run.
        4 subgraph_index: u32,
    }

    /// The root.
    Model {
        /// Always 3.
        0 version: u32,
        1 operator_codes: Subs<OperatorCode>,
        2 subgraphs: Subs<SubGraph>,
        3 description: Str,
        /// Number 0 is the empty one.
        4 buffers: Subs<Buffer>,
        /// Retired in favour of `metadata`.
        5 metadata_buffer: List<i32>,
        6 metadata: Subs<Metadata>,
        7 signature_defs: Subs<SignatureDef>,
        8 external_buffer_groups: Subs<ExternalBufferGroup>,
        9 external_buffers: Subs<ExternalBuffer>,
    }
}
