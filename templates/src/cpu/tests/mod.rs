//! Kernels in the kir interpreter against naive loops, for every kind of target.

mod conv;
mod depthwise;
mod families;
mod gemm;
mod pointwise;
mod quantize_rows;
mod run;
mod transpose_conv;

use crate::cpu::epilogue::{Epilogue, OperandAccess};
use crate::cpu::mac::WeightFormat;
use crate::expr::{Cast, ExprBuilder, Storage, Ty, Unary};
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::{Caps, Kernel, legal, verify};

/// A target of each kind.
pub(super) fn targets() -> Vec<(&'static str, Caps)> {
    vec![
        ("x86-64", Caps::x86_64_baseline()),
        ("x86-64-v3", Caps::x86_64_v3()),
        ("x86-64-v3+vnni", Caps::x86_64_v3_vnni()),
        ("x86-64-v4", Caps::x86_64_v4()),
        ("x86-64-v4+vnni", Caps::x86_64_v4_vnni()),
        ("x86-64-v4+amx", Caps::x86_64_v4_amx()),
        ("aarch64", Caps::aarch64()),
        ("rv64gc", Caps::riscv64()),
        ("aarch64+fp16", Caps::aarch64_f16()),
        ("aarch64+dotprod", Caps::aarch64_dotprod()),
        ("aarch64+i8mm", Caps::aarch64_i8mm()),
    ]
}

/// Deterministic pseudo-random numbers (xorshift64*).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A float in [-1, 1] with few bits, so that short sums are exact.
    pub(super) fn float(&mut self) -> f32 {
        (self.next() % 17) as f32 / 8.0 - 1.0
    }

    pub(super) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// Bytes; a third of them extreme.
    pub(super) fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n)
            .map(|_| match self.next() % 9 {
                0 => 0x80,
                1 => 0x7f,
                2 => [0x00, 0xff][self.next() as usize % 2],
                _ => self.next() as u8,
            })
            .collect()
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.next() as usize % n
    }
}

pub(super) fn f32_bytes(v: &[f32]) -> Vec<u8> {
    bytemuck::cast_slice(v).to_vec()
}

/// Weights as an array of their format, one of floats.
pub(super) fn weight_bytes(format: WeightFormat, w: &[f32]) -> Vec<u8> {
    match format {
        WeightFormat::F16 => w.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes()).collect(),
        _ => f32_bytes(w),
    }
}

/// The format of float weights with which a target accumulates in halves, where it does.
pub(super) fn float_weights(caps: &Caps) -> WeightFormat {
    if caps.f16 { WeightFormat::F16 } else { WeightFormat::F32 }
}

/// How far a sum in halves may be from the exact one. Sums of multiples of 1/64, as products of [`Random::float`] are, are exact up to 32, in any order. Larger
/// ones are rounded at each step, by chance up and down, by at most a part in 2048 of the largest of them.
pub(super) fn halves_error(caps: &Caps, start: f32, products: impl Iterator<Item = f32>) -> f64 {
    let (mut sum, mut largest, mut steps) = (f64::from(start), f64::from(start).abs(), 0);
    for p in products {
        sum += f64::from(p);
        largest = largest.max(sum.abs());
        steps += 1;
    }
    if caps.f16 && largest > 16.0 { 2.0 * largest * f64::from(steps).sqrt() / 2048.0 } else { 0.0 }
}

pub(super) fn i32_bytes(v: &[i32]) -> Vec<u8> {
    bytemuck::cast_slice(v).to_vec()
}

/// Runs a kernel with A read-only and exactly as large as it is, C filled with a canary, and the units in three pieces.
#[allow(clippy::too_many_arguments)]
pub(super) fn execute(
    name: &str,
    caps: &Caps,
    kernel: &Kernel,
    a: &[u8],
    b: &[u8],
    c_bytes: usize,
    operands: &[Vec<u8>],
    units: usize,
) -> Vec<u8> {
    if let Err(e) = verify(kernel) {
        panic!("{name}: {e}");
    }
    for &ty in &kernel.types {
        assert!(legal(ty, caps), "{name}: {ty} is no register of the target in\n{kernel}");
    }
    let mut memory = Memory::new();
    let mut args = vec![Arg::Ptr(memory.add_shared(a)), Arg::Ptr(memory.add_shared(b))];
    let c = memory.len();
    args.push(Arg::Ptr(memory.add(vec![CANARY; c_bytes])));
    args.extend(operands.iter().map(|o| Arg::Ptr(memory.add_shared(o))));
    let cuts = [0, units / 3, units / 2, units];
    for w in [1, 0, 2] {
        if let Err(e) = run(kernel, &args, &mut memory, cuts[w] as i64, cuts[w + 1] as i64) {
            panic!("{name}: {e}\n{kernel}");
        }
    }
    memory.bytes(c).to_vec()
}

/// What bytes of C hold that no kernel may write.
pub(super) const CANARY: u8 = 0xcd;

/// `clamp(rint(f32(acc + bias) * scale) + zero_point)` with per-column bias and scale.
pub(super) fn requantize(output: Storage, zero_point: i32) -> Epilogue {
    let (lo, hi) = if output == Storage::U8 { (0, 255) } else { (-128, 127) };
    let mut e = ExprBuilder::new(vec![Storage::I32, Storage::I32, Storage::F32]);
    let (acc, bias, scale) = (e.input(0), e.input(1), e.input(2));
    let sum = e.add(acc, bias);
    let x = e.cast(Cast::Value, Ty::F32, sum);
    let x = e.mul(x, scale);
    let q = e.cast(Cast::RoundEven, Ty::I32, x);
    let zp = e.i32(zero_point);
    let q = e.add(q, zp);
    let (lo, hi) = (e.i32(lo), e.i32(hi));
    let q = e.max(q, lo);
    let q = e.min(q, hi);
    Epilogue { expr: e.finish(q, output), operands: vec![OperandAccess::PerColumn, OperandAccess::PerColumn] }
}

/// The same for one accumulator.
pub(super) fn requantized(output: Storage, acc: i32, scale: f32, zero_point: i32) -> u8 {
    let (lo, hi) = if output == Storage::U8 { (0, 255) } else { (-128, 127) };
    let q = (acc as f32 * scale).round_ties_even() as i32 + zero_point;
    q.clamp(lo, hi) as u8
}

/// `max(acc + bias, 0) * row + residual + scalar`: every kind of operand.
pub(super) fn every_operand(residual_stride_bytes: i64) -> Epilogue {
    let mut e = ExprBuilder::new(vec![Storage::F32; 5]);
    let (acc, bias, row, residual, scalar) = (e.input(0), e.input(1), e.input(2), e.input(3), e.input(4));
    let x = e.add(acc, bias);
    let zero = e.f32(0.0);
    let x = e.max(x, zero);
    let x = e.mul(x, row);
    let x = e.add(x, residual);
    let y = e.add(x, scalar);
    let y = e.unary(Unary::Neg, y);
    let operands = vec![
        OperandAccess::PerColumn,
        OperandAccess::PerRow,
        OperandAccess::Matrix { row_stride_bytes: residual_stride_bytes },
        OperandAccess::Scalar,
    ];
    Epilogue { expr: e.finish(y, Storage::F32), operands }
}
