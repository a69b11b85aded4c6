//! Matrix products: FULLY_CONNECTED and BATCH_MATMUL.
//!
//! A right operand that is computed is copied into the panels of the kernel first; every matrix of a batch is a call of the same kernel.

use super::context::{Cx, Operand};
use super::epilogue::{Correction, Sources, compose};
use super::mac::{Mac, Product, Weights, activations};
use super::movement::{Part, copy_strided};
use crate::error::{CompileError, Unsupported};
use crate::ir::{DType, Node, OpKind};
use crate::ops::batch_matmul::BatchMatMul;
use crate::ops::conv_2d::Arithmetic;
use crate::ops::fully_connected::FullyConnected;
use tflc_templates::cpu::epilogue::Epilogue;
use tflc_templates::cpu::gemm::{self, GemmSpec};
use tflc_templates::cpu::mac::WeightFormat;
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
    let fc = FullyConnected::new(&call)?;
    let base = fc.epilogue(&call)?;
    let (x, w) = (cx.input(node, 0)?, cx.input(node, 1)?);
    let bias = cx.optional_input(node, 2);
    let (source, out) = (cx.operand(x)?, cx.operand(node.outputs[0])?);
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
    if cx.constant(w).is_none() {
        if fc.arithmetic != Arithmetic::Float || cx.ty(w).dtype != DType::Float32 {
            return Err(cx.unsupported(Unsupported::Option("weights".into(), "a computed integer tensor".into())));
        }
        let composed = compose(cx, node, &base, Storage::F32, Correction::None)?;
        let spec = GemmSpec { epilogue: composed.epilogue.clone(), ..spec(WeightFormat::F32) };
        let matrix = cx.operand(w)?;
        let packed = pack_at_run_time(cx, &spec, matrix, [1, fc.inputs as i64]);
        let bias = bias.map(|t| cx.operand(t)).transpose()?;
        let mut args = vec![source, packed, out];
        args.extend(composed.operands(cx, &Sources { bias, ..Sources::default() })?);
        Mac::Gemm(spec, 0).call(cx, args);
        return Ok(());
    }
    let weights = Weights::of(cx, w, fc.weight_zero_point)?;
    let product = Product {
        mac: Mac::Gemm(spec(weights.format), 0),
        weights,
        base,
        bias,
        arithmetic: fc.arithmetic,
        source,
        storage: activations(cx, x)?,
        zero_point: fc.input_zero_point,
        out,
    };
    product.lower(cx, node)
}

/// Copies an f32 matrix `[k, n]` with these strides (of k and n, in elements) into the kernel's panels in a workspace.
fn pack_at_run_time(cx: &mut Cx<'_, '_>, spec: &GemmSpec, matrix: Operand, strides: [i64; 2]) -> Operand {
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

fn batched(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let call = cx.as_call()?;
    let p = BatchMatMul::new(&call)?;
    let base = p.epilogue(&call)?;
    let (x, y) = (cx.input(node, 0)?, cx.input(node, 1)?);
    if p.arithmetic != Arithmetic::Float {
        return Err(cx.unsupported(Unsupported::Types(format!("{} with {}", cx.ty(x).dtype, cx.ty(y).dtype))));
    }
    let (a, b, out) = (cx.operand(x)?, cx.operand(y)?, cx.operand(node.outputs[0])?);
    let composed = compose(cx, node, &base, Storage::F32, Correction::None)?;
    let spec = GemmSpec {
        m: p.m,
        n: p.n,
        k: p.k,
        lda: p.k,
        ldc: p.n,
        a_storage: Storage::F32,
        weights: WeightFormat::F32,
        epilogue: composed.epilogue.clone(),
    };
    let (left, right) = (p.sources(0), p.sources(1));
    let turned = if p.adjoint[0] { Some(cx.workspace(p.m * p.k * 4)) } else { None };
    let strides = if p.adjoint[1] { [1, p.k as i64] } else { [p.n as i64, 1] };
    let mut packed = None;
    for (i, (&l, &r)) in left.iter().zip(&right).enumerate() {
        let matrix = a.offset(l * p.m * p.k * 4);
        let rows = match turned {
            None => matrix,
            Some(workspace) => {
                let from = Part { base: matrix, offset: 0, strides: vec![1, p.m as i64] };
                copy_strided(cx, &[p.m, p.k], from, Part::dense(workspace, &[p.m, p.k]), 4);
                workspace
            }
        };
        let panels = match packed {
            Some((at, operand)) if at == r => operand,
            _ => pack_at_run_time(cx, &spec, b.offset(r * p.k * p.n * 4), strides),
        };
        packed = Some((r, panels));
        let mut args = vec![rows, panels, out.offset(i * p.m * p.n * 4)];
        args.extend(composed.operands(cx, &Sources::default())?);
        Mac::Gemm(spec.clone(), 0).call(cx, args);
    }
    Ok(())
}
