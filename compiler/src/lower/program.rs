//! A lowered model: kernels, the calls that run them in order, and where every operand lies.
//!
//! The driver generator turns a program into the `invoke` function; the program interpreter runs the same steps with the
//! kir interpreter. Offsets are final: the memory plan has been made and checked.

use crate::ir::{Bytes, Location, TensorType};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use tflc_kir::Kernel;

/// Region of memory that an operand lies in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Region {
    /// Read-only constants, packed at compile time.
    Weights,
    /// Scratch memory of one call of `invoke`.
    Arena,
    /// Variables that persist between calls.
    State,
    /// The caller's buffer for input `i`; read only.
    Input(u32),
    /// The caller's buffer for output `i`.
    Output(u32),
}

/// Address of an operand: a region and a byte offset.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Place {
    /// Region.
    pub region: Region,
    /// Offset in bytes.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.region {
            Region::Weights => write!(f, "weights+{}", self.offset),
            Region::Arena => write!(f, "arena+{}", self.offset),
            Region::State => write!(f, "state+{}", self.offset),
            Region::Input(i) => write!(f, "input{i}+{}", self.offset),
            Region::Output(i) => write!(f, "output{i}+{}", self.offset),
        }
    }
}

/// Call of a kernel over all its work units.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Call {
    /// Position in [`Program::kernels`].
    pub kernel: usize,
    /// Argument slots: addresses, in the order of the kernel's parameters.
    pub args: Vec<Place>,
    /// Bytes by which each argument moves from one iteration of the innermost [`Step::Repeat`] to the next; empty where none moves.
    pub advance: Vec<i64>,
    /// Number of work units; the kernel runs over `[0, units)`.
    pub units: u64,
    /// Units of one task when the call is split over threads; at least 1. A call is not split where `grain >= units`.
    pub grain: u64,
    /// The node that this call belongs to.
    pub location: Location,
    /// Operators fused into it, for profiles: `CONV_2D+ADD`.
    pub label: String,
}

/// Call of a function that is not part of the program, on one thread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct External {
    /// The custom operator that it computes.
    pub name: String,
    /// Symbol of the function, where a linker finds it.
    pub symbol: Option<String>,
    /// In the weights: the description of the call, which a function found by its symbol gets; else the address of the function and its context,
    /// eight bytes each.
    pub function: Place,
    /// Addresses of the operands, then of the results.
    pub args: Vec<Place>,
    /// The node that this call belongs to.
    pub location: Location,
}

/// One step of a program.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Runs a kernel; a non-zero status ends `invoke` with it.
    Call(Call),
    /// Calls a function of the caller's; a non-zero status ends `invoke` with it.
    External(External),
    /// Runs `then` where the byte at `condition` is not zero, else `otherwise`.
    If {
        /// Address of a Bool.
        condition: Place,
        /// Steps if true.
        then: Vec<Step>,
        /// Steps if false.
        otherwise: Vec<Step>,
    },
    /// Runs `body` a fixed number of times.
    Repeat {
        /// How often.
        count: u64,
        /// Steps; arguments of calls directly in it move by their [`Call::advance`].
        body: Vec<Step>,
    },
    /// Runs `test`; while the byte at `condition` is then not zero, runs `body` and `test` again.
    While {
        /// Steps that compute the condition.
        test: Vec<Step>,
        /// Address of a Bool.
        condition: Place,
        /// Steps of the body.
        body: Vec<Step>,
        /// Iterations after which `invoke` gives up with status [`STATUS_ITERATION_LIMIT`].
        limit: u64,
    },
}

impl Step {
    /// The lists of steps inside this one, in program order.
    pub fn parts(&self) -> [&[Step]; 2] {
        match self {
            Step::Call(_) | Step::External(_) => [&[], &[]],
            Step::If { then, otherwise, .. } => [then, otherwise],
            Step::Repeat { body, .. } => [body, &[]],
            Step::While { test, body, .. } => [test, body],
        }
    }

