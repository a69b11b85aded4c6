//! What the verifier finds, and where.

use crate::ir::{DType, GraphId, NodeId, OpKind, TensorId};
use std::fmt;
use tflc_templates::expr::Storage;
use tflc_templates::expr::verify::ExprError;

/// A broken rule and its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifyError {
    /// Graph.
    pub graph: Option<GraphId>,
    /// Node and its operator.
    pub node: Option<(NodeId, OpKind)>,
    /// Tensor that breaks a rule by itself, and its name.
    pub tensor: Option<(TensorId, String)>,
    /// The rule.
    pub cause: VerifyCause,
}

/// The rule that a model breaks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VerifyCause {
    /// There is no graph.
    NoGraph,
    /// A tensor that the graph lacks.
    NoTensor(TensorId),
    /// An attribute, or a signature, names a graph that the model lacks.
    NoGraphNumbered(GraphId),
    /// A tensor is read where it has no value yet.
    Undefined(TensorId),
    /// A constant is a variable.
    ConstantVariable(TensorId),
    /// A tensor is an input twice.
    InputTwice(TensorId),
    /// An input is a constant or a variable.
    InputWithValue(TensorId),
    /// A tensor is the result of two nodes, or twice of one; the first is named.
    ProducedTwice(TensorId, NodeId),
    /// The result of a node is an input, a constant or a variable.
    ProducedSource(TensorId),
    /// A tensor's size in bytes does not fit the address space.
    TooLarge(Vec<usize>),
    /// A constant has the wrong number of bytes.
    ConstantBytes {
        /// Bytes of the type.
        expected: usize,
        /// Bytes of the constant.
        got: usize,
    },
    /// What is said about a tensor's size at run time makes no sense.
    Open(TensorId),
    /// The declared dimensions do not fit the shape.
    ShapeSignature(Vec<i64>),
    /// The number of scales and zero points.
    ScaleCount {
        /// Scales.
        scales: usize,
        /// Zero points.
        zero_points: usize,
    },
    /// The scales do not fit the dimensions that they run along.
    ScaleAxes {
        /// Scales.
        scales: usize,
        /// Shape.
        shape: Vec<usize>,
    },
    /// A scale, by its bits, that is not finite.
    Scale(u32),
    /// A zero point outside the range of the element type.
    ZeroPoint {
        /// Zero point.
        zero_point: i64,
        /// Element type.
        dtype: DType,
    },
    /// Blocks of no elements.
    EmptyBlock,
    /// A pointwise node lacks its expression.
    NoExpr,
    /// A pointwise node with an absent operand.
    AbsentOperand,
    /// The number of results where there must be one.
    Results(usize),
    /// An expression breaks a rule.
    Expr(ExprError),
    /// An expression has other inputs than its node.
    InputCount {
        /// Inputs of the expression.
        expr: usize,
        /// Operands of the node.
        operands: usize,
    },
    /// An expression loads another memory type than the operand's.
    InputStorage {
        /// Position of the input.
        input: usize,
        /// Memory type in the expression.
        expr: Storage,
        /// Element type of the tensor.
        tensor: DType,
    },
    /// An expression stores another memory type than the result's.
    ResultStorage {
        /// Memory type in the expression.
        expr: Storage,
        /// Element type of the tensor.
        tensor: DType,
    },
    /// An operand does not broadcast to the result.
    Broadcast {
        /// Operand.
        tensor: TensorId,
        /// Its shape.
        from: Vec<usize>,
        /// The result's shape.
        to: Vec<usize>,
    },
    /// A tail changes the shape.
    TailShape {
        /// Shape of the node's own result.
        result: Vec<usize>,
        /// Shape of the output.
        output: Vec<usize>,
    },
    /// A graph that calls it is called again.
    Cycle(GraphId),
    /// A signature names a tensor that is no input or output of its graph.
    NotListed(String, TensorId),
    /// A rule broken by a signature.
    Signature {
        /// Key of the signature.
        key: String,
        /// The rule.
        cause: Box<VerifyCause>,
    },
}

