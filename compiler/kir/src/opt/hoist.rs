//! Moves invariant scalar address arithmetic out of loops.
//!
//! From the innermost loops outwards, where the general registers suffice: the scalars that a loop needs from outside are counted, and
//! a loop that would need more than [`SCALAR_BUDGET`] is left alone. Constants stay, because backends make them anew at each use;
//! vectors and floats stay, because templates count vector registers; what stands in a branch stays, because it may not run.

use crate::kernel::{Block, Inst, Kernel, Value};
use crate::op::*;
use crate::types::Type;
use smallvec::smallvec;

/// Scalars from outside that a loop may use: the general registers of x86-64, less some room to work in.
const SCALAR_BUDGET: usize = 11;

pub(super) fn hoist(kernel: &mut Kernel) {
    let n = kernel.types.len();
    let mut h = Hoister { depth: vec![0; n], constant: vec![None; n], chosen: vec![false; n], seen: vec![0; n], stamp: 0, kernel };
    let mut body = std::mem::take(&mut h.kernel.body);
    h.block(&mut body, 0);
    h.kernel.body = body;
}

struct Hoister<'a> {
    kernel: &'a mut Kernel,
    /// Number of loops around each value's definition.
    depth: Vec<u32>,
    /// Bits of scalar constants.
    constant: Vec<Option<u64>>,
    /// Whether the current loop gives the value up.
    chosen: Vec<bool>,
    /// The last count that met the value.
    seen: Vec<u32>,
    stamp: u32,
}

impl Hoister<'_> {
    fn define(&mut self, vs: &[Value], depth: u32) {
        vs.iter().for_each(|v| self.depth[v.index()] = depth);
    }

    fn block(&mut self, b: &mut Block, depth: u32) {
        self.define(&b.args, depth);
        // What loops give up, with their positions.
        let mut moved: Vec<(usize, Vec<Inst>)> = vec![];
        for (at, inst) in b.insts.iter_mut().enumerate() {
            let inner = depth + u32::from(matches!(inst.op, Op::For { .. } | Op::While));
            inst.blocks.iter_mut().for_each(|b| self.block(b, inner));
            self.define(&inst.results, depth);
            if let [r] = inst.results[..] {
                self.constant[r.index()] = match inst.op {
                    Op::Const(bits) => Some(bits),
                    _ => None,
                };
            }
            if matches!(inst.op, Op::For { .. }) {
                let mut out = vec![];
                self.empty(inst, depth, &mut out);
                if !out.is_empty() {
                    moved.push((at, out));
                }
            }
        }
        if moved.is_empty() {
            return;
        }
        let more: usize = moved.iter().map(|(_, out)| out.len()).sum();
        let insts = std::mem::take(&mut b.insts);
        b.insts.reserve_exact(insts.len() + more);
        let mut moved = moved.into_iter().peekable();
        for (at, inst) in insts.into_iter().enumerate() {
            if let Some((_, out)) = moved.next_if(|m| m.0 == at) {
                b.insts.extend(out);
            }
            b.insts.push(inst);
        }
    }

    /// Moves what it can from a loop's body to `out`, which goes in front of the loop.
    fn empty(&mut self, inst: &mut Inst, depth: u32, out: &mut Vec<Inst>) {
        let Some(body) = inst.blocks.first_mut() else { return };
        let mut any = false;
        for i in &body.insts {
            let [r] = i.results[..] else { continue };
            let outside = |v: &Value| self.depth[v.index()] <= depth || self.constant[v.index()].is_some() || self.chosen[v.index()];
            if is_address_arithmetic(i, self.kernel.ty(r)) && i.args.iter().all(outside) {
                self.chosen[r.index()] = true;
                any = true;
            }
        }
        if !any {
            return;
        }
        self.stamp += 1;
        let needed = self.needed(body, depth) + body.args.iter().filter(|v| is_general(self.kernel.ty(**v))).count();
        let fits = needed <= SCALAR_BUDGET;
        if fits {
            let insts = std::mem::take(&mut body.insts);
            body.insts.reserve(insts.len());
            for mut i in insts {
                match i.results[..] {
                    [r] if self.chosen[r.index()] => {
                        self.own_constants(&mut i, depth, out);
                        self.depth[r.index()] = depth;
                        self.chosen[r.index()] = false;
                        out.push(i);
                    }
                    _ => body.insts.push(i),
                }
            }
        } else {
            body.insts.iter().flat_map(|i| &i.results).for_each(|r| self.chosen[r.index()] = false);
        }
    }

    /// Gives a departing instruction its own copies of the constants that stay in the body.
    fn own_constants(&mut self, i: &mut Inst, depth: u32, out: &mut Vec<Inst>) {
        for arg in &mut i.args {
            if self.depth[arg.index()] <= depth {
                continue;
            }
            let Some(bits) = self.constant[arg.index()] else { continue };
            let v = self.kernel.new_value(self.kernel.ty(*arg));
            out.push(Inst { op: Op::Const(bits), args: smallvec![], results: smallvec![v], blocks: vec![] });
            self.depth.push(depth);
            self.constant.push(Some(bits));
            self.chosen.push(false);
            self.seen.push(0);
            *arg = v;
        }
    }

    /// Number of scalars in general registers that a block takes from outside the loop once the chosen ones are gone.
    fn needed(&mut self, b: &Block, depth: u32) -> usize {
        let mut count = 0;
        for i in &b.insts {
            if i.results.iter().any(|r| self.chosen[r.index()]) {
                continue;
            }
            count += i.args.iter().filter(|v| self.first_seen(**v, depth)).count();
            count += i.blocks.iter().map(|b| self.needed(b, depth)).sum::<usize>();
        }
        count + b.yields.iter().filter(|v| self.first_seen(**v, depth)).count()
    }

    fn first_seen(&mut self, v: Value, depth: u32) -> bool {
        let i = v.index();
        let counts = (self.depth[i] <= depth || self.chosen[i]) && self.constant[i].is_none() && self.seen[i] != self.stamp;
        if counts {
            self.seen[i] = self.stamp;
        }
        counts && is_general(self.kernel.ty(v))
    }
}

/// Whether values of this type live in general registers.
fn is_general(ty: Type) -> bool {
    !ty.is_vector() && !ty.elem.is_float()
}

/// Cheap arithmetic on scalar integers and addresses that is defined for all operands.
fn is_address_arithmetic(inst: &Inst, ty: Type) -> bool {
    let op = match inst.op {
        Op::Bin(o) => !matches!(o, BinOp::Div | BinOp::Rem),
        Op::Convert(o) => matches!(o, ConvertOp::ExtS | ConvertOp::Wrap),
        Op::PtrAdd => true,
        _ => false,
    };
    op && (ty == Type::I64 || ty == Type::I32 || ty == Type::PTR)
}
