//! `tflc bench`: how fast a model runs, starts, and what it takes.

use crate::cli::args::{CodeArgs, CpuChoice, ModelArgs, SourceArgs};
use crate::cli::{bench_kernels, random};
use crate::driver;
use crate::jit;
use anyhow::{Context, Result};
use clap::Args;
use std::time::{Duration, Instant};

/// Arguments of `tflc bench`.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    #[command(flatten)]
    source: Option<SourceArgs>,
    #[command(flatten)]
    code: CodeArgs,
    /// Threads, this one included.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seconds to measure.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Runs each kernel of the table alone instead of a model, against the peak measured in the same run.
    #[arg(long, conflicts_with = "model")]
    kernels: bool,
    /// With --kernels: only rows with this in their names.
    #[arg(long, default_value = "", requires = "kernels")]
    filter: String,
    /// With --kernels: CPU to compile for, one that this machine can run.
    #[arg(long = "kernel-cpu", default_value = "native", value_parser = crate::cli::args::parse_cpu, requires = "kernels")]
    kernel_cpu: CpuChoice,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What a benchmark of a model found; times in milliseconds.
#[derive(Clone, Debug, serde::Serialize)]
struct Report {
    model: String,
    cpu: String,
    threads: usize,
    runs: usize,
    median_ms: f64,
    min_ms: f64,
    p99_ms: f64,
    /// From reading the file to code and weights in memory.
    compile_ms: f64,
    /// From opening the file to the first output.
    first_result_ms: f64,
    /// The same with code and weights from a cache.
    cached_first_result_ms: f64,
    arena_bytes: usize,
    arena_lower_bound_bytes: usize,
    code_bytes: usize,
    weights_bytes: usize,
    peak_rss_bytes: u64,
}

/// Runs the command.
///
/// # Errors
/// What goes wrong while reading, compiling or running.
pub fn run(args: &BenchArgs) -> Result<()> {
    if args.kernels {
        return bench_kernels::run(args.kernel_cpu, &args.filter, args.seconds, args.json);
    }
    let source = args.source.clone().context("say which model, or --kernels")?;
    let report = measure(&ModelArgs::new(source, args.code.clone()), args.threads, args.seconds)?;
    if args.json {
        say!("{}", serde_json::to_string(&report)?);
    } else {
        say!("{} on {}, {} thread(s), {} runs", report.model, report.cpu, report.threads, report.runs);
        say!("  median {:.3} ms   min {:.3} ms   p99 {:.3} ms", report.median_ms, report.min_ms, report.p99_ms);
        say!("  compiled in {:.1} ms, first result after {:.1} ms", report.compile_ms, report.first_result_ms);
        say!(
            "  arena {} KiB (lower bound {} KiB), weights {} KiB, code {} KiB, peak RSS {} MiB",
            report.arena_bytes >> 10,
            report.arena_lower_bound_bytes >> 10,
            report.weights_bytes >> 10,
            report.code_bytes >> 10,
            report.peak_rss_bytes >> 20
        );
    }
    Ok(())
}

fn measure(args: &ModelArgs, threads: usize, seconds: f64) -> Result<Report> {
    let start = Instant::now();
    let source = driver::load(&args.model).with_context(|| format!("cannot compile {}", args.model.display()))?;
    let options = args.jit_options(threads);
    let cpu = options.target().cpu.to_string();
    let mut model = options.compile(source)?;
    let compile_ms = ms(start.elapsed());
    let inputs = model
        .inputs()
        .iter()
        .enumerate()
        .map(|(i, p)| Ok(random::random(p.ty.dtype, &p.ty.shape, i as u64)?.data))
        .collect::<Result<Vec<_>>>()?;
    let mut outputs: Vec<Vec<u8>> = model.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
    let mut once = |model: &mut jit::Model| -> Result<()> {
        let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
        model.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
        Ok(())
    };
    once(&mut model)?;
    let first_result_ms = ms(start.elapsed());
    for _ in 0..3 {
        once(&mut model)?;
    }
    let mut times = vec![];
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < seconds || times.len() < 5 {
        let t = Instant::now();
        once(&mut model)?;
        times.push(ms(t.elapsed()));
    }
    times.sort_by(f64::total_cmp);
    // Memory counts before starts from a cache, which hold a second copy of everything.
    let peak_rss_bytes = peak_rss_bytes();
    let cached_first_result_ms = cached_start(args, threads, &inputs)?;
    Ok(Report {
        model: args.model.display().to_string(),
        cpu,
        threads,
        runs: times.len(),
        median_ms: times[times.len() / 2],
        min_ms: times[0],
        p99_ms: times[(times.len() * 99 / 100).min(times.len() - 1)],
        compile_ms,
        first_result_ms,
        cached_first_result_ms,
        arena_bytes: model.arena_bytes(),
        arena_lower_bound_bytes: model.program().arena_lower_bound,
        code_bytes: model.code_bytes(),
        weights_bytes: model.weights_bytes(),
        peak_rss_bytes,
    })
}

/// Milliseconds from opening the file to the first output, with code and weights in a cache: the least of five starts.
fn cached_start(args: &ModelArgs, threads: usize, inputs: &[Vec<u8>]) -> Result<f64> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let options = args.jit_options(threads).cache(jit::Cache::new(folder.path()));
    drop(options.load(&args.model)?);
    let inputs: Vec<&[u8]> = inputs.iter().map(Vec::as_slice).collect();
    let mut least = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let mut model = options.load(&args.model)?;
        let mut outputs: Vec<Vec<u8>> = model.outputs().iter().map(|p| vec![0; p.ty.bytes()]).collect();
        model.run(&inputs, &mut outputs.iter_mut().map(Vec::as_mut_slice).collect::<Vec<_>>())?;
        least = least.min(ms(start.elapsed()));
    }
    Ok(least)
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// The most memory this process has had resident; 0 where the system does not say.
fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")).and_then(|kb| kb.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
