//! Code in memory: the only module of this crate that runs what it generated.

pub mod buffer;
pub mod cache;
mod code;
pub mod custom;
pub mod error;
pub mod measure;
pub mod memory;
pub mod model;
mod names;
pub mod options;
mod queue;
mod source;

pub use cache::{Cache, CacheFile};
pub use custom::{CustomInput, CustomOperator, CustomOutput};
pub use error::JitError;
pub use model::Model;
pub use names::{entry_graph, named_shapes};
pub use options::Options;

#[cfg(target_arch = "riscv64")]
use crate::target::RiscvLevel;
#[cfg(target_arch = "x86_64")]
use crate::target::X86Level;
use crate::target::{Cpu, Os, Target};

/// The target that describes the processor this runs on.
pub fn host_target() -> Target {
    #[cfg(target_arch = "x86_64")]
    {
        let level = X86Level::ALL.into_iter().rev().find(|level| has(*level));
        Target::on(Cpu::X86(level.unwrap_or(X86Level::Baseline)), HOST_OS)
    }
    #[cfg(target_arch = "aarch64")]
    {
        let dotprod = std::arch::is_aarch64_feature_detected!("dotprod");
        let level = match (dotprod, dotprod && std::arch::is_aarch64_feature_detected!("i8mm")) {
            (_, true) => crate::target::ArmLevel::I8mm,
            (true, _) => crate::target::ArmLevel::Dotprod,
            _ if std::arch::is_aarch64_feature_detected!("fp16") => crate::target::ArmLevel::Fp16,
            _ => crate::target::ArmLevel::Baseline,
        };
        Target::on(Cpu::Aarch64(level), HOST_OS)
    }
    #[cfg(target_arch = "riscv64")]
    {
        let level = if std::arch::is_riscv_feature_detected!("v") { RiscvLevel::Vectors } else { RiscvLevel::Baseline };
        Target::on(Cpu::Riscv64(level), HOST_OS)
    }
}

/// Whether the processor has everything of a level, and the system saves its registers.
#[cfg(target_arch = "x86_64")]
fn has(level: X86Level) -> bool {
    match level {
        X86Level::Baseline => true,
        X86Level::V3 => {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
        }
        X86Level::V3Vnni => has(X86Level::V3) && is_x86_feature_detected!("avxvnni"),
        X86Level::V4 => {
            has(X86Level::V3)
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512cd")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
        }
        X86Level::V4Vnni => has(X86Level::V4) && is_x86_feature_detected!("avx512vnni") && is_x86_feature_detected!("avx512vbmi"),
        X86Level::V4Amx => has(X86Level::V4Vnni) && tiles(),
    }
}

/// Whether the processor has tiles (AMX) and Linux lets this process use them; asks for the permission.
#[cfg(target_arch = "x86_64")]
fn tiles() -> bool {
    use crate::backend::x86::{AMX_LEAF7_EDX, AMX_XCR0, PERMISSION};
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};
    #[target_feature(enable = "xsave")]
    fn saved() -> u64 {
        // SAFETY: the caller has seen that the processor has XSAVE and the system uses it.
        unsafe { _xgetbv(0) }
    }
    let has = HOST_OS == Os::Linux && __cpuid(0).eax >= 7 && __cpuid_count(7, 0).edx & AMX_LEAF7_EDX == AMX_LEAF7_EDX;
    // SAFETY: whoever asks has found AVX-512, whose registers the system saves by XSAVE.
    if !has || unsafe { saved() } & u64::from(AMX_XCR0) != u64::from(AMX_XCR0) {
        return false;
    }
    let [number, what, component] = PERMISSION.map(u64::from);
    let answer: i64;
    // SAFETY: the call changes what the system saves of this process's registers, and nothing in memory.
    unsafe {
        std::arch::asm!("syscall", inout("rax") number as i64 => answer, in("rdi") what, in("rsi") component, out("rcx") _, out("r11") _);
    }
    answer == 0
}

/// The operating system that this was built for.
const HOST_OS: Os = if cfg!(target_os = "windows") {
    Os::Windows
} else if cfg!(target_os = "macos") {
    Os::MacOs
} else if cfg!(target_os = "ios") {
    Os::Ios
} else if cfg!(target_os = "android") {
    Os::Android
} else {
    Os::Linux
};

/// Whether the processor that this runs on has everything that code for `target` uses.
pub fn runs_here(target: &Target) -> bool {
    if target.os != HOST_OS {
        return false;
    }
    #[cfg(target_arch = "x86_64")]
    if let Cpu::X86(wanted) = target.cpu {
        return has(wanted);
    }
    match (host_target().cpu, target.cpu) {
        (Cpu::Aarch64(host), Cpu::Aarch64(wanted)) => wanted <= host,
        (Cpu::Riscv64(host), Cpu::Riscv64(wanted)) => wanted <= host,
        _ => false,
    }
}
