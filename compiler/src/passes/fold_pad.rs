//! Folds PAD of rows and columns into the convolutions that read it: their kernels skip what lies outside the image.
//!
//! A padding of zeros (of the zero point where quantised) is what a convolution assumes there. The convolution gets `padding = EXPLICIT` with its
//! own padding added.

use crate::error::CompileError;
use crate::ir::{AttrValue, Graph, GraphId, Model, OpKind};
use crate::ops::Call;
use crate::ops::conv_2d::Conv;
use crate::target::Target;

/// Runs the pass.
///
/// # Errors
/// None.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let mut folded = 0;
    for i in 0..model.graphs[id.index()].nodes.len() {
        let graph = &model.graphs[id.index()];
        let Some(pad) = spatial_padding(graph, i) else { continue };
        let (source, padded) = (graph.nodes[i].inputs[0], graph.nodes[i].outputs[0]);
        let readers: Vec<usize> = (0..graph.nodes.len()).filter(|&r| graph.nodes[r].reads().any(|t| t == padded)).collect();
        // The border of an image of open size begins where the run says.
        if graph.open_axes(padded).iter().any(|o| o.axis != 0) {
            continue;
        }
        let convolutions = readers.iter().all(|&r| {
            let n = &graph.nodes[r];
            matches!(n.op, OpKind::Conv2d | OpKind::DepthwiseConv2d)
                && n.inputs[0] == Some(padded)
                && n.inputs[1..].iter().all(|t| *t != Some(padded))
        });
        let same_quant = source.is_some_and(|s| graph.ty(s).quant.per_tensor() == graph.ty(padded).quant.per_tensor());
        if !convolutions || readers.is_empty() || graph.outputs.contains(&padded) || !same_quant {
            continue;
        }
        let own: Option<Vec<[[usize; 2]; 2]>> = readers.iter().map(|&r| own_padding(model, id, r)).collect();
        let Some(own) = own else { continue };
        let graph = &mut model.graphs[id.index()];
        for (r, own) in readers.into_iter().zip(own) {
            let node = &mut graph.nodes[r];
            node.inputs[0] = source;
            node.attrs.set("padding", AttrValue::Enum("EXPLICIT".to_string()));
            for (d, names) in [["pad_top", "pad_bottom"], ["pad_left", "pad_right"]].into_iter().enumerate() {
                for (side, name) in names.into_iter().enumerate() {
                    node.attrs.set(name, AttrValue::Int((pad[d][side] + own[d][side]) as i64));
                }
            }
            folded += 1;
        }
    }
    Ok(folded)
}

/// Rows and columns, before and after, that node `i` adds to NHWC images, where it does nothing else.
fn spatial_padding(graph: &Graph, i: usize) -> Option<[[usize; 2]; 2]> {
    let node = &graph.nodes[i];
    let [Some(_), Some(amounts)] = node.inputs[..] else { return None };
    if node.op != OpKind::Pad || node.tail.is_some() || graph.ty(node.outputs[0]).shape.len() != 4 {
        return None;
    }
    let tensor = graph.tensor(amounts);
    let data = tensor.data.as_ref()?;
    let values: Vec<i64> = match tensor.ty.dtype {
        crate::ir::DType::Int64 => data.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect(),
        crate::ir::DType::Int32 => data.as_chunks().0.iter().map(|b| i64::from(i32::from_le_bytes(*b))).collect(),
        _ => return None,
    };
    match values[..] {
        [0, 0, top, bottom, left, right, 0, 0] => {
            let size = |v: i64| usize::try_from(v).ok();
            Some([[size(top)?, size(bottom)?], [size(left)?, size(right)?]])
        }
        _ => None,
    }
}

/// The padding of a convolution itself, before and after: what its output size needs.
fn own_padding(model: &Model, id: GraphId, r: usize) -> Option<[[usize; 2]; 2]> {
    let node = &model.graphs[id.index()].nodes[r];
    let w = Conv::new(&Call::of(model, id, node, r)).ok()?.window;
    Some([w.border(0), w.border(1)])
}
