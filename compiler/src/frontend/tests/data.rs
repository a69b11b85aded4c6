//! Constant data, wherever it lies.

use super::sample::{sample, sample_bytes};
use crate::frontend::schema::*;
use crate::frontend::{DataProblem, FrontendError, Limits, ModelFile, external_files, write_model};

fn open(model: &Model) -> ModelFile {
    ModelFile::from_bytes(write_model(model).unwrap(), &Limits::default()).unwrap()
}

fn cause(error: FrontendError) -> DataProblem {
    match error {
        FrontendError::Data { cause, .. } => cause,
        other => panic!("{other}"),
    }
}

#[test]
fn inline_data_is_shared_not_copied() {
    let file = ModelFile::from_bytes(sample_bytes(), &Limits::default()).unwrap();
    let data = file.tensor_data(0, 1).unwrap().unwrap();
    let clone = data.clone();
    assert!(file.as_bytes().as_ptr_range().contains(&data.as_ptr()));
    assert_eq!(clone.as_ptr(), data.as_ptr());
    assert_eq!(*data, *(0..108).collect::<Vec<u8>>());
    drop(file);
    assert_eq!(clone.len(), 108, "data outlives the file that it is from");
}

#[test]
fn no_data_and_empty_data_differ() {
    let file = ModelFile::from_bytes(sample_bytes(), &Limits::default()).unwrap();
    assert!(file.buffer(0).unwrap().is_none());
    assert!(file.tensor_data(0, 0).unwrap().is_none());
    assert_eq!(file.buffer(2).unwrap().map(|data| data.len()), Some(0));
    assert_eq!(file.custom_options(0, 2).unwrap().as_deref(), Some([9; 21].as_slice()));
    assert!(file.custom_options(0, 0).unwrap().is_none());
    assert_eq!(file.metadata("min_runtime_version").unwrap().unwrap().len(), 1000);
    assert!(file.metadata("none").unwrap().is_none());
}

#[test]
fn indices_and_ranges_outside_are_refused() {
    let mut model = sample();
    model.subgraphs[0].tensors[0].buffer = 4;
    model.buffers[1] = Buffer { data: None, offset: 64, size: u64::MAX };
    model.buffers[2] = Buffer { data: None, offset: 1, size: 100 };
    model.subgraphs[0].operators[0].large_custom_options_offset = u64::MAX;
    let file = open(&model);
    let error = file.tensor_data(0, 0).unwrap_err();
    assert_eq!(error.location().path.to_string(), "subgraphs[0].tensors[0].buffer");
    assert_eq!(cause(error), DataProblem::Index { list: "buffers", index: 4, len: 4 });
    let error = file.tensor_data(0, 1).unwrap_err();
    assert!(error.location().byte.is_some());
    assert!(matches!(cause(error), DataProblem::Outside { offset: 64, len: u64::MAX, file: None, .. }));
    assert!(file.tensor_data(0, 2).unwrap().is_none(), "an offset of 1 is none");
    assert!(matches!(cause(file.custom_options(0, 0).unwrap_err()), DataProblem::Outside { .. }));
    assert!(matches!(cause(file.tensor_data(0, 99).unwrap_err()), DataProblem::Index { list: "tensors", .. }));
    assert!(matches!(cause(file.tensor_data(9, 0).unwrap_err()), DataProblem::Index { list: "subgraphs", .. }));
    assert!(matches!(cause(file.unpack().unwrap_err()), DataProblem::Outside { .. }));
}

fn external(name: &str) -> Model {
    let mut model = sample();
    model.subgraphs[0].tensors[0].external_buffer = 5;
    model.external_buffer_groups[0].name = name.into();
    model
}

