//! Machine code with virtual registers: what lowering gives and the allocator and the encoder read.
//!
//! An instruction is an `iced_x86::Code` and operands in its operand order, followed by operands that the encoding does not show
//! (fixed registers, a write mask). Blocks pass values as parameters; no edge is critical. Instructions live in an arena and blocks list
//! them, so that a constant can still be put into a loop's preheader while the loop's body is being lowered.

use super::constants::{ConstId, ConstPool};
use iced_x86::{Code, OpKind};
use regalloc2::{PReg, RegClass, VReg};

/// Width of a vector operand.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Width {
    /// 128 bits.
    X,
    /// 256 bits.
    Y,
    /// 512 bits.
    Z,
}

impl Width {
    /// The narrowest width that holds `bytes` bytes.
    pub(super) fn holding(bytes: u32) -> Width {
        match bytes {
            0..=16 => Width::X,
            17..=32 => Width::Y,
            _ => Width::Z,
        }
    }

    /// Size in bytes.
    pub(super) fn bytes(self) -> u32 {
        16 << self as u32
    }

    /// The view of a register at this width.
    pub(super) fn view(self) -> View {
        [View::X, View::Y, View::Z][self as usize]
    }
}

/// By which name an instruction calls a register.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum View {
    /// Low 8 bits of a general register.
    B,
    /// Low 16 bits of a general register.
    W,
    /// Low 32 bits of a general register.
    D,
    /// A general register.
    Q,
    /// 128 bits of a vector register.
    X,
    /// 256 bits of a vector register.
    Y,
    /// 512 bits of a vector register.
    Z,
    /// A mask register.
    K,
}

/// Class of general registers.
pub(super) const GPR: RegClass = RegClass::Int;
/// Class of vector registers.
pub(super) const VEC: RegClass = RegClass::Float;
/// Class of mask registers.
pub(super) const MASK: RegClass = RegClass::Vector;

/// Where a memory operand starts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Base {
    /// In a general register.
    Reg(VReg),
    /// At zero.
    None,
    /// In the frame's scratch area.
    Frame,
    /// In the constant pool.
    Const(ConstId),
}

/// A memory operand.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Mem {
    /// Where it starts.
    pub(super) base: Base,
    /// Index register, its scale and its view (a vector for gathers).
    pub(super) index: Option<(VReg, u8, View)>,
    /// Constant offset in bytes.
    pub(super) disp: i32,
    /// Whether one element is broadcast to all lanes (EVEX).
    pub(super) bcast: bool,
}

impl Mem {
    /// The memory at `base + disp`.
    pub(super) fn at(base: Base, disp: i32) -> Mem {
        Mem { base, index: None, disp, bcast: false }
    }

    /// The same, `bytes` further on.
    pub(super) fn offset(self, bytes: i32) -> Mem {
        Mem { disp: self.disp.wrapping_add(bytes), ..self }
    }
}

/// A register or memory operand.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Rm {
    /// In a register.
    Reg(VReg),
    /// In memory.
    Mem(Mem),
}

impl From<VReg> for Rm {
    fn from(r: VReg) -> Rm {
        Rm::Reg(r)
    }
}

impl From<Mem> for Rm {
    fn from(m: Mem) -> Rm {
        Rm::Mem(m)
    }
}

/// An operand of an instruction.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Opnd {
    /// A register that is read.
    Use(VReg, View),
    /// A register that is written.
    Def(VReg, View),
    /// A register that is read as the first value and written as the second.
    Mod(VReg, VReg, View),
    /// The register of the first operand again, for idioms that do not depend on its value.
    Same(View),
    /// Memory.
    Mem(Mem),
    /// An immediate.
    Imm(OpKind, i64),
    /// A tile.
    Tile(u8),
    /// The write mask; the other lanes become zero if the flag is set, else stay.
    Mask(VReg, bool),
    /// The write mask of a gather, which clears it.
    MaskMod(VReg, VReg),
    /// A fixed register that is read, not shown in the encoding.
    UseFixed(VReg, PReg),
    /// A fixed register that is written, not shown in the encoding.
    DefFixed(VReg, PReg),
}

impl Opnd {
    /// A register or memory operand that is read.
    pub(super) fn rm(rm: Rm, view: View) -> Opnd {
        match rm {
            Rm::Reg(r) => Opnd::Use(r, view),
            Rm::Mem(m) => Opnd::Mem(m),
        }
    }

    /// An 8-bit immediate.
    pub(super) fn imm8(v: u8) -> Opnd {
        Opnd::Imm(OpKind::Immediate8, i64::from(v))
    }
}

/// An instruction: operands `[first, first + count)` of [`MachineFunction::opnds`].
#[derive(Clone, Copy, Debug)]
pub(super) struct MInst {
    /// What it is; `INVALID` for one that only names registers (the entry).
    pub(super) code: Code,
    first: u32,
    count: u32,
}

