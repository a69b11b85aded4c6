//! Compiled models as files: the same results as in memory, the same bytes each time, nothing writable, no relocation left to the loader.
//!
//! With `../shared/corpus` beside the checkout, its models are compiled and compared too.

use anyhow::{Context, Result, ensure};
use object::read::{Object, ObjectSection, ObjectSymbol};
use object::{SectionFlags, elf};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tflc::artifact::{Library, Name, Weights, archive, object as object_file};
use tflc::cli::random::random;
use tflc::driver;
use tflc::error::CompileError;
use tflc::ir::{GraphId, parse};
use tflc::jit::{JitError, Options, host_target};
use tflc::target::{Arch, Cpu, Os, Platform, Target, X86Level};
use tflc_tests::host::levels;
use tflc_tests::model_runner::{Folder, Machine, Runner, run};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn digits() -> PathBuf {
    root().join("tests/models/digits/digits_int8.tflite")
}

fn library(path: &Path, targets: &[Target], weights: Weights) -> Result<Library, CompileError> {
    let model = driver::load(path)?;
    let name = Name::from_stem(&path.file_stem().unwrap_or_default().to_string_lossy());
    Library::new(name, &driver::levels(&model, GraphId(0), targets)?, weights)
}

/// Inputs and what the JIT makes of them; nothing where it refuses the model.
fn in_memory(path: &Path, cpu: Cpu) -> Result<Option<(Vec<Vec<u8>>, Vec<Vec<u8>>)>> {
    let mut model = match Options::new().cpu(cpu).load(path) {
        Ok(m) => m,
        Err(JitError::Compile(CompileError::Unsupported(_))) => return Ok(None),
        Err(e) => return Err(e.into()),
    };
    let inputs = model.inputs().iter().enumerate().map(|(i, p)| Ok(random(p.ty.dtype, &p.ty.shape, i as u64)?.data));
    let inputs = inputs.collect::<Result<Vec<_>>>()?;
    let mut outputs: Vec<Vec<u8>> = model.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
    let given: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    model.run(&given, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
    Ok(Some((inputs, outputs)))
}

/// Compares a library of one level with the JIT; says whether there was anything to compare.
fn same_as_in_memory(runner: &Runner, path: &Path, target: &Target, weights: Weights, pool: bool) -> Result<bool> {
    let Some((inputs, expected)) = in_memory(path, target.cpu)? else { return Ok(false) };
    let library = library(path, std::slice::from_ref(target), weights)?;
    let sizes: Vec<usize> = expected.iter().map(Vec::len).collect();
    let got = runner.run(&library, &inputs, &sizes, pool)?;
    ensure!(got == expected, "{}: the library gives other bytes than the code in memory", target.cpu);
    Ok(true)
}

#[test]
fn shared_libraries_give_what_the_code_in_memory_gives() {
    let runner = Runner::new(Machine::Shared).expect("a compiler of C");
    for cpu in levels() {
        let target = Target::on(cpu, host_target().os);
        for (file, weights) in [("digits_int8", Weights::Embedded), ("digits_f32", Weights::Embedded), ("digits_f32", Weights::Split)] {
            let path = root().join(format!("tests/models/digits/{file}.tflite"));
            for pool in [false, true] {
                assert!(same_as_in_memory(&runner, &path, &target, weights, pool).expect(file), "{file}");
            }
        }
    }
}

#[test]
fn corpus_libraries_give_what_the_code_in_memory_gives() {
    let folder = root().join("../shared/corpus");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        println!("ignored: there is no {}", folder.display());
        return;
    };
    let runner = Runner::new(Machine::Shared).expect("a compiler of C");
    let mut models: Vec<PathBuf> = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "tflite")).collect();
    models.sort();
    let (mut same, mut wrong) = (0, vec![]);
    for path in &models {
        match same_as_in_memory(&runner, path, &host_target(), Weights::Embedded, false) {
            Ok(compared) => same += usize::from(compared),
            Err(e) => wrong.push(format!("{}: {e:#}", path.display())),
        }
    }
    println!("{same} of {} models are the same", models.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn one_library_has_several_levels_and_picks_the_best() {
    let targets: Vec<Target> = levels().into_iter().map(|cpu| Target::on(cpu, host_target().os)).collect();
    let best = targets.last().expect("a level");
    let (inputs, expected) = in_memory(&digits(), best.cpu).expect("runs").expect("is supported");
    let library = library(&digits(), &targets, Weights::Embedded).expect("compiles");
    let sizes: Vec<usize> = expected.iter().map(Vec::len).collect();
    for machine in [Machine::Shared, Machine::Native] {
        let runner = Runner::new(machine).expect("a compiler of C");
        assert_eq!(runner.run(&library, &inputs, &sizes, false).expect("runs"), expected);
    }
}

#[test]
fn windows_programs_give_what_the_code_in_memory_gives() {
    let runner = match Runner::new(Machine::Windows) {
        Ok(r) => r,
        Err(e) => {
            assert!(std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "{e:#}");
            println!("ignored: {e:#}");
            return;
        }
    };
    let levels: Vec<Cpu> = levels().into_iter().filter(|cpu| cpu.runs_on(Os::Windows)).collect();
    for cpu in &levels {
        let target = Target::on(*cpu, Os::Windows);
        // Floats once, at the level with the most registers to save.
        let best = Some(cpu) == levels.last();
        for (file, pool) in [("digits_int8", true), ("digits_f32", false)].into_iter().take(1 + usize::from(best)) {
            let path = root().join(format!("tests/models/digits/{file}.tflite"));
            assert!(same_as_in_memory(&runner, &path, &target, Weights::Embedded, pool).expect(file), "{file}");
        }
    }
}

#[test]
fn the_same_model_gives_the_same_bytes() {
    let targets = [Target::new(Cpu::X86(X86Level::Baseline)), Target::new(Cpu::X86(X86Level::V3))];
    let make = || {
        let library = library(&digits(), &targets, Weights::Embedded).expect("compiles");
        (object_file(&library).expect("object"), archive(&library).expect("archive"))
    };
    assert!(make() == make());
}

#[test]
fn objects_have_nothing_writable_and_one_symbol() {
    // WebAssembly has modules instead.
    for platform in Platform::all().filter(|p| p.arch != Arch::Wasm32) {
        let cpus = Cpu::names(platform);
        let targets: Vec<Target> =
            cpus.iter().map(|name| Target::on(Cpu::parse_for(platform.arch, name).expect("known"), platform.os)).collect();
        let library = library(&digits(), &targets, Weights::Embedded).unwrap_or_else(|e| panic!("{}: {e}", platform.name()));
        let bytes = object_file(&library).expect("object");
        let file = object::File::parse(&bytes[..]).expect("an object");
        for section in file.sections() {
            if let SectionFlags::Elf { sh_flags } = section.flags() {
                assert_eq!(sh_flags & u64::from(elf::SHF_WRITE), 0, "{}: {:?}", platform.name(), section.name());
            }
            let kind = section.kind();
            let writable = matches!(kind, object::SectionKind::Data | object::SectionKind::UninitializedData | object::SectionKind::Common);
            assert!(!writable, "{}: {:?} is {kind:?}", platform.name(), section.name());
        }
        let global: Vec<String> =
            file.symbols().filter(|s| s.is_global() && s.is_definition()).map(|s| s.name().unwrap_or("").to_string()).collect();
        let prefix = if file.format() == object::BinaryFormat::MachO { "_" } else { "" };
        assert_eq!(global, [format!("{prefix}digits_int8_model")], "{}", platform.name());
        let weights = file.sections().find(|s| ["__const", ".rdata", ".rodata"].contains(&s.name().unwrap_or(""))).expect("weights");
        assert!(weights.align() >= 64, "{}: {}", platform.name(), weights.align());
        let undefined: Vec<&str> =
            file.symbols().filter(|s| s.is_undefined()).filter_map(|s| s.name().ok()).filter(|n| !n.is_empty()).collect();
        assert!(undefined.iter().all(|n| ["getauxval", "tflc_cpu_features", "_tflc_cpu_features"].contains(n)), "{undefined:?}");
    }
}

#[test]
fn shared_libraries_leave_nothing_to_the_loader() {
    let folder = Folder::new().expect("folder");
    let library = library(&digits(), &[Target::new(Cpu::X86(X86Level::V3))], Weights::Embedded).expect("compiles");
    let path = folder.path().join("lib.so");
    tflc::cli::link::link(&library, None, host_target().platform(), &path).expect("links");
    let bytes = std::fs::read(&path).expect("library");
    let file = object::File::parse(&bytes[..]).expect("a library");
    assert_eq!(file.dynamic_relocations().map_or(0, Iterator::count), 0);
    let exported: Vec<&[u8]> = file.exports().expect("exports").iter().map(|e| e.name()).collect();
    assert_eq!(exported, [b"digits_int8_model"]);
}

#[test]
fn large_weights_link() {
    // One matrix of 100 MB, of no particular values.
    let text =
        "graph @0 (%0) -> (%2) { %0: float32[1,5120] %1: float32[2,5120] = const splat 0.5 %2: float32[1,2] = FULLY_CONNECTED(%0, %1, _) }";
    let mut model = parse(text).expect("parses");
    for t in 1..=2 {
        *model.graphs[0].tensors[t].ty.shape.iter_mut().find(|d| **d == 2).expect("a dimension to enlarge") = 5120;
    }
    let values: Vec<u8> = (0..5120u32 * 5120).flat_map(|i| (i.wrapping_mul(2_654_435_761) >> 9 | 0x3f00_0000).to_le_bytes()).collect();
    model.graphs[0].tensors[1].data = Some(values.into());
    let target = Target::new(levels()[0]);
    let compiled = driver::levels(&model, GraphId(0), std::slice::from_ref(&target)).expect("compiles");
    let library = Library::new(Name::new("large").expect("a name"), &compiled, Weights::Embedded).expect("compiles");
    assert!(library.weights.len() >= 100 << 20);
    let folder = Folder::new().expect("folder");
    let path = |name: &str| folder.path().join(name);
    let timed = |what: &str, action: &dyn Fn()| {
        let start = Instant::now();
        action();
        println!("{what}: {:.2} s", start.elapsed().as_secs_f64());
    };
    timed("object", &|| std::fs::write(path("large.o"), object_file(&library).expect("object")).expect("writes"));
    timed("archive", &|| std::fs::write(path("liblarge.a"), archive(&library).expect("archive")).expect("writes"));
    timed("shared library", &|| tflc::cli::link::link(&library, None, host_target().platform(), &path("liblarge.so")).expect("links"));
    let source = "const void *large_model(void); int main(void) { return large_model() == 0; }";
    std::fs::write(path("main.c"), source).expect("writes");
    timed("program", &|| {
        let mut cc = std::process::Command::new("cc");
        run(cc.arg("-o").arg(path("main")).arg(path("main.c")).arg(path("liblarge.a"))).expect("links");
    });
    run(&mut std::process::Command::new(path("main"))).expect("runs");
}

/// What the classifier's code may add to a program, at every level that embeds it.
const SMALL_BYTES: usize = 40 << 10;

#[test]
fn a_small_model_has_small_code() {
    for name in [
        "x86-64",
        "x86-64-v3",
        "x86-64-v3+vnni",
        "x86-64-v4",
        "x86-64-v4+vnni",
        "x86-64-v4+amx",
        "aarch64",
        "aarch64+dotprod",
        "aarch64+i8mm",
        "rv64gc",
    ] {
        let target = Target::new(Target::parse_cpu(name).expect("known"));
        let library = library(&digits(), &[target], Weights::Embedded).expect("compiles");
        let bytes = library.image.bytes.len();
        println!("{name}: {bytes} bytes of code, {} of weights", library.weights.len());
        assert!(bytes < SMALL_BYTES, "{name}: {bytes} bytes of code");
    }
}

#[test]
fn several_models_link_into_one_program() {
    let folder = Folder::new().expect("folder");
    let mut command = std::process::Command::new("cc");
    let mut calls = String::new();
    for file in ["digits_int8", "digits_f32"] {
        let path = root().join(format!("tests/models/digits/{file}.tflite"));
        let library = library(&path, &[Target::new(levels()[0])], Weights::Embedded).expect("compiles");
        let out = folder.path().join(format!("lib{file}.a"));
        std::fs::write(&out, archive(&library).expect("archive")).expect("writes");
        command.arg(format!("-l{file}"));
        calls += &format!("const void *{file}_model(void); ");
    }
    let source = folder.path().join("main.c");
    std::fs::write(&source, format!("{calls} int main(void) {{ return digits_int8_model() == 0 || digits_f32_model() == 0; }}"))
        .expect("writes");
    let program = folder.path().join("main");
    let args: Vec<std::ffi::OsString> = command.get_args().map(Into::into).collect();
    let mut command = std::process::Command::new("cc");
    command.args(["-Wall", "-Werror", "-o"]).arg(&program).arg(&source).arg(format!("-L{}", folder.path().display())).args(args);
    run(&mut command).expect("links");
    run(&mut std::process::Command::new(program)).context("both are there").expect("runs");
}
