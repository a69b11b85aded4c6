//! FULLY_CONNECTED of float activations with weights that have scales for blocks of inputs (see [`crate::ops::blockwise`]).
//!
//! Each block is a matrix product of its own, which adds its scaled sums to what the blocks before have left in a buffer of floats.

use super::context::{Cx, Operand};
use super::hybrid::{integer_storage, quantize};
use super::mac::{Mac, Weights};
use super::pointwise::emit;
use super::wide::{self, Term};
use crate::error::CompileError;
use crate::ir::{Bytes, Node, TensorId};
use crate::ops::blockwise::Blocks;
use crate::ops::fully_connected::FullyConnected;
use crate::ops::requant;
use std::sync::Arc;
use tflc_templates::cpu::epilogue::{Epilogue, OperandAccess};
use tflc_templates::cpu::gemm::GemmSpec;
use tflc_templates::cpu::pointwise::PointwiseSpec;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::{Cast, ExprBuilder, Storage, Ty};

/// The operands and the result of a layer.
pub(super) struct Layer<'a> {
    pub(super) fc: &'a FullyConnected,
    pub(super) blocks: &'a Blocks,
    pub(super) source: Operand,
    pub(super) weights: TensorId,
    pub(super) bias: Option<Operand>,
    pub(super) out: Operand,
}

/// Appends the calls of a layer.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node, base: &requant::Epilogue, layer: &Layer<'_>) -> Result<(), CompileError> {
    let FullyConnected { rows: m, inputs: k, outputs: n, .. } = *layer.fc;
    let Blocks { size, scales } = layer.blocks;
    let weights = Weights::of(cx, layer.weights, 0)?;
    let storage = integer_storage(cx);
    let rows = quantize(cx, layer.source, [m, k], storage, Rule::Even);
    let sums = cx.workspace(m * n * 4);
    start(cx, layer, &weights, rows.zeros, storage, sums);
    let count = k / size;
    for block in 0..count {
        let w = slice(&weights, block, *size, k);
        let spec = GemmSpec { m, n, k: *size, lda: k, ldc: n, a_storage: storage, weights: w.format, epilogue: accumulate(n, storage) };
        let mac = Mac::Gemm(spec, 0);
        let packed = mac.packed(cx, &w);
        // Kernels over signed bytes take unsigned ones' surplus of 128 as a part of the compensation.
        let mut args = vec![rows.values.offset(block * size), packed, sums];
        args.push(mac.compensated(cx, &w, None)?);
        args.push(mac.sums(cx, &w));
        let column: Vec<u8> = scales.chunks(count).flat_map(|s| s[block].to_le_bytes()).collect();
        args.extend([cx.bytes(column), sums]);
        mac.call(cx, args);
    }
    wide::finish(cx, node, base, &[Term { sum: sums, shift: 0 }], [m, n], layer.bias, Some((rows.scales, m)), layer.out)
}

/// `sums = offset of the column * zero point of the row`, of unsigned bytes.
fn start(cx: &mut Cx<'_, '_>, layer: &Layer<'_>, weights: &Weights, zeros: Operand, storage: Storage, sums: Operand) {
    let FullyConnected { rows: m, inputs: k, outputs: n, .. } = *layer.fc;
    let (blocks, expand) = (layer.blocks.clone(), weights.expand.clone());
    let offsets = cx.packed(layer.weights, "offsets of blocks", n * 4, move |out| {
        let weights: Vec<i8> = expand().iter().map(|w| *w as i8).collect();
        for (to, v) in out.as_chunks_mut().0.iter_mut().zip(blocks.offsets(&weights, k)) {
            *to = v.to_le_bytes();
        }
    });
    let mut b = ExprBuilder::new([Storage::F32, Storage::I32]);
    let (offset, zero) = (b.input(0), b.input(1));
    let higher = b.i32(if storage == Storage::I8 { 128 } else { 0 });
    let zero = b.add(zero, higher);
    let zero = b.cast(Cast::Value, Ty::F32, zero);
    let v = b.mul(offset, zero);
    let expr = b.finish(v, Storage::F32);
    emit(cx, PointwiseSpec::new(&[m, n], vec![vec![0, 1], vec![1, 0]], vec![n as i64, 1], expr), vec![offsets, zeros, sums]);
}

/// `fma(f32(acc), scale of the column, what is there)` of the product with unsigned bytes. Operands: compensation, sums of the weights, scales, and
/// what is there.
fn accumulate(n: usize, storage: Storage) -> Epilogue {
    let mut b = ExprBuilder::new([Storage::I32, Storage::I32, Storage::I32, Storage::F32, Storage::F32]);
    let (acc, more, weights) = (b.input(0), b.input(1), b.input(2));
    let acc = b.add(acc, more);
    let higher = b.i32(if storage == Storage::I8 { 128 } else { 0 });
    let surplus = b.mul(weights, higher);
    let acc = b.add(acc, surplus);
    let acc = b.cast(Cast::Value, Ty::F32, acc);
    let (scale, before) = (b.input(3), b.input(4));
    let v = b.mul_add(acc, scale, before);
    let column = OperandAccess::PerColumn;
    let operands = vec![column, column, column, OperandAccess::Matrix { row_stride_bytes: n as i64 * 4 }];
    Epilogue { expr: b.finish(v, Storage::F32), operands }
}

/// Block `block` of every row of the weights.
fn slice(weights: &Weights, block: usize, size: usize, inputs: usize) -> Weights {
    let all = weights.expand.clone();
    let expand = move || {
        let all = all();
        Bytes::from(all.chunks(inputs).flat_map(|row| row[block * size..(block + 1) * size].to_vec()).collect::<Vec<u8>>())
    };
    Weights { form: format!("block {block} of {size}"), expand: Arc::new(expand), halves: None, ..weights.clone() }
}
