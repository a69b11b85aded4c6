//! Structured control flow, which WebAssembly has as the language does.
//!
//! Carried values have locals of their own, which the loop's results share. A `for` tests at the bottom, behind a guard where its trip count is not
//! known to be positive.

use super::code::Local;
use super::emit::{Emitter, Reason};
use tflc_kir::{Inst, Value};
use wasm_encoder::{Instruction as I, ValType};

impl<'k> Emitter<'k> {
    /// Writes values to locals as if at once.
    fn assign(&mut self, values: &[Value], to: &[Local]) {
        let pairs: Vec<(Local, Local)> = values.iter().zip(to).map(|(&v, &l)| (self.get_as(v, l), l)).collect();
        self.c.copy_all(&pairs);
    }

    fn define_all(&mut self, values: &[Value]) -> Result<Vec<Local>, Reason> {
        values.iter().map(|&v| self.define(v)).collect()
    }

    fn alias_all(&mut self, values: &[Value], locals: &[Local]) {
        values.iter().zip(locals).for_each(|(&v, &l)| self.alias(v, l));
    }

    pub(super) fn for_loop(&mut self, inst: &'k Inst, step: i64) -> Result<(), Reason> {
        let block = &inst.blocks[0];
        let locals = self.define_all(&block.args)?;
        let (counter, carried) = (locals[0], &locals[1..]);
        let start_known = self.known_bits(inst.args[0]).zip(self.known_bits(inst.args[1]));
        let runs = start_known.is_some_and(|(s, e)| (s as i64) < e as i64);
        let end = self.get_as(inst.args[1], counter);
        let initial: Vec<Value> = std::iter::once(inst.args[0]).chain(inst.args[2..].iter().copied()).collect();
        self.assign(&initial, &locals);
        let wide = self.c.ty(counter) == ValType::I64;
        if !runs {
            self.c.block();
            let none = self.c.i32(if wide { I::I64GeS } else { I::I32GeS }, &[counter, end]);
            self.c.effect(I::BrIf(0), &[none]);
        }
        self.c.loop_start();
        self.block(block)?;
        self.assign(&block.yields, carried);
        let (step, add, less) =
            if wide { (self.c.i64_const(step), I::I64Add, I::I64LtS) } else { (self.c.i32_const(step as i32), I::I32Add, I::I32LtS) };
        self.c.op_to(counter, add, &[counter, step]);
        let more = self.c.i32(less, &[counter, end]);
        self.c.effect(I::BrIf(0), &[more]);
        self.c.end();
        if !runs {
            self.c.end();
        }
        self.alias_all(&inst.results, carried);
        Ok(())
    }

    pub(super) fn if_else(&mut self, inst: &'k Inst) -> Result<(), Reason> {
        let results = self.define_all(&inst.results)?;
        let condition = self.get(inst.args[0]);
        self.c.if_start(condition);
        self.block(&inst.blocks[0])?;
        self.assign(&inst.blocks[0].yields, &results);
        if !inst.blocks[1].insts.is_empty() || !results.is_empty() {
            self.c.raw(I::Else);
            self.block(&inst.blocks[1])?;
            self.assign(&inst.blocks[1].yields, &results);
        }
        self.c.end();
        Ok(())
    }

    pub(super) fn while_loop(&mut self, inst: &'k Inst) -> Result<(), Reason> {
        let (test, body) = (&inst.blocks[0], &inst.blocks[1]);
        let carried = self.define_all(&test.args)?;
        let passed = self.define_all(&inst.results)?;
        self.assign(&inst.args, &carried);
        self.c.block();
        self.c.loop_start();
        self.block(test)?;
        let go = self.get(test.yields[0]);
        self.assign(&test.yields[1..], &passed);
        let stop = self.c.i32(I::I32Eqz, &[go]);
        self.c.effect(I::BrIf(1), &[stop]);
        self.alias_all(&body.args, &passed);
        self.block(body)?;
        self.assign(&body.yields, &carried);
        self.c.raw(I::Br(0));
        self.c.end();
        self.c.end();
        Ok(())
    }
}
