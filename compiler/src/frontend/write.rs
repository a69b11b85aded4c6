//! Writes a model file from an owned [`Model`].
//!
//! The same model gives the same bytes. Data inside the flatbuffer starts at multiples of 16 bytes. A flatbuffer ends
//! at 2 GiB, so the data of larger models goes behind it, with offset and size in its buffer; both forms are read by
//! other runtimes. It does not check that indices mean anything.

use super::error::{FieldPath, FrontendError, LimitKind, Location};
use super::schema::writer::MAX_FLATBUFFER_BYTES;
use super::schema::{Buffer, FILE_IDENTIFIER, Model, SchemaTable, Writer};

/// Where the data of buffers goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataPlacement {
    /// Into the flatbuffer.
    Inline,
    /// Behind the flatbuffer, at multiples of 16 bytes.
    Appended,
}

/// From this much data on, [`write_model`] puts it behind the flatbuffer.
const APPEND_FROM_BYTES: usize = 1 << 30;

/// The alignment of data behind the flatbuffer, in bytes.
const ALIGNMENT: usize = 16;

/// The bytes of a model file: data goes into the flatbuffer, or behind it from 1 GiB on.
///
/// # Errors
///
/// [`FrontendError::LimitExceeded`] where the flatbuffer would pass 2 GiB.
pub fn write_model(model: &Model) -> Result<Vec<u8>, FrontendError> {
    let data_bytes = model.buffers.iter().filter_map(|buffer| buffer.data.as_ref()).map(Vec::len);
    let placement =
        if data_bytes.fold(0, usize::saturating_add) < APPEND_FROM_BYTES { DataPlacement::Inline } else { DataPlacement::Appended };
    write_model_with(model, placement)
}

/// As [`write_model`], with the place of the data given.
///
/// # Errors
///
/// [`FrontendError::LimitExceeded`] where the flatbuffer would pass 2 GiB.
pub fn write_model_with(model: &Model, placement: DataPlacement) -> Result<Vec<u8>, FrontendError> {
    match placement {
        DataPlacement::Inline => flatbuffer(model),
        DataPlacement::Appended => appended(model),
    }
}

fn flatbuffer(model: &Model) -> Result<Vec<u8>, FrontendError> {
    let mut writer = Writer::new();
    let root = model.pack(&mut writer);
    writer.finish(root, FILE_IDENTIFIER).ok_or_else(|| FrontendError::LimitExceeded {
        limit: LimitKind::WrittenBytes,
        allowed: MAX_FLATBUFFER_BYTES.try_into().unwrap_or(u64::MAX),
        at: Location::at(FieldPath::default()),
    })
}

/// The offset of data that is yet to be placed; not the default, so that its field is written.
const PENDING: u64 = u64::MAX;

fn appended(model: &Model) -> Result<Vec<u8>, FrontendError> {
    let data = |buffer: &Buffer| buffer.data.as_ref().map_or(0, Vec::len);
    let outline = |buffer: &Buffer| match &buffer.data {
        Some(bytes) if !bytes.is_empty() => Buffer { data: None, offset: PENDING, size: to_u64(bytes.len()) },
        _ => buffer.clone(),
    };
    let mut skeleton = Model {
        version: model.version,
        operator_codes: model.operator_codes.clone(),
        subgraphs: model.subgraphs.clone(),
        description: model.description.clone(),
        buffers: model.buffers.iter().map(outline).collect(),
        metadata_buffer: model.metadata_buffer.clone(),
        metadata: model.metadata.clone(),
        signature_defs: model.signature_defs.clone(),
        external_buffer_groups: model.external_buffer_groups.clone(),
        external_buffers: model.external_buffers.clone(),
    };
    // Offsets do not change the size of the flatbuffer, so a first writing tells where the data starts.
    let mut end = flatbuffer(&skeleton)?.len();
    for (buffer, source) in skeleton.buffers.iter_mut().zip(&model.buffers) {
        if data(source) > 0 {
            let start = end.next_multiple_of(ALIGNMENT);
            buffer.offset = to_u64(start);
            end = start.saturating_add(data(source));
        }
    }
    let mut bytes = flatbuffer(&skeleton)?;
    bytes.reserve_exact(end.saturating_sub(bytes.len()));
    for source in &model.buffers {
        if let Some(data) = source.data.as_ref().filter(|data| !data.is_empty()) {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            bytes.extend_from_slice(data);
        }
    }
    Ok(bytes)
}

fn to_u64(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}
