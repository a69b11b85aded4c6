//! Measures GEMM micro-kernels of the x86 backend against the peak of the core, measured in the same run.
//!
//! `cargo run --release -p tflc --example x86_kernels [NAME]` prints, per kernel, the rate hot in L1 and over a whole 3136×256×256 product, the
//! share of the peak, the compile time, and what the register allocator left in the inner loop; with a name also its assembly.

use std::time::Instant;
use tflc::backend::x86::{compile_with_stats, disassemble};
use tflc::jit::memory::CodeMemory;
use tflc::target::X86Level;
use tflc_kir::{Addr, Builder, DotSigns, Elem, Kernel, Mem, Narrow, Type, Value};

/// Independent multiply-adds in registers: `chains` accumulators.
fn peak_f32(lanes: u16, chains: usize) -> Kernel {
    let mut b = Builder::new("peak_f32");
    let ty = Type::vector(Elem::F32, lanes);
    let out = b.ptr_param("out");
    let (begin, end) = (b.begin(), b.end());
    let x = b.load(ty, Mem::F32, out);
    let zeros: Vec<Value> = (0..chains).map(|_| b.float(ty, 0.0)).collect();
    let sums = b.for_loop(begin, end, 1, &zeros, |b, _, acc| acc.iter().map(|&a| b.fma(x, x, a)).collect());
    let total = sums[1..].iter().fold(sums[0], |t, &s| b.add(t, s));
    b.store(Mem::F32, Narrow::Wrap, out, total);
    b.finish()
}

/// Independent 8-bit dot products in registers.
fn peak_i8(lanes: u16, chains: usize) -> Kernel {
    let mut b = Builder::new("peak_i8");
    let (ty, bytes) = (Type::vector(Elem::I32, lanes), Type::vector(Elem::I8, lanes * 4));
    let out = b.ptr_param("out");
    let (begin, end) = (b.begin(), b.end());
    let x = b.load(bytes, Mem::U8, out);
    let zeros: Vec<Value> = (0..chains).map(|_| b.int(ty, 0)).collect();
    let sums = b.for_loop(begin, end, 1, &zeros, |b, _, acc| acc.iter().map(|&a| b.dot4(DotSigns::UnsignedSigned, a, x, x)).collect());
    let total = sums[1..].iter().fold(sums[0], |t, &s| b.add(t, s));
    b.store(Mem::S32, Narrow::Wrap, out, total);
    b.finish()
}

/// C[mr × nv*lanes] = A · B for blocks of `mr` rows: A row-major with `k` columns, B packed by panels of `nv*lanes` columns.
///
/// One call does `[begin, end)` blocks of rows against one panel.
fn gemm_f32(lanes: u16, mr: i64, nv: i64, unroll: i64, k: i64, n: i64) -> Kernel {
    let mut b = Builder::new(format!("f32_gemm_{mr}x{}", nv * i64::from(lanes)));
    let ty = Type::vector(Elem::F32, lanes);
    let (pa, pb, pc) = (b.ptr_param("a"), b.ptr_param("b"), b.ptr_param("c"));
    let (begin, end) = (b.begin(), b.end());
    let vector = i64::from(lanes) * 4;
    b.for_loop(begin, end, 1, &[], |b, block, _| {
        let a_offset = b.mul_const(block, mr * k * 4);
        let a = b.ptr_add(pa, a_offset);
        let c_offset = b.mul_const(block, mr * n * 4);
        let c = b.ptr_add(pc, c_offset);
        let mut carried: Vec<Value> = (0..mr * nv).map(|_| b.float(ty, 0.0)).collect();
        carried.extend([a, pb]);
        let (zero, last) = (b.i64(0), b.i64(k));
        let out = b.for_loop(zero, last, unroll, &carried, |b, _, v| {
            let mut acc = v[..(mr * nv) as usize].to_vec();
            let (a, bp) = (v[(mr * nv) as usize], v[(mr * nv) as usize + 1]);
            for u in 0..unroll {
                let bs: Vec<Value> = (0..nv).map(|j| b.load(ty, Mem::F32, Addr::new(bp).offset((u * nv + j) * vector))).collect();
                for i in 0..mr {
                    let x = b.load_splat(ty, Mem::F32, Addr::new(a).offset((i * k + u) * 4));
                    for (j, &y) in bs.iter().enumerate() {
                        let at = i as usize * nv as usize + j;
                        acc[at] = b.fma(x, y, acc[at]);
                    }
                }
            }
            let next = [b.ptr_add_const(a, unroll * 4), b.ptr_add_const(bp, unroll * nv * vector)];
            acc.extend(next);
            acc
        });
        for i in 0..mr {
            for j in 0..nv {
                b.store(Mem::F32, Narrow::Wrap, Addr::new(c).offset((i * n) * 4 + j * vector), out[(i * nv + j) as usize]);
            }
        }
        vec![]
    });
    b.finish()
}

