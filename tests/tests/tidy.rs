//! The house rules that a machine can check: file sizes and heads, import directions, where `unsafe` may stand, what
//! documents may name, what the repository must have.
//!
//! Each rule reads the tree as it is and gives findings; each finding says where and what to do. [`EXCEPTIONS`] is the only
//! way round a rule, and a row there for one file that excuses nothing is itself a finding. Rust is read as tokens, so comments and
//! strings never count.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use tflc_tests::rust_source::{Token, imports, tokens};

/// A rule, the file it does not hold for (or a folder, ending in `/`), and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("unsafe", "compiler/src/jit/", "runs generated code and maps its memory"),
    ("unsafe", "runtime-min/", "the C ABI and the thread pool"),
    ("unsafe", "examples/no-std/src/lib.rs", "a C function and a static, as firmware has them"),
    ("unsafe", "compiler/src/frontend/file.rs", "maps the model file"),
    ("unsafe", "compiler/src/frontend/schema/writer.rs", "the flatbuffers crate's trait Push has an unsafe method"),
    ("import direction", "compiler/src/jit/code.rs", "the JIT drives a whole compilation, so that users find it as `tflc::jit`"),
    ("import direction", "compiler/src/jit/options.rs", "the same: what a user calls reads the model and compiles it"),
    ("import direction", "compiler/src/jit/source.rs", "reads the model again where code from the cache must be compiled for other shapes"),
    ("outside world", "compiler/src/cli/", "the command line is where files, clocks and terminals are met"),
    ("outside world", "compiler/src/jit/", "code runs on the machine it is asked about"),
];

/// Modules of `compiler/src`, lowest first: each imports only what stands to its left; the first group also imports itself.
const LADDER: &str = "error, target, options <- ir <- ops <- passes <- plan <- lower <- backend <- artifact, jit <- driver <- cli";

/// Modules beside the ladder: name, what they may import, who may import them.
const BESIDE: &[(&str, &[&str], &[&str])] = &[
    ("frontend", &["error", "options", "ir", "ops"], &["quantize", "prune", "driver", "cli"]),
    ("quantize", &["error", "options", "ir", "ops", "passes", "frontend"], &["driver", "cli"]),
    ("prune", &["error", "options", "ir", "ops", "passes", "frontend"], &["driver", "cli"]),
];

/// Crates and the crates of this workspace that each may depend on; tests and examples may depend on all.
const CRATES: &[(&str, &[&str])] = &[
    ("compiler/kir", &[]),
    ("templates", &["tflc-kir"]),
    ("runtime-min", &[]),
    ("compiler", &["tflc-kir", "tflc-templates", "tflc-runtime"]),
    ("build-support", &["tflc", "tflc-runtime", "tflc-macros"]),
];

const SOFT_LIMIT: usize = 400;
const HARD_LIMIT: usize = 800;
const VAGUE_NAMES: &[&str] = &["util", "utils", "helper", "helpers", "common", "manager", "misc"];
/// Endings that make a name in backticks a file of this repository.
const FILE_ENDINGS: &[&str] = &[".rs", ".md", ".py", ".toml", ".wgsl", ".yml"];

/// Collects what a rule finds, minus the exceptions.
struct Findings {
    rule: &'static str,
    lines: Vec<String>,
}

static USED: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

impl Findings {
    fn of(rule: &'static str) -> Findings {
        Findings { rule, lines: vec![] }
    }

