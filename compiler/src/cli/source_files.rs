//! The files of a model as its manifest names them: where one of them is another, what was compiled from them is too.

use crate::artifact::{SourceFile, SourceFiles};
use crate::driver;
use anyhow::{Context, Result};
use std::path::Path;

/// The files of the model at a path. Others that the model names and that are not there are left out: a model that has constants in them
/// cannot be compiled.
///
/// # Errors
/// Where one cannot be read.
pub fn source_files(path: &Path) -> Result<SourceFiles> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let file = |name: &str, bytes: &[u8]| SourceFile { name: name.to_string(), crc32: crc32fast::hash(bytes) };
    let bytes = read(path)?;
    let mut external = vec![];
    for name in driver::external_files(&bytes)? {
        let path = path.with_file_name(name);
        // The model chose the name, and to open a pipe may block.
        if path.is_file() {
            external.push(file(name, &read(&path)?));
        }
    }
    Ok(SourceFiles { model: file(&path.file_name().unwrap_or_default().to_string_lossy(), &bytes), external })
}
