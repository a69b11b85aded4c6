//! The files of a model, as its manifest and a depfile name them: where one of them is another, what was compiled from them is too.

use crate::artifact::{SourceFile, SourceFiles};
use crate::driver;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

/// The files of the model at a path. Others that the model names and that are not there are left out: a model that has constants in them
/// cannot be compiled.
///
/// # Errors
/// Where one cannot be read.
pub fn source_files(path: &Path) -> Result<SourceFiles> {
    let file = |name: &str, bytes: &[u8]| SourceFile { name: name.to_string(), crc32: crc32fast::hash(bytes) };
    let bytes = read(path)?;
    let external = external(path, &bytes)?.into_iter().map(|(name, path)| Ok(file(name, &read(&path)?))).collect::<Result<_>>()?;
    Ok(SourceFiles { model: file(&path.file_name().unwrap_or_default().to_string_lossy(), &bytes), external })
}

/// Paths of the same files: the model's as it is given, and the others beside it.
///
/// # Errors
/// Where the model cannot be read.
pub fn source_paths(path: &Path) -> Result<Vec<PathBuf>> {
    let bytes = read(path)?;
    let external = external(path, &bytes)?.into_iter().map(|(_, path)| path);
    Ok(std::iter::once(path.to_path_buf()).chain(external).collect())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Names and paths of the other files that are there.
fn external<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<(&'a str, PathBuf)>> {
    let files = driver::external_files(bytes)?.into_iter().map(|name| (name, path.with_file_name(name)));
    // The model chose the name, and to open a pipe may block.
    Ok(files.filter(|(_, path)| path.is_file()).collect())
}
