//! Shape of the code: what the allocator left in loops, frames, calling conventions, disassembly.

use super::run::{Guarded, LEVELS, call, full_caps, runnable, runs};
use crate::backend::Code;
use crate::backend::x86::{Abi, Compiler, Stats, compile_with_stats, disassemble};
use crate::jit::memory::CodeMemory;
use crate::target::X86Level;
use tflc_kir::generate::{Options, generate};
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::*;

/// `mr * nv` accumulators over a loop of broadcasts and multiply-adds, in which `nv` vectors of B are shared.
fn tile(lanes: u16, mr: i64, nv: i64) -> Kernel {
    let ty = Type::vector(Elem::F32, lanes);
    let mut b = Builder::new("tile");
    let (a, w, c) = (b.ptr_param("a"), b.ptr_param("w"), b.ptr_param("c"));
    let zeros: Vec<Value> = (0..mr * nv).map(|_| b.float(ty, 0.0)).collect();
    let (begin, end) = (b.begin(), b.end());
    let mut carried = zeros;
    carried.push(w);
    let vector = i64::from(lanes) * 4;
    let out = b.for_loop(begin, end, 1, &carried, |b, k, v| {
        let (mut acc, w) = (v[..v.len() - 1].to_vec(), v[v.len() - 1]);
        let bs: Vec<Value> = (0..nv).map(|j| b.load(ty, Mem::F32, Addr::new(w).offset(j * vector))).collect();
        for i in 0..mr {
            let x = b.load_splat(ty, Mem::F32, Addr::new(a).index(k, 4).offset(i * 256));
            for j in 0..nv {
                let at = (i * nv + j) as usize;
                acc[at] = b.fma(x, bs[j as usize], acc[at]);
            }
        }
        acc.push(b.ptr_add_const(w, nv * vector));
        acc
    });
    for (i, &v) in out[..out.len() - 1].iter().enumerate() {
        b.store(Mem::F32, Narrow::Wrap, Addr::new(c).offset(i as i64 * vector), v);
    }
    b.finish()
}

fn stats(kernel: &Kernel, level: X86Level) -> Stats {
    compile_with_stats(kernel, level).expect("compiles").1
}

#[test]
fn tiles_within_the_budget_leave_no_edits() {
    for (lanes, mr, nv) in [(16, 14, 2), (16, 12, 2), (16, 8, 2), (16, 6, 4), (16, 28, 1), (16, 30, 1), (16, 1, 8)] {
        let s = stats(&tile(lanes, mr, nv), X86Level::V4);
        assert_eq!((s.inner_loop_edits, s.spills), (0, 0), "{mr}x{nv} in 32 registers: {s:?}");
    }
    for (lanes, mr, nv) in [(8, 6, 2), (8, 4, 3), (8, 12, 1), (8, 14, 1), (8, 1, 4)] {
        let s = stats(&tile(lanes, mr, nv), X86Level::V3);
        assert_eq!((s.inner_loop_edits, s.spills), (0, 0), "{mr}x{nv} in 16 registers: {s:?}");
    }
}

#[test]
fn a_tile_beyond_the_budget_spills_and_is_right() {
    let kernel = tile(8, 7, 3);
    let (code, s) = compile_with_stats(&kernel, X86Level::V3).expect("compiles");
    assert!(s.inner_loop_edits > 0 && s.spills > 0, "{s:?}");
    if !runs(X86Level::V3) {
        return;
    }
    let floats = |n: usize| -> Vec<u8> { (0..n).flat_map(|i| (i as f32 / 7.0).to_le_bytes()).collect() };
    let (a, w, mut expected) = (floats(64 * 7), floats(24 * 5), vec![0; 21 * 32]);
    let buffers = [Guarded::new(&a), Guarded::new(&w), Guarded::new(&expected)];
    let mut memory = Memory::new();
    let args = [memory.add_shared(&a), memory.add_shared(&w), memory.add_mut(&mut expected)].map(Arg::Ptr);
    run(&kernel, &args, &mut memory, 0, 5).expect("runs");
    drop(memory);
    call(&code, &buffers.each_ref().map(Guarded::address), 0, 5);
    assert_eq!(buffers[2].bytes(), expected);
}

