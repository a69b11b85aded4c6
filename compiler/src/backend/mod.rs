//! kir to machine code, one folder per backend.
//!
//! Every backend gives position-independent bytes for one kernel, with the calling convention of [`tflc_kir::Kernel`].

pub mod cranelift;
pub mod image;
mod steps;
pub mod wasm;
pub mod x86;

pub use image::Image;
pub use steps::{ENTRY, entry_name};

use crate::lower::program::{Program, Recipe};
use crate::target::{Cpu, Os, Target, X86Level};
use image::Function;
use rayon::prelude::*;
use std::sync::{Mutex, PoisonError};
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
        Cpu::X86(X86Level::Baseline) | Cpu::Aarch64(_) | Cpu::Riscv64(_) => cranelift::compile(kernel, target),
        Cpu::X86(level) => x86::compile(kernel, level),
        Cpu::Wasm32 { relaxed } => Ok(Code { bytes: wasm::kernel_module(kernel, relaxed)?, align: 1 }),
    }
}

/// Builds, optimises and compiles all kernels of a program in parallel, generates the driver, and lays everything out.
///
/// # Errors
/// Where a backend refuses a kernel: a bug of a template or of the backend.
pub fn compile_program(program: &Program, target: &Target) -> Result<Image, BackendError> {
    place(&compile_functions(program, target)?)
}

/// Lays functions out as an image.
///
/// # Errors
/// Where one cannot reach another.
pub fn place(functions: &[Function]) -> Result<Image, BackendError> {
    Image::new(functions).map_err(|e| BackendError { kernel: "*".to_string(), reason: e.to_string() })
}

/// The functions of a program: its kernels, then the driver, whose entry is called [`ENTRY`].
///
/// # Errors
/// As [`compile_program`].
pub fn compile_functions(program: &Program, target: &Target) -> Result<Vec<Function>, BackendError> {
    let (kernels, driver) = rayon::join(
        || program.kernels.par_iter().enumerate().map(|(i, recipe)| compile_recipe(i, recipe, target)).collect::<Result<Vec<_>, _>>(),
        || driver(program, target),
    );
    let mut functions = kernels?;
    functions.extend(driver?);
    Ok(functions)
}

/// The functions that run a program, to be placed behind its kernels.
///
/// # Errors
/// Where a backend refuses the code: a bug.
pub fn driver(program: &Program, target: &Target) -> Result<Vec<Function>, BackendError> {
    match target.cpu {
        Cpu::X86(level) if level != X86Level::Baseline && target.os != Os::Windows => x86::driver(program),
        _ => cranelift::Compiler::new(target)?.driver(program),
    }
}

fn compile_recipe(index: usize, recipe: &Recipe, target: &Target) -> Result<Function, BackendError> {
    let mut kernel = (recipe.build)();
    if cfg!(debug_assertions) {
        tflc_kir::verify(&kernel).map_err(|e| BackendError { kernel: kernel.name.clone(), reason: e.to_string() })?;
    }
    match target.cpu {
        // This backend finds out itself what is needed.
        Cpu::X86(level) if level != X86Level::Baseline => tflc_kir::optimize_unswept(&mut kernel),
        _ => tflc_kir::optimize(&mut kernel),
    }
    let code = compile_kernel(&kernel, target)?;
    Ok(Function::new(format!("{}_{index}", kernel.name), code, vec![]))
}

/// Makes what the first kernel for a target would wait for. Compilations do it while they prepare the model; it changes no result.
pub fn warm_up(target: &Target) {
    if matches!(target.cpu, Cpu::X86(level) if level != X86Level::Baseline) {
        x86::warm_up();
    }
}

/// Kernels that are compiled one by one, by any thread, while others are still asked for.
#[derive(Debug)]
pub struct Pending {
    target: Target,
    /// What came of each kernel, by position.
    done: Mutex<Vec<Option<Result<Function, BackendError>>>>,
}

impl Pending {
    /// No kernels yet.
    pub fn new(target: &Target) -> Pending {
        Pending { target: target.clone(), done: Mutex::default() }
    }

    /// Compiles the kernel at a position of the program.
    pub fn compile(&self, index: usize, recipe: &Recipe) {
        let function = compile_recipe(index, recipe, &self.target);
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if done.len() <= index {
            done.resize_with(index + 1, || None);
        }
        done[index] = Some(function);
    }

    /// All kernels, which have been compiled by now, and the driver.
    ///
    /// # Errors
    /// As [`compile_program`].
    pub fn finish(self, driver: Vec<Function>) -> Result<Vec<Function>, BackendError> {
        let done = self.done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let missing = || BackendError { kernel: "*".into(), reason: "a kernel has not been compiled".into() };
        let mut functions = done.into_iter().map(|f| f.unwrap_or_else(|| Err(missing()))).collect::<Result<Vec<_>, _>>()?;
        functions.extend(driver);
        Ok(functions)
    }
}

/// Assembly text of a kernel's code.
///
/// # Errors
/// Where the target's backend cannot compile the kernel.
pub fn assembly_text(kernel: &Kernel, target: &Target) -> Result<String, BackendError> {
    match target.cpu {
        Cpu::X86(X86Level::Baseline) | Cpu::Aarch64(_) | Cpu::Riscv64(_) => cranelift::vcode_text(kernel, target),
        Cpu::X86(level) => Ok(x86::disassemble(&x86::compile(kernel, level)?)),
        Cpu::Wasm32 { .. } => Err(BackendError {
            kernel: kernel.name.clone(),
            reason: "WebAssembly modules have no assembly text here; use a tool such as wasm-tools print".into(),
        }),
    }
}
