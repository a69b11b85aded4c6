//! Runs a kernel in every way that must not matter: whole and in pieces, as built and optimised.

use super::{CANARY, targets};
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::{Caps, Kernel, legal, opt, verify};

/// Runs `kernel` over `units` with `inputs` in front of the output and `tables` behind it; gives output and status.
pub(super) fn outcome(
    name: &str,
    caps: &Caps,
    kernel: &Kernel,
    inputs: &[Vec<u8>],
    out_bytes: usize,
    tables: &[Vec<u8>],
    units: u64,
) -> (Vec<u8>, i32) {
    let mut optimized = kernel.clone();
    opt::optimize(&mut optimized);
    let units = units as i64;
    let ways = [vec![(0, units)], vec![(units / 2, units), (0, units / 3), (units / 3, units / 2)]];
    let mut first: Option<(Vec<u8>, i32)> = None;
    for kernel in [kernel, &optimized] {
        if let Err(e) = verify(kernel) {
            panic!("{name}: {e}\n{kernel}");
        }
        for &ty in &kernel.types {
            assert!(legal(ty, caps), "{name}: {ty} is no register of the target in\n{kernel}");
        }
        for pieces in &ways {
            let mut memory = Memory::new();
            let mut args: Vec<Arg> = inputs.iter().map(|x| Arg::Ptr(memory.add_shared(x))).collect();
            let y = memory.len();
            args.push(Arg::Ptr(memory.add(vec![CANARY; out_bytes])));
            args.extend(tables.iter().map(|t| Arg::Ptr(memory.add_shared(t))));
            let mut status = 0;
            for &(begin, end) in pieces {
                match run(kernel, &args, &mut memory, begin, end) {
                    Ok(s) => status = status.max(s),
                    Err(e) => panic!("{name}: {e}\n{kernel}"),
                }
            }
            let got = (memory.bytes(y).to_vec(), status);
            match &first {
                None => first = Some(got),
                Some(f) => assert!(*f == got, "{name}: pieces or the optimiser change the result\n{kernel}"),
            }
        }
    }
    first.expect("at least one run")
}

/// Checks `build` for every target: bytes of the output must equal `expected`.
pub(super) fn check(name: &str, build: &dyn Fn(&Caps) -> (Kernel, u64), inputs: &[Vec<u8>], tables: &[Vec<u8>], expected: &[u8]) {
    for (target, caps) in targets() {
        let (kernel, units) = build(&caps);
        let name = format!("{name} on {target}");
        let (got, status) = outcome(&name, &caps, &kernel, inputs, expected.len(), tables, units);
        assert_eq!(status, 0, "{name}");
        if got != expected {
            let at = got.iter().zip(expected).position(|(g, e)| g != e).unwrap_or(0);
            panic!("{name}: byte {at} of {} is {} instead of {}\n{kernel}", expected.len(), got[at], expected[at]);
        }
    }
}

/// The same for f32 results that may differ by `tolerance`, relative to values above 1; NaN equals NaN.
pub(super) fn check_close(
    name: &str,
    build: &dyn Fn(&Caps) -> (Kernel, u64),
    inputs: &[Vec<u8>],
    tables: &[Vec<u8>],
    expected: &[f64],
    tolerance: f64,
) {
    for (target, caps) in targets() {
        let (kernel, units) = build(&caps);
        let name = format!("{name} on {target}");
        let (got, status) = outcome(&name, &caps, &kernel, inputs, expected.len() * 4, tables, units);
        assert_eq!(status, 0, "{name}");
        for (i, (c, &want)) in got.as_chunks::<4>().0.iter().zip(expected).enumerate() {
            let y = f64::from(f32::from_le_bytes(*c));
            let fine = if want.is_finite() {
                (y - want).abs() <= tolerance * want.abs().max(1.0)
            } else {
                y == want || (y.is_nan() && want.is_nan())
            };
            assert!(fine, "{name}: element {i} is {y} instead of {want}");
        }
    }
}