/// As `gemm_f32`, of unsigned by signed bytes with raw 32-bit results; B packed by four rows.
fn gemm_i8(lanes: u16, mr: i64, nv: i64, unroll: i64, k: i64, n: i64) -> Kernel {
    let mut b = Builder::new(format!("qs8_gemm_{mr}x{}c4", nv * i64::from(lanes)));
    let (ty, bytes) = (Type::vector(Elem::I32, lanes), Type::vector(Elem::I8, lanes * 4));
    let (pa, pb, pc) = (b.ptr_param("a"), b.ptr_param("b"), b.ptr_param("c"));
    let (begin, end) = (b.begin(), b.end());
    let vector = i64::from(lanes) * 4;
    b.for_loop(begin, end, 1, &[], |b, block, _| {
        let a_offset = b.mul_const(block, mr * k);
        let a = b.ptr_add(pa, a_offset);
        let c_offset = b.mul_const(block, mr * n * 4);
        let c = b.ptr_add(pc, c_offset);
        let mut carried: Vec<Value> = (0..mr * nv).map(|_| b.int(ty, 0)).collect();
        carried.extend([a, pb]);
        let (zero, last) = (b.i64(0), b.i64(k / 4));
        let out = b.for_loop(zero, last, unroll, &carried, |b, _, v| {
            let mut acc = v[..(mr * nv) as usize].to_vec();
            let (a, bp) = (v[(mr * nv) as usize], v[(mr * nv) as usize + 1]);
            for u in 0..unroll {
                let bs: Vec<Value> = (0..nv).map(|j| b.load(bytes, Mem::S8, Addr::new(bp).offset((u * nv + j) * vector))).collect();
                for i in 0..mr {
                    let x = b.load_splat(ty, Mem::S32, Addr::new(a).offset(i * k + u * 4));
                    let x = b.bitcast(bytes, x);
                    for (j, &y) in bs.iter().enumerate() {
                        let at = i as usize * nv as usize + j;
                        acc[at] = b.dot4(DotSigns::UnsignedSigned, acc[at], x, y);
                    }
                }
            }
            let next = [b.ptr_add_const(a, unroll * 4), b.ptr_add_const(bp, unroll * nv * vector)];
            acc.extend(next);
            acc
        });
        for i in 0..mr {
            for j in 0..nv {
                b.store(Mem::S32, Narrow::Wrap, Addr::new(c).offset((i * n) * 4 + j * vector), out[(i * nv + j) as usize]);
            }
        }
        vec![]
    });
    b.finish()
}

type Entry = extern "sysv64" fn(*const u64, i64, i64) -> i32;

struct Compiled {
    memory: CodeMemory,
    text: String,
    report: String,
}

impl Compiled {
    fn new(kernel: &Kernel, level: X86Level) -> Compiled {
        tflc_kir::verify(kernel).expect("a verified kernel");
        compile_with_stats(kernel, level).expect("compiles");
        let runs = 20;
        let start = Instant::now();
        for _ in 0..runs {
            compile_with_stats(kernel, level).expect("compiles");
        }
        let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(runs);
        let (code, stats) = compile_with_stats(kernel, level).expect("compiles");
        let report = format!(
            "compile {micros:5.0} us, {:5} bytes, inner edits {}, spills {}, moves {}",
            code.bytes.len(),
            stats.inner_loop_edits,
            stats.spills,
            stats.moves
        );
        Compiled { memory: CodeMemory::new(&code.bytes).expect("executable memory"), text: disassemble(&code), report }
    }

    fn call(&self, args: &[u64], begin: i64, end: i64) {
        // SAFETY: the memory holds a function of this type, and the arguments are those that its kernel takes.
        let f: Entry = unsafe { std::mem::transmute(self.memory.address(0)) };
        assert_eq!(f(args.as_ptr(), begin, end), 0);
    }
}

/// Best and median seconds of several runs.
fn time(mut f: impl FnMut()) -> (f64, f64) {
    f();
    let mut t: Vec<f64> = (0..25)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .collect();
    t.sort_by(f64::total_cmp);
    (t[0], t[t.len() / 2])
}

