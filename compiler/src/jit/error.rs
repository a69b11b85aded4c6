//! Why a model in memory could not be made or run.

use crate::error::CompileError;
use crate::ir;
use std::path::PathBuf;
use tflc_runtime::Status;

/// Why a model in memory could not be made or run.
#[derive(Debug, thiserror::Error)]
pub enum JitError {
    /// The model could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The model is compiled anew from its files, and they are no longer those that its code was made from.
    #[error("{}: this file, or one beside it that the model has constants in, changed since the model was loaded; load it again", path.display())]
    Changed {
        /// The model's file.
        path: PathBuf,
    },
    /// The system refused memory or a thread.
    #[error("the system refused memory or a thread: {0}")]
    System(std::io::Error),
    /// There is no such signature.
    #[error("there is no signature {wanted:?}; the model has {known:?}")]
    Signature {
        /// The name asked for.
        wanted: String,
        /// Those of the model.
        known: Vec<String>,
    },
    /// There is no such input.
    #[error("there is no input {wanted:?}; the model has {known:?}")]
    Input {
        /// The name asked for.
        wanted: String,
        /// Those of the model.
        known: Vec<String>,
    },
    /// The caller's buffers are not as many as the model's inputs or outputs.
    #[error("{given} {what}s given; the model has {expected}")]
    Count {
        /// `input` or `output`.
        what: &'static str,
        /// Buffers given.
        given: usize,
        /// Buffers needed.
        expected: usize,
    },
    /// A buffer has the wrong size.
    #[error("{what} {index} ({name:?}) has {given} bytes; its type {dtype} {shape:?} takes {expected}")]
    Size {
        /// `input` or `output`.
        what: &'static str,
        /// Position.
        index: usize,
        /// Name.
        name: String,
        /// Bytes given.
        given: usize,
        /// Bytes needed.
        expected: usize,
        /// Element type.
        dtype: ir::DType,
        /// Shape.
        shape: Vec<usize>,
    },
    /// The run ended with a status.
    #[error("run: {0}")]
    Run(Status),
    /// A custom operator of the caller's failed.
    #[error("run: the custom operator {name}: {reason}")]
    Custom {
        /// Name.
        name: String,
        /// What it said.
        reason: String,
    },
}

// The messages hold what the system or the run says: a source would say it again.

impl From<std::io::Error> for JitError {
    fn from(error: std::io::Error) -> JitError {
        JitError::System(error)
    }
}

impl From<Status> for JitError {
    fn from(status: Status) -> JitError {
        JitError::Run(status)
    }
}
