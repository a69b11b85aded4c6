//! What the subcommands share: the model, its shapes, the target, and inputs by name.

use crate::cli::image::{self, Wanted};
use crate::cli::npz::Npz;
use crate::cli::{HostTensor, npy, random};
use crate::driver;
use crate::ir::{DType, GraphId, Model, Quantization};
use crate::jit::{self, Options, entry_graph, named_shapes};
use crate::lower::program::Port;
use crate::ops::packed::byte_type;
use crate::target::{Cpu, Precision, Target};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

/// The model, and which of its graphs with which shapes.
#[derive(Args, Clone, Debug)]
pub struct SourceArgs {
    /// The model: a .tflite file, or a .graph file that `--emit graph` wrote.
    pub model: PathBuf,
    /// Shape of an input, as NAME=1x224x224x3; may be repeated.
    #[arg(long = "shape", value_name = "NAME=DIMS", value_parser = parse_shape)]
    pub shapes: Vec<(String, Vec<usize>)>,
    /// Largest shape of a tensor whose size is known only at run time and which nothing in the model bounds, as NAME=1x100x4; may be repeated.
    #[arg(long = "bound", value_name = "NAME=DIMS", value_parser = parse_shape)]
    pub bounds: Vec<(String, Vec<usize>)>,
    /// Signature to use instead of the primary graph.
    #[arg(long, value_name = "KEY")]
    pub signature: Option<String>,
    /// Iterations after which a WHILE ends the run with an error; without it, one without end never returns.
    #[arg(long, value_name = "N")]
    pub loop_limit: Option<u64>,
}

/// The model and what it is compiled for.
#[derive(Args, Clone, Debug)]
pub struct ModelArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    code: CodeArgs,
}

/// What code is made.
#[derive(Args, Clone, Debug)]
pub struct CodeArgs {
    /// CPU to compile for: native, or a name that `tflc targets` lists.
    #[arg(long, default_value = "native", value_name = "CPU", value_parser = parse_cpu)]
    cpu: CpuChoice,
    /// Arithmetic of convolutions and matrix products of floats: f32, or f16 where the processor has it.
    #[arg(long, default_value = "f32", value_name = "PRECISION", value_parser = Precision::parse)]
    precision: Precision,
    /// Names generated functions to `perf`, in /tmp/perf-PID.map.
    #[arg(long)]
    perf_map: bool,
}

/// A CPU by name, or the one this runs on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CpuChoice {
    /// This machine's.
    Native,
    /// A named one.
    Named(Cpu),
}

/// The CPU with a name.
///
/// # Errors
/// A message with the names that are known.
pub fn parse_cpu(text: &str) -> Result<CpuChoice, String> {
    if text == "native" {
        return Ok(CpuChoice::Native);
    }
    Target::parse_cpu(text).map(CpuChoice::Named).ok_or_else(|| {
        let known: Vec<&str> = Target::CPU_NAMES.iter().map(|(n, ..)| *n).collect();
        format!("unknown CPU; known are native, {}", known.join(", "))
    })
}

fn parse_shape(text: &str) -> Result<(String, Vec<usize>), String> {
    let (name, dims) = text.rsplit_once('=').ok_or("expected NAME=DIMS, such as image=1x224x224x3")?;
    let dims = dims.split(['x', ',']).map(str::parse::<usize>).collect::<Result<Vec<_>, _>>();
    let dims = dims.map_err(|_| "dimensions are whole numbers with x between them, such as 1x224x224x3")?;
    Ok((name.to_string(), dims))
}

/// A model that has been read, with its entry and target.
pub struct Loaded {
    /// The imported model, resized but not optimised.
    pub model: Model,
    /// The graph to run.
    pub entry: GraphId,
    /// What to compile for.
    pub target: Target,
}

impl SourceArgs {
    /// Reads the model, with shapes set and nothing optimised.
    ///
    /// # Errors
    /// Where it cannot be read, or shapes or signature do not fit it.
    pub fn load(&self) -> Result<(Model, GraphId)> {
        // Said without the words that blame a model.
        File::open(&self.model).with_context(|| format!("cannot read {}", self.model.display()))?;
        let mut model = driver::load(&self.model).with_context(|| format!("cannot compile {}", self.model.display()))?;
        let entry = entry_graph(&model, self.signature.as_deref())?;
        driver::bound(&mut model, &self.bounds).context("the model does not take these bounds")?;
        let shapes = named_shapes(&model, entry, &self.shapes)?;
        if !shapes.is_empty() {
            driver::resize(&mut model, entry, &shapes).context("the model does not take these shapes")?;
        }
        Ok((model, entry))
    }
}

impl std::ops::Deref for ModelArgs {
    type Target = SourceArgs;

