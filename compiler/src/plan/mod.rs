//! The memory plan: where each buffer of a run lies in the arena.
//!
//! In: buffers with sizes and live ranges. Out: offsets such that buffers alive at the same time do not overlap, and the
//! lower bound that no plan can beat. [`checker`] proves a plan without knowing how it was made; a plan that it has
//! not proved is never used. Views and in-place results are the business of `lower`: they share one buffer here.

pub mod checker;
pub mod planner;

/// A buffer of the arena.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Buffer {
    /// Size in bytes.
    pub bytes: usize,
    /// Alignment of the offset in bytes, a power of two.
    pub align: usize,
    /// First step that writes it.
    pub first: usize,
    /// Last step that reads or writes it; at least `first`.
    pub last: usize,
}

impl Buffer {
    /// Whether both are alive at some step.
    pub fn overlaps(&self, other: &Buffer) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets of buffers in an arena.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Plan {
    /// Offset of each buffer in bytes.
    pub offsets: Vec<usize>,
    /// Size of the arena in bytes.
    pub arena_bytes: usize,
    /// The most bytes alive at one step: no plan is smaller.
    pub lower_bound: usize,
}
