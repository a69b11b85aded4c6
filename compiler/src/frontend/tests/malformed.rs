//! Files made to harm: references that lead out, tables that overlap, parts that multiply.

use super::sample::sample_bytes;
use crate::frontend::schema::*;
use crate::frontend::{FrontendError, LimitKind, Limits, Malformation, fuzz_frontend, verify, write_model};

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

fn reject(bytes: &[u8]) -> FrontendError {
    fuzz_frontend(bytes);
    verify(bytes, &Limits::default()).unwrap_err()
}

/// A model whose only operator is a CONV_2D with explicit options.
fn conv_model() -> Vec<u8> {
    let options = Conv2DOptions { stride_w: 7, stride_h: 9, ..Conv2DOptions::default() };
    let operator = Operator { builtin_options: options.into(), ..Operator::default() };
    let graph = SubGraph { operators: vec![Operator::default(), operator], ..SubGraph::default() };
    write_model(&Model { version: 3, subgraphs: vec![graph], ..Model::default() }).unwrap()
}

#[test]
fn errors_name_the_field_and_the_byte() {
    let mut bytes = conv_model();
    let options = {
        let model = verify(&bytes, &Limits::default()).unwrap();
        let operator = model.subgraphs().get(0).unwrap().operators().get(1).unwrap();
        operator.options::<Conv2DOptions>().unwrap()
    };
    let table = options.position();
    let vtable = table - i32::from_le_bytes(bytes[table..table + 4].try_into().unwrap()) as usize;
    // The second field of the table, `stride_w`, is said to lie far away.
    bytes[vtable + 6..vtable + 8].copy_from_slice(&0xfff0u16.to_le_bytes());
    let error = reject(&bytes);
    assert!(matches!(error, FrontendError::Malformed { cause: Malformation::FieldOutside { .. }, .. }), "{error}");
    assert_eq!(error.location().path.to_string(), "subgraphs[0].operators[1].builtin_options.stride_w");
    assert_eq!(error.location().byte, Some((table + 0xfff0) as u64));
    // And then on top of the table's own head.
    bytes[vtable + 6..vtable + 8].copy_from_slice(&2u16.to_le_bytes());
    let error = reject(&bytes);
    assert!(matches!(error, FrontendError::Malformed { cause: Malformation::FieldInHead { offset: 2 }, .. }), "{error}");
}

#[test]
fn roots_and_field_lists_outside_are_refused() {
    let good = sample_bytes();
    for root in [0, 0xffff_fff0, good.len() as u32, good.len() as u32 - 1] {
        let mut bytes = good.clone();
        put(&mut bytes, 0, root);
        assert!(matches!(reject(&bytes), FrontendError::Malformed { .. }), "{root}");
    }
    let root = u32::from_le_bytes(good[..4].try_into().unwrap()) as usize;
    for back in [i32::MIN, i32::MAX, -(good.len() as i32), good.len() as i32] {
        let mut bytes = good.clone();
        put(&mut bytes, root, back as u32);
        assert!(matches!(reject(&bytes), FrontendError::Malformed { .. }), "{back}");
    }
}

#[test]
fn a_field_list_on_top_of_its_table_does_not_loop() {
    let good = sample_bytes();
    let root = u32::from_le_bytes(good[..4].try_into().unwrap()) as usize;
    let mut bytes = good.clone();
    // The table is its own field list.
    put(&mut bytes, root, 0);
    assert!(verify(&bytes, &Limits::default()).is_err());
    // The root is any byte of the file: tables overlap in every way.
    for start in 1..good.len() as u32 {
        put(&mut bytes, 0, start);
        fuzz_frontend(&bytes);
    }
}

#[test]
fn vectors_that_claim_too_much_are_refused() {
    let good = sample_bytes();
    let at = verify(&good, &Limits::default()).unwrap().buffers().get(3).unwrap().raw().vector_range(0, 1).unwrap().start - 4;
    for claimed in [u32::MAX, u32::MAX / 2, good.len() as u32] {
        let mut bytes = good.clone();
        put(&mut bytes, at, claimed);
        let error = reject(&bytes);
        let cause = Malformation::VectorOutside { elements: claimed, element_bytes: 1, file_bytes: good.len() as u64 };
        assert!(matches!(&error, FrontendError::Malformed { cause: found, .. } if *found == cause), "{error}");
        assert_eq!(error.location().path.to_string(), "buffers[3].data");
    }
}

#[test]
fn strings_that_are_no_text_are_refused() {
    let mut bytes = sample_bytes();
    let at = bytes.windows(8).position(|window| window == b"weights\0").unwrap();
    bytes[at + 2] = 0xff;
    let error = reject(&bytes);
    assert!(matches!(error, FrontendError::Malformed { cause: Malformation::NotUtf8 { valid_bytes: 2 }, .. }), "{error}");
    assert_eq!(error.location().path.to_string(), "subgraphs[0].tensors[1].name");
}