    /// The same, to change them.
    fn parts_mut(&mut self) -> [&mut [Step]; 2] {
        match self {
            Step::Call(_) | Step::External(_) => [&mut [], &mut []],
            Step::If { then, otherwise, .. } => [then, otherwise],
            Step::Repeat { body, .. } => [body, &mut []],
            Step::While { test, body, .. } => [test, body],
        }
    }

    /// Calls `f` with this step and all inside it, in program order.
    pub fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Step)) {
        f(self);
        self.parts().into_iter().flatten().for_each(|s| s.visit(f));
    }
}

/// Status of `invoke` where a WHILE ran longer than its limit.
pub const STATUS_ITERATION_LIMIT: i32 = 3;
/// Status of `invoke` where a function of the caller's failed.
pub const STATUS_CUSTOM_OPERATOR: i32 = 5;
/// Status of `invoke` where an index lies outside a tensor.
pub const STATUS_INDEX_OUT_OF_RANGE: i32 = 2;

/// A kernel to be built: equal keys give equal kernels.
#[derive(Clone)]
pub struct Recipe {
    /// What the kernel is: the template's name and its whole specification; of one that multiplies with weights, the kind of product.
    pub key: String,
    /// Builds the kernel.
    pub build: Arc<dyn Fn() -> Kernel + Send + Sync>,
}

impl fmt::Debug for Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recipe").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Content of a piece of the weights.
#[derive(Clone)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// Bytes written by a packing function into a zeroed buffer of the piece's size.
    Packed(Arc<dyn Fn(&mut [u8]) + Send + Sync>),
}

/// A piece of the weights at its offset.
#[derive(Clone)]
pub struct Piece {
    /// Offset in the weights.
    pub offset: usize,
    /// Size in bytes.
    pub bytes: usize,
    /// Content.
    pub content: Content,
}

impl fmt::Debug for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Piece({}..{})", self.offset, self.offset + self.bytes)
    }
}

/// An input or output of a program.
#[derive(Clone, PartialEq, Debug)]
pub struct Port {
    /// Name in the model.
    pub name: String,
    /// Type.
    pub ty: TensorType,
    /// Dimensions as the model declares them, -1 for open ones.
    pub signature: Option<Vec<i64>>,
}

/// A lowered model.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Kernels, each once.
    pub kernels: Vec<Recipe>,
    /// What `invoke` does.
    pub steps: Vec<Step>,
    /// Pieces of the weights, disjoint, in the order of their offsets.
    pub pieces: Vec<Piece>,
    /// Size of the weights in bytes.
    pub weights_bytes: usize,
    /// Size of the arena in bytes; it is aligned to [`ARENA_ALIGN`].
    pub arena_bytes: usize,
    /// Lower bound of the arena: the most bytes live at once.
    pub arena_lower_bound: usize,
    /// Size of the state in bytes; all zero at first.
    pub state_bytes: usize,
    /// Inputs, in the order of the graph.
    pub inputs: Vec<Port>,
    /// Outputs, in the order of the graph.
    pub outputs: Vec<Port>,
    /// Outputs whose size is known only at run time, and is at most that of their type.
    pub open: Vec<OpenOutput>,
    /// Further entry points, which share kernels, weights, arena and state.
    pub others: Vec<EntryPoint>,
}

/// An output whose size is known only at run time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenOutput {
    /// Position among the outputs.
    pub output: usize,
    /// The first axis that may be shorter than the type says.
    pub axis: usize,
    /// Where the lengths of that axis and of all behind it are after a run, as `i64`.
    pub extent: Place,
}

impl OpenOutput {
    /// The length of an axis from [`OpenOutput::axis`] on, which a run has left in the arena.
    pub fn length(&self, axis: usize, arena: &[u8]) -> usize {
        let at = self.extent.offset as usize + (axis - self.axis) * 8;
        let bytes = arena.get(at..).and_then(<[u8]>::first_chunk);
        bytes.and_then(|b| usize::try_from(i64::from_le_bytes(*b)).ok()).unwrap_or(0)
    }
}

