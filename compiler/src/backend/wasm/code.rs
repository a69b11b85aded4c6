//! WebAssembly instructions of one function over virtual locals.
//!
//! The emitter writes in the form of three-address code: every value has a local of its own, is set where it is computed and read where it is
//! used. [`super::finish`] then keeps on the operand stack what need not be in a local, and lets the rest share.

use wasm_encoder::{BlockType, Ieee32, Ieee64, Instruction, MemArg, MemArgTarget, ValType};

/// A virtual local.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Local(pub(super) u32);

/// An instruction, with virtual locals.
#[derive(Clone, Debug)]
pub(super) enum Ins {
    /// Pushes a local.
    Get(Local),
    /// Pops into a local.
    Set(Local),
    /// Copies the top of the stack into a local.
    Tee(Local),
    /// Anything else.
    Op(Instruction<'static>),
    /// A statement begins: the operand stack is empty here.
    Start,
}

/// Instructions and the types of the virtual locals; the first are the function's parameters.
#[derive(Debug)]
pub(super) struct Code {
    pub(super) ins: Vec<Ins>,
    pub(super) types: Vec<ValType>,
    pub(super) params: u32,
}

impl Code {
    /// An empty function with parameters of these types.
    pub(super) fn new(params: &[ValType]) -> Code {
        Code { ins: vec![], types: params.to_vec(), params: params.len() as u32 }
    }

    /// A new local.
    pub(super) fn local(&mut self, ty: ValType) -> Local {
        self.types.push(ty);
        Local(self.types.len() as u32 - 1)
    }

    pub(super) fn ty(&self, v: Local) -> ValType {
        self.types[v.0 as usize]
    }

    /// An instruction without operands.
    pub(super) fn raw(&mut self, i: Instruction<'static>) {
        self.effect(i, &[]);
    }

    /// Runs an instruction on operands and gives its result, of type `ty`.
    pub(super) fn op(&mut self, ty: ValType, i: Instruction<'static>, operands: &[Local]) -> Local {
        let v = self.local(ty);
        self.op_to(v, i, operands);
        v
    }

    /// Runs an instruction on operands and puts its result into `v`.
    pub(super) fn op_to(&mut self, v: Local, i: Instruction<'static>, operands: &[Local]) {
        self.effect(i, operands);
        self.ins.push(Ins::Set(v));
    }

    /// An instruction with an `i32` result.
    pub(super) fn i32(&mut self, i: Instruction<'static>, operands: &[Local]) -> Local {
        self.op(ValType::I32, i, operands)
    }

    /// An instruction with an `i64` result.
    pub(super) fn i64(&mut self, i: Instruction<'static>, operands: &[Local]) -> Local {
        self.op(ValType::I64, i, operands)
    }

    /// An instruction with a vector result.
    pub(super) fn v128(&mut self, i: Instruction<'static>, operands: &[Local]) -> Local {
        self.op(ValType::V128, i, operands)
    }

    /// Runs an instruction without a result.
    pub(super) fn effect(&mut self, i: Instruction<'static>, operands: &[Local]) {
        self.ins.push(Ins::Start);
        self.ins.extend(operands.iter().map(|&v| Ins::Get(v)));
        self.ins.push(Ins::Op(i));
    }

    /// Copies a value into a local.
    pub(super) fn copy(&mut self, from: Local, to: Local) {
        self.copy_all(&[(from, to)]);
    }

    /// Copies values into locals as if at once.
    pub(super) fn copy_all(&mut self, pairs: &[(Local, Local)]) {
        let moved: Vec<_> = pairs.iter().filter(|(from, to)| from != to).collect();
        self.ins.push(Ins::Start);
        self.ins.extend(moved.iter().map(|(from, _)| Ins::Get(*from)));
        self.ins.extend(moved.iter().rev().map(|(_, to)| Ins::Set(*to)));
    }

    pub(super) fn i32_const(&mut self, v: i32) -> Local {
        self.op(ValType::I32, Instruction::I32Const(v), &[])
    }

    pub(super) fn i64_const(&mut self, v: i64) -> Local {
        self.op(ValType::I64, Instruction::I64Const(v), &[])
    }

    /// A float constant by its bits; `ty` says which.
    pub(super) fn float_const(&mut self, ty: ValType, bits: u64) -> Local {
        let i = if ty == ValType::F32 { Instruction::F32Const(Ieee32::new(bits as u32)) } else { Instruction::F64Const(Ieee64::new(bits)) };
        self.op(ty, i, &[])
    }

    pub(super) fn v128_const(&mut self, bytes: [u8; 16]) -> Local {
        self.v128(Instruction::V128Const(i128::from_le_bytes(bytes)), &[])
    }

    /// `condition ? x : y` as a whole.
    pub(super) fn select(&mut self, condition: Local, x: Local, y: Local) -> Local {
        let ty = self.ty(x);
        let i = if ty == ValType::V128 { Instruction::TypedSelect(ty) } else { Instruction::Select };
        self.op(ty, i, &[x, y, condition])
    }

    pub(super) fn block(&mut self) {
        self.raw(Instruction::Block(BlockType::Empty));
    }

    pub(super) fn loop_start(&mut self) {
        self.raw(Instruction::Loop(BlockType::Empty));
    }

    /// Begins an `if` on a condition.
    pub(super) fn if_start(&mut self, condition: Local) {
        self.effect(Instruction::If(BlockType::Empty), &[condition]);
    }

    pub(super) fn end(&mut self) {
        self.raw(Instruction::End);
    }
}

/// Address immediate without promise of alignment.
pub(super) fn at(offset: u32) -> MemArg {
    MemArg { offset: u64::from(offset), align: 0, target: MemArgTarget::Memory(0), ordering: None }
}
