//! Runs compiled kernels in a process of their own: on this processor, under an emulator, or as WebAssembly in Node.
//!
//! Takes machine code, buffers and argument slots; gives back status and buffers. The loader, a small C program that is compiled
//! on first use, puts guard pages around every buffer, so a kernel that strays by one byte dies with its case named. No unsafe code is needed here.

use anyhow::{Context, Result, bail};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An argument slot.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Slot {
    /// The address of a buffer, plus an offset in bytes.
    Buffer(usize, i64),
    /// 64 bits as they are.
    Value(u64),
}

/// What is called, and how.
#[derive(Clone, PartialEq, Debug)]
pub enum Entry {
    /// A kernel over a range of work units.
    Kernel(std::ops::Range<i64>),
    /// A model's `invoke`: the slots are weights, arena, state, inputs and outputs.
    Invoke {
        /// Offset in the code.
        offset: usize,
        /// How many of the slots are inputs.
        inputs: usize,
        /// Whether a pool is given, which runs tasks last to first.
        pool: bool,
    },
}

/// One call.
#[derive(Clone, Debug)]
pub struct Case {
    /// Machine code.
    pub code: Vec<u8>,
    /// Content of the buffers.
    pub buffers: Vec<Vec<u8>>,
    /// Argument slots.
    pub slots: Vec<Slot>,
    /// Entry point.
    pub entry: Entry,
}

/// What a call left behind.
#[derive(Clone, PartialEq, Debug)]
pub struct Outcome {
    /// Whether the call ran; not so where the emulator itself fails, see [`Runner::run`]: the rest means nothing then.
    pub ran: bool,
    /// Status that the kernel returned.
    pub status: i32,
    /// Content of the buffers.
    pub buffers: Vec<Vec<u8>>,
}

/// Processor that kernels run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    /// This one, x86-64.
    Native,
    /// x86-64 without anything newer than SSE2, under `qemu-x86_64`.
    Sse2,
    /// AArch64 with every extension, under `qemu-aarch64`.
    Aarch64,
    /// AArch64 as in a Cortex-A53: Advanced SIMD without dot products.
    CortexA53,
    /// AArch64 as in a Neoverse N1: with dot products and half-precision arithmetic.
    NeoverseN1,
    /// RISC-V without vectors (RV64GC), under `qemu-riscv64`.
    Riscv64,
    /// RISC-V with vectors of 128 bits.
    Riscv64V,
    /// WebAssembly in Node, with relaxed SIMD; kernels only.
    Wasm,
}

impl Machine {
    /// Emulator and its processor model.
    fn emulator(self) -> Option<(&'static str, &'static str)> {
        match self {
            Machine::Native | Machine::Wasm => None,
            Machine::Sse2 => Some(("qemu-x86_64", "qemu64,-pni,-cx16,-ssse3,-sse4.1,-sse4.2,-popcnt,-avx")),
            Machine::Aarch64 => Some(("qemu-aarch64", "max")),
            Machine::CortexA53 => Some(("qemu-aarch64", "cortex-a53")),
            Machine::NeoverseN1 => Some(("qemu-aarch64", "neoverse-n1")),
            Machine::Riscv64 => Some(("qemu-riscv64", "rv64,v=false,zba=false,zbb=false,zbc=false,zbs=false")),
            Machine::Riscv64V => Some(("qemu-riscv64", "rv64,v=true,vlen=128,vext_spec=v1.0")),
        }
    }
}

impl Machine {
    /// The case with code that returns 0 at once.
    fn idle(self, case: &Case) -> Option<Case> {
        let words: [u8; 8] = match self {
            // mov w0, 0; ret
            Machine::Aarch64 | Machine::CortexA53 | Machine::NeoverseN1 => [0x00, 0x00, 0x80, 0x52, 0xc0, 0x03, 0x5f, 0xd6],
            // li a0, 0; ret; nop; nop
            Machine::Riscv64 | Machine::Riscv64V => [0x01, 0x45, 0x82, 0x80, 0x01, 0x00, 0x01, 0x00],
            Machine::Native | Machine::Sse2 | Machine::Wasm => return None,
        };
        let mut case = case.clone();
        let at = if let Entry::Invoke { offset, .. } = case.entry { offset } else { 0 };
        case.code.get_mut(at..at + words.len())?.copy_from_slice(&words);
        Some(case)
    }
}

/// What QEMU 7.2 says where the first floating-point instruction of a block that it translates is a conversion with a rounding mode of its own, such as
/// `vfcvt.rtz.x.f.v` (`target/riscv/translate.c`): an assertion of its own fails. Blocks begin at pages and behind branches.
const QEMU_FAULT: &str = "decode_save_opc: Assertion";

