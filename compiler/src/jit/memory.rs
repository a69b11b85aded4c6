//! Executable memory: filled while writable, then sealed; never writable and executable at once.

use memmap2::{Mmap, MmapMut};
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
        let mut map = MmapMut::map_anon(code.len().max(1))?;
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
    use crate::target::{Cpu, X86Level};

    #[test]
    fn generated_code_finds_the_features_that_the_standard_library_finds() {
        let code = CodeMemory::new(&features_function(true).expect("encodes").bytes).expect("memory");
        let Cpu::X86(host) = crate::jit::host_target().cpu else { panic!("not x86-64") };
        let expected: u64 =
            [X86Level::V3, X86Level::V4, X86Level::V4Vnni, X86Level::V4Amx].into_iter().filter(|l| *l <= host).map(feature_bit).sum();
        // SAFETY: this is what the function is.
        assert_eq!(unsafe { code.call_getter() }, expected);
    }
}
