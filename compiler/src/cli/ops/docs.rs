//! `docs/ops.md`, written from the operator table and from what becomes of the samples.

use super::{Tried, try_all};
use crate::ops::table::{Support, TABLE};
use crate::target::Target;
use std::fmt::Write;

/// Targets that `docs/ops.md` speaks of: each way to machine code, and WebAssembly.
pub fn documented() -> Vec<Target> {
    ["x86-64", "x86-64-v4+vnni", "aarch64", "wasm32"].iter().filter_map(|n| Target::parse_cpu(n)).map(Target::new).collect()
}

/// The text of `compiler/docs/ops.md`.
pub fn ops_markdown() -> String {
    let targets = documented();
    markdown(&targets, &try_all(&targets))
}

fn markdown(targets: &[Target], tried: &[Tried]) -> String {
    let names: Vec<String> = targets.iter().map(|t| t.cpu.to_string()).collect();
    let mut out = format!(
        "# Operators\n\nWritten from the operator table (`compiler/src/ops/table.rs`) and by trying by `TFLC_BLESS=1 cargo test -p tflc ops::docs`; do not edit. \
         *Types* are what the operator takes, in the words of the table: those of the first operand that says anything; `any of whole bytes` excludes int4, \
         int2 and strings. *Tried* are the types with which a small use of the operator (`compiler/src/cli/ops/samples.txt`) passes inference, so that the \
         reference evaluator runs it. *Compiled* are those of them that lower to kernels for {}; where a target differs, it is named. Control flow, \
         resources, LSTMs and custom operators have no sample; `tests/filetests/run` and `tests/models/ops` show them.\n\n",
        names.join(", ")
    );
    let supported = TABLE.iter().filter(|r| matches!(r.support, Support::Supported { .. })).count();
    let _ = writeln!(out, "{supported} of {} builtin operators are supported.\n", TABLE.len());
    out.push_str("| code | operator | category | types | tried | compiled | file |\n| ---: | --- | --- | --- | --- | --- | --- |\n");
    for row in TABLE {
        let (code, name) = (row.kind.code().unwrap_or(-1), row.kind.name());
        let _ = match &row.support {
            Support::Supported { category, dtypes, module, .. } => {
                let own: Vec<&Tried> = tried.iter().filter(|t| t.op == row.kind).collect();
                let evaluated = join(&own, |t| t.evaluated.join(" "));
                let compiled = join(&own, |t| compiled(t, &names));
                let category = spaced(&format!("{category:?}"));
                writeln!(out, "| {code} | {name} | {category} | {dtypes} | {evaluated} | {compiled} | `{module}.rs` |")
            }
            Support::Unsupported(why) => writeln!(out, "| {code} | {name} | not supported | {why} | | | |"),
            Support::Pseudo(why) => writeln!(out, "| {code} | {name} | none | {why} | | | |"),
        };
    }
    out
}

/// What is said of the samples of an operator, one for each type of weights.
fn join(tried: &[&Tried], of: impl Fn(&Tried) -> String) -> String {
    let one = |t: &&Tried| match (t.weights, of(t)) {
        (_, text) if text.is_empty() => None,
        (Some(w), text) => Some(format!("{text} by {w}")),
        (None, text) => Some(text),
    };
    tried.iter().filter_map(one).collect::<Vec<_>>().join("; ")
}

/// The types that compile everywhere, and where others do.
fn compiled(tried: &Tried, names: &[String]) -> String {
    let everywhere = |ty: &&&str| tried.compiled.iter().all(|list| list.contains(ty));
    let mut out: Vec<String> = tried.evaluated.iter().filter(everywhere).map(|t| t.to_string()).collect();
    if out.len() == tried.evaluated.len() && out.len() > 1 {
        return "all".into();
    }
    for (name, list) in names.iter().zip(&tried.compiled) {
        let more: Vec<&str> = list.iter().copied().filter(|t| !everywhere(&t)).collect();
        if !more.is_empty() {
            out.push(format!("({name}: {})", more.join(" ")));
        }
    }
    if out.is_empty() && !tried.evaluated.is_empty() { "none".into() } else { out.join(" ") }
}

/// `DataMovement` as `data movement`.
fn spaced(name: &str) -> String {
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::OpKind;
    use crate::ops::table::Category;

    #[test]
    fn the_committed_table_of_operators_is_current_and_all_that_stand_alone_compile() {
        let tried = try_all(&documented());
        let (path, text) = (concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ops.md"), markdown(&documented(), &tried));
        if std::env::var_os("TFLC_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "run TFLC_BLESS=1 cargo test -p tflc ops::docs");
        let compiles = |op: OpKind| tried.iter().any(|t| t.op == op && t.compiled.iter().all(|list| !list.is_empty()));
        let alone = |row: &&crate::ops::table::Row| match row.support {
            Support::Supported { category, .. } => {
                let connected = matches!(category, Category::ControlFlow | Category::Resources | Category::Custom);
                // Weights with a format of their own, and cells of many operands.
                let large = [OpKind::Densify, OpKind::Lstm, OpKind::UnidirectionalSequenceLstm, OpKind::BidirectionalSequenceLstm];
                !connected && !large.contains(&row.kind) && row.kind != OpKind::BidirectionalSequenceRnn
            }
            _ => false,
        };
        let missing: Vec<&str> = TABLE.iter().filter(alone).filter(|r| !compiles(r.kind)).map(|r| r.kind.name()).collect();
        assert!(missing.is_empty(), "no sample, or none that compiles: {missing:?}");
    }
}
