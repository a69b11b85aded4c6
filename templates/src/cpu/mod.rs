//! CPU kernels: one file per family. A specification is plain data; `build` makes the kernel for a target's `Caps`.

pub mod gather;
pub mod pointwise;
pub mod pool;
pub mod reduce;
pub mod resample;
pub mod softmax;
