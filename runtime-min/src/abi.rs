//! The ABI between a compiled model and its caller; the C header says the same.

use core::ffi::c_void;
use core::fmt;
use core::marker::PhantomData;

/// A piece of parallel work: called with its context and an index below the number of tasks, from any thread.
pub type Task = unsafe extern "C" fn(context: *mut c_void, index: u64);

/// A caller's thread pool: `run` calls `task(context, i)` once for each i below `n`, in any order, and returns when all calls have.
#[repr(C)]
#[derive(Debug)]
pub struct Parallel {
    /// Runs the tasks; its first argument is this structure.
    pub run: unsafe extern "C" fn(this: *const Parallel, task: Task, context: *mut c_void, n: u64),
}

/// A borrowed [`Parallel`], with whatever lies behind it.
#[derive(Clone, Copy, Debug)]
pub struct Workers<'a>(*const Parallel, PhantomData<&'a Parallel>);

impl<'a> Workers<'a> {
    /// The pool at an address.
    ///
    /// # Safety
    /// `parallel` points to a pool that keeps its promise, from any thread that calls it, as long as `'a`.
    pub const unsafe fn from_raw(parallel: *const Parallel) -> Workers<'a> {
        Workers(parallel, PhantomData)
    }

    /// The address, for `invoke`; null for no pool.
    pub fn address(workers: Option<Workers<'a>>) -> *const Parallel {
        workers.map_or(core::ptr::null(), |w| w.0)
    }
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

/// The code behind a [`Descriptor`]: [`Invoke`] with the weights filled in.
///
/// # Safety
/// As for [`Invoke`]. Where weights are split, their address follows the inputs.
pub type BoundInvoke = unsafe extern "C" fn(
    arena: *mut u8,
    state: *mut u8,
    inputs: *const *const u8,
    outputs: *const *mut u8,
    parallel: *const Parallel,
) -> i32;

/// Version of everything that the C header declares.
pub const ABI_VERSION: u32 = 3;
/// First field of every descriptor: `tflc` in memory.
pub const MAGIC: u32 = u32::from_le_bytes(*b"tflc");
/// Alignment of arena, state and split weights in bytes.
pub const ALIGNMENT: usize = 64;
/// Flag of a descriptor whose weights are in a file of their own.
pub const SPLIT_WEIGHTS: u32 = 1;
/// Axis of a tensor whose size is known before a run.
pub const NO_AXIS: u32 = u32::MAX;

/// Descriptor of a compiled model; distances are in bytes, from its own start.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Descriptor {
    /// [`MAGIC`].
    pub magic: u32,
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// Size of this structure with everything that it refers to but the code.
    pub descriptor_bytes: u32,
    /// Distance to a [`BoundInvoke`].
    pub invoke: i32,
    /// Scratch memory of one run.
    pub arena_bytes: u64,
    /// Variables, all zero at first.
    pub state_bytes: u64,
    /// Size of the packed weights.
    pub weights_bytes: u64,
    /// CRC-32 of the weights.
    pub weights_crc32: u32,
    /// [`SPLIT_WEIGHTS`] or 0.
    pub flags: u32,
    /// [`ALIGNMENT`].
    pub alignment: u32,
    /// Number of inputs.
    pub input_count: u32,
    /// Distance to as many [`Tensor`]s.
    pub inputs: u32,
    /// Number of outputs.
    pub output_count: u32,
    /// Distance to as many [`Tensor`]s.
    pub outputs: u32,
    /// Distance to the model's name, which a zero ends.
    pub name: u32,
    /// Distance to the name of the CPU level, which a zero ends.
    pub cpu: u32,
    /// Distance to the key of the signature that this describes, which a zero ends; empty for the model itself.
    pub key: u32,
    /// Number of signatures; 0 in the descriptor of one.
    pub signature_count: u32,
    /// Distance to as many [`Signature`]s.
    pub signatures: u32,
}

/// A signature of a model.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Distance to the key, which a zero ends.
    pub key: u32,
    /// Distance to the signature's own [`Descriptor`], whose tensors have the names that the signature gives them.
    pub model: i32,
}

