//! Largest errors of the transcendental functions against f64, over dense samples and special values, with and without fused multiply-add.

use super::{binary, unary};
use crate::expr::{Binary, Unary, interpret};
use tflc_kir::interp::{Arg, Memory, Program};
use tflc_kir::{Addr, Builder, Caps, Kernel, Mem, Narrow, Type, Value};

const LANES: usize = 16;

fn kernel(arity: usize, f: impl FnOnce(&mut Builder, &[Value]) -> Value) -> Kernel {
    let mut b = Builder::new("math");
    let inputs: Vec<Value> = (0..arity).map(|i| b.ptr_param(format!("x{i}"))).collect();
    let y = b.ptr_param("y");
    let (begin, end) = (b.begin(), b.end());
    b.for_loop(begin, end, 1, &[], |b, u, _| {
        let at = b.mul_const(u, 4 * LANES as i64);
        let ty = Type::vector(tflc_kir::Elem::F32, LANES as u16);
        let mut values = vec![];
        for &x in &inputs {
            values.push(b.load(ty, Mem::F32, Addr::new(x).index(at, 1)));
        }
        let r = f(b, &values);
        b.store(Mem::F32, Narrow::Wrap, Addr::new(y).index(at, 1), r);
        vec![]
    });
    b.finish()
}

fn apply(kernel: &Kernel, inputs: &[&[f32]]) -> Vec<f32> {
    let n = inputs[0].len().next_multiple_of(LANES);
    let mut memory = Memory::new();
    let mut args = vec![];
    for x in inputs {
        let mut x = x.to_vec();
        x.resize(n, 0.0);
        args.push(Arg::Ptr(memory.add(bytemuck::cast_slice(&x).to_vec())));
    }
    let y = memory.len();
    args.push(Arg::Ptr(memory.add(vec![0; n * 4])));
    Program::new(kernel).unwrap().run(&args, &mut memory, 0, (n / LANES) as i64).unwrap();
    memory.bytes(y).as_chunks::<4>().0[..inputs[0].len()].iter().map(|c| f32::from_le_bytes(*c)).collect()
}

/// Distance of `got` to the exact value in units in the last place of f32 there; NaN, infinities and signs of them must agree.
fn ulps(got: f32, exact: f64) -> f64 {
    let rounded = exact as f32;
    if rounded.is_nan() || got.is_nan() {
        return if rounded.is_nan() == got.is_nan() { 0.0 } else { f64::INFINITY };
    }
    if got == rounded {
        return if got.is_infinite() { 0.0 } else { (f64::from(got) - exact).abs() / ulp(exact) };
    }
    // Overflow counts from the largest finite number.
    let near = |v: f32| {
        if v.is_infinite() {
            f64::from(f32::MAX).copysign(f64::from(v)) + ulp(f64::from(f32::MAX)).copysign(f64::from(v))
        } else {
            f64::from(v)
        }
    };
    (near(got) - if rounded.is_infinite() { near(rounded) } else { exact }).abs() / ulp(exact)
}

fn ulp(v: f64) -> f64 {
    let e = v.abs().clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)).log2().floor() as i32;
    2f64.powi(e - 23)
}

/// Every 9,973rd bit pattern, specials, and 60,000 numbers in [-`range`, `range`].
fn samples(range: f32) -> Vec<f32> {
    let mut x: Vec<f32> = (0..u32::MAX / 9973).map(|i| f32::from_bits(i * 9973)).collect();
    x.extend((0..60_000).map(|i| (i as f32 / 30_000.0 - 1.0) * range));
    for v in [0.0, 1.0, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::INFINITY, 0.5, 88.72283, 88.72284, 103.97208, 87.33654, 9.0, 3.0] {
        for v in [v, v + f32::EPSILON * v, v - f32::EPSILON * v] {
            x.extend([v, -v]);
        }
    }
    x.push(f32::NAN);
    x
}

fn targets() -> [Caps; 2] {
    [Caps::x86_64_v3(), Caps::x86_64_baseline()]
}

/// The largest error over samples that `domain` takes, and where it is.
fn largest(op: Unary, exact: impl Fn(f64) -> f64, domain: impl Fn(f32) -> bool, range: f32) -> [(f64, f32); 2] {
    let x: Vec<f32> = samples(range).into_iter().filter(|v| domain(*v)).collect();
    targets().map(|caps| {
        let k = kernel(1, |b, v| unary(b, &caps, op, v[0]));
        let y = apply(&k, &[&x]);
        x.iter().zip(&y).map(|(x, y)| (ulps(*y, exact(f64::from(*x))), *x)).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a })
    })
}

