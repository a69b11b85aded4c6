//! `docs/ops.md`, written from the operator table.

use crate::ops::table::{Support, TABLE};
use std::fmt::Write;

/// The text of `compiler/docs/ops.md`.
pub fn ops_markdown() -> String {
    let mut out = String::from(
        "# Operators\n\nWritten from the operator table (`compiler/src/ops/table.rs`) by `TFLC_BLESS=1 cargo test -p tflc ops::docs`; \
         do not edit. Types are those of the first operand; `any of whole bytes` excludes int4, int2 and strings.\n\n",
    );
    let supported = TABLE.iter().filter(|r| matches!(r.support, Support::Supported { .. })).count();
    let _ = writeln!(out, "{supported} of {} builtin operators are supported.\n", TABLE.len());
    out.push_str("| code | operator | category | types | file |\n| ---: | --- | --- | --- | --- |\n");
    for row in TABLE {
        let (code, name) = (row.kind.code().unwrap_or(-1), row.kind.name());
        let _ = match &row.support {
            Support::Supported { category, dtypes, module, .. } => {
                writeln!(out, "| {code} | {name} | {} | {dtypes} | `{module}.rs` |", spaced(&format!("{category:?}")))
            }
            Support::Unsupported(why) => writeln!(out, "| {code} | {name} | not supported | {why} | |"),
            Support::Pseudo(why) => writeln!(out, "| {code} | {name} | none | {why} | |"),
        };
    }
    out
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

    #[test]
    fn the_committed_table_of_operators_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ops.md");
        if std::env::var_os("TFLC_BLESS").is_some() {
            std::fs::write(path, ops_markdown()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), ops_markdown(), "run TFLC_BLESS=1 cargo test -p tflc ops::docs");
    }
}
