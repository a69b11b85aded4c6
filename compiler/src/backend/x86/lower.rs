//! kir to machine instructions with virtual registers.
//!
//! One pass over the kernel in order. Constants, splatted parameters, parameters and constant address offsets have no home: each user gets them anew, as an
//! immediate, a memory operand or a fresh register, and in an innermost loop from the loop's preheader as long as registers last. Operators that
//! [`Analysis`] deferred are folded into their user or computed there.

mod compare;
mod control;
mod convert;
mod dot;
mod fallback;
mod float;
mod int;
mod lanes;
mod masks;
mod memory;
mod narrow;
mod scalar;
mod shuffle;
mod tables;
mod tiles;
mod values;

use super::analysis::Analysis;
use super::machine::*;
use super::opcodes::{Vop, code};
use iced_x86::Code;
use regalloc2::{RegClass, VReg};
use tflc_kir::{Elem, Inst, Kernel, Op, Type, Value};
use values::{Key, Scope};

/// What the level offers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Isa {
    /// AVX-512: EVEX encodings, 32 vector registers, mask registers.
    pub(super) evex: bool,
    /// Dot products of bytes and of 16-bit lanes: AVX-VNNI, or AVX-512 VNNI with `evex`.
    pub(super) vnni: bool,
    /// AVX-512 VBMI.
    pub(super) vbmi: bool,
    /// AMX, with products of bytes and of bfloat16.
    pub(super) tiles: bool,
}

impl Isa {
    /// Number of vector registers.
    fn vector_registers(self) -> usize {
        if self.evex { 32 } else { 16 }
    }
}

/// State of the lowering of one kernel.
pub(super) struct Lower<'k> {
    kernel: &'k Kernel,
    isa: Isa,
    an: Analysis<'k>,
    f: MachineFunction,
    cur: BlockId,
    /// The instruction being lowered.
    now: Option<&'k Inst>,
    /// Register of each value that has one; of bitcasts without code, the root's.
    vals: Vec<Option<VReg>>,
    /// Lane width in bits of each mask value, without mask registers.
    mask_bits: Vec<u8>,
    /// Argument slot of each parameter.
    slots: Vec<Option<u16>>,
    /// Offset of each scratch buffer in the frame.
    scratch: Vec<(Value, u32)>,
    /// The argument block.
    args: VReg,
    /// The innermost loop being lowered.
    scope: Option<Scope>,
    /// What the current block already holds of parameters.
    local: Vec<(Key, VReg)>,
    error: Option<String>,
}

/// Lowers a verified kernel.
///
/// # Errors
/// Where a type is not legal on the level.
pub(super) fn lower(kernel: &Kernel, isa: Isa, abi: super::Abi) -> Result<MachineFunction, String> {
    let vector_bytes = if isa.evex { 64 } else { 32 };
    if let Some(ty) = kernel.types.iter().find(|&&ty| !legal(ty, vector_bytes)) {
        return Err(format!("type {ty} is not legal with vectors of {vector_bytes} bytes"));
    }
    let (mut matrices, mut halves, mut tiles) = (false, false, false);
    kernel.for_each_inst(&mut |i| {
        matrices |= matches!(i.op, Op::Mmla(_));
        tiles |= matches!(i.op, Op::Tile(_));
        halves |= matches!(i.op, Op::FmaF16 | Op::PackF16 | Op::WidenF16Lo | Op::WidenF16Hi);
    });
    if matrices {
        return Err("mmla: x86 has no matrix products, write dot4".into());
    }
    if halves {
        return Err("fma_f16: no level of x86 has arithmetic on halves".into());
    }
    if tiles && !isa.tiles {
        return Err("tiles: only x86-64-v4+amx has them".into());
    }
    let n = kernel.types.len();
    let mut f = MachineFunction { tiles, ..MachineFunction::with_capacity(n) };
    let args = f.vreg(GPR);
    let cur = f.block(false);
    f.order.push(cur);
    let mut l = Lower {
        kernel,
        isa,
        an: Analysis::new(kernel),
        f,
        cur,
        now: None,
        vals: vec![None; n],
        mask_bits: if isa.evex { vec![] } else { vec![0; n] },
        slots: vec![None; n],
        scratch: vec![],
        args,
        scope: None,
        local: vec![],
        error: None,
    };
    for (i, p) in kernel.params.iter().enumerate() {
        l.slots[p.value.index()] = Some(i as u16);
    }
    let entry = [args, l.f.vreg(GPR), l.f.vreg(GPR)];
    l.vals[kernel.begin.index()] = Some(entry[1]);
    l.vals[kernel.end.index()] = Some(entry[2]);
    let regs = abi.args();
    l.emit(Code::INVALID, &[0, 1, 2].map(|i| Opnd::DefFixed(entry[i], regs[i])));
    l.scratch_buffers(&kernel.body);
    l.block(&kernel.body);
    let status = match kernel.body.yields.first() {
        Some(&v) => l.reg(v),
        None => l.int_const(Type::I32, 0),
    };
    l.f.blocks[l.cur].term = Term::Ret(status);
    match l.error {
        Some(e) => Err(e),
        None => Ok(l.f),
    }
}

