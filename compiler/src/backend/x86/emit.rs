//! Encoding: allocated instructions to bytes.
//!
//! Instructions are encoded once ([`super::encode`]); branches stay symbolic until all lengths are known, then take their short form wherever it
//! reaches. A block that only jumps on is skipped by the branches to it, and a jump to the next block vanishes. Constants follow the code.

use super::abi::gpr;
use super::constants::ConstId;
use super::encode::{Encoder, RawBase, RawMem, RawOp, WriteMask};
use super::frame::Frame;
use super::machine::{Base, BlockId, Cc, GPR, MASK, Opnd, Term, View, Width};
use super::opcodes::{Vop, code};
use super::regalloc::{Item, Line};
use crate::backend::Code as MachineCode;
use iced_x86::{Code, OpKind, Register};
use regalloc2::{Allocation, Block, Edit, InstOrEdit, Output, RegClass};

/// The 64-bit name of a general register.
pub(super) fn gpr64(hw: usize) -> Register {
    Register::RAX + hw as u32
}

/// A place in the code that depends on the layout.
#[derive(Debug)]
enum Fixup {
    /// A branch to a block, with its condition; no bytes are in the buffer.
    Branch { at: usize, cc: Option<Cc>, target: usize, short: bool },
    /// The four bytes at `at` are the distance from `end` to a constant, plus what they hold.
    Const { at: usize, end: usize, id: ConstId },
}

impl Fixup {
    fn size(&self) -> usize {
        match self {
            Fixup::Branch { short: true, .. } => 2,
            Fixup::Branch { cc: None, .. } => 5,
            Fixup::Branch { cc: Some(_), .. } => 6,
            Fixup::Const { .. } => 0,
        }
    }
}

/// Writes one function.
pub(super) struct Emitter {
    encoder: Encoder,
    fixups: Vec<Fixup>,
    error: Option<String>,
}

impl Emitter {
    /// Appends an instruction; `ops` in encoding order.
    pub(super) fn raw(&mut self, code: Code, ops: &[RawOp]) {
        self.encode(code, ops, None);
    }

    fn encode(&mut self, code: Code, ops: &[RawOp], mask: Option<WriteMask>) {
        match self.encoder.put(code, ops, mask) {
            Ok(None) => {}
            Ok(Some(at)) => {
                let constant =
                    ops.iter().find_map(|op| if let RawOp::Mem(RawMem { base: RawBase::Pool(id), .. }) = op { Some(*id) } else { None });
                self.fixups.extend(constant.map(|id| Fixup::Const { at, end: self.encoder.at(), id }));
            }
            Err(e) => {
                self.error.get_or_insert(e);
            }
        }
    }

    fn branch(&mut self, cc: Option<Cc>, target: usize) {
        self.fixups.push(Fixup::Branch { at: self.encoder.at(), cc, target, short: true });
    }
}

/// What the allocator left in the code.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct EditCount {
    /// Moves and spills in innermost loops.
    pub(super) inner: usize,
    /// Loads from and stores to spill slots.
    pub(super) spills: usize,
    /// Moves between registers.
    pub(super) moves: usize,
}

/// Encodes an allocated function.
///
/// # Errors
/// Where an instruction does not exist with its operands: always a bug of this backend.
pub(super) fn emit(line: &Line, out: &Output, frame: &Frame, evex: bool) -> Result<(MachineCode, EditCount), String> {
    let func = line.func;
    let mut e = Emitter { encoder: Encoder::new(8 * line.items.len()), fixups: vec![], error: None };
    let n = func.order.len();
    let widest = func.widest.unwrap_or(Width::X);
    let mut starts = vec![(0, 0); n];
    let mut count = EditCount::default();
    let targets = Targets::new(line, out);
    frame.prologue(&mut e);
    for (i, &b) in func.order.iter().enumerate() {
        starts[i] = (e.encoder.at(), e.fixups.len());
        let block = &func.blocks[b];
        if targets.skipped(i) {
            continue;
        }
        for item in out.block_insts_and_edits(line, Block::new(i)) {
            match item {
                InstOrEdit::Edit(Edit::Move { from, to }) => {
                    if from == to {
                        continue;
                    }
                    count.inner += usize::from(block.innermost);
                    if from.is_stack() || to.is_stack() {
                        count.spills += 1;
                    } else {
                        count.moves += 1;
                    }
                    e.edit(*from, *to, frame, widest, evex);
                }
                InstOrEdit::Inst(inst) => match line.items[inst.index()] {
                    Item::Inst(id) => e.inst(line, id, out.inst_allocs(inst)),
                    Item::Term(_) => match &block.term {
                        Term::Jump(t, _) => e.jump(&targets, i, *t),
                        Term::Branch(cc, t, f) => {
                            let next = targets.next(i);
                            if targets.of(*t) == next {
                                e.branch(Some(cc.not()), targets.of(*f));
                            } else {
                                e.branch(Some(*cc), targets.of(*t));
                                e.jump(&targets, i, *f);
                            }
                        }
                        Term::Ret(_) => {
                            if func.tiles {
                                e.raw(Code::VEX_Tilerelease, &[]);
                            }
                            if widest > Width::X {
                                e.raw(Code::VEX_Vzeroupper, &[]);
                            }
                            frame.epilogue(&mut e);
                        }
                        Term::Open => return Err("a block is still open".into()),
                    },
                },
            }
        }
    }
    if let Some(error) = e.error {
        return Err(error);
    }
    Ok((link(e.encoder.into_bytes(), e.fixups, &starts, func.consts.place()), count))
}

