//! The C interface, from C99, C++11 and Python's ctypes: what it promises, and that all three get the same scores.

use std::path::{Path, PathBuf};
use std::process::Command;
use tflc::artifact::{Library, Name, Weights, bindings, interface, object};
use tflc::cli::link;
use tflc::driver;
use tflc::ir::GraphId;
use tflc::jit::host_target;
use tflc_tests::model_runner::{Folder, include, run};

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("c").join(name)
}

/// Object, header and shared library of the int8 classifier, for this machine.
fn build(folder: &Path) -> PathBuf {
    let model = driver::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits/digits_int8.tflite")).expect("model");
    let levels = driver::levels(&model, GraphId(0), &[host_target()]).expect("compiles");
    let library = Library::new(Name::new("digits").expect("a name"), &levels, Weights::Embedded).expect("compiles");
    std::fs::write(folder.join("digits.o"), object(&library).expect("object")).expect("writes");
    let header = bindings::header(&interface(&library, &levels, &model));
    std::fs::write(folder.join("digits.h"), header).expect("writes");
    let shared = folder.join("libdigits.so");
    link::link(&library, None, host_target().platform(), &shared).expect("links");
    shared
}

#[test]
fn c_and_cpp_and_python_run_a_model() {
    let folder = Folder::new().expect("folder");
    let shared = build(folder.path());
    let mut scores = vec![];
    for (compiler, arguments) in [
        ("cc", &["-std=c99", "-x", "c", "-Wpedantic"][..]),
        ("c++", &["-std=c++11", "-x", "c++"][..]),
        ("cc", &["-std=c17", "-x", "c", "-fsanitize=undefined,address", "-fno-sanitize-recover"][..]),
    ] {
        let program = folder.path().join("abi");
        let mut command = Command::new(compiler);
        command.args(arguments).args(["-Wall", "-Wextra", "-Werror", "-o"]).arg(&program);
        command.arg(format!("-I{}", include().display())).arg(format!("-I{}", folder.path().display()));
        run(command.arg(source("abi.c")).args(["-x", "none"]).arg(folder.path().join("digits.o"))).expect(compiler);
        let printed = run(&mut Command::new(&program)).expect("keeps its promises");
        scores.push(String::from_utf8(printed).expect("text"));
    }
    let printed = run(Command::new("python3").arg(source("abi.py")).arg(shared)).expect("ctypes");
    scores.push(String::from_utf8(printed).expect("text"));
    assert_eq!(scores[0].split_whitespace().count(), 10, "{scores:?}");
    assert!(scores.iter().all(|s| s.trim() == scores[0].trim()), "{scores:?}");
}
