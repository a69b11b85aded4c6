//! The kinds of field, and how each is read, unpacked and written.
//!
//! A row of the schema names a kind: a scalar or enum type itself, [`Str`], [`List`], [`Blob`], [`Sub`] (a table),
//! [`Subs`] (a vector of tables) or [`Union`]. Absent strings and vectors read as empty and empty ones are not
//! written; only [`Blob`] tells absent from empty, because a buffer with no bytes still makes its tensor a constant.

use std::fmt::Debug;
use std::marker::PhantomData;

use super::def::{FieldType, ScalarType, TableDef, UnionDef};
use super::reader::{RawTable, Ref, Refs, ScalarVector, UnionRef};
use super::writer::{Offset, TableOffset, Writer};

/// A scalar or enum type that a field or a vector may hold.
pub trait Scalar: Copy + PartialEq + Debug + 'static {
    /// How it is stored.
    const TYPE: ScalarType;
    /// The type of a field that holds one.
    const FIELD: FieldType;
    /// The type of a field that holds a vector of them.
    const LIST: FieldType;
    /// The plain number behind it.
    type Stored: Scalar + flatbuffers::Push;

    /// The value for a stored number; every number is a value.
    fn from_stored(stored: Self::Stored) -> Self;

    /// The number to store.
    fn stored(self) -> Self::Stored;

    /// The value that a row's default stands for.
    fn from_default(default: i64) -> Self;

    /// The value at the start of `bytes` (little-endian), or `None` where there are too few.
    fn from_le(bytes: &[u8]) -> Option<Self> {
        Self::Stored::from_le(bytes).map(Self::from_stored)
    }

    /// Whether both have the same bits, which for floats differs from `==`.
    fn same_bits(self, other: Self) -> bool {
        self == other
    }
}

macro_rules! scalars {
    ($( $ty:ident $variant:ident from $from_default:expr, same $same:expr; )*) => { $(
        impl Scalar for $ty {
            const TYPE: ScalarType = ScalarType::$variant;
            const FIELD: FieldType = FieldType::Scalar(ScalarType::$variant);
            const LIST: FieldType = FieldType::List(ScalarType::$variant);
            type Stored = $ty;

            fn from_stored(stored: $ty) -> Self {
                stored
            }

            fn stored(self) -> $ty {
                self
            }

            fn from_default(default: i64) -> Self {
                $from_default(default)
            }

            fn from_le(bytes: &[u8]) -> Option<Self> {
                bytes.first_chunk().map(|chunk| Self::from_le_bytes(*chunk))
            }

            fn same_bits(self, other: Self) -> bool {
                $same(self, other)
            }
        }
    )* };
}

scalars! {
    i8 I8 from |d| d as i8, same |a, b| a == b;
    u8 U8 from |d| d as u8, same |a, b| a == b;
    u16 U16 from |d| d as u16, same |a, b| a == b;
    i32 I32 from |d| d as i32, same |a, b| a == b;
    u32 U32 from |d| d as u32, same |a, b| a == b;
    i64 I64 from |d| d, same |a, b| a == b;
    u64 U64 from |d| d as u64, same |a, b| a == b;
    f32 F32 from |d| d as f32, same |a: f32, b: f32| a.to_bits() == b.to_bits();
}

impl Scalar for bool {
    const TYPE: ScalarType = ScalarType::Bool;
    const FIELD: FieldType = FieldType::Scalar(ScalarType::Bool);
    const LIST: FieldType = FieldType::List(ScalarType::Bool);
    type Stored = u8;

    fn from_stored(stored: u8) -> Self {
        stored != 0
    }

    fn stored(self) -> u8 {
        u8::from(self)
    }

    fn from_default(default: i64) -> Self {
        default != 0
    }
}

/// A table type: its definition and the way between bytes and the owned struct.
pub trait SchemaTable: Sized + Default + Clone + PartialEq + Debug + 'static {
    /// The table as data.
    const DEF: &'static TableDef;

    /// Copies the table out of the file, with everything below it.
    fn unpack(table: RawTable<'_>) -> Self;

    /// Writes the table, with everything below it.
    fn pack(&self, writer: &mut Writer) -> TableOffset;
}

/// A union type.
pub trait SchemaUnion: Sized + Default + Clone + PartialEq + Debug + 'static {
    /// The union as data.
    const DEF: &'static UnionDef;

    /// Copies the member out of the file; a known type code without a value gives `None`.
    fn unpack(code: u8, table: Option<RawTable<'_>>) -> Self;

    /// Writes the member; returns its type code and place.
    fn pack(&self, writer: &mut Writer) -> (u8, Option<TableOffset>);

    /// The member with this type code, all its fields at their defaults.
    fn with_defaults(code: u8) -> Self;
}

