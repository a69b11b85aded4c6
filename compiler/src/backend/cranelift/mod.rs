//! kir to machine code through Cranelift: x86-64 with SSE2 only, AArch64, and RISC-V, with vectors and without.
//!
//! Takes any verified kernel whose register types the target has: scalars, vectors of exactly 16 bytes and their masks. Gives
//! position-independent bytes: constants lie behind the instructions and no relocation is left, because whatever Cranelift would
//! hand to a library function (rounding, byte shuffles on SSE2) is written out here. Only the driver calls, and only functions
//! of its own image. Wider vectors belong to the x86 backend. Without vectors, a kernel is taken apart into scalars first.
//!
//! How a template gets the best AArch64 code:
//! - `fma(splat(x), v, acc)`, with `x` a scalar load (or `load_splat`), becomes `fmla v.4s, v.4s, v.s[0]` in place: the splat
//!   vanishes as long as each of its users is an `fma`.
//! - `fma(splat(extract_lane(a, i)), v, acc)` becomes `fmla v.4s, v.4s, v.s[i]`: load four values of A at once.
//! - `dot4.ss` and `dot4.uu` are one `sdot` or `udot` with the dot product extension, by element where a factor is `load_splat` or
//!   `splat(extract_lane(a, i))` of 32-bit lanes and bit casts of it; `dot4.us` takes three, or one with the matrix product extension.
//! - `mmla` is one instruction with that extension. Of these only `sdot` and `usdot` of whole vectors are Cranelift's: see `stand_in`.

mod arith;
mod control;
mod convert;
mod driver;
mod emit;
mod entry;
mod function;
mod lanes;
mod memory;
mod multiply;
mod share;
mod shift;
mod shuffle;
mod stand_in;
mod store;

pub use entry::{Choice, WeightsAt};

use super::{BackendError, Code};
use crate::target::{Arch, ArmLevel, Cpu, RiscvLevel, Target};
use cranelift_codegen::Context;
use cranelift_codegen::control::ControlPlane;
use cranelift_codegen::isa::{self, OwnedTargetIsa};
use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::FunctionBuilderContext;
use emit::Family;
use function::Conventions;
use stand_in::StandIn;
use tflc_kir::Kernel;

/// Alignment of a function in bytes: a cache line, so that short loops stay in few fetch blocks.
const FUNCTION_ALIGN: u32 = 64;

/// Compiles kernels for one target, reusing Cranelift's target description and working memory.
pub struct Compiler {
    isa: OwnedTargetIsa,
    family: Family,
    conventions: Conventions,
    context: Context,
    frontend: FunctionBuilderContext,
    /// What the multiply-adds of the function in `context` stand for.
    stand_ins: Vec<&'static StandIn>,
}

impl Compiler {
    /// A compiler for a target. Every x86-64 target counts as baseline here.
    ///
    /// # Errors
    /// Where Cranelift refuses the target.
    pub fn new(target: &Target) -> Result<Compiler, BackendError> {
        let family = match target.cpu {
            Cpu::X86(_) => Family::Sse2,
            Cpu::Aarch64(level) => Family::Neon(level),
            Cpu::Riscv64(level) => Family::Riscv(level),
            Cpu::Wasm32 { .. } => {
                return Err(BackendError { kernel: "*".into(), reason: "WebAssembly has a backend of its own".into() });
            }
        };
        let isa = build_isa(target, family).map_err(|reason| BackendError { kernel: "*".into(), reason })?;
        let conventions = Conventions::of(target);
        Ok(Compiler { isa, family, conventions, context: Context::new(), frontend: FunctionBuilderContext::new(), stand_ins: vec![] })
    }

    /// Machine code of a kernel.
    ///
    /// # Errors
    /// Where the kernel uses a type or an operator that the target lacks.
    pub fn compile(&mut self, kernel: &Kernel) -> Result<Code, BackendError> {
        self.build(kernel)?;
        Ok(self.finish(&kernel.name)?.0)
    }

