//! The quick allocator: one walk over the blocks in layout order, each value one home for its whole life.
//!
//! Kernels are structured and templates stay within the register file, so nearly always a value's first register serves to its end. A definition
//! takes a register that no live value has; values in SSA form need no more registers than are live at once. Homes are chosen so that
//! modified operands, loop-carried values and block parameters meet in one register and need no move. Where registers run out, the
//! cheapest value that no innermost loop names goes to the stack for its whole life, and the walk starts again: at once for the first one, which
//! is often the only one, else at the end, since others follow. Where there is none, the caller turns to regalloc2's backtracking allocator,
//! which splits lives. The result has regalloc2's form, so its checker proves it.

use super::facts::{Facts, NONE};
use super::{Line, Named, Pin};
use crate::backend::x86::machine::{MASK, Term, VEC};
use regalloc2::{Allocation, Edit, Inst, MachineEnv, Output, PReg, ProgPoint, RegClass, SpillSlot, VReg};

/// Values that may go to the stack before the scan gives up.
const MOST_SPILLS: usize = 24;

/// Allocates registers; `None` where the function needs a cleverer allocator.
pub(super) fn allocate(line: &Line, env: &MachineEnv) -> Option<Output> {
    let facts = Facts::new(line);
    let mut slots = Slots { of: vec![None; line.func.vregs], used: 0, count: 0 };
    loop {
        let known = slots.count;
        let mut scan = Scan::new(line, env, &facts, slots);
        scan.run()?;
        if scan.slots.count > known {
            slots = scan.slots;
            continue;
        }
        scan.edges()?;
        scan.edits.sort_by_key(|(point, _)| *point);
        return Some(Output {
            num_spillslots: scan.slots.used,
            edits: scan.edits,
            allocs: scan.allocs,
            inst_alloc_offsets: line.operand_ranges.iter().map(|r| r.0).collect(),
            ..Output::default()
        });
    }
}

/// Values on the stack.
struct Slots {
    /// Slot of each value that has one instead of a register.
    of: Vec<Option<SpillSlot>>,
    /// Slots that are taken.
    used: usize,
    /// Values that have one.
    count: usize,
}

/// Registers of each class, as bits.
type Regs = [u32; 3];

struct Scan<'a> {
    line: &'a Line<'a>,
    facts: &'a Facts,
    slots: Slots,
    preferred: Regs,
    all: Regs,
    /// Register of each value.
    home: Vec<u8>,
    /// Register that a value had best get.
    hint: Vec<u8>,
    /// Registers that live values have.
    busy: Regs,
    owner: [[u32; 32]; 3],
    /// Registers of values that the enclosing loops carry, each with its loop's last block.
    carried: Vec<(usize, Regs)>,
    /// `busy` at the end of each block.
    at_end: Vec<Regs>,
    allocs: Vec<Allocation>,
    edits: Vec<(ProgPoint, Edit)>,
}

/// Registers ran out: the value that had best go to the stack, if any may.
type OutOfRegisters = Option<usize>;

fn reg(class: RegClass, r: u8) -> Allocation {
    Allocation::reg(PReg::new(r as usize, class))
}

/// The bits that are set, in ascending order.
fn positions(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        (bits != 0).then(|| {
            let first = bits.trailing_zeros() as usize;
            bits &= bits - 1;
            first
        })
    })
}

