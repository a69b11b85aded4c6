//! The TensorFlow Lite schema (identifier `TFL3`, version 3d) as one table of field ids, types and defaults.
//!
//! The rows in `schema/{enums,operators,model,options*}.rs` are the only place that says what a model file looks
//! like. From them come, by macro: the zero-copy reader ([`Ref`] and its accessors), the owned types with `pack` and
//! `unpack` (`Model`, `Tensor`, `Conv2DOptions`, ...), the definitions that drive the verifier and reflection
//! ([`def`]), and the writer. Values of enums and unions that this version does not know are kept as numbers. It does
//! not interpret what it reads; that is the importer's work.

pub mod def;
mod enums;
mod kind;
mod macros;
mod model;
mod operators;
mod options;
mod options_builtin;
mod options_empty;
mod options_late;
mod reader;
pub(in crate::frontend) mod writer;

pub use enums::*;
pub use kind::{Blob, FieldKind, List, Scalar, SchemaTable, SchemaUnion, Str, Sub, Subs, Union};
pub use model::*;
pub use operators::BuiltinOperator;
pub use options::*;
pub(in crate::frontend) use reader::read;
pub use reader::{RawTable, RawTables, Ref, Refs, ScalarVector, UnionRef};
pub use writer::{Offset, TableOffset, Writer};
