//! All recipes, and the choices that they share.

use super::{Generator, Planned, control, convolution, custom, indexed, layers, movement, open, pointwise, recurrent, search, stablehlo};
use crate::random_values::Rng;
use tflc::ir::OpKind::{self, *};
use tflc::ir::{AttrValue, Attrs, DType, Quantization, TensorId, TensorType};

/// How nodes of some operators are made.
pub struct Recipe {
    /// How often it is taken.
    pub weight: usize,
    /// Operators.
    pub ops: &'static [OpKind],
    /// Chooses an operator and operands; `None` where nothing fits.
    pub make: fn(&mut Generator) -> Option<Planned>,
}

macro_rules! recipes {
    ($($weight:literal [$($op:ident),*] $module:ident::$make:ident;)*) => {
        /// All recipes.
        pub const RECIPES: &[Recipe] = &[$(Recipe { weight: $weight, ops: &[$($op),*], make: $module::$make },)*];
    };
}

recipes! {
    8 [Add, Sub, Mul, Maximum, Minimum, SquaredDifference] pointwise::binary;
    2 [Div, FloorDiv, FloorMod, Pow, Atan2] pointwise::quotient;
    9 [Relu, Relu6, ReluN1To1, Relu0To1, Abs, Neg, Logistic, Tanh, HardSwish, Elu, Exp, Square, Sin, Cos, LeakyRelu, Gelu, ZerosLike] pointwise::unary;
    2 [Floor, Ceil, Round, Sign] pointwise::jump;
    2 [Sqrt, Rsqrt, Log] pointwise::positive;
    3 [Quantize, Dequantize, Cast] pointwise::convert;
    1 [Bitcast] pointwise::bitcast;
    1 [FakeQuant] pointwise::fake_quant;
    2 [Less, LessEqual, Greater, GreaterEqual, Equal, NotEqual] pointwise::compare;
    2 [Select, SelectV2] pointwise::select;
    1 [LogicalAnd, LogicalOr, LogicalNot] pointwise::logical;
    1 [BitwiseXor, RightShift] pointwise::bitwise;
    1 [AddN] pointwise::add_n;
    2 [Prelu] pointwise::prelu;
    4 [Conv2d] layers::conv_2d;
    3 [DepthwiseConv2d] layers::depthwise_conv_2d;
    3 [FullyConnected] layers::fully_connected;
    2 [AveragePool2d, MaxPool2d, L2Pool2d] layers::pool_2d;
    2 [Softmax, LogSoftmax] layers::softmax;
    1 [L2Normalization, LocalResponseNormalization] layers::normalize;
    2 [BatchMatmul] layers::batch_matmul;
    3 [Mean, Sum, ReduceMax, ReduceMin, ReduceProd, ReduceAny, ReduceAll] layers::reduce;
    1 [Cumsum] layers::cumsum;
    2 [ResizeBilinear, ResizeNearestNeighbor] layers::resize;
    2 [TransposeConv] convolution::transpose_conv;
    1 [Conv3d, Conv3dTranspose] convolution::conv_3d;
    1 [Rfft2d] convolution::rfft_2d;
    1 [Real, Imag, ComplexAbs] convolution::complex_part;
    1 [RandomUniform, RandomStandardNormal, Multinomial] search::random;
    1 [ArgMax, ArgMin] search::arg_extreme;
    1 [TopkV2] search::top_k;
    1 [Unique] search::unique;
    1 [Where] search::where_true;
    1 [Bucketize] search::bucketize;
    1 [NonMaxSuppressionV4, NonMaxSuppressionV5] search::non_max_suppression;
    1 [Custom] custom::custom;
    2 [Concatenation] movement::concatenation;
    2 [Pad, Padv2, MirrorPad] movement::pad;
    1 [Slice] movement::slice;
    2 [StridedSlice] movement::strided_slice;
    2 [Reshape] movement::reshape;
    2 [Transpose] movement::transpose;
    1 [Split, SplitV] movement::split;
    1 [Pack] movement::pack;
    1 [Unpack] movement::unpack;
    1 [Tile, BroadcastTo] movement::tile;
    1 [DepthToSpace, SpaceToDepth] movement::depth_space;
    1 [SpaceToBatchNd, BatchToSpaceNd] movement::batch_space;
    1 [ExpandDims, Squeeze] movement::expand_or_squeeze;
    1 [ReverseV2, ReverseSequence] movement::reverse;
    1 [MatrixDiag, MatrixSetDiag] movement::diagonal;
    1 [Dilate] movement::dilate;
    1 [Fill] movement::fill;
    1 [Densify] movement::densify;
    1 [Shape, Rank] movement::shape;
    1 [Range] movement::range;
    1 [BroadcastArgs] movement::broadcast_args;
    2 [Gather] indexed::gather;
    2 [Gather, Where] open::rows;
    1 [Slice] open::window;
    1 [Pad] open::border;
    1 [SplitV] open::parts;
    1 [ResizeBilinear, ResizeNearestNeighbor] open::resized;
    1 [Add] open::meeting;
    1 [GatherNd] indexed::gather_nd;
    1 [ScatterNd] indexed::scatter_nd;
    1 [SparseToDense] indexed::sparse_to_dense;
    1 [OneHot] indexed::one_hot;
    1 [DynamicUpdateSlice] indexed::update_slice;
    1 [SegmentSum, UnsortedSegmentProd, UnsortedSegmentMax, UnsortedSegmentSum, UnsortedSegmentMin] indexed::segment;
    1 [EmbeddingLookup] indexed::embedding;
    1 [EmbeddingLookupSparse] indexed::embedding_sparse;
    1 [HashtableLookup] indexed::hashtable_lookup;
    1 [LshProjection] indexed::projection;
    1 [Rnn, UnidirectionalSequenceRnn, BidirectionalSequenceRnn] recurrent::rnn;
    1 [Lstm, UnidirectionalSequenceLstm, BidirectionalSequenceLstm] recurrent::lstm;
    1 [UnidirectionalSequenceLstm, Lstm] recurrent::lstm_integer;
    1 [Svdf] recurrent::svdf;
    1 [If] control::branch;
    1 [StablehloCase] control::case;
    1 [While] control::repeat;
    1 [Call, StablehloComposite] control::call;
    1 [VarHandle, ReadVariable, AssignVariable, CallOnce] control::variable;
    1 [StablehloAdd, StablehloMultiply, StablehloMaximum, StablehloMinimum, StablehloAnd, StablehloShiftLeft] stablehlo::binary;
    1 [StablehloPad] stablehlo::pad;
    1 [StablehloReduceWindow] stablehlo::reduce_window;
    1 [StablehloGather] stablehlo::gather;
    1 [StablehloScatter] stablehlo::scatter;
    1 [StablehloRngBitGenerator] stablehlo::random_bits;
}

