//! The `tflc` command.

use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use tflc::cli::{bench, cache, compile, inspect, list, run, stdout, verify};

/// Compiles TensorFlow Lite models to machine code.
#[derive(Parser)]
#[command(name = "tflc", version, about, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Compiles a model and writes what was made of it; `tflc MODEL.tflite …` is short for it.
    Compile(compile::CompileArgs),
    /// Runs a model once.
    Run(run::RunArgs),
    /// Compares a backend with a golden file or the reference evaluator.
    Verify(verify::VerifyArgs),
    /// Measures a model, or single kernels.
    Bench(bench::BenchArgs),
    /// Describes a model.
    Inspect(inspect::InspectArgs),
    /// Lists or clears the cache of compiled code.
    Cache(cache::CacheArgs),
    /// Lists the platforms that can be compiled for, with their CPU levels.
    Targets(list::ListArgs),
    /// Lists the operators with the types they take.
    Ops(list::ListArgs),
}

/// The arguments, with `compile` put in where the first is a model instead of a command.
fn arguments() -> Vec<OsString> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|first| Path::new(first).extension().is_some_and(|e| e == "tflite" || e == "graph")) {
        args.insert(1, "compile".into());
    }
    args
}

fn main() -> ExitCode {
    let result = match Cli::parse_from(arguments()).command {
        Command::Compile(a) => compile::run(&a),
        Command::Run(a) => run::run(&a),
        Command::Verify(a) => verify::run(&a),
        Command::Bench(a) => bench::run(&a),
        Command::Inspect(a) => inspect::run(&a),
        Command::Cache(a) => cache::run(&a),
        Command::Targets(a) => list::targets(&a),
        Command::Ops(a) => list::ops(&a),
    };
    let printed = stdout::finish().map_err(|e| anyhow::Error::new(e).context("cannot write to standard output"));
    match result.and(printed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e:#}");
            ExitCode::FAILURE
        }
    }
}