    /// Cranelift's intermediate form of a kernel, before optimisation.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn clif_text(&mut self, kernel: &Kernel) -> Result<String, BackendError> {
        self.build(kernel)?;
        Ok(self.context.func.display().to_string())
    }

    /// Instructions of a kernel after register allocation, in Cranelift's assembly notation.
    ///
    /// # Errors
    /// As [`Compiler::compile`].
    pub fn vcode_text(&mut self, kernel: &Kernel) -> Result<String, BackendError> {
        self.build(kernel)?;
        self.context.set_disasm(true);
        let (_, replaced) = self.finish(&kernel.name)?;
        let listing = self.context.compiled_code().and_then(|c| Some(stand_in::rename(c.vcode.as_ref()?, c.buffer.data(), &replaced)));
        Ok(listing.unwrap_or_default())
    }

    fn build(&mut self, kernel: &Kernel) -> Result<(), BackendError> {
        self.context.clear();
        let scalar = match self.family {
            Family::Riscv(RiscvLevel::Baseline) => Some(self.without_vectors(kernel)?),
            _ => None,
        };
        let kernel = scalar.as_ref().unwrap_or(kernel);
        // An error leaves the builder's context half filled; a fresh one costs nothing on that path.
        let mut frontend = std::mem::take(&mut self.frontend);
        self.stand_ins = emit::emit_kernel(kernel, self.family, &*self.isa, &mut self.context.func, &mut frontend)
            .map_err(|reason| BackendError { kernel: kernel.name.clone(), reason })?;
        self.frontend = frontend;
        Ok(())
    }

    /// The kernel in scalars, with what the lanes have in common computed once.
    fn without_vectors(&self, kernel: &Kernel) -> Result<Kernel, BackendError> {
        let mut scalar = tflc_kir::scalarize(kernel).map_err(|reason| BackendError { kernel: kernel.name.clone(), reason })?;
        tflc_kir::optimize(&mut scalar);
        Ok(scalar)
    }

    /// Machine code, and where an instruction has taken the place of its stand-in.
    fn finish(&mut self, name: &str) -> Result<(Code, Vec<(usize, &'static StandIn)>), BackendError> {
        let error = |reason: String| BackendError { kernel: name.into(), reason };
        let compiled = self
            .context
            .compile(&*self.isa, &mut ControlPlane::default())
            .map_err(|e| error(cranelift_codegen::print_errors::pretty_error(e.func, e.inner)))?;
        if let Some(r) = compiled.buffer.relocs().first() {
            return Err(error(format!("relocation left at {}: {:?} {:?}", r.offset, r.kind, r.target)));
        }
        let align = compiled.buffer.alignment.max(FUNCTION_ALIGN);
        let mut bytes = compiled.buffer.data().to_vec();
        let replaced = stand_in::replace(&mut bytes, compiled.buffer.get_srclocs_sorted(), &self.stand_ins).map_err(error)?;
        Ok((Code { bytes, align }, replaced))
    }
}

impl std::fmt::Debug for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compiler").field("family", &self.family).finish_non_exhaustive()
    }
}

/// Machine code of one kernel; where there are several, a [`Compiler`] is cheaper.
///
/// # Errors
/// As [`Compiler::compile`].
pub fn compile(kernel: &Kernel, target: &Target) -> Result<Code, BackendError> {
    Compiler::new(target)?.compile(kernel)
}

/// Cranelift's intermediate form of a kernel, for `--emit clif`.
///
/// # Errors
/// As [`Compiler::compile`].
pub fn clif_text(kernel: &Kernel, target: &Target) -> Result<String, BackendError> {
    Compiler::new(target)?.clif_text(kernel)
}

/// Instructions of a kernel in Cranelift's assembly notation, for tests and `--emit asm`.
///
/// # Errors
/// As [`Compiler::compile`].
pub fn vcode_text(kernel: &Kernel, target: &Target) -> Result<String, BackendError> {
    Compiler::new(target)?.vcode_text(kernel)
}

fn build_isa(target: &Target, family: Family) -> Result<OwnedTargetIsa, String> {
    let mut flags = settings::builder();
    let verifier = if cfg!(debug_assertions) { "true" } else { "false" };
    for (name, value) in [
        // See `emit`: the order of the kernel is kept.
        ("opt_level", "none"),
        ("enable_verifier", verifier),
        // References between functions of an image are relative and resolved when it is laid out.
        ("is_pic", "false"),
        ("unwind_info", "false"),
        // Scratch buffers may exceed a page: touch the pages in line, without a library function.
        ("enable_probestack", "true"),
        ("probestack_strategy", "inline"),
    ] {
        flags.set(name, value).map_err(|e| e.to_string())?;
    }
    let triple = match target.arch() {
        Arch::X86_64 => "x86_64-unknown-linux-gnu",
        Arch::Aarch64 => "aarch64-unknown-linux-gnu",
        Arch::Riscv64 => "riscv64gc-unknown-linux-gnu",
        Arch::Wasm32 => return Err("WebAssembly has a backend of its own".into()),
    };
    let mut builder = isa::lookup_by_name(triple).map_err(|e| e.to_string())?;
    match family {
        // Without a flag Cranelift assumes no more than SSE2.
        Family::Sse2 => {}
        Family::Riscv(level) => {
            // Instructions of 16 bits, the C of RV64GC, make a tenth less of scalar code; vector instructions have none.
            let features = if level == RiscvLevel::Vectors { ["has_v", "has_zvl128b"] } else { ["has_zca", "has_zcd"] };
            for feature in features {
                builder.enable(feature).map_err(|e| e.to_string())?;
            }
        }
        Family::Neon(level) => {
            for (feature, least) in [("has_dotprod", ArmLevel::Dotprod), ("has_i8mm", ArmLevel::I8mm)] {
                builder.set(feature, if level >= least { "true" } else { "false" }).map_err(|e| e.to_string())?;
            }
        }
    }
    builder.finish(settings::Flags::new(flags)).map_err(|e| e.to_string())
}
