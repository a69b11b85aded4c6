//! Models compiled in memory: code and weights shared, an arena and a state for each instance.

use super::buffer::Buffer;
use super::cache::{self, Cache, Key};
use super::custom::{Bound, CustomOperator, Customs};
use super::memory::CodeMemory;
use super::source::{self, Source};
use super::{host_target, runs_here};
use crate::driver;
use crate::error::CompileError;
use crate::ir::{self, GraphId, TensorId};
use crate::lower::program::{Port, Program};
use crate::target::{Cpu, Target};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::ptr;
use std::sync::Arc;
use tflc_runtime::pool::Pool;
use tflc_runtime::{Invoke, Status};

/// Why a model in memory could not be made or run.
#[derive(Debug, thiserror::Error)]
pub enum JitError {
    /// The model could not be compiled.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The system refused memory or a thread.
    #[error("the system refused memory or a thread: {0}")]
    System(#[from] std::io::Error),
    /// There is no such signature.
    #[error("there is no signature {wanted:?}; the model has {known:?}")]
    Signature {
        /// The name asked for.
        wanted: String,
        /// Those of the model.
        known: Vec<String>,
    },
    /// There is no such input.
    #[error("there is no input {wanted:?}; the model has {known:?}")]
    Input {
        /// The name asked for.
        wanted: String,
        /// Those of the model.
        known: Vec<String>,
    },
    /// The caller's buffers are not as many as the model's inputs or outputs.
    #[error("{given} {what}s given; the model has {expected}")]
    Count {
        /// `input` or `output`.
        what: &'static str,
        /// Buffers given.
        given: usize,
        /// Buffers needed.
        expected: usize,
    },
    /// A buffer has the wrong size.
    #[error("{what} {index} ({name:?}) has {given} bytes; its type {dtype} {shape:?} takes {expected}")]
    Size {
        /// `input` or `output`.
        what: &'static str,
        /// Position.
        index: usize,
        /// Name.
        name: String,
        /// Bytes given.
        given: usize,
        /// Bytes needed.
        expected: usize,
        /// Element type.
        dtype: ir::DType,
        /// Shape.
        shape: Vec<usize>,
    },
    /// The run ended with a status.
    #[error("run: {0}")]
    Run(#[from] Status),
    /// A custom operator of the caller's failed.
    #[error("run: the custom operator {name}: {reason}")]
    Custom {
        /// Name.
        name: String,
        /// What it said.
        reason: String,
    },
}

/// How to compile a model in memory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    threads: usize,
    cpu: Option<Cpu>,
    signature: Option<String>,
    also: Vec<String>,
    shapes: Vec<(String, Vec<usize>)>,
    perf_map: bool,
    loop_limit: Option<u64>,
    cache: Option<Cache>,
    customs: Customs,
}

impl Options {
    /// One thread, this processor, the primary graph, shapes as in the model.
    pub fn new() -> Options {
        Options::default()
    }

    /// Number of threads that a run uses, the caller's included; 0 and 1 mean the caller's alone.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Options {
        self.threads = threads;
        self
    }

    /// Compiles for a CPU level other than this processor's best.
    #[must_use]
    pub fn cpu(mut self, cpu: Cpu) -> Options {
        self.cpu = Some(cpu);
        self
    }

    /// Compiles the signature with this key instead of the primary graph.
    #[must_use]
    pub fn signature(mut self, key: impl Into<String>) -> Options {
        self.signature = Some(key.into());
        self
    }

    /// Compiles this signature too: [`Model::run_signature`] runs it with the same weights and state.
    #[must_use]
    pub fn and_signature(mut self, key: impl Into<String>) -> Options {
        self.also.push(key.into());
        self
    }

    /// Registers the function of a custom operator by the name that the model file has; a later one of the same name replaces it.
    #[must_use]
    pub fn custom(mut self, name: impl Into<String>, operator: impl CustomOperator + 'static) -> Options {
        self.customs.0.insert(name.into(), Arc::new(operator));
        self
    }

    /// Compiles for another shape of an input.
    #[must_use]
    pub fn shape(mut self, input: impl Into<String>, shape: &[usize]) -> Options {
        self.shapes.push((input.into(), shape.to_vec()));
        self
    }