/// A further entry point of a program.
#[derive(Clone, Debug, Default)]
pub struct EntryPoint {
    /// Name by which callers choose it: the key of a signature.
    pub key: String,
    /// What it does.
    pub steps: Vec<Step>,
    /// Inputs, in the order of its graph.
    pub inputs: Vec<Port>,
    /// Outputs, in the order of its graph.
    pub outputs: Vec<Port>,
    /// Those whose size is known only at run time.
    pub open: Vec<OpenOutput>,
}

/// Alignment of arena, state and weights in bytes.
pub const ARENA_ALIGN: usize = 64;

impl Program {
    /// All calls, in program order, inner steps and all entry points included.
    pub fn calls(&self) -> Vec<&Call> {
        let mut out = vec![];
        self.visit(&mut |s| {
            if let Step::Call(c) = s {
                out.push(c)
            }
        });
        out
    }

    /// Calls of functions that are not part of the program, in program order, all entry points included.
    pub fn externals(&self) -> Vec<&External> {
        let mut out = vec![];
        self.visit(&mut |s| {
            if let Step::External(e) = s {
                out.push(e)
            }
        });
        out
    }

    /// Calls `f` with all steps, in program order, inner steps and all entry points included.
    fn visit<'a>(&'a self, f: &mut dyn FnMut(&'a Step)) {
        let entries = std::iter::once(&self.steps).chain(self.others.iter().map(|e| &e.steps));
        entries.flatten().for_each(|s| s.visit(f));
    }

    /// Symbols of functions that a linker has to find, each once, in order.
    pub fn symbols(&self) -> Vec<String> {
        let all: BTreeSet<&String> = self.externals().into_iter().filter_map(|e| e.symbol.as_ref()).collect();
        all.into_iter().cloned().collect()
    }

    /// The shape of output `i` after a run that left `arena`: that of its type, or a smaller one where the size is known only at run time.
    ///
    /// # Panics
    /// Where there is no such output.
    pub fn output_shape(&self, i: usize, arena: &[u8]) -> Vec<usize> {
        let mut shape = self.outputs[i].ty.shape.clone();
        for open in self.open.iter().filter(|o| o.output == i) {
            for (axis, n) in shape.iter_mut().enumerate().skip(open.axis) {
                *n = open.length(axis, arena).min(*n);
            }
        }
        shape
    }

    /// Bounds the iterations of every loop.
    pub fn limit_loops(&mut self, most: u64) {
        fn walk(step: &mut Step, most: u64) {
            if let Step::While { limit, .. } = step {
                *limit = most;
            }
            step.parts_mut().into_iter().flatten().for_each(|s| walk(s, most));
        }
        let entries = std::iter::once(&mut self.steps).chain(self.others.iter_mut().map(|e| &mut e.steps));
        entries.flatten().for_each(|s| walk(s, most));
    }

    /// Writes the weights into `blob`, which holds [`Program::weights_bytes`] zeros; pieces are packed in parallel.
    pub fn write_weights(&self, blob: &mut [u8]) {
        rayon::scope(|scope| self.packing(blob).into_iter().for_each(|(_, task)| scope.spawn(move |_| task())));
    }

    /// The same as tasks in any order, one for each piece, with its size.
    pub fn packing<'a>(&'a self, blob: &'a mut [u8]) -> Vec<(usize, impl FnOnce() + Send + 'a)> {
        let mut rest = blob;
        let mut at = 0;
        let mut tasks = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            let (_, tail) = std::mem::take(&mut rest).split_at_mut(piece.offset - at);
            let (out, tail) = tail.split_at_mut(piece.bytes);
            rest = tail;
            at = piece.offset + piece.bytes;
            let task = move || match &piece.content {
                Content::Bytes(b) => out[..b.len()].copy_from_slice(b),
                Content::Packed(f) => f(out),
            };
            tasks.push((piece.bytes, task));
        }
        tasks
    }
}
