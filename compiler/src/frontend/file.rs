//! A model file in memory or mapped, verified, with its constant data handed out as shared slices.
//!
//! Opening maps the file and verifies its flatbuffer; no weight is read, let alone copied. Data is in one of four
//! places: nowhere (buffer 0, or one without bytes), inside the flatbuffer, behind it in the same file (offset and
//! size), or in another file below the model's folder (external buffers), which is mapped when first asked for.
//! Names of other files come from the model and are not trusted: only relative ones without `..` are followed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::error::{DataProblem, FieldPath, FrontendError, Location};
use super::schema::{ExternalBuffer, FILE_IDENTIFIER, Model, Operator, RawTable, Ref, Tensor, read};
use super::verify::{Limits, verify};
use crate::ir::data::Bytes;

/// What keeps bytes alive: a file map, a vector, a static slice.
pub type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// The field id of a buffer's inline data.
const BUFFER_DATA: u16 = 0;

/// The field id of an operator's inline custom options.
const OPERATOR_CUSTOM_OPTIONS: u16 = 5;

/// The largest offset that means "no data outside the flatbuffer".
const NO_OFFSET: u64 = 1;

/// A verified model and the owner of its bytes.
pub struct ModelFile {
    owner: Owner,
    len: usize,
    root: usize,
    path: Option<Arc<Path>>,
    folder: Option<PathBuf>,
    external_ids: OnceLock<HashMap<u32, usize>>,
    external_files: Mutex<HashMap<PathBuf, Owner>>,
}

impl std::fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelFile").field("path", &self.path).field("len", &self.len).finish_non_exhaustive()
    }
}

impl ModelFile {
    /// Maps and verifies the file at `path`. External data is looked for in its folder.
    ///
    /// # Errors
    ///
    /// As [`verify`], and [`FrontendError::Io`] or [`FrontendError::NotAFile`] where it cannot be read.
    pub fn open(path: impl AsRef<Path>, limits: &Limits) -> Result<Self, FrontendError> {
        let path: Arc<Path> = path.as_ref().into();
        let owner = match map(&path) {
            Ok(Some(owner)) => owner,
            Ok(None) => return Err(FrontendError::NotAFile { path }),
            Err(source) => return Err(FrontendError::Io { path, source: Arc::new(source) }),
        };
        let folder = path.parent().map(Path::to_path_buf);
        let mut file = Self::new(owner, limits).map_err(|error| error.in_file(Some(&path)))?;
        file.path = Some(path);
        file.folder = folder;
        Ok(file)
    }