/// Whether the level has registers for values of a type: scalars, vectors of a full, half or quarter register of at least 16 bytes, and
/// masks of such lane counts.
fn legal(ty: Type, vector_bytes: u32) -> bool {
    let width = |bytes: u32| bytes >= 16 && [1, 2, 4].iter().any(|d| bytes * d == vector_bytes);
    match ty.elem {
        Elem::I8 | Elem::I16 if !ty.is_vector() => false,
        _ if !ty.is_vector() => ty.lanes == 1,
        Elem::Ptr => false,
        Elem::Bool => [1, 2, 4, 8].iter().any(|b| width(u32::from(ty.lanes) * b)),
        _ => width(ty.bits() / 8),
    }
}

impl<'k> Lower<'k> {
    /// Lowers the instructions of a block into the current one.
    fn block(&mut self, block: &'k tflc_kir::Block) {
        for inst in &block.insts {
            if !self.an.needed(inst) {
                continue;
            }
            match inst.op {
                Op::For { step } => self.for_loop(inst, step),
                Op::If => self.if_else(inst),
                Op::While => self.while_loop(inst),
                _ => {
                    let waits = inst.results.first().is_some_and(|&r| self.an.root(r) != r || self.an.deferred(r) || self.homeless(r));
                    if !waits {
                        self.inst(inst);
                    }
                }
            }
        }
    }

    /// Lowers an operator without nested blocks.
    fn inst(&mut self, inst: &'k Inst) {
        let outer = self.now.replace(inst);
        self.plain(inst);
        self.now = outer;
    }

