//! What the drivers of all backends have in common: which calls are split over threads, how long programs are cut, and of machine code which
//! functions there are and where they stand in the image.

use super::BackendError;
use super::image::Function;
use crate::lower::program::{Call, Program, Step};
use std::ops::Range;

/// Name of the entry point in the image.
pub const ENTRY: &str = "invoke";

/// Name of a further entry point in the image.
pub fn entry_name(key: &str) -> String {
    format!("{ENTRY}:{key}")
}

/// Status for a null or misaligned argument.
pub(super) const STATUS_INVALID_ARGUMENT: i64 = 1;

/// Top-level steps per function, counted in calls.
const CALLS_PER_PART: usize = 128;

/// Whether a call has more than one grain.
pub(super) fn is_split(call: &Call) -> bool {
    call.units > call.grain
}

/// Cuts the top-level steps into runs of bounded length.
pub(super) fn parts(steps: &[Step]) -> Vec<&[Step]> {
    fn size(s: &Step) -> usize {
        match s {
            Step::Call(_) | Step::External(_) => 1,
            _ => s.parts().into_iter().flatten().map(size).sum(),
        }
    }
    let mut parts = vec![];
    let (mut start, mut held) = (0, 0);
    for (i, s) in steps.iter().enumerate() {
        let n = size(s);
        if held > 0 && held + n > CALLS_PER_PART {
            parts.push(&steps[start..i]);
            (start, held) = (i, 0);
        }
        held += n;
    }
    if start < steps.len() {
        parts.push(&steps[start..]);
    }
    parts
}

/// Layout of what `task` reads: slots, status, grain, units, kernel.
pub(super) mod task {
    pub(in crate::backend) const SLOTS: i32 = 0;
    pub(in crate::backend) const STATUS: i32 = 8;
    pub(in crate::backend) const GRAIN: i32 = 16;
    pub(in crate::backend) const UNITS: i32 = 24;
    pub(in crate::backend) const KERNEL: i32 = 32;
    pub(in crate::backend) const BYTES: u32 = 40;
}

/// What all parts of a driver know.
#[derive(Clone, Copy)]
pub(super) struct Frame<'a> {
    /// The most arguments of a call.
    pub(super) slots: usize,
    /// Position of `dispatch`.
    pub(super) dispatch: usize,
    /// Symbols of custom operators' functions.
    pub(super) symbols: &'a [String],
}

/// Makes the functions of a driver in machine code.
pub(super) trait Emit {
    /// Checks the arguments of a program with so many inputs and outputs, then runs the parts at these positions.
    fn entry(&mut self, name: String, program: &Program, ports: [usize; 2], parts: Range<usize>) -> Result<Function, BackendError>;

    /// Runs some steps.
    fn part(&mut self, name: String, steps: &[Step], frame: Frame<'_>) -> Result<Function, BackendError>;

    /// `dispatch(kernel, slots, units, grain, parallel) -> status`; `task` is the position of that function.
    fn dispatch(&mut self, name: String, task: usize) -> Result<Function, BackendError>;

    /// `task(context, i)`
    fn task(&mut self, name: String) -> Result<Function, BackendError>;
}

/// The functions that run a program, to be placed behind its kernels.
pub(super) fn driver(program: &Program, emit: &mut impl Emit) -> Result<Vec<Function>, BackendError> {
    let kernels = program.kernels.len();
    let main = parts(&program.steps);
    // Positions in the image: kernels, `invoke`, parts, `dispatch`, `task`.
    let dispatch = kernels + 1 + main.len();
    let arguments = program.calls().into_iter().map(|c| c.args.len()).chain(program.externals().into_iter().map(|e| e.args.len()));
    let symbols = program.symbols();
    let frame = Frame { slots: arguments.max().unwrap_or(0), dispatch, symbols: &symbols };

    let ports = [program.inputs.len(), program.outputs.len()];
    let mut functions = vec![emit.entry(ENTRY.into(), program, ports, kernels + 1..dispatch)?];
    for (i, steps) in main.into_iter().enumerate() {
        functions.push(emit.part(format!("{ENTRY}_part{i}"), steps, frame)?);
    }
    if program.calls().into_iter().any(is_split) {
        functions.push(emit.dispatch("dispatch".into(), dispatch + 1)?);
        functions.push(emit.task("task".into())?);
    }
    for other in &program.others {
        let parts = parts(&other.steps);
        let first = kernels + functions.len() + 1;
        let (name, ports) = (entry_name(&other.key), [other.inputs.len(), other.outputs.len()]);
        functions.push(emit.entry(name.clone(), program, ports, first..first + parts.len())?);
        for (i, steps) in parts.into_iter().enumerate() {
            functions.push(emit.part(format!("{name}_part{i}"), steps, frame)?);
        }
    }
    Ok(functions)
}
