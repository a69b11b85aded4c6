//! From virtual locals to a function body: operands stay on the stack where that is possible, and locals are shared.
//!
//! Three steps, each linear: constants go to their uses; a local that is set right before the statement of its only use stays on the operand
//! stack, the statement's earlier operands moving in front of what computes it; the rest get real locals, one for any number of virtual
//! ones whose lives do not overlap. Nothing is moved over an instruction other than reads of locals and constants, so loads and stores keep their order.

use super::code::{Code, Ins, Local};
use std::collections::HashMap;
use wasm_encoder::{Encode, Function, Instruction, ValType};

/// Makes the body of a function.
pub(super) fn finish(code: Code) -> Function {
    let Code { ins, types, params } = code;
    let ins = keep_on_stack(inline_constants(ins, types.len()), types.len());
    let homes = assign(&ins, &types, params);
    let mut bytes = vec![];
    for i in &ins {
        let i = match i {
            Ins::Get(v) => Instruction::LocalGet(homes.of[v.0 as usize]),
            Ins::Set(v) => Instruction::LocalSet(homes.of[v.0 as usize]),
            Ins::Tee(v) => Instruction::LocalTee(homes.of[v.0 as usize]),
            Ins::Op(i) => {
                i.encode(&mut bytes);
                continue;
            }
            Ins::Start => continue,
        };
        i.encode(&mut bytes);
    }
    Instruction::End.encode(&mut bytes);
    let mut runs: Vec<(u32, ValType)> = vec![];
    for &ty in &homes.declared {
        match runs.last_mut() {
            Some((n, t)) if *t == ty => *n += 1,
            _ => runs.push((1, ty)),
        }
    }
    let mut f = Function::new(runs);
    f.raw(bytes);
    f
}

/// How often each local is read and written.
struct Counts {
    gets: Vec<u32>,
    sets: Vec<u32>,
}

impl Counts {
    fn new(ins: &[Ins], locals: usize) -> Counts {
        let mut c = Counts { gets: vec![0; locals], sets: vec![0; locals] };
        for i in ins {
            match i {
                Ins::Get(v) => c.gets[v.0 as usize] += 1,
                Ins::Set(v) | Ins::Tee(v) => c.sets[v.0 as usize] += 1,
                Ins::Op(_) | Ins::Start => {}
            }
        }
        c
    }

    /// Set once and read once.
    fn single(&self, v: Local) -> bool {
        self.gets[v.0 as usize] == 1 && self.sets[v.0 as usize] == 1
    }
}

fn is_constant(i: &Ins) -> bool {
    use Instruction::*;
    matches!(i, Ins::Op(I32Const(_) | I64Const(_) | F32Const(_) | F64Const(_) | V128Const(_)))
}

/// Scalar constants are repeated at each use, vector ones where there is one use only.
fn inline_constants(ins: Vec<Ins>, locals: usize) -> Vec<Ins> {
    let counts = Counts::new(&ins, locals);
    let mut constants: HashMap<Local, Ins> = HashMap::new();
    let mut out: Vec<Ins> = Vec::with_capacity(ins.len());
    for i in ins {
        match &i {
            Ins::Set(v) if matches!(&out[..], [.., Ins::Start, c] if is_constant(c)) && counts.sets[v.0 as usize] == 1 => {
                let repeats = !matches!(out.last(), Some(Ins::Op(Instruction::V128Const(c))) if *c != 0);
                if repeats || counts.gets[v.0 as usize] <= 1 {
                    // The constant and the start of its statement.
                    constants.extend(out.pop().map(|c| (*v, c)));
                    out.pop();
                    continue;
                }
                out.push(i);
            }
            Ins::Get(v) => out.push(constants.get(v).cloned().unwrap_or(i)),
            Ins::Set(v) if counts.gets[v.0 as usize] == 0 => out.push(Ins::Op(Instruction::Drop)),
            _ => out.push(i),
        }
    }
    out
}

fn keep_on_stack(ins: Vec<Ins>, locals: usize) -> Vec<Ins> {
    let counts = Counts::new(&ins, locals);
    let mut s = Stack { out: Vec::with_capacity(ins.len()), start: 0, started: HashMap::new(), counts };
    for i in ins {
        match i {
            Ins::Start => s.start = s.out.len(),
            Ins::Set(v) => {
                s.started.insert(v, s.start);
                s.out.push(Ins::Set(v));
            }
            i => {
                s.out.push(i);
                while s.join() {}
            }
        }
    }
    s.out
}