    /// Verifies a model in memory: a `Vec<u8>`, an `Arc<[u8]>`, a `&'static [u8]`.
    ///
    /// # Errors
    ///
    /// As [`verify`].
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static, limits: &Limits) -> Result<Self, FrontendError> {
        Self::new(Arc::new(bytes), limits)
    }

    /// The same model, with external data looked for in `folder`.
    #[must_use]
    pub fn with_folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    fn new(owner: Owner, limits: &Limits) -> Result<Self, FrontendError> {
        let bytes = (*owner).as_ref();
        let (len, root) = (bytes.len(), verify(bytes, limits)?.position());
        Ok(Self { owner, len, root, path: None, folder: None, external_ids: OnceLock::new(), external_files: Mutex::new(HashMap::new()) })
    }

    /// The root of the model.
    pub fn model(&self) -> Ref<'_, Model> {
        Ref::new(RawTable::new(self.as_bytes(), self.root))
    }

    /// The whole file.
    pub fn as_bytes(&self) -> &[u8] {
        (*self.owner).as_ref()
    }

    /// The file's path, where the model comes from one.
    pub fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// The data of buffer `index`, or `None` where it has none: number 0, and those without bytes inside or outside
    /// the flatbuffer. Data of zero bytes is data.
    ///
    /// # Errors
    ///
    /// [`FrontendError::Data`] where there is no such buffer or its bytes lie outside the file.
    pub fn buffer(&self, index: u32) -> Result<Option<Bytes>, FrontendError> {
        self.buffer_at(index, || FieldPath::default().field("buffers").index(to_usize(index)))
    }

    /// The data of tensor `tensor` of subgraph `subgraph`, or `None` where it is no constant.
    ///
    /// # Errors
    ///
    /// [`FrontendError::Data`] where there is no such tensor, where its buffer is missing or lies outside its file,
    /// or where it is in another file that cannot be read.
    pub fn tensor_data(&self, subgraph: usize, tensor: usize) -> Result<Option<Bytes>, FrontendError> {
        let path = || FieldPath::default().field("subgraphs").index(subgraph).field("tensors").index(tensor);
        let subgraphs = self.model().subgraphs();
        let Some(graph) = subgraphs.get(subgraph) else {
            return Err(self.missing("subgraphs", to_u64(subgraph), subgraphs.len(), path()));
        };
        let Some(found) = graph.tensors().get(tensor) else {
            return Err(self.missing("tensors", to_u64(tensor), graph.tensors().len(), path()));
        };
        let inside = self.buffer_at(found.buffer(), || path().field("buffer"))?;
        match found.external_buffer() {
            0 => Ok(inside),
            id if inside.is_some() => {
                let cause = DataProblem::TwoSources { buffer: found.buffer(), external_buffer: id };
                Err(self.problem(cause, Some(found.position()), path()))
            }
            _ => self.external(found, path().field("external_buffer")).map(Some),
        }
    }

    /// The custom options of operator `operator` of subgraph `subgraph`; `None` where it has none.
    ///
    /// # Errors
    ///
    /// [`FrontendError::Data`] where there is no such operator or the bytes lie outside the file.
    pub fn custom_options(&self, subgraph: usize, operator: usize) -> Result<Option<Bytes>, FrontendError> {
        let path = || FieldPath::default().field("subgraphs").index(subgraph).field("operators").index(operator);
        let subgraphs = self.model().subgraphs();
        let Some(graph) = subgraphs.get(subgraph) else {
            return Err(self.missing("subgraphs", to_u64(subgraph), subgraphs.len(), path()));
        };
        let Some(found) = graph.operators().get(operator) else {
            return Err(self.missing("operators", to_u64(operator), graph.operators().len(), path()));
        };
        if let Some(range) = found.raw().vector_range(OPERATOR_CUSTOM_OPTIONS, 1) {
            return Ok(Some(self.slice(range)));
        }
        let (offset, len) = (found.large_custom_options_offset(), found.large_custom_options_size());
        self.outside(offset, len, found.position(), || path().field("large_custom_options_offset"))
    }

    /// The data of the metadata entry called `name`; `None` where there is no such entry or it has no data.
    ///
    /// # Errors
    ///
    /// [`FrontendError::Data`] where its buffer is missing or lies outside the file.
    pub fn metadata(&self, name: &str) -> Result<Option<Bytes>, FrontendError> {
        for (index, entry) in self.model().metadata().iter().enumerate() {
            if entry.name() == name {
                let path = || FieldPath::default().field("metadata").index(index).field("buffer");
                return self.buffer_at(entry.buffer(), path);
            }
        }
        Ok(None)
    }

    /// Copies the model out of the file, with data and custom options behind the flatbuffer moved inside.
    /// External data stays where it is.
    ///
    /// # Errors
    ///
    /// [`FrontendError::Data`] where data lies outside the file.
    pub fn unpack(&self) -> Result<Model, FrontendError> {
        let mut model = self.model().unpack();
        for (index, buffer) in model.buffers.iter_mut().enumerate() {
            if buffer.data.is_none() && buffer.offset > NO_OFFSET {
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                buffer.data = self.buffer(index)?.map(|bytes| bytes.to_vec());
                (buffer.offset, buffer.size) = (0, 0);
            }
        }
        for (subgraph, graph) in model.subgraphs.iter_mut().enumerate() {
            for (index, operator) in graph.operators.iter_mut().enumerate() {
                self.inline_options(operator, subgraph, index)?;
            }
        }
        Ok(model)
    }

    fn inline_options(&self, operator: &mut Operator, subgraph: usize, index: usize) -> Result<(), FrontendError> {
        if operator.custom_options.is_none() && operator.large_custom_options_offset > NO_OFFSET {
            operator.custom_options = self.custom_options(subgraph, index)?.map(|bytes| bytes.to_vec());
            (operator.large_custom_options_offset, operator.large_custom_options_size) = (0, 0);
        }
        Ok(())
    }

    fn buffer_at(&self, index: u32, path: impl Fn() -> FieldPath) -> Result<Option<Bytes>, FrontendError> {
        if index == 0 {
            return Ok(None);
        }
        let buffers = self.model().buffers();
        let Some(buffer) = buffers.get(to_usize(index)) else {
            return Err(self.missing("buffers", index.into(), buffers.len(), path()));
        };
        match buffer.raw().vector_range(BUFFER_DATA, 1) {
            Some(range) => Ok(Some(self.slice(range))),
            None => self.outside(buffer.offset(), buffer.size(), buffer.position(), path),
        }
    }

    /// Data behind the flatbuffer; `position` is that of the table that says so.
    fn outside(&self, offset: u64, len: u64, position: usize, path: impl Fn() -> FieldPath) -> Result<Option<Bytes>, FrontendError> {
        if offset <= NO_OFFSET {
            return Ok(None);
        }
        match range_in(self.len, offset, len) {
            Some(range) => Ok(Some(self.slice(range))),
            None => {
                let cause = DataProblem::Outside { offset, len, file_bytes: to_u64(self.len), file: None };
                Err(self.problem(cause, Some(position), path()))
            }
        }
    }

    fn external(&self, tensor: Ref<'_, Tensor>, path: FieldPath) -> Result<Bytes, FrontendError> {
        let id = tensor.external_buffer();
        let buffers = self.model().external_buffers();
        let ids = self.external_ids.get_or_init(|| {
            // The first of several entries with one id counts.
            buffers.iter().enumerate().rev().map(|(index, buffer)| (buffer.id(), index)).collect()
        });
        let Some((index, buffer)) = ids.get(&id).and_then(|index| Some((*index, buffers.get(*index)?))) else {
            return Err(self.problem(DataProblem::UnknownExternalBuffer { id }, Some(tensor.position()), path));
        };
        let path = FieldPath::default().field("external_buffers").index(index);
        self.external_data(buffer).map_err(|cause| self.problem(cause, Some(buffer.position()), path))
    }

    fn external_data(&self, buffer: Ref<'_, ExternalBuffer>) -> Result<Bytes, DataProblem> {
        if !matches!(buffer.packing(), "" | "unpacked") {
            return Err(DataProblem::Packing { packing: buffer.packing().to_owned() });
        }
        let groups = self.model().external_buffer_groups();
        let index = u64::from(buffer.group());
        let group = groups.get(to_usize(buffer.group()));
        let group = group.ok_or(DataProblem::Index { list: "external_buffer_groups", index, len: groups.len() })?;
        if !leads_below(group.name()) {
            return Err(DataProblem::UnsafeName { name: group.name().to_owned() });
        }
        let Some(folder) = &self.folder else {
            return Err(DataProblem::NoFolder { name: group.name().to_owned() });
        };
        let path = folder.join(group.name());
        let owner = self.external_file(&path)?;
        let len = (*owner).as_ref().len();
        match range_in(len, buffer.offset(), buffer.length()) {
            Some(range) => Ok(Bytes::from_owner(owner, range)),
            None => Err(DataProblem::Outside { offset: buffer.offset(), len: buffer.length(), file_bytes: to_u64(len), file: Some(path) }),
        }
    }

    fn external_file(&self, path: &Path) -> Result<Owner, DataProblem> {
        let mut files = self.external_files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(owner) = files.get(path) {
            return Ok(owner.clone());
        }
        let unreadable = |kind| DataProblem::ExternalFile { path: path.to_path_buf(), kind };
        let owner = match map(path) {
            Ok(Some(owner)) => owner,
            Ok(None) => return Err(unreadable(io::ErrorKind::InvalidInput)),
            Err(error) => return Err(unreadable(error.kind())),
        };
        files.insert(path.to_path_buf(), owner.clone());
        Ok(owner)
    }

    /// The bytes `range`, which the caller has found to lie inside the file.
    fn slice(&self, range: Range<usize>) -> Bytes {
        Bytes::from_owner(self.owner.clone(), range)
    }

    fn missing(&self, list: &'static str, index: u64, len: usize, path: FieldPath) -> FrontendError {
        self.problem(DataProblem::Index { list, index, len }, None, path)
    }

    fn problem(&self, cause: DataProblem, byte: Option<usize>, path: FieldPath) -> FrontendError {
        FrontendError::Data { cause, at: Location { file: self.path.clone(), byte: byte.map(to_u64), path } }
    }
}

