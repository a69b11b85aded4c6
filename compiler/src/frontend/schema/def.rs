//! The schema as data: what tables, fields, enums and unions exist, and how each field is stored.
//!
//! The definitions are built by the macros of [`super`] from the same rows as the typed accessors, so the
//! verifier ([`crate::frontend::verify`]) and the reflection ([`crate::frontend::reflect`]) cannot disagree with
//! the reader. Invariant: a union's value field with id `n` has its type byte in field `n - 1`.

use std::fmt;

/// The storage of one scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScalarType {
    /// One byte, zero is false.
    Bool,
    /// Signed, 8 bits.
    I8,
    /// Unsigned, 8 bits.
    U8,
    /// Unsigned, 16 bits.
    U16,
    /// Signed, 32 bits.
    I32,
    /// Unsigned, 32 bits.
    U32,
    /// Signed, 64 bits.
    I64,
    /// Unsigned, 64 bits.
    U64,
    /// IEEE 754 single precision.
    F32,
}

impl ScalarType {
    /// The size of one value, in bytes.
    pub const fn size_bytes(self) -> usize {
        match self {
            Self::Bool | Self::I8 | Self::U8 => 1,
            Self::U16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::I64 | Self::U64 => 8,
        }
    }
}

/// An enumeration: the names of the values that this version of the schema knows.
#[derive(Clone, Copy)]
pub struct EnumDef {
    /// The schema's name.
    pub name: &'static str,
    /// How a value is stored.
    pub repr: ScalarType,
    /// Value and name, in ascending order of value.
    pub values: &'static [(i64, &'static str)],
}

impl EnumDef {
    /// The name of `value`, or `None` where this version of the schema does not know it.
    pub fn name_of(&self, value: i64) -> Option<&'static str> {
        let row = self.values.binary_search_by_key(&value, |row| row.0).ok()?;
        self.values.get(row).map(|row| row.1)
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy)]
pub enum FieldType {
    /// A scalar, stored in the table itself.
    Scalar(ScalarType),
    /// An enum value, stored in the table itself.
    Enum(&'static EnumDef),
    /// A UTF-8 string.
    Str,
    /// A vector of scalars.
    List(ScalarType),
    /// A vector of enum values.
    EnumList(&'static EnumDef),
    /// A vector of bytes whose absence differs from emptiness.
    Blob,
    /// A table.
    Table(&'static TableDef),
    /// A vector of tables.
    Tables(&'static TableDef),
    /// One of several tables; the type byte is in the field before.
    Union(&'static UnionDef),
}

impl FieldType {
    /// The bytes that the field takes inside its table (for a union: those of its value).
    pub fn inline_bytes(self) -> usize {
        match self {
            Self::Scalar(scalar) => scalar.size_bytes(),
            Self::Enum(def) => def.repr.size_bytes(),
            _ => 4,
        }
    }
}

/// One field of a table.
#[derive(Debug, Clone, Copy)]
pub struct FieldDef {
    /// The field's id; its vtable entry is at byte `4 + 2 * id`.
    pub id: u16,
    /// The schema's name.
    pub name: &'static str,
    /// What it holds.
    pub ty: FieldType,
    /// The value of an absent scalar or enum; 0 for anything else. (No float field of the schema has another default than 0.)
    pub default: i64,
}

/// A table: its name and fields.
#[derive(Clone, Copy)]
pub struct TableDef {
    /// The schema's name.
    pub name: &'static str,
    /// The fields in ascending order of id, without those that the schema has retired.
    pub fields: &'static [FieldDef],
}

impl TableDef {
    /// The field called `name`.
    pub fn field(&self, name: &str) -> Option<&'static FieldDef> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A union: the tables that it may hold.
#[derive(Clone, Copy)]
pub struct UnionDef {
    /// The schema's name.
    pub name: &'static str,
    /// The members in order; the type byte of `members[i]` is `i + 1`, and 0 means none.
    pub members: &'static [&'static TableDef],
}

impl UnionDef {
    /// The table that the type byte `code` stands for; `None` for 0 and for codes of a newer schema.
    pub fn member(&self, code: u8) -> Option<&'static TableDef> {
        self.members.get(usize::from(code).checked_sub(1)?).copied()
    }
}

impl fmt::Debug for EnumDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for TableDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for UnionDef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
