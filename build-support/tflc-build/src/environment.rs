//! What cargo tells a build script.

use crate::BuildError;
use std::path::PathBuf;
use tflc::target::{Arch, ArmLevel, Cpu, Platform, RiscvLevel, X86Level};

/// Cargo's variables.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    /// Folder of the package.
    pub(crate) package: PathBuf,
    /// Folder for what is made.
    pub(crate) out: PathBuf,
    /// What is built for.
    pub(crate) platform: Platform,
    /// Processor features that the whole program may use, as `-C target-cpu` and `-C target-feature` set them.
    pub(crate) features: Vec<String>,
}

impl Environment {
    /// Reads them from the process.
    pub(crate) fn read() -> Result<Environment, BuildError> {
        let get = |name: &'static str| std::env::var(name).map_err(|_| BuildError::NotABuildScript(name));
        let platform = Platform::parse(&get("TARGET")?).map_err(BuildError::Target)?;
        if platform.arch == Arch::Wasm32 {
            let reason =
                "a Rust program for WebAssembly cannot link a compiled model; make a module with `tflc MODEL --target wasm32 -o OUT`";
            return Err(BuildError::Target(reason.to_string()));
        }
        Ok(Environment {
            package: get("CARGO_MANIFEST_DIR")?.into(),
            out: get("OUT_DIR")?.into(),
            platform,
            features: std::env::var("CARGO_CFG_TARGET_FEATURE").unwrap_or_default().split(',').map(str::to_string).collect(),
        })
    }

    /// The highest CPU level that the whole program is built for anyway.
    pub(crate) fn cpu(&self) -> Cpu {
        let has = |wanted: &[&str]| wanted.iter().all(|w| self.features.iter().any(|f| f == w));
        match self.platform.arch {
            Arch::X86_64 => {
                let v3 = has(&["avx2", "fma", "f16c", "bmi1", "bmi2", "lzcnt"]);
                let v4 = v3 && has(&["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"]);
                Cpu::X86(match (v3, v4) {
                    (_, true) if has(&["avx512vnni", "avx512vbmi"]) => X86Level::V4Vnni,
                    (_, true) => X86Level::V4,
                    (true, _) if has(&["avxvnni"]) => X86Level::V3Vnni,
                    (true, _) => X86Level::V3,
                    _ => X86Level::Baseline,
                })
            }
            Arch::Aarch64 => Cpu::Aarch64(match (has(&["dotprod"]), has(&["dotprod", "i8mm"])) {
                (_, true) => ArmLevel::I8mm,
                (true, _) => ArmLevel::Dotprod,
                _ if has(&["fp16"]) => ArmLevel::Fp16,
                _ => ArmLevel::Baseline,
            }),
            Arch::Riscv64 => Cpu::Riscv64(if has(&["v"]) { RiscvLevel::Vectors } else { RiscvLevel::Baseline }),
            Arch::Wasm32 => Cpu::Wasm32 { relaxed: has(&["relaxed-simd"]) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_the_program_give_the_level() {
        let with = |target: &str, features: &str| {
            let platform = Platform::parse(target).expect("known");
            let features = features.split(',').map(str::to_string).collect();
            Environment { package: PathBuf::new(), out: PathBuf::new(), platform, features }.cpu().to_string()
        };
        assert_eq!(with("x86_64-unknown-linux-gnu", "fxsr,sse,sse2"), "x86-64");
        assert_eq!(with("x86_64-pc-windows-msvc", "avx,avx2,bmi1,bmi2,f16c,fma,lzcnt,sse2"), "x86-64-v3");
        let v3 = "avx,avx2,bmi1,bmi2,f16c,fma,lzcnt,sse2";
        let v4 = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl";
        assert_eq!(with("x86_64-unknown-linux-gnu", &format!("{v3},avxvnni")), "x86-64-v3+vnni");
        assert_eq!(with("x86_64-unknown-linux-gnu", &format!("{v3},avxvnni,{v4}")), "x86-64-v4");
        assert_eq!(with("x86_64-unknown-linux-gnu", &format!("{v3},avxvnni,{v4},avx512vnni,avx512vbmi")), "x86-64-v4+vnni");
        assert_eq!(with("aarch64-apple-darwin", "neon,dotprod"), "aarch64+dotprod");
        assert_eq!(with("aarch64-linux-android", "neon,dotprod,i8mm"), "aarch64+i8mm");
        assert_eq!(with("aarch64-linux-android", "neon,i8mm"), "aarch64");
        assert_eq!(with("aarch64-linux-android", "neon,fp16"), "aarch64+fp16");
        assert_eq!(with("riscv64gc-unknown-linux-gnu", "a,c,d,f,m"), "rv64gc");
        assert_eq!(with("riscv64gc-unknown-linux-gnu", "a,c,d,f,m,v"), "rv64gcv");
    }
}
