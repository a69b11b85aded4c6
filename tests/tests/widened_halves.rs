//! Products with weights of halves that are widened for many rows: each backend against the kir interpreter, byte by byte.
//!
//! Random models are too small for them. All numbers are multiples of 1/16 below 2, so that sums are exact in any order.

use tflc::backend::compile_kernel;
use tflc::target::{ArmLevel, Cpu, Target, X86Level};
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::{Caps, Kernel};
use tflc_templates::cpu::conv::{self, ConvSpec};
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::expr::{ExprBuilder, Storage};
use tflc_tests::host::levels;
use tflc_tests::kernel_runner::{Case, Entry, Machine, Runner, Slot};

/// A kernel with A, packed weights, C and the bias.
struct Product {
    kernel: Kernel,
    buffers: [Vec<u8>; 4],
    units: usize,
}

/// The sum plus a bias of halves, as models have it.
fn plus_bias() -> Epilogue {
    let mut e = ExprBuilder::new([Storage::F32, Storage::F16]);
    let (sum, bias) = (e.input(0), e.input(1));
    let y = e.add(sum, bias);
    Epilogue { expr: e.finish(y, Storage::F32), operands: vec![OperandAccess::PerColumn] }
}

/// Numbers that look random, below 2 and multiples of 1/16.
fn numbers(n: usize, seed: u32) -> impl Iterator<Item = f32> {
    (0..n as u32).map(move |i| ((i.wrapping_add(seed).wrapping_mul(0x9e37_79b1) >> 13) % 63) as f32 / 16.0 - 31.0 / 16.0)
}

fn floats(n: usize, seed: u32) -> Vec<u8> {
    numbers(n, seed).flat_map(f32::to_le_bytes).collect()
}

fn halves(n: usize, seed: u32) -> Vec<u8> {
    numbers(n, seed).flat_map(|v| half::f16::from_f32(v).to_le_bytes()).collect()
}

/// Panels that are widened at once and in stretches of K, in one block and in several, with partial panels.
fn matrix_products(caps: &Caps) -> Vec<Product> {
    let product = |&(m, n, k): &(usize, usize, usize)| {
        let (lda, ldc) = (k + 1, n + 2);
        let spec = GemmSpec { m, n, k, lda, ldc, a_storage: Storage::F32, weights: WeightFormat::F16, epilogue: plus_bias() };
        assert!(gemm::suits_halves(&spec, caps), "{m}x{n}x{k}");
        let packed = gemm::pack_b(&spec, caps, &halves(n * k, 2));
        let buffers = [floats((m - 1) * lda + k, 1), packed, vec![0xee; ((m - 1) * ldc + n) * 4], halves(n, 3)];
        Product { kernel: gemm::build(&spec, caps), buffers, units: gemm::units(&spec, caps) }
    };
    [(45, 100, 88), (260, 49, 176), (49, 71, 1024), (41, 37, 2304)].iter().map(product).collect()
}

/// Panels that are widened at once, with groups, and rows of taps, with partial panels, strides and several images.
fn convolutions(caps: &Caps) -> Vec<Product> {
    let product = |&(batch, input, out_c, kernel, stride, groups): &(usize, [usize; 3], usize, usize, usize, usize)| {
        let [height, width, in_c] = input;
        let spec = ConvSpec {
            batch,
            input,
            in_pixel: in_c,
            output: [height.div_ceil(stride), width.div_ceil(stride), out_c],
            ldc: out_c,
            kernel: [kernel; 2],
            stride: [stride; 2],
            dilation: [1; 2],
            pad: [kernel / 2; 2],
            groups,
            a_storage: Storage::F32,
            a_zero_point: 0,
            weights: WeightFormat::F16,
            epilogue: plus_bias(),
        };
        assert!(conv::suits_halves(&spec, caps), "{input:?} -> {out_c}");
        let packed = conv::pack_b(&spec, caps, &halves(out_c * kernel * kernel * in_c / groups, 2));
        let pixels: usize = batch * spec.output[0] * spec.output[1];
        let buffers = [floats(batch * height * width * in_c, 1), packed, vec![0xee; pixels * out_c * 4], halves(out_c, 3)];
        Product { kernel: conv::build(&spec, caps), buffers, units: conv::units(&spec, caps) }
    };
    [(1, [14, 15, 48], 64, 3, 1, 2), (2, [9, 12, 200], 35, 3, 1, 1), (1, [17, 40, 150], 16, 5, 2, 1)].iter().map(product).collect()
}

/// Compiles the products for a target and runs them on its machine.
fn check(target: &Target, machine: Machine) {
    let caps = target.caps();
    let products: Vec<Product> = matrix_products(&caps).into_iter().chain(convolutions(&caps)).collect();
    let call = |p: &Product| {
        let mut kernel = p.kernel.clone();
        tflc_kir::optimize(&mut kernel);
        let code = compile_kernel(&kernel, target).unwrap_or_else(|e| panic!("{e}\n{kernel}")).bytes;
        let slots = (0..p.buffers.len()).map(|i| Slot::Buffer(i, 0)).collect();
        Case { code, buffers: p.buffers.to_vec(), slots, entry: Entry::Kernel(0..p.units as i64) }
    };
    let calls: Vec<Case> = products.iter().map(call).collect();
    let Some(runner) = Runner::find(machine) else { return };
    let outcomes = runner.run(&calls).unwrap_or_else(|e| panic!("{}: {e:#}", target.cpu));
    for (p, got) in products.iter().zip(outcomes) {
        let mut memory = Memory::new();
        let args: Vec<Arg> = p.buffers.iter().map(|b| Arg::Ptr(memory.add(b.clone()))).collect();
        run(&p.kernel, &args, &mut memory, 0, p.units as i64).unwrap_or_else(|e| panic!("{e}\n{}", p.kernel));
        assert!(got.ran && got.status == 0, "{} @{}", target.cpu, p.kernel.name);
        assert!(got.buffers[2] == memory.bytes(2), "{} @{}: {} units", target.cpu, p.kernel.name, p.units);
    }
}

#[test]
fn halves_are_widened_right_on_this_processor() {
    for cpu in levels().into_iter().filter(|cpu| *cpu != Cpu::X86(X86Level::Baseline)) {
        check(&Target::new(cpu), Machine::Native);
    }
}

#[test]
fn halves_are_widened_right_on_aarch64() {
    check(&Target::new(Cpu::Aarch64(ArmLevel::Baseline)), Machine::CortexA53);
}
