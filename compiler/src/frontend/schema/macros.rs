//! The macros that turn the rows of the schema into definitions, owned types, accessors and writer code.
//!
//! `enums!`, `tables!` and `unions!` are the only producers of schema types. A row of `tables!` reads
//! `id name: Kind = default` (`as "wire_name"` where the schema's name is a Rust keyword); a row of `unions!` reads
//! `type_code Member`. Everything generated is in terms of [`super::kind::FieldKind`], which says how each kind of
//! field is read, unpacked and written.

/// A field's default as written in its row, or 0.
macro_rules! default_of {
    () => {
        0
    };
    ($default:expr) => {
        $default
    };
}

/// A field's name in the schema: the accessor's name unless the row gives another.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}

/// Declares enumerations as transparent integers, so that values of a newer schema survive.
macro_rules! enums {
    ($( $(#[$meta:meta])* $name:ident : $repr:ident { $( $value:ident = $number:literal ),* $(,)? } )*) => { $(
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $repr);

        #[allow(non_upper_case_globals)]
        impl $name {
            $(
                #[doc = concat!("The value ", stringify!($number), ".")]
                pub const $value: Self = Self($number);
            )*

            /// The enumeration as data.
            pub const DEF: &'static EnumDef = {
                static DEF: EnumDef = EnumDef {
                    name: stringify!($name),
                    repr: <$repr as Scalar>::TYPE,
                    values: &[$( ($number, stringify!($value)) ),*],
                };
                &DEF
            };

            /// The schema's name of this value, or `None` for a value of a newer schema.
            pub fn name(self) -> Option<&'static str> {
                Self::DEF.name_of(i64::from(self.0))
            }
        }

        impl Scalar for $name {
            const TYPE: ScalarType = <$repr as Scalar>::TYPE;
            const FIELD: FieldType = FieldType::Enum(Self::DEF);
            const LIST: FieldType = FieldType::EnumList(Self::DEF);
            type Stored = $repr;

            fn from_stored(stored: $repr) -> Self {
                Self(stored)
            }

            fn stored(self) -> $repr {
                self.0
            }

            fn from_default(default: i64) -> Self {
                Self(<$repr as Scalar>::from_default(default))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}", self.0),
                }
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.name() {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.0),
                }
            }
        }
    )* };
}

/// Declares tables: the owned struct, its definition, `pack`, `unpack`, and the accessors on [`Ref`](super::Ref).
macro_rules! tables {
    ($( $(#[$meta:meta])* $name:ident { $(
        $(#[$field_meta:meta])* $id:literal $field:ident $(as $wire:literal)? : $kind:ty $(= $default:expr)?
    ),* $(,)? } )*) => { $(
        $(#[$meta])*
        #[doc = concat!("\n\nTable `", stringify!($name), "`; `Default` gives the schema's defaults.")]
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $(
            $(#[$field_meta])*
            #[doc = concat!("\n\nField ", stringify!($id), ", `", wire_name!($field $($wire)?), "`.")]
            pub $field: <$kind as FieldKind>::Owned,
        )* }

        #[allow(clippy::derivable_impls)]
        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: <$kind as FieldKind>::owned_default(default_of!($($default)?)), )* }
            }
        }

        impl SchemaTable for $name {
            const DEF: &'static TableDef = {
                static DEF: TableDef = TableDef {
                    name: stringify!($name),
                    fields: &[$( FieldDef {
                        id: $id,
                        name: wire_name!($field $($wire)?),
                        ty: <$kind as FieldKind>::TYPE,
                        default: default_of!($($default)?),
                    } ),*],
                };
                &DEF
            };

            fn unpack(table: RawTable<'_>) -> Self {
                let _ = table;
                Self { $( $field: <$kind as FieldKind>::unpack(table, $id, default_of!($($default)?)), )* }
            }

            fn pack(&self, writer: &mut Writer) -> TableOffset {
                $( let $field = <$kind as FieldKind>::pack(&self.$field, writer); )*
                let start = writer.start_table();
                for size_bytes in [8, 4, 2, 1] {
                    let _ = size_bytes;
                    $( <$kind as FieldKind>::push(&$field, writer, $id, default_of!($($default)?), size_bytes); )*
                }
                writer.end_table(start)
            }
        }

        impl<'a> Ref<'a, $name> { $(
            $(#[$field_meta])*
            #[doc = concat!("\n\nField ", stringify!($id), ", `", wire_name!($field $($wire)?), "`.")]
            pub fn $field(self) -> <$kind as FieldKind>::View<'a> {
                <$kind as FieldKind>::view(self.raw(), $id, default_of!($($default)?))
            }
        )* }
    )* };
}

/// Declares unions: the owned enum, its definition, `pack` and `unpack`.
macro_rules! unions {
    ($( $(#[$meta:meta])* $name:ident { $( $code:literal $member:ident ),* $(,)? } )*) => { $(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Default)]
        pub enum $name {
            /// No value.
            #[default]
            None,
            $(
                #[doc = concat!("Type code ", stringify!($code), ".")]
                $member(Box<$member>),
            )*
            /// A type code that this version of the schema does not know; its value is not kept.
            Unknown(u8),
        }

        impl SchemaUnion for $name {
            const DEF: &'static UnionDef = {
                static DEF: UnionDef = UnionDef {
                    name: stringify!($name),
                    members: &[$( <$member as SchemaTable>::DEF ),*],
                };
                &DEF
            };

            fn unpack(code: u8, table: Option<RawTable<'_>>) -> Self {
                match (code, table) {
                    (0, _) => Self::None,
                    $( ($code, Some(table)) => Self::$member(Box::new(<$member as SchemaTable>::unpack(table))), )*
                    _ if Self::DEF.member(code).is_some() => Self::None,
                    _ => Self::Unknown(code),
                }
            }

            fn pack(&self, writer: &mut Writer) -> (u8, Option<TableOffset>) {
                match self {
                    Self::None => (0, None),
                    $( Self::$member(member) => ($code, Some(SchemaTable::pack(&**member, writer))), )*
                    Self::Unknown(code) => (*code, None),
                }
            }

            fn with_defaults(code: u8) -> Self {
                match code {
                    0 => Self::None,
                    $( $code => Self::$member(Box::default()), )*
                    _ => Self::Unknown(code),
                }
            }
        }

        $(
            impl From<$member> for $name {
                fn from(member: $member) -> Self {
                    Self::$member(Box::new(member))
                }
            }
        )*
    )* };
}

pub(super) use {default_of, enums, tables, unions, wire_name};
