//! Recipes of operators that call graphs, and of variables.

use super::movement::MOVED;
use super::recipes::{plan, plan_like, raw};
use super::{Generator, Planned};
use tflc::ir::OpKind::*;
use tflc::ir::{AttrValue, Attrs, DType, Graph, Node, OpKind, Quantization, TensorId, TensorType};
use tflc::ops::Value;

/// A graph under construction that a node calls.
struct Body(Graph);

impl Body {
    fn new(g: &Generator, inputs: &[TensorType]) -> Body {
        let mut graph = Graph { name: format!("graph {}", g.graphs()), ..Graph::default() };
        graph.inputs = inputs.iter().enumerate().map(|(i, ty)| graph.add_tensor(format!("a{i}"), ty.clone())).collect();
        Body(graph)
    }

    fn constant(&mut self, value: Value) -> TensorId {
        self.0.add_const("", value.ty, value.data)
    }

    fn node(&mut self, op: OpKind, inputs: &[TensorId], attrs: Attrs, ty: TensorType) -> TensorId {
        let out = self.0.add_tensor("", ty);
        self.0.nodes.push(Node { attrs, ..Node::new(op, inputs.iter().copied(), [out]) });
        out
    }

    /// Something simple that an element type can do, with a result of the same type.
    fn step(&mut self, g: &mut Generator, x: TensorId) -> TensorId {
        let ty = self.0.ty(x).clone();
        let none = || Attrs::new().with("fused_activation_function", AttrValue::Enum("NONE".into()));
        match (ty.dtype, g.rng.below(3)) {
            (DType::Float32 | DType::Int32 | DType::Int64, 0) => self.node(Neg, &[x], Attrs::new(), ty),
            (DType::Float32, 1) => self.node(Tanh, &[x], Attrs::new(), ty),
            (DType::Int32 | DType::Int64, 1) => self.node(Add, &[x, x], none(), ty),
            (DType::Bool, 0 | 1) => self.node(LogicalNot, &[x], Attrs::new(), ty),
            (_, 2) | (DType::Complex64, _) => x,
            _ => {
                let axis = g.rng.below(ty.shape.len());
                let axis = self.constant(Value::new(raw(DType::Int32, [1]), vec![axis as i32]));
                self.node(ReverseV2, &[x, axis], Attrs::new(), ty)
            }
        }
    }

    fn done(mut self, g: &mut Generator, outputs: Vec<TensorId>) -> AttrValue {
        self.0.outputs = outputs;
        g.add_graph(self.0)
    }
}

/// A graph of a few simple steps from one value.
fn simple(g: &mut Generator, ty: &TensorType) -> AttrValue {
    let mut body = Body::new(g, std::slice::from_ref(ty));
    let mut x = body.0.inputs[0];
    for _ in 0..1 + g.rng.below(3) {
        x = body.step(g, x);
    }
    body.done(g, vec![x])
}

fn any(g: &mut Generator) -> Option<TensorId> {
    g.operand(MOVED, |s| !s.is_empty(), Generator::shape)
}

pub(super) fn branch(g: &mut Generator) -> Option<Planned> {
    let x = any(g)?;
    let ty = g.ty(x).clone();
    let condition = g.input(DType::Bool, vec![]);
    let (then, otherwise) = (simple(g, &ty), simple(g, &ty));
    let attrs = Attrs::new().with("then_subgraph_index", then).with("else_subgraph_index", otherwise);
    plan_like(g, If, [condition, x], attrs, x)
}

pub(super) fn case(g: &mut Generator) -> Option<Planned> {
    let x = any(g)?;
    let ty = g.ty(x).clone();
    let branches: Vec<i64> = (0..1 + g.rng.below(3))
        .filter_map(|_| match simple(g, &ty) {
            AttrValue::Graph(id) => Some(i64::from(id.0)),
            _ => None,
        })
        .collect();
    let at = g.rng.between(-1, 3) as i32;
    let index = g.input_of(Value::new(raw(DType::Int32, []), vec![at]));
    plan_like(g, StablehloCase, [index, x], Attrs::new().with("branch_subgraph_indices", AttrValue::Ints(branches)), x)
}

