//! Integer matrix products whose right side is computed at run time: it is copied into the kernel's panels first.
//!
//! Integers of 16 bits are two matrices of bytes, so a product of 16 with 8 or 16 bits is two or four products of bytes, put together by
//! `wide`.

use super::context::{Cx, Operand};
use super::epilogue::{Correction, Sources, compose};
use super::mac::Mac;
use super::movement::{Part, copy_strided, fill};
use super::pointwise::emit;
use super::reduce::reduce;
use super::wide::{self, Term};
use crate::error::{CompileError, Unsupported};
use crate::ir::Node;
use crate::ops::requant;
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::reduce::{Combine, ReduceSpec};
use tflc_templates::expr::{Binary, Expr, ExprBuilder, Storage};

/// An integer matrix in memory: `rows x columns` of the left side, `k x n` of the right.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matrix {
    pub(super) base: Operand,
    /// `I8`, `U8` or `I16`.
    pub(super) storage: Storage,
    pub(super) zero_point: i32,
    /// Distances of neighbours along both dimensions, in elements.
    pub(super) strides: [i64; 2],
}

/// Sizes of a product `[m, k] x [k, n]`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
}

impl Sizes {
    fn spec(self, storage: Storage, weights: WeightFormat, epilogue: Epilogue) -> GemmSpec {
        let Sizes { m, k, n } = self;
        GemmSpec { m, n, k, lda: k, ldc: n, a_storage: storage, weights, epilogue }
    }
}

/// A matrix of signed bytes, with the sums of its columns and the panels that were made of it; its values count `2^shift`.
#[derive(Clone, Debug)]
struct Bytes {
    bytes: Operand,
    strides: [i64; 2],
    format: WeightFormat,
    sums: Operand,
    shift: i64,
    /// Panels for kernels over activations of a type.
    packed: Vec<(Storage, Operand)>,
}

/// A right side that is ready for products of one number of rows.
#[derive(Clone, Debug)]
pub(super) struct Right(Vec<Bytes>);

/// Makes signed bytes of a right side.
///
/// # Errors
/// `Unsupported` for 16-bit integers with a zero point.
pub(super) fn prepare(cx: &mut Cx<'_, '_>, matrix: Matrix, sizes: Sizes) -> Result<Right, CompileError> {
    let elements = sizes.k * sizes.n;
    let zero = matrix.zero_point;
    // Bytes, what is stored for 0 in them, and their place.
    let parts = match matrix.storage {
        Storage::I16 => {
            no_zero_point(cx, matrix)?;
            let high = wide::byte_of(cx, matrix.base, elements, Storage::I8, 8);
            let low = wide::byte_of(cx, matrix.base, elements, Storage::U8, 0);
            vec![(high, 0, 8), (flipped(cx, low, elements), -128, 0)]
        }
        Storage::U8 => vec![(flipped(cx, matrix.base, elements), zero - 128, 0)],
        _ => vec![(matrix.base, zero, 0)],
    };
    let strides = matrix.strides;
    let of = |(bytes, zero, shift)| {
        let format = if zero == 0 { WeightFormat::I8 } else { WeightFormat::U8 { zero_point: zero + 128 } };
        let sums = column_sums(cx, bytes, strides, sizes, zero);
        Bytes { bytes, strides, format, sums, shift, packed: vec![] }
    };
    Ok(Right(parts.into_iter().map(of).collect()))
}

/// The sum of each column of signed bytes less their zero point.
pub(super) fn column_sums(cx: &mut Cx<'_, '_>, bytes: Operand, strides: [i64; 2], sizes: Sizes, zero: i32) -> Operand {
    let out = cx.workspace(sizes.n * 4);
    let (shape, reduced) = if strides[0] == 1 { ([sizes.n, sizes.k], [false, true]) } else { ([sizes.k, sizes.n], [true, false]) };
    let mut b = ExprBuilder::new([Storage::I8]);
    let (x, zero) = (b.input(0), b.i32(zero));
    let v = b.sub(x, zero);
    let element = b.finish(v, Storage::I32);
    let spec = ReduceSpec::new(&shape, &reduced, Combine::Sum, element, Expr::identity(Storage::I32));
    reduce(cx, spec, sizes.k * sizes.n, vec![bytes, out]);
    out
}

impl Bytes {
    /// Panels for the kernel that `spec` describes.
    fn packed(&mut self, cx: &mut Cx<'_, '_>, spec: &GemmSpec) -> Operand {
        if let Some((_, panels)) = self.packed.iter().find(|(s, _)| *s == spec.a_storage) {
            return *panels;
        }
        let panels = pack(cx, spec, self.bytes, self.strides);
        self.packed.push((spec.a_storage, panels));
        panels
    }
}

fn no_zero_point(cx: &Cx<'_, '_>, matrix: Matrix) -> Result<(), CompileError> {
    if matrix.zero_point == 0 {
        return Ok(());
    }
    Err(cx.unsupported(Unsupported::Quantization(format!("16-bit integers with zero point {}", matrix.zero_point))))
}

