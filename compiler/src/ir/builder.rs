//! Builds a graph node by node, for tests, examples and generators.
//!
//! ```
//! use tflc::ir::{Attrs, AttrValue, DType, GraphBuilder, OpKind, TensorType};
//! let mut b = GraphBuilder::new("main");
//! let x = b.input("x", TensorType::new(DType::Float32, [1, 4]));
//! let w = b.f32s("w", [4], &[1.0, 2.0, 3.0, 4.0]);
//! let attrs = Attrs::new().with("fused_activation_function", AttrValue::Enum("RELU".into()));
//! let y = b.node("y", OpKind::Add, &[x, w], attrs, TensorType::new(DType::Float32, [1, 4]));
//! b.output(y);
//! tflc::ir::verify(&b.finish()).unwrap();
//! ```

use crate::ir::{AttrValue, Attrs, Bytes, DType, Graph, Model, Node, OpKind, TensorId, TensorType};
use tflc_templates::expr::Expr;

/// A graph under construction.
#[derive(Clone, Debug, Default)]
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// An empty graph.
    pub fn new(name: impl Into<String>) -> GraphBuilder {
        GraphBuilder { graph: Graph { name: name.into(), ..Graph::default() } }
    }

    /// The graph so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// Type of a tensor.
    pub fn ty(&self, t: TensorId) -> &TensorType {
        self.graph.ty(t)
    }

    /// Adds an input.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> TensorId {
        let t = self.graph.add_tensor(name, ty);
        self.graph.inputs.push(t);
        t
    }

    /// Adds a constant.
    pub fn constant(&mut self, name: impl Into<String>, ty: TensorType, data: impl Into<Bytes>) -> TensorId {
        self.graph.add_const(name, ty, data)
    }

    /// Adds a float32 constant.
    pub fn f32s(&mut self, name: impl Into<String>, shape: impl Into<Vec<usize>>, values: &[f32]) -> TensorId {
        self.constant(name, TensorType::new(DType::Float32, shape), bytemuck::cast_slice(values).to_vec())
    }

    /// Adds an int32 constant of one dimension, as shapes, axes and paddings are given.
    pub fn i32s(&mut self, name: impl Into<String>, values: &[i32]) -> TensorId {
        self.constant(name, TensorType::new(DType::Int32, [values.len()]), bytemuck::cast_slice(values).to_vec())
    }

    /// Adds a variable, which keeps its value from run to run.
    pub fn variable(&mut self, name: impl Into<String>, ty: TensorType) -> TensorId {
        let t = self.graph.add_tensor(name, ty);
        self.graph.tensors[t.index()].variable = true;
        t
    }

    /// Adds a node with one result of this type.
    pub fn node(&mut self, name: impl Into<String>, op: OpKind, inputs: &[TensorId], attrs: Attrs, ty: TensorType) -> TensorId {
        let t = self.graph.add_tensor(name, ty);
        self.push(Node { attrs, ..Node::new(op, inputs.iter().copied(), [t]) });
        t
    }

    /// Adds a `POINTWISE` node.
    pub fn pointwise(&mut self, name: impl Into<String>, expr: Expr, inputs: &[TensorId], ty: TensorType) -> TensorId {
        self.node(name, OpKind::Pointwise, inputs, Attrs::new().with("expr", AttrValue::Expr(Box::new(expr))), ty)
    }

    /// Adds a tensor for a node made by hand; [`GraphBuilder::push`] adds that.
    pub fn tensor(&mut self, name: impl Into<String>, ty: TensorType) -> TensorId {
        self.graph.add_tensor(name, ty)
    }

    /// Adds a node made by hand.
    pub fn push(&mut self, node: Node) {
        self.graph.nodes.push(node);
    }

    /// Makes a tensor an output.
    pub fn output(&mut self, t: TensorId) {
        self.graph.outputs.push(t);
    }

    /// A model of this graph alone.
    pub fn finish(self) -> Model {
        Model { graphs: vec![self.graph], ..Model::default() }
    }
}
