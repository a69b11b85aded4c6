//! `tflc inspect`: what a model is made of, without running it.

use crate::cli::args::ModelArgs;
use crate::ir::{Graph, Model, Quantization, TensorId, TensorType};
use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Arguments of `tflc inspect`.
#[derive(Args, Clone, Debug)]
pub struct InspectArgs {
    #[command(flatten)]
    model: ModelArgs,
    /// Lists every operator with its options.
    #[arg(long)]
    ops: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// Where the model cannot be read.
pub fn run(args: &InspectArgs) -> Result<()> {
    let loaded = args.model.load()?;
    let mut optimized = loaded.model.clone();
    let plan = crate::driver::optimize(&mut optimized, loaded.entry, &loaded.target, &mut |_, _| {})
        .and_then(|()| crate::lower::lower(&optimized, loaded.entry, &loaded.target));
    let memory = match &plan {
        Ok(p) => json!({
            "arena_bytes": p.arena_bytes, "arena_lower_bound_bytes": p.arena_lower_bound,
            "weights_bytes": p.weights_bytes, "state_bytes": p.state_bytes, "kernels": p.kernels.len(), "calls": p.calls().len(),
        }),
        Err(e) => json!({ "error": e.to_string() }),
    };
    let value = describe(&loaded.model, args.ops);
    if args.json {
        say!("{}", serde_json::to_string_pretty(&json!({ "model": value, "plan": memory }))?);
        return Ok(());
    }
    print_text(&loaded.model, args.ops);
    match plan {
        Ok(p) => say!(
            "compiled for {}: {} kernels in {} calls; weights {} KiB, arena {} KiB (lower bound {} KiB), state {} bytes",
            loaded.target.cpu,
            p.kernels.len(),
            p.calls().len(),
            p.weights_bytes >> 10,
            p.arena_bytes >> 10,
            p.arena_lower_bound >> 10,
            p.state_bytes
        ),
        Err(e) => say!("does not compile for {}: {e}", loaded.target.cpu),
    }
    Ok(())
}

fn counts(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for node in &graph.nodes {
        *counts.entry(node.op.name()).or_insert(0) += 1;
    }
    counts
}

fn quant_text(ty: &TensorType) -> String {
    match &ty.quant {
        Quantization::None => String::new(),
        Quantization::Affine(a) if a.scale.len() == 1 => format!(" scale {} zero {}", a.scale[0], a.zero_point[0]),
        Quantization::Affine(a) => format!(" {} scales along axis {}", a.scale.len(), a.axis),
        Quantization::Blockwise { block_size, .. } => format!(" scales for blocks of {block_size}"),
        Quantization::MultiAxis { axes, .. } => format!(" scales along axes {axes:?}"),
        Quantization::Custom(_) => " custom quantisation".to_string(),
    }
}

fn tensor_text(graph: &Graph, t: TensorId) -> String {
    let tensor = graph.tensor(t);
    let open = tensor.signature.as_ref().map(|s| format!(" (declared {s:?})")).unwrap_or_default();
    format!("{} {} {:?}{}{open}", tensor.name, tensor.ty.dtype, tensor.ty.shape, quant_text(&tensor.ty))
}

fn print_text(model: &Model, ops: bool) {
    if !model.description.is_empty() {
        say!("{}", model.description);
    }
    for (i, graph) in model.graphs.iter().enumerate() {
        say!("graph {i} {}", graph.name);
        graph.inputs.iter().for_each(|t| say!("  input  {}", tensor_text(graph, *t)));
        graph.outputs.iter().for_each(|t| say!("  output {}", tensor_text(graph, *t)));
        let constants: usize = graph.tensors.iter().filter_map(|t| t.data.as_ref()).map(|d| d.len()).sum();
        let list: Vec<String> = counts(graph).iter().map(|(n, c)| format!("{c} {n}")).collect();
        say!("  {} operators: {}", graph.nodes.len(), list.join(", "));
        say!("  {} KiB of constants", constants >> 10);
        if ops {
            for (k, node) in graph.nodes.iter().enumerate() {
                let attrs: Vec<String> = node.attrs.iter().map(|(n, v)| format!("{n} = {v:?}")).collect();
                say!("  {k:4} {} {}", node.op, attrs.join(", "));
                node.inputs.iter().flatten().for_each(|t| say!("         <- {}", tensor_text(graph, *t)));
                node.outputs.iter().for_each(|t| say!("         -> {}", tensor_text(graph, *t)));
            }
        }
    }
    for s in &model.signatures {
        let names = |list: &[(String, TensorId)]| list.iter().map(|(n, _)| n.clone()).collect::<Vec<_>>().join(", ");
        say!("signature {:?}: graph {}, inputs {}, outputs {}", s.key, s.graph.0, names(&s.inputs), names(&s.outputs));
    }
    for (name, bytes) in &model.metadata {
        say!("metadata {name}: {} bytes", bytes.len());
    }
}

fn describe(model: &Model, ops: bool) -> Value {
    let tensor = |g: &Graph, t: TensorId| {
        let x = g.tensor(t);
        json!({ "name": x.name, "dtype": x.ty.dtype.name(), "shape": x.ty.shape, "signature": x.signature,
            "quantization": x.ty.quant.affine().map(|a| json!({ "scale": a.scale, "zero_point": a.zero_point, "axis": a.axis })) })
    };
    let graphs: Vec<Value> = model
        .graphs
        .iter()
        .map(|g| {
            let nodes: Vec<Value> = g
                .nodes
                .iter()
                .filter(|_| ops)
                .map(|n| {
                    let attrs: BTreeMap<&str, String> = n.attrs.iter().map(|(k, v)| (k, format!("{v:?}"))).collect();
                    json!({ "op": n.op.name(), "inputs": n.inputs.iter().map(|t| t.map(|t| t.0)).collect::<Vec<_>>(),
                        "outputs": n.outputs.iter().map(|t| t.0).collect::<Vec<_>>(), "attrs": attrs })
                })
                .collect();
            json!({ "name": g.name, "inputs": g.inputs.iter().map(|t| tensor(g, *t)).collect::<Vec<_>>(),
                "outputs": g.outputs.iter().map(|t| tensor(g, *t)).collect::<Vec<_>>(), "operator_counts": counts(g), "operators": nodes })
        })
        .collect();
    let signatures: Vec<Value> = model
        .signatures
        .iter()
        .map(|s| {
            let names = |l: &[(String, TensorId)]| l.iter().map(|(n, t)| json!({ "name": n, "tensor": t.0 })).collect::<Vec<_>>();
            json!({ "key": s.key, "graph": s.graph.0, "inputs": names(&s.inputs), "outputs": names(&s.outputs) })
        })
        .collect();
    json!({ "description": model.description, "graphs": graphs, "signatures": signatures,
        "metadata": model.metadata.iter().map(|(n, b)| json!({ "name": n, "bytes": b.len() })).collect::<Vec<_>>() })
}