/// Unsigned bytes as signed ones, 128 lower.
pub(super) fn flipped(cx: &mut Cx<'_, '_>, bytes: Operand, elements: usize) -> Operand {
    let out = cx.workspace(elements);
    let mut b = ExprBuilder::new([Storage::U8]);
    let (x, half) = (b.input(0), b.i32(128));
    let v = b.sub(x, half);
    let expr = b.finish(v, Storage::I8);
    emit(cx, PointwiseSpec::new(&[elements], vec![vec![1]], vec![1], expr), vec![bytes, out]);
    out
}

/// Copies signed bytes into panels; `strides` are those of k and n.
pub(super) fn pack(cx: &mut Cx<'_, '_>, spec: &GemmSpec, matrix: Operand, [k_stride, n_stride]: [i64; 2]) -> Operand {
    let caps = cx.caps().clone();
    let panels = gemm::panels(spec, &caps);
    let layout = gemm::k_layout(spec, &caps);
    let out = cx.workspace(gemm::packed_bytes(spec, &caps));
    let (kr, full) = (layout.width, spec.k / layout.width);
    let mut at = 0;
    let mut i = 0;
    while i < panels.len() {
        let (first, width, columns) = panels[i];
        // Neighbouring panels that are full move in one copy.
        let count = panels[i..].iter().take_while(|p| (p.1, p.2) == (width, columns)).count();
        let panel = layout.steps * width * kr;
        let from = matrix.offset(first * n_stride as usize);
        let to = out.offset(at);
        let row = (width * kr) as i64;
        copy_strided(
            cx,
            &[count, full, columns, kr],
            Part { base: from, offset: 0, strides: vec![columns as i64 * n_stride, kr as i64 * k_stride, n_stride, k_stride] },
            Part { base: to, offset: 0, strides: vec![panel as i64, row, kr as i64, 1] },
            1,
        );
        if layout.rest > 0 {
            let last = to.offset(full * width * kr);
            let strides = vec![panel as i64, kr as i64, 1];
            fill(cx, &[count, columns, kr], Part { base: last, offset: 0, strides: strides.clone() }, 1, 0);
            copy_strided(
                cx,
                &[count, columns, layout.rest],
                Part { base: from, offset: (full * kr) as i64 * k_stride, strides: vec![columns as i64 * n_stride, n_stride, k_stride] },
                Part { base: last, offset: layout.rest_at as i64, strides },
                1,
            );
        }
        at += count * panel;
        i += count;
    }
    out
}

/// The largest number of products of which 32 bits hold the sum.
const DEPTH: usize = (i32::MAX / (255 * 255)) as usize;

/// Appends the product of dense rows with a prepared right side, and the operator's epilogue.
///
/// # Errors
/// `Unsupported` for 16-bit integers with a zero point, or sums too long for 32 bits.
#[allow(clippy::too_many_arguments)]
pub(super) fn product(
    cx: &mut Cx<'_, '_>,
    node: &Node,
    base: &requant::Epilogue,
    bias: Option<Operand>,
    left: Matrix,
    right: &mut Right,
    sizes: Sizes,
    out: Operand,
) -> Result<(), CompileError> {
    if let ([part], true) = (&mut right.0[..], left.storage != Storage::I16) {
        let composed = compose(cx, node, base, Storage::I32, Correction::Rows(OperandAccess::Scalar))?;
        let spec = sizes.spec(left.storage, part.format, composed.epilogue.clone());
        let zero = left.zero_point + gemm::activation_shift(&spec, cx.caps());
        let from = Sources {
            bias,
            compensation: Some(cx.bytes(vec![0; sizes.n * 4])),
            row_zero: Some(cx.bytes(zero.to_le_bytes().to_vec())),
            weight_sums: Some(part.sums),
            ..Sources::default()
        };
        let mut args = vec![left.base, part.packed(cx, &spec), out];
        args.extend(composed.operands(cx, &from)?);
        Mac::Gemm(spec, 0).call(cx, args);
        return Ok(());
    }
    no_zero_point(cx, left)?;
    if sizes.k > DEPTH {
        return Err(cx.unsupported(Unsupported::Shape(format!("sums of {} products of 16-bit integers", sizes.k))));
    }
    let mut terms = vec![];
    for (storage, shift) in [(Storage::I8, 8), (Storage::U8, 0)] {
        let bytes = wide::byte_of(cx, left.base, sizes.m * sizes.k, storage, shift);
        for part in &mut right.0 {
            let bare = sizes.spec(storage, part.format, Epilogue::identity(Storage::I32));
            let epilogue = less_columns(gemm::activation_shift(&bare, cx.caps()));
            let sum = cx.workspace(sizes.m * sizes.n * 4);
            let packed = part.packed(cx, &bare);
            Mac::Gemm(GemmSpec { epilogue, ..bare }, 0).call(cx, vec![bytes, packed, sum, part.sums]);
            terms.push(Term { sum, shift: i64::from(shift) + part.shift });
        }
    }
    wide::finish(cx, node, base, &terms, [sizes.m, sizes.n], bias, None, out)
}

/// The accumulator less `zero` times the sum of its column.
fn less_columns(zero: i32) -> Epilogue {
    let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
    let (acc, sum, zero) = (b.input(0), b.input(1), b.i32(zero));
    let term = b.binary(Binary::Mul, sum, zero);
    let v = b.sub(acc, term);
    Epilogue { expr: b.finish(v, Storage::I32), operands: vec![OperandAccess::PerColumn] }
}
