//! What lowering must know about a kernel beforehand: which values are needed, how often, and which operators wait for their only user.
//!
//! An operator that waits (*deferred*) gives no instruction of its own: a load becomes a memory operand, a comparison the flags of a
//! branch, a negation another form of a multiply-add. It may wait if its only use is in the same block and, where it reads memory, if no store lies
//! between. A user that cannot fold it has it computed on the spot, which is as good.

mod pressure;

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use tflc_kir::{Active, BinOp, Block, ConvertOp, Elem, Inst, Kernel, Op, Type, UnOp, Value};

/// Where a value comes from.
#[derive(Clone, Copy, Debug)]
enum Def<'k> {
    /// A parameter or a bound of the work units.
    Entry,
    /// A result.
    Result(&'k Inst, usize),
    /// An argument of a nested block.
    Arg(&'k Inst, usize, usize),
}

/// Facts about the values of a kernel.
#[derive(Debug)]
pub(super) struct Analysis<'k> {
    kernel: &'k Kernel,
    def: Vec<Def<'k>>,
    root: Vec<Value>,
    live: Vec<bool>,
    live_control: HashSet<*const Inst, BuildHasherDefault<Pointers>>,
    uses: Vec<u32>,
    deferred: Vec<bool>,
    /// Whether a value occupies a vector register while it lives.
    in_vector: Vec<bool>,
    /// The instruction that uses a value last, if that is in the block of the definition.
    last_user: Vec<*const Inst>,
}

impl<'k> Analysis<'k> {
    /// Analyses a verified kernel.
    pub(super) fn new(kernel: &'k Kernel) -> Analysis<'k> {
        let n = kernel.types.len();
        let mut a = Analysis {
            kernel,
            def: vec![Def::Entry; n],
            root: (0..n as u32).map(Value).collect(),
            live: vec![false; n],
            live_control: HashSet::default(),
            uses: vec![0; n],
            deferred: vec![false; n],
            in_vector: vec![],
            last_user: vec![std::ptr::null(); n],
        };
        a.define(&kernel.body);
        let mut work = kernel.body.yields.clone();
        a.roots(&kernel.body, &mut vec![], &mut work);
        while let Some(v) = work.pop() {
            a.mark(v, &mut work);
        }
        let mut sites = Sites { def: vec![Site::default(); n], last: vec![Use::default(); n], block: 0, epoch: 0, blocks: 0 };
        a.count(&kernel.body, &mut sites);
        a.use_all(&kernel.body.yields, None, &mut sites);
        a.defer(&sites);
        a.in_vector = (0..n as u32).map(|v| a.needs_vector(Value(v))).collect();
        a
    }

    /// The instruction that gives a value, if it is the result of one.
    pub(super) fn inst(&self, v: Value) -> Option<&'k Inst> {
        match self.def[v.index()] {
            Def::Result(inst, _) => Some(inst),
            _ => None,
        }
    }

    /// The value that a bitcast without code passes on.
    pub(super) fn root(&self, v: Value) -> Value {
        self.root[v.index()]
    }

    /// Whether a value is needed.
    pub(super) fn live(&self, v: Value) -> bool {
        self.live[v.index()]
    }

    /// Number of uses by needed instructions; bitcasts without code do not count, their uses do.
    pub(super) fn uses(&self, v: Value) -> u32 {
        self.uses[self.root(v).index()]
    }

    /// Whether the instruction that gives a value waits for its only user.
    pub(super) fn deferred(&self, v: Value) -> bool {
        self.deferred[v.index()]
    }

    /// Whether an instruction is the last to use a value, in the block where it was made, so that the register is free afterwards.
    pub(super) fn dies(&self, v: Value, user: &Inst) -> bool {
        std::ptr::eq(self.last_user[self.root(v).index()], user)
    }

    /// Whether an instruction must be lowered.
    pub(super) fn needed(&self, inst: &Inst) -> bool {
        let control = || !inst.blocks.is_empty() && self.live_control.contains(&std::ptr::from_ref(inst));
        inst.op.has_effect() || inst.results.iter().any(|&r| self.live(r)) || control()
    }

    /// Whether carried value `k` of a `for` is needed.
    pub(super) fn carried(&self, inst: &Inst, k: usize) -> bool {
        self.live(inst.results[k]) || self.live(inst.blocks[0].args[k + 1])
    }

    fn define(&mut self, block: &'k Block) {
        for inst in &block.insts {
            for (b, nested) in inst.blocks.iter().enumerate() {
                for (i, &v) in nested.args.iter().enumerate() {
                    self.def[v.index()] = Def::Arg(inst, b, i);
                }
                self.define(nested);
            }
            for (i, &v) in inst.results.iter().enumerate() {
                self.def[v.index()] = Def::Result(inst, i);
            }
            if inst.op == Op::Convert(ConvertOp::Bitcast) {
                let (from, to) = (self.kernel.ty(inst.args[0]), self.kernel.ty(inst.results[0]));
                let float = |e: Elem| matches!(e, Elem::F32 | Elem::F64);
                if to.is_vector() || float(from.elem) == float(to.elem) {
                    self.root[inst.results[0].index()] = self.root(inst.args[0]);
                }
            }
        }
    }