fn aligned(bytes: usize) -> Vec<[u64; 8]> {
    vec![[0x0101_0101_0101_0101; 8]; bytes / 64 + 2]
}

/// Peak in operations per second (multiply and add counted apart).
fn peak(kernel: &Kernel, level: X86Level, ops_per_iteration: f64) -> f64 {
    let c = Compiled::new(kernel, level);
    let mut out = aligned(64);
    let n = 2_000_000;
    let (best, _) = time(|| c.call(&[out.as_mut_ptr() as u64], 0, n));
    ops_per_iteration * n as f64 / best
}

struct Shape {
    name: &'static str,
    lanes: u16,
    mr: i64,
    nv: i64,
    unroll: i64,
    level: X86Level,
    bytes: bool,
}

fn main() {
    let wanted = std::env::args().nth(1);
    let (v3, v4, vnni) = (X86Level::V3, X86Level::V4, X86Level::V4Vnni);
    let f = |name, lanes, mr, nv, unroll, level| Shape { name, lanes, mr, nv, unroll, level, bytes: false };
    let q = |name, mr, nv, unroll| Shape { name, lanes: 16, mr, nv, unroll, level: vnni, bytes: true };
    let shapes = [
        f("f32_14x32", 16, 14, 2, 1, v4),
        f("f32_14x32u2", 16, 14, 2, 2, v4),
        f("f32_14x32u4", 16, 14, 2, 4, v4),
        f("f32_12x32u2", 16, 12, 2, 2, v4),
        f("f32_8x32u4", 16, 8, 2, 4, v4),
        f("f32_6x64u2", 16, 6, 4, 2, v4),
        f("f32_6x16", 8, 6, 2, 1, v3),
        f("f32_6x16u2", 8, 6, 2, 2, v3),
        f("f32_4x24u2", 8, 4, 3, 2, v3),
        q("qs8_14x32", 14, 2, 1),
        q("qs8_14x32u2", 14, 2, 2),
        q("qs8_8x32u4", 8, 2, 4),
    ];
    let (k, n) = (256i64, 256i64);
    for s in shapes.iter().filter(|s| wanted.as_ref().is_none_or(|w| s.name == w)) {
        let host = tflc::jit::host_target();
        if !matches!(host.cpu, tflc::target::Cpu::X86(level) if level >= s.level) {
            println!("{:12} not on this processor", s.name);
            continue;
        }
        let columns = s.nv * i64::from(s.lanes);
        let kernel = if s.bytes { gemm_i8 } else { gemm_f32 }(s.lanes, s.mr, s.nv, s.unroll, k, n);
        let c = Compiled::new(&kernel, s.level);
        if wanted.is_some() {
            println!("{}", c.text);
        }
        let top = if s.bytes {
            peak(&peak_i8(s.lanes, 14), s.level, 14.0 * f64::from(s.lanes) * 8.0)
        } else {
            peak(&peak_f32(s.lanes, 12), s.level, 12.0 * f64::from(s.lanes) * 2.0)
        };
        let size = if s.bytes { 1 } else { 4 };
        let m = 3136 / s.mr * s.mr;
        let (mut a, mut b, mut out) = (aligned((m * k * size) as usize), aligned((k * n * size) as usize), aligned((m * n * 4) as usize));
        let (a, b, out) = (a.as_mut_ptr() as u64, b.as_mut_ptr() as u64, out.as_mut_ptr() as u64);
        let hot_ops = 2.0 * (s.mr * columns * k) as f64 * 200.0;
        let (hot, _) = time(|| (0..200).for_each(|_| c.call(&[a, b, out], 0, 1)));
        let ops = 2.0 * (m * (n / columns * columns) * k) as f64;
        let rows = 112 / s.mr;
        let (best, median) = time(|| {
            for first in (0..m / s.mr).step_by(rows as usize) {
                for panel in 0..n / columns {
                    let args = [a, b + (panel * columns * k * size) as u64, out + (panel * columns * 4) as u64];
                    c.call(&args, first, (first + rows).min(m / s.mr));
                }
            }
        });
        println!(
            "{:12} peak {:6.1}  L1 {:6.1} ({:3.0}%)  3136x256x256 best {:6.1} median {:6.1} ({:3.0}%)  G/s  {}",
            s.name,
            top / 1e9,
            hot_ops / hot / 1e9,
            hot_ops / hot / top * 100.0,
            ops / best / 1e9,
            ops / median / 1e9,
            ops / median / top * 100.0,
            c.report
        );
    }
}
