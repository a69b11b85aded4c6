//! What operators mean: one table row and one file per operator, with attributes, inference and reference evaluation.
//!
//! [`table`] says which operators exist. [`infer`], [`pointwise`] and [`evaluate`] dispatch through it. [`eval::Evaluator`]
//! runs whole models. Nothing here calls a kernel or knows the file format.

mod accumulate;
pub mod activation;
mod arithmetic;
mod arithmetic_quant;
pub mod call;
mod cast;
mod compare;
mod control;
mod conv_2d;
mod depthwise_conv_2d;
pub mod docs;
pub mod eval;
pub mod fixed_point;
mod fully_connected;
pub mod gemmlowp;
mod hybrid;
mod logical;
pub mod operator;
pub mod pointwise;
pub mod propagate;
mod quantize;
pub mod requant;
pub mod shapes;
pub mod state;
pub mod storage;
pub mod table;
mod unary;
mod unary_int16;
mod unary_quant;
pub mod value;
mod window;

pub use call::{Call, Operand};
pub use eval::Evaluator;
pub use operator::{Args, EvalError};
pub use pointwise::pointwise;
pub use propagate::propagate_types;
pub use state::State;
pub use table::{evaluate, infer, support};
pub use value::Value;