    /// Names the generated functions to profilers: appends them to `/tmp/perf-PID.map`, where `perf` looks.
    #[must_use]
    pub fn perf_map(mut self, on: bool) -> Options {
        self.perf_map = on;
        self
    }

    /// Ends a run with [`Status::IterationLimit`] where a WHILE runs for more iterations; without a limit, one without end never returns.
    #[must_use]
    pub fn loop_limit(mut self, iterations: u64) -> Options {
        self.loop_limit = Some(iterations);
        self
    }

    /// Keeps compiled code in a cache on disk, for [`Options::load`].
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Options {
        self.cache = Some(cache);
        self
    }

    /// Everything that decides what code a model becomes.
    fn describe(&self) -> String {
        format!("{} {:?} {:?} {:?} {:?}", self.target().cpu, self.signature, self.also, self.shapes, self.loop_limit)
    }

    /// The target that these options ask for.
    pub fn target(&self) -> Target {
        self.cpu.map_or_else(host_target, |cpu| Target::on(cpu, host_target().os))
    }

    /// Opens and compiles a model file.
    ///
    /// # Errors
    /// Where the file is no model, the model cannot be compiled, or the system refuses memory.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Model, JitError> {
        let path = path.as_ref();
        // Names for a profiler, and the caller's own functions, are not in the cache: such code is made anew.
        let Some(cache) = self.cache.as_ref().filter(|_| !self.perf_map && self.customs.0.is_empty()) else {
            return self.compile(driver::load(path)?);
        };
        // The front end says what is wrong with a file that cannot be read.
        let Some(key) = source::bytes(path).map(|bytes| Key::new(&bytes, &self.describe())) else {
            return self.compile(driver::load(path)?);
        };
        if runs_here(&self.target())
            && let Some(entry) = cache.load(&key)
        {
            let code = Code::from_cache(entry)?;
            return Model::instantiate(Arc::new(Source::file(path)), Arc::new(code), self.pool()?, self.clone());
        }
        let source = driver::load(path)?;
        let code = Code::new(&source, self)?;
        let content =
            cache::Content { program: &code.program, code: code.memory.bytes(), invoke: code.invoke, weights: code.weights.bytes() };
        let problem = cache.store(&key, &content).err().map(|e| format!("{}: {e}", cache.folder().display()));
        let mut model = Model::instantiate(Arc::new(Source::model(source)), Arc::new(code), self.pool()?, self.clone())?;
        model.cache_problem = problem;
        Ok(model)
    }

    fn pool(&self) -> Result<Option<Arc<Pool>>, JitError> {
        Ok(if self.threads > 1 { Some(Arc::from(Pool::new(self.threads)?)) } else { None })
    }

    /// Compiles an imported model.
    ///
    /// # Errors
    /// As [`Options::load`].
    pub fn compile(&self, source: ir::Model) -> Result<Model, JitError> {
        let code = Arc::new(Code::new(&source, self)?);
        Model::instantiate(Arc::new(Source::model(source)), code, self.pool()?, self.clone())
    }
}

/// The graph that a signature (or none) names.
pub fn entry_graph(model: &ir::Model, signature: Option<&str>) -> Result<GraphId, JitError> {
    match signature {
        None => Ok(GraphId(0)),
        Some(key) => model.signatures.iter().find(|s| s.key == key).map(|s| s.graph).ok_or_else(|| JitError::Signature {
            wanted: key.to_string(),
            known: model.signatures.iter().map(|s| s.key.clone()).collect(),
        }),
    }
}

