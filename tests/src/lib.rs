//! What tests that cross crates share: running compiled kernels, kernels that try one operator each, reading Rust sources.

pub mod kernel_runner;
pub mod op_cases;
pub mod rust_source;
