//! Small models to test with: one that uses every feature of the format, and one made field by field from the definitions.

use flatbuffers::{FlatBufferBuilder, UnionWIPOffset, VOffsetT, WIPOffset};

use crate::frontend::schema::def::{FieldType, ScalarType, TableDef};
use crate::frontend::schema::*;
use crate::frontend::write_model;

fn tensor(name: &str, dtype: TensorType, shape: &[i32], buffer: u32) -> Tensor {
    Tensor { name: name.into(), dtype, shape: shape.to_vec(), buffer, has_rank: true, ..Tensor::default() }
}

fn quantized(tensor: Tensor, details: impl Into<QuantizationDetails>) -> Tensor {
    let quantization = QuantizationParameters {
        scale: vec![0.5, 0.25],
        zero_point: vec![3, -4],
        min: vec![-1.0],
        max: vec![1.5],
        quantized_dimension: 3,
        details: details.into(),
    };
    Tensor { quantization: Some(Box::new(quantization)), ..tensor }
}

fn sparsity() -> SparsityParameters {
    let csr = |segments: SparseIndexVector, indices: SparseIndexVector| DimensionMetadata {
        format: DimensionType::SPARSE_CSR,
        array_segments: segments,
        array_indices: indices,
        ..DimensionMetadata::default()
    };
    SparsityParameters {
        traversal_order: vec![0, 1, 2, 3],
        block_map: vec![0, 1],
        dim_metadata: vec![
            DimensionMetadata { dense_size: 8, ..DimensionMetadata::default() },
            csr(Int32Vector { values: vec![0, 2, 70000] }.into(), Uint16Vector { values: vec![1, 60000] }.into()),
            csr(Uint8Vector { values: vec![0, 1, 255] }.into(), Int32Vector { values: vec![-1] }.into()),
        ],
    }
}

/// A model that uses every feature of the format.
pub(super) fn sample() -> Model {
    let conv = Conv2DOptions { stride_w: 2, stride_h: 3, dilation_w_factor: 4, padding: Padding::VALID, ..Conv2DOptions::default() };
    let gather = StablehloGatherOptions { offset_dims: vec![1, -2, 1 << 40], indices_are_sorted: true, ..Default::default() };
    let main = SubGraph {
        name: "main".into(),
        inputs: vec![0],
        outputs: vec![3],
        tensors: vec![
            tensor("input", TensorType::FLOAT32, &[1, 8, 8, 3], 0),
            quantized(tensor("weights", TensorType::INT8, &[4, 3, 3, 3], 1), QuantizationDetails::None),
            quantized(
                tensor("blockwise", TensorType::INT4, &[4, 4], 2),
                BlockwiseQuantization { scales: 1, zero_points: -1, block_size: 32 },
            ),
            quantized(
                Tensor { sparsity: Some(Box::new(sparsity())), ..tensor("sparse", TensorType::INT8, &[8, 8], 3) },
                MultiAxisQuantization { scales: 1, zero_points: 2, block_size: 0, quantized_dimensions: vec![0, 2] },
            ),
            quantized(
                Tensor { is_variable: true, shape_signature: vec![-1, 4], ..tensor("state", TensorType::INT16, &[1, 4], 0) },
                CustomQuantization { custom: Some(vec![1, 2, 3]) },
            ),
            Tensor {
                variant_tensors: vec![VariantSubType { shape: vec![2], dtype: TensorType::FLOAT16, has_rank: true }],
                ..tensor("list", TensorType::VARIANT, &[], 0)
            },
        ],
        operators: vec![
            Operator { opcode_index: 0, inputs: vec![0, 1, -1], outputs: vec![3], builtin_options: conv.into(), ..Default::default() },
            Operator { opcode_index: 1, builtin_options_2: gather.into(), debug_metadata_index: 7, ..Default::default() },
            Operator {
                opcode_index: 2,
                custom_options: Some(vec![9; 21]),
                mutating_variable_inputs: vec![true, false],
                intermediates: vec![4],
                ..Default::default()
            },
        ],
        debug_metadata_index: -1,
    };
    let signature = SignatureDef {
        signature_key: "serve".into(),
        inputs: vec![TensorMap { name: "x".into(), tensor_index: 0 }],
        outputs: vec![TensorMap { name: "y".into(), tensor_index: 3 }],
        subgraph_index: 0,
    };
    Model {
        version: SCHEMA_VERSION,
        operator_codes: vec![
            OperatorCode::builtin(BuiltinOperator::CONV_2D, 5),
            OperatorCode::builtin(BuiltinOperator::STABLEHLO_GATHER, 1),
            OperatorCode::custom("Mfcc"),
        ],
        subgraphs: vec![main, SubGraph { name: "body".into(), ..SubGraph::default() }],
        description: "a sample, größer als nötig".into(),
        buffers: vec![
            Buffer::default(),
            Buffer { data: Some((0..108).collect()), ..Buffer::default() },
            Buffer { data: Some(vec![]), ..Buffer::default() },
            Buffer { data: Some(vec![7; 1000]), ..Buffer::default() },
        ],
        metadata_buffer: vec![3],
        metadata: vec![Metadata { name: "min_runtime_version".into(), buffer: 3 }],
        signature_defs: vec![signature],
        external_buffer_groups: vec![ExternalBufferGroup { name: "weights.bin".into() }],
        external_buffers: vec![ExternalBuffer { id: 5, group: 0, offset: 16, length: 4, packing: "unpacked".into() }],
    }
}

