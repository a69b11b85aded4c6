//! Files that are no models are told apart, and the error says what to do.

use crate::frontend::{FileKind, FrontendError, Limits, ModelFile, verify};

#[test]
fn other_formats_are_named() {
    let onnx = [&[0x08, 0x08, 0x12, 0x07][..], b"pytorch\x1a\x052.1.0:\x80\x01\x0a\x10"].concat();
    let saved_model = [&[0x08, 0x01, 0x12, 0xa3, 0xf7, 0x0c, 0x0a][..], b"serve\x12\x05hello"].concat();
    let graph_def = [&[0x0a, 0x2d, 0x0a, 0x05][..], b"input\x12\x0bPlaceholder\x2a\x0b"].concat();
    let safetensors = [&[0x40, 0, 0, 0, 0, 0, 0, 0][..], br#"{"__metadata__":{}}"#].concat();
    let other = [&[16, 0, 0, 0][..], b"ORTM", &[0; 40]].concat();
    let cases: &[(&[u8], FileKind, &str)] = &[
        (b"", FileKind::Empty, "empty"),
        (b"\x1c\0\0", FileKind::TooShort, "shorter"),
        (&onnx, FileKind::Onnx, "onnx2tf"),
        (&saved_model, FileKind::SavedModel, "from_saved_model"),
        (&graph_def, FileKind::GraphDef, "from_frozen_graph"),
        (b"\x89HDF\r\n\x1a\n\0\0\0", FileKind::Hdf5, "from_keras_model"),
        (b"PK\x03\x04\x14\0\0\0", FileKind::Zip, "unpack"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0", FileKind::Compressed, "decompress"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", FileKind::GitLfsPointer, "git lfs pull"),
        (&safetensors, FileKind::Safetensors, "safetensors"),
        (b"GGUF\x03\0\0\0", FileKind::Gguf, "GGUF"),
        (b"\n<!DOCTYPE HTML><html>not found</html>", FileKind::Html, "web page"),
        (b"{\"format\": \"tfjs\"}", FileKind::Json, "JSON"),
        (b"hello, this is text", FileKind::Text, "text"),
        (&[0; 64], FileKind::Zeros, "zeros"),
        (&other, FileKind::OtherFlatbuffer(*b"ORTM"), "ORTM"),
        (b"\xff\xfe\x01\x02\x03\x04\x05\x06\x07", FileKind::Unknown, "TFL3"),
    ];
    for (bytes, kind, word) in cases {
        assert_eq!(FileKind::of(bytes), *kind);
        let error = verify(bytes, &Limits::default()).unwrap_err();
        assert!(matches!(error, FrontendError::NotAModel { kind: found, .. } if found == *kind));
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = ModelFile::open(folder.path().join("none.tflite"), &Limits::default()).unwrap_err();
    assert!(matches!(error, FrontendError::Io { .. }));
    assert!(error.to_string().contains("none.tflite"), "{error}");
    let error = ModelFile::open(folder.path(), &Limits::default()).unwrap_err();
    assert!(matches!(error, FrontendError::NotAFile { .. }));
    std::fs::write(folder.path().join("empty.tflite"), []).unwrap();
    let error = ModelFile::open(folder.path().join("empty.tflite"), &Limits::default()).unwrap_err();
    assert!(matches!(error, FrontendError::NotAModel { kind: FileKind::Empty, .. }));
    assert!(error.to_string().contains("empty.tflite"), "{error}");
}