/// Where branches really go: past blocks that only jump on.
struct Targets {
    /// Final position of each position in layout order.
    of_position: Vec<usize>,
    position: Vec<usize>,
    /// Whether a block is empty but for its jump.
    empty: Vec<bool>,
}

impl Targets {
    fn new(line: &Line, out: &Output) -> Targets {
        let func = line.func;
        let n = func.order.len();
        let mut position = vec![usize::MAX; func.blocks.len()];
        func.order.iter().enumerate().for_each(|(i, &b)| position[b] = i);
        let empty = |i: usize| {
            let block = &func.blocks[func.order[i]];
            let only_jump = block.insts.is_empty() && matches!(block.term, Term::Jump(..));
            let real_edit = |item| matches!(item, InstOrEdit::Edit(Edit::Move { from, to }) if from != to);
            i != 0 && only_jump && !out.block_insts_and_edits(line, Block::new(i)).any(real_edit)
        };
        let empty: Vec<bool> = (0..n).map(empty).collect();
        let of_position = (0..n)
            .map(|mut i| {
                // An empty block never jumps to itself, but a chain is followed a bounded number of times all the same.
                for _ in 0..n {
                    match &func.blocks[func.order[i]].term {
                        Term::Jump(t, _) if empty[i] => i = position[*t],
                        _ => break,
                    }
                }
                i
            })
            .collect();
        Targets { of_position, position, empty }
    }

    fn skipped(&self, i: usize) -> bool {
        self.empty[i] && self.of_position[i] != i
    }

    /// Final position of a branch to a block.
    fn of(&self, block: BlockId) -> usize {
        self.of_position[self.position[block]]
    }

    /// Position of the next block that has code.
    fn next(&self, i: usize) -> usize {
        (i + 1..self.empty.len()).find(|&j| !self.skipped(j)).unwrap_or(usize::MAX)
    }
}

impl Emitter {
    fn jump(&mut self, targets: &Targets, from: usize, to: BlockId) {
        let to = targets.of(to);
        if to != targets.next(from) {
            self.branch(None, to);
        }
    }

    fn inst(&mut self, line: &Line, id: u32, allocs: &[Allocation]) {
        let inst = &line.func.insts[id as usize];
        if inst.code == Code::INVALID {
            return;
        }
        let mut allocs = allocs.iter();
        let mut reg = || allocs.next().and_then(|a| a.as_reg()).map_or(0, |r| r.hw_enc() as u8);
        let copies = matches!(inst.code, Code::Mov_r64_rm64 | Code::VEX_Vmovaps_xmm_xmmm128 | Code::VEX_Vmovaps_ymm_ymmm256)
            || matches!(
                inst.code,
                Code::EVEX_Vmovaps_xmm_k1z_xmmm128 | Code::EVEX_Vmovaps_ymm_k1z_ymmm256 | Code::EVEX_Vmovaps_zmm_k1z_zmmm512
            );
        // No instruction shows more.
        let mut ops = [RawOp::Tile(0); 5];
        let (mut n, mut mask) = (0, None);
        for o in line.func.operands(inst) {
            ops[n] = match *o {
                Opnd::Use(_, view) | Opnd::Def(_, view) => RawOp::Reg(reg(), view),
                Opnd::Mod(_, _, view) => {
                    reg();
                    RawOp::Reg(reg(), view)
                }
                Opnd::Mem(m) => {
                    let base = match m.base {
                        Base::Reg(_) => RawBase::Reg(reg()),
                        Base::None => RawBase::None,
                        Base::Frame => RawBase::Reg(gpr::RSP as u8),
                        Base::Const(id) => RawBase::Pool(id),
                    };
                    let index = m.index.map(|(_, scale, view)| (reg(), view, scale));
                    RawOp::Mem(RawMem { base, index, disp: m.disp, bcast: m.bcast })
                }
                Opnd::Imm(kind, v) => RawOp::Imm(kind, v),
                Opnd::Tile(n) => RawOp::Tile(n),
                Opnd::Same(_) => ops[0],
                Opnd::Mask(_, zeroing) => {
                    mask = Some(WriteMask { register: reg(), zeroing });
                    continue;
                }
                Opnd::MaskMod(..) => {
                    reg();
                    mask = Some(WriteMask { register: reg(), zeroing: false });
                    continue;
                }
                Opnd::UseFixed(..) | Opnd::DefFixed(..) => {
                    reg();
                    continue;
                }
            };
            n += 1;
        }
        let ops = &ops[..n];
        // The allocator may have given both sides of a copy one register.
        let idle = copies && matches!(ops, [RawOp::Reg(a, _), RawOp::Reg(b, _)] if a == b);
        if !idle {
            self.encode(inst.code, ops, mask);
        }
    }

