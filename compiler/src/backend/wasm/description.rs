//! The description of a model that its module carries, as JSON: what a loader needs to find room and to type inputs and outputs.
//!
//! The fields are those of the C ABI's descriptor, with names in place of numbers, and the layout of the module's static memory.

use super::module::{Memory, Module, Options};
use crate::lower::program::{ARENA_ALIGN, OpenOutput, Port, Program};
use std::fmt::Write as _;

/// Version of the description's form.
const VERSION: u32 = 1;

/// Inputs and outputs of a signature, by its own names: position in the program.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Key in the model.
    pub key: String,
    /// Inputs.
    pub inputs: Vec<(String, usize)>,
    /// Outputs.
    pub outputs: Vec<(String, usize)>,
}

/// The description of a program's module.
pub fn describe(name: &str, program: &Program, module: &Module, options: Options, signatures: &[Signature]) -> String {
    let mut j = String::new();
    let memory = match options.memory {
        Memory::Exported => "exported",
        Memory::Imported => "imported",
        Memory::Shared => "shared",
    };
    let weights = if options.split_weights { "split" } else { "embedded" };
    let _ = write!(j, "{{\"version\":{VERSION},\"name\":{},\"memory\":\"{memory}\",\"base\":{}", text(name), module.base);
    let _ = write!(j, ",\"static_bytes\":{},\"stack_bytes\":{}", module.static_bytes, module.stack_bytes);
    let _ = write!(j, ",\"weights\":\"{weights}\",\"weights_bytes\":{}", program.weights_bytes);
    let _ = write!(j, ",\"arena_bytes\":{},\"state_bytes\":{},\"alignment\":{ARENA_ALIGN}", program.arena_bytes, program.state_bytes);
    for (key, ports) in [("inputs", &program.inputs), ("outputs", &program.outputs)] {
        let open = |i: usize| program.open.iter().find(|o| key == "outputs" && o.output == i);
        let _ = write!(j, ",\"{key}\":{}", list(ports.iter().enumerate().map(|(i, p)| port(&names(ports)[i], p, open(i)))));
    }
    let signature = |s: &Signature| {
        let map =
            |m: &[(String, usize)]| format!("{{{}}}", m.iter().map(|(n, i)| format!("{}:{i}", text(n))).collect::<Vec<_>>().join(","));
        format!("{{\"key\":{},\"inputs\":{},\"outputs\":{}}}", text(&s.key), map(&s.inputs), map(&s.outputs))
    };
    let _ = write!(j, ",\"signatures\":{}}}", list(signatures.iter().map(signature)));
    j
}

/// Names of ports, each once: later ones of the same name get `#` and their position.
pub(super) fn names(ports: &[Port]) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for (i, p) in ports.iter().enumerate() {
        let name = if names.contains(&p.name) { format!("{}#{i}", p.name) } else { p.name.clone() };
        names.push(name);
    }
    names
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.collect::<Vec<_>>().join(","))
}

fn port(name: &str, port: &Port, open: Option<&OpenOutput>) -> String {
    let shape = list(port.ty.shape.iter().map(ToString::to_string));
    let mut j = format!("{{\"name\":{},\"dtype\":\"{}\",\"shape\":{shape},\"bytes\":{}", text(name), port.ty.dtype, port.ty.bytes());
    if let Some((scale, zero_point)) = port.ty.quant.per_tensor().filter(|_| port.ty.dtype.int_range().is_some()) {
        // A float prints with as many digits as give it back.
        let _ = write!(j, ",\"scale\":{scale:e},\"zero_point\":{zero_point}");
    }
    if let Some(open) = open {
        // The lengths of the axes from there on lie in the arena.
        let _ = write!(j, ",\"open_axis\":{},\"extent\":{}", open.axis, open.extent.offset);
    }
    j.push('}');
    j
}

/// A JSON string.
pub(super) fn text(s: &str) -> String {
    let mut out = String::from('"');
    for c in s.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(text("a\"b\\c\n\u{7}é"), "\"a\\\"b\\\\c\\u000a\\u0007é\"");
    }
}
