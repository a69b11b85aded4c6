//! x86-64 with wide vectors: AVX2, AVX-VNNI, AVX-512, VNNI, AMX.
//!
//! A verified kernel goes through [`lower`] (machine instructions with virtual registers), [`regalloc`] (registers), [`emit`] (bytes with a
//! constant pool behind them). The result is position-independent, has no relocations and follows the calling convention of
//! [`tflc_kir::Kernel`]. Scheduling and loop transformations are left to the templates.

mod abi;
mod analysis;
mod constants;
mod disassemble;
mod driver;
mod emit;
mod encode;
mod features;
mod frame;
mod lower;
mod machine;
mod opcodes;
mod regalloc;
#[cfg(test)]
mod tests;

pub use abi::Abi;
pub use disassemble::disassemble;
pub use driver::driver;
pub use features::{AMX_LEAF7_EDX, AMX_XCR0, PERMISSION, feature_bit, features_function};

use super::{BackendError, Code};
use crate::target::X86Level;
use std::cell::RefCell;
use tflc_kir::Kernel;

/// What came of a compilation, for tests and reports.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Moves, loads and stores that the register allocator put into innermost loops.
    pub inner_loop_edits: usize,
    /// Loads from and stores to spill slots.
    pub spills: usize,
    /// Moves between registers.
    pub moves: usize,
    /// Machine instructions before register allocation.
    pub instructions: usize,
}

/// Compiles kernels one after another, reusing the memory of the register allocator.
pub struct Compiler {
    ctx: regalloc2::Ctx,
    abi: Abi,
}

impl Compiler {
    /// A compiler for a calling convention.
    pub fn new(abi: Abi) -> Compiler {
        Compiler { ctx: regalloc2::Ctx::default(), abi }
    }

    /// Compiles a verified kernel.
    ///
    /// # Errors
    /// Where the kernel uses a type that the level has no registers for, or `level` is the baseline.
    pub fn compile(&mut self, kernel: &Kernel, level: X86Level) -> Result<(Code, Stats), BackendError> {
        self.run(kernel, level).map_err(|reason| BackendError { kernel: kernel.name.clone(), reason })
    }

    fn run(&mut self, kernel: &Kernel, level: X86Level) -> Result<(Code, Stats), String> {
        let isa = lower::Isa { evex: level.has_avx512(), vnni: level.has_vnni(), vbmi: level.has_vbmi(), tiles: level == X86Level::V4Amx };
        if level == X86Level::Baseline {
            return Err("this backend needs AVX2".into());
        }
        let func = lower::lower(kernel, isa, self.abi)?;
        let line = regalloc::Line::new(&func);
        let env = regalloc::machine_env(self.abi, isa.evex);
        let out = regalloc::allocate(&line, &env, &mut self.ctx)?;
        let frame = frame::Frame::new(&func, &out, self.abi, isa.evex);
        let (code, edits) = emit::emit(&line, &out, &frame, isa.evex)?;
        let stats = Stats { inner_loop_edits: edits.inner, spills: edits.spills, moves: edits.moves, instructions: func.insts.len() };
        Ok((code, stats))
    }
}

thread_local! {
    static COMPILER: RefCell<Compiler> = RefCell::new(Compiler::new(Abi::SystemV));
}

/// Has the encoder make its tables, which takes as long as compiling a small kernel.
pub(super) fn warm_up() {
    let _ = iced_x86::Encoder::new(64);
}

/// Compiles a verified kernel for the System V calling convention.
///
/// # Errors
/// As [`Compiler::compile`].
pub fn compile(kernel: &Kernel, level: X86Level) -> Result<Code, BackendError> {
    compile_with_stats(kernel, level).map(|(code, _)| code)
}

/// As [`compile`], with what the register allocator did.
///
/// # Errors
/// As [`Compiler::compile`].
pub fn compile_with_stats(kernel: &Kernel, level: X86Level) -> Result<(Code, Stats), BackendError> {
    COMPILER.with_borrow_mut(|c| c.compile(kernel, level))
}
