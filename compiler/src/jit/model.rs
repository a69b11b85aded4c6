//! Models compiled in memory: code and weights shared, an arena and a state for each instance.

use super::buffer::Buffer;
use super::code::Code;
use super::error::JitError;
use super::options::Options;
use super::source::Source;
use crate::lower::program::{Port, Program};
use std::ptr;
use std::sync::Arc;
use tflc_runtime::pool::Pool;
use tflc_runtime::{Invoke, Status};

/// A model compiled in memory, with an arena and a state of its own.
pub struct Model {
    source: Arc<Source>,
    code: Arc<Code>,
    options: Options,
    arena: Buffer,
    state: Buffer,
    pool: Option<Arc<Pool>>,
    pub(super) cache_problem: Option<String>,
}

impl Model {
    pub(super) fn instantiate(source: Arc<Source>, code: Arc<Code>, pool: Option<Arc<Pool>>, options: Options) -> Result<Model, JitError> {
        // A plan leaves little of an arena unused.
        let arena = Buffer::touched(code.program.arena_bytes)?;
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
        self.code.program.output_shape(i, self.arena.bytes())
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

    /// Compiles again for another shape of an input; variables start at zero. Code from a cache is compiled from the files at the model's path.
    ///
    /// # Errors
    /// As [`Options::load`], and [`JitError::Changed`] where those files no longer have the bytes that they had when the model was loaded; the
    /// model stays as it was then.
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
