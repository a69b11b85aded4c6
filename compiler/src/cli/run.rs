//! `tflc run`: compiles a model, runs it once, and writes or prints the outputs.

use crate::cli::args::{InputArgs, Loaded, ModelArgs, port_names, quantization};
use crate::cli::{HostTensor, bars, cache, labels, npz};
use crate::ops::{Evaluator, Value};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// What computes the outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Backend {
    /// Machine code made for this model and processor.
    Jit,
    /// The reference evaluator.
    Eval,
}

/// Arguments of `tflc run`.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// Writes arrays out/NAME to an .npz file.
    #[arg(long, value_name = "FILE.npz")]
    output: Option<PathBuf>,
    /// What computes the outputs.
    #[arg(long, value_enum, default_value = "jit")]
    backend: Backend,
    /// Threads, this one included.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Class names, one a line; prints the top classes. Without a file, those attached to the model.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "")]
    labels: Option<PathBuf>,
    /// Number of classes to print.
    #[arg(long, default_value_t = 5)]
    top: usize,
}

/// Runs the command.
///
/// # Errors
/// What goes wrong while reading, compiling, running or writing.
pub fn run(args: &RunArgs) -> Result<()> {
    let loaded = args.model.load()?;
    let values = args.inputs.read(&loaded)?;
    let ports = loaded.outputs();
    let names = port_names(&ports);
    let label_file = args.labels.clone();
    let outputs = compute(loaded, &args.model, args.backend, args.threads, &values)?;
    if let Some(path) = &args.output {
        let arrays: Vec<String> = names.iter().map(|n| format!("out/{n}")).collect();
        npz::write(path, arrays.iter().map(String::as_str).zip(&outputs))?;
    }
    if let Some(file) = label_file {
        let classes = if file.as_os_str().is_empty() {
            let bytes = std::fs::read(&args.model.model)?;
            labels::attached(&bytes).context("the model has no labels attached; give a file: --labels FILE")?
        } else {
            labels::load(&file)?
        };
        let scores = outputs[0].to_f64(quantization(&ports[0]))?;
        bars::write(&mut std::io::stdout().lock(), &scores, &classes, args.top, bars::Style::of_stdout())?;
    } else if args.output.is_none() {
        for ((name, port), value) in names.iter().zip(&ports).zip(&outputs) {
            say!("{name}: {} {:?}{}", value.dtype, value.shape, summary(value, quantization(port)));
        }
    }
    Ok(())
}

/// Runs a loaded model on some backend.
///
/// # Errors
/// What goes wrong while compiling or running.
pub fn compute(loaded: Loaded, model: &ModelArgs, backend: Backend, threads: usize, values: &[HostTensor]) -> Result<Vec<HostTensor>> {
    match backend {
        Backend::Jit => {
            let ports = loaded.outputs();
            // Shapes and signature were applied on loading; only CPU and threads are left.
            let mut compiled = match cache::user_cache() {
                Some(cache) => model.jit_options(threads).cache(cache).load(&model.model)?,
                None => model.jit_options(threads).compile(loaded.model)?,
            };
            if let Some(problem) = compiled.cache_problem() {
                eprintln!("warning: the cache cannot be written: {problem}");
            }
            let inputs: Vec<&[u8]> = values.iter().map(|v| v.data.as_slice()).collect();
            let mut outputs: Vec<Vec<u8>> = compiled.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
            compiled.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
            let shaped = |(i, (mut data, p)): (usize, (Vec<u8>, &crate::lower::program::Port))| {
                // Where the size is known only at run time, the buffer has room for the bound.
                let shape = compiled.output_shape(i);
                data.truncate(p.ty.dtype.bytes(shape.iter().product()).unwrap_or(data.len()));
                HostTensor::new(p.ty.dtype, &shape, data)
            };
            outputs.into_iter().zip(&ports).enumerate().map(shaped).collect()
        }
        Backend::Eval => {
            let inputs = to_values(&loaded, values)?;
            let outputs = Evaluator::new(&loaded.model).run_graph(loaded.entry, &inputs)?;
            outputs.into_iter().map(|v| HostTensor::new(v.ty.dtype, &v.ty.shape, v.bytes().to_vec())).collect()
        }
    }
}

/// Host tensors as values of the evaluator.
pub(super) fn to_values(loaded: &Loaded, values: &[HostTensor]) -> Result<Vec<Value>> {
    loaded
        .inputs()
        .into_iter()
        .zip(values)
        .map(|(port, v)| Value::from_bytes(port.ty, v.data.clone().into()).context("an input of another size"))
        .collect()
}

/// The first elements and the range of a tensor.
fn summary(value: &HostTensor, quant: Option<(f32, i64)>) -> String {
    let Ok(real) = value.to_f64(quant) else { return String::new() };
    let shown: Vec<String> = real.iter().take(6).map(|v| format!("{v:.5}")).collect();
    let more = if real.len() > 6 { ", …" } else { "" };
    let (low, high) = real.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (l.min(v), h.max(v)));
    format!(" [{}{more}] from {low:.5} to {high:.5}", shown.join(", "))
}