#[test]
fn other_versions_are_refused() {
    let bytes = write_model(&Model { version: 2, ..Model::default() }).unwrap();
    let error = reject(&bytes);
    assert!(matches!(error, FrontendError::Version { version: 2, .. }), "{error}");
    assert_eq!(error.location().path.to_string(), "version");
}

/// A file in which `width` references to one subgraph lead to `width` references to one operator.
fn shared_tables(width: u32) -> Vec<u8> {
    let graph = |count: u32| SubGraph { operators: vec![Operator::default(); count as usize], ..SubGraph::default() };
    let subgraphs = vec![graph(width); width as usize];
    let mut bytes = write_model(&Model { version: 3, subgraphs, ..Model::default() }).unwrap();
    // Point all elements of the vector of subgraphs, and of the last one's operators, to the last element's target.
    let model = verify(&bytes, &Limits { expansion: 100, ..Limits::default() }).unwrap();
    let outer = model.raw().vector_range(2, 4).unwrap();
    let inner = model.subgraphs().get(width as usize - 1).unwrap().raw().vector_range(3, 4).unwrap();
    let shared = [outer, inner].map(|range| {
        let last = range.end - 4;
        (range, last + u32::from_le_bytes(bytes[last..last + 4].try_into().unwrap()) as usize)
    });
    for (range, target) in shared {
        for at in range.step_by(4) {
            put(&mut bytes, at, (target - at) as u32);
        }
    }
    bytes
}

#[test]
fn parts_that_multiply_hit_a_limit() {
    // The file shrinks to one subgraph and one operator, but the walk would visit width² of them.
    let bytes = shared_tables(64);
    assert!(verify(&bytes, &Limits::default()).is_ok(), "sharing by itself is legal");
    let error = verify(&bytes, &Limits { tables: 2000, ..Limits::default() }).unwrap_err();
    assert!(matches!(error, FrontendError::LimitExceeded { limit: LimitKind::Tables, allowed: 2000, .. }), "{error}");

    // Now with a small file: one level of 2000 references to a table that holds 2000 references to one operator.
    let mut fbb = flatbuffers::FlatBufferBuilder::new();
    let start = fbb.start_table();
    let operator = fbb.end_table(start);
    let operators = fbb.create_vector(&[operator; 2000]);
    let start = fbb.start_table();
    fbb.push_slot_always(4 + 2 * 3, operators);
    let graph = fbb.end_table(start);
    let graphs = fbb.create_vector(&[graph; 2000]);
    let start = fbb.start_table();
    fbb.push_slot_always(4, 3u32);
    fbb.push_slot_always(4 + 2 * 2, graphs);
    let root = fbb.end_table(start);
    fbb.finish(root, Some(FILE_IDENTIFIER));
    let error = reject(fbb.finished_data());
    assert!(matches!(error, FrontendError::LimitExceeded { limit: LimitKind::ExpandedBytes, .. }), "{error}");
    assert!(error.to_string().contains("more than"), "{error}");
}

#[test]
fn a_heap_of_empty_tables_is_not_small() {
    // Four bytes a reference, but some hundred in memory.
    let mut fbb = flatbuffers::FlatBufferBuilder::new();
    let start = fbb.start_table();
    let operator = fbb.end_table(start);
    let operators = fbb.create_vector(&vec![operator; 500_000]);
    let start = fbb.start_table();
    fbb.push_slot_always(4 + 2 * 3, operators);
    let graph = fbb.end_table(start);
    let graphs = fbb.create_vector(&[graph]);
    let start = fbb.start_table();
    fbb.push_slot_always(4, 3u32);
    fbb.push_slot_always(4 + 2 * 2, graphs);
    let root = fbb.end_table(start);
    fbb.finish(root, Some(FILE_IDENTIFIER));
    let error = reject(fbb.finished_data());
    assert!(matches!(error, FrontendError::LimitExceeded { limit: LimitKind::ExpandedBytes, .. }), "{error}");
}

#[test]
fn depth_is_limited() {
    let limits = Limits { depth: 2, ..Limits::default() };
    let error = verify(&conv_model(), &limits).map(|_| ()).unwrap_err();
    assert!(matches!(error, FrontendError::LimitExceeded { limit: LimitKind::Depth, .. }), "{error}");
}

#[test]
fn a_union_with_a_type_but_no_value_reads_as_absent() {
    let mut bytes = conv_model();
    let model = verify(&bytes, &Limits::default()).unwrap();
    let operator = model.subgraphs().get(0).unwrap().operators().get(1).unwrap();
    let table = operator.position();
    let vtable = table - i32::from_le_bytes(bytes[table..table + 4].try_into().unwrap()) as usize;
    // Field 4 of an operator is the value of its options.
    bytes[vtable + 12..vtable + 14].fill(0);
    let model = verify(&bytes, &Limits::default()).unwrap();
    let operator = model.subgraphs().get(0).unwrap().operators().get(1).unwrap();
    assert!(operator.options::<Conv2DOptions>().is_none());
    assert_eq!(operator.unpack().builtin_options, BuiltinOptions::None);
    fuzz_frontend(&bytes);
}
