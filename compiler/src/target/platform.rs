//! Operating systems, object formats, and the names under which platforms are asked for.
//!
//! A platform is a processor family with an operating system. It has a short name (`aarch64-android`); full target triples of it are
//! understood as well, whatever their vendor and environment.

use super::Arch;
use std::fmt;

/// Operating system that code is made for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Os {
    /// Linux, any C library.
    Linux,
    /// Android.
    Android,
    /// Windows.
    Windows,
    /// macOS.
    MacOs,
    /// iOS on devices.
    Ios,
    /// None: bare metal.
    None,
    /// Whatever WebAssembly is embedded in.
    Web,
}

/// Object file format.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Format {
    /// ELF.
    Elf,
    /// COFF.
    Coff,
    /// Mach-O.
    MachO,
    /// WebAssembly modules, which are no objects.
    Wasm,
}

impl Os {
    /// Its object format.
    pub const fn format(self) -> Format {
        match self {
            Os::Linux | Os::Android | Os::None => Format::Elf,
            Os::Windows => Format::Coff,
            Os::MacOs | Os::Ios => Format::MachO,
            Os::Web => Format::Wasm,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Elf => "ELF",
            Format::Coff => "COFF",
            Format::MachO => "Mach-O",
            Format::Wasm => "WebAssembly",
        })
    }
}

/// A processor family with an operating system.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Platform {
    /// Instruction-set family.
    pub arch: Arch,
    /// Operating system.
    pub os: Os,
}

/// Short name, platform, full triple.
const PLATFORMS: &[(&str, Platform, &str)] = &[
    ("x86_64-linux", Platform { arch: Arch::X86_64, os: Os::Linux }, "x86_64-unknown-linux-gnu"),
    ("x86_64-windows", Platform { arch: Arch::X86_64, os: Os::Windows }, "x86_64-pc-windows-msvc"),
    ("x86_64-macos", Platform { arch: Arch::X86_64, os: Os::MacOs }, "x86_64-apple-darwin"),
    ("x86_64-none", Platform { arch: Arch::X86_64, os: Os::None }, "x86_64-unknown-none"),
    ("aarch64-linux", Platform { arch: Arch::Aarch64, os: Os::Linux }, "aarch64-unknown-linux-gnu"),
    ("aarch64-android", Platform { arch: Arch::Aarch64, os: Os::Android }, "aarch64-linux-android"),
    ("aarch64-macos", Platform { arch: Arch::Aarch64, os: Os::MacOs }, "aarch64-apple-darwin"),
    ("aarch64-ios", Platform { arch: Arch::Aarch64, os: Os::Ios }, "aarch64-apple-ios"),
    ("aarch64-none", Platform { arch: Arch::Aarch64, os: Os::None }, "aarch64-unknown-none"),
    ("riscv64-linux", Platform { arch: Arch::Riscv64, os: Os::Linux }, "riscv64gc-unknown-linux-gnu"),
    ("riscv64-none", Platform { arch: Arch::Riscv64, os: Os::None }, "riscv64gc-unknown-none-elf"),
    ("wasm32", Platform { arch: Arch::Wasm32, os: Os::Web }, "wasm32-unknown-unknown"),
];

impl Platform {
    /// All platforms.
    pub fn all() -> impl Iterator<Item = Platform> {
        PLATFORMS.iter().map(|row| row.1)
    }

    /// The platform with a short name or a full target triple.
    ///
    /// # Errors
    /// A message that lists the short names.
    pub fn parse(text: &str) -> Result<Platform, String> {
        let by_name = PLATFORMS.iter().find(|row| row.0 == text || row.2 == text).map(|row| row.1);
        by_name.or_else(|| from_triple(text)).ok_or_else(|| {
            let known: Vec<&str> = PLATFORMS.iter().map(|row| row.0).collect();
            format!("unknown target {text:?}; known are host, {}, and full triples of them", known.join(", "))
        })
    }

    /// Short name.
    pub fn name(self) -> &'static str {
        PLATFORMS.iter().find(|row| row.1 == self).map_or("unknown", |row| row.0)
    }

    /// Full target triple, the most common one.
    pub fn triple(self) -> &'static str {
        PLATFORMS.iter().find(|row| row.1 == self).map_or("unknown", |row| row.2)
    }
}

fn from_triple(text: &str) -> Option<Platform> {
    use target_lexicon::{Architecture, Environment, OperatingSystem, Triple};
    let triple: Triple = text.parse().ok()?;
    let arch = match triple.architecture {
        Architecture::X86_64 => Arch::X86_64,
        Architecture::Aarch64(_) => Arch::Aarch64,
        Architecture::Riscv64(_) => Arch::Riscv64,
        Architecture::Wasm32 => Arch::Wasm32,
        _ => return None,
    };
    let os = match (triple.operating_system, triple.environment) {
        (OperatingSystem::Linux, Environment::Android) => Os::Android,
        (OperatingSystem::Linux, _) => Os::Linux,
        (OperatingSystem::Windows, _) => Os::Windows,
        (OperatingSystem::Darwin(_) | OperatingSystem::MacOSX(_), _) => Os::MacOs,
        (OperatingSystem::IOS(_), Environment::Sim | Environment::Macabi) => return None,
        (OperatingSystem::IOS(_), _) => Os::Ios,
        (OperatingSystem::Unknown, _) if arch == Arch::Wasm32 => Os::Web,
        (OperatingSystem::None_, _) => Os::None,
        _ => return None,
    };
    let platform = Platform { arch, os };
    PLATFORMS.iter().any(|row| row.1 == platform).then_some(platform)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_triples_are_understood() {
        for platform in Platform::all() {
            assert_eq!(Platform::parse(platform.name()), Ok(platform));
            assert_eq!(Platform::parse(platform.triple()), Ok(platform));
            assert_eq!(from_triple(platform.triple()), Some(platform), "{}", platform.triple());
        }
        for (triple, name) in [
            ("x86_64-pc-windows-gnu", "x86_64-windows"),
            ("x86_64-unknown-linux-musl", "x86_64-linux"),
            ("aarch64-unknown-none-softfloat", "aarch64-none"),
            ("aarch64-linux-android", "aarch64-android"),
        ] {
            assert_eq!(Platform::parse(triple).map(Platform::name), Ok(name), "{triple}");
        }
        for unknown in ["", "sparc64-unknown-linux-gnu", "riscv64-windows", "aarch64-apple-ios-sim", "x86_64"] {
            let message = Platform::parse(unknown).expect_err(unknown);
            assert!(message.contains("aarch64-android"), "{message}");
        }
    }
}
