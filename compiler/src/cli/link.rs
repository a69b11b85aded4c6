//! Shared libraries: finds a linker for the platform and runs it.
//!
//! Linkers are C compilers, which know where their platform's files are. One of the user's choice comes first; else the platform's usual
//! ones are tried in order.

use crate::artifact::{Library, object};
use crate::target::{Arch, Os, Platform};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::{Command, Stdio};

/// File name of a shared library.
pub fn shared_name(library: &Library) -> String {
    match library.platform.os {
        Os::Windows => format!("{}.dll", library.name),
        Os::MacOs | Os::Ios => format!("lib{}.dylib", library.name),
        _ => format!("lib{}.so", library.name),
    }
}

/// Commands that may link for a platform, the most usual first.
fn linkers(platform: Platform, host: Platform) -> Vec<Vec<String>> {
    let command = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<String>>();
    let mut all = vec![];
    if platform == host {
        all.push(command(&["cc"]));
    }
    let (gnu, zig) = match (platform.arch, platform.os) {
        (Arch::X86_64, Os::Linux) => (Some("x86_64-linux-gnu-gcc"), Some("x86_64-linux-musl")),
        (Arch::X86_64, Os::Windows) => (Some("x86_64-w64-mingw32-gcc"), Some("x86_64-windows-gnu")),
        (Arch::X86_64, Os::MacOs) => (None, Some("x86_64-macos")),
        (Arch::Aarch64, Os::Linux) => (Some("aarch64-linux-gnu-gcc"), Some("aarch64-linux-musl")),
        // The code calls nothing but getauxval, which every C library of Linux has.
        (Arch::Aarch64, Os::Android) => (Some("aarch64-linux-android21-clang"), Some("aarch64-linux-musl")),
        (Arch::Aarch64, Os::MacOs) => (None, Some("aarch64-macos")),
        (Arch::Riscv64, Os::Linux) => (Some("riscv64-linux-gnu-gcc"), Some("riscv64-linux-musl")),
        _ => (None, None),
    };
    all.extend(gnu.map(|g| command(&[g])));
    for zig in zig.iter() {
        all.push(command(&["zig", "cc", "-target", zig]));
        all.push(command(&["python3", "-m", "ziglang", "cc", "-target", zig]));
    }
    all
}

/// Arguments that make a shared library of one object.
fn arguments(library: &Library, object: &Path, exports: &Path, out: &Path) -> Vec<String> {
    let text = |p: &Path| p.display().to_string();
    let mut args = vec!["-shared".to_string(), "-o".into(), text(out), text(object)];
    match library.platform.os {
        Os::Windows => args.push(text(exports)),
        Os::MacOs | Os::Ios => args.push(format!("-Wl,-install_name,@rpath/{}", shared_name(library))),
        _ => args.extend([
            "-nostdlib".into(),
            format!("-Wl,-soname,{}", shared_name(library)),
            "-Wl,--build-id=none".into(),
            "-Wl,-z,noexecstack".into(),
        ]),
    }
    // `getauxval` of models that choose by it.
    if library.platform.os == Os::Linux || library.platform.os == Os::Android {
        args.push("-lc".into());
    }
    args
}

/// Whether a command can be started at all.
fn exists(words: &[String]) -> bool {
    let mut probe = Command::new(&words[0]);
    // The module of a Python that lacks it fails, too.
    let asks: &[String] = if words[0] == "python3" { &words[1..3] } else { &[] };
    probe.args(asks).arg(if words.contains(&"cc".to_string()) && words.len() > 1 { "version" } else { "--version" });
    probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Links the library into a shared one at `out`.
///
/// # Errors
/// Where there is no linker, with a hint, or the linker fails, with what it said.
pub fn link(library: &Library, chosen: Option<&str>, host: Platform, out: &Path) -> Result<()> {
    let platform = library.platform;
    if platform.os == Os::None {
        bail!("{} has no shared libraries; use --emit obj,staticlib", platform.name());
    }
    let linker: Vec<String> = match chosen {
        Some(words) => words.split_whitespace().map(str::to_string).collect(),
        None => match linkers(platform, host).into_iter().find(|w| exists(w)) {
            Some(words) => words,
            None => bail!("{}", hint(platform, host)),
        },
    };
    let Some((program, first)) = linker.split_first() else { bail!("--linker names no command") };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    // Always the same names: some linkers write them into their output.
    let (object_path, exports) = (folder.path().join("model.o"), folder.path().join("model.def"));
    std::fs::write(&object_path, object(library)?).context("cannot write the object to be linked")?;
    std::fs::write(&exports, format!("EXPORTS\n    {}\n", library.model_symbol())).context("cannot write the list of exports")?;
    let made = folder.path().join("out");
    let result = Command::new(program).args(first).args(arguments(library, &object_path, &exports, &made)).stdin(Stdio::null()).output();
    let output = result.with_context(|| format!("cannot start the linker {}", linker.join(" ")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let said = if said.trim().is_empty() { "it said nothing" } else { said.trim() };
        bail!("the linker {} failed ({}): {said}", linker.join(" "), output.status);
    }
    let linked = std::fs::read(&made).with_context(|| format!("the linker {} wrote nothing", linker.join(" ")))?;
    std::fs::write(out, linked).with_context(|| format!("cannot write {}", shared_name(library)))?;
    Ok(())
}

fn hint(platform: Platform, host: Platform) -> String {
    let tried: Vec<String> = linkers(platform, host).iter().map(|w| w.join(" ")).collect();
    let name = platform.name();
    let Some(last) = tried.last() else {
        // Apple's tools alone have the libraries of iOS.
        return format!(
            "no linker for {name} is looked for; name one with --linker (on a Mac \"xcrun -sdk iphoneos clang -arch arm64\"), or link the static \
             library yourself: --emit staticlib"
        );
    };
    format!(
        "there is no linker for {name} here (tried {}); install one of them (`pip install ziglang` brings `{last}`), name one with --linker, or \
         link the static library yourself: --emit staticlib",
        tried.join("; ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_platform_without_a_linker_gets_a_hint() {
        let host = Platform { arch: Arch::X86_64, os: Os::Linux };
        let text = hint(Platform { arch: Arch::Aarch64, os: Os::Ios }, host);
        assert!(text.contains("aarch64-ios") && text.contains("--linker (on a Mac") && text.contains("--emit staticlib"), "{text}");
        let text = hint(Platform { arch: Arch::Riscv64, os: Os::Linux }, host);
        assert!(text.contains("riscv64-linux-gnu-gcc") && text.contains("ziglang"), "{text}");
    }
}
