//! tflc: an ahead-of-time compiler for TensorFlow Lite models.

pub mod backend;
pub mod error;
pub mod ir;
pub mod jit;
pub mod ops;
pub mod target;
