//! What tests that cross crates share: filetests, running compiled kernels and models, kernels that try one operator each, random models and values, reading
//! Rust sources.

pub mod compiled;
pub mod differential;
pub mod filetest;
pub mod golden;
pub mod host;
pub mod kernel_checks;
pub mod kernel_runner;
pub mod model_runner;
pub mod module_runner;
pub mod mutation;
pub mod op_cases;
pub mod random_graph;
pub mod random_values;
pub mod rust_source;
