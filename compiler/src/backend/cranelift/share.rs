//! Sharing of constants and of address sums while CLIF is emitted, in place of a common-subexpression pass.
//!
//! A value is reused only where that cannot lengthen its life across a loop: lookups stop at the loop's edge, and what was shared before a
//! loop is forgotten after it. Constants of an innermost loop move in front of it while registers last.

use super::emit::{Emitter, Family, Val};
use cranelift_codegen::cursor::{Cursor, FuncCursor};
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, InstBuilder};
use std::collections::HashMap;
use tflc_kir::Inst;

/// Values available in one block of the kernel.
#[derive(Default)]
pub(super) struct Frame {
    constants: HashMap<(ir::Type, [u8; 16]), Val>,
    sums: HashMap<(Val, Val, u32), Val>,
    scaled: HashMap<(Val, u32), Val>,
    /// Even and odd lanes of vectors.
    parities: HashMap<Val, (Val, Val)>,
    /// Whether this is the body of a loop, where lookups stop.
    is_loop: bool,
    /// The jump into an innermost loop, and how many constants may still go in front of it.
    before: Option<(ir::Inst, usize)>,
}

impl Frame {
    /// An arm of an `if`.
    pub(super) fn branch() -> Frame {
        Frame::default()
    }

    /// The body of a loop that holds loops.
    pub(super) fn loop_body() -> Frame {
        Frame { is_loop: true, ..Frame::default() }
    }

    /// The body of an innermost loop, entered by `jump`; `budget` constants may go in front of it.
    pub(super) fn innermost(jump: ir::Inst, budget: usize) -> Frame {
        Frame { is_loop: true, before: Some((jump, budget)), ..Frame::default() }
    }
}

/// Frames of the blocks that are open, outermost first, and pointers as root plus constant.
pub(super) struct Shared {
    frames: Vec<Frame>,
    pointers: HashMap<Val, (Val, i64)>,
}

impl Default for Shared {
    fn default() -> Shared {
        Shared { frames: vec![Frame::loop_body()], pointers: HashMap::new() }
    }
}

impl Shared {
    /// Opens a block.
    pub(super) fn push(&mut self, frame: Frame) {
        self.frames.push(frame);
    }

    /// Closes a block.
    pub(super) fn pop(&mut self) {
        self.frames.pop();
    }

    /// Closes a loop, and forgets what the blocks around it shared.
    pub(super) fn pop_loop(&mut self) {
        self.frames.pop();
        for frame in self.frames.iter_mut().rev() {
            frame.constants.clear();
            frame.sums.clear();
            frame.scaled.clear();
            frame.parities.clear();
            if frame.is_loop {
                break;
            }
        }
    }

    /// Frames up to the innermost loop's.
    fn visible(&self) -> impl Iterator<Item = &Frame> {
        let start = self.frames.iter().rposition(|f| f.is_loop).unwrap_or(0);
        self.frames[start..].iter().rev()
    }

    /// Even and odd lanes of a vector, where they are known.
    pub(super) fn parities(&self, v: Val) -> Option<(Val, Val)> {
        self.visible().find_map(|f| f.parities.get(&v)).copied()
    }

    pub(super) fn set_parities(&mut self, v: Val, split: (Val, Val)) {
        self.top().parities.insert(v, split);
    }

    fn top(&mut self) -> &mut Frame {
        self.frames.last_mut().expect("the function's own frame")
    }
}

impl Emitter<'_, '_> {
    /// A vector constant of these bytes.
    pub(super) fn vector_constant(&mut self, ty: ir::Type, bytes: [u8; 16]) -> Val {
        let data = self.b.func.dfg.constants.insert(bytes[..].into());
        if bytes == [0; 16] {
            // One cheap instruction wherever it is used.
            return self.b.ins().vconst(ty, data);
        }
        self.shared_constant(ty, bytes, |mut at| at.ins().vconst(ty, data))
    }

    /// A scalar float of these bits, which takes several instructions on RISC-V.
    pub(super) fn float_constant(&mut self, ty: ir::Type, bits: u64) -> Val {
        let make = move |mut at: FuncCursor<'_>| match ty {
            F32 => at.ins().f32const(ir::immediates::Ieee32::with_bits(bits as u32)),
            _ => at.ins().f64const(ir::immediates::Ieee64::with_bits(bits)),
        };
        if bits == 0 || !matches!(self.family, Family::Riscv(_)) {
            return make(self.b.cursor());
        }
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&bits.to_le_bytes());
        self.shared_constant(ty, bytes, make)
    }

    /// A constant that the current block has already, or one that `make` makes: in front of an innermost loop while registers last.
    fn shared_constant(&mut self, ty: ir::Type, bytes: [u8; 16], make: impl FnOnce(FuncCursor<'_>) -> Val) -> Val {
        let key = (ty, bytes);
        if let Some(&v) = self.shared.visible().find_map(|f| f.constants.get(&key)) {
            return v;
        }
        let start = self.shared.frames.iter().rposition(|f| f.is_loop).unwrap_or(0);
        let around = &mut self.shared.frames[start];
        if let Some((jump, left)) = &mut around.before
            && *left > 0
        {
            *left -= 1;
            let v = make(FuncCursor::new(self.b.func).at_inst(*jump));
            around.constants.insert(key, v);
            return v;
        }
        let v = make(self.b.cursor());
        self.shared.top().constants.insert(key, v);
        v
    }

    /// `base + (index << shift)`.
    pub(super) fn indexed(&mut self, base: Val, index: Val, shift: u32) -> Val {
        let key = (base, index, shift);
        if let Some(&v) = self.shared.visible().find_map(|f| f.sums.get(&key)) {
            return v;
        }
        let scaled = self.scaled(index, shift);
        let v = self.b.ins().iadd(base, scaled);
        self.shared.top().sums.insert(key, v);
        v
    }

    fn scaled(&mut self, index: Val, shift: u32) -> Val {
        if shift == 0 {
            return index;
        }
        if let Some(&v) = self.shared.visible().find_map(|f| f.scaled.get(&(index, shift))) {
            return v;
        }
        let v = self.shl(index, shift);
        self.shared.top().scaled.insert((index, shift), v);
        v
    }

    /// Pointer plus offset; a constant one is remembered, so that accesses may start from the root.
    pub(super) fn pointer_add(&mut self, inst: &Inst, base: Val, offset: Val) -> Val {
        let v = self.b.ins().iadd(base, offset);
        if let Some(c) = self.known(inst.args[1]) {
            let (root, start) = self.pointer_root(base);
            self.shared.pointers.insert(v, (root, start.wrapping_add(c)));
        }
        v
    }

    /// A pointer as a root and a constant offset.
    pub(super) fn pointer_root(&self, pointer: Val) -> (Val, i64) {
        self.shared.pointers.get(&pointer).copied().unwrap_or((pointer, 0))
    }
}
