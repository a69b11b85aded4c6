//! The C header of one model.

use super::identifier::{comment, constant, distinct};
use super::{Interface, Tensor};
use std::fmt::Write as _;

/// The header: sizes, positions of inputs and outputs by name, their types, and `NAME_model`.
pub fn header(interface: &Interface) -> String {
    let upper = interface.name.to_ascii_uppercase();
    let mut out = String::new();
    let _ = writeln!(out, "/* {}: a model compiled by tflc. Made by the compiler; changes are lost.", interface.name);
    if !interface.description.is_empty() {
        let _ = writeln!(out, " * {}", comment(&interface.description));
    }
    let _ = writeln!(out, " * CPU levels: {}. */", interface.cpus.join(", "));
    let _ = writeln!(out, "#ifndef TFLC_MODEL_{upper}_H\n#define TFLC_MODEL_{upper}_H\n\n#include \"tflc.h\"\n");
    let _ = writeln!(out, "#ifdef __cplusplus\nextern \"C\" {{\n#endif\n");
    let _ = writeln!(out, "/* Sizes in bytes; see tflc_model. The arena fits every CPU level. */");
    let _ = writeln!(out, "#define {upper}_ARENA_BYTES {}u", interface.arena_bytes);
    let _ = writeln!(out, "#define {upper}_STATE_BYTES {}u", interface.state_bytes);
    if let Some((bytes, crc)) = interface.split_weights {
        let _ = writeln!(out, "\n/* The weights, in {}.weights: their address is one more input, behind the others. */", interface.name);
        let _ = writeln!(out, "#define {upper}_WEIGHTS_BYTES {bytes}u\n#define {upper}_WEIGHTS_CRC32 0x{crc:08X}u");
    }
    for (what, list) in [("INPUT", &interface.inputs), ("OUTPUT", &interface.outputs)] {
        tensors(&mut out, &upper, what, list);
    }
    let _ = writeln!(out, "\n/* The model's descriptor, or NULL where the processor has none of the CPU levels. */");
    let _ = writeln!(out, "const tflc_model *{}_model(void);\n", interface.name);
    let _ = writeln!(out, "#ifdef __cplusplus\n}}\n#endif\n#endif");
    out
}

fn tensors(out: &mut String, upper: &str, what: &str, list: &[Tensor]) {
    let _ = writeln!(out, "\n#define {upper}_{what}S {}u", list.len());
    let names = distinct(list.iter().map(|t| constant(&t.name)));
    for (i, (t, name)) in list.iter().zip(names).enumerate() {
        let shape: Vec<String> = t.shape.iter().map(ToString::to_string).collect();
        let _ = writeln!(out, "/* {}: {} [{}] */", comment(&t.name), t.dtype, shape.join(", "));
        let _ = writeln!(out, "#define {upper}_{what}_{name} {i}u");
        let _ = writeln!(out, "#define {upper}_{what}_{i}_BYTES {}u", t.bytes);
        let _ = writeln!(out, "#define {upper}_{what}_{i}_ELEMENTS {}u", t.shape.iter().product::<usize>());
        if let Some((scale, zero_point)) = t.quantized {
            let _ = writeln!(out, "#define {upper}_{what}_{i}_SCALE {scale:e}f\n#define {upper}_{what}_{i}_ZERO_POINT ({zero_point})");
        }
    }
}
