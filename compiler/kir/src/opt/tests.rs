//! What the passes do on small kernels, and that they keep every result on random ones.

use super::*;
use crate::generate::{Options, generate};
use crate::{Caps, parse, print, verify};

fn optimized(body: &str) -> String {
    let text = format!("kernel @t(%p: ptr, %n: i64, %m: i64, %f: f32) units %b .. %e {{\n{body}\n}}\n");
    let mut kernel = parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    optimize(&mut kernel);
    verify(&kernel).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
    print(&kernel)
}

/// Compares the body after optimisation, without indentation.
fn becomes(body: &str, expected: &str) {
    let got = optimized(body);
    let lines: Vec<&str> = got.lines().map(str::trim).collect();
    let want: Vec<&str> = expected.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
    assert_eq!(lines[1..lines.len() - 1], want, "{got}");
}

#[test]
fn constants_fold() {
    becomes(
        "%1 = const.i64 3\n%2 = const.i64 4\n%3 = mul i64 %1, %2\n%4 = add i64 %n, %3\nstore.i64.wrap [%p], %4",
        "%2 = const.i64 0xc\n%3 = add i64 %n, %2\nstore.i64.wrap [%p], %3",
    );
    becomes("%1 = const.i64 0\n%2 = add i64 %n, %1\nstore.i64.wrap [%p], %2", "store.i64.wrap [%p], %n");
    becomes(
        "%1 = const.f32 0x3f800000\n%2 = splat f32x4 %1\nstore.f32.wrap [%p], %2",
        "%2 = const.f32x4 0x3f800000\nstore.f32.wrap [%p], %2",
    );
    // 0 - 0 is NaN-free, but 0/0 is left alone; so is an undefined division.
    let nan = "%2 = const.f32 0x0\n%3 = div f32 %2, %2\nstore.f32.wrap [%p], %3";
    becomes(nan, nan);
    let undefined = "%2 = const.i64 0x1\n%3 = const.i64 0x0\n%4 = div i64 %2, %3\nstore.i64.wrap [%p], %4";
    becomes(undefined, undefined);
}

#[test]
fn equal_operators_are_shared() {
    becomes(
        "%1 = add i64 %n, %m\n%2 = add i64 %n, %m\n%3 = mul i64 %1, %2\nstore.i64.wrap [%p], %3",
        "%2 = add i64 %n, %m\n%3 = mul i64 %2, %2\nstore.i64.wrap [%p], %3",
    );
    // Loads are not: a store may come between.
    let loads = "%2 = load.f32 f32 [%p]\n%3 = load.f32 f32 [%p]\n%4 = add f32 %2, %3\nstore.f32.wrap [%p], %4";
    becomes(loads, loads);
    // A vector from outside would hold a register throughout the loop.
    let outside = "%2 = splat f32x4 %f
        store.f32.wrap [%p], %2
        for %3 = %0 .. %1 step 1 {
        %4 = splat f32x4 %f
        store.f32.wrap [%p + %3*4], %4
        }";
    becomes(&outside.replace("%0", "%b").replace("%1", "%e"), outside);
}

#[test]
fn addresses_take_constants() {
    becomes(
        "%1 = const.i64 16\n%2 = ptr_add ptr %p, %1\n%3 = add i64 %n, %1\n%4 = load.f32 f32 [%2 + %3*4 + 4]\nstore.f32.wrap [%2 - 16], %4",
        "%2 = load.f32 f32 [%p + %n*4 + 84]\nstore.f32.wrap [%p], %2",
    );
    becomes(
        "%1 = const.i64 3\n%2 = load.u8 i64 [%p + %1*8]\nstore.i64.wrap [%p], %2",
        "%2 = load.u8 i64 [%p + 24]\nstore.i64.wrap [%p], %2",
    );
    becomes(
        "%1 = const.i64 5\n%2 = sub i64 %n, %1\n%3 = sub i64 %2, %1\n%4 = load.u8 i64 [%p + %3*2 + 1]\nstore.i64.wrap [%p], %4",
        "%2 = load.u8 i64 [%p + %n*2 - 19]\nstore.i64.wrap [%p], %2",
    );
    // Not where the sum is needed anyway.
    let kept = "%2 = const.i64 0x4\n%3 = add i64 %n, %2\n%4 = load.u8 i64 [%p + %3*1]\n%5 = add i64 %4, %3\nstore.i64.wrap [%p], %5";
    becomes(kept, kept);
}

#[test]
fn known_control_flow_goes() {
    becomes(
        "%1 = const.i64 0\n%2 = const.i64 4\n%3 = for %i = %1 .. %2 step 4 carry(%x = %n) { %y = add i64 %x, %m\nyield %y }\nstore.i64.wrap [%p], %3",
        "%2 = add i64 %n, %m\nstore.i64.wrap [%p], %2",
    );
    becomes(
        "%1 = const.i64 4\n%3 = for %i = %1 .. %1 step 4 carry(%x = %n) { %y = add i64 %x, %m\nyield %y }\nstore.i64.wrap [%p], %3",
        "store.i64.wrap [%p], %n",
    );
    becomes("%c = const.bool 0\n%r = if %c { yield %n } else { yield %m }\nstore.i64.wrap [%p], %r", "store.i64.wrap [%p], %m");
}

