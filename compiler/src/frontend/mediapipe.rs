//! MediaPipe's Convolution2DTransposeBias as what it is: a TRANSPOSE_CONV with a bias.
//!
//! Operands are input, weights and bias; options are a C structure (`TfLiteTransposeConvParams`: padding, stride width, stride height).
//! The result has the size that the model declares. Source: TFLite `delegates/xnnpack/xnnpack_delegate.cc`,
//! `VisitMediaPipeDeconvolutionNode`.

use crate::ir::{AttrValue, Attrs, Graph, OpKind};

/// Replaces all of them in a graph; those that make no sense stay custom operators, which are refused by name.
pub(super) fn rewrite(graph: &mut Graph) {
    for index in 0..graph.nodes.len() {
        let node = &graph.nodes[index];
        let is_one = matches!(node.attrs.get("custom_code"), Some(AttrValue::Str(s)) if s == "Convolution2DTransposeBias");
        let (Some(AttrValue::Bytes(options)), [input, weights, bias], [output], true) =
            (node.attrs.get("custom_options"), &node.inputs[..], &node.outputs[..], is_one)
        else {
            continue;
        };
        let words: Vec<i32> = options.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
        let [padding, stride_w, stride_h, ..] = words[..] else { continue };
        let shape = graph.ty(*output).shape.clone();
        let attrs = Attrs::new()
            .with("padding", AttrValue::Enum(if padding == 1 { "SAME" } else { "VALID" }.to_string()))
            .with("stride_w", AttrValue::Int(stride_w.into()))
            .with("stride_h", AttrValue::Int(stride_h.into()))
            .with("fused_activation_function", AttrValue::Enum("NONE".to_string()));
        let (input, weights, bias) = (*input, *weights, *bias);
        let shape = graph.add_ints("", [shape.len()], &shape);
        let node = &mut graph.nodes[index];
        node.op = OpKind::TransposeConv;
        node.inputs = vec![Some(shape), weights, input, bias];
        node.attrs = attrs;
    }
}
