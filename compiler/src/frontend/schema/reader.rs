//! Zero-copy reading: tables, strings, vectors and unions straight from the file's bytes.
//!
//! Every read is bounds-checked, so the reader is memory-safe on any bytes; a reference that leads outside reads as
//! absent. [`crate::frontend::verify`] proves beforehand that this never happens and that the whole walk is bounded,
//! and is the only public way to get a root. Nothing here asks for alignment: scalars are assembled from
//! little-endian bytes. That is why the reader does not use the unchecked `follow` of the `flatbuffers` crate.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;

use super::def::TableDef;
use super::kind::{Scalar, SchemaTable, SchemaUnion};
use crate::frontend::reflect::DynTable;

/// Reads the little-endian scalar at `at`.
pub(in crate::frontend) fn read<T: Scalar>(bytes: &[u8], at: usize) -> Option<T> {
    T::from_le(bytes.get(at..)?)
}

/// A table in a file, without its type.
#[derive(Clone, Copy)]
pub struct RawTable<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> RawTable<'a> {
    /// A table without fields: everything reads as its default.
    pub const EMPTY: Self = Self { bytes: &[], at: 0 };

    pub(in crate::frontend) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Where the table starts, in bytes from the start of the file.
    pub fn position(self) -> usize {
        self.at
    }

    /// Where field `id` is stored, or `None` where it is absent.
    pub fn field_position(self, id: u16) -> Option<usize> {
        let back: i32 = read(self.bytes, self.at)?;
        let vtable = usize::try_from(i64::try_from(self.at).ok()?.checked_sub(i64::from(back))?).ok()?;
        let vtable_bytes = usize::from(read::<u16>(self.bytes, vtable)?);
        let entry = 4 + 2 * usize::from(id);
        if entry + 2 > vtable_bytes {
            return None;
        }
        match read::<u16>(self.bytes, vtable.checked_add(entry)?)? {
            0 => None,
            offset => self.at.checked_add(usize::from(offset)),
        }
    }

    /// The file from byte `at` on.
    pub(in crate::frontend) fn bytes_at(self, at: usize) -> Option<&'a [u8]> {
        self.bytes.get(at..)
    }

    /// The scalar in field `id`, or `None` where it is absent.
    pub fn scalar<T: Scalar>(self, id: u16) -> Option<T> {
        read(self.bytes, self.field_position(id)?)
    }

    /// What field `id` refers to.
    fn target(self, id: u16) -> Option<usize> {
        let field = self.field_position(id)?;
        field.checked_add(usize::try_from(read::<u32>(self.bytes, field)?).ok()?)
    }

    /// Where the elements of the vector in field `id` are, in bytes from the start of the file.
    pub fn vector_range(self, id: u16, element_bytes: usize) -> Option<Range<usize>> {
        let vector = self.target(id)?;
        let start = vector.checked_add(4)?;
        let len = usize::try_from(read::<u32>(self.bytes, vector)?).ok()?.checked_mul(element_bytes)?;
        let end = start.checked_add(len)?;
        (end <= self.bytes.len()).then_some(start..end)
    }

    /// The bytes of the vector in field `id`.
    pub fn vector_bytes(self, id: u16, element_bytes: usize) -> Option<&'a [u8]> {
        self.bytes.get(self.vector_range(id, element_bytes)?)
    }

    /// The string in field `id`.
    pub fn str(self, id: u16) -> Option<&'a str> {
        std::str::from_utf8(self.vector_bytes(id, 1)?).ok()
    }

    /// The table in field `id`.
    pub fn table(self, id: u16) -> Option<RawTable<'a>> {
        self.target(id).map(|at| Self::new(self.bytes, at))
    }

    /// The vector of tables in field `id`.
    pub fn table_vector(self, id: u16) -> RawTables<'a> {
        match self.vector_range(id, 4) {
            Some(range) => RawTables { bytes: self.bytes, start: range.start, len: range.len() / 4 },
            None => RawTables { bytes: &[], start: 0, len: 0 },
        }
    }

    /// The type byte of the union whose value is field `id`.
    pub fn union_code(self, id: u16) -> u8 {
        id.checked_sub(1).and_then(|id| self.scalar(id)).unwrap_or(0)
    }
}

/// A vector of tables in a file, without their type.
#[derive(Clone, Copy)]
pub struct RawTables<'a> {
    bytes: &'a [u8],
    start: usize,
    len: usize,
}

impl<'a> RawTables<'a> {
    /// The number of tables.
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Table number `index`.
    pub fn get(self, index: usize) -> Option<RawTable<'a>> {
        if index >= self.len {
            return None;
        }
        let at = self.start.checked_add(index.checked_mul(4)?)?;
        let target = at.checked_add(usize::try_from(read::<u32>(self.bytes, at)?).ok()?)?;
        Some(RawTable::new(self.bytes, target))
    }
}

/// A table of type `T` in a file. The accessors, one per field, come from the rows of the schema.
pub struct Ref<'a, T> {
    raw: RawTable<'a>,
    table: PhantomData<fn() -> T>,
}

