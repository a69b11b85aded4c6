//! Removes dead code: pure operators and loads without a use, loops and branches without effect or use, and the carried values, results and
//! initial values of the others that nobody needs.
//!
//! Liveness spreads from stores, prefetches and the status. A carried value lives if something in the loop or behind it uses it;
//! its own update does not count.

use crate::kernel::{Block, Inst, Kernel, Value};
use crate::op::Op;
use smallvec::SmallVec;

pub(super) fn sweep(kernel: &mut Kernel) {
    let n = kernel.types.len();
    let mut m = Marker {
        insts: vec![],
        parents: vec![],
        live: vec![],
        roots: vec![],
        values: vec![Def::NONE; n],
        live_values: vec![false; n],
        work: vec![],
    };
    m.collect(&kernel.body, u32::MAX);
    kernel.body.yields.iter().for_each(|&v| m.value(v));
    for i in std::mem::take(&mut m.roots) {
        m.inst(i);
    }
    m.spread();
    let mut s = Sweeper { live: m.live, values: m.live_values, next: 0 };
    s.block(&mut kernel.body);
}

/// Where a value comes from.
#[derive(Clone, Copy)]
struct Def {
    inst: u32,
    place: Place,
    /// Position among the results or arguments.
    k: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Place {
    Parameter,
    Result,
    FirstBlock,
    SecondBlock,
}

impl Def {
    const NONE: Def = Def { inst: 0, place: Place::Parameter, k: 0 };
}

struct Marker<'a> {
    /// All instructions, outer before inner.
    insts: Vec<&'a Inst>,
    parents: Vec<u32>,
    live: Vec<bool>,
    /// Instructions with an effect.
    roots: Vec<u32>,
    values: Vec<Def>,
    live_values: Vec<bool>,
    work: Vec<Value>,
}

impl<'a> Marker<'a> {
    fn collect(&mut self, b: &'a Block, parent: u32) {
        for inst in &b.insts {
            let id = self.insts.len() as u32;
            self.insts.push(inst);
            self.parents.push(parent);
            self.live.push(false);
            if inst.op.has_effect() {
                self.roots.push(id);
            }
            self.define(&inst.results, id, Place::Result);
            for (b, place) in inst.blocks.iter().zip([Place::FirstBlock, Place::SecondBlock]) {
                self.define(&b.args, id, place);
                self.collect(b, id);
            }
        }
    }

    fn define(&mut self, vs: &[Value], inst: u32, place: Place) {
        for (k, v) in vs.iter().enumerate() {
            self.values[v.index()] = Def { inst, place, k: k as u32 };
        }
    }

    fn value(&mut self, v: Value) {
        if !self.live_values[v.index()] {
            self.live_values[v.index()] = true;
            self.work.push(v);
        }
    }

    /// Makes an instruction live, with what it needs whatever its results are, and what encloses it.
    fn inst(&mut self, id: u32) {
        if self.live[id as usize] {
            return;
        }
        self.live[id as usize] = true;
        let inst = self.insts[id as usize];
        match inst.op {
            Op::For { .. } => inst.args[..2].iter().for_each(|&v| self.value(v)),
            Op::While => self.value(inst.blocks[0].yields[0]),
            // Of an if, the condition.
            _ => inst.args.iter().for_each(|&v| self.value(v)),
        }
        if let Some(&parent) = self.parents.get(id as usize)
            && parent != u32::MAX
        {
            self.inst(parent);
        }
    }

    fn spread(&mut self) {
        while let Some(v) = self.work.pop() {
            let Def { inst: id, place, k } = self.values[v.index()];
            if place == Place::Parameter {
                continue;
            }
            self.inst(id);
            let (inst, k) = (self.insts[id as usize], k as usize);
            match (&inst.op, place) {
                (Op::For { .. }, Place::Result) => self.value(inst.blocks[0].args[1 + k]),
                (Op::For { .. }, _) if k > 0 => {
                    self.value(inst.args[1 + k]);
                    self.value(inst.blocks[0].yields[k - 1]);
                }
                (Op::If, _) => inst.blocks.iter().for_each(|b| self.value(b.yields[k])),
                (Op::While, Place::FirstBlock) => {
                    self.value(inst.args[k]);
                    self.value(inst.blocks[1].yields[k]);
                }
                (Op::While, _) => self.value(inst.blocks[0].yields[1 + k]),
                _ => {}
            }
        }
    }
}

struct Sweeper {
    live: Vec<bool>,
    values: Vec<bool>,
    /// Number of the next instruction, outer before inner.
    next: usize,
}

impl Sweeper {
    fn block(&mut self, b: &mut Block) {
        let mut insts = std::mem::take(&mut b.insts);
        insts.retain_mut(|inst| {
            let id = self.next;
            self.next += 1;
            inst.blocks.iter_mut().for_each(|b| self.block(b));
            let live = self.live[id];
            if live && !inst.blocks.is_empty() {
                self.slots(inst);
            }
            live
        });
        b.insts = insts;
    }

    /// Removes the dead slots of a control-flow instruction.
    fn slots(&self, inst: &mut Inst) {
        let live = |v: &Value| self.values[v.index()];
        match inst.op {
            Op::For { .. } => {
                let b = &mut inst.blocks[0];
                let keep: SmallVec<[bool; 32]> = b.args[1..].iter().map(live).collect();
                retain(&mut inst.args, 2, &keep);
                retain(&mut inst.results, 0, &keep);
                retain(&mut b.args, 1, &keep);
                retain(&mut b.yields, 0, &keep);
            }
            Op::If => {
                let keep: SmallVec<[bool; 32]> = inst.results.iter().map(live).collect();
                retain(&mut inst.results, 0, &keep);
                inst.blocks.iter_mut().for_each(|b| retain(&mut b.yields, 0, &keep));
            }
            Op::While => {
                let [first, second] = &mut inst.blocks[..] else { return };
                let keep: SmallVec<[bool; 32]> = first.args.iter().map(live).collect();
                retain(&mut inst.args, 0, &keep);
                retain(&mut first.args, 0, &keep);
                retain(&mut second.yields, 0, &keep);
                let keep: SmallVec<[bool; 32]> = inst.results.iter().zip(&second.args).map(|(r, a)| live(r) || live(a)).collect();
                retain(&mut inst.results, 0, &keep);
                retain(&mut second.args, 0, &keep);
                retain(&mut first.yields, 1, &keep);
            }
            _ => {}
        }
    }
}

/// A list of values to thin out.
trait Values {
    fn thin(&mut self, keep: impl FnMut(&mut Value) -> bool);
}

impl Values for Vec<Value> {
    fn thin(&mut self, keep: impl FnMut(&mut Value) -> bool) {
        self.retain_mut(keep);
    }
}

impl<const N: usize> Values for SmallVec<[Value; N]>
where
    [Value; N]: smallvec::Array<Item = Value>,
{
    fn thin(&mut self, keep: impl FnMut(&mut Value) -> bool) {
        self.retain(keep);
    }
}

/// Keeps the first `from` values, and of the others those marked.
fn retain(values: &mut impl Values, from: usize, keep: &[bool]) {
    let mut i = 0;
    values.thin(|_| {
        i += 1;
        i <= from || keep.get(i - 1 - from).copied().unwrap_or(true)
    });
}
