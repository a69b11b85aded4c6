//! SPACE_TO_DEPTH, DEPTH_TO_SPACE, SPACE_TO_BATCH_ND, BATCH_TO_SPACE_ND: blocks of an image become channels or images, and back.

use super::constants::{element_bytes, operand_ints};
use super::context::Cx;
use super::movement::{Part, copy_strided, result};
use super::pad::{Value, pad_into, zero_bits};
use crate::error::CompileError;
use crate::ir::{Node, OpKind};
use tflc_templates::cpu::pointwise::row_major;

/// Lowers a node of the family.
pub(super) fn lower(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    match node.op {
        OpKind::SpaceToDepth | OpKind::DepthToSpace => depth(cx, node),
        OpKind::SpaceToBatchNd => space_to_batch(cx, node),
        _ => batch_to_space(cx, node),
    }
}

/// Both directions visit (batch, row, column in blocks, row and column in the block, channel).
fn depth(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let to_depth = node.op == OpKind::SpaceToDepth;
    // The image with the larger plane, and the one with more channels.
    let (wide, deep) = if to_depth { (&cx.ty(x).shape, &ty.shape) } else { (&ty.shape, &cx.ty(x).shape) };
    let (&[n, h, w, c], &[_, bh, bw, _]) = (&wide[..], &deep[..]) else {
        return Err(cx.internal(format!("shapes {wide:?} and {deep:?}")));
    };
    let block = node.attrs.int("block_size", 1).max(1);
    let b = block as usize;
    let (ww, cc) = (w as i64 * c as i64, c as i64);
    let plane = [n, bh, bw, b, b, c];
    let in_wide = vec![h as i64 * ww, block * ww, block * cc, ww, cc, 1];
    let in_deep = row_major(&plane);
    let bytes = element_bytes(cx, ty)?;
    // Iterate in the order of the output, so that stores run forwards.
    let order = if to_depth { [0, 1, 2, 3, 4, 5] } else { [0, 1, 3, 2, 4, 5] };
    let (from, to) = if to_depth { (in_wide, in_deep) } else { (in_deep, in_wide) };
    let dims: Vec<usize> = order.iter().map(|&i| plane[i]).collect();
    let from = Part { base: cx.operand(x)?, offset: 0, strides: order.iter().map(|&i| from[i]).collect() };
    let to = Part { base: cx.operand(y)?, offset: 0, strides: order.iter().map(|&i| to[i]).collect() };
    copy_strided(cx, &dims, from, to, bytes);
    Ok(())
}

/// Iteration over (blocks, batch, positions, rest): sizes, strides in the image tensor, strides in the batch tensor.
fn block_walk(image: &[usize], block: &[usize]) -> (Vec<usize>, Vec<i64>, Vec<i64>) {
    let m = block.len();
    let own = row_major(image);
    let positions: Vec<usize> = (0..m).map(|i| image[1 + i] / block[i]).collect();
    let rest = &image[1 + m..];
    let dims: Vec<usize> = block.iter().chain(&image[..1]).chain(&positions).chain(rest).copied().collect();
    let in_image = (0..m)
        .map(|i| own[1 + i])
        .chain([own[0]])
        .chain((0..m).map(|i| own[1 + i] * block[i] as i64))
        .chain(own[1 + m..].iter().copied())
        .collect();
    let in_batch = row_major(&dims);
    (dims, in_image, in_batch)
}

fn blocks(cx: &Cx<'_, '_>, node: &Node) -> Result<(Vec<usize>, Vec<(usize, usize)>), CompileError> {
    let block: Vec<usize> = operand_ints(cx, node, 1, "block_shape")?.iter().map(|&b| b.max(1) as usize).collect();
    let flat = operand_ints(cx, node, 2, "paddings or crops")?;
    let pairs: Vec<(usize, usize)> = flat.as_chunks::<2>().0.iter().map(|p| (p[0].max(0) as usize, p[1].max(0) as usize)).collect();
    if pairs.len() == block.len() { Ok((block, pairs)) } else { Err(cx.internal(format!("{pairs:?} for blocks {block:?}"))) }
}

fn space_to_batch(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (block, pads) = blocks(cx, node)?;
    let shape = &cx.ty(x).shape;
    let bytes = element_bytes(cx, ty)?;
    let mut paddings = vec![(0, 0); shape.len()];
    paddings[1..=block.len()].copy_from_slice(&pads);
    let padded: Vec<usize> = shape.iter().zip(&paddings).map(|(n, p)| n + p.0 + p.1).collect();
    let mut from = cx.operand(x)?;
    if padded != *shape {
        let space = cx.workspace(padded.iter().product::<usize>() * bytes);
        pad_into(cx, shape, &paddings, from, space, bytes, &Value::Bits(zero_bits(ty)));
        from = space;
    }
    let (dims, in_image, in_batch) = block_walk(&padded, &block);
    let from = Part { base: from, offset: 0, strides: in_image };
    let to = Part { base: cx.operand(y)?, offset: 0, strides: in_batch };
    copy_strided(cx, &dims, from, to, bytes);
    Ok(())
}

fn batch_to_space(cx: &mut Cx<'_, '_>, node: &Node) -> Result<(), CompileError> {
    let x = cx.input(node, 0)?;
    let (y, ty) = result(cx, node, 0)?;
    let (block, crops) = blocks(cx, node)?;
    let bytes = element_bytes(cx, ty)?;
    let mut whole = ty.shape.clone();
    for (d, c) in crops.iter().enumerate() {
        whole[1 + d] += c.0 + c.1;
    }
    let (dims, in_image, in_batch) = block_walk(&whole, &block);
    let from = Part { base: cx.operand(x)?, offset: 0, strides: in_batch };
    let out = cx.operand(y)?;
    let cropped = whole != ty.shape;
    let image = if cropped { cx.workspace(whole.iter().product::<usize>() * bytes) } else { out };
    copy_strided(cx, &dims, from, Part { base: image, offset: 0, strides: in_image }, bytes);
    if cropped {
        let strides = row_major(&whole);
        let offset = crops.iter().zip(&strides[1..]).map(|(c, s)| c.0 as i64 * s).sum();
        copy_strided(cx, &ty.shape, Part { base: image, offset, strides }, Part::dense(out, &ty.shape), bytes);
    }
    Ok(())
}