/// Names of the other files that the model with these bytes has, each once, relative to the model's folder and below it. Bytes
/// that are no model have none.
///
/// Whether there are any is seen before anything is verified: a model without other files costs a few reads.
///
/// # Errors
///
/// As [`verify`], where there are any.
pub fn external_files<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Vec<&'a str>, FrontendError> {
    let Some(root) = read::<u32>(bytes, 0).filter(|_| bytes.get(4..8) == Some(FILE_IDENTIFIER.as_bytes())) else {
        return Ok(vec![]);
    };
    // Safe on any bytes, but what it leads to may be much larger than the file.
    let unverified = Ref::<Model>::new(RawTable::new(bytes, to_usize(root)));
    if unverified.external_buffer_groups().is_empty() {
        return Ok(vec![]);
    }
    let names = verify(bytes, limits)?.external_buffer_groups().iter().map(|group| group.name());
    // Several spellings may be one path.
    let mut seen = HashSet::new();
    Ok(names.filter(|name| leads_below(name) && seen.insert(Path::new(*name))).collect())
}

/// Whether the name of another file leads below the model's folder, on any system.
fn leads_below(name: &str) -> bool {
    // These characters are harmless here but not on every system, nor in every list of names, so no model may use them.
    let plain = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    plain && !name.is_empty() && !name.contains(|c: char| matches!(c, '\\' | ':') || c.is_control())
}

/// The range of `len` bytes from `offset` on, if a file of `file_bytes` bytes has it.
fn range_in(file_bytes: usize, offset: u64, len: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= file_bytes).then_some(start..end)
}

/// Maps the file at `path`, or reads it where mapping does not work; `None` where it is no regular file.
fn map(path: &Path) -> io::Result<Option<Owner>> {
    // A folder or a pipe may fail to open or block; ask before.
    if !std::fs::metadata(path)?.is_file() {
        return Ok(None);
    }
    let file = File::open(path)?;
    if file.metadata()?.len() == 0 {
        return Ok(Some(Arc::new([0u8; 0])));
    }
    // SAFETY: the map is read-only and private to this process's view of a regular file. What the language needs is
    // that nobody shortens or rewrites the file while it is mapped; no program can enforce that, so `ModelFile`
    // passes the condition on to its user, as every program that maps models does. All reads go through checked
    // slices, so content that changes after verification gives wrong values, not reads outside the map.
    let mapped = unsafe { memmap2::Mmap::map(&file) };
    Ok(Some(match mapped {
        Ok(map) => Arc::new(map),
        Err(_) => Arc::new(std::fs::read(path)?),
    }))
}

fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
