//! The graph of tensor operators: what the front end makes, passes rewrite and `lower` turns into kernels.
//!
//! Identifiers are typed, constants are shared byte slices, attributes are named values, so that the text form, the
//! importer and the writer need no code per operator. What an operator means is said in [`crate::ops`].

pub mod attrs;
pub mod data;
pub mod dtype;
pub mod graph;
pub mod op_kind;
pub mod quant;

pub use attrs::{AttrValue, Attrs};
pub use data::Bytes;
pub use dtype::DType;
pub use graph::{Graph, GraphId, Location, Model, Node, NodeId, Signature, Tail, Tensor, TensorId, TensorType};
pub use op_kind::OpKind;
pub use quant::{Affine, Quantization};
