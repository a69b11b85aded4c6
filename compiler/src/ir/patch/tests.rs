//! Edits keep uses up to date and leave nodes in an order that verifies.

use super::*;
use crate::ir::{Model, OpKind, parse, print_with, verify};

fn model(body: &str) -> Model {
    parse(body).unwrap_or_else(|e| panic!("{e}\n{body}"))
}

/// The operators and operands of the nodes, in order.
fn nodes(model: &Model) -> Vec<String> {
    verify(model).unwrap();
    let text = print_with(model, crate::ir::PrintOptions::LIVE);
    text.lines().filter_map(|l| Some(format!("{}{}", l.trim().split(':').next()?, l.split_once(" = ")?.1))).collect()
}

const CHAIN: &str = "graph @0 (%0) -> (%3) {
  %0: float32[2]
  %1: float32[2] = ABS(%0)
  %2: float32[2] = NEG(%1)
  %3: float32[2] = ADD(%2, %2)
}";

#[test]
fn uses_follow_replacement_and_removal() {
    let mut m = model(CHAIN);
    let t = TensorId;
    let mut p = Patch::new(&mut m.graphs[0]);
    assert_eq!(p.sole_producer(t(2), NodeId(2)), Some(NodeId(1)), "read twice by one node");
    assert_eq!(p.sole_producer(t(3), NodeId(2)), None, "an output");
    // NEG takes over the operand of ABS.
    p.remove(NodeId(0));
    p.replace(NodeId(1), Node::new(OpKind::Neg, [t(0)], [t(2)]));
    assert_eq!((p.reader_count(t(1)), p.producer(t(1)), p.sole_reader(t(0))), (0, None, Some(NodeId(1))));
    // A second reader ends sole readership; its removal restores it.
    let new = p.add_tensor("", TensorType::new(crate::ir::DType::Float32, [2]));
    let inserted = p.insert_before(NodeId(2), Node::new(OpKind::Exp, [t(2)], [new]));
    assert_eq!(p.sole_reader(t(2)), None);
    assert_eq!(p.readers(t(2)), [NodeId(2), inserted]);
    p.remove(inserted);
    assert_eq!(p.sole_reader(t(2)), Some(NodeId(2)));
    assert_eq!(p.finish(), 4);
    assert_eq!(nodes(&m), ["%2NEG(%0)", "%3ADD(%2, %2)"]);
}

#[test]
fn insertions_come_in_order_before_their_node() {
    let mut m = model(CHAIN);
    let mut p = Patch::new(&mut m.graphs[0]);
    let ty = p.ty(TensorId(0)).clone();
    let (a, b) = (p.add_tensor("", ty.clone()), p.add_tensor("", ty));
    p.insert_before(NodeId(2), Node::new(OpKind::Exp, [TensorId(2)], [a]));
    p.insert_before(NodeId(2), Node::new(OpKind::Sin, [a], [b]));
    p.replace(NodeId(2), Node::new(OpKind::Mul, [b, TensorId(0)], [TensorId(3)]));
    drop(p);
    assert_eq!(nodes(&m), ["%1ABS(%0)", "%2NEG(%1)", "%4EXP(%2)", "%5SIN(%4)", "%3MUL(%5, %0)"]);
}

#[test]
fn substitution_reaches_all_readers_and_leaves_outputs() {
    let mut m = model(
        "graph @0 (%0) -> (%1, %4) {
  %0: float32[2]
  %1: float32[2] = ABS(%0)
  %2: float32[2] = RESHAPE(%1, _)
  %3: float32[2] = RESHAPE(%2, _)
  %4: float32[2] = ADD(%3, %2)
}",
    );
    let mut p = Patch::new(&mut m.graphs[0]);
    for (old, new) in [(2, 1), (3, 2), (3, 1), (1, 0)] {
        p.substitute(TensorId(old), TensorId(new));
    }
    p.substitute(TensorId(2), TensorId(0));
    assert!(p.is_output(TensorId(1)) && p.reader_count(TensorId(1)) == 0);
    assert_eq!(p.readers(TensorId(0)).len(), 4);
    p.remove(NodeId(1));
    p.remove(NodeId(2));
    drop(p);
    assert_eq!(nodes(&m), ["%1ABS(%0)", "%4ADD(%0, %0)"]);
}

#[test]
fn producers_move_forward_only_where_an_edit_needs_it() {
    let mut m = model(
        "graph @0 (%0) -> (%3, %4) {
  %0: float32[2]
  %1: float32[2] = ABS(%0)
  %4: float32[2] = SIN(%1)
  %2: float32[2] = NEG(%0)
  %3: float32[2] = ADD(%2, %0)
}",
    );
    let mut p = Patch::new(&mut m.graphs[0]);
    p.substitute(TensorId(1), TensorId(2));
    drop(p);
    assert_eq!(nodes(&m), ["%1ABS(%0)", "%2NEG(%0)", "%4SIN(%2)", "%3ADD(%2, %0)"]);
}

#[test]
fn a_cycle_ends_and_is_left_to_the_verifier() {
    let mut m = model(CHAIN);
    let mut p = Patch::new(&mut m.graphs[0]);
    p.replace(NodeId(0), Node::new(OpKind::Abs, [TensorId(3)], [TensorId(1)]));
    drop(p);
    assert_eq!(m.graphs[0].nodes.len(), 3);
    assert!(verify(&m).is_err());
}

#[test]
fn a_long_chain_of_merges_takes_linear_time() {
    let n = 200_000;
    let mut graph = Graph::default();
    let ty = TensorType::new(crate::ir::DType::Float32, [1]);
    let mut t = graph.add_tensor("", ty.clone());
    graph.inputs.push(t);
    for _ in 0..n {
        let next = graph.add_tensor("", ty.clone());
        graph.nodes.push(Node::new(OpKind::Abs, [t], [next]));
        t = next;
    }
    graph.outputs.push(t);
    let mut p = Patch::new(&mut graph);
    for id in p.ids() {
        let node = p.node(id).unwrap().clone();
        let read = node.inputs[0].unwrap();
        if let Some(producer) = p.sole_producer(read, id) {
            let inner = p.remove(producer).unwrap();
            p.replace(id, Node { inputs: inner.inputs, ..node });
        }
    }
    drop(p);
    assert_eq!(graph.nodes.len(), 1);
}
