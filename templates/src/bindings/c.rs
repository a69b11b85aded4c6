//! The C header of one model.

use super::identifier::{comment, constant, distinct, literal};
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
    let own_names = |list: &[Tensor]| list.iter().map(|t| t.name.clone()).collect::<Vec<_>>();
    for (what, list) in [("INPUT", &interface.ports.inputs), ("OUTPUT", &interface.ports.outputs)] {
        tensors(&mut out, &upper, what, list, &own_names(list));
    }
    let keys = distinct(interface.signatures.iter().map(|s| constant(&s.key)));
    for (s, key) in interface.signatures.iter().zip(keys) {
        let _ = writeln!(out, "\n/* The signature {}: see tflc_signature(). */", comment(&literal(&s.key)));
        let _ = writeln!(out, "#define {upper}_{key} {}", literal(&s.key));
        let Some(ports) = &s.own else { continue };
        for (what, list, names) in [("INPUT", &ports.inputs, &s.inputs), ("OUTPUT", &ports.outputs, &s.outputs)] {
            let name = |i: usize| names.iter().find(|n| n.1 == i).map_or_else(|| list[i].name.clone(), |n| n.0.clone());
            tensors(&mut out, &format!("{upper}_{key}"), what, list, &(0..list.len()).map(name).collect::<Vec<_>>());
        }
    }
    let _ = writeln!(out, "\n/* The model's descriptor, or NULL where the processor has none of the CPU levels. */");
    let _ = writeln!(out, "const tflc_model *{}_model(void);\n", interface.name);
    let _ = writeln!(out, "#ifdef __cplusplus\n}}\n#endif\n#endif");
    out
}

fn tensors(out: &mut String, upper: &str, what: &str, list: &[Tensor], names: &[String]) {
    let _ = writeln!(out, "\n#define {upper}_{what}S {}u", list.len());
    let constants = distinct(names.iter().map(|n| constant(n)));
    for (i, ((t, own), name)) in list.iter().zip(names).zip(constants).enumerate() {
        let shape: Vec<String> = t.shape.iter().map(ToString::to_string).collect();
        let open = t.open_axis.map(|a| format!("; axes from {a} on are at most that long, see tflc_dimension()")).unwrap_or_default();
        let _ = writeln!(out, "/* {}: {} [{}]{open} */", comment(own), t.dtype, shape.join(", "));
        let _ = writeln!(out, "#define {upper}_{what}_{name} {i}u");
        let _ = writeln!(out, "#define {upper}_{what}_{i}_BYTES {}u", t.bytes);
        let _ = writeln!(out, "#define {upper}_{what}_{i}_ELEMENTS {}u", t.shape.iter().product::<usize>());
        if let Some((scale, zero_point)) = t.quantized {
            let _ = writeln!(out, "#define {upper}_{what}_{i}_SCALE {scale:e}f\n#define {upper}_{what}_{i}_ZERO_POINT ({zero_point})");
        }
    }
}
