//! All recipes, and the choices that they share.

use super::{Generator, Planned, layers, movement, pointwise};
use tflc::ir::{AttrValue, Attrs, DType, OpKind, Quantization, TensorId, TensorType};

/// Chooses an operator and operands; `None` where nothing fits.
pub type Recipe = fn(&mut Generator) -> Option<Planned>;

/// All recipes; one that stands twice is taken twice as often.
pub const RECIPES: &[Recipe] = &[
    pointwise::binary,
    pointwise::binary,
    pointwise::binary,
    pointwise::binary,
    pointwise::binary,
    pointwise::binary,
    pointwise::unary,
    pointwise::unary,
    pointwise::unary,
    pointwise::unary,
    pointwise::unary,
    pointwise::unary,
    pointwise::unary,
    pointwise::unary,
    pointwise::convert,
    pointwise::compare,
    pointwise::select,
    pointwise::logical,
    pointwise::prelu,
    layers::conv_2d,
    layers::conv_2d,
    layers::conv_2d,
    layers::conv_2d,
    layers::depthwise_conv_2d,
    layers::depthwise_conv_2d,
    layers::fully_connected,
    layers::fully_connected,
    layers::pool_2d,
    layers::softmax,
    layers::batch_matmul,
    layers::reduce,
    layers::reduce,
    layers::arg_extreme,
    layers::resize,
    movement::concatenation,
    movement::concatenation,
    movement::pad,
    movement::slice,
    movement::strided_slice,
    movement::reshape,
    movement::reshape,
    movement::transpose,
    movement::split,
    movement::pack,
    movement::unpack,
    movement::gather,
    movement::tile,
    movement::depth_to_space,
    movement::space_to_depth,
    movement::expand_or_squeeze,
];

/// Whether a type is a number that most operators take.
pub(super) fn is_number(ty: &TensorType) -> bool {
    matches!(ty.dtype, DType::Float32 | DType::Int8 | DType::UInt8 | DType::Int16 | DType::Int32)
}

/// Whether a type is float32 or quantised.
pub(super) fn is_real(ty: &TensorType) -> bool {
    is_number(ty) && ty.dtype != DType::Int32
}

/// A plan for one result.
pub(super) fn plan(
    op: OpKind,
    inputs: impl IntoIterator<Item = TensorId>,
    attrs: Attrs,
    dtype: DType,
    quant: Quantization,
) -> Option<Planned> {
    Some(Planned { op, inputs: inputs.into_iter().map(Some).collect(), attrs, results: vec![(dtype, quant)] })
}

/// A plan for one result of the type of an operand.
pub(super) fn plan_like(
    g: &Generator,
    op: OpKind,
    inputs: impl IntoIterator<Item = TensorId>,
    attrs: Attrs,
    like: TensorId,
) -> Option<Planned> {
    let ty = g.ty(like).clone();
    plan(op, inputs, attrs, ty.dtype, ty.quant)
}

/// An enumeration value.
pub(super) fn name(s: &str) -> AttrValue {
    AttrValue::Enum(s.to_string())
}

/// A size as an attribute.
pub(super) fn size(n: usize) -> AttrValue {
    AttrValue::Int(n as i64)
}

/// The attribute of a fused activation.
pub(super) fn activation(g: &mut Generator, attrs: Attrs) -> Attrs {
    let f = *g.rng.choose(&["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"]);
    attrs.with("fused_activation_function", name(f))
}
