//! What code is made for: processor family, feature level, operating system, as plain data.
//!
//! The library never asks which machine it runs on; the command line and the JIT do that once ([`crate::jit::host_target`]) and pass a [`Target`].

mod platform;

pub use platform::{Format, Os, Platform};

use crate::error::CompileError;
use std::fmt;
use tflc_kir::Caps;

/// Instruction-set family.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Arch {
    /// 64-bit x86.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit RISC-V.
    Riscv64,
    /// WebAssembly with 32-bit addresses.
    Wasm32,
}

/// Vector level of an x86-64 processor. Levels are not nested: a processor with AVX-512 may lack AVX-VNNI.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum X86Level {
    /// SSE2 only, through Cranelift.
    Baseline,
    /// AVX2, FMA, F16C, BMI, LZCNT (x86-64-v3).
    V3,
    /// x86-64-v3 with AVX-VNNI: dot products of bytes on 256 bits, without AVX-512.
    V3Vnni,
    /// AVX-512 F, BW, CD, DQ, VL (x86-64-v4).
    V4,
    /// x86-64-v4 with VNNI and VBMI.
    V4Vnni,
    /// The same with AMX: tiles, and their products of bytes and of bfloat16. On Linux only, where a process asks for the registers.
    V4Amx,
}

impl X86Level {
    /// Every level, each before those that are better where a processor has both.
    pub const ALL: [X86Level; 6] = [X86Level::Baseline, X86Level::V3, X86Level::V3Vnni, X86Level::V4, X86Level::V4Vnni, X86Level::V4Amx];

    /// Whether it has AVX-512: vectors of 512 bits, 32 vector registers, mask registers.
    pub const fn has_avx512(self) -> bool {
        matches!(self, X86Level::V4 | X86Level::V4Vnni | X86Level::V4Amx)
    }

    /// Whether it has dot products of four bytes (`vpdpbusd`), at the width of its vectors.
    pub const fn has_vnni(self) -> bool {
        matches!(self, X86Level::V3Vnni | X86Level::V4Vnni | X86Level::V4Amx)
    }

    /// Whether it permutes single bytes (AVX-512 VBMI).
    pub const fn has_vbmi(self) -> bool {
        matches!(self, X86Level::V4Vnni | X86Level::V4Amx)
    }
}

/// Vector level of an AArch64 processor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ArmLevel {
    /// Advanced SIMD only.
    Baseline,
    /// Arithmetic on halves, where [`Precision::F16`] asks for it (FEAT_FP16). All processors with the higher levels are known to have it.
    Fp16,
    /// Dot products of bytes: `sdot`, `udot` (FEAT_DotProd).
    Dotprod,
    /// Matrix products of bytes as well: `smmla` (FEAT_I8MM).
    I8mm,
}

/// Level of a RISC-V processor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RiscvLevel {
    /// RV64GC: no vectors; kernels are taken apart into scalars.
    Baseline,
    /// RV64GCV: the vector extension, registers of at least 128 bits.
    Vectors,
}

/// CPU features that code may use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Cpu {
    /// An x86-64 level.
    X86(X86Level),
    /// An AArch64 level.
    Aarch64(ArmLevel),
    /// A RISC-V level.
    Riscv64(RiscvLevel),
    /// WebAssembly with 128-bit vectors.
    Wasm32 {
        /// Relaxed SIMD may be used.
        relaxed: bool,
    },
}

/// What products of floats are computed in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Precision {
    /// binary32.
    #[default]
    F32,
    /// binary16, in convolutions and matrix products with constant weights; see `compiler/docs/numerics.md`.
    F16,
}

impl Precision {
    /// The precision called `f32` or `f16`.
    ///
    /// # Errors
    /// A message with the names that are known.
    pub fn parse(text: &str) -> Result<Precision, String> {
        let all = [Precision::F32, Precision::F16];
        all.into_iter().find(|p| p.to_string() == text).ok_or_else(|| "unknown precision; known are f32, f16".to_string())
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::F16 => "f16",
        })
    }
}

/// How long compiling may take.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Effort {
    /// Somebody waits for the first result.
    #[default]
    Quick,
    /// Compiled once and run often: a smaller arena is worth more kernels.
    Thorough,
}

