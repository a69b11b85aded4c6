//! What is written is read back: typed, by name, and through the definitions alone.

use super::sample::{every_field, sample, sample_bytes};
use crate::frontend::reflect::{DynTable, Value};
use crate::frontend::schema::def::FieldType;
use crate::frontend::schema::*;
use crate::frontend::{DataPlacement, Limits, ModelFile, verify, write_model, write_model_with};

fn open(bytes: &[u8]) -> Ref<'_, Model> {
    verify(bytes, &Limits::default()).unwrap()
}

#[test]
fn the_sample_comes_back() {
    let bytes = sample_bytes();
    assert_eq!(open(&bytes).unpack(), sample());
    assert_eq!(write_model(&sample()).unwrap(), bytes, "the same model gives the same bytes");
}

#[test]
fn accessors_read_the_sample() {
    let bytes = sample_bytes();
    let model = open(&bytes);
    assert_eq!(model.operator_codes().get(1).unwrap().operator(), BuiltinOperator::STABLEHLO_GATHER);
    assert_eq!(model.operator_codes().get(2).unwrap().custom_code(), "Mfcc");
    let graph = model.subgraphs().get(0).unwrap();
    let conv = graph.operators().get(0).unwrap();
    assert!(conv.inputs() == *[0, 1, -1].as_slice());
    let options = conv.options::<Conv2DOptions>().unwrap();
    assert_eq!((options.stride_w(), options.stride_h(), options.dilation_w_factor(), options.dilation_h_factor()), (2, 3, 4, 1));
    assert_eq!(options.padding(), Padding::VALID);
    assert!(conv.options::<AddOptions>().is_none());
    let gather = graph.operators().get(1).unwrap().options::<StablehloGatherOptions>().unwrap();
    assert_eq!(gather.offset_dims().to_vec(), [1, -2, 1 << 40]);
    let weights = graph.tensors().get(1).unwrap();
    assert_eq!((weights.name(), weights.dtype()), ("weights", TensorType::INT8));
    assert_eq!(weights.quantization().unwrap().scale().to_vec(), [0.5, 0.25]);
    let details = graph.tensors().get(2).unwrap().quantization().unwrap().details();
    assert_eq!(details.get::<BlockwiseQuantization>().unwrap().zero_points(), -1);
    let sparsity = graph.tensors().get(3).unwrap().sparsity().unwrap();
    let indices = sparsity.dim_metadata().get(1).unwrap().array_indices();
    assert_eq!(indices.get::<Uint16Vector>().unwrap().values().to_vec(), [1, 60000]);
    assert!(graph.tensors().get(6).is_none());
}

#[test]
fn options_are_listed_by_name() {
    let bytes = sample_bytes();
    let conv = open(&bytes).subgraphs().get(0).unwrap().operators().get(0).unwrap().reflect_options().unwrap();
    assert_eq!(
        conv.to_string(),
        "Conv2DOptions { padding: VALID, stride_w: 2, stride_h: 3, fused_activation_function: NONE, \
         dilation_w_factor: 4, dilation_h_factor: 1, quantized_bias_type: FLOAT32 }"
    );
    assert!(matches!(conv.get("stride_h"), Some(Value::Int(3))));
    assert!(conv.get("type").is_none());
    let present: Vec<_> = conv.fields().filter(|field| field.present).map(|field| field.def.name).collect();
    assert_eq!(present, ["padding", "stride_w", "stride_h", "dilation_w_factor"]);
}

#[test]
fn data_starts_at_multiples_of_16() {
    let bytes = sample_bytes();
    for buffer in open(&bytes).buffers().iter().skip(1) {
        assert_eq!(buffer.raw().vector_range(0, 1).unwrap().start % 16, 0);
    }
}