#[test]
fn large_frames_are_aligned_and_probed() {
    for level in LEVELS {
        let lanes = full_caps(level).lanes(Elem::F32);
        let ty = Type::vector(Elem::F32, lanes);
        let mut b = Builder::new("frame");
        let (input, output) = (b.ptr_param("input"), b.ptr_param("output"));
        let buffer = b.scratch(200 << 10, 64);
        let small = b.scratch(24, 8);
        let (begin, end) = (b.begin(), b.end());
        let step = i64::from(lanes);
        b.for_loop(begin, end, step, &[], |b, i, _| {
            let x = b.load(ty, Mem::F32, Addr::new(input).index(i, 4));
            b.store(Mem::F32, Narrow::Wrap, Addr::new(buffer).index(i, 4), x);
            vec![]
        });
        b.store(Mem::I64, Narrow::Wrap, small, end);
        b.for_loop(begin, end, step, &[], |b, i, _| {
            let x = b.load(ty, Mem::F32, Addr::new(buffer).index(i, 4));
            let y = b.add(x, x);
            b.store(Mem::F32, Narrow::Wrap, Addr::new(output).index(i, 4), y);
            vec![]
        });
        let kept = b.load(Type::I64, Mem::I64, small);
        let low = b.convert(ConvertOp::Wrap, Type::I32, kept);
        let kernel = b.finish_status(low);
        verify(&kernel).expect("verifies");
        let (code, _) = compile_with_stats(&kernel, level).expect("compiles");
        let Some(code) = runnable(&code, level) else { continue };
        let n = 50 << 10;
        let x: Vec<u8> = (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let doubled: Vec<u8> = (0..n).flat_map(|i| (2.0 * i as f32).to_le_bytes()).collect();
        let (input, output) = (Guarded::new(&x), Guarded::new(&vec![0; x.len()]));
        assert_eq!(call(&code, &[input.address(), output.address()], 0, n as i64), n);
        assert!(output.bytes() == doubled, "{level:?}");
    }
}

#[test]
fn windows_calling_convention() {
    for level in LEVELS {
        for seed in 0..40 {
            let case = generate(seed, &full_caps(level), &Options { size: 80, ..Options::default() });
            let (code, _) = Compiler::new(Abi::Windows).compile(&case.kernel, level).expect("compiles");
            let Some(code) = runnable(&code, level) else { continue };
            let expected = case.interpret().expect("runs");
            let buffers: Vec<Guarded> = case.buffers.iter().map(|b| Guarded::new(&b.bytes)).collect();
            let slots = case.slots(|i| buffers[i].address());
            let memory = CodeMemory::new(&code.bytes).expect("executable memory");
            // SAFETY: the memory holds a function of this type, made from a kernel that takes these arguments and stays inside its buffers.
            let status = unsafe {
                let f: extern "win64" fn(*const u64, i64, i64) -> i32 = std::mem::transmute(memory.address(0));
                f(slots.as_ptr(), case.begin, case.end)
            };
            let after: Vec<Vec<u8>> = buffers.iter().map(Guarded::bytes).collect();
            assert!((status, after) == expected, "seed {seed} {level:?}");
        }
    }
}

#[test]
fn same_kernel_same_bytes() {
    for level in LEVELS {
        let kernel = generate(7, &full_caps(level), &Options::default()).kernel;
        let code: Vec<Code> = (0..3).map(|_| Compiler::new(Abi::SystemV).compile(&kernel, level).expect("compiles").0).collect();
        assert!(code[0] == code[1] && code[1] == code[2]);
    }
}

#[test]
fn disassembly_has_labels_and_constants() {
    let ty = Type::vector(Elem::F32, 8);
    let mut b = Builder::new("scale");
    let (x, y) = (b.ptr_param("x"), b.ptr_param("y"));
    let (begin, end) = (b.begin(), b.end());
    b.for_loop(begin, end, 8, &[], |b, i, _| {
        let v = b.load(ty, Mem::F32, Addr::new(x).index(i, 4));
        let scale = b.const_vec(ty, (0..8).map(|i| u64::from((i as f32).to_bits())).collect());
        let v = b.mul(v, scale);
        b.store(Mem::F32, Narrow::Wrap, Addr::new(y).index(i, 4), v);
        vec![]
    });
    let kernel = b.finish();
    let (code, _) = compile_with_stats(&kernel, X86Level::V3).expect("compiles");
    let text = disassemble(&code);
    let expected = "  cmp rsi, rdx
  jge short .L1
  vmovups ymm0, [rip+.C2]
  mov rax, [rdi]
  mov rcx, [rdi+8]
.L0:
  vmulps ymm1, ymm0, [rax+rsi*4]
  vmovups [rcx+rsi*4], ymm1
  add rsi, 8
  cmp rsi, rdx
  jl short .L0
.L1:
  mov eax, 0
  vzeroupper
  ret
.C2:
  db 00 00 00 00 00 00 80 3f 00 00 00 40 00 00 40 40
  db 00 00 80 40 00 00 a0 40 00 00 c0 40 00 00 e0 40
";
    assert_eq!(text, expected);
}