/// Target of a compilation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// CPU features.
    pub cpu: Cpu,
    /// Operating system: it decides the calling convention towards C and the object format.
    pub os: Os,
    /// Arithmetic of floats; [`Target::check`] says whether the processor has it.
    pub precision: Precision,
    /// How long compiling may take. Results are the same.
    pub effort: Effort,
}

impl Target {
    /// Names that [`Target::parse_cpu`] accepts, with what they mean; of a family, each before those that are better where a processor has both.
    pub const CPU_NAMES: &[(&str, Cpu, &str)] = &[
        ("x86-64", Cpu::X86(X86Level::Baseline), "SSE2, any 64-bit x86"),
        ("x86-64-v3", Cpu::X86(X86Level::V3), "AVX2, FMA, F16C"),
        ("x86-64-v3+vnni", Cpu::X86(X86Level::V3Vnni), "x86-64-v3 with AVX-VNNI, for processors without AVX-512"),
        ("x86-64-v4", Cpu::X86(X86Level::V4), "AVX-512 F, BW, DQ, VL"),
        ("x86-64-v4+vnni", Cpu::X86(X86Level::V4Vnni), "x86-64-v4 with VNNI and VBMI"),
        ("x86-64-v4+amx", Cpu::X86(X86Level::V4Amx), "x86-64-v4+vnni with AMX for bytes and bfloat16 (Linux)"),
        ("aarch64", Cpu::Aarch64(ArmLevel::Baseline), "Advanced SIMD"),
        ("aarch64+fp16", Cpu::Aarch64(ArmLevel::Fp16), "Advanced SIMD with arithmetic on halves, which --precision f16 uses"),
        ("aarch64+dotprod", Cpu::Aarch64(ArmLevel::Dotprod), "Advanced SIMD with dot products"),
        ("aarch64+i8mm", Cpu::Aarch64(ArmLevel::I8mm), "Advanced SIMD with dot products and matrix products of bytes"),
        ("rv64gc", Cpu::Riscv64(RiscvLevel::Baseline), "no vectors, any 64-bit RISC-V with Linux"),
        ("rv64gcv", Cpu::Riscv64(RiscvLevel::Vectors), "vectors of at least 128 bits"),
        ("wasm32", Cpu::Wasm32 { relaxed: false }, "WebAssembly with 128-bit SIMD"),
        (
            "wasm32+relaxed-simd",
            Cpu::Wasm32 { relaxed: true },
            "WebAssembly with relaxed SIMD: fused multiply-add where the processor has it",
        ),
    ];

    /// A target with these CPU features, on Linux where there is a choice.
    pub const fn new(cpu: Cpu) -> Target {
        let os = if matches!(cpu, Cpu::Wasm32 { .. }) { Os::Web } else { Os::Linux };
        Target { cpu, os, precision: Precision::F32, effort: Effort::Quick }
    }

    /// A target with these CPU features and operating system.
    pub const fn on(cpu: Cpu, os: Os) -> Target {
        Target { cpu, os, precision: Precision::F32, effort: Effort::Quick }
    }

    /// The same with another arithmetic of floats.
    ///
    /// # Errors
    /// As [`Target::check`].
    pub fn with_precision(self, precision: Precision) -> Result<Target, CompileError> {
        let target = Target { precision, ..self };
        target.check()?;
        Ok(target)
    }

    /// The same, compiled ahead of time.
    pub const fn thorough(self) -> Target {
        Target { effort: Effort::Thorough, ..self }
    }

    /// Whether the processor has the arithmetic that is asked for, and the system its registers.
    ///
    /// # Errors
    /// `Target` where it has not; the message lists the levels that have.
    pub fn check(&self) -> Result<(), CompileError> {
        if !self.cpu.runs_on(self.os) {
            return Err(CompileError::Target(format!("{} is known on Linux only; use x86-64-v4+vnni", self.cpu)));
        }
        if self.precision == Precision::F32 || self.cpu.has_f16() {
            return Ok(());
        }
        let able: Vec<&str> = Self::CPU_NAMES.iter().filter(|row| row.1.has_f16()).map(|row| row.0).collect();
        Err(CompileError::Target(format!(
            "{} has no arithmetic on halves for precision f16; levels that have it: {}",
            self.cpu,
            able.join(", ")
        )))
    }

    /// The CPU called `name` in [`Target::CPU_NAMES`].
    pub fn parse_cpu(name: &str) -> Option<Cpu> {
        Self::CPU_NAMES.iter().find(|(n, ..)| *n == name).map(|(_, cpu, _)| *cpu)
    }