#[test]
fn data_behind_the_flatbuffer_is_found_and_moved_back() {
    let bytes = write_model_with(&sample(), DataPlacement::Appended).unwrap();
    let file = ModelFile::from_bytes(bytes, &Limits::default()).unwrap();
    assert!(file.model().buffers().iter().all(|buffer| buffer.data().is_none_or(<[u8]>::is_empty)));
    assert_eq!(*file.buffer(3).unwrap().unwrap(), [7; 1000]);
    assert_eq!(file.buffer(2).unwrap().unwrap().len(), 0);
    assert_eq!(file.unpack().unwrap(), sample());
}

#[test]
fn unknown_values_survive() {
    let mut model = sample();
    model.subgraphs[0].tensors[0].dtype = TensorType(100);
    model.subgraphs[0].operators[0].builtin_options = BuiltinOptions::Unknown(200);
    let bytes = write_model(&model).unwrap();
    assert_eq!(open(&bytes).unpack(), model);
    assert!(open(&bytes).subgraphs().get(0).unwrap().operators().get(0).unwrap().builtin_options().is_unknown());
    assert!(open(&bytes).reflect().to_string().contains("BuiltinOptions(200)"));
}

#[test]
fn float_bits_survive() {
    let mut model = sample();
    let softmax = SoftmaxOptions { beta: -0.0 };
    model.subgraphs[0].operators[0].builtin_options = softmax.into();
    let quantization = model.subgraphs[0].tensors[1].quantization.as_mut().unwrap();
    quantization.scale = vec![f32::NAN, f32::INFINITY, -0.0];
    let bytes = write_model(&model).unwrap();
    assert_eq!(write_model(&open(&bytes).unpack()).unwrap(), bytes);
    let graph = open(&bytes).subgraphs().get(0).unwrap();
    assert!(graph.operators().get(0).unwrap().options::<SoftmaxOptions>().unwrap().beta().is_sign_negative());
    assert!(graph.tensors().get(1).unwrap().quantization().unwrap().scale().get(0).unwrap().is_nan());
}

/// Every field below `table` is present, so that none can hide a wrong id behind its default.
fn assert_all_present(table: DynTable<'_>) {
    for field in table.fields() {
        let none = matches!(field.value, Value::Union(_, 0, _));
        assert!(field.present || none, "{}.{}", table.def().name, field.def.name);
        match field.value {
            Value::Table(Some(table)) | Value::Union(_, _, Some(table)) => assert_all_present(table),
            Value::Tables(tables) => tables.iter().for_each(assert_all_present),
            _ => {}
        }
        if matches!(field.def.ty, FieldType::Scalar(_) | FieldType::Enum(_)) && field.def.name != "version" {
            assert!(field.value.as_i64() != Some(field.def.default), "{}.{}", table.def().name, field.def.name);
        }
    }
}

#[test]
fn every_field_of_every_table_survives() {
    for code in 1..=126 {
        let bytes = every_field(code, if code <= 23 { code } else { 0 });
        let model = open(&bytes);
        assert_all_present(model.reflect());
        let written = write_model(&model.unpack()).unwrap();
        assert_eq!(open(&written).reflect().to_string(), model.reflect().to_string(), "options {code}");
        assert_eq!(open(&written).unpack(), model.unpack(), "options {code}");
    }
}

#[test]
fn every_options_table_has_defaults() {
    let mut model = sample();
    let first = (1..=126).map(BuiltinOptions::with_defaults);
    let second = (1..=23).map(BuiltinOptions2::with_defaults);
    let operators = first.map(|builtin_options| Operator { builtin_options, ..Operator::default() });
    let late = second.map(|builtin_options_2| Operator { builtin_options_2, ..Operator::default() });
    model.subgraphs[0].operators = operators.chain(late).collect();
    let bytes = write_model(&model).unwrap();
    assert_eq!(open(&bytes).unpack(), model);
    for operator in open(&bytes).subgraphs().get(0).unwrap().operators().iter() {
        assert!(operator.reflect_options().unwrap().fields().all(|field| !field.present));
    }
}