    fn plain(&mut self, inst: &'k Inst) {
        let a = &inst.args[..];
        if let Op::Store(m, narrow) = inst.op {
            return self.store(m, narrow, a);
        }
        if let Op::Prefetch(addr, locality) = inst.op {
            return self.prefetch(addr, locality, a);
        }
        if let Op::Tile(op) = &inst.op {
            return self.tile(op, a);
        }
        let result = inst.results[0];
        let ty = self.ty(result);
        let reg = match &inst.op {
            Op::Const(_) | Op::ConstVec(_) | Op::Scratch { .. } => self.reg(result),
            Op::Un(op) => self.un(*op, ty, a[0], result),
            Op::Bin(op) => self.bin(*op, ty, a[0], a[1], result),
            Op::Fma => self.fma(ty, a),
            Op::Cmp(op) => self.cmp(*op, a[0], a[1], result),
            Op::Select => self.select(ty, a, result),
            Op::Convert(op) => self.convert(*op, ty, a[0]),
            Op::Dot4(signs) => self.dot4(*signs, ty, a),
            Op::Mmla(_) | Op::FmaF16 | Op::PackF16 | Op::WidenF16Lo | Op::WidenF16Hi => unreachable!("refused at the start"),
            Op::Dot2 => self.dot2(ty, a),
            Op::Splat => self.splat(ty, a[0], result),
            Op::ExtractLane(i) => self.extract_lane(*i, a[0]),
            Op::InsertLane(i) => self.insert_lane(*i, ty, a[0], a[1]),
            Op::ExtractPart(i) => self.extract_part(*i, ty, a[0], result),
            Op::Concat => self.concat(ty, a[0], a[1], result),
            Op::Shuffle(map) => self.shuffle(map, ty, a[0], a[1]),
            Op::UnpackLo => self.unpack(false, ty, a[0], a[1]),
            Op::UnpackHi => self.unpack(true, ty, a[0], a[1]),
            Op::PackS => self.pack(true, ty, a[0], a[1]),
            Op::PackU => self.pack(false, ty, a[0], a[1]),
            Op::Table16 => self.table16(ty, a[0], a[1]),
            Op::Table256 => self.table256(ty, a[0], a[1]),
            Op::Reduce(op) => self.reduce(*op, a[0]),
            Op::Load(m) => self.load(*m, ty, a),
            Op::LoadSplat(m) => self.load_splat(*m, ty, a),
            Op::Gather(m) => self.gather(*m, ty, a),
            Op::PtrAdd => self.ptr_add(a[0], a[1]),
            Op::Store(..) | Op::Prefetch(..) | Op::Tile(_) | Op::For { .. } | Op::If | Op::While => {
                self.fail("control flow inside an expression")
            }
        };
        self.vals[result.index()] = Some(reg);
    }

    /// Whether nobody needs the register of a value after the instruction being lowered.
    fn dies(&self, v: Value) -> bool {
        !self.homeless(v) && self.now.is_some_and(|inst| self.an.dies(v, inst))
    }

    /// The register of a value for an instruction that overwrites it: its own, or a copy where it is still needed.
    fn reg_over(&mut self, v: Value, w: Width) -> VReg {
        let r = self.reg(v);
        if self.dies(v) || self.homeless(v) && self.scope.is_none() {
            return r;
        }
        self.op2(Vop::MovapsR, w, r)
    }

    fn ty(&self, v: Value) -> Type {
        self.kernel.ty(v)
    }

    /// Width of a vector value, or of the register of a scalar float.
    fn width(&self, ty: Type) -> Width {
        Width::holding(ty.bits() / 8)
    }

    /// Notes the first thing that went wrong; gives a register so that lowering can go on.
    fn fail(&mut self, what: &str) -> VReg {
        self.error.get_or_insert_with(|| what.to_string());
        self.f.vreg(VEC)
    }

    // ---- instructions ----

    fn emit(&mut self, code: Code, opnds: &[Opnd]) {
        self.f.push(self.cur, code, opnds);
    }

    fn vreg(&mut self, class: RegClass) -> VReg {
        self.f.vreg(class)
    }

    /// The instruction of a family at a width on this level.
    fn vcode(&mut self, op: Vop, w: Width) -> Code {
        let c = code(op, w, self.isa.evex);
        if c == Code::INVALID {
            self.fail(&format!("{op:?} does not exist at {w:?}"));
        }
        c
    }

    /// `d = op(a, b)`.
    fn op3(&mut self, op: Vop, w: Width, a: VReg, b: impl Into<Rm>) -> VReg {
        let d = self.vreg(VEC);
        let c = self.vcode(op, w);
        self.emit(c, &[Opnd::Def(d, w.view()), Opnd::Use(a, w.view()), Opnd::rm(b.into(), w.view())]);
        d
    }

    /// `d = op(a, b)`, in the register of `a` where nobody needs that any more: chains of operators, above all those that a loop carries,
    /// then stay in one register.
    fn op3_over(&mut self, op: Vop, w: Width, over: bool, a: VReg, b: impl Into<Rm>) -> VReg {
        if !over {
            return self.op3(op, w, a, b);
        }
        let c = self.vcode(op, w);
        self.modify(c, a, w.view(), &[Opnd::Same(w.view()), Opnd::rm(b.into(), w.view())])
    }

