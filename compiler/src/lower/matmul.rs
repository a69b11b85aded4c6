//! Matrix products: FULLY_CONNECTED and BATCH_MATMUL.
//!
//! A right operand that is computed is copied into the panels of the kernel first; every matrix of a batch is a call of the same kernel.

use super::blockwise::{self, Layer};
use super::computed_weights::hybrid_product;
use super::context::{Cx, Operand};
use super::epilogue::{Correction, Sources, compose};
use super::mac::{Mac, Product, Weights, activations};
use super::movement::{Part, copy_strided};
use super::recurrent::plain;
use super::run_time_weights::{Matrix, Right, Sizes, prepare, product};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind, TensorId};
use crate::ops::batch_matmul::BatchMatMul;
use crate::ops::conv_2d::Arithmetic;
use crate::ops::fully_connected::{FullyConnected, is_plain_hybrid};
use crate::ops::recurrent::Inputs;
use tflc_templates::cpu::epilogue::Epilogue;
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
use tflc_templates::cpu::quantize_rows::Rule;
use tflc_templates::expr::Storage;

/// Appends the calls of a matrix product.
///
/// # Errors
/// `Unsupported` for types that no kernel takes.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    if node.op == OpKind::BatchMatmul { batched(cx, node) } else { fully_connected(cx, node) }
}

fn fully_connected(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    if is_plain_hybrid(&call)? {
        return plain::fully_connected(cx, node);
    }
    let fc = FullyConnected::new(&call)?;
    let base = fc.epilogue(&call)?;
    let (x, w) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let bias = cx.optional_input(node, 2);
    let ((source, storage), out) = (activations(cx, x)?, cx.operand(node.outputs[0])?);
    let spec = |weights| GemmSpec {
        m: fc.rows,
        n: fc.outputs,
        k: fc.inputs,
        lda: fc.inputs,
        ldc: fc.outputs,
        a_storage: Storage::F32,
        weights,
        epilogue: Epilogue::identity(Storage::F32),
    };
    // Weights of 16 bits are two matrices of bytes, constant or not.
    if cx.constant(w).is_none() || cx.ty(w).dtype == DType::Int16 {
        let sizes = Sizes { m: fc.rows, k: fc.inputs, n: fc.outputs };
        if matches!(fc.arithmetic, Arithmetic::Quantized | Arithmetic::Quantized16) {
            let right = matrix(cx, w, 0, fc.weight_zero_point, [1, fc.inputs as i64])?;
            let mut right = prepare(cx, right, sizes)?;
            let left = Matrix { base: source, storage, zero_point: fc.input_zero_point, strides: [0, 0] };
            let bias = bias.map(|t| cx.operand(t)).transpose()?;
            return product(cx, node, &base, bias, left, &mut right, sizes, out);
        }
        if fc.arithmetic == Arithmetic::Hybrid {
            return hybrid_product(cx, node, &base, [x, w], bias, (fc.weight_zero_point, fc.rule), sizes);
        }
        if fc.arithmetic != Arithmetic::Float || !matches!(cx.ty(w).dtype, DType::Float32 | DType::Float16) {
            return Err(cx.unsupported(Unsupported::Option("weights".into(), format!("a computed tensor of {}", cx.ty(w).dtype))));
        }
        let composed = compose(cx, node, &base, Storage::F32, Correction::None)?;
        let spec = GemmSpec { epilogue: composed.epilogue.clone(), ..spec(WeightFormat::F32) };
        let (matrix, _) = activations(cx, w)?;
        let packed = pack_at_run_time(cx, &spec, matrix, [1, fc.inputs as i64]);
        let bias = bias.map(|t| cx.operand(t)).transpose()?;
        let mut args = vec![source, packed, out];
        args.extend(composed.operands(cx, &Sources { bias, ..Sources::default() })?);
        Mac::Gemm(spec, 0).call(cx, args);
        return Ok(());
    }
    if let Some(blocks) = &fc.blocks {
        let bias = bias.map(|t| cx.operand(t)).transpose()?;
        return blockwise::lower(cx, node, &base, &Layer { fc: &fc, blocks, source, weights: w, bias, out });
    }
    let mut weights = Weights::of(cx, w, fc.weight_zero_point)?;
    // A row or two read each weight about once, from memory: half the bytes take half the time.
    if fc.arithmetic == Arithmetic::Float && fc.rows <= 2 && cx.target().widens_halves() {
        weights = weights.as_halves();
    }
    let product = Product {
        mac: Mac::Gemm(spec(weights.format), 0),
        weights,
        base,
        bias,
        arithmetic: fc.arithmetic,
        rule: fc.rule,
        source,
        storage,
        zero_point: fc.input_zero_point,
        out,
    };
    product.lower(cx, node)
}

