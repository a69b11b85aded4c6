//! The operator table: one row for every builtin operator, supported or not, and dispatch through it.
//!
//! A row names the implementation (a constant of the operator's file), the category and the element types, from which
//! `docs/ops.md` is written. Exhaustiveness is checked by a test: every builtin has exactly one row, in the order of the codes.

use crate::error::{CompileError, Unsupported};
use crate::ir::{AttrValue, OpKind, TensorType};
use crate::ops::call::{Call, Inferred};
use crate::ops::operator::{Args, Eval, EvalError, Operator, Results};
use crate::ops::pointwise::{eval_pointwise, pointwise};
use crate::ops::shapes::broadcasts_to;
use crate::ops::state::State;
use crate::ops::value::Value;
use crate::ops::*;

/// What kind of work an operator does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Category {
    /// One result element from one element of each operand.
    Elementwise,
    /// Sums over windows.
    Convolution,
    /// Sums over rows and columns.
    MatrixProduct,
    /// Along one or more axes to one element.
    Reduction,
    /// Softmax and its kin.
    Normalisation,
    /// Elements keep their values and change places.
    DataMovement,
    /// Places come from operands.
    GatherAndScatter,
    /// Indices or counts of elements with a property.
    Search,
    /// Shapes as values.
    Shape,
    /// Resampling.
    Image,
    /// Transforms.
    Signal,
    /// Cells with state.
    Recurrent,
    /// Calls of other graphs.
    ControlFlow,
    /// Variables and tables.
    Resources,
    /// Random numbers.
    Random,
    /// StableHLO operators that LiteRT runs.
    Stablehlo,
    /// Operators known by name.
    Custom,
}

