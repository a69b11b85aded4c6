//! Reflection: any table of a model as a list of named values.
//!
//! This is what prints the options of every operator without code per operator. Values are read from the file when
//! asked for; nothing is copied. It does not interpret: an index stays a number, a buffer stays bytes.

use std::fmt;

use super::schema::def::{EnumDef, FieldDef, FieldType, ScalarType, TableDef, UnionDef};
use super::schema::{RawTable, RawTables, Scalar, ScalarVector};

/// A table with its definition.
#[derive(Clone, Copy)]
pub struct DynTable<'a> {
    def: &'static TableDef,
    raw: RawTable<'a>,
}

/// One field of a table, with its value.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    /// The field's definition.
    pub def: &'static FieldDef,
    /// Whether the file holds it; otherwise the value is the schema's default.
    pub present: bool,
    /// The value.
    pub value: Value<'a>,
}

/// A field's value.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    /// A truth value.
    Bool(bool),
    /// A signed integer of any width.
    Int(i64),
    /// An unsigned integer of any width.
    UInt(u64),
    /// A single-precision number.
    Float(f32),
    /// An enum value, known or not.
    Enum(&'static EnumDef, i64),
    /// A string.
    Str(&'a str),
    /// A vector of scalars or enum values.
    List(DynList<'a>),
    /// Bytes, or absent.
    Blob(Option<&'a [u8]>),
    /// A table, or absent.
    Table(Option<DynTable<'a>>),
    /// A vector of tables.
    Tables(DynTables<'a>),
    /// A union's type byte and its value, if it has one of a known type.
    Union(&'static UnionDef, u8, Option<DynTable<'a>>),
}

/// A vector of scalars or enum values with its element type.
#[derive(Clone, Copy)]
pub struct DynList<'a> {
    scalar: ScalarType,
    names: Option<&'static EnumDef>,
    bytes: &'a [u8],
}

/// A vector of tables with their definition.
#[derive(Clone, Copy)]
pub struct DynTables<'a> {
    def: &'static TableDef,
    raw: RawTables<'a>,
}

impl<'a> DynTable<'a> {
    pub(in crate::frontend) fn new(def: &'static TableDef, raw: RawTable<'a>) -> Self {
        Self { def, raw }
    }

    /// The table's definition.
    pub fn def(self) -> &'static TableDef {
        self.def
    }

    /// The table without its type.
    pub fn raw(self) -> RawTable<'a> {
        self.raw
    }

    /// All fields in the order of the schema, absent ones with their defaults.
    pub fn fields(self) -> impl ExactSizeIterator<Item = Field<'a>> + use<'a> {
        self.def.fields.iter().map(move |def| self.read(def))
    }

    /// The value of the field called `name`; `None` where the table has no such field.
    pub fn get(self, name: &str) -> Option<Value<'a>> {
        self.def.field(name).map(|def| self.read(def).value)
    }

    fn read(self, def: &'static FieldDef) -> Field<'a> {
        let raw = self.raw;
        let value = match def.ty {
            FieldType::Scalar(scalar) => match raw.field_position(def.id) {
                Some(_) => self.scalar(def.id, scalar),
                None => default_value(scalar, def.default),
            },
            FieldType::Enum(names) => {
                let number = raw.field_position(def.id).and_then(|_| self.scalar(def.id, names.repr).as_i64());
                Value::Enum(names, number.unwrap_or(def.default))
            }
            FieldType::Str => Value::Str(raw.str(def.id).unwrap_or("")),
            FieldType::List(scalar) => Value::List(self.list(def.id, scalar, None)),
            FieldType::EnumList(names) => Value::List(self.list(def.id, names.repr, Some(names))),
            FieldType::Blob => Value::Blob(raw.vector_bytes(def.id, 1)),
            FieldType::Table(table) => Value::Table(raw.table(def.id).map(|raw| Self::new(table, raw))),
            FieldType::Tables(table) => Value::Tables(DynTables { def: table, raw: raw.table_vector(def.id) }),
            FieldType::Union(union) => {
                let code = raw.union_code(def.id);
                let value = union.member(code).zip(raw.table(def.id));
                Value::Union(union, code, value.map(|(member, raw)| Self::new(member, raw)))
            }
        };
        Field { def, present: raw.field_position(def.id).is_some(), value }
    }

    fn scalar(self, id: u16, scalar: ScalarType) -> Value<'a> {
        let bytes = self.raw.field_position(id).and_then(|at| self.raw.bytes_at(at)).unwrap_or(&[]);
        scalar_value(scalar, bytes).unwrap_or_else(|| default_value(scalar, 0))
    }

    fn list(self, id: u16, scalar: ScalarType, names: Option<&'static EnumDef>) -> DynList<'a> {
        DynList { scalar, names, bytes: self.raw.vector_bytes(id, scalar.size_bytes()).unwrap_or(&[]) }
    }
}

/// The scalar at the start of `bytes`.
fn scalar_value(scalar: ScalarType, bytes: &[u8]) -> Option<Value<'static>> {
    Some(match scalar {
        ScalarType::Bool => Value::Bool(Scalar::from_le(bytes)?),
        ScalarType::I8 => Value::Int(<i8 as Scalar>::from_le(bytes)?.into()),
        ScalarType::U8 => Value::UInt(<u8 as Scalar>::from_le(bytes)?.into()),
        ScalarType::U16 => Value::UInt(<u16 as Scalar>::from_le(bytes)?.into()),
        ScalarType::I32 => Value::Int(<i32 as Scalar>::from_le(bytes)?.into()),
        ScalarType::U32 => Value::UInt(<u32 as Scalar>::from_le(bytes)?.into()),
        ScalarType::I64 => Value::Int(Scalar::from_le(bytes)?),
        ScalarType::U64 => Value::UInt(Scalar::from_le(bytes)?),
        ScalarType::F32 => Value::Float(Scalar::from_le(bytes)?),
    })
}