/// An input or output of a [`Descriptor`], or an operand or result of a [`CustomCall`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tensor {
    /// Size of a value in bytes; where it is known only at run time, the most.
    pub bytes: u64,
    /// Where it is known only at run time: place of the lengths of `axis` and of all axes behind it in the arena after a run, as `i64`.
    pub length: u64,
    /// Distance to the name, which a zero ends.
    pub name: u32,
    /// Element type, by the numbers of the C header.
    pub dtype: u32,
    /// Number of dimensions.
    pub rank: u32,
    /// Distance to as many `u64`.
    pub shape: u32,
    /// Real value of a step; 0 where the tensor is not quantised by one scale.
    pub scale: f32,
    /// Stored value of the real value 0.
    pub zero_point: i32,
    /// The first axis whose length is known only at run time; else [`NO_AXIS`].
    pub axis: u32,
    /// 0.
    pub reserved: u32,
}

/// What a function of the caller's that computes a custom operator is told about the call; distances are in bytes, from its own start.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CustomCall {
    /// [`ABI_VERSION`].
    pub abi_version: u32,
    /// Number of operands.
    pub input_count: u32,
    /// Number of results.
    pub output_count: u32,
    /// Distance to the [`Tensor`]s of the operands, then of the results.
    pub tensors: u32,
    /// Distance to the operator's name, which a zero ends.
    pub name: u32,
    /// Distance to its options, as the model file has them.
    pub options: u32,
    /// Size of the options in bytes.
    pub options_bytes: u32,
    /// 0.
    pub reserved: u32,
}

/// A function that computes a custom operator: `arguments` holds the addresses of the operands, then of the results. It returns 0, or the status that
/// ends the run; 5 says that a custom operator failed.
///
/// # Safety
/// `call` points to a [`CustomCall`], `arguments` to as many addresses as it says, of buffers of its tensors' sizes.
pub type CustomFunction = unsafe extern "C" fn(call: *const CustomCall, arguments: *const *mut c_void) -> i32;

/// What `invoke` returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Everything was computed.
    Ok,
    /// An argument is null or misaligned.
    InvalidArgument,
    /// An index read from a tensor lies outside the tensor it points into, or a tensor is longer than its bound.
    IndexOutOfRange,
    /// A loop ran longer than its limit.
    IterationLimit,
    /// An operand's value makes no sense for its operator, a divisor of zero for example.
    InvalidValue,
    /// A custom operator that is a function of the caller's failed.
    CustomOperator,
    /// No descriptor, or one of another version.
    WrongAbi,
    /// The processor lacks what the code was compiled for.
    UnsupportedCpu,
    /// The arena is smaller than the model needs.
    ArenaTooSmall,
    /// The state is smaller than the model needs.
    StateTooSmall,
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
            5 => Status::CustomOperator,
            16 => Status::WrongAbi,
            17 => Status::UnsupportedCpu,
            18 => Status::ArenaTooSmall,
            19 => Status::StateTooSmall,
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
            Status::IndexOutOfRange => f.write_str(
                "an index in a tensor lies outside the tensor it points into, or a tensor is longer than its bound; check the model's inputs",
            ),
            Status::IterationLimit => f.write_str("a loop of the model ran longer than its limit"),
            Status::InvalidValue => {
                f.write_str("a value makes no sense for its operator (a divisor of zero, say); check the model's inputs")
            }
            Status::WrongAbi => f.write_str("this is no descriptor of a model, or one of another ABI version"),
            Status::UnsupportedCpu => f.write_str("the processor lacks what the model was compiled for"),
            Status::ArenaTooSmall => f.write_str("the arena is smaller than the model needs"),
            Status::StateTooSmall => f.write_str("the state is smaller than the model needs"),
            Status::CustomOperator => f.write_str("a custom operator of the caller failed"),
            Status::Unknown(code) => write!(f, "status {code}"),
        }
    }
}

impl core::error::Error for Status {}
