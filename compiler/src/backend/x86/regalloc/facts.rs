//! What the scan knows of a function before it hands out registers: liveness, last uses, which fixed registers a value must avoid.

use super::{Line, Pin};
use crate::backend::x86::machine::Term;
use regalloc2::VReg;

/// No register.
pub(super) const NONE: u8 = u8::MAX;

/// A set of virtual registers.
#[derive(Clone, Debug)]
pub(super) struct Set(Vec<u64>);

impl Set {
    fn new(n: usize) -> Set {
        Set(vec![0; n.div_ceil(64)])
    }

    fn add(&mut self, v: usize) {
        self.0[v / 64] |= 1 << (v % 64);
    }

    fn remove(&mut self, v: usize) {
        self.0[v / 64] &= !(1 << (v % 64));
    }

    fn has(&self, v: usize) -> bool {
        self.0[v / 64] >> (v % 64) & 1 != 0
    }

    /// Members in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.0.iter().enumerate().flat_map(|(i, &word)| {
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
}

/// Facts about a function; blocks count in layout order.
pub(super) struct Facts {
    /// Values live at each block's start, its parameters not among them.
    pub(super) live_in: Vec<Set>,
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
        let mut live = Set::new(n);
        for b in 0..blocks {
            facts.block(line, b, &mut live);
        }
        facts
    }

    fn block(&mut self, line: &Line, b: usize, live: &mut Set) {
        let block = &line.func.blocks[line.func.order[b]];
        let depth = self.loop_end.iter().enumerate().filter(|(head, end)| *head <= b && end.is_some_and(|e| b <= e)).count();
        let weight = if block.innermost { u32::MAX } else { 8u32.saturating_pow(depth as u32) };
        live.0.fill(0);
        for s in &line.succs[b] {
            live.0.iter_mut().zip(&self.live_in[s.index()].0).for_each(|(a, b)| *a |= b);
        }
        if let Term::Jump(_, args) = &block.term {
            for a in args {
                live.add(a.vreg());
                self.charge(a.vreg(), weight);
            }
        }
        let (first, end) = (line.ranges[b].first().index(), line.ranges[b].last().index());
        for inst in (first..=end).rev() {
            let (from, operands) = line.named(inst);
            let mut fixed = false;
            for (last, o) in self.last[from..].iter_mut().zip(operands) {
                *last = !live.has(o.index());
                let cost = &mut self.cost[o.index()];
                *cost = cost.saturating_add(weight);
                fixed |= matches!(o.pin, Pin::Fixed(_));
            }
            let after = fixed.then(|| live.clone());
            // What an instruction writes it does not read.
            for o in operands {
                if o.def {
                    live.remove(o.index());
                } else {
                    live.add(o.index());
                }
            }
            let Some(after) = after else { continue };
            for o in operands {
                let Pin::Fixed(p) = o.pin else { continue };
                let set = if o.def { &after } else { &*live };
                for v in set.iter().filter(|&v| v != o.index() && line.classes[v] == o.class) {
                    self.forbid[v] |= 1 << p;
                }
                self.fixed[o.index()] = p;
            }
        }
        for p in &block.params {
            self.cost[p.vreg()] = u32::MAX;
            if !live.has(p.vreg()) {
                self.dead_params.push(*p);
            }
        }
    }

    fn charge(&mut self, v: usize, weight: u32) {
        self.cost[v] = self.cost[v].saturating_add(weight);
    }
}

/// Values live at the start of each block.
fn liveness(line: &Line, n: usize) -> Vec<Set> {
    let blocks = line.ranges.len();
    let mut live_in = vec![Set::new(n); blocks];
    let mut defined = vec![Set::new(n); blocks];
    for b in 0..blocks {
        let block = &line.func.blocks[line.func.order[b]];
        let (uses, defs) = (&mut live_in[b], &mut defined[b]);
        block.params.iter().for_each(|p| defs.add(p.vreg()));
        // No instruction reads what it writes, so the order within one does not matter.
        for o in line.named_in(line.ranges[b]) {
            if o.def {
                defs.add(o.index());
            } else if !defs.has(o.index()) {
                uses.add(o.index());
            }
        }
        if let Term::Jump(_, args) = &block.term {
            args.iter().filter(|a| !defs.has(a.vreg())).for_each(|a| uses.add(a.vreg()));
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
                let mut mine = std::mem::take(&mut live_in[b].0);
                for ((mine, theirs), defined) in mine.iter_mut().zip(&live_in[s].0).zip(&defined[b].0) {
                    let new = *mine | theirs & !defined;
                    changed |= new != *mine;
                    *mine = new;
                }
                live_in[b].0 = mine;
            }
        }
        if !changed {
            return live_in;
        }
    }
}
