//! Kernels written once in kir, the pointwise expressions that they fuse, and the text of bindings.

#![forbid(unsafe_code)]

pub mod bindings;
pub mod cpu;
pub mod expr;
pub mod text;
