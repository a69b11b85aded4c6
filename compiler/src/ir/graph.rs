//! Models, graphs, tensors and nodes.

use crate::ir::{Attrs, Bytes, DType, OpKind, Quantization};
use std::collections::BTreeMap;
use std::fmt;
use tflc_templates::expr::Expr;

macro_rules! id {
    ($name:ident, $prefix:literal, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
        pub struct $name(pub u32);

        impl $name {
            /// Position in the list that holds it.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(GraphId, "@", "A graph of a model.");
id!(TensorId, "%", "A tensor of a graph.");
id!(NodeId, "#", "A node of a graph.");

/// Element type, shape and quantisation of a tensor.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, outermost first; empty for a scalar. Dimensions that a model leaves open hold the size they are compiled for.
    pub shape: Vec<usize>,
    /// Quantisation.
    pub quant: Quantization,
}

impl TensorType {
    /// An unquantised type.
    pub fn new(dtype: DType, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType { dtype, shape: shape.into(), quant: Quantization::None }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size in bytes; 0 for types without a fixed width.
    pub fn bytes(&self) -> usize {
        self.dtype.bytes(self.elements()).unwrap_or(0)
    }
}

/// A tensor: the result of a node, an input, a constant or a variable.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// Name in the model; need not be unique.
    pub name: String,
    /// Type.
    pub ty: TensorType,
    /// Value of a constant: dense, row-major, little-endian (sparse encodings are expanded at import).
    pub data: Option<Bytes>,
    /// Whether the value persists from run to run (state of recurrent operators), zero at first.
    pub variable: bool,
    /// Dimensions as the model declares them, with -1 for open ones; `None` where they equal the shape.
    pub signature: Option<Vec<i64>>,
}

impl Tensor {
    /// Gives the tensor another shape. What was declared about another number of dimensions says nothing any more.
    pub fn set_shape(&mut self, shape: &[usize]) {
        self.signature.take_if(|s| s.len() != shape.len());
        self.ty.shape.clear();
        self.ty.shape.extend_from_slice(shape);
    }
}

/// Where a node came from, for messages and profiles.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Location {
    /// Subgraph in the file.
    pub subgraph: u32,
    /// Operator in that subgraph; the first one for nodes made of several.
    pub operator: u32,
}

/// A pointwise expression applied to a node's own result before it is stored.
#[derive(Clone, PartialEq, Debug)]
pub struct Tail {
    /// Type of the node's own result, which is input 0 of the expression.
    pub result: TensorType,
    /// The expression; its output has the type of the node's output tensor.
    pub expr: Expr,
    /// Further inputs, 1 and on, each broadcast to the output's shape.
    pub inputs: Vec<TensorId>,
}

/// An operator applied to tensors.
#[derive(Clone, PartialEq, Debug)]
pub struct Node {
    /// Operator.
    pub op: OpKind,
    /// Operands in the schema's order; optional ones may be absent.
    pub inputs: Vec<Option<TensorId>>,
    /// Results.
    pub outputs: Vec<TensorId>,
    /// Options.
    pub attrs: Attrs,
    /// Fused pointwise work on the first result.
    pub tail: Option<Box<Tail>>,
    /// Scratch tensors of recurrent operators, which carry quantisation of intermediate values.
    pub intermediates: Vec<TensorId>,
    /// Origin.
    pub location: Location,
}

impl Node {
    /// A node without attributes, tail or intermediates.
    pub fn new(op: OpKind, inputs: impl IntoIterator<Item = TensorId>, outputs: impl Into<Vec<TensorId>>) -> Node {
        Node {
            op,
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: outputs.into(),
            attrs: Attrs::new(),
            tail: None,
            intermediates: vec![],
            location: Location::default(),
        }
    }

    /// All tensors that the node reads: operands and tail inputs.
    pub fn reads(&self) -> impl Iterator<Item = TensorId> + '_ {
        let tail = self.tail.iter().flat_map(|t| t.inputs.iter().copied());
        self.inputs.iter().flatten().copied().chain(tail)
    }
}