impl<'a, T> Ref<'a, T> {
    pub(in crate::frontend) fn new(raw: RawTable<'a>) -> Self {
        Self { raw, table: PhantomData }
    }

    /// The table without its type.
    pub fn raw(self) -> RawTable<'a> {
        self.raw
    }

    /// Where the table starts, in bytes from the start of the file.
    pub fn position(self) -> usize {
        self.raw.position()
    }
}

impl<'a, T: SchemaTable> Ref<'a, T> {
    /// Copies the table out of the file, with everything below it.
    pub fn unpack(self) -> T {
        T::unpack(self.raw)
    }

    /// The table as a list of named values.
    pub fn reflect(self) -> DynTable<'a> {
        DynTable::new(T::DEF, self.raw)
    }
}

impl<T> Clone for Ref<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Ref<'_, T> {}

/// A table without fields: every accessor gives the schema's default.
impl<T> Default for Ref<'_, T> {
    fn default() -> Self {
        Self::new(RawTable::EMPTY)
    }
}

impl<T: SchemaTable> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.reflect(), f)
    }
}

/// A vector of tables of type `T` in a file.
pub struct Refs<'a, T> {
    raw: RawTables<'a>,
    table: PhantomData<fn() -> T>,
}

impl<'a, T> Refs<'a, T> {
    pub(in crate::frontend) fn new(raw: RawTables<'a>) -> Self {
        Self { raw, table: PhantomData }
    }

    /// The number of tables.
    pub fn len(self) -> usize {
        self.raw.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Table number `index`, or `None` past the end.
    pub fn get(self, index: usize) -> Option<Ref<'a, T>> {
        self.raw.get(index).map(Ref::new)
    }

    /// The tables in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Ref<'a, T>> + DoubleEndedIterator + use<'a, T> {
        (0..self.len()).map(move |index| self.get(index).unwrap_or_default())
    }
}

impl<T> Clone for Refs<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Refs<'_, T> {}

impl<T: SchemaTable> fmt::Debug for Refs<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A vector of scalars or enum values in a file, at any alignment.
pub struct ScalarVector<'a, T> {
    bytes: &'a [u8],
    element: PhantomData<fn() -> T>,
}

impl<'a, T: Scalar> ScalarVector<'a, T> {
    pub(in crate::frontend) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, element: PhantomData }
    }

    /// The elements' little-endian bytes.
    pub fn as_bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// The number of elements.
    pub fn len(self) -> usize {
        self.bytes.len() / T::TYPE.size_bytes()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// Element number `index`, or `None` past the end.
    pub fn get(self, index: usize) -> Option<T> {
        read(self.bytes, index.checked_mul(T::TYPE.size_bytes())?)
    }

    /// The elements in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = T> + DoubleEndedIterator + use<'a, T> {
        self.bytes.chunks_exact(T::TYPE.size_bytes()).map(|chunk| T::from_le(chunk).unwrap_or(T::from_default(0)))
    }

    /// The elements, copied.
    pub fn to_vec(self) -> Vec<T> {
        self.iter().collect()
    }
}

impl<T> Clone for ScalarVector<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for ScalarVector<'_, T> {}

impl<T: Scalar> PartialEq<[T]> for ScalarVector<'_, T> {
    fn eq(&self, other: &[T]) -> bool {
        self.iter().eq(other.iter().copied())
    }
}

impl<T: Scalar> fmt::Debug for ScalarVector<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// A union value in a file.
pub struct UnionRef<'a, U> {
    code: u8,
    value: Option<RawTable<'a>>,
    union: PhantomData<fn() -> U>,
}

impl<'a, U: SchemaUnion> UnionRef<'a, U> {
    pub(in crate::frontend) fn new(code: u8, value: Option<RawTable<'a>>) -> Self {
        Self { code, value, union: PhantomData }
    }

    /// The type byte; 0 is none.
    pub fn code(self) -> u8 {
        self.code
    }

    /// The member's definition; `None` where there is none or where the code is of a newer schema.
    pub fn member(self) -> Option<&'static TableDef> {
        U::DEF.member(self.code)
    }

    /// Whether the type byte is one that this version of the schema does not know.
    pub fn is_unknown(self) -> bool {
        self.code != 0 && self.member().is_none()
    }

    /// The value as a `T`, or `None` where it is absent or something else.
    pub fn get<T: SchemaTable>(self) -> Option<Ref<'a, T>> {
        let value = self.value?;
        std::ptr::eq(self.member()?, T::DEF).then_some(Ref::new(value))
    }

    /// The value as a list of named values, whatever its type.
    pub fn reflect(self) -> Option<DynTable<'a>> {
        Some(DynTable::new(self.member()?, self.value?))
    }

    /// Copies the value out of the file.
    pub fn unpack(self) -> U {
        U::unpack(self.code, self.value)
    }
}

impl<U> Clone for UnionRef<'_, U> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<U> Copy for UnionRef<'_, U> {}

impl<U: SchemaUnion> fmt::Debug for UnionRef<'_, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reflect() {
            Some(table) => fmt::Debug::fmt(&table, f),
            None if self.is_unknown() => write!(f, "{}({})", U::DEF.name, self.code),
            None => f.write_str("None"),
        }
    }
}
