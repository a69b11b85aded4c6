//! Zeroed, 64-byte aligned memory for arenas, states and weights.

use memmap2::MmapMut;
use std::io;

/// Buffers of at least this size ask for huge pages.
#[cfg(target_os = "linux")]
const HUGE_PAGE_BYTES: usize = 4 << 20;

/// A zeroed buffer; pages come from the system when they are first touched.
#[derive(Debug)]
pub struct Buffer {
    map: MmapMut,
    bytes: usize,
}

impl Buffer {
    /// A buffer of `bytes` zero bytes.
    ///
    /// # Errors
    /// Where the system has no memory.
    pub fn zeroed(bytes: usize) -> io::Result<Buffer> {
        let map = MmapMut::map_anon(bytes.max(1))?;
        #[cfg(target_os = "linux")]
        if bytes >= HUGE_PAGE_BYTES {
            // A hint only: fewer page faults while weights are written; a system without huge pages refuses it.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Buffer { map, bytes })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map[..self.bytes]
    }

    /// The bytes, writable.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[..self.bytes]
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }
}