fn check(op: Unary, exact: impl Fn(f64) -> f64, domain: impl Fn(f32) -> bool, range: f32, bound: f64) {
    let found = largest(op, exact, domain, range);
    println!("{op:?}: {:.3} ulp at {:e} fused, {:.3} ulp at {:e} without", found[0].0, found[0].1, found[1].0, found[1].1);
    for (error, at) in found {
        assert!(error <= bound, "{op:?}: {error} ulp at {at:e} ({:#x}), {bound} stated", at.to_bits());
    }
}

#[test]
fn exponential() {
    check(Unary::Exp, f64::exp, |_| true, 110.0, 1.0);
}

#[test]
fn exponential_of_what_is_not_positive() {
    let x: Vec<f32> = samples(110.0).into_iter().filter(|v| *v <= 0.0 || v.is_nan()).collect();
    for caps in targets() {
        let k = kernel(1, |b, v| super::exp_not_positive(b, &caps, v[0]));
        for (x, y) in x.iter().zip(apply(&k, &[&x])) {
            let exact = f64::from(*x).exp();
            if exact < f64::from(f32::MIN_POSITIVE) {
                assert_eq!(y, 0.0, "{x:e}");
            } else {
                assert!(y.is_nan() == x.is_nan() && (x.is_nan() || y.is_normal() && ulps(y, exact) <= 1.0), "{x:e}: {y:e}");
            }
        }
    }
}

#[test]
fn exponential_less_one() {
    check(Unary::Expm1, f64::exp_m1, |_| true, 90.0, 2.0);
}

#[test]
fn logarithm() {
    check(Unary::Log, f64::ln, |_| true, 10.0, 1.0);
}

#[test]
fn hyperbolic_tangent() {
    check(Unary::Tanh, f64::tanh, |_| true, 10.0, 3.0);
}

#[test]
fn logistic() {
    check(Unary::Logistic, |x| 1.0 / (1.0 + (-x).exp()), |_| true, 110.0, 2.5);
}

#[test]
fn error_function() {
    check(Unary::Erf, interpret::erf, |_| true, 5.0, 1.1);
}

#[test]
fn sine_and_cosine() {
    check(Unary::Sin, f64::sin, |x| x.abs() < 30_000.0, 10.0, 2.0);
    check(Unary::Cos, f64::cos, |x| x.abs() < 30_000.0, 10.0, 2.0);
}

/// Pairs of all specials, and pseudo-random ones.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    let specials = [
        0.0f32,
        1.0,
        2.0,
        3.0,
        0.5,
        1.5,
        1e-45,
        1e-38,
        1e38,
        f32::MAX,
        f32::INFINITY,
        f32::NAN,
        16777215.0,
        16777216.0,
        4.0,
        0.9999999,
        1.0000001,
        65.0,
    ];
    let all: Vec<f32> = specials.iter().flat_map(|v| [*v, -*v]).collect();
    let mut x = vec![];
    let mut y = vec![];
    for a in &all {
        for b in &all {
            x.push(*a);
            y.push(*b);
        }
    }
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 32) as u32
    };
    for i in 0..40_000 {
        let (a, b) = (next(), next());
        if i % 2 == 0 {
            x.push(f32::from_bits(a));
            y.push(f32::from_bits(b));
        } else {
            x.push(a as f32 / 4e8);
            y.push(b as i32 as f32 / 1e8);
        }
    }
    (x, y)
}

fn check_pairs(op: Binary, exact: impl Fn(f32, f32) -> f64, bound: f64) {
    let (x, y) = pairs();
    for caps in targets() {
        let k = kernel(2, |b, v| binary(b, &caps, op, v[0], v[1]));
        let r = apply(&k, &[&x, &y]);
        let mut worst = (0.0, 0.0, 0.0, 0.0);
        for ((&x, &y), &r) in x.iter().zip(&y).zip(&r) {
            let error = ulps(r, exact(x, y));
            let zero_sign = r == 0.0 && exact(x, y) == 0.0 && r.is_sign_negative() != exact(x, y).is_sign_negative();
            assert!(!zero_sign, "{op:?}({x:e}, {y:e}) is {r:?}");
            if error > worst.0 {
                worst = (error, x, y, r);
            }
        }
        println!("{op:?}: {:.4} ulp at {:e}, {:e}", worst.0, worst.1, worst.2);
        assert!(worst.0 <= bound, "{op:?}({:e}, {:e}) = {:e}: {} ulp, {bound} stated", worst.1, worst.2, worst.3, worst.0);
    }
}

#[test]
fn power() {
    check_pairs(Binary::Pow, |x, y| f64::from(x).powf(f64::from(y)), 0.51);
}

#[test]
fn remainder() {
    check_pairs(Binary::Rem, |x, y| f64::from(x % y), 0.0);
}

#[test]
fn arc_tangent() {
    check_pairs(Binary::Atan2, |y, x| f64::from(y).atan2(f64::from(x)), 3.0);
}
