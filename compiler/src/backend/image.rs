//! All functions of a model in one position-independent block of code.
//!
//! In: machine code of kernels and driver, with the places where one refers to another. Out: bytes that run wherever they are loaded, since
//! every reference is relative and resolved here, and a table of symbols. The JIT maps the block, the object writer puts it into a
//! section. Same functions, same bytes.

use super::Code;

/// How a function refers to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LinkKind {
    /// x86-64: 32-bit distance from the end of the four bytes.
    X86Rel32,
    /// AArch64: the 26-bit word distance of `bl`.
    Aarch64Call,
    /// AArch64: the address of a function into the register of an `adrp`, followed by an `add`; becomes `adr` and `nop`, so
    /// the function must lie within 1 MiB.
    Aarch64Address,
    /// RISC-V: the distance of an `auipc` and a `jalr`.
    Riscv64Call,
    /// RISC-V: the distance of an `auipc` and an `addi`.
    Riscv64Address,
    /// Data: 32-bit distance from the start of what holds it.
    Offset32,
}

/// A place in a function that refers to another function.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Link {
    /// Offset in the function, in bytes.
    pub at: u32,
    /// Position of the other function in the image's list.
    pub to: usize,
    /// Form.
    pub kind: LinkKind,
}

/// What code refers to outside the image.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum External {
    /// The weights of a model for one CPU level, by the level's position.
    Weights(usize),
    /// `tflc_cpu_features`, which a program without operating system provides.
    CpuFeatures,
    /// `getauxval` of the C library.
    Getauxval,
    /// A function that computes a custom operator, by its position among the symbols of the program or library.
    Custom(usize),
}

/// Form of a reference to something outside the image; an object file has a relocation for each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReferenceKind {
    /// x86-64: 32-bit distance from the end of the four bytes, of data.
    X86Data,
    /// The same of a function.
    X86Call,
    /// AArch64: page of an `adrp`.
    Aarch64Page,
    /// AArch64: offset in the page, of an `add`.
    Aarch64PageOffset,
    /// AArch64: `bl`.
    Aarch64Call,
    /// RISC-V: upper 20 bits of a distance, of an `auipc`.
    Riscv64High,
    /// RISC-V: lower 12 bits of the distance whose upper bits the instruction at offset `high` has.
    Riscv64Low {
        /// Offset of the `auipc` in the function.
        high: u32,
    },
    /// RISC-V: an `auipc` and a `jalr`.
    Riscv64Call,
}

/// A place in a function that refers to something outside the image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reference {
    /// Offset in bytes, in the function or, once placed, in the image.
    pub at: u32,
    /// What it refers to.
    pub to: External,
    /// Form.
    pub kind: ReferenceKind,
}

/// A function to be placed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// Symbol.
    pub name: String,
    /// Machine code.
    pub code: Code,
    /// References to other functions.
    pub links: Vec<Link>,
    /// References to what lies outside.
    pub references: Vec<Reference>,
}

impl Function {
    /// A function that refers to nothing outside the image.
    pub fn new(name: impl Into<String>, code: Code, links: Vec<Link>) -> Function {
        Function { name: name.into(), code, links, references: vec![] }
    }
}

/// A placed function.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Symbol {
    /// Name.
    pub name: String,
    /// Offset in the image, in bytes.
    pub offset: usize,
    /// Size in bytes, its constants included.
    pub size: usize,
}

/// Code of a whole model.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Image {
    /// Machine code.
    pub bytes: Vec<u8>,
    /// Required alignment in bytes.
    pub align: u32,
    /// Functions, in the order they were given.
    pub symbols: Vec<Symbol>,
    /// References to what lies outside, by offset in the image.
    pub references: Vec<Reference>,
}

/// A reference that its form cannot reach.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the code is too large: `{from}` cannot reach `{to}`, {distance} bytes away")]
pub struct OutOfReach {
    /// Function that refers.
    pub from: String,
    /// Function referred to.
    pub to: String,
    /// Distance in bytes.
    pub distance: i64,
}

impl Image {
    /// Places functions one after the other and resolves their links.
    ///
    /// # Errors
    /// Where a link does not reach.
    pub fn new(functions: &[Function]) -> Result<Image, OutOfReach> {
        let mut image = Image { bytes: vec![], align: 16, symbols: vec![], references: vec![] };
        for f in functions {
            let offset = image.bytes.len().next_multiple_of(f.code.align as usize);
            image.bytes.resize(offset, 0);
            image.bytes.extend(&f.code.bytes);
            image.align = image.align.max(f.code.align);
            image.references.extend(f.references.iter().map(|r| {
                let base = offset as u32;
                let kind = match r.kind {
                    ReferenceKind::Riscv64Low { high } => ReferenceKind::Riscv64Low { high: high + base },
                    kind => kind,
                };
                Reference { at: r.at + base, kind, ..*r }
            }));
            image.symbols.push(Symbol { name: f.name.clone(), offset, size: f.code.bytes.len() });
        }
        for (i, f) in functions.iter().enumerate() {
            for link in &f.links {
                let at = image.symbols[i].offset + link.at as usize;
                let distance = image.symbols[link.to].offset as i64 - at as i64;
                let distance = distance + if link.kind == LinkKind::Offset32 { i64::from(link.at) } else { 0 };
                resolve(&mut image.bytes[at..], link.kind, distance).ok_or_else(|| OutOfReach {
                    from: f.name.clone(),
                    to: functions[link.to].name.clone(),
                    distance,
                })?;
            }
        }
        Ok(image)
    }

