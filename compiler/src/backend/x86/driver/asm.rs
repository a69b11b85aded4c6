//! The few instructions of a driver, encoded one by one by iced-x86; branches and references take four bytes each, which are filled in at the end.

use crate::backend::image::{External, Link, LinkKind, Reference, ReferenceKind};
pub(super) use iced_x86::Register;
use iced_x86::{Code as Op, Encoder, IcedError, Instruction, MemoryOperand};

/// A place in the function that branches go to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Label(usize);

/// Bytes, links and references of a function.
pub(super) type Finished = (Vec<u8>, Vec<Link>, Vec<Reference>);

/// A function in the making; the first error is kept for [`Asm::finish`].
pub(super) struct Asm {
    encoder: Encoder,
    at: usize,
    /// Offset of each label.
    labels: Vec<usize>,
    /// Places of four bytes that hold the distance to a label.
    branches: Vec<(usize, Label)>,
    links: Vec<Link>,
    references: Vec<Reference>,
    error: Option<String>,
}

impl Asm {
    pub(super) fn new() -> Asm {
        Asm { encoder: Encoder::new(64), at: 0, labels: vec![], branches: vec![], links: vec![], references: vec![], error: None }
    }

    fn put(&mut self, instruction: Result<Instruction, IcedError>) {
        match instruction.and_then(|i| self.encoder.encode(&i, self.at as u64)) {
            Ok(len) => self.at += len,
            Err(e) => {
                self.error.get_or_insert_with(|| e.to_string());
            }
        }
    }

    /// Offset of the last four bytes so far.
    fn last_four(&self) -> usize {
        self.at.saturating_sub(4)
    }

    pub(super) fn label(&mut self) -> Label {
        self.labels.push(usize::MAX);
        Label(self.labels.len() - 1)
    }

    /// The label stands for what comes next.
    pub(super) fn bind(&mut self, label: Label) {
        self.labels[label.0] = self.at;
    }

    /// A branch of a form with a distance of four bytes.
    pub(super) fn branch(&mut self, op: Op, to: Label) {
        self.put(Instruction::with_branch(op, self.at as u64));
        self.branches.push((self.last_four(), to));
    }

    /// Calls the function at a position of the image.
    pub(super) fn call(&mut self, to: usize) {
        self.put(Instruction::with_branch(Op::Call_rel32_64, self.at as u64));
        self.links.push(Link { at: self.last_four() as u32, to, kind: LinkKind::X86Rel32 });
    }

    /// Calls a function outside the image.
    pub(super) fn call_external(&mut self, to: External) {
        self.put(Instruction::with_branch(Op::Call_rel32_64, self.at as u64));
        self.references.push(Reference { at: self.last_four() as u32, to, kind: ReferenceKind::X86Call });
    }

    /// The address of the function at a position of the image.
    pub(super) fn address_of(&mut self, r: Register, to: usize) {
        self.put(Instruction::with2(Op::Lea_r64_m, r, MemoryOperand::with_base_displ(Register::RIP, self.at as i64)));
        self.links.push(Link { at: self.last_four() as u32, to, kind: LinkKind::X86Rel32 });
    }

    /// Calls the function whose address is in a register.
    pub(super) fn call_register(&mut self, r: Register) {
        self.put(Instruction::with1(Op::Call_rm64, r));
    }

    /// Calls the function whose address is in memory.
    pub(super) fn call_at(&mut self, base: Register, at: i32) {
        self.put(Instruction::with1(Op::Call_rm64, memory(base, at)));
    }

    pub(super) fn jump_to(&mut self, r: Register) {
        self.put(Instruction::with1(Op::Jmp_rm64, r));
    }

    pub(super) fn ret(&mut self) {
        self.put(Ok(Instruction::with(Op::Retnq)));
    }

    pub(super) fn push(&mut self, r: Register) {
        self.put(Instruction::with1(Op::Push_r64, r));
    }

    pub(super) fn pop(&mut self, r: Register) {
        self.put(Instruction::with1(Op::Pop_r64, r));
    }

    pub(super) fn mov(&mut self, to: Register, from: Register) {
        self.put(Instruction::with2(Op::Mov_r64_rm64, to, from));
    }

    /// Sets a 64-bit register.
    pub(super) fn imm(&mut self, r: Register, v: u64) {
        let half = Register::EAX + (r as u32 - Register::RAX as u32);
        self.put(match u32::try_from(v) {
            Ok(0) => Instruction::with2(Op::Xor_r32_rm32, half, half),
            Ok(v) => Instruction::with2(Op::Mov_r32_imm32, half, v),
            Err(_) => Instruction::with2(Op::Mov_r64_imm64, r, v),
        });
    }

