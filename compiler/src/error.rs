//! Errors of the compiler, by whose fault they are; every error says where.

use std::fmt;

/// Where in a model something is wrong.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Subgraph in the file.
    pub subgraph: Option<u32>,
    /// Operator index in the subgraph, and its name.
    pub operator: Option<(u32, String)>,
    /// Tensor index and name.
    pub tensor: Option<(u32, String)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = vec![];
        if let Some(s) = self.subgraph {
            parts.push(format!("subgraph {s}"));
        }
        if let Some((i, name)) = &self.operator {
            parts.push(format!("operator {i} ({name})"));
        }
        if let Some((i, name)) = &self.tensor {
            parts.push(format!("tensor {i} ({name:?})"));
        }
        if parts.is_empty() { f.write_str("model") } else { f.write_str(&parts.join(", ")) }
    }
}

/// One thing that a model asks for and the compiler lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Unsupported {
    /// An operator that is not implemented.
    Operator,
    /// An operator of TensorFlow (Flex) or a custom one that nobody registered, by name.
    CustomOperator(String),
    /// Operand or result types that the operator does not take, as text.
    Types(String),
    /// An option value, by name and value.
    Option(String, String),
    /// A quantisation scheme.
    Quantization(String),
    /// A shape or rank.
    Shape(String),
    /// A shape known only at run time.
    DynamicShape,
    /// A tensor of strings.
    Strings,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unsupported::Operator => f.write_str("the operator is not supported"),
            Unsupported::CustomOperator(n) if n.starts_with("Flex") => {
                write!(f, "{n} is an operator of TensorFlow itself; convert the model with TFLITE_BUILTINS only")
            }
            Unsupported::CustomOperator(n) => {
                write!(f, "the custom operator {n} is not known; register a function for it (`jit::Options::custom`)")
            }
            Unsupported::Types(t) => write!(f, "the operator does not take {t}"),
            Unsupported::Option(n, v) => write!(f, "option {n} = {v} is not supported"),
            Unsupported::Quantization(q) => write!(f, "quantisation is not supported here: {q}"),
            Unsupported::Shape(s) => write!(f, "shape is not supported here: {s}"),
            Unsupported::Strings => f.write_str(
                "tensors of strings are not compiled; turn strings into numbers in front of the model, or run it with `--backend eval`",
            ),
            Unsupported::DynamicShape => f.write_str(
                "the shape is known only at run time, and nothing in the model bounds it; state the largest shape that the tensor may have with `--bound NAME=1x100x4`",
            ),
        }
    }
}

/// What can go wrong while compiling a model.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum CompileError {
    /// The model contradicts itself or the format.
    #[error("invalid model: {place}: {reason}")]
    InvalidModel {
        /// Where.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// The model asks for what the compiler lacks; everything at once.
    #[error("unsupported: {}", list(.0))]
    Unsupported(Vec<(Place, Unsupported)>),
    /// A limit of the options was hit.
    #[error("limit exceeded: {place}: {reason}")]
    LimitExceeded {
        /// Where.
        place: Place,
        /// Which limit, and its value.
        reason: String,
    },
    /// The target is unknown or lacks something.
    #[error("target: {0}")]
    Target(String),
    /// A bug of this compiler.
    #[error("internal error (please report it): {0}")]
    Internal(String),
}

fn list(items: &[(Place, Unsupported)]) -> String {
    match items {
        [(p, u)] => format!("{p}: {u}"),
        _ => items.iter().map(|(p, u)| format!("\n  {p}: {u}")).collect(),
    }
}

impl CompileError {
    /// An invalid model.
    pub fn invalid(place: Place, reason: impl Into<String>) -> CompileError {
        CompileError::InvalidModel { place, reason: reason.into() }
    }

    /// One unsupported thing.
    pub fn unsupported(place: Place, what: Unsupported) -> CompileError {
        CompileError::Unsupported(vec![(place, what)])
    }
}