/// Runs cases on one machine.
#[derive(Debug)]
pub struct Runner {
    machine: Machine,
    loader: PathBuf,
    folder: PathBuf,
    /// A program, with its arguments, that runs the loader on this processor.
    wrapper: Option<Vec<String>>,
    /// Seconds that a case may take.
    seconds: Option<u32>,
}

impl Runner {
    /// A runner, or the reason why there is none here.
    ///
    /// # Errors
    /// Where the compiler for the loader or the emulator is missing, or the processor is another.
    pub fn new(machine: Machine) -> Result<Runner> {
        if matches!(machine, Machine::Native | Machine::Sse2) && !cfg!(target_arch = "x86_64") {
            bail!("this processor is not x86-64");
        }
        if let Some((emulator, _)) = machine.emulator() {
            Command::new(emulator).arg("--version").output().with_context(|| format!("{emulator} is not installed"))?;
        }
        let loader = Self::loader(machine)?;
        let folder = unique("tflc-kernels");
        std::fs::create_dir_all(&folder)?;
        Ok(Runner { machine, loader, folder, wrapper: None, seconds: None })
    }

    /// A runner where there is one here; says so where not, and fails where `TFLC_REQUIRE_ALL` is set, as CI does.
    ///
    /// # Panics
    /// Where there must be one and is none.
    pub fn find(machine: Machine) -> Option<Runner> {
        match Runner::new(machine) {
            Ok(r) => Some(r),
            Err(reason) => {
                assert!(std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "{machine:?}: {reason:#}");
                eprintln!("not run: {reason:#}");
                None
            }
        }
    }

    /// The same on this processor with the loader run by a program, as words: `valgrind --error-exitcode=9`.
    #[must_use]
    pub fn wrapped(mut self, program: &str) -> Runner {
        self.wrapper = Some(program.split_whitespace().map(str::to_string).collect());
        self
    }

    /// The same with a limit on the seconds that a case takes; native and emulated machines only.
    #[must_use]
    pub fn limited(mut self, seconds: u32) -> Runner {
        self.seconds = Some(seconds);
        self
    }

    /// Compiles the loader, once per version of its source.
    fn loader(machine: Machine) -> Result<PathBuf> {
        if machine == Machine::Wasm {
            Command::new("node").arg("--version").output().context("node is not installed")?;
            return Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel_runner/loader.mjs"));
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel_runner/loader.c");
        let mut hasher = DefaultHasher::new();
        std::fs::read(&source)?.hash(&mut hasher);
        let compiler = match machine {
            Machine::Native | Machine::Sse2 => "cc",
            Machine::Aarch64 | Machine::CortexA53 | Machine::NeoverseN1 | Machine::Wasm => "aarch64-linux-gnu-gcc",
            Machine::Riscv64 | Machine::Riscv64V => "riscv64-linux-gnu-gcc",
        };
        let path = std::env::temp_dir().join(format!("tflc-loader-{compiler}-{:016x}", hasher.finish()));
        if path.exists() {
            return Ok(path);
        }
        let fresh = unique("tflc-loader-new");
        let out = Command::new(compiler)
            .args(["-O1", "-static", "-o"])
            .args([&fresh, &source])
            .output()
            .with_context(|| format!("{compiler} is not installed"))?;
        if !out.status.success() {
            bail!("{compiler}: {}", String::from_utf8_lossy(&out.stderr));
        }
        std::fs::rename(&fresh, &path)?;
        Ok(path)
    }

    /// Runs all cases, in order. Those that QEMU 7.2 cannot translate, on RISC-V with vectors, are left out.
    ///
    /// # Errors
    /// Where a case crashes; the message has its number.
    pub fn run(&self, cases: &[Case]) -> Result<Vec<Outcome>> {
        match self.execute(cases, None) {
            Err(e) if cases.len() > 1 && e.to_string().contains(QEMU_FAULT) => {
                let (first, second) = cases.split_at(cases.len() / 2);
                Ok([self.run(first)?, self.run(second)?].concat())
            }
            Err(e) if e.to_string().contains(QEMU_FAULT) => {
                eprintln!("left out: {e:#}");
                Ok(vec![Outcome { ran: false, status: 0, buffers: vec![] }])
            }
            ran => {
                ran?;
                decode(cases, &std::fs::read(self.folder.join("out"))?)
            }
        }
    }

    /// Instructions that one call takes under the machine's emulator.
    ///
    /// # Errors
    /// Where the machine is not emulated, or the counting plugin of the emulator cannot be compiled or loaded.
    pub fn instructions(&self, case: &Case) -> Result<u64> {
        let plugin = self.folder.join("count.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernel_runner/count.c");
        let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&plugin).arg(source).output()?;
        if !built.status.success() {
            bail!("cc: {}", String::from_utf8_lossy(&built.stderr));
        }
        let count = |cases: &[Case]| -> Result<u64> {
            let text = self.execute(cases, Some(&plugin))?;
            let number = text.lines().find_map(|l| l.strip_prefix("instructions: ")).context("the emulator counted nothing")?;
            Ok(number.trim().parse()?)
        };
        // What the process itself takes cancels out against code that returns 0 at once; every case runs twice.
        let idle = self.machine.idle(case).context("no code that does nothing is known for this machine")?;
        let (busy, idle) = (count(std::slice::from_ref(case))?, count(std::slice::from_ref(&idle))?);
        Ok((busy - idle) / 2)
    }

