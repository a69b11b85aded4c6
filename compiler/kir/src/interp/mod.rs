//! Interpreter: runs a kernel as the language defines it, without any CPU feature.
//!
//! Templates are tested against the reference evaluator through it, and backends against it. It is exact to the bit (other than the payload
//! of NaNs), checks every access, and always ends: a run has fuel. A [`Program`] is a kernel decoded to a flat list over value slots, which
//! makes running whole small models bearable; [`run`] decodes and runs once. Prefetches do nothing. It does not judge alignment.

mod decode;
mod exec;
pub(crate) mod lanes;
mod memory;
mod tiles;
mod vectors;

pub use decode::Program;
pub use memory::{Fault, FaultKind, Memory};

use crate::kernel::Kernel;
use crate::types::Type;
use crate::verify::VerifyError;

/// An argument of a kernel.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Arg {
    /// An address, from [`Memory::add`] and its kin.
    Ptr(u64),
    /// A 64-bit integer.
    I64(i64),
    /// A 32-bit integer.
    I32(i32),
    /// A float.
    F32(f32),
}

impl Arg {
    /// Type of the parameter that takes this.
    pub fn ty(self) -> Type {
        match self {
            Arg::Ptr(_) => Type::PTR,
            Arg::I64(_) => Type::I64,
            Arg::I32(_) => Type::I32,
            Arg::F32(_) => Type::F32,
        }
    }

    /// The argument as a 64-bit slot of the calling convention: `I32` and `F32` in the low half.
    pub fn slot(self) -> u64 {
        match self {
            Arg::Ptr(p) => p,
            Arg::I64(v) => v as u64,
            Arg::I32(v) => u64::from(v as u32),
            Arg::F32(v) => u64::from(v.to_bits()),
        }
    }
}

/// Why a run stopped before its end. Instructions are given as printed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum Trap {
    /// The kernel does not verify.
    #[error(transparent)]
    Invalid(#[from] VerifyError),
    /// The number of arguments is not that of the parameters.
    #[error("kernel @{kernel} takes {expected} arguments, not {got}")]
    ArgCount {
        /// Name of the kernel.
        kernel: String,
        /// Number of parameters.
        expected: usize,
        /// Number of arguments.
        got: usize,
    },
    /// An argument has the wrong type.
    #[error("parameter `{param}` of kernel @{kernel} is {expected}, not {got}")]
    ArgType {
        /// Name of the kernel.
        kernel: String,
        /// Name of the parameter.
        param: String,
        /// Type of the parameter.
        expected: Type,
        /// Type of the argument.
        got: Type,
    },
    /// A bad access to memory.
    #[error("kernel @{kernel}, instruction {index} `{inst}`: {fault}")]
    Memory {
        /// Name of the kernel.
        kernel: String,
        /// The instruction, its first line.
        inst: String,
        /// Its position, counted from 0, outer before inner.
        index: usize,
        /// What is wrong.
        fault: Fault,
    },
    /// Undefined integer arithmetic: division by zero, the smallest integer divided by -1, or a loop counter that overflows.
    #[error("kernel @{kernel}, instruction {index} `{inst}`: undefined arithmetic")]
    Undefined {
        /// Name of the kernel.
        kernel: String,
        /// The instruction, its first line.
        inst: String,
        /// Its position, counted from 0, outer before inner.
        index: usize,
    },
    /// The run took more steps than it was given.
    #[error("kernel @{kernel} ran out of fuel")]
    OutOfFuel {
        /// Name of the kernel.
        kernel: String,
    },
}

/// Steps that [`run`] grants: some minutes at most.
pub const DEFAULT_FUEL: u64 = 1 << 32;

/// Runs a kernel over the work units `[begin, end)` and gives its status.
///
/// # Errors
/// [`Trap`] where the kernel does not verify, the arguments do not match, or something undefined happens. Stores made before that stay.
pub fn run(kernel: &Kernel, args: &[Arg], memory: &mut Memory<'_>, begin: i64, end: i64) -> Result<i32, Trap> {
    Program::new(kernel)?.run(args, memory, begin, end)
}

#[cfg(test)]
mod tests;
