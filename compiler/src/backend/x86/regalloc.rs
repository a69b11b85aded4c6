//! Register allocation: a [`MachineFunction`] in the form that allocators read, and the choice of the allocator.
//!
//! Blocks are renumbered in layout order and instructions laid out in one line, each block's terminator last. The quick [`scan`] does nearly all
//! kernels in a tenth of the time of regalloc2's backtracking allocator, which does the others. In debug builds regalloc2's independent
//! checker proves every allocation.

mod facts;
mod scan;

use super::abi::{Abi, gpr};
use super::machine::{BlockId, GPR, MASK, MInst, MachineFunction, Opnd, Term, VEC, Width};
use regalloc2::{
    Block, Function, Inst, InstRange, MachineEnv, Operand, OperandConstraint, OperandKind, OperandPos, PReg, PRegSet, RegClass, VReg,
};
use smallvec::SmallVec;
use std::cell::OnceCell;

/// What stands at a position of the line.
#[derive(Clone, Copy, Debug)]
pub(super) enum Item {
    /// An instruction of [`MachineFunction::insts`].
    Inst(u32),
    /// The terminator of a block.
    Term(BlockId),
}

/// A register that an instruction names.
#[derive(Clone, Copy, Debug)]
struct Named {
    /// Number of the virtual register.
    v: u32,
    class: RegClass,
    /// Whether it is written, not read.
    def: bool,
    pin: Pin,
}

/// Which registers will do.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Pin {
    /// Any of the class.
    Any,
    /// That of another operand of the instruction.
    Same(u8),
    /// This one.
    Fixed(u8),
}

impl Named {
    fn new(v: VReg, def: bool, pin: Pin) -> Named {
        Named { v: v.vreg() as u32, class: v.class(), def, pin }
    }

    fn vreg(self) -> VReg {
        VReg::new(self.v as usize, self.class)
    }

    fn index(self) -> usize {
        self.v as usize
    }

    /// In regalloc2's form.
    fn operand(self) -> Operand {
        match (self.pin, self.def) {
            (Pin::Any, false) => Operand::reg_use(self.vreg()),
            (Pin::Any, true) => Operand::reg_def(self.vreg()),
            (Pin::Same(k), _) => Operand::new(self.vreg(), OperandConstraint::Reuse(usize::from(k)), OperandKind::Def, OperandPos::Late),
            (Pin::Fixed(r), false) => Operand::reg_fixed_use(self.vreg(), PReg::new(usize::from(r), self.class)),
            (Pin::Fixed(r), true) => Operand::reg_fixed_def(self.vreg(), PReg::new(usize::from(r), self.class)),
        }
    }
}

/// Blocks before or after one: two at most, nearly always.
type Neighbours = SmallVec<[Block; 2]>;

/// A [`MachineFunction`] in one line, as the allocators want it.
#[derive(Debug)]
pub(super) struct Line<'a> {
    /// The function.
    pub(super) func: &'a MachineFunction,
    /// Instructions and terminators.
    pub(super) items: Vec<Item>,
    named: Vec<Named>,
    operand_ranges: Vec<(u32, u32)>,
    /// `named` as regalloc2 reads it, made when it is asked for.
    operands: OnceCell<Vec<Operand>>,
    /// Range of `items` of each block, in layout order.
    ranges: Vec<InstRange>,
    succs: Vec<Neighbours>,
    preds: Vec<Neighbours>,
    vector_slots: usize,
    /// Class of each virtual register.
    classes: Vec<RegClass>,
}

