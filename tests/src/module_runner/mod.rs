//! Runs models compiled to WebAssembly: in Node and in a browser through the shipped loader, and in Wasmtime.
//!
//! Takes modules and inputs, gives outputs. Everything goes through files in a temporary folder; the scripts beside this file do the rest.

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where modules run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host {
    /// Node, with the loader.
    Node,
    /// Headless Chromium, with the loader.
    Chromium,
    /// Wasmtime, from Python, without the loader.
    Wasmtime,
}

/// One model to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name in messages.
    pub name: String,
    /// The module.
    pub module: Vec<u8>,
    /// The weights, where they are split.
    pub weights: Option<Vec<u8>>,
    /// Inputs, in order.
    pub inputs: Vec<Vec<u8>>,
    /// Number of outputs.
    pub outputs: usize,
    /// Number of threads.
    pub threads: usize,
}

/// An output of a run.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its bytes.
    pub data: Vec<u8>,
    /// Its shape after the run, where the host asks the loader for it.
    pub shape: Option<Vec<usize>>,
}

impl Host {
    /// The program that runs modules, or the reason why there is none here.
    ///
    /// # Errors
    /// Where it is not installed.
    pub fn find(self) -> Result<()> {
        let works = |program: &str, args: &[&str]| -> Result<()> {
            let out = Command::new(program).args(args).output().with_context(|| format!("{program} is not installed"))?;
            if out.status.success() { Ok(()) } else { bail!("{program}: {}", String::from_utf8_lossy(&out.stderr)) }
        };
        works("node", &["--version"])?;
        match self {
            Host::Node => Ok(()),
            Host::Chromium => works("chromium", &["--version"]),
            Host::Wasmtime => works("python3", &["-c", "import wasmtime"]).context("the Python package wasmtime is not installed"),
        }
    }

    /// Runs jobs; gives the outputs of each, or why it failed.
    ///
    /// # Errors
    /// Where the host itself fails.
    pub fn run(self, jobs: &[Job]) -> Result<Vec<Result<Vec<Output>, String>>> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/module_runner");
        let loader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../templates/src/bindings/npm");
        let folder = Folder::new()?;
        let mut list = vec![];
        for (i, job) in jobs.iter().enumerate() {
            let put = |name: String, bytes: &[u8]| -> Result<String> {
                std::fs::write(folder.0.join(&name), bytes)?;
                Ok(name)
            };
            let module = put(format!("{i}.wasm"), &job.module)?;
            let weights = job.weights.as_ref().map(|w| put(format!("{i}.weights"), w)).transpose()?;
            let inputs: Vec<String> = job.inputs.iter().enumerate().map(|(k, b)| put(format!("{i}.in{k}"), b)).collect::<Result<_>>()?;
            let outputs: Vec<String> = (0..job.outputs).map(|k| format!("{i}.out{k}")).collect();
            list.push(serde_json::json!({
                "name": i.to_string(), "module": module, "weights": weights, "inputs": inputs, "outputs": outputs, "threads": job.threads,
            }));
        }
        std::fs::write(folder.0.join("jobs.json"), serde_json::to_string(&list)?)?;
        let mut command = match self {
            Host::Wasmtime => Command::new("python3"),
            _ => Command::new("node"),
        };
        match self {
            Host::Wasmtime => command.arg(scripts.join("wasmtime_run.py")).arg(&folder.0),
            _ => command.arg("--experimental-wasm-relaxed-simd").arg(scripts.join("node.mjs")).arg(&folder.0).arg(loader),
        };
        if self == Host::Chromium {
            command.arg("/usr/bin/chromium");
        }
        let out = command.output()?;
        if !out.status.success() {
            bail!("{self:?}: {} {}", out.status, String::from_utf8_lossy(&out.stderr));
        }
        let failures: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(folder.0.join("failures.json"))?)?;
        let results = jobs.iter().enumerate().map(|(i, job)| {
            let id = i.to_string();
            if let Some(f) = failures.iter().find(|f| f["job"] == id || f["job"] == "page") {
                return Ok(Err(f["error"].as_str().unwrap_or_default().to_string()));
            }
            let shapes = std::fs::read(folder.0.join(format!("{i}.shapes"))).ok();
            let shapes: Option<Vec<Vec<usize>>> = shapes.map(|text| serde_json::from_slice(&text)).transpose()?;
            let read = |k: usize| -> Result<Output> {
                let data = std::fs::read(folder.0.join(format!("{i}.out{k}"))).with_context(|| format!("{}: output {k}", job.name))?;
                Ok(Output { data, shape: shapes.as_ref().and_then(|s| s.get(k).cloned()) })
            };
            Ok(Ok((0..job.outputs).map(read).collect::<Result<Vec<_>>>()?))
        });
        results.collect()
    }
}

/// A temporary folder, removed with this.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        use std::sync::atomic::{AtomicUsize, Ordering};
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("tflc-modules-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // The folder is temporary; failing to remove it harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
