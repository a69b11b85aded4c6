//! Memory for arenas and states: aligned, of a size known at compile time.

/// `N` bytes with the alignment that arenas, states and split weights need.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct Aligned<const N: usize>([u8; N]);

impl<const N: usize> Aligned<N> {
    /// All zero; usable in a `static`.
    pub const fn zeroed() -> Aligned<N> {
        Aligned([0; N])
    }

    /// The bytes.
    pub const fn bytes(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, writable.
    pub const fn bytes_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> Default for Aligned<N> {
    fn default() -> Aligned<N> {
        Aligned::zeroed()
    }
}

impl<const N: usize> core::fmt::Debug for Aligned<N> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Aligned({N} bytes)")
    }
}
