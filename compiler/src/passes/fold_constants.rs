//! Evaluates nodes whose operands are all constants, and shapes that are known.
//!
//! Weights that are only widened (DEQUANTIZE of float16) stay as they are where a convolution or matrix product reads them:
//! packing widens them anyway. Results much larger than their operands are left to run time. Outputs may be constants: lowering copies them.

use crate::error::CompileError;
use crate::ir::{DType, Graph, GraphId, Model, Node, OpKind, TensorId};
use crate::ops::{self, Call, State, Value};
use crate::target::Target;

/// Results that are larger than this, and larger than their operands, are not stored.
const MAX_GROWTH_BYTES: usize = 1 << 16;

/// Runs the pass.
///
/// # Errors
/// None: a node that cannot be evaluated stays.
pub fn run(model: &mut Model, id: GraphId, _: &Target) -> Result<usize, CompileError> {
    let mut folded = 0;
    let mut keep = vec![true; model.graphs[id.index()].nodes.len()];
    for i in 0..keep.len() {
        let graph = &model.graphs[id.index()];
        let node = &graph.nodes[i];
        if let Some(source) = widened_weights(graph, node) {
            let target = node.outputs[0];
            let graph = &mut model.graphs[id.index()];
            let (data, dtype) = (graph.tensor(source).data.clone(), graph.ty(source).dtype);
            let tensor = &mut graph.tensors[target.index()];
            (tensor.data, tensor.ty.dtype) = (data, dtype);
        } else if let Some(values) = evaluate(model, id, i) {
            let graph = &mut model.graphs[id.index()];
            let outputs = graph.nodes[i].outputs.clone();
            for (t, v) in outputs.into_iter().zip(values) {
                let tensor = &mut graph.tensors[t.index()];
                tensor.ty.shape = v.ty.shape.clone();
                tensor.data = Some(v.data);
            }
        } else {
            continue;
        }
        keep[i] = false;
        folded += 1;
    }
    let mut flags = keep.into_iter();
    model.graphs[id.index()].nodes.retain(|_| flags.next().unwrap_or(true));
    Ok(folded)
}

/// The float16 constant that a DEQUANTIZE node widens, where all readers take it as weights or bias.
fn widened_weights(graph: &Graph, node: &Node) -> Option<TensorId> {
    let source = node.inputs.first().copied().flatten()?;
    let tensor = graph.tensor(source);
    if node.op != OpKind::Dequantize || tensor.ty.dtype != DType::Float16 || tensor.data.is_none() {
        return None;
    }
    let out = *node.outputs.first()?;
    let mut read = false;
    for reader in &graph.nodes {
        for (k, t) in reader.inputs.iter().enumerate() {
            if *t != Some(out) {
                continue;
            }
            read = true;
            let weights = match reader.op {
                OpKind::Conv2d | OpKind::DepthwiseConv2d | OpKind::FullyConnected => k == 1 || k == 2,
                OpKind::TransposeConv => k == 1 || k == 3,
                _ => false,
            };
            if !weights {
                return None;
            }
        }
    }
    (read && !graph.outputs.contains(&out)).then_some(source)
}

/// Results of a node of constants.
fn evaluate(model: &Model, id: GraphId, index: usize) -> Option<Vec<Value>> {
    let graph = &model.graphs[id.index()];
    let node = &graph.nodes[index];
    if !is_pure(node) || node.tail.is_some() || node.outputs.iter().any(|t| graph.open.contains_key(t)) {
        return None;
    }
    let call = Call::of(model, id, node, index);
    // The shape of a tensor is known even where its elements are not.
    let shape_only = matches!(node.op, OpKind::Shape | OpKind::Rank);
    let mut values: Vec<Option<Value>> = vec![];
    let mut operand_bytes = 0;
    for t in &node.inputs {
        let value = match t {
            None => None,
            Some(t) => {
                let tensor = graph.tensor(*t);
                operand_bytes += tensor.ty.bytes();
                match &tensor.data {
                    Some(data) => Some(Value::from_bytes(tensor.ty.clone(), data.clone())?),
                    None if shape_only && !graph.open.contains_key(t) => Some(Value::zeros(tensor.ty.clone())),
                    None => return None,
                }
            }
        };
        values.push(value);
    }
    let types: Vec<_> = ops::infer(&call).ok()?;
    let bytes: usize = types.iter().map(|t| t.bytes()).sum();
    if bytes > MAX_GROWTH_BYTES && bytes > operand_bytes.saturating_mul(4) {
        return None;
    }
    let refs: Vec<Option<&Value>> = values.iter().map(Option::as_ref).collect();
    let results = ops::evaluate(&call, &refs, &types, &mut State::default()).ok()?;
    (results.len() == node.outputs.len()).then_some(results)
}

/// Whether an operator's results follow from its operands alone.
fn is_pure(node: &Node) -> bool {
    !matches!(
        node.op,
        OpKind::Custom
            | OpKind::If
            | OpKind::While
            | OpKind::Call
            | OpKind::CallOnce
            | OpKind::StablehloComposite
            | OpKind::StablehloCase
            | OpKind::VarHandle
            | OpKind::ReadVariable
            | OpKind::AssignVariable
            | OpKind::Hashtable
            | OpKind::HashtableFind
            | OpKind::HashtableImport
            | OpKind::HashtableSize
            | OpKind::RandomUniform
            | OpKind::RandomStandardNormal
            | OpKind::Multinomial
            | OpKind::StablehloRngBitGenerator
    ) && !node.outputs.is_empty()
}