    /// Instruction-set family.
    pub fn arch(&self) -> Arch {
        self.cpu.arch()
    }

    /// Processor family and operating system.
    pub fn platform(&self) -> Platform {
        Platform { arch: self.arch(), os: self.os }
    }

    /// Whether the processor turns halves into floats: as it loads them (x86-64 with F16C), or in an instruction behind it (AArch64).
    pub fn widens_halves(&self) -> bool {
        match self.arch() {
            Arch::X86_64 => self.cpu != Cpu::X86(X86Level::Baseline),
            Arch::Aarch64 => true,
            Arch::Riscv64 | Arch::Wasm32 => false,
        }
    }

    /// What templates may use on this target.
    pub fn caps(&self) -> Caps {
        let f16 = self.precision == Precision::F16 && self.cpu.has_f16();
        let caps = match self.cpu {
            Cpu::X86(X86Level::Baseline) => Caps::x86_64_baseline(),
            Cpu::X86(X86Level::V3) => Caps::x86_64_v3(),
            Cpu::X86(X86Level::V3Vnni) => Caps::x86_64_v3_vnni(),
            Cpu::X86(X86Level::V4) => Caps::x86_64_v4(),
            Cpu::X86(X86Level::V4Vnni) => Caps::x86_64_v4_vnni(),
            Cpu::X86(X86Level::V4Amx) => Caps::x86_64_v4_amx(),
            Cpu::Aarch64(ArmLevel::Baseline | ArmLevel::Fp16) => Caps::aarch64(),
            Cpu::Aarch64(ArmLevel::Dotprod) => Caps::aarch64_dotprod(),
            Cpu::Aarch64(ArmLevel::I8mm) => Caps::aarch64_i8mm(),
            Cpu::Riscv64(RiscvLevel::Baseline) => Caps::riscv64(),
            Cpu::Riscv64(RiscvLevel::Vectors) => Caps::riscv64_vectors(),
            Cpu::Wasm32 { relaxed: false } => Caps::wasm32(),
            Cpu::Wasm32 { relaxed: true } => Caps::wasm32_relaxed(),
        };
        Caps { f16, ..caps }
    }
}

impl Cpu {
    /// Instruction-set family.
    pub const fn arch(self) -> Arch {
        match self {
            Cpu::X86(_) => Arch::X86_64,
            Cpu::Aarch64(_) => Arch::Aarch64,
            Cpu::Riscv64(_) => Arch::Riscv64,
            Cpu::Wasm32 { .. } => Arch::Wasm32,
        }
    }

    /// Whether kernels may compute with halves.
    pub const fn has_f16(self) -> bool {
        matches!(self, Cpu::Aarch64(ArmLevel::Fp16 | ArmLevel::Dotprod | ArmLevel::I8mm))
    }

    /// A CPU of a family as the command line names it: a name of [`Target::CPU_NAMES`], `baseline`, or features to add to the baseline,
    /// such as `+dotprod`. Nothing where the family has no such CPU.
    pub fn parse_for(arch: Arch, text: &str) -> Option<Cpu> {
        let of_family = || Target::CPU_NAMES.iter().filter(|row| row.1.arch() == arch);
        let (baseline, ..) = of_family().next()?;
        let name = match text {
            "baseline" => baseline.to_string(),
            features if features.starts_with('+') => format!("{baseline}{features}"),
            name => name.to_string(),
        };
        // RISC-V names have their letters side by side.
        of_family().find(|row| row.0 == name || (arch == Arch::Riscv64 && row.0 == name.replace('+', ""))).map(|row| row.1)
    }

    /// Whether an operating system is known to keep all of its registers.
    pub fn runs_on(self, os: Os) -> bool {
        self != Cpu::X86(X86Level::V4Amx) || os == Os::Linux
    }

    /// Names of the CPUs of a platform, the baseline first.
    pub fn names(platform: Platform) -> Vec<&'static str> {
        Target::CPU_NAMES.iter().filter(|row| row.1.arch() == platform.arch && row.1.runs_on(platform.os)).map(|row| row.0).collect()
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Target::CPU_NAMES.iter().find(|(_, cpu, _)| cpu == self).map_or("unknown", |(n, ..)| n);
        f.write_str(name)
    }
}