    fn deref(&self) -> &SourceArgs {
        &self.source
    }
}

impl ModelArgs {
    /// A model for code of its own: commands whose model may be absent take the two apart.
    pub fn new(source: SourceArgs, code: CodeArgs) -> ModelArgs {
        ModelArgs { source, code }
    }

    /// Reads the model.
    ///
    /// # Errors
    /// As [`SourceArgs::load`].
    pub fn load(&self) -> Result<Loaded> {
        let (model, entry) = self.source.load()?;
        Ok(Loaded { model, entry, target: self.target() })
    }

    /// The target.
    pub fn target(&self) -> Target {
        let target = match self.code.cpu {
            CpuChoice::Native => jit::host_target(),
            CpuChoice::Named(cpu) => Target::on(cpu, jit::host_target().os),
        };
        Target { precision: self.code.precision, ..target }
    }

    /// Options of the JIT that say the same.
    pub fn jit_options(&self, threads: usize) -> Options {
        let mut options = Options::new().threads(threads).perf_map(self.code.perf_map).precision(self.code.precision);
        if let CpuChoice::Named(cpu) = self.code.cpu {
            options = options.cpu(cpu);
        }
        if let Some(key) = &self.signature {
            options = options.signature(key);
        }
        for (name, shape) in &self.shapes {
            options = options.shape(name, shape);
        }
        for (name, shape) in &self.bounds {
            options = options.bound(name, shape);
        }
        if let Some(iterations) = self.loop_limit {
            options = options.loop_limit(iterations);
        }
        options
    }
}

impl Loaded {
    /// Inputs of the graph.
    pub fn inputs(&self) -> Vec<Port> {
        self.ports(&self.model.graphs[self.entry.index()].inputs)
    }

    /// Outputs of the graph.
    pub fn outputs(&self) -> Vec<Port> {
        self.ports(&self.model.graphs[self.entry.index()].outputs)
    }

    /// Other names of inputs: those of signatures on the same graph, with the input's position.
    pub fn input_aliases(&self) -> Vec<(String, usize)> {
        let graph = &self.model.graphs[self.entry.index()];
        let signatures = self.model.signatures.iter().filter(|s| s.graph == self.entry);
        let position = |t| graph.inputs.iter().position(|u| *u == t);
        signatures.flat_map(|s| &s.inputs).filter_map(|(n, t)| Some((n.clone(), position(*t)?))).collect()
    }

    fn ports(&self, list: &[crate::ir::TensorId]) -> Vec<Port> {
        let graph = &self.model.graphs[self.entry.index()];
        list.iter()
            .map(|t| graph.tensor(*t))
            .map(|t| Port { name: t.name.clone(), ty: t.ty.clone(), signature: t.signature.clone() })
            .collect()
    }
}

/// Names by which files know some ports: tensor names; where a name was used before, `#` and the port's tensor would tell them apart,
/// so later ones get `#` and their position.
pub fn port_names(ports: &[Port]) -> Vec<String> {
    let mut names: Vec<String> = vec![];
    for (i, p) in ports.iter().enumerate() {
        let name = if names.contains(&p.name) { format!("{}#{i}", p.name) } else { p.name.clone() };
        names.push(name);
    }
    names
}

/// Where inputs come from.
#[derive(Args, Clone, Debug, Default)]
pub struct InputArgs {
    /// Arrays in/NAME of an .npz file.
    #[arg(long, value_name = "FILE.npz")]
    pub inputs: Option<PathBuf>,
    /// One input: NAME=FILE with an .npy array, a .png or .jpg image, or raw bytes (.bin); FILE alone where there is one input.
    #[arg(long = "input", value_name = "[NAME=]FILE")]
    pub input: Vec<String>,
    /// Seed of the random values for inputs that are not given.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Values of black and white that an image is mapped to, where the input is a float: LOW,HIGH.
    #[arg(long, default_value = "0,1", value_name = "LOW,HIGH", value_parser = parse_range, allow_hyphen_values = true)]
    pub range: (f32, f32),
}

fn parse_range(text: &str) -> Result<(f32, f32), String> {
    let parts: Vec<f32> = text.split(',').filter_map(|p| p.trim().parse().ok()).collect();
    match parts[..] {
        [low, high] => Ok((low, high)),
        _ => Err("expected two numbers with a comma between them, such as -1,1".to_string()),
    }
}