    fn add(&mut self, path: &str, line: Option<usize>, what: impl std::fmt::Display) {
        let excuse = EXCEPTIONS.iter().position(|(r, p, _)| *r == self.rule && (path == *p || (p.ends_with('/') && path.starts_with(p))));
        match (excuse, line) {
            (Some(i), _) => drop(USED.lock().unwrap().insert(i)),
            (None, Some(n)) => self.lines.push(format!("{path}:{n}: {what}")),
            (None, None) => self.lines.push(format!("{path}: {what}")),
        }
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Paths of all files of the project, relative to its root, with `/`, sorted.
fn files() -> Vec<String> {
    fn walk(folder: &Path, root: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap().map(|e| e.unwrap()) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let hidden = name.starts_with('.') && name != ".ci" && name != ".gitignore";
            // Cargo's folder; a module of that name lies below a `src`.
            let built = name == "target" && !folder.ends_with("src");
            if hidden || built || name == "__pycache__" {
                continue;
            }
            match entry.file_type().unwrap().is_dir() {
                true => walk(&entry.path(), root, found),
                false => found.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/")),
            }
        }
    }
    let mut found = vec![];
    walk(&root(), &root(), &mut found);
    found.sort();
    found
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn rust_files() -> Vec<(String, String)> {
    files().into_iter().filter(|p| p.ends_with(".rs")).map(|p| (p.clone(), read(&p))).collect()
}

/// Whether a file holds only tests: such files are named `tests.rs` or lie in a folder `tests`.
fn is_test_file(path: &str) -> bool {
    path.split('/').any(|part| part == "tests" || part == "tests.rs")
}

/// Tokens of every Rust file, tests left out.
fn sources(findings: &mut Findings) -> Vec<(String, Vec<Token>)> {
    let mut all = vec![];
    for (path, text) in rust_files().into_iter().filter(|(p, _)| !is_test_file(p)) {
        match tokens(&text) {
            Ok(t) => all.push((path, t)),
            Err(e) => findings.add(&path, None, format!("cannot be read as Rust tokens: {e}")),
        }
    }
    all
}

/// Whether `from` may import `to`; nothing where one of them is no module of the compiler.
fn may_import(from: &str, to: &str) -> Option<bool> {
    let step = |module: &str| LADDER.split(" <- ").position(|group| group.split(", ").any(|m| m == module));
    let beside = |module: &str| BESIDE.iter().find(|row| row.0 == module);
    let known = |module: &str| step(module).is_some() || beside(module).is_some();
    if !known(from) || !known(to) {
        return None;
    }
    Some(match (beside(from), beside(to)) {
        _ if from == to => true,
        (Some((_, imports, _)), _) => imports.contains(&to),
        (None, Some((_, _, importers))) => importers.contains(&from),
        (None, None) => step(from) > step(to) || step(from) == Some(0) && step(to) == Some(0),
    })
}

fn size(out: &mut Findings) {
    for (path, text) in rust_files() {
        match text.lines().count() {
            n if n > HARD_LIMIT => out.add(&path, None, format!("{n} lines; the limit is {HARD_LIMIT}: split it by what it does")),
            n if n > SOFT_LIMIT => println!("note: {path} has {n} lines, more than {SOFT_LIMIT}; think of splitting it"),
            _ => {}
        }
    }
}

fn head(out: &mut Findings) {
    for (path, text) in rust_files() {
        if !text.starts_with("//! ") {
            out.add(&path, Some(1), "begin the file with `//! ` and what it is, what goes in and out, what it does not do");
        }
    }
}

fn names(out: &mut Findings) {
    for path in files() {
        if let Some(part) = path.split('/').find(|p| VAGUE_NAMES.contains(&p.split('.').next().unwrap())) {
            out.add(&path, None, format!("`{part}` says nothing; name it after what it does"));
        }
    }
}

fn declared(out: &mut Findings) {
    let all = rust_files();
    let text = |path: &str| all.iter().find(|(p, _)| p == path).map_or("", |f| f.1.as_str());
    for (path, _) in all.iter().filter(|(p, _)| p.contains("/src/")) {
        let module = path.trim_end_matches(".rs").trim_end_matches("/mod");
        let (folder, name) = module.rsplit_once('/').unwrap();
        if folder.ends_with("/src") && ["lib", "main"].contains(&name) || folder.ends_with("/src/bin") {
            continue;
        }
        let parents = [format!("{folder}.rs"), format!("{folder}/mod.rs"), format!("{folder}/lib.rs"), format!("{folder}/main.rs")];
        if !parents.iter().any(|p| text(p).contains(&format!("mod {name};"))) {
            out.add(path, None, format!("no `mod {name};` beside it: it is not compiled; declare it or remove it"));
        }
    }
}

fn import_direction(out: &mut Findings) {
    for (path, tokens) in sources(out) {
        let Some(inside) = path.strip_prefix("compiler/src/") else { continue };
        let from = inside.split('/').next().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&from) {
            continue;
        }
        if may_import(from, from).is_none() {
            out.add(
                &path,
                None,
                format!("the module `{from}` has no place in the import order; add it to LADDER or BESIDE in tests/tests/tidy.rs"),
            );
            continue;
        }
        for (to, line) in imports(&tokens) {
            if may_import(from, &to) == Some(false) {
                out.add(
                    &path,
                    Some(line),
                    format!("`{from}` must not import `{to}`; move what both need below both (see LADDER in tests/tests/tidy.rs)"),
                );
            }
        }
    }
}

fn crate_direction(out: &mut Findings) {
    for path in files().iter().filter(|p| p.ends_with("Cargo.toml") && p.contains('/')) {
        let Some((folder, allowed)) = CRATES.iter().filter(|(f, _)| path.starts_with(&format!("{f}/"))).max_by_key(|(f, _)| f.len()) else {
            continue;
        };
        let (mut section, text) = (String::new(), read(path));
        for (n, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                section = line.trim_matches(['[', ']']).to_string();
            }
            let name: String = line.chars().take_while(|c| c.is_alphanumeric() || *c == '-' || *c == '_').collect();
            if ["dependencies", "build-dependencies"].contains(&section.as_str())
                && name.starts_with("tflc")
                && !allowed.contains(&name.as_str())
            {
                out.add(path, Some(n + 1), format!("{folder} must not depend on {name} (see CRATES in tests/tests/tidy.rs)"));
            }
            if *folder == "runtime-min" && section == "dependencies" && line.contains('=') && !line.contains("optional = true") {
                out.add(path, Some(n + 1), "runtime-min has no dependencies by default; make it optional, behind a feature");
            }
        }
    }
}

