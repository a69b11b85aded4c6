//! REAL, IMAG, COMPLEX_ABS of complex64 and complex128, the product of complex64, which MUL gives. RFFT2D: the Fourier transform of real matrices.

use crate::ir::DType::{Complex64, Complex128, Float32, Float64, Int32};
use crate::ir::OpKind;
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::shapes::Walk;

/// REAL, IMAG and COMPLEX_ABS.
pub(super) const PART: Operator = Operator::new(infer_part, Eval::Direct(part));
/// RFFT2D.
pub(super) const RFFT2D: Operator = Operator::new(infer_rfft2d, Eval::Direct(rfft2d));

fn infer_part(call: &Call<'_>) -> Inferred {
    call.arity(1, 1, 1)?;
    let part = if call.dtype_among(0, &[Complex64, Complex128])? == Complex64 { Float32 } else { Float64 };
    Ok(vec![call.result(0, part, call.input(0)?.shape.clone())?])
}

fn part(args: &Args<'_>) -> Results {
    let f: fn(f64, f64) -> f64 = match args.call.op {
        OpKind::Real => |re, _| re,
        OpKind::Imag => |_, im| im,
        _ => f64::hypot,
    };
    if args.ty().dtype == Float64 {
        return args.result(args.elements::<f64>(0)?.as_chunks::<2>().0.iter().map(|c| f(c[0], c[1])).collect());
    }
    let x = args.elements::<f32>(0)?;
    args.result(x.as_chunks::<2>().0.iter().map(|c| f(c[0].into(), c[1].into()) as f32).collect())
}

/// MUL of complex numbers, broadcast: `(ac - bd) + (ad + bc)i`, each sum rounded to binary32.
pub(super) fn product(args: &Args<'_>) -> Results {
    let shape = &args.ty().shape;
    let spread = |i: usize| -> Result<Vec<f32>, EvalError> {
        let v = args.value(i)?;
        let mut bytes = vec![0; args.ty().elements() * 8];
        Walk::broadcast(&v.ty.shape, shape).gather(v.bytes(), &mut bytes, 8);
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let (x, y) = (spread(0)?, spread(1)?);
    let pairs = x.as_chunks::<2>().0.iter().zip(y.as_chunks::<2>().0);
    args.result(pairs.flat_map(|([a, b], [c, d])| [a * c - b * d, a * d + b * c]).collect::<Vec<f32>>())
}

fn infer_rfft2d(call: &Call<'_>) -> Inferred {
    call.arity(2, 2, 1)?;
    call.dtype_among(0, &[Float32])?;
    call.dtype_among(1, &[Int32])?;
    let x = call.input(0)?;
    let (h, w) = match call.ints(1, 2)?[..] {
        [h, w] if [h, w].iter().all(|n| (1..=1 << 20).contains(n) && n & (n - 1) == 0) => (h as usize, w as usize),
        ref other => return Err(call.invalid(format!("transform lengths {other:?} are not powers of two"))),
    };
    if x.shape.len() < 2 {
        return Err(call.invalid(format!("shape {:?}", x.shape)));
    }
    let shape = [&x.shape[..x.shape.len() - 2], &[h, w / 2 + 1]].concat();
    Ok(vec![call.result(0, Complex64, shape)?])
}

fn rfft2d(args: &Args<'_>) -> Results {
    let x = args.floats(0)?;
    let shape = &args.value(0)?.ty.shape;
    let (ih, iw) = (shape[shape.len() - 2], shape[shape.len() - 1]);
    let lengths = args.ints(1)?;
    let (h, w) = (lengths[0] as usize, lengths[1] as usize);
    let mut out = Vec::with_capacity(args.ty().elements() * 2);
    for image in x.chunks_exact((ih * iw).max(1)) {
        // Cropped or padded with zeros to the transform's lengths.
        let mut grid = vec![(0f64, 0f64); h * w];
        for y in 0..h.min(ih) {
            for x in 0..w.min(iw) {
                grid[y * w + x].0 = image[y * iw + x] as f64;
            }
        }
        grid.chunks_exact_mut(w).for_each(fft);
        let mut columns = vec![vec![]; w / 2 + 1];
        for (x, column) in columns.iter_mut().enumerate() {
            *column = (0..h).map(|y| grid[y * w + x]).collect();
            fft(column);
        }
        for y in 0..h {
            out.extend(columns.iter().flat_map(|c| [c[y].0 as f32, c[y].1 as f32]));
        }
    }
    args.result(out)
}

/// In-place transform of a power of two of complex numbers: radix 2, decimation in time.
pub(super) fn fft(x: &mut [(f64, f64)]) {
    let n = x.len();
    if n <= 1 {
        return;
    }
    let bits = n.trailing_zeros();
    for i in 0..n {
        let j = i.reverse_bits() >> (usize::BITS - bits);
        if i < j {
            x.swap(i, j);
        }
    }
    let mut size = 2;
    while size <= n {
        let half = size / 2;
        for k in 0..half {
            let (s, c) = (-2.0 * std::f64::consts::PI * k as f64 / size as f64).sin_cos();
            for start in (0..n).step_by(size) {
                let (a, b) = (x[start + k], x[start + k + half]);
                let t = (b.0 * c - b.1 * s, b.0 * s + b.1 * c);
                x[start + k] = (a.0 + t.0, a.1 + t.1);
                x[start + k + half] = (a.0 - t.0, a.1 - t.1);
            }
        }
        size *= 2;
    }
}