/// Copies an f32 matrix `[k, n]` with these strides (of k and n, in elements) into the kernel's panels in a workspace.
pub(super) fn pack_at_run_time(cx: &mut Cx<'_, '_>, spec: &GemmSpec, matrix: Operand, strides: [i64; 2]) -> Operand {
    let caps = cx.caps().clone();
    let panels = gemm::panels(spec, &caps);
    let workspace = cx.workspace(gemm::packed_bytes(spec, &caps));
    let mut at = 0;
    let mut i = 0;
    while i < panels.len() {
        let (first, width, columns) = panels[i];
        // Neighbouring panels that are full move in one copy.
        let count = panels[i..].iter().take_while(|p| (p.1, p.2) == (width, columns)).count();
        let from = matrix.offset(first * strides[1] as usize * 4);
        let dims = [count, spec.k, columns];
        let source = vec![columns as i64 * strides[1], strides[0], strides[1]];
        let target = vec![(spec.k * width) as i64, width as i64, 1];
        copy_strided(
            cx,
            &dims,
            Part { base: from, offset: 0, strides: source },
            Part { base: workspace.offset(at), offset: 0, strides: target },
            4,
        );
        at += count * spec.k * width * 4;
        i += count;
    }
    workspace
}

/// A matrix of integers in a tensor, `elements` in.
pub(super) fn matrix(
    cx: &mut Cx<'_, '_>,
    t: TensorId,
    elements: usize,
    zero_point: i32,
    strides: [i64; 2],
) -> Result<Matrix, CompileError> {
    let storage = match cx.ty(t).dtype {
        DType::Int8 => Storage::I8,
        DType::UInt8 => Storage::U8,
        DType::Int16 => Storage::I16,
        other => return Err(cx.unsupported(Unsupported::Types(format!("a computed matrix of {other}")))),
    };
    Ok(Matrix { base: cx.operand(t)?.offset(elements * storage.bytes()), storage, zero_point, strides })
}

/// One product of a batch: which matrices of the operands, and where the result begins, in rows.
struct Pair {
    left: usize,
    right: usize,
    rows: usize,
    at: usize,
}

/// The products of a batch; where all of them share the right side, their rows are those of one.
fn pairs(p: &BatchMatMul) -> Vec<Pair> {
    let (left, right) = (p.sources(0), p.sources(1));
    let in_order = left.iter().enumerate().all(|(i, l)| i == *l);
    if !p.adjoint[0] && in_order && !left.is_empty() && right.iter().all(|r| *r == right[0]) {
        return vec![Pair { left: 0, right: right[0], rows: p.m * left.len(), at: 0 }];
    }
    left.iter().zip(&right).enumerate().map(|(i, (&left, &right))| Pair { left, right, rows: p.m, at: i * p.m }).collect()
}

/// A left side with rows of `k` neighbouring elements: turned in a workspace where it lies the other way.
fn left_rows(cx: &mut Cx<'_, '_>, p: &BatchMatMul, a: Operand, pair: &Pair, turned: Option<Operand>, bytes: usize) -> Operand {
    let matrix = a.offset(pair.left * p.m * p.k * bytes);
    let Some(workspace) = turned else { return matrix };
    let from = Part { base: matrix, offset: 0, strides: vec![1, p.m as i64] };
    copy_strided(cx, &[p.m, p.k], from, Part::dense(workspace, &[p.m, p.k]), bytes);
    workspace
}

