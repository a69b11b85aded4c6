//! The constant pool behind the code: each constant once, most aligned first.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use tflc_kir::Mixer;

/// A constant of a [`ConstPool`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct ConstId(u32);

/// Constants of one function, each 4, 8, 16, 32 or 64 bytes long and aligned to its length.
#[derive(Debug, Default)]
pub(super) struct ConstPool {
    data: Vec<Box<[u8]>>,
    ids: HashMap<Box<[u8]>, ConstId, BuildHasherDefault<Mixer>>,
}

/// Where the constants of a pool lie, relative to the pool's start.
#[derive(Debug)]
pub(super) struct Placed {
    /// Offset of each constant.
    pub(super) offsets: Vec<u32>,
    /// The bytes.
    pub(super) bytes: Vec<u8>,
    /// Required alignment of the start.
    pub(super) align: u32,
}

impl ConstPool {
    /// The constant with these bytes.
    pub(super) fn intern(&mut self, bytes: &[u8]) -> ConstId {
        if let Some(&id) = self.ids.get(bytes) {
            return id;
        }
        let id = ConstId(self.data.len() as u32);
        self.data.push(bytes.into());
        self.ids.insert(bytes.into(), id);
        id
    }

    /// Lays the constants out in order of falling size.
    pub(super) fn place(&self) -> Placed {
        let mut order: Vec<usize> = (0..self.data.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(self.data[i].len()));
        let mut placed = Placed { offsets: vec![0; self.data.len()], bytes: vec![], align: 1 };
        for i in order {
            placed.align = placed.align.max(self.data[i].len() as u32);
            placed.offsets[i] = placed.bytes.len() as u32;
            placed.bytes.extend_from_slice(&self.data[i]);
        }
        placed
    }
}

impl ConstId {
    /// Position in [`Placed::offsets`].
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}