fn default_value(scalar: ScalarType, default: i64) -> Value<'static> {
    match scalar {
        ScalarType::Bool => Value::Bool(default != 0),
        ScalarType::I8 | ScalarType::I32 | ScalarType::I64 => Value::Int(default),
        ScalarType::U8 | ScalarType::U16 | ScalarType::U32 | ScalarType::U64 => Value::UInt(default.unsigned_abs()),
        ScalarType::F32 => Value::Float(default as f32),
    }
}

impl<'a> DynList<'a> {
    /// The number of elements.
    pub fn len(self) -> usize {
        self.bytes.len() / self.scalar.size_bytes()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.bytes.is_empty()
    }

    /// The elements in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Value<'a>> + use<'a> {
        self.bytes.chunks_exact(self.scalar.size_bytes()).map(move |chunk| {
            let value = scalar_value(self.scalar, chunk).unwrap_or_else(|| default_value(self.scalar, 0));
            match (self.names, value.as_i64()) {
                (Some(names), Some(number)) => Value::Enum(names, number),
                _ => value,
            }
        })
    }
}

impl<'a> DynTables<'a> {
    /// The number of tables.
    pub fn len(self) -> usize {
        self.raw.len()
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// The tables in order.
    pub fn iter(self) -> impl ExactSizeIterator<Item = DynTable<'a>> + use<'a> {
        (0..self.len()).map(move |index| DynTable::new(self.def, self.raw.get(index).unwrap_or(RawTable::EMPTY)))
    }
}

impl Value<'_> {
    /// The value as an integer: integers that fit, truth values, and enum values.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Self::Bool(value) => Some(value.into()),
            Self::Int(value) | Self::Enum(_, value) => Some(value),
            Self::UInt(value) => value.try_into().ok(),
            _ => None,
        }
    }
}

/// The most list elements that are printed; the rest is counted.
const PRINTED_ELEMENTS: usize = 16;

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::UInt(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value}"),
            Self::Enum(names, value) => match names.name_of(value) {
                Some(name) => f.write_str(name),
                None => write!(f, "{value}"),
            },
            Self::Str(value) => write!(f, "{value:?}"),
            Self::List(list) => {
                f.write_str("[")?;
                for (index, value) in list.iter().take(PRINTED_ELEMENTS).enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{value}")?;
                }
                match list.len().checked_sub(PRINTED_ELEMENTS) {
                    None | Some(0) => f.write_str("]"),
                    Some(rest) => write!(f, ", and {rest} more]"),
                }
            }
            Self::Blob(Some(bytes)) => write!(f, "{} bytes", bytes.len()),
            Self::Blob(None) | Self::Table(None) | Self::Union(_, 0, _) => f.write_str("none"),
            Self::Table(Some(table)) | Self::Union(_, _, Some(table)) => write!(f, "{table}"),
            Self::Union(union, code, None) => write!(f, "{}({code})", union.name),
            Self::Tables(tables) => {
                f.write_str("[")?;
                for (index, table) in tables.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{table}")?;
                }
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for DynTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{", self.def.name)?;
        for (index, field) in self.fields().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma} {}: {}", field.def.name, field.value)?;
        }
        f.write_str(" }")
    }
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for DynTable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The typed view and the reflected view are built from the same bytes.
impl<'a, T: Scalar> From<ScalarVector<'a, T>> for DynList<'a> {
    fn from(vector: ScalarVector<'a, T>) -> Self {
        let names = match T::FIELD {
            FieldType::Enum(names) => Some(names),
            _ => None,
        };
        Self { scalar: T::TYPE, names, bytes: vector.as_bytes() }
    }
}
