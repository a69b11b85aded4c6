//! Executable memory: filled while writable, then sealed; never writable and executable at once.

use memmap2::{Mmap, MmapOptions};
use std::io;

/// A sealed block of machine code, page-aligned, readable and executable.
#[derive(Debug)]
pub struct CodeMemory {
    map: Mmap,
    bytes: usize,
}

impl CodeMemory {
    /// Copies `code` into fresh pages and makes them executable (and no longer writable).
    ///
    /// # Errors
    /// Where the system refuses the mapping or the change of protection.
    pub fn new(code: &[u8]) -> io::Result<CodeMemory> {
        // Every page is written at once: all of them together take less time than a fault for each.
        let mut map = MmapOptions::new().len(code.len().max(1)).populate().map_anon()?;
        map[..code.len()].copy_from_slice(code);
        Ok(CodeMemory { map: map.make_exec()?, bytes: code.len() })
    }

    /// Calls the function at the start of the code, which takes nothing and gives a number.
    ///
    /// # Safety
    /// The code is such a function, with the calling convention of C, and runs on this processor.
    #[cfg(test)]
    pub(crate) unsafe fn call_getter(&self) -> u64 {
        // SAFETY: the caller promises the type.
        let f: extern "C" fn() -> u64 = unsafe { std::mem::transmute::<*const u8, extern "C" fn() -> u64>(self.address(0)) };
        f()
    }

    /// The code.
    pub fn bytes(&self) -> &[u8] {
        &self.map[..self.bytes]
    }

    /// Address of the byte at `offset`.
    ///
    /// # Panics
    /// Where `offset` lies outside the code.
    pub fn address(&self, offset: usize) -> *const u8 {
        self.map[offset..].as_ptr()
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::backend::x86::{feature_bit, features_function};
    use crate::jit::{host_target, runs_here};
    use crate::target::{Cpu, Target, X86Level};

    #[test]
    fn generated_code_finds_the_features_that_the_standard_library_finds() {
        let code = CodeMemory::new(&features_function(true).expect("encodes").bytes).expect("memory");
        let here = |level: &X86Level| runs_here(&Target::on(Cpu::X86(*level), host_target().os));
        let expected: u64 = X86Level::ALL.into_iter().filter(here).map(feature_bit).sum();
        // SAFETY: this is what the function is.
        assert_eq!(unsafe { code.call_getter() }, expected);
    }
}
