//! Tiles of every shape, with every product, and matrix products made of them, against the interpreter to the bit.

use super::run::{Guarded, call, runs};
use crate::backend::x86::compile;
use crate::target::{Cpu, X86Level};
use tflc_kir::interp::{Arg, Memory, run};
use tflc_kir::{Addr, Builder, Kernel, Mem, Narrow, TileOp, TileProduct, TileShape, Type};
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::expr::{ExprBuilder, Storage};

/// `c = Σ a · b` over two runs of a loop, with tiles of `rows` × 4 `groups` and `groups` × `columns`; rows of A, B and C lie at `strides`.
fn product(product: TileProduct, rows: u8, columns: u8, groups: u8, strides: [i64; 3]) -> Kernel {
    let mut b = Builder::new("product");
    let [c, x, y] = ["c", "a", "b"].map(|name| b.ptr_param(name));
    let shape = |rows, row_bytes| TileShape { rows, row_bytes };
    // The accumulator begins as what C holds; a tile that nothing else uses goes to C's first rows and back.
    let unused = shape(1, 4);
    let config = vec![unused, shape(rows, 4 * groups), shape(groups, 4 * columns), unused, shape(rows, 4 * columns)];
    b.tile(TileOp::Config(config), &[]);
    let [a_stride, b_stride, c_stride] = strides.map(|s| b.i64(s));
    b.tile(TileOp::Load { tile: 4, disp: 0 }, &[c, c_stride]);
    b.for_const(0, 2, 1, &[x, y], |b, _, at| {
        b.tile(TileOp::Load { tile: 1, disp: 0 }, &[at[0], a_stride]);
        b.tile(TileOp::Load { tile: 2, disp: 0 }, &[at[1], b_stride]);
        b.tile(TileOp::Dot { product, acc: 4, a: 1, b: 2 }, &[]);
        vec![b.ptr_add_const(at[0], i64::from(rows) * strides[0]), b.ptr_add_const(at[1], i64::from(groups) * strides[1])]
    });
    // By way of a scratch buffer, from which plain loads must see what was stored.
    let bytes = usize::from(rows) * 64;
    let scratch = b.scratch(bytes as u32, 64);
    let wide = b.i64(64);
    b.tile(TileOp::Store { tile: 4, disp: 0 }, &[scratch, wide]);
    b.tile(TileOp::Zero(4), &[]);
    for r in 0..i64::from(rows) {
        for i in 0..i64::from(columns) {
            let v = b.load(Type::I32, Mem::S32, Addr::new(scratch).offset(r * 64 + i * 4));
            b.store(Mem::S32, Narrow::Wrap, Addr::new(c).offset(r * strides[2] + i * 4), v);
        }
    }
    b.tile(TileOp::Load { tile: 0, disp: 0 }, &[c, c_stride]);
    b.tile(TileOp::Store { tile: 0, disp: 0 }, &[c, c_stride]);
    b.finish()
}