/// Condition code, in the order of the encoding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs, reason = "the names are Intel's")]
#[repr(u8)]
pub(super) enum Cc {
    B = 2,
    Ae = 3,
    E = 4,
    Ne = 5,
    Be = 6,
    A = 7,
    S = 8,
    Ns = 9,
    P = 10,
    Np = 11,
    L = 12,
    Ge = 13,
    Le = 14,
    G = 15,
}

impl Cc {
    /// The opposite condition.
    pub(super) fn not(self) -> Cc {
        match self {
            Cc::B => Cc::Ae,
            Cc::Ae => Cc::B,
            Cc::E => Cc::Ne,
            Cc::Ne => Cc::E,
            Cc::Be => Cc::A,
            Cc::A => Cc::Be,
            Cc::S => Cc::Ns,
            Cc::Ns => Cc::S,
            Cc::P => Cc::Np,
            Cc::Np => Cc::P,
            Cc::L => Cc::Ge,
            Cc::Ge => Cc::L,
            Cc::Le => Cc::G,
            Cc::G => Cc::Le,
        }
    }
}

/// A block of a [`MachineFunction`].
pub(super) type BlockId = usize;

/// How a block ends.
#[derive(Clone, Debug)]
pub(super) enum Term {
    /// Still open.
    Open,
    /// Goes on at a block, passing values to its parameters.
    Jump(BlockId, Vec<VReg>),
    /// Goes to the first block where the flags say so, else to the second; neither takes parameters.
    Branch(Cc, BlockId, BlockId),
    /// Returns the status.
    Ret(VReg),
}

/// A basic block.
#[derive(Debug)]
pub(super) struct MBlock {
    /// Values that predecessors pass.
    pub(super) params: Vec<VReg>,
    /// Instructions, as indices into [`MachineFunction::insts`].
    pub(super) insts: Vec<u32>,
    /// The end.
    pub(super) term: Term,
    /// Whether it belongs to a loop that contains no loop.
    pub(super) innermost: bool,
}

/// A function in machine instructions with virtual registers.
#[derive(Debug, Default)]
pub(super) struct MachineFunction {
    /// All instructions.
    pub(super) insts: Vec<MInst>,
    /// All operands.
    pub(super) opnds: Vec<Opnd>,
    /// All blocks.
    pub(super) blocks: Vec<MBlock>,
    /// Blocks in layout order, the entry first.
    pub(super) order: Vec<BlockId>,
    /// Number of virtual registers.
    pub(super) vregs: usize,
    /// Constants behind the code.
    pub(super) consts: ConstPool,
    /// Bytes of the frame's scratch area.
    pub(super) scratch_bytes: u32,
    /// Alignment of the frame's scratch area.
    pub(super) scratch_align: u32,
    /// Widest vector register that an instruction names; `None` where none does.
    pub(super) widest: Option<Width>,
    /// Whether it uses tiles, which are given back at the end.
    pub(super) tiles: bool,
}

impl MachineFunction {
    /// A new virtual register.
    pub(super) fn vreg(&mut self, class: RegClass) -> VReg {
        self.vregs += 1;
        VReg::new(self.vregs - 1, class)
    }

    /// A new block, not placed yet.
    pub(super) fn block(&mut self, innermost: bool) -> BlockId {
        self.blocks.push(MBlock { params: vec![], insts: vec![], term: Term::Open, innermost });
        self.blocks.len() - 1
    }

    /// An empty function with room for the code of a kernel with `values` values.
    pub(super) fn with_capacity(values: usize) -> MachineFunction {
        MachineFunction { insts: Vec::with_capacity(values), opnds: Vec::with_capacity(3 * values), ..MachineFunction::default() }
    }

    /// Appends an instruction to a block.
    pub(super) fn push(&mut self, block: BlockId, code: Code, opnds: &[Opnd]) {
        let first = self.opnds.len();
        self.opnds.extend_from_slice(opnds);
        self.append(block, code, first);
    }

    /// Appends an instruction whose first operand stands apart.
    pub(super) fn push_with(&mut self, block: BlockId, code: Code, first: Opnd, others: &[Opnd]) {
        let at = self.opnds.len();
        self.opnds.push(first);
        self.opnds.extend_from_slice(others);
        self.append(block, code, at);
    }

    /// Appends an instruction with all operands from a position on.
    fn append(&mut self, block: BlockId, code: Code, first: usize) {
        for o in &self.opnds[first..] {
            let view = match o {
                Opnd::Use(_, v) | Opnd::Def(_, v) | Opnd::Mod(_, _, v) => *v,
                _ => continue,
            };
            let width = match view {
                View::X => Width::X,
                View::Y => Width::Y,
                View::Z => Width::Z,
                _ => continue,
            };
            self.widest = self.widest.max(Some(width));
        }
        self.blocks[block].insts.push(self.insts.len() as u32);
        self.insts.push(MInst { code, first: first as u32, count: (self.opnds.len() - first) as u32 });
    }

    /// Operands of an instruction.
    pub(super) fn operands(&self, inst: &MInst) -> &[Opnd] {
        &self.opnds[inst.first as usize..(inst.first + inst.count) as usize]
    }
}
