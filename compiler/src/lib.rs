//! tflc: an ahead-of-time compiler for TensorFlow Lite models.

pub mod artifact;
pub mod backend;
#[cfg(feature = "cli")]
pub mod cli;
pub mod driver;
pub mod error;
pub mod frontend;
pub mod ir;
pub mod jit;
pub mod lower;
pub mod ops;
pub mod passes;
pub mod plan;
pub mod target;
