//! Zeroed, 64-byte aligned memory for arenas, states and weights.

use memmap2::MmapMut;
use std::io;

/// Size and alignment of a huge page where systems have them.
const HUGE_PAGE: usize = 2 << 20;

/// A zeroed buffer; pages come from the system when they are first touched. On Linux large ones ask for huge pages, which take one fault
/// where small ones take 512.
#[derive(Debug)]
pub struct Buffer {
    map: MmapMut,
    from: usize,
    bytes: usize,
}

impl Buffer {
    /// A buffer of `bytes` zero bytes.
    ///
    /// # Errors
    /// Where the system has no memory.
    pub fn zeroed(bytes: usize) -> io::Result<Buffer> {
        let huge = huge_bytes(bytes);
        if huge == 0 || cfg!(not(target_os = "linux")) {
            return Ok(Buffer { map: MmapMut::map_anon(bytes.max(1))?, from: 0, bytes });
        }
        // One page more than needed leaves room to begin at a multiple of a huge page.
        let map = MmapMut::map_anon(bytes.max(huge) + HUGE_PAGE)?;
        let from = map.as_ptr().align_offset(HUGE_PAGE);
        // A hint only: a system without huge pages refuses it.
        #[cfg(target_os = "linux")]
        let _ = map.advise_range(memmap2::Advice::HugePage, from, huge);
        Ok(Buffer { map, from, bytes })
    }

    /// The same with all pages in place, for one that will be used as a whole: together they take less time than a fault for each.
    ///
    /// # Errors
    /// As [`Buffer::zeroed`].
    pub fn touched(bytes: usize) -> io::Result<Buffer> {
        let buffer = Buffer::zeroed(bytes)?;
        // A hint only: an older system refuses it.
        #[cfg(target_os = "linux")]
        if bytes > 0 {
            let _ = buffer.map.advise_range(memmap2::Advice::PopulateWrite, buffer.from, bytes);
        }
        Ok(buffer)
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map[self.from..][..self.bytes]
    }

    /// The bytes, writable.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map[self.from..][..self.bytes]
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

/// Bytes of a buffer of `bytes` that huge pages hold: all of it where the last one is at least half full.
fn huge_bytes(bytes: usize) -> usize {
    (bytes + HUGE_PAGE / 2) / HUGE_PAGE * HUGE_PAGE
}
