//! WebAssembly modules with several signatures and a custom operator that the program brings: through the shipped loader in Node.

use std::path::{Path, PathBuf};
use std::process::Command;
use tflc::artifact::link_customs;
use tflc::backend::wasm::{Memory, Options, Signature, bindings, compile_program, describe};
use tflc::driver;
use tflc::ir::{GraphId, Model, parse};
use tflc::lower::program::Program;
use tflc::target::{Cpu, Target};
use tflc_tests::model_runner::{Folder, run};

/// The model of `entry_points.rs`: a sum over runs, and where a mask is set.
fn model() -> Model {
    let mut model = parse(include_str!("../models/entry_points.graph")).unwrap_or_else(|e| panic!("{e}"));
    link_customs(&mut model, &[("Twice".into(), "my_twice".into())]).expect("the model has it");
    model
}

fn program() -> Program {
    let others = [("places".to_string(), GraphId(1))];
    let target = Target::new(Cpu::Wasm32 { relaxed: false });
    driver::levels_entries(&model(), GraphId(0), &others, &[target]).unwrap_or_else(|e| panic!("{e}")).remove(0).program
}

fn signatures() -> [Signature; 2] {
    let named = |list: &[(&str, usize)]| list.iter().map(|(n, i)| (n.to_string(), *i)).collect();
    [
        Signature { key: "add more".into(), entry: 0, inputs: named(&[("amount", 0)]), outputs: named(&[("total", 0)]) },
        Signature { key: "places".into(), entry: 1, inputs: named(&[("mask", 0)]), outputs: named(&[("at", 0), ("now", 1)]) },
    ]
}

fn in_node(memory: Memory, threads: usize) {
    keeps("entries.mjs", &program(), &signatures(), memory, threads);
}

/// Runs a script of the folder `module_runner` on the module of a program.
fn keeps(script: &str, program: &Program, signatures: &[Signature], memory: Memory, threads: usize) {
    if Command::new("node").arg("--version").output().is_err() {
        assert!(std::env::var_os("TFLC_REQUIRE_ALL").is_none(), "there is no node");
        return println!("ignored: there is no node");
    }
    let options = Options { memory, ..Options::default() };
    let module = compile_program(program, false, options).unwrap_or_else(|e| panic!("{e}"));
    let bytes = module.with_description(&describe("sum", program, &module, options, signatures));
    let folder = Folder::new().expect("folder");
    let file = folder.path().join("sum.wasm");
    std::fs::write(&file, bytes).expect("writes");
    let here = |path: &str| -> PathBuf { Path::new(env!("CARGO_MANIFEST_DIR")).join(path) };
    let mut command = Command::new("node");
    command.arg(here("src/module_runner").join(script)).arg(file).arg(here("../templates/src/bindings/npm")).arg(threads.to_string());
    let printed = run(&mut command).unwrap_or_else(|e| panic!("{e:#}"));
    assert_eq!(String::from_utf8_lossy(&printed).trim(), "kept");
}

#[test]
fn signatures_and_custom_operators_in_node() {
    in_node(Memory::Exported, 1);
}

#[test]
fn signatures_and_custom_operators_in_an_imported_memory() {
    in_node(Memory::Imported, 1);
}

#[test]
fn signatures_and_custom_operators_on_several_threads() {
    in_node(Memory::Shared, 2);
}

#[test]
fn a_loop_without_end_stops_at_the_limit() {
    let model = parse(include_str!("../models/counter.graph")).unwrap_or_else(|e| panic!("{e}"));
    let target = Target::new(Cpu::Wasm32 { relaxed: false });
    let mut program = driver::levels(&model, GraphId(0), &[target]).unwrap_or_else(|e| panic!("{e}")).remove(0).program;
    program.limit_loops(1000);
    keeps("limit.mjs", &program, &[], Memory::Exported, 1);
    keeps("limit.mjs", &program, &[], Memory::Shared, 2);
}

#[test]
fn types_have_signatures_and_functions() {
    let types = bindings::types("sum", &program(), &signatures());
    for part in [
        "export type Signatures = {\n  \"add more\": {\n    inputs: {\n      /** float32 [3] */\n      \"amount\": Float32Array;\n",
        "\"at\": BigInt64Array;",
        "export interface Customs {\n  /** Twice */\n  \"my_twice\": CustomFunction;\n}",
        "load(options: LoadOptions & { source?: Source | WebAssembly.Module } & { customs: Customs }): Promise<Model<Inputs, Outputs, Signatures>>;",
    ] {
        assert!(types.contains(part), "{part}\n{types}");
    }
}

/// A function that is only known while the compiler runs has no name to import.
#[test]
fn a_function_without_a_name_is_refused() {
    let mut program = program();
    fn unnamed(steps: &mut [tflc::lower::program::Step]) {
        steps.iter_mut().for_each(|s| {
            if let tflc::lower::program::Step::External(e) = s {
                e.symbol = None;
            }
        });
    }
    unnamed(&mut program.steps);
    let error = compile_program(&program, false, Options::default()).expect_err("no symbol").to_string();
    assert!(error.contains("Twice"), "{error}");
}
