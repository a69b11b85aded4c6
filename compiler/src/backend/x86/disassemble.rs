//! Machine code as text.

use crate::backend::Code;
use iced_x86::{Decoder, DecoderOptions, Formatter, Instruction, IntelFormatter, OpKind, SymbolResolver, SymbolResult};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Names of the places that the code refers to.
struct Labels(BTreeMap<u64, String>);

impl SymbolResolver for Labels {
    fn symbol(&mut self, _: &Instruction, _: u32, _: Option<u32>, address: u64, _: u32) -> Option<SymbolResult<'_>> {
        self.0.get(&address).map(|name| SymbolResult::with_str(address, name))
    }
}

/// The instructions of a function in Intel syntax, with labels, and its constants as data.
pub fn disassemble(code: &Code) -> String {
    let mut instructions = vec![];
    let mut labels = BTreeMap::new();
    let mut end = code.bytes.len() as u64;
    for i in Decoder::with_ip(64, &code.bytes, 0, DecoderOptions::NONE) {
        // The constants begin after the last return, behind a trap where there is padding.
        if i.is_invalid() || i.ip() >= end || i.code() == iced_x86::Code::Int3 {
            end = end.min(i.ip());
            break;
        }
        if i.is_ip_rel_memory_operand() {
            end = end.min(i.ip_rel_memory_address());
            labels.insert(i.ip_rel_memory_address(), String::new());
        }
        if i.op0_kind() == OpKind::NearBranch64 {
            labels.insert(i.near_branch_target(), String::new());
        }
        instructions.push(i);
    }
    for (n, (at, name)) in labels.iter_mut().enumerate() {
        *name = format!("{}{n}", if *at < end { ".L" } else { ".C" });
    }
    let mut formatter = IntelFormatter::with_options(Some(Box::new(Labels(labels.clone()))), None);
    formatter.options_mut().set_rip_relative_addresses(true);
    formatter.options_mut().set_space_after_operand_separator(true);
    let mut text = String::new();
    for i in &instructions {
        if let Some(label) = labels.get(&i.ip()) {
            let _ = writeln!(text, "{label}:");
        }
        let mut line = String::new();
        formatter.format(i, &mut line);
        let _ = writeln!(text, "  {line}");
    }
    let constants: Vec<(u64, &String)> = labels.range(end..).map(|(&a, l)| (a, l)).collect();
    for (i, (at, label)) in constants.iter().enumerate() {
        let to = constants.get(i + 1).map_or(code.bytes.len() as u64, |(a, _)| *a);
        let _ = writeln!(text, "{label}:");
        for chunk in code.bytes[*at as usize..to as usize].chunks(16) {
            let bytes: Vec<String> = chunk.iter().map(|b| format!("{b:02x}")).collect();
            let _ = writeln!(text, "  db {}", bytes.join(" "));
        }
    }
    text
}