#[test]
fn dead_code_goes_and_effects_stay() {
    becomes("%1 = load.f32 f32 [%p]\n%2 = add f32 %1, %f", "");
    becomes("for %i = %b .. %e step 1 { %x = load.f32 f32 [%p + %i*4] }", "");
    // %x feeds only itself, %y is used; %z never changes.
    becomes(
        "%1, %2, %3 = for %i = %b .. %e step 1 carry(%x = %n, %y = %m, %z = %n) { %u = add i64 %x, %i\n%v = add i64 %y, %z\nyield %u, %v, %z }
        store.i64.wrap [%p], %2",
        "%5 = for %2 = %0 .. %1 step 1 carry(%3 = %m) {
        %4 = add i64 %3, %n
        yield %4
        }
        store.i64.wrap [%p], %5",
    );
    becomes(
        "%c = cmp.lt i64 %n, %m\n%1, %2 = if %c { %x = add i64 %n, %m\nyield %x, %n } else { yield %n, %m }\nstore.i64.wrap [%p], %2",
        "%2 = cmp.lt i64 %n, %m
        %3 = if %2 {
        yield %n
        } else {
        yield %m
        }
        store.i64.wrap [%p], %3",
    );
    becomes("prefetch.l1 [%p]", "prefetch.l1 [%p]");
    becomes(
        "%t = const.bool 0\n%1, %2 = while carry(%x = %n, %y = %m) { %c = cmp.lt i64 %x, %e\nyield %c, %x, %y } do(%u, %v) { %w = add i64 %u, %b\nyield %w, %v }\nstore.i64.wrap [%p], %1",
        "%6 = while carry(%2 = %n) {
        %3 = cmp.lt i64 %2, %1
        yield %3, %2
        } do(%4) {
        %5 = add i64 %4, %0
        yield %5
        }
        store.i64.wrap [%p], %6",
    );
}

#[test]
fn address_arithmetic_leaves_loops() {
    becomes(
        "for %i = %b .. %e step 1 { %c = const.i64 12\n%x = mul i64 %n, %c\n%y = ptr_add ptr %p, %x\n%z = splat f32x4 %f\nstore.f32.wrap [%y + %i*4], %z }",
        "%2 = const.i64 0xc
        %3 = mul i64 %n, %2
        %4 = ptr_add ptr %p, %3
        for %5 = %0 .. %1 step 1 {
        %6 = splat f32x4 %f
        store.f32.wrap [%4 + %5*4], %6
        }",
    );
    // Divisions might not have run, branches may not run.
    let stays = "for %2 = %0 .. %1 step 1 {
        %3 = div i64 %n, %m
        %4 = cmp.lt i64 %2, %m
        if %4 {
        %5 = mul i64 %n, %m
        store.i64.wrap [%p + %2*8], %5
        }
        store.i64.wrap [%p + %2*8], %3
        }";
    becomes(&stays.replace("%0", "%b").replace("%1", "%e"), stays);
}

#[test]
fn too_many_scalars_stay_in_the_loop() {
    let rows: String = (1..16)
        .map(|i| {
            format!("%c{i} = const.i64 {i}\n%o{i} = mul i64 %n, %c{i}\n%q{i} = ptr_add ptr %p, %o{i}\nstore.i64.wrap [%q{i} + %i*8], %m\n")
        })
        .collect();
    let got = optimized(&format!("for %i = %b .. %e step 1 {{\n{rows}}}"));
    let head = got.find("for ").unwrap();
    assert!(!got[..head].contains("ptr_add"), "{got}");
}

#[test]
fn results_stay_the_same_on_random_kernels() {
    for (i, caps) in [Caps::x86_64_baseline(), Caps::x86_64_v3(), Caps::x86_64_v4_vnni(), Caps::aarch64_dotprod()].iter().enumerate() {
        for seed in 0..250 {
            let seed = seed + 10_000 * i as u64;
            let case = generate(seed, caps, &Options { size: 20 + seed as u32 % 100, exclude: vec![] });
            let mut kernel = case.kernel.clone();
            optimize(&mut kernel);
            verify(&kernel).unwrap_or_else(|e| panic!("{seed}: {e}\n{}\n{kernel}", case.kernel));
            let (before, after) = (case.interpret().unwrap(), case.interpret_as(&kernel));
            let after = after.unwrap_or_else(|e| panic!("{seed}: {e}\n{}\n{kernel}", case.kernel));
            assert!(before == after, "{seed}\n{}\n{kernel}", case.kernel);
        }
    }
}

#[test]
fn optimising_twice_gives_a_kernel_no_larger() {
    let size = |k: &crate::Kernel| {
        let mut n = 0;
        k.for_each_inst(&mut |_| n += 1);
        n
    };
    for seed in 0..50 {
        let mut kernel = generate(seed, &Caps::x86_64_v4(), &Options::default()).kernel;
        let first = size(&kernel);
        optimize(&mut kernel);
        let second = size(&kernel);
        optimize(&mut kernel);
        assert!(second <= first && size(&kernel) <= second + 4, "{seed}");
    }
}
