//! What can be wrong with a model file, and where.
//!
//! Every error has a place: the file, the byte, and the path of fields that leads there, such as
//! `subgraphs[0].operators[3].builtin_options.stride_w`. Causes are enums; their text is only in `Display`.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::sniff::FileKind;
use crate::error::{CompileError, Place};

/// One step of a [`FieldPath`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathStep {
    /// Into a field, by the schema's name.
    Field(&'static str),
    /// Into an element of a vector.
    Index(usize),
}

/// The way from the root of the model to a field or element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FieldPath(Vec<PathStep>);

impl FieldPath {
    /// The path that ends in `name`.
    #[must_use]
    pub fn field(mut self, name: &'static str) -> Self {
        self.0.push(PathStep::Field(name));
        self
    }

    /// The path that ends in element `index`.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(PathStep::Index(index));
        self
    }

    /// The steps from the root.
    pub fn steps(&self) -> &[PathStep] {
        &self.0
    }

    pub(super) fn push(&mut self, step: PathStep) {
        self.0.push(step);
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the root table");
        }
        for (position, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Field(name) if position == 0 => f.write_str(name)?,
                PathStep::Field(name) => write!(f, ".{name}")?,
                PathStep::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A place in a model file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Location {
    /// The file, where the model comes from one.
    pub file: Option<Arc<Path>>,
    /// The byte, from the start of the file, where one is to blame.
    pub byte: Option<u64>,
    /// The field.
    pub path: FieldPath,
}

impl Location {
    /// The place `path`, at no particular byte.
    pub fn at(path: FieldPath) -> Self {
        Self { file: None, byte: None, path }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        write!(f, "{}", self.path)?;
        match self.byte {
            Some(byte) => write!(f, " (byte {byte})"),
            None => Ok(()),
        }
    }
}

/// A way in which the bytes are no well-formed flatbuffer of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformation {
    /// A table starts outside the file.
    #[error("the table lies outside the file of {file_bytes} bytes")]
    TableOutside {
        /// The file's size.
        file_bytes: u64,
    },
    /// A table's field list starts or ends outside the file.
    #[error("the table's field list (vtable) lies outside the file of {file_bytes} bytes")]
    VtableOutside {
        /// The file's size.
        file_bytes: u64,
    },
    /// A table's field list has an impossible size.
    #[error("the table's field list (vtable) has {vtable_bytes} bytes, which must be even and at least 4")]
    VtableSize {
        /// The size that it claims.
        vtable_bytes: u16,
    },
    /// A field of a table lies outside the file.
    #[error("the field lies outside the file of {file_bytes} bytes")]
    FieldOutside {
        /// The file's size.
        file_bytes: u64,
    },
    /// A field overlaps the start of its table, where the reference to the field list is.
    #[error("the field overlaps its table's head (offset {offset}, at least 4 is needed)")]
    FieldInHead {
        /// The field's offset from the start of the table.
        offset: u16,
    },
    /// A reference to nothing.
    #[error("the reference has distance 0")]
    NullReference,
    /// A vector or string starts outside the file.
    #[error("the reference leads outside the file of {file_bytes} bytes")]
    ReferenceOutside {
        /// The file's size.
        file_bytes: u64,
    },
    /// A vector or string ends outside the file.
    #[error("{elements} elements of {element_bytes} bytes do not fit into the file of {file_bytes} bytes")]
    VectorOutside {
        /// The number of elements that it claims.
        elements: u32,
        /// The size of one.
        element_bytes: usize,
        /// The file's size.
        file_bytes: u64,
    },
    /// A string is not UTF-8.
    #[error("the string is not UTF-8 from its byte {valid_bytes} on")]
    NotUtf8 {
        /// The number of bytes before the first wrong one.
        valid_bytes: usize,
    },
}

/// A bound that is set to keep hostile files from using up time or memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitKind {
    /// Tables inside tables.
    Depth,
    /// Tables, each counted as often as it is referred to.
    Tables,
    /// Bytes of all tables, strings and vectors, each counted as often as it is referred to.
    ExpandedBytes,
    /// Bytes of a flatbuffer to be written.
    WrittenBytes,
}

impl fmt::Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Depth => "the depth of nested tables",
            Self::Tables => "the number of tables",
            Self::ExpandedBytes => {
                "the size of the model with shared parts counted as often as they are used (such files do not come from converters)"
            }
            Self::WrittenBytes => "the size of a model file's flatbuffer; put the data outside it (`DataPlacement::Appended`)",
        })
    }
}