/// The inputs that `shapes` name, by tensor name or signature name, with their shapes.
pub fn named_shapes(model: &ir::Model, entry: GraphId, shapes: &[(String, Vec<usize>)]) -> Result<Vec<(TensorId, Vec<usize>)>, JitError> {
    let graph = &model.graphs[entry.index()];
    let by_signature =
        |name: &str| model.signatures.iter().filter(|s| s.graph == entry).flat_map(|s| &s.inputs).find(|(n, _)| n == name).map(|(_, t)| *t);
    shapes
        .iter()
        .map(|(name, shape)| {
            let by_tensor = graph.inputs.iter().copied().find(|t| graph.tensor(*t).name == *name);
            match by_tensor.or_else(|| by_signature(name)) {
                Some(t) => Ok((t, shape.clone())),
                None => Err(JitError::Input {
                    wanted: name.clone(),
                    known: graph.inputs.iter().map(|t| graph.tensor(*t).name.clone()).collect(),
                }),
            }
        })
        .collect()
}

/// Code and weights, shared by all instances.
struct Code {
    program: Program,
    memory: CodeMemory,
    code_bytes: usize,
    invoke: usize,
    /// Offsets of the further entry points, in their order.
    others: Vec<usize>,
    weights: Weights,
    /// Custom operators that the code calls; the weights point to them.
    customs: HashMap<ir::Location, Box<Bound>>,
    cached: bool,
}

/// Packed weights.
enum Weights {
    /// Packed here.
    Packed(Buffer),
    /// In a mapped entry of a cache.
    Cached(cache::Loaded),
}

impl Weights {
    fn bytes(&self) -> &[u8] {
        match self {
            Weights::Packed(buffer) => buffer.bytes(),
            Weights::Cached(entry) => entry.weights(),
        }
    }
}

impl Code {
    fn from_cache(mut entry: cache::Loaded) -> Result<Code, JitError> {
        let memory = CodeMemory::new(entry.code())?;
        let program = std::mem::take(&mut entry.program);
        let (code_bytes, invoke) = (entry.code().len(), entry.invoke);
        Ok(Code {
            program,
            memory,
            code_bytes,
            invoke,
            others: vec![],
            weights: Weights::Cached(entry),
            customs: HashMap::new(),
            cached: true,
        })
    }

    fn new(source: &ir::Model, options: &Options) -> Result<Code, JitError> {
        let target = options.target();
        if !runs_here(&target) {
            let reason = format!("this machine cannot run code for {}; it is {}", target.cpu, host_target().cpu);
            return Err(CompileError::Target(reason).into());
        }
        let entry = entry_graph(source, options.signature.as_deref())?;
        let mut model = source.clone();
        let shapes = named_shapes(&model, entry, &options.shapes)?;
        if !shapes.is_empty() {
            driver::resize(&mut model, entry, &shapes)?;
        }
        options.customs.apply(&mut model)?;
        let mut others = vec![];
        for key in &options.also {
            others.push((key.clone(), entry_graph(source, Some(key))?));
        }
        let entries: Vec<GraphId> = std::iter::once(entry).chain(others.iter().map(|o| o.1)).collect();
        driver::optimize_entries(&mut model, &entries, &target, &mut |_, _| {})?;
        let mut program = crate::lower::lower_entries(&model, entry, &others, &target)?;
        if let Some(most) = options.loop_limit {
            program.limit_loops(most);
        }
        let customs = options.customs.bind(&model, &program)?;
        drop(model);
        let mut weights = Buffer::zeroed(program.weights_bytes)?;
        // Packing weights and generating code are independent.
        let (image, ()) = rayon::join(
            || crate::backend::compile_program(&program, &target).map_err(|e| CompileError::Internal(e.to_string())),
            || program.write_weights(weights.bytes_mut()),
        );
        for external in program.externals() {
            let at = external.function.offset as usize;
            if let (Some(bound), Some(words)) = (customs.get(&external.location), weights.bytes_mut().get_mut(at..at + 16)) {
                words.copy_from_slice(&bound.words());
            }
        }
        let image = image?;
        let offset = |name: &str| image.offset_of(name).ok_or_else(|| CompileError::Internal(format!("no entry point {name}")));
        let invoke = offset(crate::backend::ENTRY)?;
        let others = others.iter().map(|(key, _)| offset(&crate::backend::entry_name(key))).collect::<Result<_, _>>()?;
        let memory = CodeMemory::new(&image.bytes)?;
        if options.perf_map {
            write_perf_map(&memory, &image)?;
        }
        Ok(Code {
            program,
            memory,
            code_bytes: image.bytes.len(),
            invoke,
            others,
            weights: Weights::Packed(weights),
            customs,
            cached: false,
        })
    }
}

