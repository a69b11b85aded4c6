//! Forward walk: folds constants, addresses and known control flow, and shares equal pure operators.
//!
//! Lane-wise operators on constants are folded with the interpreter's own arithmetic. Sharing follows visibility: an operator is replaced by an
//! equal one of the same or an enclosing block. A vector is shared only within one loop body, since otherwise it would occupy a
//! register throughout the loop. Constants may be shared anywhere, because backends make them anew at each use.

use crate::interp::lanes;
use crate::kernel::{Block, Inst, Kernel, Value};
use crate::mixer::Mixer;
use crate::op::*;
use crate::types::{Elem, Type};
use smallvec::{SmallVec, smallvec};
use std::hash::{Hash, Hasher};

pub(super) fn simplify(kernel: &mut Kernel) {
    let n = kernel.types.len();
    let mut escapes = vec![false; n];
    find_escapes(&kernel.body, &mut escapes);
    let mut s = Simplifier {
        alias: (0..n as u32).map(Value).collect(),
        known: vec![Known::Nothing; n],
        escapes,
        table: Table::new(n),
        scope: 0,
        scopes: 0,
        kernel,
    };
    let mut body = std::mem::take(&mut s.kernel.body);
    s.block(&mut body);
    s.kernel.body = body;
}

/// Marks the values that have a use other than in an address or an addition: folding them into addresses would not remove them.
fn find_escapes(b: &Block, escapes: &mut [bool]) {
    for inst in &b.insts {
        let addresses = match &inst.op {
            Op::Load(m) | Op::LoadSplat(m) | Op::Store(m, _) => 1 + usize::from(m.addr.scale != 0),
            Op::Prefetch(..) => inst.args.len(),
            Op::Gather(_) => 1,
            _ => 0,
        };
        inst.args[addresses..].iter().for_each(|v| escapes[v.index()] = true);
        inst.blocks.iter().for_each(|b| find_escapes(b, escapes));
    }
    b.yields.iter().for_each(|v| escapes[v.index()] = true);
}

/// What is known of a value.
#[derive(Clone, Copy)]
enum Known {
    Nothing,
    /// These bits in every lane.
    Const(u64),
    /// Another value plus a constant number (of bytes, for addresses).
    Sum(Value, i64),
}

struct Simplifier<'a> {
    kernel: &'a mut Kernel,
    /// What to use instead of each value.
    alias: Vec<Value>,
    known: Vec<Known>,
    escapes: Vec<bool>,
    table: Table,
    /// The innermost loop.
    scope: u32,
    scopes: u32,
}

/// What becomes of an operator.
enum Outcome {
    Keep,
    /// Use that value instead.
    Same(Value),
    /// It is a constant with these bits in every lane.
    Const(u64),
}

