//! Kernels that do nothing but keep one unit of the processor busy: the peak that other kernels are measured against.
//!
//! A unit of work is `OPS_PER_UNIT` vector instructions, or a pass over a buffer. Parameters: `a` (at least one vector; the buffer), `c` (one vector).

use tflc_kir::{Addr, BinOp, Builder, Caps, Dot4, DotSigns, Elem, Kernel, Mem, Narrow, Type, Value};

/// Vector instructions in a unit of [`multiply_add`] and [`dot4`].
pub const OPS_PER_UNIT: usize = 24 * 64;

/// Independent chains of fused multiply-adds of f32: each counts one multiply-add for each lane.
pub fn multiply_add(caps: &Caps) -> Kernel {
    let ty = Type::vector(Elem::F32, caps.lanes(Elem::F32));
    chains("peak_f32", caps, ty, |b, acc, x| b.fma(x, x, acc))
}

/// Independent chains of four-element dot products of bytes: each counts four multiply-adds for each lane. None where the target has none.
pub fn dot4(caps: &Caps) -> Option<Kernel> {
    let signs = match caps.dot4 {
        Dot4::None => return None,
        Dot4::UnsignedSigned => DotSigns::UnsignedSigned,
        Dot4::AnySign => DotSigns::Signed,
    };
    let ty = Type::vector(Elem::I32, caps.lanes(Elem::I32));
    let bytes = Type::vector(Elem::I8, caps.lanes(Elem::I8));
    Some(chains("peak_dot4", caps, ty, move |b, acc, x| {
        let x = b.bitcast(bytes, x);
        b.dot4(signs, acc, x, x)
    }))
}

/// Independent chains of two-element dot products of 16-bit lanes: each counts two multiply-adds for each lane.
pub fn dot2(caps: &Caps) -> Kernel {
    let ty = Type::vector(Elem::I32, caps.lanes(Elem::I32));
    let words = Type::vector(Elem::I16, caps.lanes(Elem::I16));
    chains("peak_dot2", caps, ty, move |b, acc, x| {
        let x = b.bitcast(words, x);
        b.dot2(acc, x, x)
    })
}

fn chains(name: &str, caps: &Caps, ty: Type, step: impl Fn(&mut Builder, Value, Value) -> Value) -> Kernel {
    // Twelve chains cover the latency and leave room for a register of input with sixteen registers.
    let chains = if caps.vector_registers >= 32 { 24 } else { 12 };
    let repeat = OPS_PER_UNIT / 64 / chains;
    let mut b = Builder::new(name);
    let (a, c) = (b.ptr_param("a"), b.ptr_param("c"));
    let mem = if ty.elem == Elem::F32 { Mem::F32 } else { Mem::S32 };
    let x = b.load(ty, mem, a);
    let (begin, end) = (b.begin(), b.end());
    let acc = vec![x; chains];
    let acc = b.for_loop(begin, end, 1, &acc, |b, _, acc| {
        b.for_const(0, 64, 1, acc, |b, _, acc| {
            let mut acc = acc.to_vec();
            for _ in 0..repeat {
                acc = acc.iter().map(|&v| step(b, v, x)).collect();
            }
            acc
        })
    });
    let sum = acc.into_iter().reduce(|x, y| b.add(x, y)).unwrap_or(x);
    b.store(mem, Narrow::Wrap, c, sum);
    b.finish()
}

/// Reads `bytes` bytes (a multiple of 1024) once per unit.
pub fn read(caps: &Caps, bytes: usize) -> Kernel {
    let ty = Type::vector(Elem::I32, caps.lanes(Elem::I32));
    let step = i64::from(caps.vector_bytes);
    let mut b = Builder::new("peak_read");
    let (a, c) = (b.ptr_param("a"), b.ptr_param("c"));
    let zero = b.int(ty, 0);
    let (begin, end) = (b.begin(), b.end());
    let acc = b.for_loop(begin, end, 1, &[zero; 8], |b, _, acc| {
        b.for_const(0, bytes as i64, step * 8, acc, |b, i, acc| {
            acc.iter()
                .enumerate()
                .map(|(j, &v)| {
                    let x = b.load(ty, Mem::S32, Addr::new(a).index(i, 1).offset(j as i64 * step));
                    b.bin(BinOp::Xor, v, x)
                })
                .collect()
        })
    });
    let sum = acc.into_iter().reduce(|x, y| b.bin(BinOp::Xor, x, y)).unwrap_or(zero);
    b.store(Mem::S32, Narrow::Wrap, c, sum);
    b.finish()
}