    fn edit(&mut self, from: Allocation, to: Allocation, frame: &Frame, widest: Width, evex: bool) {
        let class = from.as_reg().or(to.as_reg()).map_or(GPR, |r| r.class());
        let view = match class {
            GPR => View::Q,
            MASK => View::K,
            RegClass::Float => widest.view(),
        };
        let op = |a: Allocation| match (a.as_reg(), a.as_stack()) {
            (Some(r), _) => RawOp::Reg(r.hw_enc() as u8, view),
            (_, Some(s)) => RawOp::Mem(frame.spill_slot(s.index())),
            _ => RawOp::Imm(OpKind::Immediate8, 0),
        };
        let code = match (class, to.is_stack(), from.is_stack()) {
            (GPR, true, _) => Code::Mov_rm64_r64,
            (GPR, false, _) => Code::Mov_r64_rm64,
            (MASK, true, _) => Code::VEX_Kmovq_m64_kr,
            (MASK, false, _) => Code::VEX_Kmovq_kr_km64,
            (_, true, _) => code(Vop::MovupsS, widest, evex),
            (_, _, true) => code(Vop::MovupsL, widest, evex),
            (_, false, false) => code(Vop::MovapsR, widest, evex),
        };
        self.raw(code, &[op(to), op(from)]);
    }
}

/// Chooses branch sizes, joins the pieces, appends the constants and resolves every distance. A block starts at a place in the buffer and
/// after a number of fixups.
fn link(bytes: Vec<u8>, mut fixups: Vec<Fixup>, starts: &[(usize, usize)], pool: super::constants::Placed) -> MachineCode {
    // `shift[i]`: bytes that the branches before fixup i add.
    let mut shift = vec![0; fixups.len() + 1];
    loop {
        for (i, f) in fixups.iter().enumerate() {
            shift[i + 1] = shift[i] + f.size();
        }
        let mut grown = false;
        for i in 0..fixups.len() {
            if let Fixup::Branch { at, target, short, .. } = &mut fixups[i]
                && *short
            {
                let end = (*at + shift[i] + 2) as i64;
                let to = (starts[*target].0 + shift[starts[*target].1]) as i64;
                if i8::try_from(to - end).is_err() {
                    *short = false;
                    grown = true;
                }
            }
        }
        if !grown {
            break;
        }
    }
    let code_len = bytes.len() + shift[fixups.len()];
    let pool_start = if pool.bytes.is_empty() { code_len } else { code_len.next_multiple_of(pool.align as usize) };
    let mut out = Vec::with_capacity(pool_start + pool.bytes.len());
    let mut copied = 0;
    for (i, f) in fixups.iter().enumerate() {
        let at = fixup_at(f);
        out.extend_from_slice(&bytes[copied..at]);
        copied = at;
        match f {
            Fixup::Branch { cc, target, short, .. } => {
                let to = starts[*target].0 + shift[starts[*target].1];
                let distance = to as i64 - (out.len() + f.size()) as i64;
                match (cc, short) {
                    (None, true) => out.push(0xeb),
                    (None, false) => out.push(0xe9),
                    (Some(cc), true) => out.push(0x70 | *cc as u8),
                    (Some(cc), false) => out.extend([0x0f, 0x80 | *cc as u8]),
                }
                let wide = (distance as i32).to_le_bytes();
                out.extend_from_slice(if *short { &wide[..1] } else { &wide });
            }
            Fixup::Const { end, id, .. } => {
                let held = i32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
                // The encoder wrote `disp - end`, both relative to the unlinked buffer.
                let disp = i64::from(held) + *end as i64;
                let to = (pool_start + pool.offsets[id.index()] as usize) as i64 + disp;
                let distance = to - (*end + shift[i]) as i64;
                out.extend_from_slice(&(distance as i32).to_le_bytes());
                copied = at + 4;
            }
        }
    }
    out.extend_from_slice(&bytes[copied..]);
    // `int3` between code and constants ends a disassembly.
    out.resize(pool_start, 0xcc);
    out.extend_from_slice(&pool.bytes);
    MachineCode { bytes: out, align: pool.align.max(32) }
}

fn fixup_at(f: &Fixup) -> usize {
    match f {
        Fixup::Branch { at, .. } | Fixup::Const { at, .. } => *at,
    }
}
