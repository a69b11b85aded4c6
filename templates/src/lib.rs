//! Kernels written once in kir, and the pointwise expressions that they fuse.

#![forbid(unsafe_code)]

pub mod cpu;
pub mod expr;
pub mod text;
