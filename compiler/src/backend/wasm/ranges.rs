//! Which 64-bit integers of a kernel fit 32-bit locals.
//!
//! Addresses are 32 bits here while the language counts and addresses in 64. A value of kind `I64` is *narrow*, and lives in an `i32`, where
//! its range is known to fit (then its sign extension is the value) or where only its low half reaches any result: addition, multiplication and
//! the like need no more of their operands than is needed of them, and an address needs the low half. Also says which pointers
//! are *anchored*: not below the buffer they belong to, so that a constant offset may go into a memory instruction, whose sum does not wrap.

use std::collections::HashMap;
use tflc_kir::{BinOp, Block, ConvertOp, Elem, Inst, Kernel, Mem, Op, Type, UnOp, Value};

/// Inclusive range of a signed integer.
type Range = (i64, i64);

const I32_RANGE: Range = (i32::MIN as i64, i32::MAX as i64);

/// Facts on the values of a kernel.
#[derive(Debug)]
pub(super) struct Ranges {
    range: Vec<Option<Range>>,
    narrow: Vec<bool>,
    anchored: Vec<bool>,
}

impl Ranges {
    pub(super) fn new(kernel: &Kernel) -> Ranges {
        let count = kernel.types.len();
        let mut r = Ranges { range: vec![None; count], narrow: vec![false; count], anchored: vec![false; count] };
        // Work units are counted in 32 bits: the caller sees to that.
        r.range[kernel.begin.index()] = Some((0, i64::from(i32::MAX)));
        r.range[kernel.end.index()] = Some((0, i64::from(i32::MAX)));
        r.forward(kernel, &kernel.body);
        r.anchor(kernel);
        r.demand(kernel);
        r
    }

    /// Whether a value of kind `I64` lives in an `i32`.
    pub(super) fn is_narrow(&self, v: Value) -> bool {
        self.narrow[v.index()]
    }

    /// Whether the value is known to fit 32 bits, signed.
    pub(super) fn fits(&self, v: Value) -> bool {
        self.range[v.index()].is_some_and(|r| within(r, I32_RANGE))
    }

    /// Whether an address is known to be no lower than a buffer.
    pub(super) fn is_anchored(&self, v: Value) -> bool {
        self.anchored[v.index()]
    }

    pub(super) fn is_non_negative(&self, v: Value) -> bool {
        self.range[v.index()].is_some_and(|r| r.0 >= 0)
    }

    fn of(&self, v: Value) -> Range {
        self.range[v.index()].unwrap_or((i64::MIN, i64::MAX))
    }

    fn forward(&mut self, kernel: &Kernel, block: &Block) {
        for inst in &block.insts {
            if let Op::For { step } = inst.op {
                let (start, end) = (self.of(inst.args[0]), self.of(inst.args[1]));
                // The counter passes the end by less than a step before it is compared again.
                if end.1.checked_add(step).is_some_and(|last| within((start.0, last), I32_RANGE)) && within(start, I32_RANGE) {
                    self.range[inst.blocks[0].args[0].index()] = Some((start.0, start.0.max(end.1 - 1)));
                }
            }
            inst.blocks.iter().for_each(|b| self.forward(kernel, b));
            if let [r] = inst.results[..]
                && kernel.ty(r) == Type::I64
            {
                self.range[r.index()] = self.result(kernel, inst);
            }
        }
    }

