//! Generated kernels keep the generator's promises.

use super::*;
use crate::{parse, print, verify};
use std::collections::HashSet;

fn targets() -> Vec<(&'static str, Caps)> {
    vec![
        ("x86_64", Caps::x86_64_baseline()),
        ("v3", Caps::x86_64_v3()),
        ("v4", Caps::x86_64_v4_amx()),
        ("aarch64", Caps::aarch64_i8mm()),
        ("aarch64 with halves", Caps::aarch64_f16()),
    ]
}

#[test]
fn kernels_verify_run_and_round_trip() {
    for (name, caps) in targets() {
        for seed in 0..150 {
            let case = generate(seed, &caps, &Options::default());
            verify(&case.kernel).unwrap_or_else(|e| panic!("{name} {seed}: {e}\n{}", case.kernel));
            for ty in &case.kernel.types {
                assert!(legal(*ty, &caps), "{name} {seed}: {ty}");
            }
            let text = print(&case.kernel);
            let parsed = parse(&text).unwrap_or_else(|e| panic!("{name} {seed}: {e}\n{text}"));
            assert_eq!(print(&parsed), text);
            let first = case.interpret().unwrap_or_else(|e| panic!("{name} {seed}: {e}\n{text}"));
            assert_eq!(case.interpret_as(&parsed).unwrap(), first);
        }
    }
}

#[test]
fn same_seed_same_kernel() {
    let caps = Caps::x86_64_v4();
    let one = generate(7, &caps, &Options::default());
    let two = generate(7, &caps, &Options::default());
    assert_eq!((one.kernel, one.buffers, one.args), (two.kernel, two.buffers, two.args));
}

#[test]
fn floats_in_memory_are_never_nan() {
    let caps = Caps::x86_64_v3();
    for seed in 0..100 {
        let case = generate(seed, &caps, &Options::default());
        let (_, buffers) = case.interpret().unwrap();
        let out = case.kernel.params[OUT].value;
        // Only the stores of results at the end go there, each to its own place.
        for inst in &case.kernel.body.insts {
            let Op::Store(m, _) = &inst.op else { continue };
            let ty = case.kernel.ty(inst.args[inst.args.len() - 1]);
            if inst.args[0] == out && ty.elem.is_float() {
                let at = m.addr.disp as usize;
                for lane in buffers[OUT][at..at + ty.bits() as usize / 8].chunks(m.mem.bytes() as usize) {
                    let nan = match *lane {
                        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).is_nan(),
                        _ => f64::from_le_bytes(lane.try_into().unwrap()).is_nan(),
                    };
                    assert!(!nan, "{seed}");
                }
            }
        }
    }
}

#[test]
fn every_operator_and_form_comes_up() {
    let mut seen = HashSet::new();
    for (_, caps) in targets() {
        for seed in 1000..1400 {
            let case = generate(seed, &caps, &Options::default());
            for line in print(&case.kernel).lines() {
                let body = line.split(" = ").find(|s| !s.trim_start().starts_with('%')).unwrap_or_default().trim();
                seen.insert(body.split(' ').next().unwrap_or_default().to_string());
                for form in ["first(", "mask("] {
                    if line.contains(form) {
                        seen.insert(form.to_string());
                    }
                }
            }
        }
    }
    for name in crate::parse::mnemonics() {
        let with_type = ["const", "load", "load_splat", "gather", "store"].contains(&name.as_str());
        let found = if with_type { seen.iter().any(|s| s.starts_with(&format!("{name}."))) } else { seen.contains(&name) };
        assert!(found, "{name} never comes up");
    }
    for m in Mem::ALL {
        assert!(seen.contains(&format!("load.{}", m.name())), "load.{}", m.name());
        assert!(seen.contains(&format!("store.{}.sat", m.name())), "store.{}", m.name());
    }
    assert!(seen.contains("first(") && seen.contains("mask("));
}

#[test]
fn excluded_groups_stay_out() {
    let exclude = vec![Group::Loops, Group::While, Group::Branches, Group::Float64, Group::Gather, Group::HalfMemory, Group::Shuffle];
    let options = Options { size: 80, exclude };
    for seed in 0..60 {
        let text = print(&generate(seed, &Caps::x86_64_v4(), &options).kernel);
        for word in [" for ", "while ", "if ", "f64", "gather.", "f16 ", "shuffle"] {
            assert!(!text.contains(word), "{word} in\n{text}");
        }
    }
}