/// Appends the functions of an image to the map that `perf` reads: address, size and name, in hexadecimal.
fn write_perf_map(memory: &CodeMemory, image: &crate::backend::Image) -> std::io::Result<()> {
    let path = Path::new("/tmp").join(format!("perf-{}.map", std::process::id()));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let mut text = String::new();
    for s in &image.symbols {
        text.push_str(&format!("{:x} {:x} tflc::{}\n", memory.address(s.offset) as usize, s.size, s.name));
    }
    file.write_all(text.as_bytes())
}

/// A model compiled in memory, with an arena and a state of its own.
pub struct Model {
    source: Arc<Source>,
    code: Arc<Code>,
    options: Options,
    arena: Buffer,
    state: Buffer,
    pool: Option<Arc<Pool>>,
    cache_problem: Option<String>,
}

impl Model {
    fn instantiate(source: Arc<Source>, code: Arc<Code>, pool: Option<Arc<Pool>>, options: Options) -> Result<Model, JitError> {
        let arena = Buffer::zeroed(code.program.arena_bytes)?;
        let state = Buffer::zeroed(code.program.state_bytes)?;
        Ok(Model { source, code, options, arena, state, pool, cache_problem: None })
    }

    /// Another instance of the same code and weights, with an arena and a zero state of its own.
    ///
    /// # Errors
    /// Where the system refuses memory.
    pub fn instance(&self) -> Result<Model, JitError> {
        Model::instantiate(self.source.clone(), self.code.clone(), self.pool.clone(), self.options.clone())
    }

    /// Inputs, in order.
    pub fn inputs(&self) -> &[Port] {
        &self.code.program.inputs
    }

    /// Outputs, in order.
    pub fn outputs(&self) -> &[Port] {
        &self.code.program.outputs
    }

    /// The shape of output `i` after the last run: that of its type, or a smaller one where the size is known only at run time. The elements are the first
    /// ones of its buffer.
    ///
    /// # Panics
    /// Where there is no such output.
    pub fn output_shape(&self, i: usize) -> Vec<usize> {
        let mut shape = self.outputs()[i].ty.shape.clone();
        for open in self.code.program.open.iter().filter(|o| o.output == i) {
            let at = open.extent.offset as usize;
            let length = self.arena.bytes()[at..].first_chunk::<8>().map_or(0, |b| i64::from_le_bytes(*b));
            shape[open.axis] = shape[open.axis].min(usize::try_from(length).unwrap_or(0));
        }
        shape
    }

    /// Size of the arena in bytes.
    pub fn arena_bytes(&self) -> usize {
        self.arena.len()
    }

    /// Size of the code in bytes, constants included.
    pub fn code_bytes(&self) -> usize {
        self.code.code_bytes
    }

    /// Size of the packed weights in bytes.
    pub fn weights_bytes(&self) -> usize {
        self.code.weights.bytes().len()
    }

    /// The program that the code runs; of a cached one, interface and sizes only.
    pub fn program(&self) -> &Program {
        &self.code.program
    }

    /// Whether code and weights came from a cache.
    pub fn was_cached(&self) -> bool {
        self.code.cached
    }

    /// Why the cache could not be written, where it could not.
    pub fn cache_problem(&self) -> Option<&str> {
        self.cache_problem.as_deref()
    }

    /// Sets all variables back to zero.
    pub fn reset(&mut self) {
        self.state.bytes_mut().fill(0);
    }

    /// Compiles again for another shape of an input; variables start at zero.
    ///
    /// # Errors
    /// As [`Options::load`]; the model stays as it was then.
    pub fn resize_input(&mut self, input: &str, shape: &[usize]) -> Result<(), JitError> {
        let mut options = self.options.clone();
        options.shapes.retain(|(n, _)| n != input);
        options.shapes.push((input.to_string(), shape.to_vec()));
        let code = Arc::new(Code::new(self.source.get()?, &options)?);
        *self = Model::instantiate(self.source.clone(), code, self.pool.clone(), options)?;
        Ok(())
    }