fn unsafe_places(out: &mut Findings) {
    for (path, tokens) in sources(out) {
        for (_, line) in tokens.iter().filter(|t| t.0 == "unsafe") {
            out.add(&path, Some(*line), "`unsafe` belongs in compiler/src/jit or runtime-min; use a safe interface from there");
        }
    }
}

fn unfinished(out: &mut Findings) {
    for (path, tokens) in sources(out) {
        for pair in tokens.windows(2) {
            if pair[1].0 == "!" && ["todo", "unimplemented", "dbg"].contains(&pair[0].0.as_str()) {
                out.add(
                    &path,
                    Some(pair[0].1),
                    format!("`{}!` must not be committed; return an error that says what is missing", pair[0].0),
                );
            }
        }
    }
}

fn outside_world(out: &mut Findings) {
    let library =
        |p: &str| ["compiler/src/", "compiler/kir/", "templates/"].iter().any(|l| p.starts_with(l)) && !p.ends_with("src/main.rs");
    for (path, tokens) in sources(out).into_iter().filter(|(p, _)| library(p)) {
        for (i, (word, line)) in tokens.iter().enumerate() {
            let std_env = word == "env" && i >= 3 && tokens[i - 3].0 == "std";
            if std_env || ["Instant", "SystemTime", "is_x86_feature_detected", "is_aarch64_feature_detected"].contains(&word.as_str()) {
                out.add(
                    &path,
                    Some(*line),
                    format!("the library reads no environment, clock or CPU (`{word}`); take the value as an option"),
                );
            }
            if word == "flatbuffers" && !path.starts_with("compiler/src/frontend/") {
                out.add(&path, Some(*line), "only compiler/src/frontend knows flatbuffers; go through its interface");
            }
        }
    }
}

fn documents(out: &mut Findings) {
    let all = files();
    let exists = |name: &str, folder: &str| {
        let name = name.trim_end_matches('/');
        let at_end = format!("/{name}");
        let inside = format!("/{name}/");
        let near = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let up = name.strip_prefix("../").map(|n| format!("{}/{n}", folder.rsplit_once('/').map_or("", |f| f.0)));
        all.iter().any(|f| {
            let f = format!("/{f}");
            f.ends_with(&at_end)
                || f.contains(&inside)
                || f.starts_with(&format!("/{near}{name}"))
                || up.as_ref().is_some_and(|u| f == format!("/{u}"))
        })
    };
    for path in all.iter().filter(|p| p.ends_with(".md")) {
        let folder = path.rsplit_once('/').map_or("", |p| p.0);
        for (n, line) in read(path).lines().enumerate() {
            let command = line.trim_start().starts_with("cargo ");
            let named: Vec<&str> = match command {
                true => line.split([' ', '=']).filter(|w| w.contains('/')).collect(),
                false => line.split('`').skip(1).step_by(2).filter(|w| is_path(w, &all, folder)).collect(),
            };
            for name in named.into_iter().filter(|w| !exists(w, folder)) {
                out.add(path, Some(n + 1), format!("names `{name}`, which does not exist; mend the name or take it out"));
            }
        }
    }
}

