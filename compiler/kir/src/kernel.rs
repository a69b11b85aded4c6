//! A kernel: parameters, values and a tree of blocks.
//!
//! Control flow is structured, so a block is a list of instructions and the values that it yields; `for`, `if` and `while`
//! own their blocks. A kernel is called with a block of 64-bit argument slots and a range of work units `[begin, end)`: every
//! backend uses the calling convention `fn(args: *const u64, begin: i64, end: i64) -> i32`, where slot i holds parameter i (a pointer or an
//! `I64`; `I32` and `F32` in the low half) and the result is a status, 0 for success. A kernel never allocates, calls, or reads globals.

use crate::op::Op;
use crate::types::Type;
use smallvec::SmallVec;

/// An SSA value, defined once: by an instruction, as a block argument or as a parameter.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Value(pub u32);

impl Value {
    /// Position in [`Kernel::types`].
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// A parameter of a kernel: `Ptr`, `I64`, `I32` or `F32`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Param {
    /// Name in the text form; letters, digits and `_`.
    pub name: String,
    /// The value that holds it.
    pub value: Value,
}

/// An instruction: operator, operands, results and nested blocks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inst {
    /// Operator with immediates.
    pub op: Op,
    /// Operands, in the order that [`Op`] states.
    pub args: SmallVec<[Value; 4]>,
    /// Results: none or one for plain operators, any number for control flow.
    pub results: SmallVec<[Value; 1]>,
    /// Nested blocks: [`Op::block_count`] of them.
    pub blocks: Vec<Block>,
}

/// A straight list of instructions with arguments and yielded values.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Block {
    /// Values defined at entry.
    pub args: Vec<Value>,
    /// Instructions in order.
    pub insts: Vec<Inst>,
    /// Values passed out at the end.
    pub yields: Vec<Value>,
}

/// A kernel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kernel {
    /// Name, as in the kernel naming scheme `<dtype>_<op>_<mr>x<nr>`; also the symbol's stem.
    pub name: String,
    /// Parameters, in argument-slot order.
    pub params: Vec<Param>,
    /// First work unit (`I64`).
    pub begin: Value,
    /// End of the work units (`I64`), exclusive.
    pub end: Value,
    /// Body; it yields nothing, or one `I32` status.
    pub body: Block,
    /// Type of each value.
    pub types: Vec<Type>,
}

impl Kernel {
    /// Type of a value.
    ///
    /// # Panics
    /// Where the value is not of this kernel.
    pub fn ty(&self, v: Value) -> Type {
        self.types[v.index()]
    }

    /// Adds a value of a type.
    pub fn new_value(&mut self, ty: Type) -> Value {
        self.types.push(ty);
        Value(self.types.len() as u32 - 1)
    }

    /// Calls `f` on every instruction, outer before inner, in order.
    pub fn for_each_inst<'a>(&'a self, f: &mut dyn FnMut(&'a Inst)) {
        fn walk<'a>(b: &'a Block, f: &mut dyn FnMut(&'a Inst)) {
            for i in &b.insts {
                f(i);
                i.blocks.iter().for_each(|b| walk(b, f));
            }
        }
        walk(&self.body, f);
    }
}