    /// Computes the outputs from the inputs: dense little-endian bytes, in the order of [`Model::inputs`] and [`Model::outputs`].
    ///
    /// # Errors
    /// Where buffers are missing or have the wrong size, or the run ends with a status.
    pub fn run(&mut self, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), JitError> {
        check("input", self.inputs(), &inputs.iter().map(|b| b.len()).collect::<Vec<_>>())?;
        check("output", self.outputs(), &outputs.iter().map(|b| b.len()).collect::<Vec<_>>())?;
        self.invoke(self.code.invoke, inputs, outputs)
    }

    /// Inputs and outputs of a signature that was compiled with [`Options::and_signature`].
    ///
    /// # Errors
    /// Where it was not.
    pub fn signature(&self, key: &str) -> Result<(&[Port], &[Port]), JitError> {
        let entry = &self.code.program.others[self.other(key)?];
        Ok((&entry.inputs, &entry.outputs))
    }

    fn other(&self, key: &str) -> Result<usize, JitError> {
        let others = &self.code.program.others;
        others
            .iter()
            .position(|e| e.key == key)
            .ok_or_else(|| JitError::Signature { wanted: key.to_string(), known: others.iter().map(|e| e.key.clone()).collect() })
    }

    /// The same as [`Model::run`] for a signature that was compiled with [`Options::and_signature`]; variables are shared.
    ///
    /// # Errors
    /// Where it was not compiled, and as [`Model::run`].
    pub fn run_signature(&mut self, key: &str, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), JitError> {
        let at = self.other(key)?;
        let entry = &self.code.program.others[at];
        check("input", &entry.inputs, &inputs.iter().map(|b| b.len()).collect::<Vec<_>>())?;
        check("output", &entry.outputs, &outputs.iter().map(|b| b.len()).collect::<Vec<_>>())?;
        self.invoke(self.code.others[at], inputs, outputs)
    }

    /// Calls the entry point at an offset of the image; buffers have been checked.
    fn invoke(&mut self, offset: usize, inputs: &[&[u8]], outputs: &mut [&mut [u8]]) -> Result<(), JitError> {
        let ins: Vec<*const u8> = inputs.iter().map(|b| b.as_ptr()).collect();
        let outs: Vec<*mut u8> = outputs.iter_mut().map(|b| b.as_mut_ptr()).collect();
        let pool = self.pool.as_ref().map_or(ptr::null(), |p| p.as_parallel());
        // SAFETY: the image was generated by this crate for this program and is sealed; `invoke` has this signature.
        let invoke: Invoke = unsafe { std::mem::transmute::<*const u8, Invoke>(self.code.memory.address(offset)) };
        // SAFETY: weights, arena and state are as large and aligned as the program asks for; buffers were checked above, mutable
        // slices do not overlap others; the pool outlives the call.
        let status = unsafe {
            invoke(
                self.code.weights.bytes().as_ptr(),
                self.arena.bytes_mut().as_mut_ptr(),
                self.state.bytes_mut().as_mut_ptr(),
                ins.as_ptr(),
                outs.as_ptr(),
                pool,
            )
        };
        let outcome = Status::from_code(status).ok();
        if outcome == Err(Status::CustomOperator) {
            let failed = self.code.customs.values().find_map(|b| Some((b.name.clone(), b.failure.lock().ok()?.take()?)));
            if let Some((name, reason)) = failed {
                return Err(JitError::Custom { name, reason });
            }
        }
        Ok(outcome?)
    }
}

fn check(what: &'static str, ports: &[Port], given: &[usize]) -> Result<(), JitError> {
    if ports.len() != given.len() {
        return Err(JitError::Count { what, given: given.len(), expected: ports.len() });
    }
    for (index, (port, &bytes)) in ports.iter().zip(given).enumerate() {
        let expected = port.ty.bytes();
        if bytes != expected {
            let (dtype, shape) = (port.ty.dtype, port.ty.shape.clone());
            return Err(JitError::Size { what, index, name: port.name.clone(), given: bytes, expected, dtype, shape });
        }
    }
    Ok(())
}