impl<'a> Line<'a> {
    /// Lays a function out in one line.
    pub(super) fn new(func: &'a MachineFunction) -> Line<'a> {
        let n = func.order.len();
        let mut position = vec![usize::MAX; func.blocks.len()];
        for (i, &b) in func.order.iter().enumerate() {
            position[b] = i;
        }
        let vector_slots = func.widest.unwrap_or(Width::X).bytes() as usize / 8;
        let mut line = Line {
            func,
            items: Vec::with_capacity(func.insts.len() + n),
            named: Vec::with_capacity(func.opnds.len() + func.insts.len()),
            operand_ranges: Vec::with_capacity(func.insts.len() + n),
            operands: OnceCell::new(),
            ranges: Vec::with_capacity(n),
            succs: vec![Neighbours::new(); n],
            preds: vec![Neighbours::new(); n],
            vector_slots,
            classes: vec![GPR; func.vregs],
        };
        for (i, &b) in func.order.iter().enumerate() {
            let block = &func.blocks[b];
            let first = line.items.len();
            block.params.iter().for_each(|p| line.classes[p.vreg()] = p.class());
            for &inst in &block.insts {
                line.push(Item::Inst(inst), |out| operands(func, &func.insts[inst as usize], out));
            }
            line.push(Item::Term(b), |out| {
                if let Term::Ret(status) = block.term {
                    out.push(Named::new(status, false, Pin::Fixed(gpr::RAX as u8)));
                }
            });
            line.ranges.push(InstRange::new(Inst::new(first), Inst::new(line.items.len())));
            let succs: &[BlockId] = match &block.term {
                Term::Jump(t, _) => &[*t],
                Term::Branch(_, t, e) => &[*t, *e],
                Term::Ret(_) | Term::Open => &[],
            };
            for &s in succs {
                line.succs[i].push(Block::new(position[s]));
                line.preds[position[s]].push(Block::new(i));
            }
        }
        line
    }

    fn push(&mut self, item: Item, operands: impl FnOnce(&mut Vec<Named>)) {
        let first = self.named.len() as u32;
        operands(&mut self.named);
        for o in &self.named[first as usize..] {
            self.classes[o.index()] = o.class;
        }
        self.operand_ranges.push((first, self.named.len() as u32));
        self.items.push(item);
    }

    /// Position of the first register that an instruction names, and all of them.
    fn named(&self, inst: usize) -> (usize, &[Named]) {
        let (a, b) = self.operand_ranges[inst];
        (a as usize, &self.named[a as usize..b as usize])
    }

    /// All registers that the instructions of a range name.
    fn named_in(&self, range: InstRange) -> &[Named] {
        let (first, last) = (range.first().index(), range.last().index());
        &self.named[self.operand_ranges[first].0 as usize..self.operand_ranges[last].1 as usize]
    }

    fn block(&self, block: Block) -> &super::machine::MBlock {
        &self.func.blocks[self.func.order[block.index()]]
    }
}

/// Appends the registers that an instruction names: exactly one for each register of each operand, in order, two for a modified one.
fn operands(func: &MachineFunction, inst: &MInst, out: &mut Vec<Named>) {
    let first = out.len();
    for o in func.operands(inst) {
        match *o {
            Opnd::Use(v, _) | Opnd::Mask(v, _) => out.push(Named::new(v, false, Pin::Any)),
            Opnd::Def(v, _) => out.push(Named::new(v, true, Pin::Any)),
            Opnd::Mod(from, to, _) | Opnd::MaskMod(from, to) => {
                let index = (out.len() - first) as u8;
                out.push(Named::new(from, false, Pin::Any));
                out.push(Named::new(to, true, Pin::Same(index)));
            }
            Opnd::Mem(m) => {
                if let super::machine::Base::Reg(b) = m.base {
                    out.push(Named::new(b, false, Pin::Any));
                }
                if let Some((i, ..)) = m.index {
                    out.push(Named::new(i, false, Pin::Any));
                }
            }
            Opnd::Imm(..) | Opnd::Tile(_) | Opnd::Same(_) => {}
            Opnd::UseFixed(v, p) => out.push(Named::new(v, false, Pin::Fixed(p.hw_enc() as u8))),
            Opnd::DefFixed(v, p) => out.push(Named::new(v, true, Pin::Fixed(p.hw_enc() as u8))),
        }
    }
}

impl Function for Line<'_> {
    fn num_insts(&self) -> usize {
        self.items.len()
    }

