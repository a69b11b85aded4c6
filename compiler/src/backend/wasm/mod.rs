//! kir to WebAssembly with 128-bit vectors, and whole models as modules.
//!
//! Takes any verified kernel whose register types are scalars, vectors of exactly 16 bytes and their masks. kir is structured, so loops and branches map
//! one to one. A kernel is a function `(slots: i32, begin: i32, end: i32) -> i32`: the calling convention of [`tflc_kir::Kernel`] with 32-bit
//! addresses (slots stay 64 bits wide) and work units. [`module`] puts kernels, driver and weights together; `docs/wasm.md` is for its users.
//!
//! Relaxed SIMD is an option: with it `fma` exists, rounded once or twice as the processor has it, and conversions to integers take one instruction.

mod arith;
pub mod bindings;
mod code;
mod control;
mod convert;
mod description;
mod driver;
mod emit;
mod finish;
mod lanes;
mod memory;
mod module;
mod ranges;
mod shift;
mod store;
mod tables;

pub use description::{Signature, describe};
pub use module::{Memory, Module, Options, compile_program, kernel_module};

use super::BackendError;
use tflc_kir::Kernel;
use wasm_encoder::Function;

/// A kernel's function, and the bytes of stack that it takes.
struct Compiled {
    function: Function,
    stack_bytes: u32,
}

fn compile(kernel: &Kernel, relaxed: bool) -> Result<Compiled, BackendError> {
    let emitted = emit::emit_kernel(kernel, relaxed).map_err(|reason| BackendError { kernel: kernel.name.clone(), reason })?;
    Ok(Compiled { function: finish::finish(emitted.code), stack_bytes: emitted.stack_bytes })
}
