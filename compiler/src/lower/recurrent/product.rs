//! Products with stacked weight matrices: `out = x · Wᵀ + addend`, in floats, or with rows quantised as they come.

use super::stack::{Data, Stack, pack_now, vectors};
use super::{Rows, rows_loop};
use crate::error::CompileError;
use crate::ir::{Bytes, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::grain::grain;
use crate::lower::hybrid::quantize;
use crate::lower::program::Content;
use crate::lower::run_time_weights::{Sizes, column_sums};
use crate::ops::recurrent::Inputs;
use std::sync::Arc;
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::reduce::ReduceSpec;
use tflc_templates::expr::{Cast, Expr, ExprBuilder, Storage, Ty};

/// What is added to a product.
#[derive(Clone, Copy, Debug)]
pub(super) enum Addend {
    /// Nothing.
    None,
    /// A row of floats, the same for all rows.
    Bias(Operand),
    /// Rows of floats.
    Rows(Rows),
}

/// An integer product's operands besides the accumulator: storage, addressing and place.
pub(super) type Extra = (Storage, OperandAccess, Operand);

/// `out = x · Wᵀ + addend` for `m` rows of floats.
pub(super) fn product(
    cx: &mut Cx<'_, '_>,
    w: &Stack,
    m: usize,
    (x, out): (Rows, Rows),
    addend: Addend,
    inputs: Inputs,
) -> Result<(), CompileError> {
    let extra = match addend {
        Addend::None => None,
        Addend::Bias(at) => Some((Storage::F32, OperandAccess::PerColumn, at)),
        Addend::Rows(r) => Some((Storage::F32, OperandAccess::Matrix { row_stride_bytes: r.stride as i64 * 4 }, r.at)),
    };
    if w.is_float() {
        let mut b = ExprBuilder::new(vec![Storage::F32; 1 + usize::from(extra.is_some())]);
        let mut v = b.input(0);
        if extra.is_some() {
            let y = b.input(1);
            v = b.add(v, y);
        }
        let expr = b.finish(v, Storage::F32);
        multiply(cx, w, m, (Storage::F32, x, out), expr, extra.into_iter().collect());
        return Ok(());
    }
    if inputs == Inputs::Asymmetric {
        return asymmetric(cx, w, m, (x, out), extra);
    }
    let dense = dense_rows(cx, m, w.k, x);
    let quantized = quantize(cx, dense, [m, w.k], Storage::I8, inputs.rule());
    let (rows, scales) = (quantized.values, quantized.scales);
    let weight_scales = floats(cx, &w.scales);
    let compensation = compensation(cx, w, m, IntBias::None, 0);
    let mut operands = vec![
        (Storage::I32, OperandAccess::PerColumn, compensation),
        (Storage::F32, OperandAccess::PerRow, scales),
        (Storage::F32, OperandAccess::PerColumn, weight_scales),
    ];
    operands.extend(extra);
    let mut b = ExprBuilder::new([Storage::I32].into_iter().chain(operands.iter().map(|o| o.0)).collect::<Vec<_>>());
    let (acc, c, row, column) = (b.input(0), b.input(1), b.input(2), b.input(3));
    let sum = b.add(acc, c);
    let sum = b.cast(Cast::Value, Ty::F32, sum);
    let scale = b.mul(row, column);
    let mut v = b.mul(sum, scale);
    if extra.is_some() {
        let y = b.input(4);
        v = b.add(v, y);
    }
    let expr = b.finish(v, Storage::F32);
    multiply(cx, w, m, (Storage::I8, Rows::new(rows, w.k), out), expr, operands);
    Ok(())
}

/// Rows quantised with a zero point each, by TFLite's rounding.
fn asymmetric(cx: &mut Cx<'_, '_>, w: &Stack, m: usize, (x, out): (Rows, Rows), extra: Option<Extra>) -> Result<(), CompileError> {
    let dense = dense_rows(cx, m, w.k, x);
    let rows = quantize(cx, dense, [m, w.k], Storage::I8, Inputs::Asymmetric.rule());
    let weight_scales = floats(cx, &w.scales);
    let compensation = compensation(cx, w, m, IntBias::None, 0);
    let sums = weight_sums(cx, w, m);
    let mut operands = vec![
        (Storage::I32, OperandAccess::PerColumn, compensation),
        (Storage::F32, OperandAccess::PerRow, rows.scales),
        (Storage::F32, OperandAccess::PerColumn, weight_scales),
        (Storage::I32, OperandAccess::PerRow, rows.zeros),
        (Storage::I32, OperandAccess::PerColumn, sums),
    ];
    operands.extend(extra);
    let mut b = ExprBuilder::new([Storage::I32].into_iter().chain(operands.iter().map(|o| o.0)).collect::<Vec<_>>());
    let (acc, c, row, column, zero, sum) = (b.input(0), b.input(1), b.input(2), b.input(3), b.input(4), b.input(5));
    let v = b.add(acc, c);
    let shift = b.mul(zero, sum);
    let v = b.sub(v, shift);
    let v = b.cast(Cast::Value, Ty::F32, v);
    let scale = b.mul(row, column);
    let mut v = b.mul(v, scale);
    if extra.is_some() {
        let y = b.input(6);
        v = b.add(v, y);
    }
    let expr = b.finish(v, Storage::F32);
    multiply(cx, w, m, (Storage::I8, Rows::new(rows.values, w.k), out), expr, operands);
    Ok(())
}

/// Rows without gaps between them.
fn dense_rows(cx: &mut Cx<'_, '_>, m: usize, k: usize, x: Rows) -> Operand {
    if x.stride == k || m == 1 {
        return x.at;
    }
    let dense = cx.workspace(m * k * 4);
    super::copy_rows(cx, [m, k], x, Rows::new(dense, k), 4);
    dense
}

/// Appends a reduction.
pub(super) fn reduce(cx: &mut Cx<'_, '_>, spec: ReduceSpec, args: Vec<Operand>) {
    let caps = cx.caps().clone();
    let units = spec.units(&caps);
    let elements: usize = spec.dims.iter().map(|d| d.0).product();
    cx.call(format!("{spec:?}"), move || spec.build(&caps), args, units, grain(units, elements as f64 / units.max(1) as f64 * 0.2));
}

fn floats(cx: &mut Cx<'_, '_>, values: &[f32]) -> Operand {
    cx.bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

/// A constant row of I32.
pub(super) fn ints(cx: &mut Cx<'_, '_>, values: &[i32]) -> Operand {
    cx.bytes(values.iter().flat_map(|v| v.to_le_bytes()).collect())
}

fn write_ints(to: &mut [u8], values: &[i32]) {
    for (to, v) in to.as_chunks_mut().0.iter_mut().zip(values) {
        *to = v.to_le_bytes();
    }
}

pub(super) fn spec(w: &Stack, m: usize, a_storage: Storage, [lda, ldc]: [usize; 2], epilogue: Epilogue) -> GemmSpec {
    GemmSpec { m, n: w.n, k: w.k, lda, ldc, a_storage, weights: w.format, epilogue }
}

/// A bias of integers.
#[derive(Clone, Debug)]
pub(super) enum IntBias {
    /// None.
    None,
    /// Known now.
    Constant(Vec<i32>),
    /// In memory.
    Computed(Operand),
}

impl IntBias {
    /// The vectors `tensors`, one after the other.
    pub(super) fn new(cx: &mut Cx<'_, '_>, tensors: &[TensorId]) -> Result<IntBias, CompileError> {
        let constants: Option<Vec<&Bytes>> = tensors.iter().map(|t| cx.constant(*t)).collect();
        if let Some(parts) = constants {
            let of = |b: &&Bytes| b.as_chunks().0.iter().map(|v| i32::from_le_bytes(*v)).collect::<Vec<i32>>();
            return Ok(IntBias::Constant(parts.iter().flat_map(of).collect()));
        }
        Ok(IntBias::Computed(vectors(cx, tensors)?))
    }
}

/// Sums of the weights of each column.
pub(super) fn weight_sums(cx: &mut Cx<'_, '_>, w: &Stack, m: usize) -> Operand {
    let spec = spec(w, m, w.activations, [w.k, w.n], Epilogue::identity(Storage::I32));
    match &w.data {
        Data::Constant(data) => {
            let data = data.clone();
            let pack = move |to: &mut [u8]| write_ints(to, &gemm::weight_sums(&spec, &data()));
            cx.weights(format!("{} sums", w.key), w.n * 4, Content::Packed(Arc::new(pack)))
        }
        Data::Computed { ready: Some((_, Some(sums))), .. } => *sums,
        Data::Computed { rows, .. } => {
            let zero = if let WeightFormat::U8 { zero_point } = w.format { zero_point - 128 } else { 0 };
            column_sums(cx, *rows, [1, w.k as i64], Sizes { m, k: w.k, n: w.n }, zero)
        }
    }
}

/// What makes an integer kernel's accumulator the sum of products of activations less their zero point, with a bias.
pub(super) fn compensation(cx: &mut Cx<'_, '_>, w: &Stack, m: usize, bias: IntBias, zero_point: i32) -> Operand {
    let caps = cx.caps().clone();
    let spec = spec(w, m, w.activations, [w.k, w.n], Epilogue::identity(Storage::I32));
    if let (Data::Constant(data), false) = (&w.data, matches!(bias, IntBias::Computed(_))) {
        let data = data.clone();
        let bias = if let IntBias::Constant(values) = bias { Some(values) } else { None };
        let key = format!("{} compensation {zero_point} {}", w.key, bias.is_some());
        let pack = move |to: &mut [u8]| write_ints(to, &gemm::folded_bias(&spec, &caps, bias.as_deref(), &data(), zero_point));
        return cx.weights(key, w.n * 4, Content::Packed(Arc::new(pack)));
    }
    let sums = weight_sums(cx, w, m);
    let added = match bias {
        IntBias::None => ints(cx, &vec![0; w.n]),
        IntBias::Constant(values) => ints(cx, &values),
        IntBias::Computed(at) => at,
    };
    let out = cx.workspace(w.n * 4);
    let mut b = ExprBuilder::new([Storage::I32, Storage::I32]);
    let (sum, bias, zero) = (b.input(0), b.input(1), b.i32(zero_point + gemm::activation_shift(&spec, &caps)));
    let term = b.mul(sum, zero);
    let v = b.sub(bias, term);
    let row = |at| Rows::new(at, w.n);
    rows_loop(cx, [1, w.n], &[row(sums), row(added)], row(out), b.finish(v, Storage::I32));
    out
}

/// The matrix product itself: `expr` over the accumulator and `operands`, stored to `out`.
pub(super) fn multiply(cx: &mut Cx<'_, '_>, w: &Stack, m: usize, (a, x, out): (Storage, Rows, Rows), expr: Expr, operands: Vec<Extra>) {
    let epilogue = Epilogue { expr, operands: operands.iter().map(|o| o.1).collect() };
    let tables: Vec<Vec<u8>> = epilogue.tables().into_iter().map(<[u8]>::to_vec).collect();
    let spec = spec(w, m, a, [x.stride.max(w.k), out.stride.max(w.n)], epilogue);
    let caps = cx.caps().clone();
    let packed = match &w.data {
        Data::Computed { ready: Some((panels, _)), .. } => *panels,
        Data::Computed { rows, ready: None } => pack_now(cx, &spec, *rows),
        Data::Constant(data) => {
            let key = format!("{} gemm {m}x{}x{} {a:?}", w.key, w.n, w.k);
            let (data, s, c) = (data.clone(), spec.clone(), caps.clone());
            let pack = move |to: &mut [u8]| to.copy_from_slice(&gemm::pack_b(&s, &c, &data()));
            cx.weights(key, gemm::packed_bytes(&spec, &caps), Content::Packed(Arc::new(pack)))
        }
    };
    let mut args = vec![x.at, packed, out.at];
    args.extend(operands.into_iter().map(|o| o.2));
    args.extend(tables.into_iter().map(|t| cx.bytes(t)));
    let (units, grain) = (gemm::units(&spec, &caps), gemm::grain(&spec, &caps));
    cx.call(format!("{spec:?}"), move || gemm::build(&spec, &caps), args, units as u64, grain as u64);
}