impl InputArgs {
    /// The value of each input, in order.
    ///
    /// # Errors
    /// Where a file cannot be read, a name is unknown, or a type or shape does not fit.
    pub fn read(&self, loaded: &Loaded) -> Result<Vec<HostTensor>> {
        let (ports, aliases) = (&loaded.inputs()[..], loaded.input_aliases());
        let names = port_names(ports);
        let mut values: Vec<Option<HostTensor>> = vec![None; ports.len()];
        if let Some(path) = &self.inputs {
            self.read_npz(path, ports, &names, &aliases, &mut values)?;
        }
        for text in &self.input {
            let (name, path) = match text.split_once('=') {
                Some((name, path)) => (name, path),
                None if ports.len() == 1 => (names[0].as_str(), text.as_str()),
                None => bail!("--input {text}: say which input, as NAME=FILE; the model has {}", names.join(", ")),
            };
            let i = find(&names, &aliases, name)?;
            values[i] = Some(self.read_file(Path::new(path), &ports[i])?);
        }
        values
            .into_iter()
            .zip(ports)
            .zip(&names)
            .enumerate()
            .map(|(i, ((v, port), name))| match v {
                Some(v) => fitted(v, port).with_context(|| format!("input {name}")),
                None => random::random(port.ty.dtype, &port.ty.shape, self.seed + i as u64),
            })
            .collect()
    }

    fn read_npz(
        &self,
        path: &Path,
        ports: &[Port],
        names: &[String],
        aliases: &[(String, usize)],
        values: &mut [Option<HostTensor>],
    ) -> Result<()> {
        let mut npz = Npz::open(path)?;
        let arrays: Vec<String> = npz.names().map(str::to_string).filter(|n| n.starts_with("in/")).collect();
        for array in &arrays {
            let name = &array["in/".len()..];
            // Arrays of duplicate names carry the tensor's index, which only order can match.
            let i = match names.iter().position(|n| n == name) {
                Some(i) => i,
                None if arrays.len() == ports.len() && name.contains('#') => arrays.iter().position(|a| a == array).unwrap_or(0),
                None => find(names, aliases, name).with_context(|| format!("array {array} of {}", path.display()))?,
            };
            values[i] = Some(npz.read(array)?);
        }
        let missing: Vec<&str> = values.iter().zip(names).filter(|(v, _)| v.is_none()).map(|(_, n)| n.as_str()).collect();
        if !missing.is_empty() && self.input.is_empty() {
            bail!("{} has no array for {}; arrays are named in/NAME", path.display(), missing.join(", "));
        }
        Ok(())
    }

    fn read_file(&self, path: &Path, port: &Port) -> Result<HostTensor> {
        if image::is_image(path) {
            let quantization = if port.ty.dtype.is_float() { None } else { port.ty.quant.per_tensor() };
            return image::load(path, &Wanted { dtype: port.ty.dtype, shape: &port.ty.shape, quantization, range: self.range });
        }
        let context = || format!("cannot read {}", path.display());
        if path.extension().is_some_and(|e| e == "bin") {
            let data = std::fs::read(path).with_context(context)?;
            return HostTensor::new(port.ty.dtype, &port.ty.shape, data).with_context(context);
        }
        npy::read(&mut BufReader::new(File::open(path).with_context(context)?)).with_context(context)
    }
}

fn find(names: &[String], aliases: &[(String, usize)], name: &str) -> Result<usize> {
    let position = names.iter().position(|n| n == name).or_else(|| aliases.iter().find(|(n, _)| n == name).map(|(_, i)| *i));
    let known = || names.iter().chain(aliases.iter().map(|(n, _)| n)).map(String::as_str).collect::<Vec<_>>().join(", ");
    position.with_context(|| format!("there is no input {name:?}; the model has {}", known()))
}

/// A value that has the port's type and shape, or differs from it only by dimensions of size 1.
fn fitted(v: HostTensor, port: &Port) -> Result<HostTensor> {
    let packed = byte_type(port.ty.dtype);
    ensure!(v.dtype == packed.unwrap_or(port.ty.dtype), "{} given; the model takes {} {:?}", v.dtype, port.ty.dtype, port.ty.shape);
    let squeezed = |s: &[usize]| s.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    ensure!(
        squeezed(&v.shape) == squeezed(&port.ty.shape),
        "shape {:?} given; the model takes {:?} (use --shape to compile for another one)",
        v.shape,
        port.ty.shape
    );
    let v = HostTensor::new(v.dtype, &port.ty.shape, v.data)?;
    if packed.is_some() { v.packed(port.ty.dtype) } else { Ok(v) }
}

/// Quantisation of a port for display: scale and zero point.
pub fn quantization(port: &Port) -> Option<(f32, i64)> {
    match (&port.ty.quant, port.ty.dtype) {
        (Quantization::Affine(_), DType::Int8 | DType::UInt8 | DType::Int16) => port.ty.quant.per_tensor(),
        _ => None,
    }
}
