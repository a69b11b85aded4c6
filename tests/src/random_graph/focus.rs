//! The pairs of an operator and an element type that random models begin with, from the operator table.

use std::sync::OnceLock;
use tflc::ir::{DType, Graph, Node, OpKind};
use tflc::ops::table::{Support, TABLE, row};

/// An operator and an element type of one of its operands or results.
pub type Focus = (OpKind, DType);

/// Element types that a row's text names, in the order of the text.
fn parse(text: &str) -> Vec<DType> {
    use DType::*;
    let mut found = vec![];
    for word in text.split(|c: char| !c.is_ascii_alphanumeric()) {
        found.extend_from_slice(match word {
            "f32" => &[Float32][..],
            "f16" => &[Float16],
            "bf16" => &[BFloat16],
            "i8" => &[Int8],
            "u8" => &[UInt8],
            "i16" => &[Int16],
            "u16" => &[UInt16],
            "i32" => &[Int32],
            "u32" => &[UInt32],
            "i64" => &[Int64],
            "u64" => &[UInt64],
            "i4" => &[Int4],
            "i2" => &[Int2],
            "u4" => &[UInt4],
            "bool" => &[Bool],
            "f64" => &[Float64],
            "c64" | "complex64" => &[Complex64],
            "c128" | "complex128" => &[Complex128],
            "any" => &[Float32, Float16, Int8, UInt8, Int16, Int32, Int64, Bool],
            "numbers" => &[Float32, Float16, BFloat16, Int8, UInt8, Int16, Int32, Int64],
            "truth" => &[Bool],
            "name" => &[Float32],
            _ => &[],
        });
    }
    let mut distinct = vec![];
    found.into_iter().for_each(|d| {
        if !distinct.contains(&d) {
            distinct.push(d)
        }
    });
    distinct
}

/// The element types that the row of an operator names.
pub fn dtypes(op: OpKind) -> Vec<DType> {
    match row(op).map(|r| &r.support) {
        Some(Support::Supported { dtypes, .. }) => parse(dtypes),
        _ => vec![],
    }
}

/// All pairs: every supported operator with every element type that its row names, or with `bool` where it names none.
pub fn all() -> &'static [Focus] {
    static ALL: OnceLock<Vec<Focus>> = OnceLock::new();
    ALL.get_or_init(|| {
        let supported = TABLE.iter().filter(|r| matches!(r.support, Support::Supported { .. }));
        supported
            .flat_map(|r| {
                let types = dtypes(r.kind);
                let types = if types.is_empty() { vec![DType::Resource] } else { types };
                types.into_iter().map(|d| (r.kind, d))
            })
            .collect()
    })
}

/// The pair that the model of a seed begins with.
pub fn of(seed: u64) -> Focus {
    let all = all();
    // Neighbouring seeds have unlike operators.
    all[(seed as usize).wrapping_mul(311) % all.len()]
}

/// Whether a node is of the operator of a pair, and an operand or result of its element type.
pub fn holds(graph: &Graph, node: &Node, (op, dtype): Focus) -> bool {
    node.op == op && (dtype == DType::Resource || node.reads().chain(node.outputs.iter().copied()).any(|t| graph.ty(t).dtype == dtype))
}
