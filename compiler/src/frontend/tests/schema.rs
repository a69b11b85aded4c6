//! The schema as a table: complete, consistent, and with the defaults of the format.

use std::collections::HashSet;

use crate::frontend::schema::def::{FieldType, TableDef};
use crate::frontend::schema::*;

fn walk(def: &'static TableDef, seen: &mut HashSet<&'static str>, visit: &mut impl FnMut(&'static TableDef)) {
    if !seen.insert(def.name) {
        return;
    }
    visit(def);
    for field in def.fields {
        match field.ty {
            FieldType::Table(table) | FieldType::Tables(table) => walk(table, seen, visit),
            FieldType::Union(union) => union.members.iter().for_each(|table| walk(table, seen, visit)),
            _ => {}
        }
    }
}

#[test]
fn the_whole_schema_is_reachable_from_the_root() {
    let mut seen = HashSet::new();
    let mut fields = 0;
    walk(Model::DEF, &mut seen, &mut |def| fields += def.fields.len());
    assert_eq!(seen.len(), 170);
    assert_eq!(BuiltinOperator::DEF.values.len(), 210);
    assert_eq!(TensorType::DEF.values.len(), 23);
    assert_eq!(BuiltinOptions::DEF.members.len(), 126);
    assert_eq!(BuiltinOptions2::DEF.members.len(), 23);
    assert_eq!(QuantizationDetails::DEF.members.len(), 3);
    assert_eq!(SparseIndexVector::DEF.members.len(), 3);
    assert!(fields > 300, "{fields}");
}

#[test]
fn field_ids_ascend_and_leave_room_for_type_bytes() {
    walk(Model::DEF, &mut HashSet::new(), &mut |def| {
        let mut free = 0;
        for field in def.fields {
            let first = if matches!(field.ty, FieldType::Union(_)) { field.id - 1 } else { field.id };
            assert!(first >= free, "{}.{}", def.name, field.name);
            free = field.id + 1;
            if let FieldType::Enum(names) = field.ty {
                assert!(names.name_of(field.default).is_some(), "{}.{}", def.name, field.name);
            }
        }
    });
}

#[test]
fn enum_values_ascend_so_that_names_are_found() {
    for def in [BuiltinOperator::DEF, TensorType::DEF, Padding::DEF, ReduceWindowFunction::DEF, StablehloComparisonType::DEF] {
        assert!(def.values.is_sorted_by(|a, b| a.0 < b.0), "{}", def.name);
        for (value, name) in def.values {
            assert_eq!(def.name_of(*value), Some(*name));
        }
    }
    assert_eq!(BuiltinOperator::STABLEHLO_CASE.0, 209);
    assert_eq!(BuiltinOperator::DILATE.to_string(), "DILATE");
    assert_eq!(format!("{:?}", TensorType::FLOAT8_E5M2), "FLOAT8_E5M2");
    assert_eq!(format!("{:?}", TensorType(99)), "TensorType(99)");
}

#[test]
fn absent_fields_have_the_schemas_defaults() {
    assert_eq!(Conv2DOptions::default().dilation_h_factor, 1);
    assert_eq!(Ref::<Conv2DOptions>::default().dilation_w_factor(), 1);
    assert_eq!(Ref::<Conv3DOptions>::default().dilation_d_factor(), 1);
    assert!(Ref::<AddOptions>::default().pot_scale_int16());
    assert!(Ref::<SubOptions>::default().pot_scale_int16());
    assert!(Ref::<BidirectionalSequenceLSTMOptions>::default().time_major());
    assert_eq!(Ref::<UniqueOptions>::default().idx_out_type(), TensorType::INT32);
    assert_eq!(Ref::<OperatorCode>::default().version(), 1);
    assert_eq!(Ref::<Operator>::default().debug_metadata_index(), -1);
    assert_eq!(Ref::<SubGraph>::default().debug_metadata_index(), -1);
    assert_eq!(Ref::<SoftmaxOptions>::default().beta(), 0.0);
    assert_eq!(Ref::<Tensor>::default().name(), "");
    assert!(Ref::<Tensor>::default().shape().is_empty());
    assert_eq!(Ref::<Buffer>::default().data(), None);
}

#[test]
fn operator_codes_use_both_fields() {
    let old = OperatorCode::builtin(BuiltinOperator::CONV_2D, 1);
    assert_eq!((old.deprecated_builtin_code, old.builtin_code.0), (3, 3));
    let new = OperatorCode::builtin(BuiltinOperator::GELU, 1);
    assert_eq!((new.deprecated_builtin_code, new.builtin_code.0), (127, 150));
}
