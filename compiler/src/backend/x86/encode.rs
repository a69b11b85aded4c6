//! Instructions with physical registers to bytes.
//!
//! iced-x86 knows every instruction and looks up all there is to know of each one anew; a kernel has hundreds of a few dozen forms. So it is asked
//! once for each form: what it makes of a handful of operands shows which field each of them goes into, and from then on the fields are
//! filled in here. Forms that do not show this, and those with byte registers, stay with iced. In debug builds it encodes every
//! instruction too, and both must agree.

mod form;

use super::constants::ConstId;
use super::machine::View;
use form::{FORMS, Fields, Form, KNOWN, MOST_OPERANDS, Role, Space};
use iced_x86::{Code, Instruction, OpKind, Register};
use std::sync::atomic::Ordering;

/// Where a memory operand starts.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum RawBase {
    /// At the address in a general register.
    Reg(u8),
    /// At zero.
    None,
    /// At a constant of the pool.
    Pool(ConstId),
}

/// A memory operand with physical registers.
#[derive(Clone, Copy, Debug)]
pub(super) struct RawMem {
    pub(super) base: RawBase,
    /// Register, its view, and its scale.
    pub(super) index: Option<(u8, View, u8)>,
    pub(super) disp: i32,
    pub(super) bcast: bool,
}

impl RawMem {
    /// The memory at a general register plus `disp`.
    pub(super) fn base(base: usize, disp: i32) -> RawMem {
        RawMem { base: RawBase::Reg(base as u8), index: None, disp, bcast: false }
    }
}

/// An operand with physical registers.
#[derive(Clone, Copy, Debug)]
pub(super) enum RawOp {
    /// A register by its number and view.
    Reg(u8, View),
    /// A tile.
    Tile(u8),
    /// Memory.
    Mem(RawMem),
    /// An immediate.
    Imm(OpKind, i64),
}

/// The write mask of an instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriteMask {
    /// Number of the mask register.
    pub(super) register: u8,
    /// Whether the other lanes become zero.
    pub(super) zeroing: bool,
}

/// Bytes in the making.
pub(super) struct Encoder {
    bytes: Vec<u8>,
    /// Made when it is first asked.
    iced: Option<iced_x86::Encoder>,
}

impl Encoder {
    pub(super) fn new(capacity: usize) -> Encoder {
        Encoder { bytes: Vec::with_capacity(capacity), iced: None }
    }

