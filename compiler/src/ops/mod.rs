//! What operators mean: one table row and one file per operator, with attributes, inference and reference evaluation.
//!
//! [`table`] says which operators exist. [`infer`], [`pointwise`] and [`evaluate`] dispatch through it. [`eval::Evaluator`]
//! runs whole models. Nothing here calls a kernel or knows the file format.

pub mod accumulate;
pub mod activation;
mod arithmetic;
mod arithmetic_quant;
pub mod batch_matmul;
pub mod call;
mod cast;
mod compare;
pub mod concatenation;
mod control;
pub mod conv_2d;
pub mod docs;
pub mod eval;
pub mod fixed_point;
pub mod fully_connected;
pub mod gemmlowp;
mod logical;
pub mod operator;
pub mod pack;
pub mod pointwise;
pub mod pool_2d;
mod prelu;
pub mod propagate;
mod quantize;
pub mod requant;
pub mod reshape;
pub mod shapes;
pub mod slice;
pub mod softmax;
pub mod split;
pub mod state;
pub mod storage;
pub mod strided_slice;
pub mod table;
pub mod transpose;
pub mod transpose_conv;
mod unary;
pub mod unary_int16;
mod unary_quant;
pub mod value;
pub mod window;

pub use call::{Call, Operand};
pub use eval::Evaluator;
pub use operator::{Args, EvalError};
pub use pointwise::pointwise;
pub use propagate::propagate_types;
pub use state::State;
pub use table::{evaluate, infer, support};
pub use value::Value;