/// A graph: tensors, and nodes in execution order.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Graph {
    /// Name; may be empty.
    pub name: String,
    /// Tensors.
    pub tensors: Vec<Tensor>,
    /// Nodes; each comes after the nodes whose results it reads.
    pub nodes: Vec<Node>,
    /// Inputs.
    pub inputs: Vec<TensorId>,
    /// Outputs.
    pub outputs: Vec<TensorId>,
    /// Tensors whose size is known only at run time; their shapes are bounds.
    pub open: BTreeMap<TensorId, Open>,
    /// The largest shapes that tensors may have at run time, where somebody said so.
    pub bounds: BTreeMap<TensorId, Vec<usize>>,
}

/// How a size becomes known at run time.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Open {
    /// Some axes, in ascending order and at least one, are as long as other tensors say.
    Along(Vec<OpenAxis>),
    /// In a way that only the evaluator can follow: the shape is a guess.
    Unknown,
}

/// An axis whose length is known only at run time; the shape holds its bound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct OpenAxis {
    /// The axis.
    pub axis: u32,
    /// Its length at run time: an int64 scalar that the producer writes, and that no node gives. Axes with the same one are equally long.
    pub extent: TensorId,
}

impl Graph {
    /// The tensor `id`.
    ///
    /// # Panics
    /// Where it is not of this graph.
    pub fn tensor(&self, id: TensorId) -> &Tensor {
        &self.tensors[id.index()]
    }

    /// Type of the tensor `id`.
    pub fn ty(&self, id: TensorId) -> &TensorType {
        &self.tensors[id.index()].ty
    }

    /// The open axes of a tensor; none where its size is known, or not followed.
    pub fn open_axes(&self, t: TensorId) -> &[OpenAxis] {
        match self.open.get(&t) {
            Some(Open::Along(axes)) => axes,
            _ => &[],
        }
    }

    /// The node that computes a tensor. Looks at all of them: where many tensors are asked for, [`crate::ir::Patch`] knows.
    pub fn producer(&self, t: TensorId) -> Option<&Node> {
        self.nodes.iter().find(|n| n.outputs.contains(&t))
    }

    /// Adds a tensor that a node computes.
    pub fn add_tensor(&mut self, name: impl Into<String>, ty: TensorType) -> TensorId {
        self.tensors.push(Tensor { name: name.into(), ty, data: None, variable: false, signature: None });
        TensorId(self.tensors.len() as u32 - 1)
    }

    /// Adds a constant of int32 numbers, as operands that are shapes, positions and axes have them.
    pub fn add_ints(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, values: &[usize]) -> TensorId {
        let data: Vec<u8> = values.iter().flat_map(|v| (*v as i32).to_le_bytes()).collect();
        self.add_const(name, TensorType::new(DType::Int32, shape), data)
    }

    /// Adds a constant tensor.
    pub fn add_const(&mut self, name: impl Into<String>, ty: TensorType, data: impl Into<Bytes>) -> TensorId {
        let id = self.add_tensor(name, ty);
        self.tensors[id.index()].data = Some(data.into());
        id
    }
}

/// A named entry point: a graph with named inputs and outputs.
#[derive(Clone, PartialEq, Debug)]
pub struct Signature {
    /// Key by which callers choose it.
    pub key: String,
    /// Its graph.
    pub graph: GraphId,
    /// Input names with their tensors.
    pub inputs: Vec<(String, TensorId)>,
    /// Output names with their tensors.
    pub outputs: Vec<(String, TensorId)>,
}

/// A model: graphs (the first is the primary one), signatures and metadata.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Model {
    /// Description in the file.
    pub description: String,
    /// Graphs.
    pub graphs: Vec<Graph>,
    /// Signatures.
    pub signatures: Vec<Signature>,
    /// Metadata entries by name.
    pub metadata: Vec<(String, Bytes)>,
}
