//! The command as users meet it: exit status, messages and files, above all for bad input.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_path_buf()
}

fn digits() -> PathBuf {
    repository().join("tests/models/digits/digits_int8.tflite")
}

fn tflc(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tflc")).args(args).output().expect("the command starts")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Runs the command and checks that it fails as it should: the status, the words, and no panic.
fn refuses(status: i32, words: &[&str], args: &[&str]) {
    let out = tflc(args);
    let message = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(status), "{args:?}: {message}");
    assert!(!message.contains("panicked"), "{args:?}: {message}");
    for word in words {
        assert!(message.contains(word), "{args:?} does not say {word:?}: {message}");
    }
}

/// An array in NumPy's format, version 1.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

#[test]
fn damaged_models_are_refused_with_a_place() {
    let dir = tempfile::tempdir().unwrap();
    let whole = std::fs::read(digits()).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    refuses(1, &["/no/such/model.tflite", "No such file"], &["run", "/no/such/model.tflite"]);
    refuses(1, &["empty.tflite", "empty"], &["run", text(&write("empty.tflite", &[]))]);
    refuses(1, &["half.tflite", "byte"], &["inspect", text(&write("half.tflite", &whole[..whole.len() / 2]))]);
    refuses(1, &["noise.tflite"], &["verify", text(&write("noise.tflite", &[0xa5; 4096]))]);
    let mut flipped = whole.clone();
    flipped[4] ^= 0xff;
    refuses(1, &["flipped.tflite", "not a TensorFlow Lite model"], &["bench", text(&write("flipped.tflite", &flipped))]);
    refuses(1, &["bad.graph", "1:7"], &["run", text(&write("bad.graph", b"model {\n  nonsense\n"))]);
}

#[test]
fn wrong_inputs_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let model = digits();
    let input = |name: &str, bytes: Vec<u8>| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        format!("image={}", text(&path))
    };
    let run = |input: &str, words: &[&str]| refuses(1, words, &["run", text(&model), "--input", input]);
    run("picture=x.npy", &["picture", "image"]);
    run("image=/no/such/file.npy", &["/no/such/file.npy"]);
    run(&input("shape.npy", npy("|i1", "(1, 9, 9, 1)", &[0; 81])), &["image", "[1, 9, 9, 1]", "[1, 32, 32, 1]"]);
    run(&input("type.npy", npy("<f8", "(1, 32, 32, 1)", &[0; 8192])), &["image", "float64"]);
    run(&input("short.npy", npy("|i1", "(1, 32, 32, 1)", &[0; 100])), &["short.npy"]);
    run(&input("huge.npy", npy("|i1", "(1, 99999999999, 99999999999, 1)", &[])), &["huge.npy"]);
    refuses(1, &["not_an.npz"], &["run", text(&model), "--inputs", &input("not_an.npz", vec![1, 2, 3])["image=".len()..]]);
    refuses(1, &["picture", "image"], &["run", text(&model), "--shape", "picture=1x2x3x4"]);
}

#[test]
fn wrong_usage_has_status_two_and_lists_what_is_known() {
    let model = digits();
    refuses(2, &["x86-64-v3", "aarch64"], &["run", text(&model), "--cpu", "z80"]);
    refuses(2, &["--no-such-flag"], &["run", text(&model), "--no-such-flag"]);
    refuses(2, &["NAME=DIMS"], &["run", text(&model), "--shape", "1x2"]);
    refuses(2, &["Usage"], &[]);
}

#[test]
fn a_dumped_graph_runs_like_its_model() {
    let dir = tempfile::tempdir().unwrap();
    let model = digits();
    let done = tflc(&["compile", text(&model), "--emit", "graph", "-o", text(dir.path())]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let graph = dir.path().join("digits_int8.graph");
    let answer = |model: &Path| {
        let image = format!("image={}", text(&repository().join("tests/models/digits/digit_3.png")));
        let labels = repository().join("tests/models/digits/labels.txt");
        let out = tflc(&["run", text(model), "--input", &image, "--labels", text(&labels)]);
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    };
    let (expected, got) = (answer(&model), answer(&graph));
    assert!(expected.contains("three"), "{expected}");
    assert_eq!(expected, got);
}