/// Numbers that look random (SplitMix64).
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn products_of_tiles_are_those_of_the_interpreter() {
    let mut next = numbers(1);
    for case in 0..400 {
        let mut below = |n: u64| next() % n;
        let kind = TileProduct::ALL[case % TileProduct::ALL.len()];
        let [rows, columns, groups] = [16, 16, 16].map(|n| if below(3) == 0 { n } else { below(n) + 1 });
        let strides = [groups, columns, columns].map(|dwords| (dwords * 4 + below(40)) as i64);
        let kernel = product(kind, rows as u8, columns as u8, groups as u8, strides);
        tflc_kir::verify(&kernel).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        let text = kernel.to_string();
        let again = tflc_kir::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        assert_eq!(text, again.to_string());
        let code = compile(&kernel, X86Level::V4Amx).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        if !runs(X86Level::V4Amx) {
            continue;
        }
        let lengths = [rows as i64 * strides[2], 2 * rows as i64 * strides[0], 2 * groups as i64 * strides[1]];
        let buffers = lengths.map(|n| -> Vec<u8> {
            let mut bytes: Vec<u8> = (0..n).map(|_| below(256) as u8).collect();
            if kind == TileProduct::Bf16 {
                // Exponents near that of 1, and now and then a subnormal, a zero or a huge one. Rows begin where they like, so that all bytes count.
                let special = [0x00u8, 0x80, 0x7f, 0xc3];
                bytes.iter_mut().for_each(|v| *v = if below(60) == 0 { special[below(4) as usize] } else { 0x38 + *v % 16 + (*v & 0x80) });
            }
            bytes
        });
        let mut memory = Memory::new();
        let args: Vec<Arg> = buffers.iter().map(|b| Arg::Ptr(memory.add(b.clone()))).collect();
        run(&kernel, &args, &mut memory, 0, 1).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        let guarded: Vec<Guarded> = buffers.iter().map(|b| Guarded::new(b)).collect();
        let slots: Vec<u64> = guarded.iter().map(Guarded::address).collect();
        call(&code, &slots, 0, 1);
        // Which NaN it is stays open.
        let plain = |bytes: &[u8]| -> Vec<u8> {
            let mut bytes = bytes.to_vec();
            for at in (0..rows as usize).flat_map(|r| (0..columns as usize).map(move |i| r * strides[2] as usize + 4 * i)) {
                let v = f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
                if kind == TileProduct::Bf16 && v.is_nan() {
                    bytes[at..at + 4].fill(0xff);
                }
            }
            bytes
        };
        let (got, want) = (plain(&guarded[0].bytes()), plain(memory.bytes(0)));
        let differs = got.iter().zip(&want).position(|(g, w)| g != w);
        assert!(differs.is_none(), "case {case} {kind:?} {rows}x{columns}x{groups}: byte {differs:?}\n{kernel}");
    }
}

#[test]
fn products_of_floats_are_those_of_the_interpreter() {
    let caps = crate::target::Target::new(Cpu::X86(X86Level::V4Amx)).caps();
    // Rows of one to four tiles, with rows behind them and without, in one block and in several, even and not; K of one chunk and of several, with a partial
    // step; partial panels, and several groups of them.
    let shapes =
        [(9, 64, 50), (18, 70, 64), (25, 49, 70), (32, 200, 330), (41, 48, 70), (49, 176, 480), (64, 345, 96), (71, 50, 57), (98, 200, 64)];
    let mut next = numbers(2);
    for (m, n, k) in shapes {
        let mut e = ExprBuilder::new(vec![Storage::F32; 2]);
        let (sum, bias) = (e.input(0), e.input(1));
        let y = e.add(sum, bias);
        let epilogue = Epilogue { expr: e.finish(y, Storage::F32), operands: vec![OperandAccess::PerColumn] };
        let spec = GemmSpec { m, n, k, lda: k + 1, ldc: n + 2, a_storage: Storage::F32, weights: WeightFormat::F16, epilogue };
        assert!(gemm::is_tiled(&spec, &caps));
        let kernel = gemm::build(&spec, &caps);
        let code = compile(&kernel, X86Level::V4Amx).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        if !runs(X86Level::V4Amx) {
            continue;
        }
        let mut real = || (next() % 2001) as f32 / 777.0 - 1.25;
        let mut floats = |n: usize| -> Vec<u8> { (0..n).flat_map(|_| real().to_le_bytes()).collect() };
        let (a, bias) = (floats((m - 1) * spec.lda + k), floats(n));
        let weights: Vec<u8> =
            floats(n * k).as_chunks().0.iter().flat_map(|w| half::f16::from_f32(f32::from_le_bytes(*w)).to_le_bytes()).collect();
        let buffers = [a, gemm::pack_b(&spec, &caps, &weights), vec![0xee; ((m - 1) * spec.ldc + n) * 4], bias];
        let units = gemm::units(&spec, &caps) as i64;
        let mut memory = Memory::new();
        let args: Vec<Arg> = buffers.iter().map(|b| Arg::Ptr(memory.add(b.clone()))).collect();
        run(&kernel, &args, &mut memory, 0, units).unwrap_or_else(|e| panic!("{e}\n{kernel}"));
        let guarded: Vec<Guarded> = buffers.iter().map(|b| Guarded::new(b)).collect();
        let slots: Vec<u64> = guarded.iter().map(Guarded::address).collect();
        call(&code, &slots, 0, units);
        assert!(guarded[2].bytes() == memory.bytes(2), "{} {m}x{n}x{k}", kernel.name);
    }
}
