//! `tflc verify`: compares a backend with a golden file or with the reference evaluator, by outputs or operator by operator.

use crate::cli::HostTensor;
use crate::cli::args::{InputArgs, Loaded, ModelArgs, port_names};
use crate::cli::npz::Npz;
use crate::cli::per_op::{self, Kept};
use crate::cli::run::{Backend, compute};
use crate::ir::DType;
use anyhow::{Context, Result, bail};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `tflc verify`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    inputs: InputArgs,
    /// Arrays in/NAME and out/NAME to compare with; without it, the reference evaluator computes what to expect.
    #[arg(long, value_name = "FILE.npz")]
    golden: Option<PathBuf>,
    /// What is verified.
    #[arg(long, value_enum, default_value = "jit")]
    backend: Backend,
    /// Threads, this one included.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Largest error of floats, relative to the largest magnitude.
    #[arg(long, default_value_t = 5e-4)]
    tolerance: f64,
    /// Largest error of 8 and 16 bit integers, in units of the last place.
    #[arg(long, default_value_t = 1)]
    lsb: u64,
    /// Compares every tensor with the evaluator's and names the first operator that departs: each operator compiled on its own (`unfused`), or
    /// what is left after fusion (`fused`).
    #[arg(long, value_enum, value_name = "KEPT", num_args = 0..=1, default_missing_value = "unfused", conflicts_with = "golden")]
    per_op: Option<Kept>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// How far two tensors are apart.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
pub struct Distance {
    /// Largest absolute difference.
    pub max_abs: f64,
    /// Largest absolute difference over the largest magnitude expected.
    pub max_rel: f64,
    /// Largest distance in units of the last place: of f32, or of the integer.
    pub max_ulp: u64,
    /// Cosine of the angle between both.
    pub cosine: f64,
    /// Elements that differ at all.
    pub differing: usize,
    /// Elements.
    pub elements: usize,
    /// Whether NaN and infinities stand in the same places.
    pub same_special: bool,
}

/// Compares two tensors of one type and shape.
///
/// # Errors
/// Where their types or shapes differ, or have no real values.
pub fn distance(got: &HostTensor, want: &HostTensor) -> Result<Distance> {
    if got.dtype != want.dtype || got.shape != want.shape {
        bail!("{} {:?} where {} {:?} is expected", got.dtype, got.shape, want.dtype, want.shape);
    }
    if got.dtype == DType::Complex64 {
        return distance(&got.parts()?, &want.parts()?);
    }
    let (a, b) = (got.to_f64(None)?, want.to_f64(None)?);
    let mut d = Distance { elements: a.len(), cosine: 1.0, same_special: true, ..Distance::default() };
    let (mut dot, mut aa, mut bb, mut most) = (0.0, 0.0, 0.0, 0.0f64);
    for (&x, &y) in a.iter().zip(&b) {
        if !x.is_finite() || !y.is_finite() {
            let same = x == y || (x.is_nan() && y.is_nan());
            d.same_special &= same;
            d.differing += usize::from(!same);
            continue;
        }
        d.differing += usize::from(x != y);
        d.max_abs = d.max_abs.max((x - y).abs());
        d.max_ulp = d.max_ulp.max(if want.dtype == DType::Float32 { ulps(x as f32, y as f32) } else { (x - y).abs() as u64 });
        most = most.max(y.abs());
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    d.max_rel = d.max_abs / most.max(1e-6);
    if aa > 0.0 && bb > 0.0 {
        d.cosine = dot / (aa.sqrt() * bb.sqrt());
    }
    Ok(d)
}

/// Floats between two floats.
fn ulps(a: f32, b: f32) -> u64 {
    let order = |v: f32| {
        let bits = i64::from(v.to_bits() as i32);
        if bits < 0 { i64::from(i32::MIN) - bits } else { bits }
    };
    order(a).abs_diff(order(b))
}

impl VerifyArgs {
    fn within(&self, d: &Distance, dtype: DType) -> bool {
        let fraction = d.differing as f64 / d.elements.max(1) as f64;
        d.same_special
            && match dtype {
                DType::Int8 | DType::UInt8 | DType::Int16 | DType::UInt16 => d.max_ulp <= self.lsb,
                t if t.is_float() => d.max_rel <= self.tolerance,
                _ => fraction <= 1e-3,
            }
    }
}

/// Runs the command.
///
/// # Errors
/// Where something cannot be read or run, or an output is too far off.
pub fn run(args: &VerifyArgs) -> Result<()> {
    let loaded = args.model.load()?;
    let names = port_names(&loaded.outputs());
    let mut inputs = args.inputs.clone();
    if let (Some(golden), None) = (&args.golden, &inputs.inputs) {
        inputs.inputs = Some(golden.clone());
    }
    let values = inputs.read(&loaded)?;
    if let Some(kept) = args.per_op {
        return run_per_op(args, kept, loaded, &values);
    }
    let expected = match &args.golden {
        Some(path) => {
            let mut npz = Npz::open(path)?;
            names.iter().map(|n| npz.read(&format!("out/{n}"))).collect::<Result<Vec<_>>>()?
        }
        None => compute(args.model.load()?, &args.model, Backend::Eval, 1, &values).context("the reference evaluator")?,
    };
    let got = compute(loaded, &args.model, args.backend, args.threads, &values)?;
    let mut failed = vec![];
    let mut report = vec![];
    for ((name, got), want) in names.iter().zip(&got).zip(&expected) {
        let d = distance(got, want).with_context(|| format!("output {name}"))?;
        let ok = args.within(&d, want.dtype);
        if !ok {
            failed.push(name.clone());
        }
        if args.json {
            report.push(serde_json::json!({ "name": name, "ok": ok, "distance": d }));
        } else {
            say!("{}", line(name, ok, &d, want.dtype));
        }
    }
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report)?);
    }
    if !failed.is_empty() {
        bail!("{} past the tolerance", failed.join(", "));
    }
    Ok(())
}

/// One line of the report.
fn line(name: &str, ok: bool, d: &Distance, dtype: DType) -> String {
    format!(
        "{} {name}: max-abs {:.3e}, max-rel {:.3e}, max-{} {}, cosine {:.9}, {} of {} elements differ",
        if ok { "ok  " } else { "FAIL" },
        d.max_abs,
        d.max_rel,
        if dtype.is_float() { "ulp" } else { "lsb" },
        d.max_ulp,
        d.cosine,
        d.differing,
        d.elements
    )
}

/// Compares tensor by tensor; the first one past the tolerance is the error.
fn run_per_op(args: &VerifyArgs, kept: Kept, loaded: Loaded, values: &[HostTensor]) -> Result<()> {
    let compared = per_op::compare(loaded, &args.model, args.threads, kept, values, &|d, dtype| args.within(d, dtype))?;
    if args.json {
        say!("{}", serde_json::to_string_pretty(&compared)?);
    } else {
        for c in &compared {
            say!("{}", line(&format!("{} {} {:?}", c.operator, c.kind, c.tensor), c.ok, &c.distance, c.dtype));
        }
        let how = if kept == Kept::Fused { "after fusion" } else { "unfused" };
        say!("{} tensors compared, {how}", compared.len());
    }
    match compared.iter().find(|c| !c.ok) {
        Some(c) => bail!("operator {} ({}) departs first, at tensor {:?}", c.operator, c.kind, c.tensor),
        None => Ok(()),
    }
}
