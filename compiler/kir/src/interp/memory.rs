//! The interpreter's memory: separate byte buffers, every access checked.
//!
//! An address is one `u64`: the buffer's number in the upper 24 bits, an offset with a bias of half the range in the lower 40. Kernels may
//! thus compute with addresses as with any integer, step outside a buffer and back, and compare addresses within one; only an access that
//! is not wholly inside its buffer faults. Scratch also remembers which bytes were written.

use std::fmt;

const OFFSET_BITS: u32 = 40;
const BIAS: i64 = 1 << (OFFSET_BITS - 1);

/// Bytes of one buffer, owned or lent.
#[derive(Debug)]
enum Data<'a> {
    Owned(Vec<u8>),
    Mut(&'a mut [u8]),
    Shared(&'a [u8]),
}

#[derive(Debug)]
struct Buffer<'a> {
    data: Data<'a>,
    /// For scratch: which bytes were written.
    written: Option<Vec<bool>>,
}

/// Buffers that a kernel may reach, numbered in order of addition.
#[derive(Debug, Default)]
pub struct Memory<'a> {
    buffers: Vec<Buffer<'a>>,
}

/// Why an access failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FaultKind {
    /// The address belongs to no buffer.
    NoBuffer,
    /// The access is not wholly inside its buffer.
    OutOfBounds,
    /// A store to a buffer that was lent for reading only.
    ReadOnly,
    /// A load of scratch bytes that were never stored.
    Uninitialised,
}

/// An access that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What is wrong.
    pub kind: FaultKind,
    /// Address as the kernel computed it.
    pub address: u64,
    /// Number of bytes.
    pub bytes: usize,
    /// Number of the buffer, offset in it (which may be negative) and its size in bytes, where there is one.
    pub place: Option<(usize, i64, usize)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            FaultKind::NoBuffer => "is in no buffer",
            FaultKind::OutOfBounds => "is out of bounds",
            FaultKind::ReadOnly => "writes read-only memory",
            FaultKind::Uninitialised => "reads scratch that was never written",
        };
        write!(f, "access of {} bytes at {:#x} {what}", self.bytes, self.address)?;
        match self.place {
            Some((buffer, offset, size)) => write!(f, ": offset {offset} of buffer {buffer}, which has {size} bytes"),
            None => Ok(()),
        }
    }
}

impl<'a> Memory<'a> {
    /// Memory without buffers.
    pub fn new() -> Memory<'a> {
        Memory::default()
    }

    /// Adds a buffer and gives its address.
    pub fn add(&mut self, bytes: Vec<u8>) -> u64 {
        self.push(Data::Owned(bytes), None)
    }

    /// Adds a buffer that the kernel may write, and gives its address.
    pub fn add_mut(&mut self, bytes: &'a mut [u8]) -> u64 {
        self.push(Data::Mut(bytes), None)
    }

    /// Adds a buffer that the kernel may only read, and gives its address.
    pub fn add_shared(&mut self, bytes: &'a [u8]) -> u64 {
        self.push(Data::Shared(bytes), None)
    }

    pub(super) fn add_scratch(&mut self, bytes: usize) -> u64 {
        self.push(Data::Owned(vec![0xa5; bytes]), Some(vec![false; bytes]))
    }

    fn push(&mut self, data: Data<'a>, written: Option<Vec<bool>>) -> u64 {
        self.buffers.push(Buffer { data, written });
        self.address(self.buffers.len() - 1)
    }

    /// Address of the first byte of buffer `buffer`.
    pub fn address(&self, buffer: usize) -> u64 {
        ((buffer as u64 + 1) << OFFSET_BITS).wrapping_add(BIAS as u64)
    }

    /// Number of buffers.
    pub fn len(&self) -> usize {
        self.buffers.len()
    }

    /// Whether there are no buffers.
    pub fn is_empty(&self) -> bool {
        self.buffers.is_empty()
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.buffers.truncate(len);
    }

    /// Contents of buffer `buffer`.
    ///
    /// # Panics
    /// Where there is no such buffer.
    pub fn bytes(&self, buffer: usize) -> &[u8] {
        match &self.buffers[buffer].data {
            Data::Owned(b) => b,
            Data::Mut(b) => b,
            Data::Shared(b) => b,
        }
    }

    /// Finds buffer and offset of an access.
    fn locate(&self, address: u64, bytes: usize) -> Result<(usize, usize), Fault> {
        let fault = |kind, place| Fault { kind, address, bytes, place };
        let buffer = (address >> OFFSET_BITS).wrapping_sub(1) as usize;
        if buffer >= self.buffers.len() {
            return Err(fault(FaultKind::NoBuffer, None));
        }
        let offset = (address & ((1 << OFFSET_BITS) - 1)) as i64 - BIAS;
        let size = self.bytes(buffer).len();
        match usize::try_from(offset) {
            Ok(o) if o <= size && bytes <= size - o => Ok((buffer, o)),
            _ => Err(fault(FaultKind::OutOfBounds, Some((buffer, offset, size)))),
        }
    }

    /// The `bytes` bytes at an address.
    #[inline]
    pub(super) fn read(&self, address: u64, bytes: usize) -> Result<&[u8], Fault> {
        let (buffer, o) = self.locate(address, bytes)?;
        if let Some(w) = &self.buffers[buffer].written
            && w[o..o + bytes].contains(&false)
        {
            let place = Some((buffer, o as i64, w.len()));
            return Err(Fault { kind: FaultKind::Uninitialised, address, bytes, place });
        }
        Ok(&self.bytes(buffer)[o..o + bytes])
    }

    /// The `bytes` bytes at an address, all of which the caller writes.
    #[inline]
    pub(super) fn write(&mut self, address: u64, bytes: usize) -> Result<&mut [u8], Fault> {
        let (buffer, o) = self.locate(address, bytes)?;
        let b = &mut self.buffers[buffer];
        if let Some(w) = &mut b.written {
            w[o..o + bytes].fill(true);
        }
        match &mut b.data {
            Data::Owned(b) => Ok(&mut b[o..o + bytes]),
            Data::Mut(b) => Ok(&mut b[o..o + bytes]),
            Data::Shared(b) => {
                let place = Some((buffer, o as i64, b.len()));
                Err(Fault { kind: FaultKind::ReadOnly, address, bytes, place })
            }
        }
    }
}