    /// As `op3_over`, of values; the operands of a commutative operator may change places.
    fn op3_values(&mut self, op: Vop, w: Width, fold: values::Fold, commutes: bool, a: Value, b: Value) -> VReg {
        let better = |s: &Self| {
            let (fa, fb) = (s.fold_rank(a), s.fold_rank(b));
            fa > fb || fa == fb && fb == 0 && s.dies(b) && !s.dies(a)
        };
        let (a, b) = if commutes && better(self) { (b, a) } else { (a, b) };
        let x = self.reg(a);
        let over = self.dies(a);
        let y = self.rm(b, w, fold);
        self.op3_over(op, w, over, x, y)
    }

    /// `d = op(a, b, imm)`.
    fn op3i(&mut self, op: Vop, w: Width, a: VReg, b: impl Into<Rm>, imm: u8) -> VReg {
        let d = self.vreg(VEC);
        let c = self.vcode(op, w);
        self.emit(c, &[Opnd::Def(d, w.view()), Opnd::Use(a, w.view()), Opnd::rm(b.into(), w.view()), Opnd::imm8(imm)]);
        d
    }

    /// `d = op(a)`, where `a` may be read at another width.
    fn op2_from(&mut self, op: Vop, w: Width, from: Width, a: impl Into<Rm>) -> VReg {
        let d = self.vreg(VEC);
        let c = self.vcode(op, w);
        self.emit(c, &[Opnd::Def(d, w.view()), Opnd::rm(a.into(), from.view())]);
        d
    }

    /// `d = op(a)`.
    fn op2(&mut self, op: Vop, w: Width, a: impl Into<Rm>) -> VReg {
        self.op2_from(op, w, w, a)
    }

    /// `d = op(a)` of a value; in its register where nobody needs that any more, which leaves the allocator fewer decisions.
    fn op2_value(&mut self, op: Vop, w: Width, fold: values::Fold, a: Value, imm: Option<u8>) -> VReg {
        let y = self.rm(a, w, fold);
        let c = self.vcode(op, w);
        let mut ops = smallvec::SmallVec::<[Opnd; 2]>::new();
        ops.push(match y {
            Rm::Reg(_) if self.dies(a) => Opnd::Same(w.view()),
            y => Opnd::rm(y, w.view()),
        });
        ops.extend(imm.map(Opnd::imm8));
        match y {
            Rm::Reg(r) if matches!(ops[0], Opnd::Same(_)) => self.modify(c, r, w.view(), &ops),
            _ => self.def(c, VEC, w.view(), &ops),
        }
    }

    /// `d = op(a, imm)`.
    fn op2i(&mut self, op: Vop, w: Width, a: impl Into<Rm>, imm: u8) -> VReg {
        let d = self.vreg(VEC);
        let c = self.vcode(op, w);
        self.emit(c, &[Opnd::Def(d, w.view()), Opnd::rm(a.into(), w.view()), Opnd::imm8(imm)]);
        d
    }

    /// `acc = op(acc, a, b)`.
    fn op_acc(&mut self, op: Vop, w: Width, acc: VReg, a: VReg, b: impl Into<Rm>) -> VReg {
        let d = self.vreg(VEC);
        let c = self.vcode(op, w);
        self.emit(c, &[Opnd::Mod(acc, d, w.view()), Opnd::Use(a, w.view()), Opnd::rm(b.into(), w.view())]);
        d
    }

    /// An instruction on general registers or between files: one definition, then uses.
    fn def(&mut self, code: Code, class: RegClass, view: View, uses: &[Opnd]) -> VReg {
        let d = self.vreg(class);
        self.f.push_with(self.cur, code, Opnd::Def(d, view), uses);
        d
    }

    /// An instruction that changes its first operand.
    fn modify(&mut self, code: Code, from: VReg, view: View, uses: &[Opnd]) -> VReg {
        let d = self.vreg(from.class());
        self.f.push_with(self.cur, code, Opnd::Mod(from, d, view), uses);
        d
    }
}
