//! Verifier: says whether a kernel keeps every rule of the language.
//!
//! Checked are names and types of parameters, one definition per value, visibility of every use (structured control flow makes
//! dominance a matter of nesting and order), counts and types of operands, results, block arguments and yields, and the ranges of immediates.
//! Whether a *target* has registers for a type is [`crate::legal`]'s matter, not this one's. Linear in the kernel's size; never panics, whatever
//! the kernel holds. Interpreter, passes and backends may assume all of it.

mod error;
mod rules;

pub(crate) use rules::check as check_op;

pub use error::{Expected, VerifyCause, VerifyError};

use crate::kernel::{Block, Inst, Kernel, Value};
use crate::op::Op;
use crate::tile::{TileOp, TileShape};
use crate::types::Type;
use VerifyCause as Cause;

/// Deepest nesting of blocks, so that walks over a kernel can recurse.
pub const MAX_DEPTH: usize = 64;

/// Largest total size of a kernel's scratch buffers in bytes, which live on the caller's stack.
pub const MAX_SCRATCH_BYTES: u64 = 256 << 10;

/// Checks every rule of the language.
///
/// # Errors
/// The first broken rule in order of appearance, with the instruction that breaks it.
pub fn verify(kernel: &Kernel) -> Result<(), VerifyError> {
    let state = vec![State::Undefined; kernel.types.len()];
    let mut v = Verifier { kernel, state, visible: vec![], inst: None, count: 0, scratch: 0, tiles: vec![] };
    v.kernel().map_err(|cause| VerifyError {
        kernel: kernel.name.clone(),
        inst: v.inst.map(|i| crate::print::print_inst(kernel, i)),
        index: v.inst,
        cause,
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Undefined,
    Visible,
    OutOfScope,
}

struct Verifier<'a> {
    kernel: &'a Kernel,
    state: Vec<State>,
    /// Visible values in order of definition; a block's own are cut off at its end.
    visible: Vec<Value>,
    /// The instruction at fault, should something be.
    inst: Option<usize>,
    count: usize,
    scratch: u64,
    /// Shapes of the tiles that are in force; none where it is not certain which.
    tiles: Vec<TileShape>,
}

impl Verifier<'_> {
    fn kernel(&mut self) -> Result<(), Cause> {
        let k = self.kernel;
        name(&k.name)?;
        let mut names = std::collections::HashSet::new();
        for p in &k.params {
            name(&p.name)?;
            if !names.insert(&p.name) {
                return Err(Cause::DuplicateName(p.name.clone()));
            }
            self.define(p.value)?;
            let ty = k.ty(p.value);
            if ![Type::PTR, Type::I64, Type::I32, Type::F32].contains(&ty) {
                return Err(Cause::ParamType { name: p.name.clone(), ty });
            }
        }
        for v in [k.begin, k.end] {
            self.define(v)?;
            if k.ty(v) != Type::I64 {
                return Err(Cause::UnitsType(k.ty(v)));
            }
        }
        if !k.body.args.is_empty() {
            return Err(Cause::BodyArgs);
        }
        self.insts(&k.body, 0)?;
        self.inst = None;
        for &v in &k.body.yields {
            self.used(v)?;
        }
        match k.body.yields[..] {
            [] => Ok(()),
            [v] if k.ty(v) == Type::I32 => Ok(()),
            _ => Err(Cause::Return),
        }
    }

    fn define(&mut self, v: Value) -> Result<(), Cause> {
        let ty = *self.kernel.types.get(v.index()).ok_or(Cause::UnknownValue(v))?;
        if !ty.is_valid() {
            return Err(Cause::InvalidType(ty));
        }
        if self.state[v.index()] != State::Undefined {
            return Err(Cause::DefinedTwice(v));
        }
        self.state[v.index()] = State::Visible;
        self.visible.push(v);
        Ok(())
    }

    fn used(&self, v: Value) -> Result<Type, Cause> {
        match self.state.get(v.index()) {
            None => Err(Cause::UnknownValue(v)),
            Some(State::Visible) => Ok(self.kernel.ty(v)),
            Some(_) => Err(Cause::NotVisible(v)),
        }
    }

    fn insts(&mut self, b: &Block, depth: usize) -> Result<(), Cause> {
        for inst in &b.insts {
            let id = self.count;
            self.count += 1;
            self.inst = Some(id);
            self.one(inst, id, depth)?;
        }
        Ok(())
    }

    fn one(&mut self, inst: &Inst, id: usize, depth: usize) -> Result<(), Cause> {
        let mut args = smallvec::SmallVec::<[Type; 8]>::new();
        for &v in &inst.args {
            args.push(self.used(v)?);
        }
        let results = inst.results.iter().map(|v| match self.kernel.types.get(v.index()) {
            Some(ty) if !ty.is_valid() => Err(Cause::InvalidType(*ty)),
            Some(ty) => Ok(*ty),
            None => Err(Cause::UnknownValue(*v)),
        });
        let results = results.collect::<Result<smallvec::SmallVec<[Type; 8]>, Cause>>()?;
        if inst.blocks.len() != inst.op.block_count() {
            return Err(Cause::BlockCount { expected: inst.op.block_count(), got: inst.blocks.len() });
        }
        match inst.op {
            Op::For { .. } | Op::If | Op::While if depth >= MAX_DEPTH => return Err(Cause::TooDeep),
            Op::For { step } => self.for_loop(inst, id, depth, step, &args, &results)?,
            Op::If => self.if_else(inst, id, depth, &args, &results)?,
            Op::While => self.while_loop(inst, id, depth, &args, &results)?,
            _ => rules::check(&inst.op, &args, &results)?,
        }
        if let Op::Scratch { bytes, .. } = inst.op {
            self.scratch += u64::from(bytes);
            if bytes == 0 || self.scratch > MAX_SCRATCH_BYTES {
                return Err(Cause::ScratchBytes { bytes: self.scratch });
            }
        }
        if let Op::Tile(op) = &inst.op {
            op.check(&self.tiles).map_err(Cause::Tiles)?;
            if let TileOp::Config(shapes) = op {
                self.tiles.clone_from(shapes);
            }
        }
        inst.results.iter().try_for_each(|&v| self.define(v))
    }

    fn for_loop(&mut self, inst: &Inst, id: usize, depth: usize, step: i64, args: &[Type], results: &[Type]) -> Result<(), Cause> {
        if step <= 0 {
            return Err(Cause::Step(step));
        }
        if args.len() < 2 {
            return Err(Cause::OperandCount { expected: 2, got: args.len() });
        }
        for (operand, &got) in args[..2].iter().enumerate() {
            if got != Type::I64 {
                return Err(Cause::OperandType { operand, got, expected: Expected::Type(Type::I64) });
            }
        }
        let carried = &args[2..];
        let entry: Vec<Type> = std::iter::once(Type::I64).chain(carried.iter().copied()).collect();
        self.block(inst, id, 0, depth, &entry, carried)?;
        same_results(results, carried)
    }

    fn if_else(&mut self, inst: &Inst, id: usize, depth: usize, args: &[Type], results: &[Type]) -> Result<(), Cause> {
        match args {
            [Type::BOOL] => {}
            [got] => return Err(Cause::OperandType { operand: 0, got: *got, expected: Expected::Type(Type::BOOL) }),
            _ => return Err(Cause::OperandCount { expected: 1, got: args.len() }),
        }
        self.block(inst, id, 0, depth, &[], results)?;
        self.block(inst, id, 1, depth, &[], results)
    }

    fn while_loop(&mut self, inst: &Inst, id: usize, depth: usize, args: &[Type], results: &[Type]) -> Result<(), Cause> {
        let passed: Vec<Type> = std::iter::once(Type::BOOL).chain(results.iter().copied()).collect();
        self.block(inst, id, 0, depth, args, &passed)?;
        self.block(inst, id, 1, depth, results, args)
    }

    /// Checks nested block `i`: its arguments have types `entry`, it yields values of types `exit`.
    fn block(&mut self, inst: &Inst, id: usize, i: usize, depth: usize, entry: &[Type], exit: &[Type]) -> Result<(), Cause> {
        let b = &inst.blocks[i];
        let mark = self.visible.len();
        if b.args.len() != entry.len() {
            return Err(Cause::BlockArgCount { block: i, expected: entry.len(), got: b.args.len() });
        }
        for (arg, (&v, &expected)) in b.args.iter().zip(entry).enumerate() {
            self.define(v)?;
            let got = self.kernel.ty(v);
            if got != expected {
                return Err(Cause::BlockArgType { block: i, arg, got, expected });
            }
        }
        // A block that runs again, or that may not run, leaves it open which of two configurations is in force.
        let tiles = if self.tiles.is_empty() || !configures(inst) { self.tiles.clone() } else { vec![] };
        if inst.op != Op::If {
            self.tiles.clone_from(&tiles);
        }
        let entered = self.tiles.clone();
        self.insts(b, depth + 1)?;
        self.tiles = if i + 1 < inst.blocks.len() && inst.op == Op::If { entered } else { tiles };
        self.inst = Some(id);
        if b.yields.len() != exit.len() {
            return Err(Cause::YieldCount { block: i, expected: exit.len(), got: b.yields.len() });
        }
        for (position, (&v, &expected)) in b.yields.iter().zip(exit).enumerate() {
            let got = self.used(v)?;
            if got != expected {
                return Err(Cause::YieldType { block: i, position, got, expected });
            }
        }
        for v in self.visible.drain(mark..) {
            self.state[v.index()] = State::OutOfScope;
        }
        Ok(())
    }
}

/// Whether blocks of an instruction give tiles other shapes.
fn configures(inst: &Inst) -> bool {
    let within = |i: &Inst| matches!(i.op, Op::Tile(TileOp::Config(_))) || configures(i);
    inst.blocks.iter().any(|b| b.insts.iter().any(within))
}

fn name(s: &str) -> Result<(), Cause> {
    let word = s.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if word && s.bytes().next().is_some_and(|b| !b.is_ascii_digit()) { Ok(()) } else { Err(Cause::Name(s.to_string())) }
}

fn same_results(got: &[Type], expected: &[Type]) -> Result<(), Cause> {
    if got.len() != expected.len() {
        return Err(Cause::ResultCount { expected: expected.len(), got: got.len() });
    }
    match got.iter().zip(expected).position(|(g, e)| g != e) {
        Some(i) => Err(Cause::ResultType { result: i, got: got[i], expected: Expected::Type(expected[i]) }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