impl VerifyError {
    pub(super) fn of(cause: VerifyCause) -> VerifyError {
        VerifyError { graph: None, node: None, tensor: None, cause }
    }
}

impl std::error::Error for VerifyError {}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(g) = self.graph {
            write!(f, "graph {g}: ")?;
        }
        if let Some((n, op)) = &self.node {
            write!(f, "node {n} ({op}): ")?;
        }
        if let Some((t, name)) = &self.tensor {
            write!(f, "tensor {t} ({name:?}): ")?;
        }
        write!(f, "{}", self.cause)
    }
}

impl fmt::Display for VerifyCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyCause::NoGraph => f.write_str("the model has no graph"),
            VerifyCause::NoTensor(t) => write!(f, "tensor {t} does not exist"),
            VerifyCause::Open(t) => {
                write!(f, "tensor {t} is open along an axis that it lacks, along axes out of order, or by a tensor that is no int64 scalar")
            }
            VerifyCause::NoGraphNumbered(g) => write!(f, "graph {g} does not exist"),
            VerifyCause::Undefined(t) => write!(f, "tensor {t} is read but has no value there"),
            VerifyCause::ConstantVariable(t) => write!(f, "tensor {t} is a constant and a variable"),
            VerifyCause::InputTwice(t) => write!(f, "tensor {t} is an input twice"),
            VerifyCause::InputWithValue(t) => write!(f, "input {t} is a constant or a variable"),
            VerifyCause::ProducedTwice(t, first) => write!(f, "tensor {t} is already a result of node {first}"),
            VerifyCause::ProducedSource(t) => write!(f, "result {t} is an input, a constant or a variable"),
            VerifyCause::TooLarge(shape) => write!(f, "shape {shape:?} is too large"),
            VerifyCause::ConstantBytes { expected, got } => write!(f, "a constant of {got} bytes where its type has {expected}"),
            VerifyCause::ShapeSignature(dims) => write!(f, "declared dimensions {dims:?} do not fit the shape"),
            VerifyCause::ScaleCount { scales, zero_points } => write!(f, "{scales} scales and {zero_points} zero points"),
            VerifyCause::ScaleAxes { scales, shape } => write!(f, "{scales} scales do not fit their axis of shape {shape:?}"),
            VerifyCause::Scale(bits) => write!(f, "scale {}", f32::from_bits(*bits)),
            VerifyCause::ZeroPoint { zero_point, dtype } => write!(f, "zero point {zero_point} is outside the range of {dtype}"),
            VerifyCause::EmptyBlock => f.write_str("quantisation blocks of no elements"),
            VerifyCause::NoExpr => f.write_str("the attribute `expr` is missing"),
            VerifyCause::AbsentOperand => f.write_str("an operand is absent"),
            VerifyCause::Results(n) => write!(f, "{n} results where there should be one"),
            VerifyCause::Expr(e) => write!(f, "expression: {e}"),
            VerifyCause::InputCount { expr, operands } => write!(f, "an expression of {expr} inputs over {operands} operands"),
            VerifyCause::InputStorage { input, expr, tensor } => write!(f, "in{input} is {}, its tensor is {tensor}", expr.name()),
            VerifyCause::ResultStorage { expr, tensor } => write!(f, "the expression gives {}, the result is {tensor}", expr.name()),
            VerifyCause::Broadcast { tensor, from, to } => write!(f, "operand {tensor} of shape {from:?} does not broadcast to {to:?}"),
            VerifyCause::TailShape { result, output } => write!(f, "a tail from shape {result:?} to {output:?}"),
            VerifyCause::Cycle(g) => write!(f, "graph {g} calls itself through this one"),
            VerifyCause::NotListed(name, t) => write!(f, "{name:?} is tensor {t}, which the graph does not list"),
            VerifyCause::Signature { key, cause } => write!(f, "signature {key:?}: {cause}"),
        }
    }
}
