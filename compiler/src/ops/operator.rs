//! What every operator's file provides: inference, and evaluation in one of a few forms.

use crate::error::{CompileError, Place};
use crate::ir::{DType, TensorType};
use crate::ops::call::{Call, Inferred};
use crate::ops::state::State;
use crate::ops::value::Value;
use bytemuck::Pod;
use std::borrow::Cow;
use tflc_templates::expr::Expr;

/// The implementation of an operator.
pub struct Operator {
    /// Types of the results, from attributes, operand types and the values of operands that shape them.
    pub infer: fn(&Call<'_>) -> Inferred,
    /// The results.
    pub eval: Eval,
    /// What LiteRT checks before it computes anything, where the values may be refused.
    pub check: Option<fn(&Args<'_>) -> Result<(), EvalError>>,
}

impl Operator {
    /// An operator that takes all values of its operands.
    pub const fn new(infer: fn(&Call<'_>) -> Inferred, eval: Eval) -> Operator {
        Operator { infer, eval, check: None }
    }

    /// The same with a check of the operands' values.
    pub const fn checked(self, check: fn(&Args<'_>) -> Result<(), EvalError>) -> Operator {
        Operator { infer: self.infer, eval: self.eval, check: Some(check) }
    }
}

/// How an operator is evaluated.
pub enum Eval {
    /// One expression for each element, over all present operands, broadcast to the first result's shape.
    Pointwise(fn(&Call<'_>) -> Result<Expr, CompileError>),
    /// An expression where the function gives one, else a function of the operands.
    Partly(fn(&Call<'_>) -> Option<Result<Expr, CompileError>>, fn(&Args<'_>) -> Results),
    /// A function of the operands.
    Direct(fn(&Args<'_>) -> Results),
    /// A function of the operands and of the state that outlives the call.
    Stateful(fn(&Args<'_>, &mut State) -> Results),
    /// Calls other graphs; the evaluator knows how.
    Control,
}

/// Results of an evaluation.
pub type Results = Result<Vec<Value>, EvalError>;

/// Why an evaluation stopped.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum EvalError {
    /// The types that occur at run time do not fit the operator.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// An operand's value makes no sense for the operator.
    #[error("{place}: {reason}")]
    Operand {
        /// Where.
        place: Place,
        /// What is wrong.
        reason: String,
    },
    /// Inputs given by the caller do not fit the model.
    #[error("input: {0}")]
    Input(String),
    /// A limit of the evaluator was hit.
    #[error("limit exceeded: {0}")]
    Limit(String),
}

/// A call with its operands' values and the types of its results.
pub struct Args<'a> {
    /// The call; its operand types are those of the values.
    pub call: &'a Call<'a>,
    /// Operands.
    pub values: &'a [Option<&'a Value>],
    /// Types of the results, as inferred.
    pub types: &'a [TensorType],
}

impl<'a> Args<'a> {
    /// An error of an operand's value.
    pub fn error(&self, reason: impl Into<String>) -> EvalError {
        EvalError::Operand { place: self.call.place.clone(), reason: reason.into() }
    }

    /// The operand `i`.
    pub fn value(&self, i: usize) -> Result<&'a Value, EvalError> {
        self.optional(i).ok_or_else(|| self.error(format!("operand {i} is missing")))
    }

    /// The operand `i`, which may be absent.
    pub fn optional(&self, i: usize) -> Option<&'a Value> {
        self.values.get(i).copied().flatten()
    }

    /// Elements of operand `i`, which inference has found to be of this type.
    pub fn elements<T: Pod>(&self, i: usize) -> Result<Cow<'a, [T]>, EvalError> {
        Ok(self.value(i)?.elements())
    }

    /// Elements of operand `i` as F32, from any float type.
    pub fn floats(&self, i: usize) -> Result<Cow<'a, [f32]>, EvalError> {
        let v = self.value(i)?;
        match v.ty.dtype {
            DType::Float32 => Ok(v.elements()),
            _ => v.to_f32().map(Cow::Owned).ok_or_else(|| self.error(format!("operand {i} is {}", v.ty.dtype))),
        }
    }

    /// Elements of operand `i` as integers.
    pub fn ints(&self, i: usize) -> Result<Vec<i64>, EvalError> {
        let v = self.value(i)?;
        v.to_i64().ok_or_else(|| self.error(format!("operand {i} is {}", v.ty.dtype)))
    }

    /// Type of the first result.
    pub fn ty(&self) -> &'a TensorType {
        &self.types[0]
    }

    /// The first result, made of these elements.
    pub fn result<T: Pod + Send + Sync>(&self, elements: Vec<T>) -> Results {
        Ok(vec![Value::new(self.types[0].clone(), elements)])
    }

    /// The first result, made of these floats, each rounded to its element type.
    pub fn float_result(&self, elements: Vec<f32>) -> Results {
        match self.ty().dtype {
            DType::Float16 => self.result(elements.into_iter().map(half::f16::from_f32).collect()),
            DType::BFloat16 => self.result(elements.into_iter().map(half::bf16::from_f32).collect()),
            _ => self.result(elements),
        }
    }

    /// Width of the elements of operand `i` in bytes, for operators that move data.
    pub fn width(&self, i: usize) -> Result<usize, EvalError> {
        Ok(self.value(i)?.ty.dtype.bits() / 8)
    }
}
