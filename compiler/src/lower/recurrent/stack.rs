//! Weight matrices of recurrent cells, stacked: all gates at once.
//!
//! Constants are stacked and packed by the compiler; what is computed is stacked, and copied into the kernel's panels, at run time.

use super::product::{spec, weight_sums};
use crate::error::{CompileError, Unsupported};
use crate::ir::{Bytes, DType, TensorId};
use crate::lower::context::{Cx, Operand};
use crate::lower::matmul::pack_at_run_time;
use crate::lower::movement::{Part, copy, copy_strided, fill};
use crate::lower::run_time_weights::{flipped, pack};
use std::sync::Arc;
use tflc_templates::cpu::epilogue::Epilogue;
use tflc_templates::cpu::gemm::GemmSpec;
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::expr::Storage;

/// Weight matrices on top of each other, `[n, k]`.
#[derive(Clone)]
pub(super) struct Stack {
    pub(super) key: String,
    pub(super) n: usize,
    pub(super) k: usize,
    pub(super) format: WeightFormat,
    /// Type of the rows that meet them.
    pub(super) activations: Storage,
    /// Scale of each row where the weights are integers.
    pub(super) scales: Vec<f32>,
    pub(super) data: Data,
}

/// Where the rows are.
#[derive(Clone)]
pub(super) enum Data {
    /// Bytes that are known now.
    Constant(Arc<dyn Fn() -> Vec<u8> + Send + Sync>),
    /// Rows in memory; of unsigned bytes, 128 less.
    Computed {
        rows: Operand,
        /// The panels of a kernel, and the sums of rows of integers, where they are made already.
        ready: Option<(Operand, Option<Operand>)>,
    },
}

impl Stack {
    /// The matrices `tensors`, each of `rows` rows; a vector stands for a diagonal. Integers are signed bytes, whatever the tensor's type says.
    pub(super) fn new(cx: &mut Cx<'_, '_>, tensors: &[TensorId], rows: usize, k: usize) -> Result<Stack, CompileError> {
        let mut scales = vec![];
        let float = tensors.first().is_some_and(|t| cx.ty(*t).dtype == DType::Float32);
        for &t in tensors {
            let ty = cx.ty(t);
            let integer = matches!(ty.dtype, DType::Int8 | DType::UInt8);
            if integer == float || !(integer || ty.dtype == DType::Float32) {
                return Err(cx.unsupported(Unsupported::Types("weights of several types".into())));
            }
            if let (true, Some(affine)) = (integer, ty.quant.affine()) {
                scales.extend(vec![affine.scale.first().copied().unwrap_or(1.0); rows]);
            }
        }
        let (format, activations) = if float { (WeightFormat::F32, Storage::F32) } else { (WeightFormat::I8, Storage::I8) };
        let data = stacked(cx, tensors, rows, k, format.bytes())?;
        let names: Vec<String> = tensors.iter().map(|t| cx.name(*t)).collect();
        Ok(Stack { key: format!("stack {names:?}"), n: rows * tensors.len(), k, format, activations, scales, data })
    }

    /// One matrix of unsigned bytes with a zero point, which meets unsigned bytes.
    pub(super) fn unsigned(cx: &mut Cx<'_, '_>, t: TensorId, [n, k]: [usize; 2], zero_point: i32) -> Result<Stack, CompileError> {
        let data = match stacked(cx, &[t], n, k, 1)? {
            Data::Computed { rows, .. } => Data::Computed { rows: flipped(cx, rows, n * k), ready: None },
            constant => constant,
        };
        let key = format!("unsigned stack {}", cx.name(t));
        Ok(Stack { key, n, k, format: WeightFormat::U8 { zero_point }, activations: Storage::U8, scales: vec![], data })
    }

    /// Rows of signed bytes in memory with one scale.
    pub(super) fn of_bytes(rows: Operand, [n, k]: [usize; 2], scale: f32) -> Stack {
        let data = Data::Computed { rows, ready: None };
        let scales = vec![scale; n];
        Stack { key: String::new(), n, k, format: WeightFormat::I8, activations: Storage::I8, scales, data }
    }