struct Stack {
    out: Vec<Ins>,
    /// Where the current statement begins.
    start: usize,
    /// Where the statement that sets a local last begins.
    started: HashMap<Local, usize>,
    counts: Counts,
}

impl Stack {
    /// Joins the current statement with the one in front of it, where that sets an operand just read.
    fn join(&mut self) -> bool {
        let Some(Ins::Set(v)) = self.start.checked_sub(1).and_then(|i| self.out.get(i)) else { return false };
        let v = *v;
        let pushes = self.out[self.start..].iter().take_while(|i| matches!(i, Ins::Get(_)) || is_constant(i)).count();
        let Some(at) = self.out[self.start..self.start + pushes].iter().position(|i| matches!(i, Ins::Get(g) if *g == v)) else {
            return false;
        };
        if !self.counts.single(v) {
            // The first operand may stay on the stack as well as in its local.
            if at == 0 {
                self.out.remove(self.start);
                self.out[self.start - 1] = Ins::Tee(v);
                self.start = self.started[&v];
                return true;
            }
            return false;
        }
        let from = self.started[&v];
        let set = self.start - 1;
        let earlier = &self.out[self.start..self.start + at];
        let writes = |l: &Local| self.out[from..set].iter().any(|i| matches!(i, Ins::Set(t) | Ins::Tee(t) if t == l));
        if earlier.iter().any(|i| matches!(i, Ins::Get(l) if writes(l))) {
            return false;
        }
        let mut moved: Vec<Ins> = self.out.drain(set..=self.start + at).collect();
        // Without the write and the read of `v` themselves.
        moved.pop();
        moved.remove(0);
        self.out.splice(from..from, moved);
        self.start = from;
        true
    }
}

/// Real local of each virtual one, and the types of those beyond the parameters.
struct Homes {
    of: Vec<u32>,
    declared: Vec<ValType>,
}

/// First and last instruction between which a local must keep its value.
#[derive(Clone, Copy)]
struct Life {
    first: usize,
    last: usize,
}

fn assign(ins: &[Ins], types: &[ValType], params: u32) -> Homes {
    let lives = lives(ins, types.len());
    let mut order: Vec<usize> = (params as usize..types.len()).filter(|&v| lives[v].is_some()).collect();
    order.sort_by_key(|&v| (lives[v].map(|l| l.first), v));
    let mut of: Vec<u32> = (0..types.len() as u32).map(|v| if v < params { v } else { 0 }).collect();
    // Real locals by type: the end of the life that each holds.
    let mut busy: Vec<(ValType, usize)> = vec![];
    for v in order {
        let Some(life) = lives[v] else { continue };
        let free = busy.iter().position(|(ty, last)| *ty == types[v] && *last < life.first);
        let home = free.unwrap_or_else(|| {
            busy.push((types[v], 0));
            busy.len() - 1
        });
        busy[home].1 = life.last;
        of[v] = params + home as u32;
    }
    Homes { of, declared: busy.into_iter().map(|b| b.0).collect() }
}

/// A local that is used in a loop but set before it lives until the loop's end.
fn lives(ins: &[Ins], locals: usize) -> Vec<Option<Life>> {
    let mut lives: Vec<Option<Life>> = vec![None; locals];
    // Open constructs: where a loop begins, `None` for others; locals that live until its end.
    let mut open: Vec<(Option<usize>, Vec<Local>)> = vec![];
    for (at, i) in ins.iter().enumerate() {
        match i {
            Ins::Get(v) | Ins::Set(v) | Ins::Tee(v) => {
                let life = lives[v.0 as usize].get_or_insert(Life { first: at, last: at });
                life.last = at;
                let first = life.first;
                if let Some((_, held)) = open.iter_mut().find(|(start, _)| start.is_some_and(|s| first < s)) {
                    held.push(*v);
                }
            }
            Ins::Op(Instruction::Loop(_)) => open.push((Some(at), vec![])),
            Ins::Op(Instruction::Block(_) | Instruction::If(_)) => open.push((None, vec![])),
            Ins::Op(Instruction::End) => {
                let (_, held) = open.pop().unwrap_or_default();
                for v in held {
                    if let Some(life) = &mut lives[v.0 as usize] {
                        life.last = at;
                    }
                }
            }
            Ins::Op(_) | Ins::Start => {}
        }
    }
    lives
}
