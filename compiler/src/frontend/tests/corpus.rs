//! Every model at hand (those of the repository, and of `../shared` where present) verifies, is copied out, written and read back to the same.

use std::path::{Path, PathBuf};

use crate::frontend::{Limits, ModelFile, verify, write_model};

/// The models in the repository and beside it, sorted by path; says so where a folder is not there.
pub(super) fn models() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut found = vec![];
    for folder in ["tests/models", "tests/models/ops", "../shared/corpus", "../shared/corpus/ops", "../shared/bench"] {
        let Ok(entries) = std::fs::read_dir(root.join(folder)) else {
            eprintln!("skipped: no folder {}", root.join(folder).display());
            continue;
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        found.extend(paths.filter(|path| path.extension().is_some_and(|extension| extension == "tflite")));
    }
    found.sort();
    found
}

#[test]
fn every_model_is_read_and_written() {
    let (mut operators, mut constants) = (0, 0);
    let models = models();
    for path in &models {
        let file = ModelFile::open(path, &Limits::default()).unwrap_or_else(|error| panic!("{error}"));
        for (subgraph, graph) in file.model().subgraphs().iter().enumerate() {
            for tensor in 0..graph.tensors().len() {
                let data = file.tensor_data(subgraph, tensor).unwrap_or_else(|error| panic!("{error}"));
                constants += usize::from(data.is_some());
            }
            for operator in graph.operators().iter() {
                operators += 1;
                let options = operator.reflect_options().map(|options| options.to_string());
                assert!(options.is_none_or(|text| text.contains('{')), "{}", path.display());
                assert!(!operator.builtin_options().is_unknown(), "{}", path.display());
            }
        }
        let model = file.model().unpack();
        let written = write_model(&model).unwrap();
        let again = verify(&written, &Limits::default()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(write_model(&again.unpack()).unwrap(), written, "{}", path.display());
        assert!(again.unpack() == model, "{}", path.display());
    }
    eprintln!("{} models, {operators} operators, {constants} constants", models.len());
}