fn batched(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let p = BatchMatMul::new(&call)?;
    let base = p.epilogue(&call)?;
    let (x, y) = (cx.input(node, 0)?, cx.input(node, 1)?);
    if p.k == 0 {
        return Err(cx.unsupported(Unsupported::Shape("a product over no elements".into())));
    }
    let ((a, storage), out) = (activations(cx, x)?, cx.operand(node.outputs[0])?);
    let floats = if p.arithmetic == Arithmetic::Float { Some(activations(cx, y)?.0) } else { None };
    let (bytes, out_bytes) = (storage.bytes(), base.expr.output.bytes());
    let turned = p.adjoint[0].then(|| cx.workspace(p.m * p.k * bytes));
    let strides = if p.adjoint[1] { [1, p.k as i64] } else { [p.n as i64, 1] };
    let constant = cx.constant(y).is_some() && cx.ty(y).dtype == DType::Int8;
    let weights = if constant { Some(Weights::of(cx, y, p.zero_points[1])?) } else { None };
    let composed = match p.arithmetic {
        Arithmetic::Float => Some(compose(cx, node, &base, Storage::F32, Correction::None)?),
        _ => None,
    };
    // Several products may have one right side; a variable may be assigned between them.
    let version = cx.graph.tensor(y).variable.then_some(cx.shared.now);
    let mut prepared: Option<(usize, Right)> = None;
    for pair in pairs(&p) {
        let rows = left_rows(cx, &p, a, &pair, turned, bytes);
        let to = out.offset(pair.at * p.n * out_bytes);
        let sizes = Sizes { m: pair.rows, k: p.k, n: p.n };
        let spec = |storage, weights, epilogue| GemmSpec {
            m: sizes.m,
            n: sizes.n,
            k: sizes.k,
            lda: sizes.k,
            ldc: sizes.n,
            a_storage: storage,
            weights,
            epilogue,
        };
        if let (Some(composed), Some(matrix)) = (&composed, floats) {
            let spec = spec(Storage::F32, WeightFormat::F32, composed.epilogue.clone());
            let key = format!("{y} {version:?} {} {strides:?} {:?}", pair.right, gemm::panels(&spec, cx.caps()));
            let matrix = matrix.offset(pair.right * p.k * p.n * 4);
            let panels = cx.remembered(key, |cx| pack_at_run_time(cx, &spec, matrix, strides));
            let mut args = vec![rows, panels, to];
            args.extend(composed.operands(cx, &Sources::default())?);
            Mac::Gemm(spec, 0).call(cx, args);
        } else if let Some(weights) = &weights {
            let weights = weights.matrix(pair.right, p.k, p.n, p.adjoint[1]);
            let mac = Mac::Gemm(spec(storage, weights.format, Epilogue::identity(Storage::I32)), 0);
            let (arithmetic, zero_point) = (p.arithmetic, p.zero_points[0]);
            let product = Product {
                mac,
                weights,
                base: base.clone(),
                bias: None,
                arithmetic,
                rule: Rule::Even,
                source: rows,
                storage,
                zero_point,
                out: to,
            };
            product.lower(cx, node)?;
        } else if p.arithmetic == Arithmetic::Hybrid {
            let matrix = cx.operand(y)?.offset(pair.right * p.k * p.n);
            let weights = if p.adjoint[1] {
                matrix
            } else {
                let turned = cx.workspace(p.k * p.n);
                let from = Part { base: matrix, offset: 0, strides: vec![1, p.n as i64] };
                copy_strided(cx, &[p.n, p.k], from, Part::dense(turned, &[p.n, p.k]), 1);
                turned
            };
            let scale = call.quant(cx.ty(y))?.0;
            plain::multiply(cx, [pair.rows, p.n, p.k], [rows, weights, to], scale, Inputs::parse(&call))?;
        } else {
            let mut right = match prepared.take() {
                Some((r, right)) if r == pair.right => right,
                _ => {
                    let right = matrix(cx, y, pair.right * p.k * p.n, p.zero_points[1], strides)?;
                    prepare(cx, right, sizes)?
                }
            };
            let left = Matrix { base: rows, storage, zero_point: p.zero_points[0], strides: [0, 0] };
            product(cx, node, &base, None, left, &mut right, sizes, to)?;
            prepared = Some((pair.right, right));
        }
    }
    Ok(())
}