impl Simplifier<'_> {
    fn resolve(&self, v: Value) -> Value {
        self.alias[v.index()]
    }

    fn bits(&self, v: Value) -> Option<u64> {
        match self.known[v.index()] {
            Known::Const(bits) => Some(bits),
            _ => None,
        }
    }

    fn int(&self, v: Value) -> Option<i64> {
        let elem = self.kernel.ty(v).elem;
        self.bits(v).map(|b| lanes::signed(b, elem.bits()))
    }

    /// Simplifies a block in place, as a scope of its own.
    fn block(&mut self, b: &mut Block) {
        let mark = self.table.entries.len();
        let insts = std::mem::take(&mut b.insts);
        let mut out = Vec::with_capacity(insts.len());
        self.insts(insts, &mut out);
        b.insts = out;
        b.yields.iter_mut().for_each(|v| *v = self.alias[v.index()]);
        self.table.truncate(mark);
    }

    fn insts(&mut self, insts: Vec<Inst>, out: &mut Vec<Inst>) {
        for mut inst in insts {
            inst.args.iter_mut().for_each(|v| *v = self.alias[v.index()]);
            match inst.op {
                Op::For { step } => self.for_loop(inst, step, out),
                Op::If => self.if_else(inst, out),
                Op::While => self.while_loop(inst, out),
                _ => self.plain(inst, out),
            }
        }
    }

    fn replace(&mut self, vs: &[Value], by: &[Value]) {
        for (v, by) in vs.iter().zip(by) {
            self.alias[v.index()] = self.resolve(*by);
        }
    }

    /// Puts a block's instructions in place of the instruction that owns it.
    fn inline(&mut self, b: Block, results: &[Value], out: &mut Vec<Inst>) {
        self.insts(b.insts, out);
        self.replace(results, &b.yields);
    }

    fn in_loop(&mut self, f: impl FnOnce(&mut Self)) {
        self.scopes += 1;
        let outer = std::mem::replace(&mut self.scope, self.scopes);
        f(self);
        self.scope = outer;
    }

    fn for_loop(&mut self, mut inst: Inst, step: i64, out: &mut Vec<Inst>) {
        let Some(mut b) = inst.blocks.pop() else { return };
        if let (Some(start), Some(end)) = (self.int(inst.args[0]), self.int(inst.args[1])) {
            if start >= end {
                return self.replace(&inst.results, &inst.args[2..]);
            }
            if start.checked_add(step).is_none_or(|next| next >= end) {
                self.alias[b.args[0].index()] = inst.args[0];
                self.replace(&b.args[1..], &inst.args[2..]);
                return self.inline(b, &inst.results, out);
            }
        }
        // What every iteration hands on unchanged is the initial value; the dead slot is swept later.
        for (k, (&arg, &next)) in b.args[1..].iter().zip(&b.yields).enumerate() {
            if arg == next {
                self.alias[arg.index()] = inst.args[2 + k];
                self.alias[inst.results[k].index()] = inst.args[2 + k];
            }
        }
        self.in_loop(|s| s.block(&mut b));
        inst.blocks.push(b);
        out.push(inst);
    }

    fn if_else(&mut self, mut inst: Inst, out: &mut Vec<Inst>) {
        if let Some(cond) = self.bits(inst.args[0])
            && let Some(other) = inst.blocks.pop()
            && let Some(then) = inst.blocks.pop()
        {
            return self.inline(if cond != 0 { then } else { other }, &inst.results, out);
        }
        inst.blocks.iter_mut().for_each(|b| self.block(b));
        for (k, r) in inst.results.iter().enumerate() {
            // A value from outside that both sides yield.
            if inst.blocks[0].yields[k] == inst.blocks[1].yields[k] {
                self.alias[r.index()] = inst.blocks[0].yields[k];
            }
        }
        out.push(inst);
    }

    fn while_loop(&mut self, mut inst: Inst, out: &mut Vec<Inst>) {
        self.in_loop(|s| inst.blocks.iter_mut().for_each(|b| s.block(b)));
        out.push(inst);
    }

    fn plain(&mut self, mut inst: Inst, out: &mut Vec<Inst>) {
        match &mut inst.op {
            Op::Load(m) | Op::LoadSplat(m) | Op::Store(m, _) => self.address(&mut m.addr, &mut inst.args, true),
            Op::Gather(m) => self.address(&mut m.addr, &mut inst.args, false),
            Op::Prefetch(addr, _) => self.address(addr, &mut inst.args, true),
            _ => {}
        }
        let &[r] = &inst.results[..] else { return out.push(inst) };
        if !inst.op.is_pure() {
            return out.push(inst);
        }
        let ty = self.kernel.ty(r);
        match self.fold(&inst, ty) {
            Outcome::Keep => {}
            Outcome::Same(v) => {
                self.alias[r.index()] = v;
                return;
            }
            Outcome::Const(bits) => {
                inst.op = Op::Const(bits);
                inst.args = smallvec![];
            }
        }
        match inst.op {
            Op::Const(bits) => self.known[r.index()] = Known::Const(bits),
            Op::PtrAdd => self.learn_sum(r, inst.args[0], inst.args[1], 1),
            Op::Bin(BinOp::Add) if ty == Type::I64 && self.bits(inst.args[1]).is_some() => self.learn_sum(r, inst.args[0], inst.args[1], 1),
            Op::Bin(BinOp::Add) if ty == Type::I64 => self.learn_sum(r, inst.args[1], inst.args[0], 1),
            Op::Bin(BinOp::Sub) if ty == Type::I64 => self.learn_sum(r, inst.args[0], inst.args[1], -1),
            _ => {}
        }
        // What occupies no vector register while a loop runs may come from outside that loop.
        let anywhere = !ty.is_vector() || matches!(inst.op, Op::Const(_) | Op::ConstVec(_));
        let scope = if anywhere { u32::MAX } else { self.scope };
        match self.table.find_or_add(&inst.op, &inst.args, ty, scope, r) {
            Some(v) => self.alias[r.index()] = v,
            None => out.push(inst),
        }
    }

    /// Records that `r` is `base ± c`.
    fn learn_sum(&mut self, r: Value, base: Value, c: Value, sign: i64) {
        let Some(c) = self.int(c).and_then(|c| c.checked_mul(sign)) else { return };
        self.known[r.index()] = match self.known[base.index()] {
            Known::Sum(root, d) => Known::Sum(root, c.wrapping_add(d)),
            _ => Known::Sum(base, c),
        };
    }

    /// Moves constants from base and index into the constant offset, where that saves the addition.
    fn address(&self, addr: &mut AddrMode, args: &mut SmallVec<[Value; 4]>, index: bool) {
        let moved = |disp: i32, by: Option<i64>| by.and_then(|by| i64::from(disp).checked_add(by)).and_then(|d| i32::try_from(d).ok());
        if let Known::Sum(root, c) = self.known[args[0].index()]
            && !self.escapes[args[0].index()]
            && let Some(disp) = moved(addr.disp, Some(c))
        {
            args[0] = root;
            addr.disp = disp;
        }
        if !index || addr.scale == 0 {
            return;
        }
        let scale = i64::from(addr.scale);
        match self.known[args[1].index()] {
            Known::Const(c) => {
                if let Some(disp) = moved(addr.disp, (c as i64).checked_mul(scale)) {
                    args.remove(1);
                    *addr = AddrMode { scale: 0, disp };
                }
            }
            Known::Sum(root, c) if !self.escapes[args[1].index()] => {
                if let Some(disp) = moved(addr.disp, c.checked_mul(scale)) {
                    args[1] = root;
                    addr.disp = disp;
                }
            }
            _ => {}
        }
    }

    fn fold(&self, inst: &Inst, ty: Type) -> Outcome {
        let bits = |i: usize| self.bits(inst.args[i]);
        let elem = ty.elem;
        let from = inst.args.first().map_or(elem, |&a| self.kernel.ty(a).elem);
        let mut out = [0];
        match inst.op {
            Op::Un(o) => match bits(0) {
                Some(a) => lanes::unary(o, elem, &mut out, &[a]),
                None => return Outcome::Keep,
            },
            Op::Bin(o) => match (bits(0), bits(1)) {
                (Some(a), Some(b)) => {
                    if lanes::binary(o, elem, &mut out, &[a], &[b]).is_none() {
                        return Outcome::Keep;
                    }
                }
                _ => return self.identity(o, inst, ty),
            },
            Op::Fma => match (bits(0), bits(1), bits(2)) {
                (Some(a), Some(b), Some(c)) => lanes::fma(elem, &mut out, &[a], &[b], &[c]),
                _ => return Outcome::Keep,
            },
            Op::Cmp(o) => match (bits(0), bits(1)) {
                (Some(a), Some(b)) => lanes::compare(o, from, &mut out, &[a], &[b]),
                _ => return Outcome::Keep,
            },
            Op::Select => {
                return match bits(0) {
                    Some(c) => Outcome::Same(inst.args[if c != 0 { 1 } else { 2 }]),
                    None if inst.args[1] == inst.args[2] => Outcome::Same(inst.args[1]),
                    None => Outcome::Keep,
                };
            }
            Op::Convert(ConvertOp::Bitcast) if self.kernel.ty(inst.args[0]) == ty => return Outcome::Same(inst.args[0]),
            Op::Convert(ConvertOp::Bitcast) => return Outcome::Keep,
            Op::Convert(o) => match bits(0) {
                Some(a) => lanes::convert(o, from, elem, &mut out, &[a]),
                None => return Outcome::Keep,
            },
            Op::Splat => match bits(0) {
                Some(a) => out[0] = a & elem.bit_mask(),
                None => return Outcome::Keep,
            },
            Op::PtrAdd if bits(1) == Some(0) => return Outcome::Same(inst.args[0]),
            _ => return Outcome::Keep,
        }
        // The payload of a NaN is open: leave that to the target.
        let nan = match elem {
            Elem::F32 => f32::from_bits(out[0] as u32).is_nan(),
            Elem::F64 => f64::from_bits(out[0]).is_nan(),
            _ => false,
        };
        if nan { Outcome::Keep } else { Outcome::Const(out[0]) }
    }

    /// Operators with one constant operand, or twice the same, that need no work. Integers and truth values only.
    fn identity(&self, op: BinOp, inst: &Inst, ty: Type) -> Outcome {
        if ty.elem.is_float() {
            return Outcome::Keep;
        }
        let (a, b) = (inst.args[0], inst.args[1]);
        let ones = ty.elem.bit_mask();
        let (ka, kb) = (self.bits(a), self.bits(b));
        match op {
            BinOp::Add | BinOp::Or | BinOp::Xor if kb == Some(0) => Outcome::Same(a),
            BinOp::Add | BinOp::Or | BinOp::Xor if ka == Some(0) => Outcome::Same(b),
            BinOp::Sub | BinOp::Shl | BinOp::ShrS | BinOp::ShrU if kb == Some(0) => Outcome::Same(a),
            BinOp::Mul | BinOp::Div if kb == Some(1) => Outcome::Same(a),
            BinOp::Mul if ka == Some(1) => Outcome::Same(b),
            BinOp::Mul | BinOp::And if ka == Some(0) || kb == Some(0) => Outcome::Const(0),
            BinOp::And if kb == Some(ones) => Outcome::Same(a),
            BinOp::And if ka == Some(ones) => Outcome::Same(b),
            BinOp::Or if ka == Some(ones) || kb == Some(ones) => Outcome::Const(ones),
            BinOp::And | BinOp::Or | BinOp::Min | BinOp::Max | BinOp::MinU | BinOp::MaxU if a == b => Outcome::Same(a),
            BinOp::Sub | BinOp::Xor if a == b => Outcome::Const(0),
            _ => Outcome::Keep,
        }
    }
}

