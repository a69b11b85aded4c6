//! The graph of tensor operators: what the front end makes, passes rewrite and `lower` turns into kernels.
//!
//! Identifiers are typed, constants are shared byte slices, attributes are named values, so that the text form, the
//! importer and the writer need no code per operator. What an operator means is said in [`crate::ops`].

pub mod attrs;
pub mod builder;
pub mod data;
pub mod dtype;
pub mod graph;
mod literal;
pub mod op_kind;
pub mod parse;
pub mod patch;
pub mod print;
pub mod quant;
pub mod verify;

pub use attrs::{AttrValue, Attrs};
pub use builder::GraphBuilder;
pub use data::Bytes;
pub use dtype::DType;
pub use graph::{Graph, GraphId, Location, Model, Node, NodeId, Open, OpenAxis, Signature, Tail, Tensor, TensorId, TensorType};
pub use op_kind::OpKind;
pub use parse::{ParseError, parse};
pub use patch::Patch;
pub use print::{PrintOptions, print, print_with};
pub use quant::{Affine, Quantization};
pub use verify::{VerifyCause, VerifyError, verify};