/// The sample as a file.
pub(super) fn sample_bytes() -> Vec<u8> {
    write_model(&sample()).expect("the sample fits into a flatbuffer")
}

/// A file in which every field of every table on the way is set to a value of its own, and `options` / `options_2`
/// are the members of the operator's unions. Built from the definitions alone, without the typed writer.
pub(super) fn every_field(options: u8, options_2: u8) -> Vec<u8> {
    let mut maker = Maker { builder: FlatBufferBuilder::new(), next: 10, options, options_2 };
    let root = maker.table(Model::DEF);
    maker.builder.finish(WIPOffset::<()>::new(root), Some(FILE_IDENTIFIER));
    maker.builder.finished_data().to_vec()
}

struct Maker {
    builder: FlatBufferBuilder<'static>,
    next: u8,
    options: u8,
    options_2: u8,
}

impl Maker {
    fn number(&mut self) -> u8 {
        self.next = if self.next > 100 { 10 } else { self.next + 1 };
        self.next
    }

    fn list(&mut self, scalar: ScalarType) -> u32 {
        let number = self.number();
        match scalar {
            ScalarType::Bool => self.builder.create_vector(&[true, false]).value(),
            ScalarType::I8 | ScalarType::U8 => self.builder.create_vector(&[number, 1]).value(),
            ScalarType::U16 => self.builder.create_vector(&[u16::from(number) << 8]).value(),
            ScalarType::I32 | ScalarType::U32 => self.builder.create_vector(&[u32::from(number) << 20, 5, 6]).value(),
            ScalarType::I64 | ScalarType::U64 => self.builder.create_vector(&[u64::from(number) << 50, 9]).value(),
            ScalarType::F32 => self.builder.create_vector(&[f32::from(number) / 8.0]).value(),
        }
    }

    fn union_code(&self, def: &TableDef, id: u16) -> u8 {
        match (def.name, id) {
            ("Operator", 4) => self.options,
            ("Operator", 12) => self.options_2,
            ("QuantizationParameters", _) => 3,
            _ => 2,
        }
    }

    fn table(&mut self, def: &'static TableDef) -> u32 {
        let mut references = vec![];
        for field in def.fields {
            let number = self.number();
            let target = match field.ty {
                FieldType::Scalar(_) | FieldType::Enum(_) => continue,
                FieldType::Str => self.builder.create_string(&format!("{}{number}", field.name)).value(),
                FieldType::Blob => self.list(ScalarType::U8),
                FieldType::List(scalar) => self.list(scalar),
                FieldType::EnumList(names) => self.list(names.repr),
                FieldType::Table(def) => self.table(def),
                FieldType::Tables(def) => {
                    let tables = [self.table(def), self.table(def)].map(WIPOffset::<()>::new);
                    self.builder.create_vector(&tables).value()
                }
                FieldType::Union(union) => match union.member(self.union_code(def, field.id)) {
                    Some(member) => self.table(member),
                    None => continue,
                },
            };
            references.push((field.id, target));
        }
        let start = self.builder.start_table();
        let slot = |id: u16| -> VOffsetT { 4 + 2 * id };
        for (id, target) in references {
            self.builder.push_slot_always(slot(id), WIPOffset::<UnionWIPOffset>::new(target));
        }
        for field in def.fields {
            let number = if (def.name, field.name) == ("Model", "version") { 3 } else { self.number() };
            let scalar = match field.ty {
                FieldType::Scalar(scalar) => scalar,
                FieldType::Enum(names) => names.repr,
                FieldType::Union(_) => {
                    let code = self.union_code(def, field.id);
                    self.builder.push_slot_always(slot(field.id - 1), code);
                    continue;
                }
                _ => continue,
            };
            match scalar {
                ScalarType::Bool => self.builder.push_slot_always(slot(field.id), field.default == 0),
                ScalarType::I8 | ScalarType::U8 => self.builder.push_slot_always(slot(field.id), number),
                ScalarType::U16 => self.builder.push_slot_always(slot(field.id), u16::from(number)),
                ScalarType::I32 | ScalarType::U32 => self.builder.push_slot_always(slot(field.id), u32::from(number)),
                ScalarType::I64 | ScalarType::U64 => self.builder.push_slot_always(slot(field.id), u64::from(number)),
                ScalarType::F32 => self.builder.push_slot_always(slot(field.id), f32::from(number) / 4.0),
            }
        }
        self.builder.end_table(start).value()
    }
}
