//! What a file that is no TensorFlow Lite model looks like, so that the error can say what to do.
//!
//! Only the first bytes are looked at. A guess can be wrong; nothing but the error's text depends on it.

use std::fmt;

/// What a file looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// No bytes.
    Empty,
    /// Fewer bytes than a model's head.
    TooShort,
    /// A flatbuffer with another identifier.
    OtherFlatbuffer([u8; 4]),
    /// ONNX.
    Onnx,
    /// TensorFlow `saved_model.pb`.
    SavedModel,
    /// TensorFlow frozen graph.
    GraphDef,
    /// HDF5: Keras `.h5`.
    Hdf5,
    /// Zip: Keras v3 `.keras`, PyTorch `.pt`, MediaPipe `.task`, NumPy `.npz`.
    Zip,
    /// Gzip or another compressed file.
    Compressed,
    /// A pointer of git-lfs.
    GitLfsPointer,
    /// Safetensors.
    Safetensors,
    /// GGUF.
    Gguf,
    /// Python pickle: PyTorch of old.
    Pickle,
    /// A web page, such as an error page of a download.
    Html,
    /// JSON.
    Json,
    /// Text of another kind.
    Text,
    /// Nothing but zero bytes at the start, as after a broken download.
    Zeros,
    /// None of these.
    Unknown,
}

/// How many bytes at the start are looked at.
const HEAD_BYTES: usize = 512;

impl FileKind {
    /// What `bytes`, the content of a file, look like.
    pub fn of(bytes: &[u8]) -> Self {
        let head = bytes.get(..HEAD_BYTES).unwrap_or(bytes);
        if head.is_empty() {
            return Self::Empty;
        }
        for (magic, kind) in MAGICS {
            if head.starts_with(magic) {
                return *kind;
            }
        }
        if head.len() < 8 {
            return if is_text(head) { Self::Text } else { Self::TooShort };
        }
        if head.iter().all(|byte| *byte == 0) {
            return Self::Zeros;
        }
        if let Some(kind) = text_kind(head) {
            return kind;
        }
        if let Some([b'{', b'"', ..]) = head.get(8..) {
            return Self::Safetensors;
        }
        if let Some(identifier) = flatbuffer_identifier(bytes) {
            return Self::OtherFlatbuffer(identifier);
        }
        protobuf_kind(head).unwrap_or(Self::Unknown)
    }
}

const MAGICS: &[(&[u8], FileKind)] = &[
    (b"version https://git-lfs", FileKind::GitLfsPointer),
    (b"PK\x03\x04", FileKind::Zip),
    (b"\x89HDF\r\n\x1a\n", FileKind::Hdf5),
    (b"\x1f\x8b", FileKind::Compressed),
    (b"BZh", FileKind::Compressed),
    (b"\xfd7zXZ\0", FileKind::Compressed),
    (b"\x28\xb5\x2f\xfd", FileKind::Compressed),
    (b"GGUF", FileKind::Gguf),
    (b"\x80\x02", FileKind::Pickle),
];

fn is_text(head: &[u8]) -> bool {
    let printable = |byte: &u8| matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~' | 0x80..);
    head.iter().all(printable)
}

fn text_kind(head: &[u8]) -> Option<FileKind> {
    if !is_text(head) {
        return None;
    }
    let text = head.trim_ascii_start();
    let tag = |prefix: &[u8]| text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    Some(match text.first() {
        _ if tag(b"<!doctype html") || tag(b"<html") => FileKind::Html,
        Some(b'{' | b'[') => FileKind::Json,
        _ => FileKind::Text,
    })
}

/// The identifier of what could be a flatbuffer: a root inside the file and four letters or digits.
fn flatbuffer_identifier(bytes: &[u8]) -> Option<[u8; 4]> {
    let root = u32::from_le_bytes(*bytes.first_chunk()?);
    let identifier: [u8; 4] = *bytes.get(4..)?.first_chunk()?;
    let plausible = (8..bytes.len()).contains(&usize::try_from(root).ok()?);
    (plausible && identifier.iter().all(u8::is_ascii_alphanumeric)).then_some(identifier)
}

/// Tells the three protobuf messages of interest by their first fields: ONNX starts with `ir_version` (3 and above),
/// `SavedModel` with `saved_model_schema_version` (1) and then `meta_graphs`, `GraphDef` with a node and its name.
fn protobuf_kind(head: &[u8]) -> Option<FileKind> {
    match head {
        [0x08, 1, 0x12, ..] => Some(FileKind::SavedModel),
        [0x08, 2..=20, 0x12 | 0x1a | 0x22 | 0x2a | 0x32 | 0x3a | 0x42, ..] => Some(FileKind::Onnx),
        [0x0a, _, 0x0a, name, first, ..] if *name > 0 && first.is_ascii_graphic() => Some(FileKind::GraphDef),
        [0x0a, _, _, 0x0a, name, first, ..] if *name > 0 && first.is_ascii_graphic() => Some(FileKind::GraphDef),
        _ => None,
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty; fetch or convert it again"),
            Self::TooShort => f.write_str("the file is shorter than a model's head; fetch or convert it again"),
            Self::OtherFlatbuffer(identifier) => {
                write!(f, "a flatbuffer with the identifier {:?} where a model has \"TFL3\"", String::from_utf8_lossy(identifier))
            }
            Self::Onnx => f.write_str("it looks like ONNX; convert it to .tflite first, for example with onnx2tf"),
            Self::SavedModel => {
                f.write_str("it looks like a TensorFlow SavedModel; convert its folder with tf.lite.TFLiteConverter.from_saved_model")
            }
            Self::GraphDef => {
                f.write_str("it looks like a TensorFlow frozen graph; convert it with tf.compat.v1.lite.TFLiteConverter.from_frozen_graph")
            }
            Self::Hdf5 => f.write_str(
                "it looks like a Keras HDF5 file; load it in Keras and convert it with tf.lite.TFLiteConverter.from_keras_model",
            ),
            Self::Zip => {
                f.write_str("it is a zip archive (.keras, .pt, .task and .npz are); unpack it if it holds a .tflite file, else convert it")
            }
            Self::Compressed => f.write_str("it is compressed; decompress it first"),
            Self::GitLfsPointer => {
                f.write_str("it is a git-lfs pointer, not the model; run `git lfs pull` in the repository that it is from")
            }
            Self::Safetensors => f.write_str("it looks like safetensors, which holds weights but no graph; export the model"),
            Self::Gguf => f.write_str("it looks like GGUF, which holds weights but no graph; export the model"),
            Self::Pickle => f.write_str("it looks like a Python pickle (PyTorch); export the model to .tflite"),
            Self::Html => f.write_str("it is a web page, perhaps the error page of a download; fetch the file itself"),
            Self::Json => f.write_str("it is JSON"),
            Self::Text => f.write_str("it is text"),
            Self::Zeros => f.write_str("it starts with zeros, as after a broken download; fetch it again"),
            Self::Unknown => f.write_str("the identifier \"TFL3\" is missing at byte 4"),
        }
    }
}