    fn result(&self, kernel: &Kernel, inst: &Inst) -> Option<Range> {
        let a = |i: usize| self.of(inst.args[i]);
        let corners = |f: fn(i64, i64) -> Option<i64>| {
            let (x, y) = (a(0), a(1));
            let all = [f(x.0, y.0)?, f(x.0, y.1)?, f(x.1, y.0)?, f(x.1, y.1)?];
            Some((all.into_iter().min()?, all.into_iter().max()?))
        };
        match &inst.op {
            Op::Const(bits) => Some((*bits as i64, *bits as i64)),
            Op::Bin(BinOp::Add) => corners(i64::checked_add),
            Op::Bin(BinOp::Sub) => corners(i64::checked_sub),
            Op::Bin(BinOp::Mul) => corners(i64::checked_mul),
            Op::Bin(BinOp::Min) => Some((a(0).0.min(a(1).0), a(0).1.min(a(1).1))),
            Op::Bin(BinOp::Max) => Some((a(0).0.max(a(1).0), a(0).1.max(a(1).1))),
            Op::Bin(BinOp::Div) if a(1).0 > 0 => corners(i64::checked_div),
            Op::Bin(BinOp::Rem) if a(1).0 > 0 => {
                let most = a(1).1 - 1;
                Some((if a(0).0 >= 0 { 0 } else { -most }, most))
            }
            Op::Bin(BinOp::And) if a(0).0 >= 0 || a(1).0 >= 0 => {
                let most = [a(0), a(1)].iter().filter(|r| r.0 >= 0).map(|r| r.1).min()?;
                Some((0, most))
            }
            Op::Bin(BinOp::ShrU | BinOp::ShrS) if a(0).0 >= 0 && a(1).0 == a(1).1 => match a(1).0 {
                n @ 0..64 => Some((a(0).0 >> n, a(0).1 >> n)),
                _ => Some((0, 0)),
            },
            Op::Bin(BinOp::Shl) if a(1).0 == a(1).1 && (0..32).contains(&a(1).0) => {
                let f = |v: i64| v.checked_mul(1 << a(1).0);
                Some((f(a(0).0)?, f(a(0).1)?))
            }
            Op::Select => Some((a(1).0.min(a(2).0), a(1).1.max(a(2).1))),
            Op::Convert(ConvertOp::ExtS) => Some(I32_RANGE),
            Op::Convert(ConvertOp::ExtU) => {
                let bits = kernel.ty(inst.args[0]).elem.bits();
                Some((0, (1i64 << bits.min(32)) - 1))
            }
            Op::Load(m) => match m.mem {
                Mem::S8 => Some((-128, 127)),
                Mem::U8 => Some((0, 255)),
                Mem::S16 => Some((-32768, 32767)),
                Mem::U16 => Some((0, 65535)),
                Mem::S32 => Some(I32_RANGE),
                Mem::U32 => Some((0, i64::from(u32::MAX))),
                _ => None,
            },
            _ => None,
        }
    }

    /// Assumes the best of pointers that loops carry, and drops what turns out wrong until nothing changes.
    fn anchor(&mut self, kernel: &Kernel) {
        kernel.params.iter().for_each(|p| self.anchored[p.value.index()] = kernel.ty(p.value) == Type::PTR);
        let is_ptr = |v: &&Value| kernel.ty(**v) == Type::PTR;
        kernel.for_each_inst(&mut |i| {
            i.results.iter().chain(i.blocks.iter().flat_map(|b| &b.args)).filter(is_ptr).for_each(|v| self.anchored[v.index()] = true);
        });
        loop {
            let mut wrong: Vec<Value> = vec![];
            kernel.for_each_inst(&mut |i| {
                let ok = |v: Value| self.anchored[v.index()];
                match &i.op {
                    Op::Scratch { .. } => {}
                    Op::PtrAdd if !(ok(i.args[0]) && self.is_non_negative(i.args[1])) => wrong.extend(&i.results),
                    Op::Select if kernel.ty(i.results[0]) == Type::PTR && !(ok(i.args[1]) && ok(i.args[2])) => wrong.extend(&i.results),
                    Op::For { .. } | Op::While | Op::If => flows(i).for_each(|(from, to)| {
                        if !ok(from) {
                            wrong.push(to);
                        }
                    }),
                    Op::PtrAdd | Op::Select => {}
                    _ => wrong.extend(&i.results),
                }
            });
            wrong.retain(|v| self.anchored[v.index()]);
            if wrong.is_empty() {
                return;
            }
            wrong.iter().for_each(|v| self.anchored[v.index()] = false);
        }
    }

