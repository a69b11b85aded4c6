//! kir to machine code, one folder per backend.
//!
//! Every backend gives position-independent bytes for one kernel, with the calling convention of [`tflc_kir::Kernel`].

pub mod cranelift;
pub mod x86;
pub mod image;

use crate::target::{Cpu, Target, X86Level};
use tflc_kir::Kernel;

/// Machine code of one function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    /// Bytes, constants behind the instructions; entered at offset 0; position-independent.
    pub bytes: Vec<u8>,
    /// Required alignment in bytes, a power of two.
    pub align: u32,
}

/// Why a backend could not compile a kernel: always a bug of a template or of the backend.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("kernel @{kernel}: {reason}")]
pub struct BackendError {
    /// Name of the kernel.
    pub kernel: String,
    /// What was wrong.
    pub reason: String,
}

/// Compiles a kernel for a target.
///
/// # Errors
/// Where the kernel uses what the target's backend lacks.
pub fn compile_kernel(kernel: &Kernel, target: &Target) -> Result<Code, BackendError> {
    match target.cpu {
        Cpu::X86(X86Level::Baseline) | Cpu::Aarch64 { .. } => cranelift::compile(kernel, target),
        Cpu::X86(level) => x86::compile(kernel, level),
    }
}