    /// Runs the loader; gives what it wrote to standard error.
    fn execute(&self, cases: &[Case], plugin: Option<&Path>) -> Result<String> {
        // Where QEMU fails, the code begins elsewhere in its page; where that does not help, `run` takes fewer cases at once.
        let shifts = if self.machine == Machine::Riscv64V { 4 } else { 1 };
        let mut ran = self.execute_at(0, cases, plugin);
        for shift in 1..shifts {
            if ran.as_ref().is_err_and(|e| e.to_string().contains(QEMU_FAULT)) {
                ran = self.execute_at(shift * 64, cases, plugin);
            }
        }
        ran
    }

    /// Runs the loader with each code `shift` bytes behind the beginning of a page.
    fn execute_at(&self, shift: usize, cases: &[Case], plugin: Option<&Path>) -> Result<String> {
        let (input, output) = (self.folder.join("in"), self.folder.join("out"));
        std::fs::write(&input, encode(cases, shift))?;
        let loader = &self.loader;
        let mut command = match self.machine.emulator() {
            None if self.machine == Machine::Wasm => {
                let mut c = Command::new("node");
                c.args(["--experimental-wasm-relaxed-simd"]).arg(loader);
                c
            }
            None => match &self.wrapper {
                Some(words) => {
                    let mut c = Command::new(&words[0]);
                    c.args(&words[1..]).arg(loader);
                    c
                }
                None => Command::new(loader),
            },
            Some((emulator, cpu)) => {
                let mut c = Command::new(emulator);
                if let Some(plugin) = plugin {
                    c.arg("-plugin").arg(plugin);
                }
                c.args(["-cpu", cpu]).arg(loader);
                c
            }
        };
        command.arg(&input).arg(&output);
        if let Some(seconds) = self.seconds {
            command.arg(seconds.to_string());
        }
        let ran = command.output()?;
        let text = String::from_utf8_lossy(&ran.stderr).into_owned();
        if !ran.status.success() {
            bail!("loader: {} {text}", ran.status);
        }
        Ok(text)
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        // The folder is temporary; failing to remove it harms nobody.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A path in the temporary folder that nobody else uses.
fn unique(stem: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    std::env::temp_dir().join(format!("{stem}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed)))
}

fn encode(cases: &[Case], shift: usize) -> Vec<u8> {
    fn word(out: &mut Vec<u8>, v: u64) {
        out.extend(v.to_le_bytes());
    }
    fn bytes(out: &mut Vec<u8>, b: &[u8]) {
        out.extend(b);
        out.resize(out.len().next_multiple_of(8), 0);
    }
    let mut out = vec![];
    word(&mut out, cases.len() as u64);
    for c in cases {
        let entry = match &c.entry {
            Entry::Kernel(units) => [units.start as u64, units.end as u64, 0, shift as u64, 0],
            Entry::Invoke { offset, inputs, pool } => [0, 0, 1 + u64::from(*pool), (shift + offset) as u64, *inputs as u64],
        };
        let head = [(shift + c.code.len()) as u64, c.buffers.len() as u64, c.slots.len() as u64];
        head.iter().chain(&entry).for_each(|&w| word(&mut out, w));
        bytes(&mut out, &[&vec![0; shift], &c.code[..]].concat());
        for b in &c.buffers {
            word(&mut out, b.len() as u64);
            bytes(&mut out, b);
        }
        for s in &c.slots {
            let words = match *s {
                Slot::Buffer(i, offset) => [1, i as u64, offset as u64],
                Slot::Value(v) => [0, v, 0],
            };
            words.iter().for_each(|&w| word(&mut out, w));
        }
    }
    out
}

fn decode(cases: &[Case], mut left: &[u8]) -> Result<Vec<Outcome>> {
    let mut take = |n: usize| -> Result<&[u8]> {
        let (head, tail) = left.split_at_checked(n.next_multiple_of(8)).context("the loader's output is short")?;
        left = tail;
        Ok(&head[..n])
    };
    cases
        .iter()
        .map(|c| {
            let status = i64::from_le_bytes(take(8)?.try_into()?) as i32;
            let buffers = c.buffers.iter().map(|b| Ok(take(b.len())?.to_vec())).collect::<Result<_>>()?;
            Ok(Outcome { ran: true, status, buffers })
        })
        .collect()
}