/// A way in which constant data cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DataProblem {
    /// An index into a list of the model is too large.
    #[error("index {index} into `{list}`, which has {len} entries")]
    Index {
        /// The list.
        list: &'static str,
        /// The index.
        index: u64,
        /// The list's length.
        len: usize,
    },
    /// Data outside the flatbuffer lies outside the file.
    #[error("{len} bytes at offset {offset} do not fit into {} of {file_bytes} bytes; is it complete?", file_name(.file))]
    Outside {
        /// The first byte.
        offset: u64,
        /// The number of bytes.
        len: u64,
        /// The size of the file.
        file_bytes: u64,
        /// The file, where it is not the model itself.
        file: Option<PathBuf>,
    },
    /// A tensor has data in the model and in another file.
    #[error("the tensor has data both in `buffers[{buffer}]` and in external buffer {external_buffer}")]
    TwoSources {
        /// The index into the model's buffers.
        buffer: u32,
        /// The id of the external buffer.
        external_buffer: u32,
    },
    /// No external buffer has this id.
    #[error("no entry of `external_buffers` has the id {id}")]
    UnknownExternalBuffer {
        /// The id.
        id: u32,
    },
    /// External data is in an order that is not known.
    #[error("the external data is packed as {packing:?}; only `unpacked` can be read")]
    Packing {
        /// The name of the order.
        packing: String,
    },
    /// The model refers to a file that is not below its own folder.
    #[error("the model refers to the file {name:?}; only relative names without `..`, `\\`, `:` and control characters are followed")]
    UnsafeName {
        /// The name in the model.
        name: String,
    },
    /// The model refers to another file, but it was read from memory and no folder was given.
    #[error("the data is in the file {name:?}, but the model comes from memory; give the folder with `ModelFile::with_folder`")]
    NoFolder {
        /// The name in the model.
        name: String,
    },
    /// Another file cannot be read.
    #[error("the data is in {}, which cannot be read ({kind}); put that file beside the model", path.display())]
    ExternalFile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        kind: io::ErrorKind,
    },
}

fn file_name(file: &Option<PathBuf>) -> String {
    match file {
        Some(path) => format!("{}", path.display()),
        None => "the model file".to_owned(),
    }
}

/// Why a model file could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FrontendError {
    /// The file cannot be opened or read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: Arc<Path>,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// The path is a folder, a pipe or something else without a fixed content.
    #[error("{} is not a regular file; give the path of a .tflite file", path.display())]
    NotAFile {
        /// The path.
        path: Arc<Path>,
    },
    /// The content is something else than a TensorFlow Lite model.
    #[error("{}: not a TensorFlow Lite model: {kind}", source_name(.at))]
    NotAModel {
        /// What it looks like.
        kind: FileKind,
        /// The file.
        at: Location,
    },
    /// The model has a schema version other than 3.
    #[error("{at}: schema version {version}; only version 3 exists in practice, so the file is damaged or not a model")]
    Version {
        /// The version that it claims.
        version: u32,
        /// The field.
        at: Location,
    },
    /// The bytes are no well-formed model: truncated, damaged or made to harm.
    #[error("{at}: {cause}; the file is damaged or incomplete, fetch or convert it again")]
    Malformed {
        /// What is wrong.
        cause: Malformation,
        /// The first wrong field.
        at: Location,
    },
    /// Constant data cannot be had.
    #[error("{at}: {cause}")]
    Data {
        /// What is wrong.
        cause: DataProblem,
        /// The field that refers to the data.
        at: Location,
    },
    /// A limit is passed.
    #[error("{at}: more than {allowed} allowed for {limit}")]
    LimitExceeded {
        /// The limit.
        limit: LimitKind,
        /// Its value.
        allowed: u64,
        /// Where it is passed.
        at: Location,
    },
}

fn source_name(at: &Location) -> String {
    match &at.file {
        Some(file) => format!("{}", file.display()),
        None => "the model".to_owned(),
    }
}

impl FrontendError {
    /// Where the error is.
    pub fn location(&self) -> Location {
        match self {
            Self::Io { path, .. } | Self::NotAFile { path } => Location { file: Some(path.clone()), ..Location::default() },
            Self::NotAModel { at, .. }
            | Self::Version { at, .. }
            | Self::Malformed { at, .. }
            | Self::Data { at, .. }
            | Self::LimitExceeded { at, .. } => at.clone(),
        }
    }

    /// The same error, in `file` unless it names one already.
    #[must_use]
    pub fn in_file(mut self, file: Option<&Arc<Path>>) -> Self {
        match &mut self {
            Self::Io { .. } | Self::NotAFile { .. } => {}
            Self::NotAModel { at, .. }
            | Self::Version { at, .. }
            | Self::Malformed { at, .. }
            | Self::Data { at, .. }
            | Self::LimitExceeded { at, .. } => {
                if at.file.is_none() {
                    at.file = file.cloned();
                }
            }
        }
        self
    }
}

impl From<FrontendError> for CompileError {
    fn from(error: FrontendError) -> Self {
        let at = error.location();
        let subgraph = match at.path.steps() {
            [PathStep::Field("subgraphs"), PathStep::Index(index), ..] => u32::try_from(*index).ok(),
            _ => None,
        };
        let place = Place { subgraph, ..Place::default() };
        let reason = error.to_string();
        match error {
            FrontendError::LimitExceeded { .. } => Self::LimitExceeded { place, reason },
            _ => Self::InvalidModel { place, reason },
        }
    }
}
