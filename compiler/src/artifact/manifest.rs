//! `manifest.json`: what was compiled for what, and the files that came of it.

use super::library::{Library, Weights};
use crate::target::Target;
use serde_json::{Value, json};
use tflc_templates::bindings::{Interface, Signature, Tensor};

/// Version of the manifest's form.
const MANIFEST_VERSION: u32 = 1;

/// What a manifest says beside the library itself.
#[derive(Clone, Debug)]
pub struct Manifest<'a> {
    /// The compiled model.
    pub library: &'a Library,
    /// Its interface.
    pub interface: &'a Interface,
    /// CPU levels, in the order of the library.
    pub targets: &'a [Target],
    /// File name of the model.
    pub model: &'a str,
    /// CRC-32 of the model file.
    pub model_crc32: u32,
    /// Files beside the manifest: what it is, name, size in bytes.
    pub files: &'a [(&'static str, String, usize)],
}

/// The text of a manifest.
pub fn manifest(m: &Manifest<'_>) -> String {
    let platform = m.library.platform;
    let value = json!({
        "manifest_version": MANIFEST_VERSION,
        "tflc_version": env!("CARGO_PKG_VERSION"),
        "abi_version": tflc_runtime::abi::ABI_VERSION,
        "name": m.interface.name,
        "model": { "file": m.model, "crc32": hex(m.model_crc32), "description": m.interface.description },
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