    /// Puts the operands of everything with an effect, and of the control flow around it, on the list.
    fn roots(&mut self, block: &'k Block, around: &mut Vec<&'k Inst>, work: &mut Vec<Value>) {
        for inst in &block.insts {
            if inst.op.has_effect() {
                work.extend_from_slice(&inst.args);
                for &outer in around.iter() {
                    self.mark_control(outer, work);
                }
            }
            if !inst.blocks.is_empty() {
                around.push(inst);
                inst.blocks.iter().for_each(|b| self.roots(b, around, work));
                around.pop();
            }
        }
    }

    /// Marks what decides how a control-flow instruction runs.
    fn mark_control(&mut self, inst: &'k Inst, work: &mut Vec<Value>) {
        if self.live_control.insert(std::ptr::from_ref(inst)) {
            match inst.op {
                Op::For { .. } => work.extend_from_slice(&inst.args[..2]),
                Op::If => work.push(inst.args[0]),
                Op::While => work.push(inst.blocks[0].yields[0]),
                _ => {}
            }
        }
    }

    fn mark(&mut self, v: Value, work: &mut Vec<Value>) {
        if std::mem::replace(&mut self.live[v.index()], true) {
            return;
        }
        match self.def[v.index()] {
            Def::Entry => {}
            Def::Result(inst, i) => match inst.op {
                Op::For { .. } => {
                    self.mark_control(inst, work);
                    work.extend([inst.args[i + 2], inst.blocks[0].yields[i]]);
                }
                Op::If => {
                    self.mark_control(inst, work);
                    work.extend(inst.blocks.iter().map(|b| b.yields[i]));
                }
                Op::While => {
                    self.mark_control(inst, work);
                    work.push(inst.blocks[0].yields[i + 1]);
                }
                _ => work.extend_from_slice(&inst.args),
            },
            Def::Arg(inst, b, i) => {
                self.mark_control(inst, work);
                match (&inst.op, b, i) {
                    (Op::For { .. }, _, 0) => work.push(inst.args[0]),
                    (Op::For { .. }, ..) => work.extend([inst.args[i + 1], inst.blocks[0].yields[i - 1]]),
                    (Op::While, 0, _) => work.extend([inst.args[i], inst.blocks[1].yields[i]]),
                    (Op::While, ..) => work.push(inst.blocks[0].yields[i + 1]),
                    _ => {}
                }
            }
        }
    }

    fn use_all(&mut self, vs: &[Value], user: Option<&Inst>, sites: &mut Sites) {
        for &v in vs {
            let v = self.root(v).index();
            self.uses[v] += 1;
            sites.last[v] = Use { site: sites.here(), user: user.map_or(std::ptr::null(), std::ptr::from_ref) };
        }
    }

    fn count(&mut self, block: &'k Block, sites: &mut Sites) {
        for inst in block.insts.iter().filter(|i| !i.results.is_empty() || !i.blocks.is_empty() || i.op.has_effect()) {
            if !self.needed(inst) || inst.results.first().is_some_and(|&r| self.root(r) != r) {
                continue;
            }
            match inst.op {
                Op::For { .. } => {
                    self.use_all(&inst.args[..2], None, sites);
                    let carried: Vec<usize> = (0..inst.results.len()).filter(|&k| self.carried(inst, k)).collect();
                    carried.iter().for_each(|&k| self.use_all(&inst.args[k + 2..k + 3], None, sites));
                    self.nested(&inst.blocks[0], sites, |k| carried.contains(&k));
                    // The increment at the loop's end uses the counter last.
                    sites.last[inst.blocks[0].args[0].index()].user = std::ptr::null();
                }
                Op::If => {
                    self.use_all(&inst.args, None, sites);
                    let live: Vec<bool> = inst.results.iter().map(|&r| self.live(r)).collect();
                    inst.blocks.iter().for_each(|b| self.nested(b, sites, |k| live[k]));
                }
                Op::While => {
                    let args: Vec<bool> = inst.blocks[0].args.iter().map(|&v| self.live(v)).collect();
                    let passed: Vec<bool> = (0..inst.results.len()).map(|k| self.passed(inst, k)).collect();
                    let initial: Vec<Value> = inst.args.iter().zip(&args).filter(|(_, l)| **l).map(|(&v, _)| v).collect();
                    self.use_all(&initial, None, sites);
                    self.nested(&inst.blocks[0], sites, |k| k == 0 || passed[k - 1]);
                    self.nested(&inst.blocks[1], sites, |k| args[k]);
                }
                _ => self.use_all(&inst.args, Some(inst), sites),
            }
            if matches!(&inst.op, Op::Store(..)) || matches!(&inst.op, Op::Tile(t) if t.writes_memory()) || !inst.blocks.is_empty() {
                sites.epoch += 1;
            }
            inst.results.iter().for_each(|r| sites.def[r.index()] = sites.here());
        }
    }