/// Operators seen so far, found by hash; entries leave in the reverse order of entry.
struct Table {
    /// Newest entry of each bucket, plus one.
    heads: Vec<u32>,
    entries: Vec<Entry>,
}

struct Entry {
    hash: u32,
    /// The next older entry of the bucket, plus one.
    older: u32,
    op: Op,
    args: SmallVec<[Value; 4]>,
    ty: Type,
    scope: u32,
    result: Value,
}

impl Table {
    fn new(values: usize) -> Table {
        Table { heads: vec![0; values.next_power_of_two().clamp(64, 1 << 16)], entries: vec![] }
    }

    fn bucket(&self, hash: u32) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// The result of an equal operator, or adds this one.
    fn find_or_add(&mut self, op: &Op, args: &SmallVec<[Value; 4]>, ty: Type, scope: u32, result: Value) -> Option<Value> {
        let mut h = Mixer::default();
        (op, ty, scope).hash(&mut h);
        args.iter().for_each(|v| h.write_u32(v.0));
        let hash = h.finish() as u32;
        let bucket = self.bucket(hash);
        let mut at = self.heads[bucket];
        while at != 0 {
            let e = &self.entries[at as usize - 1];
            if e.hash == hash && e.scope == scope && e.ty == ty && e.args == *args && e.op == *op {
                return Some(e.result);
            }
            at = e.older;
        }
        let older = self.heads[bucket];
        self.entries.push(Entry { hash, older, op: op.clone(), args: SmallVec::from_slice(args), ty, scope, result });
        self.heads[bucket] = self.entries.len() as u32;
        None
    }

    fn truncate(&mut self, len: usize) {
        while self.entries.len() > len
            && let Some(e) = self.entries.pop()
        {
            let bucket = self.bucket(e.hash);
            self.heads[bucket] = e.older;
        }
    }
}