    pub(super) fn is_float(&self) -> bool {
        self.format == WeightFormat::F32
    }

    /// The same with panels and sums for products of `m` rows, which a loop then need not make at every step.
    pub(super) fn ready(mut self, cx: &mut Cx<'_, '_>, m: usize) -> Stack {
        if let Data::Computed { rows, ready: None } = self.data {
            let epilogue = Epilogue::identity(if self.is_float() { Storage::F32 } else { Storage::I32 });
            let panels = pack_now(cx, &spec(&self, m, self.activations, [self.k, self.n], epilogue), rows);
            let sums = (!self.is_float()).then(|| weight_sums(cx, &self, m));
            self.data = Data::Computed { rows, ready: Some((panels, sums)) };
        }
        self
    }
}

/// All rows one after the other, now or at run time.
fn stacked(cx: &mut Cx<'_, '_>, tensors: &[TensorId], rows: usize, k: usize, width: usize) -> Result<Data, CompileError> {
    let diagonal = |cx: &Cx<'_, '_>, t: TensorId| cx.ty(t).shape.len() == 1;
    let constants: Option<Vec<(Bytes, bool)>> = tensors.iter().map(|&t| Some((cx.constant(t)?.clone(), diagonal(cx, t)))).collect();
    if let Some(parts) = constants {
        let data = move || {
            let mut out = vec![];
            for (data, diagonal) in &parts {
                if !diagonal {
                    out.extend_from_slice(data);
                    continue;
                }
                for (i, v) in data.chunks_exact(width).enumerate() {
                    let at = out.len();
                    out.resize(at + k * width, 0);
                    out[at + i * width..at + (i + 1) * width].copy_from_slice(v);
                }
            }
            out
        };
        return Ok(Data::Constant(Arc::new(data)));
    }
    if let [t] = tensors
        && !diagonal(cx, *t)
    {
        return Ok(Data::Computed { rows: cx.operand(*t)?, ready: None });
    }
    let all = cx.workspace(tensors.len() * rows * k * width);
    for (i, &t) in tensors.iter().enumerate() {
        let (from, part) = (cx.operand(t)?, all.offset(i * rows * k * width));
        if diagonal(cx, t) {
            fill(cx, &[rows, k], Part::dense(part, &[rows, k]), width, 0);
            let places = Part { base: part, offset: 0, strides: vec![k as i64 + 1] };
            copy_strided(cx, &[rows], Part::dense(from, &[rows]), places, width);
        } else {
            copy(cx, from, part, rows * k * width);
        }
    }
    Ok(Data::Computed { rows: all, ready: None })
}

/// Copies rows that are computed into the panels of a kernel.
pub(super) fn pack_now(cx: &mut Cx<'_, '_>, spec: &GemmSpec, rows: Operand) -> Operand {
    let strides = [1, spec.k as i64];
    if spec.weights == WeightFormat::F32 { pack_at_run_time(cx, spec, rows, strides) } else { pack(cx, spec, rows, strides) }
}

/// Vectors one after the other.
pub(super) fn vectors(cx: &mut Cx<'_, '_>, tensors: &[TensorId]) -> Result<Operand, CompileError> {
    if let Some(parts) = tensors.iter().map(|t| cx.constant(*t)).collect::<Option<Vec<&Bytes>>>() {
        let data = parts.iter().flat_map(|b| b.iter().copied()).collect();
        return Ok(cx.bytes(data));
    }
    let all = cx.workspace(tensors.iter().map(|t| cx.ty(*t).bytes()).sum());
    let mut at = 0;
    for &t in tensors {
        let (from, bytes) = (cx.operand(t)?, cx.ty(t).bytes());
        copy(cx, from, all.offset(at), bytes);
        at += bytes;
    }
    Ok(all)
}