    fn num_blocks(&self) -> usize {
        self.ranges.len()
    }

    fn entry_block(&self) -> Block {
        Block::new(0)
    }

    fn block_insns(&self, block: Block) -> InstRange {
        self.ranges[block.index()]
    }

    fn block_succs(&self, block: Block) -> &[Block] {
        &self.succs[block.index()]
    }

    fn block_preds(&self, block: Block) -> &[Block] {
        &self.preds[block.index()]
    }

    fn block_params(&self, block: Block) -> &[VReg] {
        &self.block(block).params
    }

    fn is_ret(&self, inst: Inst) -> bool {
        matches!(self.items[inst.index()], Item::Term(b) if matches!(self.func.blocks[b].term, Term::Ret(_)))
    }

    fn is_branch(&self, inst: Inst) -> bool {
        matches!(self.items[inst.index()], Item::Term(b) if !matches!(self.func.blocks[b].term, Term::Ret(_)))
    }

    fn branch_blockparams(&self, block: Block, _: Inst, _: usize) -> &[VReg] {
        match &self.block(block).term {
            Term::Jump(_, args) => args,
            _ => &[],
        }
    }

    fn inst_operands(&self, inst: Inst) -> &[Operand] {
        let (a, b) = self.operand_ranges[inst.index()];
        &self.operands.get_or_init(|| self.named.iter().map(|n| n.operand()).collect())[a as usize..b as usize]
    }

    fn inst_clobbers(&self, _: Inst) -> PRegSet {
        PRegSet::empty()
    }

    fn num_vregs(&self) -> usize {
        self.func.vregs
    }

    fn spillslot_size(&self, class: RegClass) -> usize {
        if class == VEC { self.vector_slots } else { 1 }
    }
}

/// The registers that code for an ABI may use; `evex` gives 32 vector registers and the masks.
pub(super) fn machine_env(abi: Abi, evex: bool) -> MachineEnv {
    let saved = abi.saved();
    let mut env = MachineEnv {
        preferred_regs_by_class: [PRegSet::empty(); 3],
        non_preferred_regs_by_class: [PRegSet::empty(); 3],
        scratch_by_class: [None; 3],
        fixed_stack_slots: vec![],
    };
    let vectors = (0..if evex { 32 } else { 16 }).map(|r| PReg::new(r, VEC));
    let gprs = (0..16).filter(|&r| r != gpr::RSP).map(|r| PReg::new(r, GPR));
    let masks = (1..if evex { 8 } else { 1 }).map(|r| PReg::new(r, MASK));
    for r in gprs.chain(vectors).chain(masks) {
        let sets = if saved.contains(r) { &mut env.non_preferred_regs_by_class } else { &mut env.preferred_regs_by_class };
        sets[r.class() as usize].add(r);
    }
    env
}

/// Allocates registers: quickly where that goes, else by regalloc2.
///
/// # Errors
/// Where the allocator refuses, or the checker finds fault with the allocation (debug builds): always a bug of this backend.
pub(super) fn allocate(line: &Line, env: &MachineEnv, ctx: &mut regalloc2::Ctx) -> Result<regalloc2::Output, String> {
    let options = regalloc2::RegallocOptions { validate_ssa: cfg!(debug_assertions), ..Default::default() };
    let out = match scan::allocate(line, env) {
        Some(out) => out,
        None => {
            regalloc2::run_with_ctx(line, env, &options, ctx).map_err(|e| format!("register allocation: {e}"))?;
            std::mem::take(&mut ctx.output)
        }
    };
    if cfg!(debug_assertions) {
        let mut checker = regalloc2::checker::Checker::new(line, env);
        checker.prepare(&out);
        checker.run().map_err(|e| format!("register allocation is wrong: {e:?}"))?;
    }
    Ok(out)
}
