//! Object files: ELF, COFF, Mach-O.
//!
//! One section of code, which also holds the descriptors, one of read-only data with the weights, nothing writable. `NAME_model` is
//! the only global symbol; the local ones are for profilers and debuggers.

use super::library::{Library, Weights};
use crate::backend::image::{External, Reference, ReferenceKind};
use crate::error::CompileError;
use crate::lower::program::ARENA_ALIGN;
use crate::target::{Arch, Format, Os};
use object::write::{MachOBuildVersion, Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    Architecture, BinaryFormat, Endianness, FileFlags, RelocationEncoding as E, RelocationFlags, RelocationKind as K, SectionKind,
    SymbolFlags, SymbolKind, SymbolScope, elf, macho,
};
use std::collections::HashMap;

/// Oldest system versions that are promised to run the code: macOS 11, iOS 14, as `xxxx.yy.zz` in nibbles.
const MACOS_VERSION: u32 = 11 << 16;
const IOS_VERSION: u32 = 14 << 16;

/// The bytes of an object file.
///
/// # Errors
/// Where the object is too large for its format.
pub fn object(library: &Library) -> Result<Vec<u8>, CompileError> {
    let mut writer = Writer::new(library);
    writer.references().map_err(|e| CompileError::Internal(format!("object: {e}")))?;
    writer.out.write().map_err(|e| CompileError::Internal(format!("object: {e}")))
}

struct Writer<'a> {
    library: &'a Library,
    out: Object<'a>,
    text: SectionId,
    /// Each level's weights, where they are in the object.
    weights: Vec<SymbolId>,
    /// Undefined symbols by name.
    undefined: HashMap<String, SymbolId>,
}

