//! Runs a program with the kir interpreter: whole small models without machine code.
//!
//! Every access of every kernel is checked. Calls are split into tasks of their grain, run last to first, so that a result that
//! depends on the split would show. The arena starts with bytes that no computation should see.

use super::program::{Call, Place, Program, Region, STATUS_ITERATION_LIMIT, Step};
use std::collections::HashMap;
use tflc_kir::Kernel;
use tflc_kir::interp::{self, Arg, Memory};

/// Why a run failed.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum InterpretError {
    /// Input `i` has the wrong number of bytes.
    #[error("input {0} has {1} bytes, the model takes {2}")]
    Input(usize, usize, usize),
    /// A kernel does something undefined: a bug of a template or of lowering.
    #[error("{label}: {trap}")]
    Trap {
        /// Operators of the call.
        label: String,
        /// What happened.
        trap: interp::Trap,
    },
    /// The program calls a function of its caller.
    #[error("the custom operator {0} is a function of the caller, which the interpreter does not have")]
    External(String),
    /// The program ended with a status.
    #[error("status {0}")]
    Status(i32),
}

/// A program that is being interpreted, with the state that lives from run to run.
pub struct Interpreter<'p> {
    program: &'p Program,
    kernels: Vec<Kernel>,
    weights: Vec<u8>,
    state: Vec<u8>,
}

/// Numbers of the buffers of one run, by region.
struct Buffers {
    inputs: usize,
    outputs: usize,
}

impl<'p> Interpreter<'p> {
    /// Builds all kernels and packs the weights.
    pub fn new(program: &'p Program) -> Interpreter<'p> {
        let mut weights = vec![0; program.weights_bytes];
        program.write_weights(&mut weights);
        let kernels = program.kernels.iter().map(|r| (r.build)()).collect();
        Interpreter { program, kernels, weights, state: vec![0; program.state_bytes] }
    }

    /// Runs the program once and gives the bytes of its outputs; of an open one, as many as it has after the run.
    ///
    /// # Errors
    /// Where an input has the wrong size, a kernel misbehaves, or the status is not 0.
    pub fn run(&mut self, inputs: &[&[u8]]) -> Result<Vec<Vec<u8>>, InterpretError> {
        for (i, port) in self.program.inputs.iter().enumerate() {
            let got = inputs.get(i).map_or(0, |b| b.len());
            if got != port.ty.bytes() {
                return Err(InterpretError::Input(i, got, port.ty.bytes()));
            }
        }
        let mut arena = vec![0xa5; self.program.arena_bytes];
        let mut outputs: Vec<Vec<u8>> = self.program.outputs.iter().map(|p| vec![0xa5; p.ty.bytes()]).collect();
        let mut state = std::mem::take(&mut self.state);
        let result = {
            let mut memory = Memory::new();
            memory.add_shared(&self.weights);
            memory.add_mut(&mut arena);
            memory.add_mut(&mut state);
            let at = Buffers { inputs: memory.len(), outputs: memory.len() + inputs.len() };
            for x in inputs {
                memory.add_shared(x);
            }
            for y in &mut outputs {
                memory.add_mut(y);
            }
            let mut run = Run { kernels: &self.kernels, decoded: HashMap::new(), memory, at };
            run.steps(&self.program.steps, 0)
        };
        self.state = state;
        result?;
        for (i, (output, port)) in outputs.iter_mut().zip(&self.program.outputs).enumerate() {
            let elements = self.program.output_shape(i, &arena).iter().product();
            output.truncate(port.ty.dtype.bytes(elements).unwrap_or(0));
        }
        Ok(outputs)
    }
}

struct Run<'k, 'm> {
    kernels: &'k [Kernel],
    decoded: HashMap<usize, interp::Program<'k>>,
    memory: Memory<'m>,
    at: Buffers,
}

impl Run<'_, '_> {
    /// Runs steps in an iteration of the repetition around them.
    fn steps(&mut self, steps: &[Step], iteration: u64) -> Result<(), InterpretError> {
        for step in steps {
            match step {
                Step::Call(call) => self.call(call, iteration)?,
                Step::External(e) => return Err(InterpretError::External(e.name.clone())),
                Step::Repeat { count, body } => {
                    for i in 0..*count {
                        self.steps(body, i)?;
                    }
                }
                Step::If { condition, then, otherwise } => {
                    let branch = if self.flag(*condition) { then } else { otherwise };
                    self.steps(branch, iteration)?;
                }
                Step::While { test, condition, body, limit } => {
                    let mut left = *limit;
                    self.steps(test, iteration)?;
                    while self.flag(*condition) {
                        left = left.checked_sub(1).ok_or(InterpretError::Status(STATUS_ITERATION_LIMIT))?;
                        self.steps(body, iteration)?;
                        self.steps(test, iteration)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn buffer(&self, region: Region) -> usize {
        match region {
            Region::Weights => 0,
            Region::Arena => 1,
            Region::State => 2,
            Region::Input(i) => self.at.inputs + i as usize,
            Region::Output(i) => self.at.outputs + i as usize,
        }
    }

    fn flag(&self, place: Place) -> bool {
        self.memory.bytes(self.buffer(place.region)).get(place.offset as usize).is_some_and(|b| *b != 0)
    }

    fn call(&mut self, call: &Call, iteration: u64) -> Result<(), InterpretError> {
        let moved = |i: usize| call.advance.get(i).map_or(0, |a| a.wrapping_mul(iteration as i64) as u64);
        let address =
            |(i, p): (usize, &Place)| Arg::Ptr(self.memory.address(self.buffer(p.region)).wrapping_add(p.offset).wrapping_add(moved(i)));
        let args: Vec<Arg> = call.args.iter().enumerate().map(address).collect();
        let trapped = |trap| InterpretError::Trap { label: call.label.clone(), trap };
        let kernels = self.kernels;
        if let std::collections::hash_map::Entry::Vacant(e) = self.decoded.entry(call.kernel) {
            let program = interp::Program::new(&kernels[call.kernel]).map_err(|e| trapped(e.into()))?;
            e.insert(program);
        }
        let tasks = call.units.div_ceil(call.grain.max(1));
        for task in (0..tasks).rev() {
            let begin = task * call.grain;
            let end = (begin + call.grain).min(call.units);
            let program = &self.decoded[&call.kernel];
            let status = program.run(&args, &mut self.memory, begin as i64, end as i64).map_err(trapped)?;
            if status != 0 {
                return Err(InterpretError::Status(status));
            }
        }
        Ok(())
    }
}
