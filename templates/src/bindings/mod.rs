//! Bindings of a compiled model: a C header and a Rust module, as text.
//!
//! In: an [`Interface`], plain data about one compiled model. Out: source text; same interface, same text. Nothing here knows how the
//! model was compiled.

mod c;
mod identifier;
mod rust;
#[cfg(test)]
mod tests;

pub use c::header;
pub use rust::{BindingsError, module};

/// What a program must know of a compiled model.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Interface {
    /// Name: prefix of symbols.
    pub name: String,
    /// The model's own description of itself; may be empty.
    pub description: String,
    /// CPU levels in the artifact.
    pub cpus: Vec<String>,
    /// Inputs and outputs of the model itself.
    pub ports: Ports,
    /// Entry points by name.
    pub signatures: Vec<Signature>,
    /// Scratch memory of a run: the most that any CPU level needs.
    pub arena_bytes: usize,
    /// Variables.
    pub state_bytes: usize,
    /// Size and CRC-32 of the weights where they are in a file of their own.
    pub split_weights: Option<(usize, u32)>,
}

/// Inputs and outputs of an entry point.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ports {
    /// Inputs, in order.
    pub inputs: Vec<Tensor>,
    /// Outputs, in order.
    pub outputs: Vec<Tensor>,
}

/// An input or output.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Name in the model.
    pub name: String,
    /// Element type, by its schema name in lower case.
    pub dtype: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Size of a value in bytes.
    pub bytes: usize,
    /// Scale and zero point of quantised integers.
    pub quantized: Option<(f32, i32)>,
    /// The first axis whose length is known only at run time; the shape has the most.
    pub open_axis: Option<usize>,
}

/// An entry point by name, with names of its inputs and outputs.
#[derive(Clone, PartialEq, Debug)]
pub struct Signature {
    /// Key.
    pub key: String,
    /// Names with positions among the inputs.
    pub inputs: Vec<(String, usize)>,
    /// Names with positions among the outputs.
    pub outputs: Vec<(String, usize)>,
    /// Its inputs and outputs where they are not those of the model itself.
    pub own: Option<Ports>,
}