/// CALL and STABLEHLO_COMPOSITE.
pub(super) fn call(g: &mut Generator) -> Option<Planned> {
    let op = g.op(&[Call, StablehloComposite]);
    let x = any(g)?;
    let ty = g.ty(x).clone();
    let body = simple(g, &ty);
    let attrs = match op {
        Call => Attrs::new().with("subgraph", body),
        _ => Attrs::new().with("name", AttrValue::Str("random".into())).with("decomposition_subgraph_index", body),
    };
    plan_like(g, op, [x], attrs, x)
}

/// WHILE: a counter from a value to a limit, and a value that changes.
pub(super) fn repeat(g: &mut Generator) -> Option<Planned> {
    let x = any(g)?;
    let ty = g.ty(x).clone();
    let int = raw(DType::Int32, []);
    let start = g.rng.between(-2, 3) as i32;
    let start = g.given(Value::new(int.clone(), vec![start]));
    let types = [int.clone(), ty.clone()];
    let mut test = Body::new(g, &types);
    let limit = test.constant(Value::new(int.clone(), vec![g.rng.below(4) as i32]));
    let go = test.node(Less, &[test.0.inputs[0], limit], Attrs::new(), raw(DType::Bool, []));
    let test = test.done(g, vec![go]);
    let mut body = Body::new(g, &types);
    let one = body.constant(Value::new(int.clone(), vec![1i32]));
    let attrs = Attrs::new().with("fused_activation_function", AttrValue::Enum("NONE".into()));
    let next = body.node(Add, &[body.0.inputs[0], one], attrs, int);
    let y = body.step(g, body.0.inputs[1]);
    let body = body.done(g, vec![next, y]);
    let attrs = Attrs::new().with("cond_subgraph_index", test).with("body_subgraph_index", body);
    let one = plan(While, [start, x], attrs, DType::Int32, Quantization::None)?;
    Some(Planned { results: vec![(DType::Int32, Quantization::None), (ty.dtype, ty.quant)], ..one })
}

fn handle(name: &str) -> Attrs {
    Attrs::new().with("container", AttrValue::Str(String::new())).with("shared_name", AttrValue::Str(name.into()))
}

/// A variable: at times set once, read, assigned, and read again.
pub(super) fn variable(g: &mut Generator) -> Option<Planned> {
    let x = any(g)?;
    let ty = g.ty(x).clone();
    let name = format!("v{}", g.graph().tensors.len());
    let resource = || plan(VarHandle, [], handle(&name), DType::Resource, Quantization::None);
    if g.op(&[ReadVariable, CallOnce]) == CallOnce {
        let mut body = Body::new(g, &[]);
        let h = body.node(VarHandle, &[], handle(&name), raw(DType::Resource, []));
        let first = crate::random_values::random_value(&mut g.rng, &ty);
        let first = body.constant(first);
        body.0.nodes.push(Node::new(AssignVariable, [h, first], []));
        let body = body.done(g, vec![]);
        g.add(Planned {
            results: vec![],
            ..plan(CallOnce, [], Attrs::new().with("init_subgraph_index", body), DType::Bool, Quantization::None)?
        })?;
    }
    let h = *g.add(resource()?)?.first()?;
    let read = |g: &Generator| Some(Planned { declared: ty.shape.clone(), ..plan_like(g, ReadVariable, [h], Attrs::new(), x)? });
    let before = read(g)?;
    let before = *g.add(before)?.first()?;
    let next = if ty.dtype == DType::Float32 || ty.dtype == DType::Int32 {
        let attrs = Attrs::new().with("fused_activation_function", AttrValue::Enum("NONE".into()));
        let sum = plan_like(g, Add, [before, x], attrs, x)?;
        *g.add(sum)?.first()?
    } else {
        x
    };
    g.add(Planned { results: vec![], ..plan(AssignVariable, [h, next], Attrs::new(), DType::Bool, Quantization::None)? })?;
    read(g)
}
