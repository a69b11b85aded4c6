//! Compiled models with several signatures, custom operators that the program brings, and outputs whose size is known only at run time: from C on
//! every kind of processor, and from Rust by the generated module.

use std::path::{Path, PathBuf};
use std::process::Command;
use tflc::artifact::{Library, Name, Weights, archive, bindings, interface, link_customs, object as object_file};
use tflc::driver;
use tflc::error::CompileError;
use tflc::ir::{GraphId, Model, parse};
use tflc::jit::host_target;
use tflc::target::{Cpu, Target};
use tflc_tests::model_runner::{Folder, Machine, RV64GC, RV64GCV, compiler, emulator, include, run};

/// A sum over runs, and where a mask is set.
fn model() -> Model {
    parse(include_str!("../models/entry_points.graph")).unwrap_or_else(|e| panic!("{e}"))
}

/// The library, with its interface's source files in `folder`.
fn build(folder: &Path, targets: &[Target]) -> Library {
    let mut model = model();
    link_customs(&mut model, &[("Twice".into(), "my_twice".into())]).expect("the model has it");
    let others = [("places".to_string(), GraphId(1))];
    let levels = driver::levels_entries(&model, GraphId(0), &others, targets).unwrap_or_else(|e| panic!("{e}"));
    let library = Library::new(Name::new("sum").expect("a name"), &levels, Weights::Embedded).unwrap_or_else(|e| panic!("{e}"));
    let interface = interface(&library, &levels, &model);
    std::fs::write(folder.join("sum.h"), bindings::header(&interface)).expect("writes");
    std::fs::write(folder.join("sum.rs"), bindings::module(&interface).expect("a module")).expect("writes");
    library
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// Runs the C program on a machine; nothing where its tools are missing and need not be there.
fn runs_on(machine: Machine, cpus: &[Cpu]) {
    let (cc, first) = compiler(machine);
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    let emulator = emulator(machine);
    if let Some(missing) = [Some(cc), emulator.first().map(String::as_str)].into_iter().flatten().find(|p| !there(p)) {
        assert!(std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "there is no {missing}");
        return println!("ignored: there is no {missing}");
    }
    let folder = Folder::new().expect("folder");
    let targets: Vec<Target> = cpus.iter().map(|c| Target::new(*c)).collect();
    let library = build(folder.path(), &targets);
    let (object, program) = (folder.path().join("sum.o"), folder.path().join("program"));
    std::fs::write(&object, object_file(&library).expect("object")).expect("writes");
    let mut command = Command::new(cc);
    command.args(first).args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
    command.arg(format!("-I{}", include().display())).arg(format!("-I{}", folder.path().display()));
    run(command.arg(source("c/entry_points.c")).arg(&object)).expect("links");
    let mut words = emulator;
    words.push(program.display().to_string());
    let printed = run(Command::new(&words[0]).args(&words[1..])).expect("runs");
    assert_eq!(String::from_utf8_lossy(&printed).trim(), "kept");
}

#[test]
fn c_programs_have_signatures_custom_operators_and_lengths() {
    for cpu in Cpu::names(host_target().platform()) {
        let cpu = Target::parse_cpu(cpu).expect("known");
        if tflc::jit::runs_here(&Target::new(cpu)) {
            runs_on(Machine::Native, &[cpu]);
        }
    }
    runs_on(Machine::Native, &[Target::parse_cpu("x86-64").expect("known"), Target::parse_cpu("x86-64-v3").expect("known")]);
}

#[test]
fn they_have_them_on_aarch64_and_riscv64() {
    let cpu = |name: &str| Target::parse_cpu(name).expect("known");
    runs_on(Machine::Aarch64("neoverse-n1"), &[cpu("aarch64"), cpu("aarch64+dotprod")]);
    runs_on(Machine::Riscv64(RV64GCV), &[cpu("rv64gcv")]);
    for processor in [RV64GC, RV64GCV] {
        runs_on(Machine::Riscv64(processor), &[cpu("rv64gc"), cpu("rv64gcv")]);
    }
}

/// The program of [`the_module_has_them_in_rust`].
const PROGRAM: &str = r#"
mod sum { include!("sum.rs"); }
use tflc_runtime::{Status, abi::CustomCall};

#[unsafe(no_mangle)]
extern "C" fn my_twice(call: *const CustomCall, arguments: *const *mut core::ffi::c_void) -> i32 {
    unsafe {
        assert_eq!(((*call).input_count, (*call).output_count, (*call).options_bytes), (1, 1, 2));
        let (x, y) = ((*arguments).cast::<[f32; 3]>(), (*arguments.add(1)).cast::<[f32; 3]>());
        if (*x)[0] < 0.0 { return 5; }
        *y = (*x).map(|v| 2.0 * v);
    }
    0
}

fn main() {
    let mut model = sum::Model::new();
    assert_eq!(model.places_output0_shape()[0], 0);
    assert_eq!(model.run(&[1.0, 2.0, 3.0]), Ok([2.0, 4.0, 6.0]));
    assert_eq!(model.add_more(&[1.0, 0.0, 0.0]), Ok([4.0, 4.0, 6.0]));
    assert_eq!(model.run(&[-1.0, 0.0, 0.0]), Err(Status::CustomOperator));
    let mask: sum::places::Input0 = [1, 0, 0, 1];
    let (at, now): (sum::places::Output0, _) = model.places(&mask).unwrap();
    assert_eq!((model.places_output0_shape()[0], [at[0], at[1]], now), (2, [[0], [3]], [4.0, 4.0, 6.0]));
    let keys: Vec<&str> = sum::descriptor().unwrap().signatures().map(|s| s.key()).collect();
    assert_eq!(keys, ["add more", "places"]);
    let places = sum::descriptor().unwrap().signature("places").unwrap();
    let names: Vec<&str> = places.outputs().map(|t| t.name()).collect();
    assert_eq!((names, places.outputs().next().unwrap().open_axis()), (vec!["at", "now"], Some(0)));
    model.reset();
    assert_eq!(model.run(&[0.0; 3]), Ok([0.0; 3]));
}
"#;

#[test]
fn the_module_has_them_in_rust() {
    let folder = Folder::new().expect("folder");
    let library = build(folder.path(), &[host_target()]);
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("libsum.a"), archive(&library).expect("archive")).expect("writes");
    std::fs::write(path("main.rs"), PROGRAM).expect("writes");
    let rustc = |arguments: &[&str]| {
        let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
        run(command.current_dir(folder.path()).args(["--edition", "2024", "-D", "warnings", "-A", "dead_code"]).args(arguments))
            .expect("compiles");
    };
    let runtime = source("../runtime-min/src/lib.rs").display().to_string();
    rustc(&["--crate-type", "rlib", "--crate-name", "tflc_runtime", "-A", "unexpected_cfgs", &runtime]);
    rustc(&["--extern", "tflc_runtime=libtflc_runtime.rlib", "-L", ".", "-l", "static=sum", "main.rs"]);
    run(&mut Command::new(path("main"))).expect("keeps its promises");
}