    /// Assumes that low halves suffice everywhere, and drops what turns out wrong until nothing changes.
    fn demand(&mut self, kernel: &Kernel) {
        let is_i64 = |v: Value| kernel.ty(v) == Type::I64;
        for v in (0..kernel.types.len() as u32).map(Value) {
            self.narrow[v.index()] = is_i64(v);
        }
        let fits: HashMap<Value, bool> =
            (0..kernel.types.len() as u32).map(Value).filter(|v| is_i64(*v)).map(|v| (v, self.fits(v))).collect();
        loop {
            let mut full: Vec<Value> = vec![];
            kernel.for_each_inst(&mut |i| {
                for (k, &v) in i.args.iter().enumerate().filter(|(_, v)| is_i64(**v)) {
                    if !self.takes_low(kernel, i, k) {
                        full.push(v);
                    }
                }
                // A counter is compared with the end.
                if let Op::For { .. } = i.op {
                    full.push(i.blocks[0].args[0]);
                }
                flows(i).filter(|(from, to)| is_i64(*from) && !self.narrow[to.index()]).for_each(|(from, _)| full.push(from));
            });
            full.retain(|v| self.narrow[v.index()] && !fits[v]);
            if full.is_empty() {
                return;
            }
            full.iter().for_each(|v| self.narrow[v.index()] = false);
        }
    }

    /// Whether an instruction needs only the low half of its operand `k`, a scalar `I64`.
    fn takes_low(&self, kernel: &Kernel, i: &Inst, k: usize) -> bool {
        let result_narrow = || self.narrow[i.results[0].index()];
        match &i.op {
            Op::Bin(BinOp::Add | BinOp::Sub | BinOp::Mul | BinOp::And | BinOp::Or | BinOp::Xor) | Op::Un(UnOp::Neg | UnOp::Not) => {
                result_narrow()
            }
            // Amounts are compared with the width.
            Op::Bin(BinOp::Shl) => k == 0 && result_narrow() && self.fits(i.args[1]),
            Op::Select => result_narrow(),
            Op::Convert(ConvertOp::Wrap) => true,
            Op::Convert(ConvertOp::Bitcast) => kernel.ty(i.results[0]).elem == Elem::Ptr,
            Op::PtrAdd | Op::Load(_) | Op::LoadSplat(_) | Op::Prefetch(..) => true,
            Op::Store(m, narrow) => {
                let data = k + 1 == i.args.len();
                !data || (m.mem.bytes() <= 4 && *narrow == tflc_kir::Narrow::Wrap)
            }
            // What flows into blocks is seen there; the bounds of a loop are compared.
            Op::For { .. } => k >= 2,
            Op::While | Op::If => true,
            _ => false,
        }
    }
}

fn within(a: Range, b: Range) -> bool {
    a.0 >= b.0 && a.1 <= b.1
}

/// Copies that control flow makes: from a value to a block argument or a result.
fn flows(i: &Inst) -> impl Iterator<Item = (Value, Value)> {
    let mut pairs: Vec<(Value, Value)> = vec![];
    let mut add = |from: &[Value], to: &[Value]| pairs.extend(from.iter().copied().zip(to.iter().copied()));
    match (&i.op, &i.blocks[..]) {
        (Op::For { .. }, [body]) => {
            add(&i.args[2..], &body.args[1..]);
            add(&body.yields, &body.args[1..]);
            add(&body.args[1..], &i.results);
        }
        (Op::If, [then, other]) => {
            add(&then.yields, &i.results);
            add(&other.yields, &i.results);
        }
        (Op::While, [test, body]) => {
            add(&i.args, &test.args);
            add(&test.yields[1..], &body.args);
            add(&test.yields[1..], &i.results);
            add(&body.yields, &test.args);
        }
        _ => {}
    }
    pairs.into_iter()
}
