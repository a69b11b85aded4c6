//! The front end: from the bytes of a `.tflite` file to a verified, readable model.
//!
//! The only code that knows flatbuffers. [`ModelFile::open`] maps a file and [`verify()`] checks all of it; after that
//! [`ModelFile::model`] gives typed access without copying ([`schema`]), [`reflect`] access by name, and
//! [`ModelFile::tensor_data`] and its like give constant data as shared slices, wherever it lies. [`write_model`] goes
//! the other way.
//!
//! Invariants: any bytes give a model or a [`FrontendError`] with a place, never a panic; work and memory stay
//! proportional to the file ([`Limits`]); weights are never copied; nothing is indexed or unwrapped unchecked.

pub mod error;
mod file;
mod import;
mod mediapipe;
pub mod reflect;
pub mod schema;
mod sniff;
mod sparse;
mod verify;
mod write;

#[cfg(test)]
mod tests;

pub use error::{DataProblem, FieldPath, FrontendError, LimitKind, Location, Malformation, PathStep};
pub use file::{ModelFile, Owner, external_files};
pub use import::import;
pub use sniff::FileKind;
pub use verify::{Limits, verify};
pub use write::{DataPlacement, write_model, write_model_with};

/// Runs everything of this layer on `data`: for fuzzers and tests.
///
/// # Panics
///
/// Where `data` passes the verifier but a model copied out of it cannot be written and read back to the same bytes,
/// which is a bug of this layer.
pub fn fuzz_frontend(data: &[u8]) {
    let _ = external_files(data, &Limits::default());
    let Ok(file) = ModelFile::from_bytes(data.to_vec(), &Limits::default()) else {
        return;
    };
    // The text is dropped; writing it visits every value.
    let _ = file.model().reflect().to_string();
    for (subgraph, graph) in file.model().subgraphs().iter().enumerate() {
        for tensor in 0..graph.tensors().len() {
            let _ = file.tensor_data(subgraph, tensor).map(|bytes| bytes.map(|bytes| bytes.len()));
        }
        for operator in 0..graph.operators().len() {
            let _ = file.custom_options(subgraph, operator).map(|bytes| bytes.map(|bytes| bytes.len()));
        }
    }
    let model = file.model().unpack();
    let Ok(written) = write_model(&model) else {
        return;
    };
    // What `data` shares is written once per use and what it never refers to is not written, so the new file may be
    // mostly small tables, which count for more than their size.
    let limits = Limits { expansion: 16, ..Limits::default() };
    let again = verify(&written, &limits).map(|model| model.unpack());
    match again.as_ref().map(write_model) {
        Ok(Ok(rewritten)) => assert!(rewritten == written, "a copied model changes when written and read"),
        other => panic!("a copied model cannot be read back: {other:?}"),
    }
}
