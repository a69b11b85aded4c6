//! The description of a model that its module carries, as JSON: what a loader needs to find room and to type inputs and outputs.
//!
//! The fields are those of the C ABI's descriptor, with names in place of numbers, and the layout of the module's static memory.

use super::module::{Memory, Module, Options};
use crate::lower::program::{ARENA_ALIGN, EntryPoint, OpenOutput, Port, Program};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Version of the description's form.
const VERSION: u32 = 1;

/// Inputs and outputs of a signature, by its own names: position in its entry point.
#[derive(Clone, Debug)]
pub struct Signature {
    /// Key in the model.
    pub key: String,
    /// Entry point: 0 for the primary one, then the program's others.
    pub entry: usize,
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
    let _ = write!(j, ",{}", ports(&program.inputs, &program.outputs, &program.open));
    if !program.others.is_empty() {
        let entry =
            |(i, e): (usize, &EntryPoint)| format!("{{\"export\":\"{}\",{}}}", export(i + 1), ports(&e.inputs, &e.outputs, &e.open));
        let _ = write!(j, ",\"entries\":{}", list(program.others.iter().enumerate().map(entry)));
    }
    if !program.symbols().is_empty() {
        let _ = write!(
            j,
            ",\"customs\":{}",
            list(customs(program).iter().map(|(f, n)| format!("{{\"function\":{},\"name\":{}}}", text(f), text(n))))
        );
    }
    let signature = |s: &Signature| {
        let map =
            |m: &[(String, usize)]| format!("{{{}}}", m.iter().map(|(n, i)| format!("{}:{i}", text(n))).collect::<Vec<_>>().join(","));
        let entry = if s.entry > 0 { format!("\"entry\":{},", s.entry) } else { String::new() };
        format!("{{\"key\":{},{entry}\"inputs\":{},\"outputs\":{}}}", text(&s.key), map(&s.inputs), map(&s.outputs))
    };
    let _ = write!(j, ",\"signatures\":{}}}", list(signatures.iter().map(signature)));
    j
}

/// Name under which a module exports an entry point.
pub(super) fn export(entry: usize) -> String {
    if entry == 0 { "invoke".to_string() } else { format!("invoke_{entry}") }
}

/// Functions that a module imports, with the custom operators that they compute, each once.
pub(super) fn customs(program: &Program) -> BTreeMap<String, String> {
    program.externals().into_iter().filter_map(|e| Some((e.symbol.clone()?, e.name.clone()))).collect()
}

/// Inputs and outputs of an entry point.
fn ports(inputs: &[Port], outputs: &[Port], open: &[OpenOutput]) -> String {
    let all = |ports: &[Port], open: &[OpenOutput]| {
        let names = names(ports);
        list(ports.iter().enumerate().map(|(i, p)| port(&names[i], p, open.iter().find(|o| o.output == i))))
    };
    format!("\"inputs\":{},\"outputs\":{}", all(inputs, &[]), all(outputs, open))
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
