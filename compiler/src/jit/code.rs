//! Code and packed weights of one model, made here or taken from a cache.

use super::buffer::Buffer;
use super::cache;
use super::custom::Bound;
use super::error::JitError;
use super::memory::CodeMemory;
use super::names::{entry_graph, named_shapes};
use super::options::Options;
use super::queue::{Queue, Task};
use super::{host_target, runs_here};
use crate::backend::{self, BackendError, Image, Pending};
use crate::driver;
use crate::error::CompileError;
use crate::ir::{self, GraphId};
use crate::lower::lower_to;
use crate::lower::program::Program;
use crate::target::Target;
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::OnceLock;

/// Code and weights, shared by all instances.
pub(super) struct Code {
    pub(super) program: Program,
    pub(super) memory: CodeMemory,
    pub(super) code_bytes: usize,
    pub(super) invoke: usize,
    /// Offsets of the further entry points, in their order.
    pub(super) others: Vec<usize>,
    pub(super) weights: Weights,
    /// Custom operators that the code calls; the weights point to them.
    pub(super) customs: HashMap<ir::Location, Box<Bound>>,
    pub(super) cached: bool,
}

/// Packed weights.
pub(super) enum Weights {
    /// Packed here.
    Packed(Buffer),
    /// In a mapped entry of a cache.
    Cached(cache::Loaded),
}

impl Weights {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Weights::Packed(buffer) => buffer.bytes(),
            Weights::Cached(entry) => entry.weights(),
        }
    }
}

impl Code {
    pub(super) fn from_cache(mut entry: cache::Loaded) -> Result<Code, JitError> {
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

    pub(super) fn new(source: &ir::Model, options: &Options) -> Result<Code, JitError> {
        let target = options.target();
        target.check()?;
        if !runs_here(&target) {
            let reason = format!("this machine cannot run code for {}; it is {}", target.cpu, host_target().cpu);
            return Err(CompileError::Target(reason).into());
        }
        let compiles_for = target.clone();
        rayon::spawn(move || backend::warm_up(&compiles_for));
        let entry = entry_graph(source, options.signature.as_deref())?;
        let mut model = source.clone();
        driver::bound(&mut model, &options.bounds)?;
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
        let Compiled { program, customs, mut weights, image } = compile(&model, (entry, &others), options, &target)?;
        drop(model);
        for external in program.externals() {
            let at = external.function.offset as usize;
            if let (Some(bound), Some(words)) = (customs.get(&external.location), weights.bytes_mut().get_mut(at..at + 16)) {
                words.copy_from_slice(&bound.words());
            }
        }
        let offset = |name: &str| image.offset_of(name).ok_or_else(|| CompileError::Internal(format!("no entry point {name}")));
        let invoke = offset(backend::ENTRY)?;
        let others = others.iter().map(|(key, _)| offset(&backend::entry_name(key))).collect::<Result<_, _>>()?;
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

/// What comes of an optimised model.
struct Compiled {
    program: Program,
    customs: HashMap<ir::Location, Box<Bound>>,
    weights: Buffer,
    image: Image,
}

/// Lowers a model, packs its weights and compiles it: a kernel as soon as it is asked for, while the rest of the model is lowered.
fn compile(
    model: &ir::Model,
    (entry, others): (GraphId, &[(String, GraphId)]),
    options: &Options,
    target: &Target,
) -> Result<Compiled, JitError> {
    let pending = Pending::new(target);
    let (mut weights, lowered) = (None, OnceLock::new());
    let (place_for_weights, kernels) = (&mut weights, &pending);
    let queue = Queue::default();
    let outcome = rayon::in_place_scope(|scope| -> Result<_, JitError> {
        let mut program = lower_to(model, entry, others, target, &|index, recipe| {
            let recipe = recipe.clone();
            queue.kernel(scope, Box::new(move || kernels.compile(index, &recipe)));
        })?;
        if let Some(most) = options.loop_limit {
            program.limit_loops(most);
        }
        let customs = options.customs.bind(model, &program)?;
        let program = lowered.get_or_init(|| program);
        let weights = place_for_weights.insert(Buffer::zeroed(program.weights_bytes)?);
        queue.pieces(scope, program.packing(weights.bytes_mut()).into_iter().map(|(bytes, task)| (bytes, Box::new(task) as Task<'_>)));
        Ok((customs, backend::driver(program, target)))
    });
    drop(queue);
    let (customs, driver) = outcome?;
    let internal = |e: BackendError| CompileError::Internal(e.to_string());
    let functions = driver.and_then(|driver| pending.finish(driver)).map_err(internal)?;
    let image = backend::place(&functions).map_err(internal)?;
    match (lowered.into_inner(), weights) {
        (Some(program), Some(weights)) => Ok(Compiled { program, customs, weights, image }),
        _ => Err(CompileError::Internal("nothing was lowered".into()).into()),
    }
}

/// Appends the functions of an image to the map that `perf` reads: address, size and name, in hexadecimal.
fn write_perf_map(memory: &CodeMemory, image: &Image) -> std::io::Result<()> {
    let path = Path::new("/tmp").join(format!("perf-{}.map", std::process::id()));
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let mut text = String::new();
    for s in &image.symbols {
        text.push_str(&format!("{:x} {:x} tflc::{}\n", memory.address(s.offset) as usize, s.size, s.name));
    }
    file.write_all(text.as_bytes())
}
