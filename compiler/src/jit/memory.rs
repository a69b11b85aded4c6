//! Executable memory: filled while writable, then sealed; never writable and executable at once.

use memmap2::{Mmap, MmapMut};
use std::io;

/// A sealed block of machine code, page-aligned, readable and executable.
#[derive(Debug)]
pub struct CodeMemory {
    map: Mmap,
}

impl CodeMemory {
    /// Copies `code` into fresh pages and makes them executable (and no longer writable).
    ///
    /// # Errors
    /// Where the system refuses the mapping or the change of protection.
    pub fn new(code: &[u8]) -> io::Result<CodeMemory> {
        let mut map = MmapMut::map_anon(code.len().max(1))?;
        map[..code.len()].copy_from_slice(code);
        Ok(CodeMemory { map: map.make_exec()? })
    }

    /// Address of the byte at `offset`.
    ///
    /// # Panics
    /// Where `offset` lies outside the code.
    pub fn address(&self, offset: usize) -> *const u8 {
        self.map[offset..].as_ptr()
    }
}
