//! The command as users meet it: exit status, messages and files, above all for bad input.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tflc::frontend::schema::{ExternalBuffer, ExternalBufferGroup};
use tflc::frontend::{Limits, ModelFile, write_model};

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

#[test]
fn targets_and_levels_that_are_unknown_list_the_known_ones() {
    let model = digits();
    let dir = tempfile::tempdir().unwrap();
    let compile = |args: &[&str], status: i32, words: &[&str]| {
        refuses(status, words, &[&["compile", text(&model), "-o", text(dir.path())], args].concat());
    };
    compile(&["--target", "sparc64"], 1, &["sparc64", "aarch64-android", "riscv64-linux"]);
    compile(&["--target", "aarch64-linux", "--cpu", "+neon9"], 1, &["+neon9", "aarch64+dotprod"]);
    compile(&["--target", "aarch64-linux", "--precision", "f16"], 1, &["aarch64 has no", "aarch64+fp16", "aarch64+dotprod"]);
    compile(&["--target", "x86_64-linux", "--precision", "f16"], 1, &["x86-64 has no", "aarch64+fp16"]);
    compile(&["--target", "wasm32", "--precision", "f16"], 1, &["wasm32 has no", "aarch64+fp16"]);
    compile(&["--target", "wasm32", "--and-signature", "training"], 1, &["training", "serving_default"]);
    compile(&["--target", "wasm32", "--custom", "Twice=twice"], 1, &["Twice"]);
    compile(&["--target", "wasm32", "--emit", "obj"], 1, &["obj", "wasm32", "wasm and the texts"]);
    compile(&["--target", "x86_64-linux", "--emit", "wasm"], 1, &["--target wasm32"]);
    compile(&["--precision", "f8"], 2, &["f8", "f32, f16"]);
    compile(&["--target", "x86_64-linux", "--cpu", "x86-64-v3,z80"], 1, &["z80", "x86-64-v4+vnni"]);
    compile(&["--emit", "elf"], 2, &["elf", "staticlib"]);
    compile(&["--custom", "Twice"], 1, &["Twice"]);
    compile(&["--and-signature", "training"], 1, &["training", "serving_default"]);
    compile(&["--print-after", "polish"], 1, &["polish", "split-rows"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_model_in_halves_says_so_in_its_manifest() {
    let dir = tempfile::tempdir().unwrap();
    let model = repository().join("tests/models/digits/digits_f32.tflite");
    let out =
        tflc(&["compile", text(&model), "--target", "aarch64-android", "--cpu", "+fp16", "--precision", "f16", "-o", text(dir.path())]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let manifest = std::fs::read_to_string(dir.path().join("manifest.json")).unwrap();
    assert!(manifest.contains("\"precision\": \"f16\"") && manifest.contains("aarch64+fp16"), "{manifest}");
}

/// Writes a shipped model as `path` with its constant in the file `constant` beside it, naming a file `unused` as well, which is not there; gives the
/// constant's bytes.
fn split_constant(path: &Path) -> Vec<u8> {
    let shipped = repository().join("tests/models/ops/add_i8_constant.tflite");
    let mut model = ModelFile::open(shipped, &Limits::default()).and_then(|file| file.unpack()).unwrap();
    let is_constant = |buffer: u32| model.buffers[buffer as usize].data.as_ref().is_some_and(|data| !data.is_empty());
    let constant = model.subgraphs[0].tensors.iter().position(|tensor| is_constant(tensor.buffer)).unwrap();
    let tensor = &mut model.subgraphs[0].tensors[constant];
    let data = model.buffers[tensor.buffer as usize].data.take().unwrap();
    (tensor.buffer, tensor.external_buffer) = (0, 1);
    let external = ExternalBuffer { id: 1, group: 0, offset: 0, length: data.len() as u64, packing: String::new() };
    model.external_buffers.push(external);
    model.external_buffer_groups.extend(["constant", "unused"].map(|name| ExternalBufferGroup { name: name.into() }));
    std::fs::write(path, write_model(&model).unwrap()).unwrap();
    std::fs::write(path.with_file_name("constant"), &data).unwrap();
    data
}

#[test]
fn a_manifest_lists_all_files_of_a_model() {
    let dir = tempfile::tempdir().unwrap();
    let (path, out) = (dir.path().join("add.tflite"), dir.path().join("out"));
    let mut data = split_constant(&path);
    let mut files_of = |target: &str| {
        data[0] ^= 1;
        std::fs::write(dir.path().join("constant"), &data).unwrap();
        let done = tflc(&["compile", text(&path), "--target", target, "-o", text(&out)]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let manifest: serde_json::Value = serde_json::from_slice(&std::fs::read(out.join("manifest.json")).unwrap()).unwrap();
        let files = manifest["model"]["external_files"].as_array().unwrap();
        assert_eq!((files.len(), &files[0]["file"]), (1, &"constant".into()), "{manifest}");
        assert_eq!(files[0]["crc32"], format!("{:08x}", crc32fast::hash(&data)), "{manifest}");
        manifest["model"]["crc32"].clone()
    };
    assert_eq!(files_of("x86_64-linux"), files_of("wasm32"), "the same model file");
}

#[test]
fn a_depfile_says_what_all_files_are_made_of() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("my $models");
    std::fs::create_dir(&folder).unwrap();
    split_constant(&folder.join("add.tflite"));
    // In the folder, so that the paths are the same wherever it is.
    let compile = |args: &[&str]| {
        let all = [&["compile", "../my $models/add.tflite", "-o", "my out"], args].concat();
        Command::new(env!("CARGO_BIN_EXE_tflc")).args(all).current_dir(&folder).output().expect("the command starts")
    };
    let sources = ["../my\\ $$models/add.tflite", "../my\\ $$models/constant"];
    let expect = |args: &[&str], files: &[&str]| {
        let done = compile(args);
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        let out = folder.join("my out");
        let targets: Vec<String> = files.iter().map(|file| format!("my\\ out/{file}")).collect();
        let [model, constant] = sources;
        let rule = format!("{}: {model} {constant}\n\n{model}:\n\n{constant}:\n", targets.join(" "));
        assert_eq!(std::fs::read_to_string(out.join("add.d")).unwrap(), rule, "{args:?}");
        // The targets are all files that are there but the depfile.
        let mut there: Vec<_> = std::fs::read_dir(&out).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        there.sort();
        let mut named = [files, &["add.d"]].concat();
        named.sort();
        assert_eq!(there, named, "{args:?}");
        std::fs::remove_dir_all(&out).unwrap();
    };
    let native = &["--target", "x86_64-linux", "--emit"];
    expect(
        &[native, &["obj,header,depfile", "--split-weights"][..]].concat(),
        &["add.o", "add.h", "tflc.h", "add.weights", "manifest.json"],
    );
    expect(&[native, &["depfile,graph"][..]].concat(), &["add.graph", "manifest.json"]);
    let module = ["add.wasm", "tflc.js", "tflc.d.ts", "worker.js", "add.js", "add.d.ts", "package.json", "manifest.json"];
    expect(&["--target", "wasm32", "--emit", "depfile"], &module);
    // With a name that make would misread, nothing is written at all.
    let model = digits();
    refuses(1, &["a=b", "'='"], &["compile", text(&model), "--emit", "obj,depfile", "-o", text(&dir.path().join("a=b"))]);
    assert!(!dir.path().join("a=b").exists());
    refuses(1, &["depfile", "-o OUT"], &["compile", text(&model), "--emit", "graph,depfile"]);
}

#[test]
fn a_model_that_gives_no_artifact_says_what_is_at_fault() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, graph: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, graph).unwrap();
        path
    };
    let out = dir.path().join("out");
    let unknown = "graph @0 (%0) -> (%2) { %0: float32[2] \"x\" %1: float32[2] = NEG(%0) at 0:0 %2: float32[2] = CUSTOM(%1) {custom_code = \"Twist\"} at 0:1 }";
    refuses(1, &["unknown.graph", "Twist", "operator 1"], &["compile", text(&write("unknown.graph", unknown)), "-o", text(&out)]);
    let packed = "graph @0 (%0, %1) -> (%1) { %0: int4[2] \"nibbles\" %1: float32[2] }";
    let packed = write("packed.graph", packed);
    refuses(1, &["nibbles", "int4"], &["compile", text(&packed), "--emit", "rust", "-o", text(&out)]);
    let levels = ["compile", text(&packed), "--target", "x86_64-linux", "--cpu", "x86-64,x86-64-v3", "--split-weights", "-o", text(&out)];
    refuses(1, &["packed.graph", "split weights"], &levels);
    refuses(
        1,
        &["aarch64-ios", "--emit staticlib"],
        &["compile", text(&digits()), "--target", "aarch64-ios", "--emit", "cdylib", "-o", text(&out)],
    );
    assert!(!out.exists());
}

/// Files that cannot be written, on systems where shells can bring that about.
#[cfg(unix)]
#[test]
fn what_cannot_be_written_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (model, out) = (digits(), dir.path().join("out"));
    // As on a full disk: no file may become larger than four blocks, and the signal for that is ignored.
    let limited = "trap '' XFSZ; ulimit -f 4; exec \"$@\"";
    for emit in ["obj", "staticlib", "header,cdylib", "header,rust,obj"] {
        let mut command = Command::new("sh");
        command.args(["-c", limited, "sh", env!("CARGO_BIN_EXE_tflc"), "compile", text(&model), "--emit", emit, "-o", text(&out)]);
        let done = command.output().unwrap();
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{emit}: {message}");
        assert!(!message.contains("panicked") && message.contains("cannot write"), "{emit}: {message}");
        assert!(!out.exists(), "{emit} left its folder");
    }
    // A folder that cannot be made, or is something else.
    refuses(1, &["README.md", "file"], &["compile", text(&model), "-o", text(&repository().join("README.md"))]);
    refuses(1, &["/dev/null/out"], &["compile", text(&model), "-o", "/dev/null/out"]);
    // A folder in which nothing can be written; whoever may write everywhere is let in anyhow.
    let closed = dir.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
    if std::fs::write(closed.join("probe"), b"").is_err() {
        refuses(1, &["closed"], &["compile", text(&model), "-o", text(&closed)]);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_output_is_an_error() {
    for args in [&["targets"][..], &["ops", "--json"], &["compile", text(&digits()), "--emit", "graph"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let done = Command::new(env!("CARGO_BIN_EXE_tflc")).args(args).stdout(full).output().unwrap();
        let message = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{args:?}: {message}");
        assert!(message.contains("standard output") && !message.contains("panicked"), "{args:?}: {message}");
    }
}