    pub(super) fn load(&mut self, r: Register, base: Register, at: i32) {
        self.put(Instruction::with2(Op::Mov_r64_rm64, r, memory(base, at)));
    }

    pub(super) fn store(&mut self, base: Register, at: i32, r: Register) {
        self.put(Instruction::with2(Op::Mov_rm64_r64, memory(base, at), r));
    }

    /// `to = base + by`.
    pub(super) fn lea(&mut self, to: Register, base: Register, by: i32) {
        self.put(Instruction::with2(Op::Lea_r64_m, to, memory(base, by)));
    }

    /// `to = a + b + by`.
    pub(super) fn lea_sum(&mut self, to: Register, a: Register, b: Register, by: i32) {
        self.put(Instruction::with2(Op::Lea_r64_m, to, MemoryOperand::with_base_index_scale_displ_size(a, b, 1, i64::from(by), 1)));
    }

    pub(super) fn add_imm(&mut self, r: Register, by: i32) {
        self.put(Instruction::with2(Op::Add_rm64_imm32, r, by));
    }

    /// `to *= by`.
    pub(super) fn multiply(&mut self, to: Register, by: Register) {
        self.put(Instruction::with2(Op::Imul_r64_rm64, to, by));
    }

    /// `to = [base + at] * by`.
    pub(super) fn load_times(&mut self, to: Register, base: Register, at: i32, by: i64) {
        match i32::try_from(by) {
            Ok(by) => self.put(Instruction::with3(Op::Imul_r64_rm64_imm32, to, memory(base, at), by)),
            Err(_) => {
                self.imm(to, by as u64);
                self.put(Instruction::with2(Op::Imul_r64_rm64, to, memory(base, at)));
            }
        }
    }

    /// `rax = rax / by`, unsigned; `rdx` is lost.
    pub(super) fn divide(&mut self, by: Register) {
        self.imm(Register::RDX, 0);
        self.put(Instruction::with1(Op::Div_rm64, by));
    }

    /// `to = min(to, other)`, signed.
    pub(super) fn min(&mut self, to: Register, other: Register) {
        self.compare(to, other);
        self.put(Instruction::with2(Op::Cmovg_r64_rm64, to, other));
    }

    pub(super) fn compare(&mut self, a: Register, b: Register) {
        self.put(Instruction::with2(Op::Cmp_r64_rm64, a, b));
    }

    /// Compares the byte at an address with zero.
    pub(super) fn compare_byte_with_zero(&mut self, base: Register) {
        self.put(Instruction::with2(Op::Cmp_rm8_imm8, memory(base, 0), 0));
    }

    pub(super) fn test(&mut self, r: Register) {
        self.put(Instruction::with2(Op::Test_rm64_r64, r, r));
    }

    pub(super) fn test_imm(&mut self, r: Register, mask: i32) {
        self.put(Instruction::with2(Op::Test_rm64_imm32, r, mask));
    }

    /// Compares the status that a call has returned with zero.
    pub(super) fn test_status(&mut self) {
        self.put(Instruction::with2(Op::Test_rm32_r32, Register::EAX, Register::EAX));
    }

    pub(super) fn load_status(&mut self, base: Register, at: i32) {
        self.put(Instruction::with2(Op::Mov_r32_rm32, Register::EAX, memory(base, at)));
    }

    pub(super) fn store_status(&mut self, base: Register, at: i32) {
        self.put(Instruction::with2(Op::Mov_rm32_r32, memory(base, at), Register::EAX));
    }

    /// The finished function.
    ///
    /// # Errors
    /// What the encoder refused, or a label that stands nowhere.
    pub(super) fn finish(mut self) -> Result<Finished, String> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut bytes = self.encoder.take_buffer();
        for (at, label) in &self.branches {
            let to = self.labels[label.0];
            if to == usize::MAX {
                return Err("a branch goes nowhere".into());
            }
            let distance = to as i64 - (*at as i64 + 4);
            bytes[*at..*at + 4].copy_from_slice(&(distance as i32).to_le_bytes());
        }
        // Whoever places the function writes the distance, or adds it.
        let open = self.links.iter().map(|l| l.at).chain(self.references.iter().map(|r| r.at));
        open.for_each(|at| bytes[at as usize..][..4].fill(0));
        Ok((bytes, self.links, self.references))
    }
}

fn memory(base: Register, at: i32) -> MemoryOperand {
    MemoryOperand::with_base_displ(base, i64::from(at))
}
