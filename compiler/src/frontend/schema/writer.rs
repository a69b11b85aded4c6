//! The writing side of the schema: a flatbuffer builder that counts what it writes.
//!
//! Invariants: the same values give the same bytes; a table's fields are written from the widest to the narrowest;
//! once the 2 GiB limit of a flatbuffer is passed nothing more is written and [`Writer::finish`] gives `None`.

use flatbuffers::{FlatBufferBuilder, Push, PushAlignment, TableUnfinishedWIPOffset, UOffsetT, WIPOffset};

use super::kind::Scalar;

/// A place already written, to be referred to: bytes from the end of what is written.
#[derive(Debug, Clone, Copy)]
pub struct Offset(UOffsetT);

/// A table already written.
#[derive(Debug, Clone, Copy)]
pub struct TableOffset(UOffsetT);

impl From<TableOffset> for Offset {
    fn from(table: TableOffset) -> Self {
        Self(table.0)
    }
}

/// The most bytes that a flatbuffer of this writer holds: 2 GiB less a margin for alignment and the builder's own needs.
pub(in crate::frontend) const MAX_FLATBUFFER_BYTES: usize = (1 << 31) - (1 << 20);

/// The least room that a table may need beside its fields' contents: its vtable reference and its vtable.
const TABLE_BYTES: usize = 8;

/// Writes tables, strings and vectors from the leaves to the root.
pub struct Writer {
    builder: FlatBufferBuilder<'static>,
    bytes: usize,
}

/// A byte whose vector starts at a multiple of 16 bytes.
struct AlignedByte;

impl Push for AlignedByte {
    type Output = u8;

    // SAFETY: the caller passes `dst` of `size()` = 1 bytes; any content is a valid byte.
    unsafe fn push(&self, dst: &mut [u8], _: usize) {
        dst.fill(0);
    }

    fn alignment() -> PushAlignment {
        PushAlignment::new(16)
    }
}

/// A run of bytes, pushed at once.
struct Block<'a>(&'a [u8; Block::BYTES]);

impl Block<'_> {
    const BYTES: usize = 256;
}

impl Push for Block<'_> {
    type Output = [u8; Block::BYTES];

    // SAFETY: the caller passes `dst` of `size()` = `BYTES` bytes; a shorter one is left alone.
    unsafe fn push(&self, dst: &mut [u8], _: usize) {
        if let Some(dst) = dst.first_chunk_mut() {
            *dst = *self.0;
        }
    }
}

impl Writer {
    pub(in crate::frontend) fn new() -> Self {
        Self { builder: FlatBufferBuilder::new(), bytes: 0 }
    }

    /// Whether `len` more bytes fit; counts them either way.
    fn fits(&mut self, len: usize) -> bool {
        // The allowance covers the length prefix, the terminator and the alignment of a vector or string.
        self.bytes = self.bytes.saturating_add(len).saturating_add(32);
        self.bytes <= MAX_FLATBUFFER_BYTES
    }

    pub(super) fn start_table(&mut self) -> WIPOffset<TableUnfinishedWIPOffset> {
        self.bytes = self.bytes.saturating_add(TABLE_BYTES);
        self.builder.start_table()
    }

    pub(super) fn end_table(&mut self, start: WIPOffset<TableUnfinishedWIPOffset>) -> TableOffset {
        TableOffset(self.builder.end_table(start).value())
    }

    pub(super) fn push_scalar<T: Push>(&mut self, id: u16, value: T) {
        self.bytes = self.bytes.saturating_add(T::size().saturating_mul(2));
        self.builder.push_slot_always(entry(id), value);
    }

    pub(super) fn push_offset(&mut self, id: u16, value: Offset) {
        self.push_scalar(id, WIPOffset::<()>::new(value.0));
    }

    pub(super) fn string(&mut self, value: &str) -> Option<Offset> {
        self.fits(value.len()).then(|| Offset(self.builder.create_string(value).value()))
    }

    pub(super) fn scalars<T: Scalar>(&mut self, values: &[T]) -> Option<Offset> {
        self.fits(values.len().saturating_mul(T::TYPE.size_bytes())).then(|| {
            let vector = self.builder.create_vector_from_iter(values.iter().map(|value| value.stored()));
            Offset(vector.value())
        })
    }

    pub(super) fn tables(&mut self, tables: &[TableOffset]) -> Option<Offset> {
        self.fits(tables.len().saturating_mul(4)).then(|| {
            let vector = self.builder.create_vector_from_iter(tables.iter().map(|table| WIPOffset::<()>::new(table.0)));
            Offset(vector.value())
        })
    }

    /// A vector of bytes that starts at a multiple of 16 bytes from the start of the file.
    pub(super) fn aligned_bytes(&mut self, values: &[u8]) -> Option<Offset> {
        self.fits(values.len()).then(|| {
            self.builder.start_vector::<AlignedByte>(values.len());
            let (blocks, tail) = values.as_chunks();
            for byte in tail.iter().rev() {
                self.builder.push(*byte);
            }
            for block in blocks.iter().rev() {
                self.builder.push(Block(block));
            }
            Offset(self.builder.end_vector::<AlignedByte>(values.len()).value())
        })
    }

    /// The finished flatbuffer, or `None` where it would pass [`MAX_FLATBUFFER_BYTES`].
    pub(in crate::frontend) fn finish(mut self, root: TableOffset, identifier: &str) -> Option<Vec<u8>> {
        if self.bytes > MAX_FLATBUFFER_BYTES {
            return None;
        }
        self.builder.finish(WIPOffset::<()>::new(root.0), Some(identifier));
        let (mut bytes, start) = self.builder.collapse();
        bytes.drain(..start);
        Some(bytes)
    }
}

/// A field's place in the vtable, which is what the builder calls a slot.
fn entry(id: u16) -> flatbuffers::VOffsetT {
    4 + 2 * id
}
