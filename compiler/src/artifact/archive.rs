//! A static library: an archive with one object, in the form that the platform's linkers read.

use super::library::Library;
use super::object::object;
use crate::error::CompileError;
use crate::target::Format;
use ar_archive_writer::{ArchiveKind, DEFAULT_OBJECT_READER, NewArchiveMember, write_archive_to_stream};
use std::io::Cursor;

/// The bytes of a static library.
///
/// # Errors
/// Those of the object; where it is too large for the format.
pub fn archive(library: &Library) -> Result<Vec<u8>, CompileError> {
    let kind = match library.platform.os.format() {
        Format::Elf | Format::Wasm => ArchiveKind::Gnu,
        Format::Coff => ArchiveKind::Coff,
        Format::MachO => ArchiveKind::Darwin,
    };
    let member = NewArchiveMember::new(object(library)?, &DEFAULT_OBJECT_READER, format!("{}.o", library.name));
    let mut out = Cursor::new(vec![]);
    write_archive_to_stream(&mut out, &[member], kind, false, None).map_err(|e| CompileError::Internal(format!("archive: {e}")))?;
    Ok(out.into_inner())
}
