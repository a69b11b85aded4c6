//! The JavaScript files beside a module: the loader as it is, and a module of a few lines with the types of this model's inputs and outputs.

use super::description::{Signature, text};
use crate::ir::DType;
use crate::lower::program::{Port, Program};
use std::fmt::Write as _;

/// The loader's files: name and content.
pub const LOADER: [(&str, &str); 3] = [
    ("tflc.js", include_str!("../../../../templates/src/bindings/npm/tflc.js")),
    ("tflc.d.ts", include_str!("../../../../templates/src/bindings/npm/tflc.d.ts")),
    ("worker.js", include_str!("../../../../templates/src/bindings/npm/worker.js")),
];

/// `NAME.js`: loads the module, and the weights where they are split, from beside it.
pub fn script(name: &str, split_weights: bool) -> String {
    let weights = if split_weights {
        format!("{{ weights: new URL(\"./{name}.weights\", import.meta.url), ...options }}")
    } else {
        "options".to_string()
    };
    format!(
        "// Loads the model {name}, which lies beside this file. Written by tflc.\n\
         import {{ load as loadModule }} from \"./tflc.js\";\n\n\
         export {{ Model, dequantize, quantize }} from \"./tflc.js\";\n\n\
         export function load(options = {{}}) {{\n  \
           return loadModule(options.source ?? new URL(\"./{name}.wasm\", import.meta.url), {weights});\n}}\n"
    )
}

/// `NAME.d.ts`: what goes in and comes out, by name; of each signature too, by its own names.
pub fn types(name: &str, program: &Program, signatures: &[Signature]) -> String {
    let mut t = format!(
        "// Types of the model {name}. Written by tflc.\n\
         import type {{ CustomFunction, LoadOptions, Model, Source }} from \"./tflc.js\";\n\n\
         export {{ Model, dequantize, quantize }} from \"./tflc.js\";\n"
    );
    for (what, ports) in [("Inputs", &program.inputs), ("Outputs", &program.outputs)] {
        let _ = write!(t, "\nexport interface {what} {{\n");
        ports.iter().zip(super::description::names(ports)).for_each(|(port, name)| member(&mut t, "  ", &name, port));
        t.push_str("}\n");
    }
    t.push_str("\n/** Inputs and outputs of each signature, by its own names. */\nexport type Signatures = {\n");
    for s in signatures {
        let other = s.entry.checked_sub(1).and_then(|i| program.others.get(i));
        let (inputs, outputs) = other.map_or((&program.inputs, &program.outputs), |e| (&e.inputs, &e.outputs));
        let _ = writeln!(t, "  {}: {{", text(&s.key));
        for (what, names, ports) in [("inputs", &s.inputs, inputs), ("outputs", &s.outputs, outputs)] {
            let _ = writeln!(t, "    {what}: {{");
            names.iter().filter_map(|(n, i)| Some((n, ports.get(*i)?))).for_each(|(name, port)| member(&mut t, "      ", name, port));
            t.push_str("    };\n");
        }
        t.push_str("  };\n");
    }
    t.push_str("};\n");
    let customs = super::description::customs(program);
    let mut options = "LoadOptions & { source?: Source | WebAssembly.Module }".to_string();
    let mut optional = "?";
    if !customs.is_empty() {
        t.push_str("\n/** Functions that compute the custom operators of the model. */\nexport interface Customs {\n");
        for (function, operator) in &customs {
            let _ = writeln!(t, "  /** {} */\n  {}: CustomFunction;", operator.replace("*/", "* /"), text(function));
        }
        t.push_str("}\n");
        options += " & { customs: Customs }";
        optional = "";
    }
    let _ = write!(
        t,
        "\n/** Loads the model; `source` says where the module is, if not beside this file. */\n\
         export function load(options{optional}: {options}): Promise<Model<Inputs, Outputs, Signatures>>;\n"
    );
    t
}

fn member(t: &mut String, indent: &str, name: &str, port: &Port) {
    let _ = writeln!(t, "{indent}/** {} */\n{indent}{}: {};", about(port), text(name), array(port.ty.dtype));
}

fn about(port: &Port) -> String {
    let dims: Vec<String> = port.ty.shape.iter().map(ToString::to_string).collect();
    let mut text = format!("{} [{}]", port.ty.dtype, dims.join(", "));
    if let Some((scale, zero_point)) = port.ty.quant.per_tensor().filter(|_| port.ty.dtype.int_range().is_some()) {
        let _ = write!(text, ", real = {scale} * (q - {zero_point})");
    }
    text
}

/// Typed array that carries values of a type, as the loader chooses it.
fn array(dtype: DType) -> &'static str {
    match dtype {
        DType::Float32 | DType::Complex64 => "Float32Array",
        DType::Float64 | DType::Complex128 => "Float64Array",
        DType::Int8 => "Int8Array",
        DType::Int16 => "Int16Array",
        DType::UInt16 | DType::Float16 | DType::BFloat16 => "Uint16Array",
        DType::Int32 | DType::Resource => "Int32Array",
        DType::UInt32 => "Uint32Array",
        DType::Int64 => "BigInt64Array",
        DType::UInt64 => "BigUint64Array",
        DType::UInt8
        | DType::Bool
        | DType::Int4
        | DType::UInt4
        | DType::Int2
        | DType::Float8E4M3
        | DType::Float8E5M2
        | DType::String
        | DType::Variant => "Uint8Array",
    }
}

/// `package.json` of a folder with one model.
pub fn package(name: &str) -> String {
    let file = text(&format!("./{name}.js"));
    let types = text(&format!("./{name}.d.ts"));
    format!(
        "{{\n  \"name\": {},\n  \"version\": \"0.0.0\",\n  \"private\": true,\n  \"type\": \"module\",\n  \"main\": {file},\n  \"types\": {types},\n  \
         \"exports\": {{ \".\": {{ \"types\": {types}, \"default\": {file} }}, \"./*\": \"./*\" }}\n}}\n",
        text(&name.to_lowercase())
    )
}
