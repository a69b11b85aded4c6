//! The model that code was made from, for compiling it again; read from its file only when that happens.

use crate::driver;
use crate::error::CompileError;
use crate::ir;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// An imported model, or the file of one.
#[derive(Debug)]
pub(super) struct Source {
    model: OnceLock<ir::Model>,
    path: PathBuf,
}

impl Source {
    /// A model in memory.
    pub(super) fn model(model: ir::Model) -> Source {
        Source { model: OnceLock::from(model), path: PathBuf::new() }
    }

    /// A model in a file.
    pub(super) fn file(path: &Path) -> Source {
        Source { model: OnceLock::new(), path: path.to_path_buf() }
    }

    /// The model.
    pub(super) fn get(&self) -> Result<&ir::Model, CompileError> {
        if let Some(model) = self.model.get() {
            return Ok(model);
        }
        let model = driver::load(&self.path)?;
        Ok(self.model.get_or_init(|| model))
    }
}