    /// Offset of a function in bytes.
    pub fn offset_of(&self, name: &str) -> Option<usize> {
        self.symbols.iter().find(|s| s.name == name).map(|s| s.offset)
    }
}

/// Writes a link; `code` starts at it and `distance` is from there. `None` where it does not reach.
fn resolve(code: &mut [u8], kind: LinkKind, distance: i64) -> Option<()> {
    let instruction = |code: &[u8], i: usize| u32::from_le_bytes([code[i], code[i + 1], code[i + 2], code[i + 3]]);
    match kind {
        LinkKind::X86Rel32 => code[..4].copy_from_slice(&i32::try_from(distance - 4).ok()?.to_le_bytes()),
        LinkKind::Offset32 => code[..4].copy_from_slice(&i32::try_from(distance).ok()?.to_le_bytes()),
        LinkKind::Riscv64Call | LinkKind::Riscv64Address => {
            // The low part is signed: round the high part so that both add up.
            let high = i32::try_from(distance + 0x800).ok()? & !0xFFF;
            let low = (distance as i32).wrapping_sub(high);
            let auipc = (instruction(code, 0) & 0xFFF) | high as u32;
            let second = (instruction(code, 4) & 0x000F_FFFF) | (low as u32) << 20;
            code[..4].copy_from_slice(&auipc.to_le_bytes());
            code[4..8].copy_from_slice(&second.to_le_bytes());
        }
        LinkKind::Aarch64Call => {
            if distance % 4 != 0 || !(-(1 << 27)..1 << 27).contains(&distance) {
                return None;
            }
            let bl = (instruction(code, 0) & 0xFC00_0000) | ((distance >> 2) as u32 & 0x03FF_FFFF);
            code[..4].copy_from_slice(&bl.to_le_bytes());
        }
        LinkKind::Aarch64Address => {
            const NOP: u32 = 0xD503_201F;
            const ADR: u32 = 0x1000_0000;
            if !(-(1 << 20)..1 << 20).contains(&distance) {
                return None;
            }
            let register = instruction(code, 0) & 0x1F;
            let imm = distance as u32;
            let adr = ADR | (imm & 3) << 29 | (imm >> 2 & 0x7_FFFF) << 5 | register;
            code[..4].copy_from_slice(&adr.to_le_bytes());
            code[4..8].copy_from_slice(&NOP.to_le_bytes());
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(name: &str, bytes: Vec<u8>, links: Vec<Link>) -> Function {
        Function::new(name, Code { bytes, align: 32 }, links)
    }

    #[test]
    fn functions_are_aligned_and_links_relative() {
        let call = |to| Link { at: 1, to, kind: LinkKind::X86Rel32 };
        let image = Image::new(&[
            function("a", vec![0xE8, 0, 0, 0, 0, 0xC3], vec![call(1)]),
            function("b", vec![0xE8, 0, 0, 0, 0, 0xC3], vec![call(0)]),
        ])
        .expect("reaches");
        assert_eq!(image.symbols[1], Symbol { name: "b".into(), offset: 32, size: 6 });
        assert_eq!(image.offset_of("b"), Some(32));
        assert_eq!(image.bytes[1..5], 27i32.to_le_bytes());
        assert_eq!(image.bytes[33..37], (-37i32).to_le_bytes());
    }

    #[test]
    fn riscv_distances_are_split_with_a_signed_low_part() {
        // auipc ra, 0; jalr ra, ra, 0
        let code = [0x0000_0097u32, 0x0000_80E7].iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let link = Link { at: 0, to: 1, kind: LinkKind::Riscv64Call };
        let mut callee = function("b", vec![0; 4], vec![]);
        let mut caller = function("a", code, vec![link]);
        caller.code.bytes.resize(0x1801, 0);
        callee.code.align = 0x20;
        let image = Image::new(&[caller, callee]).expect("reaches");
        // 0x1820 = 0x2000 - 0x7E0
        assert_eq!(image.bytes[..4], 0x0000_2097u32.to_le_bytes());
        assert_eq!(image.bytes[4..8], 0x8200_80E7u32.to_le_bytes());
    }

    #[test]
    fn data_holds_distances_from_its_start() {
        let link = Link { at: 4, to: 1, kind: LinkKind::Offset32 };
        let image = Image::new(&[function("a", vec![0; 8], vec![link]), function("b", vec![0; 4], vec![])]).expect("reaches");
        assert_eq!(image.bytes[4..8], 32u32.to_le_bytes());
    }

    #[test]
    fn aarch64_addresses_become_adr() {
        // adrp x3, 0; add x3, x3, #0
        let code = [0x9000_0003u32, 0x9100_0063].iter().flat_map(|w| w.to_le_bytes()).collect::<Vec<u8>>();
        let link = Link { at: 0, to: 1, kind: LinkKind::Aarch64Address };
        let image = Image::new(&[function("a", code.clone(), vec![link]), function("b", vec![0; 4], vec![])]).expect("reaches");
        // adr x3, #32; nop
        assert_eq!(image.bytes[..4], 0x1000_0103u32.to_le_bytes());
        assert_eq!(image.bytes[4..8], 0xD503_201Fu32.to_le_bytes());
        let far = Image::new(&[function("a", code, vec![link]), function("b", vec![0; 4], vec![])].map(|mut f| {
            f.code.bytes.resize(2 << 20, 0);
            f
        }));
        assert_eq!(far.expect_err("2 MiB").distance, 2 << 20);
    }
}
