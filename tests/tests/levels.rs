//! The choice of a CPU level, made by the object itself on processors that lack some of the levels or all of them.

use std::path::Path;
use std::process::Command;
use tflc::artifact::{Library, Name, Weights, object as object_file};
use tflc::driver;
use tflc::ir::{GraphId, parse};
use tflc::target::{Cpu, Os, Precision, Target};
use tflc_tests::model_runner::{Folder, RV64GC, RV64GCV, include, run};

/// A program that prints its level, of an object with the levels of `cpus`.
fn program(folder: &Folder, cc: &[&str], os: Os, cpus: &[&str], defines: &[&str]) -> std::path::PathBuf {
    let targets: Vec<Target> = cpus.iter().map(|c| Target::on(Target::parse_cpu(c).expect("known"), os)).collect();
    link(folder, cc, &targets, defines)
}

/// The same of some targets.
fn link(folder: &Folder, cc: &[&str], targets: &[Target], defines: &[&str]) -> std::path::PathBuf {
    let model = parse("graph @0 (%0) -> (%1) { %0: float32[4] \"x\" %1: float32[4] \"y\" = NEG(%0) }").unwrap_or_else(|e| panic!("{e}"));
    let levels = driver::levels(&model, GraphId(0), targets).unwrap_or_else(|e| panic!("{e}"));
    let library = Library::new(Name::new("neg").expect("a name"), &levels, Weights::Embedded).unwrap_or_else(|e| panic!("{e}"));
    let (object, program) = (folder.path().join("neg.o"), folder.path().join("level"));
    std::fs::write(&object, object_file(&library).expect("object")).expect("writes");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("c/level.c");
    let mut command = Command::new(cc[0]);
    command.args(&cc[1..]).args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-DMODEL=neg_model"]).args(defines).arg("-o").arg(&program);
    run(command.arg(format!("-I{}", include().display())).arg(source).arg(object)).expect("links");
    program
}

/// What the program prints on a processor of an emulator.
fn level(emulator: &str, processor: &str, program: &Path) -> String {
    let printed = run(Command::new(emulator).args(["-cpu", processor]).arg(program)).expect("runs");
    String::from_utf8_lossy(&printed).trim().to_string()
}

/// Whether programs are here; where they must be and are not, the test fails.
fn have(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|p| Command::new(p).arg("--version").output().is_err());
    assert!(missing.is_none() || std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "there is no {missing:?}");
    if let Some(missing) = missing {
        println!("ignored: there is no {missing}");
    }
    missing.is_none()
}

#[test]
fn x86_processors_get_their_level() {
    if !cfg!(target_arch = "x86_64") || !have(&["cc", "qemu-x86_64"]) {
        return;
    }
    let folder = Folder::new().expect("folder");
    let all = Cpu::names(tflc::jit::host_target().platform());
    let several = program(&folder, &["cc"], Os::Linux, &all, &[]);
    assert_eq!(level("qemu-x86_64", "Nehalem", &several), "x86-64");
    assert_eq!(level("qemu-x86_64", "Haswell", &several), "x86-64-v3");
    // Half of a level is not the level: no FMA here, no AVX2 there.
    assert_eq!(level("qemu-x86_64", "Haswell,-fma", &several), "x86-64");
    assert_eq!(level("qemu-x86_64", "Haswell,-avx2", &several), "x86-64");
    // A system that does not save the wide registers takes the level away.
    assert_eq!(level("qemu-x86_64", "Haswell,-xsave", &several), "x86-64");
    let here = run(&mut Command::new(&several)).expect("runs");
    assert_eq!(String::from_utf8_lossy(&here).trim(), tflc::jit::host_target().cpu.to_string());
    let one = program(&folder, &["cc"], Os::Linux, &["x86-64-v3"], &[]);
    assert_eq!(level("qemu-x86_64", "Nehalem", &one), "none");
    assert_eq!(level("qemu-x86_64", "Haswell", &one), "x86-64-v3");
}

/// A folder, and a compiler for AArch64, where that and its emulator are here.
fn aarch64() -> Option<(Folder, [&'static str; 2])> {
    have(&["aarch64-linux-gnu-gcc", "qemu-aarch64"]).then(|| (Folder::new().expect("folder"), ["aarch64-linux-gnu-gcc", "-static"]))
}

#[test]
fn aarch64_processors_get_their_level() {
    let Some((folder, cc)) = aarch64() else { return };
    let several = program(&folder, &cc, Os::Linux, &["aarch64", "aarch64+fp16", "aarch64+dotprod"], &[]);
    assert_eq!(level("qemu-aarch64", "cortex-a53", &several), "aarch64");
    assert_eq!(level("qemu-aarch64", "neoverse-n1", &several), "aarch64+dotprod");
    let halves = program(&folder, &cc, Os::Linux, &["aarch64", "aarch64+fp16"], &[]);
    assert_eq!(level("qemu-aarch64", "cortex-a53", &halves), "aarch64");
    assert_eq!(level("qemu-aarch64", "neoverse-n1", &halves), "aarch64+fp16");
}

#[test]
fn riscv64_processors_get_their_level() {
    if !have(&["riscv64-linux-gnu-gcc", "qemu-riscv64"]) {
        return;
    }
    let (folder, cc) = (Folder::new().expect("folder"), ["riscv64-linux-gnu-gcc", "-static"]);
    let both = ["rv64gcv", "rv64gc"];
    let several = program(&folder, &cc, Os::Linux, &both, &[]);
    assert_eq!(level("qemu-riscv64", RV64GC, &several), "rv64gc");
    assert_eq!(level("qemu-riscv64", RV64GCV, &several), "rv64gcv");
    for (features, expected) in [("-DFEATURES=0", "rv64gc"), ("-DFEATURES=1", "rv64gcv")] {
        let several = program(&folder, &cc, Os::None, &both, &[features]);
        assert_eq!(level("qemu-riscv64", RV64GCV, &several), expected);
    }
}

#[test]
fn a_program_without_a_system_says_what_its_processor_has() {
    let Some((folder, cc)) = aarch64() else { return };
    for (features, expected) in [("-DFEATURES=0", "aarch64"), ("-DFEATURES=1", "aarch64+dotprod"), ("-DFEATURES=4", "aarch64+fp16")] {
        let several = program(&folder, &cc, Os::None, &["aarch64", "aarch64+fp16", "aarch64+dotprod"], &[features]);
        assert_eq!(level("qemu-aarch64", "neoverse-n1", &several), expected);
    }
}

/// With arithmetic on halves asked for, a level above that of halves needs it as well.
#[test]
fn levels_in_halves_need_halves() {
    let Some((folder, cc)) = aarch64() else { return };
    let in_halves = |cpus: &[&str], features: &str| {
        let target = |c: &&str| Target::on(Target::parse_cpu(c).expect("known"), Os::None).with_precision(Precision::F16).expect("has it");
        let targets: Vec<Target> = cpus.iter().map(target).collect();
        let program = link(&folder, &cc, &targets, &[features]);
        level("qemu-aarch64", "neoverse-n1", &program)
    };
    let cpus = ["aarch64+fp16", "aarch64+dotprod"];
    assert_eq!(in_halves(&cpus, "-DFEATURES=1"), "none");
    assert_eq!(in_halves(&cpus, "-DFEATURES=4"), "aarch64+fp16");
    assert_eq!(in_halves(&cpus, "-DFEATURES=5"), "aarch64+dotprod");
}
