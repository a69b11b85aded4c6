//! The command line: files in, files and text out.
//!
//! Everything here may read files and print; nothing here decides what a model means. Errors are [`anyhow`] chains whose
//! first line says what was being read or written, and whose last says what is wrong with it.

#[macro_use]
pub mod stdout;

pub mod args;
pub mod bars;
pub mod bench;
pub mod bench_kernels;
pub mod cache;
pub mod compile;
pub mod compile_wasm;
pub mod depfile;
pub mod image;
pub mod inspect;
pub mod labels;
pub mod link;
pub mod list;
pub mod npy;
pub mod npz;
pub mod ops;
pub mod output;
pub mod per_op;
pub mod random;
pub mod run;
pub mod source_files;
pub mod target;
pub mod tensor;
pub mod text;
pub mod verify;

pub use tensor::HostTensor;
