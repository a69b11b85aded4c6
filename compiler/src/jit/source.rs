//! The model that code was made from, for compiling it again; read from its files only when that happens.

use super::cache::{Cache, Hashed};
use super::error::JitError;
use crate::driver;
use crate::ir;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// An imported model, or the files of one.
#[derive(Debug)]
pub(super) enum Source {
    /// A model in memory.
    Model(ir::Model),
    /// A model whose code came from a cache.
    Files(Files),
}

/// Where a model is, and which one it was when its code was taken from a cache.
#[derive(Debug)]
pub(super) struct Files {
    path: PathBuf,
    cache: Cache,
    hashed: Hashed,
    model: OnceLock<ir::Model>,
}

impl Source {
    /// The model at a path, whose files had these hashes.
    pub(super) fn files(path: &Path, cache: &Cache, hashed: Hashed) -> Source {
        Source::Files(Files { path: path.to_path_buf(), cache: cache.clone(), hashed, model: OnceLock::new() })
    }

    /// The model that the code was made from.
    ///
    /// # Errors
    /// [`JitError::Changed`] where its files are no longer those, and what is wrong with them.
    pub(super) fn get(&self) -> Result<&ir::Model, JitError> {
        match self {
            Source::Model(model) => Ok(model),
            Source::Files(files) => files.get(),
        }
    }
}

impl Files {
    fn get(&self) -> Result<&ir::Model, JitError> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let model = driver::load(&self.path);
        // Afterwards: what was read is what is there now. Equal bytes will do, whatever the system says of their files.
        if !hashed(&self.path, &self.cache).is_some_and(|now| now.has_bytes_of(&self.hashed)) {
            return Err(JitError::Changed { path: self.path.clone() });
        }
        let model = model?;
        Ok(self.model.get_or_init(|| model))
    }
}

/// The hashes of all files of the model at a path; nothing where one cannot be read.
pub(super) fn hashed(path: &Path, cache: &Cache) -> Option<Hashed> {
    Hashed::model(path, cache, |bytes| Some(driver::external_files(bytes).ok()?.into_iter().map(String::from).collect()))
}
