//! Constant bytes: a shared owner and a range, cheap to clone, never copied on load.

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// An immutable slice of bytes that keeps its owner (a vector, a mapped file) alive.
#[derive(Clone)]
pub struct Bytes {
    owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    range: Range<usize>,
}

impl Bytes {
    /// The bytes `range` of `owner`.
    ///
    /// # Panics
    /// Where the range lies outside the owner.
    pub fn from_owner(owner: Arc<dyn AsRef<[u8]> + Send + Sync>, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= (*owner).as_ref().len(), "range of the owner's bytes");
        Bytes { owner, range }
    }

    /// A part of these bytes.
    ///
    /// # Panics
    /// Where the range lies outside.
    pub fn slice(&self, range: Range<usize>) -> Bytes {
        Bytes::from_owner(self.owner.clone(), self.range.start + range.start..self.range.start + range.end)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(v: Vec<u8>) -> Bytes {
        let range = 0..v.len();
        Bytes { owner: Arc::new(v), range }
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Bytes) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

impl std::hash::Hash for Bytes {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({})", self.len())
    }
}