    /// Whether value `k` that the condition of a `while` passes on is needed.
    pub(super) fn passed(&self, inst: &Inst, k: usize) -> bool {
        self.live(inst.results[k]) || self.live(inst.blocks[1].args[k])
    }

    fn nested(&mut self, block: &'k Block, sites: &mut Sites, live: impl Fn(usize) -> bool) {
        let outer = sites.block;
        sites.blocks += 1;
        sites.block = sites.blocks;
        block.args.iter().for_each(|v| sites.def[v.index()] = sites.here());
        self.count(block, sites);
        let yields: Vec<Value> = block.yields.iter().enumerate().filter(|(k, _)| live(*k)).map(|(_, &v)| v).collect();
        self.use_all(&yields, None, sites);
        sites.block = outer;
    }

    fn defer(&mut self, sites: &Sites) {
        for (i, &def) in self.def.iter().enumerate() {
            let (made, Use { site: used, user }) = (sites.def[i], sites.last[i]);
            if made.block == used.block && !matches!(def, Def::Entry) {
                self.last_user[i] = user;
            }
            let Def::Result(inst, 0) = def else { continue };
            if self.uses[i] != 1 || made.block != used.block || self.root[i].index() != i {
                continue;
            }
            let unchanged = made.epoch == used.epoch;
            let scalar = |v: Value| !self.kernel.ty(v).is_vector();
            self.deferred[i] = match inst.op {
                Op::Load(m) => unchanged && m.active == Active::All && m.mem.bytes() * 8 == self.kernel.types[i].elem.bits(),
                Op::LoadSplat(m) => unchanged && m.mem.bytes() * 8 == self.kernel.types[i].elem.bits(),
                // Their operands are computed here, unless these wait too, which needs memory to be unchanged.
                Op::Cmp(_) => scalar(inst.args[0]) && unchanged,
                Op::Reduce(_) => self.kernel.types[i] == Type::BOOL && unchanged,
                Op::Un(UnOp::Neg) => self.kernel.types[i].elem.is_float() && unchanged,
                _ => false,
            };
        }
    }

    /// Vector registers that an instruction needs besides its operands and its result, with the latter counted where its code is long.
    fn temporaries(&self, inst: &Inst) -> usize {
        let made_here = |v: &Value| {
            let v = self.root(*v);
            let constant = self.inst(v).is_some_and(|i| matches!(i.op, Op::Const(_) | Op::ConstVec(_) | Op::Splat));
            self.kernel.ty(v).is_vector() && (self.deferred(v) || constant)
        };
        let long = match inst.op {
            Op::Dot4(_) | Op::Table256 => 4,
            Op::Bin(BinOp::MulHiS | BinOp::MulHiU | BinOp::MulRoundHi)
            | Op::Shuffle(_)
            | Op::Gather(_)
            | Op::Convert(_)
            | Op::Store(..) => 2,
            _ => 0,
        };
        long.max(inst.args.iter().filter(|v| made_here(v)).count())
    }

    fn in_vector(&self, v: Value) -> bool {
        self.in_vector[v.index()]
    }

    fn needs_vector(&self, v: Value) -> bool {
        let ty = self.kernel.ty(v);
        let held = ty.elem.is_float() || (ty.is_vector() && ty.elem != Elem::Bool);
        held && !self.deferred(v) && !self.inst(v).is_some_and(|i| matches!(i.op, Op::Const(_) | Op::ConstVec(_)))
    }
}

/// A place in the kernel: a block, and how often memory may have changed before.
#[derive(Clone, Copy, Default, Debug)]
struct Site {
    block: u32,
    epoch: u32,
}

/// The last use of a value.
#[derive(Clone, Copy)]
struct Use {
    site: Site,
    /// The plain instruction that uses it.
    user: *const Inst,
}

impl Default for Use {
    fn default() -> Use {
        Use { site: Site::default(), user: std::ptr::null() }
    }
}

/// A hasher for addresses: they differ in the middle, and are no attacker's.
#[derive(Default)]
struct Pointers(u64);

impl Hasher for Pointers {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_usize(usize::from(b)));
    }

    fn write_usize(&mut self, v: usize) {
        self.0 = (self.0 ^ v as u64).wrapping_mul(0x517c_c1b7_2722_0a95).rotate_left(26);
    }
}

struct Sites {
    def: Vec<Site>,
    last: Vec<Use>,
    block: u32,
    epoch: u32,
    blocks: u32,
}

impl Sites {
    fn here(&self) -> Site {
        Site { block: self.block, epoch: self.epoch }
    }
}
