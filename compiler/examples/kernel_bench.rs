//! Measures every row of the kernel table against the machine's peak, in one run, interleaved; ratios of medians.
//!
//! `cargo run --release -p tflc --example kernel_bench [-- LEVEL [FILTER]]` with LEVEL `v3`, `v4` or `vnni`.

use std::time::Instant;
use tflc::backend::x86;
use tflc::jit::memory::CodeMemory;
use tflc::target::{Cpu, Target, X86Level};
use tflc_kir::Kernel;
use tflc_templates::cpu::peak;
use tflc_templates::cpu::table::{Dtype, ROWS};

/// A compiled kernel.
struct Function {
    code: CodeMemory,
    compile_us: f64,
    bytes: usize,
    edits: usize,
}

impl Function {
    fn new(kernel: &Kernel, level: X86Level) -> Function {
        tflc_kir::verify(kernel).expect("the kernel verifies");
        let start = Instant::now();
        let mut kernel = kernel.clone();
        tflc_kir::optimize(&mut kernel);
        let (code, stats) = x86::compile_with_stats(&kernel, level).expect("the kernel compiles");
        let compile_us = start.elapsed().as_secs_f64() * 1e6;
        Function {
            code: CodeMemory::new(&code.bytes).expect("executable memory"),
            compile_us,
            bytes: code.bytes.len(),
            edits: stats.inner_loop_edits,
        }
    }

    fn call(&self, args: &[u64], units: usize) -> f64 {
        // SAFETY: the code follows the calling convention of `Kernel`; the caller passes an address for every parameter, of buffers of
        // the sizes that the kernel was made for.
        let f: extern "sysv64" fn(*const u64, i64, i64) -> i32 = unsafe { std::mem::transmute(self.code.address(0)) };
        let start = Instant::now();
        f(args.as_ptr(), 0, units as i64);
        start.elapsed().as_secs_f64()
    }
}

/// A buffer aligned to cache lines.
struct Buffer(Vec<Line>);

#[repr(align(64))]
#[derive(Clone, Copy)]
struct Line([u64; 8]);

impl Buffer {
    fn new(bytes: &[u8]) -> Buffer {
        let mut b = Buffer::zeroed(bytes.len());
        for (i, chunk) in bytes.chunks(64).enumerate() {
            let mut line = [0u8; 64];
            line[..chunk.len()].copy_from_slice(chunk);
            b.0[i] = Line(std::array::from_fn(|j| u64::from_le_bytes(line[j * 8..j * 8 + 8].try_into().expect("eight bytes"))));
        }
        b
    }

    fn zeroed(bytes: usize) -> Buffer {
        Buffer(vec![Line([0; 8]); bytes.div_ceil(64) + 1])
    }

    fn address(&self) -> u64 {
        self.0.as_ptr() as u64
    }
}

fn median(v: &mut [f64]) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let level = match args.first().map(String::as_str) {
        Some("v3") => X86Level::V3,
        Some("v4") => X86Level::V4,
        _ => X86Level::V4Vnni,
    };
    let filter = args.get(1).cloned().unwrap_or_default();
    let caps = Target::new(Cpu::X86(level)).caps();
    let lanes = caps.vector_bytes as usize / 4;
    let input = Buffer::new(&[0; 64]);
    let output = Buffer::zeroed(64);
    let peak_args = [input.address(), output.address()];
    let fma = Function::new(&peak::multiply_add(&caps), level);
    let int8 = peak::dot4(&caps);
    let (int8, per_lane) = (Function::new(&int8.clone().unwrap_or_else(|| peak::dot2(&caps)), level), if int8.is_some() { 4 } else { 2 });
    println!(
        "{:34} {:>26} {:>9} {:>7} {:>6} {:>6} {:>8} {:>6} {:>6} {:>6}",
        "row", "kernel", "us", "GMAC/s", "peak%", "best%", "GB/s", "insts", "us c", "edits"
    );
    let mut failed = false;
    for row in ROWS.iter().filter(|r| r.name().contains(&filter)) {
        let case = row.make(&caps);
        let f = Function::new(&case.kernel, level);
        let (a, packed, c) = (Buffer::new(&case.a), Buffer::new(&case.packed), Buffer::zeroed(case.c_bytes));
        let operands: Vec<Buffer> = case.operands.iter().map(|o| Buffer::new(o)).collect();
        let args: Vec<u64> = [a.address(), packed.address(), c.address()].into_iter().chain(operands.iter().map(Buffer::address)).collect();
        let (peak_fn, peak_macs) = match row.dtype {
            Dtype::F32 => (&fma, lanes * peak::OPS_PER_UNIT),
            _ => (&int8, lanes * per_lane * peak::OPS_PER_UNIT),
        };
        let once = f.call(&args, case.units).max(1e-7);
        let repeat = (0.4 / once).clamp(15.0, 400.0) as usize;
        let peak_units = 200;
        let (mut times, mut peaks) = (vec![], vec![]);
        for _ in 0..repeat {
            times.push(f.call(&args, case.units));
            peaks.push(peak_fn.call(&peak_args, peak_units));
        }
        let best = times.iter().copied().fold(f64::INFINITY, f64::min);
        let best_peak = peaks.iter().copied().fold(f64::INFINITY, f64::min);
        let (time, peak_time) = (median(&mut times), median(&mut peaks));
        let peak = (peak_macs * peak_units) as f64 / peak_time;
        let share = case.macs as f64 / time / peak;
        let best_share = case.macs as f64 / best / ((peak_macs * peak_units) as f64 / best_peak);
        let mark = if share < row.need { "  below" } else { "" };
        failed |= share < row.need;
        println!(
            "{:34} {:>26} {:>9.1} {:>7.1} {:>6.1} {:>6.1} {:>8.2} {:>6} {:>6.0} {:>6}{mark}",
            row.name(),
            case.kernel.name,
            time * 1e6,
            case.macs as f64 / time * 1e-9,
            share * 100.0,
            best_share * 100.0,
            case.bytes() as f64 / time * 1e-9,
            f.bytes,
            f.compile_us,
            f.edits,
        );
    }
    if failed {
        std::process::exit(1);
    }
}