impl<'a> Scan<'a> {
    fn new(line: &'a Line<'a>, env: &MachineEnv, facts: &'a Facts, slots: Slots) -> Scan<'a> {
        let (mut preferred, mut all) = ([0; 3], [0; 3]);
        for class in 0..3 {
            for r in env.preferred_regs_by_class[class] {
                preferred[class] |= 1 << r.hw_enc();
            }
            all[class] = preferred[class];
            for r in env.non_preferred_regs_by_class[class] {
                all[class] |= 1 << r.hw_enc();
            }
        }
        Scan {
            line,
            facts,
            slots,
            preferred,
            all,
            home: vec![NONE; line.func.vregs],
            hint: facts.fixed.clone(),
            busy: [0; 3],
            owner: [[u32::MAX; 32]; 3],
            carried: vec![],
            at_end: Vec::with_capacity(line.ranges.len()),
            allocs: vec![Allocation::none(); line.named.len()],
            edits: vec![],
        }
    }

    /// Walks over the function; `None` where it needs a cleverer allocator. What was allocated counts only where no further value went to the stack.
    fn run(&mut self) -> Option<()> {
        for b in 0..self.line.ranges.len() {
            while let Err(victim) = self.enter(b) {
                self.spill(victim?)?;
            }
            for i in self.line.ranges[b].iter() {
                while let Err(victim) = self.inst(i.index()) {
                    self.spill(victim?)?;
                    if self.slots.count == 1 {
                        return Some(());
                    }
                }
            }
            self.at_end.push(self.busy);
            self.pass_hints(b);
        }
        Some(())
    }

    /// Sends a live value to the stack; `None` where too many are there.
    fn spill(&mut self, victim: usize) -> Option<()> {
        let class = self.line.classes[victim];
        let size = if class == VEC { self.line.vector_slots } else { 1 };
        let at = self.slots.used.next_multiple_of(size);
        self.slots.of[victim] = Some(SpillSlot::new(at));
        self.slots.used = at + size;
        self.slots.count += 1;
        self.busy[class as usize] &= !(1 << self.home[victim]);
        (self.slots.count <= MOST_SPILLS).then_some(())
    }

    fn take(&mut self, v: VReg, r: u8) {
        let class = v.class() as usize;
        self.home[v.vreg()] = r;
        self.busy[class] |= 1 << r;
        self.owner[class][r as usize] = v.vreg() as u32;
    }

    /// A register for `v` that is in none of the given sets.
    fn pick(&self, v: VReg, taken: u32) -> Result<u8, OutOfRegisters> {
        let class = v.class() as usize;
        let free = self.all[class] & !self.busy[class] & !taken & !self.facts.forbid[v.vreg()];
        let hint = self.hint[v.vreg()];
        if hint != NONE && free >> hint & 1 != 0 {
            return Ok(hint);
        }
        let carried = self.carried.iter().fold(0, |set, (_, regs)| set | regs[class]);
        let best = [self.preferred[class] & !carried, !carried, self.preferred[class], u32::MAX].into_iter().find(|s| free & s != 0);
        match best {
            Some(set) => Ok((free & set).trailing_zeros() as u8),
            None => Err(self.victim(v.class(), taken)),
        }
    }

    /// The cheapest live value of a class that may go to the stack, not one in the registers `taken`.
    fn victim(&self, class: RegClass, taken: u32) -> OutOfRegisters {
        if class == MASK {
            return None;
        }
        let busy = self.busy[class as usize] & !taken;
        let owners = (0..32).filter(|r| busy >> r & 1 != 0).map(|r| self.owner[class as usize][r] as usize);
        owners.filter(|&v| self.facts.cost[v] != u32::MAX && self.slots.of[v].is_none()).min_by_key(|&v| self.facts.cost[v])
    }

    /// Starts a block: what lives on, then its parameters.
    fn enter(&mut self, b: usize) -> Result<(), OutOfRegisters> {
        self.carried.retain(|(end, _)| b <= *end);
        self.busy = [0; 3];
        for v in self.facts.live_in.members(b) {
            if self.slots.of[v].is_none() {
                // A value without a home would be used before its definition in layout order: not the shape of our functions.
                let home = self.home[v];
                if home == NONE {
                    return Err(None);
                }
                self.take(VReg::new(v, self.line.classes[v]), home);
            }
        }
        let block = &self.line.func.blocks[self.line.func.order[b]];
        for &p in &block.params {
            let r = self.pick(p, 0)?;
            self.take(p, r);
        }
        if let Some(end) = self.facts.loop_end[b] {
            let mut regs = [0; 3];
            for p in &block.params {
                regs[p.class() as usize] |= 1 << self.home[p.vreg()];
            }
            self.carried.push((end, regs));
            // What comes round had best be where it is wanted.
            for pred in self.line.preds[b].iter().filter(|p| p.index() >= b) {
                self.hint_args(pred.index(), |scan, k| scan.home[block.params[k].vreg()]);
            }
        }
        for p in block.params.iter().filter(|p| self.facts.dead_params.contains(p)) {
            self.busy[p.class() as usize] &= !(1 << self.home[p.vreg()]);
        }
        Ok(())
    }

    fn hint_args(&mut self, pred: usize, of: impl Fn(&Scan, usize) -> u8) {
        if let Term::Jump(_, args) = &self.line.func.blocks[self.line.func.order[pred]].term {
            for (k, a) in args.iter().enumerate() {
                if self.hint[a.vreg()] == NONE {
                    self.hint[a.vreg()] = of(self, k);
                }
            }
        }
    }

    /// Hints for the parameters of the block that a block jumps to, and for what others pass there.
    fn pass_hints(&mut self, b: usize) {
        let line = self.line;
        let Term::Jump(target, args) = &line.func.blocks[line.func.order[b]].term else { return };
        let to = line.succs[b][0].index();
        if to <= b {
            return;
        }
        for (p, a) in line.func.blocks[*target].params.iter().zip(args) {
            if self.hint[p.vreg()] == NONE && self.slots.of[a.vreg()].is_none() {
                self.hint[p.vreg()] = self.home[a.vreg()];
            }
        }
        for pred in line.preds[to].iter().filter(|p| p.index() > b && p.index() < to) {
            self.hint_args(pred.index(), |scan, k| if scan.slots.of[args[k].vreg()].is_none() { scan.home[args[k].vreg()] } else { NONE });
        }
    }

    fn inst(&mut self, i: usize) -> Result<(), OutOfRegisters> {
        let line = self.line;
        let (first, operands) = line.named(i);
        let before = ProgPoint::before(Inst::new(i));
        let after = ProgPoint::after(Inst::new(i));
        // Positions of operands that become results, of those results, and of all results, as bits.
        let (mut tied, mut changed, mut written) = (0u32, 0u32, 0u32);
        for (k, o) in operands.iter().enumerate() {
            if let Pin::Same(source) = o.pin {
                tied |= 1 << source;
                changed |= 1 << k;
            }
            written |= u32::from(o.def) << k;
        }
        let all = (1 << operands.len()) - 1;
        let mut early: Regs = [0; 3];
        // What is read, but for operands that become results.
        for k in positions(all & !written & !tied) {
            let (o, class) = (operands[k], operands[k].class as usize);
            let r = match (o.pin, self.slots.of[o.index()]) {
                (Pin::Fixed(p), _) => p,
                (_, None) => self.home[o.index()],
                (_, Some(_)) => self.temporary(o.vreg(), early[class], operands)?,
            };
            early[class] |= 1 << r;
            self.allocs[first + k] = reg(o.class, r);
            if r != self.home[o.index()] {
                self.move_at(before, self.place(o.vreg()), reg(o.class, r));
            }
        }
        // Operands that become results.
        for k in positions(changed) {
            let o = operands[k];
            let Pin::Same(source) = o.pin else { continue };
            let (source, class) = (usize::from(source), o.class as usize);
            let from = operands[source];
            let own = (self.slots.of[from.index()].is_none()).then(|| self.home[from.index()]).filter(|r| {
                self.facts.last[first + source]
                    && self.facts.forbid[o.index()] >> r & 1 == 0
                    && !operands.iter().any(|o| o.v == from.v && matches!(o.pin, Pin::Fixed(_)))
            });
            let r = match own {
                Some(r) => r,
                None if self.slots.of[o.index()].is_some() => self.temporary(o.vreg(), early[class], operands)?,
                None => self.pick(o.vreg(), early[class]).map_err(|v| self.not_of(v, operands))?,
            };
            early[class] |= 1 << r;
            self.allocs[first + source] = reg(o.class, r);
            self.allocs[first + k] = reg(o.class, r);
            self.move_at(before, self.place(from.vreg()), reg(o.class, r));
            if self.slots.of[o.index()].is_none() {
                self.home[o.index()] = r;
            }
        }
        self.free_dead(first, operands, all & !written);
        // What is written: tied results, results in fixed registers, then the others where there is room.
        let mut late: Regs = [0; 3];
        for k in positions(written) {
            let o = operands[k];
            match o.pin {
                Pin::Same(_) => {
                    let r = self.allocs[first + k].as_reg().map_or(NONE, |p| p.hw_enc() as u8);
                    late[o.class as usize] |= 1 << r;
                    self.define(o.vreg(), r, after);
                }
                Pin::Fixed(p) => late[o.class as usize] |= 1 << p,
                Pin::Any => {}
            }
        }
        for k in positions(written & !changed) {
            let o = operands[k];
            let (v, class) = (o.vreg(), o.class as usize);
            let taken = late[class];
            let r = match o.pin {
                Pin::Fixed(r) => {
                    self.allocs[first + k] = reg(o.class, r);
                    if self.slots.of[o.index()].is_some() || self.facts.forbid[o.index()] >> r & 1 == 0 {
                        self.define(v, r, after);
                        continue;
                    }
                    let own = self.pick(v, taken).map_err(|v| self.not_of(v, operands))?;
                    self.move_at(after, reg(o.class, r), reg(o.class, own));
                    self.define(v, own, after);
                    late[class] |= 1 << own;
                    continue;
                }
                _ if self.slots.of[o.index()].is_some() => self.temporary(v, taken, operands)?,
                _ => self.pick(v, taken).map_err(|v| self.not_of(v, operands))?,
            };
            late[class] |= 1 << r;
            self.allocs[first + k] = reg(o.class, r);
            self.define(v, r, after);
        }
        self.free_dead(first, operands, written);
        Ok(())
    }

    /// Frees the registers of those values, at some positions, that nobody needs any more.
    fn free_dead(&mut self, first: usize, operands: &[Named], at: u32) {
        for k in positions(at) {
            let o = operands[k];
            if self.facts.last[first + k] && self.slots.of[o.index()].is_none() {
                self.busy[o.class as usize] &= !(1 << self.home[o.index()]);
            }
        }
    }

    /// Where a value is.
    fn place(&self, v: VReg) -> Allocation {
        match self.slots.of[v.vreg()] {
            Some(slot) => Allocation::stack(slot),
            None => reg(v.class(), self.home[v.vreg()]),
        }
    }

    /// A register for one instruction's sake.
    fn temporary(&self, v: VReg, taken: u32, operands: &[Named]) -> Result<u8, OutOfRegisters> {
        let class = v.class() as usize;
        let free = self.all[class] & !self.busy[class] & !taken & !self.facts.forbid[v.vreg()];
        match [self.preferred[class], u32::MAX].into_iter().find(|s| free & s != 0) {
            Some(set) => Ok((free & set).trailing_zeros() as u8),
            None => Err(self.not_of(self.victim(v.class(), taken), operands)),
        }
    }

    /// The victim, unless the instruction itself names it: its register would be needed all the same.
    fn not_of(&self, victim: OutOfRegisters, operands: &[Named]) -> OutOfRegisters {
        let v = victim?;
        if !operands.iter().any(|o| o.index() == v) {
            return Some(v);
        }
        let class = self.line.classes[v];
        let named = operands.iter().filter(|o| o.class == class && self.slots.of[o.index()].is_none());
        let taken = named.fold(0, |set, o| match self.home[o.index()] {
            NONE => set,
            r => set | 1 << r,
        });
        self.victim(class, taken)
    }

    /// Notes that `r` holds the new value `v`; one that lives on the stack is stored there.
    fn define(&mut self, v: VReg, r: u8, after: ProgPoint) {
        match self.slots.of[v.vreg()] {
            Some(slot) => self.move_at(after, reg(v.class(), r), Allocation::stack(slot)),
            None => self.take(v, r),
        }
    }

    fn move_at(&mut self, at: ProgPoint, from: Allocation, to: Allocation) {
        if from != to {
            self.edits.push((at, Edit::Move { from, to }));
        }
    }

    /// Moves on the edges to blocks with parameters; `None` where a cycle finds no free register.
    fn edges(&mut self) -> Option<()> {
        let line = self.line;
        for b in 0..line.ranges.len() {
            let Term::Jump(target, args) = &line.func.blocks[line.func.order[b]].term else { continue };
            let at = ProgPoint::before(line.ranges[b].last());
            let params = &line.func.blocks[*target].params;
            let mut pending: Vec<(Allocation, Allocation)> =
                args.iter().zip(params).map(|(&a, &p)| (self.place(a), self.place(p))).filter(|(from, to)| from != to).collect();
            let mut taken = self.at_end[b];
            for (_, to) in &pending {
                if let Some(p) = to.as_reg() {
                    taken[p.class() as usize] |= 1 << p.hw_enc();
                }
            }
            while !pending.is_empty() {
                let ready = pending.iter().position(|(_, to)| pending.iter().all(|(from, _)| from != to));
                if let Some(k) = ready {
                    let (from, to) = pending.swap_remove(k);
                    self.move_at(at, from, to);
                    continue;
                }
                // Only cycles are left: one register steps aside.
                let p = pending[0].0.as_reg()?;
                let class = p.class() as usize;
                let free = self.all[class] & !taken[class];
                if free == 0 {
                    return None;
                }
                let aside = reg(p.class(), free.trailing_zeros() as u8);
                let moved = pending[0].0;
                self.move_at(at, moved, aside);
                pending.iter_mut().filter(|(from, _)| *from == moved).for_each(|(from, _)| *from = aside);
                taken[class] |= 1 << aside.as_reg()?.hw_enc();
            }
        }
        Some(())
    }
}