    /// Number of bytes so far.
    pub(super) fn at(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Appends an instruction with operands in encoding order; gives the place of a displacement that counts from the constant pool: it
    /// holds the distance from the end of the instruction, as if the pool began at zero.
    ///
    /// # Errors
    /// Where there is no such instruction.
    pub(super) fn put(&mut self, code: Code, ops: &[RawOp], mask: Option<WriteMask>) -> Result<Option<usize>, String> {
        let start = self.at();
        let mut memory = None;
        for op in ops {
            if let RawOp::Mem(m) = op {
                memory = Some(m);
            }
        }
        let form = self.form(code, ops, memory, mask)?;
        if form.space() == Space::Other {
            return self.by_iced(code, ops, mask);
        }
        let place = self.fill(form, ops, memory, mask);
        if cfg!(debug_assertions) {
            let own = self.bytes.split_off(start);
            let iced = self.by_iced(code, ops, mask)?;
            if (&own[..], place) != (&self.bytes[start..], iced) {
                return Err(format!("{code:?} {ops:?} became {own:02x?} instead of {:02x?}", &self.bytes[start..]));
            }
        }
        Ok(place)
    }

    fn by_iced(&mut self, code: Code, ops: &[RawOp], mask: Option<WriteMask>) -> Result<Option<usize>, String> {
        let start = self.at();
        let (bytes, displacement) = self.ask(code, ops, mask)?;
        self.bytes.extend_from_slice(&bytes);
        let counts_from_pool = ops.iter().any(|op| matches!(op, RawOp::Mem(RawMem { base: RawBase::Pool(_), .. })));
        Ok(counts_from_pool.then_some(start + displacement))
    }

    /// What iced makes of an instruction at this place, and where in it the displacement is.
    fn ask(&mut self, code: Code, ops: &[RawOp], mask: Option<WriteMask>) -> Result<(Vec<u8>, usize), String> {
        let mut i = Instruction::default();
        i.set_code(code);
        if let Some(mask) = mask {
            i.set_op_mask(name(mask.register, View::K));
            i.set_zeroing_masking(mask.zeroing);
        }
        ops.iter().enumerate().for_each(|(n, op)| set_operand(&mut i, n as u32, op));
        let at = self.at() as u64;
        let iced = self.iced.get_or_insert_with(|| iced_x86::Encoder::new(64));
        iced.encode(&i, at).map_err(|e| format!("encoding {code:?}: {e}"))?;
        let displacement = iced.get_constant_offsets().displacement_offset();
        Ok((iced.take_buffer(), displacement))
    }

    /// The form of an instruction, learnt from iced where nobody has asked before.
    fn form(&mut self, code: Code, ops: &[RawOp], memory: Option<&RawMem>, mask: Option<WriteMask>) -> Result<Form, String> {
        let variant = memory.map_or(0, |m| 1 + usize::from(m.bcast));
        let Some(slot) = FORMS[variant].get(code as usize) else { return Ok(Form::default()) };
        // Whoever comes second learns the same.
        let known = slot.load(Ordering::Relaxed);
        if known != 0 {
            return Ok(Form::of(known));
        }
        let form = self.learn(code, ops, mask)?.unwrap_or_default();
        slot.store(form.bits() | KNOWN, Ordering::Relaxed);
        Ok(form)
    }

    /// Asks iced for the instruction with the first register of each class, then with the second one of each operand in turn.
    fn learn(&mut self, code: Code, ops: &[RawOp], mask: Option<WriteMask>) -> Result<Option<Form>, String> {
        if ops.len() > MOST_OPERANDS || ops.iter().any(|op| matches!(op, RawOp::Reg(_, View::B))) {
            return Ok(None);
        }
        let mask = mask.map(|m| WriteMask { register: 1, ..m });
        let mut vector_index = false;
        let mut sample: Vec<RawOp> = vec![];
        let mut immediate = 0;
        for op in ops {
            sample.push(match *op {
                RawOp::Reg(_, view) => RawOp::Reg(0, view),
                RawOp::Tile(_) => RawOp::Tile(0),
                RawOp::Mem(m) => {
                    let index = m.index.filter(|(_, view, _)| matches!(view, View::X | View::Y | View::Z)).map(|(_, view, _)| (0, view, 1));
                    vector_index = index.is_some();
                    RawOp::Mem(RawMem { index, bcast: m.bcast, ..RawMem::base(0, 0) })
                }
                RawOp::Imm(kind, _) => {
                    immediate = immediate_bytes(kind);
                    RawOp::Imm(kind, 0)
                }
            });
        }
        let (bytes, _) = self.ask(code, &sample, mask)?;
        let Some(base) = Fields::read(&bytes, immediate, vector_index) else { return Ok(None) };
        let mut form = Form::new(&base);
        for (k, op) in ops.iter().enumerate() {
            let role = match *op {
                RawOp::Imm(..) => Role::Immediate,
                RawOp::Mem(_) if base.memory => Role::Memory,
                RawOp::Mem(_) => return Ok(None),
                RawOp::Reg(..) | RawOp::Tile(_) => {
                    let mut changed = sample.clone();
                    changed[k] = if let RawOp::Reg(_, view) = *op { RawOp::Reg(1, view) } else { RawOp::Tile(1) };
                    let (bytes, _) = self.ask(code, &changed, mask)?;
                    let Some(with) = Fields::read(&bytes, immediate, vector_index) else { return Ok(None) };
                    let one_more = [
                        (Role::Reg, Fields { reg: base.reg + 1, ..base }),
                        (Role::Vvvv, Fields { vvvv: base.vvvv + 1, ..base }),
                        (Role::Rm, Fields { rm: base.rm + 1, ..base }),
                        (Role::Last, Fields { last: base.last + 1, ..base }),
                    ];
                    match one_more.iter().find(|(_, fields)| *fields == with) {
                        Some((role, _)) => *role,
                        None => return Ok(None),
                    }
                }
            };
            form.set_role(k, role);
        }
        if base.space == Space::Evex && base.memory {
            // The displacement of one byte counts in units.
            const FAR: i32 = 64;
            for op in &mut sample {
                if let RawOp::Mem(m) = op {
                    m.disp = FAR;
                }
            }
            let (bytes, place) = self.ask(code, &sample, mask)?;
            if bytes.len() != place + 1 + immediate || bytes[place] == 0 {
                return Ok(None);
            }
            form.set_unit(FAR as u32 / u32::from(bytes[place]));
        }
        Ok(Some(form))
    }

    /// Writes an instruction of a known form.
    fn fill(&mut self, form: Form, ops: &[RawOp], memory: Option<&RawMem>, mask: Option<WriteMask>) -> Option<usize> {
        let (mut reg, mut vvvv, mut rm, mut last) = (form.reg(), 0, 0, None);
        let (mut immediate, mut immediate_bytes) = (0, 0);
        for (k, op) in ops.iter().enumerate() {
            match *op {
                RawOp::Reg(n, _) | RawOp::Tile(n) => match form.role(k) {
                    Role::Reg => reg = n,
                    Role::Vvvv => vvvv = n,
                    Role::Rm => rm = n,
                    _ => last = Some(n << 4),
                },
                RawOp::Mem(_) => {}
                RawOp::Imm(kind, v) => (immediate, immediate_bytes) = (v, self::immediate_bytes(kind)),
            }
        }
        let index = memory.and_then(|m| m.index);
        let base = memory.and_then(|m| if let RawBase::Reg(n) = m.base { Some(n) } else { None });
        // The upper bits of the three numbers.
        let r = reg >> 3 & 1;
        let (x, b) = match memory {
            Some(_) => (index.map_or(0, |i| i.0 >> 3 & 1), base.map_or(0, |n| n >> 3)),
            None => (rm >> 4, rm >> 3 & 1),
        };
        let mut head = Head::default();
        let (w, l, pp, map) = (form.w(), form.l(), form.pp(), form.map());
        match form.space() {
            Space::Legacy => {
                if pp != 0 {
                    head.byte([0, 0x66, 0xf3, 0xf2][usize::from(pp)]);
                }
                let rex = w << 3 | r << 2 | x << 1 | b;
                if rex != 0 {
                    head.byte(0x40 | rex);
                }
                if map != 0 {
                    head.byte(0x0f);
                }
                if map > 1 {
                    head.byte(if map == 2 { 0x38 } else { 0x3a });
                }
            }
            Space::Vex if map == 1 && w | x | b == 0 => {
                head.byte(0xc5);
                head.byte((r ^ 1) << 7 | (!vvvv & 15) << 3 | l << 2 | pp);
            }
            Space::Vex => {
                head.byte(0xc4);
                head.byte((r ^ 1) << 7 | (x ^ 1) << 6 | (b ^ 1) << 5 | map);
                head.byte(w << 7 | (!vvvv & 15) << 3 | l << 2 | pp);
            }
            Space::Evex | Space::Other => {
                let upper = match index {
                    Some((n, ..)) if form.vector_index() => n >> 4,
                    _ => vvvv >> 4,
                };
                let (mask, zeroing) = mask.map_or((0, 0), |m| (m.register, u8::from(m.zeroing)));
                let bcast = u8::from(memory.is_some_and(|m| m.bcast));
                head.byte(0x62);
                head.byte((r ^ 1) << 7 | (x & 1 ^ 1) << 6 | (b ^ 1) << 5 | (reg >> 4 ^ 1) << 4 | map);
                head.byte(w << 7 | (!vvvv & 15) << 3 | 1 << 2 | pp);
                head.byte(zeroing << 7 | l << 5 | bcast << 4 | (upper ^ 1) << 3 | mask);
            }
        }
        head.byte(form.opcode());
        let reg = (reg & 7) << 3;
        let mut far = None;
        match memory {
            None => head.byte(0xc0 | reg | rm & 7),
            Some(m) => {
                let sib = index.map_or(4 << 3, |(n, _, scale)| (scale.trailing_zeros() as u8) << 6 | (n & 7) << 3);
                match m.base {
                    RawBase::Pool(_) => {
                        head.byte(reg | 5);
                        far = Some(m.disp);
                    }
                    RawBase::None => {
                        head.byte(reg | 4);
                        head.byte(sib | 5);
                        far = Some(m.disp);
                    }
                    RawBase::Reg(base) => {
                        let near = if m.disp == 0 && base & 7 != 5 { None } else { form.near(m.disp) };
                        let mode = match near {
                            Some(_) => 0x40,
                            None if m.disp == 0 && base & 7 != 5 => 0,
                            None => 0x80,
                        };
                        if index.is_none() && base & 7 != 4 {
                            head.byte(mode | reg | base & 7);
                        } else {
                            head.byte(mode | reg | 4);
                            head.byte(sib | base & 7);
                        }
                        if let Some(near) = near {
                            head.byte(near as u8);
                        }
                        far = (mode == 0x80).then_some(m.disp);
                    }
                }
            }
        }
        let start = self.at();
        self.bytes.extend_from_slice(&head.bytes.to_le_bytes());
        self.bytes.truncate(start + head.bits as usize / 8);
        let at = self.at();
        if let Some(far) = far {
            self.bytes.extend_from_slice(&far.to_le_bytes());
        }
        if let Some(last) = last {
            self.bytes.push(last);
        }
        match immediate_bytes {
            0 => {}
            1 => self.bytes.push(immediate as u8),
            4 => self.bytes.extend_from_slice(&(immediate as i32).to_le_bytes()),
            _ => self.bytes.extend_from_slice(&immediate.to_le_bytes()),
        }
        let m = memory.filter(|m| matches!(m.base, RawBase::Pool(_)))?;
        let distance = m.disp.wrapping_sub(self.at() as i32);
        self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
        Some(at)
    }
}

/// The bytes of an instruction up to a displacement of four bytes: eight at most.
#[derive(Default)]
struct Head {
    bytes: u64,
    bits: u32,
}

impl Head {
    fn byte(&mut self, b: u8) {
        self.bytes |= u64::from(b) << self.bits;
        self.bits += 8;
    }
}

/// What iced calls a register.
fn name(number: u8, view: View) -> Register {
    let n = u32::from(number);
    match view {
        // AH, CH, DH, BH lie between BL and SPL.
        View::B => Register::AL + if n < 4 { n } else { n + 4 },
        View::W => Register::AX + n,
        View::D => Register::EAX + n,
        View::Q => Register::RAX + n,
        View::X => Register::XMM0 + n,
        View::Y => Register::YMM0 + n,
        View::Z => Register::ZMM0 + n,
        View::K => Register::K0 + n,
    }
}

fn immediate_bytes(kind: OpKind) -> usize {
    match kind {
        OpKind::Immediate8 | OpKind::Immediate8to32 | OpKind::Immediate8to64 => 1,
        OpKind::Immediate64 => 8,
        _ => 4,
    }
}

/// Sets operand `n`.
fn set_operand(i: &mut Instruction, n: u32, op: &RawOp) {
    match *op {
        RawOp::Reg(number, view) => {
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, name(number, view));
        }
        RawOp::Tile(number) => {
            i.set_op_kind(n, OpKind::Register);
            i.set_op_register(n, Register::TMM0 + u32::from(number));
        }
        RawOp::Imm(kind, v) => {
            i.set_op_kind(n, kind);
            match kind {
                OpKind::Immediate8 => i.set_immediate8(v as u8),
                OpKind::Immediate8to32 => i.set_immediate8to32(v as i32),
                OpKind::Immediate8to64 => i.set_immediate8to64(v),
                OpKind::Immediate32to64 => i.set_immediate32to64(v),
                OpKind::Immediate64 => i.set_immediate64(v as u64),
                _ => i.set_immediate32(v as u32),
            }
        }
        RawOp::Mem(m) => {
            i.set_op_kind(n, OpKind::Memory);
            let base = match m.base {
                RawBase::Reg(number) => name(number, View::Q),
                RawBase::None => Register::None,
                RawBase::Pool(_) => Register::RIP,
            };
            i.set_memory_base(base);
            if let Some((number, view, scale)) = m.index {
                i.set_memory_index(name(number, view));
                i.set_memory_index_scale(u32::from(scale));
            }
            i.set_memory_displ_size(if m.disp == 0 && base != Register::RIP { 0 } else { 1 });
            // The encoder subtracts the address of the next instruction from a RIP-relative target.
            i.set_memory_displacement64(i64::from(m.disp) as u64);
            i.set_is_broadcast(m.bcast);
        }
    }
}
