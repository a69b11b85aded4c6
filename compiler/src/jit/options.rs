//! How to compile a model in memory, and the two ways to do it: from a file, perhaps by the cache, or from an imported model.

use super::cache::{self, Cache, Key};
use super::code::Code;
use super::custom::{CustomOperator, Customs};
use super::error::JitError;
use super::model::Model;
use super::source::{self, Source};
use super::{host_target, runs_here};
use crate::driver;
use crate::ir;
use crate::target::{Cpu, Precision, Target};
use std::path::Path;
use std::sync::Arc;
use tflc_runtime::pool::Pool;

/// How to compile a model in memory.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub(super) threads: usize,
    pub(super) cpu: Option<Cpu>,
    pub(super) precision: Precision,
    pub(super) signature: Option<String>,
    pub(super) also: Vec<String>,
    pub(super) shapes: Vec<(String, Vec<usize>)>,
    pub(super) bounds: Vec<(String, Vec<usize>)>,
    pub(super) perf_map: bool,
    pub(super) loop_limit: Option<u64>,
    pub(super) cache: Option<Cache>,
    pub(super) customs: Customs,
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

    /// Computes products of floats in another precision, where the processor has it: [`Options::load`] fails where it has not.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Options {
        self.precision = precision;
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

    /// States the largest shape that a tensor may have at run time, where nothing in the model bounds its size. A run in which it is larger ends with a status.
    #[must_use]
    pub fn bound(mut self, tensor: impl Into<String>, shape: &[usize]) -> Options {
        self.bounds.push((tensor.into(), shape.to_vec()));
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
        let shapes = (&self.shapes, &self.bounds);
        format!("{} {} {:?} {:?} {:?} {:?}", self.target().cpu, self.precision, self.signature, self.also, shapes, self.loop_limit)
    }

    /// The target that these options ask for.
    pub fn target(&self) -> Target {
        let target = self.cpu.map_or_else(host_target, |cpu| Target::on(cpu, host_target().os));
        Target { precision: self.precision, ..target }
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
        let Some(hashed) = source::hashed(path, cache) else {
            return self.compile(driver::load(path)?);
        };
        let key = Key::new(&hashed, &self.describe());
        if runs_here(&self.target())
            && let Some(entry) = cache.load(&key)
        {
            let code = Code::from_cache(entry)?;
            return Model::instantiate(Arc::new(Source::files(path, cache, hashed)), Arc::new(code), self.pool()?, self.clone());
        }
        let imported = driver::load(path)?;
        let code = Code::new(&imported, self)?;
        let content =
            cache::Content { program: &code.program, code: code.memory.bytes(), invoke: code.invoke, weights: code.weights.bytes() };
        // A file that was replaced after it was hashed is not the one that this code is of.
        let stored = if hashed.is_still_at(path) { cache.store(&key, &content) } else { Ok(()) };
        let problem = stored.err().map(|e| format!("{}: {e}", cache.folder().display()));
        let mut model = Model::instantiate(Arc::new(Source::Model(imported)), Arc::new(code), self.pool()?, self.clone())?;
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
        Model::instantiate(Arc::new(Source::Model(source)), code, self.pool()?, self.clone())
    }
}
