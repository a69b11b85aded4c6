//! Compiles TensorFlow Lite models in build scripts, for programs that embed them.
//!
//! In `build.rs`:
//!
//! ```no_run
//! tflc_build::compile_model!("models/digits.tflite");
//! ```
//!
//! In the program, which depends on `tflc-runtime`:
//!
//! ```ignore
//! tflc_runtime::include_model!(pub mod digits);
//!
//! let mut model = digits::Model::new();
//! let scores: digits::Output0 = model.run(&image)?;
//! ```
//!
//! The model is compiled for the processor family and system that cargo builds for. Options are set with a [`Builder`]. The compiler
//! itself runs in the build script: `[profile.dev.build-override] opt-level = 2` in the program's `Cargo.toml` pays off for
//! large models.

mod builder;
mod environment;

pub use builder::{BuildError, Builder, Compiled};
pub use tflc::target::Precision;

/// Compiles the model at a path, relative to the package, with default options; ends the build script with a message where that fails.
#[macro_export]
macro_rules! compile_model {
    ($path:expr $(,)?) => {
        $crate::Builder::new($path).compile_or_exit()
    };
}
