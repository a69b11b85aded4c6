//! What the scan knows of a function before it hands out registers: liveness, last uses, which fixed registers a value must avoid.

use super::{Line, Pin};
use crate::backend::x86::machine::Term;
use regalloc2::VReg;

/// No register.
pub(super) const NONE: u8 = u8::MAX;

/// A set of virtual registers, as bits.
type Set = [u64];

fn add(set: &mut Set, v: usize) {
    set[v / 64] |= 1 << (v % 64);
}

fn remove(set: &mut Set, v: usize) {
    set[v / 64] &= !(1 << (v % 64));
}

fn has(set: &Set, v: usize) -> bool {
    set[v / 64] >> (v % 64) & 1 != 0
}

/// Members in ascending order.
fn members(set: &Set) -> impl Iterator<Item = usize> + '_ {
    set.iter().enumerate().flat_map(|(i, &word)| {
        let mut rest = word;
        std::iter::from_fn(move || {
            (rest != 0).then(|| {
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                i * 64 + bit
            })
        })
    })
}

/// A set for each block.
#[derive(Clone, Debug)]
pub(super) struct Sets {
    words: usize,
    bits: Vec<u64>,
}

impl Sets {
    fn new(blocks: usize, n: usize) -> Sets {
        let words = n.div_ceil(64);
        Sets { words, bits: vec![0; blocks * words] }
    }

    fn of(&self, block: usize) -> &Set {
        &self.bits[block * self.words..][..self.words]
    }

    fn of_mut(&mut self, block: usize) -> &mut Set {
        &mut self.bits[block * self.words..][..self.words]
    }

    /// Members of a block's set in ascending order.
    pub(super) fn members(&self, block: usize) -> impl Iterator<Item = usize> + '_ {
        members(self.of(block))
    }
}

/// Facts about a function; blocks count in layout order.
pub(super) struct Facts {
    /// Values live at each block's start, its parameters not among them.
    pub(super) live_in: Sets,
    /// For each operand: whether the value is not needed after the instruction.
    pub(super) last: Vec<bool>,
    /// For each value: registers of its class that some instruction in its life demands for another value.
    pub(super) forbid: Vec<u32>,
    /// For each value: a register that some instruction demands for it, or [`NONE`].
    pub(super) fixed: Vec<u8>,
    /// For each value: what it costs to keep it on the stack; `u32::MAX` where it is a block's parameter or an innermost loop names it.
    pub(super) cost: Vec<u32>,
    /// For each block: the last block of the loop that it heads.
    pub(super) loop_end: Vec<Option<usize>>,
    /// Values that block parameters never pass on: nobody reads them.
    pub(super) dead_params: Vec<VReg>,
}

impl Facts {
    pub(super) fn new(line: &Line) -> Facts {
        let blocks = line.ranges.len();
        let n = line.func.vregs;
        let mut loop_end = vec![None; blocks];
        for (b, succs) in line.succs.iter().enumerate() {
            for s in succs.iter().filter(|s| s.index() <= b) {
                loop_end[s.index()] = loop_end[s.index()].max(Some(b));
            }
        }
        let live_in = liveness(line, n);
        let mut facts = Facts {
            live_in,
            last: vec![false; line.named.len()],
            forbid: vec![0; n],
            fixed: vec![NONE; n],
            cost: vec![0; n],
            loop_end,
            dead_params: vec![],
        };
        let mut live = vec![0; n.div_ceil(64)];
        let mut depth = vec![0; blocks];
        for (head, end) in facts.loop_end.iter().enumerate() {
            depth[head..end.map_or(head, |e| e + 1)].iter_mut().for_each(|d| *d += 1);
        }
        for b in 0..blocks {
            facts.block(line, b, depth[b], &mut live);
        }
        facts
    }

    fn block(&mut self, line: &Line, b: usize, depth: u32, live: &mut Set) {
        let block = &line.func.blocks[line.func.order[b]];
        let weight = if block.innermost { u32::MAX } else { 8u32.saturating_pow(depth) };
        live.fill(0);
        for s in &line.succs[b] {
            live.iter_mut().zip(self.live_in.of(s.index())).for_each(|(a, b)| *a |= b);
        }
        if let Term::Jump(_, args) = &block.term {
            for a in args {
                add(live, a.vreg());
                self.charge(a.vreg(), weight);
            }
        }
        let (first, end) = (line.ranges[b].first().index(), line.ranges[b].last().index());
        for inst in (first..=end).rev() {
            let (from, operands) = line.named(inst);
            let mut fixed = false;
            for (last, o) in self.last[from..].iter_mut().zip(operands) {
                *last = !has(live, o.index());
                let cost = &mut self.cost[o.index()];
                *cost = cost.saturating_add(weight);
                fixed |= matches!(o.pin, Pin::Fixed(_));
            }
            let after = fixed.then(|| live.to_vec());
            // What an instruction writes it does not read.
            for o in operands {
                if o.def {
                    remove(live, o.index());
                } else {
                    add(live, o.index());
                }
            }
            let Some(after) = after else { continue };
            for o in operands {
                let Pin::Fixed(p) = o.pin else { continue };
                let set = if o.def { &after[..] } else { &*live };
                for v in members(set).filter(|&v| v != o.index() && line.classes[v] == o.class) {
                    self.forbid[v] |= 1 << p;
                }
                self.fixed[o.index()] = p;
            }
        }
        for p in &block.params {
            self.cost[p.vreg()] = u32::MAX;
            if !has(live, p.vreg()) {
                self.dead_params.push(*p);
            }
        }
    }

    fn charge(&mut self, v: usize, weight: u32) {
        self.cost[v] = self.cost[v].saturating_add(weight);
    }
}

/// Values live at the start of each block.
fn liveness(line: &Line, n: usize) -> Sets {
    let blocks = line.ranges.len();
    let mut live_in = Sets::new(blocks, n);
    let mut defined = Sets::new(blocks, n);
    for b in 0..blocks {
        let block = &line.func.blocks[line.func.order[b]];
        let (uses, defs) = (live_in.of_mut(b), defined.of_mut(b));
        block.params.iter().for_each(|p| add(defs, p.vreg()));
        // No instruction reads what it writes, so the order within one does not matter.
        for o in line.named_in(line.ranges[b]) {
            if o.def {
                add(defs, o.index());
            } else if !has(defs, o.index()) {
                add(uses, o.index());
            }
        }
        if let Term::Jump(_, args) = &block.term {
            args.iter().filter(|a| !has(defs, a.vreg())).for_each(|a| add(uses, a.vreg()));
        }
    }
    loop {
        let mut changed = false;
        for b in (0..blocks).rev() {
            for s in 0..line.succs[b].len() {
                let s = line.succs[b][s].index();
                if s == b {
                    continue;
                }
                let words = live_in.words;
                let (before, behind) = live_in.bits.split_at_mut(b.max(s) * words);
                let (lower, upper) = (&mut before[b.min(s) * words..][..words], &mut behind[..words]);
                let (mine, theirs) = if b < s { (lower, upper) } else { (upper, lower) };
                for ((mine, theirs), defined) in mine.iter_mut().zip(theirs).zip(defined.of(b)) {
                    let new = *mine | *theirs & !defined;
                    changed |= new != *mine;
                    *mine = new;
                }
            }
        }
        if !changed {
            return live_in;
        }
    }
}
