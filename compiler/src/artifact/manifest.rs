//! `manifest.json`: what was compiled for what, and the files that came of it.

use super::library::{Library, Weights};
use crate::target::Target;
use serde_json::{Value, json};
use tflc_templates::bindings::{Interface, Signature, Tensor};

/// Version of the manifest's form.
const MANIFEST_VERSION: u32 = 1;

/// A file that a model was read from.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Name, relative to the model's folder.
    pub name: String,
    /// CRC-32 of its bytes.
    pub crc32: u32,
}

/// The files of a model: its own, and the others that it has constants in.
#[derive(Clone, Debug)]
pub struct SourceFiles {
    /// The model file.
    pub model: SourceFile,
    /// The others, in the model's order.
    pub external: Vec<SourceFile>,
}

impl SourceFiles {
    /// What a manifest says of them.
    pub fn describe(&self) -> Value {
        let file = |f: &SourceFile| json!({ "file": f.name, "crc32": hex(f.crc32) });
        let mut about = file(&self.model);
        about["external_files"] = self.external.iter().map(file).collect();
        about
    }
}

/// What a manifest says beside the library itself.
#[derive(Clone, Debug)]
pub struct Manifest<'a> {
    /// The compiled model.
    pub library: &'a Library,
    /// Its interface.
    pub interface: &'a Interface,
    /// CPU levels, in the order of the library.
    pub targets: &'a [Target],
    /// Files of the model.
    pub sources: &'a SourceFiles,
    /// Files beside the manifest: what it is, name, size in bytes.
    pub files: &'a [(&'static str, String, usize)],
}

/// The text of a manifest.
pub fn manifest(m: &Manifest<'_>) -> String {
    let platform = m.library.platform;
    let mut model = m.sources.describe();
    model["description"] = json!(m.interface.description);
    let value = json!({
        "manifest_version": MANIFEST_VERSION,
        "tflc_version": env!("CARGO_PKG_VERSION"),
        "abi_version": tflc_runtime::abi::ABI_VERSION,
        "name": m.interface.name,
        "model": model,
        "target": {
            "name": platform.name(),
            "triple": platform.triple(),
            "object_format": platform.os.format().to_string(),
            "cpus": m.targets.iter().map(|t| t.cpu.to_string()).collect::<Vec<_>>(),
            "precision": m.targets.first().map(|t| t.precision.to_string()).unwrap_or_default(),
        },
        "symbol": m.library.model_symbol(),
        "inputs": m.interface.ports.inputs.iter().map(tensor).collect::<Vec<_>>(),
        "outputs": m.interface.ports.outputs.iter().map(tensor).collect::<Vec<_>>(),
        "signatures": m.interface.signatures.iter().map(signature).collect::<Vec<_>>(),
        "needs": m.library.symbols,
        "arena_bytes": m.interface.arena_bytes,
        "state_bytes": m.interface.state_bytes,
        "code_bytes": m.library.image.bytes.len(),
        "weights": {
            "bytes": m.library.weights.len(),
            "crc32": hex(crc32fast::hash(&m.library.weights)),
            "split": m.library.placement == Weights::Split,
        },
        "files": m.files.iter().map(|(kind, name, bytes)| json!({ "kind": kind, "name": name, "bytes": bytes })).collect::<Vec<_>>(),
    });
    format!("{value:#}\n")
}

/// A signature: its names with positions, and its own inputs and outputs where they are not the model's.
fn signature(s: &Signature) -> Value {
    let mut value = json!({ "key": s.key, "inputs": s.inputs, "outputs": s.outputs });
    if let Some(own) = &s.own {
        let list = |list: &[Tensor]| list.iter().map(tensor).collect::<Vec<_>>();
        value["own"] = json!({ "inputs": list(&own.inputs), "outputs": list(&own.outputs) });
    }
    value
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}

fn tensor(t: &Tensor) -> Value {
    let quantization = t.quantized.map(|(scale, zero_point)| json!({ "scale": scale, "zero_point": zero_point }));
    json!({ "name": t.name, "dtype": t.dtype, "shape": t.shape, "bytes": t.bytes, "open_axis": t.open_axis, "quantization": quantization })
}
