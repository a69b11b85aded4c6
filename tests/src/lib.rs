//! What the tests share: running compiled kernels, and building kernels that try one operator each.

pub mod kernel_runner;
pub mod op_cases;
