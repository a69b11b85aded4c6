//! How many vector registers a loop needs: lowering keeps constants in the others.

use super::Analysis;
use tflc_kir::{Block, Inst, Value};

impl Analysis<'_> {
    /// Upper estimate of the vector registers that the body of an innermost loop needs, without constants and splatted parameters.
    pub(in super::super) fn vector_pressure(&self, inst: &Inst) -> usize {
        let n = self.def.len();
        let mut p = Pressure { analysis: self, last: vec![0; n], used: vec![], inside: vec![false; n], at: 0, live: 0, max: 0 };
        for b in &inst.blocks {
            p.last_uses(b);
        }
        p.at = 0;
        for b in &inst.blocks {
            p.walk(b);
        }
        let outside = p.used.iter().filter(|v| !p.inside[v.index()] && self.in_vector(**v));
        p.max + outside.count()
    }
}

/// Simulates which values live at each instruction of a loop body.
struct Pressure<'a, 'k> {
    analysis: &'a Analysis<'k>,
    /// Position of the last use, from 1.
    last: Vec<u32>,
    /// Values with a use.
    used: Vec<Value>,
    inside: Vec<bool>,
    at: u32,
    live: usize,
    max: usize,
}

impl Pressure<'_, '_> {
    fn last_uses(&mut self, b: &Block) {
        b.args.iter().for_each(|v| self.inside[v.index()] = true);
        for inst in b.insts.iter().filter(|i| self.analysis.needed(i)) {
            self.at += 1;
            inst.args.iter().for_each(|&v| self.use_here(v));
            inst.blocks.iter().for_each(|b| self.last_uses(b));
            inst.results.iter().for_each(|v| self.inside[v.index()] = true);
        }
        self.at += 1;
        b.yields.iter().for_each(|&v| self.use_here(v));
    }

    fn use_here(&mut self, v: Value) {
        let v = self.analysis.root(v);
        if std::mem::replace(&mut self.last[v.index()], self.at) == 0 {
            self.used.push(v);
        }
    }

    fn born(&mut self, v: Value) {
        if self.analysis.root(v) == v && self.analysis.live(v) && self.analysis.in_vector(v) {
            self.live += 1;
            self.max = self.max.max(self.live);
        }
    }

    fn walk(&mut self, b: &Block) {
        b.args.iter().for_each(|&v| self.born(v));
        for inst in b.insts.iter().filter(|i| self.analysis.needed(i)) {
            self.at += 1;
            let at = self.at;
            inst.blocks.iter().for_each(|b| self.walk(b));
            for (i, &v) in inst.args.iter().enumerate() {
                let v = self.analysis.root(v);
                let dies = self.last[v.index()] == at && !inst.args[..i].contains(&v);
                if dies && self.inside[v.index()] && self.analysis.in_vector(v) {
                    self.live = self.live.saturating_sub(1);
                }
            }
            self.max = self.max.max(self.live + self.analysis.temporaries(inst));
            inst.results.iter().for_each(|&v| self.born(v));
        }
        self.at += 1;
    }
}
