//! Forms of instructions: the fields of an encoding that operands do not change, and the fields that they go into.

use std::sync::atomic::AtomicU64;

/// How instructions are encoded.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Space {
    /// In a way that is left to iced.
    Other,
    Legacy,
    Vex,
    Evex,
}

/// Where an operand goes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Role {
    Reg,
    Vvvv,
    Rm,
    /// The upper half of a last byte.
    Last,
    Memory,
    Immediate,
}

const ROLES: [Role; 8] = [Role::Reg, Role::Vvvv, Role::Rm, Role::Last, Role::Memory, Role::Immediate, Role::Immediate, Role::Immediate];

/// The fields of an encoded instruction whose registers are among the first eight.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Fields {
    pub(super) space: Space,
    pub(super) map: u8,
    pub(super) pp: u8,
    pub(super) w: u8,
    pub(super) l: u8,
    pub(super) opcode: u8,
    pub(super) reg: u8,
    pub(super) vvvv: u8,
    pub(super) rm: u8,
    pub(super) last: u8,
    pub(super) memory: bool,
    pub(super) vector_index: bool,
}

impl Fields {
    /// Reads an instruction with an immediate of so many bytes, and memory, if any, at `rax`, or `rax` plus a vector; nothing of any other shape.
    pub(super) fn read(bytes: &[u8], immediate: usize, vector_index: bool) -> Option<Fields> {
        let (space, map, pp, w, l, vvvv, rest) = match bytes {
            [0xc5, p, rest @ ..] => (Space::Vex, 1, p & 3, 0, p >> 2 & 1, !(p >> 3) & 15, rest),
            [0xc4, m, p, rest @ ..] => (Space::Vex, m & 31, p & 3, p >> 7, p >> 2 & 1, !(p >> 3) & 15, rest),
            [0x62, m, p, q, rest @ ..] => (Space::Evex, m & 7, p & 3, p >> 7, q >> 5 & 3, !(p >> 3) & 15, rest),
            _ => {
                let (pp, rest) = match bytes {
                    [0x66, rest @ ..] => (1, rest),
                    [0xf3, rest @ ..] => (2, rest),
                    [0xf2, rest @ ..] => (3, rest),
                    _ => (0, bytes),
                };
                let (w, rest) = match rest {
                    [rex @ 0x40..=0x4f, rest @ ..] => (rex >> 3 & 1, rest),
                    _ => (0, rest),
                };
                let (map, rest) = match rest {
                    [0x0f, 0x38, rest @ ..] => (2, rest),
                    [0x0f, 0x3a, rest @ ..] => (3, rest),
                    [0x0f, rest @ ..] => (1, rest),
                    _ => (0, rest),
                };
                (Space::Legacy, map, pp, w, 0, 0, rest)
            }
        };
        let [opcode, modrm, rest @ ..] = rest else { return None };
        let memory = match (modrm >> 6, modrm & 7) {
            (3, _) => false,
            (0, 0) if !vector_index => true,
            (0, 4) if vector_index && rest.first() == Some(&0) => true,
            _ => return None,
        };
        let rest = &rest[usize::from(memory && vector_index)..];
        let last = match rest {
            [last] if immediate == 0 => last >> 4,
            _ if rest.len() == immediate => 0,
            _ => return None,
        };
        let rm = if memory { 0 } else { modrm & 7 };
        Some(Fields { space, map, pp, w, l, opcode: *opcode, reg: modrm >> 3 & 7, vvvv, rm, last, memory, vector_index })
    }
}

/// Operands that a form has room for.
pub(super) const MOST_OPERANDS: usize = 4;
/// Set in every form that has been learnt.
pub(super) const KNOWN: u64 = 1 << 63;
/// Number of instructions that iced knows.
const CODES: usize = 4936;

/// Forms by instruction: with registers only, with memory, with one element of memory for all lanes.
pub(super) static FORMS: [[AtomicU64; CODES]; 3] = [const { [const { AtomicU64::new(0) }; CODES] }; 3];

/// The fields of an encoding that do not depend on operands, and where those go, as bits.
#[derive(Clone, Copy, Default)]
pub(super) struct Form(u64);

impl Form {
    pub(super) fn of(bits: u64) -> Form {
        Form(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    pub(super) fn new(f: &Fields) -> Form {
        let fields = [
            (f.space as u64, 0),
            (u64::from(f.map), 2),
            (u64::from(f.pp), 7),
            (u64::from(f.w), 9),
            (u64::from(f.l), 10),
            (u64::from(f.opcode), 12),
            (u64::from(f.reg), 20),
            (u64::from(f.vector_index), 23),
        ];
        Form(fields.iter().fold(0, |form, (n, at)| form | n << at))
    }

    pub(super) fn space(self) -> Space {
        [Space::Other, Space::Legacy, Space::Vex, Space::Evex][self.0 as usize & 3]
    }

    pub(super) fn map(self) -> u8 {
        (self.0 >> 2) as u8 & 31
    }

    pub(super) fn pp(self) -> u8 {
        (self.0 >> 7) as u8 & 3
    }

    pub(super) fn w(self) -> u8 {
        (self.0 >> 9) as u8 & 1
    }

    pub(super) fn l(self) -> u8 {
        (self.0 >> 10) as u8 & 3
    }

    pub(super) fn opcode(self) -> u8 {
        (self.0 >> 12) as u8
    }

    /// What belongs to the opcode where no operand goes there.
    pub(super) fn reg(self) -> u8 {
        (self.0 >> 20) as u8 & 7
    }

    pub(super) fn vector_index(self) -> bool {
        self.0 >> 23 & 1 != 0
    }

    pub(super) fn role(self, operand: usize) -> Role {
        ROLES[(self.0 >> (24 + 3 * operand)) as usize & 7]
    }

    pub(super) fn set_role(&mut self, operand: usize, role: Role) {
        self.0 |= (role as u64) << (24 + 3 * operand);
    }

    pub(super) fn set_unit(&mut self, bytes: u32) {
        self.0 |= u64::from(bytes.trailing_zeros()) << 36;
    }

    /// A displacement as one byte, where it has that form.
    pub(super) fn near(self, disp: i32) -> Option<i8> {
        let shift = (self.0 >> 36) as u32 & 7;
        let near = disp >> shift;
        if near << shift == disp { i8::try_from(near).ok() } else { None }
    }
}
