//! What the verifier finds wrong: the cause as data, and where.

use crate::kernel::Value;
use crate::op::Mem;
use crate::types::Type;
use std::fmt;

/// A rule that a kernel breaks, and the place.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct VerifyError {
    /// Name of the kernel.
    pub kernel: String,
    /// The instruction as printed (its first line), or `None` where the kernel's head or end is at fault.
    pub inst: Option<String>,
    /// Position of that instruction, counted from 0, outer before inner.
    pub index: Option<usize>,
    /// The broken rule.
    pub cause: VerifyCause,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel @{}", self.kernel)?;
        if let (Some(inst), Some(index)) = (&self.inst, self.index) {
            write!(f, ", instruction {index} `{}`", inst.trim())?;
        }
        write!(f, ": {}", self.cause)
    }
}

/// What a type should have been.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    /// Exactly this type.
    Type(Type),
    /// Any type of this description.
    Kind(&'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Type(t) => write!(f, "{t}"),
            Expected::Kind(k) => f.write_str(k),
        }
    }
}

/// A rule that a kernel breaks. Operands, results and blocks are counted from 0.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VerifyCause {
    /// A kernel or parameter name is not letters, digits and `_` with a letter or `_` in front.
    #[error("`{0}` is not a name: letters, digits and `_`, not starting with a digit")]
    Name(String),
    /// Two parameters share a name.
    #[error("two parameters are named `{0}`")]
    DuplicateName(String),
    /// A parameter's type is not `ptr`, `i64`, `i32` or `f32`.
    #[error("parameter `{name}` is {ty}, not ptr, i64, i32 or f32")]
    ParamType {
        /// Name of the parameter.
        name: String,
        /// Its type.
        ty: Type,
    },
    /// A bound of the work units is not `i64`.
    #[error("the bounds of the work units are i64, not {0}")]
    UnitsType(Type),
    /// A value has no entry in [`crate::Kernel::types`].
    #[error("value {} has no type", .0.0)]
    UnknownValue(Value),
    /// A value's type does not exist in the language.
    #[error("type {0} does not exist")]
    InvalidType(Type),
    /// A value is defined a second time.
    #[error("value {} is defined twice", .0.0)]
    DefinedTwice(Value),
    /// A value is used where its definition is not visible.
    #[error("value {} is used where it is not defined", .0.0)]
    NotVisible(Value),
    /// Wrong number of operands.
    #[error("has {got} operands, not {expected}")]
    OperandCount {
        /// Right number.
        expected: usize,
        /// Number found.
        got: usize,
    },
    /// Wrong number of results.
    #[error("has {got} results, not {expected}")]
    ResultCount {
        /// Right number.
        expected: usize,
        /// Number found.
        got: usize,
    },
    /// Wrong number of nested blocks.
    #[error("has {got} blocks, not {expected}")]
    BlockCount {
        /// Right number.
        expected: usize,
        /// Number found.
        got: usize,
    },
    /// An operand has the wrong type.
    #[error("operand {operand} is {got}, not {expected}")]
    OperandType {
        /// Position.
        operand: usize,
        /// Type found.
        got: Type,
        /// What is right.
        expected: Expected,
    },
    /// A result has the wrong type.
    #[error("result {result} is {got}, not {expected}")]
    ResultType {
        /// Position.
        result: usize,
        /// Type found.
        got: Type,
        /// What is right.
        expected: Expected,
    },
    /// A nested block takes the wrong number of arguments.
    #[error("block {block} takes {got} arguments, not {expected}")]
    BlockArgCount {
        /// Position of the block.
        block: usize,
        /// Right number.
        expected: usize,
        /// Number found.
        got: usize,
    },
    /// A nested block's argument has the wrong type.
    #[error("argument {arg} of block {block} is {got}, not {expected}")]
    BlockArgType {
        /// Position of the block.
        block: usize,
        /// Position of the argument.
        arg: usize,
        /// Type found.
        got: Type,
        /// Type that is right.
        expected: Type,
    },
    /// A block yields the wrong number of values.
    #[error("block {block} yields {got} values, not {expected}")]
    YieldCount {
        /// Position of the block.
        block: usize,
        /// Right number.
        expected: usize,
        /// Number found.
        got: usize,
    },
    /// A block yields a value of the wrong type.
    #[error("value {position} that block {block} yields is {got}, not {expected}")]
    YieldType {
        /// Position of the block.
        block: usize,
        /// Position of the value.
        position: usize,
        /// Type found.
        got: Type,
        /// Type that is right.
        expected: Type,
    },
    /// The kernel returns something other than nothing or one `i32`.
    #[error("a kernel returns nothing or one i32")]
    Return,
    /// The body takes arguments.
    #[error("the body takes no arguments")]
    BodyArgs,
    /// Blocks are nested too deeply.
    #[error("more than {} nested blocks", super::MAX_DEPTH)]
    TooDeep,
    /// Constant bits outside the lane.
    #[error("constant {bits:#x} does not fit a lane of {ty}")]
    ConstBits {
        /// The bits.
        bits: u64,
        /// Type of the constant.
        ty: Type,
    },
    /// A list (constant, shuffle) has another length than the result has lanes.
    #[error("{got} entries for {lanes} lanes")]
    ListLength {
        /// Lanes of the result.
        lanes: u16,
        /// Entries found.
        got: usize,
    },
    /// A lane, part or shuffle entry is out of range.
    #[error("lane or part {index} of {count}")]
    Index {
        /// Index found.
        index: u16,
        /// Number of lanes or parts that there are.
        count: u32,
    },
    /// A scale is none of 0, 1, 2, 4, 8, or 0 for a gather.
    #[error("scale {0} of an address is not allowed here")]
    Scale(u8),
    /// A register lane cannot be loaded from or stored to the memory element.
    #[error("lanes of {ty} do not go with memory element {}", .mem.name())]
    Mem {
        /// Memory element.
        mem: Mem,
        /// Register type.
        ty: Type,
    },
    /// `first(n)` with n outside `1..lanes`.
    #[error("first({n}) of {lanes} lanes")]
    First {
        /// The number of lanes asked for.
        n: u16,
        /// Lanes of the data.
        lanes: u16,
    },
    /// An operation that always works on all lanes has a restriction, or a scalar has a mask.
    #[error("first or mask is not allowed here")]
    Active,
    /// A loop's step is not positive.
    #[error("step {0} is not positive")]
    Step(i64),
    /// A scratch alignment is not a power of two up to 64.
    #[error("alignment {0} is not a power of two up to 64")]
    Align(u32),
    /// An operator on tiles names tiles that do not go with it.
    #[error("needs {0}")]
    Tiles(&'static str),
    /// A scratch buffer is empty, or all together are too large.
    #[error("scratch of {bytes} bytes: at least 1, and at most {} in all", super::MAX_SCRATCH_BYTES)]
    ScratchBytes {
        /// Size of this buffer and those before it.
        bytes: u64,
    },
}
