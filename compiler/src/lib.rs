//! tflc: an ahead-of-time compiler for TensorFlow Lite models.

pub mod backend;
pub mod jit;
pub mod target;
