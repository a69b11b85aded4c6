//! The ABI between a compiled model and its caller; the C header says the same.

use core::ffi::c_void;
use core::fmt;

/// A piece of parallel work: called with its context and an index below the number of tasks, from any thread.
pub type Task = unsafe extern "C" fn(context: *mut c_void, index: u64);

/// A caller's thread pool: `run` calls `task(context, i)` once for each i below `n`, in any order, and returns when all calls have.
#[repr(C)]
#[derive(Debug)]
pub struct Parallel {
    /// Runs the tasks; its first argument is this structure.
    pub run: unsafe extern "C" fn(this: *const Parallel, task: Task, context: *mut c_void, n: u64),
}

/// A compiled model's entry point. It is re-entrant as long as arena, state and outputs differ.
///
/// # Safety
/// `weights` points to the model's weights; `arena` and `state` to as many bytes as the model asks for, aligned to 64 bytes;
/// `inputs` and `outputs` to as many pointers as it has inputs and outputs, each to a buffer of its size that overlaps no other;
/// `parallel` is null or points to a pool that keeps its promise.
pub type Invoke = unsafe extern "C" fn(
    weights: *const u8,
    arena: *mut u8,
    state: *mut u8,
    inputs: *const *const u8,
    outputs: *const *mut u8,
    parallel: *const Parallel,
) -> i32;

/// What `invoke` returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Everything was computed.
    Ok,
    /// An argument is null or misaligned.
    InvalidArgument,
    /// An index read from a tensor lies outside the tensor it points into.
    IndexOutOfRange,
    /// A loop ran longer than its limit.
    IterationLimit,
    /// An operand's value makes no sense for its operator, a divisor of zero for example.
    InvalidValue,
    /// A status that this version does not know.
    Unknown(i32),
}

impl Status {
    /// The status with a code.
    pub const fn from_code(code: i32) -> Status {
        match code {
            0 => Status::Ok,
            1 => Status::InvalidArgument,
            2 => Status::IndexOutOfRange,
            3 => Status::IterationLimit,
            4 => Status::InvalidValue,
            other => Status::Unknown(other),
        }
    }

    /// `Ok(())`, or the status as an error.
    ///
    /// # Errors
    /// Every status but [`Status::Ok`].
    pub const fn ok(self) -> Result<(), Status> {
        match self {
            Status::Ok => Ok(()),
            other => Err(other),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Ok => f.write_str("success"),
            Status::InvalidArgument => f.write_str("an argument is null or misaligned"),
            Status::IndexOutOfRange => f.write_str("an index in a tensor lies outside the tensor it points into; check the model's inputs"),
            Status::IterationLimit => f.write_str("a loop of the model ran longer than its limit"),
            Status::InvalidValue => {
                f.write_str("a value makes no sense for its operator (a divisor of zero, say); check the model's inputs")
            }
            Status::Unknown(code) => write!(f, "status {code}"),
        }
    }
}

impl core::error::Error for Status {}