#[test]
fn objects_leave_only_the_functions_of_the_program_undefined() {
    use object::read::{Object, ObjectSymbol};
    let folder = Folder::new().expect("folder");
    for target in ["x86_64-linux", "x86_64-windows", "x86_64-macos", "aarch64-macos", "aarch64-android", "riscv64-none"] {
        let platform = tflc::target::Platform::parse(target).expect("known");
        let cpu = Cpu::parse_for(platform.arch, "baseline").expect("known");
        let bytes = object_file(&build(folder.path(), &[Target::on(cpu, platform.os)])).expect("object");
        let file = object::File::parse(&bytes[..]).expect("an object");
        let names = file.symbols().filter(|s| s.is_undefined()).filter_map(|s| s.name().ok()).filter(|n| !n.is_empty());
        let names: Vec<&str> = names.map(|n| n.trim_start_matches('_')).collect();
        assert_eq!(names, ["my_twice"], "{target}");
    }
}

#[test]
fn wrong_names_are_refused_with_those_that_are_known() {
    let refused = |name: &str, symbol: &str, words: &[&str]| {
        let e = link_customs(&mut model(), &[(name.into(), symbol.into())]).expect_err(name);
        assert!(matches!(e, CompileError::Target(_)), "{e}");
        assert!(words.iter().all(|w| e.to_string().contains(w)), "{e}");
    };
    refused("Thrice", "thrice", &["Thrice", "Twice"]);
    refused("Twice", "2ice", &["2ice", "identifier"]);
    refused("Mfcc", "mfcc", &["Mfcc", "built in"]);
    // An operator whose function nobody names is an error that names it.
    let e = driver::levels(&model(), GraphId(0), &[host_target()]).expect_err("nobody brings Twice");
    assert!(e.to_string().contains("Twice"), "{e}");
}
