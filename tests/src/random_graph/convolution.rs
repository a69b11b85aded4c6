//! Recipes of transposed and three-dimensional convolutions, Fourier transforms and parts of complex numbers.

use super::layers::{bias, image, weights};
use super::recipes::{REAL, activation, name, plan, raw, size};
use super::{Generator, Planned};
use crate::random_values::random_value;
use tflc::ir::OpKind::*;
use tflc::ir::{Attrs, DType, Quantization, TensorType};

pub(super) fn transpose_conv(g: &mut Generator) -> Option<Planned> {
    let x = image(g, REAL)?;
    let ty = g.ty(x).clone();
    let (k, stride, out) = ([1 + g.rng.below(4), 1 + g.rng.below(4)], [1 + g.rng.below(3), 1 + g.rng.below(3)], 1 + g.rng.below(9));
    let w = weights(g, x, vec![out, k[0], k[1], ty.shape[3]], 0, &[]);
    let b = bias(g, x, w, out);
    let same = g.rng.one_in(2);
    // The sizes whose convolution gives the input.
    let sizes: Vec<usize> = (0..2)
        .map(|d| {
            let (n, s) = (ty.shape[d + 1], stride[d]);
            let spare = g.rng.below(s);
            if same { n * s - spare } else { (n - 1) * s + k[d].max(1) + if k[d] > 0 { spare } else { 0 } }
        })
        .collect();
    let shape = g.ints(&[ty.shape[0], sizes[0], sizes[1], out]);
    let attrs = Attrs::new().with("padding", name(if same { "SAME" } else { "VALID" }));
    let attrs = attrs.with("stride_h", size(stride[0])).with("stride_w", size(stride[1]));
    let attrs = activation(g, attrs);
    let quant = g.quantization(ty.dtype);
    Some(Planned { inputs: vec![Some(shape), Some(w), Some(x), b], ..plan(TransposeConv, [], attrs, ty.dtype, quant)? })
}

/// CONV_3D and CONV_3D_TRANSPOSE.
pub(super) fn conv_3d(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Conv3d, Conv3dTranspose]);
    let x = g.operand(&[DType::Float32], |s| s.len() == 5, |g| (0..5).map(|_| 1 + g.rng.below(4)).collect())?;
    let shape = g.ty(x).shape.clone();
    let out = 1 + g.rng.below(5);
    let mut each = |n: usize| [1 + g.rng.below(n), 1 + g.rng.below(n), 1 + g.rng.below(n)];
    let (k, stride, dilation) = (each(3), each(2), each(2));
    let dilation = if op == Conv3d { dilation } else { [1; 3] };
    let filter = if op == Conv3d { vec![k[0], k[1], k[2], shape[4], out] } else { vec![k[0], k[1], k[2], out, shape[4]] };
    let w = g.random_constant(raw(DType::Float32, filter));
    let b = if g.rng.one_in(3) { None } else { Some(g.random_constant(raw(DType::Float32, [out]))) };
    let same = g.rng.one_in(2);
    let mut attrs = Attrs::new().with("padding", name(if same { "SAME" } else { "VALID" }));
    for (i, axis) in ["d", "h", "w"].iter().enumerate() {
        attrs.set(format!("stride_{axis}"), size(stride[i]));
        attrs.set(format!("dilation_{axis}_factor"), size(dilation[i]));
    }
    let attrs = activation(g, attrs);
    let inputs = if op == Conv3d {
        vec![Some(x), Some(w), b]
    } else {
        let sizes: Vec<usize> =
            (0..3).map(|d| if same { shape[d + 1] * stride[d] } else { (shape[d + 1] - 1) * stride[d] + k[d] }).collect();
        let sizes = g.ints(&[&shape[..1], &sizes, &[out]].concat());
        vec![Some(sizes), Some(w), Some(x), b]
    };
    Some(Planned { inputs, ..plan(op, [], attrs, DType::Float32, Quantization::None)? })
}

pub(super) fn rfft_2d(g: &mut Generator) -> Option<Planned> {
    let x = g.operand(&[DType::Float32], |s| s.len() >= 2, |g| g.shape_of(3))?;
    let lengths = [1 << g.rng.below(4), 1 << g.rng.below(5)];
    let lengths = g.ints(&lengths);
    plan(Rfft2d, [x, lengths], Attrs::new(), DType::Complex64, Quantization::None)
}

/// REAL, IMAG and COMPLEX_ABS.
pub(super) fn complex_part(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Real, Imag, ComplexAbs]);
    let shape = g.shape();
    let dtypes = g.dtypes(op);
    let dtype = g.dtype(&dtypes);
    let x = match g.pick(|t| t.dtype == dtype) {
        Some(x) => x,
        None => {
            let value = random_value(&mut g.rng, &TensorType::new(dtype, shape));
            g.input_of(value)
        }
    };
    let part = if dtype == DType::Complex64 { DType::Float32 } else { DType::Float64 };
    plan(op, [x], Attrs::new(), part, Quantization::None)
}