impl<'a> Writer<'a> {
    fn new(library: &'a Library) -> Writer<'a> {
        let (format, arch) = (library.platform.os.format(), library.platform.arch);
        let mut out = Object::new(
            match format {
                Format::Elf => BinaryFormat::Elf,
                Format::Coff => BinaryFormat::Coff,
                Format::MachO => BinaryFormat::MachO,
                Format::Wasm => BinaryFormat::Wasm,
            },
            match arch {
                Arch::X86_64 => Architecture::X86_64,
                Arch::Aarch64 => Architecture::Aarch64,
                Arch::Riscv64 => Architecture::Riscv64,
                Arch::Wasm32 => Architecture::Wasm32,
            },
            Endianness::Little,
        );
        if arch == Arch::Riscv64 {
            let e_flags = elf::EF_RISCV_RVC | elf::EF_RISCV_FLOAT_ABI_DOUBLE;
            out.flags = FileFlags::Elf { os_abi: elf::ELFOSABI_NONE, abi_version: 0, e_flags };
        }
        let mut version = MachOBuildVersion::default();
        match library.platform.os {
            Os::MacOs => (version.platform, version.minos) = (macho::PLATFORM_MACOS, MACOS_VERSION),
            Os::Ios => (version.platform, version.minos) = (macho::PLATFORM_IOS, IOS_VERSION),
            _ => {}
        }
        if format == Format::MachO {
            version.sdk = version.minos;
            out.set_macho_build_version(version);
        }
        if format == Format::Elf {
            // Says that the code needs no executable stack, which linkers otherwise assume.
            out.add_section(vec![], b".note.GNU-stack".to_vec(), SectionKind::Other);
        }
        let (segment, name): (&[u8], &[u8]) = match format {
            Format::MachO => (b"__TEXT", b"__text"),
            _ => (b"", b".text"),
        };
        let text = out.add_section(segment.to_vec(), name.to_vec(), SectionKind::Text);
        out.set_section_data(text, &library.image.bytes[..], u64::from(library.image.align));
        let mut writer = Writer { library, out, text, weights: vec![], undefined: HashMap::new() };
        writer.symbols();
        if library.placement == Weights::Embedded && !library.weights.is_empty() {
            writer.weights();
        }
        writer
    }

    fn symbols(&mut self) {
        let model = self.library.model_symbol();
        for s in &self.library.image.symbols {
            let global = s.name == model;
            // Local symbols of Mach-O would take part in the linker's cutting of sections; nobody needs them there.
            if !global && self.library.platform.os.format() == Format::MachO {
                continue;
            }
            self.out.add_symbol(Symbol {
                name: s.name.clone().into_bytes(),
                value: s.offset as u64,
                size: s.size as u64,
                kind: if s.name.contains("_descriptor") { SymbolKind::Data } else { SymbolKind::Text },
                scope: if global { SymbolScope::Dynamic } else { SymbolScope::Compilation },
                weak: false,
                section: SymbolSection::Section(self.text),
                flags: SymbolFlags::None,
            });
        }
    }

    fn weights(&mut self) {
        let (segment, name): (&[u8], &[u8]) = match self.library.platform.os.format() {
            Format::MachO => (b"__TEXT", b"__const"),
            Format::Coff => (b"", b".rdata"),
            Format::Elf | Format::Wasm => (b"", b".rodata"),
        };
        let section = self.out.add_section(segment.to_vec(), name.to_vec(), SectionKind::ReadOnlyData);
        self.out.set_section_data(section, &self.library.weights[..], ARENA_ALIGN as u64);
        let local = |index: usize, at: usize| Symbol {
            name: format!("{}_weights{index}", self.library.name).into_bytes(),
            value: at as u64,
            size: 0,
            kind: SymbolKind::Data,
            scope: SymbolScope::Compilation,
            weak: false,
            section: SymbolSection::Section(section),
            flags: SymbolFlags::None,
        };
        // One symbol a level: Mach-O has no room for an offset beside a symbol.
        let symbols: Vec<Symbol> = self.library.weights_at.iter().enumerate().map(|(i, &at)| local(i, at)).collect();
        self.weights = symbols.into_iter().map(|s| self.out.add_symbol(s)).collect();
    }

    fn undefined(&mut self, name: &str) -> SymbolId {
        let out = &mut self.out;
        *self.undefined.entry(name.to_string()).or_insert_with(|| {
            out.add_symbol(Symbol {
                name: name.as_bytes().to_vec(),
                value: 0,
                size: 0,
                kind: SymbolKind::Text,
                scope: SymbolScope::Unknown,
                weak: false,
                section: SymbolSection::Undefined,
                flags: SymbolFlags::None,
            })
        })
    }

    fn references(&mut self) -> Result<(), object::write::Error> {
        let library = self.library;
        for r in &library.image.references {
            let symbol = match r.to {
                // Without weights the address is one that nobody reads from: that of the code itself.
                External::Weights(level) => match self.weights.get(level) {
                    Some(&weights) => weights,
                    None => self.out.section_symbol(self.text),
                },
                External::CpuFeatures => self.undefined("tflc_cpu_features"),
                External::Getauxval => self.undefined("getauxval"),
                External::Custom(i) => self.undefined(&library.symbols[i]),
            };
            self.reference(r, symbol)?;
        }
        Ok(())
    }

    fn reference(&mut self, r: &Reference, symbol: SymbolId) -> Result<(), object::write::Error> {
        let elf = |r_type| RelocationFlags::Elf { r_type };
        let mach_o = |r_type, r_pcrel| RelocationFlags::MachO { r_type, r_pcrel, r_length: 2 };
        let generic = |kind, encoding, size| RelocationFlags::Generic { kind, encoding, size };
        let format = self.library.platform.os.format();
        let (flags, addend) = match (r.kind, format) {
            // x86-64 counts from the end of the four bytes.
            (ReferenceKind::X86Data, _) => (generic(K::Relative, E::X86RipRelative, 32), -4),
            (ReferenceKind::X86Call, _) => (generic(K::PltRelative, E::X86Branch, 32), -4),
            (ReferenceKind::Aarch64Page, Format::MachO) => (mach_o(macho::ARM64_RELOC_PAGE21, true), 0),
            (ReferenceKind::Aarch64Page, _) => (elf(elf::R_AARCH64_ADR_PREL_PG_HI21), 0),
            (ReferenceKind::Aarch64PageOffset, Format::MachO) => (mach_o(macho::ARM64_RELOC_PAGEOFF12, false), 0),
            (ReferenceKind::Aarch64PageOffset, _) => (elf(elf::R_AARCH64_ADD_ABS_LO12_NC), 0),
            (ReferenceKind::Aarch64Call, Format::MachO) => (mach_o(macho::ARM64_RELOC_BRANCH26, true), 0),
            (ReferenceKind::Aarch64Call, _) => (generic(K::PltRelative, E::AArch64Call, 26), 0),
            (ReferenceKind::Riscv64High, _) => (elf(elf::R_RISCV_PCREL_HI20), 0),
            (ReferenceKind::Riscv64Call, _) => (elf(elf::R_RISCV_CALL_PLT), 0),
            (ReferenceKind::Riscv64Low { high }, _) => {
                // The low part names the instruction with the high part, which needs a symbol.
                let label = self.out.add_symbol(Symbol {
                    name: format!(".L{}_pcrel_{high}", self.library.name).into_bytes(),
                    value: u64::from(high),
                    size: 0,
                    kind: SymbolKind::Label,
                    scope: SymbolScope::Compilation,
                    weak: false,
                    section: SymbolSection::Section(self.text),
                    flags: SymbolFlags::None,
                });
                let relocation = Relocation { offset: u64::from(r.at), symbol: label, addend: 0, flags: elf(elf::R_RISCV_PCREL_LO12_I) };
                return self.out.add_relocation(self.text, relocation);
            }
        };
        self.out.add_relocation(self.text, Relocation { offset: u64::from(r.at), symbol, addend, flags })
    }
}