#[test]
fn external_data_is_mapped_from_the_models_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.tflite");
    std::fs::write(&path, write_model(&external("weights.bin")).unwrap()).unwrap();
    let file = ModelFile::open(&path, &Limits::default()).unwrap();

    let error = file.tensor_data(0, 0).unwrap_err();
    assert!(error.to_string().contains("put that file beside the model"), "{error}");
    assert!(error.to_string().contains("model.tflite: external_buffers[0]"), "{error}");
    assert!(matches!(cause(error), DataProblem::ExternalFile { kind: std::io::ErrorKind::NotFound, .. }));

    std::fs::write(folder.path().join("weights.bin"), [1; 18]).unwrap();
    assert!(matches!(cause(file.tensor_data(0, 0).unwrap_err()), DataProblem::Outside { file: Some(_), file_bytes: 18, .. }));

    let file = ModelFile::open(&path, &Limits::default()).unwrap();
    std::fs::write(folder.path().join("weights.bin"), (0..32).collect::<Vec<u8>>()).unwrap();
    assert_eq!(file.tensor_data(0, 0).unwrap().as_deref(), Some([16, 17, 18, 19].as_slice()));
    assert_eq!(file.tensor_data(0, 0).unwrap().as_deref(), Some([16, 17, 18, 19].as_slice()), "from the map kept");
}

#[test]
fn external_names_that_lead_elsewhere_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["", "/etc/hostname", "../weights.bin", "a/../../b", "..\\b", "c:\\b", "./../b", "a\0b", "a\nb", ".", "c:b"] {
        let error = open(&external(name)).with_folder(folder.path()).tensor_data(0, 0).unwrap_err();
        assert!(matches!(cause(error), DataProblem::UnsafeName { .. }), "{name:?}");
    }
    let error = open(&external("weights.bin")).tensor_data(0, 0).unwrap_err();
    assert!(matches!(cause(error), DataProblem::NoFolder { .. }));
    std::fs::create_dir(folder.path().join("weights")).unwrap();
    let error = open(&external("weights")).with_folder(folder.path()).tensor_data(0, 0).unwrap_err();
    assert!(matches!(cause(error), DataProblem::ExternalFile { .. }), "a folder is no file");
}

#[test]
fn names_of_other_files_are_those_that_would_be_read() {
    let named = |names: &[&str]| {
        let groups = names.iter().map(|name| ExternalBufferGroup { name: (*name).into() }).collect();
        write_model(&Model { external_buffer_groups: groups, ..sample() }).unwrap()
    };
    let bytes = named(&["b", "../a", "d/w", "", "d//w", "a", "b"]);
    assert_eq!(external_files(&bytes, &Limits::default()).unwrap(), ["b", "d/w", "a"]);
    let strict = Limits { tables: 1, ..Limits::default() };
    assert!(matches!(external_files(&bytes, &strict), Err(FrontendError::LimitExceeded { .. })));
    assert!(external_files(&named(&[]), &strict).unwrap().is_empty(), "nothing is verified where there are none");
    for damage in [&bytes[..0], &bytes[..7], &bytes[..8], &bytes[1..]] {
        assert!(external_files(damage, &Limits::default()).unwrap().is_empty());
    }
}

#[test]
fn external_entries_that_are_wrong_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refuse = |change: fn(&mut Model)| {
        let mut model = external("weights.bin");
        change(&mut model);
        cause(open(&model).with_folder(folder.path()).tensor_data(0, 0).unwrap_err())
    };
    assert_eq!(refuse(|m| m.external_buffers.clear()), DataProblem::UnknownExternalBuffer { id: 5 });
    let group = DataProblem::Index { list: "external_buffer_groups", index: 3, len: 1 };
    assert_eq!(refuse(|m| m.external_buffers[0].group = 3), group);
    assert_eq!(refuse(|m| m.external_buffers[0].packing = "xyz".into()), DataProblem::Packing { packing: "xyz".into() });
    let two = DataProblem::TwoSources { buffer: 1, external_buffer: 5 };
    assert_eq!(refuse(|m| m.subgraphs[0].tensors[0].buffer = 1), two);
}