/// A recipe, by weight.
pub fn any(rng: &mut Rng) -> &'static Recipe {
    let mut at = rng.below(RECIPES.iter().map(|r| r.weight).sum());
    for recipe in RECIPES {
        match at.checked_sub(recipe.weight) {
            Some(rest) => at = rest,
            None => return recipe,
        }
    }
    &RECIPES[0]
}

/// The number types that most operators take.
pub(super) const REAL: &[DType] = &[DType::Float32, DType::Int8, DType::UInt8, DType::Int16];

/// Whether a type is quantised.
pub(super) fn is_quantized(dtype: DType) -> bool {
    matches!(dtype, DType::Int8 | DType::UInt8 | DType::Int16)
}

/// A plan for one result.
pub(super) fn plan(
    op: OpKind,
    inputs: impl IntoIterator<Item = TensorId>,
    attrs: Attrs,
    dtype: DType,
    quant: Quantization,
) -> Option<Planned> {
    let inputs = inputs.into_iter().map(Some).collect();
    Some(Planned { op, inputs, attrs, results: vec![(dtype, quant)], declared: vec![], intermediates: vec![] })
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

/// A plan for one result of an operand's element type with a quantisation of its own.
pub(super) fn plan_new(
    g: &mut Generator,
    op: OpKind,
    inputs: impl IntoIterator<Item = TensorId>,
    attrs: Attrs,
    like: TensorId,
) -> Option<Planned> {
    let dtype = g.ty(like).dtype;
    let quant = g.quantization(dtype);
    plan(op, inputs, attrs, dtype, quant)
}

/// A type without quantisation.
pub(super) fn raw(dtype: DType, shape: impl Into<Vec<usize>>) -> TensorType {
    TensorType::new(dtype, shape)
}

/// An enumeration value.
pub(super) fn name(s: &str) -> AttrValue {
    AttrValue::Enum(s.to_string())
}

/// A size as an attribute.
pub(super) fn size(n: usize) -> AttrValue {
    AttrValue::Int(n as i64)
}

/// A list of sizes as an attribute.
pub(super) fn sizes(list: &[usize]) -> AttrValue {
    AttrValue::Ints(list.iter().map(|n| *n as i64).collect())
}

/// The attribute of a fused activation.
pub(super) fn activation(g: &mut Generator, attrs: Attrs) -> Attrs {
    let f = *g.rng.choose(&["NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1"]);
    attrs.with("fused_activation_function", name(f))
}
