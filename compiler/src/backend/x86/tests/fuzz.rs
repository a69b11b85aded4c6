//! Random kernels: compiled code must do exactly what the interpreter does.

use super::run::{Guarded, call, full_caps, runnable};
use crate::backend::x86::{compile, disassemble};
use crate::target::X86Level;
use tflc_kir::generate::{Options, generate};

/// Compiles and runs the kernel of a seed; panics where it differs from the interpreter.
fn check(seed: u64, level: X86Level, size: u32) {
    let caps = full_caps(level);
    let case = generate(seed, &caps, &Options { size, ..Options::default() });
    let code = match compile(&case.kernel, level) {
        Ok(code) => code,
        Err(e) => panic!("seed {seed} {level:?}: {e}\n{}", case.kernel),
    };
    let Some(runnable) = runnable(&code, level) else { return };
    let expected = case.interpret().expect("the interpreter runs what the generator makes");
    let buffers: Vec<Guarded> = case.buffers.iter().map(|b| Guarded::new(&b.bytes)).collect();
    let slots = case.slots(|i| buffers[i].address());
    if std::env::var("TFLC_FUZZ_SEED").is_ok() {
        eprintln!("{}\n{}", case.kernel, disassemble(&code));
    }
    let status = call(&runnable, &slots, case.begin, case.end);
    let after: Vec<Vec<u8>> = buffers.iter().map(Guarded::bytes).collect();
    let differs =
        after.iter().zip(&expected.1).enumerate().find_map(|(i, (a, e))| a.iter().zip(e).position(|(a, e)| a != e).map(|at| (i, at)));
    if (status, &after) != (expected.0, &expected.1) {
        panic!(
            "seed {seed} {level:?} size {size}: status {status} for {}, first difference (buffer, byte) {differs:?}\n{}",
            expected.0, case.kernel
        );
    }
}

fn sweep(level: X86Level) {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    if let Some(seed) = number("TFLC_FUZZ_SEED") {
        return check(seed, level, number("TFLC_FUZZ_SIZE").unwrap_or(60) as u32);
    }
    let count = number("TFLC_FUZZ_COUNT").unwrap_or(150);
    for seed in 0..count {
        check(seed, level, number("TFLC_FUZZ_SIZE").map_or([4, 12, 60, 200][seed as usize % 4], |s| s as u32));
    }
}

#[test]
fn random_kernels_v3() {
    sweep(X86Level::V3);
}

#[test]
fn random_kernels_v3_vnni() {
    sweep(X86Level::V3Vnni);
}

#[test]
fn random_kernels_v4() {
    sweep(X86Level::V4);
}

#[test]
fn random_kernels_v4_vnni() {
    sweep(X86Level::V4Vnni);
}

#[test]
fn random_kernels_v4_amx() {
    sweep(X86Level::V4Amx);
}