/// Whether an operator is implemented.
pub enum Support {
    /// It is.
    Supported {
        /// The implementation.
        operator: &'static Operator,
        /// What kind of work it does.
        category: Category,
        /// Element types, as text.
        dtypes: &'static str,
        /// File of the implementation.
        module: &'static str,
    },
    /// It is not, and why.
    Unsupported(&'static str),
    /// It is no operator of a model, and why.
    Pseudo(&'static str),
}

/// One row of the table.
pub struct Row {
    /// Operator.
    pub kind: OpKind,
    /// Implementation.
    pub support: Support,
}

/// What kind of work an operator does, where it is implemented.
pub(crate) fn category(kind: OpKind) -> Option<Category> {
    match TABLE.iter().find(|r| r.kind == kind)?.support {
        Support::Supported { category, .. } => Some(category),
        _ => None,
    }
}

macro_rules! table {
    (@row unsupported $why:literal) => { Support::Unsupported($why) };
    (@row pseudo $why:literal) => { Support::Pseudo($why) };
    (@row $module:ident::$operator:ident, $category:ident, $dtypes:literal) => {
        Support::Supported { operator: &$module::$operator, category: Category::$category, dtypes: $dtypes, module: stringify!($module) }
    };
    ($($kind:ident: [$($row:tt)*];)*) => {
        /// All rows, in the order of the operators' codes.
        pub static TABLE: &[Row] = &[$(Row { kind: OpKind::$kind, support: table!(@row $($row)*) },)*];
    };
}

table! {
// rows begin
    Add: [arithmetic::BASIC, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    AveragePool2d: [pool_2d::POOL_2D, Convolution, "f32 f16 i8 u8 i16"];
    Concatenation: [concatenation::CONCATENATION, DataMovement, "any of whole bytes, i4"];
    Conv2d: [conv_2d::CONV_2D, Convolution, "f32 (f32, f16, i8, u8, i4 weights), f16, i8, u8, i16 (i8, i4 weights)"];
    DepthwiseConv2d: [conv_2d::DEPTHWISE_CONV_2D, Convolution, "f32 (f32, f16, i8, i4 weights), f16, i8, u8, i16"];
    DepthToSpace: [space_depth::DEPTH, DataMovement, "any of whole bytes"];
    Dequantize: [quantize::DEQUANTIZE, Elementwise, "i8 u8 i16 i32 f16 bf16 i4 u4 i2 to float"];
    EmbeddingLookup: [embedding::EMBEDDING_LOOKUP, GatherAndScatter, "any of whole bytes; i8 u8 i4 i2 to f32; by i32"];
    Floor: [unary::UNARY, Elementwise, "f32 f16 bf16"];
    FullyConnected: [fully_connected::FULLY_CONNECTED, MatrixProduct, "f32 (f32, f16, i8, u8, i4, i2, blockwise weights), f16 (f16, i8, i4 weights), i8, u8, i16 (i8, i4, i2, i16 weights)"];
    HashtableLookup: [embedding::HASHTABLE_LOOKUP, GatherAndScatter, "any of whole bytes, string; by i32"];
    L2Normalization: [normalize::L2_NORMALIZATION, Normalisation, "f32 i8 u8"];
    L2Pool2d: [pool_2d::POOL_2D, Convolution, "f32"];
    LocalResponseNormalization: [normalize::LOCAL_RESPONSE_NORMALIZATION, Normalisation, "f32"];
    Logistic: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    LshProjection: [lsh_projection::LSH_PROJECTION, Search, "any of whole bytes, items of at most 60 bytes"];
    Lstm: [lstm::LSTM, Recurrent, "f32, hybrid, i8, u8 (basic kernel)"];
    MaxPool2d: [pool_2d::POOL_2D, Convolution, "f32 i8 u8 i16"];
    Mul: [arithmetic::MUL, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32 c64"];
    Relu: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    ReluN1To1: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    Relu6: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    Reshape: [reshape::RESHAPE, DataMovement, "any"];
    ResizeBilinear: [resize::BILINEAR, Image, "f32 i8 u8 i16"];
    Rnn: [rnn::RNN, Recurrent, "f32, hybrid"];
    Softmax: [softmax::SOFTMAX, Normalisation, "f32 f16 i8 u8 i16"];
    SpaceToDepth: [space_depth::DEPTH, DataMovement, "any of whole bytes"];
    Svdf: [rnn::SVDF, Recurrent, "f32, hybrid, i8"];
    Tanh: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    ConcatEmbeddings: [unsupported "LiteRT has no kernel for it"];
    SkipGram: [unsupported "it works on strings, which are not compiled"];
    Call: [control::CALL, ControlFlow, "any"];
    Custom: [custom::CUSTOM, Custom, "by name"];
    EmbeddingLookupSparse: [embedding::EMBEDDING_LOOKUP_SPARSE, GatherAndScatter, "f32 by i32"];
    Pad: [pad::PAD, DataMovement, "any of whole bytes"];
    UnidirectionalSequenceRnn: [rnn::UNIDIRECTIONAL, Recurrent, "f32, hybrid"];
    Gather: [gather::GATHER, GatherAndScatter, "any of whole bytes, string, i4; by i16 i32 i64"];
    BatchToSpaceNd: [space_depth::BATCH_TO_SPACE_ND, DataMovement, "any of whole bytes"];
    SpaceToBatchNd: [space_depth::SPACE_TO_BATCH_ND, DataMovement, "any of whole bytes"];
    Transpose: [transpose::TRANSPOSE, DataMovement, "any of whole bytes, i4 u4"];
    Mean: [reduce::REDUCE, Reduction, "f32 f16 i8 u8 i16 i32 i64"];
    Sub: [arithmetic::BASIC, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    Div: [arithmetic::BASIC, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    Squeeze: [reshape::SQUEEZE, DataMovement, "any"];
    UnidirectionalSequenceLstm: [lstm::UNIDIRECTIONAL, Recurrent, "f32, hybrid, i8"];
    StridedSlice: [strided_slice::STRIDED_SLICE, DataMovement, "any of whole bytes"];
    BidirectionalSequenceRnn: [rnn::BIDIRECTIONAL, Recurrent, "f32, hybrid"];
    Exp: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 i16"];
    TopkV2: [arg_extreme::TOPK_V2, Search, "f32 i8 u8 i16 i32 i64"];
    Split: [split::SPLIT, DataMovement, "any of whole bytes"];
    LogSoftmax: [softmax::SOFTMAX, Normalisation, "f32 f16 i8 u8"];
    Delegate: [pseudo "a pseudo operator that no file holds"];
    BidirectionalSequenceLstm: [lstm::BIDIRECTIONAL, Recurrent, "f32, hybrid"];
    Cast: [cast::CAST, Elementwise, "f32 f16 bf16 i8 u8 i16 u16 i32 u32 i64 bool f64 c64 i4 u4 i2"];
    Prelu: [prelu::PRELU, Elementwise, "f32 f16 bf16 i8 u8, i16 (i8 slopes)"];
    Maximum: [arithmetic::EXTREME, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    ArgMax: [arg_extreme::ARG_EXTREME, Search, "f32 i8 u8 i16 i32 i64 bool"];
    Minimum: [arithmetic::EXTREME, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    Less: [compare::COMPARE, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    Neg: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 i16 i32 i64"];
    Padv2: [pad::PADV2, DataMovement, "any of whole bytes"];
    Greater: [compare::COMPARE, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    GreaterEqual: [compare::COMPARE, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    LessEqual: [compare::COMPARE, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32"];
    Select: [logical::SELECT, Elementwise, "any of 1 to 8 whole bytes"];
    Slice: [slice::SLICE, DataMovement, "any of whole bytes, i4"];
    Sin: [unary::UNARY, Elementwise, "f32 f16 bf16"];
    TransposeConv: [transpose_conv::TRANSPOSE_CONV, Convolution, "f32 (f32, f16, i8 weights), i8, u8, i16"];
    SparseToDense: [scatter::SPARSE_TO_DENSE, GatherAndScatter, "any of whole bytes by i32 i64"];
    Tile: [broadcast::TILE, DataMovement, "any of whole bytes, string"];
    ExpandDims: [reshape::EXPAND_DIMS, DataMovement, "any"];
    Equal: [compare::COMPARE, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32 bool string"];
    NotEqual: [compare::COMPARE, Elementwise, "f32 f16 bf16 i8 u8 i16 i32 i64 u32 bool string"];
    Log: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 i16"];
    Sum: [reduce::REDUCE, Reduction, "f32 f16 i8 u8 i16 i32 i64 bool"];
    Sqrt: [unary::ROOT, Elementwise, "f32 f16 bf16 i8 i16"];
    Rsqrt: [unary::ROOT, Elementwise, "f32 f16 bf16 i8 i16"];
    Shape: [shape::SHAPE, Shape, "any to i32 i64"];
    Pow: [arithmetic::POW, Elementwise, "f32 f16 bf16 i32"];
    ArgMin: [arg_extreme::ARG_EXTREME, Search, "f32 i8 u8 i16 i32 i64 bool"];
    FakeQuant: [quantize::FAKE_QUANT, Elementwise, "f32"];
    ReduceProd: [reduce::REDUCE, Reduction, "f32 i8 i16 i32 i64 bool"];
    ReduceMax: [reduce::REDUCE, Reduction, "f32 f16 i8 u8 i16 i32 i64 bool"];
    Pack: [pack::PACK, DataMovement, "any of whole bytes"];
    LogicalOr: [logical::LOGICAL, Elementwise, "bool"];
    OneHot: [scatter::ONE_HOT, GatherAndScatter, "any of whole bytes by i32 i64"];
    LogicalAnd: [logical::LOGICAL, Elementwise, "bool"];
    LogicalNot: [unary::UNARY, Elementwise, "bool"];
    Unpack: [pack::UNPACK, DataMovement, "any of whole bytes"];
    ReduceMin: [reduce::REDUCE, Reduction, "f32 f16 i8 u8 i16 i32 i64 bool"];
    FloorDiv: [arithmetic::FLOOR_DIV, Elementwise, "f32 f16 bf16 i8 i16 i32 i64"];
    ReduceAny: [reduce::REDUCE, Reduction, "bool"];
    Square: [unary::UNARY, Elementwise, "f32 f16 bf16"];
    ZerosLike: [unary::UNARY, Elementwise, "numbers and truth values"];
    Fill: [broadcast::FILL, DataMovement, "any of whole bytes, string"];
    FloorMod: [arithmetic::FLOOR_MOD, Elementwise, "f32 f16 bf16 i8 i16 i32 i64"];
    Range: [shape::RANGE, Shape, "f32 i32 i64"];
    ResizeNearestNeighbor: [resize::NEAREST, Image, "any of 1 to 8 whole bytes"];
    LeakyRelu: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    SquaredDifference: [arithmetic::SQUARED_DIFFERENCE, Elementwise, "f32 f16 bf16 i8 i32 i64"];
    MirrorPad: [pad::MIRROR_PAD, DataMovement, "any of whole bytes"];
    Abs: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 i16 i32"];
    SplitV: [split::SPLIT_V, DataMovement, "any of whole bytes"];
    Unique: [unique::UNIQUE, Search, "f32 i8 u8 i16 i32 i64"];
    Ceil: [unary::UNARY, Elementwise, "f32 f16 bf16"];
    ReverseV2: [reverse::REVERSE_V2, DataMovement, "any of whole bytes"];
    AddN: [arithmetic::ADD_N, Elementwise, "f32 i32"];
    GatherNd: [gather::GATHER_ND, GatherAndScatter, "any of whole bytes, string; by i16 i32 i64"];
    Cos: [unary::UNARY, Elementwise, "f32 f16 bf16"];
    Where: [unique::WHERE, Search, "bool f32 i8 u8 i32 i64 u32 to i64"];
    Rank: [shape::RANK, Shape, "any to i32"];
    Elu: [unary::UNARY, Elementwise, "f32 f16 bf16 i8"];
    ReverseSequence: [reverse::REVERSE_SEQUENCE, DataMovement, "any of whole bytes by i32 i64"];
    MatrixDiag: [reverse::MATRIX_DIAG, DataMovement, "any of whole bytes"];
    Quantize: [quantize::QUANTIZE, Elementwise, "f32 i8 u8 i16 i32 to i8 u8 i16 i32"];
    MatrixSetDiag: [reverse::MATRIX_SET_DIAG, DataMovement, "any of whole bytes"];
    Round: [unary::UNARY, Elementwise, "f32 f16 bf16"];
    HardSwish: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8"];
    If: [control::IF, ControlFlow, "any"];
    While: [control::WHILE, ControlFlow, "any"];
    NonMaxSuppressionV4: [boxes::V4, Search, "f32"];
    NonMaxSuppressionV5: [boxes::V5, Search, "f32"];
    ScatterNd: [scatter::SCATTER_ND, GatherAndScatter, "f32 i8 u8 i32 i64 bool by i32"];
    SelectV2: [logical::SELECT, Elementwise, "any of 1 to 8 whole bytes"];
    Densify: [reshape::DENSIFY, DataMovement, "f32 f16 i8"];
    SegmentSum: [segment::SEGMENT_SUM, GatherAndScatter, "f32 i32 by i32"];
    BatchMatmul: [batch_matmul::BATCH_MATMUL, MatrixProduct, "f32 (f32, i8), f16, i8, i16, i32"];
    PlaceholderForGreaterOpCodes: [pseudo "a pseudo operator that no file holds"];
    Cumsum: [cumsum::CUMSUM, Reduction, "f32 i32 i64"];
    CallOnce: [control::CALL_ONCE, ControlFlow, "none"];
    BroadcastTo: [broadcast::BROADCAST_TO, DataMovement, "any of whole bytes"];
    Rfft2d: [complex::RFFT2D, Signal, "f32 to complex64"];
    Conv3d: [conv_3d::CONV_3D, Convolution, "f32"];
    Imag: [complex::PART, Elementwise, "complex64 complex128"];
    Real: [complex::PART, Elementwise, "complex64 complex128"];
    ComplexAbs: [complex::PART, Elementwise, "complex64 complex128"];
    Hashtable: [variable::HASHTABLE, Resources, "resource"];
    HashtableFind: [variable::HASHTABLE_FIND, Resources, "i64 string"];
    HashtableImport: [variable::HASHTABLE_IMPORT, Resources, "i64 string"];
    HashtableSize: [variable::HASHTABLE_SIZE, Resources, "i64 string"];
    ReduceAll: [reduce::REDUCE, Reduction, "bool"];
    Conv3dTranspose: [conv_3d::CONV_3D_TRANSPOSE, Convolution, "f32"];
    VarHandle: [variable::VAR_HANDLE, Resources, "resource"];
    ReadVariable: [variable::READ_VARIABLE, Resources, "any"];
    AssignVariable: [variable::ASSIGN_VARIABLE, Resources, "any"];
    BroadcastArgs: [broadcast::BROADCAST_ARGS, Shape, "i32 i64"];
    RandomStandardNormal: [random::RANDOM_STANDARD_NORMAL, Random, "f32"];
    Bucketize: [unique::BUCKETIZE, Search, "f32 i32 i64 f64 to i32"];
    RandomUniform: [random::RANDOM_UNIFORM, Random, "f32"];
    Multinomial: [random::MULTINOMIAL, Random, "f32 to i32 i64"];
    Gelu: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    DynamicUpdateSlice: [scatter::DYNAMIC_UPDATE_SLICE, GatherAndScatter, "any of whole bytes, i4"];
    Relu0To1: [unary::UNARY, Elementwise, "f32 f16 bf16 i8 u8 i16"];
    UnsortedSegmentProd: [segment::UNSORTED, GatherAndScatter, "f32 i32 by i32"];
    UnsortedSegmentMax: [segment::UNSORTED, GatherAndScatter, "f32 i32 by i32"];
    UnsortedSegmentSum: [segment::UNSORTED, GatherAndScatter, "f32 i32 by i32"];
    Atan2: [arithmetic::ATAN2, Elementwise, "f32 f16 bf16 f64"];
    UnsortedSegmentMin: [segment::UNSORTED, GatherAndScatter, "f32 i32 by i32"];
    Sign: [unary::UNARY, Elementwise, "f32 f16 bf16 i32 f64"];
    Bitcast: [cast::BITCAST, DataMovement, "any of whole bytes"];
    BitwiseXor: [logical::BITWISE, Elementwise, "i8 u8 i16 u16 i32 u32"];
    RightShift: [logical::BITWISE, Elementwise, "i8 u8 i16 u16 i32 u32"];
    StablehloLogistic: [unsupported "LiteRT has no kernel for it"];
    StablehloAdd: [stablehlo::BINARY, Stablehlo, "f32 f64 f16 bf16 i8 u8 i16 u16 i32 u32 i64 u64 bool"];
    StablehloDivide: [unsupported "LiteRT has no kernel for it"];
    StablehloMultiply: [stablehlo::BINARY, Stablehlo, "f32 f64 f16 bf16 i8 u8 i16 u16 i32 u32 i64 u64 bool"];
    StablehloMaximum: [stablehlo::BINARY, Stablehlo, "f32 f64 f16 bf16 i8 u8 i16 u16 i32 u32 i64 u64 bool"];
    StablehloReshape: [unsupported "LiteRT has no kernel for it"];
    StablehloClamp: [unsupported "LiteRT has no kernel for it"];
    StablehloConcatenate: [unsupported "LiteRT has no kernel for it"];
    StablehloBroadcastInDim: [unsupported "LiteRT has no kernel for it"];
    StablehloConvolution: [unsupported "LiteRT has no kernel for it"];
    StablehloSlice: [unsupported "LiteRT has no kernel for it"];
    StablehloCustomCall: [unsupported "LiteRT has no kernel for it"];
    StablehloReduce: [unsupported "LiteRT has no kernel for it"];
    StablehloAbs: [unsupported "LiteRT has no kernel for it"];
    StablehloAnd: [stablehlo::BINARY, Stablehlo, "i8 u8 i16 u16 i32 u32 i64 u64 bool"];
    StablehloCosine: [unsupported "LiteRT has no kernel for it"];
    StablehloExponential: [unsupported "LiteRT has no kernel for it"];
    StablehloFloor: [unsupported "LiteRT has no kernel for it"];
    StablehloLog: [unsupported "LiteRT has no kernel for it"];
    StablehloMinimum: [stablehlo::BINARY, Stablehlo, "f32 f64 f16 bf16 i8 u8 i16 u16 i32 u32 i64 u64 bool"];
    StablehloNegate: [unsupported "LiteRT has no kernel for it"];
    StablehloOr: [unsupported "LiteRT has no kernel for it"];
    StablehloPower: [unsupported "LiteRT has no kernel for it"];
    StablehloRemainder: [unsupported "LiteRT has no kernel for it"];
    StablehloRsqrt: [unsupported "LiteRT has no kernel for it"];
    StablehloSelect: [unsupported "LiteRT has no kernel for it"];
    StablehloSubtract: [unsupported "LiteRT has no kernel for it"];
    StablehloTanh: [unsupported "LiteRT has no kernel for it"];
    StablehloScatter: [stablehlo_gather::SCATTER, Stablehlo, "f32 f64 f16 bf16 i8 u8 i16 u16 i32 u32 i64 u64 bool by i32 i64"];
    StablehloCompare: [unsupported "LiteRT has no kernel for it"];
    StablehloConvert: [unsupported "LiteRT has no kernel for it"];
    StablehloDynamicSlice: [unsupported "LiteRT has no kernel for it"];
    StablehloDynamicUpdateSlice: [unsupported "LiteRT has no kernel for it"];
    StablehloPad: [stablehlo::PAD, Stablehlo, "any of whole bytes"];
    StablehloIota: [unsupported "LiteRT has no kernel for it"];
    StablehloDotGeneral: [unsupported "LiteRT has no kernel for it"];
    StablehloReduceWindow: [stablehlo::REDUCE_WINDOW, Stablehlo, "f32 f64 i8 u8 i16 i32 i64 bool"];
    StablehloSort: [unsupported "LiteRT has no kernel for it"];
    StablehloWhile: [unsupported "LiteRT has no kernel for it"];
    StablehloGather: [stablehlo_gather::GATHER, Stablehlo, "any of whole bytes by i32 i64"];
    StablehloTranspose: [unsupported "LiteRT has no kernel for it"];
    Dilate: [reverse::DILATE, DataMovement, "any of whole bytes"];
    StablehloRngBitGenerator: [stablehlo_rng::RNG_BIT_GENERATOR, Stablehlo, "u64 to i32 i64 u32 u64"];
    ReduceWindow: [unsupported "LiteRT has deprecated it and has no kernel for it"];
    StablehloComposite: [control::COMPOSITE, ControlFlow, "any"];
    StablehloShiftLeft: [stablehlo::BINARY, Stablehlo, "i8 u8 i16 u16 i32 u32 i64"];
    StablehloCbrt: [unsupported "LiteRT has no kernel for it"];
    StablehloCase: [control::CASE, ControlFlow, "any"];
    // rows end
}

/// The row of an operator; `None` for those that only passes make.
pub fn row(kind: OpKind) -> Option<&'static Row> {
    usize::try_from(kind.code()?).ok().and_then(|i| TABLE.get(i))
}

/// The implementation of an operator, through the table.
pub(crate) fn operator(call: &Call<'_>) -> Option<&'static Operator> {
    match &row(call.op)?.support {
        Support::Supported { operator, .. } => Some(operator),
        _ => None,
    }
}

/// Whether the operator exists here at all, and what is missing otherwise. Types and options are checked by [`infer`].
pub fn support(call: &Call<'_>) -> Result<(), CompileError> {
    if call.op == OpKind::Pointwise || operator(call).is_some() { Ok(()) } else { Err(call.unsupported(Unsupported::Operator)) }
}

/// Types of the results, from attributes, operand types and values of operands; everything that can be wrong with the
/// call is found here. Where a shape depends on a value that is not known: `Unsupported::DynamicShape`.
pub fn infer(call: &Call<'_>) -> Inferred {
    if call.op == OpKind::Pointwise {
        return infer_pointwise(call);
    }
    match (operator(call), packed::Widened::of(call)) {
        (Some(o), Some(bytes)) => bytes.infer(call, o.infer),
        (Some(o), None) => (o.infer)(call),
        (None, _) => Err(call.unsupported(Unsupported::Operator)),
    }
}

fn infer_pointwise(call: &Call<'_>) -> Inferred {
    let Some(AttrValue::Expr(expr)) = call.attrs.get("expr") else { return Err(call.invalid("no expression")) };
    call.arity(expr.inputs.len(), expr.inputs.len(), 1)?;
    let mut shape = vec![];
    for (i, storage) in expr.inputs.iter().enumerate() {
        let ty = call.input(i)?;
        if crate::ops::storage::storage(ty.dtype) != Some(*storage) {
            return Err(call.invalid(format!("operand {i} is {}, the expression takes {storage:?}", ty.dtype)));
        }
        shape = shapes::broadcast(call, &shape, &ty.shape)?;
    }
    let out = call.output(0)?;
    if crate::ops::storage::storage(out.dtype) != Some(expr.output) {
        return Err(call.invalid(format!("the result is {}, the expression gives {:?}", out.dtype, expr.output)));
    }
    // An expression without operands has no shape of its own.
    if !broadcasts_to(&shape, &out.shape) || expr.inputs.is_empty() {
        shape = if expr.inputs.is_empty() { out.shape.clone() } else { shape };
    } else if shape.len() < out.shape.len() {
        shape = out.shape.clone();
    }
    Ok(vec![call.result(0, out.dtype, shape)?])
}

/// The results of a call whose types [`infer`] has found to be `types`. State is needed by operators that have it.
///
/// # Errors
/// Where values make no sense (an index outside, a division of integers by zero).
pub fn evaluate(call: &Call<'_>, values: &[Option<&Value>], types: &[TensorType], state: &mut State) -> Results {
    if let Some(bytes) = packed::Widened::of(call) {
        let widened: Vec<Option<Value>> = values.iter().map(|v| v.map(|v| packed::widened(v).unwrap_or_else(|| v.clone()))).collect();
        let values: Vec<Option<&Value>> = widened.iter().map(Option::as_ref).collect();
        let own: Vec<TensorType> = types.iter().map(packed::in_bytes).collect();
        let results = evaluate(&bytes.call(call), &values, &own, state)?;
        return Ok(results.iter().zip(types).map(|(v, ty)| packed::narrowed(v, ty.clone())).collect());
    }
    let args = Args { call, values, types };
    if let Some(check) = operator(call).and_then(|o| o.check) {
        check(&args)?;
    }
    if let Some(expr) = pointwise(call) {
        let inputs: Vec<&Value> = values.iter().copied().flatten().collect();
        return Ok(vec![eval_pointwise(&expr?, &inputs, &types[0])]);
    }
    match operator(call).map(|o| &o.eval) {
        Some(Eval::Direct(f) | Eval::Partly(_, f)) => f(&args),
        Some(Eval::Stateful(f)) => f(&args, state),
        _ => Err(EvalError::Compile(call.unsupported(Unsupported::Operator))),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::error::Place;
    use crate::ir::{Attrs, Graph, Model};

    /// Infers and evaluates one operator; its inferred types must be those declared.
    pub(crate) fn apply(op: OpKind, attrs: Attrs, inputs: &[&Value], outputs: &[TensorType]) -> Results {
        let (model, graph) = (Model::default(), Graph::default());
        let call = Call {
            model: &model,
            graph: &graph,
            op,
            attrs: &attrs,
            inputs: inputs.iter().map(|v| Some(Operand { ty: &v.ty, data: Some(&v.data), constant: false, variable: false })).collect(),
            outputs: outputs.iter().collect(),
            intermediates: vec![],
            place: Place::default(),
        };
        let types = infer(&call)?;
        assert_eq!(types, outputs, "inferred types");
        let values: Vec<Option<&Value>> = inputs.iter().map(|v| Some(*v)).collect();
        evaluate(&call, &values, &types, &mut State::default())
    }

    #[test]
    fn every_builtin_has_one_row_in_order() {
        assert_eq!(TABLE.iter().map(|r| r.kind).collect::<Vec<_>>(), OpKind::BUILTIN);
    }
}