/// Whether a word in backticks is meant as a path: it ends like a source file or begins with a folder that is here.
fn is_path(word: &str, all: &[String], folder: &str) -> bool {
    let plain = !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c)) && !word.starts_with('.');
    let first = word.split('/').next().unwrap_or("");
    let here = |f: &String| f.starts_with(&format!("{first}/")) || (!folder.is_empty() && f.starts_with(&format!("{folder}/{first}/")));
    let stem = word.rsplit('/').next().unwrap_or("").split('.').next().unwrap_or("");
    let placeholder =
        stem.len() > 1 && stem.chars().all(|c| c.is_ascii_uppercase()) && !["README", "LICENSE", "ARCHITECTURE"].contains(&stem);
    plain
        && !placeholder
        && (FILE_ENDINGS.iter().any(|e| word.ends_with(e) && word.len() > e.len()) || (word.contains('/') && all.iter().any(here)))
}

fn repository(out: &mut Findings) {
    let all = files();
    let text = |path: &str| if all.iter().any(|f| f == path) { read(path) } else { String::new() };
    if !text("LICENSE").contains("Apache License") {
        out.add("LICENSE", None, "the text of the Apache License 2.0 must stand here, as Cargo.toml says");
    }
    let readme = text("README.md");
    let commands: Vec<&str> = readme.lines().map(str::trim).filter(|l| l.starts_with("cargo ")).collect();
    match commands[..] {
        [run, test] if run.starts_with("cargo run --release -p tflc -- run tests/models/digits/") && test == "cargo test --workspace" => {}
        _ => out.add("README.md", None, "must show exactly two commands on lines of their own: `cargo run --release -p tflc -- run tests/models/digits/...` and `cargo test --workspace`"),
    }
    if !text(".ci/run").contains("README.md") {
        out.add(".ci/run", None, "must exist, and take the commands it runs from README.md");
    }
    for page in ["compiler/ARCHITECTURE.md", "tests/models/digits/README.md"] {
        if text(page).is_empty() {
            out.add(page, None, "must exist: it is where readers are sent");
        }
    }
}

/// Reads the tree and adds what it finds.
type Check = fn(&mut Findings);

const RULES: &[(&str, Check)] = &[
    ("size", size),
    ("head", head),
    ("names", names),
    ("declared", declared),
    ("import direction", import_direction),
    ("crate direction", crate_direction),
    ("unsafe", unsafe_places),
    ("unfinished", unfinished),
    ("outside world", outside_world),
    ("documents", documents),
    ("repository", repository),
];

#[test]
fn the_tree_is_tidy() {
    let mut lines = vec![];
    for (rule, check) in RULES {
        let mut findings = Findings::of(rule);
        check(&mut findings);
        lines.extend(findings.lines.into_iter().map(|l| format!("[{rule}] {l}")));
    }
    let used = USED.lock().unwrap();
    for (i, (rule, path, _)) in EXCEPTIONS.iter().enumerate().filter(|(i, e)| !used.contains(i) && !e.1.ends_with('/')) {
        lines.push(format!("[{rule}] EXCEPTIONS row {i} excuses nothing in {path}: remove it from tests/tests/tidy.rs"));
    }
    assert!(lines.is_empty(), "\n{} findings:\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn the_import_order_is_the_one_that_is_written_down() {
    for (from, to, allowed) in [
        ("ir", "error", true),
        ("ir", "ops", false),
        ("frontend", "ops", true),
        ("frontend", "target", false),
        ("passes", "frontend", false),
        ("driver", "frontend", true),
        ("jit", "artifact", false),
        ("cli", "jit", true),
        ("error", "target", true),
    ] {
        assert_eq!(may_import(from, to), Some(allowed), "{from} -> {to}");
    }
    assert_eq!(may_import("ir", "HashMap"), None);
}

#[test]
fn paths_are_told_from_other_words() {
    let all = ["compiler/src/lib.rs".to_string(), "README.md".to_string()];
    for word in ["compiler/src/gone", "lib.rs", "src/gone/", "README.md"] {
        assert!(is_path(word, &all, "compiler"), "{word}");
    }
    for word in ["in/NAME", "NAME.md", "a + b", "f32", ".rs", "std::env", "1/128"] {
        assert!(!is_path(word, &all, "compiler"), "{word}");
    }
}
