//! Structured control flow as CLIF blocks with parameters.
//!
//! A `for` tests at the bottom, behind a guard where its trip count is not known to be positive; the block in front of it
//! receives the constants of an innermost loop, as far as registers allow.

use super::emit::{Emitter, Family, Reason, Val};
use super::share::Frame;
use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::*;
use cranelift_codegen::ir::{self, BlockArg, InstBuilder};
use tflc_kir::{Block, Inst, Op, Type, Value};

impl<'k> Emitter<'k, '_> {
    /// Blocks with the parameters of `values`, which become those kir values.
    fn block_for(&mut self, values: &[Value]) -> Result<ir::Block, Reason> {
        let block = self.b.create_block();
        for &v in values {
            let ty = self.clif(v)?;
            let param = self.b.append_block_param(block, ty);
            self.set(v, param);
        }
        Ok(block)
    }

    fn block_args(&mut self, values: &[Value]) -> Vec<BlockArg> {
        values.iter().map(|&v| BlockArg::Value(self.get(v))).collect()
    }

    pub(super) fn for_loop(&mut self, inst: &'k Inst, step: i64, a: &[Val]) -> Result<(), Reason> {
        let block = &inst.blocks[0];
        let body = self.block_for(&block.args)?;
        let exit = self.block_for(&inst.results)?;
        let initial: Vec<BlockArg> = a[2..].iter().map(|&v| BlockArg::Value(v)).collect();
        let enter: Vec<BlockArg> = std::iter::once(BlockArg::Value(a[0])).chain(initial.iter().copied()).collect();
        let entry = match (self.known(inst.args[0]), self.known(inst.args[1])) {
            (Some(start), Some(end)) if start < end => self.b.ins().jump(body, &enter),
            _ => {
                let any = self.b.ins().icmp(IntCC::SignedLessThan, a[0], a[1]);
                self.b.ins().brif(any, body, &enter, exit, &initial)
            }
        };
        let frame = if has_loop(block) { Frame::loop_body() } else { Frame::innermost(entry, self.constant_budget(block)) };
        self.shared.push(frame);
        self.b.switch_to_block(body);
        self.block(block)?;
        let step = self.b.ins().iconst(I64, step);
        let current = self.get(block.args[0]);
        let next = self.b.ins().iadd(current, step);
        let more = self.b.ins().icmp(IntCC::SignedLessThan, next, a[1]);
        let leave = self.block_args(&block.yields);
        let again: Vec<BlockArg> = std::iter::once(BlockArg::Value(next)).chain(leave.iter().copied()).collect();
        self.b.ins().brif(more, body, &again, exit, &leave);
        self.shared.pop_loop();
        self.b.switch_to_block(exit);
        Ok(())
    }

    pub(super) fn if_else(&mut self, inst: &'k Inst, a: &[Val]) -> Result<(), Reason> {
        let arms = [self.b.create_block(), self.b.create_block()];
        let join = self.block_for(&inst.results)?;
        self.b.ins().brif(a[0], arms[0], &[], arms[1], &[]);
        for (arm, block) in arms.into_iter().zip(&inst.blocks) {
            self.shared.push(Frame::branch());
            self.b.switch_to_block(arm);
            self.block(block)?;
            let yields = self.block_args(&block.yields);
            self.b.ins().jump(join, &yields);
            self.shared.pop();
        }
        self.b.switch_to_block(join);
        Ok(())
    }

    pub(super) fn while_loop(&mut self, inst: &'k Inst, a: &[Val]) -> Result<(), Reason> {
        let (condition, body) = (&inst.blocks[0], &inst.blocks[1]);
        let test = self.block_for(&condition.args)?;
        let inner = self.block_for(&body.args)?;
        let exit = self.block_for(&inst.results)?;
        let initial: Vec<BlockArg> = a.iter().map(|&v| BlockArg::Value(v)).collect();
        self.b.ins().jump(test, &initial);
        self.shared.push(Frame::loop_body());
        self.b.switch_to_block(test);
        self.block(condition)?;
        let go = self.get(condition.yields[0]);
        let passed = self.block_args(&condition.yields[1..]);
        self.b.ins().brif(go, inner, &passed, exit, &passed);
        self.b.switch_to_block(inner);
        self.block(body)?;
        let next = self.block_args(&body.yields);
        self.b.ins().jump(test, &next);
        self.shared.pop_loop();
        self.b.switch_to_block(exit);
        Ok(())
    }

    /// Vector registers that constants may take across an innermost loop: what its carried values and the temporaries of one
    /// operator leave.
    fn constant_budget(&self, block: &Block) -> usize {
        let registers = if self.family == Family::Sse2 { 16 } else { 32 };
        let in_vector = |t: Type| t.is_vector() || t.elem.is_float();
        let carried = block.args.iter().filter(|&&v| in_vector(self.kir_type(v))).count();
        registers - (carried + 8).min(registers)
    }
}

/// Whether a loop lies inside a block.
fn has_loop(block: &Block) -> bool {
    block.insts.iter().any(|i| matches!(i.op, Op::For { .. } | Op::While) || i.blocks.iter().any(has_loop))
}
