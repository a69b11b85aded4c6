//! Runs compiled models by their C interface in a process of their own: on this machine, under qemu, or under Wine.
//!
//! Takes a [`Library`] and inputs; gives the outputs' bytes. The program that runs them is C, compiled with warnings as errors against
//! the header that users get.

use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use tflc::artifact::{Library, Weights, object};

/// Machine that a library runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    /// This one, x86-64 Linux; the library is loaded with `dlopen`.
    Shared,
    /// This one; the library is linked into the program.
    Native,
    /// AArch64 Linux under `qemu-aarch64`, with a processor model.
    Aarch64(&'static str),
    /// RISC-V Linux under `qemu-riscv64`, with a processor model.
    Riscv64(&'static str),
    /// x86-64 Windows under Wine.
    Windows,
}

/// A RISC-V processor without vectors.
pub const RV64GC: &str = "rv64,v=false,zba=false,zbb=false,zbc=false,zbs=false";

/// A RISC-V processor with vectors of 128 bits.
pub const RV64GCV: &str = "rv64,v=true,vlen=128,vext_spec=v1.0";

/// The compiler of C for a machine, the arguments that come before all others.
pub fn compiler(machine: Machine) -> (&'static str, &'static [&'static str]) {
    match machine {
        Machine::Shared | Machine::Native => ("cc", &[]),
        Machine::Aarch64(_) => ("aarch64-linux-gnu-gcc", &["-static"]),
        Machine::Riscv64(_) => ("riscv64-linux-gnu-gcc", &["-static"]),
        Machine::Windows => ("python3", &["-m", "ziglang", "cc", "-target", "x86_64-windows-gnu"]),
    }
}

/// What starts a machine's programs.
pub fn emulator(machine: Machine) -> Vec<String> {
    let words = |w: &[&str]| w.iter().map(ToString::to_string).collect();
    match machine {
        Machine::Shared | Machine::Native => vec![],
        Machine::Aarch64(cpu) => words(&["qemu-aarch64", "-cpu", cpu]),
        Machine::Riscv64(cpu) => words(&["qemu-riscv64", "-cpu", cpu]),
        // Debian keeps the program off the path.
        Machine::Windows => words(&[if Path::new("/usr/lib/wine/wine64").exists() { "/usr/lib/wine/wine64" } else { "wine64" }]),
    }
}

/// A folder that is removed with it.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A fresh folder.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn new() -> Result<Folder> {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tflc-models-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Folder with `tflc.h`.
pub fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../runtime-min/include")
}

/// Runs a command; gives its standard output.
///
/// # Errors
/// Where it cannot be started or fails, with what it said.
pub fn run(command: &mut Command) -> Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Ok(output.stdout)
}

/// Compiles programs for one machine and runs them.
#[derive(Debug)]
pub struct Runner {
    machine: Machine,
    folder: Folder,
    /// The program that loads shared libraries.
    loader: Option<PathBuf>,
}

impl Runner {
    /// A runner, or the reason why there is none here.
    ///
    /// # Errors
    /// Where a compiler or emulator is missing.
    pub fn new(machine: Machine) -> Result<Runner> {
        let (program, first) = compiler(machine);
        let version = if machine == Machine::Windows { &["-m", "ziglang", "version"][..] } else { &["--version"][..] };
        let _ = first;
        run(Command::new(program).args(version)).context("the compiler of C")?;
        let folder = Folder::new()?;
        if let [emulator, ..] = &emulator(machine)[..] {
            run(Command::new(emulator).arg("--version").envs(wine(folder.path()))).context("the emulator")?;
        }
        let mut runner = Runner { machine, folder, loader: None };
        if machine == Machine::Shared {
            runner.loader = Some(runner.compile("loader", &["-DTFLC_DLOPEN", "-ldl"], &[])?);
        }
        Ok(runner)
    }

    fn compile(&self, name: &str, arguments: &[&str], objects: &[&Path]) -> Result<PathBuf> {
        let (program, first) = compiler(self.machine);
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/model_runner/runner.c");
        let out = self.folder.path().join(format!("{name}.exe"));
        let mut command = Command::new(program);
        command.args(first).args(["-std=c99", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-O1", "-o"]).arg(&out);
        run(command.arg(format!("-I{}", include().display())).arg(source).args(objects).args(arguments)).context("compiling the runner")?;
        Ok(out)
    }

    /// Outputs of a run, one buffer each, given their sizes.
    ///
    /// # Errors
    /// Where linking or running fails, or the run ends with a status.
    pub fn run(&self, library: &Library, inputs: &[Vec<u8>], sizes: &[usize], pool: bool) -> Result<Vec<Vec<u8>>> {
        let path = |name: String| self.folder.path().join(name);
        let mut arguments = vec![];
        let program = if let Some(loader) = &self.loader {
            let shared = path(tflc::cli::link::shared_name(library));
            tflc::cli::link::link(library, None, tflc::jit::host_target().platform(), &shared)?;
            arguments = vec![shared.display().to_string(), library.model_symbol()];
            loader.clone()
        } else {
            let file = path(format!("{}.o", library.name));
            std::fs::write(&file, object(library)?)?;
            self.compile(library.name.as_str(), &[&format!("-DMODEL={}", library.model_symbol())], &[&file])?
        };
        let (given, got) = (path("inputs".into()), path("outputs".into()));
        let mut bytes = inputs.concat();
        if library.placement == Weights::Split {
            bytes.extend(&library.weights);
        }
        std::fs::write(&given, bytes)?;
        let mut words = emulator(self.machine);
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args([&given, &got]).arg(if pool { "1" } else { "0" }).args(arguments);
        run(command.envs(wine(self.folder.path())))?;
        let all = std::fs::read(&got)?;
        if all.len() != sizes.iter().sum::<usize>() {
            bail!("the outputs have {} bytes in all, not {}", all.len(), sizes.iter().sum::<usize>());
        }
        let mut rest = &all[..];
        Ok(sizes
            .iter()
            .map(|&n| {
                let (one, tail) = rest.split_at(n);
                rest = tail;
                one.to_vec()
            })
            .collect())
    }
}

/// Environment for Wine: a prefix of its own, its server's files in `folder` too, and no chatter. Other programs do not look at it.
fn wine(folder: &Path) -> [(&'static str, String); 3] {
    let path = |p: &Path| p.display().to_string();
    [("WINEPREFIX", path(&folder.join("wine"))), ("TMPDIR", path(folder)), ("WINEDEBUG", "-all".into())]
}