/// How one kind of field is read, unpacked and written.
pub trait FieldKind {
    /// What the accessor gives.
    type View<'a>;
    /// What the owned struct holds.
    type Owned: Clone + PartialEq + Debug;
    /// What is kept between writing the field's content and writing its table.
    type Packed;
    /// The field's type as data.
    const TYPE: FieldType;

    /// Reads field `id`.
    fn view(table: RawTable<'_>, id: u16, default: i64) -> Self::View<'_>;

    /// The owned value of an absent field.
    fn owned_default(default: i64) -> Self::Owned;

    /// Copies field `id` out of the file.
    fn unpack(table: RawTable<'_>, id: u16, default: i64) -> Self::Owned;

    /// Writes what the field refers to.
    fn pack(owned: &Self::Owned, writer: &mut Writer) -> Self::Packed;

    /// Writes those parts of field `id` that take `size_bytes` bytes in the table under construction.
    fn push(packed: &Self::Packed, writer: &mut Writer, id: u16, default: i64, size_bytes: usize);
}

impl<T: Scalar> FieldKind for T {
    type View<'a> = T;
    type Owned = T;
    type Packed = T;
    const TYPE: FieldType = T::FIELD;

    fn view(table: RawTable<'_>, id: u16, default: i64) -> T {
        table.scalar(id).unwrap_or(T::from_default(default))
    }

    fn owned_default(default: i64) -> T {
        T::from_default(default)
    }

    fn unpack(table: RawTable<'_>, id: u16, default: i64) -> T {
        Self::view(table, id, default)
    }

    fn pack(owned: &T, _: &mut Writer) -> T {
        *owned
    }

    fn push(packed: &T, writer: &mut Writer, id: u16, default: i64, size_bytes: usize) {
        if size_bytes == T::TYPE.size_bytes() && !packed.same_bits(T::from_default(default)) {
            writer.push_scalar(id, packed.stored());
        }
    }
}

/// Writes an optional reference: nothing where it is absent.
fn push_reference(packed: &Option<Offset>, writer: &mut Writer, id: u16, size_bytes: usize) {
    if let (4, Some(offset)) = (size_bytes, *packed) {
        writer.push_offset(id, offset);
    }
}

/// A string; absent reads as `""`.
#[derive(Debug)]
pub struct Str;

impl FieldKind for Str {
    type View<'a> = &'a str;
    type Owned = String;
    type Packed = Option<Offset>;
    const TYPE: FieldType = FieldType::Str;

    fn view(table: RawTable<'_>, id: u16, _: i64) -> &str {
        table.str(id).unwrap_or("")
    }

    fn owned_default(_: i64) -> String {
        String::new()
    }

    fn unpack(table: RawTable<'_>, id: u16, default: i64) -> String {
        Self::view(table, id, default).to_owned()
    }

    fn pack(owned: &String, writer: &mut Writer) -> Option<Offset> {
        if owned.is_empty() { None } else { writer.string(owned) }
    }

    fn push(packed: &Option<Offset>, writer: &mut Writer, id: u16, _: i64, size_bytes: usize) {
        push_reference(packed, writer, id, size_bytes);
    }
}

/// A vector of scalars or enum values; absent reads as empty.
#[derive(Debug)]
pub struct List<T>(PhantomData<T>);

impl<T: Scalar> FieldKind for List<T> {
    type View<'a> = ScalarVector<'a, T>;
    type Owned = Vec<T>;
    type Packed = Option<Offset>;
    const TYPE: FieldType = T::LIST;

    fn view(table: RawTable<'_>, id: u16, _: i64) -> ScalarVector<'_, T> {
        ScalarVector::new(table.vector_bytes(id, T::TYPE.size_bytes()).unwrap_or(&[]))
    }

    fn owned_default(_: i64) -> Vec<T> {
        Vec::new()
    }

    fn unpack(table: RawTable<'_>, id: u16, default: i64) -> Vec<T> {
        Self::view(table, id, default).to_vec()
    }

    fn pack(owned: &Vec<T>, writer: &mut Writer) -> Option<Offset> {
        if owned.is_empty() { None } else { writer.scalars(owned) }
    }

    fn push(packed: &Option<Offset>, writer: &mut Writer, id: u16, _: i64, size_bytes: usize) {
        push_reference(packed, writer, id, size_bytes);
    }
}

/// A vector of bytes, written at a multiple of `ALIGN` bytes; absent differs from empty.
#[derive(Debug)]
pub struct Blob<const ALIGN: usize>;

impl<const ALIGN: usize> FieldKind for Blob<ALIGN> {
    type View<'a> = Option<&'a [u8]>;
    type Owned = Option<Vec<u8>>;
    type Packed = Option<Offset>;
    const TYPE: FieldType = FieldType::Blob;

    fn view(table: RawTable<'_>, id: u16, _: i64) -> Option<&[u8]> {
        table.vector_bytes(id, 1)
    }

    fn owned_default(_: i64) -> Option<Vec<u8>> {
        None
    }

    fn unpack(table: RawTable<'_>, id: u16, default: i64) -> Option<Vec<u8>> {
        Self::view(table, id, default).map(<[u8]>::to_vec)
    }

    fn pack(owned: &Option<Vec<u8>>, writer: &mut Writer) -> Option<Offset> {
        owned.as_ref().and_then(|bytes| if ALIGN > 4 { writer.aligned_bytes(bytes) } else { writer.scalars(bytes) })
    }

    fn push(packed: &Option<Offset>, writer: &mut Writer, id: u16, _: i64, size_bytes: usize) {
        push_reference(packed, writer, id, size_bytes);
    }
}

/// A table inside a table.
#[derive(Debug)]
pub struct Sub<T>(PhantomData<T>);

impl<T: SchemaTable> FieldKind for Sub<T> {
    type View<'a> = Option<Ref<'a, T>>;
    type Owned = Option<Box<T>>;
    type Packed = Option<Offset>;
    const TYPE: FieldType = FieldType::Table(T::DEF);

    fn view(table: RawTable<'_>, id: u16, _: i64) -> Option<Ref<'_, T>> {
        table.table(id).map(Ref::new)
    }

    fn owned_default(_: i64) -> Option<Box<T>> {
        None
    }

    fn unpack(table: RawTable<'_>, id: u16, _: i64) -> Option<Box<T>> {
        table.table(id).map(|table| Box::new(T::unpack(table)))
    }

    fn pack(owned: &Option<Box<T>>, writer: &mut Writer) -> Option<Offset> {
        owned.as_ref().map(|table| table.pack(writer).into())
    }

    fn push(packed: &Option<Offset>, writer: &mut Writer, id: u16, _: i64, size_bytes: usize) {
        push_reference(packed, writer, id, size_bytes);
    }
}

/// A vector of tables; absent reads as empty.
#[derive(Debug)]
pub struct Subs<T>(PhantomData<T>);

impl<T: SchemaTable> FieldKind for Subs<T> {
    type View<'a> = Refs<'a, T>;
    type Owned = Vec<T>;
    type Packed = Option<Offset>;
    const TYPE: FieldType = FieldType::Tables(T::DEF);

    fn view(table: RawTable<'_>, id: u16, _: i64) -> Refs<'_, T> {
        Refs::new(table.table_vector(id))
    }

    fn owned_default(_: i64) -> Vec<T> {
        Vec::new()
    }

    fn unpack(table: RawTable<'_>, id: u16, default: i64) -> Vec<T> {
        Self::view(table, id, default).iter().map(|table| T::unpack(table.raw())).collect()
    }

    fn pack(owned: &Vec<T>, writer: &mut Writer) -> Option<Offset> {
        if owned.is_empty() {
            return None;
        }
        let tables: Vec<TableOffset> = owned.iter().map(|table| table.pack(writer)).collect();
        writer.tables(&tables)
    }

    fn push(packed: &Option<Offset>, writer: &mut Writer, id: u16, _: i64, size_bytes: usize) {
        push_reference(packed, writer, id, size_bytes);
    }
}

/// One of several tables. The row's id is that of the value; the type byte has the id before it.
#[derive(Debug)]
pub struct Union<U>(PhantomData<U>);

impl<U: SchemaUnion> FieldKind for Union<U> {
    type View<'a> = UnionRef<'a, U>;
    type Owned = U;
    type Packed = (u8, Option<Offset>);
    const TYPE: FieldType = FieldType::Union(U::DEF);

    fn view(table: RawTable<'_>, id: u16, _: i64) -> UnionRef<'_, U> {
        UnionRef::new(table.union_code(id), table.table(id))
    }

    fn owned_default(_: i64) -> U {
        U::default()
    }

    fn unpack(table: RawTable<'_>, id: u16, _: i64) -> U {
        U::unpack(table.union_code(id), table.table(id))
    }

    fn pack(owned: &U, writer: &mut Writer) -> (u8, Option<Offset>) {
        let (code, value) = owned.pack(writer);
        (code, value.map(Offset::from))
    }

    fn push(packed: &(u8, Option<Offset>), writer: &mut Writer, id: u16, _: i64, size_bytes: usize) {
        let (code, value) = packed;
        push_reference(value, writer, id, size_bytes);
        if size_bytes == 1 && *code != 0 {
            writer.push_scalar(id.saturating_sub(1), *code);
        }
    }
}
